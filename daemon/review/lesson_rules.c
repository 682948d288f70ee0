/* See lesson_internal.h: which rules a program gets, by how much of its arguments can be kept. */
#include "review/lesson_internal.h"

#include "policy/push.h"
#include "util/cleanup.h"

#include <fnmatch.h>
#include <stdint.h>
#include <string.h>

#define ID_MAX 60

static const struct sp_shape_limits limits_of[] = {
	[SP_LESSON_NAMES] = {SP_KEEP_NAMES, .shapes = 3, .alternatives = 8, .positions = 16},
	[SP_LESSON_KINDS] = {SP_KEEP_KINDS, .shapes = 3, .alternatives = 8, .positions = 16},
	[SP_LESSON_FIRST] = {SP_KEEP_NAMES, .shapes = 1, .alternatives = 16, .positions = 1},
	[SP_LESSON_FIRST_KIND] = {SP_KEEP_KINDS, .shapes = 1, .alternatives = 12, .positions = 1},
};

enum { WORDS_MAX = 24 };

static void free_alternatives(struct sp_alternatives *alternatives)
{
	for (size_t i = 0; i < alternatives->count; i++)
		free(alternatives->item[i]);
	free(alternatives->item);
	*alternatives = (struct sp_alternatives){0};
}

static void free_rule(struct sp_lesson_rule *rule)
{
	struct sp_shapes shapes = {.item = NULL};

	if (rule->kind == SP_RULE_ARGV && sp_push(shapes.item, shapes.count, rule->shape))
		sp_shapes_free(&shapes);
	free_alternatives(&rule->words[0]);
	free_alternatives(&rule->words[1]);
	free(rule->id);
}

void sp_lesson_rules_free(struct sp_lesson_rules *rules)
{
	for (size_t i = 0; i < rules->count; i++)
		free_rule(&rules->item[i]);
	free(rules->item);
	*rules = (struct sp_lesson_rules){0};
}

/* ---- Names ---- */

static bool is_taken(const struct sp_lesson_rules *rules, const char *id)
{
	/* What records say where no rule decided. */
	static const char *const reserved[] = {"default", "anonymous",     "unresolved", "unstoppable", "deadline",
					       "strict",  "uninspectable", "unreadable", "changed",     "plugin"};

	for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++) {
		if (strcmp(reserved[i], id) == 0)
			return true;
	}
	for (size_t i = 0; i < rules->count; i++) {
		if (rules->item[i].id != NULL && strcmp(rules->item[i].id, id) == 0)
			return true;
	}
	return false;
}

static bool is_id_character(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '_' ||
	       c == '-';
}

/* The program's name, and what the rule is about, in the characters that an id may have. */
static char *make_id(const struct sp_lesson_rules *rules, const struct sp_student *student, const char *what)
{
	const char *slash = strrchr(student->path, '/'), *name = slash != NULL ? slash + 1 : student->path;
	char base[ID_MAX + 1], *id = NULL;
	size_t size = 0;

	for (const char *at = name; *at != '\0' && size < ID_MAX / 2; at++) {
		if (is_id_character(*at))
			base[size++] = *at;
		else if (size > 0 && base[size - 1] != '-')
			base[size++] = '-';
	}
	while (size > 0 && base[size - 1] == '-')
		size--;
	base[size] = '\0';
	for (unsigned number = 1; number < UINT32_MAX; number++) {
		free(id);
		id = NULL;
		if ((number == 1 &&
		     asprintf(&id, "%s%s%s", size > 0 ? base : "program", what[0] != '\0' ? "-" : "", what) < 0) ||
		    (number > 1 && asprintf(&id, "%s%s%s-%u", size > 0 ? base : "program", what[0] != '\0' ? "-" : "",
					    what, number) < 0))
			return NULL;
		if (!is_taken(rules, id))
			return id;
	}
	return NULL;
}

/* The next rule; its room is not moved before the one after it is made. NULL: out of memory. */
static struct sp_lesson_rule *add_rule(struct sp_lesson_rules *rules, const struct sp_student *student,
				       enum sp_lesson_kind kind, const char *what)
{
	char *id = make_id(rules, student, what);

	if (id == NULL || !sp_push(rules->item, rules->count, {0})) {
		free(id);
		return NULL;
	}
	struct sp_lesson_rule *rule = &rules->item[rules->count - 1];
	*rule = (struct sp_lesson_rule){.id = id, .student = student, .kind = kind};
	return rule;
}

