/* See notable.h. Tables: what is not in them is not marked, and a marked thing is allowed all the same. They are for the eye of a
 * person, not a defence. */
#include "review/notable.h"

#include <fnmatch.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static const char *const texts[SP_NOTABLES] = {
	[SP_NOTABLE_NETWORK] = "it talks to other machines",
	[SP_NOTABLE_PRIVILEGE] = "it changes the user, the rights or the root directory",
	[SP_NOTABLE_PERSISTENCE] = "it makes something run later, outside of this job",
	[SP_NOTABLE_CODE] = "it was given code on its command line",
	[SP_NOTABLE_PUBLISH] = "it sends something out",
	[SP_NOTABLE_INSTALL] = "it brings in, and may run, what others wrote",
	[SP_NOTABLE_SECRET] = "an argument looks like a secret, or names a file with one",
	[SP_NOTABLE_DOT_FILE] = "an argument names a file that shells or tools of the user read",
	[SP_NOTABLE_SETUID] = "it makes a file run with the rights of its owner",
	[SP_NOTABLE_ENVIRONMENT] = "a variable made it load code that is not its own",
	[SP_NOTABLE_NAMELESS] = "a file without a name: its contents are nowhere to be looked at",
	[SP_NOTABLE_TEMPORARY] = "it lies where everybody may write",
};

const char *sp_notable_text(enum sp_notable notable)
{
	return texts[notable];
}

/* By base name, as globs. */
static const struct {
	enum sp_notable notable;
	const char *const *names;
} programs[] = {
	{SP_NOTABLE_NETWORK,
	 LIST("curl", "wget", "wget2", "aria2c", "lynx", "links", "elinks", "w3m", "http", "https", "nc", "nc.*",
	      "ncat", "netcat", "socat", "telnet", "ftp", "lftp", "tftp", "ssh", "scp", "sftp", "rsync",
	      "git-remote-http*", "git-remote-ftp*", "rclone", "s3cmd", "dig", "nslookup", "host", "sendmail", "mail")},
	{SP_NOTABLE_PRIVILEGE,
	 LIST("sudo", "su", "doas", "pkexec", "runuser", "setpriv", "chroot", "unshare", "nsenter", "mount", "umount",
	      "capsh", "setcap", "newuidmap", "newgidmap", "bwrap", "docker", "podman", "runc", "insmod", "modprobe")},
	{SP_NOTABLE_PERSISTENCE,
	 LIST("crontab", "at", "batch", "systemctl", "systemd-run", "update-rc.d", "nohup", "setsid")},
};

/* Files that hold secrets. */
static const char *const secret_files[] = {
	"*/.ssh/*",
	"*/.gnupg/*",
	"*/.aws/*",
	"*/.netrc",
	"*/.git-credentials",
	"*/.docker/config.json",
	"*/.kube/*",
	"*/.config/gh/*",
	"*/.npmrc",
	"*/.pypirc",
	"*.pem",
	"*.p12",
	"*.pfx",
	"*.keystore",
	"*/id_rsa*",
	"*/id_ed25519*",
	"/etc/shadow*",
	"/etc/gshadow*",
	"*/.env",
	".env",
};

/* Words that are one. */
static const char *const secret_words[] = {
	"AKIA[0-9A-Z]*",
	"ghp_*",
	"gho_*",
	"ghs_*",
	"github_pat_*",
	"glpat-*",
	"xox[abp]-*",
	"sk-[A-Za-z0-9]*",
	"npm_[A-Za-z0-9]*",
	"*-----BEGIN *PRIVATE KEY*",
	"*://*:*@*",
};

/* What is behind these, after a = or a : or as the next word, is one. */
static const char *const secret_names[] = {
	"password", "passwd",     "passphrase", "secret",      "token",       "api-key",       "api_key",
	"apikey",   "access-key", "access_key", "private-key", "private_key", "authorization", "credential",
};

static const char *const dot_files[] = {
	"*/.bashrc",           "*/.bash_profile",   "*/.bash_aliases",    "*/.bash_login",
	"*/.bash_logout",      "*/.profile",        "*/.zshrc",           "*/.zshenv",
	"*/.zprofile",         "*/.zlogin",         "*/.config/fish/*",   "*/.cshrc",
	"*/.gitconfig",        "*/.vimrc",          "*/.emacs",           "*/.config/autostart/*",
	"*/.config/systemd/*", "*/.git/hooks/*",    "*/.pam_environment", "*/.xprofile",
	"*/.Xresources",       "*/authorized_keys", "/etc/profile",       "/etc/profile.d/*",
	"/etc/ld.so.preload",  "/etc/cron*",        "/etc/sudoers*",
};

