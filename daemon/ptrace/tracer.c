/* See tracer.h. The whole behaviour is the table `actions`: what is done when a task in a state reports an event. */
#include "ptrace/tracer.h"

#include "procindex/exits.h"
#include "procindex/life.h"
#include "ptrace/arch.h"
#include "ptrace/status.h"
#include "ptrace/waiting.h"
#include "util/cleanup.h"
#include "util/proc.h"

#include <dirent.h>
#include <errno.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

/* One read of the signalfd is followed by at most this many events before the loop serves its other fds. */
enum { EVENTS_PER_TURN = 128 };

enum { LISTS_MAX = 1000 }; /* passes over the threads of a process that ends and makes them all the time */

enum { ROOTS = 4 };

/* Milliseconds. */
enum {
	/* A newborn whose parent has not named it by then was probably born to a parent that was killed in the middle of the
	 * fork. Normally the parent's event comes within microseconds; on a busy machine it may still come. */
	ORPHAN_AFTER = 20,
	MARKS_LAST = 10000, /* no parent is that late */
	ASK_ALL_AFTER = 1, /* a turn that could not ask everybody */
	FORMER_AFTER = 1, /* a former user of a tid, whose end is still to be told */
	LINGER = 150, /* one-shot: who has not forked for two of these is not traced any more */
};

enum state {
	UNTRACED, /* one-shot tracking: runs without us until its next fork or exec */
	EXPECTED, /* the parent's fork event named it; its own first stop has not come yet */
	NEWBORN, /* its first stop has come, the parent's event has not: nobody knows whose it is */
	RUNNING,
	STOPPED, /* in a ptrace-stop, because somebody holds it; `resume` says how it goes on */
	LISTENING, /* stopped by job control: PTRACE_LISTEN */
	ENDED, /* a leader that has ended while its threads go on: it will not be reported before they have ended too */
	BURIED, /* died before anybody claimed it: the parent's event is still to come */
	STATES,
};

enum event {
	STOP, /* PTRACE_EVENT_STOP: PTRACE_INTERRUPT, the first stop of a child, or the end of a group-stop */
	GROUP_STOP,
	FORK, /* PTRACE_EVENT_FORK, VFORK or CLONE */
	EXEC,
	SIGNAL, /* signal-delivery-stop; for an untraced root: stopped by job control */
	CONTINUED, /* an untraced root goes on after that */
	EXIT,
	EVENTS,
};

enum resume { RESUME_CONT, RESUME_LISTEN };

enum lingering { FRESH = 1, STALE, OVERDUE };

struct sp_tracer {
	uv_loop_t *loop;
	struct sp_index *index;
	const struct sp_tracer_ops *ops;
	void *context;
	struct sp_waiting waiting;
	struct sp_exits *exits; /* made for the first job in one-shot tracking */
	uv_poll_t sigchld;
	uv_idle_t more; /* runs while a turn is not over */
	uv_timer_t ask_all; /* runs after a turn that could not ask everybody */
	uv_timer_t newborns; /* runs while there are tasks in NEWBORN or BURIED */
	uv_timer_t lingerers; /* runs while there are any */
	uv_timer_t formers; /* runs while somebody waits for the end of a former user */
	int signal_fd;
	int open_handles;
	unsigned long options; /* of PTRACE_SEIZE */
	const struct sp_task *settling; /* its stop is being told: it goes on afterwards, not meanwhile */
	unsigned unclaimed; /* tasks in NEWBORN */
	unsigned buried; /* tasks in BURIED */
	pid_t roots[ROOTS]; /* one-shot: some of our own children; 0: free */
	unsigned lingering; /* one-shot: tasks that are traced because they have forked */
	pid_t former; /* one-shot: this tid is somebody else's by now */
	struct sp_tracer_stats stats;
};

/* One report of waitpid. */
struct report {
	pid_t tid;
	int status;
	enum event event;
	int signal; /* SIGNAL, GROUP_STOP: which */
};

/* Besides PTRACE_O_EXITKILL. */
static const unsigned long options =
	PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC;

static void on_sigchld(uv_poll_t *handle, int status, int events);
static void on_more(uv_idle_t *handle);
static void on_ask_all(uv_timer_t *timer);
static void on_newborns(uv_timer_t *timer);
static void on_lingerers(uv_timer_t *timer);
static void on_formers(uv_timer_t *timer);
static void on_ended(pid_t tgid, void *process, int status, void *context);
static void look_at_roots(struct sp_tracer *t, pid_t named);
static int watch(struct sp_tracer *t, struct sp_process *process);
static void pump(struct sp_tracer *t);
static void dispatch(struct sp_tracer *t, pid_t tid, int status);
static bool bury(struct sp_tracer *t, struct sp_task *task);
static void end_process(struct sp_tracer *t, struct sp_process *process);
static void linger(struct sp_tracer *t, struct sp_task *task);
static void leave_linger(struct sp_tracer *t, struct sp_task *task);
static void stop_lingering(struct sp_tracer *t, struct sp_task *task);

typedef void action(struct sp_tracer *t, struct sp_task *task, const struct report *report);
static action on_birth, on_stop, on_group_stop, on_fork, on_exec, on_signal, on_death, on_unclaimed_death, unexpected;
static action on_root_stopped, on_root_continued, not_asked_for;

/* clang-format off */
static action *const actions[STATES][EVENTS] = {
	/*             STOP        GROUP_STOP     FORK        EXEC        SIGNAL           CONTINUED          EXIT */
	[UNTRACED]  = {unexpected, unexpected,    unexpected, unexpected, on_root_stopped, on_root_continued, on_death},
	[EXPECTED]  = {on_birth,   on_birth,      unexpected, unexpected, unexpected,      not_asked_for,     on_death},
	[NEWBORN]   = {unexpected, unexpected,    unexpected, unexpected, unexpected,      not_asked_for,     on_unclaimed_death},
	[RUNNING]   = {on_stop,    on_group_stop, on_fork,    on_exec,    on_signal,       not_asked_for,     on_death},
	/* A stopped leader may be replaced by a thread of its that execs; nothing else but death can happen to it. */
	[STOPPED]   = {on_stop,    on_group_stop, unexpected, on_exec,    unexpected,      not_asked_for,     on_death},
	[LISTENING] = {on_stop,    on_group_stop, unexpected, on_exec,    on_signal,       not_asked_for,     on_death},
	[ENDED]     = {unexpected, unexpected,    unexpected, on_exec,    unexpected,      not_asked_for,     on_death},
	/* The kernel has given the tid to somebody else: the stop is the first of a new task. */
	[BURIED]    = {on_birth,   on_birth,      unexpected, unexpected, unexpected,      not_asked_for,     on_unclaimed_death},
};
/* clang-format on */

