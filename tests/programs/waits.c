/* What the wait family tells of children, in all its forms, and what SIGCHLD says with it.
 *
 * usage: waits     prints a line a fact, the same natively and under supervision */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the SIGCHLD handler was told. */
enum { HEARD_MAX = 64 };
static siginfo_t heard[HEARD_MAX];
static atomic_int heard_count;

static void hear(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	int at = atomic_load(&heard_count);
	if (at < HEARD_MAX)
		heard[at] = *info;
	atomic_store(&heard_count, at + 1);
}

static void listen_to_children(int flags)
{
	struct sigaction action = {.sa_sigaction = hear, .sa_flags = SA_SIGINFO | SA_RESTART | flags};

	atomic_store(&heard_count, 0);
	sigaction(SIGCHLD, &action, NULL);
}

static void await_heard(int count)
{
	while (atomic_load(&heard_count) < count)
		sched_yield();
}

static void show_heard(const char *what, int at)
{
	printf("%s: heard code %d status %d\n", what, heard[at].si_code, heard[at].si_status);
}

static pid_t child_that_exits(int status)
{
	pid_t child = fork();

	if (child == 0)
		_exit(status);
	return child;
}

static pid_t child_that_waits(void)
{
	pid_t child = fork();

	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setpgid(0, 0); /* not orphaned: SIGTSTP stops it */
		for (;;)
			pause();
	}
	setpgid(child, child);
	return child;
}

static void show_waitid(const char *what, idtype_t type, id_t id, int options, pid_t expected)
{
	siginfo_t info = {0};
	int result = waitid(type, id, &info, options);

	printf("%s: %d %s code %d status %d pid %s\n", what, result, result < 0 ? strerrorname_np(errno) : "-",
	       info.si_code, info.si_status,
	       info.si_pid == expected ? "as expected" : (info.si_pid == 0 ? "none" : "another"));
}

static void sigchld(void)
{
	listen_to_children(0);
	pid_t child = child_that_exits(3);
	await_heard(1);
	show_heard("exit", 0);
	show_waitid("exit", P_PID, (id_t)child, WEXITED, child);
	child = child_that_waits();
	const int signals[] = {SIGSTOP, SIGCONT, SIGTSTP, SIGCONT, SIGKILL};
	for (int i = 0; i < 5; i++) {
		kill(child, signals[i]);
		await_heard(2 + i);
		show_heard(strsignal(signals[i]), 1 + i);
		show_waitid(strsignal(signals[i]), P_PID, (id_t)child, WEXITED | WSTOPPED | WCONTINUED, child);
	}
	printf("in all: heard %d\n", atomic_load(&heard_count));
}

/* SA_NOCLDSTOP: only the end is told. */
static void without_stops(void)
{
	listen_to_children(SA_NOCLDSTOP);
	pid_t child = child_that_waits();
	kill(child, SIGSTOP);
	show_waitid("SA_NOCLDSTOP stop", P_PID, (id_t)child, WSTOPPED, child);
	kill(child, SIGCONT);
	show_waitid("SA_NOCLDSTOP continue", P_PID, (id_t)child, WCONTINUED, child);
	kill(child, SIGTERM);
	show_waitid("SA_NOCLDSTOP end", P_PID, (id_t)child, WEXITED, child);
	await_heard(1);
	printf("SA_NOCLDSTOP: heard %d\n", atomic_load(&heard_count));
}

/* Children nobody wants to hear of leave no zombie; the last wait says so. */
static void forgotten(void)
{
	listen_to_children(SA_NOCLDWAIT);
	for (int i = 0; i < 5; i++)
		(void)child_that_exits(i);
	show_waitid("SA_NOCLDWAIT", P_ALL, 0, WEXITED, 0);
	signal(SIGCHLD, SIG_IGN);
	for (int i = 0; i < 5; i++)
		(void)child_that_exits(i);
	show_waitid("SIG_IGN", P_ALL, 0, WEXITED, 0);
	signal(SIGCHLD, SIG_DFL);
}

static void peeked(void)
{
	pid_t child = child_that_exits(4);

	show_waitid("WNOWAIT", P_PID, (id_t)child, WEXITED | WNOWAIT, child);
	show_waitid("WNOWAIT again", P_PID, (id_t)child, WEXITED | WNOWAIT | WNOHANG, child);
	printf("kill of a zombie: %d\n", kill(child, 0));
	show_waitid("reaped", P_PID, (id_t)child, WEXITED, child);
	show_waitid("gone", P_PID, (id_t)child, WEXITED, child);
	printf("kill of nobody: %d\n", kill(child, 0));
	child = child_that_waits();
	show_waitid("WNOHANG", P_PID, (id_t)child, WEXITED | WSTOPPED | WNOHANG, child);
	kill(child, SIGSTOP);
	show_waitid("stop, WNOWAIT", P_PID, (id_t)child, WSTOPPED | WNOWAIT, child);
	show_waitid("stop", P_PID, (id_t)child, WSTOPPED, child);
	show_waitid("stop once only", P_PID, (id_t)child, WSTOPPED | WNOHANG, child);
	kill(child, SIGKILL);
	show_waitid("killed while stopped", P_PID, (id_t)child, WEXITED, child);
}

