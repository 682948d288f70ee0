/* Bad input gives one line that says what is wrong and where, exit status 125, and nothing is started. */
#include "harness.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define HEAD "version: 1\nname: bad\n"
#define RULE HEAD "exec:\n  default: allow\n  rules:\n    - id: one\n"

/* position: what must follow the file's name in the message; "" where a position has no meaning. */
static const struct {
	const char *what, *text, *position;
} policies[] = {
	{"wrong key", HEAD "exec:\n  default: allow\n  colour: blue\n", ":5:"},
	{"wrong key in a rule", RULE "      programme: sh\n      action: allow\n", ":7:"},
	{"wrong type", HEAD "exec: [allow]\n", ":3:"},
	{"wrong value", HEAD "exec:\n  default: perhaps\n", ":4:"},
	{"unknown action", RULE "      program: sh\n      action: permit\n", ":8:"},
	{"unknown errno", RULE "      program: sh\n      action: deny\n      errno: EWHATEVER\n", ":9:"},
	{"bad glob", RULE "      program: \"/usr/[a-\"\n      action: allow\n", ":7:"},
	{"duplicate id",
	 RULE "      program: sh\n      action: allow\n    - id: one\n      program: ls\n      action: deny\n", ":9:"},
	{"failing test", HEAD "exec:\n  default: deny\n  tests:\n    - {argv: [true], expect: allow}\n", ":6:"},
	{"no version", "name: bad\nexec:\n  default: allow\n", ""},
	{"version of the future", "version: 2\nname: bad\nexec:\n  default: allow\n", ":1:"},
	{"not YAML", HEAD "exec: {default: allow\n", ":"},
	{"tabs for indentation", HEAD "exec:\n\tdefault: allow\n", ":4:"},
	{"empty", "", ""},
	{"only a comment", "# nothing\n", ""},
};

static void assert_refused(struct sp_lab *lab, const char *what, const char *mentions)
{
	const char *started = sp_text(lab, "%s/started", lab->directory);
	cleanup_outcome struct sp_outcome outcome = sp_supervise(lab, NULL, sp_argv("touch", started));
	const char *end = NULL;

	sp_assert_ended(&outcome, 125, what);
	end = strchr(outcome.err.data, '\n');
	cr_assert(end != NULL && end[1] == '\0', "%s: not one line: %.2000s", what, outcome.err.data);
	cr_assert_not_null(strstr(outcome.err.data, mentions), "%s: no \"%s\" in: %.2000s", what, mentions,
			   outcome.err.data);
	for (size_t i = 0; i + 1 < outcome.err.size; i++)
		cr_assert((unsigned char)outcome.err.data[i] >= 0x20, "%s: byte %#x in the message", what,
			  (unsigned char)outcome.err.data[i]);
	cr_assert_neq(access(started, F_OK), 0, "%s: the command was started", what);
}

static void assert_policy_refused(struct sp_lab *lab, const char *what, const char *data, size_t size,
				  const char *position)
{
	lab->policy = (char *)sp_write_file(lab, "bad.yaml", data, size, 0644);
	assert_refused(lab, what, sp_text(lab, "bad.yaml%s", position));
}

sp_lab_test(badinput, policies_with_a_mistake)
{
	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++)
		assert_policy_refused(lab, policies[i].what, policies[i].text, strlen(policies[i].text),
				      policies[i].position);
}

sp_lab_test(badinput, policies_that_are_none)
{
	size_t size = 10 << 20;
	cleanup_free char *junk = malloc(size);

	cr_assert_not_null(junk);
	memset(junk, 'x', size);
	assert_policy_refused(lab, "10 MB of one word", junk, size, "");
	for (size_t i = 0; i < size; i++)
		junk[i] = (char)((i * 2654435761u) >> 13);
	assert_policy_refused(lab, "binary", junk, 65536, "");
	assert_policy_refused(lab, "escape sequences", "\x1b[31m: \x1b]0;x\x07\n", 15, "");
	for (size_t i = 0; i < size; i++)
		junk[i] = i % 2 ? '\n' : '[';
	assert_policy_refused(lab, "nested without end", junk, 100000, "");
}

