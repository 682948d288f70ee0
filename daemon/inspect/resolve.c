/* See resolve.h. The usual path costs one openat2(2) below the caller's root. What that cannot express (magic links,
 * /proc/self, an absolute symlink or .. above a relative path) is walked component by component. */
#include "inspect/resolve.h"

#include "util/cleanup.h"
#include "util/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { SYMLINKS_MAX = 40 /* as the kernel: MAXSYMLINKS */, PROC_ROOT_INO = 1, TRIES_MAX = 10000 };

static int open_fast(const struct sp_lookup *l, int base, const char *path, uint64_t scope, int flags);
static bool surely_missing(const struct sp_lookup *l, int base, const char *path, uint64_t scope);
static int walk(const struct sp_lookup *l, int base, const char *path, int flags);
static int look_at(struct sp_file *file);
static int describe(const struct sp_lookup *l, struct sp_file *file);

static int open_link(pid_t tid, const char *what)
{
	char path[SP_PROC_NAME];

	int fd = open(sp_proc_task(path, tid, what), O_PATH | O_CLOEXEC);
	return fd >= 0 ? fd : -errno;
}

/* Our own root directory. The fd keeps its mount, so that the number is not given to another one. */
static struct {
	int fd;
	struct statx is;
} our_root = {.fd = -1};
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int look_at_root(const char *path, struct statx *x)
{
	return statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_INO | STATX_MNT_ID, x);
}

