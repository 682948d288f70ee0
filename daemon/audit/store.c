/* See store.h. The schema is described in docs/audit.md. */
#include "audit/store.h"
#include "util/cleanup.h"
#include "util/printable.h"

#include <assert.h>
#include <endian.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#define APPLICATION_ID 0x53504131 /* "SPA1": PRAGMA application_id */

/* The write-ahead log. In pages, while we write: SQLite's own default. In bytes, when we have just opened the database: who
 * opens it first reads all of the log, and the job is running and nobody waits for us. When closing somebody does, and
 * so nothing is worth the fsyncs. */
#define CHECKPOINT_PAGES 1000
#define CHECKPOINT_BYTES (512 << 10)

#define ROWS_LEFT_ALONE 10 /* positions of spools that are gone */

/* An argv, NUL-separated, as text with blanks: SQLite's replace() cannot look for a NUL. */
#define COMMAND                                                                                                        \
	"(WITH RECURSIVE split (word, rest) AS (SELECT NULL, argv UNION ALL"                                           \
	" SELECT CAST(substr(rest, 1, instr(rest, x'00') - 1) AS TEXT), substr(rest, instr(rest, x'00') + 1)"          \
	" FROM split WHERE instr(rest, x'00') > 0) SELECT group_concat(word, ' ') FROM split) AS command"

#define TIME(column) "strftime('%Y-%m-%d %H:%M:%f', " column " / 1e9, 'unixepoch', 'localtime')"

static const char *const migrations[SP_STORE_SCHEMA] = {
	"CREATE TABLE jobs ("
	" number INTEGER PRIMARY KEY AUTOINCREMENT," /* shown to people: never reused */
	" key INTEGER NOT NULL UNIQUE,"
	" started INTEGER, ended INTEGER, status INTEGER,"
	" supervisor INTEGER, uid INTEGER,"
	" policy TEXT, policy_file TEXT, policy_digest INTEGER, tracking TEXT,"
	" cwd TEXT, argv BLOB);"

	"CREATE TABLE processes ("
	" job INTEGER NOT NULL, key INTEGER NOT NULL, parent INTEGER NOT NULL,"
	" started INTEGER NOT NULL, pid INTEGER NOT NULL,"
	" ended INTEGER, status INTEGER,"
	" PRIMARY KEY (job, key)) WITHOUT ROWID;"

	"CREATE TABLE execs ("
	" id INTEGER PRIMARY KEY,"
	" job INTEGER NOT NULL, process INTEGER NOT NULL, key INTEGER NOT NULL,"
	" time INTEGER NOT NULL, tid INTEGER NOT NULL,"
	" action INTEGER NOT NULL, errno INTEGER NOT NULL, matched INTEGER NOT NULL,"
	" rule TEXT, reason TEXT,"
	" path BLOB, resolved BLOB, argv BLOB NOT NULL, argc INTEGER NOT NULL, others BLOB,"
	" result_time INTEGER, result INTEGER NOT NULL DEFAULT 0, result_errno INTEGER NOT NULL DEFAULT 0,"
	" verify INTEGER NOT NULL DEFAULT 0, verify_detail TEXT,"
	" UNIQUE (job, key));"
	"CREATE INDEX execs_of_process ON execs (job, process, key);"
	"CREATE INDEX execs_refused ON execs (id) WHERE action >= 2 OR verify = 2;"

	"CREATE TABLE spools (name TEXT PRIMARY KEY, segment INTEGER NOT NULL, offset INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE notes (id INTEGER PRIMARY KEY, time INTEGER NOT NULL, text TEXT NOT NULL);"

	"CREATE VIEW exec_log AS SELECT e.id, e.job, " TIME(
		"e.time") " AS time, p.pid,"
			  " CASE e.action WHEN 0 THEN 'allow' WHEN 1 THEN 'ask' WHEN 2 THEN 'deny' ELSE 'kill' END AS "
			  "decision,"
			  " CASE e.result WHEN 0 THEN 'pending' WHEN 1 THEN 'denied' WHEN 2 THEN 'execed' WHEN 3 THEN "
			  "'failed'"
			  "  WHEN 4 THEN 'restarted' ELSE 'vanished' END AS result,"
			  " max(e.errno, e.result_errno) AS errno,"
			  " CASE e.verify WHEN 0 THEN '' WHEN 1 THEN 'ok' ELSE 'MISMATCH' END AS verify,"
			  " CAST(e.resolved AS TEXT) AS program, " COMMAND ", e.rule, e.reason"
			  " FROM execs e LEFT JOIN processes p ON p.job = e.job AND p.key = e.process;"

			  "CREATE VIEW denied AS SELECT * FROM exec_log WHERE id IN"
			  " (SELECT id FROM execs WHERE action >= 2 OR verify = 2);"

			  "CREATE VIEW job_log AS SELECT number, " TIME(
				  "started") " AS started,"
					     " round((ended - started) / 1e9, 3) AS seconds, policy,"
					     " CASE WHEN status & 127 = 0 THEN status >> 8 ELSE 128 + (status & 127) "
					     "END AS exit, " COMMAND ","
					     " (SELECT count(*) FROM execs e WHERE e.job = number) AS execs,"
					     " (SELECT count(*) FROM execs e WHERE e.job = number AND (action >= 2 OR "
					     "verify = 2)) AS denied"
					     " FROM jobs;",

	"CREATE TABLE launches (job INTEGER PRIMARY KEY, level TEXT NOT NULL, record BLOB NOT NULL);",

	"ALTER TABLE execs ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE execs ADD COLUMN interpreter BLOB;"
	"ALTER TABLE execs ADD COLUMN inserted BLOB;"
	"ALTER TABLE execs ADD COLUMN environment BLOB;",

	"ALTER TABLE execs ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE execs ADD COLUMN asked INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE execs ADD COLUMN answer TEXT;"
	"CREATE TABLE policies ("
	" job INTEGER NOT NULL, generation INTEGER NOT NULL, time INTEGER NOT NULL,"
	" policy TEXT, policy_file TEXT, policy_digest INTEGER,"
	" PRIMARY KEY (job, generation)) WITHOUT ROWID;"
	"CREATE TABLE rules ("
	" job INTEGER NOT NULL, generation INTEGER NOT NULL, number INTEGER NOT NULL,"
	" rule TEXT, action INTEGER NOT NULL, hits INTEGER NOT NULL, last INTEGER NOT NULL,"
	" PRIMARY KEY (job, generation, number)) WITHOUT ROWID;",
};

