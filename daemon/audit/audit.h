/* The audit trail: what ran, what was refused, by which rule.
 *
 * Two stages. The spool is an mmap'ed append-only file beside the database: a record is in it, and so survives kill -9
 * of this process, when the append function returns. A writer thread moves records to SQLite in batches; a spool left
 * behind by a process that died is taken in by whoever opens the same database next.
 *
 * The append functions are for one thread (the engine's loop); they take no lock, allocate nothing and call neither
 * SQLite nor the kernel, except when a spool segment is full and the next is mapped. */
#ifndef SP_AUDIT_AUDIT_H
#define SP_AUDIT_AUDIT_H

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct sp_audit;

/* The database used when none is named: $XDG_STATE_HOME/sallyport/audit.db, default ~/.local/state. *path is the
 * caller's to free. 0, or -errno with a sentence: -ENOENT when the user has no home directory. Any thread. */
[[nodiscard]] int sp_audit_default_path(char **path, struct sp_error *e);

/* Opens (creating directories 0700 and files 0600) the spool for the database at path, and starts the writer thread,
 * which opens the database, takes in spools that dead processes left, and then follows ours. path NULL:
 * sp_audit_default_path(). 0, or -errno with a sentence: ENOSPC when the first segment cannot be reserved. */
[[nodiscard]] int sp_audit_open(const char *path, struct sp_audit **out, struct sp_error *e);

/* Waits until the writer knows whether the database is good, which sp_audit_open() does not, so that it costs no time
 * while a launch is being prepared. 0: it is, by its header or because it could be opened, or it is only busy. Whatever
 * goes wrong with it later, the records stay in the spool. Or -errno with a sentence: what SQLite says when the file is
 * there and is no audit database of ours, or may not be written. sp_audit_job() fails with the same
 * -errno, so nothing can start unrecorded. The loop's thread. */
[[nodiscard]] int sp_audit_ready(struct sp_audit *audit, struct sp_error *e);

/* Waits until every record is in the database, removes the spool, stops the thread, frees. NULL is fine. 0, or
 * -errno with a sentence if the database could not be written: the spool then stays for the next start. A refusal
 * that sp_audit_ready() has told is not told again. */
[[nodiscard]] int sp_audit_close(struct sp_audit *audit, struct sp_error *e);

/* Bytes with their length; need not be NUL-terminated. */
struct sp_bytes {
	const char *data;
	size_t size;
};

/* Times are CLOCK_REALTIME nanoseconds since the epoch. Keys (job, process, exec) are chosen by the engine: `job` is
 * random 64 bit, `process` and `exec` count from 1 within the job. All functions: 0, or -ENOSPC when no room could
 * be reserved (nothing was written), or -EMSGSIZE above SP_AUDIT_RECORD_MAX. */
#define SP_AUDIT_RECORD_MAX (8u << 20)

struct sp_audit_job {
	uint64_t job;
	int64_t time;
	pid_t supervisor;
	uid_t uid;
	const char *policy, *policy_file; /* name and file */
	uint64_t policy_digest;
	const char *tracking; /* "attached" */
	const char *cwd;
	struct sp_bytes argv; /* NUL-terminated strings, one after the other */
};

struct sp_audit_launch { /* what the launch made of it; again where it failed later */
	uint64_t job;
	const char *level; /* "full" */
	struct sp_bytes record; /* struct sp_launch_record */
};

struct sp_audit_process { /* a process (thread group) came to be */
	uint64_t job, process, parent; /* parent: key of the parent process, 0 for the root of the job */
	int64_t time;
	pid_t pid; /* tgid */
};

/* How the file was seen, for whoever judges the exec again later. */
enum sp_exec_seen {
	SP_SEEN_JUDGED =
		1, /* the policy was asked, and the rule is one of its; 0 also where that was not yet recorded */
	SP_SEEN_ANONYMOUS = 2, /* the file had no name */
	SP_SEEN_FOREIGN = 4, /* its name was a claim of the job's own (struct sp_exec) */
	SP_SEEN_INTERPRETER_ANONYMOUS = 8,
	SP_SEEN_INTERPRETER_FOREIGN = 16,
	SP_SEEN_ENVIRONMENT = 32, /* the policy looked at the environment: its names are recorded, be there none */
};

