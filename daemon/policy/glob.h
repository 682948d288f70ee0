/* Globs over bytes, in time proportional to the text for a given pattern: the text is chosen by hostile programs.
 *
 * `?` one byte, `*` any bytes, `[a-z]` and `[!a-z]` classes, `\` makes the next byte literal. In a path none of them
 * crosses a slash; `**` does, and a whole component `**` also stands for no component at all (a slash, `**`, a slash
 * matches one slash). An argument has no structure: there everything crosses slashes. No locale: a byte is a byte. */
#ifndef SP_POLICY_GLOB_H
#define SP_POLICY_GLOB_H

#include <stdbool.h>
#include <stddef.h>

struct sp_glob;

enum sp_glob_kind { SP_GLOB_PATH, SP_GLOB_ARGUMENT };

/* Compiles a pattern. 0 and a glob the caller frees; -EINVAL with *problem saying what is wrong with the pattern (a
 * constant string); -ENOMEM. Any thread. */
[[nodiscard]] int sp_glob_compile(const char *pattern, enum sp_glob_kind kind, struct sp_glob **out,
				  const char **problem);

void sp_glob_free(struct sp_glob *glob); /* NULL is fine */

/* Whether all of text matches. Allocates nothing; any thread. */
bool sp_glob_match(const struct sp_glob *glob, const char *text, size_t size);

/* The one text that a pattern without wildcards matches, escapes removed; NULL for any other. Owned by the glob. */
const char *sp_glob_literal(const struct sp_glob *glob);

/* The bytes that every text which matches begins with, or ends with; NUL-terminated, size 0 where there are none. The same
 * byte of a text is not in both. Owned by the glob. */
const char *sp_glob_beginning(const struct sp_glob *glob, size_t *size);
const char *sp_glob_ending(const struct sp_glob *glob, size_t *size);

/* The pattern that matches exactly text, to be freed by the caller; NULL when out of memory. */
[[nodiscard]] char *sp_glob_escape(const char *text);

#endif
