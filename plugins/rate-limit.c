/* So many programs in a minute, below each process: a loop that starts programs without end is stopped, and what else the job does
 * goes on.
 *
 *     plugins: [{path: rate-limit.so, when: allowed, config: {per_minute: 300}}]
 *
 * An exec counts for its process and for each that it descends from, but for the job's first, which everything descends from. */
#include "sallyport-plugin.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { COUNTS = 4096 };

struct count {
	uint64_t job, process; /* 0: free */
	time_t minute; /* when it began */
	long execs;
};

struct limiter {
	long per_minute;
	struct count counts[COUNTS]; /* by hash; where two meet the newer one has it */
};

static int init(const char *config, const struct sallyport_host *host, void **self)
{
	json_t *settings = json_loads(config, 0, NULL);
	const long per_minute = (long)json_integer_value(json_object_get(settings, "per_minute"));
	struct limiter *limiter = calloc(1, sizeof *limiter);

	json_decref(settings);
	if (limiter == NULL || per_minute <= 0) {
		host->log(host, SALLYPORT_ERROR, "config wants {per_minute: 300}");
		free(limiter);
		return -EINVAL;
	}
	limiter->per_minute = per_minute;
	*self = limiter;
	return 0;
}

static void fini(void *self)
{
	free(self);
}

static struct count *place_of(struct limiter *limiter, uint64_t job, uint64_t process)
{
	return &limiter->counts[(job ^ process * 0x9e3779b97f4a7c15u) % COUNTS];
}

/* False: it is one too many. */
static bool count(struct limiter *limiter, uint64_t job, uint64_t process)
{
	struct count *c = place_of(limiter, job, process);
	struct timespec now;

	if (process == 1)
		return true;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	if (c->job != job || c->process != process || now.tv_sec - c->minute >= 60)
		*c = (struct count){.job = job, .process = process, .minute = now.tv_sec};
	return ++c->execs <= limiter->per_minute;
}

static void on_exec(void *self, const struct sallyport_exec *exec, struct sallyport_verdict *verdict)
{
	bool good = count(self, exec->job, exec->process);

	for (size_t i = 0; i < exec->ancestor_count; i++)
		good &= count(self, exec->job, exec->ancestors[i].process);
	if (good)
		return;
	verdict->answer = SALLYPORT_DENY;
	verdict->error = EAGAIN;
	(void)snprintf(verdict->reason, sizeof verdict->reason, "rate-limit: more than %ld programs in a minute",
		       ((const struct limiter *)self)->per_minute);
}

static void on_exit_of(void *self, const struct sallyport_exit *event)
{
	struct count *c = place_of(self, event->job, event->process);

	if (c->job == event->job && c->process == event->process)
		*c = (struct count){0};
}

SALLYPORT_PLUGIN(.init = init, .fini = fini, .on_exec = on_exec, .on_exit = on_exit_of);
