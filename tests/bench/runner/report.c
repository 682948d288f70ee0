/* The tables on paper and in JSON, and what was to be shown. */
#include "bench.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

/* ---- statistics ---- */

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Sorts. */
static struct statistic statistic_of(double *values, size_t count)
{
	qsort(values, count, sizeof(*values), by_size);
	return (struct statistic){
		.median = (values[(count - 1) / 2] + values[count / 2]) / 2,
		.min = values[0],
		.max = values[count - 1],
	};
}

bool summarise(const struct cell *cell, struct statistic *ns)
{
	cleanup_free double *values = calloc(cell->count + 1, sizeof(*values));

	if (values == NULL || cell->missing != NULL || cell->count == 0)
		return false;
	memcpy(values, cell->samples, cell->count * sizeof(*values));
	*ns = statistic_of(values, cell->count);
	return true;
}

bool compare(const struct row *row, enum contestant of, enum contestant to, struct statistic *ratio)
{
	const struct cell *above = &row->cells[of], *below = &row->cells[to];
	size_t count = above->count < below->count ? above->count : below->count;
	cleanup_free double *ratios = calloc(count + 1, sizeof(*ratios));

	if (ratios == NULL || above->missing != NULL || below->missing != NULL || count == 0)
		return false;
	for (size_t i = 0; i < count; i++)
		ratios[i] = above->samples[i] / below->samples[i];
	*ratio = statistic_of(ratios, count);
	return true;
}

/* ---- on paper ---- */

enum { TITLE = 36, CELL = 18 };

static void row_title(const struct row *row, char title[static 64])
{
	if (row->field == NULL || row->workload->fields[1] == NULL)
		(void)snprintf(title, 64, "%s", row->workload->title);
	else
		(void)snprintf(title, 64, "%s: %s", row->workload->title, row->field);
}

static void print_cell(FILE *out, bool known, const struct statistic *s)
{
	char cell[64] = "-";

	if (known)
		(void)snprintf(cell, sizeof(cell), "%.2f %.2f..%.2f", s->median, s->min, s->max);
	fprintf(out, " %*s", CELL, cell);
}

void report_header(FILE *out)
{
	fprintf(out, "Time as a ratio to native: median min..max of the rounds. ours/floor: attached to floor.\n\n");
	fprintf(out, "%-*s %10s", TITLE, "", contestant_names[NATIVE]);
	for (int who = FLOOR; who < CONTESTANTS; who++)
		fprintf(out, " %*s", CELL, contestant_names[who]);
	fprintf(out, " %*s\n", CELL, "ours/floor");
}

void report_row(FILE *out, const struct row *row)
{
	char title[64];
	struct statistic s = {0};

	row_title(row, title);
	fprintf(out, "%-*s", TITLE, title);
	if (summarise(&row->cells[NATIVE], &s))
		fprintf(out, " %7.*f ms", s.median < 1e7 ? 2 : 0, s.median / 1e6);
	else
		fprintf(out, " %10s", "-");
	for (int who = FLOOR; who < CONTESTANTS; who++) {
		bool known = compare(row, (enum contestant)who, NATIVE, &s);

		print_cell(out, known, &s);
	}
	bool known = compare(row, ATTACHED, FLOOR, &s);
	print_cell(out, known, &s);
	fputc('\n', out);
}

static void print_appetite(FILE *out, const struct appetite *a)
{
	char cell[64] = "-";

	if (a->known && a->counted)
		(void)snprintf(cell, sizeof(cell), "%.0f us %.1f %.1f", a->cpu_us, a->switches, a->syscalls);
	else if (a->known)
		(void)snprintf(cell, sizeof(cell), "%.0f us - -", a->cpu_us);
	fprintf(out, " %*s", CELL, cell);
}

static void report_efforts(FILE *out, const struct results *results)
{
	if (results->effort_count == 0)
		return;
	fprintf(out, "\nThe supervisor itself, for one exec: CPU time, context switches, system calls.\n\n%-*s %10s",
		TITLE, "", "execs");
	for (int who = FLOOR; who < CONTESTANTS; who++)
		fprintf(out, " %*s", CELL, contestant_names[who]);
	fputc('\n', out);
	for (size_t i = 0; i < results->effort_count; i++) {
		const struct effort *effort = &results->efforts[i];

		fprintf(out, "%-*s %10lu", TITLE, effort->workload->title, (unsigned long)effort->execs);
		for (int who = FLOOR; who < CONTESTANTS; who++)
			print_appetite(out, &effort->of[who]);
		fputc('\n', out);
	}
}

