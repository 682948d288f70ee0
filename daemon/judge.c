/* See judge.h. */
#include "judge.h"

#include "hits.h"
#include "ptrace/status.h"
#include "util/cleanup.h"
#include "util/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A no that a person has just said. A program that looks along PATH asks for the same file by its next name at once. */
struct no {
	uint64_t process; /* 0: none */
	uint32_t generation; /* of it */
	int64_t time; /* monotonic */
	char *path, *argv;
	size_t argv_size;
};

enum { NOS = 8, GLANCE_EVERY = 100 /* milliseconds */ };
#define NO_HOLDS (INT64_C(2) * 1000000000)

struct sp_judge {
	uint64_t job;
	const struct sp_policy *policy; /* held */
	uint64_t generation; /* of it */
	struct sp_hits *hits; /* of its rules */
	bool strict; /* no exec at all, but for the first */
	struct sp_gatekeeper *keeper;
	struct sp_questions *questions;
	struct sp_panel *panel; /* NULL: no plugins */
	uv_timer_t *glance; /* runs while plugins are asked; NULL: there is no loop */
	struct sp_list pending; /* struct pending.link */
	struct sp_remembered *remembered; /* NULL: nothing is */
	struct no nos[NOS];
	unsigned last_no;
	void (*questions_changed)(void *context);
	void *context;
	struct sp_audit *audit;
	struct sp_state *state;
	sp_record_place record;
	uint64_t last_exec; /* key given out */
	struct sp_error refusal; /* why the root program was not run, if it was us */
	struct sp_judge_counts counts;
	char *names; /* of variables: room for one record, which grows */
	size_t names_capacity;
};

static const struct sp_questions_ops questions_ops;

static uv_timer_t *new_timer(uv_loop_t *loop, void *data)
{
	uv_timer_t *timer = malloc(sizeof *timer);

	if (timer == NULL)
		return NULL;
	(void)uv_timer_init(loop, timer);
	timer->data = data;
	return timer;
}

static void free_timer(uv_handle_t *timer)
{
	free(timer);
}

struct sp_judge *sp_judge_new(const struct sp_judge_plan *plan)
{
	struct sp_judge *judge = calloc(1, sizeof *judge);

	if (judge == NULL)
		return NULL;
	judge->job = plan->job;
	judge->policy = sp_policy_hold(plan->policy);
	judge->generation = 1;
	judge->strict = sp_policy_confinement(plan->policy)->strict;
	judge->hits = sp_hits_new(plan->policy, plan->job, judge->generation);
	judge->audit = plan->audit;
	judge->state = plan->state;
	judge->record = plan->record;
	judge->questions = plan->loop != NULL ? sp_questions_new(plan->loop, &questions_ops, judge) : NULL;
	sp_list_init(&judge->pending);
	judge->remembered = plan->remembered;
	judge->questions_changed = plan->questions_changed;
	judge->context = plan->context;
	judge->glance = plan->loop != NULL ? new_timer(plan->loop, judge) : NULL;
	if (judge->hits == NULL || (plan->loop != NULL && (judge->questions == NULL || judge->glance == NULL))) {
		sp_judge_free(judge);
		return NULL;
	}
	if (plan->record == 0)
		return judge;
	judge->last_exec = sp_state_get(plan->state, plan->record, SP_NUMBER_EXEC);
	judge->counts.execs = sp_state_get(plan->state, plan->record, SP_NUMBER_EXECS);
	judge->counts.denied = sp_state_get(plan->state, plan->record, SP_NUMBER_DENIED);
	judge->counts.failed = sp_state_get(plan->state, plan->record, SP_NUMBER_FAILED);
	return judge;
}

static void keep_counts(const struct sp_judge *judge)
{
	sp_state_set(judge->state, judge->record, SP_NUMBER_EXECS, judge->counts.execs);
	sp_state_set(judge->state, judge->record, SP_NUMBER_DENIED, judge->counts.denied);
	sp_state_set(judge->state, judge->record, SP_NUMBER_FAILED, judge->counts.failed);
}

static void forget_no(struct no *no)
{
	free(no->path);
	free(no->argv);
	*no = (struct no){0};
}

void sp_judge_free(struct sp_judge *judge)
{
	if (judge == NULL)
		return;
	for (unsigned i = 0; i < NOS; i++)
		forget_no(&judge->nos[i]);
	sp_questions_close(judge->questions);
	if (judge->glance != NULL)
		uv_close((uv_handle_t *)judge->glance, free_timer);
	sp_remembered_free(judge->remembered);
	sp_hits_free(judge->hits);
	sp_policy_free((struct sp_policy *)judge->policy);
	free(judge->names);
	free(judge);
}

