/* See service.h. No engine, no loop: two descriptors are waited for, signals and the service. */
#include "service.h"

#include "api/place.h"
#include "caller.h"
#include "client.h"
#include "launch/launch.h"
#include "policy/policy.h"
#include "ptrace/status.h"
#include "self/harden.h"
#include "util/cleanup.h"
#include "util/json.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127, EXIT_BY_SIGNAL = 128 };

static const int forwarded[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT, SIGALRM};

struct client {
	const struct sp_service_run *run;
	struct sp_caller caller;
	struct sp_policy *policy;
	struct sp_filter filter;
	struct sp_cgroup *cgroup;
	struct sp_launched launched;
	int signal_fd;
	pid_t service;
	bool ended; /* the program */
	int status; /* its, as waitpid(2) gives it */
	bool stopped;
	bool done; /* the job */
	bool failed; /* it could not be started: that was said */
};

extern char **environ;

static void release(struct client *c)
{
	sp_caller_close(&c->caller);
	sp_close_fd(&c->launched.channel);
	sp_close_fd(&c->launched.wire);
	sp_close_fd(&c->signal_fd);
	sp_cgroup_close(c->cgroup);
	sp_filter_free(&c->filter);
	sp_policy_free(c->policy);
}

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static int explain(const struct sp_reply *reply, struct sp_error *e)
{
	const char *message = text_of(reply->parameters, "message");

	if (strcmp(reply->error, "org.varlink.service.PermissionDenied") == 0)
		return sp_fail(e, EACCES, "the service does not let you run anything");
	if (strcmp(reply->error, "io.sallyport.NoSuchPolicy") == 0)
		return sp_fail(e, EACCES, "the service has no such policy for you");
	return sp_fail(e, EPROTO, "the service: %s", message != NULL ? message : reply->error);
}

/* --- before the fork --- */

static int connect_to(struct client *c, struct sp_error *e)
{
	const char *path = c->run->socket != NULL ? c->run->socket : SP_SERVICE_SOCKET;
	int err = sp_caller_open(&c->caller, path);

	if (err != 0)
		return sp_fail(e, -err, "cannot reach the service at %s: %s", path, strerror(-err));
	c->service = sp_caller_peer(&c->caller);
	return 0;
}

/* The launch is ours, so the policy is read here as well: from the same file, and with the same contents. */
static int take_policy(struct client *c, const struct sp_reply *reply, struct sp_error *e)
{
	const char *file = text_of(reply->parameters, "file"), *digest = text_of(reply->parameters, "digest");
	char ours[17];

	if (reply->error != NULL)
		return explain(reply, e);
	if (file == NULL || digest == NULL)
		return sp_fail(e, EPROTO, "the service answers as none of ours");
	int err = sp_policy_load(file[0] == '/' ? file : NULL, &c->policy, e);
	if (err != 0)
		return err;
	(void)snprintf(ours, sizeof ours, "%016" PRIx64, sp_policy_digest(c->policy));
	return strcmp(ours, digest) == 0
		       ? 0
		       : sp_fail(e, ESTALE, "%s has changed since the service has read it: it must be restarted", file);
}

static int prepare(struct client *c, struct sp_error *e)
{
	struct sp_reply reply = {0};
	json_t *parameters = c->run->policy != NULL ? json_pack("{ss}", "policy", c->run->policy) : NULL;
	int err = sp_caller_call(&c->caller, "io.sallyport.Prepare", parameters, &reply);

	err = err != 0 ? sp_fail(e, -err, "the service does not answer: %s", strerror(-err))
		       : take_policy(c, &reply, e);
	sp_reply_release(&reply);
	return err;
}

static int watch_signals(struct client *c, struct sp_error *e)
{
	sigset_t set;

	(void)sigemptyset(&set);
	for (size_t i = 0; i < sizeof forwarded / sizeof *forwarded; i++)
		(void)sigaddset(&set, forwarded[i]);
	(void)sigaddset(&set, SIGCHLD);
	c->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return c->signal_fd >= 0 ? 0 : sp_fail(e, errno, "cannot create a signalfd: %s", strerror(errno));
}

