/* The tracker's table, pair by pair: every state meets every event, once as a real task that the kernel has in that state
 * (with the real event where the kernel can be made to give it) and once as a task that is dead already; then 100,000 random
 * events. After each step: the next state is the one of the table below, written here a second time; counters equal what
 * is in the index; nobody whom nobody holds is stopped; whoever is dead has no entry but a mark that is counted. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "ptrace/status.h"

/* The tracer is compiled into this file, with the kernel between it and fake tasks: no pid is ever that high. */
enum { FIRST_FAKE = 5000000, FAKES = 64 };

static long kernel_ptrace(enum __ptrace_request request, pid_t tid, unsigned long address, unsigned long data);
static int kernel_kill(pid_t tid, int signal);
static int kernel_family(pid_t tid, pid_t *tgid, pid_t *ppid);

#define ptrace(request, tid, address, data) kernel_ptrace(request, tid, (unsigned long)(address), (unsigned long)(data))
#define kill(tid, signal) kernel_kill(tid, signal)
#define sp_status_family(tid, tgid, ppid) kernel_family(tid, tgid, ppid)
#include "ptrace/tracer.c"
#undef ptrace
#undef kill
#undef sp_status_family

/* What the kernel says of fake tasks, and whom it was told to kill. */
static struct {
	bool alive; /* else ESRCH, as for whoever was killed */
	pid_t message; /* PTRACE_GETEVENTMSG */
	unsigned long flags; /* of clone */
	pid_t tgid, ppid;
	pid_t killed;
} kernel;

static long kernel_ptrace(enum __ptrace_request request, pid_t tid, unsigned long address, unsigned long data)
{
	if (tid < FIRST_FAKE)
		return ptrace(request, tid, address, data);
	if (!kernel.alive) {
		errno = ESRCH;
		return -1;
	}
	if (request == PTRACE_GETEVENTMSG)
		*(unsigned long *)data = (unsigned long)kernel.message;
	if (request == PTRACE_GETREGS)
		*(struct user_regs_struct *)data =
			(struct user_regs_struct){.orig_rax = SYS_clone, .rdi = kernel.flags};
	return 0;
}

static int kernel_kill(pid_t tid, int signal)
{
	kernel.killed = tid;
	return kill(tid, signal);
}

static int kernel_family(pid_t tid, pid_t *tgid, pid_t *ppid)
{
	if (tid < FIRST_FAKE)
		return sp_status_family(tid, tgid, ppid);
	*tgid = kernel.tgid;
	*ppid = kernel.ppid;
	return kernel.tgid > 0 ? 0 : -ESRCH;
}

/* --- the second copy of the table --- */

enum { NOBODY = STATES, NEXT = 0x0f, ODD = 0x10 /* counted as unexpected */ };

/* clang-format off */
static const unsigned char next_state[STATES][EVENTS] = {
	/*             STOP            GROUP_STOP      FORK            EXEC            SIGNAL          CONTINUED  EXIT */
	[UNTRACED]  = {RUNNING | ODD,  RUNNING | ODD,  RUNNING | ODD,  RUNNING | ODD,  UNTRACED,       UNTRACED,  NOBODY},
	[EXPECTED]  = {RUNNING,        LISTENING,      RUNNING | ODD,  RUNNING | ODD,  RUNNING | ODD,  EXPECTED,  NOBODY},
	[NEWBORN]   = {NEWBORN | ODD,  NEWBORN | ODD,  NEWBORN | ODD,  NEWBORN | ODD,  NEWBORN | ODD,  NEWBORN,   BURIED},
	[RUNNING]   = {RUNNING,        LISTENING,      RUNNING,        RUNNING,        RUNNING,        RUNNING,   NOBODY},
	/* as long as it is held */
	[STOPPED]   = {STOPPED,        STOPPED,        STOPPED | ODD,  STOPPED,        STOPPED | ODD,  STOPPED,   NOBODY},
	[LISTENING] = {RUNNING,        LISTENING,      RUNNING | ODD,  RUNNING,        RUNNING,        LISTENING, NOBODY},
	[ENDED]     = {RUNNING | ODD,  RUNNING | ODD,  RUNNING | ODD,  RUNNING,        RUNNING | ODD,  ENDED,     NOBODY},
	[BURIED]    = {NEWBORN,        NEWBORN,        BURIED | ODD,   BURIED | ODD,   BURIED | ODD,   BURIED,    BURIED},
};

static const int made_up[EVENTS] = {
	[STOP] = W_STOPCODE(SIGTRAP) | PTRACE_EVENT_STOP << 16,
	[GROUP_STOP] = W_STOPCODE(SIGSTOP) | PTRACE_EVENT_STOP << 16,
	[FORK] = W_STOPCODE(SIGTRAP) | PTRACE_EVENT_FORK << 16,
	[EXEC] = W_STOPCODE(SIGTRAP) | PTRACE_EVENT_EXEC << 16,
	[SIGNAL] = W_STOPCODE(SIGUSR1),
	[CONTINUED] = __W_CONTINUED,
	[EXIT] = SIGKILL,
};
/* clang-format on */

static const char *const event_names[EVENTS] = {
	[STOP] = "stop",     [GROUP_STOP] = "group-stop", [FORK] = "fork", [EXEC] = "exec",
	[SIGNAL] = "signal", [CONTINUED] = "continued",   [EXIT] = "exit",
};

/* --- the stage: a tracer whose owner writes down what it is told --- */

enum { KEYS = 200000 };

struct stage {
	uv_loop_t loop;
	struct sp_index *index;
	struct sp_tracer *tracer;
	unsigned born, ended;
	unsigned char told[KEYS]; /* by key: how often the end of the process was */
	const struct sp_process *group; /* whose group stop was told last */
	int group_signal;
	bool adopts, one_shot; /* what guess_job and is_one_shot say */
};

static char placeholder;
#define OUR_JOB ((struct sp_job *)&placeholder)

static void on_process_born(struct sp_process *process, void *context)
{
	struct stage *s = context;

	process->key = ++s->born;
	cr_assert_lt(s->born, KEYS);
}

