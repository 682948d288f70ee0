/* The interface of a running supervisor, by its socket: what it answers, whom it answers, and that nobody who talks to it can
 * harm it or its job. */
#include "talk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* It lives on, and ends as it would have. */
static void assert_unharmed(struct sp_child *child)
{
	cr_assert_eq(write(child->input, "go on\n", 6), 6);
	cleanup_outcome struct sp_outcome outcome = sp_finish(child);
	sp_assert_ended(&outcome, 7, "the job");
	cr_assert_not_null(strstr(outcome.out.data, "said go on"), "%s", outcome.out.data);
}

#define LISTENS "echo ready; read line; /bin/echo said $line; exit 7"

static void assert_fails(struct sp_caller *caller, const char *method, json_t *parameters, const char *error)
{
	cleanup_reply struct sp_reply reply = sp_ask_in_vain(caller, method, parameters, error);
}

static json_int_t number(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	cr_assert(json_is_integer(value), "no %s", key);
	return json_integer_value(value);
}

static const char *text(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	cr_assert(json_is_string(value), "no %s", key);
	return json_string_value(value);
}

/* ---- what it says of itself ---- */

sp_lab_test(api, describes_itself)
{
	struct sp_child child = sp_start_ready(lab, LISTENS);
	cleanup_caller struct sp_caller caller = sp_call_up(sp_await_socket(lab, &child));
	cleanup_reply struct sp_reply info = sp_ask(&caller, "org.varlink.service.GetInfo", NULL);
	const json_t *names = json_object_get(info.parameters, "interfaces");

	cr_assert_str_eq(text(info.parameters, "product"), "sallyport");
	cr_assert_str_eq(json_string_value(json_array_get(names, 0)), "org.varlink.service");
	cr_assert_str_eq(json_string_value(json_array_get(names, 1)), "io.sallyport");
	cleanup_reply struct sp_reply described = sp_ask(&caller, "org.varlink.service.GetInterfaceDescription",
							 json_pack("{ss}", "interface", "io.sallyport"));
	cr_assert_not_null(strstr(text(described.parameters, "description"), "\nmethod List() -> (jobs: []Job)\n"));

	assert_fails(&caller, "org.varlink.service.GetInterfaceDescription", json_pack("{ss}", "interface", "no.such"),
		     "org.varlink.service.InterfaceNotFound");
	assert_fails(&caller, "org.varlink.service.GetInterfaceDescription", NULL,
		     "org.varlink.service.InvalidParameter");
	assert_fails(&caller, "no.such.Method", NULL, "org.varlink.service.InterfaceNotFound");
	assert_fails(&caller, "io.sallyport.NoSuch", NULL, "org.varlink.service.MethodNotFound");
	assert_fails(&caller, "io.sallyport.Doctor", NULL, "org.varlink.service.MethodNotImplemented");
	assert_fails(&caller, "io.sallyport.Kill", json_pack("{ss}", "job", "0123456789abcdef"),
		     "io.sallyport.NoSuchJob");
	assert_fails(&caller, "io.sallyport.Kill", json_pack("{ss}", "job", "x"), "io.sallyport.NoSuchJob");
	assert_fails(&caller, "io.sallyport.Kill", json_pack("{si}", "job", 1), "org.varlink.service.InvalidParameter");
	assert_fails(&caller, "io.sallyport.Kill", json_pack("{ss ss}", "job", "x", "more", "y"),
		     "org.varlink.service.InvalidParameter");
	assert_unharmed(&child);
}

/* ---- what it says of its job ---- */

