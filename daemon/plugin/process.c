/* See process.h. */
#include "plugin/process.h"

#include "plugin/worker.h"
#include "util/cleanup.h"
#include "util/cpu.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NURSERY "sallyport-plugins"
#define WORKER "sallyport-plugin"
#define PRIVILEGED_WORKER "sallyport-plugin-privileged"

extern char **environ;

enum { CHANNEL = 3, PLUGIN = 4 }; /* fds of what we start */
enum { WORKERS_MAX = 256, GRACE = 500 /* ms for a plugin's fini when we end */ };
enum { MEMORY_MAX = 128 << 20, ADDRESS_SPACE_MAX = 1 << 30 };

enum wish { GIVE_BIRTH, GIVE_BIRTH_PRIVILEGED, KILL };

struct order {
	uint64_t id;
	uint64_t wish;
};

/* ---- the supervisor's side ---- */

/* Between fork and exec: only async-signal-safe calls. fds above are closed by the exec. */
[[gnu::noreturn]] static void become(const char *name, int channel, int plugin)
{
	char *const argv[] = {(char *)name, NULL};
	int fds[] = {channel, plugin};
	sigset_t none;

	/* Out of the way of the numbers they shall have. */
	for (size_t i = 0; i < 2; i++)
		if (fds[i] >= 0 && (fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 10)) < 0)
			_exit(127);
	if (dup2(fds[0], CHANNEL) < 0 || (plugin >= 0 && dup2(fds[1], PLUGIN) < 0))
		_exit(127);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)execve("/proc/self/exe", argv, environ);
	_exit(127);
}

int sp_nursery_start(pid_t *pid, struct sp_error *e)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
		return sp_fail(e, errno, "cannot create a socket pair: %s", strerror(errno));
	cleanup_close int ours = fds[0], theirs = fds[1];
	*pid = fork();
	if (*pid < 0)
		return sp_fail(e, errno, "cannot fork for plugins: %s", strerror(errno));
	if (*pid == 0) {
		sp_cpu_restore();
		become(NURSERY, theirs, -1);
	}
	(void)fcntl(ours, F_SETFL, O_NONBLOCK);
	return sp_steal_fd(&ours);
}

static int send_order(int channel, const struct order *order, const int *fds, size_t count)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)order, .iov_len = sizeof *order};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	if (count > 0) {
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(count * sizeof *fds);
		struct cmsghdr *c = CMSG_FIRSTHDR(&message);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(count * sizeof *fds);
		memcpy(CMSG_DATA(c), fds, count * sizeof *fds);
	}
	return sendmsg(channel, &message, MSG_NOSIGNAL) == (ssize_t)sizeof *order ? 0 : -errno;
}

int sp_nursery_give_birth(int channel, uint64_t id, int socket, int file, bool privileged)
{
	const struct order order = {.id = id, .wish = privileged ? GIVE_BIRTH_PRIVILEGED : GIVE_BIRTH};

	return send_order(channel, &order, (const int[]){socket, file}, 2);
}

int sp_nursery_kill(int channel, uint64_t id)
{
	return send_order(channel, &(const struct order){.id = id, .wish = KILL}, NULL, 0);
}

int sp_nursery_read(int channel, struct sp_nursery_news *news)
{
	const ssize_t n = TEMP_FAILURE_RETRY(recv(channel, news, sizeof *news, 0));

	if (n == (ssize_t)sizeof *news)
		return 1;
	if (n >= 0)
		return -EPIPE;
	return errno == EAGAIN ? 0 : -errno;
}

/* ---- the nursery ---- */

struct nursery {
	struct sp_nursery_news children[WORKERS_MAX]; /* status: the pid */
	size_t count;
	int signals;
};

static void tell(uint64_t id, int status)
{
	const struct sp_nursery_news news = {.id = id, .status = status};

	(void)send(CHANNEL, &news, sizeof news, MSG_NOSIGNAL);
}

