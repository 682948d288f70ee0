/* Registers of stopped tasks, and which calls are what. */
#include "ptrace/arch.h"

#include "child.h"

#include <criterion/criterion.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/* Attached to a child that stands in its first stop. */
static pid_t start_traced(void (*program)(void), unsigned long options)
{
	int status;

	pid_t child = fork();
	cr_assert_geq(child, 0);
	if (child == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
			_exit(255);
		(void)raise(SIGSTOP);
		program();
		_exit(0);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	if (WIFEXITED(status))
		cr_skip_test("nothing may be traced here");
	cr_assert_eq(ptrace(PTRACE_SETOPTIONS, child, NULL, options | PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD), 0);
	return child;
}

static int next_stop(pid_t child, int request)
{
	int status;

	cr_assert_eq(ptrace(request, child, NULL, NULL), 0);
	cr_assert_eq(waitpid(child, &status, __WALL), child);
	return status;
}

static bool is_syscall_stop(int status)
{
	return WIFSTOPPED(status) && WSTOPSIG(status) == (SIGTRAP | 0x80);
}

Test(arch, which_calls_are_execs)
{
	for (long call = -1; call < 500; call++)
		cr_assert_eq(sp_arch_is_exec(call), call == SYS_execve || call == SYS_execveat, "%ld", call);
}

/* exec, fork and what waits with a handler's consent must not be in the list. */
Test(arch, calls_that_are_repaired)
{
	static const long repaired[] = {SYS_epoll_wait, SYS_epoll_pwait, SYS_rt_sigtimedwait, SYS_semop,
					SYS_read,       SYS_write,       SYS_connect,         SYS_sendmsg};
	static const long others[] = {SYS_execve,    SYS_fork,   SYS_clone, SYS_pause,  SYS_rt_sigsuspend,
				      SYS_poll,      SYS_select, SYS_wait4, SYS_futex,  SYS_ppoll,
				      SYS_nanosleep, SYS_close,  SYS_exit,  SYS_getpid, -1};

	for (size_t i = 0; i < sizeof repaired / sizeof *repaired; i++)
		cr_assert(sp_arch_eintr_without_handler(repaired[i]), "%ld", repaired[i]);
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		cr_assert_not(sp_arch_eintr_without_handler(others[i]), "%ld", others[i]);
}

static void call_getppid(void)
{
	_exit(syscall(SYS_getppid) == 77 ? 7 : 8);
}

Test(arch, number_and_result_of_a_call)
{
	cleanup_child pid_t child = start_traced(call_getppid, 0);
	long number, result;
	int status;

	do {
		status = next_stop(child, PTRACE_SYSCALL);
		cr_assert(is_syscall_stop(status), "%#x", (unsigned)status);
		cr_assert_eq(sp_arch_peek(child, SP_ARCH_CALL, &number), 0);
	} while (number != SYS_getppid);
	cr_assert_eq(sp_arch_peek(child, SP_ARCH_RESULT, &result), 0);
	cr_assert_eq(result, -ENOSYS, "on the way in");
	cr_assert(is_syscall_stop(next_stop(child, PTRACE_SYSCALL)));
	cr_assert_eq(sp_arch_peek(child, SP_ARCH_CALL, &number), 0);
	cr_assert_eq(number, SYS_getppid);
	cr_assert_eq(sp_arch_peek(child, SP_ARCH_RESULT, &result), 0);
	cr_assert_eq(result, getpid());
	cr_assert_eq(sp_arch_poke(child, SP_ARCH_RESULT, 77), 0);
	status = next_stop(child, PTRACE_CONT);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 7, "%#x", (unsigned)status);
	child = 0;
}

Test(arch, task_that_is_gone)
{
	pid_t child = start_traced(call_getppid, 0);
	unsigned long flags;
	long value;

	child_end(&child);
	cr_assert_eq(sp_arch_peek(child, SP_ARCH_RESULT, &value), -ESRCH);
	cr_assert_eq(sp_arch_poke(child, SP_ARCH_RESULT, 1), -ESRCH);
	cr_assert_eq(sp_arch_clone_flags(child, &flags), -ESRCH);
}

/* A negative value is a value, not an error: it comes by the plain system call, not by errno. */
Test(arch, negative_values)
{
	cleanup_child pid_t child = start_traced(call_getppid, 0);
	long value;

	for (long v = -4096; v <= 1; v++) {
		cr_assert_eq(sp_arch_poke(child, SP_ARCH_RESULT, v), 0);
		cr_assert_eq(sp_arch_peek(child, SP_ARCH_RESULT, &value), 0);
		cr_assert_eq(value, v);
	}
}

/* --- flags of those who make children --- */

static void do_fork(void)
{
	(void)syscall(SYS_fork);
}

