/* The forbidden file under a name that is not forbidden, or under none, or under one that means something else to whoever
 * looks from outside. Nothing here is a race. */
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- other names ---- */

static void round_hard_link(struct attack_state *state)
{
	const char *alias = in_directory(state, "alias-%d", getpid());

	if (link(in_directory(state, HARMFUL "/tool"), alias) < 0)
		end_blocked("attack: link");
	exec_path(alias);
}

static void round_copy(struct attack_state *state)
{
	const char *copy = in_directory(state, "copy-%d", getpid());

	if (copy_file(state->intruder, copy) < 0)
		_exit(EXIT_OTHER);
	exec_path(copy);
}

/* The path says "self": whoever resolves it for another process gets his own. */
static void round_proc_self_cwd(struct attack_state *state)
{
	if (chdir(in_directory(state, HARMFUL)) < 0)
		_exit(EXIT_OTHER);
	exec_path("/proc/self/cwd/tool");
}

static void round_proc_self_fd(struct attack_state *state)
{
	int fd = open(in_directory(state, HARMFUL "/tool"), O_PATH);
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	exec_path(path);
}

/* ---- no name ---- */

static int fill_from_intruder(const struct attack_state *state, int fd)
{
	cleanup_close int in = open(state->intruder, O_RDONLY | O_CLOEXEC);
	struct stat status;

	if (in < 0 || fd < 0 || fstat(in, &status) < 0 || fchmod(fd, 0755) < 0)
		_exit(EXIT_OTHER);
	for (off_t done = 0; done < status.st_size;)
		if (sendfile(fd, in, &done, (size_t)(status.st_size - done)) <= 0)
			_exit(EXIT_OTHER);
	return fd;
}

/* The same file for reading only: one that is open for writing is busy. */
static int reopen(int fd)
{
	char path[64];
	int again = -1;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDONLY);
	close(fd);
	return again;
}

static void round_memfd(struct attack_state *state)
{
	exec_at(reopen(fill_from_intruder(state, memfd_create(harmless, 0))), "", AT_EMPTY_PATH);
}

static void round_memfd_by_path(struct attack_state *state)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", reopen(fill_from_intruder(state, memfd_create(harmless, 0))));
	exec_path(path);
}

static void round_tmpfile(struct attack_state *state)
{
	int fd = open(in_directory(state, HARMLESS), O_TMPFILE | O_RDWR, 0755);

	exec_at(reopen(fill_from_intruder(state, fd)), "", AT_EMPTY_PATH);
}

static void round_deleted(struct attack_state *state)
{
	const char *path = in_directory(state, HARMLESS "/gone-%d", getpid());
	int fd = -1;

	if (copy_file(state->intruder, path) < 0)
		_exit(EXIT_OTHER);
	fd = open(path, O_RDONLY);
	unlink(path);
	exec_at(fd, "", AT_EMPTY_PATH);
}

/* ---- another view ---- */

/* We are root in there. */
static int write_map(const char *file, unsigned id)
{
	char map[64];

	snprintf(map, sizeof(map), "0 %u 1\n", id);
	return write_file(file, map, 0);
}

/* Namespaces of one's own, which take a user namespace from whoever is not root. */
static int enter_namespaces(int which)
{
	unsigned user = geteuid(), group = getegid();
	int err = 0;

	if (user != 0)
		which |= CLONE_NEWUSER;
	if (unshare(which) < 0)
		return -errno;
	if ((which & CLONE_NEWUSER) == 0)
		return 0;
	err = write_map("/proc/self/uid_map", user);
	if (err == 0)
		err = write_file("/proc/self/setgroups", "deny", 0);
	return err < 0 ? err : write_map("/proc/self/gid_map", group);
}

static void enter_mount_namespace(int more)
{
	int err = enter_namespaces(CLONE_NEWNS | more);

	if (err < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		errno = err < 0 ? -err : errno;
		end_blocked("attack: unshare");
	}
}

static const char *why_no_namespaces(void)
{
	pid_t child = fork();
	int status = 0;

	if (child == 0)
		_exit(enter_namespaces(CLONE_NEWNS | CLONE_NEWPID) < 0);
	waitpid(child, &status, 0);
	return status == 0 ? NULL : "this machine gives out no user namespaces";
}

static void round_bind_mount(struct attack_state *state)
{
	const char *path = in_directory(state, HARMLESS "/tool");

	enter_mount_namespace(0);
	if (mount(in_directory(state, HARMFUL "/tool"), path, NULL, MS_BIND, NULL) < 0)
		end_blocked("attack: mount");
	exec_path(path);
}

/* DIRECTORY/forbidden becomes the root; in there, the harmless one's path leads to the forbidden file. */
static int prepare_chroot(struct attack_state *state)
{
	char inside[PATH_MAX * 2];
	int err = make_twins(state);

	snprintf(inside, sizeof(inside), "%s%s", in_directory(state, HARMFUL), in_directory(state, HARMLESS "/tool"));
	if (err == 0)
		err = make_directories(inside);
	if (err == 0)
		err = copy_file(state->intruder, inside);
	if (err == 0 && mkdir(in_directory(state, HARMFUL "/proc"), 0755) < 0)
		err = -errno;
	return err;
}

static void change_root(struct attack_state *state)
{
	if (chroot(in_directory(state, HARMFUL)) < 0 || chdir("/") < 0)
		end_blocked("attack: chroot");
}

