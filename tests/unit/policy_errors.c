/* Every way in which a policy can be bad gives one line: where, what is wrong, what was expected. */
#include "policy_helper.h"

#include <fcntl.h>
#include <sys/stat.h>

static void expect_error(const char *text, size_t size, const char *place, const char *what)
{
	struct sp_policy *policy = NULL;
	struct sp_error e = {0};
	cleanup_free char *prefix = NULL;

	cr_assert_geq(asprintf(&prefix, "test.yaml:%s: ", place), 0);
	int rc = sp_policy_parse(text, size, "test.yaml", &policy, &e);
	cr_expect_eq(rc, -EINVAL, "%d for:\n%s", rc, text);
	cr_expect_eq(e.err, EINVAL);
	cr_expect_null(policy);
	cr_expect_eq(strncmp(e.text, prefix, strlen(prefix)), 0, "expected %s, got '%s' for:\n%s", place, e.text, text);
	cr_expect_not_null(strstr(e.text, what), "expected '%s', got '%s' for:\n%s", what, e.text, text);
	cr_expect_null(strchr(e.text, '\n'));
	sp_policy_free(policy);
}

struct row {
	const char *text;
	const char *place;
	const char *what;
};

static void expect_errors(const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		expect_error(rows[i].text, strlen(rows[i].text), rows[i].place, rows[i].what);
}

#define EXPECT_ERRORS(rows) expect_errors((rows), sizeof(rows) / sizeof((rows)[0]))

#define RULES "version: 1\nexec:\n  rules:\n"

Test(policy_errors, keys)
{
	static const struct row rows[] = {
		{"version: 1\nnme: x\n", "2:1",
		 "unknown key 'nme', expected a mapping with the keys version, extends, name"},
		{"name: x\n", "1:1", "the key 'version' is missing"},
		{"version: 1\nversion: 1\n", "2:1", "the key 'version' is given twice"},
		{"version: 1\nexec:\n  rule: []\n", "3:3",
		 "unknown key 'rule', expected a mapping with the keys default"},
		{RULES "    - {id: a, program: x, acton: allow}\n", "4:27", "unknown key 'acton'"},
		{RULES "    - id: a\n      program: x\n", "4:7", "the key 'action' is missing"},
		{RULES "    - {id: a, program: x, action: allow}\n    - {program: x, action: deny}\n", "5:7",
		 "the key 'id' is missing"},
		{RULES "    - {id: a, program: x, action: deny, action: deny}\n", "4:41", "'action' is given twice"},
		{RULES "    - {id: a, program: x, action: deny, <at>: 3}\n", "4:41", "unknown key '<at>'"},
		{RULES "    - {id: a, program: {<list>: [x]}, action: deny}\n", "4:24", "found a mapping"},
		{"version: 1\nexec:\n  tests:\n    - {argv: x, expect: deny, rul: x}\n", "4:31",
		 "a mapping with the keys argv, env, ancestors, depth, user, sha256, anonymous, expect, rule"},
		{"version: 1\nexec:\n  tests:\n    - {argv: x}\n", "4:7", "the key 'expect' is missing"},
		{"version: 1\n? [a]\n: b\n", "2:3", "a key must be a single word"},
		{"version: 1\n\"na\\0me\": x\n", "2:1", "unknown key"},
		{"version: 1\n<<: {name: x}\n", "2:1", "unknown key '<<'"},
		{"version: 1\npluggins: []\n", "2:1", "unknown key 'pluggins'"},
	};
	EXPECT_ERRORS(rows);
}

