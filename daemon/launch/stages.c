/* See stages.h. */
#include "launch/stages.h"

#include "util/cleanup.h"
#include "util/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

typedef int stage_function(struct sp_stage_run *run);

static stage_function no_new_privs, oom_score, nice_value, cpu_set, core_scheduling;
static stage_function new_user, new_pid, tree_memory, tree_processes, tree_cpus, new_ipc, new_uts, new_cgroup, new_net,
	loopback, new_mount;
static stage_function mount_proc, change_root, new_session, new_process_group, change_directory, set_umask;
static stage_function parent_death, environment, close_fds, mdwe;
static stage_function filesystem, filesystem_rights, ports, scopes;
static stage_function address_space, limits, capabilities;

#define BIT(stage) (UINT64_C(1) << (stage))

/* Why this order: what needs the rights that a user namespace takes away comes before it, what needs those that it gives
 * after; /proc is that of the machine until there is another one; what makes further calls fail comes as late as it can. */
static const struct {
	stage_function *function;
	uint64_t needs; /* stages without which it would be done to the machine, not to the job */
} stages[SP_STAGE_FILTER] = {
	[SP_STAGE_NO_NEW_PRIVS] = {no_new_privs},
	[SP_STAGE_OOM_SCORE] = {oom_score},
	[SP_STAGE_NICE] = {nice_value},
	[SP_STAGE_CPU_SET] = {cpu_set},
	[SP_STAGE_CORE_SCHEDULING] = {core_scheduling},
	[SP_STAGE_USER] = {new_user},
	[SP_STAGE_PID] = {new_pid},
	[SP_STAGE_TREE_MEMORY] = {tree_memory},
	[SP_STAGE_TREE_PROCESSES] = {tree_processes},
	[SP_STAGE_TREE_CPUS] = {tree_cpus},
	[SP_STAGE_IPC] = {new_ipc},
	[SP_STAGE_UTS] = {new_uts},
	[SP_STAGE_CGROUP] = {new_cgroup},
	[SP_STAGE_NET] = {new_net},
	[SP_STAGE_LOOPBACK] = {loopback, BIT(SP_STAGE_NET)},
	[SP_STAGE_MOUNT] = {new_mount},
	[SP_STAGE_PROC] = {mount_proc, BIT(SP_STAGE_PID) | BIT(SP_STAGE_MOUNT)},
	[SP_STAGE_ROOT] = {change_root, BIT(SP_STAGE_MOUNT)},
	[SP_STAGE_SESSION] = {new_session},
	[SP_STAGE_PROCESS_GROUP] = {new_process_group},
	[SP_STAGE_CWD] = {change_directory},
	[SP_STAGE_UMASK] = {set_umask},
	[SP_STAGE_PARENT_DEATH] = {parent_death},
	[SP_STAGE_ENVIRONMENT] = {environment},
	[SP_STAGE_CLOSE_FDS] = {close_fds},
	[SP_STAGE_MDWE] = {mdwe},
	[SP_STAGE_FILESYSTEM] = {filesystem},
	[SP_STAGE_FILESYSTEM_RIGHTS] = {filesystem_rights, BIT(SP_STAGE_FILESYSTEM)},
	[SP_STAGE_PORTS] = {ports},
	[SP_STAGE_SCOPES] = {scopes},
	[SP_STAGE_ADDRESS_SPACE] = {address_space},
	[SP_STAGE_LIMITS] = {limits},
	[SP_STAGE_CAPABILITIES] = {capabilities},
};

static void tell_births(struct sp_stage_run *run, pid_t init, pid_t program);

void sp_stage_note(struct sp_launch_outcome *outcome, enum sp_stage stage, int err)
{
	outcome->stage[stage].state = err == 0 ? SP_STAGE_APPLIED : SP_STAGE_FAILED;
	outcome->stage[stage].err = (uint16_t)-err;
}

bool sp_stages_fork(const struct sp_launch_plan *plan)
{
	return sp_launch_asks(plan, SP_STAGE_USER) || sp_launch_asks(plan, SP_STAGE_PID);
}

