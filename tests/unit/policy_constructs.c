/* Every construct of the language, once: with it and without it one exec is decided differently.
 *
 * Each row is a policy with a hole (%s), what stands in the hole, and what stands there when the construct is switched off;
 * the exec; and what is decided in both cases, by which rule. docs/sallyport-policy.5 explains the same list. */
#include "policy_helper.h"

#include <unistd.h>

#define A "0000000000000000000000000000000000000000000000000000000000000001"

static const uint8_t digest_a[SP_DIGEST_SIZE] = {[SP_DIGEST_SIZE - 1] = 1};
static const uint8_t digest_b[SP_DIGEST_SIZE] = {[SP_DIGEST_SIZE - 1] = 2};

static const struct sp_ancestor shell = {.path = "/usr/bin/sh"};
static const struct sp_ancestor npm = {.next = &shell, .path = "/opt/npm", .interpreter = "/usr/bin/node"};
static const struct sp_ancestor worker = {.next = &npm, .path = "/usr/bin/worker"};
static const struct sp_ancestor claimed = {.path = "/opt/npm", .claimed = true};
static const struct sp_exec interpreter = {
	.path = "/usr/bin/python9", .argv = (const char *const[]){"python9", "/usr/bin/x"}, .argc = 2};
static const struct sp_exec loaded = {.path = "/usr/bin/x", .argv = (const char *const[]){"x"}, .argc = 1};

struct row {
	const char *construct;
	const char *policy;
	const char *with, *without;
	const char *path, *line; /* NULL: /usr/bin/x */
	const char *expect, *expect_without; /* "action rule" */
	const char *env;
	struct sp_exec exec; /* what else is known of it */
};

/* A rule that allows, where nothing else does; one that denies, where all else is allowed. */
#define ALLOW "{version: 1, exec: {rules: [{id: r, action: allow, %s}]}}"
#define DENY "{version: 1, exec: {default: allow, rules: [{id: r, action: deny, %s}]}}"
#define ALLOWED "allow r"
#define DENIED "deny r"
#define NOT_ALLOWED "deny default"
#define NOT_DENIED "allow default"

