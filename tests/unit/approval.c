/* What was approved, kept as sums: the same program is recognised by them, and every other is not. */
#include "inspect/approval.h"

#include "child.h"
#include "yard.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

static void copy_programs(void)
{
	char part[65536];
	ssize_t n;

	yard_open();
	cleanup_close int in = open("/bin/true", O_RDONLY | O_CLOEXEC);
	cleanup_close int a = open("true", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	cleanup_close int b = open("other", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	cr_assert(in >= 0 && a >= 0 && b >= 0);
	while ((n = read(in, part, sizeof part)) > 0)
		cr_assert(write(a, part, (size_t)n) == n && write(b, part, (size_t)n) == n);
	yard_write("script", "#!./true with an argument\n", 0755);
}

TestSuite(approval, .init = copy_programs, .fini = yard_close);

/* The example of the paper's appendix A. */
Test(approval, sums_are_siphash)
{
	unsigned char bytes[16];
	uint64_t key[2];

	for (unsigned char i = 0; i < sizeof bytes; i++)
		bytes[i] = i;
	memcpy(key, bytes, sizeof key);
	cr_assert_eq(sp_keyed_sum(key, bytes, 15), UINT64_C(0xa129ca6149be45e5));
	cr_assert_neq(sp_keyed_sum(key, bytes, 0), 0);
	cr_assert_neq(sp_keyed_sum(key, bytes, 15), sp_keyed_sum((uint64_t[]){key[0], key[1] ^ 1}, bytes, 15));
}

static const uint64_t key[2] = {0x0123456789abcdef, 0xfedcba9876543210};

static const char *const argv[] = {"zero", "one", NULL}, *const longer[] = {"zero", "one", "", NULL},
			 *const joined[] = {"zero one", NULL}, *const no_words[] = {NULL};
static const char *const envp[] = {"A=1", "B=2", NULL}, *const other_envp[] = {"A=1", "B=3", NULL},
			 *const no_envp[] = {NULL};

static struct native_call call_of(const char *path, const char *const *words, const char *const *environment)
{
	return (struct native_call){.path = (uintptr_t)path, .argv = (uintptr_t)words, .envp = (uintptr_t)environment};
}

static void free_inspection(struct sp_inspection **in)
{
	sp_inspection_free(*in);
}

static struct sp_approval approval_of(const struct native_call *call, bool with_envp)
{
	cleanup_child pid_t child = child_waiting(NULL, NULL);
	sp_cleanup(free_inspection) struct sp_inspection *in = sp_inspection_new();
	struct sp_approval approval;

	cr_assert_not_null(in);
	in->tid = in->tgid = child;
	in->dirfd = AT_FDCWD;
	in->path_address = call->path;
	in->argv_address = call->argv;
	in->envp_address = with_envp ? call->envp : 0;
	cr_assert_eq(sp_inspect(in, true, NULL, NULL), 0, "%s", in->reason);
	sp_approve(in, key, &approval);
	return approval;
}

static enum sp_seen_running seen(const struct native_call *approved, bool with_envp, const struct native_call *runs)
{
	const struct sp_approval approval = approval_of(approved, with_envp);
	cleanup_native struct native native = native_exec(runs);
	char detail[256] = "";

	cr_assert_eq(native.err, 0, "%s", strerror(native.err));
	const enum sp_seen_running what = sp_approval_check(&approval, key, native.child, detail, sizeof detail);
	cr_assert_eq(what == SP_RUNS_OTHER, detail[0] != '\0', "%s", detail);
	return what;
}

#define assert_seen(approved, with_envp, runs, expected)                                                               \
	cr_assert_eq(seen(&(struct native_call[]){approved}[0], with_envp, &(struct native_call[]){runs}[0]), expected)

Test(approval, what_was_approved_is_recognised)
{
	for (int with_envp = 0; with_envp < 2; with_envp++) {
		assert_seen(call_of("true", argv, envp), with_envp, call_of("true", argv, envp), SP_RUNS_APPROVED);
		assert_seen(call_of("script", argv, envp), with_envp, call_of("script", argv, envp), SP_RUNS_APPROVED);
		assert_seen(call_of("true", no_words, envp), with_envp, call_of("true", no_words, envp),
			    SP_RUNS_APPROVED);
		assert_seen(call_of("true", argv, no_envp), with_envp, call_of("true", argv, no_envp),
			    SP_RUNS_APPROVED);
	}
}

Test(approval, another_file_is_another)
{
	assert_seen(call_of("true", argv, envp), false, call_of("other", argv, envp), SP_RUNS_OTHER);
	assert_seen(call_of("script", argv, envp), false, call_of("other", argv, envp), SP_RUNS_OTHER);
}

Test(approval, other_words_are_another)
{
	assert_seen(call_of("true", argv, envp), false, call_of("true", longer, envp), SP_RUNS_OTHER);
	assert_seen(call_of("true", argv, envp), false, call_of("true", joined, envp), SP_RUNS_OTHER);
	assert_seen(call_of("true", argv, envp), false, call_of("script", argv, envp), SP_RUNS_OTHER);
}

/* An empty environment that was looked at is not one that was not. */
Test(approval, another_environment_is_another_where_it_was_looked_at)
{
	assert_seen(call_of("true", argv, envp), false, call_of("true", argv, other_envp), SP_RUNS_APPROVED);
	assert_seen(call_of("true", argv, envp), true, call_of("true", argv, other_envp), SP_RUNS_OTHER);
	assert_seen(call_of("true", argv, no_envp), true, call_of("true", argv, envp), SP_RUNS_OTHER);
	assert_seen(call_of("true", argv, envp), true, call_of("true", argv, no_envp), SP_RUNS_OTHER);
}

Test(approval, who_is_gone_runs_nothing)
{
	const struct native_call call = call_of("true", argv, envp);
	const struct sp_approval approval = approval_of(&call, false);
	char detail[256];
	pid_t child = child_waiting(NULL, NULL);

	child_end(&child);
	cr_assert_eq(sp_approval_check(&approval, key, child, detail, sizeof detail), SP_RUNS_NOTHING);
}
