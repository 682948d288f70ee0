/* sallyport(1): one table of subcommands, and what is common to them: --help, --version, the standard descriptors,
 * output that could not be written. */
#include "client.h"
#include "plugin/process.h"
#include "self/harden.h"
#include "util/printable.h"
#include "util/version.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct command {
	const char *name;
	int (*function)(int argc, char **argv);
	const char *summary;
	bool confined; /* from its start: it starts nothing itself */
} commands[] = {
	{"run", sp_cmd_run, "supervise a command and everything it starts", false},
	{"ps", sp_cmd_ps, "list the jobs that run", false},
	{"top", sp_cmd_top, "the jobs that run, live: execs, refusals, latency", false},
	{"inspect", sp_cmd_inspect, "what is known of one job", false},
	{"kill", sp_cmd_kill, "kill every process of a job, and wait until none is left", false},
	{"freeze", sp_cmd_freeze, "stop every process of a job where it is", false},
	{"thaw", sp_cmd_thaw, "let a frozen job go on", false},
	{"approvals", sp_cmd_approvals, "list the execs that wait for a person", false},
	{"approve", sp_cmd_approve, "let one of them run", false},
	{"deny", sp_cmd_deny, "refuse one of them", false},
	{"reload", sp_cmd_reload, "read the policies of jobs again", false},
	{"wait", sp_cmd_wait, "wait until a job has ended", false},
	{"stats", sp_cmd_stats, "the figures of all supervisors", false},
	{"metrics", sp_cmd_metrics, "the same for Prometheus", false},
	{"log", sp_cmd_log, "show what ran, what was refused, and by which rule", true},
	{"policy", sp_cmd_policy, "check a policy file, or ask it about one command line", true},
	{"doctor", sp_cmd_doctor, "tell what works on this machine, what does not, and why", false},
};

static int dispatch(int argc, char **argv);
static int help(const char *name);
static int usage(FILE *out, int status);
static int run_command(const struct command *command, int argc, char **argv);
static const struct command *find(const char *name);
static int unknown(const char *word);
static bool is_help(const char *word);
static bool is_version(const char *word);
static int print_version(void);
static int open_standard_fds(void);
static int flush_output(int status);

int main(int argc, char **argv)
{
	argp_err_exit_status = SP_EXIT_FAILURE;
	if (open_standard_fds() < 0)
		return SP_EXIT_FAILURE;
	int status = sp_plugin_process(argc, argv);
	if (status >= 0)
		return status;
	status = flush_output(dispatch(argc, argv));
	sp_self_release();
	return status;
}

static int dispatch(int argc, char **argv)
{
	if (argc < 2)
		return usage(stderr, SP_EXIT_FAILURE);
	if (is_version(argv[1]))
		return print_version();
	if (is_help(argv[1]) || strcmp(argv[1], "help") == 0)
		return help(argc > 2 ? argv[2] : NULL);
	const struct command *command = find(argv[1]);
	if (command == NULL)
		return unknown(argv[1]);
	return run_command(command, argc - 1, argv + 1);
}

/* `sallyport help run` is `sallyport run --help`, so that each text stands in one place. */
static int help(const char *name)
{
	if (name == NULL)
		return usage(stdout, 0);
	const struct command *command = find(name);
	if (command == NULL)
		return unknown(name);
	char *argv[] = {(char *)command->name, (char *)"--help", NULL};
	return run_command(command, 2, argv);
}

static int run_command(const struct command *command, int argc, char **argv)
{
	struct sp_error e = {0};

	if (argc > 1 && is_version(argv[1]))
		return print_version();
	if (command->confined && sp_self_confine(&e) != 0) {
		fprintf(stderr, "sallyport: %s\n", e.text);
		return SP_EXIT_FAILURE;
	}
	return command->function(argc, argv);
}

static int usage(FILE *out, int status)
{
	fputs("Usage: sallyport COMMAND [OPTION...]\n"
	      "Decides every execve of a process tree, by the file that would run and by its arguments, and records "
	      "it.\n\n",
	      out);
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
		fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].summary);
	fputs("\n  sallyport help COMMAND   the options of one command\n"
	      "  sallyport --version      the version\n"
	      "\nTo begin: sallyport run -- make, then: sallyport log\n",
	      out);
	return status;
}

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

static int unknown(const char *word)
{
	fputs("sallyport: unknown command ", stderr);
	sp_print_argument(stderr, word, strlen(word));
	fputs("; `sallyport --help` lists them\n", stderr);
	return SP_EXIT_FAILURE;
}

int sp_refuse_word(const char *command, const char *what, const char *word)
{
	(void)fprintf(stderr, "sallyport %s: %s ", command, what);
	sp_print_argument(stderr, word, strlen(word));
	(void)fprintf(stderr, "; see sallyport %s --help\n", command);
	return SP_EXIT_FAILURE;
}

static bool is_help(const char *word)
{
	return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static bool is_version(const char *word)
{
	return strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0;
}

static int print_version(void)
{
	puts("sallyport " SP_VERSION);
	return 0;
}

/* Started with 0, 1 or 2 closed, the next file opened (the audit database, say) would get that number and be written
 * over by the first message. CLOEXEC: a supervised command still starts without the descriptor, as it would have
 * without us. */
static int open_standard_fds(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR | O_CLOEXEC) != fd)
			return -errno;
	}
	return 0;
}

/* A full disk or a closed pipe must not look like success. */
static int flush_output(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	fprintf(stderr, "sallyport: cannot write to standard output: %s\n", strerror(errno));
	return SP_EXIT_FAILURE;
}
