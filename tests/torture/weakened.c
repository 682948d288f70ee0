/* The engine with one of its two protections switched off, which no option of the product can do: what does the other one stop
 * alone?
 *
 * usage: weakened --policy FILE [--tracking attached|oneshot] [--without freeze|verify] -- COMMAND [ARG...]
 * Exit status: the command's, 128+n by signal, 125 when it fails itself. Nothing is recorded. */
#include "engine.h"
#include "util/cleanup.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { OWN_FAILURE = 125 };

struct options {
	const char *policy;
	enum sp_tracking tracking;
	unsigned weaknesses;
	char **command;
};

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "weakened: %s: %s\n", what, why);
	return OWN_FAILURE;
}

static bool parse_word(const char *option, const char *word, struct options *options)
{
	if (strcmp(option, "without") == 0 && strcmp(word, "freeze") == 0)
		options->weaknesses |= SP_WITHOUT_FREEZE;
	else if (strcmp(option, "without") == 0 && strcmp(word, "verify") == 0)
		options->weaknesses |= SP_WITHOUT_VERIFY;
	else if (strcmp(option, "tracking") == 0 && strcmp(word, "oneshot") == 0)
		options->tracking = SP_TRACKING_ONESHOT;
	else if (strcmp(option, "policy") == 0)
		options->policy = word;
	else
		return strcmp(option, "tracking") == 0 && strcmp(word, "attached") == 0;
	return true;
}

static bool parse(int argc, char *argv[], struct options *options)
{
	static const struct option known[] = {{"policy", required_argument, NULL, 'o'},
					      {"tracking", required_argument, NULL, 'o'},
					      {"without", required_argument, NULL, 'o'},
					      {0}};
	int index = 0, found = 0;

	while ((found = getopt_long(argc, argv, "+", known, &index)) == 'o')
		if (!parse_word(known[index].name, optarg, options))
			return false;
	options->command = argv + optind;
	return found == -1 && options->policy != NULL && optind < argc;
}

static void on_launch_failed(struct sp_job *job, const struct sp_error *e, void *context)
{
	(void)job;
	(void)context;
	fail("cannot start", e->text);
}

/* What the events are told about. */
struct run {
	uv_loop_t loop;
	int status; /* of the command, as waitpid(2) gives it */
};

static void on_root_exit(struct sp_job *job, int status, void *context)
{
	struct run *run = context;

	(void)job;
	run->status = status;
}

static void on_done(struct sp_job *job, void *context)
{
	struct run *run = context;

	uv_stop(&run->loop);
	if (sp_job_counts(job).illegal > 0)
		run->status = fail("events that must not happen", "a bug") << 8;
}

static const struct sp_job_events events = {
	.launch_failed = on_launch_failed, .root_exit = on_root_exit, .done = on_done};

static int supervise(struct run *run, struct sp_engine *engine, const struct sp_job_plan *plan)
{
	struct sp_error e = {0};
	struct sp_job *job = sp_job_start(engine, plan, &e);

	if (job == NULL)
		return fail("cannot start", e.text);
	/* As the product does: what it supervises must not be able to write into it. */
	prctl(PR_SET_DUMPABLE, 0);
	uv_run(&run->loop, UV_RUN_DEFAULT);
	return WIFEXITED(run->status) ? WEXITSTATUS(run->status) : 128 + WTERMSIG(run->status);
}

static void release_policy(struct sp_policy **policy)
{
	sp_policy_free(*policy);
}

extern char **environ;

int main(int argc, char *argv[])
{
	struct options options = {0};
	struct sp_error e = {0};
	sp_cleanup(release_policy) struct sp_policy *policy = NULL;
	sigset_t children, before;
	struct run run = {.status = 0};

	if (!parse(argc, argv, &options))
		return fail("usage",
			    "weakened --policy FILE [--tracking attached|oneshot] [--without freeze|verify] -- "
			    "COMMAND [ARG...]");
	if (sp_policy_load(options.policy, &policy, &e) != 0)
		return fail(options.policy, e.text);
	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	pthread_sigmask(SIG_BLOCK, &children, &before);
	if (uv_loop_init(&run.loop) != 0)
		return fail("uv_loop_init", "failed");
	struct sp_engine *engine = sp_engine_new(&run.loop, NULL, &e);
	if (engine == NULL)
		return fail("cannot start", e.text);
	const struct sp_job_plan plan = {.file = options.command[0],
					 .argv = options.command,
					 .envp = environ,
					 .signal_mask = &before,
					 .policy = policy,
					 .tracking = options.tracking,
					 .weaknesses = options.weaknesses,
					 .events = &events,
					 .context = &run};
	int status = supervise(&run, engine, &plan);
	sp_engine_close(engine);
	while (uv_run(&run.loop, UV_RUN_NOWAIT) != 0)
		continue; /* handles that close */
	uv_loop_close(&run.loop);
	return status;
}
