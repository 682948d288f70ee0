/* See memory.h. The usual exec costs two process_vm_readv: path and argv pointers, then all strings. */
#include "inspect/memory.h"

#include "util/cleanup.h"
#include "util/kernel.h"
#include "util/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

enum { PAGE = 4096, BATCH = 256, BATCH_BYTES = 256 << 10, LOOP_STRINGS_MAX = 4096 };

static int find_range(struct sp_memory *m, uint64_t address, const struct sp_memory_range **out);
static int read_path_and_pointers(struct sp_memory *m, uint64_t path_address, uint64_t argv_address, char *path,
				  struct sp_strings *argv, bool *argv_complete);
static int read_pointers(struct sp_memory *m, uint64_t address, struct sp_strings *out);
static int read_strings(struct sp_memory *m, struct sp_strings *out);

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

int sp_memory_open(struct sp_memory *m, pid_t tid, bool may_block, struct sp_filesystems *fs)
{
	char path[SP_PROC_NAME];

	*m = (struct sp_memory){.tid = tid, .may_block = may_block, .filesystems = fs};
	m->maps = open(sp_proc_task(path, tid, "maps"), O_RDONLY | O_CLOEXEC);
	return m->maps >= 0 ? 0 : errno == ENOENT ? -ESRCH : -errno;
}

void sp_memory_close(struct sp_memory *m)
{
	sp_close_fd(&m->maps);
	m->maps = -1;
}

int sp_memory_read_exec(struct sp_memory *m, uint64_t path_address, uint64_t argv_address, uint64_t envp_address,
			char path[static SP_PATH_MAX], struct sp_strings *argv, struct sp_strings *envp)
{
	bool argv_complete = false;

	sp_strings_clear(argv);
	sp_strings_clear(envp);
	int err = read_path_and_pointers(m, path_address, argv_address, path, argv, &argv_complete);
	if (err == 0 && !argv_complete)
		err = read_pointers(m, argv_address + argv->count * sizeof(uint64_t), argv);
	if (err == 0)
		err = read_strings(m, argv);
	if (err != 0 || envp_address == 0)
		return err;
	err = read_pointers(m, envp_address, envp);
	return err != 0 ? err : read_strings(m, envp);
}

/* --- strings --- */

void sp_strings_free(struct sp_strings *s)
{
	free(s->data);
	free(s->item);
	free(s->pointer);
	*s = (struct sp_strings){0};
}

void sp_strings_clear(struct sp_strings *s)
{
	s->size = s->count = 0;
}

/* Makes room for one more element or for `needed` elements of a growing array. */
static int reserve(void **array, size_t *capacity, size_t needed, size_t element)
{
	if (needed <= *capacity)
		return 0;
	size_t larger = *capacity != 0 ? *capacity : 64;
	while (larger < needed)
		larger *= 2;
	void *grown = realloc(*array, larger * element);
	if (grown == NULL)
		return -ENOMEM;
	*array = grown;
	*capacity = larger;
	return 0;
}

int sp_strings_append(struct sp_strings *s, const char *text, size_t length)
{
	int err = reserve((void **)&s->data, &s->capacity, s->size + length + 1, 1);

	if (err != 0)
		return err;
	memcpy(s->data + s->size, text, length);
	s->data[s->size + length] = '\0';
	s->size += length + 1;
	s->count++;
	return 0;
}

int sp_strings_finish(struct sp_strings *s)
{
	int err = reserve((void **)&s->item, &s->item_capacity, s->count + 1, sizeof *s->item);

	if (err != 0)
		return err;
	const char *at = s->data;
	for (size_t i = 0; i < s->count; i++) {
		s->item[i] = at;
		at += strlen(at) + 1;
	}
	s->item[s->count] = NULL;
	return 0;
}

/* --- mappings --- */

static const struct sp_memory_range *remember(struct sp_memory *m, const struct sp_memory_range *range)
{
	const unsigned slots = sizeof m->range / sizeof *m->range;
	unsigned at = m->ranges < slots ? m->ranges++ : m->next++ % slots;

	m->range[at] = *range;
	return &m->range[at];
}

