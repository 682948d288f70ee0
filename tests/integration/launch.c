/* What a job is launched with, seen from inside: every stage applied and every stage failed, the levels, what a strict job
 * cannot do. The table of docs/launch.md names these tests. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COUNT(array) (int)(sizeof(array) / sizeof *(array))

/* ---- a job with a policy ---- */

/* '@' in a text stands for the lab's directory, "inmate" at its beginning for that program's path. */
static const char *expand(struct sp_lab *lab, const char *text)
{
	const char *expanded = "";

	for (const char *at = text; *at != '\0';) {
		const size_t length = strcspn(at, "@");

		expanded = sp_text(lab, "%s%.*s%s", expanded, (int)length, at, at[length] == '@' ? lab->directory : "");
		at += length + (at[length] == '@');
	}
	return expanded;
}

/* The program under test, in the lab, where jobs with a root of their own find it too. */
static const char *inmate(struct sp_lab *lab)
{
	const char *program = sp_program(lab, "inmate"), *copy = sp_text(lab, "%s/inmate", lab->directory);

	if (access(copy, X_OK) != 0) {
		cleanup_outcome struct sp_outcome outcome = sp_run(lab, NULL, sp_argv("cp", program, copy));
		sp_assert_ended(&outcome, 0, "cp");
	}
	return copy;
}

/* Words at blanks. */
static const char *const *split(struct sp_lab *lab, const char *line)
{
	static const char *words[32];
	size_t count = 0;

	for (const char *at = expand(lab, line); *at != '\0' && count < 31;) {
		const size_t length = strcspn(at, " ");
		const char *word = sp_text(lab, "%.*s", (int)length, at);

		words[count++] = strcmp(word, "inmate") == 0 ? inmate(lab) : word;
		at += length + strspn(at + length, " ");
	}
	words[count] = NULL;
	return words;
}

static void set_policy(struct sp_lab *lab, const char *sections)
{
	sp_set_policy(lab, sp_text(lab, "version: 1\nexec: {default: allow}\n%s\n", expand(lab, sections)));
}

/* `[SANDBOX] sallyport run --explain ... -- COMMAND` */
static struct sp_outcome explain(struct sp_lab *lab, const char *const before[], const char *const command[])
{
	const char *const *run = sp_supervised_argv(lab, command);
	const char *argv[64];
	size_t count = 0;

	for (size_t i = 0; before[i] != NULL; i++)
		argv[count++] = before[i];
	for (size_t i = 0; run[i] != NULL; i++) {
		argv[count++] = run[i];
		if (i == 1)
			argv[count++] = "--explain";
	}
	argv[count] = NULL;
	return sp_run(lab, NULL, argv);
}

static void assert_stage(struct sp_lab *lab, const struct sp_outcome *outcome, const char *stage, const char *state)
{
	const char *line = sp_text(lab, "sallyport: %-22s  %s", stage, state);

	cr_assert_not_null(strstr(outcome->err.data, line), "no '%s' in:\n%s", line, outcome->err.data);
}

static bool has_line(const struct sp_outcome *outcome, const char *line)
{
	const size_t size = strlen(line);

	for (const char *at = outcome->out.data; (at = strstr(at, line)) != NULL; at += size)
		if ((at == outcome->out.data || at[-1] == '\n') && at[size] == '\n')
			return true;
	return false;
}

/* The value of a line NAME=VALUE. */
static const char *value_of(struct sp_lab *lab, const struct sp_outcome *outcome, const char *name)
{
	const char *prefix = sp_text(lab, "\n%s=", name), *text = sp_text(lab, "\n%s", outcome->out.data);
	const char *at = strstr(text, prefix);

	cr_assert_not_null(at, "no %s in:\n%s", name, outcome->out.data);
	at += strlen(prefix);
	return sp_text(lab, "%.*s", (int)strcspn(at, "\n"), at);
}

/* ---- every stage: applied ---- */

#define SPACE "namespaces: [user, mount, pid]"
#define SYSTEM "{from: /usr}, {from: /bin}, {from: /sbin}, {from: /lib}, {from: /lib64}, {from: @}"
enum { ANYBODY, ROOT_ONLY, USER_ONLY };

/* What a job shows that has the stage, and a native run of the same command does not: a line, or only another value than
 * the native one. */
