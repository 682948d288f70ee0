/* See gate.h. The behaviour is the table `steps`: what an event does to a gate in a state. */
#include "ptrace/gate.h"

#include "ptrace/arch.h"
#include "util/cleanup.h"
#include "util/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

enum state {
	FREE, /* in the pool */
	FREEZING, /* waiting for the stops of those who share the memory */
	READING, /* a thread that may block is inspecting */
	CONTINUED, /* the kernel is at it; the caller's next stop or death tells how it ended */
	ASKED, /* the owner decides later; nobody is held meanwhile, and the caller waits in its notification */
	STATES,
};

enum event {
	FROZEN, /* everybody in the freeze set has stopped */
	READ, /* the thread has finished */
	TOO_LATE, /* the deadline of the state */
	EXEC_STOP, /* the caller is in PTRACE_EVENT_EXEC */
	STOP, /* the caller is in another stop */
	GONE, /* the caller is dead */
	AGAIN, /* the caller has sent another notification: this one was lost */
	DECIDED, /* the owner says what it thinks of what was ASKED */
	EVENTS,
};

enum { PASSES_MAX = 1000 };

struct sp_gate {
	struct sp_gatekeeper *keeper;
	struct sp_list link; /* keeper->active or ->pool */
	struct sp_list freezing; /* in tools.freezing while it waits for stops */
	enum state state;
	uint64_t id; /* of the notification */
	bool answered;
	bool unwatched; /* CONTINUED, and not asked to stop: if it fails, nobody tells */
	int64_t received; /* when; 0: it is not measured */
	struct sp_task *caller;
	uint64_t envp_address; /* whether it was wanted or not */
	struct sp_inspection *in; /* NULL while a thread has it, or nobody needs it: ASKED */
	struct sp_inspection *asked; /* what the owner was shown; from ASKED until the gate is released */
	struct sp_judgement decision; /* DECIDED */
	struct sp_request *request; /* READING */
	int read_result;
	uint64_t exec; /* recorded, outcome not told yet */
	sp_record_place flight; /* in the state; 0: in none */
	struct sp_approval approval; /* as it is there */
	struct sp_mm *held; /* hold on this address space; NULL: none was needed */
	bool wide; /* hold on the whole job */
	unsigned pending; /* FREEZING: how many had not stopped when last counted */
	bool awaits_leader; /* one of them is the leader of other threads */
	bool awaits_end; /* a thread could not be taken in before somebody else's end is told */
	bool unstoppable; /* one of them cannot be traced */
	bool news; /* one of them ran untraced when it was asked, and may have made another thread before */
	uv_timer_t deadline;
	bool has_timer;
};

struct sp_gatekeeper {
	struct sp_gate_tools tools;
	struct sp_gate_settings settings;
	const struct sp_list *processes;
	const struct sp_gate_ops *ops;
	void *context;
	const struct sp_listener *listener;
	struct sp_list active, pool;
	unsigned active_count;
	unsigned wide_holds;
	unsigned timers; /* not closed yet */
	bool closing;
	struct sp_gate_stats stats;
	struct sp_latency latency;
};

/* What a thread is given to read. */
struct reading {
	struct sp_gate *gate;
	struct sp_inspection *in;
	int result;
};

/* --- the table --- */

typedef void step(struct sp_gate *gate);
static step on_frozen, on_read, on_too_late, on_exec_too_late;
static step on_exec_stop, on_stop, on_gone, on_lost, on_decided, illegal;

/* clang-format off */
static step *const steps[STATES][EVENTS] = {
	/*             FROZEN     READ     TOO_LATE            EXEC_STOP     STOP     GONE     AGAIN    DECIDED */
	[FREE]      = {illegal,   illegal, illegal,            illegal,      illegal, illegal, illegal, illegal},
	[FREEZING]  = {on_frozen, illegal, on_too_late,        illegal,      on_lost, on_gone, on_lost, illegal},
	[READING]   = {illegal,   on_read, on_too_late,        illegal,      on_lost, on_gone, on_lost, illegal},
	[CONTINUED] = {illegal,   illegal, on_exec_too_late,   on_exec_stop, on_stop, on_gone, on_lost, illegal},
	[ASKED]     = {illegal,   illegal, illegal,            illegal,      on_lost, on_gone, on_lost, on_decided},
};
/* clang-format on */

static void happen(struct sp_gate *gate, enum event event)
{
	steps[gate->state][event](gate);
}

/* --- the guard: a step that does not say keep() releases everything the gate holds --- */

struct guard {
	struct sp_gate *gate;
};

static void release(struct sp_gate *gate);

static struct guard enter(struct sp_gate *gate)
{
	return (struct guard){.gate = gate};
}

