/* Workers in processes of their own. They are started by a nursery: a process of this program that is there before the supervisor
 * gives up the right to start programs (self/harden.h), and that ends all of them when the supervisor ends. */
#ifndef SP_PLUGIN_PROCESS_H
#define SP_PLUGIN_PROCESS_H

#include "util/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* For main(), before all else: is this process a nursery or a worker? Its exit status then, or -1: it is neither. */
int sp_plugin_process(int argc, char **argv);

/* Starts a nursery. Its channel (nonblocking, close-on-exec), or -errno with a sentence. */
[[nodiscard]] int sp_nursery_start(pid_t *pid, struct sp_error *e);

/* A worker by that number (chosen by the caller, not given twice). The fds are the caller's still. 0 or -errno. */
[[nodiscard]] int sp_nursery_give_birth(int channel, uint64_t id, int socket, int file, bool privileged);
[[nodiscard]] int sp_nursery_kill(int channel, uint64_t id);

struct sp_nursery_news {
	uint64_t id;
	int status; /* as waitpid(2) gives it; -1: it could not be started */
};

/* What has ended. 1, 0: no more now, or -errno: the nursery is gone, and all workers with it. */
[[nodiscard]] int sp_nursery_read(int channel, struct sp_nursery_news *news);

#endif
