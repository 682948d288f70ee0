/* See segment.h. */
#include "audit/segment.h"
#include "util/cleanup.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define FIRST_POPULATED (8u << 10)
#define TAG 0xffffffu

struct header {
	char magic[8]; /* tells format and byte order */
	uint64_t order;
	uint64_t id, number, size;
	uint64_t made; /* CLOCK_REALTIME in nanoseconds; 0: by a version that did not say */
};

_Static_assert(sizeof(struct header) <= SP_SEGMENT_HEADER, "the header has its room");

static const struct header header_template = {.magic = "SPSPOOL1", .order = 0x0102030405060708};

/* length: of the whole record, head included, a multiple of 8; 0: not committed. tag: a checksum of the head alone,
 * so that whoever looks for the next good record in damaged bytes need not believe the lengths he finds there. */
struct head {
	uint32_t length;
	uint32_t kind : 8;
	uint32_t tag : 24;
	uint64_t checksum;
};

_Static_assert(sizeof(struct head) == SP_RECORD_HEAD, "no padding");

static int create_locked(int directory, const char *name, struct sp_error *e);
static int reserve(int fd, size_t size);
static int write_zeros(int fd, size_t size);
static uint64_t mix(uint64_t sum, uint64_t word);
static uint64_t head_sum(uint64_t seed, size_t offset, uint32_t length, uint32_t kind);
static uint64_t checksum(uint64_t seed, const unsigned char *data, size_t size);
static uint32_t load_length(const unsigned char *at);
static int check(struct sp_reader *reader, struct sp_record *record);

void sp_spool_name_format(const struct sp_spool_name *name, char text[static SP_SPOOL_NAME_SIZE])
{
	(void)snprintf(text, SP_SPOOL_NAME_SIZE, "%d-%016" PRIx64, name->pid, name->id);
}

static void format_file_name(const struct sp_spool_name *spool, uint64_t number, char text[static NAME_MAX])
{
	char name[SP_SPOOL_NAME_SIZE];

	sp_spool_name_format(spool, name);
	(void)snprintf(text, NAME_MAX, "%s.%" PRIu64, name, number);
}

bool sp_segment_name_parse(const char *text, struct sp_spool_name *name, uint64_t *number)
{
	char again[NAME_MAX];

	if (sscanf(text, "%d-%16" SCNx64 ".%" SCNu64, &name->pid, &name->id, number) != 3)
		return false;
	format_file_name(name, *number, again);
	return name->pid > 0 && strcmp(text, again) == 0;
}

static uint64_t now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

int sp_segment_create(int directory, const struct sp_spool_name *spool, uint64_t number, size_t size,
		      struct sp_segment **out, struct sp_error *e)
{
	char name[NAME_MAX];

	format_file_name(spool, number, name);
	cleanup_free struct sp_segment *segment = calloc(1, sizeof *segment);
	if (segment == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	cleanup_close int fd = create_locked(directory, name, e);
	if (fd < 0)
		return fd;
	int ret = reserve(fd, size);
	void *base = ret < 0 ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED) {
		ret = ret < 0 ? ret : -errno;
		(void)unlinkat(directory, name, 0);
		return sp_fail(e, -ret, "cannot reserve %zu bytes for the audit spool: %s", size, strerror(-ret));
	}
	/* Page by page: where the file system reads ahead, the first touch would take and clear 2 MiB, for a
	 * millisecond. */
	(void)madvise(base, size, MADV_RANDOM);
	/* A child between fork and execve has no use for it, and fork() would copy its page tables. */
	(void)madvise(base, size, MADV_DONTFORK);

	*segment = (struct sp_segment){
		.fd = sp_steal_fd(&fd),
		.base = base,
		.size = size,
		.spool = *spool,
		.number = number,
		.end = SP_SEGMENT_HEADER,
		.written = SP_SEGMENT_HEADER,
	};
	sp_segment_populate(segment, FIRST_POPULATED);
	struct header *header = base;
	*header = header_template;
	header->id = spool->id;
	header->number = number;
	header->size = size;
	header->made = now();
	*out = sp_steal_ptr(segment);
	return 0;
}

