/* The policy of a running job, read again: by a thread that may wait for a disk and takes its time to compile and to run the
 * file's tests, while the job goes on under the policy that it has.
 *
 * One file is read at a time, and each request is answered by a reading that began after it was made: the last one that is made
 * is answered by what the file then holds. Loop thread only. */
#ifndef SP_RELOAD_H
#define SP_RELOAD_H

#include "policy/policy.h"
#include "util/blocking.h"
#include "util/error.h"
#include "util/list.h"

#include <stdbool.h>

struct sp_reloader;

/* A request; stays its owner's, who may withdraw it by sp_list_del(&reload->link). */
struct sp_reload {
	struct sp_list link;
	bool being_read; /* the reloader's */
	/* Once, on the loop, maybe from within the request; out of the list by then. e->err 0: the policy that was read is in force. */
	void (*done)(struct sp_reload *reload, const struct sp_error *e);
	void *context;
};

/* take: what was read is good, and is the taker's to hold or not; 0, or -errno with a sentence, and the policy stays. */
typedef int sp_take_policy(const struct sp_policy *policy, void *context, struct sp_error *e);

[[nodiscard]] struct sp_reloader *sp_reloader_new(struct sp_blocking *blocking, sp_take_policy *take, void *context);
/* Those who wait are answered by ECANCELED. NULL is fine. */
void sp_reloader_close(struct sp_reloader *reloader);

/* file: as sp_policy_file() says. Only read during the call. */
void sp_reloader_ask(struct sp_reloader *reloader, const char *file, struct sp_reload *reload);

#endif
