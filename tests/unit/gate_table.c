/* The gate's table, pair by pair: every state meets every event. Afterwards the gate is in the state of the table below, which
 * is written here a second time, and a gate that was released holds nothing: neither memory nor the job, no timer, no
 * thread, no caller. Who was not approved is never told to go on. Then 100,000 random events over gates that share memory.
 *
 * The gate is compiled into this file, among a tracer, a listener, an inspector and threads that only write down what they
 * are asked. */
#include <criterion/criterion.h>

#include "inspect/inspect.h"
#include "notify/listener.h"
#include "ptrace/arch.h"
#include "ptrace/tracer.h"
#include "util/blocking.h"

static int fake_answer(const struct sp_listener *listener, uint64_t id, int err);
static bool fake_is_stopped(const struct sp_task *task);
static int fake_interrupt(struct sp_tracer *tracer, struct sp_task *task);
static bool fake_sleeps_killably(const struct sp_task *task);
static void fake_release(struct sp_tracer *tracer, struct sp_task *task);
static void fake_kill(const struct sp_process *process);
static int fake_attach(const struct sp_tracer *tracer, struct sp_task *task);
static int fake_find_threads(struct sp_tracer *tracer, struct sp_process *process);
static bool fake_has_one_thread(const struct sp_process *process);
static int fake_syscall_result(const struct sp_task *task, long *call, long *result);
static int fake_stack(const struct sp_task *task, unsigned long *address);
static void fake_restart_call(const struct sp_task *task);
static void fake_ran(struct sp_kinds *kinds, const struct sp_inspection *in);
static int fake_inspect(struct sp_inspection *in, bool may_block, struct sp_filesystems *fs, struct sp_kinds *kinds);
static const char *fake_difference(const struct sp_inspection *before, const struct sp_inspection *after);
static bool fake_verify(const struct sp_inspection *in, pid_t tgid, uint64_t stack, char *detail, size_t size);
static struct sp_request *fake_run(struct sp_blocking *blocking, const struct sp_work *work);
static void fake_cancel(struct sp_request *request);

#define sp_listener_answer fake_answer
#define sp_tracer_is_stopped fake_is_stopped
#define sp_tracer_interrupt fake_interrupt
#define sp_tracer_sleeps_killably fake_sleeps_killably
#define sp_tracer_release fake_release
#define sp_tracer_kill fake_kill
#define sp_tracer_attach fake_attach
#define sp_tracer_find_threads fake_find_threads
#define sp_tracer_has_one_thread fake_has_one_thread
#define sp_tracer_syscall_result fake_syscall_result
#define sp_tracer_stack fake_stack
#define sp_tracer_restart_call fake_restart_call
#define sp_kinds_ran fake_ran
#define sp_inspect fake_inspect
#define sp_inspection_difference fake_difference
#define sp_verify fake_verify
#define sp_blocking_run fake_run
#define sp_blocking_cancel fake_cancel
#include "ptrace/gate.c"

/* --- the world around the gates --- */

enum { TASK_RUNS, TASK_STOPPED }; /* struct sp_task.state here */
enum { MAX_IDS = 200000, NOT_ANSWERED = -1, STACK = 4096 };

static struct world {
	uv_loop_t loop;
	struct sp_index *index;
	struct sp_list freezing, processes;
	struct sp_gatekeeper *keeper;
	pid_t next_tid;

	/* what the next question is answered with */
	int inspection, late_inspection; /* on the loop; by a thread */
	bool shared, same_user, has_run;
	struct sp_judgement judgement;
	bool says_yes_to_anything;
	bool changed; /* between what was shown and what is there when the answer comes */
	struct sp_judgement second; /* judge_again()'s */
	int attach, interrupt, sent, threads;
	bool verified;
	long call, result;
	bool no_thread;

	/* what was asked for */
	struct {
		int answer; /* the errno that reached the caller, 0: go on */
		bool approved;
	} ids[MAX_IDS];
	uint64_t last_id;
	struct sp_work work;
	bool working, cancelled, killed, restarted;
	unsigned outcomes;
	unsigned judged_again;
	enum sp_outcome outcome;
	int outcome_err;
} w;

static int fake_answer(const struct sp_listener *listener, uint64_t id, int err)
{
	(void)listener;
	cr_assert(id > 0 && id <= w.last_id);
	cr_assert(err > 0 || w.ids[id].approved, "an exec goes on that nobody has approved");
	if (w.sent != 0)
		return w.sent;
	cr_assert_eq(w.ids[id].answer, NOT_ANSWERED, "answered twice");
	w.ids[id].answer = err;
	return 0;
}

static bool fake_is_stopped(const struct sp_task *task)
{
	return task->state == TASK_STOPPED || task->vfork_child != NULL;
}

static int fake_interrupt(struct sp_tracer *tracer, struct sp_task *task)
{
	(void)tracer;
	task->interrupted = w.interrupt == 0;
	return w.interrupt;
}

static bool fake_sleeps_killably(const struct sp_task *task)
{
	return task->tid % 2 != 0;
}

static void fake_release(struct sp_tracer *tracer, struct sp_task *task)
{
	(void)tracer;
	if (!sp_gatekeeper_holds(w.keeper, task))
		task->state = TASK_RUNS;
}

static void fake_kill(const struct sp_process *process)
{
	(void)process;
	w.killed = true;
}

static int fake_attach(const struct sp_tracer *tracer, struct sp_task *task)
{
	(void)tracer;
	(void)task;
	return w.attach;
}

static int fake_find_threads(struct sp_tracer *tracer, struct sp_process *process)
{
	(void)tracer;
	(void)process;
	return w.threads;
}

static bool fake_has_one_thread(const struct sp_process *process)
{
	return process->task_count == 1;
}

static int fake_syscall_result(const struct sp_task *task, long *call, long *result)
{
	(void)task;
	*call = w.call;
	*result = w.result;
	return w.call != 0 ? 0 : -ESRCH;
}

static int fake_stack(const struct sp_task *task, unsigned long *address)
{
	(void)task;
	*address = STACK;
	return 0;
}

