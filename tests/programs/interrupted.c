/* Every call that blocks, and what wakes it: handlers with and without SA_RESTART, signals that are ignored, stops that are
 * continued. Which of them give EINTR is the kernel's table in signal(7), with its exceptions; a supervisor may not change it.
 *
 * usage: interrupted signals|stops [CALL]     prints a line a call: for each disturbance what became of it */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LONG_SECONDS = 1000 };

static const struct timespec long_time = {.tv_sec = LONG_SECONDS};

/* What the blocked child tells; it lies in shared memory. */
struct told {
	_Atomic int handled; /* how many times the handler ran */
	_Atomic bool returned;
	long result;
	int err;
};

static struct told *told;

/* --- the calls --- */

/* Of the timed ones an operation that waits would give up in time: its EINTRs are others (signal(7)). */
static int empty_pipe[2], full_pipe[2], pair[2], full_pair[2], timed_pair[2], timed_full_pair[2];
static int listener, timed_listener, full_listener;
/* System V IPC outlives its users: removed at the end. */
static int semaphore, empty_queue, full_queue;
static pid_t child_of_child;

static void fail(const char *what)
{
	perror(what);
	_exit(1);
}

static void fill(int fd)
{
	char page[4096] = "";

	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (write(fd, page, sizeof(page)) > 0 || write(fd, page, 1) > 0)
		;
	fcntl(fd, F_SETFL, 0);
}

static long do_read(void)
{
	char data;

	return read(empty_pipe[0], &data, 1);
}

static long do_write(void)
{
	char page[65536] = "";

	return write(full_pipe[1], page, sizeof(page));
}

static long do_open(void)
{
	return open("fifo", O_RDONLY | O_CLOEXEC);
}

static long do_flock(void)
{
	return flock(open("locked", O_RDWR | O_CLOEXEC), LOCK_EX);
}

static long do_setlkw(void)
{
	struct flock lock = {.l_type = F_WRLCK};

	return fcntl(open("locked", O_RDWR | O_CLOEXEC), F_SETLKW, &lock);
}

static long do_accept(void)
{
	return accept(listener, NULL, NULL);
}

static long do_accept_timeout(void)
{
	return accept(timed_listener, NULL, NULL);
}

static long do_accept4_timeout(void)
{
	return accept4(timed_listener, NULL, NULL, SOCK_CLOEXEC);
}

static long do_connect_timeout(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "full-socket"};
	struct timeval timeout = {.tv_sec = LONG_SECONDS};
	int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	return connect(client, (struct sockaddr *)&address, sizeof(address));
}

static char byte;
static struct iovec part = {&byte, 1};
static struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
static struct mmsghdr messages[] = {{.msg_hdr = {.msg_iov = &part, .msg_iovlen = 1}}};

static long do_recv(void)
{
	return recv(pair[0], &byte, 1, 0);
}

static long do_recv_timeout(void)
{
	return recv(timed_pair[0], &byte, 1, 0);
}

static long do_recvmsg(void)
{
	return recvmsg(pair[0], &message, 0);
}

static long do_recvmsg_timeout(void)
{
	return recvmsg(timed_pair[0], &message, 0);
}

static long do_recvmmsg(void)
{
	return recvmmsg(pair[0], messages, 1, 0, NULL);
}

static long do_recvmmsg_timeout(void)
{
	return recvmmsg(timed_pair[0], messages, 1, 0, NULL);
}

static long do_read_timeout(void)
{
	return read(timed_pair[0], &byte, 1);
}

static long do_readv_timeout(void)
{
	return readv(timed_pair[0], &part, 1);
}

static long do_send(void)
{
	return send(full_pair[0], "x", 1, 0);
}

static long do_send_timeout(void)
{
	return send(timed_full_pair[0], "x", 1, 0);
}

static long do_sendmsg_timeout(void)
{
	return sendmsg(timed_full_pair[0], &message, 0);
}

