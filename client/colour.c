/* See colour.h. */
#include "colour.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool sp_is_terminal(void)
{
	const char *term = getenv("TERM");

	return isatty(STDOUT_FILENO) == 1 && term != NULL && strcmp(term, "dumb") != 0;
}

bool sp_use_colour(void)
{
	const char *no_color = getenv("NO_COLOR");

	return sp_is_terminal() && (no_color == NULL || no_color[0] == '\0');
}

void sp_start_colour(bool use, enum sp_colour colour)
{
	static const char *const codes[] = {"", "\033[2m", "\033[32m", "\033[33m", "\033[1;31m", "\033[1m"};

	if (use)
		(void)fputs(codes[colour], stdout);
}

void sp_end_colour(bool use, enum sp_colour colour)
{
	if (use && colour != SP_PLAIN)
		(void)fputs("\033[0m", stdout);
}
