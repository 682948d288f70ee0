/* See exits.h.
 *
 * Whatever tells that somebody may have ended, it is only a hint: the process itself is looked at, and found over or not.
 * Who is over waits in a list until everything that is there has been read, and only then is told, so that callbacks may
 * do what they like and the last word about a status has been heard. */
#include "procindex/exits.h"

#include "procindex/connector.h"
#include "procindex/life.h"
#include "util/cleanup.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

enum {
	FIRST_BUCKETS = 256,
	BATCH = 64,
	ROUNDS = 64, /* batches of messages a turn of the loop */
	/* Milliseconds. The kernel drops a message silently where it has no memory for it: now and then we look ourselves. */
	SWEEP = 10000,
	SWEEP_SOON = 20,
};

enum life { ALIVE, OVER, UNSURE /* no fd could be had to look */ };

enum watch_state { UNWATCHED, RUNNING, ENDED /* not told yet */ };

struct source {
	enum sp_exits_source name;
	int (*open)(struct sp_exits *x, struct sp_error *e); /* 0 or -errno */
	int (*watch)(struct sp_exits *x, struct sp_watch *w, int *pidfd); /* 0 or -errno; may take the pidfd */
};

struct sp_exits {
	uv_loop_t *loop;
	uv_poll_t poll; /* of the epoll fd */
	uv_timer_t sweep;
	const struct source *source;
	const struct sp_exits_ops *ops;
	void *context;
	int epoll; /* pidfds (data.ptr: the watch), and the connector (data.ptr: ourselves) */
	struct sp_connector *connector;
	bool inodes, overrun;
	struct rlimit nofile;
	struct sp_list running, ended; /* struct sp_watch.link */
	struct sp_watch **buckets; /* by tgid; of both lists */
	size_t bucket_count; /* a power of two */
	struct sp_exits_stats stats;
};

static const struct source connector_source, pidfds_source;

static void on_readable(uv_poll_t *handle, int status, int events);
static void on_sweep(uv_timer_t *timer);
static struct sp_watch **slot(const struct sp_exits *x, pid_t tgid);
static void hash_insert(struct sp_exits *x, struct sp_watch *w);
static void hash_remove(struct sp_exits *x, struct sp_watch *w);
static void grow(struct sp_exits *x);

static void release(struct sp_exits **at)
{
	struct sp_exits *x = *at;

	if (x == NULL)
		return;
	sp_connector_close(x->connector);
	sp_close_fd(&x->epoll);
	free(x->buckets);
	free(x);
}

static int open_source(struct sp_exits *x, enum sp_exits_source wanted, struct sp_error *e)
{
	if (wanted != SP_EXITS_PIDFDS) {
		x->source = &connector_source;
		int err = x->source->open(x, wanted == SP_EXITS_BEST ? NULL : e);
		if (err == 0 || wanted == SP_EXITS_CONNECTOR)
			return err;
		sp_connector_close(sp_steal_ptr(x->connector));
	}
	x->source = &pidfds_source;
	return x->source->open(x, e);
}

static int start_handles(struct sp_exits *x, struct sp_error *e)
{
	int err = uv_poll_init(x->loop, &x->poll, x->epoll);

	if (err != 0)
		return sp_fail(e, -err, "cannot watch an epoll fd: %s", uv_strerror(err));
	(void)uv_timer_init(x->loop, &x->sweep);
	x->poll.data = x->sweep.data = x;
	(void)uv_poll_start(&x->poll, UV_READABLE, on_readable);
	uv_unref((uv_handle_t *)&x->poll);
	uv_unref((uv_handle_t *)&x->sweep);
	return 0;
}

struct sp_exits *sp_exits_new(uv_loop_t *loop, enum sp_exits_source source, const struct sp_exits_ops *ops,
			      void *context, struct sp_error *e)
{
	sp_cleanup(release) struct sp_exits *x = calloc(1, sizeof *x);

	if (x == NULL) {
		sp_fail(e, ENOMEM, "out of memory");
		return NULL;
	}
	x->loop = loop;
	x->ops = ops;
	x->context = context;
	sp_list_init(&x->running);
	sp_list_init(&x->ended);
	x->inodes = sp_life_has_inodes();
	(void)getrlimit(RLIMIT_NOFILE, &x->nofile);
	x->bucket_count = FIRST_BUCKETS;
	x->buckets = calloc(x->bucket_count, sizeof *x->buckets);
	x->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (x->buckets == NULL || x->epoll < 0) {
		sp_fail(e, x->buckets == NULL ? ENOMEM : errno, "no memory or no fd to watch processes");
		return NULL;
	}
	if (open_source(x, source, e) != 0 || start_handles(x, e) != 0)
		return NULL;
	return sp_steal_ptr(x);
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct sp_exits *x = handle->data;

	release(&x);
}