sp_lab_test(api, lists_and_inspects)
{
	struct sp_child child =
		sp_start_ready(lab, "/bin/true; /bin/false; sh -c 'sleep 1000 & sleep 1000' & " LISTENS);
	const char *path = sp_await_socket(lab, &child);
	cleanup_caller struct sp_caller caller = sp_call_up(path);
	cleanup_reply struct sp_reply list = sp_ask(&caller, "io.sallyport.List", NULL);
	const json_t *job = json_array_get(json_object_get(list.parameters, "jobs"), 0);

	cr_assert_str_eq(text(job, "job"), sp_job_of(path));
	cr_assert_eq(number(job, "supervisor"), child.pid);
	cr_assert_str_eq(text(job, "origin"), "embedded");
	cr_assert_str_eq(json_string_value(json_array_get(json_object_get(job, "command"), 1)), "-c");

	/* All of it is there once the two that sleep are. */
	for (json_int_t processes = 0; processes != 4;) {
		cleanup_reply struct sp_reply tree =
			sp_ask(&caller, "io.sallyport.Tree", json_pack("{ss}", "job", sp_job_of(path)));
		const json_t *array = json_object_get(tree.parameters, "processes");
		const json_t *last = json_array_get(array, json_array_size(array) - 1);
		const char *program = json_string_value(json_object_get(last, "program"));

		/* The file that it runs changes a moment before its exec is counted. */
		const bool all = program != NULL && strstr(program, "sleep") != NULL && number(last, "execs") == 1;

		processes = all ? (json_int_t)json_array_size(array) : 0;
		cr_assert_lt(sp_deadline(0), child.deadline, "the tree does not come to be as it should");
		if (processes == 4) {
			cr_assert_eq(number(json_array_get(array, 0), "parent"), 0);
			cr_assert_eq(number(last, "parent"), number(json_array_get(array, 1), "key"));
		}
	}
	cleanup_reply struct sp_reply inspected =
		sp_ask(&caller, "io.sallyport.Inspect", json_pack("{ss}", "job", sp_job_of(path)));
	const json_t *counts = json_object_get(inspected.parameters, "counts");
	const json_t *latency = json_object_get(inspected.parameters, "latency");
	cr_assert_eq(number(counts, "execs"), 6, "sh, true, false, sh, sleep, sleep");
	cr_assert_eq(number(counts, "processes"), 6);
	cr_assert_eq(number(latency, "decisions"), 6);
	cr_assert_gt(number(latency, "total_nanoseconds"), 0);
	cleanup_reply struct sp_reply stats = sp_ask(&caller, "io.sallyport.Stats", NULL);
	cr_assert_eq(number(stats.parameters, "jobs"), 1);
	cr_assert_eq(number(stats.parameters, "processes"), 4);
	cleanup_reply struct sp_reply killed =
		sp_ask(&caller, "io.sallyport.Kill", json_pack("{ss}", "job", sp_job_of(path)));
	cleanup_outcome struct sp_outcome outcome = sp_finish(&child);
	sp_assert_ended(&outcome, 128 + SIGKILL, "killed");
}

/* More processes than one reply has: page after page, each once. */
sp_lab_test(api, a_tree_of_many_pages)
{
	const long count = sp_size(300, 3000);
	struct sp_child child = sp_start_ready(
		lab, sp_text(lab, "i=0; while [ $i -lt %ld ]; do sleep 1000 & i=$((i + 1)); done; " LISTENS, count));
	const char *path = sp_await_socket(lab, &child);
	cleanup_caller struct sp_caller caller = sp_call_up(path);
	json_int_t after = 0, seen = 0, last = 0;

	do {
		cleanup_reply struct sp_reply tree = sp_ask(
			&caller, "io.sallyport.Tree", json_pack("{ss sI}", "job", sp_job_of(path), "after", after));
		size_t i;
		const json_t *process;

		json_array_foreach(json_object_get(tree.parameters, "processes"), i, process)
		{
			cr_assert_gt(number(process, "key"), last);
			last = number(process, "key");
			seen++;
		}
		after = json_integer_value(json_object_get(tree.parameters, "next"));
	} while (after != 0);
	cr_assert_eq(seen, count + 1);
	cleanup_reply struct sp_reply killed =
		sp_ask(&caller, "io.sallyport.Kill", json_pack("{ss}", "job", sp_job_of(path)));
	cleanup_outcome struct sp_outcome outcome = sp_finish(&child);
	sp_assert_ended(&outcome, 128 + SIGKILL, "killed");
}

/* ---- Wait, Kill: the answer comes at the end ---- */

