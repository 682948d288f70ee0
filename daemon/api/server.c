/* See server.h. Top down: connections come, bytes come, calls come, replies go, connections go. */
#include "api/server.h"

#include "api/peer.h"
#include "api/standard.h"
#include "framing.h"
#include "util/cleanup.h"
#include "util/list.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

enum { CONNECTIONS = 512, PER_USER = 64, PATIENCE = 10000 /* milliseconds */, BACKLOG = 1 << 20 };
/* In one turn of the loop, which has programs to serve. */
enum { ACCEPTS = 16, CALLS = 8 };
enum { UNREAD = 64 << 10 /* bytes: who leaves more than that unread is not served further */ };

struct sp_server {
	uv_loop_t *loop;
	struct sp_server_settings settings;
	struct sp_list listeners; /* struct listener.link */
	struct sp_list connections; /* struct connection.link; those that were quiet for the longest time come first */
	struct sp_list tables; /* struct table.link */
	struct sp_list interfaces; /* struct sp_interface.link */
	json_t *nothing; /* the parameters of a call that has none */
	uv_timer_t sweep; /* runs while there is a connection */
	uv_idle_t more; /* runs while there are messages that have been read and not served */
	bool closing;
	unsigned open_handles;
};

struct table {
	struct sp_list link;
	const struct sp_method *methods;
	size_t count;
	void *context;
};

struct listener {
	struct sp_list link;
	struct sp_server *server;
	uv_poll_t poll;
	int socket;
};

struct connection {
	struct sp_list link;
	struct sp_server *server;
	uv_poll_t poll;
	int socket;
	struct sp_peer peer;
	struct sp_frames in;
	char *out;
	size_t out_used, out_sent, out_capacity;
	struct sp_call *call; /* that has not been answered; NULL: none */
	uint64_t partial_since, unread_since; /* milliseconds of the loop; 0: nothing is */
	bool ended; /* nothing more comes from there */
	bool doomed; /* its socket is shut down, and its next event is its end */
};

struct sp_call {
	struct connection *connection;
	json_t *message;
	const json_t *parameters; /* never NULL */
	const char *method;
	struct sp_frame frame; /* its descriptors */
	bool more, oneway;
	void (*gone)(struct sp_call *call, void *data); /* NULL: not held */
	void *data;
};

static void on_connection(uv_poll_t *handle, int status, int events);
static void on_event(uv_poll_t *handle, int status, int events);
static void on_sweep(uv_timer_t *timer);
static void on_more(uv_idle_t *handle);
static void on_server_handle_closed(uv_handle_t *handle);
static void on_listener_closed(uv_handle_t *handle);
static void on_connection_closed(uv_handle_t *handle);
static void take_in(struct connection *c);
static void serve(struct connection *c);
static void begin_call(struct connection *c, struct sp_frame *frame);
static void dispatch(struct sp_call *call);
static void flush(struct connection *c);
static void arm(struct connection *c);
static void doom(struct connection *c);
static void drop(struct connection *c);

static size_t backlog(const struct connection *c)
{
	return c->out_used - c->out_sent;
}

/* --- the server --- */

static const struct sp_server_settings defaults = {
	.message_limit = SP_FRAME_MESSAGE,
	.backlog_limit = BACKLOG,
	.connections = CONNECTIONS,
	.connections_per_user = PER_USER,
	.patience = PATIENCE,
};

struct sp_server *sp_server_new(uv_loop_t *loop, const struct sp_server_settings *settings)
{
	struct sp_server *s = calloc(1, sizeof *s);

	if (s == NULL)
		return NULL;
	s->loop = loop;
	s->settings = *settings;
	s->nothing = json_object();
#define OR_DEFAULT(field) s->settings.field = settings->field > 0 ? settings->field : defaults.field
	OR_DEFAULT(message_limit);
	OR_DEFAULT(backlog_limit);
	OR_DEFAULT(connections);
	OR_DEFAULT(connections_per_user);
	OR_DEFAULT(patience);
#undef OR_DEFAULT
	sp_list_init(&s->listeners);
	sp_list_init(&s->connections);
	sp_list_init(&s->tables);
	sp_list_init(&s->interfaces);
	(void)uv_timer_init(loop, &s->sweep);
	(void)uv_idle_init(loop, &s->more);
	s->sweep.data = s->more.data = s;
	uv_unref((uv_handle_t *)&s->sweep);
	uv_unref((uv_handle_t *)&s->more);
	s->open_handles = 2;
	if (s->nothing != NULL && sp_standard_add(s) == 0)
		return s;
	sp_server_close(s);
	return NULL;
}

