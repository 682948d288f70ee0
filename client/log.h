/* What the parts of `sallyport log` share: log.c (options, following), log_text.c, log_json.c, log_tree.c,
 * log_summary.c, log_perfetto.c and log_dot.c (the forms of output). Internal to them. */
#ifndef SP_CLIENT_LOG_H
#define SP_CLIENT_LOG_H

#include "audit/query.h"
#include "colour.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

struct log_view {
	struct sp_query *query;
	int64_t job; /* number; 0: all */
	bool denied, json, full;
	bool colour;
	struct sp_exec_filter only; /* whatever else is asked for */
};

/* An exec as one record, with who asked where it was refused (text) or always (JSON). 0, or -errno with a sentence. */
[[nodiscard]] int log_text_exec(const struct log_view *view, const struct sp_log_exec *exec, struct sp_error *e);
[[nodiscard]] int log_json_exec(const struct log_view *view, const struct sp_log_exec *exec, struct sp_error *e);

/* The job's process tree; its counts. 0, or -errno with a sentence. */
[[nodiscard]] int log_tree(const struct log_view *view, struct sp_error *e);
/* The job's processes over time, as a trace for Perfetto, and as a graph for dot(1); "-": to standard output. */
[[nodiscard]] int log_perfetto(const struct log_view *view, const char *file, struct sp_error *e);
[[nodiscard]] int log_dot(const struct log_view *view, const char *file, struct sp_error *e);
[[nodiscard]] int log_summary(const struct log_view *view, struct sp_error *e);

/* Pieces of the text form. */
struct log_verdict {
	char text[48]; /* "ALLOW", "FAILED ENOENT", "DENY EACCES", ... */
	enum sp_colour colour;
};

struct log_verdict log_verdict(const struct sp_log_exec *exec);
void log_print_time(int64_t nanoseconds);
/* What ran, not what it called itself: the resolved file, its arguments, and argv[0] where it says another name. At
 * most about max_bytes (0: all). */
void log_print_command(const struct sp_log_exec *exec, size_t max_bytes);
/* "running", "exit 2", "killed by SIGKILL". */
void log_print_status(int64_t ended, int status);

/* Pieces of the JSON form. NULL: out of memory. */
json_t *log_json_of_exec(const struct log_view *view, const struct sp_log_exec *exec, bool with_ancestors,
			 struct sp_error *e);
[[nodiscard]] int log_json_set_time(json_t *object, const char *key, int64_t nanoseconds);
[[nodiscard]] int log_json_set_status(json_t *object, int64_t ended, int status);
[[nodiscard]] int log_json_fail(struct sp_error *e);

#endif
