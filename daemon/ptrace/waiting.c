/* See waiting.h. A turn goes through the phases below, each of which is cheaper than asking everybody. */
#include "ptrace/waiting.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <uv.h>

enum phase { NAMED, EXPECTED, RECENT, ALL, DONE };

/* Up to FEW tasks are always asked all. Otherwise a SHARE-th of the time may go into it, and CREDIT_MAX at once. */
enum { FEW = 64, SHARE = 32, CREDIT_MAX = 2000000 /* ns */ };

static pid_t next_named(struct sp_waiting *w, int *status);
static pid_t next_expected(struct sp_waiting *w, int *status);
static pid_t next_recent(struct sp_waiting *w, int *status);
static pid_t next_of_all(struct sp_waiting *w, int *status, bool *all);

void sp_waiting_free(struct sp_waiting *w)
{
	free(w->expected);
	*w = (struct sp_waiting){0};
}

void sp_waiting_expect(struct sp_waiting *w, pid_t tid)
{
	if (w->expected_count == w->expected_capacity) {
		size_t capacity = w->expected_capacity != 0 ? w->expected_capacity * 2 : 64;
		pid_t *grown = realloc(w->expected, capacity * sizeof *grown);

		if (grown == NULL)
			return;
		w->expected = grown;
		w->expected_capacity = capacity;
	}
	w->expected[w->expected_count++] = tid;
}

void sp_waiting_begin(struct sp_waiting *w, pid_t named, size_t tasks, bool forced)
{
	w->few = tasks <= FEW;
	w->forced = forced;
	w->named = named;
	w->expected_next = w->recent_next = 0;
	w->phase = w->few ? ALL : NAMED;
}

pid_t sp_waiting_next(struct sp_waiting *w, int *status, bool *all)
{
	pid_t tid = 0;

	*all = false;
	while (tid == 0 && w->phase != DONE) {
		switch ((enum phase)w->phase) {
		case NAMED:
			tid = next_named(w, status);
			break;
		case EXPECTED:
			tid = next_expected(w, status);
			break;
		case RECENT:
			tid = next_recent(w, status);
			break;
		case ALL:
			tid = next_of_all(w, status, all);
			break;
		case DONE:
			break;
		}
	}
	return tid;
}

/* -1: there is no such task (any more). */
static pid_t ask(pid_t tid, int *status)
{
	return waitpid(tid, status, __WALL | WNOHANG);
}

static void remember(struct sp_waiting *w, pid_t tid)
{
	const size_t last = sizeof w->recent / sizeof *w->recent - 1;
	size_t at = 0;

	while (at < last && w->recent[at] != tid)
		at++;
	for (; at > 0; at--)
		w->recent[at] = w->recent[at - 1];
	w->recent[0] = tid;
}

static void no_longer_expected(struct sp_waiting *w, pid_t tid)
{
	for (size_t i = 0; i < w->expected_count; i++)
		if (w->expected[i] == tid) {
			w->expected[i] = w->expected[--w->expected_count];
			return;
		}
}

static pid_t next_named(struct sp_waiting *w, int *status)
{
	w->phase = EXPECTED;
	if (w->named <= 0 || ask(w->named, status) != w->named)
		return 0;
	no_longer_expected(w, w->named);
	remember(w, w->named);
	return w->named;
}

static pid_t next_expected(struct sp_waiting *w, int *status)
{
	while (w->expected_next < w->expected_count) {
		const pid_t tid = w->expected[w->expected_next];
		const pid_t found = ask(tid, status);

		if (found == 0) {
			w->expected_next++;
			continue;
		}
		w->expected[w->expected_next] = w->expected[--w->expected_count];
		if (found < 0)
			continue;
		remember(w, tid);
		return tid;
	}
	w->phase = RECENT;
	return 0;
}

static pid_t next_recent(struct sp_waiting *w, int *status)
{
	while (w->recent_next < sizeof w->recent / sizeof *w->recent) {
		const pid_t tid = w->recent[w->recent_next++];

		if (tid != 0 && ask(tid, status) == tid) {
			no_longer_expected(w, tid);
			return tid;
		}
	}
	w->phase = ALL;
	return 0;
}

static bool may_ask_all(struct sp_waiting *w)
{
	if (w->few || w->forced)
		return true;
	const uint64_t now = uv_hrtime();
	const uint64_t earned = (now - w->credited) / SHARE;

	w->credit = w->credit + earned < CREDIT_MAX ? w->credit + earned : CREDIT_MAX;
	w->credited = now;
	return w->credit >= w->cost;
}

static pid_t next_of_all(struct sp_waiting *w, int *status, bool *all)
{
	if (!may_ask_all(w)) {
		w->phase = DONE;
		return 0;
	}
	const uint64_t begin = w->few ? 0 : uv_hrtime();
	const pid_t tid = ask(-1, status);

	if (tid > 0) {
		if (!w->few) {
			no_longer_expected(w, tid);
			remember(w, tid);
		}
		return tid;
	}
	w->full_scans++;
	w->phase = DONE;
	*all = true;
	if (w->few) {
		w->expected_count = 0; /* who is expected will be found this way, too */
		return 0;
	}
	w->cost = uv_hrtime() - begin;
	w->credit -= w->credit < w->cost ? w->credit : w->cost;
	return 0;
}
