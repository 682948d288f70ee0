/* What a dead supervisor left is taken in exactly once, whole where it is whole, and as far as it is readable where
 * it is not. */
#include "audit/recover.h"
#include "audit/spool.h"
#include "audit_fixture.h"
#include "util/cleanup.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* Sentences that recovery says. */
struct told {
	int count;
	char last[512];
};

static void tell(void *data, const char *sentence)
{
	struct told *told = data;

	told->count++;
	snprintf(told->last, sizeof told->last, "%s", sentence);
}

static int64_t must_recover(const struct fixture *fixture, struct told *told)
{
	struct sp_error e = {0};
	int64_t taken = sp_recover_database(fixture->database, tell, told, &e);

	cr_assert_geq(taken, 0, "%s", e.text);
	return taken;
}

/* The database exists and is empty: then only recovery writes to it. */
static struct fixture with_database(void)
{
	struct fixture fixture = fixture_make();

	must_close(must_open(&fixture));
	return fixture;
}

static void spool_lifecycles(struct sp_spool *spool, uint64_t job, uint64_t count)
{
	const struct sp_audit_job begin = {.job = job, .policy = "p", .argv = {"x", 2}};

	must(sp_spool_append(spool, SP_RECORD_JOB, &begin) == 0, "");
	for (uint64_t i = 1; i <= count; i++) {
		const struct sp_audit_process born = {.job = job, .process = i, .parent = i - 1, .pid = (pid_t)i};
		const struct sp_audit_exec exec = {
			.job = job, .process = i, .exec = i, .argv = {"true\0-x", 8}, .argc = 2, .rule = "default"};
		const struct sp_audit_result result = {
			.job = job, .exec = i, .result = SP_RESULT_EXECED, .verify = SP_VERIFY_OK};
		const struct sp_audit_exit gone = {.job = job, .process = i, .status = 3 << 8};
		must(sp_spool_append(spool, SP_RECORD_PROCESS, &born) == 0, "");
		must(sp_spool_append(spool, SP_RECORD_EXEC, &exec) == 0, "");
		must(sp_spool_append(spool, SP_RECORD_RESULT, &result) == 0, "");
		must(sp_spool_append(spool, SP_RECORD_EXIT, &gone) == 0, "");
	}
}

/* A spool of which a process stored the first `stored` records before it was killed; no thread, so it is exactly
 * that. */
