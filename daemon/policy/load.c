/* A policy from its name to its tests: find the file, read it, compile it, run what it says about itself. */
#include "policy/policy.h"

#include "policy/builtin.h"
#include "policy/push.h"
#include "policy/rules.h"
#include "util/cleanup.h"
#include "util/printable.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_MAX ((size_t)4 << 20)
#define BUILTIN_FILE "(built-in)"

static int find_file(const char *name, char **file, struct sp_error *e);
static int read_file(const char *file, char **text, size_t *size, struct sp_error *e);

static void free_policy_ptr(struct sp_policy **policy)
{
	sp_policy_free(*policy);
}

static int parse(const char *text, size_t size, const char *file_name, bool test, struct sp_policy **out,
		 struct sp_error *e);

int sp_policy_load(const char *name, struct sp_policy **out, struct sp_error *e)
{
	cleanup_free char *file = NULL;
	cleanup_free char *text = NULL;
	size_t size = 0;

	if (name == NULL) /* its tests are part of ours */
		return parse(sp_builtin_policy, (size_t)(sp_builtin_policy_end - sp_builtin_policy), BUILTIN_FILE,
			     false, out, e);
	int rc = find_file(name, &file, e);
	if (rc < 0 || (rc = read_file(file, &text, &size, e)) < 0)
		return rc;
	return sp_policy_parse(text, size, file, out, e);
}

/* FNV-1a. Tells versions apart, proves nothing. */
static uint64_t digest(const char *text, size_t size)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
	return hash;
}

/* What the file says, or what it is called. */
static char *name_of(const struct sp_policy *policy)
{
	const char *given = policy->source.policy->name;
	const char *slash = strrchr(policy->file, '/');
	const char *base = slash != NULL ? slash + 1 : policy->file;
	const char *dot = strrchr(base, '.');

	if (given != NULL)
		return strdup(given);
	return dot != NULL && dot != base ? strndup(base, (size_t)(dot - base)) : strdup(base);
}

int sp_policy_parse(const char *text, size_t size, const char *file_name, struct sp_policy **out, struct sp_error *e)
{
	return parse(text, size, file_name, true, out, e);
}

/* A person who is asked has two minutes, and silence is a no. */
static int compile_ask(struct sp_policy *policy, struct sp_error *e)
{
	enum { DEFAULT_SECONDS = 120, SECONDS_MAX = 7 * 24 * 3600 };
	const struct sp_source_ask *ask = &policy->source.policy->ask;
	const char *text = ask->timeout_seconds.text;
	char *end = NULL;

	policy->ask = (struct sp_ask_settings){
		.timeout_seconds = DEFAULT_SECONDS,
		.otherwise = ask->otherwise != NULL ? *ask->otherwise : SP_DENY,
	};
	if (text == NULL)
		return 0;
	const long seconds = strtol(text, &end, 10);
	if (*end != '\0' || end == text || text[0] < '0' || text[0] > '9' || seconds < 1 || seconds > SECONDS_MAX)
		return sp_document_fail(policy->source.document, ask->timeout_seconds.at, e,
					"bad timeout_seconds '%.60s', expected a whole number from 1 to %d", text,
					SECONDS_MAX);
	policy->ask.timeout_seconds = (unsigned)seconds;
	return 0;
}

static int parse(const char *text, size_t size, const char *file_name, bool test, struct sp_policy **out,
		 struct sp_error *e)
{
	sp_cleanup(free_policy_ptr) struct sp_policy *policy = calloc(1, sizeof *policy);

