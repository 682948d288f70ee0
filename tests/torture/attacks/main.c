/* Attacks on whoever decides an execve by looking at memory or at names, each in rounds, and what came of them.
 *
 * usage: attack NAME ROUNDS MARKER [INTRUDER]
 *            prints rounds=N approved=N escaped=N refused=N blocked=N killed=N other=N
 *        attack --list          prints a line for each: name, what is meant to stop it, description; tabs between
 *        attack --possible NAME status 0, or 1 and why nobody can do it here (ask an unsupervised process)
 * ROUNDS is a maximum: what is slow, and what leaves nothing to chance, runs fewer. Whatever MARKER (tests/programs/marker.c) or INTRUDER
 * (tests/torture/intruder.c) reports as run is counted, however the process ended. See attack.h for what is forbidden. */
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { DEADLINE_SECONDS = 1200 };

static const struct attack *const groups[] = {memory_attacks, task_attacks,     writer_attacks,
					      path_attacks,   identity_attacks, fuse_attacks};

static const struct attack *find(const char *name)
{
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		for (const struct attack *attack = groups[i]; attack->name != NULL; attack++)
			if (strcmp(attack->name, name) == 0)
				return attack;
	return NULL;
}

/* ---- counting ---- */

struct counts {
	long rounds, approved, escaped, refused, blocked, killed, other;
};

/* What marker wrote outweighs how the process ended: one that ran and was killed afterwards did run. SIGSYS: a filter. */
static void count_round(int results, int status, struct counts *counts)
{
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status) == SIGSYS ? EXIT_BLOCKED : EXIT_KILLED;
	char byte = 0;

	counts->rounds++;
	if (read(results, &byte, 1) == 1)
		byte == 'E' ? counts->escaped++ : counts->approved++;
	else if (code == EXIT_KILLED)
		counts->killed++;
	else if (code == EXIT_REFUSED)
		counts->refused++;
	else if (code == EXIT_BLOCKED)
		counts->blocked++;
	else
		counts->other++;
}

/* Ends the round's process group, peers made by clone() included: those are ours by now, since we are their subreaper. */
static int reap_round(pid_t child)
{
	siginfo_t info;
	int status = 0;

	waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT);
	kill(-child, SIGKILL);
	waitpid(child, &status, 0);
	while (waitpid(-child, NULL, 0) > 0)
		;
	return status;
}

static int run_round(const struct attack *attack, struct attack_state *state, int results, struct counts *counts)
{
	pid_t parent = getpid(), child = fork();

	if (child < 0)
		return -errno;
	if (child == 0) {
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			attack->round(state);
		_exit(EXIT_OTHER);
	}
	setpgid(child, child);
	count_round(results, reap_round(child), counts);
	return 0;
}

static int make_results_pipe(int *results)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0 || fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	/* Above the fd that marker writes to, so that making that one cannot close it. */
	*results = fcntl(ends[0], F_DUPFD_CLOEXEC, RESULTS_FD + 1);
	return *results < 0 || dup2(ends[1], RESULTS_FD) < 0 ? -errno : 0;
}

/* The results come first, so that no fd of the attack's is taken for RESULTS_FD. */
static int prepare(const struct attack *attack, struct attack_state *state, int *results)
{
	const char *parent = getenv("TMPDIR");
	int err = make_results_pipe(results);

	snprintf(state->directory, sizeof(state->directory), "%s/attack-XXXXXX", parent != NULL ? parent : "/tmp");
	state->started = mmap(NULL, sizeof(*state->started), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (err < 0 || mkdtemp(state->directory) == NULL || state->started == MAP_FAILED)
		return err < 0 ? err : -errno;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	alarm(DEADLINE_SECONDS); /* everything else dies with us */
	return attack->prepare(state);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *position)
{
	(void)status;
	(void)type;
	(void)position;
	return remove(path);
}

static void clean_up(struct attack_state *state)
{
	if (state->peer > 0) {
		kill(state->peer, SIGKILL);
		waitpid(state->peer, NULL, 0);
	}
	umount2(in_directory(state, "mount"), MNT_DETACH);
	nftw(state->directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static long limit_rounds(const struct attack *attack, long rounds)
{
	if (attack->slowness > 0 && rounds > attack->slowness)
		rounds /= attack->slowness;
	return attack->most_rounds > 0 && rounds > attack->most_rounds ? attack->most_rounds : rounds;
}

static int run(const struct attack *attack, long rounds, const char *marker, const char *intruder)
{
	struct attack_state state = {
		.marker = marker, .intruder = intruder, .file = -1, .slots = {-1, -1, -1}, .peer = -1};
	struct counts counts = {0};
	int results = -1;
	int err = prepare(attack, &state, &results);

	rounds = limit_rounds(attack, rounds);
	for (long i = 0; i < rounds && err == 0; i++)
		err = run_round(attack, &state, results, &counts);
	clean_up(&state);
	if (err < 0) {
		fprintf(stderr, "attack: %s: %s\n", attack->name, strerror(-err));
		return 1;
	}
	printf("rounds=%ld approved=%ld escaped=%ld refused=%ld blocked=%ld killed=%ld other=%ld\n", counts.rounds,
	       counts.approved, counts.escaped, counts.refused, counts.blocked, counts.killed, counts.other);
	return 0;
}

static int list(void)
{
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		for (const struct attack *attack = groups[i]; attack->name != NULL; attack++)
			printf("%s\t%s\t%s\n", attack->name, attack->stopped_by, attack->description);
	return 0;
}

static int say_whether_possible(const struct attack *attack)
{
	const char *why = attack->cannot != NULL ? attack->cannot() : NULL;

	if (why != NULL)
		puts(why);
	return why != NULL;
}

int main(int argc, char *argv[])
{
	const struct attack *attack = NULL;

	if (argc == 2 && strcmp(argv[1], "--list") == 0)
		return list();
	if (argc == 3 && strcmp(argv[1], "--possible") == 0) {
		attack = find(argv[2]);
		if (attack != NULL)
			return say_whether_possible(attack);
	}
	if (argc == 4 || argc == 5) {
		attack = find(argv[1]);
		if (attack != NULL)
			return run(attack, strtol(argv[2], NULL, 10), argv[3], argc == 5 ? argv[4] : "");
	}
	fprintf(stderr, "usage: attack NAME ROUNDS MARKER [INTRUDER] | attack --list | attack --possible NAME\n");
	return 2;
}