Test(policy_errors, types)
{
	static const struct row rows[] = {
		{"- version: 1\n", "1:1", "found a list, expected a mapping with the keys version"},
		{"just words\n", "1:1", "found a single value, expected a mapping"},
		{"version: 2\n", "1:10", "unknown value '2', expected 1"},
		{"version: one\n", "1:10", "unknown value 'one', expected 1"},
		{"version: [1]\n", "1:10", "found a list, expected 1"},
		{"version:\n", "1:9", "found nothing, expected 1"},
		{"version: 1\ntracking: always\n", "2:11", "unknown value 'always', expected attached or oneshot"},
		{"version: 1\nname: [a]\n", "2:7", "found a list, expected a single value"},
		{"version: 1\nexec: deny\n", "2:7", "found a single value, expected a mapping with the keys default"},
		{"version: 1\nexec:\n", "2:6", "found nothing, expected a mapping"},
		{"version: 1\nexec: {default: kill}\n", "2:17", "unknown value 'kill', expected allow, ask or deny"},
		{"version: 1\nexec: {default: \"den\\ny\"}\n", "2:17", "unknown value 'den\\ny', expected allow"},
		{"version: 1\nexec:\n  rules:\n    id: a\n", "4:5",
		 "found a mapping, expected a list, each item a mapping"},
		{"version: 1\nexec: {rules: a}\n", "2:15", "found a single value, expected a mapping"},
		{"version: 1\nexec:\n  rules:\n  tests: []\n", "3:9", "found nothing, expected a list"},
		{RULES "    - a\n", "4:7", "found a single value, expected a mapping with the keys id"},
		{RULES "    - {id: a, program: x, action: refuse}\n", "4:35",
		 "unknown value 'refuse', expected allow, ask, deny or kill"},
		{RULES "    - {id: a, program: x, action: 1}\n", "4:35", "unknown value '1', expected allow"},
		{RULES "    - {id: a, anonymous: maybe, action: allow}\n", "4:26",
		 "unknown value 'maybe', expected true or false"},
		{RULES "    - {id: a, program: , action: allow}\n", "4:24", "found nothing, expected a list"},
		{RULES "    - {id: a, program: ~, action: allow}\n", "4:24", "found nothing, expected a list"},
		{RULES "    - {id: a, program: [[x]], action: allow}\n", "4:25",
		 "found a list, expected a single value"},
		{RULES "    - {id: a, words: [[[x]]], action: allow}\n", "4:24",
		 "found a list, expected a single value"},
		{RULES "    - {id: [a], program: x, action: allow}\n", "4:12", "found a list, expected a single value"},
		{RULES "    - {id: a, program: \"x\\0y\", action: allow}\n", "4:24", "NUL byte"},
	};
	EXPECT_ERRORS(rows);
}

#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde"
#define TESTS "version: 1\nexec:\n  tests:\n"

