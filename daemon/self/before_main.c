/* Linked into the two programs, not into the library: what a test links stays as it is. */
#include "self/harden.h"

[[gnu::constructor]] static void before_main(void)
{
	sp_self_protect();
}
