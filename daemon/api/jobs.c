/* See jobs.h. */
#include "api/jobs.h"

#include "api/standard.h"
#include "policy/policy.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/json.h"
#include "util/list.h"
#include "util/proc.h"
#include "util/version.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/wait.h>

enum { TREE_AT_ONCE = 256, FREEZE_WITHIN = 5000, ASK_AGAIN = 20 /* milliseconds */ };

struct sp_api_jobs {
	struct sp_server *server;
	struct sp_engine *engine;
	bool embedded;
	int64_t started;
	uint64_t ended; /* jobs */
	struct sp_job_counts counts; /* of those */
	struct sp_latency latency;
	struct sp_list waiting; /* struct waiting.link */
	struct sp_engine_observer observer;
	uv_timer_t late; /* runs while somebody waits for a freeze */
	bool closing;
};

/* A call that is answered when something has become of its job. */
struct waiting {
	struct sp_list link;
	struct sp_call *call;
	uint64_t job;
	enum { FOR_END, FOR_STATUS, FOR_FREEZE } what;
	uint64_t until; /* milliseconds of the loop, FOR_FREEZE */
};

/* --- JSON; out of memory shows as NULL at the end --- */

const char *sp_api_job_name(char name[static SP_JOB_NAME], uint64_t id)
{
	(void)snprintf(name, SP_JOB_NAME, "%016" PRIx64, id);
	return name;
}

static json_t *make_status(int status)
{
	return WIFSIGNALED(status) ? json_pack("{si}", "signal", WTERMSIG(status))
				   : json_pack("{si}", "exit", WEXITSTATUS(status));
}

static json_t *make_job(const struct sp_api_jobs *api, const struct sp_job *job)
{
	const struct sp_job_about *about = sp_job_about(job);
	char name[SP_JOB_NAME];
	json_t *object =
		json_pack("{ss si ss si sI si ss ss sb sI}", "job", sp_api_job_name(name, sp_job_id(job)), "supervisor",
			  (int)getpid(), "origin", api->embedded ? "embedded" : "service", "uid", (int)about->uid,
			  "started", (json_int_t)about->started, "root", (int)sp_job_root(job), "policy", about->policy,
			  "tracking", about->tracking == SP_TRACKING_ONESHOT ? "oneshot" : "attached", "frozen",
			  (int)sp_job_is_frozen(job), "processes", (json_int_t)sp_job_counts(job).alive);

	if (sp_json_set_strings(object, "command", about->argv.data, about->argv.size) == 0 &&
	    (about->policy_file == NULL ||
	     sp_json_set_bytes(object, "policy_file", about->policy_file, strlen(about->policy_file)) == 0))
		return object;
	json_decref(object);
	return NULL;
}

static json_t *make_counts(const struct sp_job_counts *c)
{
	return json_pack("{sI sI sI sI sI sI sI sI}", "execs", (json_int_t)c->execs, "denied", (json_int_t)c->denied,
			 "failed", (json_int_t)c->failed, "mismatches", (json_int_t)c->mismatches, "processes",
			 (json_int_t)c->processes, "surplus", (json_int_t)c->surplus, "audit_failures",
			 (json_int_t)c->audit_failures, "illegal", (json_int_t)c->illegal);
}

static json_t *make_latency(const struct sp_latency *latency)
{
	json_t *buckets = json_array();
	uint64_t decisions = 0;

	for (size_t i = 0; i < SP_LATENCY_BUCKETS; i++) {
		decisions += latency->count[i];
		(void)json_array_append_new(buckets, json_integer((json_int_t)latency->count[i]));
	}
	return json_pack("{sI sI so}", "decisions", (json_int_t)decisions, "total_nanoseconds",
			 (json_int_t)latency->total, "buckets", buckets);
}

/* What a process runs, by /proc: never its memory (cmdline), the reading of which it could make last for ever. */
static void add_program(json_t *object, pid_t pid)
{
	char path[SP_PROC_NAME], text[PATH_MAX];
	ssize_t size = readlink(sp_proc_task(path, pid, "exe"), text, sizeof text);

	if (size > 0)
		(void)sp_json_set_bytes(object, "program", text, (size_t)size);
	cleanup_close int fd = open(sp_proc_task(path, pid, "comm"), O_RDONLY | O_CLOEXEC);
	size = fd >= 0 ? read(fd, text, sizeof text) : -1;
	if (size > 0)
		(void)sp_json_set_bytes(object, "name", text, (size_t)size - (text[size - 1] == '\n'));
}

