/* From a path to the file that would run, through the caller's eyes: the caller itself, a child with a root, a working
 * directory, fds and mounts of its own, looks the same path up and says what it finds. */
#include "inspect/resolve.h"

#include "util/cleanup.h"
#include "yard.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

/* Every file is its own content. */
static void make(const char *path)
{
	yard_write(path, path, 0755);
}

static void open_files(void)
{
	yard_open();
	make("file");
	yard_make_directory("d");
	yard_make_directory("d/e");
	make("d/inner");
	make("d/e/deep");
}

TestSuite(resolve, .init = open_files, .fini = yard_close);

/* --- a caller: a child that looks up what it is asked --- */

struct question {
	int dirfd, flags;
	char path[2 * PATH_MAX];
};

struct finding {
	int err; /* negative errno or 0 */
	dev_t device;
	ino_t inode;
};

struct caller {
	pid_t child; /* ours, to reap */
	pid_t tid, tgid;
	int end;
};

/* What the child does before it is asked at `end`. False: not possible here. */
typedef bool setup(void *context, int end);

static struct finding look(const struct question *q)
{
	struct stat st;

	if (syscall(SYS_newfstatat, q->dirfd, q->path, &st, q->flags) != 0)
		return (struct finding){.err = -errno};
	return (struct finding){.device = st.st_dev, .inode = st.st_ino};
}

[[gnu::noreturn]] static void serve(int end)
{
	struct question q;
	const pid_t ids[2] = {(pid_t)syscall(SYS_gettid), getpid()};

	if (write(end, ids, sizeof ids) != sizeof ids)
		_exit(1);
	while (read(end, &q, sizeof q) == sizeof q) {
		const struct finding f = look(&q);
		if (write(end, &f, sizeof f) != sizeof f)
			break;
	}
	_exit(0);
}

/* Skips the test when the setup fails. */
static struct caller start_caller(setup *prepare, void *context)
{
	struct caller c = {0};
	pid_t ids[2];
	int ends[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	c.child = fork();
	cr_assert_geq(c.child, 0);
	if (c.child == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)close(ends[0]);
		if (prepare != NULL && !prepare(context, ends[1]))
			_exit(1);
		serve(ends[1]);
	}
	(void)close(ends[1]);
	c.end = ends[0];
	if (read(c.end, ids, sizeof ids) != sizeof ids) {
		(void)waitpid(c.child, NULL, 0);
		yard_skip("this caller needs rights that are missing here");
	}
	c.tid = ids[0];
	c.tgid = ids[1];
	return c;
}

static void end_caller(struct caller *c)
{
	(void)close(c->end);
	(void)waitpid(c->child, NULL, 0);
}

#define cleanup_caller sp_cleanup(end_caller)

static struct finding ask(const struct caller *c, const struct question *q)
{
	struct finding f;

	cr_assert_eq(write(c->end, q, sizeof *q), (ssize_t)sizeof *q);
	cr_assert_eq(read(c->end, &f, sizeof f), (ssize_t)sizeof f);
	return f;
}

static void close_found(struct sp_file *file)
{
	sp_file_close(file);
}

#define cleanup_found sp_cleanup(close_found)

static void free_filesystems(struct sp_filesystems **fs)
{
	sp_filesystems_free(*fs);
}

#define cleanup_filesystems sp_cleanup(free_filesystems)

/* The same question to both. */
static void compare(const struct caller *c, const struct question *q, bool may_block)
{
	cleanup_filesystems struct sp_filesystems *fs = sp_filesystems_new();
	const struct sp_lookup lookup = {.tid = c->tid, .tgid = c->tgid, .may_block = may_block, .filesystems = fs};
	const struct finding theirs = ask(c, q);
	cleanup_found struct sp_file file = {.fd = -1};
	int err = sp_resolve(&lookup, q->dirfd, q->path, q->flags, &file);

	if (err == -EAGAIN && !may_block)
		return; /* may always be said */
	cr_expect_eq(err, theirs.err, "%.200s%s: %s, but for the caller: %s", q->path,
		     may_block ? "" : " (on the loop)", strerror(-err), strerror(-theirs.err));
	if (err != 0) {
		cr_assert_lt(file.fd, 0);
		return;
	}
	cr_expect(theirs.err != 0 || (file.st.st_dev == theirs.device && file.st.st_ino == theirs.inode),
		  "%.200s%s: not the file that the caller finds, but %s", q->path, may_block ? "" : " (on the loop)",
		  file.path);
	cr_assert_eq(fcntl(file.fd, F_GETFD), FD_CLOEXEC);
}

static void check_at(const struct caller *c, int dirfd, const char *path, int flags)
{
	struct question q = {.dirfd = dirfd, .flags = flags};

	cr_assert_lt(strlen(path), sizeof q.path);
	strcpy(q.path, path);
	compare(c, &q, true);
	compare(c, &q, false);
}

[[gnu::format(printf, 2, 3)]] static void check(const struct caller *c, const char *format, ...)
{
	char path[2 * PATH_MAX];
	va_list args;

	va_start(args, format);
	cr_assert_lt(vsnprintf(path, sizeof path, format, args), (int)sizeof path);
	va_end(args);
	check_at(c, AT_FDCWD, path, 0);
}

