/* From the words of an execve to the file that would run: through the caller's root, working directory and fds, never by
 * looking at the string alone. */
#ifndef SP_INSPECT_RESOLVE_H
#define SP_INSPECT_RESOLVE_H

#include "inspect/memory.h"

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

struct sp_file {
	int fd; /* O_PATH: holds the inode, so that its number cannot be given to another file; -1: none */
	struct stat st;
	char path[SP_PATH_MAX]; /* canonical, as the supervisor sees it */
	bool anonymous; /* no name leads to it: memfd, deleted, O_TMPFILE */
	bool from_our_root; /* found by names alone, from a root directory that is ours: no fd and no magic link on the way */
	bool foreign; /* the name is one of the job's own mount namespace: a claim */
};
void sp_file_close(struct sp_file *file);

/* stat(2) from what the kernel knows already: never asks a server, so a dead one cannot hold us. Fills what the kernel's
 * inode has: device, inode, mode, links, user, size, ctime. path "": dirfd itself. 0 or -errno. */
[[nodiscard]] int sp_stat_cached(int dirfd, const char *path, struct stat *st);

/* Is the task's user namespace ours? false also where it cannot be told. */
bool sp_has_our_users(pid_t tid);

struct sp_lookup {
	pid_t tid, tgid; /* the task whose view counts; it must be stopped or blocked */
	bool may_block; /* may this thread wait for a disk or a server? */
	struct sp_filesystems *filesystems; /* tells which may not be asked, where !may_block; NULL: all may */
	/* The root directory that was made for the job, in a mount namespace where it cannot mount: names are as good there as
	 * in ours. 0: there is none. */
	int home;
};

/* Resolves path as execveat(2) would with dirfd and flags (AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW).
 * 0 and a file the caller closes, or the -errno the kernel would give, or -EAGAIN: would block. */
[[nodiscard]] int sp_resolve(const struct sp_lookup *lookup, int dirfd, const char *path, int flags,
			     struct sp_file *file);

#endif
