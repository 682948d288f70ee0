/* See launch.h. */
#include "launch/launch.h"

#include "self/harden.h"
#include "util/cleanup.h"
#include "util/cpu.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* How a shell reports what it could not run; nobody sees it where the channel's message came through. */
enum { EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127 };

[[gnu::noreturn]] static void run_child(const struct sp_launch *launch, char *const *shell_argv, int channel);

static size_t count_words(char *const *words)
{
	size_t n = 0;

	while (words[n] != NULL)
		n++;
	return n;
}

/* A file without #! that the kernel refuses with ENOEXEC is a shell script, as for execvp(3). */
static char **make_shell_argv(const struct sp_launch *launch)
{
	size_t count = count_words(launch->argv);
	char **argv = calloc(count + 3, sizeof *argv);

	if (argv == NULL)
		return NULL;
	argv[0] = (char *)"/bin/sh";
	argv[1] = (char *)launch->file;
	for (size_t i = 1; i < count; i++)
		argv[i + 1] = launch->argv[i];
	return argv;
}

/* Waits until the child can be traced, which a child of ours cannot from its first moment: see sp_self_restore(). */
static bool await_traceable(int channel)
{
	char word;

	return TEMP_FAILURE_RETRY(recv(channel, &word, 1, 0)) == 1;
}

int sp_launch_fork(const struct sp_launch *launch, pid_t *pid, int *channel, struct sp_error *e)
{
	int pair[2];
	cleanup_free char **shell_argv = make_shell_argv(launch);

	if (shell_argv == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return sp_fail(e, errno, "cannot create a socket pair: %s", strerror(errno));
	cleanup_close int ours = pair[0], theirs = pair[1];
	*pid = fork();
	if (*pid < 0)
		return sp_fail(e, errno, "cannot fork: %s", strerror(errno));
	if (*pid == 0) {
		(void)close(ours);
		run_child(launch, shell_argv, theirs);
	}
	(void)close(sp_steal_fd(&theirs));
	if (!await_traceable(ours)) {
		(void)waitpid(*pid, NULL, 0);
		return sp_fail(e, ESRCH, "the child was killed before it began");
	}
	(void)fcntl(ours, F_SETFL, O_NONBLOCK);
	*channel = sp_steal_fd(&ours);
	return 0;
}

int sp_launch_receive(int channel, struct sp_launch_message *message, int *listener)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = message, .iov_len = sizeof *message};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};

	*listener = -1;
	ssize_t n = recvmsg(channel, &msg, MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == ECONNRESET ? 0 : -errno;
	if (n == 0)
		return 0;
	const struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(listener, CMSG_DATA(c), sizeof *listener);
	if (n != (ssize_t)sizeof *message ||
	    (message->stage == SP_STAGE_LISTENER && message->err == 0 && *listener < 0))
		return -EPROTO;
	return 1;
}

int sp_launch_go(int channel)
{
	return send(channel, "g", 1, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

const char *sp_launch_stage_name(uint32_t stage)
{
	static const char *const names[] = {
		[SP_STAGE_NO_NEW_PRIVS] = "no_new_privs",
		[SP_STAGE_FILTER] = "the seccomp filter",
		[SP_STAGE_LISTENER] = "handing over the listener",
		[SP_STAGE_EXEC] = "exec",
	};

	return stage < sizeof names / sizeof *names ? names[stage] : "an unknown stage";
}

/* --- the child: async-signal-safe from here on --- */

static void report(int channel, uint32_t stage, int err, int listener)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct sp_launch_message message = {.stage = stage, .err = err};
	struct iovec iov = {.iov_base = &message, .iov_len = sizeof message};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (listener >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof control;
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &listener, sizeof listener);
	}
	if (sendmsg(channel, &msg, MSG_NOSIGNAL) != (ssize_t)sizeof message)
		_exit(EXIT_NOT_EXECUTABLE);
}

[[gnu::noreturn]] static void give_up(int channel, uint32_t stage, int err)
{
	report(channel, stage, err, -1);
	_exit(err == ENOENT || err == ENOTDIR ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE);
}

[[gnu::noreturn]] static void run_child(const struct sp_launch *launch, char *const *shell_argv, int channel)
{
	char word;

	sp_cpu_restore();
	sp_self_restore();
	if (send(channel, "t", 1, MSG_NOSIGNAL) != 1)
		_exit(EXIT_NOT_EXECUTABLE);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		give_up(channel, SP_STAGE_NO_NEW_PRIVS, errno);
	int listener = sp_filter_load(launch->filter);
	if (listener < 0)
		give_up(channel, SP_STAGE_FILTER, -listener);
	report(channel, SP_STAGE_LISTENER, 0, listener);
	(void)close(listener);
	if (read(channel, &word, 1) != 1)
		_exit(EXIT_NOT_EXECUTABLE); /* the supervisor is gone */
	if (launch->nofile != NULL)
		(void)setrlimit(RLIMIT_NOFILE, launch->nofile);
	if (launch->ignore_sigchld)
		(void)signal(SIGCHLD, SIG_IGN);
	(void)sigprocmask(SIG_SETMASK, launch->signal_mask, NULL);
	(void)execve(launch->file, launch->argv, launch->envp);
	if (errno == ENOEXEC)
		(void)execve(shell_argv[0], shell_argv, launch->envp);
	give_up(channel, SP_STAGE_EXEC, errno);
}
