/* Forks from many threads at once, raw clones among them; no exec.
 *
 * usage: forkstorm THREADS EACH [fail]     fail: under a limit on processes that makes each fork fail
 * prints forks=N reaped=N failed=N; every child exits with a status of its own, which its parent checks */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_long forks, reaped, failed;
static pthread_barrier_t ready;

/* Without CLONE_VM this is fork(), with what flags add: no exit signal, or a parent that sleeps until the child is done. */
static pid_t raw_clone(unsigned long flags)
{
	return (pid_t)syscall(SYS_clone, flags, NULL, NULL, NULL, 0);
}

static pid_t make_child(long turn)
{
	switch (turn % 4) {
	case 0:
		return raw_clone(CLONE_VFORK | SIGCHLD);
	case 1:
		return raw_clone(0);
	case 2:
		return raw_clone(SIGCHLD);
	default:
		return fork();
	}
}

static void *fork_each(void *each)
{
	pthread_barrier_wait(&ready); /* threads are under the limit, too */
	for (long i = 0; i < *(const long *)each; i++) {
		int status = -1;
		pid_t child = make_child(i);

		if (child == 0)
			_exit((int)(i & 0xff));
		if (child < 0) {
			atomic_fetch_add(&failed, 1);
			continue;
		}
		atomic_fetch_add(&forks, 1);
		if (waitpid(child, &status, __WALL) == child && WIFEXITED(status) && WEXITSTATUS(status) == (i & 0xff))
			atomic_fetch_add(&reaped, 1);
	}
	return NULL;
}

int main(int argc, char *argv[])
{
	long count = argc > 2 ? strtol(argv[1], NULL, 10) : 0, each = argc > 2 ? strtol(argv[2], NULL, 10) : 0;
	pthread_t threads[64];

	if (count < 1 || count > 64) {
		fprintf(stderr, "usage: forkstorm THREADS EACH [fail]\n");
		return 2;
	}
	pthread_barrier_init(&ready, NULL, (unsigned)count + 1);
	for (long i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, fork_each, &each) != 0)
			return 1;
	if (argc > 3 && strcmp(argv[3], "fail") == 0)
		setrlimit(RLIMIT_NPROC, &(struct rlimit){1, 1});
	pthread_barrier_wait(&ready);
	for (long i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	printf("forks=%ld reaped=%ld failed=%ld\n", atomic_load(&forks), atomic_load(&reaped), atomic_load(&failed));
	return 0;
}
