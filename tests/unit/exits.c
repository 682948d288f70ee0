/* Who has ended, by both sources, each against what waitpid(2) says: many at once, leaders that go first, threads that
 * exec, processes that are gone already, pids used again, messages lost. */
#include "procindex/exits.h"

#include "procindex/connector.h"
#include "procindex/life.h"
#include "util/cleanup.h"
#include "yard.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { NOT_TOLD = -2 };

/* What the test has for a process. */
struct subject {
	struct sp_watch watch;
	struct stage *stage;
	pid_t pid;
	int told; /* status; NOT_TOLD */
	int times;
	struct subject *forget; /* when it is told */
};

struct stage {
	uv_loop_t loop;
	struct sp_exits *exits;
	int awaited; /* calls of ended */
	bool close_when_told;
};

static void ended(pid_t tgid, void *process, int status, void *context)
{
	struct subject *s = process;
	struct stage *stage = context;

	cr_assert_eq(s->stage, stage);
	cr_assert_eq(s->pid, tgid);
	s->told = status;
	s->times++;
	if (s->forget != NULL)
		sp_exits_forget(stage->exits, &s->forget->watch);
	if (stage->close_when_told) {
		sp_exits_close(stage->exits);
		stage->exits = NULL;
	}
	if (--stage->awaited == 0)
		uv_stop(&stage->loop);
}

static const struct sp_exits_ops ops = {ended};

static void open_stage(struct stage *s, enum sp_exits_source source)
{
	struct sp_error e = {0};

	*s = (struct stage){0};
	cr_assert_eq(uv_loop_init(&s->loop), 0);
	s->exits = sp_exits_new(&s->loop, source, &ops, s, &e);
	if (s->exits == NULL && source == SP_EXITS_CONNECTOR)
		cr_skip_test("%s", e.text);
	cr_assert_not_null(s->exits, "%s", e.text);
	cr_assert(source == SP_EXITS_BEST || sp_exits_source(s->exits) == source);
}

static void close_stage(struct stage *s)
{
	sp_exits_close(s->exits);
	cr_assert_eq(uv_run(&s->loop, UV_RUN_DEFAULT), 0);
	cr_assert_eq(uv_loop_close(&s->loop), 0, "a handle is left");
}

/* Nothing but who is watched keeps the loop running: it ends by itself where somebody's end is lost. */
static void await(struct stage *s, int count)
{
	s->awaited = count;
	(void)uv_run(&s->loop, UV_RUN_DEFAULT);
	cr_assert_eq(s->awaited, 0, "%d of %d not told", s->awaited, count);
}

static int watch(struct stage *stage, struct subject *s, pid_t pid)
{
	*s = (struct subject){.stage = stage, .pid = pid, .told = NOT_TOLD};
	return sp_exits_watch(stage->exits, &s->watch, pid, s);
}

static int reap(pid_t pid)
{
	int status;

	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return status;
}

static void assert_told(const struct subject *s, int status)
{
	cr_assert_eq(s->times, 1, "%d times", s->times);
	cr_assert_eq(s->told, status, "told %#x, not %#x", (unsigned)s->told, (unsigned)status);
}

/* Children run when the gate is opened (closed, in fact), and not before. */
struct gate {
	int ends[2];
};

static void make_gate(struct gate *g)
{
	cr_assert_eq(pipe2(g->ends, O_CLOEXEC), 0);
}

static void open_gate(struct gate *g)
{
	(void)close(g->ends[0]);
	(void)close(g->ends[1]);
}

/* In a child. */
static void wait_at_gate(const struct gate *g)
{
	char c;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)close(g->ends[1]);
	(void)!read(g->ends[0], &c, 1);
}

static pid_t fork_at_gate(const struct gate *g, void (*act)(const void *arg), const void *arg)
{
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		wait_at_gate(g);
		act(arg);
		_exit(1);
	}
	return pid;
}