static void keep(struct guard *guard, enum state state)
{
	guard->gate->state = state;
	guard->gate = NULL;
}

static void leave(struct guard *guard)
{
	if (guard->gate != NULL)
		release(guard->gate);
}

#define guard_gate(gate) [[maybe_unused]] sp_cleanup(leave) struct guard guard = enter(gate)

static void begin(struct sp_gate *gate);
static void judge(struct sp_gate *gate, int err);
static void refuse_unseen(struct sp_gate *gate, int err);
static void thaw(struct sp_gate *gate);
static void recount(struct sp_gatekeeper *keeper, const struct sp_mm *mm);
static void arm(struct sp_gate *gate, unsigned deadline);
static void disarm(struct sp_gate *gate);

/* --- gatekeeper --- */

struct sp_gatekeeper *sp_gatekeeper_new(const struct sp_gate_tools *tools, const struct sp_gate_settings *settings,
					const struct sp_list *processes, const struct sp_gate_ops *ops, void *context)
{
	struct sp_gatekeeper *k = calloc(1, sizeof *k);

	if (k == NULL)
		return NULL;
	k->tools = *tools;
	k->settings = *settings;
	k->processes = processes;
	k->ops = ops;
	k->context = context;
	sp_list_init(&k->active);
	sp_list_init(&k->pool);
	return k;
}

static void free_gate(struct sp_gate *gate)
{
	sp_inspection_free(gate->in);
	sp_inspection_free(gate->asked);
	free(gate);
}

static void free_when_done(struct sp_gatekeeper *k)
{
	if (k->closing && k->timers == 0)
		free(k);
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct sp_gate *gate = handle->data;
	struct sp_gatekeeper *k = gate->keeper;

	free_gate(gate);
	k->timers--;
	free_when_done(k);
}

void sp_gatekeeper_close(struct sp_gatekeeper *k)
{
	struct sp_gate *gate, *next;

	sp_list_each_safe (gate, next, &k->active, link)
		release(gate);
	sp_list_each_safe (gate, next, &k->pool, link) {
		sp_list_del(&gate->link);
		if (gate->has_timer)
			uv_close((uv_handle_t *)&gate->deadline, on_timer_closed);
		else
			free_gate(gate);
	}
	k->closing = true;
	free_when_done(k);
}

void sp_gatekeeper_set_home(struct sp_gatekeeper *keeper, int home)
{
	keeper->settings.home = home;
}

void sp_gatekeeper_want_env(struct sp_gatekeeper *keeper, bool want)
{
	keeper->settings.want_env = want;
}

void sp_gatekeeper_set_listener(struct sp_gatekeeper *k, const struct sp_listener *listener)
{
	k->listener = listener;
}

struct sp_gate_stats sp_gatekeeper_stats(const struct sp_gatekeeper *k)
{
	return k->stats;
}

const struct sp_latency *sp_gatekeeper_latency(const struct sp_gatekeeper *k)
{
	return &k->latency;
}

unsigned sp_gatekeeper_active(const struct sp_gatekeeper *k)
{
	return k->active_count;
}

const char *sp_gate_state_name(const struct sp_gate *gate)
{
	static const char *const names[STATES] = {
		[FREE] = "free",           [FREEZING] = "freezing", [READING] = "reading",
		[CONTINUED] = "continued", [ASKED] = "asked",
	};

	return gate != NULL ? names[gate->state] : "none";
}

bool sp_gatekeeper_holds(const struct sp_gatekeeper *k, const struct sp_task *task)
{
	return task->mm->holds > 0 || k->wide_holds > 0;
}

static void give_back_gate(struct sp_gate *gate)
{
	sp_list_del(&gate->link);
	sp_list_add(&gate->keeper->pool, &gate->link);
	gate->keeper->active_count--;
}

static struct sp_gate *take_gate(struct sp_gatekeeper *k)
{
	struct sp_gate *gate;

	if (!sp_list_empty(&k->pool)) {
		gate = sp_container_of(k->pool.next, struct sp_gate, link);
		sp_list_del(&gate->link);
	} else {
		gate = calloc(1, sizeof *gate);
		if (gate == NULL)
			return NULL;
		gate->keeper = k;
		sp_list_init(&gate->link);
		sp_list_init(&gate->freezing);
	}
	if (gate->in == NULL)
		gate->in = sp_inspection_new();
	sp_list_add(gate->in != NULL ? &k->active : &k->pool, &gate->link);
	if (gate->in == NULL)
		return NULL;
	k->active_count++;
	return gate;
}

