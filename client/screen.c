/* See screen.h. Sequences are those of xterm(1), which all terminals of today understand. */
#include "screen.h"

#include "util/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define ENTER "\033[?1049h\033[?25l\033[?7l" /* the other screen, no cursor, no line wrap */
#define LEAVE "\033[?7h\033[?25h\033[?1049l"

static void draw_on(struct sp_screen *s)
{
	struct termios raw = s->before;

	(void)fputs(ENTER, stdout);
	(void)fflush(stdout);
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	if (s->has_keys)
		(void)tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

static void give_back(struct sp_screen *s)
{
	(void)fputs(LEAVE, stdout);
	(void)fflush(stdout);
	if (s->has_keys)
		(void)tcsetattr(STDIN_FILENO, TCSANOW, &s->before);
}

int sp_screen_enter(struct sp_screen *s)
{
	static const int watched[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH};
	sigset_t set;

	(void)sigemptyset(&set);
	for (size_t i = 0; i < sizeof watched / sizeof *watched; i++)
		(void)sigaddset(&set, watched[i]);
	s->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (s->signals < 0) {
		int err = -errno;

		(void)fprintf(stderr, "sallyport: cannot create a signalfd: %s\n", strerror(errno));
		return err;
	}
	(void)sigprocmask(SIG_BLOCK, &set, &s->mask);
	s->has_keys = tcgetattr(STDIN_FILENO, &s->before) == 0;
	s->entered = true;
	draw_on(s);
	return 0;
}

void sp_screen_leave(struct sp_screen *s)
{
	if (!s->entered)
		return;
	give_back(s);
	(void)close(s->signals);
	(void)sigprocmask(SIG_SETMASK, &s->mask, NULL);
	s->entered = false;
}

static struct winsize size_of(const struct sp_screen *s)
{
	struct winsize size = {0};

	if (s->entered)
		(void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	return size;
}

unsigned sp_screen_lines(const struct sp_screen *s)
{
	return size_of(s).ws_row;
}

unsigned sp_screen_columns(const struct sp_screen *s)
{
	return size_of(s).ws_col;
}

void sp_screen_begin(const struct sp_screen *s)
{
	if (s->entered)
		(void)fputs("\033[H", stdout);
}

void sp_screen_line(const struct sp_screen *s)
{
	(void)fputs(s->entered ? "\033[K\n" : "\n", stdout);
}

void sp_screen_end(const struct sp_screen *s)
{
	if (s->entered)
		(void)fputs("\033[J", stdout);
}

/* Somebody else uses the terminal meanwhile. */
static void stop(struct sp_screen *s)
{
	give_back(s);
	(void)raise(SIGSTOP);
	draw_on(s);
}

/* False: end. */
static bool take_signal(struct sp_screen *s)
{
	struct signalfd_siginfo info;

	if (read(s->signals, &info, sizeof info) != (ssize_t)sizeof info)
		return true;
	if (info.ssi_signo == SIGTSTP)
		stop(s);
	return info.ssi_signo == SIGTSTP || info.ssi_signo == SIGWINCH;
}

/* False: q. At the end of its input there is nobody who could press one. */
static bool take_key(struct sp_screen *s)
{
	char key = 0;
	const ssize_t n = read(STDIN_FILENO, &key, 1);

	s->has_keys = n == 1 || (n < 0 && (errno == EINTR || errno == EAGAIN));
	return key != 'q' && key != 'Q';
}

bool sp_screen_wait(struct sp_screen *s, int milliseconds)
{
	const int64_t until = sp_clock() / 1000000 + milliseconds;

	for (;;) {
		struct pollfd ends[] = {{.fd = s->entered ? s->signals : -1, .events = POLLIN},
					{.fd = s->entered && s->has_keys ? STDIN_FILENO : -1, .events = POLLIN}};
		const int64_t left = until - sp_clock() / 1000000;

		if (left <= 0 || (poll(ends, 2, (int)left) == 0))
			return true;
		if (ends[0].revents != 0)
			return take_signal(s);
		if (ends[1].revents != 0 && !take_key(s))
			return false;
	}
}
