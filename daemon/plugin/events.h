/* What plugins are told, on its way: made into messages on the loop, and into the structures of sallyport-plugin.h by the
 * worker. */
#ifndef SP_PLUGIN_EVENTS_H
#define SP_PLUGIN_EVENTS_H

#include "plugin/wire.h"
#include "sallyport-plugin.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct sp_task;
struct sp_inspection;

/* ---- on the loop ---- */

/* What the inspection does not know. */
struct sp_plugin_exec {
	uint64_t job;
	const struct sp_task *caller;
	const struct sp_inspection *in;
	uid_t uid; /* of the caller */
	unsigned flags; /* SALLYPORT_ALLOWED, SALLYPORT_LOADER; the others are found here */
	const char *rule; /* that allows it, or NULL */
};

void sp_plugin_put_exec(struct sp_wire_out *out, const struct sp_plugin_exec *exec, uint64_t token, uint64_t lost);
void sp_plugin_put_fork(struct sp_wire_out *out, const struct sallyport_fork *event);
void sp_plugin_put_exit(struct sp_wire_out *out, const struct sallyport_exit *event);
/* has_fd: the listener of the job goes with it, for a plugin of crun's. */
void sp_plugin_put_job(struct sp_wire_out *out, const struct sallyport_job *event, bool has_fd);

/* ---- in the worker ---- */

/* Room for the arrays of an exec; kept from one to the next. */
struct sp_plugin_room {
	struct sallyport_string *strings; /* owned, as the other */
	size_t string_capacity;
	struct sallyport_ancestor *ancestors;
	size_t ancestor_capacity;
};
void sp_plugin_room_release(struct sp_plugin_room *room);

/* What comes out points into the message and the room. 0, -EBADMSG or -ENOMEM. */
[[nodiscard]] int sp_plugin_get_exec(struct sp_wire_in *in, struct sp_plugin_room *room, struct sallyport_exec *exec);
[[nodiscard]] int sp_plugin_get_fork(struct sp_wire_in *in, struct sallyport_fork *event);
[[nodiscard]] int sp_plugin_get_exit(struct sp_wire_in *in, struct sallyport_exit *event);
[[nodiscard]] int sp_plugin_get_job(struct sp_wire_in *in, struct sallyport_job *event, bool *has_fd);

#endif