/* What is not in the state would be forgotten if we died now, and its caller would wait for ever. */
static bool take_off(struct sp_gate *gate, const struct sp_task *caller, const struct seccomp_notif *notification)
{
	const struct sp_gate_settings *settings = &gate->keeper->settings;
	const struct sp_state_flight flight = {
		.job = settings->job,
		.id = notification->id,
		.process = caller->process->key,
		.tid = caller->tid,
	};

	gate->flight = settings->record != 0 ? sp_state_add_flight(gate->keeper->tools.state, &flight) : 0;
	if (settings->record == 0 || gate->flight != 0)
		return true;
	give_back_gate(gate);
	return false;
}

void sp_gate_will_record(struct sp_gate *gate, uint64_t exec)
{
	if (gate != NULL)
		sp_state_judge(gate->keeper->tools.state, gate->flight, exec);
}

void sp_gatekeeper_notified(struct sp_gatekeeper *k, struct sp_task *caller, const struct seccomp_notif *notification)
{
	const struct seccomp_data *call = &notification->data;
	bool by_fd = call->nr == SYS_execveat;
	/* execveat(dirfd, path, argv, envp, flags), execve(path, argv, envp) */
	const __u64 *args = call->args + (by_fd ? 1 : 0);

	const struct sp_mm *mm = caller->mm;
	k->stats.execs++;
	if (caller->gate != NULL)
		happen(caller->gate, AGAIN);
	struct sp_gate *gate = take_gate(k);
	if (gate == NULL || !take_off(gate, caller, notification)) {
		(void)sp_listener_answer(k->listener, notification->id, ENOMEM);
		return;
	}
	gate->id = notification->id;
	gate->received = sp_clock();
	gate->answered = gate->unwatched = gate->wide = false;
	gate->held = NULL;
	gate->exec = 0;
	gate->pending = 0;
	gate->caller = caller;
	caller->gate = gate;
	struct sp_inspection *in = gate->in;
	in->tid = caller->tid;
	in->tgid = caller->process->tgid;
	in->by_fd = by_fd;
	in->dirfd = by_fd ? (int)call->args[0] : AT_FDCWD;
	in->flags = by_fd ? (int)call->args[4] : 0;
	in->path_address = args[0];
	in->argv_address = args[1];
	gate->envp_address = args[2];
	in->envp_address = k->settings.want_env ? args[2] : 0;
	in->home = k->settings.home;
	begin(gate);
	recount(k, mm); /* for others it counts as stopped from now on */
}

static struct sp_gate *find_asked(const struct sp_gatekeeper *k, uint64_t exec)
{
	struct sp_gate *gate;

	sp_list_each (gate, &k->active, link)
		if (gate->state == ASKED && gate->exec == exec)
			return gate;
	return NULL;
}

int sp_gatekeeper_decided(struct sp_gatekeeper *k, const struct sp_judgement *decision)
{
	struct sp_gate *gate = find_asked(k, decision->exec);

	if (gate == NULL)
		return -ENOENT;
	const struct sp_mm *mm = gate->caller->mm;
	gate->decision = *decision;
	happen(gate, DECIDED);
	recount(k, mm);
	return 0;
}

static int answer_and_stop(struct sp_gate *gate, int err);

void sp_gatekeeper_call_again(struct sp_gatekeeper *k, uint64_t exec)
{
	struct sp_gate *gate = find_asked(k, exec);

	if (gate == NULL)
		return;
	const struct sp_mm *mm = gate->caller->mm;
	/* With the stop pending this is looked at before the program is, as after an interrupted system call. */
	if (answer_and_stop(gate, SP_ERESTARTNOINTR) == 0 || gate->answered)
		happen(gate, AGAIN);
	recount(k, mm);
}

const struct sp_inspection *sp_gatekeeper_asked(const struct sp_gatekeeper *k, uint64_t exec)
{
	const struct sp_gate *gate = find_asked(k, exec);

	return gate != NULL ? gate->asked : NULL;
}

void sp_gatekeeper_exec_stop(struct sp_gatekeeper *k, struct sp_task *task)
{
	const struct sp_mm *mm = task->mm;

	if (task->gate != NULL)
		happen(task->gate, EXEC_STOP);
	recount(k, mm);
}

void sp_gatekeeper_stopped(struct sp_gatekeeper *k, struct sp_task *task)
{
	const struct sp_mm *mm = task->mm;

	if (task->gate != NULL)
		happen(task->gate, STOP);
	recount(k, mm);
}

void sp_gatekeeper_gone(struct sp_gatekeeper *k, struct sp_task *task)
{
	const struct sp_mm *mm = task->mm;

	if (task->gate != NULL)
		happen(task->gate, GONE);
	recount(k, mm);
}

/* --- freeze and thaw --- */

bool sp_gate_is_frozen(const struct sp_task *task)
{
	return sp_tracer_is_stopped(task) || (task->gate != NULL && !task->gate->unwatched);
}