static struct sp_file must_resolve(const struct caller *c, int dirfd, const char *path, int flags)
{
	const struct sp_lookup lookup = {.tid = c->tid, .tgid = c->tgid, .may_block = true};
	struct sp_file file = {.fd = -1};
	int err = sp_resolve(&lookup, dirfd, path, flags, &file);

	cr_assert_eq(err, 0, "%s: %s", path, strerror(-err));
	return file;
}

/* --- the caller's root and directory are ours --- */

/* Every path, as it is and led through every kind of detour. */
static void check_everywhere(const struct caller *c, const char *directory, const char *path)
{
	check(c, "%s", path);
	check(c, "./%s", path);
	check(c, "d/../%s", path);
	check(c, "d/e/.././../%s", path);
	check(c, "../%s/%s", strrchr(directory, '/') + 1, path);
	check(c, "%s/%s", directory, path);
	check(c, "//%s//.//%s", directory, path);
	check(c, "/../..%s/%s", directory, path);
	check(c, "/proc/self/cwd/%s", path);
	check(c, "/proc/thread-self/cwd/%s", path);
	check(c, "/proc/self/root%s/%s", directory, path);
	check(c, "/proc/%d/cwd/%s", c->tgid, path);
	check(c, "/proc/self/../self/./cwd/d/../%s", path);
	check(c, "/dev/../proc/self/cwd/%s", path);
}

static const char *const names[] = {
	"file",    "d/inner", "d",      "d/",       "d/.",     "d/..",     ".",         "..",        "file/", "file/.",
	"file/..", "file//",  "file/x", "d/inner/", "missing", "missing/", "missing/x", "d/missing", "",
};

Test(resolve, plain)
{
	cleanup_caller struct caller c = start_caller(NULL, NULL);

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		check_everywhere(&c, yard_directory(), names[i]);
	check(&c, "/");
	check(&c, "//");
	check(&c, "/..");
	check(&c, "/bin/true");
	check(&c, "/bin/true/");
}

Test(resolve, symlinks)
{
	static const char *const links[][2] = {
		{"file", "to-file"},
		{"./d/../file", "dotted"},
		{"d", "to-d"},
		{"d/", "to-d-slash"},
		{"to-d/e/../inner", "through"},
		{"../file", "d/up"},
		{"../../file", "d/e/up"},
		{"/", "to-root"},
		{"/bin/true", "to-true"},
		{"/proc/self/exe", "to-exe"},
		{"/proc/self/cwd/file", "to-cwd"},
		{"/proc/thread-self/root", "to-their-root"},
		{"missing", "dangling"},
		{"/missing/too", "dangling-absolute"},
		{"file/", "to-file-slash"},
		{"loop", "loop"},
		{"ping", "pong"},
		{"pong", "ping"},
		{".", "here"},
		{"..", "parent"},
	};
	static const char *const paths[] = {
		"to-file",
		"to-file/",
		"to-file/.",
		"dotted",
		"to-d",
		"to-d/",
		"to-d/inner",
		"to-d/..",
		"to-d-slash/inner",
		"through",
		"d/up",
		"d/e/up",
		"to-d/up",
		"to-d/e/up",
		"to-root/bin/true",
		"to-true",
		"to-true/",
		"to-exe",
		"to-exe/",
		"to-cwd",
		"to-their-root/bin/true",
		"to-their-root/..",
		"dangling",
		"dangling/",
		"dangling/x",
		"dangling-absolute",
		"to-file-slash",
		"loop",
		"loop/x",
		"ping",
		"here/here/here/file",
		"parent",
	};
	char absolute[128];

	for (size_t i = 0; i < sizeof links / sizeof *links; i++)
		yard_link(links[i][0], links[i][1]);
	(void)snprintf(absolute, sizeof absolute, "%s/d/inner", yard_directory());
	yard_link(absolute, "absolute");
	cleanup_caller struct caller c = start_caller(NULL, NULL);
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
		check_everywhere(&c, yard_directory(), paths[i]);
	check_everywhere(&c, yard_directory(), "absolute");
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		check_at(&c, AT_FDCWD, paths[i], AT_SYMLINK_NOFOLLOW);
		cleanup_free char *detour = NULL;
		cr_assert_geq(asprintf(&detour, "/proc/self/cwd/%s", paths[i]), 0);
		check_at(&c, AT_FDCWD, detour, AT_SYMLINK_NOFOLLOW);
	}
}

/* 40 links are followed, 41 are not: in one go, and where magic links make it a walk. */
Test(resolve, chains_of_symlinks)
{
	char from[32], to[32] = "file";

	for (int i = 1; i <= 42; i++) {
		(void)snprintf(from, sizeof from, "link-%d", i);
		yard_link(to, from);
		(void)snprintf(to, sizeof to, "%.20s", from);
	}
	cleanup_caller struct caller c = start_caller(NULL, NULL);
	for (int i = 36; i <= 42; i++) {
		check(&c, "link-%d", i);
		check(&c, "%s/link-%d", yard_directory(), i);
		check(&c, "/proc/self/cwd/link-%d", i);
		check(&c, "/proc/self/root%s/link-%d", yard_directory(), i);
		check(&c, "d/../link-%d", i);
	}
}

