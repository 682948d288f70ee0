/* A fork bomb that knows every way out: double forks, sessions of their own, stopped processes, ignored signals, parents that
 * leave at once. It never stops forking, but is at most so many processes at a time, and ends after 20 seconds.
 *
 * usage: bomb PROCESSES     prints "ready" when half of them have been there */
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { LIFE = 20 /* seconds */ };

static struct shared {
	atomic_long alive, born, stopped;
} * shared;
static long most;
static time_t end;

static time_t seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

[[gnu::noreturn]] static void leave(void)
{
	atomic_fetch_sub(&shared->alive, 1);
	_exit(0);
}

/* As fork(2), if there is room. Whoever is killed keeps its place: a bomb that is dying becomes smaller. */
static pid_t fork_bounded(void)
{
	if (atomic_fetch_add(&shared->alive, 1) >= most) {
		atomic_fetch_sub(&shared->alive, 1);
		return -1;
	}
	pid_t child = fork();
	if (child < 0)
		atomic_fetch_sub(&shared->alive, 1);
	if (child == 0 && atomic_fetch_add(&shared->born, 1) == most / 2)
		(void)!write(STDOUT_FILENO, "ready\n", 6);
	return child;
}

/* What a child does first. */
static void begin(unsigned way)
{
	switch (way % 4) {
	case 0:
		setsid();
		break;
	case 1: /* a daemon: nobody waits for it, and its parent is gone */
		setsid();
		if (fork_bounded() != 0)
			leave();
		break;
	case 2:
		if (atomic_fetch_add(&shared->stopped, 1) < most / 4)
			raise(SIGSTOP);
		break;
	default:
		for (int s = 1; s < NSIG; s++)
			signal(s, SIG_IGN);
		break;
	}
}

int main(int argc, char *argv[])
{
	unsigned turn = 0;

	most = argc == 2 ? strtol(argv[1], NULL, 10) : 0;
	if (most < 2) {
		fprintf(stderr, "usage: bomb PROCESSES\n");
		return 2;
	}
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 1;
	signal(SIGCHLD, SIG_IGN);
	end = seconds() + LIFE;
	atomic_store(&shared->alive, 1);
	for (const pid_t first = getpid(); seconds() < end; turn++) {
		const pid_t child = fork_bounded();

		if (child == 0)
			begin(turn + (unsigned)getpid());
		else if (child < 0 && getpid() != first && turn % 8 == 0)
			leave(); /* makes room: it goes on for ever */
		else if (child < 0)
			sched_yield();
	}
	leave();
}
