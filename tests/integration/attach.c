/* Jobs whose program somebody else has forked (sp_job_attach()): the parent sees what it would see without us, and the engine's end is
 * not the job's. The engine is this process, the parent another one, which hands the child over as the client of the service does. */
#include "harness.h"

#include "engine.h"
#include "launch/launch.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOBODY = 65534 };

struct attached {
	uv_loop_t loop;
	struct sp_engine *engine;
	struct sp_policy *policy;
	struct sp_job_counts counts;
	int root_status;
	bool launched, done;
	struct sp_error failure;
};

static void on_launched(struct sp_job *job, const struct sp_launch_outcome *outcome, void *context)
{
	(void)job;
	(void)outcome;
	((struct attached *)context)->launched = true;
}

static void on_launch_failed(struct sp_job *job, const struct sp_error *e, void *context)
{
	(void)job;
	((struct attached *)context)->failure = *e;
}

static void on_root_exit(struct sp_job *job, int status, void *context)
{
	(void)job;
	((struct attached *)context)->root_status = status;
}

static void on_done(struct sp_job *job, void *context)
{
	struct attached *a = context;

	a->counts = sp_job_counts(job);
	a->done = true;
	uv_stop(&a->loop);
}

static const struct sp_job_events events = {
	.launched = on_launched, .launch_failed = on_launch_failed, .root_exit = on_root_exit, .done = on_done};

static void become(enum sp_who who)
{
	if (who == SP_WHO_USER && geteuid() == 0)
		cr_assert(setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
			  setresuid(NOBODY, NOBODY, NOBODY) == 0);
	cr_assert_eq(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0);
}

static void open_engine(struct attached *a, const char *policy, bool outlived)
{
	struct sp_error e = {0};
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	cr_assert_eq(uv_loop_init(&a->loop), 0);
	a->engine = sp_engine_new(&a->loop, NULL, &e);
	cr_assert_not_null(a->engine, "%s", e.text);
	if (outlived)
		sp_engine_outlived(a->engine);
	cr_assert_eq(sp_policy_parse(policy, strlen(policy), "attach", &a->policy, &e), 0, "%s", e.text);
}

static void close_engine(struct attached *a)
{
	sp_engine_close(a->engine);
	while (uv_run(&a->loop, UV_RUN_NOWAIT) != 0)
		continue;
	cr_assert_eq(uv_loop_close(&a->loop), 0);
	sp_policy_free(a->policy);
}

/* ---- the parent, another process ---- */

struct parcel {
	pid_t pid;
	int fds[2]; /* channel; wire or nothing */
	int count;
};

static void hand_over(int socket, const struct parcel *parcel)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)&parcel->pid, .iov_len = sizeof parcel->pid};
	const size_t size = (size_t)parcel->count * sizeof(int);
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_SPACE(size)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	*c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(size)};
	memcpy(CMSG_DATA(c), parcel->fds, size);
	if (sendmsg(socket, &msg, 0) < 0)
		_exit(99);
}

static struct parcel take(int socket)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	struct parcel parcel = {.fds = {-1, -1}};
	struct iovec iov = {.iov_base = &parcel.pid, .iov_len = sizeof parcel.pid};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};

	cr_assert_eq(recvmsg(socket, &msg, MSG_CMSG_CLOEXEC), (ssize_t)sizeof parcel.pid);
	const struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	cr_assert_not_null(c);
	memcpy(parcel.fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
	return parcel;
}

static void tell(int told, int status)
{
	if (write(told, &status, sizeof status) != (ssize_t)sizeof status)
		_exit(96);
}

/* Forks the program, hands it over, and says through a pipe how it ended: the engine reaps all children of its process, the parent
 * among them. */
