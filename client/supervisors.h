/* The supervisors that run, and the jobs they have: what all commands stand on that look at jobs or steer them. */
#ifndef SP_CLIENT_SUPERVISORS_H
#define SP_CLIENT_SUPERVISORS_H

#include "caller.h"

#include <stdbool.h>
#include <stdint.h>

enum { SP_JOB_ID = 17 };

struct sp_supervisor {
	struct sp_caller caller; /* connected */
	pid_t pid; /* 0: not known */
	bool service;
	char job[SP_JOB_ID]; /* of an embedded run: its only one. Otherwise empty */
};

void sp_supervisor_close(struct sp_supervisor *supervisor); /* one that is not connected is fine */
#define cleanup_supervisor sp_cleanup(sp_supervisor_close)

/* The service at its socket, or where $SALLYPORT_SOCKET says. 0 or -errno, without a word: there may be none. */
[[nodiscard]] int sp_service_open(struct sp_supervisor *supervisor);

/* Visits each until it returns false: the service, and the embedded runs of this user. What dead ones have left is taken away. */
void sp_supervisors_each(bool (*visit)(struct sp_supervisor *supervisor, void *data), void *data);

/* Calls visit with each job of each of them, oldest first, as List describes it. Those that do not answer within some seconds are
 * named on standard error, for that command. 0, or -ENOMEM. */
[[nodiscard]] int sp_jobs_collect(const char *command, json_t **jobs);

/* The job that a person names: by its id, its number in `sallyport log`, or the process id of its embedded supervisor. 0, and
 * *supervisor has it, id is its name; or an exit status: somebody was told why not. */
[[nodiscard]] int sp_job_find(const char *command, const char *audit, const char *word,
			      struct sp_supervisor *supervisor, char id[static SP_JOB_ID]);

/* One call about that job (NULL: about none), and its reply. 0; or an exit status: somebody was told why not. */
[[nodiscard]] int sp_job_call(const char *command, struct sp_supervisor *supervisor, const char *method,
			      const char *job, struct sp_reply *reply);

/* Why a call got no good answer: err as of the caller, or what the reply says. Writes a line, returns an exit status. */
int sp_explain(const char *command, const struct sp_supervisor *supervisor, int err, const struct sp_reply *reply);

#define cleanup_reply sp_cleanup(sp_reply_release)

#endif
