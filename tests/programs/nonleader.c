/* An exec by a thread that is not the leader: the new image runs in the only task left, under the leader's id.
 *
 * usage: nonleader [ROUNDS]     prints nonleader=N: how many times the new image found what it should
 * Half of the rounds the leader lives on until the exec ends it; in the others it has ended itself before. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static char self[4096];

static int threads_of_self(void)
{
	char line[256];
	int threads = -1;
	FILE *status = fopen("/proc/self/status", "re");

	while (status != NULL && fgets(line, sizeof(line), status) != NULL)
		(void)sscanf(line, "Threads: %d", &threads);
	if (status != NULL)
		fclose(status);
	return threads;
}

static int check(const char *expected)
{
	pid_t pid = (pid_t)atoi(expected);

	return pid == getpid() && pid == gettid() && threads_of_self() == 1 ? 0 : 1;
}

static void *exec_self(void *argument)
{
	char pid[16], *argv[] = {"nonleader", "check", pid, NULL};

	if (argument != NULL) /* the leader ends first */
		pthread_join(*(pthread_t *)argument, NULL);
	snprintf(pid, sizeof(pid), "%d", getpid());
	execv(self, argv);
	_exit(2);
}

static void run_round(int leader_ends)
{
	static pthread_t leader;
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	leader = pthread_self();
	if (pthread_create(&thread, NULL, exec_self, leader_ends ? &leader : NULL) != 0)
		_exit(3);
	if (leader_ends)
		pthread_exit(NULL);
	for (;;)
		pause();
}

int main(int argc, char *argv[])
{
	long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 2, good = 0;

	if (argc > 2 && strcmp(argv[1], "check") == 0)
		return check(argv[2]);
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return 1;
	for (long i = 0; i < rounds; i++) {
		int status = -1;
		pid_t child = fork();

		if (child == 0)
			run_round((int)(i % 2));
		waitpid(child, &status, 0);
		if (status == 0)
			good++;
		else
			fprintf(stderr, "nonleader: round %ld: wait status 0x%x\n", i, status);
	}
	printf("nonleader=%ld\n", good);
	return 0;
}
