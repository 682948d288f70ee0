/* Any bytes as a policy file: it is refused with a sentence, or it decides, as all its rules together say. */
#include "policy/policy.h"
#include "fuzz.h"
#include "whole.h"

#include <errno.h>
#include <string.h>

static const struct sp_exec execs[] = {
	{.path = "/usr/bin/git", .argv = (const char *const[]){"git", "-C", "/tmp", "push", "--force=x"}, .argc = 5},
	{.path = "/usr/bin/true", .argv = (const char *const[]){"true"}, .argc = 1},
	{.path = "/usr/bin/busybox", .argv = (const char *const[]){"busybox", "ls", "-l"}, .argc = 3},
	{.path = "/opt/x/y", .argv = NULL, .argc = 0},
	{.path = "/memfd:x (deleted)", .argv = (const char *const[]){"x"}, .argc = 1, .anonymous = true},
	{.path = "/usr/bin/curl",
	 .argv = (const char *const[]){"", "--", "-x"},
	 .argc = 3,
	 .foreign = true,
	 .envp = (const char *const[]){"LD_PRELOAD=x", "A"},
	 .envc = 2,
	 .depth = 3,
	 .unknown = SP_UNKNOWN_ANCESTORS},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sp_policy *policy = NULL;
	struct sp_error e = {0};

	const int ret = sp_policy_parse((const char *)data, size, "fuzz.yaml", &policy, &e);
	if (ret < 0) {
		must(policy == NULL);
		must(ret == -ENOMEM || (e.text[0] != '\0' && memchr(e.text, '\0', sizeof e.text) != NULL));
		return 0;
	}
	for (size_t i = 0; i < sizeof execs / sizeof *execs; i++)
		sp_check_decision(policy, &execs[i]);
	sp_policy_free(policy);
	return 0;
}