Test(policy_errors, contents_and_callers)
{
	static const struct row rows[] = {
		{RULES "    - {id: a, applet: [], action: deny}\n", "4:23", "the list is empty"},
		{RULES "    - {id: a, applet: \"[\", action: deny}\n", "4:23", "bad pattern '['"},
		{RULES "    - {id: a, sha256: [], action: deny}\n", "4:23", "the list is empty"},
		{RULES "    - {id: a, sha256: abc, action: deny}\n", "4:23",
		 "bad sha256 'abc', expected 64 hexadecimal"},
		{RULES "    - {id: a, sha256: [" DIGEST "f, " DIGEST "], action: deny}\n", "4:90", "bad sha256"},
		{RULES "    - {id: a, sha256: " DIGEST "g, action: deny}\n", "4:23", "bad sha256"},
		{RULES "    - {id: a, parent: [], action: deny}\n", "4:23", "the list is empty"},
		{RULES "    - {id: a, parent: \"\", action: deny}\n", "4:23", "the program has no name"},
		{RULES "    - {id: a, parent: usr/x, action: deny}\n", "4:23", "must begin with / or ./"},
		{RULES "    - {id: a, ancestor: [x, \"y[\"], action: deny}\n", "4:29", "bad pattern 'y['"},
		{RULES "    - {id: a, ancestor: {x: y}, action: deny}\n", "4:25", "found a mapping"},
		{RULES "    - {id: a, depth: -1, action: deny}\n", "4:22", "bad number '-1', expected one from 0 to"},
		{RULES "    - {id: a, depth: [1], action: deny}\n", "4:22",
		 "found a list, expected a single word or a mapping with the keys min, max"},
		{RULES "    - {id: a, depth: {least: 1}, action: deny}\n", "4:23", "unknown key 'least'"},
		{RULES "    - {id: a, depth: {min: 1x}, action: deny}\n", "4:28", "bad number '1x'"},
		{RULES "    - {id: a, depth: {min: 2, max: 1}, action: deny}\n", "4:28", "min is greater than max"},
		{RULES "    - {id: a, count: {}, action: deny}\n", "4:22", "expected a number, or min, max or both"},
		{RULES "    - {id: a, count: many, action: deny}\n", "4:22", "bad number 'many'"},
		{RULES "    - {id: a, count: {max: 1000000001}, action: deny}\n", "4:28", "bad number '1000000001'"},
		{RULES "    - {id: a, user: [], action: deny}\n", "4:21", "the list is empty"},
		{RULES "    - {id: a, user: [root, nosuchuser], action: deny}\n", "4:28", "unknown user 'nosuchuser'"},
		{RULES "    - {id: a, user: 4294967295, action: deny}\n", "4:21", "unknown user '4294967295'"},
		{TESTS "    - {argv: x, ancestors: {a: b}, expect: deny}\n", "4:28", "found a mapping"},
		{TESTS "    - {argv: x, depth: deep, expect: deny}\n", "4:24", "bad number 'deep'"},
		{TESTS "    - {argv: x, user: nosuchuser, expect: deny}\n", "4:23", "unknown user 'nosuchuser'"},
		{TESTS "    - {argv: x, sha256: abc, expect: deny}\n", "4:25", "bad sha256 'abc'"},
	};
	EXPECT_ERRORS(rows);
}

