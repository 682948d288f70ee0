/* Plugins in jobs: each verdict, and each way for a plugin to fail. Whatever it does, its exec is refused with a record that says
 * why, and the next one is decided. */
#include "harness.h"

#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void use(struct sp_lab *lab, const char *rest, const char *otherwise)
{
	sp_set_policy(lab,
		      sp_text(lab,
			      "version: 1\nexec: {default: %s, rules: [{id: shell, program: [sh, dash, bash], action: "
			      "allow}]}\nplugins: [{path: %s%s}]\n",
			      otherwise, sp_plugin(lab, "tests/plugins", "oracle"), rest));
}

static struct sp_outcome run(struct sp_lab *lab, const char *script)
{
	return sp_supervise(lab, NULL, sp_argv("sh", "-c", script));
}

static int64_t count(struct sp_lab *lab, const char *where)
{
	return sp_sql_number(lab, sp_text(lab, "SELECT count(*) FROM execs WHERE %s", where));
}

sp_lab_test(plugins, each_verdict)
{
	use(lab, ", timeout_ms: 30000", "deny");
	cleanup_outcome struct sp_outcome outcome =
		run(lab, "/bin/echo allow; /bin/echo deny; echo $?; /bin/echo none; echo $?; /bin/echo kill; echo $?;"
			 " /bin/echo second; /bin/echo later; /bin/echo never; echo $?; /bin/echo program; exit 7");

	sp_assert_ended(&outcome, 7, outcome.err.data);
	cr_assert_str_eq(outcome.out.data, "allow\n127\n126\n137\nsecond\nlater\n126\nprogram\n", "%s",
			 outcome.err.data);
	cr_assert_eq(count(lab, "rule = 'plugin:oracle' AND action = 0 AND verify = 1"), 4);
	cr_assert_eq(count(lab, "rule = 'plugin:oracle' AND errno = 2 AND reason = 'the oracle says no'"), 1);
	cr_assert_eq(count(lab, "rule = 'plugin:oracle' AND action = 3"), 1);
	cr_assert_eq(count(lab, "rule = 'default' AND action = 2"), 1);
	cr_assert_eq(count(lab, "rule = 'plugin:oracle' AND reason LIKE 'the plugin said that it would answer later%'"),
		     1);
}

sp_lab_test(plugins, no_opinion_leaves_it_to_the_default)
{
	use(lab, ", timeout_ms: 30000", "allow");
	cleanup_outcome struct sp_outcome outcome = run(lab, "/bin/echo none; /bin/echo deny; exit 7");

	sp_assert_ended(&outcome, 7, outcome.err.data);
	cr_assert_str_eq(outcome.out.data, "none\n");
	cr_assert_eq(count(lab, "rule = 'default' AND action = 0"), 1);
}

sp_lab_test(plugins, rules_come_first_unless_asked_otherwise)
{
	use(lab, ", timeout_ms: 30000, when: allowed", "deny");
	cleanup_outcome struct sp_outcome outcome = run(lab, "sh deny; echo $?; exit 7");

	/* What a rule allows can be refused by a plugin that is asked about that, too. */
	sp_assert_ended(&outcome, 7, outcome.err.data);
	cr_assert_str_eq(outcome.out.data, "127\n");
	cr_assert_gt(count(lab, "rule = 'plugin:oracle'"), 0);
}

sp_lab_test(plugins, in_process_by_choice)
{
	use(lab, ", timeout_ms: 30000, isolation: none", "deny");
	cleanup_outcome struct sp_outcome outcome =
		run(lab, "/bin/echo allow; /bin/echo deny; /bin/echo later; exit 7");

	sp_assert_ended(&outcome, 7, outcome.err.data);
	cr_assert_str_eq(outcome.out.data, "allow\nlater\n");
}

sp_lab_test(plugins, a_line_for_people)
{
	use(lab, ", timeout_ms: 30000", "allow");
	cleanup_outcome struct sp_outcome outcome = run(lab, "/bin/echo log; exit 7");

	sp_assert_ended(&outcome, 7, outcome.err.data);
	cr_assert_not_null(strstr(outcome.err.data, "plugin oracle: a line for people"), "%s", outcome.err.data);
}

