/* See host.h. */
#include "plugin/host.h"

#include "plugin/crun.h"
#include "plugin/process.h"
#include "plugin/worker.h"
#include "self/harden.h"
#include "util/cleanup.h"
#include "util/cpu.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	INIT_DEADLINE = 5000, /* milliseconds, as the others */
	END_DEADLINE = 2000,
	REST_MIN = 100,
	REST_MAX = 5000,
	BACKLOG_MAX = 1 << 20, /* bytes of forks and exits that a plugin may be behind */
	LINES_A_SECOND = 20,
	MESSAGES_A_SECOND = 20000,
	COUNTERS = 64,
};

enum state {
	STARTING, /* its init has not returned */
	IDLE,
	BUSY, /* one question is with it */
	ENDING, /* it has failed, and is not gone yet */
	RESTING, /* it has failed too often, and is started after a while */
	DEAD, /* a thread that hangs: it cannot be ended, and is never asked again */
};

struct counter {
	char name[64];
	int64_t value;
};

/* The end of the socket, and what has come and is to go through it: dies with the worker. */
struct line {
	uv_poll_t poll;
	int fd;
	struct sp_plugin *plugin; /* NULL: closed */
	char in[SP_WIRE_SMALL_MAX];
	size_t in_size;
	struct sp_wire_out out;
	size_t out_done;
	int passed; /* an fd to go with the bytes from passed_at on; -1: none */
	size_t passed_at;
};

struct sp_plugin {
	struct sp_plugins *plugins;
	struct sp_list link;
	/* What it is, copied: it may outlive the policy that named it first. */
	struct sp_plugin_spec spec;
	struct sp_list users;
	enum state state;
	uint64_t worker; /* by which the nursery knows it */
	struct line *line;
	unsigned wants;
	struct sp_plugin_question *current;
	struct sp_list waiting, later; /* struct sp_plugin_question.link */
	uv_timer_t timer;
	uint64_t state_due; /* STARTING, ENDING, RESTING: when that ends */
	uint64_t last_token, lost;
	unsigned failures; /* since the last good answer */
	char failure[SP_WIRE_TEXT_MAX + 64]; /* the last one */
	uint64_t second; /* of what is counted here */
	unsigned lines, messages;
	struct counter counters[COUNTERS];
};

struct sp_plugins {
	uv_loop_t *loop;
	struct sp_list list;
	uv_poll_t poll;
	int nursery; /* channel; -1: not started */
	pid_t nursery_pid;
	uint64_t last_worker;
};

static void start(struct sp_plugin *p);
static void fail(struct sp_plugin *p, const char *why);
static void arm(struct sp_plugin *p);
static void next(struct sp_plugin *p);
static void ended(struct sp_plugin *p);
static void on_line(uv_poll_t *handle, int status, int events);
static void on_news(uv_poll_t *handle, int status, int events);

/* ---- for people ---- */

[[gnu::format(printf, 2, 3)]] static void notice(const struct sp_plugin *p, const char *format, ...)
{
	char text[SP_WIRE_TEXT_MAX + 256];
	struct sp_plugin_user *user, *after;
	va_list arguments;

	int n = snprintf(text, sizeof text, "plugin %s: ", p->spec.name);
	va_start(arguments, format);
	(void)vsnprintf(text + n, sizeof text - (size_t)n, format, arguments);
	va_end(arguments);
	sp_list_each_safe (user, after, &p->users, link)
		if (user->notice != NULL)
			user->notice(text, user->context);
}

static void describe_end(char *to, size_t size, int status)
{
	if (WIFSIGNALED(status))
		(void)snprintf(to, size, "it crashed: SIG%s", sigabbrev_np(WTERMSIG(status)));
	else
		(void)snprintf(to, size, "its process ended by itself, status %d", WEXITSTATUS(status));
}

/* ---- the nursery ---- */

struct sp_plugins *sp_plugins_new(uv_loop_t *loop)
{
	struct sp_plugins *plugins = calloc(1, sizeof *plugins);

	if (plugins == NULL)
		return NULL;
	plugins->loop = loop;
	plugins->nursery = -1;
	sp_list_init(&plugins->list);
	return plugins;
}

