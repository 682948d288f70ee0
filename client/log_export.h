/* What log_perfetto.c and log_dot.c share: a job's processes one after the other, with what each ran and how it ended. */
#ifndef SP_CLIENT_LOG_EXPORT_H
#define SP_CLIENT_LOG_EXPORT_H

#include "log.h"

struct log_export {
	/* The job begins. command: safe text, cut. 0, or anything else to end, as in the others. */
	int (*job)(void *data, int64_t number, const char *command, int64_t started, int64_t ended);
	/* A process; the job's first have parent 0. ended: of one without an end, the last time that is known in the job. */
	int (*process)(void *data, const struct sp_log_process *process);
	/* What it ran from begin to end. exec NULL: what its parent ran, since it has forked. */
	int (*program)(void *data, const struct sp_log_process *process, const struct sp_log_exec *exec,
		       const char *command, int64_t begin, int64_t end);
	/* What did not come to run. */
	int (*refused)(void *data, const struct sp_log_process *process, const struct sp_log_exec *exec,
		       const char *command);
};

/* 0, or -errno with a sentence; what a function returned: -EIO. */
[[nodiscard]] int log_export(const struct log_view *view, const struct log_export *to, void *data, struct sp_error *e);

/* A copy that is safe to show (printable.h), which text from a policy need not be; freed by the caller. NULL: out of memory. */
char *log_export_safe(const char *text);

/* file "-": standard output, which is not closed. NULL with a sentence. */
FILE *log_export_open(const char *file, struct sp_error *e);
[[nodiscard]] int log_export_close(FILE *out, const char *file, struct sp_error *e);

#endif
