/* sallyport top: the jobs that run, live, with the rate of their execs and how long decisions take. */
#include "client.h"
#include "colour.h"
#include "figures.h"
#include "screen.h"
#include "supervisors.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/json.h"
#include "util/printable.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

enum { ANSWER_WITHIN = 300 /* milliseconds: who is stopped must not stop the others' rows */, COMMAND_BYTES = 200 };

static const char usage[] = "Usage: sallyport top [--interval SECONDS] [--count N] [--json]\n"
			    "Shows the jobs that run, busiest first: processes, execs, what was refused, and how long "
			    "decisions took, all since the\n"
			    "last look. On a terminal it goes on until q is pressed.\n"
			    "\n"
			    "      --interval SECONDS   between two looks (default: 1)\n"
			    "      --count N            looks (default: 1 where the output is no terminal)\n"
			    "      --json               one JSON object a line for each look\n"
			    "      --help               this text\n";

struct options {
	double interval;
	long count; /* 0: without an end */
	bool json;
};

struct row {
	char id[SP_JOB_ID];
	json_t *job;
	struct sp_figures now, since; /* all, and since the last look */
	double rate, denied_rate; /* a second */
};

struct look {
	struct row *rows;
	size_t count;
	int64_t time; /* CLOCK_REALTIME, ns */
	unsigned silent; /* supervisors that did not answer */
};

static void release_look(struct look *look)
{
	for (size_t i = 0; i < look->count; i++)
		json_decref(look->rows[i].job);
	free(look->rows);
	*look = (struct look){0};
}

static json_int_t number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static const char *text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value != NULL ? value : "";
}

/* --- looking --- */

static void add_row(struct look *look, const json_t *reply)
{
	json_t *job = json_object_get(reply, "job");
	struct row *grown = reallocarray(look->rows, look->count + 1, sizeof *grown);

	if (grown == NULL)
		return;
	look->rows = grown;
	struct row *row = &look->rows[look->count++];
	*row = (struct row){.job = json_incref(job)};
	(void)snprintf(row->id, sizeof row->id, "%s", text(job, "job"));
	sp_figures_read(&row->now, reply);
}

static bool look_at(struct sp_supervisor *s, void *data)
{
	struct look *look = data;
	cleanup_reply struct sp_reply list;
	size_t i;
	const json_t *job;

	s->caller.patience = ANSWER_WITHIN;
	int err = sp_caller_call(&s->caller, "io.sallyport.List", NULL, &list);
	look->silent += err == -ETIMEDOUT;
	json_array_foreach(json_object_get(list.parameters, "jobs"), i, job)
	{
		cleanup_reply struct sp_reply reply;

		if (sp_caller_call(&s->caller, "io.sallyport.Inspect", json_pack("{ss}", "job", text(job, "job")),
				   &reply) == 0 &&
		    reply.error == NULL)
			add_row(look, reply.parameters);
	}
	return true;
}

static const struct row *find_row(const struct look *look, const char *id)
{
	for (size_t i = 0; i < look->count; i++)
		if (strcmp(look->rows[i].id, id) == 0)
			return &look->rows[i];
	return NULL;
}

/* Of a job that was not there before: since its start. */
static void compare(struct row *row, const struct look *look, const struct look *before)
{
	const struct row *then = find_row(before, row->id);
	const double seconds = (double)(look->time - (then != NULL ? before->time : number(row->job, "started"))) / 1e9;

	row->since = row->now;
	if (then != NULL)
		sp_figures_subtract(&row->since, &then->now);
	row->rate = seconds > 0 ? (double)row->since.execs / seconds : 0;
	row->denied_rate = seconds > 0 ? (double)row->since.denied / seconds : 0;
}

static int busiest_first(const void *a, const void *b)
{
	const struct row *first = a, *second = b;
	const json_int_t start = number(first->job, "started"), other = number(second->job, "started");

	if (first->rate != second->rate)
		return first->rate < second->rate ? 1 : -1;
	return (start > other) - (start < other);
}

static struct look take_look(const struct look *before)
{
	struct look look = {.time = sp_now()};

	sp_supervisors_each(look_at, &look);
	for (size_t i = 0; i < look.count; i++)
		compare(&look.rows[i], &look, before);
	if (look.count > 0)
		qsort(look.rows, look.count, sizeof *look.rows, busiest_first);
	return look;
}

/* --- showing --- */

static void print_clock(int64_t time)
{
	const time_t seconds = (time_t)(time / 1000000000);
	struct tm local;
	char words[16];

	(void)strftime(words, sizeof words, "%H:%M:%S", localtime_r(&seconds, &local));
	(void)fputs(words, stdout);
}

static void print_sum(const struct look *look)
{
	struct sp_figures since = {0};
	double rate = 0, denied = 0;
	json_int_t processes = 0;
	char half[SP_FIGURES_TEXT], most[SP_FIGURES_TEXT];

	for (size_t i = 0; i < look->count; i++) {
		rate += look->rows[i].rate;
		denied += look->rows[i].denied_rate;
		processes += number(look->rows[i].job, "processes");
		sp_figures_add(&since, &look->rows[i].since);
	}
	print_clock(look->time);
	(void)printf("  %zu job%s, %" JSON_INTEGER_FORMAT
		     " processes  %.1f execs/s, %.1f denied/s  p50 %s us, p99 %s us",
		     look->count, look->count == 1 ? "" : "s", processes, rate, denied,
		     sp_figures_quantile(&since, 0.5, half), sp_figures_quantile(&since, 0.99, most));
	if (look->silent > 0)
		(void)printf("  (%u supervisors do not answer)", look->silent);
}

