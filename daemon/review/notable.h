/* What a person should look at before a learned policy is trusted, and what must not be copied into one. */
#ifndef SP_REVIEW_NOTABLE_H
#define SP_REVIEW_NOTABLE_H

#include "audit/query.h"

#include <stdbool.h>
#include <stddef.h>

enum sp_notable {
	SP_NOTABLE_NETWORK, /* a program that talks to other machines */
	SP_NOTABLE_PRIVILEGE, /* ... that becomes somebody else, or gets another root */
	SP_NOTABLE_PERSISTENCE, /* ... that makes something run later */
	SP_NOTABLE_CODE, /* an interpreter that was given code as an argument */
	SP_NOTABLE_PUBLISH, /* git push and its like */
	SP_NOTABLE_INSTALL, /* npm install and its like: runs what others wrote */
	SP_NOTABLE_SECRET, /* an argument that looks like a secret, or names a file with one */
	SP_NOTABLE_DOT_FILE, /* a file that shells and tools of the user read */
	SP_NOTABLE_SETUID, /* chmod u+s and its like */
	SP_NOTABLE_ENVIRONMENT, /* a variable makes the program load code that is not its own */
	SP_NOTABLE_NAMELESS, /* the program has no name */
	SP_NOTABLE_TEMPORARY, /* the program lies where everybody may write */
	SP_NOTABLES,
};

/* A sentence for the comment. */
const char *sp_notable_text(enum sp_notable notable);

/* A command line as it is judged: words are NUL-terminated, argv[0] included. */
struct sp_command {
	const char *program; /* canonical path */
	bool anonymous;
	const char *const *argv;
	size_t argc;
	const char *environment; /* names, NUL-terminated, one after the other */
	size_t environment_size;
};

/* Bits (1 << enum sp_notable). */
unsigned sp_notables_of(const struct sp_command *command);

/* How much of the word may be shown, where the rest looks like a secret; SIZE_MAX: all. previous: the word before it, or NULL. */
size_t sp_notable_secret(const char *word, const char *previous);

/* Programs of which the first words say what they do, with the options that take a value. NULL: not one of them. */
struct sp_tool {
	const char *name; /* a glob's beginning is enough: pip also names pip3 */
	const char *const *options_with_value; /* NULL-terminated */
	const char *const *deeper; /* words after which the next one counts, too; NULL-terminated */
	const char *const *publish, *const *install; /* words that are notable as such; NULL-terminated */
};
const struct sp_tool *sp_tool_find(const char *program);

/* The tool's words in this command line, as a rule's `words` sees them: the first, and the second where it counts. NULL: none. */
struct sp_tool_words {
	const char *first, *second;
};
struct sp_tool_words sp_tool_read(const struct sp_tool *tool, const char *const *argv, size_t argc);

/* The options by which this interpreter takes code; NULL: it is none. NULL-terminated. */
const char *const *sp_code_options(const char *program);

#endif