static json_t *make_process(const struct sp_process_about *p, bool frozen)
{
	json_t *object = json_pack("{sI sI si si si si ss}", "key", (json_int_t)p->key, "parent", (json_int_t)p->parent,
				   "pid", (int)p->pid, "parent_pid", (int)p->parent_pid, "threads", (int)p->threads,
				   "execs", (int)p->execs, "state",
				   frozen        ? "frozen"
				   : p->stopped  ? "stopped"
				   : p->deciding ? "deciding"
						 : "running");

	if (object != NULL)
		add_program(object, p->pid);
	return object;
}

/* --- which job --- */

static bool read_id(const char *name, uint64_t *id)
{
	if (strlen(name) != SP_JOB_NAME - 1 || strspn(name, "0123456789abcdef") != SP_JOB_NAME - 1)
		return false;
	*id = strtoull(name, NULL, 16);
	return true;
}

struct sp_job *sp_api_find_job(struct sp_call *call, struct sp_engine *engine, const char *name)
{
	uint64_t id = 0;
	struct sp_job *job = read_id(name, &id) ? sp_engine_job(engine, id) : NULL;

	if (job == NULL)
		sp_call_fail(call, "io.sallyport.NoSuchJob", json_pack("{ss}", "job", name));
	return job != NULL && sp_call_may(call, job) ? job : NULL;
}

/* Of a call that names a job and nothing else. */
static struct sp_job *find_only_job(struct sp_call *call, const struct sp_api_jobs *api)
{
	static const struct sp_parameter table[] = {{"job", SP_PARAMETER_TEXT, true, 0}};
	const char *name = NULL;

	return sp_call_read(call, table, 1, &name) ? sp_api_find_job(call, api->engine, name) : NULL;
}

/* --- looking --- */

struct listing {
	struct sp_call *call;
	const struct sp_api_jobs *api;
	json_t *jobs;
};

static bool list_job(struct sp_job *job, void *data)
{
	struct listing *listing = data;

	if (sp_call_would_may(listing->call, job))
		(void)json_array_append_new(listing->jobs, make_job(listing->api, job));
	return true;
}

static void list(struct sp_call *call, void *context)
{
	struct listing listing = {.call = call, .api = context};

	if (!sp_call_read(call, NULL, 0, NULL))
		return;
	listing.jobs = json_array();
	sp_engine_each_job(listing.api->engine, list_job, &listing);
	sp_call_reply(call, json_pack("{so}", "jobs", listing.jobs));
}

static void inspect(struct sp_call *call, void *context)
{
	const struct sp_api_jobs *api = context;
	const struct sp_job *job = find_only_job(call, api);

	if (job == NULL)
		return;
	const struct sp_job_counts counts = sp_job_counts(job);
	const int *status = sp_job_status(job);
	sp_call_reply(call, json_pack("{so so so si so*}", "job", make_job(api, job), "counts", make_counts(&counts),
				      "latency", make_latency(sp_job_latency(job)), "gates", (int)counts.gates,
				      "status", status != NULL ? make_status(*status) : NULL));
}

struct tree {
	json_t *processes;
	bool frozen;
	uint64_t last, next; /* keys; next 0: that was all */
};

static bool add_process(const struct sp_process_about *process, void *data)
{
	struct tree *t = data;

	if (json_array_size(t->processes) >= TREE_AT_ONCE) {
		t->next = t->last;
		return false;
	}
	t->last = process->key;
	(void)json_array_append_new(t->processes, make_process(process, t->frozen));
	return true;
}

static void tree(struct sp_call *call, void *context)
{
	struct parameters {
		const char *job;
		int64_t after;
	} p = {0};
	static const struct sp_parameter table[] = {
		{"job", SP_PARAMETER_TEXT, true, offsetof(struct parameters, job)},
		{"after", SP_PARAMETER_NUMBER, false, offsetof(struct parameters, after)},
	};
	const struct sp_api_jobs *api = context;
	const struct sp_job *job = sp_call_read(call, table, 2, &p) ? sp_api_find_job(call, api->engine, p.job) : NULL;

	if (job == NULL)
		return;
	struct tree t = {.processes = json_array(), .frozen = sp_job_is_frozen(job)};
	sp_job_each_process(job, p.after > 0 ? (uint64_t)p.after : 0, add_process, &t);
	json_t *reply = json_pack("{so}", "processes", t.processes);
	if (t.next != 0)
		(void)sp_json_set_number(reply, "next", (json_int_t)t.next);
	sp_call_reply(call, reply);
}

