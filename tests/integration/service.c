/* sallyportd: programs that its clients fork, and what it refuses to whom. The daemon is root's; clients are root and an ordinary user. */
#include "caller.h"
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define cleanup_caller sp_cleanup(sp_caller_close)
#define cleanup_reply sp_cleanup(sp_reply_release)

enum { NOBODY = 65534, STRANGER = 65533 };

struct service {
	struct sp_lab *lab;
	char directory[64];
	const char *socket, *log, *policy;
	pid_t pid;
};

static const char *write_config(struct service *s, const char *rules)
{
	const char *path = sp_text(s->lab, "%s/config.yaml", s->directory);
	cleanup_file FILE *file = fopen(path, "we");

	cr_assert_not_null(file);
	(void)fprintf(file, "version: 1\naudit: %s/audit.db\nrules:\n%s", s->directory, rules);
	return path;
}

static void await_service(const struct service *s)
{
	const int64_t deadline = sp_deadline(30);
	struct sp_caller caller = {.socket = -1};

	while (sp_caller_open(&caller, s->socket) != 0) {
		cr_assert_lt(sp_deadline(0), deadline, "the service does not listen");
		(void)poll(NULL, 0, 5);
	}
	sp_caller_close(&caller);
}

/* grant: of uid 65534, who may run under the lab's policy as well if that is not NULL. */
static void start_service(struct service *s, struct sp_lab *lab, const char *policy, const char *grant)
{
	if (geteuid() != 0)
		cr_skip_test("only root's service can look after others");
	*s = (struct service){.lab = lab};
	(void)strcpy(s->directory, "/tmp/sp-service-XXXXXX");
	cr_assert_not_null(mkdtemp(s->directory));
	cr_assert_eq(chmod(s->directory, 0711), 0);
	s->socket = sp_text(lab, "%s/socket", s->directory);
	s->log = sp_text(lab, "%s/log", s->directory);
	s->policy = sp_write_file(lab, "policy.yaml", policy, strlen(policy), 0644);
	const char *rules = sp_text(
		lab, "  - {users: [0], policies: [%s], may: [run]}\n%s", s->policy,
		grant != NULL ? sp_text(lab, "  - {users: [65534], policies: [%s], %s}\n", s->policy, grant) : "");
	const char *config = write_config(s, rules), *program = sp_sallyportd(lab);
	s->pid = fork();
	cr_assert_geq(s->pid, 0);
	if (s->pid == 0) {
		const int log = open(s->log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

		(void)dup2(log, 2);
		(void)execl(program, "sallyportd", "--config", config, "--socket", s->socket, NULL);
		_exit(99);
	}
	await_service(s);
}

static int64_t sql(const struct service *s, const char *statement)
{
	(void)strcpy(s->lab->audit, "");
	(void)snprintf(s->lab->audit, sizeof s->lab->audit, "%s/audit.db", s->directory);
	return sp_sql_number(s->lab, statement);
}

static bool log_has(const struct service *s, const char *text)
{
	char content[8192] = "";
	cleanup_file FILE *file = fopen(s->log, "re");

	return file != NULL && fread(content, 1, sizeof content - 1, file) > 0 && strstr(content, text) != NULL;
}

/* It has lived until now, ends when it is told to, and has written all. */
static void stop_service(struct service *s)
{
	int status;

	cr_assert_eq(waitpid(s->pid, &status, WNOHANG), 0, "the service has died");
	cr_assert_eq(kill(s->pid, SIGTERM), 0);
	cr_assert_eq(waitpid(s->pid, &status, 0), s->pid);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
}

static void remove_service(struct service *s)
{
	(void)sp_beside(s->lab, sp_argv("rm", "-rf", s->directory), NULL);
	if (geteuid() == 0) {
		const pid_t pid = fork();

		if (pid == 0) {
			(void)execlp("rm", "rm", "-rf", s->directory, NULL);
			_exit(1);
		}
		(void)waitpid(pid, NULL, 0);
	}
}

static struct sp_outcome run(struct service *s, const char *option, const char *script)
{
	const char *daemon = sp_text(s->lab, "--daemon=%s", s->socket);

	return sp_run(s->lab, NULL,
		      sp_argv(sp_sallyport(s->lab), "run", daemon, option, "-p", s->policy, "--", "sh", "-c", script));
}

#define ANYTHING "{version: 1, exec: {default: allow}}\n"
#define ALL "may: [run, see, kill, freeze, approve, reload]"

sp_lab_test(service, programs_end_as_they_would)
{
	struct service s;

	start_service(&s, lab, ANYTHING, ALL);
	cleanup_outcome struct sp_outcome ended = run(&s, "--leftovers=wait", "/bin/echo hello; exit 7");
	sp_assert_ended(&ended, 7, "a status");
	cr_assert_str_eq(ended.out.data, "hello\n");
	cr_assert_str_eq(ended.err.data, "");
	cleanup_outcome struct sp_outcome killed = run(&s, "--leftovers=wait", "kill -TERM $$");
	sp_assert_ended(&killed, 128 + SIGTERM, "a signal");
	stop_service(&s);
	cr_assert_eq(sql(&s, "SELECT count(*) FROM jobs"), 2);
	cr_assert_eq(sql(&s, "SELECT count(*) FROM execs"), 3);
	remove_service(&s);
}

sp_lab_test(service, refused_programs_do_not_run)
{
	struct service s;

	start_service(&s, lab, "{version: 1, exec: {default: allow, rules: [{id: no, program: echo, action: deny}]}}\n",
		      ALL);
	cleanup_outcome struct sp_outcome outcome = run(&s, "--leftovers=wait", "/bin/echo hello || exit 3");
	sp_assert_ended(&outcome, 3, "what is denied");
	cr_assert_str_eq(outcome.out.data, "");
	stop_service(&s);
	remove_service(&s);
}

/* The control is the test above: with the rule the same user runs the same. */
Test(service, nothing_is_granted_by_default)
{
	cleanup_lab struct sp_lab lab;
	struct service s;

	sp_lab_open(&lab, SP_WHO_USER);
	start_service(&s, &lab, ANYTHING, NULL);
	cleanup_outcome struct sp_outcome outcome = run(&s, "--leftovers=wait", "echo hello");
	sp_assert_ended(&outcome, 125, "without a rule");
	cr_assert_str_eq(outcome.out.data, "");
	cr_assert(log_has(&s, "denied: io.sallyport.Prepare, to user 65534"));
	stop_service(&s);
	remove_service(&s);
}

/* ---- peers ---- */

static void become(uid_t user)
{
	cr_assert(setgroups(0, NULL) == 0 && setresgid(user, user, user) == 0 && setresuid(user, user, user) == 0);
	cr_assert_eq(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0);
}

static pid_t fork_sleeper(void)
{
	const pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid > 0)
		return pid;
	for (;;)
		(void)pause();
}

