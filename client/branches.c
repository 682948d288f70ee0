/* See branches.h. */
#include "branches.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define DEEPEST_DRAWN 64 /* levels below this one are drawn like it */

int sp_branches_add(struct sp_branches *b, uint64_t key, uint64_t parent_key)
{
	if (b->count == b->capacity) {
		const size_t capacity = b->capacity == 0 ? 256 : b->capacity * 2;
		struct sp_branch *grown = reallocarray(b->each, capacity, sizeof *grown);

		if (grown == NULL)
			return -ENOMEM;
		b->each = grown;
		b->capacity = capacity;
	}
	b->each[b->count++] = (struct sp_branch){
		.key = key,
		.parent_key = parent_key,
		.parent = SP_NO_BRANCH,
		.first_child = SP_NO_BRANCH,
		.last_child = SP_NO_BRANCH,
		.next = SP_NO_BRANCH,
	};
	return 0;
}

void sp_branches_release(struct sp_branches *b)
{
	free(b->each);
	*b = (struct sp_branches){0};
}

static size_t find(const struct sp_branches *b, uint64_t key)
{
	size_t low = 0, high = b->count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (b->each[middle].key < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low < b->count && b->each[low].key == key ? low : SP_NO_BRANCH;
}

/* A parent stands before its children, so that there can be no circle; one whose parent is not there is a root. */
void sp_branches_link(struct sp_branches *b)
{
	size_t last_root = SP_NO_BRANCH;

	for (size_t i = 0; i < b->count; i++) {
		struct sp_branch *branch = &b->each[i];
		const size_t parent = find(b, branch->parent_key);

		branch->parent = parent < i ? parent : SP_NO_BRANCH;
		size_t *last = branch->parent == SP_NO_BRANCH ? &last_root : &b->each[branch->parent].last_child;
		if (*last != SP_NO_BRANCH)
			b->each[*last].next = i;
		else if (branch->parent != SP_NO_BRANCH)
			b->each[branch->parent].first_child = i;
		*last = i;
	}
}

/* Depth first. A loop, not a recursion: a job may be as deep as it likes. */
size_t sp_branches_after(const struct sp_branches *b, size_t at)
{
	const struct sp_branch *branch = &b->each[at];

	if (branch->first_child != SP_NO_BRANCH)
		return branch->first_child;
	while (branch->next == SP_NO_BRANCH && branch->parent != SP_NO_BRANCH)
		branch = &b->each[branch->parent];
	return branch->next;
}

void sp_branches_print(const struct sp_branches *b, size_t at, bool own_line)
{
	const struct sp_branch *own = &b->each[at];
	bool more[DEEPEST_DRAWN];
	size_t depth = 0;

	for (const struct sp_branch *each = own; each->parent != SP_NO_BRANCH && depth < DEEPEST_DRAWN;
	     each = &b->each[each->parent])
		more[depth++] = each->next != SP_NO_BRANCH;
	while (depth > 1)
		(void)fputs(more[--depth] ? "│  " : "   ", stdout);
	if (depth == 1)
		(void)fputs(own_line ? (more[0] ? "├─ " : "└─ ") : (more[0] ? "│  " : "   "), stdout);
	if (!own_line)
		(void)fputs(own->first_child != SP_NO_BRANCH ? "│    " : "     ", stdout);
}
