/* Whom to ask for an event: with few children and with many, every event is found once, by whichever phase of a turn; and
 * what a turn asks for is bounded. The children are real and traced; waitpid(2) is counted. */
#include <criterion/criterion.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/wait.h>

#include "child.h"
#include "ptrace/status.h"

static pid_t count_waitpid(pid_t pid, int *status, int options);

#define waitpid(pid, status, options) count_waitpid(pid, status, options)
#include "ptrace/waiting.c"
#undef waitpid

static unsigned asked, asked_all;

static pid_t count_waitpid(pid_t pid, int *status, int options)
{
	asked++;
	asked_all += pid == -1;
	return waitpid(pid, status, options);
}

enum { A_FEW = 5, MANY = 200, RECENT_MAX = 4 };

static pid_t children[MANY];
static unsigned found[MANY]; /* events of each */
static unsigned child_count;
static struct sp_waiting w;

static void start_children(unsigned count)
{
	child_count = count;
	w = (struct sp_waiting){0};
	for (unsigned i = 0; i < count; i++) {
		children[i] = child_waiting(NULL, NULL);
		found[i] = 0;
		cr_assert_eq(ptrace(PTRACE_SEIZE, children[i], NULL, PTRACE_O_EXITKILL), 0);
	}
}

static void end_children(void)
{
	for (unsigned i = 0; i < child_count; i++)
		child_end(&children[i]);
	sp_waiting_free(&w);
}

static void await_letter(pid_t tid, char letter)
{
	while (sp_status_letter(tid) != letter)
		(void)sched_yield();
}

/* The child is in its stop when this returns: its event can be had. */
static void stop_child(unsigned i)
{
	cr_assert_eq(ptrace(PTRACE_INTERRUPT, children[i], NULL, NULL), 0);
	await_letter(children[i], 't');
}

static void go_on(unsigned i)
{
	cr_assert_eq(ptrace(PTRACE_CONT, children[i], NULL, NULL), 0);
}

static unsigned which(pid_t tid)
{
	for (unsigned i = 0; i < child_count; i++)
		if (children[i] == tid)
			return i;
	cr_assert_fail("an event of %d, who is nobody", tid);
	return 0;
}

/* One turn: how many events it found. */
static unsigned turn(pid_t named, bool forced, bool *all)
{
	unsigned count = 0;
	int status;
	pid_t tid;

	asked = asked_all = 0;
	sp_waiting_begin(&w, named, child_count, forced);
	while ((tid = sp_waiting_next(&w, &status, all)) != 0) {
		cr_assert_not(*all);
		cr_assert(WIFSTOPPED(status));
		found[which(tid)]++;
		count++;
	}
	return count;
}

/* No more credit than there is after a clock tick: what asking everybody costs is put beyond reach. */
static void make_everybody_dear(void)
{
	w.cost = UINT64_MAX;
	w.credit = 0;
}

static void check_found_once(unsigned first, unsigned step)
{
	for (unsigned i = 0; i < child_count; i++)
		cr_assert_eq(found[i], i >= first && (i - first) % step == 0, "child %u: %u events", i, found[i]);
}

Test(waiting, few_are_asked_all, .timeout = 300)
{
	bool all;

	start_children(A_FEW);
	make_everybody_dear();
	cr_assert_eq(turn(0, false, &all), 0);
	cr_assert(all, "nobody had one");
	cr_assert_eq(asked, 1);
	for (unsigned i = 0; i < A_FEW; i++)
		stop_child(i);
	cr_assert_eq(turn(children[2], false, &all), A_FEW);
	cr_assert(all);
	check_found_once(0, 1);
	cr_assert_eq(asked, A_FEW + 1, "%u calls for %d events", asked, A_FEW);
	cr_assert_eq(asked_all, asked);
	cr_assert_eq(turn(0, false, &all), 0, "none twice");
	end_children();
}

Test(waiting, few_need_not_be_expected, .timeout = 300)
{
	bool all;

	start_children(A_FEW);
	sp_waiting_expect(&w, children[1]);
	stop_child(1);
	cr_assert_eq(turn(0, false, &all), 1);
	cr_assert_eq(w.expected_count, 0);
	end_children();
}

Test(waiting, the_one_that_is_named, .timeout = 300)
{
	bool all;

	start_children(MANY);
	make_everybody_dear();
	stop_child(150);
	cr_assert_eq(turn(children[150], false, &all), 1);
	cr_assert_not(all, "somebody else may have one");
	check_found_once(150, MANY);
	cr_assert_eq(asked_all, 0);
	cr_assert_leq(asked, 1 + RECENT_MAX, "%u calls", asked);
	end_children();
}