static void bear(struct nursery *n, uint64_t id, const int fds[2], bool privileged)
{
	const pid_t pid = n->count < WORKERS_MAX ? fork() : -1;

	if (pid == 0)
		become(privileged ? PRIVILEGED_WORKER : WORKER, fds[0], fds[1]);
	if (pid < 0)
		tell(id, -1);
	else
		n->children[n->count++] = (struct sp_nursery_news){.id = id, .status = pid};
}

static void reap(struct nursery *n)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (size_t i = 0; i < n->count; i++)
			if (n->children[i].status == pid) {
				tell(n->children[i].id, status);
				n->children[i] = n->children[--n->count];
				break;
			}
}

static void kill_child(const struct nursery *n, uint64_t id)
{
	for (size_t i = 0; i < n->count; i++)
		if (n->children[i].id == id)
			(void)kill(n->children[i].status, SIGKILL);
}

/* False: the supervisor is gone. */
static bool take_order(struct nursery *n)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control;
	struct order order;
	struct iovec iov = {.iov_base = &order, .iov_len = sizeof order};
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	int fds[2] = {-1, -1};

	if (TEMP_FAILURE_RETRY(recvmsg(CHANNEL, &message, MSG_CMSG_CLOEXEC)) != (ssize_t)sizeof order)
		return false;
	const struct cmsghdr *c = CMSG_FIRSTHDR(&message);
	if (c != NULL && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof fds))
		memcpy(fds, CMSG_DATA(c), sizeof fds);
	if (order.wish == KILL)
		kill_child(n, order.id);
	else
		bear(n, order.id, fds, order.wish == GIVE_BIRTH_PRIVILEGED);
	sp_close_fd(&fds[0]);
	sp_close_fd(&fds[1]);
	return true;
}

/* Plugins see that nobody talks to them any more, and get a moment to end. */
static void end_children(struct nursery *n)
{
	struct pollfd signals = {.fd = n->signals, .events = POLLIN};
	struct signalfd_siginfo info;

	for (int left = GRACE; n->count > 0 && left > 0; left -= 10) {
		if (poll(&signals, 1, 10) > 0)
			(void)!read(n->signals, &info, sizeof info);
		reap(n);
	}
	for (size_t i = 0; i < n->count; i++)
		(void)kill(n->children[i].status, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0)
		continue;
}

/* The terminal's signals are not for us, and we do not hold what we do not need. */
static void settle(void)
{
	cleanup_close int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (null >= 0) {
		(void)dup2(null, STDIN_FILENO);
		(void)dup2(null, STDOUT_FILENO);
	}
	(void)!chdir("/");
	(void)umask(077);
}

static int run_nursery(void)
{
	static struct nursery n;
	sigset_t set;

	(void)setsid();
	settle();
	(void)fcntl(CHANNEL, F_SETFD, FD_CLOEXEC);
	(void)syscall(SYS_close_range, CHANNEL + 1, ~0U, 0);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	n.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (n.signals < 0)
		return 1;
	for (;;) {
		struct pollfd watched[] = {{.fd = CHANNEL, .events = POLLIN}, {.fd = n.signals, .events = POLLIN}};
		struct signalfd_siginfo info;

		(void)poll(watched, 2, -1);
		if (watched[1].revents != 0)
			(void)!read(n.signals, &info, sizeof info);
		reap(&n);
		if (watched[0].revents != 0 && !take_order(&n))
			break;
	}
	end_children(&n);
	return 0;
}

/* ---- a worker ---- */

/* Programs, new privileges, other processes, and the kernel's large or seldom used parts. The network stays, for plugins that
 * look something up there; but not the sockets of local services, which would start programs for it. */
