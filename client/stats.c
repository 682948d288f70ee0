/* sallyport stats and sallyport metrics: the figures of all supervisors, for people and for Prometheus. */
#include "client.h"
#include "figures.h"
#include "supervisors.h"
#include "util/cleanup.h"
#include "util/json.h"

#include <inttypes.h>
#include <string.h>

static const char stats_usage[] =
	"Usage: sallyport stats [--json]\n"
	"Shows in figures what all supervisors together do that this user may ask: jobs, processes, execs, decisions.\n"
	"\n"
	"      --json   one JSON object a line for each supervisor\n"
	"      --help   this text\n";

static const char metrics_usage[] =
	"Usage: sallyport metrics\n"
	"Writes the figures of all supervisors that this user may ask, in Prometheus' text format: for the textfile\n"
	"collector of node_exporter, say.\n"
	"\n"
	"      --help   this text\n";

/* One supervisor. */
struct source {
	pid_t pid;
	bool service;
	json_int_t jobs, ended, alive, tasks;
	struct sp_figures figures;
};

struct sources {
	const char *command;
	bool json;
	struct source *each;
	size_t count;
};

static void release(struct sources *s)
{
	free(s->each);
}

static json_int_t number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static bool take(struct sp_supervisor *supervisor, void *data)
{
	struct sources *s = data;
	cleanup_reply struct sp_reply reply = {0};

	if (sp_job_call(s->command, supervisor, "io.sallyport.Stats", NULL, &reply) != 0)
		return true;
	if (s->json) {
		(void)sp_json_print(stdout, reply.parameters);
		return true;
	}
	struct source *grown = reallocarray(s->each, s->count + 1, sizeof *grown);
	if (grown == NULL)
		return false;
	s->each = grown;
	struct source *source = &s->each[s->count++];
	*source = (struct source){
		.pid = supervisor->pid,
		.service = supervisor->service,
		.jobs = number(reply.parameters, "jobs"),
		.ended = number(reply.parameters, "ended"),
		.alive = number(reply.parameters, "processes"),
		.tasks = number(reply.parameters, "tasks"),
	};
	sp_figures_read(&source->figures, reply.parameters);
	return true;
}

/* --- for people --- */

static void print_stats(const struct sources *s)
{
	struct source sum = {0};
	char half[SP_FIGURES_TEXT], most[SP_FIGURES_TEXT];

	for (size_t i = 0; i < s->count; i++) {
		sum.jobs += s->each[i].jobs;
		sum.alive += s->each[i].alive;
		sum.tasks += s->each[i].tasks;
		sp_figures_add(&sum.figures, &s->each[i].figures);
	}
	const struct sp_figures *f = &sum.figures;
	const uint64_t decisions = sp_figures_decisions(f);
	(void)printf("supervisors %zu\n", s->count);
	(void)printf("jobs        %" JSON_INTEGER_FORMAT "\n", sum.jobs);
	(void)printf("processes   %" JSON_INTEGER_FORMAT " alive, %" PRIu64 " ever; %" JSON_INTEGER_FORMAT " threads\n",
		     sum.alive, f->processes, sum.tasks);
	(void)printf("execs       %" PRIu64 ": %" PRIu64 " denied, %" PRIu64 " failed in the kernel, %" PRIu64
		     " mismatches\n",
		     f->execs, f->denied, f->failed, f->mismatches);
	(void)printf("decisions   p50 %s us, p99 %s us, mean %.1f us\n", sp_figures_quantile(f, 0.5, half),
		     sp_figures_quantile(f, 0.99, most),
		     decisions > 0 ? (double)f->latency.total / 1e3 / (double)decisions : 0.0);
	(void)printf("faults      %" PRIu64 " records not written, %" PRIu64 " illegal events\n", f->audit_failures,
		     f->illegal);
}

/* --- for Prometheus: https://prometheus.io/docs/instrumenting/exposition_formats/ --- */

static void print_labels(const struct source *s, const char *bound)
{
	(void)printf("{supervisor=\"%d\",origin=\"%s\"", s->pid, s->service ? "service" : "embedded");
	if (bound != NULL)
		(void)printf(",le=\"%s\"", bound);
	(void)printf("} ");
}

