/* What a tree may have in all, and how it is ended: limits that hold for all of it, `sallyport ps` and `sallyport kill`. */
#include "harness.h"
#include "ptrace/status.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void set_limits(struct sp_lab *lab, const char *limits)
{
	sp_set_policy(lab, sp_text(lab, "version: 1\nname: limited\nexec: {default: allow}\nlimits: {%s}\n", limits));
}

static void assert_said(const struct sp_outcome *outcome, const char *text)
{
	cr_assert_not_null(strstr(outcome->err.data, text), "no '%s' in:\n%s", text, outcome->err.data);
}

/* ---- time ---- */

/* The program, a daemon of its, and a process that is stopped. */
#define SLEEPERS "setsid sh -c 'sleep 1000 & exit' & sh -c 'kill -STOP $$' & exec sleep %s"

sp_lab_test(limits, wall_seconds)
{
	set_limits(lab, "wall_seconds: 1");
	cleanup_outcome struct sp_outcome outcome =
		sp_supervise(lab, NULL, sp_argv("sh", "-c", sp_text(lab, SLEEPERS, "1000")));
	sp_assert_ended(&outcome, 128 + SIGKILL, "a job that takes too long");
	assert_said(&outcome, "killed after 1 s: limits.wall_seconds");

	set_limits(lab, "wall_seconds: 1000");
	cleanup_outcome struct sp_outcome control = sp_supervise(lab, NULL, sp_argv("sleep", "1.5"));
	sp_assert_ended(&control, 0, "one that has the time");
}

/* ---- processes ---- */

enum { CROWD = 40 };

/* Without any hierarchy of control groups to be seen; for root only. */
static struct sp_outcome without_cgroups(struct sp_lab *lab, const char *const argv[])
{
	const char *const *run = sp_supervised_argv(lab, argv);
	const char *hidden[64] = {"unshare", "-m", "sh", "-c", "umount -l /sys/fs/cgroup && exec \"$@\"", "sh"};
	size_t count = 6;

	for (size_t i = 0; run[i] != NULL; i++)
		hidden[count++] = run[i];
	return sp_run(lab, NULL, hidden);
}

Test(limits, processes_are_counted_where_no_cgroup_counts)
{
	if (geteuid() != 0)
		cr_skip_test("hides the control groups, which only root can");
	cleanup_lab struct sp_lab lab;
	sp_lab_open(&lab, SP_WHO_ROOT);
	const char *const *crowd = sp_argv(sp_program(&lab, "crowd"), sp_text(&lab, "%d", CROWD));
	set_limits(&lab, "processes: 10");
	cleanup_outcome struct sp_outcome outcome = without_cgroups(&lab, crowd);
	sp_assert_ended(&outcome, 0, "counted");
	assert_said(&outcome, "limits.processes: we count them");
	const bool one_shot = strcmp(sp_tracking(), "oneshot") == 0;
	cr_assert_eq(sp_value(&outcome, "ran"), 9, "%s", outcome.out.data);
	cr_assert_eq(sp_value(&outcome, one_shot ? "eagain" : "killed"), CROWD - 9, "%s", outcome.out.data);

	set_limits(&lab, "processes: 1000");
	cleanup_outcome struct sp_outcome control = without_cgroups(&lab, crowd);
	cr_assert_eq(sp_value(&control, "ran"), CROWD, "%s", control.out.data);
}

