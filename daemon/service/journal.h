/* What the service says: to the journal with fields, and to standard error where there is none. */
#ifndef SP_SERVICE_JOURNAL_H
#define SP_SERVICE_JOURNAL_H

#include "api/server.h"

#include <stdint.h>

/* job 0: about none. */
void sp_journal_denied(const struct sp_peer *peer, const char *what, uint64_t job);
void sp_journal_job(const char *what, uint64_t job, uid_t uid, const char *policy);

#endif
