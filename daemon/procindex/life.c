/* See life.h. */
#include "procindex/life.h"

#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <linux/types.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/statfs.h>

/* include/uapi/linux/magic.h, since 6.9 */
#ifndef PID_FS_MAGIC
#define PID_FS_MAGIC 0x50494446
#endif

/* include/uapi/linux/pidfd.h, since 6.13, PIDFD_INFO_EXIT since 6.15; by names of our own, so that it builds with any
 * header. 64 bytes are its first version, which every later kernel accepts. */
enum { INFO_EXIT = 1 << 3 };

struct info {
	__u64 mask;
	__u64 cgroupid;
	__u32 pid, tgid, ppid;
	__u32 ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
	__s32 exit_code;
};
#define GET_INFO _IOWR(0xFF, 11, struct info)

/* Of /proc/PID/stat, proc_pid_stat(5). */
struct stat_line {
	char state;
	uint64_t start_time;
	int exit_code; /* 0 where we may not know */
};

int sp_life_open(pid_t tgid)
{
	int pidfd = pidfd_open(tgid, 0);

	if (pidfd >= 0)
		return pidfd;
	/* The pid is a thread's now: EINVAL, since 6.15 ENOENT. */
	return errno == EINVAL || errno == ENOENT ? -ESRCH : -errno;
}

bool sp_life_is_over(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static bool find_out_about_inodes(void)
{
	cleanup_close int self = sp_life_open(getpid());
	struct statfs filesystem;

	/* where ino_t has 32 bits the number is cut */
	return sizeof(ino_t) == sizeof(uint64_t) && self >= 0 && fstatfs(self, &filesystem) == 0 &&
	       filesystem.f_type == PID_FS_MAGIC;
}

bool sp_life_has_inodes(void)
{
	enum { UNKNOWN, NO, YES };
	static _Atomic(int) known; /* whoever finds out finds the same */

	if (known == UNKNOWN)
		known = find_out_about_inodes() ? YES : NO;
	return known == YES;
}

static bool parse_stat(const char *line, struct stat_line *s)
{
	unsigned long long start_time;
	const char *after_name = strrchr(line, ')'); /* the name may have any character, brackets too */

	if (after_name == NULL ||
	    sscanf(after_name + 1,
		   " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu" /* 3 to 22 */
		   " %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s" /* to 37 */
		   " %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %d", /* to 52 */
		   &s->state, &start_time, &s->exit_code) != 3)
		return false;
	s->start_time = start_time;
	return true;
}

/* 0 or -errno. */
static int read_stat(pid_t tgid, struct stat_line *s)
{
	char path[32], line[2048]; /* 51 numbers of at most 20 digits, and a short name */

	(void)snprintf(path, sizeof path, "/proc/%d/stat", tgid);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	ssize_t size = read(fd, line, sizeof line - 1);
	if (size < 0)
		return -errno;
	line[size] = '\0';
	return parse_stat(line, s) ? 0 : -EPROTO;
}

int sp_life_identity(int pidfd, pid_t tgid, bool inodes, uint64_t *identity)
{
	struct stat_line line;
	struct stat st;

	if (inodes) {
		if (fstat(pidfd, &st) != 0)
			return -errno;
		*identity = st.st_ino;
		return 0;
	}
	int err = read_stat(tgid, &line);
	if (err == 0)
		*identity = line.start_time;
	return err;
}

/* The kernel shows 0 as the exit code of those we may not look into. The link may be read under the same condition, of
 * zombies too. */
static bool may_look_into(pid_t tgid)
{
	char path[32], target[64];

	(void)snprintf(path, sizeof path, "/proc/%d/ns/user", tgid);
	return readlink(path, target, sizeof target) > 0;
}

static bool status_of_zombie(int pidfd, pid_t tgid, int *status)
{
	struct stat_line line;

	if (read_stat(tgid, &line) != 0 || line.state != 'Z' || (line.exit_code == 0 && !may_look_into(tgid)))
		return false;
	/* ESRCH: it has been reaped meanwhile, and what we read may be somebody else's */
	if (pidfd_send_signal(pidfd, 0, NULL, 0) != 0 && errno == ESRCH)
		return false;
	*status = line.exit_code;
	return true;
}

static bool status_of_reaped(int pidfd, int *status)
{
	struct info info = {.mask = INFO_EXIT};

	if (ioctl(pidfd, GET_INFO, &info) != 0 || (info.mask & INFO_EXIT) == 0)
		return false;
	*status = info.exit_code;
	return true;
}

int sp_life_status(int pidfd, pid_t tgid)
{
	int status;

	/* it may be reaped between the two, but not the other way round */
	if (status_of_zombie(pidfd, tgid, &status) || status_of_reaped(pidfd, &status))
		return status;
	return -1;
}
