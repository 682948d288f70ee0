/* sallyport run: supervises a command and its whole process tree, in place: same terminal, session and process group, same
 * exit status. Embedded: this process is the supervisor, and if it dies the kernel kills the tree. */
#include "client.h"
#include "control.h"
#include "engine.h"
#include "prompt.h"
#include "self/harden.h"
#include "service.h"
#include "util/cleanup.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127, EXIT_BY_SIGNAL = 128 };

struct options {
	const char *policy, *audit;
	bool kill_leftovers, explain, ask_elsewhere;
	bool by_service, detach; /* sallyportd is the supervisor */
	const char *socket;
	bool tracking_given; /* otherwise the policy says */
	enum sp_tracking tracking;
	char **command;
};

struct run {
	struct options options;
	struct sp_reload reload; /* asked for by SIGHUP */
	bool reloading, reload_again;
	uv_loop_t loop;
	uv_poll_t signals;
	uv_timer_t stop_self;
	int signal_fd;
	sigset_t original_mask;
	bool sigchld_was_ignored;
	struct sp_job *job; /* NULL when it is done */
	struct sp_control *control; /* NULL: the job cannot be found */
	struct sp_prompt *prompt;
	bool root_ended;
	int root_stopped; /* by this signal; 0: it runs */
	bool stopped_asking; /* the terminal has sent a stop while a question stood there */
	int status; /* exit status to give */
	struct sp_error failure; /* why the program could not be started */
};

static int parse(int argc, char **argv, struct options *o);
static int find_program(const char *name, char path[static PATH_MAX]);
static int supervise(struct run *r, const struct sp_policy *policy, struct sp_audit *audit, const char *file,
		     struct sp_error *e);

static const char usage[] =
	"Usage: sallyport run [OPTION]... [--] COMMAND [ARGUMENT]...\n"
	"Run COMMAND and decide every execve of its whole process tree.\n"
	"\n"
	"  -p, --policy POLICY      a policy file, or the name of one (default: allow and record)\n"
	"      --audit FILE         the audit database (default: $XDG_STATE_HOME/sallyport/audit.db)\n"
	"      --tracking HOW       attached or oneshot, whatever the policy says: see sallyport(1)\n"
	"      --leftovers WHAT     when COMMAND has ended and processes of its are left: wait for\n"
	"                           them (default) or kill them\n"
	"      --ask WHERE          where a person is asked, if the policy does: on the terminal (default)\n"
	"                           or elsewhere, by sallyport approve\n"
	"      --daemon[=SOCKET]    sallyportd supervises COMMAND; POLICY is then a name that its rules grant\n"
	"      --detach             with --daemon: print the name of the job and leave it alone\n"
	"      --explain            first say what became of each stage of the launch\n"
	"      --help               this text\n"
	"\n"
	"Exit status: that of COMMAND, 128+N if signal N killed it; 127 if it was not found, 126 if it\n"
	"could not or may not run, 125 if sallyport itself failed (nothing was started then).\n";

static void release_policy(struct sp_policy **policy)
{
	sp_policy_free(*policy);
}

static int fail(const struct sp_error *e)
{
	(void)fprintf(stderr, "sallyport: %s\n", e->text);
	return SP_EXIT_FAILURE;
}

static void mind_children(struct run *r);

static int by_service(struct run *r, const char *file)
{
	mind_children(r);
	const struct sp_service_run run = {
		.socket = r->options.socket,
		.policy = r->options.policy,
		.file = file,
		.command = r->options.command,
		.detach = r->options.detach,
		.kill_leftovers = r->options.kill_leftovers,
		.mask = r->original_mask,
		.ignore_sigchld = r->sigchld_was_ignored,
	};
	return sp_run_by_service(&run);
}

