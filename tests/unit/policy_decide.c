/* Which rule wins, what the decision says, and which files a program pattern stands for. */
#include "policy_helper.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

Test(policy_decide, strictest_wins)
{
	static const char *const actions[] = {"allow", "ask", "deny", "kill"};

	for (size_t a = 0; a < 4; a++) {
		for (size_t b = 0; b < 4; b++) {
			cleanup_free char *text = NULL;
			cr_assert_geq(asprintf(&text,
					       "{version: 1, exec: {rules: [{id: first, program: x, action: %s}, "
					       "{id: second, any: a, action: %s}]}}",
					       actions[a], actions[b]),
				      0);
			cleanup_policy struct sp_policy *policy = parse(text);
			struct sp_decision decision = decide(policy, "/usr/bin/x", "x a");
			cr_expect(decided(&decision, a >= b ? a : b, a >= b ? "first" : "second"), "%s", text);
			cr_expect_eq(decision.matched, 2);
			cr_expect_str_eq(decision.others[0], a >= b ? "second" : "first");
			cr_expect_null(decision.others[1]);
		}
	}
}

Test(policy_decide, order_in_the_file_means_nothing_for_deny)
{
	cleanup_policy struct sp_policy *first =
		parse("{version: 1, exec: {rules: ["
		      "{id: no, any: a, action: deny}, {id: yes, program: x, action: allow}]}}");
	cleanup_policy struct sp_policy *last =
		parse("{version: 1, exec: {rules: ["
		      "{id: yes, program: x, action: allow}, {id: no, any: a, action: deny}]}}");
	struct sp_decision decisions[] = {decide(first, "/usr/bin/x", "x a"), decide(last, "/usr/bin/x", "x a")};

	cr_expect(decided(&decisions[0], SP_DENY, "no"));
	cr_expect(decided(&decisions[1], SP_DENY, "no"));
}

Test(policy_decide, defaults)
{
	cleanup_policy struct sp_policy *nothing = parse("version: 1");
	cleanup_policy struct sp_policy *allow = parse("{version: 1, exec: {default: allow}}");
	cleanup_policy struct sp_policy *ask = parse("{version: 1, exec: {default: ask}}");
	struct sp_decision decision = decide(nothing, "/usr/bin/x", "x");

	cr_expect(decided(&decision, SP_DENY, "default"));
	cr_expect_eq(decision.err, EACCES);
	cr_expect_eq(decision.matched, 0);
	cr_expect_null(decision.reason);
	cr_expect_null(decision.others[0]);
	decision = decide(allow, "/usr/bin/x", "x");
	cr_expect(decided(&decision, SP_ALLOW, "default"));
	cr_expect_eq(decision.err, 0);
	decision = decide(ask, "/usr/bin/x", "x");
	cr_expect(decided(&decision, SP_ASK, "default"));
	cr_expect_eq(decision.err, 0);
	cr_expect_eq(sp_policy_tracking(nothing), SP_TRACKING_ATTACHED);
	cr_expect_str_eq(sp_policy_name(nothing), "test");
	cr_expect_str_eq(sp_policy_description(nothing), "");
	cr_expect_str_eq(sp_policy_file(nothing), "test.yaml");
}

Test(policy_decide, what_the_file_says)
{
	cleanup_policy struct sp_policy *policy =
		parse("version: 1\nname: n\ndescription: d\ntracking: oneshot\n"
		      "exec:\n  rules:\n    - {id: a, program: x, action: deny, errno: EPERM, reason: because}\n"
		      "    - {id: b, program: y, action: deny, errno: 38}\n"
		      "    - {id: c, program: z, action: deny}\n"
		      "  tests:\n    - {argv: [x], expect: deny}\n");
	struct sp_decision decision = decide(policy, "/usr/bin/x", "x");

	cr_expect_eq(decision.err, EPERM);
	cr_expect_str_eq(decision.reason, "because");
	cr_expect_eq(decision.matched, 1);
	decision = decide(policy, "/usr/bin/y", "y");
	cr_expect_eq(decision.err, ENOSYS);
	decision = decide(policy, "/usr/bin/z", "z");
	cr_expect_eq(decision.err, EACCES);
	cr_expect_str_eq(sp_policy_name(policy), "n");
	cr_expect_str_eq(sp_policy_description(policy), "d");
	cr_expect_eq(sp_policy_tracking(policy), SP_TRACKING_ONESHOT);
	cr_expect_eq(sp_policy_rule_count(policy), 3);
	cr_expect_eq(sp_policy_test_count(policy), 1);
}

