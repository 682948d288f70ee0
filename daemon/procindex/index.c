/* See index.h: a hash of tids, lists of tasks by process and by address space, and pools. */
#include "procindex/index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What lies in a pool is nobody's, and AddressSanitizer is told so. */
#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define SP_HAS_ASAN
#endif
#endif
#if defined SP_HAS_ASAN || defined __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

enum { FIRST_BUCKETS = 256, SLAB = 64 };

/* Objects of one size; freed ones are kept for the next. Slabs go when the pool goes. */
struct pool {
	size_t size;
	void *free; /* singly linked through the first word */
	void **slabs;
	size_t slab_count;
};

struct sp_index {
	struct sp_task **buckets;
	size_t bucket_count; /* a power of two */
	size_t size;
	struct pool tasks, processes, mms;
};

static void *pool_get(struct pool *p);
static void pool_put(struct pool *p, void *object);
static void pool_clear(struct pool *p);
static void leave_mm(struct sp_index *index, struct sp_task *task);
static struct sp_task **slot(const struct sp_index *index, pid_t tid);
static void grow(struct sp_index *index);

struct sp_index *sp_index_new(void)
{
	struct sp_index *index = calloc(1, sizeof *index);

	if (index == NULL)
		return NULL;
	index->buckets = calloc(FIRST_BUCKETS, sizeof *index->buckets);
	if (index->buckets == NULL) {
		free(index);
		return NULL;
	}
	index->bucket_count = FIRST_BUCKETS;
	index->tasks.size = sizeof(struct sp_task);
	index->processes.size = sizeof(struct sp_process);
	index->mms.size = sizeof(struct sp_mm);
	return index;
}

void sp_index_free(struct sp_index *index)
{
	if (index == NULL)
		return;
	pool_clear(&index->tasks);
	pool_clear(&index->processes);
	pool_clear(&index->mms);
	free(index->buckets);
	free(index);
}

struct sp_task *sp_index_find(const struct sp_index *index, pid_t tid)
{
	struct sp_task *task = *slot(index, tid);

	while (task != NULL && task->tid != tid)
		task = task->hash_next;
	return task;
}

size_t sp_index_size(const struct sp_index *index)
{
	return index->size;
}

static void hash_insert(struct sp_index *index, struct sp_task *task)
{
	struct sp_task **head = slot(index, task->tid);

	task->hash_next = *head;
	*head = task;
}

static void hash_remove(struct sp_index *index, struct sp_task *task)
{
	struct sp_task **at = slot(index, task->tid);

	while (*at != task)
		at = &(*at)->hash_next;
	*at = task->hash_next;
}

struct sp_task *sp_index_add(struct sp_index *index, pid_t tid)
{
	struct sp_task *task = pool_get(&index->tasks);

	if (task == NULL)
		return NULL;
	task->tid = tid;
	sp_list_init(&task->process_link);
	sp_list_init(&task->mm_link);
	if (index->size >= index->bucket_count)
		grow(index);
	hash_insert(index, task);
	index->size++;
	return task;
}

static void join_mm(struct sp_task *task, struct sp_mm *mm)
{
	task->mm = mm;
	sp_list_add(&mm->tasks, &task->mm_link);
	mm->task_count++;
}

static struct sp_mm *new_mm(struct sp_index *index)
{
	struct sp_mm *mm = pool_get(&index->mms);

	if (mm == NULL)
		return NULL;
	sp_list_init(&mm->tasks);
	return mm;
}

static struct sp_process *new_process(struct sp_index *index, pid_t tgid, struct sp_process *parent, struct sp_job *job,
				      uint64_t key)
{
	struct sp_process *process = pool_get(&index->processes);

	if (process == NULL)
		return NULL;
	sp_list_init(&process->children);
	sp_list_init(&process->sibling);
	sp_list_init(&process->tasks);
	sp_list_init(&process->job_link);
	process->tgid = tgid;
	process->job = job;
	process->key = key;
	process->parent = parent;
	if (parent != NULL)
		sp_list_add(&parent->children, &process->sibling);
	return process;
}

int sp_index_place(struct sp_index *index, struct sp_task *task, struct sp_process *process_of,
		   struct sp_process *parent, struct sp_job *job, uint64_t key, struct sp_task *share)
{
	struct sp_mm *mm = share != NULL ? share->mm : new_mm(index);

