/* Each matcher, holding and not holding; each row differs from its neighbour in what the matcher is about. */
#include "policy_helper.h"

struct row {
	const char *matchers;
	const char *line; /* argv, argv[0] included */
	bool holds;
};

/* The rule allows and default denies, or the rule denies and default allows. */
static void check_rows(const struct row *rows, size_t count, bool strict)
{
	for (size_t i = 0; i < count; i++) {
		cleanup_policy struct sp_policy *policy =
			parse_rule(rows[i].matchers, strict ? "deny" : "allow", strict ? "allow" : "deny");
		struct sp_decision decision = decide(policy, "/usr/bin/x", rows[i].line);
		const char *expected = rows[i].holds ? "r" : "default";
		cr_expect_str_eq(decision.rule, expected, "%s rule {%s} and: %s", strict ? "strict" : "allow",
				 rows[i].matchers, rows[i].line);
	}
}

#define CHECK_BOTH(rows)                                                                                               \
	do {                                                                                                           \
		check_rows((rows), sizeof(rows) / sizeof((rows)[0]), false);                                           \
		check_rows((rows), sizeof(rows) / sizeof((rows)[0]), true);                                            \
	} while (0)

#define CHECK_ALLOW(rows) check_rows((rows), sizeof(rows) / sizeof((rows)[0]), false)
#define CHECK_STRICT(rows) check_rows((rows), sizeof(rows) / sizeof((rows)[0]), true)

Test(policy_match, argv)
{
	static const struct row rows[] = {
		{"argv: [a, b]", "x a b", true},
		{"argv: [a, b]", "x a", false},
		{"argv: [a, b]", "x a b c", false},
		{"argv: [a, b]", "x b a", false},
		{"argv: [a, b]", "a b", false}, /* argv[0] is not an argument */
		{"argv: a", "x a", true},
		{"argv: a", "x b", false},
		{"argv: [a, ...]", "x a", true},
		{"argv: [a, ...]", "x a b c", true},
		{"argv: [a, ...]", "x", false},
		{"argv: [a, ...]", "x b c", false},
		{"argv: [...]", "x", true},
		{"argv: [[a, b], c]", "x a c", true},
		{"argv: [[a, b], c]", "x b c", true},
		{"argv: [[a, b], c]", "x c c", false},
		{"argv: ['a*']", "x ab/c", true},
		{"argv: ['a*']", "x ba", false},
		{"argv: ['a\\*']", "x ab", false},
		{"argv: ['a\\*']", "x a*", true},
		{"argv: [a]", "", false}, /* no argv[0] at all */
	};
	CHECK_BOTH(rows);
}

Test(policy_match, words)
{
	static const struct row rows[] = {
		{"words: push", "x push", true},
		{"words: push", "x pull", false},
		{"words: push", "x", false},
		{"words: push", "x push origin main", true}, /* the first words, not all */
		{"words: push", "x origin push", false},
		{"words: push", "push", false},
		{"words: push", "x -v push", true},
		{"words: push", "x --verbose push", true},
		{"words: push", "x --verbose=2 push", true},
		{"words: push", "x - push", false}, /* a single dash is an operand */
		{"words: push", "x -- push", true},
		{"words: ['-v']", "x -v", false},
		{"words: ['-v']", "x -- -v", true},
		{"words: [[push, pull]]", "x pull", true},
		{"words: [[push, pull]]", "x fetch", false},
		{"words: [remote, add]", "x remote -v add", true},
		{"words: [remote, add]", "x remote", false},
		{"words: [remote, add]", "x add remote", false},
		{"words: [[remote, r], [add, set-url]]", "x r set-url", true},
		{"words: [[remote, r], [add, set-url]]", "x r remove", false},
	};
	CHECK_BOTH(rows);
}

#define VALUES "options_with_value: [-C, -c, --git-dir, -name], words: push"

Test(policy_match, options_with_value)
{
	static const struct row rows[] = {
		{"words: push", "x -C dir push", false}, /* the control: unknown, so dir is the first word */
		{VALUES, "x -C dir push", true},
		{VALUES, "x -C push", false}, /* push is the value */
		{VALUES, "x -C push status", false},
		{VALUES, "x -Cdir push", true},
		{VALUES, "x -Cpush status", false},
		{VALUES, "x -vC dir push", true}, /* last of a cluster */
		{VALUES, "x -vCdir push", true},
		{VALUES, "x -Cv push", true}, /* v is the value, nothing follows */
		{VALUES, "x --git-dir dir push", true},
		{VALUES, "x --git-dir push", false},
		{VALUES, "x --git-dir=dir push", true},
		{VALUES, "x --git-dir= push", true},
		{VALUES, "x -name dir push", true},
		{VALUES, "x -name=dir push", true},
		{VALUES, "x -C -- push", true}, /* the value of -C is -- */
		{VALUES, "x -C -v push", true},
		{VALUES, "x -c a=b -C dir push", true},
		{VALUES, "x push -C", true}, /* its value is missing */
		{VALUES, "x -- -C push", false}, /* not an option any more */
	};
	CHECK_BOTH(rows);
}

