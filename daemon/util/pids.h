/* A set of process ids that only grows: a bit for each id there can be, of which pages nobody has touched take no memory. */
#ifndef SP_UTIL_PIDS_H
#define SP_UTIL_PIDS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

enum { SP_PIDS_MAX = 1 << 22 /* PID_MAX_LIMIT of the kernel */ };

struct sp_pids {
	uint64_t words[SP_PIDS_MAX / 64];
};

static inline struct sp_pids *sp_pids_new(void) /* NULL: out of memory */
{
	return calloc(1, sizeof(struct sp_pids));
}

static inline void sp_pids_free(struct sp_pids *pids)
{
	free(pids);
}

static inline void sp_pids_add(struct sp_pids *pids, pid_t pid)
{
	if (pids != NULL && pid >= 0 && pid < SP_PIDS_MAX)
		pids->words[pid / 64] |= UINT64_C(1) << pid % 64;
}

static inline bool sp_pids_have(const struct sp_pids *pids, pid_t pid)
{
	return pid >= 0 && pid < SP_PIDS_MAX && (pids->words[pid / 64] >> pid % 64 & 1) != 0;
}

#endif