int sp_server_add(struct sp_server *s, const struct sp_method *methods, size_t count, void *context)
{
	struct table *table = calloc(1, sizeof *table);

	if (table == NULL)
		return -ENOMEM;
	*table = (struct table){.methods = methods, .count = count, .context = context};
	sp_list_init(&table->link);
	sp_list_add(&s->tables, &table->link);
	return 0;
}

int sp_server_describe(struct sp_server *s, const char *name, const char *text)
{
	struct sp_interface *interface = calloc(1, sizeof *interface);

	if (interface == NULL)
		return -ENOMEM;
	interface->name = name;
	interface->text = text;
	sp_list_init(&interface->link);
	sp_list_add(&s->interfaces, &interface->link);
	return 0;
}

uv_loop_t *sp_server_loop(const struct sp_server *s)
{
	return s->loop;
}

const struct sp_list *sp_server_interfaces(const struct sp_server *s)
{
	return &s->interfaces;
}

void sp_server_serve(struct sp_server *s)
{
	struct listener *listener;
	struct connection *c, *next;

	sp_list_each (listener, &s->listeners, link)
		on_connection(&listener->poll, 0, UV_READABLE);
	sp_list_each_safe (c, next, &s->connections, link)
		take_in(c);
}

void sp_server_close(struct sp_server *s)
{
	struct listener *listener, *next_listener;
	struct connection *c, *next;

	s->closing = true;
	sp_list_each_safe (listener, next_listener, &s->listeners, link) {
		sp_list_del(&listener->link);
		uv_close((uv_handle_t *)&listener->poll, on_listener_closed);
	}
	sp_list_each_safe (c, next, &s->connections, link)
		drop(c);
	uv_close((uv_handle_t *)&s->sweep, on_server_handle_closed);
	uv_close((uv_handle_t *)&s->more, on_server_handle_closed);
}

static void free_server(struct sp_server *s)
{
	struct table *table, *next_table;
	struct sp_interface *interface, *next;

	sp_list_each_safe (table, next_table, &s->tables, link)
		free(table);
	sp_list_each_safe (interface, next, &s->interfaces, link)
		free(interface);
	json_decref(s->nothing);
	free(s);
}

static void handle_closed(struct sp_server *s)
{
	if (--s->open_handles == 0)
		free_server(s);
}

static void on_server_handle_closed(uv_handle_t *handle)
{
	handle_closed(handle->data);
}

/* --- connections come --- */

int sp_server_listen(struct sp_server *s, int fd)
{
	cleanup_close int socket = fd;
	cleanup_free struct listener *listener = calloc(1, sizeof *listener);

	if (listener == NULL)
		return -ENOMEM;
	int err = uv_poll_init(s->loop, &listener->poll, socket);
	if (err != 0)
		return err;
	listener->socket = sp_steal_fd(&socket);
	listener->server = s;
	listener->poll.data = listener;
	sp_list_init(&listener->link);
	sp_list_add(&s->listeners, &listener->link);
	s->open_handles++;
	(void)uv_poll_start(&listener->poll, UV_READABLE, on_connection);
	uv_unref((uv_handle_t *)&listener->poll);
	(void)sp_steal_ptr(listener);
	return 0;
}

static void on_listener_closed(uv_handle_t *handle)
{
	struct listener *listener = handle->data;
	struct sp_server *s = listener->server;

	(void)close(listener->socket);
	free(listener);
	handle_closed(s);
}

static bool is_welcome(const struct sp_server *s, const struct sp_peer *peer)
{
	const bool welcome = s->settings.welcome != NULL ? s->settings.welcome(peer, s->settings.context)
							 : peer->uid == geteuid() || peer->uid == 0;

	/* A process of a job that has connected, and died, was not found among the job's; its parent may have the socket. */
	return welcome && sp_peer_is_alive(peer);
}

