/* See framing.h. */
#include "framing.h"

#include "util/cleanup.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>

enum { FIRST = 4 << 10, READ_AT_ONCE = 64 << 10 };

static void close_fds(const int *fds, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		sp_close_fd(&fds[i]);
}

void sp_frame_close_fds(struct sp_frame *frame)
{
	close_fds(frame->fds, frame->fd_count);
	frame->fd_count = 0;
}

void sp_frames_init(struct sp_frames *f, size_t limit, unsigned fd_limit)
{
	*f = (struct sp_frames){
		.limit = limit > 0 ? limit : SP_FRAME_MESSAGE,
		.fd_limit = fd_limit < SP_FRAME_FDS ? fd_limit : SP_FRAME_FDS,
	};
}

void sp_frames_release(struct sp_frames *f)
{
	for (unsigned i = 0; i < f->fd_count; i++)
		(void)close(f->fds[i].fd);
	free(f->data);
	*f = (struct sp_frames){0};
}

/* --- what comes in --- */

/* What a long message needed is not kept for short ones. */
static void forget_given(struct sp_frames *f)
{
	f->start += f->given;
	f->given = 0;
	if (f->start < f->used)
		return;
	f->start = f->used = f->searched = 0;
	if (f->capacity <= READ_AT_ONCE)
		return;
	free(f->data);
	f->data = NULL;
	f->capacity = 0;
}

/* To the front, where that makes room: at most once for each time that something is read. */
static void move_to_front(struct sp_frames *f)
{
	memmove(f->data, f->data + f->start, f->used - f->start);
	for (unsigned i = 0; i < f->fd_count; i++)
		f->fds[i].at -= f->start;
	f->searched -= f->start;
	f->used -= f->start;
	f->start = 0;
}

/* There is room for a byte at least. */
static int make_room(struct sp_frames *f)
{
	if (f->used == f->capacity && f->start > 0)
		move_to_front(f);
	if (f->used < f->capacity)
		return 0;
	if (f->capacity > f->limit) /* with its NUL */
		return -EMSGSIZE;
	size_t capacity = f->capacity > 0 ? 2 * f->capacity : FIRST;
	if (capacity > f->limit + 1)
		capacity = f->limit + 1;
	char *data = realloc(f->data, capacity);
	if (data == NULL)
		return -ENOMEM;
	f->data = data;
	f->capacity = capacity;
	return 0;
}

/* They came with the bytes that end at `used`. */
static int keep_fds(struct sp_frames *f, const int *fds, unsigned count)
{
	if (count > f->fd_limit - (f->fd_count < f->fd_limit ? f->fd_count : f->fd_limit)) {
		close_fds(fds, count);
		return -ETOOMANYREFS;
	}
	for (unsigned i = 0; i < count; i++) {
		f->fds[f->fd_count].fd = fds[i];
		f->fds[f->fd_count++].at = f->used - 1;
	}
	return 0;
}

union control {
	char bytes[CMSG_SPACE(SP_FRAME_FDS * sizeof(int))];
	struct cmsghdr align;
};

static unsigned unpack_fds(struct msghdr *message, int fds[static SP_FRAME_FDS])
{
	unsigned count = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++)
			memcpy(&fds[count++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
	}
	return count;
}

ssize_t sp_frames_read(struct sp_frames *f, int socket)
{
	union control control;
	int fds[SP_FRAME_FDS];

	forget_given(f);
	int err = make_room(f);
	if (err != 0)
		return err;
	const size_t room = f->capacity - f->used;
	struct iovec place = {.iov_base = f->data + f->used, .iov_len = room < READ_AT_ONCE ? room : READ_AT_ONCE};
	struct msghdr message = {
		.msg_iov = &place,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = f->fd_limit > 0 ? CMSG_SPACE(f->fd_limit * sizeof(int)) : 0,
	};
	ssize_t size = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (size < 0)
		return -errno;
	f->used += (size_t)size;
	const unsigned count = unpack_fds(&message, fds);
	if (size == 0 || (message.msg_flags & MSG_CTRUNC) != 0) {
		close_fds(fds, count);
		return size == 0 ? 0 : -ETOOMANYREFS;
	}
	err = keep_fds(f, fds, count);
	return err != 0 ? err : size;
}

int sp_frames_feed(struct sp_frames *f, const void *bytes, size_t size, const int *fds, unsigned fd_count)
{
	forget_given(f);
	for (const char *at = bytes; size > 0;) {
		int err = make_room(f);
		if (err != 0) {
			close_fds(fds, fd_count);
			return err;
		}
		const size_t room = f->capacity - f->used, step = size < room ? size : room;
		memcpy(f->data + f->used, at, step);
		f->used += step;
		at += step;
		size -= step;
	}
	return fd_count > 0 && f->used > 0 ? keep_fds(f, fds, fd_count) : 0;
}

/* --- messages --- */

static const char *find_end(struct sp_frames *f)
{
	const char *end = f->used > f->searched ? memchr(f->data + f->searched, '\0', f->used - f->searched) : NULL;

	f->searched = end != NULL ? (size_t)(end - f->data) : f->used;
	return end;
}

/* The descriptors whose byte is before that; the others stay. */
static void give_fds(struct sp_frames *f, size_t end, struct sp_frame *frame)
{
	unsigned left = 0;

	for (unsigned i = 0; i < f->fd_count; i++) {
		if (f->fds[i].at < end)
			frame->fds[frame->fd_count++] = f->fds[i].fd;
		else
			f->fds[left++] = f->fds[i];
	}
	f->fd_count = left;
}

bool sp_frames_take(struct sp_frames *f, struct sp_frame *frame)
{
	forget_given(f);
	const char *end = find_end(f);
	if (end == NULL)
		return false;
	*frame = (struct sp_frame){.text = f->data + f->start, .size = (size_t)(end - f->data) - f->start};
	f->given = frame->size + 1;
	f->searched = f->start + f->given;
	give_fds(f, f->searched, frame);
	return true;
}

bool sp_frames_waiting(struct sp_frames *f)
{
	forget_given(f);
	return find_end(f) != NULL;
}

bool sp_frames_partial(struct sp_frames *f)
{
	forget_given(f);
	return f->used > f->start && find_end(f) == NULL;
}

/* --- JSON --- */

/* The parser recurses, and a message of brackets alone would become a hundred times as large as it is. */
static bool is_modest(const char *text, size_t size)
{
	unsigned depth = 0, values = 1;
	bool quoted = false;

	for (size_t i = 0; i < size; i++) {
		if (quoted) {
			if (text[i] == '\\')
				i++;
			else
				quoted = text[i] != '"';
			continue;
		}
		switch (text[i]) {
		case '"':
			quoted = true;
			break;
		case '[':
		case '{':
			values++;
			if (++depth > SP_JSON_DEPTH)
				return false;
			break;
		case ']':
		case '}':
			depth -= depth > 0;
			break;
		case ',':
			values++;
			break;
		default:
			break;
		}
		if (values > SP_JSON_VALUES)
			return false;
	}
	return true;
}

json_t *sp_message_parse(const char *text, size_t size)
{
	json_t *object = is_modest(text, size) ? json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL) : NULL;

	if (object == NULL || json_is_object(object))
		return object;
	json_decref(object);
	return NULL;
}

char *sp_message_print(const json_t *object, size_t *size)
{
	/* ASCII: the text holds no NUL but the one that ends it. */
	char *text = json_dumps(object, JSON_COMPACT | JSON_ENSURE_ASCII);

	if (text != NULL)
		*size = strlen(text) + 1;
	return text;
}
