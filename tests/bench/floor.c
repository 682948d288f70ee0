/* The floor of the benchmark: what the kernel makes anyone pay who sees every execve of a process tree before it happens.
 *
 * usage: floor [--freeze] -- COMMAND [ARG...]     exit status: the command's, 128+n by signal, 125 when it fails itself
 *
 * A supervisor with the mechanisms of sallyport's attached tracking and nothing else: seccomp notification for execve and
 * execveat, every task traced from birth to death, and for each exec: receive, read path and argv, let it go on, take the exec
 * stop. It decides nothing, resolves nothing, records nothing and verifies nothing; --freeze adds that all other threads of
 * the process are stopped, all at once, from before the reading until the exec has succeeded or failed. (Not for a process
 * whose first thread has ended before the others: that one would never stop.)
 *
 * One thread: two, one for the listener and one that blocks in waitpid, save a poll and a read an event, and measure no better.
 * What counts is where it runs. A wake-up of another CPU costs more than all the system calls together, so it stays on the
 * CPU of the caller of an exec, where SYNC_WAKE_UP has put it, and looks anew every few execs. */
#include "util/kernel.h"

#include <errno.h>
#include <linux/filter.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	OWN_FAILURE = 125,
	NOT_FOUND = 127,
	TIDS = 1 << 22, /* PID_MAX_LIMIT */
	POINTERS = 512, /* of argv, read at once */
	GUESS = 64, /* most arguments are shorter */
	PAGE = 4096,
	LOOK_EVERY = 16, /* execs */
	RESTART_SYS = 512, /* ERESTARTSYS, ERESTARTNOINTR: include/linux/errno.h of the kernel */
	RESTART_NOINTR = 513,
};

/* One a tid; used with --freeze only. All zero: not known, or not any more. */
static struct task {
	pid_t process; /* tgid */
	pid_t next; /* circular list of the threads of a process */
	bool stopped; /* held by us, or born and not known yet whose */
	bool deciding; /* its exec goes on, the others are stopped until that is over */
	bool listen; /* it was stopped by job control */
	int signal; /* to be delivered when it goes on */
} * tasks;

static int listener = -1, root_status;
static pid_t root, freezing; /* freezing: the process whose threads are being stopped */
static unsigned running; /* of them, how many still are */

static int fail(const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	return OWN_FAILURE;
}

/* ---- the supervised side ---- */

static int load_filter(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execve, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execveat, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 2, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
	};
	struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
	unsigned flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

/* Tells its parent the number of the listener, waits until it is traced, and execs. */
[[gnu::noreturn]] static void run_command(int socket, const sigset_t *mask, char *argv[])
{
	char traced;
	int fd = load_filter();

	if (fd < 0 || write(socket, &fd, sizeof(fd)) != sizeof(fd) || read(socket, &traced, 1) != 1)
		_exit(fail("cannot load the filter"));
	close(fd);
	sigprocmask(SIG_SETMASK, mask, NULL);
	execvp(argv[0], argv);
	fail(argv[0]);
	_exit(NOT_FOUND);
}

/* ---- tasks ---- */

/* ESRCH in there: it was killed in its stop. */
static void resume(pid_t tid, bool listen, int signal)
{
	(void)ptrace(listen ? PTRACE_LISTEN : PTRACE_CONT, tid, NULL, (long)signal);
}

static void link_task(pid_t tid, pid_t process, pid_t sibling)
{
	tasks[tid].process = process;
	tasks[tid].next = sibling != 0 ? tasks[sibling].next : tid;
	if (sibling != 0)
		tasks[sibling].next = tid;
}

static void unlink_task(pid_t tid)
{
	pid_t before = tid;

	if (tasks[tid].process != 0)
		while (tasks[before].next != tid)
			before = tasks[before].next;
	tasks[before].next = tasks[tid].next;
	tasks[tid] = (struct task){0};
}

static void thaw(pid_t caller)
{
	tasks[caller].deciding = false;
	for (pid_t tid = tasks[caller].next; tid != caller; tid = tasks[tid].next) {
		if (tasks[tid].stopped)
			resume(tid, tasks[tid].listen, tasks[tid].signal);
		tasks[tid].stopped = false;
	}
}

/* A stopped task goes on, unless it is to wait for the decision of another one, or for its parent's event. */
static void settle(pid_t tid, bool listen, int signal)
{
	struct task *task = &tasks[tid];

	if (tasks == NULL || (task->process != 0 && task->process != freezing)) {
		if (tasks != NULL && task->deciding)
			thaw(tid);
		resume(tid, listen, signal);
		return;
	}
	task->stopped = true;
	task->listen = listen;
	task->signal = signal;
	running -= task->process != 0;
}