/* Makes room for one more of that user by closing the one of its connections that was quiet for the longest time. */
static bool make_room(struct sp_server *s, uid_t uid)
{
	struct connection *c, *quiet = NULL;
	unsigned of_user = 0, of_users = 0;

	sp_list_each (c, &s->connections, link) {
		of_users += c->peer.uid != 0;
		if (c->peer.uid != uid)
			continue;
		of_user++;
		if (quiet == NULL && c->call == NULL)
			quiet = c;
	}
	if (of_user < s->settings.connections_per_user && (uid == 0 || of_users < s->settings.connections))
		return true;
	if (quiet != NULL)
		drop(quiet);
	return quiet != NULL;
}

int sp_server_adopt(struct sp_server *s, int fd)
{
	cleanup_close int socket = fd;
	sp_cleanup(sp_peer_release) struct sp_peer peer;

	int err = sp_peer_read(&peer, socket);
	if (err != 0)
		return err;
	if (!is_welcome(s, &peer))
		return -EPERM;
	if (!make_room(s, peer.uid))
		return -EUSERS;
	cleanup_free struct connection *c = calloc(1, sizeof *c);
	if (c == NULL)
		return -ENOMEM;
	err = uv_poll_init(s->loop, &c->poll, socket);
	if (err != 0)
		return err;
	c->server = s;
	c->socket = sp_steal_fd(&socket);
	c->peer = peer;
	peer = (struct sp_peer){.pidfd = -1};
	c->poll.data = c;
	sp_frames_init(&c->in, s->settings.message_limit, s->settings.fds);
	sp_list_init(&c->link);
	sp_list_add(&s->connections, &c->link);
	s->open_handles++;
	if (!uv_is_active((uv_handle_t *)&s->sweep))
		(void)uv_timer_start(&s->sweep, on_sweep, s->settings.patience / 4, s->settings.patience / 4);
	arm(c);
	uv_unref((uv_handle_t *)&c->poll);
	(void)sp_steal_ptr(c);
	return 0;
}

