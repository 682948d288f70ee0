/* Makes children that stay, and tells what became of each: it ran, its fork failed, or it died before it ran.
 *
 * usage: crowd CHILDREN     prints ran=N eagain=N killed=N other=N */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 256 };

static int ran, eagain, killed, other;
static pid_t staying[MOST];

static void make_child(void)
{
	int ends[2], status = 0;
	char byte = 'r';

	if (pipe(ends) != 0)
		exit(1);
	const pid_t child = fork();
	if (child == 0) {
		(void)!write(ends[1], &byte, 1);
		for (;;)
			pause();
	}
	close(ends[1]);
	if (child < 0)
		*(errno == EAGAIN ? &eagain : &other) += 1;
	else if (read(ends[0], &byte, 1) == 1)
		staying[ran++] = child;
	else if (waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		killed++;
	else
		other++;
	close(ends[0]);
}

int main(int argc, char *argv[])
{
	const long count = argc == 2 ? strtol(argv[1], NULL, 10) : 0;

	if (count < 1 || count > MOST) {
		fprintf(stderr, "usage: crowd CHILDREN\n");
		return 2;
	}
	for (long i = 0; i < count; i++)
		make_child();
	for (int i = 0; i < ran; i++)
		kill(staying[i], SIGKILL);
	printf("ran=%d eagain=%d killed=%d other=%d\n", ran, eagain, killed, other);
	return 0;
}
