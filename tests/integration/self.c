/* sallyport against attacks on itself: who may look into it, what a crash of it leaves behind, what it gives up; and that of all
 * this its job notices nothing. */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/user.h>
#include <sys/wait.h>

/* A process of the lab's user that waits for the end of its input: a plain one, or one that supervises such a one. */
static struct sp_child start_waiting(struct sp_lab *lab, bool supervised)
{
	const char *const *argv = sp_argv("sh", "-c", "ulimit -c unlimited; exec \"$@\"", "sh", "sh", "-c",
					  "echo ready; read line; exit 0");
	const char *const *whole = supervised
					   ? sp_argv("sh", "-c", "ulimit -c unlimited; exec \"$@\"", "sh",
						     sp_sallyport(lab), "run", "--tracking", sp_tracking(), "--audit",
						     lab->audit, "--", "sh", "-c", "echo ready; read line; exit 0")
					   : argv;
	struct sp_child child = sp_start(lab, NULL, whole);

	cr_assert(sp_await_text(&child, "ready"), "%.2000s", child.err_buffer.data);
	return child;
}

/* ---- who may look into it ---- */

/* Of a program that it starts, the names of what works on it, a line each. Where strace fails it says so instead of "attached". */
static const char looks[] =
	"mkfifo in out said\n"
	"\"$@\" sh -c 'echo ready; read line' <in >out & pid=$!\n"
	"exec 8>in 9<out; read ready <&9\n"
	"strace -p $pid 2>said & exec 7<said; read line <&7; case $line in *attached) echo strace; kill $!;; esac\n"
	"gdb -nx -batch -p $pid 2>&1 | grep -q 'Inferior 1.*detached' && echo gdb\n"
	"(exec 3<>/proc/$pid/mem) && echo mem\n"
	"(exec 3</proc/$pid/environ) && echo environ\n"
	"(exec 3</proc/$pid/maps) && echo maps\n"
	"ls /proc/$pid/fd >/dev/null && echo fd\n"
	"readlink /proc/$pid/exe >/dev/null && echo exe\n"
	"echo >&8; wait\n";

/* By the same user. Root may look into everything. */
Test(self, nobody_looks_into_it)
{
	cleanup_lab struct sp_lab lab;
	sp_lab_open(&lab, SP_WHO_USER);

	if (access("/usr/bin/gdb", X_OK) != 0 || access("/usr/bin/strace", X_OK) != 0)
		cr_skip_test("gdb or strace is not installed");
	cleanup_outcome struct sp_outcome control = sp_run(
		&lab, NULL, sp_argv("sh", "-c", sp_text(&lab, "mkdir control; cd control; %s", looks), "sh", "env"));
	cleanup_outcome struct sp_outcome supervisor = sp_run(
		&lab, NULL, sp_argv("sh", "-c", looks, "sh", sp_sallyport(&lab), "run", "--audit", lab.audit, "--"));

	sp_assert_ended(&control, 0, "control");
	sp_assert_ended(&supervisor, 0, "supervisor");
	cr_assert_str_eq(control.out.data, "strace\ngdb\nmem\nenviron\nmaps\nfd\nexe\n", "%s", control.err.data);
	cr_assert_str_eq(supervisor.out.data, "", "%s", supervisor.err.data);
}

/* ---- a crash of it ---- */

static bool has_core(const struct sp_lab *lab)
{
	cleanup_directory DIR *directory = opendir(lab->directory);
	const struct dirent *entry;

	cr_assert_not_null(directory);
	while ((entry = readdir(directory)) != NULL) {
		if (strncmp(entry->d_name, "core", 4) == 0)
			return true;
	}
	return false;
}

/* A real fault, not a signal that could be blocked: the next instruction is at address 0. */
static void make_crash(pid_t pid)
{
	struct user_regs_struct registers;

	cr_assert_eq(ptrace(PTRACE_SEIZE, pid, NULL, NULL), 0, "%s", strerror(errno));
	cr_assert_eq(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL), 0);
	cr_assert_eq(waitpid(pid, NULL, __WALL), pid);
	cr_assert_eq(ptrace(PTRACE_GETREGS, pid, NULL, &registers), 0);
	registers.rip = 0;
	registers.orig_rax = (unsigned long long)-1; /* no restart of a system call */
	cr_assert_eq(ptrace(PTRACE_SETREGS, pid, NULL, &registers), 0);
	cr_assert_eq(ptrace(PTRACE_DETACH, pid, NULL, NULL), 0);
}