/* Before 6.11: the text, line by line, up to the one that is asked for. */
static int find_in_text(struct sp_memory *m, uint64_t address, struct sp_memory_range *out, dev_t *device,
			uint64_t *inode)
{
	char path[SP_PROC_NAME];
	cleanup_free char *line = NULL;
	size_t capacity = 0;
	cleanup_file FILE *f = fopen(sp_proc_task(path, m->tid, "maps"), "re");

	while (f != NULL && getline(&line, &capacity, f) >= 0) {
		unsigned long start, end, number;
		unsigned major_number, minor_number;
		char rights[8];

		if (sscanf(line, "%lx-%lx %7s %*s %x:%x %lu", &start, &end, rights, &major_number, &minor_number,
			   &number) != 6 ||
		    address < start || address >= end)
			continue;
		*out = (struct sp_memory_range){.start = start, .end = end, .shared = rights[3] == 's'};
		*device = makedev(major_number, minor_number);
		*inode = number;
		return 0;
	}
	return f != NULL ? -EFAULT : -errno;
}

static int query(struct sp_memory *m, uint64_t address, struct sp_memory_range *out, dev_t *device, uint64_t *inode)
{
	struct procmap_query q = {.size = sizeof q, .query_addr = address};

	if (ioctl(m->maps, PROCMAP_QUERY, &q) != 0) {
		if (errno == ENOTTY)
			return find_in_text(m, address, out, device, inode);
		return errno == ENOENT ? -EFAULT : -errno;
	}
	*out = (struct sp_memory_range){
		.start = q.vma_start, .end = q.vma_end, .shared = (q.vma_flags & PROCMAP_QUERY_VMA_SHARED) != 0};
	*device = makedev(q.dev_major, q.dev_minor);
	*inode = q.inode;
	return 0;
}

/* The mapping around an address. 0; -EFAULT: none; -EAGAIN: it may block and we may not. */
static int find_range(struct sp_memory *m, uint64_t address, const struct sp_memory_range **out)
{
	const struct sp_memory_range *found = NULL;

	for (unsigned i = 0; i < m->ranges && found == NULL; i++)
		if (address >= m->range[i].start && address < m->range[i].end)
			found = &m->range[i];
	if (found == NULL) {
		struct sp_memory_range range;
		dev_t device = 0;
		uint64_t inode = 0;
		int err = query(m, address, &range, &device, &inode);

		if (err != 0)
			return err;
		range.may_block =
			inode != 0 && !m->may_block && sp_filesystems_may_block(m->filesystems, device, m->tid);
		found = remember(m, &range);
	}
	if (found->may_block)
		return -EAGAIN;
	m->shared |= found->shared;
	*out = found;
	return 0;
}

/* How much may be read from address without leaving its page or, with whole, its mapping. */
static int span(struct sp_memory *m, uint64_t address, bool whole, uint64_t *length)
{
	const struct sp_memory_range *range;
	int err = find_range(m, address, &range);

	if (err == 0)
		*length = whole ? range->end - address : PAGE - address % PAGE;
	return err;
}

/* One process_vm_readv of consecutive remote pieces into one local buffer. Bytes read, or -errno. */
static ssize_t read_pieces(const struct sp_memory *m, char *local, size_t size, const struct iovec *remote,
			   size_t pieces)
{
	const struct iovec to = {.iov_base = local, .iov_len = size};
	ssize_t n = process_vm_readv(m->tid, &to, 1, remote, pieces, 0);

	return n >= 0 ? n : -errno;
}

static ssize_t read_piece(const struct sp_memory *m, char *local, size_t size, uint64_t address)
{
	const struct iovec remote = {.iov_base = (void *)(uintptr_t)address, .iov_len = size};

	return read_pieces(m, local, size, &remote, 1);
}

/* --- the path, and the first argv pointers with it --- */

static int read_rest_of_path(struct sp_memory *m, uint64_t address, char *path, size_t have)
{
	while (have < SP_PATH_MAX) {
		uint64_t length;
		int err = span(m, address + have, false, &length);

		if (err != 0)
			return err;
		length = smaller(length, SP_PATH_MAX - have);
		ssize_t n = read_piece(m, path + have, length, address + have);
		if (n <= 0)
			return n < 0 ? (int)n : -EFAULT;
		if (memchr(path + have, '\0', (size_t)n) != NULL)
			return 0;
		have += (size_t)n;
	}
	return -ENAMETOOLONG;
}

