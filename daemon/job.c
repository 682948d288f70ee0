/* See engine.h and job.h: ties the gate to the policy and the audit trail, and the launch to the tracer. */
#include "job.h"

#include "freeze.h"
#include "judge.h"
#include "launch/launch.h"
#include "limits/cgroup.h"
#include "notify/listener.h"
#include "ptrace/arch.h"
#include "reload.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/pids.h"
#include "util/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FREEZE_DEADLINE = 5000, READ_DEADLINE = 5000, EXEC_DEADLINE = 5000, HANG_UP_AFTER = 3000 }; /* milliseconds */
enum { LAUNCH_WITHIN = 30000 }; /* of somebody else's child */
enum { SHOWN_ARGV = 4 << 10, WRITE_HITS_AFTER = 1000 /* milliseconds */ };

struct sp_job {
	struct sp_list link; /* in the engine's list of jobs */
	struct sp_job_tools tools;
	const struct sp_policy *policy; /* that it was started with: held */
	const struct sp_policy *current; /* that judges: held */
	struct sp_reloader *reloader;
	uv_timer_t hits; /* runs while there are some to be written */
	struct sp_pids *pids; /* every process id it has ever had; NULL: not known */
	const struct sp_job_events *events;
	void *context;
	uint64_t id;
	struct sp_judge *judge;
	struct sp_gatekeeper *keeper;
	struct sp_listener *listener;
	struct sp_list processes; /* struct sp_process.job_link */
	struct sp_process *root; /* NULL once it has ended */
	pid_t root_pid;
	int root_status;
	uv_poll_t channel; /* of the launch */
	struct sp_launched launched;
	int home; /* the root directory that was made for it; 0: it has ours */
	bool launching; /* the channel is open */
	bool refused; /* too little of what the launch was to do could be done */
	unsigned open_handles;
	bool one_shot;
	bool hung_up; /* the listener: no task is under the filter any more */
	bool killed; /* what is born now must not live */
	bool ended; /* the last process is gone */
	bool foreign; /* the root is somebody else's child */
	struct sp_cgroup *cgroup; /* limits of the tree; NULL: none */
	int64_t process_limit; /* where no control group counts them; 0: none */
	uv_timer_t wall; /* runs if there is a limit of time */
	uv_timer_t hang_up; /* runs when the last known process is gone and the listener has not hung up */
	uv_timer_t late; /* foreign: runs while its launch is to be heard of */
	uint64_t last_process; /* key given out */
	unsigned frozen; /* nobody runs as long as there is one of enum freezer */
	struct sp_job_about about; /* its argv is ours */
	struct sp_job_counts counts;
};

enum freezer { FROZEN_BY_CALL = 1, FROZEN_BY_QUESTION = 2 };

static void on_notification(const struct seccomp_notif *notification, void *context);
static void on_hung_up(void *context);
static void on_no_hang_up(uv_timer_t *timer);
static void on_wall(uv_timer_t *timer);
static void on_late(uv_timer_t *timer);
static void on_stolen(void *context);
static void on_channel(uv_poll_t *handle, int status, int events);
static void close_channel(struct sp_job *job);
static void launch_failed(struct sp_job *job, const struct sp_error *e);
static void close_handles(struct sp_job *job);
static void finish(struct sp_job *job);

/* Counts what could not be recorded, which must not stop the job. */
static bool recorded(struct sp_job *job, int err)
{
	job->counts.audit_failures += err != 0;
	return err == 0;
}

static size_t join_words(char *const *words, char *to)
{
	size_t size = 0;

	for (size_t i = 0; words[i] != NULL; i++) {
		size_t length = strlen(words[i]) + 1;

		if (to != NULL)
			memcpy(to + size, words[i], length);
		size += length;
	}
	return size;
}

/* For those who look at it later. */
static int remember(struct sp_job *job, const struct sp_job_plan *plan, uid_t uid)
{
	const size_t size = join_words(plan->argv, NULL);
	char *argv = malloc(size);

	if (argv == NULL)
		return -ENOMEM;
	(void)join_words(plan->argv, argv);
	job->about = (struct sp_job_about){
		.started = sp_now(),
		.uid = uid,
		.policy = sp_policy_name(plan->policy),
		.policy_file = sp_policy_file(plan->policy),
		.tracking = plan->tracking,
		.argv = {.data = argv, .size = size},
	};
	if (size <= SHOWN_ARGV)
		return 0;
	argv[SHOWN_ARGV - 1] = '\0';
	char *shorter = realloc(argv, SHOWN_ARGV);
	job->about.argv = (struct sp_bytes){.data = shorter != NULL ? shorter : argv, .size = SHOWN_ARGV};
	return 0;
}