/* ---- Arguments ---- */

static int add_shapes(struct sp_lesson_rules *rules, const struct sp_student *student, struct sp_shapes *shapes)
{
	for (size_t i = 0; i < shapes->count; i++) {
		const bool none = shapes->item[i].count == 0;
		struct sp_lesson_rule *rule =
			add_rule(rules, student, none ? SP_RULE_NO_ARGUMENTS : SP_RULE_ARGV, none ? "alone" : "");
		if (rule == NULL)
			return -ENOMEM;
		if (none)
			continue;
		rule->shape = shapes->item[i];
		shapes->item[i] = (struct sp_shape){0};
	}
	return 0;
}

/* What is to be kept of the arguments: 1 and shapes; 0: at no level up to the last they are few enough; -ENOMEM. */
static int find_shapes(struct sp_student *student, const struct sp_argument_list *words, size_t count,
		       struct sp_shapes *shapes)
{
	int ret = 0;

	while (ret == 0 && student->level != SP_LESSON_ALONE) {
		ret = sp_shapes_find(words, count, &limits_of[student->level], shapes);
		if (ret == 0)
			(void)sp_lesson_widen(student);
	}
	return ret;
}

/* An interpreter that was never given code keeps its scripts: without this it would be everything. */
static int add_no_code(struct sp_lesson_rules *rules, const struct sp_student *student)
{
	const char *const *options = sp_code_options(student->path);

	/* Of perl's options, which come in clusters, too many have an e. */
	if (options == NULL || student->open_to_code || fnmatch("*/perl*", student->path, 0) == 0 ||
	    (student->notable & 1U << SP_NOTABLE_CODE) != 0 || student->anonymous)
		return 0;
	return add_rule(rules, student, SP_RULE_NO_CODE, "no-code") != NULL ? 0 : -ENOMEM;
}

static int add_by_arguments(struct sp_lesson_rules *rules, struct sp_student *student)
{
	cleanup_free struct sp_argument_list *words = calloc(student->usage_count + 1, sizeof *words);
	sp_cleanup(sp_shapes_free) struct sp_shapes shapes = {0};

	if (words == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < student->usage_count; i++)
		words[i] = (struct sp_argument_list){student->usage[i].words, student->usage[i].size,
						     &student->usage[i].job->places};
	int ret = find_shapes(student, words, student->usage_count, &shapes);
	if (ret > 0)
		ret = add_shapes(rules, student, &shapes);
	else if (ret == 0)
		ret = add_rule(rules, student, SP_RULE_ANY, "") != NULL ? 0 : -ENOMEM;
	if (ret == 0 && student->level >= SP_LESSON_FIRST)
		ret = add_no_code(rules, student);
	return ret;
}

/* ---- Words of tools ---- */

struct pair {
	struct sp_tool_words words;
	bool notable;
};

static int compare_words(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return (a != NULL) - (b != NULL);
	return strcmp(a, b);
}

static int compare_pairs(const void *left, const void *right)
{
	const struct pair *a = left, *b = right;
	const int order = compare_words(a->words.first, b->words.first);

	return order != 0 ? order : compare_words(a->words.second, b->words.second);
}

static bool is_notable_word(const struct sp_tool *tool, const char *word)
{
	for (size_t i = 0; tool->publish != NULL && tool->publish[i] != NULL; i++) {
		if (strcmp(tool->publish[i], word) == 0)
			return true;
	}
	for (size_t i = 0; tool->install != NULL && tool->install[i] != NULL; i++) {
		if (strcmp(tool->install[i], word) == 0)
			return true;
	}
	return false;
}

static int read_usage(const struct sp_student *student, const struct sp_usage *usage, struct sp_tool_words *words)
{
	cleanup_free const char **argv = calloc(usage->count + 1, sizeof *argv);
	size_t argc = 1;

	if (argv == NULL)
		return -ENOMEM;
	for (const char *at = usage->words; at < usage->words + usage->size; at += strlen(at) + 1)
		argv[argc++] = at;
	*words = sp_tool_read(student->tool, argv, argc);
	return 0;
}