sp_lab_test(badinput, policies_that_cannot_be_read)
{
	lab->policy = (char *)sp_text(lab, "%s/missing.yaml", lab->directory);
	assert_refused(lab, "missing", "missing.yaml");
	lab->policy = lab->directory;
	assert_refused(lab, "a directory by name", lab->directory);
	lab->policy = (char *)sp_text(lab, "%s/directory.yaml", lab->directory);
	cr_assert_eq(mkdir(lab->policy, 0755), 0, "%s", strerror(errno));
	assert_refused(lab, "a directory", "directory.yaml");
	lab->policy = (char *)"no-such-policy";
	assert_refused(lab, "a name that is nowhere", "no-such-policy");
	if (lab->who == SP_WHO_ROOT)
		return;
	lab->policy = (char *)sp_write_file(lab, "closed.yaml", "version: 1\n", 11, 0000);
	assert_refused(lab, "not readable", "closed.yaml");
}

sp_lab_test(badinput, audit_that_cannot_be_written)
{
	snprintf(lab->audit, sizeof(lab->audit), "/proc/nothing/audit.db");
	assert_refused(lab, "a directory that cannot be made", "/proc/nothing");
	snprintf(lab->audit, sizeof(lab->audit), "%s/text.db", lab->directory);
	sp_write_file(lab, "text.db", "this is not a database, and long enough to see it", 49, 0600);
	assert_refused(lab, "not a database", "text.db");
}

static void assert_usage(struct sp_lab *lab, const char *const argv[])
{
	cleanup_outcome struct sp_outcome outcome = sp_client(lab, argv);

	sp_assert_ended(&outcome, 125, argv[0]);
	cr_assert_gt(outcome.err.size, 0);
	cr_assert_eq(outcome.out.size, 0, "%s", outcome.out.data);
}

sp_lab_test(badinput, command_lines)
{
	assert_usage(lab, sp_argv("run"));
	assert_usage(lab, sp_argv("run", "--"));
	assert_usage(lab, sp_argv("run", "--no-such-option", "--", "true"));
	assert_usage(lab, sp_argv("run", "-p"));
	assert_usage(lab, sp_argv("run", "--tracking", "sideways", "--", "true"));
	assert_usage(lab, sp_argv("no-such-command"));
	assert_usage(lab, sp_argv("log", "--job", "x", "--audit", lab->audit));
	assert_usage(lab, sp_argv("log", "--audit", sp_text(lab, "%s/none.db", lab->directory)));
}

/* What a policy asks for and cannot have is said before anything runs. */
sp_lab_test(badinput, a_policy_that_cannot_be_carried_out)
{
	static const char *const refused[] = {
		"exec: {default: allow, rules: [{id: r, program: echo, action: deny, parent: sh}]}",
		"exec: {default: allow, rules: [{id: r, program: echo, action: deny, ancestor: make}]}",
		"exec: {default: allow, rules: [{id: r, program: echo, action: deny, depth: {min: 1}}]}",
	};

	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		sp_set_policy(lab, sp_text(lab, "version: 1\nname: x\n%s\n", refused[i]));
		cleanup_outcome struct sp_outcome outcome = sp_supervise(lab, NULL, sp_argv("echo", "ran"));
		sp_assert_ended(&outcome, 125, refused[i]);
		cr_assert_str_empty(outcome.out.data, "%s", refused[i]);
		cr_assert_not_null(strstr(outcome.err.data, " yet"), "%s", outcome.err.data);
	}
}

/* The rule is about somebody else, natively 0 and 65534: who asks is looked at, not assumed. */
sp_lab_test(badinput, a_rule_about_a_user)
{
	const unsigned own = lab->who == SP_WHO_ROOT ? geteuid() : 65534, other = own + 1;

	for (unsigned user = own; user <= other; user++) {
		sp_set_policy(lab, sp_text(lab,
					   "version: 1\nname: x\nexec: {default: allow, rules: [{id: r, program: echo, "
					   "action: deny, user: %u}]}\n",
					   user));
		cleanup_outcome struct sp_outcome outcome =
			sp_supervise(lab, NULL, sp_argv("sh", "-c", "env echo ran"));
		sp_assert_ended(&outcome, user == own ? 126 : 0, "the rule about a user");
	}
}
