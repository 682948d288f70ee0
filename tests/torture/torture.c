/* Every attack against every supervisor: the naive control, sallyport with both trackers, and sallyport without either of its
 * two protections; as root and as an ordinary user. One table, also in BUILD/torture.txt and BUILD/torture.json.
 *
 * usage: torture BUILD [ATTACK...]      environment: ROUNDS (60), the most rounds of one attack
 * Exit status 0: every attack that can escape escapes from the control, none from the product, nothing hung and nothing
 * went wrong otherwise. Run as root it tests both users, else the one it is. */
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>

enum {
	NOBODY = 65534,
	DEFAULT_ROUNDS = 60,
	CONTROL_TRIES = 10, /* of the control: chance may have it win all rounds of one try */
	DEADLINE_SECONDS = 60, /* for hangs only, and more with more rounds */
	ATTACKS_MAX = 128,
	NOTES_MAX = 26,
	OWN_FAILURE = 125,
};

/* ---- what is run ---- */

enum column { NAIVE, ATTACHED, ONESHOT, WITHOUT_VERIFY, WITHOUT_FREEZE, COLUMNS };

#define ARGUMENTS_MAX 20

/* In the lab directory. The naive one takes about as long to think as rules take to be matched. */
static const struct {
	const char *name, *title;
	const char *command[ARGUMENTS_MAX - 8];
} columns[COLUMNS] = {
	[NAIVE] = {"naive", "naive", {"./naive", "--delay-us", "200", "--"}},
	[ATTACHED] = {"attached",
		      "attached",
		      {"./sallyport", "run", "--tracking", "attached", "--policy", "./policy.yaml", "--"}},
	[ONESHOT] = {"oneshot",
		     "one-shot",
		     {"./sallyport", "run", "--tracking", "oneshot", "--policy", "./policy.yaml", "--"}},
	[WITHOUT_VERIFY] = {"without-verify",
			    "no verify",
			    {"./weakened", "--policy", "./policy.yaml", "--without", "verify", "--"}},
	[WITHOUT_FREEZE] = {"without-freeze",
			    "no freeze",
			    {"./weakened", "--policy", "./policy.yaml", "--without", "freeze", "--"}},
};

static const char *const needed[] = {"sallyport",
				     "tests/programs/attack",
				     "tests/programs/naive",
				     "tests/programs/marker",
				     "tests/torture/intruder",
				     "tests/torture/weakened"};

struct attack {
	char *name, *stopped_by, *description;
};

enum cell_kind { RAN, NOT_THERE, FAILED };

struct cell {
	enum cell_kind kind;
	long rounds, approved, escaped, refused, blocked, killed, other;
};

struct user {
	const char *name;
	uid_t uid;
	char home[PATH_MAX];
};

struct torture {
	char lab[64]; /* where the programs are, for everybody to run */
	const char *rounds;
	struct attack attacks[ATTACKS_MAX];
	size_t attack_count;
	char *notes[NOTES_MAX]; /* why an attack cannot be */
	size_t note_count;
	unsigned failures;
	FILE *table; /* BUILD/torture.txt */
	json_t *results;
};

