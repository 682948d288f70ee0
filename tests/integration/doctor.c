/* `sallyport doctor`: what it says agrees with what it exits with, and each probe says so when its feature is taken away
 * (a listener or tracer in the way, a call that fails, a place that cannot be written to). */
#include "harness.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

static void release_json(json_t **json);
#define cleanup_json sp_cleanup(release_json)

static struct sp_outcome doctor_under(struct sp_lab *lab, const char *const prefix[], const char *option);
static json_t *parse(const struct sp_outcome *outcome);
static const json_t *finding(const json_t *findings, const char *name);
static const char *text_of(const json_t *findings, const char *name, const char *key);
static const char *text(const struct sp_buffer *buffer);

#define EACH_WHO(test)                                                                                                 \
	ParameterizedTestParameters(doctor, test)                                                                      \
	{                                                                                                              \
		return sp_each_who();                                                                                  \
	}                                                                                                              \
	ParameterizedTest(int *parameter, doctor, test)

/* The leak check of a sanitizer traces as well; it would find the place taken, or ptrace forbidden. */
static const char no_leak_check[] = "ASAN_OPTIONS=detect_leaks=0";

static const struct loss {
	const char *call;
	int err;
	const char *probe, *status;
	bool required;
} losses[] = {
	{"seccomp", ENOSYS, "user-notification", "missing", true},
	{"seccomp-listener", EPERM, "listener", "missing", true},
	{"seccomp-wait-killable", EINVAL, "wait-killable", "missing", true},
	{"ioctl-notif-set-flags", EINVAL, "sync-wake-up", "degraded", false},
	{"ioctl-procmap-query", ENOTTY, "procmap-query", "degraded", false},
	{"ptrace", EPERM, "ptrace", "missing", true},
	{"process_vm_readv", EPERM, "memory", "missing", true},
	{"openat2", ENOSYS, "openat2", "missing", true},
	{"landlock", ENOSYS, "filesystem", "missing", false},
	{"landlock", EPERM, "network ports", "missing", false},
	{"landlock", EPERM, "scopes", "missing", false},
	{"unshare", EPERM, "user namespace", "missing", false},
	{"unshare", ENOSPC, "pid namespace", "missing", false},
	{"unshare", ENOSPC, "ipc namespace", "missing", false},
	{"unshare", ENOSPC, "uts namespace", "missing", false},
	{"unshare", ENOSPC, "cgroup namespace", "missing", false},
	{"unshare", ENOSPC, "net namespace", "missing", false},
	{"unshare", ENOSPC, "loopback", "missing", false},
	{"mount", EACCES, "mount namespace", "missing", false},
	{"mount", EACCES, "proc", "missing", false},
	{"pivot_root", EINVAL, "root", "missing", false},
	{"sched_setaffinity", EINVAL, "cpu_set", "missing", false},
	{"setpriority", EACCES, "nice", "missing", false},
	{"setsid", EPERM, "new_session", "missing", false},
	{"close_range", ENOSYS, "close_fds", "missing", false},
	{"prlimit-files", EPERM, "limits", "missing", false},
	{"mkdir", ENOSPC, "cgroup memory", "missing", false},
	{"mkdir", ENOSPC, "cgroup pids", "missing", false},
	{"mkdir", ENOSPC, "cgroup cpu", "missing", false},
	{"mkdir", ENOSPC, "cgroup freeze", "missing", false},
	{"mkdir", ENOSPC, "cgroup kill", "missing", false},
	{"bind", EPERM, "proc-connector", "missing", false},
};

EACH_WHO(text_and_status_agree)
{
	cleanup_lab struct sp_lab lab;
	sp_lab_open(&lab, SP_WHO(*parameter));
	cleanup_outcome struct sp_outcome outcome = sp_client(&lab, sp_argv("doctor"));

	sp_assert_ended(&outcome, 0, "doctor");
	cr_assert_str_empty(text(&outcome.err));
	cr_assert_not_null(strstr(text(&outcome.out), "\n\n`sallyport run` works here.\n"));
	for (const char *line = text(&outcome.out); *line != '\n'; line = strchr(line, '\n') + 1) {
		cr_assert(strncmp(line, "ok ", 3) == 0 || strncmp(line, "degraded ", 9) == 0 ||
				  strncmp(line, "missing ", 8) == 0,
			  "a line without a status: %.60s", line);
	}
}

