/* The control socket of an embedded run: how `sallyport ps` and `sallyport kill` find a job and talk to its supervisor.
 *
 * A directory of the user's own holds one Unix socket a job, called by the job's id in hexadecimal. A request is one byte;
 * the kernel says who asks (SO_PEERCRED): the same user or root. A socket that nobody listens on is what a supervisor
 * that was killed has left. */
#ifndef SP_CLIENT_CONTROL_H
#define SP_CLIENT_CONTROL_H

#include "engine.h"

enum sp_control_request {
	SP_CONTROL_SHOW = 's', /* the answer is one JSON object */
	SP_CONTROL_KILL = 'k', /* the answer is SP_CONTROL_EMPTY, once nothing of the job is alive */
};
#define SP_CONTROL_EMPTY 'e'
enum { SP_CONTROL_MESSAGE = 64 << 10 }; /* no message is longer */

struct sp_control;

/* What a request is answered from; must live as long as the job. */
struct sp_control_subject {
	struct sp_job *job;
	const char *policy;
	char *const *argv;
};

/* The directory, made if it is not there: /run/sallyport for root, else $XDG_RUNTIME_DIR/sallyport, else /tmp/sallyport-UID. An
 * fd, or -errno: -EPERM if somebody else could write to it. */
[[nodiscard]] int sp_control_directory(void);

/* From a moment after this on the job can be found: a short one costs nothing. If that fails it cannot be found, and that is
 * all. NULL: out of memory. */
[[nodiscard]] struct sp_control *sp_control_new(uv_loop_t *loop, const struct sp_control_subject *subject);

/* Answers what has been asked by now, without waiting for the loop. NULL is fine. */
void sp_control_serve(struct sp_control *control);

/* The job is done: tells those who wait for that. Freed by the loop. */
void sp_control_close(struct sp_control *control);

#endif