sp_lab_test(api, wait_tells_how_it_ended)
{
	struct sp_child child = sp_start_ready(lab, LISTENS);
	const char *path = sp_await_socket(lab, &child);
	cleanup_caller struct sp_caller waits = sp_call_up(path), more = sp_call_up(path);
	cleanup_reply struct sp_reply reply, second;

	cr_assert_eq(sp_caller_send(&waits, "io.sallyport.Wait", json_pack("{ss}", "job", sp_job_of(path)), 0, NULL, 0),
		     0);
	cr_assert_eq(sp_caller_send(&more, "io.sallyport.Wait", json_pack("{ss}", "job", sp_job_of(path)), 0, NULL, 0),
		     0);
	assert_unharmed(&child);
	cr_assert_eq(sp_caller_receive(&waits, &reply), 0);
	cr_assert_eq(number(json_object_get(reply.parameters, "status"), "exit"), 7);
	cr_assert_eq(sp_caller_receive(&more, &second), 0);
	cr_assert_eq(number(json_object_get(second.parameters, "status"), "exit"), 7);
}

/* ---- Freeze, Thaw ---- */

/* A worker that counts, its threads, and who is born and execs meanwhile: nothing moves while it is frozen, and then all goes on. */
sp_lab_test(api, freeze_and_thaw)
{
	static const char script[] = "i=0; while :; do i=$((i + 1)); /bin/true; echo $i; done >count & worker=$!\n"
				     "while [ ! -s count ]; do :; done; echo ready; read line\n"
				     "kill $worker; /bin/echo said $line; exit 7";

	if (strcmp(sp_tracking(), "oneshot") == 0)
		cr_skip_test("nobody is held there");
	struct sp_child child = sp_start_ready(lab, script);
	const char *path = sp_await_socket(lab, &child), *count = sp_text(lab, "%s/count", lab->directory);
	cleanup_caller struct sp_caller caller = sp_call_up(path);
	struct stat before, after;

	for (int round = 0; round < 20; round++) {
		cleanup_reply struct sp_reply frozen =
			sp_ask(&caller, "io.sallyport.Freeze", json_pack("{ss}", "job", sp_job_of(path)));
		cr_assert_eq(number(frozen.parameters, "running"), 0);
		cr_assert_eq(stat(count, &before), 0);
		cleanup_reply struct sp_reply tree =
			sp_ask(&caller, "io.sallyport.Tree", json_pack("{ss}", "job", sp_job_of(path)));
		cr_assert_str_eq(text(json_array_get(json_object_get(tree.parameters, "processes"), 0), "state"),
				 "frozen");
		for (int i = 0; i < 50; i++) /* somebody else has had his turns meanwhile */
			(void)poll(NULL, 0, 1);
		cr_assert_eq(stat(count, &after), 0);
		cr_assert_eq(after.st_size, before.st_size, "it wrote while it was frozen");
		cleanup_reply struct sp_reply thawed =
			sp_ask(&caller, "io.sallyport.Thaw", json_pack("{ss}", "job", sp_job_of(path)));
		do {
			cr_assert_eq(stat(count, &after), 0);
			cr_assert_lt(sp_deadline(0), child.deadline, "it does not go on");
		} while (after.st_size == before.st_size);
	}
	assert_unharmed(&child);
}

sp_lab_test(api, a_frozen_job_can_be_killed)
{
	if (strcmp(sp_tracking(), "oneshot") == 0)
		cr_skip_test("nobody is held there");
	struct sp_child child = sp_start_ready(lab, "sh -c 'kill -STOP $$' & (while :; do /bin/true; done) & " LISTENS);
	const char *path = sp_await_socket(lab, &child);
	cleanup_caller struct sp_caller caller = sp_call_up(path);
	cleanup_reply struct sp_reply frozen =
		sp_ask(&caller, "io.sallyport.Freeze", json_pack("{ss}", "job", sp_job_of(path)));
	cleanup_reply struct sp_reply killed =
		sp_ask(&caller, "io.sallyport.Kill", json_pack("{ss}", "job", sp_job_of(path)));

	cleanup_outcome struct sp_outcome outcome = sp_finish(&child);
	sp_assert_ended(&outcome, 128 + SIGKILL, "killed");
}