int sp_cmd_run(int argc, char **argv)
{
	struct run r = {.status = SP_EXIT_FAILURE};
	struct sp_error e = {0};
	sp_cleanup(release_policy) struct sp_policy *policy = NULL;
	struct sp_audit *audit = NULL;
	char file[PATH_MAX];

	int parsed = parse(argc, argv, &r.options);
	if (parsed >= 0)
		return parsed;
	if (!r.options.by_service && sp_policy_load(r.options.policy, &policy, &e) != 0)
		return fail(&e);
	int err = find_program(r.options.command[0], file);
	if (err != 0) {
		(void)fprintf(stderr, "sallyport: %s: %s\n", r.options.command[0],
			      err == -ENOENT ? "command not found" : strerror(-err));
		return err == -ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
	}
	/* The audit's writer is a thread: it must not get the signals that the loop waits for. */
	sigset_t all;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &r.original_mask);
	if (r.options.by_service)
		return by_service(&r, file);
	if (sp_audit_open(r.options.audit, &audit, &e) != 0)
		return fail(&e);
	err = supervise(&r, policy, audit, file, &e);
	if (err != 0)
		r.status = fail(&e);
	if (sp_audit_close(audit, &e) != 0 && err == 0)
		(void)fail(&e);
	return r.status;
}

/* --- the command line --- */

static int refuse(const char *format, const char *word)
{
	(void)fputs("sallyport run: ", stderr);
	(void)fprintf(stderr, format, word);
	(void)fputs("; see sallyport run --help\n", stderr);
	return SP_EXIT_FAILURE;
}

/* -1: go on; otherwise the exit status. */
static int parse(int argc, char **argv, struct options *o)
{
	enum { AUDIT = 256, TRACKING, LEFTOVERS, ASK, EXPLAIN, DAEMON, DETACH, HELP };
	static const struct option options[] = {
		{"policy", required_argument, NULL, 'p'},
		{"audit", required_argument, NULL, AUDIT},
		{"tracking", required_argument, NULL, TRACKING},
		{"leftovers", required_argument, NULL, LEFTOVERS},
		{"ask", required_argument, NULL, ASK},
		{"explain", no_argument, NULL, EXPLAIN},
		{"daemon", optional_argument, NULL, DAEMON},
		{"detach", no_argument, NULL, DETACH},
		{"help", no_argument, NULL, HELP},
		{0},
	};
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "+:p:", options, NULL)) != -1) {
		switch (c) {
		case 'p':
			o->policy = optarg;
			break;
		case AUDIT:
			o->audit = optarg;
			break;
		case TRACKING:
			o->tracking_given = true;
			o->tracking = strcmp(optarg, "oneshot") == 0 ? SP_TRACKING_ONESHOT : SP_TRACKING_ATTACHED;
			if (o->tracking != SP_TRACKING_ONESHOT && strcmp(optarg, "attached") != 0)
				return refuse("--tracking %s: expected attached or oneshot", optarg);
			break;
		case LEFTOVERS:
			o->kill_leftovers = strcmp(optarg, "kill") == 0;
			if (!o->kill_leftovers && strcmp(optarg, "wait") != 0)
				return refuse("--leftovers %s: expected wait or kill", optarg);
			break;
		case ASK:
			o->ask_elsewhere = strcmp(optarg, "elsewhere") == 0;
			if (!o->ask_elsewhere && strcmp(optarg, "terminal") != 0)
				return refuse("--ask %s: expected terminal or elsewhere", optarg);
			break;
		case DAEMON:
			o->by_service = true;
			o->socket = optarg;
			break;
		case DETACH:
			o->detach = true;
			break;
		case EXPLAIN:
			o->explain = true;
			break;
		case HELP:
			(void)fputs(usage, stdout);
			return 0;
		case ':':
			return refuse("%s needs a value", argv[optind - 1]);
		default:
			return refuse("%s is not an option", argv[optind - 1]);
		}
	}
	if (optind >= argc)
		return refuse("%s", "no command was given");
	o->command = argv + optind;
	if (o->detach && !o->by_service)
		return refuse("%s needs --daemon", "--detach");
	if (o->by_service && (o->audit != NULL || o->tracking_given || o->explain))
		return refuse("%s: the audit trail, tracking and explanations are the service's", "--daemon");
	return -1;
}

/* --- the program, as a shell finds it --- */

static int try_program(const char *path)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EACCES;
	return access(path, X_OK) == 0 ? 0 : -EACCES;
}

