/* See hunt.h. */
#include "hunt.h"

#include "inspect/inspect.h"
#include "notify/listener.h"
#include "ptrace/gate.h"
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* --- where kills are counted --- */

/* States of the tracker and of the gate in which a task can be when nobody is working on it. */
struct cell {
	const char *tracker, *gate;
	unsigned long kills;
};

/* The first WANTED are those that there must be; others follow as they are met. */
static struct cell cells[32] = {
	{"expected", "none"},    {"newborn", "none"},    {"running", "none"},
	{"running", "freezing"}, {"running", "reading"}, {"running", "continued"},
	{"stopped", "none"},     {"listening", "none"},  {"ended", "none"},
};
enum { WANTED = 9, CELLS = sizeof cells / sizeof *cells };

/* Between two calls of one step. */
enum site {
	BEFORE_SEIZE,
	AFTER_REPORT,
	BEFORE_LOOK,
	BEFORE_INTERRUPT,
	BEFORE_RESUME,
	AFTER_RECEIVE,
	BEFORE_INSPECTION,
	BEFORE_GO_ON,
	AFTER_GO_ON,
	BEFORE_REFUSAL,
	AFTER_REFUSAL,
	BEFORE_VERIFICATION,
	SITES,
};

static const char *const site_names[SITES] = {
	[BEFORE_SEIZE] = "the root, before it is seized",
	[AFTER_REPORT] = "after its stop was reported",
	[BEFORE_LOOK] = "before its registers or event are read or written",
	[BEFORE_INTERRUPT] = "before it is interrupted",
	[BEFORE_RESUME] = "before it is let go on",
	[AFTER_RECEIVE] = "after its notification was received",
	[BEFORE_INSPECTION] = "before its exec is inspected",
	[BEFORE_GO_ON] = "before the answer CONTINUE",
	[AFTER_GO_ON] = "after the answer CONTINUE",
	[BEFORE_REFUSAL] = "before the answer of an errno",
	[AFTER_REFUSAL] = "after the answer of an errno",
	[BEFORE_VERIFICATION] = "before what runs is verified",
};

/* The wrapped calls have no context: what they need is here, for the one rig there is. */
static struct {
	const struct sp_rig *rig; /* NULL: nobody is hunted */
	struct sp_quarry *quarry;
	enum sp_plant plant;
	bool resting, planted;
	unsigned long wanted;
	unsigned long site_kills[SITES];
	unsigned seed;
	struct {
		uint64_t id;
		pid_t tid;
	} asked[1024]; /* whose notification it was */
} hunt;

bool sp_quarry_take(struct sp_quarry *quarry, pid_t pid)
{
	const unsigned long bit = 1UL << (pid % 64);

	if (atomic_load(&quarry->left) <= 0 || (atomic_fetch_or(&quarry->doomed[pid / 64], bit) & bit) != 0)
		return false;
	if (atomic_fetch_sub(&quarry->left, 1) > 0)
		return true;
	sp_quarry_forget(quarry, pid);
	return false;
}

void sp_quarry_forget(struct sp_quarry *quarry, pid_t pid)
{
	(void)atomic_fetch_and(&quarry->doomed[pid / 64], ~(1UL << (pid % 64)));
}

void sp_quarry_forget_all(struct sp_quarry *quarry)
{
	for (size_t i = 0; i < sizeof quarry->doomed / sizeof *quarry->doomed; i++)
		atomic_store(&quarry->doomed[i], 0);
}

void sp_hunt_begin(const struct sp_rig *rig, struct sp_quarry *quarry, unsigned long wanted, enum sp_plant plant)
{
	hunt.rig = rig;
	hunt.quarry = quarry;
	hunt.wanted = wanted;
	hunt.plant = plant;
	hunt.resting = false;
}

void sp_hunt_rest(void)
{
	hunt.resting = true;
	if (hunt.plant == SP_PLANT_ENTRY && !hunt.planted)
		hunt.planted = sp_index_add(hunt.rig->index, SP_PID_LIMIT) != NULL;
}

void sp_hunt_end(void)
{
	hunt.rig = NULL;
}

unsigned sp_hunt_missing(void)
{
	unsigned missing = 0;

	for (size_t i = 0; i < WANTED; i++)
		missing += cells[i].kills < hunt.wanted;
	for (size_t i = 0; i < SITES; i++)
		missing += hunt.site_kills[i] < hunt.wanted;
	return missing;
}

unsigned long sp_hunt_kills(void)
{
	unsigned long kills = 0;

	for (size_t i = 0; i < CELLS; i++)
		kills += cells[i].kills;
	for (size_t i = 0; i < SITES; i++)
		kills += hunt.site_kills[i];
	return kills;
}

