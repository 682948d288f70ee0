/* What the integration tests stand on: a laboratory for one test (a directory, a user, an audit database), and commands
 * run in it, natively, under sallyport or under the naive control, with a deadline, after which nothing may be left.
 *
 * Everything here ends the test with a message when the laboratory itself fails. The calling process becomes the
 * subreaper of whatever it runs. One thread. */
#ifndef SP_TESTS_HARNESS_H
#define SP_TESTS_HARNESS_H

#include "util/cleanup.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* As whom the commands run. Only a test runner that is root can choose; another one is the user. */
enum sp_who { SP_WHO_ROOT, SP_WHO_USER };

struct sp_lab {
	enum sp_who who;
	char directory[64]; /* the commands' HOME, TMPDIR and working directory; removed with the lab */
	char audit[80]; /* the database given to sallyport */
	char *policy; /* file given to sallyport, or NULL for none */
	char **strings; /* owned, see sp_text() */
	size_t string_count;
};

void sp_lab_open(struct sp_lab *lab, enum sp_who who);
void sp_lab_close(struct sp_lab *lab);
#define cleanup_lab sp_cleanup(sp_lab_close)

/* A formatted string that lives as long as the lab. */
[[gnu::format(printf, 2, 3)]] const char *sp_text(struct sp_lab *lab, const char *format, ...);

/* Skips the test where the programs were built with that sanitizer: "asan", "tsan" or "asan|tsan". */
void sp_skip_if_sanitized(struct sp_lab *lab, const char *which, const char *why);

/* Path of a program under test, or of one of tests/programs, for the lab's user to run. */
const char *sp_sallyport(struct sp_lab *lab);
const char *sp_sallyportd(struct sp_lab *lab);
const char *sp_program(struct sp_lab *lab, const char *name);

/* A file of this tree, for the lab's user to read: its absolute path, or that of a copy in the lab. */
const char *sp_file(struct sp_lab *lab, const char *path);
const char *sp_plugin(struct sp_lab *lab, const char *directory, const char *name); /* of the build */

/* Writes a file in the lab and returns its path; the second form makes it the lab's policy. */
const char *sp_write_file(struct sp_lab *lab, const char *name, const void *data, size_t size, mode_t mode);
void sp_set_policy(struct sp_lab *lab, const char *text);

/* ---- running ---- */

#define sp_argv(...) ((const char *const[]){__VA_ARGS__, NULL})

struct sp_buffer {
	char *data; /* NUL-terminated */
	size_t size;
};

struct sp_outcome {
	int status; /* as a shell shows it: 128+n by signal */
	bool timed_out; /* killed at the deadline; what it was doing then has been printed */
	unsigned leftovers; /* processes that outlived the command: killed, and more than 0 */
	struct sp_buffer out, err;
};

void sp_outcome_release(struct sp_outcome *outcome);
#define cleanup_outcome sp_cleanup(sp_outcome_release)

struct sp_options {
	const void *input; /* standard input; NULL: an empty one */
	size_t input_size;
	int deadline; /* seconds; 0: 120. For hangs only: no test depends on speed */
	const char *extra_environment; /* one NAME=value, or NULL */
};

/* Natively. */
struct sp_outcome sp_run(struct sp_lab *lab, const struct sp_options *options, const char *const argv[]);
/* How sallyport run tracks here: "attached", or what SP_TRACKING in the environment says. */
const char *sp_tracking(void);
/* `sallyport run --tracking TRACKING [-p POLICY] --audit AUDIT -- ARGV` */
struct sp_outcome sp_supervise(struct sp_lab *lab, const struct sp_options *options, const char *const argv[]);
/* `naive --delay-us 200 -- ARGV` */
struct sp_outcome sp_control(struct sp_lab *lab, const struct sp_options *options, const char *const argv[]);
/* `sallyport ARGV`: the other subcommands. */
struct sp_outcome sp_client(struct sp_lab *lab, const char *const argv[]);

/* Any command, beside one that runs: nobody looks for what that has left yet. Its standard output (NULL: not wanted) belongs to the
 * lab; what it says on standard error is thrown away. The status as waitpid(2) has it in WEXITSTATUS, -1 by a signal. */
int sp_beside(struct sp_lab *lab, const char *const argv[], const char **output);

/* The argument vector of a supervised run, for those who start it themselves. The lab owns it. */
const char *const *sp_supervised_argv(struct sp_lab *lab, const char *const argv[]);

/* A command that a test talks to while it runs. */
struct sp_child {
	pid_t pid;
	int input, out, err; /* our ends */
	int64_t deadline; /* CLOCK_MONOTONIC, ns */
	int linger; /* seconds that its descendants may take to end after it; set by the test */
	struct sp_buffer out_buffer, err_buffer;
};

struct sp_child sp_start(struct sp_lab *lab, const struct sp_options *options, const char *const argv[]);
/* Reads until that many bytes, or that text, have come on standard output; false at its end or at the deadline. */
bool sp_await_size(struct sp_child *child, size_t size);
bool sp_await_text(struct sp_child *child, const char *text);
/* Closes standard input, reads to the end, reaps. */
struct sp_outcome sp_finish(struct sp_child *child);

/* For sp_child.deadline: that many seconds from now. */
int64_t sp_deadline(int seconds);

/* Between fork and exec, for those who fork themselves (a terminal): becomes the lab's user, in its directory, with its
 * environment, and execs. */
[[gnu::noreturn]] void sp_exec_in_lab(struct sp_lab *lab, const char *const argv[], const char *extra_environment);

/* Waits until no descendant is left. Those that still live after that many seconds are described, killed and counted. */
unsigned sp_end_descendants(int seconds);

/* ---- looking ---- */

/* One number or one text (of the lab) from the lab's database; a statement without a row gives -1, NULL. */
int64_t sp_sql_number(struct sp_lab *lab, const char *sql);
const char *sp_sql_text(struct sp_lab *lab, const char *sql);

/* NAME=NUMBER in a line that a test program printed; -1 if it is not there. */
long sp_value(const struct sp_outcome *outcome, const char *name);

/* The run ended by itself with that status, and nothing outlived it. */
void sp_assert_ended(const struct sp_outcome *outcome, int status, const char *what);

/* ---- sizes and parameters ---- */

/* The full size if SP_FULL=1 is in the environment. */
long sp_size(long moderate, long full);

/* For ParameterizedTestParameters: who (as int), or WHO_COUNT * index + who for tests over a table of count entries. */
struct criterion_test_params sp_each_who(void);
struct criterion_test_params sp_each_who_of(int count);
#define SP_WHO(parameter) ((enum sp_who)((parameter) % 2))
#define SP_INDEX(parameter) ((parameter) / 2)
const char *sp_who_name(enum sp_who who);

/* A test that is run once for each user, with a lab of its own called `lab`. */
#define sp_lab_test(suite, name)                                                                                       \
	static void test_##name(struct sp_lab *lab);                                                                   \
	ParameterizedTestParameters(suite, name)                                                                       \
	{                                                                                                              \
		return sp_each_who();                                                                                  \
	}                                                                                                              \
	ParameterizedTest(int *parameter, suite, name)                                                                 \
	{                                                                                                              \
		cleanup_lab struct sp_lab its_lab;                                                                     \
		sp_lab_open(&its_lab, SP_WHO(*parameter));                                                             \
		test_##name(&its_lab);                                                                                 \
	}                                                                                                              \
	static void test_##name(struct sp_lab *lab)

#endif
