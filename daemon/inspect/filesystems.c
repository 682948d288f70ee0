/* See filesystems.h. */
#include "inspect/filesystems.h"

#include "util/cleanup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { REMEMBERED = 64 };

struct sp_filesystems {
	struct {
		dev_t device;
		bool may_block;
	} known[REMEMBERED];
	unsigned count;
	unsigned next; /* the one that goes when the table is full */
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
	/* Anonymous shared memory lives on a mount of the kernel's own that no mount table shows. */
	cleanup_close int memfd = memfd_create("sallyport", MFD_CLOEXEC);
	if (memfd >= 0 && fstat(memfd, &st) == 0) {
		fs->known[fs->count].device = st.st_dev;
		fs->known[fs->count++].may_block = false;
	}
	return fs;
}

void sp_filesystems_free(struct sp_filesystems *fs)
{
	free(fs);
}

static bool is_local(const char *type)
{
	for (size_t i = 0; i < sizeof local_types / sizeof *local_types; i++)
		if (strcmp(type, local_types[i]) == 0)
			return true;
	return false;
}

/* proc_pid_mountinfo(5): "36 35 98:0 /root /mount options ... - type source options" */
static bool look_up(dev_t device, pid_t tid)
{
	char path[64];
	cleanup_free char *line = NULL;
	size_t capacity = 0;

	(void)snprintf(path, sizeof path, "/proc/%d/mountinfo", tid != 0 ? tid : getpid());
	cleanup_file FILE *f = fopen(path, "re");
	while (f != NULL && getline(&line, &capacity, f) >= 0) {
		unsigned major_number, minor_number;
		char type[64];
		const char *separator = strstr(line, " - ");

		if (sscanf(line, "%*d %*d %u:%u", &major_number, &minor_number) == 2 && separator != NULL &&
		    makedev(major_number, minor_number) == device && sscanf(separator, " - %63s", type) == 1)
			return !is_local(type);
	}
	/* Below a chroot the table does not show it. A disk is local; what has no device of its own may be anything. */
	return major(device) == 0;
}

bool sp_filesystems_may_block(struct sp_filesystems *fs, dev_t device, pid_t tid)
{
	for (unsigned i = 0; i < fs->count; i++)
		if (fs->known[i].device == device)
			return fs->known[i].may_block;
	unsigned at = fs->count < REMEMBERED ? fs->count++ : fs->next++ % REMEMBERED;
	fs->known[at].device = device;
	fs->known[at].may_block = look_up(device, tid);
	return fs->known[at].may_block;
}