void sp_hunt_print(void)
{
	(void)printf("kills by state, between two steps (tracker, gate):\n");
	for (size_t i = 0; i < CELLS && cells[i].tracker != NULL; i++)
		(void)printf("  %7lu  %s, %s\n", cells[i].kills, cells[i].tracker, cells[i].gate);
	(void)printf("kills inside a step, of the task that the step is about:\n");
	for (size_t i = 0; i < SITES; i++)
		(void)printf("  %7lu  %s\n", hunt.site_kills[i], site_names[i]);
}

/* --- killing --- */

static bool chance(unsigned one_in)
{
	return (unsigned)rand_r(&hunt.seed) % one_in == 0;
}

static void plant_at_kill(void)
{
	if (hunt.plant == SP_PLANT_FD)
		(void)!open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (hunt.plant == SP_PLANT_HEAP) {
		void *volatile lost = malloc(256);
		(void)lost;
	}
}

static bool strike(pid_t pid)
{
	if (pid <= 1 || !sp_quarry_take(hunt.quarry, pid)) /* 0 and below would be groups, and ours among them */
		return false;
	if (kill(pid, SIGKILL) != 0) {
		sp_quarry_forget(hunt.quarry, pid);
		(void)atomic_fetch_add(&hunt.quarry->left, 1);
		return false;
	}
	plant_at_kill();
	return true;
}

static bool hunting(void)
{
	return hunt.rig != NULL && !hunt.resting && atomic_load(&hunt.quarry->left) > 0;
}

/* Rare places are hit whenever there is an occasion, so that all are hit often; others now and then. */
static void strike_inside(enum site site, pid_t tid)
{
	const struct sp_task *task;

	if (!hunting() || !chance(hunt.site_kills[site] >= hunt.wanted ? 2048 : site == BEFORE_SEIZE ? 2 : 64))
		return;
	task = sp_index_find(hunt.rig->index, tid);
	hunt.site_kills[site] += strike(task != NULL && task->process != NULL ? task->process->tgid : tid);
}

/* NULL: more combinations than anybody thought of. */
static struct cell *find_cell(const struct sp_task *task)
{
	const char *tracker = sp_tracer_state_name(task), *gate = sp_gate_state_name(task->gate);

	for (size_t i = 0; i < CELLS; i++) {
		if (cells[i].tracker == NULL)
			cells[i] = (struct cell){.tracker = tracker, .gate = gate};
		if (strcmp(cells[i].tracker, tracker) == 0 && strcmp(cells[i].gate, gate) == 0)
			return &cells[i];
	}
	return NULL;
}

struct choice {
	pid_t pid;
	struct cell *cell;
	unsigned seen; /* as good as this one */
};

static void consider(struct sp_task *task, void *context)
{
	struct choice *c = context;

	/* Dead, or reaped by its own parent whenever that likes: its number may be somebody else's by now. */
	if (strcmp(sp_tracer_state_name(task), "buried") == 0 || strcmp(sp_tracer_state_name(task), "untraced") == 0)
		return;
	struct cell *cell = find_cell(task);
	if (cell == NULL || (c->cell != NULL && cell->kills > c->cell->kills))
		return;
	c->seen = c->cell != NULL && cell->kills == c->cell->kills ? c->seen + 1 : 1;
	if (c->seen > 1 && !chance(c->seen))
		return;
	c->cell = cell;
	c->pid = task->process != NULL ? task->process->tgid : task->tid;
}

static void strike_between(void)
{
	struct choice c = {0};

	if (!hunting() || !chance(16))
		return;
	sp_index_each(hunt.rig->index, consider, &c);
	if (c.cell != NULL && (c.cell->kills < hunt.wanted || chance(64)))
		c.cell->kills += strike(c.pid);
}

/* --- the wrapped calls --- */

pid_t __real_waitpid(pid_t pid, int *status, int options);
pid_t __wrap_waitpid(pid_t pid, int *status, int options);
long __real_ptrace(enum __ptrace_request request, ...);
long __wrap_ptrace(enum __ptrace_request request, ...);
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
void __real_sp_gatekeeper_notified(struct sp_gatekeeper *keeper, struct sp_task *caller,
				   const struct seccomp_notif *notification);
void __wrap_sp_gatekeeper_notified(struct sp_gatekeeper *keeper, struct sp_task *caller,
				   const struct seccomp_notif *notification);
