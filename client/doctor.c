/* sallyport doctor [--json]: what works on this machine, what does not, and why.
 *
 * Kernel features are tried, not looked up by version: distributions backport, containers and security modules forbid.
 * The probes themselves are in doctor_kernel.c, doctor_host.c, doctor_stages.c and doctor_cgroup.c. */
#include "doctor.h"
#include "client.h"
#include "util/cleanup.h"
#include "util/printable.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct probe {
	const char *name;
	void (*function)(struct sp_finding *finding);
	bool required; /* `sallyport run` cannot work while this is missing */
} probes[] = {
	{"kernel", sp_probe_kernel, true},
	{"user-notification", sp_probe_user_notification, true},
	{"listener", sp_probe_listener, true},
	{"wait-killable", sp_probe_wait_killable, true},
	{"reply-race", sp_probe_reply_race, false},
	{"sync-wake-up", sp_probe_sync_wake_up, false},
	{"privileges", sp_probe_privileges, false},
	{"outer-filters", sp_probe_outer_filters, false},
	{"ptrace", sp_probe_ptrace, true},
	{"yama", sp_probe_yama, false},
	{"tracer", sp_probe_tracer, false},
	{"memory", sp_probe_memory, true},
	{"openat2", sp_probe_openat2, true},
	{"procmap-query", sp_probe_procmap_query, false},
	{"proc-connector", sp_probe_proc_connector, false},
	{"audit", sp_probe_audit, true},
	{"policies", sp_probe_policies, false},
	{"cgroup memory", sp_probe_cgroup_memory, false},
	{"cgroup pids", sp_probe_cgroup_pids, false},
	{"cgroup cpu", sp_probe_cgroup_cpu, false},
	{"cgroup freeze", sp_probe_cgroup_freeze, false},
	{"cgroup kill", sp_probe_cgroup_kill, false},
};

/* After these come the stages of a launch. */
enum { PROBES = sizeof probes / sizeof *probes, FINDINGS = PROBES + SP_STAGE_PROBES };

static const char *const status_names[] = {
	[SP_FINDING_OK] = "ok",
	[SP_FINDING_DEGRADED] = "degraded",
	[SP_FINDING_MISSING] = "missing",
};

static int examine(bool as_json);
static void release(struct sp_finding (*findings)[FINDINGS]);
static const char *name_of(size_t probe);
static void find_out(size_t probe, struct sp_finding *finding);
static bool is_required(size_t probe);
static bool run_will_work(const struct sp_finding *findings);
static void print_text(const struct sp_finding *findings);
static bool print_json(const struct sp_finding *findings);
static char *safe_line(const char *format, va_list args);

int sp_cmd_doctor(int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	bool as_json = false;
	int word = 1;

	opterr = 0;
	for (int option; (option = getopt_long(argc, argv, "+h", options, NULL)) != -1; word = optind) {
		switch (option) {
		case 'j':
			as_json = true;
			break;
		case 'h':
			puts("Usage: sallyport doctor [--json]\n"
			     "Tries what sallyport needs of this machine, as this user: what works, what does not, "
			     "why.\n\n"
			     "      --json   one array of {name, status, required, detail, consequence}\n"
			     "  -h, --help   this text\n\n"
			     "Exit status: 0 `sallyport run` will work, 1 it will not, 125 doctor itself failed.");
			return 0;
		default:
			fputs("sallyport doctor: unknown option ", stderr);
			sp_print_argument(stderr, argv[word], strlen(argv[word]));
			fputs("; `sallyport doctor --help` lists them\n", stderr);
			return SP_EXIT_FAILURE;
		}
	}
	if (optind < argc) {
		fputs("sallyport doctor: takes no arguments, but was given ", stderr);
		sp_print_argument(stderr, argv[optind], strlen(argv[optind]));
		fputc('\n', stderr);
		return SP_EXIT_FAILURE;
	}
	return examine(as_json);
}

