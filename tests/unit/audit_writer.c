/* The whole audit trail: what is appended is in the database after the close, whatever the database and the disk do
 * meanwhile. */
#include "audit/record.h"
#include "audit/spool.h"
#include "audit_fixture.h"
#include "util/cleanup.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

Test(audit_writer, stores_everything)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	const struct sp_audit_job_end end = {.job = 1, .time = 7, .status = 2 << 8};
	char path[256];

	struct sp_audit *audit = must_open(&fixture);
	append_job(audit, 1);
	for (uint64_t i = 1; i <= 5000; i++)
		append_lifecycle(audit, 1, i);
	cr_assert_eq(sp_audit_job_end(audit, &end), 0);
	must_close(audit);
	assert_complete(&fixture, 1, 5000);
	cr_assert_eq(sql_number(&fixture,
				"SELECT count(*) FROM jobs WHERE key = 1 AND started = 1000000000 AND ended = 7"
				" AND status = 512 AND policy = 'record' AND policy_file = '(built-in)'"
				" AND policy_digest = -81985529216486896 AND tracking = 'attached'"
				" AND cwd = '/src' AND argv = x'6d616b65002d6a3200'"),
		     1);
	cr_assert_eq(count_spool_files(&fixture, "", path), 0, "%s is left", path);
}

Test(audit_writer, for_the_owner_only)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	struct stat status;
	char path[256];

	(void)umask(0);
	snprintf(fixture.database, sizeof fixture.database, "%s/a/b/audit.db", fixture.directory);
	snprintf(fixture.spool, sizeof fixture.spool, "%s.spool", fixture.database);
	struct sp_audit *audit = must_open(&fixture);
	append_job(audit, 1);
	cr_assert_eq(count_spool_files(&fixture, "", path), 1);
	cr_assert(stat(path, &status) == 0 && status.st_mode == (S_IFREG | 0600));
	cr_assert(stat(fixture.spool, &status) == 0 && status.st_mode == (S_IFDIR | 0700));
	must_close(audit);
	cr_assert(stat(fixture.database, &status) == 0 && status.st_mode == (S_IFREG | 0600));
	snprintf(path, sizeof path, "%s/a", fixture.directory);
	cr_assert(stat(path, &status) == 0 && status.st_mode == (S_IFDIR | 0700));
}

/* Bytes that are no text, and numbers at their limits, come back as they went in. */
Test(audit_writer, bytes_are_kept)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	const struct sp_audit_exec record = {
		.job = UINT64_MAX,
		.process = 1,
		.exec = UINT64_MAX,
		.time = INT64_MIN,
		.tid = INT32_MAX,
		.action = 2,
		.err = 13,
		.matched = UINT32_MAX,
		.rule = "r\xff",
		.reason = "grün",
		.path = {"\xff/x", 3},
		.resolved = {"/grün", 6},
		.argv = {"\xfe\0\0a\nb", 7},
		.argc = 3,
		.others = {"a\0b", 4},
	};

	struct sp_audit *audit = must_open(&fixture);
	cr_assert_eq(sp_audit_exec(audit, &record), 0);
	must_close(audit);
	cr_assert_eq(sql_number(&fixture,
				"SELECT count(*) FROM execs e JOIN jobs j ON j.number = e.job WHERE j.key = -1"
				" AND e.key = -1 AND e.time = -9223372036854775808 AND tid = 2147483647"
				" AND matched = 4294967295 AND action = 2 AND errno = 13 AND argc = 3"
				" AND hex(rule) = '72FF' AND reason = 'grün' AND hex(path) = 'FF2F78'"
				" AND typeof(path) = 'blob' AND resolved = '/grün' AND typeof(resolved) = 'text'"
				" AND e.argv = x'fe0000610a6200' AND others = x'61006200'"),
		     1);
}

