/* Reading the memory of a task that cannot change it: the path, argv and envp of its execve, whole, by
 * process_vm_readv(2), within the kernel's own limits.
 *
 * A read can be made to block: a page that FUSE serves, say. So the mapping is looked at before: what is anonymous or on a
 * local file system is read on the loop, anything else gives EAGAIN, and a thread that may block does it again. */
#ifndef SP_INSPECT_MEMORY_H
#define SP_INSPECT_MEMORY_H

#include "inspect/filesystems.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Limits of execve(2): MAX_ARG_STRLEN with its NUL; 3/4 of _STK_LIM for all (the kernel checks the exact one itself). */
enum { SP_ARG_MAX_ONE = 32 * 4096, SP_ARG_MAX_ALL = 6 << 20 };

/* Strings one after the other in data, each with its NUL; item[i] points to each. Reused: clear, do not free. */
struct sp_strings {
	char *data;
	size_t size, capacity;
	const char **item;
	size_t count, item_capacity;
	uint64_t *pointer; /* scratch: where they were in the task */
	size_t pointer_capacity;
};
void sp_strings_free(struct sp_strings *strings);
/* Appends one string. 0 or -ENOMEM. item[] is valid only after sp_strings_finish(). */
[[nodiscard]] int sp_strings_append(struct sp_strings *strings, const char *text, size_t length);
[[nodiscard]] int sp_strings_finish(struct sp_strings *strings);
void sp_strings_clear(struct sp_strings *strings);

struct sp_memory_range {
	uint64_t start, end;
	bool shared, may_block;
};

/* Bytes of the task that were read; not owned. */
struct sp_memory_piece {
	uint64_t address;
	size_t size;
	const char *bytes;
};

struct sp_memory {
	pid_t tid;
	int maps; /* /proc/TID/maps */
	bool may_block; /* this thread may */
	bool shared; /* result: something that was read lies in a shared mapping */
	struct sp_filesystems *filesystems; /* not needed where may_block */
	struct sp_memory_range range[8];
	unsigned ranges, next;
	struct sp_memory_piece seen; /* the first page of the path */
};

/* 0 or -errno (ESRCH: gone; EACCES, EPERM: the task has made itself undumpable). */
[[nodiscard]] int sp_memory_open(struct sp_memory *memory, pid_t tid, bool may_block, struct sp_filesystems *fs);
void sp_memory_close(struct sp_memory *memory);
#define cleanup_memory sp_cleanup(sp_memory_close)

/* Reads the path and the vectors of an execve. An envp address of 0 is not read; an argv address of 0 is an empty argv, as for
 * the kernel. path: SP_PATH_MAX bytes.
 * 0, or the -errno the kernel would give (EFAULT, ENAMETOOLONG, E2BIG), or -EAGAIN: would block; -EPERM: not readable. */
enum { SP_PATH_MAX = 4096 };
[[nodiscard]] int sp_memory_read_exec(struct sp_memory *memory, uint64_t path_address, uint64_t argv_address,
				      uint64_t envp_address, char path[static SP_PATH_MAX], struct sp_strings *argv,
				      struct sp_strings *envp);

#endif
