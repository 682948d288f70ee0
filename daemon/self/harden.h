/* sallyport and sallyportd against attacks on themselves. A supervisor is worth attacking: it reads the memory of programs that
 * nobody trusts, and says what may run.
 *
 * There are two moments. Before main nobody else's data has been read; but the child is yet to be launched, and inherits
 * what we give up. The rest is given up when it is launched and our fds are open.
 *
 * State of the process. Only the two programs call this; for whoever links the engine without it, nothing changes. */
#ifndef SP_SELF_HARDEN_H
#define SP_SELF_HARDEN_H

#include "util/error.h"

/* How a program ends that cannot be protected: with which step, so that one who starts it can tell. */
enum sp_self_status {
	SP_SELF_DUMPABLE = 5,
	SP_SELF_ENVIRONMENT = 6,
	SP_SELF_LIMITS = 7,
};

/* Before main, one thread: not dumpable; nothing in the environment that makes a program load what its user did not name; no core
 * file; no unlimited stack. Ends the process if it cannot. Uses neither malloc nor stdio. */
void sp_self_protect(void);

/* The environment as our caller gave it, with what sp_self_protect() removed from environ; environ itself where it was not
 * called. Do not change or free it. */
char **sp_self_environment(void);

/* In a child between fork and exec: it can be traced again, and has our caller's limits. Async-signal-safe. */
void sp_self_restore(void);

/* In a thread that was there before sp_self_confine(), for capabilities belong to threads: keeps what supervising needs.
 * Does nothing without sp_self_protect(). 0 or -errno. */
[[nodiscard]] int sp_self_drop_capabilities(void);

/* Once every fd is open and the child is launched: only the needed capabilities (calling thread), no_new_privs, no new executable
 * memory, and a filter of our own for every thread, which among other things forbids to exec. For good. 0, or -errno with a
 * sentence. */
[[nodiscard]] int sp_self_confine(struct sp_error *e);

/* At the end, when nobody is left who could misuse it: leak checkers trace the process they are in. */
void sp_self_release(void);

#endif
