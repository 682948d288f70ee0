/* See supervisors.h. */
#include "supervisors.h"

#include "api/place.h"
#include "audit/query.h"
#include "client.h"
#include "util/cleanup.h"
#include "util/printable.h"
#include "util/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>

enum { EXIT_NO_JOB = 1, ANSWER_WITHIN = 5000 /* milliseconds */ };

void sp_supervisor_close(struct sp_supervisor *s)
{
	sp_caller_close(&s->caller);
}

/* --- connections --- */

static int open_at(struct sp_supervisor *s, const char *path)
{
	*s = (struct sp_supervisor){.caller = {.socket = -1}};
	int err = sp_caller_open(&s->caller, path);
	if (err != 0)
		return err;
	s->pid = sp_caller_peer(&s->caller);
	s->caller.patience = ANSWER_WITHIN;
	return 0;
}

int sp_service_open(struct sp_supervisor *s)
{
	const char *place = getenv("SALLYPORT_SOCKET");

	int err = open_at(s, place != NULL && place[0] != '\0' ? place : SP_SERVICE_SOCKET);
	s->service = err == 0;
	return err;
}

static bool is_id(const char *word)
{
	return strlen(word) == SP_JOB_ID - 1 && strspn(word, "0123456789abcdef") == SP_JOB_ID - 1;
}

/* To the embedded run of that name; false: there is none, and what a dead one has left is taken away. */
static bool open_embedded(struct sp_supervisor *s, int directory, const char *name)
{
	char prefix[SP_PROC_NAME];
	cleanup_free char *path = NULL;

	*s = (struct sp_supervisor){.caller = {.socket = -1}};
	if (asprintf(&path, "%s/%s", sp_proc_own_fd(prefix, directory), name) < 0) {
		path = NULL;
		return false;
	}
	int err = open_at(s, path);
	if (err == -ECONNREFUSED)
		(void)unlinkat(directory, name, 0);
	if (err == -EAGAIN)
		(void)fprintf(stderr, "sallyport: the supervisor of job %s does not answer\n", name);
	if (err == 0)
		(void)snprintf(s->job, sizeof s->job, "%s", name);
	return err == 0;
}

void sp_supervisors_each(bool (*visit)(struct sp_supervisor *supervisor, void *data), void *data)
{
	cleanup_supervisor struct sp_supervisor service;

	if (sp_service_open(&service) == 0 && !visit(&service, data))
		return;
	int fd = sp_place_open();
	if (fd < 0)
		return;
	cleanup_directory DIR *directory = fdopendir(fd);
	bool go_on = directory != NULL;
	for (const struct dirent *entry; go_on && (entry = readdir(directory)) != NULL;) {
		cleanup_supervisor struct sp_supervisor s = {.caller = {.socket = -1}};

		go_on = !is_id(entry->d_name) || !open_embedded(&s, fd, entry->d_name) || visit(&s, data);
	}
}

/* --- calls --- */

/* Who is inside a job is hung up on, and so is whoever asked a supervisor that just ended. */
static bool lives(const struct sp_supervisor *s)
{
	return s->pid > 0 && (kill(s->pid, 0) == 0 || errno == EPERM);
}

static void explain_error(const struct sp_reply *reply)
{
	const char *name = strrchr(reply->error, '.') != NULL ? strrchr(reply->error, '.') + 1 : reply->error;
	const char *key;
	const json_t *value;

	sp_print_safe(stderr, name, strlen(name));
	json_object_foreach((json_t *)reply->parameters, key, value)
	{
		if (!json_is_string(value))
			continue;
		(void)fputs(": ", stderr);
		sp_print_safe(stderr, json_string_value(value), json_string_length(value));
	}
}

int sp_explain(const char *command, const struct sp_supervisor *s, int err, const struct sp_reply *reply)
{
	(void)fprintf(stderr, "sallyport %s: ", command);
	if (err == 0 && reply->error != NULL)
		explain_error(reply);
	else if (err == -ETIMEDOUT)
		(void)fprintf(stderr, "supervisor %d does not answer", s->pid);
	else if (err == -ECONNRESET && lives(s))
		(void)fprintf(stderr, "supervisor %d does not answer who is in a job, or is another user", s->pid);
	else if (err == -ECONNRESET)
		(void)fprintf(stderr, "supervisor %d has ended", s->pid);
	else
		(void)fprintf(stderr, "supervisor %d: %s", s->pid, strerror(-err));
	(void)fputc('\n', stderr);
	return SP_EXIT_FAILURE;
}

int sp_job_call(const char *command, struct sp_supervisor *s, const char *method, const char *job,
		struct sp_reply *reply)
{
	int err = sp_caller_call(&s->caller, method, job != NULL ? json_pack("{ss}", "job", job) : NULL, reply);

	return err != 0 || reply->error != NULL ? sp_explain(command, s, err, reply) : 0;
}

/* --- all jobs --- */

struct collection {
	const char *command;
	json_t *jobs;
};