static void fake_ran(struct sp_kinds *kinds, const struct sp_inspection *in)
{
	(void)kinds;
	cr_assert(w.verified);
	cr_assert_not_null(in);
}

static void fake_restart_call(const struct sp_task *task)
{
	(void)task;
	w.restarted = true;
}

static int fake_inspect(struct sp_inspection *in, bool may_block, struct sp_filesystems *fs, struct sp_kinds *kinds)
{
	(void)fs;
	(void)kinds;
	in->shared = w.shared;
	in->same_user = w.same_user;
	in->has_run = w.has_run;
	return may_block ? w.late_inspection : w.inspection;
}

static const char *fake_difference(const struct sp_inspection *before, const struct sp_inspection *after)
{
	cr_assert(before != NULL && after != NULL && before != after);
	cr_assert_eq(before->tid, after->tid);
	cr_assert_eq(before->path_address, after->path_address);
	return w.changed ? "the arguments" : NULL;
}

static bool fake_verify(const struct sp_inspection *in, pid_t tgid, uint64_t stack, char *detail, size_t size)
{
	cr_assert_not_null(in);
	cr_assert_eq(in->tgid, tgid);
	cr_assert_eq(stack, (uint64_t)STACK);
	(void)snprintf(detail, size, "other");
	return w.verified;
}

/* One thread is all there is. */
static struct sp_request *fake_run(struct sp_blocking *blocking, const struct sp_work *work)
{
	(void)blocking;
	if (w.working || w.no_thread)
		return NULL;
	w.work = *work;
	w.working = true;
	w.cancelled = false;
	return (struct sp_request *)&w.work;
}

static void fake_cancel(struct sp_request *request)
{
	cr_assert_eq((void *)request, (void *)&w.work);
	cr_assert(w.working && !w.cancelled);
	w.cancelled = true;
}

/* The thread returns. */
static void finish_work(void)
{
	cr_assert(w.working);
	w.working = false;
	w.work.run(w.work.arg);
	if (w.cancelled)
		w.work.discard(w.work.arg);
	else
		w.work.done(w.work.arg, true);
}

static void let_work_be_late(void)
{
	const struct sp_work work = w.work;

	cr_assert(w.working && !w.cancelled);
	work.done(work.arg, false);
	w.working = false;
	work.run(work.arg);
	work.discard(work.arg);
}

static struct sp_judgement fake_judge(struct sp_task *caller, const struct sp_inspection *in, int err, void *context)
{
	struct sp_judgement j = w.judgement;

	(void)context;
	cr_assert_not_null(in);
	cr_assert_not_null(caller->gate);
	if (err == 0 && j.verdict == SP_GO_ON)
		w.ids[caller->gate->id].approved = true;
	if (err != 0 && j.verdict == SP_GO_ON && !w.says_yes_to_anything)
		j = (struct sp_judgement){.verdict = SP_REFUSE, .err = -err};
	return j;
}

static struct sp_judgement fake_judge_again(struct sp_task *caller, const struct sp_inspection *in, int err,
					    const char *changed, const struct sp_judgement *decision, void *context)
{
	(void)context;
	cr_assert_not_null(in);
	cr_assert_eq(decision->verdict, SP_GO_ON);
	cr_assert_neq(decision->exec, 0);
	cr_assert_eq(caller->gate->exec, decision->exec);
	w.judged_again++;
	if (err == 0 && changed == NULL && w.second.verdict == SP_GO_ON)
		w.ids[caller->gate->id].approved = true;
	if (w.second.verdict == SP_GO_ON && !w.says_yes_to_anything && (err != 0 || changed != NULL))
		return (struct sp_judgement){.verdict = SP_REFUSE, .err = err != 0 ? -err : EACCES};
	return w.second;
}

static void fake_outcome(struct sp_task *caller, uint64_t exec, enum sp_outcome outcome, int err, const char *detail,
			 void *context)
{
	(void)caller;
	(void)detail;
	(void)context;
	cr_assert_neq(exec, 0);
	w.outcomes++;
	w.outcome = outcome;
	w.outcome_err = err;
}

static const struct sp_gate_ops recording = {fake_judge, fake_judge_again, fake_outcome};

static void expect_the_usual(void)
{
	w.inspection = w.late_inspection = 0;
	w.shared = w.no_thread = w.has_run = false;
	w.same_user = true;
	w.judgement = w.second = (struct sp_judgement){.verdict = SP_GO_ON, .exec = 1};
	w.changed = false;
	w.attach = w.interrupt = w.sent = w.threads = 0;
	w.verified = true;
	w.call = SYS_execve;
	w.result = -ENOENT;
}

static void open_world(bool replies_survive)
{
	memset(&w, 0, sizeof w);
	w.next_tid = 100;
	sp_list_init(&w.freezing);
	sp_list_init(&w.processes);
	cr_assert_eq(uv_loop_init(&w.loop), 0);
	w.index = sp_index_new();
	cr_assert_not_null(w.index);
	const struct sp_gate_tools tools = {
		.freezing = &w.freezing, .loop = &w.loop, .index = w.index, .replies_survive = replies_survive};
	const struct sp_gate_settings settings = {
		.freeze_deadline = 1000, .read_deadline = 1000, .exec_deadline = 1000};
	w.keeper = sp_gatekeeper_new(&tools, &settings, &w.processes, &recording, NULL);
	cr_assert_not_null(w.keeper);
	expect_the_usual();
}

static void close_world(void)
{
	sp_gatekeeper_close(w.keeper);
	if (w.working)
		finish_work();
	cr_assert_eq(uv_run(&w.loop, UV_RUN_DEFAULT), 0, "a gate's timer is left");
	cr_assert_eq(uv_loop_close(&w.loop), 0);
	sp_index_free(w.index);
}

/* A process of one task; share: whose memory it has, NULL: its own. */
static struct sp_task *add_process(struct sp_task *share)
{
	struct sp_task *task = sp_index_add(w.index, w.next_tid++);

	cr_assert_not_null(task);
	cr_assert_eq(sp_index_place(w.index, task, NULL, NULL, NULL, 1, share), 0);
	sp_list_add(&w.processes, &task->process->job_link);
	return task;
}