Test(audit_writer, large_records)
{
	const size_t size = 6u << 20;
	cleanup_fixture struct fixture fixture = fixture_make();
	cleanup_free char *bytes = malloc(SP_AUDIT_RECORD_MAX);
	struct sp_audit_exec record = {.job = 1, .process = 1, .exec = 1, .argv = {bytes, size}, .argc = 1};
	char sql[128];

	memset(bytes, 'x', SP_AUDIT_RECORD_MAX);
	bytes[size - 1] = '\0';
	struct sp_audit *audit = must_open(&fixture);
	append_job(audit, 1);
	for (; record.exec <= 5; record.exec++)
		cr_assert_eq(sp_audit_exec(audit, &record), 0);
	record.argv.size = SP_AUDIT_RECORD_MAX;
	cr_assert_eq(sp_audit_exec(audit, &record), -EMSGSIZE);
	/* The largest that fits. */
	record.argv.size = 0;
	record.argv.size = SP_AUDIT_RECORD_MAX - sp_record_size(SP_RECORD_EXEC, &record);
	cr_assert_eq(sp_audit_exec(audit, &record), 0);
	append_lifecycle(audit, 1, 100);
	must_close(audit);
	snprintf(sql, sizeof sql, "SELECT count(*) FROM execs WHERE length(argv) = %zu", size);
	cr_assert_eq(sql_number(&fixture, sql), 5);
	cr_assert_eq(sql_number(&fixture, "SELECT count(*) FROM execs"), 7);
}

Test(audit_writer, two_supervisors_at_once)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	pid_t children[2];

	for (uint64_t i = 0; i < 2; i++) {
		children[i] = fork();
		cr_assert_geq(children[i], 0);
		if (children[i] != 0)
			continue;
		struct sp_audit *audit = must_open(&fixture);
		append_job(audit, i + 1);
		for (uint64_t j = 1; j <= 20000; j++)
			append_lifecycle(audit, i + 1, j);
		_exit(sp_audit_close(audit, NULL) != 0);
	}
	for (int i = 0; i < 2; i++) {
		int status;
		cr_assert_eq(waitpid(children[i], &status, 0), children[i]);
		cr_assert_eq(status, 0);
	}
	assert_complete(&fixture, 1, 20000);
	assert_complete(&fixture, 2, 20000);
}

/* Each must find it either not there or whole, and one of them creates it. */
Test(audit_writer, created_by_several_at_once)
{
	for (int round = 0; round < 40; round++) {
		cleanup_fixture struct fixture fixture = fixture_make();
		pid_t children[4];
		for (uint64_t i = 0; i < 4; i++) {
			children[i] = fork();
			cr_assert_geq(children[i], 0);
			if (children[i] != 0)
				continue;
			struct sp_audit *audit = must_open(&fixture);
			append_job(audit, i + 1);
			must_close(audit);
			_exit(0);
		}
		for (int i = 0; i < 4; i++) {
			int status;
			cr_assert_eq(waitpid(children[i], &status, 0), children[i]);
			cr_assert_eq(status, 0);
		}
		cr_assert_eq(sql_number(&fixture, "SELECT count(*) FROM jobs WHERE policy = 'record'"), 4);
	}
}

/* Several jobs of one supervisor, their records mixed. */
Test(audit_writer, several_jobs)
{
	cleanup_fixture struct fixture fixture = fixture_make();

	struct sp_audit *audit = must_open(&fixture);
	for (uint64_t job = 1; job <= 5; job++)
		append_job(audit, job);
	for (uint64_t i = 1; i <= 500; i++)
		for (uint64_t job = 1; job <= 5; job++)
			append_lifecycle(audit, job, i);
	must_close(audit);
	for (uint64_t job = 1; job <= 5; job++)
		assert_complete(&fixture, job, 500);
	cr_assert_eq(sql_number(&fixture, "SELECT count(*) FROM jobs WHERE policy = 'record'"), 5);
}

static sqlite3 *lock(const struct fixture *fixture, const char *how)
{
	sqlite3 *db = NULL;

	cr_assert_eq(sqlite3_open(fixture->database, &db), SQLITE_OK);
	cr_assert_eq(sqlite3_busy_timeout(db, 10000), SQLITE_OK);
	cr_assert_eq(sqlite3_exec(db, how, NULL, NULL, NULL), SQLITE_OK, "%s", sqlite3_errmsg(db));
	return db;
}

static void *close_audit(void *audit)
{
	return (void *)(intptr_t)sp_audit_close(audit, NULL);
}

/* Somebody is writing to the database for a while: nothing waits but the end, and nothing is lost. */
Test(audit_writer, database_locked_for_a_while)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	pthread_t thread;
	void *result;

	must_close(must_open(&fixture));
	sqlite3 *other = lock(&fixture, "BEGIN IMMEDIATE");
	struct sp_audit *audit = must_open(&fixture);
	append_job(audit, 1);
	for (uint64_t i = 1; i <= 3000; i++)
		append_lifecycle(audit, 1, i);
	cr_assert_eq(sql_number(&fixture, "SELECT count(*) FROM execs"), 0, "the lock does not work");
	cr_assert_eq(pthread_create(&thread, NULL, close_audit, audit), 0);
	cr_assert_eq(sqlite3_close(other), SQLITE_OK);
	cr_assert_eq(pthread_join(thread, &result), 0);
	cr_assert_eq((intptr_t)result, 0);
	assert_complete(&fixture, 1, 3000);
}

