/* See glob.h. A pattern becomes a list of tokens, and matching walks the set of token positions that the text read so
 * far can have reached (Thompson's simulation), so no pattern makes it backtrack. */
#include "policy/glob.h"

#include "util/cleanup.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

/* A longer pattern cannot match a path (PATH_MAX) and is not something a person wrote. Bounds the sets on the stack. */
#define TOKENS_MAX 4096
#define SET_BITS 64
#define SET_WORDS (TOKENS_MAX / SET_BITS + 1)

enum token_kind {
	TOKEN_BYTE,
	TOKEN_ANY, /* one byte, no slash */
	TOKEN_ANY_BYTE,
	TOKEN_CLASS,
	TOKEN_STAR, /* any bytes but slashes */
	TOKEN_GLOBSTAR, /* any bytes */
	TOKEN_DIRS, /* nothing, or any bytes and a slash */
};

struct token {
	uint8_t kind;
	uint8_t byte;
	uint16_t charset;
};

struct charset {
	uint64_t bytes[256 / 64];
};

struct sp_glob {
	size_t count; /* of tokens */
	size_t prefix; /* how many tokens at the start are bytes */
	size_t suffix; /* and at the end */
	size_t class_count;
	char *literal; /* the bytes of the prefix, NUL-terminated, */
	char *ending; /* and of the suffix, behind it */
	struct charset *classes;
	struct token tokens[];
};

struct pattern {
	const char *at;
	enum sp_glob_kind kind;
	struct sp_glob *glob;
	const char **problem;
};

static int parse_pattern(struct pattern *p);
static void note_literals(struct sp_glob *glob);

static void free_glob_ptr(struct sp_glob **glob)
{
	sp_glob_free(*glob);
}

int sp_glob_compile(const char *pattern, enum sp_glob_kind kind, struct sp_glob **out, const char **problem)
{
	size_t size = strlen(pattern);

	if (size > TOKENS_MAX) {
		*problem = "the pattern is longer than 4096 bytes";
		return -EINVAL;
	}
	sp_cleanup(free_glob_ptr) struct sp_glob *glob = calloc(1, sizeof *glob + size * sizeof glob->tokens[0]);
	if (glob == NULL)
		return -ENOMEM;
	glob->literal = calloc(1, size + 2);
	/* A class takes at least three bytes of the pattern. */
	glob->classes = calloc(size / 3 + 1, sizeof *glob->classes);
	if (glob->literal == NULL || glob->classes == NULL)
		return -ENOMEM;
	int rc = parse_pattern(&(struct pattern){.at = pattern, .kind = kind, .glob = glob, .problem = problem});
	if (rc < 0)
		return rc;
	note_literals(glob);
	*out = sp_steal_ptr(glob);
	return 0;
}

/* What most texts fail by, before anything is simulated. */
static void note_literals(struct sp_glob *glob)
{
	const struct token *tokens = glob->tokens;

	for (; glob->prefix < glob->count && tokens[glob->prefix].kind == TOKEN_BYTE; glob->prefix++)
		glob->literal[glob->prefix] = (char)tokens[glob->prefix].byte;
	glob->ending = glob->literal + glob->prefix + 1;
	if (glob->prefix == glob->count)
		return;
	while (tokens[glob->count - 1 - glob->suffix].kind == TOKEN_BYTE)
		glob->suffix++;
	for (size_t i = 0; i < glob->suffix; i++)
		glob->ending[i] = (char)tokens[glob->count - glob->suffix + i].byte;
}

void sp_glob_free(struct sp_glob *glob)
{
	if (glob == NULL)
		return;
	free(glob->literal);
	free(glob->classes);
	free(glob);
}

const char *sp_glob_literal(const struct sp_glob *glob)
{
	return glob->prefix == glob->count ? glob->literal : NULL;
}

const char *sp_glob_beginning(const struct sp_glob *glob, size_t *size)
{
	*size = glob->prefix;
	return glob->literal;
}

const char *sp_glob_ending(const struct sp_glob *glob, size_t *size)
{
	*size = glob->suffix;
	return glob->ending;
}

