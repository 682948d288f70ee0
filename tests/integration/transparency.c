/* What a command is given and what it gives back is the same as if it had been run directly: streams, exit status,
 * arguments, environment, what parents learn of their children. */
#include "harness.h"

#include <string.h>

/* The same output, errors and status natively and under sallyport. */
static void assert_same(struct sp_lab *lab, const struct sp_options *options, const char *const argv[])
{
	cleanup_outcome struct sp_outcome native = sp_run(lab, options, argv);
	cleanup_outcome struct sp_outcome supervised = sp_supervise(lab, options, argv);

	cr_assert_not(native.timed_out, "natively: %.2000s", native.out.data);
	sp_assert_ended(&supervised, native.status, argv[0]);
	cr_assert_eq(supervised.out.size, native.out.size, "%s: %zu bytes of output instead of %zu\n%.2000s\n%.2000s",
		     argv[0], supervised.out.size, native.out.size, supervised.out.data, native.out.data);
	cr_assert_arr_eq(supervised.out.data, native.out.data, native.out.size, "%s", argv[0]);
	cr_assert_str_eq(supervised.err.data, native.err.data);
}

sp_lab_test(transparency, what_parents_learn)
{
	assert_same(lab, NULL, sp_argv(sp_program(lab, "statuses")));
}

sp_lab_test(transparency, every_exit_status)
{
	const char *statuses = sp_program(lab, "statuses");

	for (int status = 0; status < 256; status += (int)sp_size(5, 1)) {
		cleanup_outcome struct sp_outcome outcome =
			sp_supervise(lab, NULL, sp_argv(statuses, "exit", sp_text(lab, "%d", status)));

		sp_assert_ended(&outcome, status, "exit status");
		cr_assert_str_eq(outcome.err.data, "");
	}
}

sp_lab_test(transparency, every_death)
{
	static const int deaths[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13,
				     14, 15, 16, 24, 25, 26, 27, 29, 30, 31, 34, 64};
	const char *statuses = sp_program(lab, "statuses");

	for (size_t i = 0; i < sizeof(deaths) / sizeof(deaths[0]); i++) {
		cleanup_outcome struct sp_outcome outcome =
			sp_supervise(lab, NULL, sp_argv(statuses, "signal", sp_text(lab, "%d", deaths[i])));

		sp_assert_ended(&outcome, 128 + deaths[i], "death by signal");
	}
}

/* One line on standard error that says what is wrong; nothing else. */
static void assert_one_line(const struct sp_outcome *outcome, const char *mentions)
{
	const char *end = strchr(outcome->err.data, '\n');

	cr_assert(end != NULL && end[1] == '\0', "not one line: %.2000s", outcome->err.data);
	cr_assert_not_null(strstr(outcome->err.data, mentions), "no word of %s: %s", mentions, outcome->err.data);
	cr_assert_eq(outcome->out.size, 0);
}

sp_lab_test(transparency, command_that_is_not_there)
{
	cleanup_outcome struct sp_outcome bare = sp_supervise(lab, NULL, sp_argv("no-such-command"));
	cleanup_outcome struct sp_outcome path = sp_supervise(lab, NULL, sp_argv("/nonexistent/command"));

	sp_assert_ended(&bare, 127, "a name that is not in PATH");
	assert_one_line(&bare, "no-such-command");
	sp_assert_ended(&path, 127, "a path to nothing");
	assert_one_line(&path, "/nonexistent/command");
}

sp_lab_test(transparency, command_that_cannot_run)
{
	const char *plain = sp_write_file(lab, "plain", "text\n", 5, 0644);
	cleanup_outcome struct sp_outcome file = sp_supervise(lab, NULL, sp_argv(plain));
	cleanup_outcome struct sp_outcome directory = sp_supervise(lab, NULL, sp_argv("/usr"));

	sp_assert_ended(&file, 126, "a file without the execute bit");
	assert_one_line(&file, plain);
	sp_assert_ended(&directory, 126, "a directory");
	assert_one_line(&directory, "/usr");
}

sp_lab_test(transparency, command_that_the_policy_refuses)
{
	sp_set_policy(lab, "version: 1\nname: nothing\nexec:\n  default: deny\n");
	cleanup_outcome struct sp_outcome outcome = sp_supervise(lab, NULL, sp_argv("true"));

	sp_assert_ended(&outcome, 126, "a command that is refused");
	assert_one_line(&outcome, "true");
}

