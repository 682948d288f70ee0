/* Everything the gate wants to know about one execve before it is decided, and the proof afterwards.
 *
 * sp_inspect() is called with everybody who could change the answer stopped. It may run on the loop (may_block false) or,
 * when it says -EAGAIN there, again on a thread that may wait. */
#ifndef SP_INSPECT_INSPECT_H
#define SP_INSPECT_INSPECT_H

#include "inspect/filesystems.h"
#include "inspect/memory.h"
#include "inspect/resolve.h"
#include "util/cleanup.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { SP_INTERPRETERS_MAX = 5 }; /* as exec_binprm() in fs/exec.c: scripts that are run by scripts */

struct sp_inspection {
	/* The question */
	pid_t tid, tgid;
	bool by_fd; /* execveat */
	int dirfd, flags;
	uint64_t path_address, argv_address, envp_address; /* envp_address 0: not wanted */
	int home; /* as in struct sp_lookup */

	/* The answer */
	char path[SP_PATH_MAX]; /* as given */
	struct sp_strings argv, envp;
	struct sp_file file; /* what was asked for */
	bool elf; /* an ELF file: it is itself what will run */
	bool has_run; /* and it has done so lately, as it is now: nothing is known why it should fail */
	bool shared; /* path, argv or envp lie in a mapping that other processes share */
	bool same_user; /* when it failed: the caller's user is ours, so an error of ours is the error it would get */
	bool unreadable; /* we may not read the file, so could not look at it when it runs */
	struct sp_file interpreter; /* of a script (the last, where they are nested); fd -1: none */
	char interpreter_path[SP_PATH_MAX]; /* as the #! line says */
	struct sp_strings final_argv; /* what the new program's argv must be; count 0: the same as argv */
	char reason[160]; /* when it failed: what could not be had */
	bool ours; /* when it failed: it is our inability, not what the kernel would find */
};

[[nodiscard]] struct sp_inspection *sp_inspection_new(void); /* NULL: out of memory */
void sp_inspection_reset(struct sp_inspection *in); /* closes files, keeps buffers: ready for the next */
void sp_inspection_free(struct sp_inspection *in);

/* Kinds of files seen lately, so that an ELF file need not be opened at each exec. Loop only. */
struct sp_kinds;
[[nodiscard]] struct sp_kinds *sp_kinds_new(void);
void sp_kinds_free(struct sp_kinds *kinds);
/* What was inspected runs, and was verified. */
void sp_kinds_ran(struct sp_kinds *kinds, const struct sp_inspection *in);

/* Fills the answer. 0: it can be decided. -EAGAIN where !may_block: ask again where it may. Otherwise the -errno that the
 * kernel would give for this execve, or -EACCES when the caller cannot be inspected; reason says which, and path and
 * argv hold what could be read. fs and kinds may be NULL where may_block. */
[[nodiscard]] int sp_inspect(struct sp_inspection *in, bool may_block, struct sp_filesystems *fs,
			     struct sp_kinds *kinds);

/* Puts the question of another inspection, not its answer. */
void sp_inspection_ask(struct sp_inspection *in, const struct sp_inspection *other);

/* What must run, if it succeeds: the file (of a script: its interpreter) and the words. Owned by in, or constant. */
const struct sp_file *sp_inspection_program(const struct sp_inspection *in);
const struct sp_strings *sp_inspection_words(const struct sp_inspection *in);

/* Two inspections of one execve, both complete: what is not the same, byte for byte, as a few words for a person; NULL: all is.
 * Files are the same if they are the same inode by the same name, and nobody has changed it in between (size and ctime). */
const char *sp_inspection_difference(const struct sp_inspection *before, const struct sp_inspection *after);

/* In the exec stop: is what will run what was approved? True, or false with a sentence in detail. tgid: of the stopped task;
 * stack: its stack pointer, 0: not known.
 * Looks at /proc/PID/exe, at the words on the new program's stack and, if it was asked for, at /proc/PID/environ. */
bool sp_verify(const struct sp_inspection *in, pid_t tgid, uint64_t stack, char *detail, size_t size);

#endif
