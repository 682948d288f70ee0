/* See caller.h. */
#include "caller.h"

#include "util/cleanup.h"
#include "util/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { CONNECT_TRIES = 50, CONNECT_PAUSE = 10 /* milliseconds */ };

/* By its directory's fd where the path does not fit. */
static int make_address(struct sockaddr_un *address, const char *path, int *directory)
{
	const char *slash = strrchr(path, '/');
	char place[SP_PROC_NAME];
	int length;

	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) < sizeof address->sun_path) {
		(void)strcpy(address->sun_path, path);
		return 0;
	}
	cleanup_free char *parent = slash != NULL ? strndup(path, (size_t)(slash - path)) : NULL;
	if (parent == NULL)
		return slash != NULL ? -ENOMEM : -ENAMETOOLONG;
	*directory = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*directory < 0)
		return -errno;
	length =
		snprintf(address->sun_path, sizeof address->sun_path, "%s%s", sp_proc_own_fd(place, *directory), slash);
	return length < (int)sizeof address->sun_path ? 0 : -ENAMETOOLONG;
}

/* Where so many wait to be accepted that no more fit, connect(2) would wait, and for ever where nobody accepts. */
static int connect_soon(int fd, const struct sockaddr_un *address)
{
	for (int i = 0; i < CONNECT_TRIES; i++) {
		if (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0)
			return 0;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		(void)poll(NULL, 0, CONNECT_PAUSE);
	}
	return -EAGAIN;
}

int sp_caller_open(struct sp_caller *caller, const char *path)
{
	cleanup_close int directory = -1;
	struct sockaddr_un address;

	*caller = (struct sp_caller){.socket = -1, .patience = -1};
	int err = make_address(&address, path, &directory);
	if (err != 0)
		return err;
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	err = connect_soon(fd, &address);
	if (err != 0 || fcntl(fd, F_SETFL, 0) != 0)
		return err != 0 ? err : -errno;
	caller->socket = sp_steal_fd(&fd);
	sp_frames_init(&caller->in, SP_CALLER_MESSAGE, SP_FRAME_FDS);
	return 0;
}

void sp_caller_close(struct sp_caller *caller)
{
	if (caller->socket < 0)
		return;
	(void)close(sp_steal_fd(&caller->socket));
	sp_frames_release(&caller->in);
}

pid_t sp_caller_peer(const struct sp_caller *caller)
{
	struct ucred peer;
	socklen_t size = sizeof peer;

	return getsockopt(caller->socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.pid : 0;
}

/* --- calls --- */

/* The descriptors go with the first byte. */
static ssize_t send_some(int socket, const char *bytes, size_t size, const int *fds, unsigned fd_count)
{
	union {
		char bytes[CMSG_SPACE(SP_FRAME_FDS * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec place = {.iov_base = (char *)bytes, .iov_len = size};
	struct msghdr message = {.msg_iov = &place, .msg_iovlen = 1};

	if (fd_count > 0) {
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&message);
		*c = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
				      .cmsg_type = SCM_RIGHTS,
				      .cmsg_len = CMSG_LEN(fd_count * sizeof(int))};
		memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
	}
	return sendmsg(socket, &message, MSG_NOSIGNAL);
}

static int send_all(int socket, const char *bytes, size_t size, const int *fds, unsigned fd_count)
{
	while (size > 0) {
		const ssize_t sent = send_some(socket, bytes, size, fds, fd_count);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return -errno;
		bytes += sent;
		size -= (size_t)sent;
		fd_count = 0;
	}
	return 0;
}

int sp_caller_send(struct sp_caller *caller, const char *method, json_t *parameters, unsigned flags, const int *fds,
		   unsigned fd_count)
{
	json_t *message =
		json_pack("{ss so}", "method", method, "parameters", parameters != NULL ? parameters : json_object());
	size_t size = 0;

	if ((flags & SP_CALL_MORE) != 0)
		(void)json_object_set_new(message, "more", json_true());
	if ((flags & SP_CALL_ONEWAY) != 0)
		(void)json_object_set_new(message, "oneway", json_true());
	cleanup_free char *text = message != NULL ? sp_message_print(message, &size) : NULL;
	json_decref(message);
	if (text == NULL)
		return -ENOMEM;
	return fd_count <= SP_FRAME_FDS ? send_all(caller->socket, text, size, fds, fd_count) : -ETOOMANYREFS;
}

/* --- replies --- */

static int await_bytes(const struct sp_caller *caller)
{
	struct pollfd socket = {.fd = caller->socket, .events = POLLIN};

	for (;;) {
		const int ready = poll(&socket, 1, caller->patience);

		if (ready > 0)
			return 0;
		if (ready == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

static int await_frame(struct sp_caller *caller, struct sp_frame *frame)
{
	while (!sp_frames_take(&caller->in, frame)) {
		int err = await_bytes(caller);
		if (err != 0)
			return err;
		const ssize_t size = sp_frames_read(&caller->in, caller->socket);
		if (size == 0)
			return -ECONNRESET;
		if (size < 0 && size != -EAGAIN && size != -EINTR)
			return (int)size;
	}
	return 0;
}

int sp_caller_receive(struct sp_caller *caller, struct sp_reply *reply)
{
	struct sp_frame frame;

	*reply = (struct sp_reply){0};
	int err = await_frame(caller, &frame);
	if (err != 0)
		return err;
	sp_frame_close_fds(&frame);
	/* From a supervisor: as large as it is. */
	reply->message = json_loadb(frame.text, frame.size, 0, NULL);
	reply->parameters = json_object_get(reply->message, "parameters");
	reply->error = json_string_value(json_object_get(reply->message, "error"));
	reply->continues = json_is_true(json_object_get(reply->message, "continues"));
	if (reply->message != NULL && reply->parameters == NULL) {
		(void)json_object_set_new(reply->message, "parameters", json_object());
		reply->parameters = json_object_get(reply->message, "parameters");
	}
	if (json_is_object(reply->parameters))
		return 0;
	sp_reply_release(reply);
	return -EBADMSG;
}

int sp_caller_call(struct sp_caller *caller, const char *method, json_t *parameters, struct sp_reply *reply)
{
	*reply = (struct sp_reply){0};
	int err = sp_caller_send(caller, method, parameters, 0, NULL, 0);
	/* It may have answered before it went. */
	return err == 0 || err == -EPIPE ? sp_caller_receive(caller, reply) : err;
}

void sp_reply_release(struct sp_reply *reply)
{
	json_decref(reply->message);
	*reply = (struct sp_reply){0};
}
