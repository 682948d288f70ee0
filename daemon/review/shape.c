/* See shape.h. Each command line becomes a shape with one alternative a position; two shapes that differ in one position only
 * become one, which then allows exactly what the two did. */
#include "review/shape.h"

#include "policy/push.h"
#include "review/notable.h"
#include "util/cleanup.h"

#include <errno.h>
#include <string.h>

#define MANY 400 /* different shapes: what is left of them would be too many as well */

static void free_alternatives(struct sp_alternatives *alternatives)
{
	for (size_t i = 0; i < alternatives->count; i++)
		free(alternatives->item[i]);
	free(alternatives->item);
}

static void free_shape(struct sp_shape *shape)
{
	for (size_t i = 0; i < shape->count; i++)
		free_alternatives(&shape->position[i]);
	free(shape->position);
	*shape = (struct sp_shape){0};
}

void sp_shapes_free(struct sp_shapes *shapes)
{
	for (size_t i = 0; i < shapes->count; i++)
		free_shape(&shapes->item[i]);
	free(shapes->item);
	*shapes = (struct sp_shapes){0};
}

static bool add_position(struct sp_shape *shape, char *pattern)
{
	struct sp_alternatives only = {0};

	if (pattern == NULL || !sp_push(only.item, only.count, pattern)) {
		free(pattern);
		return false;
	}
	if (sp_push(shape->position, shape->count, only))
		return true;
	free_alternatives(&only);
	return false;
}

/* A secret does not belong into a policy. */
static char *make_pattern(const struct sp_places *places, const char *word, const char *previous,
			  enum sp_generality generality)
{
	const size_t shown = sp_notable_secret(word, previous);
	char *pattern = NULL;

	if (shown == SIZE_MAX)
		return sp_pattern_argument(places, word, generality);
	cleanup_free char *beginning = strndup(word, shown);
	cleanup_free char *known = beginning != NULL ? sp_pattern_argument(places, beginning, SP_KEEP_NAMES) : NULL;
	if (known == NULL || asprintf(&pattern, "%s*", known) < 0)
		return NULL;
	return pattern;
}

static int make_shape(const struct sp_argument_list *words, const struct sp_shape_limits *limits,
		      struct sp_shape *shape)
{
	const char *end = words->data + words->size;

	const char *previous = NULL;

	for (const char *at = words->data; at < end; previous = at, at += strlen(at) + 1) {
		if (shape->count == limits->positions) {
			shape->open = true;
			break;
		}
		if (!add_position(shape, make_pattern(words->places, at, previous, limits->generality)))
			return -ENOMEM;
	}
	/* Where only the first is looked at, what followed it once may follow the next time. */
	shape->open |= limits->positions == 1 && shape->count > 0;
	return 0;
}

static int compare_alternatives(const struct sp_alternatives *a, const struct sp_alternatives *b)
{
	for (size_t i = 0; i < a->count && i < b->count; i++) {
		const int order = strcmp(a->item[i], b->item[i]);
		if (order != 0)
			return order;
	}
	return (a->count > b->count) - (a->count < b->count);
}

static int compare_shapes(const void *left, const void *right)
{
	const struct sp_shape *a = left, *b = right;

	for (size_t i = 0; i < a->count && i < b->count; i++) {
		const int order = compare_alternatives(&a->position[i], &b->position[i]);
		if (order != 0)
			return order;
	}
	if (a->count != b->count)
		return a->count > b->count ? 1 : -1;
	return a->open - b->open;
}

static void sort_and_unite(struct sp_shapes *shapes)
{
	size_t kept = 0;

	if (shapes->count > 1)
		qsort(shapes->item, shapes->count, sizeof *shapes->item, compare_shapes);
	for (size_t i = 0; i < shapes->count; i++) {
		if (kept > 0 && compare_shapes(&shapes->item[kept - 1], &shapes->item[i]) == 0) {
			free_shape(&shapes->item[i]);
			continue;
		}
		shapes->item[kept++] = shapes->item[i];
	}
	shapes->count = kept;
}

