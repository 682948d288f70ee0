/* sallyport policy replay: recorded execs judged again by another policy, and what that would have changed.
 *
 * Nothing is run. What an exec that is refused would have started is judged all the same: the record has it. */
#include "client.h"
#include "policy/push.h"
#include "policy_commands.h"
#include "review/recorded.h"
#include "util/cleanup.h"
#include "util/json.h"
#include "util/printable.h"
#include "when.h"

#include <getopt.h>
#include <inttypes.h>
#include <string.h>

#define EXIT_CHANGES 1
#define COMMAND_BYTES 150

static const char usage[] =
	"Usage: sallyport policy replay FILE [OPTION]...\n"
	"Judges recorded execs again by the policy FILE and tells what it would have changed.\n"
	"\n"
	"  -j, --job JOB      the job of this number, `last`, or `all` (default)\n"
	"      --since TIME   only from then on: 2026-11-27, '2026-11-27 08:30', 90s, 30m, 12h, 7d (ago)\n"
	"      --json         as one JSON object\n"
	"      --audit FILE   the audit database (default: $XDG_STATE_HOME/sallyport/audit.db)\n"
	"  -h, --help         this text\n"
	"\n"
	"Exit status: 0 if nothing would have changed, 1 if something would, 125 if replay itself failed.\n";

enum { SINCE = 256, JSON, AUDIT };

/* What became of execs that changed in the same way. */
struct change {
	enum sp_action before, after;
	int err_before, err_after;
	char *rule_before, *rule_after;
	char *example; /* of the first: a command line */
	int64_t job, count;
};

struct replay {
	const char *file, *job, *audit;
	int64_t since; /* ns; 0: all */
	bool json;
	struct sp_policy *policy;
	struct sp_recorded recorded;
	struct change *changes;
	size_t change_count;
	int64_t judged, changed, skipped, gaps;
	const char *gap; /* why those of the gaps may be judged wrongly */
};

static int fail(const char *text)
{
	(void)fputs("sallyport policy replay: ", stderr);
	sp_print_safe(stderr, text, strlen(text));
	(void)fputc('\n', stderr);
	return SP_EXIT_FAILURE;
}

/* The exit status, or -1 to go on. */
static int parse(int argc, char **argv, struct replay *replay)
{
	static const struct option table[] = {
		{"job", required_argument, NULL, 'j'}, {"since", required_argument, NULL, SINCE},
		{"json", no_argument, NULL, JSON},     {"audit", required_argument, NULL, AUDIT},
		{"help", no_argument, NULL, 'h'},      {0},
	};

	argv[0] = (char *)"sallyport policy replay"; /* who complains */
	optind = 0;
	for (int option; (option = getopt_long(argc, argv, "j:h", table, NULL)) >= 0;) {
		switch (option) {
		case 'j':
			replay->job = optarg;
			break;
		case SINCE:
			if (!sp_parse_time(optarg, &replay->since))
				return fail("--since takes a time (2026-11-27 08:30) or an age (30m, 12h, 7d)");
			break;
		case JSON:
			replay->json = true;
			break;
		case AUDIT:
			replay->audit = optarg;
			break;
		case 'h':
			(void)fputs(usage, stdout);
			return 0;
		default:
			return SP_EXIT_FAILURE;
		}
	}
	if (argc - optind != 1)
		return fail("expected one policy file; `sallyport policy replay --help` says more");
	replay->file = argv[optind];
	return -1;
}

static void tell(void *data, const char *sentence)
{
	(void)data;
	(void)fail(sentence);
}

static void release(struct replay *replay)
{
	for (size_t i = 0; i < replay->change_count; i++) {
		free(replay->changes[i].rule_before);
		free(replay->changes[i].rule_after);
		free(replay->changes[i].example);
	}
	free(replay->changes);
	sp_recorded_release(&replay->recorded);
	sp_policy_free(replay->policy);
}

/* ---- Judging ---- */

static bool is_same(const struct change *a, const struct change *b)
{
	return a->before == b->before && a->after == b->after && a->err_before == b->err_before &&
	       a->err_after == b->err_after && strcmp(a->rule_before, b->rule_before) == 0 &&
	       strcmp(a->rule_after, b->rule_after) == 0;
}

