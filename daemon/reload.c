/* See reload.h. */
#include "reload.h"

#include "util/cleanup.h"

#include <stdlib.h>
#include <string.h>

enum { READ_WITHIN = 30000 /* milliseconds */ };

struct sp_reloader {
	struct sp_blocking *blocking;
	sp_take_policy *take;
	void *context;
	struct sp_list waiting; /* struct sp_reload.link */
	struct sp_request *request; /* NULL: nothing is being read */
	char *file;
};

/* What the thread is given, and gives back. */
struct reading {
	struct sp_reloader *reloader;
	char *file;
	struct sp_policy *policy;
	struct sp_error e;
};

struct sp_reloader *sp_reloader_new(struct sp_blocking *blocking, sp_take_policy *take, void *context)
{
	struct sp_reloader *r = calloc(1, sizeof *r);

	if (r == NULL)
		return NULL;
	r->blocking = blocking;
	r->take = take;
	r->context = context;
	sp_list_init(&r->waiting);
	return r;
}

static void answer(struct sp_reloader *r, const struct sp_error *e, bool all)
{
	struct sp_reload *reload, *next;
	struct sp_list answered;

	/* In a list of their own first: who is told may ask again, or withdraw another one. */
	sp_list_init(&answered);
	sp_list_each_safe (reload, next, &r->waiting, link) {
		if (!all && !reload->being_read)
			continue;
		sp_list_del(&reload->link);
		sp_list_add(&answered, &reload->link);
	}
	while (!sp_list_empty(&answered)) {
		reload = sp_container_of(answered.next, struct sp_reload, link);
		sp_list_del(&reload->link);
		reload->done(reload, e);
	}
}

void sp_reloader_close(struct sp_reloader *r)
{
	struct sp_error e;

	if (r == NULL)
		return;
	if (r->request != NULL)
		sp_blocking_cancel(r->request);
	(void)sp_fail(&e, ECANCELED, "the job has ended");
	answer(r, &e, true);
	free(r->file);
	free(r);
}

static void run(void *arg)
{
	struct reading *reading = arg;

	if (reading->file[0] == '(') /* no path: what sp_policy_file() says of the built-in one */
		(void)sp_fail(&reading->e, ENOTSUP, "the built-in policy has no file that could be read again");
	else if (sp_policy_load(reading->file, &reading->policy, &reading->e) == 0)
		reading->e.err = 0;
}

static void discard(void *arg)
{
	struct reading *reading = arg;

	sp_policy_free(reading->policy);
	free(reading->file);
	free(reading);
}

static void start(struct sp_reloader *r);

static void done(void *arg, bool in_time)
{
	struct reading *reading = arg;
	struct sp_reloader *r = reading->reloader;
	struct sp_error e = {0};

	r->request = NULL;
	if (!in_time) {
		(void)sp_fail(&e, ETIMEDOUT, "the file could not be read in %d seconds", READ_WITHIN / 1000);
	} else {
		e = reading->e;
		if (e.err == 0)
			(void)r->take(reading->policy, r->context, &e);
		discard(reading);
	}
	answer(r, &e, false);
	if (r->request == NULL && !sp_list_empty(&r->waiting))
		start(r);
}

static int begin(struct sp_reloader *r, struct sp_error *e)
{
	struct reading *reading = calloc(1, sizeof *reading);
	const struct sp_work work = {
		.run = run, .done = done, .discard = discard, .arg = reading, .deadline = READ_WITHIN};

	if (reading == NULL || (reading->file = strdup(r->file)) == NULL) {
		free(reading);
		return sp_fail(e, ENOMEM, "out of memory");
	}
	reading->reloader = r;
	r->request = sp_blocking_run(r->blocking, &work);
	if (r->request != NULL)
		return 0;
	discard(reading);
	return sp_fail(e, EAGAIN, "no thread could be had to read the file");
}

static void start(struct sp_reloader *r)
{
	struct sp_reload *reload;
	struct sp_error e;

	sp_list_each (reload, &r->waiting, link)
		reload->being_read = true;
	if (begin(r, &e) != 0)
		answer(r, &e, false);
}

void sp_reloader_ask(struct sp_reloader *r, const char *file, struct sp_reload *reload)
{
	char *copy = strdup(file);

	sp_list_init(&reload->link);
	sp_list_add(&r->waiting, &reload->link);
	reload->being_read = false;
	if (copy != NULL) {
		free(r->file);
		r->file = copy;
	}
	if (r->request == NULL)
		start(r);
}
