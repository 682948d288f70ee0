/* See json.h. */
#include "util/json.h"
#include "util/cleanup.h"
#include "util/printable.h"

#include <errno.h>
#include <string.h>

static json_t *string_of(const char *bytes, size_t size);
static json_t *base64_of(const char *bytes, size_t size);
static int set(json_t *object, const char *key, const char *suffix, json_t *value);

int sp_json_set_bytes(json_t *object, const char *key, const char *bytes, size_t size)
{
	int ret = set(object, key, "", string_of(bytes, size));

	return ret < 0 || sp_is_text(bytes, size) ? ret : set(object, key, "_base64", base64_of(bytes, size));
}

int sp_json_set_strings(json_t *object, const char *key, const char *bytes, size_t size)
{
	json_t *array = json_array();
	bool text = true;

	int ret = set(object, key, "", array);
	for (const char *at = bytes, *end = bytes + size; ret == 0 && at < end;) {
		size_t length = strnlen(at, (size_t)(end - at));
		text &= sp_is_text(at, length);
		if (json_array_append_new(array, string_of(at, length)) < 0)
			ret = -ENOMEM;
		at += length + 1;
	}
	return ret < 0 || text ? ret : set(object, key, "_base64", base64_of(bytes, size));
}

int sp_json_set_text(json_t *object, const char *key, const char *text)
{
	return text == NULL ? set(object, key, "", json_null()) : sp_json_set_bytes(object, key, text, strlen(text));
}

int sp_json_set_number(json_t *object, const char *key, json_int_t number)
{
	return set(object, key, "", json_integer(number));
}

int sp_json_print(FILE *out, const json_t *value)
{
	cleanup_free char *text = json_dumps(value, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_ENCODE_ANY);

	if (text == NULL)
		return -ENOMEM;
	/* DEL is the one control character that JSON allows as it is. */
	for (char *at = text, *delete; at != NULL; at = delete) {
		delete = strchr(at, '\x7f');
		if (delete != NULL)
			*delete ++ = '\0';
		(void)fputs(at, out);
		if (delete != NULL)
			(void)fputs("\\u007f", out);
	}
	return fputc('\n', out) == EOF ? -EIO : 0;
}

static int set(json_t *object, const char *key, const char *suffix, json_t *value)
{
	cleanup_free char *name = NULL;

	if (asprintf(&name, "%s%s", key, suffix) < 0) {
		name = NULL;
		json_decref(value);
		return -ENOMEM;
	}
	return json_object_set_new(object, name, value) < 0 ? -ENOMEM : 0;
}

static json_t *string_of(const char *bytes, size_t size)
{
	if (sp_is_text(bytes, size))
		return json_stringn(size > 0 ? bytes : "", size);
	cleanup_free char *text = malloc(size * 3);
	size_t length = 0;
	if (text == NULL)
		return NULL;
	while (size > 0) {
		size_t step = sp_text_step(bytes, size);
		memcpy(text + length, step > 0 ? bytes : "\xef\xbf\xbd", step > 0 ? step : 3);
		length += step > 0 ? step : 3;
		bytes += step > 0 ? step : 1;
		size -= step > 0 ? step : 1;
	}
	return json_stringn(text, length);
}

static json_t *base64_of(const char *bytes, size_t size)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	cleanup_free char *text = malloc((size + 2) / 3 * 4 + 1);
	char *to = text;

	if (text == NULL)
		return NULL;
	for (size_t i = 0; i < size; i += 3) {
		unsigned char in[3] = {0};
		size_t left = size - i < 3 ? size - i : 3;
		memcpy(in, bytes + i, left);
		*to++ = digits[in[0] >> 2];
		*to++ = digits[(in[0] & 3) << 4 | in[1] >> 4];
		*to++ = left > 1 ? digits[(in[1] & 15) << 2 | in[2] >> 6] : '=';
		*to++ = left > 2 ? digits[in[2] & 63] : '=';
	}
	return json_stringn(text, (size_t)(to - text));
}
