/* Taking in the spools of supervisors that died: each record that was committed goes into the database exactly once.
 *
 * Whoever gets the lock of a segment knows that its owner is dead. What is stored is recorded with its position in the
 * same transaction, so recovery may itself be killed at any point. A damaged segment gives what is readable and is then
 * kept as *.corrupt. */
#ifndef SP_AUDIT_RECOVER_H
#define SP_AUDIT_RECOVER_H

#include "audit/store.h"

/* Where sentences about damaged spools go: one line each, printable. */
typedef void sp_recover_tell(void *data, const char *sentence);

/* Takes in every dead spool of the directory. tell may be NULL (the sentences are also notes in the database). The
 * number of records taken in, or -errno with a sentence: what was taken in until then stays. */
[[nodiscard]] int64_t sp_recover(struct sp_store *store, int directory, sp_recover_tell *tell, void *data,
				 struct sp_error *e);

/* The same for whoever does not have the database open; 0 when there is no spool at all. */
[[nodiscard]] int64_t sp_recover_database(const char *path, sp_recover_tell *tell, void *data, struct sp_error *e);

#endif
