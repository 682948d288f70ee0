/* See rig.h. */
#include "rig.h"

#include "util/cleanup.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The linker's --wrap: the engine calls the first of each pair. They have nobody to pass a context to. */
struct sp_index *__real_sp_index_new(void);
struct sp_index *__wrap_sp_index_new(void);
struct sp_tracer *__real_sp_tracer_new(uv_loop_t *loop, struct sp_index *index, const struct sp_tracer_ops *ops,
				       void *context, struct sp_error *e);
struct sp_tracer *__wrap_sp_tracer_new(uv_loop_t *loop, struct sp_index *index, const struct sp_tracer_ops *ops,
				       void *context, struct sp_error *e);

static struct sp_index *last_index;
static struct sp_tracer *last_tracer;

struct sp_index *__wrap_sp_index_new(void)
{
	return last_index = __real_sp_index_new();
}

struct sp_tracer *__wrap_sp_tracer_new(uv_loop_t *loop, struct sp_index *index, const struct sp_tracer_ops *ops,
				       void *context, struct sp_error *e)
{
	return last_tracer = __real_sp_tracer_new(loop, index, ops, context, e);
}

void sp_rig_give_up(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vfprintf(stderr, format, args);
	va_end(args);
	(void)fputc('\n', stderr);
	exit(2);
}

void sp_rig_open(struct sp_rig *rig, struct sp_audit *audit)
{
	struct sp_error e = {0};
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	if (uv_loop_init(&rig->loop) != 0)
		sp_rig_give_up("no event loop");
	rig->engine = sp_engine_new(&rig->loop, audit, &e);
	if (rig->engine == NULL)
		sp_rig_give_up("no engine: %s", e.text);
	rig->index = last_index;
	rig->tracer = last_tracer;
}

void sp_rig_close(struct sp_rig *rig)
{
	sp_engine_close(rig->engine);
	while (uv_run(&rig->loop, UV_RUN_NOWAIT) != 0)
		continue; /* handles that close */
	if (uv_loop_close(&rig->loop) != 0)
		sp_rig_give_up("handles of the engine are still open");
}

struct sp_policy *sp_rig_policy(const char *yaml)
{
	struct sp_policy *policy = NULL;
	struct sp_error e = {0};

	if (sp_policy_parse(yaml, strlen(yaml), "stress", &policy, &e) != 0)
		sp_rig_give_up("%s", e.text);
	return policy;
}

struct sp_job *sp_rig_start(struct sp_rig *rig, const struct sp_policy *policy, enum sp_tracking tracking,
			    char *const argv[], const struct sp_job_events *events, void *context, struct sp_error *e)
{
	sigset_t none;
	const struct sp_job_plan plan = {
		.file = argv[0],
		.argv = argv,
		.envp = environ,
		.signal_mask = &none,
		.policy = policy,
		.tracking = tracking,
		.events = events,
		.context = context,
	};

	(void)sigemptyset(&none);
	return sp_job_start(rig->engine, &plan, e);
}

enum sp_tracking sp_rig_tracking(const char *word)
{
	if (strcmp(word, "oneshot") == 0)
		return SP_TRACKING_ONESHOT;
	if (strcmp(word, "attached") != 0)
		sp_rig_give_up("--tracking %s: expected attached or oneshot", word);
	return SP_TRACKING_ATTACHED;
}
