/* A policy that is read again while its job runs: every exec is decided by one generation or another, and its record says by which. */
#include "talk.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* One rule, whose id is the generation that it will be. */
#define GENERATION "{version: 1, exec: {default: deny, rules: [{id: g%ld, program: /**, action: allow}]}}\n"

/* In one step: whoever reads finds the old file or the new one. */
static void write_policy(struct sp_lab *lab, const char *text)
{
	const char *new = sp_write_file(lab, "new.yaml", text, strlen(text), 0644);

	if (lab->policy == NULL)
		sp_set_policy(lab, text);
	else
		cr_assert_eq(rename(new, lab->policy), 0);
}

/* Two shells that start one program after the other until there is a file called stop; the others make pipelines. */
#define STORM                                                                                                          \
	"s() { while [ ! -e stop ]; do /bin/true; /bin/echo x | /bin/cat >/dev/null || exit 3; nothere 2>/dev/null; "  \
	":; done; };"                                                                                                  \
	"s & a=$!; s & b=$!; echo ready; wait $a && wait $b && exit 7"

static void assert_all_decided(struct sp_lab *lab, long generations)
{
	cr_assert_eq(sp_sql_number(lab, "SELECT count(*) FROM execs WHERE result = 0"), 0);
	cr_assert_eq(sp_sql_number(lab, "SELECT count(*) FROM execs WHERE action != 0"), 0);
	cr_assert_eq(sp_sql_number(lab, "SELECT count(*) FROM execs WHERE generation = 0"), 0);
	/* What had no file was not judged by a rule. */
	cr_assert_eq(
		sp_sql_number(lab,
			      "SELECT count(*) FROM execs WHERE rule != 'g' || generation AND rule != 'unresolved'"),
		0);
	cr_assert_eq(sp_sql_number(lab, "SELECT max(generation) FROM policies"), generations);
	cr_assert_eq(sp_sql_number(lab, "SELECT count(*) FROM policies"), generations - 1);
	/* What was counted is what was recorded. */
	cr_assert_eq(
		sp_sql_number(lab,
			      "SELECT count(*) FROM (SELECT generation, rule, count(*) AS n FROM execs WHERE"
			      " rule != 'unresolved' GROUP BY generation) e LEFT JOIN rules r USING (generation, rule)"
			      " WHERE r.hits IS NOT e.n"),
		0);
}

sp_lab_test(reload, in_an_exec_storm)
{
	const long rounds = sp_size(200, 1000);
	long generation = 1;

	sp_set_policy(lab, sp_text(lab, GENERATION, generation));
	struct sp_child child = sp_start(lab, NULL, sp_supervised_argv(lab, sp_argv("sh", "-c", STORM)));
	child.deadline = sp_deadline((int)sp_size(60, 600));
	cr_assert(sp_await_text(&child, "ready"));
	cleanup_caller struct sp_caller caller = sp_call_up(sp_await_socket(lab, &child));
	for (long i = 1; i <= rounds; i++) {
		const bool broken = i % 10 == 0;

		write_policy(lab, broken ? "{version: 1, exec: {default: deny, rules: [{id: g1, program: 7]}}\n"
					 : sp_text(lab, GENERATION, generation + 1));
		cleanup_reply struct sp_reply reply =
			broken ? sp_ask_in_vain(&caller, "io.sallyport.Reload", NULL, "io.sallyport.BadPolicy")
			       : sp_ask(&caller, "io.sallyport.Reload", NULL);
		if (broken)
			continue;
		generation++;
		cr_assert_eq(json_integer_value(json_object_get(reply.parameters, "generation")), generation);
	}
	(void)sp_write_file(lab, "stop", "", 0, 0644);
	cleanup_outcome struct sp_outcome outcome = sp_finish(&child);
	sp_assert_ended(&outcome, 7, "the storm");
	cr_assert_str_empty(outcome.err.data);
	assert_all_decided(lab, generation);
}

#define READ_OR_EXIT "echo ready; read line; /bin/echo said $line; exit 7"

