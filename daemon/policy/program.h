/* Programs by name: exec.path's directories, the files that names in them stand for, and patterns of canonical paths.
 *
 * A decision compares canonical paths, but people write `gcc` and `/bin/sh`. So at load every directory is kept as
 * written and as it resolves, and the links in them are remembered: a name also stands for what it links to. */
#ifndef SP_POLICY_PROGRAM_H
#define SP_POLICY_PROGRAM_H

#include "policy/glob.h"

struct sp_directories;

/* 0 and an empty list, or -ENOMEM. */
[[nodiscard]] int sp_directories_new(struct sp_directories **out);

void sp_directories_free(struct sp_directories *directories); /* NULL is fine */

/* Adds a directory, or a glob of directories. 0; -EINVAL with *problem (a constant string); -ENOMEM. */
[[nodiscard]] int sp_directories_add(struct sp_directories *directories, const char *pattern, const char **problem);

/* Remembers the links in all directories that exist: call once, after the last add. 0 or -ENOMEM. */
[[nodiscard]] int sp_directories_scan(struct sp_directories *directories);

/* Whether the file at this canonical path lies in one of the directories. Allocates nothing. */
bool sp_directories_have(const struct sp_directories *directories, const char *path);

/* Calls each(context, target) for the canonical path of every link whose name matches; stops at a result below 0 and
 * returns it. */
[[nodiscard]] int sp_directories_links(const struct sp_directories *directories, const struct sp_glob *name,
				       int (*each)(void *context, const char *target), void *context);

/* As sp_policy_resolve() in policy.h. */
int sp_directories_resolve(const struct sp_directories *directories, const char *word, char path[static 4096]);

/* A path pattern as it is compared: a leading `./` is the working directory. *written is that, *canonical the same with
 * the links in its leading directories (or, without wildcards, in all of it) resolved, or NULL where that changes
 * nothing. Both are freed by the caller. 0; -EINVAL with *problem; -errno of getcwd(3). */
[[nodiscard]] int sp_path_pattern(const char *pattern, char **written, char **canonical, const char **problem);

#endif
