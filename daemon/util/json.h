/* JSON that holds bytes a hostile program chose: nothing is lost, and nothing reaches a terminal that could steer it.
 *
 * Bytes that are not text (not UTF-8, or with a NUL) are given twice: under their key with U+FFFD for what is no text,
 * and exactly, base64 (RFC 4648), under KEY_base64, which is absent otherwise. */
#ifndef SP_UTIL_JSON_H
#define SP_UTIL_JSON_H

#include <jansson.h>
#include <stddef.h>
#include <stdio.h>

/* object[key] = the bytes as a string. 0, or -ENOMEM. */
[[nodiscard]] int sp_json_set_bytes(json_t *object, const char *key, const char *bytes, size_t size);

/* object[key] = an array of the NUL-terminated strings that bytes holds, one after the other. Where one is not text,
 * KEY_base64 is the whole, NULs included. 0, or -ENOMEM. */
[[nodiscard]] int sp_json_set_strings(json_t *object, const char *key, const char *bytes, size_t size);

/* The same for text (NULL: null) and numbers. 0, or -ENOMEM. */
[[nodiscard]] int sp_json_set_text(json_t *object, const char *key, const char *text);
[[nodiscard]] int sp_json_set_number(json_t *object, const char *key, json_int_t number);

/* Writes value as one line of ASCII, without control characters. 0, -ENOMEM or -EIO. */
[[nodiscard]] int sp_json_print(FILE *out, const json_t *value);

#endif
