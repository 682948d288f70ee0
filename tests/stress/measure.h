/* What a supervisor holds: its file descriptors, threads and memory. Of the calling process; any thread. */
#ifndef SP_STRESS_MEASURE_H
#define SP_STRESS_MEASURE_H

#include <stddef.h>

struct sp_measures {
	size_t fds, threads;
	size_t heap; /* bytes that malloc(3) has given out and not got back, of all arenas */
	size_t rss; /* bytes resident */
};

struct sp_measures sp_measure(void);

/* Has the C library count exactly, without caches that look like memory in use: by starting the program anew, the first
 * time. To be called at the beginning of main(). */
void sp_measure_exactly(char **argv);

#endif
