/* See panel.h. */
#include "plugin/panel.h"

#include "plugin/crun.h"
#include "util/cleanup.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct sp_panel {
	struct sp_panel_plan plan;
	const struct sp_plugin_specs *specs;
	char *cwd;
	bool retired;
	struct sp_list cases, calls;
	size_t count;
	struct sp_plugin_user users[]; /* as in specs */
};

struct seat {
	struct sp_plugin_question question;
	struct sp_plugin_verdict verdict;
	struct sp_panel_case *at;
};

struct sp_panel_case {
	struct sp_list link;
	struct sp_panel *panel;
	void (*done)(const struct sp_panel_verdict *verdict, void *context);
	void *context;
	size_t open; /* answers that are yet to come */
	struct seat seats[]; /* as in specs */
};

/* A call on its way from plugin to plugin. */
struct call {
	struct sp_list link;
	struct sp_plugin_question question;
	struct sp_panel *panel;
	struct seccomp_notif notification;
	size_t next; /* plugin to ask */
};

static void free_panel(struct sp_panel *panel)
{
	for (size_t i = 0; i < panel->count; i++)
		sp_plugin_leave(&panel->users[i]);
	sp_policy_free((struct sp_policy *)panel->plan.policy);
	free(panel->cwd);
	free(panel);
}

static void free_panel_ptr(struct sp_panel **panel)
{
	if (*panel != NULL)
		free_panel(*panel);
}

static void free_when_done(struct sp_panel *panel)
{
	if (panel->retired && sp_list_empty(&panel->cases) && sp_list_empty(&panel->calls))
		free_panel(panel);
}

void sp_panel_retire(struct sp_panel *panel)
{
	if (panel == NULL)
		return;
	panel->retired = true;
	free_when_done(panel);
}

struct sp_panel *sp_panel_new(const struct sp_panel_plan *plan, struct sp_error *e)
{
	const size_t count = sp_policy_plugins(plan->policy)->count;
	sp_cleanup(free_panel_ptr) struct sp_panel *panel = calloc(1, sizeof *panel + count * sizeof panel->users[0]);

	if (panel == NULL) {
		sp_fail(e, ENOMEM, "out of memory");
		return NULL;
	}
	panel->plan = *plan;
	sp_list_init(&panel->cases);
	sp_list_init(&panel->calls);
	panel->plan.policy = sp_policy_hold(plan->policy);
	panel->specs = sp_policy_plugins(plan->policy);
	panel->cwd = strdup(plan->cwd);
	if (panel->cwd == NULL) {
		sp_fail(e, ENOMEM, "out of memory");
		return NULL;
	}
	for (size_t i = 0; i < count; i++) {
		panel->users[i] = (struct sp_plugin_user){
			.job = {.size = sizeof(struct sallyport_job),
				.job = plan->job,
				.uid = getuid(),
				.policy = sp_policy_name(plan->policy),
				.cwd = panel->cwd},
			.listener = -1,
			.notice = plan->notice,
			.context = plan->context,
		};
		if (sp_plugin_join(plan->plugins, &panel->specs->items[i], &panel->users[i], e) != 0)
			return NULL;
		panel->count++;
	}
	return sp_steal_ptr(panel);
}

void sp_panel_set_listener(struct sp_panel *panel, int listener)
{
	for (size_t i = 0; i < panel->count; i++)
		if (panel->specs->items[i].abi == SP_PLUGIN_CRUN)
			sp_plugin_set_listener(&panel->users[i], listener);
}

void sp_panel_set_root(struct sp_panel *panel, pid_t pid)
{
	for (size_t i = 0; i < panel->count; i++)
		panel->users[i].job.pid = pid;
}

void sp_panel_fork(struct sp_panel *panel, const struct sallyport_fork *event)
{
	for (size_t i = 0; i < panel->count; i++)
		sp_plugin_tell_fork(&panel->users[i], event);
}

void sp_panel_exit(struct sp_panel *panel, const struct sallyport_exit *event)
{
	for (size_t i = 0; i < panel->count; i++)
		sp_plugin_tell_exit(&panel->users[i], event);
}

static bool is_asked(const struct sp_plugin_spec *spec, bool allowed)
{
	return spec->abi == SP_PLUGIN_OURS && (!allowed || spec->when == SP_PLUGIN_ALLOWED);
}

bool sp_panel_wants(const struct sp_panel *panel, bool allowed)
{
	for (size_t i = 0; panel != NULL && i < panel->count; i++)
		if (is_asked(&panel->specs->items[i], allowed))
			return true;
	return false;
}

/* ---- execs ---- */

static const struct {
	bool opinion;
	enum sp_action action;
} meanings[] = {
	[SALLYPORT_NO_OPINION] = {false, SP_ALLOW}, [SALLYPORT_ALLOW] = {true, SP_ALLOW},
	[SALLYPORT_ASK] = {true, SP_ASK},           [SALLYPORT_DENY] = {true, SP_DENY},
	[SALLYPORT_KILL] = {true, SP_KILL},
};

