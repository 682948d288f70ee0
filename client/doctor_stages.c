/* Probes of `sallyport doctor` for the stages of a launch, in their order: each is applied to a child, as this user; and where that
 * takes privileges, also as root of a user namespace. */
#include "doctor.h"
#include "util/cleanup.h"
#include "util/kernel.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int result(long success)
{
	return success < 0 ? errno : 0;
}

/* ---- applied to a child: 0 or an errno ---- */

static int gain_no_privileges(void)
{
	return result(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static int be_killed_first(void)
{
	cleanup_close int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	return result(fd >= 0 ? write(fd, "1000", 4) : -1);
}

static int be_nice(void)
{
	return result(setpriority(PRIO_PROCESS, 0, 19));
}

static int use_cpus(void)
{
	cpu_set_t set;

	return result(sched_getaffinity(0, sizeof set, &set) < 0 ? -1 : sched_setaffinity(0, sizeof set, &set));
}

static int share_no_core(void)
{
	enum { THREAD_GROUP = 1 /* PIDTYPE_TGID */ };

	return result(prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, THREAD_GROUP, 0));
}

static int enter_mounts(void)
{
	return result(unshare(CLONE_NEWNS) < 0 ? -1 : mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
}

static int enter_pids(void)
{
	return result(unshare(CLONE_NEWPID));
}

static int enter_ipc(void)
{
	return result(unshare(CLONE_NEWIPC));
}

static int enter_uts(void)
{
	return result(unshare(CLONE_NEWUTS));
}

static int enter_cgroups(void)
{
	return result(unshare(CLONE_NEWCGROUP));
}

static int enter_network(void)
{
	return result(unshare(CLONE_NEWNET));
}

static int raise_loopback(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int err = enter_network();
	cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return err != 0 ? err : result(fd < 0 ? -1 : ioctl(fd, SIOCSIFFLAGS, &request));
}

/* The namespace is for the children of who enters it. */
static int mount_proc(void)
{
	int status, err = enter_mounts();

	if (err == 0)
		err = enter_pids();
	if (err != 0)
		return err;
	pid_t pid = fork();
	if (pid == 0)
		_exit(result(mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL)));
	return pid < 0 || waitpid(pid, &status, 0) < 0 ? errno : WIFEXITED(status) ? WEXITSTATUS(status) : EPROTO;
}

static int change_root(void)
{
	int err = enter_mounts();

	if (err == 0 && (mount("tmpfs", "/tmp", "tmpfs", 0, NULL) < 0 || chdir("/tmp") < 0 ||
			 syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0))
		err = errno;
	return err;
}

static int begin_session(void)
{
	return result(setsid());
}

static int die_with_parent(void)
{
	return result(prctl(PR_SET_PDEATHSIG, SIGKILL));
}

static int close_all(void)
{
	return result(syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0));
}

static int gain_no_code(void)
{
	return result(prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0));
}

static int lower_limits(void)
{
	static const struct rlimit few = {16, 16};

	return result(setrlimit(RLIMIT_NOFILE, &few));
}

static int bound_capabilities(void)
{
	return result(prctl(PR_CAPBSET_DROP, 0 /* CAP_CHOWN */, 0, 0, 0));
}

static int filter_calls(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	const struct sock_fprog program = {.len = 1, .filter = &allow};
	int err = gain_no_privileges();

	return err != 0 ? err : result(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
}

/* ---- Landlock ---- */

/* struct landlock_ruleset_attr of ABI 6; older kernels know the beginning of it. */
struct rules {
	uint64_t files, network, scopes;
};

static long landlock_abi(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_CREATE_RULESET_VERSION);
}

/* With no rule of what is allowed, all that is handled is forbidden. */
static int restrict_self(const struct rules *rules, size_t size)
{
	cleanup_close int fd = (int)syscall(SYS_landlock_create_ruleset, rules, size, 0);
	int err = fd < 0 ? errno : gain_no_privileges();

	return err != 0 ? err : result(syscall(SYS_landlock_restrict_self, fd, 0));
}

/* The deed that shall have failed. */
static int refused(long success, int with)
{
	return success < 0 && errno == with ? 0 : EPROTO;
}

static int forbid_files(void)
{
	const struct rules rules = {.files = LANDLOCK_ACCESS_FS_READ_DIR};
	int err = restrict_self(&rules, sizeof rules.files);

	return err != 0 ? err : refused(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), EACCES);
}

