/* The bomb stress: a fork bomb is started and killed, again and again, and when `sallyport kill` has returned nothing of it may
 * be alive. See docs/stress.md.
 *
 * usage: bomb [OPTION]... SALLYPORT BOMB     the two programs
 *   --rounds N         how often (200)
 *   --processes N      how many processes the bomb is at most (200)
 *   --tracking HOW     attached (default) or oneshot
 *   --user UID         become that user first
 *   --control          kill only the bomb's first process, by kill(2): this must leave something alive
 * Exit status: 0 nothing was left alive, 1 something was, 2 the stress itself failed.
 *
 * We are the subreaper: whoever loses its parent becomes our child, so that something is alive exactly if waitpid(2) finds a
 * child of ours that has not ended. */
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE = 30 /* seconds */, NO_JOB = 1 /* exit status of sallyport kill */ };

/* The dead count until they are reaped: a supervisor that falls behind must not take all process ids of the machine. */
static const char policy_text[] = "version: 1\nname: bomb\nexec: {default: allow}\nlimits: {processes: 1000}\n";

struct options {
	long rounds;
	const char *processes, *tracking;
	uid_t user;
	bool control;
	const char *sallyport, *bomb;
};

/* Where the user finds the programs, whatever the tree's permissions. */
struct place {
	char directory[32], sallyport[64], bomb[64], audit[64], policy[64];
};

[[gnu::noreturn, gnu::format(printf, 1, 2)]] static void give_up(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)fputs("bomb stress: ", stderr);
	(void)vfprintf(stderr, format, arguments);
	(void)fputc('\n', stderr);
	va_end(arguments);
	exit(2);
}

static struct options parse(int argc, char **argv)
{
	static const struct option known[] = {
		{"rounds", required_argument, NULL, 'r'},   {"processes", required_argument, NULL, 'p'},
		{"tracking", required_argument, NULL, 't'}, {"user", required_argument, NULL, 'u'},
		{"control", no_argument, NULL, 'c'},        {0},
	};
	struct options o = {.rounds = 200, .processes = "200", .tracking = "attached", .user = getuid()};
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (c) {
		case 'r':
			o.rounds = strtol(optarg, NULL, 10);
			break;
		case 'p':
			o.processes = optarg;
			break;
		case 't':
			o.tracking = optarg;
			break;
		case 'u':
			o.user = (uid_t)strtoul(optarg, NULL, 10);
			break;
		case 'c':
			o.control = true;
			break;
		default:
			exit(2);
		}
	}
	if (optind + 2 != argc || o.rounds < 1)
		give_up("usage: bomb [OPTION]... SALLYPORT BOMB");
	o.sallyport = argv[optind];
	o.bomb = argv[optind + 1];
	return o;
}

/* --- the place --- */

static void copy_program(const char *from, const char *to)
{
	cleanup_close int source = open(from, O_RDONLY | O_CLOEXEC);
	cleanup_close int target = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	struct stat st;

	if (source < 0 || target < 0 || fstat(source, &st) != 0 || fchmod(target, 0755) != 0 ||
	    sendfile(target, source, NULL, (size_t)st.st_size) != st.st_size)
		give_up("cannot copy %s: %s", from, strerror(errno));
}

static void open_place(struct place *place, const struct options *o)
{
	(void)strcpy(place->directory, "/tmp/sallyport-bomb-XXXXXX");
	if (mkdtemp(place->directory) == NULL || chmod(place->directory, 0755) != 0 ||
	    chown(place->directory, o->user, (gid_t)-1) != 0)
		give_up("no directory: %s", strerror(errno));
	(void)snprintf(place->sallyport, sizeof place->sallyport, "%s/sallyport", place->directory);
	(void)snprintf(place->bomb, sizeof place->bomb, "%s/bomb", place->directory);
	(void)snprintf(place->audit, sizeof place->audit, "%s/audit.db", place->directory);
	(void)snprintf(place->policy, sizeof place->policy, "%s/policy.yaml", place->directory);
	cleanup_file FILE *policy = fopen(place->policy, "we");
	if (policy == NULL || fputs(policy_text, policy) < 0)
		give_up("no policy: %s", strerror(errno));
	copy_program(o->sallyport, place->sallyport);
	copy_program(o->bomb, place->bomb);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static void become(uid_t user)
{
	if (user != getuid() && (setgroups(0, NULL) != 0 || setgid(user) != 0 || setuid(user) != 0))
		give_up("cannot become user %u: %s", user, strerror(errno));
}

/* --- one round --- */

static int64_t now_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

/* With that standard output, and standard error; -1: ours. */
static pid_t start(char *const argv[], int output, int errors)
{
	pid_t child = fork();

	if (child < 0)
		give_up("fork: %s", strerror(errno));
	if (child == 0) {
		/* A bomb does not outlive us: its supervisor dies, and the kernel kills all that it traces. */
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (output >= 0)
			(void)dup2(output, STDOUT_FILENO);
		if (errors >= 0)
			(void)dup2(errors, STDERR_FILENO);
		(void)execv(argv[0], argv);
		_exit(127);
	}
	return child;
}

static void await_ready(int output)
{
	struct pollfd ready = {.fd = output, .events = POLLIN};
	char byte;

	if (poll(&ready, 1, PATIENCE * 1000) != 1 || read(output, &byte, 1) != 1)
		give_up("the bomb did not begin");
}

/* The wait status of a child of ours. The bomb's dead become ours meanwhile, faster than there are process ids. */
static int wait_for(pid_t child)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, __WALL)) != child)
		if (pid < 0)
			give_up("waitpid: %s", strerror(errno));
	return status;
}