/* A control group makes the fork itself fail. The limit is the tree's: what else root runs does not count. */
Test(limits, processes_by_a_control_group)
{
	if (geteuid() != 0)
		cr_skip_test("nothing is delegated here");
	cleanup_lab struct sp_lab lab;
	sp_lab_open(&lab, SP_WHO_ROOT);
	const char *script = sp_text(&lab, "cat /proc/self/cgroup; %s %d", sp_program(&lab, "crowd"), CROWD);
	set_limits(&lab, "processes: 10");
	cleanup_outcome struct sp_outcome outcome = sp_supervise(&lab, NULL, sp_argv("sh", "-c", script));
	if (strstr(outcome.err.data, "limits.processes") != NULL)
		cr_skip_test("no control group can be made here");
	sp_assert_ended(&outcome, 0, "by a control group");
	cr_assert_not_null(strstr(outcome.out.data, "/sallyport-"), "%s", outcome.out.data);
	cr_assert_eq(sp_value(&outcome, "ran"), 8, "%s", outcome.out.data);
	cr_assert_eq(sp_value(&outcome, "eagain"), CROWD - 8, "%s", outcome.out.data);

	set_limits(&lab, "processes: 1000");
	cleanup_outcome struct sp_outcome control = sp_supervise(&lab, NULL, sp_argv("sh", "-c", script));
	cr_assert_eq(sp_value(&control, "ran"), CROWD, "%s", control.out.data);
}

/* A group that was given to a user, who has no rights outside of it: version 1 as it is, which asks for less than version 2. */
#define DELEGATED "/sys/fs/cgroup/pids/sallyport-test"

Test(limits, processes_by_a_delegated_group)
{
	if (geteuid() != 0 || (mkdir(DELEGATED, 0755) != 0 && access(DELEGATED "/pids.max", F_OK) != 0))
		cr_skip_test("no hierarchy of version 1 here");
	cleanup_lab struct sp_lab lab;
	sp_lab_open(&lab, SP_WHO_USER);
	set_limits(&lab, "processes: 1000");
	const char *const *run = sp_supervised_argv(
		&lab, sp_argv("sh", "-c", "cat /proc/self/cgroup; cat " DELEGATED "/sallyport-*/pids.max"));
	cleanup_lab struct sp_lab root;
	sp_lab_open(&root, SP_WHO_ROOT);
	const char *as_user[64] = {"sh", "-c",
				   "chown -R 65534 " DELEGATED " && echo $$ >" DELEGATED "/cgroup.procs && "
				   "exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"",
				   "sh"};
	size_t count = 4;
	for (size_t i = 0; run[i] != NULL; i++)
		as_user[count++] = run[i];
	cleanup_outcome struct sp_outcome outcome = sp_run(&root, NULL, as_user);
	sp_assert_ended(&outcome, 0, "in a delegated group");
	cr_assert_not_null(strstr(outcome.out.data, ":pids:/sallyport-test/sallyport-"), "%s%s", outcome.out.data,
			   outcome.err.data);
	cr_assert_not_null(strstr(outcome.out.data, "\n1000\n"), "%s", outcome.out.data);
	cr_assert_eq(rmdir(DELEGATED), 0, "the job's group is still there");
}

/* ---- memory and CPU time ---- */

/* What cannot be had is recorded with the reason; for memory and processes there is something else, for CPU time there is not. */
Test(limits, what_no_cgroup_has_is_recorded)
{
	static const struct {
		const char *limits, *level, *recorded;
	} rows[] = {
		{"processes: 10", "full", "limits.processes: EOPNOTSUPP"},
		{"memory: 1G, core: 0", "full", "limits.memory: EOPNOTSUPP"},
		{"cpus: 1, core: 0", "partial", "limits.cpus: EOPNOTSUPP"},
	};

	if (geteuid() != 0)
		cr_skip_test("hides the control groups, which only root can");
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		cleanup_lab struct sp_lab lab;
		sp_lab_open(&lab, SP_WHO_ROOT);
		sp_set_policy(&lab, sp_text(&lab,
					    "version: 1\nexec: {default: allow}\nlaunch: {require: partial}\n"
					    "limits: {%s}\n",
					    rows[i].limits));
		cleanup_outcome struct sp_outcome outcome = without_cgroups(&lab, sp_argv("true"));
		sp_assert_ended(&outcome, 0, rows[i].limits);
		cleanup_outcome struct sp_outcome log =
			sp_client(&lab, sp_argv("log", "--audit", lab.audit, "--summary"));
		cr_assert_not_null(strstr(log.out.data, rows[i].recorded), "%s", log.out.data);
		cr_assert_not_null(strstr(log.out.data, sp_text(&lab, "launch      %s", rows[i].level)), "%s",
				   log.out.data);
	}
	cleanup_lab struct sp_lab lab;
	sp_lab_open(&lab, SP_WHO_ROOT);
	set_limits(&lab, "cpus: 1");
	cleanup_outcome struct sp_outcome outcome = without_cgroups(&lab, sp_argv("echo", "ran"));
	sp_assert_ended(&outcome, 125, "without what nothing stands in for");
	assert_said(&outcome, "limits.cpus failed");
}

