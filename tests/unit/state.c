/* What outlives us: it reads back as it was written, also by a successor of another version and from one killed between any two
 * instructions; and what is no state of ours is refused. */
#include "state/state.h"

#include "child.h"
#include "util/cleanup.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void free_state(struct sp_state **state)
{
	sp_state_free(*state);
}

#define cleanup_state sp_cleanup(free_state)

static struct sp_state *must_new(void)
{
	struct sp_error e = {0};
	struct sp_state *s = sp_state_new(&e);

	cr_assert_not_null(s, "%s", e.text);
	return s;
}

/* As a successor finds it. */
static struct sp_state *must_open(const struct sp_state *left)
{
	struct sp_error e = {0};
	struct sp_state *s = sp_state_open(fcntl(sp_state_fd(left), F_DUPFD_CLOEXEC, 0), &e);

	cr_assert_not_null(s, "%s", e.text);
	return s;
}

static struct sp_state_job job_of(uint64_t id)
{
	struct sp_state_job job = {.id = id, .started = 5, .uid = 1000, .root = 77, .owner_size = SP_STATE_OWNER};

	(void)strcpy(job.policy_file, "/etc/sallyport/policies/build.yaml");
	memset(job.owner, (int)(id | 0x40), sizeof job.owner);
	return job;
}

static struct sp_state_process process_of(uint64_t job, uint64_t key)
{
	return (struct sp_state_process){.job = job, .key = key, .parent = key - 1, .seen = 99, .pid = (int)key + 100};
}

static struct sp_state_program program_of(uint64_t fill)
{
	return (struct sp_state_program){
		.generation = fill,
		.approval = {fill, fill + 1, fill + 2, fill + 3, fill + 4, fill + 5},
	};
}

static struct sp_state_flight flight_of(uint64_t job, uint64_t id)
{
	return (struct sp_state_flight){.job = job, .id = id, .process = 3, .tid = (int)id + 100};
}

static uint32_t count_jobs(const struct sp_state *s)
{
	const struct sp_state_job *job;
	uint32_t n = 0;

	for (sp_record_place at = 0; (at = sp_state_next_job(s, at, &job)) != 0;)
		n++;
	return n;
}

static uint32_t count_processes(const struct sp_state *s)
{
	const struct sp_state_process *process;
	uint32_t n = 0;

	for (sp_record_place at = 0; (at = sp_state_next_process(s, at, &process)) != 0;)
		n++;
	return n;
}

static uint32_t count_flights(const struct sp_state *s)
{
	const struct sp_state_flight *flight;
	struct sp_state_progress progress;
	uint32_t n = 0;

	for (sp_record_place at = 0; (at = sp_state_next_flight(s, at, &flight, &progress)) != 0;)
		n++;
	return n;
}

/* --- a successor --- */

Test(state, a_successor_reads_what_was_written)
{
	cleanup_state struct sp_state *s = must_new();
	const struct sp_state_job first = job_of(1), second = job_of(2), *job;
	const struct sp_state_process made = process_of(2, 9), *process;
	const struct sp_state_flight received = flight_of(2, 4), *flight;
	const struct sp_state_program runs = program_of(50);
	struct sp_state_program program;
	struct sp_state_progress progress;

	(void)sp_state_add_job(s, &first);
	const sp_record_place kept = sp_state_add_job(s, &second);
	sp_state_set(s, kept, SP_NUMBER_EXEC, 12);
	sp_state_set_program(s, sp_state_add_process(s, &made), &runs);
	const sp_record_place left = sp_state_add_flight(s, &received);
	sp_state_judge(s, left, 13);
	sp_state_approve(s, left, &runs.approval);
	sp_state_conclude(s, left, 3, ENOENT);

	cleanup_state struct sp_state *t = must_open(s);
	cr_assert_eq(memcmp(sp_state_key(s), sp_state_key(t), 2 * sizeof(uint64_t)), 0);
	cr_assert_eq(count_jobs(t), 2);
	cr_assert_eq(sp_state_next_job(t, 1, &job), kept);
	cr_assert_eq(memcmp(job, &second, sizeof second), 0);
	cr_assert_eq(sp_state_get(t, kept, SP_NUMBER_EXEC), 12);
	cr_assert_eq(sp_state_get(t, kept, SP_NUMBER_EXECS), 0);
	const sp_record_place at = sp_state_next_process(t, 0, &process);
	cr_assert_eq(memcmp(process, &made, sizeof made), 0);
	cr_assert(sp_state_get_program(t, at, &program));
	cr_assert_eq(memcmp(&program, &runs, sizeof runs), 0);
	cr_assert_eq(sp_state_next_flight(t, 0, &flight, &progress), left);
	cr_assert_eq(memcmp(flight, &received, sizeof received), 0);
	cr_assert(progress.exec == 13 && progress.approved && !progress.refused && progress.concluded);
	cr_assert(progress.outcome == 3 && progress.err == ENOENT);
	cr_assert_eq(memcmp(&progress.approval, &runs.approval, sizeof runs.approval), 0);
}

