/* Which file systems may keep a reader waiting: known by device number, in the mount table of whoever has them. */
#include "inspect/filesystems.h"

#include "child.h"
#include "yard.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

static void free_filesystems(struct sp_filesystems **fs)
{
	sp_filesystems_free(*fs);
}

#define cleanup_filesystems sp_cleanup(free_filesystems)

static struct sp_filesystems *must_new(void)
{
	struct sp_filesystems *fs = sp_filesystems_new();

	cr_assert_not_null(fs);
	return fs;
}

/* Without asking whoever serves it. */
static dev_t device_of(const char *path)
{
	struct statx st;

	cr_assert_eq(statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_TYPE, &st), 0, "%s", path);
	return makedev(st.stx_dev_major, st.stx_dev_minor);
}

static void own_mounts(void)
{
	yard_make_mount_point();
	if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0)
		yard_skip("needs root");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		yard_skip("needs a root that is a mount, not a chroot");
}

TestSuite(filesystems, .init = yard_open, .fini = yard_close);

static bool mount_tmpfs(void *context)
{
	(void)context;
	return mount("none", YARD_MOUNT, "tmpfs", 0, NULL) == 0;
}

/* A server that never answers, as long as the fd is open. */
static int mount_fuse(void)
{
	char options[96];
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return fd;
	(void)snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	if (mount("fuse", YARD_MOUNT, "fuse", 0, options) == 0)
		return fd;
	(void)close(fd);
	return -1;
}

Test(filesystems, of_the_kernel_itself)
{
	cleanup_filesystems struct sp_filesystems *fs = must_new();
	cleanup_close int memfd = memfd_create("x", MFD_CLOEXEC);
	struct stat st;

	cr_assert_not(sp_filesystems_may_block(fs, device_of("/proc"), 0));
	cr_assert_not(sp_filesystems_may_block(fs, device_of("/proc"), getpid()), "remembered");
	cr_assert_eq(fstat(memfd, &st), 0);
	cr_assert_not(sp_filesystems_may_block(fs, st.st_dev, 0), "in no mount table");
}

/* Numbers without a device behind them are given to file systems of any kind, the others to disks. */
Test(filesystems, unknown_ones_may_block_unless_they_are_disks)
{
	cleanup_filesystems struct sp_filesystems *fs = must_new();

	cr_assert(sp_filesystems_may_block(fs, makedev(0, 999999), 0));
	cr_assert(sp_filesystems_may_block(fs, makedev(0, 999999), 0), "remembered");
	cr_assert(sp_filesystems_may_block(fs, makedev(0, 999998), 0x3fffffff), "nobody's mount table");
	cr_assert_not(sp_filesystems_may_block(fs, makedev(4000, 12345), 0));
}

/* More devices than are remembered. */
Test(filesystems, many)
{
	cleanup_filesystems struct sp_filesystems *fs = must_new();

	for (unsigned i = 0; i < 300; i++) {
		cr_assert(sp_filesystems_may_block(fs, makedev(0, 900000 + i), 0));
		cr_assert_not(sp_filesystems_may_block(fs, device_of("/proc"), 0));
	}
	for (unsigned i = 0; i < 300; i++)
		cr_assert(sp_filesystems_may_block(fs, makedev(0, 900000 + i), 0));
}

static bool mount_tmpfs_for_itself(void *context)
{
	return unshare(CLONE_NEWNS) == 0 && mount_tmpfs(context);
}

Test(filesystems, in_the_callers_own_mounts)
{
	cleanup_filesystems struct sp_filesystems *fs = must_new();
	char inside[96];

	own_mounts();
	cleanup_child pid_t caller = child_waiting(mount_tmpfs_for_itself, NULL);
	(void)snprintf(inside, sizeof inside, "/proc/%d/root%s/" YARD_MOUNT, caller, yard_directory());
	dev_t device = device_of(inside);
	cr_assert_neq(device_of(YARD_MOUNT), device, "we do not have it");
	cr_assert(sp_filesystems_may_block(fs, device, 0));
	cr_assert(sp_filesystems_may_block(fs, device, getpid()));
	cr_assert_not(sp_filesystems_may_block(fs, device, caller));
}

Test(filesystems, fuse_may_block)
{
	cleanup_filesystems struct sp_filesystems *fs = must_new();

	own_mounts();
	cleanup_close int server = mount_fuse();
	if (server < 0)
		yard_skip("no FUSE here");
	cr_assert(sp_filesystems_may_block(fs, device_of(YARD_MOUNT), 0));
}

Test(filesystems, mounted_tmpfs_does_not_block)
{
	cleanup_filesystems struct sp_filesystems *fs = must_new();

	own_mounts();
	cr_assert(mount_tmpfs(NULL));
	cr_assert_not(sp_filesystems_may_block(fs, device_of(YARD_MOUNT), 0));
}

/* Numbers of file systems without a device are given again: what a job unmounts and mounts must not make us wait. */
Test(filesystems, number_of_another_file_system_later)
{
	bool same = false;

	own_mounts();
	cleanup_filesystems struct sp_filesystems *fs = must_new(); /* follows the mounts it was made in */
	cleanup_child pid_t job = child_waiting(NULL, NULL);
	for (int attempt = 0; attempt < 20 && !same; attempt++) {
		cr_assert(mount_tmpfs(NULL));
		dev_t device = device_of(YARD_MOUNT);
		cr_assert_not(sp_filesystems_may_block(fs, device, job));
		cr_assert_eq(umount2(YARD_MOUNT, 0), 0);
		cleanup_close int server = mount_fuse();
		if (server < 0)
			yard_skip("no FUSE here");
		same = device_of(YARD_MOUNT) == device;
		cr_assert(sp_filesystems_may_block(fs, device_of(YARD_MOUNT), job), "attempt %d", attempt);
		cr_assert_eq(umount2(YARD_MOUNT, MNT_DETACH), 0);
	}
	if (!same)
		yard_skip("the number was not given again");
}
