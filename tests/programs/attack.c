/* Attacks on whoever decides an execve by looking at memory: while one task execs MARKER with an argument (or a path) that
 * would be approved, another one rewrites it to what would be refused, and back, as fast as it can.
 *
 * usage: attack NAME ROUNDS MARKER     prints rounds=N approved=N escaped=N refused=N killed=N other=N
 *        attack --list                 prints the names, one a line, with what each does
 * A supervisor should refuse every exec with an argument "forbidden" and every file that lies under a name "forbidden".
 * The harmless twin of that word is "notbidden": they differ in one aligned 32-bit word, which is what gets rewritten, so
 * that every value ever seen is one of the two. Whatever MARKER reports as run is counted, however the process ended. */
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

enum {
	RESULTS_FD = 9, /* where marker writes */
	EXIT_REFUSED = 13,
	EXIT_KILLED = 14, /* the process that asked was killed; its parent lives to tell */
	EXIT_OTHER = 15,
	DEADLINE_SECONDS = 1200,
	PEER_STACK = 64 << 10,
};

static const char harmless[] = "notbidden", harmful[] = "forbidden";

/* Everything the kernel reads for the exec, in memory of the attack's choice. Mapped at an address where no other program
 * has anything, so that a write that arrives after the exec hits nothing. */
struct stage {
	_Atomic uint32_t *target; /* the word that is rewritten: in argument or in path */
	_Atomic(char *) argv[3];
	_Atomic uint64_t flips;
	_Alignas(8) char argument[16];
	_Alignas(8) char other_argument[16];
	_Alignas(8) char path_space[PATH_MAX];
	char *path;
};

struct attack_state {
	struct stage *stage;
	_Atomic bool *started; /* shared: a writer outside the victim has made its first attempt */
	const char *marker;
	char directory[PATH_MAX - 64]; /* the attack's own, removed at the end */
	int file; /* shared-file and its kin: behind the stage; else -1 */
	pid_t peer; /* one writer for all rounds, or -1 */
};

struct attack {
	const char *name, *description;
	int (*prepare)(struct attack_state *state); /* once: maps the stage, starts a peer */
	void (*round)(struct attack_state *state); /* in a process of its own that ends in it */
};

/* ---- rewriting ---- */

static uint32_t word_of(const char *text)
{
	uint32_t word = 0;

	memcpy(&word, text, sizeof(word));
	return word;
}

static void flip_word(struct stage *stage)
{
	uint64_t flips = atomic_fetch_add(&stage->flips, 1);

	atomic_store(stage->target, word_of(flips % 2 ? harmless : harmful));
}

static void flip_pointer(struct stage *stage)
{
	uint64_t flips = atomic_fetch_add(&stage->flips, 1);

	atomic_store(&stage->argv[1], flips % 2 ? stage->argument : stage->other_argument);
}

static void *flip_word_forever(void *stage)
{
	for (;;)
		flip_word(stage);
	return NULL;
}

static void *flip_pointer_forever(void *stage)
{
	for (;;)
		flip_pointer(stage);
	return NULL;
}

/* ---- the exec ---- */

static void await_first_flip(struct stage *stage)
{
	uint64_t before = atomic_load(&stage->flips);

	while (atomic_load(&stage->flips) == before)
		sched_yield();
}

[[gnu::noreturn]] static void exec_marker(struct stage *stage)
{
	char *environment[] = {NULL};

	execve(stage->path, (char **)stage->argv, environment);
	if (errno == EACCES || errno == EPERM)
		_exit(EXIT_REFUSED);
	perror("attack: execve");
	_exit(EXIT_OTHER);
}

static void start_thread(void *(*function)(void *), void *argument)
{
	pthread_t thread;
	pthread_attr_t attributes;

	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN);
	/* EAGAIN: threads that ended are not yet gone. */
	while (pthread_create(&thread, &attributes, function, argument) != 0)
		sched_yield();
	pthread_attr_destroy(&attributes);
}

/* The status of a victim that is not the round's own process, told on. */
[[gnu::noreturn]] static void exit_like(int status)
{
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_KILLED);
}

/* ---- preparing ---- */

static int map_stage(struct attack_state *state, int flags, int fd)
{
	void *address = (void *)0x100000000000;
	void *stage = mmap(address, sizeof(struct stage), PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE, fd, 0);

	if (stage == MAP_FAILED)
		return -errno;
	state->stage = stage;
	return 0;
}

