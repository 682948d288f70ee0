/* Says from inside what a job is like, and tries what it should not be able to do.
 *
 *   inmate show            facts about itself, a line NAME=VALUE each
 *   inmate try WHAT ARG    tries it: a line WHAT=ok, or WHAT=ERRNO
 *   inmate dump            its environment, as it is
 *   inmate fds FD          writes the list of its descriptors to that one
 *   inmate wait FD         prints "ready", then reads FD to its end */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* ---- show ---- */

static void show_status(void)
{
	static const char *const keys[] = {"Cap", "NoNewPrivs", "Seccomp", "Groups",
					   "Uid", "Gid",        "NSpid",   "Cpus_allowed_list"};
	char line[1024];
	FILE *f = fopen("/proc/self/status", "re");

	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
			if (strncmp(line, keys[i], strlen(keys[i])) == 0) {
				char *colon = strchr(line, ':');

				*colon = '\0';
				printf("%s=%s", line, colon + 1 + strspn(colon + 1, "\t "));
			}
	if (f != NULL)
		fclose(f);
}

static void show_limits(void)
{
	static const struct {
		const char *name;
		int resource;
	} known[] = {
		{"cpu", RLIMIT_CPU},     {"nofile", RLIMIT_NOFILE}, {"as", RLIMIT_AS},       {"nproc", RLIMIT_NPROC},
		{"fsize", RLIMIT_FSIZE}, {"core", RLIMIT_CORE},     {"stack", RLIMIT_STACK},
	};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		struct rlimit limit;

		getrlimit(known[i].resource, &limit);
		printf("%s=%ld %ld\n", known[i].name, (long)limit.rlim_cur, (long)limit.rlim_max);
	}
}

static void show_link(const char *name, const char *path)
{
	char text[4096];
	ssize_t n = readlink(path, text, sizeof text - 1);

	printf("%s=%.*s\n", name, n > 0 ? (int)n : 0, text);
}

static void show_file(const char *name, const char *path)
{
	char text[256] = "";
	FILE *f = fopen(path, "re");

	if (f != NULL) {
		(void)!fgets(text, sizeof text, f);
		fclose(f);
	}
	text[strcspn(text, "\n")] = '\0';
	printf("%s=%s\n", name, text);
}

static void list_fds(FILE *out)
{
	for (int fd = 0; fd < 4096; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			fprintf(out, "%d ", fd);
	fputc('\n', out);
}

static void show_fds(void)
{
	printf("fds=");
	list_fds(stdout);
}

static int tell_fds(const char *fd)
{
	FILE *out = fdopen(atoi(fd), "w");

	if (out == NULL)
		return 1;
	list_fds(out);
	return fclose(out) == 0 ? 0 : 1;
}

static void show_processes(void)
{
	const struct dirent *entry;
	DIR *d = opendir("/proc");
	int count = 0, others = 0;

	while (d != NULL && (entry = readdir(d)) != NULL) {
		const int pid = atoi(entry->d_name);

		count += pid > 0;
		others += pid > 1 && pid != getpid();
	}
	printf("processes=%d\nothers=%d\n", count, others);
}

static void show_loopback(void)
{
	struct ifreq request = {.ifr_name = "lo"};
	struct if_nameindex *all = if_nameindex();
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), count = 0;

	while (all != NULL && all[count].if_index != 0)
		count++;
	printf("lo=%s\ninterfaces=%d\n",
	       fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP) != 0 ? "up" : "down",
	       count);
}

static void show_namespaces(void)
{
	static const char *const names[] = {"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"};
	char path[64];

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
		show_link(names[i], path);
	}
}

static int show(void)
{
	const mode_t mask = umask(0);
	char cwd[4096] = "";
	int death = 0;

	prctl(PR_GET_PDEATHSIG, &death);
	(void)!getcwd(cwd, sizeof cwd);
	printf("pid=%d\nppid=%d\numask=%03o\nnice=%d\ncwd=%s\n", getpid(), getppid(), mask,
	       getpriority(PRIO_PROCESS, 0), cwd);
	printf("session_leader=%d\ngroup_leader=%d\n", getsid(0) == getpid(), getpgrp() == getpid());
	printf("pdeathsig=%d\nmdwe=%d\nsecurebits=%d\n", death, prctl(66, 0, 0, 0, 0), prctl(PR_GET_SECUREBITS));
	show_file("oom", "/proc/self/oom_score_adj");
	show_file("uid_map", "/proc/self/uid_map");
	show_file("gid_map", "/proc/self/gid_map");
	show_file("init", "/proc/1/comm");
	show_status();
	show_limits();
	show_fds();
	show_processes();
	show_loopback();
	show_namespaces();
	return 0;
}

/* ---- try: 0, or an errno ---- */

