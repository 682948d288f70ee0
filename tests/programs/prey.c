/* What the kill stress hunts: processes that fork, exec, stop and share memory in every way the gate and the tracker know,
 * each of which may be killed at any instant, and all of which end by themselves, soon, when they are told to.
 *
 * usage: prey KIND...         keeps one worker of each KIND alive until the word to stop comes; then waits for all of them
 *        prey --work KIND     goes on as a worker of that kind: what a worker execs
 *        prey --leaf ...      ends at once
 *        prey --list          prints the kinds
 * The word to stop is the end of file on fd 100. PREY_SLOW in the environment: a directory whose files are served slowly.
 * A policy may refuse `prey denied` and kill `prey fatal`; both end at once where nobody does. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STOP_FD = 100, STACK = 64 << 10, PAGE = 4096 };

extern char **environ;
static char self[4096];
static const char *slow; /* directory, or NULL */

static bool told_to_stop(void)
{
	struct pollfd p = {.fd = STOP_FD, .events = POLLIN};

	return poll(&p, 1, 0) != 0;
}

static unsigned pick(unsigned below)
{
	static _Thread_local uint64_t state;

	if (state == 0)
		state = (uint64_t)gettid() * 0x9e3779b97f4a7c15 ^ (uint64_t)time(NULL);
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)(state >> 33) % below;
}

/* Some time, so that others get into every position relative to us. */
static void linger(unsigned microseconds)
{
	const struct timespec t = {.tv_nsec = (long)pick(microseconds) * 1000};

	nanosleep(&t, NULL);
}

static void exec_self(const char *mode, const char *kind)
{
	char *argv[] = {"prey", (char *)mode, (char *)kind, NULL};

	execv(self, argv);
}

static void exec_miss(void)
{
	char *argv[] = {"prey-that-is-nowhere", NULL};

	execvpe(argv[0], argv, environ);
}

/* A child that dies with its parent, as long as the parent is the thread that made it. */
static pid_t fork_mortal(void)
{
	pid_t parent = getpid(), child = fork();

	if (child != 0)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	return 0;
}

static void await(pid_t child)
{
	while (child > 0 && waitpid(child, NULL, __WALL) < 0 && errno == EINTR)
		continue;
}

static void await_everybody(void)
{
	while (waitpid(-1, NULL, __WALL) > 0 || errno == EINTR)
		continue;
}

/* --- threads that do what threads do while a sibling execs --- */

static atomic_bool quit;

static void *spin(void *unused)
{
	while (!atomic_load(&quit)) {
		for (volatile int i = 0; i < 100000; i++)
			continue;
		linger(500);
	}
	return unused;
}

static void *sleep_and_look(void *unused)
{
	while (!atomic_load(&quit))
		linger(2000);
	return unused;
}

static void *do_nothing(void *unused)
{
	return unused;
}

static void *make_threads(void *unused)
{
	pthread_t thread;

	while (!atomic_load(&quit)) {
		if (pthread_create(&thread, NULL, do_nothing, NULL) == 0)
			pthread_join(thread, NULL);
		linger(200);
	}
	return unused;
}

static void *make_children(void *unused)
{
	while (!atomic_load(&quit)) {
		pid_t child = fork();

		if (child == 0)
			_exit(0);
		await(child);
	}
	return unused;
}

static void *miss(void *unused)
{
	while (!atomic_load(&quit)) {
		exec_miss();
		linger(500);
	}
	return unused;
}

typedef void *thread_function(void *);
static thread_function *const company[] = {sleep_and_look, spin, make_threads, make_children, miss, sleep_and_look};
enum { COMPANY = sizeof(company) / sizeof(*company) };

static int start_company(pthread_t threads[static COMPANY])
{
	int started = 0;

	atomic_store(&quit, false);
	for (int i = 0; i < COMPANY; i++)
		started += pthread_create(&threads[started], NULL, company[i], NULL) == 0;
	return started;
}

