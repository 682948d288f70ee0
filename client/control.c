/* See control.h. */
#include "control.h"

#include "util/cleanup.h"
#include "util/json.h"
#include "util/list.h"
#include "util/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

enum { APPEAR_AFTER = 50 /* milliseconds */, BACKLOG = 16, SHOWN_ARGV = 4 << 10 };

struct sp_control {
	struct sp_control_subject subject;
	uv_loop_t *loop;
	uv_timer_t appear;
	uv_poll_t listening;
	int socket, directory;
	char name[17];
	int64_t started; /* CLOCK_REALTIME, ns */
	struct sp_list clients; /* struct client.link */
	unsigned open_handles;
};

/* Somebody who asks. */
struct client {
	struct sp_list link;
	struct sp_control *control;
	uv_poll_t poll;
	int socket;
};

static void appear(uv_timer_t *timer);
static void on_connection(uv_poll_t *handle, int status, int events);

/* --- the directory --- */

static int directory_name(char *name, size_t size)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	int length;

	if (geteuid() == 0)
		length = snprintf(name, size, "/run/sallyport");
	else if (runtime != NULL && runtime[0] == '/')
		length = snprintf(name, size, "%s/sallyport", runtime);
	else
		length = snprintf(name, size, "/tmp/sallyport-%u", geteuid());
	return length > 0 && (size_t)length < size ? 0 : -ENAMETOOLONG;
}

