/* Work on threads that may never come back: done in time, too late, cancelled, too many, abandoned with the loop. */
#include "util/blocking.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { NEVER = 1000000, SOON = 1 /* milliseconds */ };

/* What happened to one piece of work. It belongs to the test, also while a thread is still at it. */
struct piece {
	sem_t may_return; /* run waits for it */
	atomic_int runs;
	int done_in_time, done_too_late, discarded;
	atomic_bool closed; /* from now on nobody stands on the stage, and discard is called by whoever is left */
	sem_t discarded_at_last;
	bool release_when_late;
	pthread_t loop_thread, run_thread;
	struct stage *stage;
};

/* A loop that goes on until the test has seen what it waits for. */
struct stage {
	uv_loop_t loop;
	uv_async_t alive; /* keeps it running */
	struct sp_blocking *blocking;
	int awaited; /* calls of done and discard */
};

static void open_stage(struct stage *s)
{
	struct sp_error e = {0};

	cr_assert_eq(uv_loop_init(&s->loop), 0);
	cr_assert_eq(uv_async_init(&s->loop, &s->alive, NULL), 0);
	s->blocking = sp_blocking_new(&s->loop, &e);
	cr_assert_not_null(s->blocking, "%s", e.text);
	s->awaited = 0;
}

static void close_stage(struct stage *s)
{
	sp_blocking_close(s->blocking);
	uv_close((uv_handle_t *)&s->alive, NULL);
	cr_assert_eq(uv_run(&s->loop, UV_RUN_DEFAULT), 0);
	cr_assert_eq(uv_loop_close(&s->loop), 0, "a handle is left");
}

static void await(struct stage *s, int calls)
{
	s->awaited = calls;
	if (calls > 0)
		(void)uv_run(&s->loop, UV_RUN_DEFAULT);
}

static void seen(struct stage *s)
{
	if (--s->awaited == 0)
		uv_stop(&s->loop);
}

static void wait_for(sem_t *semaphore)
{
	while (sem_wait(semaphore) != 0)
		;
}

static void run(void *arg)
{
	struct piece *p = arg;

	p->run_thread = pthread_self();
	atomic_fetch_add(&p->runs, 1);
	wait_for(&p->may_return);
}

static void done(void *arg, bool in_time)
{
	struct piece *p = arg;

	cr_assert(pthread_equal(pthread_self(), p->loop_thread));
	if (in_time) {
		p->done_in_time++;
	} else {
		p->done_too_late++;
		if (p->release_when_late)
			(void)sem_post(&p->may_return);
	}
	seen(p->stage);
}

static void discard(void *arg)
{
	struct piece *p = arg;

	p->discarded++;
	if (atomic_load(&p->closed)) {
		(void)sem_post(&p->discarded_at_last);
		return;
	}
	cr_assert(pthread_equal(pthread_self(), p->loop_thread));
	seen(p->stage);
}

static struct sp_request *start(struct stage *s, struct piece *p, unsigned deadline)
{
	const struct sp_work work = {.run = run, .done = done, .discard = discard, .arg = p, .deadline = deadline};

	*p = (struct piece){.loop_thread = pthread_self(), .stage = s};
	(void)sem_init(&p->may_return, 0, 0);
	(void)sem_init(&p->discarded_at_last, 0, 0);
	return sp_blocking_run(s->blocking, &work);
}

static void assert_piece(struct piece *p, int in_time, int too_late, int discarded)
{
	cr_assert_eq(atomic_load(&p->runs), 1);
	cr_assert_eq(p->done_in_time, in_time, "%d times done in time", p->done_in_time);
	cr_assert_eq(p->done_too_late, too_late, "%d times too late", p->done_too_late);
	cr_assert_eq(p->discarded, discarded, "%d times discarded", p->discarded);
}

TestSuite(blocking, .timeout = 20);

Test(blocking, in_time)
{
	struct stage s;
	struct piece p;

	open_stage(&s);
	cr_assert_not_null(start(&s, &p, NEVER));
	(void)sem_post(&p.may_return);
	await(&s, 1);
	assert_piece(&p, 1, 0, 0);
	cr_assert_not(pthread_equal(p.run_thread, p.loop_thread));
	close_stage(&s);
	assert_piece(&p, 1, 0, 0);
}

Test(blocking, too_late_is_told_once_and_discarded_when_it_returns)
{
	struct stage s;
	struct piece p;

	open_stage(&s);
	cr_assert_not_null(start(&s, &p, SOON));
	await(&s, 1);
	cr_assert_eq(p.done_too_late, 1);
	cr_assert_eq(p.discarded, 0, "run still has it");
	(void)sem_post(&p.may_return);
	await(&s, 1);
	assert_piece(&p, 0, 1, 1);
	close_stage(&s);
	assert_piece(&p, 0, 1, 1);
}

Test(blocking, cancelled)
{
	struct stage s;
	struct piece p;

	open_stage(&s);
	struct sp_request *request = start(&s, &p, SOON);
	cr_assert_not_null(request);
	sp_blocking_cancel(request); /* before the loop has run at all: the deadline must not fire */
	(void)sem_post(&p.may_return);
	await(&s, 1);
	assert_piece(&p, 0, 0, 1);
	close_stage(&s);
}

