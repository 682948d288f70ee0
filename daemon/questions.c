/* See questions.h. */
#include "questions.h"

#include "policy/glob.h"
#include "remembered.h"
#include "util/cleanup.h"
#include "util/clock.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_EVERY (INT64_C(100) * 1000000)
enum { RULE_MAX = 4096 /* bytes: what a person can be shown */ };

struct sp_questions {
	struct sp_list list; /* struct sp_question.link, the oldest first */
	uv_timer_t timer;
	int64_t next_look;
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
	set_timer(q);
	if (q->ops->changed != NULL)
		q->ops->changed(q->context);
}

void sp_questions_put(struct sp_questions *questions, struct sp_question *question)
{
	sp_list_init(&question->link);
	sp_list_add(&questions->list, &question->link);
	tell(questions);
}

void sp_questions_withdraw(struct sp_questions *questions, struct sp_question *question)
{
	sp_list_del(&question->link);
	tell(questions);
}

const struct sp_question *sp_questions_first(const struct sp_questions *questions)
{
	return sp_list_empty(&questions->list) ? NULL : sp_container_of(questions->list.next, struct sp_question, link);
}

const struct sp_question *sp_questions_following(const struct sp_questions *questions,
						 const struct sp_question *question)
{
	return question->link.next == &questions->list ? NULL
						       : sp_container_of(question->link.next, struct sp_question, link);
}

static struct sp_question *find(const struct sp_questions *questions, uint64_t id)
{
	struct sp_question *question;

	sp_list_each (question, &questions->list, link)
		if (question->id == id)
			return question;
	return NULL;
}

const struct sp_question *sp_questions_find(const struct sp_questions *questions, uint64_t id)
{
	return find(questions, id);
}

/* --- answers --- */

static void end(struct sp_questions *q, struct sp_question *question, const struct sp_answer *answer)
{
	sp_list_del(&question->link);
	q->ops->answered(question, answer, q->context);
	tell(q);
}

static int remember(struct sp_questions *q, const struct sp_question *question, const struct sp_answer *answer,
		    struct sp_error *e)
{
	if (answer->remember == SP_REMEMBER_ONCE)
		return 0;
	cleanup_free char *rule = sp_question_rule(question, answer->action, answer->scope, e);
	if (rule == NULL)
		return -e->err;
	/* Never more than was shown. */
	if (answer->shown != NULL && strcmp(answer->shown, rule) != 0)
		return sp_fail(e, EINVAL, "the rule that was shown is not the one that would be remembered");
	return q->ops->remember(question, answer, rule, q->context, e);
}