struct sp_tracer *sp_tracer_new(uv_loop_t *loop, struct sp_index *index, const struct sp_tracer_ops *ops, void *context,
				struct sp_error *e)
{
	cleanup_free struct sp_tracer *t = calloc(1, sizeof *t);

	if (t == NULL) {
		sp_fail(e, ENOMEM, "out of memory");
		return NULL;
	}
	t->loop = loop;
	t->index = index;
	t->ops = ops;
	t->context = context;
	t->options = options | PTRACE_O_EXITKILL;
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGCHLD);
	cleanup_close int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0) {
		sp_fail(e, errno, "cannot create a signalfd for SIGCHLD: %s", strerror(errno));
		return NULL;
	}
	int err = uv_poll_init(loop, &t->sigchld, fd);
	if (err != 0) {
		sp_fail(e, -err, "cannot watch SIGCHLD: %s", uv_strerror(err));
		return NULL;
	}
	(void)uv_idle_init(loop, &t->more);
	(void)uv_timer_init(loop, &t->ask_all);
	(void)uv_timer_init(loop, &t->newborns);
	(void)uv_timer_init(loop, &t->lingerers);
	(void)uv_timer_init(loop, &t->formers);
	t->sigchld.data = t->more.data = t->ask_all.data = t->newborns.data = t->lingerers.data = t->formers.data = t;
	t->open_handles = 6;
	t->signal_fd = sp_steal_fd(&fd);
	(void)uv_poll_start(&t->sigchld, UV_READABLE, on_sigchld);
	return sp_steal_ptr(t);
}

static void on_closed(uv_handle_t *handle)
{
	struct sp_tracer *t = handle->data;

	if (--t->open_handles > 0)
		return;
	(void)close(t->signal_fd);
	sp_waiting_free(&t->waiting);
	free(t);
}

/* A mark for a tid that has not been named by a parent: until its first stop or its end, or after it. */
static void mark_buried(struct sp_tracer *t, struct sp_task *task)
{
	task->state = BURIED;
	task->buried_at = uv_now(t->loop);
	t->buried++;
}

static void forget_mark(struct sp_tracer *t, struct sp_task *mark)
{
	(void)sp_index_remove(t->index, mark);
	t->buried--;
}

struct mark_search {
	uint64_t before;
	struct sp_task *found;
};

static void find_mark(struct sp_task *task, void *context)
{
	struct mark_search *s = context;

	if (task->state == BURIED && task->buried_at <= s->before)
		s->found = task;
}

static void forget_marks(struct sp_tracer *t, uint64_t before)
{
	struct mark_search s = {.before = before};

	do {
		s.found = NULL;
		sp_index_each(t->index, find_mark, &s);
		if (s.found == NULL)
			return;
		forget_mark(t, s.found);
	} while (t->buried > 0);
}

/* Parents that were killed never tell of the children they had: what is buried then stays, until here. */
static void forget_buried(struct sp_tracer *t)
{
	if (t->buried > 0)
		forget_marks(t, UINT64_MAX);
}

/* Nobody is left who could name them. */
static void forget_lone_marks(struct sp_tracer *t)
{
	if (t->buried == sp_index_size(t->index))
		forget_buried(t);
}

static void look_after_newborns(struct sp_tracer *t)
{
	if (!uv_is_active((uv_handle_t *)&t->newborns))
		(void)uv_timer_start(&t->newborns, on_newborns, t->unclaimed > 0 ? ORPHAN_AFTER : MARKS_LAST, 0);
	else if (t->unclaimed > 0 && uv_timer_get_due_in(&t->newborns) > ORPHAN_AFTER)
		(void)uv_timer_start(&t->newborns, on_newborns, ORPHAN_AFTER, 0);
}

void sp_tracer_close(struct sp_tracer *t)
{
	forget_buried(t);
	uv_close((uv_handle_t *)&t->sigchld, on_closed);
	uv_close((uv_handle_t *)&t->more, on_closed);
	uv_close((uv_handle_t *)&t->ask_all, on_closed);
	uv_close((uv_handle_t *)&t->newborns, on_closed);
	uv_close((uv_handle_t *)&t->lingerers, on_closed);
	uv_close((uv_handle_t *)&t->formers, on_closed);
	sp_exits_close(t->exits);
}

void sp_tracer_outlived(struct sp_tracer *t)
{
	t->options = options;
}

/* To continue ourselves, whom nobody traces, is ESRCH for the kernel; a filter that refuses ptrace says EPERM first. */
int sp_tracer_possible(struct sp_error *e)
{
	if (ptrace(PTRACE_CONT, getpid(), NULL, NULL) == 0 || errno != EPERM)
		return 0;
	return sp_fail(
		e, EBUSY,
		"already supervised: the filter of a job, or of another sandbox, is in force here and refuses ptrace");
}

static int refuse_to_seize(pid_t pid, int err, struct sp_error *e)
{
	if (err == EPERM && sp_tracer_possible(e) != 0)
		return -EBUSY;
	return sp_fail(e, err, "cannot trace process %d: %s", pid,
		       err == EPERM ? "it is traced already, or Yama or missing rights forbid it" : strerror(err));
}

/* What one-shot tracking needs besides. */
static int prepare_one_shot(struct sp_tracer *t, struct sp_error *e)
{
	static const struct sp_exits_ops exits_ops = {.ended = on_ended};

	if (t->exits == NULL)
		t->exits = sp_exits_new(t->loop, SP_EXITS_BEST, &exits_ops, t, e);
	return t->exits != NULL ? 0 : -e->err;
}

