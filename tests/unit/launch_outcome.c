/* The record of a launch: what cannot be one is refused, and what it amounts to. */
#include "launch/launch.h"
#include "launch/outcome.h"
#include "util/cleanup.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static struct sp_launch_outcome outcome_of(const char *states)
{
	static const struct {
		char letter;
		enum sp_stage stage;
	} stages[] = {
		{'n', SP_STAGE_NO_NEW_PRIVS}, {'a', SP_STAGE_ADDRESS_SPACE}, {'u', SP_STAGE_UMASK},
		{'m', SP_STAGE_MOUNT},        {'s', SP_STAGE_SYSCALLS},      {'f', SP_STAGE_FILTER},
	};
	struct sp_launch_outcome outcome = {0};

	for (const char *at = states; *at != '\0'; at += 2)
		for (size_t i = 0; i < sizeof stages / sizeof *stages; i++)
			if (stages[i].letter == *at) {
				outcome.stage[stages[i].stage].state =
					at[1] == '+' ? SP_STAGE_APPLIED : SP_STAGE_FAILED;
				outcome.stage[stages[i].stage].err = at[1] == '+' ? 0 : EPERM;
			}
	return outcome;
}

Test(launch_outcome, levels)
{
	static const struct {
		const char *states; /* a letter a stage, + or - */
		enum sp_launch_level level;
	} rows[] = {
		{"", SP_LEVEL_NONE},
		{"f+", SP_LEVEL_NONE},
		{"u-", SP_LEVEL_NONE},
		{"n-a-", SP_LEVEL_NONE},
		{"n+", SP_LEVEL_BASELINE},
		{"a+", SP_LEVEL_BASELINE},
		{"n+a+f+", SP_LEVEL_BASELINE},
		{"n+u-", SP_LEVEL_BASELINE},
		{"n-u+", SP_LEVEL_PARTIAL},
		{"n+u+m-", SP_LEVEL_PARTIAL},
		{"n+u+s-", SP_LEVEL_PARTIAL},
		{"u+", SP_LEVEL_FULL},
		{"n+a+u+m+s+f+", SP_LEVEL_FULL},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct sp_launch_outcome outcome = outcome_of(rows[i].states);
		const bool failed = strchr(rows[i].states, '-') != NULL;

		cr_expect_eq(sp_launch_level(&outcome), rows[i].level, "'%s' is %s", rows[i].states,
			     sp_launch_level_name(sp_launch_level(&outcome)));
		for (enum sp_launch_level l = SP_LEVEL_NONE; l <= SP_LEVEL_FULL; l++)
			cr_expect_eq(sp_launch_suffices(&outcome, l), !failed || rows[i].level >= l, "'%s', %s",
				     rows[i].states, sp_launch_level_name(l));
	}
}

Test(launch_outcome, first_failure)
{
	const struct sp_launch_outcome none = outcome_of("n+u+"), some = outcome_of("n+u-s-");

	cr_expect_eq(sp_launch_first_failure(&none), SP_STAGES);
	cr_expect_eq(sp_launch_first_failure(&some), SP_STAGE_UMASK);
}

Test(launch_outcome, every_stage_has_a_name_of_its_own)
{
	for (enum sp_stage a = 0; a < SP_STAGES; a++) {
		cr_assert_not_null(sp_stage_name(a));
		for (enum sp_stage b = 0; b < a; b++)
			cr_expect_str_neq(sp_stage_name(a), sp_stage_name(b));
	}
	cr_expect_str_eq(sp_stage_name(SP_STAGES), "an unknown stage");
}

Test(launch_outcome, survives_the_way)
{
	const struct sp_launch_outcome outcome = outcome_of("n+a-u+m-s+f+");
	struct sp_launch_outcome decoded;
	struct sp_launch_record record;

	sp_launch_record_encode(&record, &outcome);
	cr_assert_eq(sp_launch_record_decode(&record, sizeof record, &decoded), 0);
	cr_expect_eq(memcmp(&outcome, &decoded, sizeof outcome), 0);
}

/* An error, not a guess. */
Test(launch_outcome, every_truncation_is_an_error)
{
	const struct sp_launch_outcome outcome = outcome_of("n+u-");
	struct sp_launch_outcome decoded;
	struct sp_launch_record record[2] = {0};

	sp_launch_record_encode(record, &outcome);
	for (size_t size = 0; size < sizeof *record; size++)
		cr_expect_eq(sp_launch_record_decode(record, size, &decoded), -EMSGSIZE, "%zu bytes", size);
	cr_expect_eq(sp_launch_record_decode(record, sizeof *record + 1, &decoded), -EMSGSIZE);
}

Test(launch_outcome, what_no_child_writes_is_an_error)
{
	const struct sp_launch_outcome outcome = outcome_of("n+u-");
	struct sp_launch_outcome decoded;
	struct sp_launch_record good, bad;

	sp_launch_record_encode(&good, &outcome);
#define EXPECT_BAD(change)                                                                                             \
	do {                                                                                                           \
		bad = good;                                                                                            \
		change;                                                                                                \
		cr_expect_eq(sp_launch_record_decode(&bad, sizeof bad, &decoded), -EPROTO, #change);                   \
	} while (0)
	EXPECT_BAD(bad.magic++);
	EXPECT_BAD(bad.version++);
	EXPECT_BAD(bad.count--);
	EXPECT_BAD(bad.outcome.stage[0].state = SP_STAGE_FAILED + 1);
	EXPECT_BAD(bad.outcome.stage[0].state = SP_STAGE_FAILED);
	EXPECT_BAD(bad.outcome.stage[0].err = EPERM);
	EXPECT_BAD(bad.outcome.stage[SP_STAGE_UMASK].err = 0);
	EXPECT_BAD(bad.outcome.stage[SP_STAGE_UMASK].err = 4096);
	EXPECT_BAD(bad.outcome.stage[SP_STAGES - 1].reserved = 1);
#undef EXPECT_BAD
}

static void close_pair(int (*pair)[2])
{
	sp_close_fd(&(*pair)[0]);
	sp_close_fd(&(*pair)[1]);
}

/* The same at the supervisor's end of the channel, where a child may have died in the middle. */
Test(launch_outcome, received)
{
	const struct sp_launch_outcome outcome = outcome_of("n+u-");
	struct sp_launch_outcome received;
	struct sp_launch_record record;
	sp_cleanup(close_pair) int pair[2] = {-1, -1};
	char longer[sizeof record + 8] = "";
	int listener;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	sp_launch_record_encode(&record, &outcome);
	memcpy(longer, &record, sizeof record);
	cr_expect_eq(sp_launch_receive(pair[0], &received, &listener), -EAGAIN);
	cr_assert_gt(send(pair[1], &record, sizeof record, 0), 0);
	cr_expect_eq(sp_launch_receive(pair[0], &received, &listener), 1);
	cr_expect_eq(memcmp(&outcome, &received, sizeof outcome), 0);
	cr_expect_eq(listener, -1);
	cr_assert_gt(send(pair[1], &record, sizeof record - 1, 0), 0);
	cr_expect_eq(sp_launch_receive(pair[0], &received, &listener), -EMSGSIZE);
	cr_assert_gt(send(pair[1], longer, sizeof longer, 0), 0);
	cr_expect_eq(sp_launch_receive(pair[0], &received, &listener), -EMSGSIZE);
	sp_close_fd(&pair[1]);
	pair[1] = -1;
	cr_expect_eq(sp_launch_receive(pair[0], &received, &listener), 0);
}