/* It stays locked: the close gives up after its patience, says so, and the next start takes the spool in. */
Test(audit_writer, database_stays_locked)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	struct sp_error e = {0};
	char path[256];

	must_close(must_open(&fixture));
	sqlite3 *other = lock(&fixture, "BEGIN IMMEDIATE");
	struct sp_audit *audit = must_open(&fixture);
	append_job(audit, 1);
	append_lifecycle(audit, 1, 1);
	cr_assert_eq(sp_audit_close(audit, &e), -EBUSY);
	cr_assert_not_null(strstr(e.text, "database is locked"), "%s", e.text);
	cr_assert_not_null(strstr(e.text, "stay in the spool"), "%s", e.text);
	cr_assert_eq(count_spool_files(&fixture, "", path), 1);
	cr_assert_eq(sqlite3_close(other), SQLITE_OK);
	must_close(must_open(&fixture));
	assert_complete(&fixture, 1, 1);
	cr_assert_eq(count_spool_files(&fixture, "", path), 0);
}

/* Not even readable when we start: that is no reason not to start. */
Test(audit_writer, database_locked_from_the_start)
{
	cleanup_fixture struct fixture fixture = fixture_make();

	sqlite3 *other = lock(&fixture, "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
	struct sp_audit *audit = must_open(&fixture);
	append_job(audit, 1);
	append_lifecycle(audit, 1, 1);
	cr_assert_eq(sqlite3_close(other), SQLITE_OK);
	must_close(audit);
	assert_complete(&fixture, 1, 1);
}

/* Files that are no audit database are refused in words, left as they are, and nothing is left beside them. */
static void assert_refused(const struct fixture *fixture, int expected, const char *says)
{
	const struct sp_audit_job job = {.job = 1};
	struct sp_audit *audit = NULL;
	struct sp_error e = {0};

	int ret = sp_audit_open(fixture->database, &audit, &e);
	if (ret == 0) {
		ret = sp_audit_ready(audit, &e);
		cr_assert_eq(sp_audit_job(audit, &job), ret);
		cr_assert_eq(sp_audit_close(audit, NULL), 0, "told twice");
	}
	cr_assert_eq(ret, expected, "%d: %s", ret, e.text);
	cr_assert_not_null(strstr(e.text, says), "%s", e.text);
	cr_assert_eq(access(fixture->spool, F_OK), -1, "the spool is left");
}

Test(audit_writer, text_file_instead_of_a_database)
{
	static const char text[] =
		"root:x:0:0:root:/root:/bin/bash\nand some more of it, and of it, and of it, and of it\n"
		"more than the hundred bytes of a header\n";
	cleanup_fixture struct fixture fixture = fixture_make();
	char back[sizeof text] = "";

	FILE *file = fopen(fixture.database, "we");
	fputs(text, file);
	cr_assert_eq(fclose(file), 0);
	assert_refused(&fixture, -EINVAL, "not a database");
	file = fopen(fixture.database, "re");
	cr_assert_eq(fread(back, 1, sizeof text, file), sizeof text - 1);
	cr_assert_eq(fclose(file), 0);
	cr_assert_str_eq(back, text);
}

Test(audit_writer, other_databases)
{
	cleanup_fixture struct fixture fixture = fixture_make();

	sql_run(&fixture, "CREATE TABLE mails (text)");
	assert_refused(&fixture, -EINVAL, "not an audit database");
	sql_run(&fixture, "DROP TABLE mails; PRAGMA application_id = 5");
	assert_refused(&fixture, -EINVAL, "not an audit database");
	sql_run(&fixture, "PRAGMA application_id = 0x53504131; PRAGMA user_version = 999");
	assert_refused(&fixture, -EINVAL, "newer sallyport");
}

Test(audit_writer, directory_instead_of_a_database)
{
	cleanup_fixture struct fixture fixture = fixture_make();

	cr_assert_eq(mkdir(fixture.database, 0700), 0);
	assert_refused(&fixture, -EISDIR, "directory");
	snprintf(fixture.database, sizeof fixture.database, "/dev/null/x/audit.db");
	assert_refused(&fixture, -ENOTDIR, "Not a directory");
}

/* Our own mount namespace, where the tests may mount as they like. */
static void enter_mounts(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		cr_skip_test("may not mount");
}

/* Appends until there is no room; how many lifecycles were appended whole. */
static uint64_t fill(struct sp_audit *audit, uint64_t limit)
{
	append_job(audit, 1);
	for (uint64_t i = 1; i <= limit; i++) {
		const struct sp_audit_exec record = {.job = 1, .process = 1, .exec = i, .argv = {"true\0-x", 8}};
		int ret = sp_audit_exec(audit, &record);
		if (ret == -ENOSPC)
			return i - 1;
		cr_assert_eq(ret, 0);
	}
	return limit;
}

/* The spool's disk is full: an error, no SIGBUS; what was appended is stored; what was refused is told. */
static void assert_filled(const struct fixture *fixture, struct sp_audit *audit)
{
	uint64_t count = fill(audit, 100000);
	cr_assert_lt(count, 100000, "there was room for everything");
	must_close(audit);
	cr_assert_eq(sql_number(fixture, "SELECT count(*) FROM execs"), (int64_t)count);
	cr_assert_eq(sql_number(fixture, "SELECT count(*) FROM notes WHERE text LIKE '%no room for 1 records%'"), 1);
}

Test(audit_writer, spool_disk_full)
{
	cleanup_fixture struct fixture fixture = fixture_make();

	enter_mounts();
	cr_assert_eq(mkdir(fixture.spool, 0700), 0);
	cr_assert_eq(mount("none", fixture.spool, "tmpfs", 0, "size=12m"), 0);
	assert_filled(&fixture, must_open(&fixture));
	cr_assert_eq(umount(fixture.spool), 0);
}

Test(audit_writer, file_size_limit)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	const struct rlimit limit = {SP_SEGMENT_FIRST_SIZE - 1, SP_SEGMENT_FIRST_SIZE - 1};

	struct sp_audit *audit = must_open(&fixture);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_filled(&fixture, audit);
}