	if (policy == NULL || (policy->file = strdup(file_name)) == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	policy->holders = 1;
	policy->digest = digest(text, size);
	int rc = sp_source_read(text, size, file_name, &policy->source, e);
	if (rc < 0)
		return rc;
	policy->name = name_of(policy);
	if (policy->name == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	if ((rc = sp_confinement_compile(&policy->source, &policy->confinement, e)) < 0 ||
	    (rc = sp_plugin_specs_compile(&policy->source, policy->file, &policy->plugins, e)) < 0 ||
	    (rc = compile_ask(policy, e)) < 0 || (rc = sp_policy_compile(policy, e)) < 0 ||
	    (test && (rc = sp_policy_run_tests(policy, e)) < 0))
		return rc;
	*out = sp_steal_ptr(policy);
	return 0;
}

/* ---- Finding and reading ---- */

static int fail_file(const char *file, const char *place, int err, struct sp_error *e, const char *what)
{
	cleanup_free char *safe = NULL;
	size_t size;

	cleanup_file FILE *out = open_memstream(&safe, &size);
	if (out == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	sp_print_safe(out, file, strlen(file));
	if (fflush(out) != 0)
		return sp_fail(e, ENOMEM, "out of memory");
	return sp_fail(e, err, "%s%s: %s", safe, place, what);
}

static bool is_file_name(const char *name)
{
	size_t size = strlen(name);

	return strchr(name, '/') != NULL || (size > 5 && strcmp(name + size - 5, ".yaml") == 0) ||
	       (size > 4 && strcmp(name + size - 4, ".yml") == 0);
}

/* $XDG_CONFIG_HOME must be absolute to count (XDG Base Directory Specification). NULL: nowhere. */
static int config_directory(char **directory)
{
	const char *config = getenv("XDG_CONFIG_HOME");
	const char *home = getenv("HOME");
	int size = config != NULL && config[0] == '/' ? asprintf(directory, "%s/sallyport/policies", config)
		   : home != NULL && home[0] == '/'   ? asprintf(directory, "%s/.config/sallyport/policies", home)
						      : 0;

	return size < 0 ? -ENOMEM : 0;
}

static int find_file(const char *name, char **file, struct sp_error *e)
{
	cleanup_free char *config = NULL;

	if (is_file_name(name)) {
		*file = strdup(name);
		return *file != NULL ? 0 : sp_fail(e, ENOMEM, "out of memory");
	}
	if (config_directory(&config) < 0)
		return sp_fail(e, ENOMEM, "out of memory");
	const char *const directories[] = {".", config, "/etc/sallyport/policies", "/usr/share/sallyport/policies",
					   SP_POLICY_DIR};
	for (size_t i = 0; i < sizeof directories / sizeof directories[0]; i++) {
		cleanup_free char *path = NULL;
		if (directories[i] == NULL)
			continue;
		if (asprintf(&path, "%s/%s.yaml", directories[i], name) < 0) {
			path = NULL;
			return sp_fail(e, ENOMEM, "out of memory");
		}
		if (access(path, F_OK) == 0) {
			*file = sp_steal_ptr(path);
			return 0;
		}
	}
	return fail_file(name, "", ENOENT, e,
			 "no policy of this name in ., ~/.config/sallyport/policies, /etc/sallyport/policies, "
			 "/usr/share/sallyport/policies or " SP_POLICY_DIR);
}

/* A pipe is read as well as a file. */
static int read_file(const char *file, char **text, size_t *size, struct sp_error *e)
{
	cleanup_close int fd = open(file, O_RDONLY | O_CLOEXEC);
	struct stat status;

	if (fd < 0 || fstat(fd, &status) < 0)
		return fail_file(file, "", errno, e, strerror(errno));
	if (S_ISDIR(status.st_mode))
		return fail_file(file, "", EISDIR, e, "this is a directory, expected a policy file");
	cleanup_free char *read_text = NULL;
	size_t room = 0;
	for (*size = 0; *size <= FILE_MAX;) {
		if (*size == room) {
			room = room == 0 ? 65536 : 2 * room;
			char *grown = realloc(read_text, room);
			if (grown == NULL)
				return sp_fail(e, ENOMEM, "out of memory");
			read_text = grown;
		}
		ssize_t got = read(fd, read_text + *size, room - *size);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fail_file(file, "", errno, e, strerror(errno));
		if (got == 0) {
			*text = sp_steal_ptr(read_text);
			return 0;
		}
		*size += (size_t)got;
	}
	return fail_file(file, ":1:1", EFBIG, e, "the file is larger than 4 MiB, which no policy is");
}

/* ---- A loaded policy ---- */

static void free_globs(struct sp_globs *globs)
{
	for (size_t i = 0; i < globs->count; i++)
		sp_glob_free(globs->items[i]);
	free(globs->items);
}

static void free_choices(struct sp_choices *choices)
{
	for (size_t i = 0; i < choices->count; i++)
		free_globs(&choices->items[i]);
	free(choices->items);
}

static void free_programs(struct sp_programs *programs)
{
	for (size_t i = 0; i < programs->literal_count; i++)
		free(programs->literals[i]);
	free(programs->literals);
	free_globs(&programs->names);
	free_globs(&programs->paths);
}

static void free_rule(struct sp_rule *rule)
{
	free_programs(&rule->program);
	free_programs(&rule->parent);
	free_programs(&rule->ancestor);
	free_globs(&rule->applet);
	free(rule->sha256.items);
	free(rule->user.items);
	free_choices(&rule->argv);
	free_choices(&rule->words);
	free(rule->options_with_value.items);
	free(rule->has.items);
	free_globs(&rule->any);
	free_globs(&rule->none);
	free_globs(&rule->env);
}

const struct sp_policy *sp_policy_hold(const struct sp_policy *policy)
{
	((struct sp_policy *)policy)->holders++;
	return policy;
}

void sp_policy_free(struct sp_policy *policy)
{
	if (policy == NULL || policy->holders-- > 1)
		return;
	for (size_t i = 0; i < policy->rule_count; i++)
		free_rule(&policy->rules[i]);
	free(policy->rules);
	sp_candidates_release(&policy->candidates);
	sp_directories_free(policy->directories);
	sp_confinement_free(policy->confinement);
	sp_plugin_specs_release(&policy->plugins);
	sp_source_release(&policy->source);
	free(policy->file);
	free(policy->name);
	free(policy);
}

bool sp_policy_wants_env(const struct sp_policy *policy)
{
	return policy->wants_env || policy->plugins.judges > 0;
}

bool sp_policy_wants_ancestors(const struct sp_policy *policy)
{
	return policy->wants_ancestors || policy->plugins.judges > 0;
}

bool sp_policy_wants_user(const struct sp_policy *policy)
{
	return policy->wants_user || policy->plugins.judges > 0;
}

const char *sp_policy_name(const struct sp_policy *policy)
{
	return policy->name;
}

const char *sp_policy_description(const struct sp_policy *policy)
{
	const char *description = policy->source.policy->description;

	return description != NULL ? description : "";
}

const char *sp_policy_file(const struct sp_policy *policy)
{
	return policy->file;
}

uint64_t sp_policy_digest(const struct sp_policy *policy)
{
	return policy->digest;
}

enum sp_tracking sp_policy_tracking(const struct sp_policy *policy)
{
	return policy->source.policy->tracking;
}

const struct sp_confinement *sp_policy_confinement(const struct sp_policy *policy)
{
	return policy->confinement;
}

const struct sp_plugin_specs *sp_policy_plugins(const struct sp_policy *policy)
{
	return &policy->plugins;
}

const struct sp_ask_settings *sp_policy_ask(const struct sp_policy *policy)
{
	return &policy->ask;
}

const char *sp_policy_rule_id(const struct sp_policy *policy, size_t rule)
{
	return policy->rules[rule].source->id.text;
}

enum sp_action sp_policy_rule_action(const struct sp_policy *policy, size_t rule)
{
	return policy->rules[rule].source->action;
}

bool sp_policy_can_ask(const struct sp_policy *policy)
{
	for (size_t i = 0; i < policy->rule_count; i++)
		if (policy->rules[i].source->action == SP_ASK)
			return true;
	return policy->otherwise == SP_ASK;
}

const char *sp_policy_rule_option(const struct sp_policy *policy, size_t rule, size_t option)
{
	const struct sp_source_texts *options =
		rule < policy->rule_count ? &policy->rules[rule].source->options_with_value : NULL;

	return options != NULL && option < options->items_count ? options->items[option].text : NULL;
}

bool sp_policy_rule_sees_env(const struct sp_policy *policy, size_t rule)
{
	return rule < policy->rule_count && policy->rules[rule].env.count > 0;
}

bool sp_policy_is_multicall(const char *path)
{
	return sp_is_multicall(path);
}

size_t sp_policy_rule_count(const struct sp_policy *policy)
{
	return policy->rule_count;
}

size_t sp_policy_test_count(const struct sp_policy *policy)
{
	return policy->source.policy->exec.tests_count;
}

const char *sp_action_name(enum sp_action action)
{
	static const char *const names[] = {"allow", "ask", "deny", "kill"};

	return names[action];
}

const char *sp_class_name(enum sp_class class)
{
	static const char *const names[] = {
		[SP_CLASS_PROGRAM] = "program",
		[SP_CLASS_SCRIPT] = "script",
		[SP_CLASS_FORMAT] = "format",
		[SP_CLASS_LOADER] = "loader",
	};

	return names[class];
}

int sp_policy_resolve(const struct sp_policy *policy, const char *word, char path[static 4096])
{
	return sp_directories_resolve(policy->directories, word, path);
}
