/* What one execve would run: foretold by sp_inspect(), done by the kernel in a child, and compared by sp_verify() in
 * the exec stop; and what sp_verify() says when something else runs. */
#include "inspect/inspect.h"
#include "ptrace/arch.h"

#include "child.h"
#include "yard.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

static void copy_program(const char *path)
{
	char part[65536];
	ssize_t n;
	cleanup_close int in = open("/bin/true", O_RDONLY | O_CLOEXEC);
	cleanup_close int out = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);

	cr_assert(in >= 0 && out >= 0);
	while ((n = read(in, part, sizeof part)) > 0)
		cr_assert_eq(write(out, part, (size_t)n), n);
}

/* Programs in the working directory: true, d/script. */
static void open_programs(void)
{
	yard_open();
	copy_program("true");
	yard_make_directory("d");
	yard_write("d/script", "#!./true with an argument\n", 0755);
}

TestSuite(inspect, .init = open_programs, .fini = yard_close);

/* --- one exec, foretold and done --- */

static void free_inspection(struct sp_inspection **in)
{
	sp_inspection_free(*in);
}

#define cleanup_inspection sp_cleanup(free_inspection)

static struct sp_inspection *must_ask(pid_t child, const struct native_call *call)
{
	struct sp_inspection *in = sp_inspection_new();

	cr_assert_not_null(in);
	in->tid = in->tgid = child;
	in->by_fd = call->by_fd;
	in->dirfd = call->by_fd ? call->dirfd : AT_FDCWD;
	in->flags = call->flags;
	in->path_address = call->path;
	in->argv_address = call->argv;
	in->envp_address = call->envp;
	return in;
}

static const char *const usual_argv[] = {"zero", "one", "two words", NULL}, *const usual_envp[] = {"A=1", "B=2", NULL};

static struct native_call by_path(const char *path)
{
	return (struct native_call){
		.path = (uintptr_t)path, .argv = (uintptr_t)usual_argv, .envp = (uintptr_t)usual_envp};
}

static struct native_call by_fd(int fd, const char *path, int flags)
{
	return (struct native_call){.by_fd = true,
				    .dirfd = fd,
				    .flags = flags,
				    .path = (uintptr_t)path,
				    .argv = (uintptr_t)usual_argv,
				    .envp = (uintptr_t)usual_envp};
}

static unsigned long stack_of(pid_t stopped)
{
	unsigned long stack = 0;

	(void)sp_arch_stack(stopped, &stack);
	return stack;
}

/* The same by the words on the stack and by those in /proc, or the test fails. */
static bool verified(const struct sp_inspection *in, pid_t stopped, char detail[static SP_PATH_MAX + 64])
{
	const bool by_proc = sp_verify(in, stopped, 0, detail, SP_PATH_MAX + 64);

	cr_assert_eq(sp_verify(in, stopped, stack_of(stopped), detail, SP_PATH_MAX + 64), by_proc);
	return by_proc;
}

/* What is foretold is what happens, also when asked on the loop and by what is remembered. */
static void check_runs(const struct native_call *call, const char *what)
{
	cleanup_child pid_t child = child_waiting(NULL, NULL);
	cleanup_native struct native native = native_exec(call);
	cleanup_inspection struct sp_inspection *in = must_ask(child, call);
	struct sp_filesystems *fs = sp_filesystems_new();
	struct sp_kinds *kinds = sp_kinds_new();
	char detail[SP_PATH_MAX + 64] = "";

	cr_assert(fs != NULL && kinds != NULL);
	cr_assert_eq(native.err, 0, "%s: the kernel itself says %s", what, strerror(native.err));
	for (int round = 0; round < 4; round++) {
		bool may_block = round == 0;
		int err = sp_inspect(in, may_block, fs, kinds);

		if (err == -EAGAIN && !may_block)
			continue;
		cr_assert_eq(err, 0, "%s, round %d: %s (%s)", what, round, strerror(-err), in->reason);
		cr_assert(verified(in, native.child, detail), "%s, round %d: %s", what, round, detail);
	}
	sp_kinds_free(kinds);
	sp_filesystems_free(fs);
}