static void on_poll_closed(uv_handle_t *handle)
{
	struct sp_exits *x = handle->data;

	uv_close((uv_handle_t *)&x->sweep, on_timer_closed);
}

void sp_exits_close(struct sp_exits *x)
{
	struct sp_watch *w, *next;

	if (x == NULL)
		return;
	sp_list_each_safe (w, next, &x->running, link)
		sp_exits_forget(x, w);
	sp_list_each_safe (w, next, &x->ended, link)
		sp_exits_forget(x, w);
	uv_close((uv_handle_t *)&x->poll, on_poll_closed);
}

/* ---- watching */

static int add_pidfd(struct sp_exits *x, struct sp_watch *w, int *pidfd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = w};

	if (epoll_ctl(x->epoll, EPOLL_CTL_ADD, *pidfd, &event) != 0)
		return -errno;
	w->pidfd = sp_steal_fd(pidfd);
	return 0;
}

static void remove_pidfd(struct sp_exits *x, struct sp_watch *w)
{
	if (w->pidfd < 0)
		return;
	/* not by close() alone: a child that we have forked and that has not execed holds the same open file */
	(void)epoll_ctl(x->epoll, EPOLL_CTL_DEL, w->pidfd, NULL);
	(void)close(w->pidfd);
	w->pidfd = -1;
}

/* The loop is alive, and sweeps, as long as somebody is watched. */
static void first_is_watched(struct sp_exits *x)
{
	uv_ref((uv_handle_t *)&x->poll);
	if (x->connector != NULL)
		(void)uv_timer_start(&x->sweep, on_sweep, SWEEP, SWEEP);
}

static void last_is_unwatched(struct sp_exits *x)
{
	uv_unref((uv_handle_t *)&x->poll);
	(void)uv_timer_stop(&x->sweep);
}

int sp_exits_watch(struct sp_exits *x, struct sp_watch *w, pid_t tgid, void *process)
{
	cleanup_close int pidfd = sp_life_open(tgid);

	if (pidfd < 0)
		return pidfd;
	*w = (struct sp_watch){.tgid = tgid, .process = process, .pidfd = -1, .status = -1};
	int err = sp_life_identity(pidfd, tgid, x->inodes, &w->identity);
	if (err != 0)
		return err;
	w->since = uv_hrtime();
	/* last, so that the identity cannot be that of a successor, and its end not before the time */
	if (sp_life_is_over(pidfd))
		return -ESRCH;
	err = x->source->watch(x, w, &pidfd);
	if (err != 0)
		return err;
	w->state = RUNNING;
	sp_list_add(&x->running, &w->link);
	hash_insert(x, w);
	if (x->stats.watched++ == 0)
		first_is_watched(x);
	return 0;
}

void sp_exits_forget(struct sp_exits *x, struct sp_watch *w)
{
	if (w->state == UNWATCHED)
		return;
	remove_pidfd(x, w);
	hash_remove(x, w);
	sp_list_del(&w->link);
	w->state = UNWATCHED;
	if (--x->stats.watched == 0)
		last_is_unwatched(x);
}

/* ---- looking */

static void has_ended(struct sp_exits *x, struct sp_watch *w, int status)
{
	w->state = ENDED;
	w->status = status;
	w->certain = status >= 0;
	remove_pidfd(x, w);
	sp_list_del(&w->link);
	sp_list_add(&x->ended, &w->link);
}

/* By its pid; *pidfd becomes its pidfd if it can still be had. */
static enum life find_out(const struct sp_exits *x, const struct sp_watch *w, int *pidfd)
{
	cleanup_close int opened = sp_life_open(w->tgid);
	uint64_t identity;

