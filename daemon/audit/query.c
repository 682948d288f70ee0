/* See query.h. */
#include "audit/query.h"
#include "audit/recover.h"
#include "audit/store.h"
#include "policy/policy.h"
#include "util/cleanup.h"

#include <inttypes.h>
#include <string.h>

#define PATIENCE_MS 2000

struct sp_query {
	sqlite3 *db;
	char *path;
	int schema; /* of the database */
	sp_recover_tell *tell;
	void *data;
	sqlite3_stmt *process, *program, *process_execs; /* asked often */
};

static int prepare(struct sp_query *query, sqlite3_stmt **statement, const char *text, struct sp_error *e);
static int for_each(struct sp_query *query, sqlite3_stmt *statement, int (*row)(void *data, sqlite3_stmt *statement),
		    void *data, struct sp_error *e);
static int64_t one_number(struct sp_query *query, const char *text, struct sp_error *e);
static struct sp_bytes bytes_at(sqlite3_stmt *statement, int column);
static const char *text_at(sqlite3_stmt *statement, int column);

static void free_query(struct sp_query **query)
{
	sp_query_close(*query);
}

int sp_query_open(const char *path, void (*tell)(void *data, const char *sentence), void *data, struct sp_query **out,
		  struct sp_error *e)
{
	sp_cleanup(free_query) struct sp_query *query = calloc(1, sizeof *query);
	int ret = 0;