static long do_sendmmsg_timeout(void)
{
	return sendmmsg(timed_full_pair[0], messages, 1, 0);
}

static long do_write_timeout(void)
{
	return write(timed_full_pair[0], "x", 1);
}

static long do_writev_timeout(void)
{
	return writev(timed_full_pair[0], &part, 1);
}

static long do_sendfile_timeout(void)
{
	return sendfile(timed_full_pair[0], open("/proc/self/exe", O_RDONLY | O_CLOEXEC), NULL, 4096);
}

static long do_io_getevents(void)
{
	unsigned long context = 0;
	char event[64];

	if (syscall(SYS_io_setup, 1, &context) < 0)
		fail("io_setup");
	return syscall(SYS_io_getevents, context, 1, 1, event, NULL);
}

static long do_poll(void)
{
	struct pollfd event = {.fd = empty_pipe[0], .events = POLLIN};

	return poll(&event, 1, -1);
}

static long do_poll_timeout(void)
{
	struct pollfd event = {.fd = empty_pipe[0], .events = POLLIN};

	return poll(&event, 1, LONG_SECONDS * 1000);
}

static long do_ppoll(void)
{
	struct pollfd event = {.fd = empty_pipe[0], .events = POLLIN};
	sigset_t none;

	sigemptyset(&none);
	return ppoll(&event, 1, &long_time, &none);
}

static long do_select(void)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(empty_pipe[0], &set);
	return select(empty_pipe[0] + 1, &set, NULL, NULL, NULL);
}

static long do_pselect(void)
{
	sigset_t none;

	sigemptyset(&none);
	return pselect(0, NULL, NULL, NULL, &long_time, &none);
}

static long do_epoll_wait(void)
{
	struct epoll_event event = {.events = EPOLLIN};
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	(void)epoll_ctl(epoll, EPOLL_CTL_ADD, empty_pipe[0], &event);
	return epoll_wait(epoll, &event, 1, -1);
}

static long do_epoll_timeout(void)
{
	struct epoll_event event;

	return epoll_wait(epoll_create1(EPOLL_CLOEXEC), &event, 1, LONG_SECONDS * 1000);
}

static long do_epoll_pwait(void)
{
	struct epoll_event event;
	sigset_t none;

	sigemptyset(&none);
	return epoll_pwait(epoll_create1(EPOLL_CLOEXEC), &event, 1, -1, &none);
}

static long do_nanosleep(void)
{
	return syscall(SYS_nanosleep, &long_time, NULL);
}

static long do_clock_nanosleep(void)
{
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += LONG_SECONDS;
	errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL);
	return errno == 0 ? 0 : -1;
}

static long do_futex(void)
{
	int word = 0;

	return syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0);
}

static long do_futex_timeout(void)
{
	int word = 0;

	return syscall(SYS_futex, &word, FUTEX_WAIT, 0, &long_time, NULL, 0);
}

static long do_msgrcv(void)
{
	struct msgbuf received;

	return msgrcv(empty_queue, &received, 1, 0, 0);
}

static struct {
	long type;
	char text[8192];
} full_message = {.type = 1};

static long do_msgsnd(void)
{
	return msgsnd(full_queue, &full_message, sizeof(full_message.text), 0);
}

static long do_semop(void)
{
	return semop(semaphore, &(struct sembuf){.sem_op = -1}, 1);
}

static long do_semtimedop(void)
{
	return semtimedop(semaphore, &(struct sembuf){.sem_op = -1}, 1, &long_time);
}

static long do_mq_receive(void)
{
	struct mq_attr attributes = {.mq_maxmsg = 1, .mq_msgsize = 1};
	char name[64], data;
	mqd_t queue;

	snprintf(name, sizeof(name), "/interrupted.%d", getpid());
	queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &attributes);
	mq_unlink(name);
	return mq_receive(queue, &data, 1, NULL);
}

static long do_pause(void)
{
	return pause();
}