static int forbid_ports(void)
{
	enum { BIND = 1, CONNECT = 2 };
	const struct rules rules = {.network = BIND | CONNECT};
	const struct sockaddr_in somewhere = {
		.sin_family = AF_INET, .sin_port = htons(1), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int err = restrict_self(&rules, offsetof(struct rules, scopes));
	cleanup_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return err != 0 ? err : refused(connect(fd, (const struct sockaddr *)&somewhere, sizeof somewhere), EACCES);
}

static int forbid_signals(void)
{
	enum { ABSTRACT_SOCKETS = 1, SIGNALS = 2 };
	const struct rules rules = {.scopes = ABSTRACT_SOCKETS | SIGNALS};
	int err = restrict_self(&rules, sizeof rules);

	return err != 0 ? err : refused(kill(getppid(), 0), EPERM);
}

/* ---- why not ---- */

static long read_number(const char *path)
{
	cleanup_file FILE *file = fopen(path, "re");
	long number;

	return file != NULL && fscanf(file, "%ld", &number) == 1 ? number : -1;
}

/* What distributions forbid them with, most of all. */
static const char *why_no_user_namespace(int err)
{
	if (read_number("/proc/sys/user/max_user_namespaces") == 0)
		return "user.max_user_namespaces is 0";
	if (read_number("/proc/sys/kernel/unprivileged_userns_clone") == 0)
		return "kernel.unprivileged_userns_clone is 0";
	if (read_number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1)
		return "AppArmor: kernel.apparmor_restrict_unprivileged_userns is 1";
	return strerror(err);
}

static const char *why_no_core_scheduling(int err)
{
	return err == ENODEV ? "no core runs two threads here" : err == EINVAL ? "not in this kernel" : strerror(err);
}

static const char *why_no_proc(int err)
{
	return err == EPERM ? "something covers parts of /proc, as containers do, or mounting is forbidden"
			    : strerror(err);
}

static const char *since_6_3(int err)
{
	return err == EINVAL ? "needs Linux 6.3" : strerror(err);
}

static const char *why_no_landlock(int err)
{
	return err == EOPNOTSUPP ? "not enabled at boot (lsm=)" : strerror(err);
}

/* EINVAL, E2BIG: what is asked for is newer than the kernel. */
static const char *since_abi_4(int err)
{
	return err == EINVAL || err == E2BIG ? "needs Landlock ABI 4 (Linux 6.7)" : why_no_landlock(err);
}

static const char *since_abi_6(int err)
{
	return err == EINVAL || err == E2BIG ? "needs Landlock ABI 6 (Linux 6.12)" : why_no_landlock(err);
}

/* ---- the stages ---- */

enum need {
	NOTHING,
	PRIVILEGE, /* which root has, and everybody in a user namespace */
};

static const struct stage {
	const char *name; /* as launch/outcome.h has it */
	int (*attempt)(void); /* NULL: done before the fork, nothing can go wrong */
	enum need need;
	const char *can, *cannot; /* consequences */
	const char *(*why)(int err); /* NULL: strerror(3) */
} stages[] = {
	{"no_new_privs", gain_no_privileges, NOTHING, "set-user-ID programs gain nothing in a job",
	 "no job can be started by an ordinary user", NULL},
	{"oom_score_adj", be_killed_first, NOTHING, "a job can be the first to be killed where memory runs out",
	 "a job is as likely as others to be killed where memory runs out", NULL},
	{"nice", be_nice, NOTHING, "a job can give way to others", "a job runs beside others as an equal", NULL},
	{"cpu_set", use_cpus, NOTHING, "a job can be kept to some CPUs", "a job runs on every CPU", NULL},
	{"core_scheduling", share_no_core, NOTHING, "no stranger runs beside a job on the same core",
	 "others may run beside a job on the same core, and listen", why_no_core_scheduling},
	{"user namespace", sp_enter_user_namespace, NOTHING, "namespaces without root",
	 "namespaces, pivot_root and the bounding set need root", why_no_user_namespace},
	{"pid namespace", enter_pids, PRIVILEGE, "a job sees no processes but its own",
	 "a job sees the processes of others", NULL},
	{"ipc namespace", enter_ipc, PRIVILEGE, "a job sees no System V objects and queues but its own",
	 "a job sees the System V objects and queues of others", NULL},
	{"uts namespace", enter_uts, PRIVILEGE, "a job has a host name of its own", "a job has the host's name", NULL},
	{"cgroup namespace", enter_cgroups, PRIVILEGE, "a job does not see where its cgroup is",
	 "a job sees where its cgroup is", NULL},
	{"net namespace", enter_network, PRIVILEGE, "a job can be without network",
	 "a job has the network of the machine", NULL},
	{"loopback", raise_loopback, PRIVILEGE, "a job without network has a loopback of its own",
	 "a job without network has no loopback either", NULL},
	{"mount namespace", enter_mounts, PRIVILEGE, "a job can have mounts of its own", "a job has the host's mounts",
	 NULL},
	{"proc", mount_proc, PRIVILEGE, "a job in a pid namespace has a /proc that shows it",
	 "a job in a pid namespace has a /proc that shows others", why_no_proc},
	{"root", change_root, PRIVILEGE, "a job can have a root of its own", "a job has the host's root", NULL},
	{"new_session", begin_session, NOTHING, "a job can be without our terminal", "a job has our terminal", NULL},
	{"parent_death_signal", die_with_parent, NOTHING, "a job is told of its parent's death",
	 "a job is not told of its parent's death", NULL},
	{"environment", NULL, NOTHING, "a job gets the variables that it shall have", "", NULL},
	{"close_fds", close_all, NOTHING, "a job gets the files that it shall have",
	 "a job gets the files that its caller left open (needs Linux 5.9)", NULL},
	{"mdwe", gain_no_code, NOTHING, "memory of a job cannot become code",
	 "memory of a job can be written and executed", since_6_3},
	{"filesystem", forbid_files, NOTHING, "rules on the files of a job, by Landlock",
	 "no rules on the files of a job", why_no_landlock},
	{"network ports", forbid_ports, NOTHING, "rules on the TCP ports of a job, by Landlock; UDP stays open",
	 "no rules on the TCP ports of a job", since_abi_4},
	{"scopes", forbid_signals, NOTHING, "a job signals and calls nobody outside, by Landlock",
	 "a job can signal others of the same user, and call their abstract sockets", since_abi_6},
	{"limits", lower_limits, NOTHING, "limits for each process of a job", "no limits for the processes of a job",
	 NULL},
	{"capabilities", bound_capabilities, PRIVILEGE, "no program gives a job capabilities",
	 "file capabilities are stopped by no_new_privs alone", NULL},
	{"syscalls", filter_calls, NOTHING, "system calls can be taken away from a job",
	 "no system call can be taken away from a job", NULL},
};

static_assert(sizeof stages / sizeof *stages == SP_STAGE_PROBES);

const char *sp_probe_stage_name(int stage)
{
	return stages[stage].name;
}

static const char *why(const struct stage *stage, int err)
{
	return stage->why != NULL ? stage->why(err) : strerror(err);
}

static void try_unprivileged(const struct stage *stage, struct sp_finding *finding)
{
	int err = stage->attempt != NULL ? sp_try(stage->attempt) : 0;

	if (err == 0)
		sp_finding_set(finding, SP_FINDING_OK, stage->can, "%s",
			       stage->attempt != NULL ? "a child could be made so" : "nothing is needed for it");
	else
		sp_finding_set(finding, SP_FINDING_MISSING, stage->cannot, "%s", why(stage, err));
}

static void try_privileged(const struct stage *stage, struct sp_finding *finding)
{
	int as_we_are = sp_try(stage->attempt);
	int in_namespace = as_we_are != 0 ? sp_try_in_user_namespace(stage->attempt) : 0;

	if (as_we_are == 0)
		sp_finding_set(finding, SP_FINDING_OK, stage->can, "a child could be made so");
	else if (in_namespace == 0)
		sp_finding_set(finding, SP_FINDING_OK, stage->can,
			       "a child could be made so, in a user namespace only (%s)", strerror(as_we_are));
	else
		sp_finding_set(finding, SP_FINDING_MISSING, stage->cannot, "%s; in a user namespace: %s",
			       strerror(as_we_are), why(stage, in_namespace));
}

/* Rules on files came step by step; those on ports and scopes are stages of their own. */
static void tell_landlock(struct sp_finding *finding)
{
	enum { TRUNCATION = 3, DEVICES = 5 };
	long abi = landlock_abi();

	if (abi < TRUNCATION)
		sp_finding_set(finding, SP_FINDING_DEGRADED,
			       "rules on the files of a job, by Landlock, as far as it goes",
			       "ABI %ld: who may write may truncate what he may not write, and use any device", abi);
	else if (abi < DEVICES)
		sp_finding_set(finding, SP_FINDING_DEGRADED,
			       "rules on the files of a job, by Landlock, as far as it goes",
			       "ABI %ld: no rules on ioctl of devices", abi);
	else
		sp_finding_set(
			finding, SP_FINDING_OK, "rules on the files of a job, by Landlock",
			"ABI %ld: reading, writing, truncating, executing, linking and renaming, ioctl of devices",
			abi);
}

void sp_probe_stage(int stage, struct sp_finding *finding)
{
	const struct stage *probed = &stages[stage];

	if (probed->need == PRIVILEGE)
		try_privileged(probed, finding);
	else
		try_unprivileged(probed, finding);
	if (probed->attempt == forbid_files && finding->status == SP_FINDING_OK)
		tell_landlock(finding);
}
