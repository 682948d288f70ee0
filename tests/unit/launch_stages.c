/* The stages by themselves, in a child, where what fails cannot be shown through a supervisor. */
#include "policy_helper.h"

#include "launch/stages.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char *const words[] = {"prog", NULL};

/* prctl(call) gives EPERM from here on. */
static void refuse_prctl(unsigned call)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = {sizeof code / sizeof *code, code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0)
		_exit(255);
}

/* The errno of the stage, 0: applied; or 254: it was skipped. */
static int run_stage(const char *sections, enum sp_stage stage, void (*before)(unsigned), unsigned argument)
{
	cleanup_policy struct sp_policy *policy = parse(sections);
	const struct sp_launch launch = {
		.file = "/bin/prog", .argv = words, .envp = words + 1, .confinement = sp_policy_confinement(policy)};
	struct sp_launch_plan *plan = NULL;
	struct sp_error e = {0};
	int status;

	cr_assert_eq(sp_launch_plan_new(&launch, &plan, &e), 0, "%s", e.text);
	const pid_t child = fork();
	if (child == 0) {
		struct sp_launch_outcome outcome = {0};
		struct sp_stage_run run = {.plan = plan, .outcome = &outcome, .wire = -1, .proc = -1};

		if (before != NULL)
			before(argument);
		sp_stages_run(&run);
		_exit(outcome.stage[stage].state == SP_STAGE_SKIPPED ? 254 : outcome.stage[stage].err);
	}
	sp_launch_plan_free(plan);
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

Test(launch_stages, no_new_privs)
{
	static const char with[] = "version: 1\n", without[] = "{version: 1, launch: {no_new_privs: false}}";

	cr_expect_eq(run_stage(with, SP_STAGE_NO_NEW_PRIVS, NULL, 0), 0);
	cr_expect_eq(run_stage(with, SP_STAGE_NO_NEW_PRIVS, refuse_prctl, PR_SET_NO_NEW_PRIVS), EPERM);
	cr_expect_eq(run_stage(without, SP_STAGE_NO_NEW_PRIVS, NULL, 0), 254);
}

/* One that fails does not keep the next from being tried. */
Test(launch_stages, goes_on_behind_a_failure)
{
	static const char policy[] = "{version: 1, launch: {cwd: /no/such, umask: '077'}}";

	cr_expect_eq(run_stage(policy, SP_STAGE_CWD, NULL, 0), ENOENT);
	cr_expect_eq(run_stage(policy, SP_STAGE_UMASK, NULL, 0), 0);
	cr_expect_eq(run_stage(policy, SP_STAGE_MOUNT, NULL, 0), 254);
}
