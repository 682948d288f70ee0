/* See document.h. The canonical form is YAML in flow style with every scalar in double quotes. */
#include "policy/document.h"

#include "policy/push.h"
#include "util/cleanup.h"
#include "util/printable.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <yaml.h>

/* No policy that a person reads is this long; what a megabyte of commas costs is bounded by it. */
#define PLACES_MAX (1u << 20)
/* What the schema does not bound. */
#define FREE_DEPTH_MAX 32

struct place {
	size_t line, column;
	const struct cyaml_schema_value *schema; /* of what stands there */
};

struct sp_document {
	char *file_name;
	char *canonical;
	size_t size;
	struct place *places; /* one for each line of the canonical form */
	size_t count;
};

struct reader {
	struct sp_document *document;
	yaml_parser_t parser;
	yaml_event_t event; /* the current one */
	FILE *out;
	struct sp_error *e;
};

static int read_stream(struct reader *r, const struct cyaml_schema_value *schema);
static char *describe(const struct cyaml_schema_value *schema);

static void free_document_ptr(struct sp_document **document)
{
	sp_document_free(*document);
}

static void release_reader(struct reader *r)
{
	yaml_event_delete(&r->event);
	yaml_parser_delete(&r->parser);
	sp_close_file(&r->out);
}

int sp_document_read(const char *text, size_t size, const char *file_name, const struct cyaml_schema_value *schema,
		     struct sp_document **out, struct sp_error *e)
{
	sp_cleanup(free_document_ptr) struct sp_document *document = calloc(1, sizeof *document);

