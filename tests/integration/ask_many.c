/* A thousand questions, answered at random, while the programs that they are about are changed: what runs is what was approved.
 * The engine is this process, so that it can be told to leave the comparison out. */
#include "harness.h"

#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NOBODY = 65534, MOST = 4096, AT_ONCE = 6 };

struct many {
	uv_loop_t loop;
	uv_timer_t soon;
	struct sp_engine *engine;
	struct sp_engine_observer observer;
	struct sp_job *job;
	unsigned random;
	int status;
	/* What was approved, by the pid that asked. */
	struct {
		pid_t pid;
		char word[32];
	} approved[MOST];
	int approvals, denials;
	uint64_t illegal;
};

static unsigned next_random(struct many *m)
{
	m->random = m->random * 1664525 + 1013904223;
	return m->random >> 16;
}

/* One of those that wait, whichever. */
static const struct sp_question *choose(struct many *m)
{
	const struct sp_questions *questions = sp_job_questions(m->job);
	const struct sp_question *q = sp_questions_first(questions);

	for (unsigned skip = next_random(m) % AT_ONCE; skip > 0 && q != NULL; skip--) {
		const struct sp_question *next = sp_questions_following(questions, q);

		q = next != NULL ? next : q;
	}
	return q;
}

static void answer(struct many *m, const struct sp_question *q)
{
	const bool yes = next_random(m) % 3 != 0;
	const struct sp_answer a = {.action = yes ? SP_ALLOW : SP_DENY, .by = "the test"};
	struct sp_error e;

	if (yes && m->approvals < MOST) {
		m->approved[m->approvals].pid = q->pid;
		(void)snprintf(m->approved[m->approvals++].word, sizeof m->approved->word, "%s", q->in->argv.item[1]);
	}
	m->denials += !yes;
	cr_assert_eq(sp_questions_answer(sp_job_questions(m->job), q->id, &a, &e), 0, "%s", e.text);
}

static void on_soon(uv_timer_t *timer)
{
	struct many *m = timer->data;
	const struct sp_question *q = m->job != NULL ? choose(m) : NULL;

	if (q != NULL)
		answer(m, q);
	if (m->job != NULL && sp_questions_first(sp_job_questions(m->job)) != NULL)
		(void)uv_timer_start(timer, on_soon, 0, 0);
}

static void on_questions(struct sp_job *job, void *context)
{
	struct many *m = context;

	(void)job;
	(void)uv_timer_start(&m->soon, on_soon, 0, 0);
}

static void on_root_exit(struct sp_job *job, int status, void *context)
{
	(void)job;
	((struct many *)context)->status = status;
}

static void on_done(struct sp_job *job, void *context)
{
	struct many *m = context;

	m->illegal = sp_job_counts(job).illegal;
	m->job = NULL;
	uv_stop(&m->loop);
}

static const struct sp_job_events events = {.root_exit = on_root_exit, .done = on_done};

static void become(enum sp_who who)
{
	if (who == SP_WHO_USER && geteuid() == 0)
		cr_assert(setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
			  setresuid(NOBODY, NOBODY, NOBODY) == 0);
	cr_assert_eq(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0); /* children are traceable if we are */
}

