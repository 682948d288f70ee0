/* See lesson_internal.h: the rules as YAML, for a person to read and change. Every text goes through put_scalar(). */
#include "review/lesson_internal.h"

#include "util/cleanup.h"
#include "util/printable.h"

#include <inttypes.h>
#include <stdint.h>
#include <string.h>

enum { WIDTH = 118, EXAMPLE_MAX = 400, FOREIGN_SHOWN = 10 };

/* ---- YAML ---- */

static bool is_plain_character(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       strchr("./_+@%=-", c) != NULL;
}

/* Needs no quotes: no number, no word with a meaning, nothing that steers. */
static bool is_plain(const char *text)
{
	static const char *const words[] = {"true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan", "inf"};
	const char *first = text[0] == '-' ? text + 1 : text;

	if (first[0] == '\0' || first[0] == '=' || first[0] == '%' || first[0] == '@' || first[0] == '.' ||
	    first[0] == '+' || (first[0] >= '0' && first[0] <= '9'))
		return false;
	for (const char *at = text; *at != '\0'; at++) {
		if (!is_plain_character(*at))
			return false;
	}
	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		if (strcasecmp(text, words[i]) == 0)
			return false;
	}
	return true;
}

static void put_double_quoted(FILE *out, const char *text)
{
	(void)fputc('"', out);
	for (; *text != '\0'; text++) {
		if (*text == '\n')
			(void)fputs("\\n", out);
		else if (*text == '\t')
			(void)fputs("\\t", out);
		else
			(void)fprintf(out, "%s%c", *text == '"' || *text == '\\' ? "\\" : "", *text);
	}
	(void)fputc('"', out);
}

static void put_scalar(FILE *out, const char *text)
{
	if (is_plain(text) || (text[0] == '.' && text[1] == '/' && text[2] != '\0' && is_plain(text + 2))) {
		(void)fputs(text, out);
		return;
	}
	if (strpbrk(text, "\n\t") != NULL) {
		put_double_quoted(out, text);
		return;
	}
	(void)fputc('\'', out);
	for (; *text != '\0'; text++)
		(void)fprintf(out, "%s%c", *text == '\'' ? "'" : "", *text);
	(void)fputc('\'', out);
}

/* A list that is broken into lines. */
struct list {
	FILE *out;
	size_t column, indentation;
	bool begun;
};

static void begin_list(struct list *list, const char *key, size_t indentation)
{
	(void)fprintf(list->out, "%*s%s: [", (int)indentation, "", key);
	list->column = list->indentation = indentation + strlen(key) + 3;
	list->begun = false;
}

static void put_item(struct list *list, const char *text, size_t size)
{
	if (list->begun && list->column + size + 2 > WIDTH) {
		(void)fprintf(list->out, ",\n%*s", (int)list->indentation, "");
		list->column = list->indentation;
	} else if (list->begun) {
		(void)fputs(", ", list->out);
		list->column += 2;
	}
	(void)fwrite(text, 1, size, list->out);
	list->column += size;
	list->begun = true;
}

/* One scalar, or a list of alternatives. */
static int put_choice(struct list *list, char *const *items, size_t count, bool always_list)
{
	const bool brackets = count != 1 || always_list;

	for (size_t i = 0; i < count; i++) {
		cleanup_free char *text = NULL;
		size_t size;
		FILE *out = open_memstream(&text, &size);
		if (out == NULL)
			return -ENOMEM;
		(void)fputs(brackets && i == 0 ? "[" : "", out);
		/* the one text that is not itself there */
		put_scalar(out, strcmp(items[i], "...") == 0 ? "\\..." : items[i]);
		(void)fputs(brackets && i == count - 1 ? "]" : "", out);
		if (fclose(out) != 0)
			return -ENOMEM;
		put_item(list, text, size);
	}
	return 0;
}

static int put_words(FILE *out, const char *key, const char *const *words)
{
	struct list list = {.out = out};

	begin_list(&list, key, 6);
	for (size_t i = 0; words[i] != NULL; i++) {
		if (put_choice(&list, (char *const *)&words[i], 1, false) < 0)
			return -ENOMEM;
	}
	(void)fputs("]\n", out);
	return 0;
}

/* ---- Rules ---- */

static void put_comments(FILE *out, const struct sp_lesson_rule *rule)
{
	const struct sp_student *student = rule->student;

	if (rule->kind == SP_RULE_NO_CODE) {
		(void)fputs("    # It was never given code on its command line.\n", out);
		return;
	}
	(void)fprintf(out, "    # %zu time%s", rule->times, rule->times == 1 ? "" : "s");
	if (student->as_interpreter > 0)
		(void)fprintf(out, "; as the interpreter of scripts %zu time%s in all", student->as_interpreter,
			      student->as_interpreter == 1 ? "" : "s");
	if (student->interpreter != NULL) {
		(void)fputs("; a script, run by ", out);
		sp_print_safe(out, student->interpreter, strlen(student->interpreter));
	}
	if (student->headless > 0)
		(void)fputs("; without a #! line, so that the kernel refuses it and the shell reads it", out);
	(void)fputs(".\n", out);
	for (unsigned i = 0; i < SP_NOTABLES; i++) {
		if ((rule->notable & 1U << i) != 0)
			(void)fprintf(out, "    # look at this: %s.\n", sp_notable_text((enum sp_notable)i));
	}
}

