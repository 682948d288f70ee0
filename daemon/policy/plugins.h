/* The plugins of a policy: the section `plugins` of its file, and `syscalls.notify`, as plain values. Immutable; strings belong
 * to the policy. */
#ifndef SP_POLICY_PLUGINS_H
#define SP_POLICY_PLUGINS_H

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>

struct sp_source;

enum sp_plugin_isolation { SP_PLUGIN_PROCESS, SP_PLUGIN_INSIDE };
enum sp_plugin_when { SP_PLUGIN_UNMATCHED, SP_PLUGIN_ALLOWED };
enum sp_plugin_abi { SP_PLUGIN_OURS, SP_PLUGIN_CRUN };

struct sp_plugin_spec {
	char *path; /* canonical */
	char *rule; /* "plugin:NAME", what the record calls it */
	const char *name; /* the base name without .so, inside of rule */
	const char *config; /* JSON, "{}" where none is given */
	unsigned timeout; /* milliseconds */
	enum sp_plugin_isolation isolation;
	enum sp_plugin_when when; /* allowed: asked for what the rules allow, too */
	enum sp_plugin_abi abi;
};

struct sp_plugin_specs {
	struct sp_plugin_spec *items;
	size_t count;
	size_t judges; /* of them, those that are asked about execs */
	int *calls; /* numbers of system calls that crun's plugins are asked about */
	size_t call_count;
};

/* Compiles the section, and finds the files: beside the policy file, then in SP_PLUGIN_DIR. What was filled is freed with
 * sp_plugin_specs_release(). 0, -EINVAL with "file:line:column: ...", -ENOMEM. */
[[nodiscard]] int sp_plugin_specs_compile(const struct sp_source *source, const char *policy_file,
					  struct sp_plugin_specs *specs, struct sp_error *e);
void sp_plugin_specs_release(struct sp_plugin_specs *specs);

/* Opens a plugin's file for reading if nobody but root and our own user can have written it or put it there: the file and each
 * directory on its canonical path belong to one of them, and are not writable for group or world (a directory with the sticky
 * bit may be: nobody can replace there what is not his). The fd, or -errno with a sentence that names the place. */
[[nodiscard]] int sp_plugin_open(const char *path, struct sp_error *e);

#endif