sp_lab_test(transparency, streams)
{
	size_t size = 3 << 20;
	cleanup_free char *input = malloc(size);

	cr_assert_not_null(input);
	for (size_t i = 0; i < size; i++)
		input[i] = (char)(i * 7 + i / 251);
	struct sp_options options = {.input = input, .input_size = size};
	assert_same(lab, &options, sp_argv("sh", "-c", "tee /dev/stderr | cat | cat; echo done >&2", "sh"));
}

sp_lab_test(transparency, surroundings)
{
	struct sp_options options = {.extra_environment = "SP_SAMPLE=a\nb\x01=c"};

	assert_same(lab, &options,
		    sp_argv("sh", "-c", "env -0 | sort -z; pwd; umask; ulimit -a; id; ls -l /proc/self/fd | wc -l"));
}

sp_lab_test(transparency, ignored_and_blocked_signals)
{
	/* As nohup leaves them: an ignored signal stays ignored through exec. */
	assert_same(lab, NULL,
		    sp_argv("bash", "-c", "trap '' HUP TERM; grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status"));
}

sp_lab_test(transparency, job_control)
{
	assert_same(lab, NULL, sp_argv(sp_program(lab, "jobcontrol")));
}

sp_lab_test(transparency, orphans)
{
	assert_same(lab, NULL, sp_argv(sp_program(lab, "orphans"), sp_program(lab, "statuses"), "exit", "5"));
}

/* A command that ends before what it started: all of it is supervised until it ends too, or is ended. */
sp_lab_test(transparency, background_process_that_outlives_the_command)
{
	cleanup_outcome struct sp_outcome outcome = sp_supervise(
		lab, NULL, sp_argv("sh", "-c", "(head -c 200000000 /dev/zero | cksum >cksum.txt; true) & exit 3"));

	sp_assert_ended(&outcome, 3, "the command's own status");
}

sp_lab_test(transparency, arguments)
{
	static const char *const cases[] = {"total", "long",    "empty", "none", "bytes",
					    "lines", "escapes", "many",  "self"};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_same(lab, NULL, sp_argv(sp_program(lab, "bigargs"), cases[i]));
}

/* Scripts: with an argument on the #! line, through an interpreter that is itself a script, relative, without one. */
sp_lab_test(transparency, scripts)
{
	const char *inner = sp_text(lab, "%s/inner", lab->directory);
	const char *outer = sp_text(lab, "#! %s  one two \nnot read\n", inner);
	const char *inner_text = "#!/bin/sh -e\nfor a; do echo \"[$a]\"; done\nfalse\necho not reached\n";

	sp_write_file(lab, "inner", inner_text, strlen(inner_text), 0755);
	sp_write_file(lab, "outer", outer, strlen(outer), 0755);
	sp_write_file(lab, "lost", "#!/nonexistent/sh\n", 18, 0755);
	sp_write_file(lab, "bare", "echo bare $#\n", 13, 0755);
	assert_same(lab, NULL, sp_argv("./inner", "a b", ""));
	assert_same(lab, NULL, sp_argv("./outer", "a b", ""));
	assert_same(lab, NULL,
		    sp_argv("sh", "-c", "./outer x; ./lost; echo $?; ./bare 1 2; ln -sf outer link; ./link y"));
}

/* /dev/fd paths, an open fd as program, the current directory as root of a relative path. */
sp_lab_test(transparency, unusual_paths)
{
	sp_write_file(lab, "script", "#!/bin/sh\necho script \"$@\"\n", 27, 0755);
	assert_same(lab, NULL,
		    sp_argv("bash", "-c",
			    "/proc/self/cwd/script 1; exec 7</bin/true; /proc/self/fd/7; echo $?; cd /; "
			    "usr/bin/../bin/true; echo $?; ./etc/passwd; echo $?"));
}

sp_lab_test(transparency, supervision_inside_supervision_says_so)
{
	struct sp_options options = {.extra_environment = "ASAN_OPTIONS=detect_leaks=0"}; /* cannot work under ptrace */
	const char *const *inner = sp_argv(sp_sallyport(lab), "run", "--audit",
					   sp_text(lab, "%s/inner.db", lab->directory), "--", "touch", "started");
	cleanup_outcome struct sp_outcome outcome = sp_supervise(lab, &options, inner);

	sp_assert_ended(&outcome, 125, "sallyport run inside sallyport run");
	assert_one_line(&outcome, "already supervised");
	cr_assert_neq(access(sp_text(lab, "%s/started", lab->directory), F_OK), 0, "it was started nevertheless");
}
