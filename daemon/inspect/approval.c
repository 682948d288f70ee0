/* See approval.h. */
#include "inspect/approval.h"

#include "util/cleanup.h"
#include "util/proc.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WORDS_MAX = 8 << 20 }; /* more than the kernel takes for argv or envp */

/* --- SipHash-2-4 --- */

static inline uint64_t rotate(uint64_t x, int by)
{
	return x << by | x >> (64 - by);
}

static inline void sip_round(uint64_t v[static 4])
{
	v[0] += v[1];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[0] = rotate(v[0], 32);
	v[2] += v[3];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

static inline void sip_take(uint64_t v[static 4], uint64_t word)
{
	v[3] ^= word;
	sip_round(v);
	sip_round(v);
	v[0] ^= word;
}

uint64_t sp_keyed_sum(const uint64_t key[static 2], const void *bytes, size_t size)
{
	uint64_t v[4] = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d, key[0] ^ 0x6c7967656e657261,
			 key[1] ^ 0x7465646279746573};
	const unsigned char *at = bytes;
	uint64_t word;

	for (size_t left = size; left >= sizeof word; left -= sizeof word, at += sizeof word) {
		memcpy(&word, at, sizeof word);
		sip_take(v, le64toh(word));
	}
	word = 0;
	if (size % sizeof word > 0)
		memcpy(&word, at, size % sizeof word);
	sip_take(v, le64toh(word) | (uint64_t)size << 56);
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* --- */

void sp_approve(const struct sp_inspection *in, const uint64_t key[static 2], struct sp_approval *approval)
{
	const struct sp_file *file = sp_inspection_program(in);
	const struct sp_strings *argv = sp_inspection_words(in);

	*approval = (struct sp_approval){0};
	if (file->fd < 0)
		return;
	approval->device = file->st.st_dev;
	approval->inode = file->st.st_ino;
	approval->argv_size = argv->size;
	approval->argv_sum = sp_keyed_sum(key, argv->data, argv->size);
	if (in->envp_address == 0)
		return;
	approval->envp_size = in->envp.size;
	approval->envp_sum = sp_keyed_sum(key, in->envp.data, in->envp.size);
}

/* Of /proc/TGID/WHAT, read to its end. *size: SIZE_MAX where it is longer than any. 0 or -errno. */
static int sum_words(pid_t tgid, const char *what, const uint64_t key[static 2], uint64_t *size, uint64_t *sum)
{
	char path[SP_PROC_NAME];
	cleanup_free char *words = NULL;
	size_t room = 0, got = 0;
	ssize_t n;

	cleanup_close int fd = open(sp_proc_task(path, tgid, what), O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	do {
		if (got == room) {
			room = room == 0 ? 16384 : 2 * room;
			char *grown = room <= WORDS_MAX ? realloc(words, room) : NULL;
			if (grown == NULL)
				return -ENOMEM;
			words = grown;
		}
		n = read(fd, words + got, room - got);
		if (n < 0)
			return -errno;
		got += (size_t)n;
	} while (n > 0);
	*size = got;
	*sum = sp_keyed_sum(key, words, got);
	return 0;
}

enum sp_seen_running sp_approval_check(const struct sp_approval *approval, const uint64_t key[static 2], pid_t tgid,
				       char *detail, size_t size)
{
	char path[SP_PROC_NAME], real[SP_PATH_MAX];
	uint64_t words, sum;
	struct stat exe;

	(void)sp_proc_task(path, tgid, "exe");
	if (sp_stat_cached(AT_FDCWD, path, &exe) != 0)
		return SP_RUNS_NOTHING;
	if (exe.st_dev != approval->device || exe.st_ino != approval->inode) {
		ssize_t n = readlink(path, real, sizeof real - 1);

		real[n > 0 ? n : 0] = '\0';
		(void)snprintf(detail, size, "another file runs: %s", real);
		return SP_RUNS_OTHER;
	}
	if (sum_words(tgid, "cmdline", key, &words, &sum) != 0)
		return SP_RUNS_NOTHING;
	if (words != approval->argv_size || sum != approval->argv_sum) {
		(void)snprintf(detail, size, "the arguments are not those that were approved");
		return SP_RUNS_OTHER;
	}
	/* An environment that was empty has a sum. */
	if (approval->envp_size == 0 && approval->envp_sum == 0)
		return SP_RUNS_APPROVED;
	if (sum_words(tgid, "environ", key, &words, &sum) != 0)
		return SP_RUNS_NOTHING;
	if (words == approval->envp_size && sum == approval->envp_sum)
		return SP_RUNS_APPROVED;
	(void)snprintf(detail, size, "the environment is not the one that was approved");
	return SP_RUNS_OTHER;
}
