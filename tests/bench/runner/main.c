/* The benchmark: the same work natively, under sallyport, under the least supervisor there can be, and under others; in turns,
 * so that a machine that grows slower or busier meanwhile does so for all. What counts is the ratio to native of the same round.
 *
 * usage: runner BUILD SOURCE     BUILD: the build directory; SOURCE: of a real package, with its ./configure, or "" for none
 * environment: ROUNDS (7), ROWS ("execstorm build ..."), QUICK=1 (2 rounds, no long rows)
 * Prints the tables as they come and writes BUILD/bench.json. */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* Seconds. A contestant may take that long, and LENIENCE times as long as native. */
enum { ARGV_MAX = 64, DEADLINE = 20, LENIENCE = 10, PREPARE_DEADLINE = 600, NATIVE_DEADLINE = 600 };

const char *const contestant_names[CONTESTANTS] = {"native", "floor", "attached", "oneshot", "strace", "sudo", "bwrap"};

#define SHELL_LOOP(count, body) "i=0; while [ $i -lt " count " ]; do " body "; i=$((i+1)); done"

/* clang-format off */
static const struct workload workloads[] = {
	{"execstorm", "500 x fork, exec /bin/true, wait", {"programs/execstorm", "500", "1", "/bin/true"}, .per_exec = true},
	{"execstorm2", "1,000 of these, from 2 processes", {"programs/execstorm", "1000", "2", "/bin/true"}, .per_exec = true},
	{"forkstorm", "2,000 forks, from 2 threads", {"programs/forkstorm", "2", "1000"}},
	{"shell", "dash: 300 x /bin/true", {"dash", "-c", SHELL_LOOP("300", "/bin/true")}, .per_exec = true},
	{"pipelines", "dash: 100 x echo | cat | cat",
	 {"dash", "-c", SHELL_LOOP("100", "/bin/echo x | /bin/cat | /bin/cat")}, .per_exec = true},
	{"configure", "./configure of GNU sed", {"sh", "-c", "cd configure && exec \"$SOURCE/configure\" -q"},
	 .prepare = "rm -rf configure && mkdir configure", .rounds_max = 3, .package = true, .per_exec = true},
	{"build", "make -j2 of GNU sed", {"make", "-s", "-j2", "-C", "build"},
	 .prepare = "if [ -d build ]; then make -s -C build clean; else mkdir build && cd build && \"$SOURCE/configure\" -q; fi",
	 .rounds_max = 5, .package = true, .per_exec = true},
	{"threads", "3,000 threads, made and joined", {"bench/threads", "3000"}},
	{"pingpong", "5,000 signals there and back", {"bench/pingpong", "5000"}},
	{"latency", "one exec, seen by its caller", {"bench/latency", "500", "0", "bench/first"}, .fields = {"p50", "p90", "p99"}},
	{"spin1", "one exec, 1 spinning sibling", {"bench/latency", "100", "1", "bench/first"}, .fields = {"p50"}, .freeze = true},
	{"spin4", "one exec, 4 spinning siblings", {"bench/latency", "50", "4", "bench/first"}, .fields = {"p50"}, .freeze = true},
	{"spin16", "one exec, 16 spinning siblings", {"bench/latency", "25", "16", "bench/first"}, .fields = {"p50"},
	 .freeze = true},
	{"spin64", "one exec, 64 spinning siblings", {"bench/latency", "15", "64", "bench/first"}, .fields = {"p50"},
	 .freeze = true},
	{"idle1", "200 execs beside 1 idle process", {"bench/idle", "1", "200", "/bin/true"}, .fields = {"ns"}},
	{"idle100", "200 execs beside 100", {"bench/idle", "100", "200", "/bin/true"}, .fields = {"ns"}},
	{"idle1000", "200 execs beside 1,000", {"bench/idle", "1000", "200", "/bin/true"}, .fields = {"ns"}},
	{"idle10000", "200 execs beside 10,000", {"bench/idle", "10000", "200", "/bin/true"}, .fields = {"ns"}, .rounds_max = 3},
	{"startup", "run -- true", {"/bin/true"}, .repeat = 20},
	{"confined", "the same, confined", {"/bin/true"}, .repeat = 20, .confined = true},
};
/* clang-format on */