static struct sp_task *add_thread(struct sp_task *leader)
{
	struct sp_task *task = sp_index_add(w.index, w.next_tid++);

	cr_assert_not_null(task);
	cr_assert_eq(sp_index_place(w.index, task, leader->process, NULL, NULL, 0, leader), 0);
	return task;
}

static void notify(struct sp_task *caller)
{
	const struct seccomp_notif n = {.id = ++w.last_id,
					.pid = (__u32)caller->tid,
					.data = {.nr = w.last_id % 2 != 0 ? SYS_execve : SYS_execveat}};

	cr_assert_lt(w.last_id, MAX_IDS);
	w.ids[w.last_id].answer = NOT_ANSWERED;
	sp_gatekeeper_notified(w.keeper, caller, &n);
}

/* --- the second copy of the table --- */

enum { NEXT = 0x0f, ILLEGAL = 0x10 };

/* clang-format off */
static const unsigned char next_state[STATES][EVENTS] = {
	/*             FROZEN          READ            TOO_LATE        EXEC_STOP       STOP            GONE            AGAIN           DECIDED */
	[FREE]      = {FREE | ILLEGAL, FREE | ILLEGAL, FREE | ILLEGAL, FREE | ILLEGAL, FREE | ILLEGAL, FREE | ILLEGAL, FREE | ILLEGAL, FREE | ILLEGAL},
	[FREEZING]  = {CONTINUED,      FREE | ILLEGAL, FREE,           FREE | ILLEGAL, FREE,           FREE,           FREE,           FREE | ILLEGAL},
	[READING]   = {FREE | ILLEGAL, CONTINUED,      FREE,           FREE | ILLEGAL, FREE,           FREE,           FREE,           FREE | ILLEGAL},
	[CONTINUED] = {FREE | ILLEGAL, FREE | ILLEGAL, CONTINUED,      FREE,           FREE,           FREE,           FREE,           FREE | ILLEGAL},
	[ASKED]     = {FREE | ILLEGAL, FREE | ILLEGAL, FREE | ILLEGAL, FREE | ILLEGAL, FREE,           FREE,           FREE,           FREEZING},
};

/* What has reached the caller afterwards. A call that comes back under another id has nobody to be answered. */
static const int answers[STATES][EVENTS] = {
	/*             FROZEN  READ    TOO_LATE   EXEC_STOP  STOP          GONE    AGAIN         DECIDED */
	[FREE]      = {EACCES, EACCES, EACCES,    EACCES,    EACCES,       EACCES, EACCES,       EACCES},
	[FREEZING]  = {0,      EAGAIN, ETIMEDOUT, EAGAIN,    NOT_ANSWERED, EAGAIN, NOT_ANSWERED, EAGAIN},
	[READING]   = {EAGAIN, 0,      ETIMEDOUT, EAGAIN,    NOT_ANSWERED, EAGAIN, NOT_ANSWERED, EAGAIN},
	[CONTINUED] = {0,      0,      0,         0,         0,            0,      0,            0},
	[ASKED]     = {EAGAIN, EAGAIN, EAGAIN,    EAGAIN,    NOT_ANSWERED, EAGAIN, NOT_ANSWERED, NOT_ANSWERED},
};

enum { NOTHING_TOLD = 100 };
static const int outcomes[STATES][EVENTS] = { /* of an exec that went on, or was asked about */
	[CONTINUED] = {
		[FROZEN] = SP_OUTCOME_VANISHED, [READ] = SP_OUTCOME_VANISHED, [TOO_LATE] = NOTHING_TOLD,
		[EXEC_STOP] = SP_OUTCOME_EXECED, [STOP] = SP_OUTCOME_FAILED, [GONE] = SP_OUTCOME_VANISHED,
		[AGAIN] = SP_OUTCOME_RESTARTED, [DECIDED] = SP_OUTCOME_VANISHED,
	},
	[ASKED] = {
		[FROZEN] = SP_OUTCOME_FAILED, [READ] = SP_OUTCOME_FAILED, [TOO_LATE] = SP_OUTCOME_FAILED,
		[EXEC_STOP] = SP_OUTCOME_FAILED, [STOP] = SP_OUTCOME_RESTARTED, [GONE] = SP_OUTCOME_VANISHED,
		[AGAIN] = SP_OUTCOME_RESTARTED, [DECIDED] = NOTHING_TOLD,
	},
};
/* clang-format on */

static const char *const event_names[EVENTS] = {
	[FROZEN] = "frozen", [READ] = "read", [TOO_LATE] = "too late", [EXEC_STOP] = "exec stop",
	[STOP] = "stop",     [GONE] = "gone", [AGAIN] = "again",       [DECIDED] = "decided",
};

/* A gate and who is around it. */
struct scene {
	struct sp_gate *gate;
	struct sp_task *caller, *sibling, *stranger; /* sibling shares the memory, stranger only the job */
	bool wide;
};

static void make_free(struct scene *c)
{
	w.judgement = (struct sp_judgement){.verdict = SP_REFUSE, .err = EACCES};
	notify(c->caller);
	c->sibling->state = TASK_STOPPED;
	sp_gatekeeper_stopped(w.keeper, c->sibling);
	fake_release(NULL, c->sibling);
	expect_the_usual();
	c->gate = sp_container_of(w.keeper->pool.next, struct sp_gate, link);
}

static void stop_sibling(const struct scene *c)
{
	c->sibling->state = TASK_STOPPED;
	sp_gatekeeper_stopped(w.keeper, c->sibling);
	fake_release(NULL, c->sibling);
}

static void make_freezing(struct scene *c)
{
	notify(c->caller);
	c->gate = c->caller->gate;
	if (!c->wide)
		return;
	w.shared = true;
	stop_sibling(c); /* what is read lies in a shared mapping: now the stranger is waited for */
}

static void stop_others(struct scene *c)
{
	stop_sibling(c);
	if (!c->wide)
		return;
	c->stranger->state = TASK_STOPPED;
	sp_gatekeeper_stopped(w.keeper, c->stranger);
}

