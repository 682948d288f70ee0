/* Two hundred jobs at once in one engine, each with a descriptor of its own: none has another's. */
#include "harness.h"

#include "engine.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { JOBS = 200, NOBODY = 65534 };

struct many {
	uv_loop_t loop;
	struct sp_engine *engine;
	struct sp_policy *policy[JOBS];
	int fd[JOBS]; /* what job i has been given, and writes to */
	int left, failures;
	const char *program;
};

static void on_exit_of_root(struct sp_job *job, int status, void *context)
{
	struct many *m = context;

	(void)job;
	m->failures += status != 0;
}

static void on_done(struct sp_job *job, void *context)
{
	struct many *m = context;

	(void)job;
	if (--m->left == 0)
		uv_stop(&m->loop);
}

static void on_launch_failed(struct sp_job *job, const struct sp_error *e, void *context)
{
	(void)job;
	(void)context;
	(void)fprintf(stderr, "%s\n", e->text);
}

static const struct sp_job_events events = {
	.launch_failed = on_launch_failed, .root_exit = on_exit_of_root, .done = on_done};

static void become(enum sp_who who)
{
	if (who == SP_WHO_USER && geteuid() == 0)
		cr_assert(setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
			  setresuid(NOBODY, NOBODY, NOBODY) == 0);
	cr_assert_eq(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0); /* children are traceable if we are */
}

static void open_many(struct many *m, const char *launch)
{
	struct sp_error e = {0};
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	cr_assert_eq(uv_loop_init(&m->loop), 0);
	m->engine = sp_engine_new(&m->loop, NULL, &e);
	cr_assert_not_null(m->engine, "%s", e.text);
	for (int i = 0; i < JOBS; i++) {
		cleanup_free char *text = NULL;

		m->fd[i] = memfd_create("of-one-job", 0); /* inherited, unless somebody sees to it */
		cr_assert_geq(asprintf(&text, launch, m->fd[i]), 0);
		cr_assert_eq(sp_policy_parse(text, strlen(text), "many", &m->policy[i], &e), 0, "%s", e.text);
	}
}

static void start(struct many *m, int i)
{
	char number[16];
	sigset_t none;
	struct sp_error e = {0};
	char *const argv[] = {(char *)m->program, (char *)"fds", number, NULL};
	const struct sp_job_plan plan = {
		.file = m->program,
		.argv = argv,
		.envp = environ,
		.signal_mask = &none,
		.policy = m->policy[i],
		.events = &events,
		.context = m,
	};

	(void)snprintf(number, sizeof number, "%d", m->fd[i]);
	(void)sigemptyset(&none);
	cr_assert_not_null(sp_job_start(m->engine, &plan, &e), "%s", e.text);
	m->left++;
}

static void close_many(struct many *m)
{
	sp_engine_close(m->engine);
	while (uv_run(&m->loop, UV_RUN_NOWAIT) != 0)
		continue;
	cr_assert_eq(uv_loop_close(&m->loop), 0);
	for (int i = 0; i < JOBS; i++) {
		sp_policy_free(m->policy[i]);
		(void)close(m->fd[i]);
	}
}

/* What job i has found open: how many descriptors that are not its own, the standard ones excepted. */
static int count_foreign(const struct many *m, int i)
{
	char text[65536];
	int foreign = 0;
	ssize_t n = pread(m->fd[i], text, sizeof text - 1, 0);

	cr_assert_gt(n, 0, "job %d has written nothing", i);
	text[n] = '\0';
	for (char *rest = text, *word; (word = strsep(&rest, " \n")) != NULL;)
		foreign += word[0] != '\0' && atoi(word) > 2 && atoi(word) != m->fd[i];
	return foreign;
}

static int run_many(const char *program, const char *launch)
{
	struct many *m = calloc(1, sizeof *m);
	int foreign = 0;

	cr_assert_not_null(m);
	m->program = program;
	open_many(m, launch);
	for (int i = 0; i < JOBS; i++)
		start(m, i);
	(void)uv_run(&m->loop, UV_RUN_DEFAULT);
	cr_assert_eq(m->left, 0);
	cr_assert_eq(m->failures, 0);
	for (int i = 0; i < JOBS; i++)
		foreign += count_foreign(m, i);
	close_many(m);
	free(m);
	return foreign;
}

ParameterizedTestParameters(launch_many, no_descriptor_of_another)
{
	return sp_each_who_of(2);
}
ParameterizedTest(int *parameter, launch_many, no_descriptor_of_another)
{
	static const char *const policies[] = {
		"{version: 1, exec: {default: allow}, launch: {pass_fds: [%d]}}",
		"{version: 1, exec: {default: allow}, launch: {namespaces: [user, pid, mount], pass_fds: [%d]}}",
	};
	cleanup_lab struct sp_lab lab;

	sp_lab_open(&lab, SP_WHO(*parameter));
	const char *program = sp_program(&lab, "inmate");
	become(lab.who);
	cr_assert_eq(run_many(program, policies[SP_INDEX(*parameter)]), 0);
	cr_assert_eq(sp_end_descendants(5), 0);
}

/* Without the stage each has those of all. (A comment takes the number that the other policies need.) */
Test(launch_many, control)
{
	cleanup_lab struct sp_lab lab;

	sp_lab_open(&lab, SP_WHO_ROOT);
	cr_assert_geq(run_many(sp_program(&lab, "inmate"),
			       "{version: 1, exec: {default: allow}, launch: {close_fds: false}} # %d"),
		      JOBS * (JOBS - 1));
}

/* A copy of all our descriptors, as the child of another launch has it before its exec. */
static pid_t fork_a_copy(int *end)
{
	int pipes[2];
	char byte;

	cr_assert_eq(pipe(pipes), 0);
	const pid_t copy = fork();
	if (copy == 0) {
		(void)close(pipes[1]);
		(void)!read(pipes[0], &byte, 1);
		_exit(0);
	}
	cr_assert_gt(copy, 0);
	(void)close(pipes[0]);
	*end = pipes[1];
	return copy;
}

/* The init of a job ends with the job, whoever else has a copy of what tells it to. */
ParameterizedTestParameters(launch_many, ends_beside_a_copy)
{
	return sp_each_who_of(1);
}
ParameterizedTest(int *parameter, launch_many, ends_beside_a_copy)
{
	static const char launch[] =
		"{version: 1, exec: {default: allow}, launch: {namespaces: [user, pid, mount], pass_fds: [%d]}}";
	cleanup_lab struct sp_lab lab;
	struct many *m = calloc(1, sizeof *m);
	int end;

	cr_assert_not_null(m);
	sp_lab_open(&lab, SP_WHO(*parameter));
	m->program = sp_program(&lab, "inmate");
	become(lab.who);
	open_many(m, launch);
	start(m, 0);
	const pid_t copy = fork_a_copy(&end);
	(void)alarm(30); /* what is waited for would never come */
	(void)uv_run(&m->loop, UV_RUN_DEFAULT);
	cr_assert_eq(m->left, 0);
	close_many(m);
	(void)alarm(0);
	(void)close(end);
	(void)waitpid(copy, NULL, 0);
	free(m);
}
