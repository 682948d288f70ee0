/* Work that may wait for a disk, a server or an attacker, done by a thread of its own so that the loop goes on, with a
 * deadline after which nobody waits for it any more. */
#ifndef SP_UTIL_BLOCKING_H
#define SP_UTIL_BLOCKING_H

#include "util/error.h"

#include <stdbool.h>
#include <uv.h>

struct sp_blocking;

[[nodiscard]] struct sp_blocking *sp_blocking_new(uv_loop_t *loop, struct sp_error *e); /* NULL with *e filled */
/* Waits for nobody: threads that are still blocked are left to themselves and end with the process. */
void sp_blocking_close(struct sp_blocking *blocking);

struct sp_work {
	void (*run)(void *arg); /* on a thread; may block */
	/* On the loop, exactly once, unless cancelled: run has returned (in_time), or the deadline came first. In the second
	 * case arg still belongs to run, and discard is called when it returns at last: on the loop, or by the thread itself if
	 * sp_blocking_close() came first. */
	void (*done)(void *arg, bool in_time);
	void (*discard)(void *arg);
	void *arg;
	unsigned deadline; /* milliseconds */
};

struct sp_request;

/* Starts the work. A request to cancel it with, or NULL: too many are blocked already, or no thread could be had; nothing
 * is called then. Loop only. */
[[nodiscard]] struct sp_request *sp_blocking_run(struct sp_blocking *blocking, const struct sp_work *work);

/* done will not be called; discard will. Not after done was called. Loop only. */
void sp_blocking_cancel(struct sp_request *request);

#endif
