/* Runs commands for the integration tests. See harness.h for what is promised. */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

enum { NOBODY = 65534, DEFAULT_DEADLINE = 120 };

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

int64_t sp_deadline(int seconds)
{
	return now() + seconds * INT64_C(1000000000);
}

/* ---- the laboratory ---- */

static bool changes_user(const struct sp_lab *lab)
{
	return lab->who == SP_WHO_USER && geteuid() == 0;
}

static void give_to_user(const struct sp_lab *lab, const char *path)
{
	if (changes_user(lab))
		cr_assert_eq(chown(path, NOBODY, NOBODY), 0, "chown %s: %s", path, strerror(errno));
}

void sp_lab_open(struct sp_lab *lab, enum sp_who who)
{
	*lab = (struct sp_lab){.who = who, .directory = "/tmp/sallyport-test-XXXXXX"};
	cr_assert_not_null(mkdtemp(lab->directory), "mkdtemp: %s", strerror(errno));
	give_to_user(lab, lab->directory);
	snprintf(lab->audit, sizeof(lab->audit), "%s/audit.db", lab->directory);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *position)
{
	(void)status;
	(void)type;
	(void)position;
	return remove(path);
}

void sp_lab_close(struct sp_lab *lab)
{
	sp_end_descendants(0);
	nftw(lab->directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	for (size_t i = 0; i < lab->string_count; i++)
		free(lab->strings[i]);
	free(lab->strings);
}

/* Takes ownership. */
static void *keep(struct sp_lab *lab, void *memory)
{
	lab->strings = reallocarray(lab->strings, lab->string_count + 1, sizeof(*lab->strings));
	cr_assert(lab->strings != NULL && memory != NULL, "out of memory");
	lab->strings[lab->string_count++] = memory;
	return memory;
}

const char *sp_text(struct sp_lab *lab, const char *format, ...)
{
	char *text = NULL;
	va_list arguments;
	int size = -1;

	va_start(arguments, format);
	size = vasprintf(&text, format, arguments);
	va_end(arguments);
	cr_assert_geq(size, 0, "out of memory");
	return keep(lab, text);
}

/* The directory of the build: where this runner lies is BUILD/tests/. */
static const char *build_directory(struct sp_lab *lab)
{
	const char *named = getenv("SP_BUILD");
	char own[PATH_MAX + 1] = "", *absolute = NULL;

	if (named == NULL) {
		cr_assert_gt(readlink("/proc/self/exe", own, PATH_MAX), 0);
		for (int i = 0; i < 2; i++)
			*strrchr(own, '/') = '\0';
		named = own;
	}
	absolute = realpath(named, NULL);
	cr_assert_not_null(absolute, "%s: %s", named, strerror(errno));
	return keep(lab, absolute);
}

static bool user_can(const char *path, int mode)
{
	bool can = false;

	cr_assert_eq(seteuid(NOBODY), 0);
	can = euidaccess(path, mode) == 0;
	cr_assert_eq(seteuid(0), 0);
	return can;
}

/* A build below a directory that is closed to others, as root's home is. */
static const char *copy_for_user(struct sp_lab *lab, const char *path)
{
	const char *copy = sp_text(lab, "%s/%s", lab->directory, strrchr(path, '/') + 1);
	cleanup_close int in = open(path, O_RDONLY | O_CLOEXEC);
	cleanup_close int out = open(copy, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	struct stat status;

	if (out < 0 && errno == EEXIST)
		return copy;
	cr_assert(in >= 0 && out >= 0 && fstat(in, &status) == 0, "copying %s: %s", path, strerror(errno));
	for (off_t done = 0; done < status.st_size;)
		cr_assert_gt(sendfile(out, in, &done, (size_t)(status.st_size - done)), 0, "copying %s", path);
	return copy;
}

static const char *runnable(struct sp_lab *lab, const char *path)
{
	cr_assert_eq(access(path, X_OK), 0, "%s: %s (run `make test`)", path, strerror(errno));
	return changes_user(lab) && !user_can(path, R_OK | X_OK) ? copy_for_user(lab, path) : path;
}

const char *sp_file(struct sp_lab *lab, const char *path)
{
	char *absolute = realpath(path, NULL);

	cr_assert_not_null(absolute, "%s: %s", path, strerror(errno));
	const char *kept = keep(lab, absolute);
	return changes_user(lab) && !user_can(kept, R_OK) ? copy_for_user(lab, kept) : kept;
}

const char *sp_plugin(struct sp_lab *lab, const char *directory, const char *name)
{
	return sp_file(lab, sp_text(lab, "%s/%s/%s.so", build_directory(lab), directory, name));
}

const char *sp_sallyport(struct sp_lab *lab)
{
	return runnable(lab, sp_text(lab, "%s/sallyport", build_directory(lab)));
}

const char *sp_sallyportd(struct sp_lab *lab)
{
	return runnable(lab, sp_text(lab, "%s/sallyportd", build_directory(lab)));
}

const char *sp_program(struct sp_lab *lab, const char *name)
{
	return runnable(lab, sp_text(lab, "%s/tests/programs/%s", build_directory(lab), name));
}

const char *sp_write_file(struct sp_lab *lab, const char *name, const void *data, size_t size, mode_t mode)
{
	const char *path = sp_text(lab, "%s/%s", lab->directory, name);
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
	for (size_t done = 0; done < size;) {
		ssize_t part = write(fd, (const char *)data + done, size - done);

		cr_assert_gt(part, 0, "%s: %s", path, strerror(errno));
		done += (size_t)part;
	}
	give_to_user(lab, path);
	cr_assert_eq(fchmod(fd, mode), 0);
	return path;
}

void sp_set_policy(struct sp_lab *lab, const char *text)
{
	lab->policy = (char *)sp_write_file(lab, "policy.yaml", text, strlen(text), 0644);
}

/* ---- starting ---- */

enum { ENVIRONMENT_MAX = 12 };

static void fill_environment(struct sp_lab *lab, const char *extra, const char *environment[static ENVIRONMENT_MAX])
{
	static const char *const passed_on[] = {"ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS"};
	size_t count = 0;

	environment[count++] = "PATH=/usr/local/bin:/usr/bin:/bin";
	environment[count++] = "LC_ALL=C.UTF-8";
	environment[count++] = sp_text(lab, "HOME=%s", lab->directory);
	environment[count++] = sp_text(lab, "TMPDIR=%s", lab->directory);
	environment[count++] = sp_text(lab, "XDG_STATE_HOME=%s/state", lab->directory);
	environment[count++] = sp_text(lab, "XDG_CONFIG_HOME=%s/config", lab->directory);
	for (size_t i = 0; i < sizeof(passed_on) / sizeof(passed_on[0]); i++)
		if (getenv(passed_on[i]) != NULL)
			environment[count++] = sp_text(lab, "%s=%s", passed_on[i], getenv(passed_on[i]));
	if (extra != NULL)
		environment[count++] = extra;
	environment[count] = NULL;
}

static bool become_user(const struct sp_lab *lab)
{
	return !changes_user(lab) || (setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
				      setresuid(NOBODY, NOBODY, NOBODY) == 0);
}

static void default_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
}

void sp_exec_in_lab(struct sp_lab *lab, const char *const argv[], const char *extra_environment)
{
	const char *environment[ENVIRONMENT_MAX];

	fill_environment(lab, extra_environment, environment);
	default_signals();
	if (!become_user(lab) || chdir(lab->directory) < 0)
		_exit(99);
	/* A test that fails leaves no command behind. (After the change of user, which resets it.) */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	execvpe(argv[0], (char **)argv, (char **)environment);
	dprintf(2, "harness: %s: %s\n", argv[0], strerror(errno));
	_exit(99);
}

struct sp_child sp_start(struct sp_lab *lab, const struct sp_options *options, const char *const argv[])
{
	int deadline = options != NULL && options->deadline > 0 ? options->deadline : DEFAULT_DEADLINE;
	struct sp_child child = {.deadline = sp_deadline(deadline)};
	int in[2], out[2], err[2];

	cr_assert(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0);
	child.pid = fork();
	cr_assert_geq(child.pid, 0, "fork: %s", strerror(errno));
	if (child.pid == 0) {
		if (dup2(in[0], 0) < 0 || dup2(out[1], 1) < 0 || dup2(err[1], 2) < 0)
			_exit(99);
		sp_exec_in_lab(lab, argv, options != NULL ? options->extra_environment : NULL);
	}
	close(in[0]);
	close(out[1]);
	close(err[1]);
	child.input = in[1];
	child.out = out[0];
	child.err = err[0];
	fcntl(child.input, F_SETFL, O_NONBLOCK);
	fcntl(child.out, F_SETFL, O_NONBLOCK);
	fcntl(child.err, F_SETFL, O_NONBLOCK);
	return child;
}

/* ---- talking ---- */

static void append(struct sp_buffer *buffer, const char *data, size_t size)
{
	buffer->data = realloc(buffer->data, buffer->size + size + 1);
	cr_assert_not_null(buffer->data, "out of memory");
	memcpy(buffer->data + buffer->size, data, size);
	buffer->size += size;
	buffer->data[buffer->size] = '\0';
}

/* What is there now. The fd is closed and -1 at its end. */
static void drain(int *fd, struct sp_buffer *buffer)
{
	char data[65536];
	ssize_t size = 0;

	while (*fd >= 0 && (size = read(*fd, data, sizeof(data))) > 0)
		append(buffer, data, (size_t)size);
	/* EIO: how a terminal ends. */
	if (*fd >= 0 && (size == 0 || errno == EIO))
		close(sp_steal_fd(fd));
}

static int milliseconds_left(const struct sp_child *child)
{
	int64_t left = (child->deadline - now()) / 1000000;

	return left > 0 ? (int)left : 0;
}

/* Waits for something on either output (or the given third fd) and takes it. False at the deadline. */
static bool pump(struct sp_child *child, int third, short third_events)
{
	struct pollfd events[] = {{child->out, POLLIN}, {child->err, POLLIN}, {third, third_events}};

	if (poll(events, 3, milliseconds_left(child)) == 0)
		return false;
	drain(&child->out, &child->out_buffer);
	drain(&child->err, &child->err_buffer);
	return true;
}

bool sp_await_size(struct sp_child *child, size_t size)
{
	while (child->out_buffer.size < size)
		if (child->out < 0 || !pump(child, -1, 0))
			return false;
	return true;
}

bool sp_await_text(struct sp_child *child, const char *text)
{
	while (child->out_buffer.data == NULL || strstr(child->out_buffer.data, text) == NULL)
		if (child->out < 0 || !pump(child, -1, 0))
			return false;
	return true;
}

static void close_input(struct sp_child *child)
{
	if (child->input >= 0)
		close(child->input);
	child->input = -1;
}

static bool feed(struct sp_child *child, const struct sp_options *options)
{
	const char *data = options != NULL ? options->input : NULL;
	size_t left = data != NULL ? options->input_size : 0;

	/* A command that does not read gives EPIPE, not a signal: those are Criterion's process's own. */
	signal(SIGPIPE, SIG_IGN);
	while (left > 0) {
		ssize_t size = write(child->input, data, left);

		if (size < 0 && errno != EAGAIN)
			break;
		if (size > 0) {
			data += size;
			left -= (size_t)size;
		} else if (!pump(child, child->input, POLLOUT)) {
			return false;
		}
	}
	close_input(child);
	return true;
}

/* ---- descendants ---- */

static pid_t *list_children(size_t *count)
{
	char path[64];
	pid_t *children = NULL, child = 0;
	cleanup_file FILE *file = NULL;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", gettid());
	file = fopen(path, "re");
	*count = 0;
	while (file != NULL && fscanf(file, "%d", &child) == 1) {
		children = reallocarray(children, *count + 1, sizeof(*children));
		cr_assert_not_null(children);
		children[(*count)++] = child;
	}
	return children;
}

static void print_proc_file(pid_t pid, const char *task, const char *name)
{
	char path[PATH_MAX], text[512];
	cleanup_file FILE *file = NULL;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/%s", pid, task, name);
	file = fopen(path, "re");
	if (file != NULL && fgets(text, sizeof(text), file) != NULL)
		fprintf(stderr, " %s=%.*s", name, (int)strcspn(text, "\n"), text);
}

/* For whoever has to find out why something hung. */
static void describe(pid_t pid, int depth)
{
	static const char *const names[] = {"comm", "stat", "wchan", "syscall"};
	char path[64];
	struct dirent *entry = NULL;
	pid_t child = 0;
	DIR *tasks = NULL;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = opendir(path);
	while (tasks != NULL && (entry = readdir(tasks)) != NULL) {
		cleanup_file FILE *children = NULL;

		if (entry->d_name[0] == '.')
			continue;
		fprintf(stderr, "%*s%d/%s", depth * 2, "", pid, entry->d_name);
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			print_proc_file(pid, entry->d_name, names[i]);
		fputc('\n', stderr);
		snprintf(path, sizeof(path), "/proc/%d/task/%.20s/children", pid, entry->d_name);
		children = fopen(path, "re");
		while (children != NULL && fscanf(children, "%d", &child) == 1)
			describe(child, depth + 1);
	}
	if (tasks != NULL)
		closedir(tasks);
}

static void reap_dead(void)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

/* Until that one is gone, or the time is over. */
static void await_end(pid_t pid, int64_t until)
{
	cleanup_close int pidfd = pidfd_open(pid, 0);
	struct pollfd event = {pidfd, POLLIN};
	int64_t left = (until - now()) / 1000000;

	poll(&event, 1, left > 0 ? (int)left : 0);
}

/* Until one of them is gone: who is the init of a pid namespace goes only when the others have been reaped. */
static void await_one(const pid_t *children, size_t count, int64_t until)
{
	cleanup_free struct pollfd *events = calloc(count, sizeof(*events));
	int64_t left = (until - now()) / 1000000;

	cr_assert_not_null(events);
	for (size_t i = 0; i < count; i++)
		events[i] = (struct pollfd){pidfd_open(children[i], 0), POLLIN};
	poll(events, count, left > 0 ? (int)left : 0);
	for (size_t i = 0; i < count; i++)
		close(events[i].fd);
}

/* Kills generation after generation: the children of who died are ours then. */
static unsigned kill_children(void)
{
	unsigned killed = 0;

	for (;;) {
		size_t count = 0;
		cleanup_free pid_t *children = list_children(&count);

		if (count == 0)
			return killed;
		for (size_t i = 0; i < count; i++)
			killed += kill(children[i], SIGKILL) == 0;
		await_one(children, count, sp_deadline(10));
		reap_dead();
	}
}

unsigned sp_end_descendants(int seconds)
{
	int64_t until = sp_deadline(seconds);

	do {
		size_t count = 0;

		reap_dead();
		cleanup_free pid_t *children = list_children(&count);
		if (count == 0)
			return 0;
		if (now() >= until)
			for (size_t i = 0; i < count; i++)
				describe(children[i], 0);
		else
			await_one(children, count, until);
	} while (now() < until);
	return kill_children();
}

/* ---- finishing ---- */

static int shell_status(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void give_up(struct sp_child *child, struct sp_outcome *outcome)
{
	fprintf(stderr, "at the deadline:\n");
	describe(child->pid, 0);
	outcome->timed_out = true;
	kill(child->pid, SIGKILL);
	await_end(child->pid, sp_deadline(10));
}

struct sp_outcome sp_finish(struct sp_child *child)
{
	struct sp_outcome outcome = {0};
	cleanup_close int pidfd = pidfd_open(child->pid, 0);
	struct pollfd ended = {pidfd, POLLIN};
	int status = 0;

	close_input(child);
	while (poll(&ended, 1, 0) == 0)
		if (!pump(child, pidfd, POLLIN)) {
			give_up(child, &outcome);
			break;
		}
	waitpid(child->pid, &status, 0);
	outcome.status = shell_status(status);
	outcome.leftovers = sp_end_descendants(child->linger);
	drain(&child->out, &child->out_buffer);
	drain(&child->err, &child->err_buffer);
	if (child->out >= 0)
		close(child->out);
	if (child->err >= 0)
		close(child->err);
	append(&child->out_buffer, "", 0);
	append(&child->err_buffer, "", 0);
	outcome.out = child->out_buffer;
	outcome.err = child->err_buffer;
	return outcome;
}

void sp_outcome_release(struct sp_outcome *outcome)
{
	free(outcome->out.data);
	free(outcome->err.data);
}

struct sp_outcome sp_run(struct sp_lab *lab, const struct sp_options *options, const char *const argv[])
{
	struct sp_child child = sp_start(lab, options, argv);

	/* If it cannot be fed in time, sp_finish() sees the same deadline. */
	(void)feed(&child, options);
	return sp_finish(&child);
}

/* before, then argv: one vector of the lab. */
static const char *const *join(struct sp_lab *lab, const char *const before[], const char *const argv[])
{
	size_t first = 0, second = 0;
	const char **joined = NULL;

	while (before[first] != NULL)
		first++;
	while (argv[second] != NULL)
		second++;
	joined = keep(lab, calloc(first + second + 1, sizeof(*joined)));
	memcpy(joined, before, first * sizeof(*joined));
	memcpy(joined + first, argv, second * sizeof(*joined));
	return joined;
}

const char *sp_tracking(void)
{
	const char *tracking = getenv("SP_TRACKING");

	return tracking != NULL ? tracking : "attached";
}

int sp_beside(struct sp_lab *lab, const char *const argv[], const char **output)
{
	int ends[2], status = -1;
	size_t size = 0, capacity = 64 << 10;
	cleanup_free char *text = malloc(capacity);

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	const pid_t child = fork();
	if (child == 0) {
		(void)dup2(ends[1], STDOUT_FILENO);
		(void)dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
		sp_exec_in_lab(lab, argv, NULL);
	}
	close(ends[1]);
	for (ssize_t n; (n = read(ends[0], text + size, capacity - 1 - size)) > 0;) {
		size += (size_t)n;
		if (size == capacity - 1)
			text = realloc(text, capacity *= 2);
	}
	close(ends[0]);
	text[size] = '\0';
	if (output != NULL)
		*output = sp_text(lab, "%s", text);
	cr_assert_eq(waitpid(child, &status, 0), child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

const char *const *sp_supervised_argv(struct sp_lab *lab, const char *const argv[])
{
	const char *sallyport = sp_sallyport(lab), *tracking = sp_tracking();

	if (lab->policy == NULL)
		return join(lab, sp_argv(sallyport, "run", "--tracking", tracking, "--audit", lab->audit, "--"), argv);
	return join(lab,
		    sp_argv(sallyport, "run", "--tracking", tracking, "-p", lab->policy, "--audit", lab->audit, "--"),
		    argv);
}

struct sp_outcome sp_supervise(struct sp_lab *lab, const struct sp_options *options, const char *const argv[])
{
	return sp_run(lab, options, sp_supervised_argv(lab, argv));
}

struct sp_outcome sp_control(struct sp_lab *lab, const struct sp_options *options, const char *const argv[])
{
	return sp_run(lab, options, join(lab, sp_argv(sp_program(lab, "naive"), "--delay-us", "200", "--"), argv));
}

struct sp_outcome sp_client(struct sp_lab *lab, const char *const argv[])
{
	return sp_run(lab, NULL, join(lab, sp_argv(sp_sallyport(lab)), argv));
}

/* ---- looking ---- */

static void close_database(sqlite3 **database)
{
	sqlite3_close(*database);
}

static void finalize(sqlite3_stmt **statement)
{
	sqlite3_finalize(*statement);
}

const char *sp_sql_text(struct sp_lab *lab, const char *sql)
{
	sp_cleanup(close_database) sqlite3 *database = NULL;
	sp_cleanup(finalize) sqlite3_stmt *statement = NULL;

	cr_assert_eq(sqlite3_open_v2(lab->audit, &database, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK, "%s: %s",
		     lab->audit, sqlite3_errmsg(database));
	sqlite3_busy_timeout(database, 10000);
	cr_assert_eq(sqlite3_prepare_v2(database, sql, -1, &statement, NULL), SQLITE_OK, "%s: %s", sql,
		     sqlite3_errmsg(database));
	if (sqlite3_step(statement) != SQLITE_ROW || sqlite3_column_text(statement, 0) == NULL)
		return NULL;
	return sp_text(lab, "%s", (const char *)sqlite3_column_text(statement, 0));
}

int64_t sp_sql_number(struct sp_lab *lab, const char *sql)
{
	const char *text = sp_sql_text(lab, sql);

	return text != NULL ? strtoll(text, NULL, 10) : -1;
}

long sp_value(const struct sp_outcome *outcome, const char *name)
{
	size_t size = strlen(name);

	for (const char *at = outcome->out.data; (at = strstr(at, name)) != NULL; at += size)
		if (at[size] == '=' && (at == outcome->out.data || at[-1] == ' ' || at[-1] == '\n'))
			return strtol(at + size + 1, NULL, 10);
	return -1;
}

void sp_skip_if_sanitized(struct sp_lab *lab, const char *which, const char *why)
{
	cleanup_outcome struct sp_outcome outcome =
		sp_run(lab, NULL, sp_argv("grep", "-qE", sp_text(lab, "__(%s)_init", which), sp_sallyport(lab)));

	if (outcome.status == 0)
		cr_skip_test("%s", why);
}

void sp_assert_ended(const struct sp_outcome *outcome, int status, const char *what)
{
	cr_assert_not(outcome->timed_out, "%s: still running at the deadline\nout: %.2000s\nerr: %.2000s", what,
		      outcome->out.data, outcome->err.data);
	cr_assert_eq(outcome->status, status, "%s: status %d instead of %d\nout: %.2000s\nerr: %.2000s", what,
		     outcome->status, status, outcome->out.data, outcome->err.data);
	cr_assert_eq(outcome->leftovers, 0, "%s: %u processes outlived it", what, outcome->leftovers);
}

/* ---- sizes and parameters ---- */

long sp_size(long moderate, long full)
{
	const char *wanted = getenv("SP_FULL");

	return wanted != NULL && strcmp(wanted, "1") == 0 ? full : moderate;
}

enum { PARAMETERS_MAX = 128 };

struct criterion_test_params sp_each_who_of(int count)
{
	static int parameters[PARAMETERS_MAX];
	size_t size = 0;

	cr_assert_leq(2 * count, PARAMETERS_MAX);
	for (int i = 0; i < count; i++) {
		if (geteuid() == 0)
			parameters[size++] = 2 * i + SP_WHO_ROOT;
		parameters[size++] = 2 * i + SP_WHO_USER;
	}
	return cr_make_param_array(int, parameters, size);
}

struct criterion_test_params sp_each_who(void)
{
	return sp_each_who_of(1);
}

const char *sp_who_name(enum sp_who who)
{
	return who == SP_WHO_ROOT ? "root" : "user";
}
