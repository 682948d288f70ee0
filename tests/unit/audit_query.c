/* What readers get: the right execs, the chain of who asked, the tree, the counts, and SQL by hand. */
#include "audit/query.h"
#include "audit/store.h"
#include "audit_fixture.h"
#include "policy/policy.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Job 10: make (pid 101) forks a shell (102), which runs gcc's driver by exec, which forks twice: one child (103)
 * runs cc1, the other (104) never executes and forks (105), which asks for curl and is refused. */
static void append_build(struct sp_audit *audit)
{
	static const struct {
		uint64_t process, parent;
		int64_t time;
	} born[] = {{1, 0, 10}, {2, 1, 30}, {3, 2, 60}, {4, 2, 61}, {5, 4, 70}};
	static const struct {
		uint64_t process;
		int64_t time;
		int action, err;
		enum sp_result result;
		int result_err;
		enum sp_verify verify;
		const char *resolved, *argv;
		size_t size;
		const char *rule, *reason;
	} execs[] = {
		{1, 20, SP_ALLOW, 0, SP_RESULT_EXECED, 0, SP_VERIFY_OK, "/usr/bin/make", "make\0-j2", 9, "tools", NULL},
		{2, 40, SP_ALLOW, 0, SP_RESULT_EXECED, 0, SP_VERIFY_OK, "/usr/bin/dash", "sh\0-c\0gcc x.c", 14, "tools",
		 NULL},
		{2, 45, SP_ALLOW, 0, SP_RESULT_FAILED, ENOENT, SP_VERIFY_NONE, "", "gcc\0x.c", 8, "tools", NULL},
		{2, 50, SP_ALLOW, 0, SP_RESULT_EXECED, 0, SP_VERIFY_OK, "/usr/bin/gcc", "gcc\0x.c", 8, "tools", NULL},
		{3, 65, SP_ALLOW, 0, SP_RESULT_EXECED, 0, SP_VERIFY_MISMATCH, "/usr/lib/cc1", "cc1", 4, "tools", NULL},
		{5, 80, SP_DENY, EACCES, SP_RESULT_DENIED, EACCES, SP_VERIFY_NONE, "/usr/bin/curl", "curl\0http://x",
		 14, "no-net", "Nothing downloads."},
		{1, 90, SP_ALLOW, 0, SP_RESULT_EXECED, 0, SP_VERIFY_OK, "/usr/bin/true", "true", 5, "tools", NULL},
		{1, 95, SP_KILL, 0, SP_RESULT_VANISHED, 0, SP_VERIFY_NONE, "/usr/bin/nc", "nc", 3, "no-nc", NULL},
		{1, 96, SP_ALLOW, 0, SP_RESULT_PENDING, 0, SP_VERIFY_NONE, "/usr/bin/id", "id", 3, "tools", NULL},
	};

	append_job(audit, 10);
	for (size_t i = 0; i < sizeof born / sizeof *born; i++) {
		const struct sp_audit_process record = {10, born[i].process, born[i].parent, born[i].time,
							(pid_t)(100 + born[i].process)};
		cr_assert_eq(sp_audit_process(audit, &record), 0);
	}
	for (size_t i = 0; i < sizeof execs / sizeof *execs; i++) {
		const struct sp_audit_exec record = {
			.job = 10,
			.process = execs[i].process,
			.exec = i + 1,
			.time = execs[i].time,
			.tid = 1,
			.action = execs[i].action,
			.err = execs[i].err,
			.matched = 1,
			.rule = execs[i].rule,
			.reason = execs[i].reason,
			.resolved = {execs[i].resolved, strlen(execs[i].resolved)},
			.argv = {execs[i].argv, execs[i].size},
			.argc = 1,
		};
		const struct sp_audit_result result = {.job = 10,
						       .exec = i + 1,
						       .time = execs[i].time + 1,
						       .result = execs[i].result,
						       .err = execs[i].result_err,
						       .verify = execs[i].verify};
		cr_assert_eq(sp_audit_exec(audit, &record), 0);
		if (execs[i].result != SP_RESULT_PENDING)
			cr_assert_eq(sp_audit_result(audit, &result), 0);
	}
}