static void is_stopped_and_settling(struct sp_task *task, void *context)
{
	const struct stage *s = context;

	cr_assert_eq(task->state, STOPPED);
	cr_assert_eq(s->tracer->settling, task);
	cr_assert_not_null(task->process);
}

static void on_gone(struct sp_task *task, void *context)
{
	const struct stage *s = context;

	cr_assert_eq(sp_index_find(s->index, task->tid), task);
	cr_assert_not_null(task->process);
}

static void on_process_gone(struct sp_process *process, void *context)
{
	struct stage *s = context;

	cr_assert_eq(process->task_count, 0);
	cr_assert_eq(s->told[process->key]++, 0, "the end of a process was told twice");
	s->ended++;
}

static void on_group(struct sp_process *process, int signal, void *context)
{
	struct stage *s = context;

	s->group = process;
	s->group_signal = signal;
}

static void on_quiet(void *context)
{
	(void)context;
}

static struct sp_job *guess(pid_t pid, void *context)
{
	const struct stage *s = context;

	(void)pid;
	return s->adopts ? OUR_JOB : NULL;
}

static bool job_is_one_shot(const struct sp_job *job, void *context)
{
	const struct stage *s = context;

	(void)job;
	return s->one_shot;
}

static bool is_held(const struct sp_task *task, void *context)
{
	(void)context;
	return task->mm->holds > 0;
}

static const struct sp_tracer_ops recording = {
	.process_born = on_process_born,
	.exec_stop = is_stopped_and_settling,
	.stopped = is_stopped_and_settling,
	.gone = on_gone,
	.process_gone = on_process_gone,
	.group_stop = on_group,
	.quiet = on_quiet,
	.guess_job = guess,
	.is_one_shot = job_is_one_shot,
	.held = is_held,
};

static void open_stage(struct stage *s)
{
	struct sp_error e = {0};

	memset(s, 0, sizeof *s);
	memset(&kernel, 0, sizeof kernel);
	cr_assert_eq(uv_loop_init(&s->loop), 0);
	s->index = sp_index_new();
	cr_assert_not_null(s->index);
	s->tracer = sp_tracer_new(&s->loop, s->index, &recording, s, &e);
	cr_assert_not_null(s->tracer, "%s", e.text);
}

/* Everybody but marks has ended. */
static void close_stage(struct stage *s)
{
	cr_assert_eq(s->ended, s->born, "%u processes born, %u ended", s->born, s->ended);
	cr_assert_eq(sp_index_size(s->index), s->tracer->buried);
	sp_tracer_close(s->tracer);
	cr_assert_eq(sp_index_size(s->index), 0);
	cr_assert_eq(uv_run(&s->loop, UV_RUN_DEFAULT), 0);
	cr_assert_eq(uv_loop_close(&s->loop), 0);
	sp_index_free(s->index);
}

static struct sp_task *find(const struct stage *s, pid_t tid)
{
	return sp_index_find(s->index, tid);
}

/* --- what holds after every event --- */

struct census {
	const struct stage *stage;
	unsigned unclaimed, buried, lingering;
};

static void inspect_links(const struct stage *s, const struct sp_task *task)
{
	const struct sp_task *child = task->vfork_child, *parent = task->vfork_parent;

	if (child != NULL) {
		cr_assert_eq(find(s, child->tid), child, "the vfork child of %d is not in the index", task->tid);
		cr_assert_eq(child->vfork_parent, task, "%d is not the vfork parent of its child", task->tid);
	}
	if (parent != NULL) {
		cr_assert_eq(find(s, parent->tid), parent, "the vfork parent of %d is not in the index", task->tid);
		cr_assert_eq(parent->vfork_child, task, "%d is not the vfork child of its parent", task->tid);
	}
}

static unsigned length(const struct sp_list *list)
{
	unsigned count = 0;

	for (const struct sp_list *at = list->next; at != list; at = at->next)
		count++;
	return count;
}

static void count_in(struct sp_task *task, void *context)
{
	struct census *c = context;
	const bool nobodys = task->state == NEWBORN || task->state == BURIED;

	cr_assert_lt(task->state, STATES);
	cr_assert_eq(find(c->stage, task->tid), task, "two entries for %d", task->tid);
	c->unclaimed += task->state == NEWBORN;
	c->buried += task->state == BURIED;
	c->lingering += task->linger != 0;
	cr_assert_eq(task->process == NULL, nobodys, "%d, %s", task->tid, sp_tracer_state_name(task));
	cr_assert_eq(task->mm == NULL, nobodys);
	inspect_links(c->stage, task);
	if (nobodys)
		return;
	cr_assert(task->state != STOPPED || task->mm->holds > 0, "%d is left stopped", task->tid);
	cr_assert_eq(task->process->task_count, length(&task->process->tasks));
	cr_assert_eq(task->mm->task_count, length(&task->mm->tasks));
	cr_assert_eq(c->stage->told[task->process->key], 0, "%d outlives its process", task->tid);
}

static void check(const struct stage *s)
{
	const struct sp_tracer *t = s->tracer;
	struct census c = {.stage = s};

	sp_index_each(s->index, count_in, &c);
	cr_assert_eq(c.unclaimed, t->unclaimed, "%u newborns, %u counted", c.unclaimed, t->unclaimed);
	cr_assert_eq(c.buried, t->buried, "%u marks, %u counted", c.buried, t->buried);
	cr_assert_eq(c.lingering, t->lingering, "%u linger, %u counted", c.lingering, t->lingering);
	cr_assert_null(t->settling);
	cr_assert(t->unclaimed == 0 || uv_is_active((const uv_handle_t *)&t->newborns), "nobody looks after newborns");
	cr_assert(t->lingering == 0 || uv_is_active((const uv_handle_t *)&t->lingerers),
		  "nobody looks after lingerers");
}

/* Feeds the event; wanted: an entry of next_state. */
static void feed(struct stage *s, pid_t tid, int status, unsigned wanted, const char *what)
{
	const uint64_t odd = s->tracer->stats.unexpected;

	dispatch(s->tracer, tid, status);
	check(s);
	const struct sp_task *task = find(s, tid);
	cr_assert_eq(task != NULL ? task->state : NOBODY, wanted & NEXT, "%s: now %s", what,
		     task != NULL ? sp_tracer_state_name(task) : "nobody");
	cr_assert_eq(s->tracer->stats.unexpected - odd, (wanted & ODD) != 0, "%s: counted as unexpected?", what);
}

