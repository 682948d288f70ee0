/* The index of tasks: who is there, who shares memory with whom, who is whose child; and that it does not grow. */
#include "procindex/index.h"

#include "util/cleanup.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <malloc.h>

static void free_index(struct sp_index **index)
{
	sp_index_free(*index);
}

#define cleanup_index sp_cleanup(free_index)

static struct sp_index *must_new(void)
{
	struct sp_index *index = sp_index_new();

	cr_assert_not_null(index);
	return index;
}

/* A job is opaque to the index. */
static char placeholder;
#define OUR_JOB ((struct sp_job *)&placeholder)

static struct sp_task *add(struct sp_index *index, pid_t tid)
{
	struct sp_task *task = sp_index_add(index, tid);

	cr_assert_not_null(task);
	return task;
}

/* A new process, child of parent's (NULL: a root), which shares the memory of `share`. */
static struct sp_task *add_process(struct sp_index *index, pid_t tid, struct sp_task *parent, struct sp_task *share)
{
	struct sp_task *task = add(index, tid);

	cr_assert_eq(sp_index_place(index, task, NULL, parent != NULL ? parent->process : NULL, OUR_JOB, (uint64_t)tid,
				    share),
		     0);
	return task;
}

static struct sp_task *add_thread(struct sp_index *index, pid_t tid, struct sp_task *sibling)
{
	struct sp_task *task = add(index, tid);

	cr_assert_eq(sp_index_place(index, task, sibling->process, NULL, NULL, 0, sibling), 0);
	return task;
}

static void remove_last(struct sp_index *index, struct sp_task *task)
{
	struct sp_process *process = sp_index_remove(index, task);

	cr_assert_not_null(process);
	sp_index_free_process(index, process);
}

static size_t length(const struct sp_list *list)
{
	size_t count = 0;

	for (const struct sp_list *at = list->next; at != list; at = at->next)
		count++;
	return count;
}

static bool shares_memory(const struct sp_task *a, const struct sp_task *b)
{
	const struct sp_task *task;

	sp_list_each (task, &a->mm->tasks, mm_link)
		if (task == b)
			return true;
	return false;
}

Test(index, entries_are_small)
{
	cr_assert_leq(sizeof(struct sp_task), 256u);
}

Test(index, finds_what_was_added)
{
	cleanup_index struct sp_index *index = must_new();

	cr_assert_null(sp_index_find(index, 1));
	cr_assert_eq(sp_index_size(index), 0u);
	struct sp_task *task = add(index, 4711);
	cr_assert_eq(sp_index_find(index, 4711), task);
	cr_assert_null(sp_index_find(index, 4712));
	cr_assert_eq(sp_index_size(index), 1u);
	cr_assert_eq(task->tid, 4711);
	cr_assert_null(task->process);
	cr_assert_null(task->mm);
	cr_assert_null(task->gate);
	cr_assert_null(sp_index_remove(index, task), "it had no process");
	cr_assert_null(sp_index_find(index, 4711));
	cr_assert_eq(sp_index_size(index), 0u);
}

Test(index, freed_entries_come_back_clean)
{
	cleanup_index struct sp_index *index = must_new();

	for (int round = 0; round < 1000; round++) {
		struct sp_task *task = add_process(index, 10, NULL, NULL);
		cr_assert_null(task->gate);
		cr_assert_null(task->vfork_child);
		cr_assert_not(task->interrupted);
		cr_assert_eq(task->state, 0);
		cr_assert_eq(task->mm->holds, 0u);
		cr_assert_eq(task->process->generation, 0u);
		cr_assert_not(task->process->group_stopped);
		task->gate = (struct sp_gate *)task;
		task->interrupted = true;
		task->state = 9;
		task->mm->holds = 3;
		task->process->generation = 7;
		task->process->group_stopped = true;
		remove_last(index, task);
	}
}

Test(index, process_of_a_job)
{
	cleanup_index struct sp_index *index = must_new();
	struct sp_task *root = add_process(index, 10, NULL, NULL);
	struct sp_task *child = add_process(index, 11, root, NULL);
	struct sp_task *thread = add_thread(index, 12, child);

	cr_assert_eq(root->process->tgid, 10);
	cr_assert_null(root->process->parent);
	cr_assert_eq(child->process->parent, root->process);
	cr_assert_eq(child->process->job, OUR_JOB);
	cr_assert_eq(child->process->key, 11u);
	cr_assert_eq(child->process->task_count, 2u);
	cr_assert_eq(thread->process, child->process);
	cr_assert_eq(child->process->tgid, 11, "a thread changes nothing");
	cr_assert_eq(length(&root->process->children), 1u);
	cr_assert_eq(length(&child->process->tasks), 2u);
}

