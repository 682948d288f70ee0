/* Probes of `sallyport doctor` for how this machine and this session are set up. */
#include "audit/audit.h"
#include "doctor.h"
#include "policy/policy.h"
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

static void free_policy(struct sp_policy **policy);
static uint64_t own_status(const char *field, int base);
static bool has_capability(int capability);
static bool read_line(const char *path, char **line);
static char *nearest_existing(const char *path);

void sp_probe_privileges(struct sp_finding *finding)
{
	const char *who = geteuid() == 0 ? "root" : "an ordinary user";

	if (own_status("NoNewPrivs", 10) != 0)
		sp_finding_set(finding, SP_FINDING_DEGRADED,
			       "set-user-ID programs (sudo, ping) have no privileges here or in a job",
			       "%s, no_new_privs is set", who);
	else if (has_capability(CAP_SYS_ADMIN))
		sp_finding_set(finding, SP_FINDING_OK, "a filter can be loaded without giving up set-user-ID programs",
			       "%s with CAP_SYS_ADMIN", who);
	else
		sp_finding_set(
			finding, SP_FINDING_DEGRADED,
			"a filter needs no_new_privs, so set-user-ID programs (sudo, ping) have no privileges in a job",
			"%s without CAP_SYS_ADMIN", who);
}

void sp_probe_outer_filters(struct sp_finding *finding)
{
	uint64_t filters = own_status("Seccomp_filters", 10);

	if (own_status("Seccomp", 10) == 0)
		sp_finding_set(finding, SP_FINDING_OK, "no system call is forbidden from outside", "none");
	else
		sp_finding_set(finding, SP_FINDING_DEGRADED, "what they forbid stays forbidden in a job",
			       "seccomp filters on this process already: %ju", (uintmax_t)filters);
}

void sp_probe_yama(struct sp_finding *finding)
{
	cleanup_free char *line = NULL;

	if (!read_line("/proc/sys/kernel/yama/ptrace_scope", &line)) {
		sp_finding_set(finding, SP_FINDING_OK, "ptrace is not restricted by it", "not in this kernel");
		return;
	}
	int scope = atoi(line);
	bool may = has_capability(CAP_SYS_PTRACE);
	if (scope <= 1)
		sp_finding_set(finding, SP_FINDING_OK, "descendants may be traced, which is all that a job needs",
			       "ptrace_scope %d", scope);
	else if (scope == 2 && may)
		sp_finding_set(finding, SP_FINDING_OK, "CAP_SYS_PTRACE may trace, and is there", "ptrace_scope 2");
	else if (scope == 2)
		sp_finding_set(finding, SP_FINDING_MISSING,
			       "only CAP_SYS_PTRACE may trace: run as root, or set it to 1", "ptrace_scope 2");
	else
		sp_finding_set(finding, SP_FINDING_MISSING, "nobody may trace until the next boot", "ptrace_scope %d",
			       scope);
}

void sp_probe_tracer(struct sp_finding *finding)
{
	cleanup_free char *name = NULL;
	char path[64];
	uint64_t tracer = own_status("TracerPid", 10);

	if (tracer == 0) {
		sp_finding_set(finding, SP_FINDING_OK, "nobody else is attached to this process", "none");
		return;
	}
	(void)snprintf(path, sizeof path, "/proc/%ju/comm", (uintmax_t)tracer);
	sp_finding_set(finding, SP_FINDING_DEGRADED, "a tracer that follows forks takes the place that a job needs",
		       "traced by %s, process %ju", read_line(path, &name) ? name : "(unknown)", (uintmax_t)tracer);
}

void sp_probe_audit(struct sp_finding *finding)
{
	enum { LOW_MIB = 64 }; /* a few segments of the spool, and room for the database to grow */
	static const char name_one[] = "every run needs --audit FILE";
	cleanup_free char *database = NULL;
	struct sp_error error;
	struct statvfs space;

	if (sp_audit_default_path(&database, &error) < 0) {
		sp_finding_set(finding, SP_FINDING_MISSING, name_one, "%s", error.text);
		return;
	}
	cleanup_free char *existing = nearest_existing(database);
	if (existing == NULL)
		return;
	if (access(existing, F_OK) < 0 || faccessat(AT_FDCWD, existing, W_OK, AT_EACCESS) < 0 ||
	    statvfs(existing, &space) < 0) {
		sp_finding_set(finding, SP_FINDING_MISSING, name_one, "%s: %s", existing, strerror(errno));
		return;
	}
	uintmax_t free_mib = (uintmax_t)space.f_bavail * space.f_frsize >> 20;
	if (free_mib < LOW_MIB)
		sp_finding_set(finding, SP_FINDING_DEGRADED, "records may soon find no room", "%s, %ju MiB free",
			       database, free_mib);
	else
		sp_finding_set(finding, SP_FINDING_OK, "what runs is recorded there", "%s, %ju MiB free", database,
			       free_mib);
}

void sp_probe_policies(struct sp_finding *finding)
{
	static const char *const names[] = {"record", "build", "agent"};
	cleanup_free char *list = NULL;
	size_t size;
	FILE *out = open_memstream(&list, &size);
	bool complete = true;

	if (out == NULL)
		return;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		sp_cleanup(free_policy) struct sp_policy *policy = NULL;
		struct sp_error error;

		if (i > 0)
			fputs(", ", out);
		if (sp_policy_load(names[i], &policy, &error) == 0) {
			fputs(sp_policy_file(policy), out);
		} else {
			fputs(error.text, out);
			complete = false;
		}
	}
	if (fclose(out) != 0)
		return;
	if (complete)
		sp_finding_set(finding, SP_FINDING_OK, "these can be given to -p by name", "%s", list);
	else
		sp_finding_set(finding, SP_FINDING_DEGRADED, "those that are missing must be given to -p by path", "%s",
			       list);
}

static void free_policy(struct sp_policy **policy)
{
	sp_policy_free(*policy);
}

/* A number from /proc/self/status; 0 when the kernel does not show the field. */
static uint64_t own_status(const char *field, int base)
{
	cleanup_file FILE *file = fopen("/proc/self/status", "re");
	cleanup_free char *line = NULL;
	size_t capacity = 0, length = strlen(field);

	while (file != NULL && getline(&line, &capacity, file) > 0) {
		if (strncmp(line, field, length) == 0 && line[length] == ':')
			return strtoull(line + length + 1, NULL, base);
	}
	return 0;
}

static bool has_capability(int capability)
{
	return own_status("CapEff", 16) >> capability & 1;
}

/* The first line of a file without its newline; the caller frees it in either case. */
static bool read_line(const char *path, char **line)
{
	cleanup_file FILE *file = fopen(path, "re");
	size_t capacity = 0;

	if (file == NULL || getline(line, &capacity, file) < 0)
		return false;
	(*line)[strcspn(*line, "\n")] = '\0';
	return true;
}

/* What is not there yet is created on the first run, if the nearest directory that exists lets us. */
static char *nearest_existing(const char *path)
{
	char *existing = strdup(path);

	while (existing != NULL && strcmp(existing, "/") != 0 && access(existing, F_OK) < 0 && errno == ENOENT) {
		char *slash = strrchr(existing, '/');
		if (slash == NULL)
			return existing;
		slash[slash == existing ? 1 : 0] = '\0';
	}
	return existing;
}
