/* The section `ask`, and policies that several hold. */
#include "policy_helper.h"

Test(policy_ask, defaults)
{
	cleanup_policy struct sp_policy *policy = parse("version: 1");
	const struct sp_ask_settings *ask = sp_policy_ask(policy);

	cr_assert_eq(ask->timeout_seconds, 120);
	cr_assert_eq(ask->otherwise, SP_DENY);
}

Test(policy_ask, as_written)
{
	cleanup_policy struct sp_policy *policy = parse("version: 1\nask: {timeout_seconds: 5, otherwise: kill}");
	const struct sp_ask_settings *ask = sp_policy_ask(policy);

	cr_assert_eq(ask->timeout_seconds, 5);
	cr_assert_eq(ask->otherwise, SP_KILL);
}

Test(policy_ask, what_is_wrong)
{
	static const struct {
		const char *ask, *place, *what;
	} rows[] = {
		{"{timeout_seconds: 0}", "2:24", "bad timeout_seconds '0', expected a whole number from 1 to 604800"},
		{"{timeout_seconds: 604801}", "2:24", "bad timeout_seconds"},
		{"{timeout_seconds: -1}", "2:24", "bad timeout_seconds"},
		{"{timeout_seconds: ' 5'}", "2:24", "bad timeout_seconds"},
		{"{timeout_seconds: 1m}", "2:24", "bad timeout_seconds '1m'"},
		{"{otherwise: ask}", "2:18", "expected allow, deny or kill"},
		{"{timeout: 5}", "2:7", "unknown key 'timeout', expected a mapping with the keys timeout_seconds"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		cleanup_free char *text = NULL, *place = NULL;
		struct sp_policy *policy = NULL;
		struct sp_error e = {0};

		cr_assert_geq(asprintf(&text, "version: 1\nask: %s\n", rows[i].ask), 0);
		cr_assert_geq(asprintf(&place, "test.yaml:%s: ", rows[i].place), 0);
		cr_assert_eq(sp_policy_parse(text, strlen(text), "test.yaml", &policy, &e), -EINVAL, "%s", rows[i].ask);
		cr_expect_not_null(strstr(e.text, rows[i].what), "'%s' not in '%s'", rows[i].what, e.text);
		cr_expect_eq(strncmp(e.text, place, strlen(place)), 0, "%s, not %s", e.text, place);
	}
}

Test(policy_ask, the_last_who_holds_a_policy_frees_it)
{
	cleanup_policy struct sp_policy *policy = parse_rule("program: git", "ask", "allow");
	const struct sp_policy *held = sp_policy_hold(policy);

	sp_policy_free(sp_steal_ptr(policy));
	policy = (struct sp_policy *)held;
	struct sp_decision decision = decide(policy, "/usr/bin/git", "git status");
	cr_assert(decided(&decision, SP_ASK, "r"));
	cr_assert_eq(decision.rule, sp_policy_rule_id(policy, 0), "the very pointer");
	cr_assert_eq(sp_policy_rule_action(policy, 0), SP_ASK);
}