/* What the kernel refuses is refused with the same errno, as the caller's own fault, with a sentence. */
static void check_fails(const struct native_call *call, int expected, const char *what)
{
	cleanup_child pid_t child = child_waiting(NULL, NULL);
	cleanup_native struct native native = native_exec(call);
	cleanup_inspection struct sp_inspection *in = must_ask(child, call);

	cr_assert_eq(native.err, expected, "%s: the kernel itself says %s", what, strerror(native.err));
	int err = sp_inspect(in, true, NULL, NULL);
	cr_assert_eq(err, -expected, "%s: %s (%s)", what, strerror(-err), in->reason);
	cr_assert_str_neq(in->reason, "", "%s", what);
	cr_assert_not(in->ours, "%s", what);
	cr_assert(in->same_user, "%s", what);
}

/* What the kernel refuses for a reason that is not looked at: it can be decided, and then fails by itself. */
static void check_left_to_the_kernel(const struct native_call *call, int expected, const char *what)
{
	cleanup_child pid_t child = child_waiting(NULL, NULL);
	cleanup_native struct native native = native_exec(call);
	cleanup_inspection struct sp_inspection *in = must_ask(child, call);

	cr_assert_eq(native.err, expected, "%s: the kernel itself says %s", what, strerror(native.err));
	int err = sp_inspect(in, true, NULL, NULL);
	cr_assert_eq(err, 0, "%s: %s (%s)", what, strerror(-err), in->reason);
	cr_assert_lt(in->interpreter.fd, 0);
}

#define check_path_runs(path) check_runs(&(struct native_call[]){by_path(path)}[0], path)
#define check_path_fails(path, err) check_fails(&(struct native_call[]){by_path(path)}[0], err, path)

Test(inspect, programs)
{
	yard_link("true", "link");
	check_path_runs("true");
	check_path_runs("./d/../true");
	check_path_runs("link");
	check_path_runs("/bin/true");
	check_path_runs("/proc/self/cwd/link");
	check_path_fails("missing", ENOENT);
	check_path_fails("d/missing", ENOENT);
	check_path_fails("true/x", ENOTDIR);
	check_path_fails("", ENOENT);
}

Test(inspect, not_to_be_run)
{
	const struct native_call directory = by_path("d"), plain = by_path("plain"), text = by_path("text"),
				 empty = by_path("empty"), pipe = by_path("pipe"), device = by_path("/dev/null");

	yard_write("plain", "#!/bin/true\n", 0644);
	yard_write("text", "echo no magic\n", 0755);
	yard_write("empty", "", 0755);
	cr_assert_eq(mkfifo("pipe", 0755), 0);
	check_left_to_the_kernel(&directory, EACCES, "a directory");
	check_left_to_the_kernel(&text, ENOEXEC, "a text without a #! line");
	check_left_to_the_kernel(&empty, ENOEXEC, "an empty file");
	check_left_to_the_kernel(&pipe, EACCES, "a FIFO"); /* opening it would wait for a writer */
	check_left_to_the_kernel(&device, EACCES, "a device");
	cleanup_native struct native native = native_exec(&plain);
	cr_assert_eq(native.err, EACCES);
}

Test(inspect, words)
{
	static const char *const none[] = {NULL}, *const empty[] = {"", "", NULL},
				 *const bytes[] = {"\xff\xfe\n", "a\tb", "'\"$x", NULL};
	static const char *const *const vectors[] = {none, empty, bytes, usual_argv, NULL};
	static const char *const paths[] = {"true", "d/script"};
	for (size_t p = 0; p < sizeof paths / sizeof *paths; p++) {
		for (size_t a = 0; a < sizeof vectors / sizeof *vectors; a++) {
			const struct native_call with = {
				.path = (uintptr_t)paths[p],
				.argv = (uintptr_t)vectors[a],
				.envp = (uintptr_t)vectors[sizeof vectors / sizeof *vectors - 1 - a]};
			check_runs(&with, paths[p]);
		}
	}
}

Test(inspect, unreadable_words)
{
	struct native_call call = by_path("true");

	call.argv = 8;
	check_fails(&call, EFAULT, "argv");
	call = by_path("true");
	call.envp = 8;
	check_fails(&call, EFAULT, "envp");
	call.path = 8;
	check_fails(&call, EFAULT, "path");
}