int sp_control_directory(void)
{
	char name[4096];
	struct stat st;

	int err = directory_name(name, sizeof name);
	if (err != 0)
		return err;
	if (mkdir(name, 0700) != 0 && errno != EEXIST)
		return -errno;
	cleanup_close int directory = open(name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (directory < 0 || fstat(directory, &st) != 0)
		return -errno;
	if (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
		return -EPERM;
	return sp_steal_fd(&directory);
}

/* --- the job is there, and is over --- */

struct sp_control *sp_control_new(uv_loop_t *loop, const struct sp_control_subject *subject)
{
	struct sp_control *control = calloc(1, sizeof *control);
	struct timespec now;

	if (control == NULL)
		return NULL;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	control->subject = *subject;
	control->loop = loop;
	control->started = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	control->socket = control->directory = -1;
	sp_list_init(&control->clients);
	(void)snprintf(control->name, sizeof control->name, "%016" PRIx64, sp_job_id(subject->job));
	(void)uv_timer_init(loop, &control->appear);
	control->appear.data = control;
	control->open_handles = 1;
	(void)uv_timer_start(&control->appear, appear, APPEAR_AFTER, 0);
	/* The loop runs for the job, not for those who might ask about it. */
	uv_unref((uv_handle_t *)&control->appear);
	return control;
}

static void on_closed(uv_handle_t *handle)
{
	struct sp_control *control = handle->data;

	if (--control->open_handles > 0)
		return;
	sp_close_fd(&control->socket);
	sp_close_fd(&control->directory);
	free(control);
}

static void on_client_closed(uv_handle_t *handle)
{
	struct client *client = handle->data;

	(void)close(client->socket);
	free(client);
}

static void drop_client(struct client *client)
{
	sp_list_del(&client->link);
	uv_close((uv_handle_t *)&client->poll, on_client_closed);
}

static void tell(const struct client *client, const void *message, size_t size)
{
	(void)send(client->socket, message, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void sp_control_close(struct sp_control *control)
{
	struct client *client, *following;

	if (control->socket >= 0) {
		on_connection(&control->listening, 0, UV_READABLE); /* who came just now waits for the same */
		(void)unlinkat(control->directory, control->name, 0);
		uv_close((uv_handle_t *)&control->listening, on_closed);
	}
	sp_list_each_safe (client, following, &control->clients, link) {
		tell(client, &(char){SP_CONTROL_EMPTY}, 1);
		drop_client(client);
	}
	uv_close((uv_handle_t *)&control->appear, on_closed);
}

/* --- requests --- */

static int describe_argv(json_t *object, char *const *argv)
{
	char text[SHOWN_ARGV];
	size_t size = 0;

	for (; *argv != NULL && size + strlen(*argv) + 1 <= sizeof text; argv++)
		size = (size_t)(stpcpy(text + size, *argv) - text) + 1;
	return sp_json_set_strings(object, "command", text, size);
}

/* NULL: out of memory. */
static char *describe(const struct sp_control *control)
{
	const struct sp_control_subject *subject = &control->subject;
	json_t *object = json_object();
	char *text = NULL;

	if (sp_json_set_text(object, "job", control->name) == 0 &&
	    sp_json_set_number(object, "supervisor", getpid()) == 0 &&
	    sp_json_set_number(object, "started", control->started) == 0 &&
	    sp_json_set_text(object, "policy", subject->policy) == 0 &&
	    sp_json_set_number(object, "processes", (json_int_t)sp_job_counts(subject->job).alive) == 0 &&
	    describe_argv(object, subject->argv) == 0)
		text = json_dumps(object, JSON_COMPACT | JSON_ENSURE_ASCII);
	json_decref(object);
	return text;
}

static void show(const struct client *client)
{
	cleanup_free char *text = describe(client->control);

	if (text != NULL)
		tell(client, text, strlen(text));
}

static void on_request(uv_poll_t *handle, int status, int events)
{
	struct client *client = handle->data;
	char request;

	(void)events;
	ssize_t size = status == 0 ? recv(client->socket, &request, 1, MSG_DONTWAIT) : 0;
	if (size < 0 && errno == EAGAIN)
		return;
	if (size == 1 && request == SP_CONTROL_SHOW)
		show(client);
	else if (size == 1 && request == SP_CONTROL_KILL)
		sp_job_kill(client->control->subject.job);
	else
		drop_client(client);
}

static bool may_ask(int socket)
{
	struct ucred peer;
	socklen_t size = sizeof peer;

	return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
	       (peer.uid == geteuid() || peer.uid == 0);
}

/* False: nobody is waiting. */
static bool take_client(struct sp_control *control)
{
	cleanup_close int socket = accept4(control->socket, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (socket < 0 || !may_ask(socket))
		return socket >= 0;
	cleanup_free struct client *client = calloc(1, sizeof *client);
	if (client == NULL || uv_poll_init(control->loop, &client->poll, socket) != 0)
		return true;
	client->control = control;
	client->socket = sp_steal_fd(&socket);
	client->poll.data = client;
	sp_list_init(&client->link);
	sp_list_add(&control->clients, &client->link);
	(void)uv_poll_start(&client->poll, UV_READABLE, on_request);
	uv_unref((uv_handle_t *)&client->poll);
	(void)sp_steal_ptr(client);
	return true;
}

static void on_connection(uv_poll_t *handle, int status, int events)
{
	(void)events;
	while (status == 0 && take_client(handle->data))
		continue;
}

void sp_control_serve(struct sp_control *control)
{
	struct client *client, *following;

	if (control == NULL || control->socket < 0)
		return;
	on_connection(&control->listening, 0, UV_READABLE);
	sp_list_each_safe (client, following, &control->clients, link)
		on_request(&client->poll, 0, UV_READABLE);
}

/* The name is too long for a socket address where the directory's is; through its fd it never is. Nobody may find
 * a socket that does not listen yet: it would be taken for what a dead supervisor has left. */
static int listen_at(int directory, const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char path[SP_PROC_NAME], hidden[32];
	cleanup_close int socket_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (socket_fd < 0)
		return -errno;
	(void)snprintf(hidden, sizeof hidden, ".%s", name);
	(void)snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", sp_proc_own_fd(path, directory), hidden);
	if (bind(socket_fd, (const struct sockaddr *)&address, sizeof address) != 0)
		return -errno;
	if (listen(socket_fd, BACKLOG) == 0 && renameat(directory, hidden, directory, name) == 0)
		return sp_steal_fd(&socket_fd);
	int err = -errno;
	(void)unlinkat(directory, hidden, 0);
	return err;
}

static void appear(uv_timer_t *timer)
{
	struct sp_control *control = timer->data;

	control->directory = sp_control_directory();
	cleanup_close int socket = control->directory >= 0 ? listen_at(control->directory, control->name) : -1;
	if (socket < 0)
		return;
	if (uv_poll_init(control->loop, &control->listening, socket) != 0) {
		(void)unlinkat(control->directory, control->name, 0);
		return;
	}
	control->socket = sp_steal_fd(&socket);
	control->listening.data = control;
	control->open_handles++;
	(void)uv_poll_start(&control->listening, UV_READABLE, on_connection);
	uv_unref((uv_handle_t *)&control->listening);
}