[[gnu::noreturn]] [[gnu::format(printf, 1, 2)]] static void give_up(const char *format, ...)
{
	va_list arguments;

	fputs("torture: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(OWN_FAILURE);
}

/* To the terminal and to the file. */
[[gnu::format(printf, 2, 3)]] static void say(struct torture *torture, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	fflush(stdout);
	va_start(arguments, format);
	vfprintf(torture->table, format, arguments);
	va_end(arguments);
}

[[gnu::format(printf, 2, 3)]] static void fail(struct torture *torture, const char *format, ...)
{
	va_list arguments;

	torture->failures++;
	fputs("    FAILED: ", stdout);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	puts("");
	fflush(stdout);
}

/* ---- the laboratory ---- */

static void copy_into(const char *directory, const char *from)
{
	char to[PATH_MAX];
	struct stat status;
	cleanup_close int in = open(from, O_RDONLY | O_CLOEXEC);

	snprintf(to, sizeof(to), "%s/%s", directory, strrchr(from, '/') + 1);
	cleanup_close int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	if (in < 0 || out < 0 || fstat(in, &status) < 0)
		give_up("%s: %s", in < 0 ? from : to, strerror(errno));
	for (off_t done = 0; done < status.st_size;)
		if (sendfile(out, in, &done, (size_t)(status.st_size - done)) <= 0)
			give_up("%s: %s", to, strerror(errno));
}

/* The programs are copied: the build may lie where the ordinary user cannot go. */
static void open_lab(struct torture *torture, const char *build)
{
	char path[PATH_MAX];

	/* Not /tmp, which may be in memory: what a disk reads late is there read at once. */
	strcpy(torture->lab, "/var/tmp/sallyport-torture-XXXXXX");
	if (mkdtemp(torture->lab) == NULL || chmod(torture->lab, 0755) < 0)
		give_up("mkdtemp: %s", strerror(errno));
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", build, needed[i]);
		copy_into(torture->lab, path);
	}
	copy_into(torture->lab, "tests/torture/policy.yaml");
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *position)
{
	(void)status;
	(void)type;
	(void)position;
	return remove(path);
}

/* Whatever outlives its supervisor comes to us, and mounts of an attack that was killed end with our mount namespace. */
static void isolate(void)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (geteuid() == 0 && (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0))
		give_up("no mount namespace: %s", strerror(errno));
}

