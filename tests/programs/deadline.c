/* A command with a deadline, and everything it started with it: ends when the last process of its tree has ended, daemons
 * included. Who lives at the deadline is described, down to its kernel stack where we may read that, and killed.
 *
 * usage: deadline SECONDS REPORT COMMAND [ARG...]   REPORT: file that is written only if the deadline came
 * The command gets a session of its own and the default signals. Exit status: the command's, 128+n by signal, 125 if
 * deadline itself failed. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FAILURE = 125, PIDS_MAX = 4096 };

struct tree {
	pid_t pids[PIDS_MAX];
	int count;
};

[[gnu::noreturn]] static void become(char *argv[])
{
	sigset_t none;

	(void)setsid();
	for (int number = 1; number < NSIG; number++)
		(void)signal(number, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execvp(argv[0], argv);
	fprintf(stderr, "deadline: %s: %s\n", argv[0], strerror(errno));
	_exit(FAILURE);
}

/* --- who lives --- */

static pid_t parent_of(pid_t pid)
{
	char path[64];
	int parent = 0;
	FILE *file = NULL;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (file == NULL)
		return 0;
	/* The name in parentheses may hold parentheses, and lines. */
	char text[512] = "";
	size_t size = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	const char *end = memrchr(text, ')', size);
	return end != NULL && sscanf(end, ") %*c %d", &parent) == 1 ? parent : 0;
}

static bool descends_from_us(pid_t pid)
{
	while (pid > 1) {
		pid = parent_of(pid);
		if (pid == getpid())
			return true;
	}
	return false;
}

static void find_descendants(struct tree *tree)
{
	DIR *proc = opendir("/proc");

	tree->count = 0;
	for (struct dirent *entry; proc != NULL && tree->count < PIDS_MAX && (entry = readdir(proc)) != NULL;) {
		pid_t pid = isdigit((unsigned char)entry->d_name[0]) ? atoi(entry->d_name) : 0;

		if (pid > 0 && descends_from_us(pid))
			tree->pids[tree->count++] = pid;
	}
	if (proc != NULL)
		closedir(proc);
}

static void kill_all(void)
{
	struct tree tree;

	do {
		find_descendants(&tree);
		for (int i = 0; i < tree.count; i++)
			kill(tree.pids[i], SIGKILL);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	} while (tree.count > 0);
}

/* --- what they do --- */

static FILE *open_of_task(pid_t pid, pid_t tid, const char *name)
{
	char path[80];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", pid, tid, name);
	return fopen(path, "re");
}

static void copy(FILE *report, pid_t pid, pid_t tid, const char *name)
{
	char text[4096];
	FILE *file = open_of_task(pid, tid, name);

	if (file == NULL)
		return;
	size_t size = fread(text, 1, sizeof(text), file);
	fclose(file);
	for (size_t i = 0; i < size; i++)
		if (text[i] == '\0')
			text[i] = ' ';
	if (size > 0)
		fprintf(report, "    %s: %.*s%s", name, (int)size, text, text[size - 1] == '\n' ? "" : "\n");
}

static void copy_status(FILE *report, pid_t pid, pid_t tid)
{
	static const char *const wanted[] = {"State:", "PPid:", "TracerPid:", "Sig", "ShdPnd:"};
	char line[256];
	FILE *status = open_of_task(pid, tid, "status");

	while (status != NULL && fgets(line, sizeof(line), status) != NULL)
		for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
			if (strncmp(line, wanted[i], strlen(wanted[i])) == 0)
				fprintf(report, "    %s", line);
	if (status != NULL)
		fclose(status);
}

static void describe_process(FILE *report, pid_t pid)
{
	static const char *const names[] = {"cmdline", "comm", "syscall", "wchan", "stack"};
	char path[64];
	DIR *tasks = NULL;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = opendir(path);
	for (struct dirent *entry; tasks != NULL && (entry = readdir(tasks)) != NULL;) {
		pid_t tid = atoi(entry->d_name);

		if (tid == 0)
			continue;
		fprintf(report, "process %d task %d\n", pid, tid);
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			copy(report, pid, tid, names[i]);
		copy_status(report, pid, tid);
	}
	if (tasks != NULL)
		closedir(tasks);
}

static void describe_all(const char *path)
{
	FILE *report = fopen(path, "we");
	struct tree tree;

	if (report == NULL) {
		perror("deadline: report");
		return;
	}
	find_descendants(&tree);
	fprintf(report, "the deadline came, %d processes live\n", tree.count);
	for (int i = 0; i < tree.count; i++)
		describe_process(report, tree.pids[i]);
	fclose(report);
}

/* --- waiting --- */

static int as_a_shell_says(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* False when none is left. */
static bool reap(pid_t command, int *result)
{
	int status = 0;
	pid_t pid = -1;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == command)
			*result = as_a_shell_says(status);
	return pid == 0;
}

static struct timespec until(time_t end)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (struct timespec){.tv_sec = end > now.tv_sec ? end - now.tv_sec : 0};
}

static int await_tree(pid_t command, long seconds, const sigset_t *signals, const char *report)
{
	int result = FAILURE;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	time_t end = now.tv_sec + seconds;
	while (reap(command, &result)) {
		struct timespec left = until(end);
		int signal = sigtimedwait(signals, NULL, &left);

		if (signal == SIGCHLD || (signal < 0 && errno == EINTR))
			continue;
		if (signal < 0)
			describe_all(report);
		kill_all();
		return signal < 0 ? FAILURE : 128 + signal;
	}
	return result;
}

int main(int argc, char *argv[])
{
	long seconds = argc > 3 ? strtol(argv[1], NULL, 10) : 0;
	sigset_t signals;

	if (seconds < 1) {
		fprintf(stderr, "usage: deadline SECONDS REPORT COMMAND [ARG...]\n");
		return FAILURE;
	}
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	(void)signal(SIGCHLD, SIG_DFL);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	pid_t command = fork();
	if (command == 0)
		become(argv + 3);
	if (command < 0) {
		perror("deadline: fork");
		return FAILURE;
	}
	return await_tree(command, seconds, &signals, argv[2]);
}
