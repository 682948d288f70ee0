/* See listener.h. */
#include "notify/listener.h"

#include "notify/guard.h"
#include "util/cleanup.h"
#include "util/kernel.h"
#include "util/proc.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

struct sp_listener {
	uv_poll_t poll;
	int fd;
	void (*received)(const struct seccomp_notif *notification, void *context);
	void (*hung_up)(void *context);
	void (*stolen)(void *context);
	void *context;
	struct sp_guard *guard; /* NULL: nobody else can have a copy */
	size_t size; /* of a notification, as this kernel has it: may be larger than ours */
	struct seccomp_notif *notification;
};

static void on_readable(uv_poll_t *handle, int status, int events);

static void on_closed(uv_handle_t *handle)
{
	struct sp_listener *l = handle->data;

	(void)close(l->fd);
	free(l->notification);
	free(l);
}

/* It may come from somebody who sends what he likes, and an ioctl(2) of ours may mean anything to another file. */
static bool is_listener(int fd)
{
	char path[SP_PROC_NAME], target[64];
	ssize_t length = readlink(sp_proc_own_fd(path, fd), target, sizeof target - 1);

	target[length > 0 ? length : 0] = '\0';
	return strcmp(target, "anon_inode:seccomp notify") == 0;
}

struct sp_listener *sp_listener_new(uv_loop_t *loop, int fd,
				    void (*received)(const struct seccomp_notif *notification, void *context),
				    void (*hung_up)(void *context), void *context, struct sp_error *e)
{
	cleanup_close int owned = fd;
	struct seccomp_notif_sizes sizes;
	cleanup_free struct sp_listener *l = calloc(1, sizeof *l);

	if (!is_listener(owned)) {
		sp_fail(e, EBADF, "what came as the listener is none");
		return NULL;
	}
	if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) != 0) {
		sp_fail(e, errno, "this kernel has no seccomp user notification: %s", strerror(errno));
		return NULL;
	}
	size_t size = sizes.seccomp_notif > sizeof *l->notification ? sizes.seccomp_notif : sizeof *l->notification;
	cleanup_free struct seccomp_notif *notification = calloc(1, size);
	if (l == NULL || notification == NULL) {
		sp_fail(e, ENOMEM, "out of memory");
		return NULL;
	}
	int err = uv_poll_init(loop, &l->poll, owned);
	if (err != 0) {
		sp_fail(e, -err, "cannot watch the listener: %s", uv_strerror(err));
		return NULL;
	}
	/* 6.6+: the caller sleeps until we answer, so its CPU is ours meanwhile. Older kernels say EINVAL: just slower. */
	(void)ioctl(owned, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
	l->fd = sp_steal_fd(&owned);
	l->size = size;
	l->notification = sp_steal_ptr(notification);
	l->received = received;
	l->hung_up = hung_up;
	l->context = context;
	l->poll.data = l;
	(void)uv_poll_start(&l->poll, UV_READABLE | UV_DISCONNECT, on_readable);
	return sp_steal_ptr(l);
}

void sp_listener_close(struct sp_listener *l)
{
	if (l != NULL)
		uv_close((uv_handle_t *)&l->poll, on_closed);
}

void sp_listener_pause(struct sp_listener *l, bool pause)
{
	(void)uv_poll_start(&l->poll, pause ? UV_DISCONNECT : UV_READABLE | UV_DISCONNECT, on_readable);
}

static void on_readable(uv_poll_t *handle, int status, int events)
{
	struct sp_listener *l = handle->data;

	/* A hang-up (the last task under this filter is gone) comes as both, a notification as UV_READABLE alone. RECV would
	 * wait where there is nothing; after POLLIN it never does, where nobody else receives. */
	if (status != 0 || (events & UV_DISCONNECT) != 0) {
		(void)uv_poll_stop(handle);
		l->hung_up(l->context);
		return;
	}
	sp_listener_receive(l);
}

void sp_listener_distrust(struct sp_listener *l, struct sp_guard *guard, void (*stolen)(void *context))
{
	l->guard = guard;
	l->stolen = stolen;
}

void sp_listener_receive(struct sp_listener *l)
{
	memset(l->notification, 0, l->size); /* the kernel insists */
	sp_guard_enter(l->guard);
	/* ENOENT: killed or interrupted between the two calls; EINTR: ask again when poll says so */
	const int err = ioctl(l->fd, SECCOMP_IOCTL_NOTIF_RECV, l->notification) == 0 ? 0 : errno;
	const bool ended = sp_guard_leave(l->guard);
	if (err == 0)
		l->received(l->notification, l->context);
	else if (err == EINTR && ended)
		l->stolen(l->context);
}

bool sp_listener_is_valid(const struct sp_listener *l, uint64_t id)
{
	return ioctl(l->fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

int sp_listener_answer(const struct sp_listener *l, uint64_t id, int err)
{
	struct seccomp_notif_resp response = {
		.id = id,
		.error = -err,
		.flags = err == 0 ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0,
	};

	return ioctl(l->fd, SECCOMP_IOCTL_NOTIF_SEND, &response) == 0 ? 0 : -errno;
}
