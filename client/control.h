/* The socket of an embedded run, in its user's directory (api/place.h) and called by the job's id in hexadecimal: how other
 * commands find a job and talk to its supervisor. A socket that nobody listens on is what a supervisor that was killed has left. */
#ifndef SP_CLIENT_CONTROL_H
#define SP_CLIENT_CONTROL_H

#include "engine.h"

struct sp_control;

/* From a moment after this on the job can be found: a short one costs nothing. If that fails it cannot be found, and that is
 * all. NULL: out of memory. */
[[nodiscard]] struct sp_control *sp_control_new(uv_loop_t *loop, struct sp_engine *engine, const struct sp_job *job);

/* Answers what has been asked by now, without waiting for the loop. NULL is fine. */
void sp_control_serve(struct sp_control *control);

/* The job is done. Freed by the loop; before the engine is closed. */
void sp_control_close(struct sp_control *control);

#endif