struct bench {
	char build[PATH_MAX], policy[PATH_MAX], strict[PATH_MAX];
	char *scratch; /* the working directory of everything that is measured */
	const char *source; /* NULL: none */
	const char *only; /* names of rows; NULL: all */
	bool quick;
	struct results results;
};

static int fail(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	return 1;
}

[[gnu::format(printf, 1, 2)]] static char *text(const char *format, ...)
{
	char *result = NULL;
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(&result, format, arguments) < 0)
		abort();
	va_end(arguments);
	return result;
}

/* What went wrong is said last. */
static char *last_line(const char *output)
{
	size_t end = output != NULL ? strlen(output) : 0;

	while (end > 0 && output[end - 1] == '\n')
		end--;
	size_t begin = end;
	while (begin > 0 && output[begin - 1] != '\n')
		begin--;
	return text("%.*s", (int)(end - begin), end > 0 ? output + begin : "");
}

/* ---- the contestants' command lines ---- */

struct command {
	char *argv[ARGV_MAX];
	size_t count;
};

static void command_release(struct command *command)
{
	for (size_t i = 0; i < command->count; i++)
		free(command->argv[i]);
	command->count = 0;
}

static void add(struct command *command, char *owned)
{
	if (command->count + 1 >= ARGV_MAX)
		abort();
	command->argv[command->count++] = owned;
	command->argv[command->count] = NULL;
}

static void add_all(struct command *command, const char *const words[])
{
	for (; *words != NULL; words++)
		add(command, strdup(*words));
}

static void add_sallyport(const struct bench *b, struct command *command, const char *tracking, bool confined)
{
	add(command, text("%s/sallyport", b->build));
	add_all(command, (const char *const[]){"run", "--tracking", tracking, "-p", confined ? b->strict : b->policy,
					       "--audit", "audit.db", "--", NULL});
}

/* What policies/strict.yaml says of namespaces and of the root directory. */
static void add_bwrap(struct command *command)
{
	static const char *const trees[] = {
		"/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives", "/etc/ld.so.cache"};

	add_all(command, (const char *const[]){"bwrap", "--unshare-user", "--unshare-pid", "--unshare-net",
					       "--unshare-ipc", "--unshare-uts", "--unshare-cgroup",
					       "--die-with-parent", "--new-session", "--clearenv", NULL});
	for (size_t i = 0; i < sizeof(trees) / sizeof(*trees); i++)
		add_all(command, (const char *const[]){"--ro-bind", trees[i], trees[i], NULL});
	add_all(command, (const char *const[]){"--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--chdir", "/tmp",
					       "--", NULL});
}

static void add_contestant(const struct bench *b, struct command *command, enum contestant who,
			   const struct workload *workload)
{
	switch (who) {
	case FLOOR:
		add(command, text("%s/tests/bench/floor", b->build));
		if (workload->freeze)
			add(command, strdup("--freeze"));
		add(command, strdup("--"));
		break;
	case ATTACHED:
	case ONESHOT:
		add_sallyport(b, command, contestant_names[who], workload->confined);
		break;
	case STRACE:
		add_all(command, (const char *const[]){"strace", "-f", "--seccomp-bpf", "-e", "trace=execve", "-o",
						       "/dev/null", NULL});
		break;
	case SUDO:
		add_all(command, (const char *const[]){"sudo", "-n", "--", NULL});
		break;
	case BWRAP:
		add_bwrap(command);
		break;
	default:
		break;
	}
}

static void add_workload(const struct bench *b, struct command *command, const struct workload *workload)
{
	for (size_t i = 0; i < WORDS_MAX && workload->argv[i] != NULL; i++) {
		const char *word = workload->argv[i];
		bool ours = strncmp(word, "bench/", 6) == 0 || strncmp(word, "programs/", 9) == 0;

		add(command, ours ? text("%s/tests/%s", b->build, word) : strdup(word));
	}
}

static struct run run_shell(const char *script)
{
	return run_command((char *const[]){"sh", "-c", (char *)script, NULL}, PREPARE_DEADLINE, false);
}

static int shell_status(const char *script)
{
	cleanup_run struct run run = run_shell(script);

	return run.status;
}

