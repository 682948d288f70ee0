/* A listener of which somebody else has a copy: who receives what is meant for the loop makes it wait a moment, once, and not for
 * ever. */
#include "notify/guard.h"
#include "notify/listener.h"
#include "util/cleanup.h"
#include "util/kernel.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of this process, in which only getppid(2) is notified. */
static int make_listener(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};

	cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	const long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
	if (fd < 0)
		cr_skip_test("a filter above has a listener");
	return (int)fd;
}

static uv_loop_t loop;
static unsigned received, stolen;
static struct sp_listener *listener;

static void on_received(const struct seccomp_notif *notification, void *context)
{
	(void)context;
	received++;
	(void)sp_listener_answer(listener, notification->id, 0);
}

static void on_hung_up(void *context)
{
	(void)context;
}

static void on_stolen(void *context)
{
	(void)context;
	stolen++;
}

static void open_listener(void)
{
	struct sp_error e;

	cr_assert_eq(uv_loop_init(&loop), 0);
	listener = sp_listener_new(&loop, make_listener(), on_received, on_hung_up, NULL, &e);
	cr_assert_not_null(listener, "%s", e.text);
}

/* Nothing is there to be received: as if a thief had been faster. The control waits for ever. */
Test(listener_guard, the_loop_does_not_wait)
{
	struct sp_error e;
	int status;

	open_listener();
	const pid_t control = fork();
	if (control == 0) {
		(void)alarm(1);
		sp_listener_receive(listener);
		_exit(0);
	}
	struct sp_guard *guard = sp_guard_new(&e);
	cr_assert_not_null(guard, "%s", e.text);
	sp_listener_distrust(listener, guard, on_stolen);
	for (unsigned i = 1; i <= 5; i++) {
		sp_listener_receive(listener);
		cr_assert_eq(stolen, i);
		(void)poll(NULL, 0, i * 10); /* awake, falling asleep, asleep */
	}
	cr_assert_eq(received, 0);
	sp_guard_free(guard);
	cr_assert_eq(waitpid(control, &status, 0), control);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM, "the control did not wait: %x", status);
}

static void *ask(void *count)
{
	for (int i = 0; i < *(int *)count; i++)
		(void)syscall(SYS_getppid);
	return NULL;
}

/* Takes what has just been announced, and answers it. */
static void steal(int fd)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	union {
		struct seccomp_notif notification;
		char space[512];
	} got = {0};

	cr_assert_eq(poll(&ready, 1, -1), 1);
	cr_assert_eq(ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &got.notification), 0);
	sp_listener_receive(listener); /* as the loop would, which was told the same */
	const struct seccomp_notif_resp answer = {.id = got.notification.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
	cr_assert_eq(ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &answer), 0);
}

static void serve_while_asked(int count)
{
	pthread_t asker;

	cr_assert_eq(pthread_create(&asker, NULL, ask, &count), 0);
	while (pthread_tryjoin_np(asker, NULL) != 0)
		(void)uv_run(&loop, UV_RUN_NOWAIT);
}

/* Honest callers are never taken for a theft, however many come; a thief is found out. */
Test(listener_guard, a_thief_is_found_out)
{
	struct sp_error e;
	pthread_t asker;
	int once = 1, fd = -1;

	open_listener();
	/* The copy: listeners are the only fds of that kind here. */
	for (int i = 3; i < 64 && fd < 0; i++) {
		char path[32], target[64] = "";

		(void)snprintf(path, sizeof path, "/proc/self/fd/%d", i);
		if (readlink(path, target, sizeof target - 1) > 0 && strcmp(target, "anon_inode:seccomp notify") == 0)
			fd = dup(i);
	}
	cr_assert_geq(fd, 0);
	struct sp_guard *guard = sp_guard_new(&e);
	cr_assert_not_null(guard, "%s", e.text);
	sp_listener_distrust(listener, guard, on_stolen);
	serve_while_asked(5000);
	cr_assert_eq(received, 5000);
	cr_assert_eq(stolen, 0);
	for (unsigned i = 1; i <= 3; i++) {
		cr_assert_eq(pthread_create(&asker, NULL, ask, &once), 0);
		steal(fd);
		cr_assert_eq(stolen, i);
		cr_assert_eq(pthread_join(asker, NULL), 0);
	}
	sp_guard_free(guard);
}
