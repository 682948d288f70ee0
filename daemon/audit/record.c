/* See record.h. */
#include "audit/record.h"

#include <string.h>

#define FIELD(type, structure, member)                                                                                 \
	{                                                                                                              \
		SP_FIELD_##type, offsetof(struct structure, member)                                                    \
	}

static const struct sp_field job_fields[] = {
	FIELD(U64, sp_audit_job, job),           FIELD(I64, sp_audit_job, time),
	FIELD(I32, sp_audit_job, supervisor),    FIELD(U32, sp_audit_job, uid),
	FIELD(TEXT, sp_audit_job, policy),       FIELD(TEXT, sp_audit_job, policy_file),
	FIELD(U64, sp_audit_job, policy_digest), FIELD(TEXT, sp_audit_job, tracking),
	FIELD(TEXT, sp_audit_job, cwd),          FIELD(BYTES, sp_audit_job, argv),
};

static const struct sp_field process_fields[] = {
	FIELD(U64, sp_audit_process, job),  FIELD(U64, sp_audit_process, process), FIELD(U64, sp_audit_process, parent),
	FIELD(I64, sp_audit_process, time), FIELD(I32, sp_audit_process, pid),
};

static const struct sp_field exec_fields[] = {
	FIELD(U64, sp_audit_exec, job),
	FIELD(U64, sp_audit_exec, process),
	FIELD(U64, sp_audit_exec, exec),
	FIELD(I64, sp_audit_exec, time),
	FIELD(I32, sp_audit_exec, tid),
	FIELD(I32, sp_audit_exec, action),
	FIELD(I32, sp_audit_exec, err),
	FIELD(U32, sp_audit_exec, matched),
	FIELD(TEXT, sp_audit_exec, rule),
	FIELD(TEXT, sp_audit_exec, reason),
	FIELD(BYTES, sp_audit_exec, path),
	FIELD(BYTES, sp_audit_exec, resolved),
	FIELD(BYTES, sp_audit_exec, argv),
	FIELD(U32, sp_audit_exec, argc),
	FIELD(BYTES, sp_audit_exec, others),
	/* since schema 3 */
	FIELD(U32, sp_audit_exec, seen),
	FIELD(BYTES, sp_audit_exec, interpreter),
	FIELD(BYTES, sp_audit_exec, inserted),
	FIELD(BYTES, sp_audit_exec, environment),
	/* since schema 4 */
	FIELD(U64, sp_audit_exec, generation),
	FIELD(I64, sp_audit_exec, asked),
	FIELD(TEXT, sp_audit_exec, answer),
};

/* What a supervisor of an earlier version leaves when it is killed has only so many: the rest is 0 and empty. */
enum { EXEC_FIELDS_OF_SCHEMA_2 = 15 };

static const struct sp_field result_fields[] = {
	FIELD(U64, sp_audit_result, job),     FIELD(U64, sp_audit_result, exec), FIELD(I64, sp_audit_result, time),
	FIELD(I32, sp_audit_result, result),  FIELD(I32, sp_audit_result, err),  FIELD(I32, sp_audit_result, verify),
	FIELD(TEXT, sp_audit_result, detail),
};

static const struct sp_field exit_fields[] = {
	FIELD(U64, sp_audit_exit, job),
	FIELD(U64, sp_audit_exit, process),
	FIELD(I64, sp_audit_exit, time),
	FIELD(I32, sp_audit_exit, status),
};

static const struct sp_field launch_fields[] = {
	FIELD(U64, sp_audit_launch, job),
	FIELD(TEXT, sp_audit_launch, level),
	FIELD(BYTES, sp_audit_launch, record),
};

static const struct sp_field policy_fields[] = {
	FIELD(U64, sp_audit_policy, job),          FIELD(U64, sp_audit_policy, generation),
	FIELD(I64, sp_audit_policy, time),         FIELD(TEXT, sp_audit_policy, policy),
	FIELD(TEXT, sp_audit_policy, policy_file), FIELD(U64, sp_audit_policy, policy_digest),
};

static const struct sp_field rule_fields[] = {
	FIELD(U64, sp_audit_rule, job),   FIELD(U64, sp_audit_rule, generation), FIELD(U32, sp_audit_rule, number),
	FIELD(TEXT, sp_audit_rule, rule), FIELD(I32, sp_audit_rule, action),     FIELD(U64, sp_audit_rule, hits),
	FIELD(I64, sp_audit_rule, last),
};

static const struct sp_field job_end_fields[] = {
	FIELD(U64, sp_audit_job_end, job),
	FIELD(I64, sp_audit_job_end, time),
	FIELD(I32, sp_audit_job_end, status),
};

_Static_assert(sizeof(enum sp_result) == 4 && sizeof(enum sp_verify) == 4 && sizeof(pid_t) == 4 && sizeof(uid_t) == 4,
	       "SP_FIELD_I32 and SP_FIELD_U32 fit");

#define LAYOUT(fields)                                                                                                 \
	{                                                                                                              \
		fields, sizeof(fields) / sizeof *(fields)                                                              \
	}