Test(waiting, those_that_are_expected, .timeout = 300)
{
	enum { FIRST = 7, STEP = 10 };
	bool all;
	unsigned expected = 0;

	start_children(MANY);
	make_everybody_dear();
	for (unsigned i = FIRST; i < MANY; i += STEP, expected++) {
		sp_waiting_expect(&w, children[i]);
		if (expected % 2 == 0)
			stop_child(i);
	}
	cr_assert_eq(turn(0, false, &all), expected / 2);
	cr_assert_not(all);
	check_found_once(FIRST, 2 * STEP);
	cr_assert_eq(w.expected_count, expected / 2, "the rest is expected still");
	cr_assert_eq(asked_all, 0);
	cr_assert_leq(asked, expected + RECENT_MAX, "%u calls", asked);

	for (unsigned i = FIRST + STEP; i < MANY; i += 2 * STEP)
		stop_child(i);
	cr_assert_eq(turn(children[FIRST + STEP], false, &all), expected / 2, "one of them by its name");
	check_found_once(FIRST, STEP);
	cr_assert_eq(w.expected_count, 0);
	end_children();
}

Test(waiting, those_that_had_one_lately, .timeout = 300)
{
	bool all;

	start_children(MANY);
	make_everybody_dear();
	for (unsigned i = 0; i < RECENT_MAX; i++) {
		stop_child(i);
		cr_assert_eq(turn(children[i], false, &all), 1);
		go_on(i);
		await_letter(children[i], 'S');
	}
	for (unsigned i = 0; i < RECENT_MAX; i++)
		stop_child(i);
	cr_assert_eq(turn(0, false, &all), RECENT_MAX);
	for (unsigned i = 0; i < RECENT_MAX; i++)
		cr_assert_eq(found[i], 2);
	cr_assert_eq(asked_all, 0);
	cr_assert_leq(asked, 2 * RECENT_MAX, "%u calls", asked);
	end_children();
}

/* Nobody named it, expected it or has heard of it: the turn that asks everybody finds it. */
Test(waiting, the_one_that_nobody_thought_of, .timeout = 300)
{
	bool all;

	start_children(MANY);
	make_everybody_dear();
	stop_child(123);
	cr_assert_eq(turn(children[5], false, &all), 0);
	cr_assert_not(all, "it was not asked, so nobody can say that");
	cr_assert_eq(asked_all, 0);
	cr_assert_eq(turn(0, true, &all), 1);
	cr_assert(all);
	check_found_once(123, MANY);
	cr_assert_eq(w.full_scans, 1);
	end_children();
}

Test(waiting, all_of_many, .timeout = 300)
{
	bool all;

	start_children(MANY);
	for (unsigned i = 0; i < MANY; i++)
		stop_child(i);
	cr_assert_eq(turn(children[0], true, &all), MANY);
	cr_assert(all);
	check_found_once(0, 1);
	cr_assert_leq(asked, MANY * (1 + RECENT_MAX) + RECENT_MAX + 2, "%u calls", asked);
	cr_assert_eq(turn(0, true, &all), 0, "none twice");
	end_children();
}

/* The first full scan is free of charge; what it cost must be earned before the next. */
Test(waiting, asking_everybody_must_be_earned, .timeout = 300)
{
	bool all;

	start_children(MANY);
	cr_assert_eq(turn(0, false, &all), 0);
	cr_assert(all, "nothing is known of the cost yet");
	cr_assert_gt(w.cost, 0);
	w.cost = CREDIT_MAX + 1;
	cr_assert_eq(turn(0, false, &all), 0);
	cr_assert_not(all, "more than can be saved");
	w.cost = 1;
	w.credit = CREDIT_MAX;
	cr_assert_eq(turn(0, false, &all), 0);
	cr_assert(all);
	cr_assert_lt(w.credit, CREDIT_MAX, "it has a price");
	end_children();
}

Test(waiting, the_dead_are_not_expected_for_ever, .timeout = 300)
{
	bool all;

	start_children(MANY);
	make_everybody_dear();
	sp_waiting_expect(&w, children[9]);
	child_end(&children[9]);
	children[9] = 0;
	cr_assert_eq(turn(0, false, &all), 0);
	cr_assert_eq(w.expected_count, 0);
	end_children();
}