static long do_sigsuspend(void)
{
	sigset_t none;

	sigemptyset(&none);
	return sigsuspend(&none);
}

static long wait_for_signal(const struct timespec *timeout)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return sigtimedwait(&set, NULL, timeout);
}

static long do_sigwaitinfo(void)
{
	return wait_for_signal(NULL);
}

static long do_sigtimedwait(void)
{
	return wait_for_signal(&long_time);
}

static void have_a_child(void)
{
	child_of_child = fork();
	if (child_of_child == 0) {
		signal(SIGUSR1, SIG_IGN);
		for (;;)
			pause();
	}
}

static long do_wait4(void)
{
	have_a_child();
	return waitpid(child_of_child, NULL, 0);
}

static long do_waitid(void)
{
	siginfo_t info;

	have_a_child();
	return waitid(P_PID, (id_t)child_of_child, &info, WEXITED);
}

static long do_eventfd(void)
{
	uint64_t count;

	return read(eventfd(0, EFD_CLOEXEC), &count, sizeof(count));
}

static long do_timerfd(void)
{
	uint64_t count;

	return read(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), &count, sizeof(count));
}

static long do_signalfd(void)
{
	struct signalfd_siginfo info;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return read(signalfd(-1, &set, SFD_CLOEXEC), &info, sizeof(info));
}

static long do_inotify(void)
{
	struct inotify_event event;

	return read(inotify_init1(IN_CLOEXEC), &event, sizeof(event));
}

static long do_terminal(void)
{
	char data;
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
		fail("pty");
	return read(master, &data, 1);
}

static const struct call {
	const char *name;
	long (*block)(void);
	long number;
} calls[] = {
	{"read", do_read, SYS_read},
	{"write", do_write, SYS_write},
	{"open-fifo", do_open, SYS_openat},
	{"flock", do_flock, SYS_flock},
	{"fcntl-setlkw", do_setlkw, SYS_fcntl},
	{"accept", do_accept, SYS_accept},
	{"accept-timeout", do_accept_timeout, SYS_accept},
	{"accept4-timeout", do_accept4_timeout, SYS_accept4},
	{"connect-timeout", do_connect_timeout, SYS_connect},
	{"recv", do_recv, SYS_recvfrom},
	{"recv-timeout", do_recv_timeout, SYS_recvfrom},
	{"recvmsg", do_recvmsg, SYS_recvmsg},
	{"recvmsg-timeout", do_recvmsg_timeout, SYS_recvmsg},
	{"recvmmsg", do_recvmmsg, SYS_recvmmsg},
	{"recvmmsg-timeout", do_recvmmsg_timeout, SYS_recvmmsg},
	{"read-timeout", do_read_timeout, SYS_read},
	{"readv-timeout", do_readv_timeout, SYS_readv},
	{"send", do_send, SYS_sendto},
	{"send-timeout", do_send_timeout, SYS_sendto},
	{"sendmsg-timeout", do_sendmsg_timeout, SYS_sendmsg},
	{"sendmmsg-timeout", do_sendmmsg_timeout, SYS_sendmmsg},
	{"write-timeout", do_write_timeout, SYS_write},
	{"writev-timeout", do_writev_timeout, SYS_writev},
	{"sendfile-timeout", do_sendfile_timeout, SYS_sendfile},
	{"io_getevents", do_io_getevents, SYS_io_getevents},
	{"poll", do_poll, SYS_poll},
	{"poll-timeout", do_poll_timeout, SYS_poll},
	{"ppoll", do_ppoll, SYS_ppoll},
	{"select", do_select, -1},
	{"pselect", do_pselect, SYS_pselect6},
	{"epoll_wait", do_epoll_wait, SYS_epoll_wait},
	{"epoll_wait-timeout", do_epoll_timeout, SYS_epoll_wait},
	{"epoll_pwait", do_epoll_pwait, SYS_epoll_pwait},
	{"nanosleep", do_nanosleep, SYS_nanosleep},
	{"clock_nanosleep", do_clock_nanosleep, SYS_clock_nanosleep},
	{"futex", do_futex, SYS_futex},
	{"futex-timeout", do_futex_timeout, SYS_futex},
	{"msgrcv", do_msgrcv, SYS_msgrcv},
	{"msgsnd", do_msgsnd, SYS_msgsnd},
	{"semop", do_semop, -1},
	{"semtimedop", do_semtimedop, SYS_semtimedop},
	{"mq_receive", do_mq_receive, SYS_mq_timedreceive},
	{"pause", do_pause, SYS_pause},
	{"sigsuspend", do_sigsuspend, SYS_rt_sigsuspend},
	{"sigwaitinfo", do_sigwaitinfo, SYS_rt_sigtimedwait},
	{"sigtimedwait", do_sigtimedwait, SYS_rt_sigtimedwait},
	{"wait4", do_wait4, SYS_wait4},
	{"waitid", do_waitid, SYS_waitid},
	{"eventfd", do_eventfd, SYS_read},
	{"timerfd", do_timerfd, SYS_read},
	{"signalfd", do_signalfd, SYS_read},
	{"inotify", do_inotify, SYS_read},
	{"terminal", do_terminal, SYS_read},
};