struct sp_audit_exec { /* a decision */
	uint64_t job, process, exec;
	int64_t time;
	pid_t tid; /* the task that asked */
	int action; /* enum sp_action */
	int err; /* errno given by us; 0 if the kernel went on */
	uint32_t matched; /* number of rules that matched */
	const char *rule; /* winner's id, "default", or one of our own words for a refusal */
	const char *reason; /* or NULL */
	struct sp_bytes path; /* as the program gave it */
	struct sp_bytes resolved; /* canonical; empty if it could not be resolved */
	struct sp_bytes argv; /* NUL-terminated strings, whole */
	uint32_t argc;
	struct sp_bytes others; /* ids of the other rules that matched, NUL-terminated, one after the other; or empty */
	uint32_t seen; /* enum sp_exec_seen */
	struct sp_bytes interpreter; /* canonical, of a script (the last, where they are nested); empty: none */
	struct sp_bytes inserted; /* of a script: what the kernel puts before argv[1], as NUL-terminated strings */
	struct sp_bytes environment; /* names of the variables, NUL-terminated, one after the other */
	uint64_t generation; /* of the policy that judged: 1, and one more with each reload */
	int64_t asked; /* when a person was asked; 0: nobody was. time is then that of the answer */
	const char *answer; /* who has answered, and how; NULL: nobody was asked */
};

struct sp_audit_policy { /* another policy is in force: with generation 1 the job began, and its record tells of that */
	uint64_t job, generation;
	int64_t time;
	const char *policy, *policy_file;
	uint64_t policy_digest;
};

struct sp_audit_rule { /* how often a rule has decided so far; again where that has changed */
	uint64_t job, generation;
	uint32_t number; /* in the file, from 0; what no rule decided has greater ones */
	const char *rule; /* its id */
	int action; /* enum sp_action */
	uint64_t hits;
	int64_t last;
};

enum sp_result {
	SP_RESULT_PENDING, /* never stored: what a reader shows when no result followed (supervisor died) */
	SP_RESULT_DENIED, /* refused by us */
	SP_RESULT_EXECED, /* the new program runs */
	SP_RESULT_FAILED, /* the kernel refused: err */
	SP_RESULT_RESTARTED, /* the syscall came back as a new notification: did not happen */
	SP_RESULT_VANISHED, /* the caller died meanwhile */
};

enum sp_verify {
	SP_VERIFY_NONE, /* nothing ran, nothing to verify */
	SP_VERIFY_OK,
	SP_VERIFY_MISMATCH, /* something else ran: an attack; the process was killed before its first instruction */
};

struct sp_audit_result {
	uint64_t job, exec;
	int64_t time;
	enum sp_result result;
	int err; /* SP_RESULT_FAILED and SP_RESULT_DENIED: positive errno */
	enum sp_verify verify;
	const char *detail; /* for a mismatch: what was seen; else NULL */
};

struct sp_audit_exit { /* the last task of a process is gone */
	uint64_t job, process;
	int64_t time;
	int status; /* as waitpid(2) gives it; -1: nobody could know (one-shot tracking, see exits.h) */
};

struct sp_audit_job_end {
	uint64_t job;
	int64_t time;
	int status; /* wait status of the job's root process */
};

/* Somebody who wants to know of decisions and results as they are appended, on the same thread. It must not append. */
struct sp_audit_tap {
	void (*exec)(const struct sp_audit_exec *record, void *context);
	void (*result)(const struct sp_audit_result *record, void *context);
	void *context;
};
/* The tap stays the caller's; NULL: nobody. */
void sp_audit_set_tap(struct sp_audit *audit, const struct sp_audit_tap *tap);

[[nodiscard]] int sp_audit_job(struct sp_audit *audit, const struct sp_audit_job *record);
[[nodiscard]] int sp_audit_launch(struct sp_audit *audit, const struct sp_audit_launch *record);
[[nodiscard]] int sp_audit_process(struct sp_audit *audit, const struct sp_audit_process *record);
[[nodiscard]] int sp_audit_exec(struct sp_audit *audit, const struct sp_audit_exec *record);
[[nodiscard]] int sp_audit_result(struct sp_audit *audit, const struct sp_audit_result *record);
[[nodiscard]] int sp_audit_exit(struct sp_audit *audit, const struct sp_audit_exit *record);
[[nodiscard]] int sp_audit_policy(struct sp_audit *audit, const struct sp_audit_policy *record);
[[nodiscard]] int sp_audit_rule(struct sp_audit *audit, const struct sp_audit_rule *record);
[[nodiscard]] int sp_audit_job_end(struct sp_audit *audit, const struct sp_audit_job_end *record);

#endif
