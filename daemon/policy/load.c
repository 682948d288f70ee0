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
#define BASES_MAX 8
#define BUILTIN_FILE "(built-in)"

static bool is_file_name(const char *name);
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
static uint64_t digest(uint64_t hash, const char *text, size_t size)
{
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

/* The nearest that says something. */
static const struct sp_source *find_ask(const struct sp_policy *policy)
{
	const struct sp_source *source = &policy->source;

	for (size_t i = 0; i < policy->base_count && source->policy->ask.at == 0; i++)
		source = &policy->bases[i].source;
	return source;
}

const struct sp_source *sp_policy_root(const struct sp_policy *policy)
{
	return policy->base_count > 0 ? &policy->bases[policy->base_count - 1].source : &policy->source;
}

/* A file that extends another adds rules. What else it said would take something away from the other, unseen. */
static int check_extension(const struct sp_source *source, struct sp_error *e)
{
	const struct sp_source_policy *policy = source->policy;
	const struct {
		const char *key;
		bool given;
	} keys[] = {
		{"exec.default", policy->exec.otherwise != NULL},
		{"exec.path", policy->exec.path.at > 0},
		{"tracking", policy->tracking != SP_TRACKING_ATTACHED},
		{"launch", policy->launch.at > 0},
		{"limits", policy->limits.at > 0},
		{"filesystem", policy->filesystem.at > 0},
		{"network", policy->network.at > 0},
		{"syscalls", policy->syscalls.at > 0},
		{"plugins", policy->plugins_count > 0},
	};

	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		if (keys[i].given)
			return sp_document_fail(
				source->document, policy->extends.at, e,
				"a policy that extends another adds rules, tests and `ask`; %s is said by "
				"the other",
				keys[i].key);
	}
	return 0;
}

/* A relative path begins where the file is that says it. */
static int find_base(const char *from, const char *name, char **file, struct sp_error *e)
{
	cleanup_free char *path = NULL;
	const char *slash = strrchr(from, '/');

	if (!is_file_name(name) || name[0] == '/' || slash == NULL)
		return find_file(name, file, e);
	if (asprintf(&path, "%.*s%s", (int)(slash + 1 - from), from, name) < 0) {
		path = NULL;
		return sp_fail(e, ENOMEM, "out of memory");
	}
	return find_file(path, file, e);
}

static int read_base(struct sp_policy *policy, const struct sp_source *source, const char *from, struct sp_error *e)
{
	cleanup_free char *text = NULL, *file = NULL;
	size_t size = 0;

	if (policy->base_count == BASES_MAX)
		return sp_document_fail(source->document, source->policy->extends.at, e,
					"more than %d policies extend each other: is it a circle?", BASES_MAX);
	int rc = check_extension(source, e);
	if (rc < 0 || (rc = find_base(from, source->policy->extends.text, &file, e)) < 0 ||
	    (rc = read_file(file, &text, &size, e)) < 0)
		return rc;
	if (!sp_push(policy->bases, policy->base_count, {0}))
		return sp_fail(e, ENOMEM, "out of memory");
	struct sp_base *base = &policy->bases[policy->base_count - 1];
	base->file = sp_steal_ptr(file);
	policy->digest = digest(policy->digest, text, size);
	return sp_source_read(text, size, base->file, &base->source, e);
}

static int read_bases(struct sp_policy *policy, struct sp_error *e)
{
	const struct sp_source *source = &policy->source;
	const char *from = policy->file;
	int rc = 0;

	while (rc == 0 && source->policy->extends.text != NULL) {
		rc = read_base(policy, source, from, e);
		source = sp_policy_root(policy);
		from = policy->base_count > 0 ? policy->bases[policy->base_count - 1].file : from;
	}
	return rc;
}

/* A person who is asked has two minutes, and silence is a no. */
static int compile_ask(struct sp_policy *policy, struct sp_error *e)
{
	enum { DEFAULT_SECONDS = 120, SECONDS_MAX = 7 * 24 * 3600 };
	const struct sp_source *source = find_ask(policy);
	const struct sp_source_ask *ask = &source->policy->ask;
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
		return sp_document_fail(source->document, ask->timeout_seconds.at, e,
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
	policy->digest = digest(UINT64_C(0xcbf29ce484222325), text, size);
	int rc = sp_source_read(text, size, file_name, &policy->source, e);
	if (rc < 0)
		return rc;
	policy->name = name_of(policy);
	if (policy->name == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	if ((rc = read_bases(policy, e)) < 0)
		return rc;
	const struct sp_source *root = sp_policy_root(policy);
	const char *root_file = sp_policy_file_at(policy, 0);
	if ((rc = sp_confinement_compile(root, &policy->confinement, e)) < 0 ||
	    (rc = sp_plugin_specs_compile(root, root_file, &policy->plugins, e)) < 0 ||
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
	for (size_t i = 0; i < policy->base_count; i++) {
		sp_source_release(&policy->bases[i].source);
		free(policy->bases[i].file);
	}
	free(policy->bases);
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
	return policy->wants_ancestors; /* plugins are told what the index knows */
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

size_t sp_policy_file_count(const struct sp_policy *policy)
{
	return policy->base_count + 1;
}

const char *sp_policy_file_at(const struct sp_policy *policy, size_t i)
{
	return i < policy->base_count ? policy->bases[policy->base_count - 1 - i].file : policy->file;
}

uint64_t sp_policy_digest(const struct sp_policy *policy)
{
	return policy->digest;
}

enum sp_tracking sp_policy_tracking(const struct sp_policy *policy)
{
	return sp_policy_root(policy)->policy->tracking;
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