/* --- the disturbances --- */

static const struct disturbance {
	const char *name;
	int signal;
	int flags; /* of the handler */
	enum { HANDLED, IGNORED, DEFAULT, STOPPED } how;
} disturbances[] = {
	{"restarting", SIGUSR1, SA_RESTART, HANDLED},
	{"not-restarting", SIGUSR1, 0, HANDLED},
	{"ignored", SIGUSR1, 0, IGNORED},
	{"default", SIGWINCH, 0, DEFAULT},
	{"continued", SIGCONT, 0, DEFAULT},
	{"stopped", SIGSTOP, 0, STOPPED},
	{"stopped-by-terminal", SIGTSTP, 0, STOPPED},
};

static void note(int number)
{
	(void)number;
	told->handled++;
}

[[gnu::noreturn]] static void be_disturbed(const struct call *call, const struct disturbance *by)
{
	struct sigaction action = {.sa_handler = by->how == HANDLED ? note : SIG_IGN, .sa_flags = by->flags};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setpgid(0, 0); /* not orphaned: SIGTSTP stops it */
	if (by->how == HANDLED || by->how == IGNORED)
		sigaction(by->signal, &action, NULL);
	told->result = call->block();
	told->err = errno;
	told->returned = true;
	for (;;)
		pause();
}

/* Asleep in a call: which one, the kernel says where it lets us look; a restarted one may be restart_syscall. */
static bool sleeps_in(pid_t pid, long number)
{
	char path[64], state = 0;
	long current = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (file == NULL || fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		fail("interrupted: stat");
	fclose(file);
	if (state != 'S')
		return false;
	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	file = fopen(path, "re");
	if (file == NULL || fscanf(file, "%ld", &current) != 1)
		current = -1; /* running */
	if (file != NULL)
		fclose(file);
	return current >= 0 && (number < 0 || current == number || current == SYS_restart_syscall);
}

static void await_sleep_or_return(pid_t pid, const struct call *call)
{
	while (!told->returned && !sleeps_in(pid, call->number))
		sched_yield();
}

static void stop_and_continue(pid_t pid, int signal)
{
	int status = 0;

	kill(pid, signal);
	if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
		printf("(did not stop) ");
	kill(pid, SIGCONT);
	if (waitpid(pid, &status, WCONTINUED) != pid || !WIFCONTINUED(status))
		printf("(did not continue) ");
}

static void disturb(pid_t pid, const struct disturbance *by)
{
	if (by->how == STOPPED) {
		stop_and_continue(pid, by->signal);
		return;
	}
	kill(pid, by->signal);
	/* A handler that ran has been woken for; all other signals must not be seen at all. */
	while (by->how == HANDLED && told->handled == 0)
		sched_yield();
}

static void run(const struct call *call, const struct disturbance *by)
{
	pid_t child;

	*told = (struct told){0};
	child = fork();
	if (child == 0)
		be_disturbed(call, by);
	await_sleep_or_return(child, call);
	if (told->returned)
		printf(" %s=DID-NOT-BLOCK", by->name);
	disturb(child, by);
	await_sleep_or_return(child, call);
	if (!told->returned)
		printf(" %s=goes-on", by->name);
	else
		printf(" %s=%s", by->name, told->result < 0 ? strerrorname_np(told->err) : "result");
	kill(-child, SIGKILL); /* with a child of its own */
	waitpid(child, NULL, 0);
}

static int listen_at(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)strcpy(address.sun_path, name);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 0) < 0)
		fail(name);
	return fd;
}