Test(resolve, too_long)
{
	cleanup_caller struct caller c = start_caller(NULL, NULL);
	char name[NAME_MAX + 2], path[PATH_MAX + 1];

	memset(name, 'n', sizeof name);
	name[NAME_MAX] = '\0';
	make(name);
	check_everywhere(&c, yard_directory(), name);
	name[NAME_MAX] = 'n';
	name[NAME_MAX + 1] = '\0';
	check_everywhere(&c, yard_directory(), name);
	/* "././…file": as long as paths may be */
	for (size_t size = PATH_MAX - 2; size < PATH_MAX; size++) {
		memset(path, '/', sizeof path);
		memcpy(path, "d/..", 4);
		strcpy(path + size - 4, "file");
		check(&c, "%s", path);
	}
}

/* Directories nested so deep that the canonical name is longer than a path may be. */
Test(resolve, canonical_name_too_long)
{
	char name[NAME_MAX + 1];

	memset(name, 'n', NAME_MAX);
	name[NAME_MAX] = '\0';
	for (int i = 0; i < 20; i++)
		cr_assert(mkdir(name, 0755) == 0 && chdir(name) == 0);
	make("file");
	const struct sp_lookup lookup = {.tid = getpid(), .tgid = getpid(), .may_block = true};
	cleanup_found struct sp_file file = {.fd = -1};
	int err = sp_resolve(&lookup, AT_FDCWD, "file", 0, &file);
	cr_assert_eq(err, -ENAMETOOLONG, "%s", strerror(-err));
	cr_assert_lt(file.fd, 0);
	cr_assert_eq(chdir(yard_directory()), 0);
}

/* --- fds of the caller --- */

/* The fds exist in the child only, so whoever looks into its own table finds others. */
static bool open_fds(void *context, int end)
{
	(void)context;
	(void)end;
	return dup2(open("d", O_RDONLY | O_DIRECTORY), 101) == 101 && dup2(open("file", O_RDONLY), 102) == 102 &&
	       dup2(open("d/inner", O_PATH), 103) == 103 && dup2(open("/", O_PATH), 104) == 104 &&
	       dup2(open("to-file", O_PATH | O_NOFOLLOW), 105) == 105 && dup2(open("gone", O_RDONLY), 106) == 106 &&
	       unlink("gone") == 0;
}

Test(resolve, directory_fds)
{
	static const char *const relative[] = {"inner", "e/deep",  "../file",         "..",
					       ".",     "missing", "e/../../to-file", "up"};
	yard_link("file", "to-file");
	yard_link("/bin/true", "d/up");
	make("gone");
	cleanup_caller struct caller c = start_caller(open_fds, NULL);
	for (size_t i = 0; i < sizeof relative / sizeof *relative; i++) {
		for (int fd = 101; fd <= 106; fd++)
			check_at(&c, fd, relative[i], 0);
		check_at(&c, 107, relative[i], 0);
		check_at(&c, -1, relative[i], 0);
		check_at(&c, INT_MAX, relative[i], 0);
		check_at(&c, INT_MIN, relative[i], 0);
	}
	for (int fd = 101; fd <= 107; fd++) {
		check_at(&c, fd, "", AT_EMPTY_PATH);
		check_at(&c, fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
		check_at(&c, fd, "", 0);
		check_at(&c, fd, "inner", AT_EMPTY_PATH);
		check_at(&c, fd, "/bin/true", 0); /* then dirfd does not matter */
		check_at(&c, fd, "up", AT_SYMLINK_NOFOLLOW);
	}
	check_at(&c, AT_FDCWD, "", AT_EMPTY_PATH);
	check_at(&c, -1, "", AT_EMPTY_PATH);
	check_at(&c, -1, "/bin/true", 0);
}

Test(resolve, fds_by_name)
{
	yard_link("file", "to-file");
	make("gone");
	cleanup_caller struct caller c = start_caller(open_fds, NULL);
	for (int fd = 101; fd <= 107; fd++) {
		check(&c, "/proc/self/fd/%d", fd);
		check(&c, "/dev/fd/%d", fd);
		check(&c, "/proc/thread-self/fd/%d", fd);
		check(&c, "/proc/%d/fd/%d", c.tgid, fd);
		check(&c, "/proc/%d/task/%d/fd/%d", c.tgid, c.tid, fd);
		check(&c, "/proc/self/fd/%d/", fd);
		check(&c, "/proc/self/fd/%d/e/deep", fd);
		check(&c, "/dev/fd/%d/../file", fd);
	}
	check(&c, "/dev/stdin");
	check(&c, "/proc/self/fd/101/../../../../../bin/true");
}

Test(resolve, their_own_program)
{
	static const char *const paths[] = {
		"/proc/self/exe",
		"/proc/thread-self/exe",
		"/proc/self/exe/",
		"/proc/self/../self/exe",
		"/proc/../proc/self/exe",
		"/proc/self/root/proc/self/exe",
		"/proc/self/task/../exe",
		"/proc/self/missing",
		"/proc/self",
		"/proc/self/",
		"/proc/self/fd",
		"/proc/self/status",
		"/proc/thread-self",
		"/proc/thread-self/status",
		"/proc/mounts",
		"/proc/net",
		"/proc/999999999/exe",
		"/proc",
		"/proc/version",
	};
	cleanup_caller struct caller c = start_caller(NULL, NULL);

	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
		check(&c, "%s", paths[i]);
	check(&c, "/proc/self/task/%d/exe", c.tid);
	check(&c, "/proc/%d/exe", c.tgid);
	check(&c, "/proc/1/exe");
}

/* --- what has no name --- */

static int memfd_with(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	cr_assert_geq(fd, 0);
	return fd;
}

Test(resolve, files_without_a_name)
{
	make("gone");
	cleanup_close int memfd = memfd_with("/bin/true"), deleted = open("gone", O_PATH | O_CLOEXEC);
	cleanup_close int temporary = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0700);
	cr_assert_geq(deleted, 0);
	cr_assert_eq(unlink("gone"), 0);
	cleanup_caller struct caller c = start_caller(NULL, NULL);
	const int fds[] = {memfd, deleted, temporary};
	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
		if (fds[i] < 0)
			continue; /* a file system without O_TMPFILE */
		char link[32];
		check_at(&c, fds[i], "", AT_EMPTY_PATH);
		cleanup_found struct sp_file by_fd = must_resolve(&c, fds[i], "", AT_EMPTY_PATH);
		cr_assert(by_fd.anonymous, "%s", by_fd.path);
		(void)snprintf(link, sizeof link, "/proc/self/fd/%d", fds[i]);
		check(&c, "%s", link);
		cleanup_found struct sp_file by_name = must_resolve(&c, AT_FDCWD, link, 0);
		cr_assert(by_name.anonymous, "%s", by_name.path);
	}
}

