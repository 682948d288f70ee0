/* A varlink client that waits for its answers: for command lines and tests. One thread an object. */
#ifndef SP_PROTO_CALLER_H
#define SP_PROTO_CALLER_H

#include "framing.h"

enum { SP_CALLER_MESSAGE = 16 << 20 /* bytes: the longest reply */ };

enum sp_caller_flags { SP_CALL_MORE = 1, SP_CALL_ONEWAY = 2 };

struct sp_caller {
	int socket; /* -1: none */
	int patience; /* milliseconds to wait for a reply; -1: for ever */
	struct sp_frames in;
};

struct sp_reply {
	json_t *message; /* the receiver's; NULL: none */
	const json_t *parameters; /* an object */
	const char *error; /* NULL: none */
	bool continues;
};

/* Connects. The path may be too long for a socket address. 0 or -errno: -ENOENT, -ECONNREFUSED (nobody listens there),
 * -EAGAIN (somebody listens and does not accept), ... */
[[nodiscard]] int sp_caller_open(struct sp_caller *caller, const char *path);
void sp_caller_close(struct sp_caller *caller); /* -1 is fine */

/* Who listens: the pid, as the kernel says. 0: not known. */
pid_t sp_caller_peer(const struct sp_caller *caller);

/* Parameters are taken over; NULL: none. fds stay the caller's. 0 or -errno. */
[[nodiscard]] int sp_caller_send(struct sp_caller *caller, const char *method, json_t *parameters, unsigned flags,
				 const int *fds, unsigned fd_count);

/* The next reply. 0; -ECONNRESET: the other side has gone; -ETIMEDOUT; -EBADMSG: it does not speak as it should; or
 * -errno. */
[[nodiscard]] int sp_caller_receive(struct sp_caller *caller, struct sp_reply *reply);

/* Sends a call and receives its one reply. */
[[nodiscard]] int sp_caller_call(struct sp_caller *caller, const char *method, json_t *parameters,
				 struct sp_reply *reply);

void sp_reply_release(struct sp_reply *reply);

#endif
