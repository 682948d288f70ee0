/* sallyport inspect JOB: everything that its supervisor knows of a job, but for its processes (ps --tree has those). */
#include "client.h"
#include "figures.h"
#include "supervisors.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/json.h"
#include "util/printable.h"

#include <getopt.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

static const char usage[] =
	"Usage: sallyport inspect [--audit FILE] [--json] JOB...\n"
	"Shows what a running job is, what was decided in it, and how long that took.\n"
	"\n"
	"JOB is what `sallyport ps` shows as its id, its number in `sallyport log`, or the process id of its\n"
	"supervisor.\n"
	"\n"
	"      --audit FILE   the audit database (default: $XDG_STATE_HOME/sallyport/audit.db)\n"
	"      --json         one JSON object a line for each job\n"
	"      --help         this text\n"
	"\n"
	"Exit status: 0; 1 if there is no such job; 125 if sallyport itself failed.\n";

static json_int_t number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static void print_text(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (json_is_string(value))
		sp_print_safe(stdout, json_string_value(value), json_string_length(value));
}

static void print_command(const json_t *job)
{
	size_t i;
	const json_t *word;

	(void)printf("job         ");
	print_text(job, "job");
	(void)putchar(' ');
	json_array_foreach(json_object_get(job, "command"), i, word)
	{
		(void)putchar(' ');
		sp_print_argument(stdout, json_string_value(word), json_string_length(word));
	}
	(void)putchar('\n');
}

static void print_start(const json_t *job)
{
	const json_int_t started = number(job, "started");
	const time_t seconds = (time_t)(started / 1000000000);
	struct tm local;
	char words[32];

	(void)strftime(words, sizeof words, "%Y-%m-%d %H:%M:%S", localtime_r(&seconds, &local));
	(void)printf("started     %s, %.1f s ago\n", words, (double)(sp_now() - started) / 1e9);
}

static void print_policy(const json_t *job)
{
	(void)printf("policy      ");
	print_text(job, "policy");
	if (json_is_string(json_object_get(job, "policy_file"))) {
		(void)printf("  ");
		print_text(job, "policy_file");
	}
	(void)printf("  tracking ");
	print_text(job, "tracking");
	(void)putchar('\n');
}

static void print_end(const json_t *status)
{
	if (json_is_integer(json_object_get(status, "signal")))
		(void)printf("command     killed by SIG%s; other processes are left\n",
			     sigabbrev_np((int)number(status, "signal")));
	else if (json_is_object(status))
		(void)printf("command     exit %" JSON_INTEGER_FORMAT "; other processes are left\n",
			     number(status, "exit"));
}

static void print_figures(const json_t *reply, const json_t *job)
{
	struct sp_figures f;
	char half[SP_FIGURES_TEXT], most[SP_FIGURES_TEXT];

	sp_figures_read(&f, reply);
	const uint64_t decisions = sp_figures_decisions(&f);
	(void)printf("processes   %" JSON_INTEGER_FORMAT " alive, %" PRIu64 " ever", number(job, "processes"),
		     f.processes);
	if (f.surplus > 0)
		(void)printf(", %" PRIu64 " killed at birth", f.surplus);
	(void)printf("%s\n", json_is_true(json_object_get(job, "frozen")) ? "; frozen" : "");
	(void)printf("execs       %" PRIu64 ": %" PRIu64 " denied, %" PRIu64 " failed in the kernel, %" PRIu64
		     " mismatches\n",
		     f.execs, f.denied, f.failed, f.mismatches);
	(void)printf("decisions   p50 %s us, p99 %s us, mean %.1f us; %" JSON_INTEGER_FORMAT " in progress\n",
		     sp_figures_quantile(&f, 0.5, half), sp_figures_quantile(&f, 0.99, most),
		     decisions > 0 ? (double)f.latency.total / 1e3 / (double)decisions : 0.0, number(reply, "gates"));
	if (f.audit_failures > 0)
		(void)printf("audit       %" PRIu64 " records could not be written\n", f.audit_failures);
	if (f.illegal > 0)
		(void)printf("illegal     %" PRIu64 " events that must not happen\n", f.illegal);
}

static void print_reply(const json_t *reply)
{
	const json_t *job = json_object_get(reply, "job");

	print_command(job);
	(void)printf("supervisor  %" JSON_INTEGER_FORMAT ", ", number(job, "supervisor"));
	print_text(job, "origin");
	(void)printf("; for uid %" JSON_INTEGER_FORMAT ", root process %" JSON_INTEGER_FORMAT "\n", number(job, "uid"),
		     number(job, "root"));
	print_start(job);
	print_policy(job);
	print_figures(reply, job);
	print_end(json_object_get(reply, "status"));
}

static int inspect(const char *audit, const char *word, bool json)
{
	cleanup_supervisor struct sp_supervisor s;
	cleanup_reply struct sp_reply reply = {0};
	char id[SP_JOB_ID];

	int status = sp_job_find("inspect", audit, word, &s, id);
	if (status == 0)
		status = sp_job_call("inspect", &s, "io.sallyport.Inspect", id, &reply);
	if (status != 0)
		return status;
	if (json)
		(void)sp_json_print(stdout, reply.parameters);
	else
		print_reply(reply.parameters);
	return 0;
}

int sp_cmd_inspect(int argc, char **argv)
{
	enum { AUDIT = 256, JSON };
	static const struct option options[] = {
		{"audit", required_argument, NULL, AUDIT},
		{"json", no_argument, NULL, JSON},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *audit = NULL;
	bool json = false;
	int status = 0, c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		switch (c) {
		case AUDIT:
			audit = optarg;
			break;
		case JSON:
			json = true;
			break;
		case 'h':
			return fputs(usage, stdout) < 0 ? SP_EXIT_FAILURE : 0;
		default:
			return sp_refuse_word("inspect", c == ':' ? "a value is missing after" : "unknown option",
					      argv[optind - 1]);
		}
	}
	if (optind >= argc)
		return sp_refuse_word("inspect", "expected", "JOB");
	for (int first = optind; optind < argc; optind++) {
		if (optind > first && !json)
			(void)putchar('\n');
		int one = inspect(audit, argv[optind], json);
		status = status > one ? status : one;
	}
	return status;
}