static bool refuse_calls(bool privileged)
{
	static const int refused[] = {
		SCMP_SYS(execve),
		SCMP_SYS(execveat),
		SCMP_SYS(fork),
		SCMP_SYS(vfork),
		SCMP_SYS(ptrace),
		SCMP_SYS(process_vm_writev),
		SCMP_SYS(kill),
		SCMP_SYS(tkill),
		SCMP_SYS(pidfd_send_signal),
		SCMP_SYS(setuid),
		SCMP_SYS(setgid),
		SCMP_SYS(setreuid),
		SCMP_SYS(setregid),
		SCMP_SYS(setresuid),
		SCMP_SYS(setresgid),
		SCMP_SYS(setgroups),
		SCMP_SYS(unshare),
		SCMP_SYS(setns),
		SCMP_SYS(mount),
		SCMP_SYS(umount2),
		SCMP_SYS(chroot),
		SCMP_SYS(pivot_root),
		SCMP_SYS(bpf),
		SCMP_SYS(perf_event_open),
		SCMP_SYS(userfaultfd),
		SCMP_SYS(io_uring_setup),
		SCMP_SYS(add_key),
		SCMP_SYS(request_key),
		SCMP_SYS(keyctl),
		SCMP_SYS(init_module),
		SCMP_SYS(finit_module),
		SCMP_SYS(kexec_load),
		SCMP_SYS(kexec_file_load),
		SCMP_SYS(reboot),
		SCMP_SYS(open_by_handle_at),
		SCMP_SYS(modify_ldt),
		SCMP_SYS(socketpair),
		SCMP_SYS(prctl),
	};
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

	if (filter == NULL)
		return false;
	int err = 0;
	for (size_t i = 0; err == 0 && i < sizeof refused / sizeof *refused; i++)
		err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), refused[i], 0);
	/* The C library goes on with clone, whose flags can be seen. */
	if (err == 0)
		err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (err == 0)
		err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
				       SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
	if (err == 0)
		err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 1,
				       SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
	if (err == 0 && !privileged)
		err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(process_vm_readv), 0);
	if (err == 0)
		err = seccomp_load(filter);
	seccomp_release(filter);
	return err == 0;
}

/* A plugin of crun's reads the memory of those whose calls it handles. */
static bool drop_capabilities(bool privileged)
{
	const uint64_t kept = privileged ? 1ULL << CAP_SYS_PTRACE | 1ULL << CAP_DAC_OVERRIDE : 0;
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, sets) != 0)
		return false;
	for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
		sets[i].permitted &= (uint32_t)(kept >> 32 * i);
		sets[i].effective = sets[i].permitted;
		sets[i].inheritable = 0;
	}
	return syscall(SYS_capset, &header, sets) == 0;
}

static bool limit(int resource, rlim_t value)
{
	struct rlimit both;

	if (getrlimit(resource, &both) != 0)
		return false;
	if (both.rlim_max > value)
		both.rlim_max = value;
	both.rlim_cur = both.rlim_max;
	return setrlimit(resource, &both) == 0;
}

static int run_worker(bool privileged)
{
	settle();
	(void)fcntl(CHANNEL, F_SETFD, FD_CLOEXEC);
	(void)fcntl(PLUGIN, F_SETFD, FD_CLOEXEC);
	(void)syscall(SYS_close_range, PLUGIN + 1, ~0U, 0);
#ifndef __SANITIZE_ADDRESS__
	if (!limit(RLIMIT_AS, ADDRESS_SPACE_MAX))
		return 1;
#endif
	if (!limit(RLIMIT_DATA, MEMORY_MAX) || !limit(RLIMIT_CORE, 0) || !drop_capabilities(privileged) ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || !refuse_calls(privileged)) {
		perror("sallyport: a plugin's process cannot be confined");
		return 1;
	}
	sp_worker_serve(CHANNEL, PLUGIN);
	_exit(0); /* threads of the plugin's may go on */
}

int sp_plugin_process(int argc, char **argv)
{
	if (argc != 1)
		return -1;
	if (strcmp(argv[0], NURSERY) == 0)
		return run_nursery();
	if (strcmp(argv[0], WORKER) == 0)
		return run_worker(false);
	return strcmp(argv[0], PRIVILEGED_WORKER) == 0 ? run_worker(true) : -1;
}