static int seize_root(struct sp_tracer *t, pid_t pid, struct sp_job *job, bool one_shot, struct sp_process **root,
		      struct sp_error *e)
{
	int err = one_shot ? prepare_one_shot(t, e) : 0;
	if (err != 0)
		return err;
	struct sp_task *task = sp_index_add(t->index, pid);
	if (task == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	if (sp_index_place(t->index, task, NULL, NULL, job, 1, NULL) != 0) {
		(void)sp_index_remove(t->index, task);
		return sp_fail(e, ENOMEM, "out of memory");
	}
	task->process->one_shot = one_shot;
	task->state = RUNNING;
	task->traced = true;
	if (ptrace(PTRACE_SEIZE, pid, NULL, t->options) != 0) {
		err = errno;
		sp_index_free_process(t->index, sp_index_remove(t->index, task));
		return refuse_to_seize(pid, err, e);
	}
	*root = task->process;
	return 0;
}

int sp_tracer_seize(struct sp_tracer *t, pid_t pid, struct sp_job *job, bool one_shot, struct sp_process **root,
		    struct sp_error *e)
{
	int err = seize_root(t, pid, job, one_shot, root, e);
	if (err != 0)
		return err;
	for (size_t i = 0; one_shot && i < ROOTS; i++)
		if (t->roots[i] == 0) {
			t->roots[i] = pid;
			break;
		}
	return 0;
}

/* Of a process that is not what it was taken for, and has done nothing yet that we must know of. */
static void unseize(struct sp_tracer *t, pid_t pid)
{
	int status;

	(void)ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
	while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status))
		if (ptrace(PTRACE_DETACH, pid, NULL, status >> 16 == 0 ? (long)WSTOPSIG(status) : 0L) == 0)
			break;
	sp_index_free_process(t->index, sp_index_remove(t->index, sp_index_find(t->index, pid)));
}

int sp_tracer_seize_foreign(struct sp_tracer *t, pid_t pid, int pidfd, struct sp_job *job, bool one_shot,
			    struct sp_process **root, struct sp_error *e)
{
	int err = seize_root(t, pid, job, one_shot, root, e);
	if (err != 0)
		return err;
	/* Nobody else can reap what we trace: if it is there now, then it is whom we have seized. */
	if (pidfd_send_signal(pidfd, 0, NULL, 0) != 0 && errno == ESRCH) {
		unseize(t, pid);
		return sp_fail(e, ESRCH, "process %d has ended", pid);
	}
	err = one_shot ? watch(t, *root) : 0;
	if (err == 0)
		return 0;
	unseize(t, pid);
	return sp_fail(e, -err, "the end of process %d could not be seen: %s", pid, strerror(-err));
}

void sp_tracer_abandon(struct sp_tracer *t, struct sp_process *root)
{
	const pid_t pid = root->tgid;
	int status;

	(void)kill(pid, SIGKILL);
	while (waitpid(pid, &status, __WALL) == pid && !WIFEXITED(status) && !WIFSIGNALED(status))
		continue;
	sp_index_free_process(t->index, sp_index_remove(t->index, sp_index_find(t->index, pid)));
}

bool sp_tracer_is_stopped(const struct sp_task *task)
{
	return (task->state != RUNNING && task->state != UNTRACED) || task->vfork_child != NULL;
}

static bool is_leader(const struct sp_task *task)
{
	return task->tid == task->process->tgid;
}

/* The leader's end is not reported while threads of its are alive, though SIGCHLD comes for it. */
static bool is_ended_leader(const struct sp_task *task)
{
	return is_leader(task) && task->process->task_count > 1 && sp_status_letter(task->tid) == 'Z';
}

/* A pidfd of a watched process, or -errno; -ESRCH: it is reaped, and its pid may be another's. */
static int open_process(const struct sp_process *process)
{
	uint64_t identity;
	cleanup_close int fd = sp_life_open(process->tgid);

	if (fd < 0)
		return fd;
	int err = sp_life_identity(fd, process->tgid, sp_life_has_inodes(), &identity);
	if (err != 0)
		return err;
	return identity == process->watch->identity ? sp_steal_fd(&fd) : -ESRCH;
}

/* Its pid, and the tids of its threads, need not be its own any more, though its end has not been told yet. */
static bool is_reaped(const struct sp_process *process)
{
	cleanup_close int fd = process->watch != NULL ? open_process(process) : -1;

	return fd == -ESRCH;
}

static int seize_task(const struct sp_tracer *t, struct sp_task *task)
{
	if (ptrace(PTRACE_SEIZE, task->tid, NULL, t->options) == 0) {
		task->state = RUNNING;
		task->traced = true;
		return 0;
	}
	const int err = errno;
	const char letter = sp_status_letter(task->tid);

	if (err == ESRCH || letter == 0 || letter == 'Z' || letter == 'X') {
		task->state = ENDED;
		return 0;
	}
	if (sp_status_tracer(task->tid) != getpid())
		return -err;
	task->state = EXPECTED; /* born traced: its parent's event, and its own first stop, are still to come */
	task->traced = true;
	return 0;
}

int sp_tracer_attach(const struct sp_tracer *t, struct sp_task *task)
{
	if (task->state != UNTRACED)
		return 0;
	if (is_reaped(task->process)) {
		task->state = ENDED; /* whoever has its tid must be left alone */
		return 0;
	}
	return seize_task(t, task);
}

int sp_tracer_interrupt(struct sp_tracer *t, struct sp_task *task)
{
	int err = sp_tracer_attach(t, task);

	if (err != 0 || task->state != RUNNING)
		return err;
	/* ESRCH: it is dying, its exit comes as an event */
	if (!task->interrupted && ptrace(PTRACE_INTERRUPT, task->tid, NULL, NULL) == 0) {
		task->interrupted = true;
		sp_waiting_expect(&t->waiting, task->tid);
	}
	if (is_ended_leader(task))
		task->state = ENDED;
	return 0;
}

bool sp_tracer_sleeps_killably(const struct sp_task *task)
{
	/* TASK_KILLABLE shows as D (fs/proc/array.c). The caller may be waiting for our CPU to get there. */
	for (int turn = 0; turn < 20; turn++) {
		if (sp_status_letter(task->tid) == 'D')
			return true;
		(void)sched_yield();
	}
	return false;
}

static void forget(struct sp_tracer *t, struct sp_task *task)
{
	struct sp_process *process = sp_index_remove(t->index, task);

	if (process != NULL)
		end_process(t, process);
}

/* One-shot tracking: the index forgets threads that run untraced, since nobody would tell of their end. Those that the kernel
 * suspends for a vfork child are remembered: they cannot be stopped, and need not. */
static void forget_if_idle(struct sp_tracer *t, struct sp_task *task)
{
	if (task->state == UNTRACED && task->gate == NULL && task->vfork_child == NULL && !is_leader(task))
		forget(t, task);
}

