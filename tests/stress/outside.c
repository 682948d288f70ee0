/* See outside.h. */
#include "outside.h"

#include "util/cleanup.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef PIDFD_SIGNAL_PROCESS_GROUP
#define PIDFD_SIGNAL_PROCESS_GROUP (1U << 2) /* Linux 6.9 */
#endif

enum { BATCH = 16, PAUSE = 20000000 }; /* PAUSE: nanoseconds at most between two kills */

struct outside {
	struct sp_quarry *quarry;
	pid_t supervisor;
	int channel;
	struct sp_outside_kills *kills;
	unsigned seed;
};

/* What proc_pid_status(5) says of a process. */
struct facts {
	char name[32], state;
	pid_t parent, tracer;
	unsigned threads; /* with a leader that has ended */
};

static bool read_facts(const char *path, struct facts *facts)
{
	char line[256];
	cleanup_file FILE *f = fopen(path, "re");

	*facts = (struct facts){.tracer = -1};
	while (f != NULL && facts->threads == 0 && fgets(line, sizeof line, f) != NULL) {
		(void)sscanf(line, "Name: %31[^\n]", facts->name);
		(void)sscanf(line, "State: %c", &facts->state);
		(void)sscanf(line, "PPid: %d", &facts->parent);
		(void)sscanf(line, "TracerPid: %d", &facts->tracer);
		(void)sscanf(line, "Threads: %u", &facts->threads);
	}
	return facts->tracer >= 0;
}

static bool read_process(pid_t pid, struct facts *facts)
{
	char path[64];

	(void)snprintf(path, sizeof path, "/proc/%d/status", pid);
	return read_facts(path, facts);
}

/* Calls visit for every process there is. */
static void each_process(struct outside *o, void (*visit)(struct outside *o, pid_t pid, void *context), void *context)
{
	cleanup_directory DIR *d = opendir("/proc");
	const struct dirent *entry;

	while (d != NULL && (entry = readdir(d)) != NULL)
		if (isdigit((unsigned char)entry->d_name[0]))
			visit(o, (pid_t)atoi(entry->d_name), context);
}

/* --- killing --- */

/* Traced by the supervisor, or descended from it; orphans are our own children. */
static bool belongs_to(const struct outside *o, const struct facts *process)
{
	struct facts facts = *process;

	if (facts.tracer == o->supervisor)
		return true;
	while (facts.parent != o->supervisor && facts.parent != getpid())
		if (facts.parent <= 1 || !read_process(facts.parent, &facts))
			return false;
	return true;
}

/* Threads go on without their leader, which is a zombie then; one that execs all the time is hardly ever seen otherwise. */
static bool is_dead(const struct facts *facts)
{
	return (facts->state == 'Z' || facts->state == 'X') && facts->threads <= 1;
}

static bool is_prey(const struct outside *o, pid_t pid)
{
	struct facts facts;

	return pid != o->supervisor && read_process(pid, &facts) && !is_dead(&facts) && belongs_to(o, &facts);
}

struct sample {
	pid_t pid[BATCH];
	unsigned seen;
};

/* Every process is taken with the same probability, however many there are. */
static void take_sample(struct outside *o, pid_t pid, void *context)
{
	struct sample *s = context;

	if (!is_prey(o, pid))
		return;
	const unsigned at = s->seen++;
	const unsigned slot = at < BATCH ? at : (unsigned)rand_r(&o->seed) % (at + 1);
	if (slot < BATCH)
		s->pid[slot] = pid;
}

/* By pidfd, and asked again behind it: the number may be another's meanwhile. */
static void strike(struct outside *o, pid_t pid)
{
	cleanup_close int fd = pidfd_open(pid, 0);
	const bool group = rand_r(&o->seed) % 4 == 0;

	if (fd < 0 || !is_prey(o, pid) || !sp_quarry_take(o->quarry, pid))
		return;
	if (group && pidfd_send_signal(fd, SIGKILL, NULL, PIDFD_SIGNAL_PROCESS_GROUP) == 0)
		o->kills->groups++;
	else if (pidfd_send_signal(fd, SIGKILL, NULL, 0) == 0)
		o->kills->processes++;
}

static void pause_at_random(struct outside *o)
{
	const struct timespec t = {.tv_nsec = rand_r(&o->seed) % PAUSE};

	(void)nanosleep(&t, NULL);
}

static void strike_some(struct outside *o)
{
	struct sample s = {.seen = 0};

	each_process(o, take_sample, &s);
	for (unsigned i = 0; i < BATCH && i < s.seen; i++) {
		strike(o, s.pid[i]);
		pause_at_random(o);
	}
}

/* --- judging --- */

static void note(struct sp_left_behind *left, const char *name, char state)
{
	const size_t used = strlen(left->names);

	(void)snprintf(left->names + used, sizeof left->names - used, " %s(%c)", name, state);
}

static void look_at_task(const char *path, struct sp_left_behind *left)
{
	struct facts facts;

	if (!read_facts(path, &facts) || (facts.state != 'T' && facts.state != 't'))
		return;
	left->stopped++;
	note(left, facts.name, facts.state);
}

/* Whatever descends from the supervisor is its child or has become ours. */
static void look_at_process(struct outside *o, pid_t pid, void *context)
{
	struct sp_left_behind *left = context;
	struct facts facts;
	char path[64];

	if (pid == o->supervisor || !read_process(pid, &facts) ||
	    (facts.parent != o->supervisor && facts.parent != getpid() && facts.tracer != o->supervisor))
		return;
	(void)snprintf(path, sizeof path, "/proc/%d/task", pid);
	cleanup_directory DIR *d = opendir(path);
	const struct dirent *entry;
	const unsigned before = left->stopped;
	while (d != NULL && (entry = readdir(d)) != NULL) {
		char status[512];

		(void)snprintf(status, sizeof status, "/proc/%d/task/%s/status", pid, entry->d_name);
		if (entry->d_name[0] != '.')
			look_at_task(status, left);
	}
	if (left->stopped > before)
		return;
	left->others++;
	note(left, facts.name, facts.state);
}

/* Children are orphans of the jobs; the supervisor is not reaped here. */
static bool reap_orphans(const struct outside *o, int *status)
{
	siginfo_t info = {0};

	while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0) {
		if (waitpid(info.si_pid, status, 0) == o->supervisor)
			return false;
		info.si_pid = 0;
	}
	return true;
}

static void answer(struct outside *o)
{
	struct sp_left_behind left = {0};

	each_process(o, look_at_process, &left);
	(void)!write(o->channel, &left, sizeof left);
}

static bool is_asked(const struct outside *o)
{
	struct pollfd p = {.fd = o->channel, .events = POLLIN};
	char question;

	/* Nothing to kill: nothing to do but wait for a question, or for orphans to reap. */
	const int wait = atomic_load(&o->quarry->left) > 0 ? 0 : 10;
	return poll(&p, 1, wait) == 1 && read(o->channel, &question, 1) == 1;
}

int sp_outside_run(struct sp_quarry *quarry, pid_t supervisor, int channel, struct sp_outside_kills *kills)
{
	struct outside o = {.quarry = quarry, .supervisor = supervisor, .channel = channel, .kills = kills};
	int status = -1;

	while (reap_orphans(&o, &status)) {
		if (is_asked(&o)) {
			if (reap_orphans(&o, &status))
				answer(&o);
		} else if (atomic_load(&quarry->left) > 0) {
			strike_some(&o);
		}
	}
	return status;
}
