/* See filter.h. */
#include "notify/filter.h"

#include "util/cleanup.h"
#include "util/kernel.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Refused to everybody. ENOSYS where programs are known to fall back, EPERM where they should hear "not here". */
static const struct {
	int call;
	int err;
} refused[] = {
	{SCMP_SYS(clone3), ENOSYS},
	/* system calls by a kernel thread, which no filter sees */
	{SCMP_SYS(io_uring_setup), ENOSYS},
	{SCMP_SYS(io_uring_enter), ENOSYS},
	{SCMP_SYS(io_uring_register), ENOSYS},
	/* writes to memory that is being judged, or stops a reader of it */
	{SCMP_SYS(ptrace), EPERM},
	{SCMP_SYS(process_vm_writev), EPERM},
	{SCMP_SYS(userfaultfd), EPERM},
	/* the kernel itself */
	{SCMP_SYS(bpf), EPERM},
	{SCMP_SYS(perf_event_open), EACCES},
	{SCMP_SYS(kexec_load), EPERM},
	{SCMP_SYS(kexec_file_load), EPERM},
	{SCMP_SYS(init_module), EPERM},
	{SCMP_SYS(finit_module), EPERM},
	{SCMP_SYS(delete_module), EPERM},
};

static void release_context(scmp_filter_ctx *context)
{
	if (*context != NULL)
		seccomp_release(*context);
}

/* The flags are in a register, which nobody can change meanwhile. One rule a call and a value: they may not overlap. */
static int add_forks(scmp_filter_ctx context)
{
	int err = seccomp_rule_add(context, SCMP_ACT_NOTIFY, SCMP_SYS(fork), 0);

	if (err == 0)
		err = seccomp_rule_add(context, SCMP_ACT_NOTIFY, SCMP_SYS(vfork), 0);
	if (err == 0)
		err = seccomp_rule_add(context, SCMP_ACT_NOTIFY, SCMP_SYS(clone), 1,
				       SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_UNTRACED | CLONE_THREAD, 0));
	return err;
}

static int add_rules(scmp_filter_ctx context, enum sp_notified notified)
{
	/* Native 64 bit only: what comes with another arch value, or with the x32 bit, is a way around the rules. */
	int err = seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

	if (err == 0)
		err = seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (err == 0)
		err = seccomp_rule_add(context, SCMP_ACT_NOTIFY, SCMP_SYS(execve), 0);
	if (err == 0)
		err = seccomp_rule_add(context, SCMP_ACT_NOTIFY, SCMP_SYS(execveat), 0);
	if (err == 0 && notified == SP_NOTIFY_EXECS_AND_FORKS)
		err = add_forks(context);
	/* A child that no PTRACE_O_TRACE* option would show. */
	if (err == 0)
		err = seccomp_rule_add(context, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
				       SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_UNTRACED, CLONE_UNTRACED));
	for (size_t i = 0; err == 0 && i < sizeof refused / sizeof *refused; i++)
		err = seccomp_rule_add(context, SCMP_ACT_ERRNO((uint32_t)refused[i].err), refused[i].call, 0);
	return err;
}

static int export_program(scmp_filter_ctx context, struct sock_fprog *program)
{
	struct stat st;
	cleanup_close int fd = memfd_create("sallyport-filter", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	int err = seccomp_export_bpf(context, fd);
	if (err != 0)
		return err;
	if (fstat(fd, &st) != 0)
		return -errno;
	size_t size = (size_t)st.st_size;
	cleanup_free struct sock_filter *code = malloc(size);
	if (code == NULL || size / sizeof *code > UINT16_MAX)
		return -ENOMEM;
	if (pread(fd, code, size, 0) != (ssize_t)size)
		return -EIO;
	program->len = (unsigned short)(size / sizeof *code);
	program->filter = sp_steal_ptr(code);
	return 0;
}

static int fail(int err, struct sp_error *e)
{
	return err != 0 ? sp_fail(e, -err, "cannot make the seccomp filter: %s", strerror(-err)) : 0;
}

int sp_filter_compile(struct sp_filter *filter, enum sp_notified notified, struct sp_error *e)
{
	sp_cleanup(release_context) scmp_filter_ctx context = seccomp_init(SCMP_ACT_ALLOW);

	*filter = (struct sp_filter){0};
	int err = context != NULL ? add_rules(context, notified) : -ENOMEM;
	return fail(err == 0 ? export_program(context, &filter->program) : err, e);
}

/* A call that stands in two lists is as the first list says. */
static int add_names(scmp_filter_ctx context, uint32_t action, const struct sp_call_names *calls)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < calls->count; i++) {
		err = seccomp_rule_add(context, action, seccomp_syscall_resolve_name(calls->names[i]), 0);
		err = err == -EEXIST ? 0 : err;
	}
	return err;
}

/* exit_group is how a C library ends a process; it can do no more than exit. */
static int add_strict_rules(scmp_filter_ctx context)
{
	static const char *const names[] = {"read", "write", "exit", "exit_group", "rt_sigreturn"};
	const struct sp_call_names calls = {names, sizeof names / sizeof *names};

	return add_names(context, SCMP_ACT_ALLOW, &calls);
}

int sp_filter_compile_calls(struct sp_filter *filter, const struct sp_filter_calls *calls, struct sp_error *e)
{
	const uint32_t refuse = SCMP_ACT_ERRNO(EPERM);
	const bool allows = calls->strict || calls->allow.count > 0;
	sp_cleanup(release_context) scmp_filter_ctx context = seccomp_init(calls->strict ? SCMP_ACT_KILL_PROCESS
									   : allows      ? refuse
											 : SCMP_ACT_ALLOW);

	*filter = (struct sp_filter){0};
	int err = context != NULL ? add_names(context, SCMP_ACT_KILL_PROCESS, &calls->kill) : -ENOMEM;
	if (err == 0 && !allows)
		err = add_names(context, refuse, &calls->deny);
	if (err == 0 && calls->strict)
		err = add_strict_rules(context);
	if (err == 0 && calls->allow.count > 0)
		err = add_names(context, SCMP_ACT_ALLOW, &calls->allow);
	/* The program is not there yet. Every exec is decided by the filter below this one. */
	if (err == 0 && allows)
		err = seccomp_rule_add(context, SCMP_ACT_ALLOW, SCMP_SYS(execve), 0);
	return fail(err == 0 ? export_program(context, &filter->program) : err, e);
}

void sp_filter_free(struct sp_filter *filter)
{
	free(filter->program.filter);
	filter->program = (struct sock_fprog){0};
}

int sp_filter_load(const struct sp_filter *filter)
{
	/* WAIT_KILLABLE_RECV (5.19): once received, only a fatal signal ends the wait. libseccomp 2.5 cannot ask for it. */
	const unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
	long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter->program);

	return fd >= 0 ? (int)fd : -errno;
}

int sp_filter_add(const struct sp_filter *filter)
{
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter->program) == 0 ? 0 : -errno;
}
