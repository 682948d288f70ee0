/* The varlink server against callers that keep it waiting, and its owner's word on who may what. */
#include "api/server.h"
#include "api/standard.h"
#include "caller.h"
#include "util/cleanup.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

static uv_loop_t loop;
static uv_timer_t alive; /* the server's own handles do not keep the loop running */
static struct sp_server *server;

static void on_alive(uv_timer_t *timer)
{
	(void)timer;
}

static void hello(struct sp_call *call, void *context)
{
	(void)context;
	sp_call_reply(call, NULL);
}

static void hold(struct sp_call *call, void *context);
static void take(struct sp_call *call, void *context);

static const struct sp_method methods[] = {
	{"test.Hello", hello, 0},
	{"test.Secret", hello, 0},
	{"test.Hold", hold, 0},
	{"test.Stream", hello, SP_METHOD_STREAM},
	{"test.Take", take, SP_METHOD_FDS | SP_METHOD_STREAM},
};

static unsigned gone;

static void on_gone(struct sp_call *call, void *data)
{
	(void)call;
	(void)data;
	gone++;
}

static void hold(struct sp_call *call, void *context)
{
	sp_call_hold(call, on_gone, context);
}

static int taken = -1;

/* The first descriptor stays here, the others go with the call. A reply now, and one later. */
static void take(struct sp_call *call, void *context)
{
	cr_assert_eq(sp_call_take_fd(call, 2), -1);
	taken = sp_call_take_fd(call, 0);
	cr_assert_eq(sp_call_take_fd(call, 0), -1, "it was taken");
	sp_call_hold(call, on_gone, context);
	sp_call_continue(call, json_pack("{sb}", "taken", taken >= 0));
	sp_call_reply(call, json_pack("{ss}", "the", "end"));
}

static bool may(const struct sp_peer *peer, const char *method, const struct sp_job *job, void *context)
{
	(void)peer;
	(void)job;
	(void)context;
	return strcmp(method, "test.Secret") != 0;
}

static void start(unsigned patience, unsigned per_user)
{
	const struct sp_server_settings settings = {
		.patience = patience, .connections_per_user = per_user, .backlog_limit = 100000, .fds = 2, .may = may};

	cr_assert_eq(uv_loop_init(&loop), 0);
	(void)uv_timer_init(&loop, &alive);
	(void)uv_timer_start(&alive, on_alive, 1, 1);
	server = sp_server_new(&loop, &settings);
	cr_assert_not_null(server);
	cr_assert_eq(sp_server_add(server, methods, sizeof methods / sizeof *methods, NULL), 0);
}

static void stop(void)
{
	sp_server_close(server);
	uv_close((uv_handle_t *)&alive, NULL);
	while (uv_run(&loop, UV_RUN_NOWAIT) != 0)
		continue;
	cr_assert_eq(uv_loop_close(&loop), 0, "a handle is left");
}

