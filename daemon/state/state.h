/* What must outlive us, in memory that does: a memfd that somebody else holds as well (keep.h). The jobs, the processes as far as
 * they must be recognised, and the notifications that were received and are not over.
 *
 * It is written with plain stores, on the exec path too: no system call, no lock, no allocation. A record carries a sum over its
 * contents that is written last and taken away first, so that being killed between any two stores leaves either all of it or
 * nothing. Numbers that change all the time are single words beside that.
 *
 * The layout has a version, and every kind of record its size, so that another version of sallyport can go on after an upgrade:
 * parts, each with a sum of its own, are only ever added at the end; who finds another version refuses. One thread (the engine's loop). */
#ifndef SP_STATE_STATE_H
#define SP_STATE_STATE_H

#include "inspect/approval.h"
#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct sp_state;

/* A new one. NULL with *e filled on failure. */
[[nodiscard]] struct sp_state *sp_state_new(struct sp_error *e);

/* The one that a predecessor left in fd, which is taken over, on failure too. NULL with *e filled: ENOTSUP for a version that we do not
 * know, EBADMSG for what is none. Where records have grown since, it is copied into a new one: sp_state_fd() is then another. */
[[nodiscard]] struct sp_state *sp_state_open(int fd, struct sp_error *e);
void sp_state_free(struct sp_state *state); /* the memory goes with its last fd; NULL is fine */

int sp_state_fd(const struct sp_state *state); /* stays the state's */
const uint64_t *sp_state_key(const struct sp_state *state); /* two words, of sums over what others chose */

/* A record's place; 0: none, and every function here does nothing with it. */
typedef uint32_t sp_record_place;

/* --- jobs --- */

enum { SP_STATE_NAME = 256, SP_STATE_OWNER = 512 };

/* What is known when it begins. */
struct sp_state_job {
	uint64_t id;
	int64_t started; /* CLOCK_REALTIME, ns */
	uint64_t wall_deadline; /* CLOCK_BOOTTIME, ns; 0: none */
	uint64_t policy_digest;
	uint32_t uid, generation; /* of the policy */
	int32_t root; /* pid */
	uint32_t one_shot, weaknesses;
	uint32_t filters; /* seccomp filters of the root; 0: not known */
	uint32_t owner_size;
	char policy_file[SP_STATE_NAME]; /* as sp_policy_file() */
	unsigned char owner[SP_STATE_OWNER]; /* whatever the job's owner wants to know of it afterwards */
};

/* Single words: each is good by itself. */
enum sp_state_number {
	SP_NUMBER_PROCESS, /* keys given out: written before they are used */
	SP_NUMBER_EXEC,
	SP_NUMBER_NOTIFICATION, /* id of the last one that was received */
	SP_NUMBER_KILLED,
	SP_NUMBER_ROOT_ENDED, /* 1: and its status is the next */
	SP_NUMBER_ROOT_STATUS,
	SP_NUMBER_EXECS, /* counts from here on */
	SP_NUMBER_DENIED,
	SP_NUMBER_FAILED,
	SP_NUMBER_MISMATCHES,
	SP_NUMBER_PROCESSES,
	SP_NUMBER_SURPLUS,
	SP_NUMBERS,
	SP_NUMBERS_MAX = 32 /* room */
};

sp_record_place sp_state_add_job(struct sp_state *state, const struct sp_state_job *job); /* 0: no room */
void sp_state_remove_job(struct sp_state *state, sp_record_place place); /* with what is left of its processes */
/* The next after place; *job is valid until the state is changed. 0: that was the last. */
sp_record_place sp_state_next_job(const struct sp_state *state, sp_record_place place, const struct sp_state_job **job);
void sp_state_set(struct sp_state *state, sp_record_place job, enum sp_state_number number, uint64_t value);
uint64_t sp_state_get(const struct sp_state *state, sp_record_place job, enum sp_state_number number);

/* --- processes --- */

struct sp_state_process {
	uint64_t job, key, parent; /* as in the audit trail */
	uint64_t seen; /* CLOCK_BOOTTIME, ns: it was alive then, so who has its pid and started later is another */
	int32_t pid;
	uint32_t reserved;
};

/* What runs in it, once that is known. */
struct sp_state_program {
	uint64_t generation;
	struct sp_approval approval;
};

sp_record_place sp_state_add_process(struct sp_state *state, const struct sp_state_process *process);
void sp_state_remove_process(struct sp_state *state, sp_record_place place);
void sp_state_set_program(struct sp_state *state, sp_record_place process, const struct sp_state_program *program);
/* False: not known. */
bool sp_state_get_program(const struct sp_state *state, sp_record_place process, struct sp_state_program *program);
sp_record_place sp_state_next_process(const struct sp_state *state, sp_record_place place,
				      const struct sp_state_process **process);

/* --- notifications in flight --- */

/* How far the gate had come says what has been written: */
struct sp_state_flight {
	uint64_t job, id, process; /* received */
	int32_t tid;
	uint32_t fork; /* 1: a fork of one-shot tracking */
};

sp_record_place sp_state_add_flight(struct sp_state *state, const struct sp_state_flight *flight);
/* It is going to be recorded under this key. */
void sp_state_judge(struct sp_state *state, sp_record_place flight, uint64_t exec);
/* It is going to be refused, and all that is to be recorded is. */
void sp_state_refuse(struct sp_state *state, sp_record_place flight);
/* It is going to be let go on. */
void sp_state_approve(struct sp_state *state, sp_record_place flight, const struct sp_approval *approval);
/* How it ended (enum sp_outcome, and the errno) is going to be recorded. */
void sp_state_conclude(struct sp_state *state, sp_record_place flight, uint32_t outcome, uint32_t err);
void sp_state_remove_flight(struct sp_state *state, sp_record_place flight); /* over */

struct sp_state_progress {
	uint64_t exec; /* 0: not judged */
	bool refused, approved, concluded;
	struct sp_approval approval;
	uint32_t outcome, err;
};
sp_record_place sp_state_next_flight(const struct sp_state *state, sp_record_place place,
				     const struct sp_state_flight **flight, struct sp_state_progress *progress);

/* CLOCK_BOOTTIME in ns, by which processes are recognised. No system call. */
uint64_t sp_state_now(void);

#endif