/* Between creation and lock, somebody who takes in dead spools may have taken the empty file for one and removed it. */
static int create_locked(int directory, const char *name, struct sp_error *e)
{
	for (;;) {
		cleanup_close int fd =
			openat(directory, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd < 0)
			return sp_fail(e, errno, "cannot create the audit spool's %s: %s", name, strerror(errno));
		int ret;
		while ((ret = flock(fd, LOCK_EX)) < 0 && errno == EINTR)
			;
		struct stat status;
		if (ret < 0 || fstat(fd, &status) < 0) {
			ret = -errno;
			(void)unlinkat(directory, name, 0);
			return sp_fail(e, -ret, "cannot lock the audit spool's %s: %s", name, strerror(-ret));
		}
		if (status.st_nlink > 0)
			return sp_steal_fd(&fd);
	}
}

static int reserve(int fd, size_t size)
{
	struct rlimit limit;
	int ret;

	/* Asked beforehand: going over it would also raise SIGXFSZ, which kills. */
	if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < size)
		return -ENOSPC;
	while ((ret = fallocate(fd, 0, 0, (off_t)size)) < 0 && errno == EINTR)
		;
	if (ret == 0)
		return 0;
	if (errno == EOPNOTSUPP || errno == ENOSYS)
		return write_zeros(fd, size);
	return errno == EDQUOT || errno == EFBIG ? -ENOSPC : -errno;
}

static int write_zeros(int fd, size_t size)
{
	static const char zeros[64u << 10];

	for (size_t done = 0; done < size;) {
		size_t part = size - done < sizeof zeros ? size - done : sizeof zeros;
		ssize_t written = pwrite(fd, zeros, part, (off_t)done);
		if (written < 0 && errno != EINTR)
			return errno == EDQUOT || errno == EFBIG ? -ENOSPC : -errno;
		done += written > 0 ? (size_t)written : 0;
	}
	return 0;
}

void sp_segment_free(struct sp_segment *segment)
{
	if (segment == NULL)
		return;
	(void)munmap(segment->base, segment->size);
	(void)close(segment->fd);
	free(segment);
}

void sp_segment_remove(const struct sp_segment *segment, int directory)
{
	char name[NAME_MAX];

	format_file_name(&segment->spool, segment->number, name);
	(void)unlinkat(directory, name, 0);
}

bool sp_segment_has_room(const struct sp_segment *segment, size_t size)
{
	return size + 2 * SP_RECORD_HEAD <= segment->size - segment->end;
}

void sp_segment_append(struct sp_segment *segment, enum sp_record_kind kind, const void *record, size_t size)
{
	unsigned char *at = segment->base + segment->end;
	struct head head = {.length = (uint32_t)(SP_RECORD_HEAD + size), .kind = kind};
	uint64_t sum = head_sum(sp_segment_seed(&segment->spool, segment->number), segment->end, head.length, kind);

	sp_record_encode(kind, record, at + SP_RECORD_HEAD);
	head.tag = sum & TAG;
	head.checksum = checksum(sum, at + SP_RECORD_HEAD, size);
	memcpy(at + sizeof head.length, (const char *)&head + sizeof head.length, sizeof head - sizeof head.length);
	__atomic_store_n((uint32_t *)at, head.length, __ATOMIC_RELEASE);
	segment->end += head.length;
	atomic_store_explicit(&segment->written, segment->end, memory_order_relaxed);
}

void sp_segment_populate(struct sp_segment *segment, size_t ahead)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t until = atomic_load_explicit(&segment->written, memory_order_relaxed) + ahead;

	until = until < segment->size ? until / page * page : segment->size;
	if (until <= segment->populated)
		return;
	/* A hint: where it does not work, the append takes the faults. */
	(void)madvise(segment->base + segment->populated, until - segment->populated, MADV_POPULATE_WRITE);
	segment->populated = until;
}

uint64_t sp_segment_seed(const struct sp_spool_name *spool, uint64_t number)
{
	return spool->id ^ number * UINT64_C(0x9e3779b97f4a7c15);
}

void sp_reader_free(struct sp_reader *reader)
{
	free(reader->copy);
	reader->copy = NULL;
	reader->capacity = 0;
}

