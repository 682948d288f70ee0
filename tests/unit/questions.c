/* What an answer is remembered as: a rule that means what was shown, and no more. And the file that outlives the job. */
#include "questions.h"
#include "policy_helper.h"
#include "remembered.h"
#include "util/clock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* An exec that is asked about, without a kernel. */
struct asked {
	struct words words;
	struct sp_inspection *in;
	struct sp_policy *policy;
	struct sp_question question;
};

static void release_asked(struct asked *a)
{
	free(a->in->argv.item);
	a->in->argv = (struct sp_strings){0};
	sp_inspection_free(a->in);
	sp_policy_free(a->policy);
	release_words(&a->words);
}
#define cleanup_asked sp_cleanup(release_asked)

/* The first rule of the policy asks. */
static struct asked ask(const char *policy, const char *path, const char *line)
{
	struct asked a = {.words = split(line), .in = sp_inspection_new(), .policy = parse(policy)};

	cr_assert_not_null(a.in);
	(void)snprintf(a.in->file.path, sizeof a.in->file.path, "%s", path);
	a.in->argv.item = calloc(a.words.count + 1, sizeof *a.in->argv.item);
	for (size_t i = 0; i < a.words.count; i++)
		a.in->argv.item[i] = (void *)a.words.items[i];
	a.in->argv.count = a.words.count;
	a.question = (struct sp_question){
		.in = a.in, .policy = a.policy, .rule = sp_policy_rule_id(a.policy, 0), .rule_number = 0};
	return a;
}

#define ASKS(matchers) "{version: 1, exec: {default: deny, rules: [{id: r, " matchers ", action: ask}]}}"

static const struct {
	const char *policy, *path, *line;
	enum sp_scope scope;
	const char *rule; /* NULL: none */
} rows[] = {
	{ASKS("program: ls"), "/bin/ls", "ls -l /tmp", SP_SCOPE_EXACT,
	 "{\"program\": [\"/bin/ls\"], \"argv\": [\"-l\", \"/tmp\"], \"action\": \"allow\"}"},
	{ASKS("program: ls"), "/bin/ls", "ls", SP_SCOPE_EXACT,
	 "{\"program\": [\"/bin/ls\"], \"count\": 0, \"action\": \"allow\"}"},
	/* What would be a pattern is the very text. */
	{ASKS("program: ls"), "/bin/ls", "ls * ... [a]", SP_SCOPE_EXACT,
	 "{\"program\": [\"/bin/ls\"], \"argv\": [\"\\\\*\", \"\\\\...\", \"\\\\[a\\\\]\"], \"action\": \"allow\"}"},
	{ASKS("program: ls"), "/opt/a*b", "ls", SP_SCOPE_PROGRAM,
	 "{\"program\": [\"/opt/a\\\\*b\"], \"action\": \"allow\"}"},
	{ASKS("program: git, words: [push]"), "/bin/git", "git push -f", SP_SCOPE_WORDS,
	 "{\"program\": [\"/bin/git\"], \"words\": [\"push\"], \"action\": \"allow\"}"},
	/* An option before the word, of which the rule that asks says that it takes a value, and of which it does not. */
	{ASKS("program: git, options_with_value: [-C], words: [push]"), "/bin/git", "git -C x push", SP_SCOPE_WORDS,
	 "{\"program\": [\"/bin/git\"], \"words\": [\"push\"], \"options_with_value\": [\"-C\"], \"action\": "
	 "\"allow\"}"},
	{ASKS("program: git, words: [push]"), "/bin/git", "git -C x push", SP_SCOPE_WORDS,
	 "{\"program\": [\"/bin/git\"], \"words\": [\"x\"], \"action\": \"allow\"}"},
	{ASKS("program: git"), "/bin/git", "git --version", SP_SCOPE_WORDS, NULL},
	{ASKS("env: [LD_PRELOAD]"), "/bin/ls", "ls", SP_SCOPE_EXACT, NULL},
	{ASKS("program: /bin/busybox"), "/bin/busybox", "ls x", SP_SCOPE_EXACT, NULL},
	{ASKS("program: ls"), "/bin/ls", "ls \xff", SP_SCOPE_EXACT, NULL},
};

Test(questions, the_rule_that_is_shown)
{
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		cleanup_asked struct asked a = ask(rows[i].policy, rows[i].path, rows[i].line);
		struct sp_error e = {0};
		cleanup_free char *rule = sp_question_rule(&a.question, SP_ALLOW, rows[i].scope, &e);

		if (rows[i].rule == NULL)
			cr_assert(rule == NULL && strstr(e.text, "cannot be remembered") != NULL, "%s: %s",
				  rows[i].line, rule);
		else
			cr_assert(rule != NULL && strcmp(rule, rows[i].rule) == 0, "%s: %s %s", rows[i].line,
				  rule != NULL ? rule : "", e.text);
	}
}

