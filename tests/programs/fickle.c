/* Asks and asks for the same program, while its other threads change the words: fickle PROGRAM ROUNDS [THREADS [AT-ONCE]]
 *
 * Each round is a process of its own with threads of its own; its main thread execs PROGRAM with an argument that the others
 * write, over and over, as one of two words of the same length. AT-ONCE processes run side by side. Prints how many execs were
 * refused. PROGRAM is expected to print its pid and its arguments. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REFUSED = 99, PAGE = 4096 };

static char word[64];
static char *argv_of_child[4];

static void *change(void *data)
{
	(void)data;
	for (unsigned i = 0;; i++)
		for (size_t at = 0; at < 16; at++)
			((volatile char *)word)[at] = i % 2 != 0 ? 'a' : 'b';
	return NULL;
}

/* The pointer, too. */
static void *swap(void *data)
{
	static char other[] = "cccccccccccccccc";

	(void)data;
	for (unsigned i = 0;; i++)
		((char *volatile *)argv_of_child)[1] = i % 2 != 0 ? word : other;
	return NULL;
}

static void child(const char *program, int threads)
{
	pthread_t thread;

	memset(word, 'b', 16);
	argv_of_child[0] = (char *)"asked";
	argv_of_child[1] = word;
	for (int i = 0; i < threads; i++)
		if (pthread_create(&thread, NULL, i % 2 != 0 ? swap : change, NULL) != 0)
			_exit(98);
	(void)execv(program, argv_of_child);
	_exit(errno == EACCES ? REFUSED : 97);
}

int main(int argc, char **argv)
{
	const int rounds = argc > 2 ? atoi(argv[2]) : 1, threads = argc > 3 ? atoi(argv[3]) : 1;
	const int at_once = argc > 4 ? atoi(argv[4]) : 1;
	int refused = 0, failed = 0, running = 0;

	for (int done = 0, begun = 0; done < rounds;) {
		int status;

		if (begun < rounds && running < at_once) {
			pid_t pid = fork();
			if (pid == 0)
				child(argv[1], threads);
			if (pid < 0)
				return 1;
			begun++;
			running++;
			continue;
		}
		if (wait(&status) < 0)
			return 2;
		running--;
		done++;
		refused += WIFEXITED(status) && WEXITSTATUS(status) == REFUSED;
		failed += !WIFEXITED(status) || (WEXITSTATUS(status) != REFUSED && WEXITSTATUS(status) != 0);
	}
	printf("refused=%d failed=%d\n", refused, failed);
	return 0;
}