static void on_birth(pid_t parent, bool is_thread)
{
	unsigned long child = 0;

	if (tasks == NULL || ptrace(PTRACE_GETEVENTMSG, parent, NULL, &child) != 0)
		return;
	pid_t process = is_thread ? tasks[parent].process : (pid_t)child;
	link_task((pid_t)child, process, is_thread ? parent : 0);
	if (process == freezing)
		running += !tasks[child].stopped;
	else if (tasks[child].stopped) {
		tasks[child].stopped = false;
		resume((pid_t)child, tasks[child].listen, 0);
	}
}

/* The others are dead, or die now; the caller has the process's id. */
static void on_exec(pid_t tid)
{
	if (tasks == NULL)
		return;
	for (pid_t other = tasks[tid].next; other != tid; other = tasks[tid].next)
		unlink_task(other);
	unlink_task(tid);
	link_task(tid, tid, 0);
}

static void on_death(pid_t tid, int status)
{
	if (tid == root)
		root_status = status;
	if (tasks == NULL)
		return;
	if (tasks[tid].deciding)
		thaw(tid);
	running -= tasks[tid].process != 0 && tasks[tid].process == freezing && !tasks[tid].stopped;
	unlink_task(tid);
}

/* A notified exec that a signal interrupted before it was received: execve never gives EINTR, so it comes again. */
static void repair_exec(pid_t tid)
{
	const size_t result = offsetof(struct user_regs_struct, rax),
		     call = offsetof(struct user_regs_struct, orig_rax);

	if (ptrace(PTRACE_PEEKUSER, tid, result, NULL) != -RESTART_SYS)
		return;
	long number = ptrace(PTRACE_PEEKUSER, tid, call, NULL);
	if (number == SYS_execve || number == SYS_execveat)
		(void)ptrace(PTRACE_POKEUSER, tid, result, (long)-RESTART_NOINTR);
}

static void on_event(pid_t tid, int status)
{
	if (!WIFSTOPPED(status)) {
		on_death(tid, status);
		return;
	}
	switch (status >> 16) {
	case PTRACE_EVENT_STOP:
		settle(tid, WSTOPSIG(status) != SIGTRAP, 0);
		return;
	case PTRACE_EVENT_EXEC:
		on_exec(tid);
		break;
	case PTRACE_EVENT_CLONE:
	case PTRACE_EVENT_FORK:
	case PTRACE_EVENT_VFORK:
		on_birth(tid, status >> 16 == PTRACE_EVENT_CLONE);
		break;
	default:
		repair_exec(tid);
		settle(tid, false, WSTOPSIG(status));
		return;
	}
	settle(tid, false, 0);
}

/* False when nobody is left. */
static bool take_events(int signals)
{
	struct signalfd_siginfo info;
	int status;
	pid_t tid = read(signals, &info, sizeof(info)) < 0 ? 0 : 1;

	while (tid > 0) {
		tid = waitpid(-1, &status, __WALL | WNOHANG);
		if (tid > 0)
			on_event(tid, status);
	}
	return tid == 0;
}

/* ---- execs ---- */

static void read_rest(pid_t pid, uint64_t address)
{
	char page[PAGE];
	ssize_t size;

	do {
		struct iovec local = {page, PAGE - address % PAGE}, remote = {(void *)address, PAGE - address % PAGE};

		size = process_vm_readv(pid, &local, 1, &remote, 1, 0);
		address += (uint64_t)size;
	} while (size > 0 && memchr(page, '\0', (size_t)size) == NULL);
}

/* Up to POINTERS strings with one call, where they are short. */
static void read_strings(pid_t pid, const uint64_t *pointers, size_t count)
{
	static char text[(POINTERS + 1) * GUESS];
	struct iovec local = {text, 0}, remote[POINTERS + 1];

	for (size_t i = 0; i < count; i++) {
		size_t in_page = PAGE - pointers[i] % PAGE, size = in_page < GUESS ? in_page : GUESS;

		remote[i] = (struct iovec){(void *)pointers[i], size};
		local.iov_len += size;
	}
	ssize_t got = process_vm_readv(pid, &local, 1, remote, count, 0);
	const char *start = text;
	for (size_t i = 0; i < count; start += remote[i++].iov_len)
		if (start + remote[i].iov_len > text + (got > 0 ? got : 0) ||
		    memchr(start, '\0', remote[i].iov_len) == NULL)
			read_rest(pid, pointers[i]);
}

