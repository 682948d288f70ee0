/* See audit_fixture.h. */
#include "audit_fixture.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <ftw.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static pid_t test; /* the process that Criterion made for the test */

struct fixture fixture_make(void)
{
	struct fixture fixture = {.directory = "/tmp/sallyport-audit-XXXXXX"};

	test = getpid();
	cr_assert_not_null(mkdtemp(fixture.directory));
	snprintf(fixture.database, sizeof fixture.database, "%s/audit.db", fixture.directory);
	snprintf(fixture.spool, sizeof fixture.spool, "%s.spool", fixture.database);
	return fixture;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
	(void)status;
	(void)type;
	(void)walk;
	return remove(path);
}

void fixture_remove(struct fixture *fixture)
{
	(void)nftw(fixture->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void must_fail(const char *file, int line, const char *condition, const char *text)
{
	if (getpid() == test)
		cr_assert_fail("%s:%d: %s: %s", file, line, condition, text);
	fprintf(stderr, "in a child: %s:%d: %s: %s\n", file, line, condition, text);
	_exit(99);
}

void append_job(struct sp_audit *audit, uint64_t job)
{
	const struct sp_audit_job record = {
		.job = job,
		.time = 1000000000,
		.supervisor = getpid(),
		.uid = getuid(),
		.policy = "record",
		.policy_file = "(built-in)",
		.policy_digest = UINT64_C(0xfedcba9876543210),
		.tracking = "attached",
		.cwd = "/src",
		.argv = {"make\0-j2", 9},
	};

	must(sp_audit_job(audit, &record) == 0, "");
}

void append_exec(struct sp_audit *audit, uint64_t job, uint64_t process, uint64_t exec)
{
	const struct sp_audit_exec record = {
		.job = job,
		.process = process,
		.exec = exec,
		.time = (int64_t)(2000000000 + exec),
		.tid = (pid_t)(1000 + process),
		.matched = 1,
		.rule = "default",
		.path = {"/bin/true", 9},
		.resolved = {"/usr/bin/true", 13},
		.argv = {"true\0-x", 8},
		.argc = 2,
	};

	must(sp_audit_exec(audit, &record) == 0, "");
}

void append_lifecycle(struct sp_audit *audit, uint64_t job, uint64_t process)
{
	const struct sp_audit_process born = {
		.job = job, .process = process, .parent = process - 1, .time = 5, .pid = (pid_t)(1000 + process)};
	const struct sp_audit_result result = {.job = job,
					       .exec = process,
					       .time = (int64_t)(3000000000 + process),
					       .result = SP_RESULT_EXECED,
					       .verify = SP_VERIFY_OK};
	const struct sp_audit_exit ended = {.job = job, .process = process, .time = 9, .status = 3 << 8};

	must(sp_audit_process(audit, &born) == 0, "");
	append_exec(audit, job, process, process);
	must(sp_audit_result(audit, &result) == 0, "");
	must(sp_audit_exit(audit, &ended) == 0, "");
}

struct sp_audit *must_open(const struct fixture *fixture)
{
	struct sp_audit *audit = NULL;
	struct sp_error e = {0};

	must(sp_audit_open(fixture->database, &audit, &e) == 0, e.text);
	must(sp_audit_ready(audit, &e) == 0, e.text);
	return audit;
}

void must_close(struct sp_audit *audit)
{
	struct sp_error e = {0};

	must(sp_audit_close(audit, &e) == 0, e.text);
}

static void close_database(sqlite3 **db)
{
	(void)sqlite3_close(*db);
}

int64_t sql_number(const struct fixture *fixture, const char *sql)
{
	[[gnu::cleanup(close_database)]] sqlite3 *db = NULL;
	sqlite3_stmt *statement = NULL;

	cr_assert_eq(sqlite3_open_v2(fixture->database, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK, "%s",
		     sqlite3_errmsg(db));
	/* Whoever was killed a moment ago may still be about to die. */
	(void)sqlite3_busy_timeout(db, 10000);
	cr_assert_eq(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
	cr_assert_eq(sqlite3_step(statement), SQLITE_ROW, "%s: %s", sql, sqlite3_errmsg(db));
	int64_t number = sqlite3_column_int64(statement, 0);
	(void)sqlite3_finalize(statement);
	return number;
}

void sql_run(const struct fixture *fixture, const char *sql)
{
	[[gnu::cleanup(close_database)]] sqlite3 *db = NULL;

	cr_assert_eq(sqlite3_open(fixture->database, &db), SQLITE_OK);
	(void)sqlite3_busy_timeout(db, 10000);
	cr_assert_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
}

int count_spool_files(const struct fixture *fixture, const char *suffix, char path[static 256])
{
	DIR *directory = opendir(fixture->spool);
	int count = 0;

	if (directory == NULL)
		return 0;
	for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
		size_t length = strlen(entry->d_name);
		if (entry->d_name[0] == '.' || length < strlen(suffix) ||
		    strcmp(entry->d_name + length - strlen(suffix), suffix) != 0)
			continue;
		count++;
		snprintf(path, 256, "%.90s/%.150s", fixture->spool, entry->d_name);
	}
	(void)closedir(directory);
	return count;
}

void assert_complete(const struct fixture *fixture, uint64_t job, int64_t count)
{
	static const char *const queries[] = {
		"SELECT count(*) FROM processes WHERE job = (SELECT number FROM jobs WHERE key = %lld)",
		"SELECT count(*) FROM processes WHERE status = 3 << 8 AND job = (SELECT number FROM jobs WHERE key = "
		"%lld)",
		"SELECT count(*) FROM execs WHERE job = (SELECT number FROM jobs WHERE key = %lld)",
		"SELECT count(*) FROM execs WHERE result = 2 AND verify = 1 AND length(argv) = 8 AND"
		" job = (SELECT number FROM jobs WHERE key = %lld)",
		"SELECT coalesce(max(key), 0) FROM execs WHERE job = (SELECT number FROM jobs WHERE key = %lld)",
	};

	for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
		char sql[256];
		snprintf(sql, sizeof sql, queries[i], (long long)job);
		cr_assert_eq(sql_number(fixture, sql), count, "%s: %lld instead of %lld", sql,
			     (long long)sql_number(fixture, sql), (long long)count);
	}
}

void die_after(const struct fixture *fixture, uint64_t job, uint64_t lifecycles)
{
	int status;

	pid_t child = fork();
	cr_assert_geq(child, 0);
	if (child == 0) {
		struct sp_audit *audit = must_open(fixture);
		append_job(audit, job);
		for (uint64_t i = 1; i <= lifecycles; i++)
			append_lifecycle(audit, job, i);
		(void)kill(getpid(), SIGKILL);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the child failed: %#x", (unsigned)status);
}