static bool has_failed(const struct sp_launch_outcome *outcome, uint64_t which)
{
	for (enum sp_stage s = 0; s < SP_STAGE_FILTER; s++)
		if ((which & BIT(s)) != 0 && outcome->stage[s].state == SP_STAGE_FAILED)
			return true;
	return false;
}

static void try_stage(struct sp_stage_run *run, enum sp_stage s)
{
	if (sp_launch_asks(run->plan, s))
		sp_stage_note(run->outcome, s,
			      has_failed(run->outcome, stages[s].needs) ? -ECANCELED : stages[s].function(run));
}

/* Namespaces that take no knowledge of who will be the program are made before it is born: its init is then in them, too, and
 * holds them until all else is done. Who ends as the last one in a mount namespace waits for its end. */
static const enum sp_stage before_birth[] = {
	SP_STAGE_NO_NEW_PRIVS, SP_STAGE_OOM_SCORE, SP_STAGE_NICE, SP_STAGE_CPU_SET, SP_STAGE_CORE_SCHEDULING,
	SP_STAGE_USER,         SP_STAGE_IPC,       SP_STAGE_UTS,  SP_STAGE_NET,     SP_STAGE_LOOPBACK,
	SP_STAGE_MOUNT,        SP_STAGE_PID};

void sp_stages_run(struct sp_stage_run *run)
{
	uint64_t done = 0;

	for (size_t i = 0; i < sizeof before_birth / sizeof *before_birth; i++) {
		try_stage(run, before_birth[i]);
		done |= BIT(before_birth[i]);
	}
	/* From here on it is certain who will be the program. */
	if (run->wire >= 0)
		tell_births(run, 0, getpid());
	for (enum sp_stage s = 0; s < SP_STAGE_FILTER; s++)
		if ((done & BIT(s)) == 0)
			try_stage(run, s);
}

int sp_stages_last(struct sp_stage_run *run)
{
	return sp_launch_asks(run->plan, SP_STAGE_SYSCALLS) ? sp_filter_add(&run->plan->syscalls) : 0;
}

static int result(long returned)
{
	return returned >= 0 ? 0 : -errno;
}

static int write_file(const char *path, const char *text)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 ? result(write(fd, text, strlen(text))) : -errno;
}

static pid_t clone_process(unsigned long flags)
{
	return (pid_t)syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, 0);
}

static pid_t clone_inside(unsigned long flags, int group)
{
	struct clone_args args = {
		.flags = flags | CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t)group};

	return (pid_t)syscall(SYS_clone3, &args, sizeof args);
}

pid_t sp_stages_clone(struct sp_stage_run *run, unsigned long flags, bool inside)
{
	const int group = inside ? sp_cgroup_birthplace(run->plan->launch.cgroup) : -1;
	const pid_t child = group >= 0 ? clone_inside(flags, group) : -1;

	if (child < 0)
		return clone_process(flags);
	if (child == 0)
		run->born_inside = true;
	return child;
}

/* ---- One call each ---- */

static int no_new_privs(struct sp_stage_run *run)
{
	(void)run;
	return result(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static int oom_score(struct sp_stage_run *run)
{
	return write_file("/proc/self/oom_score_adj", run->plan->oom_score);
}

static int nice_value(struct sp_stage_run *run)
{
	return result(setpriority(PRIO_PROCESS, 0, (int)run->plan->confinement->nice.value));
}

static int cpu_set(struct sp_stage_run *run)
{
	const struct sp_confinement *c = run->plan->confinement;

	return result(syscall(SYS_sched_setaffinity, 0, sizeof c->cpus_allowed, c->cpus_allowed));
}

static int core_scheduling(struct sp_stage_run *run)
{
	(void)run;
	return result(prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, PR_SCHED_CORE_SCOPE_THREAD_GROUP, 0));
}

static int new_ipc(struct sp_stage_run *run)
{
	(void)run;
	return result(unshare(CLONE_NEWIPC));
}

static int new_uts(struct sp_stage_run *run)
{
	(void)run;
	return result(unshare(CLONE_NEWUTS));
}

static int new_cgroup(struct sp_stage_run *run)
{
	(void)run;
	return result(unshare(CLONE_NEWCGROUP));
}

static int new_net(struct sp_stage_run *run)
{
	(void)run;
	return result(unshare(CLONE_NEWNET));
}

static int new_session(struct sp_stage_run *run)
{
	(void)run;
	return result(setsid());
}

static int new_process_group(struct sp_stage_run *run)
{
	/* The leader of a session leads its first group already, and may not ask for another. */
	return sp_launch_asks(run->plan, SP_STAGE_SESSION) ? 0 : result(setpgid(0, 0));
}

static int change_directory(struct sp_stage_run *run)
{
	return result(chdir(run->plan->confinement->cwd));
}

static int set_umask(struct sp_stage_run *run)
{
	(void)umask((mode_t)run->plan->confinement->umask.value);
	return 0;
}

static int parent_death(struct sp_stage_run *run)
{
	return result(prctl(PR_SET_PDEATHSIG, run->plan->confinement->parent_death_signal.value, 0, 0, 0));
}

/* Was made by the parent, and is what execve will be given. */
static int environment(struct sp_stage_run *run)
{
	return run->plan->envp != NULL ? 0 : -EINVAL;
}

static int mdwe(struct sp_stage_run *run)
{
	(void)run;
	return result(prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0));
}