static char state_of(pid_t pid)
{
	char path[32], state;

	(void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
	cleanup_file FILE *f = fopen(path, "re");
	return f != NULL && fscanf(f, "%*d %*s %c", &state) == 1 ? state : '?';
}

static void act_exit(const void *arg)
{
	_exit(*(const int *)arg);
}

static void act_die(const void *arg)
{
	(void)signal(*(const int *)arg, SIG_DFL);
	(void)raise(*(const int *)arg);
}

/* Ends the process when its leader is gone; arg: and this gate is open. */
static void *thread_after_leader(void *arg)
{
	while (state_of(getpid()) != 'Z')
		(void)sched_yield();
	if (arg != NULL)
		wait_at_gate(arg);
	(void)syscall(SYS_exit_group, 7);
	return NULL;
}

static pthread_t start_thread(void *(*run)(void *arg), void *arg)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, run, arg) != 0)
		_exit(3);
	return thread;
}

/* arg: a second gate, at which the thread waits when the leader is gone; NULL: it does not wait. */
static void act_leader_first(const void *arg)
{
	(void)start_thread(thread_after_leader, (void *)arg);
	(void)syscall(SYS_exit, 3);
}

static void *thread_that_execs(void *arg)
{
	(void)execl("/bin/sh", "another-program", "-c", "read x <&9; exit 5", (char *)NULL);
	return arg;
}

/* arg: the gate at which the new program waits. */
static void act_nonleader_exec(const void *arg)
{
	const struct gate *g = arg;

	(void)close(g->ends[1]);
	(void)dup2(g->ends[0], 9);
	(void)fcntl(9, F_SETFD, 0);
	(void)start_thread(thread_that_execs, NULL);
	for (;;)
		(void)pause();
}

static void *thread_that_ends(void *arg)
{
	return arg;
}

static void act_threads_first(const void *arg)
{
	for (int i = 0; i < 8; i++)
		(void)pthread_join(start_thread(thread_that_ends, NULL), NULL);
	_exit(*(const int *)arg);
}

static void *thread_that_waits(void *arg)
{
	for (;;)
		(void)pause();
	return arg;
}

static void act_group(const void *arg)
{
	for (int i = 0; i < 8; i++)
		(void)start_thread(thread_that_waits, NULL);
	_exit(*(const int *)arg);
}

static int count_fds(void)
{
	int count = 0;
	DIR *d = opendir("/proc/self/fd");

	cr_assert_not_null(d);
	while (readdir(d) != NULL)
		count++;
	(void)closedir(d);
	return count;
}

/* Nothing that is not told, while a foreign process comes and goes. */
static void assert_quiet(struct stage *s)
{
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	(void)reap(child);
	s->awaited = 1;
	sp_exits_poll_now(s->exits, NULL);
	(void)uv_run(&s->loop, UV_RUN_NOWAIT);
	cr_assert_eq(s->awaited, 1);
}