/* They only look. */
static const char *const readers[] = {"cat",  "ls",   "stat", "test", "[",    "grep",
				      "head", "tail", "less", "wc",   "file", "readlink"};

static const char *const loading_variables[] = {"LD_*",          "GLIBC_TUNABLES",   "BASH_ENV", "PYTHONPATH",
						"PYTHONSTARTUP", "PERL5LIB",         "PERL5OPT", "RUBYOPT",
						"NODE_OPTIONS",  "JAVA_TOOL_OPTIONS"};

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

static bool matches_one(const char *const *patterns, size_t count, const char *text, int flags)
{
	for (size_t i = 0; i < count && patterns[i] != NULL; i++) {
		if (fnmatch(patterns[i], text, flags) == 0)
			return true;
	}
	return false;
}

static bool is_one(const char *const *words, const char *text)
{
	return matches_one(words, SIZE_MAX, text, FNM_NOESCAPE);
}

/* ---- Interpreters and tools ---- */

static const struct {
	const char *name;
	const char *const *options;
} interpreters[] = {
	{"python*", LIST("-c")},
	{"pypy*", LIST("-c")},
	{"perl*", LIST("-e", "-E")},
	{"node", LIST("-e", "--eval", "-p", "--print")},
	{"nodejs", LIST("-e", "--eval", "-p", "--print")},
	{"bun", LIST("-e", "--eval", "-p", "--print")},
	{"ruby*", LIST("-e")},
	{"php*", LIST("-r")},
	{"lua*", LIST("-e")},
	{"Rscript", LIST("-e")},
	{"osascript", LIST("-e")},
	{"tclsh*", LIST("-c")},
};

const char *const *sp_code_options(const char *program)
{
	const char *name = base_name(program);

	for (size_t i = 0; i < COUNT(interpreters); i++) {
		if (fnmatch(interpreters[i].name, name, 0) == 0)
			return interpreters[i].options;
	}
	return NULL;
}

static const struct sp_tool tools[] = {
	{"git", LIST("-C", "-c", "--git-dir", "--work-tree", "--namespace", "--exec-path", "--config-env"),
	 LIST("remote", "submodule", "config", "stash", "worktree", "bundle"), LIST("push", "send-email"), NULL},
	{"npm*",
	 LIST("--prefix", "-C", "-w", "--workspace", "--registry", "--cache", "--loglevel", "--userconfig", "--tag"),
	 LIST("run", "run-script", "exec", "x", "config", "pkg"), LIST("publish", "login", "adduser", "token", "owner"),
	 LIST("install", "i", "ci", "add", "update", "exec", "x", "create", "init", "rebuild")},
	{"npx*", LIST("-p", "--package", "-c", "--call"), NULL, NULL, NULL},
	{"yarn*", LIST("--cwd", "--registry"), LIST("run", "workspace", "global"), LIST("publish", "login"),
	 LIST("install", "add", "upgrade", "dlx", "create")},
	{"pnpm*", LIST("-C", "--dir", "--filter"), LIST("run", "exec"), LIST("publish", "login"),
	 LIST("install", "i", "add", "update", "dlx", "create")},
	{"pip*", LIST("-r", "-c", "-i", "--index-url", "--target", "-t", "--prefix", "--root", "--log", "--cache-dir"),
	 NULL, NULL, LIST("install", "download", "wheel")},
	{"cargo", LIST("-C", "-Z", "--config", "--color", "--manifest-path"), NULL,
	 LIST("publish", "login", "owner", "yank"), LIST("install", "add", "update", "fetch")},
	{"go", LIST("-C"), LIST("mod", "tool", "work", "env"), NULL, LIST("install", "get")},
	{"gem*", NULL, NULL, LIST("push", "signin", "owner"), LIST("install", "update")},
	{"bundle*", LIST("--gemfile"), LIST("exec"), NULL, LIST("install", "update")},
	{"apt", LIST("-o", "-c", "-t"), NULL, NULL, LIST("install", "upgrade", "full-upgrade", "remove")},
	{"apt-get", LIST("-o", "-c", "-t"), NULL, NULL,
	 LIST("install", "upgrade", "dist-upgrade", "remove", "source", "build-dep")},
	{"dotnet", NULL, LIST("tool", "nuget"), LIST("publish"), LIST("add", "restore")},
	{"hg", LIST("-R", "--repository", "--cwd", "--config"), NULL, LIST("push", "email"), LIST("pull", "clone")},
	{"svn", LIST("--username", "--password", "--config-dir"), NULL, LIST("commit", "ci", "import"), NULL},
	{"docker", LIST("-H", "--host", "-c", "--context", "--config", "-l", "--log-level"),
	 LIST("image", "container", "compose", "network", "volume", "buildx"), LIST("push", "login"),
	 LIST("pull", "run", "build")},
	{"podman", LIST("--root", "--runroot", "--log-level", "--url", "--connection"),
	 LIST("image", "container", "compose", "network", "volume"), LIST("push", "login"),
	 LIST("pull", "run", "build")},
	{"kubectl", LIST("-n", "--namespace", "--context", "--kubeconfig"), NULL,
	 LIST("apply", "delete", "exec", "create"), NULL},
	{"systemctl", LIST("-H", "-M", "-t", "-p", "-n", "-o"), NULL, NULL, NULL},
	{"openssl", NULL, NULL, NULL, NULL},
	{"gh", LIST("-R", "--repo"), LIST("pr", "issue", "repo", "release", "api", "auth", "run", "workflow"), NULL,
	 NULL},
	{"poetry", LIST("-C", "--directory", "-P", "--project"), LIST("run"), LIST("publish"),
	 LIST("install", "add", "update")},
	{"uv", LIST("--directory", "--project", "--config-file"), LIST("run", "pip", "tool"), LIST("publish"),
	 LIST("add", "sync", "pip", "tool")},
};