static const struct applied {
	const char *stage, *policy, *command, *line, *differs;
	int who;
} applied[] = {
	{"no_new_privs", "launch: {}", "inmate show", "NoNewPrivs=1"},
	{"oom_score_adj", "launch: {oom_score_adj: 321}", "inmate show", "oom=321"},
	{"nice", "launch: {nice: 7}", "inmate show", "nice=7"},
	{"cpu_set", "launch: {cpu_set: 0}", "inmate show", "Cpus_allowed_list=0"},
	{"user namespace", "launch: {namespaces: user}", "inmate show", NULL, "user"},
	{"user namespace", "launch: {namespaces: user}", "inmate show", NULL, "uid_map"},
	/* Somebody else's ids: the program becomes the first of them. */
	{"user namespace", "launch: {namespaces: user, uid_map: 7 100000 10, gid_map: 8 100000 10, cwd: /}",
	 "/usr/bin/id -u", "7", NULL, ROOT_ONLY},
	{"pid namespace", "launch: {namespaces: [user, pid]}", "inmate show", "pid=2"},
	{"pid namespace", "launch: {namespaces: pid}", "inmate show", "pid=2", NULL, ROOT_ONLY},
	{"ipc namespace", "launch: {namespaces: [user, ipc]}", "inmate show", NULL, "ipc"},
	{"uts namespace", "launch: {namespaces: [user, uts]}", "inmate show", NULL, "uts"},
	{"cgroup namespace", "launch: {namespaces: [user, cgroup]}", "inmate show", NULL, "cgroup"},
	{"net namespace", "launch: {namespaces: user}\nnetwork: none", "inmate show", NULL, "net"},
	{"net namespace", "network: none", "inmate show", NULL, "net", ROOT_ONLY},
	/* lo is down in a new namespace: see the same row below, where the stage fails */
	{"loopback", "launch: {namespaces: [user, net]}", "inmate show", "lo=up", "net"},
	{"mount namespace", "launch: {namespaces: [user, mount]}", "inmate show", NULL, "mnt"},
	{"proc", "launch: {" SPACE "}", "inmate show", "others=0"},
	{"root", "launch: {" SPACE ", binds: [" SYSTEM "]}", "inmate try read /etc/passwd", "read=ENOENT"},
	{"root", "launch: {" SPACE ", binds: [" SYSTEM "]}", "inmate try write @/new", "write=EROFS"},
	{"root", "launch: {" SPACE ", binds: [" SYSTEM "], tmpfs: /etc}", "inmate try read /etc/passwd", "read=ENOENT"},
	{"root", "launch: {namespaces: mount, binds: [" SYSTEM "]}", "inmate try read /etc/passwd", "read=ENOENT", NULL,
	 ROOT_ONLY},
	{"root", "launch: {chroot: /usr}", "/bin/ls /", "libexec", NULL, ROOT_ONLY},
	{"new_session", "launch: {new_session: true}", "inmate show", "session_leader=1"},
	{"new_process_group", "launch: {new_process_group: true}", "inmate show", "group_leader=1"},
	{"cwd", "launch: {cwd: /usr}", "inmate show", "cwd=/usr"},
	{"umask", "launch: {umask: '027'}", "inmate show", "umask=027"},
	{"parent_death_signal", "launch: {parent_death_signal: SIGUSR1}", "inmate show", "pdeathsig=10"},
	{"environment", "launch: {clear_env: true, keep_env: [LC_*]}", "inmate dump", NULL, NULL},
	{"close_fds", "launch: {}", "inmate show", "fds=0 1 2 "},
	{"mdwe", "launch: {mdwe: true}", "inmate try wx", "wx=EACCES"},
	{"filesystem", "filesystem: {read: [/proc, /lib, /usr], exec: [/usr, /lib, '@']}",
	 "inmate try read /etc/passwd", "read=EACCES"},
	{"filesystem", "filesystem: {read: /, exec: /}", "inmate try write @/new", "write=EACCES"},
	{"filesystem, all rights", "filesystem: {read: /, exec: /}", "inmate try truncate @/file", "truncate=EACCES"},
	{"network ports", "network: {tcp_connect: 2}", "inmate try connect 1", "connect=EACCES"},
	{"network ports", "network: {tcp_bind: []}", "inmate try bind 0", "bind=EACCES"},
	{"address_space", "limits: {memory: 1M}", "inmate show", "as=4294967296 4294967296"},
	{"address_space", "limits: {address_space: 1G}", "inmate try map 2000000000", "map=ENOMEM"},
	{"limits", "limits: {open_files: 64}", "inmate show", "nofile=64 64"},
	{"limits", "limits: {core: 0, cpu_seconds: 100}", "inmate show", "cpu=100 100"},
	{"limits", "limits: {file_size: 1M}", "inmate show", "fsize=1048576 1048576"},
	{"limits", "limits: {stack: 4M}", "inmate show", "stack=4194304 4194304"},
	{"limits", "launch: {namespaces: user}\nlimits: {processes: 500}", "inmate show", "nproc=500 500"},
	{"capabilities", "launch: {namespaces: user, capabilities: {bounding: [kill]}}", "inmate show",
	 "CapBnd=0000000000000020"},
	{"capabilities", "launch: {namespaces: user, capabilities: {ambient: [chown]}}", "inmate show",
	 "CapAmb=0000000000000001"},
	{"capabilities", "launch: {namespaces: user, capabilities: {securebits: [noroot, noroot_locked]}}",
	 "inmate show", "securebits=3"},
	{"capabilities", "launch: {capabilities: {bounding: []}}", "inmate show", "CapEff=0000000000000000", NULL,
	 ROOT_ONLY},
	{"capabilities", "launch: {capabilities: {effective: []}}", "inmate show", "CapPrm=0000000000000000", NULL,
	 ROOT_ONLY},
	{"syscalls", "syscalls: {deny: [unshare]}", "inmate try unshare", "unshare=EPERM"},
	{"syscalls", "syscalls: {deny: [fcntl]}", "inmate show", "fds="},
};

static bool is_for(int who, enum sp_who me)
{
	return who == ANYBODY || (who == ROOT_ONLY) == (me == SP_WHO_ROOT);
}

