/* See filesystems.h. */
#include "inspect/filesystems.h"

#include "util/cleanup.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { REMEMBERED = 64 };

struct sp_filesystems {
	struct {
		dev_t device;
		bool may_block;
	} known[REMEMBERED];
	unsigned count;
	unsigned next; /* the one that goes when the table is full */
	dev_t shared_memory; /* anonymous shared memory: a mount of the kernel's own that no table shows */
	int mounts; /* our own table: poll(2) says when it has changed (proc_pid_mounts(5)) */
};

/* Kernel-internal or on block devices. Everything else is taken to be able to block. */
static const char *const local_types[] = {
	"ext2", "ext3",  "ext4",     "xfs",   "btrfs",     "f2fs",    "bcachefs", "tmpfs",  "ramfs",   "rootfs",
	"vfat", "exfat", "squashfs", "erofs", "iso9660",   "udf",     "devtmpfs", "proc",   "sysfs",   "cgroup",
	"zfs",  "jfs",   "reiserfs", "minix", "hugetlbfs", "overlay", "devpts",   "mqueue", "cgroup2", "ntfs3",
};

struct sp_filesystems *sp_filesystems_new(void)
{
	struct sp_filesystems *fs = calloc(1, sizeof *fs);
	struct stat st;

	if (fs == NULL)
		return NULL;
	fs->mounts = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	cleanup_close int memfd = memfd_create("sallyport", MFD_CLOEXEC);
	if (memfd >= 0 && fstat(memfd, &st) == 0)
		fs->shared_memory = st.st_dev;
	return fs;
}

void sp_filesystems_free(struct sp_filesystems *fs)
{
	if (fs == NULL)
		return;
	sp_close_fd(&fs->mounts);
	free(fs);
}

static bool is_local(const char *type)
{
	for (size_t i = 0; i < sizeof local_types / sizeof *local_types; i++)
		if (strcmp(type, local_types[i]) == 0)
			return true;
	return false;
}

enum finding { NOT_THERE, LOCAL, MAY_BLOCK };

/* proc_pid_mountinfo(5): "36 35 98:0 /root /mount options ... - type source options" */
static enum finding look_up(dev_t device, pid_t tid)
{
	char path[64];
	cleanup_free char *line = NULL;
	size_t capacity = 0;

	(void)snprintf(path, sizeof path, "/proc/%d/mountinfo", tid);
	cleanup_file FILE *f = fopen(path, "re");
	while (f != NULL && getline(&line, &capacity, f) >= 0) {
		unsigned major_number, minor_number;
		char type[64];
		const char *separator = strstr(line, " - ");

		if (sscanf(line, "%*d %*d %u:%u", &major_number, &minor_number) == 2 && separator != NULL &&
		    makedev(major_number, minor_number) == device && sscanf(separator, " - %63s", type) == 1)
			return is_local(type) ? LOCAL : MAY_BLOCK;
	}
	return NOT_THERE;
}

static void remember(struct sp_filesystems *fs, dev_t device, bool may_block)
{
	unsigned at = fs->count < REMEMBERED ? fs->count++ : fs->next++ % REMEMBERED;

	fs->known[at].device = device;
	fs->known[at].may_block = may_block;
}

/* A number without a device behind it may be given to another file system once nothing is mounted under it. While our own
 * table is as it was, what it showed is still mounted. */
static void forget_if_changed(struct sp_filesystems *fs)
{
	struct pollfd p = {.fd = fs->mounts, .events = POLLPRI};

	if (poll(&p, 1, 0) != 0)
		fs->count = fs->next = 0;
}

bool sp_filesystems_may_block(struct sp_filesystems *fs, dev_t device, pid_t tid)
{
	if (device == fs->shared_memory)
		return false;
	if (major(device) == 0)
		forget_if_changed(fs);
	for (unsigned i = 0; i < fs->count; i++)
		if (fs->known[i].device == device)
			return fs->known[i].may_block;
	enum finding found = look_up(device, getpid());
	if (found == NOT_THERE &&
	    major(device) == 0) /* in the caller's own mounts, which we are not told of: not kept */
		return tid == 0 || look_up(device, tid) != LOCAL;
	/* Below a chroot the table does not show everything. A disk is local, unless the table says that it is not. */
	remember(fs, device, found == MAY_BLOCK);
	return found == MAY_BLOCK;
}