static const struct layout {
	const struct sp_field *fields;
	size_t count;
	size_t least; /* fields that it must have; 0: all */
} layouts[SP_RECORD_KINDS] = {
	[SP_RECORD_JOB] = LAYOUT(job_fields),
	[SP_RECORD_PROCESS] = LAYOUT(process_fields),
	[SP_RECORD_EXEC] = {exec_fields, sizeof exec_fields / sizeof *exec_fields, EXEC_FIELDS_OF_SCHEMA_2},
	[SP_RECORD_RESULT] = LAYOUT(result_fields),
	[SP_RECORD_EXIT] = LAYOUT(exit_fields),
	[SP_RECORD_JOB_END] = LAYOUT(job_end_fields),
	[SP_RECORD_LAUNCH] = LAYOUT(launch_fields),
	[SP_RECORD_POLICY] = LAYOUT(policy_fields),
	[SP_RECORD_RULE] = LAYOUT(rule_fields),
};

struct cursor {
	const unsigned char *at;
	size_t left;
};

static struct sp_bytes bytes_of(const struct sp_field *field, const void *record);
static uint64_t number_of(const struct sp_field *field, const void *record);
static bool take(struct cursor *cursor, const struct sp_field *field, void *record);

const struct sp_field *sp_record_fields(enum sp_record_kind kind, size_t *count)
{
	*count = layouts[kind].count;
	return layouts[kind].fields;
}

static bool has_bytes(const struct sp_field *field)
{
	return field->type == SP_FIELD_TEXT || field->type == SP_FIELD_BYTES;
}

static size_t padded(size_t size)
{
	return (size + 7) & ~(size_t)7;
}

size_t sp_record_size(enum sp_record_kind kind, const void *record)
{
	const struct layout *layout = &layouts[kind];
	size_t size = layout->count * sizeof(uint64_t);

	for (size_t i = 0; i < layout->count; i++)
		if (has_bytes(&layout->fields[i]))
			size += padded(bytes_of(&layout->fields[i], record).size);
	return size;
}

void sp_record_encode(enum sp_record_kind kind, const void *record, unsigned char *to)
{
	const struct layout *layout = &layouts[kind];

	for (size_t i = 0; i < layout->count; i++) {
		const struct sp_field *field = &layout->fields[i];
		struct sp_bytes bytes = {0};
		uint64_t number;
		if (has_bytes(field)) {
			bytes = bytes_of(field, record);
			number = bytes.size;
		} else {
			number = number_of(field, record);
		}
		memcpy(to, &number, sizeof number);
		to += sizeof number;
		if (bytes.size == 0)
			continue;
		/* The last word first: the padding must be zero, it is part of the checksum. */
		memset(to + padded(bytes.size) - 8, 0, 8);
		memcpy(to, bytes.data, bytes.size);
		to += padded(bytes.size);
	}
}

int sp_record_decode(enum sp_record_kind kind, const unsigned char *from, size_t size, struct sp_record *record)
{
	struct cursor cursor = {.at = from, .left = size};

	if (kind < SP_RECORD_NEXT || kind >= SP_RECORD_KINDS)
		return -EBADMSG;
	memset(record, 0, sizeof *record);
	record->kind = kind;
	for (size_t i = 0; i < layouts[kind].count; i++) {
		if (cursor.left == 0 && layouts[kind].least > 0 && i >= layouts[kind].least)
			break;
		if (!take(&cursor, &layouts[kind].fields[i], &record->job))
			return -EBADMSG;
	}
	return cursor.left == 0 ? 0 : -EBADMSG;
}

/* Text carries its NUL, so that it can be used in place; no text is length 0. */
static struct sp_bytes bytes_of(const struct sp_field *field, const void *record)
{
	const char *at = (const char *)record + field->offset;

	if (field->type == SP_FIELD_BYTES)
		return *(const struct sp_bytes *)at;
	const char *text = *(const char *const *)at;
	return (struct sp_bytes){.data = text, .size = text == NULL ? 0 : strlen(text) + 1};
}

static uint64_t number_of(const struct sp_field *field, const void *record)
{
	const char *at = (const char *)record + field->offset;

	switch (field->type) {
	case SP_FIELD_U32:
		return *(const uint32_t *)at;
	case SP_FIELD_I32:
		return (uint64_t)(int64_t) * (const int32_t *)at;
	default:
		return *(const uint64_t *)at;
	}
}

static bool take_bytes(struct cursor *cursor, uint64_t size, const struct sp_field *field, char *to)
{
	const char *data = (const char *)cursor->at;

	if (size > cursor->left || padded(size) > cursor->left)
		return false;
	cursor->at += padded(size);
	cursor->left -= padded(size);
	if (field->type == SP_FIELD_BYTES) {
		*(struct sp_bytes *)to = (struct sp_bytes){.data = data, .size = size};
		return true;
	}
	*(const char **)to = size == 0 ? NULL : data;
	return size == 0 || data[size - 1] == '\0';
}

static bool take(struct cursor *cursor, const struct sp_field *field, void *record)
{
	char *to = (char *)record + field->offset;
	uint64_t number;

	if (cursor->left < sizeof number)
		return false;
	memcpy(&number, cursor->at, sizeof number);
	cursor->at += sizeof number;
	cursor->left -= sizeof number;
	switch (field->type) {
	case SP_FIELD_TEXT:
	case SP_FIELD_BYTES:
		return take_bytes(cursor, number, field, to);
	case SP_FIELD_U32:
		*(uint32_t *)to = (uint32_t)number;
		return number <= UINT32_MAX;
	case SP_FIELD_I32:
		*(int32_t *)to = (int32_t)number;
		return (int64_t)number >= INT32_MIN && (int64_t)number <= INT32_MAX;
	default:
		*(uint64_t *)to = number;
		return true;
	}
}
