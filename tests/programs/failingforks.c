/* Forks that fail: a supervisor that waits for the child that never comes would hang, or stall, its program.
 *
 * usage: failingforks EACH FILE     EACH of every kind, by one thread and by eight; writes the medians, in microseconds, to FILE
 * prints kind, threads, failed=N, errno. As root becomes somebody else first, since the limit on processes is not for root. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 8, SOMEBODY = 61234 };

struct kind {
	const char *name;
	unsigned long flags;
};

static const struct kind kinds[] = {
	/* Under a limit on processes. */
	{"EAGAIN-fork", SIGCHLD},
	{"EAGAIN-vfork", CLONE_VM | CLONE_VFORK | SIGCHLD},
	/* By flags that exclude or need each other. */
	{"EINVAL-sighand", CLONE_SIGHAND | SIGCHLD},
	{"EINVAL-thread", CLONE_THREAD | CLONE_VM | SIGCHLD},
	{"EINVAL-fs", CLONE_NEWNS | CLONE_FS | SIGCHLD},
};

enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

struct work {
	unsigned long flags;
	long each;
	int err;
	double *microseconds; /* one a fork; or NULL */
	atomic_long failed, succeeded;
	pthread_barrier_t ready;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* The stack is the parent's: what must not succeed does not need one. */
static pid_t raw_clone(unsigned long flags)
{
	return (pid_t)syscall(SYS_clone, flags, NULL, NULL, NULL, 0);
}

static void *fail_each(void *argument)
{
	struct work *work = argument;

	for (long i = 0; i < work->each; i++) {
		double began = now();
		pid_t child = raw_clone(work->flags);

		if (child == 0)
			_exit(0);
		if (child > 0) {
			atomic_fetch_add(&work->succeeded, 1);
			waitpid(child, NULL, __WALL);
			continue;
		}
		work->err = errno;
		atomic_fetch_add(&work->failed, 1);
		if (work->microseconds != NULL)
			work->microseconds[i] = now() - began;
	}
	return NULL;
}

static void *fail_when_ready(void *argument)
{
	struct work *work = argument;

	pthread_barrier_wait(&work->ready);
	return fail_each(work);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void report(const struct kind *kind, int threads, struct work *work)
{
	printf("%s threads=%d failed=%ld succeeded=%ld: %s\n", kind->name, threads, atomic_load(&work->failed),
	       atomic_load(&work->succeeded), strerror(work->err));
}

static void alone(const struct kind *kind, long each, FILE *timing)
{
	struct work work = {.flags = kind->flags, .each = each, .microseconds = calloc((size_t)each, sizeof(double))};

	if (work.microseconds == NULL)
		return;
	(void)fail_each(&work);
	report(kind, 1, &work);
	qsort(work.microseconds, (size_t)each, sizeof(double), compare);
	fprintf(timing, "%s %.3f\n", kind->name, work.microseconds[each / 2]);
	free(work.microseconds);
}

static void by_threads(const struct kind *kind, long each)
{
	struct work work = {.flags = kind->flags, .each = each};
	struct rlimit limit;
	pthread_t threads[THREADS];

	pthread_barrier_init(&work.ready, NULL, THREADS + 1);
	/* Threads are under the limit, too. */
	getrlimit(RLIMIT_NPROC, &limit);
	setrlimit(RLIMIT_NPROC, &(struct rlimit){limit.rlim_max, limit.rlim_max});
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, fail_when_ready, &work) != 0)
			exit(1);
	setrlimit(RLIMIT_NPROC, &limit);
	pthread_barrier_wait(&work.ready);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	report(kind, THREADS, &work);
}

int main(int argc, char *argv[])
{
	long each = argc == 3 ? strtol(argv[1], NULL, 10) : 0;
	FILE *timing = each > 0 ? fopen(argv[2], "we") : NULL;
	struct rlimit limit;

	if (timing == NULL) {
		fprintf(stderr, "usage: failingforks EACH FILE\n");
		return 2;
	}
	if (getuid() == 0 && setresuid(SOMEBODY, SOMEBODY, SOMEBODY) < 0)
		return 1;
	getrlimit(RLIMIT_NPROC, &limit);
	setrlimit(RLIMIT_NPROC, &(struct rlimit){1, limit.rlim_max});
	for (int i = 0; i < KINDS; i++) {
		alone(&kinds[i], each, timing);
		by_threads(&kinds[i], each / THREADS);
	}
	fclose(timing);
	return 0;
}
