/* See attach.h. */
#include "api/attach.h"

#include "api/jobs.h"
#include "api/peer.h"
#include "policy/policy.h"
#include "ptrace/status.h"
#include "util/cleanup.h"
#include "util/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { JOBS_PER_USER = 256 };

struct sp_api_attach {
	struct sp_api_plan plan;
};

/* A job, and who waits for its end. */
struct attached {
	struct sp_call *call; /* NULL: nobody */
	struct sp_job *job; /* NULL: not yet */
};

static void not_started(struct sp_call *call, const char *message)
{
	sp_call_fail(call, "io.sallyport.NotStarted", json_pack("{ss}", "message", message));
}

/* NULL: the call was failed. */
static const struct sp_policy *find_policy(struct sp_call *call, const struct sp_api_attach *api, const char *name)
{
	const struct sp_policy *policy = api->plan.policy(name, sp_call_peer(call), api->plan.settings.context);

	if (policy == NULL)
		sp_call_fail(call, "io.sallyport.NoSuchPolicy", json_pack("{ss}", "policy", name != NULL ? name : ""));
	return policy;
}

static void prepare(struct sp_call *call, void *context)
{
	static const struct sp_parameter table[] = {{"policy", SP_PARAMETER_TEXT, false, 0}};
	const char *name = NULL;
	char digest[17];

	if (!sp_call_read(call, table, 1, &name))
		return;
	const struct sp_policy *policy = find_policy(call, context, name);
	if (policy == NULL)
		return;
	(void)snprintf(digest, sizeof digest, "%016" PRIx64, sp_policy_digest(policy));
	sp_call_reply(call, json_pack("{ss ss ss}", "policy", sp_policy_name(policy), "file", sp_policy_file(policy),
				      "digest", digest));
}

/* --- what becomes of it --- */

static json_t *make_reply(const struct attached *a, const char *key, const char *text)
{
	char name[SP_JOB_NAME];

	(void)sp_api_job_name(name, sp_job_id(a->job));
	return text != NULL ? json_pack("{ss ss}", "job", name, key, text) : json_pack("{ss}", "job", name);
}

static void tell(struct attached *a, const char *key, const char *text)
{
	if (a->call != NULL && a->job != NULL)
		sp_call_continue(a->call, make_reply(a, key, text));
}

static void on_launch_failed(struct sp_job *job, const struct sp_error *e, void *context)
{
	(void)job;
	tell(context, "failure", e->text);
}

static void on_notice(struct sp_job *job, const char *sentence, void *context)
{
	(void)job;
	tell(context, "notice", sentence);
}

static void on_done(struct sp_job *job, void *context)
{
	struct attached *a = context;
	const int *status = sp_job_status(job);
	struct sp_call *call = sp_steal_ptr(a->call);

	if (call != NULL) {
		json_t *reply = make_reply(a, NULL, NULL);
		const int s = status != NULL ? *status : 0;

		(void)json_object_set_new(reply, "status",
					  WIFSIGNALED(s) ? json_pack("{si}", "signal", WTERMSIG(s))
							 : json_pack("{si}", "exit", WEXITSTATUS(s)));
		sp_call_reply(call, reply);
	}
	free(a);
}

static const struct sp_job_events events = {.launch_failed = on_launch_failed, .notice = on_notice, .done = on_done};

/* Whoever started it in the foreground is gone: nobody would know of it. */
static void on_caller_gone(struct sp_call *call, void *data)
{
	struct attached *a = data;

	(void)call;
	a->call = NULL;
	sp_job_kill(a->job);
}

/* --- whose it is --- */

/* In this order: while the pidfd's process lives, its pid is nobody else's; and while the peer lives, so is the peer's. */
static const char *check_child(const struct sp_peer *peer, pid_t pid, int pidfd)
{
	char path[SP_PROC_NAME], text[4096];
	unsigned uid[4], gid[4];
	pid_t tgid, parent;
	cleanup_close int fd = open(sp_proc_task(path, pid, "status"), O_RDONLY | O_CLOEXEC);
	const ssize_t size = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;

	if (size <= 0)
		return "there is no such process";
	text[size] = '\0';
	const char *uids = strstr(text, "\nUid:"), *gids = strstr(text, "\nGid:");
	if (uids == NULL || gids == NULL ||
	    sscanf(uids, "\nUid: %u %u %u %u", &uid[0], &uid[1], &uid[2], &uid[3]) != 4 ||
	    sscanf(gids, "\nGid: %u %u %u %u", &gid[0], &gid[1], &gid[2], &gid[3]) != 4)
		return "there is no such process";
	if (sp_status_family(pid, &tgid, &parent) != 0 || tgid != pid || parent != peer->pid)
		return "the process is no child of the caller";
	for (int i = 0; i < 4; i++)
		if (uid[i] != peer->uid || gid[i] != peer->gid)
			return "the process is not the caller's user and group";
	if (pidfd_send_signal(pidfd, 0, NULL, 0) != 0 || !sp_peer_is_alive(peer))
		return "the process has ended";
	return NULL;
}

