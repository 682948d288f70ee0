/* See cpu.h. */
#include "util/cpu.h"

#include "util/cleanup.h"
#include "util/kernel.h"
#include "util/proc.h"

#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SLICE = 100000, LONG_SLICE = 100000000 /* ns: the least and the most that the kernel gives */ };
enum { PROCESSOR = 39 /* field of proc_pid_stat(5) */ };

static struct {
	bool prepared, sliceable;
	_Atomic(bool) sliced;
	_Atomic(bool) pinned;
	int cpu;
	cpu_set_t allowed;
	struct sp_sched_attr before;
} own;

static void slice(bool shorter)
{
	struct sp_sched_attr attr = own.before;

	if (!own.sliceable || own.sliced == shorter)
		return;
	attr.sched_runtime = shorter ? SLICE : 0;
	own.sliced = syscall(SYS_sched_setattr, 0, &attr, 0) == 0 && shorter;
}

void sp_cpu_prepare(void)
{
	struct sp_sched_attr attr = {.size = sizeof attr};

	if (own.prepared)
		return;
	own.prepared = sched_getaffinity(0, sizeof own.allowed, &own.allowed) == 0;
	if (syscall(SYS_sched_getattr, 0, &attr, sizeof attr, 0) != 0 || attr.sched_policy != SCHED_OTHER)
		return;
	own.before = attr;
	own.before.sched_runtime = 0; /* the default */
	own.sliceable = true;
	slice(true);
}

/* -1: unknown. */
static int last_cpu_of(pid_t tid)
{
	char path[SP_PROC_NAME], line[512];
	cleanup_close int fd = open(sp_proc_task(path, tid, "stat"), O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, line, sizeof line - 1) : 0;

	line[n > 0 ? n : 0] = '\0';
	const char *at = strrchr(line, ')');
	for (int field = 2; at != NULL && field < PROCESSOR; field++)
		at = strchr(at + 1, ' ');
	return at != NULL ? (int)strtol(at, NULL, 10) : -1;
}

void sp_cpu_follow(pid_t tid)
{
	const int cpu = last_cpu_of(tid);
	cpu_set_t set;

	if (!own.prepared || cpu < 0 || cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, &own.allowed) ||
	    (own.pinned && own.cpu == cpu))
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof set, &set) == 0)
		own.pinned = true;
	own.cpu = cpu;
	slice(false);
}

void sp_cpu_roam(void)
{
	if (own.pinned)
		(void)sched_setaffinity(0, sizeof own.allowed, &own.allowed);
	own.pinned = false;
	slice(true);
}

void sp_cpu_step_back(void)
{
	struct sp_sched_attr attr = {.size = sizeof attr};

	if (syscall(SYS_sched_getattr, 0, &attr, sizeof attr, 0) != 0 || attr.sched_policy != SCHED_OTHER)
		return;
	attr.sched_policy = SCHED_BATCH;
	attr.sched_runtime = LONG_SLICE;
	(void)syscall(SYS_sched_setattr, 0, &attr, 0);
}

void sp_cpu_restore(void)
{
	if (own.pinned)
		(void)sched_setaffinity(0, sizeof own.allowed, &own.allowed);
	if (own.sliced)
		(void)syscall(SYS_sched_setattr, 0, &own.before, 0);
}
