/* sallyport policy show: a policy as one file, with the rules of those that it extends. What extends nothing is shown as it is. */
#include "client.h"
#include "policy/policy.h"
#include "policy_commands.h"
#include "util/cleanup.h"
#include "util/printable.h"

#include <string.h>
#include <yaml.h>

enum { DEPTH_MAX = 64 }; /* what was loaded is not as deep */

static int fail(const char *text)
{
	(void)fputs("sallyport policy show: ", stderr);
	sp_print_safe(stderr, text, strlen(text));
	(void)fputc('\n', stderr);
	return SP_EXIT_FAILURE;
}

static void free_policy_ptr(struct sp_policy **policy)
{
	sp_policy_free(*policy);
}

static void print_files(const struct sp_policy *policy)
{
	(void)fputs("# ", stdout);
	for (size_t i = sp_policy_file_count(policy); i-- > 0;) {
		const char *file = sp_policy_file_at(policy, i);
		sp_print_safe(stdout, file, strlen(file));
		(void)fputs(i > 0 ? ", which extends " : "\n", stdout);
	}
}

static int show_file(const char *name)
{
	cleanup_file FILE *file = fopen(name, "re");
	char bytes[8192];
	size_t got;

	while (file != NULL && (got = fread(bytes, 1, sizeof bytes, file)) > 0)
		(void)fwrite(bytes, 1, got, stdout);
	return file != NULL && ferror(file) == 0 ? 0 : fail(strerror(errno));
}

static bool read_document(const char *name, yaml_document_t *document)
{
	cleanup_file FILE *file = fopen(name, "re");
	yaml_parser_t parser;

	if (file == NULL || yaml_parser_initialize(&parser) == 0)
		return false;
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_file(&parser, file);
	const bool read = yaml_parser_load(&parser, document) != 0;
	yaml_parser_delete(&parser);
	return read;
}

/* A copy in another document; 0: none could be made. */
static int copy_node(yaml_document_t *to, yaml_document_t *from, int id, int depth)
{
	const yaml_node_t *node = yaml_document_get_node(from, id);
	int copy = 0;

	if (node == NULL || depth == DEPTH_MAX)
		return 0;
	switch (node->type) {
	case YAML_SCALAR_NODE:
		return yaml_document_add_scalar(to, NULL, node->data.scalar.value, (int)node->data.scalar.length,
						node->data.scalar.style);
	case YAML_SEQUENCE_NODE:
		copy = yaml_document_add_sequence(to, NULL, node->data.sequence.style);
		for (const int *item = node->data.sequence.items.start;
		     copy != 0 && item < node->data.sequence.items.top; item++) {
			const int each = copy_node(to, from, *item, depth + 1);
			if (each == 0 || yaml_document_append_sequence_item(to, copy, each) == 0)
				return 0;
		}
		return copy;
	case YAML_MAPPING_NODE:
		copy = yaml_document_add_mapping(to, NULL, node->data.mapping.style);
		for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
		     copy != 0 && pair < node->data.mapping.pairs.top; pair++) {
			const int key = copy_node(to, from, pair->key, depth + 1),
				  value = copy_node(to, from, pair->value, depth + 1);
			if (key == 0 || value == 0 || yaml_document_append_mapping_pair(to, copy, key, value) == 0)
				return 0;
		}
		return copy;
	default:
		return 0;
	}
}

/* The pair with this key of a mapping; NULL: none. */
static yaml_node_pair_t *find(yaml_document_t *document, int mapping, const char *key)
{
	const yaml_node_t *node = yaml_document_get_node(document, mapping);

	if (node == NULL || node->type != YAML_MAPPING_NODE)
		return NULL;
	for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
		const yaml_node_t *name = yaml_document_get_node(document, pair->key);
		if (name != NULL && name->type == YAML_SCALAR_NODE && name->data.scalar.length == strlen(key) &&
		    memcmp(name->data.scalar.value, key, strlen(key)) == 0)
			return pair;
	}
	return NULL;
}

/* The value of the key, in the place of what was there. */
static bool set(yaml_document_t *document, int mapping, const char *key, int value)
{
	yaml_node_pair_t *pair = find(document, mapping, key);

	if (value == 0)
		return false;
	if (pair != NULL) {
		pair->value = value;
		return true;
	}
	const int name =
		yaml_document_add_scalar(document, NULL, (const yaml_char_t *)key, -1, YAML_PLAIN_SCALAR_STYLE);
	return name != 0 && yaml_document_append_mapping_pair(document, mapping, name, value) != 0;
}