static char *command_line(const struct sp_log_exec *exec)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (out == NULL)
		return NULL;
	sp_print_argv(out, exec->resolved.data, exec->resolved.size, COMMAND_BYTES);
	const size_t first = exec->argv.size > 0 ? strnlen(exec->argv.data, exec->argv.size) + 1 : 0;
	if (exec->argv.size > first) {
		(void)fputc(' ', out);
		sp_print_argv(out, exec->argv.data + first, exec->argv.size - first, COMMAND_BYTES);
	}
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

static int add_change(struct replay *replay, const struct change *change, const struct sp_log_exec *exec)
{
	for (size_t i = 0; i < replay->change_count; i++) {
		if (is_same(&replay->changes[i], change)) {
			replay->changes[i].count++;
			return 0;
		}
	}
	struct change added = *change;
	added.rule_before = strdup(change->rule_before);
	added.rule_after = strdup(change->rule_after);
	added.example = command_line(exec);
	added.job = exec->job;
	added.count = 1;
	if (added.rule_before != NULL && added.rule_after != NULL && added.example != NULL &&
	    sp_push(replay->changes, replay->change_count, added))
		return 0;
	free(added.rule_before);
	free(added.rule_after);
	free(added.example);
	return 1;
}

static int judge(void *data, const struct sp_log_exec *exec)
{
	struct replay *replay = data;
	struct sp_decision decision;

	if (exec->time < replay->since)
		return 0;
	if (!sp_recorded_was_judged(exec)) {
		replay->skipped++;
		return 0;
	}
	const char *gap = sp_recorded_gap(replay->policy, exec);
	replay->gaps += gap != NULL;
	replay->gap = gap != NULL ? gap : replay->gap;
	if (sp_recorded_set(&replay->recorded, exec) < 0)
		return 1;
	sp_recorded_decide(replay->policy, &replay->recorded, &decision);
	replay->judged++;
	const struct change change = {
		.before = (enum sp_action)exec->action,
		.after = decision.action,
		.err_before = exec->action == SP_DENY ? exec->err : 0,
		.err_after = decision.action == SP_DENY ? decision.err : 0,
		.rule_before = (char *)(exec->rule != NULL ? exec->rule : "?"),
		.rule_after = (char *)decision.rule,
	};
	if (change.before == change.after && change.err_before == change.err_after)
		return 0;
	replay->changed++;
	return add_change(replay, &change, exec);
}

/* ---- Telling ---- */

static int compare_changes(const void *left, const void *right)
{
	const struct change *a = left, *b = right;

	if (a->after != b->after)
		return b->after > a->after ? 1 : -1;
	if (a->count != b->count)
		return b->count > a->count ? 1 : -1;
	const int order = strcmp(a->rule_after, b->rule_after);
	return order != 0 ? order : strcmp(a->rule_before, b->rule_before);
}

static void print_action(enum sp_action action, int err, const char *rule)
{
	(void)fputs(sp_action_name(action), stdout);
	if (err != 0)
		(void)printf(" %s", strerrorname_np(err) != NULL ? strerrorname_np(err) : "?");
	(void)fputs(" by ", stdout);
	sp_print_safe(stdout, rule, strlen(rule));
}

static void print_text(const struct replay *replay)
{
	for (size_t i = 0; i < replay->change_count; i++) {
		const struct change *change = &replay->changes[i];
		(void)printf("%6" PRId64 "  ", change->count);
		print_action(change->before, change->err_before, change->rule_before);
		(void)fputs("  ->  ", stdout);
		print_action(change->after, change->err_after, change->rule_after);
		(void)printf("\n        such as, in job %" PRId64 ": %s\n", change->job, change->example);
	}
	(void)printf("%" PRId64 " execs judged again, %" PRId64 " would be decided otherwise", replay->judged,
		     replay->changed);
	if (replay->skipped > 0)
		(void)printf("; %" PRId64 " were decided without a policy", replay->skipped);
	(void)putchar('\n');
	if (replay->gaps > 0)
		(void)printf("%" PRId64 " of them may be judged wrongly: %s\n", replay->gaps, replay->gap);
}

