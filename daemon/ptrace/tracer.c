/* See tracer.h. The whole behaviour is the table `actions`: what is done when a task in a state reports an event. */
#include "ptrace/tracer.h"

#include "ptrace/arch.h"
#include "util/cleanup.h"
#include "util/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>

/* One read of the signalfd is followed by at most this many events before the loop serves its other fds. */
enum { EVENTS_PER_TURN = 128 };

/* A newborn whose parent has not named it after this many milliseconds was born to a parent that was killed in the middle of
 * the fork. Normally the parent's event comes within microseconds. */
enum { ORPHAN_AFTER = 20 };

enum state {
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
	SIGNAL, /* signal-delivery-stop */
	EXIT,
	EVENTS,
};

enum resume { RESUME_CONT, RESUME_LISTEN };

struct sp_tracer {
	struct sp_index *index;
	const struct sp_tracer_ops *ops;
	void *context;
	uv_poll_t sigchld;
	uv_idle_t more; /* runs while events may be waiting for which SIGCHLD will not come again */
	uv_timer_t orphans; /* runs while a newborn is unclaimed */
	int signal_fd;
	int open_handles;
	struct sp_job *last_job; /* the one that was seized last */
	unsigned jobs; /* root processes seized so far */
	unsigned unclaimed; /* tasks in NEWBORN */
	unsigned buried; /* tasks in BURIED */
	struct sp_tracer_stats stats;
};

/* One report of waitpid. */
struct report {
	pid_t tid;
	int status;
	enum event event;
	int signal; /* SIGNAL, GROUP_STOP: which */
};

static void on_sigchld(uv_poll_t *handle, int status, int events);
static void on_more(uv_idle_t *handle);
static void pump(struct sp_tracer *t);
static void dispatch(struct sp_tracer *t, pid_t tid, int status);
static void on_orphans(uv_timer_t *timer);

typedef void action(struct sp_tracer *t, struct sp_task *task, const struct report *report);
static action on_birth, on_stop, on_group_stop, on_fork, on_exec, on_signal, on_death, on_unclaimed_death, unexpected;

/* clang-format off */
static action *const actions[STATES][EVENTS] = {
	/*             STOP        GROUP_STOP     FORK        EXEC        SIGNAL      EXIT */
	[EXPECTED]  = {on_birth,   on_birth,      unexpected, unexpected, unexpected, on_death},
	[NEWBORN]   = {unexpected, unexpected,    unexpected, unexpected, unexpected, on_unclaimed_death},
	[RUNNING]   = {on_stop,    on_group_stop, on_fork,    on_exec,    on_signal,  on_death},
	/* A stopped leader may be replaced by a thread of its that execs; nothing else but death can happen to it. */
	[STOPPED]   = {on_stop,    on_group_stop, unexpected, on_exec,    unexpected, on_death},
	[LISTENING] = {on_stop,    on_group_stop, unexpected, on_exec,    on_signal,  on_death},
	[ENDED]     = {unexpected, unexpected,    unexpected, on_exec,    unexpected, on_death},
	/* The kernel has given the tid to somebody else: the stop is the first of a new task. */
	[BURIED]    = {on_birth,   on_birth,      unexpected, unexpected, unexpected, on_unclaimed_death},
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
	t->index = index;
	t->ops = ops;
	t->context = context;
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
	(void)uv_timer_init(loop, &t->orphans);
	t->sigchld.data = t->more.data = t->orphans.data = t;
	t->open_handles = 3;
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
	free(t);
}

static void collect_buried(struct sp_task *task, void *context)
{
	struct sp_task **found = context;

	if (task->state == BURIED)
		*found = task;
}

/* Parents that were killed never tell of the children they had: what is buried then stays, until here. */
static void forget_buried(struct sp_tracer *t)
{
	while (t->buried > 0) {
		struct sp_task *task = NULL;

		sp_index_each(t->index, collect_buried, &task);
		if (task == NULL)
			break;
		(void)sp_index_remove(t->index, task);
		t->buried--;
	}
}