static int record_job(struct sp_job *job, const struct sp_job_plan *plan)
{
	size_t size = join_words(plan->argv, NULL);
	cleanup_free char *argv = malloc(size);

	if (argv == NULL)
		return -ENOMEM;
	(void)join_words(plan->argv, argv);
	const struct sp_audit_job record = {
		.job = job->id,
		.time = sp_now(),
		.supervisor = getpid(),
		.uid = job->about.uid,
		.policy = sp_policy_name(plan->policy),
		.policy_file = sp_policy_file(plan->policy),
		.policy_digest = sp_policy_digest(plan->policy),
		.tracking = job->one_shot ? "oneshot" : "attached",
		.cwd = plan->cwd != NULL ? plan->cwd : "",
		.argv = {.data = argv, .size = size},
	};
	return job->tools.audit != NULL ? sp_audit_job(job->tools.audit, &record) : 0;
}

static void record_end(struct sp_job *job)
{
	const struct sp_audit_job_end record = {.job = job->id, .time = sp_now(), .status = job->root_status};

	if (job->tools.audit != NULL)
		(void)recorded(job, sp_audit_job_end(job->tools.audit, &record));
}

/* Gives up a job that has no process yet. */
static void drop_job(struct sp_job **at)
{
	struct sp_job *job = *at;

	if (job == NULL)
		return;
	if (job->keeper != NULL)
		sp_gatekeeper_close(job->keeper);
	sp_launch_end_init(&job->launched);
	sp_cgroup_close(job->cgroup);
	sp_reloader_close(sp_steal_ptr(job->reloader));
	close_handles(job);
}

/* It waits for our word, which it will not get. */
static void end_child(const struct sp_job *job)
{
	(void)kill(job->root_pid, SIGKILL);
	(void)waitpid(job->root_pid, NULL, 0);
}

/* Why the launch ended at that stage. */
static int explain_failure(const struct sp_job *job, const struct sp_launch_outcome *outcome, enum sp_stage stage,
			   struct sp_error *e)
{
	const int err = outcome->stage[stage].err;
	const char *what = strerror(err);
	const struct sp_error *refusal = sp_judge_refusal(job->judge);

	if (stage == SP_STAGE_EXEC && refusal->err != 0)
		*e = *refusal;
	else if (stage == SP_STAGE_EXEC)
		(void)sp_fail(e, err, "%s", what);
	else if (stage == SP_STAGE_FILTER && err == EBUSY)
		(void)sp_fail(e, EBUSY,
			      "already supervised: a filter with a listener is in force here, and the kernel "
			      "allows one only");
	else if (stage == SP_STAGE_FILTER && err == EINVAL)
		(void)sp_fail(e, EINVAL,
			      "this kernel is too old: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs Linux 5.19");
	else
		(void)sp_fail(e, err, "%s failed: %s", sp_stage_name(stage), what);
	return -e->err;
}

/* The stage that ended the launch: one of the last three, which no job can do without. SP_STAGES: it goes on. */
static enum sp_stage fatal_stage(const struct sp_launch_outcome *outcome)
{
	enum sp_stage s = SP_STAGE_FILTER;

	while (s < SP_STAGES && outcome->stage[s].state != SP_STAGE_FAILED)
		s++;
	return s;
}

/* It may be that the child was dead before it could be traced: then it has said why. */
static int explain_seize(struct sp_job *job, int err, struct sp_error *e)
{
	struct sp_launch_outcome outcome;
	int listener;

	if (sp_launch_receive(job->launched.channel, &outcome, &listener) != 1)
		return err;
	sp_close_fd(&listener);
	const enum sp_stage fatal = fatal_stage(&outcome);
	return fatal != SP_STAGES ? explain_failure(job, &outcome, fatal, e) : err;
}

[[gnu::format(printf, 2, 3)]] static void notify(struct sp_job *job, const char *format, ...)
{
	char sentence[256];
	va_list arguments;

	if (job->events->notice == NULL)
		return;
	va_start(arguments, format);
	(void)vsnprintf(sentence, sizeof sentence, format, arguments);
	va_end(arguments);
	job->events->notice(job, sentence, job->context);
}

/* What cannot be had is said, and the rest holds. Processes are then counted by us. */
static void tell_limits(struct sp_job *job, const struct sp_launch_outcome *outcome)
{
	for (enum sp_stage s = SP_STAGE_TREE_MEMORY; s <= SP_STAGE_TREE_CPUS; s++) {
		const int err = outcome->stage[s].err;
		const char *why = err == ENOTSUP ? "no control group here has it" : strerror(err);

		if (err != 0 && s == SP_STAGE_TREE_PROCESSES)
			notify(job, "%s: we count them, since no control group can (%s)", sp_stage_name(s), why);
		else if (err != 0)
			notify(job, "%s does not hold for the tree: %s", sp_stage_name(s), why);
	}
}

static void take_limits(struct sp_job *job, const struct sp_launch_outcome *outcome)
{
	if (outcome->stage[SP_STAGE_TREE_PROCESSES].state == SP_STAGE_FAILED)
		job->process_limit = sp_policy_confinement(job->policy)->limits[SP_LIMIT_PROCESSES].value;
	tell_limits(job, outcome);
}