static int set_decision(json_t *object, const char *key, enum sp_action action, int err, const char *rule)
{
	json_t *decision = json_object();

	if (json_object_set_new(object, key, decision) < 0 ||
	    sp_json_set_text(decision, "action", sp_action_name(action)) < 0 ||
	    sp_json_set_text(decision, "errno", err != 0 ? strerrorname_np(err) : NULL) < 0)
		return -ENOMEM;
	return sp_json_set_bytes(decision, "rule", rule, strlen(rule));
}

static void drop(json_t **value)
{
	json_decref(*value);
}

static int print_json(const struct replay *replay)
{
	sp_cleanup(drop) json_t *object = json_object();
	json_t *changes = json_array();
	int ret = 0;

	if (sp_json_set_text(object, "policy", sp_policy_file(replay->policy)) < 0 ||
	    sp_json_set_number(object, "judged", replay->judged) < 0 ||
	    sp_json_set_number(object, "changed", replay->changed) < 0 ||
	    sp_json_set_number(object, "skipped", replay->skipped) < 0 ||
	    sp_json_set_number(object, "uncertain", replay->gaps) < 0 ||
	    sp_json_set_text(object, "uncertain_why", replay->gap) < 0 ||
	    json_object_set_new(object, "changes", changes) < 0)
		return -ENOMEM;
	for (size_t i = 0; ret == 0 && i < replay->change_count; i++) {
		const struct change *change = &replay->changes[i];
		json_t *item = json_object();
		if (json_array_append_new(changes, item) < 0 || sp_json_set_number(item, "count", change->count) < 0 ||
		    set_decision(item, "before", change->before, change->err_before, change->rule_before) < 0 ||
		    set_decision(item, "after", change->after, change->err_after, change->rule_after) < 0 ||
		    sp_json_set_number(item, "job", change->job) < 0 ||
		    sp_json_set_text(item, "example", change->example) < 0)
			ret = -ENOMEM;
	}
	return ret == 0 && sp_json_print(stdout, object) != -ENOMEM ? 0 : -ENOMEM;
}

static int choose_job(const struct replay *replay, struct sp_query *query, int64_t *job, struct sp_error *e)
{
	char *end;

	*job = 0;
	if (replay->job == NULL || strcmp(replay->job, "all") == 0)
		return 0;
	if (strcmp(replay->job, "last") == 0) {
		*job = sp_query_last_job(query, e);
		return *job < 0 ? (int)*job : *job == 0 ? sp_fail(e, ENOENT, "no job was recorded yet") : 0;
	}
	*job = strtoll(replay->job, &end, 10);
	if (*job <= 0 || *end != '\0')
		return sp_fail(e, EINVAL, "--job takes a job's number, `last` or `all`, not %.60s", replay->job);
	return 0;
}

static int ignore_job(void *data, const struct sp_log_job *job)
{
	(void)data;
	(void)job;
	return 0;
}

static int run(struct replay *replay, struct sp_error *e)
{
	cleanup_query struct sp_query *query = NULL;
	struct sp_exec_filter filter = {0};

	int ret = sp_policy_load(replay->file, &replay->policy, e);
	if (ret == 0)
		ret = sp_query_open(replay->audit, tell, NULL, &query, e);
	if (ret == 0)
		ret = choose_job(replay, query, &filter.job, e);
	if (ret == 0 && filter.job != 0)
		ret = sp_query_job(query, filter.job, ignore_job, NULL, e);
	if (ret == 0)
		ret = sp_query_execs(query, &filter, judge, replay, e);
	if (ret != 0)
		return ret > 0 ? sp_fail(e, ENOMEM, "out of memory") : ret;
	if (replay->change_count > 1)
		qsort(replay->changes, replay->change_count, sizeof *replay->changes, compare_changes);
	if (!replay->json)
		print_text(replay);
	else if (print_json(replay) < 0)
		return sp_fail(e, ENOMEM, "out of memory");
	return 0;
}

int policy_replay(int argc, char **argv)
{
	sp_cleanup(release) struct replay replay = {0};
	struct sp_error e = {0};

	const int status = parse(argc, argv, &replay);
	if (status >= 0)
		return status;
	if (run(&replay, &e) < 0)
		return fail(e.text);
	return replay.changed > 0 ? EXIT_CHANGES : 0;
}