/* Every test of the contract is run with both sources. */
#define BOTH(name)                                                                                                     \
	static void check_##name(enum sp_exits_source source);                                                         \
	Test(exits, name##_connector)                                                                                  \
	{                                                                                                              \
		check_##name(SP_EXITS_CONNECTOR);                                                                      \
	}                                                                                                              \
	Test(exits, name##_pidfds)                                                                                     \
	{                                                                                                              \
		check_##name(SP_EXITS_PIDFDS);                                                                         \
	}                                                                                                              \
	static void check_##name(enum sp_exits_source source)

TestSuite(exits, .timeout = 120);

/* The zombie stays until we have been told. */
static void check_act(enum sp_exits_source source, void (*act)(const void *arg), const void *arg)
{
	struct subject s;
	struct gate gate;
	struct stage stage;

	open_stage(&stage, source);
	make_gate(&gate);
	pid_t pid = fork_at_gate(&gate, act, arg);
	cr_assert_eq(watch(&stage, &s, pid), 0);
	assert_quiet(&stage);
	open_gate(&gate);
	await(&stage, 1);
	assert_told(&s, reap(pid));
	cr_assert_eq(sp_exits_stats(stage.exits).told, 1);
	cr_assert_eq(sp_exits_stats(stage.exits).watched, 0);
	close_stage(&stage);
	cr_assert_eq(s.times, 1);
}

BOTH(exit_status)
{
	check_act(source, act_exit, &(int){42});
	check_act(source, act_exit, &(int){0});
}

BOTH(killed_by_signal)
{
	check_act(source, act_die, &(int){SIGTERM});
	check_act(source, act_die, &(int){SIGKILL});
}

BOTH(threads_end_before_the_process)
{
	check_act(source, act_threads_first, &(int){6});
}

BOTH(all_threads_end_together)
{
	for (int i = 0; i < 50; i++)
		check_act(source, act_group, &(int){i});
}

BOTH(leader_goes_first_and_all_is_over_when_we_look)
{
	check_act(source, act_leader_first, NULL);
}

/* A zombie leader with a living thread is not the end. */
BOTH(leader_goes_first_and_a_thread_goes_on)
{
	struct subject s;
	struct gate gate, second;
	struct stage stage;

	open_stage(&stage, source);
	make_gate(&gate);
	make_gate(&second);
	pid_t pid = fork_at_gate(&gate, act_leader_first, &second);
	cr_assert_eq(watch(&stage, &s, pid), 0);
	open_gate(&gate);
	while (state_of(pid) != 'Z')
		(void)sched_yield();
	assert_quiet(&stage);
	sp_exits_poll_now(stage.exits, &s.watch);
	cr_assert_eq(s.times, 0, "told while a thread lives");
	open_gate(&second);
	await(&stage, 1);
	assert_told(&s, reap(pid));
	cr_assert_eq(s.told, 7 << 8);
	close_stage(&stage);
}

static bool has_execed(pid_t pid)
{
	char path[32], line[32] = "";

	(void)snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
	cleanup_file FILE *f = fopen(path, "re");
	return f != NULL && fgets(line, sizeof line, f) != NULL && strcmp(line, "another-program") == 0;
}

/* The leader ends, another thread takes its pid: the process is the same. */
BOTH(nonleader_exec)
{
	struct subject s;
	struct gate gate, second;
	struct stage stage;

	open_stage(&stage, source);
	make_gate(&gate);
	make_gate(&second);
	pid_t pid = fork_at_gate(&gate, act_nonleader_exec, &second);
	cr_assert_eq(watch(&stage, &s, pid), 0);
	open_gate(&gate);
	while (!has_execed(pid))
		(void)sched_yield();
	assert_quiet(&stage);
	sp_exits_poll_now(stage.exits, &s.watch);
	cr_assert_eq(s.times, 0, "told though it has another program now");
	open_gate(&second);
	await(&stage, 1);
	assert_told(&s, reap(pid));
	cr_assert_eq(s.told, 5 << 8);
	close_stage(&stage);
}

/* Does the kernel tell how those have ended that are reaped? Since 6.15. */
static bool kernel_remembers(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(9);
	cleanup_close int pidfd = sp_life_open(pid);
	cr_assert_geq(pidfd, 0);
	(void)reap(pid);
	return sp_life_status(pidfd, pid) == 9 << 8;
}

/* Its parent has reaped it before we have looked. */
BOTH(reaped_at_once)
{
	bool known = source == SP_EXITS_CONNECTOR || kernel_remembers();
	struct stage stage;

	open_stage(&stage, source);
	for (int i = 0; i < 100; i++) {
		struct subject s;
		struct gate gate;

		make_gate(&gate);
		pid_t pid = fork_at_gate(&gate, act_exit, &i);
		cr_assert_eq(watch(&stage, &s, pid), 0);
		open_gate(&gate);
		int status = reap(pid);
		await(&stage, 1);
		assert_told(&s, known ? status : -1);
	}
	cr_assert_eq(sp_exits_stats(stage.exits).unknown, known ? 0 : 100);
	close_stage(&stage);
}

struct crowd {
	int count;
	struct subject *subjects;
	struct gate gate;
};

static void assemble(struct crowd *c, struct stage *stage, int count)
{
	*c = (struct crowd){.count = count, .subjects = calloc((size_t)count, sizeof *c->subjects)};
	cr_assert_not_null(c->subjects);
	make_gate(&c->gate);
	for (int i = 0; i < count; i++) {
		int status = i % 256;

		cr_assert_eq(watch(stage, &c->subjects[i], fork_at_gate(&c->gate, act_exit, &status)), 0);
	}
}

static void dismiss(struct crowd *c)
{
	for (int i = 0; i < c->count; i++) {
		cr_assert_eq(c->subjects[i].times, 1, "number %d was told %d times", i, c->subjects[i].times);
		assert_told(&c->subjects[i], reap(c->subjects[i].pid));
	}
	free(c->subjects);
}

BOTH(two_thousand_at_once)
{
	enum { COUNT = 2000 };
	struct stage stage;
	struct crowd crowd;

	open_stage(&stage, source);
	close_stage(&stage); /* a loop leaves something open, once */
	int fds = count_fds();
	open_stage(&stage, source);
	assemble(&crowd, &stage, COUNT);
	cr_assert_eq(sp_exits_stats(stage.exits).watched, COUNT);
	open_gate(&crowd.gate);
	await(&stage, COUNT);
	dismiss(&crowd);
	cr_assert_eq(sp_exits_stats(stage.exits).told, COUNT);
	cr_assert_eq(sp_exits_stats(stage.exits).watched, 0);
	close_stage(&stage);
	cr_assert_eq(count_fds(), fds);
}

BOTH(gone_before_it_is_watched)
{
	struct stage stage;
	struct subject s;

	open_stage(&stage, source);
	pid_t pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0)
		_exit(0);
	while (state_of(pid) != 'Z')
		(void)sched_yield();
	cr_assert_eq(watch(&stage, &s, pid), -ESRCH, "a zombie");
	(void)reap(pid);
	cr_assert_eq(watch(&stage, &s, pid), -ESRCH, "reaped");
	sp_exits_forget(stage.exits, &s.watch);
	assert_quiet(&stage);
	close_stage(&stage);
	cr_assert_eq(s.times, 0);
}

/* As the owner does it: the process is in a ptrace stop when it is watched, and is killed there. */
BOTH(killed_in_its_stop)
{
	struct stage stage;
	struct subject s;
	int status;

	open_stage(&stage, source);
	pid_t pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, 0, 0) == 0)
			(void)raise(SIGSTOP);
		_exit(1);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	if (!WIFSTOPPED(status))
		cr_skip_test("nothing may be traced here");
	cr_assert_eq(watch(&stage, &s, pid), 0);
	cr_assert_eq(kill(pid, SIGKILL), 0);
	await(&stage, 1);
	assert_told(&s, reap(pid));
	close_stage(&stage);
}

