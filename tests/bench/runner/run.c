/* See run.h. */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { NOT_STARTED = 127, INTERRUPTED = 130 };

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

void run_release(struct run *run)
{
	free(run->output);
	run->output = NULL;
}

static int interrupts = -1; /* a signalfd: who ends the benchmark ends what it runs */

void run_prepare(void)
{
	sigset_t ends;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGHUP);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	interrupts = signalfd(-1, &ends, SFD_CLOEXEC);
}

/* ---- counters ---- */

/* Of the process and the threads it will have; not of its children (inherit_thread, 5.13). */
static int open_counter(pid_t pid, uint32_t type, uint64_t config)
{
	struct perf_event_attr attr = {
		.type = type,
		.size = sizeof(attr),
		.config = config,
		.disabled = 1,
		.enable_on_exec = 1,
		.inherit = 1,
		.inherit_thread = 1,
	};

	return (int)syscall(SYS_perf_event_open, &attr, pid, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static int open_syscall_counter(pid_t pid)
{
	unsigned long id = 0;
	cleanup_file FILE *f = fopen("/sys/kernel/tracing/events/raw_syscalls/sys_enter/id", "re");

	if (f == NULL || fscanf(f, "%lu", &id) != 1)
		return -1;
	return open_counter(pid, PERF_TYPE_TRACEPOINT, id);
}

static struct counts read_counts(int syscalls, int switches)
{
	struct counts counts = {0};

	counts.known = syscalls >= 0 && switches >= 0 && read(syscalls, &counts.syscalls, 8) == 8 &&
		       read(switches, &counts.switches, 8) == 8;
	return counts;
}

/* ---- one command ---- */

[[gnu::noreturn]] static void be_command(int go, int output, char *const argv[])
{
	char byte;
	sigset_t none;
	int empty = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (dup2(empty, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0 || read(go, &byte, 1) != 1)
		_exit(NOT_STARTED);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execvp(argv[0], argv);
	fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
	_exit(NOT_STARTED);
}

/* Everything below us, as a subreaper: the children die, theirs become ours, until there is none. */
static void end_descendants(void)
{
	char path[64], line[4096];

	(void)snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	for (;;) {
		cleanup_file FILE *f = fopen(path, "re");
		size_t size = f != NULL ? fread(line, 1, sizeof(line) - 1, f) : 0;

		line[size] = '\0';
		if (size == sizeof(line) - 1) /* do not take the half of a number for a number */
			*strrchr(line, ' ') = '\0';
		for (char *at = line, *end; *at != '\0'; at = end) {
			long pid = strtol(at, &end, 10);

			if (end == at)
				break;
			(void)kill((pid_t)pid, SIGKILL);
		}
		if (waitpid(-1, NULL, __WALL) < 0)
			return;
		while (waitpid(-1, NULL, __WALL | WNOHANG) > 0)
			;
	}
}

/* Waits for the end of the child, or the deadline. It is not reaped: its clock can still be read. */
static bool await_end(pid_t child, int deadline_seconds)
{
	siginfo_t info;
	cleanup_close int fd = pidfd_open(child, 0);
	struct pollfd events[] = {{.fd = fd, .events = POLLIN}, {.fd = interrupts, .events = POLLIN}};

	if (fd < 0 || poll(events, 2, deadline_seconds * 1000) < 1)
		return false;
	if (events[1].revents != 0) {
		end_descendants();
		exit(INTERRUPTED);
	}
	return waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) == 0;
}

static int64_t cpu_of(pid_t pid)
{
	clockid_t clock;
	struct timespec used = {0};

	if (clock_getcpuclockid(pid, &clock) == 0)
		(void)clock_gettime(clock, &used);
	return used.tv_sec * INT64_C(1000000000) + used.tv_nsec;
}

static char *read_all(int fd)
{
	struct stat st;
	char *text = fstat(fd, &st) == 0 ? calloc(1, (size_t)st.st_size + 1) : NULL;

	if (text != NULL && pread(fd, text, (size_t)st.st_size, 0) < 0)
		*text = '\0';
	return text;
}

struct run run_command(char *const argv[], int deadline_seconds, bool count)
{
	struct run run = {.status = NOT_STARTED};
	int go[2], status = 0;
	cleanup_close int output = memfd_create("output", MFD_CLOEXEC), syscalls = -1, switches = -1;

	if (output < 0 || pipe2(go, O_CLOEXEC) != 0)
		return run;
	pid_t child = fork();
	if (child == 0)
		be_command(go[0], output, argv);
	close(go[0]);
	if (count) {
		syscalls = open_syscall_counter(child);
		switches = open_counter(child, PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CONTEXT_SWITCHES);
	}
	int64_t begin = now_ns();
	bool gone = child < 0 || write(go[1], "", 1) != 1;
	run.timed_out = !gone && !await_end(child, deadline_seconds);
	run.wall_ns = now_ns() - begin;
	close(go[1]);
	if (child > 0) {
		run.cpu_ns = cpu_of(child);
		if (run.timed_out)
			kill(child, SIGKILL);
		(void)waitpid(child, &status, 0);
		run.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	}
	end_descendants();
	run.counts = read_counts(syscalls, switches);
	run.output = read_all(output);
	return run;
}