/* Parameters follow the fields of the record; ?1 is the job's number, for SP_RECORD_JOB its key. A record that is there
 * already (a spool taken in twice, which should not happen) changes nothing. */
static const char *const sql[SP_RECORD_KINDS] = {
	[SP_RECORD_JOB] =
		"INSERT INTO jobs (key, started, supervisor, uid, policy, policy_file, policy_digest, tracking,"
		" cwd, argv) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING",
	[SP_RECORD_PROCESS] = "INSERT INTO processes (job, key, parent, started, pid) VALUES (?1, ?2, ?3, ?4, ?5)"
			      " ON CONFLICT DO NOTHING",
	[SP_RECORD_EXEC] =
		"INSERT INTO execs (job, process, key, time, tid, action, errno, matched, rule, reason, path,"
		" resolved, argv, argc, others, seen, interpreter, inserted, environment, generation,"
		" asked, answer) VALUES (?1, ?2, ?3, ?4, ?5,"
		" ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22) ON CONFLICT DO "
		"NOTHING",
	[SP_RECORD_RESULT] = "UPDATE execs SET result_time = ?3, result = ?4, result_errno = ?5, verify = ?6,"
			     " verify_detail = ?7 WHERE job = ?1 AND key = ?2",
	[SP_RECORD_EXIT] = "UPDATE processes SET ended = ?3, status = ?4 WHERE job = ?1 AND key = ?2",
	[SP_RECORD_LAUNCH] = "INSERT OR REPLACE INTO launches (job, level, record) VALUES (?1, ?2, ?3)",
	[SP_RECORD_POLICY] =
		"INSERT OR REPLACE INTO policies (job, generation, time, policy, policy_file, policy_digest)"
		" VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
	[SP_RECORD_RULE] = "INSERT OR REPLACE INTO rules (job, generation, number, rule, action, hits, last)"
			   " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
	[SP_RECORD_JOB_END] = "UPDATE jobs SET ended = ?2, status = ?3 WHERE number = ?1",
};