static int find_program(const char *name, char path[static PATH_MAX])
{
	if (name[0] == '\0')
		return -ENOENT;
	if (strchr(name, '/') != NULL) {
		if (strlen(name) >= PATH_MAX)
			return -ENAMETOOLONG;
		(void)strcpy(path, name);
		int err = try_program(path);
		return err == -ENOTDIR ? -ENOENT : err;
	}
	const char *search = getenv("PATH");
	int found = -ENOENT;
	for (const char *at = search != NULL ? search : "/bin:/usr/bin"; at != NULL;) {
		size_t length = strcspn(at, ":");
		int n = snprintf(path, PATH_MAX, "%.*s%s%s", (int)length, at, length == 0 ? "./" : "/", name);

		at = at[length] == ':' ? at + length + 1 : NULL;
		int err = n < PATH_MAX ? try_program(path) : -ENOENT;
		if (err == 0)
			return 0;
		if (err == -EACCES) /* as a shell: remembered, but the search goes on */
			found = err;
	}
	return found;
}

/* --- the job's events --- */

static void on_launch_failed(struct sp_job *job, const struct sp_error *e, void *context)
{
	struct run *r = context;

	(void)job;
	r->failure = *e;
}

static void on_stop_self(uv_timer_t *timer);

static void on_root_stop(struct sp_job *job, int signal, void *context)
{
	struct run *r = context;

	(void)job;
	r->root_stopped = signal;
	/* After what else is waiting: the terminal stops a whole group, and its other processes have yet to be let stop. */
	if (signal != 0)
		(void)uv_timer_start(&r->stop_self, on_stop_self, 0, 0);
}

/* Whoever waits for us sees what it would see of the program itself: a stop by the same signal. SIGCONT ends this, and comes
 * to the loop too. */
static void stop_by(int signal)
{
	static const struct timespec at_once = {0};
	const struct sigaction stop = {.sa_handler = SIG_DFL};
	struct sigaction old;
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, signal);
	(void)sigtimedwait(&set, NULL, &at_once); /* the terminal's own, meant for the group: once is enough */
	if (signal != SIGSTOP)
		(void)sigaction(signal, &stop, &old);
	(void)raise(signal);
	(void)pthread_sigmask(SIG_UNBLOCK, &set, NULL); /* here we stop */
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (signal != SIGSTOP)
		(void)sigaction(signal, &old, NULL);
}

static void on_stop_self(uv_timer_t *timer)
{
	struct run *r = timer->data;
	const int signal = r->root_stopped != 0 ? r->root_stopped : r->stopped_asking ? SIGTSTP : 0;

	r->stopped_asking = false;
	/* Not for a stop that has ended since in the death of all: that was the last that somebody wanted of us. */
	if (signal != 0 && r->job != NULL && !sp_job_is_killed(r->job))
		stop_by(signal);
}

static int exit_status(struct run *r, int status)
{
	if (r->failure.err != 0) {
		(void)fprintf(stderr, "sallyport: %s: %s\n", r->options.command[0], r->failure.text);
		/* 126 and 127 are the child's own word for an exec that failed; anything else went wrong on our side */
		int code = WIFEXITED(status) ? WEXITSTATUS(status) : SP_EXIT_FAILURE;
		return code == EXIT_NOT_EXECUTABLE || code == EXIT_NOT_FOUND ? code : SP_EXIT_FAILURE;
	}
	return WIFSIGNALED(status) ? EXIT_BY_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
}

static void on_root_exit(struct sp_job *job, int status, void *context)
{
	struct run *r = context;

	r->root_ended = true;
	r->status = exit_status(r, status);
	if (r->options.kill_leftovers)
		sp_job_kill(job);
}

static void on_notice(struct sp_job *job, const char *sentence, void *context)
{
	(void)job;
	(void)context;
	(void)fprintf(stderr, "sallyport: %s\n", sentence);
}

static void on_done(struct sp_job *job, void *context)
{
	struct run *r = context;

	(void)job;
	r->job = NULL;
	if (r->control != NULL)
		sp_control_close(r->control);
	sp_prompt_close(r->prompt);
	uv_close((uv_handle_t *)&r->signals, NULL);
	uv_close((uv_handle_t *)&r->stop_self, NULL);
	uv_stop(&r->loop);
}