/* Takes pointers until the NULL that ends them; true when it was there. -errno through *err. */
static bool take_pointers(struct sp_strings *out, const char *bytes, size_t size, int *err)
{
	for (size_t at = 0; at + sizeof(uint64_t) <= size; at += sizeof(uint64_t)) {
		uint64_t pointer;

		memcpy(&pointer, bytes + at, sizeof pointer);
		if (pointer == 0)
			return true;
		*err = reserve((void **)&out->pointer, &out->pointer_capacity, out->count + 1, sizeof *out->pointer);
		if (*err == 0 && out->count * (sizeof(uint64_t) + 1) > SP_ARG_MAX_ALL)
			*err = -E2BIG;
		if (*err != 0)
			return false;
		out->pointer[out->count++] = pointer;
	}
	return false;
}

static int read_path_and_pointers(struct sp_memory *m, uint64_t path_address, uint64_t argv_address, char *path,
				  struct sp_strings *argv, bool *argv_complete)
{
	char buffer[2 * PAGE];
	uint64_t path_length, argv_length = 0;
	int err = span(m, path_address, false, &path_length);

	*argv_complete = argv_address == 0;
	if (err == 0 && argv_address != 0)
		err = span(m, argv_address, false, &argv_length);
	if (err != 0)
		return err;
	argv_length = smaller(argv_length, 1024) & ~7ULL; /* a pointer across pages is left to read_pointers() */
	const struct iovec remote[] = {
		{.iov_base = (void *)(uintptr_t)path_address, .iov_len = path_length},
		{.iov_base = (void *)(uintptr_t)argv_address, .iov_len = argv_length},
	};
	ssize_t n = read_pieces(m, buffer, path_length + argv_length, remote, argv_length != 0 ? 2 : 1);
	if (n < (ssize_t)path_length)
		return n < 0 ? (int)n : -EFAULT;
	memcpy(path, buffer, path_length);
	m->seen = (struct sp_memory_piece){.address = path_address, .size = path_length, .bytes = path};
	if (memchr(path, '\0', path_length) == NULL)
		err = read_rest_of_path(m, path_address, path, path_length);
	if (err == 0 && !*argv_complete)
		*argv_complete = take_pointers(argv, buffer + path_length, (size_t)n - path_length, &err);
	return err;
}

static int read_pointers(struct sp_memory *m, uint64_t address, struct sp_strings *out)
{
	char buffer[PAGE];
	int err = 0;

	for (;;) {
		uint64_t length;

		err = span(m, address, false, &length);
		if (err != 0)
			return err;
		if (length < sizeof(uint64_t)) { /* a pointer that crosses into the next page */
			uint64_t beyond;

			err = span(m, address + length, false, &beyond);
			if (err != 0)
				return err;
			length = sizeof(uint64_t);
		}
		length &= ~7ULL;
		ssize_t n = read_piece(m, buffer, length, address);
		if (n < (ssize_t)sizeof(uint64_t))
			return n < 0 ? (int)n : -EFAULT;
		if (take_pointers(out, buffer, (size_t)n, &err) || err != 0)
			return err;
		address += (uint64_t)n & ~7ULL;
	}
}

/* --- the strings --- */

/* One string whose first `have` bytes stand at the end of data without a NUL: reads the rest. */
static int extend_string(struct sp_memory *m, struct sp_strings *out, uint64_t address, size_t have)
{
	size_t step = PAGE;

	while (have < SP_ARG_MAX_ONE) {
		uint64_t length;
		int err = span(m, address + have, true, &length);

		if (err != 0)
			return err;
		length = smaller(smaller(length, step), SP_ARG_MAX_ONE - have);
		err = reserve((void **)&out->data, &out->capacity, out->size + length, 1);
		if (err != 0)
			return err;
		ssize_t n = read_piece(m, out->data + out->size, length, address + have);
		if (n <= 0)
			return n < 0 ? (int)n : -EFAULT;
		const char *end = memchr(out->data + out->size, '\0', (size_t)n);
		if (end != NULL) {
			out->size = (size_t)(end - out->data) + 1;
			return 0;
		}
		have += (size_t)n;
		out->size += (size_t)n;
		step = 16 * PAGE;
	}
	return -E2BIG;
}

