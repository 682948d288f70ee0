/* sallyport log --tree: the processes of a job, each below its parent, with what they ran and how they ended. */
#include "log.h"
#include "util/cleanup.h"
#include "util/json.h"
#include "util/printable.h"

#include <stdint.h>
#include <string.h>

#define COMMAND_BYTES 160
#define DEEPEST_DRAWN 64 /* levels below this one are drawn like it */

#define NONE SIZE_MAX

struct node {
	struct sp_log_process process;
	size_t parent, first_child, last_child, next; /* indices, or NONE */
};

struct tree {
	const struct log_view *view;
	struct sp_error *e;
	struct node *nodes; /* by key: the order they are asked for in */
	size_t count, capacity;
};

/* The execs of the process that is being printed. */
struct printing {
	const struct tree *tree;
	const struct node *node;
	uint64_t title; /* the exec that stands in the process's own line; 0: none yet */
	size_t missing; /* execs that failed with ENOENT: a search through PATH */
	bool whole; /* print the others, not look for the title */
};

static int collect(void *data, const struct sp_log_process *process);
static size_t find(const struct tree *tree, uint64_t key);
static void link_nodes(struct tree *tree);
static int print_text(struct tree *tree);
static int print_node(struct tree *tree, const struct node *node);
static int print_exec(void *data, const struct sp_log_exec *exec);
static void print_branches(const struct tree *tree, const struct node *node, bool own_line);
static const struct node *after(const struct tree *tree, const struct node *node);
static int print_json(struct tree *tree);

static void release(struct tree *tree)
{
	free(tree->nodes);
}

int log_tree(const struct log_view *view, struct sp_error *e)
{
	sp_cleanup(release) struct tree tree = {.view = view, .e = e};

	int ret = sp_query_processes(view->query, view->job, collect, &tree, e);
	if (ret != 0)
		return ret < 0 ? ret : sp_fail(e, ENOMEM, "out of memory");
	if (view->json)
		return print_json(&tree);
	link_nodes(&tree);
	return print_text(&tree);
}

static int collect(void *data, const struct sp_log_process *process)
{
	struct tree *tree = data;

	if (tree->count == tree->capacity) {
		size_t capacity = tree->capacity == 0 ? 256 : tree->capacity * 2;
		struct node *grown = reallocarray(tree->nodes, capacity, sizeof *grown);
		if (grown == NULL)
			return 1;
		tree->nodes = grown;
		tree->capacity = capacity;
	}
	tree->nodes[tree->count++] = (struct node){
		.process = *process,
		.parent = NONE,
		.first_child = NONE,
		.last_child = NONE,
		.next = NONE,
	};
	return 0;
}

static size_t find(const struct tree *tree, uint64_t key)
{
	size_t low = 0, high = tree->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (tree->nodes[middle].process.process < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low < tree->count && tree->nodes[low].process.process == key ? low : NONE;
}

/* A parent stands before its children, so that there can be no circle; one whose parent is not there is a root. */
static void link_nodes(struct tree *tree)
{
	size_t last_root = NONE;

	for (size_t i = 0; i < tree->count; i++) {
		struct node *node = &tree->nodes[i];
		size_t parent = find(tree, node->process.parent);
		node->parent = parent < i ? parent : NONE;
		size_t *last = node->parent == NONE ? &last_root : &tree->nodes[node->parent].last_child;
		if (*last != NONE)
			tree->nodes[*last].next = i;
		else if (node->parent != NONE)
			tree->nodes[node->parent].first_child = i;
		*last = i;
	}
}

static int print_text(struct tree *tree)
{
	int ret = 0;

	for (const struct node *node = tree->nodes; ret == 0 && node != NULL; node = after(tree, node))
		ret = print_node(tree, node);
	return ret;
}

/* Depth first. A loop, not a recursion: a job may be as deep as it likes. */
static const struct node *after(const struct tree *tree, const struct node *node)
{
	if (node->first_child != NONE)
		return &tree->nodes[node->first_child];
	while (node->next == NONE && node->parent != NONE)
		node = &tree->nodes[node->parent];
	return node->next != NONE ? &tree->nodes[node->next] : NULL;
}

static int print_node(struct tree *tree, const struct node *node)
{
	struct printing printing = {.tree = tree, .node = node};

	print_branches(tree, node, true);
	printf("%d ", node->process.pid);
	int ret = sp_query_process_execs(tree->view->query, tree->view->job, node->process.process, print_exec,
					 &printing, tree->e);
	if (ret < 0)
		return ret;
	if (printing.title == 0)
		fputs("(fork)", stdout);
	log_start_colour(tree->view, LOG_DIM);
	fputs("  ", stdout);
	log_print_status(node->process.ended, node->process.status);
	log_end_colour(tree->view, LOG_DIM);
	putchar('\n');
	printing.whole = true;
	ret = sp_query_process_execs(tree->view->query, tree->view->job, node->process.process, print_exec, &printing,
				     tree->e);
	if (ret == 0 && printing.missing > 0) {
		print_branches(tree, node, false);
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
	print_branches(printing->tree, printing->node, false);
	log_start_colour(view, verdict.colour);
	fputs(exec->result == SP_RESULT_EXECED && !sp_log_refused(exec) ? "then" : verdict.text, stdout);
	log_end_colour(view, verdict.colour);
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

/* What stands before the text of a process: for each ancestor a line going down or not, then the branch to itself,
 * or, in the lines below its own, the line to its children. */
static void print_branches(const struct tree *tree, const struct node *node, bool own_line)
{
	bool more[DEEPEST_DRAWN];
	size_t depth = 0;

	for (const struct node *at = node; at->parent != NONE && depth < DEEPEST_DRAWN; at = &tree->nodes[at->parent])
		more[depth++] = at->next != NONE;
	while (depth > 1)
		fputs(more[--depth] ? "│  " : "   ", stdout);
	if (depth == 1)
		fputs(own_line ? (more[0] ? "├─ " : "└─ ") : (more[0] ? "│  " : "   "), stdout);
	if (!own_line)
		fputs(node->first_child != NONE ? "│    " : "     ", stdout);
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
	for (size_t i = 0; i < tree->count; i++) {
		const struct sp_log_process *process = &tree->nodes[i].process;
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