int sp_questions_answer(struct sp_questions *questions, uint64_t id, const struct sp_answer *answer, struct sp_error *e)
{
	struct sp_question *question = find(questions, id);

	if (question == NULL)
		return sp_fail(e, ENOENT, "nothing of that name waits for an answer (any more)");
	int err = remember(questions, question, answer, e);
	if (err == 0)
		end(questions, question, answer);
	return err;
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

static void look(struct sp_questions *q)
{
	struct sp_question *question, *next;

	if (sp_now() < q->next_look)
		return;
	sp_list_each_safe (question, next, &q->list, link)
		q->ops->look(question, q->context);
}

static void on_time(uv_timer_t *timer)
{
	struct sp_questions *q = timer->data;
	struct sp_question *question;

	while ((question = find_late(q)) != NULL) {
		const struct sp_answer silence = {.action = question->otherwise,
						  .by = "nobody: there was no answer in time",
						  .reason = "a person was asked, and did not answer in time"};

		end(q, question, &silence);
	}
	look(q);
	set_timer(q);
}

/* A look that is due is not put off by what changes meanwhile. */
static void set_timer(struct sp_questions *q)
{
	const struct sp_question *question;
	const int64_t now = sp_now();

	if (uv_is_closing((uv_handle_t *)&q->timer))
		return;
	if (q->next_look <= now)
		q->next_look = now + LOOK_EVERY;
	int64_t next = q->next_look;
	sp_list_each (question, &q->list, link)
		if (question->deadline < next)
			next = question->deadline;
	if (sp_list_empty(&q->list)) {
		(void)uv_timer_stop(&q->timer);
		return;
	}
	const int64_t left = (next - now) / 1000000 + 1;
	(void)uv_timer_start(&q->timer, on_time, left > 0 ? (uint64_t)left : 0, 0);
}

/* --- what would be remembered --- */

static void release_json(json_t **value)
{
	json_decref(*value);
}

/* The pattern that this text and no other matches. `...` would be "and anything after". */
static int add_literal(json_t *to, const char *text)
{
	cleanup_free char *pattern = strcmp(text, "...") == 0 ? strdup("\\...") : sp_glob_escape(text);

	return pattern != NULL && json_array_append_new(to, json_string(pattern)) == 0 ? 0 : -EINVAL;
}

static int add_all(json_t *rule, const struct sp_inspection *in)
{
	json_t *list = json_array();

	if (in->argv.count <= 1)
		return json_decref(list), json_object_set_new(rule, "count", json_integer(0));
	int err = json_object_set_new(rule, "argv", list);
	for (size_t i = 1; err == 0 && i < in->argv.count; i++)
		err = add_literal(list, in->argv.item[i]);
	return err;
}

static bool takes_value(const struct sp_question *question, const char *word)
{
	const char *option;

	for (size_t i = 0; (option = sp_policy_rule_option(question->policy, question->rule_number, i)) != NULL; i++)
		if (strcmp(option, word) == 0)
			return true;
	return false;
}

/* The first word that is neither an option nor an option's value; NULL: there is none. */
static const char *first_word(const struct sp_question *question)
{
	const struct sp_strings *argv = &question->in->argv;

	for (size_t i = 1; i < argv->count; i++) {
		const char *word = argv->item[i];

		if (strcmp(word, "--") == 0)
			return i + 1 < argv->count ? argv->item[i + 1] : NULL;
		if (word[0] != '-' || word[1] == '\0')
			return word;
		i += takes_value(question, word);
	}
	return NULL;
}

static int add_first_word(json_t *rule, const struct sp_question *question)
{
	const char *word = first_word(question), *option;
	json_t *words = json_array(), *options = json_array();

	if (json_object_set_new(rule, "words", words) != 0 ||
	    json_object_set_new(rule, "options_with_value", options) != 0)
		return -ENOMEM;
	for (size_t i = 0; (option = sp_policy_rule_option(question->policy, question->rule_number, i)) != NULL; i++)
		if (json_array_append_new(options, json_string(option)) != 0)
			return -EINVAL;
	if (json_array_size(options) == 0)
		(void)json_object_del(rule, "options_with_value");
	return word != NULL ? add_literal(words, word) : -ENODATA;
}

static int add_matchers(json_t *rule, const struct sp_question *question, enum sp_scope scope)
{
	json_t *programs = json_array();

	if (json_object_set_new(rule, "program", programs) != 0 || add_literal(programs, question->in->file.path) != 0)
		return -EINVAL;
	switch (scope) {
	case SP_SCOPE_EXACT:
		return add_all(rule, question->in);
	case SP_SCOPE_WORDS:
		return add_first_word(rule, question);
	case SP_SCOPE_PROGRAM:
		break;
	}
	return 0;
}

/* Why no rule can mean this and no more. NULL: one can. */
static const char *obstacle(const struct sp_question *question)
{
	const struct sp_inspection *in = question->in;

	if (in->file.anonymous)
		return "the file has no name to remember it by";
	if (in->file.foreign)
		return "the name of the file is the job's own claim";
	if (sp_policy_is_multicall(in->file.path))
		return "the file is many programs in one";
	if (question->rule_number != SP_NO_RULE && sp_policy_rule_sees_env(question->policy, question->rule_number))
		return "it was asked because of the environment, of which nothing would be remembered";
	return NULL;
}

char *sp_question_rule(const struct sp_question *question, enum sp_action action, enum sp_scope scope,
		       struct sp_error *e)
{
	sp_cleanup(release_json) json_t *rule = json_object();
	const struct sp_inspection *in = question->in;
	const struct sp_exec exec = {.path = in->file.path, .argv = in->argv.item, .argc = in->argv.count};
	const char *why = obstacle(question);

	if (why != NULL)
		return (void)sp_fail(e, ENOTSUP, "it cannot be remembered: %s", why), NULL;
	int err = add_matchers(rule, question, scope);
	if (err == 0)
		err = json_object_set_new(rule, "action", json_string(sp_action_name(action)));
	cleanup_free char *text = err == 0 ? json_dumps(rule, JSON_PRESERVE_ORDER | JSON_ENSURE_ASCII) : NULL;
	if (text == NULL)
		return (void)sp_fail(e, EINVAL, "it cannot be remembered: %s",
				     err == -ENODATA ? "there is no word to remember it by" : "it is no text"),
		       NULL;
	if (strlen(text) > RULE_MAX)
		return (void)sp_fail(e, E2BIG, "it cannot be remembered: the rule would be too long to be looked at"),
		       NULL;
	/* Whatever was thought of above: this very exec is what it must be about. */
	if (!sp_remembered_fits(text, &exec, action))
		return (void)sp_fail(e, EINVAL,
				     "it cannot be remembered by its words: options come before them of which nobody "
				     "knows whether they take a value"),
		       NULL;
	return sp_steal_ptr(text);
}

/* --- names --- */

static const char *const scopes[] = {
	[SP_SCOPE_EXACT] = "exact", [SP_SCOPE_WORDS] = "words", [SP_SCOPE_PROGRAM] = "program"};
static const char *const spans[] = {
	[SP_REMEMBER_ONCE] = "once", [SP_REMEMBER_JOB] = "job", [SP_REMEMBER_ALWAYS] = "always"};

const char *sp_scope_name(enum sp_scope scope)
{
	return scopes[scope];
}

const char *sp_remember_name(enum sp_remember remember)
{
	return spans[remember];
}

static int find_name(const char *const *names, int count, const char *name)
{
	for (int i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	return -1;
}

bool sp_scope_parse(const char *name, enum sp_scope *scope)
{
	const int found = find_name(scopes, sizeof scopes / sizeof *scopes, name);

	if (found >= 0)
		*scope = (enum sp_scope)found;
	return found >= 0;
}

bool sp_remember_parse(const char *name, enum sp_remember *remember)
{
	const int found = find_name(spans, sizeof spans / sizeof *spans, name);

	if (found >= 0)
		*remember = (enum sp_remember)found;
	return found >= 0;
}