/* The table that was asked for, before the program writes anything. */
static void on_launched(struct sp_job *job, const struct sp_launch_outcome *outcome, void *context)
{
	const struct run *r = context;

	(void)job;
	if (!r->options.explain)
		return;
	for (enum sp_stage s = 0; s < SP_STAGE_EXEC; s++) {
		const unsigned state = outcome->stage[s].state;

		(void)fprintf(stderr, "sallyport: %-22s  %s%s%s\n", sp_stage_name(s),
			      state == SP_STAGE_SKIPPED   ? "-"
			      : state == SP_STAGE_APPLIED ? "applied"
							  : "failed: ",
			      state == SP_STAGE_FAILED ? strerrorname_np(outcome->stage[s].err) : "",
			      state == SP_STAGE_FAILED && s == SP_STAGE_FILESYSTEM_RIGHTS ? " (an older Landlock)"
											  : "");
	}
	(void)fprintf(stderr, "sallyport: %-22s  %s\n", "level", sp_launch_level_name(sp_launch_level(outcome)));
}

static const struct sp_job_events job_events = {
	.launched = on_launched,
	.launch_failed = on_launch_failed,
	.notice = on_notice,
	.root_stop = on_root_stop,
	.root_exit = on_root_exit,
	.done = on_done,
};

/* --- signals --- */

/* What people send to a command they started. */
static const int forwarded[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT, SIGALRM};

static void start_reload(struct run *r);

static void on_reloaded(struct sp_reload *reload, const struct sp_error *e)
{
	struct run *r = reload->context;

	r->reloading = false;
	if (e->err == ECANCELED)
		return;
	if (e->err != 0)
		(void)fprintf(stderr, "sallyport: the policy stays as it was: %s\n", e->text);
	else
		(void)fprintf(stderr, "sallyport: the policy was read again: generation %" PRIu64 "\n",
			      sp_job_generation(r->job));
	if (r->reload_again)
		start_reload(r);
}

static void start_reload(struct run *r)
{
	r->reload_again = r->reloading;
	if (r->reloading)
		return;
	r->reloading = true;
	r->reload = (struct sp_reload){.done = on_reloaded, .context = r};
	sp_job_reload(r->job, &r->reload);
}

/* A hang-up comes from the kernel, or goes to whoever leads the session. Who has sent it may be gone by now: whether it was one of
 * the job's, which may not have its policy changed, is asked of all that there ever were. */
static bool asks_for_reload(const struct run *r, const struct signalfd_siginfo *info)
{
	return info->ssi_signo == SIGHUP && info->ssi_code == SI_USER && r->options.policy != NULL &&
	       getsid(0) != getpid() && info->ssi_pid != 0 && !sp_job_has_had(r->job, (pid_t)info->ssi_pid);
}

static void on_signal(struct run *r, const struct signalfd_siginfo *info)
{
	int signal = (int)info->ssi_signo;

	if (r->job == NULL)
		return;
	const bool asking = (info->ssi_code == SI_KERNEL || signal == SIGCONT) && sp_prompt_signal(r->prompt, signal);
	if (asking && signal == SIGTSTP) {
		/* The root may be waiting for a child of its that waits for the answer, and not stop. */
		r->stopped_asking = true;
		(void)uv_timer_start(&r->stop_self, on_stop_self, 0, 0);
	}
	if (asks_for_reload(r, info)) {
		start_reload(r);
		return;
	}
	if (r->root_ended) {
		/* Only leftovers are there, and nobody to tell: an interrupt is meant for them. */
		if (signal == SIGINT || signal == SIGTERM || signal == SIGHUP || signal == SIGQUIT)
			sp_job_kill(r->job);
		return;
	}
	if (signal == SIGCONT) {
		/* `sallyport kill` wakes us, so that we read what it wants: the program shall not run before that. */
		sp_control_serve(r->control);
		if (r->root_stopped)
			(void)kill(sp_job_root(r->job), SIGCONT);
		return;
	}
	/* From the terminal it has gone to the whole foreground process group, the program included; so has what a process
	 * of the job sent to its group. Sent to us by anybody else it is meant for the program, and so is the hang-up
	 * that a session leader alone is told. */
	bool from_outside = info->ssi_code == SI_USER && !sp_job_has(r->job, (pid_t)info->ssi_pid);
	bool hang_up = signal == SIGHUP && info->ssi_code == SI_KERNEL && getsid(0) == getpid();
	if (from_outside || hang_up)
		(void)kill(sp_job_root(r->job), signal);
}