/* Lets go of a task in one-shot tracking. */
static void detach(struct sp_tracer *t, struct sp_task *task)
{
	/* In a group-stop it stays stopped (ptrace(2)). */
	const long signal = task->resume == RESUME_CONT ? task->resume_signal : 0;

	task->resume_signal = 0;
	if (ptrace(PTRACE_DETACH, task->tid, NULL, signal) != 0) {
		task->state = RUNNING; /* SIGKILL has taken it out of its stop, its exit comes as an event */
		return;
	}
	task->state = UNTRACED;
	task->traced = task->interrupted = task->was_stopped = false;
	forget_if_idle(t, task);
}

static void resume(struct sp_tracer *t, struct sp_task *task)
{
	if (task->process->one_shot && task->gate == NULL && task->linger == 0) {
		detach(t, task);
		return;
	}
	/* ESRCH in either: SIGKILL has taken it out of its stop, its exit comes as an event */
	if (task->resume == RESUME_LISTEN) {
		task->state = LISTENING;
		(void)ptrace(PTRACE_LISTEN, task->tid, NULL, NULL);
		return;
	}
	task->state = RUNNING;
	(void)ptrace(PTRACE_CONT, task->tid, NULL, (long)task->resume_signal);
	task->resume_signal = 0;
}

void sp_tracer_release(struct sp_tracer *t, struct sp_task *task)
{
	if (task->state == STOPPED && task != t->settling && !t->ops->held(task, t->context))
		resume(t, task);
	else if (task->state == ENDED && !task->traced && task->gate == NULL && !is_leader(task))
		forget(t, task); /* found dead when it was to be stopped; its gate would be told by its process's end */
}

void sp_tracer_kill(const struct sp_process *process)
{
	if (process->watch == NULL) {
		/* A traced process, and a child of ours, is not reaped by anybody else: its pid is not another's. */
		(void)kill(process->tgid, SIGKILL);
		return;
	}
	cleanup_close int fd = open_process(process);
	if (fd >= 0)
		(void)pidfd_send_signal(fd, SIGKILL, NULL, 0);
}

int sp_tracer_syscall_result(const struct sp_task *task, long *call, long *result)
{
	int err = sp_arch_peek(task->tid, SP_ARCH_RESULT, result);

	return err != 0 ? err : sp_arch_peek(task->tid, SP_ARCH_CALL, call);
}

int sp_tracer_stack(const struct sp_task *task, unsigned long *address)
{
	return sp_arch_stack(task->tid, address);
}

void sp_tracer_restart_call(const struct sp_task *task)
{
	(void)sp_arch_poke(task->tid, SP_ARCH_RESULT, -SP_ERESTARTNOINTR);
}

struct sp_tracer_stats sp_tracer_stats(const struct sp_tracer *t)
{
	struct sp_tracer_stats stats = t->stats;

	stats.full_scans = t->waiting.full_scans;
	return stats;
}

const char *sp_tracer_state_name(const struct sp_task *task)
{
	static const char *const names[STATES] = {
		[UNTRACED] = "untraced", [EXPECTED] = "expected",   [NEWBORN] = "newborn", [RUNNING] = "running",
		[STOPPED] = "stopped",   [LISTENING] = "listening", [ENDED] = "ended",     [BURIED] = "buried",
	};

	return names[task->state];
}

const struct rlimit *sp_tracer_nofile(const struct sp_tracer *t)
{
	return t->exits != NULL ? sp_exits_nofile(t->exits) : NULL;
}

/* --- events --- */

static void begin_turn(struct sp_tracer *t, pid_t named, bool all)
{
	sp_waiting_begin(&t->waiting, named, sp_index_size(t->index), all);
	pump(t);
}

static void on_sigchld(uv_poll_t *handle, int status, int events)
{
	struct sp_tracer *t = handle->data;
	struct signalfd_siginfo info;

	(void)events;
	if (status != 0 || read(t->signal_fd, &info, sizeof info) != sizeof info)
		return;
	t->stats.wakeups++;
	if (t->exits != NULL)
		look_at_roots(t, (pid_t)info.ssi_pid);
	begin_turn(t, (pid_t)info.ssi_pid, false);
}

/* Job control of a root that is not traced. Not asked of all children at once: for a tracee that would take the report that
 * it goes on (WCONTINUED) from its own parent. */
static void look_at_root(struct sp_tracer *t, pid_t pid)
{
	const struct sp_task *task = pid > 0 ? sp_index_find(t->index, pid) : NULL;
	int status;

	if (task == NULL || task->state != UNTRACED || task->process->watch != NULL)
		return;
	if (waitpid(pid, &status, WUNTRACED | WCONTINUED | WNOHANG) == pid)
		dispatch(t, pid, status);
}

/* Of many roots only the one that SIGCHLD names is looked at. */
static void look_at_roots(struct sp_tracer *t, pid_t named)
{
	for (size_t i = 0; i < ROOTS; i++)
		if (t->roots[i] != named)
			look_at_root(t, t->roots[i]);
	look_at_root(t, named);
}

static void on_more(uv_idle_t *handle)
{
	pump(handle->data);
}

static void on_ask_all(uv_timer_t *timer)
{
	begin_turn(timer->data, 0, true);
}

/* SIGCHLD coalesces: one that is pending stands for any number of events. So ask until there is no more. */
static void pump(struct sp_tracer *t)
{
	for (int i = 0; i < EVENTS_PER_TURN; i++) {
		int status;
		bool all;
		pid_t tid = sp_waiting_next(&t->waiting, &status, &all);

		if (tid != 0) {
			t->stats.events++;
			dispatch(t, tid, status);
			continue;
		}
		(void)uv_idle_stop(&t->more);
		if (!all)
			(void)uv_timer_start(&t->ask_all, on_ask_all, ASK_ALL_AFTER, 0);
		else
			forget_lone_marks(t);
		t->ops->quiet(t->context);
		return;
	}
	(void)uv_idle_start(&t->more, on_more);
}

static struct report classify(pid_t tid, int status)
{
	struct report r = {.tid = tid, .status = status};

	if (!WIFSTOPPED(status)) {
		r.event = WIFCONTINUED(status) ? CONTINUED : EXIT;
		return r;
	}
	r.signal = WSTOPSIG(status);
	switch (status >> 16) {
	case PTRACE_EVENT_STOP:
		r.event = r.signal == SIGTRAP ? STOP : GROUP_STOP;
		break;
	case PTRACE_EVENT_FORK:
	case PTRACE_EVENT_VFORK:
	case PTRACE_EVENT_CLONE:
		r.event = FORK;
		break;
	case PTRACE_EVENT_EXEC:
		r.event = EXEC;
		break;
	default:
		r.event = SIGNAL;
	}
	return r;
}