char *sp_glob_escape(const char *text)
{
	char *escaped = malloc(2 * strlen(text) + 1);

	if (escaped == NULL)
		return NULL;
	char *to = escaped;
	for (; *text != '\0'; text++) {
		if (strchr("?*[]\\", *text) != NULL)
			*to++ = '\\';
		*to++ = *text;
	}
	*to = '\0';
	return escaped;
}

static int bad_pattern(struct pattern *p, const char *problem)
{
	*p->problem = problem;
	return -EINVAL;
}

static void add_token(struct pattern *p, enum token_kind kind, char byte, size_t charset)
{
	p->glob->tokens[p->glob->count++] =
		(struct token){.kind = (uint8_t)kind, .byte = (uint8_t)byte, .charset = (uint16_t)charset};
}

static void parse_stars(struct pattern *p, const char *start)
{
	size_t stars = strspn(p->at, "*");
	bool component_starts = p->at == start || p->at[-1] == '/';

	p->at += stars;
	if (p->kind == SP_GLOB_ARGUMENT) {
		add_token(p, TOKEN_GLOBSTAR, 0, 0);
	} else if (stars == 1) {
		add_token(p, TOKEN_STAR, 0, 0);
	} else if (component_starts && *p->at == '/') {
		p->at++;
		add_token(p, TOKEN_DIRS, 0, 0);
	} else {
		add_token(p, TOKEN_GLOBSTAR, 0, 0);
	}
}

static void charset_flip(struct charset *charset)
{
	for (size_t i = 0; i < sizeof charset->bytes / sizeof charset->bytes[0]; i++)
		charset->bytes[i] = ~charset->bytes[i];
}

static void charset_add(struct charset *charset, unsigned char from, unsigned char to)
{
	for (unsigned int byte = from; byte <= to; byte++)
		charset->bytes[byte / 64] |= UINT64_C(1) << (byte % 64);
}

static bool charset_has(const struct charset *charset, unsigned char byte)
{
	return (charset->bytes[byte / 64] >> (byte % 64) & 1) != 0;
}

/* One byte of a class, which a backslash may make literal; -1 at the end of the pattern. */
static int charset_byte(struct pattern *p)
{
	if (*p->at == '\\')
		p->at++;
	return *p->at == '\0' ? -1 : (unsigned char)*p->at++;
}

static int parse_class(struct pattern *p)
{
	struct charset *charset = &p->glob->classes[p->glob->class_count];

	p->at++;
	bool negated = *p->at == '!' || *p->at == '^';
	if (negated)
		p->at++;
	for (bool first = true; first || *p->at != ']'; first = false) {
		if (p->at[0] == '[' && p->at[1] == ':')
			return bad_pattern(p, "named classes such as [:alpha:] are not supported, write a range");
		int from = charset_byte(p);
		int to = from;
		if (p->at[0] == '-' && p->at[1] != ']' && p->at[1] != '\0') {
			p->at++;
			to = charset_byte(p);
		}
		if (from < 0 || to < 0)
			return bad_pattern(p, "the [ is not closed (a literal one is written \\[)");
		if (from > to)
			return bad_pattern(p, "the range in [ ] runs backwards");
		charset_add(charset, (unsigned char)from, (unsigned char)to);
	}
	p->at++;
	if (negated)
		charset_flip(charset);
	if (p->kind == SP_GLOB_PATH)
		charset->bytes['/' / 64] &= ~(UINT64_C(1) << ('/' % 64));
	add_token(p, TOKEN_CLASS, 0, p->glob->class_count++);
	return 0;
}

static int parse_pattern(struct pattern *p)
{
	const char *start = p->at;

	while (*p->at != '\0') {
		switch (*p->at) {
		case '*':
			parse_stars(p, start);
			break;
		case '?':
			add_token(p, p->kind == SP_GLOB_PATH ? TOKEN_ANY : TOKEN_ANY_BYTE, 0, 0);
			p->at++;
			break;
		case '[': {
			int rc = parse_class(p);
			if (rc < 0)
				return rc;
			break;
		}
		case '\\':
			if (*++p->at == '\0')
				return bad_pattern(p, "nothing follows the \\ at the end");
			[[fallthrough]];
		default:
			add_token(p, TOKEN_BYTE, *p->at++, 0);
			break;
		}
	}
	return 0;
}

