/* An exec that a person is asked about: answers from another terminal, on the job's own, by silence, and by what was said before. */
#include "pty.h"
#include "talk.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK                                                                                                           \
	"{version: 1, exec: {default: allow, rules: [{id: look, program: ls, action: ask, reason: Somebody looks.}]}"
#define ASKS LOOK "}"
#define ASKS_SHORTLY LOOK ", ask: {timeout_seconds: 1}}"

/* ---- from elsewhere ---- */

struct answering {
	struct sp_child child;
	struct sp_caller watcher, caller;
	const char *job;
};

static struct answering start_job(struct sp_lab *lab, const char *policy, const char *script)
{
	struct answering a = {0};

	if (policy != NULL)
		sp_set_policy(lab, policy);
	a.child = sp_start(lab, NULL, sp_supervised_argv(lab, sp_argv("sh", "-c", script)));
	const char *socket = sp_await_socket(lab, &a.child);
	a.job = sp_job_of(socket);
	a.watcher = sp_call_up(socket);
	a.caller = sp_call_up(socket);
	cr_assert_eq(sp_caller_send(&a.watcher, "io.sallyport.Approvals", NULL, SP_CALL_MORE, NULL, 0), 0);
	return a;
}

/* The first of those that wait, once there are so many; the caller's. */
static json_t *await_questions(struct answering *a, size_t count)
{
	for (;;) {
		cleanup_reply struct sp_reply reply = {0};

		int err = sp_caller_receive(&a->watcher, &reply);
		cr_assert(err == 0 && reply.error == NULL && reply.continues, "%s", strerror(-err));
		const json_t *approvals = json_object_get(reply.parameters, "approvals");
		if (json_array_size(approvals) == count)
			return count > 0 ? json_incref(json_array_get(approvals, 0)) : NULL;
	}
}

static const char *text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value != NULL ? value : "";
}

static void finish(struct answering *a, const char *out, int status)
{
	cleanup_outcome struct sp_outcome outcome = sp_finish(&a->child);

	sp_caller_close(&a->watcher);
	sp_caller_close(&a->caller);
	sp_assert_ended(&outcome, status, "the job");
	cr_assert_str_eq(outcome.out.data, out, "%s", outcome.err.data);
}

static void reply_to(struct answering *a, const json_t *question, const char *method, const char *remember,
		     const char *scope)
{
	json_t *parameters = json_pack("{ss}", "approval", text(question, "approval"));

	if (remember != NULL)
		(void)json_object_set_new(parameters, "remember", json_string(remember));
	if (scope != NULL)
		(void)json_object_set_new(parameters, "scope", json_string(scope));
	cleanup_reply struct sp_reply reply = sp_ask(&a->caller, method, parameters);
}

sp_lab_test(ask, approved_and_denied)
{
	struct answering a = start_job(lab, ASKS, "ls -d / && ! ls -d /tmp 2>/dev/null; exit 7");
	json_t *first = await_questions(&a, 1);

	cr_assert_str_eq(text(first, "rule"), "look");
	cr_assert_str_eq(text(first, "reason"), "Somebody looks.");
	cr_assert_str_eq(text(first, "job"), a.job);
	cr_assert_not_null(strstr(text(first, "program"), "/ls"));
	cr_assert_str_eq(json_string_value(json_array_get(json_object_get(first, "argv"), 2)), "/");
	reply_to(&a, first, "io.sallyport.Approve", NULL, NULL);
	json_t *second = await_questions(&a, 1);
	while (strcmp(text(second, "approval"), text(first, "approval")) == 0) {
		json_decref(second);
		second = await_questions(&a, 1);
	}
	cleanup_reply struct sp_reply twice =
		sp_ask_in_vain(&a.caller, "io.sallyport.Approve",
			       json_pack("{ss}", "approval", text(first, "approval")), "io.sallyport.NoSuchApproval");
	cleanup_reply struct sp_reply reply =
		sp_ask(&a.caller, "io.sallyport.Deny",
		       json_pack("{ss ss}", "approval", text(second, "approval"), "reason", "not there"));
	finish(&a, "/\n", 7);
	json_decref(first);
	json_decref(second);
	cr_assert_eq(
		sp_sql_number(lab, "SELECT count(*) FROM execs WHERE rule = 'look' AND asked > 0 AND asked <= time"),
		2);
	cr_assert_eq(sp_sql_number(lab,
				   "SELECT count(*) FROM execs WHERE rule = 'look' AND action = 0 AND verify = 1 AND"
				   " answer LIKE 'approved by uid %, pid %'"),
		     1);
	cr_assert_eq(
		sp_sql_number(lab,
			      "SELECT count(*) FROM execs WHERE rule = 'look' AND action = 2 AND reason = 'not there'"
			      " AND answer LIKE 'denied by uid %'"),
		1);
}