/* A predecessor that has it mapped and lives is not what happens, but shows that both see one memory. */
Test(state, a_successor_goes_on_in_the_places_that_are_free)
{
	cleanup_state struct sp_state *s = must_new();
	sp_record_place place[8];

	for (uint64_t i = 0; i < 8; i++) {
		const struct sp_state_flight flight = flight_of(1, i);
		place[i] = sp_state_add_flight(s, &flight);
	}
	sp_state_remove_flight(s, place[2]);
	sp_state_remove_flight(s, place[5]);

	cleanup_state struct sp_state *t = must_open(s);
	const struct sp_state_flight more = flight_of(1, 20);
	cr_assert_eq(sp_state_add_flight(t, &more), place[2]);
	cr_assert_eq(sp_state_add_flight(t, &more), place[5]);
	const sp_record_place fresh = sp_state_add_flight(t, &more);
	for (int i = 0; i < 8; i++)
		cr_assert_neq(fresh, place[i]);
	cr_assert_eq(count_flights(s), 8, "the predecessor does not know of places that it never used");
	cr_assert_eq(count_flights(t), 9);
}

Test(state, a_job_takes_with_it_what_is_its_own)
{
	cleanup_state struct sp_state *s = must_new();
	const struct sp_state_job one = job_of(1), two = job_of(2);
	const sp_record_place first = sp_state_add_job(s, &one);

	(void)sp_state_add_job(s, &two);
	for (uint64_t i = 0; i < 10; i++) {
		const struct sp_state_process process = process_of(1 + i % 2, i);
		const struct sp_state_flight flight = flight_of(1 + i % 2, i);
		(void)sp_state_add_process(s, &process);
		(void)sp_state_add_flight(s, &flight);
	}
	sp_state_remove_job(s, first);
	cleanup_state struct sp_state *t = must_open(s);
	cr_assert(count_jobs(t) == 1 && count_processes(t) == 5 && count_flights(t) == 5);
}

Test(state, a_full_table_says_so)
{
	cleanup_state struct sp_state *s = must_new();
	const struct sp_state_flight flight = flight_of(1, 1);
	sp_record_place last = 0, place;
	uint32_t n = 0;

	for (; (place = sp_state_add_flight(s, &flight)) != 0; n++)
		last = place;
	cr_assert_eq(n, 16384);
	cleanup_state struct sp_state *t = must_open(s);
	cr_assert_eq(sp_state_add_flight(t, &flight), 0);
	sp_state_remove_flight(t, last);
	cr_assert_eq(sp_state_add_flight(t, &flight), last);
}

/* Runs that keep nothing call all this with place 0. */
Test(state, place_0_is_nowhere)
{
	const struct sp_approval approval = {0};
	const struct sp_state_program program = {0};

	sp_state_set(NULL, 0, SP_NUMBER_EXEC, 1);
	cr_assert_eq(sp_state_get(NULL, 0, SP_NUMBER_EXEC), 0);
	sp_state_remove_job(NULL, 0);
	sp_state_remove_process(NULL, 0);
	sp_state_set_program(NULL, 0, &program);
	sp_state_judge(NULL, 0, 1);
	sp_state_refuse(NULL, 0);
	sp_state_approve(NULL, 0, &approval);
	sp_state_conclude(NULL, 0, 1, 0);
	sp_state_remove_flight(NULL, 0);
	sp_state_free(NULL);
}

