/* See slowfs.h. The protocol is that of fuse(4) and linux/fuse.h; what is not answered here is ENOSYS, which FUSE is used to. */
#include "slowfs.h"

#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

enum { DELAY = 8, MESSAGE_MAX = FUSE_MIN_READ_BUFFER + (128 << 10), PAGE = 4096 }; /* DELAY: milliseconds */
enum { WORDS = 2, SCRIPT = 3 }; /* inode numbers; FUSE_ROOT_ID is 1 */

static const uint64_t words_size = (uint64_t)1 << 30;

struct sp_slowfs {
	int device;
	const char *directory;
	char script[4096 + 16];
	unsigned seed;
	pthread_t server;
};

static void *serve(void *fs);

struct sp_slowfs *sp_slowfs_mount(const char *directory, const char *program, const char **why)
{
	char options[128];
	cleanup_free struct sp_slowfs *fs = calloc(1, sizeof *fs);
	cleanup_close int device = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	*why = "there is no memory";
	if (fs == NULL)
		return NULL;
	*why = "/dev/fuse cannot be opened";
	if (device < 0)
		return NULL;
	*why = "only root may mount";
	if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		return NULL;
	(void)snprintf(options, sizeof options, "fd=%d,rootmode=40755,user_id=0,group_id=0,allow_other", device);
	*why = "the mount is refused";
	if (mount("slow", directory, "fuse", MS_NOSUID | MS_NODEV, options) != 0)
		return NULL;
	(void)snprintf(fs->script, sizeof fs->script, "#!%s --leaf\n", program);
	fs->directory = directory;
	fs->device = sp_steal_fd(&device);
	return sp_steal_ptr(fs);
}

bool sp_slowfs_serve(struct sp_slowfs *fs)
{
	return pthread_create(&fs->server, NULL, serve, fs) == 0;
}

void sp_slowfs_end(struct sp_slowfs *fs)
{
	if (fs == NULL)
		return;
	(void)umount2(fs->directory, MNT_DETACH);
	(void)pthread_join(fs->server, NULL);
	sp_slowfs_forget(fs);
}

void sp_slowfs_forget(struct sp_slowfs *fs)
{
	if (fs == NULL)
		return;
	(void)close(fs->device);
	free(fs);
}

static void take_time(struct sp_slowfs *fs)
{
	const struct timespec t = {.tv_nsec = rand_r(&fs->seed) % (DELAY * 1000000)};

	(void)nanosleep(&t, NULL);
}

/* A request that was interrupted or whose asker is dead is answered all the same: ENOENT from the device, and fine. */
static void answer(const struct sp_slowfs *fs, uint64_t unique, int err, const void *data, size_t size)
{
	const struct fuse_out_header header = {
		.len = (uint32_t)(sizeof header + size), .error = -err, .unique = unique};
	const struct iovec parts[] = {{(void *)&header, sizeof header}, {(void *)data, size}};

	(void)!writev(fs->device, parts, size > 0 ? 2 : 1);
}

static struct fuse_attr attributes(const struct sp_slowfs *fs, uint64_t node)
{
	struct fuse_attr a = {.ino = node, .nlink = 1, .blksize = PAGE, .mode = S_IFREG | 0755};

	if (node == FUSE_ROOT_ID)
		a.mode = S_IFDIR | 0755;
	else
		a.size = node == WORDS ? words_size : strlen(fs->script);
	a.blocks = a.size / 512;
	return a;
}

static void look_up(struct sp_slowfs *fs, uint64_t unique, const char *name)
{
	struct fuse_entry_out entry = {0};

	entry.nodeid = strcmp(name, "words") == 0 ? WORDS : strcmp(name, "script") == 0 ? SCRIPT : 0;
	take_time(fs);
	if (entry.nodeid == 0) {
		answer(fs, unique, ENOENT, NULL, 0);
		return;
	}
	entry.attr = attributes(fs, entry.nodeid);
	answer(fs, unique, 0, &entry, sizeof entry);
}

static void read_words(const struct sp_slowfs *fs, uint64_t unique, uint32_t size)
{
	static char pages[MESSAGE_MAX];

	for (uint32_t at = 0; at < size; at += PAGE)
		memcpy(pages + at, "slow", sizeof "slow");
	answer(fs, unique, 0, pages, size);
}

static void read_file(struct sp_slowfs *fs, uint64_t unique, uint64_t node, const struct fuse_read_in *in)
{
	const size_t length = strlen(fs->script);

	take_time(fs);
	if (node == WORDS && in->offset < words_size)
		read_words(fs, unique, in->size);
	else if (node == SCRIPT && in->offset < length)
		answer(fs, unique, 0, fs->script + in->offset, length - in->offset);
	else
		answer(fs, unique, 0, NULL, 0);
}

static void begin(const struct sp_slowfs *fs, uint64_t unique, const struct fuse_init_in *in)
{
	/* no read-ahead: every page is waited for */
	const struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION, .minor = in->minor, .max_write = PAGE, .max_background = 16};

	answer(fs, unique, 0, &out, sizeof out);
}

static void handle(struct sp_slowfs *fs, const struct fuse_in_header *header, const void *body)
{
	struct fuse_attr_out attribute = {0};
	const struct fuse_open_out opened = {0};
	const struct fuse_statfs_out statistics = {.st = {.bsize = PAGE, .namelen = 255}};

	switch (header->opcode) {
	case FUSE_INIT:
		begin(fs, header->unique, body);
		break;
	case FUSE_LOOKUP:
		look_up(fs, header->unique, body);
		break;
	case FUSE_GETATTR:
		attribute.attr = attributes(fs, header->nodeid);
		answer(fs, header->unique, 0, &attribute, sizeof attribute);
		break;
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		answer(fs, header->unique, 0, &opened, sizeof opened);
		break;
	case FUSE_READ:
		read_file(fs, header->unique, header->nodeid, body);
		break;
	case FUSE_STATFS:
		answer(fs, header->unique, 0, &statistics, sizeof statistics);
		break;
	case FUSE_FLUSH:
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
		answer(fs, header->unique, 0, NULL, 0);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break; /* have no answer */
	default:
		answer(fs, header->unique, ENOSYS, NULL, 0);
	}
}

static void *serve(void *arg)
{
	struct sp_slowfs *fs = arg;
	static _Alignas(struct fuse_in_header) char message[MESSAGE_MAX];

	for (;;) {
		ssize_t n = read(fs->device, message, sizeof message);

		if (n >= (ssize_t)sizeof(struct fuse_in_header))
			handle(fs, (const struct fuse_in_header *)message, message + sizeof(struct fuse_in_header));
		else if (n < 0 && errno == ENODEV)
			return NULL; /* unmounted */
	}
}