static int put_argv(FILE *out, const struct sp_shape *shape)
{
	struct list list = {.out = out};

	begin_list(&list, "argv", 6);
	for (size_t i = 0; i < shape->count; i++) {
		if (put_choice(&list, shape->position[i].item, shape->position[i].count, false) < 0)
			return -ENOMEM;
	}
	if (shape->open)
		put_item(&list, "...", 3);
	(void)fputs("]\n", out);
	return 0;
}

static int put_tool_words(FILE *out, const struct sp_lesson_rule *rule)
{
	struct list list = {.out = out};

	if (rule->student->tool->options_with_value != NULL &&
	    put_words(out, "options_with_value", rule->student->tool->options_with_value) < 0)
		return -ENOMEM;
	begin_list(&list, "words", 6);
	for (size_t i = 0; i < 2 && rule->words[i].count > 0; i++) {
		if (put_choice(&list, rule->words[i].item, rule->words[i].count, true) < 0)
			return -ENOMEM;
	}
	(void)fputs("]\n", out);
	return 0;
}

static int put_matchers(FILE *out, const struct sp_lesson_rule *rule)
{
	switch (rule->kind) {
	case SP_RULE_ARGV:
		return put_argv(out, &rule->shape);
	case SP_RULE_NO_ARGUMENTS:
		(void)fputs("      none: '*'\n", out);
		return 0;
	case SP_RULE_WORDS:
		return put_tool_words(out, rule);
	case SP_RULE_NO_CODE:
		return put_words(out, "has", sp_code_options(rule->student->path));
	case SP_RULE_ANY:
		break;
	}
	return 0;
}

/* What is marked, a person can be asked about each time. */
static void put_action(FILE *out, const struct sp_lesson_rule *rule, bool ask)
{
	unsigned first = 0;

	if (rule->kind == SP_RULE_NO_CODE) {
		(void)fputs("      action: deny\n      reason: Not in the job that this was learned from.\n", out);
		return;
	}
	if (!ask || rule->notable == 0) {
		(void)fputs("      action: allow\n", out);
		return;
	}
	while ((rule->notable & 1U << first) == 0)
		first++;
	(void)fputs("      action: ask\n      reason: ", out);
	put_scalar(out, sp_notable_text((enum sp_notable)first));
	(void)fputc('\n', out);
}

static int put_rule(FILE *out, const struct sp_lesson_rule *rule, bool whole, bool ask)
{
	if (whole)
		put_comments(out, rule);
	(void)fprintf(out, "    - id: %s\n      program: ", rule->id);
	put_scalar(out, rule->student->pattern);
	(void)fputc('\n', out);
	if (rule->student->anonymous)
		(void)fputs("      anonymous: true\n", out);
	if (put_matchers(out, rule) < 0)
		return -ENOMEM;
	put_action(out, rule, ask);
	return 0;
}

/* ---- Tests ---- */

/* What the file can hold as it is. */
static bool can_be_shown(const struct sp_lesson_rule *rule)
{
	const struct sp_usage *usage = rule->example;
	size_t size = 0;

	if (usage == NULL || usage->size > EXAMPLE_MAX || rule->kind == SP_RULE_NO_CODE)
		return false;
	for (const char *at = usage->words; at < usage->words + usage->size; at += strlen(at) + 1) {
		cleanup_free char *safe = NULL;
		FILE *out = open_memstream(&safe, &size);
		if (out == NULL)
			return false;
		sp_print_safe(out, at, strlen(at));
		/* it doubles backslashes, and nothing else that is text */
		if (fclose(out) != 0 || (strchr(at, '\\') == NULL && strcmp(safe, at) != 0))
			return false;
		for (const char *c = at; *c != '\0'; c++) {
			if (strchr(at, '\\') != NULL && (*c < ' ' || *c > '~'))
				return false;
		}
	}
	return true;
}

/* The word by which a test finds the program: in exec.path by its name, below the working directory from there. */
static const char *test_word(const struct sp_lesson_rule *rule)
{
	const struct sp_student *student = rule->student;

	if (student->named)
		return strrchr(student->path, '/') + 1;
	if (student->pattern[0] != '.')
		return student->path;
	const struct sp_lesson_job *job = rule->example->job;
	for (size_t i = 0; !sp_is_below_work(&job->places, student->path) && i < student->usage_count; i++)
		job = student->usage[i].job;
	return student->path + (job->places.work != NULL ? strlen(job->places.work) + 1 : 0);
}

