/* System calls that give EINTR after a mere stop, without any handler (signal(7), "Interruption of system calls by stop
 * signals"): a supervisor that stops threads, or that is told of ignored signals, may not let that show.
 *
 * usage: epollintr execs N      threads wait in epoll_wait, sigtimedwait, semtimedop, recv with a timeout, ...; a sibling
 *                               does N execs that fail; then each is given what it waits for
 *        epollintr signals N    N times: a signal that is ignored by default arrives in epoll_wait
 * prints the number of EINTRs of each call, eintr=N being the sum, and bad=N for any other wrong result */
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_SECONDS = 300 };

struct wait {
	const char *name;
	bool (*make)(struct wait *wait);
	long (*block)(struct wait *wait); /* >= 0, or -1 with errno */
	void (*wake)(struct wait *wait);
	pthread_t thread;
	atomic_int tid;
	int fds[2];
	int id;
	atomic_int word;
	atomic_bool blocking;
	long interrupted, bad;
};

static const struct timespec patience = {.tv_sec = PATIENCE_SECONDS};

static bool make_event(struct wait *wait)
{
	struct epoll_event event = {.events = EPOLLIN};

	wait->fds[0] = epoll_create1(EPOLL_CLOEXEC);
	wait->fds[1] = eventfd(0, EFD_CLOEXEC);
	return wait->fds[0] >= 0 && epoll_ctl(wait->fds[0], EPOLL_CTL_ADD, wait->fds[1], &event) == 0;
}

static long block_epoll(struct wait *wait)
{
	struct epoll_event event;

	return epoll_wait(wait->fds[0], &event, 1, PATIENCE_SECONDS * 1000) - 1;
}

static void wake_event(struct wait *wait)
{
	(void)!write(wait->fds[1], &(uint64_t){1}, sizeof(uint64_t));
}

static long block_poll(struct wait *wait)
{
	struct pollfd event = {.fd = wait->fds[1], .events = POLLIN};

	return poll(&event, 1, PATIENCE_SECONDS * 1000) - 1;
}

static bool make_nothing(struct wait *wait)
{
	(void)wait;
	return true;
}

static long block_sigtimedwait(struct wait *wait)
{
	sigset_t set;

	(void)wait;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	return sigtimedwait(&set, NULL, &patience);
}

static void wake_sigtimedwait(struct wait *wait)
{
	pthread_kill(wait->thread, SIGUSR2);
}

static bool make_semaphore(struct wait *wait)
{
	wait->id = semget(IPC_PRIVATE, 1, 0600);
	return wait->id >= 0;
}

static long block_semaphore(struct wait *wait)
{
	struct sembuf down = {.sem_op = -1};

	return semtimedop(wait->id, &down, 1, &patience);
}

static void wake_semaphore(struct wait *wait)
{
	struct sembuf up = {.sem_op = 1};

	(void)semop(wait->id, &up, 1);
}

static bool make_queue(struct wait *wait)
{
	wait->id = msgget(IPC_PRIVATE, 0600);
	return wait->id >= 0;
}

static long block_queue(struct wait *wait)
{
	struct {
		long type;
		char text[8];
	} message;

	return msgrcv(wait->id, &message, sizeof(message.text), 0, 0);
}

static void wake_queue(struct wait *wait)
{
	struct {
		long type;
		char text[8];
	} message = {.type = 1};

	(void)msgsnd(wait->id, &message, sizeof(message.text), 0);
}

static bool make_socket(struct wait *wait)
{
	struct timeval timeout = {.tv_sec = PATIENCE_SECONDS};

	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, wait->fds) == 0 &&
	       setsockopt(wait->fds[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) == 0;
}

static long block_socket(struct wait *wait)
{
	char byte = 0;

	return recv(wait->fds[0], &byte, 1, 0) - 1;
}

static void wake_socket(struct wait *wait)
{
	(void)!write(wait->fds[1], "", 1);
}

static bool make_watch(struct wait *wait)
{
	char path[] = "/tmp/epollintr-XXXXXX";

	wait->fds[0] = inotify_init1(IN_CLOEXEC);
	wait->fds[1] = mkstemp(path);
	if (wait->fds[0] < 0 || wait->fds[1] < 0)
		return false;
	if (inotify_add_watch(wait->fds[0], path, IN_MODIFY) < 0)
		return false;
	return unlink(path) == 0;
}

static long block_watch(struct wait *wait)
{
	struct inotify_event event;

	return read(wait->fds[0], &event, sizeof(event));
}

static long block_futex(struct wait *wait)
{
	long result = syscall(SYS_futex, &wait->word, FUTEX_WAIT, 0, &patience, NULL, 0);

	return result < 0 && errno == EAGAIN ? 0 : result; /* was woken before it slept */
}