/* `sallyport kill PID`, once the job can be found. Returns how long it took, in microseconds. */
static int64_t kill_job(const struct place *place, pid_t supervisor)
{
	const int64_t give_up_at = now_us() + PATIENCE * INT64_C(1000000);
	cleanup_close int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
	char pid[16];
	pid_t killer;
	int status;

	(void)snprintf(pid, sizeof pid, "%d", supervisor);
	do {
		const int64_t begin = now_us();
		killer = start((char *[]){(char *)place->sallyport, (char *)"kill", (char *)"--audit",
					  (char *)place->audit, pid, NULL},
			       -1, nowhere); /* that it is not there yet is no news */
		status = wait_for(killer);
		if (status == 0)
			return now_us() - begin;
	} while (WIFEXITED(status) && WEXITSTATUS(status) == NO_JOB && now_us() < give_up_at);
	give_up("sallyport kill: wait status %#x", (unsigned)status);
}

/* Reaps what is dead. True: that was all there is. */
static bool nothing_is_alive(void)
{
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG | __WALL)) > 0)
		continue;
	return pid < 0 && errno == ECHILD;
}

/* Whoever is left, whoever is born meanwhile: we are the parent of all that lose theirs. */
static void end_all(void)
{
	char path[64];

	(void)snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
	while (!nothing_is_alive()) {
		cleanup_file FILE *children = fopen(path, "re");
		int pid;

		while (children != NULL && fscanf(children, "%d", &pid) == 1)
			(void)kill(pid, SIGKILL);
	}
}

/* Returns the time it took to empty the job, or -1 if something was alive then. */
static int64_t explode(const struct place *place, const struct options *o)
{
	char *const argv[] = {(char *)place->sallyport, (char *)"run",        (char *)"--audit",
			      (char *)place->audit,     (char *)"-p",         (char *)place->policy,
			      (char *)"--tracking",     (char *)o->tracking,  (char *)"--",
			      (char *)place->bomb,      (char *)o->processes, NULL};
	/* Where no control group can be had the supervisor says so, every time. */
	cleanup_close int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
	int64_t took = 0;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) != 0)
		give_up("pipe: %s", strerror(errno));
	const pid_t child = start(o->control ? argv + 9 : argv, ends[1], nowhere);
	(void)close(ends[1]);
	await_ready(ends[0]);
	if (o->control)
		(void)kill(child, SIGKILL);
	else
		took = kill_job(place, child);
	(void)close(ends[0]);
	if (o->control)
		(void)wait_for(child); /* it is given the time to die */
	if (nothing_is_alive())
		return took;
	end_all();
	return -1;
}

/* --- all rounds --- */

static int by_value(const void *a, const void *b)
{
	const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

int main(int argc, char *argv[])
{
	const struct options o = parse(argc, argv);
	cleanup_free int64_t *took = calloc((size_t)o.rounds, sizeof *took);
	struct place place;
	long left = 0;

	if (took == NULL || prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
		give_up("%s", strerror(errno));
	open_place(&place, &o);
	become(o.user);
	for (long i = 0; i < o.rounds; i++) {
		took[i] = explode(&place, &o);
		left += took[i] < 0;
	}
	(void)nftw(place.directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	qsort(took, (size_t)o.rounds, sizeof *took, by_value);
	(void)printf("%s: %ld bombs of %s processes%s, alive afterwards: %ld; ms until empty: median %.1f, most %.1f\n",
		     left > 0 ? "FAILED" : "bomb stress", o.rounds, o.processes, o.control ? " (control)" : "", left,
		     (double)took[o.rounds / 2] / 1000, (double)took[o.rounds - 1] / 1000);
	return left > 0;
}