BOTH(forgotten)
{
	struct stage stage;
	struct subject first, second;
	struct gate gate;

	open_stage(&stage, source);
	make_gate(&gate);
	cr_assert_eq(watch(&stage, &first, fork_at_gate(&gate, act_exit, &(int){1})), 0);
	cr_assert_eq(watch(&stage, &second, fork_at_gate(&gate, act_exit, &(int){2})), 0);
	sp_exits_forget(stage.exits, &first.watch);
	sp_exits_forget(stage.exits, &first.watch);
	open_gate(&gate);
	await(&stage, 1);
	assert_told(&second, 2 << 8);
	(void)reap(first.pid);
	assert_quiet(&stage);
	cr_assert_eq(first.times, 0);
	cr_assert_eq(sp_exits_stats(stage.exits).watched, 0);
	close_stage(&stage);
}

/* Both are found over in one go; the first who is told wants no word about the other. */
BOTH(forgotten_while_it_waits_to_be_told)
{
	struct stage stage;
	struct subject s[2];
	struct gate gate;

	open_stage(&stage, source);
	make_gate(&gate);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(watch(&stage, &s[i], fork_at_gate(&gate, act_exit, &i)), 0);
	s[0].forget = &s[1];
	s[1].forget = &s[0];
	open_gate(&gate);
	for (int i = 0; i < 2; i++)
		(void)reap(s[i].pid);
	await(&stage, 1);
	assert_quiet(&stage);
	cr_assert_eq(s[0].times + s[1].times, 1);
	close_stage(&stage);
}

BOTH(closed_from_the_callback)
{
	struct stage stage;
	struct subject s[2];
	struct gate gate;

	open_stage(&stage, source);
	make_gate(&gate);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(watch(&stage, &s[i], fork_at_gate(&gate, act_exit, &i)), 0);
	stage.close_when_told = true;
	open_gate(&gate);
	for (int i = 0; i < 2; i++)
		(void)reap(s[i].pid);
	await(&stage, 1);
	close_stage(&stage);
	cr_assert_eq(s[0].times + s[1].times, 1);
}