Test(index, last_task_ends_the_process)
{
	cleanup_index struct sp_index *index = must_new();
	struct sp_task *leader = add_process(index, 10, NULL, NULL);
	struct sp_task *thread = add_thread(index, 11, leader);
	struct sp_process *process = leader->process;

	cr_assert_null(sp_index_remove(index, leader), "a thread is left");
	cr_assert_eq(process->task_count, 1u);
	cr_assert_eq(length(&process->tasks), 1u);
	cr_assert_eq(sp_index_remove(index, thread), process);
	cr_assert_eq(process->tgid, 10);
	sp_index_free_process(index, process);
}

Test(index, who_shares_memory)
{
	cleanup_index struct sp_index *index = must_new();
	struct sp_task *root = add_process(index, 10, NULL, NULL);
	struct sp_task *thread = add_thread(index, 11, root);
	struct sp_task *forked = add_process(index, 12, root, NULL);
	struct sp_task *vforked = add_process(index, 13, thread, thread);
	struct sp_task *its_thread = add_thread(index, 14, vforked);

	cr_assert_eq(root->mm->task_count, 4u);
	cr_assert_eq(length(&root->mm->tasks), 4u);
	cr_assert(shares_memory(root, thread));
	cr_assert(shares_memory(root, vforked));
	cr_assert(shares_memory(its_thread, root));
	cr_assert_not(shares_memory(root, forked));
	cr_assert_eq(forked->mm->task_count, 1u);

	/* An exec: the others still share what it has left. */
	struct sp_mm *old = vforked->mm;
	cr_assert_null(sp_index_remove(index, its_thread));
	cr_assert_eq(sp_index_new_mm(index, vforked), 0);
	cr_assert_neq(vforked->mm, old);
	cr_assert_eq(vforked->mm->task_count, 1u);
	cr_assert_not(shares_memory(root, vforked));
	cr_assert_eq(root->mm, old);
	cr_assert_eq(old->task_count, 2u);

	/* What it forks afterwards shares with it, not with them. */
	struct sp_task *grandchild = add_process(index, 15, vforked, vforked);
	cr_assert(shares_memory(grandchild, vforked));
	cr_assert_not(shares_memory(grandchild, root));
}

Test(index, memory_outlives_the_one_who_made_it)
{
	cleanup_index struct sp_index *index = must_new();
	struct sp_task *root = add_process(index, 10, NULL, NULL);
	struct sp_task *vforked = add_process(index, 11, root, root);
	struct sp_mm *mm = root->mm;

	remove_last(index, root);
	cr_assert_eq(vforked->mm, mm);
	cr_assert_eq(mm->task_count, 1u);
	struct sp_task *other = add_process(index, 12, NULL, NULL);
	cr_assert_neq(other->mm, mm, "it is still used");
}

Test(index, rename_keeps_the_task)
{
	cleanup_index struct sp_index *index = must_new();
	struct sp_task *leader = add_process(index, 10, NULL, NULL);
	struct sp_task *thread = add_thread(index, 600, leader);
	struct sp_process *process = leader->process;

	/* exec by another thread than the leader */
	cr_assert_null(sp_index_remove(index, leader));
	sp_index_rename(index, thread, 10);
	cr_assert_eq(sp_index_find(index, 10), thread);
	cr_assert_null(sp_index_find(index, 600));
	cr_assert_eq(thread->tid, 10);
	cr_assert_eq(thread->process, process);
	cr_assert_eq(sp_index_size(index), 1u);
	struct sp_task *again = add(index, 600); /* the kernel may give the number to somebody else */
	cr_assert_eq(sp_index_find(index, 600), again);
}

Test(index, orphans_go_to_the_nearest_ancestor_that_lives)
{
	cleanup_index struct sp_index *index = must_new();
	struct sp_task *root = add_process(index, 1, NULL, NULL);
	struct sp_task *parent = add_process(index, 2, root, NULL);
	struct sp_task *middle = add_process(index, 3, parent, NULL);
	struct sp_task *a = add_process(index, 4, middle, NULL), *b = add_process(index, 5, middle, NULL);

	remove_last(index, middle);
	cr_assert_eq(a->process->parent, parent->process);
	cr_assert_eq(b->process->parent, parent->process);
	cr_assert_eq(length(&parent->process->children), 2u);
	remove_last(index, parent);
	cr_assert_eq(a->process->parent, root->process);
	cr_assert_eq(length(&root->process->children), 2u);
	remove_last(index, a);
	cr_assert_eq(length(&root->process->children), 1u);
	remove_last(index, root);
	cr_assert_null(b->process->parent, "nobody is left");
	remove_last(index, b);
	cr_assert_eq(sp_index_size(index), 0u);
}

Test(index, gone_process_is_in_no_list)
{
	cleanup_index struct sp_index *index = must_new();
	struct sp_list processes;
	struct sp_task *root = add_process(index, 1, NULL, NULL), *child = add_process(index, 2, root, NULL);

	sp_list_init(&processes);
	sp_list_add(&processes, &root->process->job_link);
	sp_list_add(&processes, &child->process->job_link);
	struct sp_process *gone = sp_index_remove(index, child);
	cr_assert_eq(length(&processes), 1u);
	cr_assert(sp_list_empty(&root->process->children));
	sp_index_free_process(index, gone);
}

