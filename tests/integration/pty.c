/* See pty.h. */
#include "pty.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <string.h>
#include <sys/ioctl.h>

struct sp_child sp_start_on_terminal(struct sp_lab *lab, const char *const argv[])
{
	struct winsize size = {.ws_row = 24, .ws_col = 80};
	struct sp_child child = {.err = -1, .deadline = sp_deadline(30), .linger = 5};

	child.pid = forkpty(&child.out, NULL, NULL, &size);
	cr_assert_geq(child.pid, 0, "forkpty: %s", strerror(errno));
	if (child.pid == 0)
		sp_exec_in_lab(lab, argv, "TERM=dumb");
	fcntl(child.out, F_SETFD, FD_CLOEXEC);
	child.input = fcntl(child.out, F_DUPFD_CLOEXEC, 0);
	fcntl(child.out, F_SETFL, O_NONBLOCK);
	return child;
}

void sp_type(struct sp_child *child, const char *text)
{
	cr_assert_eq(write(child->input, text, strlen(text)), (ssize_t)strlen(text), "%s", strerror(errno));
}

void sp_expect(struct sp_child *child, const char *text)
{
	cr_assert(sp_await_text(child, text), "no \"%s\" in:\n%s", text,
		  child->out_buffer.data != NULL ? child->out_buffer.data : "");
}

void sp_expect_next(struct sp_child *child, const char *text)
{
	sp_expect(child, text);
	char *end = strstr(child->out_buffer.data, text) + strlen(text);
	child->out_buffer.size -= (size_t)(end - child->out_buffer.data);
	memmove(child->out_buffer.data, end, child->out_buffer.size + 1);
}

void sp_expect_end(struct sp_child *child, int status)
{
	cleanup_outcome struct sp_outcome outcome = {0};

	outcome = sp_finish(child);
	sp_assert_ended(&outcome, status, "on the terminal");
}