/* The error that the service gives who hands over that process and descriptor; "": none. */
static const char *attach(struct service *s, pid_t pid, int fd)
{
	cleanup_caller struct sp_caller caller = {.socket = -1};
	cleanup_reply struct sp_reply reply = {0};

	cr_assert_eq(sp_caller_open(&caller, s->socket), 0);
	cr_assert_eq(sp_caller_send(&caller, "io.sallyport.Attach",
				    json_pack("{ss s[s] ss si}", "policy", s->policy, "command", "x", "directory", "/",
					      "pid", (int)pid),
				    0, &fd, 1),
		     0);
	cr_assert_eq(sp_caller_receive(&caller, &reply), 0);
	const char *message = json_string_value(json_object_get(reply.parameters, "message"));
	return reply.error == NULL ? "" : sp_text(s->lab, "%s: %s", reply.error, message != NULL ? message : "");
}

static bool says(const char *error, const char *text)
{
	return strstr(error, text) != NULL;
}

Test(service, what_is_not_the_peers_is_not_taken)
{
	cleanup_lab struct sp_lab lab;
	struct service s;
	int pair[2];

	sp_lab_open(&lab, SP_WHO_USER);
	start_service(&s, &lab, ANYTHING, "may: [run, see, kill]");
	const pid_t roots = fork_sleeper(), peer = fork();
	if (peer == 0) {
		become(NOBODY);
		cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
		const pid_t child = fork_sleeper();
		cleanup_close int null = open("/dev/null", O_RDWR | O_CLOEXEC);
		const char *of_root = attach(&s, roots, pair[0]), *of_nobody = attach(&s, 1, pair[0]);
		const char *itself = attach(&s, getpid(), pair[0]), *junk = attach(&s, child, null);
		const char *fine = attach(&s, child, pair[0]), *twice = attach(&s, child, pair[0]);
		const bool good = says(of_root, "no child of the caller") &&
				  says(of_nobody, "no child of the caller") && says(itself, "no child of the caller") &&
				  says(junk, "expected a command") && fine[0] == '\0' &&
				  says(twice, "no child of the caller");
		if (!good)
			(void)fprintf(stderr, "%s | %s | %s | %s | %s | %s\n", of_root, of_nobody, itself, junk, fine,
				      twice);
		/* It says nothing of a launch: its channel's end is the end of it. */
		(void)close(pair[0]);
		(void)close(pair[1]);
		int status;
		_exit(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && good
			      ? 0
			      : 1);
	}
	int status;
	cr_assert_eq(waitpid(peer, &status, 0), peer);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
	cr_assert_eq(waitpid(roots, &status, WNOHANG), 0, "root's process was touched");
	(void)kill(roots, SIGKILL);
	(void)waitpid(roots, NULL, 0);
	stop_service(&s);
	remove_service(&s);
}

