/* A policy from what jobs did: it lets the same jobs run again, and denies everything else.
 *
 * What ran is taken in, job by job, and written once. What was refused, and what the kernel refused, is not allowed by it, but
 * for arguments of programs that also ran, and for files without a #! line, which a shell reads by itself once the kernel has
 * refused them. The same records give the same text. One thread. */
#ifndef SP_REVIEW_LESSON_H
#define SP_REVIEW_LESSON_H

#include "audit/query.h"

#include <stdbool.h>
#include <stdio.h>

struct sp_lesson;

[[nodiscard]] struct sp_lesson *sp_lesson_new(void); /* NULL: out of memory */
void sp_lesson_free(struct sp_lesson *lesson); /* NULL is fine */

/* Takes in one job: 0, or -errno with a sentence; -ENODATA when nothing ran in it. */
[[nodiscard]] int sp_lesson_take(struct sp_lesson *lesson, struct sp_query *query, int64_t job, struct sp_error *e);

struct sp_lesson_summary {
	size_t execs, programs, rules;
	size_t notable; /* rules that a person should look at */
	size_t left_out; /* programs that no rule can allow: see the comments in the file */
};

/* Writes the policy, having read it and judged by it all that was taken in. 0, or -errno with a sentence; out is then not to be
 * used. ask: rules that a person should look at ask instead of allowing. Names that begin with ./ are judged as if this were the working directory of the jobs. */
[[nodiscard]] int sp_lesson_write(struct sp_lesson *lesson, FILE *out, bool ask, struct sp_lesson_summary *summary,
				  struct sp_error *e);

#endif
