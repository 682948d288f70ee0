/* policies/strict.yaml: what a job under it cannot do, each with the same thing done without it. */
#include "harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#define COUNT(array) (int)(sizeof(array) / sizeof *(array))

/* What a job is set against beside a process of the same user: a TCP server and an abstract socket, all outside of it. */
struct outside {
	int server, local;
	int port;
	const char *name;
};

static const char *replace(struct sp_lab *lab, const char *text, const char *old, const char *new)
{
	const char *at = strstr(text, old);

	cr_assert_not_null(at, "strict.yaml has no '%s'", old);
	return sp_text(lab, "%.*s%s%s", (int)(at - text), text, new, at + strlen(old));
}

/* The policy as it is, with the lab's directory added as its comment says how. */
static const char *strict_policy(struct sp_lab *lab)
{
	char text[16384];
	cleanup_close int fd = open(SP_POLICY_DIR "/strict.yaml", O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, text, sizeof text - 1);
	const char *lab_too = sp_text(lab, "    - {from: /usr}\n    - {from: %s, write: true}\n", lab->directory);

	cr_assert(n > 0 && n < (ssize_t)sizeof text - 1);
	text[n] = '\0';
	return replace(lab, text, "    - {from: /usr}\n", lab_too);
}

static const char *inmate(struct sp_lab *lab)
{
	const char *program = sp_program(lab, "inmate"), *copy = sp_text(lab, "%s/inmate", lab->directory);

	if (access(copy, X_OK) != 0) {
		cleanup_outcome struct sp_outcome outcome = sp_run(lab, NULL, sp_argv("cp", program, copy));
		sp_assert_ended(&outcome, 0, "cp");
	}
	return copy;
}

/* A command with a descriptor that somebody has left open. */
static struct sp_outcome run_with_fd(struct sp_lab *lab, const char *const command[])
{
	const char *argv[32] = {"sh", "-c", "exec 9</etc/passwd; exec \"$@\"", "sh"};

	for (size_t n = 0; command[n] != NULL; n++)
		argv[4 + n] = command[n];
	return sp_run(lab, NULL, argv);
}

static void close_outside(struct outside *outside)
{
	sp_close_fd(&outside->server);
	sp_close_fd(&outside->local);
}

static struct outside open_outside(struct sp_lab *lab)
{
	struct outside o = {0};
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	socklen_t size = sizeof any;

	o.server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert(bind(o.server, (void *)&any, sizeof any) == 0 && listen(o.server, 64) == 0 &&
		  getsockname(o.server, (void *)&any, &size) == 0);
	o.port = ntohs(any.sin_port);
	o.name = sp_text(lab, "sallyport-test-%d-%d", getpid(), o.port);
	o.local = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	(void)strcpy(name.sun_path + 1, o.name);
	cr_assert(bind(o.local, (void *)&name,
		       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(o.name))) == 0 &&
		  listen(o.local, 64) == 0);
	return o;
}

/* ---- what cannot be done ---- */

enum argument { AS_IT_IS, PORT, NAME };

static const struct attempt {
	const char *what, *argument;
	enum argument kind;
	const char *without, *within; /* without NULL: a user cannot do it anywhere */
} attempts[] = {
	{"read", "/etc/passwd", AS_IT_IS, "ok", "ENOENT"},
	{"list", "/home", AS_IT_IS, "ok", "ENOENT"},
	{"list", "/sys", AS_IT_IS, "ok", "ENOENT"},
	/* $p: the other process */
	{"list", "/proc/$p", AS_IT_IS, "ok", "ENOENT"},
	{"signal", "$p", AS_IT_IS, "ok", "ESRCH"},
	{"ptrace", "$p", AS_IT_IS, "ok", "EPERM"},
	{"memory", "$p", AS_IT_IS, "ok", "ENOENT"},
	{"connect", "", PORT, "ok", "ECONNREFUSED"},
	{"abstract", "", NAME, "ok", "ECONNREFUSED"},
	{"raise", "", AS_IT_IS, "ok", "EPERM"},
	{"write", "/new", AS_IT_IS, NULL, "EROFS"},
	{"wx", "", AS_IT_IS, "ok", "EACCES"},
	{"map", "20000000000", AS_IT_IS, "ok", "ENOMEM"},
	{"mount", "/tmp", AS_IT_IS, NULL, "EPERM"},
	{"unshare", "", AS_IT_IS, "ok", "EPERM"},
};