/* Asks one task to stop. The caller's own vfork parent is suspended until this very exec is over, and needs no stop. Other
 * suspended ones get one for the moment they wake up, and are not waited for. */
static unsigned ask(struct sp_gate *gate, struct sp_task *task)
{
	if (task == gate->caller || task == gate->caller->vfork_parent)
		return 0;
	gate->news |= !task->traced && !sp_tracer_is_stopped(task);
	gate->unstoppable |= sp_tracer_interrupt(gate->keeper->tools.tracer, task) != 0;
	if (sp_gate_is_frozen(task) || gate->unstoppable)
		return 0;
	gate->awaits_leader |= task->tid == task->process->tgid && task->process->task_count > 1;
	return 1;
}

/* One-shot tracking: threads are in the index once they were looked for. */
static void find_threads(struct sp_gate *gate, struct sp_process *process)
{
	int err = process->one_shot ? sp_tracer_find_threads(gate->keeper->tools.tracer, process) : 0;

	gate->awaits_end |= err == -EINPROGRESS;
	gate->unstoppable |= err != 0 && err != -EINPROGRESS;
}

static void find_all_threads(struct sp_gate *gate)
{
	struct sp_process *process;
	struct sp_task *task;

	if (!gate->caller->process->one_shot)
		return;
	if (gate->wide) {
		sp_list_each (process, gate->keeper->processes, job_link)
			find_threads(gate, process);
		return;
	}
	/* What is found is added at the end, and nothing is taken out: every process comes by. */
	sp_list_each (task, &gate->held->tasks, mm_link)
		if (task->tid == task->process->tgid)
			find_threads(gate, task->process);
}

static unsigned ask_those_known(struct sp_gate *gate)
{
	unsigned pending = 0;
	struct sp_process *process;
	struct sp_task *task;

	if (!gate->wide) {
		sp_list_each (task, &gate->held->tasks, mm_link)
			pending += ask(gate, task);
		return pending;
	}
	sp_list_each (process, gate->keeper->processes, job_link)
		sp_list_each (task, &process->tasks, process_link)
			pending += ask(gate, task);
	return pending;
}

/* Asks everybody in the freeze set, all at once; the stops come as events. How many are to come: 0 only if all were known to be
 * stopped before they were looked for, since one that is found dead may have made another one in its last moment. */
static unsigned ask_all(struct sp_gate *gate)
{
	unsigned pending, passes = 0;

	gate->unstoppable = false;
	do {
		gate->unstoppable |= ++passes > PASSES_MAX; /* a program that makes threads faster than we look */
		gate->awaits_leader = gate->awaits_end = gate->news = false;
		find_all_threads(gate);
		pending = ask_those_known(gate) + (gate->awaits_end ? 1 : 0);
	} while (pending == 0 && gate->news && !gate->unstoppable);
	return pending;
}

/* Does nobody but the caller, and the parent that the kernel suspends for it, use this memory? */
static bool has_memory_alone(const struct sp_task *caller)
{
	const struct sp_task *parent = caller->vfork_parent;
	const bool shares = parent != NULL && parent->mm == caller->mm;

	if (caller->mm->task_count != (shares ? 2 : 1))
		return false;
	return !caller->process->one_shot ||
	       (sp_tracer_has_one_thread(caller->process) && (!shares || sp_tracer_has_one_thread(parent->process)));
}

/* Not one after the other: all are asked, then all stops are awaited. Every stop makes sure that no new task appeared. */
static void freeze(struct sp_gate *gate, struct guard *guard)
{
	gate->pending = ask_all(gate);
	gate->keeper->stats.frozen += gate->pending;
	keep(guard, FREEZING);
	if (gate->pending == 0 || gate->unstoppable) {
		happen(gate, FROZEN);
		return;
	}
	sp_list_add(gate->keeper->tools.freezing, &gate->freezing);
	arm(gate, gate->keeper->settings.freeze_deadline);
}

/* A first look without stopping anybody: an exec that fails anyway (a PATH search misses several times a command) need not
 * stop a threaded program. To refuse is always safe, whatever is written there meanwhile. */
static bool fails_anyway(struct sp_gate *gate, int *err)
{
	const struct sp_gate_tools *t = &gate->keeper->tools;

	*err = sp_inspect(gate->in, false, t->filesystems, t->kinds);
	return *err != 0 && *err != -EAGAIN && gate->in->same_user && !gate->in->ours;
}

static void begin(struct sp_gate *gate)
{
	guard_gate(gate);
	int err;

	if (has_memory_alone(gate->caller) || gate->keeper->settings.without_freeze) {
		keep(&guard, FREEZING);
		happen(gate, FROZEN);
		return;
	}
	if (fails_anyway(gate, &err)) {
		keep(&guard, FREEZING);
		judge(gate, err);
		return;
	}
	gate->keeper->stats.freezes++;
	gate->held = gate->caller->mm;
	gate->held->holds++;
	freeze(gate, &guard);
}