/* --- what is no state, or another version's --- */

static void assert_refused(int fd, int expected, const char *what)
{
	struct sp_error e = {0};

	cr_assert_geq(fd, 0, "%s", what);
	cr_assert_null(sp_state_open(fd, &e), "%s", what);
	cr_assert(e.err == expected && e.text[0] != '\0', "%s: %d, %s", what, e.err, e.text);
	cr_assert_eq(fcntl(fd, F_GETFD), -1, "%s stays open", what);
}

/* The layout, once more: a successor is another program. */
enum { AT_VERSION = 8, AT_KEY = 16, AT_FLIGHTS = 64, AT_TOTAL = 80, AT_SUM = 88, HEAD = 96 };

static uint64_t word_at(const unsigned char *bytes, size_t at)
{
	uint64_t word;

	memcpy(&word, bytes + at, sizeof word);
	return word;
}

static uint64_t sum(const unsigned char *bytes, size_t size)
{
	uint64_t hash = UINT64_C(0x9e3779b97f4a7c15) + size;

	for (size_t i = 0; i < size; i += sizeof hash) {
		hash = (hash ^ word_at(bytes, i)) * UINT64_C(0xff51afd7ed558ccd);
		hash ^= hash >> 32;
	}
	return hash | 1;
}

static void read_head(const struct sp_state *s, unsigned char head[static HEAD])
{
	cr_assert_eq(pread(sp_state_fd(s), head, HEAD, 0), HEAD);
	cr_assert_eq(word_at(head, AT_SUM), sum(head, AT_SUM), "this test does not know the layout");
}

static void write_head(int fd, unsigned char head[static HEAD], bool honest)
{
	const uint64_t right = sum(head, AT_SUM);

	if (honest)
		memcpy(head + AT_SUM, &right, sizeof right);
	cr_assert_eq(pwrite(fd, head, HEAD, 0), HEAD);
}