static void on_nursery_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void sp_plugins_close(struct sp_plugins *plugins)
{
	if (plugins->nursery < 0) {
		free(plugins);
		return;
	}
	(void)uv_poll_stop(&plugins->poll);
	(void)close(plugins->nursery);
	while (waitpid(plugins->nursery_pid, NULL, 0) < 0 && errno == EINTR)
		continue; /* ECHILD: the tracer was faster */
	uv_close((uv_handle_t *)&plugins->poll, on_nursery_closed);
}

int sp_plugins_prepare(struct sp_plugins *plugins, struct sp_error *e)
{
	if (plugins->nursery >= 0)
		return 0;
	cleanup_close int channel = sp_nursery_start(&plugins->nursery_pid, e);
	if (channel < 0)
		return channel;
	int err = uv_poll_init(plugins->loop, &plugins->poll, channel);
	if (err != 0)
		return sp_fail(e, -err, "cannot watch plugins: %s", uv_strerror(err));
	plugins->poll.data = plugins;
	(void)uv_poll_start(&plugins->poll, UV_READABLE, on_news);
	uv_unref((uv_handle_t *)&plugins->poll);
	plugins->nursery = sp_steal_fd(&channel);
	return 0;
}

static struct sp_plugin *find_worker(const struct sp_plugins *plugins, uint64_t id)
{
	struct sp_plugin *p;

	sp_list_each (p, &plugins->list, link)
		if (p->worker == id)
			return p;
	return NULL;
}

/* Without it no process of a plugin lives, and none can be started. */
static void lose_nursery(struct sp_plugins *plugins)
{
	struct sp_plugin *p, *after;

	(void)uv_poll_stop(&plugins->poll);
	sp_list_each_safe (p, after, &plugins->list, link) {
		if (p->spec.isolation == SP_PLUGIN_INSIDE)
			continue;
		fail(p, "the process that starts plugins is gone");
		p->state = DEAD;
		arm(p);
	}
}

static void on_news(uv_poll_t *handle, int status, int events)
{
	struct sp_plugins *plugins = handle->data;
	struct sp_nursery_news news;
	int got = status;

	(void)events;
	while (status == 0 && (got = sp_nursery_read(plugins->nursery, &news)) == 1) {
		struct sp_plugin *p = find_worker(plugins, news.id);

		if (p == NULL || p->state == DEAD)
			continue;
		if (p->state != ENDING || p->failure[0] == '\0') {
			char why[128] = "its process could not be started";

			if (news.status != -1)
				describe_end(why, sizeof why, news.status);
			fail(p, why);
		}
		ended(p);
	}
	if (got < 0)
		lose_nursery(plugins);
}

/* ---- the line ---- */

static void on_line_closed(uv_handle_t *handle)
{
	struct line *line = handle->data;

	(void)close(line->fd);
	sp_close_fd(&line->passed);
	free(line->out.data);
	free(line);
}

static void hang_up(struct sp_plugin *p)
{
	struct line *line = sp_steal_ptr(p->line);

	if (line == NULL)
		return;
	line->plugin = NULL;
	(void)uv_poll_stop(&line->poll);
	/* Who holds the other end shall know now, not when the loop has turned. */
	(void)shutdown(line->fd, SHUT_RDWR);
	uv_close((uv_handle_t *)&line->poll, on_line_closed);
}

static ssize_t send_some(struct line *line)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	const bool with_fd = line->passed >= 0 && line->passed_at == line->out_done;
	const size_t end = line->passed >= 0 && !with_fd ? line->passed_at : line->out.size;
	struct iovec iov = {.iov_base = line->out.data + line->out_done, .iov_len = end - line->out_done};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	if (with_fd) {
		message.msg_control = &control;
		message.msg_controllen = sizeof control;
		struct cmsghdr *c = CMSG_FIRSTHDR(&message);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &line->passed, sizeof line->passed);
	}
	const ssize_t n = TEMP_FAILURE_RETRY(sendmsg(line->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT));
	if (n > 0 && with_fd)
		sp_close_fd(&line->passed);
	if (n > 0 && with_fd)
		line->passed = -1;
	return n;
}

