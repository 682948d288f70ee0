/* The filter of a job: what its BPF program says of every system call, and what the kernel does with it. */
#include "notify/filter.h"

#include "bpf.h"
#include "child.h"
#include "util/kernel.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void free_filter(struct sp_filter *filter)
{
	sp_filter_free(filter);
}

#define cleanup_filter sp_cleanup(free_filter)

static struct sp_filter must_compile(void)
{
	struct sp_filter filter;
	struct sp_error e = {0};

	cr_assert_eq(sp_filter_compile(&filter, SP_NOTIFY_EXECS, &e), 0, "%s", e.text);
	return filter;
}

static uint32_t ask(const struct sp_filter *filter, uint32_t arch, int call, uint64_t first_argument)
{
	/* The other arguments must not matter. */
	const struct seccomp_data data = {.nr = call,
					  .arch = arch,
					  .instruction_pointer = 0x5555deadbeef,
					  .args = {first_argument, ~0ULL, CLONE_UNTRACED, ~0ULL, 0, ~0ULL}};

	return bpf_interpret(&filter->program, &data);
}

/* --- what is expected --- */

#define REFUSE(err) (SECCOMP_RET_ERRNO | (err))

static uint32_t expected(int call)
{
	switch (call) {
	case SYS_execve:
	case SYS_execveat:
		return SECCOMP_RET_USER_NOTIF;
	case SYS_clone3:
	case 425: /* io_uring_setup */
	case 426: /* io_uring_enter */
	case 427: /* io_uring_register */
		return REFUSE(ENOSYS);
	case SYS_ptrace:
	case SYS_process_vm_writev:
	case SYS_userfaultfd:
	case SYS_bpf:
	case SYS_kexec_load:
	case SYS_kexec_file_load:
	case SYS_init_module:
	case SYS_finit_module:
	case SYS_delete_module:
		return REFUSE(EPERM);
	case SYS_perf_event_open:
		return REFUSE(EACCES);
	default:
		return SECCOMP_RET_ALLOW;
	}
}

Test(filter, every_system_call)
{
	cleanup_filter struct sp_filter filter = must_compile();

	for (int call = 0; call <= 500; call++) {
		uint32_t is = ask(&filter, AUDIT_ARCH_X86_64, call, 0);
		cr_assert_eq(is, expected(call), "system call %d: %#x instead of %#x", call, is, expected(call));
	}
}

Test(filter, clone_by_its_flags)
{
	static const uint64_t others[] = {
		0,
		SIGCHLD,
		CLONE_VM | CLONE_VFORK | SIGCHLD,
		CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS,
		CLONE_NEWUSER | CLONE_NEWPID | SIGCHLD,
		CLONE_PARENT,
		CLONE_PTRACE,
		0xffffffff & ~(uint64_t)CLONE_UNTRACED,
		/* The kernel takes the flags of clone from 32 bits: what is above them must not matter. */
		0xffffffff00000000,
		0xdeadbeef00000000 | SIGCHLD,
	};
	cleanup_filter struct sp_filter filter = must_compile();

	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		cr_assert_eq(ask(&filter, AUDIT_ARCH_X86_64, SYS_clone, others[i]), SECCOMP_RET_ALLOW, "%#lx",
			     others[i]);
		cr_assert_eq(ask(&filter, AUDIT_ARCH_X86_64, SYS_clone, others[i] | CLONE_UNTRACED), REFUSE(EPERM),
			     "%#lx", others[i]);
	}
	/* one bit at a time */
	for (int bit = 0; bit < 64; bit++) {
		uint32_t wanted = 1ULL << bit == CLONE_UNTRACED ? REFUSE(EPERM) : SECCOMP_RET_ALLOW;
		cr_assert_eq(ask(&filter, AUDIT_ARCH_X86_64, SYS_clone, 1ULL << bit), wanted, "bit %d", bit);
	}
	cr_assert_eq(ask(&filter, AUDIT_ARCH_X86_64, SYS_fork, CLONE_UNTRACED), SECCOMP_RET_ALLOW);
	cr_assert_eq(ask(&filter, AUDIT_ARCH_X86_64, SYS_vfork, CLONE_UNTRACED), SECCOMP_RET_ALLOW);
}

