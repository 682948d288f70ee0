/* See engine.h: makes the parts and connects them. */
#include "engine.h"

#include "job.h"
#include "notify/guard.h"
#include "util/cleanup.h"
#include "util/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>

struct sp_engine {
	struct sp_job_tools tools;
	struct sp_filter filters[2]; /* by enum sp_notified */
	struct sp_list jobs; /* struct sp_job.link */
	struct sp_list observers; /* struct sp_engine_observer.link */
	struct sp_list freezing;
	struct sp_follower follower;
};

static const struct sp_tracer_ops tracer_ops;

static void release_engine(struct sp_engine *engine)
{
	struct sp_gate_tools *t = &engine->tools.gate;

	if (t->tracer != NULL)
		sp_tracer_close(t->tracer);
	if (t->blocking != NULL)
		sp_blocking_close(t->blocking);
	sp_guard_free(engine->tools.guard);
	sp_cpu_roam();
	sp_index_free(t->index);
	sp_filesystems_free(t->filesystems);
	sp_kinds_free(t->kinds);
	for (size_t i = 0; i < sizeof engine->filters / sizeof *engine->filters; i++)
		sp_filter_free(&engine->filters[i]);
	free(engine);
}

static void drop_engine(struct sp_engine **engine)
{
	if (*engine != NULL)
		release_engine(*engine);
}

static bool is_linux_or_later(int major, int minor)
{
	struct utsname name;
	int running[2] = {0};

	return uname(&name) == 0 && sscanf(name.release, "%d.%d", &running[0], &running[1]) == 2 &&
	       (running[0] > major || (running[0] == major && running[1] >= minor));
}

struct sp_engine *sp_engine_new(uv_loop_t *loop, struct sp_audit *audit, struct sp_error *e)
{
	sp_cleanup(drop_engine) struct sp_engine *engine = calloc(1, sizeof *engine);

	if (engine == NULL) {
		sp_fail(e, ENOMEM, "out of memory");
		return NULL;
	}
	struct sp_gate_tools *t = &engine->tools.gate;
	engine->tools.audit = audit;
	engine->tools.filters = engine->filters;
	engine->tools.jobs = &engine->jobs;
	engine->tools.follower = &engine->follower;
	sp_cpu_prepare();
	sp_list_init(&engine->jobs);
	sp_list_init(&engine->observers);
	engine->tools.observers = &engine->observers;
	t->replies_survive = is_linux_or_later(6, 18);
	sp_list_init(&engine->freezing);
	t->freezing = &engine->freezing;
	t->loop = loop;
	t->index = sp_index_new();
	t->filesystems = sp_filesystems_new();
	t->kinds = sp_kinds_new();
	if (t->index == NULL || t->filesystems == NULL || t->kinds == NULL) {
		sp_fail(e, ENOMEM, "out of memory");
		return NULL;
	}
	if (sp_filter_compile(&engine->filters[SP_NOTIFY_EXECS], SP_NOTIFY_EXECS, e) != 0)
		return NULL;
	t->blocking = sp_blocking_new(loop, e);
	if (t->blocking == NULL)
		return NULL;
	t->tracer = sp_tracer_new(loop, t->index, &tracer_ops, engine, e);
	if (t->tracer == NULL)
		return NULL;
	return sp_steal_ptr(engine);
}

void sp_engine_close(struct sp_engine *engine)
{
	release_engine(engine);
}

struct sp_job *sp_job_start(struct sp_engine *engine, const struct sp_job_plan *plan, struct sp_error *e)
{
	struct sp_filter *forks = &engine->filters[SP_NOTIFY_EXECS_AND_FORKS];

	if (plan->tracking == SP_TRACKING_ONESHOT && forks->program.filter == NULL &&
	    sp_filter_compile(forks, SP_NOTIFY_EXECS_AND_FORKS, e) != 0)
		return NULL;
	return sp_job_new(&engine->tools, plan, NULL, e);
}

