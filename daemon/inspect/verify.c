/* sp_verify(): the proof in the exec stop. What is compared is what the kernel copied, which nobody can change any more: the
 * new program's memory is shared with nobody and it has not run one instruction. */
#include "inspect/inspect.h"

#include "util/cleanup.h"
#include "util/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static bool same_on_stack(pid_t tgid, uint64_t stack, const struct sp_strings *expected);
static bool same_words(pid_t tgid, const char *what, const struct sp_strings *expected);
static bool is_binfmt_misc(const struct sp_inspection *in, pid_t tgid, const struct stat *exe);

bool sp_verify(const struct sp_inspection *in, pid_t tgid, uint64_t stack, char *detail, size_t size)
{
	const struct sp_file *file = sp_inspection_program(in);
	const struct sp_strings *argv = sp_inspection_words(in);
	char path[SP_PROC_NAME];
	struct stat exe;

	(void)sp_proc_task(path, tgid, "exe");
	int err = sp_stat_cached(AT_FDCWD, path, &exe);
	if (err != 0) {
		(void)snprintf(detail, size, "the program that runs cannot be looked at: %s", strerror(-err));
		return false;
	}
	if (exe.st_dev != file->st.st_dev || exe.st_ino != file->st.st_ino) {
		if (is_binfmt_misc(in, tgid, &exe))
			return true;
		char real[SP_PATH_MAX];
		ssize_t n = readlink(path, real, sizeof real - 1);

		real[n > 0 ? n : 0] = '\0';
		(void)snprintf(detail, size, "another file runs: %s", real);
		return false;
	}
	if (!same_on_stack(tgid, stack, argv) && !same_words(tgid, "cmdline", argv)) {
		(void)snprintf(detail, size, "the arguments are not those that were approved");
		return false;
	}
	if (in->envp_address != 0 && !same_words(tgid, "environ", &in->envp)) {
		(void)snprintf(detail, size, "the environment is not the one that was approved");
		return false;
	}
	return true;
}

/* Does the new program find these words? The kernel lays them one behind the other, above the pointers to them
 * (create_elf_tables() in fs/binfmt_elf.c), usually in the first pages from the stack pointer on. False: not seen there. */
static bool same_on_stack(pid_t tgid, uint64_t stack, const struct sp_strings *expected)
{
	uint64_t buffer[1024]; /* argc, pointers to argv, ... */
	const struct iovec to = {.iov_base = buffer, .iov_len = sizeof buffer};
	const struct iovec from = {.iov_base = (void *)(uintptr_t)stack, .iov_len = sizeof buffer};
	const ssize_t n = stack != 0 ? process_vm_readv(tgid, &to, 1, &from, 1, 0) : -1;

	if (n < (ssize_t)(2 * sizeof *buffer) || buffer[0] != expected->count || buffer[1] < stack)
		return false;
	const uint64_t at = buffer[1] - stack;
	return at <= (uint64_t)n && expected->size <= (uint64_t)n - at &&
	       memcmp((const char *)buffer + at, expected->data, expected->size) == 0;
}