	if (opened < 0)
		return opened == -ESRCH ? OVER : UNSURE;
	int err = sp_life_identity(opened, w->tgid, x->inodes, &identity);
	if (err != 0)
		return err == -ESRCH ? OVER : UNSURE;
	if (identity != w->identity)
		return OVER; /* another process has its pid */
	*pidfd = sp_steal_fd(&opened);
	return sp_life_is_over(*pidfd) ? OVER : ALIVE;
}

static void look(struct sp_exits *x, struct sp_watch *w)
{
	cleanup_close int opened = -1;

	if (w->pidfd >= 0) {
		if (sp_life_is_over(w->pidfd))
			has_ended(x, w, sp_life_status(w->pidfd, w->tgid));
		return;
	}
	if (find_out(x, w, &opened) == OVER)
		has_ended(x, w, opened >= 0 ? sp_life_status(opened, w->tgid) : -1);
}

static void look_at_all(struct sp_exits *x)
{
	struct sp_watch *w, *next;

	sp_list_each_safe (w, next, &x->running, link)
		look(x, w);
}

/* ---- the connector */

static void sweep_soon(struct sp_exits *x)
{
	(void)uv_timer_start(&x->sweep, on_sweep, SWEEP_SOON, SWEEP);
}

/* Usually the process is over. Otherwise it goes on without its leader, or another thread has execed and become the leader:
 * its end will be that of some thread, and may be without a message, since the last thread can have ended long before a
 * tracer reaps it. Its pidfd tells. */
static void leader_ended(struct sp_exits *x, struct sp_watch *w, int status)
{
	cleanup_close int pidfd = -1;

	switch (find_out(x, w, &pidfd)) {
	case OVER:
		has_ended(x, w, status);
		w->certain = false;
		break;
	case ALIVE:
		if (add_pidfd(x, w, &pidfd) == 0)
			break;
		[[fallthrough]];
	case UNSURE:
		sweep_soon(x);
	}
}

/* exit_code is what waitpid(2) gives. The process's status is that of its last thread (or of the exit_group() or the signal
 * that ended all of them, and then all have it), hence of the last message, whatever the order in which they are read. */
static void on_task_ended(const struct exit_proc_event *event, uint64_t time, void *context)
{
	struct sp_exits *x = context;

	x->stats.messages++;
	for (struct sp_watch *w = *slot(x, event->process_tgid); w != NULL; w = w->hash_next) {
		if (w->tgid != event->process_tgid || time < w->since)
			continue;
		if (w->state == ENDED && !w->certain)
			w->status = (int)event->exit_code;
		else if (w->state == RUNNING && w->pidfd < 0 && event->process_pid == event->process_tgid)
			leader_ended(x, w, (int)event->exit_code);
	}
}

/* True: nothing is left. */
static bool read_messages(struct sp_exits *x)
{
	for (int i = 0; i < ROUNDS; i++)
		switch (sp_connector_read(x->connector, on_task_ended, x)) {
		case SP_CONNECTOR_EMPTY:
			return true;
		case SP_CONNECTOR_MORE:
			break;
		case SP_CONNECTOR_OVERRUN:
			x->overrun = true;
			x->stats.overruns++;
		}
	return false;
}

/* After an overrun the kernel drops everything until the buffer has been empty once: only then it makes sense to look. */
static void collect_messages(struct sp_exits *x)
{
	if (!read_messages(x) || !x->overrun)
		return;
	x->overrun = false;
	x->stats.resyncs++;
	look_at_all(x);
	(void)read_messages(x); /* how those ended that we have just found reaped */
	if (x->overrun)
		sweep_soon(x); /* not now: somebody ends processes faster than we can look */
}

static int open_connector(struct sp_exits *x, struct sp_error *e)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = x};

	x->connector = sp_connector_open(e);
	if (x->connector == NULL)
		return -ENOTSUP;
	if (epoll_ctl(x->epoll, EPOLL_CTL_ADD, sp_connector_fd(x->connector), &event) != 0)
		return sp_fail(e, errno, "cannot watch the proc connector: %s", strerror(errno));
	return 0;
}

static int watch_by_connector(struct sp_exits *x, struct sp_watch *w, int *pidfd)
{
	(void)x;
	(void)w;
	(void)pidfd;
	return 0; /* it tells everybody's end */
}