static void by_group(void)
{
	pid_t leader = child_that_waits(), other = child_that_waits(), member = fork();

	if (member == 0) {
		setpgid(0, leader);
		_exit(5);
	}
	setpgid(member, leader);
	show_waitid("P_PGID", P_PGID, (id_t)leader, WEXITED, member);
	kill(-leader, SIGINT);
	show_waitid("P_PGID, by a signal to the group", P_PGID, (id_t)leader, WEXITED, leader);
	show_waitid("P_PGID, empty", P_PGID, (id_t)leader, WEXITED, leader);
	kill(other, SIGKILL);
	int status = 0;
	pid_t got = waitpid(-1, &status, 0);
	printf("waitpid(-1): %s signal %d\n", got == other ? "the other" : "somebody", WTERMSIG(status));
}

static void by_pidfd(void)
{
	pid_t child = child_that_waits();
	int fd = pidfd_open(child, 0);
	struct pollfd event = {.fd = fd, .events = POLLIN};

	printf("pidfd before: %d\n", poll(&event, 1, 0));
	printf("pidfd_send_signal: %d\n", pidfd_send_signal(fd, SIGSTOP, NULL, 0));
	show_waitid("P_PIDFD stop", P_PIDFD, (id_t)fd, WSTOPPED, child);
	printf("pidfd while stopped: %d\n", poll(&event, 1, 0));
	pidfd_send_signal(fd, SIGKILL, NULL, 0);
	printf("pidfd at the end: %d\n", poll(&event, 1, -1));
	show_waitid("P_PIDFD end", P_PIDFD, (id_t)fd, WEXITED, child);
	close(fd);
}

/* A child without an exit signal is waited for only where __WCLONE or __WALL says so. */
static void clones(void)
{
	pid_t child = (pid_t)syscall(SYS_clone, 0, NULL, NULL, NULL, 0);

	if (child == 0)
		_exit(6);
	show_waitid("no exit signal", P_PID, (id_t)child, WEXITED, child);
	show_waitid("__WCLONE", P_PID, (id_t)child, WEXITED | __WCLONE, child);
	child = (pid_t)syscall(SYS_clone, SIGWINCH, NULL, NULL, NULL, 0);
	if (child == 0)
		_exit(7);
	show_waitid("__WALL", P_PID, (id_t)child, WEXITED | __WALL, child);
}

/* Several threads wait for anybody: each end is told once. */
static atomic_int ends, sum;

static void *wait_for_anybody(void *unused)
{
	int status = 0;

	while (waitpid(-1, &status, 0) > 0) {
		atomic_fetch_add(&ends, 1);
		atomic_fetch_add(&sum, WEXITSTATUS(status));
	}
	return unused;
}

static void by_threads(void)
{
	pthread_t threads[6];

	for (int i = 0; i < 200; i++)
		(void)child_that_exits(i % 10);
	for (int i = 0; i < 6; i++)
		pthread_create(&threads[i], NULL, wait_for_anybody, NULL);
	for (int i = 0; i < 6; i++)
		pthread_join(threads[i], NULL);
	printf("six threads: %d ends, sum %d\n", atomic_load(&ends), atomic_load(&sum));
}

static void *start_a_child(void *pid)
{
	*(pid_t *)pid = child_that_exits(8);
	return NULL;
}

/* A thread's child is the whole process's, except under __WNOTHREAD. */
static void of_a_thread(void)
{
	pid_t child = -1;
	pthread_t thread;

	pthread_create(&thread, NULL, start_a_child, &child);
	pthread_join(thread, NULL);
	show_waitid("child of a thread that ended", P_PID, (id_t)child, WEXITED, child);
	struct rusage usage = {0};
	child = child_that_exits(9);
	int status = 0;
	printf("wait4: %s status %d\n", wait4(child, &status, 0, &usage) == child ? "the child" : "somebody",
	       WEXITSTATUS(status));
}

/* A grandchild whose parent has ended goes to the subreaper, which is told of its end. */
static void adopted(void)
{
	int pids[2], go_on[2];
	pid_t grandchild = -1;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (pipe(pids) < 0 || pipe(go_on) < 0)
		return;
	pid_t child = fork();
	if (child == 0) {
		char byte;

		close(go_on[1]);
		grandchild = fork();
		if (grandchild == 0)
			_exit(read(go_on[0], &byte, 1) == 0 ? 11 : 12);
		_exit(write(pids[1], &grandchild, sizeof(grandchild)) == sizeof(grandchild) ? 0 : 1);
	}
	if (read(pids[0], &grandchild, sizeof(grandchild)) != sizeof(grandchild))
		return;
	show_waitid("parent of the grandchild", P_PID, (id_t)child, WEXITED, child);
	close(go_on[1]);
	show_waitid("adopted grandchild", P_PID, (id_t)grandchild, WEXITED, grandchild);
	prctl(PR_SET_CHILD_SUBREAPER, 0);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	sigchld();
	without_stops();
	forgotten();
	peeked();
	by_group();
	by_pidfd();
	clones();
	by_threads();
	of_a_thread();
	adopted();
	return 0;
}
