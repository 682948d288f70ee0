/* See program.h. */
#include "policy/program.h"

#include "policy/push.h"
#include "util/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

struct link {
	char *name;
	const char *directory; /* one of the existing directories */
};

struct sp_directories {
	struct sp_glob **globs; /* what a file's directory is compared with */
	size_t glob_count;
	char **existing; /* canonical, in search order, none twice */
	size_t existing_count;
	char *first; /* where a program that is nowhere would be */
	struct link *links;
	size_t link_count;
};

int sp_directories_new(struct sp_directories **out)
{
	*out = calloc(1, sizeof **out);
	return *out != NULL ? 0 : -ENOMEM;
}

void sp_directories_free(struct sp_directories *directories)
{
	if (directories == NULL)
		return;
	for (size_t i = 0; i < directories->glob_count; i++)
		sp_glob_free(directories->globs[i]);
	for (size_t i = 0; i < directories->existing_count; i++)
		free(directories->existing[i]);
	for (size_t i = 0; i < directories->link_count; i++)
		free(directories->links[i].name);
	free(directories->globs);
	free(directories->existing);
	free(directories->links);
	free(directories->first);
	free(directories);
}

/* ---- Patterns ---- */

static bool has_wildcard(const char *pattern)
{
	return strpbrk(pattern, "?*[\\") != NULL;
}

/* The working directory in the place of `./`; a name with glob characters in it must stay that name. */
static int absolute_pattern(const char *pattern, char **absolute, const char **problem)
{
	if (pattern[0] == '/') {
		*absolute = strdup(pattern);
		return *absolute != NULL ? 0 : -ENOMEM;
	}
	if (strncmp(pattern, "./", 2) != 0) {
		*problem = "a path pattern must begin with / or ./";
		return -EINVAL;
	}
	cleanup_free char *cwd = getcwd(NULL, 0);
	if (cwd == NULL)
		return -errno;
	cleanup_free char *escaped = sp_glob_escape(strcmp(cwd, "/") == 0 ? "" : cwd);
	if (escaped == NULL || asprintf(absolute, "%s%s", escaped, pattern + 1) < 0) {
		*absolute = NULL;
		return -ENOMEM;
	}
	return 0;
}

/* The pattern with its first `size` bytes, which name something without wildcards, resolved. NULL where they name
 * nothing. */
static int resolve_prefix(const char *pattern, size_t size, char **canonical)
{
	cleanup_free char *prefix = strndup(pattern, size);

	if (prefix == NULL)
		return -ENOMEM;
	cleanup_free char *real = realpath(prefix, NULL);
	if (real == NULL)
		return errno == ENOMEM ? -ENOMEM : 0;
	cleanup_free char *escaped = sp_glob_escape(strcmp(real, "/") == 0 ? "" : real);
	if (escaped == NULL || asprintf(canonical, "%s%s", escaped, pattern + size) < 0) {
		*canonical = NULL;
		return -ENOMEM;
	}
	return 0;
}

/* The length of the leading directories without wildcards, the slash behind them not included. */
static size_t plain_prefix(const char *pattern)
{
	size_t size = strcspn(pattern, "?*[\\");

	if (pattern[size] == '\0')
		return size;
	while (size > 0 && pattern[size] != '/')
		size--;
	return size;
}

/* The same without its last component. */
static size_t parent(const char *path, size_t size)
{
	while (size > 0 && path[size - 1] != '/')
		size--;
	return size > 0 ? size - 1 : 0;
}

int sp_path_pattern(const char *pattern, char **written, char **canonical, const char **problem)
{
	cleanup_free char *absolute = NULL;
	cleanup_free char *resolved = NULL;

	int rc = absolute_pattern(pattern, &absolute, problem);
	if (rc < 0)
		return rc;
	for (size_t size = plain_prefix(absolute); size > 0 && resolved == NULL; size = parent(absolute, size)) {
		rc = resolve_prefix(absolute, size, &resolved);
		if (rc < 0)
			return rc;
	}
	if (resolved != NULL && strcmp(resolved, absolute) == 0) {
		free(resolved);
		resolved = NULL;
	}
	*written = sp_steal_ptr(absolute);
	*canonical = sp_steal_ptr(resolved);
	return 0;
}

/* ---- Directories ---- */

static int add_glob(struct sp_directories *directories, const char *pattern, const char **problem)
{
	struct sp_glob *glob = NULL;

	int rc = sp_glob_compile(pattern, SP_GLOB_PATH, &glob, problem);
	if (rc < 0)
		return rc;
	if (sp_push(directories->globs, directories->glob_count, glob))
		return 0;
	sp_glob_free(glob);
	return -ENOMEM;
}

/* A directory and, where the pattern is all that is below one, that one too. */
static int add_directory(struct sp_directories *directories, const char *pattern, const char **problem)
{
	static const char below[] = "/**";
	size_t size = strlen(pattern);

	int rc = add_glob(directories, pattern, problem);
	if (rc < 0 || size <= strlen(below) || strcmp(pattern + size - strlen(below), below) != 0)
		return rc;
	cleanup_free char *above = strndup(pattern, size - strlen(below));
	return above != NULL ? add_glob(directories, above, problem) : -ENOMEM;
}

static int add_existing(struct sp_directories *directories, const char *path)
{
	cleanup_free char *real = realpath(path, NULL);
	struct stat status;

	if (real == NULL || stat(real, &status) < 0 || !S_ISDIR(status.st_mode))
		return errno == ENOMEM ? -ENOMEM : 0;
	for (size_t i = 0; i < directories->existing_count; i++) {
		if (strcmp(directories->existing[i], real) == 0)
			return 0;
	}
	if (!sp_push(directories->existing, directories->existing_count, real))
		return -ENOMEM;
	real = NULL;
	return 0;
}