Test(index, vfork_pair_forgets_whoever_dies)
{
	cleanup_index struct sp_index *index = must_new();
	struct sp_task *parent = add_process(index, 1, NULL, NULL), *child = add_process(index, 2, parent, parent);

	parent->vfork_child = child;
	child->vfork_parent = parent;
	remove_last(index, child);
	cr_assert_null(parent->vfork_child);
	child = add_process(index, 3, parent, parent);
	parent->vfork_child = child;
	child->vfork_parent = parent;
	remove_last(index, parent); /* killed while it was suspended */
	cr_assert_null(child->vfork_parent);
}

static void count_task(struct sp_task *task, void *context)
{
	unsigned char *seen = context;

	seen[task->tid]++;
}

Test(index, visits_each_once)
{
	enum { TASKS = 5000 };
	static unsigned char seen[TASKS + 1];
	cleanup_index struct sp_index *index = must_new();

	for (pid_t tid = 1; tid <= TASKS; tid++)
		(void)add(index, tid);
	sp_index_each(index, count_task, seen);
	for (pid_t tid = 1; tid <= TASKS; tid++)
		cr_assert_eq(seen[tid], 1, "task %d: %d times", tid, seen[tid]);
}

/* tids with the same low bits: one chain, however many buckets there are. */
Test(index, collisions)
{
	enum { TASKS = 1000, STEP = 1 << 20 };
	cleanup_index struct sp_index *index = must_new();
	struct sp_task *task[TASKS];

	for (int i = 0; i < TASKS; i++)
		task[i] = add(index, i * STEP + 7);
	for (int i = 0; i < TASKS; i++)
		cr_assert_eq(sp_index_find(index, i * STEP + 7), task[i]);
	cr_assert_null(sp_index_find(index, TASKS * STEP + 7));
	/* from the ends and the middle of the chain */
	for (int i = 0; i < TASKS; i += 3)
		cr_assert_null(sp_index_remove(index, task[i]));
	for (int i = 0; i < TASKS; i++)
		cr_assert_eq(sp_index_find(index, i * STEP + 7), i % 3 == 0 ? NULL : task[i]);
}

Test(index, a_hundred_thousand_at_once)
{
	enum { TASKS = 100000 };
	cleanup_index struct sp_index *index = must_new();
	struct sp_task *root = add_process(index, 1, NULL, NULL);

	for (pid_t tid = 2; tid <= TASKS; tid++)
		(void)(tid % 2 == 0 ? add_process(index, tid, root, NULL) : add_thread(index, tid, root));
	cr_assert_eq(sp_index_size(index), (size_t)TASKS);
	for (pid_t tid = 1; tid <= TASKS; tid++) {
		const struct sp_task *task = sp_index_find(index, tid);
		cr_assert(task != NULL && task->tid == tid, "task %d", tid);
	}
	cr_assert_eq(length(&root->process->children), TASKS / 2u);
	cr_assert_eq(root->mm->task_count, TASKS / 2u);
	for (pid_t tid = TASKS; tid >= 1; tid--) {
		struct sp_process *process = sp_index_remove(index, sp_index_find(index, tid));
		if (process != NULL)
			sp_index_free_process(index, process);
	}
	cr_assert_eq(sp_index_size(index), 0u);
}

/* Short-lived processes of a few threads without end, as a build makes them. */
static void come_and_go(struct sp_index *index, struct sp_task *root, pid_t *next, int count)
{
	for (int i = 0; i < count; i += 4) {
		struct sp_task *leader = add_process(index, (*next)++, root, root);
		struct sp_task *thread = add_thread(index, (*next)++, leader);

		cr_assert_eq(sp_index_new_mm(index, leader), 0);
		cr_assert_null(sp_index_remove(index, thread));
		struct sp_task *child = add_process(index, (*next)++, leader, NULL);
		remove_last(index, leader);
		struct sp_task *grandchild = add_process(index, (*next)++, child, child);
		remove_last(index, grandchild);
		remove_last(index, child);
	}
}

Test(index, does_not_grow)
{
	cleanup_index struct sp_index *index = must_new();
	struct sp_task *root = add_process(index, 1, NULL, NULL);
	pid_t next = 2;

	come_and_go(index, root, &next, 1000);
	size_t before = mallinfo2().uordblks;
	come_and_go(index, root, &next, 1000000);
	cr_assert_eq(sp_index_size(index), 1u);
	cr_assert(sp_list_empty(&root->process->children));
	cr_assert_eq(root->mm->task_count, 1u);
	cr_assert_eq(mallinfo2().uordblks, before, "%zu bytes more", mallinfo2().uordblks - before);
}