static void make_reading(struct scene *c)
{
	make_freezing(c);
	w.inspection = -EAGAIN;
	stop_others(c);
}

static void make_continued(struct scene *c)
{
	make_freezing(c);
	stop_others(c);
}

static void make_asked(struct scene *c)
{
	w.judgement.verdict = SP_LATER;
	make_freezing(c);
	stop_others(c);
	expect_the_usual();
}

static void (*const makers[STATES])(struct scene *c) = {[FREE] = make_free,
							[FREEZING] = make_freezing,
							[READING] = make_reading,
							[CONTINUED] = make_continued,
							[ASKED] = make_asked};

static void cause(struct scene *c, enum state state, enum event event)
{
	if (state == FREEZING && event == FROZEN)
		stop_others(c); /* the last of them */
	else if (state == READING && event == READ)
		finish_work();
	else if (state == ASKED && event == DECIDED)
		cr_assert_eq(sp_gatekeeper_decided(w.keeper, &w.judgement), 0);
	else if (state == ASKED && event == TOO_LATE)
		happen(c->gate, event); /* it has no timer */
	else if (state == READING && event == TOO_LATE)
		let_work_be_late();
	else if (state != FREE && event == TOO_LATE)
		on_deadline(&c->gate->deadline);
	else
		happen(c->gate, event);
}

static unsigned length(const struct sp_list *list)
{
	unsigned count = 0;

	for (const struct sp_list *at = list->next; at != list; at = at->next)
		count++;
	return count;
}

static bool is_ticking(const struct sp_gate *gate)
{
	return gate->has_timer && uv_is_active((const uv_handle_t *)&gate->deadline);
}

static void check_released(const struct scene *c)
{
	const struct sp_gate *gate = c->gate;

	cr_assert_eq(length(&w.keeper->pool), 1);
	cr_assert_eq(length(&w.keeper->active), 0);
	cr_assert_eq(sp_gatekeeper_active(w.keeper), 0);
	cr_assert_null(c->caller->gate);
	cr_assert_null(gate->request);
	cr_assert_null(gate->asked);
	cr_assert_null(gate->held);
	cr_assert_not(gate->wide);
	cr_assert_eq(gate->exec, 0);
	cr_assert(sp_list_empty(&w.freezing));
	cr_assert_not(is_ticking(gate));
	cr_assert(!w.working || w.cancelled, "a thread works for a gate that is free");
}

static void check_nobody_is_held(const struct scene *c)
{
	cr_assert_eq(c->caller->mm->holds, 0);
	cr_assert_eq(w.keeper->wide_holds, 0);
	cr_assert_eq(c->sibling->state, TASK_RUNS);
	cr_assert_eq(c->stranger->state, TASK_RUNS);
}

static void check_pair(enum state state, enum event event, bool wide)
{
	struct scene c = {.wide = wide};
	char name[64];

	open_world(wide);
	c.caller = add_process(NULL);
	c.sibling = wide ? add_process(c.caller) : add_thread(c.caller);
	c.stranger = add_process(NULL);
	makers[state](&c);
	(void)snprintf(name, sizeof name, "%s + %s%s", sp_gate_state_name(c.gate), event_names[event],
		       wide ? ", whole job" : "");
	cr_assert_eq(c.gate->state, state, "%s", name);
	cr_assert_eq(w.keeper->wide_holds, wide && state != FREE && state != ASKED, "%s", name);
	if (state == ASKED) {
		check_nobody_is_held(&c);
		cr_assert_not(is_ticking(c.gate), "%s: a person is not to be hurried by the gate", name);
	}
	const unsigned told = w.outcomes;
	cause(&c, state, event);

	const unsigned wanted = next_state[state][event];
	cr_assert_eq(c.gate->state, wanted & NEXT, "%s: now %s", name, sp_gate_state_name(c.gate));
	cr_assert_eq(w.keeper->stats.illegal, (wanted & ILLEGAL) != 0, "%s: counted as illegal?", name);
	cr_assert_eq(w.ids[1].answer, answers[state][event], "%s: answered %d", name, w.ids[1].answer);
	const bool tells = (state == CONTINUED || state == ASKED) && outcomes[state][event] != NOTHING_TOLD;
	cr_assert_eq(w.outcomes - told, tells, "%s: %u outcomes", name, w.outcomes - told);
	cr_assert(!tells || (int)w.outcome == outcomes[state][event], "%s: outcome %d", name, (int)w.outcome);
	if ((wanted & NEXT) == FREE)
		check_released(&c);
	if ((wanted & NEXT) == FREE || (state == CONTINUED && event == TOO_LATE))
		check_nobody_is_held(&c);
	else
		cr_assert(is_ticking(c.gate), "%s: nobody watches the time", name);
	if (state == READING && w.working)
		finish_work();
	close_world();
}

static void check_all_pairs(bool wide)
{
	for (enum state state = 0; state < STATES; state++)
		for (enum event event = 0; event < EVENTS; event++)
			check_pair(state, event, wide);
}

Test(gate_table, every_pair)
{
	check_all_pairs(false);
}

Test(gate_table, every_pair_with_the_whole_job_stopped)
{
	check_all_pairs(true);
}

/* --- how an exec can end that went on --- */

static const struct {
	const char *name;
	long call, result;
	enum sp_outcome outcome;
	int err;
	bool restarted; /* by us */
} ends[] = {
	{"the kernel's errno", SYS_execve, -ENOENT, SP_OUTCOME_FAILED, ENOENT, false},
	{"the kernel's errno of execveat", SYS_execveat, -ENOEXEC, SP_OUTCOME_FAILED, ENOEXEC, false},
	{"interrupted by us", SYS_execve, -EINTR, SP_OUTCOME_RESTARTED, 0, true},
	{"comes back by itself", SYS_execve, -SP_ERESTARTNOINTR, SP_OUTCOME_RESTARTED, 0, false},
	{"in another call", SYS_getpid, -ENOENT, SP_OUTCOME_RESTARTED, 0, false},
	{"dying", 0, 0, SP_OUTCOME_VANISHED, 0, false},
};