static void start_wall(struct sp_job *job)
{
	const struct sp_confinement *asked = sp_policy_confinement(job->policy);

	if (asked->wall_seconds.given)
		(void)uv_timer_start(&job->wall, on_wall, (uint64_t)asked->wall_seconds.value * 1000, 0);
}

/* Before the child is there: it shall not run a moment without. */
static int prepare_limits(struct sp_job *job, const struct sp_confinement *asked, struct sp_tree_limits *limits,
			  struct sp_error *e)
{
	*limits = (struct sp_tree_limits){
		.value = {[SP_TREE_MEMORY] = asked->memory.value,
			  [SP_TREE_TASKS] = asked->limits[SP_LIMIT_PROCESSES].value,
			  [SP_TREE_CPU] = asked->milli_cpus.value},
	};

	start_wall(job);
	if (!asked->memory.given && !asked->limits[SP_LIMIT_PROCESSES].given && !asked->milli_cpus.given)
		return 0;
	if (sp_cgroup_new(job->id, limits, &job->cgroup) != 0)
		return sp_fail(e, ENOMEM, "out of memory");
	return 0;
}

static void on_wall(uv_timer_t *timer)
{
	struct sp_job *job = timer->data;

	notify(job, "killed after %" PRId64 " s: limits.wall_seconds",
	       sp_policy_confinement(job->policy)->wall_seconds.value);
	sp_job_kill(job);
}

/* Takes over job->launched.channel, on failure too. */
static int watch_channel(struct sp_job *job, struct sp_error *e)
{
	int err = uv_poll_init(job->tools.gate.loop, &job->channel, job->launched.channel);

	if (err != 0) {
		(void)close(job->launched.channel);
		return sp_fail(e, -err, "cannot watch the launch: %s", uv_strerror(err));
	}
	job->launching = true;
	job->open_handles++;
	job->channel.data = job;
	(void)uv_poll_start(&job->channel, UV_READABLE, on_channel);
	return 0;
}

static int start_child(struct sp_job *job, const struct sp_job_plan *plan, struct sp_error *e)
{
	struct sp_tree_limits limits;
	int err = prepare_limits(job, sp_policy_confinement(plan->policy), &limits, e);
	const struct sp_launch launch = {
		.file = plan->file,
		.argv = plan->argv,
		.envp = plan->envp,
		.signal_mask = plan->signal_mask,
		.ignore_sigchld = plan->ignore_sigchld,
		.nofile = sp_tracer_nofile(job->tools.gate.tracer),
		.filter = &job->tools.filters[job->one_shot ? SP_NOTIFY_EXECS_AND_FORKS : SP_NOTIFY_EXECS],
		.confinement = sp_policy_confinement(plan->policy),
		.limits = &limits,
		.cgroup = job->cgroup,
		.cwd = plan->cwd,
	};
	if (err == 0)
		err = sp_launch_fork(&launch, &job->launched, e);
	sp_cgroup_shut(job->cgroup);
	/* In one-shot tracking it is the fork that is refused: somebody would have to trace us for it, who cannot. */
	if (err == -EAGAIN && sp_tracer_possible(e) != 0)
		return -EBUSY;
	if (err != 0)
		return err;
	job->root_pid = job->launched.pid;
	err = watch_channel(job, e);
	if (err != 0) {
		end_child(job);
		return err;
	}
	err = sp_tracer_seize(job->tools.gate.tracer, job->root_pid, job, job->one_shot, &job->root, e);
	if (err == 0)
		return 0;
	err = explain_seize(job, err, e);
	end_child(job);
	return err;
}

static int take_child(struct sp_job *job, const struct sp_job_child *child, struct sp_error *e)
{
	job->root_pid = child->pid;
	start_wall(job);
	int err = watch_channel(job, e);
	if (err != 0)
		return err;
	(void)uv_timer_start(&job->late, on_late, LAUNCH_WITHIN, 0);
	return sp_tracer_seize_foreign(job->tools.gate.tracer, child->pid, child->pidfd, job, job->one_shot, &job->root,
				       e);
}

/* Nothing was heard of the launch, or it goes on without end. */
static void on_late(uv_timer_t *timer)
{
	struct sp_job *job = timer->data;
	struct sp_error e;

	(void)sp_fail(&e, ETIMEDOUT, "its launch took too long");
	launch_failed(job, &e);
	sp_job_kill(job);
}

/* Who answers there as well decides as he likes. */
static void on_stolen(void *context)
{
	struct sp_job *job = context;

	notify(job, "killed: somebody else receives what its listener is told");
	sp_job_kill(job);
}

/* What the policy asks for and nobody does yet: said before anything is made. */
static int check_policy(const struct sp_policy *policy, struct sp_error *e)
{
	if (sp_policy_plugins(policy)->count > 0)
		return sp_fail(e, ENOTSUP, "plugins cannot be asked yet");
	if (sp_policy_wants_ancestors(policy))
		return sp_fail(e, ENOTSUP,
			       "parent, ancestor and depth cannot be decided yet: nobody keeps what ran before");
	return 0;
}

/* --- another policy --- */