static int examine(bool as_json)
{
	sp_cleanup(release) struct sp_finding findings[FINDINGS] = {0};

	/* Ignored by whoever started us, it would make waitpid(2) on the probes' children fail. */
	(void)signal(SIGCHLD, SIG_DFL);
	for (size_t i = 0; i < FINDINGS; i++) {
		find_out(i, &findings[i]);
		if (findings[i].detail == NULL || findings[i].consequence == NULL) {
			fprintf(stderr, "sallyport doctor: out of memory in probe %s\n", name_of(i));
			return SP_EXIT_FAILURE;
		}
	}
	if (!as_json) {
		print_text(findings);
	} else if (!print_json(findings)) {
		fputs("sallyport doctor: cannot write JSON\n", stderr);
		return SP_EXIT_FAILURE;
	}
	return run_will_work(findings) ? 0 : 1;
}

void sp_finding_set(struct sp_finding *finding, enum sp_finding_status status, const char *consequence,
		    const char *format, ...)
{
	va_list args;

	free(finding->detail);
	va_start(args, format);
	finding->detail = safe_line(format, args);
	va_end(args);
	finding->status = status;
	finding->consequence = consequence;
}

static void release(struct sp_finding (*findings)[FINDINGS])
{
	for (size_t i = 0; i < FINDINGS; i++)
		free((*findings)[i].detail);
}

static const char *name_of(size_t probe)
{
	return probe < PROBES ? probes[probe].name : sp_probe_stage_name((int)probe - PROBES);
}

static void find_out(size_t probe, struct sp_finding *finding)
{
	if (probe < PROBES)
		probes[probe].function(finding);
	else
		sp_probe_stage((int)probe - PROBES, finding);
}

static bool is_required(size_t probe)
{
	return probe < PROBES && probes[probe].required;
}

static bool run_will_work(const struct sp_finding *findings)
{
	for (size_t i = 0; i < FINDINGS; i++) {
		if (is_required(i) && findings[i].status == SP_FINDING_MISSING)
			return false;
	}
	return true;
}

static void print_text(const struct sp_finding *findings)
{
	for (size_t i = 0; i < FINDINGS; i++)
		printf("%-9s %-19s %s; %s\n", status_names[findings[i].status], name_of(i), findings[i].consequence,
		       findings[i].detail);
	if (run_will_work(findings)) {
		puts("\n`sallyport run` works here.");
		return;
	}
	fputs("\n`sallyport run` does not work here, for want of:", stdout);
	for (size_t i = 0; i < FINDINGS; i++) {
		if (is_required(i) && findings[i].status == SP_FINDING_MISSING)
			printf(" %s", name_of(i));
	}
	putchar('\n');
}

static bool print_json(const struct sp_finding *findings)
{
	json_t *array = json_array();
	int failed = 0;

	for (size_t i = 0; i < FINDINGS; i++) {
		failed |= json_array_append_new(array, json_pack("{s:s, s:s, s:b, s:s, s:s}", "name", name_of(i),
								 "status", status_names[findings[i].status], "required",
								 (int)is_required(i), "detail", findings[i].detail,
								 "consequence", findings[i].consequence));
	}
	failed |= json_dumpf(array, stdout, JSON_INDENT(2));
	json_decref(array);
	putchar('\n');
	return failed == 0;
}

/* Paths and names in a detail were chosen by others: made printable here, once, for the terminal and for JSON. */
static char *safe_line(const char *format, va_list args)
{
	cleanup_free char *raw = NULL;
	char *line = NULL;
	size_t size;

	if (vasprintf(&raw, format, args) < 0) {
		raw = NULL;
		return NULL;
	}
	FILE *out = open_memstream(&line, &size);
	if (out == NULL)
		return NULL;
	sp_print_safe(out, raw, strlen(raw));
	if (fclose(out) == 0)
		return line;
	free(line);
	return NULL;
}
