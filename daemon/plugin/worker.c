/* See worker.h. */
#include "plugin/worker.h"

#include "plugin/crun.h"
#include "plugin/events.h"
#include "plugin/wire.h"
#include "policy/plugins.h"
#include "sallyport-plugin.h"
#include "util/cleanup.h"
#include "util/list.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TIMERS = 64, LINES_A_SECOND = 20, WITHIN_DEFAULT = 10000, WITHIN_MAX = 600000, FDS_MAX = 16 };

struct timer {
	int id; /* 0: free */
	int64_t due; /* ms */
	void (*run)(void *argument);
	void *argument;
};

struct job {
	struct sp_list link;
	uint64_t id;
	int listener; /* -1: none */
	void *storage;
};

/* What on_exec has been asked, and what answer() has been told meanwhile. */
struct question {
	uint64_t token; /* 0: none */
	unsigned answers;
	struct sallyport_verdict answer;
};

struct worker {
	struct sallyport_host host;
	int socket;
	struct sallyport_plugin plugin;
	void *self;
	struct sp_crun *crun;
	struct sp_list jobs;
	struct timer timers[TIMERS];
	int last_timer;
	struct sp_plugin_room room;
	char *in;
	size_t in_size, in_capacity;
	int fds[FDS_MAX]; /* that came, and belong to jobs that are yet to be read */
	size_t fd_count;

	pthread_mutex_t lock; /* of what follows, and of sending */
	struct question current;
	uint64_t *later; /* tokens that are to be answered by answer() */
	size_t later_count, later_capacity;
	uint64_t last_token;
	int64_t second; /* of the lines counted here */
	unsigned lines;
};

