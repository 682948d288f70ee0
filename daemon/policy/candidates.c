/* See candidates.h. */
#include "policy/candidates.h"

#include "policy/push.h"
#include "policy/rules.h"
#include "util/cleanup.h"

#include <errno.h>
#include <string.h>

/* So many patterns that begin alike are told apart by their ends, if they have one. */
enum { ALIKE = 4 };

/* ---- Building ---- */

static int compare_keys(const void *a, const void *b)
{
	const struct sp_key *left = a, *right = b;
	int order = strcmp(left->text, right->text);

	return order != 0 ? order : (left->rule > right->rule) - (left->rule < right->rule);
}

static unsigned char byte_at(const char *text, size_t size, size_t i, bool from_back)
{
	return (unsigned char)text[from_back ? size - 1 - i : i];
}

static int compare_affixes(const struct sp_affix *left, const struct sp_affix *right, bool from_back)
{
	for (size_t i = 0; i < left->size && i < right->size; i++) {
		int order =
			byte_at(left->text, left->size, i, from_back) - byte_at(right->text, right->size, i, from_back);
		if (order != 0)
			return order;
	}
	if (left->size != right->size)
		return left->size < right->size ? -1 : 1;
	return (left->rule > right->rule) - (left->rule < right->rule);
}

static int compare_fronts(const void *a, const void *b)
{
	return compare_affixes(a, b, false);
}

static int compare_backs(const void *a, const void *b)
{
	return compare_affixes(a, b, true);
}

static void sort_affixes(struct sp_affixes *affixes)
{
	if (affixes->count > 0)
		qsort(affixes->items, affixes->count, sizeof *affixes->items,
		      affixes->from_back ? compare_backs : compare_fronts);
}

static bool add_patterns(struct sp_affixes *affixes, const struct sp_globs *globs, size_t rule)
{
	for (size_t i = 0; i < globs->count; i++) {
		struct sp_affix affix = {.rule = rule, .glob = globs->items[i]};
		affix.text = sp_glob_beginning(affix.glob, &affix.size);
		if (!sp_push(affixes->items, affixes->count, affix))
			return false;
	}
	return true;
}

static size_t count_alike(const struct sp_affixes *fronts, size_t from)
{
	const struct sp_affix *first = &fronts->items[from];
	size_t to = from + 1;

	while (to < fronts->count && fronts->items[to].size == first->size &&
	       memcmp(fronts->items[to].text, first->text, first->size) == 0)
		to++;
	return to - from;
}

/* From the sorted fronts to the backs, where too many begin alike. */
static bool move_to_backs(struct sp_affixes *fronts, struct sp_affixes *backs)
{
	size_t kept = 0;

	for (size_t at = 0, alike; at < fronts->count; at += alike) {
		alike = count_alike(fronts, at);
		for (size_t i = at; i < at + alike; i++) {
			struct sp_affix affix = fronts->items[i];
			affix.text = sp_glob_ending(affix.glob, &affix.size);
			if (alike < ALIKE || affix.size == 0)
				fronts->items[kept++] = fronts->items[i];
			else if (!sp_push(backs->items, backs->count, affix))
				return false;
		}
	}
	fronts->count = kept;
	sort_affixes(backs);
	return true;
}

static int build_affixes(struct sp_affixes affixes[static 2])
{
	affixes[1].from_back = true;
	sort_affixes(&affixes[0]);
	return move_to_backs(&affixes[0], &affixes[1]) ? 0 : -ENOMEM;
}

static void sort_keys(struct sp_candidates *candidates)
{
	size_t kept = 0;

	if (candidates->key_count > 0)
		qsort(candidates->keys, candidates->key_count, sizeof *candidates->keys, compare_keys);
	for (size_t i = 0; i < candidates->key_count; i++) {
		if (kept == 0 || compare_keys(&candidates->keys[kept - 1], &candidates->keys[i]) != 0)
			candidates->keys[kept++] = candidates->keys[i];
	}
	candidates->key_count = kept;
}

static bool add_rule(struct sp_candidates *candidates, const struct sp_rule *rule, size_t number)
{
	if (rule->any_program)
		return sp_push(candidates->globals, candidates->global_count, number);
	for (size_t i = 0; i < rule->program.literal_count; i++) {
		if (!sp_push(candidates->keys, candidates->key_count,
			     {.text = rule->program.literals[i], .rule = number}))
			return false;
	}
	return add_patterns(&candidates->names[0], &rule->program.names, number) &&
	       add_patterns(&candidates->paths[0], &rule->program.paths, number);
}

int sp_candidates_build(struct sp_policy *policy)
{
	struct sp_candidates *candidates = &policy->candidates;

	for (size_t i = 0; i < policy->rule_count; i++) {
		if (!add_rule(candidates, &policy->rules[i], i))
			return -ENOMEM;
	}
	sort_keys(candidates);
	int rc = build_affixes(candidates->names);
	return rc < 0 ? rc : build_affixes(candidates->paths);
}

void sp_candidates_release(struct sp_candidates *candidates)
{
	for (size_t i = 0; i < 2; i++) {
		free(candidates->names[i].items);
		free(candidates->paths[i].items);
	}
	free(candidates->keys);
	free(candidates->globals);
}

