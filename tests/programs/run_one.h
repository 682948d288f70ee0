/* One program, run to its end: what the storms, and the execs beside idle processes, are made of. */
#ifndef SP_TESTS_RUN_ONE_H
#define SP_TESTS_RUN_ONE_H

#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

/* fork, exec, wait. True: it ran and ended with 0. */
static inline bool run_one(char *argv[])
{
	int status = -1;
	pid_t child = fork();

	if (child == 0) {
		execv(argv[0], argv);
		_exit(127);
	}
	return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

#endif
