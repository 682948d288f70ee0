/* A policy that was learned from a job lets the job run again, and nothing else; judged again by another, what would change is told. */
#include "harness.h"

#include <string.h>

/* Scripts, an interpreter, temporary names, a search that fails, a tool with words, and files of its own making. */
static const char job[] = "#!/bin/sh -e\n"
			  "t=$(mktemp -d /tmp/sallyport-learn.XXXXXXXX)\n"
			  "cp tool.sh $t/copy; cat $t/copy >/dev/null; rm -rf $t\n"
			  "./tool.sh $$ one | sort | sed s/o/0/\n"
			  "nonesuch 2>/dev/null || true\n"
			  "printf 'echo headless\\n' >headless; chmod +x headless; ./headless\n"
			  "for i in 1 2 3 4 5 6 7 8 9 10; do expr $i + 1; done >/dev/null\n"
			  "env -i /bin/echo done\n";
static const char tool[] = "#!/bin/sh\necho \"$2\"\n";

static void make_job(struct sp_lab *lab)
{
	sp_write_file(lab, "job.sh", job, strlen(job), 0755);
	sp_write_file(lab, "tool.sh", tool, strlen(tool), 0755);
}

static const char *learned(struct sp_lab *lab)
{
	return sp_text(lab, "%s/learned.yaml", lab->directory);
}

static struct sp_outcome learn(struct sp_lab *lab)
{
	const char *const argv[] = {sp_sallyport(lab), "policy",  "learn",    "--force", "-o",
				    learned(lab),      "--audit", lab->audit, "last",    NULL};

	return sp_run(lab, NULL, argv);
}

static struct sp_outcome under(struct sp_lab *lab, const char *policy, const char *script)
{
	const char *const argv[] = {sp_sallyport(lab), "run", "--tracking", sp_tracking(), "-p",   policy, "--audit",
				    lab->audit,        "--",  "sh",         "-c",          script, NULL};

	return sp_run(lab, NULL, argv);
}

#define REFUSED "SELECT count(*) FROM execs WHERE action <> 0 AND job = (SELECT max(number) FROM jobs)"

sp_lab_test(learn, runs_again_and_nothing_else)
{
	make_job(lab);
	cleanup_outcome struct sp_outcome recorded = sp_supervise(lab, NULL, sp_argv("sh", "-c", "./job.sh"));
	sp_assert_ended(&recorded, 0, "recorded");
	cleanup_outcome struct sp_outcome lesson = learn(lab);
	sp_assert_ended(&lesson, 0, lesson.err.data);
	cleanup_outcome struct sp_outcome check = sp_client(lab, sp_argv("policy", "check", learned(lab)));
	cleanup_outcome struct sp_outcome again = under(lab, learned(lab), "./job.sh");

	sp_assert_ended(&check, 0, check.err.data);
	sp_assert_ended(&again, 0, again.err.data);
	cr_assert_str_eq(again.out.data, recorded.out.data);
	cr_assert_eq(sp_sql_number(lab, REFUSED), 0, "%s",
		     sp_sql_text(lab, "SELECT group_concat(command, '; ') FROM denied"));

	/* One program more in the same script. */
	cleanup_outcome struct sp_outcome planted =
		sp_run(lab, NULL, sp_argv("sh", "-c", "sed -i 's,^env.*,id >stolen || exit 3,' job.sh"));
	sp_assert_ended(&planted, 0, "planted");
	cleanup_outcome struct sp_outcome denied = under(lab, learned(lab), "./job.sh");
	sp_assert_ended(&denied, 3, denied.err.data);
	cr_assert_geq(sp_sql_number(lab, REFUSED " AND resolved LIKE '%/id'"), 1);
}

sp_lab_test(learn, the_same_record_gives_the_same_file)
{
	make_job(lab);
	cleanup_outcome struct sp_outcome recorded = sp_supervise(lab, NULL, sp_argv("sh", "-c", "./job.sh"));
	sp_assert_ended(&recorded, 0, "recorded");
	const char *const argv[] = {sp_sallyport(lab), "policy", "learn", "--audit", lab->audit, "1", NULL};
	cleanup_outcome struct sp_outcome first = sp_run(lab, NULL, argv), second = sp_run(lab, NULL, argv);

	sp_assert_ended(&first, 0, first.err.data);
	cr_assert_str_eq(first.out.data, second.out.data);
}