static bool differ_only_at(const struct sp_shape *a, const struct sp_shape *b, size_t position)
{
	if (a->count != b->count || a->open != b->open || position >= a->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		if (i != position && compare_alternatives(&a->position[i], &b->position[i]) != 0)
			return false;
	}
	return true;
}

static int compare_texts(const void *left, const void *right)
{
	return strcmp(*(char *const *)left, *(char *const *)right);
}

/* What b has at the position goes to a. */
static bool unite_at(struct sp_shape *a, struct sp_shape *b, size_t position)
{
	struct sp_alternatives *to = &a->position[position], *from = &b->position[position];

	while (from->count > 0) {
		char *text = from->item[from->count - 1];
		bool known = false;
		for (size_t i = 0; i < to->count && !known; i++)
			known = strcmp(to->item[i], text) == 0;
		if (!known && !sp_push(to->item, to->count, text))
			return false;
		if (known)
			free(text);
		from->count--;
	}
	qsort(to->item, to->count, sizeof *to->item, compare_texts);
	return true;
}

/* 1: some were united, 0: none could be, -ENOMEM. */
static int unite(struct sp_shapes *shapes, size_t position)
{
	int united = 0;

	for (size_t i = 0; i < shapes->count; i++) {
		for (size_t j = i + 1; j < shapes->count;) {
			if (!differ_only_at(&shapes->item[i], &shapes->item[j], position)) {
				j++;
				continue;
			}
			if (!unite_at(&shapes->item[i], &shapes->item[j], position))
				return -ENOMEM;
			free_shape(&shapes->item[j]);
			memmove(&shapes->item[j], &shapes->item[j + 1], (shapes->count - j - 1) * sizeof *shapes->item);
			shapes->count--;
			united = 1;
		}
	}
	return united;
}

/* Later positions first: programs say what they are to do at the beginning, and with what behind it. */
static int unite_all(struct sp_shapes *shapes)
{
	size_t longest = 0;
	int ret = 1;

	for (size_t i = 0; i < shapes->count; i++)
		longest = shapes->item[i].count > longest ? shapes->item[i].count : longest;
	while (ret > 0) {
		ret = 0;
		for (size_t position = longest; position-- > 0 && ret >= 0;) {
			const int united = unite(shapes, position);
			ret = united < 0 ? united : ret | united;
		}
	}
	sort_and_unite(shapes);
	return ret;
}

static bool fits(const struct sp_shapes *shapes, const struct sp_shape_limits *limits)
{
	size_t with_arguments = 0;

	for (size_t i = 0; i < shapes->count; i++) {
		with_arguments += shapes->item[i].count > 0;
		for (size_t p = 0; p < shapes->item[i].count; p++) {
			if (shapes->item[i].position[p].count > limits->alternatives)
				return false;
		}
	}
	return with_arguments <= limits->shapes;
}

int sp_shapes_find(const struct sp_argument_list *words, size_t count, const struct sp_shape_limits *limits,
		   struct sp_shapes *out)
{
	sp_cleanup(sp_shapes_free) struct sp_shapes shapes = {0};

	for (size_t i = 0; i < count; i++) {
		if (!sp_push(shapes.item, shapes.count, {0}))
			return -ENOMEM;
		if (make_shape(&words[i], limits, &shapes.item[shapes.count - 1]) < 0)
			return -ENOMEM;
		if (shapes.count < 2 * MANY)
			continue;
		sort_and_unite(&shapes);
		if (shapes.count > MANY)
			return 0;
	}
	sort_and_unite(&shapes);
	if (shapes.count > MANY)
		return 0;
	const int ret = unite_all(&shapes);
	if (ret < 0)
		return ret;
	if (!fits(&shapes, limits))
		return 0;
	*out = shapes;
	shapes = (struct sp_shapes){0};
	return 1;
}
