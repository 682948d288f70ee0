/* What /proc says of a task: real children that sleep, are stopped, traced, dead, threaded, without a leader. */
#include "ptrace/status.h"

#include "child.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* It comes: the test's deadline is for hangs. */
static void await_letter(pid_t tid, char letter)
{
	while (sp_status_letter(tid) != letter)
		(void)sched_yield();
}

/* A pid that was ours, and is nobody's. */
static pid_t gone_pid(void)
{
	pid_t child = child_waiting(NULL, NULL);

	child_end(&child);
	return child;
}

Test(status, letter_follows_the_task, .timeout = 60)
{
	cleanup_child pid_t child = child_waiting(NULL, NULL);

	cr_assert_eq(sp_status_letter(getpid()), 'R');
	await_letter(child, 'S');
	cr_assert_eq(kill(child, SIGSTOP), 0);
	await_letter(child, 'T');
	cr_assert_eq(ptrace(PTRACE_SEIZE, child, NULL, NULL), 0);
	await_letter(child, 't');
	cr_assert_eq(kill(child, SIGKILL), 0);
	await_letter(child, 'Z');
}

Test(status, letter_of_nobody)
{
	cr_assert_eq(sp_status_letter(gone_pid()), 0);
}

static bool take_a_bad_name(void *context)
{
	(void)context;
	return prctl(PR_SET_NAME, "a) Z (b") == 0;
}

Test(status, letter_whatever_the_name, .timeout = 60)
{
	cleanup_child pid_t child = child_waiting(take_a_bad_name, NULL);

	await_letter(child, 'S');
}

Test(status, family)
{
	cleanup_child pid_t child = child_waiting(NULL, NULL);
	pid_t tgid, ppid;

	cr_assert_eq(sp_status_family(child, &tgid, &ppid), 0);
	cr_assert_eq(tgid, child);
	cr_assert_eq(ppid, getpid());
}

static void *report_tid(void *at)
{
	pid_t tgid, ppid, tid = gettid();

	cr_assert_eq(sp_status_family(tid, &tgid, &ppid), 0);
	cr_assert_neq(tgid, tid);
	cr_assert_eq(tgid, getpid());
	cr_assert_eq(ppid, getppid());
	*(bool *)at = true;
	return NULL;
}

Test(status, family_of_a_thread)
{
	pthread_t thread;
	bool reported = false;

	cr_assert_eq(pthread_create(&thread, NULL, report_tid, &reported), 0);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	cr_assert(reported);
}

Test(status, family_of_nobody)
{
	pid_t tgid, ppid;

	cr_assert_eq(sp_status_family(gone_pid(), &tgid, &ppid), -ESRCH);
}

static bool ignore_some(void *context)
{
	(void)context;
	return signal(SIGTSTP, SIG_IGN) != SIG_ERR && signal(SIGTTIN, SIG_DFL) != SIG_ERR &&
	       signal(SIGRTMAX, SIG_IGN) != SIG_ERR && signal(SIGHUP, SIG_IGN) != SIG_ERR;
}

Test(status, ignores)
{
	cleanup_child pid_t child = child_waiting(ignore_some, NULL);

	cr_assert(sp_status_ignores(child, SIGTSTP));
	cr_assert(sp_status_ignores(child, SIGHUP), "the first");
	cr_assert(sp_status_ignores(child, SIGRTMAX), "the last");
	cr_assert_not(sp_status_ignores(child, SIGTTIN));
	cr_assert_not(sp_status_ignores(child, SIGCONT));
	cr_assert_not(sp_status_ignores(gone_pid(), SIGTSTP));
}

Test(status, tracer)
{
	cleanup_child pid_t child = child_waiting(NULL, NULL);

	cr_assert_eq(sp_status_tracer(child), 0);
	cr_assert_eq(ptrace(PTRACE_SEIZE, child, NULL, NULL), 0);
	cr_assert_eq(sp_status_tracer(child), getpid());
	cr_assert_eq(ptrace(PTRACE_INTERRUPT, child, NULL, NULL), 0);
	cr_assert_eq(waitpid(child, NULL, __WALL), child);
	cr_assert_eq(ptrace(PTRACE_DETACH, child, NULL, NULL), 0);
	cr_assert_eq(sp_status_tracer(child), 0);
	cr_assert_eq(sp_status_tracer(gone_pid()), 0);
}

[[gnu::noreturn]] static void *wait_for_ever(void *unused)
{
	(void)unused;
	for (;;)
		(void)pause();
}

static bool start_four_threads(void *context)
{
	pthread_t thread;

	(void)context;
	for (int i = 0; i < 4; i++)
		if (pthread_create(&thread, NULL, wait_for_ever, NULL) != 0)
			return false;
	return true;
}

Test(status, threads)
{
	cleanup_child pid_t one = child_waiting(NULL, NULL), five = child_waiting(start_four_threads, NULL);

	cr_assert_eq(sp_status_threads(one), 1);
	cr_assert_eq(sp_status_threads(five), 5);
	cr_assert_eq(sp_status_threads(gone_pid()), 0);
}

/* Says that the leader is ready, as child_waiting() would, when there is no leader any more. */
static void *outlive_the_leader(void *ready)
{
	await_letter(getpid(), 'Z');
	if (write(*(int *)ready, "y", 1) != 1)
		_exit(1);
	wait_for_ever(NULL);
}

[[gnu::noreturn]] static void lose_the_leader(int ready)
{
	pthread_t thread;
	static int pipe;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	pipe = ready;
	if (pthread_create(&thread, NULL, outlive_the_leader, &pipe) != 0)
		_exit(1);
	for (;;)
		(void)syscall(SYS_exit, 0);
}

Test(status, leader_that_has_ended, .timeout = 60)
{
	int ends[2];
	char letter;
	pid_t tgid, ppid;

	cr_assert_eq(pipe(ends), 0);
	cleanup_child pid_t child = fork();
	cr_assert_geq(child, 0);
	if (child == 0)
		lose_the_leader(ends[1]);
	(void)close(ends[1]);
	cr_assert_eq(read(ends[0], &letter, 1), 1);
	(void)close(ends[0]);
	cr_assert_eq(sp_status_letter(child), 'Z');
	cr_assert_eq(sp_status_threads(child), 2, "a leader is counted until all have ended");
	cr_assert_eq(sp_status_family(child, &tgid, &ppid), 0);
	cr_assert_eq(tgid, child);
}

Test(status, process_that_is_a_zombie, .timeout = 60)
{
	cleanup_child pid_t child = child_waiting(NULL, NULL);

	cr_assert_eq(kill(child, SIGKILL), 0);
	await_letter(child, 'Z');
	cr_assert_eq(sp_status_threads(child), 1);
}