static void head(const char *name, const char *type, const char *help)
{
	(void)printf("# HELP sallyport_%s %s\n# TYPE sallyport_%s %s\n", name, help, name, type);
}

static void print_gauge(const struct sources *s, const char *name, const char *help, size_t offset)
{
	head(name, "gauge", help);
	for (size_t i = 0; i < s->count; i++) {
		(void)printf("sallyport_%s", name);
		print_labels(&s->each[i], NULL);
		(void)printf("%" JSON_INTEGER_FORMAT "\n", *(json_int_t *)((char *)&s->each[i] + offset));
	}
}

static void print_counter(const struct sources *s, const struct sp_figure *figure)
{
	cleanup_free char *name = NULL;

	if (asprintf(&name, "%s_total", figure->name) < 0) {
		name = NULL;
		return;
	}
	head(name, "counter", figure->help);
	for (size_t i = 0; i < s->count; i++) {
		(void)printf("sallyport_%s", name);
		print_labels(&s->each[i], NULL);
		(void)printf("%" PRIu64 "\n", sp_figure_value(&s->each[i].figures, figure));
	}
}

static void print_histogram_of(const struct source *s)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < SP_LATENCY_BUCKETS; i++) {
		char bound[32] = "+Inf";

		sum += s->figures.latency.count[i];
		if (i < SP_LATENCY_BUCKETS - 1)
			(void)snprintf(bound, sizeof bound, "%.6g", (double)((uint64_t)2 << i) / 1e6);
		(void)printf("sallyport_decision_seconds_bucket");
		print_labels(s, bound);
		(void)printf("%" PRIu64 "\n", sum);
	}
	(void)printf("sallyport_decision_seconds_sum");
	print_labels(s, NULL);
	(void)printf("%.9f\n", (double)s->figures.latency.total / 1e9);
	(void)printf("sallyport_decision_seconds_count");
	print_labels(s, NULL);
	(void)printf("%" PRIu64 "\n", sum);
}

static void print_metrics(const struct sources *s)
{
	print_gauge(s, "jobs", "Jobs that run.", offsetof(struct source, jobs));
	print_gauge(s, "processes", "Processes that are alive.", offsetof(struct source, alive));
	print_gauge(s, "tasks", "Threads that are in the index.", offsetof(struct source, tasks));
	head("jobs_ended_total", "counter", "Jobs that have ended.");
	for (size_t i = 0; i < s->count; i++) {
		(void)printf("sallyport_jobs_ended_total");
		print_labels(&s->each[i], NULL);
		(void)printf("%" JSON_INTEGER_FORMAT "\n", s->each[i].ended);
	}
	for (size_t i = 0; i < sp_figure_count; i++) {
		/* There is a gauge of that name. */
		struct sp_figure figure = sp_figure_table[i];

		if (strcmp(figure.name, "processes") == 0)
			figure.name = "processes_started";
		print_counter(s, &figure);
	}
	head("decision_seconds", "histogram", "From the moment an exec was received to its answer.");
	for (size_t i = 0; i < s->count; i++)
		print_histogram_of(&s->each[i]);
}

/* --- the commands --- */

/* -1: go on; otherwise the exit status. */
static int parse(int argc, char **argv, const char *usage, bool *json)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return fputs(usage, stdout) < 0 ? SP_EXIT_FAILURE : 0;
		if (json == NULL || strcmp(argv[i], "--json") != 0)
			return sp_refuse_word(argv[0], "unknown argument", argv[i]);
		*json = true;
	}
	return -1;
}

int sp_cmd_stats(int argc, char **argv)
{
	sp_cleanup(release) struct sources s = {.command = "stats"};

	int parsed = parse(argc, argv, stats_usage, &s.json);
	if (parsed >= 0)
		return parsed;
	sp_supervisors_each(take, &s);
	if (!s.json)
		print_stats(&s);
	return 0;
}

int sp_cmd_metrics(int argc, char **argv)
{
	sp_cleanup(release) struct sources s = {.command = "metrics"};

	int parsed = parse(argc, argv, metrics_usage, NULL);
	if (parsed >= 0)
		return parsed;
	sp_supervisors_each(take, &s);
	print_metrics(&s);
	return 0;
}
