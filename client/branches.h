/* A tree of processes as lines with branches before them. */
#ifndef SP_CLIENT_BRANCHES_H
#define SP_CLIENT_BRANCHES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_NO_BRANCH SIZE_MAX

struct sp_branch {
	uint64_t key, parent_key;
	size_t parent, first_child, last_child, next; /* indices, or SP_NO_BRANCH */
};

struct sp_branches {
	struct sp_branch *each; /* in the order of their keys, which is that of their births */
	size_t count, capacity;
};

/* 0 or -ENOMEM. Keys grow from one to the next. */
[[nodiscard]] int sp_branches_add(struct sp_branches *branches, uint64_t key, uint64_t parent_key);
/* When all are there. */
void sp_branches_link(struct sp_branches *branches);
void sp_branches_release(struct sp_branches *branches);

/* From the first (0) to the one after it, parents before their children. SP_NO_BRANCH: that was the last. */
size_t sp_branches_after(const struct sp_branches *branches, size_t at);

/* Writes to standard output what stands before the text of that one: for each ancestor a line that goes down or does not, then
 * the branch to itself, or, in the lines below its own, the line to its children. */
void sp_branches_print(const struct sp_branches *branches, size_t at, bool own_line);

#endif
