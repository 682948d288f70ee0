/* What the audit says is what happened: compared with what strace counts, byte for byte in the arguments, and safe to
 * look at. */
#include "harness.h"

#include <string.h>

/* A bit of everything a configure script does. */
static const char configure[] =
	"#!/bin/sh\n"
	"echo checking for a few things...\n"
	"for tool in sed grep awk tr; do $tool --version >/dev/null 2>&1 || echo no $tool; done\n"
	"cat >conftest.sh <<END\n#!/bin/sh\nexit 42\nEND\n"
	"chmod +x conftest.sh; ./conftest.sh; echo status $?\n"
	"echo 'not a program' >conftest; chmod +x conftest; env ./conftest; echo status $?\n"
	"chmod -x conftest; env ./conftest; echo status $?\n"
	"echo '#!/nonexistent/sh' >lost; chmod +x lost; env ./lost; echo status $?\n"
	"PATH=/nonexistent:/proc:$PATH env true; env no-such-command; echo status $?\n"
	"echo a b c | tr a-c A-C | sed s/A/x/ | cat\n"
	"(cd / && (ls | sort | head -n 1) >/dev/null) & wait\n"
	"x=$(expr 1 + 2; expr 0); find . -name 'c*' -exec echo {} \\; | wc -l\n"
	"exec sh -c 'exit 9'\n";

/* By the kernel, or by us on its behalf (what cannot be resolved is refused with the errno that the kernel would give). */
#define FAILED_WITH(number) "SELECT count(*) FROM execs WHERE result IN (1, 3) AND max(errno, result_errno) = " number

