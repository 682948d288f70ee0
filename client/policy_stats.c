/* sallyport policy stats: how often each rule of a job's policy has decided, and when last; and which never did. */
#include "audit/query.h"
#include "client.h"
#include "policy/policy.h"
#include "policy_commands.h"
#include "util/cleanup.h"
#include "util/json.h"
#include "util/printable.h"

#include <getopt.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

static const char usage[] =
	"Usage: sallyport policy stats [OPTION]... [JOB]\n"
	"How often each rule has decided in JOB, and when last, for each generation of its policy.\n"
	"Rules that never did are listed, too, where the policy's file is still what it was.\n"
	"\n"
	"JOB is a number as `sallyport log` shows it, or `last` (default). Of a job that runs, all but the last "
	"second.\n"
	"\n"
	"      --json         one JSON object a line for each rule\n"
	"      --audit FILE   the audit database (default: $XDG_STATE_HOME/sallyport/audit.db)\n"
	"  -h, --help         this text\n"
	"\n"
	"Exit status: 0; 125 if there is no such job, or nothing could be read.\n";

struct stats {
	const char *job, *audit;
	bool json;
	int64_t number;
	uint64_t generation; /* shown last; 0: none */
	struct sp_policy *policy; /* of that generation, if its file is the same; NULL: it is not known */
	size_t next; /* rule of it that was not shown */
};

static int fail(const char *text)
{
	(void)fputs("sallyport policy stats: ", stderr);
	sp_print_safe(stderr, text, strlen(text));
	(void)fputc('\n', stderr);
	return SP_EXIT_FAILURE;
}

static void tell(void *data, const char *sentence)
{
	(void)data;
	(void)fail(sentence);
}

/* ---- one rule ---- */

static int print_json(const struct stats *s, const struct sp_log_rule *rule)
{
	json_t *object = json_object();
	int err = sp_json_set_number(object, "job", s->number);

	if (err == 0)
		err = sp_json_set_number(object, "generation", (json_int_t)rule->generation);
	if (err == 0)
		err = sp_json_set_bytes(object, "rule", rule->rule, strlen(rule->rule));
	if (err == 0)
		err = sp_json_set_text(object, "action", sp_action_name((enum sp_action)rule->action));
	if (err == 0)
		err = sp_json_set_number(object, "hits", (json_int_t)rule->hits);
	if (err == 0)
		err = rule->last != 0 ? sp_json_set_number(object, "last", rule->last)
				      : sp_json_set_text(object, "last", NULL);
	if (err == 0)
		err = sp_json_print(stdout, object);
	json_decref(object);
	return err;
}

static int print_rule(const struct stats *s, const struct sp_log_rule *rule)
{
	const time_t seconds = (time_t)(rule->last / 1000000000);
	struct tm local;
	char when[32] = "never";

	if (s->json)
		return print_json(s, rule);
	if (rule->last != 0)
		(void)strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", localtime_r(&seconds, &local));
	(void)printf("%10" PRIu64 "  %-19s  %-5s  ", rule->hits, when, sp_action_name((enum sp_action)rule->action));
	sp_print_safe(stdout, rule->rule, strlen(rule->rule));
	(void)putchar('\n');
	return 0;
}

/* ---- one generation ---- */

/* Rules that never decided, up to that one. */
static int print_silent(struct stats *s, size_t until)
{
	const size_t count = s->policy != NULL ? sp_policy_rule_count(s->policy) : 0;
	int err = 0;

	for (; err == 0 && s->next < until && s->next < count; s->next++) {
		const struct sp_log_rule rule = {
			.generation = s->generation,
			.rule = sp_policy_rule_id(s->policy, s->next),
			.action = (int)sp_policy_rule_action(s->policy, s->next),
		};
		err = print_rule(s, &rule);
	}
	s->next = until < SIZE_MAX ? until + 1 : until;
	return err;
}

static int end_generation(struct stats *s)
{
	int err = s->generation != 0 ? print_silent(s, SIZE_MAX) : 0;

	sp_policy_free(s->policy);
	s->policy = NULL;
	s->next = 0;
	return err;
}