ParameterizedTestParameters(launch, applied)
{
	return sp_each_who_of(COUNT(applied));
}
ParameterizedTest(int *parameter, launch, applied)
{
	const struct applied *row = &applied[SP_INDEX(*parameter)];
	cleanup_lab struct sp_lab lab;

	sp_lab_open(&lab, SP_WHO(*parameter));
	if (!is_for(row->who, lab.who))
		return;
	set_policy(&lab, row->policy);
	(void)sp_write_file(&lab, "file", "x", 1, 0600);
	const char *const *command = split(&lab, row->command);
	cleanup_outcome struct sp_outcome native = sp_run(&lab, NULL, command);
	cleanup_outcome struct sp_outcome job = explain(&lab, sp_argv(NULL), command);
	sp_assert_ended(&job, native.status, row->policy);
	assert_stage(&lab, &job, row->stage, "applied");
	if (row->line != NULL)
		cr_assert(has_line(&job, row->line), "%s: no %s in:\n%s", row->policy, row->line, job.out.data);
	if (row->line != NULL && row->differs == NULL)
		cr_assert_not(has_line(&native, row->line), "%s: natively as well: %s", row->policy, row->line);
	if (row->differs != NULL)
		cr_assert_str_neq(value_of(&lab, &job, row->differs), value_of(&lab, &native, row->differs), "%s",
				  row->policy);
	cr_assert_str_neq(job.out.data, native.out.data);
}

/* ---- every stage: failed ---- */

enum { NO_CALL = -1, NO_ARGUMENT = -1 };

/* How it is made to fail: by a call that another sandbox refuses (where `argument` has the value), by the lack of a right
 * or by a bad argument. */
static const struct failed {
	const char *stage, *policy, *state;
	int call, argument;
	unsigned value;
	int err, who;
} failed[] = {
	{"oom_score_adj", "oom_score_adj: -900", "failed: EACCES", .call = NO_CALL, .who = USER_ONLY},
	{"oom_score_adj", "oom_score_adj: 900", "failed: ENOSYS", SYS_write, 2, 3 /* bytes */, ENOSYS},
	{"nice", "nice: -5", "failed: EACCES", .call = NO_CALL, .who = USER_ONLY},
	{"nice", "nice: 5", "failed: EPERM", SYS_setpriority, NO_ARGUMENT, 0, EPERM},
	{"cpu_set", "cpu_set: 1000", "failed: EINVAL", .call = NO_CALL},
	{"core_scheduling", "core_scheduling: true", "failed: EPERM", SYS_prctl, 0, PR_SCHED_CORE, EPERM},
	{"user namespace", "namespaces: user", "failed: ENOSPC", SYS_unshare, 0, CLONE_NEWUSER, ENOSPC},
	{"user namespace", "namespaces: user, uid_map: 0 1 1", "failed: EPERM", .call = NO_CALL, .who = USER_ONLY},
	{"pid namespace", "namespaces: [user, pid]", "failed: ENOSPC", SYS_unshare, 0, CLONE_NEWPID, ENOSPC},
	{"pid namespace", "namespaces: pid", "failed: EPERM", .call = NO_CALL, .who = USER_ONLY},
	{"ipc namespace", "namespaces: [user, ipc]", "failed: ENOSPC", SYS_unshare, 0, CLONE_NEWIPC, ENOSPC},
	{"ipc namespace", "namespaces: ipc", "failed: EPERM", .call = NO_CALL, .who = USER_ONLY},
	{"uts namespace", "namespaces: [user, uts]", "failed: ENOSPC", SYS_unshare, 0, CLONE_NEWUTS, ENOSPC},
	{"uts namespace", "namespaces: uts", "failed: EPERM", .call = NO_CALL, .who = USER_ONLY},
	{"cgroup namespace", "namespaces: [user, cgroup]", "failed: EPERM", SYS_unshare, 0, CLONE_NEWCGROUP, EPERM},
	{"cgroup namespace", "namespaces: cgroup", "failed: EPERM", .call = NO_CALL, .who = USER_ONLY},
	{"net namespace", "namespaces: [user, net]", "failed: ENOSPC", SYS_unshare, 0, CLONE_NEWNET, ENOSPC},
	{"net namespace", "namespaces: net", "failed: EPERM", .call = NO_CALL, .who = USER_ONLY},
	/* What needs one that failed is not done to the machine instead. */
	{"loopback", "namespaces: [user, net]", "failed: ECANCELED", SYS_unshare, 0, CLONE_NEWNET, ENOSPC},
	{"loopback", "namespaces: [user, net]", "failed: EACCES", SYS_socket, 0, 16 /* AF_NETLINK */, EACCES},
	{"mount namespace", "namespaces: [user, mount]", "failed: ENOSPC", SYS_unshare, 0, CLONE_NEWNS, ENOSPC},
	{"mount namespace", "namespaces: mount", "failed: EPERM", .call = NO_CALL, .who = USER_ONLY},
	{"proc", SPACE, "failed: ENOSYS", SYS_fsopen, NO_ARGUMENT, 0, ENOSYS},
	{"proc", SPACE, "failed: ECANCELED", SYS_unshare, 0, CLONE_NEWPID, ENOSPC},
	{"root", SPACE ", binds: [" SYSTEM ", {from: /no/such}]", "failed: ENOENT", .call = NO_CALL},
	{"root", SPACE ", binds: [" SYSTEM "]", "failed: ECANCELED", SYS_unshare, 0, CLONE_NEWNS, ENOSPC},
	{"root", SPACE ", binds: [" SYSTEM "]", "failed: EPERM", SYS_pivot_root, NO_ARGUMENT, 0, EPERM},
	{"root", "chroot: /usr", "failed: EPERM", .call = NO_CALL, .who = USER_ONLY},
	{"root", "chroot: /no/such", "failed: ENOENT", .call = NO_CALL, .who = ROOT_ONLY},
	{"new_session", "new_session: true", "failed: EPERM", SYS_setsid, NO_ARGUMENT, 0, EPERM},
	{"new_process_group", "new_process_group: true", "failed: EACCES", SYS_setpgid, NO_ARGUMENT, 0, EACCES},
	{"cwd", "cwd: /no/such", "failed: ENOENT", .call = NO_CALL},
	{"parent_death_signal", "parent_death_signal: TERM", "failed: EPERM", SYS_prctl, 0, PR_SET_PDEATHSIG, EPERM},
	{"close_fds", "pass_fds: [77]", "failed: EBADF", .call = NO_CALL},
	{"close_fds", "close_fds: true", "failed: ENOSYS", SYS_close_range, NO_ARGUMENT, 0, ENOSYS},
	{"mdwe", "mdwe: true", "failed: EINVAL", SYS_prctl, 0, 65 /* PR_SET_MDWE */, EINVAL},
	{"filesystem", "}\nfilesystem: {read: /, exec: /", "failed: ENOSYS", 444, NO_ARGUMENT, 0, ENOSYS},
	{"filesystem, all rights", "}\nfilesystem: {read: /, exec: /", "failed: ECANCELED", 444, NO_ARGUMENT, 0,
	 ENOSYS},
	/* as from a kernel of Landlock's first version: its number cannot be asked for, the ruleset can be had */
	{"filesystem, all rights", "}\nfilesystem: {read: /, exec: /", "failed: EOPNOTSUPP", 444, 2, 1, EOPNOTSUPP},
	{"network ports", "}\nnetwork: {tcp_connect: 1", "failed: EPERM", 446, NO_ARGUMENT, 0, EPERM},
	{"network ports", "}\nnetwork: {tcp_connect: 1", "failed: E2BIG", 444, 1, 16, E2BIG},
	{"scopes", "scopes: signal", "failed: E2BIG", 444, 1, 24, E2BIG},
	{"address_space", "}\nlimits: {address_space: 1G", "failed: EPERM", SYS_prlimit64, 1, RLIMIT_AS, EPERM},
	{"limits", "}\nlimits: {file_size: 1M", "failed: EPERM", SYS_prlimit64, 1, RLIMIT_FSIZE, EPERM},
	{"capabilities", "capabilities: {bounding: []}", "failed: EPERM", .call = NO_CALL, .who = USER_ONLY},
	{"capabilities", "namespaces: user, capabilities: {bounding: []}", "failed: EPERM", SYS_prctl, 0,
	 PR_CAPBSET_DROP, EPERM},
};