/* clang-format off */
static const struct row rows[] = {
	{"exec.default", "{version: 1, exec: {%s}}", "default: allow", "path: /usr/bin", NULL, "x", "allow default", "deny default"},
	{"exec.path", "{version: 1, exec: {%s rules: [{id: r, program: x, action: allow}]}}", "path: /opt,", "", "/opt/x", "x", ALLOWED, NOT_ALLOWED},
	{"exec.path **", "{version: 1, exec: {path: /opt%s, rules: [{id: r, program: x, action: allow}]}}", "/**", "", "/opt/a/b/x", "x", ALLOWED, NOT_ALLOWED},
	{"action: allow", "{version: 1, exec: {rules: [{id: r, program: x, action: %s}]}}", "allow", "deny", NULL, "x", ALLOWED, DENIED},
	{"action: ask", "{version: 1, exec: {default: allow, rules: [{id: r, program: x, action: %s}]}}", "ask", "allow", NULL, "x", "ask r", ALLOWED},
	{"action: deny", "{version: 1, exec: {default: allow, rules: [{id: r, program: x, action: %s}]}}", "deny", "allow", NULL, "x", DENIED, ALLOWED},
	{"action: kill", "{version: 1, exec: {default: allow, rules: [{id: r, program: x, action: %s}]}}", "kill", "deny", NULL, "x", "kill r", DENIED},
	{"the strictest wins", "{version: 1, exec: {rules: [{id: r, program: x, action: allow}%s]}}", ", {id: s, program: x, action: deny}", "", NULL, "x", "deny s", ALLOWED},
	{"of equals the first", "{version: 1, exec: {rules: [%s{id: r, program: x, action: deny}]}}", "{id: s, any: a, action: deny}, ", "", NULL, "x a", "deny s", DENIED},
	{"program: a name", ALLOW, "program: x", "program: y", NULL, "x", ALLOWED, NOT_ALLOWED},
	{"program: a name is looked for in exec.path", ALLOW, "program: ['/tmp/x']", "program: x", "/tmp/x", "x", ALLOWED, NOT_ALLOWED},
	{"program: a name with wildcards", ALLOW, "program: 'gonzo*'", "program: 'gonzo'", "/usr/bin/gonzo9", "x", ALLOWED, NOT_ALLOWED},
	{"program: a path", ALLOW, "program: /opt/x", "program: /opt/y", "/opt/x", "x", ALLOWED, NOT_ALLOWED},
	{"program: * in a path stops at a slash", DENY, "program: '/opt/**'", "program: '/opt/*'", "/opt/a/x", "x", DENIED, NOT_DENIED},
	{"program: a list", ALLOW, "program: [y, x]", "program: [y]", NULL, "x", ALLOWED, NOT_ALLOWED},
	{"program: argv[0] is not it", ALLOW, "program: y", "any: '*'", NULL, "y a", NOT_ALLOWED, ALLOWED},
	{"applet", ALLOW, "program: busybox, applet: ls", "program: busybox", "/usr/bin/busybox", "wget", NOT_ALLOWED, ALLOWED},
	{"applet behind the program's own name", DENY, "program: busybox, applet: wget", "program: busybox, argv: [ls, ...]", "/usr/bin/busybox", "busybox wget u", DENIED, NOT_DENIED},
	{"applet: the arguments begin behind it", ALLOW, "program: busybox, applet: ls, argv: -l", "program: busybox, argv: -l", "/usr/bin/busybox", "busybox ls -l", ALLOWED, NOT_ALLOWED},
	{"sha256", DENY, "sha256: " A, "program: y", NULL, "x", DENIED, NOT_DENIED, NULL, {.digest = digest_a}},
	{"sha256: other contents", ALLOW, "program: x, sha256: " A, "program: x", NULL, "x", NOT_ALLOWED, ALLOWED, NULL, {.digest = digest_b}},
	{"sha256: contents not known, a rule that allows", ALLOW, "program: x, sha256: " A, "program: x", NULL, "x", NOT_ALLOWED, ALLOWED},
	{"sha256: contents not known, a rule that denies", DENY, "program: x, sha256: " A, "program: y", NULL, "x", DENIED, NOT_DENIED},
	{"argv", ALLOW, "program: x, argv: [a, b]", "program: x, argv: [a]", NULL, "x a b", ALLOWED, NOT_ALLOWED},
	{"argv: alternatives", ALLOW, "argv: [[a, b]]", "argv: [a]", NULL, "x b", ALLOWED, NOT_ALLOWED},
	{"argv: ...", ALLOW, "argv: [a, ...]", "argv: [a]", NULL, "x a b", ALLOWED, NOT_ALLOWED},
	{"argv: wildcards", ALLOW, "argv: 'a*'", "argv: 'a'", NULL, "x a/b", ALLOWED, NOT_ALLOWED},
	{"words", DENY, "words: push", "words: pull", NULL, "x -v push", DENIED, NOT_DENIED},
	{"words: alternatives", DENY, "words: [[pull, push]]", "words: [pull]", NULL, "x push", DENIED, NOT_DENIED},
	{"options_with_value", DENY, "words: push, options_with_value: -C", "words: push", NULL, "x -C d push", DENIED, NOT_DENIED},
	{"options_with_value: attached", DENY, "words: push, has: -f, options_with_value: -o", "words: push, has: -f", NULL, "x push -of", NOT_DENIED, DENIED},
	{"has: the word", DENY, "has: --force", "has: --fast", NULL, "x a --force", DENIED, NOT_DENIED},
	{"has: with a value", DENY, "has: --force", "argv: [--force]", NULL, "x --force=1", DENIED, NOT_DENIED},
	{"has: in a cluster", DENY, "has: -f", "any: -f", NULL, "x -ufv", DENIED, NOT_DENIED},
	{"has: -- ends the options", DENY, "has: -f", "any: -f", NULL, "x -- -f", NOT_DENIED, DENIED},
	{"has: abbreviated, a rule that denies", DENY, "has: --force", "any: --force", NULL, "x --forc", DENIED, NOT_DENIED},
	{"any", DENY, "any: '*/.ssh/*'", "any: '*/.gpg/*'", NULL, "x -i /h/.ssh/id", DENIED, NOT_DENIED},
	{"none", ALLOW, "program: x, none: '*.pem'", "program: x", NULL, "x a.pem", NOT_ALLOWED, ALLOWED},
	{"count: min", DENY, "count: {min: 2}", "count: {min: 3}", NULL, "x a b", DENIED, NOT_DENIED},
	{"count: max", ALLOW, "program: x, count: {max: 1}", "program: x", NULL, "x a b", NOT_ALLOWED, ALLOWED},
	{"count: a number", ALLOW, "program: x, count: 2", "program: x, count: 1", NULL, "x a b", ALLOWED, NOT_ALLOWED},
	{"env", DENY, "env: LD_PRELOAD", "env: LD_AUDIT", NULL, "x", DENIED, NOT_DENIED, "LD_PRELOAD=e.so"},
	{"env: wildcards", DENY, "env: 'LD_*'", "env: LD_", NULL, "x", DENIED, NOT_DENIED, "LD_PRELOAD="},
	{"env: options of a loader", DENY, "env: LD_PRELOAD", "env: LD_AUDIT", "/lib/ld.so", "ld.so --preload e.so x", DENIED, NOT_DENIED, NULL,
	 {.class = SP_CLASS_LOADER, .inner = &loaded, .options_env = (const char *const[]){"LD_PRELOAD=e.so"}, .options_envc = 1}},
	{"parent", ALLOW, "program: x, parent: worker", "program: x, parent: sh", NULL, "x", ALLOWED, NOT_ALLOWED, NULL, {.ancestors = &worker, .depth = 3}},
	{"parent: a script's interpreter", ALLOW, "program: x, parent: node", "program: x, parent: sh", NULL, "x", ALLOWED, NOT_ALLOWED, NULL, {.ancestors = &npm, .depth = 2}},
	{"ancestor", ALLOW, "program: x, ancestor: /opt/npm", "program: x, parent: /opt/npm", NULL, "x", ALLOWED, NOT_ALLOWED, NULL, {.ancestors = &worker, .depth = 3}},
	{"ancestor: wildcards", ALLOW, "program: x, ancestor: '/opt/**'", "program: x, ancestor: '/op/**'", NULL, "x", ALLOWED, NOT_ALLOWED, NULL, {.ancestors = &worker}},
	{"ancestor: a claim, a rule that allows", ALLOW, "program: x, ancestor: /opt/npm", "program: x", NULL, "x", NOT_ALLOWED, ALLOWED, NULL, {.ancestors = &claimed}},
	{"ancestor: a claim, a rule that denies", DENY, "program: x, ancestor: /opt/npm", "program: y", NULL, "x", DENIED, NOT_DENIED, NULL, {.ancestors = &claimed}},
	{"ancestor: not known, a rule that allows", ALLOW, "program: x, depth: {min: 0}", "program: x", NULL, "x", NOT_ALLOWED, ALLOWED, NULL, {.unknown = SP_UNKNOWN_ANCESTORS}},
	{"ancestor: not known, a rule that denies", DENY, "ancestor: sh", "program: y", NULL, "x", DENIED, NOT_DENIED, NULL, {.unknown = SP_UNKNOWN_ANCESTORS}},
	{"depth: min", DENY, "depth: {min: 3}", "depth: {min: 4}", NULL, "x", DENIED, NOT_DENIED, NULL, {.depth = 3}},
	{"depth: max", ALLOW, "program: x, depth: {max: 2}", "program: x", NULL, "x", NOT_ALLOWED, ALLOWED, NULL, {.depth = 3}},
	{"depth: a number", ALLOW, "program: x, depth: 3", "program: x, depth: 2", NULL, "x", ALLOWED, NOT_ALLOWED, NULL, {.depth = 3}},
	{"user: a number", ALLOW, "program: x, user: 1000", "program: x, user: 1001", NULL, "x", ALLOWED, NOT_ALLOWED, NULL, {.uid = 1000}},
	{"user: a name", DENY, "user: root", "user: 1", NULL, "x", DENIED, NOT_DENIED, NULL, {.uid = 0}},
	{"user: not known, a rule that denies", DENY, "user: 1", "program: y", NULL, "x", DENIED, NOT_DENIED, NULL, {.unknown = SP_UNKNOWN_USER}},
	{"anonymous: true", ALLOW, "anonymous: true", "any: '*'", "/memfd:x (deleted)", "x a", ALLOWED, "deny anonymous", NULL, {.anonymous = true}},
	{"anonymous: false", DENY, "anonymous: false", "any: a", "/memfd:x (deleted)", "x a", "deny anonymous", DENIED, NULL, {.anonymous = true}},
	{"a name in a namespace of the job's is a claim", ALLOW, "program: x", "any: a", NULL, "x a", NOT_ALLOWED, ALLOWED, NULL, {.foreign = true}},
	{"a script is judged as its interpreter as well", DENY, "program: python9", "program: python8", NULL, "x", DENIED, NOT_DENIED, NULL, {.class = SP_CLASS_SCRIPT, .inner = &interpreter}},
	{"an interpreter's parent is its script", DENY, "program: python9, parent: x", "program: python9, parent: sh", NULL, "x", DENIED, NOT_DENIED, NULL, {.class = SP_CLASS_SCRIPT, .inner = &interpreter}},
	{"a format's interpreter is judged", DENY, "program: python9", "program: python8", NULL, "x", DENIED, NOT_DENIED, NULL, {.class = SP_CLASS_FORMAT, .inner = &interpreter}},
	{"a loader is judged as what it loads", ALLOW, "program: x", "program: y", "/lib/ld.so", "ld.so /usr/bin/x", ALLOWED, NOT_ALLOWED, NULL, {.class = SP_CLASS_LOADER, .inner = &loaded}},
	{"a loader of who knows what", DENY, "program: y", "program: /lib/ld.so", "/lib/ld.so", "ld.so x", "deny loader", DENIED, NULL, {.class = SP_CLASS_LOADER}},
	{"a rule about the loader itself", DENY, "program: /lib/ld.so", "program: y", "/lib/ld.so", "ld.so /usr/bin/x", DENIED, NOT_DENIED, NULL, {.class = SP_CLASS_LOADER, .inner = &loaded}},
};
/* clang-format on */

