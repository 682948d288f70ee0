/* See confinement.h. Each key is checked where it is read: a value that could only fail in the child is an error here. */
#include "policy/confinement.h"

#include "policy/glob.h"
#include "policy/push.h"
#include "policy/source.h"
#include "util/cleanup.h"
#include "util/kernel.h"

#include <ctype.h>
#include <linux/securebits.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/capability.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* What changes how a program or its loader behaves, and no program needs to be given. */
static const char *const stripped_by_default[] = {"LD_*", "GLIBC_TUNABLES", "BASH_ENV"};

struct compiler {
	const struct sp_document *document;
	struct sp_confinement *to;
	struct sp_error *e;
};

struct word_bit {
	const char *word;
	unsigned bit;
};

static int compile_launch(struct compiler *c, const struct sp_source_launch *launch);
static int compile_limits(struct compiler *c, const struct sp_source_limits *limits);
static int compile_filesystem(struct compiler *c, const struct sp_source_filesystem *filesystem);
static int compile_network(struct compiler *c, const struct sp_source_network *network);
static int compile_syscalls(struct compiler *c, const struct sp_source_syscalls *syscalls);

static void free_confinement_ptr(struct sp_confinement **confinement)
{
	sp_confinement_free(*confinement);
}

static int out_of_memory(struct compiler *c)
{
	return sp_fail(c->e, ENOMEM, "out of memory");
}

int sp_confinement_compile(const struct sp_source *source, struct sp_confinement **out, struct sp_error *e)
{
	const struct sp_source_policy *policy = source->policy;
	sp_cleanup(free_confinement_ptr) struct sp_confinement *confinement = calloc(1, sizeof *confinement);
	struct compiler c = {.document = source->document, .to = confinement, .e = e};
	int rc;

	if (confinement == NULL)
		return out_of_memory(&c);
	confinement->require = SP_LEVEL_FULL;
	confinement->no_new_privs = true;
	confinement->given = policy->launch.at > 0 || policy->limits.at > 0 || policy->filesystem.at > 0 ||
			     policy->network.at > 0 || policy->syscalls.at > 0;
	if ((policy->launch.at > 0 && (rc = compile_launch(&c, &policy->launch)) < 0) ||
	    (policy->limits.at > 0 && (rc = compile_limits(&c, &policy->limits)) < 0) ||
	    (policy->filesystem.at > 0 && (rc = compile_filesystem(&c, &policy->filesystem)) < 0) ||
	    (policy->network.at > 0 && (rc = compile_network(&c, &policy->network)) < 0) ||
	    (policy->syscalls.at > 0 && (rc = compile_syscalls(&c, &policy->syscalls)) < 0))
		return rc;
	*out = sp_steal_ptr(confinement);
	return 0;
}

static void free_globs(struct sp_name_globs *globs)
{
	for (size_t i = 0; i < globs->count; i++)
		sp_glob_free(globs->items[i]);
	free(globs->items);
}

void sp_confinement_free(struct sp_confinement *confinement)
{
	if (confinement == NULL)
		return;
	struct sp_words *const words[] = {
		&confinement->pass_fds, &confinement->cpu_set, &confinement->uid_map, &confinement->gid_map,
		&confinement->tmpfs,    &confinement->read,    &confinement->write,   &confinement->exec,
		&confinement->deny,     &confinement->kill,    &confinement->allow,
	};
	for (size_t i = 0; i < COUNT(words); i++)
		free(words[i]->items);
	free_globs(&confinement->keep_env);
	free_globs(&confinement->strip_env);
	free(confinement->passed);
	free(confinement->binds);
	free(confinement->connect_ports);
	free(confinement->bind_ports);
	free(confinement);
}

const char *sp_launch_level_name(enum sp_launch_level level)
{
	static const char *const names[] = {
		[SP_LEVEL_NONE] = "none",
		[SP_LEVEL_BASELINE] = "baseline",
		[SP_LEVEL_PARTIAL] = "partial",
		[SP_LEVEL_FULL] = "full",
	};

	return names[level];
}

/* ---- Values ---- */

static bool is_yes(enum sp_source_answer answer, bool otherwise)
{
	return answer == SP_ANSWER_NONE ? otherwise : answer == SP_ANSWER_YES;
}