/* The words as NUL-terminated bytes, one after the other. */
static char *join(const json_t *words, size_t *size)
{
	size_t i, used = 0;
	const json_t *word;
	char *bytes;

	*size = 0;
	json_array_foreach(words, i, word)
	{
		*size += json_string_length(word) + 1;
	}
	bytes = malloc(*size + 1);
	json_array_foreach(words, i, word)
	{
		if (bytes != NULL)
			memcpy(bytes + used, json_string_value(word), json_string_length(word) + 1);
		used += json_string_length(word) + 1;
	}
	return bytes;
}

static const char head[] =
	"JOB                PROCS     EXECS   EXEC/S   DENIED   FAILED   P50 us   P99 us  STATE    COMMAND";
enum { BEFORE_COMMAND = sizeof head - sizeof "COMMAND" };

static void print_row(const struct row *row, unsigned width)
{
	char half[SP_FIGURES_TEXT], most[SP_FIGURES_TEXT];
	size_t size;
	cleanup_free char *command = join(json_object_get(row->job, "command"), &size);
	/* The terminal cuts what is too long. */
	const size_t room = width > BEFORE_COMMAND + 10 ? width - BEFORE_COMMAND : width > 0 ? 10 : COMMAND_BYTES;

	(void)printf(
		"%-16s  %6" JSON_INTEGER_FORMAT "  %8" PRIu64 "  %7.1f  %7" PRIu64 "  %7" PRIu64 "  %7s  %7s  %-7s  ",
		row->id, number(row->job, "processes"), row->now.execs, row->rate, row->now.denied, row->now.failed,
		sp_figures_quantile(&row->since, 0.5, half), sp_figures_quantile(&row->since, 0.99, most),
		json_is_true(json_object_get(row->job, "frozen")) ? "frozen" : "runs");
	if (command != NULL)
		sp_print_argv(stdout, command, size, room);
}

static void print_text(const struct look *look, struct sp_screen *screen, bool colour)
{
	const unsigned lines = sp_screen_lines(screen), width = sp_screen_columns(screen);

	sp_screen_begin(screen);
	print_sum(look);
	sp_screen_line(screen);
	sp_start_colour(colour, SP_BOLD);
	(void)fputs(head, stdout);
	sp_end_colour(colour, SP_BOLD);
	sp_screen_line(screen);
	for (size_t i = 0; i < look->count && (lines == 0 || i + 3 < lines); i++) {
		print_row(&look->rows[i], width);
		sp_screen_line(screen);
	}
	sp_screen_end(screen);
}

static void print_json(const struct look *look)
{
	json_t *object = json_object(), *jobs = json_array();

	for (size_t i = 0; i < look->count; i++) {
		const struct row *row = &look->rows[i];

		(void)json_array_append_new(
			jobs, json_pack("{sO sI sI sI sf sf}", "job", row->job, "execs", (json_int_t)row->now.execs,
					"denied", (json_int_t)row->now.denied, "failed", (json_int_t)row->now.failed,
					"execs_per_second", row->rate, "denied_per_second", row->denied_rate));
	}
	(void)sp_json_set_number(object, "time", look->time);
	(void)json_object_set_new(object, "jobs", jobs);
	(void)sp_json_print(stdout, object);
	json_decref(object);
}

static int watch(const struct options *o)
{
	sp_cleanup(sp_screen_leave) struct sp_screen screen = {0};
	sp_cleanup(release_look) struct look before = {0};
	const bool colour = sp_use_colour();
	const bool live = !o->json && o->count == 0;

	if (live && sp_screen_enter(&screen) != 0)
		return SP_EXIT_FAILURE;
	for (long i = 0; o->count == 0 || i < o->count; i++) {
		if (i > 0 && !sp_screen_wait(&screen, (int)(o->interval * 1000)))
			break;
		struct look look = take_look(&before);
		if (o->json)
			print_json(&look);
		else
			print_text(&look, &screen, colour);
		(void)fflush(stdout);
		release_look(&before);
		before = look;
	}
	return 0;
}

/* --- the command line --- */

int sp_cmd_top(int argc, char **argv)
{
	enum { INTERVAL = 256, COUNT, JSON };
	static const struct option options[] = {
		{"interval", required_argument, NULL, INTERVAL},
		{"count", required_argument, NULL, COUNT},
		{"json", no_argument, NULL, JSON},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct options o = {.interval = 1, .count = sp_is_terminal() ? 0 : 1};
	char *end = NULL;
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		switch (c) {
		case INTERVAL:
			o.interval = strtod(optarg, &end);
			if (end == optarg || *end != '\0' || !(o.interval >= 0.05 && o.interval <= 86400))
				return sp_refuse_word("top", "--interval: expected seconds, 0.05 or more, not", optarg);
			break;
		case COUNT:
			o.count = strtol(optarg, &end, 10);
			if (end == optarg || *end != '\0' || o.count < 1)
				return sp_refuse_word("top", "--count: expected a number, not", optarg);
			break;
		case JSON:
			o.json = true;
			break;
		case 'h':
			return fputs(usage, stdout) < 0 ? SP_EXIT_FAILURE : 0;
		default:
			return sp_refuse_word("top", c == ':' ? "a value is missing after" : "unknown option",
					      argv[optind - 1]);
		}
	}
	return optind < argc ? sp_refuse_word("top", "unknown argument", argv[optind]) : watch(&o);
}