/* Everybody else goes on: it is another process of the job that makes an end of the wait. */
sp_lab_test(ask, the_others_go_on)
{
	struct answering a = start_job(lab, ASKS,
				       "ls -d / & i=0; while [ $i -lt 50 ]; do /bin/true; i=$((i+1)); done;"
				       " echo others; read line; wait; exit 7");
	json_t *question = await_questions(&a, 1);

	cr_assert(sp_await_text(&a.child, "others\n"));
	reply_to(&a, question, "io.sallyport.Approve", NULL, NULL);
	cr_assert(sp_await_text(&a.child, "/\n"));
	finish(&a, "others\n/\n", 7);
	json_decref(question);
}

sp_lab_test(ask, silence)
{
	struct answering a = start_job(lab, ASKS_SHORTLY, "ls -d / 2>/dev/null; exit 7");

	finish(&a, "", 7);
	cr_assert_eq(sp_sql_number(lab, "SELECT count(*) FROM execs WHERE rule = 'look' AND action = 2 AND answer LIKE"
					" 'denied by nobody%'"),
		     1, "and the same file by its other name is not asked about again");
	a = start_job(lab, LOOK ", ask: {timeout_seconds: 1, otherwise: allow}}", "ls -d /; exit 7");
	finish(&a, "/\n", 7);
	a = start_job(lab, LOOK ", ask: {timeout_seconds: 1, otherwise: kill}}", "ls -d /; echo $?; exit 7");
	finish(&a, "137\n", 7);
}

/* Who asks is gone: nothing is left to be answered, and the record says so. */
sp_lab_test(ask, dies_while_it_waits)
{
	struct answering a = start_job(lab, ASKS, "ls -d / & read line; kill -9 $!; wait; exit 7");
	json_t *question = await_questions(&a, 1);

	cr_assert_eq(write(a.child.input, "go\n", 3), 3);
	(void)await_questions(&a, 0);
	finish(&a, "", 7);
	json_decref(question);
	cr_assert_eq(sp_sql_number(lab,
				   "SELECT count(*) FROM execs WHERE rule = 'look' AND action = 1 AND result = 5 AND"
				   " asked > 0 AND answer IS NULL"),
		     1);
}

/* A call that waits so long is one that a signal interrupts: it ends who has no handler, and who has one asks again. */
sp_lab_test(ask, a_signal_is_taken_while_it_waits)
{
	struct answering a = start_job(lab, ASKS,
				       "ls -d / & read line; kill $!; wait $!; echo $?;"
				       " (trap : USR1; exec ls -d /tmp) & read line; kill -USR1 $!; wait; exit 7");
	json_t *first = await_questions(&a, 1);

	cr_assert_eq(write(a.child.input, "go\n", 3), 3);
	cr_assert(sp_await_text(&a.child, "143\n"));
	(void)await_questions(&a, 0);
	json_t *second = await_questions(&a, 1);
	cr_assert_eq(write(a.child.input, "go\n", 3), 3);
	json_t *again = await_questions(&a, 1);
	while (strcmp(text(again, "approval"), text(second, "approval")) == 0) {
		json_decref(again);
		again = await_questions(&a, 1);
	}
	reply_to(&a, again, "io.sallyport.Approve", NULL, NULL);
	finish(&a, "143\n/tmp\n", 7);
	json_decref(first);
	json_decref(second);
	json_decref(again);
}

