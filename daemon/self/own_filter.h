/* The seccomp filter of the supervisor itself, not of a job: that one is notify/filter.h. */
#ifndef SP_SELF_OWN_FILTER_H
#define SP_SELF_OWN_FILTER_H

#include <linux/filter.h>

enum { SP_OWN_FILTER_MAX = 256 };

/* Writes the program; how many instructions it has. */
[[nodiscard]] unsigned short sp_own_filter_make(struct sock_filter code[static SP_OWN_FILTER_MAX]);

/* For every thread of this process, and those it will start. Needs no_new_privs or CAP_SYS_ADMIN. 0 or -errno. */
[[nodiscard]] int sp_own_filter_load(void);

#endif