static bool crash_leaves_core(struct sp_lab *lab, bool supervised)
{
	struct sp_child child = start_waiting(lab, supervised);

	child.linger = 20;
	make_crash(child.pid);
	cleanup_outcome struct sp_outcome outcome = sp_finish(&child);
	sp_assert_ended(&outcome, 128 + SIGSEGV, "a crash");
	return has_core(lab);
}

static bool cores_are_files(void)
{
	cleanup_file FILE *pattern = fopen("/proc/sys/kernel/core_pattern", "re");
	struct rlimit limit;

	return pattern != NULL && fgetc(pattern) == 'c' && getrlimit(RLIMIT_CORE, &limit) == 0 &&
	       limit.rlim_max == RLIM_INFINITY;
}

sp_lab_test(self, a_crash_leaves_no_core)
{
	if (geteuid() != 0)
		cr_skip_test("only root can make it crash");
	if (!cores_are_files())
		cr_skip_test("no core files here");
	cr_assert_not(crash_leaves_core(lab, true), "a core of the supervisor");
	cr_assert(crash_leaves_core(lab, false), "control");
}

/* ---- what it gives up ---- */

static uint64_t status_number(const char *status, const char *field, int base)
{
	const char *at = strstr(status, field);

	cr_assert_not_null(at, "no %s in\n%s", field, status);
	return strtoull(at + strlen(field), NULL, base);
}

static void assert_confined(struct sp_lab *lab, pid_t pid, const char *task)
{
	static const uint64_t kept =
		1 << CAP_SYS_PTRACE | 1 << CAP_KILL | 1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH;
	char status[8192];
	cleanup_close int fd = open(sp_text(lab, "/proc/%d/task/%s/status", pid, task), O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, status, sizeof status - 1);

	cr_assert_gt(n, 0);
	status[n] = '\0';
	cr_expect_eq(status_number(status, "\nNoNewPrivs:", 10), 1, "%s", status);
	cr_expect_eq(status_number(status, "\nSeccomp:", 10), 2, "%s", status);
	cr_expect_eq(status_number(status, "\nCapInh:", 16), 0, "%s", status);
	cr_expect_eq(status_number(status, "\nCapPrm:", 16) & ~kept, 0, "%s", status);
	cr_expect_eq(status_number(status, "\nCapEff:", 16), status_number(status, "\nCapPrm:", 16), "%s", status);
	cr_expect_eq(status_number(status, "\nCapAmb:", 16), 0, "%s", status);
	if (lab->who == SP_WHO_USER)
		cr_expect_eq(status_number(status, "\nCapPrm:", 16), 0, "%s", status);
}

/* Capabilities and filters belong to threads: to each of them. */
sp_lab_test(self, every_thread_is_confined)
{
	sp_skip_if_sanitized(lab, "asan|tsan", "a sanitizer has threads of its own");
	struct sp_child supervisor = start_waiting(lab, true);
	cleanup_directory DIR *tasks = opendir(sp_text(lab, "/proc/%d/task", supervisor.pid));
	const struct dirent *entry;
	int count = 0;

	cr_assert_not_null(tasks);
	while ((entry = readdir(tasks)) != NULL) {
		if (entry->d_name[0] != '.') {
			assert_confined(lab, supervisor.pid, entry->d_name);
			count++;
		}
	}
	cr_assert_geq(count, 2, "the loop and the writer of the audit trail");
	cleanup_outcome struct sp_outcome outcome = sp_finish(&supervisor);
	sp_assert_ended(&outcome, 0, "the supervisor");
}