static int64_t milliseconds(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static struct worker *worker_of(const struct sallyport_host *host)
{
	return sp_container_of((struct sallyport_host *)host, struct worker, host);
}

/* ---- sending ---- */

/* Under the lock. Who cannot be told is gone, and we shall read that. */
static void send_message(const struct worker *w, struct sp_wire_out *out)
{
	sp_wire_end(out);
	for (size_t done = 0; !out->failed && done < out->size;) {
		ssize_t n = TEMP_FAILURE_RETRY(send(w->socket, out->data + done, out->size - done, MSG_NOSIGNAL));

		if (n <= 0)
			break;
		done += (size_t)n;
	}
	free(out->data);
}

static void put_short(struct sp_wire_out *out, const char *text)
{
	const size_t length = strnlen(text, SP_WIRE_TEXT_MAX - 1);

	sp_wire_put_bytes(out, text, length);
}

static void send_ready(struct worker *w, int err, unsigned wants, const char *why)
{
	struct sp_wire_out out = {0};

	(void)pthread_mutex_lock(&w->lock);
	sp_wire_begin(&out, SP_WIRE_READY);
	sp_wire_put(&out, (uint64_t)err);
	sp_wire_put(&out, wants);
	put_short(&out, why);
	send_message(w, &out);
	(void)pthread_mutex_unlock(&w->lock);
}

/* Under the lock. */
static void send_verdict(const struct worker *w, uint64_t token, const struct sallyport_verdict *verdict)
{
	struct sp_wire_out out = {0};

	sp_wire_begin(&out, SP_WIRE_VERDICT);
	sp_wire_put(&out, token);
	sp_wire_put(&out, verdict->answer);
	sp_wire_put(&out, (uint32_t)verdict->error);
	sp_wire_put(&out, verdict->within_ms);
	sp_wire_put_bytes(&out, verdict->reason, strnlen(verdict->reason, sizeof verdict->reason - 1));
	send_message(w, &out);
}

/* ---- host services ---- */

static void host_log(const struct sallyport_host *host, int level, const char *text)
{
	struct worker *w = worker_of(host);
	const int64_t second = milliseconds() / 1000;
	struct sp_wire_out out = {0};

	if (level <= SALLYPORT_DEBUG || text == NULL)
		return;
	(void)pthread_mutex_lock(&w->lock);
	if (second != w->second)
		w->lines = 0;
	w->second = second;
	if (++w->lines <= LINES_A_SECOND) {
		sp_wire_begin(&out, SP_WIRE_LOG);
		sp_wire_put(&out, (uint64_t)level);
		put_short(&out, text);
		send_message(w, &out);
	}
	(void)pthread_mutex_unlock(&w->lock);
}

static void host_count(const struct sallyport_host *host, const char *name, int64_t delta)
{
	struct worker *w = worker_of(host);
	struct sp_wire_out out = {0};

	(void)pthread_mutex_lock(&w->lock);
	sp_wire_begin(&out, SP_WIRE_COUNT);
	sp_wire_put(&out, (uint64_t)delta);
	put_short(&out, name);
	send_message(w, &out);
	(void)pthread_mutex_unlock(&w->lock);
}

static int host_timer(const struct sallyport_host *host, uint32_t after_ms, void (*run)(void *argument), void *argument)
{
	struct worker *w = worker_of(host);

	for (size_t i = 0; i < TIMERS; i++) {
		if (w->timers[i].id != 0)
			continue;
		w->last_timer = w->last_timer == INT32_MAX ? 1 : w->last_timer + 1;
		w->timers[i] = (struct timer){
			.id = w->last_timer, .due = milliseconds() + after_ms, .run = run, .argument = argument};
		return w->last_timer;
	}
	return -ENOSPC;
}

static int host_cancel(const struct sallyport_host *host, int timer)
{
	struct worker *w = worker_of(host);

	for (size_t i = 0; i < TIMERS; i++)
		if (timer > 0 && w->timers[i].id == timer) {
			w->timers[i].id = 0;
			return 0;
		}
	return -ENOENT;
}

static struct job *find_job(const struct worker *w, uint64_t id)
{
	struct job *job;

	sp_list_each (job, &w->jobs, link)
		if (job->id == id)
			return job;
	return NULL;
}

static void *host_job_storage(const struct sallyport_host *host, uint64_t id, size_t bytes)
{
	struct job *job = find_job(worker_of(host), id);

	if (job != NULL && job->storage == NULL)
		job->storage = calloc(1, bytes);
	return job != NULL ? job->storage : NULL;
}

static bool take_later(struct worker *w, uint64_t token)
{
	for (size_t i = 0; i < w->later_count; i++)
		if (w->later[i] == token) {
			w->later[i] = w->later[--w->later_count];
			return true;
		}
	return false;
}

/* Under the lock. A verdict that was compiled before has less at its end. */
static int accept_answer(struct worker *w, uint64_t token, const struct sallyport_verdict *verdict)
{
	struct sallyport_verdict whole = {.size = sizeof whole};

	if (verdict->size < offsetof(struct sallyport_verdict, reason) || verdict->answer >= SALLYPORT_LATER)
		return -EINVAL;
	memcpy(&whole, verdict, verdict->size < sizeof whole ? verdict->size : sizeof whole);
	if (token != 0 && token == w->current.token) {
		w->current.answer = whole;
		return ++w->current.answers == 1 ? 0 : -EALREADY;
	}
	if (!take_later(w, token))
		return token <= w->last_token ? -EALREADY : -EINVAL;
	send_verdict(w, token, &whole);
	return 0;
}

static int host_answer(const struct sallyport_host *host, uint64_t token, const struct sallyport_verdict *verdict)
{
	struct worker *w = worker_of(host);

	(void)pthread_mutex_lock(&w->lock);
	int err = accept_answer(w, token, verdict);
	(void)pthread_mutex_unlock(&w->lock);
	return err;
}

static const struct sallyport_host services = {
	.size = sizeof services,
	.version = SALLYPORT_PLUGIN_VERSION,
	.log = host_log,
	.count = host_count,
	.timer = host_timer,
	.cancel = host_cancel,
	.job_storage = host_job_storage,
	.answer = host_answer,
};

/* ---- loading ---- */

static bool load_ours(struct worker *w, void *library, const char *config, char *why, size_t size)
{
	const uint32_t *version = dlsym(library, "sallyport_plugin_version");
	const struct sallyport_plugin *table = dlsym(library, "sallyport_plugin");

	if (version == NULL || table == NULL) {
		(void)snprintf(why, size, "it is no plugin: it has no symbol %s",
			       version == NULL ? "sallyport_plugin_version" : "sallyport_plugin");
		return false;
	}
	if (*version != SALLYPORT_PLUGIN_VERSION) {
		(void)snprintf(why, size, "it was made for version %u of the plugin interface, this is version %d",
			       *version, SALLYPORT_PLUGIN_VERSION);
		return false;
	}
	/* An older one has a shorter table, a newer one has functions that we never call. */
	memcpy(&w->plugin, table, table->size < sizeof w->plugin ? table->size : sizeof w->plugin);
	const int err = w->plugin.init != NULL ? w->plugin.init(config, &w->host, &w->self) : 0;
	if (err != 0)
		(void)snprintf(why, size, "its init failed: %s", strerror(err < 0 ? -err : err));
	return err == 0;
}

static bool load(struct worker *w, int file, enum sp_plugin_abi abi, const char *config, char *why, size_t size)
{
	char path[64];

	/* What was looked at is what is loaded. */
	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", file);
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (library == NULL) {
		(void)snprintf(why, size, "it cannot be loaded: %s", dlerror());
		return false;
	}
	if (abi == SP_PLUGIN_OURS)
		return load_ours(w, library, config, why, size);
	w->crun = sp_crun_new(library, config, why, size);
	return w->crun != NULL;
}

static unsigned wants_of(const struct worker *w)
{
	const struct sallyport_plugin *p = &w->plugin;

	return (p->on_exec != NULL ? SP_WANTS_EXEC : 0) | (p->on_fork != NULL ? SP_WANTS_FORK : 0) |
	       (p->on_exit != NULL ? SP_WANTS_EXIT : 0) | (p->on_job != NULL ? SP_WANTS_JOB : 0) |
	       (w->crun != NULL ? SP_WANTS_CALLS : 0);
}

/* ---- messages ---- */

/* The rules of sallyport_host.answer: an exec has one answer. Under the lock. */
static void conclude(struct worker *w, struct sallyport_verdict *verdict)
{
	const struct question asked = w->current;
	const bool later = verdict->answer == SALLYPORT_LATER;

	w->current = (struct question){0};
	w->last_token = asked.token;
	if (asked.answers > 1 || (asked.answers == 1 && !later)) {
		verdict->answer = SP_WIRE_TWICE;
	} else if (asked.answers == 1) {
		*verdict = asked.answer;
	} else if (later) {
		if (verdict->within_ms == 0)
			verdict->within_ms = WITHIN_DEFAULT;
		if (verdict->within_ms > WITHIN_MAX)
			verdict->within_ms = WITHIN_MAX;
		if (w->later_count == w->later_capacity) {
			const size_t capacity = w->later_capacity == 0 ? 16 : 2 * w->later_capacity;
			uint64_t *grown = reallocarray(w->later, capacity, sizeof *grown);

			if (grown == NULL) {
				verdict->answer = SALLYPORT_DENY;
				verdict->error = ENOMEM;
				send_verdict(w, asked.token, verdict);
				return;
			}
			w->later = grown;
			w->later_capacity = capacity;
		}
		w->later[w->later_count++] = asked.token;
	}
	send_verdict(w, asked.token, verdict);
}

static int on_exec(struct worker *w, struct sp_wire_in *in)
{
	struct sallyport_exec exec;
	struct sallyport_verdict verdict = {.size = sizeof verdict};

	int err = sp_plugin_get_exec(in, &w->room, &exec);
	if (err != 0)
		return err;
	(void)pthread_mutex_lock(&w->lock);
	w->current.token = exec.token;
	(void)pthread_mutex_unlock(&w->lock);
	if (w->plugin.on_exec != NULL)
		w->plugin.on_exec(w->self, &exec, &verdict);
	(void)pthread_mutex_lock(&w->lock);
	conclude(w, &verdict);
	(void)pthread_mutex_unlock(&w->lock);
	return 0;
}

static int on_forget(struct worker *w, struct sp_wire_in *in)
{
	(void)pthread_mutex_lock(&w->lock);
	(void)take_later(w, sp_wire_get(in));
	(void)pthread_mutex_unlock(&w->lock);
	return 0;
}

static int on_fork(struct worker *w, struct sp_wire_in *in)
{
	struct sallyport_fork event;

	int err = sp_plugin_get_fork(in, &event);
	if (err == 0 && w->plugin.on_fork != NULL)
		w->plugin.on_fork(w->self, &event);
	return err;
}

static int on_exit_event(struct worker *w, struct sp_wire_in *in)
{
	struct sallyport_exit event;

	int err = sp_plugin_get_exit(in, &event);
	if (err == 0 && w->plugin.on_exit != NULL)
		w->plugin.on_exit(w->self, &event);
	return err;
}

static int take_fd(struct worker *w)
{
	if (w->fd_count == 0)
		return -1;
	const int fd = w->fds[0];
	memmove(w->fds, w->fds + 1, --w->fd_count * sizeof *w->fds);
	return fd;
}

static void end_job(struct job *job)
{
	sp_list_del(&job->link);
	sp_close_fd(&job->listener);
	free(job->storage);
	free(job);
}

static int on_job(struct worker *w, struct sp_wire_in *in)
{
	struct sallyport_job event;
	bool has_fd;

	int err = sp_plugin_get_job(in, &event, &has_fd);
	if (err != 0)
		return err;
	cleanup_close int fd = has_fd ? take_fd(w) : -1;
	struct job *job = find_job(w, event.job);
	if (job == NULL && event.phase == SALLYPORT_JOB_BEGINS) {
		job = calloc(1, sizeof *job);
		if (job == NULL)
			return -ENOMEM;
		job->id = event.job;
		job->listener = sp_steal_fd(&fd);
		sp_list_init(&job->link);
		sp_list_add(&w->jobs, &job->link);
	}
	if (w->plugin.on_job != NULL)
		w->plugin.on_job(w->self, &event);
	if (job != NULL && event.phase == SALLYPORT_JOB_ENDS)
		end_job(job);
	return 0;
}

static int on_call(struct worker *w, struct sp_wire_in *in)
{
	struct seccomp_notif request;
	struct seccomp_notif_resp response = {0};
	struct sp_wire_out out = {0};
	size_t size;
	const struct job *job = find_job(w, sp_wire_get(in));
	const char *bytes = sp_wire_get_bytes(in, &size);

	if (in->bad || size != sizeof request)
		return -EBADMSG;
	memcpy(&request, bytes, size);
	const enum sp_crun_handled handled = w->crun != NULL && job != NULL
						     ? sp_crun_ask(w->crun, &request, job->listener, &response)
						     : SP_CRUN_FAILED;
	(void)pthread_mutex_lock(&w->lock);
	sp_wire_begin(&out, SP_WIRE_CALLED);
	sp_wire_put(&out, request.id);
	sp_wire_put(&out, handled);
	sp_wire_put(&out, (uint64_t)(int64_t)response.error);
	sp_wire_put(&out, (uint64_t)response.val);
	send_message(w, &out);
	(void)pthread_mutex_unlock(&w->lock);
	return 0;
}

static int on_message(struct worker *w, struct sp_wire_in *in)
{
	switch (in->kind) {
	case SP_WIRE_EXEC:
		return on_exec(w, in);
	case SP_WIRE_FORGET:
		return on_forget(w, in);
	case SP_WIRE_FORK:
		return on_fork(w, in);
	case SP_WIRE_EXIT:
		return on_exit_event(w, in);
	case SP_WIRE_JOB:
		return on_job(w, in);
	case SP_WIRE_CALL:
		return on_call(w, in);
	default:
		return -EBADMSG;
	}
}

/* ---- the socket ---- */

static void take_fds(struct worker *w, struct msghdr *message)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || w->fd_count == FDS_MAX)
			continue;
		memcpy(&w->fds[w->fd_count++], CMSG_DATA(c), sizeof *w->fds);
	}
}