EACH_WHO(json_has_every_key)
{
	cleanup_lab struct sp_lab lab;
	sp_lab_open(&lab, SP_WHO(*parameter));
	cleanup_outcome struct sp_outcome outcome = sp_client(&lab, sp_argv("doctor", "--json"));
	size_t index, other;
	const json_t *value, *second;

	sp_assert_ended(&outcome, 0, "doctor --json");
	cleanup_json json_t *findings = parse(&outcome);
	cr_assert_geq(json_array_size(findings), 48);
	json_array_foreach(findings, index, value)
	{
		const char *status = json_string_value(json_object_get(value, "status"));

		cr_assert_eq(json_object_size(value), 5);
		cr_assert(json_is_boolean(json_object_get(value, "required")));
		cr_assert(json_string_length(json_object_get(value, "detail")) > 0);
		cr_assert(json_string_length(json_object_get(value, "consequence")) > 0);
		cr_assert_not_null(status);
		cr_assert(strcmp(status, "ok") == 0 || strcmp(status, "degraded") == 0 ||
			  strcmp(status, "missing") == 0);
		json_array_foreach(findings, other, second) cr_assert(
			other == index || !json_equal(json_object_get(value, "name"), json_object_get(second, "name")));
	}
}

ParameterizedTestParameters(doctor, notices_a_loss)
{
	return sp_each_who_of(sizeof losses / sizeof *losses);
}

ParameterizedTest(int *parameter, doctor, notices_a_loss)
{
	const struct loss *loss = &losses[SP_INDEX(*parameter)];
	cleanup_lab struct sp_lab lab;
	sp_lab_open(&lab, SP_WHO(*parameter));
	if (lab.who == SP_WHO_USER)
		sp_skip_if_sanitized(&lab, "tsan", "its thread keeps a process from entering a user namespace");
	cleanup_outcome struct sp_outcome outcome =
		doctor_under(&lab,
			     sp_argv("env", no_leak_check, sp_program(&lab, "without"), sp_text(&lab, "%d", loss->err),
				     loss->call, "--"),
			     "--json");

	sp_assert_ended(&outcome, loss->required ? 1 : 0, loss->probe);
	cleanup_json json_t *findings = parse(&outcome);
	cr_assert_str_eq(text_of(findings, loss->probe, "status"), loss->status, "%s without %s", loss->probe,
			 loss->call);
	cr_assert_not_null(strstr(text_of(findings, loss->probe, "detail"), strerror(loss->err)), "%s",
			   text_of(findings, loss->probe, "detail"));
	cr_assert_eq(json_is_true(json_object_get(finding(findings, loss->probe), "required")), loss->required);
	cr_assert_str_eq(text_of(findings, "outer-filters", "status"), "degraded");
	cr_assert_str_eq(text_of(findings, "privileges", "status"), "degraded");
}

/* As some distributions have it for everybody; here for one user namespace, and those in it. */
EACH_WHO(says_why_there_are_no_user_namespaces)
{
	static const char none[] = "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$@\"";
	const char *const *inside = sp_argv("unshare", "-Ur", "sh", "-c", none, "sh");
	cleanup_lab struct sp_lab lab;
	sp_lab_open(&lab, SP_WHO(*parameter));
	cleanup_outcome struct sp_outcome possible = sp_run(&lab, NULL, sp_argv("unshare", "-Ur", "true"));

	if (possible.status != 0)
		cr_skip_test("no user namespaces here");
	cleanup_outcome struct sp_outcome outcome = doctor_under(&lab, inside, "--json");
	sp_assert_ended(&outcome, 0, "doctor without user namespaces");
	cleanup_json json_t *findings = parse(&outcome);
	cr_assert_str_eq(text_of(findings, "user namespace", "status"), "missing");
	cr_assert_str_eq(text_of(findings, "user namespace", "detail"), "user.max_user_namespaces is 0");
	cr_assert_str_eq(text_of(findings, "net namespace", "status"), "ok");
}

EACH_WHO(notices_a_listener)
{
	cleanup_lab struct sp_lab lab;
	sp_lab_open(&lab, SP_WHO(*parameter));
	cleanup_outcome struct sp_outcome outcome =
		sp_control(&lab, NULL, sp_argv(sp_sallyport(&lab), "doctor", "--json"));

	sp_assert_ended(&outcome, 1, "doctor under a listener");
	cleanup_json json_t *findings = parse(&outcome);
	cr_assert_str_eq(text_of(findings, "listener", "status"), "missing");
	cr_assert_not_null(strstr(text_of(findings, "listener", "detail"), "already supervised"));
	cr_assert_str_eq(text_of(findings, "wait-killable", "status"), "ok");
}