/* What cannot be sent now goes when it can; that nobody is there any more, we shall read. */
static void flush(struct line *line)
{
	while (line->out_done < line->out.size) {
		const ssize_t n = send_some(line);

		if (n <= 0)
			break;
		line->out_done += (size_t)n;
	}
	const bool all = line->out_done == line->out.size;
	if (all)
		line->out.size = line->out_done = 0;
	(void)uv_poll_start(&line->poll, UV_READABLE | (all ? 0 : UV_WRITABLE), on_line);
}

static size_t backlog(const struct line *line)
{
	return line->out.size - line->out_done;
}

static void tell_job(struct sp_plugin_user *user, enum sallyport_job_phase phase)
{
	struct line *line = user->plugin->line;
	const bool begins = phase == SALLYPORT_JOB_BEGINS;
	const bool with_fd = begins && user->listener >= 0 && line->passed < 0;

	if (with_fd) {
		line->passed = fcntl(user->listener, F_DUPFD_CLOEXEC, 3);
		line->passed_at = line->out.size;
	}
	user->job.phase = phase;
	user->told = begins;
	sp_plugin_put_job(&line->out, &user->job, with_fd && line->passed >= 0);
	flush(line);
}

static bool can_be_told(const struct sp_plugin *p)
{
	return p->state == IDLE || p->state == BUSY;
}

/* ---- what comes ---- */

static struct sp_plugin_question *find_later(const struct sp_plugin *p, uint64_t token)
{
	struct sp_plugin_question *q;

	sp_list_each (q, &p->later, link)
		if (q->token == token)
			return q;
	return NULL;
}

static void detach(struct sp_plugin_question *q)
{
	struct sp_plugin *p = q->plugin;

	if (p->current == q)
		p->current = NULL;
	sp_list_del(&q->link);
	free(q->message.data);
	q->message = (struct sp_wire_out){0};
	q->plugin = NULL;
}

static void answer(struct sp_plugin_question *q, const struct sp_plugin_verdict *verdict)
{
	detach(q);
	q->done(verdict, q);
}

static void refuse_for(const struct sp_plugin *p, struct sp_plugin_verdict *verdict)
{
	*verdict = (struct sp_plugin_verdict){
		.answer = SALLYPORT_DENY, .err = EACCES, .fault = true, .handled = SP_CRUN_FAILED};
	(void)snprintf(verdict->reason, sizeof verdict->reason, "%.*s", SP_WIRE_TEXT_MAX - 1, p->failure);
}

static void on_ready(struct sp_plugin *p, const struct sp_wire_said *said)
{
	struct sp_plugin_user *user;

	if (said->ready.err != 0) {
		fail(p, said->text);
		return;
	}
	p->wants = said->ready.wants;
	p->state = IDLE;
	sp_list_each (user, &p->users, link)
		tell_job(user, SALLYPORT_JOB_BEGINS);
	next(p);
}

static void wait_longer(struct sp_plugin *p, struct sp_plugin_question *q, unsigned within)
{
	p->current = NULL;
	q->later = true;
	q->due = uv_now(p->plugins->loop) + within;
	sp_list_add(&p->later, &q->link);
}

static void on_verdict(struct sp_plugin *p, const struct sp_wire_said *said)
{
	struct sp_plugin_question *q = p->current;
	const bool for_current = q != NULL && !q->call && q->token == said->verdict.token;

	if (!for_current)
		q = find_later(p, said->verdict.token);
	if (q == NULL || (!for_current && said->verdict.answer >= SALLYPORT_LATER)) {
		fail(p, "it answered what it was not asked, or twice");
		return;
	}
	if (said->verdict.answer == SP_WIRE_TWICE) {
		fail(p, "it answered twice");
		return;
	}
	p->failures = 0;
	p->failure[0] = '\0';
	if (for_current)
		p->state = IDLE;
	if (said->verdict.answer == SALLYPORT_LATER) {
		wait_longer(p, q, said->verdict.within);
		next(p);
		return;
	}
	struct sp_plugin_verdict verdict = {.answer = said->verdict.answer, .err = said->verdict.err};
	(void)strcpy(verdict.reason, said->text);
	detach(q);
	next(p);
	q->done(&verdict, q);
}

