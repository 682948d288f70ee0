/* Runs one command and says what it cost. */
#ifndef SP_BENCH_RUN_H
#define SP_BENCH_RUN_H

#include "util/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the command's own process did, all its threads, without its children: for a supervisor, what supervision took. */
struct counts {
	bool known; /* the kernel lets us count */
	uint64_t syscalls, switches;
};

struct run {
	int status; /* as a shell shows it: 128+n by signal */
	bool timed_out; /* killed at the deadline */
	int64_t wall_ns;
	int64_t cpu_ns; /* of the process, all its threads, without its children */
	struct counts counts;
	char *output; /* standard output and error, NUL-terminated; owned */
};

void run_release(struct run *run);
#define cleanup_run sp_cleanup(run_release)

/* Without counting, nothing is done to the process while it runs. The caller is the subreaper: what a command leaves behind is
 * killed, at the deadline too. */
struct run run_command(char *const argv[], int deadline_seconds, bool count);

/* To be called once, before anything is run. SIGINT, SIGTERM and SIGHUP then end what runs, and us. */
void run_prepare(void);

#endif