static int address_space(struct sp_stage_run *run)
{
	return result(setrlimit(RLIMIT_AS, &run->plan->address_space));
}

static int limits(struct sp_stage_run *run)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < run->plan->limit_count; i++)
		err = result(setrlimit(run->plan->limits[i].resource, &run->plan->limits[i].value));
	return err;
}

/* ---- The user namespace ---- */

/* setgroups(2) must be given up first where an ordinary user maps a group (user_namespaces(7)). */
static int write_maps(const struct sp_launch_plan *plan, pid_t pid)
{
	char path[SP_PROC_NAME];
	int err = write_file(sp_proc_task(path, pid, "setgroups"), "deny");

	if (err == 0)
		err = write_file(sp_proc_task(path, pid, "uid_map"), plan->uid_map);
	return err == 0 ? write_file(sp_proc_task(path, pid, "gid_map"), plan->gid_map) : err;
}

/* A child that stays outside: who has left the parent's namespace has no right there to map more than itself. Its exit
 * status is the errno. */
static pid_t start_mapper(const struct sp_launch_plan *plan, int ready[2])
{
	const pid_t self = getpid(), mapper = clone_process(0);
	char word;

	if (mapper != 0)
		return mapper;
	(void)close(ready[1]);
	if (read(ready[0], &word, 1) != 1)
		_exit(EPIPE);
	_exit(-write_maps(plan, self));
}

