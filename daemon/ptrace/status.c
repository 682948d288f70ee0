/* See status.h. */
#include "ptrace/status.h"

#include "util/cleanup.h"
#include "util/proc.h"

#include <errno.h>
#include <fcntl.h>
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