/* --- scripts --- */

Test(inspect, scripts)
{
	yard_write("plain", "#!./true\n", 0755);
	yard_write("argument", "#! ./true  -x y \n", 0755);
	yard_write("absolute", "#!/bin/true\n", 0755);
	yard_write("magic", "#!/proc/self/cwd/true -x\n", 0755);
	yard_link("argument", "link");
	check_path_runs("plain");
	check_path_runs("argument");
	check_path_runs("absolute");
	check_path_runs("magic");
	check_path_runs("link");
	check_path_runs("./d/../argument");
	yard_write("nowhere", "#!./missing -x\n", 0755);
	check_path_fails("nowhere", ENOENT);
	yard_write("impossible", "#!./true/x\n", 0755);
	check_path_fails("impossible", ENOTDIR);
}

Test(inspect, script_is_told_with_its_interpreter)
{
	const struct native_call call = by_path("d/script");
	cleanup_child pid_t child = child_waiting(NULL, NULL);
	cleanup_inspection struct sp_inspection *in = must_ask(child, &call);
	char expected[96];

	cr_assert_eq(sp_inspect(in, true, NULL, NULL), 0);
	cr_assert_not(in->elf);
	cr_assert_str_eq(in->path, "d/script");
	(void)snprintf(expected, sizeof expected, "%s/d/script", yard_directory());
	cr_assert_str_eq(in->file.path, expected);
	(void)snprintf(expected, sizeof expected, "%s/true", yard_directory());
	cr_assert_str_eq(in->interpreter.path, expected);
	cr_assert_str_eq(in->interpreter_path, "./true");
	cr_assert_eq(in->argv.count, 3u);
	cr_assert_str_eq(in->argv.item[0], "zero");
	cr_assert_eq(in->final_argv.count, 5u);
	cr_assert_str_eq(in->final_argv.item[0], "./true");
	cr_assert_str_eq(in->final_argv.item[1], "with an argument");
	cr_assert_str_eq(in->final_argv.item[2], "d/script");
	cr_assert_str_eq(in->final_argv.item[3], "one");
	cr_assert_str_eq(in->final_argv.item[4], "two words");
}

/* Scripts that are run by scripts: as many as the kernel takes, and one more. */
Test(inspect, nested_scripts)
{
	char name[16], text[32] = "#!./true -0\n";

	for (int depth = 1; depth <= SP_INTERPRETERS_MAX + 2; depth++) {
		(void)snprintf(name, sizeof name, "s%d", depth);
		yard_write(name, text, 0755);
		(void)snprintf(text, sizeof text, "#!./s%d -%d\n", depth, depth);
		const struct native_call call = by_path(name);
		if (depth <= SP_INTERPRETERS_MAX)
			check_runs(&call, name);
		else
			check_fails(&call, ELOOP, name);
	}
	yard_write("self", "#!./self\n", 0755);
	check_path_fails("self", ELOOP);
}

/* The name the kernel gives a script depends on how it was named. */
Test(inspect, execveat)
{
	cleanup_close int directory =
		open("d", O_RDONLY | O_DIRECTORY); /* stays open over the exec, as does the next: */
	cleanup_close int script = open("d/script", O_RDONLY), program = open("true", O_PATH | O_CLOEXEC);
	char absolute[96], by_number[32];

	(void)snprintf(absolute, sizeof absolute, "%s/d/script", yard_directory());
	(void)snprintf(by_number, sizeof by_number, "/dev/fd/%d", script);
	const struct native_call calls[] = {
		by_fd(AT_FDCWD, "d/script", 0),
		by_fd(AT_FDCWD, "true", 0),
		by_fd(directory, "script", 0),
		by_fd(directory, "../true", 0),
		by_fd(directory, absolute, 0),
		by_fd(-1, absolute, 0),
		by_fd(script, "", AT_EMPTY_PATH),
		by_fd(program, "", AT_EMPTY_PATH),
		by_fd(directory, "script", AT_EMPTY_PATH),
		by_fd(directory, "script", AT_SYMLINK_NOFOLLOW),
		by_path(by_number),
	};
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
		char what[16];
		(void)snprintf(what, sizeof what, "call %zu", i);
		check_runs(&calls[i], what);
	}
	const struct native_call missing = by_fd(directory, "missing", 0), closed = by_fd(900, "script", 0),
				 empty = by_fd(program, "", 0), below = by_fd(program, "x", 0);
	check_fails(&missing, ENOENT, "missing");
	check_fails(&closed, EBADF, "closed");
	check_fails(&empty, ENOENT, "empty");
	check_fails(&below, ENOTDIR, "below a file");
}

