/* sallyport log --json: one object a line, with everything that is recorded. The keys are described in
 * docs/audit.md. */
#include "log.h"
#include "policy/policy.h"
#include "util/cleanup.h"
#include "util/json.h"

#include <string.h>
#include <sys/wait.h>
#include <time.h>

/* More than any honest job has; a chain of forks may be as long as it likes. */
#define ANCESTORS 100

/* What ends a chain early. */
enum { FAILED = 1, CUT };

static int set_interpreter(json_t *object, const struct sp_log_exec *exec);
static int set_outcome(json_t *object, const struct sp_log_exec *exec);
static int set_errno(json_t *object, const char *key, int err);
static int add_ancestor(void *data, const struct sp_log_ancestor *ancestor);

static void release(json_t **value)
{
	json_decref(*value);
}

int log_json_exec(const struct log_view *view, const struct sp_log_exec *exec, struct sp_error *e)
{
	sp_cleanup(release) json_t *object = log_json_of_exec(view, exec, true, e);

	if (object == NULL)
		return -e->err;
	return sp_json_print(stdout, object) == -ENOMEM ? log_json_fail(e) : 0;
}

json_t *log_json_of_exec(const struct log_view *view, const struct sp_log_exec *exec, bool with_ancestors,
			 struct sp_error *e)
{
	sp_cleanup(release) json_t *object = json_object();
	json_t *ancestors = json_array();

	if (sp_json_set_number(object, "id", exec->id) < 0 || sp_json_set_number(object, "job", exec->job) < 0 ||
	    sp_json_set_number(object, "exec", (json_int_t)exec->exec) < 0 ||
	    sp_json_set_number(object, "process", (json_int_t)exec->process) < 0 ||
	    log_json_set_time(object, "time", exec->time) < 0 || sp_json_set_number(object, "pid", exec->pid) < 0 ||
	    sp_json_set_number(object, "tid", exec->tid) < 0 ||
	    sp_json_set_bytes(object, "path", exec->path.data, exec->path.size) < 0 ||
	    sp_json_set_bytes(object, "resolved", exec->resolved.data, exec->resolved.size) < 0 ||
	    sp_json_set_strings(object, "argv", exec->argv.data, exec->argv.size) < 0 ||
	    sp_json_set_number(object, "argc", exec->argc) < 0 || set_interpreter(object, exec) < 0 ||
	    set_outcome(object, exec) < 0 || json_object_set_new(object, "ancestors", ancestors) < 0) {
		(void)log_json_fail(e);
		return NULL;
	}
	if (!with_ancestors)
		return (void)json_object_del(object, "ancestors"), sp_steal_ptr(object);
	int ret = sp_query_chain(view->query, exec, add_ancestor, ancestors, e);
	if (ret == FAILED || json_object_set_new(object, "ancestors_cut", json_boolean(ret == CUT)) < 0)
		ret = log_json_fail(e);
	return ret < 0 ? NULL : sp_steal_ptr(object);
}

static int set_interpreter(json_t *object, const struct sp_log_exec *exec)
{
	if (exec->interpreter.size == 0)
		return sp_json_set_text(object, "interpreter", NULL) < 0 ? -ENOMEM
									 : sp_json_set_text(object, "inserted", NULL);
	if (sp_json_set_bytes(object, "interpreter", exec->interpreter.data, exec->interpreter.size) < 0)
		return -ENOMEM;
	return sp_json_set_strings(object, "inserted", exec->inserted.data, exec->inserted.size);
}

static int set_outcome(json_t *object, const struct sp_log_exec *exec)
{
	static const char *const results[] = {"pending", "denied", "execed", "failed", "restarted", "vanished"};
	static const char *const verified[] = {NULL, "ok", "mismatch"};
	size_t result = (size_t)exec->result, verify = (size_t)exec->verify;

	if (sp_json_set_text(object, "action",
			     exec->action >= SP_ALLOW && exec->action <= SP_KILL
				     ? sp_action_name((enum sp_action)exec->action)
				     : NULL) < 0 ||
	    set_errno(object, "errno", exec->err) < 0 || sp_json_set_text(object, "rule", exec->rule) < 0 ||
	    sp_json_set_text(object, "reason", exec->reason) < 0 ||
	    sp_json_set_number(object, "matched", exec->matched) < 0 ||
	    sp_json_set_strings(object, "others", exec->others.data, exec->others.size) < 0)
		return -ENOMEM;
	if (sp_json_set_text(object, "result", result < sizeof results / sizeof *results ? results[result] : NULL) <
		    0 ||
	    set_errno(object, "result_errno", exec->result_err) < 0 ||
	    log_json_set_time(object, "result_time", exec->result_time) < 0 ||
	    sp_json_set_text(object, "verify", verify < sizeof verified / sizeof *verified ? verified[verify] : NULL) <
		    0)
		return -ENOMEM;
	if (sp_json_set_number(object, "generation", (json_int_t)exec->generation) < 0 ||
	    log_json_set_time(object, "asked", exec->asked) < 0 || sp_json_set_text(object, "answer", exec->answer) < 0)
		return -ENOMEM;
	return sp_json_set_text(object, "verify_detail", exec->detail);
}

static int add_ancestor(void *data, const struct sp_log_ancestor *ancestor)
{
	json_t *array = data;

	if (json_array_size(array) == ANCESTORS)
		return CUT;
	json_t *object = json_object();
	if (json_array_append_new(array, object) < 0 ||
	    sp_json_set_number(object, "process", (json_int_t)ancestor->process) < 0 ||
	    sp_json_set_number(object, "pid", ancestor->pid) < 0 ||
	    sp_json_set_bytes(object, "program", ancestor->program.data, ancestor->program.size) < 0 ||
	    sp_json_set_strings(object, "argv", ancestor->argv.data, ancestor->argv.size) < 0)
		return FAILED;
	return 0;
}

/* The name, which does not depend on the architecture; null for none. */
static int set_errno(json_t *object, const char *key, int err)
{
	return err != 0 && strerrorname_np(err) == NULL
		       ? sp_json_set_number(object, key, err)
		       : sp_json_set_text(object, key, err == 0 ? NULL : strerrorname_np(err));
}

int log_json_set_time(json_t *object, const char *key, int64_t nanoseconds)
{
	time_t seconds = nanoseconds / 1000000000;
	struct tm utc;
	char text[64], whole[96];

	if (nanoseconds == 0)
		return sp_json_set_text(object, key, NULL);
	if (gmtime_r(&seconds, &utc) == NULL || strftime(text, sizeof text, "%FT%T", &utc) == 0)
		return sp_json_set_number(object, key, nanoseconds);
	(void)snprintf(whole, sizeof whole, "%s.%09dZ", text, (int)(nanoseconds % 1000000000));
	return sp_json_set_text(object, key, whole);
}

int log_json_set_status(json_t *object, int64_t ended, int status)
{
	bool exited = ended != 0 && WIFEXITED(status), signalled = ended != 0 && WIFSIGNALED(status);

	if (json_object_set_new(object, "exit", exited ? json_integer(WEXITSTATUS(status)) : json_null()) < 0)
		return -ENOMEM;
	return json_object_set_new(object, "signal", signalled ? json_integer(WTERMSIG(status)) : json_null()) < 0
		       ? -ENOMEM
		       : 0;
}

int log_json_fail(struct sp_error *e)
{
	return sp_fail(e, ENOMEM, "out of memory for JSON");
}