/* A file of this size that begins so. */
static int file_of(unsigned char head[static HEAD], bool honest, off_t size, unsigned seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	cr_assert(fd >= 0 && ftruncate(fd, size) == 0);
	write_head(fd, head, honest);
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

Test(state, what_is_none_is_refused)
{
	int ends[2];

	assert_refused(memfd_create("empty", MFD_CLOEXEC), EBADMSG, "an empty file");
	assert_refused(open("/dev/null", O_RDWR | O_CLOEXEC), EBADMSG, "/dev/null");
	assert_refused(open("/proc/self/exe", O_RDONLY | O_CLOEXEC), EBADMSG, "a program");
	assert_refused(open("/", O_RDONLY | O_CLOEXEC), EBADMSG, "a directory");
	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	assert_refused(ends[0], EBADMSG, "a pipe that would be waited for");
	(void)close(ends[1]);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	assert_refused(ends[0], EBADMSG, "a socket that would be waited for");
	(void)close(ends[1]);
}

Test(state, what_is_damaged_or_unknown_is_refused)
{
	cleanup_state struct sp_state *s = must_new();
	unsigned char good[HEAD], bad[HEAD];

	read_head(s, good);
	const off_t total = (off_t)word_at(good, AT_TOTAL);
	assert_refused(file_of(good, true, total, 0), EBADMSG, "a file that can be made shorter");
	assert_refused(file_of(good, true, total - 4096, F_SEAL_SHRINK), EBADMSG, "half a file");

	memcpy(bad, good, HEAD);
	bad[AT_VERSION]++;
	assert_refused(file_of(bad, true, total, F_SEAL_SHRINK), ENOTSUP, "another version");
	memcpy(bad, good, HEAD);
	bad[AT_KEY]++;
	assert_refused(file_of(bad, false, total, F_SEAL_SHRINK), EBADMSG, "a wrong sum");
	memcpy(bad, good, HEAD);
	memset(bad + AT_FLIGHTS + 4, 0x7f, 3);
	assert_refused(file_of(bad, true, total, F_SEAL_SHRINK), EBADMSG, "a table that goes beyond the end");
	memcpy(bad, good, HEAD);
	bad[AT_FLIGHTS] ^= 4;
	assert_refused(file_of(bad, true, total, F_SEAL_SHRINK), EBADMSG, "records at odd places");

	/* The control: this file is refused for nothing but what was changed. */
	struct sp_error e = {0};
	cleanup_state struct sp_state *same = sp_state_open(file_of(good, true, total, F_SEAL_SHRINK), &e);
	cr_assert_not_null(same, "%s", e.text);
}

/* A version that knew no approvals: its flights end before them. */
Test(state, smaller_records_of_an_older_version_are_taken_over)
{
	enum { SMALLER = 56 };
	cleanup_state struct sp_state *s = must_new();
	unsigned char head[HEAD], record[SMALLER];
	uint32_t size = SMALLER, full;
	const struct sp_state_job running = job_of(1);
	struct sp_state_flight received[3];
	const struct sp_approval approval = {1, 2, 3, 4, 5, 6};

	const sp_record_place job = sp_state_add_job(s, &running);
	for (uint64_t i = 0; i < 3; i++) {
		received[i] = flight_of(1, i);
		const sp_record_place place = sp_state_add_flight(s, &received[i]);
		sp_state_judge(s, place, i + 30);
		sp_state_approve(s, place, &approval);
	}
	read_head(s, head);
	memcpy(&full, head + AT_FLIGHTS, sizeof full);
	memcpy(head + AT_FLIGHTS, &size, sizeof size);
	const off_t flights = (off_t)word_at(head, AT_FLIGHTS + 8);
	const int old = file_of(head, true, (off_t)word_at(head, AT_TOTAL), F_SEAL_SHRINK);
	unsigned char jobs[8192];
	cr_assert_eq(pread(sp_state_fd(s), jobs, sizeof jobs, 4096), (ssize_t)sizeof jobs);
	cr_assert_eq(pwrite(old, jobs, sizeof jobs, 4096), (ssize_t)sizeof jobs);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(pread(sp_state_fd(s), record, SMALLER, flights + i * (off_t)full), SMALLER);
		cr_assert_eq(pwrite(old, record, SMALLER, flights + i * (off_t)SMALLER), SMALLER);
	}

	struct sp_error e = {0};
	const struct sp_state_flight *flight;
	struct sp_state_progress progress;
	cleanup_state struct sp_state *t = sp_state_open(old, &e);
	cr_assert_not_null(t, "%s", e.text);
	cr_assert_neq(sp_state_fd(t), old, "records of two sizes in one table");
	cr_assert_eq(memcmp(sp_state_key(s), sp_state_key(t), 2 * sizeof(uint64_t)), 0);
	cr_assert_eq(count_jobs(t), 1);
	cr_assert_eq(sp_state_get(t, job, SP_NUMBER_EXEC), 0);
	sp_record_place at = 0;
	for (uint64_t i = 0; i < 3; i++) {
		at = sp_state_next_flight(t, at, &flight, &progress);
		cr_assert(at != 0 && memcmp(flight, &received[i], sizeof *flight) == 0);
		cr_assert(progress.exec == i + 30 && !progress.approved);
	}
	cr_assert_eq(sp_state_next_flight(t, at, &flight, &progress), 0);
}

/* --- killed between any two instructions --- */

/* The steps are taken by a child, one instruction at a time; after each, a successor opens what is there. seen() says which of the
 * stages the operation may go through that is, counted from 0, and fails the test for anything else. */
struct step {
	const char *what;
	void (*prepare)(struct sp_state *s);
	void (*operate)(struct sp_state *s);
	unsigned (*seen)(const struct sp_state *s);
	unsigned last; /* stage: it is reached in the end, and none is gone back to */
};

