/* A child, alone and threaded, that is stopped and continued in every way; its parent sees what job control shows a shell.
 *
 * usage: jobcontrol     prints one line an event, the same natively and under supervision */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_int continued;

static void note_continued(int number)
{
	(void)number;
	atomic_fetch_add(&continued, 1);
}

static void await_byte(int fd)
{
	char byte = 0;

	if (read(fd, &byte, 1) != 1)
		_exit(99);
}

static void tell(int fd)
{
	if (write(fd, "", 1) != 1)
		_exit(98);
}

static void *sleep_forever(void *unused)
{
	for (;;)
		pause();
	return unused;
}

/* Stops itself three times, each time told to go on, then waits to be stopped from outside; each SIGCONT must reach the
 * handler. */
[[gnu::noreturn]] static void stop_and_go(int threads, int go_on)
{
	const int stops[] = {SIGSTOP, SIGTSTP, SIGTTIN};
	struct sigaction action = {.sa_handler = note_continued, .sa_flags = SA_RESTART};
	pthread_t thread;
	sigset_t set;
	int received = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGCONT, &action, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (int i = 0; i < threads; i++)
		pthread_create(&thread, NULL, sleep_forever, NULL);
	for (int i = 0; i < 3; i++) {
		kill(getpid(), stops[i]);
		/* With threads the stop, and so the handler, may come a little after kill(). */
		while (atomic_load(&continued) <= i)
			sched_yield();
		tell(go_on);
		await_byte(go_on);
	}
	sigwait(&set, &received);
	await_byte(go_on);
	while (atomic_load(&continued) < 4)
		sched_yield();
	_exit(atomic_load(&continued));
}

static void wait_for(pid_t child, const char *what)
{
	siginfo_t info = {0};

	if (waitid(P_PID, (id_t)child, &info, WEXITED | WSTOPPED | WCONTINUED) < 0)
		perror("jobcontrol: waitid");
	printf("%s: code %d status %d\n", what, info.si_code, info.si_status);
}

static char state_of(pid_t pid)
{
	char path[64], state = 0;
	FILE *file = NULL;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (file == NULL)
		return 'X';
	if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = 'X';
	fclose(file);
	return state;
}

/* What ps shows of a stopped process: T, and under a tracer that does not know better t. */
static void show_state(pid_t child)
{
	char state = state_of(child);

	printf("state: %s\n", state == 'T' || state == 't' ? "stopped" : "not stopped");
}

static void stop_from_outside(pid_t child, int go_on)
{
	siginfo_t info = {0};

	kill(child, SIGSTOP);
	wait_for(child, "SIGSTOP from outside");
	/* A stopped process stays so: SIGUSR1 is pending, nothing is to be waited for. */
	kill(child, SIGUSR1);
	show_state(child);
	waitid(P_PID, (id_t)child, &info, WEXITED | WSTOPPED | WCONTINUED | WNOHANG);
	printf("while stopped: code %d\n", info.si_code);
	kill(child, SIGCONT);
	wait_for(child, "SIGCONT from outside");
	tell(go_on);
	wait_for(child, "end");
}

static void run(int threads)
{
	int go_on[2];
	pid_t child = -1;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, go_on) < 0)
		return;
	child = fork();
	if (child == 0) {
		setpgid(0, 0); /* a group that is not orphaned: its stops are not discarded */
		stop_and_go(threads, go_on[0]);
	}
	close(go_on[0]);
	setpgid(child, child);
	printf("with %d threads\n", threads);
	for (int i = 0; i < 3; i++) {
		wait_for(child, "stop");
		show_state(child);
		kill(child, SIGCONT);
		wait_for(child, "continue");
		/* Not before the handler ran: a stop discards a SIGCONT that is pending. */
		await_byte(go_on[1]);
		tell(go_on[1]);
	}
	stop_from_outside(child, go_on[1]);
	close(go_on[1]);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	run(0);
	run(4);
	return 0;
}