BOTH(closed_while_somebody_is_watched)
{
	struct stage stage;
	struct subject s;
	struct gate gate;

	open_stage(&stage, source);
	close_stage(&stage); /* a loop leaves something open, once */
	int fds = count_fds();
	open_stage(&stage, source);
	make_gate(&gate);
	pid_t pid = fork_at_gate(&gate, act_exit, &(int){0});
	cr_assert_eq(watch(&stage, &s, pid), 0);
	close_stage(&stage);
	open_gate(&gate);
	(void)reap(pid);
	cr_assert_eq(s.times, 0);
	cr_assert_eq(count_fds(), fds);
}

BOTH(looked_at_without_the_loop)
{
	struct stage stage;
	struct subject s;
	struct gate gate;

	open_stage(&stage, source);
	make_gate(&gate);
	pid_t pid = fork_at_gate(&gate, act_exit, &(int){4});
	cr_assert_eq(watch(&stage, &s, pid), 0);
	sp_exits_poll_now(stage.exits, &s.watch);
	cr_assert_eq(s.times, 0);
	open_gate(&gate);
	while (state_of(pid) != 'Z')
		(void)sched_yield();
	sp_exits_poll_now(stage.exits, &s.watch); /* also where the message is not there yet */
	assert_told(&s, 4 << 8);
	assert_told(&s, reap(pid));
	close_stage(&stage);
}

/* A child with a pid of our choice; 0: we may not choose. */
static pid_t fork_with_pid(pid_t pid, const struct gate *g)
{
	const struct clone_args args = {.exit_signal = SIGCHLD, .set_tid = (uint64_t)&pid, .set_tid_size = 1};
	long child = syscall(SYS_clone3, &args, sizeof args);

	if (child == 0) {
		wait_at_gate(g);
		_exit(2);
	}
	return child > 0 ? (pid_t)child : 0;
}

/* Its pid is somebody else's before we have looked: the first has ended, the second has not, and is told in its turn. */
BOTH(pid_used_again)
{
	struct stage stage;
	struct subject first, second;
	struct gate gate, another;

	open_stage(&stage, source);
	make_gate(&gate);
	make_gate(&another);
	pid_t pid = fork_at_gate(&gate, act_exit, &(int){1});
	cr_assert_eq(watch(&stage, &first, pid), 0);
	open_gate(&gate);
	(void)reap(pid);
	if (fork_with_pid(pid, &another) == 0)
		cr_skip_test("pids cannot be chosen here: %s", strerror(errno));
	cr_assert_eq(watch(&stage, &second, pid), 0);
	sp_exits_poll_now(stage.exits, &second.watch);
	if (first.times == 0)
		await(&stage, 1);
	cr_assert_eq(first.times, 1);
	cr_assert_eq(second.times, 0, "the second was taken for the first");
	assert_quiet(&stage);
	cr_assert_eq(second.times, 0);
	open_gate(&another);
	await(&stage, 1);
	assert_told(&second, reap(pid));
	cr_assert_eq(first.times, 1);
	close_stage(&stage);
}

/* A message about the former user of a pid, read late, is not about this one. */
Test(exits, message_about_a_former_process)
{
	struct stage stage;
	struct subject s;
	struct gate gate;

	open_stage(&stage, SP_EXITS_CONNECTOR);
	make_gate(&gate);
	pid_t former = fork();
	if (former == 0)
		_exit(1);
	(void)reap(former);
	pid_t pid = fork_with_pid(former, &gate);
	if (pid == 0)
		cr_skip_test("pids cannot be chosen here: %s", strerror(errno));
	cr_assert_eq(watch(&stage, &s, pid), 0);
	int fds = count_fds();
	assert_quiet(&stage);
	cr_assert_geq(sp_exits_stats(stage.exits).messages, 2, "control: both have been read");
	cr_assert_eq(count_fds(), fds, "taken for its leader's end");
	open_gate(&gate);
	await(&stage, 1);
	assert_told(&s, reap(pid));
	close_stage(&stage);
}

static void make_buffer_tiny(struct stage *s)
{
	const int tiny = 0;

	cr_assert_eq(setsockopt(sp_exits_connector_fd(s->exits), SOL_SOCKET, SO_RCVBUF, &tiny, sizeof tiny), 0);
}

static void await_zombies(const struct crowd *c)
{
	siginfo_t info;

	for (int i = 0; i < c->count; i++)
		cr_assert_eq(waitid(P_PID, (id_t)c->subjects[i].pid, &info, WEXITED | WNOWAIT), 0);
}