static sp_record_place place; /* what prepare() leaves to operate() */

/* What was in the place before must not show through. */
static void leave_a_job(struct sp_state *s)
{
	const struct sp_state_job job = job_of(8);
	const sp_record_place gone = sp_state_add_job(s, &job);

	sp_state_set(s, gone, SP_NUMBER_EXEC, 5);
	sp_state_remove_job(s, gone);
}

static void add_job(struct sp_state *s)
{
	const struct sp_state_job job = job_of(1);

	(void)sp_state_add_job(s, &job);
}

static unsigned see_job(const struct sp_state *s)
{
	const struct sp_state_job expected = job_of(1), *job;
	const sp_record_place at = sp_state_next_job(s, 0, &job);

	if (at == 0)
		return 0;
	cr_assert_eq(memcmp(job, &expected, sizeof expected), 0, "half a job");
	cr_assert_eq(sp_state_get(s, at, SP_NUMBER_EXEC), 0, "the numbers of another job");
	return 1;
}

static void prepare_whole_job(struct sp_state *s)
{
	const struct sp_state_job job = job_of(1);

	place = sp_state_add_job(s, &job);
	for (uint64_t i = 0; i < 3; i++) {
		const struct sp_state_process process = process_of(1, i);
		const struct sp_state_flight flight = flight_of(1, i);
		(void)sp_state_add_process(s, &process);
		(void)sp_state_add_flight(s, &flight);
	}
}

static void remove_job(struct sp_state *s)
{
	sp_state_remove_job(s, place);
}

static unsigned see_less(const struct sp_state *s)
{
	const uint32_t left = count_processes(s) + count_flights(s);

	cr_assert(count_jobs(s) == 1 || left == 0, "something is left without its job");
	return 7 - count_jobs(s) - left;
}

static void leave_a_process(struct sp_state *s)
{
	const struct sp_state_process process = process_of(8, 8);
	const struct sp_state_program program = program_of(8);
	const sp_record_place gone = sp_state_add_process(s, &process);

	sp_state_set_program(s, gone, &program);
	sp_state_remove_process(s, gone);
}

static void add_process(struct sp_state *s)
{
	const struct sp_state_process process = process_of(1, 2);

	(void)sp_state_add_process(s, &process);
}

static unsigned see_process(const struct sp_state *s)
{
	const struct sp_state_process expected = process_of(1, 2), *process;
	struct sp_state_program program;
	const sp_record_place at = sp_state_next_process(s, 0, &process);

	if (at == 0)
		return 0;
	cr_assert_eq(memcmp(process, &expected, sizeof expected), 0, "half a process");
	cr_assert_not(sp_state_get_program(s, at, &program), "the program of another process");
	return 1;
}

static void prepare_program(struct sp_state *s)
{
	const struct sp_state_process process = process_of(1, 2);
	const struct sp_state_program program = program_of(10);

	place = sp_state_add_process(s, &process);
	sp_state_set_program(s, place, &program);
}

static void set_program(struct sp_state *s)
{
	const struct sp_state_program program = program_of(20);

	sp_state_set_program(s, place, &program);
}

static unsigned see_program(const struct sp_state *s)
{
	const struct sp_state_program before = program_of(10), after = program_of(20);
	struct sp_state_program program;

	if (!sp_state_get_program(s, place, &program))
		return 1;
	if (memcmp(&program, &before, sizeof before) == 0)
		return 0;
	cr_assert_eq(memcmp(&program, &after, sizeof after), 0, "half of each");
	return 2;
}

static void leave_a_flight(struct sp_state *s)
{
	const struct sp_state_flight flight = flight_of(8, 8);
	const struct sp_approval approval = {8, 8, 8, 8, 8, 8};
	const sp_record_place gone = sp_state_add_flight(s, &flight);

	sp_state_judge(s, gone, 8);
	sp_state_refuse(s, gone);
	sp_state_approve(s, gone, &approval);
	sp_state_conclude(s, gone, 8, 8);
	sp_state_remove_flight(s, gone);
}