/* The job's very first exec, and a job that is killed while it waits. */
sp_lab_test(ask, the_first_exec)
{
	sp_set_policy(lab, "{version: 1, exec: {default: ask}}");
	struct answering a = start_job(lab, NULL, "exit 7");
	json_t *question = await_questions(&a, 1);

	reply_to(&a, question, "io.sallyport.Approve", NULL, NULL);
	finish(&a, "", 7);
	json_decref(question);
	a = start_job(lab, NULL, "exit 7");
	question = await_questions(&a, 1);
	cleanup_reply struct sp_reply killed = sp_ask(&a.caller, "io.sallyport.Kill", json_pack("{ss}", "job", a.job));
	finish(&a, "", 137);
	json_decref(question);
	a = start_job(lab, NULL, "exit 7");
	question = await_questions(&a, 1);
	reply_to(&a, question, "io.sallyport.Deny", NULL, NULL);
	finish(&a, "", 126);
	json_decref(question);
}

/* A policy that is read again meanwhile: the question stays that of the policy that asks. */
sp_lab_test(ask, reloaded_while_it_waits)
{
	struct answering a = start_job(lab, ASKS, "ls -d /; ls -d /tmp; exit 7");
	json_t *question = await_questions(&a, 1);

	sp_set_policy(lab, "{version: 1, exec: {default: allow}}");
	cleanup_reply struct sp_reply reloaded = sp_ask(&a.caller, "io.sallyport.Reload", NULL);
	reply_to(&a, question, "io.sallyport.Approve", NULL, NULL);
	finish(&a, "/\n/tmp\n", 7);
	json_decref(question);
	cr_assert_eq(sp_sql_number(lab, "SELECT generation FROM execs WHERE rule = 'look'"), 1);
	cr_assert_eq(sp_sql_number(lab, "SELECT max(generation) FROM execs"), 2);
}

/* ---- what is remembered ---- */

sp_lab_test(ask, remembered_for_the_job)
{
	struct answering a = start_job(lab, ASKS, "ls -d /; ls -d /; ls -d /tmp; exit 7");
	json_t *first = await_questions(&a, 1);

	reply_to(&a, first, "io.sallyport.Approve", "job", "exact");
	(void)await_questions(&a, 0);
	json_t *other = await_questions(&a, 1);
	cr_assert_str_eq(json_string_value(json_array_get(json_object_get(other, "argv"), 2)), "/tmp");
	reply_to(&a, other, "io.sallyport.Approve", NULL, NULL);
	finish(&a, "/\n/\n/tmp\n", 7);
	cr_assert_eq(sp_sql_number(lab, "SELECT count(*) FROM execs WHERE asked = 0 AND answer LIKE"
					" 'remembered for the job: approved by uid %'"),
		     1);
	json_decref(first);
	json_decref(other);
	/* Another job knows nothing of it. */
	a = start_job(lab, NULL, "ls -d /; exit 7");
	first = await_questions(&a, 1);
	reply_to(&a, first, "io.sallyport.Deny", NULL, NULL);
	finish(&a, "", 7);
	json_decref(first);
}

