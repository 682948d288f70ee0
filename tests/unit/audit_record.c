/* The record codec: what goes in comes out, and bytes that are no record are refused, whatever they are. */
#include "audit/record.h"
#include "util/cleanup.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

static const struct sp_audit_exec sample = {
	.job = UINT64_MAX,
	.process = 2,
	.exec = 3,
	.time = -4,
	.tid = INT32_MAX,
	.action = -1,
	.err = 13,
	.matched = UINT32_MAX,
	.rule = "rule",
	.reason = NULL,
	.path = {"/bin/x", 6},
	.resolved = {NULL, 0},
	.argv = {"x\0\0\xff", 4},
	.argc = 3,
	.others = {"a\0b", 4},
	.seen = SP_SEEN_JUDGED | SP_SEEN_ENVIRONMENT,
	.interpreter = {"/bin/sh", 7},
	.inserted = {"sh\0x", 5},
	.environment = {"A\0B", 4},
	.generation = 3,
	.asked = 5,
	.answer = "approved by uid 7",
};

static unsigned char *encoded(enum sp_record_kind kind, const void *record, size_t *size)
{
	*size = sp_record_size(kind, record);
	unsigned char *bytes = malloc(*size + 1);
	cr_assert_not_null(bytes);
	bytes[*size] = 0xa5;
	sp_record_encode(kind, record, bytes);
	cr_assert_eq(bytes[*size], 0xa5, "more was written than announced");
	return bytes;
}