/* A whole number in text[0..end), end given back. */
static bool read_number(const char *text, int base, int64_t *value, char **end)
{
	const char *digits = text[0] == '-' ? text + 1 : text;

	errno = 0;
	*value = isdigit((unsigned char)digits[0]) ? strtoll(text, end, base) : 0;
	return isdigit((unsigned char)digits[0]) && errno == 0;
}

static int compile_number(struct compiler *c, const struct sp_source_text *text, const char *key, int64_t least,
			  int64_t most, struct sp_number *number)
{
	char *end;

	if (text->text == NULL)
		return 0;
	number->given = read_number(text->text, 10, &number->value, &end) && *end == '\0' && number->value >= least &&
			number->value <= most;
	if (number->given)
		return 0;
	return sp_document_fail(c->document, text->at, c->e,
				"bad %s '%.60s', expected a whole number from %lld to %lld", key, text->text,
				(long long)least, (long long)most);
}

static int compile_size(struct compiler *c, const struct sp_source_text *text, const char *key,
			struct sp_number *number)
{
	static const char units[] = "KMGT";
	char *end;

	if (text->text == NULL)
		return 0;
	bool good = read_number(text->text, 10, &number->value, &end) && number->value >= 0;
	const char *unit = good && *end != '\0' ? strchr(units, *end) : NULL;
	if (good && unit != NULL) {
		const unsigned shift = 10 * (unsigned)(unit - units + 1);

		good = end[1] == '\0' && number->value <= INT64_MAX >> shift;
		number->value = good ? number->value << shift : 0;
	} else {
		good = good && *end == '\0';
	}
	number->given = good;
	if (good)
		return 0;
	return sp_document_fail(c->document, text->at, c->e,
				"bad %s '%.60s', expected bytes, or a number with K, M, G or T", key, text->text);
}

static int compile_umask(struct compiler *c, const struct sp_source_text *text)
{
	struct sp_number *number = &c->to->umask;
	char *end;

	if (text->text == NULL)
		return 0;
	number->given = read_number(text->text, 8, &number->value, &end) && *end == '\0' && number->value >= 0 &&
			number->value <= 0777;
	if (number->given)
		return 0;
	return sp_document_fail(c->document, text->at, c->e, "bad umask '%.60s', expected octal digits such as 077",
				text->text);
}

static int compile_signal(struct compiler *c, const struct sp_source_text *text)
{
	struct sp_number *number = &c->to->parent_death_signal;

	if (text->text == NULL)
		return 0;
	const char *name = strncmp(text->text, "SIG", 3) == 0 ? text->text + 3 : text->text;
	for (int signal = 1; signal < NSIG; signal++) {
		const char *known = sigabbrev_np(signal);

		if (known != NULL && strcmp(known, name) == 0)
			*number = (struct sp_number){true, signal};
	}
	if (number->given)
		return 0;
	return sp_document_fail(c->document, text->at, c->e, "unknown signal '%.60s', expected a name such as SIGKILL",
				text->text);
}

static int compile_absolute(struct compiler *c, const struct sp_source_text *text, const char *key, const char **path)
{
	*path = text->text;
	if (text->text == NULL || text->text[0] == '/')
		return 0;
	return sp_document_fail(c->document, text->at, c->e, "bad %s '%.60s', expected an absolute path", key,
				text->text);
}

static int compile_words(struct compiler *c, const struct sp_source_texts *texts, struct sp_words *words)
{
	words->given = texts->at > 0;
	for (uint32_t i = 0; i < texts->items_count; i++)
		if (!sp_push(words->items, words->count, texts->items[i].text))
			return out_of_memory(c);
	return 0;
}

static int compile_paths(struct compiler *c, const struct sp_source_texts *texts, const char *key,
			 struct sp_words *words)
{
	const char *path;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < texts->items_count; i++)
		rc = compile_absolute(c, &texts->items[i], key, &path);
	return rc < 0 ? rc : compile_words(c, texts, words);
}

static int add_name_glob(struct compiler *c, const char *pattern, uint32_t at, struct sp_name_globs *globs)
{
	struct sp_glob *glob = NULL;
	const char *problem;

	int rc = sp_glob_compile(pattern, SP_GLOB_ARGUMENT, &glob, &problem);
	if (rc == -EINVAL)
		return sp_document_fail(c->document, at, c->e, "bad pattern '%.60s': %s", pattern, problem);
	if (rc == 0 && sp_push(globs->items, globs->count, glob))
		return 0;
	sp_glob_free(glob);
	return out_of_memory(c);
}

