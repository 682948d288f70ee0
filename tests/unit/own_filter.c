/* The supervisor's own filter: what it says of every system call; and what the whole confinement leaves of a process. */
#include "self/own_filter.h"
#include "self/harden.h"

#include "bpf.h"
#include "child.h"
#include "util/kernel.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define REFUSED(err) (SECCOMP_RET_ERRNO | (err))

enum { NEWEST = 450 /* set_mempolicy_home_node */, X32_BIT = 0x40000000 };

/* Of a call whose arguments do not matter. By number, and by hand: the filter's own table is what is tested. */
static bool is_refused(int call)
{
	static const int refused[] = {
		SYS_execve,
		SYS_execveat,
		SYS_connect,
		SYS_io_uring_setup,
		SYS_io_uring_enter,
		SYS_io_uring_register,
		SYS_pidfd_getfd,
		SYS_process_vm_writev,
		SYS_process_madvise,
		SYS_move_pages,
		SYS_migrate_pages,
		SYS_open_by_handle_at,
		SYS_add_key,
		SYS_request_key,
		SYS_keyctl,
		SYS_setuid,
		SYS_setgid,
		SYS_setreuid,
		SYS_setregid,
		SYS_setresuid,
		SYS_setresgid,
		SYS_setfsuid,
		SYS_setfsgid,
		SYS_setgroups,
		SYS_capset,
		SYS_personality,
		SYS_unshare,
		SYS_setns,
		SYS_chroot,
		SYS_pivot_root,
		SYS_mount,
		SYS_umount2,
		SYS_open_tree,
		SYS_move_mount,
		SYS_mount_setattr,
		SYS_fsopen,
		SYS_fsconfig,
		SYS_fsmount,
		SYS_fspick,
		SYS_bpf,
		SYS_perf_event_open,
		SYS_userfaultfd,
		SYS_modify_ldt,
		SYS_vmsplice,
		SYS_init_module,
		SYS_finit_module,
		SYS_delete_module,
		SYS_kexec_load,
		SYS_kexec_file_load,
		SYS_reboot,
		SYS_swapon,
		SYS_swapoff,
		SYS_sethostname,
		SYS_setdomainname,
		SYS_acct,
		SYS_syslog,
		SYS_vhangup,
		SYS_settimeofday,
		SYS_clock_settime,
		SYS_adjtimex,
		SYS_clock_adjtime,
		SYS_quotactl,
		SYS_quotactl_fd,
		SYS_iopl,
		SYS_ioperm,
		SYS_fanotify_init,
	};

	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		if (refused[i] == call)
			return true;
	}
	return false;
}

static uint32_t ask(uint32_t arch, int call, uint64_t first, uint64_t second)
{
	struct sock_filter code[SP_OWN_FILTER_MAX];
	const struct sock_fprog program = {.len = sp_own_filter_make(code), .filter = code};
	const struct seccomp_data data = {
		.nr = call, .arch = arch, .args = {first, second, ~0ULL, ~0ULL, ~0ULL, ~0ULL}};

	return bpf_interpret(&program, &data);
}

static uint32_t expected(int call)
{
	if (call > NEWEST || call == SYS_clone3)
		return REFUSED(ENOSYS);
	return is_refused(call) ? REFUSED(EPERM) : SECCOMP_RET_ALLOW;
}

Test(own_filter, every_system_call)
{
	for (int call = 0; call <= 600; call++) {
		/* AF_UNIX, no flags, no ioctl of interest */
		uint32_t is = ask(AUDIT_ARCH_X86_64, call, 1, 0);
		cr_assert_eq(is, expected(call), "system call %d: %#x instead of %#x", call, is, expected(call));
	}
	cr_assert_eq(ask(AUDIT_ARCH_X86_64, X32_BIT | SYS_execve, 0, 0), REFUSED(ENOSYS));
	cr_assert_eq(ask(AUDIT_ARCH_X86_64, -1, 0, 0), REFUSED(ENOSYS));
	cr_assert_eq(ask(AUDIT_ARCH_I386, 3 /* read */, 0, 0), SECCOMP_RET_KILL_PROCESS);
}