static struct sp_query *open_build(const struct fixture *fixture)
{
	struct sp_query *query = NULL;
	struct sp_error e = {0};

	struct sp_audit *audit = must_open(fixture);
	append_job(audit, 9);
	append_lifecycle(audit, 9, 1);
	append_build(audit);
	append_job(audit, 11);
	append_lifecycle(audit, 11, 1);
	must_close(audit);
	cr_assert_eq(sp_query_open(fixture->database, NULL, NULL, &query, &e), 0, "%s", e.text);
	return query;
}

struct list {
	char text[1024];
	struct sp_query *query;
};

static void add(struct list *list, const char *text)
{
	strncat(list->text, text, sizeof list->text - strlen(list->text) - 1);
}

static int list_exec(void *data, const struct sp_log_exec *exec)
{
	char text[64];

	snprintf(text, sizeof text, "%s%lld:%llu", ((struct list *)data)->text[0] != '\0' ? " " : "",
		 (long long)exec->job, (unsigned long long)exec->exec);
	add(data, text);
	return 0;
}

static void assert_execs(struct sp_query *query, struct sp_exec_filter filter, const char *expected)
{
	struct list list = {0};
	struct sp_error e = {0};

	cr_assert_eq(sp_query_execs(query, &filter, list_exec, &list, &e), 0, "%s", e.text);
	cr_assert_str_eq(list.text, expected, "job %lld, refused %d, after %lld, last %lld: %s instead of %s",
			 (long long)filter.job, filter.refused, (long long)filter.after, (long long)filter.last,
			 list.text, expected);
}

Test(audit_query, filters)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	struct sp_query *query = open_build(&fixture);

	assert_execs(query, (struct sp_exec_filter){0}, "1:1 2:1 2:2 2:3 2:4 2:5 2:6 2:7 2:8 2:9 3:1");
	assert_execs(query, (struct sp_exec_filter){.job = 2}, "2:1 2:2 2:3 2:4 2:5 2:6 2:7 2:8 2:9");
	assert_execs(query, (struct sp_exec_filter){.job = 2, .last = 3}, "2:7 2:8 2:9");
	assert_execs(query, (struct sp_exec_filter){.last = 2}, "2:9 3:1");
	assert_execs(query, (struct sp_exec_filter){.job = 2, .refused = true}, "2:5 2:6 2:8");
	assert_execs(query, (struct sp_exec_filter){.refused = true}, "2:5 2:6 2:8");
	assert_execs(query, (struct sp_exec_filter){.refused = true, .last = 1}, "2:8");
	assert_execs(query, (struct sp_exec_filter){.job = 3, .refused = true}, "");
	assert_execs(query, (struct sp_exec_filter){.after = 8}, "2:8 2:9 3:1");
	assert_execs(query, (struct sp_exec_filter){.after = 8, .job = 2}, "2:8 2:9");
	assert_execs(query, (struct sp_exec_filter){.after = 11}, "");
	assert_execs(query, (struct sp_exec_filter){.job = 99}, "");
	cr_assert_eq(sp_query_last_exec(query, NULL), 11);
	cr_assert_eq(sp_query_last_job(query, NULL), 3);
	sp_query_close(query);
}

static int count_unseen(void *data, const struct sp_log_exec *exec)
{
	*(int *)data += exec->seen == 0 && exec->interpreter.size == 0 && exec->inserted.size == 0;
	return 0;
}