/* More bytes. 0, or -errno: nothing comes any more. */
static int receive(struct worker *w)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;

	if (w->in_capacity - w->in_size < 4096) {
		const size_t capacity = w->in_capacity == 0 ? 65536 : 2 * w->in_capacity;
		char *grown = realloc(w->in, capacity);

		if (grown == NULL)
			return -ENOMEM;
		w->in = grown;
		w->in_capacity = capacity;
	}
	struct iovec iov = {.iov_base = w->in + w->in_size, .iov_len = w->in_capacity - w->in_size};
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	const ssize_t n = TEMP_FAILURE_RETRY(recvmsg(w->socket, &message, MSG_CMSG_CLOEXEC));
	if (n <= 0)
		return n == 0 ? -EPIPE : -errno;
	take_fds(w, &message);
	w->in_size += (size_t)n;
	return 0;
}

static int handle_messages(struct worker *w)
{
	size_t done = 0;
	int64_t size;
	int err = 0;

	do {
		struct sp_wire_in in;

		size = sp_wire_next(w->in + done, w->in_size - done, SIZE_MAX, &in);
		if (size <= 0)
			break;
		err = on_message(w, &in);
		done += (size_t)size;
	} while (err == 0);
	w->in_size -= done;
	memmove(w->in, w->in + done, w->in_size);
	return size < 0 ? (int)size : err;
}

