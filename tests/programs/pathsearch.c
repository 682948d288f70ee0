/* A threaded program that looks for a command along a PATH with misses, while its other threads spin: each miss is an execve
 * that fails, after which the threads must go on; the hit ends them all.
 *
 * usage: pathsearch ROUNDS DIRECTORY NAME [main|thread] [THREADS]
 * DIRECTORY/NAME is marker; which thread execs; how many spin (16). A fresh process a round. prints ok=N wrong=N */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RESULTS_FD = 9 };

static atomic_ulong turns[256];

static void *spin(void *turn)
{
	for (;;)
		atomic_fetch_add((atomic_ulong *)turn, 1);
	return NULL;
}

/* A thread that was left stopped keeps this waiting for good. One thread a round: on two processors each has to wait for all. */
static void await_turn(atomic_ulong *turn)
{
	unsigned long before = atomic_load(turn);

	while (atomic_load(turn) == before)
		usleep(50);
}

struct search {
	char *name;
	int threads;
	int watched; /* the thread that must be seen to run before and after the misses */
};

static void *exec_along_path(void *argument)
{
	struct search *search = argument;
	char *argv[] = {search->name, "found", NULL}, *nothing[] = {"nothing-of-that-name", NULL};

	execvp(nothing[0], nothing);
	await_turn(&turns[search->watched]);
	execvp(search->name, argv);
	perror("pathsearch: execvp");
	_exit(1);
}

static void start_thread(void *(*function)(void *), void *argument)
{
	pthread_t thread;
	int err = pthread_create(&thread, NULL, function, argument);

	if (err != 0) {
		fprintf(stderr, "pathsearch: pthread_create: %s\n", strerror(err));
		_exit(1);
	}
}

static void run_round(struct search *search, int from_thread)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0; i < search->threads; i++)
		start_thread(spin, &turns[i]);
	await_turn(&turns[search->watched]);
	if (!from_thread)
		exec_along_path(search);
	start_thread(exec_along_path, search);
	for (;;)
		pause();
}

/* The right program ran when marker says so and ended well. */
static int check_round(int results, pid_t child)
{
	char bytes[2] = "";
	int status = -1;

	waitpid(child, &status, 0);
	return status == 0 && read(results, bytes, sizeof(bytes)) == 1 && bytes[0] == 'a';
}

int main(int argc, char *argv[])
{
	struct search search = {.name = argc > 3 ? argv[3] : "", .threads = argc > 5 ? atoi(argv[5]) : 16};
	long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 0, ok = 0;
	int ends[2], from_thread = argc > 4 && strcmp(argv[4], "thread") == 0;
	char *path = NULL;

	if (argc < 4 || search.threads < 1 || search.threads > 256) {
		fprintf(stderr, "usage: pathsearch ROUNDS DIRECTORY NAME [main|thread] [THREADS]\n");
		return 2;
	}
	if (asprintf(&path, "/nonexistent/a:/nonexistent/b:/proc:/nonexistent/c:%s", argv[2]) < 0 ||
	    setenv("PATH", path, 1) < 0 || pipe2(ends, O_NONBLOCK) < 0 || dup2(ends[1], RESULTS_FD) < 0)
		return 1;
	for (long i = 0; i < rounds; i++) {
		pid_t child = -1;

		search.watched = (int)(i % search.threads);
		child = fork();
		if (child == 0)
			run_round(&search, from_thread);
		ok += child > 0 && check_round(ends[0], child);
	}
	printf("ok=%ld wrong=%ld\n", ok, rounds - ok);
	free(path);
	return 0;
}