/* A set of positions: bit i means that the first i tokens have matched what was read. */
struct set {
	uint64_t words[SET_WORDS];
};

static void set_add(struct set *set, size_t i)
{
	set->words[i / SET_BITS] |= UINT64_C(1) << (i % SET_BITS);
}

static bool set_has(const struct set *set, size_t i)
{
	return (set->words[i / SET_BITS] >> (i % SET_BITS) & 1) != 0;
}

/* Arrives before token i: and behind it as well where it may match nothing. */
static void set_enter(struct set *set, const struct sp_glob *glob, size_t i)
{
	set_add(set, i);
	for (; i < glob->count && glob->tokens[i].kind >= TOKEN_STAR; i++)
		set_add(set, i + 1);
}

/* Token i reads one byte: where can that lead? */
static void step(struct set *next, const struct sp_glob *glob, size_t i, unsigned char byte)
{
	const struct token *token = &glob->tokens[i];
	bool advance = false, stay = false;

	switch ((enum token_kind)token->kind) {
	case TOKEN_BYTE:
		advance = byte == token->byte;
		break;
	case TOKEN_ANY:
		advance = byte != '/';
		break;
	case TOKEN_ANY_BYTE:
		advance = true;
		break;
	case TOKEN_CLASS:
		advance = charset_has(&glob->classes[token->charset], byte);
		break;
	case TOKEN_STAR:
		stay = byte != '/';
		break;
	case TOKEN_GLOBSTAR:
		stay = true;
		break;
	case TOKEN_DIRS:
		/* Having read something it must end with a slash, so staying is not arriving behind it. */
		set_add(next, i);
		advance = byte == '/';
		break;
	}
	if (advance)
		set_enter(next, glob, i + 1);
	if (stay)
		set_enter(next, glob, i);
}

/* In the common `*literal...` only the literal's first byte can move the set {star, literal}: a memchr finds it. */
static const char *skip(const struct sp_glob *glob, const struct set *now, const char *at, const char *end)
{
	if (glob->count >= SET_BITS)
		return at;
	size_t i = (size_t)__builtin_ctzll(now->words[0]);
	if (i + 1 >= glob->count || now->words[0] != UINT64_C(3) << i || glob->tokens[i].kind != TOKEN_GLOBSTAR ||
	    glob->tokens[i + 1].kind != TOKEN_BYTE)
		return at;
	return memchr(at, glob->tokens[i + 1].byte, (size_t)(end - at));
}

bool sp_glob_match(const struct sp_glob *glob, const char *text, size_t size)
{
	if (size < glob->prefix || memcmp(text, glob->literal, glob->prefix) != 0)
		return false;
	if (glob->prefix == glob->count)
		return size == glob->prefix;
	if (size < glob->prefix + glob->suffix || memcmp(text + size - glob->suffix, glob->ending, glob->suffix) != 0)
		return false;

	struct set sets[2];
	struct set *now = &sets[0], *next = &sets[1];
	size_t words = glob->count / SET_BITS + 1;
	bool open_end = glob->tokens[glob->count - 1].kind == TOKEN_GLOBSTAR;
	memset(now, 0, words * sizeof now->words[0]);
	set_enter(now, glob, glob->prefix);
	const char *end = text + size;
	for (const char *at = text + glob->prefix; at < end; at++) {
		if (open_end && set_has(now, glob->count))
			return true;
		at = skip(glob, now, at, end);
		if (at == NULL)
			return false;
		memset(next, 0, words * sizeof next->words[0]);
		uint64_t reached = 0;
		for (size_t word = 0; word < words; word++) {
			for (uint64_t bits = now->words[word]; bits != 0; bits &= bits - 1) {
				size_t i = word * SET_BITS + (size_t)__builtin_ctzll(bits);
				if (i < glob->count)
					step(next, glob, i, (unsigned char)*at);
			}
		}
		for (size_t word = 0; word < words; word++)
			reached |= next->words[word];
		if (reached == 0)
			return false;
		struct set *swap = now;
		now = next;
		next = swap;
	}
	return set_has(now, glob->count);
}
