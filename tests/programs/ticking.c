/* Timers at 1 kHz under everything a program does: forks, execs, waits, pipes, sleeps. Each tick must come, and none may
 * turn into an error of a call that never gives EINTR, or restarts.
 *
 * usage: ticking ROUNDS     for each kind of timer: prints what was done and whether at least as many ticks came as fit in */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MILLISECOND_NS = 1000000, TICKS_WANTED = 50 };

static atomic_long ticks;
static long rounds;

struct counts {
	long forks, execs, reads, restarted, sleeps, errors;
};

static void tick(int number)
{
	(void)number;
	atomic_fetch_add(&ticks, 1);
}

static void *tick_thread(void *until)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	struct itimerspec every = {{0, MILLISECOND_NS}, {0, MILLISECOND_NS}};

	timerfd_settime(fd, 0, &every, NULL);
	while (!atomic_load((atomic_bool *)until)) {
		uint64_t count = 0;

		if (read(fd, &count, sizeof(count)) == sizeof(count))
			atomic_fetch_add(&ticks, (long)count);
	}
	close(fd);
	return NULL;
}

/* --- the work --- */

/* waitpid restarts where the handler has SA_RESTART, and may give EINTR where it has not. */
static int wait_for(pid_t child)
{
	int status = -1;

	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

static void fork_once(struct counts *done)
{
	pid_t child = fork();

	if (child == 0)
		_exit(7);
	if (child < 0)
		done->errors++;
	else
		done->forks += wait_for(child) == 7 << 8;
}

static void exec_once(struct counts *done)
{
	char *argv[] = {"true", NULL};
	pid_t child = vfork();

	if (child == 0) {
		execv("/nowhere/true", argv);
		execv("/bin/true", argv);
		_exit(errno == EINTR ? 98 : 99);
	}
	if (child < 0)
		done->errors++;
	else
		done->execs += wait_for(child) == 0;
}

/* What comes from a child takes longer than a tick: the read is interrupted, and restarts or is repeated. */
static void read_once(struct counts *done)
{
	int ends[2];
	char byte = 0;
	ssize_t got = -1;

	if (pipe(ends) < 0)
		return;
	pid_t child = fork();
	if (child == 0) {
		(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){0, 3 * MILLISECOND_NS}, NULL);
		_exit(write(ends[1], "x", 1) == 1 ? 0 : 1);
	}
	close(ends[1]);
	while ((got = read(ends[0], &byte, 1)) < 0 && errno == EINTR)
		done->restarted++;
	done->reads += got == 1 && byte == 'x';
	close(ends[0]);
	done->errors += child < 0 || wait_for(child) != 0;
}

/* The time that is left after each interruption adds up to the whole. */
static void sleep_once(struct counts *done)
{
	struct timespec left = {0, 5 * MILLISECOND_NS}, began, ended;

	clock_gettime(CLOCK_MONOTONIC, &began);
	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
	clock_gettime(CLOCK_MONOTONIC, &ended);
	long slept = (ended.tv_sec - began.tv_sec) * 1000000000L + ended.tv_nsec - began.tv_nsec;
	done->sleeps += slept >= 5 * MILLISECOND_NS;
}

static void work(const char *timer, const char *handler, bool restarts)
{
	struct counts done = {0};

	for (long i = 0; i < rounds; i++) {
		fork_once(&done);
		exec_once(&done);
		read_once(&done);
		sleep_once(&done);
	}
	/* Those that measure processor time need some. */
	while (atomic_load(&ticks) < TICKS_WANTED)
		(void)getppid();
	printf("%s, %s: forks=%ld execs=%ld reads=%ld sleeps=%ld errors=%ld, ticks came, reads %s\n", timer, handler,
	       done.forks, done.execs, done.reads, done.sleeps, done.errors,
	       restarts && done.restarted > 0 ? "gave EINTR in spite of SA_RESTART" : "as they should");
	atomic_store(&ticks, 0);
}

/* --- the timers --- */

static void handle(int number, int flags)
{
	struct sigaction action = {.sa_handler = tick, .sa_flags = flags};

	sigaction(number, &action, NULL);
}

static void with_interval_timer(int which, int number, const char *name)
{
	struct itimerval every = {{0, 1000}, {0, 1000}}, never = {0};

	for (int restart = 0; restart < 2; restart++) {
		handle(number, restart ? SA_RESTART : 0);
		setitimer(which, &every, NULL);
		work(name, restart ? "SA_RESTART" : "no SA_RESTART", restart);
		setitimer(which, &never, NULL);
	}
}

static void with_posix_timer(clockid_t clock, const char *name)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
	struct itimerspec every = {{0, MILLISECOND_NS}, {0, MILLISECOND_NS}};
	timer_t timer;

	for (int restart = 0; restart < 2; restart++) {
		handle(SIGRTMIN, restart ? SA_RESTART : 0);
		if (timer_create(clock, &event, &timer) < 0)
			return;
		timer_settime(timer, 0, &every, NULL);
		work(name, restart ? "SA_RESTART" : "no SA_RESTART", restart);
		timer_delete(timer);
	}
}

static void with_thread(void)
{
	atomic_bool end = false;
	pthread_t thread;

	if (pthread_create(&thread, NULL, tick_thread, &end) != 0)
		return;
	work("timerfd in a thread", "no signals", true);
	atomic_store(&end, true);
	pthread_join(thread, NULL);
}

/* Blocked and waited for: nothing is interrupted, and each wait returns with the timer's signal and value. */
static void with_waits(void)
{
	struct sigevent event = {
		.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value = {.sival_int = 4711}};
	struct itimerspec every = {{0, MILLISECOND_NS}, {0, MILLISECOND_NS}};
	timer_t timer;
	sigset_t set;
	siginfo_t info;
	long good = 0;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) < 0)
		return;
	timer_settime(timer, 0, &every, NULL);
	for (int i = 0; i < TICKS_WANTED; i++)
		good += sigwaitinfo(&set, &info) == SIGRTMIN && info.si_code == SI_TIMER &&
			info.si_value.sival_int == 4711;
	timer_delete(timer);
	printf("sigwaitinfo: %ld ticks\n", good);
}

int main(int argc, char *argv[])
{
	rounds = argc == 2 ? strtol(argv[1], NULL, 10) : 0;
	if (rounds < 1) {
		fprintf(stderr, "usage: ticking ROUNDS\n");
		return 2;
	}
	with_interval_timer(ITIMER_REAL, SIGALRM, "ITIMER_REAL");
	with_interval_timer(ITIMER_VIRTUAL, SIGVTALRM, "ITIMER_VIRTUAL");
	with_interval_timer(ITIMER_PROF, SIGPROF, "ITIMER_PROF");
	with_posix_timer(CLOCK_MONOTONIC, "CLOCK_MONOTONIC");
	with_posix_timer(CLOCK_PROCESS_CPUTIME_ID, "CLOCK_PROCESS_CPUTIME_ID");
	with_thread();
	with_waits();
	return 0;
}