static void on_connection(uv_poll_t *handle, int status, int events)
{
	struct listener *listener = handle->data;
	struct sp_server *s = listener->server;

	(void)events;
	for (int i = 0; status == 0 && i < ACCEPTS; i++) {
		int socket = accept4(listener->socket, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (socket >= 0) {
			(void)sp_server_adopt(s, socket);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			/* It would be announced again and again. Somebody will go; then it is looked at again. */
			(void)uv_poll_stop(handle);
			if (!uv_is_active((uv_handle_t *)&s->sweep))
				(void)uv_timer_start(&s->sweep, on_sweep, s->settings.patience / 4,
						     s->settings.patience / 4);
		}
		return;
	}
}

/* --- bytes come --- */

/* May its next call be served? */
static bool is_ready(const struct connection *c)
{
	return !c->doomed && c->call == NULL && backlog(c) < UNREAD;
}

static void on_event(uv_poll_t *handle, int status, int events)
{
	struct connection *c = handle->data;

	if (status != 0 || c->doomed || (c->call != NULL && (events & UV_DISCONNECT) != 0)) {
		drop(c);
		return;
	}
	if ((events & UV_WRITABLE) != 0)
		flush(c);
	if ((events & (UV_READABLE | UV_DISCONNECT)) != 0)
		take_in(c);
	else
		serve(c);
}

/* Reads once, and serves what is whole then. */
static void take_in(struct connection *c)
{
	if (is_ready(c) && !c->ended && !sp_frames_waiting(&c->in)) {
		const ssize_t size = sp_frames_read(&c->in, c->socket);

		c->ended = size == 0;
		if (size < 0 && size != -EAGAIN && size != -EINTR)
			doom(c);
	}
	serve(c);
}

static void serve(struct connection *c)
{
	struct sp_frame frame;

	for (int i = 0; i < CALLS && is_ready(c) && sp_frames_take(&c->in, &frame); i++)
		begin_call(c, &frame);
	const bool partial = sp_frames_partial(&c->in);
	if (!partial)
		c->partial_since = 0;
	else if (c->partial_since == 0)
		c->partial_since = uv_now(c->server->loop);
	arm(c);
}

static void on_more(uv_idle_t *handle)
{
	struct sp_server *s = handle->data;
	struct connection *c, *next;

	(void)uv_idle_stop(handle);
	sp_list_each_safe (c, next, &s->connections, link)
		if (is_ready(c) && sp_frames_waiting(&c->in))
			serve(c);
}

/* What is waited for next. */
static void arm(struct connection *c)
{
	const bool waiting = sp_frames_waiting(&c->in);
	int events = 0;

	if (uv_is_closing((uv_handle_t *)&c->poll))
		return;
	if (c->ended && !waiting && c->call == NULL && backlog(c) == 0)
		doom(c);
	if (backlog(c) > 0)
		events |= UV_WRITABLE;
	if (c->doomed || (is_ready(c) && !c->ended && !waiting))
		events |= UV_READABLE;
	if (c->doomed || (c->call != NULL && !c->ended))
		events |= UV_DISCONNECT;
	/* Nothing: a hang-up is told all the same. */
	(void)uv_poll_start(&c->poll, events != 0 ? events : UV_PRIORITIZED, on_event);
	if (is_ready(c) && waiting)
		(void)uv_idle_start(&c->server->more, on_more);
}

static void on_sweep(uv_timer_t *timer)
{
	struct sp_server *s = timer->data;
	struct listener *listener;
	struct connection *c, *next;
	const uint64_t now = uv_now(s->loop), patience = s->settings.patience;

	sp_list_each_safe (c, next, &s->connections, link)
		if ((c->partial_since != 0 && now - c->partial_since >= patience) ||
		    (c->unread_since != 0 && now - c->unread_since >= patience))
			drop(c);
	sp_list_each (listener, &s->listeners, link)
		(void)uv_poll_start(&listener->poll, UV_READABLE, on_connection);
	if (sp_list_empty(&s->connections))
		(void)uv_timer_stop(timer);
}

/* --- calls come --- */

static void free_call(struct sp_call *call)
{
	sp_frame_close_fds(&call->frame);
	json_decref(call->message);
	free(call);
}

/* A flag of the message: absent is false. */
static bool read_flag(const json_t *message, const char *name, bool *flag)
{
	const json_t *value = json_object_get(message, name);

	*flag = json_is_true(value);
	return value == NULL || json_is_boolean(value);
}

/* What is not a call ends the connection: there is no telling what else is not as it should be. */
static void begin_call(struct connection *c, struct sp_frame *frame)
{
	struct sp_call *call = calloc(1, sizeof *call);
	bool upgrade = false;

	if (call == NULL) {
		sp_frame_close_fds(frame);
		doom(c);
		return;
	}
	call->connection = c;
	call->frame = *frame;
	call->message = sp_message_parse(frame->text, frame->size);
	call->method = json_string_value(json_object_get(call->message, "method"));
	call->parameters = json_object_get(call->message, "parameters");
	if (call->method == NULL || !read_flag(call->message, "more", &call->more) ||
	    !read_flag(call->message, "oneway", &call->oneway) || !read_flag(call->message, "upgrade", &upgrade) ||
	    upgrade) {
		free_call(call);
		doom(c);
		return;
	}
	c->call = call;
	sp_list_del(&c->link); /* the latest */
	sp_list_add(&c->server->connections, &c->link);
	dispatch(call);
}

static const struct sp_method *find_method(const struct sp_server *s, const char *name, void **context)
{
	const struct table *table;

	sp_list_each (table, &s->tables, link) {
		for (size_t i = 0; i < table->count; i++) {
			if (strcmp(table->methods[i].name, name) != 0)
				continue;
			*context = table->context;
			return &table->methods[i];
		}
	}
	return NULL;
}

static void fail_with(struct sp_call *call, const char *error, const char *name, const char *value)
{
	sp_call_fail(call, error, name != NULL ? json_pack("{ss}", name, value) : NULL);
}

/* Is it the interface, the method, or only this server that does not have it? */
static void fail_unknown(struct sp_call *call)
{
	const char *dot = strrchr(call->method, '.');
	const size_t length = dot != NULL ? (size_t)(dot - call->method) : strlen(call->method);
	const struct sp_interface *interface;
	cleanup_free char *name = strndup(call->method, length), *declaration = NULL;

	sp_list_each (interface, &call->connection->server->interfaces, link) {
		if (dot == NULL || name == NULL || strcmp(interface->name, name) != 0)
			continue;
		if (asprintf(&declaration, "\nmethod %s(", dot + 1) < 0)
			declaration = NULL;
		if (declaration != NULL && strstr(interface->text, declaration) != NULL)
			fail_with(call, SP_METHOD_NOT_IMPLEMENTED, "method", call->method);
		else
			fail_with(call, SP_METHOD_NOT_FOUND, "method", call->method);
		return;
	}
	fail_with(call, SP_INTERFACE_NOT_FOUND, "interface", name != NULL ? name : "");
}

static bool is_standard(const char *method)
{
	return strncmp(method, SP_STANDARD_INTERFACE ".", strlen(SP_STANDARD_INTERFACE ".")) == 0;
}

static void dispatch(struct sp_call *call)
{
	struct connection *c = call->connection;
	void *context = NULL;
	const struct sp_method *method = find_method(c->server, call->method, &context);

	if (call->parameters == NULL || json_is_null(call->parameters))
		call->parameters = c->server->nothing;
	if (method == NULL) {
		fail_unknown(call);
	} else if (!json_is_object(call->parameters)) {
		fail_with(call, SP_INVALID_PARAMETER, "parameter", "parameters");
	} else if ((method->flags & SP_METHOD_STREAM) != 0 && !call->more) {
		fail_with(call, SP_EXPECTED_MORE, NULL, NULL);
	} else if (is_standard(call->method) || sp_call_may(call, NULL)) {
		if ((method->flags & SP_METHOD_FDS) == 0)
			sp_frame_close_fds(&call->frame);
		method->function(call, context);
	}
	if (c->call == call && call->gone == NULL)
		fail_with(call, SP_METHOD_NOT_IMPLEMENTED, "method", call->method);
}

const char *sp_call_method(const struct sp_call *call)
{
	return call->method;
}

const json_t *sp_call_parameters(const struct sp_call *call)
{
	return call->parameters;
}

const struct sp_peer *sp_call_peer(const struct sp_call *call)
{
	return &call->connection->peer;
}

bool sp_call_wants_more(const struct sp_call *call)
{
	return call->more;
}

int sp_call_take_fd(struct sp_call *call, unsigned number)
{
	return number < call->frame.fd_count ? sp_steal_fd(&call->frame.fds[number]) : -1;
}

bool sp_call_would_may(const struct sp_call *call, const struct sp_job *job)
{
	const struct sp_server_settings *settings = &call->connection->server->settings;

	return settings->may == NULL || settings->may(&call->connection->peer, call->method, job, settings->context);
}

bool sp_call_may(struct sp_call *call, const struct sp_job *job)
{
	const struct connection *c = call->connection;
	const struct sp_server_settings *settings = &c->server->settings;
	const bool may = sp_call_would_may(call, job);

	if (!may && settings->denied != NULL)
		settings->denied(&c->peer, call->method, job, settings->context);
	if (!may)
		fail_with(call, SP_PERMISSION_DENIED, NULL, NULL);
	return may;
}

/* --- parameters --- */

static bool is_array_of_strings(const json_t *value)
{
	size_t i;
	const json_t *item;

	if (!json_is_array(value))
		return false;
	json_array_foreach(value, i, item)
	{
		if (!json_is_string(item))
			return false;
	}
	return true;
}

static bool read_parameter(const struct sp_parameter *p, const json_t *value, void *into)
{
	void *place = (char *)into + p->offset;

	if (value == NULL || json_is_null(value))
		return !p->required;
	switch (p->type) {
	case SP_PARAMETER_TEXT:
		*(const char **)place = json_string_value(value);
		return json_is_string(value);
	case SP_PARAMETER_NUMBER:
		*(int64_t *)place = json_integer_value(value);
		return json_is_integer(value);
	case SP_PARAMETER_FLAG:
		*(bool *)place = json_is_true(value);
		return json_is_boolean(value);
	case SP_PARAMETER_TEXTS:
		*(const json_t **)place = value;
		return is_array_of_strings(value);
	}
	return false;
}

static bool is_in_table(const struct sp_parameter *table, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(table[i].name, name) == 0)
			return true;
	return false;
}