static int reap_mapper(pid_t mapper)
{
	int status;

	while (waitpid(mapper, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -ECHILD;
}

/* The kernel's calls: the C library's want every thread to do the same, and wait for ever for one that was just being started when
 * we were forked. */
static int take_mapped_ids(const struct sp_launch_plan *plan)
{
	if (plan->changes_gid && syscall(SYS_setresgid, plan->first_gid, plan->first_gid, plan->first_gid) != 0)
		return -errno;
	if (plan->changes_uid && syscall(SYS_setresuid, plan->first_uid, plan->first_uid, plan->first_uid) != 0)
		return -errno;
	/* A change of ids makes undumpable, and so untraceable. */
	return result(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

static void close_both(int (*ends)[2])
{
	sp_close_fd(&(*ends)[0]);
	sp_close_fd(&(*ends)[1]);
}

static int map_others(struct sp_stage_run *run)
{
	sp_cleanup(close_both) int ready[2] = {-1, -1};

	if (pipe2(ready, O_CLOEXEC) != 0)
		return -errno;
	const pid_t mapper = start_mapper(run->plan, ready);
	if (mapper < 0)
		return -errno;
	int err = result(unshare(CLONE_NEWUSER));
	if (err == 0)
		err = result(write(ready[1], "u", 1));
	(void)close(sp_steal_fd(&ready[1]));
	const int mapped = reap_mapper(mapper);
	if (err == 0)
		err = mapped;
	return err == 0 ? take_mapped_ids(run->plan) : err;
}

/* Nobody but ourselves is mapped: that takes no right in the parent's namespace, and so no helper. */
static int map_ourselves(const struct sp_launch_plan *plan)
{
	if (unshare(CLONE_NEWUSER) != 0)
		return -errno;
	int err = write_maps(plan, getpid());
	return err == 0 ? take_mapped_ids(plan) : err;
}

static int new_user(struct sp_stage_run *run)
{
	const struct sp_confinement *asked = run->plan->confinement;

	return asked->uid_map.count == 0 && asked->gid_map.count == 0 ? map_ourselves(run->plan) : map_others(run);
}

/* ---- The pid namespace ---- */

static void tell_births(struct sp_stage_run *run, pid_t init, pid_t program)
{
	const struct sp_launch_births births = {.init = init, .program = program};

	if (send(run->wire, &births, sizeof births, MSG_NOSIGNAL) != (ssize_t)sizeof births)
		_exit(EPIPE);
	(void)close(sp_steal_fd(&run->wire));
}

/* As SECCOMP_MODE_STRICT, which cannot be had where a filter is in force already, in a container for example. */
static int only_read_and_exit(void)
{
	static struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = {sizeof code / sizeof *code, code};

	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return result(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
}

/* The words that we were started with are in /proc/1/cmdline of the job; these are its own copy of them. */
static void take_name(void)
{
	enum { ARG_START = 48, ARG_END = 49 /* fields of proc_pid_stat(5) */ };
	static const char name[] = "sallyport-init";
	char line[1024];
	cleanup_close int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, line, sizeof line - 1) : 0;

	line[n > 0 ? n : 0] = '\0';
	const char *at = strrchr(line, ')');
	for (int field = 2; at != NULL && field < ARG_START; field++)
		at = strchr(at + 1, ' ');
	if (at == NULL)
		return;
	char *rest;
	const uintptr_t start = strtoul(at, &rest, 10), end = strtoul(rest, NULL, 10);
	if (start == 0 || end < start + sizeof name)
		return;
	memset((void *)start, 0, end - start);
	memcpy((void *)start, name, sizeof name);
}

/* Nothing of the supervisor is left to us but our end of the wire, and nobody may look at what we were forked with. */
static void keep_only(int wire)
{
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (wire > 0)
		(void)close_range(0, (unsigned)wire - 1, 0);
	(void)close_range((unsigned)wire + 1, ~0u, 0);
}

static void await_end(int wire)
{
	char byte;

	while (read(wire, &byte, 1) > 0)
		continue;
}

/* Pid 1: its children, all that lose their parents, are reaped by the kernel since it ignores their ends; it ends with the
 * supervisor's end of the wire, and the kernel ends everybody else with it. It never runs a program: it can only read, write
 * and exit. What it holds of the supervisor's memory is closed to the job: not dumpable, and of an address space that belongs
 * to the namespace above. */
[[gnu::noreturn]] static void be_init(int wire)
{
	/* Where the root is that a new one takes the place of: so that we go along, and hold nothing of the old one. */
	(void)!chdir("/");
	(void)signal(SIGCHLD, SIG_IGN);
	take_name();
	keep_only(wire);
	if (only_read_and_exit() != 0)
		_exit(EPERM);
	(void)!write(wire, "i", 1); /* no program runs before this has been heard */
	await_end(wire);
	(void)syscall(SYS_exit, 0); /* exit_group(2) is not allowed */
	__builtin_unreachable();
}

/* Nothing more to do; but to end takes a while, on a CPU that the program would have to wait for. So we end with the job. */
[[gnu::noreturn]] static void stand_aside(int wire)
{
	(void)!chdir("/");
	keep_only(wire);
	await_end(wire);
	_exit(0);
}

/* Who unshares stays outside; its next child is init, the one after that the program. Both are made children of the
 * supervisor, which sees the program's end as it would without a namespace. */
static int new_pid(struct sp_stage_run *run)
{
	if (unshare(CLONE_NEWPID) != 0)
		return -errno;
	const pid_t init = clone_process(CLONE_PARENT);
	if (init < 0)
		return -errno;
	if (init == 0)
		be_init(run->wire);
	const pid_t program = sp_stages_clone(run, CLONE_PARENT, true);
	if (program == 0) {
		(void)close(sp_steal_fd(&run->wire));
		return 0;
	}
	const int wire = fcntl(run->wire, F_DUPFD_CLOEXEC, 0);
	tell_births(run, init, program < 0 ? 0 : program);
	if (program < 0 || wire < 0)
		_exit(EAGAIN);
	stand_aside(wire);
}

/* ---- Control groups: made by the supervisor; what the program is made by is not counted ---- */

static int enter(const struct sp_stage_run *run, enum sp_tree_limit limit)
{
	const struct sp_launch *launch = &run->plan->launch;

	return launch->limits->err[limit] != 0 ? -launch->limits->err[limit]
					       : sp_cgroup_enter(launch->cgroup, limit, run->born_inside);
}

static int tree_memory(struct sp_stage_run *run)
{
	return enter(run, SP_TREE_MEMORY);
}

static int tree_processes(struct sp_stage_run *run)
{
	return enter(run, SP_TREE_TASKS);
}

static int tree_cpus(struct sp_stage_run *run)
{
	return enter(run, SP_TREE_CPU);
}

/* ---- The network namespace ---- */

static int loopback(struct sp_stage_run *run)
{
	struct {
		struct nlmsghdr header;
		struct nlmsgerr result;
		char rest[256]; /* what the kernel says beside, and the request */
	} answer;
	cleanup_close int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0 || send(fd, run->plan->loopback_up.data, run->plan->loopback_up.size, 0) < 0)
		return -errno;
	ssize_t n = recv(fd, &answer, sizeof answer, 0);
	if (n < 0)
		return -errno;
	return n >= (ssize_t)NLMSG_LENGTH(sizeof answer.result) && answer.header.nlmsg_type == NLMSG_ERROR
		       ? answer.result.error
		       : -EPROTO;
}

/* ---- Mounts ---- */

static int new_mount(struct sp_stage_run *run)
{
	(void)run;
	if (unshare(CLONE_NEWNS) != 0)
		return -errno;
	/* What is mounted here is not seen outside, nor the other way round. */
	const struct mount_attr private = {.propagation = MS_PRIVATE};
	return result(mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, (struct mount_attr *)&private, sizeof private));
}

/* A new file system that is not in place yet: an fd or -errno. */
static int make_mount(const char *type, const char *mode, const char *size, unsigned attributes)
{
	cleanup_close int fs = fsopen(type, FSOPEN_CLOEXEC);

	if (fs < 0 || (mode != NULL && fsconfig(fs, FSCONFIG_SET_STRING, "mode", mode, 0) != 0) ||
	    (size[0] != '\0' && fsconfig(fs, FSCONFIG_SET_STRING, "size", size, 0) != 0) ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) != 0)
		return -errno;
	int fd = fsmount(fs, FSMOUNT_CLOEXEC, attributes);
	return fd >= 0 ? fd : -errno;
}

static int put_mount(int mount, int directory, const char *to)
{
	return mount >= 0 ? result(move_mount(mount, "", directory, to, MOVE_MOUNT_F_EMPTY_PATH)) : mount;
}

/* In a user namespace only as long as the machine's own can be seen whole (mount_too_revealing() in fs/namespace.c): so
 * before the root changes. */
static int mount_proc(struct sp_stage_run *run)
{
	cleanup_close int mount =
		make_mount("proc", NULL, "", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);

	if (mount < 0)
		return mount;
	if (run->plan->root_count == 0)
		return put_mount(mount, AT_FDCWD, run->plan->proc);
	run->proc = sp_steal_fd(&mount);
	return 0;
}

static int make_file(int root, const char *to)
{
	cleanup_close int fd = openat(root, to, O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);

	return result(fd);
}

static int bind_tree(int root, const struct sp_root_item *item)
{
	const struct mount_attr attributes = {.attr_set = item->attributes, .propagation = MS_PRIVATE};
	cleanup_close int tree = open_tree(AT_FDCWD, item->from, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);

	if (tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, (struct mount_attr *)&attributes,
				      sizeof attributes) != 0)
		return -errno;
	return put_mount(tree, root, item->to);
}