static const struct source connector_source = {SP_EXITS_CONNECTOR, open_connector, watch_by_connector};

/* ---- pidfds */

static int raise_limit(struct sp_exits *x, struct sp_error *e)
{
	const struct rlimit raised = {x->nofile.rlim_max, x->nofile.rlim_max};

	if (setrlimit(RLIMIT_NOFILE, &raised) != 0)
		return sp_fail(e, errno, "cannot raise the limit of open files: %s", strerror(errno));
	return 0;
}

static const struct source pidfds_source = {SP_EXITS_PIDFDS, raise_limit, add_pidfd};

/* ---- collecting and telling */

/* What is left within the limits makes the epoll fd readable again. */
static void collect(struct sp_exits *x)
{
	struct epoll_event ready[BATCH];
	int count = BATCH;

	for (int round = 0; count == BATCH && round < ROUNDS; round++) {
		count = epoll_wait(x->epoll, ready, BATCH, 0);
		for (int i = 0; i < count; i++) {
			struct sp_watch *w = ready[i].data.ptr;

			if (ready[i].data.ptr == x)
				collect_messages(x);
			else if (w->state == RUNNING)
				look(x, w);
		}
	}
}

static void tell(struct sp_exits *x)
{
	while (!sp_list_empty(&x->ended)) {
		struct sp_watch *w = sp_container_of(x->ended.next, struct sp_watch, link);

		sp_exits_forget(x, w);
		x->stats.told++;
		x->stats.unknown += w->status < 0;
		x->ops->ended(w->tgid, w->process, w->status, x->context);
	}
}

static void on_readable(uv_poll_t *handle, int status, int events)
{
	(void)status;
	(void)events;
	sp_exits_poll_now(handle->data, NULL);
}

static void on_sweep(uv_timer_t *timer)
{
	struct sp_exits *x = timer->data;

	if (!x->overrun) /* else it is done after the next message, or now */
		look_at_all(x);
	collect_messages(x);
	tell(x);
}

void sp_exits_poll_now(struct sp_exits *x, struct sp_watch *one)
{
	/* first, so that what is read afterwards may still say how it ended */
	if (one != NULL && one->state == RUNNING)
		look(x, one);
	collect(x);
	tell(x);
}

/* ---- the rest */

enum sp_exits_source sp_exits_source(const struct sp_exits *x)
{
	return x->source->name;
}

const struct rlimit *sp_exits_nofile(const struct sp_exits *x)
{
	return &x->nofile;
}

struct sp_exits_stats sp_exits_stats(const struct sp_exits *x)
{
	return x->stats;
}

int sp_exits_connector_fd(const struct sp_exits *x)
{
	return x->connector != NULL ? sp_connector_fd(x->connector) : -1;
}

static struct sp_watch **slot(const struct sp_exits *x, pid_t tgid)
{
	/* pids are handed out one after the other: their low bits are as good as any hash */
	return &x->buckets[(size_t)tgid & (x->bucket_count - 1)];
}

static void hash_insert(struct sp_exits *x, struct sp_watch *w)
{
	if (x->stats.watched >= x->bucket_count)
		grow(x);
	w->hash_next = *slot(x, w->tgid);
	*slot(x, w->tgid) = w;
}

static void hash_remove(struct sp_exits *x, struct sp_watch *w)
{
	struct sp_watch **at = slot(x, w->tgid);

	while (*at != w)
		at = &(*at)->hash_next;
	*at = w->hash_next;
}

/* Doubles the buckets; without memory for it the chains just get longer. */
static void grow(struct sp_exits *x)
{
	struct sp_watch **old = x->buckets;
	size_t old_count = x->bucket_count;
	struct sp_watch **buckets = calloc(old_count * 2, sizeof(struct sp_watch *));

	if (buckets == NULL)
		return;
	x->buckets = buckets;
	x->bucket_count = old_count * 2;
	for (size_t i = 0; i < old_count; i++) {
		struct sp_watch *next;

		for (struct sp_watch *w = old[i]; w != NULL; w = next) {
			next = w->hash_next;
			w->hash_next = *slot(x, w->tgid);
			*slot(x, w->tgid) = w;
		}
	}
	free(old);
}
