/* See approvals.h. An approval is named by its job and the key of its exec: JOB-EXEC. */
#include "api/approvals.h"

#include "api/jobs.h"
#include "util/cleanup.h"
#include "util/json.h"
#include "util/list.h"
#include "util/proc.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What is longer is shown in part, and says so; and a list that is longer says how many are left. */
enum { SHOWN_ARGV = 16 << 10, LIST_BYTES = 256 << 10, REASON_MAX = 500, BACKLOG = 64 << 10 };

struct sp_api_approvals {
	struct sp_engine *engine;
	struct sp_list watchers; /* struct watcher.link */
	struct sp_engine_observer observer;
};

/* A call that is told of every change. */
struct watcher {
	struct sp_list link;
	struct sp_call *call;
	uint64_t job; /* 0: all */
	bool late; /* it has not read what it was told, and is told what there is then */
};

/* --- showing --- */

static int set_argv(json_t *object, const struct sp_strings *argv)
{
	if (argv->size <= SHOWN_ARGV)
		return sp_json_set_strings(object, "argv", argv->data, argv->size);
	cleanup_free char *part = malloc(SHOWN_ARGV + 1);
	if (part == NULL)
		return -ENOMEM;
	memcpy(part, argv->data, SHOWN_ARGV);
	part[SHOWN_ARGV] = '\0';
	int err = sp_json_set_strings(object, "argv", part, SHOWN_ARGV + (part[SHOWN_ARGV - 1] != '\0'));
	return err != 0 ? err : sp_json_set_number(object, "argv_size", (json_int_t)argv->size);
}

static void set_link(json_t *object, const char *key, pid_t pid, const char *what)
{
	char name[SP_PROC_NAME], text[PATH_MAX];
	const ssize_t size = pid > 0 ? readlink(sp_proc_task(name, pid, what), text, sizeof text) : -1;

	if (size > 0)
		(void)sp_json_set_bytes(object, key, text, (size_t)size);
}

static json_t *make_approval(const struct sp_job *job, const struct sp_question *q)
{
	char name[SP_JOB_NAME], id[SP_JOB_NAME + 24];

	(void)sp_api_job_name(name, sp_job_id(job));
	(void)snprintf(id, sizeof id, "%s-%" PRIu64, name, q->id);
	json_t *object = json_pack("{ss ss si sI sI ss}", "approval", id, "job", name, "pid", (int)q->pid, "asked",
				   (json_int_t)q->asked, "deadline", (json_int_t)q->deadline, "otherwise",
				   sp_action_name(q->otherwise));
	if (object == NULL)
		return NULL;
	(void)sp_json_set_bytes(object, "rule", q->rule, strlen(q->rule));
	if (q->reason != NULL)
		(void)sp_json_set_bytes(object, "reason", q->reason, strlen(q->reason));
	(void)sp_json_set_bytes(object, "program", q->in->file.path, strlen(q->in->file.path));
	if (q->in->interpreter.fd >= 0)
		(void)sp_json_set_bytes(object, "interpreter", q->in->interpreter.path,
					strlen(q->in->interpreter.path));
	set_link(object, "cwd", q->pid, "cwd");
	if (q->parent > 0)
		(void)sp_json_set_number(object, "parent", q->parent);
	set_link(object, "caller", q->pid, "exe");
	if (set_argv(object, &q->in->argv) == 0)
		return object;
	json_decref(object);
	return NULL;
}

struct listing {
	const struct sp_call *call;
	uint64_t job;
	json_t *approvals;
	size_t bytes;
	int64_t left;
};

static bool list_job(struct sp_job *job, void *data)
{
	struct listing *l = data;
	const struct sp_questions *questions = sp_job_questions(job);

	if ((l->job != 0 && l->job != sp_job_id(job)) || !sp_call_would_may(l->call, job))
		return true;
	for (const struct sp_question *q = sp_questions_first(questions); q != NULL;
	     q = sp_questions_following(questions, q)) {
		const size_t size = 1024 + (q->in->argv.size < SHOWN_ARGV ? q->in->argv.size : SHOWN_ARGV);

		if (l->bytes + size > LIST_BYTES) {
			l->left++;
			continue;
		}
		l->bytes += size;
		(void)json_array_append_new(l->approvals, make_approval(job, q));
	}
	return true;
}

static json_t *make_list(const struct sp_api_approvals *api, const struct sp_call *call, uint64_t job)
{
	struct listing l = {.call = call, .job = job, .approvals = json_array()};

	sp_engine_each_job(api->engine, list_job, &l);
	json_t *reply = json_pack("{so}", "approvals", l.approvals);
	if (l.left > 0)
		(void)sp_json_set_number(reply, "left", (json_int_t)l.left);
	return reply;
}

/* --- watching --- */

static void stop_watching(struct watcher *w)
{
	sp_list_del(&w->link);
	free(w);
}

static void on_watcher_gone(struct sp_call *call, void *data)
{
	(void)call;
	stop_watching(data);
}