/* More matches than are listed, with the winner among the first, and behind all that are listed. */
Test(policy_decide, others_are_listed_in_file_order)
{
	for (int winner = 0; winner < 12; winner++) {
		cleanup_free char *text = NULL;
		size_t size;
		FILE *out = open_memstream(&text, &size);
		fputs("{version: 1, exec: {rules: [", out);
		for (int i = 0; i < 12; i++)
			fprintf(out, "{id: r%d, %s, action: %s},", i,
				i % 3 == 0   ? "program: x"
				: i % 3 == 1 ? "any: a"
					     : "program: '/usr/**'",
				i == winner ? "deny" : "allow");
		fputs("]}}", out);
		fclose(out);
		cleanup_policy struct sp_policy *policy = parse(text);
		struct sp_decision decision = decide(policy, "/usr/bin/x", "x a");
		cr_expect_eq(decision.matched, 12);
		cr_expect_eq(atoi(decision.rule + 1), winner);
		int expected = 0;
		for (size_t i = 0; i < SP_OTHERS; i++, expected++) {
			if (expected == winner)
				expected++;
			cr_assert_not_null(decision.others[i]);
			cr_expect_eq(atoi(decision.others[i] + 1), expected, "winner %d, other %zu", winner, i);
		}
	}
}

/* One rule, found by name, by path and by wildcard at once, matches once. */
Test(policy_decide, a_rule_matches_once)
{
	cleanup_policy struct sp_policy *policy =
		parse_rule("program: [x, x, /usr/bin/x, /usr/*/x, 'x*']", "allow", "deny");
	struct sp_decision decision = decide(policy, "/usr/bin/x", "x");

	cr_expect_eq(decision.matched, 1);
	cr_expect_null(decision.others[0]);
}

struct program {
	const char *matchers;
	const char *path;
	bool holds;
};

Test(policy_decide, programs)
{
	static const struct program rows[] = {
		{"program: xx", "/usr/bin/xx", true},
		{"program: xx", "/usr/local/sbin/xx", true},
		{"program: xx", "/bin/xx", true},
		{"program: xx", "/usr/bin/yy", false},
		{"program: xx", "/usr/bin/xxx", false},
		{"program: xx", "/usr/bin/sub/xx", false},
		{"program: xx", "/home/me/xx", false}, /* not where programs live */
		{"program: xx", "/xx", false},
		{"program: xx", "xx", false},
		{"program: [yy, xx]", "/usr/bin/xx", true},
		{"program: 'x*'", "/usr/bin/xx", true},
		{"program: 'x*'", "/usr/bin/yx", false},
		{"program: 'x*'", "/home/me/xx", false},
		{"program: 'x\\*'", "/usr/bin/xx", false},
		{"program: 'x\\*'", "/usr/bin/x*", true},
		{"program: /opt/xx", "/opt/xx", true},
		{"program: /opt/xx", "/usr/bin/xx", false},
		{"program: /opt/*/xx", "/opt/a/xx", true},
		{"program: /opt/*/xx", "/opt/a/b/xx", false},
		{"program: /opt/**", "/opt/a/b/xx", true},
		{"program: /opt/**/xx", "/opt/xx", true},
		{"program: '/**/xx'", "/usr/bin/xx", true},
		{"program: /opt/**", "/optional/xx", false},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		cleanup_policy struct sp_policy *policy = parse_rule(rows[i].matchers, "allow", "deny");
		struct sp_decision decision = decide(policy, rows[i].path, "argv0-is-never-trusted");
		cr_expect_str_eq(decision.rule, rows[i].holds ? "r" : "default", "%s and %s", rows[i].matchers,
				 rows[i].path);
	}
}