static void find_our_root(void)
{
	our_root.fd = look_at_root("/", &our_root.is) == 0 ? open("/", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
}

/* Most tasks have the root that we have: the same directory in the same mount, so in the same mount namespace. */
static bool has_our_root(pid_t tid)
{
	char path[SP_PROC_NAME];
	struct statx x;

	(void)pthread_once(&once, find_our_root);
	return our_root.fd >= 0 && look_at_root(sp_proc_task(path, tid, "root"), &x) == 0 &&
	       (x.stx_mask & STATX_MNT_ID) != 0 && x.stx_mnt_id == our_root.is.stx_mnt_id &&
	       x.stx_ino == our_root.is.stx_ino;
}

/* What a relative path starts from. An fd or -errno. */
static int open_base(const struct sp_lookup *l, int dirfd)
{
	char what[32];

	if (dirfd == AT_FDCWD)
		return open_link(l->tid, "cwd");
	(void)snprintf(what, sizeof what, "fd/%d", dirfd);
	int fd = dirfd >= 0 ? open_link(l->tid, what) : -EBADF;
	return fd == -ENOENT ? -EBADF : fd;
}

static int walk_if_allowed(const struct sp_lookup *l, int base, const char *path, int flags)
{
	return l->may_block ? walk(l, base, path, flags) : -EAGAIN;
}

static bool is_procfs(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

/* May a file system be asked for more than what the kernel knows? A dead server would hold us. */
static bool may_be_asked(const struct sp_lookup *l, dev_t device)
{
	return l->may_block || l->filesystems == NULL || !sp_filesystems_may_block(l->filesystems, device, l->tid);
}

/* "self" in procfs is us for openat2, and the caller for the walk. What could run is never there but behind a magic link, which
 * openat2 does not follow; so only what cannot run has to be looked at. */
static bool may_be_ours(const struct sp_lookup *l, const struct sp_file *file)
{
	bool could_run = S_ISREG(file->st.st_mode) && (file->st.st_mode & 0111) != 0;

	return !could_run && may_be_asked(l, file->st.st_dev) && is_procfs(file->fd);
}

static int open_path(const struct sp_lookup *l, int dirfd, const char *path, int flags, struct sp_file *file)
{
	bool absolute = path[0] == '/';

	if (path[0] == '\0') {
		file->fd = (flags & AT_EMPTY_PATH) != 0 ? open_base(l, dirfd) : -ENOENT;
		return file->fd < 0 ? file->fd : look_at(file);
	}
	file->from_our_root = absolute && has_our_root(l->tid);
	cleanup_close int theirs = !absolute             ? open_base(l, dirfd)
				   : file->from_our_root ? -1
							 : open_link(l->tid, "root");
	const int base = file->from_our_root ? our_root.fd : theirs;
	if (base < 0)
		return base;
	/* From a directory in the middle of a tree "in root" would mean something else: stay beneath it, or walk. */
	uint64_t scope = absolute ? RESOLVE_IN_ROOT : RESOLVE_BENEATH;
	file->fd = open_fast(l, base, path, scope, flags);
	if (file->fd == -EAGAIN || (file->fd == -ENOENT && surely_missing(l, base, path, scope)))
		return file->fd;
	int err = file->fd >= 0 ? look_at(file) : 0;
	if (err != 0 || (file->fd >= 0 && !may_be_ours(l, file)))
		return err;
	sp_file_close(file);
	file->from_our_root = false;
	file->fd = walk_if_allowed(l, base, path, flags);
	return file->fd < 0 ? file->fd : look_at(file);
}

int sp_resolve(const struct sp_lookup *l, int dirfd, const char *path, int flags, struct sp_file *file)
{
	file->fd = -1;
	file->from_our_root = false;
	int err = open_path(l, dirfd, path, flags, file);
	if (err == 0)
		err = describe(l, file);
	if (err != 0)
		sp_file_close(file);
	return err;
}

void sp_file_close(struct sp_file *file)
{
	sp_close_fd(&file->fd);
	file->fd = -1;
}

/* EAGAIN: it would block (RESOLVE_CACHED); or a rename or a mount anywhere in the system came in between, and then it is to be tried
 * again, openat2(2). Somebody may rename without end: after that many times the exec is refused. */
static int open_how(int base, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC | flags, .resolve = resolve};
	const unsigned tries = (resolve & RESOLVE_CACHED) != 0 ? 1 : TRIES_MAX;
	long fd = -1;

	errno = EAGAIN;
	for (unsigned i = 0; i < tries && fd < 0 && errno == EAGAIN; i++)
		fd = syscall(SYS_openat2, base, path, &how, sizeof how);
	return fd >= 0 ? (int)fd : -errno;
}

static int open_fast(const struct sp_lookup *l, int base, const char *path, uint64_t scope, int flags)
{
	uint64_t nofollow = (flags & AT_SYMLINK_NOFOLLOW) != 0 ? O_NOFOLLOW : 0;

	return open_how(base, path, nofollow, scope | RESOLVE_NO_MAGICLINKS | (l->may_block ? 0 : RESOLVE_CACHED));
}

/* ENOENT from open_fast() is the caller's ENOENT only where the path does not lead through procfs, in which "self" is somebody
 * else for us: the directory must be there, on another file system, and have no such name. */
static bool surely_missing(const struct sp_lookup *l, int base, const char *path, uint64_t scope)
{
	char directory[SP_PATH_MAX];
	const char *slash = strrchr(path, '/');
	struct stat st;

	if (slash == NULL || slash[1] == '\0')
		return false;
	(void)snprintf(directory, sizeof directory, "%.*s", (int)(slash - path + 1), path);
	cleanup_close int fd = open_fast(l, base, directory, scope, 0);
	if (fd < 0 || sp_stat_cached(fd, "", &st) != 0 || !may_be_asked(l, st.st_dev) || is_procfs(fd))
		return false;
	cleanup_close int name = open_how(fd, slash + 1, O_NOFOLLOW, l->may_block ? 0 : RESOLVE_CACHED);
	return name == -ENOENT;
}

/* --- the walk --- */

struct walk {
	const struct sp_lookup *lookup;
	int root, at; /* O_PATH fds; at is ours to close */
	int links; /* symlinks followed */
	bool slash; /* behind the component that was walked last: it must be a directory */
	char *rest; /* what is still to walk; allocated */
};

static bool same_directory(int a, int b)
{
	struct statx x, y;
	const unsigned want = STATX_INO | STATX_MNT_ID;

	return statx(a, "", AT_EMPTY_PATH, want, &x) == 0 && statx(b, "", AT_EMPTY_PATH, want, &y) == 0 &&
	       x.stx_ino == y.stx_ino && x.stx_dev_major == y.stx_dev_major && x.stx_dev_minor == y.stx_dev_minor &&
	       x.stx_mnt_id == y.stx_mnt_id;
}

static int move_to(struct walk *w, int fd)
{
	if (fd < 0)
		return fd;
	(void)close(w->at);
	w->at = fd;
	return 0;
}

static bool is_directory(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
}

static int go_up(struct walk *w)
{
	if (same_directory(w->at, w->root))
		return 0;
	int fd = openat(w->at, "..", O_PATH | O_CLOEXEC);
	return move_to(w, fd >= 0 ? fd : -errno);
}

/* In procfs: is the symlink `name` in directory `at` one whose text must not be read but followed by the kernel? Those in
 * the root of procfs (self, thread-self, mounts, net) are ordinary. */
static bool is_magic(const struct walk *w, int link)
{
	struct stat st;

	return is_procfs(link) && fstat(w->at, &st) == 0 && st.st_ino != PROC_ROOT_INO;
}

/* The last number of a line like "NStgid: 4711 12 1": what the task is called in the innermost of its pid namespaces. */
static pid_t innermost(const char *line)
{
	const char *last = strrchr(line, '\t');

	return last != NULL ? (pid_t)strtol(last, NULL, 10) : 0;
}

/* What "self" is for the caller. proc_is_ours: the procfs shows pids as we see them; otherwise it is taken to be one that the
 * caller mounted for itself. */
static int own_ids(const struct sp_lookup *l, bool proc_is_ours, pid_t *tgid, pid_t *tid)
{
	char path[SP_PROC_NAME], line[512];

	*tgid = l->tgid;
	*tid = l->tid;
	if (proc_is_ours)
		return 0;
	cleanup_file FILE *f = fopen(sp_proc_task(path, l->tid, "status"), "re");
	while (f != NULL && fgets(line, sizeof line, f) != NULL) {
		if (strncmp(line, "NStgid:", 7) == 0)
			*tgid = innermost(line);
		if (strncmp(line, "NSpid:", 6) == 0)
			*tid = innermost(line);
	}
	return f != NULL && *tgid > 0 && *tid > 0 ? 0 : -ENOENT;
}

/* The text of a symlink, as the caller would read it: "self" and "thread-self" are the caller. */
static int read_link(const struct walk *w, int link, const char *name, char text[static SP_PATH_MAX])
{
	char own[32];
	pid_t tgid, tid;
	ssize_t n = readlinkat(link, "", text, SP_PATH_MAX - 1);
	bool self = strcmp(name, "self") == 0, thread = strcmp(name, "thread-self") == 0;

	text[n > 0 ? n : 0] = '\0';
	if ((!self && !thread) || !is_procfs(link))
		return n > 0 ? 0 : n == 0 ? -ENOENT : -errno;
	(void)snprintf(own, sizeof own, self ? "%d" : "%d/", getpid());
	int err = own_ids(w->lookup, strncmp(text, own, strlen(own)) == 0, &tgid, &tid);
	(void)snprintf(text, SP_PATH_MAX, self ? "%d" : "%d/task/%d", tgid, tid);
	return err;
}

static int follow(struct walk *w, int link, const char *name)
{
	char text[SP_PATH_MAX];

	if (++w->links > SYMLINKS_MAX)
		return -ELOOP;
	if (is_magic(w, link)) {
		int fd = openat(w->at, name, O_PATH | O_CLOEXEC);

		return move_to(w, fd >= 0 ? fd : -errno);
	}
	int err = read_link(w, link, name, text);
	if (err != 0)
		return err;
	char *rest = NULL;
	if (asprintf(&rest, "%s%s", text, w->rest) < 0) /* what is left begins with a slash */
		return -ENOMEM;
	free(w->rest);
	w->rest = rest;
	if (text[0] != '/')
		return 0;
	int root = fcntl(w->root, F_DUPFD_CLOEXEC, 0);
	return move_to(w, root >= 0 ? root : -errno);
}

/* Takes the first component off w->rest. Empty: nothing is left. last: no other follows. */
static int next_component(struct walk *w, char name[static NAME_MAX + 1], bool *last)
{
	char *start = w->rest + strspn(w->rest, "/");
	size_t length = strcspn(start, "/");

	if (length > NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(name, start, length);
	name[length] = '\0';
	char *after = start + length;
	*last = after[strspn(after, "/")] == '\0';
	memmove(w->rest, after, strlen(after) + 1);
	return 0;
}

static int step(struct walk *w, const char *name, bool keep_link)
{
	struct stat st;

	if (strcmp(name, ".") == 0)
		return is_directory(w->at) ? 0 : -ENOTDIR;
	if (strcmp(name, "..") == 0)
		return is_directory(w->at) ? go_up(w) : -ENOTDIR;
	cleanup_close int fd = openat(w->at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0)
		return -errno;
	if (S_ISLNK(st.st_mode) && !keep_link)
		return follow(w, fd, name);
	return move_to(w, sp_steal_fd(&fd));
}

static void walk_done(struct walk *w)
{
	sp_close_fd(&w->root);
	sp_close_fd(&w->at);
	free(w->rest);
}

static int walk(const struct sp_lookup *l, int base, const char *path, int flags)
{
	sp_cleanup(walk_done) struct walk w = {.lookup = l, .root = open_link(l->tid, "root"), .at = -1};
	char name[NAME_MAX + 1];
	bool last = false, directory = path[strlen(path) - 1] == '/';

	w.at = fcntl(base, F_DUPFD_CLOEXEC, 0);
	w.rest = strdup(path);
	if (w.root < 0 || w.at < 0 || w.rest == NULL)
		return w.root < 0 ? w.root : -ENOMEM;
	for (;;) {
		int err = next_component(&w, name, &last);

		if (err == 0 && name[0] == '\0')
			break;
		w.slash = w.rest[0] == '/';
		if (err == 0)
			err = step(&w, name, last && !directory && (flags & AT_SYMLINK_NOFOLLOW) != 0);
		if (err != 0)
			return err;
	}
	if (w.slash && !is_directory(w.at))
		return -ENOTDIR;
	return sp_steal_fd(&w.at);
}

/* --- what it is --- */

int sp_stat_cached(int dirfd, const char *path, struct stat *st)
{
	struct statx x;
	const unsigned want = STATX_TYPE | STATX_MODE | STATX_NLINK | STATX_INO | STATX_SIZE | STATX_CTIME | STATX_UID;

	if (statx(dirfd, path, AT_EMPTY_PATH | AT_STATX_DONT_SYNC, want, &x) != 0)
		return -errno;
	*st = (struct stat){
		.st_dev = makedev(x.stx_dev_major, x.stx_dev_minor),
		.st_ino = x.stx_ino,
		.st_mode = x.stx_mode,
		.st_nlink = x.stx_nlink,
		.st_uid = x.stx_uid,
		.st_size = (off_t)x.stx_size,
		.st_ctim = {.tv_sec = x.stx_ctime.tv_sec, .tv_nsec = x.stx_ctime.tv_nsec},
	};
	return 0;
}

static int look_at(struct sp_file *file)
{
	return sp_stat_cached(file->fd, "", &file->st);
}

bool sp_has_our_users(pid_t tid)
{
	char path[SP_PROC_NAME];
	struct stat theirs, ours;

	return stat(sp_proc_task(path, tid, "ns/user"), &theirs) == 0 &&
	       stat(sp_proc_task(path, getpid(), "ns/user"), &ours) == 0 && theirs.st_ino == ours.st_ino &&
	       theirs.st_dev == ours.st_dev;
}

/* Does the canonical path lead to this very file from that root directory? 1 or 0, or -EAGAIN: finding out would block. */
static int name_holds_below(const struct sp_lookup *l, const struct sp_file *file, int root)
{
	const uint64_t how = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | (l->may_block ? 0 : RESOLVE_CACHED);
	struct stat st;
	cleanup_close int fd = open_how(root, file->path, O_NOFOLLOW, how);

	if (fd == -EAGAIN && !l->may_block)
		return fd;
	return fd >= 0 && sp_stat_cached(fd, "", &st) == 0 && st.st_dev == file->st.st_dev &&
	       st.st_ino == file->st.st_ino;
}

/* Whose namespace the caller is in does not matter: a fd, a working directory or a link such as /proc/PID/root leads from any
 * into any other, where somebody may have mounted what he likes. */
static int name_holds(const struct sp_lookup *l, const struct sp_file *file)
{
	(void)pthread_once(&once, find_our_root);
	int holds = name_holds_below(l, file, our_root.fd);
	return holds == 0 && l->home > 0 ? name_holds_below(l, file, l->home) : holds;
}

static int describe(const struct sp_lookup *l, struct sp_file *file)
{
	static const char deleted[] = " (deleted)";
	const size_t tail = sizeof deleted - 1;
	char link[SP_PROC_NAME];

	ssize_t n = readlink(sp_proc_own_fd(link, file->fd), file->path, sizeof file->path - 1);
	if (n < 0)
		return -errno;
	file->path[n] = '\0';
	file->anonymous = file->st.st_nlink == 0 || file->path[0] != '/';
	file->foreign = false;
	bool marked = (size_t)n > tail && strcmp(file->path + (size_t)n - tail, deleted) == 0;
	if (file->anonymous || (!marked && file->from_our_root))
		return 0;
	int holds = name_holds(l, file);
	if (holds < 0)
		return holds;
	/* One of several hard links may have been deleted: then the name that is left is not known. */
	file->anonymous = marked && holds == 0;
	file->foreign = !marked && holds == 0;
	return 0;
}
