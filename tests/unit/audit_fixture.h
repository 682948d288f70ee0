/* What the tests of the audit trail stand on: a directory for one test, records of a made-up job, and SQL. */
#ifndef SP_TESTS_AUDIT_FIXTURE_H
#define SP_TESTS_AUDIT_FIXTURE_H

#include "audit/audit.h"

#include <stdbool.h>
#include <stdint.h>

struct fixture {
	char directory[64];
	char database[80];
	char spool[96]; /* its directory */
};

/* A fresh directory; removed with all that is in it when the variable goes out of scope. */
struct fixture fixture_make(void);
void fixture_remove(struct fixture *fixture);
#define cleanup_fixture [[gnu::cleanup(fixture_remove)]]

/* cr_assert(), for what also runs in children that a test forks: there Criterion's would wait for ever. The child
 * says what is wrong and exits with a status of its own. */
#define must(condition, text)                                                                                          \
	do {                                                                                                           \
		if (!(condition))                                                                                      \
			must_fail(__FILE__, __LINE__, #condition, text);                                               \
	} while (false)
[[gnu::noreturn]] void must_fail(const char *file, int line, const char *condition, const char *text);

/* Appends the records of a job that began, of a process that came to be and executed something that worked, of its
 * end, ... */
void append_job(struct sp_audit *audit, uint64_t job);
void append_exec(struct sp_audit *audit, uint64_t job, uint64_t process, uint64_t exec);
void append_lifecycle(struct sp_audit *audit, uint64_t job,
		      uint64_t process); /* four records; exec key = process key */

struct sp_audit *must_open(const struct fixture *fixture);
void must_close(struct sp_audit *audit);

/* The one number that the statement gives. */
int64_t sql_number(const struct fixture *fixture, const char *sql);
void sql_run(const struct fixture *fixture, const char *sql);

/* Files in the spool's directory whose names end so; one of them, its path in `path` (may be NULL). */
int count_spool_files(const struct fixture *fixture, const char *suffix, char path[static 256]);

/* What the database holds of a job made of `count` lifecycles is exactly that. */
void assert_complete(const struct fixture *fixture, uint64_t job, int64_t count);

/* Opens the audit in a child, appends the job and `lifecycles`, and is killed by SIGKILL before it can close; the
 * writer thread has stored what it happened to. The spool file's path in `path`. */
void die_after(const struct fixture *fixture, uint64_t job, uint64_t lifecycles);

#endif
