/* The execs of one job that wait for a person: who is told of them, who answers, and what silence means.
 *
 * A question is put by the judge, which owns what is shown. It ends in one of three ways: it is answered, its time is over (then
 * the judge is told what the policy says of silence), or it is withdrawn, since who asked is gone. Loop thread only. */
#ifndef SP_QUESTIONS_H
#define SP_QUESTIONS_H

#include "inspect/inspect.h"
#include "policy/policy.h"
#include "util/error.h"
#include "util/list.h"

#include <stdint.h>
#include <uv.h>

/* How long an answer holds, and for what. */
enum sp_remember { SP_REMEMBER_ONCE, SP_REMEMBER_JOB, SP_REMEMBER_ALWAYS };
enum sp_scope { SP_SCOPE_EXACT, SP_SCOPE_WORDS, SP_SCOPE_PROGRAM };

struct sp_question {
	struct sp_list link;
	uint64_t id; /* the key of the exec in the audit trail */
	int64_t asked, deadline; /* nanoseconds since the epoch */
	pid_t pid, parent; /* parent 0: it is not in the job */
	const struct sp_inspection *in; /* path, argv and the rest: exactly what will run if it is approved */
	const char *rule, *reason; /* that asks; reason may be NULL */
	const struct sp_policy *policy; /* that has it */
	size_t rule_number; /* in the policy; SP_NO_RULE: none, its default asks */
	enum sp_action otherwise; /* what silence means */
};

struct sp_answer {
	enum sp_action action; /* never SP_ASK */
	const char *by; /* who, as the record says it: "uid 1000, pid 4711, /dev/pts/3" */
	const char *reason; /* of a refusal; NULL: the rule's */
	enum sp_remember remember;
	enum sp_scope scope;
	const char *
		shown; /* the rule that was shown, if it shall be remembered: it must be what would be; NULL: none was */
	int64_t expires; /* ns since the epoch, SP_REMEMBER_ALWAYS; 0: never */
};

struct sp_questions;

struct sp_questions_ops {
	/* The question is out of the list, and the judge's to free. */
	void (*answered)(struct sp_question *question, const struct sp_answer *answer, void *context);
	/* Remembers that rule; before answered(). 0, or -errno with a sentence, and then nothing was answered. */
	int (*remember)(const struct sp_question *question, const struct sp_answer *answer, const char *rule,
			void *context, struct sp_error *e);
	/* Asked several times a second as long as it waits: does it still? If not, it is withdrawn from within. */
	void (*look)(struct sp_question *question, void *context);
	/* There is another one, or one less. May be NULL. */
	void (*changed)(void *context);
};

[[nodiscard]] struct sp_questions *sp_questions_new(uv_loop_t *loop, const struct sp_questions_ops *ops, void *context);
/* None may be left. Freed by the loop. NULL is fine. */
void sp_questions_close(struct sp_questions *questions);

void sp_questions_put(struct sp_questions *questions, struct sp_question *question);
void sp_questions_withdraw(struct sp_questions *questions, struct sp_question *question);

/* For those who answer. first: the oldest; following: the next one, NULL: there is none. */
const struct sp_question *sp_questions_first(const struct sp_questions *questions);
const struct sp_question *sp_questions_following(const struct sp_questions *questions,
						 const struct sp_question *question);
const struct sp_question *sp_questions_find(const struct sp_questions *questions, uint64_t id); /* NULL: none */

/* 0; -ENOENT: it is not (any more) asked; or what remember() says, with a sentence in any case. */
[[nodiscard]] int sp_questions_answer(struct sp_questions *questions, uint64_t id, const struct sp_answer *answer,
				      struct sp_error *e);

/* The rule that an answer would be remembered as, JSON (which is YAML) in one line, to be freed by the caller. It answers only where
 * the rule that asks would ask again. NULL with a sentence: it cannot be said in a rule that means this and no more. */
[[nodiscard]] char *sp_question_rule(const struct sp_question *question, enum sp_action action, enum sp_scope scope,
				     struct sp_error *e);

const char *sp_scope_name(enum sp_scope scope); /* "exact", "words", "program" */
const char *sp_remember_name(enum sp_remember remember); /* "once", "job", "always" */
bool sp_scope_parse(const char *name, enum sp_scope *scope);
bool sp_remember_parse(const char *name, enum sp_remember *remember);

#endif