static void widen(struct sp_gate *gate)
{
	guard_gate(gate);

	gate->keeper->stats.wide++;
	gate->wide = true;
	gate->keeper->wide_holds++;
	freeze(gate, &guard);
}

/* A gate for which nobody seems to be left to wait: looks closely, since new tasks may have appeared. */
static struct sp_gate *find_frozen(struct sp_list *freezing)
{
	struct sp_gate *gate;

	sp_list_each (gate, freezing, freezing) {
		if (gate->pending > 0)
			continue;
		gate->pending = ask_all(gate);
		if (gate->pending == 0 || gate->unstoppable)
			return gate;
	}
	return NULL;
}

static void go_on_frozen(struct sp_list *freezing)
{
	struct sp_gate *gate;

	while ((gate = find_frozen(freezing)) != NULL) {
		disarm(gate);
		happen(gate, FROZEN);
	}
}

/* Something changed for a task of this memory, which may be gone: gates that wait for it count one less. A task that is counted twice only makes them look
 * closely too early. */
static void recount(struct sp_gatekeeper *k, const struct sp_mm *mm)
{
	struct sp_gate *gate;
	bool look = false;

	sp_list_each (gate, k->tools.freezing, freezing)
		if (gate->keeper == k && gate->pending > 0 && (gate->wide || gate->held == mm))
			look |= --gate->pending == 0;
	if (look)
		go_on_frozen(k->tools.freezing);
}

void sp_gates_look_again(struct sp_list *freezing)
{
	struct sp_gate *gate;
	bool look = false;

	sp_list_each (gate, freezing, freezing) {
		if (!gate->awaits_leader && !gate->awaits_end)
			continue;
		gate->pending = 0;
		look = true;
	}
	if (look)
		go_on_frozen(freezing);
}

static void release_tasks(struct sp_gatekeeper *k, const struct sp_mm *mm)
{
	struct sp_task *task, *next;

	sp_list_each_safe (task, next, &mm->tasks, mm_link)
		sp_tracer_release(k->tools.tracer, task);
}

static void thaw(struct sp_gate *gate)
{
	struct sp_gatekeeper *k = gate->keeper;
	struct sp_mm *mm = gate->held;
	bool wide = gate->wide;

	gate->held = NULL;
	gate->wide = false;
	if (mm != NULL && --mm->holds == 0 && !wide)
		release_tasks(k, mm);
	if (!wide || --k->wide_holds > 0)
		return;
	struct sp_process *process;
	struct sp_task *task, *next;
	sp_list_each (process, k->processes, job_link)
		sp_list_each_safe (task, next, &process->tasks, process_link)
			sp_tracer_release(k->tools.tracer, task);
}

/* --- the steps --- */

static void run_reading(void *arg)
{
	struct reading *r = arg;

	r->result = sp_inspect(r->in, true, NULL, NULL);
}

static void reading_done(void *arg, bool in_time)
{
	struct reading *r = arg;
	struct sp_gate *gate = r->gate;

	gate->request = NULL;
	if (!in_time) {
		happen(gate, TOO_LATE);
		return;
	}
	gate->in = r->in;
	gate->read_result = r->result;
	free(r);
	happen(gate, READ);
}

static void discard_reading(void *arg)
{
	struct reading *r = arg;

	sp_inspection_free(r->in);
	free(r);
}

static void read_elsewhere(struct sp_gate *gate, struct guard *guard)
{
	struct sp_gatekeeper *k = gate->keeper;
	struct reading *r = calloc(1, sizeof *r);
	const struct sp_work work = {.run = run_reading,
				     .done = reading_done,
				     .discard = discard_reading,
				     .arg = r,
				     .deadline = k->settings.read_deadline};

	if (r == NULL)
		return;
	*r = (struct reading){.gate = gate, .in = gate->in};
	k->stats.helped++;
	gate->in = NULL;
	gate->request = sp_blocking_run(k->tools.blocking, &work);
	if (gate->request == NULL) {
		gate->in = r->in;
		free(r);
		return;
	}
	keep(guard, READING);
}

static void on_frozen(struct sp_gate *gate)
{
	guard_gate(gate);
	struct sp_gatekeeper *k = gate->keeper;

	if (gate->unstoppable) {
		refuse_unseen(gate, -EPERM);
		return;
	}
	int err = sp_inspect(gate->in, false, k->tools.filesystems, k->tools.kinds);
	if (err == -EAGAIN) {
		read_elsewhere(gate, &guard);
		return;
	}
	keep(&guard, gate->state);
	judge(gate, err);
}

