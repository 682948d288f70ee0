/* Which file systems answer from this machine's own memory and disks, and which ask somebody who may never answer
 * (FUSE, NFS, ...). What may block is never read on the loop. One thread. */
#ifndef SP_INSPECT_FILESYSTEMS_H
#define SP_INSPECT_FILESYSTEMS_H

#include <stdbool.h>
#include <sys/types.h>

struct sp_filesystems;

[[nodiscard]] struct sp_filesystems *sp_filesystems_new(void); /* NULL: out of memory */
void sp_filesystems_free(struct sp_filesystems *fs);

/* May reading from a file on this device wait for something outside the kernel? New devices are looked up in our own mount table
 * and remembered as long as that does not change, others in that of the task tid (0: nowhere else); one that is in neither: yes,
 * unless it is a disk. */
bool sp_filesystems_may_block(struct sp_filesystems *fs, dev_t device, pid_t tid);

#endif