static int put_test(FILE *out, const struct sp_lesson_rule *rule)
{
	const char *word = test_word(rule);
	cleanup_free char *local = NULL;

	if (rule->student->pattern[0] == '.' && strchr(word, '/') == NULL && asprintf(&local, "./%s", word) < 0)
		return -ENOMEM;
	(void)fputs("    - {argv: [", out);
	put_scalar(out, local != NULL ? local : word);
	for (const char *at = rule->example->words; at < rule->example->words + rule->example->size;
	     at += strlen(at) + 1) {
		(void)fputs(", ", out);
		put_scalar(out, at);
	}
	(void)fprintf(out, "], %sexpect: allow, rule: %s}\n", rule->student->anonymous ? "anonymous: true, " : "",
		      rule->id);
	return 0;
}

static bool is_learned(const struct sp_lesson *lesson, const char *name)
{
	for (size_t i = 0; i < lesson->student_count; i++) {
		const char *slash = strrchr(lesson->students[i].path, '/');
		if (slash != NULL && strcmp(slash + 1, name) == 0)
			return true;
	}
	return false;
}

static int put_tests(FILE *out, const struct sp_lesson *lesson, const struct sp_lesson_rules *rules)
{
	(void)fputs("  tests:\n", out);
	/* Where some ask, an example of one that allows may be one that is asked about. */
	for (size_t i = 0; !rules->ask && i < rules->count; i++) {
		if (can_be_shown(&rules->item[i]) && put_test(out, &rules->item[i]) < 0)
			return -ENOMEM;
	}
	if (!is_learned(lesson, "curl"))
		(void)fputs("    - {argv: [curl, 'https://example.com'], expect: deny, rule: default}\n", out);
	(void)fputs("    - {argv: [/nonexistent/program], expect: deny, rule: default}\n", out);
	return 0;
}

/* ---- The file ---- */

static void put_job(FILE *out, const struct sp_lesson_job *job)
{
	/* The command and the directory have been made safe for one line. */
	(void)fprintf(out, "# Job %" PRId64 ": %s\n#   in ", job->number, job->command);
	sp_print_safe(out, job->work, strlen(job->work));
	(void)fputs(", under the policy ", out);
	sp_print_safe(out, job->policy, strlen(job->policy));
	(void)fprintf(out, ": %zu execs", job->execs);
	if (job->failed > 0)
		(void)fprintf(out, ", of which the kernel refused %zu", job->failed);
	if (job->refused > 0)
		(void)fprintf(out, ", and the policy %zu, which are not allowed here either", job->refused);
	(void)fputs(".\n", out);
}

static void put_header(FILE *out, const struct sp_lesson *lesson, const struct sp_lesson_rules *rules)
{
	size_t notable = 0;

	for (size_t i = 0; i < rules->count; i++)
		notable += rules->item[i].notable != 0;
	(void)fputs("# Learned by `sallyport policy learn`: what ran in the job may run again, everything else is "
		    "denied.\n",
		    out);
	for (size_t i = 0; i < lesson->job_count; i++)
		put_job(out, lesson->jobs[i]);
	(void)fprintf(out, "#\n# A person should read it. %zu rule%s marked `look at this`%s.\n", notable,
		      notable == 1 ? " is" : "s are", rules->ask ? " and asked about each time" : "");
	(void)fputs("# \"./\" is the directory in which the policy is loaded. All keys: sallyport-policy(5).\n", out);
	for (size_t i = 0; i < lesson->foreign_count && i < FOREIGN_SHOWN; i++) {
		(void)fputs("# look at this: not allowed, since the job itself had mounted what is called so there: ",
			    out);
		sp_print_safe(out, lesson->foreign[i], strlen(lesson->foreign[i]));
		(void)fputc('\n', out);
	}
	(void)fputs("version: 1\ndescription: ", out);
	cleanup_free char *sentence = NULL;
	if (lesson->job_count > 0 && asprintf(&sentence, "Learned from: %s", lesson->jobs[0]->command) < 0)
		sentence = NULL;
	put_scalar(out, sentence != NULL ? sentence : "Learned.");
	(void)fputs("\n\nexec:\n  default: deny\n", out);
}

int sp_lesson_print(FILE *out, const struct sp_lesson *lesson, const struct sp_lesson_rules *rules, bool whole)
{
	if (whole)
		put_header(out, lesson, rules);
	else
		(void)fputs("version: 1\nexec:\n  default: deny\n", out);
	(void)fputs(rules->count > 0 ? "  rules:\n" : "", out);
	for (size_t i = 0; i < rules->count; i++) {
		if (put_rule(out, &rules->item[i], whole, whole && rules->ask) < 0)
			return -ENOMEM;
		if (whole)
			(void)fputc('\n', out);
	}
	if (whole && put_tests(out, lesson, rules) < 0)
		return -ENOMEM;
	return fflush(out) == 0 && ferror(out) == 0 ? 0 : -ENOMEM;
}
