/* Many command lines of one program as few lists of alternatives, one a position: what `argv` of a rule can say. */
#ifndef SP_REVIEW_SHAPE_H
#define SP_REVIEW_SHAPE_H

#include "review/pattern.h"

#include <stdint.h>

/* The alternatives at one position: globs, sorted, none twice. */
struct sp_alternatives {
	char **item;
	size_t count;
};

struct sp_shape {
	struct sp_alternatives *position;
	size_t count; /* 0 and not open: no arguments */
	bool open; /* anything may follow */
};

struct sp_shapes {
	struct sp_shape *item;
	size_t count;
};

/* Arguments behind argv[0], as NUL-terminated strings one after the other. */
struct sp_argument_list {
	const char *data;
	size_t size;
	const struct sp_places *places; /* of the job it was seen in */
};

/* What a shape may look like for a person to read it. */
struct sp_shape_limits {
	enum sp_generality generality;
	size_t shapes; /* beside the one without arguments */
	size_t alternatives;
	size_t positions; /* what follows is open; 1: only the first is looked at */
};

/* The shapes that all of these have; the same in whatever order they come. 1 and *shapes, which the caller frees; 0: they
 * differ too much for the limits; -ENOMEM. */
[[nodiscard]] int sp_shapes_find(const struct sp_argument_list *words, size_t count,
				 const struct sp_shape_limits *limits, struct sp_shapes *shapes);

void sp_shapes_free(struct sp_shapes *shapes);

#endif