static void end_company(const pthread_t threads[static COMPANY], int started)
{
	atomic_store(&quit, true);
	for (int i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
}

/* --- the kinds: each is one round of a worker --- */

static void threads_exec(void)
{
	pthread_t threads[COMPANY];
	int started = start_company(threads);

	exec_miss();
	exec_self("denied", NULL);
	linger(1000);
	if (pick(8) == 0)
		exec_self("fatal", NULL);
	exec_self("--work", "threads");
	end_company(threads, started);
}

static void *exec_as_thread(void *leader)
{
	if (leader != NULL)
		pthread_join(*(pthread_t *)leader, NULL);
	exec_miss();
	linger(1000);
	exec_self("--work", "nonleader");
	_exit(0);
}

static void nonleader_exec(void)
{
	static pthread_t leader;
	pthread_t threads[COMPANY], thread;
	bool leader_ends = pick(2) == 0;

	(void)start_company(threads);
	leader = pthread_self();
	if (pthread_create(&thread, NULL, exec_as_thread, leader_ends ? &leader : NULL) != 0)
		_exit(0);
	if (leader_ends)
		pthread_exit(NULL);
	pthread_join(thread, NULL);
}

static void *fork_some(void *unused)
{
	for (int i = 0; i < 8; i++) {
		pid_t child = fork();

		if (child == 0) {
			pid_t grandchild = pick(2) == 0 ? fork() : -1;

			if (pick(2) == 0)
				exec_self("--leaf", NULL);
			if (grandchild > 0)
				await(grandchild);
			_exit(0);
		}
		await(child);
	}
	return unused;
}

static void in_three_threads(thread_function *function)
{
	pthread_t threads[3];
	int started = 0;

	for (int i = 0; i < 3; i++)
		started += pthread_create(&threads[started], NULL, function, NULL) == 0;
	for (int i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
}

static void fork_storm(void)
{
	in_three_threads(fork_some);
}

static void *spawn_some(void *unused)
{
	char *leaf[] = {"prey", "--leaf", NULL}, *denied[] = {"prey", "denied", NULL};

	for (int i = 0; i < 8; i++) {
		pid_t child = -1;

		switch (pick(4)) {
		case 0:
			if (posix_spawn(&child, "/nonexistent/prey", NULL, NULL, leaf, environ) == 0)
				await(child);
			break;
		case 1:
			if (posix_spawn(&child, self, NULL, NULL, denied, environ) == 0)
				await(child);
			break;
		case 2:
			child = (pid_t)syscall(SYS_clone, CLONE_VFORK | SIGCHLD, NULL, NULL, NULL, 0);
			if (child == 0) {
				linger(300);
				_exit(0);
			}
			await(child);
			break;
		default:
			if (posix_spawn(&child, self, NULL, NULL, leaf, environ) == 0)
				await(child);
		}
	}
	return unused;
}

static void spawn_storm(void)
{
	in_three_threads(spawn_some);
}

/* Shares the memory, is no thread. Ends by itself: whoever made it may have gone on as another program. */
static int live_as_peer(void *execs)
{
	for (int i = 0; i < 200 && !told_to_stop(); i++)
		linger(100);
	if (execs != NULL)
		exec_self("--leaf", NULL);
	_exit(0);
}

static void share_memory(void)
{
	enum { PEERS = 3 };
	char *stacks = mmap(NULL, PEERS * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (stacks == MAP_FAILED)
		return;
	for (int i = 0; i < PEERS; i++)
		(void)clone(live_as_peer, stacks + (i + 1) * STACK, CLONE_VM | SIGCHLD, i == 0 ? stacks : NULL);
	exec_miss();
	exec_self("denied", NULL);
	linger(2000);
	if (pick(2) == 0)
		exec_self("--work", "peers");
	await_everybody();
	(void)munmap(stacks, PEERS * STACK);
}

/* As a shell runs a command: an exec that fails, a fork, an exec that does not; some times. */
static void miss_and_run(void)
{
	for (int i = 0; i < 8; i++) {
		pid_t child;

		exec_miss();
		child = fork();
		if (child == 0)
			exec_self("--leaf", NULL);
		await(child);
	}
}

static void search_path(void)
{
	pthread_t threads[COMPANY];
	int started = start_company(threads);

	miss_and_run();
	end_company(threads, started);
}

/* A child to be stopped, which must be mortal by then: a stopped orphan would never end. */
static pid_t fork_stoppable(void)
{
	int ends[2];
	char byte;
	pid_t child;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return -1;
	child = fork_mortal();
	if (child == 0) {
		(void)!write(ends[1], "r", 1);
		return 0;
	}
	close(ends[1]);
	while (read(ends[0], &byte, 1) < 0 && errno == EINTR)
		continue;
	close(ends[0]);
	return child;
}

/* Job control: the child is stopped and continued; meanwhile its threads fork, exec and start threads. */
static void stop_and_continue(void)
{
	static const int stops[] = {SIGSTOP, SIGTSTP, SIGTTIN};
	siginfo_t info;
	pid_t child = fork_stoppable();

	if (child == 0) {
		pthread_t threads[COMPANY];
		int started = start_company(threads);

		for (int i = 0; i < 20 && !told_to_stop(); i++)
			linger(2000);
		end_company(threads, started);
		_exit(0);
	}
	for (int i = 0; child > 0 && i < 4; i++) {
		linger(1000);
		kill(child, stops[pick(3)]);
		if (waitid(P_PID, (id_t)child, &info, WSTOPPED | WEXITED) != 0 || info.si_code != CLD_STOPPED)
			return;
		linger(1000);
		kill(child, SIGCONT);
	}
	await(child);
}

/* argv in memory that another process could write: everybody is stopped for its exec. */
static void exec_from_shared_memory(void)
{
	char *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (shared == MAP_FAILED)
		return;
	strcpy(shared, "--leaf");
	for (int i = 0; i < 4; i++) {
		pid_t child = fork_mortal();

		if (child == 0) {
			pthread_t threads[COMPANY];

			if (pick(2) == 0)
				(void)start_company(threads);
			exec_self(shared, NULL);
			_exit(0);
		}
		await(child);
	}
	(void)munmap(shared, PAGE);
}

/* A word on a page that nobody has read before, of a file that takes its time. */
static const char *slow_word(void)
{
	enum { PAGES = 1 << 18 };
	char path[4096 + 16];
	int fd;
	char *page;

	snprintf(path, sizeof(path), "%s/words", slow);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, (off_t)pick(PAGES) * PAGE);
	close(fd);
	return page != MAP_FAILED ? page : NULL;
}

static void exec_slowly(void)
{
	char path[4096 + 16], *argv[] = {"prey", "--leaf", NULL};

	switch (pick(3)) {
	case 0:
		exec_self("--leaf", slow_word());
		break;
	case 1:
		snprintf(path, sizeof(path), "%s/nothing-of-that-name", slow);
		execv(path, argv);
		break;
	default:
		snprintf(path, sizeof(path), "%s/script", slow);
		execv(path, argv);
	}
}

static void exec_with_many_arguments(void)
{
	enum { COUNT = 100000 };
	char **argv = calloc(COUNT + 1, sizeof(*argv)), *words = malloc(2 * COUNT);

	if (argv == NULL || words == NULL)
		return;
	for (int i = 0; i < COUNT; i++) {
		argv[i] = strcpy(words + 2 * i, "x");
	}
	argv[1] = "--leaf";
	execv(self, argv);
}

/* Arguments that are read by a thread of the supervisor's, because that takes long. */
static void exec_what_takes_long(void)
{
	pid_t child = fork_mortal();

	if (child == 0) {
		pthread_t threads[COMPANY];

		if (pick(2) == 0)
			(void)start_company(threads);
		if (slow != NULL && pick(3) != 0)
			exec_slowly();
		else
			exec_with_many_arguments();
		_exit(0);
	}
	await(child);
}

static void note(int signal)
{
	(void)signal;
}

static void under_signals(void)
{
	const struct sigaction action = {.sa_handler = note};
	const struct itimerval rain = {{0, 300}, {0, 300}}, dry = {0};

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &rain, NULL);
	miss_and_run();
	setitimer(ITIMER_REAL, &dry, NULL);
}

/* Nobody of ours waits for these, and they do not die with us. */
static void leave_orphans(void)
{
	pid_t child = fork();

	if (child == 0) {
		setsid();
		if (fork() != 0)
			_exit(0);
		for (int i = 0; i < 4; i++) {
			pid_t grandchild = fork();

			if (grandchild == 0)
				exec_self("--leaf", NULL);
			await(grandchild);
		}
		_exit(0);
	}
	await(child);
}

static const struct kind {
	const char *name;
	void (*round)(void);
} kinds[] = {
	{"threads", threads_exec},      {"nonleader", nonleader_exec},
	{"forks", fork_storm},          {"spawns", spawn_storm},
	{"peers", share_memory},        {"misses", search_path},
	{"stops", stop_and_continue},   {"shared", exec_from_shared_memory},
	{"slow", exec_what_takes_long}, {"signals", under_signals},
	{"orphans", leave_orphans},
};
enum { KINDS = sizeof(kinds) / sizeof(*kinds) };

static const struct kind *find_kind(const char *name)
{
	for (size_t i = 0; i < KINDS; i++)
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	fprintf(stderr, "prey: no kind %s\n", name);
	exit(2);
}

[[gnu::noreturn]] static void work(const struct kind *kind)
{
	while (!told_to_stop())
		kind->round();
	await_everybody();
	_exit(0);
}

static pid_t start_worker(const struct kind *kind)
{
	pid_t child = fork_mortal();

	if (child == 0) {
		setpgid(0, 0);
		work(kind);
	}
	return child;
}

static int keep_alive(const struct kind *const wanted[], int count)
{
	pid_t workers[KINDS];
	pid_t dead;

	for (int i = 0; i < count; i++)
		workers[i] = start_worker(wanted[i]);
	while ((dead = waitpid(-1, NULL, __WALL)) > 0 || errno == EINTR)
		for (int i = 0; i < count; i++)
			if (workers[i] == dead && !told_to_stop())
				workers[i] = start_worker(wanted[i]);
	return 0;
}

static int list_kinds(void)
{
	for (size_t i = 0; i < KINDS; i++)
		puts(kinds[i].name);
	return 0;
}

int main(int argc, char *argv[])
{
	const struct kind *wanted[KINDS];
	const char *mode = argc > 1 ? argv[1] : "";

	if (strcmp(mode, "--leaf") == 0 || strcmp(mode, "denied") == 0 || strcmp(mode, "fatal") == 0)
		return 0;
	if (strcmp(mode, "--list") == 0)
		return list_kinds();
	if (argc < 2 || argc - 1 > KINDS || readlink("/proc/self/exe", self, sizeof(self) - 1) < 0) {
		fprintf(stderr, "usage: prey KIND... | prey --work KIND | prey --leaf | prey --list\n");
		return 2;
	}
	slow = getenv("PREY_SLOW");
	if (strcmp(mode, "--work") == 0)
		work(find_kind(argc > 2 ? argv[2] : ""));
	for (int i = 1; i < argc; i++)
		wanted[i - 1] = find_kind(argv[i]);
	return keep_alive(wanted, argc - 1);
}
