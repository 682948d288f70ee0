/* sp_inspection_difference(): between what somebody was shown and what would run when he has answered. */
#include "inspect/inspect.h"

#include <string.h>

static bool same_words(const struct sp_strings *a, const struct sp_strings *b)
{
	return a->count == b->count && a->size == b->size && (a->size == 0 || memcmp(a->data, b->data, a->size) == 0);
}

static bool same_name(const struct sp_file *a, const struct sp_file *b)
{
	return strcmp(a->path, b->path) == 0 && a->anonymous == b->anonymous && a->foreign == b->foreign;
}

static bool same_inode(const struct sp_file *a, const struct sp_file *b)
{
	return a->st.st_dev == b->st.st_dev && a->st.st_ino == b->st.st_ino;
}

/* Whoever writes into a file, or changes its mode or owner, changes its ctime, which nobody can set. */
static bool same_contents(const struct sp_file *a, const struct sp_file *b)
{
	return a->st.st_size == b->st.st_size && a->st.st_ctim.tv_sec == b->st.st_ctim.tv_sec &&
	       a->st.st_ctim.tv_nsec == b->st.st_ctim.tv_nsec;
}

static const char *difference_of_interpreters(const struct sp_inspection *a, const struct sp_inspection *b)
{
	if ((a->interpreter.fd >= 0) != (b->interpreter.fd >= 0))
		return "whether it is a script";
	if (strcmp(a->interpreter_path, b->interpreter_path) != 0)
		return "the interpreter of the script";
	if (a->interpreter.fd < 0)
		return NULL;
	if (!same_name(&a->interpreter, &b->interpreter) || !same_inode(&a->interpreter, &b->interpreter))
		return "the file that is the interpreter of the script";
	return same_contents(&a->interpreter, &b->interpreter) ? NULL
							       : "what is in the file that is the script's interpreter";
}

const char *sp_inspection_difference(const struct sp_inspection *a, const struct sp_inspection *b)
{
	if (strcmp(a->path, b->path) != 0)
		return "the path";
	if (!same_words(&a->argv, &b->argv))
		return "the arguments";
	if (!same_words(&a->envp, &b->envp))
		return "the environment";
	if (!same_inode(&a->file, &b->file) || !same_name(&a->file, &b->file))
		return "the file that the path leads to";
	if (!same_contents(&a->file, &b->file) || a->elf != b->elf || a->unreadable != b->unreadable)
		return "what is in the file";
	const char *difference = difference_of_interpreters(a, b);
	if (difference == NULL && !same_words(&a->final_argv, &b->final_argv))
		difference = "the arguments that the interpreter is given";
	return difference;
}
