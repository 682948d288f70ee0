/* See policies.h. */
#include "api/policies.h"

#include "api/jobs.h"
#include "util/list.h"

#include <stdlib.h>

struct sp_api_policies {
	struct sp_engine *engine;
	struct sp_list calls; /* struct reloading.link */
};

/* A call that reloads one job, or several. */
struct reloading {
	struct sp_list link;
	struct sp_call *call;
	struct sp_list jobs; /* struct one.link */
	bool starting; /* not all have been asked to reload */
	uint64_t generation; /* of the last that is done */
	struct sp_error failure; /* of the first that failed */
};

struct one {
	struct sp_list link;
	struct reloading *of;
	struct sp_job *job; /* it is there as long as this is: the request ends before it */
	struct sp_reload reload;
};

static void forget(struct reloading *r)
{
	struct one *one, *next;

	sp_list_each_safe (one, next, &r->jobs, link) {
		sp_list_del(&one->reload.link);
		sp_list_del(&one->link);
		free(one);
	}
	sp_list_del(&r->link);
	free(r);
}

static void on_caller_gone(struct sp_call *call, void *data)
{
	(void)call;
	forget(data);
}

static void answer(struct reloading *r)
{
	struct sp_call *call = r->call;
	const struct sp_error e = r->failure;
	const uint64_t generation = r->generation;

	forget(r);
	if (e.err == ECANCELED)
		sp_call_fail(call, "io.sallyport.Ended", NULL);
	else if (e.err != 0)
		sp_call_fail(call, "io.sallyport.BadPolicy", json_pack("{ss}", "message", e.text));
	else
		sp_call_reply(call, json_pack("{sI}", "generation", (json_int_t)generation));
}

static void on_done(struct sp_reload *reload, const struct sp_error *e)
{
	struct one *one = reload->context;
	struct reloading *r = one->of;

	if (e->err != 0 && r->failure.err == 0)
		r->failure = *e;
	if (e->err == 0)
		r->generation = sp_job_generation(one->job);
	sp_list_del(&one->link);
	free(one);
	if (!r->starting && sp_list_empty(&r->jobs))
		answer(r);
}

static bool add(struct sp_job *job, void *data)
{
	struct reloading *r = data;
	struct one *one = sp_call_would_may(r->call, job) ? calloc(1, sizeof *one) : NULL;

	if (one == NULL)
		return true;
	*one = (struct one){.of = r, .job = job, .reload = {.done = on_done, .context = one}};
	sp_list_init(&one->link);
	sp_list_init(&one->reload.link);
	sp_list_add(&r->jobs, &one->link);
	return true;
}

static void reload(struct sp_call *call, void *context)
{
	struct sp_api_policies *api = context;
	static const struct sp_parameter table[] = {{"job", SP_PARAMETER_TEXT, false, 0}};
	const char *name = NULL;
	struct one *one, *next;

	if (!sp_call_read(call, table, 1, &name))
		return;
	struct sp_job *job = name != NULL ? sp_api_find_job(call, api->engine, name) : NULL;
	if (name != NULL && job == NULL)
		return;
	struct reloading *r = calloc(1, sizeof *r);
	if (r == NULL) {
		sp_call_fail(call, "io.sallyport.Busy", NULL);
		return;
	}
	r->call = call;
	sp_list_init(&r->jobs);
	sp_list_init(&r->link);
	sp_list_add(&api->calls, &r->link);
	if (job != NULL)
		(void)add(job, r);
	else
		sp_engine_each_job(api->engine, add, r);
	sp_call_hold(call, on_caller_gone, r);
	r->starting = true;
	sp_list_each_safe (one, next, &r->jobs, link)
		sp_job_reload(one->job, &one->reload);
	r->starting = false;
	if (sp_list_empty(&r->jobs))
		answer(r);
}

static const struct sp_method methods[] = {
	{"io.sallyport.Reload", reload, 0},
};

void *sp_api_policies_new(struct sp_server *server, const struct sp_api_plan *plan)
{
	struct sp_api_policies *api = calloc(1, sizeof *api);

	if (api == NULL)
		return NULL;
	api->engine = plan->engine;
	sp_list_init(&api->calls);
	if (sp_server_add(server, methods, sizeof methods / sizeof *methods, api) == 0)
		return api;
	sp_api_policies_free(api);
	return NULL;
}

void sp_api_policies_free(void *policies)
{
	struct sp_api_policies *api = policies;
	struct reloading *r, *next;

	if (api == NULL)
		return;
	sp_list_each_safe (r, next, &api->calls, link) {
		r->failure.err = ECANCELED;
		answer(r);
	}
	free(api);
}