struct sp_job *sp_job_attach(struct sp_engine *engine, const struct sp_job_plan *plan, const struct sp_job_child *child,
			     struct sp_error *e)
{
	if (engine->tools.guard == NULL)
		engine->tools.guard = sp_guard_new(e);
	if (engine->tools.guard != NULL)
		return sp_job_new(&engine->tools, plan, child, e);
	sp_close_fd(&child->channel);
	sp_close_fd(&child->wire);
	return NULL;
}

void sp_engine_outlived(struct sp_engine *engine)
{
	sp_tracer_outlived(engine->tools.gate.tracer);
}

void sp_engine_observe(struct sp_engine *engine, struct sp_engine_observer *observer)
{
	sp_list_init(&observer->link);
	sp_list_add(&engine->observers, &observer->link);
}

bool sp_engine_has(const struct sp_engine *engine, pid_t pid)
{
	const struct sp_task *task = sp_index_find(engine->tools.gate.index, pid);

	return task != NULL && task->process != NULL;
}

struct sp_audit *sp_engine_audit(const struct sp_engine *engine)
{
	return engine->tools.audit;
}

void sp_engine_each_job(struct sp_engine *engine, bool (*visit)(struct sp_job *job, void *data), void *data)
{
	sp_jobs_each(&engine->jobs, visit, data);
}

struct job_search {
	uint64_t id;
	struct sp_job *found;
};

static bool is_not_it(struct sp_job *job, void *data)
{
	struct job_search *search = data;

	if (sp_job_id(job) == search->id)
		search->found = job;
	return search->found == NULL;
}

struct sp_job *sp_engine_job(struct sp_engine *engine, uint64_t id)
{
	struct job_search search = {.id = id};

	sp_jobs_each(&engine->jobs, is_not_it, &search);
	return search.found;
}

/* --- the tracer's events go to the job of the task --- */

static void on_process_born(struct sp_process *process, void *context)
{
	(void)context;
	sp_job_process_born(process->job, process);
}

static void on_exec_stop(struct sp_task *task, void *context)
{
	(void)context;
	sp_gatekeeper_exec_stop(sp_job_gatekeeper(task->process->job), task);
}

static void on_stopped(struct sp_task *task, void *context)
{
	(void)context;
	sp_gatekeeper_stopped(sp_job_gatekeeper(task->process->job), task);
}

static void on_gone(struct sp_task *task, void *context)
{
	(void)context;
	sp_gatekeeper_gone(sp_job_gatekeeper(task->process->job), task);
}

static void on_process_gone(struct sp_process *process, void *context)
{
	(void)context;
	sp_job_process_gone(process->job, process);
}

static void on_group_stop(struct sp_process *process, int signal, void *context)
{
	(void)context;
	sp_job_group_stop(process->job, process, signal);
}

static void on_quiet(void *context)
{
	struct sp_engine *engine = context;

	sp_gates_look_again(&engine->freezing);
	struct sp_engine_observer *observer, *next;
	sp_list_each_safe (observer, next, &engine->observers, link)
		if (observer->quiet != NULL)
			observer->quiet(observer->context);
}

static struct sp_job *guess_job(pid_t pid, void *context)
{
	const struct sp_engine *engine = context;

	return sp_job_guess(&engine->jobs, pid);
}

static bool is_one_shot(const struct sp_job *job, void *context)
{
	(void)context;
	return sp_job_is_one_shot(job);
}

static bool is_held(const struct sp_task *task, void *context)
{
	(void)context;
	const struct sp_job *job = task->process->job;

	return sp_job_is_frozen(job) || sp_gatekeeper_holds(sp_job_gatekeeper(job), task);
}

static const struct sp_tracer_ops tracer_ops = {
	.process_born = on_process_born,
	.exec_stop = on_exec_stop,
	.stopped = on_stopped,
	.gone = on_gone,
	.process_gone = on_process_gone,
	.group_stop = on_group_stop,
	.quiet = on_quiet,
	.guess_job = guess_job,
	.is_one_shot = is_one_shot,
	.held = is_held,
};