static void tell(const struct sp_api_approvals *api, struct watcher *w)
{
	w->late = sp_call_backlog(w->call) > BACKLOG;
	if (!w->late)
		sp_call_continue(w->call, make_list(api, w->call, w->job));
}

static void on_questions(struct sp_job *job, void *context)
{
	struct sp_api_approvals *api = context;
	struct watcher *w, *next;

	sp_list_each_safe (w, next, &api->watchers, link)
		if (w->job == 0 || w->job == sp_job_id(job))
			tell(api, w);
}

static void on_quiet(void *context)
{
	struct sp_api_approvals *api = context;
	struct watcher *w, *next;

	sp_list_each_safe (w, next, &api->watchers, link)
		if (w->late)
			tell(api, w);
}

static void end_watching(struct watcher *w, const char *error)
{
	struct sp_call *call = w->call;

	stop_watching(w);
	sp_call_fail(call, error, NULL);
}

static void on_job_ended(struct sp_job *job, void *context)
{
	struct sp_api_approvals *api = context;
	struct watcher *w, *next;

	sp_list_each_safe (w, next, &api->watchers, link)
		if (w->job == sp_job_id(job))
			end_watching(w, "io.sallyport.Ended");
}

static void approvals(struct sp_call *call, void *context)
{
	static const struct sp_parameter table[] = {{"job", SP_PARAMETER_TEXT, false, 0}};
	struct sp_api_approvals *api = context;
	const char *name = NULL;

	if (!sp_call_read(call, table, 1, &name))
		return;
	const struct sp_job *job = name != NULL ? sp_api_find_job(call, api->engine, name) : NULL;
	if (name != NULL && job == NULL)
		return;
	const uint64_t id = job != NULL ? sp_job_id(job) : 0;
	if (!sp_call_wants_more(call)) {
		sp_call_reply(call, make_list(api, call, id));
		return;
	}
	struct watcher *w = calloc(1, sizeof *w);
	if (w == NULL) {
		sp_call_fail(call, "io.sallyport.Busy", NULL);
		return;
	}
	*w = (struct watcher){.call = call, .job = id};
	sp_list_init(&w->link);
	sp_list_add(&api->watchers, &w->link);
	sp_call_hold(call, on_watcher_gone, w);
	tell(api, w);
}

/* --- answering --- */

/* What a call is about. NULL: it was failed. */
static const struct sp_question *find(struct sp_call *call, struct sp_engine *engine, const char *approval,
				      struct sp_job **job)
{
	char name[SP_JOB_NAME];
	const char *dash = strchr(approval, '-');
	char *end = NULL;
	const struct sp_question *question = NULL;

	*job = NULL;
	if (dash != NULL && dash - approval == SP_JOB_NAME - 1) {
		const uint64_t exec = strtoull(dash + 1, &end, 10);

		(void)memcpy(name, approval, SP_JOB_NAME - 1);
		name[SP_JOB_NAME - 1] = '\0';
		*job = sp_engine_job(engine, strtoull(name, NULL, 16));
		if (*job != NULL && *end == '\0')
			question = sp_questions_find(sp_job_questions(*job), exec);
	}
	if (question == NULL)
		sp_call_fail(call, "io.sallyport.NoSuchApproval", json_pack("{ss}", "approval", approval));
	return question != NULL && sp_call_may(call, *job) ? question : NULL;
}

static bool invalid(struct sp_call *call, const char *parameter)
{
	sp_call_fail(call, "org.varlink.service.InvalidParameter", json_pack("{ss}", "parameter", parameter));
	return false;
}

static void fail(struct sp_call *call, const struct sp_error *e, const char *approval)
{
	if (e->err == ENOENT)
		sp_call_fail(call, "io.sallyport.NoSuchApproval", json_pack("{ss}", "approval", approval));
	else
		sp_call_fail(call, "io.sallyport.NotPossible", json_pack("{ss}", "reason", e->text));
}

static void preview(struct sp_call *call, void *context)
{
	struct parameters {
		const char *approval, *action, *scope;
	} p = {0};
	static const struct sp_parameter table[] = {
		{"approval", SP_PARAMETER_TEXT, true, offsetof(struct parameters, approval)},
		{"action", SP_PARAMETER_TEXT, true, offsetof(struct parameters, action)},
		{"scope", SP_PARAMETER_TEXT, true, offsetof(struct parameters, scope)},
	};
	const struct sp_api_approvals *api = context;
	enum sp_scope scope;
	struct sp_job *job;
	struct sp_error e;

	if (!sp_call_read(call, table, 3, &p))
		return;
	const bool allow = strcmp(p.action, "allow") == 0;
	if (!allow && strcmp(p.action, "deny") != 0)
		return (void)invalid(call, "action");
	if (!sp_scope_parse(p.scope, &scope))
		return (void)invalid(call, "scope");
	const struct sp_question *question = find(call, api->engine, p.approval, &job);
	if (question == NULL)
		return;
	cleanup_free char *rule = sp_question_rule(question, allow ? SP_ALLOW : SP_DENY, scope, &e);
	if (rule == NULL)
		fail(call, &e, p.approval);
	else
		sp_call_reply(call, json_pack("{ss}", "rule", rule));
}