static struct run run_as(const struct bench *b, enum contestant who, const struct workload *workload, int deadline,
			 bool count)
{
	sp_cleanup(command_release) struct command command = {0};

	/* People have a database. Where execs are counted it is a new one. */
	if (count && who == ATTACHED)
		(void)shell_status("rm -rf audit.db*");
	if (workload->prepare != NULL) {
		cleanup_run struct run prepared = run_shell(workload->prepare);

		if (prepared.status != 0)
			fprintf(stderr, "bench: cannot prepare %s: %s\n", workload->name, prepared.output);
	}
	add_contestant(b, &command, who, workload);
	add_workload(b, &command, workload);
	return run_command(command.argv, deadline, count);
}

/* ---- one row, or several ---- */

static double field_of(const struct run *run, const char *field)
{
	if (field == NULL)
		return (double)run->wall_ns;
	cleanup_free char *key = text("%s=", field);
	const char *at = strstr(run->output, key);
	return at != NULL ? strtod(at + strlen(key), NULL) : -1;
}

static void miss(struct row *rows, size_t count, enum contestant who, const struct run *run)
{
	cleanup_free char *line = last_line(run->output);

	for (size_t i = 0; i < count; i++)
		rows[i].cells[who].missing = run->timed_out
						     ? text("hangs: killed after %.0f s", (double)run->wall_ns / 1e9)
						     : text("fails with status %d: %s", run->status, line);
}

static void append(struct cell *cell, double ns)
{
	cell->samples = reallocarray(cell->samples, cell->count + 1, sizeof(*cell->samples));
	if (cell->samples == NULL)
		abort();
	cell->samples[cell->count++] = ns;
}

/* Seconds. */
static int deadline_of(const struct row *row, enum contestant who)
{
	return who == NATIVE ? NATIVE_DEADLINE : DEADLINE + (int)(row->slowest_native_ns * LENIENCE / 1e9);
}

/* One sample for each row of the workload. False: the contestant is out. */
static bool sample(const struct bench *b, struct row *rows, size_t count, enum contestant who, bool keep,
		   double *cpu_ns)
{
	const struct workload *workload = rows->workload;
	int repeat = workload->repeat > 0 ? workload->repeat : 1;
	double sums[FIELDS_MAX] = {0};

	for (int i = 0; i < repeat; i++) {
		cleanup_run struct run run = run_as(b, who, workload, deadline_of(rows, who), false);

		if (run.status != 0 || run.timed_out || run.output == NULL) {
			miss(rows, count, who, &run);
			return false;
		}
		for (size_t j = 0; j < count; j++)
			sums[j] += field_of(&run, rows[j].field);
		*cpu_ns = (double)run.cpu_ns;
		if (who == NATIVE && (double)run.wall_ns > rows->slowest_native_ns)
			rows->slowest_native_ns = (double)run.wall_ns;
	}
	for (size_t j = 0; keep && j < count; j++)
		append(&rows[j].cells[who], sums[j] / repeat);
	return true;
}

static uint64_t execs_of(const struct bench *b)
{
	cleanup_free char *script = text("%s/sallyport log --audit audit.db --summary", b->build);
	cleanup_run struct run summary = run_shell(script);
	const char *line = summary.output != NULL ? strstr(summary.output, "\nexecs ") : NULL;

	return line != NULL ? strtoull(line + strlen("\nexecs "), NULL, 10) : 0;
}

/* Counting slows every task of the machine down, so it has runs of its own. */
static void count_effort(const struct bench *b, const struct row *row, const double cpu_ns[], struct effort *effort)
{
	static const enum contestant order[] = {ATTACHED, ONESHOT, FLOOR, STRACE, SUDO}; /* the first tells the execs */

	effort->workload = row->workload;
	for (size_t i = 0; i < sizeof(order) / sizeof(*order); i++) {
		enum contestant who = order[i];
		struct appetite *appetite = &effort->of[who];

		if (row->cells[who].missing != NULL)
			continue;
		cleanup_run struct run run = run_as(b, who, row->workload, deadline_of(row, who), true);
		if (who == ATTACHED)
			effort->execs = execs_of(b);
		if (run.status != 0 || effort->execs == 0)
			continue;
		*appetite = (struct appetite){
			.known = true,
			.counted = run.counts.known,
			.cpu_us = cpu_ns[who] / 1000 / (double)effort->execs,
			.switches = (double)run.counts.switches / (double)effort->execs,
			.syscalls = (double)run.counts.syscalls / (double)effort->execs,
		};
	}
}