static int take_policy(const struct sp_policy *policy, void *context, struct sp_error *e)
{
	struct sp_job *job = context;
	int err = check_policy(policy, e);

	if (err == 0)
		err = sp_judge_take_policy(job->judge, policy, e);
	if (err != 0)
		return err;
	sp_gatekeeper_want_env(job->keeper, sp_policy_wants_env(policy));
	sp_policy_free((struct sp_policy *)job->current);
	job->current = sp_policy_hold(policy);
	job->about.policy = sp_policy_name(policy);
	job->about.policy_file = sp_policy_file(policy);
	return 0;
}

void sp_job_reload(struct sp_job *job, struct sp_reload *reload)
{
	sp_reloader_ask(job->reloader, sp_policy_file(job->current), reload);
}

struct sp_questions *sp_job_questions(const struct sp_job *job)
{
	return sp_judge_questions(job->judge);
}

static void on_questions_changed(void *context)
{
	struct sp_job *job = context;
	struct sp_engine_observer *observer, *next;

	sp_list_each_safe (observer, next, job->tools.observers, link)
		if (observer->questions != NULL)
			observer->questions(job, observer->context);
}

/* What is remembered is read before the job runs, which might write it. */
static struct sp_remembered *read_remembered(struct sp_job *job, const struct sp_policy *policy)
{
	struct sp_remembered *remembered = sp_policy_can_ask(policy) ? sp_remembered_new(sp_policy_file(policy)) : NULL;
	struct sp_error e;

	if (remembered != NULL && sp_remembered_load(remembered, &e) != 0)
		notify(job, "what was remembered is not known, so you are asked: %s", e.text);
	return remembered;
}

uint64_t sp_job_generation(const struct sp_job *job)
{
	return sp_judge_generation(job->judge);
}

static void write_hits(struct sp_job *job)
{
	(void)recorded(job, sp_judge_write_hits(job->judge));
}

static void on_hits(uv_timer_t *timer)
{
	write_hits(timer->data);
}

/* Not at once: many are written together. */
static void write_hits_later(struct sp_job *job)
{
	if (sp_judge_has_hits(job->judge) && !uv_is_active((uv_handle_t *)&job->hits))
		(void)uv_timer_start(&job->hits, on_hits, WRITE_HITS_AFTER, 0);
}

static int record_start(struct sp_job *job, const struct sp_job_plan *plan, struct sp_error *e)
{
	int err = record_job(job, plan);

	return err == 0 ? 0 : sp_fail(e, -err, "the job cannot be recorded: %s", strerror(-err));
}

/* The caller's descriptors, until the job has them. */
struct handed {
	int channel, wire;
};

static void close_handed(struct handed *handed)
{
	sp_close_fd(&handed->channel);
	sp_close_fd(&handed->wire);
}

static int begin(struct sp_job *job, const struct sp_job_plan *plan, const struct sp_job_child *child,
		 struct handed *handed, struct sp_error *e)
{
	int err;

	if (child != NULL) {
		/* It cannot be taken back, so the record comes first. */
		err = record_start(job, plan, e);
		if (err != 0)
			return err;
		job->launched.channel = sp_steal_fd(&handed->channel);
		job->launched.wire = sp_steal_fd(&handed->wire);
		err = take_child(job, child, e);
		if (err != 0)
			record_end(job);
		return err;
	}
	/* The child prepares itself while the database is opened, and waits for our word. */
	err = start_child(job, plan, e);
	if (err == 0 && (err = record_start(job, plan, e)) != 0)
		sp_tracer_abandon(job->tools.gate.tracer, job->root);
	return err;
}

static void start_timer(struct sp_job *job, uv_timer_t *timer)
{
	(void)uv_timer_init(job->tools.gate.loop, timer);
	timer->data = job;
	job->open_handles++;
}