static int compile_name_globs(struct compiler *c, const struct sp_source_texts *texts, struct sp_name_globs *globs)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < texts->items_count; i++)
		rc = add_name_glob(c, texts->items[i].text, texts->items[i].at, globs);
	return rc;
}

/* Words that each stand for a bit. */
static int compile_bits(struct compiler *c, const struct sp_source_texts *texts, const char *what,
			const struct word_bit *known, size_t count, unsigned *bits)
{
	for (uint32_t i = 0; i < texts->items_count; i++) {
		size_t at = 0;

		while (at < count && strcmp(known[at].word, texts->items[i].text) != 0)
			at++;
		if (at == count)
			return sp_document_fail(c->document, texts->items[i].at, c->e,
						"unknown %s '%.60s', see "
						"sallyport-policy(5)",
						what, texts->items[i].text);
		*bits |= known[at].bit;
	}
	return 0;
}

/* ---- launch ---- */

static int compile_namespaces(struct compiler *c, const struct sp_source_launch *launch)
{
	static const struct word_bit known[] = {
		{"user", CLONE_NEWUSER}, {"mount", CLONE_NEWNS}, {"pid", CLONE_NEWPID},       {"net", CLONE_NEWNET},
		{"ipc", CLONE_NEWIPC},   {"uts", CLONE_NEWUTS},  {"cgroup", CLONE_NEWCGROUP},
	};

	return compile_bits(c, &launch->namespaces, "namespace", known, COUNT(known), &c->to->namespaces);
}

static int compile_scopes(struct compiler *c, const struct sp_source_launch *launch)
{
	static const struct word_bit known[] = {
		{"abstract_unix_socket", LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET},
		{"signal", LANDLOCK_SCOPE_SIGNAL},
	};

	return compile_bits(c, &launch->scopes, "scope", known, COUNT(known), &c->to->scopes);
}

/* "INSIDE OUTSIDE COUNT" */
static int compile_map(struct compiler *c, const struct sp_source_texts *texts, struct sp_words *map)
{
	for (uint32_t i = 0; i < texts->items_count; i++) {
		unsigned inside, outside, count;
		char rest;

		if (sscanf(texts->items[i].text, "%u %u %u%c", &inside, &outside, &count, &rest) != 3 || count == 0)
			return sp_document_fail(c->document, texts->items[i].at, c->e,
						"bad map '%.60s', expected three numbers: inside, outside, how many",
						texts->items[i].text);
	}
	if (texts->at > 0 && (c->to->namespaces & CLONE_NEWUSER) == 0)
		return sp_document_fail(c->document, texts->at, c->e, "a map has no effect without the user namespace");
	return compile_words(c, texts, map);
}