	if (mm == NULL)
		return -ENOMEM;
	if (process_of == NULL) {
		process_of = new_process(index, task->tid, parent, job, key);
		if (process_of == NULL) {
			if (share == NULL)
				pool_put(&index->mms, mm);
			return -ENOMEM;
		}
	}
	task->process = process_of;
	sp_list_add(&process_of->tasks, &task->process_link);
	process_of->task_count++;
	join_mm(task, mm);
	return 0;
}

int sp_index_new_mm(struct sp_index *index, struct sp_task *task)
{
	struct sp_mm *mm = new_mm(index);

	if (mm == NULL)
		return -ENOMEM;
	leave_mm(index, task);
	join_mm(task, mm);
	return 0;
}

void sp_index_rename(struct sp_index *index, struct sp_task *task, pid_t new_tid)
{
	hash_remove(index, task);
	task->tid = new_tid;
	hash_insert(index, task);
}

static void leave_tree(struct sp_process *process)
{
	struct sp_process *child, *next;

	sp_list_each_safe (child, next, &process->children, sibling) {
		sp_list_del(&child->sibling);
		child->parent = process->parent;
		if (child->parent != NULL)
			sp_list_add(&child->parent->children, &child->sibling);
	}
	sp_list_del(&process->sibling);
	sp_list_del(&process->job_link);
}

struct sp_process *sp_index_remove(struct sp_index *index, struct sp_task *task)
{
	struct sp_process *process = task->process;

	if (task->vfork_parent != NULL)
		task->vfork_parent->vfork_child = NULL;
	if (task->vfork_child != NULL)
		task->vfork_child->vfork_parent = NULL;
	if (task->mm != NULL)
		leave_mm(index, task);
	sp_list_del(&task->process_link);
	hash_remove(index, task);
	index->size--;
	pool_put(&index->tasks, task);
	if (process == NULL || --process->task_count > 0)
		return NULL;
	leave_tree(process);
	return process;
}

void sp_index_free_process(struct sp_index *index, struct sp_process *process)
{
	pool_put(&index->processes, process);
}

void sp_index_each(const struct sp_index *index, void (*visit)(struct sp_task *task, void *context), void *context)
{
	for (size_t i = 0; i < index->bucket_count; i++)
		for (struct sp_task *task = index->buckets[i]; task != NULL; task = task->hash_next)
			visit(task, context);
}

static void leave_mm(struct sp_index *index, struct sp_task *task)
{
	struct sp_mm *mm = task->mm;

	sp_list_del(&task->mm_link);
	task->mm = NULL;
	if (--mm->task_count == 0)
		pool_put(&index->mms, mm);
}

static struct sp_task **slot(const struct sp_index *index, pid_t tid)
{
	/* tids are handed out one after the other: their low bits are as good as any hash */
	return &index->buckets[(size_t)tid & (index->bucket_count - 1)];
}

/* Doubles the buckets; without memory for it the chains just get longer. */
static void grow(struct sp_index *index)
{
	struct sp_task **old = index->buckets;
	size_t old_count = index->bucket_count;
	struct sp_task **buckets = calloc(old_count * 2, sizeof *buckets);

	if (buckets == NULL)
		return;
	index->buckets = buckets;
	index->bucket_count = old_count * 2;
	for (size_t i = 0; i < old_count; i++) {
		struct sp_task *next;

		for (struct sp_task *task = old[i]; task != NULL; task = next) {
			next = task->hash_next;
			hash_insert(index, task);
		}
	}
	free(old);
}

static bool pool_refill(struct pool *p)
{
	void **slabs = realloc(p->slabs, (p->slab_count + 1) * sizeof *slabs);

	if (slabs == NULL)
		return false;
	p->slabs = slabs;
	char *slab = malloc(SLAB * p->size);
	if (slab == NULL)
		return false;
	slabs[p->slab_count++] = slab;
	for (size_t i = 0; i < SLAB; i++)
		pool_put(p, slab + i * p->size);
	return true;
}

static void *pool_get(struct pool *p)
{
	if (p->free == NULL && !pool_refill(p))
		return NULL;
	void *object = p->free;
	ASAN_UNPOISON_MEMORY_REGION(object, p->size);
	memcpy(&p->free, object, sizeof p->free);
	memset(object, 0, p->size);
	return object;
}

static void pool_put(struct pool *p, void *object)
{
	memcpy(object, &p->free, sizeof p->free);
	p->free = object;
	ASAN_POISON_MEMORY_REGION(object, p->size);
}

static void pool_clear(struct pool *p)
{
	for (size_t i = 0; i < p->slab_count; i++)
		free(p->slabs[i]);
	free(p->slabs);
}