	if (document == NULL || (document->file_name = strdup(file_name)) == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	sp_cleanup(release_reader) struct reader r = {.document = document, .e = e};
	if (yaml_parser_initialize(&r.parser) == 0)
		return sp_fail(e, ENOMEM, "out of memory");
	r.out = open_memstream(&document->canonical, &document->size);
	if (r.out == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	/* Without this a file that begins like UTF-16 is read as UTF-16, and its bytes are not what an editor shows. */
	yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, size);
	int rc = read_stream(&r, schema);
	if (rc < 0)
		return rc;
	if (ferror(r.out) != 0 || fflush(r.out) != 0)
		return sp_fail(e, ENOMEM, "out of memory");
	*out = sp_steal_ptr(document);
	return 0;
}

void sp_document_free(struct sp_document *document)
{
	if (document == NULL)
		return;
	free(document->file_name);
	free(document->canonical);
	free(document->places);
	free(document);
}

size_t sp_document_line(const struct sp_document *document, size_t at)
{
	return document->places[at].line;
}

/* File names, keys and values come from whoever wrote the file, and the message goes to a terminal. */
static int fail_at(const struct sp_document *document, size_t line, size_t column, struct sp_error *e,
		   const char *format, va_list args)
{
	cleanup_free char *raw = NULL;
	cleanup_free char *safe = NULL;
	size_t safe_size;

	if (vasprintf(&raw, format, args) < 0) {
		raw = NULL;
		return sp_fail(e, ENOMEM, "out of memory");
	}
	cleanup_file FILE *out = open_memstream(&safe, &safe_size);
	if (out == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	sp_print_safe(out, document->file_name, strlen(document->file_name));
	(void)fprintf(out, ":%zu:%zu: ", line, column);
	sp_print_safe(out, raw, strlen(raw));
	if (fflush(out) != 0)
		return sp_fail(e, ENOMEM, "out of memory");
	return sp_fail(e, EINVAL, "%s", safe);
}

int sp_document_fail(const struct sp_document *document, size_t at, struct sp_error *e, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int rc = fail_at(document, document->places[at].line, document->places[at].column, e, format, args);
	va_end(args);
	return rc;
}

[[gnu::format(printf, 3, 4)]] static int fail_mark(struct reader *r, yaml_mark_t mark, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int rc = fail_at(r->document, mark.line + 1, mark.column + 1, r->e, format, args);
	va_end(args);
	return rc;
}

/* ---- Reading ---- */

/* libyaml's reader knows the byte that it could not take, but not its line. */
static yaml_mark_t mark_of_byte(const yaml_parser_t *parser)
{
	const unsigned char *text = parser->input.string.start;
	size_t size = (size_t)(parser->input.string.end - text);
	yaml_mark_t mark = {0};

	for (size_t i = 0; i < parser->problem_offset && i < size; i++) {
		if (text[i] == '\n') {
			mark.line++;
			mark.column = 0;
		} else if ((text[i] & 0xc0) != 0x80) {
			mark.column++;
		}
	}
	return mark;
}

static int syntax_error(struct reader *r)
{
	const yaml_parser_t *parser = &r->parser;

	if (parser->error == YAML_MEMORY_ERROR)
		return sp_fail(r->e, ENOMEM, "out of memory");
	if (parser->error == YAML_READER_ERROR)
		return fail_mark(r, mark_of_byte(parser), "not YAML text: %s", parser->problem);
	return fail_mark(r, parser->problem_mark, "not YAML: %s%s%s", parser->context != NULL ? parser->context : "",
			 parser->context != NULL ? ": " : "", parser->problem);
}

static int next_event(struct reader *r)
{
	yaml_event_delete(&r->event);
	if (yaml_parser_parse(&r->parser, &r->event) == 0)
		return syntax_error(r);
	if (r->event.type == YAML_ALIAS_EVENT)
		return fail_mark(r, r->event.start_mark, "aliases (*) are not supported, write the value out");
	if (r->event.type == YAML_SCALAR_EVENT &&
	    (r->event.data.scalar.anchor != NULL || r->event.data.scalar.tag != NULL))
		return fail_mark(r, r->event.start_mark, "anchors (&) and tags (!) are not supported");
	if (r->event.type == YAML_SEQUENCE_START_EVENT &&
	    (r->event.data.sequence_start.anchor != NULL || r->event.data.sequence_start.tag != NULL))
		return fail_mark(r, r->event.start_mark, "anchors (&) and tags (!) are not supported");
	if (r->event.type == YAML_MAPPING_START_EVENT &&
	    (r->event.data.mapping_start.anchor != NULL || r->event.data.mapping_start.tag != NULL))
		return fail_mark(r, r->event.start_mark, "anchors (&) and tags (!) are not supported");
	return 0;
}

/* The event is where the current line of the canonical form came from. Ends that line. */
static int end_line(struct reader *r, const struct cyaml_schema_value *schema)
{
	struct sp_document *document = r->document;
	yaml_mark_t mark = r->event.start_mark;

	if (document->count == PLACES_MAX)
		return fail_mark(r, mark, "too many items for a policy");
	if (!sp_push(document->places, document->count,
		     {.line = mark.line + 1, .column = mark.column + 1, .schema = schema}))
		return sp_fail(r->e, ENOMEM, "out of memory");
	(void)fputc('\n', r->out);
	return 0;
}

static int write_line(struct reader *r, const struct cyaml_schema_value *schema, const char *text)
{
	(void)fputs(text, r->out);
	return end_line(r, schema);
}

/* libyaml has checked that the text is valid UTF-8. Escaping all but ASCII keeps out the line breaks that Unicode
 * has. */
static void write_quoted(FILE *out, const unsigned char *text, size_t size)
{
	(void)fputc('"', out);
	for (size_t i = 0; i < size;) {
		size_t width = text[i] < 0x80 ? 1 : text[i] < 0xe0 ? 2 : text[i] < 0xf0 ? 3 : 4;
		uint32_t code = width == 1 ? text[i] : text[i] & (0xffu >> (width + 1));
		for (size_t rest = 1; rest < width; rest++)
			code = code << 6 | (text[i + rest] & 0x3f);
		if (code >= ' ' && code < 0x7f && code != '"' && code != '\\')
			(void)fputc((int)code, out);
		else
			(void)fprintf(out, "\\U%08x", code);
		i += width;
	}
	(void)fputc('"', out);
}

static const struct cyaml_schema_field *find_field(const struct cyaml_schema_value *schema, const char *key)
{
	if (schema->type != CYAML_MAPPING)
		return NULL;
	for (const struct cyaml_schema_field *field = schema->mapping.fields; field->key != NULL; field++) {
		if (strcmp(field->key, key) == 0)
			return field;
	}
	return NULL;
}

static const struct cyaml_schema_field *find_user_field(const struct cyaml_schema_value *schema, const char *key)
{
	return key[0] == '<' ? NULL : find_field(schema, key);
}

static bool is_null(const yaml_event_t *event)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};

