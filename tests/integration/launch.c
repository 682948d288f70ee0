/* What a job is launched with, seen from inside: every stage applied and every stage failed, the levels, what a strict job
 * cannot do. The table of docs/launch.md names these tests. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
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
	{"limits", "limits: {processes: 500}", "inmate show", "nproc=500 500"},
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
	{"no_new_privs", "umask: '077'", "failed: EPERM", SYS_prctl, 0, PR_SET_NO_NEW_PRIVS, EPERM},
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
	{"limits", "}\nlimits: {core: 0", "failed: EPERM", SYS_prlimit64, 1, RLIMIT_CORE, EPERM},
	{"capabilities", "capabilities: {bounding: []}", "failed: EPERM", .call = NO_CALL, .who = USER_ONLY},
	{"capabilities", "namespaces: user, capabilities: {bounding: []}", "failed: EPERM", SYS_prctl, 0,
	 PR_CAPBSET_DROP, EPERM},
};

static struct sp_outcome run_failing(struct sp_lab *lab, const struct failed *row, const char *require)
{
	const char *text[] = {sp_text(lab, "%d", row->call), sp_text(lab, "%d", row->argument),
			      sp_text(lab, "%u", row->value), sp_text(lab, "%d", row->err)};
	const char *const *before =
		row->call == NO_CALL ? sp_argv(NULL)
				     : sp_argv(sp_program(lab, "sandbox"), text[0], text[1], text[2], text[3], "--");

	set_policy(lab, sp_text(lab, "launch: {require: %s, %s}", require, row->policy));
	return explain(lab, before, sp_argv(inmate(lab), "show"));
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