static void round_chroot(struct attack_state *state)
{
	if (geteuid() != 0)
		enter_mount_namespace(0);
	change_root(state);
	exec_path(in_directory(state, HARMLESS "/tool"));
}

static void round_proc_self_root(struct attack_state *state)
{
	enter_mount_namespace(0);
	if (mount("/proc", in_directory(state, HARMFUL "/proc"), NULL, MS_BIND | MS_REC, NULL) < 0)
		end_blocked("attack: mount");
	change_root(state);
	exec_path("/proc/self/root/tool");
}

/* Pid 1 is somebody else in there. */
static void round_pid_namespace(struct attack_state *state)
{
	pid_t first = -1;

	enter_mount_namespace(CLONE_NEWPID);
	first = fork();
	if (first == 0) {
		if (mount("proc", "/proc", "proc", 0, NULL) < 0 || chdir(in_directory(state, HARMFUL)) < 0)
			end_blocked("attack: proc");
		exec_path("/proc/1/cwd/tool");
	}
	end_like_victim(first);
}

/* Every user namespace has formats of its own (Linux 6.7): the interpreter that they name runs instead of the program. */
static int register_format(const struct attack_state *state)
{
	const char *formats = in_directory(state, "formats-%d", getpid());
	char entry[PATH_MAX * 2], file[PATH_MAX * 2 + 16];

	snprintf(entry, sizeof(entry), ":odd:E::odd::%s:", in_directory(state, HARMFUL "/tool"));
	snprintf(file, sizeof(file), "%s/register", formats);
	if (mkdir(formats, 0755) < 0 || mount("formats", formats, "binfmt_misc", 0, NULL) < 0)
		return -errno;
	return write_file(file, entry, 0);
}

static void round_format(struct attack_state *state)
{
	enter_mount_namespace(CLONE_NEWUSER);
	errno = -register_format(state);
	if (errno != 0)
		end_blocked("attack: binfmt_misc");
	exec_path(in_directory(state, HARMLESS "/tool.odd"));
}

static int prepare_format(struct attack_state *state)
{
	int err = make_twins(state);

	return err < 0 ? err : copy_file(state->marker, in_directory(state, HARMLESS "/tool.odd"));
}

static const char *why_no_formats(void)
{
	char formats[] = "/tmp/formats-XXXXXX";
	pid_t child = mkdtemp(formats) != NULL ? fork() : -1;
	int status = -1;

	if (child == 0)
		_exit(enter_namespaces(CLONE_NEWNS | CLONE_NEWUSER) < 0 ||
		      mount("formats", formats, "binfmt_misc", 0, NULL) < 0);
	waitpid(child, &status, 0);
	rmdir(formats);
	return status == 0 ? NULL : "this kernel has no binfmt_misc for user namespaces (6.7)";
}

/* ---- not to be looked at ---- */

static void round_undumpable(struct attack_state *state)
{
	prctl(PR_SET_DUMPABLE, 0);
	state->stage->argv[1] = state->stage->other_argument;
	exec_stage(state->stage);
}

static const char *why_root_reads(void)
{
	return geteuid() != 0 ? NULL : "root reads what is not dumpable too";
}

const struct attack identity_attacks[] = {
	{"hard-link", "judgement", "another name for the forbidden file", make_twins, round_hard_link, FEW_ROUNDS},
	{"copy", "judgement", "a copy of the forbidden file", make_twins, round_copy, FEW_ROUNDS},
	{"proc-self-cwd", "judgement", "/proc/self/cwd/tool", make_twins, round_proc_self_cwd, FEW_ROUNDS},
	{"proc-self-fd", "judgement", "/proc/self/fd/N", make_twins, round_proc_self_fd, FEW_ROUNDS},
	{"proc-self-root", "judgement", "/proc/self/root/tool after chroot", prepare_chroot, round_proc_self_root,
	 FEW_ROUNDS, why_no_namespaces},
	{"memfd", "judgement", "execveat on a memfd", make_twins, round_memfd, FEW_ROUNDS},
	{"memfd-by-path", "judgement", "a memfd by /proc/self/fd/N", make_twins, round_memfd_by_path, FEW_ROUNDS},
	{"tmpfile", "judgement", "execveat on an O_TMPFILE", make_twins, round_tmpfile, FEW_ROUNDS},
	{"deleted", "judgement", "execveat on a deleted file", make_twins, round_deleted, FEW_ROUNDS},
	{"bind-mount", "judgement", "mounted over an allowed name, in an own namespace", make_twins, round_bind_mount,
	 FEW_ROUNDS, why_no_namespaces},
	{"chroot", "judgement", "a root in which the allowed name is another file", prepare_chroot, round_chroot,
	 FEW_ROUNDS, why_no_namespaces},
	{"pid-namespace", "judgement", "/proc/1/cwd/tool where 1 is the attacker", make_twins, round_pid_namespace,
	 FEW_ROUNDS, why_no_namespaces},
	{"binfmt", "verify", "a format of an own user namespace puts an interpreter in front", prepare_format,
	 round_format, FEW_ROUNDS, why_no_formats},
	{"undumpable", "judgement", "memory that an ordinary supervisor cannot read", prepare_private, round_undumpable,
	 FEW_ROUNDS, why_root_reads},
	{0},
};