static void report_missing(FILE *out, const struct results *results)
{
	fputc('\n', out);
	for (int who = 0; who < CONTESTANTS; who++) {
		if (results->absent[who] != NULL) {
			fprintf(out, "%s: %s\n", contestant_names[who], results->absent[who]);
			continue;
		}
		for (size_t i = 0; i < results->row_count; i++)
			if (results->rows[i].cells[who].missing != NULL &&
			    results->rows[i].cells[who].missing[0] != '\0' &&
			    results->rows[i].field == results->rows[i].workload->fields[0])
				fprintf(out, "%s in \"%s\": %s\n", contestant_names[who],
					results->rows[i].workload->title, results->rows[i].cells[who].missing);
	}
}

/* ---- what was to be shown ---- */

struct target {
	const char *what;
	double limit;
	double (*value)(const struct results *results); /* NaN: not measured */
};

static const struct row *find_row(const struct results *results, const char *name)
{
	for (size_t i = 0; i < results->row_count; i++)
		if (strcmp(results->rows[i].workload->name, name) == 0)
			return &results->rows[i];
	return NULL;
}

static double ratio_in(const struct results *results, const char *name, enum contestant to)
{
	const struct row *row = find_row(results, name);
	struct statistic s;

	return row != NULL && compare(row, ATTACHED, to, &s) ? s.median : NAN;
}

static double median_ms(const struct results *results, const char *name, enum contestant who)
{
	const struct row *row = find_row(results, name);
	struct statistic s;

	return row != NULL && summarise(&row->cells[who], &s) ? s.median / 1e6 : NAN;
}

static double execs_to_native(const struct results *r)
{
	return ratio_in(r, "execstorm", NATIVE);
}

static double execs_to_floor(const struct results *r)
{
	return ratio_in(r, "execstorm", FLOOR);
}

static double build_to_native(const struct results *r)
{
	return ratio_in(r, "build", NATIVE);
}

static double configure_to_native(const struct results *r)
{
	return ratio_in(r, "configure", NATIVE);
}

static double idle_1000(const struct results *r)
{
	return median_ms(r, "idle1000", ATTACHED) / median_ms(r, "idle1", ATTACHED);
}

static double idle_10000(const struct results *r)
{
	return median_ms(r, "idle10000", ATTACHED) / median_ms(r, "idle1", ATTACHED);
}

static double freeze_64(const struct results *r)
{
	return ratio_in(r, "spin64", FLOOR);
}

static double start_up(const struct results *r)
{
	return median_ms(r, "startup", ATTACHED) - median_ms(r, "startup", NATIVE);
}

/* The worst row against the best peer: below 1, ours was faster everywhere. */
static double worst_to_peer(const struct results *r)
{
	double worst = NAN;

	for (size_t i = 0; i < r->row_count; i++)
		for (int who = STRACE; who <= BWRAP; who++) {
			struct statistic s;

			if (compare(&r->rows[i], ATTACHED, (enum contestant)who, &s) && !(s.median <= worst))
				worst = s.median;
		}
	return worst;
}

static const struct target targets[] = {
	{"exec storm, to native", 1.25, execs_to_native},
	{"exec storm, to the floor", 1.10, execs_to_floor},
	{"make -j2, to native", 1.03, build_to_native},
	{"configure, to native", 1.10, configure_to_native},
	{"to the peers, worst row", 1.00, worst_to_peer},
	{"execs beside 1,000 idle, to beside 1", 1.10, idle_1000},
	{"execs beside 10,000 idle, to beside 1", 2.00, idle_10000},
	{"exec with 64 spinning, to the floor", 1.50, freeze_64},
	{"run -- true, ms more than native", 3.00, start_up},
};

static const char *verdict(double value, double limit)
{
	return isnan(value) ? "not measured" : value <= limit ? "met" : "not met";
}

static void report_targets(FILE *out, const struct results *results)
{
	fprintf(out, "\nTargets, for attached:\n\n");
	for (const struct target *t = targets; t < targets + sizeof(targets) / sizeof(*targets); t++) {
		double value = t->value(results);

		fprintf(out, "%-*s at most %.2f: ", TITLE + 2, t->what, t->limit);
		if (!isnan(value))
			fprintf(out, "%.2f, ", value);
		fprintf(out, "%s\n", verdict(value, t->limit));
	}
	for (size_t i = 0; i < results->row_count; i++)
		for (int who = STRACE; who <= BWRAP; who++) {
			struct statistic s;
			char title[64];

			row_title(&results->rows[i], title);
			if (compare(&results->rows[i], ATTACHED, (enum contestant)who, &s) && s.median > 1)
				fprintf(out, "  slower than %s in \"%s\": %.2f\n", contestant_names[who], title,
					s.median);
		}
}

