/* One segment: a file of the spool, a header and then records, only ever appended to.
 *
 * A record is committed by storing its length word last, so a process that dies in the middle of it leaves no
 * record. Each record carries a checksum over its contents, its place and the spool's random id, against what a
 * power loss leaves behind and against other people's bytes. The file is reserved whole beforehand, so that a store
 * to the mapping cannot hit a full disk (SIGBUS). Its owner holds an flock on it for life: whoever gets the lock
 * knows that the owner is dead. */
#ifndef SP_AUDIT_SEGMENT_H
#define SP_AUDIT_SEGMENT_H

#include "audit/record.h"

/* A spool is known by its owner's pid and 64 random bits; segment n is the file "PID-ID.n". */
#define SP_SPOOL_NAME_SIZE 40

struct sp_spool_name {
	pid_t pid;
	uint64_t id;
};

void sp_spool_name_format(const struct sp_spool_name *name, char text[static SP_SPOOL_NAME_SIZE]);

/* True if text is the file name of a segment, as this program writes it. */
bool sp_segment_name_parse(const char *text, struct sp_spool_name *name, uint64_t *number);

#define SP_SEGMENT_HEADER 64u

/* The end mark of a segment and the head of a record have this size; every record begins with one. */
#define SP_RECORD_HEAD 16u

/* Any record fits in an empty segment, the first one excepted: most jobs write little, and what is reserved takes time to
 * reserve and to give back. */
#define SP_SEGMENT_SIZE (SP_AUDIT_RECORD_MAX + 4096u)
#define SP_SEGMENT_FIRST_SIZE (256u << 10)

struct sp_segment {
	int fd; /* locked */
	unsigned char *base;
	size_t size;
	struct sp_spool_name spool;
	uint64_t number;
	size_t end; /* where the next record goes; the appending thread's */
	_Atomic(size_t) written; /* the same, for others: a hint */
	size_t populated; /* pages before this are mapped; the consumer's */
	_Atomic(struct sp_segment *) next; /* set before SP_RECORD_NEXT is committed */
};

/* Creates, locks, reserves and maps a segment. 0, or -errno with a sentence: -ENOSPC also for quota and
 * RLIMIT_FSIZE. */
[[nodiscard]] int sp_segment_create(int directory, const struct sp_spool_name *spool, uint64_t number, size_t size,
				    struct sp_segment **out, struct sp_error *e);

/* Unmaps and closes; the file stays unless it was removed. NULL is fine. */
void sp_segment_free(struct sp_segment *segment);

/* Removes the file; to be done before the lock is given up by sp_segment_free(). */
void sp_segment_remove(const struct sp_segment *segment, int directory);

/* True if a record of size encoded bytes fits and the end mark after it. */
bool sp_segment_has_room(const struct sp_segment *segment, size_t size);

/* Appends a record of sp_record_size() bytes; there must be room. Appending thread only. */
void sp_segment_append(struct sp_segment *segment, enum sp_record_kind kind, const void *record, size_t size);

/* Makes sure that the pages up to `ahead` bytes after the last record are there, so that an append does not fault. One
 * thread. */
void sp_segment_populate(struct sp_segment *segment, size_t ahead);

/* What is being read: a segment in memory, mapped (live) or read from a dead process's file. The records' bytes are
 * copied before they are looked at: somebody else may write to a mapped file. */
struct sp_reader {
	const unsigned char *base;
	size_t size;
	uint64_t seed; /* of the checksum: sp_segment_seed() */
	size_t offset; /* of the next record */
	unsigned char *copy; /* the current record's bytes; owned */
	size_t capacity;
};

uint64_t sp_segment_seed(const struct sp_spool_name *spool, uint64_t number);

void sp_reader_free(struct sp_reader *reader);

/* True if a committed record is at the offset. */
bool sp_reader_has_record(const struct sp_reader *reader);

/* The next record: 1 and *record, valid until the next call; 0 when there is none (yet); -EBADMSG when the bytes
 * there are none (the offset stays), -ENOMEM. */
[[nodiscard]] int sp_reader_next(struct sp_reader *reader, struct sp_record *record);

/* After 0 or -EBADMSG on a dead segment: moves the offset to the next place that holds a good record. False: there is
 * none, the offset is then at the end. */
bool sp_reader_resync(struct sp_reader *reader);

enum sp_header {
	SP_HEADER_GOOD,
	SP_HEADER_EMPTY, /* all zero, or nothing there: its owner died before writing it */
	SP_HEADER_BAD, /* of another segment, cut off, or no segment at all */
};

/* Judges a file of size bytes, of which the first SP_SEGMENT_HEADER (or as many as there are) are given. */
enum sp_header sp_segment_check_header(const unsigned char *base, size_t size, const struct sp_spool_name *spool,
				       uint64_t number);

/* When it was made, by what its header says: only for an order. 0 where it does not say. */
uint64_t sp_segment_made(const unsigned char base[static SP_SEGMENT_HEADER]);

#endif