/* What is marked asks, and the rest goes on as it did. */
sp_lab_test(learn, what_is_marked_asks)
{
	static const char script[] = "#!/bin/sh\n/bin/echo one\n/bin/cat --password=hunter2\n/bin/cat --version >x\n";
	const char *path = sp_write_file(lab, "marked.sh", script, strlen(script), 0755);
	cleanup_outcome struct sp_outcome recorded = sp_supervise(lab, NULL, sp_argv(path));

	cr_assert_str_eq(recorded.out.data, "one\n");
	const char *const argv[] = {sp_sallyport(lab), "policy",  "learn",    "--ask", "-o",
				    learned(lab),      "--audit", lab->audit, "last",  NULL};
	cleanup_outcome struct sp_outcome lesson = sp_run(lab, NULL, argv);
	sp_assert_ended(&lesson, 0, lesson.err.data);
	cleanup_outcome struct sp_outcome shortly =
		sp_run(lab, NULL,
		       sp_argv("sh", "-c",
			       sp_text(lab, "echo 'ask: {timeout_seconds: 1, otherwise: allow}' >>%s", learned(lab))));
	sp_assert_ended(&shortly, 0, "a shorter time");
	cleanup_outcome struct sp_outcome check = sp_client(lab, sp_argv("policy", "check", learned(lab)));
	sp_assert_ended(&check, 0, check.err.data);
	lab->policy = (char *)learned(lab);
	cleanup_outcome struct sp_outcome again = sp_supervise(lab, NULL, sp_argv(path));
	cr_assert_str_eq(again.out.data, "one\n", "%s", again.out.data);
	cr_assert_eq(
		sp_sql_number(
			lab,
			"SELECT count(*) FROM execs WHERE asked > 0 AND reason IS NOT NULL AND resolved LIKE '%/cat'"),
		2);
	cr_assert_eq(sp_sql_number(lab, "SELECT count(*) FROM execs WHERE asked > 0 AND resolved LIKE '%/echo'"), 0);
}

/* What was refused, or only failed, is not learned; what a person should see is marked, and no secret is copied. */
sp_lab_test(learn, what_is_not_copied)
{
	sp_set_policy(lab,
		      "version: 1\nexec:\n  default: allow\n  rules:\n    - {id: no, program: id, action: deny}\n");
	cleanup_outcome struct sp_outcome recorded = sp_supervise(
		lab, NULL,
		sp_argv("sh", "-c", "id; env --version >x; echo x >nox; ./nox; /bin/echo --password=hunter2; true"));
	sp_assert_ended(&recorded, 0, "recorded");
	cleanup_outcome struct sp_outcome lesson =
		sp_client(lab, sp_argv("policy", "learn", "--audit", lab->audit, "last"));

	sp_assert_ended(&lesson, 0, lesson.err.data);
	cr_assert_null(strstr(lesson.out.data, "program: id\n"), "%s", lesson.out.data);
	cr_assert_null(strstr(lesson.out.data, "nox\n"), "%s", lesson.out.data);
	cr_assert_null(strstr(lesson.out.data, "hunter2"), "%s", lesson.out.data);
	cr_assert_not_null(strstr(lesson.out.data, "look at this: an argument looks like a secret"), "%s",
			   lesson.out.data);
}

/* A name that mktemp(1) makes is another one the next time, wherever it is. */
sp_lab_test(learn, names_from_a_template)
{
	static const char script[] = "t=$(mktemp ./confXXXXXX) && sed p $t && cat ./conf/it";
	cleanup_outcome struct sp_outcome prepared = sp_run(lab, NULL, sp_argv("sh", "-c", "mkdir conf && >conf/it"));
	cleanup_outcome struct sp_outcome recorded = sp_supervise(lab, NULL, sp_argv("sh", "-c", script));
	sp_assert_ended(&prepared, 0, "prepared");
	sp_assert_ended(&recorded, 0, "recorded");
	cleanup_outcome struct sp_outcome lesson = learn(lab);
	sp_assert_ended(&lesson, 0, lesson.err.data);
	cleanup_outcome struct sp_outcome again = under(lab, learned(lab), script);
	cleanup_outcome struct sp_outcome other =
		under(lab, learned(lab), "t=$(mktemp ./confXXXXXX) && cat ./conf/it; sed p ./confidence/x");

	sp_assert_ended(&again, 0, again.err.data);
	cr_assert_neq(other.status, 0, "another script was allowed");
}

