/* See own_filter.h.
 *
 * A list of what is refused, not of what is allowed: the C library, libuv and SQLite choose their calls anew with each version,
 * and a supervisor that one of them brings down takes its jobs with it. What is newer than the list is refused, too, so that
 * nothing is allowed that nobody has thought of. ENOSYS there: libraries fall back to what they did before.
 *
 * Written without libseccomp, which takes as long as the rest of our start. What it costs later is not its length: of calls that
 * are allowed whatever their arguments the kernel keeps a bitmap (5.11). It fills that by trying all of them, so that a long list
 * of comparisons would cost 0.1 ms at the start: hence the tree. */
#include "self/own_filter.h"

#include <asm/termbits.h>
#include <assert.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/tiocl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NEW_NAMESPACES                                                                                                 \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

enum { NEWEST = SYS_set_mempolicy_home_node /* of Linux 5.17 */ };

/* The lower half of an argument, which is all that the kernel looks at where it takes an int. */
#define ARGUMENT(number) offsetof(struct seccomp_data, args[number])

#define LOAD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (offset))
#define IF(test, value, yes, no) BPF_JUMP(BPF_JMP | (test) | BPF_K, (value), (yes), (no))
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define KILL BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)
#define FAIL(err) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (err))

/* A line a thought. */
/* clang-format off */
static const struct sock_filter with_arguments[] = {
	LOAD(offsetof(struct seccomp_data, arch)),
	IF(BPF_JEQ, AUDIT_ARCH_X86_64, 1, 0), KILL,
	LOAD(offsetof(struct seccomp_data, nr)),
	IF(BPF_JGT, NEWEST, 0, 1), FAIL(ENOSYS), /* x32, too */
	/* Words put into our terminal would be run by the shell that we return to. */
	IF(BPF_JEQ, SYS_ioctl, 0, 5), LOAD(ARGUMENT(1)),
	IF(BPF_JEQ, TIOCSTI, 1, 0), IF(BPF_JEQ, TIOCLINUX, 0, 1), FAIL(EPERM), ALLOW,
	/* Threads, but no namespaces, in which we would have every capability. */
	IF(BPF_JEQ, SYS_clone, 0, 4), LOAD(ARGUMENT(0)),
	IF(BPF_JSET, NEW_NAMESPACES, 0, 1), FAIL(EPERM), ALLOW,
	/* Its flags are in memory. The C library goes on with clone. */
	IF(BPF_JEQ, SYS_clone3, 0, 1), FAIL(ENOSYS),
	/* No network. */
	IF(BPF_JEQ, SYS_socket, 0, 5), LOAD(ARGUMENT(0)),
	IF(BPF_JEQ, AF_UNIX, 1, 0), IF(BPF_JEQ, AF_NETLINK, 0, 1), ALLOW, FAIL(EPERM),
};

static const int refused[] = {
	/* To start programs, or to have them started by a service that listens on a socket. */
	SYS_execve, SYS_execveat, SYS_connect,
	/* System calls by a kernel thread, which no filter sees. */
	SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register,
	/* What others hold and remember. What is traced can be written to by ptrace, which stays. */
	SYS_pidfd_getfd, SYS_process_vm_writev, SYS_process_madvise, SYS_move_pages, SYS_migrate_pages,
	SYS_open_by_handle_at, SYS_add_key, SYS_request_key, SYS_keyctl,
	/* To be somebody else, or somewhere else. */
	SYS_setuid, SYS_setgid, SYS_setreuid, SYS_setregid, SYS_setresuid, SYS_setresgid, SYS_setfsuid, SYS_setfsgid,
	SYS_setgroups, SYS_capset, SYS_personality, SYS_unshare, SYS_setns, SYS_chroot, SYS_pivot_root,
	SYS_mount, SYS_umount2, SYS_open_tree, SYS_move_mount, SYS_mount_setattr,
	SYS_fsopen, SYS_fsconfig, SYS_fsmount, SYS_fspick,
	/* Large and seldom used parts of the kernel, through which it is attacked. */
	SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_modify_ldt, SYS_vmsplice,
	SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_kexec_file_load,
	/* The machine. */
	SYS_reboot, SYS_swapon, SYS_swapoff, SYS_sethostname, SYS_setdomainname, SYS_acct, SYS_syslog, SYS_vhangup,
	SYS_settimeofday, SYS_clock_settime, SYS_adjtimex, SYS_clock_adjtime, SYS_quotactl, SYS_quotactl_fd,
	SYS_iopl, SYS_ioperm, SYS_fanotify_init,
};
/* clang-format on */

static const struct sock_filter answers[] = {ALLOW, FAIL(EPERM)};

#define COUNT(array) (sizeof(array) / sizeof *(array))
enum { CALLS = COUNT(refused), PROLOGUE = COUNT(with_arguments), TREE = 2 * CALLS - 1, ANSWERS = COUNT(answers) };

static_assert(TREE < UINT8_MAX, "a jump has eight bits");
static_assert(PROLOGUE + TREE + ANSWERS <= SP_OWN_FILTER_MAX, "as promised to the caller");

static int compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* Of two halves of the sorted calls the one that the number may be in; at last a comparison, and to one of the two answers at the
 * end. Returns where the code ends. */
static struct sock_filter *make_tree(struct sock_filter *at, const struct sock_filter *end, const int *calls,
				     size_t count)
{
	struct sock_filter *next = at + 1;

	if (count == 1) {
		*at = (struct sock_filter)IF(BPF_JEQ, calls[0], (uint8_t)(end + 1 - next), (uint8_t)(end - next));
		return next;
	}
	struct sock_filter *right = make_tree(next, end, calls, count / 2);
	*at = (struct sock_filter)IF(BPF_JGE, calls[count / 2], (uint8_t)(right - next), 0);
	return make_tree(right, end, calls + count / 2, count - count / 2);
}

unsigned short sp_own_filter_make(struct sock_filter code[static SP_OWN_FILTER_MAX])
{
	struct sock_filter *end = code + PROLOGUE + TREE;
	int calls[CALLS];

	memcpy(calls, refused, sizeof refused);
	qsort(calls, CALLS, sizeof *calls, compare);
	memcpy(code, with_arguments, sizeof with_arguments);
	(void)make_tree(code + PROLOGUE, end, calls, CALLS);
	memcpy(end, answers, sizeof answers);
	return PROLOGUE + TREE + ANSWERS;
}

int sp_own_filter_load(void)
{
	struct sock_filter code[SP_OWN_FILTER_MAX];
	const struct sock_fprog program = {.len = sp_own_filter_make(code), .filter = code};
	long stranger = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);

	/* A thread with a filter that we do not share: nobody here makes one. */
	return stranger == 0 ? 0 : stranger > 0 ? -EBUSY : -errno;
}