/* Again and again, until the job has ended; how often. */
static long freeze_again_and_again(const char *path, const char *what)
{
	cleanup_caller struct sp_caller caller = sp_call_up(path);
	long rounds = 0;

	for (bool runs = true; runs; rounds++) {
		static const char *const methods[] = {"io.sallyport.Freeze", "io.sallyport.Thaw"};
		cleanup_reply struct sp_reply reply = {0};

		/* Ended, NoSuchJob, or hung up: it is over. */
		runs = sp_caller_call(&caller, methods[rounds % 2], json_pack("{ss}", "job", sp_job_of(path)),
				      &reply) == 0 &&
		       reply.error == NULL;
		if (runs && rounds % 2 == 0)
			cr_assert_eq(number(reply.parameters, "running"), 0, "%s: round %ld", what, rounds);
	}
	return rounds / 2;
}

/* What programs do while they are stopped and let go hundreds of times is what they do alone. */
sp_lab_test(api, nobody_notices_a_freeze)
{
	const char *marker = sp_program(lab, "marker");
	const struct {
		const char *command, *expected;
	} rows[] = {
		{sp_text(lab, "%s 8 40 %s", sp_program(lab, "spawnstorm"), marker), "spawned=320 ok=320"},
		{sp_text(lab, "%s 8 100", sp_program(lab, "forkstorm")), "forks=800 reaped=800 failed=0"},
		{sp_text(lab, "%s 400 4 %s", sp_program(lab, "execstorm"), marker), "ok=400\n"},
		{sp_text(lab, "%s 10", sp_program(lab, "nonleader")), "nonleader=10\n"},
		{sp_text(lab, "%s signals 100", sp_program(lab, "epollintr")), "eintr=0 bad=0"},
		{sp_text(lab, "%s execs 100", sp_program(lab, "epollintr")), "eintr=0 bad=0"},
	};

	if (strcmp(sp_tracking(), "oneshot") == 0)
		cr_skip_test("nobody is held there");
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct sp_child child =
			sp_start_ready(lab, sp_text(lab, "echo ready; read line; exec %s", rows[i].command));
		const char *path = sp_await_socket(lab, &child);

		cr_assert_eq(write(child.input, "go on\n", 6), 6);
		const long rounds = freeze_again_and_again(path, rows[i].command);
		cleanup_outcome struct sp_outcome outcome = sp_finish(&child);
		sp_assert_ended(&outcome, 0, rows[i].command);
		cr_assert_not_null(strstr(outcome.out.data, rows[i].expected), "%s\nafter %ld freezes: %s%s",
				   rows[i].command, rounds, outcome.out.data, outcome.err.data);
		cr_assert_gt(rounds, 2, "%s: %ld freezes", rows[i].command, rounds);
	}
}

static json_int_t count_state(struct sp_caller *caller, const char *path, const char *state)
{
	cleanup_reply struct sp_reply tree =
		sp_ask(caller, "io.sallyport.Tree", json_pack("{ss}", "job", sp_job_of(path)));
	json_int_t count = 0;
	size_t i;
	const json_t *process;

	json_array_foreach(json_object_get(tree.parameters, "processes"), i, process)
	{
		count += strcmp(text(process, "state"), state) == 0;
	}
	return count;
}

static void await_state(struct sp_caller *caller, const struct sp_child *child, const char *path, const char *state,
			json_int_t count)
{
	while (count_state(caller, path, state) != count)
		cr_assert_lt(sp_deadline(0), child->deadline, "no %lld that are %s", (long long)count, state);
}

/* Job control goes on below: who is told to stop meanwhile is stopped afterwards, who is told to go on goes on, and a signal that came
 * is delivered once. */