	if (query == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	query->tell = tell;
	query->data = data;
	if (path == NULL)
		ret = sp_audit_default_path(&query->path, e);
	else if ((query->path = strdup(path)) == NULL)
		ret = sp_fail(e, ENOMEM, "out of memory");
	if (ret < 0)
		return ret;
	if (access(query->path, F_OK) < 0)
		return sp_fail(e, errno,
			       errno == ENOENT ? "no audit database at %s: nothing was recorded there yet"
					       : "audit database %s: %m",
			       query->path);
	/* Whoever may only read shows what is there. */
	ret = sp_query_recover(query, e);
	if (ret < 0 && ret != -EACCES && ret != -EROFS && ret != -EPERM)
		return ret;
	ret = sp_database_open(query->path, SQLITE_OPEN_READONLY, PATIENCE_MS, &query->db, &query->schema, e);
	if (ret < 0)
		return ret;
	*out = sp_steal_ptr(query);
	return 0;
}

void sp_query_close(struct sp_query *query)
{
	if (query == NULL)
		return;
	(void)sqlite3_finalize(query->process);
	(void)sqlite3_finalize(query->program);
	(void)sqlite3_finalize(query->process_execs);
	(void)sqlite3_close(query->db);
	free(query->path);
	free(query);
}

int sp_query_recover(struct sp_query *query, struct sp_error *e)
{
	int64_t taken = sp_recover_database(query->path, query->tell, query->data, e);

	return taken < 0 ? (int)taken : 0;
}

const char *sp_query_path(const struct sp_query *query)
{
	return query->path;
}

int64_t sp_query_last_job(struct sp_query *query, struct sp_error *e)
{
	return one_number(query, "SELECT coalesce(max(number), 0) FROM jobs", e);
}

int64_t sp_query_last_exec(struct sp_query *query, struct sp_error *e)
{
	return one_number(query, "SELECT coalesce(max(id), 0) FROM execs", e);
}

struct job_visit {
	int (*visit)(void *data, const struct sp_log_job *job);
	void *data;
	bool found;
};

static int job_row(void *data, sqlite3_stmt *row)
{
	struct job_visit *visit = data;
	const struct sp_log_job job = {
		.number = sqlite3_column_int64(row, 0),
		.key = (uint64_t)sqlite3_column_int64(row, 1),
		.started = sqlite3_column_int64(row, 2),
		.ended = sqlite3_column_int64(row, 3),
		.status = sqlite3_column_int(row, 4),
		.supervisor = sqlite3_column_int(row, 5),
		.uid = (uid_t)sqlite3_column_int64(row, 6),
		.policy = text_at(row, 7),
		.policy_file = text_at(row, 8),
		.policy_digest = (uint64_t)sqlite3_column_int64(row, 9),
		.tracking = text_at(row, 10),
		.cwd = bytes_at(row, 11),
		.argv = bytes_at(row, 12),
	};

	visit->found = true;
	return visit->visit(visit->data, &job);
}

int sp_query_job(struct sp_query *query, int64_t number, int (*visit)(void *data, const struct sp_log_job *job),
		 void *data, struct sp_error *e)
{
	cleanup_statement sqlite3_stmt *statement = NULL;
	struct job_visit context = {.visit = visit, .data = data};

	int ret = prepare(query, &statement,
			  "SELECT number, key, started, ended, status, supervisor, uid, policy, policy_file,"
			  " policy_digest, tracking, cwd, argv FROM jobs WHERE number = ?1",
			  e);
	if (ret < 0)
		return ret;
	(void)sqlite3_bind_int64(statement, 1, number);
	ret = for_each(query, statement, job_row, &context, e);
	if (ret == 0 && !context.found)
		return sp_fail(e, ENOENT, "audit database %s: there is no job %" PRId64, query->path, number);
	return ret;
}

struct launch_visit {
	int (*visit)(void *data, const struct sp_audit_launch *launch);
	void *data;
};

static int launch_row(void *data, sqlite3_stmt *row)
{
	const struct launch_visit *visit = data;
	const struct sp_audit_launch launch = {.level = text_at(row, 0), .record = bytes_at(row, 1)};

	return visit->visit(visit->data, &launch);
}

int sp_query_launch(struct sp_query *query, int64_t job, int (*visit)(void *data, const struct sp_audit_launch *launch),
		    void *data, struct sp_error *e)
{
	cleanup_statement sqlite3_stmt *statement = NULL;
	struct launch_visit context = {.visit = visit, .data = data};

	/* A database of the first schema that we may only read. */
	int64_t ret = one_number(query, "SELECT count(*) FROM sqlite_schema WHERE name = 'launches'", e);
	if (ret <= 0)
		return (int)ret;
	ret = prepare(query, &statement, "SELECT level, record FROM launches WHERE job = ?1", e);
	if (ret < 0)
		return (int)ret;
	(void)sqlite3_bind_int64(statement, 1, job);
	return for_each(query, statement, launch_row, &context, e);
}

struct exec_visit {
	int (*visit)(void *data, const struct sp_log_exec *exec);
	void *data;
};

static int exec_row(void *data, sqlite3_stmt *row)
{
	const struct exec_visit *visit = data;
	const struct sp_log_exec exec = {
		.id = sqlite3_column_int64(row, 0),
		.job = sqlite3_column_int64(row, 1),
		.process = (uint64_t)sqlite3_column_int64(row, 2),
		.exec = (uint64_t)sqlite3_column_int64(row, 3),
		.time = sqlite3_column_int64(row, 4),
		.result_time = sqlite3_column_int64(row, 5),
		.pid = sqlite3_column_int(row, 6),
		.tid = sqlite3_column_int(row, 7),
		.action = sqlite3_column_int(row, 8),
		.err = sqlite3_column_int(row, 9),
		.matched = (uint32_t)sqlite3_column_int64(row, 10),
		.argc = (uint32_t)sqlite3_column_int64(row, 11),
		.rule = text_at(row, 12),
		.reason = text_at(row, 13),
		.path = bytes_at(row, 14),
		.resolved = bytes_at(row, 15),
		.argv = bytes_at(row, 16),
		.others = bytes_at(row, 17),
		.result = (enum sp_result)sqlite3_column_int(row, 18),
		.result_err = sqlite3_column_int(row, 19),
		.verify = (enum sp_verify)sqlite3_column_int(row, 20),
		.detail = text_at(row, 21),
		.seen = (uint32_t)sqlite3_column_int64(row, 22),
		.interpreter = bytes_at(row, 23),
		.inserted = bytes_at(row, 24),
		.environment = bytes_at(row, 25),
		.generation = (uint64_t)sqlite3_column_int64(row, 26),
		.asked = sqlite3_column_int64(row, 27),
		.answer = text_at(row, 28),
	};

	return visit->visit(visit->data, &exec);
}

bool sp_log_refused(const struct sp_log_exec *exec)
{
	return exec->action >= SP_DENY || exec->verify == SP_VERIFY_MISMATCH;
}

/* In this order exec_row() reads them. The last ones are not there in an older database. */
#define EXECS                                                                                                          \
	"SELECT e.id, e.job, e.process, e.key, e.time, e.result_time, p.pid, e.tid, e.action, e.errno, e.matched,"     \
	" e.argc, e.rule, e.reason, e.path, e.resolved, e.argv, e.others, e.result, e.result_errno, e.verify,"         \
	" e.verify_detail%s FROM execs e LEFT JOIN processes p ON p.job = e.job AND p.key = e.process"

static const char *newer_columns(const struct sp_query *query)
{
	return query->schema < 3 ? ", 0, NULL, NULL, NULL, 0, 0, NULL"
	       : query->schema < 4
		       ? ", e.seen, e.interpreter, e.inserted, e.environment, 0, 0, NULL"
		       : ", e.seen, e.interpreter, e.inserted, e.environment, e.generation, e.asked, e.answer";
}

/* Word for word the condition of the partial index. */
#define REFUSED " AND (action >= 2 OR verify = 2)"

static const char *const kinds[] = {
	[SP_EXECS_ALL] = "",
	[SP_EXECS_ALLOW] = " AND e.action = 0",
	[SP_EXECS_ASK] = " AND e.action = 1",
	[SP_EXECS_DENY] = " AND e.action = 2",
	[SP_EXECS_KILL] = " AND e.action = 3",
	[SP_EXECS_FAILED] = " AND e.result = 3",
	[SP_EXECS_MISMATCH] = " AND e.verify = 2",
};

/* What the filter asks for besides job and ids; parameters from ?4 on. */
static void print_conditions(FILE *out, const struct sp_exec_filter *filter)
{
	(void)fputs(kinds[filter->kind], out);
	if (filter->refused)
		(void)fputs(REFUSED, out);
	if (filter->program != NULL)
		(void)fputs(" AND CAST(coalesce(e.resolved, e.path) AS TEXT) GLOB ?4", out);
	if (filter->rule != NULL)
		(void)fputs(" AND e.rule = ?5", out);
	if (filter->since != 0)
		(void)fputs(" AND e.time >= ?6", out);
	if (filter->until != 0)
		(void)fputs(" AND e.time < ?7", out);
	if (filter->user != NULL)
		(void)fputs(" AND e.job IN (SELECT number FROM jobs WHERE uid = ?8)", out);
}

static int bind_conditions(sqlite3_stmt *statement, const struct sp_exec_filter *filter)
{
	if (filter->program != NULL) {
		cleanup_free char *glob = NULL;
		if (asprintf(&glob, "%s%s", strchr(filter->program, '/') == NULL ? "*/" : "", filter->program) < 0) {
			glob = NULL;
			return -ENOMEM;
		}
		if (sqlite3_bind_text(statement, 4, glob, -1, SQLITE_TRANSIENT) != SQLITE_OK)
			return -ENOMEM;
	}
	if (filter->rule != NULL)
		(void)sqlite3_bind_text(statement, 5, filter->rule, -1, SQLITE_STATIC);
	if (filter->since != 0)
		(void)sqlite3_bind_int64(statement, 6, filter->since);
	if (filter->until != 0)
		(void)sqlite3_bind_int64(statement, 7, filter->until);
	if (filter->user != NULL)
		(void)sqlite3_bind_int64(statement, 8, *filter->user);
	return 0;
}

static char *print_query(const struct sp_query *query, const struct sp_exec_filter *filter)
{
	cleanup_free char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (out == NULL)
		return NULL;
	/* A job's execs are spread among those of others, so its own index finds them, in which keys grow as ids do;
	 * unless the ids already narrow it down. The + keeps SQLite from walking all ids. */
	const bool by_key = filter->job != 0 && filter->after == 0 && !filter->refused;
	const bool newest = filter->last > 0;
	(void)fprintf(out, "%s" EXECS " WHERE %se.id > ?2%s", newest ? "SELECT * FROM (" : "", newer_columns(query),
		      by_key ? "+" : "", filter->job != 0 ? " AND e.job = ?1" : "");
	print_conditions(out, filter);
	(void)fprintf(out, " ORDER BY %s%s LIMIT ?3%s", by_key ? "e.key" : "e.id", newest ? " DESC" : "",
		      newest ? ") ORDER BY id" : "");
	return fclose(out) == 0 ? sp_steal_ptr(text) : NULL;
}

int sp_query_execs(struct sp_query *query, const struct sp_exec_filter *filter,
		   int (*visit)(void *data, const struct sp_log_exec *exec), void *data, struct sp_error *e)
{
	cleanup_statement sqlite3_stmt *statement = NULL;
	struct exec_visit context = {.visit = visit, .data = data};
	cleanup_free char *text = print_query(query, filter);

	if (text == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	int ret = prepare(query, &statement, text, e);
	if (ret < 0)
		return ret;
	if (filter->job != 0)
		(void)sqlite3_bind_int64(statement, 1, filter->job);
	(void)sqlite3_bind_int64(statement, 2, filter->after);
	(void)sqlite3_bind_int64(statement, 3, filter->last > 0 ? filter->last : -1);
	if (bind_conditions(statement, filter) < 0)
		return sp_fail(e, ENOMEM, "out of memory");
	return for_each(query, statement, exec_row, &context, e);
}

int sp_query_process_execs(struct sp_query *query, int64_t job, uint64_t process,
			   int (*visit)(void *data, const struct sp_log_exec *exec), void *data, struct sp_error *e)
{
	struct exec_visit context = {.visit = visit, .data = data};
	cleanup_free char *text = NULL;

	if (asprintf(&text, EXECS " WHERE e.job = ?1 AND e.process = ?2 ORDER BY e.key", newer_columns(query)) < 0) {
		text = NULL;
		return sp_fail(e, ENOMEM, "out of memory");
	}
	int ret = prepare(query, &query->process_execs, text, e);
	if (ret < 0)
		return ret;
	(void)sqlite3_bind_int64(query->process_execs, 1, job);
	(void)sqlite3_bind_int64(query->process_execs, 2, (int64_t)process);
	ret = for_each(query, query->process_execs, exec_row, &context, e);
	(void)sqlite3_reset(query->process_execs);
	return ret;
}

/* Where a process came from. */
struct origin {
	uint64_t parent;
	int64_t started;
	pid_t pid;
};

/* What the last ancestor ran, and in which process that was executed: those between the two executed nothing until they
 * forked. 0: in none. */
struct program {
	uint64_t process;
	char *bytes; /* resolved, then argv */
	size_t resolved, argv; /* sizes */
	bool known; /* there was an ancestor before this one */
};

static int find_process(struct sp_query *query, int64_t job, uint64_t key, struct origin *origin, struct sp_error *e)
{
	int ret = prepare(query, &query->process,
			  "SELECT parent, started, pid FROM processes WHERE job = ?1 AND key = ?2", e);
	if (ret < 0)
		return ret;
	(void)sqlite3_bind_int64(query->process, 1, job);
	(void)sqlite3_bind_int64(query->process, 2, (int64_t)key);
	int step = sqlite3_step(query->process);
	if (step == SQLITE_ROW)
		*origin = (struct origin){
			.parent = (uint64_t)sqlite3_column_int64(query->process, 0),
			.started = sqlite3_column_int64(query->process, 1),
			.pid = sqlite3_column_int(query->process, 2),
		};
	else if (step != SQLITE_DONE)
		ret = sp_database_fail(query->db, query->path, e);
	(void)sqlite3_reset(query->process);
	/* A parent's key is smaller than its child's; in a tampered database it might lead round in circles. */
	if (step == SQLITE_ROW && origin->parent >= key)
		origin->parent = 0;
	return ret < 0 ? ret : step == SQLITE_ROW;
}

/* What the process itself had executed by then: 1 and *program, or 0. */
static int find_program(struct sp_query *query, int64_t job, uint64_t key, int64_t time, struct program *program,
			struct sp_error *e)
{
	int ret = prepare(query, &query->program,
			  "SELECT resolved, argv FROM execs WHERE job = ?1 AND process = ?2 AND result = 2"
			  " AND result_time <= ?3 ORDER BY key DESC LIMIT 1",
			  e);
	if (ret < 0)
		return ret;
	(void)sqlite3_bind_int64(query->program, 1, job);
	(void)sqlite3_bind_int64(query->program, 2, (int64_t)key);
	(void)sqlite3_bind_int64(query->program, 3, time);
	int step = sqlite3_step(query->program);
	if (step == SQLITE_ROW) {
		struct sp_bytes resolved = bytes_at(query->program, 0), argv = bytes_at(query->program, 1);
		char *bytes = realloc(program->bytes, resolved.size + argv.size + 1);
		if (bytes == NULL) {
			ret = sp_fail(e, ENOMEM, "out of memory");
		} else {
			memcpy(bytes, resolved.data, resolved.size);
			memcpy(bytes + resolved.size, argv.data, argv.size);
			*program = (struct program){key, bytes, resolved.size, argv.size, true};
		}
	} else if (step != SQLITE_DONE) {
		ret = sp_database_fail(query->db, query->path, e);
	}
	(void)sqlite3_reset(query->program);
	return ret < 0 ? ret : step == SQLITE_ROW;
}

/* What the process ran at that time, perhaps by inheritance. *program is that of the process's child in the chain,
 * which has walked the same way already if it got its program from further up: chains of forks without exec can be
 * long. */
static int inherit_program(struct sp_query *query, int64_t job, uint64_t key, int64_t time, struct program *program,
			   struct sp_error *e)
{
	bool first = true;

	while (key != 0) {
		struct origin origin;
		int ret = find_program(query, job, key, time, program, e);
		if (ret != 0)
			return ret < 0 ? ret : 0;
		if (first && program->known && program->process < key)
			return 0;
		ret = find_process(query, job, key, &origin, e);
		if (ret <= 0)
			return ret;
		key = origin.parent;
		time = origin.started;
		first = false;
	}
	program->process = 0;
	program->resolved = program->argv = 0;
	program->known = true;
	return 0;
}

static void free_program(struct program *program)
{
	free(program->bytes);
}

int sp_query_chain(struct sp_query *query, const struct sp_log_exec *exec,
		   int (*visit)(void *data, const struct sp_log_ancestor *ancestor), void *data, struct sp_error *e)
{
	sp_cleanup(free_program) struct program program = {0};
	struct origin origin;

	for (uint64_t key = exec->process; key != 0; key = origin.parent) {
		int ret = find_process(query, exec->job, key, &origin, e);
		if (ret <= 0)
			return ret;
		ret = inherit_program(query, exec->job, key, exec->time, &program, e);
		if (ret < 0)
			return ret;
		const struct sp_log_ancestor ancestor = {
			.process = key,
			.pid = origin.pid,
			.program = {.data = program.resolved > 0 ? program.bytes : "", .size = program.resolved},
			.argv = {.data = program.argv > 0 ? program.bytes + program.resolved : "",
				 .size = program.argv},
		};
		ret = visit(data, &ancestor);
		if (ret != 0)
			return ret;
	}
	return 0;
}

struct process_visit {
	int (*visit)(void *data, const struct sp_log_process *process);
	void *data;
};

static int process_row(void *data, sqlite3_stmt *row)
{
	const struct process_visit *visit = data;
	const struct sp_log_process process = {
		.process = (uint64_t)sqlite3_column_int64(row, 0),
		.parent = (uint64_t)sqlite3_column_int64(row, 1),
		.pid = sqlite3_column_int(row, 2),
		.started = sqlite3_column_int64(row, 3),
		.ended = sqlite3_column_int64(row, 4),
		.status = sqlite3_column_int(row, 5),
	};

	return visit->visit(visit->data, &process);
}

int sp_query_processes(struct sp_query *query, int64_t job,
		       int (*visit)(void *data, const struct sp_log_process *process), void *data, struct sp_error *e)
{
	cleanup_statement sqlite3_stmt *statement = NULL;
	struct process_visit context = {.visit = visit, .data = data};

	int ret = prepare(query, &statement,
			  "SELECT key, parent, pid, started, ended, status FROM processes WHERE job = ?1 ORDER BY key",
			  e);
	if (ret < 0)
		return ret;
	(void)sqlite3_bind_int64(statement, 1, job);
	return for_each(query, statement, process_row, &context, e);
}

static int counts_row(void *data, sqlite3_stmt *row)
{
	int64_t *counts = data;

	for (int i = 0; i < sqlite3_column_count(row); i++)
		counts[i] = sqlite3_column_int64(row, i);
	return 0;
}

int sp_query_counts(struct sp_query *query, int64_t job, struct sp_log_counts *counts, struct sp_error *e)
{
	cleanup_statement sqlite3_stmt *statement = NULL;

	_Static_assert(sizeof *counts == 12 * sizeof(int64_t), "one column a member");
	int ret = prepare(query, &statement,
			  "SELECT (SELECT count(*) FROM processes WHERE ?1 = 0 OR job = ?1), count(*),"
			  " count(*) FILTER (WHERE action = 0), count(*) FILTER (WHERE action = 1),"
			  " count(*) FILTER (WHERE action = 2), count(*) FILTER (WHERE action = 3),"
			  " count(*) FILTER (WHERE result = 2), count(*) FILTER (WHERE result = 3),"
			  " count(*) FILTER (WHERE result = 4), count(*) FILTER (WHERE result = 5),"
			  " count(*) FILTER (WHERE result = 0 AND action < 2), count(*) FILTER (WHERE verify = 2)"
			  " FROM execs WHERE ?1 = 0 OR job = ?1",
			  e);
	if (ret < 0)
		return ret;
	*counts = (struct sp_log_counts){0};
	(void)sqlite3_bind_int64(statement, 1, job);
	return for_each(query, statement, counts_row, counts, e);
}

struct rule_visit {
	int (*visit)(void *data, const char *rule, const char *reason, int64_t count);
	void *data;
};

static int rule_row(void *data, sqlite3_stmt *row)
{
	const struct rule_visit *visit = data;

	return visit->visit(visit->data, text_at(row, 0), text_at(row, 1), sqlite3_column_int64(row, 2));
}

int sp_query_rules(struct sp_query *query, int64_t job,
		   int (*visit)(void *data, const char *rule, const char *reason, int64_t count), void *data,
		   struct sp_error *e)
{
	cleanup_statement sqlite3_stmt *statement = NULL;
	struct rule_visit context = {.visit = visit, .data = data};

	int ret = prepare(query, &statement,
			  "SELECT rule, reason, count(*) FROM execs WHERE (?1 = 0 OR job = ?1)" REFUSED
			  " GROUP BY rule, reason ORDER BY 3 DESC, 1, 2",
			  e);
	if (ret < 0)
		return ret;
	(void)sqlite3_bind_int64(statement, 1, job);
	return for_each(query, statement, rule_row, &context, e);
}

static int prepare(struct sp_query *query, sqlite3_stmt **statement, const char *text, struct sp_error *e)
{
	if (*statement != NULL)
		return 0;
	if (sqlite3_prepare_v2(query->db, text, -1, statement, NULL) != SQLITE_OK)
		return sp_database_fail(query->db, query->path, e);
	return 0;
}

static int for_each(struct sp_query *query, sqlite3_stmt *statement, int (*row)(void *data, sqlite3_stmt *statement),
		    void *data, struct sp_error *e)
{
	int step;

	while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
		int ret = row(data, statement);
		if (ret != 0)
			return ret;
	}
	return step == SQLITE_DONE ? 0 : sp_database_fail(query->db, query->path, e);
}

static int64_t one_number(struct sp_query *query, const char *text, struct sp_error *e)
{
	cleanup_statement sqlite3_stmt *statement = NULL;

	int ret = prepare(query, &statement, text, e);
	if (ret < 0)
		return ret;
	return sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int64(statement, 0)
						     : sp_database_fail(query->db, query->path, e);
}

/* A column that holds text or a blob, as it was given to us. */
static struct sp_bytes bytes_at(sqlite3_stmt *statement, int column)
{
	const char *data = sqlite3_column_blob(statement, column);

