/* Any command line against rules with every matcher of arguments: the fast decision is the defined one, and a word more behind `--` takes
 * no option away. The bytes are: NUL-separated words; the first says which file. */
#include "fuzz.h"
#include "policy/policy.h"
#include "whole.h"

#include <string.h>

static const char text[] =
	"version: 1\n"
	"exec:\n"
	"  default: allow\n"
	"  rules:\n"
	"  - {id: a, program: git, options_with_value: [-C, -c, --git-dir], words: [push], action: deny}\n"
	"  - {id: b, program: git, options_with_value: [-C, -c], words: [[push, 'sta*'], o], has: [-f, --force], "
	"action: kill}\n"
	"  - {id: c, program: git, has: [--force, -f, -name], action: deny}\n"
	"  - {id: d, program: 'g*', argv: [-c, '[a-z]?*', ...], action: deny}\n"
	"  - {id: e, program: busybox, applet: [wget, 'n*'], action: deny}\n"
	"  - {id: f, program: '/opt/**/x*y', any: ['*secret*'], none: ['--dry-run'], action: deny}\n"
	"  - {id: g, count: {min: 3}, any: '*[!a-m]', action: deny}\n"
	"  - {id: h, program: [git, busybox], argv: ['a\\*', b], action: ask}\n"
	"  - {id: i, program: '*x', words: ['?'], action: deny}\n";

static const struct sp_policy *get_policy(void)
{
	static struct sp_policy *policy;
	struct sp_error e = {0};

	if (policy == NULL && sp_policy_parse(text, strlen(text), "argv.yaml", &policy, &e) < 0) {
		(void)fprintf(stderr, "%s\n", e.text);
		abort();
	}
	return policy;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const paths[] = {"/usr/bin/git", "/usr/bin/busybox", "/opt/a/b/xzy", "/usr/bin/x",
					    "/usr/bin/gx"};
	enum { WORDS = 64 };
	const char *argv[WORDS + 1];
	char *bytes = malloc(size + 1);
	size_t argc = 0;

	must(bytes != NULL);
	if (size > 0)
		memcpy(bytes, data, size);
	bytes[size] = '\0';
	for (size_t at = 1; at < size + 1 && argc < WORDS; at += strlen(bytes + at) + 1)
		argv[argc++] = bytes + at;
	argv[argc] = NULL;
	const struct sp_exec exec = {
		.path = paths[(unsigned char)bytes[0] % (sizeof paths / sizeof *paths)], .argv = argv, .argc = argc};
	sp_check_decision(get_policy(), &exec);
	struct sp_decision before, after;
	sp_policy_decide(get_policy(), &exec, &before);
	/* Rule c: an option that is there is there, whatever follows. */
	if (argc > 0 && argc < WORDS && strcmp(before.rule, "c") == 0) {
		argv[argc] = "last";
		const struct sp_exec longer = {.path = exec.path, .argv = argv, .argc = argc + 1};
		sp_policy_decide(get_policy(), &longer, &after);
		must(after.action >= SP_DENY);
	}
	free(bytes);
	return 0;
}
