/* The control of the security tests: a deliberately naive supervisor. It does what seccomp_unotify(2) warns of: reads path
 * and argv of an execve, decides on what it read, and answers CONTINUE, upon which the kernel reads everything again.
 *
 * usage: naive [--delay-us N] -- COMMAND [ARG...]
 * Refuses with EACCES when an argument is exactly "forbidden" or the resolved path has a component of that name. N: how long
 * it thinks between reading and answering. Exit status: the command's, 128+n by signal, 125 when it fails itself. */
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

enum { OWN_FAILURE = 125, NOT_FOUND = 127, ARGUMENTS_MAX = 64, STRING_MAX = 4096 };

static int fail(const char *what)
{
	fprintf(stderr, "naive: %s: %s\n", what, strerror(errno));
	return OWN_FAILURE;
}

/* ---- the supervised side ---- */

static int install_filter(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execve, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execveat, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			    SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &program);
}

static int send_fd(int socket, int fd)
{
	char byte = 0;
	struct iovec data = {&byte, 1};
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);

	*rights =
		(struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
	memcpy(CMSG_DATA(rights), &fd, sizeof(fd));
	return sendmsg(socket, &message, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

[[gnu::noreturn]] static void run_command(int socket, char *argv[])
{
	int listener = -1;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	listener = install_filter();
	if (listener < 0 || send_fd(socket, listener) < 0)
		_exit(fail("cannot install the filter"));
	close(listener);
	execvp(argv[0], argv);
	fail(argv[0]);
	_exit(NOT_FOUND);
}

/* ---- the supervising side ---- */

static int receive_fd(int socket)
{
	char byte = 0;
	int fd = -1;
	struct iovec data = {&byte, 1};
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

	if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&message) != NULL)
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
	return fd;
}

static bool read_memory(pid_t pid, uint64_t address, void *buffer, size_t size)
{
	struct iovec local = {buffer, size}, remote = {(void *)(uintptr_t)address, size};

	return process_vm_readv(pid, &local, 1, &remote, 1, 0) == (ssize_t)size;
}

/* Up to the end of the page at a time, since the next page may not be there. */
static bool read_string(pid_t pid, uint64_t address, char string[static STRING_MAX])
{
	size_t size = 0;

	while (size < STRING_MAX) {
		size_t wanted = 4096 - (address + size) % 4096;

		if (wanted > STRING_MAX - size)
			wanted = STRING_MAX - size;
		if (!read_memory(pid, address + size, string + size, wanted))
			return false;
		if (memchr(string + size, '\0', wanted) != NULL)
			return true;
		size += wanted;
	}
	return false;
}

static bool argument_is_forbidden(pid_t pid, uint64_t argv)
{
	char string[STRING_MAX];
	uint64_t pointer = 0;

	for (size_t i = 0; i < ARGUMENTS_MAX; i++) {
		if (!read_memory(pid, argv + i * sizeof(pointer), &pointer, sizeof(pointer)) || pointer == 0)
			return false;
		if (read_string(pid, pointer, string) && strcmp(string, "forbidden") == 0)
			return true;
	}
	return false;
}

/* From where the caller would start, but in this process's view of the file system. */
static void start_at_caller(pid_t pid, int directory, const char *string, char path[static STRING_MAX + 64])
{
	if (string[0] == '/')
		strcpy(path, string);
	else if (directory == AT_FDCWD)
		snprintf(path, STRING_MAX + 64, "/proc/%d/cwd/%s", pid, string);
	else
		snprintf(path, STRING_MAX + 64, "/proc/%d/fd/%d%s%s", pid, directory, string[0] != '\0' ? "/" : "",
			 string);
}

static bool path_is_forbidden(pid_t pid, int directory, uint64_t address)
{
	char string[STRING_MAX], path[STRING_MAX + 64], canonical[PATH_MAX];

	if (!read_string(pid, address, string))
		return false;
	start_at_caller(pid, directory, string, path);
	return realpath(path, canonical) != NULL && strstr(canonical, "/forbidden") != NULL;
}

static void think(long microseconds)
{
	struct timespec delay = {.tv_nsec = microseconds * 1000};

	if (microseconds > 0)
		nanosleep(&delay, NULL);
}

static void answer_one(int listener, long delay)
{
	struct seccomp_notif request = {0};
	struct seccomp_notif_resp response = {0};
	unsigned first = 0;
	int directory = AT_FDCWD;

	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request) < 0)
		return;
	first = request.data.nr == SYS_execveat; /* execveat has a directory fd in front */
	if (first == 1)
		directory = (int)request.data.args[0];
	response.id = request.id;
	if (path_is_forbidden((pid_t)request.pid, directory, request.data.args[first]) ||
	    argument_is_forbidden((pid_t)request.pid, request.data.args[first + 1]))
		response.error = -EACCES;
	else
		response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	think(delay);
	/* ENOENT: the caller was killed meanwhile. */
	(void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

static int supervise(int listener, pid_t command, long delay)
{
	cleanup_close int pidfd = pidfd_open(command, 0);
	struct pollfd events[] = {{.fd = listener, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
	int status = 0;

	if (pidfd < 0)
		return fail("pidfd_open");
	while (events[1].revents == 0) {
		if (poll(events, 2, -1) < 0)
			return fail("poll");
		if (events[0].revents & POLLIN)
			answer_one(listener, delay);
		else if (events[0].revents != 0)
			events[0].fd = -1; /* the last task under the filter is gone */
	}
	if (waitpid(command, &status, 0) < 0)
		return fail("waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int naive(char *argv[], long delay)
{
	cleanup_close int ours = -1, theirs = -1, listener = -1;
	int pair[2] = {-1, -1};
	pid_t command = -1;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return fail("socketpair");
	ours = pair[0];
	theirs = pair[1];
	command = fork();
	if (command < 0)
		return fail("fork");
	if (command == 0)
		run_command(theirs, argv);
	close(sp_steal_fd(&theirs));
	listener = receive_fd(ours);
	if (listener < 0)
		return fail("no listener from the command");
	return supervise(listener, command, delay);
}

int main(int argc, char *argv[])
{
	long delay = 0;
	int next = 1;

	if (argc > next + 1 && strcmp(argv[next], "--delay-us") == 0) {
		delay = strtol(argv[next + 1], NULL, 10);
		next += 2;
	}
	if (argc > next && strcmp(argv[next], "--") == 0)
		next++;
	if (next >= argc || delay < 0 || delay > 999999) {
		fprintf(stderr, "usage: naive [--delay-us N] -- COMMAND [ARG...]\n");
		return OWN_FAILURE;
	}
	return naive(argv + next, delay);
}
