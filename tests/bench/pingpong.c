/* Two processes that send each other a signal in turns; each is delivered to a handler.
 *
 * usage: pingpong N     prints ok=N: how many came back */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t received;

static void note(int signal)
{
	(void)signal;
	received++;
}

static void await_signal(const sigset_t *open)
{
	int before = received;

	while (received == before)
		sigsuspend(open);
}

int main(int argc, char *argv[])
{
	long count = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
	struct sigaction action = {.sa_handler = note};
	sigset_t blocked, open;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigprocmask(SIG_BLOCK, &blocked, &open);
	sigaction(SIGUSR1, &action, NULL);
	pid_t parent = getpid(), child = fork();
	if (child < 0)
		return 1;
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (long i = 0; i < count; i++) {
			await_signal(&open);
			kill(parent, SIGUSR1);
		}
		_exit(0);
	}
	for (long i = 0; i < count; i++) {
		kill(child, SIGUSR1);
		await_signal(&open);
	}
	int status = -1;
	waitpid(child, &status, 0);
	printf("ok=%d\n", received);
	return received == count && status == 0 ? 0 : 1;
}
