/* See child.h. */
#include "child.h"

#include "yard.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { UNTRACEABLE = 255 }; /* no errno of an execve */

pid_t child_waiting(bool (*setup)(void *context), void *context)
{
	int ends[2];
	char ready = 0;

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	pid_t child = fork();
	cr_assert_geq(child, 0);
	if (child == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		ready = setup == NULL || setup(context) ? 'y' : 'n';
		if (write(ends[1], &ready, 1) != 1)
			_exit(1);
		for (;;)
			(void)pause();
	}
	(void)close(ends[1]);
	cr_assert_eq(read(ends[0], &ready, 1), 1);
	(void)close(ends[0]);
	cr_assert_eq(ready, 'y', "the child cannot be set up");
	return child;
}

void child_end(const pid_t *child)
{
	if (*child <= 0)
		return;
	(void)kill(*child, SIGKILL);
	(void)waitpid(*child, NULL, __WALL);
}

[[gnu::noreturn]] static void exec_traced(const struct native_call *call)
{
	struct rlimit limit;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* A quarter of the stack is what all arguments may need: as much as the kernel gives at all. */
	if (getrlimit(RLIMIT_STACK, &limit) == 0 && (limit.rlim_max == RLIM_INFINITY || limit.rlim_max > 64 << 20)) {
		limit.rlim_cur = 64 << 20;
		(void)setrlimit(RLIMIT_STACK, &limit);
	}
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
		_exit(UNTRACEABLE);
	/* The plain system calls: a sanitizer would look at the arguments first. */
	if (call->by_fd)
		(void)syscall(SYS_execveat, call->dirfd, call->path, call->argv, call->envp, call->flags);
	else
		(void)syscall(SYS_execve, call->path, call->argv, call->envp);
	_exit(errno);
}

static char *read_whole(pid_t pid, const char *what, size_t *size)
{
	char path[64], part[4096];
	char *bytes = NULL;
	size_t got;

	(void)snprintf(path, sizeof path, "/proc/%d/%s", pid, what);
	cleanup_file FILE *in = fopen(path, "re");
	cr_assert_not_null(in, "%s", path);
	FILE *out = open_memstream(&bytes, size);
	cr_assert_not_null(out);
	while ((got = fread(part, 1, sizeof part, in)) > 0)
		cr_assert_eq(fwrite(part, 1, got, out), got);
	cr_assert_eq(fclose(out), 0);
	return bytes;
}

struct native native_exec(const struct native_call *call)
{
	struct native n = {0};
	char path[64];
	int status;

	pid_t child = fork();
	cr_assert_geq(child, 0);
	if (child == 0)
		exec_traced(call);
	cr_assert_eq(waitpid(child, &status, 0), child);
	if (WIFEXITED(status)) {
		n.err = WEXITSTATUS(status);
		if (n.err == UNTRACEABLE)
			yard_skip("nothing may be traced here");
		return n;
	}
	cr_assert(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP, "not an exec stop: %#x", (unsigned)status);
	n.child = child;
	n.cmdline = read_whole(child, "cmdline", &n.cmdline_size);
	n.environ = read_whole(child, "environ", &n.environ_size);
	(void)snprintf(path, sizeof path, "/proc/%d/exe", child);
	cr_assert_eq(stat(path, &n.exe), 0);
	return n;
}

void native_end(struct native *n)
{
	child_end(&n->child);
	free(n->cmdline);
	free(n->environ);
}