sp_lab_test(plugins, init_that_fails)
{
	use(lab, ", config: {refuse: true}, timeout_ms: 30000", "allow");
	cleanup_outcome struct sp_outcome outcome = run(lab, "/bin/echo allow; echo $?; exit 7");

	sp_assert_ended(&outcome, 7, outcome.err.data);
	cr_assert_str_eq(outcome.out.data, "126\n");
	cr_assert_eq(count(lab, "reason LIKE 'the plugin failed: %'"), 1, "%s",
		     sp_sql_text(lab, "SELECT reason FROM execs WHERE action = 2"));
}

/* A signal does not wait for the answer. */
sp_lab_test(plugins, signals_end_a_wait)
{
	use(lab, ", timeout_ms: 30000", "deny");
	cleanup_outcome struct sp_outcome outcome = run(
		lab,
		"/bin/echo wait & p=$!; i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; kill $p; wait $p; echo $?; "
		"exit 7");

	sp_assert_ended(&outcome, 7, outcome.err.data);
	cr_assert_str_eq(outcome.out.data, "143\n");
}

/* ---- failures ---- */

static const struct {
	const char *wish, *why;
	unsigned timeout;
} failures[] = {
	{"sleep", "no answer within 1000 ms", 1000},
	{"loop", "no answer within 1000 ms", 1000},
	{"abort", "it crashed: SIGABRT", 30000},
	{"exit", "its process ended by itself, status 0", 30000},
	{"scribble", "it crashed: SIG", 30000},
	{"junk", "its answer makes no sense", 30000},
	{"noise", "its answer makes no sense", 30000},
	{"twice", "it answered twice", 30000},
	{"leak", "it crashed: SIG", 30000},
};

ParameterizedTestParameters(plugins, failures)
{
	return sp_each_who_of((int)(sizeof failures / sizeof *failures));
}

ParameterizedTest(int *parameter, plugins, failures)
{
	cleanup_lab struct sp_lab lab;
	const char *wish = failures[SP_INDEX(*parameter)].wish;

	sp_lab_open(&lab, SP_WHO(*parameter));
	use(&lab, sp_text(&lab, ", timeout_ms: %u", failures[SP_INDEX(*parameter)].timeout), "allow");
	cleanup_outcome struct sp_outcome outcome =
		run(&lab, sp_text(&lab, "/bin/echo allow; /bin/echo %s; echo $?; /bin/echo allow; exit 7", wish));
	sp_assert_ended(&outcome, 7, outcome.err.data);
	cr_assert_str_eq(outcome.out.data, "allow\n126\nallow\n", "%s: %s%s", wish, outcome.out.data, outcome.err.data);
	cr_assert_eq(count(&lab, sp_text(&lab,
					 "rule = 'plugin:oracle' AND action = 2 AND errno = 13 AND reason LIKE "
					 "'the plugin failed: %s%%'",
					 failures[SP_INDEX(*parameter)].why)),
		     1, "%s", sp_sql_text(&lab, "SELECT reason FROM execs WHERE action = 2"));
}

/* ---- examples ---- */

sp_lab_test(plugins, git_guard)
{
	static const char git[] = "#!/bin/sh\necho \"$@\"\n";

	(void)sp_write_file(lab, "git", git, sizeof git - 1, 0755);
	sp_set_policy(lab,
		      sp_text(lab,
			      "{version: 1, exec: {default: deny, rules: [{id: all, program: /**, action: allow}]}, "
			      "plugins: [{path: %s, config: {protected: [main]}, when: allowed, timeout_ms: 30000}]}",
			      sp_plugin(lab, "plugins", "git-guard")));
	cleanup_outcome struct sp_outcome outcome = run(
		lab,
		"for w in 'status' 'push origin topic' 'push origin main' '-C / push -f origin HEAD:refs/heads/main'"
		" 'push' 'push --all origin' 'push origin +main' 'push origin topic:main' 'push origin :main'"
		" 'push origin HEAD'; do ./git $w; done; exit 7");
	sp_assert_ended(&outcome, 7, outcome.err.data);
	cr_assert_str_eq(outcome.out.data, "status\npush origin topic\n", "%s", outcome.err.data);
	cr_assert_eq(count(lab, "rule = 'plugin:git-guard' AND reason LIKE 'git-guard: %'"), 8);
}