Test(policy_decide, exec_path)
{
	cleanup_policy struct sp_policy *policy =
		parse("{version: 1, exec: {path: [/opt/a, /opt/g*/bin, /opt/deep/**, /opt/slash/], rules: ["
		      "{id: r, program: x, action: allow}]}}");
	static const struct {
		const char *path;
		bool holds;
	} rows[] = {
		{"/opt/a/x", true},        {"/opt/b/x", false},       {"/opt/a/b/x", false}, {"/opt/gg/bin/x", true},
		{"/opt/gg/sbin/x", false}, {"/opt/g/g/bin/x", false}, {"/opt/deep/x", true}, {"/opt/deep/1/2/x", true},
		{"/opt/deeper/x", false},  {"/usr/bin/x", false}, /* not the default any more */
		{"/opt/slash/x", true},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct sp_decision decision = decide(policy, rows[i].path, "x");
		cr_expect_str_eq(decision.rule, rows[i].holds ? "r" : "default", "%s", rows[i].path);
	}
}

Test(policy_decide, anonymous_files_are_denied)
{
	struct sp_policy *policies[] = {
		parse("{version: 1, exec: {default: allow}}"),
		parse_rule("any: a", "allow", "allow"),
		parse_rule("any: a", "ask", "allow"),
		parse_rule("any: a, anonymous: false", "allow", "allow"),
		parse_rule("any: a, anonymous: false", "kill", "allow"),
		parse_rule("any: b, anonymous: true", "allow", "allow"),
		parse_rule("any: a, anonymous: true", "allow", "deny"),
		parse_rule("any: a, anonymous: true", "ask", "deny"),
		parse_rule("any: a", "kill", "allow"),
		parse_rule("any: a", "deny", "allow"),
		parse_rule("any: a, anonymous: true", "kill", "allow"),
	};
	static const struct {
		enum sp_action action;
		const char *rule;
		const char *named; /* the rule for a file that has a name */
	} expected[] = {
		{SP_DENY, "anonymous", "default"},
		{SP_DENY, "anonymous", "r"},
		{SP_DENY, "anonymous", "r"},
		{SP_DENY, "anonymous", "r"},
		{SP_DENY, "anonymous", "r"},
		{SP_DENY, "anonymous", "default"},
		{SP_ALLOW, "r", "default"},
		{SP_ASK, "r", "default"},
		{SP_KILL, "r", "r"},
		{SP_DENY, "r", "r"},
		{SP_KILL, "r", "default"},
	};

	for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
		struct sp_exec exec = {
			.path = "/memfd:x (deleted)",
			.anonymous = true,
			.argv = (const char *const[]){"x", "a"},
			.argc = 2,
		};
		struct sp_decision decision;
		sp_policy_decide(policies[i], &exec, &decision);
		cr_expect(decided(&decision, expected[i].action, expected[i].rule), "%zu: %s", i, decision.rule);
		cr_expect_eq(decision.err, expected[i].action == SP_DENY ? EACCES : 0, "%zu", i);
		exec.anonymous = false;
		exec.path = "/usr/bin/x";
		sp_policy_decide(policies[i], &exec, &decision);
		cr_expect_str_eq(decision.rule, expected[i].named, "%zu", i);
		sp_policy_free(policies[i]);
	}
}