bool sp_reader_has_record(const struct sp_reader *reader)
{
	return reader->size >= SP_RECORD_HEAD && reader->offset <= reader->size - SP_RECORD_HEAD &&
	       load_length(reader->base + reader->offset) != 0;
}

int sp_reader_next(struct sp_reader *reader, struct sp_record *record)
{
	if (!sp_reader_has_record(reader))
		return 0;
	int ret = check(reader, record);
	if (ret > 0)
		reader->offset += (size_t)ret;
	return ret > 0 ? 1 : ret;
}

bool sp_reader_resync(struct sp_reader *reader)
{
	struct sp_record record;

	while (reader->size >= SP_RECORD_HEAD && reader->offset < reader->size - SP_RECORD_HEAD) {
		reader->offset += 8;
		if (sp_reader_has_record(reader) && check(reader, &record) > 0)
			return true;
	}
	reader->offset = reader->size;
	return false;
}

enum sp_header sp_segment_check_header(const unsigned char *base, size_t size, const struct sp_spool_name *spool,
				       uint64_t number)
{
	struct header header = {0}, expected = header_template;

	memcpy(&header, base, size < sizeof header ? size : sizeof header);
	if (memcmp(&header, &(struct header){0}, sizeof header) == 0)
		return SP_HEADER_EMPTY;
	expected.id = spool->id;
	expected.number = number;
	expected.size = size;
	return memcmp(&header, &expected, offsetof(struct header, made)) == 0 ? SP_HEADER_GOOD : SP_HEADER_BAD;
}

uint64_t sp_segment_made(const unsigned char base[static SP_SEGMENT_HEADER])
{
	struct header header;

	memcpy(&header, base, sizeof header);
	return header.made;
}

/* The length of the record at the offset, having decoded it; -EBADMSG; -ENOMEM. */
static int check(struct sp_reader *reader, struct sp_record *record)
{
	const unsigned char *at = reader->base + reader->offset;
	struct head head;

	uint32_t length = load_length(at);
	memcpy(&head, at, sizeof head);
	uint64_t sum = head_sum(reader->seed, reader->offset, length, head.kind);
	if (length < sizeof head || length % 8 != 0 || length > reader->size - reader->offset ||
	    head.tag != (sum & TAG))
		return -EBADMSG;
	if (length > reader->capacity) {
		unsigned char *grown = realloc(reader->copy, length);
		if (grown == NULL)
			return -ENOMEM;
		reader->copy = grown;
		reader->capacity = length;
	}
	memcpy(reader->copy, at + sizeof head, length - sizeof head);
	if (checksum(sum, reader->copy, length - sizeof head) != head.checksum)
		return -EBADMSG;
	int ret = sp_record_decode(head.kind, reader->copy, length - sizeof head, record);
	return ret < 0 ? ret : (int)length;
}

static uint32_t load_length(const unsigned char *at)
{
	return __atomic_load_n((const uint32_t *)at, __ATOMIC_ACQUIRE);
}

/* A bijection of sum and of word, so that any change within one word is found for certain, and others with all but
 * 2^-64. Not against forgery: who can write to the file can do worse. */
static uint64_t mix(uint64_t sum, uint64_t word)
{
	sum = (sum ^ word) * UINT64_C(0x9fb21c651e98df25);
	return sum ^ sum >> 32;
}

static uint64_t head_sum(uint64_t seed, size_t offset, uint32_t length, uint32_t kind)
{
	return mix(mix(seed, offset), (uint64_t)length << 32 | kind);
}

/* Four lanes, so that a long argv does not wait for the multiplier. */
static uint64_t checksum(uint64_t seed, const unsigned char *data, size_t size)
{
	uint64_t words[4], lanes[4] = {seed, seed + 1, seed + 2, seed + 3};
	uint64_t sum = seed;

	for (; size >= sizeof words; data += sizeof words, size -= sizeof words) {
		memcpy(words, data, sizeof words);
		for (int i = 0; i < 4; i++)
			lanes[i] = mix(lanes[i], words[i]);
	}
	memcpy(words, data, size);
	for (size_t i = 0; i < size / sizeof *words; i++)
		lanes[i] = mix(lanes[i], words[i]);
	for (int i = 0; i < 4; i++)
		sum = mix(sum, lanes[i]);
	return sum;
}
