/* Globs: what they match, what they do not, and that no pattern makes matching slow. */
#include "policy/glob.h"
#include "util/cleanup.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

static void free_glob_ptr(struct sp_glob **glob)
{
	sp_glob_free(*glob);
}

#define cleanup_glob sp_cleanup(free_glob_ptr)

static struct sp_glob *compile(const char *pattern, enum sp_glob_kind kind)
{
	struct sp_glob *glob = NULL;
	const char *problem = "";

	cr_assert_eq(sp_glob_compile(pattern, kind, &glob, &problem), 0, "%s: %s", pattern, problem);
	return glob;
}

struct row {
	const char *pattern;
	const char *text;
	bool path; /* matches as a path */
	bool argument; /* matches as an argument */
};

static const struct row rows[] = {
	{"", "", true, true},
	{"", "a", false, false},
	{"abc", "abc", true, true},
	{"abc", "ab", false, false},
	{"abc", "abcd", false, false},
	{"abc", "xabc", false, false},
	{"ABC", "abc", false, false},
	/* ? */
	{"a?c", "abc", true, true},
	{"a?c", "ac", false, false},
	{"a?c", "abbc", false, false},
	{"a?c", "a/c", false, true},
	{"?", "", false, false},
	{"\xc3\xa9", "\xc3\xa9", true, true},
	{"?", "\xc3\xa9", false, false}, /* bytes, not characters */
	{"??", "\xc3\xa9", true, true},
	/* * */
	{"*", "", true, true},
	{"*", "abc", true, true},
	{"*", "a/c", false, true},
	{"a*", "a", true, true},
	{"a*", "abc", true, true},
	{"a*", "bac", false, false},
	{"*c", "abc", true, true},
	{"*c", "abcd", false, false},
	{"a*c", "ac", true, true},
	{"a*c", "abcbc", true, true},
	{"a*c", "a/c", false, true},
	{"a*b*c", "axxbxxc", true, true},
	{"a*b*c", "axxcxxb", false, false},
	{"*aab", "aaab", true, true},
	{"*.pem", "key.pem", true, true},
	{"*.pem", "dir/key.pem", false, true},
	{"*/.ssh/*", "/home/me/.ssh/id", false, true},
	{"/home/*/.ssh/*", "/home/me/.ssh/id", true, true},
	{"*", ".hidden", true, true},
	/* ** */
	{"**", "", true, true},
	{"**", "/a/b", true, true},
	{"/a/**", "/a/b", true, true},
	{"/a/**", "/a/b/c", true, true},
	{"/a/**", "/a/", true, true},
	{"/a/**", "/a", false, false},
	{"/a/**", "/ab/c", false, false},
	{"/a/**/c", "/a/c", true, false}, /* no component at all */
	{"/a/**/c", "/a/b/c", true, true},
	{"/a/**/c", "/a/b/b/c", true, true},
	{"/a/**/c", "/a/bc", false, false},
	{"/a/**/c", "/abc", false, false},
	{"/a/**/c", "/a/c/", false, false},
	{"**/c", "c", true, false},
	{"**/c", "/c", true, true},
	{"**/c", "a/b/c", true, true},
	{"**/c", "bc", false, false},
	{"/a**c", "/ab/bc", true, true},
	{"/a/**/b/*.c", "/a/x/b/b/y.c", true, true},
	{"/a/**/b/*.c", "/a/x/b/y/y.c", false, true},
	{"/a/*/b/**/c*", "/a/1/b/c/cc/c", true, true},
	{"***", "a/b", true, true},
	/* Classes */
	{"[abc]", "b", true, true},
	{"[abc]", "d", false, false},
	{"[abc]", "", false, false},
	{"[a-c]x", "bx", true, true},
	{"[a-c]x", "dx", false, false},
	{"[!a-c]", "d", true, true},
	{"[!a-c]", "b", false, false},
	{"[^a-c]", "d", true, true},
	{"[^a-c]", "b", false, false},
	{"[]]", "]", true, true},
	{"[!]]", "a", true, true},
	{"[!]]", "]", false, false},
	{"[a-]", "-", true, true},
	{"[a-]", "b", false, false},
	{"[-a]", "-", true, true},
	{"[\\]a]", "]", true, true},
	{"[\\]a]", "\\", false, false},
	{"[a\\-c]", "b", false, false},
	{"[!a]", "/", false, true}, /* no slash in a path by any class */
	{"[+-0]", "/", false, true},
	{"[\x80-\xff]", "\xc3", true, true},
	{"[a-c][0-9]*", "b7x", true, true},
	{"python[23]*", "python3.11", true, true},
	/* Escapes */
	{"\\*", "*", true, true},
	{"\\*", "a", false, false},
	{"a\\?c", "abc", false, false},
	{"\\[a]", "[a]", true, true},
	{"\\\\", "\\", true, true},
	{"\\a", "a", true, true},
	{"*\\**", "a*b", true, true},
	{"*\\**", "ab", false, false},
};