static unsigned end_descendants(void)
{
	char path[64];
	unsigned ended = 0;
	pid_t child = 0;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	for (bool found = true; found;) {
		cleanup_file FILE *file = fopen(path, "re");

		found = file != NULL && fscanf(file, "%d", &child) == 1;
		if (!found)
			break;
		/* What has ended by itself only wants to be reaped. */
		if (waitpid(child, NULL, WNOHANG) == child)
			continue;
		ended++;
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	return ended;
}

/* ---- running one command ---- */

struct outcome {
	int status; /* as a shell shows it */
	bool hung;
	unsigned leftovers;
	char text[8192]; /* both outputs, the beginning */
};

[[gnu::noreturn]] static void become(const struct torture *torture, const struct user *user, int output,
				     const char *const argv[])
{
	char home[PATH_MAX + 16], state[PATH_MAX + 32], tmp[PATH_MAX + 16];
	const char *environment[] = {"PATH=/usr/bin:/bin", home, state, tmp, NULL};

	snprintf(home, sizeof(home), "HOME=%s", user->home);
	snprintf(state, sizeof(state), "XDG_STATE_HOME=%s/state", user->home);
	snprintf(tmp, sizeof(tmp), "TMPDIR=%s", user->home);
	if (chdir(torture->lab) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
		_exit(OWN_FAILURE);
	if (user->uid != geteuid() && (setgroups(0, NULL) < 0 || setresgid(user->uid, user->uid, user->uid) < 0 ||
				       setresuid(user->uid, user->uid, user->uid) < 0))
		_exit(OWN_FAILURE);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	execve(argv[0], (char **)argv, (char **)environment);
	_exit(OWN_FAILURE);
}

static bool ends_in_time(pid_t child, long seconds)
{
	cleanup_close int pidfd = pidfd_open(child, 0);
	struct pollfd event = {.fd = pidfd, .events = POLLIN};

	return poll(&event, 1, (int)seconds * 1000) == 1;
}

static struct outcome run(const struct torture *torture, const struct user *user, const char *const argv[])
{
	struct outcome outcome = {0};
	cleanup_close int output = memfd_create("output", MFD_CLOEXEC);
	pid_t child = fork();
	int status = 0;

	if (child == 0)
		become(torture, user, output, argv);
	if (child < 0 || output < 0)
		give_up("cannot run anything: %s", strerror(errno));
	outcome.hung = !ends_in_time(child, DEADLINE_SECONDS + strtol(torture->rounds, NULL, 10) / 4);
	if (outcome.hung)
		kill(child, SIGKILL);
	waitpid(child, &status, 0);
	outcome.leftovers = end_descendants();
	outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	ssize_t size = pread(output, outcome.text, sizeof(outcome.text) - 1, 0);
	outcome.text[size > 0 ? size : 0] = '\0';
	return outcome;
}

/* ---- the attacks ---- */

static void add_attack(struct torture *torture, char *line)
{
	struct attack *attack = &torture->attacks[torture->attack_count];

	if (torture->attack_count == ATTACKS_MAX ||
	    sscanf(line, "%m[^\t]\t%m[^\t]\t%m[^\n]", &attack->name, &attack->stopped_by, &attack->description) != 3)
		give_up("cannot read the list of attacks at: %s", line);
	torture->attack_count++;
}

static bool is_wanted(const char *line, char *names[])
{
	size_t size = strcspn(line, "\t");

	for (char **name = names; *name != NULL; name++)
		if (strlen(*name) == size && strncmp(*name, line, size) == 0)
			return true;
	return names[0] == NULL;
}

static void list_attacks(struct torture *torture, const struct user *user, char *wanted[])
{
	struct outcome outcome = run(torture, user, (const char *[]){"./attack", "--list", NULL});
	char *rest = NULL;

	if (outcome.status != 0)
		give_up("attack --list: status %d: %s", outcome.status, outcome.text);
	for (char *line = strtok_r(outcome.text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
		if (is_wanted(line, wanted))
			add_attack(torture, line);
	if (torture->attack_count == 0)
		give_up("no such attack");
}

/* NULL: it can escape here. Otherwise the letter of the note that says why not. */
static const char *note_if_impossible(struct torture *torture, const struct user *user, const struct attack *attack)
{
	static char letter[2];
	struct outcome outcome = run(torture, user, (const char *[]){"./attack", "--possible", attack->name, NULL});
	size_t at = 0;

	if (outcome.status == 0)
		return NULL;
	outcome.text[strcspn(outcome.text, "\n")] = '\0';
	while (at < torture->note_count && strcmp(torture->notes[at], outcome.text) != 0)
		at++;
	if (at == NOTES_MAX)
		give_up("too many notes");
	if (at == torture->note_count)
		torture->notes[torture->note_count++] = strdup(outcome.text);
	letter[0] = (char)('a' + at);
	return letter;
}

/* ---- one cell ---- */

static bool parse_counts(const char *text, struct cell *cell)
{
	const char *line = strstr(text, "rounds=");

	return line != NULL &&
	       sscanf(line, "rounds=%ld approved=%ld escaped=%ld refused=%ld blocked=%ld killed=%ld other=%ld",
		      &cell->rounds, &cell->approved, &cell->escaped, &cell->refused, &cell->blocked, &cell->killed,
		      &cell->other) == 7;
}

static struct cell run_cell(struct torture *torture, const struct user *user, const struct attack *attack,
			    enum column column)
{
	const char *argv[ARGUMENTS_MAX] = {0};
	char marker[PATH_MAX], intruder[PATH_MAX];
	struct cell cell = {.kind = RAN};
	size_t count = 0;

	snprintf(marker, sizeof(marker), "%s/marker", torture->lab);
	snprintf(intruder, sizeof(intruder), "%s/intruder", torture->lab);
	for (; columns[column].command[count] != NULL; count++)
		argv[count] = columns[column].command[count];
	const char *const command[] = {"./attack", attack->name, torture->rounds, marker, intruder};
	memcpy(argv + count, command, sizeof(command));

	struct outcome outcome = run(torture, user, argv);
	if (outcome.status == OWN_FAILURE && strstr(outcome.text, "not there yet") != NULL) {
		cell.kind = NOT_THERE;
	} else if (outcome.hung || outcome.status != 0 || !parse_counts(outcome.text, &cell) || cell.other > 0) {
		cell.kind = FAILED;
		fail(torture, "%s, %s, %s: %s, status %d: %.2000s", attack->name, user->name, columns[column].name,
		     outcome.hung ? "hung" : "ended", outcome.status, outcome.text);
	} else if (outcome.leftovers > 0) {
		fail(torture, "%s, %s, %s: %u processes were left", attack->name, user->name, columns[column].name,
		     outcome.leftovers);
	}
	return cell;
}

static void add_counts(struct cell *sum, const struct cell *part)
{
	sum->kind = part->kind;
	sum->rounds += part->rounds;
	sum->approved += part->approved;
	sum->escaped += part->escaped;
	sum->refused += part->refused;
	sum->blocked += part->blocked;
	sum->killed += part->killed;
	sum->other += part->other;
}

static struct cell run_control(struct torture *torture, const struct user *user, const struct attack *attack,
			       bool possible)
{
	struct cell sum = {.kind = RAN};

	for (int i = 0; i < (possible ? CONTROL_TRIES : 1) && sum.escaped == 0 && sum.kind == RAN; i++) {
		const struct cell part = run_cell(torture, user, attack, NAIVE);

		add_counts(&sum, &part);
	}
	return sum;
}

/* ---- the table ---- */

static void format_cell(const struct cell *cell, const char *note, char text[static 64])
{
	int size = 0;

	if (cell->kind == NOT_THERE)
		strcpy(text, "not there");
	else if (cell->kind == FAILED)
		strcpy(text, "FAILED");
	else if (note != NULL && cell->escaped == 0)
		snprintf(text, 64, "- (%s)", note);
	else
		size = snprintf(text, 64, "%ld/%ld", cell->escaped, cell->rounds);
	if (size > 0 && cell->killed > 0)
		snprintf(text + size, 64 - (size_t)size, " %ldk", cell->killed);
	else if (size > 0 && cell->blocked == cell->rounds)
		snprintf(text + size, 64 - (size_t)size, " f");
}

static json_t *describe_cell(const struct cell *cell, const char *note)
{
	static const char *const kinds[] = {[RAN] = "ran", [NOT_THERE] = "not there", [FAILED] = "failed"};
	json_t *object = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "result", kinds[cell->kind], "rounds",
				   (json_int_t)cell->rounds, "approved", (json_int_t)cell->approved, "escaped",
				   (json_int_t)cell->escaped, "refused", (json_int_t)cell->refused, "blocked",
				   (json_int_t)cell->blocked, "killed", (json_int_t)cell->killed);

	if (note != NULL)
		json_object_set_new(object, "impossible", json_string(note));
	return object;
}

static void judge_row(struct torture *torture, const struct user *user, const struct attack *attack, bool possible,
		      const struct cell cells[static COLUMNS])
{
	if (possible && cells[NAIVE].kind == RAN && cells[NAIVE].escaped == 0)
		fail(torture, "%s, %s: is no attack, the naive control stops it", attack->name, user->name);
	for (int column = ATTACHED; column <= ONESHOT; column++)
		if (cells[column].escaped > 0)
			fail(torture, "%s, %s, %s: ESCAPED", attack->name, user->name, columns[column].name);
}

static void run_row(struct torture *torture, const struct user *user, const struct attack *attack)
{
	const char *note = note_if_impossible(torture, user, attack);
	struct cell cells[COLUMNS] = {[NAIVE] = run_control(torture, user, attack, note == NULL)};
	json_t *row = json_pack("{s:s, s:s, s:s, s:s}", "user", user->name, "attack", attack->name, "stopped_by",
				attack->stopped_by, "description", attack->description);
	char text[64];

	for (int column = ATTACHED; column < COLUMNS; column++)
		cells[column] = run_cell(torture, user, attack, (enum column)column);
	say(torture, "%-17s %-10s", attack->name, attack->stopped_by);
	for (int column = NAIVE; column < COLUMNS; column++) {
		const char *why = column == NAIVE ? note : NULL;

		format_cell(&cells[column], why, text);
		say(torture, " %-11s", text);
		json_object_set_new(row, columns[column].name,
				    describe_cell(&cells[column], why != NULL ? torture->notes[why[0] - 'a'] : NULL));
	}
	say(torture, " %s\n", attack->description);
	json_array_append_new(torture->results, row);
	judge_row(torture, user, attack, note == NULL, cells);
}

static void run_table(struct torture *torture, const struct user *user)
{
	say(torture, "\n%s (uid %u)\n%-17s %-10s", user->name, user->uid, "attack", "stopped by");
	for (int column = NAIVE; column < COLUMNS; column++)
		say(torture, " %-11s", columns[column].title);
	say(torture, " what it does\n");
	for (size_t i = 0; i < torture->attack_count; i++)
		run_row(torture, user, &torture->attacks[i]);
}

static void print_legend(struct torture *torture)
{
	say(torture,
	    "\nescaped/rounds. Nk: N rounds ended by verification, killed before the first instruction. f: what the\n"
	    "attack needs was refused in all rounds, by the filter or for want of root. The two columns to the right\n"
	    "may show escapes: that is what they are for.\n");
	for (size_t i = 0; i < torture->note_count; i++)
		say(torture, "(%c) %s\n", (char)('a' + i), torture->notes[i]);
}

static FILE *create_file(const char *build, const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", build, name);
	FILE *file = fopen(path, "we");
	if (file == NULL)
		give_up("%s: %s", path, strerror(errno));
	return file;
}

static void write_json(struct torture *torture, const char *build)
{
	struct utsname kernel;
	cleanup_file FILE *file = create_file(build, "torture.json");

	uname(&kernel);
	json_t *all = json_pack("{s:s, s:I, s:I, s:o}", "kernel", kernel.release, "rounds",
				(json_int_t)strtol(torture->rounds, NULL, 10), "failures",
				(json_int_t)torture->failures, "results", torture->results);
	json_dumpf(all, file, JSON_INDENT(1));
	json_decref(all);
}

static void make_home(const struct torture *torture, struct user *user)
{
	snprintf(user->home, sizeof(user->home), "%s/home-%s", torture->lab, user->name);
	if (mkdir(user->home, 0755) < 0 || chown(user->home, user->uid, user->uid) < 0)
		give_up("%s: %s", user->home, strerror(errno));
}

int main(int argc, char *argv[])
{
	struct torture torture = {.rounds = getenv("ROUNDS"), .results = json_array()};
	struct user users[] = {{.name = geteuid() == 0 ? "root" : "user", .uid = geteuid()},
			       {.name = "user", .uid = NOBODY}};
	size_t user_count = geteuid() == 0 ? 2 : 1;
	char rounds[16];

	if (argc < 2) {
		fputs("usage: torture BUILD [ATTACK...]\n", stderr);
		return OWN_FAILURE;
	}
	if (torture.rounds == NULL || strtol(torture.rounds, NULL, 10) <= 0) {
		snprintf(rounds, sizeof(rounds), "%d", DEFAULT_ROUNDS);
		torture.rounds = rounds;
	}
	torture.table = create_file(argv[1], "torture.txt");
	isolate();
	open_lab(&torture, argv[1]);
	for (size_t i = 0; i < user_count; i++)
		make_home(&torture, &users[i]);
	list_attacks(&torture, &users[0], argv + 2);
	for (size_t i = 0; i < user_count; i++)
		run_table(&torture, &users[i]);
	print_legend(&torture);
	say(&torture, "\n%u failures\n", torture.failures);
	fclose(torture.table);
	write_json(&torture, argv[1]);
	nftw(torture.lab, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	return torture.failures > 0;
}