static void assert_ends(struct sp_child *child, const char *says, const char *complains)
{
	cr_assert_eq(write(child->input, "go\n", 3), 3);
	cleanup_outcome struct sp_outcome outcome = sp_finish(child);
	sp_assert_ended(&outcome, 7, "the job");
	cr_assert_not_null(strstr(outcome.out.data, says), "%s", outcome.out.data);
	cr_assert_not_null(strstr(outcome.err.data, complains), "%s", outcome.err.data);
}

/* What is refused by the new policy is refused; what the launch has set up stays. */
sp_lab_test(reload, decides_anew)
{
	sp_set_policy(lab, "{version: 1, exec: {default: allow}}");
	struct sp_child child = sp_start_ready(lab, "/bin/echo one; echo ready; read line; /bin/echo two; exit 7");
	cleanup_caller struct sp_caller caller = sp_call_up(sp_await_socket(lab, &child));
	write_policy(
		lab,
		"{version: 1, name: tight, exec: {default: allow, rules: [{id: no, program: echo, action: deny}]}}");
	cleanup_reply struct sp_reply reply = sp_ask(&caller, "io.sallyport.Reload", NULL);
	cleanup_reply struct sp_reply list = sp_ask(&caller, "io.sallyport.List", NULL);
	cr_assert_str_eq(json_string_value(json_object_get(json_array_get(json_object_get(list.parameters, "jobs"), 0),
							   "policy")),
			 "tight");
	cr_assert_eq(write(child.input, "go\n", 3), 3);
	cleanup_outcome struct sp_outcome outcome = sp_finish(&child);
	sp_assert_ended(&outcome, 7, "the job");
	cr_assert_str_eq(outcome.out.data, "one\nready\n");
	cr_assert_str_eq(sp_sql_text(lab, "SELECT policy FROM policies"), "tight");
	cleanup_outcome struct sp_outcome stats =
		sp_client(lab, sp_argv("policy", "stats", "--json", "--audit", lab->audit));
	cr_assert_not_null(strstr(stats.out.data, "\"generation\":2,\"rule\":\"no\",\"action\":\"deny\",\"hits\":1,"),
			   "%s", stats.out.data);
}

/* A rule about variables: in the memory of a program that was there before nobody has looked for them. */
sp_lab_test(reload, wants_the_environment_from_then_on)
{
	sp_set_policy(lab, "{version: 1, exec: {default: allow}}");
	struct sp_child child = sp_start_ready(
		lab, "X=1 /bin/echo one; echo ready; read line; X=1 /bin/echo two; /bin/echo three; exit 7");
	cleanup_caller struct sp_caller caller = sp_call_up(sp_await_socket(lab, &child));
	write_policy(lab, "{version: 1, exec: {default: allow, rules: [{id: no, env: [X], action: deny}]}}");
	cleanup_reply struct sp_reply reply = sp_ask(&caller, "io.sallyport.Reload", NULL);
	cr_assert_eq(write(child.input, "go\n", 3), 3);
	cleanup_outcome struct sp_outcome outcome = sp_finish(&child);
	sp_assert_ended(&outcome, 7, "the job");
	cr_assert_str_eq(outcome.out.data, "one\nready\nthree\n");
}

/* The command: several jobs, a file that is bad, one that is not there any more. */
sp_lab_test(reload, by_command)
{
	sp_set_policy(lab, sp_text(lab, GENERATION, 1L));
	struct sp_child child = sp_start_ready(lab, READ_OR_EXIT);
	const char *socket = sp_await_socket(lab, &child), *said = NULL;
	const char *command =
		sp_text(lab, "%s reload --audit %s %s 2>&1", sp_sallyport(lab), lab->audit, sp_job_of(socket));

	write_policy(lab, sp_text(lab, GENERATION, 2L));
	cr_assert_eq(sp_beside(lab, sp_argv("sh", "-c", command), &said), 0, "%s", said);
	cr_assert_str_eq(said, sp_text(lab, "job %s: generation 2\n", sp_job_of(socket)));
	write_policy(lab, "{version: 1,\n exec: {default: perhaps}}");
	cr_assert_eq(sp_beside(lab, sp_argv("sh", "-c", command), &said), 2, "%s", said);
	cr_assert_not_null(strstr(said, " keeps its policy: "), "%s", said);
	cr_assert_not_null(strstr(said, sp_text(lab, "%s:2:", lab->policy)), "%s", said);
	write_policy(lab, "{version: 1, exec: {default: allow, tests: [{argv: [/bin/true], expect: deny}]}}");
	cr_assert_eq(sp_beside(lab, sp_argv("sh", "-c", command), &said), 2, "a test of its own fails: %s", said);
	cr_assert_eq(unlink(lab->policy), 0);
	cr_assert_eq(sp_beside(lab, sp_argv("sh", "-c", command), &said), 2, "%s", said);
	cr_assert_eq(
		sp_beside(lab,
			  sp_argv("sh", "-c", sp_text(lab, "%s reload --audit %s 99", sp_sallyport(lab), lab->audit)),
			  &said),
		1);
	assert_ends(&child, "said go", "");
	cr_assert_eq(sp_sql_number(lab, "SELECT max(generation) FROM execs"), 2);
}