/* The sandbox in front of a command; nothing where no call is to fail. Of seccomp(2) it is the loading of filters. */
static const char *const *sandboxed(struct sp_lab *lab, int call, int err, int argument, unsigned value)
{
	static const char *words[12];
	size_t count = 0;

	if (call != NO_CALL) {
		words[count++] = sp_program(lab, "sandbox");
		words[count++] = sp_text(lab, "%d", call);
		words[count++] = sp_text(lab, "%d", err);
		if (argument != NO_ARGUMENT) {
			words[count++] = sp_text(lab, "%d", argument);
			words[count++] = sp_text(lab, "%u", value);
		}
		if (call == SYS_seccomp) {
			words[count++] = "0";
			words[count++] = sp_text(lab, "%d", SECCOMP_SET_MODE_FILTER);
		}
		words[count++] = "--";
	}
	words[count] = NULL;
	return words;
}

static struct sp_outcome run_failing(struct sp_lab *lab, const struct failed *row, const char *require)
{
	set_policy(lab, sp_text(lab, "launch: {require: %s, %s}", require, row->policy));
	return explain(lab, sandboxed(lab, row->call, row->err, row->argument, row->value),
		       sp_argv(inmate(lab), "show"));
}

ParameterizedTestParameters(launch, failed)
{
	return sp_each_who_of(COUNT(failed));
}
ParameterizedTest(int *parameter, launch, failed)
{
	const struct failed *row = &failed[SP_INDEX(*parameter)];
	cleanup_lab struct sp_lab lab;

	sp_lab_open(&lab, SP_WHO(*parameter));
	if (!is_for(row->who, lab.who))
		return;
	if (row->call == SYS_prlimit64 && row->value == RLIMIT_AS)
		sp_skip_if_sanitized(&lab, "tsan", "its own start asks for this very limit");
	cleanup_outcome struct sp_outcome job = run_failing(&lab, row, "none");
	sp_assert_ended(&job, 0, row->policy);
	assert_stage(&lab, &job, row->stage, row->state);
	if (strcmp(row->stage, "loopback") == 0)
		cr_assert(has_line(&job, "lo=down") || strstr(row->state, "ECANCELED") != NULL);

	/* By default the same is not run at all. */
	cleanup_outcome struct sp_outcome refused = run_failing(&lab, row, "full");
	sp_assert_ended(&refused, 125, row->policy);
	cr_assert_eq(refused.out.size, 0, "%s: it ran: %s", row->policy, refused.out.data);
	cr_assert_not_null(strstr(refused.err.data, "not started: launch.require is full"), "%s", refused.err.data);
	cr_assert_eq(sp_sql_number(&lab, "SELECT count(*) FROM launches"), 2);
	cr_assert_eq(sp_sql_number(&lab, "SELECT count(*) FROM execs"), 1);
}

