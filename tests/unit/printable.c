/* Bytes made safe for a terminal: nothing that could steer it gets through, nothing is lost. */
#include "util/printable.h"
#include "util/cleanup.h"

#include <criterion/criterion.h>
#include <string.h>

typedef void printer(FILE *out, const char *bytes, size_t size);

static char *printed(printer *print, const char *bytes, size_t size)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	cr_assert_not_null(out);
	print(out, bytes, size);
	cr_assert_eq(fclose(out), 0);
	return text;
}

struct example {
	const char *in;
	size_t size;
	const char *out;
};

#define EXAMPLE(in, out)                                                                                               \
	{                                                                                                              \
		in, sizeof(in) - 1, out                                                                                \
	}

static void check(printer *print, const struct example *examples, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		cleanup_free char *text = printed(print, examples[i].in, examples[i].size);
		cr_assert_str_eq(text, examples[i].out, "example %zu: %s instead of %s", i, text, examples[i].out);
	}
}

Test(printable, safe)
{
	static const struct example examples[] = {
		EXAMPLE("", ""),
		EXAMPLE("plain 'text' \"x\"", "plain 'text' \"x\""),
		EXAMPLE("grüße ✓ 日本 🙂", "grüße ✓ 日本 🙂"),
		EXAMPLE("a\nb\tc\rd", "a\\nb\\tc\\rd"),
		EXAMPLE("back\\slash", "back\\\\slash"),
		EXAMPLE("\033[31mred", "\\x1b[31mred"),
		EXAMPLE("nul\0nul", "nul\\x00nul"),
		EXAMPLE("\x7f\b\a", "\\x7f\\x08\\x07"),
		EXAMPLE("\xff\xfe", "\\xff\\xfe"),
		EXAMPLE("\xc2\x9b", "\\xc2\\x9b"), /* C1: CSI as UTF-8 */
		EXAMPLE("\x9b", "\\x9b"), /* and as a byte */
		EXAMPLE("\xe2\x80\xae", "\\xe2\\x80\\xae"), /* right-to-left override */
		EXAMPLE("\xe2\x80\x8b", "\\xe2\\x80\\x8b"), /* zero width space */
		EXAMPLE("\xe2\x80\xa8", "\\xe2\\x80\\xa8"), /* line separator */
		EXAMPLE("\xef\xbb\xbf", "\\xef\\xbb\\xbf"), /* byte order mark */
		EXAMPLE("\xf3\xa0\x81\x81", "\\xf3\\xa0\\x81\\x81"), /* a tag character */
		EXAMPLE("\xc0\xaf", "\\xc0\\xaf"), /* overlong / */
		EXAMPLE("\xe0\x80\xaf", "\\xe0\\x80\\xaf"),
		EXAMPLE("\xed\xa0\x80", "\\xed\\xa0\\x80"), /* a surrogate */
		EXAMPLE("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"), /* beyond Unicode */
		EXAMPLE("\xef\xbf\xbf", "\\xef\\xbf\\xbf"), /* a noncharacter */
		EXAMPLE("cut \xe2\x9c", "cut \\xe2\\x9c"),
		EXAMPLE("\xe2\x9c x", "\\xe2\\x9c x"),
	};

	check(sp_print_safe, examples, sizeof examples / sizeof *examples);
}

Test(printable, argument)
{
	static const struct example examples[] = {
		EXAMPLE("", "''"),
		EXAMPLE("aZ09_@%+=:,./-", "aZ09_@%+=:,./-"),
		EXAMPLE("a b", "'a b'"),
		EXAMPLE("$HOME", "'$HOME'"),
		EXAMPLE("it's", "'it'\\''s'"),
		EXAMPLE("a\\b", "'a\\b'"),
		EXAMPLE("grün", "'grün'"),
		EXAMPLE("a\nb", "$'a\\nb'"),
		EXAMPLE("it's\n\\", "$'it\\'s\\n\\\\'"),
		EXAMPLE("\033", "$'\\x1b'"),
		EXAMPLE("\xff", "$'\\xff'"),
	};

	check(sp_print_argument, examples, sizeof examples / sizeof *examples);
}

