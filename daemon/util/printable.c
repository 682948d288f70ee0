/* See printable.h. The tables here are Unicode's own general categories Cc, Cf, Zl, Zp and the letters that have no
 * ink; the C library's iswprint() is not asked, because its answer changes with the locale. */
#include "util/printable.h"

#include <stdint.h>
#include <string.h>

/* Where the output goes, and how much of it may still go there. */
struct sink {
	FILE *out; /* NULL: only count */
	size_t left;
	bool full; /* something did not fit; nothing more is written */
};

enum quoting { BARE, QUOTED, ESCAPED };

static void put(struct sink *sink, const char *bytes, size_t size);
static void put_safe(struct sink *sink, const unsigned char *at, size_t size, bool in_quotes);
static void put_argument(struct sink *sink, const unsigned char *bytes, size_t size, const char *separator);
static void put_text(struct sink *sink, const unsigned char *bytes, size_t size);
static size_t put_arguments(struct sink *sink, const char *bytes, size_t size);
static size_t decode(const unsigned char *at, size_t size, uint32_t *code);
static bool printable(uint32_t code);

size_t sp_text_step(const char *bytes, size_t size)
{
	uint32_t code;
	size_t step = decode((const unsigned char *)bytes, size, &code);

	return code == 0 ? 0 : step;
}

bool sp_is_text(const char *bytes, size_t size)
{
	for (size_t step; size > 0; bytes += step, size -= step) {
		step = sp_text_step(bytes, size);
		if (step == 0)
			return false;
	}
	return true;
}

void sp_print_safe(FILE *out, const char *bytes, size_t size)
{
	struct sink sink = {.out = out, .left = SIZE_MAX};

	put_safe(&sink, (const unsigned char *)bytes, size, false);
}

void sp_print_argument(FILE *out, const char *bytes, size_t size)
{
	struct sink sink = {.out = out, .left = SIZE_MAX};

	put_argument(&sink, (const unsigned char *)bytes, size, "");
}

void sp_print_argv(FILE *out, const char *bytes, size_t size, size_t max_bytes)
{
	struct sink measure = {.left = max_bytes == 0 ? SIZE_MAX : max_bytes};
	struct sink sink = {.out = out, .left = SIZE_MAX};
	size_t count = 0;

	if (max_bytes == 0 || (put_arguments(&measure, bytes, size), !measure.full)) {
		put_arguments(&sink, bytes, size);
		return;
	}
	for (const char *at = bytes, *end = bytes + size; at < end; count++)
		at += strnlen(at, (size_t)(end - at)) + 1;

	/* The longest the note can get decides how much room the arguments have. */
	char note[64];
	size_t reserve = (size_t)snprintf(note, sizeof note, " … (+%zu arguments)", count);
	sink.left = max_bytes > reserve ? max_bytes - reserve : 0;
	size_t cut = count - put_arguments(&sink, bytes, size);
	(void)fprintf(out, " … (+%zu argument%s)", cut, cut == 1 ? "" : "s");
}

/* How many arguments were written whole. */
static size_t put_arguments(struct sink *sink, const char *bytes, size_t size)
{
	size_t whole = 0;

	for (const char *at = bytes, *end = bytes + size; at < end && !sink->full; whole += !sink->full) {
		size_t length = strnlen(at, (size_t)(end - at));
		put_argument(sink, (const unsigned char *)at, length, at > bytes ? " " : "");
		at += length + 1;
	}
	return whole;
}

static enum quoting quoting_of(const unsigned char *at, size_t size)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-";
	enum quoting quoting = size == 0 ? QUOTED : BARE;
	uint32_t code;

	for (const unsigned char *end = at + size; at < end;) {
		size_t step = decode(at, (size_t)(end - at), &code);
		if (step == 0 || !printable(code))
			return ESCAPED;
		if (code >= 0x80 || memchr(plain, (int)code, sizeof plain - 1) == NULL)
			quoting = QUOTED;
		at += step;
	}
	return quoting;
}

/* A closing quote is always written, also after a cut: its byte is set aside beforehand. */
static void put_argument(struct sink *sink, const unsigned char *bytes, size_t size, const char *separator)
{
	static const char *const opening[] = {[BARE] = "", [QUOTED] = "'", [ESCAPED] = "$'"};
	/* What is certain to be cut need not be looked at whole. */
	size_t looked_at = size > sink->left ? sink->left + 1 : size;
	enum quoting quoting = quoting_of(bytes, looked_at);
	size_t quotes = quoting == BARE ? 0 : strlen(opening[quoting]) + 1;

	/* Where not even a part of it fits, nothing of it is written. */
	if (sink->left < strlen(separator) + quotes + (size > 0)) {
		sink->full = true;
		return;
	}
	put(sink, separator, strlen(separator));
	put(sink, opening[quoting], strlen(opening[quoting]));
	sink->left -= quoting != BARE;
	if (quoting == ESCAPED)
		put_safe(sink, bytes, looked_at, true);
	else
		put_text(sink, bytes, looked_at);
	if (quoting != BARE && sink->out != NULL)
		(void)fputc('\'', sink->out);
}

