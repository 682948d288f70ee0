/* See inspect.h: read the words, find the file, see what kind it is, and for a script the same again for its interpreter. */
#include "inspect/inspect.h"

#include "inspect/script.h"
#include "util/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { KINDS = 256 };

/* Files that are ELF. A file changed behind the key (same size and ctime) would show in the exec stop. */
struct sp_kinds {
	struct {
		dev_t device;
		ino_t inode;
		off_t size;
		struct timespec changed;
		bool has_run;
	} elf[KINDS];
};

/* Where few words are given, there are not too many (E2BIG) unless the environment is huge. */
enum { FEW_BYTES = 32 << 10 };

/* What one call of sp_inspect() may use. */
struct inspector {
	struct sp_inspection *in;
	bool may_block;
	struct sp_filesystems *filesystems;
	struct sp_kinds *kinds;
};

static int read_words(const struct inspector *i);
static int look_at_file(const struct inspector *i, const struct sp_file *file, char head[static SP_SCRIPT_HEAD],
			bool *elf);
static int resolve_script(const struct inspector *i, const char *head);

struct sp_inspection *sp_inspection_new(void)
{
	struct sp_inspection *in = calloc(1, sizeof *in);

	if (in != NULL)
		in->file.fd = in->interpreter.fd = -1;
	return in;
}

void sp_inspection_reset(struct sp_inspection *in)
{
	sp_file_close(&in->file);
	sp_file_close(&in->interpreter);
	sp_strings_clear(&in->argv);
	sp_strings_clear(&in->envp);
	sp_strings_clear(&in->final_argv);
	in->path[0] = in->reason[0] = in->interpreter_path[0] = '\0';
	in->file.path[0] = in->interpreter.path[0] = '\0';
	in->elf = in->has_run = in->shared = in->same_user = in->unreadable = in->ours = false;
}

void sp_inspection_free(struct sp_inspection *in)
{
	if (in == NULL)
		return;
	sp_inspection_reset(in);
	sp_strings_free(&in->argv);
	sp_strings_free(&in->envp);
	sp_strings_free(&in->final_argv);
	free(in);
}

void sp_inspection_ask(struct sp_inspection *in, const struct sp_inspection *other)
{
	in->tid = other->tid;
	in->tgid = other->tgid;
	in->by_fd = other->by_fd;
	in->dirfd = other->dirfd;
	in->flags = other->flags;
	in->path_address = other->path_address;
	in->argv_address = other->argv_address;
	in->envp_address = other->envp_address;
	in->home = other->home;
}

const struct sp_file *sp_inspection_program(const struct sp_inspection *in)
{
	return in->interpreter.fd >= 0 ? &in->interpreter : &in->file;
}

const struct sp_strings *sp_inspection_words(const struct sp_inspection *in)
{
	/* since 5.18 the kernel makes an empty argv one empty string */
	static const struct sp_strings no_words = {.data = (char *)"", .size = 1, .count = 1};
	const struct sp_strings *words = in->final_argv.count > 0 ? &in->final_argv : &in->argv;

	return words->count > 0 ? words : &no_words;
}

struct sp_kinds *sp_kinds_new(void)
{
	return calloc(1, sizeof(struct sp_kinds));
}

void sp_kinds_free(struct sp_kinds *kinds)
{
	free(kinds);
}

[[gnu::format(printf, 3, 4)]] static int refuse(struct sp_inspection *in, int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(in->reason, sizeof in->reason, format, args);
	va_end(args);
	return err;
}

/* What the kernel would not refuse, but we cannot answer for. */
static int give_up(struct sp_inspection *in, int err, const char *why)
{
	in->ours = true;
	return refuse(in, err, "%s", why);
}

static int inspect(const struct inspector *i)
{
	struct sp_inspection *in = i->in;
	const bool may_block = i->may_block;
	const struct sp_lookup lookup = {.tid = in->tid,
					 .tgid = in->tgid,
					 .may_block = may_block,
					 .filesystems = i->filesystems,
					 .home = in->home};
	char head[SP_SCRIPT_HEAD];

	int err = read_words(i);
	if (err != 0)
		return err;
	err = sp_resolve(&lookup, in->by_fd ? in->dirfd : AT_FDCWD, in->path, in->flags, &in->file);
	if (err != 0)
		return err == -EAGAIN && !may_block ? err : refuse(in, err, "no such program: %s", strerror(-err));
	err = look_at_file(i, &in->file, head, &in->elf);
	if (err != 0 || in->elf)
		return err;
	return resolve_script(i, head);
}