Test(inspect, what_the_kernel_refuses_of_execveat)
{
	cleanup_close int closing = open("d/script", O_RDONLY | O_CLOEXEC);

	yard_link("true", "link");
	const struct native_call link = by_fd(AT_FDCWD, "link", AT_SYMLINK_NOFOLLOW),
				 script = by_fd(closing, "", AT_EMPTY_PATH);
	cleanup_native struct native not_followed = native_exec(&link), gone = native_exec(&script);
	cr_assert_eq(not_followed.err, ELOOP);
	cr_assert_eq(gone.err, ENOENT, "the interpreter could not open it any more");
	cleanup_child pid_t child = child_waiting(NULL, NULL);
	cleanup_inspection struct sp_inspection *a = must_ask(child, &link), *b = must_ask(child, &script);
	int err = sp_inspect(a, true, NULL, NULL);
	cr_assert(err == 0 || err == -ELOOP, "%s", strerror(-err));
	err = sp_inspect(b, true, NULL, NULL);
	cr_assert(err == 0 || err == -ENOENT, "%s", strerror(-err));
}

Test(inspect, memfd)
{
	cleanup_close int program = memfd_create("program", MFD_CLOEXEC),
			  true_fd = open("/bin/true", O_RDONLY | O_CLOEXEC);
	char part[65536];
	ssize_t n;

	while ((n = read(true_fd, part, sizeof part)) > 0)
		cr_assert_eq(write(program, part, (size_t)n), n);
	const struct native_call call = by_fd(program, "", AT_EMPTY_PATH);
	check_runs(&call, "memfd");
	cleanup_child pid_t child = child_waiting(NULL, NULL);
	cleanup_inspection struct sp_inspection *in = must_ask(child, &call);
	cr_assert_eq(sp_inspect(in, true, NULL, NULL), 0);
	cr_assert(in->file.anonymous && in->elf);
}

/* --- what is remembered of files --- */

Test(inspect, elf_files_are_remembered_until_they_change)
{
	const struct native_call call = by_path("true");
	cleanup_child pid_t child = child_waiting(NULL, NULL);
	cleanup_inspection struct sp_inspection *in = must_ask(child, &call);
	struct sp_kinds *kinds = sp_kinds_new();

	cr_assert_not_null(kinds);
	cr_assert_eq(sp_inspect(in, true, NULL, kinds), 0);
	cr_assert(in->elf);
	ino_t inode = in->file.st.st_ino;
	cr_assert_eq(sp_inspect(in, true, NULL, kinds), 0);
	cr_assert(in->elf);
	yard_write("true", "#!/bin/true\n", 0755); /* in place: the same inode */
	cr_assert_eq(sp_inspect(in, true, NULL, kinds), 0);
	cr_assert_eq(in->file.st.st_ino, inode);
	cr_assert_not(in->elf);
	cr_assert_str_eq(in->interpreter_path, "/bin/true");
	sp_kinds_free(kinds);
}

/* --- what is said about the caller --- */

Test(inspect, shared_memory_is_told)
{
	char *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(shared, MAP_FAILED);
	strcpy(shared, "true");
	const struct native_call in_shared = by_path(shared), in_private = by_path("true");
	cleanup_child pid_t child = child_waiting(NULL, NULL);
	cleanup_inspection struct sp_inspection *a = must_ask(child, &in_shared), *b = must_ask(child, &in_private);
	cr_assert_eq(sp_inspect(a, true, NULL, NULL), 0);
	cr_assert(a->shared);
	cr_assert_eq(sp_inspect(b, true, NULL, NULL), 0);
	cr_assert_not(b->shared);
}

