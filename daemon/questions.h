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

enum { SP_ASKERS = 16, SP_ASKER_PATH = 256 };

/* How long an answer holds, and for what. */
enum sp_remember { SP_REMEMBER_ONCE, SP_REMEMBER_JOB };
enum sp_scope { SP_SCOPE_EXACT, SP_SCOPE_WORDS, SP_SCOPE_PROGRAM };

struct sp_question {
	struct sp_list link;
	uint64_t id; /* the key of the exec in the audit trail */
	int64_t asked, deadline; /* nanoseconds since the epoch */
	pid_t pid;
	const struct sp_inspection *in; /* path, argv and the rest: exactly what will run if it is approved */
	const char *rule, *reason; /* that asks; reason may be NULL */
	bool rememberable; /* a rule can be made of it */
	/* Who asks, and who has started that: what the kernel says they run (names may be cut). */
	struct {
		pid_t pid;
		char program[SP_ASKER_PATH];
	} askers[SP_ASKERS];
	unsigned asker_count;
	enum sp_action otherwise; /* what silence means */
};

struct sp_answer {
	enum sp_action action; /* never SP_ASK */
	const char *by; /* who, as the record says it: "approved by uid 1000, pid 4711, /dev/pts/3" */
	enum sp_remember remember;
	enum sp_scope scope;
};

/* Told of every change; asks what there is then. */
struct sp_question_watcher {
	struct sp_list link;
	void (*changed)(void *context);
	void *context;
};

struct sp_questions;

struct sp_questions_ops {
	/* The question is out of the list, and the judge's to free. */
	void (*answered)(struct sp_question *question, const struct sp_answer *answer, void *context);
	/* Remembers; before answered(). 0, or -errno with a sentence, and then nothing was answered. */
	int (*remember)(const struct sp_question *question, const struct sp_answer *answer, void *context,
			struct sp_error *e);
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
void sp_questions_watch(struct sp_questions *questions, struct sp_question_watcher *watcher);
void sp_questions_unwatch(struct sp_question_watcher *watcher);

/* 0; -ENOENT: it is not (any more) asked; or what remember() says, with a sentence in any case. */
[[nodiscard]] int sp_questions_answer(struct sp_questions *questions, uint64_t id, const struct sp_answer *answer,
				      struct sp_error *e);

/* The rule that an answer would be remembered as, as YAML in one line, to be freed by the caller. NULL: out of memory, or the
 * words are no text and cannot be written (*e says so). */
[[nodiscard]] char *sp_question_rule(const struct sp_question *question, const struct sp_answer *answer,
				     struct sp_error *e);

#endif
