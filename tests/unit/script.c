/* #! lines: sp_script_parse() against the kernel, which is asked with a real script for each line. */
#include "inspect/script.h"

#include "child.h"
#include "yard.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* Interpreters have short names: "i". */
static void open_workshop(void)
{
	yard_open();
	yard_link("/bin/true", "i");
}

TestSuite(script, .init = open_workshop, .fini = yard_close);

static void write_script(const char *bytes, size_t size)
{
	(void)unlink("s"); /* the last one may still be held by its exec */
	cleanup_close int fd = open("s", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, bytes, size), (ssize_t)size);
}

static struct native exec_script(void)
{
	static const char *const argv[] = {"zero", "one", NULL}, *const envp[] = {NULL};
	const struct native_call call = {.path = (uintptr_t) "s", .argv = (uintptr_t)argv, .envp = (uintptr_t)envp};

	return native_exec(&call);
}

static size_t put(char *at, const char *word)
{
	size_t size = strlen(word) + 1;

	memcpy(at, word, size);
	return size;
}

/* The line, for a message. */
static const char *shown(const char *bytes, size_t size)
{
	static char text[4 * SP_SCRIPT_HEAD + 64];
	char *at = text;

	for (size_t i = 0; i < size && i < SP_SCRIPT_HEAD + 8; i++)
		at += sprintf(at, bytes[i] > ' ' && bytes[i] < 127 ? "%c" : "\\x%02x", (unsigned char)bytes[i]);
	return text;
}

/* Makes the interpreter that was found, so that the kernel can show whether it finds the same. */
static void make_interpreter(const char *name)
{
	if (strchr(name, '/') == NULL && strlen(name) < 255 && strcmp(name, "s") != 0 && access(name, F_OK) != 0)
		yard_link("/bin/true", name);
}

static void check(const char *bytes, size_t size)
{
	char head[SP_SCRIPT_HEAD] = {0}, expected[3 * SP_SCRIPT_HEAD];
	struct sp_script script;
	struct stat interpreter;

	memcpy(head, bytes, size < sizeof head ? size : sizeof head);
	bool parsed = sp_script_parse(head, &script);
	if (parsed)
		make_interpreter(script.interpreter);
	write_script(bytes, size);
	cleanup_native struct native native = exec_script();
	if (!parsed) {
		/* An empty name, before a NUL, is the current directory to the kernel: that does not run either. */
		cr_assert(native.err == ENOEXEC || native.err == EACCES, "the kernel says %s: %s",
			  native.err == 0 ? native.cmdline : strerror(native.err), shown(bytes, size));
		return;
	}
	cr_assert_eq(native.err, 0, "the kernel says %s, but %s was found: %s", strerror(native.err),
		     script.interpreter, shown(bytes, size));
	size_t length = put(expected, script.interpreter);
	if (script.has_argument)
		length += put(expected + length, script.argument);
	length += put(expected + length, "s");
	length += put(expected + length, "one");
	cr_assert_eq(native.cmdline_size, length, "%s: %s", shown(bytes, size),
		     shown(native.cmdline, native.cmdline_size));
	cr_assert_eq(memcmp(native.cmdline, expected, length), 0, "%s: %s", shown(bytes, size),
		     shown(native.cmdline, native.cmdline_size));
	cr_assert_eq(stat("/bin/true", &interpreter), 0);
	cr_assert_eq(native.exe.st_ino, interpreter.st_ino);
}