Test(gate_table, every_end_of_an_exec_that_went_on)
{
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
		open_world(true);
		struct sp_task *caller = add_process(NULL);
		notify(caller);
		cr_assert_eq(caller->gate->state, CONTINUED);
		w.call = ends[i].call;
		w.result = ends[i].result;
		sp_gatekeeper_stopped(w.keeper, caller);
		cr_assert_null(caller->gate, "%s", ends[i].name);
		cr_assert_eq(w.outcomes, 1, "%s", ends[i].name);
		cr_assert_eq(w.outcome, ends[i].outcome, "%s: %d", ends[i].name, (int)w.outcome);
		cr_assert_eq(w.outcome_err, ends[i].err, "%s", ends[i].name);
		cr_assert_eq(w.restarted, ends[i].restarted, "%s", ends[i].name);
		close_world();
	}
}

/* A program that has run before: nobody is woken for it but by the answer, and what is not seen is not made up. */
Test(gate_table, an_exec_that_is_not_asked_to_stop)
{
	enum end { AT_ITS_EXEC, ELSEWHERE, AGAIN_AT_ONCE, TOO_LONG };

	for (int end = AT_ITS_EXEC; end <= TOO_LONG; end++) {
		open_world(true);
		struct sp_task *caller = add_process(NULL);
		caller->traced = w.has_run = true;
		notify(caller);
		cr_assert_eq(w.ids[1].answer, 0);
		cr_assert_not(caller->interrupted);
		cr_assert_not(sp_gate_is_frozen(caller), "it can get back to its program without a stop");
		w.call = end == AT_ITS_EXEC ? SYS_execve : SYS_wait4;
		if (end == TOO_LONG) {
			on_deadline(&caller->gate->deadline);
			cr_assert(caller->interrupted);
		}
		if (end == AGAIN_AT_ONCE)
			notify(caller);
		else
			sp_gatekeeper_stopped(w.keeper, caller);
		cr_assert_eq(w.outcomes, 1, "%d", end);
		cr_assert_eq(w.outcome, SP_OUTCOME_FAILED, "%d", end);
		cr_assert_eq(w.outcome_err, end == AT_ITS_EXEC ? ENOENT : 0, "%d", end);
		close_world();
	}
}

Test(gate_table, who_is_always_asked_to_stop)
{
	open_world(true);
	struct sp_task *caller = add_process(NULL), *sibling = add_thread(caller);
	caller->traced = sibling->traced = w.has_run = true;
	sibling->state = TASK_STOPPED;
	notify(caller);
	cr_assert(caller->interrupted, "others wait for the end of its exec");
	close_world();

	open_world(true);
	caller = add_process(NULL);
	caller->traced = w.has_run = caller->process->one_shot = true;
	notify(caller);
	cr_assert(caller->interrupted, "it must be let go of");
	close_world();
}

Test(gate_table, something_else_runs)
{
	open_world(true);
	struct sp_task *caller = add_process(NULL);
	notify(caller);
	w.verified = false;
	sp_gatekeeper_exec_stop(w.keeper, caller);
	cr_assert(w.killed);
	cr_assert_eq(w.outcome, SP_OUTCOME_MISMATCH);
	cr_assert_eq(sp_gatekeeper_stats(w.keeper).mismatches, 1);
	close_world();
}

/* --- what is decided later --- */

/* A caller whose thread shares its memory, asked about under key 1. */
static struct sp_task *ask_about(struct sp_task **sibling)
{
	struct sp_task *caller;

	open_world(true);
	caller = add_process(NULL);
	*sibling = add_thread(caller);
	w.judgement.verdict = SP_LATER;
	notify(caller);
	(*sibling)->state = TASK_STOPPED;
	sp_gatekeeper_stopped(w.keeper, *sibling);
	fake_release(NULL, *sibling);
	cr_assert_eq(caller->gate->state, ASKED);
	cr_assert_eq((*sibling)->state, TASK_RUNS, "nobody waits but the caller");
	cr_assert_eq(sp_gatekeeper_asked(w.keeper, 1), caller->gate->asked);
	expect_the_usual();
	return caller;
}

static int decide(enum sp_verdict verdict, int err)
{
	return sp_gatekeeper_decided(w.keeper, &(struct sp_judgement){.verdict = verdict, .err = err, .exec = 1});
}

static void freeze_again(struct sp_task *sibling)
{
	sibling->state = TASK_STOPPED;
	sp_gatekeeper_stopped(w.keeper, sibling);
}

/* The owner's mind has changed while a thread was reading: what it wants to see by now is read before it is asked. */
Test(gate_table, wants_the_environment_that_was_not_read)
{
	open_world(true);
	struct sp_task *caller = add_process(NULL);
	const struct seccomp_notif n = {
		.id = ++w.last_id, .pid = (__u32)caller->tid, .data = {.nr = SYS_execve, .args = {1, 2, 77}}};

	w.ids[w.last_id].answer = NOT_ANSWERED;
	w.inspection = -EAGAIN;
	sp_gatekeeper_notified(w.keeper, caller, &n);
	cr_assert_eq(caller->gate->state, READING);
	sp_gatekeeper_want_env(w.keeper, true);
	w.inspection = 0;
	finish_work();
	cr_assert_eq(caller->gate->state, CONTINUED);
	cr_assert_eq(caller->gate->in->envp_address, 77);
	sp_gatekeeper_exec_stop(w.keeper, caller);
	close_world();
}

Test(gate_table, approved_later_and_unchanged)
{
	struct sp_task *sibling, *caller = ask_about(&sibling);

	cr_assert_eq(decide(SP_GO_ON, 0), 0);
	cr_assert_eq(caller->gate->state, FREEZING, "as from the beginning");
	cr_assert_eq(w.ids[1].answer, NOT_ANSWERED);
	cr_assert_eq(decide(SP_GO_ON, 0), -ENOENT, "a second answer");
	w.second.exec = 7;
	freeze_again(sibling);
	cr_assert_eq(caller->gate->state, CONTINUED);
	cr_assert_eq(w.judged_again, 1);
	cr_assert_eq(caller->gate->exec, 7);
	cr_assert_eq(w.ids[1].answer, 0);
	sp_gatekeeper_exec_stop(w.keeper, caller);
	cr_assert_eq(w.outcomes, 1);
	cr_assert_eq(w.outcome, SP_OUTCOME_EXECED);
	cr_assert_null(caller->gate);
	cr_assert_eq(caller->mm->holds, 0);
	close_world();
}