Test(resolve, a_name_that_was_taken_over)
{
	cleanup_close int old = open("file", O_PATH | O_CLOEXEC);

	cr_assert_eq(unlink("file"), 0);
	make("file");
	cleanup_caller struct caller c = start_caller(NULL, NULL);
	cleanup_found struct sp_file file = must_resolve(&c, old, "", AT_EMPTY_PATH);
	cr_assert(file.anonymous, "%s", file.path);
	cleanup_found struct sp_file fresh = must_resolve(&c, AT_FDCWD, "file", 0);
	cr_assert_not(fresh.anonymous);
	cr_assert_neq(fresh.st.st_ino, file.st.st_ino);
}

Test(resolve, hard_links)
{
	char expected[128];

	cr_assert_eq(link("file", "other"), 0);
	cleanup_close int by_file = open("file", O_PATH | O_CLOEXEC), by_other = open("other", O_PATH | O_CLOEXEC);
	cr_assert_eq(unlink("file"), 0);
	cleanup_caller struct caller c = start_caller(NULL, NULL);
	/* The name it was opened by is gone; that there is another, nobody can tell. */
	cleanup_found struct sp_file lost = must_resolve(&c, by_file, "", AT_EMPTY_PATH);
	cr_assert_eq(lost.st.st_nlink, 1u);
	cr_assert(lost.anonymous, "%s", lost.path);
	cleanup_found struct sp_file kept = must_resolve(&c, by_other, "", AT_EMPTY_PATH);
	cr_assert_not(kept.anonymous);
	(void)snprintf(expected, sizeof expected, "%s/other", yard_directory());
	cr_assert_str_eq(kept.path, expected);
}

/* "(deleted)" is what the kernel appends, and what anybody may call a file. */
Test(resolve, called_deleted)
{
	make("x (deleted)");
	yard_make_directory("dir (deleted)");
	make("dir (deleted)/x");
	make("gone (deleted)");
	cleanup_close int gone = open("gone (deleted)", O_PATH | O_CLOEXEC);
	cr_assert_eq(unlink("gone (deleted)"), 0);
	make("y");
	cr_assert_eq(link("y", "z"), 0);
	cleanup_close int other = open("y", O_PATH | O_CLOEXEC);
	cr_assert_eq(unlink("y"), 0);
	make("y (deleted)"); /* what the kernel calls the other one now */
	cleanup_caller struct caller c = start_caller(NULL, NULL);
	cleanup_found struct sp_file file = must_resolve(&c, AT_FDCWD, "x (deleted)", 0);
	cr_assert(!file.anonymous && !file.foreign, "%s", file.path);
	cr_assert_str_eq(strrchr(file.path, '/'), "/x (deleted)");
	cleanup_found struct sp_file inside = must_resolve(&c, AT_FDCWD, "dir (deleted)/x", 0);
	cr_assert(!inside.anonymous && !inside.foreign);
	cleanup_found struct sp_file nameless = must_resolve(&c, gone, "", AT_EMPTY_PATH);
	cr_assert(nameless.anonymous, "%s", nameless.path);
	cleanup_found struct sp_file pretender = must_resolve(&c, other, "", AT_EMPTY_PATH);
	cr_assert(pretender.anonymous, "%s", pretender.path);
}