const struct sp_tool *sp_tool_find(const char *program)
{
	const char *name = base_name(program);

	for (size_t i = 0; i < COUNT(tools); i++) {
		if (fnmatch(tools[i].name, name, 0) == 0)
			return &tools[i];
	}
	return NULL;
}

/* As match.c reads them. */
static bool value_follows(const struct sp_tool *tool, const char *option)
{
	for (size_t i = 0; tool->options_with_value != NULL && tool->options_with_value[i] != NULL; i++) {
		const char *known = tool->options_with_value[i];
		if (strcmp(option, known) == 0)
			return true;
		/* the last letter of a cluster */
		if (option[1] != '-' && strlen(known) == 2 && option[strlen(option) - 1] == known[1])
			return true;
	}
	return false;
}

struct sp_tool_words sp_tool_read(const struct sp_tool *tool, const char *const *argv, size_t argc)
{
	struct sp_tool_words words = {0};
	bool value = false, options = true;

	for (size_t i = 1; i < argc; i++) {
		const char *word = argv[i];
		if (value) {
			value = false;
		} else if (options && word[0] == '-' && word[1] != '\0') {
			options = strcmp(word, "--") != 0;
			value = options && value_follows(tool, word);
		} else if (words.first == NULL) {
			words.first = word;
			if (tool->deeper == NULL || !is_one(tool->deeper, word))
				return words;
		} else {
			words.second = word;
			return words;
		}
	}
	return words;
}

/* ---- Secrets ---- */

static bool has_secret_name(const char *word, size_t size)
{
	for (size_t i = 0; i < COUNT(secret_names); i++) {
		const size_t length = strlen(secret_names[i]);
		for (size_t at = 0; at + length <= size; at++) {
			if (strncasecmp(word + at, secret_names[i], length) == 0)
				return true;
		}
	}
	return false;
}

static bool is_name_character(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-';
}

/* Behind the first = or : with such a name in front, be it in the middle of a script. */
static size_t named_secret(const char *word)
{
	size_t name = 0;

	for (size_t i = 0; word[i] != '\0'; i++) {
		if ((word[i] == '=' || word[i] == ':') && word[i + 1] != '\0' && has_secret_name(word + name, i - name))
			return i + 1;
		if (!is_name_character(word[i]))
			name = i + 1;
	}
	return SIZE_MAX;
}

static bool announces_secret(const char *option)
{
	return option[0] == '-' && option[1] == '-' && strchr(option, '=') == NULL &&
	       has_secret_name(option, strlen(option));
}

size_t sp_notable_secret(const char *word, const char *previous)
{
	if (matches_one(secret_words, COUNT(secret_words), word, 0))
		return 0;
	if (previous != NULL && announces_secret(previous) && word[0] != '-')
		return 0;
	return named_secret(word);
}

