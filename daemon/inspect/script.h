/* Reading a #! line exactly as the kernel does (fs/binfmt_script.c). No state. */
#ifndef SP_INSPECT_SCRIPT_H
#define SP_INSPECT_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>

enum { SP_SCRIPT_HEAD = 256 }; /* BINPRM_BUF_SIZE */

struct sp_script {
	char interpreter[SP_SCRIPT_HEAD];
	char argument[SP_SCRIPT_HEAD];
	bool has_argument;
};

/* head: the first SP_SCRIPT_HEAD bytes of the file, filled up with NULs where it is shorter. False: not a script, or one the
 * kernel refuses (ENOEXEC). */
bool sp_script_parse(const char head[static SP_SCRIPT_HEAD], struct sp_script *script);

#endif