static const char *pair_name(enum state state, enum event event)
{
	static char name[64];
	const struct sp_task task = {.state = (uint8_t)state};

	(void)snprintf(name, sizeof name, "%s + %s", sp_tracer_state_name(&task), event_names[event]);
	return name;
}

static void hold(struct sp_task *task)
{
	task->mm->holds++;
}

static void let_go(struct stage *s, struct sp_mm *mm)
{
	struct sp_task *task, *next;

	if (--mm->holds == 0)
		sp_list_each_safe (task, next, &mm->tasks, mm_link)
			sp_tracer_release(s->tracer, task);
}

/* --- dead tasks --- */

/* In that state as far as we know; the kernel knows nothing of it. */
static struct sp_task *put(struct stage *s, pid_t tid, enum state state)
{
	struct sp_task *task = sp_index_add(s->index, tid);

	cr_assert_not_null(task);
	task->state = (uint8_t)state;
	s->tracer->unclaimed += state == NEWBORN;
	s->tracer->buried += state == BURIED;
	if (state == NEWBORN)
		look_after_newborns(s->tracer);
	if (state == NEWBORN || state == BURIED)
		return task;
	cr_assert_eq(sp_index_place(s->index, task, NULL, NULL, OUR_JOB, 0, NULL), 0);
	on_process_born(task->process, s);
	task->process->one_shot = state == UNTRACED;
	task->traced = state != UNTRACED;
	return task;
}

static void bring_to_its_end(struct stage *s, pid_t tid)
{
	const struct sp_task *task = find(s, tid);

	if (task != NULL && task->state != BURIED)
		dispatch(s->tracer, tid, made_up[EXIT]);
	check(s);
	close_stage(s);
}

static void check_dead_pair(struct stage *s, enum state state, enum event event)
{
	open_stage(s);
	struct sp_task *task = put(s, FIRST_FAKE, state);
	if (state == STOPPED)
		hold(task);
	const bool nobodys = task->process == NULL;
	feed(s, FIRST_FAKE, made_up[event], next_state[state][event], pair_name(state, event));
	if (nobodys && (next_state[state][event] & ODD) != 0)
		cr_assert_eq(kernel.killed, FIRST_FAKE, "%s: nobody's, and it may run", pair_name(state, event));
	if (state == STOPPED && event != EXIT)
		let_go(s, task->mm);
	check(s);
	bring_to_its_end(s, FIRST_FAKE);
}

/* The same while somebody holds the memory: it stays where it is, and goes on as if it had not been held. */
static void check_held_pair(struct stage *s, enum state state, enum event event)
{
	const unsigned free = next_state[state][event];
	const bool stops = event != CONTINUED && ((free & NEXT) == RUNNING || (free & NEXT) == LISTENING);

	open_stage(s);
	struct sp_task *task = put(s, FIRST_FAKE, state);
	hold(task);
	struct sp_mm *mm = task->mm;
	feed(s, FIRST_FAKE, made_up[event], stops ? STOPPED | (free & ODD) : free, pair_name(state, event));
	if (event != EXIT) {
		let_go(s, mm);
		const unsigned after = state != STOPPED ? free & NEXT : event == GROUP_STOP ? LISTENING : RUNNING;
		cr_assert_eq(task->state, after, "%s, let go: %s", pair_name(state, event), sp_tracer_state_name(task));
	}
	check(s);
	bring_to_its_end(s, FIRST_FAKE);
}

Test(tracer_table, every_pair_with_a_dead_task)
{
	static struct stage s;

	for (enum state state = 0; state < STATES; state++)
		for (enum event event = 0; event < EVENTS; event++)
			check_dead_pair(&s, state, event);
}

Test(tracer_table, every_pair_while_held)
{
	static struct stage s;

	for (enum state state = 0; state < STATES; state++)
		for (enum event event = 0; event < EVENTS; event++)
			if (state != NEWBORN && state != BURIED)
				check_held_pair(&s, state, event);
}

/* A tid that nobody knows: the first stop of a child, or the end of one, before its parent's event. */
Test(tracer_table, every_event_of_a_stranger)
{
	static struct stage s;

	for (enum event event = 0; event < EVENTS; event++) {
		open_stage(&s);
		feed(&s, FIRST_FAKE, made_up[event], event != CONTINUED ? next_state[BURIED][event] : NOBODY,
		     event_names[event]);
		bring_to_its_end(&s, FIRST_FAKE);
	}
}

/* --- real tasks --- */

/* A child that does what it is told by a letter in a pipe, one thread or two with a pipe each. */
struct actor {
	pid_t pid, thread; /* thread 0: none */
	int leader_pipe, thread_pipe; /* ends to write to */
};

static void do_nothing(int signal)
{
	(void)signal;
}

[[gnu::noreturn]] static void wait_for_ever(void)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		(void)pause();
}

static void act(int pipe)
{
	char letter;

	while (read(pipe, &letter, 1) == 1)
		switch (letter) {
		case 'f':
			if (fork() == 0)
				wait_for_ever();
			break;
		case 'v':
			if (vfork() == 0)
				_exit(0);
			break;
		case 'w':
			if (vfork() == 0) {
				(void)execl("/bin/sleep", "sleep", "1000", NULL);
				_exit(1);
			}
			break;
		case 'e':
			(void)execl("/bin/sleep", "sleep", "1000", NULL);
			break;
		case 'x':
			(void)syscall(SYS_exit, 0); /* this thread alone */
		}
}

static void *act_as_thread(void *pipe)
{
	act(*(int *)pipe);
	return NULL;
}

[[gnu::noreturn]] static void be_actor(int pipe, int *thread_pipe, int ready, bool threaded)
{
	pthread_t thread;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)signal(SIGUSR1, do_nothing);
	if (threaded && pthread_create(&thread, NULL, act_as_thread, thread_pipe) != 0)
		_exit(1);
	if (write(ready, "r", 1) != 1)
		_exit(1);
	act(pipe);
	_exit(0);
}

