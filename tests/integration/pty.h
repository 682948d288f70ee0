/* A terminal of its own for a command, and who sits before it. */
#ifndef SP_TESTS_PTY_H
#define SP_TESTS_PTY_H

#include "harness.h"

/* As a session leader that has the terminal; child.out and child.input are who sits before it. */
struct sp_child sp_start_on_terminal(struct sp_lab *lab, const char *const argv[]);
void sp_type(struct sp_child *child, const char *text);
/* What is typed is shown too: commands are spelt so that their text differs from what they print. */
void sp_expect(struct sp_child *child, const char *text);
/* And forgets what was there before it. */
void sp_expect_next(struct sp_child *child, const char *text);
void sp_expect_end(struct sp_child *child, int status);

#endif