/* ---- Finding ---- */

struct sp_program_file sp_program_file(const struct sp_policy *policy, const char *path)
{
	const char *slash = strrchr(path, '/');

	return (struct sp_program_file){
		.path = path,
		.name = slash != NULL ? slash + 1 : path,
		.in_path = sp_directories_have(policy->directories, path),
	};
}

struct search {
	const struct sp_policy *policy;
	void (*visit)(void *context, const struct sp_rule *rule, const struct sp_glob *glob);
	void *context;
};

/* The first key that is not less. */
static size_t find_key(const struct sp_candidates *candidates, const struct sp_key *key)
{
	size_t low = 0, high = candidates->key_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (compare_keys(&candidates->keys[middle], key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool has_key(const struct sp_candidates *candidates, const char *text, size_t rule)
{
	const struct sp_key key = {.text = text, .rule = rule};
	size_t i = find_key(candidates, &key);

	return i < candidates->key_count && compare_keys(&candidates->keys[i], &key) == 0;
}

/* except: another text, under which the same rule has come already; NULL: none. Returns how many there were. */
static size_t visit_keys(const struct search *search, const char *text, const char *except)
{
	const struct sp_candidates *candidates = &search->policy->candidates;
	const size_t first = find_key(candidates, &(struct sp_key){.text = text});
	size_t i = first;

	for (; i < candidates->key_count && strcmp(candidates->keys[i].text, text) == 0; i++) {
		size_t rule = candidates->keys[i].rule;
		if (except == NULL || !has_key(candidates, except, rule))
			search->visit(search->context, &search->policy->rules[rule], NULL);
	}
	return i - first;
}

/* The first of the affixes from low to high whose byte i is not less (or, not_greater: is greater). All are longer than i and
 * equal before it. */
static size_t find_byte(const struct sp_affixes *affixes, size_t low, size_t high, size_t i, unsigned char byte,
			bool greater)
{
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct sp_affix *affix = &affixes->items[middle];
		unsigned char found = byte_at(affix->text, affix->size, i, affixes->from_back);
		if (found < byte || (greater && found == byte))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The patterns whose first (or last) bytes the text has: those that end where it was read to stand first in the range. */
static void visit_affixes(const struct search *search, const struct sp_affixes *affixes, const char *text)
{
	size_t size = strlen(text), low = 0, high = affixes->count;

	for (size_t i = 0;; i++) {
		for (; low < high && affixes->items[low].size == i; low++) {
			const struct sp_affix *affix = &affixes->items[low];
			if (sp_glob_match(affix->glob, text, size))
				search->visit(search->context, &search->policy->rules[affix->rule], affix->glob);
		}
		if (low == high || i == size)
			return;
		unsigned char byte = byte_at(text, size, i, affixes->from_back);
		low = find_byte(affixes, low, high, i, byte, false);
		high = find_byte(affixes, low, high, i, byte, true);
	}
}

void sp_each_candidate(const struct sp_policy *policy, const struct sp_program_file *file,
		       void (*visit)(void *context, const struct sp_rule *rule, const struct sp_glob *glob),
		       void *context)
{
	const struct sp_candidates *candidates = &policy->candidates;
	const struct search search = {.policy = policy, .visit = visit, .context = context};

	for (size_t i = 0; i < candidates->global_count; i++)
		visit(context, &policy->rules[candidates->globals[i]], NULL);
	size_t by_path = 0;
	if (file->path[0] == '/') /* what has no slash could only be taken for a name */
		by_path = visit_keys(&search, file->path, NULL);
	if (file->in_path)
		(void)visit_keys(&search, file->name, by_path > 0 ? file->path : NULL);
	for (size_t i = 0; i < 2; i++) {
		if (file->in_path)
			visit_affixes(&search, &candidates->names[i], file->name);
		visit_affixes(&search, &candidates->paths[i], file->path);
	}
}

/* Whether one of the globs matches that stands before this one. *passed: this one was among them. */
static bool earlier_glob(const struct sp_globs *globs, const char *text, const struct sp_glob *glob, bool *passed)
{
	for (size_t i = 0; i < globs->count; i++) {
		*passed = globs->items[i] == glob;
		if (*passed)
			return false;
		if (sp_glob_match(globs->items[i], text, strlen(text)))
			return true;
	}
	return false;
}

bool sp_is_first_way(const struct sp_policy *policy, const struct sp_program_file *file, const struct sp_rule *rule,
		     const struct sp_glob *glob)
{
	const size_t number = (size_t)(rule - policy->rules);
	bool passed = false;

	if (glob == NULL)
		return true;
	if (has_key(&policy->candidates, file->path, number) ||
	    (file->in_path && (has_key(&policy->candidates, file->name, number) ||
			       earlier_glob(&rule->program.names, file->name, glob, &passed))))
		return false;
	return passed || !earlier_glob(&rule->program.paths, file->path, glob, &passed);
}

bool sp_policy_searches(const struct sp_policy *policy, const char *path)
{
	return sp_directories_have(policy->directories, path);
}
