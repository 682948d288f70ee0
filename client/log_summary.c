/* sallyport log --summary: a job in figures, and which rules refused how often. */
#include "launch/outcome.h"
#include "log.h"
#include "util/cleanup.h"
#include "util/json.h"
#include "util/printable.h"

#include <inttypes.h>
#include <string.h>

#define COMMAND_BYTES 200

static int print_job(void *data, const struct sp_log_job *job);
static int print_launch(void *data, const struct sp_audit_launch *launch);
static int set_launch(void *data, const struct sp_audit_launch *launch);
static int print_rule(void *data, const char *rule, const char *reason, int64_t count);
static int set_job(void *data, const struct sp_log_job *job);
static int add_rule(void *data, const char *rule, const char *reason, int64_t count);
static int text(const struct log_view *view, const struct sp_log_counts *counts, struct sp_error *e);
static int json(const struct log_view *view, const struct sp_log_counts *counts, struct sp_error *e);

int log_summary(const struct log_view *view, struct sp_error *e)
{
	struct sp_log_counts counts;

	int ret = sp_query_counts(view->query, view->job, &counts, e);
	if (ret < 0)
		return ret;
	return view->json ? json(view, &counts, e) : text(view, &counts, e);
}

static int text(const struct log_view *view, const struct sp_log_counts *counts, struct sp_error *e)
{
	int ret = view->job != 0 ? sp_query_job(view->query, view->job, print_job, NULL, e) : 0;

	if (ret == 0 && view->job != 0)
		ret = sp_query_launch(view->query, view->job, print_launch, NULL, e);
	if (ret < 0)
		return ret;
	printf("processes   %" PRId64 "\n", counts->processes);
	printf("execs       %" PRId64 ": %" PRId64 " allowed, %" PRId64 " denied, %" PRId64 " killed", counts->execs,
	       counts->allow, counts->deny, counts->kill);
	if (counts->ask > 0)
		printf(", %" PRId64 " asked", counts->ask);
	printf("\nresults     %" PRId64 " ran, %" PRId64 " failed in the kernel", counts->execed, counts->failed);
	const struct {
		int64_t count;
		const char *what;
	} rare[] = {
		{counts->mismatched, "killed as not what had been approved"},
		{counts->vanished, "died meanwhile"},
		{counts->restarted, "restarted by a signal"},
		{counts->pending, "without a result"},
	};
	for (size_t i = 0; i < sizeof rare / sizeof *rare; i++)
		if (rare[i].count > 0)
			printf(", %" PRId64 " %s", rare[i].count, rare[i].what);
	putchar('\n');
	return sp_query_rules(view->query, view->job, print_rule, NULL, e);
}

static void print_text(const char *label, const char *value)
{
	fputs(label, stdout);
	if (value != NULL)
		sp_print_safe(stdout, value, strlen(value));
}

static int print_job(void *data, const struct sp_log_job *job)
{
	(void)data;
	printf("job %-7" PRId64 " ", job->number);
	sp_print_argv(stdout, job->argv.data, job->argv.size, COMMAND_BYTES);
	fputs("\nstarted     ", stdout);
	log_print_time(job->started);
	print_text("  in ", "");
	sp_print_argument(stdout, job->cwd.data, job->cwd.size);
	printf("  by uid %u, supervisor %d\n", job->uid, job->supervisor);
	fputs("ended       ", stdout);
	if (job->ended != 0) {
		log_print_status(job->ended, job->status);
		printf("  after %.3f s\n", (double)(job->ended - job->started) / 1e9);
	} else {
		fputs("no end recorded: it is running, or its supervisor was killed\n", stdout);
	}
	print_text("policy      ", job->policy);
	print_text("  ", job->policy_file);
	print_text("  tracking ", job->tracking);
	putchar('\n');
	return 0;
}

/* The level, and what is missing to a higher one. */
static int print_launch(void *data, const struct sp_audit_launch *launch)
{
	struct sp_launch_outcome outcome;

	(void)data;
	print_text("launch      ", launch->level);
	if (sp_launch_record_decode(launch->record.data, launch->record.size, &outcome) != 0) {
		puts("  (its record cannot be read)");
		return 0;
	}
	for (enum sp_stage s = 0; s < SP_STAGES; s++)
		if (outcome.stage[s].state == SP_STAGE_FAILED)
			printf("  %s: %s", sp_stage_name(s), strerrorname_np(outcome.stage[s].err));
	putchar('\n');
	return 0;
}