Test(filter, foreign_architectures_are_killed)
{
	enum { X32_BIT = 0x40000000 };
	static const uint32_t arches[] = {
		AUDIT_ARCH_I386, AUDIT_ARCH_AARCH64, AUDIT_ARCH_ARM, 0, ~0u, 62 /* EM_X86_64 */};
	cleanup_filter struct sp_filter filter = must_compile();

	for (int call = 0; call <= 500; call++) {
		for (size_t i = 0; i < sizeof arches / sizeof *arches; i++)
			cr_assert_eq(ask(&filter, arches[i], call, 0), SECCOMP_RET_KILL_PROCESS, "call %d of %#x", call,
				     arches[i]);
		/* x32: the native arch value, and a bit in the number */
		cr_assert_eq(ask(&filter, AUDIT_ARCH_X86_64, call | X32_BIT, 0), SECCOMP_RET_KILL_PROCESS, "call %d",
			     call);
	}
	cr_assert_eq(ask(&filter, AUDIT_ARCH_X86_64, 520 | X32_BIT, 0), SECCOMP_RET_KILL_PROCESS, "its own execve");
	cr_assert_eq(ask(&filter, AUDIT_ARCH_X86_64, INT32_MIN, 0), SECCOMP_RET_KILL_PROCESS);
}

Test(filter, free_is_complete)
{
	struct sp_filter filter = must_compile();

	cr_assert_gt(filter.program.len, 0);
	sp_filter_free(&filter);
	cr_assert_null(filter.program.filter);
	sp_filter_free(&filter);
}

/* --- the kernel --- */

/* Loads the filter in this process for good; the listener. */
static int must_load(const struct sp_filter *filter)
{
	cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	int listener = sp_filter_load(filter);
	if (listener == -EINVAL)
		cr_skip_test("this kernel is older than 5.19");
	if (listener == -EBUSY)
		cr_skip_test("this process is supervised already");
	cr_assert_geq(listener, 0, "%s", strerror(-listener));
	return listener;
}

static int error_of(long result)
{
	return result >= 0 ? 0 : errno;
}

Test(filter, listener_is_close_on_exec)
{
	cleanup_filter struct sp_filter filter = must_compile();
	cleanup_close int listener = must_load(&filter);

	cr_assert_eq(fcntl(listener, F_GETFD), FD_CLOEXEC);
}

Test(filter, second_listener_is_busy)
{
	cleanup_filter struct sp_filter filter = must_compile();
	cleanup_close int listener = must_load(&filter);

	cr_assert_eq(sp_filter_load(&filter), -EBUSY);
	cr_assert_geq(listener, 0);
}

Test(filter, needs_no_new_privs)
{
	cleanup_filter struct sp_filter filter = must_compile();

	if (geteuid() == 0) {
		cr_assert_eq(setresgid(65534, 65534, 65534), 0);
		cr_assert_eq(setresuid(65534, 65534, 65534), 0);
	}
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
		cr_skip_test("no_new_privs is set already");
	cr_assert_eq(sp_filter_load(&filter), -EACCES);
}