void report_rest(FILE *out, const struct results *results)
{
	report_efforts(out, results);
	report_missing(out, results);
	report_targets(out, results);
}

/* ---- JSON ---- */

static json_t *json_of(const struct statistic *s)
{
	return json_pack("{s:f, s:f, s:f}", "median", s->median, "min", s->min, "max", s->max);
}

static json_t *cell_json(const struct row *row, enum contestant who)
{
	const struct cell *cell = &row->cells[who];
	struct statistic s;

	if (cell->missing != NULL)
		return json_pack("{s:s}", "missing", cell->missing);
	json_t *samples = json_array();
	for (size_t i = 0; i < cell->count; i++)
		json_array_append_new(samples, json_real(cell->samples[i]));
	json_t *object = json_pack("{s:o}", "ns", samples);
	if (who != NATIVE && compare(row, who, NATIVE, &s))
		json_object_set_new(object, "to_native", json_of(&s));
	if (who != FLOOR && compare(row, who, FLOOR, &s))
		json_object_set_new(object, "to_floor", json_of(&s));
	return object;
}

static json_t *rows_json(const struct results *results)
{
	json_t *rows = json_array();

	for (size_t i = 0; i < results->row_count; i++) {
		const struct row *row = &results->rows[i];
		json_t *cells = json_object();

		for (int who = 0; who < CONTESTANTS; who++)
			json_object_set_new(cells, contestant_names[who], cell_json(row, (enum contestant)who));
		json_array_append_new(rows, json_pack("{s:s, s:s, s:s?, s:o}", "name", row->workload->name, "title",
						      row->workload->title, "field", row->field, "contestants", cells));
	}
	return rows;
}

static json_t *appetite_json(const struct appetite *a)
{
	json_t *object = json_pack("{s:f}", "cpu_us", a->cpu_us);

	if (a->counted) {
		json_object_set_new(object, "context_switches", json_real(a->switches));
		json_object_set_new(object, "system_calls", json_real(a->syscalls));
	}
	return object;
}

static json_t *efforts_json(const struct results *results)
{
	json_t *efforts = json_array();

	for (size_t i = 0; i < results->effort_count; i++) {
		const struct effort *effort = &results->efforts[i];
		json_t *each = json_object();

		for (int who = FLOOR; who < CONTESTANTS; who++)
			if (effort->of[who].known)
				json_object_set_new(each, contestant_names[who], appetite_json(&effort->of[who]));
		json_array_append_new(efforts, json_pack("{s:s, s:I, s:o}", "name", effort->workload->name, "execs",
							 (json_int_t)effort->execs, "per_exec", each));
	}
	return efforts;
}

static json_t *targets_json(const struct results *results)
{
	json_t *all = json_array();

	for (const struct target *t = targets; t < targets + sizeof(targets) / sizeof(*targets); t++) {
		double value = t->value(results);
		json_t *target = json_pack("{s:s, s:f, s:s}", "what", t->what, "limit", t->limit, "verdict",
					   verdict(value, t->limit));

		if (!isnan(value))
			json_object_set_new(target, "value", json_real(value));
		json_array_append_new(all, target);
	}
	return all;
}

static void read_cpu_model(char model[static 128])
{
	char line[256];
	cleanup_file FILE *f = fopen("/proc/cpuinfo", "re");

	(void)snprintf(model, 128, "unknown");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "model name : %127[^\n]", model) == 1)
			return;
}

static json_t *machine_json(void)
{
	struct utsname name = {0};
	char model[128];

	(void)uname(&name);
	read_cpu_model(model);
	return json_pack("{s:s, s:s, s:s, s:I, s:I}", "kernel", name.release, "architecture", name.machine, "cpu",
			 model, "cpus", (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "uid", (json_int_t)getuid());
}

int report_json(const char *path, const struct results *results)
{
	json_t *all = json_pack("{s:I, s:I, s:o, s:o, s:o, s:o}", "time", (json_int_t)time(NULL), "rounds",
				(json_int_t)results->rounds, "machine", machine_json(), "rows", rows_json(results),
				"supervisor", efforts_json(results), "targets", targets_json(results));
	int err = json_dump_file(all, path, JSON_INDENT(1) | JSON_REAL_PRECISION(6));

	json_decref(all);
	return err == 0 ? 0 : -1;
}