/* Who may only read cannot bring it up to date. */
Test(audit_query, database_of_an_earlier_version)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	struct sp_query *query = open_build(&fixture);
	struct sp_error e = {0};
	int unseen = 0;

	sp_query_close(query);
	sql_run(&fixture, "ALTER TABLE execs DROP COLUMN seen; ALTER TABLE execs DROP COLUMN interpreter;"
			  "ALTER TABLE execs DROP COLUMN inserted; ALTER TABLE execs DROP COLUMN environment;"
			  "ALTER TABLE execs DROP COLUMN generation; ALTER TABLE execs DROP COLUMN asked;"
			  "ALTER TABLE execs DROP COLUMN answer; DROP TABLE policies; DROP TABLE rules;"
			  "PRAGMA user_version = 2");
	cr_assert_eq(sp_query_open(fixture.database, NULL, NULL, &query, &e), 0, "%s", e.text);
	assert_execs(query, (struct sp_exec_filter){.job = 2, .last = 3}, "2:7 2:8 2:9");
	cr_assert_eq(sp_query_execs(query, &(struct sp_exec_filter){0}, count_unseen, &unseen, &e), 0, "%s", e.text);
	cr_assert_eq(unseen, 11);
	sp_query_close(query);
}

static int stop_at_second(void *data, const struct sp_log_exec *exec)
{
	return list_exec(data, exec), strchr(((struct list *)data)->text, ' ') != NULL ? 7 : 0;
}

Test(audit_query, visitor_ends_it)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	struct sp_query *query = open_build(&fixture);
	struct list list = {0};

	cr_assert_eq(sp_query_execs(query, &(struct sp_exec_filter){0}, stop_at_second, &list, NULL), 7);
	cr_assert_str_eq(list.text, "1:1 2:1");
	sp_query_close(query);
}

static int list_ancestor(void *data, const struct sp_log_ancestor *ancestor)
{
	char text[256];

	snprintf(text, sizeof text, "%.*s[%d] ", (int)ancestor->program.size, ancestor->program.data, ancestor->pid);
	add(data, text);
	return 0;
}

static int list_chain(void *data, const struct sp_log_exec *exec)
{
	struct list *list = data;
	struct sp_error e = {0};

	cr_assert_eq(sp_query_chain(list->query, exec, list_ancestor, list, &e), 0, "%s", e.text);
	add(list, "\n");
	return 0;
}

/* Each process with what it ran at that time: a later exec of make is not what it was then, a failed one is none, a
 * fork without exec runs what its parent ran. */
Test(audit_query, chain)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	struct sp_query *query = open_build(&fixture);
	struct list list = {.query = query};
	struct sp_error e = {0};

	cr_assert_eq(sp_query_execs(query, &(struct sp_exec_filter){.job = 2}, list_chain, &list, &e), 0, "%s", e.text);
	cr_assert_str_eq(list.text,
			 "[101] \n"
			 "/usr/bin/make[102] /usr/bin/make[101] \n"
			 "/usr/bin/dash[102] /usr/bin/make[101] \n"
			 "/usr/bin/dash[102] /usr/bin/make[101] \n"
			 "/usr/bin/gcc[103] /usr/bin/gcc[102] /usr/bin/make[101] \n"
			 "/usr/bin/gcc[105] /usr/bin/gcc[104] /usr/bin/gcc[102] /usr/bin/make[101] \n"
			 "/usr/bin/make[101] \n"
			 "/usr/bin/true[101] \n"
			 "/usr/bin/true[101] \n",
			 "%s", list.text);
	sp_query_close(query);
}

static int count_ancestor(void *data, const struct sp_log_ancestor *ancestor)
{
	cr_assert_eq(ancestor->program.size, 13);
	++*(int *)data;
	return 0;
}

static int chain_of_last(void *data, const struct sp_log_exec *exec)
{
	struct list *list = data;
	int ancestors = 0;

	if (exec->process != 1) {
		cr_assert_eq(sp_query_chain(list->query, exec, count_ancestor, &ancestors, NULL), 0);
		cr_assert_eq(ancestors, 10000);
		add(list, "seen");
	}
	return 0;
}

