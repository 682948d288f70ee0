/* Counts and latencies as supervisors give them, in a form that can be added, compared and shown. */
#ifndef SP_CLIENT_FIGURES_H
#define SP_CLIENT_FIGURES_H

#include "ptrace/latency.h"

#include <jansson.h>
#include <stddef.h>

/* What io.sallyport calls Counts and Latency. */
struct sp_figures {
	uint64_t execs, denied, failed, mismatches, processes, surplus, audit_failures, illegal;
	struct sp_latency latency;
};

/* From an object with the members counts and latency; what is not there is 0. */
void sp_figures_read(struct sp_figures *figures, const json_t *object);
void sp_figures_add(struct sp_figures *sum, const struct sp_figures *figures);
/* What has come since then. */
void sp_figures_subtract(struct sp_figures *figures, const struct sp_figures *earlier);

uint64_t sp_figures_decisions(const struct sp_figures *figures);

/* So many microseconds are not reached by that part (0.5, 0.99) of the decisions: as text like "<64", or "-" where there are none. */
enum { SP_FIGURES_TEXT = 24 };
const char *sp_figures_quantile(const struct sp_figures *figures, double part, char text[static SP_FIGURES_TEXT]);

/* The names by which they are shown and exported, in the order of the interface. */
struct sp_figure {
	const char *name, *help; /* as Prometheus names it, without its prefix */
	size_t offset; /* of an uint64_t in struct sp_figures */
};
extern const struct sp_figure sp_figure_table[];
extern const size_t sp_figure_count;

static inline uint64_t sp_figure_value(const struct sp_figures *figures, const struct sp_figure *figure)
{
	return *(const uint64_t *)((const char *)figures + figure->offset);
}

#endif
