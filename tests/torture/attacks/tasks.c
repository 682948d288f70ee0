/* Who asks, and how: threads that are not the leader, several at once, under signals, traced by a friend, by the entries of
 * other architectures, under a pid that has been somebody else's. */
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* ---- threads that exec ---- */

static void *exec_when_flipping(void *stage)
{
	await_first_flip(stage);
	exec_stage(stage);
}

static void round_non_leader(struct attack_state *state)
{
	start_thread(exec_when_flipping, state->stage);
	flip_word_forever(state->stage);
}

static void round_rivals(struct attack_state *state)
{
	start_thread(flip_word_forever, state->stage);
	start_thread(exec_when_flipping, state->stage);
	exec_when_flipping(state->stage);
}

static char process_state(void)
{
	char text[256] = "";
	cleanup_close int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	const char *end = size > 0 ? strrchr(text, ')') : NULL;

	return end != NULL ? end[2] : '?';
}

static void *exec_when_leader_is_dead(void *stage)
{
	while (process_state() != 'Z')
		sched_yield();
	exec_when_flipping(stage);
	return NULL;
}

static void round_dead_leader(struct attack_state *state)
{
	start_thread(flip_word_forever, state->stage);
	start_thread(exec_when_leader_is_dead, state->stage);
	syscall(SYS_exit, 0); /* this thread only */
}

/* ---- signals ---- */

static struct stage *signalled_stage;

static void on_signal(int number)
{
	(void)number;
	flip_word(signalled_stage);
}

static void *pause_forever(void *tid)
{
	atomic_store((_Atomic pid_t *)tid, gettid());
	for (;;)
		pause();
	return NULL;
}

/* SIGURG: what arrives after the exec is ignored. Handlers without SA_RESTART, in the caller and in a sibling. */
static void round_signal_rain(struct attack_state *state)
{
	static _Atomic pid_t sibling;
	struct sigaction action = {.sa_handler = on_signal};
	pid_t self = getpid(), friend = -1;

	signalled_stage = state->stage;
	sigaction(SIGURG, &action, NULL);
	start_thread(pause_forever, &sibling);
	while (atomic_load(&sibling) == 0)
		sched_yield();
	friend = fork();
	if (friend == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (tgkill(self, self, SIGURG) == 0)
			tgkill(self, sibling, SIGURG);
		_exit(0);
	}
	if (friend < 0)
		_exit(EXIT_OTHER);
	await_first_flip(state->stage);
	exec_stage(state->stage);
}

/* ---- a friend that traces ---- */

struct traced_writer {
	struct stage *stage;
	_Atomic pid_t tid;
};

static void *flip_as_tracee(void *argument)
{
	struct traced_writer *writer = argument;

	atomic_store(&writer->tid, gettid());
	return flip_word_forever(writer->stage);
}

/* A tracer must take its dead tracees off the kernel's hands, or the exec never ends. */
[[gnu::noreturn]] static void trace(pid_t tid, int result)
{
	char told = 't';
	int status = 0;
	pid_t tracee = -1;

	if (ptrace(PTRACE_SEIZE, tid, 0, 0) < 0)
		told = 'b';
	(void)!write(result, &told, 1);
	while ((tracee = waitpid(-1, &status, __WALL)) > 0)
		if (WIFSTOPPED(status))
			ptrace(PTRACE_CONT, tracee, 0, 0);
	_exit(0);
}

/* The thread that rewrites is another one's tracee already, so that it cannot be seized to be stopped. */
static void round_traced_writer(struct attack_state *state)
{
	static struct traced_writer writer;
	int ends[2];
	char told = 0;

	writer.stage = state->stage;
	start_thread(flip_as_tracee, &writer);
	await_first_flip(state->stage);
	if (pipe2(ends, O_CLOEXEC) < 0)
		_exit(EXIT_OTHER);
	if (fork() == 0)
		trace(atomic_load(&writer.tid), ends[1]);
	if (read(ends[0], &told, 1) != 1)
		_exit(EXIT_OTHER);
	if (told == 'b')
		_exit(EXIT_BLOCKED);
	exec_stage(state->stage);
}

/* ---- other entries into the kernel: everything they take must lie below 4 GiB ---- */

struct low_stage {
	uint32_t argv[3];
	char argument[16];
	char path[PATH_MAX];
};

