/* Processes that leave their parents: a daemon's double fork with a session of its own.
 *
 * usage: orphans PROGRAM [ARG...]   an orphan execs PROGRAM in its own session and gets its status back through a pipe:
 *                                   prints orphan=1 session=own status=N
 *        orphans --linger           leaves an orphan behind that never ends, and threads, and waits itself; prints ready */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct tale {
	int orphan, own_session, status;
};

[[gnu::noreturn]] static void live_as_orphan(int tell, pid_t parent, char *argv[])
{
	struct tale tale = {.status = -1};
	pid_t child = -1;

	while (getppid() == parent)
		sched_yield();
	tale.orphan = 1;
	tale.own_session = getsid(0) == parent;
	child = fork();
	if (child == 0) {
		execv(argv[0], argv);
		_exit(127);
	}
	waitpid(child, &tale.status, 0);
	(void)!write(tell, &tale, sizeof(tale));
	_exit(0);
}

[[gnu::noreturn]] static void double_fork(int tell, char *argv[])
{
	pid_t parent = getpid();

	setsid();
	if (fork() == 0)
		live_as_orphan(tell, parent, argv);
	_exit(0);
}

static int through_an_orphan(char *argv[])
{
	struct tale tale = {0};
	int ends[2];
	pid_t child = -1;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return 1;
	child = fork();
	if (child == 0)
		double_fork(ends[1], argv);
	close(ends[1]);
	waitpid(child, NULL, 0);
	if (read(ends[0], &tale, sizeof(tale)) != sizeof(tale))
		return 1;
	printf("orphan=%d session=%s status=%d\n", tale.orphan, tale.own_session ? "own" : "shared",
	       WIFEXITED(tale.status) ? WEXITSTATUS(tale.status) : 128 + WTERMSIG(tale.status));
	return 0;
}

static void *sleep_forever(void *unused)
{
	for (;;)
		pause();
	return unused;
}

static int linger(void)
{
	pthread_t thread;

	if (fork() == 0) {
		setsid();
		if (fork() == 0)
			sleep_forever(NULL);
		_exit(0);
	}
	wait(NULL);
	for (int i = 0; i < 4; i++)
		pthread_create(&thread, NULL, sleep_forever, NULL);
	puts("ready");
	fflush(stdout);
	sleep_forever(NULL);
	return 0;
}

int main(int argc, char *argv[])
{
	if (argc > 1 && strcmp(argv[1], "--linger") == 0)
		return linger();
	if (argc > 1)
		return through_an_orphan(argv + 1);
	fprintf(stderr, "usage: orphans PROGRAM [ARG...] | orphans --linger\n");
	return 2;
}
