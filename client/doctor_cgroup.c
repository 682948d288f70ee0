/* Probes of `sallyport doctor` for what a cgroup does to a whole job: memory, processes, CPU time; stopping and killing all of it at
 * once. Whether a group for a job can be made is found out by making one, below our own: in the unified hierarchy (version 2),
 * and where that has not what is needed in one of version 1. */
#include "doctor.h"
#include "util/cleanup.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct use {
	const char *controller, *controller1; /* NULL in version 2: part of every group; in version 1: there is none */
	const char *file, *file1; /* what a group has that can do it */
	const char *can, *cannot;
} memory = {"memory",
	    "memory",
	    "memory.max",
	    "memory.limit_in_bytes",
	    "the memory of a whole job can be limited",
	    "each process of a job is limited by itself (address_space)"},
  pids = {"pids",
	  "pids",
	  "pids.max",
	  "pids.max",
	  "the number of a job's processes can be limited",
	  "the processes of a user are limited, not those of a job"},
  cpu = {"cpu",
	 "cpu",
	 "cpu.max",
	 "cpu.cfs_quota_us",
	 "the CPU time of a whole job can be limited",
	 "each process of a job is limited by itself (cpu_seconds)"},
  freeze = {NULL,
	    "freezer",
	    "cgroup.freeze",
	    "freezer.state",
	    "a whole job can be stopped at once",
	    "the processes of a job are stopped one by one"},
  kill_all = {NULL,
	      NULL,
	      "cgroup.kill",
	      NULL,
	      "a whole job is killed at once",
	      "the processes of a job are killed one by one (needs Linux 5.14)"};

/* Does a comma-separated list have the word? */
static bool has_word(const char *list, const char *word)
{
	size_t length = strlen(word);

	for (const char *at = list; at != NULL; at = strchr(at, ',') != NULL ? strchr(at, ',') + 1 : NULL) {
		if (strncmp(at, word, length) == 0 && strchr(",\n", at[length]) != NULL)
			return true;
	}
	return false;
}

/* Where the hierarchy is mounted that has the controller; NULL controller: version 2. /proc/self/mounts: device, mount point,
 * type, options. Owned by the caller; NULL: nowhere. */
static char *find_mount(const char *controller)
{
	cleanup_file FILE *file = fopen("/proc/self/mounts", "re");
	cleanup_free char *line = NULL;
	size_t capacity = 0;

	while (file != NULL && getline(&line, &capacity, file) > 0) {
		char *rest = line;
		(void)strsep(&rest, " ");
		const char *point = strsep(&rest, " ");
		const char *type = strsep(&rest, " ");
		const char *options = strsep(&rest, " ");
		if (options == NULL)
			continue;
		if (controller == NULL ? strcmp(type, "cgroup2") == 0
				       : strcmp(type, "cgroup") == 0 && has_word(options, controller))
			return strdup(point);
	}
	return NULL;
}

/* Our own group there. /proc/self/cgroup: ID:CONTROLLERS:PATH, the unified hierarchy is "0::". */
static char *find_own(const char *controller)
{
	cleanup_file FILE *file = fopen("/proc/self/cgroup", "re");
	cleanup_free char *line = NULL;
	size_t capacity = 0;

	while (file != NULL && getline(&line, &capacity, file) > 0) {
		char *rest = line;
		const char *id = strsep(&rest, ":");
		const char *controllers = strsep(&rest, ":");
		if (rest == NULL)
			continue;
		rest[strcspn(rest, "\n")] = '\0';
		if (controller == NULL ? strcmp(id, "0") == 0 && *controllers == '\0'
				       : has_word(controllers, controller))
			return strdup(strcmp(rest, "/") == 0 ? "" : rest);
	}
	return NULL;
}

/* The directory of our own group. -ENOENT: there is no such hierarchy. */
static int find_directory(const char *controller, char **directory)
{
	cleanup_free char *mount = find_mount(controller);
	cleanup_free char *own = find_own(controller);

	*directory = NULL;
	if (mount == NULL || own == NULL)
		return -ENOENT;
	return asprintf(directory, "%s%s", mount, own) < 0 ? -ENOMEM : 0;
}

/* A new group below it has the file? 0: yes. -ENODEV: no; another -errno: no group could be made. */
static int try_group(const char *directory, const char *file)
{
	cleanup_free char *group = NULL, *path = NULL;

	if (asprintf(&group, "%s/sallyport-doctor-%d", directory, (int)getpid()) < 0 ||
	    asprintf(&path, "%s/%s", group, file) < 0)
		return -ENOMEM;
	if (mkdir(group, 0700) < 0)
		return -errno;
	int err = access(path, F_OK) == 0 ? 0 : -ENODEV;
	(void)rmdir(group);
	return err;
}

/* Is the controller given to our own group, although it does not pass it on? */
static bool is_controlled(const char *directory, const char *controller)
{
	cleanup_free char *path = NULL, *line = NULL;
	size_t capacity = 0;

	if (controller == NULL || asprintf(&path, "%s/cgroup.controllers", directory) < 0)
		return false;
	cleanup_file FILE *file = fopen(path, "re");
	if (file == NULL || getline(&line, &capacity, file) < 0)
		return false;
	line[strcspn(line, "\n")] = '\0';
	for (char *rest = line, *word; (word = strsep(&rest, " ")) != NULL;) {
		if (strcmp(word, controller) == 0)
			return true;
	}
	return false;
}

static const char *why_not(const struct use *use, const char *directory, int err)
{
	if (directory == NULL)
		return "not mounted";
	if (err == -ENODEV && is_controlled(directory, use->controller))
		return "there, but not passed on: cgroup.subtree_control";
	if (err == -ENODEV)
		return "no such controller in our group";
	if (err == -EACCES || err == -EPERM || err == -EROFS)
		return "not delegated to us, as systemd's Delegate= does";
	return strerror(-err);
}

static void probe(const struct use *use, struct sp_finding *finding)
{
	cleanup_free char *unified = NULL, *old = NULL;
	int old_err = -ENOENT, err = find_directory(NULL, &unified);

	if (err == 0)
		err = try_group(unified, use->file);
	if (err == 0) {
		sp_finding_set(finding, SP_FINDING_OK, use->can, "cgroup v2, a group could be made below %s", unified);
		return;
	}
	if (use->controller1 != NULL)
		old_err = find_directory(use->controller1, &old);
	if (old_err == 0)
		old_err = try_group(old, use->file1);
	if (old_err == 0)
		sp_finding_set(finding, SP_FINDING_OK, use->can, "cgroup v1, a group could be made below %s", old);
	else if (use->controller1 == NULL)
		sp_finding_set(finding, SP_FINDING_MISSING, use->cannot, "v2: %s", why_not(use, unified, err));
	else
		sp_finding_set(finding, SP_FINDING_MISSING, use->cannot, "v2: %s; v1: %s", why_not(use, unified, err),
			       why_not(use, old, old_err));
}

void sp_probe_cgroup_memory(struct sp_finding *finding)
{
	probe(&memory, finding);
}

void sp_probe_cgroup_pids(struct sp_finding *finding)
{
	probe(&pids, finding);
}

void sp_probe_cgroup_cpu(struct sp_finding *finding)
{
	probe(&cpu, finding);
}

void sp_probe_cgroup_freeze(struct sp_finding *finding)
{
	probe(&freeze, finding);
}

void sp_probe_cgroup_kill(struct sp_finding *finding)
{
	probe(&kill_all, finding);
}