/* Each forks the next and none executes anything: what they run is looked for once, not once an ancestor. */
Test(audit_query, long_chain_of_forks, .timeout = 60)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	struct list list = {0};

	struct sp_audit *audit = must_open(&fixture);
	append_job(audit, 1);
	append_lifecycle(audit, 1, 1);
	for (uint64_t i = 2; i <= 10000; i++) {
		const struct sp_audit_process born = {1, i, i - 1, (int64_t)(4000000000 + i), 1};
		cr_assert_eq(sp_audit_process(audit, &born), 0);
	}
	const struct sp_audit_exec last = {.job = 1, .process = 10000, .exec = 2, .time = 5000000000, .argv = {"x", 2}};
	cr_assert_eq(sp_audit_exec(audit, &last), 0);
	must_close(audit);
	cr_assert_eq(sp_query_open(fixture.database, NULL, NULL, &list.query, NULL), 0);
	cr_assert_eq(sp_query_execs(list.query, &(struct sp_exec_filter){0}, chain_of_last, &list, NULL), 0);
	cr_assert_str_eq(list.text, "seen");
	sp_query_close(list.query);
}

/* Parents that lead round in a circle: somebody edited the database. */
Test(audit_query, circle_of_parents, .timeout = 20)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	struct sp_query *query = open_build(&fixture);
	struct list list = {.query = query};

	sp_query_close(query);
	sql_run(&fixture,
		"UPDATE processes SET parent = 5 WHERE key = 1; UPDATE processes SET parent = 4 WHERE key = 4");
	cr_assert_eq(sp_query_open(fixture.database, NULL, NULL, &query, NULL), 0);
	list.query = query;
	cr_assert_eq(sp_query_execs(query, &(struct sp_exec_filter){.job = 2}, list_chain, &list, NULL), 0);
	sp_query_close(query);
}

Test(audit_query, counts_and_rules)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	struct sp_query *query = open_build(&fixture);
	struct sp_log_counts one, all;

	cr_assert_eq(sp_query_counts(query, 2, &one, NULL), 0);
	cr_assert(one.processes == 5 && one.execs == 9 && one.allow == 7 && one.ask == 0 && one.deny == 1 &&
		  one.kill == 1);
	cr_assert(one.execed == 5 && one.failed == 1 && one.restarted == 0 && one.vanished == 1 && one.pending == 1);
	cr_assert_eq(one.mismatched, 1);
	cr_assert_eq(sp_query_counts(query, 0, &all, NULL), 0);
	cr_assert(all.processes == 7 && all.execs == 11 && all.execed == 7);
	sp_query_close(query);
}

static int list_rule(void *data, const char *rule, const char *reason, int64_t count)
{
	char text[128];

	snprintf(text, sizeof text, "%s/%s/%d ", rule, reason != NULL ? reason : "-", (int)count);
	add(data, text);
	return 0;
}

static int list_process(void *data, const struct sp_log_process *process)
{
	char text[64];

	snprintf(text, sizeof text, "%d<%d ", (int)process->process, (int)process->parent);
	add(data, text);
	return 0;
}

static int check_job(void *data, const struct sp_log_job *job)
{
	cr_assert_eq(job->number, 2);
	cr_assert_eq(job->key, 10);
	cr_assert_eq(job->started, 1000000000);
	cr_assert_eq(job->ended, 0);
	cr_assert_str_eq(job->policy, "record");
	cr_assert_eq(job->policy_digest, UINT64_C(0xfedcba9876543210));
	cr_assert_eq(job->argv.size, 9);
	cr_assert_eq(memcmp(job->argv.data, "make\0-j2", 9), 0);
	*(bool *)data = true;
	return 0;
}

