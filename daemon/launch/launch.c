/* See launch.h. */
#include "launch/launch.h"

#include "launch/stages.h"
#include "self/harden.h"
#include "util/cleanup.h"
#include "util/cpu.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* How a shell reports what it could not run; nobody sees it where the channel's record came through. */
enum { EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127 };

[[gnu::noreturn]] static void run_child(struct sp_stage_run *run, int channel);

static void free_plan_ptr(struct sp_launch_plan **plan)
{
	sp_launch_plan_free(*plan);
}

/* Our end and the child's. */
struct pair {
	int ours, theirs;
};

static void close_pair(struct pair *pair)
{
	sp_close_fd(&pair->ours);
	sp_close_fd(&pair->theirs);
}

static int open_pair(struct pair *pair, struct sp_error *e)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
		return sp_fail(e, errno, "cannot create a socket pair: %s", strerror(errno));
	*pair = (struct pair){fds[0], fds[1]};
	return 0;
}

/* Waits until the child can be traced, which a child of ours cannot from its first moment: see sp_self_restore(). */
static bool await_traceable(int channel)
{
	char word;

	return TEMP_FAILURE_RETRY(recv(channel, &word, 1, 0)) == 1;
}

/* Who was born, and the word of an init that it is locked up: in whatever order they come. */
static bool receive_births(int wire, struct sp_launch_births *births)
{
	bool told = false, locked = false;

	while (!told || (births->init > 0 && !locked)) {
		struct sp_launch_births message;
		ssize_t n = TEMP_FAILURE_RETRY(recv(wire, &message, sizeof message, 0));

		if (n == (ssize_t)sizeof message) {
			*births = message;
			told = true;
		} else if (n == 1) {
			locked = true;
		} else {
			return false;
		}
	}
	return births->program > 0;
}

/* What was forked may only have made the process that will be the program. */
static int await_births(struct sp_launched *launched, const struct pair *wire, struct sp_error *e)
{
	const pid_t forked = launched->pid;
	struct sp_launch_births births = {0};
	bool good = receive_births(wire->ours, &births);

	launched->init = births.init;
	launched->pid = births.program;
	if (births.program != forked)
		launched->maker = forked;
	if (good)
		return 0;
	/* An init goes only when all others are gone. */
	if (births.program > 0 && births.program != forked && kill(births.program, SIGKILL) == 0)
		(void)waitpid(births.program, NULL, 0);
	return sp_fail(e, EAGAIN, "the child died before it could make its namespaces");
}

int sp_launch_fork(const struct sp_launch *launch, struct sp_launched *launched, struct sp_error *e)
{
	sp_cleanup(free_plan_ptr) struct sp_launch_plan *plan = NULL;
	sp_cleanup(close_pair) struct pair channel = {-1, -1};
	sp_cleanup(close_pair) struct pair wire = {-1, -1};

	*launched = (struct sp_launched){.channel = -1, .wire = -1};
	int err = sp_launch_plan_new(launch, &plan, e);
	if (err == 0)
		err = open_pair(&channel, e);
	if (err == 0 && sp_stages_fork(plan))
		err = open_pair(&wire, e);
	if (err != 0)
		return err;
	struct sp_stage_run run = {.plan = plan, .wire = wire.theirs, .proc = -1};
	launched->pid = sp_stages_clone(&run, 0, !sp_stages_fork(plan));
	if (launched->pid < 0)
		return sp_fail(e, errno, "cannot fork: %s", strerror(errno));
	if (launched->pid == 0) {
		(void)close(channel.ours);
		sp_close_fd(&wire.ours);
		run_child(&run, channel.theirs);
	}
	(void)close(sp_steal_fd(&channel.theirs));
	sp_close_fd(&wire.theirs);
	wire.theirs = -1;
	if (!await_traceable(channel.ours)) {
		(void)waitpid(launched->pid, NULL, 0);
		return sp_fail(e, ESRCH, "the child was killed before it began");
	}
	err = wire.ours >= 0 ? await_births(launched, &wire, e) : 0;
	launched->wire = launched->init > 0 ? sp_steal_fd(&wire.ours) : -1;
	if (err != 0) {
		sp_launch_end_init(launched);
		return err;
	}
	(void)fcntl(channel.ours, F_SETFL, O_NONBLOCK);
	launched->channel = sp_steal_fd(&channel.ours);
	return 0;
}

