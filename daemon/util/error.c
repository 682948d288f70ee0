/* See error.h. */
#include "util/error.h"

#include <stdarg.h>
#include <stdio.h>

int sp_fail(struct sp_error *e, int errnum, const char *format, ...)
{
	if (e == NULL)
		return -errnum;
	e->err = errnum;
	va_list args;
	va_start(args, format);
	(void)vsnprintf(e->text, sizeof e->text, format, args);
	va_end(args);
	return -errnum;
}