static const char *argument_of(struct sp_lab *lab, const struct attempt *attempt, const struct outside *outside)
{
	switch (attempt->kind) {
	case PORT:
		return sp_text(lab, "%d", outside->port);
	case NAME:
		return outside->name;
	case AS_IT_IS:
		break;
	}
	return attempt->argument;
}

/* Beside another process of the user, $p. */
static struct sp_outcome run_beside(struct sp_lab *lab, const char *const command[], const char *argument)
{
	const char *script =
		sp_text(lab, "ulimit -Sn 64; sleep 1000 & p=$!; \"$@\" %s; s=$?; kill $p; wait $p; exit $s", argument);
	const char *argv[32] = {"sh", "-c", script, "sh"};

	for (size_t n = 0; command[n] != NULL; n++)
		argv[4 + n] = command[n];
	return sp_run(lab, NULL, argv);
}

ParameterizedTestParameters(strict, cannot)
{
	return sp_each_who_of(COUNT(attempts));
}
ParameterizedTest(int *parameter, strict, cannot)
{
	const struct attempt *attempt = &attempts[SP_INDEX(*parameter)];
	cleanup_lab struct sp_lab lab;

	sp_lab_open(&lab, SP_WHO(*parameter));
	sp_cleanup(close_outside) struct outside outside = open_outside(&lab);
	const char *argument = argument_of(&lab, attempt, &outside);
	const char *const *command = sp_argv(inmate(&lab), "try", attempt->what);
	if (attempt->without != NULL) {
		cleanup_outcome struct sp_outcome without = run_beside(&lab, command, argument);
		sp_assert_ended(&without, 0, attempt->what);
		cr_assert_str_eq(without.out.data, sp_text(&lab, "%s=%s\n", attempt->what, attempt->without),
				 "the control: %s", without.out.data);
	}
	sp_set_policy(&lab, replace(&lab, strict_policy(&lab), "mdwe: false", "mdwe: true"));
	cleanup_outcome struct sp_outcome within = run_beside(&lab, sp_supervised_argv(&lab, command), argument);
	sp_assert_ended(&within, 0, attempt->what);
	cr_assert_str_eq(within.out.data, sp_text(&lab, "%s=%s\n", attempt->what, attempt->within), "%s: %s", argument,
			 within.out.data);
	cr_assert_str_eq(sp_sql_text(&lab, "SELECT level FROM launches"), "full");
}

/* Everything that a job sees of the machine. */
sp_lab_test(strict, sees_only_itself)
{
	sp_set_policy(lab, strict_policy(lab));
	cleanup_outcome struct sp_outcome native = sp_run(lab, NULL, sp_argv(inmate(lab), "show"));
	cleanup_outcome struct sp_outcome job = sp_supervise(lab, NULL, sp_argv(inmate(lab), "show"));
	sp_assert_ended(&job, 0, "show");
	cr_assert_eq(sp_value(&job, "others"), 0);
	cr_assert_gt(sp_value(&native, "others"), 0);
	cr_assert_eq(sp_value(&job, "pid"), 2);
	cr_assert_eq(sp_value(&job, "interfaces"), 1);
	cr_assert_not_null(strstr(job.out.data, "fds=0 1 2 \n"));
	cr_assert_not_null(strstr(job.out.data, "CapEff=0000000000000000\n"));
	cr_assert_not_null(strstr(job.out.data, "CapBnd=0000000000000000\n"));
	cr_assert_not_null(strstr(job.out.data, "cwd=/tmp\n"));
	cr_assert_not_null(strstr(job.out.data, "nofile=256 256\n"));
}