/* Of the fds beyond the standard ones those that would pass to another program; a line each. */
static const char *passing_fds(struct sp_lab *lab, bool supervised)
{
	struct sp_child child = start_waiting(lab, supervised);
	cleanup_directory DIR *fds = opendir(sp_text(lab, "/proc/%d/fdinfo", child.pid));
	const char *passing = "";
	const struct dirent *entry;

	while (fds != NULL && (entry = readdir(fds)) != NULL) {
		char info[512];
		cleanup_close int fd = openat(dirfd(fds), entry->d_name, O_RDONLY | O_CLOEXEC);
		ssize_t n = read(fd, info, sizeof info - 1);

		info[n > 0 ? n : 0] = '\0';
		if (n > 0 && atoi(entry->d_name) > STDERR_FILENO && !(status_number(info, "flags:", 8) & O_CLOEXEC))
			passing = sp_text(lab, "%s%s\n", passing, entry->d_name);
	}
	cleanup_outcome struct sp_outcome outcome = sp_finish(&child);
	sp_assert_ended(&outcome, 0, "a program that waits");
	return passing;
}

/* What our caller has left open is his to pass on. */
sp_lab_test(self, every_fd_of_its_own_is_closed_on_exec)
{
	if (geteuid() != 0)
		cr_skip_test("only root can look");
	cr_assert_str_eq(passing_fds(lab, true), passing_fds(lab, false));
}

/* ---- what its job notices: nothing ---- */

static void assert_same_output(struct sp_lab *lab, const char *script)
{
	cleanup_outcome struct sp_outcome native = sp_run(lab, NULL, sp_argv("sh", "-c", sp_text(lab, script, "exec")));
	cleanup_outcome struct sp_outcome supervised =
		sp_run(lab, NULL,
		       sp_argv("sh", "-c",
			       sp_text(lab, script,
				       sp_text(lab, "exec %s run --audit %s --", sp_sallyport(lab), lab->audit))));

	sp_assert_ended(&native, 0, script);
	sp_assert_ended(&supervised, 0, script);
	cr_expect_str_eq(supervised.out.data, native.out.data);
}

/* Also those that the supervisor has lowered for itself. */
sp_lab_test(self, the_job_has_its_callers_limits)
{
	sp_skip_if_sanitized(lab, "asan|tsan", "a sanitizer has limits of its own");
	assert_same_output(lab, "ulimit -c unlimited; ulimit -s unlimited; %s sh -c 'ulimit -a; ulimit -aH'");
	assert_same_output(lab, "ulimit -S -c 7; ulimit -S -s 1234; %s sh -c 'ulimit -a; ulimit -aH'");
}

sp_lab_test(self, the_job_has_its_callers_rights_and_files)
{
	assert_same_output(lab, "%s grep -E '^Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status");
	/* fds: the caller's, and no others (the last is of ls itself) */
	assert_same_output(lab, "%s ls /proc/self/fd");
	assert_same_output(lab, "exec 7</dev/null 9>&1; %s ls /proc/self/fd");
}

sp_lab_test(self, its_own_limits)
{
	sp_skip_if_sanitized(lab, "asan|tsan", "a sanitizer has limits of its own");
	const char *script =
		sp_text(lab,
			"ulimit -c unlimited; ulimit -s unlimited; exec %s run --audit %s -- sh -c 'grep -E "
			"\"core file|stack size\" /proc/$PPID/limits'",
			sp_sallyport(lab), lab->audit);
	cleanup_outcome struct sp_outcome outcome = sp_run(lab, NULL, sp_argv("sh", "-c", script));
	char stack[32] = "", core[32] = "";

	sp_assert_ended(&outcome, 0, "limits");
	(void)sscanf(outcome.out.data, "Max stack size %31s unlimited bytes Max core file size %31s", stack, core);
	cr_assert_str_eq(stack, "8388608", "%s", outcome.out.data);
	cr_assert_str_eq(core, "0", "%s", outcome.out.data);
}

#define ENVIRONMENT                                                                                                    \
	"A=1", "LD_PRELOAD=/nonexistent.so", "LD_LIBRARY_PATH=/nonexistent", "B=\xff\x01\n=", "LD_=", "LDX=kept",      \
		"GLIBC_TUNABLES=glibc.malloc.tcache_count=0", "GLIBC_TUNABLESX=kept", "BASH_ENV=/nonexistent", "C="

