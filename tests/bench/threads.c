/* Makes a thread and joins it, again and again.
 *
 * usage: threads N     prints ok=N */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static void *nothing(void *argument)
{
	return argument;
}

int main(int argc, char *argv[])
{
	long count = argc > 1 ? strtol(argv[1], NULL, 10) : 0, ok = 0;

	for (long i = 0; i < count; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, nothing, NULL) == 0 && pthread_join(thread, NULL) == 0)
			ok++;
	}
	printf("ok=%ld\n", ok);
	return ok == count && count > 0 ? 0 : 1;
}