sp_lab_test(api, signals_and_job_control_of_a_frozen_job)
{
	static const char script[] =
		"sh -c 'trap \"echo usr1 >>seen\" USR1; echo $$ >runner; while :; do read x <pipe; done' & runner=$!\n"
		"mkfifo pipe; exec 9<>pipe\n"
		"sh -c 'echo $$ >stopped; kill -STOP $$; echo continued >>seen' & stopped=$!\n"
		"while [ ! -s stopped ] || [ ! -s runner ]; do /bin/true; done\n"
		"echo ready; read line; wait $stopped; kill -CONT $runner; "
		"while ! grep -q usr1 seen; do :; done; kill $runner; /bin/echo said $line; exit 7";

	if (strcmp(sp_tracking(), "oneshot") == 0)
		cr_skip_test("nobody is held there");
	struct sp_child child = sp_start_ready(lab, script);
	const char *path = sp_await_socket(lab, &child), *seen = sp_text(lab, "%s/seen", lab->directory);
	cleanup_caller struct sp_caller caller = sp_call_up(path);
	struct stat st;

	await_state(&caller, &child, path, "stopped", 1);
	cleanup_reply struct sp_reply frozen =
		sp_ask(&caller, "io.sallyport.Freeze", json_pack("{ss}", "job", sp_job_of(path)));
	cr_assert_eq(sp_beside(lab,
			       sp_argv("sh", "-c",
				       "kill -CONT $(cat stopped); kill -USR1 $(cat runner); kill -STOP $(cat runner)"),
			       NULL),
		     0);
	for (int i = 0; i < 50; i++)
		(void)poll(NULL, 0, 1);
	cr_assert_neq(stat(seen, &st), 0, "somebody ran");
	cleanup_reply struct sp_reply thawed =
		sp_ask(&caller, "io.sallyport.Thaw", json_pack("{ss}", "job", sp_job_of(path)));
	/* The runner is stopped now, and the other one has ended. */
	await_state(&caller, &child, path, "stopped", 1);
	assert_unharmed(&child);
	const char *lines = NULL;
	cr_assert_eq(sp_beside(lab, sp_argv("sort", seen), &lines), 0);
	cr_assert_str_eq(lines, "continued\nusr1\n");
}

/* ---- Log ---- */

static void receive(struct sp_caller *caller, struct sp_reply *reply, bool continues)
{
	int err = sp_caller_receive(caller, reply);

	cr_assert_eq(err, 0, "%s", strerror(-err));
	cr_assert_null(reply->error, "%s", reply->error);
	cr_assert_eq(reply->continues, continues);
}

sp_lab_test(api, log_as_it_comes)
{
	sp_set_policy(lab, "version: 1\nexec: {default: allow, rules: [{id: nope, program: id, action: deny, reason: "
			   "Because.}]}\n");
	struct sp_child child = sp_start_ready(lab, "echo ready; read line; /usr/bin/id; /bin/echo said $line; exit 7");
	const char *path = sp_await_socket(lab, &child);
	cleanup_caller struct sp_caller caller = sp_call_up(path);
	cleanup_reply struct sp_reply first, denied, result, end;

	assert_fails(&caller, "io.sallyport.Log", NULL, "org.varlink.service.ExpectedMore");
	cr_assert_eq(sp_caller_send(&caller, "io.sallyport.Log", json_pack("{ss}", "job", sp_job_of(path)),
				    SP_CALL_MORE, NULL, 0),
		     0);
	receive(&caller, &first, true);
	assert_unharmed(&child);
	receive(&caller, &denied, true);
	const json_t *record = json_object_get(denied.parameters, "record");
	cr_assert_str_eq(text(record, "kind"), "decision");
	cr_assert_str_eq(text(record, "action"), "deny");
	cr_assert_str_eq(text(record, "errno"), "EACCES");
	cr_assert_str_eq(text(record, "rule"), "nope");
	cr_assert_str_eq(text(record, "reason"), "Because.");
	cr_assert_str_eq(text(record, "program"), "/usr/bin/id");
	receive(&caller, &result, true);
	record = json_object_get(result.parameters, "record");
	cr_assert_str_eq(text(record, "result"), "denied");
	for (int i = 0; i < 2; i++) {
		cleanup_reply struct sp_reply reply;

		receive(&caller, &reply, true);
		record = json_object_get(reply.parameters, "record");
		cr_assert_str_eq(text(record, i == 0 ? "program" : "result"), i == 0 ? "/usr/bin/echo" : "execed");
	}
	receive(&caller, &end, false);
}