static void run(struct many *m, struct sp_lab *lab, long rounds, unsigned weaknesses)
{
	const char *tell = sp_program(lab, "tell"), *fickle = sp_program(lab, "fickle");
	char *const argv[] = {(char *)fickle,
			      (char *)tell,
			      (char *)sp_text(lab, "%ld", rounds),
			      (char *)"2",
			      (char *)sp_text(lab, "%d", AT_ONCE),
			      NULL};
	const char *text = sp_text(
		lab, "{version: 1, exec: {default: allow, rules: [{id: look, program: %s, action: ask}]}}", tell);
	const char *output = sp_write_file(lab, "output", "", 0, 0666);
	struct sp_policy *policy;
	struct sp_error e = {0};
	sigset_t none, children;

	become(lab->who);
	cr_assert_eq(setenv("XDG_STATE_HOME", lab->directory, 1), 0);
	int fd = open(output, O_WRONLY | O_APPEND);
	cr_assert(fd >= 0 && dup2(fd, STDOUT_FILENO) == STDOUT_FILENO && close(fd) == 0);
	(void)sigemptyset(&none);
	(void)sigemptyset(&children);
	(void)sigaddset(&children, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &children, NULL);
	cr_assert_eq(sp_policy_parse(text, strlen(text), "many.yaml", &policy, &e), 0, "%s", e.text);
	cr_assert_eq(uv_loop_init(&m->loop), 0);
	(void)uv_timer_init(&m->loop, &m->soon);
	m->soon.data = m;
	m->random = 20261127;
	m->engine = sp_engine_new(&m->loop, NULL, &e);
	cr_assert_not_null(m->engine, "%s", e.text);
	m->observer = (struct sp_engine_observer){.questions = on_questions, .context = m};
	sp_engine_observe(m->engine, &m->observer);
	const struct sp_job_plan plan = {
		.file = fickle,
		.argv = argv,
		.envp = environ,
		.signal_mask = &none,
		.policy = policy,
		.weaknesses = weaknesses,
		.events = &events,
		.context = m,
	};
	m->job = sp_job_start(m->engine, &plan, &e);
	cr_assert_not_null(m->job, "%s", e.text);
	(void)uv_run(&m->loop, UV_RUN_DEFAULT);
	sp_list_del(&m->observer.link);
	uv_close((uv_handle_t *)&m->soon, NULL);
	sp_engine_close(m->engine);
	while (uv_run(&m->loop, UV_RUN_NOWAIT) != 0)
		continue;
	cr_assert_eq(uv_loop_close(&m->loop), 0);
	sp_policy_free(policy);
	cr_assert_eq(m->status, 0);
	cr_assert_eq(m->illegal, 0);
}

static const char *approved_word(const struct many *m, pid_t pid)
{
	for (int i = 0; i < m->approvals; i++)
		if (m->approved[i].pid == pid)
			return m->approved[i].word;
	return NULL;
}

/* How many ran, and how many of them with other words than were approved. */
static int count_differences(const struct many *m, struct sp_lab *lab, int *ran)
{
	cleanup_file FILE *output = fopen(sp_text(lab, "%s/output", lab->directory), "re");
	char line[256], word[128];
	int differences = 0, pid;

	*ran = 0;
	cr_assert_not_null(output);
	while (fgets(line, sizeof line, output) != NULL) {
		if (sscanf(line, "%d %127s", &pid, word) != 2)
			continue; /* fickle's own */
		const char *approved = approved_word(m, pid);

		(*ran)++;
		differences += approved == NULL || strcmp(approved, word) != 0;
	}
	return differences;
}

ParameterizedTestParameters(ask_many, what_is_approved_is_what_runs)
{
	return sp_each_who();
}
ParameterizedTest(int *parameter, ask_many, what_is_approved_is_what_runs)
{
	const long rounds = sp_size(150, 1000);
	struct many *m = calloc(1, sizeof *m);
	cleanup_lab struct sp_lab lab;
	int ran;

	sp_lab_open(&lab, SP_WHO(*parameter));
	run(m, &lab, rounds, 0);
	const int differences = count_differences(m, &lab, &ran);
	(void)fprintf(stderr, "%d approved, %d denied, %d ran, %d differences\n", m->approvals, m->denials, ran,
		      differences);
	cr_assert_eq(m->approvals + m->denials, rounds);
	cr_assert_gt(ran, 0);
	cr_assert_lt(ran, m->approvals, "nothing was changed in between");
	cr_assert_eq(differences, 0);
	free(m);
}

/* Only fast enough changes are seen: with fewer rounds there would be some all the same. */
Test(ask_many, control)
{
	struct many *m = calloc(1, sizeof *m);
	cleanup_lab struct sp_lab lab;
	int ran;

	sp_lab_open(&lab, SP_WHO_ROOT);
	run(m, &lab, 150, SP_WITHOUT_COMPARISON);
	const int differences = count_differences(m, &lab, &ran);
	(void)fprintf(stderr, "%d approved, %d ran, %d differences\n", m->approvals, ran, differences);
	cr_assert_gt(differences, 0);
	free(m);
}