	return (struct sp_bytes){.data = data == NULL ? "" : data,
				 .size = (size_t)sqlite3_column_bytes(statement, column)};
}

static const char *text_at(sqlite3_stmt *statement, int column)
{
	return (const char *)sqlite3_column_text(statement, column);
}

/* --- what the rules of a job's policies decided --- */

struct hits_visit {
	int (*visit)(void *data, const struct sp_log_rule *rule);
	void *data;
};

static int hits_row(void *data, sqlite3_stmt *row)
{
	const struct hits_visit *visit = data;
	const struct sp_log_rule rule = {
		.generation = (uint64_t)sqlite3_column_int64(row, 0),
		.policy = text_at(row, 1),
		.policy_file = text_at(row, 2),
		.policy_digest = (uint64_t)sqlite3_column_int64(row, 3),
		.number = (uint32_t)sqlite3_column_int64(row, 4),
		.rule = text_at(row, 5),
		.action = sqlite3_column_int(row, 6),
		.hits = (uint64_t)sqlite3_column_int64(row, 7),
		.last = sqlite3_column_int64(row, 8),
	};

	return visit->visit(visit->data, &rule);
}

int sp_query_hits(struct sp_query *query, int64_t job, int (*visit)(void *data, const struct sp_log_rule *rule),
		  void *data, struct sp_error *e)
{
	cleanup_statement sqlite3_stmt *statement = NULL;
	struct hits_visit context = {.visit = visit, .data = data};

	if (query->schema < 4)
		return 0;
	/* A generation in which nothing was decided has one row without a rule. */
	int ret = prepare(query, &statement,
			  "SELECT g.generation, g.policy, g.policy_file, g.policy_digest, r.number, r.rule, r.action, "
			  "r.hits, r.last"
			  " FROM (SELECT 1 AS generation, policy, policy_file, policy_digest FROM jobs WHERE number = "
			  "?1 UNION ALL"
			  " SELECT generation, policy, policy_file, policy_digest FROM policies WHERE job = ?1) g"
			  " LEFT JOIN rules r ON r.job = ?1 AND r.generation = g.generation"
			  " ORDER BY g.generation, r.number",
			  e);
	if (ret < 0)
		return ret;
	(void)sqlite3_bind_int64(statement, 1, job);
	return for_each(query, statement, hits_row, &context, e);
}
