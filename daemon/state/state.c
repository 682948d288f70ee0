/* See state.h: a header and three tables of records. Which places are free is known by us alone, and found anew by a successor. */
#include "state/state.h"

#include "util/cleanup.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

enum { VERSION = 1 };
#define MAGIC "sallyprt"

/* The file is sparse: what is not used takes no memory. */
enum kind { JOB, PROCESS, FLIGHT, KINDS };
static const uint32_t counts[KINDS] = {[JOB] = 4096, [PROCESS] = 262144, [FLIGHT] = 16384};

struct table {
	uint32_t size, count; /* of a record; of records */
	uint64_t offset;
};

struct head {
	char magic[8];
	uint32_t version, size; /* of this */
	uint64_t key[2];
	struct table table[KINDS];
	uint64_t total;
	uint64_t sum; /* of all that is above */
};

struct job_record {
	uint64_t sum; /* 0: free, or being written */
	struct sp_state_job job;
	_Atomic(uint64_t) number[SP_NUMBERS_MAX];
};

struct process_record {
	uint64_t sum;
	struct sp_state_process process;
	uint64_t program_sum;
	struct sp_state_program program;
};

#define REFUSED (UINT64_C(1) << 63)
#define CONCLUDED (UINT64_C(1) << 63)

struct flight_record {
	uint64_t sum;
	struct sp_state_flight flight;
	uint64_t exec; /* a key, and perhaps REFUSED */
	uint64_t outcome; /* CONCLUDED, outcome, errno */
	uint64_t approval_sum;
	struct sp_approval approval;
};

static const uint32_t sizes[KINDS] = {[JOB] = sizeof(struct job_record),
				      [PROCESS] = sizeof(struct process_record),
				      [FLIGHT] = sizeof(struct flight_record)};

struct places {
	sp_record_place *free; /* the lowest last, so that little memory is touched */
	uint32_t count;
	uint32_t fresh; /* from here on no place has been used yet */
};

struct sp_state {
	int fd;
	unsigned char *base;
	size_t size;
	struct places places[KINDS];
};

static void free_state(struct sp_state **state)
{
	sp_state_free(*state);
}

/* --- records --- */

static const struct head *head(const struct sp_state *s)
{
	return (const struct head *)s->base;
}

static void *at(const struct sp_state *s, enum kind kind, sp_record_place place)
{
	const struct table *t = &head(s)->table[kind];

	return s->base + t->offset + (size_t)(place - 1) * t->size;
}

/* Every record begins with its sum. */
static uint64_t *sum_of(const struct sp_state *s, enum kind kind, sp_record_place place)
{
	return at(s, kind, place);
}

/* Against what was half written or overwritten, not against people. Never 0. */
static uint64_t sum(const void *bytes, size_t size)
{
	const unsigned char *p = bytes;
	uint64_t hash = UINT64_C(0x9e3779b97f4a7c15) + size, word;

	for (size_t i = 0; i + sizeof word <= size; i += sizeof word) {
		memcpy(&word, p + i, sizeof word);
		hash = (hash ^ word) * UINT64_C(0xff51afd7ed558ccd);
		hash ^= hash >> 32;
	}
	return hash | 1;
}

/* We are killed between two stores of one thread: their order in the program is all that counts. */
static inline void then(void)
{
	atomic_signal_fence(memory_order_seq_cst);
}

static void write_part(uint64_t *its_sum, void *to, const void *from, size_t size)
{
	*its_sum = 0;
	then();
	memcpy(to, from, size);
	then();
	*its_sum = sum(from, size);
	then();
}

static void clear(uint64_t *word)
{
	*word = 0;
	then();
}

static sp_record_place take_place(struct sp_state *s, enum kind kind)
{
	struct places *p = &s->places[kind];

	if (p->count > 0)
		return p->free[--p->count];
	return p->fresh < head(s)->table[kind].count ? ++p->fresh : 0;
}

static void give_place(struct sp_state *s, enum kind kind, sp_record_place place)
{
	clear(sum_of(s, kind, place));
	s->places[kind].free[s->places[kind].count++] = place;
}

static sp_record_place next_place(const struct sp_state *s, enum kind kind, sp_record_place place)
{
	while (place < s->places[kind].fresh)
		if (*sum_of(s, kind, ++place) != 0)
			return place;
	return 0;
}

/* --- the file --- */

static struct sp_state *map(int fd, size_t size, struct sp_error *e)
{
	cleanup_close int owned = fd;
	sp_cleanup(free_state) struct sp_state *s = calloc(1, sizeof *s);