/* The supervisor needs no_new_privs for itself, too: the stage's own failure is shown by the unit tests. */
sp_lab_test(launch, failed_no_new_privs)
{
	set_policy(lab, "launch: {require: none}");
	cleanup_outcome struct sp_outcome job =
		explain(lab, sandboxed(lab, SYS_prctl, EPERM, 0, PR_SET_NO_NEW_PRIVS), sp_argv("echo", "ran"));
	sp_assert_ended(&job, 125, "echo");
	cr_assert_eq(job.out.size, 0);
}

/* ---- the last two stages: without them nothing runs ---- */

static const struct fatal {
	const char *policy;
	int call, argument;
	unsigned value;
	int err;
	const char *said;
} fatal[] = {
	{"launch: {require: none}", SYS_seccomp, 1, 40 /* NEW_LISTENER, WAIT_KILLABLE_RECV */, EPERM,
	 "the seccomp filter failed: Operation not permitted"},
	{"launch: {require: none}\nsyscalls: {deny: keyctl}", SYS_seccomp, 1, 0, EPERM,
	 "syscalls failed: Operation not permitted"},
	/* It cannot even be given up to do it: the filter needs no_new_privs, or a right that a user has not. */
	{"launch: {require: none, no_new_privs: false}", NO_CALL, 0, 0, 0,
	 "the seccomp filter failed: Permission denied"},
};

ParameterizedTestParameters(launch, fatal)
{
	return sp_each_who_of(COUNT(fatal));
}
ParameterizedTest(int *parameter, launch, fatal)
{
	const struct fatal *row = &fatal[SP_INDEX(*parameter)];
	cleanup_lab struct sp_lab lab;

	sp_lab_open(&lab, SP_WHO(*parameter));
	if (row->call == NO_CALL && lab.who == SP_WHO_ROOT)
		return;
	set_policy(&lab, row->policy);
	cleanup_outcome struct sp_outcome job =
		explain(&lab, sandboxed(&lab, row->call, row->err, row->argument, row->value), sp_argv("echo", "ran"));
	cr_assert_eq(job.status, 125, "%s", job.err.data);
	cr_assert_eq(job.out.size, 0);
	cr_assert_eq(job.leftovers, 0);
	cr_assert_not_null(strstr(job.err.data, row->said), "%s", job.err.data);
	/* Behind the word; before it, nothing may have been recorded yet. */
	if (strstr(row->policy, "syscalls") != NULL)
		cr_assert_eq(sp_sql_number(&lab, "SELECT count(*) FROM launches"), 1);
}

/* ---- levels ---- */

static const struct level {
	const char *policy, *level;
	int who;
} levels[] = {
	{"launch: {no_new_privs: false, close_fds: false, strip_env: []}", "none", ROOT_ONLY},
	{"launch: {close_fds: false, strip_env: []}", "baseline"},
	{"limits: {address_space: 8G}", "baseline"},
	/* asked for more, had no more */
	{"launch: {require: baseline, close_fds: false, strip_env: [], cwd: /no/such}", "baseline"},
	{"launch: {require: partial, umask: '077', cwd: /no/such}", "partial"},
	{"launch: {require: partial, namespaces: net}", "partial", USER_ONLY},
	{"launch: {umask: '077', cwd: /usr}", "full"},
};

ParameterizedTestParameters(launch, level)
{
	return sp_each_who_of(COUNT(levels));
}
ParameterizedTest(int *parameter, launch, level)
{
	const struct level *row = &levels[SP_INDEX(*parameter)];
	cleanup_lab struct sp_lab lab;

	sp_lab_open(&lab, SP_WHO(*parameter));
	if (!is_for(row->who, lab.who))
		return;
	set_policy(&lab, row->policy);
	cleanup_outcome struct sp_outcome job = explain(&lab, sp_argv(NULL), sp_argv("echo", "ran"));
	sp_assert_ended(&job, 0, row->policy);
	assert_stage(&lab, &job, "level", row->level);
	cr_assert_str_eq(sp_sql_text(&lab, "SELECT level FROM launches"), row->level);
	cleanup_outcome struct sp_outcome log = sp_client(&lab, sp_argv("log", "--audit", lab.audit, "--summary"));
	cr_assert_not_null(strstr(log.out.data, sp_text(&lab, "launch      %s", row->level)), "%s", log.out.data);
}

