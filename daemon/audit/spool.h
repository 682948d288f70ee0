/* The spool of this process: a chain of segments, appended to by one thread (the engine's loop) and consumed by another
 * (the writer). */
#ifndef SP_AUDIT_SPOOL_H
#define SP_AUDIT_SPOOL_H

#include "audit/segment.h"
#include "audit/store.h"

struct sp_spool;

/* Opens the directory of the spools of a database, creating it 0700 where `create` is set. The fd, or -errno with a
 * sentence. */
[[nodiscard]] int sp_spool_directory(const char *database, bool create, struct sp_error *e);

/* Starts a spool with its first segment. The directory stays the caller's and must outlive the spool. 0, or -errno
 * with a sentence. */
[[nodiscard]] int sp_spool_create(int directory, struct sp_spool **out, struct sp_error *e);

/* Closes; what was not removed stays for the next start. Both threads must be done. NULL is fine. */
void sp_spool_free(struct sp_spool *spool);

/* Appending thread: 0, -ENOSPC, -EMSGSIZE. */
[[nodiscard]] int sp_spool_append(struct sp_spool *spool, enum sp_record_kind kind, const void *record);

/* The rest is the consumer's. */

/* To store from; next() gives -EBADMSG when somebody else has written to the spool. */
struct sp_source *sp_spool_source(struct sp_spool *spool);

/* Removes the segments before the source's position, which must be in the database. */
void sp_spool_release(struct sp_spool *spool);

/* Maps pages and a further segment ahead of the appending thread. */
void sp_spool_prepare(struct sp_spool *spool);

/* Removes the files: everything is in the database and nothing more will be appended. */
void sp_spool_remove(struct sp_spool *spool);

#endif
