/* Bytes that a hostile program chose, made safe for a terminal and for one line of a log.
 *
 * Valid UTF-8 that is printable passes; everything else (control bytes, escapes, invalid UTF-8, Unicode controls
 * and direction overrides) becomes a C escape: \n, \t, \\, \x1b, ... Arguments are quoted for a POSIX shell only where
 * that is needed to see where one ends. */
#ifndef SP_UTIL_PRINTABLE_H
#define SP_UTIL_PRINTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* True if the bytes are well-formed UTF-8 (no overlong forms, no surrogates) without a NUL: what JSON and SQL can hold
 * as text. Any thread. */
bool sp_is_text(const char *bytes, size_t size);

/* The length of the character that text of size > 0 bytes begins with; 0: it is no text, as above. Any thread. */
size_t sp_text_step(const char *bytes, size_t size);

/* Writes the safe form of size bytes to out. Any thread that owns out. */
void sp_print_safe(FILE *out, const char *bytes, size_t size);

/* Writes size bytes as one argument: bare where every byte is in [A-Za-z0-9_@%+=:,./-] and there is at least one,
 * else as '...' for printable text, else as $'...' with escapes. */
void sp_print_argument(FILE *out, const char *bytes, size_t size);

/* argv as one line, arguments separated by a blank; bytes holds argc NUL-terminated strings, one after the other.
 * At most max_bytes of output columns are used (0: no limit); what is cut is shown as " … (+N arguments)". */
void sp_print_argv(FILE *out, const char *bytes, size_t size, size_t max_bytes);

#endif