	if (s == NULL) {
		sp_fail(e, ENOMEM, "out of memory");
		return NULL;
	}
	s->fd = -1;
	s->base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, owned, 0);
	if (s->base == MAP_FAILED) {
		s->base = NULL;
		sp_fail(e, errno, "cannot map the state: %s", strerror(errno));
		return NULL;
	}
	s->size = size;
	s->fd = sp_steal_fd(&owned);
	return sp_steal_ptr(s);
}

static int allocate_places(struct sp_state *s, struct sp_error *e)
{
	for (enum kind kind = 0; kind < KINDS; kind++) {
		/* Untouched pages of it cost nothing either. */
		s->places[kind].free = malloc(head(s)->table[kind].count * sizeof *s->places[kind].free);
		if (s->places[kind].free == NULL)
			return sp_fail(e, ENOMEM, "out of memory");
	}
	return 0;
}

static int make_file(size_t size, struct sp_error *e)
{
	cleanup_close int fd = memfd_create("sallyport-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)size) != 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
		return sp_fail(e, errno, "cannot make the state: %s", strerror(errno));
	return sp_steal_fd(&fd);
}

struct sp_state *sp_state_new(struct sp_error *e)
{
	struct head h = {.version = VERSION, .size = sizeof h};
	uint64_t end = 4096;

	memcpy(h.magic, MAGIC, sizeof h.magic);
	if (getrandom(h.key, sizeof h.key, 0) != (ssize_t)sizeof h.key) {
		sp_fail(e, errno, "no random numbers: %s", strerror(errno));
		return NULL;
	}
	for (enum kind kind = 0; kind < KINDS; kind++) {
		h.table[kind] = (struct table){.size = sizes[kind], .count = counts[kind], .offset = end};
		end += ((uint64_t)sizes[kind] * counts[kind] + 4095) / 4096 * 4096;
	}
	h.total = end;
	h.sum = sum(&h, offsetof(struct head, sum));
	int fd = make_file(end, e);
	sp_cleanup(free_state) struct sp_state *s = fd >= 0 ? map(fd, end, e) : NULL;
	if (s == NULL)
		return NULL;
	memcpy(s->base, &h, sizeof h);
	return allocate_places(s, e) == 0 ? sp_steal_ptr(s) : NULL;
}

static bool is_sound(const struct head *h, off_t size)
{
	if (memcmp(h->magic, MAGIC, sizeof h->magic) != 0 || h->sum != sum(h, offsetof(struct head, sum)) ||
	    h->total > (uint64_t)size)
		return false;
	for (enum kind kind = 0; kind < KINDS; kind++) {
		const struct table *t = &h->table[kind];

		if (t->size < sizeof(uint64_t) || t->size % 8 != 0 || t->size > 1u << 16 || t->count > 1u << 24 ||
		    t->offset % 8 != 0 || t->offset > h->total || (uint64_t)t->size * t->count > h->total - t->offset)
			return false;
	}
	return true;
}

/* Which places are taken. A hole in the file was never written to. */
static void find_places(struct sp_state *s, enum kind kind)
{
	const struct table *t = &head(s)->table[kind];
	struct places *p = &s->places[kind];
	off_t data = (off_t)t->offset;
	const off_t end = data + (off_t)t->size * t->count;

	while ((data = lseek(s->fd, data, SEEK_DATA)) >= 0 && data < end) {
		off_t hole = lseek(s->fd, data, SEEK_HOLE);

		hole = hole < 0 || hole > end ? end : hole;
		p->fresh = (uint32_t)(((uint64_t)hole - t->offset + t->size - 1) / t->size);
		data = hole;
	}
	for (sp_record_place place = p->fresh; place > 0; place--)
		if (*sum_of(s, kind, place) == 0)
			p->free[p->count++] = place;
}

/* Of a version with smaller records: the same in a file of our own. What it did not know is a part at the end, with a sum of its own
 * that is 0 here. */
static struct sp_state *copy(const struct sp_state *old, struct sp_error *e)
{
	sp_cleanup(free_state) struct sp_state *s = sp_state_new(e);

	if (s == NULL)
		return NULL;
	struct head h = *head(s);
	memcpy(h.key, head(old)->key, sizeof h.key);
	h.sum = sum(&h, offsetof(struct head, sum));
	memcpy(s->base, &h, sizeof h);
	for (enum kind kind = 0; kind < KINDS; kind++) {
		const uint32_t size = head(old)->table[kind].size;

		for (sp_record_place from = 0; (from = next_place(old, kind, from)) != 0;) {
			const sp_record_place to = take_place(s, kind);
			if (to == 0) {
				sp_fail(e, ENOSPC, "the state of another version does not fit into ours");
				return NULL;
			}
			memcpy(at(s, kind, to), at(old, kind, from), size < sizes[kind] ? size : sizes[kind]);
		}
	}
	return sp_steal_ptr(s);
}

struct sp_state *sp_state_open(int fd, struct sp_error *e)
{
	struct stat st;
	struct head h;

	if (fstat(fd, &st) != 0 || pread(fd, &h, sizeof h, 0) != (ssize_t)sizeof h ||
	    memcmp(h.magic, MAGIC, sizeof h.magic) != 0) {
		(void)close(fd);
		sp_fail(e, EBADMSG, "what was kept for us is no state of sallyport");
		return NULL;
	}
	if (h.version != VERSION) {
		(void)close(fd);
		sp_fail(e, ENOTSUP, "the state was left by another version of sallyport: layout %u, we know %d",
			h.version, VERSION);
		return NULL;
	}
	/* A file that somebody else can make shorter kills who looks at it. */
	const int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
		(void)close(fd);
		sp_fail(e, EBADMSG, "the state is in a file that can be made shorter: it is not of our making");
		return NULL;
	}
	if (!is_sound(&h, st.st_size)) {
		(void)close(fd);
		sp_fail(e, EBADMSG, "the state is damaged");
		return NULL;
	}
	sp_cleanup(free_state) struct sp_state *s = map(fd, (size_t)h.total, e);
	if (s == NULL || allocate_places(s, e) != 0)
		return NULL;
	bool smaller = false;
	for (enum kind kind = 0; kind < KINDS; kind++) {
		find_places(s, kind);
		smaller |= h.table[kind].size < sizes[kind];
	}
	return smaller ? copy(s, e) : sp_steal_ptr(s);
}

