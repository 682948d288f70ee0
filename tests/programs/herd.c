/* A herd that does nothing: processes and threads that sleep until they are told to end, while a command runs beside them.
 *
 * usage: herd PROCESSES THREADS READY GO COMMAND [ARG...]
 * READY, GO: fds. When all are there, a byte is written to READY; after a byte has come from GO, COMMAND is run to its end.
 * Prints ns=NANOSECONDS, how long it took. Exit status 0 if it gave 0; 3: so many cannot be made, errno is printed. */
#include "run_one.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREAD_STACK = 32 << 10 };

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void *sleep_forever(void *unused)
{
	for (;;)
		pause();
	return unused;
}

[[gnu::noreturn]] static void give_up(const char *what, int err)
{
	fprintf(stderr, "herd: %s: %s\n", what, strerror(err));
	_exit(3); /* the others die with us */
}

/* One process has all the threads; it says so with a byte, since nobody else can see when they are there. */
[[gnu::noreturn]] static void keep_threads(long count, int ready)
{
	pthread_attr_t small;
	pthread_t thread;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, THREAD_STACK);
	for (long i = 0; i < count; i++) {
		int err = pthread_create(&thread, &small, sleep_forever, NULL);

		if (err != 0)
			give_up("pthread_create", err);
	}
	(void)!write(ready, "t", 1);
	sleep_forever(NULL);
	_exit(0);
}

static pid_t fork_mortal(void)
{
	pid_t child = fork();

	if (child < 0)
		give_up("fork", errno);
	if (child == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return child;
}

static void gather(long processes, long threads)
{
	int ends[2];
	char byte;

	if (pipe(ends) != 0)
		give_up("pipe", errno);
	for (long i = 0; i < processes; i++)
		if (fork_mortal() == 0)
			sleep_forever(NULL);
	if (fork_mortal() == 0)
		keep_threads(threads, ends[1]);
	close(ends[1]);
	if (read(ends[0], &byte, 1) != 1)
		give_up("threads", ECHILD);
	close(ends[0]);
}

int main(int argc, char *argv[])
{
	char byte;

	if (argc < 6) {
		fprintf(stderr, "usage: herd PROCESSES THREADS READY GO COMMAND [ARG...]\n");
		return 2;
	}
	gather(strtol(argv[1], NULL, 10), strtol(argv[2], NULL, 10));
	if (write(atoi(argv[3]), "r", 1) != 1 || read(atoi(argv[4]), &byte, 1) != 1)
		give_up("READY or GO", errno);
	int64_t begin = now_ns();
	int status = !run_one(argv + 5);
	printf("ns=%lld\n", (long long)(now_ns() - begin));
	fflush(stdout);
	/* Those of the herd die with this thread. */
	return status;
}