static const struct sp_approval approved = {11, 12, 13, 14, 15, 16};

static void let_go(struct sp_state *s)
{
	const struct sp_state_flight flight = flight_of(1, 2);
	const sp_record_place at = sp_state_add_flight(s, &flight);

	sp_state_judge(s, at, 40);
	sp_state_approve(s, at, &approved);
	sp_state_conclude(s, at, 2, ENOENT);
	sp_state_remove_flight(s, at);
}

static void refuse(struct sp_state *s)
{
	const struct sp_state_flight flight = flight_of(1, 2);
	const sp_record_place at = sp_state_add_flight(s, &flight);

	sp_state_judge(s, at, 40);
	sp_state_refuse(s, at);
	sp_state_remove_flight(s, at);
}

static bool over; /* seen in flight, and then no more */
static bool flying;

static unsigned see_flight(const struct sp_state *s, unsigned last)
{
	const struct sp_state_flight expected = flight_of(1, 2), *flight;
	struct sp_state_progress progress;

	if (sp_state_next_flight(s, 0, &flight, &progress) == 0) {
		over |= flying;
		return over ? last : 0;
	}
	flying = true;
	cr_assert_eq(memcmp(flight, &expected, sizeof expected), 0, "half a flight");
	cr_assert(progress.exec == 0 || progress.exec == 40, "the key of another");
	if (progress.approved)
		cr_assert_eq(memcmp(&progress.approval, &approved, sizeof approved), 0, "half an approval");
	if (progress.concluded)
		cr_assert(progress.outcome == 2 && progress.err == ENOENT, "half an outcome");
	cr_assert_not(progress.refused && progress.approved, "both refused and approved");
	cr_assert_not(progress.concluded && !progress.approved, "over before it began");
	return 1 + (progress.exec != 0) + progress.approved + progress.refused + progress.concluded;
}

static unsigned see_let_go(const struct sp_state *s)
{
	return see_flight(s, 5);
}

static unsigned see_refuse(const struct sp_state *s)
{
	return see_flight(s, 4);
}

static const struct step steps[] = {
	{"a job begins", leave_a_job, add_job, see_job, 1},
	{"a job is over", prepare_whole_job, remove_job, see_less, 7},
	{"a process is born", leave_a_process, add_process, see_process, 1},
	{"a process runs another program", prepare_program, set_program, see_program, 2},
	{"an exec is let go on", leave_a_flight, let_go, see_let_go, 5},
	{"an exec is refused", leave_a_flight, refuse, see_refuse, 4},
};

static pid_t stopped_before(const struct step *step, struct sp_state *s)
{
	int status;
	pid_t child = fork();

	cr_assert_geq(child, 0);
	if (child == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
			_exit(1);
		(void)raise(SIGSTOP);
		step->operate(s);
		(void)raise(SIGSTOP);
		_exit(0);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	if (WIFEXITED(status))
		cr_skip_test("nothing may be traced here");
	return child;
}

static void check_step(const struct step *step)
{
	cleanup_state struct sp_state *s = must_new();
	unsigned stage = 0;
	int status;

	over = flying = false;
	step->prepare(s);
	cleanup_child pid_t child = stopped_before(step, s);
	for (;;) {
		cleanup_state struct sp_state *t = must_open(s);
		const unsigned now = step->seen(t);

		cr_assert_geq(now, stage, "%s: back from stage %u to %u", step->what, stage, now);
		stage = now;
		cr_assert_eq(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL), 0);
		cr_assert_eq(waitpid(child, &status, 0), child);
		cr_assert(WIFSTOPPED(status), "%s: %#x", step->what, (unsigned)status);
		if (WSTOPSIG(status) == SIGSTOP)
			break;
	}
	cr_assert_eq(stage, step->last, "%s ended in stage %u", step->what, stage);
}

Test(state, killed_anywhere_it_is_all_or_nothing)
{
	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
		check_step(&steps[i]);
}
