/* Runs a command in which one system call fails, as in another sandbox:
 *
 *   sandbox CALL ARGUMENT VALUE ERRNO -- COMMAND...
 *
 * CALL by number; only where that argument (0 to 5; -1: always) has the value's low 32 bits. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 7)
		return 2;
	const int argument = atoi(argv[2]);
	const unsigned call = (unsigned)atoi(argv[1]), value = (unsigned)strtoul(argv[3], NULL, 0);
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 argument < 0 ? offsetof(struct seccomp_data, nr)
				      : offsetof(struct seccomp_data, args) + 8 * (unsigned)argument),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, argument < 0 ? call : value, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)atoi(argv[4])),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = {sizeof code / sizeof *code, code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) {
		perror("sandbox");
		return 2;
	}
	execvp(argv[6], argv + 6);
	perror(argv[6]);
	return 127;
}