static void expect_decision(const struct row *row, const char *hole, const char *expected)
{
	cleanup_free char *text = NULL;
	cleanup_free char *decided = NULL;
	struct sp_decision decision;

	cr_assert_geq(asprintf(&text, row->policy, hole), 0);
	cleanup_policy struct sp_policy *policy = parse(text);
	cleanup_words struct words argv = split(row->line);
	struct sp_exec exec = row->exec;
	exec.path = row->path != NULL ? row->path : "/usr/bin/x";
	exec.argv = argv.items;
	exec.argc = argv.count;
	exec.envp = &row->env;
	exec.envc = row->env != NULL;
	sp_policy_decide(policy, &exec, &decision);
	cr_assert_geq(asprintf(&decided, "%s %s", sp_action_name(decision.action), decision.rule), 0);
	cr_expect_str_eq(decided, expected, "%s: expected %s, got %s, in %s", row->construct, expected, decided, text);
}

Test(policy_constructs, each_makes_the_difference)
{
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const struct row *row = &rows[i];
		cr_expect_str_neq(row->expect, row->expect_without, "%s proves nothing", row->construct);
		expect_decision(row, row->with, row->expect);
		expect_decision(row, row->without, row->expect_without);
	}
}

Test(policy_constructs, errno_and_reason)
{
	cleanup_policy struct sp_policy *with =
		parse_rule("program: x, errno: EPERM, reason: Because.", "deny", "allow");
	cleanup_policy struct sp_policy *without = parse_rule("program: x", "deny", "allow");
	struct sp_decision said = decide(with, "/usr/bin/x", "x"), unsaid = decide(without, "/usr/bin/x", "x");

	cr_expect_eq(said.err, EPERM);
	cr_expect_eq(unsaid.err, EACCES);
	cr_expect_str_eq(said.reason, "Because.");
	cr_expect_null(unsaid.reason);
}

