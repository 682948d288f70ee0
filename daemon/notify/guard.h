/* Nobody may make the loop wait in SECCOMP_IOCTL_NOTIF_RECV.
 *
 * The ioctl waits where there is no notification, O_NONBLOCK or not. After poll(2) there is one, unless somebody else has a copy of
 * the listener and was faster; and of a listener that a client has handed over nobody can tell whether a copy was kept. So a thread
 * looks after the loop: a call that lasts longer than a moment is ended by a signal. Since that cannot happen by itself (a caller that
 * is killed in between gives ENOENT), it proves that there is a copy.
 *
 * What it costs: two stores for each RECV, a wake-up of the thread at most every 20 ms while there are notifications, and nothing
 * while there are none. */
#ifndef SP_NOTIFY_GUARD_H
#define SP_NOTIFY_GUARD_H

#include "util/error.h"

#include <stdbool.h>
#include <stdint.h>

struct sp_guard;

enum { SP_GUARD_PATIENCE = 20 /* milliseconds: the loop waits once or twice as long, and once only */ };

/* For the thread that calls this, which gets SIGURG for it. NULL with *e filled. */
[[nodiscard]] struct sp_guard *sp_guard_new(struct sp_error *e);
/* By the same thread. NULL is fine. */
void sp_guard_free(struct sp_guard *guard);

/* Around what might wait. NULL: not guarded. */
void sp_guard_enter(struct sp_guard *guard);
/* True: it took too long, and was sent a signal. */
bool sp_guard_leave(struct sp_guard *guard);

#endif
