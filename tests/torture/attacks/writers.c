/* Writers that write for somebody else, or that are no task at all: another process by /proc, process_vm_writev or ptrace, and
 * the kernel by io_uring, AIO, userfaultfd or a read that waits. */
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

/* ---- another process ---- */

typedef bool poke(const struct attack_state *state, pid_t victim, int memory, const uint32_t *word);

/* Until it has ended. A means that is refused from the beginning shows before there is an exec. */
static void rewrite_until_end(struct attack_state *state, pid_t victim, int memory, poke *write_word)
{
	uint32_t words[2] = {word_of(harmful), word_of(harmless)};
	int status = 0;

	if (!write_word(state, victim, memory, &words[1]))
		end_blocked("attack: writing");
	for (uint64_t flips = 0; waitpid(victim, &status, WNOHANG) == 0; flips++) {
		write_word(state, victim, memory, &words[flips % 2]);
		atomic_store(state->started, true);
	}
	end_like(status);
}

static bool poke_by_proc(const struct attack_state *state, pid_t victim, int memory, const uint32_t *word)
{
	(void)victim;
	return pwrite(memory, word, sizeof(*word), (off_t)(uintptr_t)state->stage->target) > 0;
}

static void round_proc_mem(struct attack_state *state)
{
	pid_t victim = start_victim(state);
	char path[64];
	int memory = -1;

	snprintf(path, sizeof(path), "/proc/%d/mem", victim);
	memory = open(path, O_WRONLY | O_CLOEXEC);
	if (memory < 0)
		end_blocked(path);
	rewrite_until_end(state, victim, memory, poke_by_proc);
}

static bool poke_by_call(const struct attack_state *state, pid_t victim, int memory, const uint32_t *word)
{
	struct iovec local = {(void *)word, sizeof(*word)}, remote = {(void *)state->stage->target, sizeof(*word)};

	(void)memory;
	return process_vm_writev(victim, &local, 1, &remote, 1, 0) > 0;
}

static void round_vm_writev(struct attack_state *state)
{
	rewrite_until_end(state, start_victim(state), -1, poke_by_call);
}

/* In the exec stop of a tracee: the kernel has copied the approved words to the new stack, which is changed there. */
static void rewrite_new_stack(pid_t victim)
{
	struct user_regs_struct registers;
	unsigned long address = 0, word = 0;

	if (ptrace(PTRACE_GETREGS, victim, NULL, &registers) < 0)
		_exit(EXIT_OTHER);
	address = (unsigned long)ptrace(PTRACE_PEEKDATA, victim, registers.rsp + 2 * sizeof(word), NULL); /* argv[1] */
	word = (unsigned long)ptrace(PTRACE_PEEKDATA, victim, address, NULL);
	word = (word & ~(unsigned long)UINT32_MAX) | word_of(harmful);
	ptrace(PTRACE_POKEDATA, victim, address, word);
}

static void round_ptrace(struct attack_state *state)
{
	pid_t victim = start_victim(state);
	int status = 0;

	if (ptrace(PTRACE_SEIZE, victim, NULL, PTRACE_O_TRACEEXEC) < 0)
		end_blocked("attack: ptrace");
	atomic_store(state->started, true);
	while (waitpid(victim, &status, 0) == victim && WIFSTOPPED(status)) {
		if (status >> 8 == (SIGTRAP | (PTRACE_EVENT_EXEC << 8)))
			rewrite_new_stack(victim);
		ptrace(PTRACE_CONT, victim, NULL, NULL);
	}
	end_like(status);
}

/* ---- a read that waits: the kernel writes when the other end says so ---- */

struct pipe_reader {
	struct stage *stage;
	int ends[2];
};

static void *read_words_forever(void *argument)
{
	const struct pipe_reader *reader = argument;

	while (read(reader->ends[0], (void *)reader->stage->target, sizeof(uint32_t)) > 0)
		atomic_fetch_add(&reader->stage->flips, 1);
	return NULL;
}

