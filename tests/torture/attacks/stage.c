/* See attack.h. */
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { PEER_STACK = 64 << 10 };

const char harmless[] = HARMLESS, harmful[] = HARMFUL;

/* ---- the stage ---- */

int map_stage(struct attack_state *state, int flags, int fd)
{
	void *address = (void *)0x100000000000;
	void *stage = mmap(address, sizeof(struct stage), PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE, fd, 0);

	if (stage == MAP_FAILED)
		return -errno;
	state->stage = stage;
	return 0;
}

void fill_stage(struct attack_state *state)
{
	struct stage *stage = state->stage;

	stage->path = strcpy(stage->path_space, state->marker);
	strcpy(stage->argument, harmless);
	strcpy(stage->other_argument, harmful);
	stage->argv[0] = stage->path;
	stage->argv[1] = stage->argument;
	stage->argv[2] = NULL;
	stage->target = (_Atomic uint32_t *)(void *)stage->argument;
}

int prepare_private(struct attack_state *state)
{
	int err = map_stage(state, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (err == 0)
		fill_stage(state);
	return err;
}

uint32_t word_of(const char *text)
{
	uint32_t word = 0;

	memcpy(&word, text, sizeof(word));
	return word;
}

void flip_word(struct stage *stage)
{
	uint64_t flips = atomic_fetch_add(&stage->flips, 1);

	atomic_store(stage->target, word_of(flips % 2 ? harmless : harmful));
}

static void flip_pointer(struct stage *stage)
{
	uint64_t flips = atomic_fetch_add(&stage->flips, 1);

	atomic_store(&stage->argv[1], flips % 2 ? stage->argument : stage->other_argument);
}

void *flip_word_forever(void *stage)
{
	for (;;)
		flip_word(stage);
	return NULL;
}

void *flip_pointer_forever(void *stage)
{
	for (;;)
		flip_pointer(stage);
	return NULL;
}

void await_first_flip(struct stage *stage)
{
	uint64_t before = atomic_load(&stage->flips);

	while (atomic_load(&stage->flips) == before)
		sched_yield();
}

void await_start(struct attack_state *state)
{
	while (!atomic_load(state->started))
		sched_yield();
}

/* ---- the exec ---- */

void end_refused(const char *what)
{
	/* EAGAIN: the supervisor could not look at it in time. */
	if (errno == EACCES || errno == EPERM || errno == EAGAIN)
		_exit(EXIT_REFUSED);
	perror(what);
	_exit(EXIT_OTHER);
}

void end_blocked(const char *what)
{
	if (errno == EPERM || errno == ENOSYS || errno == EACCES)
		_exit(EXIT_BLOCKED);
	perror(what);
	_exit(EXIT_OTHER);
}

void exec_stage(struct stage *stage)
{
	char *environment[] = {NULL};

	/* EINTR: a signal came before the supervisor did, and its handler does not restart calls. */
	do
		execve(stage->path, (char **)stage->argv, environment);
	while (errno == EINTR);
	end_refused("attack: execve");
}

void exec_at(int directory, const char *path, int flags)
{
	char *argv[] = {(char *)"tool", NULL}, *environment[] = {NULL};

	execveat(directory, path, argv, environment, flags);
	end_refused("attack: execveat");
}

void exec_path(const char *path)
{
	char *argv[] = {(char *)"tool", NULL}, *environment[] = {NULL};

	execve(path, argv, environment);
	end_refused(path);
}

void end_like(int status)
{
	if (WIFSIGNALED(status))
		_exit(WTERMSIG(status) == SIGSYS ? EXIT_BLOCKED : EXIT_KILLED);
	_exit(WEXITSTATUS(status));
}

void end_like_victim(pid_t victim)
{
	int status = 0;

	if (victim < 0 || waitpid(victim, &status, 0) != victim)
		_exit(EXIT_OTHER);
	end_like(status);
}

/* ---- tasks ---- */

void start_thread(void *(*function)(void *), void *argument)
{
	pthread_t thread;
	pthread_attr_t attributes;

	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN);
	/* EAGAIN: threads that ended are not yet gone. */
	while (pthread_create(&thread, &attributes, function, argument) != 0)
		sched_yield();
	pthread_attr_destroy(&attributes);
}

int with_peer(struct attack_state *state, void (*forever)(struct attack_state *))
{
	pid_t parent = getpid();

	state->peer = fork();
	if (state->peer != 0)
		return state->peer < 0 ? -errno : 0;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() == parent)
		forever(state);
	_exit(EXIT_OTHER);
}

pid_t start_victim(struct attack_state *state)
{
	pid_t victim = -1;

	atomic_store(state->started, false);
	victim = fork();
	if (victim == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		await_start(state);
		exec_stage(state->stage);
	}
	if (victim < 0)
		_exit(EXIT_OTHER);
	return victim;
}

/* Shares the memory and the thread pointer of its parent: nothing in here may touch either but to flip. */
static int share_memory(void *stage)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	flip_word_forever(stage);
	return 0;
}

pid_t start_memory_sharer(unsigned long flags, struct stage *stage)
{
	char *stack = mmap(NULL, PEER_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

	return stack == MAP_FAILED ? -1
				   : clone(share_memory, stack + PEER_STACK, (int)(CLONE_VM | flags | SIGCHLD), stage);
}

/* ---- files ---- */

int copy_file(const char *from, const char *to)
{
	cleanup_close int in = open(from, O_RDONLY | O_CLOEXEC);
	cleanup_close int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	struct stat status;

	if (in < 0 || out < 0 || fstat(in, &status) < 0)
		return -errno;
	for (off_t done = 0; done < status.st_size;)
		if (sendfile(out, in, &done, (size_t)(status.st_size - done)) <= 0)
			return -EIO;
	return 0;
}

int write_file(const char *path, const char *text, mode_t mode)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

const char *in_directory(const struct attack_state *state, const char *format, ...)
{
	enum { TEXTS = 4 };
	static char text[TEXTS][PATH_MAX * 2];
	static unsigned next;
	char *path = text[next++ % TEXTS];
	int size = snprintf(path, sizeof(text[0]), "%s/", state->directory);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(path + size, sizeof(text[0]) - (size_t)size, format, arguments);
	va_end(arguments);
	return path;
}

int make_twins(struct attack_state *state)
{
	int err = 0;

	if (mkdir(in_directory(state, HARMLESS), 0755) < 0 || mkdir(in_directory(state, HARMFUL), 0755) < 0)
		return -errno;
	err = copy_file(state->marker, in_directory(state, HARMLESS "/tool"));
	return err < 0 ? err : copy_file(state->intruder, in_directory(state, HARMFUL "/tool"));
}

int make_directories(const char *path)
{
	char part[PATH_MAX * 2];

	for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			return -errno;
	}
	return 0;
}