Test(script, lines)
{
#define LINE(text)                                                                                                     \
	{                                                                                                              \
		text, sizeof(text) - 1                                                                                 \
	}
	static const struct {
		const char *bytes;
		size_t size;
	} lines[] = {
		LINE("#!i\n"),
		LINE("#!i"),
		LINE("#! i\n"),
		LINE("#!\ti\n"),
		LINE("#! \t \ti\n"),
		LINE("#!i \n"),
		LINE("#!i\t \t\n"),
		LINE("#!i a\n"),
		LINE("#!i a"),
		LINE("#!i a b  c \t\n"),
		LINE("#!i\ta\tb\n"),
		LINE("#!i  a"),
		LINE("#!i "),
		LINE("#!i\t"),
		LINE("#!i a "),
		LINE("#!i -x\nrest of it\n"),
		LINE("#!i\r\n"),
		LINE("#!i a\r\n"),
		LINE("#!i a\0b\n"),
		LINE("#!i\0a\n"),
		LINE("#!i \0a\n"),
		LINE("#!i \0"),
		LINE("#!i\0"),
		LINE("#!i a\0"),
		LINE("#!\0i\n"),
		LINE("#! \0\n"),
		LINE("#!\0\n"),
		LINE("#!i 'a b' \"c\"\n"),
		LINE("#!i #!i\n"),
		LINE("#!i \xff\xfe\n"),
		LINE("#!\xc3\xbc x\n"),
		LINE("#!\n"),
		LINE("#!"),
		LINE("#! \n"),
		LINE("#! \t \n"),
		LINE("#!   "),
		LINE("#!\ni\n"),
		LINE("#!./i\n"),
		LINE("#"),
		LINE("!"),
		LINE(""),
		LINE("\n#!i\n"),
		LINE(" #!i\n"),
		LINE("# !i\n"),
		LINE("##!i\n"),
		LINE("\xef\xbb\xbf#!i\n"), /* byte order mark */
	};
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
		check(lines[i].bytes, lines[i].size);
}

/* "#!" PREFIX, filled with `fill` to `size` bytes, then TAIL. */
static void check_long(const char *prefix, char fill, size_t size, const char *tail)
{
	char bytes[2 * SP_SCRIPT_HEAD];
	size_t length = strlen(prefix), tail_length = strlen(tail);

	memset(bytes, fill, sizeof bytes);
	memcpy(bytes, prefix, length);
	cr_assert_leq(size + tail_length, sizeof bytes);
	memcpy(bytes + size, tail, tail_length);
	check(bytes, size + tail_length);
}

/* Around the end of what the kernel looks at: the line ends before it, at it, behind it, nowhere. */
Test(script, as_long_as_the_buffer)
{
	static const char *const prefixes[] = {"#!i ", "#!i a", "#!i\t", "#! ", "#!", "#!i"};
	static const char *const tails[] = {"", "\n", " \n", "\nmore\n", " b\n", "\t\n\n"};
	static const char fills[] = {'x', ' '};
	for (size_t size = SP_SCRIPT_HEAD - 3; size <= SP_SCRIPT_HEAD + 2; size++)
		for (size_t p = 0; p < sizeof prefixes / sizeof *prefixes; p++)
			for (size_t t = 0; t < sizeof tails / sizeof *tails; t++)
				check_long(prefixes[p], fills[(p + t) % 2], size, tails[t]);
}

/* A name of 253 bytes, which together with its newline fills the buffer to the last byte, and one byte to each side. */
Test(script, newline_is_the_last_byte)
{
	for (size_t size = SP_SCRIPT_HEAD - 3; size <= SP_SCRIPT_HEAD; size++) {
		check_long("#!", 'x', size, "\n");
		check_long("#!i ", 'x', size, "\n");
	}
}

Test(script, random_lines)
{
	static const char alphabet[] = {'i', 'i', 'a', ' ', ' ', '\t', '\n', '\0', '#', '\r'};
	unsigned seed = 1;
	for (int round = 0; round < 150; round++) {
		char bytes[SP_SCRIPT_HEAD + 16] = "#!";
		size_t size = 2 + (size_t)rand_r(&seed) % (round % 8 == 0 ? sizeof bytes - 2 : 12);

		for (size_t i = 2; i < size; i++)
			bytes[i] = alphabet[(size_t)rand_r(&seed) % sizeof alphabet];
		check(bytes, size);
	}
}