static pid_t find_second_thread(pid_t pid)
{
	char path[SP_PROC_NAME];
	cleanup_directory DIR *d = opendir(sp_proc_task(path, pid, "task"));
	const struct dirent *entry;
	pid_t thread = 0;

	cr_assert_not_null(d);
	while ((entry = readdir(d)) != NULL)
		if (atoi(entry->d_name) > 0 && atoi(entry->d_name) != pid)
			thread = atoi(entry->d_name);
	cr_assert_gt(thread, 0, "%d has one thread", pid);
	return thread;
}

static void start_actor(struct actor *a, bool threaded)
{
	int pipes[3][2];
	char letter;

	for (int i = 0; i < 3; i++)
		cr_assert_eq(pipe2(pipes[i], O_CLOEXEC), 0);
	a->pid = fork();
	cr_assert_geq(a->pid, 0);
	if (a->pid == 0)
		be_actor(pipes[0][0], &pipes[1][0], pipes[2][1], threaded);
	(void)close(pipes[2][1]);
	cr_assert_eq(read(pipes[2][0], &letter, 1), 1, "the actor failed");
	(void)close(pipes[2][0]);
	(void)close(pipes[0][0]);
	(void)close(pipes[1][0]);
	a->leader_pipe = pipes[0][1];
	a->thread_pipe = pipes[1][1];
	a->thread = threaded ? find_second_thread(a->pid) : 0;
}

static void tell(int pipe, char letter)
{
	cr_assert_eq(write(pipe, &letter, 1), 1);
}

/* A real task in a state. */
struct scene {
	struct stage *stage;
	struct actor actor;
	pid_t subject;
	pid_t withheld; /* whose event has not been given to the tracer yet; 0: nobody's */
	int withheld_status;
	struct sp_mm *held;
};

static int wait_for(pid_t tid, int also)
{
	int status;

	cr_assert_eq(waitpid(tid, &status, __WALL | also), tid);
	return status;
}

/* Waits for the task's next event and gives it to the tracer. */
static void pass_on(struct scene *c, pid_t tid)
{
	dispatch(c->stage->tracer, tid, wait_for(tid, 0));
	check(c->stage);
}

static void seize(struct scene *c, bool one_shot)
{
	struct sp_error e = {0};
	struct sp_process *root;

	cr_assert_eq(sp_tracer_seize(c->stage->tracer, c->actor.pid, OUR_JOB, one_shot, &root, &e), 0, "%s", e.text);
	on_process_born(root, c->stage);
	c->subject = c->actor.pid;
}

static struct sp_task *subject(const struct scene *c)
{
	return find(c->stage, c->subject);
}

static void make_running(struct scene *c)
{
	start_actor(&c->actor, false);
	seize(c, false);
}

static void make_untraced(struct scene *c)
{
	start_actor(&c->actor, false);
	seize(c, true);
	cr_assert_eq(sp_tracer_interrupt(c->stage->tracer, subject(c)), 0);
	pass_on(c, c->subject);
}

static void make_stopped(struct scene *c)
{
	make_running(c);
	hold(subject(c));
	c->held = subject(c)->mm;
	cr_assert_eq(sp_tracer_interrupt(c->stage->tracer, subject(c)), 0);
	pass_on(c, c->subject);
}

static void make_listening(struct scene *c)
{
	make_running(c);
	cr_assert_eq(kill(c->subject, SIGSTOP), 0);
	pass_on(c, c->subject); /* signal-delivery-stop */
	pass_on(c, c->subject); /* group-stop */
}

/* Forks, and keeps the parent's event back. */
static void fork_unseen(struct scene *c)
{
	unsigned long child;

	tell(c->actor.leader_pipe, 'f');
	c->withheld = c->actor.pid;
	c->withheld_status = wait_for(c->actor.pid, 0);
	cr_assert_eq(ptrace(PTRACE_GETEVENTMSG, c->actor.pid, NULL, &child), 0);
	c->subject = (pid_t)child;
}

static void give_withheld(struct scene *c)
{
	if (c->withheld == 0)
		return;
	dispatch(c->stage->tracer, c->withheld, c->withheld_status);
	c->withheld = 0;
	check(c->stage);
}

static void make_expected(struct scene *c)
{
	make_running(c);
	fork_unseen(c);
	give_withheld(c);
}

static void make_newborn(struct scene *c)
{
	make_running(c);
	fork_unseen(c);
	pass_on(c, c->subject);
}

static void make_buried(struct scene *c)
{
	make_running(c);
	fork_unseen(c);
	cr_assert_eq(kill(c->subject, SIGKILL), 0);
	int status = wait_for(c->subject, 0);
	if (WIFSTOPPED(status)) /* its first stop came first */
		status = wait_for(c->subject, 0);
	dispatch(c->stage->tracer, c->subject, status);
	check(c->stage);
}

static void await_letter(pid_t tid, const char *letters)
{
	while (strchr(letters, sp_status_letter(tid)) == NULL)
		(void)sched_yield();
}

/* A leader that has ended while its thread goes on. */
static void make_ended(struct scene *c)
{
	struct sp_tracer *t = c->stage->tracer;

	start_actor(&c->actor, true);
	seize(c, false);
	struct sp_task *thread = sp_index_add(c->stage->index, c->actor.thread);
	cr_assert_not_null(thread);
	cr_assert_eq(sp_index_place(c->stage->index, thread, subject(c)->process, NULL, NULL, 0, subject(c)), 0);
	cr_assert_eq(sp_tracer_attach(t, thread), 0);
	cr_assert_eq(thread->state, RUNNING);
	tell(c->actor.leader_pipe, 'x');
	await_letter(c->subject, "Z");
	cr_assert_eq(sp_tracer_interrupt(t, subject(c)), 0);
}

static void (*const makers[STATES])(struct scene *c) = {
	[UNTRACED] = make_untraced, [EXPECTED] = make_expected,   [NEWBORN] = make_newborn, [RUNNING] = make_running,
	[STOPPED] = make_stopped,   [LISTENING] = make_listening, [ENDED] = make_ended,     [BURIED] = make_buried,
};

/* --- real events --- */