static const struct {
	const char *name;
	bool changed, owner_does_not_care;
	int inspection;
	struct sp_judgement second;
	int answer;
} second_looks[] = {
	{"changed", true, false, 0, {SP_GO_ON, 0, 1}, EACCES},
	{"changed, and the owner lets it pass", true, true, 0, {SP_GO_ON, 0, 1}, EACCES},
	{"cannot be read any more", false, false, -EFAULT, {SP_GO_ON, 0, 1}, EFAULT},
	{"refused after all", false, false, 0, {SP_REFUSE, EPERM, 1}, EPERM},
	{"refused after all, and killed", false, false, 0, {SP_REFUSE_AND_KILL, EPERM, 1}, EPERM},
	{"put off again", false, false, 0, {SP_LATER, 0, 1}, EACCES},
};

Test(gate_table, approved_later_but)
{
	for (size_t i = 0; i < sizeof second_looks / sizeof *second_looks; i++) {
		struct sp_task *sibling, *caller = ask_about(&sibling);

		w.changed = second_looks[i].changed;
		w.says_yes_to_anything = second_looks[i].owner_does_not_care;
		w.inspection = second_looks[i].inspection;
		w.second = second_looks[i].second;
		cr_assert_eq(decide(SP_GO_ON, 0), 0);
		if (caller->gate != NULL) /* what fails anyway needs no freeze */
			freeze_again(sibling);
		cr_assert_null(caller->gate, "%s", second_looks[i].name);
		cr_assert_eq(w.judged_again, 1, "%s", second_looks[i].name);
		cr_assert_eq(w.ids[1].answer, second_looks[i].answer, "%s: %d", second_looks[i].name, w.ids[1].answer);
		cr_assert_eq(w.outcomes, 0, "%s: the owner knows", second_looks[i].name);
		cr_assert_eq(w.killed, second_looks[i].second.verdict == SP_REFUSE_AND_KILL, "%s",
			     second_looks[i].name);
		cr_assert_eq(caller->mm->holds, 0);
		close_world();
	}
}

/* The control of "changed". */
Test(gate_table, approved_later_and_changed_without_the_comparison)
{
	struct sp_task *sibling, *caller = ask_about(&sibling);

	w.keeper->settings.without_comparison = true;
	w.changed = true;
	cr_assert_eq(decide(SP_GO_ON, 0), 0);
	freeze_again(sibling);
	cr_assert_eq(caller->gate->state, CONTINUED);
	close_world();
}

/* A signal: the call is interrupted, and nobody may take it for approved or answer it again. */
Test(gate_table, called_again_while_it_waits)
{
	struct sp_task *sibling, *caller = ask_about(&sibling);
	const uint64_t exec = caller->gate->exec;

	sp_gatekeeper_call_again(w.keeper, exec + 1);
	cr_assert_eq(caller->gate->state, ASKED, "another one's");
	sp_gatekeeper_call_again(w.keeper, exec);
	cr_assert_null(caller->gate);
	cr_assert_eq(w.ids[1].answer, SP_ERESTARTNOINTR);
	cr_assert_eq(w.outcome, SP_OUTCOME_RESTARTED);
	cr_assert(caller->interrupted);
	cr_assert_eq(decide(SP_GO_ON, 0), -ENOENT);
	cr_assert_eq(caller->mm->holds, 0);
	close_world();
}

Test(gate_table, refused_later)
{
	struct sp_task *sibling, *caller = ask_about(&sibling);

	cr_assert_eq(decide(SP_REFUSE, ENOENT), 0);
	cr_assert_null(caller->gate);
	cr_assert_eq(w.ids[1].answer, ENOENT);
	cr_assert_eq(w.outcomes, 0);
	cr_assert_not(w.killed);
	cr_assert_eq(decide(SP_REFUSE, ENOENT), -ENOENT, "a second answer");
	close_world();

	caller = ask_about(&sibling);
	cr_assert_eq(decide(SP_REFUSE_AND_KILL, EPERM), 0);
	cr_assert_null(caller->gate);
	cr_assert(w.killed);
	close_world();
}

Test(gate_table, dies_while_what_was_approved_is_read_again)
{
	struct sp_task *sibling, *caller = ask_about(&sibling);

	cr_assert_eq(decide(SP_GO_ON, 0), 0);
	sp_gatekeeper_gone(w.keeper, caller);
	cr_assert_eq(w.judged_again, 0);
	cr_assert_eq(w.outcomes, 1);
	cr_assert_eq(w.outcome, SP_OUTCOME_VANISHED);
	cr_assert_eq(decide(SP_GO_ON, 0), -ENOENT, "an answer that is too late");
	close_world();
}

/* What could not be looked at cannot be asked about, and a question needs a name. */
Test(gate_table, no_question_without_a_look)
{
	open_world(true);
	struct sp_task *caller = add_process(NULL);
	w.inspection = -ENOENT;
	w.judgement.verdict = SP_LATER;
	notify(caller);
	cr_assert_null(caller->gate);
	cr_assert_gt(w.ids[1].answer, 0);
	w.inspection = 0;
	w.judgement.exec = 0;
	notify(caller);
	cr_assert_null(caller->gate);
	cr_assert_gt(w.ids[2].answer, 0);
	close_world();
}

/* --- refusals --- */

static void check_refused(const char *what, int err)
{
	struct sp_task *caller = add_process(NULL), *sibling = add_thread(caller);

	caller->process->one_shot = true;
	notify(caller);
	sibling->state = TASK_STOPPED;
	sp_gatekeeper_stopped(w.keeper, sibling);
	cr_assert_null(caller->gate, "%s", what);
	cr_assert_eq(w.ids[w.last_id].answer, err, "%s: %d", what, w.ids[w.last_id].answer);
	cr_assert_eq(caller->mm->holds, 0);
	close_world();
}

