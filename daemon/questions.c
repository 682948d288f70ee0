/* See questions.h. */
#include "questions.h"

#include "policy/glob.h"
#include "util/cleanup.h"
#include "util/clock.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sp_questions {
	struct sp_list list; /* struct sp_question.link, the oldest first */
	struct sp_list watchers;
	uv_timer_t timer;
	const struct sp_questions_ops *ops;
	void *context;
};

static void set_timer(struct sp_questions *questions);

struct sp_questions *sp_questions_new(uv_loop_t *loop, const struct sp_questions_ops *ops, void *context)
{
	struct sp_questions *q = calloc(1, sizeof *q);

	if (q == NULL)
		return NULL;
	sp_list_init(&q->list);
	sp_list_init(&q->watchers);
	q->ops = ops;
	q->context = context;
	(void)uv_timer_init(loop, &q->timer);
	q->timer.data = q;
	return q;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void sp_questions_close(struct sp_questions *questions)
{
	if (questions != NULL)
		uv_close((uv_handle_t *)&questions->timer, on_closed);
}

static void tell(struct sp_questions *q)
{
	struct sp_question_watcher *watcher, *next;

	set_timer(q);
	sp_list_each_safe (watcher, next, &q->watchers, link)
		watcher->changed(watcher->context);
}

void sp_questions_put(struct sp_questions *questions, struct sp_question *question)
{
	sp_list_init(&question->link);
	sp_list_add(questions->list.prev, &question->link);
	tell(questions);
}

void sp_questions_withdraw(struct sp_questions *questions, struct sp_question *question)
{
	sp_list_del(&question->link);
	tell(questions);
}

const struct sp_question *sp_questions_first(const struct sp_questions *questions)
{
	return sp_list_empty(&questions->list) ? NULL
					       : sp_container_of(questions->list.next, struct sp_question, link);
}

const struct sp_question *sp_questions_following(const struct sp_questions *questions,
						 const struct sp_question *question)
{
	return question->link.next == &questions->list ? NULL
						       : sp_container_of(question->link.next, struct sp_question, link);
}

void sp_questions_watch(struct sp_questions *questions, struct sp_question_watcher *watcher)
{
	sp_list_init(&watcher->link);
	sp_list_add(&questions->watchers, &watcher->link);
}

void sp_questions_unwatch(struct sp_question_watcher *watcher)
{
	sp_list_del(&watcher->link);
}

/* --- answers --- */

static void end(struct sp_questions *q, struct sp_question *question, const struct sp_answer *answer)
{
	sp_list_del(&question->link);
	q->ops->answered(question, answer, q->context);
	tell(q);
}

int sp_questions_answer(struct sp_questions *questions, uint64_t id, const struct sp_answer *answer, struct sp_error *e)
{
	struct sp_question *question;

	sp_list_each (question, &questions->list, link) {
		if (question->id != id)
			continue;
		int err = answer->remember == SP_REMEMBER_ONCE
				  ? 0
				  : questions->ops->remember(question, answer, questions->context, e);
		if (err == 0)
			end(questions, question, answer);
		return err;
	}
	return sp_fail(e, ENOENT, "nothing of that name waits for an answer (any more)");
}

static struct sp_question *find_late(const struct sp_questions *q)
{
	const int64_t now = sp_now();
	struct sp_question *question;

	sp_list_each (question, &q->list, link)
		if (question->deadline <= now)
			return question;
	return NULL;
}

static void on_time(uv_timer_t *timer)
{
	struct sp_questions *q = timer->data;
	struct sp_question *question;

	while ((question = find_late(q)) != NULL) {
		const struct sp_answer silence = {.action = question->otherwise,
						  .by = "nobody has answered in time"};

		end(q, question, &silence);
	}
	set_timer(q);
}

static void set_timer(struct sp_questions *q)
{
	const struct sp_question *question;
	int64_t next = INT64_MAX;

	if (uv_is_closing((uv_handle_t *)&q->timer))
		return;
	sp_list_each (question, &q->list, link)
		if (question->deadline < next)
			next = question->deadline;
	if (next == INT64_MAX) {
		(void)uv_timer_stop(&q->timer);
		return;
	}
	const int64_t left = (next - sp_now()) / 1000000 + 1;
	(void)uv_timer_start(&q->timer, on_time, left > 0 ? (uint64_t)left : 0, 0);
}

/* --- what would be remembered --- */

static void release_json(json_t **value)
{
	json_decref(*value);
}

/* JSON is YAML. A literal text, whatever a glob would make of it. */
static int add_literal(json_t *to, const char *text)
{
	cleanup_free char *pattern = sp_glob_escape(text);

	return pattern != NULL && json_array_append_new(to, json_string(pattern)) == 0 ? 0 : -EINVAL;
}

static int add_words(json_t *rule, const struct sp_inspection *in, enum sp_scope scope)
{
	json_t *list = json_array();
	int err = json_object_set_new(rule, scope == SP_SCOPE_EXACT ? "argv" : "words", list) == 0 ? 0 : -ENOMEM;

	for (size_t i = 1; err == 0 && scope == SP_SCOPE_EXACT && i < in->argv.count; i++)
		err = add_literal(list, in->argv.item[i]);
	for (size_t i = 1; err == 0 && scope == SP_SCOPE_WORDS && i < in->argv.count; i++) {
		if (in->argv.item[i][0] == '-')
			continue;
		err = add_literal(list, in->argv.item[i]);
		break;
	}
	/* Without words it would be a rule about the program. */
	return err == 0 && scope == SP_SCOPE_WORDS && json_array_size(list) == 0 ? -ENODATA : err;
}

char *sp_question_rule(const struct sp_question *question, const struct sp_answer *answer, struct sp_error *e)
{
	sp_cleanup(release_json) json_t *rule = json_object();
	json_t *programs = json_array();

	if (json_object_set_new(rule, "program", programs) != 0)
		return (void)sp_fail(e, ENOMEM, "out of memory"), NULL;
	int err = add_literal(programs, question->in->file.path);
	if (err == 0 && answer->scope != SP_SCOPE_PROGRAM)
		err = add_words(rule, question->in, answer->scope);
	if (err == 0)
		err = json_object_set_new(rule, "action", json_string(sp_action_name(answer->action))) == 0 ? 0
													    : -ENOMEM;
	char *text = err == 0 ? json_dumps(rule, JSON_PRESERVE_ORDER) : NULL;
	if (text == NULL)
		(void)sp_fail(e, EINVAL,
			      err == -ENODATA ? "there are no words to remember it by"
					      : "what was asked is no text, and cannot be written as a rule");
	return text;
}