static struct low_stage *make_low_stage(const struct attack_state *state)
{
	struct low_stage *low =
		mmap(NULL, sizeof(*low), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	if (low == MAP_FAILED)
		_exit(EXIT_OTHER);
	strcpy(low->path, state->marker);
	strcpy(low->argument, harmful);
	low->argv[0] = (uint32_t)(uintptr_t)low->path;
	low->argv[1] = (uint32_t)(uintptr_t)low->argument;
	return low;
}

static long call_32(long number, const void *first, const void *second, const void *third)
{
	long result = number;

	asm volatile("int $0x80"
		     : "+a"(result)
		     : "b"(first), "c"(second), "d"(third)
		     : "memory", "r8", "r9", "r10", "r11");
	return result;
}

enum { I386_GETPID = 20, I386_EXECVE = 11, X32_BIT = 0x40000000, X32_EXECVE = X32_BIT | 520 };

static void round_int80(struct attack_state *state)
{
	const struct low_stage *low = make_low_stage(state);

	errno = -(int)call_32(I386_EXECVE, low->path, low->argv, NULL);
	end_blocked("attack: execve by int $0x80");
}

/* Where the kernel has no 32-bit entry, that is a fault. */
static const char *why_no_int80(void)
{
	pid_t child = fork();
	int status = 0;

	if (child == 0)
		_exit(call_32(I386_GETPID, NULL, NULL, NULL) == getpid() ? 0 : 1);
	waitpid(child, &status, 0);
	return status == 0 ? NULL : "this kernel has no 32-bit entry";
}

static void round_x32(struct attack_state *state)
{
	const struct low_stage *low = make_low_stage(state);

	syscall(X32_EXECVE, low->path, low->argv, NULL);
	end_blocked("attack: execve by the x32 entry");
}

static const char *why_no_x32(void)
{
	return syscall(X32_BIT | SYS_getpid) > 0 ? NULL : "this kernel has no x32 entry (CONFIG_X86_X32_ABI)";
}

/* ---- the pid of another ---- */

static bool choose_next_pid(pid_t pid)
{
	cleanup_close int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);

	return fd >= 0 && dprintf(fd, "%d", pid - 1) > 0;
}

/* A victim is killed while it waits for the answer to a forbidden exec, and its pid given to one that asks for a harmless
 * one. Whoever takes the pid for the process decides the one by the words of the other. */
static void round_pid_reuse(struct attack_state *state)
{
	pid_t victim = -1, heir = -1;

	atomic_store(state->started, false);
	victim = fork();
	if (victim == 0) {
		state->stage->argv[1] = state->stage->other_argument;
		atomic_store(state->started, true);
		exec_stage(state->stage);
	}
	await_start(state);
	for (int i = 0; i < 20; i++) /* let it get into the call, and the supervisor begin */
		sched_yield();
	kill(victim, SIGKILL);
	waitpid(victim, NULL, 0);
	do {
		if (heir > 0)
			waitpid(heir, NULL, 0);
		if (!choose_next_pid(victim))
			end_blocked("attack: ns_last_pid");
		heir = fork();
		if (heir == 0 && getpid() == victim)
			exec_stage(state->stage);
		if (heir == 0)
			_exit(0); /* somebody else was faster */
	} while (heir != victim);
	end_like_victim(heir);
}

static const char *why_no_pid_reuse(void)
{
	return "an answer names the notification, not the pid, and that ends with its caller: shown is that nobody is "
	       "mistaken for another";
}

const struct attack task_attacks[] = {
	{"non-leader", "freeze", "a thread execs, the leader rewrites", prepare_private, round_non_leader},
	{"rivals", "freeze", "two threads exec at once, a third rewrites", prepare_private, round_rivals},
	{"dead-leader", "freeze", "a thread execs whose leader has ended", prepare_private, round_dead_leader},
	{"signal-rain", "freeze", "signals interrupt the call, their handlers rewrite", prepare_private,
	 round_signal_rain, 0, NULL, 3},
	{"traced-writer", "filter", "the thread that rewrites is traced by a friend", prepare_private,
	 round_traced_writer},
	{"int80", "filter", "execve by int $0x80, the 32-bit entry", prepare_private, round_int80, FEW_ROUNDS,
	 why_no_int80},
	{"x32", "filter", "execve by the x32 entry", prepare_private, round_x32, FEW_ROUNDS, why_no_x32},
	{"pid-reuse", "the id", "the caller dies, its pid is given to another", prepare_private, round_pid_reuse, 20,
	 why_no_pid_reuse},
	{0},
};
