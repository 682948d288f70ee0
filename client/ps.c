/* sallyport ps [--tree]: the jobs that run, and their processes. */
#include "branches.h"
#include "client.h"
#include "colour.h"
#include "supervisors.h"
#include "util/cleanup.h"
#include "util/json.h"
#include "util/printable.h"

#include <errno.h>
#include <string.h>
#include <time.h>

static const char usage[] =
	"Usage: sallyport ps [--tree] [--json]\n"
	"Lists the jobs of this user that run now: id, supervisor, start, processes, policy and command; with a "
	"service also\n"
	"those of its jobs that this user may see.\n"
	"\n"
	"      --tree   the processes of each job, as a tree\n"
	"      --json   one JSON object a line for each job; with --tree it has an array of processes\n"
	"      --help   this text\n";

struct options {
	bool tree, json, colour;
};

static json_int_t number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static const char *text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value != NULL ? value : "";
}

/* --- jobs --- */

static void print_start(json_int_t nanoseconds)
{
	const time_t seconds = (time_t)(nanoseconds / 1000000000);
	struct tm local;
	char words[32];

	(void)strftime(words, sizeof words, "%Y-%m-%d %H:%M:%S", localtime_r(&seconds, &local));
	(void)printf("%-19s  ", words);
}

static void print_head(const struct options *o)
{
	sp_start_colour(o->colour, SP_BOLD);
	(void)printf("%-16s  %10s  %-19s  %9s  %-10s  %s", "JOB", "SUPERVISOR", "STARTED", "PROCESSES", "POLICY",
		     "COMMAND");
	sp_end_colour(o->colour, SP_BOLD);
	(void)putchar('\n');
}

static void print_job(const struct options *o, const json_t *job)
{
	size_t i;
	json_t *word;

	(void)printf("%-16s  %10" JSON_INTEGER_FORMAT "  ", text(job, "job"), number(job, "supervisor"));
	print_start(number(job, "started"));
	(void)printf("%9" JSON_INTEGER_FORMAT "  ", number(job, "processes"));
	sp_print_safe(stdout, text(job, "policy"), strlen(text(job, "policy")));
	(void)printf("%*s ", (int)(strlen(text(job, "policy")) < 10 ? 10 - strlen(text(job, "policy")) : 0), "");
	json_array_foreach(json_object_get(job, "command"), i, word)
	{
		(void)putchar(' ');
		sp_print_argument(stdout, json_string_value(word), json_string_length(word));
	}
	if (json_is_true(json_object_get(job, "frozen"))) {
		sp_start_colour(o->colour, SP_YELLOW);
		(void)fputs("  (frozen)", stdout);
		sp_end_colour(o->colour, SP_YELLOW);
	}
	(void)putchar('\n');
}

/* --- processes --- */

/* What it runs is the name of a file, which a hostile program can choose. */
static void print_process(const struct options *o, const json_t *process)
{
	const char *program = text(process, "program"), *state = text(process, "state");

	(void)printf("%" JSON_INTEGER_FORMAT " ", number(process, "pid"));
	if (program[0] != '\0')
		sp_print_argument(stdout, program, strlen(program));
	else
		(void)fputs("(ended)", stdout);
	if (number(process, "threads") > 1)
		(void)printf("  %" JSON_INTEGER_FORMAT " threads", number(process, "threads"));
	if (strcmp(state, "running") != 0) {
		sp_start_colour(o->colour, SP_DIM);
		(void)fputs("  ", stdout);
		sp_print_safe(stdout, state, strlen(state));
		sp_end_colour(o->colour, SP_DIM);
	}
	(void)putchar('\n');
}

static int print_tree(const struct options *o, const json_t *processes)
{
	sp_cleanup(sp_branches_release) struct sp_branches branches = {0};
	size_t i;
	const json_t *process;

	json_array_foreach(processes, i, process)
	{
		if (sp_branches_add(&branches, (uint64_t)number(process, "key"), (uint64_t)number(process, "parent")) !=
		    0)
			return -ENOMEM;
	}
	sp_branches_link(&branches);
	for (size_t at = branches.count > 0 ? 0 : SP_NO_BRANCH; at != SP_NO_BRANCH;
	     at = sp_branches_after(&branches, at)) {
		sp_branches_print(&branches, at, true);
		print_process(o, json_array_get(processes, at));
	}
	return 0;
}

/* All pages of it. 0; or somebody was told why not. */
static int ask_tree(struct sp_supervisor *s, const char *id, json_t *processes)
{
	json_int_t after = 0;

	do {
		cleanup_reply struct sp_reply reply;
		int err = sp_caller_call(&s->caller, "io.sallyport.Tree",
					 json_pack("{ss sI}", "job", id, "after", after), &reply);

		if (err != 0 || reply.error != NULL)
			return sp_explain("ps", s, err, &reply);
		(void)json_array_extend(processes, json_object_get(reply.parameters, "processes"));
		const json_int_t next = number(reply.parameters, "next");
		after = next > after ? next : 0;
	} while (after != 0);
	return 0;
}

/* --- all of them --- */

/* It may have ended since it was listed. */
static json_t *find_tree(const json_t *job)
{
	cleanup_supervisor struct sp_supervisor s;
	char id[SP_JOB_ID];
	json_t *processes = json_array();

	if (sp_job_find("ps", NULL, text(job, "job"), &s, id) == 0)
		(void)ask_tree(&s, id, processes);
	return processes;
}

static int show(const struct options *o, json_t *job)
{
	json_t *processes = o->tree ? find_tree(job) : NULL;
	int err = 0;

	if (o->json) {
		if (processes != NULL)
			(void)json_object_set(job, "tree", processes);
		(void)sp_json_print(stdout, job);
	} else {
		print_job(o, job);
		err = processes != NULL ? print_tree(o, processes) : 0;
	}
	json_decref(processes);
	return err;
}

static void drop(json_t **value)
{
	json_decref(*value);
}

static int list(const struct options *o)
{
	sp_cleanup(drop) json_t *jobs = NULL;
	size_t i;
	json_t *job;

	int err = sp_jobs_collect("ps", &jobs);
	if (err == 0 && !o->json && json_array_size(jobs) > 0)
		print_head(o);
	json_array_foreach(jobs, i, job)
	{
		err = err == 0 ? show(o, job) : err;
	}
	if (err != 0)
		(void)fprintf(stderr, "sallyport ps: %s\n", strerror(-err));
	return err == 0 ? 0 : SP_EXIT_FAILURE;
}

int sp_cmd_ps(int argc, char **argv)
{
	struct options o = {.colour = sp_use_colour()};

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return fputs(usage, stdout) < 0 ? SP_EXIT_FAILURE : 0;
		bool *flag = strcmp(argv[i], "--json") == 0 ? &o.json : strcmp(argv[i], "--tree") == 0 ? &o.tree : NULL;
		if (flag == NULL)
			return sp_refuse_word("ps", "unknown argument", argv[i]);
		*flag = true;
	}
	return list(&o);
}