static const struct {
	const char *require, *policy;
	int status;
} requirements[] = {
	{"baseline", "close_fds: false, strip_env: [], cwd: /no/such", 0},
	{"partial", "close_fds: false, strip_env: [], cwd: /no/such", 125},
	{"partial", "cwd: /no/such", 0},
	{"full", "cwd: /no/such", 125},
	{"full", "cwd: /usr", 0},
	/* what did not fail is never too little */
	{"full", "close_fds: false, strip_env: []", 0},
};

ParameterizedTestParameters(launch, require)
{
	return sp_each_who_of(COUNT(requirements));
}
ParameterizedTest(int *parameter, launch, require)
{
	cleanup_lab struct sp_lab lab;

	sp_lab_open(&lab, SP_WHO(*parameter));
	set_policy(&lab, sp_text(&lab, "launch: {require: %s, %s}", requirements[SP_INDEX(*parameter)].require,
				 requirements[SP_INDEX(*parameter)].policy));
	cleanup_outcome struct sp_outcome job = sp_supervise(&lab, NULL, sp_argv("echo", "ran"));
	sp_assert_ended(&job, requirements[SP_INDEX(*parameter)].status, "echo");
	cr_assert_eq(job.out.size > 0, job.status == 0);
}

/* ---- a job in a pid namespace behaves as one without ---- */

#define ALONE "launch: {" SPACE "}"

static const struct {
	const char *script;
	int status;
} endings[] = {
	{"exit 7", 7},
	{"kill -TERM $$", 128 + SIGTERM},
	{"kill -KILL $$", 128 + SIGKILL},
	{"sh -c 'exit 3' & wait $!", 3},
	/* who loses its parent is reaped by init; the run waits for it */
	{"sh -c 'sleep 0.05; echo orphan' & exit 2", 2},
	{"i=0; while [ $i -lt 50 ]; do (true &); i=$((i+1)); done; exit 5", 5},
};

ParameterizedTestParameters(launch, ends_as_natively)
{
	return sp_each_who_of(COUNT(endings));
}
ParameterizedTest(int *parameter, launch, ends_as_natively)
{
	const char *script = endings[SP_INDEX(*parameter)].script;
	cleanup_lab struct sp_lab lab;

	sp_lab_open(&lab, SP_WHO(*parameter));
	set_policy(&lab, ALONE);
	cleanup_outcome struct sp_outcome job = sp_supervise(&lab, NULL, sp_argv("sh", "-c", script));
	sp_assert_ended(&job, endings[SP_INDEX(*parameter)].status, script);
	cr_assert_eq(job.out.size, strstr(script, "orphan") != NULL ? strlen("orphan\n") : 0);
	/* Nobody whom the supervisor did not know. */
	cr_assert_eq(job.err.size, 0, "%s", job.err.data);
	cr_assert_eq(sp_sql_number(&lab, "SELECT count(*) FROM processes WHERE ended IS NULL"), 0);
}

/* The whole namespace goes with its supervisor: who is left would be a leftover. */
sp_lab_test(launch, namespace_dies_with_the_supervisor)
{
	set_policy(lab, ALONE);
	const char *script = "sleep 1000 & setsid sleep 1000 & echo ready; sleep 1000";
	struct sp_child child = sp_start(lab, NULL, sp_supervised_argv(lab, sp_argv("sh", "-c", script)));

	cr_assert(sp_await_text(&child, "ready"));
	child.linger = 20;
	kill(child.pid, SIGKILL);
	cleanup_outcome struct sp_outcome job = sp_finish(&child);
	sp_assert_ended(&job, 128 + SIGKILL, "the supervisor");
}

/* ---- init ---- */

/* What is left of the supervisor in the namespace can be neither read, written nor signalled. */
sp_lab_test(launch, init_is_out_of_reach)
{
	static const char *const attempts[][3] = {
		{"memory", "1", "memory=EACCES"},
		{"ptrace", "1", "ptrace=EPERM"},
		{"read", "/proc/1/environ", "read=EACCES"},
		{"list", "/proc/1/root/", "list=EACCES"},
	};

	set_policy(lab, ALONE);
	for (int i = 0; i < COUNT(attempts); i++) {
		cleanup_outcome struct sp_outcome job =
			sp_supervise(lab, NULL, sp_argv(inmate(lab), "try", attempts[i][0], attempts[i][1]));

		sp_assert_ended(&job, 0, attempts[i][0]);
		/* Root has every right but that of the namespace above. */
		cr_assert(has_line(&job, attempts[i][2]), "%s", job.out.data);
	}
	cleanup_outcome struct sp_outcome job = sp_supervise(
		lab, NULL, sp_argv("sh", "-c", "kill -KILL 1; kill -TERM 1; grep Seccomp: /proc/1/status; echo alive"));
	sp_assert_ended(&job, 0, "kill");
	cr_assert(has_line(&job, "alive") && has_line(&job, "Seccomp:\t2"), "%s", job.out.data);
}

/* ---- names in a root of one's own ---- */

#define OWN_ROOT                                                                                                       \
	"version: 1\n"                                                                                                 \
	"exec: {default: deny, path: [/usr/bin], rules: [{id: named, action: allow,"                                   \
	" program: [sh, 'true', id, sleep, unshare, mount, cat, chmod, cp, /tools/tool]}]}\n"

