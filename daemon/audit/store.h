/* The SQLite side of the audit trail: schema, migrations, and records into rows.
 *
 * One store, one thread at a time. Several processes may have the same database open; what is busy for too long is
 * -EBUSY, with nothing stored, and may be tried again. */
#ifndef SP_AUDIT_STORE_H
#define SP_AUDIT_STORE_H

#include "audit/record.h"
#include "audit/segment.h"

#include <sqlite3.h>

struct sp_store;

/* Up to where a spool has been stored: everything before this offset of this segment. */
struct sp_position {
	uint64_t segment;
	uint64_t offset;
};

/* A spool to store from. next() gives the record at the position and moves the position behind it: 1, 0 when there is
 * none (yet), or -errno. */
struct sp_source {
	char name[SP_SPOOL_NAME_SIZE];
	struct sp_position position;
	int (*next)(struct sp_source *source, struct sp_record *record);
};

/* Opens the database, creating it (0600) or bringing its schema up to date. 0, or -errno with a sentence: -EBUSY when
 * somebody else holds it for longer than patience_ms. */
[[nodiscard]] int sp_store_open(const char *path, int patience_ms, struct sp_store **out, struct sp_error *e);

/* Does the file's header say that it is an audit database of this very version? A tenth of what opening it takes; false
 * also where that cannot be told yet, as long as the header is only in the write-ahead log. Not while this process has
 * the database open: closing any descriptor of the file gives up SQLite's locks. */
bool sp_store_looks_good(const char *path);

/* NULL is fine. Leaves the write-ahead log as it is: a checkpoint costs fsyncs, and somebody is waiting. */
/* Prepares now what is needed for the first record, while nobody waits for it. */
void sp_store_warm_up(struct sp_store *store);
void sp_store_close(struct sp_store *store);

/* Stores up to limit records and the source's position in one transaction. The number of records stored; or -errno
 * with a sentence, the source's position being what it was. */
[[nodiscard]] int sp_store_take(struct sp_store *store, struct sp_source *source, int limit, struct sp_error *e);

/* The position that a spool of this name was stored up to: 1, or 0 if nothing of it was, or -errno. */
[[nodiscard]] int sp_store_position(struct sp_store *store, const char *name, struct sp_position *position,
				    struct sp_error *e);

/* Forgets a spool whose files are gone, with a note for people (NULL: none) about what happened to it. */
[[nodiscard]] int sp_store_forget(struct sp_store *store, const char *name, const char *note, struct sp_error *e);

/* Forgets the positions of spools whose files in the directory are gone. */
[[nodiscard]] int sp_store_forget_gone(struct sp_store *store, int directory, struct sp_error *e);

/* Shared with the readers (query.c): opens with sqlite3_open_v2() flags and checks that this is our database. *schema: the
 * version of its schema; 0: it has none yet. */
#define SP_STORE_SCHEMA 4
[[nodiscard]] int sp_database_open(const char *path, int flags, int patience_ms, sqlite3 **out, int *schema,
				   struct sp_error *e);

/* -errno with SQLite's sentence, for a failed call on the database. */
int sp_database_fail(sqlite3 *db, const char *path, struct sp_error *e);

static inline void sp_finalize(sqlite3_stmt **statement)
{
	(void)sqlite3_finalize(*statement);
}
#define cleanup_statement sp_cleanup(sp_finalize)

#endif