static void do_vfork(void)
{
	if (vfork() == 0)
		_exit(0);
}

static void do_clone(void)
{
	(void)syscall(SYS_clone, CLONE_FS | CLONE_FILES | SIGCHLD, NULL, NULL, NULL, 0UL);
}

static void check_flags(void (*program)(void), int event, unsigned long expected)
{
	cleanup_child pid_t parent =
		start_traced(program, PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE);
	unsigned long flags = ~0UL;

	int status = next_stop(parent, PTRACE_CONT);
	cr_assert_eq(status >> 8, SIGTRAP | event << 8, "%#x", (unsigned)status);
	cr_assert_eq(sp_arch_clone_flags(parent, &flags), 0);
	cr_assert_eq(flags, expected, "%#lx instead of %#lx", flags, expected);
}

Test(arch, flags_of_fork)
{
	check_flags(do_fork, PTRACE_EVENT_FORK, 0);
}

Test(arch, flags_of_vfork)
{
	check_flags(do_vfork, PTRACE_EVENT_VFORK, CLONE_VM | CLONE_VFORK);
}

Test(arch, flags_of_clone)
{
	check_flags(do_clone, PTRACE_EVENT_FORK, CLONE_FS | CLONE_FILES | SIGCHLD);
}

Test(arch, no_flags_elsewhere)
{
	cleanup_child pid_t child = start_traced(call_getppid, 0);
	unsigned long flags;

	cr_assert_eq(sp_arch_clone_flags(child, &flags), -EINVAL);
}

/* --- the restart codes do what the names say --- */

static atomic_int *handled; /* shared with the child */

static void count(int signal)
{
	(void)signal;
	atomic_fetch_add(handled, 1);
}

static int wait_for_signal_with_handler(void)
{
	struct sigaction action = {.sa_handler = count}; /* no SA_RESTART */
	char byte;
	int ends[2];

	(void)sigaction(SIGUSR1, &action, NULL);
	if (pipe(ends) != 0)
		return 100;
	return read(ends[0], &byte, 1) < 0 ? errno : 0;
}

static void read_and_say(void)
{
	_exit(wait_for_signal_with_handler());
}

/* Stops a child in a read(2) that a signal has interrupted, and lets it return `code`. The status of the child, or of
 * its stop when the read began anew. */
static int return_from_read(pid_t child, long code)
{
	long number = 0;
	int status;

	do
		status = next_stop(child, PTRACE_SYSCALL);
	while (sp_arch_peek(child, SP_ARCH_CALL, &number) == 0 && number != SYS_read);
	/* It is on its way in: the signal comes while it waits, and is seen before the call returns to the program. */
	cr_assert_eq(kill(child, SIGUSR1), 0);
	status = next_stop(child, PTRACE_SYSCALL);
	cr_assert(is_syscall_stop(status), "%#x", (unsigned)status);
	status = next_stop(child, PTRACE_SYSCALL);
	cr_assert(WIFSTOPPED(status) && WSTOPSIG(status) == SIGUSR1, "%#x", (unsigned)status);
	cr_assert_eq(sp_arch_peek(child, SP_ARCH_RESULT, &number), 0);
	cr_assert_eq(number, -SP_ERESTARTSYS);
	cr_assert_eq(sp_arch_poke(child, SP_ARCH_RESULT, code), 0);
	cr_assert_eq(ptrace(PTRACE_SYSCALL, child, NULL, (long)SIGUSR1), 0);
	for (;;) {
		cr_assert_eq(waitpid(child, &status, 0), child);
		if (!is_syscall_stop(status))
			return status;
		cr_assert_eq(sp_arch_peek(child, SP_ARCH_CALL, &number), 0);
		if (number == SYS_read)
			return status;
		cr_assert_eq(ptrace(PTRACE_SYSCALL, child, NULL, NULL), 0);
	}
}

static void share_counter(void)
{
	handled = mmap(NULL, sizeof *handled, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(handled, MAP_FAILED);
}

Test(arch, restart_always)
{
	share_counter();
	cleanup_child pid_t child = start_traced(read_and_say, 0);
	int status = return_from_read(child, -SP_ERESTARTNOINTR);

	cr_assert(is_syscall_stop(status), "the read begins anew, %#x", (unsigned)status);
	cr_assert_eq(atomic_load(handled), 1, "and the handler has run");
}

Test(arch, restart_unless_handled)
{
	static const long codes[] = {-SP_ERESTARTSYS, -SP_ERESTARTNOHAND};

	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
		share_counter();
		cleanup_child pid_t child = start_traced(read_and_say, 0);
		int status = return_from_read(child, codes[i]);

		cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == EINTR, "%ld: %#x", codes[i], (unsigned)status);
		cr_assert_eq(atomic_load(handled), 1);
		child = 0;
	}
}
