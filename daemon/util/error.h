/* An error that a person will read: an errno and one sentence, passed down, printed once at the top. */
#ifndef SP_UTIL_ERROR_H
#define SP_UTIL_ERROR_H

#include <errno.h>

struct sp_error {
	int err; /* positive errno; 0: no error */
	char text[1024]; /* one line, no newline, no trailing full stop, printable (see util/printable.h) */
};

/* Fills *e (which may be NULL) with errnum and the printf-formatted sentence; a sentence that is too long is cut.
 * Returns -errnum, so that a failing function can `return sp_fail(e, ENOENT, "...")`. Any thread. */
[[gnu::format(printf, 3, 4)]] int sp_fail(struct sp_error *e, int errnum, const char *format, ...);

#endif