/* run has returned, but the loop has not heard of it yet. */
Test(blocking, cancelled_when_it_is_back_already)
{
	struct stage s;
	struct piece first, p;

	open_stage(&s);
	struct sp_request *request = start(&s, &p, NEVER);
	cr_assert_not_null(request);
	(void)sem_post(&p.may_return);
	/* another one's end shows nothing about this one's, but makes it likely */
	cr_assert_not_null(start(&s, &first, NEVER));
	(void)sem_post(&first.may_return);
	while (atomic_load(&p.runs) == 0 || atomic_load(&first.runs) == 0)
		(void)sched_yield();
	sp_blocking_cancel(request);
	await(&s, 2);
	assert_piece(&p, 0, 0, 1);
	assert_piece(&first, 1, 0, 0);
	close_stage(&s);
}

Test(blocking, many_at_once)
{
	enum { COUNT = 48 };
	struct stage s;
	struct piece p[COUNT];

	open_stage(&s);
	for (int i = 0; i < COUNT; i++)
		cr_assert_not_null(start(&s, &p[i], i % 2 == 0 ? NEVER : SOON), "number %d", i);
	for (int i = 0; i < COUNT; i += 2)
		(void)sem_post(&p[i].may_return);
	await(&s, COUNT);
	for (int i = 1; i < COUNT; i += 2)
		(void)sem_post(&p[i].may_return);
	await(&s, COUNT / 2);
	for (int i = 0; i < COUNT; i++)
		assert_piece(&p[i], i % 2 == 0, i % 2 != 0, i % 2 != 0);
	close_stage(&s);
}

/* Whoever makes thread after thread block is refused at some point, and served again when they are back. */
Test(blocking, too_many_are_refused)
{
	enum { MORE_THAN_ENOUGH = 1000 };
	struct stage s;
	struct piece *p = calloc(MORE_THAN_ENOUGH, sizeof *p), one;
	int count = 0;

	cr_assert_not_null(p);
	open_stage(&s);
	while (count < MORE_THAN_ENOUGH && start(&s, &p[count], SOON) != NULL)
		count++;
	cr_assert(count >= 8 && count < MORE_THAN_ENOUGH, "%d", count);
	await(&s, count); /* all are late: that they were given up does not make room */
	cr_assert_null(start(&s, &one, NEVER));
	cr_assert_eq(atomic_load(&one.runs), 0);
	(void)sem_post(&p[0].may_return);
	await(&s, 1);
	cr_assert_not_null(start(&s, &one, NEVER));
	(void)sem_post(&one.may_return);
	await(&s, 1);
	assert_piece(&one, 1, 0, 0);
	for (int i = 1; i < count; i++)
		(void)sem_post(&p[i].may_return);
	await(&s, count - 1);
	for (int i = 0; i < count; i++)
		assert_piece(&p[i], 0, 1, 1);
	close_stage(&s);
	free(p);
}

/* One after the other: requests are freed, threads do not pile up. */
Test(blocking, again_and_again)
{
	struct stage s;
	struct piece p;

	open_stage(&s);
	for (int i = 0; i < 500; i++) {
		cr_assert_not_null(start(&s, &p, i % 5 == 0 ? SOON : NEVER));
		p.release_when_late = true;
		if (i % 5 != 0)
			(void)sem_post(&p.may_return);
		await(&s, i % 5 == 0 ? 2 : 1);
		assert_piece(&p, i % 5 != 0, i % 5 == 0, i % 5 == 0);
	}
	close_stage(&s);
}

static void start_another(void *arg, bool in_time)
{
	struct piece *p = arg;

	done(arg, in_time);
	cr_assert_not_null(start(p->stage, p + 1, NEVER));
	(void)sem_post(&p[1].may_return);
}

Test(blocking, more_work_from_done)
{
	struct stage s;
	struct piece p[2];

	open_stage(&s);
	const struct sp_work work = {
		.run = run, .done = start_another, .discard = discard, .arg = p, .deadline = NEVER};
	p[0] = (struct piece){.loop_thread = pthread_self(), .stage = &s};
	(void)sem_init(&p[0].may_return, 0, 0);
	cr_assert_not_null(sp_blocking_run(s.blocking, &work));
	(void)sem_post(&p[0].may_return);
	await(&s, 2);
	assert_piece(&p[0], 1, 0, 0);
	assert_piece(&p[1], 1, 0, 0);
	close_stage(&s);
}

/* Closed while threads are still blocked: nobody waits for them, done is not called any more, and when they come back
 * after all, their work is discarded once, and nothing else is touched. back: it comes back while we close. */
static void check_close(struct piece *p, unsigned deadline, bool cancel, bool back)
{
	struct stage s;

	open_stage(&s);
	struct sp_request *request = start(&s, p, deadline);
	cr_assert_not_null(request);
	if (deadline == SOON)
		await(&s, 1);
	if (cancel)
		sp_blocking_cancel(request);
	atomic_store(&p->closed, true);
	if (back)
		(void)sem_post(&p->may_return);
	close_stage(&s);
	memset(&s, 0xa5, sizeof s);
	if (!back)
		(void)sem_post(&p->may_return);
	wait_for(&p->discarded_at_last);
	assert_piece(p, 0, deadline == SOON, 1);
}

Test(blocking, close_while_one_is_blocked)
{
	static struct piece p; /* its thread may outlive the test */

	check_close(&p, NEVER, false, false);
}

Test(blocking, close_while_one_is_late)
{
	static struct piece p; /* its thread may outlive the test */

	check_close(&p, SOON, false, false);
}

Test(blocking, close_while_one_is_cancelled)
{
	static struct piece p; /* its thread may outlive the test */

	check_close(&p, NEVER, true, false);
}

Test(blocking, close_while_one_comes_back)
{
	static struct piece p[200];

	for (int i = 0; i < 200; i++)
		check_close(&p[i], NEVER, false, true);
}

Test(blocking, close_unused)
{
	struct stage s;

	open_stage(&s);
	close_stage(&s);
}