static bool has_group_for(const struct sp_outcome *outcome, const char *limit)
{
	return strstr(outcome->err.data, limit) == NULL;
}

/* By a group of version 2 or 1, whichever the machine has: two processes that each have less. */
Test(limits, memory_of_the_tree)
{
	static const char script[] = "head -c 40M /dev/zero | tail | head -c 1 >/dev/null & a=$!\n"
				     "head -c 40M /dev/zero | tail | head -c 1 >/dev/null & b=$!\n"
				     "wait $a; wait $b; set -o pipefail\n"
				     "head -c 120M /dev/zero | tail -c 110M >/dev/null; echo status=$?";

	if (geteuid() != 0)
		cr_skip_test("nothing is delegated here");
	cleanup_lab struct sp_lab lab;
	sp_lab_open(&lab, SP_WHO_ROOT);
	set_limits(&lab, "memory: 64M");
	cleanup_outcome struct sp_outcome outcome = sp_supervise(&lab, NULL, sp_argv("bash", "-c", script));
	if (!has_group_for(&outcome, "limits.memory"))
		cr_skip_test("no control group can be made here");
	cr_assert_eq(sp_value(&outcome, "status"), 128 + SIGKILL, "%s%s", outcome.out.data, outcome.err.data);

	set_limits(&lab, "memory: 1G");
	cleanup_outcome struct sp_outcome control = sp_supervise(&lab, NULL, sp_argv("bash", "-c", script));
	cr_assert_eq(sp_value(&control, "status"), 0, "%s%s", control.out.data, control.err.data);
}

/* The kernel's own count of the periods in which it let the group wait. */
Test(limits, cpus_of_the_tree)
{
	static const char script[] =
		"i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done\n"
		"cat /sys/fs/cgroup/cpu/$(sed -n 's/^[0-9]*:cpu\\(,cpuacct\\)\\?://p' /proc/self/cgroup)/cpu.stat "
		"/sys/fs/cgroup/$(sed -n 's/^0:://p' /proc/self/cgroup)/cpu.stat 2>/dev/null |\n"
		"sed -n 's/nr_throttled /throttled=/p'";

	if (geteuid() != 0)
		cr_skip_test("nothing is delegated here");
	cleanup_lab struct sp_lab lab;
	sp_lab_open(&lab, SP_WHO_ROOT);
	sp_set_policy(&lab, "version: 1\nexec: {default: allow}\nlaunch: {require: none}\nlimits: {cpus: 0.1}\n");
	cleanup_outcome struct sp_outcome outcome = sp_supervise(&lab, NULL, sp_argv("sh", "-c", script));
	if (!has_group_for(&outcome, "limits.cpus"))
		cr_skip_test("no control group can be made here");
	cr_assert_gt(sp_value(&outcome, "throttled"), 0, "%s%s", outcome.out.data, outcome.err.data);

	sp_set_policy(&lab, "version: 1\nexec: {default: allow}\nlimits: {cpus: 1000}\n");
	cleanup_outcome struct sp_outcome control = sp_supervise(&lab, NULL, sp_argv("sh", "-c", script));
	cr_assert_eq(sp_value(&control, "throttled"), 0, "%s%s", control.out.data, control.err.data);
}

/* ---- kill and ps ---- */

