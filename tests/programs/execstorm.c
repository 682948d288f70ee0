/* fork, exec and wait, again and again.
 *
 * usage: execstorm N WORKERS PROGRAM [ARG...]   N in all, split evenly among WORKERS processes
 * prints ok=N: how many exited with 0. Exit status 0 if that is all. */
#include "run_one.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void run_share(long share, char *argv[], atomic_long *ok)
{
	for (long i = 0; i < share; i++)
		atomic_fetch_add(ok, run_one(argv));
}

int main(int argc, char *argv[])
{
	long total = argc > 3 ? strtol(argv[1], NULL, 10) : 0, workers = argc > 3 ? strtol(argv[2], NULL, 10) : 0;
	atomic_long *ok = mmap(NULL, sizeof(*ok), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (workers < 1 || ok == MAP_FAILED) {
		fprintf(stderr, "usage: execstorm N WORKERS PROGRAM [ARG...]\n");
		return 2;
	}
	for (long i = 0; i < workers; i++) {
		long share = total / workers + (i < total % workers);

		if (workers == 1)
			run_share(share, argv + 3, ok);
		else if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			run_share(share, argv + 3, ok);
			_exit(0);
		}
	}
	while (wait(NULL) > 0)
		;
	printf("ok=%ld\n", atomic_load(ok));
	return atomic_load(ok) == total ? 0 : 1;
}