Test(gate_table, what_is_never_let_go_on)
{
	open_world(true);
	w.judgement = (struct sp_judgement){.verdict = SP_REFUSE, .err = EACCES};
	check_refused("denied", EACCES);

	open_world(true);
	w.judgement = (struct sp_judgement){.verdict = SP_REFUSE_AND_KILL, .err = EPERM};
	check_refused("denied and killed", EPERM);

	open_world(true);
	w.interrupt = -EPERM;
	check_refused("somebody who shares the memory cannot be stopped", EPERM);

	open_world(true);
	w.attach = -EPERM;
	check_refused("the caller cannot be traced", EPERM);

	open_world(true);
	w.inspection = -ENOENT;
	check_refused("fails anyway", ENOENT);

	open_world(true);
	w.threads = -ENOMEM;
	check_refused("threads cannot be found", EPERM);
}

/* A thread has the tid of somebody whose end has not been told: nobody goes on before it is in the index and stopped. */
Test(gate_table, waits_for_a_former_users_end)
{
	open_world(true);
	struct sp_task *caller = add_process(NULL), *sibling = add_thread(caller);
	caller->process->one_shot = true;
	w.threads = -EINPROGRESS;
	notify(caller);
	sibling->state = TASK_STOPPED;
	sp_gatekeeper_stopped(w.keeper, sibling);
	cr_assert_not_null(caller->gate);
	cr_assert_eq(caller->gate->state, FREEZING);
	sp_gates_look_again(&w.freezing);
	cr_assert_eq(caller->gate->state, FREEZING);
	w.threads = 0;
	sp_gates_look_again(&w.freezing);
	cr_assert_eq(caller->gate->state, CONTINUED);
	close_world();
}

Test(gate_table, no_thread_to_read_with)
{
	open_world(true);
	struct sp_task *caller = add_process(NULL);
	w.inspection = -EAGAIN;
	w.no_thread = true;
	notify(caller);
	cr_assert_null(caller->gate);
	cr_assert_eq(w.ids[1].answer, EAGAIN);
	close_world();
}

/* The owner may say yes only to what it could see. */
Test(gate_table, yes_to_what_nobody_saw)
{
	open_world(true);
	struct sp_task *caller = add_process(NULL);
	(void)add_thread(caller);
	w.says_yes_to_anything = true;
	notify(caller);
	on_deadline(&caller->gate->deadline);
	cr_assert_null(caller->gate);
	cr_assert_gt(w.ids[1].answer, 0);
	cr_assert_eq(sp_gatekeeper_stats(w.keeper).deadlines, 1);
	close_world();
}

/* --- 100,000 random events over gates that share memory --- */

enum { STEPS = 100000, TASKS = 12 };

static const unsigned SEED = 20261122;
static struct sp_task *tasks[TASKS];

static unsigned throw_dice(unsigned sides)
{
	static unsigned state = SEED;

	state = state * 1664525u + 1013904223u;
	return (state >> 8) % sides;
}

static void expect_anything(void)
{
	static const int inspections[] = {0, 0, 0, 0, -EAGAIN, -EAGAIN, -ENOENT, -EACCES};
	static const long results[] = {-ENOENT, -EINTR, -SP_ERESTARTSYS, -SP_ERESTARTNOINTR, -EACCES};

	expect_the_usual();
	w.inspection = inspections[throw_dice(8)];
	w.late_inspection = throw_dice(4) != 0 ? 0 : -ENOENT;
	w.shared = throw_dice(8) == 0;
	w.same_user = throw_dice(2) != 0;
	w.has_run = throw_dice(2) != 0;
	w.judgement.verdict = throw_dice(3) == 0 ? SP_REFUSE + throw_dice(2) : SP_GO_ON;
	w.judgement.err = w.judgement.verdict == SP_GO_ON ? 0 : EACCES;
	w.judgement.exec = throw_dice(8) != 0 ? w.last_id + 2 : 0; /* a key of its own */
	if (throw_dice(4) == 0)
		w.judgement.verdict = SP_LATER;
	w.changed = throw_dice(4) == 0;
	w.second.verdict = throw_dice(4) == 0 ? SP_REFUSE : SP_GO_ON;
	w.second.err = w.second.verdict == SP_GO_ON ? 0 : EPERM;
	w.second.exec = w.judgement.exec;
	w.attach = throw_dice(16) == 0 ? -EPERM : 0;
	w.interrupt = throw_dice(16) == 0 ? -EPERM : 0;
	w.threads = throw_dice(16) == 0 ? -EINPROGRESS : throw_dice(64) == 0 ? -EAGAIN : 0;
	w.sent = throw_dice(16) == 0 ? -ENOENT : 0;
	w.verified = throw_dice(8) != 0;
	w.call = throw_dice(8) != 0 ? SYS_execve : 0;
	w.result = results[throw_dice(5)];
	w.no_thread = throw_dice(8) == 0;
}

static struct sp_task *any_task(void)
{
	return tasks[throw_dice(TASKS)];
}

/* As the tracer does it. */
static void stop_task(struct sp_task *task)
{
	task->interrupted = false;
	task->state = TASK_STOPPED;
	sp_gatekeeper_stopped(w.keeper, task);
	fake_release(NULL, task);
}

static void remove_task(struct sp_task *task)
{
	sp_gatekeeper_gone(w.keeper, task);
	cr_assert_null(task->gate, "a gate of a dead task");
	struct sp_process *process = sp_index_remove(w.index, task);
	if (process != NULL)
		sp_index_free_process(w.index, process);
}

static void replace(unsigned at)
{
	struct sp_task *other = tasks[(at + 1 + throw_dice(TASKS - 1)) % TASKS];

	if (throw_dice(3) == 0) {
		tasks[at] = add_thread(other);
		return;
	}
	const bool shares = throw_dice(2) != 0;
	tasks[at] = add_process(shares ? other : NULL);
	tasks[at]->process->one_shot = throw_dice(2) != 0;
	if (shares && other->vfork_child == NULL && other->gate == NULL && throw_dice(2) != 0) {
		tasks[at]->vfork_parent = other;
		other->vfork_child = tasks[at];
	}
}