Test(audit_writer, no_room_at_all)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	const struct rlimit limit = {100000, 100000};
	struct sp_audit *audit = NULL;
	struct sp_error e = {0};

	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	cr_assert_eq(sp_audit_open(fixture.database, &audit, &e), -ENOSPC);
	cr_assert_not_null(strstr(e.text, "cannot reserve"), "%s", e.text);
	cr_assert_eq(access(fixture.spool, F_OK), -1);
}

/* The database's disk is full: the spool, which has its room, stays, and is taken in when there is room again. */
Test(audit_writer, database_disk_full)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	struct sp_error e = {0};
	char path[256];

	enter_mounts();
	cr_assert_eq(mount("none", fixture.directory, "tmpfs", 0, "size=8700k"), 0);
	struct sp_audit *audit = must_open(&fixture);
	append_job(audit, 1);
	for (uint64_t i = 1; i <= 4000; i++)
		append_lifecycle(audit, 1, i);
	cr_assert_eq(sp_audit_close(audit, &e), -ENOSPC, "%s", e.text);
	cr_assert_eq(count_spool_files(&fixture, "", path), 2);
	cr_assert_eq(mount("none", fixture.directory, "tmpfs", MS_REMOUNT, "size=64m"), 0);
	must_close(must_open(&fixture));
	assert_complete(&fixture, 1, 4000);
	cr_assert_eq(umount(fixture.directory), 0);
}

/* What is behind a good header may still be bad: the records are not lost with it. */
Test(audit_writer, only_the_header_is_good)
{
	static const char junk[4096 - 100];
	cleanup_fixture struct fixture fixture = fixture_make();
	struct sp_error e = {0};
	char path[256];

	must_close(must_open(&fixture));
	sqlite3 *db = lock(&fixture, "PRAGMA wal_checkpoint(TRUNCATE)");
	cr_assert_eq(sqlite3_close(db), SQLITE_OK);
	cleanup_close int fd = open(fixture.database, O_RDWR | O_CLOEXEC);
	cr_assert_eq(pwrite(fd, junk, sizeof junk, 100), (ssize_t)sizeof junk);
	struct sp_audit *audit = must_open(&fixture);
	append_job(audit, 1);
	append_lifecycle(audit, 1, 1);
	cr_assert_lt(sp_audit_close(audit, &e), 0);
	cr_assert_not_null(strstr(e.text, "stay in the spool"), "%s", e.text);
	cr_assert_eq(count_spool_files(&fixture, "", path), 1);
}

static off_t log_size(const struct fixture *fixture)
{
	char path[256];
	struct stat status;

	(void)snprintf(path, sizeof path, "%s-wal", fixture->database);
	return stat(path, &status) == 0 ? status.st_size : -1;
}

