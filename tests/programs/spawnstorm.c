/* posix_spawn from many threads at once: vfork children of a threaded parent.
 *
 * usage: spawnstorm THREADS EACH PROGRAM [ARG...]
 * prints spawned=N ok=N: how many were made, how many of these exited with 0 */
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_long spawned, ok;

struct storm {
	long each;
	char **argv;
};

static void *spawn_each(void *argument)
{
	const struct storm *storm = argument;

	for (long i = 0; i < storm->each; i++) {
		pid_t child = -1;
		int status = -1;

		if (posix_spawn(&child, storm->argv[0], NULL, NULL, storm->argv, environ) != 0)
			continue;
		atomic_fetch_add(&spawned, 1);
		if (waitpid(child, &status, 0) == child && status == 0)
			atomic_fetch_add(&ok, 1);
	}
	return NULL;
}

int main(int argc, char *argv[])
{
	long count = argc > 3 ? strtol(argv[1], NULL, 10) : 0;
	struct storm storm = {.each = argc > 3 ? strtol(argv[2], NULL, 10) : 0, .argv = argv + 3};
	pthread_t threads[64];

	if (count < 1 || count > 64) {
		fprintf(stderr, "usage: spawnstorm THREADS EACH PROGRAM [ARG...]\n");
		return 2;
	}
	for (long i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, spawn_each, &storm) != 0)
			return 1;
	for (long i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	printf("spawned=%ld ok=%ld\n", atomic_load(&spawned), atomic_load(&ok));
	return 0;
}