static void round_pipe_read(struct attack_state *state)
{
	static struct pipe_reader reader;
	uint32_t words[2] = {word_of(harmful), word_of(harmless)};

	reader.stage = state->stage;
	if (pipe2(reader.ends, O_CLOEXEC) < 0)
		_exit(EXIT_OTHER);
	if (fork() == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(reader.ends[0]);
		for (uint64_t i = 0; write(reader.ends[1], &words[i % 2], sizeof(words[0])) > 0; i++)
			;
		_exit(0);
	}
	start_thread(read_words_forever, &reader);
	await_first_flip(state->stage);
	exec_stage(state->stage);
}

/* ---- userfaultfd: the page is not there until its first reader, the supervisor, asks for it ---- */

static int make_fault_fd(void)
{
	return (int)syscall(SYS_userfaultfd, O_CLOEXEC);
}

static int fault_fd;

static void *answer_fault_then_flip(void *argument)
{
	struct stage *stage = argument;
	static _Alignas(4096) char page[4096];
	struct uffd_msg message;
	struct uffdio_copy copy = {.dst = (uintptr_t)stage->page, .src = (uintptr_t)page, .len = sizeof(page)};

	strcpy(page, harmless);
	if (read(fault_fd, &message, sizeof(message)) != (ssize_t)sizeof(message) ||
	    ioctl(fault_fd, UFFDIO_COPY, &copy) < 0)
		_exit(EXIT_OTHER);
	return flip_word_forever(stage);
}

static void round_userfaultfd(struct attack_state *state)
{
	struct stage *stage = state->stage;
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register range = {.range = {(uintptr_t)stage->page, sizeof(stage->page)},
					.mode = UFFDIO_REGISTER_MODE_MISSING};

	fault_fd = make_fault_fd();
	if (fault_fd < 0)
		end_blocked("attack: userfaultfd");
	if (ioctl(fault_fd, UFFDIO_API, &api) < 0 || ioctl(fault_fd, UFFDIO_REGISTER, &range) < 0)
		_exit(EXIT_OTHER);
	stage->argv[1] = stage->page;
	stage->target = (_Atomic uint32_t *)(void *)stage->page;
	start_thread(answer_fault_then_flip, stage);
	exec_stage(stage);
}

static const char *why_no_userfaultfd(void)
{
	cleanup_close int fd = make_fault_fd();

	return fd >= 0 ? NULL : "faults of the kernel are root's to answer (vm.unprivileged_userfaultfd)";
}

/* ---- io_uring: a kernel thread reads a file into the argument, again and again ---- */

enum { RING_ENTRIES = 16384 };

static int make_words_file(void)
{
	int fd = memfd_create("words", MFD_CLOEXEC);
	uint32_t words[2] = {word_of(harmful), word_of(harmless)};

	return fd >= 0 && write(fd, words, sizeof(words)) == (ssize_t)sizeof(words) ? fd : -1;
}

static void *map_ring(int ring, size_t size, off_t what)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, what);

	if (at == MAP_FAILED)
		_exit(EXIT_OTHER);
	return at;
}

/* All reads that the ring holds; once woken, its own kernel thread carries them out, one after
 * another. Returns where it says how
 * many it has found. */