static int mount_tmpfs(const struct sp_launch_plan *plan, int root, const char *to)
{
	cleanup_close int mount = make_mount("tmpfs", "1777", plan->tmpfs_size, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);

	return put_mount(mount, root, to);
}

static int build(const struct sp_stage_run *run, int root, const struct sp_root_item *item)
{
	switch (item->step) {
	case SP_ROOT_DIRECTORY:
		return mkdirat(root, item->to, 0755) == 0 || errno == EEXIST ? 0 : -errno;
	case SP_ROOT_FILE:
		return make_file(root, item->to);
	case SP_ROOT_LINK:
		return result(symlinkat(item->from, root, item->to));
	case SP_ROOT_TMPFS:
		return mount_tmpfs(run->plan, root, item->to);
	case SP_ROOT_BIND:
		return bind_tree(root, item);
	case SP_ROOT_PROC:
		/* Could not be had: its own stage has said so. */
		return run->proc >= 0 ? put_mount(run->proc, root, item->to) : 0;
	}
	return -EINVAL;
}

/* The old root is stacked on the new one for a moment (pivot_root(2), "." twice), and then let go with all that is in it. */
static int pivot(int root)
{
	const struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};

	if (mount_setattr(root, "", AT_EMPTY_PATH, (struct mount_attr *)&read_only, sizeof read_only) != 0 ||
	    fchdir(root) != 0 || syscall(SYS_pivot_root, ".", ".") != 0 || umount2(".", MNT_DETACH) != 0 ||
	    chdir("/") != 0)
		return -errno;
	return 0;
}