Test(policy_errors, meaning)
{
	static const struct row rows[] = {
		{RULES "    - {id: a, program: x, action: deny}\n    - {id: b, program: x, action: deny}\n"
		       "    - {id: a, program: y, action: deny}\n",
		 "6:12", "duplicate id 'a', the first is in line 4"},
		{RULES "    - {id: \"a b\", program: x, action: deny}\n", "4:12", "bad id 'a b'"},
		{RULES "    - {id: \"\", program: x, action: deny}\n", "4:12", "bad id ''"},
		{RULES "    - {id: default, program: x, action: deny}\n", "4:12", "'default' is taken"},
		{RULES "    - {id: anonymous, program: x, action: deny}\n", "4:12", "'anonymous' is taken"},
		{RULES "    - {id: loader, program: x, action: deny}\n", "4:12", "'loader' is taken"},
		{RULES "    - {id: a, action: deny}\n", "4:7", "'a' has no matcher"},
		{RULES "    - {id: a, program: [], action: deny}\n", "4:24", "the list is empty"},
		{RULES "    - {id: a, argv: [], action: deny}\n", "4:21", "the list is empty"},
		{RULES "    - {id: a, words: [], action: deny}\n", "4:22", "the list is empty"},
		{RULES "    - {id: a, words: [x, []], action: deny}\n", "4:26", "the list is empty"},
		{RULES "    - {id: a, has: [], action: deny}\n", "4:20", "the list is empty"},
		{RULES "    - {id: a, any: [], action: deny}\n", "4:20", "the list is empty"},
		{RULES "    - {id: a, none: [], action: deny}\n", "4:21", "the list is empty"},
		{RULES "    - {id: a, env: [], action: deny}\n", "4:20", "the list is empty"},
		{RULES "    - {id: a, has: -f, options_with_value: [], action: deny}\n", "4:44", "the list is empty"},
		{"version: 1\nexec: {path: []}\n", "2:14", "the list is empty"},
		{RULES "    - {id: a, program: x, options_with_value: [-C], action: deny}\n", "4:47", "no effect"},
		{RULES "    - {id: a, program: \"x[\", action: deny}\n", "4:24",
		 "bad pattern 'x[': the [ is not closed"},
		{RULES "    - {id: a, program: [x, \"/y[\"], action: deny}\n", "4:28", "bad pattern '/y['"},
		{RULES "    - {id: a, program: \"\", action: deny}\n", "4:24", "the program has no name"},
		{RULES "    - {id: a, program: usr/bin/x, action: deny}\n", "4:24", "must begin with / or ./"},
		{RULES "    - {id: a, argv: [x, \"[\"], action: deny}\n", "4:25", "bad pattern '['"},
		{RULES "    - {id: a, argv: [..., x], action: deny}\n", "4:22", "... must be the last"},
		{RULES "    - {id: a, argv: [[x, ...]], action: deny}\n", "4:26", "... must be the last"},
		{RULES "    - {id: a, words: [[x, \"[\"]], action: deny}\n", "4:27", "bad pattern '['"},
		{RULES "    - {id: a, any: \"[z-a]\", action: deny}\n", "4:20", "backwards"},
		{RULES "    - {id: a, none: \"\\\\\", action: deny}\n", "4:21", "nothing follows"},
		{RULES "    - {id: a, env: \"X[\", action: deny}\n", "4:20", "bad pattern 'X['"},
		{RULES "    - {id: a, env: X=1, action: deny}\n", "4:20", "bad variable 'X=1'"},
		{RULES "    - {id: a, env: \"\", action: deny}\n", "4:20", "bad variable ''"},
		{RULES "    - {id: a, has: force, action: deny}\n", "4:20", "bad option 'force'"},
		{RULES "    - {id: a, has: [-f, --], action: deny}\n", "4:25", "bad option '--'"},
		{RULES "    - {id: a, has: \"-\", action: deny}\n", "4:20", "bad option '-'"},
		{RULES "    - {id: a, has: --force=x, action: deny}\n", "4:20", "bad option '--force=x'"},
		{RULES "    - {id: a, has: -f, options_with_value: C, action: deny}\n", "4:44", "bad option 'C'"},
		{RULES "    - {id: a, program: x, action: deny, errno: EWHAT}\n", "4:48", "unknown errno 'EWHAT'"},
		{RULES "    - {id: a, program: x, action: deny, errno: 0}\n", "4:48", "unknown errno '0'"},
		{RULES "    - {id: a, program: x, action: deny, errno: 512}\n", "4:48", "unknown errno '512'"},
		{RULES "    - {id: a, program: x, action: deny, errno: -1}\n", "4:48", "unknown errno '-1'"},
		{RULES "    - {id: a, program: x, action: allow, errno: EACCES}\n", "4:49", "this one says allow"},
		{RULES "    - {id: a, program: x, action: kill, errno: EACCES}\n", "4:48", "this one says kill"},
		{"version: 1\nexec: {path: [/usr/bin, bin]}\n", "2:25", "bad directory 'bin'"},
		{"version: 1\nexec: {path: [\"/usr/[\"]}\n", "2:15", "bad directory '/usr/['"},
	};
	EXPECT_ERRORS(rows);
}

Test(policy_errors, tests_of_the_file)
{
	static const struct row rows[] = {
		{"version: 1\nexec:\n  default: deny\n  tests:\n    - {argv: [x, y], expect: allow}\n", "5:7",
		 "test failed: expected allow, the policy says deny by default, for: x y"},
		{RULES "    - {id: a, program: x, action: deny}\n  tests:\n    - {argv: x, expect: deny}\n"
		       "    - {argv: x, expect: deny, rule: default}\n",
		 "7:7", "test failed: expected deny by default, the policy says deny by a, for: x"},
		{RULES
		 "    - {id: a, env: X, action: deny}\n  tests:\n    - {argv: x, env: [Y=1], expect: deny, rule: a}\n",
		 "6:7", "test failed: expected deny by a, the policy says deny by default"},
		{"version: 1\nexec:\n  default: allow\n  tests:\n    - {argv: x, anonymous: true, expect: allow}\n",
		 "5:7", "the policy says deny by anonymous"},
		{"version: 1\nexec:\n  tests:\n    - {argv: x, expect: deny, rule: gone}\n", "4:37",
		 "no rule has the id 'gone'"},
		{"version: 1\nexec:\n  tests:\n    - {argv: [], expect: deny}\n", "4:14", "the list is empty"},
		{"version: 1\nexec:\n  tests:\n    - {argv: x, env: X, expect: deny}\n", "4:22", "expected NAME=value"},
	};
	EXPECT_ERRORS(rows);
}

