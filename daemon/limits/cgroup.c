/* See cgroup.h. Where groups may be made is asked of the kernel: /proc/self/cgroup says where we are in each hierarchy,
 * /proc/self/mountinfo where that can be seen. */
#include "limits/cgroup.h"

#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#define PREFIX "sallyport-"
/* Where we go ourselves: a group of version 2 whose groups have controllers may have no process of its own. */
#define OWN_GROUP "sallyport-supervisor"

enum { CPU_PERIOD = 100000 }; /* microseconds: the kernel's own default */

static const struct control {
	const char *controller;
	const char *unified, *legacy; /* the file with the limit, in versions 2 and 1 */
	const char *with_swap; /* in version 1 memory with swap is counted apart, where swap is counted at all */
} controls[SP_TREE_LIMITS] = {
	[SP_TREE_MEMORY] = {"memory", "memory.max", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"},
	[SP_TREE_TASKS] = {"pids", "pids.max", "pids.max", NULL},
	[SP_TREE_CPU] = {"cpu", "cpu.max", "cpu.cfs_quota_us", NULL},
};

struct group {
	char path[PATH_MAX];
	bool unified;
	int directory; /* where a process can be born; of version 2; or -1 */
	int door; /* who writes "0" is in; or -1 */
};

struct sp_cgroup {
	struct group groups[SP_TREE_LIMITS]; /* each once: version 2 has one for all */
	size_t count;
	size_t of[SP_TREE_LIMITS]; /* which of them has the limit */
};

/* What the kernel says of where we are, read once: to write down all mounts takes it a while. */
struct view {
	char *groups, *mounts;
};

static void look(struct view *view);
static void forget(struct view *view);
static int find_own_group(const struct view *view, const char *controller, bool unified, char path[static PATH_MAX]);
static int make_group(struct sp_cgroup *cgroup, const struct group *parent, uint64_t id, struct group **made);

/* --- files of a group --- */

static int open_file(const char *group, const char *file, int flags)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof path, "%s/%s", group, file) >= (int)sizeof path)
		return -ENAMETOOLONG;
	int fd = open(path, flags | O_CLOEXEC);
	return fd >= 0 ? fd : -errno;
}

static int write_file(const char *group, const char *file, const char *text)
{
	cleanup_close int fd = open_file(group, file, O_WRONLY);

	if (fd < 0)
		return fd;
	return write(fd, text, strlen(text)) >= 0 ? 0 : -errno;
}

static ssize_t read_file(const char *group, const char *file, char *text, size_t size)
{
	cleanup_close int fd = open_file(group, file, O_RDONLY);

	if (fd < 0)
		return fd;
	ssize_t n = read(fd, text, size - 1);
	text[n > 0 ? n : 0] = '\0';
	return n >= 0 ? n : -errno;
}

static bool has_word(const char *text, const char *word, const char *separators)
{
	const size_t length = strlen(word);

	for (size_t n; *text != '\0'; text += n + (text[n] != '\0')) {
		n = strcspn(text, separators);
		if (n == length && strncmp(text, word, n) == 0)
			return true;
	}
	return false;
}

static bool lists(const char *group, const char *file, const char *controller)
{
	char text[512];

	return read_file(group, file, text, sizeof text) > 0 && has_word(text, controller, " \n");
}

/* --- the groups of a job --- */

/* Is nobody there but us? Then we can go elsewhere. */
static bool is_alone(const char *group)
{
	char text[64], own[16];

	(void)snprintf(own, sizeof own, "%d\n", getpid());
	return read_file(group, "cgroup.procs", text, sizeof text) > 0 && strcmp(text, own) == 0;
}

static int step_aside(const char *group)
{
	char path[PATH_MAX];

	if (!is_alone(group))
		return -EBUSY;
	if (snprintf(path, sizeof path, "%s/" OWN_GROUP, group) >= (int)sizeof path)
		return -ENAMETOOLONG;
	if (mkdir(path, 0755) != 0 && errno != EEXIST)
		return -errno;
	return write_file(path, "cgroup.procs", "0");
}

/* Groups below this one of version 2 get the controller. */
static int delegate(const char *group, const char *controller)
{
	char word[32];

	if (lists(group, "cgroup.subtree_control", controller))
		return 0;
	(void)snprintf(word, sizeof word, "+%s", controller);
	int err = write_file(group, "cgroup.subtree_control", word);
	if (err == -EBUSY && (err = step_aside(group)) == 0)
		err = write_file(group, "cgroup.subtree_control", word);
	return err;
}

/* Ours, in the hierarchy that has the controller: version 2 if it does. 0; -ENOTSUP: none has; or another -errno. */
static int find_parent(const struct view *view, const struct control *control, struct group *parent)
{
	parent->unified = true;
	if (find_own_group(view, "", true, parent->path) == 0 &&
	    lists(parent->path, "cgroup.controllers", control->controller))
		return delegate(parent->path, control->controller);
	parent->unified = false;
	return find_own_group(view, control->controller, false, parent->path);
}