/* What is bound to /tools is /tools/tool for the policy, though the machine has no such file. */
sp_lab_test(launch, names_are_those_of_the_new_root)
{
	const char *tools = sp_text(lab, "%s/tools", lab->directory);
	cleanup_outcome struct sp_outcome made =
		sp_run(lab, NULL, sp_argv("sh", "-c", sp_text(lab, "mkdir %s && cp /bin/echo %s/tool", tools, tools)));
	sp_assert_ended(&made, 0, "mkdir");
	sp_set_policy(lab, sp_text(lab,
				   OWN_ROOT "launch: {" SPACE ", binds: [{from: /usr}, {from: /bin}, {from: /lib}, "
					    "{from: /lib64}, {from: %s, to: /tools}]}\n",
				   tools));
	cleanup_outcome struct sp_outcome job =
		sp_supervise(lab, NULL, sp_argv("sh", "-c", "/tools/tool one; cd /tools; ./tool two; ls /"));
	sp_assert_ended(&job, 126, "sh");
	cr_assert_str_eq(job.out.data, "one\ntwo\n");
}

/* A job cannot mount there, even where it is root of its user namespace. */
sp_lab_test(launch, cannot_mount_in_its_root)
{
	const char *map = lab->who == SP_WHO_ROOT ? "0 0 1" : "0 65534 1";
	set_policy(lab, sp_text(lab, "launch: {namespaces: [user, mount], uid_map: %s}", map));
	cleanup_outcome struct sp_outcome job = sp_supervise(lab, NULL, sp_argv(inmate(lab), "try", "mount", "/usr"));
	sp_assert_ended(&job, 0, "try mount");
	cr_assert_str_eq(job.out.data, "mount=EPERM\n");
	/* with the right that the stage takes away it can */
	cleanup_outcome struct sp_outcome native =
		sp_run(lab, NULL, sp_argv("unshare", "-Urm", inmate(lab), "try", "mount", "/usr"));
	cr_assert_str_eq(native.out.data, "mount=ok\n", "%s", native.err.data);
}

/* In a namespace of its own making it can mount what it likes over an allowed name. By a link in /proc, as a working directory
 * or as a descriptor that leads into any other, its own file must not pass for the one that is named. */
static const struct {
	const char *name, *run;
} ways_in[] = {
	{"an absolute path", "/proc/$p/root/usr/bin/true RAN"},
	{"a working directory", "cd /proc/$p/root/usr/bin && ./true RAN"},
	{"a descriptor", "exec 7</proc/$p/root/usr/bin/true; /proc/self/fd/7 RAN"},
};

ParameterizedTestParameters(launch, claimed_names)
{
	return sp_each_who_of(2 * COUNT(ways_in));
}
ParameterizedTest(int *parameter, launch, claimed_names)
{
	const int way = SP_INDEX(*parameter) / 2;
	const bool own_root = SP_INDEX(*parameter) % 2 == 1;
	cleanup_lab struct sp_lab lab;

	sp_lab_open(&lab, SP_WHO(*parameter));
	const char *policy = own_root ? OWN_ROOT "launch: {namespaces: [user, mount, pid]}\n" : OWN_ROOT;
	const char *body =
		sp_text(&lab,
			"exec 8<>%s/ready 9<>%s/end; unshare -Urm sh -c 'mount --bind %s/evil /usr/bin/true && "
			"echo $$ >&8; read line <&9' & read p <&8; (%s); s=$?; echo >&9; wait; exit $s",
			lab.directory, lab.directory, lab.directory, ways_in[way].run);
	cleanup_outcome struct sp_outcome made =
		sp_run(&lab, NULL, sp_argv("sh", "-c", "cp /bin/echo evil && mkfifo ready end"));
	sp_assert_ended(&made, 0, "cp");
	cleanup_outcome struct sp_outcome native = sp_run(&lab, NULL, sp_argv("sh", "-c", body));
	cr_assert_str_eq(native.out.data, "RAN\n", "%s: the control: %s", ways_in[way].name, native.err.data);
	sp_set_policy(&lab, policy);
	cleanup_outcome struct sp_outcome job = sp_supervise(&lab, NULL, sp_argv("sh", "-c", body));
	cr_assert_eq(job.out.size, 0, "%s: %s", ways_in[way].name, job.out.data);
	sp_assert_ended(&job, 126, ways_in[way].name);
}

/* ---- descriptors and environment ---- */

/* Descriptors that the caller left open: closed, but for those that are named. */
sp_lab_test(launch, passes_only_named_descriptors)
{
	static const struct {
		const char *policy, *fds;
	} rows[] = {
		{"launch: {pass_fds: [9]}", "fds=0 1 2 9 "},
		{"launch: {pass_fds: [9, 5]}", "fds=0 1 2 5 9 "},
		{"launch: {}", "fds=0 1 2 "},
	};

	for (int i = 0; i < COUNT(rows); i++) {
		set_policy(lab, rows[i].policy);
		const char *const *run = sp_supervised_argv(lab, sp_argv(inmate(lab), "show"));
		const char *argv[32] = {"sh", "-c", "exec 5</dev/null 7</dev/null 9</dev/null; exec \"$@\"", "sh"};

		for (size_t n = 0; run[n] != NULL; n++)
			argv[4 + n] = run[n];
		cleanup_outcome struct sp_outcome job = sp_run(lab, NULL, argv);
		sp_assert_ended(&job, 0, rows[i].policy);
		cr_assert(has_line(&job, rows[i].fds), "%s: %s", rows[i].policy, job.out.data);
	}
	set_policy(lab, "launch: {close_fds: false}");
	const char *script = sp_text(lab, "exec 7</dev/null; exec %s run --audit %s -p %s -- %s show",
				     sp_sallyport(lab), lab->audit, lab->policy, inmate(lab));
	cleanup_outcome struct sp_outcome control = sp_run(lab, NULL, sp_argv("sh", "-c", script));
	cr_assert_not_null(strstr(value_of(lab, &control, "fds"), " 7 "), "%s", control.out.data);
}