sp_lab_test(strict, cannot_use_a_foreign_descriptor)
{
	const char *const *command = sp_argv(inmate(lab), "try", "fd", "9");

	sp_set_policy(lab, strict_policy(lab));
	cleanup_outcome struct sp_outcome native = run_with_fd(lab, command);
	cr_assert_str_eq(native.out.data, "fd=ok\n");
	cleanup_outcome struct sp_outcome job = run_with_fd(lab, sp_supervised_argv(lab, command));
	sp_assert_ended(&job, 0, "try fd");
	cr_assert_str_eq(job.out.data, "fd=EBADF\n");
}

/* ---- capabilities of files ---- */

static void give_capability(const char *path)
{
	const struct vfs_cap_data some = {.magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE,
					  .data = {{.permitted = 1u << CAP_NET_ADMIN}}};

	cr_assert_eq(setxattr(path, "security.capability", &some, sizeof some, 0), 0, "%s", strerror(errno));
}

static bool has_effective(const struct sp_outcome *outcome)
{
	cr_assert_not_null(strstr(outcome->out.data, "CapEff="), "%s%s", outcome->out.data, outcome->err.data);
	return strstr(outcome->out.data, "CapEff=0000000000000000") == NULL;
}

/* Neither a setuid program nor one with a capability of its own gives any. Only root can make such files. */
ParameterizedTestParameters(strict, cannot_gain_capabilities)
{
	return sp_each_who_of(2);
}
ParameterizedTest(int *parameter, strict, cannot_gain_capabilities)
{
	const bool setuid_root = SP_INDEX(*parameter) == 0;
	cleanup_lab struct sp_lab lab;

	sp_lab_open(&lab, SP_WHO(*parameter));
	if (geteuid() != 0)
		return;
	const char *program = inmate(&lab);
	cr_assert_eq(chown(program, 0, 0), 0);
	cr_assert_eq(chmod(program, setuid_root ? 04755 : 0755), 0);
	if (!setuid_root)
		give_capability(program);
	cleanup_outcome struct sp_outcome native = sp_run(&lab, NULL, sp_argv(program, "show"));
	cr_assert(has_effective(&native), "the control has gained nothing");
	sp_set_policy(&lab, strict_policy(&lab));
	cleanup_outcome struct sp_outcome job =
		sp_supervise(&lab, NULL, sp_argv("sh", "-c", sp_text(&lab, "%s show", program)));
	sp_assert_ended(&job, 0, "show");
	cr_assert_not(has_effective(&job), "%s", job.out.data);
}

/* ---- what it can do ---- */

sp_lab_test(strict, computes)
{
	static const char script[] =
		"printf '%s ' $((6*7)); seq 1000 | sort -n | tail -n 1; echo kept > /tmp/file; cat /tmp/file";

	sp_set_policy(lab, strict_policy(lab));
	cleanup_outcome struct sp_outcome job = sp_supervise(lab, NULL, sp_argv("sh", "-c", script));
	sp_assert_ended(&job, 0, "sh");
	cr_assert_str_eq(job.out.data, "42 1000\nkept\n");
}

/* More processes than it may have: it hears EAGAIN. (Root's the kernel does not count.) */
sp_lab_test(strict, cannot_fork_without_end)
{
	if (lab->who == SP_WHO_ROOT)
		return;
	sp_set_policy(lab, replace(lab, strict_policy(lab), "processes: 256 ", "processes: 16 "));
	struct sp_child child =
		sp_start(lab, NULL, sp_supervised_argv(lab, sp_argv(inmate(lab), "try", "forks", "50")));
	cr_assert(sp_await_text(&child, "forks=EAGAIN"), "%.500s", child.out_buffer.data);
	child.linger = 20;
	(void)kill(child.pid, SIGKILL);
	cleanup_outcome struct sp_outcome job = sp_finish(&child);
	cr_assert_eq(job.leftovers, 0);
}