sp_lab_test(learn, usage)
{
	cleanup_outcome struct sp_outcome recorded = sp_supervise(lab, NULL, sp_argv("true"));
	cleanup_outcome struct sp_outcome none = sp_client(lab, sp_argv("policy", "learn", "--audit", lab->audit));
	cleanup_outcome struct sp_outcome bad = sp_client(lab, sp_argv("policy", "learn", "--audit", lab->audit, "x"));
	cleanup_outcome struct sp_outcome gone = sp_client(lab, sp_argv("policy", "learn", "--audit", lab->audit, "7"));

	sp_assert_ended(&recorded, 0, "recorded");
	sp_assert_ended(&none, 125, "no job");
	sp_assert_ended(&bad, 125, "a bad job");
	sp_assert_ended(&gone, 125, "a job that is not there");
	cr_assert_not_null(strstr(gone.err.data, "there is no job 7"));
}

static struct sp_outcome replay(struct sp_lab *lab, const char *policy, const char *option)
{
	const char *const argv[] = {"policy", "replay", policy, "--audit", lab->audit, option, NULL};

	return sp_client(lab, argv);
}

/* Judged as at run time: here the interpreter of a script is what a rule is about. */
sp_lab_test(learn, replay)
{
	static const char same[] = "version: 1\nexec:\n  default: allow\n";
	static const char no_u[] = "version: 1\nexec:\n  default: allow\n  rules:\n"
				   "    - {id: traced, argv: [-u, ...], action: deny, errno: EPERM}\n";
	static const char script[] = "#!/bin/sh -u\necho x\n";

	sp_write_file(lab, "script", script, strlen(script), 0755);
	const char *first = sp_write_file(lab, "same.yaml", same, strlen(same), 0644);
	const char *second = sp_write_file(lab, "no_u.yaml", no_u, strlen(no_u), 0644);
	cleanup_outcome struct sp_outcome recorded =
		sp_supervise(lab, NULL, sp_argv("sh", "-c", "./script; ./script; nonesuch; true"));
	sp_assert_ended(&recorded, 0, "recorded");
	cleanup_outcome struct sp_outcome unchanged = replay(lab, first, NULL);
	cleanup_outcome struct sp_outcome changed = replay(lab, second, NULL);
	cleanup_outcome struct sp_outcome json = replay(lab, second, "--json");
	cleanup_outcome struct sp_outcome future = replay(lab, second, "--since=0s");
	cleanup_outcome struct sp_outcome bad = replay(lab, second, "--since=whenever");
	cleanup_outcome struct sp_outcome none = replay(lab, second, "--job=9");
	cleanup_outcome struct sp_outcome broken = replay(lab, "./none.yaml", NULL);

	sp_assert_ended(&unchanged, 0, "nothing changes");
	sp_assert_ended(&changed, 1, "something changes");
	cr_assert_not_null(strstr(changed.out.data, "     2  allow by default  ->  deny EPERM by traced"), "%s",
			   changed.out.data);
	cr_assert_not_null(strstr(changed.out.data, "2 would be decided otherwise"), "%s", changed.out.data);
	sp_assert_ended(&json, 1, "as JSON");
	cr_assert_not_null(strstr(json.out.data, "\"changed\": 2") != NULL ? json.out.data
									   : strstr(json.out.data, "\"changed\":2"),
			   "%s", json.out.data);
	cr_assert(future.status == 0 || future.status == 1);
	sp_assert_ended(&bad, 125, "a bad time");
	sp_assert_ended(&none, 125, "no such job");
	sp_assert_ended(&broken, 125, "no such policy");
}