static int add_word(struct sp_alternatives *words, const char *word, const struct sp_places *places)
{
	char *pattern = sp_pattern_argument(places, word, SP_KEEP_NAMES);

	if (pattern == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < words->count; i++) {
		if (strcmp(words->item[i], pattern) == 0) {
			free(pattern);
			return 0;
		}
	}
	if (sp_push(words->item, words->count, pattern))
		return 0;
	free(pattern);
	return -ENOMEM;
}

/* One rule for what is unremarkable, one for each word that is not, or that has words below it. Pairs are sorted. */
static int add_word_rules(struct sp_lesson_rules *rules, const struct sp_student *student, const struct pair *pairs,
			  size_t count)
{
	static const struct sp_places nowhere;
	size_t plain = SIZE_MAX, own = SIZE_MAX;

	for (size_t i = 0; i < count; i++) {
		const struct sp_tool_words words = pairs[i].words;
		const bool apart = pairs[i].notable || words.second != NULL;
		const bool same = own != SIZE_MAX && i > 0 && apart &&
				  strcmp(pairs[i - 1].words.first, words.first) == 0 &&
				  pairs[i - 1].words.second != NULL;
		size_t *at = apart ? &own : &plain;
		if ((apart && !same) || *at == SIZE_MAX) {
			char what[32];
			(void)snprintf(what, sizeof what, "%s", apart ? words.first : "");
			for (char *c = what; *c != '\0'; c++)
				*c = is_id_character(*c) ? *c : '-';
			if (add_rule(rules, student, SP_RULE_WORDS, what) == NULL)
				return -ENOMEM;
			*at = rules->count - 1;
		}
		struct sp_lesson_rule *rule = &rules->item[*at];
		if (add_word(&rule->words[0], words.first, &nowhere) < 0 ||
		    (words.second != NULL && add_word(&rule->words[1], words.second, &nowhere) < 0))
			return -ENOMEM;
	}
	return 0;
}

/* Command lines without a word, such as `git --version`, are few. */
static int add_wordless(struct sp_lesson_rules *rules, const struct sp_student *student,
			const struct sp_argument_list *words, size_t count)
{
	sp_cleanup(sp_shapes_free) struct sp_shapes shapes = {0};
	int ret = 0;

	for (enum sp_lesson_level level = SP_LESSON_NAMES; ret == 0 && level < SP_LESSON_ALONE; level++)
		ret = sp_shapes_find(words, count, &limits_of[level], &shapes);
	return ret > 0 ? add_shapes(rules, student, &shapes) : ret;
}

/* 1, or 0 where that cannot be said in few rules. */
static int add_by_words(struct sp_lesson_rules *rules, struct sp_student *student)
{
	cleanup_free struct pair *pairs = calloc(student->usage_count + 1, sizeof *pairs);
	cleanup_free struct sp_argument_list *wordless = calloc(student->usage_count + 1, sizeof *wordless);
	size_t count = 0, without = 0, different = 0;

	if (pairs == NULL || wordless == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < student->usage_count; i++) {
		const struct sp_usage *usage = &student->usage[i];
		if (read_usage(student, usage, &pairs[count].words) < 0)
			return -ENOMEM;
		if (pairs[count].words.first == NULL) {
			wordless[without++] = (struct sp_argument_list){usage->words, usage->size, &usage->job->places};
			continue;
		}
		pairs[count].notable = is_notable_word(student->tool, pairs[count].words.first);
		count++;
	}
	if (count > 1)
		qsort(pairs, count, sizeof *pairs, compare_pairs);
	for (size_t i = 0; i < count; i++)
		different += i == 0 || compare_pairs(&pairs[i - 1], &pairs[i]) != 0;
	if (different > WORDS_MAX)
		return 0;
	int ret = add_word_rules(rules, student, pairs, count);
	if (ret == 0 && without > 0)
		ret = add_wordless(rules, student, wordless, without);
	return ret < 0 ? ret : 1;
}

int sp_lesson_rules_make(const struct sp_lesson *lesson, struct sp_lesson_rules *rules)
{
	for (size_t i = 0; i < lesson->student_count; i++) {
		struct sp_student *student = &lesson->students[i];
		int ret = 0;
		if (student->level == SP_LESSON_WORDS) {
			ret = add_by_words(rules, student);
			if (ret == 0)
				student->level = student->varies ? SP_LESSON_ALONE : SP_LESSON_NAMES;
		}
		if (ret == 0)
			ret = add_by_arguments(rules, student);
		if (ret < 0)
			return ret;
	}
	return 0;
}