/* Who does not keep up misses something and is told how much; the job does not wait for it. */
sp_lab_test(api, log_of_a_slow_reader)
{
	enum { STORM = 1500 };
	struct sp_child child = sp_start_ready(
		lab,
		sp_text(lab, "echo ready; read line; %s %d 1 %s; echo over; read line; /bin/echo said $line; exit 7",
			sp_program(lab, "execstorm"), STORM, sp_program(lab, "marker")));
	cleanup_caller struct sp_caller caller = sp_call_up(sp_await_socket(lab, &child));
	cleanup_reply struct sp_reply first;
	json_int_t missed = 0, seen = 0;

	cr_assert_eq(sp_caller_send(&caller, "io.sallyport.Log", NULL, SP_CALL_MORE, NULL, 0), 0);
	receive(&caller, &first, true);
	cr_assert_eq(write(child.input, "storm\n", 6), 6);
	cr_assert(sp_await_text(&child, "over"), "%.2000s", child.err_buffer.data);
	for (bool over = false; !over || missed == 0;) {
		cleanup_reply struct sp_reply reply;
		struct pollfd more = {.fd = caller.socket, .events = POLLIN};

		/* What was kept for it has been read: from now on it is told again. */
		if (!over && !sp_frames_waiting(&caller.in) && poll(&more, 1, 100) == 0) {
			over = true;
			assert_unharmed(&child);
		}
		if (sp_caller_receive(&caller, &reply) != 0 || reply.error != NULL)
			break;
		seen += json_is_object(json_object_get(reply.parameters, "record"));
		missed += json_integer_value(json_object_get(reply.parameters, "missed"));
	}
	for (;;) {
		cleanup_reply struct sp_reply reply;

		if (sp_caller_receive(&caller, &reply) != 0 || reply.error != NULL)
			break;
		seen += json_is_object(json_object_get(reply.parameters, "record"));
	}
	cr_assert_gt(missed, 0);
	cr_assert_eq(seen + missed, 2 * (STORM + 2), "%lld + %lld", (long long)seen, (long long)missed);
}

/* ---- who may ask ---- */

/* Whether that user gets an answer. The socket and its directory are opened to all, so that it is the supervisor that refuses. */
static bool is_answered(const char *path, uid_t user)
{
	int status = 0;
	const pid_t child = fork();

	if (child == 0) {
		struct sp_caller caller;
		struct sp_reply reply;

		if (setresgid(65533, 65533, 65533) != 0 || setresuid(user, user, user) != 0)
			_exit(2);
		if (sp_caller_open(&caller, path) != 0)
			_exit(3);
		_exit(sp_caller_call(&caller, "org.varlink.service.GetInfo", NULL, &reply) == 0 ? 0 : 1);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) < 2, "status %x", status);
	return WEXITSTATUS(status) == 0;
}

sp_lab_test(api, other_users_are_not_answered)
{
	if (geteuid() != 0)
		cr_skip_test("needs several users");
	struct sp_child child = sp_start_ready(lab, LISTENS);
	const char *path = sp_await_socket(lab, &child);
	struct stat st;

	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(st.st_mode & 0777, 0600, "others cannot even connect");
	cr_assert_eq(chmod(path, 0666), 0);
	cr_assert_eq(stat(sp_runtime_directory(lab), &st), 0);
	cr_assert_eq(chmod(sp_runtime_directory(lab), 0711), 0);
	const bool other = is_answered(path, 65532), own = is_answered(path, lab->who == SP_WHO_ROOT ? 0 : 65534);
	cr_assert_eq(chmod(sp_runtime_directory(lab), st.st_mode & 0777), 0);
	cr_assert(own, "the control");
	cr_assert_not(other);
	assert_unharmed(&child);
}

/* Neither its own nor somebody else's: a program that is decided about may not steer. */
sp_lab_test(api, who_is_in_a_job_is_not_answered)
{
	static const char refusal[] = "does not answer who is in a job";
	sp_skip_if_sanitized(lab, "asan", "the leak checker traces, which a job's filter refuses");
	struct sp_child child = sp_start_ready(lab, LISTENS);
	const char *list = sp_text(lab, "sleep 0.3; %s ps --json 2>&1", sp_sallyport(lab)), *inside, *outside;

	(void)sp_await_socket(lab, &child);
	cr_assert_eq(sp_beside(lab, sp_supervised_argv(lab, sp_argv("sh", "-c", list)), &inside), 0);
	cr_assert_eq(sp_beside(lab, sp_argv("sh", "-c", list), &outside), 0);
	cr_assert_not_null(strstr(outside, sp_text(lab, "\"supervisor\":%d,", child.pid)), "the control: %s", outside);
	cr_assert_not_null(strstr(inside, refusal), "%s", inside);
	/* Who is in somebody else's job is known by who traces it. */
	if (strcmp(sp_tracking(), "attached") == 0) {
		cr_assert_null(strstr(inside, "\"job\""), "%s", inside);
		cr_assert_not_null(strstr(inside, sp_text(lab, "supervisor %d ", child.pid)), "%s", inside);
	}
	assert_unharmed(&child);
}