static void put_text(struct sink *sink, const unsigned char *bytes, size_t size)
{
	uint32_t code;

	for (size_t i = 0; i < size && !sink->full;) {
		const unsigned char *quote = memchr(bytes + i, '\'', size - i);
		size_t run = quote != NULL ? (size_t)(quote - bytes) - i : size - i;
		/* At once what fits, by characters what must be cut. */
		if (run > sink->left)
			run = decode(bytes + i, size - i, &code);
		if (run == 0)
			put(sink, "'\\''", 4);
		else
			put(sink, (const char *)bytes + i, run);
		i += run > 0 ? run : 1;
	}
}

static void put_safe(struct sink *sink, const unsigned char *at, size_t size, bool in_quotes)
{
	uint32_t code;

	for (const unsigned char *end = at + size; at < end && !sink->full;) {
		char escape[8];
		size_t step = decode(at, (size_t)(end - at), &code);
		if (step == 0)
			code = UINT32_MAX;
		if (code == '\\' || (in_quotes && code == '\''))
			put(sink, (const char[]){'\\', (char)code}, 2);
		else if (step > 0 && printable(code))
			put(sink, (const char *)at, step);
		else if (code == '\n' || code == '\t' || code == '\r')
			put(sink, code == '\n' ? "\\n" : code == '\t' ? "\\t" : "\\r", 2);
		else
			for (size_t i = 0; i < (step > 0 ? step : 1); i++)
				put(sink, escape, (size_t)snprintf(escape, sizeof escape, "\\x%02x", at[i]));
		at += step > 0 ? step : 1;
	}
}

static void put(struct sink *sink, const char *bytes, size_t size)
{
	if (sink->full || size > sink->left) {
		sink->full = true;
		return;
	}
	sink->left -= size;
	if (sink->out != NULL)
		(void)fwrite_unlocked(bytes, 1, size, sink->out);
}

/* The length of the well-formed UTF-8 sequence at `at` (RFC 3629) and its code point; 0: there is none. */
static size_t decode(const unsigned char *at, size_t size, uint32_t *code)
{
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t length = at[0] < 0x80             ? 1
			: (at[0] & 0xe0) == 0xc0 ? 2
			: (at[0] & 0xf0) == 0xe0 ? 3
			: (at[0] & 0xf8) == 0xf0 ? 4
						 : 0;

	*code = at[0];
	if (length <= 1)
		return length;
	if (length > size)
		return 0;
	*code &= 0x7fu >> length;
	for (size_t i = 1; i < length; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		*code = *code << 6 | (at[i] & 0x3f);
	}
	return *code < smallest[length] || *code > 0x10ffff || (*code >= 0xd800 && *code <= 0xdfff) ? 0 : length;
}

static bool printable(uint32_t code)
{
	static const struct {
		uint32_t first, last;
	} hidden[] = {
		{0x00, 0x1f},       {0x7f, 0x9f}, /* C0, DEL, C1 */
		{0xad, 0xad},       {0x34f, 0x34f}, /* soft hyphen, grapheme joiner */
		{0x600, 0x605},     {0x61c, 0x61c}, /* Arabic number signs and letter mark */
		{0x6dd, 0x6dd},     {0x70f, 0x70f}, /* end of ayah, Syriac abbreviation mark */
		{0x890, 0x891},     {0x8e2, 0x8e2}, /* Arabic pound marks, disputed end of ayah */
		{0x115f, 0x1160},   {0x17b4, 0x17b5}, /* fillers and vowels without ink */
		{0x180b, 0x180f},   {0x200b, 0x200f}, /* Mongolian selectors, zero widths, direction marks */
		{0x2028, 0x202e},   {0x2060, 0x206f}, /* separators, embeddings, overrides, isolates */
		{0x3164, 0x3164},   {0xfeff, 0xfeff}, /* Hangul filler, byte order mark */
		{0xffa0, 0xffa0},   {0xfff0, 0xfffb}, /* half-width filler, interlinear annotation */
		{0x110bd, 0x110bd}, {0x110cd, 0x110cd}, /* Kaithi number signs */
		{0x13430, 0x1343f}, {0x1bca0, 0x1bca3}, /* hieroglyph and shorthand format controls */
		{0x1d173, 0x1d17a}, {0xe0000, 0xe0fff}, /* musical format controls, tags, selectors */
	};

	if ((code & 0xfffe) == 0xfffe) /* noncharacters */
		return false;
	for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; i++)
		if (code >= hidden[i].first && code <= hidden[i].last)
			return false;
	return true;
}