static void fill_stage(struct attack_state *state)
{
	struct stage *stage = state->stage;

	stage->path = strcpy(stage->path_space, state->marker);
	strcpy(stage->argument, harmless);
	strcpy(stage->other_argument, harmful);
	stage->argv[0] = stage->path;
	stage->argv[1] = stage->argument;
	stage->argv[2] = NULL;
	stage->target = (_Atomic uint32_t *)(void *)stage->argument;
}

static int prepare_private(struct attack_state *state)
{
	int err = map_stage(state, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (err == 0)
		fill_stage(state);
	return err;
}

static int copy_file(const char *from, const char *to)
{
	cleanup_close int in = open(from, O_RDONLY | O_CLOEXEC);
	cleanup_close int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	struct stat status;

	if (in < 0 || out < 0 || fstat(in, &status) < 0)
		return -errno;
	for (off_t done = 0; done < status.st_size;)
		if (sendfile(out, in, &done, (size_t)(status.st_size - done)) <= 0)
			return -EIO;
	return 0;
}

/* The path's last component is the word: DIRECTORY/notbidden and DIRECTORY/forbidden are copies of marker. */
static int prepare_path(struct attack_state *state)
{
	char good[PATH_MAX], bad[PATH_MAX];
	size_t before = strlen(state->directory) + 1; /* what stands before the word, which must be aligned */
	struct stage *stage = NULL;
	int err = prepare_private(state);

	if (err < 0)
		return err;
	stage = state->stage;
	snprintf(good, sizeof(good), "%s/%s", state->directory, harmless);
	snprintf(bad, sizeof(bad), "%s/%s", state->directory, harmful);
	stage->path = strcpy(stage->path_space + (8 - before % 8) % 8, good);
	stage->argv[0] = stage->other_argument + strlen(harmful); /* "" */
	stage->target = (_Atomic uint32_t *)(void *)(stage->path + before);
	err = copy_file(state->marker, good);
	return err < 0 ? err : copy_file(state->marker, bad);
}

static pid_t start_peer(struct attack_state *state, void (*forever)(struct attack_state *))
{
	pid_t parent = getpid(), peer = fork();

	if (peer != 0)
		return peer;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() == parent)
		forever(state);
	_exit(EXIT_OTHER);
}

static int with_peer(struct attack_state *state, void (*forever)(struct attack_state *))
{
	state->peer = start_peer(state, forever);
	return state->peer < 0 ? -errno : 0;
}

static void peer_flips_word(struct attack_state *state)
{
	flip_word_forever(state->stage);
}

static int prepare_shared(struct attack_state *state)
{
	int err = map_stage(state, MAP_SHARED | MAP_ANONYMOUS, -1);

	if (err < 0)
		return err;
	fill_stage(state);
	return with_peer(state, peer_flips_word);
}

static int open_file(struct attack_state *state)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/stage", state->directory);
	state->file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return state->file < 0 || ftruncate(state->file, sizeof(struct stage)) < 0 ? -errno : 0;
}

/* The stage in a file that the victim maps shared, and a peer that changes it. */
static int prepare_file(struct attack_state *state, void (*peer)(struct attack_state *state))
{
	int err = open_file(state);

	if (err == 0)
		err = map_stage(state, MAP_SHARED, state->file);
	if (err < 0)
		return err;
	fill_stage(state);
	return with_peer(state, peer);
}

static int prepare_shared_file(struct attack_state *state)
{
	return prepare_file(state, peer_flips_word);
}

/* Through the file, by system calls: no mapping of this process holds what it changes. */
static void peer_writes_file(struct attack_state *state)
{
	off_t offset = (char *)state->stage->target - (char *)state->stage;
	uint32_t words[2] = {word_of(harmful), word_of(harmless)};

	munmap(state->stage, sizeof(struct stage));
	for (uint64_t flips = 0;; flips++) {
		(void)!pwrite(state->file, &words[flips % 2], sizeof(words[0]), offset);
		atomic_store(state->started, true);
	}
}

static int prepare_written_file(struct attack_state *state)
{
	return prepare_file(state, peer_writes_file);
}

/* As above, and the victim maps the file MAP_PRIVATE: a page of it that was never written to still shows the file. */
static int prepare_private_file(struct attack_state *state)
{
	int err = prepare_written_file(state);

	if (err < 0)
		return err;
	munmap(state->stage, sizeof(struct stage));
	return map_stage(state, MAP_PRIVATE, state->file);
}