/* A `**` is not expanded: it could be a walk through the whole file system. Names below it match, links do not. */
static int add_expanded(struct sp_directories *directories, const char *pattern)
{
	sp_cleanup(globfree) glob_t found = {0};

	if (!has_wildcard(pattern))
		return add_existing(directories, pattern);
	if (strstr(pattern, "**") != NULL)
		return 0;
	int rc = glob(pattern, GLOB_ONLYDIR, NULL, &found);
	if (rc != 0)
		return rc == GLOB_NOSPACE ? -ENOMEM : 0;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		rc = add_existing(directories, found.gl_pathv[i]);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int sp_directories_add(struct sp_directories *directories, const char *pattern, const char **problem)
{
	cleanup_free char *written = NULL;
	cleanup_free char *canonical = NULL;
	size_t size = strlen(pattern);

	while (size > 1 && pattern[size - 1] == '/')
		size--;
	cleanup_free char *trimmed = strndup(pattern, size);
	if (trimmed == NULL)
		return -ENOMEM;
	int rc = sp_path_pattern(trimmed, &written, &canonical, problem);
	if (rc < 0 || (rc = add_directory(directories, written, problem)) < 0)
		return rc;
	if (canonical != NULL && (rc = add_directory(directories, canonical, problem)) < 0)
		return rc;
	if (directories->first == NULL) {
		directories->first = strndup(written, plain_prefix(written));
		if (directories->first == NULL)
			return -ENOMEM;
	}
	errno = 0;
	return add_expanded(directories, written);
}

static bool is_link(DIR *directory, const struct dirent *entry)
{
	struct stat status;

	if (entry->d_type != DT_UNKNOWN)
		return entry->d_type == DT_LNK;
	return fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(status.st_mode);
}

static int scan_directory(struct sp_directories *directories, const char *path)
{
	cleanup_directory DIR *directory = opendir(path);

	if (directory == NULL)
		return errno == ENOMEM ? -ENOMEM : 0;
	for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
		if (!is_link(directory, entry))
			continue;
		char *name = strdup(entry->d_name);
		if (name == NULL)
			return -ENOMEM;
		if (!sp_push(directories->links, directories->link_count, {.name = name, .directory = path})) {
			free(name);
			return -ENOMEM;
		}
	}
	return 0;
}

int sp_directories_scan(struct sp_directories *directories)
{
	for (size_t i = 0; i < directories->existing_count; i++) {
		int rc = scan_directory(directories, directories->existing[i]);
		if (rc < 0)
			return rc;
	}
	return 0;
}

bool sp_directories_have(const struct sp_directories *directories, const char *path)
{
	const char *slash = strrchr(path, '/');

	if (slash == NULL)
		return false;
	size_t size = slash == path ? 1 : (size_t)(slash - path);
	for (size_t i = 0; i < directories->glob_count; i++) {
		if (sp_glob_match(directories->globs[i], path, size))
			return true;
	}
	return false;
}

int sp_directories_links(const struct sp_directories *directories, const struct sp_glob *name,
			 int (*each)(void *context, const char *target), void *context)
{
	for (size_t i = 0; i < directories->link_count; i++) {
		const struct link *link = &directories->links[i];
		if (!sp_glob_match(name, link->name, strlen(link->name)))
			continue;
		cleanup_free char *path = NULL;
		if (asprintf(&path, "%s/%s", link->directory, link->name) < 0) {
			path = NULL;
			return -ENOMEM;
		}
		cleanup_free char *target = realpath(path, NULL);
		if (target == NULL)
			continue;
		int rc = each(context, target);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* ---- One word of a command line ---- */

static int put_path(char path[static PATH_MAX], const char *directory, const char *name)
{
	int size = snprintf(path, PATH_MAX, "%s/%s", strcmp(directory, "/") == 0 ? "" : directory, name);

	return size < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* Where the file would be: its directory resolved where that exists. */
static int put_absent(char path[static PATH_MAX], const char *word)
{
	const char *slash = strrchr(word, '/');
	cleanup_free char *directory = strndup(word, slash == word ? 1 : (size_t)(slash - word));
	cleanup_free char *real = directory != NULL ? realpath(directory, NULL) : NULL;
	cleanup_free char *cwd = real == NULL && word[0] != '/' ? getcwd(NULL, 0) : NULL;

	int rc = real != NULL  ? put_path(path, real, slash + 1)
		 : cwd != NULL ? put_path(path, cwd, word)
			       : put_path(path, "/", word + (word[0] == '/'));
	return rc < 0 ? rc : -ENOENT;
}

int sp_directories_resolve(const struct sp_directories *directories, const char *word, char path[static PATH_MAX])
{
	struct stat status;

	path[0] = '\0';
	if (strchr(word, '/') != NULL)
		return realpath(word, path) != NULL ? 0 : put_absent(path, word);
	for (size_t i = 0; i < directories->existing_count; i++) {
		cleanup_free char *candidate = NULL;
		if (asprintf(&candidate, "%s/%s", directories->existing[i], word) < 0) {
			candidate = NULL;
			return -ENOMEM;
		}
		if (word[0] != '\0' && stat(candidate, &status) == 0 && S_ISREG(status.st_mode) &&
		    access(candidate, X_OK) == 0 && realpath(candidate, path) != NULL)
			return 0;
	}
	int rc = put_path(path, directories->first, word);
	return rc < 0 ? rc : -ENOENT;
}
