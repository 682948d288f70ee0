/* How long things took: buckets of less than 2, 4, 8, ... microseconds, the last without an end. */
#ifndef SP_PTRACE_LATENCY_H
#define SP_PTRACE_LATENCY_H

#include <stdint.h>

enum { SP_LATENCY_BUCKETS = 24 };

struct sp_latency {
	uint64_t count[SP_LATENCY_BUCKETS];
	uint64_t total; /* nanoseconds */
};

static inline void sp_latency_add(struct sp_latency *latency, uint64_t nanoseconds)
{
	const uint64_t microseconds = nanoseconds / 1000;
	const unsigned bucket = microseconds > 1 ? 63 - (unsigned)__builtin_clzll(microseconds) : 0;

	latency->count[bucket < SP_LATENCY_BUCKETS ? bucket : SP_LATENCY_BUCKETS - 1]++;
	latency->total += nanoseconds;
}

#endif