static void dispatch(struct sp_tracer *t, pid_t tid, int status)
{
	const struct report report = classify(tid, status);
	struct sp_task *task = sp_index_find(t->index, tid);

	if (task == NULL && report.event == CONTINUED)
		return;
	if (task == NULL) {
		/* Children are born traced, and may report before their parent does. */
		task = sp_index_add(t->index, tid);
		if (task == NULL) {
			/* Not knowing a task is the one thing that must not happen; without memory it must not run. */
			(void)kill(tid, SIGKILL);
			return;
		}
		mark_buried(t, task);
		task->traced = true;
	}
	task->interrupted = false;
	actions[task->state][report.event](t, task, &report);
}

/* The task is in a ptrace-stop and everything about it is done: let it go on, unless somebody holds it. */
static void settle(struct sp_tracer *t, struct sp_task *task, enum resume how, int signal)
{
	task->state = STOPPED;
	task->resume = (uint8_t)how;
	task->resume_signal = signal;
	t->settling = task;
	t->ops->stopped(task, t->context);
	t->settling = NULL;
	sp_tracer_release(t, task);
}

/* A call that a handler-less stop made return EINTR: restart it, unless a handler really runs. */
static void repair_eintr(const struct sp_task *task)
{
	long call, result;

	if (sp_arch_peek(task->tid, SP_ARCH_RESULT, &result) != 0)
		return;
	if (result != -EINTR && result != -SP_ERESTARTSYS)
		return;
	if (sp_arch_peek(task->tid, SP_ARCH_CALL, &call) != 0)
		return;
	if (result == -SP_ERESTARTSYS && (sp_arch_is_exec(call) || sp_arch_is_fork(call)))
		/* Notified, but interrupted before we had received it. Neither gives EINTR natively. */
		sp_tracer_restart_call(task);
	else if (result == -EINTR && sp_arch_eintr_without_handler(call))
		(void)sp_arch_poke(task->tid, SP_ARCH_RESULT, -SP_ERESTARTNOHAND);
}

static void on_birth(struct sp_tracer *t, struct sp_task *task, const struct report *report)
{
	const enum resume how = report->event == GROUP_STOP ? RESUME_LISTEN : RESUME_CONT;

	if (task->state != BURIED) {
		settle(t, task, how, 0);
		return;
	}
	t->buried--;
	t->unclaimed++;
	task->state = NEWBORN;
	task->resume = how;
	look_after_newborns(t);
}

static void on_stop(struct sp_tracer *t, struct sp_task *task, const struct report *report)
{
	(void)report;
	leave_linger(t, task);
	if (task->state == LISTENING) {
		if (task->process->group_stopped) {
			task->process->group_stopped = false;
			t->ops->group_stop(task->process, 0, t->context);
		}
	} else {
		if (!task->was_stopped)
			repair_eintr(task);
		task->was_stopped = false;
	}
	settle(t, task, RESUME_CONT, 0);
}

static void on_group_stop(struct sp_tracer *t, struct sp_task *task, const struct report *report)
{
	struct sp_process *process = task->process;
	bool first = !process->group_stopped;

	/* No repair: a call that job control interrupts gives EINTR natively, too. */
	leave_linger(t, task);
	process->group_stopped = true;
	task->was_stopped = true;
	if (first)
		t->ops->group_stop(process, report->signal, t->context);
	settle(t, task, RESUME_LISTEN, 0);
}

static void on_root_stopped(struct sp_tracer *t, struct sp_task *task, const struct report *report)
{
	task->process->group_stopped = true;
	t->ops->group_stop(task->process, report->signal, t->context);
}

static void on_root_continued(struct sp_tracer *t, struct sp_task *task, const struct report *report)
{
	(void)report;
	task->process->group_stopped = false;
	t->ops->group_stop(task->process, 0, t->context);
}

/* SIGSTOP and its kin interrupt calls for everybody to see, unless the program ignores them. */
static bool will_stop(const struct sp_task *task, int signal)
{
	switch (signal) {
	case SIGSTOP:
		return true;
	case SIGTSTP:
	case SIGTTIN:
	case SIGTTOU:
		return !sp_status_ignores(task->tid, signal);
	default:
		return false;
	}
}

static void on_signal(struct sp_tracer *t, struct sp_task *task, const struct report *report)
{
	leave_linger(t, task);
	/* The SIGCONT that ends a stop is delivered, too, with the call still interrupted by that stop. */
	if (!task->was_stopped && !will_stop(task, report->signal))
		repair_eintr(task);
	task->was_stopped = false;
	/* The same signal number: the kernel keeps the siginfo (ptrace_signal() in kernel/signal.c). */
	settle(t, task, RESUME_CONT, report->signal);
}

/* One-shot tracking: somebody must tell of its end. */
static int watch(struct sp_tracer *t, struct sp_process *process)
{
	process->watch = calloc(1, sizeof *process->watch);
	if (process->watch == NULL)
		return -ENOMEM;
	int err = sp_exits_watch(t->exits, process->watch, process->tgid, process);
	if (err == 0)
		return 0;
	free(process->watch);
	process->watch = NULL;
	return err == -ESRCH ? 0 : err; /* killed: it is traced still, and its end an event */
}

/* Only roots that are not traced are asked whether they go on; to the tracer a stop tells it. */
static void not_asked_for(struct sp_tracer *t, struct sp_task *task, const struct report *report)
{
	(void)t;
	(void)task;
	(void)report;
}

/* A new process has its place. 0, or -errno: nobody would tell of its end. */
static int begin_process(struct sp_tracer *t, struct sp_process *process, bool one_shot)
{
	process->one_shot = one_shot;
	t->ops->process_born(process, t->context);
	return one_shot ? watch(t, process) : 0;
}

/* Puts a child in its place: the parent's process and memory, as the clone flags say. */
static int place_child(struct sp_tracer *t, struct sp_task *parent, struct sp_task *child, unsigned long flags)
{
	struct sp_task *share = (flags & CLONE_VM) != 0 ? parent : NULL;

	if ((flags & CLONE_THREAD) != 0)
		return sp_index_place(t->index, child, parent->process, NULL, NULL, 0, share);
	int err = sp_index_place(t->index, child, NULL, parent->process, parent->process->job, 0, share);
	return err != 0 ? err : begin_process(t, child->process, parent->process->one_shot);
}