static void on_read(struct sp_gate *gate)
{
	judge(gate, gate->read_result);
}

static int reply(struct sp_gate *gate, int err)
{
	struct sp_gatekeeper *k = gate->keeper;

	gate->answered = true;
	if (gate->received != 0)
		sp_latency_add(&k->latency, (uint64_t)(sp_clock() - gate->received));
	return sp_listener_answer(k->listener, gate->id, err);
}

/* Answers so that the caller stops before it runs a single instruction of its program. The interrupt comes first: it stays
 * pending while the caller waits killably, and an exec that fails at once cannot get away. Before 6.18 a reply could be lost
 * to an interrupt that came before the caller had noticed that it was received (should_sleep_killable() in kernel/seccomp.c);
 * there it is given a moment to notice, and if it does not, the reply goes first and the errno may remain unknown. */
static int answer_and_stop(struct sp_gate *gate, int err)
{
	const struct sp_gatekeeper *k = gate->keeper;
	bool first = k->tools.replies_survive || sp_tracer_sleeps_killably(gate->caller);

	int sent = sp_tracer_attach(k->tools.tracer, gate->caller);
	if (sent != 0)
		return sent;
	if (first)
		(void)sp_tracer_interrupt(k->tools.tracer, gate->caller);
	sent = reply(gate, err);
	if (sent == 0 && !first)
		(void)sp_tracer_interrupt(k->tools.tracer, gate->caller);
	return sent;
}

static void refuse(struct sp_gate *gate, int err);
static void tell(struct sp_gate *gate, enum sp_outcome outcome, int err, const char *detail);

/* The stop is wanted for what fails: to let others go on at once, and for the errno. A program that has run before, and for whose
 * exec nobody was stopped, is spared the interrupt, which wakes the caller once more: it will be seen in its exec stop. Should
 * it fail after all (for want of memory, say), the caller's next sign of life tells that, but not the errno. */
static bool needs_no_stop(const struct sp_gate *gate)
{
	const struct sp_gatekeeper *k = gate->keeper;

	return gate->in->has_run && gate->caller->traced && !gate->caller->process->one_shot &&
	       gate->caller->mm->holds == 0 && k->wide_holds == 0;
}

static int answer(struct sp_gate *gate)
{
	if (!needs_no_stop(gate))
		return answer_and_stop(gate, 0);
	gate->unwatched = true;
	return reply(gate, 0);
}

static void let_go_on(struct sp_gate *gate, struct guard *guard)
{
	int err = answer(gate);
	if (err != 0 && !gate->answered) {
		/* One-shot: somebody else traces it, or it is undumpable. It would run unseen. */
		refuse(gate, EPERM);
		tell(gate, SP_OUTCOME_FAILED, EPERM, NULL);
	}
	if (err != 0)
		return; /* or it is not waiting any more: killed, or its call comes again */
	keep(guard, CONTINUED);
	if (gate->held != NULL || gate->wide || gate->unwatched)
		arm(gate, gate->keeper->settings.exec_deadline);
}

/* Where others count on the caller not running, it must stop before it gets back to its program. */
static void refuse(struct sp_gate *gate, int err)
{
	struct sp_gatekeeper *k = gate->keeper;
	const unsigned own_hold = gate->held != NULL ? 1 : 0, own_wide = gate->wide ? 1 : 0;

	if ((gate->caller->mm->holds > own_hold || k->wide_holds > own_wide) && answer_and_stop(gate, err) == 0)
		return;
	(void)reply(gate, err);
}

/* The owner decides later, maybe much later: nobody waits for that but the caller. */
static void wait_for_owner(struct sp_gate *gate, struct guard *guard, uint64_t exec)
{
	gate->keeper->stats.asked++;
	gate->exec = exec;
	gate->asked = gate->in;
	gate->in = NULL;
	disarm(gate);
	keep(guard, ASKED);
	thaw(gate);
}

/* What was approved has been read again. It is the gate that insists on its being the same, whatever the owner says. */
static struct sp_judgement judge_again(struct sp_gate *gate, int err)
{
	const struct sp_gatekeeper *k = gate->keeper;
	const char *changed =
		err == 0 && !k->settings.without_comparison ? sp_inspection_difference(gate->asked, gate->in) : NULL;
	struct sp_judgement j = k->ops->judge_again(gate->caller, gate->in, err, changed, &gate->decision, k->context);

	if ((j.verdict == SP_GO_ON && changed != NULL) || j.verdict == SP_LATER)
		j = (struct sp_judgement){.verdict = SP_REFUSE, .err = EACCES};
	gate->exec = 0; /* that the owner has recorded it makes an end of the question */
	return j;
}

