/* Colours on standard output: on terminals only, and not where NO_COLOR is set (https://no-color.org). */
#ifndef SP_CLIENT_COLOUR_H
#define SP_CLIENT_COLOUR_H

#include <stdbool.h>

enum sp_colour { SP_PLAIN, SP_DIM, SP_GREEN, SP_YELLOW, SP_RED, SP_BOLD };

bool sp_is_terminal(void); /* one that can do more than show lines */
bool sp_use_colour(void);

/* Nothing where `use` is false. */
void sp_start_colour(bool use, enum sp_colour colour);
void sp_end_colour(bool use, enum sp_colour colour);

#endif
