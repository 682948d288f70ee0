/* See recover.h. Files are read into memory, not mapped: nobody promises that they keep their length meanwhile. */
#include "audit/recover.h"
#include "audit/spool.h"
#include "util/cleanup.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define BATCH 4096
#define PATIENCE_MS 2000

/* A segment file found in the directory. */
struct found {
	struct sp_spool_name spool;
	uint64_t number;
	uint64_t age; /* of the spool: when the first of its segments that are left was made */
	char *file;
	int fd; /* locked; -1 if not ours to take */
};

struct list {
	struct found *items;
	size_t count;
};

/* A dead segment's bytes, to store from. */
struct dead {
	struct sp_source source;
	struct sp_reader reader;
	unsigned char *bytes;
	bool damaged;
};

struct recovery {
	struct sp_store *store;
	int directory;
	sp_recover_tell *tell;
	void *data;
};

static int list_segments(int directory, struct list *list, struct sp_error *e);
static bool lock_segment(int directory, struct found *found);
static int64_t recover_spool(struct recovery *recovery, struct found *segments, size_t count, struct sp_error *e);
static int64_t recover_segment(struct recovery *recovery, const struct found *segment, struct sp_position *position,
			       struct sp_error *e);
static int read_segment(const struct found *segment, struct dead *dead, struct sp_error *e);
static int next(struct sp_source *source, struct sp_record *record);

static void free_list(struct list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		free(list->items[i].file);
		sp_close_fd(&list->items[i].fd);
	}
	free(list->items);
}

static void free_dead(struct dead *dead)
{
	sp_reader_free(&dead->reader);
	free(dead->bytes);
}

static void close_store(struct sp_store **store)
{
	sp_store_close(*store);
}

static bool same_spool(const struct sp_spool_name *a, const struct sp_spool_name *b)
{
	return a->pid == b->pid && a->id == b->id;
}

int64_t sp_recover(struct sp_store *store, int directory, sp_recover_tell *tell, void *data, struct sp_error *e)
{
	struct recovery recovery = {.store = store, .directory = directory, .tell = tell, .data = data};
	sp_cleanup(free_list) struct list list = {0};
	int64_t total = 0;

	int ret = sp_store_forget_gone(store, directory, e);
	if (ret == 0)
		ret = list_segments(directory, &list, e);
	if (ret < 0)
		return ret;
	for (size_t i = 0, count; i < list.count; i += count) {
		for (count = 1; i + count < list.count; count++)
			if (!same_spool(&list.items[i].spool, &list.items[i + count].spool))
				break;
		int64_t taken = recover_spool(&recovery, &list.items[i], count, e);
		if (taken < 0)
			return taken;
		total += taken;
	}
	return total;
}

int64_t sp_recover_database(const char *path, sp_recover_tell *tell, void *data, struct sp_error *e)
{
	sp_cleanup(close_store) struct sp_store *store = NULL;
	sp_cleanup(free_list) struct list list = {0};

	cleanup_close int directory = sp_spool_directory(path, false, e);
	if (directory < 0)
		return directory == -ENOENT ? 0 : directory;
	int ret = list_segments(directory, &list, e);
	if (ret < 0 || list.count == 0)
		return ret;
	ret = sp_store_open(path, PATIENCE_MS, &store, e);
	if (ret < 0)
		return ret;
	return sp_recover(store, directory, tell, data, e);
}

static int in_order(const void *left, const void *right)
{
	const struct found *a = left, *b = right;

	/* Who came after a supervisor that was killed, and went on with its jobs, has their later records. */
	if (a->age != b->age)
		return a->age < b->age ? -1 : 1;
	if (!same_spool(&a->spool, &b->spool))
		return a->spool.pid != b->spool.pid ? (a->spool.pid < b->spool.pid ? -1 : 1)
						    : (a->spool.id < b->spool.id ? -1 : 1);
	return a->number < b->number ? -1 : a->number > b->number;
}