static int cause_end(struct scene *c)
{
	cr_assert_eq(kill(c->subject, SIGKILL), 0);
	if (c->actor.thread != 0)
		pass_on(c, c->actor.thread); /* a leader is reported last */
	int status = wait_for(c->subject, 0);
	return WIFSTOPPED(status) ? wait_for(c->subject, 0) : status; /* a first stop that had not been collected */
}

static int cause_group_stop(const struct scene *c)
{
	cr_assert_eq(kill(c->subject, SIGSTOP), 0);
	cr_assert_eq(WSTOPSIG(wait_for(c->subject, 0)), SIGSTOP);
	cr_assert_eq(ptrace(PTRACE_CONT, c->subject, NULL, SIGSTOP), 0);
	return wait_for(c->subject, 0);
}

static int cause_in_running(struct scene *c, enum event event)
{
	switch (event) {
	case STOP:
		cr_assert_eq(sp_tracer_interrupt(c->stage->tracer, subject(c)), 0);
		return wait_for(c->subject, 0);
	case GROUP_STOP:
		return cause_group_stop(c);
	case FORK:
	case EXEC:
		tell(c->actor.leader_pipe, event == FORK ? 'f' : 'e');
		return wait_for(c->subject, 0);
	case SIGNAL:
		cr_assert_eq(kill(c->subject, SIGUSR1), 0);
		return wait_for(c->subject, 0);
	default:
		return made_up[event];
	}
}

static int cause_in_untraced(const struct scene *c, enum event event)
{
	if (event != SIGNAL && event != CONTINUED)
		return made_up[event];
	cr_assert_eq(kill(c->subject, SIGSTOP), 0);
	int status = wait_for(c->subject, WUNTRACED);
	if (event == SIGNAL)
		return status;
	cr_assert_eq(kill(c->subject, SIGCONT), 0);
	return wait_for(c->subject, WCONTINUED);
}

/* The event's wait status: the kernel's, where it can be made to give one in this state. */
static int cause(struct scene *c, enum state state, enum event event)
{
	if (event == EXIT && state != BURIED)
		return cause_end(c);
	if (state == RUNNING)
		return cause_in_running(c, event);
	if (state == UNTRACED)
		return cause_in_untraced(c, event);
	if (state == EXPECTED && event == STOP)
		return wait_for(c->subject, 0);
	if (state == LISTENING && event == STOP) {
		cr_assert_eq(kill(c->subject, SIGCONT), 0);
		return wait_for(c->subject, 0);
	}
	if (state == ENDED && event == EXEC) {
		tell(c->actor.thread_pipe, 'e');
		return wait_for(c->subject, 0);
	}
	return made_up[event];
}

/* --- afterwards: nobody is left behind, in the kernel either --- */

static void drain(struct scene *c)
{
	int status;
	pid_t tid;

	while ((tid = waitpid(-1, &status, __WALL | WNOHANG)) > 0) {
		dispatch(c->stage->tracer, tid, status);
		check(c->stage);
	}
	if (c->stage->tracer->exits != NULL)
		sp_exits_poll_now(c->stage->tracer->exits, NULL);
}

/* Runs, or is dead: not in a stop that nobody knows of. */
static bool is_well(pid_t tid)
{
	return tid == 0 || strchr("RSDZX", sp_status_letter(tid)) != NULL; /* strchr: the letter may be 0, gone */
}

static void let_everybody_go_on(struct scene *c)
{
	give_withheld(c);
	if (c->held != NULL && subject(c) != NULL)
		let_go(c->stage, c->held);
	/* Who has an entry and is no mark has not been reaped: the pid is nobody else's. */
	if (subject(c) != NULL && subject(c)->state != BURIED)
		(void)kill(c->subject, SIGCONT);
	do {
		(void)sched_yield();
		drain(c);
	} while (!is_well(c->actor.pid) || !is_well(c->subject) || !is_well(c->actor.thread));
	drain(c);
}

struct victims {
	pid_t tid[8];
	unsigned count;
};

static void list_live(struct sp_task *task, void *context)
{
	struct victims *v = context;

	if (task->state != BURIED && v->count < sizeof v->tid / sizeof *v->tid)
		v->tid[v->count++] = task->tid;
}

static void end_scene(struct scene *c)
{
	struct victims v;

	do {
		v.count = 0;
		sp_index_each(c->stage->index, list_live, &v);
		for (unsigned i = 0; i < v.count; i++)
			(void)kill(v.tid[i], SIGKILL);
		(void)sched_yield();
		drain(c);
	} while (v.count > 0);
	(void)close(c->actor.leader_pipe);
	(void)close(c->actor.thread_pipe);
	close_stage(c->stage);
}

static void check_real_pair(enum state state, enum event event)
{
	static struct stage s;
	struct scene c = {.stage = &s};

	open_stage(&s);
	makers[state](&c);
	check(&s);
	cr_assert_not_null(subject(&c));
	cr_assert_eq(subject(&c)->state, state, "not %s but %s", pair_name(state, event),
		     sp_tracer_state_name(subject(&c)));
	const int status = cause(&c, state, event);
	cr_assert_eq(classify(c.subject, status).event, event, "%s: %#x", pair_name(state, event), (unsigned)status);
	feed(&s, c.subject, status, next_state[state][event], pair_name(state, event));
	let_everybody_go_on(&c);
	if (state == BURIED && subject(&c) != NULL) /* the new user of the tid is made up, and so is its end */
		dispatch(s.tracer, c.subject, made_up[EXIT]);
	end_scene(&c);
}

static void check_real_row(enum state state)
{
	for (enum event event = 0; event < EVENTS; event++)
		check_real_pair(state, event);
}

Test(tracer_table, real_untraced, .timeout = 120)
{
	check_real_row(UNTRACED);
}

Test(tracer_table, real_expected, .timeout = 120)
{
	check_real_row(EXPECTED);
}

Test(tracer_table, real_newborn, .timeout = 120)
{
	check_real_row(NEWBORN);
}

Test(tracer_table, real_running, .timeout = 120)
{
	check_real_row(RUNNING);
}

Test(tracer_table, real_stopped, .timeout = 120)
{
	check_real_row(STOPPED);
}