[[gnu::noreturn]] static void be_parent(int socket, int told, const struct sp_policy *policy, bool one_shot,
					const char *script)
{
	char *const argv[] = {(char *)"sh", (char *)"-c", (char *)script, NULL};
	struct sp_filter filter = {0};
	struct sp_launched launched;
	struct sp_error e = {0};
	sigset_t none;
	int status;

	(void)sigemptyset(&none);
	const struct sp_launch launch = {
		.file = "/bin/sh",
		.argv = argv,
		.envp = environ,
		.signal_mask = &none,
		.filter = &filter,
		.confinement = sp_policy_confinement(policy),
	};
	if (sp_filter_compile(&filter, one_shot ? SP_NOTIFY_EXECS_AND_FORKS : SP_NOTIFY_EXECS, &e) != 0 ||
	    sp_launch_fork(&launch, &launched, &e) != 0) {
		(void)fprintf(stderr, "%s\n", e.text);
		_exit(98);
	}
	const struct parcel parcel = {
		.pid = launched.pid, .fds = {launched.channel, launched.wire}, .count = launched.wire >= 0 ? 2 : 1};
	hand_over(socket, &parcel);
	(void)close(launched.channel);
	sp_close_fd(&launched.wire);
	if (waitpid(launched.pid, &status, 0) != launched.pid)
		_exit(97);
	tell(told, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	_exit(0);
}

static int start_parent(const struct attached *a, bool one_shot, const char *script, struct parcel *parcel)
{
	int pair[2], told[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	cr_assert_eq(pipe2(told, O_CLOEXEC), 0);
	const pid_t parent = fork();
	cr_assert_geq(parent, 0);
	if (parent == 0) {
		(void)close(pair[0]);
		be_parent(pair[1], told[1], a->policy, one_shot, script);
	}
	(void)close(pair[1]);
	*parcel = take(pair[0]);
	(void)close(pair[0]);
	(void)close(told[1]);
	return told[0];
}

static struct sp_job *attach(struct attached *a, bool one_shot, const struct parcel *parcel, struct sp_error *e)
{
	static char *const argv[] = {(char *)"sh", NULL};
	cleanup_close int pidfd = pidfd_open(parcel->pid, 0);
	const struct sp_job_plan plan = {.argv = argv,
					 .policy = a->policy,
					 .tracking = one_shot ? SP_TRACKING_ONESHOT : SP_TRACKING_ATTACHED,
					 .events = &events,
					 .context = a};
	const struct sp_job_child child = {
		.pid = parcel->pid, .pidfd = pidfd, .channel = parcel->fds[0], .wire = parcel->fds[1], .uid = getuid()};

	return sp_job_attach(a->engine, &plan, &child, e);
}

static int status_of(pid_t parent)
{
	int status;

	cr_assert_eq(waitpid(parent, &status, 0), parent);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int told_by(int parent)
{
	int status = -1;

	cr_assert_eq(read(parent, &status, sizeof status), (ssize_t)sizeof status);
	(void)close(parent);
	return status;
}

static struct attached run(const char *policy, bool one_shot, const char *script, int *seen)
{
	struct attached a = {0};
	struct parcel parcel;
	struct sp_error e = {0};

	open_engine(&a, policy, true);
	const int parent = start_parent(&a, one_shot, script, &parcel);
	cr_assert_not_null(attach(&a, one_shot, &parcel, &e), "%s", e.text);
	(void)uv_run(&a.loop, UV_RUN_DEFAULT);
	cr_assert(a.done);
	*seen = told_by(parent);
	close_engine(&a);
	return a;
}

#define ANYTHING "{version: 1, exec: {default: allow}}"

ParameterizedTestParameters(attach, the_parent_sees_the_end)
{
	return sp_each_who_of(2);
}
ParameterizedTest(int *parameter, attach, the_parent_sees_the_end)
{
	cleanup_lab struct sp_lab lab;
	int seen;

	sp_lab_open(&lab, SP_WHO(*parameter));
	become(lab.who);
	struct attached a =
		run(ANYTHING, SP_INDEX(*parameter) == 1, "/bin/true; (/bin/true | /bin/true); exit 7", &seen);
	cr_assert_eq(seen, 7);
	cr_assert(a.launched);
	cr_assert_eq(a.counts.execs, 4);
	cr_assert_eq(a.counts.illegal, 0);
	cr_assert(WIFEXITED(a.root_status) && WEXITSTATUS(a.root_status) == 7);
	a = run(ANYTHING, SP_INDEX(*parameter) == 1, "kill -TERM $$", &seen);
	cr_assert_eq(seen, 128 + SIGTERM);
	cr_assert_eq(sp_end_descendants(5), 0);
}

sp_lab_test(attach, with_namespaces)
{
	int seen;

	become(lab->who);
	struct attached a = run("{version: 1, exec: {default: allow}, launch: {namespaces: [user, pid, mount]}}", false,
				"/bin/true; exit $$", &seen);
	cr_assert_eq(a.failure.err, 0, "%s", a.failure.text);
	cr_assert_eq(seen, 2, "pid %d in its namespace", seen);
	cr_assert_eq(a.counts.execs, 2);
	cr_assert_eq(sp_end_descendants(5), 0);
}

sp_lab_test(attach, refused_programs_do_not_run)
{
	int seen;

	become(lab->who);
	struct attached a = run("{version: 1, exec: {default: deny}}", false, "exit 7", &seen);
	cr_assert_eq(seen, 126);
	cr_assert_eq(a.failure.err, EPERM, "%d %s", a.failure.err, a.failure.text);
	cr_assert_eq(sp_end_descendants(5), 0);
}

/* What has ended before it was traced is nobody, whoever has its pid now. */
Test(attach, another_process_of_that_pid)
{
	cleanup_lab struct sp_lab lab;
	struct attached a = {0};
	struct sp_error e = {0};

	sp_lab_open(&lab, SP_WHO_USER);
	become(lab.who);
	open_engine(&a, ANYTHING, true);
	int channel[2];
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel), 0);
	const pid_t gone = fork();
	if (gone == 0)
		_exit(0);
	cleanup_close int pidfd = pidfd_open(gone, 0);
	cr_assert_eq(status_of(gone), 0);
	const pid_t other = fork();
	if (other == 0) {
		for (;;)
			(void)pause();
	}
	static char *const argv[] = {(char *)"sh", NULL};
	const struct sp_job_plan plan = {.argv = argv, .policy = a.policy, .events = &events, .context = &a};
	const struct sp_job_child child = {
		.pid = other, .pidfd = pidfd, .channel = channel[0], .wire = -1, .uid = getuid()};
	cr_assert_null(sp_job_attach(a.engine, &plan, &child, &e));
	cr_assert_eq(e.err, ESRCH, "%s", e.text);
	/* Nobody traces it, and it lives. */
	cr_assert_eq(kill(other, 0), 0);
	cr_assert_eq(kill(other, SIGTERM), 0);
	cr_assert_eq(status_of(other), 128 + SIGTERM);
	close_engine(&a);
}

/* What is no listener is not asked as if it were one, and a launch that hands over nothing is ended. */
sp_lab_test(attach, junk_for_a_listener)
{
	struct attached a = {0};
	struct sp_error e = {0};
	int pair[2];

	become(lab->who);
	open_engine(&a, ANYTHING, true);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	const pid_t child = fork();
	if (child == 0) {
		for (;;)
			(void)pause();
	}
	const struct parcel parcel = {.pid = child, .fds = {pair[0], -1}};
	struct sp_launch_outcome outcome = {0};
	struct sp_launch_record record;
	sp_launch_record_encode(&record, &outcome);
	cleanup_close int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {.header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))}};
	memcpy(CMSG_DATA(&control.header), &null, sizeof null);
	struct iovec iov = {.iov_base = &record, .iov_len = sizeof record};
	const struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	cr_assert_gt(sendmsg(pair[1], &msg, 0), 0);
	cr_assert_not_null(attach(&a, false, &parcel, &e), "%s", e.text);
	(void)uv_run(&a.loop, UV_RUN_DEFAULT);
	cr_assert(a.done);
	cr_assert_eq(a.failure.err, EBADF, "%s", a.failure.text);
	cr_assert(WIFSIGNALED(a.root_status) && WTERMSIG(a.root_status) == SIGKILL);
	close_engine(&a);
	(void)close(pair[1]);
}

