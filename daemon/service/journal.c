/* See journal.h. */
#include "service/journal.h"

#include "util/printable.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

static bool has_journal(void)
{
	return getenv("JOURNAL_STREAM") != NULL;
}

void sp_journal_denied(const struct sp_peer *peer, const char *what, uint64_t job)
{
	if (has_journal()) {
		(void)sd_journal_send("MESSAGE=denied: %.200s, to user %u (process %d)", what, peer->uid, peer->pid,
				      "PRIORITY=%d", LOG_WARNING, "SALLYPORT_EVENT=denied", "SALLYPORT_UID=%u",
				      peer->uid, "SALLYPORT_PID=%d", peer->pid, "SALLYPORT_JOB=%016" PRIx64, job, NULL);
		return;
	}
	(void)fprintf(stderr, "sallyportd: denied: ");
	sp_print_safe(stderr, what, strnlen(what, 200));
	(void)fprintf(stderr, ", to user %u (process %d)", peer->uid, peer->pid);
	(void)fprintf(stderr, job != 0 ? ", job %016" PRIx64 "\n" : "\n", job);
}

void sp_journal_job(const char *what, uint64_t job, uid_t uid, const char *policy)
{
	if (has_journal())
		(void)sd_journal_send("MESSAGE=job %016" PRIx64 " of user %u %s (%.100s)", job, uid, what, policy,
				      "PRIORITY=%d", LOG_INFO, "SALLYPORT_EVENT=%s", what, "SALLYPORT_UID=%u", uid,
				      "SALLYPORT_POLICY=%.100s", policy, "SALLYPORT_JOB=%016" PRIx64, job, NULL);
	else
		(void)fprintf(stderr, "sallyportd: job %016" PRIx64 " of user %u %s\n", job, uid, what);
}
