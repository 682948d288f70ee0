/* A kernel, or a container, that lacks something: runs a command to which the calls named give an error.
 *
 * usage: without ERRNO CALL... -- COMMAND [ARG...]   e.g. without 38 openat2 -- sallyport doctor
 * Exit status: the command's, 125 when it fails itself. */
#include "util/kernel.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { OWN_FAILURE = 125 };

static const struct {
	const char *name;
	unsigned int number;
	unsigned int second; /* only with this second argument; 0: always */
} calls[] = {
	{"bind", SYS_bind, 0},
	{"capset", SYS_capset, 0},
	{"close_range", SYS_close_range, 0},
	{"ioctl-notif-set-flags", SYS_ioctl, SECCOMP_IOCTL_NOTIF_SET_FLAGS},
	{"ioctl-procmap-query", SYS_ioctl, PROCMAP_QUERY},
	{"landlock", SYS_landlock_create_ruleset, 0},
	{"mkdir", SYS_mkdir, 0},
	{"mmap-40", SYS_mmap, 40},
	{"mount", SYS_mount, 0},
	{"openat2", SYS_openat2, 0},
	{"pivot_root", SYS_pivot_root, 0},
	{"prctl", SYS_prctl, 0},
	{"prlimit-core", SYS_prlimit64, RLIMIT_CORE},
	{"prlimit-files", SYS_prlimit64, RLIMIT_NOFILE},
	{"prlimit-stack", SYS_prlimit64, RLIMIT_STACK},
	{"process_vm_readv", SYS_process_vm_readv, 0},
	{"ptrace", SYS_ptrace, 0},
	{"sched_setaffinity", SYS_sched_setaffinity, 0},
	{"seccomp", SYS_seccomp, 0},
	{"seccomp-listener", SYS_seccomp, SECCOMP_FILTER_FLAG_NEW_LISTENER},
	{"seccomp-wait-killable", SYS_seccomp,
	 SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV},
	{"setpriority", SYS_setpriority, 0},
	{"setsid", SYS_setsid, 0},
	{"unshare", SYS_unshare, 0},
};

static int deny(const char *name, unsigned int err)
{
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
		if (strcmp(calls[i].name, name) != 0)
			continue;
		struct sock_filter filter[] = {
			BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i].number, 0, 4),
			BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
			BPF_JUMP(BPF_JMP | BPF_JA, calls[i].second == 0 ? 1 : 0, 0, 0),
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i].second, 0, 1),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		};
		struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};
		/* prctl(2), so that seccomp(2) itself can be taken away and another be taken after it. */
		return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
	}
	errno = EINVAL;
	return -1;
}

int main(int argc, char **argv)
{
	int command = 2;

	if (argc < 2 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return OWN_FAILURE;
	for (; command < argc && strcmp(argv[command], "--") != 0; command++) {
		if (deny(argv[command], (unsigned int)atoi(argv[1])) < 0) {
			fprintf(stderr, "without: %s: %s\n", argv[command], strerror(errno));
			return OWN_FAILURE;
		}
	}
	if (++command >= argc)
		return OWN_FAILURE;
	execvp(argv[command], argv + command);
	fprintf(stderr, "without: %s: %s\n", argv[command], strerror(errno));
	return OWN_FAILURE;
}
