/* Reading the words of an execve out of another task, from memory laid out as no compiler would: always against what
 * the kernel itself makes of the same bytes, on a thread that may wait and on the loop, with PROCMAP_QUERY and
 * without. */
#include "inspect/memory.h"

#include "child.h"
#include "yard.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { PAGE = 4096 };

TestSuite(memory, .init = yard_open, .fini = yard_close);

/* Pages of the test's own, far from where mmap would put anything: what is not placed here is a hole, and stays one. */
#define ARENA ((char *)0x20000000)

static char *place(size_t page, size_t pages, int protection, int flags, int fd)
{
	char *at = mmap(ARENA + page * PAGE, pages * PAGE, protection, flags | MAP_FIXED_NOREPLACE, fd, 0);

	cr_assert_eq(at, ARENA + page * PAGE, "%s", strerror(errno));
	return at;
}

static char *place_private(size_t page, size_t pages)
{
	return place(page, pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static char *place_shared(size_t page, size_t pages)
{
	return place(page, pages, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
}

/* Stores pointers, and the NULL behind them, at any address. */
static void *put_pointers(void *at, const void *const *pointers, size_t count)
{
	const void *const end = NULL;

	if (count > 0)
		memcpy(at, pointers, count * sizeof *pointers);
	memcpy((char *)at + count * sizeof *pointers, &end, sizeof end);
	return at;
}

#define put_argv(at, ...)                                                                                              \
	put_pointers(at, (const void *const[]){__VA_ARGS__}, sizeof(const void *[]){__VA_ARGS__} / sizeof(void *))

struct answer {
	int err;
	bool shared;
	char path[SP_PATH_MAX];
	struct sp_strings argv, envp;
};

static void free_answer(struct answer *answer)
{
	sp_strings_free(&answer->argv);
	sp_strings_free(&answer->envp);
}

#define cleanup_answer sp_cleanup(free_answer)

struct question {
	const void *path; /* NULL: /bin/true */
	const void *argv, *envp;
	int err; /* what the kernel gives, positive */
	bool shared;
	bool too_many_for_the_loop;
};

static const char program[] = "/bin/true";

static const void *path_of(const struct question *q)
{
	return q->path != NULL ? q->path : program;
}

enum { MAY_BLOCK = 1, TEXT = 2, WAYS = 4 };

/* way: MAY_BLOCK, as a helper thread does it; TEXT, as on a kernel that does not know PROCMAP_QUERY. */
static struct answer ask(pid_t child, const struct question *q, unsigned way)
{
	struct answer a = {0};
	cleanup_memory struct sp_memory memory = {.maps = -1};
	struct sp_filesystems *fs = sp_filesystems_new();

	cr_assert_not_null(fs);
	cr_assert_eq(sp_memory_open(&memory, child, (way & MAY_BLOCK) != 0, (way & MAY_BLOCK) != 0 ? NULL : fs), 0);
	if ((way & TEXT) != 0) {
		(void)close(memory.maps);
		memory.maps = open("/dev/null", O_RDONLY | O_CLOEXEC); /* ENOTTY for any ioctl */
	}
	a.err = sp_memory_read_exec(&memory, (uintptr_t)path_of(q), (uintptr_t)q->argv, (uintptr_t)q->envp, a.path,
				    &a.argv, &a.envp);
	a.shared = memory.shared;
	sp_filesystems_free(fs);
	return a;
}

static void assert_words(const struct sp_strings *words, const char *bytes, size_t size)
{
	const char *at = words->data;

	if (words->count == 0) {
		/* Since 5.18 the kernel makes an empty argv one empty string; an empty environment is empty. */
		cr_assert_leq(size, 1u);
		return;
	}
	cr_assert_eq(words->size, size, "%zu bytes instead of %zu", words->size, size);
	cr_assert_eq(memcmp(words->data, bytes, size), 0);
	for (size_t i = 0; i < words->count; i++) {
		cr_assert_eq(words->item[i], at);
		at += strlen(at) + 1;
	}
	cr_assert_eq(at, words->data + words->size);
	cr_assert_null(words->item[words->count]);
}

static void check_question(unsigned line, const struct question *q)
{
	const struct native_call call = {
		.path = (uintptr_t)path_of(q), .argv = (uintptr_t)q->argv, .envp = (uintptr_t)q->envp};
	cleanup_child pid_t child = child_waiting(NULL, NULL);
	cleanup_native struct native native = native_exec(&call);

	cr_assert_eq(native.err, q->err, "line %u: the kernel itself says %s", line, strerror(native.err));
	for (unsigned way = 0; way < WAYS; way++) {
		cleanup_answer struct answer a = ask(child, q, way);

		int expected = q->too_many_for_the_loop && (way & MAY_BLOCK) == 0 ? EAGAIN : q->err;
		cr_assert_eq(a.err, -expected, "line %u, way %u: %s instead of %s", line, way, strerror(-a.err),
			     strerror(expected));
		if (expected != 0)
			continue;
		cr_assert_eq(a.shared, q->shared, "line %u, way %u: %sshared", line, way, a.shared ? "" : "not ");
		cr_assert_str_eq(a.path, path_of(q), "line %u", line);
		assert_words(&a.argv, native.cmdline, native.cmdline_size);
		assert_words(&a.envp, native.environ, native.environ_size);
	}
}

#define check(...) check_question(__LINE__, __VA_ARGS__)

/* --- the usual, the small --- */

Test(memory, plain)
{
	static const char *const argv[] = {"true", "a", "", "b c", "\xff\x01\n", NULL};
	static const char *const envp[] = {"A=1", "B", "", "=x", NULL};

	check(&(struct question){.argv = argv, .envp = envp});
	check(&(struct question){.argv = argv});
}

Test(memory, nothing)
{
	static const char *const none[] = {NULL}, *const empty[] = {"", NULL}, *const empties[] = {"", "", "", NULL};

	check(&(struct question){.argv = none, .envp = none});
	check(&(struct question){.argv = NULL, .envp = NULL});
	check(&(struct question){.argv = empty, .envp = none});
	check(&(struct question){.argv = empties, .envp = empties});
}

/* --- where it lies --- */

Test(memory, strings_across_pages)
{
	static const char text[] = "across the end of a page";
	char *pages = place_private(0, 4);

	for (size_t before = 0; before <= sizeof text; before++) {
		char *a = memcpy(pages + PAGE - before, text, sizeof text);
		char *b = memcpy(pages + 2 * PAGE - before, text, sizeof text);
		check(&(struct question){.path = memcpy(pages + 3 * PAGE - 5, program, sizeof program),
					 .argv = put_argv(pages, a, b, "x")});
	}
}

/* Eight bytes that begin in one page and end in the next: at the beginning of the array, inside it, and the NULL. */
Test(memory, pointers_across_pages)
{
	char *pages = place_private(0, 4);

	for (size_t before = 0; before <= 4 * sizeof(void *); before++)
		check(&(struct question){.argv = put_argv(pages + 2 * PAGE - before, "zero", "one", "two")});
}

Test(memory, array_of_many_pages_misaligned)
{
	enum { COUNT = 1500 };
	const void *pointers[COUNT];
	char *pages = place_private(0, 4);

	for (size_t i = 0; i < COUNT; i++)
		pointers[i] = i % 3 == 0 ? "three" : "x";
	for (size_t shift = 0; shift < sizeof(void *); shift++)
		check(&(struct question){.argv = put_pointers(pages + shift, pointers, COUNT),
					 .envp = put_pointers(pages + shift, pointers, COUNT)});
}

Test(memory, up_to_the_last_byte_of_a_mapping)
{
	char *page = place_private(0, 1), *end = page + PAGE;

	strcpy(end - 5, "last");
	check(&(struct question){.argv = put_argv(page, end - 5, end - 3, end - 1)});
	check(&(struct question){.argv = put_argv(end - 24, "a", "b")});
	check(&(struct question){.argv = put_pointers(end - 8, NULL, 0)});
	strcpy(end - sizeof program, program);
	check(&(struct question){.path = end - sizeof program, .argv = put_argv(page, "a")});
}

Test(memory, descending_and_scattered)
{
	const void *pointers[257]; /* more than one batch */
	char *pages = place_private(0, 8);

	for (size_t i = 0; i < 256; i++) {
		char *at = pages + 8 * PAGE - (i + 1) * 100 + i % 7;
		sprintf(at, "string %zu%*s", i, (int)(i % 13), "");
		pointers[i] = at;
	}
	pointers[256] = "and one more";
	check(&(struct question){.argv = put_pointers(pages, pointers, 257)});
	for (size_t i = 0; i < 256; i++) { /* to and fro */
		size_t other = i * 89 % 256;
		const void *swapped = pointers[i];
		pointers[i] = pointers[other];
		pointers[other] = swapped;
	}
	check(&(struct question){.argv = put_pointers(pages, pointers, 257)});
}

Test(memory, overlapping)
{
	static const char text[] = "overlapping";
	const void *pointers[2 * sizeof text];
	char *page = place_private(0, 1);

	for (size_t i = 0; i < sizeof text; i++) {
		pointers[i] = text + i; /* each is the tail of the one before */
		pointers[sizeof text + i] = text + (i % 2 == 0 ? 3 : 1);
	}
	check(&(struct question){.argv = put_pointers(page, pointers, 2 * sizeof text)});
	/* the array is its own string: its bytes, up to the first that is NUL */
	check(&(struct question){.argv = put_argv(page, page, page + 1, page + 9)});
}

/* More mappings than are remembered at a time, used in turn. */
Test(memory, many_mappings)
{
	enum { MAPPINGS = 40 };
	const void *pointers[4 * MAPPINGS];
	char *array = place_private(2 * MAPPINGS, 1);

	for (size_t i = 0; i < MAPPINGS; i++) {
		char *at = place_private(2 * i, 1) + PAGE - 20;
		sprintf(at, "mapping %zu", i);
		for (size_t again = 0; again < 4; again++)
			pointers[again * MAPPINGS + i] = at + again;
	}
	check(&(struct question){.argv = put_pointers(array, pointers, 4 * MAPPINGS)});
}

Test(memory, file_mapping)
{
	cleanup_close int fd = open("mapped", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, 2 * PAGE), 0);
	cr_assert_eq(pwrite(fd, "from a file", 12, PAGE - 5), 12);
	char *copy = place(0, 2, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
	char *array = place_private(4, 1);
	check(&(struct question){.argv = put_argv(array, copy + PAGE - 5)});
	copy[PAGE] = 'X'; /* the child has the changed copy */
	check(&(struct question){.argv = put_argv(array, copy + PAGE - 5)});
	char *shared = place(8, 2, PROT_READ, MAP_SHARED, fd);
	check(&(struct question){.argv = put_argv(array, shared + PAGE - 5), .shared = true});
}

/* --- what cannot be read --- */

Test(memory, unterminated_before_a_hole)
{
	char *page = place_private(0, 1), *end = page + PAGE;
	char *array = place_private(4, 1);

	memset(end - 16, 'x', 16);
	check(&(struct question){.argv = put_argv(array, end - 3), .err = EFAULT});
	check(&(struct question){.argv = put_argv(array, "a", end - 3, "b"), .err = EFAULT});
	check(&(struct question){.argv = array + 8, .envp = put_argv(array, end - 1), .err = EFAULT});
	check(&(struct question){.path = end - 4, .argv = array, .err = EFAULT});
	/* arrays: behind the last pointer, and in the middle of one */
	const void *pointer = "x";
	memcpy(end - 8, &pointer, 8);
	check(&(struct question){.argv = end - 8, .err = EFAULT});
	memset(end - 8, 0, 8);
	for (size_t bytes = 1; bytes < 8; bytes++)
		check(&(struct question){.argv = end - bytes, .err = EFAULT});
	memcpy(end - 12, &pointer, 8);
	check(&(struct question){.argv = end - 12, .err = EFAULT});
}

Test(memory, pages_without_rights)
{
	char *page = place_private(0, 1), *array = place_private(4, 1);
	char *forbidden = place(1, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	memset(page, 'x', PAGE);
	check(&(struct question){.argv = put_argv(array, page + PAGE - 3), .err = EFAULT});
	check(&(struct question){.argv = put_argv(array, forbidden), .err = EFAULT});
	check(&(struct question){.argv = forbidden, .err = EFAULT});
	check(&(struct question){.path = forbidden, .argv = put_argv(array, "a"), .err = EFAULT});
	check(&(struct question){.path = page + PAGE - 100, .argv = array, .err = EFAULT});
	/* was there, is forbidden now */
	char *was = place_private(8, 1);
	strcpy(was, "still here");
	cr_assert_eq(mprotect(was, PAGE, PROT_NONE), 0);
	check(&(struct question){.argv = put_argv(array, was), .err = EFAULT});
	cr_assert_eq(mprotect(was, PAGE, PROT_READ), 0);
	check(&(struct question){.argv = put_argv(array, was)});
}

Test(memory, addresses_that_are_none)
{
	static const uint64_t wild[] = {
		1,
		8,
		0x20000000, /* a hole */
		0x7ffffffff000,
		0x7fffffffffff,
		0x800000000000,
		0x8000000000000000,
		0xffff800000000000, /* the kernel's half */
		0xffffffffff600000, /* vsyscall, which /proc/PID/maps shows */
		0xffffffffffffffff,
		0xfffffffffffffff8,
	};
	static const char *const fine[] = {"a", NULL};

	for (size_t i = 0; i < sizeof wild / sizeof *wild; i++) {
		const void *at = (const void *)(uintptr_t)wild[i];
		const void *const pointers[] = {"a", at, NULL};

		check(&(struct question){.argv = at, .err = EFAULT});
		check(&(struct question){.argv = pointers, .err = EFAULT});
		check(&(struct question){.path = at, .argv = fine, .err = EFAULT});
		check(&(struct question){.argv = fine, .envp = at, .err = EFAULT});
	}
}

/* --- limits --- */

Test(memory, longest_path)
{
	char *pages = place_private(0, 3);
	char *array = put_argv(place_private(8, 1), "a");

	for (size_t shift = 0; shift < 3; shift++) {
		char *path = pages + shift * 777;
		memset(pages, '/', 3 * PAGE);
		strcpy(path + SP_PATH_MAX - 1 - (sizeof program - 1), program); /* 4095 and the NUL */
		cr_assert_eq(strlen(path), SP_PATH_MAX - 1u);
		check(&(struct question){.path = path, .argv = array});
		check(&(struct question){
			.path = path - (shift > 0), .argv = array, .err = shift > 0 ? ENAMETOOLONG : 0});
	}
	memset(pages, 'x', 3 * PAGE); /* not terminated, but too long before that is seen */
	check(&(struct question){.path = pages + 2 * PAGE, .argv = array, .err = ENAMETOOLONG});
	check(&(struct question){.path = pages + 2 * PAGE + 1, .argv = array, .err = EFAULT});
}

Test(memory, longest_string)
{
	char *pages = place_private(0, 40), *array = place_private(64, 1);

	memset(pages, 'x', 40 * PAGE - 1);
	for (size_t shift = 0; shift < PAGE; shift += 1365) {
		char *text = pages + shift;
		text[SP_ARG_MAX_ONE - 1] = '\0'; /* 131,071 and the NUL */
		check(&(struct question){.argv = put_argv(array, text), .envp = array});
		check(&(struct question){.argv = put_argv(array, "a", text, "b", text)});
		check(&(struct question){.argv = put_argv(array, text, text + SP_ARG_MAX_ONE)});
		text[SP_ARG_MAX_ONE - 1] = 'x';
		text[SP_ARG_MAX_ONE] = '\0';
		check(&(struct question){.argv = put_argv(array, text), .err = E2BIG});
		check(&(struct question){.argv = put_argv(array, "a", text, "b"), .err = E2BIG});
		check(&(struct question){.argv = put_argv(array, text, text + SP_ARG_MAX_ONE + 1), .err = E2BIG});
		check(&(struct question){.argv = array + 24, .envp = put_argv(array, text), .err = E2BIG});
		text[SP_ARG_MAX_ONE] = 'x';
	}
}

Test(memory, two_megabytes)
{
	const void *pointers[16];
	char *pages = place_private(0, 1024), *array = place_private(2048, 1);

	memset(pages, 'y', 1024 * PAGE);
	for (size_t i = 0; i < 16; i++) {
		pointers[i] = pages + i * (SP_ARG_MAX_ONE + (i % 2) * 10);
		((char *)pointers[i])[SP_ARG_MAX_ONE - 1] = '\0';
	}
	check(&(struct question){.argv = put_pointers(array, pointers, 16)});
}

/* The same string again and again: more than the kernel takes in all. */
Test(memory, six_megabytes_and_more)
{
	const void *pointers[50];
	char *pages = place_private(0, 33), *array = place_private(64, 1);

	memset(pages, 'y', SP_ARG_MAX_ONE - 1);
	for (size_t i = 0; i < 50; i++)
		pointers[i] = pages;
	check(&(struct question){.argv = put_pointers(array, pointers, 50), .err = E2BIG});
}

Test(memory, a_hundred_thousand_arguments)
{
	enum { COUNT = 100000 };
	const void **pointers = malloc(COUNT * sizeof *pointers);
	char *text = place_private(0, 512), *array = place_private(1024, 200);
	size_t at = 0;

	cr_assert_not_null(pointers);
	for (size_t i = 0; i < COUNT; i++) {
		pointers[i] = text + at;
		at += (size_t)sprintf(text + at, "%zu", i) + 1;
	}
	cr_assert_leq(at, 512u * PAGE);
	check(&(struct question){.argv = put_pointers(array, pointers, COUNT), .too_many_for_the_loop = true});
	free(pointers);
}

Test(memory, more_pointers_than_fit)
{
	char *array = place_private(0, 2000);
	const void *pointer = "";

	for (size_t i = 0; i < 2000 * PAGE / sizeof pointer - 1; i++)
		memcpy(array + i * sizeof pointer, &pointer, sizeof pointer);
	check(&(struct question){.argv = array, .err = E2BIG});
	check(&(struct question){.argv = "\0\0\0\0\0\0\0", .envp = array, .err = E2BIG});
}

/* --- shared with others --- */

Test(memory, shared_mappings_are_told)
{
	char *page = place_private(0, 1), *shared = place_shared(1, 1);

	strcpy(shared + 100, "in shared memory");
	strcpy(shared + 200, program);
	put_argv(page, "a");
	check(&(struct question){.argv = put_argv(shared, "a"), .shared = true});
	check(&(struct question){.path = shared + 200, .argv = page, .shared = true});
	check(&(struct question){.argv = page, .envp = put_argv(shared, "a"), .shared = true});
	check(&(struct question){.argv = put_argv(page + 64, "a", shared + 100), .shared = true});
	check(&(struct question){.argv = page, .envp = page + 64, .shared = true});
	check(&(struct question){.argv = page, .envp = page, .shared = false}); /* that it is there does not count */
}

/* Begun in private memory, ended in shared. */
Test(memory, crossing_into_shared_memory)
{
	char *page = place_private(0, 1), *shared = place_shared(1, 1);

	strcpy(shared - 7, "crossing");
	check(&(struct question){.argv = put_argv(page, shared - 7), .shared = true});
	strcpy(shared - 4, program);
	check(&(struct question){.path = shared - 4, .argv = put_argv(page, "a"), .shared = true});
	check(&(struct question){.argv = put_argv(shared - 8, "a"), .shared = true});
	for (size_t shift = 1; shift < 8; shift++) {
		/* a pointer, and the NULL: whoever writes its other half makes it a pointer */
		check(&(struct question){.argv = put_argv(shared - shift, "a", "b"), .shared = true});
		check(&(struct question){.argv = put_argv(shared - 8 - shift, "a"), .shared = true});
		check(&(struct question){.argv = put_pointers(shared - shift, NULL, 0), .shared = true});
	}
	strcpy(shared - 4, "abc"); /* up to the border, not over it */
	check(&(struct question){.argv = put_argv(page, shared - 4)});
	check(&(struct question){.argv = put_argv(shared - 16, "a")});
}

/* --- what may block --- */

/* A file of a file system that no mount table shows: nobody can say who serves it. */
static int open_unknown_file(void)
{
	if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0)
		yard_skip("needs root");
	cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	yard_make_mount_point();
	cr_assert_eq(mount("none", YARD_MOUNT, "tmpfs", 0, NULL), 0);
	int fd = open(YARD_MOUNT "/file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	cr_assert_eq(umount2(YARD_MOUNT, MNT_DETACH), 0);
	cr_assert_eq(ftruncate(fd, PAGE), 0);
	return fd;
}

static void check_blocking(pid_t child, const struct question *q, unsigned line)
{
	for (unsigned way = 0; way < WAYS; way++) {
		cleanup_answer struct answer a = ask(child, q, way);
		int expected = (way & MAY_BLOCK) != 0 ? 0 : -EAGAIN;
		cr_assert_eq(a.err, expected, "line %u, way %u: %s", line, way, strerror(-a.err));
	}
}

Test(memory, what_may_block_is_not_read_on_the_loop)
{
	cleanup_close int fd = open_unknown_file();
	char *page = place_private(0, 1), *file = place(1, 1, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd), *at = page;

	strcpy(file + 100, "text");
	strcpy(file + 200, program);
	const struct question questions[] = {
		{.argv = put_argv(at, "a", file + 100)},
		{.argv = put_argv(file, "a")},
		{.path = file + 200, .argv = put_argv(at + 64, "a")},
		{.argv = at + 64, .envp = put_argv(at + 128, file + 100)},
	};
	cleanup_child pid_t child = child_waiting(NULL, NULL);
	for (unsigned i = 0; i < sizeof questions / sizeof *questions; i++)
		check_blocking(child, &questions[i], i);
}

Test(memory, what_may_block_is_not_reached_over_a_border)
{
	cleanup_close int fd = open_unknown_file();
	char *page = place_private(0, 1), *file = place(1, 1, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);

	for (unsigned shift = 1; shift < 16; shift++) {
		memset(page, 0, PAGE);
		const struct question question = {.argv = put_argv(file - shift, "a")};
		cleanup_child pid_t child = child_waiting(NULL, NULL);
		check_blocking(child, &question, shift);
	}
	strcpy(file - 5, "crossing");
	const struct question question = {.argv = put_argv(page, file - 5)};
	cleanup_child pid_t child = child_waiting(NULL, NULL);
	check_blocking(child, &question, 0);
}

/* --- who cannot be read --- */

Test(memory, gone)
{
	struct sp_memory memory;
	int status;

	pid_t child = fork();
	cr_assert_geq(child, 0);
	if (child == 0)
		_exit(0);
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(sp_memory_open(&memory, child, true, NULL), -ESRCH);
	sp_memory_close(&memory);
}

Test(memory, dies_meanwhile)
{
	static const char *const argv[] = {"a", NULL};
	cleanup_memory struct sp_memory memory = {.maps = -1};
	cleanup_answer struct answer a = {0};
	pid_t child = child_waiting(NULL, NULL);

	cr_assert_eq(sp_memory_open(&memory, child, true, NULL), 0);
	child_end(&child);
	a.err = sp_memory_read_exec(&memory, (uintptr_t)program, (uintptr_t)argv, 0, a.path, &a.argv, &a.envp);
	cr_assert(a.err == -ESRCH || a.err == -EFAULT, "%s", strerror(-a.err));
}

static bool make_undumpable(void *context)
{
	(void)context;
	return prctl(PR_SET_DUMPABLE, 0) == 0;
}

Test(memory, undumpable)
{
	struct sp_memory memory = {.maps = -1};

	yard_become_ordinary();
	cleanup_child pid_t open = child_waiting(NULL, NULL);
	cr_assert_eq(sp_memory_open(&memory, open, true, NULL), 0);
	sp_memory_close(&memory);
	cleanup_child pid_t closed = child_waiting(make_undumpable, NULL);
	int err = sp_memory_open(&memory, closed, true, NULL);
	cr_assert(err == -EACCES || err == -EPERM, "%s", strerror(-err));
}

/* --- anything --- */

enum { RANDOM_PAGES = 6, RANDOM_SIZE = RANDOM_PAGES * PAGE, RANDOM_POINTERS = 40 };

enum kind { PRIVATE, SHARED, FORBIDDEN, HOLE };

struct layout {
	enum kind kind[RANDOM_PAGES];
	char *argv;
};

static enum kind kind_of(const struct layout *l, const char *at)
{
	return l->kind[(size_t)(at - ARENA) / PAGE];
}

static void put_byte(const struct layout *l, char *at, char byte)
{
	if (kind_of(l, at) <= SHARED)
		*at = byte;
}

static enum kind random_kind(unsigned *seed)
{
	int any = rand_r(seed) % 16;

	return any < 11 ? PRIVATE : any < 14 ? SHARED : any < 15 ? FORBIDDEN : HOLE;
}

static struct layout make_layout(unsigned *seed)
{
	struct layout l;
	size_t argc = (size_t)rand_r(seed) % RANDOM_POINTERS;

	for (size_t page = 0; page < RANDOM_PAGES; page++) {
		l.kind[page] = random_kind(seed);
		if (l.kind[page] == PRIVATE)
			(void)place_private(page, 1);
		else if (l.kind[page] == SHARED)
			(void)place_shared(page, 1);
		else if (l.kind[page] == FORBIDDEN)
			(void)place(page, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	}
	for (size_t at = 0; at < RANDOM_SIZE; at++)
		put_byte(&l, ARENA + at, (char)(rand_r(seed) % 32 == 0 ? '\0' : 'a' + at % 26));
	l.argv = ARENA + (size_t)rand_r(seed) % (RANDOM_SIZE - (RANDOM_POINTERS + 1) * sizeof(char *));
	for (size_t i = 0; i <= argc; i++) {
		char *pointer = i < argc ? ARENA + (size_t)rand_r(seed) % RANDOM_SIZE : NULL;
		/* most of them readable */
		if (pointer != NULL && kind_of(&l, pointer) > SHARED && rand_r(seed) % 32 != 0)
			pointer = l.argv;
		for (size_t byte = 0; byte < sizeof pointer; byte++)
			put_byte(&l, l.argv + i * sizeof pointer + byte, ((char *)&pointer)[byte]);
	}
	return l;
}

static bool is_shared(const struct layout *l, const char *from, size_t size)
{
	for (const char *at = from; at < from + size; at++)
		if (kind_of(l, at) == SHARED)
			return true;
	return false;
}

/* Is anything of what the kernel takes in shared memory? All of it can be read. */
static bool takes_shared(const struct layout *l)
{
	const char *pointer;

	for (const char *at = l->argv;; at += sizeof pointer) {
		memcpy(&pointer, at, sizeof pointer);
		if (is_shared(l, at, sizeof pointer) || (pointer != NULL && is_shared(l, pointer, strlen(pointer) + 1)))
			return true;
		if (pointer == NULL)
			return false;
	}
}

Test(memory, random_layouts)
{
	unsigned seed = 7;
	int readable = 0;

	for (int round = 0; round < 60; round++) {
		const struct layout layout = make_layout(&seed);
		const struct native_call call = {.path = (uintptr_t)program, .argv = (uintptr_t)layout.argv};
		cleanup_native struct native native = native_exec(&call);

		readable += native.err == 0;
		check(&(struct question){
			.argv = layout.argv, .err = native.err, .shared = native.err == 0 && takes_shared(&layout)});
		cr_assert_eq(munmap(ARENA, RANDOM_SIZE), 0);
	}
	cr_assert(readable > 10 && readable < 50, "only one side was tried: %d of 60 could be read", readable);
}