/* The process that had this pid has ended, and its end has not been told yet. */
static void end_former_user(struct sp_tracer *t, pid_t tid)
{
	struct sp_task *former = sp_index_find(t->index, tid);

	if (former == NULL || former->process == NULL || former->traced)
		return;
	if (is_leader(former) && former->process->watch != NULL)
		sp_exits_poll_now(t->exits, former->process->watch);
	former = sp_index_find(t->index, tid);
	if (former == NULL || former->process == NULL || former->traced)
		return;
	if (!is_leader(former) || former->process->watch == NULL)
		(void)bury(t, former);
	/* Otherwise it is alive: it was adopted, and is named only now. */
}

/* A child as its parent's event names it. NULL: it must not run, or is dead already. */
static struct sp_task *find_child(struct sp_tracer *t, pid_t tid)
{
	end_former_user(t, tid);
	struct sp_task *child = sp_index_find(t->index, tid);
	if (child == NULL) {
		child = sp_index_add(t->index, tid);
		if (child == NULL) {
			(void)kill(tid, SIGKILL); /* no memory: what is not in the index must not run */
			return NULL;
		}
		child->state = EXPECTED;
		child->traced = true;
		sp_waiting_expect(&t->waiting, tid);
		return child;
	}
	if (child->state != BURIED)
		return child;
	forget_mark(t, child);
	return NULL;
}

static void take_child(struct sp_tracer *t, struct sp_task *parent, struct sp_task *child, unsigned long flags)
{
	const bool adopted = child->process != NULL; /* or found in /proc before this event */

	if (adopted)
		child->adopted = false;
	else if (place_child(t, parent, child, flags) != 0)
		(void)kill(child->tid, SIGKILL); /* no memory, no fd: what is not known must not run */
	if (child->process == NULL) {
		if (child->state == NEWBORN)
			t->unclaimed--;
		mark_buried(t, child); /* until its end is reported */
		return;
	}
	if ((flags & CLONE_VFORK) != 0 && !(adopted && child->process->generation > 0)) {
		if (parent->vfork_child != NULL) /* has execed or ended, which will be told later */
			parent->vfork_child->vfork_parent = NULL;
		child->vfork_parent = parent;
		parent->vfork_child = child;
	}
	if (child->state == NEWBORN) {
		t->unclaimed--;
		settle(t, child, child->resume, 0);
	}
}

static void on_fork(struct sp_tracer *t, struct sp_task *parent, const struct report *report)
{
	unsigned long child_tid = 0, flags = 0;

	(void)report;
	linger(t, parent);
	/* Otherwise it was killed meanwhile: its exit follows, and the child is an orphan. */
	if (ptrace(PTRACE_GETEVENTMSG, parent->tid, NULL, &child_tid) == 0 &&
	    sp_arch_clone_flags(parent->tid, &flags) == 0) {
		struct sp_task *child = find_child(t, (pid_t)child_tid);

		if (child != NULL)
			take_child(t, parent, child, flags);
	}
	settle(t, parent, RESUME_CONT, 0);
}

/* A child that was adopted: its parent's event may still name it, and must find that it is dead. */
static void leave_mark(struct sp_tracer *t, pid_t tid)
{
	struct sp_task *mark = sp_index_add(t->index, tid);

	if (mark != NULL)
		mark_buried(t, mark);
}

static void end_process(struct sp_tracer *t, struct sp_process *process)
{
	for (size_t i = 0; i < ROOTS; i++)
		if (t->roots[i] == process->tgid)
			t->roots[i] = 0;
	if (process->watch != NULL)
		sp_exits_forget(t->exits, process->watch);
	free(process->watch);
	process->watch = NULL;
	t->ops->process_gone(process, t->context);
	sp_index_free_process(t->index, process);
}

/* True: it was the last of its process, which is gone, too. */
static bool bury(struct sp_tracer *t, struct sp_task *task)
{
	const bool adopted = task->adopted;
	const pid_t tid = task->tid;

	stop_lingering(t, task);
	task->state = BURIED; /* nobody shall wait for it to stop */
	if (task->process != NULL)
		t->ops->gone(task, t->context);
	struct sp_process *process = sp_index_remove(t->index, task);
	if (adopted)
		leave_mark(t, tid);
	if (process != NULL)
		end_process(t, process);
	return process != NULL;
}

/* Looked for anew each time: the end of one may let go of others, which the index may then forget. */
static struct sp_task *find_other(const struct sp_process *process, const struct sp_task *except)
{
	struct sp_task *task;

	sp_list_each (task, &process->tasks, process_link)
		if (task != except)
			return task;
	return NULL;
}

static void bury_others(struct sp_tracer *t, struct sp_process *process, const struct sp_task *except)
{
	struct sp_task *task;

	while ((task = find_other(process, except)) != NULL)
		(void)bury(t, task);
}

static void vfork_done(struct sp_tracer *t, struct sp_task *child)
{
	struct sp_task *parent = child->vfork_parent;

	if (parent == NULL)
		return;
	child->vfork_parent = NULL;
	parent->vfork_child = NULL;
	forget_if_idle(t, parent);
}

/* An exec by another thread than the leader: the leader is dead without a word, and the thread has its tid now. */
static struct sp_task *take_leaders_place(struct sp_tracer *t, struct sp_task *leader)
{
	unsigned long former;

	if (ptrace(PTRACE_GETEVENTMSG, leader->tid, NULL, &former) != 0 || (pid_t)former == leader->tid)
		return leader;
	struct sp_task *thread = sp_index_find(t->index, (pid_t)former);
	if (thread == NULL || thread->process != leader->process) {
		t->stats.unexpected++;
		return leader;
	}
	pid_t tid = leader->tid;
	thread->adopted = leader->adopted;
	leader->adopted = false;
	(void)bury(t, leader);
	sp_index_rename(t->index, thread, tid);
	return thread;
}

