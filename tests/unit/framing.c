/* The wire of varlink: whatever comes in, in whatever pieces, is a message, a piece of one, or an error; and descriptors go
 * with theirs. */
#include "framing.h"
#include "util/cleanup.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

static void assert_next(struct sp_frames *frames, const char *text)
{
	struct sp_frame frame;

	cr_assert(sp_frames_take(frames, &frame), "no message, but: %s", text);
	cr_assert_eq(frame.size, strlen(text), "%s", frame.text);
	cr_assert_str_eq(frame.text, text);
	cr_assert_eq(frame.fd_count, 0);
}

Test(framing, in_any_pieces)
{
	static const char bytes[] = "{\"a\":1}\0\0{}\0{\"longer\":[1,2,3]}";

	for (size_t step = 1; step <= sizeof bytes; step++) {
		[[gnu::cleanup(sp_frames_release)]] struct sp_frames frames;
		struct sp_frame frame;
		static const char *const messages[] = {"{\"a\":1}", "", "{}", "{\"longer\":[1,2,3]}"};
		size_t seen = 0;

		sp_frames_init(&frames, 0, 0);
		for (size_t at = 0; at < sizeof bytes; at += step) {
			const size_t size = sizeof bytes - at < step ? sizeof bytes - at : step;

			cr_assert_eq(sp_frames_feed(&frames, bytes + at, size, NULL, 0), 0);
			while (sp_frames_waiting(&frames))
				assert_next(&frames, messages[seen++]);
			cr_assert_not(sp_frames_take(&frames, &frame));
		}
		cr_assert_eq(seen, 4, "pieces of %zu: %zu messages", step, seen);
		cr_assert_not(sp_frames_partial(&frames));
	}
}

Test(framing, a_message_has_a_limit)
{
	static char bytes[101];
	[[gnu::cleanup(sp_frames_release)]] struct sp_frames frames, short_ones;
	struct sp_frame frame;

	memset(bytes, 'x', 100);
	sp_frames_init(&frames, 99, 0);
	cr_assert_eq(sp_frames_feed(&frames, bytes, 101, NULL, 0), -EMSGSIZE);
	sp_frames_init(&short_ones, 100, 0);
	for (int i = 0; i < 1000; i++) {
		cr_assert_eq(sp_frames_feed(&short_ones, bytes, 101, NULL, 0), 0);
		cr_assert(sp_frames_take(&short_ones, &frame));
		cr_assert_eq(frame.size, 100);
	}
	cr_assert_leq(short_ones.capacity, 101);
}

/* What a long one needed is given back. */
Test(framing, memory_is_given_back)
{
	[[gnu::cleanup(sp_frames_release)]] struct sp_frames frames;
	cleanup_free char *bytes = calloc(1, 1 << 20);
	struct sp_frame frame;

	memset(bytes, ' ', (1 << 20) - 1);
	sp_frames_init(&frames, 0, 0);
	cr_assert_eq(sp_frames_feed(&frames, bytes, 1 << 20, NULL, 0), 0);
	cr_assert(sp_frames_take(&frames, &frame));
	cr_assert_not(sp_frames_take(&frames, &frame));
	cr_assert_eq(frames.capacity, 0);
}