/* Each is about what it was made of, and of the others about none that differ in more than its scope leaves open. */
static bool fits(const char *rule, const char *path, const char *line)
{
	cleanup_words struct words words = split(line);
	const struct sp_exec exec = {.path = path, .argv = words.items, .argc = words.count};

	return sp_remembered_fits(rule, &exec, SP_ALLOW);
}

Test(questions, no_more_than_was_shown)
{
	const char *dots = "{\"program\": [\"/bin/ls\"], \"argv\": [\"\\\\*\", \"\\\\...\"], \"action\": \"allow\"}";
	const char *none = "{\"program\": [\"/bin/ls\"], \"count\": 0, \"action\": \"allow\"}";
	const char *push = "{\"program\": [\"/bin/git\"], \"words\": [\"push\"], \"action\": \"allow\"}";

	cr_assert(fits(dots, "/bin/ls", "ls * ..."));
	cr_assert_not(fits(dots, "/bin/ls", "ls x ..."));
	cr_assert_not(fits(dots, "/bin/ls", "ls * anything at all"));
	cr_assert_not(fits(dots, "/opt/bin/ls", "ls * ..."));
	cr_assert(fits(none, "/bin/ls", "ls"));
	cr_assert_not(fits(none, "/bin/ls", "ls x"));
	cr_assert(fits(push, "/bin/git", "git push -f"));
	cr_assert_not(fits(push, "/bin/git", "git pull"));
}

/* ---- what is remembered ---- */

static char directory[] = "/tmp/sallyport-remembered-XXXXXX";
static char file[128];

static void open_home(void)
{
	cr_assert_not_null(mkdtemp(directory));
	cr_assert_eq(setenv("XDG_STATE_HOME", directory, 1), 0);
	(void)snprintf(file, sizeof file, "%s/sallyport/remembered.yaml", directory);
}

static void close_home(void)
{
	cleanup_free char *command = NULL;

	cr_assert_gt(asprintf(&command, "rm -rf %s", directory), 0);
	cr_assert_eq(system(command), 0);
}

static void release_remembered(struct sp_remembered **r)
{
	sp_remembered_free(*r);
}
#define cleanup_remembered sp_cleanup(release_remembered)

static void write_file(const char *text, mode_t mode)
{
	cleanup_free char *parent = NULL;

	cr_assert_gt(asprintf(&parent, "%s/sallyport", directory), 0);
	(void)mkdir(parent, 0700);
	(void)unlink(file);
	cleanup_close int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	cr_assert_eq(fchmod(fd, mode), 0);
}

static const struct sp_recollection *find(const struct sp_remembered *r, const char *asking, const char *line,
					  enum sp_action *action)
{
	static struct words words;

	release_words(&words);
	words = split(line);
	const struct sp_exec exec = {.path = "/bin/ls", .argv = words.items, .argc = words.count};
	return sp_remembered_find(r, asking, &exec, sp_now(), action);
}

#define RULE(argument, action) "{\"program\": [\"/bin/ls\"], \"argv\": [\"" argument "\"], \"action\": \"" action "\"}"

Test(remembered, for_the_job_and_for_good, .init = open_home, .fini = close_home)
{
	cleanup_remembered struct sp_remembered *r = sp_remembered_new("/p.yaml"),
						*later = sp_remembered_new("/p.yaml"),
						*other = sp_remembered_new("/q.yaml");
	struct sp_recollection once = {.asking = "a", .rule = RULE("x", "allow"), .by = "me", .at = sp_now()};
	struct sp_recollection good = once, over = once;
	struct sp_error e = {0};
	enum sp_action action;
	struct stat status;

	good.rule = RULE("y", "deny");
	good.for_good = over.for_good = true;
	over.rule = RULE("z", "allow");
	over.expires = sp_now() - 1;
	cr_assert_eq(sp_remembered_add(r, &once, &e), 0, "%s", e.text);
	cr_assert_eq(access(file, F_OK), -1);
	cr_assert_eq(sp_remembered_add(r, &over, &e), 0, "%s", e.text);
	cr_assert_eq(sp_remembered_add(r, &good, &e), 0, "%s", e.text);
	cr_assert_eq(stat(file, &status), 0);
	cr_assert_eq(status.st_mode & 0777, 0600);
	cr_assert(find(r, "a", "ls x", &action) != NULL && action == SP_ALLOW);
	cr_assert(find(r, "a", "ls y", &action) != NULL && action == SP_DENY);
	cr_assert_null(find(r, "a", "ls z", &action), "it is over");
	cr_assert_null(find(r, "b", "ls x", &action), "another rule asks");
	cr_assert_eq(sp_remembered_load(later, &e), 0, "%s", e.text);
	cr_assert_null(find(later, "a", "ls x", &action));
	cr_assert(find(later, "a", "ls y", &action) != NULL && action == SP_DENY);
	cr_assert_eq(sp_remembered_load(other, &e), 0, "%s", e.text);
	cr_assert_null(find(other, "a", "ls y", &action), "another policy asks");
}