/* The kernel takes these from 32 bits: what is above them must not matter. */
Test(own_filter, arguments)
{
	static const struct {
		int call;
		uint64_t first, second;
		bool refused;
	} cases[] = {
		{SYS_ioctl, 0, TIOCSTI, true},
		{SYS_ioctl, 0, TIOCSTI | 1ULL << 32, true},
		{SYS_ioctl, 0, TIOCLINUX, true},
		{SYS_ioctl, 0, SECCOMP_IOCTL_NOTIF_RECV, false},
		{SYS_ioctl, 0, TIOCGWINSZ, false},
		{SYS_clone, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SETTLS, 0, false},
		{SYS_clone, SIGCHLD, 0, false},
		{SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, true},
		{SYS_clone, CLONE_NEWNS, 0, true},
		{SYS_clone, CLONE_NEWPID, 0, true},
		{SYS_clone, CLONE_NEWNET, 0, true},
		{SYS_clone, CLONE_NEWIPC, 0, true},
		{SYS_clone, CLONE_NEWUTS, 0, true},
		{SYS_clone, CLONE_NEWCGROUP | 1ULL << 40, 0, true},
		{SYS_socket, AF_UNIX, SOCK_STREAM, false},
		{SYS_socket, AF_NETLINK, SOCK_RAW, false},
		{SYS_socket, AF_INET, SOCK_STREAM, true},
		{SYS_socket, AF_INET6, SOCK_DGRAM, true},
		{SYS_socket, AF_PACKET, SOCK_RAW, true},
		{SYS_socket, AF_VSOCK, SOCK_STREAM, true},
		{SYS_socket, AF_INET | 1ULL << 32, SOCK_STREAM, true},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		cr_assert_eq(ask(AUDIT_ARCH_X86_64, cases[i].call, cases[i].first, cases[i].second),
			     cases[i].refused ? REFUSED(EPERM) : SECCOMP_RET_ALLOW, "case %zu", i);
}

/* --- the kernel's word: the same attempts by a process without and with --- */

static int fails(bool success)
{
	return success ? 0 : errno;
}

static int try_exec(void)
{
	char *const argv[] = {(char *)"/nonexistent", NULL};

	return execve(argv[0], argv, argv) == 0 || errno == ENOENT ? 0 : errno; /* got as far as to look for it */
}

static int try_socket(void)
{
	cleanup_close int fd = socket(AF_INET, SOCK_STREAM, 0);

	return fails(fd >= 0);
}

/* W^X: neither at once nor one after the other */
static int try_writable_code(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return fails(page != MAP_FAILED && mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0);
}

static int try_mount_namespace(void)
{
	return fails(unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0);
}

static void *do_nothing(void *argument)
{
	return argument;
}

/* What must go on to work. */
static int try_thread(void)
{
	pthread_t thread;
	int err = pthread_create(&thread, NULL, do_nothing, NULL);

	return err != 0 ? err : pthread_join(thread, NULL);
}

static int try_open(void)
{
	cleanup_close int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

	return fails(fd >= 0);
}

static const struct {
	int (*attempt)(void);
	int err; /* when confined; unconfined none fails */
	const char *what;
} attempts[] = {
	{try_exec, EPERM, "exec"},
	{try_socket, EPERM, "an Internet socket"},
	{try_mount_namespace, EPERM, "namespaces"},
	{try_thread, 0, "a thread"},
	{try_open, 0, "opening a file"},
};

static int in_child(int (*attempt)(void), bool confined)
{
	struct sp_error e;
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(confined && sp_self_confine(&e) != 0 ? 255 : attempt());
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status), "status %#x", (unsigned)status);
	return WEXITSTATUS(status);
}

Test(own_filter, confinement)
{
	for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) {
		cr_expect_eq(in_child(attempts[i].attempt, false), 0, "control: %s", attempts[i].what);
		cr_expect_eq(in_child(attempts[i].attempt, true), attempts[i].err, "confined: %s", attempts[i].what);
	}
}

Test(own_filter, no_new_code)
{
	if (prctl(PR_GET_MDWE, 0, 0, 0, 0) < 0)
		cr_skip_test("PR_SET_MDWE needs Linux 6.3");
	cr_expect_eq(in_child(try_writable_code, false), 0, "control");
	cr_expect_eq(in_child(try_writable_code, true), EACCES);
}