static void on_called(struct sp_plugin *p, const struct sp_wire_said *said)
{
	struct sp_plugin_question *q = p->current;

	if (q == NULL || !q->call || q->token != said->called.id) {
		fail(p, "it answered what it was not asked, or twice");
		return;
	}
	const struct sp_plugin_verdict verdict = {
		.handled = said->called.handled, .err = -said->called.err, .value = said->called.value};
	p->failures = 0;
	p->failure[0] = '\0';
	p->state = IDLE;
	detach(q);
	next(p);
	q->done(&verdict, q);
}

static void on_count(struct sp_plugin *p, const struct sp_wire_said *said)
{
	for (size_t i = 0; i < COUNTERS; i++) {
		struct counter *c = &p->counters[i];

		if (c->name[0] == '\0')
			(void)snprintf(c->name, sizeof c->name, "%.63s", said->text);
		if (strncmp(c->name, said->text, sizeof c->name - 1) == 0) {
			c->value = (int64_t)((uint64_t)c->value + (uint64_t)said->count.delta);
			return;
		}
	}
}

static bool is_flood(struct sp_plugin *p)
{
	const uint64_t second = uv_now(p->plugins->loop) / 1000;

	if (second != p->second)
		p->lines = p->messages = 0;
	p->second = second;
	return ++p->messages > MESSAGES_A_SECOND;
}

static void hear(struct sp_plugin *p, const struct sp_wire_said *said)
{
	if (is_flood(p)) {
		fail(p, "it talks without end");
		return;
	}
	switch (said->kind) {
	case SP_WIRE_READY:
		if (p->state == STARTING)
			on_ready(p, said);
		else
			fail(p, "it sent a message that there is not");
		break;
	case SP_WIRE_VERDICT:
		on_verdict(p, said);
		break;
	case SP_WIRE_CALLED:
		on_called(p, said);
		break;
	case SP_WIRE_COUNT:
		on_count(p, said);
		break;
	default:
		if (++p->lines <= LINES_A_SECOND)
			notice(p, "%s", said->text);
		break;
	}
}

/* Each step may end the line. */
static void read_messages(struct line *line)
{
	const char *why = "its answer makes no sense";
	size_t done = 0;

	while (line->plugin != NULL) {
		struct sp_wire_in in;
		struct sp_wire_said said;
		const int64_t size = sp_wire_next(line->in + done, line->in_size - done, sizeof line->in, &in);

		if (size == 0)
			break;
		if (size < 0 || sp_wire_listen(&in, &said, &why) != 0) {
			fail(line->plugin, why);
			return;
		}
		done += (size_t)size;
		hear(line->plugin, &said);
	}
	line->in_size -= done;
	memmove(line->in, line->in + done, line->in_size);
}

/* A process that ends is told of by the nursery, with its status. */
static void on_end_of_line(struct sp_plugin *p)
{
	if (p->spec.isolation == SP_PLUGIN_INSIDE) {
		fail(p, "it ended");
		return;
	}
	hang_up(p);
	p->state = ENDING;
	p->failure[0] = '\0';
	p->state_due = uv_now(p->plugins->loop) + END_DEADLINE;
	(void)sp_nursery_kill(p->plugins->nursery, p->worker); /* or it has only closed its end */
	arm(p);
}

static void on_line(uv_poll_t *handle, int status, int events)
{
	struct line *line = handle->data;

	if (line->plugin == NULL)
		return;
	if (status == 0 && (events & UV_WRITABLE) != 0)
		flush(line);
	if (status == 0 && (events & UV_READABLE) == 0)
		return;
	const ssize_t n =
		status == 0 ? recv(line->fd, line->in + line->in_size, sizeof line->in - line->in_size, MSG_DONTWAIT)
			    : 0;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		on_end_of_line(line->plugin);
		return;
	}
	line->in_size += (size_t)n;
	read_messages(line);
}

/* ---- failing, and starting anew ---- */