static void peer_swaps_symlinks(struct attack_state *state)
{
	cleanup_close int directory = open(state->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (;;) {
		renameat2(directory, "current", directory, "other", RENAME_EXCHANGE);
		atomic_store(state->started, true);
	}
}

/* DIRECTORY/current/tool, where current leads to notbidden/ or to forbidden/, each with its own copy of marker. */
static int prepare_symlinks(struct attack_state *state)
{
	const char *words[] = {harmless, harmful}, *links[] = {"current", "other"};
	char path[PATH_MAX], tool[PATH_MAX + 8];
	int err = prepare_private(state);

	for (int i = 0; i < 2 && err == 0; i++) {
		snprintf(path, sizeof(path), "%s/%s", state->directory, words[i]);
		snprintf(tool, sizeof(tool), "%s/tool", path);
		err = mkdir(path, 0700) < 0 ? -errno : copy_file(state->marker, tool);
		snprintf(path, sizeof(path), "%s/%s", state->directory, links[i]);
		if (err == 0 && symlink(words[i], path) < 0)
			err = -errno;
	}
	if (err < 0)
		return err;
	snprintf(state->stage->path, PATH_MAX, "%s/current/tool", state->directory);
	return with_peer(state, peer_swaps_symlinks);
}

/* ---- rounds ---- */

static void round_thread_flips_word(struct attack_state *state)
{
	start_thread(flip_word_forever, state->stage);
	await_first_flip(state->stage);
	exec_marker(state->stage);
}

static void round_thread_flips_pointer(struct attack_state *state)
{
	start_thread(flip_pointer_forever, state->stage);
	await_first_flip(state->stage);
	exec_marker(state->stage);
}

static void round_peer_shares(struct attack_state *state)
{
	await_first_flip(state->stage);
	exec_marker(state->stage);
}

static void round_peer_writes(struct attack_state *state)
{
	while (!atomic_load(state->started))
		sched_yield();
	exec_marker(state->stage);
}

/* Shares the memory and the thread pointer of its parent: nothing in here may touch either but to flip. */
static int vm_peer(void *stage)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	flip_word_forever(stage);
	return 0;
}