void sp_state_free(struct sp_state *s)
{
	if (s == NULL)
		return;
	if (s->base != NULL)
		(void)munmap(s->base, s->size);
	sp_close_fd(&s->fd);
	for (enum kind kind = 0; kind < KINDS; kind++)
		free(s->places[kind].free);
	free(s);
}

int sp_state_fd(const struct sp_state *s)
{
	return s->fd;
}

const uint64_t *sp_state_key(const struct sp_state *s)
{
	return head(s)->key;
}

uint64_t sp_state_now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* --- jobs --- */

sp_record_place sp_state_add_job(struct sp_state *s, const struct sp_state_job *job)
{
	sp_record_place place = take_place(s, JOB);
	struct job_record *r = place != 0 ? at(s, JOB, place) : NULL;

	if (r == NULL)
		return 0;
	clear(&r->sum);
	memset(r->number, 0, sizeof r->number);
	write_part(&r->sum, &r->job, job, sizeof *job);
	return place;
}

void sp_state_remove_job(struct sp_state *s, sp_record_place place)
{
	const struct job_record *job = place != 0 ? at(s, JOB, place) : NULL;

	if (job == NULL)
		return;
	for (sp_record_place p = 0; (p = next_place(s, PROCESS, p)) != 0;)
		if (((const struct process_record *)at(s, PROCESS, p))->process.job == job->job.id)
			give_place(s, PROCESS, p);
	for (sp_record_place p = 0; (p = next_place(s, FLIGHT, p)) != 0;)
		if (((const struct flight_record *)at(s, FLIGHT, p))->flight.job == job->job.id)
			give_place(s, FLIGHT, p);
	give_place(s, JOB, place);
}

sp_record_place sp_state_next_job(const struct sp_state *s, sp_record_place place, const struct sp_state_job **job)
{
	while ((place = next_place(s, JOB, place)) != 0) {
		const struct job_record *r = at(s, JOB, place);

		*job = &r->job;
		if (r->sum == sum(&r->job, sizeof r->job))
			return place;
	}
	return 0;
}

void sp_state_set(struct sp_state *s, sp_record_place job, enum sp_state_number number, uint64_t value)
{
	if (job == 0)
		return;
	struct job_record *r = at(s, JOB, job);
	atomic_store_explicit(&r->number[number], value, memory_order_relaxed);
	then();
}