static void await_reload(struct sp_child *child, const char *sentence)
{
	char buffer[4096];
	size_t size = 0;

	while (size < sizeof buffer - 1) {
		struct pollfd err = {.fd = child->err, .events = POLLIN};
		cr_assert_gt(poll(&err, 1, 30000), 0, "nothing is said");
		ssize_t n = read(child->err, buffer + size, sizeof buffer - 1 - size);
		cr_assert_gt(n, 0);
		size += (size_t)n;
		buffer[size] = '\0';
		if (strstr(buffer, sentence) != NULL)
			return;
	}
}

sp_lab_test(reload, by_signal)
{
	sp_set_policy(lab, sp_text(lab, GENERATION, 1L));
	struct sp_child child = sp_start_ready(lab, READ_OR_EXIT);

	write_policy(lab, sp_text(lab, GENERATION, 2L));
	cr_assert_eq(kill(child.pid, SIGHUP), 0);
	await_reload(&child, "the policy was read again: generation 2\n");
	write_policy(lab, "junk");
	cr_assert_eq(kill(child.pid, SIGHUP), 0);
	await_reload(&child, "the policy stays as it was: ");
	assert_ends(&child, "said go", "");
	cr_assert_eq(sp_sql_number(lab, "SELECT max(generation) FROM execs"), 2);
}

/* The job may ask as much as it likes, also by processes that are dead before the supervisor looks who they were. */
sp_lab_test(reload, not_by_the_job)
{
	sp_set_policy(lab, sp_text(lab, GENERATION, 1L));
	struct sp_child child =
		sp_start_ready(lab, "trap '' HUP; echo ready; read s; i=0; while [ $i -lt 50 ]; do (kill -HUP "
				    "$s) & i=$((i+1)); done; kill -HUP $s;"
				    " wait; /bin/kill -HUP $s; /bin/true; read line; exit 7");

	write_policy(lab, sp_text(lab, GENERATION, 2L));
	const char *words = sp_text(lab, "%d\ngo\n", child.pid);
	cr_assert_eq(write(child.input, words, strlen(words)), (ssize_t)strlen(words));
	cleanup_outcome struct sp_outcome outcome = sp_finish(&child);
	sp_assert_ended(&outcome, 7, "the job");
	cr_assert_str_empty(outcome.err.data);
	cr_assert_eq(sp_sql_number(lab, "SELECT count(*) FROM policies"), 0);
}

/* Nothing to be read again: the signal is the program's. */
sp_lab_test(reload, without_a_file_it_is_a_hang_up)
{
	struct sp_child child =
		sp_start_ready(lab, "trap 'echo hung up; exit 7' HUP; echo ready; while :; do read line; done");
	cleanup_caller struct sp_caller caller = sp_call_up(sp_await_socket(lab, &child));
	cleanup_reply struct sp_reply reply =
		sp_ask_in_vain(&caller, "io.sallyport.Reload", NULL, "io.sallyport.BadPolicy");

	cr_assert_eq(kill(child.pid, SIGHUP), 0);
	cr_assert(sp_await_text(&child, "hung up"));
	cleanup_outcome struct sp_outcome outcome = sp_finish(&child);
	sp_assert_ended(&outcome, 7, "the job");
}
