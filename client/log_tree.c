/* sallyport log --tree: the processes of a job, each below its parent, with what they ran and how they ended. */
#include "branches.h"
#include "log.h"
#include "util/cleanup.h"
#include "util/json.h"
#include "util/printable.h"

#include <stdint.h>
#include <string.h>

#define COMMAND_BYTES 160

struct tree {
	const struct log_view *view;
	struct sp_error *e;
	struct sp_branches branches; /* by key: the order they are asked for in */
	struct sp_log_process *processes; /* one for each of them */
	size_t capacity;
};

/* The execs of the process that is being printed. */
struct printing {
	const struct tree *tree;
	size_t node;
	uint64_t title; /* the exec that stands in the process's own line; 0: none yet */
	size_t missing; /* execs that failed with ENOENT: a search through PATH */
	bool whole; /* print the others, not look for the title */
};

static int collect(void *data, const struct sp_log_process *process);
static int print_text(struct tree *tree);
static int print_node(struct tree *tree, size_t node);
static int print_exec(void *data, const struct sp_log_exec *exec);
static int print_json(struct tree *tree);

static void release(struct tree *tree)
{
	sp_branches_release(&tree->branches);
	free(tree->processes);
}

int log_tree(const struct log_view *view, struct sp_error *e)
{
	sp_cleanup(release) struct tree tree = {.view = view, .e = e};

	int ret = sp_query_processes(view->query, view->job, collect, &tree, e);
	if (ret != 0)
		return ret < 0 ? ret : sp_fail(e, ENOMEM, "out of memory");
	if (view->json)
		return print_json(&tree);
	sp_branches_link(&tree.branches);
	return print_text(&tree);
}

static int collect(void *data, const struct sp_log_process *process)
{
	struct tree *tree = data;

	if (tree->branches.count == tree->capacity) {
		size_t capacity = tree->capacity == 0 ? 256 : tree->capacity * 2;
		struct sp_log_process *grown = reallocarray(tree->processes, capacity, sizeof *grown);
		if (grown == NULL)
			return 1;
		tree->processes = grown;
		tree->capacity = capacity;
	}
	tree->processes[tree->branches.count] = *process;
	return sp_branches_add(&tree->branches, process->process, process->parent) != 0;
}

static int print_text(struct tree *tree)
{
	int ret = 0;

	for (size_t node = tree->branches.count > 0 ? 0 : SP_NO_BRANCH; ret == 0 && node != SP_NO_BRANCH;
	     node = sp_branches_after(&tree->branches, node))
		ret = print_node(tree, node);
	return ret;
}

static int print_node(struct tree *tree, size_t node)
{
	const struct sp_log_process *process = &tree->processes[node];
	struct printing printing = {.tree = tree, .node = node};

	sp_branches_print(&tree->branches, node, true);
	printf("%d ", process->pid);
	int ret = sp_query_process_execs(tree->view->query, tree->view->job, process->process, print_exec, &printing,
					 tree->e);
	if (ret < 0)
		return ret;
	if (printing.title == 0)
		fputs("(fork)", stdout);
	sp_start_colour(tree->view->colour, SP_DIM);
	fputs("  ", stdout);
	log_print_status(process->ended, process->status);
	sp_end_colour(tree->view->colour, SP_DIM);
	putchar('\n');
	printing.whole = true;
	ret = sp_query_process_execs(tree->view->query, tree->view->job, process->process, print_exec, &printing,
				     tree->e);
	if (ret == 0 && printing.missing > 0) {
		sp_branches_print(&tree->branches, node, false);
		printf("FAILED ENOENT %zu time%s\n", printing.missing, printing.missing == 1 ? "" : "s");
	}
	return ret;
}

/* The first program that ran stands in the process's line, everything else below. */
static int print_exec(void *data, const struct sp_log_exec *exec)
{
	struct printing *printing = data;
	const struct log_view *view = printing->tree->view;
	size_t limit = view->full ? 0 : COMMAND_BYTES;
	struct log_verdict verdict = log_verdict(exec);

	if (!printing->whole) {
		if (exec->result != SP_RESULT_EXECED || sp_log_refused(exec))
			return 0;
		printing->title = exec->exec;
		log_print_command(exec, limit);
		return 1;
	}
	if (exec->exec == printing->title)
		return 0;
	if (exec->result == SP_RESULT_FAILED && exec->result_err == ENOENT) {
		printing->missing++;
		return 0;
	}
	sp_branches_print(&printing->tree->branches, printing->node, false);
	sp_start_colour(view->colour, verdict.colour);
	fputs(exec->result == SP_RESULT_EXECED && !sp_log_refused(exec) ? "then" : verdict.text, stdout);
	sp_end_colour(view->colour, verdict.colour);
	putchar(' ');
	log_print_command(exec, limit);
	if (sp_log_refused(exec) && exec->rule != NULL) {
		fputs("  [", stdout);
		sp_print_safe(stdout, exec->rule, strlen(exec->rule));
		if (exec->reason != NULL) {
			fputs(": ", stdout);
			sp_print_safe(stdout, exec->reason, strlen(exec->reason));
		}
		putchar(']');
	}
	putchar('\n');
	return 0;
}

struct exec_array {
	const struct tree *tree;
	json_t *array;
};

static int add_exec(void *data, const struct sp_log_exec *exec)
{
	const struct exec_array *execs = data;
	json_t *object = log_json_of_exec(execs->tree->view, exec, false, execs->tree->e);

	return object == NULL || json_array_append_new(execs->array, object) < 0;
}

static void drop(json_t **value)
{
	json_decref(*value);
}

static int print_json(struct tree *tree)
{
	for (size_t i = 0; i < tree->branches.count; i++) {
		const struct sp_log_process *process = &tree->processes[i];
		sp_cleanup(drop) json_t *object = json_object();
		struct exec_array execs = {.tree = tree, .array = json_array()};
		if (sp_json_set_number(object, "job", tree->view->job) < 0 ||
		    sp_json_set_number(object, "process", (json_int_t)process->process) < 0 ||
		    sp_json_set_number(object, "parent", (json_int_t)process->parent) < 0 ||
		    sp_json_set_number(object, "pid", process->pid) < 0 ||
		    log_json_set_time(object, "started", process->started) < 0 ||
		    log_json_set_time(object, "ended", process->ended) < 0 ||
		    log_json_set_status(object, process->ended, process->status) < 0 ||
		    json_object_set_new(object, "execs", execs.array) < 0)
			return log_json_fail(tree->e);
		int ret = sp_query_process_execs(tree->view->query, tree->view->job, process->process, add_exec, &execs,
						 tree->e);
		if (ret != 0)
			return ret < 0 ? ret : log_json_fail(tree->e);
		if (sp_json_print(stdout, object) == -ENOMEM)
			return log_json_fail(tree->e);
	}
	return 0;
}