/* A task's files in /proc belong to its effective user (proc(5)). */
static bool is_same_user(pid_t tid)
{
	char path[SP_PROC_NAME];
	struct stat st;

	return stat(sp_proc_task(path, tid, "maps"), &st) == 0 && st.st_uid == geteuid();
}

int sp_inspect(struct sp_inspection *in, bool may_block, struct sp_filesystems *fs, struct sp_kinds *kinds)
{
	const struct inspector i = {.in = in, .may_block = may_block, .filesystems = fs, .kinds = kinds};

	sp_inspection_reset(in);
	int err = inspect(&i);
	/* of interest only where it failed */
	if (err != 0 && err != -EAGAIN)
		in->same_user = is_same_user(in->tid);
	return err;
}

static int read_words(const struct inspector *i)
{
	struct sp_inspection *in = i->in;
	sp_cleanup(sp_memory_close) struct sp_memory memory = {.maps = -1};
	int err = sp_memory_open(&memory, in->tid, i->may_block, i->filesystems);

	if (err == -EACCES || err == -EPERM)
		return give_up(in, -EACCES, "the program has made itself unreadable (not dumpable)");
	if (err != 0)
		return give_up(in, err, "the caller is gone");
	err = sp_memory_read_exec(&memory, in->path_address, in->argv_address, in->envp_address, in->path, &in->argv,
				  &in->envp);
	in->shared = memory.shared;
	if (err == 0 || err == -EAGAIN)
		return err;
	sp_strings_clear(&in->argv);
	if (err == -EPERM || err == -EACCES)
		return give_up(in, -EACCES, "the program has made itself unreadable (not dumpable)");
	if (err == -ENOMEM || err == -ESRCH)
		return give_up(in, err, "the caller's memory cannot be read");
	return refuse(in, err, "path, arguments or environment cannot be read: %s", strerror(-err));
}

static size_t slot_of(const struct stat *st)
{
	return (size_t)st->st_ino % KINDS;
}

static bool is_known_elf(const struct sp_kinds *kinds, const struct stat *st)
{
	const size_t at = slot_of(st);

	return kinds != NULL && kinds->elf[at].inode == st->st_ino && kinds->elf[at].device == st->st_dev &&
	       kinds->elf[at].size == st->st_size && kinds->elf[at].changed.tv_sec == st->st_ctim.tv_sec &&
	       kinds->elf[at].changed.tv_nsec == st->st_ctim.tv_nsec;
}

static void remember_elf(struct sp_kinds *kinds, const struct stat *st)
{
	const size_t at = slot_of(st);

	if (kinds == NULL)
		return;
	kinds->elf[at].has_run = false;
	kinds->elf[at].inode = st->st_ino;
	kinds->elf[at].device = st->st_dev;
	kinds->elf[at].size = st->st_size;
	kinds->elf[at].changed = st->st_ctim;
}

void sp_kinds_ran(struct sp_kinds *kinds, const struct sp_inspection *in)
{
	if (in->elf && in->interpreter.fd < 0 && is_known_elf(kinds, &in->file.st))
		kinds->elf[slot_of(&in->file.st)].has_run = true;
}