/* Nobody is lost, and how they ended is asked for. */
Test(exits, lost_messages)
{
	struct stage stage;
	struct crowd crowd;

	open_stage(&stage, SP_EXITS_CONNECTOR);
	make_buffer_tiny(&stage);
	assemble(&crowd, &stage, 500);
	open_gate(&crowd.gate);
	await_zombies(&crowd);
	await(&stage, 500);
	dismiss(&crowd);
	cr_assert_geq(sp_exits_stats(stage.exits).overruns, 1, "nothing was lost: this test shows nothing");
	cr_assert_geq(sp_exits_stats(stage.exits).resyncs, 1);
	cr_assert_eq(sp_exits_stats(stage.exits).unknown, 0);
	close_stage(&stage);
}

/* Nobody is lost; how they ended is not made up. */
Test(exits, lost_messages_of_reaped_processes)
{
	struct stage stage;
	struct crowd crowd;
	unsigned unknown = 0;

	open_stage(&stage, SP_EXITS_CONNECTOR);
	make_buffer_tiny(&stage);
	assemble(&crowd, &stage, 500);
	open_gate(&crowd.gate);
	for (int i = 0; i < crowd.count; i++)
		(void)reap(crowd.subjects[i].pid);
	await(&stage, 500);
	for (int i = 0; i < crowd.count; i++) {
		cr_assert_eq(crowd.subjects[i].times, 1);
		cr_assert(crowd.subjects[i].told == -1 || crowd.subjects[i].told == (i % 256) << 8);
		unknown += crowd.subjects[i].told == -1;
	}
	cr_assert_geq(unknown, 1, "nothing was lost: this test shows nothing");
	cr_assert_eq(sp_exits_stats(stage.exits).unknown, unknown);
	free(crowd.subjects);
	close_stage(&stage);
}

/* Its message is lost, and its pid is somebody else's: found by looking. */
Test(exits, pid_used_again_after_lost_messages)
{
	struct stage stage;
	struct crowd crowd;
	struct gate another;

	open_stage(&stage, SP_EXITS_CONNECTOR);
	make_buffer_tiny(&stage);
	make_gate(&another);
	assemble(&crowd, &stage, 100);
	open_gate(&crowd.gate);
	for (int i = 0; i < crowd.count; i++)
		(void)reap(crowd.subjects[i].pid);
	for (int i = 0; i < crowd.count; i++)
		if (fork_with_pid(crowd.subjects[i].pid, &another) == 0)
			cr_skip_test("pids cannot be chosen here: %s", strerror(errno));
	await(&stage, crowd.count);
	cr_assert_geq(sp_exits_stats(stage.exits).unknown, 1, "nothing was lost: this test shows nothing");
	open_gate(&another);
	for (int i = 0; i < crowd.count; i++) {
		cr_assert_eq(crowd.subjects[i].times, 1);
		(void)reap(crowd.subjects[i].pid);
	}
	free(crowd.subjects);
	close_stage(&stage);
}

/* Takes all fds there may be, gives them back when its scope is left. */
struct hoard {
	int first, last;
	struct rlimit limit;
};

static void take_all_fds(struct hoard *h)
{
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &h->limit), 0);
	h->first = h->last = fcntl(0, F_DUPFD_CLOEXEC, 0);
	cr_assert_geq(h->first, 0);
	const struct rlimit little = {(rlim_t)h->first + 1, h->limit.rlim_max};
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &little), 0);
}

static void give_fds_back(const struct hoard *h)
{
	(void)close(h->first);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &h->limit), 0);
}

BOTH(no_fd_left_to_watch)
{
	struct stage stage;
	struct subject s;
	struct gate gate;
	struct hoard hoard;

	open_stage(&stage, source);
	make_gate(&gate);
	pid_t pid = fork_at_gate(&gate, act_exit, &(int){1});
	take_all_fds(&hoard);
	cr_assert_eq(watch(&stage, &s, pid), -EMFILE);
	give_fds_back(&hoard);
	cr_assert_eq(watch(&stage, &s, pid), 0);
	open_gate(&gate);
	await(&stage, 1);
	assert_told(&s, reap(pid));
	close_stage(&stage);
}

