/* See log_export.h. */
#include "log_export.h"

#include "policy/push.h"
#include "util/cleanup.h"
#include "util/printable.h"

#include <string.h>

#define COMMAND_BYTES 300

struct walk {
	const struct log_view *view;
	const struct log_export *to;
	void *data;
	struct sp_error *e;
	struct sp_log_process *processes;
	size_t count;
	const struct sp_log_process *process; /* the one whose execs are looked at */
	char *command; /* of the program that is running in it; NULL: what its parent ran */
	struct sp_log_exec exec; /* of that, without its strings */
	int64_t begin; /* since when */
	int64_t last; /* the latest time that anything of the job has */
};

static void release(struct walk *walk)
{
	free(walk->processes);
	free(walk->command);
}

static char *print_command(const struct sp_bytes program, const struct sp_bytes argv)
{
	cleanup_free char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	const size_t first = argv.size > 0 ? strnlen(argv.data, argv.size) + 1 : 0;

	if (out == NULL)
		return NULL;
	sp_print_argv(out, program.data, program.size, COMMAND_BYTES);
	if (argv.size > first) {
		(void)fputc(' ', out);
		sp_print_argv(out, argv.data + first, argv.size - first, COMMAND_BYTES);
	}
	return fclose(out) == 0 ? sp_steal_ptr(text) : NULL;
}

static int out_of_memory(struct walk *walk)
{
	return sp_fail(walk->e, ENOMEM, "out of memory");
}

static int told(struct walk *walk, int result)
{
	return result == 0 ? 0 : sp_fail(walk->e, EIO, "cannot write what was asked for");
}

static void see_time(struct walk *walk, int64_t time)
{
	walk->last = time > walk->last ? time : walk->last;
}

static int collect(void *data, const struct sp_log_process *process)
{
	struct walk *walk = data;

	see_time(walk, process->started);
	see_time(walk, process->ended);
	return sp_push(walk->processes, walk->count, *process) ? 0 : out_of_memory(walk);
}

static int see_exec(void *data, const struct sp_log_exec *exec)
{
	see_time(data, exec->time);
	see_time(data, exec->result_time);
	return 0;
}

static int begin_job(void *data, const struct sp_log_job *job)
{
	struct walk *walk = data;

	see_time(walk, job->started);
	see_time(walk, job->ended);
	const struct sp_bytes first = {.data = job->argv.data, .size = strnlen(job->argv.data, job->argv.size)};
	cleanup_free char *command = print_command(first, job->argv);
	if (command == NULL)
		return out_of_memory(walk);
	return told(walk, walk->to->job(walk->data, job->number, command, job->started, walk->last));
}

static int end_program(struct walk *walk, int64_t end)
{
	const bool forked = walk->command == NULL;

	/* Two clocks readings may be the wrong way round. */
	if (end < walk->begin)
		end = walk->begin;
	return told(walk, walk->to->program(walk->data, walk->process, forked ? NULL : &walk->exec, walk->command,
					    walk->begin, end));
}

static int take_exec(void *data, const struct sp_log_exec *exec)
{
	struct walk *walk = data;
	cleanup_free char *command = print_command(exec->resolved.size > 0 ? exec->resolved : exec->path, exec->argv);

	if (command == NULL)
		return out_of_memory(walk);
	if (exec->result != SP_RESULT_EXECED || sp_log_refused(exec)) {
		const bool search = exec->result == SP_RESULT_FAILED && exec->result_err == ENOENT;
		return search ? 0 : told(walk, walk->to->refused(walk->data, walk->process, exec, command));
	}
	const int64_t now = exec->result_time != 0 ? exec->result_time : exec->time;
	/* The first program of the job has nothing before it. */
	if (walk->command != NULL || walk->process->parent != 0) {
		int ret = end_program(walk, now);
		if (ret < 0)
			return ret;
	}
	free(walk->command);
	walk->command = sp_steal_ptr(command);
	walk->exec = *exec;
	walk->exec.path = walk->exec.resolved = walk->exec.argv = walk->exec.others = (struct sp_bytes){0};
	walk->exec.rule = walk->exec.reason = walk->exec.detail = NULL;
	walk->begin = now > walk->begin ? now : walk->begin;
	return 0;
}

static int walk_process(struct walk *walk, struct sp_log_process *process)
{
	if (process->ended == 0)
		process->ended = walk->last;
	walk->process = process;
	walk->begin = process->started;
	free(sp_steal_ptr(walk->command));
	int ret = told(walk, walk->to->process(walk->data, process));
	if (ret == 0)
		ret = sp_query_process_execs(walk->view->query, walk->view->job, process->process, take_exec, walk,
					     walk->e);
	return ret == 0 ? end_program(walk, process->ended) : ret;
}

int log_export(const struct log_view *view, const struct log_export *to, void *data, struct sp_error *e)
{
	sp_cleanup(release) struct walk walk = {.view = view, .to = to, .data = data, .e = e};
	const struct sp_exec_filter all = {.job = view->job};

	int ret = sp_query_processes(view->query, view->job, collect, &walk, e);
	if (ret == 0)
		ret = sp_query_execs(view->query, &all, see_exec, &walk, e);
	if (ret == 0)
		ret = sp_query_job(view->query, view->job, begin_job, &walk, e);
	for (size_t i = 0; ret == 0 && i < walk.count; i++)
		ret = walk_process(&walk, &walk.processes[i]);
	return ret;
}

char *log_export_safe(const char *text)
{
	cleanup_free char *safe = NULL;
	size_t size;
	FILE *out = open_memstream(&safe, &size);

	if (out == NULL)
		return NULL;
	sp_print_safe(out, text, strlen(text));
	return fclose(out) == 0 ? sp_steal_ptr(safe) : NULL;
}

FILE *log_export_open(const char *file, struct sp_error *e)
{
	FILE *out = strcmp(file, "-") == 0 ? stdout : fopen(file, "we");

	if (out == NULL)
		(void)sp_fail(e, errno, "cannot write %s: %s", file, strerror(errno));
	return out;
}

int log_export_close(FILE *out, const char *file, struct sp_error *e)
{
	const bool whole = ferror(out) == 0;
	const int closed = out == stdout ? fflush(out) : fclose(out);

	return whole && closed == 0 ? 0 : sp_fail(e, errno, "cannot write %s: %s", file, strerror(errno));
}
