/* Execs beside idle processes.
 *
 * usage: idle N EXECS PROGRAM [ARG...]     N children sleep in pause(); then fork, exec and wait, EXECS times
 * prints ns=NANOSECONDS: what these took, without the making of the children. Exit status 0 if every exec gave 0. */
#include "../programs/run_one.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

[[gnu::noreturn]] static void be_idle(int tell, pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || write(tell, "", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/* Returns when all of them have told that they live. */
static int start_idle(long count)
{
	int told[2];
	char byte;
	pid_t parent = getpid();

	if (pipe(told) != 0)
		return -1;
	for (long i = 0; i < count; i++) {
		pid_t child = fork();

		if (child == 0)
			be_idle(told[1], parent);
		if (child < 0 || read(told[0], &byte, 1) != 1)
			return -1;
	}
	return 0;
}

int main(int argc, char *argv[])
{
	long idle = argc > 3 ? strtol(argv[1], NULL, 10) : 0, execs = argc > 3 ? strtol(argv[2], NULL, 10) : 0, ok = 0;

	if (execs < 1) {
		fprintf(stderr, "usage: idle N EXECS PROGRAM [ARG...]\n");
		return 2;
	}
	setpgid(0, 0);
	if (start_idle(idle) != 0) {
		perror("idle");
		return 2;
	}
	int64_t begin = now_ns();
	for (long i = 0; i < execs; i++)
		ok += run_one(argv + 3);
	printf("ns=%ld\n", (long)(now_ns() - begin));
	fflush(stdout);
	signal(SIGTERM, SIG_IGN);
	kill(0, SIGTERM); /* the idle ones */
	while (wait(NULL) > 0)
		;
	return ok == execs ? 0 : 1;
}
