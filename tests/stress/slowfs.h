/* A file system that takes its time: a FUSE server of our own, in a thread, for execs whose arguments, path or file must be
 * waited for. Root only, since only root may mount.
 *
 *   words     1 GiB of pages, each of which is the word "slow"; none is remembered
 *   script    #!PROGRAM --leaf
 * Everything else is not there. Every answer but those about the file system itself takes up to DELAY. */
#ifndef SP_STRESS_SLOWFS_H
#define SP_STRESS_SLOWFS_H

#include <stdbool.h>

struct sp_slowfs;

/* Mounts it on the directory, in a mount namespace of the calling process's own, where its children see it too. The server
 * does not run yet. program: for the script. directory must outlive it. NULL: not possible here, and *why says why. */
struct sp_slowfs *sp_slowfs_mount(const char *directory, const char *program, const char **why);

/* Starts the thread that serves. False: no thread could be had. */
bool sp_slowfs_serve(struct sp_slowfs *fs);

/* Unmounts it, and ends the thread; NULL is fine. */
void sp_slowfs_end(struct sp_slowfs *fs);

/* For a child that shall not keep the file system alive; NULL is fine. */
void sp_slowfs_forget(struct sp_slowfs *fs);

#endif
