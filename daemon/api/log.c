/* See log.h. */
#include "api/log.h"

#include "api/jobs.h"
#include "util/cleanup.h"
#include "util/json.h"
#include "util/list.h"

#include <string.h>

enum { BACKLOG = 64 << 10 /* bytes: who has not read that much misses something, so that it need not be hung up on */ };

struct sp_api_log {
	struct sp_engine *engine;
	struct sp_list readers; /* struct reader.link */
	struct sp_audit_tap tap; /* set while there are readers */
	struct sp_engine_observer observer;
};

struct reader {
	struct sp_list link;
	struct sp_api_log *log;
	struct sp_call *call;
	uint64_t job; /* 0: all that it may see */
	uint64_t missed;
};

/* --- readers --- */

static void stop_reading(struct reader *reader)
{
	struct sp_api_log *log = reader->log;

	sp_list_del(&reader->link);
	free(reader);
	if (sp_list_empty(&log->readers))
		sp_audit_set_tap(sp_engine_audit(log->engine), NULL);
}

static void on_reader_gone(struct sp_call *call, void *data)
{
	(void)call;
	stop_reading(data);
}

static void read_log(struct sp_call *call, void *context)
{
	static const struct sp_parameter table[] = {{"job", SP_PARAMETER_TEXT, false, 0}};
	struct sp_api_log *log = context;
	const char *name = NULL;

	if (!sp_call_read(call, table, 1, &name))
		return;
	const struct sp_job *job = name != NULL ? sp_api_find_job(call, log->engine, name) : NULL;
	if (name != NULL && job == NULL)
		return;
	struct reader *reader = sp_engine_audit(log->engine) != NULL ? calloc(1, sizeof *reader) : NULL;
	if (reader == NULL) {
		sp_call_fail(call, "io.sallyport.Busy", NULL);
		return;
	}
	*reader = (struct reader){.log = log, .call = call, .job = job != NULL ? sp_job_id(job) : 0};
	sp_list_init(&reader->link);
	sp_list_add(&log->readers, &reader->link);
	sp_audit_set_tap(sp_engine_audit(log->engine), &log->tap);
	sp_call_hold(call, on_reader_gone, reader);
	/* So that it knows from when on: what comes after this reply is told. */
	sp_call_continue(call, NULL);
}

/* --- records --- */

static void tell(struct reader *reader, json_t *record)
{
	if (sp_call_backlog(reader->call) > BACKLOG) {
		reader->missed++;
		return;
	}
	json_t *parameters = json_pack("{sO}", "record", record);
	if (reader->missed > 0)
		(void)sp_json_set_number(parameters, "missed", (json_int_t)reader->missed);
	reader->missed = 0;
	sp_call_continue(reader->call, parameters);
}

static bool wants(const struct reader *reader, const struct sp_job *job)
{
	if (job == NULL)
		return false;
	return reader->job != 0 ? reader->job == sp_job_id(job) : sp_call_would_may(reader->call, job);
}

static void tell_all(struct sp_api_log *log, uint64_t id, json_t *record)
{
	const struct sp_job *job = sp_engine_job(log->engine, id);
	struct reader *reader, *next;

	sp_list_each_safe (reader, next, &log->readers, link)
		if (wants(reader, job))
			tell(reader, record);
	json_decref(record);
}

static json_t *make_record(uint64_t job, uint64_t exec, int64_t time, const char *kind)
{
	char name[SP_JOB_NAME];

	return json_pack("{ss sI sI ss}", "job", sp_api_job_name(name, job), "exec", (json_int_t)exec, "time",
			 (json_int_t)time, "kind", kind);
}

static void set_errno(json_t *record, int err)
{
	const char *name = err != 0 ? strerrorname_np(err) : NULL;

	if (name != NULL)
		(void)sp_json_set_text(record, "errno", name);
}

static void on_exec(const struct sp_audit_exec *exec, void *context)
{
	json_t *record = make_record(exec->job, exec->exec, exec->time, "decision");

	(void)sp_json_set_number(record, "pid", exec->tid);
	(void)sp_json_set_text(record, "action", sp_action_name((enum sp_action)exec->action));
	set_errno(record, exec->err);
	(void)sp_json_set_bytes(record, "rule", exec->rule, strlen(exec->rule));
	if (exec->reason != NULL)
		(void)sp_json_set_bytes(record, "reason", exec->reason, strlen(exec->reason));
	const struct sp_bytes *program = exec->resolved.size > 0 ? &exec->resolved : &exec->path;
	(void)sp_json_set_bytes(record, "program", program->data, program->size);
	(void)sp_json_set_strings(record, "argv", exec->argv.data, exec->argv.size);
	tell_all(context, exec->job, record);
}

static void on_result(const struct sp_audit_result *result, void *context)
{
	static const char *const names[] = {
		[SP_RESULT_PENDING] = "vanished",    [SP_RESULT_DENIED] = "denied",
		[SP_RESULT_EXECED] = "execed",       [SP_RESULT_FAILED] = "failed",
		[SP_RESULT_RESTARTED] = "restarted", [SP_RESULT_VANISHED] = "vanished",
	};
	json_t *record = make_record(result->job, result->exec, result->time, "result");

	(void)sp_json_set_text(record, "result", names[result->result]);
	set_errno(record, result->err);
	if (result->verify == SP_VERIFY_MISMATCH)
		(void)json_object_set_new(record, "mismatch", json_true());
	tell_all(context, result->job, record);
}

static void end_reading(struct reader *reader, const char *error)
{
	struct sp_call *call = reader->call;
	json_t *parameters = NULL;

	if (reader->missed > 0)
		parameters = json_pack("{sI}", "missed", (json_int_t)reader->missed);
	stop_reading(reader);
	if (error != NULL) {
		json_decref(parameters);
		sp_call_fail(call, error, NULL);
	} else {
		sp_call_reply(call, parameters);
	}
}

static void on_job_ended(struct sp_job *job, void *context)
{
	struct sp_api_log *log = context;
	struct reader *reader, *next;

	sp_list_each_safe (reader, next, &log->readers, link)
		if (reader->job == sp_job_id(job))
			end_reading(reader, NULL);
}

/* --- its own life --- */

static const struct sp_method methods[] = {
	{"io.sallyport.Log", read_log, SP_METHOD_STREAM},
};

void *sp_api_log_new(struct sp_server *server, const struct sp_api_plan *plan)
{
	struct sp_api_log *log = calloc(1, sizeof *log);

	if (log == NULL)
		return NULL;
	log->engine = plan->engine;
	sp_list_init(&log->readers);
	log->tap = (struct sp_audit_tap){.exec = on_exec, .result = on_result, .context = log};
	log->observer = (struct sp_engine_observer){.job_ended = on_job_ended, .context = log};
	sp_engine_observe(plan->engine, &log->observer);
	if (sp_server_add(server, methods, sizeof methods / sizeof *methods, log) == 0)
		return log;
	sp_api_log_free(log);
	return NULL;
}

void sp_api_log_free(void *part)
{
	struct sp_api_log *log = part;
	struct reader *reader, *next;

	if (log == NULL)
		return;
	sp_list_each_safe (reader, next, &log->readers, link)
		end_reading(reader, "io.sallyport.Ended");
	sp_list_del(&log->observer.link);
	free(log);
}