static bool make_undumpable(void *context)
{
	(void)context;
	return prctl(PR_SET_DUMPABLE, 0) == 0;
}

Test(inspect, undumpable_caller_is_our_inability)
{
	const struct native_call call = by_path("/bin/true");

	yard_become_ordinary();
	cleanup_child pid_t child = child_waiting(make_undumpable, NULL);
	cleanup_inspection struct sp_inspection *in = must_ask(child, &call);
	cr_assert_eq(sp_inspect(in, true, NULL, NULL), -EACCES);
	cr_assert(in->ours);
	cr_assert_not_null(strstr(in->reason, "dumpable"), "%s", in->reason);
}

Test(inspect, failure_of_another_user)
{
	const struct native_call call = by_path("/no/such/program");

	if (geteuid() != 0)
		yard_skip("needs root");
	cleanup_child pid_t ours = child_waiting(NULL, NULL);
	cr_assert_eq(setegid(65534), 0);
	cr_assert_eq(seteuid(65534), 0);
	cr_assert_eq(prctl(PR_SET_DUMPABLE, 1), 0);
	cleanup_child pid_t theirs = child_waiting(NULL, NULL);
	cr_assert_eq(seteuid(0), 0);
	cleanup_inspection struct sp_inspection *a = must_ask(ours, &call), *b = must_ask(theirs, &call);
	cr_assert_eq(sp_inspect(a, true, NULL, NULL), -ENOENT);
	cr_assert(a->same_user);
	cr_assert_eq(sp_inspect(b, true, NULL, NULL), -ENOENT);
	cr_assert_not(b->same_user);
}

/* Executable, but not readable: it can be run, and then not be looked at. */
Test(inspect, unreadable_program)
{
	const struct native_call call = by_path("true");

	yard_become_ordinary();
	cr_assert_eq(chmod("true", 0111), 0);
	cleanup_child pid_t child = child_waiting(NULL, NULL);
	cleanup_inspection struct sp_inspection *in = must_ask(child, &call);
	cr_assert_eq(sp_inspect(in, true, NULL, NULL), 0, "%s", in->reason);
	cr_assert(in->unreadable);
	cr_assert_eq(chmod("true", 0755), 0);
	cr_assert_eq(sp_inspect(in, true, NULL, NULL), 0, "%s", in->reason);
	cr_assert_not(in->unreadable);
}

Test(inspect, gone_caller)
{
	const struct native_call call = by_path("/bin/true");
	pid_t child = child_waiting(NULL, NULL);
	cleanup_inspection struct sp_inspection *in = must_ask(child, &call);

	child_end(&child);
	cr_assert_eq(sp_inspect(in, true, NULL, NULL), -ESRCH);
	cr_assert(in->ours);
}

Test(inspect, reset_forgets_everything)
{
	const struct native_call call = by_path("d/script");
	cleanup_child pid_t child = child_waiting(NULL, NULL);
	cleanup_inspection struct sp_inspection *in = must_ask(child, &call);

	cr_assert_eq(sp_inspect(in, true, NULL, NULL), 0);
	int file = in->file.fd, interpreter = in->interpreter.fd;
	sp_inspection_reset(in);
	cr_assert_eq(fcntl(file, F_GETFD), -1, "closed");
	cr_assert_eq(fcntl(interpreter, F_GETFD), -1);
	cr_assert(in->file.fd < 0 && in->interpreter.fd < 0);
	cr_assert(in->argv.count == 0 && in->envp.count == 0 && in->final_argv.count == 0);
	cr_assert(!in->elf && !in->shared && !in->same_user && !in->unreadable && !in->ours);
	cr_assert_str_eq(in->path, "");
	/* a script first, a program next: nothing is left of the script */
	cr_assert_eq(sp_inspect(in, true, NULL, NULL), 0);
	in->path_address = (uintptr_t) "true";
	cr_assert_eq(sp_inspect(in, true, NULL, NULL), 0);
	cr_assert_lt(in->interpreter.fd, 0);
	cr_assert_eq(in->final_argv.count, 0u);
	cr_assert(in->elf);
}

/* --- sp_verify: what runs is not what was approved --- */