static int join(void)
{
	int ends[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
	cr_assert_eq(sp_server_adopt(server, ends[0]), 0);
	return ends[1];
}

static void turn(int times)
{
	while (times-- > 0)
		(void)uv_run(&loop, UV_RUN_ONCE);
}

/* The answer to one call, error or "". */
static void assert_answer(int socket, const char *message, const char *answer)
{
	char text[4096] = "";

	cr_assert_eq(send(socket, message, strlen(message) + 1, 0), (ssize_t)strlen(message) + 1);
	turn(5);
	cr_assert_gt(recv(socket, text, sizeof text, 0), 0, "%s: no answer", message);
	cr_assert_not_null(strstr(text, answer), "%s: %s", message, text);
}

static bool is_hung_up(int socket)
{
	char byte;

	return recv(socket, &byte, 1, 0) == 0 || errno == ECONNRESET;
}

Test(server, answers)
{
	start(0, 0);
	cleanup_close int socket = join();
	assert_answer(socket, "{\"method\":\"test.Hello\"}", "{\"parameters\":{}}");
	assert_answer(socket, "{\"method\":\"test.Secret\"}", SP_PERMISSION_DENIED);
	assert_answer(socket, "{\"method\":\"test.Stream\"}", SP_EXPECTED_MORE);
	assert_answer(socket, "{\"method\":\"test.Stream\",\"more\":true}", "{\"parameters\":{}}");
	assert_answer(socket, "{\"method\":\"test.Hello\",\"parameters\":1}", SP_INVALID_PARAMETER);
	assert_answer(socket, "{\"method\":\"org.varlink.service.GetInfo\"}", "sallyport");
	stop();
}

Test(server, half_a_message_is_not_waited_for)
{
	start(20, 0);
	cleanup_close int half = join(), idle = join();
	cr_assert_eq(send(half, "{\"method", 8, 0), 8);
	for (int i = 0; i < 1000 && !is_hung_up(half); i++)
		(void)uv_run(&loop, UV_RUN_ONCE);
	cr_assert(is_hung_up(half));
	cr_assert_not(is_hung_up(idle), "one that is between two messages may take its time");
	assert_answer(idle, "{\"method\":\"test.Hello\"}", "{\"parameters\":{}}");
	stop();
}

Test(server, a_reader_that_does_not_read_is_cut_off)
{
	static const char call[] = "{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":"
				   "{\"interface\":\"org.varlink.service\"}}";
	start(20, 0);
	cleanup_close int reader = join();
	size_t asked = 0;
	ssize_t n = 0;

	/* Until nothing more is taken in; then time passes. The hang-up is seen behind what it was sent. */
	for (int quiet = 0; quiet < 100; quiet++) {
		while ((n = send(reader, call, sizeof call, MSG_NOSIGNAL)) > 0) {
			asked += (size_t)n;
			quiet = 0;
		}
		if (errno == EPIPE)
			break;
		(void)uv_run(&loop, UV_RUN_ONCE);
	}
	cr_assert_eq(errno, EPIPE, "%zu bytes were asked", asked);
	stop();
}

Test(server, a_user_has_so_many_connections)
{
	enum { MANY = 5 };
	int sockets[2 * MANY];

	start(0, MANY);
	for (int i = 0; i < 2 * MANY; i++)
		sockets[i] = join();
	turn(3);
	for (int i = 0; i < 2 * MANY; i++)
		cr_assert_eq(is_hung_up(sockets[i]), i < MANY, "number %d", i);
	/* Those that wait for an answer are not closed for others: then there is no room. */
	for (int i = MANY; i < 2 * MANY; i++)
		cr_assert_gt(send(sockets[i], "{\"method\":\"test.Hold\"}", 23, 0), 0);
	turn(5);
	int ends[2];
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
	cr_assert_eq(sp_server_adopt(server, ends[0]), -EUSERS);
	close(ends[1]);
	for (int i = 0; i < 2 * MANY; i++)
		close(sockets[i]);
	turn(5);
	cr_assert_eq(gone, MANY, "%u calls were told that nobody waits for them", gone);
	stop();
}

/* Descriptors that a method does not take are closed with its call, and those that come with one that takes none at once. */
Test(server, descriptors_come_with_their_call)
{
	struct sp_caller caller;
	struct sp_reply reply;
	int ends[2], byte;

	start(0, 0);
	for (int i = 0; i < 3; i++) {
		static const char *const methods_with[] = {"test.Take", "test.Take", "test.Hello"};

		caller = (struct sp_caller){.socket = join(), .patience = 0};
		sp_frames_init(&caller.in, SP_CALLER_MESSAGE, 0);
		cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
		const int two[] = {ends[1], ends[1]};
		cr_assert_eq(sp_caller_send(&caller, methods_with[i], NULL, SP_CALL_MORE, two, i == 0 ? 0 : 2), 0);
		close(ends[1]);
		turn(5);
		cr_assert_eq(sp_caller_receive(&caller, &reply), 0);
		cr_assert_eq(json_is_true(json_object_get(reply.parameters, "taken")), i == 1);
		sp_reply_release(&reply);
		if (i == 1) {
			cr_assert_eq(sp_caller_receive(&caller, &reply), 0);
			cr_assert_not(reply.continues);
			sp_reply_release(&reply);
			cr_assert_eq(write(taken, "x", 1), 1);
			close(taken);
			cr_assert_eq(read(ends[0], &byte, 1), 1);
		}
		cr_assert_eq(read(ends[0], &byte, 1), 0, "somebody has it still");
		close(ends[0]);
		sp_caller_close(&caller);
	}
	stop();
}
