/* Probes of `sallyport doctor` for what the kernel offers, and lets this process use. */
#include "doctor.h"
#include "util/cleanup.h"
#include "util/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

/* A child that blocks for good, and that nobody has to ask twice to end: it waits for the other end of its socket to
 * close, which our death does as well. */
struct sleeper {
	pid_t pid; /* 0: none */
	int fd;
};

static int load_filter(unsigned int flags, const struct sock_filter *filter, size_t length);
static int hold_a_call(unsigned int flags);
static int call_held(int listener);
static int answer(int listener);
static int hold_plainly(void);
static int hold_killably(void);
static int set_sync_wake_up(void);
static int start_sleeper(struct sleeper *sleeper);
static void end_sleeper(struct sleeper *sleeper);
static int trace(pid_t pid);
static int read_memory(pid_t pid);
static int open_proc_files(pid_t pid, const char **which);

void sp_probe_kernel(struct sp_finding *finding)
{
	struct utsname name;

	(void)uname(&name);
#if defined(__x86_64__)
	sp_finding_set(finding, SP_FINDING_OK, "a supported architecture", "%s %s, %s", name.sysname, name.release,
		       name.machine);
#else
	sp_finding_set(finding, SP_FINDING_MISSING, "only x86_64 is supported", "%s %s, %s", name.sysname, name.release,
		       name.machine);
#endif
}

void sp_probe_user_notification(struct sp_finding *finding)
{
	__u32 notify = SECCOMP_RET_USER_NOTIF, kill_process = SECCOMP_RET_KILL_PROCESS;
	struct seccomp_notif_sizes sizes;

	if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &notify) < 0 ||
	    syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &kill_process) < 0 ||
	    syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0) {
		sp_finding_set(finding, SP_FINDING_MISSING, "no execve can be held for a decision (needs Linux 5.0)",
			       "%s", strerror(errno));
		return;
	}
	sp_finding_set(finding, SP_FINDING_OK, "an execve can be held for a decision",
		       "seccomp notifications of %u bytes", sizes.seccomp_notif);
}

void sp_probe_listener(struct sp_finding *finding)
{
	int err = sp_try(hold_plainly);

	if (err == 0)
		sp_finding_set(finding, SP_FINDING_OK, "a job can be started from here",
			       "a child's system call was held and answered");
	else if (err == EBUSY)
		sp_finding_set(finding, SP_FINDING_MISSING,
			       "a tree of processes has one listener, so no job can be started inside it",
			       "already supervised through a seccomp listener");
	else
		sp_finding_set(finding, SP_FINDING_MISSING, "no job can be started from here",
			       "no system call could be held: %s", strerror(err));
}

void sp_probe_wait_killable(struct sp_finding *finding)
{
	int err = sp_try(hold_killably);

	/* The flags are checked before it is found that another listener is in the way. */
	if (err == 0 || err == EBUSY)
		sp_finding_set(finding, SP_FINDING_OK,
			       "an execve that was received is interrupted by fatal signals only",
			       "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV was accepted");
	else
		sp_finding_set(finding, SP_FINDING_MISSING,
			       "signals would make programs see errors that execve never gives (needs Linux 5.19)",
			       "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: %s", strerror(err));
}

/* The one feature that cannot be tried: it is a race that is lost now and then. */
void sp_probe_reply_race(struct sp_finding *finding)
{
	struct utsname name;
	int major = 0, minor = 0;

	(void)uname(&name);
	(void)sscanf(name.release, "%d.%d", &major, &minor);
	if (major > 6 || (major == 6 && minor >= 18))
		sp_finding_set(finding, SP_FINDING_OK, "an answer is never lost to an interrupt",
			       "fixed since 6.18, going by the version");
	else
		sp_finding_set(finding, SP_FINDING_DEGRADED,
			       "an answer that meets an interrupt may be lost; the execve then comes back and is "
			       "decided again",
			       "not fixed before 6.18, going by the version (%s)", name.release);
}

void sp_probe_sync_wake_up(struct sp_finding *finding)
{
	int err = sp_try(set_sync_wake_up);

	if (err == 0)
		sp_finding_set(finding, SP_FINDING_OK,
			       "caller and supervisor may share a CPU, which makes an execve cheaper",
			       "SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP was accepted");
	else if (err == EBUSY)
		sp_finding_set(finding, SP_FINDING_DEGRADED, "cannot be tried under another listener", "not tried");
	else
		sp_finding_set(finding, SP_FINDING_DEGRADED, "an execve costs a wake-up across CPUs (needs Linux 6.6)",
			       "SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP: %s", strerror(err));
}

