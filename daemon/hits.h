/* How often each rule of one policy has decided, and when last: counted in memory, written to the audit trail in between.
 *
 * Loop thread only. */
#ifndef SP_HITS_H
#define SP_HITS_H

#include "audit/audit.h"
#include "policy/policy.h"

#include <stdbool.h>
#include <stdint.h>

struct sp_hits;

/* policy must outlive it. NULL: out of memory. */
[[nodiscard]] struct sp_hits *sp_hits_new(const struct sp_policy *policy, uint64_t job, uint64_t generation);
void sp_hits_free(struct sp_hits *hits); /* NULL is fine */

/* One more, for whoever decided. Allocates nothing. */
void sp_hits_add(struct sp_hits *hits, const struct sp_decision *decision, int64_t now);

/* Something was counted that is not written yet. */
bool sp_hits_are_new(const struct sp_hits *hits);

/* Writes what has changed. What cannot be written now (-ENOSPC) is tried again the next time. 0 or -errno. */
[[nodiscard]] int sp_hits_write(struct sp_hits *hits, struct sp_audit *audit);

#endif