/* ---- nobody's friend ---- */

static int connect_raw(const char *path)
{
	struct sp_caller caller = sp_call_up(path);

	return caller.socket;
}

/* What an honest caller gets meanwhile. */
static void assert_serves(const char *path)
{
	cleanup_caller struct sp_caller caller = sp_call_up(path);
	cleanup_reply struct sp_reply reply = sp_ask(&caller, "io.sallyport.List", NULL);
}

static void assert_hung_up(int socket)
{
	char byte;
	ssize_t n;

	while ((n = recv(socket, &byte, 1, 0)) > 0)
		continue;
	cr_assert(n == 0 || errno == ECONNRESET, "%s", strerror(errno));
}

sp_lab_test(api, junk)
{
	static const char *const junk[] = {
		"x",
		"[]",
		"null",
		"{}",
		"{\"method\":1}",
		"{\"method\":\"io.sallyport.List\",\"more\":1}",
		"{\"method\":\"io.sallyport.List\",\"upgrade\":true}",
		"{\"method\":\"io.sallyport.List\"",
		"{\"method\":\"io.sallyport.List\"} x",
		"\xff\xfe",
		"{\"method\":\"\\u0000\"}",
	};
	struct sp_child child = sp_start_ready(lab, LISTENS);
	const char *path = sp_await_socket(lab, &child);

	for (size_t i = 0; i < sizeof junk / sizeof *junk; i++) {
		cleanup_close int socket = connect_raw(path);

		cr_assert_eq(send(socket, junk[i], strlen(junk[i]) + 1, MSG_NOSIGNAL), (ssize_t)strlen(junk[i]) + 1);
		assert_hung_up(socket);
	}
	assert_serves(path);
	assert_unharmed(&child);
}

/* As deep as it is long; and one that never ends. */
sp_lab_test(api, deep_and_huge_messages)
{
	struct sp_child child = sp_start_ready(lab, LISTENS);
	const char *path = sp_await_socket(lab, &child);
	const size_t size = 64 << 20;
	cleanup_free char *bytes = malloc(size);

	memset(bytes, '[', size);
	memcpy(bytes, "{\"method\":", 10);
	bytes[500000] = '\0';
	cleanup_close int deep = connect_raw(path), huge = connect_raw(path);
	cr_assert_eq(send(deep, bytes, 500001, MSG_NOSIGNAL), 500001);
	assert_hung_up(deep);
	bytes[500000] = '[';
	size_t sent = 0;
	for (ssize_t n; sent < size && (n = send(huge, bytes + sent, size - sent, MSG_NOSIGNAL)) > 0;)
		sent += (size_t)n;
	cr_assert_lt(sent, 16 << 20, "%zu bytes of one message were taken", sent);
	assert_serves(path);
	assert_unharmed(&child);
}

/* Half a message and no more, descriptors by the hundred, a reader that does not read: others are served meanwhile. */
sp_lab_test(api, slow_callers)
{
	struct sp_child child = sp_start_ready(lab, LISTENS);
	const char *path = sp_await_socket(lab, &child);
	static const char call[] = "{\"method\":\"org.varlink.service.GetInterfaceDescription\","
				   "\"parameters\":{\"interface\":\"io.sallyport\"}}";
	cleanup_close int half = connect_raw(path), reader = connect_raw(path);
	size_t asked = 0;

	cr_assert_eq(send(half, call, 20, MSG_NOSIGNAL), 20);
	/* Asks and asks, and reads nothing: at some time nothing more is taken from it. */
	for (ssize_t n; (n = send(reader, call, sizeof call, MSG_NOSIGNAL | MSG_DONTWAIT)) > 0 && asked < 1000000;)
		asked += (size_t)n;
	cr_assert_lt(asked, 1000000, "all of it was taken");
	for (int i = 0; i < 10; i++)
		assert_serves(path);
	assert_unharmed(&child);
}