	if (event->type != YAML_SCALAR_EVENT || event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	for (size_t i = 0; i < sizeof nulls / sizeof nulls[0]; i++) {
		if (strcmp((const char *)event->data.scalar.value, nulls[i]) == 0)
			return true;
	}
	return false;
}

static int unexpected(struct reader *r, const struct cyaml_schema_value *schema)
{
	cleanup_free char *expected = describe(schema);
	const char *found = is_null(&r->event)                           ? "nothing"
			    : r->event.type == YAML_SCALAR_EVENT         ? "a single value"
			    : r->event.type == YAML_SEQUENCE_START_EVENT ? "a list"
									 : "a mapping";

	if (expected == NULL)
		return sp_fail(r->e, ENOMEM, "out of memory");
	return fail_mark(r, r->event.start_mark, "found %s, expected %s", found, expected);
}

static int unknown_key(struct reader *r, const struct cyaml_schema_value *schema)
{
	cleanup_free char *expected = describe(schema);

	if (expected == NULL)
		return sp_fail(r->e, ENOMEM, "out of memory");
	return fail_mark(r, r->event.start_mark, "unknown key '%.60s', expected %s",
			 (const char *)r->event.data.scalar.value, expected);
}

static int write_value(struct reader *r, const struct cyaml_schema_value *schema);

static int write_scalar(struct reader *r, const struct cyaml_schema_value *schema)
{
	if (r->event.type != YAML_SCALAR_EVENT || is_null(&r->event))
		return unexpected(r, schema);
	const unsigned char *text = r->event.data.scalar.value;
	size_t size = r->event.data.scalar.length;
	if (memchr(text, '\0', size) != NULL)
		return fail_mark(r, r->event.start_mark, "the value has a NUL byte, which no argument can have");
	write_quoted(r->out, text, size);
	return end_line(r, schema);
}

static int write_sequence(struct reader *r, const struct cyaml_schema_value *schema)
{
	const struct cyaml_schema_value *entry = schema->sequence.entry;
	bool list = r->event.type == YAML_SEQUENCE_START_EVENT;

	/* A list of mappings is always written as a list: one mapping in its place is a forgotten dash. */
	if (!list && (r->event.type != YAML_SCALAR_EVENT || is_null(&r->event)))
		return unexpected(r, schema);
	int rc = write_line(r, schema, "[");
	if (rc < 0)
		return rc;
	if (!list)
		return (rc = write_value(r, entry)) < 0 ? rc : write_line(r, schema, "]");
	for (bool first = true; (rc = next_event(r)) == 0; first = false) {
		if (r->event.type == YAML_SEQUENCE_END_EVENT)
			return write_line(r, schema, "]");
		if (!first && (rc = write_line(r, schema, ",")) < 0)
			return rc;
		if ((rc = write_value(r, entry)) < 0)
			return rc;
	}
	return rc;
}

/* The position is known as the index of the line that says it. */
static int write_place(struct reader *r, const struct cyaml_schema_value *schema)
{
	if (find_field(schema, SP_KEY_AT) == NULL)
		return 0;
	(void)fprintf(r->out, "\"%s\": %zu,", SP_KEY_AT, r->document->count);
	return end_line(r, schema);
}

/* A value that stands for a mapping of its place and itself. */
static int write_placed(struct reader *r, const struct cyaml_schema_value *schema,
			const struct cyaml_schema_field *field)
{
	int rc = write_line(r, schema, "{");

	if (rc < 0 || (rc = write_place(r, schema)) < 0)
		return rc;
	(void)fprintf(r->out, "\"%s\":", field->key);
	if ((rc = end_line(r, schema)) < 0 || (rc = write_value(r, &field->value)) < 0)
		return rc;
	return write_line(r, schema, "}");
}

static int write_entry(struct reader *r, const struct cyaml_schema_value *schema, uint64_t *seen)
{
	if (r->event.type != YAML_SCALAR_EVENT)
		return fail_mark(r, r->event.start_mark, "a key must be a single word");
	const char *key = (const char *)r->event.data.scalar.value;
	const struct cyaml_schema_field *field = find_user_field(schema, key);
	if (field == NULL || strlen(key) != r->event.data.scalar.length)
		return unknown_key(r, schema);
	uint64_t bit = UINT64_C(1) << (field - schema->mapping.fields);
	if ((*seen & bit) != 0)
		return fail_mark(r, r->event.start_mark, "the key '%s' is given twice", key);
	*seen |= bit;
	(void)fprintf(r->out, "\"%s\":", key);
	int rc = end_line(r, schema);
	if (rc < 0 || (rc = next_event(r)) < 0 || (rc = write_value(r, &field->value)) < 0)
		return rc;
	return write_line(r, schema, ",");
}

/* libcyaml would say this too, but at the mapping's end. */
static int check_required(struct reader *r, const struct cyaml_schema_value *schema, yaml_mark_t start, uint64_t seen)
{
	const struct cyaml_schema_field *fields = schema->mapping.fields;

	for (size_t i = 0; fields[i].key != NULL; i++) {
		if (fields[i].key[0] != '<' && (fields[i].value.flags & CYAML_FLAG_OPTIONAL) == 0 &&
		    (seen >> i & 1) == 0)
			return fail_mark(r, start, "the key '%s' is missing here", fields[i].key);
	}
	return 0;
}

/* ---- Values of any form ---- */

static void release_json(json_t **value)
{
	json_decref(*value);
}

/* As YAML 1.2 takes plain words. */
static json_t *json_of_plain(const char *text, const yaml_event_t *event)
{
	char *end;

	if (is_null(event))
		return json_null();
	if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
		return json_boolean(text[0] == 't');
	errno = 0;
	long long number = strtoll(text, &end, 10);
	if (*end == '\0' && errno == 0)
		return json_integer(number);
	double real = strtod(text, &end);
	/* "inf" and "0x10" are words here. */
	if (*end == '\0' && strspn(text, "+-.0123456789eE") == strlen(text))
		return json_real(real);
	return json_string(text);
}

static json_t *json_of_scalar(const yaml_event_t *event)
{
	const char *text = (const char *)event->data.scalar.value;

	if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
		return json_of_plain(text, event);
	return json_stringn(text, event->data.scalar.length);
}

static int read_free(struct reader *r, unsigned depth, json_t **value);

static int read_free_list(struct reader *r, unsigned depth, json_t *list)
{
	int rc;

	while ((rc = next_event(r)) == 0 && r->event.type != YAML_SEQUENCE_END_EVENT) {
		json_t *item = NULL;

		if ((rc = read_free(r, depth + 1, &item)) < 0)
			return rc;
		if (json_array_append_new(list, item) != 0)
			return sp_fail(r->e, ENOMEM, "out of memory");
	}
	return rc;
}

static int read_free_mapping(struct reader *r, unsigned depth, json_t *mapping)
{
	int rc;

	while ((rc = next_event(r)) == 0 && r->event.type != YAML_MAPPING_END_EVENT) {
		if (r->event.type != YAML_SCALAR_EVENT)
			return fail_mark(r, r->event.start_mark, "a key must be a single word");
		cleanup_free char *key = strdup((const char *)r->event.data.scalar.value);
		json_t *item = NULL;
		if (key == NULL)
			return sp_fail(r->e, ENOMEM, "out of memory");
		if (json_object_get(mapping, key) != NULL)
			return fail_mark(r, r->event.start_mark, "the key '%s' is given twice", key);
		if ((rc = next_event(r)) < 0 || (rc = read_free(r, depth + 1, &item)) < 0)
			return rc;
		if (json_object_set_new(mapping, key, item) != 0)
			return sp_fail(r->e, ENOMEM, "out of memory");
	}
	return rc;
}

/* *value is the caller's, on failure too. */
static int read_free(struct reader *r, unsigned depth, json_t **value)
{
	if (depth > FREE_DEPTH_MAX)
		return fail_mark(r, r->event.start_mark, "nested deeper than %d", FREE_DEPTH_MAX);
	if (r->event.type == YAML_SCALAR_EVENT &&
	    strlen((const char *)r->event.data.scalar.value) != r->event.data.scalar.length)
		return fail_mark(r, r->event.start_mark, "the value has a NUL byte");
	sp_cleanup(release_json) json_t *read = r->event.type == YAML_SCALAR_EVENT           ? json_of_scalar(&r->event)
						: r->event.type == YAML_SEQUENCE_START_EVENT ? json_array()
											     : json_object();
	if (read == NULL)
		return sp_fail(r->e, ENOMEM, "out of memory");
	int rc = json_is_array(read)    ? read_free_list(r, depth, read)
		 : json_is_object(read) ? read_free_mapping(r, depth, read)
					: 0;
	if (rc == 0)
		*value = sp_steal_ptr(read);
	return rc;
}

/* Written as the text of a field, which libcyaml takes as it is. */
static int write_free(struct reader *r, const struct cyaml_schema_value *schema)
{
	sp_cleanup(release_json) json_t *value = NULL;
	int rc = write_line(r, schema, "{");

	if (rc < 0 || (rc = write_place(r, schema)) < 0 || (rc = read_free(r, 0, &value)) < 0)
		return rc;
	cleanup_free char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
	if (text == NULL)
		return sp_fail(r->e, ENOMEM, "out of memory");
	(void)fprintf(r->out, "\"%s\":", SP_KEY_JSON);
	write_quoted(r->out, (const unsigned char *)text, strlen(text));
	rc = end_line(r, schema);
	return rc < 0 ? rc : write_line(r, schema, "}");
}

static int write_mapping(struct reader *r, const struct cyaml_schema_value *schema)
{
	if (find_field(schema, SP_KEY_JSON) != NULL)
		return write_free(r, schema);
	const struct cyaml_schema_field *text = find_field(schema, SP_KEY_TEXT);
	const struct cyaml_schema_field *list = find_field(schema, SP_KEY_LIST);
	const struct cyaml_schema_field *word = find_field(schema, SP_KEY_WORD);

	if (text != NULL || list != NULL)
		return write_placed(r, schema, text != NULL ? text : list);
	if (word != NULL && r->event.type == YAML_SCALAR_EVENT && !is_null(&r->event))
		return write_placed(r, schema, word);
	if (r->event.type != YAML_MAPPING_START_EVENT)
		return unexpected(r, schema);
	yaml_mark_t start = r->event.start_mark;
	int rc = write_line(r, schema, "{");
	if (rc < 0 || (rc = write_place(r, schema)) < 0)
		return rc;
	for (uint64_t seen = 0; (rc = next_event(r)) == 0;) {
		if (r->event.type == YAML_MAPPING_END_EVENT)
			return (rc = check_required(r, schema, start, seen)) < 0 ? rc : write_line(r, schema, "}");
		if ((rc = write_entry(r, schema, &seen)) < 0)
			return rc;
	}
	return rc;
}

static int write_value(struct reader *r, const struct cyaml_schema_value *schema)
{
	switch (schema->type) {
	case CYAML_MAPPING:
		return write_mapping(r, schema);
	case CYAML_SEQUENCE:
		return write_sequence(r, schema);
	default:
		return write_scalar(r, schema);
	}
}

static int read_stream(struct reader *r, const struct cyaml_schema_value *schema)
{
	int rc = next_event(r); /* the start of the stream */

	if (rc < 0 || (rc = next_event(r)) < 0)
		return rc;
	if (r->event.type == YAML_STREAM_END_EVENT)
		return fail_mark(r, (yaml_mark_t){0},
				 "the file is empty, expected a policy that begins with version: 1");
	if ((rc = next_event(r)) < 0 || (rc = write_value(r, schema)) < 0)
		return rc;
	if ((rc = next_event(r)) < 0 || (rc = next_event(r)) < 0) /* ends of document and stream */
		return rc;
	if (r->event.type != YAML_STREAM_END_EVENT)
		return fail_mark(r, r->event.start_mark, "a second document begins, a file holds one policy");
	return 0;
}

/* ---- What the schema wants, in words ---- */

static void describe_mapping(FILE *out, const struct cyaml_schema_value *schema)
{
	const char *separator = "";

	if (find_field(schema, SP_KEY_TEXT) != NULL) {
		(void)fputs("a single value", out);
		return;
	}
	if (find_field(schema, SP_KEY_LIST) != NULL) {
		(void)fputs("a value or a list of alternatives", out);
		return;
	}
	if (find_field(schema, SP_KEY_JSON) != NULL) {
		(void)fputs("a value of any form", out);
		return;
	}
	if (find_field(schema, SP_KEY_WORD) != NULL)
		(void)fputs("a single word or ", out);
	(void)fputs("a mapping with the keys ", out);
	for (const struct cyaml_schema_field *field = schema->mapping.fields; field->key != NULL; field++) {
		if (field->key[0] == '<')
			continue;
		(void)fprintf(out, "%s%s", separator, field->key);
		separator = ", ";
	}
}

static void write_description(FILE *out, const struct cyaml_schema_value *schema)
{
	switch (schema->type) {
	case CYAML_MAPPING:
		describe_mapping(out, schema);
		break;
	case CYAML_SEQUENCE:
		(void)fputs("a list, each item ", out);
		write_description(out, schema->sequence.entry);
		break;
	case CYAML_ENUM:
		for (uint32_t i = 0; i < schema->enumeration.count; i++)
			(void)fprintf(out, "%s%s",
				      i == 0                               ? ""
				      : i + 1 == schema->enumeration.count ? " or "
									   : ", ",
				      schema->enumeration.strings[i].str);
		break;
	default:
		(void)fputs("a single value", out);
		break;
	}
}

/* To be freed by the caller; NULL when out of memory. */
static char *describe(const struct cyaml_schema_value *schema)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (out == NULL)
		return NULL;
	write_description(out, schema);
	(void)fclose(out);
	return text;
}

