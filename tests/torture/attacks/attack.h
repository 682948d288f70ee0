/* What the attacks have in common: the stage on which the race for an exec's words is played, files to swap, writers, and how
 * a round ends.
 *
 * A supervisor should refuse every exec with an argument "forbidden" and every file that lies under a name "forbidden", and
 * allow DIRECTORY/notbidden/... and MARKER. The two words differ in one aligned 32-bit word, which is what gets rewritten, so
 * that every value ever seen is one of the two. */
#ifndef SP_TESTS_TORTURE_ATTACK_H
#define SP_TESTS_TORTURE_ATTACK_H

#include "util/cleanup.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	RESULTS_FD = 9, /* where marker and intruder write */
	EXIT_REFUSED = 13, /* the exec was refused */
	EXIT_KILLED = 14, /* the process that asked was killed; its parent lives to tell */
	EXIT_OTHER = 15,
	EXIT_BLOCKED = 16, /* what the attack needs was refused before there was an exec */
	FEW_ROUNDS = 3, /* where nothing is left to chance */
};

#define HARMLESS "notbidden"
#define HARMFUL "forbidden"
extern const char harmless[sizeof(HARMLESS)], harmful[sizeof(HARMFUL)];

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
	_Alignas(4096) char page[4096]; /* for those who replace whole pages; last */
};

struct attack_state {
	struct stage *stage;
	_Atomic bool *started; /* shared: a writer outside the victim has made its first attempt */
	const char *marker, *intruder;
	char directory[PATH_MAX - 64]; /* the attack's own, removed at the end */
	int file; /* what a writer writes through, or -1 */
	int slots[3]; /* fds to swap: the one that is run, harmless, harmful */
	pid_t peer; /* one writer for all rounds, or -1 */
};

struct attack {
	const char *name;
	const char *stopped_by; /* the protection that is meant for it */
	const char *description;
	int (*prepare)(struct attack_state *state); /* once; 0 or -errno */
	void (*round)(struct attack_state *state); /* in a process of its own, leader of a group, that ends in it */
	long most_rounds; /* 0: as many as asked for */
	const char *(*cannot)(void); /* asked of an unsupervised process: why nobody can do this here; NULL: one can */
	long slowness; /* only one round in so many; 0: all */
};

/* Each ends with an entry without a name. */
extern const struct attack memory_attacks[], writer_attacks[], task_attacks[], path_attacks[], identity_attacks[],
	fuse_attacks[];

/* ---- the stage ---- */

int map_stage(struct attack_state *state, int flags, int fd);
void fill_stage(struct attack_state *state); /* MARKER notbidden */
int prepare_private(struct attack_state *state); /* both of these, in private memory */

uint32_t word_of(const char *text);
void flip_word(struct stage *stage);
void *flip_word_forever(void *stage);
void *flip_pointer_forever(void *stage);
void await_first_flip(struct stage *stage);
void await_start(struct attack_state *state);

/* ---- the exec ---- */

[[gnu::noreturn]] void exec_stage(struct stage *stage);
[[gnu::noreturn]] void exec_path(const char *path); /* without arguments */
[[gnu::noreturn]] void exec_at(int directory, const char *path, int flags);
[[gnu::noreturn]] void
end_refused(const char *what); /* an exec failed: by errno, that is its refusal or something else */
[[gnu::noreturn]] void end_blocked(const char *what); /* a means failed: by errno, it is blocked or something else */
[[gnu::noreturn]] void end_like(int status); /* as a victim did that is not the round's own process */
[[gnu::noreturn]] void end_like_victim(pid_t victim); /* waits for it */

/* ---- tasks ---- */

void start_thread(void *(*function)(void *), void *argument);
int with_peer(struct attack_state *state, void (*forever)(struct attack_state *)); /* state->peer; 0 or -errno */
pid_t start_victim(struct attack_state *state); /* execs the stage when *started; or does not return */
pid_t start_memory_sharer(unsigned long flags, struct stage *stage); /* clone(CLONE_VM | flags) that rewrites, or -1 */

/* ---- files: all 0 or -errno ---- */

int copy_file(const char *from, const char *to);
int write_file(const char *path, const char *text, mode_t mode);
int make_twins(
	struct attack_state *state); /* DIRECTORY/notbidden/tool is MARKER, DIRECTORY/forbidden/tool is INTRUDER */
int make_directories(const char *path); /* all that lead to its last component */
/* A path below the attack's directory, good until the fourth call after this one. */
[[gnu::format(printf, 2, 3)]] const char *in_directory(const struct attack_state *state, const char *format, ...);

#endif
