/* See status.h. */
#include "ptrace/status.h"

#include "util/cleanup.h"
#include "util/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char sp_status_letter(pid_t tid)
{
	char path[SP_PROC_NAME], line[256];
	cleanup_close int fd = open(sp_proc_task(path, tid, "stat"), O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, line, sizeof line - 1) : 0;

	line[n > 0 ? n : 0] = '\0';
	const char *name_end = strrchr(line, ')');
	return name_end != NULL && name_end[1] == ' ' ? name_end[2] : 0;
}

int sp_status_family(pid_t tid, pid_t *tgid, pid_t *ppid)
{
	char path[SP_PROC_NAME], line[256];
	cleanup_file FILE *f = fopen(sp_proc_task(path, tid, "status"), "re");

	*tgid = *ppid = 0;
	while (f != NULL && *ppid == 0 && fgets(line, sizeof line, f) != NULL) {
		(void)sscanf(line, "Tgid: %d", tgid);
		(void)sscanf(line, "PPid: %d", ppid);
	}
	return *tgid > 0 ? 0 : -ESRCH;
}

/* The number behind "NAME:"; 0 where the task is gone. */
static uint64_t read_number(pid_t tid, const char *name, int base)
{
	char path[SP_PROC_NAME], line[256];
	const size_t length = strlen(name);
	cleanup_file FILE *f = fopen(sp_proc_task(path, tid, "status"), "re");

	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		if (strncmp(line, name, length) == 0)
			return strtoull(line + length, NULL, base);
	return 0;
}

bool sp_status_ignores(pid_t tid, int signal)
{
	return (read_number(tid, "SigIgn:", 16) & 1ULL << (signal - 1)) != 0;
}

bool sp_status_has_signal(pid_t tid)
{
	/* Nothing happens by default: signal(7). A traced task has them queued all the same. */
	static const uint64_t idle =
		1ULL << (SIGCHLD - 1) | 1ULL << (SIGCONT - 1) | 1ULL << (SIGURG - 1) | 1ULL << (SIGWINCH - 1);
	static const char *const names[] = {"SigPnd:", "ShdPnd:", "SigBlk:", "SigIgn:", "SigCgt:"};
	enum { OWN, SHARED, BLOCKED, IGNORED, CAUGHT, SETS };
	uint64_t set[SETS] = {0};
	char path[SP_PROC_NAME], line[256];
	cleanup_file FILE *f = fopen(sp_proc_task(path, tid, "status"), "re");

	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		for (int i = 0; i < SETS; i++)
			if (strncmp(line, names[i], strlen(names[i])) == 0)
				set[i] = strtoull(line + strlen(names[i]), NULL, 16);
	return ((set[OWN] | set[SHARED]) & ~set[BLOCKED] & ~set[IGNORED] & (set[CAUGHT] | ~idle)) != 0;
}

pid_t sp_status_tracer(pid_t tid)
{
	return (pid_t)read_number(tid, "TracerPid:", 10);
}

int sp_status_user(pid_t tid, uid_t *user)
{
	char path[SP_PROC_NAME], line[256];
	cleanup_file FILE *f = fopen(sp_proc_task(path, tid, "status"), "re");

	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		if (sscanf(line, "Uid: %*u %u", user) == 1)
			return 0;
	return -ESRCH;
}

unsigned sp_status_threads(pid_t tgid)
{
	char path[SP_PROC_NAME];
	struct stat st;

	/* A directory's own two links, and one for each thread: proc_task_getattr() in fs/proc/base.c. */
	if (stat(sp_proc_task(path, tgid, "task"), &st) != 0 || st.st_nlink < 2)
		return 0;
	return (unsigned)st.st_nlink - 2;
}
