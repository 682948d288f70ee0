/* Supervised programs live as they do without us: no error, no hang, no signal lost, whatever they do around execve. */
#include "harness.h"

#include <string.h>

/* Natively first: the same expectation must hold there, or the test is wrong. */
static void assert_lives(struct sp_lab *lab, const char *const argv[], const char *expected)
{
	struct sp_options options = {.deadline = (int)sp_size(180, 1800)};
	cleanup_outcome struct sp_outcome native = sp_run(lab, &options, argv);
	cleanup_outcome struct sp_outcome supervised = sp_supervise(lab, &options, argv);

	sp_assert_ended(&native, 0, "natively");
	cr_assert_not_null(strstr(native.out.data, expected), "natively: %s", native.out.data);
	sp_assert_ended(&supervised, 0, "supervised");
	cr_assert_not_null(strstr(supervised.out.data, expected), "supervised: %s\ninstead of %s\nerr: %.2000s",
			   supervised.out.data, expected, supervised.err.data);
}

static void under_signal_rain(struct sp_lab *lab, const char *source)
{
	const char *expected = sp_text(lab, "enoent=%d other=0 forks=%d ", 5000, 1000);

	assert_lives(lab, sp_argv(sp_program(lab, "sigrain"), "5000", "1000", source), expected);
}

sp_lab_test(liveness, signals_from_a_timer)
{
	under_signal_rain(lab, "timer");
}

sp_lab_test(liveness, signals_from_a_process)
{
	under_signal_rain(lab, "peer");
}

static void path_search(struct sp_lab *lab, const char *from)
{
	long rounds = sp_size(25, 1000);
	const char *marker = sp_program(lab, "marker");
	const char *directory = sp_text(lab, "%.*s", (int)(strrchr(marker, '/') - marker), marker);
	const char *const *argv =
		sp_argv(sp_program(lab, "pathsearch"), sp_text(lab, "%ld", rounds), directory, "marker", from);

	assert_lives(lab, argv, sp_text(lab, "ok=%ld wrong=0", rounds));
}

sp_lab_test(liveness, path_search_from_main_thread)
{
	path_search(lab, "main");
}

sp_lab_test(liveness, path_search_from_another_thread)
{
	path_search(lab, "thread");
}

sp_lab_test(liveness, posix_spawn_from_eight_threads)
{
	long each = sp_size(50, 500);
	const char *const *argv =
		sp_argv(sp_program(lab, "spawnstorm"), "8", sp_text(lab, "%ld", each), sp_program(lab, "marker"));

	assert_lives(lab, argv, sp_text(lab, "spawned=%ld ok=%ld", 8 * each, 8 * each));
}

sp_lab_test(liveness, fork_and_exec_from_four_processes)
{
	long total = sp_size(1000, 10000);
	const char *const *argv =
		sp_argv(sp_program(lab, "execstorm"), sp_text(lab, "%ld", total), "4", sp_program(lab, "marker"));

	assert_lives(lab, argv, sp_text(lab, "ok=%ld\n", total));
}

sp_lab_test(liveness, forks_from_eight_threads)
{
	long each = sp_size(200, 2000);
	const char *const *argv = sp_argv(sp_program(lab, "forkstorm"), "8", sp_text(lab, "%ld", each));
	const char *expected = sp_text(lab, "forks=%ld reaped=%ld failed=0", 8 * each, 8 * each);

	assert_lives(lab, argv, expected);
}

sp_lab_test(liveness, forks_that_fail)
{
	if (lab->who == SP_WHO_USER) /* the limit is not for root */
		assert_lives(lab, sp_argv(sp_program(lab, "forkstorm"), "4", "100", "fail"),
			     "forks=0 reaped=0 failed=400");
}

sp_lab_test(liveness, exec_by_another_thread_than_the_leader)
{
	long rounds = sp_size(10, 1000);
	const char *const *argv = sp_argv(sp_program(lab, "nonleader"), sp_text(lab, "%ld", rounds));

	assert_lives(lab, argv, sp_text(lab, "nonleader=%ld\n", rounds));
}

sp_lab_test(liveness, blocked_calls_among_failing_execs)
{
	const char *const *argv =
		sp_argv(sp_program(lab, "epollintr"), "execs", sp_text(lab, "%ld", sp_size(300, 5000)));

	assert_lives(lab, argv, "eintr=0 bad=0");
}

sp_lab_test(liveness, blocked_calls_among_ignored_signals)
{
	const char *const *argv =
		sp_argv(sp_program(lab, "epollintr"), "signals", sp_text(lab, "%ld", sp_size(200, 2000)));

	assert_lives(lab, argv, "eintr=0 bad=0");
}

/* A hundred runs, each with a hundred pipelines, so that a failure in one of ten thousand is seen. */
static void pipelines(struct sp_lab *lab, const char *shell)
{
	long runs = sp_size(2, 100);
	const char *script = sp_text(lab,
				     "i=0; while [ $i -lt %ld ]; do %s -ec '"
				     "j=0; while [ $j -lt 100 ]; do echo $j | cat | cat; true | true | cat || exit 1; "
				     "j=$((j+1)); done | sum' || exit 1; i=$((i+1)); done",
				     runs, shell);
	cleanup_outcome struct sp_outcome native = sp_run(lab, NULL, sp_argv(shell, "-c", script));
	struct sp_options options = {.deadline = (int)sp_size(180, 1800)};
	cleanup_outcome struct sp_outcome supervised = sp_supervise(lab, &options, sp_argv(shell, "-c", script));

	sp_assert_ended(&native, 0, "natively");
	sp_assert_ended(&supervised, 0, "supervised");
	cr_assert_str_eq(supervised.out.data, native.out.data);
	cr_assert_str_eq(supervised.err.data, native.err.data);
}

sp_lab_test(liveness, pipelines_of_dash)
{
	pipelines(lab, "dash");
}

sp_lab_test(liveness, pipelines_of_bash)
{
	pipelines(lab, "bash");
}
