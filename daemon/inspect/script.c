/* See script.h. The same steps as load_script(), so that the same bytes give the same words. */
#include "inspect/script.h"

#include <string.h>

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

static const char *skip_blanks(const char *first, const char *last)
{
	while (first <= last && blank(*first))
		first++;
	return first <= last ? first : NULL;
}

static const char *find_terminator(const char *first, const char *last)
{
	for (; first <= last; first++)
		if (blank(*first) || *first == '\0')
			return first;
	return NULL;
}

static void copy(char *to, const char *from, const char *end)
{
	size_t length = strnlen(from, (size_t)(end - from));

	memcpy(to, from, length);
	to[length] = '\0';
}

bool sp_script_parse(const char head[static SP_SCRIPT_HEAD], struct sp_script *script)
{
	const char *last = head + SP_SCRIPT_HEAD - 1;

	if (head[0] != '#' || head[1] != '!')
		return false;
	const char *end = memchr(head, '\n', SP_SCRIPT_HEAD);
	if (end == NULL) {
		/* The line may be cut, but not within the interpreter's name. */
		const char *name = skip_blanks(head + 2, last);

		if (name == NULL || find_terminator(name, last) == NULL)
			return false;
		end = last;
	}
	while (blank(end[-1]))
		end--;
	const char *name = skip_blanks(head + 2, end);
	if (name == NULL || name == end)
		return false;
	const char *after = find_terminator(name, end);
	copy(script->interpreter, name, after != NULL ? after : end);
	const char *argument = after != NULL && *after != '\0' ? skip_blanks(after, end) : NULL;
	script->has_argument = argument != NULL && argument < end;
	if (script->has_argument)
		copy(script->argument, argument, end);
	return script->interpreter[0] != '\0';
}