/* ---- time ---- */

/* Milliseconds to the next timer; -1: there is none. */
static int until_next_timer(const struct worker *w)
{
	const int64_t now = milliseconds();
	int64_t next = -1;

	for (size_t i = 0; i < TIMERS; i++) {
		const int64_t left = w->timers[i].due > now ? w->timers[i].due - now : 0;

		if (w->timers[i].id != 0 && (next < 0 || left < next))
			next = left;
	}
	return next > INT32_MAX ? INT32_MAX : (int)next;
}

static void run_timers(struct worker *w)
{
	const int64_t now = milliseconds();

	for (size_t i = 0; i < TIMERS; i++) {
		const struct timer timer = w->timers[i];

		if (timer.id == 0 || timer.due > now)
			continue;
		w->timers[i].id = 0;
		timer.run(timer.argument);
	}
}

static void serve(struct worker *w)
{
	for (int err = 0; err == 0;) {
		struct pollfd watched = {.fd = w->socket, .events = POLLIN};
		const int wait = until_next_timer(w);

		if (wait >= 0 && poll(&watched, 1, wait) == 0) {
			run_timers(w);
			continue;
		}
		err = receive(w);
		if (err == 0)
			err = handle_messages(w);
		run_timers(w);
	}
}

/* The first message. */
static bool receive_config(struct worker *w, struct sp_wire_in *in)
{
	int64_t size = 0;

	while (size == 0) {
		if (receive(w) != 0)
			return false;
		size = sp_wire_next(w->in, w->in_size, SIZE_MAX, in);
	}
	return size > 0 && in->kind == SP_WIRE_CONFIG;
}