static int set_limit(const struct group *group, enum sp_tree_limit limit, int64_t value)
{
	const struct control *control = &controls[limit];
	const int64_t number = limit == SP_TREE_CPU ? value * CPU_PERIOD / 1000 : value;
	char text[32];

	(void)snprintf(text, sizeof text, "%" PRId64, number);
	int err = write_file(group->path, group->unified ? control->unified : control->legacy, text);
	if (err == 0 && !group->unified && control->with_swap != NULL)
		err = write_file(group->path, control->with_swap, text);
	return err == -ENOENT && control->with_swap != NULL ? 0 : err;
}

static int apply(struct sp_cgroup *cgroup, const struct view *view, uint64_t id, enum sp_tree_limit limit,
		 int64_t value)
{
	struct group *group = NULL;
	struct group parent;

	int err = find_parent(view, &controls[limit], &parent);
	if (err == 0)
		err = make_group(cgroup, &parent, id, &group);
	if (err != 0)
		return err;
	cgroup->of[limit] = (size_t)(group - cgroup->groups);
	return set_limit(group, limit, value);
}

int sp_cgroup_new(uint64_t id, struct sp_tree_limits *limits, struct sp_cgroup **out)
{
	struct sp_cgroup *cgroup = calloc(1, sizeof *cgroup);
	sp_cleanup(forget) struct view view = {0};

	*out = NULL;
	if (cgroup == NULL)
		return -ENOMEM;
	look(&view);
	for (enum sp_tree_limit i = 0; i < SP_TREE_LIMITS; i++)
		limits->err[i] = limits->value[i] > 0 ? -apply(cgroup, &view, id, i, limits->value[i]) : 0;
	if (cgroup->count == 0)
		free(cgroup);
	else
		*out = cgroup;
	return 0;
}

int sp_cgroup_birthplace(const struct sp_cgroup *cgroup)
{
	for (size_t i = 0; cgroup != NULL && i < cgroup->count; i++)
		if (cgroup->groups[i].unified)
			return cgroup->groups[i].directory;
	return -1;
}

int sp_cgroup_enter(const struct sp_cgroup *cgroup, enum sp_tree_limit limit, bool born_inside)
{
	const struct group *group = &cgroup->groups[cgroup->of[limit]];

	if (group->unified && born_inside)
		return 0;
	return write(group->door, "0", 1) == 1 ? 0 : -errno;
}

static void shut(struct group *group)
{
	sp_close_fd(&group->directory);
	sp_close_fd(&group->door);
	group->directory = group->door = -1;
}

void sp_cgroup_shut(struct sp_cgroup *cgroup)
{
	for (size_t i = 0; cgroup != NULL && i < cgroup->count; i++)
		shut(&cgroup->groups[i]);
}

void sp_cgroup_kill(const struct sp_cgroup *cgroup)
{
	for (size_t i = 0; cgroup != NULL && i < cgroup->count; i++)
		if (cgroup->groups[i].unified)
			(void)write_file(cgroup->groups[i].path, "cgroup.kill", "1");
}

void sp_cgroup_close(struct sp_cgroup *cgroup)
{
	sp_cgroup_shut(cgroup);
	for (size_t i = 0; cgroup != NULL && i < cgroup->count; i++)
		(void)rmdir(cgroup->groups[i].path);
	free(cgroup);
}

/* --- making one --- */

/* "sallyport-PID-ID" of a supervisor that is dead, which could not remove it. What is not empty cannot be removed. */
static void remove_stale(const char *parent)
{
	cleanup_directory DIR *directory = opendir(parent);
	const struct dirent *entry;
	int pid;

	while (directory != NULL && (entry = readdir(directory)) != NULL)
		if (sscanf(entry->d_name, PREFIX "%d-", &pid) == 1 && pid > 0 && kill(pid, 0) != 0 && errno == ESRCH)
			(void)unlinkat(dirfd(directory), entry->d_name, AT_REMOVEDIR);
}

/* In version 2 a process is best born where it belongs (CLONE_INTO_CGROUP). To move one takes a lock that waits for every CPU to have
 * passed through the scheduler, 10 ms and more; of version 1, `tasks` spares who moves itself that. */