static void on_exec(struct sp_tracer *t, struct sp_task *task, const struct report *report)
{
	struct sp_process *process = task->process;

	(void)report;
	if (process->task_count > 1)
		task = take_leaders_place(t, task);
	bury_others(t, process, task);
	vfork_done(t, task);
	stop_lingering(t, task);
	task->state = STOPPED;
	task->resume = RESUME_CONT;
	task->resume_signal = 0;
	process->generation++;
	t->settling = task;
	t->ops->exec_stop(task, t->context);
	t->settling = NULL;
	/* alone in its address space already (a forked child that execs): that one is as good as a new one */
	if (task->mm->task_count > 1 && sp_index_new_mm(t->index, task) != 0)
		sp_tracer_kill(process); /* sharing with the old memory would only be too careful, but say it */
	sp_tracer_release(t, task);
}

static void on_death(struct sp_tracer *t, struct sp_task *task, const struct report *report)
{
	struct sp_process *process = task->process;

	if (is_leader(task) || process->task_count == 1)
		process->status = report->status;
	/* A leader's end is reported when no thread is left. One that was killed on its way through exec, after it had taken the
	 * leader's tid, has no report of its own. */
	if (is_leader(task))
		bury_others(t, process, task);
	vfork_done(t, task);
	(void)bury(t, task);
}

static void on_unclaimed_death(struct sp_tracer *t, struct sp_task *task, const struct report *report)
{
	(void)report;
	if (task->state == NEWBORN) {
		t->unclaimed--;
		t->buried++;
	}
	/* Its parent's event will name it, and must find that it is dead; but do not keep such marks for ever. */
	task->state = BURIED;
	task->buried_at = uv_now(t->loop);
	look_after_newborns(t);
}

/* Of a process that has ended: a task whose end waitpid(2) will not tell. It was not traced, or was killed on its way through exec
 * when it had its leader's tid already. */
static struct sp_task *find_untold(const struct sp_process *process)
{
	struct sp_task *task;
	siginfo_t info;

	sp_list_each (task, &process->tasks, process_link)
		if (!task->traced ||
		    (waitid(P_PID, (id_t)task->tid, &info, WEXITED | WNOWAIT | WNOHANG | __WALL) != 0 &&
		     errno == ECHILD))
			return task;
	return NULL;
}

/* One-shot tracking: the source of exits tells of those that are not traced. The others' ends are events. */
static void on_ended(pid_t tgid, void *context_process, int status, void *context)
{
	struct sp_tracer *t = context;
	struct sp_process *process = context_process;
	struct sp_task *task;

	(void)tgid;
	process->status = status;
	while ((task = find_untold(process)) != NULL) {
		vfork_done(t, task);
		if (bury(t, task))
			break;
	}
	forget_lone_marks(t);
}

static void unexpected(struct sp_tracer *t, struct sp_task *task, const struct report *report)
{
	t->stats.unexpected++;
	if (task->process == NULL) { /* nobody's: it must not run */
		(void)kill(task->tid, SIGKILL);
		return;
	}
	settle(t, task, RESUME_CONT, report->event == SIGNAL ? report->signal : 0);
}

/* --- Children whose parent was killed in the middle of the fork, before it could tell us --- */

struct mm_search {
	pid_t tid;
	struct sp_task *match;
	bool unknown; /* a kernel without kcmp */
};

static void compare_mm(struct sp_task *task, void *context)
{
	struct mm_search *s = context;

	if (task->mm == NULL || s->match != NULL)
		return;
	long order = syscall(SYS_kcmp, s->tid, task->tid, KCMP_VM, 0, 0);
	if (order == 0)
		s->match = task;
	else if (order < 0 && errno != ESRCH)
		s->unknown = true;
}

/* The process and the job that a newborn belongs to; by /proc, since nobody is left to ask. */
static int adopt(struct sp_tracer *t, struct sp_task *task)
{
	pid_t tgid, ppid;
	int err = sp_status_family(task->tid, &tgid, &ppid);

	if (err != 0)
		return err;
	struct mm_search m = {.tid = task->tid};
	sp_index_each(t->index, compare_mm, &m);
	if (m.unknown)
		return -ENOSYS;
	if (tgid != task->tid) {
		struct sp_task *leader = sp_index_find(t->index, tgid);

		if (leader == NULL || leader->process == NULL)
			return -ESRCH; /* a thread, and its process has ended */
		return sp_index_place(t->index, task, leader->process, NULL, NULL, 0, m.match);
	}
	struct sp_task *parent = sp_index_find(t->index, ppid);
	bool known = parent != NULL && parent->process != NULL;
	/* Should the guess be wrong, its first exec comes through the listener of its true job, which then moves it. */
	struct sp_job *job = known ? parent->process->job : t->ops->guess_job(task->tid, t->context);
	if (job == NULL)
		return -ESRCH;
	err = sp_index_place(t->index, task, NULL, known ? parent->process : NULL, job, 0, m.match);
	return err != 0 ? err : begin_process(t, task->process, t->ops->is_one_shot(job, t->context));
}

static void find_newborn(struct sp_task *task, void *context)
{
	struct sp_task **found = context;

	if (task->state == NEWBORN)
		*found = task;
}

static void adopt_newborns(struct sp_tracer *t)
{
	while (t->unclaimed > 0) {
		struct sp_task *task = NULL;

		sp_index_each(t->index, find_newborn, &task);
		if (task == NULL)
			break;
		t->unclaimed--;
		if (adopt(t, task) == 0) {
			task->adopted = true;
			settle(t, task, task->resume, 0);
			continue;
		}
		(void)kill(task->tid, SIGKILL); /* what cannot be placed must not run */
		if (task->process == NULL)
			mark_buried(t, task);
		else
			task->state = RUNNING;
	}
}

static void on_newborns(uv_timer_t *timer)
{
	struct sp_tracer *t = timer->data;

	adopt_newborns(t);
	if (t->buried > 0 && uv_now(t->loop) > MARKS_LAST)
		forget_marks(t, uv_now(t->loop) - MARKS_LAST);
	if (t->buried > 0)
		look_after_newborns(t);
}

/* --- one-shot tracking --- */

/* Whoever has forked will do it again soon, a shell for example, and then signals of its children arrive that must not
 * interrupt that. So it stays traced until it has not forked for a while; a fork that fails needs no event this way. */
static void linger(struct sp_tracer *t, struct sp_task *task)
{
	if (!task->process->one_shot)
		return;
	if (task->linger == 0 && t->lingering++ == 0)
		(void)uv_timer_start(&t->lingerers, on_lingerers, LINGER, LINGER);
	task->linger = FRESH;
}

static void stop_lingering(struct sp_tracer *t, struct sp_task *task)
{
	t->lingering -= task->linger != 0;
	task->linger = 0;
}

