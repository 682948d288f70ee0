/* See connector.h. libnl makes the socket; messages are received many at a time into memory that is there already. */
#include "procindex/connector.h"

#include "util/cleanup.h"

#include <linux/connector.h>
#include <linux/netlink.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum {
	BATCH = 64,
	MESSAGE = NLMSG_LENGTH(sizeof(struct cn_msg) + sizeof(struct proc_event)),
	/* a message counts for about a kilobyte: some thousands of ends */
	RECEIVE_BUFFER = 8 << 20,
};

struct sp_connector {
	struct nl_sock *socket;
	struct mmsghdr headers[BATCH];
	struct iovec vectors[BATCH];
	struct sockaddr_nl senders[BATCH];
	_Alignas(struct nlmsghdr) char messages[BATCH][NLMSG_ALIGN(MESSAGE)];
};

static void release(struct sp_connector **c)
{
	if (*c == NULL)
		return;
	nl_socket_free((*c)->socket);
	free(*c);
}

static int fail(struct sp_error *e, int nl_error, const char *what)
{
	int err = nl_error == -NLE_PERM || nl_error == -NLE_NOACCESS ? EPERM : ENOTSUP;

	return sp_fail(e, err, "the proc connector cannot be had: %s: %s", what, nl_geterror(nl_error));
}

/* What is asked for is one word (every event), or since 6.6 two words (these events); older kernels ignore the latter. */
static int control(struct sp_connector *c, enum proc_cn_mcast_op op, uint32_t events)
{
	const uint32_t words[] = {op, events};
	const struct cn_msg header = {
		.id = {CN_IDX_PROC, CN_VAL_PROC},
		.ack = nl_socket_get_local_port(c->socket),
		.len = events == 0 ? sizeof words[0] : sizeof words,
	};
	char request[sizeof header + sizeof words];

	memcpy(request, &header, sizeof header);
	memcpy(request + sizeof header, words, sizeof words);
	return nl_send_simple(c->socket, NLMSG_DONE, 0, request, sizeof header + header.len);
}

static void set_up_batch(struct sp_connector *c)
{
	for (int i = 0; i < BATCH; i++) {
		c->vectors[i] = (struct iovec){c->messages[i], sizeof c->messages[i]};
		c->headers[i].msg_hdr = (struct msghdr){
			.msg_name = &c->senders[i],
			.msg_namelen = sizeof c->senders[i],
			.msg_iov = &c->vectors[i],
			.msg_iovlen = 1,
		};
	}
}

/* What comes at once is lost when it does not fit: as large as may be. FORCE needs CAP_NET_ADMIN, without it
 * net.core.rmem_max is the limit. */
static void enlarge_buffer(int fd)
{
	const int size = RECEIVE_BUFFER;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

static int connect_socket(struct sp_connector *c, struct sp_error *e)
{
	c->socket = nl_socket_alloc();
	if (c->socket == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	nl_socket_disable_auto_ack(c->socket);
	int err = nl_connect(c->socket, NETLINK_CONNECTOR);
	if (err != 0)
		return fail(e, err, "no socket");
	err = nl_socket_set_nonblocking(c->socket);
	if (err != 0)
		return fail(e, err, "no nonblocking socket");
	enlarge_buffer(sp_connector_fd(c));
	err = nl_socket_add_membership(c->socket, CN_IDX_PROC);
	return err == 0 ? 0 : fail(e, err, "no membership");
}

/* The event in a message of the kernel's; false: it is something else. Copied, since in the message it lies where its
 * 64-bit fields are not aligned. */
static bool event_of(const struct sp_connector *c, int i, struct cn_msg *message, struct proc_event *event)
{
	const struct nlmsghdr *header = (const void *)c->messages[i];
	const char *data = NLMSG_DATA(header);

	if (c->headers[i].msg_len < MESSAGE || header->nlmsg_len < MESSAGE || header->nlmsg_type != NLMSG_DONE ||
	    c->senders[i].nl_pid != 0)
		return false;
	memcpy(message, data, sizeof *message);
	memcpy(event, data + sizeof *message, sizeof *event);
	return message->id.idx == CN_IDX_PROC && message->id.val == CN_VAL_PROC && message->len >= sizeof *event;
}

static int receive(struct sp_connector *c)
{
	for (int i = 0; i < BATCH; i++)
		c->headers[i].msg_hdr.msg_namelen = sizeof c->senders[i];
	int count = recvmmsg(sp_connector_fd(c), c->headers, BATCH, 0, NULL);
	return count >= 0 ? count : -errno;
}

/* The kernel acknowledges a subscription to every event before it returns from the request, where it obeys at all. Its
 * answer names our port, and one more. */
static bool find_acknowledgement(struct sp_connector *c, struct proc_event *event)
{
	const uint32_t ours = nl_socket_get_local_port(c->socket) + 1;
	struct cn_msg message;
	int count;

	while ((count = receive(c)) > 0)
		for (int i = 0; i < count; i++)
			if (event_of(c, i, &message, event) && event->what == PROC_EVENT_NONE && message.ack == ours)
				return event->event_data.ack.err == 0;
	return false;
}

static uint64_t now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int subscribe(struct sp_connector *c, struct sp_error *e)
{
	struct proc_event event;
	uint64_t before = now();
	int err = control(c, PROC_CN_MCAST_LISTEN, 0);

	if (err < 0)
		return fail(e, err, "no subscription");
	if (!find_acknowledgement(c, &event))
		return sp_fail(e, EPERM,
			       "the proc connector cannot be had: it serves the initial pid and user namespace only");
	if (event.timestamp_ns < before || event.timestamp_ns > now())
		return sp_fail(e, EPERM, "the proc connector cannot be had: this is not the initial time namespace");
	err = control(c, PROC_CN_MCAST_LISTEN, PROC_EVENT_EXIT);
	return err < 0 ? fail(e, err, "no subscription to exits") : 0;
}

struct sp_connector *sp_connector_open(struct sp_error *e)
{
	sp_cleanup(release) struct sp_connector *c = calloc(1, sizeof *c);

	if (c == NULL) {
		sp_fail(e, ENOMEM, "out of memory");
		return NULL;
	}
	set_up_batch(c);
	if (connect_socket(c, e) != 0 || subscribe(c, e) != 0)
		return NULL;
	return sp_steal_ptr(c);
}

void sp_connector_close(struct sp_connector *c)
{
	if (c == NULL)
		return;
	/* Before 6.6 the kernel counts listeners by this alone, and would go on making messages for nobody. */
	(void)control(c, PROC_CN_MCAST_IGNORE, 0);
	release(&c);
}

int sp_connector_fd(const struct sp_connector *c)
{
	return nl_socket_get_fd(c->socket);
}

enum sp_connector_more
sp_connector_read(struct sp_connector *c,
		  void (*ended)(const struct exit_proc_event *event, uint64_t time, void *context), void *context)
{
	struct proc_event event;
	struct cn_msg message;
	int count = receive(c);

	if (count == -ENOBUFS)
		return SP_CONNECTOR_OVERRUN;
	if (count == -EINTR)
		return SP_CONNECTOR_MORE;
	for (int i = 0; i < count; i++)
		if (event_of(c, i, &message, &event) && event.what == PROC_EVENT_EXIT)
			ended(&event.event_data.exit, event.timestamp_ns, context);
	return count == BATCH ? SP_CONNECTOR_MORE : SP_CONNECTOR_EMPTY;
}
