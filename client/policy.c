/* sallyport policy: is this file a policy, and what does it say about one command line? Nothing is run, so a policy can
 * be tried out without the program it is about. */
#include "policy/policy.h"
#include "client.h"
#include "policy_commands.h"
#include "self/harden.h"
#include "util/cleanup.h"
#include "util/printable.h"

#include <getopt.h>
#include <jansson.h>
#include <limits.h>
#include <string.h>

/* The answer of `policy test` to a script: 0 is allowed. */
#define EXIT_REFUSED 1

static int check_command(int argc, char **argv);
static int test_command(int argc, char **argv);

static const struct command {
	const char *name;
	int (*function)(int argc, char **argv);
	const char *usage;
	const char *summary;
} commands[] = {
	{"check", check_command, "check FILE", "read the file and run its tests"},
	{"test", test_command, "test FILE [--json] -- ARGV...", "the decision for one command line"},
	{"show", policy_show, "show FILE", "the whole policy, with what it extends"},
	{"learn", policy_learn, "learn JOB... [-o FILE]", "a policy from what jobs did"},
	{"replay", policy_replay, "replay FILE [--job J]", "recorded execs, judged again"},
	{"stats", policy_stats, "stats [JOB]", "how often each rule has decided"},
};

static int usage(FILE *out, int status)
{
	(void)fputs("Usage:\n", out);
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
		(void)fprintf(out, "  sallyport policy %-32s %s\n", commands[i].usage, commands[i].summary);
	(void)fputs("\nFILE is a path, or the name of a policy that is looked for in ., ~/.config/sallyport/policies,\n"
		    "/etc/sallyport/policies and /usr/share/sallyport/policies. ARGV[0] is looked up in the policy's\n"
		    "exec.path, the variables of this environment count as set.\n"
		    "\n"
		    "  --json   print the decision as JSON\n"
		    "  --help   print this\n"
		    "\n"
		    "Exit status: 0 when the file is good, or the command line allowed; 1 when it is not allowed;\n"
		    "125 when the file is bad, with one line that says where and why.\n",
		    out);
	return status;
}

static int fail(const char *text)
{
	(void)fprintf(stderr, "sallyport: %s\n", text);
	return SP_EXIT_FAILURE;
}

int sp_cmd_policy(int argc, char **argv)
{
	if (argc < 2)
		return usage(stderr, SP_EXIT_FAILURE);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return usage(stdout, EXIT_SUCCESS);
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].function(argc - 1, argv + 1);
	}
	(void)fputs("sallyport: unknown command ", stderr);
	sp_print_argument(stderr, argv[1], strlen(argv[1]));
	(void)fputs(", expected check, test, show, learn, replay or stats; `sallyport policy --help` explains them\n",
		    stderr);
	return SP_EXIT_FAILURE;
}

struct arguments {
	bool json;
	bool help;
	char **rest; /* FILE, then ARGV */
	int count;
};

/* false when an option is unknown, which getopt has then said. */
static bool read_arguments(int argc, char **argv, struct arguments *arguments)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};

	argv[0] = (char *)"sallyport"; /* who complains of an unknown option */
	optind = 0; /* a new command line, for glibc's getopt */
	for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) >= 0;) {
		if (option == '?')
			return false;
		arguments->json |= option == 'j';
		arguments->help |= option == 'h';
	}
	arguments->rest = argv + optind;
	arguments->count = argc - optind;
	return true;
}

static void free_policy_ptr(struct sp_policy **policy)
{
	sp_policy_free(*policy);
}

/* ---- check ---- */

static int check_command(int argc, char **argv)
{
	struct arguments arguments = {0};
	struct sp_error e = {0};

	if (!read_arguments(argc, argv, &arguments))
		return SP_EXIT_FAILURE;
	if (arguments.help)
		return usage(stdout, EXIT_SUCCESS);
	if (arguments.count != 1 || arguments.json)
		return fail("expected `sallyport policy check FILE`");
	sp_cleanup(free_policy_ptr) struct sp_policy *policy = NULL;
	if (sp_policy_load(arguments.rest[0], &policy, &e) < 0)
		return fail(e.text);
	size_t rules = sp_policy_rule_count(policy), tests = sp_policy_test_count(policy);
	sp_print_safe(stdout, sp_policy_file(policy), strlen(sp_policy_file(policy)));
	(void)printf(": ok, %zu rule%s, %zu test%s\n", rules, rules == 1 ? "" : "s", tests, tests == 1 ? "" : "s");
	return EXIT_SUCCESS;
}

/* ---- test ---- */

struct verdict {
	const struct sp_policy *policy;
	char path[PATH_MAX];
	bool exists;
	struct sp_decision decision;
};