/* By the commands, with the rule shown before; and in the next job nobody is asked. */
sp_lab_test(ask, remembered_for_good)
{
	struct answering a = start_job(lab, ASKS, "ls -d /; exit 7");
	json_t *question = await_questions(&a, 1);
	const char *said = NULL, *sallyport = sp_sallyport(lab);
	const char *state = sp_text(lab, "XDG_STATE_HOME=%s/state %s", lab->directory, sallyport);
	const char *file = sp_text(lab, "%s/state/sallyport/remembered.yaml", lab->directory);

	cr_assert_eq(sp_beside(lab, sp_argv("sh", "-c", sp_text(lab, "%s approvals", state)), &said), 0);
	cr_assert_not_null(strstr(said, text(question, "approval")), "%s", said);
	cr_assert_not_null(strstr(said, "/ls -d /\n"), "%s", said);
	cr_assert_eq(sp_beside(lab,
			       sp_argv("sh", "-c",
				       sp_text(lab, "%s approve --remember always --scope words %s", state, a.job)),
			       &said),
		     0, "%s", said);
	cr_assert_not_null(
		strstr(said,
		       "Remembered 30d: {\"program\": [\"/usr/bin/ls\"], \"words\": [\"/\"], \"action\": \"allow\"}\n"),
		"%s", said);
	finish(&a, "/\n", 7);
	json_decref(question);
	struct stat status;
	cr_assert_eq(stat(file, &status), 0);
	cr_assert_eq(status.st_mode & 077, 0);

	cleanup_outcome struct sp_outcome next = sp_supervise(lab, NULL, sp_argv("ls", "-d", "/"));
	sp_assert_ended(&next, 0, "the next job");
	cr_assert_eq(sp_sql_number(
			     lab, "SELECT count(*) FROM execs WHERE asked = 0 AND answer LIKE 'remembered: approved%'"),
		     1);
	/* What others can write is not believed. */
	cr_assert_eq(chmod(file, 0622), 0);
	sp_set_policy(lab, ASKS_SHORTLY);
	cleanup_outcome struct sp_outcome open = sp_supervise(lab, NULL, sp_argv("ls", "-d", "/"));
	sp_assert_ended(&open, 126, "with a file that others can write");
	cr_assert_not_null(strstr(open.err.data, "others than its owner can write it"), "%s", open.err.data);
	/* Another policy asks on its own account. */
	cr_assert_eq(chmod(file, 0600), 0);
	const char *other = sp_write_file(lab, "other.yaml", ASKS_SHORTLY, strlen(ASKS_SHORTLY), 0644);
	lab->policy = (char *)other;
	cleanup_outcome struct sp_outcome otherwise = sp_supervise(lab, NULL, sp_argv("ls", "-d", "/"));
	sp_assert_ended(&otherwise, 126, "another policy");
}

/* What was shown is what is remembered, or nothing is answered. */
sp_lab_test(ask, another_rule_than_was_shown)
{
	struct answering a = start_job(lab, ASKS, "ls -d /; exit 7");
	json_t *question = await_questions(&a, 1);
	const char *id = text(question, "approval");
	cleanup_reply struct sp_reply shown =
		sp_ask(&a.caller, "io.sallyport.Preview",
		       json_pack("{ss ss ss}", "approval", id, "action", "allow", "scope", "exact"));
	cleanup_reply struct sp_reply refused =
		sp_ask_in_vain(&a.caller, "io.sallyport.Approve",
			       json_pack("{ss ss ss ss}", "approval", id, "remember", "job", "scope", "program", "rule",
					 text(shown.parameters, "rule")),
			       "io.sallyport.NotPossible");
	cleanup_reply struct sp_reply reply =
		sp_ask(&a.caller, "io.sallyport.Approve",
		       json_pack("{ss ss ss ss}", "approval", id, "remember", "job", "scope", "exact", "rule",
				 text(shown.parameters, "rule")));
	finish(&a, "/\n", 7);
	json_decref(question);
}

/* A job cannot answer itself. */
sp_lab_test(ask, not_by_the_job)
{
	const char *script = sp_text(lab, "ls -d / & read id; %s approve $id; wait; exit 7", sp_sallyport(lab));
	struct answering a = start_job(lab, ASKS, script);
	json_t *question = await_questions(&a, 1);
	const char *id = sp_text(lab, "%s\n", text(question, "approval"));

	cr_assert_eq(write(a.child.input, id, strlen(id)), (ssize_t)strlen(id));
	struct pollfd answered = {.fd = a.watcher.socket, .events = POLLIN};
	cr_assert_eq(poll(&answered, 1, 500), 0, "it was answered");
	reply_to(&a, question, "io.sallyport.Deny", NULL, NULL);
	finish(&a, "", 7);
	json_decref(question);
	cr_assert_eq(sp_sql_number(lab, "SELECT count(*) FROM execs WHERE answer LIKE 'approved%'"), 0);
}

/* ---- on the terminal ---- */

static struct sp_child sit_before(struct sp_lab *lab, const char *policy, const char *script)
{
	if (strcmp(sp_tracking(), "oneshot") == 0)
		cr_skip_test("one-shot tracking has nobody to hold, and asks elsewhere");
	sp_set_policy(lab, policy);
	return sp_start_on_terminal(lab, sp_supervised_argv(lab, sp_argv("sh", "-c", script)));
}