static struct sp_panel_verdict conclude(const struct sp_panel_case *at)
{
	struct sp_panel_verdict strictest = {.opinion = false};

	for (size_t i = 0; i < at->panel->count; i++) {
		const struct sp_plugin_verdict *v = &at->seats[i].verdict;
		const enum sp_action action = meanings[v->answer].action;

		if (!meanings[v->answer].opinion || (strictest.opinion && action <= strictest.action))
			continue;
		strictest = (struct sp_panel_verdict){
			.opinion = true,
			.action = action,
			.err = v->err != 0 ? v->err : EACCES,
			.rule = at->panel->specs->items[i].rule,
		};
		(void)strcpy(strictest.reason, v->reason);
	}
	return strictest;
}

static void on_answer(const struct sp_plugin_verdict *verdict, struct sp_plugin_question *question)
{
	struct seat *seat = sp_container_of(question, struct seat, question);
	struct sp_panel_case *at = seat->at;

	seat->verdict = *verdict;
	if (--at->open > 0)
		return;
	const struct sp_panel_verdict strictest = conclude(at);
	sp_list_del(&at->link);
	at->done(&strictest, at->context);
	struct sp_panel *panel = at->panel;
	free(at);
	free_when_done(panel);
}

int sp_panel_ask(struct sp_panel *panel, const struct sp_plugin_exec *exec, struct sp_panel_verdict *verdict,
		 void (*done)(const struct sp_panel_verdict *verdict, void *context), void *context,
		 struct sp_panel_case **as)
{
	const bool allowed = (exec->flags & SALLYPORT_ALLOWED) != 0;
	struct sp_panel_case *at = calloc(1, sizeof *at + panel->count * sizeof at->seats[0]);

	if (at == NULL)
		return -ENOMEM;
	at->panel = panel;
	at->done = done;
	at->context = context;
	for (size_t i = 0; i < panel->count; i++) {
		struct seat *seat = &at->seats[i];

		seat->at = at;
		seat->question.done = on_answer;
		if (is_asked(&panel->specs->items[i], allowed))
			at->open += sp_plugin_ask_exec(&panel->users[i], &seat->question, exec, &seat->verdict) == 0;
	}
	if (at->open == 0) {
		*verdict = conclude(at);
		free(at);
		return 1;
	}
	sp_list_init(&at->link);
	sp_list_add(&panel->cases, &at->link);
	*as = at;
	return 0;
}

void sp_panel_cancel(struct sp_panel_case *at)
{
	for (size_t i = 0; i < at->panel->count; i++)
		sp_plugin_forget(&at->seats[i].question);
	struct sp_panel *panel = at->panel;
	sp_list_del(&at->link);
	free(at);
	free_when_done(panel);
}

/* ---- calls ---- */

static void ask_next(struct call *call);

static void end_call(struct call *call)
{
	struct sp_panel *panel = call->panel;

	sp_list_del(&call->link);
	free(call);
	free_when_done(panel);
}

static void on_called(const struct sp_plugin_verdict *v, struct sp_plugin_question *question)
{
	struct call *call = sp_container_of(question, struct call, question);
	const struct sp_panel_plan *plan = &call->panel->plan;

	switch ((enum sp_crun_handled)v->handled) {
	case SP_CRUN_NOT_HANDLED:
		ask_next(call);
		return;
	case SP_CRUN_DELAYED:
		break; /* it has the listener */
	case SP_CRUN_RESPONSE:
		plan->called(call->notification.id, -v->err, v->value, false, plan->context);
		break;
	case SP_CRUN_RESPONSE_AND_CONTINUE:
		plan->called(call->notification.id, 0, 0, true, plan->context);
		break;
	case SP_CRUN_FAILED:
		plan->called(call->notification.id, -EPERM, 0, false, plan->context);
		break;
	}
	end_call(call);
}

/* As crun: who does not handle it leaves it to the next, and nobody to ENOTSUP. */
static void ask_next(struct call *call)
{
	struct sp_panel *panel = call->panel;

	while (call->next < panel->count) {
		const size_t i = call->next++;
		struct sp_plugin_verdict verdict;

		if (panel->specs->items[i].abi != SP_PLUGIN_CRUN)
			continue;
		if (sp_plugin_ask_call(&panel->users[i], &call->question, &call->notification, &verdict) != 0)
			on_called(&verdict, &call->question);
		return;
	}
	panel->plan.called(call->notification.id, -ENOTSUP, 0, false, panel->plan.context);
	end_call(call);
}

void sp_panel_call(struct sp_panel *panel, const struct seccomp_notif *notification)
{
	struct call *call = calloc(1, sizeof *call);

	if (call == NULL) {
		panel->plan.called(notification->id, -ENOMEM, 0, false, panel->plan.context);
		return;
	}
	call->panel = panel;
	call->notification = *notification;
	call->question.done = on_called;
	sp_list_init(&call->link);
	sp_list_add(&panel->calls, &call->link);
	ask_next(call);
}