struct sp_job *sp_job_new(const struct sp_job_tools *tools, const struct sp_job_plan *plan,
			  const struct sp_job_child *child, struct sp_error *e)
{
	sp_cleanup(close_handed) struct handed handed = {-1, -1};
	if (child != NULL)
		handed = (struct handed){child->channel, child->wire};
	if (check_policy(plan->policy, e) != 0)
		return NULL;
	sp_cleanup(drop_job) struct sp_job *job = calloc(1, sizeof *job);

	if (job == NULL) {
		sp_fail(e, ENOMEM, "out of memory");
		return NULL;
	}
	job->tools = *tools;
	job->launched.channel = job->launched.wire = -1;
	sp_list_init(&job->link);
	job->policy = sp_policy_hold(plan->policy);
	job->current = sp_policy_hold(plan->policy);
	job->pids = sp_pids_new();
	job->one_shot = plan->tracking == SP_TRACKING_ONESHOT;
	job->events = plan->events;
	job->context = plan->context;
	sp_list_init(&job->processes);
	job->foreign = child != NULL;
	start_timer(job, &job->hang_up);
	start_timer(job, &job->wall);
	start_timer(job, &job->hits);
	start_timer(job, &job->late);
	const struct sp_gate_settings settings = {
		.want_env = sp_policy_wants_env(plan->policy),
		.without_freeze = (plan->weaknesses & SP_WITHOUT_FREEZE) != 0,
		.without_verify = (plan->weaknesses & SP_WITHOUT_VERIFY) != 0,
		.without_comparison = (plan->weaknesses & SP_WITHOUT_COMPARISON) != 0,
		.freeze_deadline = FREEZE_DEADLINE,
		.read_deadline = READ_DEADLINE,
		.exec_deadline = EXEC_DEADLINE,
	};
	if (getrandom(&job->id, sizeof job->id, 0) != (ssize_t)sizeof job->id) {
		sp_fail(e, errno, "no random numbers: %s", strerror(errno));
		return NULL;
	}
	const struct sp_judge_plan judge = {
		.job = job->id,
		.policy = plan->policy,
		.audit = tools->audit,
		.loop = tools->gate.loop,
		.remembered = read_remembered(job, plan->policy),
		.questions_changed = on_questions_changed,
		.context = job,
	};
	job->judge = sp_judge_new(&judge);
	job->reloader = sp_reloader_new(tools->gate.blocking, take_policy, job);
	if (job->judge != NULL && job->reloader != NULL &&
	    remember(job, plan, child != NULL ? child->uid : getuid()) == 0)
		job->keeper = sp_gatekeeper_new(&tools->gate, &settings, &job->processes, &sp_judge_ops, job->judge);
	if (job->keeper == NULL) {
		sp_fail(e, ENOMEM, "out of memory");
		return NULL;
	}
	sp_judge_set_gatekeeper(job->judge, job->keeper);
	if (begin(job, plan, child, &handed, e) != 0)
		return NULL;
	sp_list_add(tools->jobs, &job->link);
	sp_job_process_born(job, job->root);
	return sp_steal_ptr(job);
}

void sp_job_kill(struct sp_job *job)
{
	const struct sp_process *process;

	job->killed = true;
	sp_cgroup_kill(job->cgroup);
	sp_list_each (process, &job->processes, job_link)
		sp_tracer_kill(process);
}

bool sp_job_is_killed(const struct sp_job *job)
{
	return job->killed;
}

bool sp_job_is_one_shot(const struct sp_job *job)
{
	return job->one_shot;
}

/* Of a process that is going to fork, none but its own session is left as a trace when it is killed. */
struct sp_job *sp_job_guess(const struct sp_list *jobs, pid_t pid)
{
	struct sp_job *job, *best = NULL;
	const pid_t session = getsid(pid);

	sp_list_each (job, jobs, link) {
		if (job->root != NULL && getsid(job->root_pid) == session)
			return job;
		/* one that waits for somebody it does not know */
		if (best == NULL || sp_list_empty(&job->processes))
			best = job;
	}
	return best;
}

bool sp_job_has(const struct sp_job *job, pid_t pid)
{
	const struct sp_task *task = sp_index_find(job->tools.gate.index, pid);

	return task != NULL && task->process != NULL && task->process->job == job;
}

bool sp_job_has_had(const struct sp_job *job, pid_t pid)
{
	return job->pids == NULL || sp_pids_have(job->pids, pid);
}

pid_t sp_job_root(const struct sp_job *job)
{
	return job->root_pid;
}

uint64_t sp_job_id(const struct sp_job *job)
{
	return job->id;
}

struct sp_job_counts sp_job_counts(const struct sp_job *job)
{
	struct sp_job_counts counts = job->counts;
	const struct sp_judge_counts judged = sp_judge_counts(job->judge);
	const struct sp_gate_stats gates = sp_gatekeeper_stats(job->keeper);

	counts.execs = judged.execs;
	counts.denied = judged.denied;
	counts.failed = judged.failed;
	counts.audit_failures += judged.audit_failures;
	counts.mismatches = gates.mismatches;
	counts.illegal += gates.illegal;
	counts.gates = sp_gatekeeper_active(job->keeper);
	counts.tasks = sp_index_size(job->tools.gate.index);
	return counts;
}

struct sp_gatekeeper *sp_job_gatekeeper(const struct sp_job *job)
{
	return job->keeper;
}

/* --- for those who look at it --- */

const struct sp_job_about *sp_job_about(const struct sp_job *job)
{
	return &job->about;
}

const struct sp_latency *sp_job_latency(const struct sp_job *job)
{
	return sp_gatekeeper_latency(job->keeper);
}

const int *sp_job_status(const struct sp_job *job)
{
	return job->root == NULL ? &job->root_status : NULL;
}

void sp_jobs_each(const struct sp_list *jobs, bool (*visit)(struct sp_job *job, void *data), void *data)
{
	struct sp_job *job, *next;

	sp_list_each_safe (job, next, jobs, link)
		if (!visit(job, data))
			return;
}

static struct sp_process_about describe_process(const struct sp_process *process)
{
	struct sp_process_about about = {
		.key = process->key,
		.parent = process->parent != NULL ? process->parent->key : 0,
		.pid = process->tgid,
		.parent_pid = process->parent != NULL ? process->parent->tgid : 0,
		.threads = process->task_count,
		.execs = process->generation,
		.stopped = process->group_stopped,
	};
	const struct sp_task *task;