static void check_mismatch(const struct native_call *approved, const struct native_call *done, bool want_env,
			   const char *word)
{
	cleanup_child pid_t child = child_waiting(NULL, NULL);
	cleanup_native struct native native = native_exec(done);
	cleanup_inspection struct sp_inspection *in = must_ask(child, approved);
	char detail[SP_PATH_MAX + 64] = "";

	if (!want_env)
		in->envp_address = 0;
	cr_assert_eq(native.err, 0);
	cr_assert_eq(sp_inspect(in, true, NULL, NULL), 0, "%s", in->reason);
	bool same = verified(in, native.child, detail);
	cr_assert_eq(same, word == NULL, "%s: %s", word, detail);
	if (word != NULL)
		cr_assert_not_null(strstr(detail, word), "%s instead of %s", detail, word);
}

Test(inspect, something_else_runs)
{
	static const char *const more[] = {"zero", "one", "two words", "three", NULL}, *const fewer[] = {"zero", "one",
													 NULL};
	static const char *const other[] = {"zero", "One", "two words", NULL}, *const joined[] = {
										       "zero", "one two words", NULL};
	static const char *const trailing[] = {"zero", "one", "two words", "", NULL}, *const none[] = {NULL};
	static const char *const other_env[] = {"A=1", "B=3", NULL};
	static const char *const *const vectors[] = {more, fewer, other, joined, trailing, none};
	const struct native_call approved = by_path("true"), script = by_path("d/script");
	struct native_call done = approved;

	copy_program("other");
	yard_write("d/other", "#!./true with another argument\n", 0755);
	check_mismatch(&approved, &done, true, NULL);
	for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
		done = approved;
		done.argv = (uintptr_t)vectors[i];
		check_mismatch(&approved, &done, true, "arguments");
		check_mismatch(&done, &approved, true, "arguments");
	}
	done = approved;
	done.envp = (uintptr_t)other_env;
	check_mismatch(&approved, &done, true, "environment");
	check_mismatch(&approved, &done, false, NULL); /* nobody had asked for it */
	done = by_path("other");
	check_mismatch(&approved, &done, true, "/other");
	check_mismatch(&approved, &script, true, "arguments");
	check_mismatch(&script, &approved, true, "arguments");
	done = by_path("d/other");
	check_mismatch(&script, &done, true, "arguments");
}

/* Longer than what is compared in one go, and different in the last byte. */
Test(inspect, long_arguments_to_the_last_byte)
{
	static char text[100000], last[100000];
	const char *const argv[] = {"a", text, NULL}, *const changed[] = {"a", last, NULL};
	struct native_call approved = by_path("true"), done = approved;

	memset(text, 'x', sizeof text - 1);
	memset(last, 'x', sizeof last - 1);
	approved.argv = (uintptr_t)argv;
	done.argv = (uintptr_t)changed;
	check_mismatch(&approved, &done, true, NULL);
	last[sizeof last - 2] = 'y';
	check_mismatch(&approved, &done, true, "arguments");
	last[sizeof last - 2] = '\0';
	check_mismatch(&approved, &done, true, "arguments");
	/* sizes around the buffer that is compared at a time: total of "a", the text, NULs */
	for (size_t size = 16384 - 6; size <= 16384; size++) {
		memset(text, 'x', size);
		text[size] = '\0';
		memcpy(last, text, size + 1);
		check_mismatch(&approved, &done, true, NULL);
		last[size] = 'x';
		last[size + 1] = '\0';
		check_mismatch(&approved, &done, true, "arguments");
	}
}

Test(inspect, gone_while_it_is_verified)
{
	const struct native_call call = by_path("true");
	cleanup_child pid_t child = child_waiting(NULL, NULL);
	cleanup_native struct native native = native_exec(&call);
	cleanup_inspection struct sp_inspection *in = must_ask(child, &call);
	char detail[SP_PATH_MAX + 64] = "";

	cr_assert_eq(sp_inspect(in, true, NULL, NULL), 0);
	child_end(&native.child);
	cr_assert_not(verified(in, native.child, detail));
	cr_assert_str_neq(detail, "");
	native.child = 0;
}