static void refuse_list(struct sp_list *list, const struct sp_plugin_verdict *verdict)
{
	while (!sp_list_empty(list))
		answer(sp_container_of(list->next, struct sp_plugin_question, link), verdict);
}

/* Why is a sentence about "it". What it was asked is refused; what waits is asked of the next one, if there is one soon. */
static void fail(struct sp_plugin *p, const char *why)
{
	struct sp_plugin_verdict verdict;
	const bool inside = p->spec.isolation == SP_PLUGIN_INSIDE;
	const bool busy = p->state == BUSY;
	const enum state was = p->state;
	char reason[sizeof p->failure];

	(void)snprintf(reason, sizeof reason, "the plugin failed: %s", why);
	(void)strcpy(p->failure, reason);
	p->failures++;
	hang_up(p);
	/* A thread cannot be ended: where it has not come back by itself, it is not asked again. */
	p->state = inside && busy ? DEAD : ENDING;
	p->state_due = uv_now(p->plugins->loop) + (inside ? 0 : END_DEADLINE);
	if (!inside && was != ENDING)
		(void)sp_nursery_kill(p->plugins->nursery, p->worker);
	refuse_for(p, &verdict);
	struct sp_plugin_question *current = p->current;
	if (current != NULL)
		answer(current, &verdict);
	refuse_list(&p->later, &verdict);
	if (p->state == DEAD)
		refuse_list(&p->waiting, &verdict);
	notice(p, "%s%s", why, p->state == DEAD ? "; it is not asked again" : "");
	arm(p);
}

/* The first failure after a good answer costs nothing more; who fails again and again does so ever more seldom. */
static void ended(struct sp_plugin *p)
{
	struct sp_plugin_verdict verdict;
	unsigned rest = 0;

	hang_up(p);
	p->worker = 0;
	if (p->failures > 1) {
		const unsigned doublings = p->failures - 2 < 6 ? p->failures - 2 : 6;

		rest = REST_MIN << doublings;
	}
	if (rest == 0) {
		start(p);
		return;
	}
	p->state = RESTING;
	p->state_due = uv_now(p->plugins->loop) + (rest < REST_MAX ? rest : REST_MAX);
	refuse_for(p, &verdict);
	refuse_list(&p->waiting, &verdict);
	arm(p);
}

struct inside {
	int socket, file;
};

/* A plugin in a thread of ours. Its file stays open: the loader knows it by that name. */
static void *run_inside(void *arg)
{
	struct inside inside = *(struct inside *)arg;

	free(arg);
	sp_cpu_restore();
	(void)sp_self_drop_capabilities();
	sp_worker_serve(inside.socket, inside.file);
	return NULL;
}