/* Not if it has been changed: its rules were others then. */
static void find_policy(struct stats *s, const struct sp_log_rule *rule)
{
	const bool builtin = rule->policy_file != NULL && rule->policy_file[0] == '(';

	if (rule->policy_file == NULL ||
	    sp_policy_load(builtin ? NULL : rule->policy_file, &s->policy, &(struct sp_error){0}) != 0)
		s->policy = NULL;
	if (s->policy != NULL && sp_policy_digest(s->policy) != rule->policy_digest) {
		sp_policy_free(s->policy);
		s->policy = NULL;
	}
}

static int begin_generation(struct stats *s, const struct sp_log_rule *rule)
{
	int err = end_generation(s);

	s->generation = rule->generation;
	find_policy(s, rule);
	if (s->json || err != 0)
		return err;
	(void)printf("%sjob %" PRId64 ", generation %" PRIu64 ": ", rule->generation > 1 ? "\n" : "", s->number,
		     rule->generation);
	if (rule->policy != NULL)
		sp_print_safe(stdout, rule->policy, strlen(rule->policy));
	(void)fputs("  ", stdout);
	if (rule->policy_file != NULL)
		sp_print_safe(stdout, rule->policy_file, strlen(rule->policy_file));
	(void)puts(s->policy != NULL ? "" : "  (changed since: rules that never decided are not known)");
	(void)printf("%10s  %-19s  %-5s  RULE\n", "HITS", "LAST", "DOES");
	return 0;
}

static int visit(void *data, const struct sp_log_rule *rule)
{
	struct stats *s = data;
	int err = rule->generation != s->generation ? begin_generation(s, rule) : 0;

	if (err == 0 && rule->rule != NULL)
		err = print_silent(s, rule->number);
	return err == 0 && rule->rule != NULL ? print_rule(s, rule) : err;
}

/* ---- the command ---- */

static int ignore_job(void *data, const struct sp_log_job *job)
{
	(void)data;
	(void)job;
	return 0;
}

static int choose_job(struct stats *s, struct sp_query *query, struct sp_error *e)
{
	char *end;

	if (s->job == NULL || strcmp(s->job, "last") == 0) {
		s->number = sp_query_last_job(query, e);
		return s->number < 0    ? (int)s->number
		       : s->number == 0 ? sp_fail(e, ENOENT, "no job was recorded yet")
					: 0;
	}
	s->number = strtoll(s->job, &end, 10);
	if (s->number <= 0 || *end != '\0')
		return sp_fail(e, EINVAL, "expected a job's number or `last`, not %.60s", s->job);
	return sp_query_job(query, s->number, ignore_job, NULL, e);
}

static int show(struct stats *s, struct sp_error *e)
{
	cleanup_query struct sp_query *query = NULL;

	int ret = sp_query_open(s->audit, tell, NULL, &query, e);
	if (ret == 0)
		ret = choose_job(s, query, e);
	if (ret == 0)
		ret = sp_query_hits(query, s->number, visit, s, e);
	if (ret == 0)
		ret = end_generation(s);
	return ret;
}

/* The exit status, or -1 to go on. */
static int parse(int argc, char **argv, struct stats *s)
{
	enum { JSON = 256, AUDIT };
	static const struct option table[] = {
		{"json", no_argument, NULL, JSON},
		{"audit", required_argument, NULL, AUDIT},
		{"help", no_argument, NULL, 'h'},
		{0},
	};

	argv[0] = (char *)"sallyport policy stats"; /* who complains */
	optind = 0;
	for (int option; (option = getopt_long(argc, argv, "h", table, NULL)) >= 0;) {
		switch (option) {
		case JSON:
			s->json = true;
			break;
		case AUDIT:
			s->audit = optarg;
			break;
		case 'h':
			return fputs(usage, stdout) < 0 ? SP_EXIT_FAILURE : 0;
		default:
			return SP_EXIT_FAILURE;
		}
	}
	if (argc - optind > 1)
		return fail("expected one job; `sallyport policy stats --help` says more");
	s->job = argv[optind];
	return -1;
}

int policy_stats(int argc, char **argv)
{
	struct stats s = {0};
	struct sp_error e = {0};

	const int status = parse(argc, argv, &s);
	if (status >= 0)
		return status;
	if (show(&s, &e) != 0)
		return fail(e.text[0] != '\0' ? e.text : "out of memory");
	return 0;
}
