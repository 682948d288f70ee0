/* What the attacks and the storms try to run: leaves one byte that says which program, with which arguments, came to life.
 *
 * usage: marker [ARG...]      writes 'E' when argv[1] is "forbidden" or its own file lies under that name, else 'a', to fd 9
 * Without an fd 9 it writes nothing. Exit status 0. */
#include <limits.h>
#include <string.h>
#include <unistd.h>

enum { RESULTS_FD = 9 };

static int is_forbidden_file(void)
{
	char path[PATH_MAX + 1] = "";
	ssize_t size = readlink("/proc/self/exe", path, PATH_MAX);

	return size > 0 && strstr(path, "/forbidden") != NULL;
}

int main(int argc, char *argv[])
{
	int escaped = (argc > 1 && strcmp(argv[1], "forbidden") == 0) || is_forbidden_file();

	/* The byte is the only trace: whoever counts notices that it is missing. */
	(void)!write(RESULTS_FD, escaped ? "E" : "a", 1);
	return 0;
}
