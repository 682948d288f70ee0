/* What was approved, small enough to be kept where it outlives us: which file, and keyed sums of the words.
 *
 * sp_verify() compares in the exec stop what runs with the inspection itself. A supervisor that died between its answer and that stop
 * leaves only this; its successor looks at the program when it may have run already. Any thread. */
#ifndef SP_INSPECT_APPROVAL_H
#define SP_INSPECT_APPROVAL_H

#include "inspect/inspect.h"

#include <stdint.h>

/* Written to memory that another version may read: fields are only added, at the end. */
struct sp_approval {
	uint64_t device, inode; /* of what runs: the interpreter of a script; 0, 0: nothing may */
	uint64_t argv_size, argv_sum;
	uint64_t envp_size, envp_sum; /* 0, 0: not looked at */
};

/* Of key (16 random bytes that nobody under supervision knows) and the words. */
void sp_approve(const struct sp_inspection *in, const uint64_t key[static 2], struct sp_approval *approval);

enum sp_seen_running {
	SP_RUNS_APPROVED,
	SP_RUNS_OTHER, /* another file, or other words */
	SP_RUNS_NOTHING, /* gone, or it cannot be looked at */
};

/* What does the process run now? detail: a sentence about what is different. */
enum sp_seen_running sp_approval_check(const struct sp_approval *approval, const uint64_t key[static 2], pid_t tgid,
				       char *detail, size_t size);

/* SipHash-2-4 (Aumasson and Bernstein): a sum that nobody can hit who does not know the key. */
uint64_t sp_keyed_sum(const uint64_t key[static 2], const void *bytes, size_t size);

#endif