static int rounds_of(const struct bench *b, const struct workload *workload)
{
	int rounds = b->results.rounds;

	return workload->rounds_max > 0 && workload->rounds_max < rounds ? workload->rounds_max : rounds;
}

/* Those that only supervise do not confine, and bwrap only confines. */
static bool takes_part(enum contestant who, const struct workload *workload)
{
	if (who == NATIVE || who == ATTACHED || who == ONESHOT)
		return true;
	return workload->confined == (who == BWRAP);
}

/* Round 0 fills the caches. Who begins changes from round to round. */
static void measure(struct bench *b, struct row *rows, size_t count)
{
	double cpu_ns[CONTESTANTS] = {0}, cpu_sum[CONTESTANTS] = {0};
	int rounds = rounds_of(b, rows->workload);

	for (int who = 0; who < CONTESTANTS; who++)
		for (size_t i = 0; i < count; i++)
			if (!takes_part((enum contestant)who, rows->workload))
				rows[i].cells[who].missing = strdup("");
			else if (b->results.absent[who] != NULL)
				rows[i].cells[who].missing = strdup(b->results.absent[who]);
	for (int round = 0; round <= rounds; round++)
		for (int i = 0; i < CONTESTANTS; i++) {
			enum contestant who = (enum contestant)((i + round) % CONTESTANTS);

			if (rows->cells[who].missing != NULL || !sample(b, rows, count, who, round > 0, &cpu_ns[who]))
				continue;
			cpu_sum[who] += round > 0 ? cpu_ns[who] : 0;
		}
	for (size_t i = 0; i < count; i++)
		report_row(stdout, &rows[i]);
	if (!rows->workload->per_exec || rows->cells[ATTACHED].missing != NULL)
		return;
	for (int who = 0; who < CONTESTANTS; who++)
		cpu_sum[who] /= rounds;
	count_effort(b, rows, cpu_sum, &b->results.efforts[b->results.effort_count++]);
}

static bool is_wanted(const struct bench *b, const struct workload *workload)
{
	size_t length = strlen(workload->name);

	if (b->only == NULL)
		return !b->quick || (workload->rounds_max == 0);
	for (const char *at = strstr(b->only, workload->name); at != NULL; at = strstr(at + 1, workload->name))
		if ((at == b->only || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
			return true;
	return false;
}

static int measure_all(struct bench *b)
{
	const size_t workload_count = sizeof(workloads) / sizeof(*workloads);
	struct results *results = &b->results;

	results->rows = calloc(workload_count * FIELDS_MAX, sizeof(*results->rows));
	results->efforts = calloc(workload_count, sizeof(*results->efforts));
	if (results->rows == NULL || results->efforts == NULL)
		return fail("out of memory");
	report_header(stdout);
	for (const struct workload *w = workloads; w < workloads + workload_count; w++) {
		struct row *rows = results->rows + results->row_count;
		size_t count = 0;

		if (!is_wanted(b, w))
			continue;
		if (w->package && b->source == NULL) {
			printf("%-34s  skipped: no source of a package\n", w->title);
			continue;
		}
		do
			rows[count] = (struct row){.workload = w, .field = w->fields[count]};
		while (++count < FIELDS_MAX && w->fields[count] != NULL);
		results->row_count += count;
		measure(b, rows, count);
	}
	return 0;
}

/* ---- what is there ---- */

/* sudo reads /etc/sudoers: one of ours lies on it, in a mount namespace of our own, so that nothing on the host changes. */
static int mount_sudoers(const struct bench *b)
{
	static const char rules[] = "Defaults intercept, intercept_type=trace\n"
				    "Defaults !env_reset, !use_pty, !lecture\n"
				    "root ALL=(ALL:ALL) NOPASSWD: ALL\n";
	cleanup_free char *path = text("%s/sudoers", b->scratch);
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0440);

	if (fd < 0 || write(fd, rules, sizeof(rules) - 1) != (ssize_t)sizeof(rules) - 1)
		return -1;
	return mount(path, "/etc/sudoers", NULL, MS_BIND, NULL);
}

static void enter_namespace(struct bench *b)
{
	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		b->results.absent[SUDO] = strdup("needs root, for a sudoers file of its own");
	else {
		/* For counting. Where it is there already, this is one more on top. */
		(void)mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL);
		if (mount_sudoers(b) != 0)
			b->results.absent[SUDO] = text("no /etc/sudoers to put ours on: %s", strerror(errno));
	}
}