static int compare_fds(const void *a, const void *b)
{
	const int *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

static int compile_pass_fds(struct compiler *c, const struct sp_source_launch *launch)
{
	struct sp_confinement *to = c->to;

	for (uint32_t i = 0; i < launch->pass_fds.items_count; i++) {
		struct sp_number fd = {0};
		int rc = compile_number(c, &launch->pass_fds.items[i], "pass_fds", 3, 1 << 20, &fd);

		if (rc < 0)
			return rc;
		if (!sp_push(to->passed, to->passed_count, (int)fd.value))
			return out_of_memory(c);
	}
	if (to->passed_count > 0)
		qsort(to->passed, to->passed_count, sizeof *to->passed, compare_fds);
	return 0;
}

/* "3" or "0-3" */
static int compile_cpu_set(struct compiler *c, const struct sp_source_launch *launch)
{
	const int most = 64 * (int)COUNT(c->to->cpus_allowed);

	for (uint32_t i = 0; i < launch->cpu_set.items_count; i++) {
		const struct sp_source_text *text = &launch->cpu_set.items[i];
		int first, last;
		char rest;
		int n = sscanf(text->text, "%d-%d%c", &first, &last, &rest);

		if (n == 1 && strchr(text->text, '-') == NULL && sscanf(text->text, "%d%c", &first, &rest) == 1)
			last = first;
		else if (n != 2)
			first = -1;
		if (first < 0 || last < first || last >= most)
			return sp_document_fail(c->document, text->at, c->e,
						"bad CPU '%.60s', expected a number or a range such as 0-3",
						text->text);
		for (int cpu = first; cpu <= last; cpu++)
			c->to->cpus_allowed[cpu / 64] |= UINT64_C(1) << cpu % 64;
	}
	return compile_words(c, &launch->cpu_set, &c->to->cpu_set);
}

static int compile_binds(struct compiler *c, const struct sp_source_launch *launch)
{
	struct sp_confinement *to = c->to;
	int rc;

	for (uint32_t i = 0; i < launch->binds_count; i++) {
		const struct sp_source_bind *source = &launch->binds[i];
		struct sp_bind bind = {.write = is_yes(source->write, false)};

		if ((rc = compile_absolute(c, &source->from, "from", &bind.from)) < 0 ||
		    (rc = compile_absolute(c, source->to.text != NULL ? &source->to : &source->from, "to", &bind.to)) <
			    0)
			return rc;
		if (!sp_push(to->binds, to->bind_count, bind))
			return out_of_memory(c);
	}
	if ((rc = compile_paths(c, &launch->tmpfs, "tmpfs", &to->tmpfs)) < 0)
		return rc;
	if (to->tmpfs.count > 0 && to->bind_count == 0)
		return sp_document_fail(c->document, launch->tmpfs.at, c->e, "tmpfs has no effect without binds");
	if (to->bind_count > 0 && (to->namespaces & CLONE_NEWNS) == 0)
		return sp_document_fail(c->document, launch->binds[0].at, c->e, "binds need the mount namespace");
	if (to->bind_count > 0 && launch->chroot.text != NULL)
		return sp_document_fail(c->document, launch->chroot.at, c->e,
					"there are binds: a job has one root only");
	return compile_absolute(c, &launch->chroot, "chroot", &to->chroot);
}

static int compile_capability_set(struct compiler *c, const struct sp_source_texts *texts, uint64_t otherwise,
				  uint64_t *set)
{
	*set = texts->at > 0 ? 0 : otherwise;
	for (uint32_t i = 0; i < texts->items_count; i++) {
		const struct sp_source_text *text = &texts->items[i];
		cleanup_free char *name = NULL;
		cap_value_t value;

		if (asprintf(&name, "%s%s", strncasecmp(text->text, "cap_", 4) == 0 ? "" : "cap_", text->text) < 0) {
			name = NULL;
			return out_of_memory(c);
		}
		if (cap_from_name(name, &value) != 0)
			return sp_document_fail(c->document, text->at, c->e,
						"unknown capability '%.60s', expected a name such as net_bind_service",
						text->text);
		*set |= UINT64_C(1) << value;
	}
	return 0;
}

static int compile_capabilities(struct compiler *c, const struct sp_source_capabilities *source)
{
	static const struct word_bit known[] = {
		{"noroot", SECBIT_NOROOT},
		{"noroot_locked", SECBIT_NOROOT_LOCKED},
		{"no_setuid_fixup", SECBIT_NO_SETUID_FIXUP},
		{"no_setuid_fixup_locked", SECBIT_NO_SETUID_FIXUP_LOCKED},
		{"keep_caps", SECBIT_KEEP_CAPS},
		{"keep_caps_locked", SECBIT_KEEP_CAPS_LOCKED},
		{"no_cap_ambient_raise", SECBIT_NO_CAP_AMBIENT_RAISE},
		{"no_cap_ambient_raise_locked", SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED},
	};
	struct sp_capabilities *to = &c->to->capabilities;
	int rc;

	to->given = source->at > 0;
	if ((rc = compile_capability_set(c, &source->bounding, UINT64_MAX, &to->bounding)) < 0 ||
	    (rc = compile_capability_set(c, &source->effective, to->bounding, &to->effective)) < 0 ||
	    (rc = compile_capability_set(c, &source->ambient, 0, &to->ambient)) < 0 ||
	    (rc = compile_bits(c, &source->securebits, "securebit", known, COUNT(known), &to->securebits)) < 0)
		return rc;
	if ((to->ambient & ~to->effective) != 0)
		return sp_document_fail(c->document, source->ambient.at, c->e,
					"ambient has a capability that effective has not");
	if ((to->effective & ~to->bounding) != 0)
		return sp_document_fail(c->document, source->effective.at, c->e,
					"effective has a capability that bounding has not");
	return 0;
}

static int compile_environment(struct compiler *c, const struct sp_source_launch *launch)
{
	int rc = compile_name_globs(c, &launch->keep_env, &c->to->keep_env);

	if (rc == 0)
		rc = compile_name_globs(c, &launch->strip_env, &c->to->strip_env);
	for (size_t i = 0; rc == 0 && launch->strip_env.at == 0 && i < COUNT(stripped_by_default); i++)
		rc = add_name_glob(c, stripped_by_default[i], launch->at, &c->to->strip_env);
	return rc;
}

static int compile_launch(struct compiler *c, const struct sp_source_launch *launch)
{
	struct sp_confinement *to = c->to;
	int rc;

	to->launch = true;
	if (launch->require != NULL)
		to->require = *launch->require;
	to->no_new_privs = is_yes(launch->no_new_privs, true);
	to->new_session = is_yes(launch->new_session, false);
	to->new_process_group = is_yes(launch->new_process_group, false);
	to->clear_env = is_yes(launch->clear_env, false);
	to->close_fds = is_yes(launch->close_fds, true);
	to->mdwe = is_yes(launch->mdwe, false);
	to->core_scheduling = is_yes(launch->core_scheduling, false);
	if ((rc = compile_namespaces(c, launch)) < 0 || (rc = compile_scopes(c, launch)) < 0 ||
	    (rc = compile_environment(c, launch)) < 0 || (rc = compile_pass_fds(c, launch)) < 0 ||
	    (rc = compile_umask(c, &launch->umask)) < 0 || (rc = compile_signal(c, &launch->parent_death_signal)) < 0 ||
	    (rc = compile_number(c, &launch->nice, "nice", -20, 19, &to->nice)) < 0 ||
	    (rc = compile_number(c, &launch->oom_score_adj, "oom_score_adj", -1000, 1000, &to->oom_score_adj)) < 0 ||
	    (rc = compile_cpu_set(c, launch)) < 0 || (rc = compile_map(c, &launch->uid_map, &to->uid_map)) < 0 ||
	    (rc = compile_map(c, &launch->gid_map, &to->gid_map)) < 0 || (rc = compile_binds(c, launch)) < 0)
		return rc;
	rc = compile_absolute(c, &launch->cwd, "cwd", &to->cwd);
	return rc < 0 ? rc : compile_capabilities(c, &launch->capabilities);
}

/* ---- limits ---- */

/* Interpreted runtimes reserve far more than they use; a wish for memory must not keep them from starting. */
static void derive_address_space(struct sp_confinement *to)
{
	const int64_t least = INT64_C(4) << 30;

	if (to->address_space.given || !to->memory.given)
		return;
	to->address_space.given = true;
	to->address_space.value = to->memory.value > INT64_MAX / 8 ? INT64_MAX : 8 * to->memory.value;
	if (to->address_space.value < least)
		to->address_space.value = least;
}

/* "1.5": thousandths of a CPU. */
static int compile_cpus(struct compiler *c, const struct sp_source_text *text)
{
	double cpus;
	char rest;

	if (text->text == NULL)
		return 0;
	if (sscanf(text->text, "%lf%c", &cpus, &rest) != 1 || !(cpus >= 0.01 && cpus <= 4096))
		return sp_document_fail(c->document, text->at, c->e,
					"bad cpus '%.60s', expected a number from 0.01 to 4096", text->text);
	c->to->milli_cpus = (struct sp_number){true, (int64_t)(cpus * 1000 + 0.5)};
	return 0;
}

static int compile_limits(struct compiler *c, const struct sp_source_limits *limits)
{
	struct sp_confinement *to = c->to;
	struct sp_number *l = to->limits;
	int rc;

	/* Less than 8 files would not leave room for what the launch itself needs. */
	if ((rc = compile_number(c, &limits->cpu_seconds, "cpu_seconds", 1, INT32_MAX, &l[SP_LIMIT_CPU])) < 0 ||
	    (rc = compile_number(c, &limits->open_files, "open_files", 8, 1 << 30, &l[SP_LIMIT_OPEN_FILES])) < 0 ||
	    (rc = compile_number(c, &limits->processes, "processes", 1, 1 << 30, &l[SP_LIMIT_PROCESSES])) < 0 ||
	    (rc = compile_size(c, &limits->file_size, "file_size", &l[SP_LIMIT_FILE_SIZE])) < 0 ||
	    (rc = compile_size(c, &limits->core, "core", &l[SP_LIMIT_CORE])) < 0 ||
	    (rc = compile_size(c, &limits->stack, "stack", &l[SP_LIMIT_STACK])) < 0 ||
	    (rc = compile_size(c, &limits->address_space, "address_space", &to->address_space)) < 0 ||
	    (rc = compile_size(c, &limits->memory, "memory", &to->memory)) < 0 ||
	    (rc = compile_number(c, &limits->wall_seconds, "wall_seconds", 1, INT32_MAX, &to->wall_seconds)) < 0 ||
	    (rc = compile_cpus(c, &limits->cpus)) < 0)
		return rc;
	derive_address_space(to);
	return 0;
}

/* ---- filesystem, network ---- */

static int compile_filesystem(struct compiler *c, const struct sp_source_filesystem *filesystem)
{
	int rc;

	c->to->filesystem = true;
	if ((rc = compile_paths(c, &filesystem->read, "path", &c->to->read)) < 0 ||
	    (rc = compile_paths(c, &filesystem->write, "path", &c->to->write)) < 0)
		return rc;
	return compile_paths(c, &filesystem->exec, "path", &c->to->exec);
}

static int compile_ports(struct compiler *c, const struct sp_source_texts *texts, uint16_t **ports, size_t *count)
{
	for (uint32_t i = 0; i < texts->items_count; i++) {
		struct sp_number port = {0};
		int rc = compile_number(c, &texts->items[i], "port", 0, UINT16_MAX, &port);

		if (rc < 0)
			return rc;
		if (!sp_push(*ports, *count, (uint16_t)port.value))
			return out_of_memory(c);
	}
	return 0;
}

static int compile_network(struct compiler *c, const struct sp_source_network *network)
{
	struct sp_confinement *to = c->to;

	if (network->word != NULL && strcmp(network->word, "none") != 0)
		return sp_document_fail(c->document, network->at, c->e,
					"unknown value '%.60s', expected none or a mapping with tcp_connect, tcp_bind",
					network->word);
	to->network = network->word != NULL ? SP_NETWORK_NONE : SP_NETWORK_PORTS;
	if (to->network == SP_NETWORK_NONE)
		to->namespaces |= CLONE_NEWNET;
	int rc = compile_ports(c, &network->tcp_connect, &to->connect_ports, &to->connect_count);
	return rc < 0 ? rc : compile_ports(c, &network->tcp_bind, &to->bind_ports, &to->bind_count_tcp);
}

/* ---- syscalls ---- */

static int compile_calls(struct compiler *c, const struct sp_source_texts *texts, struct sp_words *words)
{
	for (uint32_t i = 0; i < texts->items_count; i++)
		if (seccomp_syscall_resolve_name(texts->items[i].text) == __NR_SCMP_ERROR)
			return sp_document_fail(c->document, texts->items[i].at, c->e, "unknown system call '%.60s'",
						texts->items[i].text);
	return compile_words(c, texts, words);
}

static int compile_syscalls(struct compiler *c, const struct sp_source_syscalls *syscalls)
{
	struct sp_confinement *to = c->to;
	const char *mode = syscalls->mode.text;
	int rc;

	if (mode != NULL && strcmp(mode, "filter") != 0 && strcmp(mode, "strict") != 0)
		return sp_document_fail(c->document, syscalls->mode.at, c->e,
					"unknown value '%.60s', expected filter or strict", mode);
	to->strict = mode != NULL && strcmp(mode, "strict") == 0;
	if ((rc = compile_calls(c, &syscalls->deny, &to->deny)) < 0 ||
	    (rc = compile_calls(c, &syscalls->kill, &to->kill)) < 0 ||
	    (rc = compile_calls(c, &syscalls->allow, &to->allow)) < 0)
		return rc;
	to->syscalls = to->strict || to->deny.count + to->kill.count + to->allow.count > 0;
	if (to->allow.count > 0 && to->deny.count > 0)
		return sp_document_fail(c->document, syscalls->deny.at, c->e,
					"deny has no effect where allow lists all that may be called");
	if (to->strict && to->deny.count + to->kill.count + to->allow.count > 0)
		return sp_document_fail(c->document, syscalls->mode.at, c->e, "mode strict leaves nothing to list");
	return 0;
}