static int prepare_limits(struct client *c, struct sp_tree_limits *limits, struct sp_error *e)
{
	const struct sp_confinement *asked = sp_policy_confinement(c->policy);
	uint64_t id;

	*limits = (struct sp_tree_limits){
		.value = {[SP_TREE_MEMORY] = asked->memory.value,
			  [SP_TREE_TASKS] = asked->limits[SP_LIMIT_PROCESSES].value,
			  [SP_TREE_CPU] = asked->milli_cpus.value},
	};
	if (!asked->memory.given && !asked->limits[SP_LIMIT_PROCESSES].given && !asked->milli_cpus.given)
		return 0;
	if (getrandom(&id, sizeof id, 0) != (ssize_t)sizeof id || sp_cgroup_new(id, limits, &c->cgroup) != 0)
		return sp_fail(e, ENOMEM, "out of memory");
	return 0;
}

static int fork_program(struct client *c, const char *cwd, struct sp_error *e)
{
	const bool one_shot = sp_policy_tracking(c->policy) == SP_TRACKING_ONESHOT;
	const struct sp_confinement *asked = sp_policy_confinement(c->policy);
	struct sp_tree_limits limits;
	int err = sp_filter_compile(&c->filter, one_shot ? SP_NOTIFY_EXECS_AND_FORKS : SP_NOTIFY_EXECS, e);

	if (err == 0)
		err = prepare_limits(c, &limits, e);
	const struct sp_launch launch = {
		.file = c->run->file,
		.argv = c->run->command,
		.envp = asked->launch ? sp_self_environment() : environ,
		.signal_mask = &c->run->mask,
		.ignore_sigchld = c->run->ignore_sigchld,
		.filter = &c->filter,
		.confinement = asked,
		.limits = &limits,
		.cgroup = c->cgroup,
		.cwd = cwd,
	};
	if (err == 0)
		err = sp_launch_fork(&launch, &c->launched, e);
	sp_cgroup_shut(c->cgroup);
	return err;
}

static int hand_over(struct client *c, const char *cwd, struct sp_error *e)
{
	const int fds[] = {c->launched.channel, c->launched.wire};
	cleanup_free char *words = NULL;
	size_t size = 0;
	json_t *parameters = json_pack("{ss si}", "directory", cwd != NULL ? cwd : "", "pid", (int)c->launched.pid);
	FILE *stream = open_memstream(&words, &size);

	for (char **word = c->run->command; stream != NULL && *word != NULL; word++)
		(void)fwrite(*word, 1, strlen(*word) + 1, stream);
	if (stream == NULL || fclose(stream) != 0 || sp_json_set_strings(parameters, "command", words, size) != 0) {
		json_decref(parameters);
		return sp_fail(e, ENOMEM, "out of memory");
	}
	if (c->run->policy != NULL)
		(void)json_object_set_new(parameters, "policy", json_string(c->run->policy));
	int err = sp_caller_send(&c->caller, "io.sallyport.Attach", parameters, c->run->detach ? 0 : SP_CALL_MORE, fds,
				 c->launched.wire >= 0 ? 2 : 1);
	sp_close_fd(&c->launched.channel);
	sp_close_fd(&c->launched.wire);
	c->launched.channel = c->launched.wire = -1;
	return err == 0 ? 0 : sp_fail(e, -err, "the service does not answer: %s", strerror(-err));
}

/* --- while it runs --- */

/* Whoever waits for us sees what it would see of the program itself: a stop by the same signal. */
static void stop_by(int signal)
{
	static const struct timespec at_once = {0};
	const struct sigaction stop = {.sa_handler = SIG_DFL};
	struct sigaction old;
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, signal);
	(void)sigtimedwait(&set, NULL, &at_once);
	if (signal != SIGSTOP)
		(void)sigaction(signal, &stop, &old);
	(void)raise(signal);
	(void)pthread_sigmask(SIG_UNBLOCK, &set, NULL); /* here we stop */
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (signal != SIGSTOP)
		(void)sigaction(signal, &old, NULL);
}

static void on_child(struct client *c)
{
	int status;

	while (!c->ended && waitpid(c->launched.pid, &status, WNOHANG | WUNTRACED | WCONTINUED) == c->launched.pid) {
		if (WIFSTOPPED(status)) {
			c->stopped = true;
			stop_by(WSTOPSIG(status));
		} else if (WIFCONTINUED(status)) {
			c->stopped = false;
		} else {
			c->ended = true;
			c->status = status;
		}
	}
}