static void on_signals(uv_poll_t *handle, int status, int events)
{
	struct run *r = handle->data;
	struct signalfd_siginfo info;

	(void)events;
	while (status == 0 && read(r->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
		on_signal(r, &info);
}

static int watch_signals(struct run *r, struct sp_error *e)
{
	sigset_t set;

	(void)sigemptyset(&set);
	for (size_t i = 0; i < sizeof forwarded / sizeof *forwarded; i++)
		(void)sigaddset(&set, forwarded[i]);
	r->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (r->signal_fd < 0)
		return sp_fail(e, errno, "cannot create a signalfd: %s", strerror(errno));
	int err = uv_poll_init(&r->loop, &r->signals, r->signal_fd);
	if (err != 0)
		return sp_fail(e, -err, "cannot watch signals: %s", uv_strerror(err));
	r->signals.data = r->stop_self.data = r;
	(void)uv_timer_init(&r->loop, &r->stop_self);
	(void)uv_poll_start(&r->signals, UV_READABLE, on_signals);
	return 0;
}

/* Waited-for children vanish where SIGCHLD is ignored. The program still gets what our caller had set. */
static void mind_children(struct run *r)
{
	struct sigaction action = {.sa_handler = SIG_DFL}, old;

	(void)sigaction(SIGCHLD, &action, &old);
	r->sigchld_was_ignored = old.sa_handler == SIG_IGN;
}

/* --- supervising --- */

extern char **environ;

static int start(struct run *r, struct sp_engine *engine, const struct sp_policy *policy, struct sp_audit *audit,
		 const char *file, struct sp_error *e)
{
	cleanup_free char *cwd = getcwd(NULL, 0);
	const struct sp_job_plan plan = {
		.file = file,
		.argv = r->options.command,
		/* Where a policy says what is passed on, it says so of all that our caller gave. */
		.envp = sp_policy_confinement(policy)->launch ? sp_self_environment() : environ,
		.cwd = cwd,
		.signal_mask = &r->original_mask,
		.ignore_sigchld = r->sigchld_was_ignored,
		.policy = policy,
		.tracking = r->options.tracking_given ? r->options.tracking : sp_policy_tracking(policy),
		.events = &job_events,
		.context = r,
	};

	int err = watch_signals(r, e);
	if (err != 0)
		return err;
	r->job = sp_job_start(engine, &plan, e);
	if (r->job == NULL) {
		uv_close((uv_handle_t *)&r->signals, NULL);
		uv_close((uv_handle_t *)&r->stop_self, NULL);
		(void)sp_audit_ready(audit, e); /* if it is the database that failed, it knows better why */
		return -e->err;
	}
	/* Before what we give up: it listens on a socket of its own. */
	r->control = sp_control_new(&r->loop, engine, r->job);
	r->prompt = sp_prompt_new(&r->loop, engine, r->job, !r->options.ask_elsewhere);
	/* The database was opened meanwhile. Without it nothing runs: the child still waits for the loop's word. */
	err = sp_audit_ready(audit, e);
	if (err == 0)
		err = sp_self_confine(e);
	if (err != 0)
		sp_job_kill(r->job);
	return err;
}

static int supervise(struct run *r, const struct sp_policy *policy, struct sp_audit *audit, const char *file,
		     struct sp_error *e)
{
	int err = uv_loop_init(&r->loop);

	if (err != 0)
		return sp_fail(e, -err, "cannot create an event loop: %s", uv_strerror(err));
	mind_children(r);
	struct sp_engine *engine = sp_engine_new(&r->loop, audit, e);
	if (engine == NULL)
		return -e->err;
	err = start(r, engine, policy, audit, file, e);
	if (r->job != NULL)
		(void)uv_run(&r->loop, UV_RUN_DEFAULT);
	sp_engine_close(engine);
	while (uv_run(&r->loop, UV_RUN_NOWAIT) != 0)
		continue; /* handles that close */
	(void)close(r->signal_fd);
	(void)uv_loop_close(&r->loop);
	return err;
}