Test(resolve, canonical_path)
{
	static const char *const paths[] = {
		"file",           "d/../file",         "to-d/inner", "/bin/sh", "/proc/self/cwd/to-d/e/deep",
		"/proc/self/exe", "here/d/e/../e/deep"};
	yard_link("d", "to-d");
	yard_link(yard_directory(), "here");
	cleanup_caller struct caller c = start_caller(NULL, NULL);
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		cleanup_free char *real = realpath(paths[i], NULL);
		cleanup_found struct sp_file file = must_resolve(&c, AT_FDCWD, paths[i], 0);
		cr_assert_str_eq(file.path, real);
		cr_assert_not(file.anonymous);
		cr_assert_not(file.foreign);
	}
}

/* --- a root, a directory, a table of fds of its own --- */

static bool own_directory(void *context, int end)
{
	(void)end;
	return chdir(context) == 0;
}

Test(resolve, other_working_directory)
{
	static const char *const paths[] = {"inner", "file", "../file", "e/deep", "e/../inner", "..", "../..", "."};
	char directory[128];

	(void)snprintf(directory, sizeof directory, "%s/d", yard_directory());
	cleanup_caller struct caller c = start_caller(own_directory, directory);
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		check(&c, "%s", paths[i]);
		check(&c, "/proc/self/cwd/%s", paths[i]);
	}
}

static bool deleted_directory(void *context, int end)
{
	(void)context;
	(void)end;
	return mkdir("going", 0755) == 0 && chdir("going") == 0 && rmdir("../going") == 0;
}

Test(resolve, deleted_working_directory)
{
	static const char *const paths[] = {"file", "..", "../file", ".", "./x", "/bin/true", "/proc/self/cwd/../file"};
	cleanup_caller struct caller c = start_caller(deleted_directory, NULL);

	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
		check(&c, "%s", paths[i]);
}

/* A tree to be a root: /in/file, /bin/true of its own, links that mean something else outside. */
static void make_jail(void)
{
	static const char *const directories[] = {"jail", "jail/in", "jail/bin", "jail/proc", "jail/tmp"};

	for (size_t i = 0; i < sizeof directories / sizeof *directories; i++)
		yard_make_directory(directories[i]);
	make("jail/in/file");
	make("jail/bin/true");
	yard_link("/bin/true", "jail/in/absolute");
	yard_link("../../../../bin/true", "jail/in/upwards");
	yard_link("/in/../../in/file", "jail/in/around");
	yard_link("/proc/self/root/in/file", "jail/in/magic");
}

static const char *const jail_paths[] = {
	"/in/file",
	"/bin/true",
	"/in/absolute",
	"/in/upwards",
	"/in/around",
	"/in/magic",
	"/../../in/file",
	"/in/../../../bin/true",
	"in/file",
	"../in/file",
	"../../../bin/true",
	"in/absolute",
	"in/upwards",
	"..",
	".",
	"/",
	"/..",
	"file",
	"../file",
	"/proc/self/exe",
	"/proc/self/root/bin/true",
	"/proc/self/cwd/in/absolute",
	"/bin/sh",
};

static bool inside_jail(void *context, int end)
{
	(void)context;
	(void)end;
	return chroot("jail") == 0 && chdir("/") == 0;
}

/* Its root has moved, its working directory has not: it can go up past its root. */
static bool outside_jail(void *context, int end)
{
	(void)context;
	(void)end;
	return chroot("jail") == 0;
}

static bool jail_with_proc(void *context, int end)
{
	(void)context;
	(void)end;
	return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("/proc", "jail/proc", NULL, MS_BIND | MS_REC, NULL) == 0 && chroot("jail") == 0 &&
	       chdir("/in") == 0;
}

static void check_jail(setup *prepare)
{
	make_jail();
	cleanup_caller struct caller c = start_caller(prepare, NULL);
	for (size_t i = 0; i < sizeof jail_paths / sizeof *jail_paths; i++)
		check(&c, "%s", jail_paths[i]);
}

Test(resolve, chroot)
{
	check_jail(inside_jail);
}

Test(resolve, chroot_with_the_directory_outside)
{
	check_jail(outside_jail);
}

Test(resolve, chroot_with_proc)
{
	check_jail(jail_with_proc);
}

/* A chroot in the same mounts: the name is the one that the supervisor sees. */
Test(resolve, chroot_has_our_names)
{
	char expected[128];

	make_jail();
	cleanup_caller struct caller c = start_caller(inside_jail, NULL);
	cleanup_found struct sp_file file = must_resolve(&c, AT_FDCWD, "/in/absolute", 0);
	(void)snprintf(expected, sizeof expected, "%s/jail/bin/true", yard_directory());
	cr_assert_str_eq(file.path, expected);
	cr_assert(!file.anonymous && !file.foreign);
}