EACH_WHO(notices_a_tracer)
{
	cleanup_lab struct sp_lab lab;
	sp_lab_open(&lab, SP_WHO(*parameter));
	cleanup_outcome struct sp_outcome outcome =
		doctor_under(&lab, sp_argv("env", no_leak_check, "strace", "-f", "-o", "/dev/null"), "--json");

	sp_assert_ended(&outcome, 1, "doctor under strace");
	cleanup_json json_t *findings = parse(&outcome);
	cr_assert_str_eq(text_of(findings, "ptrace", "status"), "missing");
	cr_assert_str_eq(text_of(findings, "tracer", "status"), "degraded");
	cr_assert_not_null(strstr(text_of(findings, "tracer", "detail"), "strace"));
}

EACH_WHO(notices_a_bad_audit_place)
{
	cleanup_lab struct sp_lab lab;
	sp_lab_open(&lab, SP_WHO(*parameter));
	cleanup_outcome struct sp_outcome outcome =
		doctor_under(&lab, sp_argv("env", "XDG_STATE_HOME=/dev/null/\033[31mx"), "--json");

	sp_assert_ended(&outcome, 1, "doctor with a state directory below a file");
	cleanup_json json_t *findings = parse(&outcome);
	cr_assert_str_eq(text_of(findings, "audit", "status"), "missing");
	cr_assert_null(strchr(text_of(findings, "audit", "detail"), '\033'), "an escape would reach the terminal");
}

/* With SIGCHLD ignored, as some service managers and scripts leave it, the kernel reaps children unasked. */
EACH_WHO(works_with_sigchld_ignored)
{
	cleanup_lab struct sp_lab lab;
	sp_lab_open(&lab, SP_WHO(*parameter));
	cleanup_outcome struct sp_outcome outcome =
		doctor_under(&lab, sp_argv("env", "--ignore-signal=CHLD"), "--json");

	sp_assert_ended(&outcome, 0, "doctor with SIGCHLD ignored");
	cleanup_json json_t *findings = parse(&outcome);
	cr_assert_str_eq(text_of(findings, "listener", "status"), "ok");
	cr_assert_str_eq(text_of(findings, "wait-killable", "status"), "ok");
}

Test(doctor, refuses_bad_options)
{
	static const char *const bad[] = {"--nope", "-x", "--json=yes", "operand", "--\033[31m"};
	cleanup_lab struct sp_lab lab;
	sp_lab_open(&lab, SP_WHO_USER);

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		cleanup_outcome struct sp_outcome outcome = sp_client(&lab, sp_argv("doctor", bad[i]));
		const char *message = text(&outcome.err);

		sp_assert_ended(&outcome, 125, bad[i]);
		cr_assert_str_empty(text(&outcome.out));
		cr_assert_eq(strncmp(message, "sallyport doctor: ", 18), 0, "%s", message);
		cr_assert_eq(strchr(message, '\n') + 1, message + strlen(message), "not one line: %s", message);
		cr_assert_null(strchr(message, '\033'), "an escape reaches the terminal");
	}
}

/* PREFIX sallyport doctor OPTION */
static struct sp_outcome doctor_under(struct sp_lab *lab, const char *const prefix[], const char *option)
{
	enum { WORDS_MAX = 16 };
	const char *argv[WORDS_MAX] = {0};
	size_t count = 0;

	for (; prefix[count] != NULL; count++) {
		cr_assert_lt(count, WORDS_MAX - 4);
		argv[count] = prefix[count];
	}
	argv[count++] = sp_sallyport(lab);
	argv[count++] = "doctor";
	argv[count] = option;
	return sp_run(lab, NULL, argv);
}

static json_t *parse(const struct sp_outcome *outcome)
{
	json_error_t error;
	json_t *findings = json_loadb(outcome->out.data, outcome->out.size, 0, &error);

	cr_assert_not_null(findings, "%s\n%s", error.text, text(&outcome->out));
	cr_assert(json_is_array(findings));
	return findings;
}

static const json_t *finding(const json_t *findings, const char *name)
{
	size_t index;
	const json_t *value;

	json_array_foreach(findings, index, value)
	{
		if (strcmp(json_string_value(json_object_get(value, "name")), name) == 0)
			return value;
	}
	cr_assert_fail("no finding %s", name);
	return NULL;
}

static const char *text_of(const json_t *findings, const char *name, const char *key)
{
	return json_string_value(json_object_get(finding(findings, name), key));
}

static const char *text(const struct sp_buffer *buffer)
{
	return buffer->data == NULL ? "" : buffer->data;
}

static void release_json(json_t **json)
{
	json_decref(*json);
}
