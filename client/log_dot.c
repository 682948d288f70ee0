/* sallyport log --dot: the processes of a job as a graph in the language of dot(1). What a process ran, one after the other, stands in
 * its node, with what was refused to it, which makes the node red. */
#include "log_export.h"

#include "util/cleanup.h"

#include <inttypes.h>
#include <string.h>

struct drawing {
	FILE *out;
	uint64_t open; /* the process whose node is being written; 0: none */
	bool refused; /* something was, to this process */
	struct sp_log_process process;
};

/* In a quoted string of dot, \l ends a line that is set to the left. The text is safe already. */
static void print_line(FILE *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\')
			(void)fputc('\\', out);
		(void)fputc(*text, out);
	}
	(void)fputs("\\l", out);
}

/* Text from a policy may have anything in it. */
static void print_safe_line(FILE *out, const char *text)
{
	cleanup_free char *safe = log_export_safe(text);

	if (safe != NULL)
		print_line(out, safe);
}

static void close_node(struct drawing *drawing)
{
	if (drawing->open == 0)
		return;
	const struct sp_log_process *process = &drawing->process;
	(void)fprintf(drawing->out, "%.3f s", (double)(process->ended - process->started) / 1e9);
	if (process->status != 0)
		(void)fprintf(drawing->out, ", status %#x", (unsigned)process->status);
	(void)fprintf(drawing->out, "\\l\", color=%s];\n",
		      drawing->refused       ? "red"
		      : process->status != 0 ? "darkorange"
					     : "black");
	if (process->parent != 0)
		(void)fprintf(drawing->out, "\tp%" PRIu64 " -> p%" PRIu64 ";\n", process->parent, process->process);
	drawing->open = 0;
}

static int begin(void *data, int64_t number, const char *command, int64_t started, int64_t ended)
{
	const struct drawing *drawing = data;

	(void)fprintf(drawing->out,
		      "digraph job_%" PRId64
		      " {\n\trankdir=LR;\n\tnode [shape=box, fontname=monospace, fontsize=9];\n\tlabel=\"",
		      number);
	print_line(drawing->out, command);
	(void)fprintf(drawing->out, "job %" PRId64 ", %.3f s\\l\";\n", number, (double)(ended - started) / 1e9);
	return 0;
}

static int draw_process(void *data, const struct sp_log_process *process)
{
	struct drawing *drawing = data;

	close_node(drawing);
	drawing->process = *process;
	drawing->open = process->process;
	drawing->refused = false;
	(void)fprintf(drawing->out, "\tp%" PRIu64 " [label=\"%d\\l", process->process, process->pid);
	return 0;
}

static int draw_program(void *data, const struct sp_log_process *process, const struct sp_log_exec *exec,
			const char *command, int64_t begin, int64_t end)
{
	const struct drawing *drawing = data;

	(void)process;
	(void)exec;
	(void)begin;
	(void)end;
	if (command != NULL)
		print_line(drawing->out, command);
	return 0;
}

static int draw_refused(void *data, const struct sp_log_process *process, const struct sp_log_exec *exec,
			const char *command)
{
	struct drawing *drawing = data;
	const struct log_verdict verdict = log_verdict(exec);

	(void)process;
	drawing->refused |= sp_log_refused(exec);
	print_line(drawing->out, verdict.text);
	print_line(drawing->out, command);
	if (exec->rule != NULL) {
		(void)fputs("  by ", drawing->out);
		print_safe_line(drawing->out, exec->rule);
	}
	return 0;
}

int log_dot(const struct log_view *view, const char *file, struct sp_error *e)
{
	static const struct log_export drawing_of = {
		.job = begin, .process = draw_process, .program = draw_program, .refused = draw_refused};
	struct drawing drawing = {.out = log_export_open(file, e)};

	if (drawing.out == NULL)
		return -e->err;
	int ret = log_export(view, &drawing_of, &drawing, e);
	close_node(&drawing);
	(void)fputs("}\n", drawing.out);
	const int closed = log_export_close(drawing.out, file, e);
	return ret < 0 ? ret : closed;
}