/* A thread whose directory and fds are its own: the process's are others. */
static void *serve_in_thread(void *arg)
{
	const int *end = arg;

	if (unshare(CLONE_FS | CLONE_FILES) != 0 || chdir("d") != 0 || dup2(open("inner", O_RDONLY), 111) != 111)
		_exit(1);
	serve(*end);
}

static bool become_thread(void *context, int end)
{
	pthread_t thread;

	(void)context;
	return dup2(open("file", O_RDONLY), 110) == 110 && pthread_create(&thread, NULL, serve_in_thread, &end) == 0 &&
	       pthread_join(thread, NULL) == 0;
}

Test(resolve, thread_of_its_own_ways)
{
	static const char *const paths[] = {
		"inner",
		"../file",
		"file",
		"/proc/self/cwd/file",
		"/proc/self/cwd/inner",
		"/proc/thread-self/cwd/inner",
		"/proc/thread-self/cwd/file",
		"/proc/self/fd/110",
		"/proc/self/fd/111",
		"/proc/thread-self/fd/110",
		"/proc/thread-self/fd/111",
		"/dev/fd/111",
		"/proc/thread-self/exe",
		"/proc/thread-self/../../cwd/file",
	};
	cleanup_caller struct caller c = start_caller(become_thread, NULL);

	cr_assert_neq(c.tid, c.tgid);
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
		check(&c, "%s", paths[i]);
	for (int fd = 110; fd <= 112; fd++)
		check_at(&c, fd, "", AT_EMPTY_PATH);
}

/* --- mounts of its own --- */