/* One that is stopped, as its job may be, does not answer: the list goes on without it. One that has just ended is no news. */
static bool collect(struct sp_supervisor *s, void *data)
{
	struct collection *c = data;
	cleanup_reply struct sp_reply reply;
	int err = sp_caller_call(&s->caller, "io.sallyport.List", NULL, &reply);

	if (err == 0 && reply.error == NULL)
		(void)json_array_extend(c->jobs, json_object_get(reply.parameters, "jobs"));
	else if (err != -ECONNRESET || lives(s))
		(void)sp_explain(c->command, s, err, &reply);
	return true;
}

static int compare_start(const void *a, const void *b)
{
	const json_int_t first = json_integer_value(json_object_get(*(json_t *const *)a, "started"));
	const json_int_t second = json_integer_value(json_object_get(*(json_t *const *)b, "started"));

	return (first > second) - (first < second);
}

static json_t *sort(json_t *jobs)
{
	const size_t count = json_array_size(jobs);
	cleanup_free json_t **each = reallocarray(NULL, count + 1, sizeof(json_t *));
	json_t *sorted = json_array();

	for (size_t i = 0; each != NULL && i < count; i++)
		each[i] = json_array_get(jobs, i);
	if (each != NULL)
		qsort(each, count, sizeof *each, compare_start);
	for (size_t i = 0; each != NULL && i < count; i++)
		(void)json_array_append(sorted, each[i]);
	json_decref(jobs);
	return sorted;
}

int sp_jobs_collect(const char *command, json_t **jobs)
{
	struct collection c = {.command = command, .jobs = json_array()};

	if (c.jobs == NULL)
		return -ENOMEM;
	sp_supervisors_each(collect, &c);
	*jobs = sort(c.jobs);
	return *jobs != NULL ? 0 : -ENOMEM;
}

/* --- one job --- */

static bool read_decimal(const char *word, int64_t *number)
{
	char *end;

	errno = 0;
	*number = strtoll(word, &end, 10);
	return errno == 0 && word[0] >= '0' && word[0] <= '9' && *end == '\0' && *number > 0;
}

static int take_key(void *data, const struct sp_log_job *job)
{
	*(uint64_t *)data = job->key;
	return 0;
}

/* As `sallyport log` counts. */
static bool number_to_id(const char *audit, int64_t number, char id[static SP_JOB_ID])
{
	struct sp_query *query = NULL;
	uint64_t key = 0;

	int err = sp_query_open(audit, NULL, NULL, &query, NULL);
	if (err == 0)
		err = sp_query_job(query, number, take_key, &key, NULL);
	sp_query_close(query);
	(void)snprintf(id, SP_JOB_ID, "%016" PRIx64, key);
	return err == 0;
}

static bool service_has(struct sp_supervisor *s, const char *id)
{
	cleanup_reply struct sp_reply reply;

	return sp_caller_call(&s->caller, "io.sallyport.Inspect", json_pack("{ss}", "job", id), &reply) == 0 &&
	       (reply.error == NULL || strcmp(reply.error, "io.sallyport.NoSuchJob") != 0);
}

static bool find_by_id(const char *id, struct sp_supervisor *s)
{
	cleanup_close int directory = sp_place_open();

	if (directory >= 0 && open_embedded(s, directory, id))
		return true;
	sp_supervisor_close(s);
	if (sp_service_open(s) == 0 && service_has(s, id))
		return true;
	sp_supervisor_close(s);
	return false;
}

struct search {
	int64_t pid;
	struct sp_supervisor *found;
};

static bool is_not_it(struct sp_supervisor *s, void *data)
{
	struct search *search = data;

	if (s->service || s->pid != search->pid)
		return true;
	*search->found = *s;
	s->caller.socket = -1; /* moved */
	return false;
}

static bool find_by_pid(int64_t pid, struct sp_supervisor *s)
{
	struct search search = {.pid = pid, .found = s};

	sp_supervisors_each(is_not_it, &search);
	return s->caller.socket >= 0;
}

/* An id first: 16 digits are never a number of either kind. */
static bool find(const char *audit, const char *word, struct sp_supervisor *s, char id[static SP_JOB_ID])
{
	int64_t number;

	if (is_id(word)) {
		(void)strcpy(id, word);
		return find_by_id(id, s);
	}
	if (!read_decimal(word, &number))
		return false;
	if (number_to_id(audit, number, id) && find_by_id(id, s))
		return true;
	if (!find_by_pid(number, s))
		return false;
	(void)strcpy(id, s->job);
	return true;
}

int sp_job_find(const char *command, const char *audit, const char *word, struct sp_supervisor *s,
		char id[static SP_JOB_ID])
{
	*s = (struct sp_supervisor){.caller = {.socket = -1}};
	if (find(audit, word, s, id))
		return 0;
	(void)fprintf(stderr, "sallyport %s: no job ", command);
	sp_print_argument(stderr, word, strlen(word));
	(void)fputs(" is running\n", stderr);
	return EXIT_NO_JOB;
}