/* In a process of its own: attaches, lets the program start, and is killed. */
[[gnu::noreturn]] static void be_mortal_engine(const struct parcel *parcel, bool outlived)
{
	struct attached a = {0};
	struct sp_error e = {0};

	open_engine(&a, ANYTHING, outlived);
	if (attach(&a, false, parcel, &e) == NULL)
		_exit(96);
	(void)uv_run(&a.loop, UV_RUN_DEFAULT);
	_exit(0);
}

static int end_without_engine(bool outlived)
{
	struct attached a = {0};
	struct parcel parcel;
	int ready[2];
	char byte;

	cr_assert_eq(pipe(ready), 0);
	open_engine(&a, ANYTHING, true);
	static const char script[] = "echo >&9; read x <&8; exit 7";
	int go[2];
	cr_assert_eq(pipe(go), 0);
	(void)dup2(ready[1], 9);
	(void)dup2(go[0], 8);
	const int parent = start_parent(&a, false, script, &parcel);
	const pid_t engine = fork();
	cr_assert_geq(engine, 0);
	if (engine == 0)
		be_mortal_engine(&parcel, outlived);
	(void)close(parcel.fds[0]);
	cr_assert_eq(read(ready[0], &byte, 1), 1);
	cr_assert_eq(kill(engine, SIGKILL), 0);
	cr_assert_eq(status_of(engine), 128 + SIGKILL);
	cr_assert_eq(write(go[1], "\n", 1), 1);
	const int seen = told_by(parent);
	close_engine(&a);
	return seen;
}

sp_lab_test(attach, outlives_the_engine)
{
	become(lab->who);
	cr_assert_eq(end_without_engine(false), 128 + SIGKILL, "the control");
	cr_assert_eq(end_without_engine(true), 7);
}