static bool take(yaml_document_t *to, int into, yaml_document_t *from, int mapping, const char *key)
{
	const yaml_node_pair_t *pair = find(from, mapping, key);

	return pair == NULL || set(to, into, key, copy_node(to, from, pair->value, 0));
}

/* The node of a key, made where there is none; 0: it could not be. */
static int need(yaml_document_t *document, int mapping, const char *key, bool list)
{
	const yaml_node_pair_t *pair = find(document, mapping, key);

	if (pair != NULL)
		return pair->value;
	const int made = list ? yaml_document_add_sequence(document, NULL, YAML_BLOCK_SEQUENCE_STYLE)
			      : yaml_document_add_mapping(document, NULL, YAML_BLOCK_MAPPING_STYLE);
	return made != 0 && set(document, mapping, key, made) ? made : 0;
}

enum { ROOT = 1 }; /* a document's first node */

static bool add_rules(yaml_document_t *to, int exec, yaml_document_t *from, int from_exec)
{
	const yaml_node_pair_t *pair = find(from, from_exec, "rules");
	const yaml_node_t *list = pair != NULL ? yaml_document_get_node(from, pair->value) : NULL;
	const int rules = need(to, exec, "rules", true);

	if (list == NULL || list->type != YAML_SEQUENCE_NODE)
		return true;
	for (const int *item = list->data.sequence.items.start; item < list->data.sequence.items.top; item++) {
		const int copy = copy_node(to, from, *item, 0);
		if (rules == 0 || copy == 0 || yaml_document_append_sequence_item(to, rules, copy) == 0)
			return false;
	}
	return true;
}

static bool extend(yaml_document_t *to, yaml_document_t *from)
{
	const yaml_node_pair_t *from_exec = find(from, ROOT, "exec");
	const int exec = need(to, ROOT, "exec", false);

	if (exec == 0 || !take(to, ROOT, from, ROOT, "name") || !take(to, ROOT, from, ROOT, "description") ||
	    !take(to, ROOT, from, ROOT, "ask"))
		return false;
	/* Tests are about the file that they are in. */
	if (!set(to, exec, "tests", yaml_document_add_sequence(to, NULL, YAML_BLOCK_SEQUENCE_STYLE)))
		return false;
	return from_exec == NULL ||
	       (add_rules(to, exec, from, from_exec->value) && take(to, exec, from, from_exec->value, "tests"));
}

/* The document goes with the emitter. */
static bool print(yaml_document_t *document)
{
	yaml_emitter_t emitter;

	if (yaml_emitter_initialize(&emitter) == 0)
		return false;
	yaml_emitter_set_output_file(&emitter, stdout);
	yaml_emitter_set_unicode(&emitter, 1);
	yaml_emitter_set_width(&emitter, 120);
	document->start_implicit = document->end_implicit = 1;
	const bool printed = yaml_emitter_dump(&emitter, document) != 0 && yaml_emitter_flush(&emitter) != 0;
	yaml_emitter_delete(&emitter);
	return printed;
}

static int show_merged(const struct sp_policy *policy)
{
	yaml_document_t whole;
	bool good = read_document(sp_policy_file_at(policy, 0), &whole);

	if (!good)
		return fail("what it extends cannot be read again");
	for (size_t i = 1; good && i < sp_policy_file_count(policy); i++) {
		yaml_document_t part;
		good = read_document(sp_policy_file_at(policy, i), &part);
		if (good) {
			good = extend(&whole, &part);
			yaml_document_delete(&part);
		}
	}
	print_files(policy);
	if (good)
		good = print(&whole);
	else
		yaml_document_delete(&whole);
	return good ? EXIT_SUCCESS : fail("it cannot be written as one file");
}

int policy_show(int argc, char **argv)
{
	sp_cleanup(free_policy_ptr) struct sp_policy *policy = NULL;
	struct sp_error e = {0};

	if (argc != 2 || strcmp(argv[1], "--help") == 0) {
		(void)fputs("Usage: sallyport policy show FILE\nShows the policy as one file, with the rules of those "
			    "that it "
			    "extends.\n",
			    argc == 2 ? stdout : stderr);
		return argc == 2 ? EXIT_SUCCESS : SP_EXIT_FAILURE;
	}
	if (sp_policy_load(argv[1], &policy, &e) < 0)
		return fail(e.text);
	return sp_policy_file_count(policy) == 1 ? show_file(sp_policy_file(policy)) : show_merged(policy);
}
