/* The supervisor's own life: killed at any moment it takes its job with it and forgets nothing that ran; and however much
 * it has supervised, it holds no more than at the start. */
#include "harness.h"

#include <dirent.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

static void audit_is_taken_in(struct sp_lab *lab)
{
	cleanup_outcome struct sp_outcome next = sp_supervise(lab, NULL, sp_argv("true"));

	sp_assert_ended(&next, 0, "the next start");
}

/* Each exec that happened left a byte; more may be recorded, since some died between the exec and their byte. */
static void assert_all_recorded(struct sp_lab *lab, size_t happened)
{
	int64_t recorded = sp_sql_number(
		lab, "SELECT count(*) FROM execs WHERE action = 0 AND CAST(resolved AS TEXT) LIKE '%/marker'");

	cr_assert_geq(recorded, (int64_t)happened, "%zu execs happened, %ld are recorded", happened, (long)recorded);
}

static struct sp_outcome kill_supervisor(struct sp_child *child)
{
	struct sp_outcome outcome = {0};

	/* That the kernel is not done with killing the tree when the supervisor is gone is no fault. */
	child->linger = 20;
	cr_assert_eq(kill(child->pid, SIGKILL), 0);
	outcome = sp_finish(child);
	sp_assert_ended(&outcome, 128 + SIGKILL, "the supervisor");
	return outcome;
}

static void kill_in_a_storm(struct sp_lab *lab, size_t after, size_t *happened)
{
	const char *script = sp_text(lab, "exec 9>&1; exec %s 1000000 3 %s", sp_program(lab, "execstorm"),
				     sp_program(lab, "marker"));
	struct sp_child child = sp_start(lab, NULL, sp_supervised_argv(lab, sp_argv("sh", "-c", script)));

	cr_assert(sp_await_size(&child, after), "no exec storm: %.2000s", child.err_buffer.data);
	cleanup_outcome struct sp_outcome outcome = kill_supervisor(&child);
	*happened += outcome.out.size;
}

sp_lab_test(survival, killed_in_an_exec_storm)
{
	long kills = sp_size(5, 50);
	size_t happened = 0;

	for (long i = 0; i < kills; i++)
		kill_in_a_storm(lab, (size_t)(1 + i * 37 % 200), &happened);
	audit_is_taken_in(lab);
	assert_all_recorded(lab, happened);
	cr_assert_eq(sp_sql_number(lab, "SELECT count(*) FROM jobs"), kills + 1);
}

/* Threads, a process that has left the session, one that is stopped: none outlives the supervisor. */
sp_lab_test(survival, nothing_outlives_the_supervisor)
{
	const char *script = sp_text(lab, "sh -c 'kill -STOP $$' & exec %s --linger", sp_program(lab, "orphans"));
	struct sp_child child = sp_start(lab, NULL, sp_supervised_argv(lab, sp_argv("sh", "-c", script)));

	cr_assert(sp_await_text(&child, "ready"), "%.2000s", child.err_buffer.data);
	[[maybe_unused]] cleanup_outcome struct sp_outcome outcome = kill_supervisor(&child);
}

/* A file of the spool: how many are open depends on how full the first is, not on how many execs there were. */
static bool is_spool(DIR *directory, const char *name)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(dirfd(directory), name, target, sizeof(target) - 1);

	target[n > 0 ? n : 0] = '\0';
	return strstr(target, ".spool/") != NULL;
}

static long count_entries(pid_t pid, const char *of)
{
	char path[64];
	struct dirent *entry = NULL;
	DIR *directory = NULL;
	long count = 0, spools = 0;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, of);
	directory = opendir(path);
	cr_assert_not_null(directory, "%s", path);
	while ((entry = readdir(directory)) != NULL) {
		bool spool = is_spool(directory, entry->d_name);

		spools += spool;
		count += entry->d_name[0] != '.' && !spool;
	}
	closedir(directory);
	cr_assert_leq(spools, 3, "the segment that is written, the next, and one that is still being stored");
	return count;
}

/* All execs of the second storm are over when its word comes, and the one process that is left waits. */
sp_lab_test(survival, fds_and_tasks_are_back_after_a_storm)
{
	const char *storm = sp_text(lab, "%s %ld 2 %s", sp_program(lab, "execstorm"), sp_size(1000, 10000),
				    sp_program(lab, "marker"));
	const char *script = sp_text(lab, "%s; echo first; read x; %s; echo second; read x", storm, storm);
	struct sp_child child = sp_start(lab, NULL, sp_supervised_argv(lab, sp_argv("sh", "-c", script)));
	long fds = 0, tasks = 0;

	cr_assert(sp_await_text(&child, "first"), "%.2000s", child.err_buffer.data);
	fds = count_entries(child.pid, "fd");
	tasks = count_entries(child.pid, "task");
	cr_assert_eq(write(child.input, "\n", 1), 1);
	cr_assert(sp_await_text(&child, "second"), "%.2000s", child.err_buffer.data);
	cr_assert_eq(count_entries(child.pid, "fd"), fds);
	cr_assert_eq(count_entries(child.pid, "task"), tasks);
	cr_assert_eq(write(child.input, "\n", 1), 1);
	cleanup_outcome struct sp_outcome outcome = sp_finish(&child);
	sp_assert_ended(&outcome, 0, "two storms");
}