/* Calls in strace's output that ended with that result, split ones ("unfinished ... resumed") included. */
static long count_calls(const char *trace, const char *result)
{
	cleanup_free char *copy = strdup(trace);
	char *rest = copy;
	long count = 0;

	cr_assert_not_null(copy);
	for (char *line = strtok_r(copy, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
		const char *equals = NULL;

		for (const char *at = line; (at = strstr(at, " = ")) != NULL; at++)
			equals = at + 3;
		count += strstr(line, "exec") != NULL && equals != NULL && strncmp(equals, result, strlen(result)) == 0;
	}
	return count;
}

sp_lab_test(records, same_execs_as_strace_counts)
{
	static const struct {
		const char *strace, *sql;
	} kinds[] = {
		{"0", "SELECT count(*) FROM execs WHERE result = 2"},
		{"-1 ENOENT", FAILED_WITH("2")},
		{"-1 EACCES", FAILED_WITH("13")},
		{"-1 ENOEXEC", FAILED_WITH("8")},
		{"-1 ENOTDIR", FAILED_WITH("20")},
		{"", "SELECT count(*) FROM execs"},
	};

	if (access("/usr/bin/strace", X_OK) < 0)
		cr_skip("no strace here");
	sp_write_file(lab, "configure", configure, strlen(configure), 0755);
	cleanup_outcome struct sp_outcome traced =
		sp_run(lab, NULL,
		       sp_argv("strace", "-f", "-qq", "-e", "trace=execve,execveat", "-e", "signal=none", "-o", "trace",
			       "--", "./configure"));
	cleanup_outcome struct sp_outcome trace = sp_run(lab, NULL, sp_argv("cat", "trace"));
	cleanup_outcome struct sp_outcome supervised = sp_supervise(lab, NULL, sp_argv("./configure"));

	sp_assert_ended(&traced, 9, "under strace");
	sp_assert_ended(&supervised, 9, "supervised");
	cr_assert_str_eq(supervised.out.data, traced.out.data);
	cr_assert_gt(count_calls(trace.out.data, "0"), 20);
	cr_assert_gt(count_calls(trace.out.data, "-1 ENOENT"), 2);
	cr_assert_gt(count_calls(trace.out.data, "-1 EACCES"), 0);
	cr_assert_gt(count_calls(trace.out.data, "-1 ENOEXEC"), 0);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		cr_assert_eq(sp_sql_number(lab, kinds[i].sql), count_calls(trace.out.data, kinds[i].strace),
			     "result %s: %ld recorded, strace counted %ld\n%.8000s", kinds[i].strace,
			     (long)sp_sql_number(lab, kinds[i].sql), count_calls(trace.out.data, kinds[i].strace),
			     trace.out.data);
	cr_assert_eq(sp_sql_number(lab, "SELECT count(*) FROM execs WHERE result = 2 AND verify <> 1"), 0);
}

/* One after the other without a pause: the result of each must be known before the next one comes. */
sp_lab_test(records, errno_of_every_failing_exec)
{
	const char *script =
		"i=0; path=; while [ $i -lt 200 ]; do mkdir $i; echo x >$i/tool; path=$path$i:; i=$((i+1)); done; "
		"exec /usr/bin/env PATH=$path/nonexistent tool";
	cleanup_outcome struct sp_outcome outcome = sp_supervise(lab, NULL, sp_argv("sh", "-c", script));
	int64_t recorded = 0;

	sp_assert_ended(&outcome, 126, "supervised");
	recorded = sp_sql_number(lab, FAILED_WITH("13"));
	cr_assert_eq(recorded, 200, "%ld of 200 recorded with their EACCES", (long)recorded);
}

/* What is needed to judge an exec again: the interpreter with the kernel's words, and which variables were set. */
sp_lab_test(records, what_a_script_is_run_by)
{
	static const char script[] = "#!/bin/sh -u\necho \"$@\"\n";
	static const char looks[] = "version: 1\nexec:\n  default: allow\n  rules:\n"
				    "    - {id: x, env: NOT_SET_HERE, action: deny}\n";
	const char *sql = "SELECT replace(hex(inserted), '00', ' ') FROM execs WHERE result = 2 AND path = './script'";

	sp_write_file(lab, "script", script, strlen(script), 0755);
	cleanup_outcome struct sp_outcome blind = sp_supervise(lab, NULL, sp_argv("sh", "-c", "./script a 'b c'"));
	sp_assert_ended(&blind, 0, "supervised");
	/* /bin/sh, -u, ./script: and then the program's own a and b c. */
	cr_assert_str_eq(sp_sql_text(lab, sql), "2F62696E2F7368 2D75 2E2F736372697074 ");
	cr_assert_not_null(sp_sql_text(lab, "SELECT 1 FROM execs WHERE path = './script' AND interpreter LIKE '/%'"));
	cr_assert_eq(sp_sql_number(lab, "SELECT count(*) FROM execs WHERE length(environment) > 0"), 0);
	cr_assert_eq(sp_sql_number(lab, "SELECT count(*) FROM execs WHERE result = 2 AND seen <> 1"), 0);

	sp_set_policy(lab, looks);
	cleanup_outcome struct sp_outcome seeing = sp_supervise(lab, NULL, sp_argv("sh", "-c", "X=secret env"));
	sp_assert_ended(&seeing, 0, "supervised");
	cr_assert_eq(sp_sql_number(lab, "SELECT count(*) FROM execs WHERE job = 2 AND result = 2 AND seen <> 33"), 0);
	cr_assert_eq(sp_sql_number(lab,
				   "SELECT count(*) FROM execs WHERE instr(hex(environment), '00580050') > 0 OR "
				   "substr(hex(environment), 1, 4) = '5800' OR instr(hex(environment), '005800') > 0"),
		     1);
	cr_assert_eq(sp_sql_number(lab, "SELECT count(*) FROM execs WHERE instr(hex(environment), hex('secret')) > 0"),
		     0);
}

sp_lab_test(records, processes_and_job)
{
	cleanup_outcome struct sp_outcome outcome =
		sp_supervise(lab, NULL, sp_argv("sh", "-c", "(exit 3); sh -c 'kill -9 $$'; (exit 0); exit 7"));

	sp_assert_ended(&outcome, 7, "supervised");
	cr_assert_eq(sp_sql_number(lab, "SELECT count(*) FROM jobs"), 1);
	cr_assert_eq(sp_sql_number(lab, "SELECT status FROM jobs"), 7 << 8);
	cr_assert_eq(sp_sql_number(lab, "SELECT count(*) FROM jobs WHERE ended >= started"), 1);
	cr_assert_eq(sp_sql_number(lab, "SELECT count(*) FROM processes"), 4);
	cr_assert_eq(sp_sql_number(lab, "SELECT count(*) FROM processes WHERE parent = 0 AND status = 7 << 8"), 1);
	cr_assert_eq(sp_sql_number(lab, "SELECT count(*) FROM processes WHERE parent <> 0 AND status = 3 << 8"), 1);
	cr_assert_eq(sp_sql_number(lab, "SELECT count(*) FROM processes WHERE parent <> 0 AND status & 127 = 9"), 1);
	cr_assert_eq(sp_sql_number(lab, "SELECT count(*) FROM processes WHERE ended IS NULL"), 0);
}

static const char no_id[] = "version: 1\n"
			    "name: no-id\n"
			    "exec:\n"
			    "  default: allow\n"
			    "  rules:\n"
			    "    - id: who-are-you\n"
			    "      program: id\n"
			    "      action: deny\n"
			    "      errno: %s\n"
			    "      reason: Nobody here asks for names.\n";

/* Under the rule's errno the shell says what it would say without us, and goes on. */
static void denied_with(struct sp_lab *lab, const char *errno_name, const char *shell_says)
{
	sp_set_policy(lab, sp_text(lab, no_id, errno_name));
	cleanup_outcome struct sp_outcome outcome =
		sp_supervise(lab, NULL, sp_argv("sh", "-c", "id x; echo $?; exit 0"));

	sp_assert_ended(&outcome, 0, errno_name);
	cr_assert_str_eq(outcome.out.data, shell_says, "%s: %s", errno_name, outcome.out.data);
}

sp_lab_test(records, denied_exec_goes_on_with_the_rules_errno)
{
	denied_with(lab, "EACCES", "126\n");
	denied_with(lab, "EPERM", "126\n");
	denied_with(lab, "ENOENT", "127\n");
}

static void assert_says(const struct sp_outcome *outcome, const char *text)
{
	cr_assert_not_null(strstr(outcome->out.data, text), "no \"%s\" in:\n%s", text, outcome->out.data);
}

sp_lab_test(records, denied_exec_is_told_with_rule_reason_and_parents)
{
	sp_set_policy(lab, sp_text(lab, no_id, "EACCES"));
	cleanup_outcome struct sp_outcome outcome =
		sp_supervise(lab, NULL, sp_argv("sh", "-c", "bash -c 'env id -u \"a b\"; true'; true"));
	cleanup_outcome struct sp_outcome log = sp_client(lab, sp_argv("log", "--denied", "--audit", lab->audit));
	cleanup_outcome struct sp_outcome json =
		sp_client(lab, sp_argv("log", "--denied", "--json", "--audit", lab->audit));

	sp_assert_ended(&outcome, 0, "supervised");
	sp_assert_ended(&log, 0, "log --denied");
	sp_assert_ended(&json, 0, "log --denied --json");
	/* execvp() goes on along PATH after EACCES, and where /bin is /usr/bin it asks twice. */
	cr_assert_geq(sp_sql_number(lab, "SELECT count(*) FROM execs WHERE action = 2 AND errno = 13 AND result = 1"),
		      1);
	assert_says(&log, "who-are-you");
	assert_says(&log, "Nobody here asks for names.");
	assert_says(&log, "id -u 'a b'");
	assert_says(&log, "bash");
	assert_says(&log, "sh -c");
	assert_says(&json, "\"who-are-you\"");
	assert_says(&json, "\"a b\"");
}

sp_lab_test(records, arguments_whole)
{
	static const struct {
		const char *name;
		long argc, bytes;
	} cases[] = {{"total", 33, 2097158},
		     {"long", 2, 131077},
		     {"bytes", 6, 270},
		     {"many", 50000, 83333},
		     {"empty", 0, 0}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cleanup_outcome struct sp_outcome outcome =
			sp_supervise(lab, NULL, sp_argv(sp_program(lab, "bigargs"), cases[i].name));
		const char *sql =
			"SELECT argc || ' ' || length(argv) FROM execs WHERE result = 2 ORDER BY id DESC LIMIT 1";
		const char *expected = sp_text(lab, "%ld %ld", cases[i].argc, cases[i].bytes);
		const char *recorded = NULL;

		sp_assert_ended(&outcome, 0, cases[i].name);
		recorded = sp_sql_text(lab, sql);
		cr_assert_str_eq(recorded, expected, "%s: %s instead of %s", cases[i].name, recorded, expected);
	}
	/* Byte for byte: every byte there is but NUL, in order, in argv[1] of the case "bytes". */
	cr_assert_not_null(
		sp_sql_text(lab, "WITH RECURSIVE b(n, hex) AS (SELECT 1, '01' UNION ALL SELECT n + 1, hex || "
				 "printf('%02X', n + 1) FROM b WHERE n < 255) SELECT 1 FROM execs, b WHERE n = 255 AND "
				 "substr(hex(argv), 13, 510) = hex AND result = 2"));
}

/* Whatever a program is called with, nothing but text reaches the terminal of who looks at the log. */
sp_lab_test(records, log_is_safe_to_look_at)
{
	static const char *const cases[] = {"bytes", "lines", "escapes"};
	const char *const *calls[] = {sp_argv("log", "--audit", lab->audit),
				      sp_argv("log", "--json", "--audit", lab->audit)};

	for (size_t i = 0; i < 3; i++) {
		cleanup_outcome struct sp_outcome outcome =
			sp_supervise(lab, NULL, sp_argv(sp_program(lab, "bigargs"), cases[i]));

		sp_assert_ended(&outcome, 0, cases[i]);
	}
	for (size_t i = 0; i < 2; i++) {
		cleanup_outcome struct sp_outcome log = sp_client(lab, calls[i]);

		sp_assert_ended(&log, 0, "log");
		assert_says(&log, "escapes");
		for (size_t j = 0; j < log.out.size; j++) {
			unsigned char byte = (unsigned char)log.out.data[j];

			cr_assert(byte == '\n' || byte == '\t' || byte >= 0x20, "byte %#x in the log", byte);
			cr_assert_neq(byte, 0x7f);
		}
		cr_assert_null(strstr(log.out.data, "\xe2\x80\xae"), "a direction override in the log");
		cr_assert_null(strstr(log.out.data, "\xc2\x9b"), "a C1 control in the log");
	}
}