sp_lab_test(plugins, rate_limit)
{
	sp_set_policy(lab,
		      sp_text(lab,
			      "{version: 1, exec: {default: deny, rules: [{id: all, program: /**, action: allow}]}, "
			      "plugins: [{path: %s, config: {per_minute: 5}, when: allowed, timeout_ms: 30000}]}",
			      sp_plugin(lab, "plugins", "rate-limit")));
	cleanup_outcome struct sp_outcome outcome =
		run(lab, "(for i in 1 2 3 4 5 6 7; do /bin/echo $i; done); /bin/echo other; exit 7");
	sp_assert_ended(&outcome, 7, outcome.err.data);
	cr_assert_str_eq(outcome.out.data, "1\n2\n3\n4\n5\nother\n", "%s", outcome.err.data);
	cr_assert_eq(count(lab, "rule = 'plugin:rate-limit' AND errno = 11"), 2);
}

sp_lab_test(plugins, office_hours)
{
	static const struct {
		const char *days, *out;
	} rows[] = {{"[0, 1, 2, 3, 4, 5, 6]", "late\n"}, {"[]", "126\n"}};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		sp_set_policy(lab,
			      sp_text(lab,
				      "{version: 1, exec: {default: deny, rules: [{id: all, program: /**, action: "
				      "allow}]}, plugins: [{path: %s, config: {programs: [echo], days: %s, from: 0, "
				      "to: 24, otherwise: deny}, when: allowed, timeout_ms: 30000}]}",
				      sp_plugin(lab, "plugins", "office-hours"), rows[i].days));
		cleanup_outcome struct sp_outcome outcome = run(lab, "/bin/echo late || echo $?; exit 7");
		sp_assert_ended(&outcome, 7, outcome.err.data);
		cr_assert_str_eq(outcome.out.data, rows[i].out, "%s", outcome.err.data);
	}
}

/* ---- the manual ---- */

/* What stands in sallyport-plugin(3) between .Bd and .Ed is compiled as it is, and does what it says. */
sp_lab_test(plugins, the_example_in_the_manual)
{
	const char *source = sp_text(lab, "%s/no-tmp.c", lab->directory),
		   *object = sp_text(lab, "%s/no-tmp.so", lab->directory);
	const char *make =
		sp_text(lab,
			"page=$1; sed -n '/^\\.Bd -literal -compact/,/^\\.Ed/p' \"$page\" | sed '1d;$d;s/\\\\e/\\\\/g' "
			">%s && gcc -Wall -Wextra -Werror -shared -fPIC -I\"$2\" -o %s %s && chmod 644 %s",
			source, object, source, object);
	const char *page = sp_file(lab, "docs/sallyport-plugin.3"), *header = sp_file(lab, "proto/sallyport-plugin.h");
	const char *proto = sp_text(lab, "%.*s", (int)(strrchr(header, '/') - header), header);

	cleanup_outcome struct sp_outcome compiled = sp_run(lab, NULL, sp_argv("sh", "-c", make, "sh", page, proto));
	sp_assert_ended(&compiled, 0, compiled.err.data);
	sp_set_policy(
		lab,
		sp_text(lab, "{version: 1, exec: {default: allow}, plugins: [{path: %s, timeout_ms: 30000}]}", object));
	cleanup_outcome struct sp_outcome outcome =
		run(lab, sp_text(lab, "cp /bin/echo %s/it; /bin/echo fine; %s/it bad || echo $?; exit 7",
				 lab->directory, lab->directory));
	sp_assert_ended(&outcome, 7, outcome.err.data);
	cr_assert_str_eq(outcome.out.data, "fine\n126\n", "%s", outcome.err.data);
}