/* ---- Loading ---- */

/* libcyaml reports the cause first and then, innermost first, where it was. */
struct complaint {
	char *cause;
	size_t line; /* of the canonical form, from 1; 0: not yet known */
};

static void release_complaint(struct complaint *complaint)
{
	free(complaint->cause);
}

[[gnu::format(printf, 3, 0)]] static void take_complaint(cyaml_log_t level, void *context, const char *format,
							 va_list args)
{
	struct complaint *complaint = context;
	cleanup_free char *text = NULL;

	(void)level;
	if (vasprintf(&text, format, args) < 0) {
		text = NULL;
		return;
	}
	text[strlen(text) - (strlen(text) > 0 && text[strlen(text) - 1] == '\n')] = '\0';
	const char *line = strstr(text, "(line: ");
	if (complaint->cause == NULL)
		complaint->cause = sp_steal_ptr(text);
	else if (complaint->line == 0 && line != NULL)
		complaint->line = strtoul(line + strlen("(line: "), NULL, 10);
}

/* The value, where libcyaml speaks of its own types. */
static const char *unknown_value(const char *cause)
{
	static const char prefix[] = "Load: Invalid ENUM value: ";

	return strncmp(cause, prefix, strlen(prefix)) == 0 ? cause + strlen(prefix) : NULL;
}

