/* Writers with the victim's own memory: threads, processes that share all of it, processes that share a mapping. */
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

/* ---- threads ---- */

static void round_thread_flips_word(struct attack_state *state)
{
	start_thread(flip_word_forever, state->stage);
	await_first_flip(state->stage);
	exec_stage(state->stage);
}

static void round_thread_flips_pointer(struct attack_state *state)
{
	start_thread(flip_pointer_forever, state->stage);
	await_first_flip(state->stage);
	exec_stage(state->stage);
}

/* The path's last component is the word: DIRECTORY/notbidden and DIRECTORY/forbidden are copies of marker. */
static int prepare_path(struct attack_state *state)
{
	/* What stands before the word, which must be aligned as the kernel copies it: eight bytes at a time. */
	size_t before = strlen(state->directory) + 1, slashes = (8 - before % 8) % 8;
	struct stage *stage = NULL;
	int err = prepare_private(state);

	if (err < 0)
		return err;
	stage = state->stage;
	before += slashes;
	snprintf(stage->path, PATH_MAX, "%s%.*s%s", state->directory, (int)slashes + 1, "////////", harmless);
	stage->argv[0] = stage->other_argument + strlen(harmful); /* "" */
	stage->target = (_Atomic uint32_t *)(void *)(stage->path + before);
	err = copy_file(state->marker, in_directory(state, HARMLESS));
	return err < 0 ? err : copy_file(state->marker, in_directory(state, HARMFUL));
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
	exec_stage(state->stage);
}

/* ---- processes that share the whole memory ---- */

static void round_clone_vm(struct attack_state *state)
{
	if (start_memory_sharer(0, state->stage) < 0)
		end_blocked("attack: clone");
	await_first_flip(state->stage);
	exec_stage(state->stage);
}

static void round_clone_untraced(struct attack_state *state)
{
	if (start_memory_sharer(CLONE_UNTRACED, state->stage) < 0)
		end_blocked("attack: clone");
	await_first_flip(state->stage);
	exec_stage(state->stage);
}

static void round_vfork(struct attack_state *state)
{
	pid_t victim = -1;

	start_thread(flip_word_forever, state->stage);
	await_first_flip(state->stage);
	victim = vfork();
	if (victim == 0)
		exec_stage(state->stage);
	end_like_victim(victim);
}

/* Two parents are suspended, the one for the other. */
static void round_vfork_chain(struct attack_state *state)
{
	pid_t middle = -1, victim = -1;

	start_thread(flip_word_forever, state->stage);
	await_first_flip(state->stage);
	middle = vfork();
	if (middle == 0) {
		victim = vfork();
		if (victim == 0)
			exec_stage(state->stage);
		end_like_victim(victim);
	}
	end_like_victim(middle);
}

/* ---- processes that share a mapping ---- */

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

/* As a fork, but its flags, CLONE_UNTRACED among them, are in memory, where no filter can see them. */
static void round_clone3(struct attack_state *state)
{
	struct clone_args how = {.flags = CLONE_UNTRACED, .exit_signal = SIGCHLD};
	long peer = syscall(SYS_clone3, &how, sizeof(how));

	if (peer < 0)
		end_blocked("attack: clone3");
	if (peer == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		flip_word_forever(state->stage);
	}
	await_first_flip(state->stage);
	exec_stage(state->stage);
}

static int prepare_clone3(struct attack_state *state)
{
	int err = map_stage(state, MAP_SHARED | MAP_ANONYMOUS, -1);

	if (err == 0)
		fill_stage(state);
	return err;
}

static int open_file(struct attack_state *state)
{
	state->file = open(in_directory(state, "stage"), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
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

static off_t target_offset(const struct attack_state *state)
{
	return (char *)state->stage->target - (char *)state->stage;
}

/* Through the file, by system calls: no mapping of this process holds what it changes. */
static void peer_writes_file(struct attack_state *state)
{
	off_t offset = target_offset(state);
	uint32_t words[2] = {word_of(harmful), word_of(harmless)};

	munmap(state->stage, sizeof(struct stage));
	for (uint64_t flips = 0;; flips++) {
		(void)!pwrite(state->file, &words[flips % 2], sizeof(words[0]), offset);
		atomic_store(state->started, true);
	}
}

/* The same by the pages of a pipe. */
static void peer_splices_into_file(struct attack_state *state)
{
	off_t offset = target_offset(state);
	uint32_t words[2] = {word_of(harmful), word_of(harmless)};
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		_exit(EXIT_OTHER);
	munmap(state->stage, sizeof(struct stage));
	for (uint64_t flips = 0;; flips++) {
		struct iovec word = {&words[flips % 2], sizeof(words[0])};
		loff_t at = offset;

		if (vmsplice(ends[1], &word, 1, 0) > 0)
			(void)!splice(ends[0], NULL, state->file, &at, sizeof(words[0]), SPLICE_F_MOVE);
		atomic_store(state->started, true);
	}
}

static int prepare_written_file(struct attack_state *state)
{
	return prepare_file(state, peer_writes_file);
}

/* The victim maps the file MAP_PRIVATE: a page of it that was never written to still shows the file. */
static int map_privately(struct attack_state *state, int err)
{
	if (err < 0)
		return err;
	munmap(state->stage, sizeof(struct stage));
	return map_stage(state, MAP_PRIVATE, state->file);
}

static int prepare_private_file(struct attack_state *state)
{
	return map_privately(state, prepare_file(state, peer_writes_file));
}

static int prepare_spliced_file(struct attack_state *state)
{
	return map_privately(state, prepare_file(state, peer_splices_into_file));
}

static void round_peer_shares(struct attack_state *state)
{
	await_first_flip(state->stage);
	exec_stage(state->stage);
}

static void round_peer_writes(struct attack_state *state)
{
	await_start(state);
	exec_stage(state->stage);
}

const struct attack memory_attacks[] = {
	{"argv-bytes", "freeze", "a sibling thread rewrites an argument's bytes", prepare_private,
	 round_thread_flips_word},
	{"argv-pointer", "freeze", "a sibling thread rewrites a pointer in argv", prepare_private,
	 round_thread_flips_pointer},
	{"path-bytes", "freeze", "a sibling thread rewrites the path's bytes", prepare_path, round_thread_flips_word},
	{"thread-spawner", "freeze", "threads that make threads that rewrite", prepare_private, round_spawner},
	{"clone-vm", "freeze", "a process made by clone(CLONE_VM)", prepare_private, round_clone_vm},
	{"clone-untraced", "filter", "the same with CLONE_UNTRACED", prepare_private, round_clone_untraced},
	{"clone3", "filter", "a child made by clone3(CLONE_UNTRACED)", prepare_clone3, round_clone3},
	{"vfork-parent", "freeze", "another thread of the vfork parent", prepare_private, round_vfork},
	{"vfork-chain", "freeze", "another thread of the vfork parent's vfork parent", prepare_private,
	 round_vfork_chain},
	{"shared-mapping", "freeze", "a process that shares an anonymous mapping", prepare_shared, round_peer_shares},
	{"shared-file", "freeze", "a process that maps the same file", prepare_shared_file, round_peer_shares},
	{"file-write", "freeze", "a process that writes to the file that is mapped", prepare_written_file,
	 round_peer_writes},
	{"private-file", "verify", "the same, to a file mapped privately", prepare_private_file, round_peer_writes},
	{"splice", "verify", "the same by vmsplice and splice", prepare_spliced_file, round_peer_writes},
	{0},
};
