/* See api.h. */
#include "api/api.h"

#include "api/approvals.h"
#include "api/attach.h"
#include "api/jobs.h"
#include "api/log.h"
#include "api/peer.h"
#include "api/policies.h"
#include "api/standard.h"

#include <stdlib.h>
#include <unistd.h>

/* Each adds its table of methods. */
static const struct part {
	/* NULL: out of memory */
	void *(*start)(struct sp_server *server, const struct sp_api_plan *plan);
	void (*end)(void *part); /* before the server is closed; NULL is fine */
} parts[] = {
	{sp_api_jobs_new, sp_api_jobs_free},         {sp_api_log_new, sp_api_log_free},
	{sp_api_policies_new, sp_api_policies_free}, {sp_api_approvals_new, sp_api_approvals_free},
	{sp_api_attach_new, sp_api_attach_free},
};

enum { PARTS = sizeof parts / sizeof *parts };

struct sp_api {
	struct sp_api_plan plan;
	struct sp_server *server;
	void *parts[PARTS];
};

/* Whoever steers decides what runs; a program that is decided about may not. The index knows our own jobs, the kernel those of other
 * supervisors (but for one-shot tracking, where nobody is traced). */
static bool is_welcome(const struct sp_peer *peer, void *context)
{
	const struct sp_api *api = context;

	if (api->plan.embedded && peer->uid != geteuid() && peer->uid != 0)
		return false;
	return !sp_engine_has(api->plan.engine, peer->pid) && !sp_peer_is_supervised(peer);
}

static bool may(const struct sp_peer *peer, const char *method, const struct sp_job *job, void *context)
{
	const struct sp_server_settings *asked = &((const struct sp_api *)context)->plan.settings;

	return asked->may == NULL || asked->may(peer, method, job, asked->context);
}

static void denied(const struct sp_peer *peer, const char *method, const struct sp_job *job, void *context)
{
	const struct sp_server_settings *asked = &((const struct sp_api *)context)->plan.settings;

	if (asked->denied != NULL)
		asked->denied(peer, method, job, asked->context);
}

static bool start_all(struct sp_api *api)
{
	for (size_t i = 0; i < PARTS; i++) {
		api->parts[i] = parts[i].start(api->server, &api->plan);
		if (api->parts[i] == NULL)
			return false;
	}
	return sp_server_describe(api->server, "io.sallyport", sp_interface_text) == 0;
}

struct sp_api *sp_api_new(const struct sp_api_plan *plan)
{
	struct sp_api *api = calloc(1, sizeof *api);

	if (api == NULL)
		return NULL;
	api->plan = *plan;
	struct sp_server_settings settings = plan->settings;
	settings.welcome = is_welcome;
	settings.may = may;
	settings.denied = denied;
	settings.context = api;
	api->server = sp_server_new(plan->loop, &settings);
	if (api->server != NULL && start_all(api))
		return api;
	sp_api_close(api);
	return NULL;
}

struct sp_server *sp_api_server(const struct sp_api *api)
{
	return api->server;
}

void sp_api_close(struct sp_api *api)
{
	if (api == NULL)
		return;
	for (size_t i = 0; i < PARTS; i++)
		parts[i].end(api->parts[i]);
	if (api->server != NULL)
		sp_server_close(api->server);
	free(api);
}