	sp_list_each (task, &process->tasks, process_link)
		about.deciding |= task->gate != NULL;
	return about;
}

/* They are in the order of their births. */
void sp_job_each_process(const struct sp_job *job, uint64_t after,
			 bool (*visit)(const struct sp_process_about *process, void *data), void *data)
{
	const struct sp_process *process;

	sp_list_each (process, &job->processes, job_link) {
		if (process->key <= after)
			continue;
		const struct sp_process_about about = describe_process(process);
		if (!visit(&about, data))
			return;
	}
}

/* --- freeze and thaw --- */

static int freeze(struct sp_job *job, enum freezer freezer)
{
	if (job->one_shot)
		return -ENOTSUP;
	job->frozen |= freezer;
	if (job->listener != NULL)
		sp_listener_pause(job->listener, true);
	sp_freeze(job->tools.gate.tracer, &job->processes);
	return 0;
}

static void thaw(struct sp_job *job, enum freezer freezer)
{
	const bool was = (job->frozen & freezer) != 0;

	job->frozen &= ~(unsigned)freezer;
	if (!was || job->frozen != 0)
		return;
	if (job->listener != NULL && !job->hung_up)
		sp_listener_pause(job->listener, false);
	sp_thaw(job->tools.gate.tracer, &job->processes);
}

int sp_job_freeze(struct sp_job *job)
{
	return freeze(job, FROZEN_BY_CALL);
}

void sp_job_thaw(struct sp_job *job)
{
	thaw(job, FROZEN_BY_CALL);
}

int sp_job_hold(struct sp_job *job)
{
	return freeze(job, FROZEN_BY_QUESTION);
}

void sp_job_let_go(struct sp_job *job)
{
	thaw(job, FROZEN_BY_QUESTION);
}

bool sp_job_is_frozen(const struct sp_job *job)
{
	return job->frozen != 0;
}

unsigned sp_job_running(const struct sp_job *job)
{
	return sp_freeze_running(&job->processes);
}

/* --- processes --- */

/* One more than may be: it is there already, but has not run. To its parent it looks as if it had been killed at once. */
static void end_surplus(struct sp_job *job, const struct sp_process *process)
{
	sp_tracer_kill(process);
	if (job->counts.surplus++ == 0)
		notify(job, "limits.processes: there are %" PRId64 "; who is born beyond that is killed at once",
		       job->process_limit);
}

void sp_job_process_born(struct sp_job *job, struct sp_process *process)
{
	process->key = ++job->last_process;
	sp_list_add(&job->processes, &process->job_link);
	sp_pids_add(job->pids, process->tgid);
	job->counts.processes++;
	job->counts.alive++;
	const struct sp_audit_process record = {
		.job = job->id,
		.process = process->key,
		.parent = process->parent != NULL ? process->parent->key : 0,
		.time = sp_now(),
		.pid = process->tgid,
	};
	if (job->tools.audit != NULL)
		(void)recorded(job, sp_audit_process(job->tools.audit, &record));
	if (job->killed)
		sp_tracer_kill(process);
	else if (job->process_limit > 0 && job->counts.alive > (uint64_t)job->process_limit)
		end_surplus(job, process);
}

void sp_job_process_gone(struct sp_job *job, struct sp_process *process)
{
	const struct sp_audit_exit record = {
		.job = job->id, .process = process->key, .time = sp_now(), .status = process->status};

	job->counts.alive--;
	if (job->tools.audit != NULL)
		(void)recorded(job, sp_audit_exit(job->tools.audit, &record));
	if (process == job->root) {
		job->root = NULL;
		job->root_status = process->status;
		if (job->launching) /* read what it may have said at the end */
			on_channel(&job->channel, 0, UV_READABLE);
		if (job->events->root_exit != NULL)
			job->events->root_exit(job, process->status, job->context);
	}
	if (!sp_list_empty(&job->processes))
		return;
	if (job->listener == NULL || job->hung_up)
		finish(job);
	else
		(void)uv_timer_start(&job->hang_up, on_no_hang_up, HANG_UP_AFTER, 0);
}

/* A child whose parent was killed in the middle of the fork may be all that is left, and not known yet: the listener knows. */
static void on_hung_up(void *context)
{
	struct sp_job *job = context;

	job->hung_up = true;
	if (sp_list_empty(&job->processes))
		finish(job);
}

/* Somebody does not reap its zombies, which before 6.11 count as users of the filter. */
static void on_no_hang_up(uv_timer_t *timer)
{
	struct sp_job *job = timer->data;

	if (sp_list_empty(&job->processes))
		finish(job);
}

void sp_job_group_stop(struct sp_job *job, const struct sp_process *process, int signal)
{
	if (process == job->root && job->events->root_stop != NULL)
		job->events->root_stop(job, signal, job->context);
}