static int open_null(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

Test(framing, descriptors_go_with_their_message)
{
	[[gnu::cleanup(sp_frames_release)]] struct sp_frames frames;
	const int first = open_null(), second = open_null();
	struct sp_frame frame;

	sp_frames_init(&frames, 0, 2);
	cr_assert_eq(sp_frames_feed(&frames, "{\"a\"", 4, &first, 1), 0);
	cr_assert_eq(sp_frames_feed(&frames, ":1}\0{}", 7, &second, 1), 0);
	cr_assert(sp_frames_take(&frames, &frame));
	cr_assert_eq(frame.fd_count, 1);
	cr_assert_eq(frame.fds[0], first);
	sp_frame_close_fds(&frame);
	cr_assert(sp_frames_take(&frames, &frame));
	cr_assert_eq(frame.fd_count, 1);
	cr_assert_eq(frame.fds[0], second);
	sp_frame_close_fds(&frame);
	cr_assert_lt(fcntl(first, F_GETFD), 0);
	cr_assert_lt(fcntl(second, F_GETFD), 0);
}

/* Those that nobody took are closed, and so are those that are too many. */
Test(framing, descriptors_are_bounded)
{
	struct sp_frames frames;
	const int fds[3] = {open_null(), open_null(), open_null()}, one = open_null();

	sp_frames_init(&frames, 0, 2);
	cr_assert_eq(sp_frames_feed(&frames, "{", 1, fds, 3), -ETOOMANYREFS);
	cr_assert_eq(sp_frames_feed(&frames, "{", 1, &one, 1), 0);
	sp_frames_release(&frames);
	for (int i = 0; i < 3; i++)
		cr_assert_lt(fcntl(fds[i], F_GETFD), 0);
	cr_assert_lt(fcntl(one, F_GETFD), 0);
}

static void send_with_fds(int socket, const char *bytes, size_t size, unsigned count)
{
	union {
		char bytes[CMSG_SPACE(64 * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec place = {.iov_base = (char *)bytes, .iov_len = size};
	struct msghdr message = {.msg_iov = &place,
				 .msg_iovlen = 1,
				 .msg_control = control.bytes,
				 .msg_controllen = CMSG_SPACE(count * sizeof(int))};
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);
	const int null = open_null();

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(count * sizeof(int));
	for (unsigned i = 0; i < count; i++)
		memcpy(CMSG_DATA(c) + i * sizeof(int), &null, sizeof null);
	cr_assert_eq(sendmsg(socket, &message, 0), (ssize_t)size);
	close(null);
}

static int lowest_free_fd(void)
{
	const int fd = open_null();

	close(fd);
	return fd;
}

/* By a real socket: those within the limit arrive, more are an error, and none is left open. */
Test(framing, descriptors_by_a_socket)
{
	static const struct {
		unsigned sent, limit;
		bool fine;
	} examples[] = {{1, 1, true}, {16, 16, true}, {2, 1, false}, {64, 16, false}, {1, 0, false}};

	for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
		[[gnu::cleanup(sp_frames_release)]] struct sp_frames frames;
		struct sp_frame frame;
		int ends[2];

		cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
		const int before = lowest_free_fd();
		sp_frames_init(&frames, 0, examples[i].limit);
		send_with_fds(ends[0], "{}", 3, examples[i].sent);
		const ssize_t size = sp_frames_read(&frames, ends[1]);
		cr_assert_eq(size, examples[i].fine ? 3 : -ETOOMANYREFS, "example %zu: %zd", i, size);
		if (examples[i].fine) {
			cr_assert(sp_frames_take(&frames, &frame));
			cr_assert_eq(frame.fd_count, examples[i].sent);
			sp_frame_close_fds(&frame);
		}
		sp_frames_release(&frames);
		cr_assert_eq(lowest_free_fd(), before, "example %zu: a descriptor is left", i);
		close(ends[0]);
		close(ends[1]);
	}
}

/* --- JSON --- */

Test(framing, json_that_is_refused)
{
	static const char *const refused[] = {"",
					      "{",
					      "[]",
					      "null",
					      "{\"a\"}",
					      "{} {}",
					      "\"text\"",
					      "{\"a\":\"\xff\"}",
					      "{'a':1}",
					      "{\"a\":1e999999}",
					      "{\"a\":123456789012345678901234567890}",
					      "{\"a\":1,\"a\":2}",
					      "{\"a\":\"\\u0000\"}",
					      "{\"a\":\"\\ud800\"}"};

	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
		cr_assert_null(sp_message_parse(refused[i], strlen(refused[i])), "%s", refused[i]);
}

static bool is_parsed(const char *text, size_t size)
{
	json_t *object = sp_message_parse(text, size);
	const bool parsed = object != NULL;

	json_decref(object);
	return parsed;
}

Test(framing, json_is_neither_deep_nor_wide)
{
	char deep[256];
	cleanup_free char *wide = malloc(1 << 20);

	for (int depth = 30; depth < 34; depth++) {
		const int length = snprintf(deep, sizeof deep, "{\"]\\\"]\":%.*s%.*s}", depth - 1,
					    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", depth - 1,
					    "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");
		cr_assert_eq(is_parsed(deep, (size_t)length), depth <= SP_JSON_DEPTH, "depth %d", depth);
	}
	for (int more = 0; more < 2; more++) {
		/* the object, the array, and its items */
		const size_t items = SP_JSON_VALUES - 2 + (size_t)more;
		char *at = stpcpy(wide, "{\"a\":[0");

		for (size_t i = 1; i < items; i++)
			at = stpcpy(at, ",0");
		at = stpcpy(at, "]}");
		cr_assert_eq(is_parsed(wide, (size_t)(at - wide)), more == 0, "%zu items", items);
	}
	/* brackets in strings are none */
	static const char quoted[] = "{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[[\"}";
	cr_assert(is_parsed(quoted, sizeof quoted - 1));
}

Test(framing, print_and_parse)
{
	json_t *object = json_pack("{ss si}", "text", "\x7f\xc3\xa4 \n", "number", -7);
	size_t size;
	cleanup_free char *text = sp_message_print(object, &size);
	json_t *again = sp_message_parse(text, size - 1);

	cr_assert_eq(text[size - 1], '\0');
	cr_assert(json_equal(object, again));
	json_decref(object);
	json_decref(again);
}
