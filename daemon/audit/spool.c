/* See spool.h. Segments are linked from the oldest to the tail; only the appending thread moves the tail, only the
 * consumer the oldest, and the mutex is for creating segments, which both may do. */
#include "audit/spool.h"
#include "util/cleanup.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

/* How far ahead of the last record pages are mapped: what a loop may append while the consumer gathers a batch, going by
 * what it appended during the one before. A job that writes little is not made to clear, and to give back, what it does
 * not need. */
#define AHEAD_MAX (1u << 20)
#define AHEAD_TIMES 4

struct sp_spool {
	int directory;
	struct sp_spool_name name;

	struct sp_segment *tail; /* appending thread's */
	_Atomic(uint64_t) tail_number; /* it no longer touches segments before this one */

	pthread_mutex_t lock;
	struct sp_segment *spare; /* under lock: the one after the tail, not yet linked */

	struct sp_segment *oldest, *reading; /* consumer's */
	struct sp_reader reader;
	struct sp_source source;
	size_t prepared; /* how much was written when it was last prepared, in the segment of that time */
};

static int next(struct sp_source *source, struct sp_record *record);
static void read_at(struct sp_spool *spool, const struct sp_position *position);
static int advance(struct sp_spool *spool);
static void drop_spare(struct sp_spool *spool);

int sp_spool_directory(const char *database, bool create, struct sp_error *e)
{
	cleanup_free char *path = NULL;

	if (asprintf(&path, "%s.spool", database) < 0)
		return sp_fail(e, ENOMEM, "out of memory");
	if (create && mkdir(path, 0700) < 0 && errno != EEXIST)
		return sp_fail(e, errno, "cannot create the audit spool %s: %s", path, strerror(errno));
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return sp_fail(e, errno, "cannot open the audit spool %s: %s", path, strerror(errno));
	return fd;
}

