/* See talk.h. */
#include "talk.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

const char *sp_runtime_directory(struct sp_lab *lab)
{
	const uid_t user = geteuid() != 0 ? geteuid() : 65534;

	return lab->who == SP_WHO_ROOT && geteuid() == 0 ? "/run/sallyport" : sp_text(lab, "/tmp/sallyport-%u", user);
}

static const char *find_socket(struct sp_lab *lab, const char *place, pid_t supervisor)
{
	cleanup_directory DIR *directory = opendir(place);

	for (const struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
		cleanup_caller struct sp_caller caller = {.socket = -1};
		char path[PATH_MAX];

		(void)snprintf(path, sizeof path, "%s/%s", place, entry->d_name);
		if (strlen(entry->d_name) == 16 && sp_caller_open(&caller, path) == 0 &&
		    sp_caller_peer(&caller) == supervisor)
			return sp_text(lab, "%s", path);
	}
	return NULL;
}

const char *sp_await_socket(struct sp_lab *lab, const struct sp_child *child)
{
	const char *place = sp_runtime_directory(lab), *found;

	while ((found = find_socket(lab, place, child->pid)) == NULL) {
		cr_assert_lt(sp_deadline(0), child->deadline, "no socket");
		(void)poll(NULL, 0, 5);
	}
	return found;
}

const char *sp_job_of(const char *socket)
{
	return strrchr(socket, '/') + 1;
}

struct sp_child sp_start_ready(struct sp_lab *lab, const char *script)
{
	struct sp_child child = sp_start(lab, NULL, sp_supervised_argv(lab, sp_argv("sh", "-c", script)));

	cr_assert(sp_await_text(&child, "ready"), "%.2000s", child.err_buffer.data);
	return child;
}

struct sp_caller sp_call_up(const char *socket)
{
	const int64_t deadline = sp_deadline(60);
	struct sp_caller caller;
	int err;

	/* -EAGAIN: so many are before us. */
	while ((err = sp_caller_open(&caller, socket)) == -EAGAIN && sp_deadline(0) < deadline)
		continue;
	cr_assert_eq(err, 0, "%s", strerror(-err));
	caller.patience = 30000;
	return caller;
}

struct sp_reply sp_ask(struct sp_caller *caller, const char *method, json_t *parameters)
{
	struct sp_reply reply;
	int err = sp_caller_call(caller, method, parameters, &reply);

	cr_assert_eq(err, 0, "%s: %s", method, strerror(-err));
	cr_assert_null(reply.error, "%s: %s", method, reply.error);
	return reply;
}

struct sp_reply sp_ask_in_vain(struct sp_caller *caller, const char *method, json_t *parameters, const char *error)
{
	struct sp_reply reply;
	int err = sp_caller_call(caller, method, parameters, &reply);

	cr_assert_eq(err, 0, "%s: %s", method, strerror(-err));
	cr_assert_str_eq(reply.error != NULL ? reply.error : "no error", error, "%s", method);
	return reply;
}
