/* Reading the audit database, for clients. One query object, one thread.
 *
 * Strings and bytes in what is visited belong to the query and are gone when the visitor returns. A visitor returns
 * 0 to go on; anything else ends the query, which then returns it. */
#ifndef SP_AUDIT_QUERY_H
#define SP_AUDIT_QUERY_H

#include "audit/audit.h"
#include "util/cleanup.h"

struct sp_query;

/* Opens the database for reading (path NULL: sp_audit_default_path()), having taken in what dead supervisors left,
 * where the reader may write; tell gets a sentence a damaged spool (see recover.h), and may be NULL. 0, or -errno
 * with a sentence: -ENOENT when nothing was ever recorded there. */
[[nodiscard]] int sp_query_open(const char *path, void (*tell)(void *data, const char *sentence), void *data,
				struct sp_query **out, struct sp_error *e);
void sp_query_close(struct sp_query *query); /* NULL is fine */

static inline void sp_query_leave(struct sp_query **query)
{
	sp_query_close(*query);
}
#define cleanup_query sp_cleanup(sp_query_leave)

/* Takes in what supervisors left that died since. 0, or -errno. */
[[nodiscard]] int sp_query_recover(struct sp_query *query, struct sp_error *e);

const char *sp_query_path(const struct sp_query *query);

struct sp_log_job {
	int64_t number;
	uint64_t key;
	int64_t started, ended; /* 0: not, or not known */
	int status; /* wait status, when it has ended */
	pid_t supervisor;
	uid_t uid;
	const char *policy, *policy_file, *tracking; /* NULL when the job's own record is lost */
	uint64_t policy_digest;
	struct sp_bytes cwd, argv;
};

/* The newest job's number; 0 when there is none; -errno. */
[[nodiscard]] int64_t sp_query_last_job(struct sp_query *query, struct sp_error *e);

/* One job: 0, -ENOENT, or another -errno, with a sentence; or what the visitor returned. */
[[nodiscard]] int sp_query_job(struct sp_query *query, int64_t number,
			       int (*visit)(void *data, const struct sp_log_job *job), void *data, struct sp_error *e);

/* What became of the launch of a job, if its policy asked for anything: as in struct sp_audit_launch. 0, also when there is
 * nothing to visit; or -errno; or what the visitor returned. */
[[nodiscard]] int sp_query_launch(struct sp_query *query, int64_t job,
				  int (*visit)(void *data, const struct sp_audit_launch *launch), void *data,
				  struct sp_error *e);

struct sp_log_exec {
	int64_t id; /* grows with the order of storing */
	int64_t job; /* number */
	uint64_t process, exec; /* keys within the job */
	int64_t time, result_time; /* 0: no result */
	pid_t pid, tid; /* pid 0: the process's own record is lost */
	int action, err; /* enum sp_action, and the errno given by us */
	uint32_t matched, argc;
	const char *rule, *reason; /* or NULL */
	struct sp_bytes path, resolved, argv, others;
	enum sp_result result;
	int result_err;
	enum sp_verify verify;
	const char *detail; /* or NULL */
	uint32_t seen; /* enum sp_exec_seen; 0 and nothing in the next three: recorded by an earlier version */
	struct sp_bytes interpreter, inserted, environment;
	uint64_t generation; /* 0: recorded by an earlier version */
	int64_t asked; /* 0: nobody was asked */
	const char *answer; /* or NULL */
};

/* True for what `log --denied` shows: refused by us, or killed because it was not what had been approved. */
bool sp_log_refused(const struct sp_log_exec *exec);

/* What of them shall be seen: by our decision, or by what became of it. */
enum sp_exec_kind {
	SP_EXECS_ALL,
	SP_EXECS_ALLOW,
	SP_EXECS_ASK,
	SP_EXECS_DENY,
	SP_EXECS_KILL,
	SP_EXECS_FAILED,
	SP_EXECS_MISMATCH
};

struct sp_exec_filter {
	int64_t job; /* number; 0: all */
	bool refused; /* only those */
	enum sp_exec_kind kind;
	const char *program; /* glob over canonical paths, or, without a slash, over file names; NULL: all */
	const char *rule; /* id; NULL: all */
	int64_t since, until; /* ns since 1970, until excluded; 0: no limit */
	const uid_t *user; /* whose jobs; NULL: everybody's */
	int64_t after; /* only ids above this one */
	int64_t last; /* at most so many, the newest; 0: no limit */
};

/* The execs in the order of their ids. */
[[nodiscard]] int sp_query_execs(struct sp_query *query, const struct sp_exec_filter *filter,
				 int (*visit)(void *data, const struct sp_log_exec *exec), void *data,
				 struct sp_error *e);

/* The execs of one process of a job, in their order. The visitor must not call this again. */
[[nodiscard]] int sp_query_process_execs(struct sp_query *query, int64_t job, uint64_t process,
					 int (*visit)(void *data, const struct sp_log_exec *exec), void *data,
					 struct sp_error *e);

/* The largest id there is; 0: none; -errno. */
[[nodiscard]] int64_t sp_query_last_exec(struct sp_query *query, struct sp_error *e);

/* Who asked: the process of the exec and its ancestors, nearest first, and what each ran at that time. A process
 * that never executed anything ran what its parent did when it forked. */
struct sp_log_ancestor {
	uint64_t process;
	pid_t pid;
	struct sp_bytes program; /* resolved path, size 0: nothing that we saw started */
	struct sp_bytes argv;
};

[[nodiscard]] int sp_query_chain(struct sp_query *query, const struct sp_log_exec *exec,
				 int (*visit)(void *data, const struct sp_log_ancestor *ancestor), void *data,
				 struct sp_error *e);

struct sp_log_process {
	uint64_t process, parent;
	pid_t pid;
	int64_t started, ended; /* ended 0: not, or not known */
	int status;
};

/* The processes of a job in the order of their keys: parents before their children. */
[[nodiscard]] int sp_query_processes(struct sp_query *query, int64_t job,
				     int (*visit)(void *data, const struct sp_log_process *process), void *data,
				     struct sp_error *e);

struct sp_log_rule {
	uint64_t generation; /* of the policy */
	const char *policy, *policy_file; /* NULL when the job's own record is lost */
	uint64_t policy_digest;
	uint32_t number; /* as in struct sp_audit_rule */
	const char *rule; /* NULL: no rule of this generation has decided anything, and the rest is 0 */
	int action;
	uint64_t hits;
	int64_t last; /* when */
};

/* How often each rule has decided in a job, by generations of its policy and in the order of the file. Rules that never did are
 * not there, nor is anything of jobs that were recorded by an earlier version. */
[[nodiscard]] int sp_query_hits(struct sp_query *query, int64_t job,
				int (*visit)(void *data, const struct sp_log_rule *rule), void *data,
				struct sp_error *e);

struct sp_log_counts {
	int64_t processes, execs;
	int64_t allow, ask, deny, kill; /* by decision */
	int64_t execed, failed, restarted, vanished, pending; /* by what became of them */
	int64_t mismatched; /* not what had been approved: killed */
};

/* Of one job, or of all (0). */
[[nodiscard]] int sp_query_counts(struct sp_query *query, int64_t job, struct sp_log_counts *counts,
				  struct sp_error *e);

/* The refusals of a job (0: all) by rule, most frequent first. */
[[nodiscard]] int sp_query_rules(struct sp_query *query, int64_t job,
				 int (*visit)(void *data, const char *rule, const char *reason, int64_t count),
				 void *data, struct sp_error *e);

#endif