static int add_segment(struct list *list, const char *file)
{
	struct found found = {.fd = -1};

	if (!sp_segment_name_parse(file, &found.spool, &found.number))
		return 0;
	struct found *grown = reallocarray(list->items, list->count + 1, sizeof *grown);
	if (grown == NULL)
		return -ENOMEM;
	list->items = grown;
	found.file = strdup(file);
	if (found.file == NULL)
		return -ENOMEM;
	list->items[list->count++] = found;
	return 0;
}

/* 0 where it cannot be read or is no segment. */
static uint64_t read_age(int directory, const char *file)
{
	unsigned char header[SP_SEGMENT_HEADER];
	cleanup_close int fd = openat(directory, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	return fd >= 0 && pread(fd, header, sizeof header, 0) == sizeof header ? sp_segment_made(header) : 0;
}

/* The list is in order, but for ages. */
static void find_ages(int directory, struct list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		struct found *at = &list->items[i];

		at->age = i > 0 && same_spool(&at[-1].spool, &at->spool) ? at[-1].age : read_age(directory, at->file);
	}
}

static int list_segments(int directory, struct list *list, struct sp_error *e)
{
	cleanup_close int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_directory DIR *stream = fd < 0 ? NULL : fdopendir(fd);
	int ret = 0;

	if (stream == NULL)
		return sp_fail(e, errno, "cannot read the audit spool: %s", strerror(errno));
	(void)sp_steal_fd(&fd);
	for (struct dirent *entry; ret == 0 && (entry = readdir(stream)) != NULL;)
		ret = add_segment(list, entry->d_name);
	if (ret < 0)
		return sp_fail(e, -ret, "cannot read the audit spool: %s", strerror(-ret));
	if (list->count == 0)
		return 0;
	qsort(list->items, list->count, sizeof *list->items, in_order);
	find_ages(directory, list);
	qsort(list->items, list->count, sizeof *list->items, in_order);
	return 0;
}

/* In the order of the segments, stopping at the first that is held: its owner lives, or is just being torn down by the
 * kernel, and then the rest waits for the next time. */
static int64_t recover_spool(struct recovery *recovery, struct found *segments, size_t count, struct sp_error *e)
{
	char name[SP_SPOOL_NAME_SIZE];
	struct sp_position position = {0};
	int64_t total = 0;
	size_t locked = 0;

	while (locked < count && lock_segment(recovery->directory, &segments[locked]))
		locked++;
	if (locked == 0)
		return 0;
	sp_spool_name_format(&segments[0].spool, name);
	int ret = sp_store_position(recovery->store, name, &position, e);
	if (ret < 0)
		return ret;
	for (size_t i = 0; i < locked; i++) {
		int64_t taken = recover_segment(recovery, &segments[i], &position, e);
		if (taken < 0)
			return taken;
		total += taken;
	}
	if (locked < count)
		return total;
	ret = sp_store_forget(recovery->store, name, NULL, e);
	return ret < 0 ? ret : total;
}

/* False too when it is gone: whoever had the lock before us has dealt with it. */
static bool lock_segment(int directory, struct found *found)
{
	const int flags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
	cleanup_close int fd = openat(directory, found->file, O_RDONLY | flags);
	struct stat status;

	int ret = fd < 0 ? -1 : flock(fd, LOCK_EX | LOCK_NB);
	/* NFS wants to write where it locks, flock(2). Not the others: who watches for IN_CLOSE_WRITE would see
	 * ours. */
	if (ret < 0 && errno == EBADF) {
		sp_close_fd(&fd);
		fd = openat(directory, found->file, O_RDWR | flags);
		ret = fd < 0 ? -1 : flock(fd, LOCK_EX | LOCK_NB);
	}
	if (ret < 0 || fstat(fd, &status) < 0)
		return false;
	if (status.st_nlink == 0 || !S_ISREG(status.st_mode))
		return false;
	found->fd = sp_steal_fd(&fd);
	return true;
}