static void round_clone_vm(struct attack_state *state)
{
	char *stack = mmap(NULL, PEER_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

	if (stack == MAP_FAILED || clone(vm_peer, stack + PEER_STACK, CLONE_VM | SIGCHLD, state->stage) < 0)
		_exit(EXIT_OTHER);
	await_first_flip(state->stage);
	exec_marker(state->stage);
}

static void round_vfork(struct attack_state *state)
{
	pid_t victim = -1;
	int status = 0;

	start_thread(flip_word_forever, state->stage);
	await_first_flip(state->stage);
	victim = vfork();
	if (victim == 0)
		exec_marker(state->stage);
	if (victim < 0 || waitpid(victim, &status, 0) != victim)
		_exit(EXIT_OTHER);
	exit_like(status);
}

/* One link of a chain of threads: rewrites a little, makes the next one, ends. */
static void *chain_link(void *stage)
{
	for (int i = 0; i < 65; i++) /* odd: the next link is made in either state */
		flip_word(stage);
	start_thread(chain_link, stage);
	return NULL;
}

static void round_spawner(struct attack_state *state)
{
	start_thread(chain_link, state->stage);
	start_thread(chain_link, state->stage);
	await_first_flip(state->stage);
	exec_marker(state->stage);
}

static pid_t start_victim(struct attack_state *state)
{
	pid_t victim = -1;

	atomic_store(state->started, false);
	victim = fork();
	if (victim == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		round_peer_writes(state);
	}
	if (victim < 0)
		_exit(EXIT_OTHER);
	return victim;
}

static void round_proc_mem(struct attack_state *state)
{
	uint32_t words[2] = {word_of(harmful), word_of(harmless)};
	pid_t victim = start_victim(state);
	char path[64];
	int status = 0, memory = -1;

	snprintf(path, sizeof(path), "/proc/%d/mem", victim);
	memory = open(path, O_WRONLY | O_CLOEXEC);
	for (uint64_t flips = 0; waitpid(victim, &status, WNOHANG) == 0; flips++) {
		(void)!pwrite(memory, &words[flips % 2], sizeof(words[0]), (off_t)(uintptr_t)state->stage->target);
		atomic_store(state->started, true);
	}
	exit_like(status);
}

static void round_vm_writev(struct attack_state *state)
{
	uint32_t words[2] = {word_of(harmful), word_of(harmless)};
	struct iovec remote = {(void *)state->stage->target, sizeof(words[0])};
	pid_t victim = start_victim(state);
	int status = 0;

	for (uint64_t flips = 0; waitpid(victim, &status, WNOHANG) == 0; flips++) {
		struct iovec local = {&words[flips % 2], sizeof(words[0])};

		(void)!process_vm_writev(victim, &local, 1, &remote, 1, 0);
		atomic_store(state->started, true);
	}
	exit_like(status);
}

static const struct attack attacks[] = {
	{"argv-bytes", "a sibling thread rewrites an argument's bytes", prepare_private, round_thread_flips_word},
	{"argv-pointer", "a sibling thread rewrites a pointer in argv", prepare_private, round_thread_flips_pointer},
	{"path-bytes", "a sibling thread rewrites the path's bytes", prepare_path, round_thread_flips_word},
	{"shared-mapping", "a process that shares an anonymous mapping", prepare_shared, round_peer_shares},
	{"shared-file", "a process that maps the same file", prepare_shared_file, round_peer_shares},
	{"file-write", "a process that writes to the file that is mapped", prepare_written_file, round_peer_writes},
	{"private-file", "the same, to a file mapped privately", prepare_private_file, round_peer_writes},
	{"clone-vm", "a process made by clone(CLONE_VM)", prepare_private, round_clone_vm},
	{"vfork-parent", "another thread of the vfork parent", prepare_private, round_vfork},
	{"thread-spawner", "threads that make threads that rewrite", prepare_private, round_spawner},
	{"proc-mem", "the parent writes through /proc/PID/mem", prepare_private, round_proc_mem},
	{"vm-writev", "the parent writes by process_vm_writev", prepare_private, round_vm_writev},
	{"symlink-swap", "a process that swaps a symlink in the path", prepare_symlinks, round_peer_writes},
};

/* ---- counting ---- */

struct counts {
	long approved, escaped, refused, killed, other;
};

/* What marker wrote outweighs how the process ended: one that ran and was killed afterwards did run. */
static void count_round(int results, int status, struct counts *counts)
{
	char byte = 0;

	if (read(results, &byte, 1) == 1)
		byte == 'E' ? counts->escaped++ : counts->approved++;
	else if (WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_KILLED))
		counts->killed++;
	else if (WEXITSTATUS(status) == EXIT_REFUSED)
		counts->refused++;
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

static int prepare(const struct attack *attack, struct attack_state *state)
{
	const char *parent = getenv("TMPDIR");

	snprintf(state->directory, sizeof(state->directory), "%s/attack-XXXXXX", parent != NULL ? parent : "/tmp");
	state->started = mmap(NULL, sizeof(*state->started), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (mkdtemp(state->directory) == NULL || state->started == MAP_FAILED)
		return -errno;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	alarm(DEADLINE_SECONDS); /* everything else dies with us */
	return attack->prepare(state);
}

static void clean_up(struct attack_state *state)
{
	static const char *const names[] = {"stage",     "notbidden/tool", "forbidden/tool", "notbidden",
					    "forbidden", "current",        "other"};
	cleanup_close int directory = open(state->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (state->peer > 0) {
		kill(state->peer, SIGKILL);
		waitpid(state->peer, NULL, 0);
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (unlinkat(directory, names[i], 0) < 0)
			unlinkat(directory, names[i], AT_REMOVEDIR);
	rmdir(state->directory);
}

static int run(const struct attack *attack, long rounds, const char *marker)
{
	struct attack_state state = {.marker = marker, .file = -1, .peer = -1};
	struct counts counts = {0};
	int results = -1;
	int err = prepare(attack, &state);

	if (err == 0)
		err = make_results_pipe(&results);
	for (long i = 0; i < rounds && err == 0; i++)
		err = run_round(attack, &state, results, &counts);
	clean_up(&state);
	if (err < 0) {
		fprintf(stderr, "attack: %s: %s\n", attack->name, strerror(-err));
		return 1;
	}
	printf("rounds=%ld approved=%ld escaped=%ld refused=%ld killed=%ld other=%ld\n", rounds, counts.approved,
	       counts.escaped, counts.refused, counts.killed, counts.other);
	return 0;
}

int main(int argc, char *argv[])
{
	size_t count = sizeof(attacks) / sizeof(attacks[0]);

	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		for (size_t i = 0; i < count; i++)
			printf("%-16s%s\n", attacks[i].name, attacks[i].description);
		return 0;
	}
	for (size_t i = 0; i < count && argc == 4; i++)
		if (strcmp(argv[1], attacks[i].name) == 0)
			return run(&attacks[i], strtol(argv[2], NULL, 10), argv[3]);
	fprintf(stderr, "usage: attack NAME ROUNDS MARKER | attack --list\n");
	return 2;
}
