/* What a recorded word may look like the next time: a glob that keeps what a person chose and lets go of what a machine did.
 *
 * Let go of are: the job's working directory, temporary names (below /tmp and the like, or of a known template), numbers of four digits and more, process ids, dates, hashes.
 * The same word gives the same pattern; the word itself always matches it. */
#ifndef SP_REVIEW_PATTERN_H
#define SP_REVIEW_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A file name that somebody asked mktemp(1) for: how it begins, and how many characters behind that vary. */
struct sp_template {
	char *name;
	size_t varying;
};

/* What varies from one run to the next, of one job. */
struct sp_places {
	const char *work; /* its working directory; NULL: none that says anything */
	const pid_t *pids; /* of its processes, ascending */
	size_t pid_count;
	const struct sp_template *templates;
	size_t template_count;
};

enum sp_generality {
	SP_KEEP_NAMES,
	SP_KEEP_KINDS, /* of files the ending (and, of those elsewhere, the directory), of options the name */
};

/* A glob over arguments. Freed by the caller; NULL: out of memory. Any thread. */
[[nodiscard]] char *sp_pattern_argument(const struct sp_places *places, const char *word,
					enum sp_generality generality);

/* A glob over paths, for a program's canonical path: below the working directory it begins with ./ */
[[nodiscard]] char *sp_pattern_path(const struct sp_places *places, const char *path);

/* Whether the path lies below the working directory, or is it. */
bool sp_is_below_work(const struct sp_places *places, const char *path);

#endif