static int64_t recover_segment(struct recovery *recovery, const struct found *segment, struct sp_position *position,
			       struct sp_error *e)
{
	sp_cleanup(free_dead) struct dead dead = {0};
	char note[NAME_MAX + 128], corrupt[NAME_MAX + 1];
	int64_t total = 0;
	int taken;

	if (segment->number < position->segment) {
		(void)unlinkat(recovery->directory, segment->file, 0);
		return 0;
	}
	int ret = read_segment(segment, &dead, e);
	if (ret < 0)
		return ret;
	dead.source.position = (struct sp_position){segment->number, SP_SEGMENT_HEADER};
	/* The position comes from a file, too. From the beginning is always right: what is stored already stays as
	 * it is. */
	if (segment->number == position->segment && position->offset > SP_SEGMENT_HEADER && position->offset % 8 == 0 &&
	    position->offset <= dead.reader.size)
		dead.source.position.offset = position->offset;
	while ((taken = sp_store_take(recovery->store, &dead.source, BATCH, e)) > 0)
		total += taken;
	if (taken < 0)
		return taken;
	if (!dead.damaged) {
		(void)unlinkat(recovery->directory, segment->file, 0);
		return total;
	}
	(void)snprintf(corrupt, sizeof corrupt, "%s.corrupt", segment->file);
	if (renameat(recovery->directory, segment->file, recovery->directory, corrupt) < 0)
		return sp_fail(e, errno, "cannot rename the damaged audit spool %s: %s", segment->file,
			       strerror(errno));
	(void)snprintf(note, sizeof note, "audit spool %s is damaged: %jd records could be read; kept as %s",
		       segment->file, (intmax_t)total, corrupt);
	if (recovery->tell != NULL)
		recovery->tell(recovery->data, note);
	ret = sp_store_forget(recovery->store, dead.source.name, note, e);
	return ret < 0 ? ret : total;
}

static int read_segment(const struct found *segment, struct dead *dead, struct sp_error *e)
{
	struct stat status;
	size_t done = 0;

	if (fstat(segment->fd, &status) < 0)
		return sp_fail(e, errno, "cannot read the audit spool %s: %s", segment->file, strerror(errno));
	size_t size = status.st_size < (off_t)SP_SEGMENT_SIZE ? (size_t)status.st_size : SP_SEGMENT_SIZE;
	/* Some room behind it, so that a header can be read from an empty file. */
	dead->bytes = calloc(1, size + SP_SEGMENT_HEADER);
	if (dead->bytes == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	while (done < size) {
		ssize_t got = pread(segment->fd, dead->bytes + done, size - done, (off_t)done);
		if (got < 0 && errno != EINTR)
			return sp_fail(e, errno, "cannot read the audit spool %s: %s", segment->file, strerror(errno));
		if (got == 0)
			break;
		done += got > 0 ? (size_t)got : 0;
	}
	dead->source.next = next;
	sp_spool_name_format(&segment->spool, dead->source.name);
	dead->damaged = sp_segment_check_header(dead->bytes, (size_t)status.st_size, &segment->spool,
						segment->number) == SP_HEADER_BAD;
	dead->reader = (struct sp_reader){
		.base = dead->bytes,
		.size = size / 8 * 8,
		.seed = sp_segment_seed(&segment->spool, segment->number),
	};
	return 0;
}

/* A record that is not there ends the segment, unless good ones follow it: then something was lost in between, as a
 * power failure may do. */
static int next(struct sp_source *source, struct sp_record *record)
{
	struct dead *dead = (struct dead *)((char *)source - offsetof(struct dead, source));

	dead->reader.offset = source->position.offset;
	for (;;) {
		int ret = sp_reader_next(&dead->reader, record);
		if (ret > 0 && record->kind == SP_RECORD_NEXT)
			return 0;
		if (ret > 0 || (ret < 0 && ret != -EBADMSG)) {
			source->position.offset = dead->reader.offset;
			return ret;
		}
		dead->damaged |= ret < 0;
		if (!sp_reader_resync(&dead->reader))
			return 0;
		dead->damaged = true;
	}
}