Test(tracer_table, real_listening, .timeout = 120)
{
	check_real_row(LISTENING);
}

Test(tracer_table, real_ended, .timeout = 120)
{
	check_real_row(ENDED);
}

Test(tracer_table, real_buried, .timeout = 120)
{
	check_real_row(BURIED);
}

/* --- what more than one event makes --- */

Test(tracer_table, job_control_is_told, .timeout = 120)
{
	static struct stage s;
	struct scene c = {.stage = &s};

	open_stage(&s);
	make_listening(&c);
	cr_assert_eq(s.group, subject(&c)->process);
	cr_assert_eq(s.group_signal, SIGSTOP);
	cr_assert(subject(&c)->process->group_stopped);
	cr_assert_eq(sp_status_letter(c.subject), 't', "it runs on");
	cr_assert_eq(kill(c.subject, SIGCONT), 0);
	pass_on(&c, c.subject);
	cr_assert_eq(s.group_signal, 0);
	cr_assert_not(subject(&c)->process->group_stopped);
	let_everybody_go_on(&c);
	end_scene(&c);
}

/* The parent's event comes when its child has been adopted already: the child is in the index, once, and runs. */
Test(tracer_table, adopted_then_named, .timeout = 120)
{
	static struct stage s;
	struct scene c = {.stage = &s};

	open_stage(&s);
	s.adopts = true;
	make_newborn(&c);
	on_newborns(&s.tracer->newborns);
	check(&s);
	cr_assert_eq(subject(&c)->state, RUNNING);
	cr_assert(subject(&c)->adopted);
	cr_assert_eq(subject(&c)->process->parent->tgid, c.actor.pid);
	give_withheld(&c);
	cr_assert_not_null(subject(&c), "a living child has no entry any more");
	cr_assert_eq(subject(&c)->state, RUNNING);
	cr_assert_not(subject(&c)->adopted);
	cr_assert_eq(s.born, 2);
	let_everybody_go_on(&c);
	end_scene(&c);
}

/* In one-shot tracking it runs untraced by then. */
Test(tracer_table, adopted_let_go_and_then_named, .timeout = 120)
{
	static struct stage s;
	struct scene c = {.stage = &s};

	open_stage(&s);
	s.adopts = s.one_shot = true;
	start_actor(&c.actor, false);
	seize(&c, true);
	fork_unseen(&c);
	pass_on(&c, c.subject);
	on_newborns(&s.tracer->newborns);
	check(&s);
	cr_assert_eq(subject(&c)->state, UNTRACED);
	give_withheld(&c);
	cr_assert_not_null(subject(&c), "a living child has no entry any more");
	cr_assert_eq(subject(&c)->state, UNTRACED);
	cr_assert_eq(s.ended, 0);
	let_everybody_go_on(&c);
	end_scene(&c);
}

/* The same, and the child is dead by then: it leaves a mark, and is not waited for. */
Test(tracer_table, adopted_dead_and_then_named, .timeout = 120)
{
	static struct stage s;
	struct scene c = {.stage = &s};

	open_stage(&s);
	s.adopts = true;
	make_newborn(&c);
	on_newborns(&s.tracer->newborns);
	cr_assert_eq(kill(c.subject, SIGKILL), 0);
	pass_on(&c, c.subject);
	cr_assert_eq(s.ended, 1);
	cr_assert(subject(&c) != NULL && subject(&c)->state == BURIED);
	give_withheld(&c);
	cr_assert_null(subject(&c), "somebody is waited for who is dead");
	cr_assert_eq(s.born, 2);
	cr_assert_eq(s.tracer->buried, 0);
	let_everybody_go_on(&c);
	end_scene(&c);
}

/* Nobody to adopt it: it must not run. */
Test(tracer_table, orphan_without_a_job, .timeout = 120)
{
	static struct stage s;
	struct sp_task *task;

	open_stage(&s);
	dispatch(s.tracer, FIRST_FAKE, made_up[STOP]);
	kernel.tgid = FIRST_FAKE;
	on_newborns(&s.tracer->newborns);
	check(&s);
	cr_assert_eq(kernel.killed, FIRST_FAKE);
	task = find(&s, FIRST_FAKE);
	cr_assert(task != NULL && task->state == BURIED);
	close_stage(&s);
}

/* The parent is suspended until the child execs, and no longer. */
Test(tracer_table, vfork_and_exec, .timeout = 120)
{
	static struct stage s;
	struct scene c = {.stage = &s};

	open_stage(&s);
	make_running(&c);
	tell(c.actor.leader_pipe, 'w');
	pass_on(&c, c.actor.pid);
	const struct sp_task *child = subject(&c)->vfork_child;
	cr_assert_not_null(child);
	cr_assert(sp_tracer_is_stopped(subject(&c)));
	cr_assert_eq(child->mm, subject(&c)->mm);
	pass_on(&c, child->tid); /* its first stop */
	pass_on(&c, child->tid); /* its exec */
	cr_assert_null(subject(&c)->vfork_child);
	cr_assert_null(child->vfork_parent);
	cr_assert_not(sp_tracer_is_stopped(subject(&c)));
	cr_assert_neq(child->mm, subject(&c)->mm);
	let_everybody_go_on(&c);
	end_scene(&c);
}

/* A vfork parent goes on when its child execs or exits, and may have its next child before the tracer hears of the end of the
 * first: waitpid(2) gives events in no order. The links are those of the second then. */
Test(tracer_table, second_vfork_before_the_end_of_the_first, .timeout = 120)
{
	static struct stage s;
	struct scene c = {.stage = &s};
	unsigned long message;

	open_stage(&s);
	make_running(&c);
	tell(c.actor.leader_pipe, 'v');
	pass_on(&c, c.actor.pid); /* the first vfork */
	cr_assert_not_null(subject(&c)->vfork_child);
	const pid_t first = subject(&c)->vfork_child->tid;
	pass_on(&c, first); /* its first stop; it ends, which is told later */
	await_letter(first, "Z");
	tell(c.actor.leader_pipe, 'v');
	const int status = wait_for(c.actor.pid, 0);
	cr_assert_eq(ptrace(PTRACE_GETEVENTMSG, c.actor.pid, NULL, &message), 0);
	dispatch(s.tracer, c.actor.pid, status); /* the second */
	check(&s);
	pass_on(&c, first);
	cr_assert_eq(subject(&c)->vfork_child, find(&s, (pid_t)message),
		     "the end of the first is not that of the second");
	cr_assert(sp_tracer_is_stopped(subject(&c)));
	pass_on(&c, (pid_t)message);
	pass_on(&c, (pid_t)message);
	cr_assert_null(subject(&c)->vfork_child);
	let_everybody_go_on(&c);
	end_scene(&c);
}