static int start_inside(int socket, int file)
{
	struct inside *inside = malloc(sizeof *inside);
	pthread_attr_t attributes;
	pthread_t thread;

	if (inside == NULL)
		return -ENOMEM;
	*inside = (struct inside){socket, file};
	(void)pthread_attr_init(&attributes);
	(void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	int err = pthread_create(&thread, &attributes, run_inside, inside);
	(void)pthread_attr_destroy(&attributes);
	if (err != 0)
		free(inside);
	return -err;
}

static int open_line(struct sp_plugin *p, int fd)
{
	struct line *line = calloc(1, sizeof *line);

	if (line == NULL)
		return -ENOMEM;
	int err = uv_poll_init(p->plugins->loop, &line->poll, fd);
	if (err != 0) {
		free(line);
		return err;
	}
	line->fd = fd;
	line->passed = -1;
	line->plugin = p;
	line->poll.data = line;
	p->line = line;
	(void)uv_poll_start(&line->poll, UV_READABLE, on_line);
	return 0;
}

/* Its file is looked at again: it may be another one now. */
static int give_birth(struct sp_plugin *p, struct sp_error *e)
{
	cleanup_close int file = sp_plugin_open(p->spec.path, e);
	int fds[2];

	if (file < 0)
		return file;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
		return sp_fail(e, errno, "cannot create a socket pair: %s", strerror(errno));
	cleanup_close int ours = fds[0], theirs = fds[1];
	int err;
	if (p->spec.isolation == SP_PLUGIN_INSIDE) {
		err = start_inside(theirs, file);
		if (err == 0) {
			(void)sp_steal_fd(&theirs);
			(void)sp_steal_fd(&file);
		}
	} else {
		p->worker = ++p->plugins->last_worker;
		err = sp_nursery_give_birth(p->plugins->nursery, p->worker, theirs, file,
					    p->spec.abi == SP_PLUGIN_CRUN);
	}
	if (err == 0)
		err = open_line(p, ours);
	if (err != 0)
		return sp_fail(e, -err, "it cannot be started: %s", strerror(-err));
	(void)sp_steal_fd(&ours);
	return 0;
}

static void start(struct sp_plugin *p)
{
	struct sp_error e;

	p->state = STARTING;
	p->state_due = uv_now(p->plugins->loop) + INIT_DEADLINE;
	if (give_birth(p, &e) != 0) {
		fail(p, e.text);
		p->state_due = uv_now(p->plugins->loop); /* there is nobody to wait for */
		arm(p);
		return;
	}
	sp_wire_begin(&p->line->out, SP_WIRE_CONFIG);
	sp_wire_put(&p->line->out, p->spec.abi);
	sp_wire_put_text(&p->line->out, p->spec.config);
	sp_wire_end(&p->line->out);
	flush(p->line);
	arm(p);
}

/* ---- time ---- */

static struct sp_plugin_question *first_due(const struct sp_plugin *p)
{
	struct sp_plugin_question *q, *first = p->current;

	sp_list_each (q, &p->later, link)
		if (first == NULL || q->due < first->due)
			first = q;
	return first;
}

static void on_late(struct sp_plugin *p, struct sp_plugin_question *q)
{
	char why[96];

	if (!q->later) {
		(void)snprintf(why, sizeof why, "no answer within %u ms", p->spec.timeout);
		fail(p, why);
		return;
	}
	/* It works; only this answer does not come. */
	struct sp_plugin_verdict verdict = {.answer = SALLYPORT_DENY, .err = EACCES, .fault = true};
	(void)strcpy(verdict.reason, "the plugin said that it would answer later, and did not");
	struct line *line = p->line;
	sp_wire_begin(&line->out, SP_WIRE_FORGET);
	sp_wire_put(&line->out, q->token);
	sp_wire_end(&line->out);
	flush(line);
	answer(q, &verdict);
	arm(p);
}

static void on_time(uv_timer_t *timer)
{
	struct sp_plugin *p = timer->data;
	const uint64_t now = uv_now(p->plugins->loop);
	struct sp_plugin_question *q;

	switch (p->state) {
	case STARTING:
		if (p->state_due <= now)
			fail(p, "its init did not return in 5 s");
		break;
	case ENDING:
		if (p->state_due <= now) {
			if (p->failure[0] == '\0')
				fail(p, "its process ended");
			ended(p);
		}
		break;
	case RESTING:
		if (p->state_due <= now)
			start(p);
		break;
	case IDLE:
	case BUSY:
		q = first_due(p);
		if (q != NULL && q->due <= now)
			on_late(p, q);
		break;
	case DEAD:
		return;
	}
	arm(p);
}

static void arm(struct sp_plugin *p)
{
	const uint64_t now = uv_now(p->plugins->loop);
	uint64_t due = p->state_due;

	if (p->state == DEAD) {
		(void)uv_timer_stop(&p->timer);
		return;
	}
	if (can_be_told(p)) {
		const struct sp_plugin_question *q = first_due(p);

		if (q == NULL) {
			(void)uv_timer_stop(&p->timer);
			return;
		}
		due = q->due;
	}
	(void)uv_timer_start(&p->timer, on_time, due > now ? due - now : 0, 0);
}

/* ---- asking ---- */

/* One at a time, so that it is known who fell victim to a failure, and nobody else does. */
static void next(struct sp_plugin *p)
{
	if (p->state == IDLE && !sp_list_empty(&p->waiting)) {
		struct sp_plugin_question *q = sp_container_of(p->waiting.next, struct sp_plugin_question, link);
		struct line *line = p->line;

		sp_list_del(&q->link);
		p->current = q;
		p->state = BUSY;
		uv_update_time(p->plugins->loop);
		q->due = uv_now(p->plugins->loop) + p->spec.timeout;
		if (line->out.size == 0) {
			/* As it is: an argv may be megabytes. */
			free(line->out.data);
			line->out = q->message;
			q->message = (struct sp_wire_out){0};
		} else {
			sp_wire_append(&line->out, &q->message);
		}
		flush(line);
	}
	arm(p);
}

static int enqueue(struct sp_plugin *p, struct sp_plugin_question *q, struct sp_plugin_verdict *verdict)
{
	if (q->message.failed || p->state == DEAD || p->state == RESTING) {
		refuse_for(p, verdict);
		if (q->message.failed)
			(void)strcpy(verdict->reason, "no memory to ask the plugin");
		free(q->message.data);
		q->message = (struct sp_wire_out){0};
		return 1;
	}
	q->plugin = p;
	q->later = false;
	sp_list_init(&q->link);
	sp_list_add(&p->waiting, &q->link);
	next(p);
	return 0;
}

int sp_plugin_ask_exec(struct sp_plugin_user *user, struct sp_plugin_question *q, const struct sp_plugin_exec *exec,
		       struct sp_plugin_verdict *verdict)
{
	struct sp_plugin *p = user->plugin;

	q->plugin = NULL;
	if (can_be_told(p) && (p->wants & SP_WANTS_EXEC) == 0) {
		*verdict = (struct sp_plugin_verdict){.answer = SALLYPORT_NO_OPINION};
		return 1;
	}
	q->call = false;
	q->token = ++p->last_token;
	q->message = (struct sp_wire_out){0};
	sp_plugin_put_exec(&q->message, exec, q->token, p->lost);
	return enqueue(p, q, verdict);
}

int sp_plugin_ask_call(struct sp_plugin_user *user, struct sp_plugin_question *q, const struct seccomp_notif *call,
		       struct sp_plugin_verdict *verdict)
{
	q->plugin = NULL;
	q->call = true;
	q->token = call->id;
	q->message = (struct sp_wire_out){0};
	sp_wire_begin(&q->message, SP_WIRE_CALL);
	sp_wire_put(&q->message, user->job.job);
	sp_wire_put_bytes(&q->message, (const char *)call, sizeof *call);
	sp_wire_end(&q->message);
	return enqueue(user->plugin, q, verdict);
}

/* Its answer may be on its way: one that is with the plugin is waited for all the same, by nobody. */
static void nobody(const struct sp_plugin_verdict *verdict, struct sp_plugin_question *q)
{
	(void)verdict;
	free(q);
}

void sp_plugin_forget(struct sp_plugin_question *q)
{
	struct sp_plugin *p = q->plugin;

	if (p == NULL)
		return;
	if (p->current != q && !q->later) {
		detach(q);
		return;
	}
	struct sp_plugin_question *stand_in = calloc(1, sizeof *stand_in);
	const bool current = p->current == q;
	const struct sp_plugin_question was = *q;
	detach(q);
	if (stand_in == NULL) {
		fail(p, "no memory");
		return;
	}
	*stand_in = was;
	stand_in->message = (struct sp_wire_out){0};
	stand_in->done = nobody;
	sp_list_init(&stand_in->link);
	if (current)
		p->current = stand_in;
	else
		sp_list_add(&p->later, &stand_in->link);
}

/* ---- what has happened ---- */

static bool may_tell(struct sp_plugin *p, unsigned what)
{
	if (!can_be_told(p) || (p->wants & what) == 0)
		return false;
	if (backlog(p->line) <= BACKLOG_MAX)
		return true;
	p->lost++;
	return false;
}

void sp_plugin_tell_fork(struct sp_plugin_user *user, const struct sallyport_fork *event)
{
	if (!may_tell(user->plugin, SP_WANTS_FORK))
		return;
	sp_plugin_put_fork(&user->plugin->line->out, event);
	flush(user->plugin->line);
}

void sp_plugin_tell_exit(struct sp_plugin_user *user, const struct sallyport_exit *event)
{
	if (!may_tell(user->plugin, SP_WANTS_EXIT))
		return;
	sp_plugin_put_exit(&user->plugin->line->out, event);
	flush(user->plugin->line);
}

/* ---- who uses it ---- */

static bool is_same(const struct sp_plugin_spec *a, const struct sp_plugin_spec *b)
{
	return strcmp(a->path, b->path) == 0 && strcmp(a->config, b->config) == 0 && a->timeout == b->timeout &&
	       a->isolation == b->isolation && a->abi == b->abi;
}

static void free_spec(struct sp_plugin_spec *spec)
{
	free(spec->path);
	free(spec->rule);
	free((char *)spec->config);
}

static struct sp_plugin *new_plugin(struct sp_plugins *plugins, const struct sp_plugin_spec *spec)
{
	struct sp_plugin *p = calloc(1, sizeof *p);

	if (p == NULL)
		return NULL;
	p->spec = *spec;
	p->spec.path = strdup(spec->path);
	p->spec.rule = strdup(spec->rule);
	p->spec.config = strdup(spec->config);
	if (p->spec.path == NULL || p->spec.rule == NULL || p->spec.config == NULL) {
		free_spec(&p->spec);
		free(p);
		return NULL;
	}
	p->spec.name = p->spec.rule + (spec->name - spec->rule);
	p->plugins = plugins;
	sp_list_init(&p->users);
	sp_list_init(&p->waiting);
	sp_list_init(&p->later);
	sp_list_init(&p->link);
	sp_list_add(&plugins->list, &p->link);
	(void)uv_timer_init(plugins->loop, &p->timer);
	p->timer.data = p;
	return p;
}

int sp_plugin_join(struct sp_plugins *plugins, const struct sp_plugin_spec *spec, struct sp_plugin_user *user,
		   struct sp_error *e)
{
	struct sp_plugin *p, *found = NULL;

	if (spec->isolation == SP_PLUGIN_PROCESS) {
		int err = sp_plugins_prepare(plugins, e);
		if (err != 0)
			return err;
	}
	sp_list_each (p, &plugins->list, link)
		if (p->state != DEAD && is_same(&p->spec, spec))
			found = p;
	const bool new = found == NULL;
	if (new)
		found = new_plugin(plugins, spec);
	if (found == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	user->plugin = found;
	user->told = false;
	sp_list_init(&user->link);
	sp_list_add(&found->users, &user->link);
	if (new)
		start(found);
	else if (can_be_told(found))
		tell_job(user, SALLYPORT_JOB_BEGINS);
	return 0;
}

void sp_plugin_set_listener(struct sp_plugin_user *user, int listener)
{
	user->listener = listener;
	if (can_be_told(user->plugin) && user->plugin->spec.abi == SP_PLUGIN_CRUN)
		tell_job(user, SALLYPORT_JOB_BEGINS);
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct sp_plugin *p = handle->data;

	free_spec(&p->spec);
	free(p);
}

void sp_plugin_leave(struct sp_plugin_user *user)
{
	struct sp_plugin *p = user->plugin;

	if (p == NULL)
		return;
	user->plugin = NULL;
	sp_list_del(&user->link);
	if (user->told && can_be_told(p)) {
		user->plugin = p;
		tell_job(user, SALLYPORT_JOB_ENDS);
		user->plugin = NULL;
	}
	if (!sp_list_empty(&p->users))
		return;
	/* It reads to the end, and says goodbye to itself. */
	sp_list_del(&p->link);
	while (p->current != NULL)
		answer(p->current, &(const struct sp_plugin_verdict){0});
	refuse_list(&p->later, &(const struct sp_plugin_verdict){0});
	if (p->line != NULL) {
		struct line *line = sp_steal_ptr(p->line);

		line->plugin = NULL;
		(void)uv_poll_stop(&line->poll);
		(void)shutdown(line->fd, SHUT_WR);
		uv_close((uv_handle_t *)&line->poll, on_line_closed);
	}
	uv_close((uv_handle_t *)&p->timer, on_timer_closed);
}