/* `sallyport ARGV` beside a command that runs. */
static int beside(struct sp_lab *lab, const char *const argv[], const char **output)
{
	const char *words[8] = {sp_sallyport(lab)};

	for (size_t i = 0; argv[i] != NULL; i++)
		words[i + 1] = argv[i];
	return sp_beside(lab, words, output);
}

/* The job can be found a moment after its start. */
static void kill_job(struct sp_lab *lab, const struct sp_child *child, const char *name)
{
	int status;

	do {
		status = beside(lab, sp_argv("kill", "--audit", lab->audit, name), NULL);
	} while (status == 1 && sp_deadline(0) < child->deadline);
	cr_assert_eq(status, 0, "kill %s: %d", name, status);
}

static const struct sp_options soon = {.deadline = 30};

/* At the very moment when kill has returned. */
static void assert_all_dead(struct sp_child *child, const char *what)
{
	child->linger = 0;
	cleanup_outcome struct sp_outcome outcome = sp_finish(child);
	sp_assert_ended(&outcome, 128 + SIGKILL, what);
}

sp_lab_test(kill, fork_bombs)
{
	for (long i = 0, count = sp_size(10, 200); i < count; i++) {
		struct sp_child child =
			sp_start(lab, &soon, sp_supervised_argv(lab, sp_argv(sp_program(lab, "bomb"), "100")));

		cr_assert(sp_await_text(&child, "ready"), "%.2000s", child.err_buffer.data);
		kill_job(lab, &child, sp_text(lab, "%d", child.pid));
		assert_all_dead(&child, "a fork bomb");
	}
}

/* What keeps a process from ending by itself, or from being found by its relations. */
sp_lab_test(kill, daemons_and_stopped_processes)
{
	const char *script = sp_text(lab, "trap '' TERM HUP INT; echo ready; " SLEEPERS, "1000");
	struct sp_child child = sp_start(lab, &soon, sp_supervised_argv(lab, sp_argv("sh", "-c", script)));

	cr_assert(sp_await_text(&child, "ready"), "%.2000s", child.err_buffer.data);
	kill_job(lab, &child, sp_text(lab, "%d", child.pid));
	assert_all_dead(&child, "daemons");
}

/* The supervisor stops with its program. */
sp_lab_test(kill, a_stopped_job)
{
	struct sp_child child = sp_start(
		lab, NULL, sp_supervised_argv(lab, sp_argv("sh", "-c", "sleep 0.2; echo ready; kill -STOP $$")));

	cr_assert(sp_await_text(&child, "ready"), "%.2000s", child.err_buffer.data);
	kill_job(lab, &child, sp_text(lab, "%d", child.pid));
	assert_all_dead(&child, "a stopped job");
}

/* Waits until ps shows the job of that supervisor: its id. */
static const char *await_id(struct sp_lab *lab, const struct sp_child *child)
{
	const char *supervisor = sp_text(lab, "\"supervisor\":%d,", child->pid);

	for (;;) {
		const char *list;

		cr_assert_eq(beside(lab, sp_argv("ps", "--json"), &list), 0);
		const char *at = strstr(list, supervisor);
		while (at != NULL && at > list && at[-1] != '\n')
			at--;
		at = at != NULL ? strstr(at, "\"job\":\"") : NULL;
		if (at != NULL)
			return sp_text(lab, "%.16s", at + strlen("\"job\":\""));
		cr_assert_lt(sp_deadline(0), child->deadline, "ps does not show the job");
	}
}

/* Stops the supervisor as often as it is woken, some times. */
static pid_t start_stopper(pid_t supervisor)
{
	const pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid != 0)
		return pid;
	for (int i = 0; i < 5; i++) {
		if (kill(supervisor, SIGSTOP) != 0)
			_exit(0);
		while (strchr("TZ", sp_status_letter(supervisor)) == NULL)
			(void)sched_yield();
		while (sp_status_letter(supervisor) == 'T')
			(void)sched_yield();
	}
	_exit(0);
}