/* A supervisor that is stopped accepts nobody: who comes when no more can wait is told so at once, and does not wait. */
sp_lab_test(api, a_stopped_supervisor_holds_nobody_up)
{
	enum { MANY = 200 /* more than the backlog */ };
	struct sp_child child = sp_start_ready(lab, LISTENS);
	const char *path = sp_await_socket(lab, &child), *list = NULL;
	int sockets[MANY], err = 0, count = 0;

	cr_assert_eq(kill(child.pid, SIGSTOP), 0);
	for (; err == 0 && count < MANY; count++) {
		struct sp_caller caller;

		err = sp_caller_open(&caller, path);
		sockets[count] = caller.socket;
	}
	cr_assert_eq(err, -EAGAIN, "%s", strerror(-err));
	cr_assert_eq(sp_beside(lab, sp_argv("sh", "-c", sp_text(lab, "%s top 2>&1", sp_sallyport(lab))), &list), 0);
	cr_assert_not_null(strstr(list, sp_text(lab, "job %s does not answer", sp_job_of(path))), "%s", list);
	for (int i = 0; i < count; i++)
		sp_close_fd(&sockets[i]);
	cr_assert_eq(kill(child.pid, SIGCONT), 0);
	assert_unharmed(&child);
}

/* As many descriptors as one message can carry, with a whole call and with half of one: all are closed at once. */
sp_lab_test(api, descriptors_by_the_hundred)
{
	enum { AT_ONCE = 253 /* SCM_MAX_FD */ };
	static const char call[] = "{\"method\":\"io.sallyport.List\"}";
	union {
		char bytes[CMSG_SPACE(AT_ONCE * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct sp_child child = sp_start_ready(lab, LISTENS);
	const char *path = sp_await_socket(lab, &child);
	long fds = 0;

	for (int i = 0; i < 20; i++) {
		cleanup_close int socket = connect_raw(path);
		struct iovec bytes = {.iov_base = (void *)call, .iov_len = i % 2 == 0 ? sizeof call : 5};
		struct msghdr message = {.msg_iov = &bytes,
					 .msg_iovlen = 1,
					 .msg_control = control.bytes,
					 .msg_controllen = sizeof control.bytes};
		struct cmsghdr *c = CMSG_FIRSTHDR(&message);

		*c = (struct cmsghdr){
			.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(AT_ONCE * sizeof(int))};
		for (int j = 0; j < AT_ONCE; j++)
			((int *)CMSG_DATA(c))[j] = STDIN_FILENO;
		cr_assert_gt(sendmsg(socket, &message, MSG_NOSIGNAL), 0);
		assert_hung_up(socket);
	}
	assert_serves(path);
	cleanup_directory DIR *directory = opendir(sp_text(lab, "/proc/%d/fd", child.pid));
	while (directory != NULL && readdir(directory) != NULL)
		fds++;
	cr_assert_lt(fds, AT_ONCE, "%ld descriptors", fds);
	assert_unharmed(&child);
}

/* The oldest of the idle ones goes for each that comes; and fds that come unasked are closed. */
sp_lab_test(api, many_connections_and_descriptors)
{
	struct sp_child child = sp_start_ready(lab, LISTENS);
	const char *path = sp_await_socket(lab, &child);
	const long many = sp_size(500, 10000);
	const struct rlimit more = {.rlim_cur = 20000, .rlim_max = 20000};
	cleanup_free int *sockets = calloc((size_t)many, sizeof *sockets);
	long fds = 0;

	cr_assert(many < 1000 || setrlimit(RLIMIT_NOFILE, &more) == 0);
	for (long i = 0; i < many; i++) {
		const int fd[] = {0, 1, 2, 0, 1, 2};
		struct sp_caller caller = sp_call_up(path);

		(void)!sp_caller_send(&caller, "io.sallyport.List", NULL, 0, fd, i % 2 == 0 ? 6 : 0);
		sockets[i] = caller.socket;
		sp_frames_release(&caller.in);
	}
	assert_serves(path);
	cleanup_directory DIR *directory = opendir(sp_text(lab, "/proc/%d/fd", child.pid));
	while (directory != NULL && readdir(directory) != NULL)
		fds++;
	for (long i = 0; i < many; i++)
		close(sockets[i]);
	/* Two a connection, with its pidfd. Of a job that runs as a user root alone can see them. */
	cr_assert_lt(fds, 250, "%ld descriptors", fds);
	assert_serves(path);
	assert_unharmed(&child);
}