/* --- one-shot tracking: ends that have not been told --- */

static void open_one_shot(struct stage *s)
{
	struct sp_error e = {0};

	open_stage(s);
	cr_assert_eq(prepare_one_shot(s->tracer, &e), 0, "%s", e.text);
}

/* Found dead when it was to be stopped, and an exec of its is still with the gate: it must be there when the gate is told. */
Test(tracer_table, dead_thread_stays_as_long_as_its_gate)
{
	static struct stage s;

	open_one_shot(&s);
	struct sp_task *leader = put(&s, FIRST_FAKE, UNTRACED);
	struct sp_task *thread = add_thread(s.tracer, leader->process, FIRST_FAKE + 1);
	cr_assert_not_null(thread);
	thread->gate = (struct sp_gate *)&placeholder;
	struct sp_mm *mm = leader->mm;
	hold(leader);
	cr_assert_eq(sp_tracer_interrupt(s.tracer, thread), 0);
	cr_assert_eq(thread->state, ENDED);
	let_go(&s, mm);
	cr_assert_eq(find(&s, FIRST_FAKE + 1), thread, "its gate is left alone with a task that is no more");
	check(&s);
	thread->gate = NULL;
	hold(leader);
	let_go(&s, mm);
	cr_assert_null(find(&s, FIRST_FAKE + 1));
	bring_to_its_end(&s, FIRST_FAKE);
}

/* Its tid is another's now, and that one calls. */
Test(tracer_table, dead_threads_tid_calls)
{
	static struct stage s;

	open_one_shot(&s);
	struct sp_task *leader = put(&s, FIRST_FAKE, UNTRACED);
	struct sp_task *thread = add_thread(s.tracer, leader->process, FIRST_FAKE + 1);
	cr_assert_not_null(thread);
	cr_assert_eq(sp_tracer_interrupt(s.tracer, thread), 0);
	cr_assert_eq(thread->state, ENDED);
	kernel.tgid = FIRST_FAKE;
	cr_assert_eq(sp_tracer_find_caller(s.tracer, FIRST_FAKE + 1), thread);
	cr_assert_eq(thread->state, UNTRACED, "it would be let go on as one that cannot run");
	bring_to_its_end(&s, FIRST_FAKE);
}

/* The last end is not always one that waitpid(2) tells. */
Test(tracer_table, last_mark_goes_with_the_last_process)
{
	static struct stage s;

	open_one_shot(&s);
	struct sp_process *process = put(&s, FIRST_FAKE, UNTRACED)->process;
	(void)put(&s, FIRST_FAKE + 1, BURIED);
	on_ended(FIRST_FAKE, process, 0, s.tracer);
	check(&s);
	cr_assert_eq(sp_index_size(s.index), 0, "a mark is left that nobody can name any more");
	close_stage(&s);
}

/* A process that was reaped without our knowing yet, and whose pid is that of a thread now. */
static struct sp_process *put_former_user(struct stage *s, const struct actor *a, int dead_pidfd)
{
	struct sp_process *process = put(s, a->thread, UNTRACED)->process;

	process->watch = calloc(1, sizeof *process->watch);
	cr_assert_not_null(process->watch);
	cr_assert_eq(sp_exits_watch(s->tracer->exits, process->watch, a->pid, process), 0);
	process->watch->identity ^= 1;
	if (process->watch->pidfd >= 0)
		cr_assert_eq(dup2(dead_pidfd, process->watch->pidfd), process->watch->pidfd);
	return process;
}

static int make_dead_pidfd(void)
{
	const pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	int fd = sp_life_open(pid);
	cr_assert_geq(fd, 0);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	return fd;
}

/* To look for its threads shows those of whoever has its pid: they are not its own, and not to be traced for its sake. */
Test(tracer_table, pid_is_another_process_s_thread, .timeout = 120)
{
	static struct stage s;
	struct scene c = {.stage = &s};
	cleanup_close int dead = make_dead_pidfd();

	open_stage(&s);
	start_actor(&c.actor, true);
	seize(&c, true);
	cr_assert_eq(sp_tracer_interrupt(s.tracer, subject(&c)), 0);
	pass_on(&c, c.subject);
	struct sp_process *living = subject(&c)->process;
	struct sp_process *former = put_former_user(&s, &c.actor, dead);

	cr_assert_eq(sp_tracer_find_threads(s.tracer, former), 0);
	check(&s);
	cr_assert_eq(former->task_count, 1, "it was given the threads of another");
	cr_assert_eq(sp_tracer_interrupt(s.tracer, find(&s, c.actor.thread)), 0);
	cr_assert_eq(find(&s, c.actor.thread)->state, ENDED);
	cr_assert_eq(sp_status_tracer(c.actor.thread), 0, "another's thread is traced");

	/* Whose thread it is has to wait, and nobody's end is told to who looks for threads. */
	cr_assert_eq(sp_tracer_find_threads(s.tracer, living), -EINPROGRESS);
	check(&s);
	cr_assert_eq(s.ended, 0, "an end was told in the middle of something");
	cr_assert(uv_is_active((const uv_handle_t *)&s.tracer->formers));
	on_formers(&s.tracer->formers);
	check(&s);
	cr_assert_eq(s.ended, 1);
	cr_assert_eq(sp_tracer_find_threads(s.tracer, living), 0);
	check(&s);
	cr_assert_eq(living->task_count, 2);
	cr_assert_eq(find(&s, c.actor.thread)->process, living);
	let_everybody_go_on(&c);
	end_scene(&c);
}

/* --- 100,000 random events --- */

enum { STEPS = 100000 };

static const unsigned SEED = 20261122;