/* Of another file a poll, a read or even a close may wait for whoever serves it. */
static bool is_socket(int fd)
{
	int type;
	socklen_t size = sizeof type;

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0;
}

struct tally {
	uid_t uid;
	unsigned jobs;
};

static bool count_job(struct sp_job *job, void *data)
{
	struct tally *tally = data;

	tally->jobs += sp_job_about(job)->uid == tally->uid;
	return true;
}

static bool has_too_many(struct sp_engine *engine, uid_t uid)
{
	struct tally tally = {.uid = uid};

	sp_engine_each_job(engine, count_job, &tally);
	return uid != 0 && tally.jobs >= JOBS_PER_USER;
}

/* --- Attach --- */

struct request {
	const char *policy, *directory, *exact;
	const json_t *command;
	int64_t pid;
};

static const struct sp_parameter attach_table[] = {
	{"policy", SP_PARAMETER_TEXT, false, offsetof(struct request, policy)},
	{"command", SP_PARAMETER_TEXTS, true, offsetof(struct request, command)},
	{"command_base64", SP_PARAMETER_TEXT, false, offsetof(struct request, exact)},
	{"directory", SP_PARAMETER_TEXT, true, offsetof(struct request, directory)},
	{"pid", SP_PARAMETER_NUMBER, true, offsetof(struct request, pid)},
};

static void start(struct sp_call *call, const struct sp_api_attach *api, const struct request *request,
		  const struct sp_policy *policy, const struct sp_job_child *child)
{
	cleanup_free const char **argv = calloc(json_array_size(request->command) + 1, sizeof *argv);
	cleanup_free struct attached *a = calloc(1, sizeof *a);
	struct sp_error e = {0};

	for (size_t i = 0; argv != NULL && i < json_array_size(request->command); i++)
		argv[i] = json_string_value(json_array_get(request->command, i));
	const struct sp_job_plan plan = {
		.argv = (char *const *)argv,
		.cwd = request->directory,
		.policy = policy,
		.tracking = sp_policy_tracking(policy),
		.events = &events,
		.context = a,
	};
	if (argv == NULL || a == NULL) {
		sp_close_fd(&child->channel);
		sp_close_fd(&child->wire);
		sp_call_fail(call, "io.sallyport.Busy", NULL);
		return;
	}
	a->job = sp_job_attach(api->plan.engine, &plan, child, &e);
	if (a->job == NULL) {
		not_started(call, e.text);
		return;
	}
	if (api->plan.attached != NULL)
		api->plan.attached(a->job, api->plan.settings.context);
	json_t *reply = make_reply(a, NULL, NULL);
	if (sp_call_wants_more(call)) {
		a->call = call;
		sp_call_hold(call, on_caller_gone, a);
		sp_call_continue(call, reply);
	} else {
		sp_call_reply(call, reply);
	}
	(void)sp_steal_ptr(a);
}

static void attach(struct sp_call *call, void *context)
{
	const struct sp_api_attach *api = context;
	const struct sp_peer *peer = sp_call_peer(call);
	struct request request = {0};

	if (!sp_call_read(call, attach_table, sizeof attach_table / sizeof *attach_table, &request))
		return;
	const struct sp_policy *policy = find_policy(call, api, request.policy);
	if (policy == NULL)
		return;
	cleanup_close int channel = sp_call_take_fd(call, 0), wire = sp_call_take_fd(call, 1);
	if (!is_socket(channel) || (wire >= 0 && !is_socket(wire)) || json_array_size(request.command) == 0) {
		not_started(call, "expected a command, and the launch's socket with the call");
		return;
	}
	if (request.pid <= 1 || request.pid > INT_MAX || sp_engine_has(api->plan.engine, (pid_t)request.pid)) {
		not_started(call, "the process is no child of the caller");
		return;
	}
	cleanup_close int pidfd = pidfd_open((pid_t)request.pid, 0);
	const char *wrong = pidfd < 0 ? "there is no such process" : check_child(peer, (pid_t)request.pid, pidfd);
	if (wrong != NULL) {
		not_started(call, wrong);
		return;
	}
	if (has_too_many(api->plan.engine, peer->uid)) {
		sp_call_fail(call, "io.sallyport.Busy", NULL);
		return;
	}
	const struct sp_job_child child = {.pid = (pid_t)request.pid,
					   .pidfd = pidfd,
					   .channel = sp_steal_fd(&channel),
					   .wire = sp_steal_fd(&wire),
					   .uid = peer->uid};
	start(call, api, &request, policy, &child);
}

static const struct sp_method methods[] = {
	{"io.sallyport.Prepare", prepare, 0},
	{"io.sallyport.Attach", attach, SP_METHOD_FDS},
};

void *sp_api_attach_new(struct sp_server *server, const struct sp_api_plan *plan)
{
	struct sp_api_attach *api = calloc(1, sizeof *api);

	if (api == NULL)
		return NULL;
	api->plan = *plan;
	/* `sallyport run` takes nobody else's programs. */
	if (plan->policy == NULL || sp_server_add(server, methods, sizeof methods / sizeof *methods, api) == 0)
		return api;
	free(api);
	return NULL;
}

void sp_api_attach_free(void *attach)
{
	free(attach);
}