/* "pts/3" of the terminal that a process has; false: it has none. proc_pid_stat(5): tty_nr is the fifth after the name. */
static bool find_terminal(pid_t pid, char *name, size_t size)
{
	char path[SP_PROC_NAME], text[1024];
	unsigned terminal = 0;
	cleanup_close int fd = open(sp_proc_task(path, pid, "stat"), O_RDONLY | O_CLOEXEC);
	const ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;

	text[n > 0 ? n : 0] = '\0';
	const char *end = strrchr(text, ')');
	if (end == NULL || sscanf(end + 1, " %*c %*d %*d %*d %u", &terminal) != 1 || terminal == 0)
		return false;
	/* As in the kernel's old encoding: major 136 and on are Unix98 terminals, 4 virtual consoles. */
	const unsigned major = terminal >> 8 & 0xfff, minor = (terminal & 0xff) | (terminal >> 12 & 0xfff00);
	if (major < 136 || major > 143)
		return (void)snprintf(name, size, "terminal %u:%u", major, minor), true;
	(void)snprintf(name, size, "pts/%u", (major - 136) * 256 + minor);
	return true;
}

static void describe(const struct sp_peer *peer, char *text, size_t size)
{
	char terminal[32];

	if (find_terminal(peer->pid, terminal, sizeof terminal))
		(void)snprintf(text, size, "uid %u, pid %d, %s", peer->uid, peer->pid, terminal);
	else
		(void)snprintf(text, size, "uid %u, pid %d", peer->uid, peer->pid);
}

static void answer(struct sp_call *call, const struct sp_api_approvals *api, enum sp_action action)
{
	struct parameters {
		const char *approval, *remember, *scope, *rule, *reason;
		int64_t expires;
	} p = {.remember = "once", .scope = "exact"};
	static const struct sp_parameter table[] = {
		{"approval", SP_PARAMETER_TEXT, true, offsetof(struct parameters, approval)},
		{"remember", SP_PARAMETER_TEXT, false, offsetof(struct parameters, remember)},
		{"scope", SP_PARAMETER_TEXT, false, offsetof(struct parameters, scope)},
		{"rule", SP_PARAMETER_TEXT, false, offsetof(struct parameters, rule)},
		{"expires", SP_PARAMETER_NUMBER, false, offsetof(struct parameters, expires)},
		{"reason", SP_PARAMETER_TEXT, false, offsetof(struct parameters, reason)},
	};
	struct sp_job *job;
	struct sp_error e;
	char by[96];

	/* An approval needs no reason. */
	if (!sp_call_read(call, table, action == SP_ALLOW ? 5 : 6, &p))
		return;
	struct sp_answer a = {.action = action, .by = by, .reason = p.reason, .shown = p.rule, .expires = p.expires};
	if (!sp_remember_parse(p.remember, &a.remember))
		return (void)invalid(call, "remember");
	if (!sp_scope_parse(p.scope, &a.scope))
		return (void)invalid(call, "scope");
	if (p.expires < 0)
		return (void)invalid(call, "expires");
	if (p.reason != NULL && strlen(p.reason) > REASON_MAX)
		return (void)invalid(call, "reason");
	const struct sp_question *question = find(call, api->engine, p.approval, &job);
	if (question == NULL)
		return;
	describe(sp_call_peer(call), by, sizeof by);
	if (sp_questions_answer(sp_job_questions(job), question->id, &a, &e) != 0)
		fail(call, &e, p.approval);
	else
		sp_call_reply(call, NULL);
}

static void approve(struct sp_call *call, void *context)
{
	answer(call, context, SP_ALLOW);
}

static void deny(struct sp_call *call, void *context)
{
	answer(call, context, SP_DENY);
}

static const struct sp_method methods[] = {
	{"io.sallyport.Approvals", approvals, 0},
	{"io.sallyport.Preview", preview, 0},
	{"io.sallyport.Approve", approve, 0},
	{"io.sallyport.Deny", deny, 0},
};

/* --- its own life --- */

void *sp_api_approvals_new(struct sp_server *server, const struct sp_api_plan *plan)
{
	struct sp_api_approvals *api = calloc(1, sizeof *api);

	if (api == NULL)
		return NULL;
	api->engine = plan->engine;
	sp_list_init(&api->watchers);
	api->observer = (struct sp_engine_observer){
		.job_ended = on_job_ended, .questions = on_questions, .quiet = on_quiet, .context = api};
	sp_engine_observe(plan->engine, &api->observer);
	if (sp_server_add(server, methods, sizeof methods / sizeof *methods, api) == 0)
		return api;
	sp_api_approvals_free(api);
	return NULL;
}

void sp_api_approvals_free(void *approvals_part)
{
	struct sp_api_approvals *api = approvals_part;
	struct watcher *w, *next;

	if (api == NULL)
		return;
	sp_list_each_safe (w, next, &api->watchers, link)
		end_watching(w, "io.sallyport.Ended");
	sp_list_del(&api->observer.link);
	free(api);
}