static void print_field(const char *name, const char *text)
{
	(void)printf("%-10s", name);
	sp_print_safe(stdout, text, strlen(text));
}

static void print_others(const struct sp_decision *decision)
{
	size_t listed = 1;

	print_field("others", decision->others[0]);
	for (; listed < SP_OTHERS && decision->others[listed] != NULL; listed++)
		(void)printf(", %s", decision->others[listed]);
	if (decision->matched > listed + 1)
		(void)printf(" and %zu more", decision->matched - listed - 1);
	(void)putchar('\n');
}

static void print_text(const struct verdict *verdict)
{
	const struct sp_decision *decision = &verdict->decision;

	print_field("decision", sp_action_name(decision->action));
	if (decision->err != 0)
		(void)printf(" (%s)", strerrorname_np(decision->err));
	(void)putchar('\n');
	print_field("rule", decision->rule);
	(void)putchar('\n');
	if (decision->reason != NULL) {
		print_field("reason", decision->reason);
		(void)putchar('\n');
	}
	print_field("program", verdict->path);
	(void)puts(verdict->exists ? "" : " (no such file here, judged by its name)");
	if (decision->others[0] != NULL)
		print_others(decision);
}

/* JSON is Unicode, a file name or an argument need not be. */
static json_t *json_bytes(const char *text)
{
	cleanup_free char *safe = NULL;
	size_t size;

	if (sp_is_text(text, strlen(text)))
		return json_string(text);
	FILE *out = open_memstream(&safe, &size);
	if (out == NULL)
		return NULL;
	sp_print_safe(out, text, strlen(text));
	return fclose(out) == 0 ? json_string(safe) : NULL;
}

static json_t *json_strings(const char *const *strings, size_t count)
{
	json_t *array = json_array();

	for (size_t i = 0; i < count && strings[i] != NULL; i++) {
		if (json_array_append_new(array, json_bytes(strings[i])) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

/* false when out of memory. */
static bool print_json(const struct verdict *verdict, const struct sp_exec *exec)
{
	const struct sp_decision *decision = &verdict->decision;
	const char *error = decision->err != 0 ? strerrorname_np(decision->err) : NULL;

	json_t *object = json_pack("{s:o, s:s, s:s?, s:s, s:o, s:I, s:o, s:o, s:b, s:o}", "policy",
				   json_bytes(sp_policy_file(verdict->policy)), "decision",
				   sp_action_name(decision->action), "errno", error, "rule", decision->rule, "reason",
				   decision->reason != NULL ? json_bytes(decision->reason) : json_null(), "matched",
				   (json_int_t)decision->matched, "others", json_strings(decision->others, SP_OTHERS),
				   "path", json_bytes(verdict->path), "exists", verdict->exists, "argv",
				   json_strings(exec->argv, exec->argc));
	if (object == NULL)
		return false;
	(void)json_dumpf(object, stdout, JSON_INDENT(2));
	(void)putchar('\n');
	json_decref(object);
	return true;
}

static size_t count_strings(char *const *strings)
{
	size_t count = 0;

	while (strings[count] != NULL)
		count++;
	return count;
}

static int test_command(int argc, char **argv)
{
	struct arguments arguments = {0};
	struct sp_error e = {0};

	if (!read_arguments(argc, argv, &arguments))
		return SP_EXIT_FAILURE;
	if (arguments.help)
		return usage(stdout, EXIT_SUCCESS);
	if (arguments.count < 2)
		return fail("expected `sallyport policy test FILE [--json] -- ARGV...`");
	sp_cleanup(free_policy_ptr) struct sp_policy *policy = NULL;
	if (sp_policy_load(arguments.rest[0], &policy, &e) < 0)
		return fail(e.text);

	struct verdict verdict = {.policy = policy};
	int rc = sp_policy_resolve(policy, arguments.rest[1], verdict.path);
	if (rc < 0 && rc != -ENOENT)
		return fail(strerror(-rc));
	verdict.exists = rc == 0;
	struct sp_exec exec = {
		.path = verdict.path,
		.argv = (const char *const *)arguments.rest + 1,
		.argc = (size_t)arguments.count - 1,
		.envp = (const char *const *)sp_self_environment(),
		.envc = count_strings(sp_self_environment()),
	};
	sp_policy_decide(policy, &exec, &verdict.decision);
	if (!arguments.json)
		print_text(&verdict);
	else if (!print_json(&verdict, &exec))
		return fail("out of memory");
	return verdict.decision.action == SP_ALLOW ? EXIT_SUCCESS : EXIT_REFUSED;
}