bool sp_call_read(struct sp_call *call, const struct sp_parameter *table, size_t count, void *into)
{
	const char *name;
	json_t *value;

	for (size_t i = 0; i < count; i++) {
		if (read_parameter(&table[i], json_object_get(call->parameters, table[i].name), into))
			continue;
		fail_with(call, SP_INVALID_PARAMETER, "parameter", table[i].name);
		return false;
	}
	json_object_foreach((json_t *)call->parameters, name, value)
	{
		if (is_in_table(table, count, name))
			continue;
		fail_with(call, SP_INVALID_PARAMETER, "parameter", name);
		return false;
	}
	return true;
}

/* --- replies go --- */

static void flush(struct connection *c)
{
	while (backlog(c) > 0) {
		const ssize_t sent = send(c->socket, c->out + c->out_sent, backlog(c), MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno == EAGAIN)
			break;
		if (sent < 0) {
			doom(c);
			return;
		}
		c->out_sent += (size_t)sent;
		c->unread_since = 0;
	}
	if (backlog(c) > 0) {
		if (c->unread_since == 0)
			c->unread_since = uv_now(c->server->loop);
		return;
	}
	free(c->out);
	c->out = NULL;
	c->out_used = c->out_sent = c->out_capacity = 0;
}

static void append(struct connection *c, const char *bytes, size_t size)
{
	if (c->out_sent > 0) {
		memmove(c->out, c->out + c->out_sent, backlog(c));
		c->out_used -= c->out_sent;
		c->out_sent = 0;
	}
	if (c->out_used + size > c->out_capacity) {
		const size_t capacity = c->out_used + size + c->out_used / 2;
		char *out = realloc(c->out, capacity);

		if (out == NULL) {
			doom(c);
			return;
		}
		c->out = out;
		c->out_capacity = capacity;
	}
	memcpy(c->out + c->out_used, bytes, size);
	c->out_used += size;
}