static void tell_observers(struct sp_job *job)
{
	struct sp_engine_observer *observer, *next;

	sp_list_each_safe (observer, next, job->tools.observers, link)
		if (observer->job_ended != NULL)
			observer->job_ended(job, observer->context);
}

static void finish(struct sp_job *job)
{
	sp_launch_let_init_go(&job->launched);
	write_hits(job);
	record_end(job);
	sp_listener_close(job->listener);
	job->listener = NULL;
	sp_cgroup_close(sp_steal_ptr(job->cgroup));
	tell_observers(job);
	sp_reloader_close(sp_steal_ptr(job->reloader));
	sp_list_del(&job->link);
	if (job->events->done != NULL)
		job->events->done(job, job->context);
	sp_gatekeeper_close(job->keeper);
	close_handles(job);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct sp_job *job = handle->data;

	if (--job->open_handles > 0)
		return;
	/* It has had the time that all else takes. */
	sp_launch_end_init(&job->launched);
	if (job->home > 0)
		(void)close(job->home);
	sp_judge_free(job->judge);
	sp_pids_free(job->pids);
	sp_policy_free((struct sp_policy *)job->current);
	sp_policy_free((struct sp_policy *)job->policy);
	free((void *)job->about.argv.data);
	free(job);
}

/* The job goes when its handles are closed. */
static void close_handles(struct sp_job *job)
{
	job->ended = true;
	if (job->launching)
		close_channel(job);
	uv_close((uv_handle_t *)&job->wall, on_handle_closed);
	uv_close((uv_handle_t *)&job->hang_up, on_handle_closed);
	uv_close((uv_handle_t *)&job->hits, on_handle_closed);
	uv_close((uv_handle_t *)&job->late, on_handle_closed);
}

/* --- launch --- */

static void on_channel_closed(uv_handle_t *handle)
{
	struct sp_job *job = handle->data;

	(void)close(job->launched.channel);
	job->launching = false;
	on_handle_closed(handle);
}

static void close_channel(struct sp_job *job)
{
	(void)uv_timer_stop(&job->late);
	if (!uv_is_closing((uv_handle_t *)&job->channel))
		uv_close((uv_handle_t *)&job->channel, on_channel_closed);
}

static void launch_failed(struct sp_job *job, const struct sp_error *e)
{
	if (job->events->launch_failed != NULL)
		job->events->launch_failed(job, e, job->context);
}

static void refuse_launch(struct sp_job *job, const struct sp_launch_outcome *outcome, enum sp_launch_level require)
{
	const enum sp_stage stage = sp_launch_first_failure(outcome);
	const int err = outcome->stage[stage].err;
	struct sp_error e;

	(void)sp_fail(&e, err, "not started: launch.require is %s, but only %s could be had: %s failed: %s",
		      sp_launch_level_name(require), sp_launch_level_name(sp_launch_level(outcome)),
		      sp_stage_name(stage), strerror(err));
	job->refused = true;
	launch_failed(job, &e);
}

/* In the mount namespace that we made, names of files are as good as in ours, as long as the job cannot mount there: it has lost
 * CAP_SYS_ADMIN with the capabilities' stage, and in a user namespace of its own it has no say in this one. */
static void take_home(struct sp_job *job, const struct sp_launch_outcome *outcome)
{
	char path[SP_PROC_NAME];

	if (outcome->stage[SP_STAGE_MOUNT].state != SP_STAGE_APPLIED ||
	    outcome->stage[SP_STAGE_CAPABILITIES].state != SP_STAGE_APPLIED)
		return;
	cleanup_close int root = open(sp_proc_task(path, job->root_pid, "root"), O_PATH | O_DIRECTORY | O_CLOEXEC);
	/* Never 0, which says that there is none. */
	int home = root >= 0 ? fcntl(root, F_DUPFD_CLOEXEC, 3) : -1;
	if (home > 0)
		job->home = home;
	sp_gatekeeper_set_home(job->keeper, job->home);
}

static int record_launch(struct sp_job *job, const struct sp_launch_outcome *outcome)
{
	struct sp_launch_record bytes;
	const struct sp_audit_launch record = {
		.job = job->id,
		.level = sp_launch_level_name(sp_launch_level(outcome)),
		.record = {.data = (const char *)&bytes, .size = sizeof bytes},
	};

	sp_launch_record_encode(&bytes, outcome);
	/* What asks for nothing has nothing to tell. */
	return job->tools.audit != NULL && sp_policy_confinement(job->policy)->given
		       ? sp_audit_launch(job->tools.audit, &record)
		       : 0;
}