static void random_death(void)
{
	const unsigned at = throw_dice(TASKS);

	remove_task(tasks[at]);
	replace(at);
}

static void random_notification(void)
{
	struct sp_task *task = any_task();

	if (task->state == TASK_RUNS && task->vfork_child == NULL)
		notify(task);
}

static void random_stop(void)
{
	struct sp_task *task = any_task();

	if (task->state == TASK_RUNS && task->vfork_child == NULL)
		stop_task(task);
}

static void random_asked_stop(void)
{
	for (unsigned i = 0; i < TASKS; i++)
		if (tasks[i]->interrupted && tasks[i]->gate == NULL && tasks[i]->vfork_child == NULL)
			stop_task(tasks[i]);
}

static void end_vfork(struct sp_task *child)
{
	if (child->vfork_parent == NULL)
		return;
	child->vfork_parent->vfork_child = NULL;
	child->vfork_parent = NULL;
}

static void random_exec(void)
{
	struct sp_task *task = any_task();

	if (task->gate == NULL || task->gate->state != CONTINUED || task->process->task_count > 1)
		return;
	end_vfork(task);
	task->state = TASK_STOPPED;
	sp_gatekeeper_exec_stop(w.keeper, task);
	if (task->mm->task_count > 1)
		cr_assert_eq(sp_index_new_mm(w.index, task), 0);
	fake_release(NULL, task);
}

static void random_deadline(void)
{
	const struct sp_task *task = any_task();

	if (task->gate != NULL && is_ticking(task->gate)) {
		(void)uv_timer_stop(&task->gate->deadline);
		on_deadline(&task->gate->deadline);
	}
}

static void random_reading(void)
{
	if (!w.working)
		return;
	if (w.cancelled || throw_dice(4) != 0)
		finish_work();
	else
		let_work_be_late();
}

static void random_decision(void)
{
	const struct sp_task *task = any_task();

	if (task->gate == NULL || task->gate->state != ASKED)
		return;
	const struct sp_judgement decision = {.verdict = throw_dice(3), .err = EACCES, .exec = task->gate->exec};
	cr_assert_eq(sp_gatekeeper_decided(w.keeper, &decision), 0);
}

static void random_look(void)
{
	sp_gates_look_again(&w.freezing);
}

static void (*const happenings[])(void) = {
	random_notification, random_notification, random_notification, random_stop,     random_asked_stop,
	random_asked_stop,   random_exec,         random_deadline,     random_reading,  random_reading,
	random_death,        random_look,         random_decision,     random_decision,
};

static void check_gate(const struct sp_gate *gate)
{
	const bool waits = !sp_list_empty(&gate->freezing);

	cr_assert_neq(gate->state, FREE);
	cr_assert_eq(gate->caller->gate, gate);
	cr_assert(!waits || (gate->state == FREEZING && is_ticking(gate)));
	cr_assert(gate->state != FREEZING || waits, "a gate waits for nobody");
	cr_assert_eq(gate->request != NULL, gate->state == READING);
	cr_assert(gate->state != READING || (w.working && !w.cancelled), "a gate waits for no thread");
	cr_assert(gate->state == READING || (gate->in != NULL) == (gate->state != ASKED));
	if (gate->state == ASKED)
		cr_assert(gate->asked != NULL && gate->exec != 0 && gate->held == NULL && !gate->wide &&
			  !is_ticking(gate));
	if (gate->state == CONTINUED)
		cr_assert_eq(is_ticking(gate), gate->held != NULL || gate->wide, "held without a deadline");
	else
		cr_assert_eq(w.ids[gate->id].answer, NOT_ANSWERED);
}

static void check_everything(void)
{
	struct sp_gatekeeper *k = w.keeper;
	const struct sp_gate *gate;
	unsigned wide = 0, held = 0, holds = 0;

	cr_assert_eq(k->stats.illegal, 0);
	cr_assert_eq(k->active_count, length(&k->active));
	sp_list_each (gate, &k->active, link) {
		check_gate(gate);
		wide += gate->wide;
		held += gate->held != NULL;
	}
	sp_list_each (gate, &k->pool, link)
		cr_assert(gate->state == FREE && gate->held == NULL && !gate->wide && !is_ticking(gate) &&
			  gate->asked == NULL);
	cr_assert_eq(k->wide_holds, wide);
	for (unsigned i = 0; i < TASKS; i++) {
		bool counted = false;

		for (unsigned before = 0; before < i; before++)
			counted |= tasks[before]->mm == tasks[i]->mm;
		holds += counted ? 0 : tasks[i]->mm->holds;
		cr_assert(tasks[i]->state == TASK_RUNS || sp_gatekeeper_holds(k, tasks[i]), "left stopped");
	}
	cr_assert_eq(holds, held, "%u holds, %u gates that hold", holds, held);
}

Test(gate_table, a_hundred_thousand_random_events, .timeout = 600)
{
	open_world(false);
	for (unsigned i = 0; i < TASKS; i++)
		tasks[i] = add_process(NULL);
	for (unsigned i = 0; i < STEPS; i++) {
		w.keeper->tools.replies_survive = throw_dice(2) != 0;
		expect_anything();
		happenings[throw_dice(sizeof happenings / sizeof *happenings)]();
		check_everything();
	}
	expect_the_usual();
	(void)fprintf(stderr, "seed %u: %llu execs, %llu freezes, %llu of the whole job, %llu read by a thread\n", SEED,
		      (unsigned long long)w.keeper->stats.execs, (unsigned long long)w.keeper->stats.freezes,
		      (unsigned long long)w.keeper->stats.wide, (unsigned long long)w.keeper->stats.helped);
	cr_assert_gt(w.keeper->stats.wide, 100);
	cr_assert_gt(w.keeper->stats.helped, 100);
	cr_assert_gt(w.keeper->stats.asked, 100);
	for (unsigned i = 0; i < TASKS; i++)
		remove_task(tasks[i]);
	cr_assert_eq(sp_gatekeeper_active(w.keeper), 0);
	close_world();
}