Test(policy_decide, foreign_files_are_not_allowed_by_name)
{
	static const struct {
		const char *matchers, *action, *rule;
	} rows[] = {
		{"program: x", "allow", "default"},  {"program: '/usr/**'", "allow", "default"},
		{"program: x", "ask", "r"},          {"program: x", "deny", "r"},
		{"program: x", "kill", "r"},         {"any: a", "allow", "r"},
		{"program: '/usr/**'", "deny", "r"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		cleanup_policy struct sp_policy *policy = parse_rule(rows[i].matchers, rows[i].action, "deny");
		struct sp_exec exec = {.path = "/usr/bin/x", .argv = (const char *const[]){"x", "a"}, .argc = 2};
		struct sp_decision decision;
		sp_policy_decide(policy, &exec, &decision);
		cr_expect_str_eq(decision.rule, "r", "%zu, not foreign", i);
		exec.foreign = true;
		sp_policy_decide(policy, &exec, &decision);
		cr_expect_str_eq(decision.rule, rows[i].rule, "%zu, foreign", i);
	}
}

Test(policy_decide, empty_argv)
{
	cleanup_policy struct sp_policy *policy = parse_rule("words: a, none: b", "deny", "allow");
	struct sp_exec exec = {.path = "/usr/bin/x"};
	struct sp_decision decision;

	sp_policy_decide(policy, &exec, &decision);
	cr_expect_str_eq(decision.rule, "default");
}

/* ---- Names and the files that they stand for ---- */

static char *tree; /* canonical */

static void put(const char *name, const char *target)
{
	cleanup_free char *path = NULL;

	cr_assert_geq(asprintf(&path, "%s/%s", tree, name), 0);
	if (target == NULL)
		cr_assert_eq(mkdir(path, 0755), 0);
	else if (target[0] != '\0')
		cr_assert_eq(symlink(target, path), 0);
	else
		cr_assert_eq(close(creat(path, 0755)), 0);
}

static void plant(void)
{
	char template[] = "/tmp/sallyport-policy-XXXXXX";

	cr_assert_not_null(mkdtemp(template));
	tree = realpath(template, NULL);
	put("bin", NULL);
	put("real", NULL);
	put("alternatives", NULL);
	put("odd[*]", NULL);
	put("real/gcc-12", "");
	put("real/busybox", "");
	put("real/plain", "");
	put("bin/local", "");
	put("bin/gcc", "../alternatives/gcc");
	put("bin/g++", "../real/gcc-12");
	put("alternatives/gcc", "../real/gcc-12");
	put("bin/ls", "../real/busybox");
	put("bin/busybox", "../real/busybox");
	put("bin/dangling", "../real/missing");
	put("linkbin", "bin");
	put("odd[*]/tool", "");
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
	(void)status, (void)type, (void)walk;
	return remove(path);
}

static void uproot(void)
{
	cr_assert_eq(nftw(tree, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
	free(tree);
}

TestSuite(policy_links, .init = plant, .fini = uproot);

/* The decision about tree/path, with tree/`directory` as exec.path. */
static bool holds(const char *directory, const char *program, const char *action, const char *path)
{
	cleanup_free char *text = NULL;
	cleanup_free char *full = NULL;

	cr_assert_geq(
		asprintf(
			&text,
			"{version: 1, exec: {default: %s, path: '%s/%s', rules: [{id: r, program: '%s', action: %s}]}}",
			strcmp(action, "allow") == 0 ? "deny" : "allow", tree, directory, program, action),
		0);
	cr_assert_geq(asprintf(&full, "%s/%s", tree, path), 0);
	cleanup_policy struct sp_policy *policy = parse(text);
	struct sp_decision decision = decide(policy, full, "x");
	return strcmp(decision.rule, "r") == 0;
}

Test(policy_links, a_name_is_the_file_it_links_to)
{
	cr_expect(holds("bin", "gcc", "allow", "real/gcc-12"));
	cr_expect(holds("bin", "g++", "allow", "real/gcc-12"));
	cr_expect(holds("bin", "gcc", "deny", "real/gcc-12"));
	cr_expect(holds("bin", "g[c+]*", "allow", "real/gcc-12"), "through a wildcard");
	cr_expect_not(holds("bin", "local", "allow", "real/gcc-12"));
	cr_expect_not(holds("bin", "gcc", "allow", "real/plain"));
	cr_expect_not(holds("bin", "gcc-12", "allow", "real/gcc-12"), "real is not in exec.path");
	cr_expect_not(holds("bin", "dangling", "allow", "real/missing"));
}

Test(policy_links, a_directory_is_the_one_it_links_to)
{
	cr_expect(holds("linkbin", "local", "allow", "bin/local"));
	cr_expect(holds("linkbin", "gcc", "allow", "real/gcc-12"));
	cr_expect(holds("l*bin", "gcc", "allow", "real/gcc-12"), "a glob of directories is looked through");
	cr_expect_not(holds("alternatives", "local", "allow", "bin/local"));
	cr_expect_not(holds("**", "gcc", "allow", "real/gcc-12"), "a tree of directories is not");
	cr_expect(holds("**", "gcc-12", "allow", "real/gcc-12"), "but names below it count");
}

Test(policy_links, a_multi_call_program_is_not_allowed_by_another_name)
{
	cr_expect_not(holds("bin", "ls", "allow", "real/busybox"));
	cr_expect(holds("bin", "ls", "deny", "real/busybox"));
	cr_expect(holds("bin", "busybox", "allow", "real/busybox"), "named");
	cr_expect(holds("bin", "b*x", "allow", "real/busybox"), "named by a wildcard");
	cr_expect(holds("bin", "gcc", "allow", "real/gcc-12"), "the control");
}

Test(policy_links, a_path_is_the_file_it_links_to)
{
	cleanup_free char *gcc = NULL;
	cleanup_free char *below = NULL;
	cleanup_free char *absent = NULL;
	cleanup_free char *ls = NULL;

	cr_assert_geq(asprintf(&gcc, "%s/bin/gcc", tree), 0);
	cr_assert_geq(asprintf(&below, "%s/linkbin/*", tree), 0);
	cr_assert_geq(asprintf(&absent, "%s/linkbin/absent", tree), 0);
	cr_assert_geq(asprintf(&ls, "%s/bin/ls", tree), 0);
	cr_expect(holds("alternatives", gcc, "allow", "real/gcc-12"));
	cr_expect(holds("alternatives", below, "allow", "bin/local"));
	cr_expect(holds("alternatives", absent, "allow", "bin/absent"));
	cr_expect_not(holds("alternatives", below, "allow", "real/plain"));
	cr_expect_not(holds("alternatives", ls, "allow", "real/busybox"));
	cr_expect(holds("alternatives", ls, "deny", "real/busybox"));
}

Test(policy_links, the_working_directory)
{
	cleanup_free char *odd = NULL;
	cleanup_free char *cwd = getcwd(NULL, 0);

	cr_assert_eq(chdir(tree), 0);
	cr_expect(holds("bin", "./**", "allow", "real/plain"));
	cr_expect(holds("bin", "./real/*", "allow", "real/plain"));
	cr_expect(holds("bin", "./bin/gcc", "allow", "real/gcc-12"));
	cr_expect_not(holds("bin", "./bin/**", "allow", "real/plain"));
	cr_assert_geq(asprintf(&odd, "%s/odd[*]", tree), 0);
	cr_assert_eq(chdir(odd), 0);
	cr_expect(holds("bin", "./*", "allow", "odd[*]/tool"), "its name is not a pattern");
	cr_expect_not(holds("bin", "./*", "allow", "odd*/tool"));
	cr_assert_eq(chdir(cwd), 0);
}

static int resolve(const char *directory, const char *word, char path[static PATH_MAX])
{
	cleanup_free char *text = NULL;

	cr_assert_geq(asprintf(&text, "{version: 1, exec: {path: ['%s/%s', /nowhere]}}", tree, directory), 0);
	cleanup_policy struct sp_policy *policy = parse(text);
	return sp_policy_resolve(policy, word, path);
}

static void expect_path(const char *path, const char *name)
{
	cleanup_free char *expected = NULL;

	cr_assert_geq(asprintf(&expected, "%s/%s", tree, name), 0);
	cr_expect_str_eq(path, expected);
}

Test(policy_links, resolving_words)
{
	char path[PATH_MAX];

	cr_expect_eq(resolve("bin", "gcc", path), 0);
	expect_path(path, "real/gcc-12");
	cr_expect_eq(resolve("linkbin", "local", path), 0);
	expect_path(path, "bin/local");
	cr_expect_eq(resolve("bin", "absent", path), -ENOENT);
	expect_path(path, "bin/absent");
	cr_expect_eq(resolve("bin", "dangling", path), -ENOENT);
	cr_assert_eq(chdir(tree), 0);
	cr_expect_eq(resolve("bin", "./linkbin/gcc", path), 0);
	expect_path(path, "real/gcc-12");
	cr_expect_eq(resolve("bin", "./linkbin/absent", path), -ENOENT);
	expect_path(path, "bin/absent");
	cr_expect_eq(resolve("bin", "nowhere/absent", path), -ENOENT);
	expect_path(path, "nowhere/absent");
	cr_expect_eq(resolve("bin", "/nowhere/absent", path), -ENOENT);
	cr_expect_str_eq(path, "/nowhere/absent");
	cr_expect_eq(resolve("bin", "/absent", path), -ENOENT);
	cr_expect_str_eq(path, "/absent");
	cr_assert_eq(chdir("/"), 0);
}
