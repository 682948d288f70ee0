/* Where `sallyport doctor` tries what leaves traces: in a child that has its default signals, leaves no core and ends in time. */
#include "doctor.h"
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BOUND_SECONDS = 10 };

static int write_own(const char *path, const char *text)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : errno;
}

/* A security module may permit the namespace and then withhold the capabilities in it, which makes it useless. */
int sp_enter_user_namespace(void)
{
	const unsigned uid = geteuid(), gid = getegid();
	char uids[32], gids[32];

	(void)snprintf(uids, sizeof uids, "0 %u 1", uid);
	(void)snprintf(gids, sizeof gids, "0 %u 1", gid);
	if (unshare(CLONE_NEWUSER) < 0)
		return errno;
	int err = write_own("/proc/self/setgroups", "deny");
	if (err == 0)
		err = write_own("/proc/self/uid_map", uids);
	if (err == 0)
		err = write_own("/proc/self/gid_map", gids);
	return err != 0 ? err : unshare(CLONE_NEWUTS) < 0 ? errno : 0;
}

[[gnu::noreturn]] static void run(int (*attempt)(void), bool in_user_namespace)
{
	static const struct rlimit no_core = {0};
	sigset_t none;

	/* An inherited block or disposition would take the bound away. */
	(void)signal(SIGALRM, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)setrlimit(RLIMIT_CORE, &no_core);
	/* As in a launch: what is not dumpable may not write to files of its own in /proc. */
	(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	(void)alarm(BOUND_SECONDS);
	int err = in_user_namespace ? sp_enter_user_namespace() : 0;
	_exit(err != 0 ? err : attempt());
}

static int in_child(int (*attempt)(void), bool in_user_namespace)
{
	int status = 0;
	pid_t pid = fork();

	if (pid < 0)
		return errno;
	if (pid == 0)
		run(attempt, in_user_namespace);
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return errno;
	}
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	/* A container's filter may kill for a system call that it does not permit. */
	return WTERMSIG(status) == SIGSYS ? EPERM : ETIMEDOUT;
}

int sp_try(int (*attempt)(void))
{
	return in_child(attempt, false);
}

int sp_try_in_user_namespace(int (*attempt)(void))
{
	return in_child(attempt, true);
}
