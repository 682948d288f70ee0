/* What the loop and a plugin's worker say to each other: messages over a stream socket, each with its size in front, in the
 * machine's own byte order, for both are the same program.
 *
 * The loop takes nothing that a worker says for granted: a plugin may have scribbled over all of it. */
#ifndef SP_PLUGIN_WIRE_H
#define SP_PLUGIN_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sp_wire_kind {
	/* to the worker */
	SP_WIRE_CONFIG = 1, /* name, config, abi */
	SP_WIRE_JOB,
	SP_WIRE_FORK,
	SP_WIRE_EXIT,
	SP_WIRE_EXEC,
	SP_WIRE_FORGET, /* nobody waits for the answer to this token any more */
	SP_WIRE_CALL, /* a notification for a plugin of crun's */
	/* from the worker */
	SP_WIRE_READY = 64,
	SP_WIRE_VERDICT,
	SP_WIRE_LOG,
	SP_WIRE_COUNT,
	SP_WIRE_CALLED,
};

/* Bits of SP_WIRE_READY: what the plugin wants to be told. */
enum { SP_WANTS_EXEC = 1, SP_WANTS_FORK = 2, SP_WANTS_EXIT = 4, SP_WANTS_JOB = 8, SP_WANTS_CALLS = 16 };

/* An answer beyond enum sallyport_answer: it came twice. */
enum { SP_WIRE_TWICE = 100 };

/* The worker's messages are short. */
enum { SP_WIRE_SMALL_MAX = 1024, SP_WIRE_TEXT_MAX = 512 };

/* ---- writing ---- */

struct sp_wire_out {
	char *data; /* owned: free() */
	size_t size, capacity;
	size_t begin; /* of the current message */
	bool failed; /* out of memory: nothing of it may be sent */
};

void sp_wire_begin(struct sp_wire_out *out, enum sp_wire_kind kind);
void sp_wire_put(struct sp_wire_out *out, uint64_t number);
void sp_wire_put_bytes(struct sp_wire_out *out, const char *data, size_t size);
void sp_wire_put_text(struct sp_wire_out *out, const char *text); /* NULL: as an empty one */
void sp_wire_end(struct sp_wire_out *out);
void sp_wire_append(struct sp_wire_out *out, const struct sp_wire_out *messages);

/* ---- reading ---- */

struct sp_wire_in {
	uint32_t kind;
	const char *at, *end;
	bool bad; /* something was asked for that is not there */
};

/* Is there a whole message at the front of these bytes? Its size, 0 if more must come, or -EBADMSG: it is larger than max, or
 * smaller than its own header. */
[[nodiscard]] int64_t sp_wire_next(const char *data, size_t size, size_t max, struct sp_wire_in *in);
uint64_t sp_wire_get(struct sp_wire_in *in);
const char *sp_wire_get_bytes(struct sp_wire_in *in, size_t *size); /* NUL-terminated; "" where bad */

/* ---- what a worker says ---- */

struct sp_wire_said {
	enum sp_wire_kind kind;
	union {
		struct { /* SP_WIRE_READY */
			int err; /* 0 or a positive errno */
			unsigned wants;
		} ready;
		struct { /* SP_WIRE_VERDICT */
			uint64_t token;
			unsigned answer; /* enum sallyport_answer or SP_WIRE_TWICE */
			int err; /* 1 to 4095, or 0 */
			unsigned within; /* milliseconds */
		} verdict;
		struct { /* SP_WIRE_LOG */
			int level;
		} log;
		struct { /* SP_WIRE_COUNT */
			int64_t delta;
		} count;
		struct { /* SP_WIRE_CALLED */
			uint64_t id;
			unsigned handled; /* as crun's plugins say it, or 4: it failed */
			int err; /* negative or 0, as in struct seccomp_notif_resp */
			int64_t value;
		} called;
	};
	char text[SP_WIRE_TEXT_MAX]; /* what is for people: one line, printable; the name of a counter */
};

/* 0, or -EBADMSG with a sentence in why: no message that a worker may send. */
[[nodiscard]] int sp_wire_listen(struct sp_wire_in *in, struct sp_wire_said *said, const char **why);

#endif