Test(audit_query, rules_processes_job)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	struct sp_query *query = open_build(&fixture);
	struct list rules = {0}, processes = {0}, execs = {0};
	struct sp_error e = {0};
	bool seen = false;

	cr_assert_eq(sp_query_rules(query, 2, list_rule, &rules, NULL), 0);
	cr_assert_str_eq(rules.text, "no-nc/-/1 no-net/Nothing downloads./1 tools/-/1 ");
	cr_assert_eq(sp_query_processes(query, 2, list_process, &processes, NULL), 0);
	cr_assert_str_eq(processes.text, "1<0 2<1 3<2 4<2 5<4 ");
	cr_assert_eq(sp_query_process_execs(query, 2, 2, list_exec, &execs, NULL), 0);
	cr_assert_str_eq(execs.text, "2:2 2:3 2:4");
	cr_assert_eq(sp_query_job(query, 2, check_job, &seen, NULL), 0);
	cr_assert(seen);
	cr_assert_eq(sp_query_job(query, 4, check_job, &seen, &e), -ENOENT);
	cr_assert_not_null(strstr(e.text, "no job 4"), "%s", e.text);
	sp_query_close(query);
}

Test(audit_query, takes_in_what_is_left)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	struct sp_query *query = NULL;

	die_after(&fixture, 1, 20);
	cr_assert_eq(sp_query_open(fixture.database, NULL, NULL, &query, NULL), 0);
	assert_complete(&fixture, 1, 20);
	die_after(&fixture, 2, 20);
	cr_assert_eq(sp_query_recover(query, NULL), 0);
	assert_complete(&fixture, 2, 20);
	sp_query_close(query);
}

Test(audit_query, nothing_recorded)
{
	cleanup_fixture struct fixture fixture = fixture_make();
	struct sp_query *query = NULL;
	struct sp_error e = {0};

	cr_assert_eq(sp_query_open(fixture.database, NULL, NULL, &query, &e), -ENOENT);
	cr_assert_not_null(strstr(e.text, "nothing was recorded"), "%s", e.text);
	cr_assert_eq(access(fixture.database, F_OK), -1, "it created a database");
	must_close(must_open(&fixture));
	cr_assert_eq(sp_query_open(fixture.database, NULL, NULL, &query, &e), 0, "%s", e.text);
	cr_assert_eq(sp_query_last_job(query, &e), 0);
	cr_assert_eq(sp_query_last_exec(query, &e), 0);
	sp_query_close(query);
}

/* The views of docs/audit.md. */
Test(audit_query, views)
{
	cleanup_fixture struct fixture fixture = fixture_make();

	sp_query_close(open_build(&fixture));
	cr_assert_eq(sql_number(&fixture, "SELECT count(*) FROM exec_log"), 11);
	cr_assert_eq(sql_number(&fixture,
				"SELECT count(*) FROM exec_log WHERE command = 'sh -c gcc x.c' AND pid = 102 AND"
				" decision = 'allow' AND result = 'execed' AND verify = 'ok' AND"
				" program = '/usr/bin/dash'"),
		     1);
	cr_assert_eq(sql_number(&fixture, "SELECT count(*) FROM denied"), 3);
	cr_assert_eq(sql_number(&fixture,
				"SELECT count(*) FROM denied WHERE command = 'curl http://x' AND errno = 13 AND"
				" decision = 'deny' AND rule = 'no-net' AND reason = 'Nothing downloads.'"),
		     1);
	cr_assert_eq(sql_number(&fixture,
				"SELECT execs * 10 + denied FROM job_log WHERE number = 2 AND command = 'make -j2'"
				" AND policy = 'record' AND exit IS NULL"),
		     93);
}

/* The index for refusals is used: a log of a million allowed execs is not walked for three denied ones. */
Test(audit_query, refusals_have_their_index)
{
	cleanup_fixture struct fixture fixture = fixture_make();

	sp_query_close(open_build(&fixture));
	cr_assert_eq(sql_number(&fixture, "SELECT count(*) FROM (SELECT 1 FROM execs INDEXED BY execs_refused"
					  " WHERE id > 0 AND (action >= 2 OR verify = 2))"),
		     3);
}
