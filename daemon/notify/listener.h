/* The seccomp user-notification fd of a job on the loop: execs come in, answers go out. Loop thread only. */
#ifndef SP_NOTIFY_LISTENER_H
#define SP_NOTIFY_LISTENER_H

#include "util/error.h"

#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct sp_listener;

/* Takes over fd, on failure too. received is called for each notification, with data that is valid during the call; hung_up
 * once, when no task is under the filter any more.
 * NULL with *e filled on failure. */
[[nodiscard]] struct sp_listener *
sp_listener_new(uv_loop_t *loop, int fd, void (*received)(const struct seccomp_notif *notification, void *context),
		void (*hung_up)(void *context), void *context, struct sp_error *e);
void sp_listener_close(struct sp_listener *listener); /* freed by the loop; NULL is fine */

/* Others may have a copy, and receive what was meant for us: the guard sees to it that we do not wait for what is gone. stolen is
 * called then; what its caller decides is its own business, but that listener is nobody's to trust. The guard stays the caller's. */
struct sp_guard;
void sp_listener_distrust(struct sp_listener *listener, struct sp_guard *guard, void (*stolen)(void *context));

/* Receives one notification, as if poll(2) had told of it. */
void sp_listener_receive(struct sp_listener *listener);

/* While it is paused nothing is received; that nobody is under the filter is told all the same. */
void sp_listener_pause(struct sp_listener *listener, bool pause);

/* Does the task still wait for an answer? */
bool sp_listener_is_valid(const struct sp_listener *listener, uint64_t id);

/* Lets the call go on (err 0) or makes it give err (positive errno). 0; -ENOENT: it is not waiting any more. */
int sp_listener_answer(const struct sp_listener *listener, uint64_t id, int err);

#endif
