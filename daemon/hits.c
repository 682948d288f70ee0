/* See hits.h. */
#include "hits.h"

#include <stdlib.h>
#include <string.h>

/* Who decides where no rule does; numbered after the rules. */
static const char *const others[] = {"default", "anonymous", "loader"};
enum { OTHERS = sizeof others / sizeof *others };

struct row {
	uint64_t hits;
	int64_t last;
	uint32_t action; /* enum sp_action; of a rule always the same */
	bool changed;
};

struct sp_hits {
	const struct sp_policy *policy;
	uint64_t job, generation;
	bool changed; /* one of the rows */
	size_t rules;
	struct row rows[]; /* of the rules, and of the others */
};

struct sp_hits *sp_hits_new(const struct sp_policy *policy, uint64_t job, uint64_t generation)
{
	const size_t rules = sp_policy_rule_count(policy);
	struct sp_hits *hits = calloc(1, sizeof *hits + (rules + OTHERS) * sizeof(struct row));

	if (hits == NULL)
		return NULL;
	hits->policy = policy;
	hits->job = job;
	hits->generation = generation;
	hits->rules = rules;
	return hits;
}

void sp_hits_free(struct sp_hits *hits)
{
	free(hits);
}

static size_t number_of(const struct sp_hits *hits, const struct sp_decision *decision)
{
	if (decision->number < hits->rules)
		return decision->number;
	for (size_t i = 1; i < OTHERS; i++)
		if (strcmp(decision->rule, others[i]) == 0)
			return hits->rules + i;
	return hits->rules;
}

void sp_hits_add(struct sp_hits *hits, const struct sp_decision *decision, int64_t now)
{
	struct row *row = &hits->rows[number_of(hits, decision)];

	row->hits++;
	row->last = now;
	row->action = decision->action;
	row->changed = hits->changed = true;
}

bool sp_hits_are_new(const struct sp_hits *hits)
{
	return hits->changed;
}

static int write_row(const struct sp_hits *hits, struct sp_audit *audit, size_t number)
{
	const struct row *row = &hits->rows[number];
	const struct sp_audit_rule record = {
		.job = hits->job,
		.generation = hits->generation,
		.number = (uint32_t)number,
		.rule = number < hits->rules ? sp_policy_rule_id(hits->policy, number) : others[number - hits->rules],
		.action = (int)row->action,
		.hits = row->hits,
		.last = row->last,
	};

	return sp_audit_rule(audit, &record);
}

int sp_hits_write(struct sp_hits *hits, struct sp_audit *audit)
{
	int ret = 0;

	if (!hits->changed)
		return 0;
	for (size_t i = 0; ret == 0 && i < hits->rules + OTHERS; i++) {
		if (!hits->rows[i].changed)
			continue;
		ret = write_row(hits, audit, i);
		hits->rows[i].changed = ret != 0;
	}
	hits->changed = ret != 0;
	return ret;
}