struct sp_store {
	sqlite3 *db;
	char *path;
	int patience_ms;
	bool relaxed;
	uint64_t job_key; /* the last job that was looked up, */
	int64_t job_number; /* and its number; 0: none */
	sqlite3_stmt *put[SP_RECORD_KINDS];
	sqlite3_stmt *begin, *commit, *rollback, *set_position, *find_job, *add_job;
};

static int create_file(const char *path, struct sp_error *e);
static int check_schema(sqlite3 *db, const char *path, int *version, struct sp_error *e);
static int migrate(struct sp_store *store, struct sp_error *e);
static int prepare(struct sp_store *store, sqlite3_stmt **statement, const char *text, struct sp_error *e);
static int execute(struct sp_store *store, const char *text, struct sp_error *e);
static int run(struct sp_store *store, sqlite3_stmt *statement, struct sp_error *e);
static int relax(struct sp_store *store, struct sp_error *e);
static int begin(struct sp_store *store, struct sp_error *e);
static int finish(struct sp_store *store, int ret, struct sp_error *e);
static int put(struct sp_store *store, const struct sp_record *record, struct sp_error *e);
static int find_job(struct sp_store *store, uint64_t key, struct sp_error *e);
static int look_up_job(struct sp_store *store, struct sp_error *e);
static int save_position(struct sp_store *store, const struct sp_source *source, struct sp_error *e);
static int on_commit(void *data, sqlite3 *db, const char *schema, int pages);
static int pragma(sqlite3 *db, const char *text, int64_t *value);

static void free_store(struct sp_store **store)
{
	sp_store_close(*store);
}