struct sum {
	const struct sp_call *call;
	struct sp_job_counts counts;
	struct sp_latency latency;
	int64_t jobs;
};

static void add_counts(struct sp_job_counts *sum, const struct sp_job_counts *c)
{
	sum->execs += c->execs;
	sum->denied += c->denied;
	sum->failed += c->failed;
	sum->mismatches += c->mismatches;
	sum->processes += c->processes;
	sum->alive += c->alive;
	sum->surplus += c->surplus;
	sum->audit_failures += c->audit_failures;
	sum->illegal += c->illegal;
	sum->tasks = c->tasks > 0 ? c->tasks : sum->tasks; /* of all jobs already */
}

static void add_latency(struct sp_latency *sum, const struct sp_latency *latency)
{
	for (size_t i = 0; i < SP_LATENCY_BUCKETS; i++)
		sum->count[i] += latency->count[i];
	sum->total += latency->total;
}

static bool add_job(struct sp_job *job, void *data)
{
	struct sum *sum = data;
	const struct sp_job_counts counts = sp_job_counts(job);

	if (!sp_call_would_may(sum->call, job))
		return true;
	add_counts(&sum->counts, &counts);
	add_latency(&sum->latency, sp_job_latency(job));
	sum->jobs++;
	return true;
}

static void stats(struct sp_call *call, void *context)
{
	const struct sp_api_jobs *api = context;
	struct sum sum = {.call = call, .counts = api->counts, .latency = api->latency};

	if (!sp_call_read(call, NULL, 0, NULL))
		return;
	sp_engine_each_job(api->engine, add_job, &sum);
	sp_call_reply(call, json_pack("{si ss sI sI sI sI sI so so}", "supervisor", (int)getpid(), "version",
				      SP_VERSION, "started", (json_int_t)api->started, "jobs", (json_int_t)sum.jobs,
				      "ended", (json_int_t)api->ended, "processes", (json_int_t)sum.counts.alive,
				      "tasks", (json_int_t)sum.counts.tasks, "counts", make_counts(&sum.counts),
				      "latency", make_latency(&sum.latency)));
}

/* --- doing, and waiting --- */

static void stop_waiting(struct waiting *w)
{
	sp_list_del(&w->link);
	free(w);
}

static void on_caller_gone(struct sp_call *call, void *data)
{
	(void)call;
	stop_waiting(data);
}

/* NULL: the call was failed. */
static struct waiting *wait_for(struct sp_api_jobs *api, struct sp_call *call, const struct sp_job *job, int what)
{
	struct waiting *w = calloc(1, sizeof *w);

	if (w == NULL) {
		sp_call_fail(call, "io.sallyport.Busy", NULL);
		return NULL;
	}
	w->call = call;
	w->job = sp_job_id(job);
	w->what = what;
	sp_list_init(&w->link);
	sp_list_add(&api->waiting, &w->link);
	sp_call_hold(call, on_caller_gone, w);
	return w;
}

static void answer(struct waiting *w, json_t *parameters)
{
	struct sp_call *call = w->call;

	stop_waiting(w);
	sp_call_reply(call, parameters);
}

static void answer_ended(struct waiting *w)
{
	struct sp_call *call = w->call;

	stop_waiting(w);
	sp_call_fail(call, "io.sallyport.Ended", NULL);
}

static void kill_job(struct sp_call *call, void *context)
{
	struct sp_api_jobs *api = context;
	struct sp_job *job = find_only_job(call, api);

	if (job != NULL && wait_for(api, call, job, FOR_END) != NULL)
		sp_job_kill(job);
}

static void wait_job(struct sp_call *call, void *context)
{
	struct sp_api_jobs *api = context;
	const struct sp_job *job = find_only_job(call, api);

	if (job != NULL)
		(void)wait_for(api, call, job, FOR_STATUS);
}

static void on_job_ended(struct sp_job *job, void *context)
{
	struct sp_api_jobs *api = context;
	const struct sp_job_counts counts = sp_job_counts(job);
	const int *status = sp_job_status(job);
	struct waiting *w, *next;

	/* With its only job the supervisor ends: who has asked by now is answered. */
	if (api->embedded)
		sp_server_serve(api->server);
	api->ended++;
	add_counts(&api->counts, &counts);
	add_latency(&api->latency, sp_job_latency(job));
	sp_list_each_safe (w, next, &api->waiting, link) {
		if (w->job != sp_job_id(job))
			continue;
		if (w->what == FOR_END)
			answer(w, NULL);
		else if (w->what == FOR_STATUS)
			answer(w, json_pack("{so}", "status", make_status(status != NULL ? *status : 0)));
		else
			answer_ended(w);
	}
}