void sp_launch_let_init_go(struct sp_launched *launched)
{
	/* To close it is not enough: the child of another launch, forked meanwhile and not at its exec yet, has a copy. */
	if (launched->wire >= 0)
		(void)shutdown(launched->wire, SHUT_RDWR);
	sp_close_fd(&launched->wire);
	launched->wire = -1;
}

/* ECHILD: it died before its time, and the tracer has reaped it. */
static void reap(pid_t *pid)
{
	while (*pid > 0 && waitpid(*pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	*pid = 0;
}

void sp_launch_end_init(struct sp_launched *launched)
{
	sp_launch_let_init_go(launched);
	reap(&launched->maker);
	reap(&launched->init);
}

int sp_launch_receive(int channel, struct sp_launch_outcome *outcome, int *listener)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct sp_launch_record record;
	struct iovec iov = {.iov_base = &record, .iov_len = sizeof record};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};

	*listener = -1;
	ssize_t n = recvmsg(channel, &msg, MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == ECONNRESET ? 0 : -errno;
	if (n == 0)
		return 0;
	const struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(listener, CMSG_DATA(c), sizeof *listener);
	int err = sp_launch_record_decode(&record, (msg.msg_flags & MSG_TRUNC) != 0 ? 0 : (size_t)n, outcome);
	return err == 0 ? 1 : err;
}

int sp_launch_go(int channel)
{
	return send(channel, "g", 1, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

/* --- the child: async-signal-safe from here on --- */

static void report(int channel, const struct sp_launch_outcome *outcome, int listener)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct sp_launch_record record;
	struct iovec iov = {.iov_base = &record, .iov_len = sizeof record};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	sp_launch_record_encode(&record, outcome);
	if (listener >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof control;
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &listener, sizeof listener);
	}
	if (sendmsg(channel, &msg, MSG_NOSIGNAL) != (ssize_t)sizeof record)
		_exit(EXIT_NOT_EXECUTABLE);
}

[[gnu::noreturn]] static void give_up(int channel, struct sp_launch_outcome *outcome, enum sp_stage stage, int err)
{
	sp_stage_note(outcome, stage, err);
	report(channel, outcome, -1);
	if (stage != SP_STAGE_EXEC)
		_exit(SP_LAUNCH_REFUSED);
	_exit(err == -ENOENT || err == -ENOTDIR ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE);
}

static void await_word(int channel)
{
	char word;

	if (read(channel, &word, 1) != 1)
		_exit(SP_LAUNCH_REFUSED); /* the supervisor does not want it, or is gone */
}

/* What only the program shall have. */
static void give_back(const struct sp_launch *launch)
{
	if (launch->nofile != NULL)
		(void)setrlimit(RLIMIT_NOFILE, launch->nofile);
	if (launch->ignore_sigchld)
		(void)signal(SIGCHLD, SIG_IGN);
	(void)sigprocmask(SIG_SETMASK, launch->signal_mask, NULL);
}

[[gnu::noreturn]] static void run_child(struct sp_stage_run *run, int channel)
{
	const struct sp_launch_plan *plan = run->plan;
	const struct sp_launch *launch = &plan->launch;
	struct sp_launch_outcome outcome = {0};

	run->outcome = &outcome;
	sp_cpu_restore();
	sp_self_restore();
	if (send(channel, "t", 1, MSG_NOSIGNAL) != 1)
		_exit(EXIT_NOT_EXECUTABLE);
	sp_stages_run(run);
	int listener = sp_filter_load(launch->filter);
	if (listener < 0)
		give_up(channel, &outcome, SP_STAGE_FILTER, listener);
	sp_stage_note(&outcome, SP_STAGE_FILTER, 0);
	/* The last stage may forbid to report: so it counts as applied, and only its failure is told. */
	if (sp_launch_asks(plan, SP_STAGE_SYSCALLS))
		sp_stage_note(&outcome, SP_STAGE_SYSCALLS, 0);
	report(channel, &outcome, listener);
	(void)close(listener);
	await_word(channel);
	give_back(launch);
	int err = sp_stages_last(run);
	if (err != 0)
		give_up(channel, &outcome, SP_STAGE_SYSCALLS, err);
	(void)execve(launch->file, launch->argv, launch->envp);
	if (errno == ENOEXEC)
		(void)execve(plan->shell_argv[0], plan->shell_argv, launch->envp);
	give_up(channel, &outcome, SP_STAGE_EXEC, -errno);
}
