/* Arguments at the kernel's limits and beyond what anybody expects, passed through an exec of itself.
 *
 * usage: bigargs CASE     total | long | empty | none | bytes | lines | escapes | many | self
 * prints argc=N bytes=N hash=HEX as the new image sees its arguments: argv joined, each with its final NUL, FNV-1a */
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static char self[PATH_MAX + 1];
static char environment_entry[] = "BIGARGS=show";
static char *environment[] = {environment_entry, NULL};

static int show(int argc, char *argv[])
{
	uint64_t hash = 0xcbf29ce484222325;
	size_t bytes = 0;

	for (int i = 0; i < argc; i++) {
		size_t size = strlen(argv[i]) + 1;

		for (size_t j = 0; j < size; j++)
			hash = (hash ^ (unsigned char)argv[i][j]) * 0x100000001b3;
		bytes += size;
	}
	printf("argc=%d bytes=%zu hash=%016llx\n", argc, bytes, (unsigned long long)hash);
	return 0;
}

static int exec_self(const char *path, char *argv[])
{
	execve(path, argv, environment);
	printf("errno=%d\n", errno);
	return 1;
}

static char *filled(char byte, size_t size)
{
	char *text = malloc(size + 1);

	if (text == NULL)
		exit(2);
	memset(text, byte, size);
	text[size] = '\0';
	return text;
}

/* The kernel gives arguments a quarter of the stack limit, three quarters of 8 MiB at most. */
static int total(void)
{
	struct rlimit stack = {0};
	char *argv[34] = {"total"};

	getrlimit(RLIMIT_STACK, &stack);
	stack.rlim_cur = stack.rlim_max;
	setrlimit(RLIMIT_STACK, &stack);
	for (int i = 1; i < 33; i++)
		argv[i] = filled((char)('A' + i), 65535);
	return exec_self(self, argv);
}

static int many(void)
{
	size_t count = 50000;
	char **argv = calloc(count + 1, sizeof(*argv));

	if (argv == NULL)
		return 2;
	for (size_t i = 0; i < count; i++)
		argv[i] = i % 3 ? "x" : "";
	return exec_self(self, argv);
}

static int long_one(void)
{
	/* MAX_ARG_STRLEN is 32 pages, the NUL included. */
	char *argv[] = {"long", filled('l', 131071), NULL}, *too_long[] = {"long", filled('l', 131072), NULL};

	execve(self, too_long, environment);
	printf("one more: errno=%d\n", errno);
	fflush(stdout);
	return exec_self(self, argv);
}

static int empty(void)
{
	char *argv[] = {NULL};

	return exec_self(self, argv);
}

static int none(void)
{
	/* NULL instead of an array: Linux takes it for an empty one, glibc's prototype does not. */
	syscall(SYS_execve, self, NULL, environment);
	printf("errno=%d\n", errno);
	return 1;
}

static int bytes(void)
{
	char all[256];
	char *argv[] = {"bytes", all, "\xff\xfe", "\xc3\x28", "", "", NULL};

	for (int i = 0; i < 255; i++)
		all[i] = (char)(i + 1);
	all[255] = '\0';
	return exec_self(self, argv);
}

static int lines(void)
{
	char *argv[] = {"lines", "one\ntwo\n", "\n", "tab\tand\rreturn", NULL};

	return exec_self(self, argv);
}

static int escapes(void)
{
	char *argv[] = {"escapes",
			"\x1b[2J\x1b[31mred",
			"\x1b]0;title\x07",
			"\xc2\x9b"
			"31m",
			"\xe2\x80\xae"
			"rtl",
			NULL};

	return exec_self(self, argv);
}

/* What /proc/self means depends on who asks. */
static int by_proc_self(void)
{
	char *argv[] = {"self", "through /proc/self/exe", NULL};

	return exec_self("/proc/self/exe", argv);
}

static const struct {
	const char *name;
	int (*run)(void);
} cases[] = {
	{"total", total}, {"long", long_one}, {"empty", empty},     {"none", none},         {"bytes", bytes},
	{"lines", lines}, {"many", many},     {"escapes", escapes}, {"self", by_proc_self},
};

int main(int argc, char *argv[])
{
	if (getenv("BIGARGS") != NULL)
		return show(argc, argv);
	if (readlink("/proc/self/exe", self, PATH_MAX) < 0)
		return 2;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (argc == 2 && strcmp(argv[1], cases[i].name) == 0)
			return cases[i].run();
	fprintf(stderr, "usage: bigargs CASE\n");
	return 2;
}