/* Takes the object over. */
static void send_reply(struct sp_call *call, json_t *reply)
{
	struct connection *c = call->connection;
	size_t size;

	if (!call->oneway && !c->doomed) {
		cleanup_free char *text = reply != NULL ? sp_message_print(reply, &size) : NULL;

		/* Who does not read is not written to for ever. */
		if (text == NULL || backlog(c) > c->server->settings.backlog_limit)
			doom(c);
		else
			append(c, text, size);
		flush(c);
	}
	json_decref(reply);
}

static json_t *make_reply(json_t *parameters)
{
	return json_pack("{so}", "parameters", parameters != NULL ? parameters : json_object());
}

static void finish(struct sp_call *call)
{
	struct connection *c = call->connection;

	c->call = NULL;
	free_call(call);
	arm(c);
}

void sp_call_reply(struct sp_call *call, json_t *parameters)
{
	send_reply(call, make_reply(parameters));
	finish(call);
}

void sp_call_continue(struct sp_call *call, json_t *parameters)
{
	json_t *reply = make_reply(parameters);

	(void)json_object_set_new(reply, "continues", json_true());
	send_reply(call, reply);
	arm(call->connection);
}

void sp_call_fail(struct sp_call *call, const char *error, json_t *parameters)
{
	json_t *reply = make_reply(parameters);

	(void)json_object_set_new(reply, "error", json_string(error));
	send_reply(call, reply);
	finish(call);
}

void sp_call_hold(struct sp_call *call, void (*gone)(struct sp_call *call, void *data), void *data)
{
	call->gone = gone;
	call->data = data;
}

size_t sp_call_backlog(const struct sp_call *call)
{
	return backlog(call->connection);
}

/* --- connections go --- */

/* Not at once: somebody further up may be about to use it. Its socket is shut down, which the loop will tell. */
static void doom(struct connection *c)
{
	if (c->doomed)
		return;
	c->doomed = true;
	(void)shutdown(c->socket, SHUT_RDWR);
}

static void drop(struct connection *c)
{
	struct sp_call *call = c->call;

	if (uv_is_closing((uv_handle_t *)&c->poll))
		return;
	sp_list_del(&c->link);
	uv_close((uv_handle_t *)&c->poll, on_connection_closed);
	c->doomed = true;
	c->call = NULL;
	if (call == NULL)
		return;
	if (call->gone != NULL)
		call->gone(call, call->data);
	free_call(call);
}

static void on_connection_closed(uv_handle_t *handle)
{
	struct connection *c = handle->data;
	struct sp_server *s = c->server;

	(void)close(c->socket);
	sp_frames_release(&c->in);
	sp_peer_release(&c->peer);
	free(c->out);
	free(c);
	handle_closed(s);
}
