/* See pattern.h. One pass over the word: at each place the first that recognises what stands there says what becomes of it. */
#include "review/pattern.h"

#include "util/cleanup.h"
#include "util/printable.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum {
	LONG_NUMBER = 4, /* digits that a person seldom types */
	DATE_DIGITS = 8,
	HASH = 7, /* as git abbreviates them */
	TOKEN = 20, /* letters of both cases and digits, as base64 has them */
	RANDOM = 6, /* as mktemp(3) makes them */
	TOO_LONG = 400, /* what is longer is cut, */
	CUT = 120, /* to this */
};

struct writing {
	const struct sp_places *places;
	FILE *out;
	const char *start; /* of the word */
	bool starred; /* the last that was written is a `*` */
};

/* Writes what stands for the beginning of text, and gives its length; 0: it is not what this one knows. */
typedef size_t recogniser(struct writing *w, const char *text);

static recogniser take_work, take_template, take_temporary, take_uuid, take_date, take_word, take_character;

static char *finish(FILE **out, char **text)
{
	FILE *file = sp_steal_ptr(*out);

	return fclose(file) == 0 ? sp_steal_ptr(*text) : NULL;
}

static void put_star(struct writing *w)
{
	if (!w->starred)
		(void)fputc('*', w->out);
	w->starred = true;
}

static void put_number(struct writing *w)
{
	(void)fputs("[0-9]*", w->out);
	w->starred = true;
}

static void put_literally(struct writing *w, const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (strchr("?*[]\\", text[i]) != NULL)
			(void)fputc('\\', w->out);
		(void)fputc(text[i], w->out);
	}
	if (size > 0)
		w->starred = false;
}