static int print_rule(void *data, const char *rule, const char *reason, int64_t count)
{
	(void)data;
	printf("refused     %" PRId64 " by ", count);
	print_text("", rule != NULL ? rule : "?");
	if (reason != NULL)
		print_text(": ", reason);
	putchar('\n');
	return 0;
}

static void release(json_t **value)
{
	json_decref(*value);
}

static int json(const struct log_view *view, const struct sp_log_counts *counts, struct sp_error *e)
{
	sp_cleanup(release) json_t *object = json_object();
	json_t *rules = json_array();
	const struct {
		const char *key;
		int64_t count;
	} numbers[] = {
		{"processes", counts->processes}, {"execs", counts->execs},
		{"allow", counts->allow},         {"ask", counts->ask},
		{"deny", counts->deny},           {"kill", counts->kill},
		{"execed", counts->execed},       {"failed", counts->failed},
		{"restarted", counts->restarted}, {"vanished", counts->vanished},
		{"pending", counts->pending},     {"mismatched", counts->mismatched},
	};

	int ret = view->job != 0 ? sp_query_job(view->query, view->job, set_job, object, e) : 0;
	if (ret == 0 && view->job != 0)
		ret = sp_query_launch(view->query, view->job, set_launch, object, e);
	for (size_t i = 0; ret == 0 && i < sizeof numbers / sizeof *numbers; i++)
		ret = sp_json_set_number(object, numbers[i].key, numbers[i].count) < 0;
	if (json_object_set_new(object, "refused_by", rules) < 0)
		ret = ret == 0 ? 1 : ret;
	if (ret == 0)
		ret = sp_query_rules(view->query, view->job, add_rule, rules, e);
	if (ret == 0)
		ret = sp_json_print(stdout, object) == -ENOMEM;
	return ret > 0 ? log_json_fail(e) : ret;
}

static int set_job(void *data, const struct sp_log_job *job)
{
	json_t *object = data;
	char digest[24];

	(void)snprintf(digest, sizeof digest, "%016" PRIx64, job->policy_digest);
	return sp_json_set_number(object, "job", job->number) < 0 ||
	       log_json_set_time(object, "started", job->started) < 0 ||
	       log_json_set_time(object, "ended", job->ended) < 0 ||
	       log_json_set_status(object, job->ended, job->status) < 0 ||
	       sp_json_set_number(object, "supervisor", job->supervisor) < 0 ||
	       sp_json_set_number(object, "uid", job->uid) < 0 || sp_json_set_text(object, "policy", job->policy) < 0 ||
	       sp_json_set_text(object, "policy_file", job->policy_file) < 0 ||
	       sp_json_set_text(object, "policy_digest", digest) < 0 ||
	       sp_json_set_text(object, "tracking", job->tracking) < 0 ||
	       sp_json_set_bytes(object, "cwd", job->cwd.data, job->cwd.size) < 0 ||
	       sp_json_set_strings(object, "argv", job->argv.data, job->argv.size) < 0;
}

static int set_launch(void *data, const struct sp_audit_launch *launch)
{
	json_t *object = json_object(), *stages = json_object();
	struct sp_launch_outcome outcome;
	bool failed = json_object_set_new(data, "launch", object) < 0 ||
		      sp_json_set_text(object, "level", launch->level) < 0 ||
		      json_object_set_new(object, "stages", stages) < 0;

	if (sp_launch_record_decode(launch->record.data, launch->record.size, &outcome) != 0)
		return failed;
	for (enum sp_stage s = 0; !failed && s < SP_STAGES; s++)
		if (outcome.stage[s].state != SP_STAGE_SKIPPED)
			failed = sp_json_set_text(stages, sp_stage_name(s),
						  outcome.stage[s].state == SP_STAGE_APPLIED
							  ? "applied"
							  : strerrorname_np(outcome.stage[s].err)) < 0;
	return failed;
}

static int add_rule(void *data, const char *rule, const char *reason, int64_t count)
{
	json_t *array = data, *object = json_object();

	return json_array_append_new(array, object) < 0 || sp_json_set_text(object, "rule", rule) < 0 ||
	       sp_json_set_text(object, "reason", reason) < 0 || sp_json_set_number(object, "count", count) < 0;
}