static int report(const struct sp_document *document, struct complaint *complaint, cyaml_err_t error,
		  struct sp_error *e)
{
	cleanup_free char *expected = NULL;
	const char *cause = complaint->cause != NULL ? complaint->cause : cyaml_strerror(error);
	const char *value = unknown_value(cause);
	size_t at = complaint->line > 0 && complaint->line <= document->count ? complaint->line - 1 : 0;

	expected = describe(document->places[at].schema);
	if (expected == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	if (value != NULL)
		return sp_document_fail(document, at, e, "unknown value '%.60s', expected %s", value, expected);
	return sp_document_fail(document, at, e, "%s, expected %s", cause, expected);
}

const struct cyaml_config *sp_document_cyaml(void)
{
	static const struct cyaml_config config = {.mem_fn = cyaml_mem, .log_level = CYAML_LOG_ERROR};

	return &config;
}

int sp_document_load(const struct sp_document *document, const struct cyaml_schema_value *schema, cyaml_data_t **data,
		     struct sp_error *e)
{
	sp_cleanup(release_complaint) struct complaint complaint = {0};
	struct cyaml_config config = *sp_document_cyaml();

	config.log_fn = take_complaint;
	config.log_ctx = &complaint;
	cyaml_err_t error =
		cyaml_load_data((const uint8_t *)document->canonical, document->size, &config, schema, data, NULL);
	if (error == CYAML_OK)
		return 0;
	if (error == CYAML_ERR_OOM)
		return sp_fail(e, ENOMEM, "out of memory");
	return report(document, &complaint, error, e);
}