static int build_root(const struct sp_stage_run *run)
{
	cleanup_close int root = make_mount("tmpfs", "0755", "", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	int err = put_mount(root, AT_FDCWD, "/"); /* on top of the root, which stays ours until we pivot */

	for (size_t i = 0; err == 0 && i < run->plan->root_count; i++)
		err = build(run, root, &run->plan->root[i]);
	return err == 0 ? pivot(root) : err;
}

static int change_root(struct sp_stage_run *run)
{
	const char *chroot_to = run->plan->confinement->chroot;
	int err = chroot_to == NULL ? build_root(run) : chroot(chroot_to) != 0 ? -errno : chdir("/") != 0 ? -errno : 0;

	sp_close_fd(&run->proc);
	run->proc = -1;
	/* Where the program would have started, if that is here too. */
	if (err == 0 && run->plan->launch.cwd != NULL)
		(void)!chdir(run->plan->launch.cwd);
	return err;
}

/* ---- Descriptors ---- */

/* They are closed by the exec: until then some are ours. */
static int close_between(unsigned first, unsigned last)
{
	return first > last ? 0 : result(close_range(first, last, CLOSE_RANGE_CLOEXEC));
}

static int close_fds(struct sp_stage_run *run)
{
	const struct sp_confinement *c = run->plan->confinement;
	unsigned first = 3;

	for (size_t i = 0; i < c->passed_count; i++) {
		const int fd = c->passed[i];
		int err = fcntl(fd, F_GETFD) < 0 ? -errno : close_between(first, (unsigned)fd - 1);

		if (err != 0)
			return err;
		first = (unsigned)fd + 1;
	}
	return close_between(first, ~0u);
}

/* ---- Landlock ---- */

static int new_ruleset(const struct sp_landlock_ruleset *handled, size_t size)
{
	long fd = syscall(SYS_landlock_create_ruleset, handled, size, 0);

	return fd >= 0 ? (int)fd : -errno;
}

static int restrict_self(int ruleset)
{
	return result(syscall(SYS_landlock_restrict_self, ruleset, 0));
}

/* What is not there, or cannot be reached, need not be granted. */
static int grant_path(int ruleset, const struct sp_landlock_path *path)
{
	static const uint64_t for_files = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |
					  LANDLOCK_ACCESS_FS_READ_FILE | SP_LANDLOCK_FS_TRUNCATE |
					  SP_LANDLOCK_FS_IOCTL_DEV;
	struct stat st;
	cleanup_close int fd = open(path->path, O_PATH | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? 0 : -errno;
	if (fstat(fd, &st) != 0)
		return -errno;
	const struct landlock_path_beneath_attr rule = {
		.allowed_access = S_ISDIR(st.st_mode) ? path->rights : path->rights & for_files, .parent_fd = fd};
	return result(syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0));
}

static int filesystem(struct sp_stage_run *run)
{
	const struct sp_launch_plan *plan = run->plan;
	cleanup_close int ruleset = new_ruleset(&plan->filesystem, sizeof plan->filesystem.fs);
	int err = ruleset < 0 ? ruleset : 0;

	for (size_t i = 0; err == 0 && i < plan->path_count; i++)
		err = grant_path(ruleset, &plan->paths[i]);
	return err == 0 ? restrict_self(ruleset) : err;
}

/* An older Landlock leaves some things open. */
static int filesystem_rights(struct sp_stage_run *run)
{
	return run->plan->lacks_rights ? -EOPNOTSUPP : 0;
}

static int ports(struct sp_stage_run *run)
{
	const struct sp_launch_plan *plan = run->plan;
	cleanup_close int ruleset = new_ruleset(&plan->ports, offsetof(struct sp_landlock_ruleset, scoped));
	int err = ruleset < 0 ? ruleset : 0;

	for (size_t i = 0; err == 0 && i < plan->port_count; i++)
		err = result(syscall(SYS_landlock_add_rule, ruleset, SP_LANDLOCK_RULE_NET_PORT, &plan->port[i], 0));
	return err == 0 ? restrict_self(ruleset) : err;
}

static int scopes(struct sp_stage_run *run)
{
	cleanup_close int ruleset = new_ruleset(&run->plan->scopes, sizeof run->plan->scopes);

	return ruleset < 0 ? ruleset : restrict_self(ruleset);
}

/* ---- Capabilities ---- */

struct sets {
	uint64_t effective, permitted, inheritable;
};

static int get_sets(struct sets *sets)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) != 0)
		return -errno;
	sets->effective = data[0].effective | (uint64_t)data[1].effective << 32;
	sets->permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
	sets->inheritable = data[0].inheritable | (uint64_t)data[1].inheritable << 32;
	return 0;
}