static void wake_futex(struct wait *wait)
{
	atomic_store(&wait->word, 1);
	syscall(SYS_futex, &wait->word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static struct wait waits[] = {
	{"epoll_wait", make_event, block_epoll, wake_event},
	{"poll", make_event, block_poll, wake_event},
	{"sigtimedwait", make_nothing, block_sigtimedwait, wake_sigtimedwait},
	{"semtimedop", make_semaphore, block_semaphore, wake_semaphore},
	{"msgrcv", make_queue, block_queue, wake_queue},
	{"recv", make_socket, block_socket, wake_socket},
	{"inotify", make_watch, block_watch, wake_socket},
	{"futex", make_nothing, block_futex, wake_futex},
};

enum { WAITS = sizeof(waits) / sizeof(waits[0]) };

static void *wait_until_woken(void *argument)
{
	struct wait *wait = argument;

	atomic_store(&wait->tid, gettid());
	atomic_store(&wait->blocking, true);
	while (wait->block(wait) < 0) {
		if (errno != EINTR) {
			fprintf(stderr, "epollintr: %s: %s\n", wait->name, strerror(errno));
			wait->bad++;
			break;
		}
		wait->interrupted++;
	}
	return NULL;
}

static char state_of(pid_t pid, pid_t tid)
{
	char path[64], state = 0;
	FILE *file = NULL;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
	file = fopen(path, "re");
	if (file == NULL)
		return 'X';
	if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = 'X';
	fclose(file);
	return state;
}

static void await_sleep(pid_t pid, pid_t tid)
{
	while (state_of(pid, tid) != 'S')
		sched_yield();
}

static void fail_execs(long count)
{
	char *argv[] = {"nothing", NULL};

	for (long i = 0; i < count; i++)
		execve("/nonexistent/nothing", argv, argv + 1);
}

static int among_execs(long count)
{
	long interrupted = 0, bad = 0;
	sigset_t blocked;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &blocked, NULL);
	for (int i = 0; i < WAITS; i++)
		if (!waits[i].make(&waits[i]) ||
		    pthread_create(&waits[i].thread, NULL, wait_until_woken, &waits[i]) != 0) {
			fprintf(stderr, "epollintr: %s: %s\n", waits[i].name, strerror(errno));
			return 1;
		}
	for (int i = 0; i < WAITS; i++) {
		while (!atomic_load(&waits[i].blocking))
			sched_yield();
		await_sleep(getpid(), atomic_load(&waits[i].tid));
	}
	fail_execs(count);
	for (int i = 0; i < WAITS; i++) {
		waits[i].wake(&waits[i]);
		pthread_join(waits[i].thread, NULL);
		interrupted += waits[i].interrupted;
		bad += waits[i].bad;
		printf("%s=%ld ", waits[i].name, waits[i].interrupted);
	}
	semctl(waits[3].id, 0, IPC_RMID);
	msgctl(waits[4].id, IPC_RMID, NULL);
	printf("eintr=%ld bad=%ld\n", interrupted, bad);
	return 0;
}

/* Sees its parent asleep, sends it what is ignored by default, and by ending adds a SIGCHLD. */
[[gnu::noreturn]] static void disturb(pid_t parent, long turn)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	await_sleep(parent, parent);
	kill(parent, turn % 2 ? SIGWINCH : SIGURG);
	_exit(0);
}

static int among_signals(long count)
{
	long interrupted = 0, bad = 0;
	struct epoll_event event = {.events = EPOLLIN};
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	for (long i = 0; i < count; i++) {
		pid_t parent = getpid(), child = fork();
		int pidfd = -1, ready = -1;

		if (child == 0)
			disturb(parent, i);
		pidfd = pidfd_open(child, 0);
		if (pidfd < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, pidfd, &event) < 0) {
			perror("epollintr: pidfd");
			return 1;
		}
		while ((ready = epoll_wait(epoll, &event, 1, PATIENCE_SECONDS * 1000)) < 0 && errno == EINTR)
			interrupted++;
		bad += ready != 1;
		close(pidfd);
		waitpid(child, NULL, 0);
	}
	printf("epoll_wait=%ld eintr=%ld bad=%ld\n", interrupted, interrupted, bad);
	return 0;
}

int main(int argc, char *argv[])
{
	if (argc == 3 && strcmp(argv[1], "execs") == 0)
		return among_execs(strtol(argv[2], NULL, 10));
	if (argc == 3 && strcmp(argv[1], "signals") == 0)
		return among_signals(strtol(argv[2], NULL, 10));
	fprintf(stderr, "usage: epollintr execs|signals N\n");
	return 2;
}
