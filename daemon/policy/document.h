/* YAML text made ready for libcyaml: checked for shape, and every item's place in the text kept.
 *
 * libcyaml has no unions ("a name or a list of names") and its structs do not know where a value stood. So the text is
 * read once with libyaml, led by the same schema, and rewritten in one canonical form, one item a line:
 *   - where the schema wants a list and one value stands there, it becomes a list of one;
 *   - a mapping whose schema has the field SP_KEY_AT gets its place, as an index for sp_document_fail();
 *   - a mapping whose schema has the field SP_KEY_TEXT or SP_KEY_LIST stands for the bare value or list itself;
 *   - where the schema of a mapping has the field SP_KEY_WORD, a bare word may stand in place of the mapping;
 *   - a mapping whose schema has the field SP_KEY_JSON stands for a value of any form, which becomes JSON text.
 * A line number in libcyaml's messages is thereby an index as well. Anchors, aliases, tags and second documents are
 * refused, and nothing can nest deeper than the schema does. */
#ifndef SP_POLICY_DOCUMENT_H
#define SP_POLICY_DOCUMENT_H

#include "util/error.h"

#include <cyaml/cyaml.h>
#include <stddef.h>

/* No key of a file can be one of these: unknown keys are found by comparing with the schema's other keys. */
#define SP_KEY_AT "<at>"
#define SP_KEY_TEXT "<text>"
#define SP_KEY_LIST "<list>"
#define SP_KEY_WORD "<word>"
#define SP_KEY_JSON "<json>"

struct sp_document;

/* 0 and a document the caller frees, or -EINVAL with "file:line:column: what is wrong" or -ENOMEM. */
[[nodiscard]] int sp_document_read(const char *text, size_t size, const char *file_name,
				   const struct cyaml_schema_value *schema, struct sp_document **out,
				   struct sp_error *e);

void sp_document_free(struct sp_document *document); /* NULL is fine */

/* Lets libcyaml fill *data (to be freed with cyaml_free() and sp_document_cyaml()). 0, or -EINVAL, -ENOMEM. */
[[nodiscard]] int sp_document_load(const struct sp_document *document, const struct cyaml_schema_value *schema,
				   cyaml_data_t **data, struct sp_error *e);

const struct cyaml_config *sp_document_cyaml(void);

/* Fills *e with "file:line:column: " of the item and the sentence, made printable; returns -EINVAL. */
[[gnu::format(printf, 4, 5)]] int sp_document_fail(const struct sp_document *document, size_t at, struct sp_error *e,
						   const char *format, ...);

/* The line of an item, for a message that refers to a second one. */
size_t sp_document_line(const struct sp_document *document, size_t at);

#endif