void sp_probe_ptrace(struct sp_finding *finding)
{
	sp_cleanup(end_sleeper) struct sleeper sleeper = {.fd = -1};
	int err = start_sleeper(&sleeper);

	if (err == 0)
		err = trace(sleeper.pid);
	if (err == 0)
		sp_finding_set(finding, SP_FINDING_OK, "every task can be tracked from its birth",
			       "an own child was seized and stopped");
	else
		sp_finding_set(finding, SP_FINDING_MISSING,
			       "tasks cannot be tracked (see yama and tracer; containers may forbid ptrace)",
			       "an own child could not be seized: %s", strerror(err));
}

void sp_probe_memory(struct sp_finding *finding)
{
	sp_cleanup(end_sleeper) struct sleeper sleeper = {.fd = -1};
	const char *which = "process_vm_readv";
	int err = start_sleeper(&sleeper);

	if (err == 0)
		err = read_memory(sleeper.pid);
	if (err == 0)
		err = open_proc_files(sleeper.pid, &which);
	if (err == 0)
		sp_finding_set(finding, SP_FINDING_OK, "arguments can be read, and verified after the exec",
			       "process_vm_readv and /proc/PID work on an own child");
	else
		sp_finding_set(finding, SP_FINDING_MISSING,
			       "arguments cannot be read or verified, so nothing can be allowed", "%s: %s", which,
			       strerror(err));
}

void sp_probe_openat2(struct sp_finding *finding)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};
	cleanup_close int in_root = (int)syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof how);

	if (in_root < 0) {
		sp_finding_set(finding, SP_FINDING_MISSING,
			       "paths cannot be resolved through a program's own root (needs Linux 5.6)", "%s",
			       strerror(errno));
		return;
	}
	how.resolve |= RESOLVE_CACHED;
	cleanup_close int cached = (int)syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof how);
	if (cached < 0 && errno != EAGAIN)
		sp_finding_set(finding, SP_FINDING_DEGRADED,
			       "a path on a dead network file system can delay other decisions (needs Linux 5.12)",
			       "without RESOLVE_CACHED: %s", strerror(errno));
	else
		sp_finding_set(finding, SP_FINDING_OK,
			       "paths are resolved through a program's own root, without waiting",
			       "with RESOLVE_IN_ROOT and RESOLVE_CACHED");
}

void sp_probe_procmap_query(struct sp_finding *finding)
{
	struct procmap_query query = {
		.size = sizeof query,
		.query_flags = PROCMAP_QUERY_COVERING_OR_NEXT_VMA,
		.query_addr = (__u64)(uintptr_t)&query,
	};
	cleanup_close int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);

	if (maps < 0 || ioctl(maps, PROCMAP_QUERY, &query) < 0)
		sp_finding_set(finding, SP_FINDING_DEGRADED,
			       "shared memory is found by reading the whole of /proc/PID/maps (needs Linux 6.11)", "%s",
			       strerror(errno));
	else
		sp_finding_set(finding, SP_FINDING_OK, "shared memory is found with one question", "answered");
}

void sp_probe_proc_connector(struct sp_finding *finding)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = CN_IDX_PROC};
	cleanup_close int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_CONNECTOR);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) < 0)
		sp_finding_set(finding, SP_FINDING_MISSING,
			       "not needed by attached tracking, which sees exits by itself", "%s", strerror(errno));
	else
		sp_finding_set(finding, SP_FINDING_OK, "exits of processes can be followed without ptrace",
			       "bound to the group of process events");
}

static int hold_plainly(void)
{
	return hold_a_call(SECCOMP_FILTER_FLAG_NEW_LISTENER);
}