static void read_arguments(pid_t pid, uint64_t path, uint64_t argv)
{
	uint64_t pointers[POINTERS + 1] = {path};
	size_t count, room;

	do {
		size_t known = path != 0;
		struct iovec local = {pointers + known, 0}, remote = {(void *)argv, 0};

		room = (PAGE - argv % PAGE) / sizeof(argv);
		local.iov_len = remote.iov_len = room * sizeof(argv);
		ssize_t got = process_vm_readv(pid, &local, 1, &remote, 1, 0);
		count = 0;
		while (got > 0 && count < (size_t)got / sizeof(argv) && pointers[known + count] != 0)
			count++;
		read_strings(pid, pointers, known + count);
		argv += room * sizeof(argv);
		path = 0;
	} while (count == room);
}

static void freeze(pid_t caller)
{
	int status;

	for (pid_t tid = tasks[caller].next; tid != caller; tid = tasks[tid].next)
		if (!tasks[tid].stopped)
			running += ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) == 0;
	freezing = running > 0 ? tasks[caller].process : 0;
	while (running > 0) {
		pid_t tid = waitpid(-1, &status, __WALL);

		on_event(tid, status);
	}
	freezing = 0;
	/* So that a failing exec shows, too. */
	tasks[caller].deciding = tasks[caller].next != caller && ptrace(PTRACE_INTERRUPT, caller, NULL, NULL) == 0;
}

static void follow_caller(void)
{
	static unsigned execs;
	unsigned cpu = 0;
	cpu_set_t set;

	if (execs++ % LOOK_EVERY > 1)
		return;
	if (execs % LOOK_EVERY == 1) {
		memset(&set, 0xff, sizeof(set));
	} else {
		getcpu(&cpu, NULL);
		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
	}
	(void)sched_setaffinity(0, sizeof(set), &set);
}

static void take_exec(void)
{
	struct seccomp_notif request = {0};

	/* ENOENT: killed meanwhile */
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request) != 0)
		return;
	pid_t caller = (pid_t)request.pid;
	unsigned first = request.data.nr == SYS_execveat;
	struct seccomp_notif_resp response = {.id = request.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
	if (tasks != NULL)
		freeze(caller);
	read_arguments(caller, request.data.args[first], request.data.args[first + 1]);
	(void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
	follow_caller();
}

static int supervise(int signals)
{
	struct pollfd events[] = {{.fd = listener, .events = POLLIN}, {.fd = signals, .events = POLLIN}};

	for (;;) {
		if (poll(events, 2, -1) < 0)
			return fail("poll");
		if (events[0].revents & POLLIN)
			take_exec();
		else if (events[0].revents != 0)
			events[0].fd = -1; /* the last task under the filter is gone */
		if (events[1].revents != 0 && !take_events(signals))
			return WIFEXITED(root_status) ? WEXITSTATUS(root_status) : 128 + WTERMSIG(root_status);
	}
}

static int take_listener(int socket)
{
	const unsigned long options =
		PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
	int pidfd = pidfd_open(root, 0), number;

	if (read(socket, &number, sizeof(number)) != sizeof(number))
		return -1;
	listener = pidfd_getfd(pidfd, number, 0);
	close(pidfd);
	if (listener < 0 || ptrace(PTRACE_SEIZE, root, NULL, options) != 0)
		return -1;
	(void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP); /* 6.6 */
	return write(socket, "", 1) == 1 ? 0 : -1;
}

int main(int argc, char *argv[])
{
	bool with_freeze = argc > 1 && strcmp(argv[1], "--freeze") == 0;
	int pair[2];
	sigset_t child, before;

	argv += 1 + with_freeze;
	if (argv[0] == NULL || strcmp(argv[0], "--") != 0 || argv[1] == NULL) {
		fprintf(stderr, "usage: floor [--freeze] -- COMMAND [ARG...]\n");
		return OWN_FAILURE;
	}
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, &before);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return fail("socketpair");
	root = fork();
	if (root == 0)
		run_command(pair[1], &before, argv + 1);
	if (root < 0 || take_listener(pair[0]) != 0)
		return fail("cannot supervise");
	if (with_freeze) {
		tasks = mmap(NULL, TIDS * sizeof(*tasks), PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (tasks == MAP_FAILED)
			return fail("mmap");
		link_task(root, root, 0);
	}
	return supervise(signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC));
}
