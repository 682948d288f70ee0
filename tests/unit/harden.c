/* What a process does with its environment before its main, as bytes. */
#include "self/harden.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

extern char **environ;

enum { WORDS_MAX = 16 };

static const struct {
	char *caller[WORDS_MAX], *left[WORDS_MAX];
} environments[] = {
	{{NULL}, {NULL}},
	{{"A=1", "B=2"}, {"A=1", "B=2"}},
	{{"LD_PRELOAD=x"}, {NULL}},
	/* twice, without =, without a name, with bytes that are no text */
	{{"LD_PRELOAD=x", "A=1", "LD_PRELOAD=y", "LD_", "LD_\xff=\x80", "=LD_", "", "GLIBC_TUNABLES", "BASH_ENV="},
	 {"A=1", "=LD_", ""}},
	/* nearly */
	{{"LD=1", "ld_preload=x", " LD_PRELOAD=x", "XLD_PRELOAD=x", "GLIBC_TUNABLES2=", "BASH_EN=", "BASH_ENVY=1",
	  "A=LD_X=1"},
	 {"LD=1", "ld_preload=x", " LD_PRELOAD=x", "XLD_PRELOAD=x", "GLIBC_TUNABLES2=", "BASH_EN=", "BASH_ENVY=1",
	  "A=LD_X=1"}},
	/* an order that stays, and a name that comes twice */
	{{"Z=1", "A=\xff", "Z=2", "LD_X=", "A=\xff"}, {"Z=1", "A=\xff", "Z=2", "A=\xff"}},
};

/* In a child: a process is protected for good. */
static bool cleans(char *const caller[], char *const left[])
{
	char *given[WORDS_MAX];
	size_t i = 0;

	memcpy(given, caller, sizeof given);
	environ = given;
	sp_self_protect();
	for (; environ[i] != NULL && left[i] != NULL; i++) {
		if (strcmp(environ[i], left[i]) != 0)
			return false;
	}
	return environ[i] == NULL && left[i] == NULL && sp_self_environment() == given &&
	       memcmp(given, caller, sizeof given) == 0;
}

Test(harden, environment)
{
	for (size_t i = 0; i < sizeof environments / sizeof *environments; i++) {
		int status = 0;
		pid_t pid = fork();

		if (pid == 0)
			_exit(cleans(environments[i].caller, environments[i].left) ? 0 : 1);
		cr_assert_eq(waitpid(pid, &status, 0), pid);
		cr_expect_eq(status, 0, "environment %zu: %#x", i, (unsigned)status);
	}
}

Test(harden, without_it_nothing_changes)
{
	cr_assert_eq(sp_self_environment(), environ);
	cr_assert_eq(sp_self_drop_capabilities(), 0);
	cr_assert_eq(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 1);
}

static bool restores(void)
{
	const struct rlimit stack = {RLIM_INFINITY, RLIM_INFINITY};
	struct rlimit before[2], between[2], after[2];

	if (setrlimit(RLIMIT_STACK, &stack) != 0)
		return true; /* somebody has forbidden it */
	(void)getrlimit(RLIMIT_CORE, &before[0]);
	(void)getrlimit(RLIMIT_STACK, &before[1]);
	sp_self_protect();
	(void)getrlimit(RLIMIT_CORE, &between[0]);
	(void)getrlimit(RLIMIT_STACK, &between[1]);
	if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0 || between[0].rlim_cur != 0 || between[1].rlim_cur != 8 << 20)
		return false;
	sp_self_restore();
	(void)getrlimit(RLIMIT_CORE, &after[0]);
	(void)getrlimit(RLIMIT_STACK, &after[1]);
	return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1 && memcmp(before, after, sizeof before) == 0;
}

Test(harden, restores_for_what_it_starts)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(restores() ? 0 : 1);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0, "%#x", (unsigned)status);
}
