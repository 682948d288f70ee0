/* What a path leads to is changed while it is judged: links, directories, fds, the working directory, the #! line. */
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* ---- by names: a peer renames ---- */

static void exchange_forever(struct attack_state *state, const char *one, const char *other)
{
	cleanup_close int directory = open(state->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (;;) {
		renameat2(directory, one, directory, other, RENAME_EXCHANGE);
		atomic_store(state->started, true);
	}
}

static void peer_swaps_links(struct attack_state *state)
{
	exchange_forever(state, "current", "other");
}

/* DIRECTORY/current leads to notbidden/ or to forbidden/. */
static int make_links(struct attack_state *state)
{
	return symlink(harmless, in_directory(state, "current")) < 0 ||
			       symlink(harmful, in_directory(state, "other")) < 0
		       ? -errno
		       : 0;
}

static int prepare_symlinks(struct attack_state *state)
{
	static const char *const words[] = {harmless, harmful};
	int err = prepare_private(state);

	/* Both are marker, which knows its own name. */
	for (int i = 0; i < 2 && err == 0; i++)
		err = mkdir(in_directory(state, "%s", words[i]), 0700) < 0
			      ? -errno
			      : copy_file(state->marker, in_directory(state, "%s/tool", words[i]));
	if (err == 0)
		err = make_links(state);
	if (err < 0)
		return err;
	strcpy(state->stage->path, in_directory(state, "current/tool"));
	return with_peer(state, peer_swaps_links);
}

static void round_symlinks(struct attack_state *state)
{
	await_start(state);
	exec_stage(state->stage);
}

/* A directory moves between two others; the path leads through an fd of it to the parent it has at the moment, so that no
 * file ever changes its name. */
static void peer_moves_directory(struct attack_state *state)
{
	cleanup_close int directory = open(state->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	char from[32], to[32];

	for (uint64_t i = 0;; i++) {
		snprintf(from, sizeof(from), "%s/step", i % 2 ? harmful : harmless);
		snprintf(to, sizeof(to), "%s/step", i % 2 ? harmless : harmful);
		renameat(directory, from, directory, to);
		atomic_store(state->started, true);
	}
}

static int prepare_moved_directory(struct attack_state *state)
{
	int err = make_twins(state);
	const char *step = in_directory(state, HARMLESS "/step");

	if (err == 0 && mkdir(step, 0755) < 0)
		err = -errno;
	if (err < 0)
		return err;
	state->slots[0] = open(step, O_PATH | O_DIRECTORY); /* inherited by the peer, through which it is found */
	return state->slots[0] < 0 ? -errno : with_peer(state, peer_moves_directory);
}

static void round_moved_directory(struct attack_state *state)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd/%d/../tool", state->peer, state->slots[0]);
	await_start(state);
	exec_path(path);
}

/* ---- the fd or the directory that the call starts from ---- */

static int prepare_slots(struct attack_state *state)
{
	int err = make_twins(state);

	state->slots[1] = open(in_directory(state, HARMLESS "/tool"), O_PATH | O_CLOEXEC);
	state->slots[2] = open(in_directory(state, HARMFUL "/tool"), O_PATH | O_CLOEXEC);
	state->slots[0] = dup(state->slots[1]);
	return err < 0 ? err : state->slots[0] < 0 ? -errno : 0;
}

static void *swap_slot_forever(void *argument)
{
	struct attack_state *state = argument;

	for (uint64_t i = 0;; i++) {
		dup2(state->slots[1 + i % 2], state->slots[0]);
		if (i > 0)
			atomic_store(state->started, true);
	}
	return NULL;
}

static void exec_slot(struct attack_state *state)
{
	await_start(state);
	exec_at(state->slots[0], "", AT_EMPTY_PATH);
}

static void round_thread_swaps_fd(struct attack_state *state)
{
	atomic_store(state->started, false);
	start_thread(swap_slot_forever, state);
	exec_slot(state);
}

/* As fork(2), but for what is shared. */
static pid_t fork_sharing(unsigned long what)
{
	pid_t child = (pid_t)syscall(SYS_clone, what | SIGCHLD, 0, NULL, NULL, 0);

	if (child < 0)
		_exit(EXIT_OTHER);
	if (child == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return child;
}

static void round_shared_fds(struct attack_state *state)
{
	atomic_store(state->started, false);
	if (fork_sharing(CLONE_FILES) == 0)
		swap_slot_forever(state);
	exec_slot(state);
}

static void round_shared_cwd(struct attack_state *state)
{
	const char *directories[] = {in_directory(state, HARMFUL), in_directory(state, HARMLESS)};

	atomic_store(state->started, false);
	if (chdir(directories[1]) < 0)
		_exit(EXIT_OTHER);
	if (fork_sharing(CLONE_FS) == 0)
		for (uint64_t i = 0;; i++) {
			if (chdir(directories[i % 2]) < 0)
				_exit(EXIT_OTHER);
			atomic_store(state->started, true);
		}
	await_start(state);
	exec_path("./tool");
}

/* ---- #! ---- */

static int write_script(const char *path, const char *interpreter, const char *argument)
{
	char text[PATH_MAX * 2];

	snprintf(text, sizeof(text), "#!%s %s\n", interpreter, argument);
	return write_file(path, text, 0755);
}

/* One script, whose interpreter's path is swapped. */
static int prepare_interpreter(struct attack_state *state)
{
	int err = make_twins(state);

	if (err == 0)
		err = make_links(state);
	if (err == 0)
		err = write_script(in_directory(state, HARMLESS "/script"), in_directory(state, "current/tool"), "");
	return err < 0 ? err : with_peer(state, peer_swaps_links);
}

static void peer_swaps_scripts(struct attack_state *state)
{
	exchange_forever(state, "notbidden/script", "notbidden/other");
}

/* Two scripts under one name, with different words in the #! line. */
static int prepare_script_argument(struct attack_state *state)
{
	int err = make_twins(state);

	if (err == 0)
		err = write_script(in_directory(state, HARMLESS "/script"), state->marker, harmless);
	if (err == 0)
		err = write_script(in_directory(state, HARMLESS "/other"), state->marker, harmful);
	return err < 0 ? err : with_peer(state, peer_swaps_scripts);
}

static void round_script(struct attack_state *state)
{
	await_start(state);
	exec_path(in_directory(state, HARMLESS "/script"));
}

const struct attack path_attacks[] = {
	{"symlink-swap", "verify", "a process swaps a symlink in the path", prepare_symlinks, round_symlinks},
	{"rename-swap", "verify", "a process moves a directory that the path leads through", prepare_moved_directory,
	 round_moved_directory},
	{"fd-swap", "freeze", "a thread replaces the fd that execveat runs", prepare_slots, round_thread_swaps_fd},
	{"shared-fds", "verify", "the same by a process that shares the fds only", prepare_slots, round_shared_fds},
	{"shared-cwd", "verify", "a process that shares the working directory", make_twins, round_shared_cwd},
	{"interpreter-swap", "verify", "the #! line's path is swapped", prepare_interpreter, round_script},
	{"script-swap", "verify", "scripts with other words in #! are swapped", prepare_script_argument, round_script},
	{0},
};