int sp_spool_create(int directory, struct sp_spool **out, struct sp_error *e)
{
	cleanup_free struct sp_spool *spool = calloc(1, sizeof *spool);

	if (spool == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	spool->directory = directory;
	spool->name.pid = getpid();
	if (getrandom(&spool->name.id, sizeof spool->name.id, 0) != sizeof spool->name.id)
		return sp_fail(e, EIO, "cannot get random bytes: %s", strerror(errno));
	int ret = sp_segment_create(directory, &spool->name, 0, SP_SEGMENT_FIRST_SIZE, &spool->tail, e);
	if (ret < 0)
		return ret;
	(void)pthread_mutex_init(&spool->lock, NULL);
	spool->oldest = spool->tail;
	spool->source.next = next;
	spool->source.position.offset = SP_SEGMENT_HEADER;
	sp_spool_name_format(&spool->name, spool->source.name);
	*out = sp_steal_ptr(spool);
	return 0;
}

void sp_spool_free(struct sp_spool *spool)
{
	if (spool == NULL)
		return;
	drop_spare(spool);
	for (struct sp_segment *segment = spool->oldest, *following; segment != NULL; segment = following) {
		following = atomic_load(&segment->next);
		sp_segment_free(segment);
	}
	sp_reader_free(&spool->reader);
	(void)pthread_mutex_destroy(&spool->lock);
	free(spool);
}

int sp_spool_append(struct sp_spool *spool, enum sp_record_kind kind, const void *record)
{
	size_t size = sp_record_size(kind, record);

	if (size > SP_AUDIT_RECORD_MAX)
		return -EMSGSIZE;
	if (!sp_segment_has_room(spool->tail, size)) {
		int ret = advance(spool);
		if (ret < 0)
			return ret;
	}
	sp_segment_append(spool->tail, kind, record, size);
	return 0;
}

/* The next segment is there before this one is ended: where there is no room for it, smaller records may still fit. */
static int advance(struct sp_spool *spool)
{
	struct sp_segment *tail = spool->tail;
	int ret = 0;

	(void)pthread_mutex_lock(&spool->lock);
	if (spool->spare == NULL)
		ret = sp_segment_create(spool->directory, &spool->name, tail->number + 1, SP_SEGMENT_SIZE,
					&spool->spare, NULL);
	struct sp_segment *following = ret == 0 ? sp_steal_ptr(spool->spare) : NULL;
	if (following != NULL)
		atomic_store_explicit(&tail->next, following, memory_order_release);
	(void)pthread_mutex_unlock(&spool->lock);
	if (following == NULL)
		return -ENOSPC;
	sp_segment_append(tail, SP_RECORD_NEXT, NULL, 0);
	spool->tail = following;
	atomic_store_explicit(&spool->tail_number, following->number, memory_order_release);
	return 0;
}

struct sp_source *sp_spool_source(struct sp_spool *spool)
{
	return &spool->source;
}

static int next(struct sp_source *source, struct sp_record *record)
{
	struct sp_spool *spool = (struct sp_spool *)((char *)source - offsetof(struct sp_spool, source));

	for (;;) {
		read_at(spool, &source->position);
		int ret = sp_reader_next(&spool->reader, record);
		if (ret <= 0)
			return ret;
		source->position.offset = spool->reader.offset;
		if (record->kind != SP_RECORD_NEXT)
			return 1;
		if (atomic_load_explicit(&spool->reading->next, memory_order_acquire) == NULL)
			return -EBADMSG;
		source->position = (struct sp_position){spool->reading->number + 1, SP_SEGMENT_HEADER};
	}
}

static void read_at(struct sp_spool *spool, const struct sp_position *position)
{
	if (spool->reading == NULL || spool->reading->number != position->segment) {
		struct sp_segment *segment = spool->oldest;
		while (segment->number != position->segment)
			segment = atomic_load_explicit(&segment->next, memory_order_acquire);
		spool->reading = segment;
		spool->reader.base = segment->base;
		spool->reader.size = segment->size;
		spool->reader.seed = sp_segment_seed(&spool->name, segment->number);
	}
	spool->reader.offset = position->offset;
}

void sp_spool_release(struct sp_spool *spool)
{
	uint64_t in_use = atomic_load_explicit(&spool->tail_number, memory_order_acquire);

	while (spool->oldest->number < spool->source.position.segment && spool->oldest->number < in_use) {
		struct sp_segment *done = spool->oldest;
		spool->oldest = atomic_load_explicit(&done->next, memory_order_acquire);
		if (spool->reading == done)
			spool->reading = NULL;
		sp_segment_remove(done, spool->directory);
		sp_segment_free(done);
	}
}

void sp_spool_prepare(struct sp_spool *spool)
{
	(void)pthread_mutex_lock(&spool->lock);
	struct sp_segment *last = spool->oldest, *following;
	while ((following = atomic_load_explicit(&last->next, memory_order_acquire)) != NULL)
		last = following;
	bool half_full = atomic_load_explicit(&last->written, memory_order_relaxed) > last->size / 2;
	/* No room is no error yet: the appending thread will try for itself. */
	if (half_full && spool->spare == NULL)
		(void)sp_segment_create(spool->directory, &spool->name, last->number + 1, SP_SEGMENT_SIZE,
					&spool->spare, NULL);
	(void)pthread_mutex_unlock(&spool->lock);
	size_t written = atomic_load_explicit(&last->written, memory_order_relaxed);
	size_t ahead = written > spool->prepared ? (written - spool->prepared) * AHEAD_TIMES : written;
	spool->prepared = written;
	sp_segment_populate(last, ahead < AHEAD_MAX ? ahead : AHEAD_MAX);
}

void sp_spool_remove(struct sp_spool *spool)
{
	drop_spare(spool);
	for (struct sp_segment *segment = spool->oldest; segment != NULL; segment = atomic_load(&segment->next))
		sp_segment_remove(segment, spool->directory);
}

static void drop_spare(struct sp_spool *spool)
{
	if (spool->spare == NULL)
		return;
	sp_segment_remove(spool->spare, spool->directory);
	sp_segment_free(sp_steal_ptr(spool->spare));
}
