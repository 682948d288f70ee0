/* Globs over arguments against a matcher that is simple, and slow. The bytes are: pattern, NUL, text. */
#include "policy/glob.h"
#include "fuzz.h"

#include <stdbool.h>
#include <string.h>

enum { PATTERN = 24, TEXT = 24 };

/* [...] from the bracket on: whether c is in it; *end: behind it. NULL: no class. */
static bool in_class(const char *pattern, unsigned char c, const char **end)
{
	const char *at = pattern + 1;
	bool negated = *at == '!' || *at == '^', found = false;

	if (negated)
		at++;
	for (bool first = true; *at != ']' || first; first = false) {
		if (*at == '\\' && at[1] != '\0')
			at++;
		const unsigned char low = (unsigned char)*at++;
		unsigned char high = low;
		if (*at == '-' && at[1] != ']') {
			at++;
			if (*at == '\\' && at[1] != '\0')
				at++;
			high = (unsigned char)*at++;
		}
		found |= c >= low && c <= high;
	}
	*end = at + 1;
	return found != negated;
}

static bool matches(const char *pattern, const char *text)
{
	const char *next;

	switch (*pattern) {
	case '\0':
		return *text == '\0';
	case '*':
		for (const char *at = text;; at++) {
			if (matches(pattern + 1, at))
				return true;
			if (*at == '\0')
				return false;
		}
	case '?':
		return *text != '\0' && matches(pattern + 1, text + 1);
	case '[':
		if (*text == '\0')
			return false;
		return in_class(pattern, (unsigned char)*text, &next) && matches(next, text + 1);
	case '\\':
		return *text == pattern[1] && matches(pattern + 2, text + 1);
	default:
		return *text == *pattern && matches(pattern + 1, text + 1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char pattern[PATTERN + 1], text[TEXT + 1];
	const uint8_t *nul = memchr(data, '\0', size);
	const size_t split = nul != NULL ? (size_t)(nul - data) : size, rest = nul != NULL ? size - split - 1 : 0;
	struct sp_glob *glob = NULL;
	const char *problem = NULL;

	size_t stars = 0;
	for (size_t i = 0; i < split; i++)
		stars += data[i] == '*';
	if (stars > 4 || split > PATTERN || rest > TEXT || (rest > 0 && memchr(nul + 1, '\0', rest) != NULL))
		return 0;
	if (split > 0)
		memcpy(pattern, data, split);
	pattern[split] = '\0';
	if (rest > 0)
		memcpy(text, nul + 1, rest);
	text[rest] = '\0';
	if (sp_glob_compile(pattern, SP_GLOB_ARGUMENT, &glob, &problem) < 0) {
		must(glob == NULL && problem != NULL);
		return 0;
	}
	const bool matched = sp_glob_match(glob, text, rest);
	must(matched == matches(pattern, text));
	size_t before, behind;
	const char *beginning = sp_glob_beginning(glob, &before), *ending = sp_glob_ending(glob, &behind);
	if (matched) {
		must(before + behind <= rest);
		must(memcmp(beginning, text, before) == 0);
		must(memcmp(ending, text + rest - behind, behind) == 0);
	}
	const char *literal = sp_glob_literal(glob);
	must(literal == NULL || matched == (strcmp(literal, text) == 0));
	sp_glob_free(glob);

	char *escaped = sp_glob_escape(text);
	must(escaped != NULL);
	must(sp_glob_compile(escaped, SP_GLOB_ARGUMENT, &glob, &problem) == 0);
	must(sp_glob_match(glob, text, rest));
	must(sp_glob_literal(glob) != NULL && strcmp(sp_glob_literal(glob), text) == 0);
	sp_glob_free(glob);
	free(escaped);
	return 0;
}
