/* See builtin.h. Taken in by the assembler, so that there is one text and not two (C's own #embed is not in the
 * compilers we support). */
#include "policy/builtin.h"

__asm__(".pushsection .rodata\n"
	".globl sp_builtin_policy, sp_builtin_policy_end\n"
	"sp_builtin_policy:\n"
	".incbin \"" SP_POLICY_DIR "/record.yaml\"\n"
	"sp_builtin_policy_end:\n"
	".byte 0\n"
	".popsection\n");