/* Names and values are bytes: what is no text in any encoding is kept as it is, or stripped by a glob over bytes. */
sp_lab_test(launch, environment_is_bytes)
{
	static const struct {
		const char *policy, *variable;
		bool kept;
	} rows[] = {
		{"launch: {}", "NA\xff\xfeME=v\xc3\x28\x01", true},
		{"launch: {}", "LD_\xffX=1", false},
		{"launch: {}", "BASH_ENV=/tmp/x", false},
		{"launch: {strip_env: []}", "LD_\xffX=1", true},
		{"launch: {strip_env: ['NA*']}", "NA\xffME=1", false},
		{"launch: {clear_env: true, keep_env: ['?A?']}",
		 "\xff"
		 "A\xfe=\xc0\xaf",
		 true},
		{"launch: {clear_env: true}", "HOME2=1", false},
		{"launch: {keep_env: [LD_GOOD]}", "LD_GOOD=1", true},
		{"launch: {}", "NOEQUALS", true},
	};

	for (int i = 0; i < COUNT(rows); i++) {
		const struct sp_options options = {.extra_environment = rows[i].variable};

		set_policy(lab, rows[i].policy);
		cleanup_outcome struct sp_outcome job =
			sp_run(lab, &options, sp_supervised_argv(lab, sp_argv(inmate(lab), "dump")));
		sp_assert_ended(&job, 0, rows[i].policy);
		cr_assert_eq(has_line(&job, rows[i].variable), rows[i].kept, "%s", rows[i].policy);
	}
}

/* ---- mode strict ---- */

/* A computation reads, writes and exits; anything else, a second exec included, kills. */
sp_lab_test(launch, strict_mode)
{
	const struct sp_options numbers = {.input = "12 30 58", .input_size = 8};
	const char *computation = sp_program(lab, "computation");

	set_policy(lab, "syscalls: {mode: strict}");
	cleanup_outcome struct sp_outcome good = sp_supervise(lab, &numbers, sp_argv(computation));
	sp_assert_ended(&good, 7, "a computation");
	cr_assert_str_eq(good.out.data, "100\n");
	cleanup_outcome struct sp_outcome native = sp_run(lab, &numbers, sp_argv(computation, "getpid"));
	sp_assert_ended(&native, 7, "the control");
	cleanup_outcome struct sp_outcome bad = sp_supervise(lab, &numbers, sp_argv(computation, "getpid"));
	sp_assert_ended(&bad, 128 + SIGSYS, "another call");
	cleanup_outcome struct sp_outcome library = sp_supervise(lab, NULL, sp_argv("true"));
	sp_assert_ended(&library, 128 + SIGSYS, "a program with a loader");
	cr_assert_eq(sp_sql_number(lab, "SELECT count(*) FROM execs"), 3);
}

sp_lab_test(launch, lists_of_calls)
{
	static const struct {
		const char *policy, *attempt;
		int status;
		const char *out;
	} rows[] = {
		{"syscalls: {kill: [unshare]}", "unshare", 128 + SIGSYS, ""},
		{"syscalls: {deny: [unshare]}", "unshare", 0, "unshare=EPERM\n"},
		{"syscalls: {deny: [unshare], kill: [unshare]}", "unshare", 128 + SIGSYS, ""},
		{"syscalls: {deny: [sendmsg, recvmsg, rt_sigprocmask, setrlimit]}", "wx", 0, "wx=ok\n"},
		{"syscalls: {allow: [read, write, openat, close, mmap, mprotect, brk, newfstatat, fstat, pread64,"
		 " exit_group, arch_prctl, set_tid_address, set_robust_list, rseq, prlimit64, getrandom, access, "
		 "munmap]}",
		 "unshare", 0, "unshare=EPERM\n"},
	};

	for (int i = 0; i < COUNT(rows); i++) {
		set_policy(lab, rows[i].policy);
		cleanup_outcome struct sp_outcome job =
			sp_supervise(lab, NULL, sp_argv(inmate(lab), "try", rows[i].attempt));
		sp_assert_ended(&job, rows[i].status, rows[i].policy);
		cr_assert_str_eq(job.out.data, rows[i].out, "%s", rows[i].policy);
	}
	set_policy(lab, "syscalls: {deny: []}");
	cleanup_outcome struct sp_outcome control = sp_supervise(lab, NULL, sp_argv(inmate(lab), "try", "unshare"));
	cr_assert_str_eq(control.out.data, "unshare=ok\n");
}