static int set_sets(const struct sets *sets)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	const struct __user_cap_data_struct data[2] = {
		{(uint32_t)sets->effective, (uint32_t)sets->permitted, (uint32_t)sets->inheritable},
		{(uint32_t)(sets->effective >> 32), (uint32_t)(sets->permitted >> 32),
		 (uint32_t)(sets->inheritable >> 32)},
	};

	return result(syscall(SYS_capset, &header, data));
}

static int bound(const struct sp_launch_plan *plan)
{
	for (int c = 0; c <= plan->last_capability; c++)
		if ((plan->capabilities.bounding >> c & 1) == 0 && prctl(PR_CAPBSET_READ, c, 0, 0, 0) == 1 &&
		    prctl(PR_CAPBSET_DROP, c, 0, 0, 0) != 0)
			return -errno;
	return 0;
}

static int raise_ambient(const struct sp_launch_plan *plan)
{
	int err = result(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));

	for (int c = 0; err == 0 && c <= plan->last_capability; c++)
		if ((plan->capabilities.ambient >> c & 1) != 0)
			err = result(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0));
	return err;
}

static int set_securebits(const struct sp_launch_plan *plan)
{
	const unsigned bits = plan->capabilities.securebits;

	return bits == 0 ? 0 : result(prctl(PR_SET_SECUREBITS, (unsigned)prctl(PR_GET_SECUREBITS) | bits, 0, 0, 0));
}

/* Ambient ones must be inheritable first; to bound them, and to set the securebits, takes one that is given up last. */
static int capabilities(struct sp_stage_run *run)
{
	const struct sp_capabilities *c = &run->plan->capabilities;
	struct sets sets;
	int err = bound(run->plan);

	if (err == 0)
		err = get_sets(&sets);
	if (err != 0)
		return err;
	sets.inheritable = c->ambient;
	if ((err = set_sets(&sets)) != 0 || (err = raise_ambient(run->plan)) != 0 ||
	    (err = set_securebits(run->plan)) != 0)
		return err;
	sets.permitted &= c->effective;
	sets.effective = sets.permitted;
	return set_sets(&sets);
}