/* It has stopped, for whatever reason: let go of it if its time is over. */
static void leave_linger(struct sp_tracer *t, struct sp_task *task)
{
	if (task->linger == OVERDUE)
		stop_lingering(t, task);
}

static void age_lingerer(struct sp_task *task, void *context)
{
	if (task->linger == 0)
		return;
	task->linger = task->linger == FRESH ? STALE : OVERDUE;
	if (task->linger == OVERDUE && task->state == RUNNING)
		(void)sp_tracer_interrupt(context, task);
}

static void on_lingerers(uv_timer_t *timer)
{
	struct sp_tracer *t = timer->data;

	if (t->lingering > 0)
		sp_index_each(t->index, age_lingerer, t);
	else
		(void)uv_timer_stop(timer);
}

int sp_tracer_let_fork(struct sp_tracer *t, struct sp_task *task)
{
	int err = task->state == UNTRACED ? seize_task(t, task)
					  : 0; /* it was looked at just now: sp_tracer_find_caller() */

	if (err == 0 && task->state != ENDED)
		linger(t, task);
	return err;
}

/* A thread that the index does not know: at most a mark has its tid. NULL: no memory. */
static struct sp_task *add_thread(struct sp_tracer *t, struct sp_process *process, pid_t tid)
{
	struct sp_task *leader = sp_index_find(t->index, process->tgid), *mark = sp_index_find(t->index, tid);

	if (mark != NULL) /* of a former user, whose parent's event never came */
		forget_mark(t, mark);
	struct sp_task *task = leader != NULL ? sp_index_add(t->index, tid) : NULL;
	if (task == NULL)
		return NULL;
	if (sp_index_place(t->index, task, process, NULL, NULL, 0, leader) != 0) {
		(void)sp_index_remove(t->index, task);
		return NULL;
	}
	task->state = UNTRACED;
	return task;
}

static bool is_free(const struct sp_task *task)
{
	return task == NULL || task->state == BURIED;
}

/* The leader of a process in one-shot tracking; NULL: it is none of ours. */
static struct sp_task *find_leader(const struct sp_tracer *t, pid_t tgid)
{
	struct sp_task *leader = sp_index_find(t->index, tgid);

	return leader != NULL && leader->process != NULL && leader->process->one_shot ? leader : NULL;
}

/* A task that calls and is not known for certain: a thread that runs untraced. NULL: no memory, or none of ours. */
static struct sp_task *find_calling_thread(struct sp_tracer *t, pid_t tid)
{
	struct sp_task *task = sp_index_find(t->index, tid);
	pid_t tgid, ppid;

	if (t->exits == NULL || sp_status_family(tid, &tgid, &ppid) != 0)
		return task;
	struct sp_task *leader = find_leader(t, tgid);
	if (leader == NULL)
		return task;
	if (task != NULL && task->process == leader->process) {
		if (task->state == ENDED && !task->traced)
			task->state = UNTRACED; /* the dead do not call: its tid is another thread's */
		return task;
	}
	end_former_user(t, tid);
	/* To tell that end may have told others, that of the caller's own process among them. */
	leader = find_leader(t, tgid);
	return leader != NULL && is_free(sp_index_find(t->index, tid)) ? add_thread(t, leader->process, tid) : NULL;
}

struct sp_task *sp_tracer_find_caller(struct sp_tracer *t, pid_t tid)
{
	struct sp_task *task = sp_index_find(t->index, tid);

	if (task != NULL && task->process != NULL && !task->traced && is_leader(task) && task->process->watch != NULL) {
		sp_exits_poll_now(t->exits, NULL); /* is it still the same process? */
		task = sp_index_find(t->index, tid);
	}
	const bool certain = task != NULL && task->process != NULL && (task->traced || is_leader(task));
	if (!certain)
		task = find_calling_thread(t, tid);
	return task != NULL && task->process != NULL ? task : NULL;
}

void sp_tracer_forget_idle(struct sp_tracer *t, pid_t tid)
{
	struct sp_task *task = sp_index_find(t->index, tid);

	if (task != NULL && task->process != NULL)
		forget_if_idle(t, task);
}

/* Whoever looks for threads is in the middle of something, where no end may be told: the former user of this tid has to wait, and
 * so has he. */
static int wait_for_former_user(struct sp_tracer *t, pid_t tid)
{
	t->former = tid;
	(void)uv_timer_start(&t->formers, on_formers, FORMER_AFTER, 0);
	return -EINPROGRESS;
}

static void on_formers(uv_timer_t *timer)
{
	struct sp_tracer *t = timer->data;

	end_former_user(t, t->former);
	t->ops->quiet(t->context);
}

/* One pass over /proc/PID/task. *seen: how many there are. */
static int list_threads(struct sp_tracer *t, struct sp_process *process, DIR *d, unsigned *seen)
{
	const struct dirent *entry;

	*seen = 0;
	rewinddir(d);
	while ((entry = readdir(d)) != NULL) {
		const pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);
		const struct sp_task *task = tid > 0 ? sp_index_find(t->index, tid) : NULL;

		*seen += tid > 0;
		if (tid <= 0 || (task != NULL && (task->process == process || task->state == NEWBORN)))
			continue; /* NEWBORN: born in a stop, and its parent will name it */
		if (!is_free(task))
			return wait_for_former_user(t, tid);
		if (add_thread(t, process, tid) == NULL)
			return -ENOMEM;
	}
	return 0;
}

int sp_tracer_find_threads(struct sp_tracer *t, struct sp_process *process)
{
	char path[SP_PROC_NAME];
	unsigned seen;
	cleanup_directory DIR *d = opendir(sp_proc_task(path, process->tgid, "task"));

	if (d == NULL)
		return errno == ENOENT ? 0 : -errno; /* it has ended */
	if (is_reaped(process))
		return 0; /* and the list may be of whoever has its pid now, as process or as thread */
	/* A list ends early where the thread that was read last has ended meanwhile: next_tid() in fs/proc/base.c. */
	for (int pass = 0; pass < LISTS_MAX; pass++) {
		int err = list_threads(t, process, d, &seen);

		if (err != 0 || seen >= sp_status_threads(process->tgid))
			return err;
	}
	return -EAGAIN;
}

bool sp_tracer_has_one_thread(const struct sp_process *process)
{
	return process->one_shot ? sp_status_threads(process->tgid) == 1 : process->task_count == 1;
}