static int hold_killably(void)
{
	return hold_a_call(SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
}

/* What our jobs do, in small: a filter that holds one system call, a caller, and an answer that the caller must see. */
static int hold_a_call(unsigned int flags)
{
	static const struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	int listener = load_filter(flags, filter, sizeof filter / sizeof *filter);

	if (listener < 0)
		return -listener;
	pid_t caller = fork();
	if (caller < 0)
		return errno;
	if (caller == 0)
		_exit(call_held(listener));
	int err = answer(listener);
	/* With the listener gone the caller gets ENOSYS; it never stays behind. */
	(void)close(listener);
	int status;
	if (waitpid(caller, &status, 0) < 0)
		return errno;
	return err != 0 ? err : !WIFEXITED(status) ? EPROTO : WEXITSTATUS(status);
}

enum { HELD_ANSWER = 4711 };

static int call_held(int listener)
{
	(void)close(listener);
	return syscall(SYS_getpgid, 0) == HELD_ANSWER ? 0 : EPROTO;
}

static int answer(int listener)
{
	/* A newer kernel may write a longer notification than our headers know. */
	char notification[1024] __attribute__((aligned(8))) = {0};
	struct seccomp_notif_sizes sizes;

	if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0)
		return errno;
	if (sizes.seccomp_notif > sizeof notification)
		return E2BIG;
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, notification) < 0)
		return errno;
	struct seccomp_notif_resp response = {
		.id = ((const struct seccomp_notif *)(const void *)notification)->id,
		.val = HELD_ANSWER,
	};
	return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response) < 0 ? errno : 0;
}

static int set_sync_wake_up(void)
{
	static const struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	int listener = load_filter(SECCOMP_FILTER_FLAG_NEW_LISTENER, &allow, 1);

	if (listener < 0)
		return -listener;
	return ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP) < 0 ? errno : 0;
}

/* A listener, or -errno. */
static int load_filter(unsigned int flags, const struct sock_filter *filter, size_t length)
{
	const struct sock_fprog program = {.len = (unsigned short)length, .filter = (struct sock_filter *)filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	int listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
	return listener < 0 ? -errno : listener;
}

static int start_sleeper(struct sleeper *sleeper)
{
	int ends[2];
	char byte = 0;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return errno;
	pid_t pid = fork();
	if (pid == 0) {
		(void)close(ends[0]);
		/* As in the launch: if our own file is not readable, this child is not dumpable and not to be traced. */
		(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
		(void)!write(ends[1], &byte, 1);
		(void)!read(ends[1], &byte, 1);
		_exit(0);
	}
	int err = errno;
	(void)close(ends[1]);
	sleeper->fd = ends[0];
	if (pid < 0)
		return err;
	sleeper->pid = pid;
	return read(sleeper->fd, &byte, 1) == 1 ? 0 : ESRCH;
}

static void end_sleeper(struct sleeper *sleeper)
{
	sp_close_fd(&sleeper->fd);
	if (sleeper->pid == 0)
		return;
	(void)kill(sleeper->pid, SIGKILL);
	int status;
	do {
		if (waitpid(sleeper->pid, &status, __WALL) < 0 && errno != EINTR)
			return;
	} while (!WIFEXITED(status) && !WIFSIGNALED(status));
}

/* The sleeper stays attached; end_sleeper() kills it in its stop. */
static int trace(pid_t pid)
{
	const unsigned long options =
		PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
	int status;

	if (ptrace(PTRACE_SEIZE, pid, NULL, options) < 0 || ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) < 0)
		return errno;
	while (waitpid(pid, &status, __WALL) < 0) {
		if (errno != EINTR)
			return errno;
	}
	return WIFSTOPPED(status) && status >> 16 == PTRACE_EVENT_STOP ? 0 : EPROTO;
}

static int read_memory(pid_t pid)
{
	static const char word[] = "sallyport";
	char seen[sizeof word] = "";
	const struct iovec here = {.iov_base = seen, .iov_len = sizeof seen};
	const struct iovec there = {.iov_base = (void *)word, .iov_len = sizeof word};

	if (process_vm_readv(pid, &here, 1, &there, 1, 0) < 0)
		return errno;
	return memcmp(seen, word, sizeof word) == 0 ? 0 : EPROTO;
}

static int open_proc_files(pid_t pid, const char **which)
{
	static const struct {
		const char *name;
		int flags;
	} files[] = {{"cmdline", O_RDONLY}, {"environ", O_RDONLY}, {"maps", O_RDONLY}, {"pagemap", O_RDONLY},
		     {"exe", O_PATH},       {"root", O_PATH},      {"cwd", O_PATH}};
	char path[64];

	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		(void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, files[i].name);
		*which = files[i].name;
		cleanup_close int fd = open(path, files[i].flags | O_CLOEXEC);
		if (fd < 0)
			return errno;
	}
	return 0;
}