static _Atomic uint32_t *fill_ring(int ring, const struct io_uring_params *params, const struct stage *stage, int words)
{
	size_t size = params->sq_off.array + params->sq_entries * sizeof(uint32_t);
	char *queue = map_ring(ring, size, IORING_OFF_SQ_RING);
	struct io_uring_sqe *entries =
		map_ring(ring, params->sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
	uint32_t *array = (uint32_t *)(void *)(queue + params->sq_off.array);

	for (uint32_t i = 0; i < params->sq_entries; i++) {
		entries[i] = (struct io_uring_sqe){.opcode = IORING_OP_READ,
						   .flags = IOSQE_CQE_SKIP_SUCCESS,
						   .fd = words,
						   .addr = (uintptr_t)stage->target,
						   .len = sizeof(uint32_t),
						   .off = i % 2 * sizeof(uint32_t)};
		array[i] = i;
	}
	atomic_store((_Atomic uint32_t *)(void *)(queue + params->sq_off.tail), params->sq_entries);
	return (_Atomic uint32_t *)(void *)(queue + params->sq_off.head);
}

static void round_io_uring(struct attack_state *state)
{
	struct io_uring_params params = {.flags = IORING_SETUP_SQPOLL, .sq_thread_idle = 1000};
	int ring = (int)syscall(SYS_io_uring_setup, RING_ENTRIES, &params);
	struct stage *stage = state->stage;
	_Atomic uint32_t *taken = NULL;

	if (ring < 0)
		end_blocked("attack: io_uring_setup");
	taken = fill_ring(ring, &params, stage, make_words_file());
	if (syscall(SYS_io_uring_enter, ring, 0, 0, IORING_ENTER_SQ_WAKEUP, NULL, 0) < 0)
		end_blocked("attack: io_uring_enter");
	while (atomic_load(taken) == 0)
		sched_yield();
	exec_stage(stage);
}

static const char *why_no_io_uring(void)
{
	struct io_uring_params params = {.flags = IORING_SETUP_SQPOLL};
	cleanup_close int ring = (int)syscall(SYS_io_uring_setup, 8, &params);

	return ring >= 0 ? NULL : "this kernel gives out no io_uring (kernel.io_uring_disabled)";
}

/* ---- AIO: the disk writes into the argument, long after the call has returned ---- */

enum { AIO_READS = 16, AIO_SIZE = 64 << 10 };

static const char *const aio_buffer = (const char *)0x110000000000;

static int prepare_aio(struct attack_state *state)
{
	int err = prepare_private(state);
	void *buffer = mmap((void *)aio_buffer, AIO_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	const char *path = in_directory(state, "words");
	cleanup_close int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (err < 0 || buffer == MAP_FAILED || fd < 0)
		return err < 0 ? err : -errno;
	if (pwrite(fd, harmful, sizeof(harmful), 0) < 0 || pwrite(fd, harmless, sizeof(harmless), AIO_SIZE) < 0 ||
	    ftruncate(fd, 2 * AIO_SIZE) < 0 || fsync(fd) < 0)
		return -errno;
	strcpy(buffer, harmless);
	state->stage->argv[1] = buffer;
	state->file = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	return state->file < 0 ? -errno : 0;
}

static void round_aio(struct attack_state *state)
{
	struct iocb reads[AIO_READS], *list[AIO_READS];
	aio_context_t context = 0;

	for (int i = 0; i < AIO_READS; i++) {
		reads[i] = (struct iocb){.aio_lio_opcode = IOCB_CMD_PREAD,
					 .aio_fildes = (uint32_t)state->file,
					 .aio_buf = (uintptr_t)aio_buffer,
					 .aio_nbytes = AIO_SIZE,
					 .aio_offset = i % 2 * AIO_SIZE};
		list[i] = &reads[i];
	}
	if (syscall(SYS_io_setup, AIO_READS, &context) < 0 || syscall(SYS_io_submit, context, AIO_READS, list) < 0)
		end_blocked("attack: io_submit");
	exec_stage(state->stage);
}

/* The kernel ends rings and AIO contexts after a grace period. */
enum { SLOW = 3 };

const struct attack writer_attacks[] = {
	{"proc-mem", "verify", "the parent writes through /proc/PID/mem", prepare_private, round_proc_mem},
	{"vm-writev", "filter", "the parent writes by process_vm_writev", prepare_private, round_vm_writev},
	{"ptrace", "filter", "the parent traces and rewrites the new stack", prepare_private, round_ptrace},
	{"pipe-read", "freeze", "a sibling thread waits in read(2) from a pipe", prepare_private, round_pipe_read},
	{"userfaultfd", "filter", "a page that is delivered when the supervisor reads it", prepare_private,
	 round_userfaultfd, 0, why_no_userfaultfd},
	{"io-uring", "filter", "a kernel thread reads into the argument", prepare_private, round_io_uring, 0,
	 why_no_io_uring, SLOW},
	{"aio", "verify", "the disk reads into the argument, by io_submit", prepare_aio, round_aio, 0, NULL, SLOW},
	{0},
};