static void release_worker(struct worker *w)
{
	struct job *job, *next;

	sp_list_each_safe (job, next, &w->jobs, link)
		end_job(job);
	while (w->fd_count > 0)
		(void)close(w->fds[--w->fd_count]);
	(void)close(w->socket);
	sp_plugin_room_release(&w->room);
	free(w->in);
	free(w->later);
	(void)pthread_mutex_destroy(&w->lock);
}

void sp_worker_serve(int socket, int file)
{
	struct worker *w = calloc(1, sizeof *w);
	struct sp_wire_in in;
	char why[SP_WIRE_TEXT_MAX] = "";
	size_t size;

	if (w == NULL)
		return;
	w->host = services;
	w->socket = socket;
	sp_list_init(&w->jobs);
	(void)pthread_mutex_init(&w->lock, NULL);
	if (receive_config(w, &in)) {
		const enum sp_plugin_abi abi = (enum sp_plugin_abi)sp_wire_get(&in);
		cleanup_free char *config = strdup(sp_wire_get_bytes(&in, &size));
		const size_t taken = (size_t)(in.end - w->in);
		const bool loaded = config != NULL && load(w, file, abi, config, why, sizeof why);

		w->in_size -= taken;
		memmove(w->in, w->in + taken, w->in_size);
		send_ready(w, loaded ? 0 : EINVAL, wants_of(w), why);
		if (loaded) {
			if (handle_messages(w) == 0)
				serve(w);
			if (w->plugin.fini != NULL)
				w->plugin.fini(w->self);
			if (w->crun != NULL)
				sp_crun_stop(w->crun);
		}
	}
	release_worker(w);
	/* Threads of the plugin's may still know the host. */
}
