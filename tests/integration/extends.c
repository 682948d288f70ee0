/* A policy that extends another: its rules are added, nothing is taken away, and `policy show` prints the whole. */
#include "harness.h"

#include <string.h>

static const char base[] = "version: 1\nname: base\nexec:\n  default: deny\n  rules:\n"
			   "    - {id: tools, program: [sh, echo, id, cat], action: allow}\n"
			   "    - {id: no-id, program: id, action: deny, errno: EPERM}\n"
			   "  tests:\n    - {argv: [date], expect: deny, rule: default}\n";
static const char middle[] = "version: 1\nextends: base.yaml\nexec:\n  rules:\n"
			     "    - {id: dates, program: date, action: allow}\n";
static const char top[] = "version: 1\nname: top\nextends: ./middle.yaml\nexec:\n  rules:\n"
			  "    - {id: id, program: id, action: allow}\n"
			  "    - {id: no-cat, program: cat, action: deny, errno: ENOENT}\n"
			  "  tests:\n"
			  "    - {argv: [date], expect: allow, rule: dates}\n"
			  "    - {argv: [id], expect: deny, rule: no-id}\n"
			  "    - {argv: [cat, x], expect: deny, rule: no-cat}\n"
			  "    - {argv: [ls], expect: deny, rule: default}\n";

static void write_all(struct sp_lab *lab)
{
	(void)sp_write_file(lab, "base.yaml", base, strlen(base), 0644);
	(void)sp_write_file(lab, "middle.yaml", middle, strlen(middle), 0644);
	(void)sp_write_file(lab, "top.yaml", top, strlen(top), 0644);
}

/* The file's own tests say who decides; without the middle one the first of them fails. */
sp_lab_test(extends, rules_are_added)
{
	write_all(lab);
	const char *file = sp_text(lab, "%s/top.yaml", lab->directory);
	cleanup_outcome struct sp_outcome check = sp_client(lab, sp_argv("policy", "check", file));
	sp_assert_ended(&check, 0, check.err.data);

	const char *const argv[] = {
		sp_sallyport(lab),
		"run",
		"-p",
		file,
		"--audit",
		lab->audit,
		"--",
		"sh",
		"-c",
		"date >/dev/null && ! id 2>/dev/null && ! cat x 2>/dev/null && ! ls 2>/dev/null && echo done",
		NULL};
	cleanup_outcome struct sp_outcome run = sp_run(lab, NULL, argv);
	sp_assert_ended(&run, 0, run.err.data);
	cr_assert_str_eq(run.out.data, "done\n");
	cr_assert_geq(sp_sql_number(lab, "SELECT count(*) FROM execs WHERE rule = 'no-id' AND errno = 1"), 1);

	static const char empty[] = "version: 1\nextends: base.yaml\n";
	(void)sp_write_file(lab, "middle.yaml", empty, strlen(empty), 0644);
	cleanup_outcome struct sp_outcome without = sp_client(lab, sp_argv("policy", "check", file));
	sp_assert_ended(&without, 125, "without the rule");
	cr_assert_not_null(strstr(without.err.data, "top.yaml:"), "%s", without.err.data);
}

sp_lab_test(extends, show_is_the_whole)
{
	write_all(lab);
	cleanup_outcome struct sp_outcome show =
		sp_client(lab, sp_argv("policy", "show", sp_text(lab, "%s/top.yaml", lab->directory)));
	sp_assert_ended(&show, 0, show.err.data);
	const char *whole = sp_write_file(lab, "whole.yaml", show.out.data, show.out.size, 0644);
	cleanup_outcome struct sp_outcome check = sp_client(lab, sp_argv("policy", "check", whole));

	sp_assert_ended(&check, 0, check.err.data);
	cr_assert_not_null(strstr(check.out.data, "5 rules, 4 tests"), "%s\n%s", check.out.data, show.out.data);
	cr_assert_not_null(strstr(show.out.data, "name: top"), "%s", show.out.data);
}

sp_lab_test(extends, errors)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"version: 1\nextends: bad.yaml\n", "is it a circle?"},
		{"version: 1\nextends: nonesuch\n", "no policy of this name"},
		{"version: 1\nextends: ./nonesuch.yaml\n", "No such file"},
		{"version: 1\nextends: base.yaml\nexec: {default: allow}\n",
		 "bad.yaml:2:10: a policy that extends another"},
		{"version: 1\nextends: base.yaml\nlimits: {processes: 5}\n", "limits is said by the other"},
		{"version: 1\nextends: base.yaml\nexec: {rules: [{id: tools, program: x, action: allow}]}\n",
		 "duplicate id 'tools', the first is in line 6 of what this extends"},
		{"version: 1\nextends: [base]\n", "bad.yaml:2:10"},
	};

	write_all(lab);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *file = sp_write_file(lab, "bad.yaml", rows[i].text, strlen(rows[i].text), 0644);
		cleanup_outcome struct sp_outcome check = sp_client(lab, sp_argv("policy", "check", file));
		sp_assert_ended(&check, 125, rows[i].text);
		cr_assert_not_null(strstr(check.err.data, rows[i].says), "%s: %s", rows[i].text, check.err.data);
	}
}