/* Is /proc/TGID/WHAT, read to its end, exactly these words? */
static bool same_words(pid_t tgid, const char *what, const struct sp_strings *expected)
{
	char path[SP_PROC_NAME], buffer[16384];
	size_t at = 0;

	cleanup_close int fd = open(sp_proc_task(path, tgid, what), O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	do {
		ssize_t n = read(fd, buffer, sizeof buffer);

		if (n < 0)
			return false;
		if (n == 0)
			return at == expected->size;
		if (at + (size_t)n > expected->size || memcmp(buffer, expected->data + at, (size_t)n) != 0)
			return false;
		at += (size_t)n;
		/* Short, and all there: the next read could only say that it is the end. */
		if (at == expected->size && (size_t)n < sizeof buffer)
			return true;
	} while (true);
}

/* --- binfmt_misc: the administrator's own interpreters, which the kernel puts in front as it does for #! --- */

static bool argv_behind_interpreter(const struct sp_inspection *in, pid_t tgid, const char *interpreter,
				    bool keeps_argv0)
{
	sp_cleanup(sp_strings_free) struct sp_strings words = {0};
	int err = sp_strings_append(&words, interpreter, strlen(interpreter));

	if (err == 0)
		err = sp_strings_append(&words, in->path, strlen(in->path));
	for (size_t i = keeps_argv0 ? 0 : 1; err == 0 && i < in->argv.count; i++)
		err = sp_strings_append(&words, in->argv.item[i], strlen(in->argv.item[i]));
	return err == 0 && same_words(tgid, "cmdline", &words);
}

enum { KERNEL_HEAD = 256 }; /* BINPRM_BUF_SIZE: where the kernel looks for magic bytes */

/* An entry as Documentation/admin-guide/binfmt-misc.rst shows it. */
struct format {
	bool enabled;
	char interpreter[SP_PATH_MAX], flags[16], extension[64];
	unsigned offset;
	char magic[2 * KERNEL_HEAD + 1], mask[2 * KERNEL_HEAD + 1]; /* hexadecimal */
};

static bool read_format(int directory, const char *name, struct format *f)
{
	char text[SP_PATH_MAX + 2048];
	cleanup_close int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
	char *rest = NULL;

	*f = (struct format){0};
	if (n <= 0)
		return false;
	text[n] = '\0';
	for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
		f->enabled |= strcmp(line, "enabled") == 0;
		(void)sscanf(line, "interpreter %4095[^\n]", f->interpreter);
		(void)sscanf(line, "flags: %15s", f->flags);
		(void)sscanf(line, "extension .%63s", f->extension);
		(void)sscanf(line, "offset %u", &f->offset);
		(void)sscanf(line, "magic %512s", f->magic);
		(void)sscanf(line, "mask %512s", f->mask);
	}
	return f->enabled && f->interpreter[0] != '\0';
}

static int hex_byte(const char *digits)
{
	unsigned byte;

	return sscanf(digits, "%2x", &byte) == 1 ? (int)byte : -1;
}

/* Is this file of that format? As search_binfmt_handler() in fs/binfmt_misc.c finds out. */
static bool is_of_format(const struct format *f, const struct sp_inspection *in)
{
	char link[SP_PROC_NAME];
	unsigned char head[KERNEL_HEAD] = {0};
	const char *dot = strrchr(in->path, '.');

	if (f->extension[0] != '\0')
		return dot != NULL && strcmp(dot + 1, f->extension) == 0;
	const size_t length = strlen(f->magic) / 2;
	cleanup_close int fd = open(sp_proc_own_fd(link, in->file.fd), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (length == 0 || f->offset + length > sizeof head || fd < 0 || pread(fd, head, sizeof head, 0) < 0)
		return false;
	for (size_t i = 0; i < length; i++) {
		const int magic = hex_byte(f->magic + 2 * i),
			  mask = f->mask[0] != '\0' ? hex_byte(f->mask + 2 * i) : 0xff;

		if (magic < 0 || mask < 0 || ((head[f->offset + i] ^ magic) & mask) != 0)
			return false;
	}
	return true;
}

static bool entry_matches(int directory, const char *name, const struct sp_inspection *in, pid_t tgid,
			  const struct stat *exe)
{
	struct format f;
	struct stat st;

	return read_format(directory, name, &f) && is_of_format(&f, in) && stat(f.interpreter, &st) == 0 &&
	       st.st_dev == exe->st_dev && st.st_ino == exe->st_ino &&
	       argv_behind_interpreter(in, tgid, f.interpreter, strchr(f.flags, 'P') != NULL);
}

static bool is_binfmt_misc(const struct sp_inspection *in, pid_t tgid, const struct stat *exe)
{
	cleanup_directory DIR *d = opendir("/proc/sys/fs/binfmt_misc");
	const struct dirent *entry;

	/* Since 6.7 a user namespace may have formats of its own, which nobody but its maker has approved. */
	if (!sp_has_our_users(tgid))
		return false;
	while (d != NULL && (entry = readdir(d)) != NULL)
		if (entry->d_name[0] != '.' && strcmp(entry->d_name, "register") != 0 &&
		    strcmp(entry->d_name, "status") != 0 && entry_matches(dirfd(d), entry->d_name, in, tgid, exe))
			return true;
	return false;
}