/* Answers those whose job stands still by now, or whose time is over. */
static void look_at_freezes(struct sp_api_jobs *api, uint64_t now)
{
	struct waiting *w, *next;
	bool left = false;

	sp_list_each_safe (w, next, &api->waiting, link) {
		const struct sp_job *job = w->what == FOR_FREEZE ? sp_engine_job(api->engine, w->job) : NULL;

		if (job == NULL)
			continue;
		const unsigned running = sp_job_is_frozen(job) ? sp_job_running(job) : 0;
		if (!sp_job_is_frozen(job))
			answer_ended(w); /* somebody has thawed it */
		else if (running == 0 || now >= w->until)
			answer(w, json_pack("{si}", "running", (int)running));
		else
			left = true;
	}
	if (!left)
		(void)uv_timer_stop(&api->late);
}

static void on_quiet(void *context)
{
	struct sp_api_jobs *api = context;

	if (uv_is_active((uv_handle_t *)&api->late))
		look_at_freezes(api, 0);
}

/* A leader that ends while threads of its live on is never told of; to ask it again is to notice. */
static void ask_again(const struct sp_api_jobs *api)
{
	const struct waiting *w;

	sp_list_each (w, &api->waiting, link) {
		struct sp_job *job = w->what == FOR_FREEZE ? sp_engine_job(api->engine, w->job) : NULL;

		if (job != NULL && sp_job_is_frozen(job))
			(void)!sp_job_freeze(job);
	}
}

static void on_late(uv_timer_t *timer)
{
	ask_again(timer->data);
	look_at_freezes(timer->data, uv_now(timer->loop));
}

static void freeze(struct sp_call *call, void *context)
{
	struct sp_api_jobs *api = context;
	struct sp_job *job = find_only_job(call, api);

	if (job == NULL)
		return;
	if (sp_job_freeze(job) != 0) {
		sp_call_fail(
			call, "io.sallyport.NotPossible",
			json_pack("{ss}", "reason", "in one-shot tracking nobody is traced, so nobody can be held"));
		return;
	}
	struct waiting *w = wait_for(api, call, job, FOR_FREEZE);
	if (w == NULL)
		return;
	w->until = uv_now(api->late.loop) + FREEZE_WITHIN;
	(void)uv_timer_start(&api->late, on_late, ASK_AGAIN, ASK_AGAIN);
	look_at_freezes(api, 0);
}

static void thaw(struct sp_call *call, void *context)
{
	struct sp_api_jobs *api = context;
	struct sp_job *job = find_only_job(call, api);

	if (job == NULL)
		return;
	sp_job_thaw(job);
	sp_call_reply(call, NULL);
}

static const struct sp_method methods[] = {
	{"io.sallyport.List", list, 0},     {"io.sallyport.Inspect", inspect, 0}, {"io.sallyport.Tree", tree, 0},
	{"io.sallyport.Stats", stats, 0},   {"io.sallyport.Kill", kill_job, 0},   {"io.sallyport.Wait", wait_job, 0},
	{"io.sallyport.Freeze", freeze, 0}, {"io.sallyport.Thaw", thaw, 0},
};

/* --- its own life --- */

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void *sp_api_jobs_new(struct sp_server *server, const struct sp_api_plan *plan)
{
	struct sp_api_jobs *api = calloc(1, sizeof *api);

	if (api == NULL)
		return NULL;
	api->server = server;
	api->engine = plan->engine;
	api->embedded = plan->embedded;
	api->started = sp_now();
	sp_list_init(&api->waiting);
	(void)uv_timer_init(sp_server_loop(server), &api->late);
	uv_unref((uv_handle_t *)&api->late);
	api->late.data = api;
	api->observer = (struct sp_engine_observer){.job_ended = on_job_ended, .quiet = on_quiet, .context = api};
	sp_engine_observe(plan->engine, &api->observer);
	if (sp_server_add(server, methods, sizeof methods / sizeof *methods, api) == 0)
		return api;
	sp_api_jobs_free(api);
	return NULL;
}

void sp_api_jobs_free(void *jobs)
{
	struct sp_api_jobs *api = jobs;
	struct waiting *w, *next;

	if (api == NULL)
		return;
	sp_list_each_safe (w, next, &api->waiting, link)
		answer_ended(w);
	sp_list_del(&api->observer.link);
	uv_close((uv_handle_t *)&api->late, on_closed);
}
