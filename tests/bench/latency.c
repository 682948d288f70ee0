/* How long an execve takes, as its caller sees it: from just before the call to the first instruction of the new program.
 *
 * usage: latency ROUNDS SPINNERS FIRST     FIRST: the program of first.c. A fresh process a round, with that many threads that
 * spin when its first thread execs. prints p50=NS p90=NS p99=NS max=NS */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { RESULT_FD = 9, SPINNERS_MAX = 256 };

static atomic_long turns[SPINNERS_MAX];
static atomic_int start;

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void *spin(void *turn)
{
	while (atomic_load(&start) == 0)
		usleep(1000);
	for (;;)
		atomic_fetch_add((atomic_long *)turn, 1);
	return NULL;
}

/* Returns when each of them has been seen spinning. */
static void start_spinners(long count)
{
	pthread_t thread;

	for (long i = 0; i < count; i++)
		if (pthread_create(&thread, NULL, spin, &turns[i]) != 0)
			_exit(1);
	atomic_store(&start, 1);
	for (long i = 0; i < count; i++)
		while (atomic_load(&turns[i]) == 0)
			sched_yield();
}

[[gnu::noreturn]] static void exec_first(long spinners, int64_t *before, char *argv[])
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	start_spinners(spinners);
	*before = now_ns();
	execv(argv[0], argv);
	_exit(1);
}

/* Negative: it did not happen. */
static int64_t measure(long spinners, int64_t *before, int results, char *argv[])
{
	int64_t after = 0;
	int status = -1;
	pid_t child = fork();

	if (child == 0)
		exec_first(spinners, before, argv);
	if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
		return -1;
	return read(results, &after, sizeof(after)) == sizeof(after) ? after - *before : -1;
}

static int by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

int main(int argc, char *argv[])
{
	long rounds = argc == 4 ? strtol(argv[1], NULL, 10) : 0, spinners = argc == 4 ? strtol(argv[2], NULL, 10) : -1;
	int64_t *before = mmap(NULL, sizeof(*before), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int results[2];

	if (rounds < 1 || spinners < 0 || spinners > SPINNERS_MAX || before == MAP_FAILED) {
		fprintf(stderr, "usage: latency ROUNDS SPINNERS FIRST\n");
		return 2;
	}
	if (pipe2(results, O_CLOEXEC | O_NONBLOCK) != 0 || dup2(results[1], RESULT_FD) != RESULT_FD)
		return 2;
	int64_t *samples = calloc((size_t)rounds, sizeof(*samples));
	for (long i = 0; samples != NULL && i < rounds; i++) {
		samples[i] = measure(spinners, before, results[0], argv + 3);
		if (samples[i] < 0)
			return 1;
	}
	if (samples == NULL)
		return 2;
	qsort(samples, (size_t)rounds, sizeof(*samples), by_size);
	printf("p50=%ld p90=%ld p99=%ld max=%ld\n", (long)samples[rounds / 2], (long)samples[rounds * 90 / 100],
	       (long)samples[rounds * 99 / 100], (long)samples[rounds - 1]);
	free(samples);
	return 0;
}