Test(remembered, the_strictest_counts, .init = open_home, .fini = close_home)
{
	cleanup_remembered struct sp_remembered *r = sp_remembered_new("/p.yaml");
	struct sp_recollection each = {.asking = "a", .by = "me", .at = sp_now()};
	struct sp_error e = {0};
	enum sp_action action;

	each.rule = "{\"program\": [\"/bin/ls\"], \"action\": \"deny\"}";
	cr_assert_eq(sp_remembered_add(r, &each, &e), 0, "%s", e.text);
	each.rule = RULE("x", "allow");
	cr_assert_eq(sp_remembered_add(r, &each, &e), 0, "%s", e.text);
	cr_assert(find(r, "a", "ls x", &action) != NULL && action == SP_DENY);
}

#define LINE(rest)                                                                                                     \
	"# by hand\n- {\"policy\": \"/p.yaml\", \"rule\": \"a\", \"by\": \"me\", \"at\": "                             \
	"\"2026-01-01T00:00:00Z\", " rest "}\n"
#define GOOD LINE("\"expires\": null, \"does\": " RULE("x", "allow"))

Test(remembered, files_that_are_not_believed, .init = open_home, .fini = close_home)
{
	static const struct {
		const char *text;
		mode_t mode;
		int err;
		const char *says;
	} files[] = {
		{GOOD, 0600, 0, NULL},
		{GOOD, 0620, -EPERM, "others than its owner can write it"},
		{GOOD, 0602, -EPERM, "others than its owner can write it"},
		{"- {\"policy\": 1}\n", 0600, -EINVAL, "remembered.yaml:1: expected"},
		{GOOD "rules: []\n", 0600, -EINVAL, "remembered.yaml:3: expected"},
		{LINE("\"expires\": \"soon\", \"does\": {}"), 0600, -EINVAL, "remembered.yaml:2: expected"},
		{LINE("\"expires\": null, \"does\": {\"action\": \"allow\"}"), 0600, -EINVAL, "remembered.yaml:2: "},
		{LINE("\"expires\": null, \"does\": {\"program\": [\"/bin/ls\"], \"no\": 1, \"action\": \"allow\"}"),
		 0600, -EINVAL, "remembered.yaml:2: "},
	};

	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		cleanup_remembered struct sp_remembered *r = sp_remembered_new("/p.yaml");
		struct sp_error e = {0};
		enum sp_action action;

		write_file(files[i].text, files[i].mode);
		int err = sp_remembered_load(r, &e);
		cr_assert_eq(err, files[i].err, "%zu: %d %s", i, err, e.text);
		cr_assert_eq(find(r, "a", "ls x", &action) != NULL, err == 0, "%zu", i);
		if (files[i].says != NULL)
			cr_assert_not_null(strstr(e.text, files[i].says), "%zu: %s", i, e.text);
	}
}

Test(remembered, somebody_elses_file, .init = open_home, .fini = close_home)
{
	cleanup_remembered struct sp_remembered *r = sp_remembered_new("/p.yaml");
	struct sp_error e = {0};

	if (geteuid() != 0)
		return;
	write_file(GOOD, 0600);
	cr_assert_eq(chown(file, 65534, 65534), 0);
	cr_assert_eq(sp_remembered_load(r, &e), -EPERM);
	cr_assert_not_null(strstr(e.text, "somebody else's"), "%s", e.text);
}

/* What a person has added by hand stays, what is over goes. */
Test(remembered, writing_keeps_what_is_there, .init = open_home, .fini = close_home)
{
	cleanup_remembered struct sp_remembered *r = sp_remembered_new("/q.yaml"), *p = sp_remembered_new("/p.yaml");
	const struct sp_recollection one = {
		.asking = "a", .rule = RULE("y", "allow"), .by = "me", .at = sp_now(), .for_good = true};
	struct sp_error e = {0};
	enum sp_action action;
	char text[4096] = "";

	write_file(GOOD LINE("\"expires\": \"2026-01-02T00:00:00Z\", \"does\": " RULE("stale", "allow")), 0600);
	cr_assert_eq(sp_remembered_add(r, &one, &e), 0, "%s", e.text);
	cleanup_close int fd = open(file, O_RDONLY | O_CLOEXEC);
	cr_assert_gt(read(fd, text, sizeof text - 1), 0);
	cr_assert_null(strstr(text, "stale"), "%s", text);
	cr_assert_eq(sp_remembered_load(p, &e), 0, "%s", e.text);
	cr_assert_not_null(find(p, "a", "ls x", &action));
}