static bool is_in_memory(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

/* The first bytes of a file, the rest NUL. 0, -EAGAIN: would block, or another -errno. */
static int read_head(const struct inspector *i, const struct sp_file *file, char head[static SP_SCRIPT_HEAD])
{
	char link[SP_PROC_NAME];
	const struct iovec to = {.iov_base = head, .iov_len = SP_SCRIPT_HEAD};

	memset(head, 0, SP_SCRIPT_HEAD);
	/* O_NONBLOCK: a lease held by another process must not be waited for (fcntl(2), F_SETLEASE) */
	cleanup_close int fd = open(sp_proc_own_fd(link, file->fd), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	ssize_t n = preadv2(fd, &to, 1, 0, i->may_block ? 0 : RWF_NOWAIT);
	/* A file in memory has no need to say whether it can be read at once. */
	if (n < 0 && errno == EOPNOTSUPP && is_in_memory(fd))
		n = preadv(fd, &to, 1, 0);
	if (n < 0)
		return errno == EOPNOTSUPP ? -EAGAIN : -errno;
	return 0;
}

/* Only regular files run; whether this one may is the kernel's to say. */
static int look_at_file(const struct inspector *i, const struct sp_file *file, char head[static SP_SCRIPT_HEAD],
			bool *elf)
{
	struct sp_inspection *in = i->in;

	*elf = false;
	if (!S_ISREG(file->st.st_mode)) {
		*elf = true;
		return 0;
	}
	if (is_known_elf(i->kinds, &file->st)) {
		*elf = true;
		in->has_run =
			file == &in->file && i->kinds->elf[slot_of(&file->st)].has_run && in->argv.size <= FEW_BYTES;
		return 0;
	}
	if (!i->may_block && sp_filesystems_may_block(i->filesystems, file->st.st_dev, in->tid))
		return -EAGAIN;
	int err = read_head(i, file, head);
	if (err == -EAGAIN && !i->may_block)
		return err;
	if (err == -EACCES || err == -EPERM) {
		/* The kernel makes a task undumpable that runs what it may not read: we could not look at it then. */
		in->unreadable = true;
		*elf = true;
		return 0;
	}
	if (err != 0)
		return give_up(in, -EACCES, "the file cannot be read");
	*elf = memcmp(head, "\177ELF", 4) == 0;
	if (*elf)
		remember_elf(i->kinds, &file->st);
	return 0;
}

/* One #! line more: the interpreter's words in front, the script's own name instead of argv[0]. */
static int put_in_front(struct sp_strings *words, const struct sp_script *script, const char *script_name)
{
	struct sp_strings old = *words;
	sp_cleanup(sp_strings_free) struct sp_strings made = {0};

	int err = sp_strings_append(&made, script->interpreter, strlen(script->interpreter));
	if (err == 0 && script->has_argument)
		err = sp_strings_append(&made, script->argument, strlen(script->argument));
	if (err == 0)
		err = sp_strings_append(&made, script_name, strlen(script_name));
	for (size_t i = 1; err == 0 && i < old.count; i++)
		err = sp_strings_append(&made, old.item[i], strlen(old.item[i]));
	if (err == 0)
		err = sp_strings_finish(&made);
	if (err != 0)
		return err;
	*words = made;
	made = old;
	return 0;
}

/* The name the kernel gives a script that was run by fd (bprm->fdpath in fs/exec.c). */
static void kernel_name(const struct sp_inspection *in, char *name, size_t size)
{
	if (!in->by_fd || in->path[0] == '/' || in->dirfd == AT_FDCWD)
		(void)snprintf(name, size, "%s", in->path);
	else if (in->path[0] == '\0')
		(void)snprintf(name, size, "/dev/fd/%d", in->dirfd);
	else
		(void)snprintf(name, size, "/dev/fd/%d/%s", in->dirfd, in->path);
}

static int copy_words(struct sp_strings *to, const struct sp_strings *from)
{
	int err = 0;

	sp_strings_clear(to);
	for (size_t i = 0; err == 0 && i < from->count; i++)
		err = sp_strings_append(to, from->item[i], strlen(from->item[i]));
	return err == 0 ? sp_strings_finish(to) : err;
}

static int resolve_script(const struct inspector *i, const char *first_head)
{
	struct sp_inspection *in = i->in;
	const struct sp_lookup lookup = {.tid = in->tid,
					 .tgid = in->tgid,
					 .may_block = i->may_block,
					 .filesystems = i->filesystems,
					 .home = in->home};
	struct sp_script script;
	char head[SP_SCRIPT_HEAD], name[SP_PATH_MAX + 32];
	bool elf = false;

	memcpy(head, first_head, sizeof head);
	kernel_name(in, name, sizeof name);
	for (int depth = 0; !elf && sp_script_parse(head, &script); depth++) {
		if (depth >= SP_INTERPRETERS_MAX)
			return refuse(in, -ELOOP, "scripts run by scripts, too deep");
		int err = depth == 0 ? copy_words(&in->final_argv, &in->argv) : 0;
		if (err == 0)
			err = put_in_front(&in->final_argv, &script, name);
		if (err != 0)
			return give_up(in, err, "out of memory");
		sp_file_close(&in->interpreter);
		err = sp_resolve(&lookup, AT_FDCWD, script.interpreter, 0, &in->interpreter);
		if (err != 0)
			return err == -EAGAIN && !i->may_block
				       ? err
				       : refuse(in, err, "interpreter %s: %s", script.interpreter, strerror(-err));
		(void)snprintf(name, sizeof name, "%s", script.interpreter);
		(void)snprintf(in->interpreter_path, sizeof in->interpreter_path, "%s", script.interpreter);
		err = look_at_file(i, &in->interpreter, head, &elf);
		if (err != 0)
			return err;
	}
	return 0;
}