/* What a recogniser knows may go on beyond size: how much was taken. */
static size_t put(struct writing *w, const char *text, size_t size)
{
	static recogniser *const recognisers[] = {take_work, take_template, take_temporary, take_uuid,
						  take_date, take_word,     take_character};
	const char *at = text;

	while (at < text + size) {
		size_t taken = 0;
		for (size_t i = 0; taken == 0; i++)
			taken = recognisers[i](w, at);
		at += taken;
	}
	return (size_t)(at - text);
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_upper(char c)
{
	return c >= 'A' && c <= 'Z';
}

static bool is_alnum(char c)
{
	return is_digit(c) || is_lower(c) || is_upper(c);
}

static size_t span(const char *text, bool (*is)(char))
{
	size_t size = 0;

	while (text[size] != '\0' && is(text[size]))
		size++;
	return size;
}

static bool begins(const struct writing *w, const char *text, bool (*is)(char))
{
	return text == w->start || !is(text[-1]);
}

/* ---- What is recognised ---- */

/* A path's next component begins, or the path is over. */
static bool is_path_end(char c)
{
	return c == '/' || !(is_alnum(c) || strchr("._-+~", c) != NULL) || c == '\0';
}

static size_t take_work(struct writing *w, const char *text)
{
	const char *work = w->places->work;
	const size_t size = work != NULL ? strlen(work) : 0;

	if (size == 0 || strncmp(text, work, size) != 0 || !is_path_end(text[size]))
		return 0;
	put_literally(w, "/", 1);
	put_star(w);
	return size;
}

static bool is_component(char c)
{
	return is_alnum(c) || strchr("._-+@%~", c) != NULL;
}

static bool is_temporary_character(char c)
{
	return is_alnum(c) || c == '_';
}

/* Letters and digits, or letters of both cases: no word. */
static bool is_random(const char *text, size_t size)
{
	size_t digits = 0, lower = 0, upper = 0;

	for (size_t i = 0; i < size; i++) {
		digits += is_digit(text[i]);
		lower += is_lower(text[i]);
		upper += is_upper(text[i]);
	}
	return size >= RANDOM && ((digits > 0 && lower + upper > 0) || (lower > 0 && upper > 0));
}

static size_t extension(const char *name, size_t size)
{
	size_t at = size;

	while (at > 0 && is_alnum(name[at - 1]))
		at--;
	return at > 1 && name[at - 1] == '.' && size - at >= 1 && size - at <= 4 ? size - at + 1 : 0;
}

/* How much of a temporary file's name was given by the program; SIZE_MAX: it does not look temporary. */
static size_t given_part(const char *name, size_t size)
{
	size_t tail = size;

	if (size == strlen("ccXXXXXX") && memcmp(name, "cc", 2) == 0 && span(name, is_alnum) >= size)
		return 2;
	if (size >= strlen("tmp.XXXXXX") && memcmp(name, "tmp.", 4) == 0)
		return 4;
	if (size >= strlen("tmpXXXXXX") && memcmp(name, "tmp", 3) == 0 && span(name, is_temporary_character) >= size)
		return 3;
	while (tail > 0 && is_alnum(name[tail - 1]))
		tail--;
	return is_random(name + tail, size - tail) ? tail : SIZE_MAX;
}

static size_t take_temporary(struct writing *w, const char *text)
{
	static const char *const directories[] = {"/tmp/", "/var/tmp/", "/dev/shm/"};

	for (size_t i = 0; i < sizeof directories / sizeof *directories; i++) {
		const size_t before = strlen(directories[i]);
		if (strncmp(text, directories[i], before) != 0)
			continue;
		const char *name = text + before;
		const size_t size = span(name, is_component), ending = extension(name, size);
		const size_t given = given_part(name, size - ending);
		put_literally(w, text, before);
		if (given == SIZE_MAX)
			return before;
		put_literally(w, name, given);
		put_star(w);
		put_literally(w, name + size - ending, ending);
		return before + size;
	}
	return 0;
}

/* A name, or what begins one. */
static size_t take_template(struct writing *w, const char *text)
{
	if (!begins(w, text, is_component))
		return 0;
	for (size_t i = 0; i < w->places->template_count; i++) {
		const struct sp_template *template = &w->places->templates[i];
		const size_t given = strlen(template->name);
		if (strncmp(text, template->name, given) != 0 || span(text + given, is_alnum) < template->varying ||
		    strspn(text + given, "X") >= template->varying)
			continue;
		put_literally(w, text, given);
		for (size_t x = 0; x < template->varying; x++)
			(void)fputc('?', w->out);
		w->starred = false;
		return given + template->varying;
	}
	return 0;
}

static bool is_hex(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static size_t take_uuid(struct writing *w, const char *text)
{
	static const unsigned groups[] = {8, 4, 4, 4, 12};
	size_t at = 0;

	if (!begins(w, text, is_alnum))
		return 0;
	for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
		if (i > 0 && text[at++] != '-')
			return 0;
		if (span(text + at, is_hex) != groups[i])
			return 0;
		at += groups[i];
	}
	for (size_t i = 0; i < at; i++)
		(void)fputc(text[i] == '-' ? '-' : '?', w->out);
	w->starred = false;
	return at;
}

static bool is_date(char c)
{
	return is_digit(c) || strchr("-:.T+Z", c) != NULL;
}

/* 2026-11-27T10:00:00, 192.168.100.200: many digits with something in between. */
static size_t take_date(struct writing *w, const char *text)
{
	size_t size = is_digit(text[0]) && begins(w, text, is_alnum) ? span(text, is_date) : 0, digits = 0;

	while (size > 0 && !is_digit(text[size - 1]))
		size--;
	for (size_t i = 0; i < size; i++)
		digits += is_digit(text[i]);
	if (digits < DATE_DIGITS || digits == size || is_alnum(text[size]))
		return 0;
	put_number(w);
	return size;
}

/* Both digits and letters, and these of one case. */
static bool is_hash(const char *text, size_t size)
{
	size_t digits = 0, lower = 0, upper = 0;

	if (size < HASH || span(text, is_hex) < size)
		return false;
	for (size_t i = 0; i < size; i++) {
		digits += is_digit(text[i]);
		lower += is_lower(text[i]);
		upper += is_upper(text[i]);
	}
	return digits > 0 && (lower > 0) != (upper > 0);
}

static bool is_token(const char *text, size_t size)
{
	size_t digits = 0, lower = 0, upper = 0;

	for (size_t i = 0; i < size; i++) {
		digits += is_digit(text[i]);
		lower += is_lower(text[i]);
		upper += is_upper(text[i]);
	}
	return size >= TOKEN && digits > 0 && lower > 0 && upper > 0;
}

static bool is_pid(const struct sp_places *places, const char *text, size_t size)
{
	size_t low = 0, high = places->pid_count;
	long number = 0;

	if (size < 2 || size > 9)
		return false;
	for (size_t i = 0; i < size; i++)
		number = 10 * number + (text[i] - '0');
	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		if (places->pids[middle] < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low < places->pid_count && places->pids[low] == number;
}

/* 0755 is a mode. */
static bool is_mode(const char *text, size_t size)
{
	return size == 4 && text[0] == '0' && strspn(text, "01234567") >= size;
}

/* Letters and digits up to the next that is neither. */
static size_t take_word(struct writing *w, const char *text)
{
	const size_t size = span(text, is_alnum);

	if (size == 0)
		return 0;
	if (is_hash(text, size) || is_token(text, size)) {
		(void)fputs(is_hash(text, size) ? "[0-9a-fA-F]*" : "*", w->out);
		w->starred = true;
		return size;
	}
	for (size_t at = 0; at < size;) {
		const size_t digits = span(text + at, is_digit);
		if (digits > 0 && !is_mode(text + at, digits) &&
		    (digits >= LONG_NUMBER || is_pid(w->places, text + at, digits)))
			put_number(w);
		else if (digits > 0)
			put_literally(w, text + at, digits);
		else
			put_literally(w, text + at, 1);
		at += digits > 0 ? digits : 1;
	}
	return size;
}

static bool is_plain(const char *text, size_t size)
{
	cleanup_free char *safe = NULL;
	size_t safe_size = 0;
	FILE *out = open_memstream(&safe, &safe_size);

	if (out == NULL)
		return false;
	sp_print_safe(out, text, size);
	return fclose(out) == 0 && safe_size == size && memcmp(safe, text, size) == 0;
}

/* One character. What a person could not read in the file is any byte. */
static size_t take_character(struct writing *w, const char *text)
{
	const size_t step = sp_text_step(text, strnlen(text, 4)), size = step > 0 ? step : 1;

	if ((text[0] >= ' ' && text[0] <= '~') || text[0] == '\n' || text[0] == '\t' ||
	    (step > 1 && is_plain(text, step))) {
		put_literally(w, text, size);
	} else {
		for (size_t i = 0; i < size; i++)
			(void)fputc('?', w->out);
		w->starred = false;
	}
	return size;
}

/* ---- Words ---- */

static void put_names(struct writing *w, const char *word)
{
	const size_t size = strlen(word);

	(void)put(w, word, size <= TOO_LONG ? size : CUT);
	if (size > TOO_LONG)
		put_star(w);
}

/* The ending of a file's name, with its dot; NULL: none. */
static const char *ending_of(const char *word)
{
	const char *slash = strrchr(word, '/'), *dot = strrchr(slash != NULL ? slash : word, '.');
	size_t letters = 0;

	if (dot == NULL || dot == word || dot[-1] == '/' || dot[1] == '\0')
		return NULL;
	for (const char *at = dot + 1; *at != '\0'; at++) {
		if (!is_alnum(*at))
			return NULL;
		letters += !is_digit(*at);
	}
	return letters > 0 && strlen(dot + 1) <= 5 ? dot : NULL;
}

static void put_file(struct writing *w, const char *word)
{
	const char *slash = strrchr(word, '/'), *ending = ending_of(word);
	const size_t directory = slash != NULL ? (size_t)(slash - word) + 1 : 0;

	/* Below the working directory where in it does not matter, nor does whether it is spelled out. */
	if (sp_is_below_work(w->places, word))
		put_literally(w, "/", 1);
	else if (directory > 0 && (word[0] == '/' || ending == NULL)) {
		const size_t taken = put(w, word, directory);
		if (taken > directory) /* a temporary name says more than its ending */
			return (void)put(w, word + taken, strlen(word) - taken);
	}
	put_star(w);
	if (ending != NULL)
		put_literally(w, ending, strlen(ending));
}

static bool is_assignment(const char *word)
{
	const size_t name = strcspn(word, "=");

	return word[name] == '=' && name > 0 && (is_alnum(word[0]) || word[0] == '_' || word[0] == '-') &&
	       strcspn(word, "/ \n\t'\"") > name;
}

static void put_kinds(struct writing *w, const char *word)
{
	const size_t size = strlen(word);

	if (is_assignment(word)) {
		put_literally(w, word, strcspn(word, "=") + 1);
		put_star(w);
	} else if (word[0] == '-' && word[1] != '-' && size > 2) {
		put_literally(w, word, 2);
		put_star(w);
	} else if (size > 0 && span(word, is_digit) == size) {
		put_number(w);
	} else if (word[0] != '-' && strpbrk(word, " \n\t'\"") == NULL &&
		   (strchr(word, '/') != NULL || ending_of(word) != NULL)) {
		put_file(w, word);
	} else {
		put_names(w, word);
	}
}

char *sp_pattern_argument(const struct sp_places *places, const char *word, enum sp_generality generality)
{
	cleanup_free char *text = NULL;
	size_t size;
	cleanup_file FILE *out = open_memstream(&text, &size);
	struct writing w = {.places = places, .out = out, .start = word};

	if (out == NULL)
		return NULL;
	if (generality == SP_KEEP_KINDS)
		put_kinds(&w, word);
	else
		put_names(&w, word);
	return finish(&out, &text);
}

bool sp_is_below_work(const struct sp_places *places, const char *path)
{
	const size_t size = places->work != NULL ? strlen(places->work) : 0;

	return size > 0 && strncmp(path, places->work, size) == 0 && (path[size] == '/' || path[size] == '\0');
}

char *sp_pattern_path(const struct sp_places *places, const char *path)
{
	cleanup_free char *text = NULL;
	size_t size;
	cleanup_file FILE *out = open_memstream(&text, &size);
	/* The working directory stands in front once: what is below it may be called the same. */
	struct sp_places rest = *places;
	rest.work = NULL;
	struct writing w = {.places = &rest, .out = out, .start = path};

	if (out == NULL)
		return NULL;
	if (sp_is_below_work(places, path)) {
		put_literally(&w, ".", 1);
		path += strlen(places->work);
		w.start = path;
	}
	(void)put(&w, path, strlen(path));
	return finish(&out, &text);
}
