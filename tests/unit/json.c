/* JSON that loses no byte and holds none that could steer a terminal. */
#include "util/json.h"
#include "util/cleanup.h"

#include <criterion/criterion.h>
#include <string.h>

static void release(json_t **value)
{
	json_decref(*value);
}

static char *line(const json_t *value)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	cr_assert_eq(sp_json_print(out, value), 0);
	cr_assert_eq(fclose(out), 0);
	return text;
}

Test(json, bytes)
{
	static const struct {
		const char *in;
		size_t size;
		const char *out;
	} examples[] = {
		{"plain", 5, "{\"k\":\"plain\"}\n"},
		{"", 0, "{\"k\":\"\"}\n"},
		{NULL, 0, "{\"k\":\"\"}\n"},
		{"\033\x7f\xc2\x9b\n", 5, "{\"k\":\"\\u001B\\u007f\\u009B\\n\"}\n"},
		{"\x7f", 1, "{\"k\":\"\\u007f\"}\n"},
		{"a\xff", 2, "{\"k\":\"a\\uFFFD\",\"k_base64\":\"Yf8=\"}\n"},
		{"a\0b", 3, "{\"k\":\"a\\uFFFDb\",\"k_base64\":\"YQBi\"}\n"},
		{"\xff", 1, "{\"k\":\"\\uFFFD\",\"k_base64\":\"/w==\"}\n"},
	};

	for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
		[[gnu::cleanup(release)]] json_t *object = json_object();
		cr_assert_eq(sp_json_set_bytes(object, "k", examples[i].in, examples[i].size), 0);
		cleanup_free char *text = line(object);
		cr_assert_str_eq(text, examples[i].out, "example %zu: %s", i, text);
	}
}

Test(json, strings)
{
	static const struct {
		const char *in;
		size_t size;
		const char *out;
	} examples[] = {
		{"", 0, "{\"k\":[]}\n"},
		{"\0", 1, "{\"k\":[\"\"]}\n"},
		{"a\0\0b c\0", 7, "{\"k\":[\"a\",\"\",\"b c\"]}\n"},
		{"a\0\xff", 4, "{\"k\":[\"a\",\"\\uFFFD\"],\"k_base64\":\"YQD/AA==\"}\n"},
	};

	for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
		[[gnu::cleanup(release)]] json_t *object = json_object();
		cr_assert_eq(sp_json_set_strings(object, "k", examples[i].in, examples[i].size), 0);
		cleanup_free char *text = line(object);
		cr_assert_str_eq(text, examples[i].out, "example %zu: %s", i, text);
	}
}

Test(json, text_and_numbers)
{
	[[gnu::cleanup(release)]] json_t *object = json_object();

	cr_assert_eq(sp_json_set_text(object, "none", NULL), 0);
	cr_assert_eq(sp_json_set_text(object, "some", "x"), 0);
	cr_assert_eq(sp_json_set_number(object, "number", -5), 0);
	cleanup_free char *text = line(object);
	cr_assert_str_eq(text, "{\"none\":null,\"some\":\"x\",\"number\":-5}\n");
}
