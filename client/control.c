/* See control.h. */
#include "control.h"

#include "api/api.h"
#include "api/place.h"
#include "util/cleanup.h"

#include <inttypes.h>
#include <stdio.h>

enum { APPEAR_AFTER = 50 /* milliseconds */ };

struct sp_control {
	struct sp_engine *engine;
	struct sp_api *api; /* NULL: not to be found yet, or at all */
	uv_timer_t appear;
	int directory;
	char name[17];
};

static void appear(uv_timer_t *timer);

struct sp_control *sp_control_new(uv_loop_t *loop, struct sp_engine *engine, const struct sp_job *job)
{
	struct sp_control *control = calloc(1, sizeof *control);

	if (control == NULL)
		return NULL;
	control->engine = engine;
	control->directory = -1;
	(void)snprintf(control->name, sizeof control->name, "%016" PRIx64, sp_job_id(job));
	(void)uv_timer_init(loop, &control->appear);
	control->appear.data = control;
	(void)uv_timer_start(&control->appear, appear, APPEAR_AFTER, 0);
	/* The loop runs for the job, not for those who might ask about it. */
	uv_unref((uv_handle_t *)&control->appear);
	return control;
}

static void on_closed(uv_handle_t *handle)
{
	struct sp_control *control = handle->data;

	sp_close_fd(&control->directory);
	free(control);
}

void sp_control_serve(struct sp_control *control)
{
	if (control != NULL && control->api != NULL)
		sp_server_serve(sp_api_server(control->api));
}

void sp_control_close(struct sp_control *control)
{
	if (control->api != NULL)
		(void)unlinkat(control->directory, control->name, 0);
	sp_api_close(control->api);
	uv_close((uv_handle_t *)&control->appear, on_closed);
}

static void appear(uv_timer_t *timer)
{
	struct sp_control *control = timer->data;
	const struct sp_api_plan plan = {.loop = timer->loop, .engine = control->engine, .embedded = true};

	control->directory = sp_place_open();
	struct sp_api *api = control->directory >= 0 ? sp_api_new(&plan) : NULL;
	if (api == NULL)
		return;
	int socket = sp_place_listen(control->directory, control->name, 0600);
	if (socket >= 0 && sp_server_listen(sp_api_server(api), socket) == 0) {
		control->api = api;
		return;
	}
	if (socket >= 0)
		(void)unlinkat(control->directory, control->name, 0);
	sp_api_close(api);
}
