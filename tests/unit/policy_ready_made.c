/* The policies that people start from: they load (so their own tests pass) and hold what their comments promise. */
#include "policy_helper.h"

static struct sp_policy *load(const char *name)
{
	cleanup_free char *file = NULL;
	struct sp_policy *policy = NULL;
	struct sp_error e = {0};

	if (name != NULL)
		cr_assert_geq(asprintf(&file, SP_POLICY_DIR "/%s.yaml", name), 0);
	cr_assert_eq(sp_policy_load(file, &policy, &e), 0, "%s", e.text);
	return policy;
}

Test(policy_ready_made, each_loads_and_has_tests)
{
	static const char *const names[] = {"record", "build", "agent", "strict"};

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		cleanup_policy struct sp_policy *policy = load(names[i]);
		cr_expect_str_eq(sp_policy_name(policy), names[i]);
		cr_expect_gt(sp_policy_test_count(policy), 0);
		cr_expect_gt(strlen(sp_policy_description(policy)), 0);
		cr_expect_not(sp_policy_wants_env(policy), "reading every environment is not for free");
	}
}

Test(policy_ready_made, the_default_is_record)
{
	cleanup_policy struct sp_policy *builtin = load(NULL);
	cleanup_policy struct sp_policy *record = load("record");

	cr_expect_eq(sp_policy_digest(builtin), sp_policy_digest(record), "the built-in text is older than the file");
	cr_expect_str_eq(sp_policy_file(builtin), "(built-in)");
	cr_expect_str_eq(sp_policy_name(builtin), "record");
}

Test(policy_ready_made, record_allows_everything)
{
	cleanup_policy struct sp_policy *policy = load("record");
	struct sp_exec exec = {.path = "/anything", .foreign = true};
	struct sp_decision decision;

	for (int anonymous = 0; anonymous <= 1; anonymous++) {
		exec.anonymous = anonymous;
		sp_policy_decide(policy, &exec, &decision);
		cr_expect_eq(decision.action, SP_ALLOW);
	}
}

/* As the files are called where this was written; a machine without them decides by name just the same. */
Test(policy_ready_made, build_knows_where_compilers_keep_their_passes)
{
	static const char *const allowed[] = {
		"/usr/bin/x86_64-linux-gnu-gcc-12",
		"/usr/bin/x86_64-linux-gnu-g++-12",
		"/usr/bin/aarch64-linux-gnu-gcc",
		"/usr/lib/gcc/x86_64-linux-gnu/12/cc1",
		"/usr/lib/gcc/x86_64-linux-gnu/12/cc1plus",
		"/usr/libexec/gcc/x86_64-linux-gnu/14/collect2",
		"/usr/lib/llvm-14/bin/clang",
		"/usr/lib/llvm-19/bin/clang-19",
		"/usr/lib/llvm-14/bin/lld",
		"/usr/bin/x86_64-linux-gnu-as",
		"/usr/bin/x86_64-linux-gnu-ld.bfd",
		"/usr/bin/x86_64-linux-gnu-ar",
		"/usr/bin/dash",
		"/usr/bin/bash",
		"/usr/bin/mawk",
		"/usr/bin/gawk",
		"/usr/bin/[",
		"/usr/bin/m4",
		"/usr/bin/python3.11",
		"/usr/bin/pkgconf",
	};
	static const char *const denied[] = {
		"/usr/bin/curl",
		"/usr/bin/nc.openbsd",
		"/usr/bin/ssh",
		"/home/me/bin/gcc",
		"/tmp/cc1",
		"/usr/lib/gcc/x86_64-linux-gnu/12/curl",
		"/usr/lib/git-core/git-remote-http",
		"/usr/bin/busybox",
		"/usr/bin/sudo",
	};
	cleanup_policy struct sp_policy *policy = load("build");

	for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
		cr_expect_eq(decide(policy, allowed[i], "x").action, SP_ALLOW, "%s", allowed[i]);
	for (size_t i = 0; i < sizeof denied / sizeof denied[0]; i++)
		cr_expect_eq(decide(policy, denied[i], "x").action, SP_DENY, "%s", denied[i]);
}

Test(policy_ready_made, downloads_are_denied_with_a_reason)
{
	static const char *const names[] = {"build", "agent"};

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		cleanup_policy struct sp_policy *policy = load(names[i]);
		struct sp_decision decision = decide(policy, "/usr/bin/curl", "curl https://example.com");
		cr_expect_eq(decision.action, SP_DENY);
		cr_expect_str_eq(decision.rule, "network");
		cr_expect_not_null(decision.reason);
	}
}
