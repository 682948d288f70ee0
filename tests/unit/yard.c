/* See yard.h. */
#include "yard.h"

#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>

/* Criterion's hooks have no context; each test is a process of its own. */
static char directory[64];

static const uid_t nobody = 65534;

void yard_open(void)
{
	strcpy(directory, "/tmp/sallyport-yard-XXXXXX");
	cr_assert_not_null(mkdtemp(directory));
	cr_assert_eq(chmod(directory, 0755), 0);
	cr_assert_eq(chdir(directory), 0);
}

/* fts(3): paths may be longer here than any system call takes. */
static void for_each_entry(const char *root, void (*visit)(const FTSENT *entry))
{
	char *const roots[] = {(char *)root, NULL};
	FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_XDEV, NULL);
	const FTSENT *entry;

	while (walk != NULL && (entry = fts_read(walk)) != NULL)
		visit(entry);
	if (walk != NULL)
		(void)fts_close(walk);
}

static void remove_entry(const FTSENT *entry)
{
	if (entry->fts_info != FTS_D)
		(void)remove(entry->fts_accpath);
}

void yard_close(void)
{
	if (directory[0] == '\0' || chdir(directory) != 0)
		return;
	while (umount2(YARD_MOUNT, MNT_DETACH) == 0)
		;
	if (chdir("/") == 0)
		for_each_entry(directory, remove_entry);
	directory[0] = '\0';
}

const char *yard_directory(void)
{
	return directory;
}

void yard_make_mount_point(void)
{
	yard_make_directory(YARD_MOUNT);
}

void yard_write(const char *path, const char *text, mode_t mode)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);

	cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	cr_assert_eq(fchmod(fd, mode), 0);
}

void yard_link(const char *target, const char *path)
{
	cr_assert_eq(symlink(target, path), 0, "%s: %s", path, strerror(errno));
}

void yard_make_directory(const char *path)
{
	cr_assert_eq(mkdir(path, 0755), 0, "%s: %s", path, strerror(errno));
}

static void give_away(const FTSENT *entry)
{
	if (entry->fts_info != FTS_DP)
		cr_assert_eq(lchown(entry->fts_accpath, nobody, nobody), 0, "%s", entry->fts_path);
}

void yard_become_ordinary(void)
{
	if (geteuid() != 0)
		return;
	for_each_entry(directory, give_away);
	cr_assert_eq(setresgid(nobody, nobody, nobody), 0);
	cr_assert_eq(setresuid(nobody, nobody, nobody), 0);
	cr_assert_eq(prctl(PR_SET_DUMPABLE, 1), 0);
}