void sp_judge_set_gatekeeper(struct sp_judge *judge, struct sp_gatekeeper *keeper)
{
	judge->keeper = keeper;
}

void sp_judge_set_panel(struct sp_judge *judge, struct sp_panel *panel)
{
	judge->panel = panel;
}

struct sp_questions *sp_judge_questions(const struct sp_judge *judge)
{
	return judge->questions;
}

static int record_policy(const struct sp_judge *judge, const struct sp_policy *policy, uint64_t generation)
{
	const struct sp_audit_policy record = {
		.job = judge->job,
		.generation = generation,
		.time = sp_now(),
		.policy = sp_policy_name(policy),
		.policy_file = sp_policy_file(policy),
		.policy_digest = sp_policy_digest(policy),
	};

	return judge->audit != NULL ? sp_audit_policy(judge->audit, &record) : 0;
}

int sp_judge_take_policy(struct sp_judge *judge, const struct sp_policy *policy, struct sp_error *e)
{
	const uint64_t generation = judge->generation + 1;
	struct sp_hits *hits = sp_hits_new(policy, judge->job, generation);

	if (hits == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	const int err = record_policy(judge, policy, generation);
	if (err != 0) {
		sp_hits_free(hits);
		return sp_fail(e, -err, "it cannot be recorded: %s", strerror(-err));
	}
	(void)sp_judge_write_hits(judge);
	sp_hits_free(judge->hits);
	sp_policy_free((struct sp_policy *)judge->policy);
	judge->hits = hits;
	judge->policy = sp_policy_hold(policy);
	judge->generation = generation;
	return 0;
}

uint64_t sp_judge_generation(const struct sp_judge *judge)
{
	return judge->generation;
}

bool sp_judge_has_hits(const struct sp_judge *judge)
{
	return judge->audit != NULL && sp_hits_are_new(judge->hits);
}

int sp_judge_write_hits(struct sp_judge *judge)
{
	return judge->audit != NULL ? sp_hits_write(judge->hits, judge->audit) : 0;
}

const struct sp_error *sp_judge_refusal(const struct sp_judge *judge)
{
	return &judge->refusal;
}

struct sp_judge_counts sp_judge_counts(const struct sp_judge *judge)
{
	return judge->counts;
}

/* Counts what could not be recorded; execs are refused where their record fails, the rest must not stop the job. */
static bool recorded(struct sp_judge *judge, int err)
{
	judge->counts.audit_failures += err != 0;
	return err == 0;
}

/* The job's first exec, which `run` itself asks for: the root is the first process of its job. */
static bool is_first(const struct sp_task *caller)
{
	return caller->process->key == 1 && caller->process->generation == 0;
}

/* A decision with the words to record it by. */
struct ruling {
	enum sp_action action;
	int err; /* what we answer; 0: the kernel goes on */
	bool failed; /* err is the kernel's answer, given by us because we know it */
	const char *rule, *reason;
	uint32_t matched; /* rules, the winner included */
	const char *const *others; /* ids of some of the rest */
	size_t other_count;
	bool judged; /* by the policy */
	uint64_t generation; /* of it */
	int64_t asked; /* when a person was; 0: nobody was */
	const char *answer; /* who has answered, and how; NULL: nobody was asked */
};

/* Ids of rules as the record wants them. What does not fit is left out: the number of all is recorded too. */
struct id_list {
	char text[1024];
	size_t size;
};

static struct id_list join_ids(const char *const *ids, size_t count)
{
	struct id_list list = {.size = 0};

	for (size_t i = 0; i < count; i++) {
		size_t length = strlen(ids[i]) + 1;

		if (list.size + length > sizeof list.text)
			break;
		memcpy(list.text + list.size, ids[i], length);
		list.size += length;
	}
	return list;
}

static struct ruling refuse_by(const char *rule, int err, const char *reason)
{
	return (struct ruling){.action = SP_DENY, .err = err, .rule = rule, .reason = reason};
}

/* What the inspection could not do. */
static struct ruling rule_failure(const struct sp_inspection *in, int err)
{
	if (err == -EPERM)
		return refuse_by("unstoppable", EPERM, "a process that could change it cannot be stopped");
	if (err == -ETIMEDOUT)
		return refuse_by("deadline", EAGAIN, "the caller could not be stopped and read in time");
	if (in->ours)
		return refuse_by("uninspectable", -err, in->reason);
	/* The kernel will find the same; where the caller is another user than we are, it may find another errno, so it is
	 * asked. Should it find a program all the same, that one was not approved, and is killed. */
	return (struct ruling){
		.action = SP_ALLOW, .err = in->same_user ? -err : 0, .failed = true, .rule = "unresolved"};
}

/* Whose exec it is, as far as the policy asks. */
struct asker {
	uid_t uid;
	unsigned unknown; /* bits of enum sp_unknown */
};

static struct asker who_asks(const struct sp_judge *judge, pid_t tid)
{
	/* What is not known holds for rules that refuse, not for rules that allow. */
	struct asker asker = {.unknown = SP_UNKNOWN_ANCESTORS};

	if (sp_policy_wants_user(judge->policy) && sp_status_user(tid, &asker.uid) != 0)
		asker.unknown |= SP_UNKNOWN_USER;
	return asker;
}

static struct sp_decision decide_file(const struct sp_judge *judge, const struct asker *asker,
				      const struct sp_file *file, const struct sp_strings *argv,
				      const struct sp_strings *envp)
{
	const struct sp_exec exec = {
		.uid = asker->uid,
		.unknown = asker->unknown,
		.path = file->path,
		.anonymous = file->anonymous,
		.foreign = file->foreign,
		.argv = argv->item,
		.argc = argv->count,
		.envp = envp->item,
		.envc = envp->count,
	};
	struct sp_decision decision;

	sp_policy_decide(judge->policy, &exec, &decision);
	return decision;
}

/* What a decision means where it is the last word: its action is that of the decision, or what a person made of it. */
static struct ruling rule_by_decision(const struct sp_decision *decision, enum sp_action action, uint64_t generation)
{
	const size_t rest = decision->matched > 0 ? decision->matched - 1 : 0;

	return (struct ruling){
		.judged = true,
		.generation = generation,
		.action = action,
		.err = action == SP_ALLOW                        ? 0
		       : action == SP_KILL                       ? EPERM
		       : action == SP_DENY && decision->err != 0 ? decision->err
								 : EACCES,
		.rule = decision->rule,
		.reason = decision->reason,
		.matched = (uint32_t)decision->matched,
		.others = decision->others,
		.other_count = rest < SP_OTHERS ? rest : SP_OTHERS,
	};
}

/* No rule has an opinion. */
static bool is_default(const struct sp_decision *decision)
{
	return decision->number == SP_NO_RULE && strcmp(decision->rule, "default") == 0;
}

/* floor: where the winner is only the default, what a rule says all the same of the other of the two files; NULL: nobody wants to
 * know. */
static struct ruling rule_by_policy(const struct sp_judge *judge, const struct sp_inspection *in,
				    struct sp_decision *winner, struct sp_decision *floor)
{
	*floor = (struct sp_decision){.action = SP_ALLOW};
	if (in->unreadable)
		return refuse_by("unreadable", EACCES, "the file may not be read, so what runs could not be verified");
	const struct asker asker = who_asks(judge, in->tid);
	struct sp_decision decision = decide_file(judge, &asker, &in->file, &in->argv, &in->envp);
	if (in->interpreter.fd >= 0) {
		/* A script is judged twice: as itself, and as its interpreter with what the kernel puts in front. */
		struct sp_decision second = decide_file(judge, &asker, &in->interpreter, &in->final_argv, &in->envp);

		*floor = is_default(&decision) ? second : decision;
		if (second.action > decision.action)
			decision = second;
		if (is_default(floor))
			*floor = (struct sp_decision){.action = SP_ALLOW};
	}
	sp_hits_add(judge->hits, &decision, sp_now());
	*winner = decision;
	return rule_by_decision(winner, decision.action, judge->generation);
}

static uint32_t how_seen(const struct sp_inspection *in, const struct ruling *ruling)
{
	const bool script = in->interpreter.fd >= 0;

	if (!ruling->judged)
		return 0;
	return SP_SEEN_JUDGED | (in->file.anonymous ? SP_SEEN_ANONYMOUS : 0) |
	       (in->file.foreign ? SP_SEEN_FOREIGN : 0) |
	       (script && in->interpreter.anonymous ? SP_SEEN_INTERPRETER_ANONYMOUS : 0) |
	       (script && in->interpreter.foreign ? SP_SEEN_INTERPRETER_FOREIGN : 0);
}

/* The words that a script's #! line puts in front: they are what the two argument vectors do not share. */
static struct sp_bytes inserted(const struct sp_inspection *in)
{
	const size_t kept = in->argv.count > 0 ? in->argv.count - 1 : 0;

	if (in->interpreter.fd < 0 || in->final_argv.count <= kept)
		return (struct sp_bytes){0};
	if (kept == 0)
		return (struct sp_bytes){.data = in->final_argv.data, .size = in->final_argv.size};
	const char *end = in->final_argv.item[in->final_argv.count - kept];
	return (struct sp_bytes){.data = in->final_argv.data, .size = (size_t)(end - in->final_argv.data)};
}

/* Names only: values are nobody's business. The room stays, so that nothing is allocated but for the largest so far. False:
 * out of memory. */
static bool list_names(struct sp_judge *judge, const struct sp_strings *envp, struct sp_bytes *names)
{
	size_t size = 0;

	if (envp->size > judge->names_capacity) {
		char *room = realloc(judge->names, envp->size);
		if (room == NULL)
			return false;
		judge->names = room;
		judge->names_capacity = envp->size;
	}
	for (size_t i = 0; i < envp->count; i++) {
		const size_t length = strcspn(envp->item[i], "=");

		memcpy(judge->names + size, envp->item[i], length);
		judge->names[size + length] = '\0';
		size += length + 1;
	}
	*names = (struct sp_bytes){.data = judge->names, .size = size};
	return true;
}

static bool record_exec(struct sp_judge *judge, const struct sp_task *caller, const struct sp_inspection *in,
			const struct ruling *ruling, uint64_t exec)
{
	const struct id_list others = join_ids(ruling->others, ruling->other_count);
	struct sp_bytes environment = {0};
	const bool names =
		ruling->judged && sp_policy_wants_env(judge->policy) && list_names(judge, &in->envp, &environment);
	const struct sp_audit_exec record = {
		.job = judge->job,
		.process = caller->process->key,
		.exec = exec,
		.time = sp_now(),
		.tid = caller->tid,
		.action = (int)ruling->action,
		.err = ruling->err,
		.matched = ruling->matched,
		.rule = ruling->rule,
		.reason = ruling->reason,
		.path = {.data = in->path, .size = strlen(in->path)},
		.resolved = {.data = in->file.path, .size = strlen(in->file.path)},
		.argv = {.data = in->argv.data, .size = in->argv.size},
		.argc = (uint32_t)in->argv.count,
		.others = {.data = others.text, .size = others.size},
		.seen = how_seen(in, ruling) | (names ? SP_SEEN_ENVIRONMENT : 0),
		.interpreter = {.data = in->interpreter.path, .size = strlen(in->interpreter.path)},
		.inserted = inserted(in),
		.environment = environment,
		.generation = ruling->generation != 0 ? ruling->generation : judge->generation,
		.asked = ruling->asked,
		.answer = ruling->answer,
	};

	return judge->audit == NULL || recorded(judge, sp_audit_exec(judge->audit, &record));
}

static void record_result(struct sp_judge *judge, uint64_t exec, enum sp_result result, int err, enum sp_verify verify,
			  const char *detail)
{
	const struct sp_audit_result record = {.job = judge->job,
					       .exec = exec,
					       .time = sp_now(),
					       .result = result,
					       .err = err,
					       .verify = verify,
					       .detail = detail};

	if (judge->audit != NULL)
		(void)recorded(judge, sp_audit_result(judge->audit, &record));
}

/* The person who typed the command is told why it did not happen. */
static void remember_refusal(struct sp_judge *judge, const struct sp_task *caller, const struct ruling *ruling)
{
	if (!is_first(caller) || ruling->err == 0 || ruling->failed)
		return;
	(void)sp_fail(&judge->refusal, ruling->err, "refused by rule %s%s%s", ruling->rule,
		      ruling->reason != NULL ? ": " : "", ruling->reason != NULL ? ruling->reason : "");
}

/* SECCOMP_MODE_STRICT allows no exec at all; but for the one that starts the program, ours does not either. */
static bool is_strict(const struct sp_judge *judge, const struct sp_task *caller)
{
	return judge->strict && !is_first(caller);
}

static struct ruling refuse_strict(void)
{
	return (struct ruling){.action = SP_KILL, .err = EPERM, .rule = "strict", .reason = "syscalls.mode is strict"};
}

static struct sp_judgement give(struct sp_judge *judge, const struct sp_task *caller, const struct sp_inspection *in,
				const struct ruling *ruling, uint64_t exec)
{
	judge->counts.execs++;
	keep_counts(judge);
	remember_refusal(judge, caller, ruling);
	if (!record_exec(judge, caller, in, ruling, exec))
		return (struct sp_judgement){.verdict = SP_REFUSE, .err = EIO};
	if (ruling->err == 0)
		return (struct sp_judgement){.verdict = SP_GO_ON, .exec = exec};
	judge->counts.denied += !ruling->failed;
	judge->counts.failed += ruling->failed;
	keep_counts(judge);
	record_result(judge, exec, ruling->failed ? SP_RESULT_FAILED : SP_RESULT_DENIED, ruling->err, SP_VERIFY_NONE,
		      NULL);
	return (struct sp_judgement){.verdict = ruling->action == SP_KILL ? SP_REFUSE_AND_KILL : SP_REFUSE,
				     .err = ruling->err};
}

/* Whoever comes after us shall not give it out again, and knows which record may be without an end. */
static uint64_t next_exec(struct sp_judge *judge, const struct sp_task *caller)
{
	const uint64_t exec = ++judge->last_exec;

	sp_state_set(judge->state, judge->record, SP_NUMBER_EXEC, exec);
	sp_gate_will_record(caller->gate, exec);
	return exec;
}

/* --- decisions that come later --- */

/* An exec that waits for one. What it is about (in, caller) is valid until the gate says otherwise. */
struct pending {
	struct sp_list link;
	struct sp_judge *judge;
	struct sp_task *caller;
	const struct sp_inspection *in;
	uint64_t exec;
	const struct sp_policy *policy; /* that was asked first: held, and with it the strings of the decision */
	uint64_t generation;
	struct sp_decision decision; /* its */
	struct sp_decision floor; /* plugins cannot go below that */
	struct sp_panel_case *at; /* plugins are being asked; NULL: they are not */
	bool put; /* a person is being asked */
	char reason[SP_WIRE_TEXT_MAX]; /* a plugin's */
	struct sp_question question;
	/* What was decided, if it is not no: recorded when it has been looked at again. */
	struct ruling ruling;
	char *answer;
};

static struct pending *find_pending(const struct sp_judge *judge, uint64_t exec)
{
	struct pending *p;

	sp_list_each (p, &judge->pending, link)
		if (p->exec == exec)
			return p;
	return NULL;
}

static void free_pending(struct pending *p)
{
	sp_list_del(&p->link);
	sp_policy_free((struct sp_policy *)p->policy);
	free(p->answer);
	free(p);
}

static struct pending *put_off(struct sp_judge *judge, struct sp_task *caller, const struct sp_inspection *in,
			       const struct sp_decision *decision, uint64_t exec)
{
	struct pending *p = calloc(1, sizeof *p);

	if (p == NULL)
		return NULL;
	p->judge = judge;
	p->caller = caller;
	p->in = in;
	p->exec = exec;
	p->policy = sp_policy_hold(judge->policy);
	p->generation = judge->generation;
	p->decision = *decision;
	sp_list_init(&p->question.link);
	sp_list_init(&p->link);
	sp_list_add(&judge->pending, &p->link);
	return p;
}

/* The last word on what was put off. A refusal is recorded here, an approval when what it is about has been read again. */
static void decide_pending(struct pending *p, const struct ruling *ruling)
{
	struct sp_judge *judge = p->judge;
	struct sp_judgement decision = {.verdict = SP_GO_ON, .exec = p->exec};

	p->ruling = *ruling;
	if (ruling->err != 0) {
		decision = give(judge, p->caller, p->in, ruling, p->exec);
		decision.exec = p->exec;
		free_pending(p);
	}
	(void)sp_gatekeeper_decided(judge->keeper, &decision);
}

/* --- a person is asked --- */

static char *describe(const struct sp_answer *answer)
{
	const char *what = answer->action == SP_ALLOW ? "approved" : answer->action == SP_KILL ? "killed" : "denied";
	char *text = NULL;
	int size = answer->remember == SP_REMEMBER_ONCE
			   ? asprintf(&text, "%s by %s", what, answer->by)
			   : asprintf(&text, "%s by %s, remembered: %s, %s", what, answer->by,
				      sp_remember_name(answer->remember), sp_scope_name(answer->scope));

	return size >= 0 ? text : NULL;
}

static void note_no(struct sp_judge *judge, const struct pending *p)
{
	struct no *no = &judge->nos[++judge->last_no % NOS];

	forget_no(no);
	*no = (struct no){
		.process = p->caller->process->key,
		.generation = p->caller->process->generation,
		.time = sp_clock(),
		.path = strdup(p->in->file.path),
		.argv = malloc(p->in->argv.size + 1),
		.argv_size = p->in->argv.size,
	};
	if (no->path == NULL || no->argv == NULL)
		forget_no(no);
	else if (p->in->argv.size > 0)
		memcpy(no->argv, p->in->argv.data, p->in->argv.size);
}

static bool was_just_denied(const struct sp_judge *judge, const struct sp_task *caller, const struct sp_inspection *in)
{
	for (unsigned i = 0; i < NOS; i++) {
		const struct no *no = &judge->nos[i];

		if (no->process == caller->process->key && no->generation == caller->process->generation &&
		    sp_clock() - no->time < NO_HOLDS && no->argv_size == in->argv.size &&
		    strcmp(no->path, in->file.path) == 0 &&
		    (in->argv.size == 0 || memcmp(no->argv, in->argv.data, in->argv.size) == 0))
			return true;
	}
	return false;
}

static void on_answered(struct sp_question *question, const struct sp_answer *answer, void *context)
{
	struct pending *p = sp_container_of(question, struct pending, question);
	p->put = false;
	struct ruling ruling = rule_by_decision(&p->decision, answer->action, p->generation);

	(void)context;
	p->answer = describe(answer);
	ruling.asked = question->asked;
	ruling.answer = p->answer != NULL ? p->answer : answer->by;
	if (answer->reason != NULL && answer->action != SP_ALLOW)
		ruling.reason = answer->reason;
	if (answer->action != SP_ALLOW)
		note_no(p->judge, p);
	decide_pending(p, &ruling);
}

static int on_remember(const struct sp_question *question, const struct sp_answer *answer, const char *rule,
		       void *context, struct sp_error *e)
{
	struct sp_judge *judge = context;
	const bool always = answer->remember == SP_REMEMBER_ALWAYS;
	const struct sp_recollection memory = {
		.asking = question->rule,
		.rule = rule,
		.by = answer->by,
		.at = sp_now(),
		.expires = always ? answer->expires : 0,
		.for_good = always,
	};

	if (judge->remembered == NULL)
		judge->remembered = sp_remembered_new(sp_policy_file(question->policy));
	return judge->remembered != NULL ? sp_remembered_add(judge->remembered, &memory, e)
					 : sp_fail(e, ENOMEM, "out of memory");
}

static void on_questions_changed(void *context)
{
	const struct sp_judge *judge = context;

	if (judge->questions_changed != NULL)
		judge->questions_changed(judge->context);
}

static void look(struct sp_question *question, void *context)
{
	struct sp_judge *judge = context;

	if (sp_status_has_signal(question->in->tid))
		sp_gatekeeper_call_again(judge->keeper, question->id);
}

static const struct sp_questions_ops questions_ops = {
	.answered = on_answered, .look = look, .remember = on_remember, .changed = on_questions_changed};

/* What was said of such an exec before, as a ruling. *answer is the caller's to free. */
static bool recall(const struct sp_judge *judge, const struct sp_inspection *in, const struct sp_decision *decision,
		   struct ruling *ruling, char **answer)
{
	const struct sp_exec exec = {
		.path = in->file.path,
		.anonymous = in->file.anonymous,
		.foreign = in->file.foreign,
		.argv = in->argv.item,
		.argc = in->argv.count,
		.unknown = SP_UNKNOWN_ANCESTORS | SP_UNKNOWN_USER,
	};
	enum sp_action action;
	const struct sp_recollection *memory =
		judge->remembered != NULL
			? sp_remembered_find(judge->remembered, decision->rule, &exec, sp_now(), &action)
			: NULL;

	if (memory == NULL)
		return false;
	*ruling = rule_by_decision(decision, action, judge->generation);
	if (asprintf(answer, "remembered%s: %s by %s", memory->for_good ? "" : " for the job",
		     action == SP_ALLOW ? "approved" : "denied", memory->by) < 0)
		*answer = NULL;
	ruling->answer = *answer != NULL ? *answer : "remembered";
	return true;
}

static void put_question(struct pending *p)
{
	const struct sp_ask_settings *settings = sp_policy_ask(p->policy);
	const struct sp_process *parent = p->caller->process->parent;

	p->question.id = p->exec;
	p->question.asked = sp_now();
	p->question.deadline = p->question.asked + (int64_t)settings->timeout_seconds * 1000000000;
	p->question.pid = p->caller->process->tgid;
	p->question.parent = parent != NULL ? parent->tgid : 0;
	p->question.in = p->in;
	p->question.rule = p->decision.rule;
	p->question.reason = p->decision.reason;
	p->question.policy = p->policy;
	p->question.rule_number = p->decision.number;
	p->question.otherwise = settings->otherwise;
	p->put = true;
	sp_questions_put(p->judge->questions, &p->question);
}

static struct sp_judgement ask_person(struct sp_judge *judge, struct sp_task *caller, const struct sp_inspection *in,
				      const struct sp_decision *decision, uint64_t exec)
{
	struct pending *p = judge->questions != NULL ? put_off(judge, caller, in, decision, exec) : NULL;

	if (p == NULL) {
		struct ruling ruling = rule_by_decision(decision, SP_DENY, judge->generation);
		ruling.reason = "nobody could be asked";
		return give(judge, caller, in, &ruling, exec);
	}
	put_question(p);
	return (struct sp_judgement){.verdict = SP_LATER, .exec = exec};
}

/* What is known of the answer already, as a ruling. *answer is the caller's to free. */
static bool need_not_ask(const struct sp_judge *judge, const struct sp_task *caller, const struct sp_inspection *in,
			 const struct sp_decision *decision, struct ruling *ruling, char **answer)
{
	if (recall(judge, in, decision, ruling, answer))
		return true;
	if (!was_just_denied(judge, caller, in))
		return false;
	*ruling = rule_by_decision(decision, SP_DENY, judge->generation);
	ruling->answer = "denied a moment ago";
	return true;
}

static struct sp_judgement ask(struct sp_judge *judge, struct sp_task *caller, const struct sp_inspection *in,
			       const struct sp_decision *decision, uint64_t exec)
{
	cleanup_free char *answer = NULL;
	struct ruling ruling;

	if (need_not_ask(judge, caller, in, decision, &ruling, &answer))
		return give(judge, caller, in, &ruling, exec);
	return ask_person(judge, caller, in, decision, exec);
}

/* --- plugins are asked --- */

static void take_verdict(struct pending *p, const struct sp_panel_verdict *verdict)
{
	struct sp_decision *d = &p->decision;
	const bool allowed = !is_default(d) && d->action == SP_ALLOW;

	if (verdict->opinion && !(allowed && verdict->action == SP_ALLOW)) {
		(void)strcpy(p->reason, verdict->reason);
		d->action = verdict->action;
		d->err = verdict->err;
		d->rule = verdict->rule;
		d->reason = p->reason[0] != '\0' ? p->reason : NULL;
		d->number = SP_NO_RULE;
	}
	if (p->floor.action > d->action)
		*d = p->floor;
}

static void on_verdict(const struct sp_panel_verdict *verdict, void *context)
{
	struct pending *p = context;
	struct ruling ruling;

	p->at = NULL;
	take_verdict(p, verdict);
	ruling = rule_by_decision(&p->decision, p->decision.action, p->generation);
	if (p->decision.action == SP_ASK &&
	    !need_not_ask(p->judge, p->caller, p->in, &p->decision, &ruling, &p->answer))
		put_question(p);
	else
		decide_pending(p, &ruling);
}

/* Who waits for a plugin takes signals, too. */
static void on_glance(uv_timer_t *timer)
{
	struct sp_judge *judge = timer->data;
	struct pending *p, *next;
	bool some = false;

	sp_list_each_safe (p, next, &judge->pending, link) {
		if (p->at == NULL)
			continue;
		some = true;
		if (sp_status_has_signal(p->in->tid))
			sp_gatekeeper_call_again(judge->keeper, p->exec);
	}
	if (!some)
		(void)uv_timer_stop(timer);
}

/* Is there a plugin with a say in this? */
static bool plugins_are_asked(const struct sp_judge *judge, const struct sp_decision *decision)
{
	const bool unmatched = is_default(decision);

	return judge->panel != NULL && (unmatched || decision->action == SP_ALLOW) &&
	       sp_panel_wants(judge->panel, !unmatched);
}

static struct sp_judgement ask_plugins(struct sp_judge *judge, struct sp_task *caller, const struct sp_inspection *in,
				       const struct sp_decision *decision, const struct sp_decision *floor,
				       uint64_t exec)
{
	const bool allowed = !is_default(decision);
	struct sp_plugin_exec question = {
		.job = judge->job,
		.caller = caller,
		.in = in,
		.flags = allowed ? SALLYPORT_ALLOWED : 0,
		.rule = allowed ? decision->rule : NULL,
	};
	struct pending *p = judge->questions != NULL ? put_off(judge, caller, in, decision, exec) : NULL;
	struct sp_panel_verdict verdict = {.opinion = false};

	int got = p != NULL ? sp_status_user(in->tid, &question.uid) : -ENOMEM;
	if (got == 0) {
		p->floor = *floor;
		got = sp_panel_ask(judge->panel, &question, &verdict, on_verdict, p, &p->at);
	}
	if (got == 0) {
		if (!uv_is_active((uv_handle_t *)judge->glance))
			(void)uv_timer_start(judge->glance, on_glance, GLANCE_EVERY, GLANCE_EVERY);
		return (struct sp_judgement){.verdict = SP_LATER, .exec = exec};
	}
	if (got < 0) {
		const struct ruling ruling = refuse_by("plugins", EACCES, "the plugins could not be asked");
		if (p != NULL)
			free_pending(p);
		return give(judge, caller, in, &ruling, exec);
	}
	/* It is known at once what they say: they have failed, or do not want to be asked. */
	take_verdict(p, &verdict);
	const struct ruling ruling = rule_by_decision(&p->decision, p->decision.action, judge->generation);
	struct sp_judgement j = p->decision.action == SP_ASK ? ask(judge, caller, in, &p->decision, exec)
							     : give(judge, caller, in, &ruling, exec);
	free_pending(p);
	return j;
}

/* The exec will not happen, whatever is answered. That it was asked for is recorded all the same. */
static void withdraw(struct pending *p)
{
	struct sp_judge *judge = p->judge;
	struct ruling ruling = rule_by_decision(&p->decision, SP_ASK, p->generation);

	ruling.err = 0;
	ruling.asked = p->question.asked;
	ruling.answer = p->answer;
	judge->counts.execs++;
	keep_counts(judge);
	(void)record_exec(judge, p->caller, p->in, &ruling, p->exec);
	if (p->at != NULL)
		sp_panel_cancel(p->at);
	if (p->put)
		sp_questions_withdraw(judge->questions, &p->question);
	free_pending(p);
}

/* --- what the gate asks --- */

static struct sp_judgement judge_exec(struct sp_task *caller, const struct sp_inspection *in, int err, void *context)
{
	struct sp_judge *judge = context;
	struct sp_decision decision, floor;
	const struct ruling ruling = is_strict(judge, caller) ? refuse_strict()
				     : err != 0               ? rule_failure(in, err)
							      : rule_by_policy(judge, in, &decision, &floor);

	const uint64_t exec = next_exec(judge, caller);
	if (ruling.judged && plugins_are_asked(judge, &decision))
		return ask_plugins(judge, caller, in, &decision, &floor, exec);
	return ruling.judged && ruling.action == SP_ASK ? ask(judge, caller, in, &decision, exec)
							: give(judge, caller, in, &ruling, exec);
}

/* What runs is what was approved, byte for byte, or nothing does. */
static struct sp_judgement judge_again(struct sp_task *caller, const struct sp_inspection *in, int err,
				       const char *changed, const struct sp_judgement *decision, void *context)
{
	struct sp_judge *judge = context;
	struct pending *p = find_pending(judge, decision->exec);
	struct ruling ruling = p != NULL ? p->ruling : refuse_by("changed", EACCES, "nobody has approved it");
	char reason[160];

	if (err != 0) {
		ruling = rule_failure(in, err);
	} else if (changed != NULL) {
		(void)snprintf(reason, sizeof reason, "%s changed while the answer was awaited", changed);
		ruling = refuse_by("changed", EACCES, reason);
	}
	if (p != NULL) {
		ruling.generation = p->generation;
		ruling.asked = p->ruling.asked;
		ruling.answer = p->ruling.answer;
	}
	struct sp_judgement j = give(judge, caller, in, &ruling, decision->exec);
	if (p != NULL)
		free_pending(p);
	return j;
}

void sp_judge_conclude(struct sp_judge *judge, uint64_t exec, enum sp_outcome outcome, int err, const char *detail)
{
	static const struct {
		enum sp_result result;
		enum sp_verify verify;
	} as_recorded[] = {
		[SP_OUTCOME_EXECED] = {SP_RESULT_EXECED, SP_VERIFY_OK},
		[SP_OUTCOME_MISMATCH] = {SP_RESULT_EXECED, SP_VERIFY_MISMATCH},
		[SP_OUTCOME_FAILED] = {SP_RESULT_FAILED, SP_VERIFY_NONE},
		[SP_OUTCOME_RESTARTED] = {SP_RESULT_RESTARTED, SP_VERIFY_NONE},
		[SP_OUTCOME_VANISHED] = {SP_RESULT_VANISHED, SP_VERIFY_NONE},
	};

	judge->counts.failed += outcome == SP_OUTCOME_FAILED;
	keep_counts(judge);
	record_result(judge, exec, as_recorded[outcome].result, err, as_recorded[outcome].verify, detail);
}

static void outcome(struct sp_task *caller, uint64_t exec, enum sp_outcome outcome, int err, const char *detail,
		    void *context)
{
	struct sp_judge *judge = context;
	struct pending *p = find_pending(judge, exec);

	(void)caller;
	if (p != NULL)
		withdraw(p);
	sp_judge_conclude(judge, exec, outcome, err, detail);
}

const struct sp_gate_ops sp_judge_ops = {.judge = judge_exec, .judge_again = judge_again, .outcome = outcome};
