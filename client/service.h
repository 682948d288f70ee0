/* sallyport run, with the service as its supervisor: this process forks the program and stays its parent, sallyportd decides. */
#ifndef SP_CLIENT_SERVICE_H
#define SP_CLIENT_SERVICE_H

#include "util/error.h"

#include <signal.h>
#include <stdbool.h>

struct sp_service_run {
	const char *socket; /* NULL: the usual place */
	const char *policy; /* as the service knows it; NULL: the user's usual one */
	const char *file; /* the program */
	char **command;
	bool detach, kill_leftovers;
	sigset_t mask; /* what the program shall have; every signal is blocked now */
	bool ignore_sigchld;
};

/* The exit status to give. */
int sp_run_by_service(const struct sp_service_run *run);

#endif