static void probe(struct bench *b)
{
	static const struct workload nothing = {.name = "true", .argv = {"/bin/true"}};

	for (int who = 0; who < CONTESTANTS; who++) {
		char **absent = &b->results.absent[who];

		if (*absent != NULL)
			continue;
		cleanup_run struct run run = run_as(b, (enum contestant)who, &nothing, DEADLINE, false);
		if (run.timed_out)
			*absent = text("not done with `true` after %d s", DEADLINE);
		else if (run.output != NULL && strstr(run.output, "not there yet") != NULL)
			*absent = strdup("not there yet");
		else if (run.status != 0)
			*absent = last_line(run.output);
	}
}

static void results_release(struct results *results)
{
	for (size_t i = 0; i < results->row_count; i++)
		for (int who = 0; who < CONTESTANTS; who++) {
			free(results->rows[i].cells[who].samples);
			free(results->rows[i].cells[who].missing);
		}
	for (int who = 0; who < CONTESTANTS; who++)
		free(results->absent[who]);
	free(results->rows);
	free(results->efforts);
}

static int read_environment(struct bench *b)
{
	const char *rounds = getenv("ROUNDS"), *quick = getenv("QUICK"), *only = getenv("ROWS");

	b->quick = quick != NULL && strcmp(quick, "") != 0 && strcmp(quick, "0") != 0;
	b->only = only != NULL && *only != '\0' ? only : NULL;
	b->results.rounds = rounds != NULL && *rounds != '\0' ? atoi(rounds) : b->quick ? 2 : 7;
	/* We are run by a make, whose jobserver is not that of the makes that are measured. */
	for (const char *const *name = (const char *const[]){"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES",
							     "ROUNDS", "QUICK", "ROWS", NULL};
	     *name != NULL; name++)
		unsetenv(*name);
	return b->results.rounds > 0 ? 0 : -1;
}

/* Emptied before and after: a benchmark is interrupted more often than not. */
static int make_scratch(struct bench *b)
{
	cleanup_free char *script = NULL;

	b->scratch = text("%s/bench-work", b->build);
	script = text("rm -rf '%s' && mkdir '%s'", b->scratch, b->scratch);
	return shell_status(script) == 0 ? chdir(b->scratch) : -1;
}

int main(int argc, char *argv[])
{
	struct bench b = {0};

	if (argc != 3 || read_environment(&b) != 0) {
		fprintf(stderr, "usage: [ROUNDS=N] [ROWS='NAME...'] [QUICK=1] runner BUILD SOURCE\n");
		return 2;
	}
	b.source = argv[2][0] != '\0' ? argv[2] : NULL;
	if (b.source != NULL)
		setenv("SOURCE", b.source, 1);
	if (realpath(argv[1], b.build) == NULL || realpath("policies/record.yaml", b.policy) == NULL ||
	    realpath("policies/strict.yaml", b.strict) == NULL)
		return fail("no build directory or policies here");
	setvbuf(stdout, NULL, _IOLBF, 0);
	run_prepare();
	if (make_scratch(&b) != 0)
		return fail("cannot make a directory to work in");
	enter_namespace(&b);
	probe(&b);
	int status = measure_all(&b);
	if (status == 0) {
		cleanup_free char *path = text("%s/bench.json", b.build);

		report_rest(stdout, &b.results);
		if (report_json(path, &b.results) != 0)
			status = fail(path);
	}
	results_release(&b.results);
	(void)chdir(b.build);
	(void)shell_status("rm -rf bench-work");
	free(b.scratch);
	return status;
}