static int check(long result)
{
	return result < 0 ? errno : 0;
}

static int try_read(const char *path)
{
	char byte;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? errno : check(read(fd, &byte, 1));
}

static int try_list(const char *path)
{
	DIR *d = opendir(path);

	return d == NULL ? errno : 0;
}

static int try_write(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	return fd < 0 ? errno : check(write(fd, "x", 1));
}

static int try_truncate(const char *path)
{
	return check(truncate(path, 0));
}

static int try_run(const char *path)
{
	const pid_t child = fork();
	int status;

	if (child == 0) {
		execl(path, path, "show", NULL);
		_exit(errno);
	}
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
}

static struct sockaddr_in local(const char *port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons((uint16_t)atoi(port)),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int try_connect(const char *port)
{
	const struct sockaddr_in to = local(port);

	return check(connect(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), (const void *)&to, sizeof to));
}

static int try_bind(const char *port)
{
	const struct sockaddr_in to = local(port);

	return check(bind(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), (const void *)&to, sizeof to));
}

static int try_abstract(const char *name)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};

	strncpy(to.sun_path + 1, name, sizeof to.sun_path - 2);
	return check(connect(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), (const void *)&to,
			     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name))));
}

static int try_signal(const char *pid)
{
	return check(kill(atoi(pid), 0));
}

static int try_ptrace(const char *pid)
{
	return check(ptrace(PTRACE_SEIZE, atoi(pid), NULL, NULL));
}

static int try_memory(const char *pid)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%s/mem", pid);
	return check(open(path, O_RDWR | O_CLOEXEC));
}

static int try_wx(const char *unused)
{
	(void)unused;
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
		       ? errno
		       : 0;
}

static int try_raise(const char *unused)
{
	struct rlimit limit;

	(void)unused;
	getrlimit(RLIMIT_NOFILE, &limit);
	if (++limit.rlim_cur > limit.rlim_max)
		limit.rlim_max = limit.rlim_cur;
	return check(setrlimit(RLIMIT_NOFILE, &limit));
}

static int try_map(const char *bytes)
{
	return mmap(NULL, strtoul(bytes, NULL, 10), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) ==
			       MAP_FAILED
		       ? errno
		       : 0;
}

static int try_fd(const char *fd)
{
	return check(fcntl(atoi(fd), F_GETFD));
}

/* keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_THREAD_KEYRING, create) */
static int try_keyctl(const char *unused)
{
	(void)unused;
	return check(syscall(SYS_keyctl, 0, -1, 1));
}

static int try_mount(const char *path)
{
	return check(syscall(SYS_mount, "none", path, "tmpfs", 0, NULL));
}

static int try_unshare(const char *unused)
{
	(void)unused;
	return check(unshare(CLONE_NEWUSER));
}

static int try_forks(const char *count)
{
	for (int i = 0; i < atoi(count); i++) {
		const pid_t child = fork();

		if (child < 0)
			return errno;
		if (child == 0)
			pause();
	}
	return 0;
}

static int try_to(const char *what, const char *with)
{
	static const struct {
		const char *what;
		int (*function)(const char *with);
	} known[] = {
		{"read", try_read},     {"list", try_list},       {"write", try_write},   {"truncate", try_truncate},
		{"run", try_run},       {"connect", try_connect}, {"bind", try_bind},     {"abstract", try_abstract},
		{"signal", try_signal}, {"ptrace", try_ptrace},   {"memory", try_memory}, {"wx", try_wx},
		{"raise", try_raise},   {"map", try_map},         {"fd", try_fd},         {"keyctl", try_keyctl},
		{"mount", try_mount},   {"unshare", try_unshare}, {"forks", try_forks},
	};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (strcmp(known[i].what, what) == 0) {
			const int err = known[i].function(with);

			printf("%s=%s\n", what, err == 0 ? "ok" : strerrorname_np(err));
			fflush(stdout);
			return 0;
		}
	return 2;
}

static int dump(void)
{
	for (char **at = environ; *at != NULL; at++)
		puts(*at);
	return 0;
}

static int await(const char *fd)
{
	char byte;

	puts("ready");
	fflush(stdout);
	while (read(atoi(fd), &byte, 1) > 0)
		continue;
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "show") == 0)
		return show();
	if (argc == 2 && strcmp(argv[1], "dump") == 0)
		return dump();
	if (argc == 3 && strcmp(argv[1], "fds") == 0)
		return tell_fds(argv[2]);
	if (argc == 3 && strcmp(argv[1], "wait") == 0)
		return await(argv[2]);
	if (argc >= 3 && strcmp(argv[1], "try") == 0)
		return try_to(argv[2], argc > 3 ? argv[3] : "");
	return 2;
}