/* What is shown can be pasted into bash and gives the same bytes. */
Test(printable, argument_means_the_same_to_a_shell)
{
	char path[] = "/tmp/sallyport-printable-XXXXXX", *expected = NULL;
	size_t size = 0;
	unsigned seed = 1;

	if (access("/bin/bash", X_OK) < 0)
		cr_skip_test("no bash here");
	int fd = mkstemp(path);
	cr_assert_geq(fd, 0);
	FILE *script = fdopen(fd, "w"), *memory = open_memstream(&expected, &size);
	fputs("printf '%s\\0'", script);
	for (int round = 0; round < 500; round++) {
		char bytes[40];
		size_t length = (size_t)rand_r(&seed) % sizeof bytes;
		for (size_t i = 0; i < length; i++) {
			int any = rand_r(&seed);
			bytes[i] = (char)(any % 3 == 0 ? "'\\\n $\"x\033"[any / 3 % 8] : 1 + any / 3 % 255);
		}
		fputc(' ', script);
		sp_print_argument(script, bytes, length);
		fwrite(bytes, 1, length, memory);
		fputc('\0', memory);
	}
	cr_assert_eq(fclose(script), 0);
	cr_assert_eq(fclose(memory), 0);

	char command[64], *back = malloc(size + 1);
	snprintf(command, sizeof command, "LC_ALL=C bash %s", path);
	FILE *shell = popen(command, "re");
	cr_assert_not_null(shell);
	size_t got = fread(back, 1, size + 1, shell);
	(void)pclose(shell);
	(void)unlink(path);
	cr_assert_eq(got, size, "%zu bytes instead of %zu", got, size);
	cr_assert_eq(memcmp(back, expected, size), 0);
	free(back);
	free(expected);
}

static char *argv_line(const char *bytes, size_t size, size_t limit)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	cr_assert_not_null(out);
	sp_print_argv(out, bytes, size, limit);
	cr_assert_eq(fclose(out), 0);
	return text;
}

#undef EXAMPLE
#define EXAMPLE(in, limit, out)                                                                                        \
	{                                                                                                              \
		in, sizeof(in) - 1, limit, out                                                                         \
	}

Test(printable, argv)
{
	static const struct {
		const char *in;
		size_t size, limit;
		const char *out;
	} examples[] = {
		EXAMPLE("", 0, ""),
		EXAMPLE("\0", 0, "''"),
		EXAMPLE("make\0-j2\0a b\0", 0, "make -j2 'a b'"),
		EXAMPLE("make\0-j2", 0, "make -j2"), /* without the last NUL */
		EXAMPLE("make\0-j2\0", 8, "make -j2"), /* just fits */
		EXAMPLE("make\0-j2\0all\0", 8, " … (+3 arguments)"),
		EXAMPLE("make\0-j2\0all of it and more of it\0", 36, "make -j2 'all of it and more of it'"),
		EXAMPLE("make\0-j2\0all of it and more of it\0", 34, "make -j2 'all ' … (+1 argument)"),
		EXAMPLE("make\0all\0of\0it\0and\0more\0of\0it\0", 28, "make all … (+6 arguments)"),
		EXAMPLE("cc\0x\033y and so on, and so on, and so on\0", 40, "cc $'x\\x1by and so o' … (+1 argument)"),
	};

	for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
		cleanup_free char *text = argv_line(examples[i].in, examples[i].size, examples[i].limit);
		cr_assert_str_eq(text, examples[i].out, "example %zu: \"%s\" instead of \"%s\"", i, text,
				 examples[i].out);
	}
}

/* Any bytes, any limit: no control character, no more bytes than allowed (the note may need its own), quotes closed. */
Test(printable, argv_of_anything)
{
	unsigned seed = 7;

	for (int round = 0; round < 3000; round++) {
		char bytes[120];
		size_t size = (size_t)rand_r(&seed) % sizeof bytes, limit = (size_t)rand_r(&seed) % 150;
		for (size_t i = 0; i < size; i++)
			bytes[i] = (char)(rand_r(&seed) % 5 == 0 ? "\0'\\\n\x80\xe2\x9b"[rand_r(&seed) % 7]
								 : rand_r(&seed));
		cleanup_free char *text = argv_line(bytes, size, limit);
		for (const char *at = text; *at != '\0'; at++)
			cr_assert((unsigned char)*at >= 0x20 && *at != 0x7f, "byte %#x", *at);
		cr_assert(sp_is_text(text, strlen(text)));
		if (limit > 25)
			cr_assert_leq(strlen(text), limit);
	}
}

Test(printable, is_text)
{
	cr_assert(sp_is_text("", 0));
	cr_assert(sp_is_text("a\033\xe2\x9c\x93", 5));
	cr_assert_not(sp_is_text("a\0b", 3));
	cr_assert_not(sp_is_text("\xff", 1));
	cr_assert_not(sp_is_text("\xe2\x9c", 2));
	cr_assert_not(sp_is_text("\xc0\x80", 2));
}