int sp_store_open(const char *path, int patience_ms, struct sp_store **out, struct sp_error *e)
{
	sp_cleanup(free_store) struct sp_store *store = calloc(1, sizeof *store);

	if (store == NULL || (store->path = strdup(path)) == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	store->patience_ms = patience_ms;
	int schema, ret = create_file(path, e);
	if (ret == 0)
		ret = sp_database_open(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, patience_ms, &store->db,
				       &schema, e);
	if (ret < 0)
		return ret;
	(void)sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	(void)sqlite3_wal_hook(store->db, on_commit, NULL);
	if (schema < SP_STORE_SCHEMA)
		ret = migrate(store, e);
	/* What needs the schema is left until it is needed: reading it takes longer than all the rest, and somebody may
	 * be waiting to hear that the database is good. */
	if (ret == 0)
		ret = prepare(store, &store->begin, "BEGIN IMMEDIATE", e);
	if (ret == 0)
		ret = prepare(store, &store->commit, "COMMIT", e);
	if (ret == 0)
		ret = prepare(store, &store->rollback, "ROLLBACK", e);
	if (ret < 0)
		return ret;
	*out = sp_steal_ptr(store);
	return 0;
}

/* https://www.sqlite.org/fileformat.html#the_database_header; numbers are big-endian there */
bool sp_store_looks_good(const char *path)
{
	struct {
		char magic[16];
		unsigned char before[44], user_version[4], between[4], application_id[4], behind[28];
	} header;
	cleanup_close int fd = open(path, O_RDWR | O_CLOEXEC);
	uint32_t version, application;

	static_assert(sizeof header == 100);
	if (fd < 0 || pread(fd, &header, sizeof header, 0) != (ssize_t)sizeof header)
		return false;
	memcpy(&version, header.user_version, sizeof version);
	memcpy(&application, header.application_id, sizeof application);
	return memcmp(header.magic, "SQLite format 3", sizeof header.magic) == 0 &&
	       be32toh(version) == SP_STORE_SCHEMA && be32toh(application) == APPLICATION_ID;
}

/* In WAL mode the log is kept when it has been written back, and read again by the next process; so it is cut off. */
static void write_back(struct sp_store *store)
{
	cleanup_free char *log = NULL;
	struct stat status;

	if (asprintf(&log, "%s-wal", store->path) < 0 || stat(log, &status) < 0 || status.st_size < CHECKPOINT_BYTES)
		return;
	/* Not where a reader would have to be waited for. */
	(void)sqlite3_busy_timeout(store->db, 0);
	(void)sqlite3_wal_checkpoint_v2(store->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	(void)sqlite3_busy_timeout(store->db, store->patience_ms);
}

void sp_store_warm_up(struct sp_store *store)
{
	(void)relax(store, NULL);
	write_back(store);
	for (int kind = 0; kind < SP_RECORD_KINDS; kind++)
		if (sql[kind] != NULL && prepare(store, &store->put[kind], sql[kind], NULL) != 0)
			return; /* tried again when it is needed, with a sentence */
}

void sp_store_close(struct sp_store *store)
{
	if (store == NULL)
		return;
	for (int kind = 0; kind < SP_RECORD_KINDS; kind++)
		(void)sqlite3_finalize(store->put[kind]);
	(void)sqlite3_finalize(store->begin);
	(void)sqlite3_finalize(store->commit);
	(void)sqlite3_finalize(store->rollback);
	(void)sqlite3_finalize(store->set_position);
	(void)sqlite3_finalize(store->find_job);
	(void)sqlite3_finalize(store->add_job);
	(void)sqlite3_close(store->db);
	free(store->path);
	free(store);
}

int sp_store_take(struct sp_store *store, struct sp_source *source, int limit, struct sp_error *e)
{
	const struct sp_position start = source->position;
	struct sp_record record;
	int count = 0;

	int ret = source->next(source, &record);
	if (ret == 0)
		return 0;
	if (ret < 0)
		return sp_fail(e, -ret, "the audit spool %s is damaged: %s", source->name, strerror(-ret));
	ret = begin(store, e);
	if (ret < 0) {
		source->position = start;
		return ret;
	}
	do {
		ret = put(store, &record, e);
		count++;
		/* What is damaged further on must not keep this from being stored: the next call meets it. */
	} while (ret == 0 && count < limit && source->next(source, &record) > 0);
	if (ret == 0)
		ret = save_position(store, source, e);
	ret = finish(store, ret, e);
	if (ret < 0) {
		source->position = start;
		return ret;
	}
	return count;
}

int sp_store_position(struct sp_store *store, const char *name, struct sp_position *position, struct sp_error *e)
{
	cleanup_statement sqlite3_stmt *statement = NULL;

	int ret = prepare(store, &statement, "SELECT segment, offset FROM spools WHERE name = ?1", e);
	if (ret < 0)
		return ret;
	(void)sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
	switch (sqlite3_step(statement)) {
	case SQLITE_DONE:
		return 0;
	case SQLITE_ROW:
		position->segment = (uint64_t)sqlite3_column_int64(statement, 0);
		position->offset = (uint64_t)sqlite3_column_int64(statement, 1);
		return 1;
	default:
		return sp_database_fail(store->db, store->path, e);
	}
}

int sp_store_forget(struct sp_store *store, const char *name, const char *note, struct sp_error *e)
{
	cleanup_statement sqlite3_stmt *forget = NULL, *add = NULL;

	int ret = prepare(store, &forget, "DELETE FROM spools WHERE name = ?1", e);
	if (ret == 0)
		ret = prepare(store, &add,
			      "INSERT INTO notes (time, text) VALUES (CAST(strftime('%s', 'now') AS INTEGER) * "
			      "1000000000, ?1)",
			      e);
	if (ret == 0)
		ret = begin(store, e);
	if (ret < 0)
		return ret;
	(void)sqlite3_bind_text(forget, 1, name, -1, SQLITE_STATIC);
	ret = run(store, forget, e);
	if (ret == 0 && note != NULL) {
		(void)sqlite3_bind_text(add, 1, note, -1, SQLITE_STATIC);
		ret = run(store, add, e);
	}
	return finish(store, ret, e);
}

/* A process that closes its spool removes the files after its last commit and leaves the row, rather than pay for
 * one more transaction. While we hold the write lock no position moves, so a row whose segment has no file is such a
 * row. */
int sp_store_forget_gone(struct sp_store *store, int directory, struct sp_error *e)
{
	cleanup_statement sqlite3_stmt *list = NULL, *forget = NULL;

	int ret = prepare(store, &list, "SELECT name, segment FROM spools", e);
	if (ret < 0)
		return ret;
	/* A few lines are not worth a transaction. */
	for (int rows = 0; rows < ROWS_LEFT_ALONE; rows++)
		if (sqlite3_step(list) != SQLITE_ROW)
			return 0;
	(void)sqlite3_reset(list);
	ret = prepare(store, &forget, "DELETE FROM spools WHERE name = ?1", e);
	if (ret == 0)
		ret = begin(store, e);
	if (ret < 0)
		return ret;
	while (ret == 0 && sqlite3_step(list) == SQLITE_ROW) {
		char file[NAME_MAX + 1];
		const char *name = (const char *)sqlite3_column_text(list, 0);
		(void)snprintf(file, sizeof file, "%s.%" PRIu64, name, (uint64_t)sqlite3_column_int64(list, 1));
		if (faccessat(directory, file, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT)
			continue;
		(void)sqlite3_bind_text(forget, 1, name, -1, SQLITE_TRANSIENT);
		ret = run(store, forget, e);
	}
	(void)sqlite3_reset(list);
	return finish(store, ret, e);
}

int sp_database_open(const char *path, int flags, int patience_ms, sqlite3 **out, int *schema, struct sp_error *e)
{
	if (sqlite3_open_v2(path, out, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
		return sp_database_fail(*out, path, e);
	(void)sqlite3_busy_timeout(*out, patience_ms);
	return check_schema(*out, path, schema, e);
}

int sp_database_fail(sqlite3 *db, const char *path, struct sp_error *e)
{
	static const struct {
		int code, err;
	} map[] = {
		{SQLITE_BUSY, EBUSY},     {SQLITE_LOCKED, EBUSY},    {SQLITE_FULL, ENOSPC},   {SQLITE_NOMEM, ENOMEM},
		{SQLITE_READONLY, EROFS}, {SQLITE_CORRUPT, EUCLEAN}, {SQLITE_NOTADB, EINVAL}, {SQLITE_PERM, EACCES},
	};
	int code = sqlite3_errcode(db) & 0xff, err = EIO;

	for (size_t i = 0; i < sizeof map / sizeof *map; i++)
		if (map[i].code == code)
			err = map[i].err;
	/* The kernel's own word, where there is one: "no space left" says more than "disk I/O error". */
	bool system = (code == SQLITE_CANTOPEN || code == SQLITE_IOERR) && sqlite3_system_errno(db) > 0;
	if (system)
		err = sqlite3_system_errno(db);
	return sp_fail(e, err, "audit database %s: %s", path, system ? strerror(err) : sqlite3_errmsg(db));
}

/* SQLite would create it by the umask. Opened only to create it: closing a descriptor of a file gives up all POSIX
 * locks that the process has on it, SQLite's included. */
static int create_file(const char *path, struct sp_error *e)
{
	cleanup_close int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0 && errno != EEXIST)
		return sp_fail(e, errno, "cannot create the audit database %s: %s", path, strerror(errno));
	return 0;
}

/* In one snapshot: somebody may just be creating the schema. A savepoint, for it nests in a transaction. */
static int check_schema(sqlite3 *db, const char *path, int *version, struct sp_error *e)
{
	int64_t user_version, application = 0, tables = 0;

	if (sqlite3_exec(db, "SAVEPOINT look", NULL, NULL, NULL) != SQLITE_OK)
		return sp_database_fail(db, path, e);
	int ret = pragma(db, "PRAGMA user_version", &user_version) < 0 ||
				  pragma(db, "PRAGMA application_id", &application) < 0 ||
				  (application == 0 && pragma(db, "SELECT count(*) FROM sqlite_schema", &tables) < 0)
			  ? sp_database_fail(db, path, e)
			  : 0;
	(void)sqlite3_exec(db, "RELEASE look", NULL, NULL, NULL);
	if (ret < 0)
		return ret;
	if (application != APPLICATION_ID && (application != 0 || user_version != 0 || tables > 0))
		return sp_fail(e, EINVAL, "%s is a SQLite database, but not an audit database of sallyport", path);
	if (user_version > SP_STORE_SCHEMA)
		return sp_fail(e, EINVAL,
			       "audit database %s: written by a newer sallyport (schema %" PRId64 ", known: %d)", path,
			       user_version, SP_STORE_SCHEMA);
	*version = (int)user_version;
	return 0;
}

static int migrate(struct sp_store *store, struct sp_error *e)
{
	int version;

	int ret = execute(store, "PRAGMA journal_mode = WAL", e);
	if (ret == 0)
		ret = execute(store, "BEGIN IMMEDIATE", e);
	if (ret < 0)
		return ret;
	/* Somebody else may have done the same; from here on nobody can. */
	ret = check_schema(store->db, store->path, &version, e);
	for (; ret == 0 && version < SP_STORE_SCHEMA; version++)
		ret = execute(store, migrations[version], e);
	char text[128];
	(void)snprintf(text, sizeof text, "PRAGMA application_id = %d; PRAGMA user_version = %d", APPLICATION_ID,
		       SP_STORE_SCHEMA);
	if (ret == 0)
		ret = execute(store, text, e);
	if (ret == 0)
		return execute(store, "COMMIT", e);
	(void)sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
	return ret;
}

static int prepare(struct sp_store *store, sqlite3_stmt **statement, const char *text, struct sp_error *e)
{
	if (*statement != NULL)
		return 0;
	if (sqlite3_prepare_v3(store->db, text, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL) != SQLITE_OK)
		return sp_database_fail(store->db, store->path, e);
	return 0;
}

static int execute(struct sp_store *store, const char *text, struct sp_error *e)
{
	if (sqlite3_exec(store->db, text, NULL, NULL, NULL) != SQLITE_OK)
		return sp_database_fail(store->db, store->path, e);
	return 0;
}

static int run(struct sp_store *store, sqlite3_stmt *statement, struct sp_error *e)
{
	int ret = 0;

	if (sqlite3_step(statement) != SQLITE_DONE)
		ret = sp_database_fail(store->db, store->path, e);
	(void)sqlite3_reset(statement);
	return ret;
}

/* SQLite's default is an fsync for every commit. */
static int relax(struct sp_store *store, struct sp_error *e)
{
	int ret = store->relaxed ? 0 : execute(store, "PRAGMA synchronous = NORMAL", e);

	store->relaxed = ret == 0;
	return ret;
}

static int begin(struct sp_store *store, struct sp_error *e)
{
	int ret = relax(store, e);

	return ret < 0 ? ret : run(store, store->begin, e);
}

static int finish(struct sp_store *store, int ret, struct sp_error *e)
{
	if (ret == 0)
		ret = run(store, store->commit, e);
	if (ret == 0)
		return 0;
	/* The job's number may have been given in the transaction that is now undone. */
	store->job_number = 0;
	/* SQLite has rolled back by itself after some errors; then this one says so, and that is fine. */
	(void)run(store, store->rollback, NULL);
	return ret;
}

/* Text where it is text, so that people can work with it in SQL; exactly its bytes in any case. */
static int bind_text(sqlite3_stmt *statement, int parameter, const char *bytes, size_t size)
{
	if (sp_is_text(bytes, size))
		return sqlite3_bind_text64(statement, parameter, bytes, size, SQLITE_STATIC, SQLITE_UTF8);
	return sqlite3_bind_blob64(statement, parameter, bytes, size, SQLITE_STATIC);
}

static int bind_field(sqlite3_stmt *statement, int parameter, const struct sp_field *field, const void *record)
{
	const char *at = (const char *)record + field->offset;
	const char *text = field->type == SP_FIELD_TEXT ? *(const char *const *)at : NULL;
	struct sp_bytes bytes = field->type == SP_FIELD_BYTES ? *(const struct sp_bytes *)at : (struct sp_bytes){0};

	switch (field->type) {
	case SP_FIELD_U32:
		return sqlite3_bind_int64(statement, parameter, *(const uint32_t *)at);
	case SP_FIELD_I32:
		return sqlite3_bind_int64(statement, parameter, *(const int32_t *)at);
	case SP_FIELD_TEXT:
		return text == NULL ? sqlite3_bind_null(statement, parameter)
				    : bind_text(statement, parameter, text, strlen(text));
	case SP_FIELD_BYTES:
		return bytes.size == 0 ? sqlite3_bind_zeroblob(statement, parameter, 0)
		       : memchr(bytes.data, '\0', bytes.size) != NULL
			       ? sqlite3_bind_blob64(statement, parameter, bytes.data, bytes.size, SQLITE_STATIC)
			       : bind_text(statement, parameter, bytes.data, bytes.size);
	default:
		return sqlite3_bind_int64(statement, parameter, *(const int64_t *)at);
	}
}

static int put(struct sp_store *store, const struct sp_record *record, struct sp_error *e)
{
	size_t count;
	const struct sp_field *fields = sp_record_fields(record->kind, &count);

	int ret = prepare(store, &store->put[record->kind], sql[record->kind], e);
	if (ret == 0 && record->kind != SP_RECORD_JOB)
		ret = find_job(store, record->job.job, e);
	if (ret < 0)
		return ret;
	sqlite3_stmt *statement = store->put[record->kind];
	for (size_t i = 0; i < count; i++)
		if (bind_field(statement, (int)i + 1, &fields[i], &record->job) != SQLITE_OK)
			return sp_database_fail(store->db, store->path, e);
	if (record->kind != SP_RECORD_JOB)
		(void)sqlite3_bind_int64(statement, 1, store->job_number);
	return run(store, statement, e);
}

/* A job whose own record is lost (a damaged spool) gets a row with nothing but its key, so that the rest is kept. */
static int find_job(struct sp_store *store, uint64_t key, struct sp_error *e)
{
	if (store->job_number != 0 && store->job_key == key)
		return 0;
	store->job_key = key;
	store->job_number = 0;
	int ret = look_up_job(store, e);
	if (ret < 0 || store->job_number != 0)
		return ret;
	ret = prepare(store, &store->add_job, "INSERT INTO jobs (key) VALUES (?1)", e);
	if (ret < 0)
		return ret;
	(void)sqlite3_bind_int64(store->add_job, 1, (int64_t)key);
	ret = run(store, store->add_job, e);
	return ret < 0 ? ret : look_up_job(store, e);
}

static int look_up_job(struct sp_store *store, struct sp_error *e)
{
	int ret = prepare(store, &store->find_job, "SELECT number FROM jobs WHERE key = ?1", e);

	if (ret < 0)
		return ret;
	(void)sqlite3_bind_int64(store->find_job, 1, (int64_t)store->job_key);
	int step = sqlite3_step(store->find_job);
	if (step == SQLITE_ROW)
		store->job_number = sqlite3_column_int64(store->find_job, 0);
	else if (step != SQLITE_DONE)
		ret = sp_database_fail(store->db, store->path, e);
	(void)sqlite3_reset(store->find_job);
	return ret;
}

static int save_position(struct sp_store *store, const struct sp_source *source, struct sp_error *e)
{
	int ret = prepare(store, &store->set_position,
			  "INSERT INTO spools (name, segment, offset) VALUES (?1, ?2, ?3)"
			  " ON CONFLICT DO UPDATE SET segment = ?2, offset = ?3",
			  e);

	if (ret < 0)
		return ret;
	(void)sqlite3_bind_text(store->set_position, 1, source->name, -1, SQLITE_STATIC);
	(void)sqlite3_bind_int64(store->set_position, 2, (int64_t)source->position.segment);
	(void)sqlite3_bind_int64(store->set_position, 3, (int64_t)source->position.offset);
	return run(store, store->set_position, e);
}

/* In place of SQLite's automatic checkpoint, which only comes after a long time: most processes write little. */
static int on_commit(void *data, sqlite3 *db, const char *schema, int pages)
{
	(void)data;
	if (pages >= CHECKPOINT_PAGES)
		(void)sqlite3_wal_checkpoint_v2(db, schema, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	return SQLITE_OK;
}

/* The one number that a statement gives. 0, or -1 with the error in db. */
static int pragma(sqlite3 *db, const char *text, int64_t *value)
{
	cleanup_statement sqlite3_stmt *statement = NULL;

	if (sqlite3_prepare_v2(db, text, -1, &statement, NULL) != SQLITE_OK || sqlite3_step(statement) != SQLITE_ROW)
		return -1;
	*value = sqlite3_column_int64(statement, 0);
	return 0;
}