/* The same tests, right: so that the ones above fail for their reason. */
Test(policy_errors, tests_of_the_file_that_pass)
{
	cleanup_policy struct sp_policy *policy =
		parse(RULES "    - {id: a, env: X, action: deny}\n"
			    "  default: allow\n"
			    "  tests:\n"
			    "    - {argv: [x, y], expect: allow, rule: default}\n"
			    "    - {argv: x, env: X=1, expect: deny, rule: a}\n"
			    "    - {argv: x, anonymous: true, expect: deny, rule: anonymous}\n");

	cr_expect_eq(sp_policy_test_count(policy), 3);
}

Test(policy_errors, yaml)
{
	static const struct row rows[] = {
		{"", "1:1", "the file is empty"},
		{"# nothing\n", "1:1", "the file is empty"},
		{"---\n", "2:1", "found nothing"},
		{"version: 1\n---\nversion: 1\n", "2:1", "a second document"},
		{"version: 1\nexec: {path: [a\n", "3:1", "not YAML"},
		{"version: 1\nname: \"a\n", "3:1", "not YAML"},
		{"version: 1\n\tname: a\n", "2:1", "not YAML"},
		{"version: 1\nname: *a\n", "2:7", "aliases"},
		{"version: 1\nname: &a b\n", "2:7", "anchors"},
		{"version: 1\nexec: &a {default: deny}\n", "2:7", "anchors"},
		{"version: 1\nexec: {path: &a [/bin]}\n", "2:14", "anchors"},
		{"version: !!int 1\n", "1:10", "tags"},
		{"version: 1\nname: \xff\n", "2:7", "not YAML text"},
		{"version: 1\nname: \x1b[31m\n", "2:7", "not YAML text"},
		{"\xff\xfev\0", "1:1", "not YAML text"},
		{"version: 1\nname\x01: a\n", "2:5", "not YAML text"},
	};
	EXPECT_ERRORS(rows);
	expect_error("version: 1\nna\0me: x\n", 20, "2:3", "not YAML text");
}

Test(policy_errors, alias_bomb)
{
	static const char bomb[] = "version: 1\n"
				   "a: &a [x, x, x, x, x, x, x, x, x]\n"
				   "b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
				   "c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\n";

	expect_error(bomb, strlen(bomb), "2:1", "unknown key 'a'");
	static const char in_place[] = "version: 1\nexec: {path: [*a, *a, *a]}\n";
	expect_error(in_place, strlen(in_place), "2:15", "aliases");
}

/* Nothing that is printed comes through as it is. */
Test(policy_errors, messages_are_safe_for_a_terminal)
{
	struct sp_policy *policy = NULL;
	struct sp_error e = {0};
	static const char text[] = "version: 1\n\"na\\e[31mme\\n\": x\n";

	cr_expect_eq(sp_policy_parse(text, strlen(text), "f\x1b[31m\n.yaml", &policy, &e), -EINVAL);
	cr_expect_null(strchr(e.text, '\x1b'));
	cr_expect_null(strchr(e.text, '\n'));
	cr_expect_not_null(strstr(e.text, "unknown key"));
}

static void expect_junk_error(const char *text, size_t size)
{
	struct sp_policy *policy = NULL;
	struct sp_error e = {0};
	unsigned int line, column;

	cr_expect_eq(sp_policy_parse(text, size, "test.yaml", &policy, &e), -EINVAL);
	cr_expect_eq(sscanf(e.text, "test.yaml:%u:%u: ", &line, &column), 2, "%s", e.text);
	cr_expect_null(strchr(e.text, '\n'));
	sp_policy_free(policy);
}