/* What a test in the file can say: without it the same test fails. */
Test(policy_constructs, tests_in_the_file)
{
	static const struct {
		const char *rule, *test;
	} both[] = {
		{"env: LD_PRELOAD", "env: LD_PRELOAD=x"},
		{"parent: sh", "ancestors: [sh]"},
		{"ancestor: make", "ancestors: [sh, make]"},
		{"depth: {min: 2}", "ancestors: [sh, make]"},
		{"depth: 7", "depth: 7"},
		{"user: 12345", "user: 12345"},
		{"sha256: " A, "sha256: " A},
		{"anonymous: true", "anonymous: true"},
	};

	for (size_t i = 0; i < sizeof both / sizeof both[0]; i++) {
		for (int given = 0; given < 2; given++) {
			cleanup_free char *text = NULL;
			struct sp_policy *policy = NULL;
			struct sp_error e = {0};
			cr_assert_geq(asprintf(&text,
					       "{version: 1, exec: {rules: [{id: r, %s, action: allow}], tests: "
					       "[{argv: x, expect: allow, rule: r%s%s}]}}",
					       both[i].rule, given ? ", " : "", given ? both[i].test : ""),
				      0);
			int rc = sp_policy_parse(text, strlen(text), "test.yaml", &policy, &e);
			cr_expect_eq(rc, given ? 0 : -EINVAL, "%s: %s", text, e.text);
			cr_expect(given || strstr(e.text, "test failed") != NULL, "%s", e.text);
			sp_policy_free(policy);
		}
	}
}