/* How much to read of string i in a batch: up to where the next begins, as a process lays them out, or to the end of the
 * page. Only a guess: what turns out to be longer is extended. */
static int guess_length(struct sp_memory *m, const struct sp_strings *s, size_t i, size_t count, uint64_t *length)
{
	uint64_t here = s->pointer[i], next = i + 1 < count ? s->pointer[i + 1] : 0;
	bool adjacent = next > here && next - here <= SP_ARG_MAX_ONE;
	int err = span(m, here, adjacent, length);

	if (err == 0 && adjacent)
		*length = smaller(*length, next - here);
	return err;
}

/* Reads one batch of strings from number `first` on; *done says how many are complete now. */
static int read_batch(struct sp_memory *m, struct sp_strings *out, size_t first, size_t count, size_t *done)
{
	struct iovec remote[BATCH];
	size_t pieces = 0, total = 0;

	for (size_t i = first; i < count && pieces < BATCH && total < BATCH_BYTES; i++) {
		uint64_t length;
		int err = guess_length(m, out, i, count, &length);

		if (err != 0) {
			if (pieces > 0)
				break; /* the kernel copies from the last to the first; which error it finds is its own */
			return err;
		}
		remote[pieces++] = (struct iovec){.iov_base = (void *)(uintptr_t)out->pointer[i], .iov_len = length};
		total += length;
	}
	int err = reserve((void **)&out->data, &out->capacity, out->size + total, 1);
	if (err != 0)
		return err;
	ssize_t n = read_pieces(m, out->data + out->size, total, remote, pieces);
	if (n < 0)
		return (int)n;

	const char *piece = out->data + out->size, *read_end = piece + n;
	for (size_t i = 0; i < pieces; piece += remote[i++].iov_len) {
		size_t here = (size_t)smaller(remote[i].iov_len, (uint64_t)(read_end - piece));
		const char *end = memchr(piece, '\0', here);
		size_t length = end != NULL ? (size_t)(end - piece) + 1 : here;

		memmove(out->data + out->size, piece, length);
		out->size += length;
		++*done;
		if (end == NULL) /* the pieces after it are read again */
			return extend_string(m, out, out->pointer[first + i], length);
		if (out->size > SP_ARG_MAX_ALL)
			return -E2BIG;
	}
	return 0;
}

/* The string at address, if it was read together with the path: often argv[0] is the path itself. */
static const char *find_seen(const struct sp_memory *m, uint64_t address, size_t *length)
{
	if (address < m->seen.address || address - m->seen.address >= m->seen.size)
		return NULL;
	const size_t at = address - m->seen.address;
	const char *string = m->seen.bytes + at, *end = memchr(string, '\0', m->seen.size - at);
	if (end == NULL)
		return NULL;
	*length = (size_t)(end - string);
	return string;
}

/* Takes the first strings from what was read already; count and size are those of the strings that are complete. */
static int take_seen(const struct sp_memory *m, struct sp_strings *out, size_t count, size_t *done)
{
	const char *string;
	size_t length;

	while (*done < count && (string = find_seen(m, out->pointer[*done], &length)) != NULL) {
		int err = reserve((void **)&out->data, &out->capacity, out->size + length + 1, 1);

		if (err != 0)
			return err;
		memcpy(out->data + out->size, string, length + 1);
		out->size += length + 1;
		++*done;
		if (out->size > SP_ARG_MAX_ALL)
			return -E2BIG;
	}
	return 0;
}

static int read_strings(struct sp_memory *m, struct sp_strings *out)
{
	size_t done = 0;

	/* Pointers can be laid out so that each costs a call. That is the caller's time to lose, not the loop's. */
	if (out->count > LOOP_STRINGS_MAX && !m->may_block)
		return -EAGAIN;

	int err = take_seen(m, out, out->count, &done);
	if (err != 0)
		return err;
	while (done < out->count) {
		err = read_batch(m, out, done, out->count, &done);

		if (err != 0)
			return err;
		if (out->size > SP_ARG_MAX_ALL)
			return -E2BIG;
	}
	return sp_strings_finish(out);
}