/* The message comes when we cannot look: we look later. */
BOTH(no_fd_left_to_look)
{
	struct stage stage;
	struct subject s;
	struct gate gate;
	struct hoard hoard;

	open_stage(&stage, source);
	make_gate(&gate);
	pid_t pid = fork_at_gate(&gate, act_exit, &(int){0});
	cr_assert_eq(watch(&stage, &s, pid), 0);
	open_gate(&gate);
	siginfo_t info;
	cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	take_all_fds(&hoard);
	sp_exits_poll_now(stage.exits, NULL);
	cr_assert_eq(s.times, source == SP_EXITS_PIDFDS ? 1 : 0, "control");
	give_fds_back(&hoard);
	if (s.times == 0)
		await(&stage, 1);
	cr_assert_eq(s.times, 1);
	(void)reap(pid);
	close_stage(&stage);
}

Test(exits, pidfds_raise_the_limit_and_remember_it)
{
	struct rlimit limit;
	struct stage stage;

	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	const struct rlimit low = {100, limit.rlim_max};
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
	open_stage(&stage, SP_EXITS_PIDFDS);
	cr_assert_eq(sp_exits_nofile(stage.exits)->rlim_cur, 100);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	cr_assert_eq(limit.rlim_cur, limit.rlim_max);
	close_stage(&stage);
}

/* With whatever BEST chooses, a process's end is told. */
static enum sp_exits_source check_best(void)
{
	struct stage stage;
	struct subject s;
	struct gate gate;

	open_stage(&stage, SP_EXITS_BEST);
	enum sp_exits_source used = sp_exits_source(stage.exits);
	make_gate(&gate);
	pid_t pid = fork_at_gate(&gate, act_exit, &(int){1});
	cr_assert_eq(watch(&stage, &s, pid), 0);
	open_gate(&gate);
	await(&stage, 1);
	assert_told(&s, reap(pid));
	close_stage(&stage);
	return used;
}

static enum sp_exits_source best_there_is(void)
{
	struct sp_error e = {0};
	struct sp_connector *c = sp_connector_open(&e);

	sp_connector_close(c);
	cr_assert(c != NULL || e.err != 0);
	return c != NULL ? SP_EXITS_CONNECTOR : SP_EXITS_PIDFDS;
}

Test(exits, best)
{
	cr_assert_eq(check_best(), best_there_is());
}

/* Since Linux 6.6 the connector is there for everybody. */
Test(exits, best_as_ordinary_user, .init = yard_open, .fini = yard_close)
{
	yard_become_ordinary();
	cr_assert_eq(check_best(), best_there_is());
}

/* Where the kernel accepts the subscription and never tells anything. */
Test(exits, best_in_a_user_namespace)
{
	if (unshare(CLONE_NEWUSER) != 0)
		cr_skip_test("no user namespace: %s", strerror(errno));
	cr_assert_eq(check_best(), SP_EXITS_PIDFDS);
}

Test(exits, best_in_a_network_namespace)
{
	if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
		cr_skip_test("no network namespace: %s", strerror(errno));
	cr_assert_eq(check_best(), SP_EXITS_PIDFDS);
}

/* In a process that is the first of its pid namespace, 0: as it should be. */
static int best_in_this_pid_namespace(void)
{
	struct stage stage = {0};
	struct subject s;

	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 || mount("proc", "/proc", "proc", 0, NULL) != 0 ||
	    uv_loop_init(&stage.loop) != 0)
		return 1;
	stage.exits = sp_exits_new(&stage.loop, SP_EXITS_BEST, &ops, &stage, NULL);
	if (stage.exits == NULL || sp_exits_source(stage.exits) != SP_EXITS_PIDFDS)
		return 2;
	pid_t pid = fork();
	if (pid == 0) {
		(void)pause();
		_exit(0);
	}
	if (watch(&stage, &s, pid) != 0)
		return 3;
	(void)kill(pid, SIGKILL);
	stage.awaited = 1;
	(void)uv_run(&stage.loop, UV_RUN_DEFAULT);
	return s.times == 1 && s.told == SIGKILL ? 0 : 4;
}