static struct sp_judgement ask_owner(struct sp_gate *gate, int err)
{
	const struct sp_gatekeeper *k = gate->keeper;

	if (gate->asked != NULL)
		return judge_again(gate, err);
	struct sp_judgement j = k->ops->judge(gate->caller, gate->in, err, k->context);
	if (j.verdict == SP_LATER && (err != 0 || j.exec == 0))
		j = (struct sp_judgement){.verdict = SP_REFUSE,
					  .err = EAGAIN}; /* nothing was seen that could be asked */
	return j;
}

/* Whoever comes after us can still tell whether what runs is what was approved. */
static void note_approval(struct sp_gate *gate)
{
	const struct sp_gate_tools *t = &gate->keeper->tools;

	if (gate->flight == 0)
		return;
	sp_approve(gate->in, sp_state_key(t->state), &gate->approval);
	sp_state_approve(t->state, gate->flight, &gate->approval);
}

/* Its owner wants to see the environment, and did not when reading began. What was approved is compared with what was shown, and no
 * more. */
static bool lacks_env(const struct sp_gate *gate)
{
	return gate->keeper->settings.want_env && gate->asked == NULL && gate->envp_address != 0 &&
	       gate->in->envp_address == 0;
}

static void judge(struct sp_gate *gate, int err)
{
	guard_gate(gate);
	struct sp_gatekeeper *k = gate->keeper;

	if (err == 0 && gate->in->shared && !gate->wide && !k->settings.without_freeze) {
		/* Another process can write there: once more, with everybody stopped. */
		keep(&guard, gate->state);
		widen(gate);
		return;
	}
	if (err == 0 && lacks_env(gate)) {
		gate->in->envp_address = gate->envp_address;
		keep(&guard, FREEZING);
		happen(gate, FROZEN);
		return;
	}
	struct sp_judgement j = ask_owner(gate, err);
	if (j.verdict == SP_GO_ON) {
		gate->exec = j.exec;
		note_approval(gate);
		let_go_on(gate, &guard);
		return;
	}
	if (j.verdict == SP_LATER) {
		gate->received = 0; /* how long a person thinks says nothing of us */
		wait_for_owner(gate, &guard, j.exec);
		return;
	}
	sp_state_refuse(k->tools.state, gate->flight);
	if (j.verdict == SP_REFUSE_AND_KILL)
		sp_tracer_kill(gate->caller->process);
	refuse(gate, j.err);
}

/* Refuses without having been able to look: who, and that it was too late, is all that is known. */
static void refuse_unseen(struct sp_gate *gate, int err)
{
	struct sp_gatekeeper *k = gate->keeper;

	k->stats.deadlines++;
	if (gate->in == NULL)
		gate->in = sp_inspection_new();
	if (gate->in == NULL)
		return;
	sp_inspection_reset(gate->in);
	struct sp_judgement j = ask_owner(gate, err);
	refuse(gate, j.verdict != SP_GO_ON ? j.err : EAGAIN);
}

/* The others did not stop in time, or what the caller gave could not be read in time. */
static void on_too_late(struct sp_gate *gate)
{
	guard_gate(gate);

	refuse_unseen(gate, -ETIMEDOUT);
}

/* The kernel itself takes long, maybe for want of a task that we hold. What runs is verified, frozen or not. */
static void on_exec_too_late(struct sp_gate *gate)
{
	if (gate->unwatched) {
		(void)sp_tracer_interrupt(gate->keeper->tools.tracer, gate->caller); /* has it failed? */
		return;
	}
	gate->keeper->stats.deadlines++;
	thaw(gate);
}

static void tell(struct sp_gate *gate, enum sp_outcome outcome, int err, const char *detail)
{
	struct sp_gatekeeper *k = gate->keeper;
	uint64_t exec = gate->exec;

	gate->exec = 0;
	if (exec == 0)
		return;
	sp_state_conclude(k->tools.state, gate->flight, outcome, (uint32_t)err);
	k->ops->outcome(gate->caller, exec, outcome, err, detail, k->context);
	if (outcome == SP_OUTCOME_EXECED && gate->flight != 0) {
		const struct sp_state_program program = {.generation = gate->caller->process->generation,
							 .approval = gate->approval};

		sp_state_set_program(k->tools.state, gate->caller->process->record, &program);
	}
}

