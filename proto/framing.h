/* The wire of varlink: JSON objects, each ended by one NUL, over a Unix stream socket; file descriptors beside them.
 *
 * What comes in is nobody's friend: everything is bounded, and nothing is kept that was not asked for. Descriptors go with the
 * first byte of their message, one sendmsg(2) a message; of several messages that are sent at once they are the last one's.
 * One thread an object. */
#ifndef SP_PROTO_FRAMING_H
#define SP_PROTO_FRAMING_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum {
	SP_FRAME_FDS = 16, /* at most so many descriptors that have not been taken */
	SP_FRAME_MESSAGE = 1 << 20, /* bytes: the size limit where nobody sets another */
	SP_JSON_DEPTH = 32,
	SP_JSON_VALUES = 64 << 10, /* of one message; the smallest of them takes a hundred bytes of memory */
};

/* A message, and what came with it. */
struct sp_frame {
	const char *text; /* until the next call with the same struct sp_frames */
	size_t size; /* without the NUL */
	int fds[SP_FRAME_FDS]; /* the receiver's; those taken are set to -1 */
	unsigned fd_count;
};

void sp_frame_close_fds(struct sp_frame *frame);

/* What has come in and was not given out yet. */
struct sp_frames {
	size_t limit; /* of one message */
	unsigned fd_limit; /* 0: none may come */
	char *data;
	size_t start, used, capacity; /* from there to there, of so much */
	size_t searched; /* so far there is no NUL */
	size_t given; /* bytes of the message that was given out last: from start */
	struct {
		int fd;
		size_t at; /* of a byte of its message */
	} fds[SP_FRAME_FDS];
	unsigned fd_count;
};

void sp_frames_init(struct sp_frames *frames, size_t limit, unsigned fd_limit);
void sp_frames_release(struct sp_frames *frames);

/* Reads once what the socket has. How many bytes; 0 at its end; -EAGAIN; -EMSGSIZE: a message is longer than the limit;
 * -ETOOMANYREFS: too many descriptors; or what recvmsg(2) gives. After any but -EAGAIN and -EINTR nothing more can be read. */
[[nodiscard]] ssize_t sp_frames_read(struct sp_frames *frames, int socket);

/* The same from memory, for tests. fds are taken over, in case of an error, too. 0 or -errno as above. */
[[nodiscard]] int sp_frames_feed(struct sp_frames *frames, const void *bytes, size_t size, const int *fds,
				 unsigned fd_count);

/* The next whole message. False: there is none. */
[[nodiscard]] bool sp_frames_take(struct sp_frames *frames, struct sp_frame *frame);

bool sp_frames_waiting(struct sp_frames *frames); /* is there a whole message? */
bool sp_frames_partial(struct sp_frames *frames); /* is there a piece of one, and no more? */

/* The message as a JSON object, the caller's. NULL: it is none, or deeper or larger than is good for us. */
[[nodiscard]] json_t *sp_message_parse(const char *text, size_t size);

/* The object as a message, *size bytes with its NUL; the caller's to free. NULL: out of memory. */
[[nodiscard]] char *sp_message_print(const json_t *object, size_t *size);

#endif
