/* A terminal that is drawn on again and again; given back as it was, whatever ends it. */
#ifndef SP_CLIENT_SCREEN_H
#define SP_CLIENT_SCREEN_H

#include <signal.h>
#include <stdbool.h>
#include <termios.h>

/* All zero: no terminal; then lines are just written. */
struct sp_screen {
	bool entered, has_keys;
	int signals; /* signalfd */
	sigset_t mask; /* as it was */
	struct termios before;
};

/* Standard output is a terminal. 0; or -errno, and a sentence was written. */
[[nodiscard]] int sp_screen_enter(struct sp_screen *screen);
void sp_screen_leave(struct sp_screen *screen);

/* 0: no terminal. */
unsigned sp_screen_lines(const struct sp_screen *screen);
unsigned sp_screen_columns(const struct sp_screen *screen);

void sp_screen_begin(const struct sp_screen *screen); /* a new picture */
void sp_screen_line(const struct sp_screen *screen); /* the end of a line */
void sp_screen_end(const struct sp_screen *screen);

/* Waits. False: somebody has pressed q, or wants us to end. Sooner than asked where the terminal changes its size or goes on. */
[[nodiscard]] bool sp_screen_wait(struct sp_screen *screen, int milliseconds);

#endif