/* Calls as that user: the error, or the reply's `jobs` counted. */
static int call_as(struct service *s, uid_t user, const char *method, const char *job)
{
	const pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct sp_caller caller;
		struct sp_reply reply;

		become(user);
		if (sp_caller_open(&caller, s->socket) != 0 ||
		    sp_caller_call(&caller, method, job != NULL ? json_pack("{ss}", "job", job) : NULL, &reply) != 0)
			_exit(99);
		if (reply.error != NULL)
			_exit(strcmp(reply.error, "org.varlink.service.PermissionDenied") == 0 ? 50 : 51);
		_exit((int)json_array_size(json_object_get(reply.parameters, "jobs")));
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* A detached job outlives who started it, and is its user's alone. */
Test(service, jobs_are_their_users_own)
{
	cleanup_lab struct sp_lab lab;
	struct service s;

	sp_lab_open(&lab, SP_WHO_USER);
	start_service(&s, &lab, ANYTHING, ALL);
	const char *config = sp_text(&lab, "%s/config.yaml", s.directory);
	stop_service(&s);
	cleanup_file FILE *file = fopen(config, "ae");
	(void)fprintf(file, "  - {users: [%d], may: [see, kill, freeze]}\n", STRANGER);
	(void)fflush(file);
	s.pid = fork();
	if (s.pid == 0) {
		(void)execl(sp_sallyportd(&lab), "sallyportd", "--config", config, "--socket", s.socket, NULL);
		_exit(99);
	}
	await_service(&s);
	const char *job;
	const char *daemon = sp_text(&lab, "--daemon=%s", s.socket);
	cr_assert_eq(
		sp_beside(&lab,
			  sp_argv(sp_sallyport(&lab), "run", daemon, "--detach", "-p", s.policy, "--", "sleep", "1000"),
			  &job),
		0);
	char *name = strndup(job, 16);
	cr_assert_eq(call_as(&s, STRANGER, "io.sallyport.List", NULL), 0);
	cr_assert_eq(call_as(&s, STRANGER, "io.sallyport.Inspect", name), 50);
	cr_assert_eq(call_as(&s, STRANGER, "io.sallyport.Freeze", name), 50);
	cr_assert_eq(call_as(&s, STRANGER, "io.sallyport.Kill", name), 50);
	cr_assert_eq(call_as(&s, STRANGER, "io.sallyport.Reload", NULL), 50);
	cr_assert_eq(call_as(&s, NOBODY, "io.sallyport.List", NULL), 1);
	cr_assert_eq(call_as(&s, NOBODY, "io.sallyport.Kill", name), 0);
	cr_assert_eq(call_as(&s, NOBODY, "io.sallyport.List", NULL), 0);
	free(name);
	stop_service(&s);
	remove_service(&s);
}