void sp_tracer_close(struct sp_tracer *t)
{
	forget_buried(t);
	uv_close((uv_handle_t *)&t->sigchld, on_closed);
	uv_close((uv_handle_t *)&t->more, on_closed);
	uv_close((uv_handle_t *)&t->orphans, on_closed);
}

/* To continue ourselves, whom nobody traces, is ESRCH for the kernel; a filter that refuses ptrace says EPERM first. */
static bool ptrace_is_filtered(void)
{
	return ptrace(PTRACE_CONT, getpid(), NULL, NULL) != 0 && errno == EPERM;
}

int sp_tracer_seize(struct sp_tracer *t, pid_t pid, struct sp_job *job, struct sp_process **root, struct sp_error *e)
{
	const unsigned long options =
		PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
	struct sp_task *task = sp_index_add(t->index, pid);

	if (task == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	if (sp_index_place(t->index, task, NULL, NULL, job, 1, NULL) != 0) {
		(void)sp_index_remove(t->index, task);
		return sp_fail(e, ENOMEM, "out of memory");
	}
	task->state = RUNNING;
	if (ptrace(PTRACE_SEIZE, pid, NULL, options) != 0) {
		int err = errno;

		sp_index_free_process(t->index, sp_index_remove(t->index, task));
		if (err == EPERM && ptrace_is_filtered())
			return sp_fail(e, EBUSY,
				       "already supervised: the filter of a job, or of another sandbox, is in force "
				       "here and refuses ptrace");
		return sp_fail(e, err, "cannot trace process %d: %s", pid,
			       err == EPERM ? "it is traced already, or Yama or missing rights forbid it"
					    : strerror(err));
	}
	t->last_job = job;
	t->jobs++;
	*root = task->process;
	return 0;
}

bool sp_tracer_is_stopped(const struct sp_task *task)
{
	return task->state != RUNNING || task->vfork_child != NULL;
}

static char run_state(pid_t tid);

/* The leader's end is not reported while threads of its are alive, though SIGCHLD comes for it. */
static bool is_ended_leader(const struct sp_task *task)
{
	return task->tid == task->process->tgid && task->process->task_count > 1 && run_state(task->tid) == 'Z';
}

void sp_tracer_interrupt(struct sp_task *task)
{
	if (task->state != RUNNING)
		return;
	/* ESRCH: it is dying, its exit comes as an event */
	if (!task->interrupted && ptrace(PTRACE_INTERRUPT, task->tid, NULL, NULL) == 0)
		task->interrupted = true;
	if (is_ended_leader(task))
		task->state = ENDED;
}

bool sp_tracer_sleeps_killably(const struct sp_task *task)
{
	/* TASK_KILLABLE shows as D (fs/proc/array.c). The caller may be waiting for our CPU to get there. */
	for (int turn = 0; turn < 20; turn++) {
		if (run_state(task->tid) == 'D')
			return true;
		(void)sched_yield();
	}
	return false;
}

static void resume(struct sp_task *task)
{
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
	if (task->state == STOPPED && !t->ops->held(task, t->context))
		resume(task);
}

void sp_tracer_kill(const struct sp_process *process)
{
	/* A traced process is not reaped by anybody but us, so its pid cannot have been given to another. */
	(void)kill(process->tgid, SIGKILL);
}

int sp_tracer_syscall_result(const struct sp_task *task, long *call, long *result)
{
	int err = sp_arch_peek(task->tid, SP_ARCH_RESULT, result);

	return err != 0 ? err : sp_arch_peek(task->tid, SP_ARCH_CALL, call);
}

void sp_tracer_restart_call(const struct sp_task *task)
{
	(void)sp_arch_poke(task->tid, SP_ARCH_RESULT, -SP_ERESTARTNOINTR);
}

struct sp_tracer_stats sp_tracer_stats(const struct sp_tracer *t)
{
	return t->stats;
}

const char *sp_tracer_state_name(const struct sp_task *task)
{
	static const char *const names[STATES] = {
		[EXPECTED] = "expected",   [NEWBORN] = "newborn", [RUNNING] = "running", [STOPPED] = "stopped",
		[LISTENING] = "listening", [ENDED] = "ended",     [BURIED] = "buried",
	};

	return names[task->state];
}

static void on_sigchld(uv_poll_t *handle, int status, int events)
{
	struct sp_tracer *t = handle->data;
	struct signalfd_siginfo info;

	(void)events;
	if (status != 0 || read(t->signal_fd, &info, sizeof info) != sizeof info)
		return;
	t->stats.wakeups++;
	pump(t);
}

static void on_more(uv_idle_t *handle)
{
	pump(handle->data);
}

/* SIGCHLD coalesces: one that is pending stands for any number of events. So ask until there is no more. */
static void pump(struct sp_tracer *t)
{
	for (int i = 0; i < EVENTS_PER_TURN; i++) {
		int status;
		pid_t tid = waitpid(-1, &status, __WALL | WNOHANG);

		if (tid <= 0) {
			t->stats.full_scans++;
			(void)uv_idle_stop(&t->more);
			t->ops->quiet(t->context);
			return;
		}
		t->stats.events++;
		dispatch(t, tid, status);
	}
	(void)uv_idle_start(&t->more, on_more);
}

static struct report classify(pid_t tid, int status)
{
	struct report r = {.tid = tid, .status = status};

	if (!WIFSTOPPED(status)) {
		r.event = EXIT;
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

	if (task == NULL) {
		/* Children are born traced, and may report before their parent does. */
		task = sp_index_add(t->index, tid);
		if (task == NULL) {
			/* Not knowing a task is the one thing that must not happen; without memory it must not run. */
			(void)kill(tid, SIGKILL);
			return;
		}
		task->state = BURIED;
		t->buried++;
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
	t->ops->stopped(task, t->context);
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
	if (result == -SP_ERESTARTSYS && sp_arch_is_exec(call))
		/* Notified, but interrupted before we had received it. exec never gives EINTR natively. */
		sp_tracer_restart_call(task);
	else if (result == -EINTR && sp_arch_eintr_without_handler(call))
		(void)sp_arch_poke(task->tid, SP_ARCH_RESULT, -SP_ERESTARTNOHAND);
}

static void on_birth(struct sp_tracer *t, struct sp_task *task, const struct report *report)
{
	if (task->state == BURIED) {
		t->buried--;
		if (t->unclaimed++ == 0)
			(void)uv_timer_start(&t->orphans, on_orphans, ORPHAN_AFTER, 0);
		task->state = NEWBORN;
		task->resume = report->event == GROUP_STOP ? RESUME_LISTEN : RESUME_CONT;
		return;
	}
	settle(t, task, report->event == GROUP_STOP ? RESUME_LISTEN : RESUME_CONT, 0);
}

static void on_stop(struct sp_tracer *t, struct sp_task *task, const struct report *report)
{
	(void)report;
	if (task->state == LISTENING) {
		if (task->process->group_stopped) {
			task->process->group_stopped = false;
			t->ops->group_stop(task->process, 0, t->context);
		}
	} else {
		repair_eintr(task);
	}
	settle(t, task, RESUME_CONT, 0);
}

static void on_group_stop(struct sp_tracer *t, struct sp_task *task, const struct report *report)
{
	struct sp_process *process = task->process;
	bool first = !process->group_stopped;

	/* No repair: a call that job control interrupts gives EINTR natively, too. */
	process->group_stopped = true;
	settle(t, task, RESUME_LISTEN, 0);
	if (first)
		t->ops->group_stop(process, report->signal, t->context);
}

static bool ignores(pid_t tid, int signal);

/* SIGSTOP and its kin interrupt calls for everybody to see, unless the program ignores them. */
static bool will_stop(const struct sp_task *task, int signal)
{
	switch (signal) {
	case SIGSTOP:
		return true;
	case SIGTSTP:
	case SIGTTIN:
	case SIGTTOU:
		return !ignores(task->tid, signal);
	default:
		return false;
	}
}

static void on_signal(struct sp_tracer *t, struct sp_task *task, const struct report *report)
{
	if (!will_stop(task, report->signal))
		repair_eintr(task);
	/* The same signal number: the kernel keeps the siginfo (ptrace_signal() in kernel/signal.c). */
	settle(t, task, RESUME_CONT, report->signal);
}

/* Puts a child in its place: the parent's process and memory, as the clone flags say. */
static int place_child(struct sp_tracer *t, struct sp_task *parent, struct sp_task *child, unsigned long flags)
{
	struct sp_task *share = (flags & CLONE_VM) != 0 ? parent : NULL;

	if ((flags & CLONE_THREAD) != 0)
		return sp_index_place(t->index, child, parent->process, NULL, NULL, 0, share);
	int err = sp_index_place(t->index, child, NULL, parent->process, parent->process->job, 0, share);
	if (err == 0)
		t->ops->process_born(child->process, t->context);
	return err;
}

static void on_fork(struct sp_tracer *t, struct sp_task *parent, const struct report *report)
{
	unsigned long child_tid = 0, flags = 0;

	(void)report;
	if (ptrace(PTRACE_GETEVENTMSG, parent->tid, NULL, &child_tid) != 0 ||
	    sp_arch_clone_flags(parent->tid, &flags) != 0) {
		/* Killed meanwhile: its exit follows, and the child is an orphan. */
		settle(t, parent, RESUME_CONT, 0);
		return;
	}
	struct sp_task *child = sp_index_find(t->index, (pid_t)child_tid);
	if (child != NULL && child->state == BURIED) {
		(void)sp_index_remove(t->index, child);
		t->buried--;
		settle(t, parent, RESUME_CONT, 0);
		return;
	}
	bool adopted = child != NULL && child->state != NEWBORN;
	bool born = child != NULL;
	if (!born)
		child = sp_index_add(t->index, (pid_t)child_tid);
	if (child == NULL || (!adopted && place_child(t, parent, child, flags) != 0)) {
		(void)kill((pid_t)child_tid, SIGKILL); /* no memory: what is not in the index must not run */
		settle(t, parent, RESUME_CONT, 0);
		return;
	}
	if ((flags & CLONE_VFORK) != 0 && !(adopted && child->process->generation > 0)) {
		child->vfork_parent = parent;
		parent->vfork_child = child;
	}
	if (!born) {
		child->state = EXPECTED;
	} else if (!adopted) {
		t->unclaimed--;
		settle(t, child, child->resume, 0);
	}
	settle(t, parent, RESUME_CONT, 0);
}

static void bury(struct sp_tracer *t, struct sp_task *task)
{
	task->state = BURIED; /* nobody shall wait for it to stop */
	if (task->process != NULL)
		t->ops->gone(task, t->context);
	struct sp_process *process = sp_index_remove(t->index, task);
	if (process == NULL)
		return;
	t->ops->process_gone(process, t->context);
	sp_index_free_process(t->index, process);
}

static void vfork_done(struct sp_task *child)
{
	if (child->vfork_parent == NULL)
		return;
	child->vfork_parent->vfork_child = NULL;
	child->vfork_parent = NULL;
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
	bury(t, leader);
	sp_index_rename(t->index, thread, tid);
	return thread;
}

static void on_exec(struct sp_tracer *t, struct sp_task *task, const struct report *report)
{
	struct sp_process *process = task->process;

	(void)report;
	if (process->task_count > 1)
		task = take_leaders_place(t, task);
	struct sp_task *sibling, *next;
	sp_list_each_safe (sibling, next, &process->tasks, process_link)
		if (sibling != task)
			bury(t, sibling);
	vfork_done(task);
	task->state = STOPPED;
	task->resume = RESUME_CONT;
	task->resume_signal = 0;
	process->generation++;
	t->ops->exec_stop(task, t->context);
	/* alone in its address space already (a forked child that execs): that one is as good as a new one */
	if (task->mm->task_count > 1 && sp_index_new_mm(t->index, task) != 0)
		sp_tracer_kill(process); /* sharing with the old memory would only be too careful, but say it */
	sp_tracer_release(t, task);
}

static void on_death(struct sp_tracer *t, struct sp_task *task, const struct report *report)
{
	struct sp_process *process = task->process;

	if (task->tid == process->tgid || process->task_count == 1)
		process->status = report->status;
	vfork_done(task);
	bury(t, task);
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
	if (t->buried > 4096)
		forget_buried(t);
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

/* The letter of proc_pid_stat(5); 0: gone. */
static char run_state(pid_t tid)
{
	char path[SP_PROC_NAME], line[256];

	cleanup_close int fd = open(sp_proc_task(path, tid, "stat"), O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, line, sizeof line - 1) : 0;
	line[n > 0 ? n : 0] = '\0';
	const char *name_end = strrchr(line, ')');
	return name_end != NULL && name_end[1] == ' ' ? name_end[2] : 0;
}

static int read_status(pid_t tid, pid_t *tgid, pid_t *ppid)
{
	char path[SP_PROC_NAME], line[256];
	cleanup_file FILE *f = fopen(sp_proc_task(path, tid, "status"), "re");

	*tgid = *ppid = 0;
	while (f != NULL && *ppid == 0 && fgets(line, sizeof line, f) != NULL) {
		(void)sscanf(line, "Tgid: %d", tgid);
		(void)sscanf(line, "PPid: %d", ppid);
	}
	return *tgid > 0 ? 0 : -ESRCH;
}

static bool ignores(pid_t tid, int signal)
{
	char path[SP_PROC_NAME], line[256];
	uint64_t mask = 0;
	cleanup_file FILE *f = fopen(sp_proc_task(path, tid, "status"), "re");

	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		if (sscanf(line, "SigIgn: %" SCNx64, &mask) == 1)
			break;
	return (mask & 1ULL << (signal - 1)) != 0;
}

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
	int err = read_status(task->tid, &tgid, &ppid);

	if (err != 0)
		return err;
	struct mm_search m = {.tid = task->tid};
	sp_index_each(t->index, compare_mm, &m);
	if (m.unknown)
		return -ENOSYS;
	struct sp_task *leader = tgid != task->tid ? sp_index_find(t->index, tgid) : NULL;
	if (leader != NULL && leader->process != NULL)
		return sp_index_place(t->index, task, leader->process, NULL, NULL, 0, m.match);
	struct sp_task *parent = sp_index_find(t->index, ppid);
	bool known = parent != NULL && parent->process != NULL;
	if (!known && t->jobs != 1)
		return -ESRCH; /* whose? */
	struct sp_job *job = known ? parent->process->job : t->last_job;
	err = sp_index_place(t->index, task, NULL, known ? parent->process : NULL, job, 0, m.match);
	if (err == 0)
		t->ops->process_born(task->process, t->context);
	return err;
}

static void find_newborn(struct sp_task *task, void *context)
{
	struct sp_task **found = context;

	if (task->state == NEWBORN)
		*found = task;
}

static void on_orphans(uv_timer_t *timer)
{
	struct sp_tracer *t = timer->data;

	while (t->unclaimed > 0) {
		struct sp_task *task = NULL;

		sp_index_each(t->index, find_newborn, &task);
		if (task == NULL)
			break;
		t->unclaimed--;
		if (adopt(t, task) == 0) {
			settle(t, task, task->resume, 0);
			continue;
		}
		task->state = BURIED; /* what cannot be placed must not run */
		t->buried++;
		(void)kill(task->tid, SIGKILL);
	}
}