sp_lab_test(ask_on_terminal, yes_and_no)
{
	struct sp_child child = sit_before(lab, ASKS, "ls -d /; ls -d /tmp; echo do''ne; exit 7");

	sp_expect_next(&child, "sallyport: look asks: Somebody looks.");
	sp_expect_next(&child, "ls -d /\r\n");
	sp_expect_next(&child, "Allow it?");
	sp_type(&child, "perhaps\n");
	sp_expect_next(&child, "Allow it?");
	sp_type(&child, "y\n");
	sp_expect_next(&child, "/\r\n");
	sp_expect_next(&child, "Allow it?");
	sp_type(&child, "n\n");
	sp_expect_next(&child, "done");
	sp_expect_end(&child, 7);
	cr_assert_eq(sp_sql_number(lab, "SELECT count(*) FROM execs WHERE answer LIKE '%on the job''s terminal'"), 2);
}

sp_lab_test(ask_on_terminal, remembers)
{
	struct sp_child child = sit_before(lab, ASKS, "ls -d /; ls -d /; ls -d /tmp; echo do''ne; exit 7");

	sp_expect_next(&child, "Allow it?");
	sp_type(&child, "jp\n");
	sp_expect_next(&child, "{\"program\": [\"/usr/bin/ls\"], \"action\": \"allow\"}");
	sp_expect_next(&child, "Is that right?");
	sp_type(&child, "n\n");
	sp_expect_next(&child, "Allow it?");
	sp_type(&child, "j\n");
	sp_expect_next(&child, "\"argv\": [\"-d\", \"/\"]");
	sp_expect_next(&child, "Is that right?");
	sp_type(&child, "y\n");
	sp_expect_next(&child, "/\r\n/\r\n");
	sp_expect_next(&child, "Allow it?");
	sp_type(&child, "y\n");
	sp_expect_next(&child, "done");
	sp_expect_end(&child, 7);
}

/* A program that sits in read(2) when the question comes: the answer is not for it, and what is typed then is. */
sp_lab_test(ask_on_terminal, the_programs_input_is_its_own)
{
	struct sp_child child = sit_before(lab, ASKS,
					   "echo rea''dy; (while [ ! -e go ]; do sleep 0.01; done; exec ls -d /) &"
					   " read line; echo got-$line; wait; exit 7");

	sp_expect_next(&child, "ready");
	(void)sp_write_file(lab, "go", "", 0, 0644);
	sp_expect_next(&child, "Allow it?");
	sp_type(&child, "y\n");
	sp_expect_next(&child, "/\r\n");
	sp_type(&child, "hello\n");
	sp_expect_next(&child, "got-hello");
	sp_expect_end(&child, 7);
}

/* What was typed before is waited for: until then the question is told of, and not asked. */
sp_lab_test(ask_on_terminal, what_was_typed_before)
{
	struct sp_child child =
		sit_before(lab, ASKS,
			   "echo rea''dy; while [ ! -e go ]; do sleep 0.01; done; ls -d / &"
			   " while [ ! -e on ]; do sleep 0.01; done; read line; echo got-$line; wait; exit 7");

	sp_expect_next(&child, "ready");
	sp_type(&child, "early\n");
	(void)sp_write_file(lab, "go", "", 0, 0644);
	sp_expect_next(&child, "answer by `sallyport approve");
	(void)sp_write_file(lab, "on", "", 0, 0644);
	sp_expect_next(&child, "got-early");
	sp_expect_next(&child, "Allow it?");
	sp_type(&child, "y\n");
	sp_expect_next(&child, "/\r\n");
	sp_expect_end(&child, 7);
}

/* A terminal in the mode of a program that draws on it is put back as it was. */
sp_lab_test(ask_on_terminal, settings_are_put_back)
{
	struct sp_child child = sit_before(lab, ASKS,
					   "stty -echo -icanon -icrnl min 1; stty -g >before; ls -d /; stty -g >after;"
					   " stty sane; cmp before after && echo sa''me; exit 7");

	sp_expect_next(&child, "Allow it?");
	sp_type(&child, "y\n");
	sp_expect_next(&child, "same");
	sp_expect_end(&child, 7);
}