uint64_t sp_state_get(const struct sp_state *s, sp_record_place job, enum sp_state_number number)
{
	return job != 0 ? atomic_load_explicit(&((struct job_record *)at(s, JOB, job))->number[number],
					       memory_order_relaxed)
			: 0;
}

/* --- processes --- */

sp_record_place sp_state_add_process(struct sp_state *s, const struct sp_state_process *process)
{
	sp_record_place place = take_place(s, PROCESS);
	struct process_record *r = place != 0 ? at(s, PROCESS, place) : NULL;

	if (r == NULL)
		return 0;
	clear(&r->sum);
	clear(&r->program_sum);
	write_part(&r->sum, &r->process, process, sizeof *process);
	return place;
}

void sp_state_remove_process(struct sp_state *s, sp_record_place place)
{
	if (place != 0)
		give_place(s, PROCESS, place);
}

void sp_state_set_program(struct sp_state *s, sp_record_place place, const struct sp_state_program *program)
{
	struct process_record *r = place != 0 ? at(s, PROCESS, place) : NULL;

	if (r != NULL)
		write_part(&r->program_sum, &r->program, program, sizeof *program);
}

bool sp_state_get_program(const struct sp_state *s, sp_record_place place, struct sp_state_program *program)
{
	const struct process_record *r = place != 0 ? at(s, PROCESS, place) : NULL;

	if (r == NULL || r->program_sum != sum(&r->program, sizeof r->program))
		return false;
	*program = r->program;
	return true;
}

sp_record_place sp_state_next_process(const struct sp_state *s, sp_record_place place,
				      const struct sp_state_process **process)
{
	while ((place = next_place(s, PROCESS, place)) != 0) {
		const struct process_record *r = at(s, PROCESS, place);

		*process = &r->process;
		if (r->sum == sum(&r->process, sizeof r->process))
			return place;
	}
	return 0;
}

/* --- notifications in flight --- */

sp_record_place sp_state_add_flight(struct sp_state *s, const struct sp_state_flight *flight)
{
	sp_record_place place = take_place(s, FLIGHT);
	struct flight_record *r = place != 0 ? at(s, FLIGHT, place) : NULL;

	if (r == NULL)
		return 0;
	clear(&r->sum);
	r->exec = r->outcome = r->approval_sum = 0;
	write_part(&r->sum, &r->flight, flight, sizeof *flight);
	return place;
}

void sp_state_judge(struct sp_state *s, sp_record_place flight, uint64_t exec)
{
	if (flight == 0)
		return;
	((struct flight_record *)at(s, FLIGHT, flight))->exec = exec;
	then();
}

void sp_state_refuse(struct sp_state *s, sp_record_place flight)
{
	if (flight == 0)
		return;
	((struct flight_record *)at(s, FLIGHT, flight))->exec |= REFUSED;
	then();
}

void sp_state_approve(struct sp_state *s, sp_record_place flight, const struct sp_approval *approval)
{
	struct flight_record *r = flight != 0 ? at(s, FLIGHT, flight) : NULL;

	if (r != NULL)
		write_part(&r->approval_sum, &r->approval, approval, sizeof *approval);
}

void sp_state_conclude(struct sp_state *s, sp_record_place flight, uint32_t outcome, uint32_t err)
{
	if (flight == 0)
		return;
	((struct flight_record *)at(s, FLIGHT, flight))->outcome = CONCLUDED | (uint64_t)outcome << 32 | err;
	then();
}

void sp_state_remove_flight(struct sp_state *s, sp_record_place flight)
{
	if (flight != 0)
		give_place(s, FLIGHT, flight);
}

sp_record_place sp_state_next_flight(const struct sp_state *s, sp_record_place place,
				     const struct sp_state_flight **flight, struct sp_state_progress *progress)
{
	while ((place = next_place(s, FLIGHT, place)) != 0) {
		const struct flight_record *r = at(s, FLIGHT, place);

		if (r->sum != sum(&r->flight, sizeof r->flight))
			continue;
		*flight = &r->flight;
		*progress = (struct sp_state_progress){
			.exec = r->exec & ~REFUSED,
			.refused = (r->exec & REFUSED) != 0,
			.approved = r->approval_sum == sum(&r->approval, sizeof r->approval),
			.concluded = (r->outcome & CONCLUDED) != 0,
			.approval = r->approval,
			.outcome = (uint32_t)(r->outcome >> 32) & 0x7fffffff,
			.err = (uint32_t)r->outcome,
		};
		return place;
	}
	return 0;
}
