/* What a parent is told of its children: every exit status, and death by every signal that kills.
 *
 * usage: statuses               prints one line a child: what it did, what waitid said
 *        statuses exit N        exits with N
 *        statuses signal N      dies by N */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

[[gnu::noreturn]] static void die_by(int number)
{
	struct rlimit none = {0, 0};
	sigset_t all;

	setrlimit(RLIMIT_CORE, &none);
	signal(number, SIG_DFL);
	sigfillset(&all);
	sigprocmask(SIG_UNBLOCK, &all, NULL);
	kill(getpid(), number);
	for (;;) /* kill() of oneself may return before the signal is acted on when it is delivered elsewhere */
		pause();
}

static void report(const char *what, int number, pid_t child)
{
	siginfo_t info = {0};

	if (waitid(P_PID, (id_t)child, &info, WEXITED) < 0)
		perror("statuses: waitid");
	printf("%s %d: code %d status %d pid %s\n", what, number, info.si_code, info.si_status,
	       info.si_pid == child ? "same" : "other");
}

static int is_deadly(int number)
{
	switch (number) {
	case SIGCHLD:
	case SIGCONT:
	case SIGURG:
	case SIGWINCH:
	case SIGSTOP:
	case SIGTSTP:
	case SIGTTIN:
	case SIGTTOU:
		return 0;
	default:
		return number < 32 || number >= SIGRTMIN; /* 32 and 33 are glibc's own */
	}
}

static int all(void)
{
	for (int number = 0; number < 256; number++) {
		pid_t child = fork();

		if (child == 0)
			_exit(number);
		report("exit", number, child);
	}
	for (int number = 1; number <= SIGRTMAX; number++) {
		pid_t child = is_deadly(number) ? fork() : -1;

		if (child == 0)
			die_by(number);
		if (child > 0)
			report("signal", number, child);
	}
	return 0;
}

int main(int argc, char *argv[])
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 1)
		return all();
	if (argc == 3 && strcmp(argv[1], "exit") == 0)
		return atoi(argv[2]);
	if (argc == 3 && strcmp(argv[1], "signal") == 0)
		die_by(atoi(argv[2]));
	fprintf(stderr, "usage: statuses [exit N | signal N]\n");
	return 2;
}