/* Many short jobs, none of which writes enough for a checkpoint, must not make the next one read a longer and longer log. */
Test(audit_writer, log_is_written_back_by_the_next)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	struct sp_audit *audit = must_open(&fixture);

	append_job(audit, 1);
	for (uint64_t i = 1; i <= 3000; i++)
		append_lifecycle(audit, 1, i);
	must_close(audit);
	cr_assert_gt(log_size(&fixture), 512 << 10);
	must_close(must_open(&fixture));
	cr_assert_eq(log_size(&fixture), 0);
	assert_complete(&fixture, 1, 3000);
}

/* A file system without fallocate(2). */
Test(audit_writer, without_fallocate)
{
	cleanup_fixture struct fixture fixture = fixture_make();

	enter_mounts();
	cr_assert_eq(mkdir(fixture.spool, 0700), 0);
	cr_assert_eq(mount("none", fixture.spool, "ramfs", 0, NULL), 0);
	struct sp_audit *audit = must_open(&fixture);
	append_job(audit, 1);
	for (uint64_t i = 1; i <= 2000; i++)
		append_lifecycle(audit, 1, i);
	must_close(audit);
	assert_complete(&fixture, 1, 2000);
	cr_assert_eq(umount(fixture.spool), 0);
}

/* Somebody writes to our spool while we live: that is told, and what is good is taken in by the next. */
Test(audit_writer, spool_tampered_with)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	struct sp_error e = {0};
	char path[256];

	must_close(must_open(&fixture));
	sqlite3 *other = lock(&fixture, "BEGIN IMMEDIATE");
	struct sp_audit *audit = must_open(&fixture);
	append_job(audit, 1);
	for (uint64_t i = 1; i <= 5; i++)
		append_lifecycle(audit, 1, i);
	cr_assert_eq(count_spool_files(&fixture, "", path), 1);
	cleanup_close int fd = open(path, O_RDWR | O_CLOEXEC);
	cr_assert_eq(pwrite(fd, "\xff\xff\xff", 3, 700), 3);
	cr_assert_eq(sqlite3_close(other), SQLITE_OK);
	cr_assert_eq(sp_audit_close(audit, &e), -EBADMSG);
	cr_assert_not_null(strstr(e.text, "damaged"), "%s", e.text);
	must_close(must_open(&fixture));
	cr_assert_eq(sql_number(&fixture, "SELECT max(key) FROM execs"), 5);
	cr_assert_eq(count_spool_files(&fixture, ".corrupt", path), 1);
}

/* Whoever does not ask whether the database is good learns it from the close. */
Test(audit_writer, refused_without_asking)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	const struct sp_audit_job job = {.job = 1};
	struct sp_audit *audit = NULL;
	struct sp_error e = {0};

	sql_run(&fixture, "CREATE TABLE mails (text)");
	cr_assert_eq(sp_audit_open(fixture.database, &audit, &e), 0);
	cr_assert_eq(sp_audit_job(audit, &job), -EINVAL);
	cr_assert_eq(sp_audit_close(audit, &e), -EINVAL);
	cr_assert_not_null(strstr(e.text, "not an audit database"), "%s", e.text);
}

/* A process that never started anything. */
Test(audit_writer, opened_and_closed)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	struct sp_audit *audit = NULL;
	char path[256];

	for (int i = 0; i < 20; i++) {
		cr_assert_eq(sp_audit_open(fixture.database, &audit, NULL), 0);
		must_close(audit);
	}
	cr_assert_eq(sp_audit_close(NULL, NULL), 0);
	cr_assert_eq(count_spool_files(&fixture, "", path), 0);
}

Test(audit_writer, default_path)
{
	char *path = NULL;

	(void)setenv("XDG_STATE_HOME", "/x/state", 1);
	cr_assert_eq(sp_audit_default_path(&path, NULL), 0);
	cr_assert_str_eq(path, "/x/state/sallyport/audit.db");
	free(path);
	(void)setenv("XDG_STATE_HOME", "relative", 1);
	(void)setenv("HOME", "/home/x", 1);
	cr_assert_eq(sp_audit_default_path(&path, NULL), 0);
	cr_assert_str_eq(path, "/home/x/.local/state/sallyport/audit.db");
	free(path);
	(void)unsetenv("XDG_STATE_HOME");
	(void)unsetenv("HOME");
	cr_assert_eq(sp_audit_default_path(&path, NULL), 0);
	cr_assert_eq(path[0], '/');
	free(path);
}