static void leave_spool(const struct fixture *fixture, uint64_t job, uint64_t lifecycles, int stored)
{
	int status;

	pid_t child = fork();
	cr_assert_geq(child, 0);
	if (child == 0) {
		struct sp_spool *spool = NULL;
		struct sp_store *store = NULL;
		int directory = sp_spool_directory(fixture->database, true, NULL);
		must(sp_spool_create(directory, &spool, NULL) == 0, "");
		spool_lifecycles(spool, job, lifecycles);
		if (stored > 0) {
			must(sp_store_open(fixture->database, 1000, &store, NULL) == 0, "");
			must(sp_store_take(store, sp_spool_source(spool), stored, NULL) == stored, "");
		}
		(void)kill(getpid(), SIGKILL);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the child failed: %#x", (unsigned)status);
}

static void assert_nothing_left(const struct fixture *fixture)
{
	char path[256] = "";

	cr_assert_eq(count_spool_files(fixture, "", path), 0, "%s is left", path);
	cr_assert_eq(sql_number(fixture, "SELECT count(*) FROM spools"), 0);
}

Test(audit_recover, whole_spool)
{
	cleanup_fixture struct fixture fixture = with_database();
	struct told told = {0};

	leave_spool(&fixture, 1, 10, 0);
	cr_assert_eq(must_recover(&fixture, &told), 41);
	assert_complete(&fixture, 1, 10);
	assert_nothing_left(&fixture);
	cr_assert_eq(told.count, 0);
	cr_assert_eq(must_recover(&fixture, &told), 0);
	cr_assert_eq(sql_number(&fixture, "SELECT count(*) FROM execs"), 10);
}

/* Whoever opens the database next takes them in. */
Test(audit_recover, by_the_next_supervisor)
{
	cleanup_fixture struct fixture fixture = with_database();

	die_after(&fixture, 1, 50);
	die_after(&fixture, 2, 50);
	must_close(must_open(&fixture));
	assert_complete(&fixture, 1, 50);
	assert_complete(&fixture, 2, 50);
	/* The positions of those that ended well are forgotten now and then. */
	for (int i = 0; i < 40; i++) {
		struct sp_audit *audit = must_open(&fixture);
		append_job(audit, (uint64_t)(3 + i));
		must_close(audit);
	}
	cr_assert_leq(sql_number(&fixture, "SELECT count(*) FROM spools"), 15);
}

Test(audit_recover, half_stored_at_each_record)
{
	for (int stored = 1; stored <= 13; stored++) {
		cleanup_fixture struct fixture fixture = with_database();
		struct told told = {0};
		leave_spool(&fixture, 1, 3, stored);
		cr_assert_eq(must_recover(&fixture, &told), 13 - stored);
		assert_complete(&fixture, 1, 3);
		assert_nothing_left(&fixture);
		cr_assert_eq(told.count, 0, "%s", told.last);
	}
}

/* Some thousand lifecycles do not fit in the first segment. */
Test(audit_recover, several_segments_half_stored)
{
	cleanup_fixture struct fixture fixture = with_database();
	struct told told = {0};
	char path[256];

	leave_spool(&fixture, 1, 30000, 0);
	cr_assert_geq(count_spool_files(&fixture, "", path), 2);
	cr_assert_eq(must_recover(&fixture, &told), 120001);
	leave_spool(&fixture, 2, 5000, 9000);
	cr_assert_eq(must_recover(&fixture, &told), 11001);
	assert_complete(&fixture, 1, 30000);
	assert_complete(&fixture, 2, 5000);
	assert_nothing_left(&fixture);
}

/* Killed at any moment: each append that returned is there, and nothing twice. The child counts in shared memory. */
Test(audit_recover, killed_while_appending)
{
	_Atomic(uint64_t) *done = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cleanup_fixture struct fixture fixture = with_database();

	for (uint64_t round = 1; round <= 12; round++) {
		int ready[2];
		char byte;
		atomic_store(done, 0);
		cr_assert_eq(pipe2(ready, O_CLOEXEC), 0);
		pid_t child = fork();
		cr_assert_geq(child, 0);
		if (child == 0) {
			struct sp_audit *audit = must_open(&fixture);
			append_job(audit, round);
			for (uint64_t i = 1;; i++) {
				append_exec(audit, round, 1, i);
				atomic_store(done, i);
				if (i == round * round * 50)
					must(write(ready[1], "x", 1) == 1, "");
			}
		}
		cr_assert_eq(read(ready[0], &byte, 1), 1);
		cr_assert_eq(kill(child, SIGKILL), 0);
		cr_assert_eq(waitpid(child, NULL, 0), child);
		close(ready[0]);
		close(ready[1]);

		struct told told = {0};
		uint64_t returned = atomic_load(done);
		char sql[256];
		(void)must_recover(&fixture, &told);
		cr_assert_eq(told.count, 0, "%s", told.last);
		snprintf(sql, sizeof sql,
			 "SELECT count(*) FROM execs e JOIN jobs j ON j.number = e.job WHERE j.key = %d", (int)round);
		int64_t stored = sql_number(&fixture, sql);
		/* One more may have been committed when the kill came, before it could be counted. */
		cr_assert(stored == (int64_t)returned || stored == (int64_t)returned + 1,
			  "round %d: %lld stored, %llu appended", (int)round, (long long)stored,
			  (unsigned long long)returned);
		snprintf(sql, sizeof sql,
			 "SELECT max(e.key) FROM execs e JOIN jobs j ON j.number = e.job WHERE j.key = %d", (int)round);
		cr_assert_eq(sql_number(&fixture, sql), stored);
	}
	assert_nothing_left(&fixture);
	(void)munmap(done, 4096);
}

/* Recovery itself is killed, again and again. */
Test(audit_recover, killed_while_recovering)
{
	cleanup_fixture struct fixture fixture = with_database();

	for (uint64_t round = 1; round <= 10; round++) {
		int go[2];
		char byte;
		struct told told = {0};
		leave_spool(&fixture, round, 3000, 0);
		cr_assert_eq(pipe2(go, O_CLOEXEC), 0);
		pid_t child = fork();
		cr_assert_geq(child, 0);
		if (child == 0) {
			must(write(go[1], "x", 1) == 1, "");
			(void)sp_recover_database(fixture.database, NULL, NULL, NULL);
			_exit(0);
		}
		cr_assert_eq(read(go[0], &byte, 1), 1);
		for (uint64_t i = 0; i < round * 3; i++)
			(void)sql_number(&fixture, "SELECT count(*) FROM execs");
		cr_assert_eq(kill(child, SIGKILL), 0);
		cr_assert_eq(waitpid(child, NULL, 0), child);
		close(go[0]);
		close(go[1]);
		(void)must_recover(&fixture, &told);
		cr_assert_eq(told.count, 0, "%s", told.last);
		assert_complete(&fixture, round, 3000);
		assert_nothing_left(&fixture);
	}
}

/* What a supervisor left that had gone on with the jobs of one before it, of which the pid may be higher. */
static void leave_part(const struct fixture *fixture, const char *name, void (*append)(struct sp_spool *spool))
{
	int status;
	char path[256] = "", renamed[512] = "";

	pid_t child = fork();
	cr_assert_geq(child, 0);
	if (child == 0) {
		struct sp_spool *spool = NULL;
		int directory = sp_spool_directory(fixture->database, true, NULL);
		must(sp_spool_create(directory, &spool, NULL) == 0, "");
		append(spool);
		(void)kill(getpid(), SIGKILL);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	/* Under a pid of our choosing: the name's id is what the records are checked with. */
	DIR *directory = opendir(fixture->spool);
	for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
		if (atoi(entry->d_name) == child) {
			snprintf(path, sizeof path, "%.90s/%.150s", fixture->spool, entry->d_name);
			snprintf(renamed, sizeof renamed, "%.90s/%s%.150s", fixture->spool, name,
				 strchr(entry->d_name, '-'));
		}
	(void)closedir(directory);
	cr_assert_eq(rename(path, renamed), 0, "%s: %s", path, strerror(errno));
}

static void append_beginning(struct sp_spool *spool)
{
	const struct sp_audit_job job = {.job = 7, .policy = "p", .argv = {"x", 2}};
	const struct sp_audit_process born = {.job = 7, .process = 1, .pid = 1};
	const struct sp_audit_exec exec = {
		.job = 7, .process = 1, .exec = 1, .argv = {"true\0-x", 8}, .argc = 2, .rule = "default"};

	must(sp_spool_append(spool, SP_RECORD_JOB, &job) == 0, "");
	must(sp_spool_append(spool, SP_RECORD_PROCESS, &born) == 0, "");
	must(sp_spool_append(spool, SP_RECORD_EXEC, &exec) == 0, "");
}

static void append_end(struct sp_spool *spool)
{
	const struct sp_audit_result result = {.job = 7, .exec = 1, .result = SP_RESULT_EXECED, .verify = SP_VERIFY_OK};
	const struct sp_audit_exit gone = {.job = 7, .process = 1, .status = 3 << 8};

	must(sp_spool_append(spool, SP_RECORD_RESULT, &result) == 0, "");
	must(sp_spool_append(spool, SP_RECORD_EXIT, &gone) == 0, "");
}

/* By age, not by pid. */
Test(audit_recover, two_kills_in_a_row)
{
	cleanup_fixture struct fixture fixture = with_database();
	struct told told = {0};

	leave_part(&fixture, "900", append_beginning);
	leave_part(&fixture, "100", append_end);
	cr_assert_eq(must_recover(&fixture, &told), 5);
	cr_assert_eq(told.count, 0, "%s", told.last);
	assert_complete(&fixture, 7, 1);
	assert_nothing_left(&fixture);
}

Test(audit_recover, two_at_once)
{
	cleanup_fixture struct fixture fixture = with_database();
	pid_t children[3];
	struct told told = {0};

	for (uint64_t job = 1; job <= 12; job++)
		leave_spool(&fixture, job, 200, 0);
	for (int i = 0; i < 3; i++) {
		children[i] = fork();
		cr_assert_geq(children[i], 0);
		if (children[i] == 0)
			_exit(sp_recover_database(fixture.database, NULL, NULL, NULL) < 0);
	}
	for (int i = 0; i < 3; i++) {
		int status;
		cr_assert_eq(waitpid(children[i], &status, 0), children[i]);
		cr_assert_eq(status, 0);
	}
	(void)must_recover(&fixture, &told);
	for (uint64_t job = 1; job <= 12; job++)
		assert_complete(&fixture, job, 200);
	assert_nothing_left(&fixture);
}

Test(audit_recover, living_owner_is_left_alone)
{
	cleanup_fixture struct fixture fixture = with_database();
	struct told told = {0};
	char path[256];

	struct sp_audit *audit = must_open(&fixture);
	append_job(audit, 1);
	append_lifecycle(audit, 1, 1);
	cr_assert_eq(count_spool_files(&fixture, "", path), 1);
	cr_assert_eq(must_recover(&fixture, &told), 0);
	cr_assert_eq(count_spool_files(&fixture, "", path), 1);
	append_lifecycle(audit, 1, 2);
	must_close(audit);
	assert_complete(&fixture, 1, 2);
}

static off_t spool_file(const struct fixture *fixture, char path[static 256])
{
	struct stat status;

	cr_assert_eq(count_spool_files(fixture, "", path), 1);
	cr_assert_eq(stat(path, &status), 0);
	return status.st_size;
}

/* Whatever length a power failure or a full backup disk leaves. */
Test(audit_recover, truncated)
{
	static const off_t lengths[] = {1, 7, 63, 64, 65, 80, 100, 500, 1000, 1111, 2000, 4096, 10000, 262143};
	int64_t before = -1;

	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
		cleanup_fixture struct fixture fixture = with_database();
		struct told told = {0};
		char path[256];
		leave_spool(&fixture, 1, 20, 0);
		off_t size = spool_file(&fixture, path);
		cr_assert_eq(truncate(path, lengths[i] < size ? lengths[i] : size - 1), 0);
		int64_t taken = must_recover(&fixture, &told);
		cr_assert_geq(taken, before, "a longer rest gave less");
		cr_assert_leq(taken, 81);
		before = taken;
		cr_assert_eq(told.count, 1, "%ld bytes", (long)lengths[i]);
		cr_assert_not_null(strstr(told.last, "is damaged"), "%s", told.last);
		cr_assert_eq(count_spool_files(&fixture, ".corrupt", path), 1);
		cr_assert_eq(count_spool_files(&fixture, "", path), 1);
		cr_assert_eq(sql_number(&fixture, "SELECT count(*) FROM notes WHERE text LIKE '%is damaged%'"), 1);
		cr_assert_eq(must_recover(&fixture, &told), 0);
		cr_assert_eq(told.count, 1, "said twice");
	}
	cr_assert_eq(before, 81, "only the empty end was cut off in the last one");
}

/* One bit anywhere among the records costs at most one record, and is noticed. */
Test(audit_recover, flipped_bits)
{
	unsigned seed = 5;

	for (int round = 0; round < 40; round++) {
		cleanup_fixture struct fixture fixture = with_database();
		struct told told = {0};
		char path[256];
		unsigned char byte;
		leave_spool(&fixture, 1, 20, 0);
		(void)spool_file(&fixture, path);
		cleanup_close int fd = open(path, O_RDWR | O_CLOEXEC);
		off_t at = rand_r(&seed) % 4000;
		cr_assert_eq(pread(fd, &byte, 1, at), 1);
		byte ^= (unsigned char)(1 << rand_r(&seed) % 8);
		cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
		int64_t taken = must_recover(&fixture, &told);
		/* 40 to 63: the header's unused rest. */
		if (at < 40)
			cr_assert_eq(taken, 81);
		if (at < 40 || at >= 64) {
			cr_assert_geq(taken, 80, "byte %ld: %lld records", (long)at, (long long)taken);
			cr_assert_eq(told.count, 1, "byte %ld", (long)at);
			cr_assert_eq(count_spool_files(&fixture, ".corrupt", path), 1);
		}
	}
}

/* The job's own record is the one that is lost: the rest is kept, below a job that has nothing but its number. */
Test(audit_recover, job_record_lost)
{
	cleanup_fixture struct fixture fixture = with_database();
	struct told told = {0};
	char path[256];

	leave_spool(&fixture, 77, 5, 0);
	(void)spool_file(&fixture, path);
	cleanup_close int fd = open(path, O_RDWR | O_CLOEXEC);
	cr_assert_eq(pwrite(fd, "\xff\xff\xff\xff", 4, 64), 4);
	cr_assert_eq(must_recover(&fixture, &told), 20);
	assert_complete(&fixture, 77, 5);
	cr_assert_eq(sql_number(&fixture, "SELECT count(*) FROM jobs WHERE key = 77 AND policy IS NULL"), 1);
}

/* A page in the middle never reached the disk: what comes after it did. */
Test(audit_recover, hole_in_the_middle)
{
	cleanup_fixture struct fixture fixture = with_database();
	struct told told = {0};
	char path[256], zeros[4096] = {0};

	leave_spool(&fixture, 1, 100, 0);
	(void)spool_file(&fixture, path);
	cleanup_close int fd = open(path, O_RDWR | O_CLOEXEC);
	cr_assert_eq(pwrite(fd, zeros, sizeof zeros, 8192), (ssize_t)sizeof zeros);
	int64_t taken = must_recover(&fixture, &told);
	cr_assert(taken > 300 && taken < 401, "%lld records", (long long)taken);
	cr_assert_eq(told.count, 1);
	cr_assert_eq(sql_number(&fixture, "SELECT max(key) FROM execs"), 100);
}

/* Files with the right name and other contents, or none. */
Test(audit_recover, foreign_files)
{
	static const struct {
		const char *name, *contents;
		size_t size;
		bool corrupt, stays;
	} files[] = {
		{"99-00000000000000aa.0", "", 0, false, false}, /* its owner died before it could reserve */
		{"99-00000000000000ab.0", "text that is no spool\n", 22, true, false},
		{"99-00000000000000ac.3", "SPSPOOL1", 8, true, false},
		{"99-00000000000000ad.0.corrupt", "x", 1, false, true},
		{"README", "x", 1, false, true},
		{"99-00000000000000ae.0~", "x", 1, false, true},
	};
	cleanup_fixture struct fixture fixture = with_database();
	struct told told = {0};
	int corrupt = 0;
	char path[256];

	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		snprintf(path, sizeof path, "%s/%s", fixture.spool, files[i].name);
		FILE *file = fopen(path, "we");
		cr_assert_not_null(file);
		fwrite(files[i].contents, 1, files[i].size, file);
		cr_assert_eq(fclose(file), 0);
		corrupt += files[i].corrupt;
	}
	/* None of these may be waited for, followed or read. */
	snprintf(path, sizeof path, "%s/98-00000000000000aa.0", fixture.spool);
	cr_assert_eq(mkfifo(path, 0600), 0);
	snprintf(path, sizeof path, "%s/98-00000000000000ab.0", fixture.spool);
	cr_assert_eq(mkdir(path, 0700), 0);
	snprintf(path, sizeof path, "%s/98-00000000000000ac.0", fixture.spool);
	cr_assert_eq(symlink("/etc/passwd", path), 0);
	leave_spool(&fixture, 1, 5, 0);

	cr_assert_eq(must_recover(&fixture, &told), 21);
	cr_assert_eq(told.count, corrupt);
	assert_complete(&fixture, 1, 5);
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		snprintf(path, sizeof path, "%s/%s", fixture.spool, files[i].name);
		cr_assert_eq(access(path, F_OK) == 0, files[i].stays, "%s", files[i].name);
		snprintf(path, sizeof path, "%s/%s.corrupt", fixture.spool, files[i].name);
		cr_assert_eq(access(path, F_OK) == 0, files[i].corrupt, "%s", files[i].name);
	}
	cr_assert_eq(must_recover(&fixture, &told), 0);
	cr_assert_eq(told.count, corrupt);
}

