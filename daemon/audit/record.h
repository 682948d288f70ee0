/* Audit records as bytes: how each kind of record is laid out in the spool.
 *
 * One table a kind says which field stands where; encoding, decoding and the store's binding all follow it, so a new
 * field is one line here, one in record.c and one in the schema. Numbers take 8 bytes in the machine's own order, bytes
 * and text are preceded by their length and padded to 8. Any thread. */
#ifndef SP_AUDIT_RECORD_H
#define SP_AUDIT_RECORD_H

#include "audit/audit.h"

/* Written to disk: values are never reused. */
enum sp_record_kind {
	SP_RECORD_NEXT = 1, /* nothing more in this segment, the next one goes on */
	SP_RECORD_JOB,
	SP_RECORD_PROCESS,
	SP_RECORD_EXEC,
	SP_RECORD_RESULT,
	SP_RECORD_EXIT,
	SP_RECORD_JOB_END,
	SP_RECORD_LAUNCH,
	SP_RECORD_POLICY,
	SP_RECORD_RULE,
	SP_RECORD_KINDS,
};

struct sp_record {
	enum sp_record_kind kind;
	union {
		struct sp_audit_job job;
		struct sp_audit_process process;
		struct sp_audit_exec exec;
		struct sp_audit_result result;
		struct sp_audit_exit exit;
		struct sp_audit_job_end job_end;
		struct sp_audit_launch launch;
		struct sp_audit_policy policy;
		struct sp_audit_rule rule;
	};
};

enum sp_field_type {
	SP_FIELD_U64,
	SP_FIELD_I64,
	SP_FIELD_U32,
	SP_FIELD_I32,
	SP_FIELD_TEXT, /* const char *, may be NULL */
	SP_FIELD_BYTES, /* struct sp_bytes */
};

struct sp_field {
	enum sp_field_type type;
	size_t offset; /* in the kind's struct */
};

/* The fields of a kind in their order; the first is always the key of the job. SP_RECORD_NEXT has none. */
const struct sp_field *sp_record_fields(enum sp_record_kind kind, size_t *count);

/* The encoded size of the kind's struct at record: a multiple of 8. */
size_t sp_record_size(enum sp_record_kind kind, const void *record);

/* Writes exactly that many bytes. */
void sp_record_encode(enum sp_record_kind kind, const void *record, unsigned char *to);

/* Reads size bytes of the kind; text and bytes in *record point into from. 0, or -EBADMSG when the bytes are no such
 * record: nothing in *record may be used then. */
[[nodiscard]] int sp_record_decode(enum sp_record_kind kind, const unsigned char *from, size_t size,
				   struct sp_record *record);

#endif
