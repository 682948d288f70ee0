/* See guard.h. */
#include "notify/guard.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* A thread that is in a call has a number, which grows: so that no call is taken for the one before it. */
struct sp_guard {
	_Atomic(uint32_t) inside; /* 0: it is not */
	_Atomic(uint32_t) sleeping; /* the guard waits for a call to begin */
	_Atomic(uint32_t) ended; /* the number of the call that was ended last */
	_Atomic(bool) closing;
	uint32_t number;
	pthread_t guarded, thread;
};

static void on_signal(int signal)
{
	(void)signal; /* that it came is all: without SA_RESTART the call gives EINTR */
}

static void nap(void)
{
	const struct timespec moment = {.tv_nsec = SP_GUARD_PATIENCE * 1000000L};

	(void)nanosleep(&moment, NULL);
}

/* Until a call begins. Either the guarded thread sees that we sleep, or we see its number. */
static void await_call(struct sp_guard *g)
{
	atomic_store(&g->sleeping, 1);
	while (atomic_load(&g->sleeping) == 1 && atomic_load(&g->inside) == 0 && !atomic_load(&g->closing))
		(void)syscall(SYS_futex, &g->sleeping, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
	atomic_store(&g->sleeping, 0);
}

/* The signal may come a moment before the call waits, or after it is over: so it is sent until that call has ended. */
static void *watch(void *data)
{
	struct sp_guard *g = data;
	uint32_t before = 0;

	(void)pthread_setname_np(pthread_self(), "sp-guard");
	while (!atomic_load(&g->closing)) {
		const uint32_t now = atomic_load(&g->inside);

		if (now != 0 && now == before) {
			atomic_store(&g->ended, now);
			(void)pthread_kill(g->guarded, SIGURG);
		} else if (now == 0 && before == 0) {
			await_call(g);
		}
		before = now;
		nap();
	}
	return NULL;
}

struct sp_guard *sp_guard_new(struct sp_error *e)
{
	struct sp_guard *g = calloc(1, sizeof *g);
	const struct sigaction action = {.sa_handler = on_signal};
	sigset_t all, before, urgent;

	if (g == NULL) {
		(void)sp_fail(e, ENOMEM, "out of memory");
		return NULL;
	}
	g->guarded = pthread_self();
	(void)sigaction(SIGURG, &action, NULL);
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	const int err = pthread_create(&g->thread, NULL, watch, g);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err != 0) {
		free(g);
		(void)sp_fail(e, err, "cannot start a thread: %s", strerror(err));
		return NULL;
	}
	(void)sigemptyset(&urgent);
	(void)sigaddset(&urgent, SIGURG);
	(void)pthread_sigmask(SIG_UNBLOCK, &urgent, NULL);
	return g;
}

static void wake(struct sp_guard *g)
{
	(void)syscall(SYS_futex, &g->sleeping, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

void sp_guard_free(struct sp_guard *g)
{
	if (g == NULL)
		return;
	atomic_store(&g->closing, true);
	atomic_store(&g->sleeping, 0);
	wake(g);
	(void)pthread_join(g->thread, NULL);
	free(g);
}

void sp_guard_enter(struct sp_guard *g)
{
	if (g == NULL)
		return;
	g->number += g->number == UINT32_MAX ? 2 : 1; /* never 0 */
	atomic_store(&g->inside, g->number);
	if (atomic_load(&g->sleeping) == 1 && atomic_exchange(&g->sleeping, 0) == 1)
		wake(g);
}

bool sp_guard_leave(struct sp_guard *g)
{
	if (g == NULL)
		return false;
	atomic_store(&g->inside, 0);
	return atomic_load(&g->ended) == g->number;
}