/* As root in mounts of our own, as anybody else in a user namespace too. */
static bool own_mounts(void)
{
	return unshare(geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) == 0 &&
	       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static bool mount_over(void *context, int end)
{
	(void)context;
	(void)end;
	return own_mounts() && mount("d/inner", "file", NULL, MS_BIND, NULL) == 0 &&
	       mount("none", "d/e", "tmpfs", 0, NULL) == 0 && mkdir("d/e/sub", 0755) == 0 &&
	       symlink("../../file", "d/e/deep") == 0;
}

Test(resolve, mounts_of_its_own)
{
	static const char *const paths[] = {
		"file", "d/inner", "d/e/deep", "d/e/sub", "d/e/sub/../../inner", "d/e/..", "d/e/../e/sub/../deep"};
	cleanup_caller struct caller c = start_caller(mount_over, NULL);

	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
		check_everywhere(&c, yard_directory(), paths[i]);
}

/* What is called "file" there is something else here: the name is a claim. */
Test(resolve, names_of_foreign_mounts_are_claims)
{
	cleanup_caller struct caller c = start_caller(mount_over, NULL);

	cleanup_found struct sp_file over = must_resolve(&c, AT_FDCWD, "file", 0);
	cr_assert(over.foreign, "%s", over.path);
	cr_assert_not(over.anonymous);
	cleanup_found struct sp_file sub = must_resolve(&c, AT_FDCWD, "d/e/sub", 0);
	cr_assert(sub.foreign, "%s", sub.path);
	/* and what is the same for both, is */
	cleanup_found struct sp_file same = must_resolve(&c, AT_FDCWD, "d/inner", 0);
	cr_assert_not(same.foreign, "%s", same.path);
	cleanup_found struct sp_file shell = must_resolve(&c, AT_FDCWD, "/bin/sh", 0);
	cr_assert_not(shell.foreign, "%s", shell.path);
}

static bool pivot(void *context, int end)
{
	(void)context;
	(void)end;
	return own_mounts() && mount("none", "jail/tmp", "tmpfs", 0, NULL) == 0 && mkdir("jail/tmp/old", 0755) == 0 &&
	       mkdir("jail/tmp/bin", 0755) == 0 && mkdir("jail/tmp/in", 0755) == 0 &&
	       symlink("../bin/true", "jail/tmp/in/upwards") == 0 &&
	       close(open("jail/tmp/bin/true", O_WRONLY | O_CREAT, 0755)) == 0 &&
	       syscall(SYS_pivot_root, "jail/tmp", "jail/tmp/old") == 0 && chdir("/in") == 0 &&
	       umount2("/old", MNT_DETACH) == 0;
}

/* As containers do it: another root altogether, in which /bin/true is not ours. */
Test(resolve, pivoted_root)
{
	make_jail();
	cleanup_caller struct caller c = start_caller(pivot, NULL);
	for (size_t i = 0; i < sizeof jail_paths / sizeof *jail_paths; i++)
		check(&c, "%s", jail_paths[i]);
	cleanup_found struct sp_file file = must_resolve(&c, AT_FDCWD, "/bin/true", 0);
	cr_assert(file.foreign, "%s", file.path);
	cleanup_found struct sp_file linked = must_resolve(&c, AT_FDCWD, "upwards", 0);
	cr_assert(linked.foreign, "%s", linked.path);
}

/* --- pids of its own: its /proc numbers tasks otherwise, and has no entry for us --- */

static bool own_pids(void *context, int end)
{
	(void)context;
	if (unshare((geteuid() == 0 ? 0 : CLONE_NEWUSER) | CLONE_NEWNS | CLONE_NEWPID) != 0)
		return false;
	pid_t child = fork();
	if (child != 0) {
		int status = 0;

		(void)close(end);
		(void)waitpid(child, &status, 0);
		_exit(WEXITSTATUS(status));
	}
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0 &&
	       dup2(open("d", O_PATH | O_DIRECTORY), 101) == 101;
}

/* The pid by which we know the only child of one that we know. */
static pid_t only_child_of(pid_t parent)
{
	char path[64];
	pid_t child = 0;

	(void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", parent, parent);
	cleanup_file FILE *f = fopen(path, "re");
	if (f == NULL || fscanf(f, "%d", &child) != 1)
		yard_skip("this kernel does not tell children");
	return child;
}

Test(resolve, pids_of_its_own)
{
	static const char *const paths[] = {
		"/proc/self/exe",     "/proc/thread-self/exe", "/proc/self/cwd/file", "/proc/self/fd/101/inner",
		"/dev/fd/101/e/deep", "/proc/1/exe",           "/proc/1/cwd/file",    "/proc/self/root/bin/true",
	};
	cleanup_caller struct caller c = start_caller(own_pids, NULL);

	c.tid = c.tgid = only_child_of(c.child);
	check(&c, "file");
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
		check(&c, "%s", paths[i]);
}

/* --- on the loop --- */

/* What was looked up a moment ago is answered there: a helper thread for each exec would cost too much. */
Test(resolve, usual_paths_are_answered_on_the_loop)
{
	static const char *const paths[] = {"/bin/true", "/bin/sh", "file", "./d/inner", "./missing", "/bin/missing"};
	cleanup_caller struct caller c = start_caller(NULL, NULL);
	cleanup_filesystems struct sp_filesystems *fs = sp_filesystems_new();
	const struct sp_lookup lookup = {.tid = c.tid, .tgid = c.tgid, .filesystems = fs};

	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		int err = -EAGAIN;
		/* again: a rename or mount somewhere in the system at the same time spoils one try */
		for (int attempt = 0; err == -EAGAIN && attempt < 1000; attempt++) {
			cleanup_found struct sp_file file = {.fd = -1};
			check(&c, "%s", paths[i]);
			err = sp_resolve(&lookup, AT_FDCWD, paths[i], 0, &file);
		}
		cr_assert_neq(err, -EAGAIN, "%s", paths[i]);
	}
}

static atomic_bool enough;

static void *rename_on_and_on(void *context)
{
	(void)context;
	while (!enough) {
		(void)rename("d/inner", "d/renamed");
		(void)rename("d/renamed", "d/inner");
	}
	return NULL;
}

/* Whoever may wait is never told to try again because somebody renames something. */
Test(resolve, renames_do_not_matter)
{
	cleanup_caller struct caller c = start_caller(NULL, NULL);
	const struct sp_lookup lookup = {.tid = c.tid, .tgid = c.tgid, .may_block = true};
	pthread_t other;

	cr_assert_eq(pthread_create(&other, NULL, rename_on_and_on, NULL), 0);
	for (int i = 0; i < 20000; i++) {
		cleanup_found struct sp_file file = {.fd = -1};
		int err = sp_resolve(&lookup, AT_FDCWD, "d/../d/../d/../file", 0, &file);
		cr_assert_eq(err, 0, "%s", strerror(-err));
	}
	enough = true;
	cr_assert_eq(pthread_join(other, NULL), 0);
}

/* --- file systems that do not answer --- */

static void reply(int fd, uint64_t request, const void *body, size_t size)
{
	const struct fuse_out_header head = {.len = (uint32_t)(sizeof head + size), .unique = request};
	const struct iovec parts[] = {{(void *)&head, sizeof head}, {(void *)body, size}};

	if (writev(fd, parts, 2) < 0)
		_exit(1);
}

/* Says which names there are, to be remembered for an hour, and nothing else ever. */
static void answer(int fd, const struct fuse_in_header *request, const char *name)
{
	struct fuse_entry_out entry = {.entry_valid = 3600};
	const struct fuse_init_out init = {.major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 4096};

	if (request->opcode == FUSE_INIT)
		reply(fd, request->unique, &init, sizeof init);
	if (request->opcode != FUSE_LOOKUP)
		return;
	if (strcmp(name, "there") == 0) {
		entry.nodeid = 2;
		entry.attr = (struct fuse_attr){.ino = 2, .mode = S_IFREG | 0755, .nlink = 1};
	}
	reply(fd, request->unique, &entry, sizeof entry);
}

/* Only this process has the fd. Whoever waits for an answer gets an error when it ends, which a test that blocks needs:
 * not even SIGKILL ends waiting for a request that was received. */
[[gnu::noreturn]] static void serve_files(int fd, bool knows_names)
{
	static union {
		struct fuse_in_header head;
		char bytes[1 << 16];
	} request;

	(void)alarm(3);
	while (knows_names && read(fd, &request, sizeof request) > 0)
		answer(fd, &request.head, request.bytes + sizeof request.head);
	for (;;)
		(void)pause();
}

/* Mounts FUSE, in mounts of our own. The server. */
static pid_t start_server(bool knows_names)
{
	char options[128];

	yard_make_mount_point();
	if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		yard_skip("needs root");
	cleanup_close int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		yard_skip("no FUSE here");
	(void)snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd);
	cr_assert_eq(mount("fuse", YARD_MOUNT, "fuse", 0, options), 0);
	pid_t server = fork();
	cr_assert_geq(server, 0);
	if (server == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve_files(fd, knows_names);
	}
	return server;
}