/* Its clock is not the kernel's, in which messages are dated. */
static int best_in_this_time_namespace(void)
{
	struct sp_error e = {0};

	return sp_connector_open(&e) == NULL && e.err == EPERM && strstr(e.text, "time") != NULL ? 0 : 1;
}

static bool shift_clock(void)
{
	cleanup_file FILE *f = fopen("/proc/self/timens_offsets", "we");

	return f != NULL && fputs("monotonic 100 0\n", f) >= 0 && fflush(f) == 0;
}

/* In the first process of new namespaces. By a child, since what one that has unshared its pid namespace forks is not for a
 * leak checker to see. */
static void check_in_namespace(int flags, int (*check)(void))
{
	enum { NOT_HERE = 99 };
	int status;
	pid_t child = fork();

	cr_assert_geq(child, 0);
	if (child == 0) {
		if (unshare(flags) != 0 || ((flags & CLONE_NEWTIME) != 0 && !shift_clock()))
			_exit(NOT_HERE);
		pid_t first = fork();
		if (first == 0)
			_exit(check());
		_exit(waitpid(first, &status, 0) == first ? WEXITSTATUS(status) : 98);
	}
	status = reap(child);
	if (status == NOT_HERE << 8)
		cr_skip_test("no such namespace may be made here");
	cr_assert_eq(status, 0, "status %#x", (unsigned)status);
}

Test(exits, best_in_a_pid_namespace)
{
	check_in_namespace(CLONE_NEWPID | CLONE_NEWNS, best_in_this_pid_namespace);
}

Test(exits, best_in_a_time_namespace)
{
	if (best_there_is() != SP_EXITS_CONNECTOR)
		cr_skip_test("the connector is not there anyway");
	check_in_namespace(CLONE_NEWTIME, best_in_this_time_namespace);
}

/* ---- life.h */

TestSuite(life, .timeout = 120);

static uint64_t identity_of(pid_t pid, bool inodes)
{
	cleanup_close int pidfd = sp_life_open(pid);
	uint64_t identity = 0;

	cr_assert_geq(pidfd, 0);
	cr_assert_eq(sp_life_identity(pidfd, pid, inodes, &identity), 0);
	return identity;
}

static void check_identity(bool inodes)
{
	struct gate gate;
	uint64_t other;
	pid_t pid;

	make_gate(&gate);
	cr_assert_eq(identity_of(getpid(), inodes), identity_of(getpid(), inodes));
	do { /* the same clock tick, perhaps */
		pid = fork_at_gate(&gate, act_exit, &(int){0});
		other = identity_of(pid, inodes);
		(void)kill(pid, SIGKILL);
		(void)reap(pid);
	} while (!inodes && other == identity_of(getpid(), inodes));
	cr_assert_neq(other, identity_of(getpid(), inodes));
}

Test(life, identity_by_inode)
{
	if (!sp_life_has_inodes())
		cr_skip_test("pidfds have no inodes of their own before Linux 6.9");
	check_identity(true);
}

Test(life, identity_by_start_time)
{
	check_identity(false);
}

static pid_t make_zombie(int status)
{
	siginfo_t info;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0)
		_exit(status);
	cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	return pid;
}

/* The kernel says 0 of those we may not look into: that is no status. */
Test(life, status_of_a_stranger_is_unknown, .init = yard_open, .fini = yard_close)
{
	if (getuid() != 0)
		yard_skip("needs root");
	pid_t well = make_zombie(0), ill = make_zombie(3);
	cleanup_close int well_fd = sp_life_open(well);
	cleanup_close int ill_fd = sp_life_open(ill);

	cr_assert_eq(sp_life_status(well_fd, well), 0);
	cr_assert_eq(sp_life_status(ill_fd, ill), 3 << 8);
	yard_become_ordinary();
	cr_assert_eq(sp_life_status(well_fd, well), -1);
	cr_assert_eq(sp_life_status(ill_fd, ill), -1);
}

/* What is read by pid must be of the process that the pidfd is of. */
Test(life, status_is_not_that_of_another_zombie)
{
	struct gate gate;

	make_gate(&gate);
	pid_t zombie = make_zombie(3), reaped = make_zombie(4);
	cleanup_close int pidfd = sp_life_open(reaped);
	(void)reap(reaped);
	cr_assert_eq(sp_life_status(pidfd, zombie), kernel_remembers() ? 4 << 8 : -1);
}