static bool same_bytes(struct sp_bytes a, struct sp_bytes b)
{
	return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

Test(audit_record, exec_round_trip)
{
	struct sp_record out;
	size_t size;

	cleanup_free unsigned char *bytes = encoded(SP_RECORD_EXEC, &sample, &size);
	cr_assert_eq(size % 8, 0);
	cr_assert_eq(sp_record_decode(SP_RECORD_EXEC, bytes, size, &out), 0);
	cr_assert_eq(out.kind, SP_RECORD_EXEC);
	cr_assert_eq(out.exec.job, sample.job);
	cr_assert_eq(out.exec.process, sample.process);
	cr_assert_eq(out.exec.exec, sample.exec);
	cr_assert_eq(out.exec.time, sample.time);
	cr_assert_eq(out.exec.tid, sample.tid);
	cr_assert_eq(out.exec.action, sample.action);
	cr_assert_eq(out.exec.err, sample.err);
	cr_assert_eq(out.exec.matched, sample.matched);
	cr_assert_str_eq(out.exec.rule, sample.rule);
	cr_assert_null(out.exec.reason);
	cr_assert(same_bytes(out.exec.path, sample.path));
	cr_assert(same_bytes(out.exec.resolved, sample.resolved));
	cr_assert(same_bytes(out.exec.argv, sample.argv));
	cr_assert_eq(out.exec.argc, sample.argc);
	cr_assert(same_bytes(out.exec.others, sample.others));
	cr_assert_eq(out.exec.seen, sample.seen);
	cr_assert(same_bytes(out.exec.interpreter, sample.interpreter));
	cr_assert(same_bytes(out.exec.inserted, sample.inserted));
	cr_assert(same_bytes(out.exec.environment, sample.environment));
	cr_assert_eq(out.exec.generation, sample.generation);
	cr_assert_eq(out.exec.asked, sample.asked);
	cr_assert_str_eq(out.exec.answer, sample.answer);
}

/* What a supervisor of schema 2 left behind: the same without the last fields. */
static size_t size_of_schema_2(void)
{
	struct sp_audit_exec old = sample;

	old.interpreter = old.inserted = old.environment = (struct sp_bytes){0};
	old.answer = NULL;
	return sp_record_size(SP_RECORD_EXEC, &old) - 7 * sizeof(uint64_t);
}

Test(audit_record, exec_of_an_earlier_version)
{
	struct sp_record out;
	size_t size;

	cleanup_free unsigned char *bytes = encoded(SP_RECORD_EXEC, &sample, &size);
	cr_assert_eq(sp_record_decode(SP_RECORD_EXEC, bytes, size_of_schema_2(), &out), 0);
	cr_assert(same_bytes(out.exec.others, sample.others));
	cr_assert_eq(out.exec.seen, 0);
	cr_assert_eq(out.exec.interpreter.size + out.exec.inserted.size + out.exec.environment.size, 0);
	cr_assert_eq(out.exec.generation, 0);
	cr_assert_null(out.exec.answer);
}

Test(audit_record, other_kinds_round_trip)
{
	const struct sp_audit_job job = {1, 2, 3, UINT32_MAX, "", NULL, 5, "t", "c", {"a", 1}};
	const struct sp_audit_process process = {1, 2, 3, 4, 5};
	const struct sp_audit_result result = {1, 2, 3, SP_RESULT_VANISHED, 4, SP_VERIFY_MISMATCH, "detail"};
	const struct sp_audit_exit gone = {1, 2, 3, 139};
	const struct sp_audit_job_end end = {1, 2, 3};
	const struct sp_audit_policy policy = {1, 2, 3, "p", NULL, 5};
	const struct sp_audit_rule rule = {1, 2, 3, "r", 4, 5, 6};
	struct sp_record out;
	size_t size;

	cleanup_free unsigned char *a = encoded(SP_RECORD_JOB, &job, &size);
	cr_assert_eq(sp_record_decode(SP_RECORD_JOB, a, size, &out), 0);
	cr_assert_eq(out.job.uid, UINT32_MAX);
	cr_assert_str_eq(out.job.policy, "");
	cr_assert_null(out.job.policy_file);
	cr_assert_eq(out.job.policy_digest, 5);
	cr_assert(same_bytes(out.job.argv, job.argv));

	cleanup_free unsigned char *b = encoded(SP_RECORD_PROCESS, &process, &size);
	cr_assert_eq(sp_record_decode(SP_RECORD_PROCESS, b, size, &out), 0);
	cr_assert(out.process.job == 1 && out.process.process == 2 && out.process.parent == 3);
	cr_assert(out.process.time == 4 && out.process.pid == 5);

	cleanup_free unsigned char *c = encoded(SP_RECORD_RESULT, &result, &size);
	cr_assert_eq(sp_record_decode(SP_RECORD_RESULT, c, size, &out), 0);
	cr_assert_eq(out.result.result, SP_RESULT_VANISHED);
	cr_assert_eq(out.result.verify, SP_VERIFY_MISMATCH);
	cr_assert_str_eq(out.result.detail, "detail");

	cleanup_free unsigned char *d = encoded(SP_RECORD_EXIT, &gone, &size);
	cr_assert_eq(sp_record_decode(SP_RECORD_EXIT, d, size, &out), 0);
	cr_assert(out.exit.job == 1 && out.exit.process == 2 && out.exit.time == 3 && out.exit.status == 139);

	cleanup_free unsigned char *f = encoded(SP_RECORD_JOB_END, &end, &size);
	cr_assert_eq(sp_record_decode(SP_RECORD_JOB_END, f, size, &out), 0);
	cr_assert(out.job_end.job == 1 && out.job_end.time == 2 && out.job_end.status == 3);

	cleanup_free unsigned char *g = encoded(SP_RECORD_POLICY, &policy, &size);
	cr_assert_eq(sp_record_decode(SP_RECORD_POLICY, g, size, &out), 0);
	cr_assert(out.policy.generation == 2 && out.policy.time == 3 && out.policy.policy_digest == 5);
	cr_assert_str_eq(out.policy.policy, "p");

	cleanup_free unsigned char *h = encoded(SP_RECORD_RULE, &rule, &size);
	cr_assert_eq(sp_record_decode(SP_RECORD_RULE, h, size, &out), 0);
	cr_assert(out.rule.generation == 2 && out.rule.number == 3 && out.rule.action == 4);
	cr_assert(out.rule.hits == 5 && out.rule.last == 6);
	cr_assert_str_eq(out.rule.rule, "r");
}

/* Each buffer has exactly its size, so that the address sanitizer sees any step beyond it. */
Test(audit_record, cut_off_or_too_long)
{
	struct sp_record out;
	size_t size;

	cleanup_free unsigned char *bytes = encoded(SP_RECORD_EXEC, &sample, &size);
	for (size_t cut = 0; cut < size; cut++) {
		cleanup_free unsigned char *part = malloc(cut > 0 ? cut : 1);
		memcpy(part, bytes, cut);
		int ret = sp_record_decode(SP_RECORD_EXEC, part, cut, &out);
		if (cut < size_of_schema_2() || cut % 8 != 0)
			cr_assert_eq(ret, -EBADMSG, "cut to %zu", cut);
	}
	cleanup_free unsigned char *longer = calloc(1, size + 8);
	memcpy(longer, bytes, size);
	cr_assert_eq(sp_record_decode(SP_RECORD_EXEC, longer, size + 8, &out), -EBADMSG);
}

Test(audit_record, unknown_kinds)
{
	struct sp_record out;
	unsigned char bytes[8] = {0};

	cr_assert_eq(sp_record_decode(0, bytes, 0, &out), -EBADMSG);
	cr_assert_eq(sp_record_decode(SP_RECORD_KINDS, bytes, 0, &out), -EBADMSG);
	cr_assert_eq(sp_record_decode(255, bytes, 8, &out), -EBADMSG);
}

/* A number that does not fit, a length that leads outside, text without its NUL. */
Test(audit_record, each_word_replaced)
{
	static const uint64_t values[] = {UINT64_MAX, UINT64_MAX - 7, INT64_MAX, UINT64_C(1) << 32, 1 << 20, 0, 1, 7, 8,
					  9};
	struct sp_record out;
	size_t size, refused = 0;

	cleanup_free unsigned char *bytes = encoded(SP_RECORD_EXEC, &sample, &size);
	for (size_t at = 0; at < size; at += 8)
		for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
			cleanup_free unsigned char *bad = malloc(size);
			memcpy(bad, bytes, size);
			memcpy(bad + at, &values[i], 8);
			refused += sp_record_decode(SP_RECORD_EXEC, bad, size, &out) != 0;
		}
	cr_assert_gt(refused, 50);
}