Test(policy_glob, table)
{
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const struct row *row = &rows[i];
		cleanup_glob struct sp_glob *path = compile(row->pattern, SP_GLOB_PATH);
		cleanup_glob struct sp_glob *argument = compile(row->pattern, SP_GLOB_ARGUMENT);
		cr_expect_eq(sp_glob_match(path, row->text, strlen(row->text)), row->path, "path '%s' and '%s'",
			     row->pattern, row->text);
		cr_expect_eq(sp_glob_match(argument, row->text, strlen(row->text)), row->argument,
			     "argument '%s' and '%s'", row->pattern, row->text);
	}
}

Test(policy_glob, only_the_given_bytes_are_read)
{
	cleanup_glob struct sp_glob *glob = compile("*b", SP_GLOB_ARGUMENT);

	cr_expect(sp_glob_match(glob, "abc", 2));
	cr_expect_not(sp_glob_match(glob, "abc", 3));
}

Test(policy_glob, bad_patterns)
{
	static const struct {
		const char *pattern, *problem;
	} bad[] = {
		{"[", "not closed"},        {"[abc", "not closed"}, {"[]", "not closed"},
		{"[!]", "not closed"},      {"[a-", "not closed"},  {"[\\", "not closed"},
		{"a\\", "nothing follows"}, {"[z-a]", "backwards"}, {"[[:alpha:]]", "named classes"},
	};

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		cleanup_glob struct sp_glob *glob = NULL;
		const char *problem = "";
		cr_expect_eq(sp_glob_compile(bad[i].pattern, SP_GLOB_PATH, &glob, &problem), -EINVAL, "%s",
			     bad[i].pattern);
		cr_expect_not_null(strstr(problem, bad[i].problem), "%s: %s", bad[i].pattern, problem);
	}
}

Test(policy_glob, literals_are_known)
{
	cleanup_glob struct sp_glob *literal = compile("a\\*b", SP_GLOB_PATH);
	cleanup_glob struct sp_glob *pattern = compile("a*b", SP_GLOB_PATH);

	cr_expect_str_eq(sp_glob_literal(literal), "a*b");
	cr_expect_null(sp_glob_literal(pattern));
}

Test(policy_glob, escaped_text_matches_itself_only)
{
	static const char text[] = "a?*[b]\\/c";
	cleanup_free char *escaped = sp_glob_escape(text);
	cleanup_glob struct sp_glob *glob = compile(escaped, SP_GLOB_PATH);

	cr_expect(sp_glob_match(glob, text, strlen(text)));
	cr_expect_not(sp_glob_match(glob, "axx[b]\\/c", 9));
	cr_expect_str_eq(sp_glob_literal(glob), text);
}

/* A pattern wider than one machine word of states, at every place where a word ends. */
Test(policy_glob, long_patterns)
{
	for (size_t size = 60; size <= 200; size++) {
		cleanup_free char *pattern = calloc(1, size + 3);
		cleanup_free char *text = calloc(1, size + 1);
		memset(pattern, '?', size);
		memcpy(pattern + size, "z*", 2);
		memset(text, 'a', size);
		text[size] = 'z';
		cleanup_glob struct sp_glob *glob = compile(pattern, SP_GLOB_PATH);
		cr_expect(sp_glob_match(glob, text, size + 1), "%zu", size);
		cr_expect_not(sp_glob_match(glob, text, size), "%zu", size);
		text[size] = 'y';
		cr_expect_not(sp_glob_match(glob, text, size + 1), "%zu", size);
	}
}

Test(policy_glob, too_long_a_pattern)
{
	cleanup_free char *pattern = calloc(1, 4098);
	cleanup_glob struct sp_glob *longest = NULL;
	cleanup_glob struct sp_glob *longer = NULL;
	const char *problem = "";

	memset(pattern, '*', 4097);
	cr_expect_eq(sp_glob_compile(pattern, SP_GLOB_PATH, &longer, &problem), -EINVAL);
	for (size_t i = 1; i < 4096; i += 2)
		pattern[i] = '?';
	pattern[4096] = '\0';
	cr_expect_eq(sp_glob_compile(pattern, SP_GLOB_PATH, &longest, &problem), 0);
	cr_expect(sp_glob_match(longest, pattern, 4096));
	cr_expect_not(sp_glob_match(longest, pattern, 2047));
}

/* Each of these takes a backtracking matcher longer than the age of the universe: the suite's own time limit is the
 * assertion. */
Test(policy_glob, no_pattern_is_slow, .timeout = 60)
{
	static const char *const patterns[] = {
		"*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b?",   "**a**a**a**a**a**a**a**a**a**a**a**a**a**a**a**b?",
		"**/a*/**/a*/**/a*/**/a*/**/a*/**/a*/**/b?",     "*?*?*?*?*?*?*?*?*?*?*?*?*?*?*?*?*?*?*?*?*?b?",
		"*[a-z]*[a-z]*[a-z]*[a-z]*[a-z]*[a-z]*[a-z]*b?",
	};
	size_t size = 128 << 10;
	cleanup_free char *text = malloc(size);

	memset(text, 'a', size);
	for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
		cleanup_glob struct sp_glob *path = compile(patterns[i], SP_GLOB_PATH);
		cleanup_glob struct sp_glob *argument = compile(patterns[i], SP_GLOB_ARGUMENT);
		cr_expect_not(sp_glob_match(path, text, size), "%s", patterns[i]);
		cr_expect_not(sp_glob_match(argument, text, size), "%s", patterns[i]);
	}
}
