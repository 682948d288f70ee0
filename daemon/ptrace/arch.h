/* What is the architecture's: where a stopped task shows its system call, and how an interrupted one is told to restart.
 *
 * x86_64. Another architecture is another branch of this file. The restart codes are the kernel's own
 * (include/linux/errno.h); they are visible only to a tracer, in a stop before the return to user mode, where
 * arch_do_signal_or_restart() (arch/x86/kernel/signal.c) acts on what it then finds in rax. */
#ifndef SP_PTRACE_ARCH_H
#define SP_PTRACE_ARCH_H

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/user.h>
#include <unistd.h>

#ifndef __x86_64__
#error "sallyport knows x86_64 only: add the registers, system call numbers and restart rules of this architecture here"
#endif

#define SP_AUDIT_ARCH AUDIT_ARCH_X86_64

enum {
	SP_ERESTARTSYS = 512, /* restart, unless a handler without SA_RESTART runs: then EINTR */
	SP_ERESTARTNOINTR = 513, /* restart always */
	SP_ERESTARTNOHAND = 514, /* restart, unless a handler runs: then EINTR */
};

/* Reads a register of a stopped task. 0 or -errno (ESRCH: it is dying). */
[[nodiscard]] static inline int sp_arch_peek(pid_t tid, size_t offset, long *value)
{
	return syscall(SYS_ptrace, PTRACE_PEEKUSER, tid, offset, value) == 0 ? 0 : -errno;
}

static inline int sp_arch_poke(pid_t tid, size_t offset, long value)
{
	return syscall(SYS_ptrace, PTRACE_POKEUSER, tid, offset, value) == 0 ? 0 : -errno;
}

#define SP_ARCH_RESULT offsetof(struct user_regs_struct, rax)
#define SP_ARCH_CALL offsetof(struct user_regs_struct, orig_rax)

static inline bool sp_arch_is_exec(long call)
{
	return call == SYS_execve || call == SYS_execveat;
}

/* Where a task in PTRACE_EVENT_EXEC has its new stack: argc, then the argv pointers (create_elf_tables() in fs/binfmt_elf.c), 8
 * bytes each. 0 or -errno. */
[[nodiscard]] static inline int sp_arch_stack(pid_t tid, unsigned long *address)
{
	return sp_arch_peek(tid, offsetof(struct user_regs_struct, rsp), (long *)address);
}

/* Calls that give EINTR after any stop, even where no handler ran (signal(7), "Interruption of system calls and library
 * functions by stop signals"), and that did nothing before they gave it. Our stops, and signals that the program ignores
 * (which reach a traced task all the same), must not show there. */
static inline bool sp_arch_eintr_without_handler(long call)
{
	switch (call) {
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
	case SYS_epoll_pwait2:
	case SYS_semop:
	case SYS_semtimedop:
	case SYS_rt_sigtimedwait:
	case SYS_io_getevents:
	case SYS_io_pgetevents:
	case SYS_read: /* from here on: sockets with SO_RCVTIMEO or SO_SNDTIMEO; read: of inotify, too */
	case SYS_readv:
	case SYS_preadv2:
	case SYS_write:
	case SYS_writev:
	case SYS_pwritev2:
	case SYS_sendfile:
	case SYS_splice:
	case SYS_recvfrom:
	case SYS_recvmsg:
	case SYS_recvmmsg:
	case SYS_sendto:
	case SYS_sendmsg:
	case SYS_sendmmsg:
	case SYS_accept:
	case SYS_accept4:
	case SYS_connect: /* goes on waiting for the connection that it began */
		return true;
	default:
		return false;
	}
}

static inline bool sp_arch_is_fork(long call)
{
	return call == SYS_fork || call == SYS_vfork || call == SYS_clone;
}

/* The clone flags of the fork, vfork or clone that a task in PTRACE_EVENT_FORK, VFORK or CLONE is in (clone3 never
 * gets that far: the filter answers ENOSYS). 0 or -errno. */
[[nodiscard]] static inline int sp_arch_clone_flags(pid_t tid, unsigned long *flags)
{
	struct user_regs_struct regs;

	if (ptrace(PTRACE_GETREGS, tid, NULL, &regs) != 0)
		return -errno;
	switch (regs.orig_rax) {
	case SYS_fork:
		*flags = 0;
		return 0;
	case SYS_vfork:
		*flags = CLONE_VM | CLONE_VFORK;
		return 0;
	case SYS_clone:
		*flags = regs.rdi;
		return 0;
	default:
		return -EINVAL;
	}
}

#endif