Test(policy_match, has)
{
	static const struct row rows[] = {
		{"has: --force", "x --force", true},
		{"has: --force", "x", false},
		{"has: --force", "--force", false},
		{"has: --force", "x --force=yes", true},
		{"has: --force", "x a b --force", true},
		{"has: --force", "x --forced", false},
		{"has: --force", "x --no-force", false},
		{"has: --force", "x force", false},
		{"has: --force", "x -- --force", false},
		{"has: --force", "x - --force", true},
		{"has: -f", "x -f", true},
		{"has: -f", "x -uf", true},
		{"has: -f", "x -fu", true},
		{"has: -f", "x -ufv", true},
		{"has: -f", "x a -f", true},
		{"has: -f", "x -u", false},
		{"has: -f", "x -F", false},
		{"has: -f", "x f", false},
		{"has: -f", "x --f", false},
		{"has: -f", "x --force", false},
		{"has: -f", "x -- -f", false},
		{"has: -f", "x --output=-f", false},
		{"has: [-f, --force]", "x -f", true},
		{"has: [-f, --force]", "x --force", true},
		{"has: [-f, --force]", "x -v", false},
		{"has: -exec", "x . -exec rm", true},
		{"has: -exec", "x . -exec=rm", true},
		{"has: -exec", "x . -execdir rm", false},
		{"has: -exec", "x . -e", false},
		{"has: -exec, options_with_value: [-c], words: a", "x -exec a", true}, /* not a cluster ending in c */
		/* What belongs to another option is not one. */
		{"has: -f, options_with_value: [-o]", "x -o -f", false},
		{"has: -f, options_with_value: [-o]", "x -of", false},
		{"has: -f, options_with_value: [-o]", "x -vof", false},
		{"has: -f, options_with_value: [-o]", "x -fo v", true},
		{"has: -f, options_with_value: [-o]", "x -o v -f", true},
		{"has: -f, options_with_value: [--out]", "x --out -f", false},
		{"has: -f, options_with_value: [--out]", "x --out=v -f", true},
		{"has: -f, options_with_value: [-out]", "x -out -f", false},
		{"has: -f, options_with_value: [-f]", "x -f v", true},
		{"has: --force, words: push", "x push --force", true},
		{"has: --force, words: push", "x --force push", true},
		{"has: --force, words: push", "x push", false},
		{"has: --force, words: push", "x pull --force", false},
	};
	CHECK_BOTH(rows);
}

/* getopt_long(3) takes them, a program may not: a rule that refuses believes it, one that allows does not. */
Test(policy_match, abbreviations)
{
	static const struct row strict[] = {
		{"has: --force", "x --forc", true},
		{"has: --force", "x --f", true},
		{"has: --force", "x --forc=1", true},
		{"has: --force", "x --fx", false},
		{"has: --force", "x --", false},
		{"has: [--force], options_with_value: [--for]", "x --for v", false}, /* an option of its own */
		{"words: push, options_with_value: [--git-dir]", "x --git-d dir push", true},
		{"words: push, options_with_value: [--git-dir]", "x --git-d=dir push", true},
	};
	static const struct row allow[] = {
		{"has: --force", "x --forc", false},
		{"has: --force", "x --f", false},
		{"words: push, options_with_value: [--git-dir]", "x --git-d dir push", false},
		{"words: push, options_with_value: [--git-dir]", "x --git-d push dir", false},
		{"words: push, options_with_value: [--git-dir]", "x --git-d=dir push", true},
	};
	CHECK_STRICT(strict);
	CHECK_ALLOW(allow);
}

Test(policy_match, any_and_none)
{
	static const struct row rows[] = {
		{"any: '*/.ssh/*'", "x -i /home/me/.ssh/id", true},
		{"any: '*/.ssh/*'", "x /home/me/ssh/id", false},
		{"any: '*.pem'", "x.pem a", false}, /* argv[0] does not count */
		{"any: [a, b]", "x c b", true},
		{"any: [a, b]", "x c d", false},
		{"any: a", "x", false},
		{"none: a", "x b", true},
		{"none: a", "x b a", false},
		{"none: a", "a b", true},
		{"none: [a, 'b*']", "x c", true},
		{"none: [a, 'b*']", "x bc", false},
		{"none: a", "x", true},
		{"none: '*'", "x", true}, /* no arguments at all */
		{"none: '*'", "x y", false},
		{"any: a, none: b", "x a", true},
		{"any: a, none: b", "x a b", false},
	};
	CHECK_BOTH(rows);
}