/* Prepared, and waiting for the word. 0: it goes on. */
static int take_listener(struct sp_job *job, int fd, const struct sp_launch_outcome *outcome)
{
	const enum sp_launch_level require = sp_policy_confinement(job->policy)->require;
	struct sp_error e;

	job->listener = sp_listener_new(job->tools.gate.loop, fd, on_notification, on_hung_up, job, &e);
	if (job->listener == NULL) {
		launch_failed(job, &e);
		return -e.err;
	}
	sp_gatekeeper_set_listener(job->keeper, job->listener);
	if (job->foreign)
		sp_listener_distrust(job->listener, job->tools.guard, on_stolen);
	if (job->frozen != 0)
		sp_listener_pause(job->listener, true);
	take_home(job, outcome);
	take_limits(job, outcome);
	int err = record_launch(job, outcome);
	if (err != 0) {
		(void)sp_fail(&e, -err, "the launch cannot be recorded: %s", strerror(-err));
		launch_failed(job, &e);
		return err;
	}
	if (job->events->launched != NULL)
		job->events->launched(job, outcome, job->context);
	if (!sp_launch_suffices(outcome, require)) {
		refuse_launch(job, outcome, require);
		return -EPERM;
	}
	(void)uv_timer_stop(&job->late); /* from now on it is the gate's */
	return sp_launch_go(job->launched.channel);
}

static void on_channel(uv_poll_t *handle, int status, int events)
{
	struct sp_job *job = handle->data;
	struct sp_launch_outcome outcome;
	struct sp_error e;
	cleanup_close int listener = -1;

	(void)events;
	int got = status == 0 ? sp_launch_receive(job->launched.channel, &outcome, &listener) : status;
	if (got == -EAGAIN)
		return;
	const enum sp_stage fatal = got == 1 ? fatal_stage(&outcome) : SP_STAGES;
	if (fatal != SP_STAGES) {
		(void)recorded(job, record_launch(job, &outcome));
		(void)explain_failure(job, &outcome, fatal, &e);
		launch_failed(job, &e);
	} else if (got == 1 && listener >= 0 && job->listener == NULL &&
		   take_listener(job, sp_steal_fd(&listener), &outcome) == 0) {
		return;
	} else if (got != 0 && !job->refused && job->root != NULL) {
		sp_tracer_kill(job->root); /* it does not speak as it should */
	}
	/* Our own child ends when the channel is closed; of another's nobody knows. */
	if (job->foreign && (job->refused || job->listener == NULL) && job->root != NULL)
		sp_tracer_kill(job->root);
	close_channel(job);
}

/* --- execs --- */

/* One-shot tracking: the child will be known. A fork that could not be followed does not happen. */
static void let_fork(struct sp_job *job, struct sp_task *caller, uint64_t id)
{
	const bool full = job->process_limit > 0 && job->counts.alive >= (uint64_t)job->process_limit;
	int err = job->killed || full ? -EAGAIN : sp_tracer_let_fork(job->tools.gate.tracer, caller);

	(void)sp_listener_answer(job->listener, id, err == 0 ? 0 : EAGAIN);
}

/* The one after process in the tree below top, parents first. NULL: that was the last. */
static struct sp_process *next_in_tree(struct sp_process *process, const struct sp_process *top)
{
	if (!sp_list_empty(&process->children))
		return sp_container_of(process->children.next, struct sp_process, sibling);
	while (process != top && process->sibling.next == &process->parent->children)
		process = process->parent;
	return process != top ? sp_container_of(process->sibling.next, struct sp_process, sibling) : NULL;
}

/* A process that was guessed to be another job's, and all that descend from it: the listener that one of them speaks through
 * knows better. */
static void take_over(struct sp_job *job, struct sp_process *process)
{
	struct sp_job *former = process->job;

	while (process->parent != NULL && process->parent->job == former)
		process = process->parent;
	if (process == former->root)
		return;
	for (struct sp_process *each = process; each != NULL; each = next_in_tree(each, process)) {
		sp_list_del(&each->job_link);
		former->counts.alive--;
		each->job = job;
		sp_job_process_born(job, each);
	}
	if (sp_list_empty(&former->processes) && former->hung_up)
		finish(former);
}

static void on_notification(const struct seccomp_notif *notification, void *context)
{
	struct sp_job *job = context;
	struct sp_tracer *tracer = job->tools.gate.tracer;
	struct sp_task *caller = sp_tracer_find_caller(tracer, (pid_t)notification->pid);

	/* To look for the caller can be to learn of the job's end. */
	if (job->ended || (caller == NULL && !sp_listener_is_valid(job->listener, notification->id)))
		return;
	if (caller != NULL && caller->process->job != job && caller->process->job->about.uid == job->about.uid)
		take_over(job, caller->process);
	if (caller == NULL || caller->process->job != job) {
		/* Every task is in the index before it runs: this would be a bug, and what we do not know does not exec. */
		job->counts.illegal++;
		(void)fprintf(stderr, "sallyport: exec by unknown task %" PRIu32 " refused\n", notification->pid);
		(void)sp_listener_answer(job->listener, notification->id, EPERM);
		return;
	}
	if (sp_arch_is_exec(notification->data.nr)) {
		sp_follower_exec(job->tools.follower, job->tools.gate.index, caller);
		sp_gatekeeper_notified(job->keeper, caller, notification);
		write_hits_later(job);
	} else {
		let_fork(job, caller, notification->id);
	}
	sp_tracer_forget_idle(tracer, (pid_t)notification->pid);
}