/* As large as a file may be. The time limit is against what grows faster than the file. */
Test(policy_errors, junk, .timeout = 60)
{
	static const char *const units[] = {
		"[",   "{",     "{a: ",         "- ",   "a",  "a: ", "\"",  "? ",           "\n",
		"#",   "'",     "version: 1\n", "[a, ", "!",  "&a ", "*a ", "\xef\xbb\xbf", "|\n ",
		"%\n", "---\n", "a:\n - ",      "\\",   "\t", "]"};
	size_t size = 4 << 20;
	cleanup_free char *text = malloc(size);

	for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
		size_t unit = strlen(units[i]);
		for (size_t at = 0; at + unit <= size; at += unit)
			memcpy(text + at, units[i], unit);
		expect_junk_error(text, size / unit * unit);
	}
	unsigned int random = 1;
	for (size_t at = 0; at < size; at++) {
		random = random * 1664525u + 1013904223u;
		text[at] = (char)(random >> 24);
	}
	expect_junk_error(text, size);
	for (size_t at = 0; at < size; at++)
		text[at] = (char)(' ' + (unsigned char)text[at] % 95);
	expect_junk_error(text, size);
}

Test(policy_errors, many_items, .timeout = 60)
{
	static const char begin[] = "{version: 1, exec: {path: [";
	size_t size = 4 << 20;
	cleanup_free char *text = malloc(size);

	memcpy(text, begin, strlen(begin));
	for (size_t at = strlen(begin); at < size; at++)
		text[at] = at % 2 == 0 ? '/' : ',';
	expect_junk_error(text, size);
}

/* Any beginning of a good file is good or has one error; every byte of it may be damaged. */
Test(policy_errors, damaged_files, .timeout = 120)
{
	static const char good[] = "version: 1\nname: n\nexec:\n  default: ask\n  path: [/usr/bin, /opt/**]\n  rules:\n"
				   "    - id: a\n      program: [git, '/opt/*']\n      options_with_value: [-C]\n"
				   "      words: [[a, b], c]\n      has: [-f, --force]\n      argv: [a, [b, c], ...]\n"
				   "      any: ['*']\n      none: x\n      env: LD_*\n      action: deny\n"
				   "      errno: EPERM\n      reason: >\n        long\n        text\n"
				   "  tests:\n    - {argv: [git, a], expect: ask}\n";
	static const char damage[] = {'\0', '\n', '\t', ' ', '[', '}', ':', '"', '*', '&', '#', '-', '\x80', 'x'};

	cleanup_policy struct sp_policy *policy = parse(good);
	cr_assert_eq(sp_policy_rule_count(policy), 1);
	for (size_t size = 0; size < strlen(good); size++) {
		for (size_t i = 0; i < sizeof damage; i++) {
			char text[sizeof good];
			struct sp_policy *damaged = NULL;
			struct sp_error e = {0};
			memcpy(text, good, sizeof good);
			text[size] = damage[i];
			size_t length = i == 0 ? size : strlen(good);
			int rc = sp_policy_parse(text, length, "test.yaml", &damaged, &e);
			cr_expect(rc == 0 || (rc == -EINVAL && strncmp(e.text, "test.yaml:", 10) == 0), "%zu %zu: %s",
				  size, i, e.text);
			sp_policy_free(damaged);
		}
	}
}

/* ---- Files ---- */

static char *directory;

static void enter(void)
{
	char template[] = "/tmp/sallyport-policy-XXXXXX";

	directory = strdup(mkdtemp(template));
	cr_assert_not_null(directory);
	cr_assert_eq(chdir(directory), 0);
}

static void leave(void)
{
	cr_assert_eq(chdir("/"), 0);
	cr_assert_eq(rmdir(directory), 0);
	free(directory);
}

