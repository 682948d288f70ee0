/* A varlink server on the loop: connections, calls, replies. What the methods do is not known here: owners add tables of them.
 *
 * Whoever connects is nobody's friend. Connections are bounded in number (for each user, and in all), messages in size, and so
 * is what a reader that does not read makes us keep: it is cut off then, as is one that sends half a message and no more. A
 * connection has one call at a time, and what comes meanwhile is not read; of many calls a few are served in a turn of the loop.
 *
 * One thread: that of the loop. Handles are not referenced: the loop does not run for those who might ask. */
#ifndef SP_API_SERVER_H
#define SP_API_SERVER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <uv.h>

struct sp_job;
struct sp_server;
struct sp_call;

/* Who is at the other end, as the kernel says. */
struct sp_peer {
	pid_t pid;
	uid_t uid;
	gid_t gid;
	const gid_t *groups; /* supplementary; NULL: not known */
	size_t group_count;
	int pidfd; /* -1: this kernel has none for sockets (before 6.5) */
};

struct sp_server_settings {
	size_t message_limit; /* bytes; 0: 1 MiB */
	size_t backlog_limit; /* bytes that a reader may leave unread; 0: 1 MiB */
	unsigned connections, connections_per_user; /* 0: 512, 64; root's are counted for themselves */
	unsigned
		patience; /* milliseconds for the rest of a message, and for a reader that does not read at all; 0: 10 s */
	unsigned fds; /* that may come with a call; 0: none */
	/* May this peer be here at all? Asked when it connects. NULL: the same user and root. */
	bool (*welcome)(const struct sp_peer *peer, void *context);
	/* May it call that method, and do that to this job? job NULL: asked before any call but those of org.varlink.service; a
	 * method that is about a job asks again, with it. NULL: everything. */
	bool (*may)(const struct sp_peer *peer, const char *method, const struct sp_job *job, void *context);
	/* A call was failed since the answer was no. May be NULL */
	void (*denied)(const struct sp_peer *peer, const char *method, const struct sp_job *job, void *context);
	void *context;
};

/* NULL: out of memory. */
[[nodiscard]] struct sp_server *sp_server_new(uv_loop_t *loop, const struct sp_server_settings *settings);

/* Takes a listening socket over; there may be several. 0 or -errno (it is then closed). */
[[nodiscard]] int sp_server_listen(struct sp_server *server, int socket);

/* Takes one connected socket over, as if it had been accepted. 0 or -errno (it is then closed). */
[[nodiscard]] int sp_server_adopt(struct sp_server *server, int socket);

/* Answers what has been asked by now, without waiting for the loop. */
void sp_server_serve(struct sp_server *server);

/* Calls that were held are told that they are gone; what can be sent at once is sent. Freed by the loop. */
void sp_server_close(struct sp_server *server);

uv_loop_t *sp_server_loop(const struct sp_server *server);

/* --- methods --- */

enum sp_method_flags {
	SP_METHOD_STREAM = 1, /* makes no sense without `more` */
	SP_METHOD_FDS = 2, /* descriptors may come with it; for others they are closed */
};

struct sp_method {
	const char *name; /* "io.sallyport.List" */
	/* Replies, fails or holds the call. */
	void (*function)(struct sp_call *call, void *context);
	unsigned flags;
};

/* The rows must live as long as the server. 0 or -ENOMEM. */
[[nodiscard]] int sp_server_add(struct sp_server *server, const struct sp_method *methods, size_t count, void *context);

/* An interface's text, which must live as long as the server: for GetInfo and GetInterfaceDescription, and to tell a method that
 * this server does not have from one that nobody has. 0 or -ENOMEM. */
[[nodiscard]] int sp_server_describe(struct sp_server *server, const char *name, const char *text);

/* --- calls: valid until they are answered or told to be gone --- */

const char *sp_call_method(const struct sp_call *call);
const json_t *sp_call_parameters(const struct sp_call *call); /* an object */
const struct sp_peer *sp_call_peer(const struct sp_call *call);
bool sp_call_wants_more(const struct sp_call *call);

/* The call's descriptor of that number: the caller's from now on. -1: there is none. */
[[nodiscard]] int sp_call_take_fd(struct sp_call *call, unsigned number);

enum sp_parameter_type { SP_PARAMETER_TEXT, SP_PARAMETER_NUMBER, SP_PARAMETER_FLAG, SP_PARAMETER_TEXTS };

/* Where a parameter goes: const char *, int64_t, bool; const json_t * for an array of strings. What is absent or null
 * leaves its place as it is. */
struct sp_parameter {
	const char *name;
	enum sp_parameter_type type;
	bool required;
	size_t offset;
};

/* False: one is missing, of another type, or not in the table, and the call was failed. */
[[nodiscard]] bool sp_call_read(struct sp_call *call, const struct sp_parameter *table, size_t count, void *into);

/* As settings.may says. False: the call was failed. */
[[nodiscard]] bool sp_call_may(struct sp_call *call, const struct sp_job *job);
bool sp_call_would_may(const struct sp_call *call, const struct sp_job *job); /* only asks */

/* Parameters are taken over; NULL: none. */
void sp_call_reply(struct sp_call *call, json_t *parameters); /* the last */
void sp_call_continue(struct sp_call *call, json_t *parameters); /* one of several; only for who wants more */
void sp_call_fail(struct sp_call *call, const char *error, json_t *parameters);

/* It will be answered later. gone: the connection is, and with it the call; nothing can be answered any more. */
void sp_call_hold(struct sp_call *call, void (*gone)(struct sp_call *call, void *data), void *data);

/* Bytes that its reader has not read yet: a stream can leave something out instead of losing its reader. */
size_t sp_call_backlog(const struct sp_call *call);

#endif