Test(policy_match, all_matchers_must_hold)
{
	static const struct row rows[] = {
		{"program: x, words: a, has: -f, any: b, none: c, argv: [a, -f, b]", "x a -f b", true},
		{"program: y, words: a, has: -f, any: b, none: c, argv: [a, -f, b]", "x a -f b", false},
		{"program: x, words: z, has: -f, any: b, none: c, argv: [a, -f, b]", "x a -f b", false},
		{"program: x, words: a, has: -g, any: b, none: c, argv: [a, -f, b]", "x a -f b", false},
		{"program: x, words: a, has: -f, any: z, none: c, argv: [a, -f, b]", "x a -f b", false},
		{"program: x, words: a, has: -f, any: b, none: b, argv: [a, -f, b]", "x a -f b", false},
		{"program: x, words: a, has: -f, any: b, none: c, argv: [a, -f]", "x a -f b", false},
	};
	CHECK_BOTH(rows);
}

static struct sp_decision decide_env(const struct sp_policy *policy, const char *const *envp, size_t envc)
{
	struct sp_exec exec = {
		.path = "/usr/bin/x",
		.argv = (const char *const[]){"x"},
		.argc = 1,
		.envp = envp,
		.envc = envc,
	};
	struct sp_decision decision;

	sp_policy_decide(policy, &exec, &decision);
	return decision;
}

Test(policy_match, env)
{
	cleanup_policy struct sp_policy *policy = parse_rule("env: [LD_PRELOAD, 'GCONV_*']", "deny", "allow");
	static const char *const envs[] = {"PATH=/bin",    "LD_PRELOAD=x",  "GCONV_PATH=x",
					   "LD_PRELOAD=",  "XLD_PRELOAD=x", "LD_PRELOAD",
					   "X=LD_PRELOAD", "LD_PRELOAD2=x", "GCONV="};
	static const bool holds[] = {false, true, true, true, false, true, false, false, false};

	for (size_t i = 0; i < sizeof holds / sizeof holds[0]; i++) {
		struct sp_decision decision = decide_env(policy, &envs[i], 1);
		cr_expect_str_eq(decision.rule, holds[i] ? "r" : "default", "%s", envs[i]);
	}
	struct sp_decision second = decide_env(policy, envs, 2);
	cr_expect_str_eq(second.rule, "r");
	struct sp_decision none = decide_env(policy, NULL, 0);
	cr_expect_str_eq(none.rule, "default");
}

Test(policy_match, env_is_wanted_only_by_rules_about_it)
{
	cleanup_policy struct sp_policy *with = parse_rule("env: LD_PRELOAD", "deny", "allow");
	cleanup_policy struct sp_policy *without = parse_rule("any: LD_PRELOAD", "deny", "allow");

	cr_expect(sp_policy_wants_env(with));
	cr_expect_not(sp_policy_wants_env(without));
}

/* Arguments are bytes: not UTF-8, control characters, empty, long. */
Test(policy_match, any_bytes)
{
	cleanup_policy struct sp_policy *policy = parse_rule("any: 'a*z'", "deny", "allow");
	cleanup_policy struct sp_policy *empty = parse_rule("argv: ['']", "deny", "allow");
	size_t size = 128 << 10;
	cleanup_free char *longest = malloc(size);
	memset(longest, '\n', size - 1);
	longest[0] = 'a';
	longest[size - 2] = 'z';
	longest[size - 1] = '\0';
	const char *const arguments[] = {"a\xff\xfez", "a\x1b[31mz", "a\n\nz", longest};

	for (size_t i = 0; i < sizeof arguments / sizeof arguments[0]; i++) {
		struct sp_exec exec = {.path = "/x", .argv = (const char *const[]){"x", arguments[i]}, .argc = 2};
		struct sp_decision decision;
		sp_policy_decide(policy, &exec, &decision);
		cr_expect_str_eq(decision.rule, "r", "%zu", i);
		sp_policy_decide(empty, &exec, &decision);
		cr_expect_str_eq(decision.rule, "default", "%zu", i);
	}
	struct sp_exec exec = {.path = "/x", .argv = (const char *const[]){"x", ""}, .argc = 2};
	struct sp_decision decision;
	sp_policy_decide(empty, &exec, &decision);
	cr_expect_str_eq(decision.rule, "r");
}
