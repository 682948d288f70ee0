/* Pushes to protected branches are refused, whichever way they are spelled.
 *
 *     plugins: [{path: git-guard.so, config: {protected: [main, release]}, when: allowed}]
 *
 * `when: allowed`, since a rule will allow git as such. A push that names no branch is refused too: which one it means is
 * in the repository's configuration, which the pushing program can write. */
#include "sallyport-plugin.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int init(const char *config, const struct sallyport_host *host, void **self)
{
	json_t *settings = json_loads(config, 0, NULL);
	json_t *protected = json_object_get(settings, "protected");

	if (!json_is_array(protected)) {
		host->log(host, SALLYPORT_ERROR, "config wants a list of branches: {protected: [main]}");
		json_decref(settings);
		return -EINVAL;
	}
	*self = json_incref(protected);
	json_decref(settings);
	return 0;
}

static void fini(void *self)
{
	json_decref(self);
}

/* Options of git's own that have their value in the next word. */
static bool takes_value(const char *option)
{
	static const char *const options[] = {"-C",           "-c",
					      "--git-dir",    "--work-tree",
					      "--namespace",  "--attr-source",
					      "--config-env", "--super-prefix"};

	for (size_t i = 0; i < sizeof options / sizeof *options; i++)
		if (strcmp(option, options[i]) == 0)
			return true;
	return false;
}

/* Where "push" stands; 0: it is no push. */
static size_t find_push(const struct sallyport_exec *exec)
{
	for (size_t i = 1; i < exec->argc; i++) {
		const char *word = exec->argv[i].data;

		if (word[0] != '-')
			return strcmp(word, "push") == 0 ? i : 0;
		i += takes_value(word);
	}
	return 0;
}

static bool is_branch(const char *reference, const char *branch)
{
	static const char heads[] = "refs/heads/";

	if (strncmp(reference, heads, sizeof heads - 1) == 0)
		reference += sizeof heads - 1;
	else if (strncmp(reference, "heads/", 6) == 0)
		reference += 6;
	return strcmp(reference, branch) == 0;
}

/* SOURCE:DESTINATION, either with a + before. HEAD and @ are whatever is checked out, a pattern is many. */
static bool may_mean(const char *refspec, const char *branch)
{
	const char *colon = strchr(refspec, ':');
	const char *destination = colon != NULL ? colon + 1 : refspec + (refspec[0] == '+');

	return is_branch(destination, branch) || strcmp(destination, "HEAD") == 0 || strcmp(destination, "@") == 0 ||
	       destination[0] == '\0' || strchr(destination, '*') != NULL;
}

static void refuse(struct sallyport_verdict *verdict, const char *why, const char *what)
{
	verdict->answer = SALLYPORT_DENY;
	(void)snprintf(verdict->reason, sizeof verdict->reason, "git-guard: %s%s", why, what);
}

static void on_exec(void *self, const struct sallyport_exec *exec, struct sallyport_verdict *verdict)
{
	const char *slash = strrchr(exec->file, '/');
	size_t plain = 0;

	if (strcmp(slash != NULL ? slash + 1 : exec->file, "git") != 0)
		return;
	const size_t push = find_push(exec);
	if (push == 0)
		return;
	for (size_t i = push + 1; i < exec->argc; i++) {
		const char *word = exec->argv[i].data;
		size_t at;
		json_t *branch;

		if (strcmp(word, "--all") == 0 || strcmp(word, "--mirror") == 0 || strcmp(word, "--branches") == 0) {
			refuse(verdict, "it pushes every branch: ", word);
			return;
		}
		/* Every word is looked at, also one that is an option's value: to refuse too much is the safe side. */
		json_array_foreach(self, at, branch)
		{
			if (may_mean(word, json_string_value(branch))) {
				refuse(verdict, "protected branch: ", json_string_value(branch));
				return;
			}
		}
		plain += word[0] != '-';
	}
	if (plain < 2)
		refuse(verdict, "the branch is not named", "");
}

SALLYPORT_PLUGIN(.init = init, .fini = fini, .on_exec = on_exec);