/* --- what is not as it was when somebody was asked about it --- */

/* Over and over until it shows: before Linux 6.13 the clock of ctime ticks slowly. */
static void overwrite(const char *path, const char *with)
{
	struct stat before, after;
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	cr_assert_eq(fstat(fd, &before), 0);
	do {
		cr_assert_gt(pwrite(fd, with, strlen(with), 0), 0);
		const struct timespec times[] = {before.st_atim, before.st_mtim}; /* "it is old" */
		cr_assert_eq(futimens(fd, times), 0);
		cr_assert_eq(fstat(fd, &after), 0);
	} while (memcmp(&before.st_ctim, &after.st_ctim, sizeof before.st_ctim) == 0);
	cr_assert_eq(before.st_size, after.st_size);
}

static void rewrite_script(void)
{
	overwrite("d/script", "#!./true with an Argument\n");
}

static void rewrite_program(void)
{
	overwrite("true", "\x7f");
}

static void replace_interpreter(void)
{
	copy_program("other");
	cr_assert_eq(rename("other", "true"), 0);
}

static void replace_script(void)
{
	yard_write("other", "#!./true with an argument\n", 0755);
	cr_assert_eq(rename("other", "d/script"), 0);
}

static void rename_directory(void)
{
	cr_assert_eq(rename("d", "e"), 0);
	cr_assert_eq(symlink("e", "d"), 0);
}

static void nothing(void)
{
}

static const char *const other_argv[] = {"zero", "one", "two", "words", NULL}, *const other_envp[] = {"A=1", "B=3",
												      NULL};

static const struct {
	const char *path, *path_then;
	const char *const *argv_then, *const *envp_then;
	void (*between)(void);
	const char *difference;
} changes[] = {
	{"d/script", "d/script", usual_argv, usual_envp, nothing, NULL},
	{"./true", "./true", usual_argv, usual_envp, nothing, NULL},
	{"d/script", "./d/script", usual_argv, usual_envp, nothing, "the path"},
	{"d/script", "d/script", other_argv, usual_envp, nothing, "the arguments"},
	{"d/script", "d/script", usual_argv, other_envp, nothing, "the environment"},
	{"d/script", "d/script", usual_argv, usual_envp, replace_script, "the file that the path leads to"},
	{"d/script", "d/script", usual_argv, usual_envp, rename_directory, "the file that the path leads to"},
	{"d/script", "d/script", usual_argv, usual_envp, rewrite_script, "what is in the file"},
	{"./true", "./true", usual_argv, usual_envp, rewrite_program, "what is in the file"},
	{"d/script", "d/script", usual_argv, usual_envp, replace_interpreter,
	 "the file that is the interpreter of the script"},
	{"d/script", "d/script", usual_argv, usual_envp, rewrite_program,
	 "what is in the file that is the script's interpreter"},
};

static void check_change(size_t i)
{
	cleanup_child pid_t child = child_waiting(NULL, NULL);
	struct native_call call = by_path(changes[i].path);
	cleanup_inspection struct sp_inspection *before = must_ask(child, &call), *after = sp_inspection_new();

	cr_assert_eq(sp_inspect(before, true, NULL, NULL), 0, "%zu: %s", i, before->reason);
	changes[i].between();
	call.path = (uintptr_t)changes[i].path_then;
	call.argv = (uintptr_t)changes[i].argv_then;
	call.envp = (uintptr_t)changes[i].envp_then;
	cleanup_inspection struct sp_inspection *asked = must_ask(child, &call);
	sp_inspection_ask(after, asked);
	cr_assert_eq(sp_inspect(after, true, NULL, NULL), 0, "%zu: %s", i, after->reason);
	const char *difference = sp_inspection_difference(before, after);
	if (changes[i].difference == NULL)
		cr_assert_null(difference, "%zu: %s", i, difference);
	else
		cr_assert(difference != NULL && strcmp(difference, changes[i].difference) == 0, "%zu: %s, not %s", i,
			  difference, changes[i].difference);
}

Test(inspect, what_has_changed_since_is_told)
{
	for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
		if (i > 0) {
			yard_close();
			open_programs();
		}
		check_change(i);
	}
}