static int open_doors(struct group *group)
{
	if (group->unified)
		group->directory = open(group->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	group->door = open_file(group->path, group->unified ? "cgroup.procs" : "tasks", O_WRONLY);
	return group->door < 0 ? group->door : 0;
}

static int make_group(struct sp_cgroup *cgroup, const struct group *parent, uint64_t id, struct group **made)
{
	struct group *group = &cgroup->groups[cgroup->count];

	group->unified = parent->unified;
	group->directory = group->door = -1;
	if (snprintf(group->path, sizeof group->path, "%s/" PREFIX "%d-%016" PRIx64, parent->path, getpid(), id) >=
	    (int)sizeof group->path)
		return -ENAMETOOLONG;
	for (size_t i = 0; i < cgroup->count; i++)
		if (strcmp(cgroup->groups[i].path, group->path) == 0) {
			*made = &cgroup->groups[i];
			return 0;
		}
	remove_stale(parent->path);
	if (mkdir(group->path, 0755) != 0)
		return -errno;
	int err = open_doors(group);
	if (err != 0) {
		shut(group);
		(void)rmdir(group->path);
		return err;
	}
	cgroup->count++;
	*made = group;
	return 0;
}

/* --- where we are --- */

/* Of a line of /proc/self/cgroup, ID:CONTROLLERS:PATH, the path if it is this hierarchy's. */
static char *path_in_hierarchy(char *line, const char *controller)
{
	char *controllers = strchr(line, ':');
	char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;

	if (path == NULL)
		return NULL;
	*path++ = '\0';
	/* Version 2 is the one that names none. */
	bool is_it = controller[0] == '\0' ? controllers[1] == '\0' : has_word(controllers + 1, controller, ",");
	return is_it ? path : NULL;
}

/* Owned; NULL: cannot be read. */
static char *read_text(const char *path)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	cleanup_free char *text = NULL;
	size_t size = 0, room = 0;
	ssize_t n = fd >= 0 ? 1 : -1;

	while (n > 0) {
		char *larger = room - size > 1 ? text : realloc(text, room += 16384);

		if (larger == NULL)
			return NULL;
		text = larger;
		n = read(fd, text + size, room - size - 1);
		size += n > 0 ? (size_t)n : 0;
	}
	if (n < 0)
		return NULL;
	text[size] = '\0';
	return sp_steal_ptr(text);
}

static void look(struct view *view)
{
	view->groups = read_text("/proc/self/cgroup");
	view->mounts = read_text("/proc/self/mountinfo");
}

static void forget(struct view *view)
{
	free(view->groups);
	free(view->mounts);
}

static int find_path(const struct view *view, const char *controller, char path[static PATH_MAX])
{
	cleanup_free char *text = view->groups != NULL ? strdup(view->groups) : NULL;
	char *rest = text;

	for (char *line; rest != NULL && (line = strsep(&rest, "\n")) != NULL;) {
		const char *found = path_in_hierarchy(line, controller);

		if (found != NULL && strlen(found) < PATH_MAX) {
			(void)strcpy(path, found);
			return 0;
		}
	}
	return -ENOTSUP;
}

/* A line of /proc/self/mountinfo: ID PARENT DEVICE ROOT POINT OPTIONS [TAG]... - TYPE SOURCE OPTIONS */
struct mount {
	const char *root, *point, *type, *options;
};

static bool parse_mount(char *line, struct mount *mount)
{
	char *words[5], *rest = strstr(line, " - ");
	char *save;

	if (rest == NULL)
		return false;
	*rest = '\0';
	for (size_t i = 0; i < 5; i++) {
		words[i] = strtok_r(i == 0 ? line : NULL, " ", &save);
		if (words[i] == NULL)
			return false;
	}
	mount->root = words[3];
	mount->point = words[4];
	mount->type = strtok_r(rest + 3, " ", &save);
	(void)strtok_r(NULL, " ", &save);
	mount->options = strtok_r(NULL, "\n", &save);
	return mount->options != NULL;
}

/* The part of path below root; NULL: it is not below. */
static const char *below(const char *path, const char *root)
{
	const size_t length = strcmp(root, "/") == 0 ? 0 : strlen(root);

	return strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == '\0') ? path + length : NULL;
}

static bool shows(const struct mount *mount, const char *controller, bool unified)
{
	return unified ? strcmp(mount->type, "cgroup2") == 0
		       : strcmp(mount->type, "cgroup") == 0 && has_word(mount->options, controller, ",");
}

/* Blanks in a mount point are escaped there; nobody mounts a hierarchy at such a place, and it would not be found. */
static int find_own_group(const struct view *view, const char *controller, bool unified, char path[static PATH_MAX])
{
	char group[PATH_MAX];
	cleanup_free char *text = view->mounts != NULL ? strdup(view->mounts) : NULL;
	char *rest_of_text = text;
	struct mount mount;

	int err = find_path(view, controller, group);
	if (err != 0)
		return err;
	char *last = strrchr(group, '/');
	if (last != NULL && strcmp(last, "/" OWN_GROUP) == 0)
		*last = '\0';
	for (char *line; rest_of_text != NULL && (line = strsep(&rest_of_text, "\n")) != NULL;) {
		if (!parse_mount(line, &mount) || !shows(&mount, controller, unified))
			continue;
		const char *rest = below(group, mount.root);
		if (rest != NULL && strstr(rest, "/..") == NULL)
			return snprintf(path, PATH_MAX, "%s%s", mount.point, rest) < PATH_MAX ? 0 : -ENAMETOOLONG;
	}
	return -ENOTSUP;
}