/* A reserved file whose owner died before the first byte. */
Test(audit_recover, only_zeros)
{
	cleanup_fixture struct fixture fixture = with_database();
	struct told told = {0};
	char path[256];

	snprintf(path, sizeof path, "%s/99-00000000000000aa.0", fixture.spool);
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	cr_assert_eq(ftruncate(fd, 262144), 0);
	sp_close_fd(&fd);
	fd = -1;
	cr_assert_eq(must_recover(&fixture, &told), 0);
	cr_assert_eq(told.count, 0, "%s", told.last);
	assert_nothing_left(&fixture);
}

/* Somebody removed a segment: the others are taken in. */
Test(audit_recover, segment_missing)
{
	cleanup_fixture struct fixture fixture = with_database();
	struct told told = {0};
	char path[256];

	leave_spool(&fixture, 1, 30000, 0);
	cr_assert_eq(count_spool_files(&fixture, ".0", path), 1);
	cr_assert_eq(unlink(path), 0);
	cr_assert_gt(must_recover(&fixture, &told), 10000);
	cr_assert_eq(sql_number(&fixture, "SELECT max(key) FROM execs"), 30000);
	assert_nothing_left(&fixture);
}

/* The position in the database leads anywhere. */
Test(audit_recover, wrong_position)
{
	static const char *const offsets[] = {"-8",     "3",       "65",      "262136",
					      "262144", "8392704", "8392712", "9223372036854775800"};

	for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
		cleanup_fixture struct fixture fixture = with_database();
		struct told told = {0};
		char sql[128];
		leave_spool(&fixture, 1, 3, 1);
		snprintf(sql, sizeof sql, "UPDATE spools SET offset = %s", offsets[i]);
		sql_run(&fixture, sql);
		(void)must_recover(&fixture, &told);
		cr_assert_leq(sql_number(&fixture, "SELECT count(*) FROM execs"), 3);
		assert_nothing_left(&fixture);
	}
}

Test(audit_recover, nothing_there)
{
	cleanup_fixture struct fixture fixture = fixture_make();

	cr_assert_eq(sp_recover_database(fixture.database, NULL, NULL, NULL), 0);
	cr_assert_eq(access(fixture.database, F_OK), -1, "it created a database");
}