static unsigned throw_dice(unsigned sides)
{
	static unsigned state = SEED;

	state = state * 1664525u + 1013904223u;
	return (state >> 8) % sides;
}

static pid_t any_tid(void)
{
	return FIRST_FAKE + (pid_t)throw_dice(FAKES);
}

/* One-shot: it may have ended without our knowing yet. */
static bool is_over(const struct sp_task *task)
{
	return task->state == UNTRACED && (!is_leader(task) || task->process->task_count == 1);
}

/* A fork names only who was born just now: a tid that is free, or whose former user the kernel has reaped. */
static bool may_be_born(const struct stage *s, pid_t tid, pid_t parent)
{
	const struct sp_task *task = find(s, tid);

	if (task == NULL || task->process == NULL)
		return true;
	return tid != parent && (task->adopted || is_over(task));
}

static void random_fork(struct stage *s)
{
	static const unsigned long kinds[] = {0, CLONE_VM, CLONE_VM | CLONE_VFORK,
					      CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, SIGCHLD};
	const pid_t parent = any_tid(), child = any_tid();

	if (parent == child || !may_be_born(s, child, parent))
		return;
	kernel.message = child;
	kernel.flags = kinds[throw_dice(sizeof kinds / sizeof *kinds)];
	dispatch(s->tracer, parent, made_up[FORK]);
}

static void random_exec(struct stage *s)
{
	const struct sp_task *task = find(s, any_tid());
	const pid_t former = any_tid();

	if (task == NULL || task->process == NULL)
		return;
	const struct sp_task *thread = find(s, former);
	kernel.message = thread != NULL && thread->process == task->process ? former : task->process->tgid;
	if (find(s, task->process->tgid) != NULL)
		dispatch(s->tracer, task->process->tgid, made_up[EXEC]);
}

static void random_event(struct stage *s)
{
	enum event event = throw_dice(EVENTS);

	if (event != FORK && event != EXEC) /* these two name somebody */
		dispatch(s->tracer, any_tid(), made_up[event]);
}

static void random_root(struct stage *s)
{
	const pid_t tid = any_tid();
	struct sp_error e = {0};
	struct sp_process *root;

	if (find(s, tid) == NULL && sp_tracer_seize(s->tracer, tid, OUR_JOB, throw_dice(2) != 0, &root, &e) == 0)
		on_process_born(root, s);
}

static void random_interrupt(struct stage *s)
{
	struct sp_task *task = find(s, any_tid());

	if (task != NULL && task->process != NULL)
		(void)sp_tracer_interrupt(s->tracer, task);
}

static void random_hold(struct stage *s)
{
	struct sp_task *task = find(s, any_tid());

	if (task == NULL || task->mm == NULL)
		return;
	if (task->mm->holds > 0)
		let_go(s, task->mm);
	else
		hold(task);
}

static void random_let_fork(struct stage *s)
{
	struct sp_task *task = find(s, any_tid());

	if (task != NULL && task->process != NULL && task->process->one_shot)
		(void)sp_tracer_let_fork(s->tracer, task);
}

/* One-shot: a thread that runs untraced sends a notification. */
static void random_caller(struct stage *s)
{
	const pid_t tid = any_tid();
	const struct sp_task *task = find(s, tid), *leader = find(s, any_tid());

	if (task != NULL && task->state != BURIED && !(task->process != NULL && is_over(task)))
		return;
	if (leader == NULL || leader->process == NULL || !leader->process->one_shot)
		return;
	kernel.tgid = leader->process->tgid;
	(void)sp_tracer_find_caller(s->tracer, tid);
	check(s);
	sp_tracer_forget_idle(s->tracer, tid);
}

static void random_end_untraced(struct stage *s)
{
	const struct sp_task *task = find(s, any_tid());
	pid_t traced[FAKES];
	unsigned count = 0;

	if (task == NULL || task->process == NULL || !task->process->one_shot)
		return;
	struct sp_process *process = task->process;
	sp_list_each (task, &process->tasks, process_link)
		if (task->traced)
			traced[count++] = task->tid;
	on_ended(process->tgid, process, 0, s->tracer);
	check(s);
	for (unsigned i = 0; i < count; i++)
		if (find(s, traced[i]) != NULL) /* a leader takes the others with it */
			dispatch(s->tracer, traced[i], made_up[EXIT]);
}

static void random_adoption(struct stage *s)
{
	kernel.tgid = throw_dice(4) != 0 ? any_tid() : 0;
	kernel.ppid = any_tid();
	s->adopts = throw_dice(2) != 0;
	s->one_shot = throw_dice(2) != 0;
	on_newborns(&s->tracer->newborns);
}

static void random_timer(struct stage *s)
{
	if (throw_dice(10) == 0)
		forget_buried(s->tracer);
	on_lingerers(&s->tracer->lingerers);
}

static void (*const happenings[])(struct stage *s) = {
	random_fork,   random_fork,         random_fork,     random_fork,      random_exec, random_event,
	random_event,  random_event,        random_root,     random_interrupt, random_hold, random_let_fork,
	random_caller, random_end_untraced, random_adoption, random_timer,
};

static void end_everybody(struct stage *s)
{
	struct victims v;

	do {
		v.count = 0;
		sp_index_each(s->index, list_live, &v);
		for (unsigned i = 0; i < v.count; i++)
			if (find(s, v.tid[i]) != NULL)
				dispatch(s->tracer, v.tid[i], made_up[EXIT]);
		check(s);
	} while (v.count > 0);
}

Test(tracer_table, a_hundred_thousand_random_events, .timeout = 600)
{
	static struct stage s;
	struct sp_error e = {0};

	open_stage(&s);
	cr_assert_eq(prepare_one_shot(s.tracer, &e), 0, "%s", e.text);
	for (unsigned step = 0; step < STEPS; step++) {
		kernel.alive = throw_dice(4) != 0;
		happenings[throw_dice(sizeof happenings / sizeof *happenings)](&s);
		check(&s);
	}
	end_everybody(&s);
	(void)fprintf(stderr, "seed %u: %u processes born\n", SEED, s.born);
	cr_assert_gt(s.born, STEPS / 100, "hardly anything has happened");
	close_stage(&s);
}