int __real_sp_inspect(struct sp_inspection *in, bool may_block, struct sp_filesystems *fs, struct sp_kinds *kinds);
int __wrap_sp_inspect(struct sp_inspection *in, bool may_block, struct sp_filesystems *fs, struct sp_kinds *kinds);
int __real_sp_listener_answer(const struct sp_listener *listener, uint64_t id, int err);
int __wrap_sp_listener_answer(const struct sp_listener *listener, uint64_t id, int err);
bool __real_sp_verify(const struct sp_inspection *in, pid_t tgid, uint64_t stack, char *detail, size_t size);
bool __wrap_sp_verify(const struct sp_inspection *in, pid_t tgid, uint64_t stack, char *detail, size_t size);

static bool plant_now(enum sp_plant plant)
{
	if (hunt.plant != plant || !hunt.resting || hunt.planted)
		return false;
	hunt.planted = true;
	return true;
}

/* One whose end somebody waits for and nobody brings about: not a thread, whose siblings may end it, and not killed. */
static bool is_missed(pid_t tid)
{
	const struct sp_task *task = sp_index_find(hunt.rig->index, tid);

	return task != NULL && task->process != NULL && task->process->task_count == 1 &&
	       (atomic_load(&hunt.quarry->doomed[tid / 64]) & (1UL << (tid % 64))) == 0;
}

/* The tracer's own, for any task: the others are for a task that has not been seized. */
pid_t __wrap_waitpid(pid_t pid, int *status, int options)
{
	pid_t tid;

	if (pid != -1 || hunt.rig == NULL)
		return __real_waitpid(pid, status, options);
	strike_between();
	tid = __real_waitpid(pid, status, options);
	if (tid > 0 && WIFSTOPPED(*status) && is_missed(tid) && plant_now(SP_PLANT_STOPPED))
		tid = __real_waitpid(pid, status, options);
	if (tid > 0 && WIFSTOPPED(*status))
		strike_inside(AFTER_REPORT, tid);
	else if (tid > 0)
		sp_quarry_forget(hunt.quarry, tid);
	return tid;
}

static enum site site_of(long request)
{
	switch (request) {
	case PTRACE_SEIZE:
		return BEFORE_SEIZE;
	case PTRACE_INTERRUPT:
		return BEFORE_INTERRUPT;
	case PTRACE_CONT:
	case PTRACE_LISTEN:
		return BEFORE_RESUME;
	default:
		return BEFORE_LOOK;
	}
}

long __wrap_ptrace(enum __ptrace_request request, ...)
{
	va_list args;

	va_start(args, request);
	const pid_t tid = va_arg(args, pid_t);
	void *const address = va_arg(args, void *);
	void *const data = va_arg(args, void *);
	va_end(args);
	strike_inside(site_of(request), tid);
	return __real_ptrace(request, tid, address, data);
}

/* Six are passed on, however many there were: what is read beyond those is read as the kernel would find it. */
[[gnu::no_sanitize("address")]] long __wrap_syscall(long number, ...)
{
	long a[6];
	va_list args;

	va_start(args, number);
	for (size_t i = 0; i < sizeof a / sizeof *a; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	if (number == SYS_ptrace)
		strike_inside(site_of(a[0]), (pid_t)a[1]);
	return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

void __wrap_sp_gatekeeper_notified(struct sp_gatekeeper *keeper, struct sp_task *caller,
				   const struct seccomp_notif *notification)
{
	const size_t at = notification->id % (sizeof hunt.asked / sizeof *hunt.asked);

	hunt.asked[at].id = notification->id;
	hunt.asked[at].tid = caller->tid;
	strike_inside(AFTER_RECEIVE, caller->tid);
	__real_sp_gatekeeper_notified(keeper, caller, notification);
}

int __wrap_sp_inspect(struct sp_inspection *in, bool may_block, struct sp_filesystems *fs, struct sp_kinds *kinds)
{
	if (!may_block) /* otherwise it is not the loop's thread */
		strike_inside(BEFORE_INSPECTION, in->tid);
	return __real_sp_inspect(in, may_block, fs, kinds);
}

int __wrap_sp_listener_answer(const struct sp_listener *listener, uint64_t id, int err)
{
	const size_t at = id % (sizeof hunt.asked / sizeof *hunt.asked);
	const bool known = hunt.asked[at].id == id;
	const pid_t tid = hunt.asked[at].tid;

	if (plant_now(SP_PLANT_UNANSWERED))
		return 0;
	if (known)
		strike_inside(err == 0 ? BEFORE_GO_ON : BEFORE_REFUSAL, tid);
	int sent = __real_sp_listener_answer(listener, id, err);
	if (known)
		strike_inside(err == 0 ? AFTER_GO_ON : AFTER_REFUSAL, tid);
	return sent;
}

bool __wrap_sp_verify(const struct sp_inspection *in, pid_t tgid, uint64_t stack, char *detail, size_t size)
{
	strike_inside(BEFORE_VERIFICATION, tgid);
	return __real_sp_verify(in, tgid, stack, detail, size);
}