Test(filter, refuses_for_real)
{
	cleanup_filter struct sp_filter filter = must_compile();
	cleanup_close int listener = must_load(&filter);

	cr_assert_eq(error_of(syscall(SYS_clone3, NULL, 0)), ENOSYS);
	cr_assert_eq(error_of(syscall(425, 1, NULL)), ENOSYS);
	cr_assert_eq(error_of(syscall(426, -1, 0, 0, 0, NULL)), ENOSYS);
	cr_assert_eq(error_of(syscall(427, -1, 0, NULL, 0)), ENOSYS);
	cr_assert_eq(error_of(syscall(SYS_ptrace, 0, 0, NULL, NULL)), EPERM);
	cr_assert_eq(error_of(syscall(SYS_process_vm_writev, getpid(), NULL, 0, NULL, 0, 0)), EPERM);
	cr_assert_eq(error_of(syscall(SYS_userfaultfd, 1)), EPERM);
	cr_assert_eq(error_of(syscall(SYS_bpf, -1, NULL, 0)), EPERM);
	cr_assert_eq(error_of(syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0)), EACCES);
	cr_assert_eq(error_of(syscall(SYS_kexec_load, 0, 0, NULL, 0)), EPERM);
	cr_assert_eq(error_of(syscall(SYS_init_module, NULL, 0, "")), EPERM);
	cr_assert_eq(error_of(syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, NULL, NULL, NULL, 0UL)), EPERM);
	/* and what is not refused works: fork falls back where it used clone3, threads too */
	pid_t child = fork();
	cr_assert_geq(child, 0);
	if (child == 0)
		_exit(7);
	int status;
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(WEXITSTATUS(status), 7);
	cr_assert_geq(listener, 0);
}

/* An exec that waits for its answer, seen from outside. */
static void check_notified(long call)
{
	cleanup_filter struct sp_filter filter = must_compile();
	cleanup_close int listener = must_load(&filter);
	struct seccomp_notif *request = calloc(1, 4096); /* a newer kernel's may be larger than ours */
	struct seccomp_notif_resp *answer = calloc(1, 4096);
	int status;

	cr_assert(request != NULL && answer != NULL);
	cleanup_child pid_t child = fork();
	cr_assert_geq(child, 0);
	if (child == 0) {
		if (call == SYS_execve)
			(void)syscall(SYS_execve, "/bin/true", NULL, NULL);
		else
			(void)syscall(SYS_execveat, -1, "/bin/true", NULL, NULL, 0);
		_exit(errno);
	}
	cr_assert_eq(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, request), 0);
	cr_assert_eq(request->pid, (unsigned)child);
	cr_assert_eq(request->data.nr, call);
	*answer = (struct seccomp_notif_resp){.id = request->id, .error = -77};
	cr_assert_eq(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, answer), 0);
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 77, "%#x", (unsigned)status);
	child = 0;
	free(request);
	free(answer);
}

Test(filter, execve_waits_for_an_answer)
{
	check_notified(SYS_execve);
}

Test(filter, execveat_waits_for_an_answer)
{
	check_notified(SYS_execveat);
}

/* getpid by the 32-bit entry; or a number that is no pid where there is none. */
static long getpid_by_interrupt(void)
{
	long result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory", "r8", "r9", "r10", "r11");
	return result;
}

/* getpid with the x32 bit. */
static long getpid_of_x32(void)
{
	return syscall(SYS_getpid | 0x40000000);
}

static int run_with_filter(const struct sp_filter *filter, long (*call)(void))
{
	int status;

	pid_t child = fork();
	cr_assert_geq(child, 0);
	if (child == 0) {
		if (filter != NULL && sp_filter_load(filter) < 0)
			_exit(2);
		_exit(call() == getpid() ? 0 : 1);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	return status;
}

Test(filter, the_32_bit_entry_kills)
{
	cleanup_filter struct sp_filter filter = must_compile();

	cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	if (run_with_filter(NULL, getpid_by_interrupt) != 0)
		cr_skip_test("this kernel has no 32-bit emulation");
	int status = run_with_filter(&filter, getpid_by_interrupt);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "%#x", (unsigned)status);
}

Test(filter, the_x32_bit_kills)
{
	cleanup_filter struct sp_filter filter = must_compile();

	cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	int status = run_with_filter(&filter, getpid_of_x32);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "%#x", (unsigned)status);
}