static void on_signal(struct client *c, const struct signalfd_siginfo *info)
{
	const int signal = (int)info->ssi_signo;
	/* What comes from the job has gone to its group, the program included, and so has what comes from the terminal. */
	const bool inside = sp_status_tracer((pid_t)info->ssi_pid) == c->service;
	const bool hang_up = signal == SIGHUP && info->ssi_code == SI_KERNEL && getsid(0) == getpid();

	if (signal == SIGCHLD)
		on_child(c);
	else if (c->ended && (signal == SIGINT || signal == SIGTERM || signal == SIGHUP || signal == SIGQUIT))
		c->done = true; /* leftovers: the service kills them when we go */
	else if (!c->ended && signal == SIGCONT && c->stopped)
		(void)kill(c->launched.pid, SIGCONT);
	else if (!c->ended && signal != SIGCONT && ((info->ssi_code == SI_USER && !inside) || hang_up))
		(void)kill(c->launched.pid, signal);
}

static void on_reply(struct client *c, const struct sp_reply *reply)
{
	const char *notice = text_of(reply->parameters, "notice"), *failure = text_of(reply->parameters, "failure");

	if (reply->error != NULL) {
		struct sp_error e;

		(void)explain(reply, &e);
		(void)fprintf(stderr, "sallyport: %s\n", e.text);
	} else if (notice != NULL) {
		(void)fprintf(stderr, "sallyport: %s\n", notice);
	} else if (failure != NULL) {
		(void)fprintf(stderr, "sallyport: %s: %s\n", c->run->command[0], failure);
	}
	c->failed |= failure != NULL || reply->error != NULL;
	c->done |= !reply->continues;
}

static void on_service(struct client *c)
{
	struct sp_reply reply;
	int err;

	c->caller.patience = 0;
	while (!c->done && (err = sp_caller_receive(&c->caller, &reply)) != -ETIMEDOUT) {
		if (err != 0) {
			(void)fprintf(stderr, "sallyport: the service is gone, and with it the job\n");
			c->done = c->failed = true;
			return;
		}
		on_reply(c, &reply);
		sp_reply_release(&reply);
	}
}

static void look_after(struct client *c)
{
	struct pollfd fds[] = {{.fd = c->signal_fd, .events = POLLIN}, {.fd = c->caller.socket, .events = POLLIN}};
	struct signalfd_siginfo info;

	while (!c->done && !(c->ended && c->run->kill_leftovers)) {
		if (poll(fds, 2, -1) < 0)
			continue;
		while (read(c->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
			on_signal(c, &info);
		if (fds[1].revents != 0)
			on_service(c);
	}
}

/* Its end, if the job had one that was told first. */
static int end(struct client *c)
{
	if (!c->ended && c->failed)
		(void)kill(c->launched.pid, SIGKILL);
	while (!c->ended && waitpid(c->launched.pid, &c->status, 0) < 0 && errno == EINTR)
		continue;
	sp_caller_close(&c->caller);
	c->caller.socket = -1;
	sp_launch_end_init(&c->launched);
	const int code = WIFEXITED(c->status) ? WEXITSTATUS(c->status) : SP_EXIT_FAILURE;
	if (c->failed)
		return code == EXIT_NOT_EXECUTABLE || code == EXIT_NOT_FOUND ? code : SP_EXIT_FAILURE;
	return WIFSIGNALED(c->status) ? EXIT_BY_SIGNAL + WTERMSIG(c->status) : code;
}

/* The service has the program now, or not. */
static int leave_alone(struct client *c)
{
	struct sp_reply reply = {0};
	int err = sp_caller_receive(&c->caller, &reply);

	if (err == 0)
		on_reply(c, &reply);
	if (err == 0 && reply.error == NULL)
		(void)puts(text_of(reply.parameters, "job"));
	else
		c->failed = true;
	sp_reply_release(&reply);
	return c->failed ? end(c) : 0;
}

static int fail(const struct sp_error *e)
{
	(void)fprintf(stderr, "sallyport: %s\n", e->text);
	return SP_EXIT_FAILURE;
}

int sp_run_by_service(const struct sp_service_run *run)
{
	cleanup_free char *cwd = getcwd(NULL, 0);
	sp_cleanup(release) struct client c = {
		.run = run, .caller = {.socket = -1}, .launched = {.channel = -1, .wire = -1}, .signal_fd = -1};
	struct sp_error e = {0};
	int err = connect_to(&c, &e);

	if (err == 0)
		err = prepare(&c, &e);
	if (err == 0)
		err = watch_signals(&c, &e);
	if (err == 0)
		err = fork_program(&c, cwd, &e);
	if (err != 0)
		return fail(&e);
	err = hand_over(&c, cwd, &e);
	if (err != 0) {
		c.failed = true;
		(void)fail(&e);
		return end(&c);
	}
	if (run->detach)
		return leave_alone(&c);
	look_after(&c);
	return end(&c);
}