/* As long as connections are taken without anybody who accepts. */
static void fill_backlog(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	(void)strcpy(address.sun_path, name);
	do
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	while (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	close(fd);
}

static void make_pair(int fds[2], bool full)
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		fail("socketpair");
	if (full)
		fill(fds[0]);
}

static void set_timeout(int fd)
{
	struct timeval timeout = {.tv_sec = LONG_SECONDS};

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
		fail("setsockopt");
}

static void prepare_sockets(void)
{
	listener = listen_at("socket");
	timed_listener = listen_at("timed-socket");
	full_listener = listen_at("full-socket");
	fill_backlog("full-socket");
	make_pair(pair, false);
	make_pair(full_pair, true);
	make_pair(timed_pair, false);
	make_pair(timed_full_pair, true);
	set_timeout(timed_listener);
	set_timeout(timed_pair[0]);
	set_timeout(timed_full_pair[0]);
}

static void prepare_ipc(void)
{
	semaphore = semget(IPC_PRIVATE, 1, 0600);
	empty_queue = msgget(IPC_PRIVATE, 0600);
	full_queue = msgget(IPC_PRIVATE, 0600);
	if (semaphore < 0 || empty_queue < 0 || full_queue < 0)
		fail("interrupted: System V IPC");
	while (msgsnd(full_queue, &full_message, sizeof(full_message.text), IPC_NOWAIT) == 0)
		;
}

static void prepare(void)
{
	struct flock lock = {.l_type = F_WRLCK};
	int locked = open("locked", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (told == MAP_FAILED || locked < 0 || flock(locked, LOCK_EX) < 0 || fcntl(locked, F_SETLK, &lock) < 0 ||
	    mkfifo("fifo", 0600) < 0 || pipe2(empty_pipe, O_CLOEXEC) < 0 || pipe2(full_pipe, O_CLOEXEC) < 0)
		fail("interrupted");
	fill(full_pipe[1]);
	prepare_sockets();
	prepare_ipc();
}

static void disturb_in_all_ways(const struct call *call, bool by_stops)
{
	printf("%s:", call->name);
	for (size_t i = 0; i < sizeof(disturbances) / sizeof(disturbances[0]); i++)
		if ((disturbances[i].how == STOPPED) == by_stops)
			run(call, &disturbances[i]);
	printf("\n");
}

static void clean(void)
{
	static const char *const names[] = {"socket", "timed-socket", "full-socket", "fifo", "locked"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(names[i]);
	semctl(semaphore, 0, IPC_RMID);
	msgctl(empty_queue, IPC_RMID, NULL);
	msgctl(full_queue, IPC_RMID, NULL);
}

int main(int argc, char *argv[])
{
	bool by_stops = argc > 1 && strcmp(argv[1], "stops") == 0;

	if (argc < 2 || (!by_stops && strcmp(argv[1], "signals") != 0)) {
		fprintf(stderr, "usage: interrupted signals|stops [CALL]\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	prepare();
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (argc < 3 || strcmp(argv[2], calls[i].name) == 0)
			disturb_in_all_ways(&calls[i], by_stops);
	clean();
	return 0;
}
