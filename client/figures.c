/* See figures.h. */
#include "figures.h"

#include <inttypes.h>
#include <stdio.h>

#define FIGURE(member, words)                                                                                          \
	{                                                                                                              \
#member, words, offsetof(struct sp_figures, member)                                                    \
	}

const struct sp_figure sp_figure_table[] = {
	FIGURE(execs, "Execs that were decided."),
	FIGURE(denied, "Execs that were refused by a rule."),
	FIGURE(failed, "Execs that were allowed and failed in the kernel, as in a PATH search."),
	FIGURE(mismatches, "Programs that were killed, since what ran was not what had been approved."),
	FIGURE(processes, "Processes that were ever there."),
	FIGURE(surplus, "Processes that were killed at their birth: more than limits.processes."),
	FIGURE(audit_failures, "Records that could not be written."),
	FIGURE(illegal, "Events that must not happen."),
};
const size_t sp_figure_count = sizeof sp_figure_table / sizeof *sp_figure_table;

static uint64_t *place(struct sp_figures *figures, const struct sp_figure *figure)
{
	return (uint64_t *)((char *)figures + figure->offset);
}

void sp_figures_read(struct sp_figures *figures, const json_t *object)
{
	const json_t *counts = json_object_get(object, "counts"), *latency = json_object_get(object, "latency");
	const json_t *buckets = json_object_get(latency, "buckets");

	*figures = (struct sp_figures){0};
	for (size_t i = 0; i < sp_figure_count; i++)
		*place(figures, &sp_figure_table[i]) =
			(uint64_t)json_integer_value(json_object_get(counts, sp_figure_table[i].name));
	for (size_t i = 0; i < SP_LATENCY_BUCKETS; i++)
		figures->latency.count[i] = (uint64_t)json_integer_value(json_array_get(buckets, i));
	figures->latency.total = (uint64_t)json_integer_value(json_object_get(latency, "total_nanoseconds"));
}

void sp_figures_add(struct sp_figures *sum, const struct sp_figures *figures)
{
	for (size_t i = 0; i < sp_figure_count; i++)
		*place(sum, &sp_figure_table[i]) += sp_figure_value(figures, &sp_figure_table[i]);
	for (size_t i = 0; i < SP_LATENCY_BUCKETS; i++)
		sum->latency.count[i] += figures->latency.count[i];
	sum->latency.total += figures->latency.total;
}

void sp_figures_subtract(struct sp_figures *figures, const struct sp_figures *earlier)
{
	for (size_t i = 0; i < sp_figure_count; i++)
		*place(figures, &sp_figure_table[i]) -= sp_figure_value(earlier, &sp_figure_table[i]);
	for (size_t i = 0; i < SP_LATENCY_BUCKETS; i++)
		figures->latency.count[i] -= earlier->latency.count[i];
	figures->latency.total -= earlier->latency.total;
}

uint64_t sp_figures_decisions(const struct sp_figures *figures)
{
	uint64_t decisions = 0;

	for (size_t i = 0; i < SP_LATENCY_BUCKETS; i++)
		decisions += figures->latency.count[i];
	return decisions;
}

const char *sp_figures_quantile(const struct sp_figures *figures, double part, char text[static SP_FIGURES_TEXT])
{
	const uint64_t decisions = sp_figures_decisions(figures);
	const double wanted = (double)decisions * part;
	uint64_t seen = 0;
	size_t i = 0;

	for (; i < SP_LATENCY_BUCKETS - 1; i++) {
		seen += figures->latency.count[i];
		if ((double)seen >= wanted)
			break;
	}
	if (decisions == 0)
		(void)snprintf(text, SP_FIGURES_TEXT, "-");
	else if (i == SP_LATENCY_BUCKETS - 1)
		(void)snprintf(text, SP_FIGURES_TEXT, ">=%" PRIu64, (uint64_t)1 << i);
	else
		(void)snprintf(text, SP_FIGURES_TEXT, "<%" PRIu64, (uint64_t)2 << i);
	return text;
}