TestSuite(policy_file, .init = enter, .fini = leave);

static void write_file(const char *name, const char *text, size_t size)
{
	cleanup_close int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, text, size), (ssize_t)size);
}

static void expect_load_error(const char *name, int err, const char *text)
{
	struct sp_policy *policy = NULL;
	struct sp_error e = {0};

	cr_expect_eq(sp_policy_load(name, &policy, &e), -err, "%s", e.text);
	cr_expect_eq(e.err, err);
	cr_expect_eq(strncmp(e.text, text, strlen(text)), 0, "expected '%s', got '%s'", text, e.text);
	cr_expect_null(strchr(e.text, '\n'));
	sp_policy_free(policy);
}

Test(policy_file, missing)
{
	expect_load_error("./missing.yaml", ENOENT, "./missing.yaml: No such file");
	expect_load_error("missing.yml", ENOENT, "missing.yml: No such file");
	expect_load_error("no-such-policy", ENOENT, "no-such-policy: no policy of this name in ");
	expect_load_error("", ENOENT, ": no policy of this name");
}

Test(policy_file, not_a_file)
{
	cr_assert_eq(mkdir("d.yaml", 0700), 0);
	expect_load_error("d.yaml", EISDIR, "d.yaml: this is a directory");
	cr_assert_eq(rmdir("d.yaml"), 0);
	expect_load_error("/dev/zero", EFBIG, "/dev/zero:1:1: the file is larger than 4 MiB");
	expect_load_error("/dev/null", EINVAL, "/dev/null:1:1: the file is empty");
}

Test(policy_file, too_large)
{
	size_t size = 10 << 20;
	cleanup_free char *text = malloc(size);

	memset(text, '#', size);
	write_file("large.yaml", text, size);
	expect_load_error("large.yaml", EFBIG, "large.yaml:1:1: the file is larger than 4 MiB");
	write_file("large.yaml", text, 4 << 20);
	expect_load_error("large.yaml", EINVAL, "large.yaml:1:1: the file is empty");
	cr_assert_eq(unlink("large.yaml"), 0);
}

Test(policy_file, found_by_name)
{
	static const char text[] = "version: 1\n";
	struct sp_policy *policy = NULL;
	struct sp_error e = {0};

	write_file("mine.yaml", text, strlen(text));
	cr_assert_eq(sp_policy_load("mine", &policy, &e), 0, "%s", e.text);
	cr_expect_str_eq(sp_policy_name(policy), "mine");
	cr_expect_str_eq(sp_policy_file(policy), "./mine.yaml");
	sp_policy_free(policy);
	cr_assert_eq(unlink("mine.yaml"), 0);

	cr_assert_eq(setenv("XDG_CONFIG_HOME", directory, 1), 0);
	cr_assert_eq(mkdir("sallyport", 0700), 0);
	cr_assert_eq(mkdir("sallyport/policies", 0700), 0);
	write_file("sallyport/policies/mine.yaml", text, strlen(text));
	cr_assert_eq(sp_policy_load("mine", &policy, &e), 0, "%s", e.text);
	sp_policy_free(policy);
	cr_assert_eq(unsetenv("XDG_CONFIG_HOME"), 0);
	expect_load_error("mine", ENOENT, "mine: no policy of this name");
	cr_assert_eq(unlink("sallyport/policies/mine.yaml"), 0);
	cr_assert_eq(rmdir("sallyport/policies"), 0);
	cr_assert_eq(rmdir("sallyport"), 0);
}

Test(policy_file, digest_tells_versions_apart)
{
	cleanup_policy struct sp_policy *one = parse("version: 1\n");
	cleanup_policy struct sp_policy *same = parse("version: 1\n");
	cleanup_policy struct sp_policy *other = parse("version: 1\n\n");

	cr_expect_eq(sp_policy_digest(one), sp_policy_digest(same));
	cr_expect_neq(sp_policy_digest(one), sp_policy_digest(other));
}
