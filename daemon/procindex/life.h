/* A process seen from outside, by a pidfd: which one it is, whether it lives, and how it ended. Nothing here waits, and a
 * process need not be our child. Any thread. */
#ifndef SP_PROCINDEX_LIFE_H
#define SP_PROCINDEX_LIFE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A pidfd of the process (zombies included), or -errno; -ESRCH: no process has this pid. */
[[nodiscard]] int sp_life_open(pid_t tgid);

/* All threads are gone: the process is a zombie, or reaped. */
bool sp_life_is_over(int pidfd);

/* Since Linux 6.9 the inode number of a pidfd is of one process alone; before, all pidfds had the same. */
bool sp_life_has_inodes(void);

/* What tells the process from others that had its pid before or will have it: its inode, or else when it started, in clock
 * ticks. 0 or -errno; -ESRCH: it is reaped. */
[[nodiscard]] int sp_life_identity(int pidfd, pid_t tgid, bool inodes, uint64_t *identity);

/* For a process that is over: its status as waitpid(2) gives it; -1: it is reaped and the kernel does not remember (before
 * Linux 6.15), or may not be asked. */
int sp_life_status(int pidfd, pid_t tgid);

#endif