/* As bytes, in the caller's order. */
sp_lab_test(self, the_job_loads_what_its_caller_named)
{
	static const char expected[] = "A=1\0B=\xff\x01\n=\0LDX=kept\0GLIBC_TUNABLESX=kept\0C=";
	cleanup_outcome struct sp_outcome native =
		sp_run(lab, NULL, sp_argv("env", "-i", ENVIRONMENT, "/bin/cat", "/proc/self/environ"));
	cleanup_outcome struct sp_outcome supervised =
		sp_run(lab, NULL,
		       sp_argv("env", "-i", ENVIRONMENT, sp_sallyport(lab), "run", "--audit", lab->audit, "--",
			       "/bin/cat", "/proc/self/environ"));

	sp_assert_ended(&native, 0, "natively");
	sp_assert_ended(&supervised, 0, "supervised");
	cr_assert_not_null(memmem(native.out.data, native.out.size, "LD_PRELOAD", 10), "control");
	cr_assert_eq(supervised.out.size, sizeof expected);
	cr_assert_arr_eq(supervised.out.data, expected, sizeof expected);
}

/* A question about a command line is asked for the environment that the person has. */
sp_lab_test(self, policy_test_sees_the_callers_environment)
{
	static const char policy[] = "version: 1\nname: p\nexec:\n  default: allow\n  rules:\n"
				     "    - {id: preload, env: [LD_PRELOAD], action: deny}\n";
	const char *file = sp_write_file(lab, "p.yaml", policy, sizeof policy - 1, 0644);
	const char *const *ask = sp_argv(sp_sallyport(lab), "policy", "test", file, "--", "true");
	const struct sp_options with = {.extra_environment = "LD_PRELOAD="};
	cleanup_outcome struct sp_outcome without_it = sp_run(lab, NULL, ask), with_it = sp_run(lab, &with, ask);

	sp_assert_ended(&without_it, 0, "without");
	sp_assert_ended(&with_it, 1, "with");
}

/* ---- when it cannot be protected ---- */

static const struct {
	const char *without; /* this call, of tests/programs/without */
	int status;
} losses[] = {
	{"prctl", 5},
	{"mmap-40", 6}, /* the array of five words for an environment of four, of which one is to go */
	{"prlimit-core", 7},
	{"prlimit-stack", 7},
};

/* Either program, whatever it was asked for, says one line and does nothing. */
static void assert_refuses_to_run(struct sp_lab *lab, const char *program, const char *without, int status)
{
	cleanup_outcome struct sp_outcome outcome =
		sp_run(lab, NULL,
		       sp_argv("env", "-i", "A=1", "B=2", "C=3", "LD_BIND_NOW=1", sp_program(lab, "without"), "1",
			       without, "--", program, "--version"));

	sp_assert_ended(&outcome, status, without);
	cr_assert_str_empty(outcome.out.data);
	cr_assert_not_null(strstr(outcome.err.data, "sallyport: cannot "), "%s", outcome.err.data);
	cr_assert_not_null(strstr(outcome.err.data, strerror(EPERM)), "%s", outcome.err.data);
	cr_assert_eq(strchr(outcome.err.data, '\n')[1], '\0', "not one line: %s", outcome.err.data);
}

sp_lab_test(self, exit_statuses_of_what_cannot_be_protected)
{
	const char *sallyport = sp_sallyport(lab), *sallyportd = sp_sallyportd(lab);

	sp_skip_if_sanitized(lab, "asan|tsan", "a sanitizer has limits of its own");
	cleanup_outcome struct sp_outcome control = sp_run(lab, NULL, sp_argv(sallyport, "--version"));

	sp_assert_ended(&control, 0, "control");
	for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) {
		assert_refuses_to_run(lab, sallyport, losses[i].without, losses[i].status);
		assert_refuses_to_run(lab, sallyportd, losses[i].without, losses[i].status);
	}
}

/* Later there is a job already: it does not run. */
sp_lab_test(self, no_job_under_a_supervisor_that_cannot_be_confined)
{
	cleanup_outcome struct sp_outcome outcome =
		sp_run(lab, NULL,
		       sp_argv(sp_program(lab, "without"), "1", "capset", "--", sp_sallyport(lab), "run", "--audit",
			       lab->audit, "--", "echo", "ran"));

	sp_assert_ended(&outcome, 125, "without capset");
	cr_assert_str_empty(outcome.out.data);
	cr_assert_not_null(strstr(outcome.err.data, "capabilities"), "%s", outcome.err.data);
}