static void on_exec_stop(struct sp_gate *gate)
{
	guard_gate(gate);
	char detail[SP_PATH_MAX + 64];
	unsigned long stack = 0;
	long call, result;

	(void)sp_tracer_stack(gate->caller, &stack); /* /proc shows the words, too */
	if (gate->keeper->settings.without_verify ||
	    sp_verify(gate->in, gate->caller->process->tgid, stack, detail, sizeof detail)) {
		sp_kinds_ran(gate->keeper->tools.kinds, gate->in);
		tell(gate, SP_OUTCOME_EXECED, 0, NULL);
		return;
	}
	if (sp_tracer_syscall_result(gate->caller, &call, &result) != 0) {
		tell(gate, SP_OUTCOME_VANISHED, 0, NULL); /* killed while it was looked at: nothing could be seen */
		return;
	}
	gate->keeper->stats.mismatches++;
	sp_tracer_kill(gate->caller->process);
	tell(gate, SP_OUTCOME_MISMATCH, 0, detail);
}

static void on_stop(struct sp_gate *gate)
{
	guard_gate(gate);
	long call, result;

	if (sp_tracer_syscall_result(gate->caller, &call, &result) != 0)
		return; /* dying: its exit follows */
	if (gate->unwatched && (!sp_arch_is_exec(call) || result >= 0)) {
		tell(gate, SP_OUTCOME_FAILED, 0, NULL); /* and it has done other things since */
		return;
	}
	if (!sp_arch_is_exec(call) || result >= 0 || result <= -SP_ERESTARTSYS) {
		tell(gate, SP_OUTCOME_RESTARTED, 0, NULL);
		return;
	}
	if (result == -EINTR) {
		/* A file system gave up because of our interrupt. exec never does that to a program. */
		sp_tracer_restart_call(gate->caller);
		tell(gate, SP_OUTCOME_RESTARTED, 0, NULL);
		return;
	}
	tell(gate, SP_OUTCOME_FAILED, (int)-result, NULL);
}

static void on_gone(struct sp_gate *gate)
{
	guard_gate(gate);

	tell(gate, SP_OUTCOME_VANISHED, 0, NULL);
}

static void on_lost(struct sp_gate *gate)
{
	guard_gate(gate);

	gate->answered = true; /* there is nobody to answer: the call comes back under another id */
	tell(gate, gate->unwatched ? SP_OUTCOME_FAILED : SP_OUTCOME_RESTARTED, 0, NULL);
}

/* Begins anew, as if the notification had just come. */
static void look_again(struct sp_gate *gate, struct guard *guard)
{
	gate->in = sp_inspection_new();
	if (gate->in == NULL) {
		refuse(gate, ENOMEM);
		tell(gate, SP_OUTCOME_FAILED, ENOMEM, NULL);
		return;
	}
	sp_inspection_ask(gate->in, gate->asked);
	keep(guard, gate->state);
	begin(gate);
}

static void on_decided(struct sp_gate *gate)
{
	guard_gate(gate);

	if (gate->decision.verdict == SP_GO_ON) {
		look_again(gate, &guard);
		return;
	}
	gate->exec = 0; /* recorded already */
	if (gate->decision.verdict == SP_REFUSE_AND_KILL)
		sp_tracer_kill(gate->caller->process);
	refuse(gate, gate->decision.verdict != SP_LATER ? gate->decision.err : EAGAIN);
}

static void illegal(struct sp_gate *gate)
{
	gate->keeper->stats.illegal++;
	if (gate->state == FREE)
		return;
	guard_gate(gate);
}

static void release(struct sp_gate *gate)
{
	struct sp_gatekeeper *k = gate->keeper;

	disarm(gate);
	if (gate->request != NULL)
		sp_blocking_cancel(gate->request);
	gate->request = NULL;
	const bool refused = !gate->answered;
	if (refused)
		refuse(gate, EAGAIN);
	tell(gate, refused ? SP_OUTCOME_FAILED : SP_OUTCOME_VANISHED, refused ? EAGAIN : 0, NULL);
	sp_inspection_free(gate->asked);
	gate->asked = NULL;
	sp_state_remove_flight(k->tools.state, gate->flight);
	gate->flight = 0;
	if (gate->in != NULL)
		sp_inspection_reset(gate->in);
	gate->state = FREE;
	gate->caller->gate = NULL;
	give_back_gate(gate);
	thaw(gate);
}

/* --- deadlines --- */

static void on_deadline(uv_timer_t *timer)
{
	happen(timer->data, TOO_LATE);
}

static void arm(struct sp_gate *gate, unsigned deadline)
{
	if (!gate->has_timer) {
		(void)uv_timer_init(gate->keeper->tools.loop, &gate->deadline);
		gate->deadline.data = gate;
		gate->has_timer = true;
		gate->keeper->timers++;
	}
	(void)uv_timer_start(&gate->deadline, on_deadline, deadline, 0);
}

static void disarm(struct sp_gate *gate)
{
	sp_list_del(&gate->freezing);
	if (gate->has_timer)
		(void)uv_timer_stop(&gate->deadline);
}