/* ---- Command lines ---- */

static unsigned bit(enum sp_notable notable, bool holds)
{
	return holds ? 1U << notable : 0;
}

static unsigned notables_of_program(const struct sp_command *command)
{
	const char *name = base_name(command->program);
	unsigned found = bit(SP_NOTABLE_NAMELESS, command->anonymous);

	for (size_t i = 0; i < COUNT(programs); i++)
		found |= bit(programs[i].notable, is_one(programs[i].names, name));
	return found |
	       bit(SP_NOTABLE_TEMPORARY, !command->anonymous && (strncmp(command->program, "/tmp/", 5) == 0 ||
								 strncmp(command->program, "/var/tmp/", 9) == 0 ||
								 strncmp(command->program, "/dev/shm/", 9) == 0));
}

static bool is_given_code(const struct sp_command *command)
{
	const char *const *options = sp_code_options(command->program);

	for (size_t i = 1; options != NULL && i < command->argc && command->argv[i][0] == '-'; i++) {
		for (size_t o = 0; options[o] != NULL; o++) {
			const size_t size = strlen(options[o]);
			if (strncmp(command->argv[i], options[o], size) == 0 ||
			    (size == 2 && strlen(command->argv[i]) <= 4 && command->argv[i][1] != '-' &&
			     strchr(command->argv[i], options[o][1]) != NULL))
				return true;
		}
	}
	return false;
}

static unsigned notables_of_words(const struct sp_command *command)
{
	const struct sp_tool *tool = sp_tool_find(command->program);
	unsigned found = 0;

	if (tool == NULL)
		return 0;
	const struct sp_tool_words words = sp_tool_read(tool, command->argv, command->argc);
	if (words.first == NULL)
		return 0;
	found |= bit(SP_NOTABLE_PUBLISH, tool->publish != NULL && is_one(tool->publish, words.first));
	return found | bit(SP_NOTABLE_INSTALL, tool->install != NULL && is_one(tool->install, words.first));
}

static bool sets_uid(const struct sp_command *command)
{
	const char *name = base_name(command->program);

	if (command->argc < 2 || (strcmp(name, "chmod") != 0 && strcmp(name, "install") != 0))
		return false;
	for (size_t i = 1; i < command->argc; i++) {
		if (fnmatch("[ugao]*+*s*", command->argv[i], 0) == 0 ||
		    fnmatch("[2467][0-7][0-7][0-7]", command->argv[i], 0) == 0)
			return true;
	}
	return false;
}

static unsigned notables_of_arguments(const struct sp_command *command)
{
	const bool reads = matches_one(readers, COUNT(readers), base_name(command->program), 0);
	unsigned found = 0;

	for (size_t i = 1; i < command->argc; i++) {
		const char *word = command->argv[i];
		const char *value = strchr(word, '='), *path = value != NULL ? value + 1 : word;
		/* What is longer is a text, in which anything can be found. */
		if (strlen(word) > 1000)
			continue;
		found |= bit(SP_NOTABLE_SECRET,
			     sp_notable_secret(word, i > 1 ? command->argv[i - 1] : NULL) != SIZE_MAX ||
				     matches_one(secret_files, COUNT(secret_files), path, 0));
		found |= bit(SP_NOTABLE_DOT_FILE, !reads && matches_one(dot_files, COUNT(dot_files), path, 0));
		found |= bit(SP_NOTABLE_ENVIRONMENT,
			     strncmp(word, "LD_PRELOAD=", 11) == 0 || strncmp(word, "LD_AUDIT=", 9) == 0);
	}
	return found;
}

static unsigned notables_of_environment(const struct sp_command *command)
{
	const char *end = command->environment + command->environment_size;

	for (const char *at = command->environment; command->environment_size > 0 && at < end; at += strlen(at) + 1) {
		if (matches_one(loading_variables, COUNT(loading_variables), at, 0))
			return 1U << SP_NOTABLE_ENVIRONMENT;
	}
	return 0;
}

unsigned sp_notables_of(const struct sp_command *command)
{
	return notables_of_program(command) | bit(SP_NOTABLE_CODE, is_given_code(command)) |
	       notables_of_words(command) | bit(SP_NOTABLE_SETUID, sets_uid(command)) | notables_of_arguments(command) |
	       notables_of_environment(command);
}
