/* See blocking.h. A thread a request: what may hang for ever must not use up a pool that others need. */
#include "util/blocking.h"

#include "util/cleanup.h"
#include "util/cpu.h"
#include "util/list.h"

#include <pthread.h>
#include <stdlib.h>

enum { REQUESTS_MAX = 64, STACK = 256 << 10 };

/* Shared with the threads; lives until the loop's part is closed and the last request is freed. */
struct mailbox {
	pthread_mutex_t lock;
	struct sp_list finished; /* struct sp_request.finished */
	uv_async_t *async; /* NULL: the loop's part is closed */
	unsigned users;
};

struct sp_blocking {
	uv_loop_t *loop;
	uv_async_t async;
	struct mailbox *mailbox;
	struct sp_list requests; /* struct sp_request.link: whose threads have not come back to the loop */
	unsigned count; /* of them */
};

/* Has two owners, the thread that works on it and the loop with its timer; the one that leaves last frees it. */
struct sp_request {
	struct sp_list link, finished;
	struct mailbox *mailbox;
	struct sp_work work;
	uv_timer_t deadline;
	bool abandoned; /* done was called, or it was cancelled. Loop only */
	unsigned owners; /* under the mailbox's lock */
};

static void on_finished(uv_async_t *async);
static void on_deadline(uv_timer_t *timer);
static void *run_thread(void *arg);

static void leave_mailbox(struct mailbox *m)
{
	(void)pthread_mutex_lock(&m->lock);
	bool last = --m->users == 0;
	(void)pthread_mutex_unlock(&m->lock);
	if (!last)
		return;
	(void)pthread_mutex_destroy(&m->lock);
	free(m);
}

static void leave_request(struct sp_request *request)
{
	struct mailbox *m = request->mailbox;

	(void)pthread_mutex_lock(&m->lock);
	bool last = --request->owners == 0;
	(void)pthread_mutex_unlock(&m->lock);
	if (!last)
		return;
	free(request);
	leave_mailbox(m);
}

struct sp_blocking *sp_blocking_new(uv_loop_t *loop, struct sp_error *e)
{
	cleanup_free struct sp_blocking *b = calloc(1, sizeof *b);
	cleanup_free struct mailbox *m = calloc(1, sizeof *m);

	if (b == NULL || m == NULL) {
		sp_fail(e, ENOMEM, "out of memory");
		return NULL;
	}
	int err = uv_async_init(loop, &b->async, on_finished);
	if (err != 0) {
		sp_fail(e, -err, "cannot create an async handle: %s", uv_strerror(err));
		return NULL;
	}
	uv_unref((uv_handle_t *)&b->async);
	(void)pthread_mutex_init(&m->lock, NULL);
	sp_list_init(&m->finished);
	sp_list_init(&b->requests);
	m->async = &b->async;
	m->users = 1;
	b->loop = loop;
	b->async.data = b;
	b->mailbox = sp_steal_ptr(m);
	return sp_steal_ptr(b);
}

static void on_async_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void on_timer_closed(uv_handle_t *handle)
{
	leave_request(handle->data);
}

/* The loop has no more to do with it but to close its timer. */
static void drop(struct sp_request *request)
{
	sp_list_del(&request->link);
	uv_close((uv_handle_t *)&request->deadline, on_timer_closed);
}

void sp_blocking_close(struct sp_blocking *b)
{
	struct sp_request *request, *next;

	(void)pthread_mutex_lock(&b->mailbox->lock);
	b->mailbox->async = NULL; /* who comes back from now on discards its own work */
	(void)pthread_mutex_unlock(&b->mailbox->lock);
	sp_list_each_safe (request, next, &b->mailbox->finished, finished)
		request->work.discard(request->work.arg);
	sp_list_each_safe (request, next, &b->requests, link)
		drop(request);
	leave_mailbox(b->mailbox);
	uv_close((uv_handle_t *)&b->async, on_async_closed);
}

static int start_thread(struct sp_request *request)
{
	pthread_attr_t attributes;
	pthread_t thread;

	(void)pthread_attr_init(&attributes);
	(void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	(void)pthread_attr_setstacksize(&attributes, STACK);
	int err = pthread_create(&thread, &attributes, run_thread, request);
	(void)pthread_attr_destroy(&attributes);
	return err;
}

struct sp_request *sp_blocking_run(struct sp_blocking *b, const struct sp_work *work)
{
	if (b->count >= REQUESTS_MAX)
		return NULL;
	struct sp_request *request = calloc(1, sizeof *request);
	if (request == NULL)
		return NULL;
	request->work = *work;
	request->mailbox = b->mailbox;
	request->owners = 2;
	sp_list_init(&request->link);
	sp_list_init(&request->finished);
	(void)pthread_mutex_lock(&b->mailbox->lock);
	b->mailbox->users++;
	(void)pthread_mutex_unlock(&b->mailbox->lock);
	if (start_thread(request) != 0) {
		free(request);
		leave_mailbox(b->mailbox);
		return NULL;
	}
	(void)uv_timer_init(b->loop, &request->deadline);
	request->deadline.data = request;
	(void)uv_timer_start(&request->deadline, on_deadline, work->deadline, 0);
	sp_list_add(&b->requests, &request->link);
	b->count++;
	return request;
}

static void *run_thread(void *arg)
{
	struct sp_request *request = arg;
	struct mailbox *m = request->mailbox;

	sp_cpu_restore();
	request->work.run(request->work.arg);
	(void)pthread_mutex_lock(&m->lock);
	bool closed = m->async == NULL;
	if (!closed) {
		sp_list_add(&m->finished, &request->finished);
		(void)uv_async_send(m->async);
	}
	(void)pthread_mutex_unlock(&m->lock);
	if (closed)
		request->work.discard(request->work.arg);
	leave_request(request);
	return NULL;
}

static struct sp_request *take_finished(struct mailbox *m)
{
	struct sp_request *request = NULL;

	(void)pthread_mutex_lock(&m->lock);
	if (!sp_list_empty(&m->finished)) {
		request = sp_container_of(m->finished.next, struct sp_request, finished);
		sp_list_del(&request->finished);
	}
	(void)pthread_mutex_unlock(&m->lock);
	return request;
}

static void on_finished(uv_async_t *async)
{
	struct sp_blocking *b = async->data;
	struct sp_request *request;

	while ((request = take_finished(b->mailbox)) != NULL) {
		const struct sp_work work = request->work;
		bool abandoned = request->abandoned;

		b->count--;
		drop(request);
		if (abandoned)
			work.discard(work.arg);
		else
			work.done(work.arg, true);
	}
}

static void on_deadline(uv_timer_t *timer)
{
	struct sp_request *request = timer->data;

	request->abandoned = true;
	request->work.done(request->work.arg, false);
}

void sp_blocking_cancel(struct sp_request *request)
{
	request->abandoned = true;
	(void)uv_timer_stop(&request->deadline);
}
