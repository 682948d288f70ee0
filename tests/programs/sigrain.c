/* A process under a rain of signals, about 20,000 a second, whose handler is installed without SA_RESTART: execve and fork
 * never give EINTR natively, so under supervision they may not either.
 *
 * usage: sigrain EXECS FORKS [timer|peer]   where the rain comes from: its own timer, or another process
 * prints enoent=N other=N forks=N signals=N; exit status 1 if it hardly rained */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PERIOD_NS = 50000 };

static atomic_long signals;

static void count_signal(int signal)
{
	(void)signal;
	atomic_fetch_add(&signals, 1);
}

static void rain_from_timer(void)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	struct itimerspec period = {{.tv_nsec = PERIOD_NS}, {.tv_nsec = PERIOD_NS}};
	timer_t timer;

	if (timer_create(CLOCK_MONOTONIC, &event, &timer) < 0 || timer_settime(timer, 0, &period, NULL) < 0)
		perror("sigrain: timer");
}

static pid_t rain_from_peer(void)
{
	struct timespec period = {.tv_nsec = PERIOD_NS};
	pid_t target = getpid(), peer = fork();

	if (peer != 0)
		return peer;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_TIMERSLACK, 1);
	while (kill(target, SIGUSR1) == 0)
		nanosleep(&period, NULL);
	_exit(0);
}

static long count_failing_execs(long execs, long *other)
{
	char *argv[] = {"nothing", NULL};
	long enoent = 0;

	for (long i = 0; i < execs; i++) {
		execve("/nonexistent/nothing", argv, argv + 1);
		if (errno == ENOENT)
			enoent++;
		else
			(*other)++;
	}
	return enoent;
}

static int reap(pid_t child)
{
	int status = 0;
	pid_t reaped = -1;

	do
		reaped = waitpid(child, &status, 0);
	while (reaped < 0 && errno == EINTR);
	return reaped == child && status == 0;
}

static long count_forks(long forks)
{
	long good = 0;

	for (long i = 0; i < forks; i++) {
		pid_t child = fork();

		if (child == 0)
			_exit(0);
		if (child > 0)
			good += reap(child);
	}
	return good;
}

int main(int argc, char *argv[])
{
	struct sigaction action = {.sa_handler = count_signal};
	long enoent = 0, other = 0, forks = 0;
	pid_t peer = -1;

	if (argc < 3) {
		fprintf(stderr, "usage: sigrain EXECS FORKS [timer|peer]\n");
		return 2;
	}
	sigaction(SIGUSR1, &action, NULL);
	if (argc > 3 && strcmp(argv[3], "peer") == 0)
		peer = rain_from_peer();
	else
		rain_from_timer();
	while (atomic_load(&signals) == 0)
		pause();
	enoent = count_failing_execs(strtol(argv[1], NULL, 10), &other);
	forks = count_forks(strtol(argv[2], NULL, 10));
	if (peer > 0) {
		kill(peer, SIGKILL);
		while (waitpid(peer, NULL, 0) < 0 && errno == EINTR)
			;
	}
	printf("enoent=%ld other=%ld forks=%ld signals=%ld\n", enoent, other, forks, atomic_load(&signals));
	return atomic_load(&signals) < 100;
}