static void end_server(const pid_t *server)
{
	(void)kill(*server, SIGKILL);
	(void)waitpid(*server, NULL, 0);
}

#define cleanup_server sp_cleanup(end_server)

static int resolve_on_the_loop(int dirfd, const char *path, int flags)
{
	cleanup_filesystems struct sp_filesystems *fs = sp_filesystems_new();
	const struct sp_lookup lookup = {.tid = getpid(), .tgid = getpid(), .filesystems = fs};
	cleanup_found struct sp_file file = {.fd = -1};

	return sp_resolve(&lookup, dirfd, path, flags, &file);
}

Test(resolve, dead_server_does_not_block_the_loop)
{
	static const char *const paths[] = {YARD_MOUNT "/x", YARD_MOUNT "/x/y", "d/../" YARD_MOUNT "/x",
					    "to-x",          "to-mount/x",      "/proc/self/cwd/" YARD_MOUNT "/x"};
	cleanup_free char *absolute = NULL;

	yard_link(YARD_MOUNT "/x", "to-x");
	yard_link(YARD_MOUNT, "to-mount");
	cr_assert_geq(asprintf(&absolute, "%s/" YARD_MOUNT "/x", yard_directory()), 0);
	cleanup_server pid_t server = start_server(false);
	cr_assert_gt(server, 0);
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
		cr_assert_eq(resolve_on_the_loop(AT_FDCWD, paths[i], 0), -EAGAIN, "%s", paths[i]);
	cr_assert_eq(resolve_on_the_loop(AT_FDCWD, absolute, 0), -EAGAIN);
}

/* Its root is always at hand, what stat(2) says of it is not. */
Test(resolve, root_of_a_dead_server_does_not_block_the_loop)
{
	cleanup_server pid_t server = start_server(false);
	cleanup_close int root = open(YARD_MOUNT, O_PATH | O_CLOEXEC);

	for (int flags = 0; flags <= AT_SYMLINK_NOFOLLOW; flags += AT_SYMLINK_NOFOLLOW) {
		int err = resolve_on_the_loop(AT_FDCWD, YARD_MOUNT, flags);
		cr_assert(err == 0 || err == -EAGAIN, "%s", strerror(-err));
		err = resolve_on_the_loop(root, "", AT_EMPTY_PATH | flags);
		cr_assert(err == 0 || err == -EAGAIN, "%s", strerror(-err));
	}
	cr_assert_eq(waitpid(server, NULL, WNOHANG), 0, "waited until the server was gone");
}

/* The name is remembered, the file's attributes are not: whoever asks for them waits. */
Test(resolve, known_name_of_a_dead_server_does_not_block_the_loop)
{
	cleanup_server pid_t server = start_server(true);
	cleanup_close int there = open(YARD_MOUNT "/there", O_PATH | O_CLOEXEC);

	cr_assert_geq(there, 0, "%s", strerror(errno));
	int err = resolve_on_the_loop(AT_FDCWD, YARD_MOUNT "/there", 0);
	cr_assert(err == 0 || err == -EAGAIN, "by name: %s", strerror(-err));
	err = resolve_on_the_loop(there, "", AT_EMPTY_PATH);
	cr_assert(err == 0 || err == -EAGAIN, "by fd: %s", strerror(-err));
	cr_assert_eq(waitpid(server, NULL, WNOHANG), 0, "waited until the server was gone");
}

/* That there is no such name is remembered too; what kind of file system that is, must not be asked. */
Test(resolve, missing_name_of_a_dead_server_does_not_block_the_loop)
{
	cleanup_server pid_t server = start_server(true);

	cr_assert_lt(open(YARD_MOUNT "/missing", O_PATH | O_CLOEXEC), 0);
	int err = resolve_on_the_loop(AT_FDCWD, YARD_MOUNT "/missing", 0);
	cr_assert(err == -ENOENT || err == -EAGAIN, "%s", strerror(-err));
	cr_assert_eq(waitpid(server, NULL, WNOHANG), 0, "waited until the server was gone");
}

/* --- who is gone --- */

Test(resolve, gone)
{
	struct caller c = start_caller(NULL, NULL);
	const struct sp_lookup lookup = {.tid = c.tid, .tgid = c.tgid, .may_block = true};
	struct sp_file file = {.fd = -1};

	end_caller(&c);
	cr_assert_lt(sp_resolve(&lookup, AT_FDCWD, "/bin/true", 0, &file), 0);
	cr_assert_lt(sp_resolve(&lookup, AT_FDCWD, "file", 0, &file), 0);
	cr_assert_lt(sp_resolve(&lookup, 0, "", AT_EMPTY_PATH, &file), 0);
	cr_assert_lt(file.fd, 0);
}