/* It was woken, and hears of its job's stop only then. */
sp_lab_test(kill, one_that_stops_again)
{
	struct sp_child child =
		sp_start(lab, &soon, sp_supervised_argv(lab, sp_argv("sh", "-c", "echo ready; sleep 1000")));

	cr_assert(sp_await_text(&child, "ready"), "%.2000s", child.err_buffer.data);
	const char *id = await_id(lab, &child);
	const pid_t stopper = start_stopper(child.pid);
	while (sp_status_letter(child.pid) != 'T')
		(void)sched_yield();
	kill_job(lab, &child, id);
	(void)kill(stopper, SIGKILL);
	cr_assert_eq(waitpid(stopper, NULL, 0), stopper);
	assert_all_dead(&child, "a supervisor that stops again");
}

sp_lab_test(kill, by_id_and_by_number)
{
	for (int i = 0; i < 2; i++) {
		struct sp_child child = sp_start(lab, &soon, sp_supervised_argv(lab, sp_argv("sleep", "1000")));
		const char *id = await_id(lab, &child);

		kill_job(lab, &child, i == 0 ? id : "2");
		assert_all_dead(&child, id);
	}
}

sp_lab_test(kill, no_such_job)
{
	static const char *const names[] = {"123456789", "0123456789abcdef", "-1", "x", ""};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		cleanup_outcome struct sp_outcome outcome =
			sp_client(lab, sp_argv("kill", "--audit", lab->audit, "--", names[i]));
		sp_assert_ended(&outcome, 1, names[i]);
	}
}

/* A supervisor that was killed leaves its socket; whoever lists takes it away. */
sp_lab_test(kill, what_a_dead_supervisor_left)
{
	struct sp_child child = sp_start(lab, &soon, sp_supervised_argv(lab, sp_argv("sleep", "1000")));
	const char *id = await_id(lab, &child);
	const char *place = lab->who == SP_WHO_ROOT ? "/run/sallyport" : sp_text(lab, "/tmp/sallyport-%d", 65534);

	if (geteuid() != 0)
		place = sp_text(lab, "/tmp/sallyport-%d", geteuid());
	const char *socket = sp_text(lab, "%s/%s", place, id);
	cr_assert_eq(access(socket, F_OK), 0, "%s", socket);
	kill(child.pid, SIGKILL);
	child.linger = 10;
	[[maybe_unused]] cleanup_outcome struct sp_outcome outcome = sp_finish(&child);
	cleanup_outcome struct sp_outcome list = sp_client(lab, sp_argv("ps"));
	cr_assert_null(strstr(list.out.data, id), "%s", list.out.data);
	cr_assert_neq(access(socket, F_OK), 0, "it is still there");
}

/* Others may not write to where jobs are looked for. */
Test(kill, a_directory_of_somebody_else)
{
	if (geteuid() != 0)
		cr_skip_test("needs two users");
	cleanup_lab struct sp_lab lab;
	sp_lab_open(&lab, SP_WHO_ROOT);
	const char *place = sp_text(&lab, "%s/run", lab.directory);
	cr_assert_eq(mkdir(place, 0755), 0);
	cr_assert_eq(chmod(lab.directory, 0755), 0);
	cr_assert_eq(mkdir(sp_text(&lab, "%s/sallyport", place), 0777), 0);
	cr_assert_eq(chmod(sp_text(&lab, "%s/sallyport", place), 0777), 0);
	cleanup_lab struct sp_lab user;
	sp_lab_open(&user, SP_WHO_USER);
	const struct sp_options there = {.extra_environment = sp_text(&user, "XDG_RUNTIME_DIR=%s", place)};
	cleanup_outcome struct sp_outcome outcome =
		sp_supervise(&user, &there, sp_argv("sh", "-c", sp_text(&user, "sleep 0.3; ls %s/sallyport", place)));
	sp_assert_ended(&outcome, 0, "not to be found, and all else as it should");
	cr_assert_eq(outcome.out.size, 0, "%s", outcome.out.data);
}