sp_lab_test(ask_on_terminal, ctrl_c_is_the_programs)
{
	struct sp_child child = sit_before(lab, ASKS, "ls -d /; echo not rea''ched");

	sp_expect_next(&child, "Allow it?");
	sp_type(&child, "\003");
	sp_expect_end(&child, 130);
}

/* A shell before it, and job control: the question goes with the job, and comes again with it. */
sp_lab_test(ask_on_terminal, stopped_and_continued)
{
	sp_set_policy(lab, ASKS);
	struct sp_child child =
		sp_start_on_terminal(lab, sp_argv("bash", "--norc", "--noprofile", "--noediting", "-i"));
	const char *command = sp_text(lab, "%s run -p %s --audit %s -- sh -c \"ls -d /; echo do''ne\"",
				      sp_sallyport(lab), lab->policy, lab->audit);

	sp_type(&child, sp_text(lab, "%s\n", command));
	sp_expect_next(&child, "Allow it?");
	sp_type(&child, "\032");
	sp_expect_next(&child, "Stopped");
	sp_type(&child, "echo she''ll; fg\n");
	sp_expect_next(&child, "shell");
	sp_expect_next(&child, "Allow it?");
	sp_type(&child, "y\n");
	sp_expect_next(&child, "done");
	/* In the background it is told of, and asked when it comes to the front. */
	sp_type(&child, sp_text(lab, "%s &\n", command));
	sp_expect_next(&child, "answer by `sallyport approve");
	sp_type(&child, "echo she''ll; fg\n");
	sp_expect_next(&child, "shell");
	sp_expect_next(&child, "Allow it?");
	sp_type(&child, "y\n");
	sp_expect_next(&child, "done");
	sp_type(&child, "exit 7\n");
	sp_expect_end(&child, 7);
}

/* A shell inside: the terminal is its, is taken for the question, and given back. */
sp_lab_test(ask_on_terminal, a_shell_inside)
{
	if (strcmp(sp_tracking(), "oneshot") == 0)
		cr_skip_test("one-shot tracking has nobody to hold, and asks elsewhere");
	sp_set_policy(lab, ASKS);
	struct sp_child child = sp_start_on_terminal(
		lab, sp_supervised_argv(lab, sp_argv("bash", "--norc", "--noprofile", "--noediting", "-i")));

	sp_type(&child, "echo rea''dy\n");
	sp_expect_next(&child, "ready");
	sp_type(&child, "ls -d /\n");
	sp_expect_next(&child, "Allow it?");
	sp_type(&child, "y\n");
	sp_expect_next(&child, "/\r\n");
	sp_type(&child, "read line; echo got-$line\n");
	sp_type(&child, "hello\n");
	sp_expect_next(&child, "got-hello");
	sp_type(&child, "exit 7\n");
	sp_expect_end(&child, 7);
}

/* Nobody answers here: the time is over, or somebody has answered elsewhere. */
sp_lab_test(ask_on_terminal, answered_elsewhere)
{
	struct sp_child child = sit_before(lab, ASKS_SHORTLY, "ls -d /; echo do''ne; exit 7");

	sp_expect_next(&child, "Allow it?");
	sp_expect_next(&child, "needs no answer any more");
	sp_expect_next(&child, "done");
	sp_expect_end(&child, 7);

	child = sit_before(lab, ASKS, "ls -d /; read line; echo got-$line; exit 7");
	sp_expect_next(&child, "Allow it?");
	sp_type(&child, "half an ans");
	cleanup_caller struct sp_caller caller = sp_call_up(sp_await_socket(lab, &child));
	cleanup_reply struct sp_reply list = sp_ask(&caller, "io.sallyport.Approvals", NULL);
	const json_t *question = json_array_get(json_object_get(list.parameters, "approvals"), 0);
	cleanup_reply struct sp_reply reply =
		sp_ask(&caller, "io.sallyport.Approve", json_pack("{ss}", "approval", text(question, "approval")));
	sp_expect_next(&child, "needs no answer any more");
	sp_expect_next(&child, "/\r\n");
	sp_type(&child, "hello\n");
	sp_expect_next(&child, "got-hello");
	sp_expect_end(&child, 7);
}
