/* The index of tasks: every kernel thread of every supervised job, and which of them share memory.
 *
 * A task is a kernel thread id, a process a thread group. An mm group is the set of tasks that run in one address space: a
 * child made with CLONE_VM joins its parent's, any other gets one of its own, and so does an exec. "Who could change
 * this memory" is therefore a list, not a walk through /proc.
 *
 * One thread only (the tracer's). Allocation is from pools that are kept, so that forks without end do not grow. */
#ifndef SP_PROCINDEX_INDEX_H
#define SP_PROCINDEX_INDEX_H

#include "util/list.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct sp_job;
struct sp_gate;
struct sp_watch;

/* An address space. Fields: the index's, except those marked. */
struct sp_mm {
	struct sp_list tasks; /* struct sp_task.mm_link */
	uint32_t task_count;
	uint32_t holds; /* gate: while > 0, tasks of this mm that stop stay stopped */
};

struct sp_process {
	struct sp_job *job;
	struct sp_process *parent; /* nearest ancestor that is alive; NULL for the root of a job */
	struct sp_list children, sibling; /* struct sp_process.sibling */
	struct sp_list tasks; /* struct sp_task.process_link */
	struct sp_list job_link; /* in the job's list of processes */
	struct sp_watch *watch; /* tracker, one-shot: who tells of its end; NULL: the tracer itself */
	uint64_t key; /* 1, 2, 3, ... within the job: tells processes apart where pids repeat */
	pid_t tgid;
	uint32_t task_count;
	uint32_t generation; /* successful execs */
	int status; /* wait status of the leader, once seen */
	uint32_t record; /* job: its place in the state that outlives us; 0: none */
	bool one_shot; /* tracker: its threads are in the index only while something happens to them */
	bool group_stopped; /* tracker: the whole process is stopped by job control */
};

struct sp_task {
	struct sp_task *hash_next;
	struct sp_process *process; /* NULL while nobody has claimed a newborn */
	struct sp_mm *mm; /* NULL as process */
	struct sp_list process_link, mm_link;
	struct sp_gate *gate; /* gate: the exec this task is waiting for, or NULL */
	struct sp_task *vfork_parent; /* tracker: the task that the kernel suspends until this one execs or exits */
	struct sp_task *vfork_child; /* tracker: the reverse */
	union { /* tracker */
		uint64_t buried_at; /* milliseconds of the loop; for a mark that belongs to nobody */
		int resume_signal; /* with what to resume */
	};
	pid_t tid;
	uint8_t state; /* tracker */
	uint8_t resume; /* tracker: how to resume */
	uint8_t linger; /* tracker, one-shot: > 0: it has forked lately */
	bool traced; /* tracker: attached */
	bool interrupted; /* tracker: PTRACE_INTERRUPT sent, no stop seen since */
	bool was_stopped; /* tracker: by job control, since when it has not run */
	bool adopted; /* tracker: placed without its parent's word, which may still come */
};

struct sp_index;

[[nodiscard]] struct sp_index *sp_index_new(void); /* NULL: out of memory */
void sp_index_free(struct sp_index *index); /* with everything in it */

struct sp_task *sp_index_find(const struct sp_index *index, pid_t tid); /* NULL: not there */
size_t sp_index_size(const struct sp_index *index); /* tasks */

/* Adds a task that belongs to nobody yet (process and mm NULL). tid must not be in the index. NULL: out of memory. */
[[nodiscard]] struct sp_task *sp_index_add(struct sp_index *index, pid_t tid);

/* Gives a task its process and address space.
 * process_of NULL: a new process of the job, child of parent (NULL: root), with the given key. share: the task whose
 * address space it shares, NULL for one of its own. 0 or -ENOMEM (the task is then as before). */
[[nodiscard]] int sp_index_place(struct sp_index *index, struct sp_task *task, struct sp_process *process_of,
				 struct sp_process *parent, struct sp_job *job, uint64_t key, struct sp_task *share);

/* The task has an address space of its own from now on (exec). 0 or -ENOMEM. */
[[nodiscard]] int sp_index_new_mm(struct sp_index *index, struct sp_task *task);

/* The task goes on under another tid (a non-leader exec takes the leader's). new_tid must not be in the index. */
void sp_index_rename(struct sp_index *index, struct sp_task *task, pid_t new_tid);

/* Removes and frees the task. Returns its process if this was the last task of it: the process is then out of the tree,
 * its children are its parent's, and the caller frees it with sp_index_free_process(). */
struct sp_process *sp_index_remove(struct sp_index *index, struct sp_task *task);
void sp_index_free_process(struct sp_index *index, struct sp_process *process);

/* Calls visit for every task; visit may not change the index. */
void sp_index_each(const struct sp_index *index, void (*visit)(struct sp_task *task, void *context), void *context);

#endif
