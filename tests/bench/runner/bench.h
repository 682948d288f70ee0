/* What is measured, against whom, and what came of it: between main.c, which measures, and report.c, which shows. */
#ifndef SP_BENCH_BENCH_H
#define SP_BENCH_BENCH_H

#include "run.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum contestant { NATIVE, FLOOR, ATTACHED, ONESHOT, STRACE, SUDO, BWRAP, CONTESTANTS };
extern const char *const contestant_names[CONTESTANTS];

enum { FIELDS_MAX = 3, WORDS_MAX = 8 };

/* Something to be run, which gives one row of the table, or one for each field that it prints. */
struct workload {
	const char *name; /* for ROWS; a row of a field is NAME.FIELD */
	const char *title;
	const char *argv[WORDS_MAX]; /* a word that starts with "bench/" or "programs/" is one of ours */
	const char *prepare; /* a shell command, before each run, natively and not measured */
	const char *fields[FIELDS_MAX]; /* NAME of NAME=NANOSECONDS in its output; none: the time from start to end */
	int repeat; /* runs for one sample, their mean counts; 0: 1 */
	int rounds_max; /* 0: no limit: long ones */
	bool freeze; /* the floor freezes, too */
	bool confined; /* under policies/strict.yaml, and beside bwrap with the same namespaces */
	bool package; /* needs the source of a real package */
	bool per_exec; /* enough execs to say what one takes from the supervisor */
};

struct statistic {
	double median, min, max;
};

/* One contestant in one row. */
struct cell {
	double *samples; /* nanoseconds, one a round */
	size_t count;
	char *missing; /* why there are none, "": it is another discipline; NULL: there are */
};

struct row {
	const struct workload *workload;
	const char *field; /* NULL: the time from start to end */
	double slowest_native_ns; /* from start to end; in the first row of a workload */
	struct cell cells[CONTESTANTS];
};

/* What a supervisor took for itself, for one exec. */
struct appetite {
	bool known, counted;
	double cpu_us, switches, syscalls;
};

struct effort {
	const struct workload *workload;
	uint64_t execs;
	struct appetite of[CONTESTANTS];
};

struct results {
	struct row *rows;
	size_t row_count;
	struct effort *efforts;
	size_t effort_count;
	char *absent[CONTESTANTS]; /* why a contestant takes no part at all; NULL: it does */
	int rounds;
};

/* Of one contestant's samples to another's, round by round. False: there is nothing to compare. */
bool compare(const struct row *row, enum contestant of, enum contestant to, struct statistic *ratio);
bool summarise(const struct cell *cell, struct statistic *ns);

void report_header(FILE *out);
void report_row(FILE *out, const struct row *row);
void report_rest(FILE *out, const struct results *results);
int report_json(const char *path, const struct results *results);

#endif
