/* Runs a command in which one system call fails, as in another sandbox:
 *
 *   sandbox CALL ERRNO [ARGUMENT VALUE]... -- COMMAND...
 *
 * Call and errno by number; only where all those arguments (0 to 5) have these values, of which the low 32 bits count. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CODE_MAX = 32 };

static struct sock_filter code[CODE_MAX];
static unsigned short size;

static void add(struct sock_filter instruction)
{
	if (size < CODE_MAX)
		code[size++] = instruction;
}

/* Whatever is not equal is allowed: by the instruction behind the jump. */
static void demand(size_t offset, unsigned value)
{
	add((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offset));
	add((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 1, 0));
	add((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
}

static unsigned number(const char *text)
{
	return (unsigned)strtoul(text, NULL, 0);
}

int main(int argc, char **argv)
{
	int at = 3;

	if (argc < 5)
		return 2;
	demand(offsetof(struct seccomp_data, nr), number(argv[1]));
	for (; at + 1 < argc && strcmp(argv[at], "--") != 0; at += 2)
		demand(offsetof(struct seccomp_data, args) + 8 * number(argv[at]), number(argv[at + 1]));
	add((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | number(argv[2])));
	const struct sock_fprog program = {size, code};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) {
		perror("sandbox");
		return 2;
	}
	execvp(argv[at + 1], argv + at + 1);
	perror(argv[at + 1]);
	return 127;
}
