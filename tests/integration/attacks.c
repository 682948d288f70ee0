/* What runs is what was approved: each of these attacks (tests/torture/attacks/) escapes from the naive supervisor and not
 * once from sallyport. All the others, and more rounds: `make torture`. */
#include "harness.h"

static const char policy[] = "version: 1\n"
			     "name: attacks\n"
			     "exec:\n"
			     "  default: allow\n"
			     "  rules:\n"
			     "    - id: forbidden\n"
			     "      any: [forbidden]\n"
			     "      action: deny\n"
			     "    - id: forbidden-file\n"
			     "      program: [\"/**/forbidden\", \"/**/forbidden/*\"]\n"
			     "      action: deny\n";

static const struct attack {
	const char *name;
	bool shows_one_of_both; /* freezing suffices: honest outcomes of both kinds, nobody is killed */
} attacks[] = {
	{"argv-bytes", true},   {"argv-pointer", true},   {"path-bytes", true}, {"shared-mapping", true},
	{"shared-file", true},  {"file-write"},           {"private-file"},     {"clone-vm", true},
	{"vfork-parent", true}, {"thread-spawner", true}, {"proc-mem"},         {"vm-writev"},
	{"symlink-swap"},
};

enum { ATTACKS = sizeof(attacks) / sizeof(attacks[0]) };

static void print_outcome(const char *name, enum sp_who who, const char *supervisor, const struct sp_outcome *outcome)
{
	fprintf(stderr, "%s (%s) under %s: %s", name, sp_who_name(who), supervisor, outcome->out.data);
}

static void show_that_it_escapes(struct sp_lab *lab, const char *name)
{
	const char *rounds = sp_text(lab, "%ld", sp_size(100, 2000));
	cleanup_outcome struct sp_outcome outcome =
		sp_control(lab, NULL, sp_argv(sp_program(lab, "attack"), name, rounds, sp_program(lab, "marker")));

	print_outcome(name, lab->who, "naive", &outcome);
	sp_assert_ended(&outcome, 0, name);
	cr_assert_gt(sp_value(&outcome, "escaped"), 0, "%s is no attack: %s", name, outcome.out.data);
}

static void assert_accounted_for(const struct sp_outcome *outcome, const char *name, long rounds)
{
	long sum = sp_value(outcome, "approved") + sp_value(outcome, "refused") + sp_value(outcome, "blocked") +
		   sp_value(outcome, "killed");

	cr_assert_eq(sp_value(outcome, "escaped"), 0, "%s: %s", name, outcome->out.data);
	cr_assert_eq(sp_value(outcome, "other"), 0, "%s: %s%.2000s", name, outcome->out.data, outcome->err.data);
	cr_assert_eq(sum, rounds, "%s: %s", name, outcome->out.data);
}

/* Every kill is an exec that the audit shows as caught in the act, and none is without. */
static void assert_kills_recorded(struct sp_lab *lab, const char *name, long killed)
{
	int64_t caught = sp_sql_number(lab, "SELECT count(*) FROM execs WHERE verify = 2");

	cr_assert_eq(caught, killed, "%s: %ld killed, %ld recorded as a mismatch", name, killed, (long)caught);
}

static void show_that_it_fails(struct sp_lab *lab, const struct attack *attack)
{
	long rounds = sp_size(100, 2000);
	struct sp_options options = {.deadline = (int)sp_size(120, 900)};
	const char *marker = sp_program(lab, "marker");
	const char *const *argv = sp_argv(sp_program(lab, "attack"), attack->name, sp_text(lab, "%ld", rounds), marker);
	cleanup_outcome struct sp_outcome outcome = sp_supervise(lab, &options, argv);

	print_outcome(attack->name, lab->who, "sallyport", &outcome);
	sp_assert_ended(&outcome, 0, attack->name);
	assert_accounted_for(&outcome, attack->name, rounds);
	assert_kills_recorded(lab, attack->name, sp_value(&outcome, "killed"));
	if (!attack->shows_one_of_both)
		return;
	cr_assert_eq(sp_value(&outcome, "killed"), 0, "%s: %s", attack->name, outcome.out.data);
	cr_assert_gt(sp_value(&outcome, "approved"), 0, "%s: %s", attack->name, outcome.out.data);
	cr_assert_gt(sp_value(&outcome, "refused"), 0, "%s: %s", attack->name, outcome.out.data);
}

ParameterizedTestParameters(attacks, escape_from_naive_only)
{
	return sp_each_who_of(ATTACKS);
}

ParameterizedTest(int *parameter, attacks, escape_from_naive_only)
{
	const struct attack *attack = &attacks[SP_INDEX(*parameter)];
	cleanup_lab struct sp_lab lab;

	sp_lab_open(&lab, SP_WHO(*parameter));
	show_that_it_escapes(&lab, attack->name);
	sp_set_policy(&lab, policy);
	show_that_it_fails(&lab, attack);
}
