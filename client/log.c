/* sallyport log: what ran, what was refused, by which rule, and who asked.
 *
 * Records that a dead supervisor left are taken in first, so that the log is complete whatever happened. Following
 * waits for the database's files to change (inotify), not for time to pass. */
#include "log.h"
#include "client.h"
#include "colour.h"
#include "policy/policy.h"
#include "util/cleanup.h"
#include "util/printable.h"
#include "when.h"

#include <dirent.h>
#include <getopt.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <time.h>

#define FOLLOW_LINES 10 /* shown of what was there before, as tail(1) does */
#define RESULT_PATIENCE_MS 1000 /* how long a line that has no result yet is held back while following */
#define RECHECK_MS 100

static const char help[] =
	"Usage: sallyport log [OPTION...]\n"
	"Shows what a job ran and what was refused: by default everything of the newest job.\n"
	"\n"
	"  -d, --denied       only what was refused\n"
	"  -j, --job JOB      the job of this number, `last` (the default), or `all`\n"
	"  -n, --lines N      only the last N (with -f: 10 to begin with)\n"
	"  -f, --follow       go on with what comes, of all jobs unless --job is given, until Ctrl-C\n"
	"      --program GLOB only what ran a file of this name or, with a slash, path\n"
	"      --rule ID      only what this rule decided\n"
	"      --decision D   only allow, ask, deny or kill; or what failed, or was no match for what was approved "
	"(mismatch)\n"
	"      --user USER    only of this user's jobs\n"
	"      --since TIME, --until TIME\n"
	"                     only of that time: " SP_WHEN "\n"
	"      --tree         the job's process tree, with what each process ran and how it ended\n"
	"      --summary      the job in figures\n"
	"      --json         one JSON object a line, with everything that is recorded\n"
	"      --perfetto FILE, --dot FILE\n"
	"                     the job's processes over time for https://ui.perfetto.dev, or as a graph for dot(1)\n"
	"      --full         do not cut long command lines\n"
	"      --audit FILE   the audit database (default: $XDG_STATE_HOME/sallyport/audit.db)\n"
	"  -h, --help         this text\n"
	"\n"
	"A line is: time, job, process, what became of it, and what ran: the file that the kernel was to run, whatever "
	"the\n"
	"program called it, and its arguments. ALLOW ran; FAILED was allowed and refused by the kernel, with the "
	"errno; DENY was\n"
	"refused with the errno; KILL was ended. Bytes that could steer a terminal are shown as escapes.\n"
	"Colours are for terminals, and not when NO_COLOR is set. Exit status: 0, or 125 if log itself failed.\n";

enum { TREE = 256, SUMMARY, JSON, FULL, AUDIT, PROGRAM, RULE, DECISION, USER, SINCE, UNTIL, PERFETTO, DOT };

struct options {
	bool denied, json, follow, tree, summary, full;
	struct sp_exec_filter only;
	uid_t user;
	const char *perfetto, *dot; /* files */
	const char *job; /* NULL: not given */
	int64_t lines; /* -1: not given */
	const char *audit;
};

/* What was shown, and what must wait. */
struct progress {
	const struct log_view *view;
	struct sp_error *e;
	int64_t last; /* id */
	bool following, held;
};

static int parse(int argc, char **argv, struct options *options);
static bool parse_decision(const char *text, enum sp_exec_kind *kind);
static bool parse_user(const char *text, uid_t *uid);
static bool is_filtered(const struct sp_exec_filter *only);
static int usage_error(const char *what, const char *word);
static bool parse_number(const char *text, int64_t *number);
static int show(const struct options *options, struct sp_error *e);
static int choose_job(const struct options *options, struct log_view *view, struct sp_error *e);
static int show_execs(struct progress *progress, int64_t last, struct sp_error *e);
static int show_exec(void *data, const struct sp_log_exec *exec);
static int follow(struct progress *progress, int64_t lines, struct sp_error *e);
static void tell(void *data, const char *sentence);
static void tell_damaged(const char *path);

int sp_cmd_log(int argc, char **argv)
{
	struct options options = {.lines = -1};
	struct sp_error e = {0};

	int status = parse(argc, argv, &options);
	if (status >= 0)
		return status;
	if (show(&options, &e) == 0)
		return 0;
	fputs("sallyport log: ", stderr);
	sp_print_safe(stderr, e.text, strlen(e.text));
	fputc('\n', stderr);
	return SP_EXIT_FAILURE;
}

/* The exit status, or -1 to go on. */
static int parse(int argc, char **argv, struct options *options)
{
	static const struct option table[] = {
		{"denied", no_argument, NULL, 'd'},
		{"job", required_argument, NULL, 'j'},
		{"lines", required_argument, NULL, 'n'},
		{"follow", no_argument, NULL, 'f'},
		{"tree", no_argument, NULL, TREE},
		{"summary", no_argument, NULL, SUMMARY},
		{"json", no_argument, NULL, JSON},
		{"full", no_argument, NULL, FULL},
		{"program", required_argument, NULL, PROGRAM},
		{"rule", required_argument, NULL, RULE},
		{"decision", required_argument, NULL, DECISION},
		{"user", required_argument, NULL, USER},
		{"since", required_argument, NULL, SINCE},
		{"until", required_argument, NULL, UNTIL},
		{"perfetto", required_argument, NULL, PERFETTO},
		{"dot", required_argument, NULL, DOT},
		{"audit", required_argument, NULL, AUDIT},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int word = 1;

	opterr = 0;
	for (int option; (option = getopt_long(argc, argv, ":dj:n:fh", table, NULL)) != -1; word = optind) {
		switch (option) {
		case 'd':
			options->denied = true;
			break;
		case 'j':
			options->job = optarg;
			break;
		case 'n':
			if (!parse_number(optarg, &options->lines))
				return usage_error("-n takes a number of lines, not", optarg);
			break;
		case 'f':
			options->follow = true;
			break;
		case TREE:
			options->tree = true;
			break;
		case SUMMARY:
			options->summary = true;
			break;
		case JSON:
			options->json = true;
			break;
		case FULL:
			options->full = true;
			break;
		case PROGRAM:
			options->only.program = optarg;
			break;
		case RULE:
			options->only.rule = optarg;
			break;
		case DECISION:
			if (!parse_decision(optarg, &options->only.kind))
				return usage_error("--decision is allow, ask, deny, kill, failed or mismatch, not",
						   optarg);
			break;
		case USER:
			if (!parse_user(optarg, &options->user))
				return usage_error("there is no user", optarg);
			options->only.user = &options->user;
			break;
		case SINCE:
		case UNTIL:
			if (!sp_parse_time(optarg, option == SINCE ? &options->only.since : &options->only.until))
				return usage_error("a time is " SP_WHEN ", not", optarg);
			break;
		case PERFETTO:
			options->perfetto = optarg;
			break;
		case DOT:
			options->dot = optarg;
			break;
		case AUDIT:
			options->audit = optarg;
			break;
		case 'h':
			fputs(help, stdout);
			return 0;
		case ':':
			return usage_error("an argument is missing after", argv[optind - 1]);
		default:
			return usage_error("unknown option", argv[word]);
		}
	}
	if (optind < argc)
		return usage_error("takes no arguments, but was given", argv[optind]);
	const bool whole = options->tree || options->summary || options->perfetto != NULL || options->dot != NULL;
	if (options->tree + options->summary + options->follow + (options->perfetto != NULL) + (options->dot != NULL) >
	    1)
		return usage_error("only one at a time of", "--tree, --summary, --perfetto, --dot and --follow");
	if (whole && (options->denied || options->lines >= 0 || is_filtered(&options->only)))
		return usage_error("neither a filter nor -n goes with", options->tree               ? "--tree"
									: options->summary          ? "--summary"
									: options->perfetto != NULL ? "--perfetto"
												    : "--dot");
	return -1;
}

static bool parse_decision(const char *text, enum sp_exec_kind *kind)
{
	static const char *const names[] = {
		[SP_EXECS_ALLOW] = "allow", [SP_EXECS_ASK] = "ask",       [SP_EXECS_DENY] = "deny",
		[SP_EXECS_KILL] = "kill",   [SP_EXECS_FAILED] = "failed", [SP_EXECS_MISMATCH] = "mismatch",
	};

	for (size_t i = 1; i < sizeof names / sizeof *names; i++) {
		if (strcmp(names[i], text) == 0) {
			*kind = (enum sp_exec_kind)i;
			return true;
		}
	}
	return false;
}

static bool parse_user(const char *text, uid_t *uid)
{
	int64_t number;
	const struct passwd *user = getpwnam(text);

	if (user != NULL) {
		*uid = user->pw_uid;
		return true;
	}
	if (!parse_number(text, &number) || number >= UINT32_MAX)
		return false;
	*uid = (uid_t)number;
	return true;
}

static bool is_filtered(const struct sp_exec_filter *only)
{
	return only->kind != SP_EXECS_ALL || only->program != NULL || only->rule != NULL || only->user != NULL ||
	       only->since != 0 || only->until != 0;
}

static int usage_error(const char *what, const char *word)
{
	fprintf(stderr, "sallyport log: %s ", what);
	sp_print_argument(stderr, word, strlen(word));
	fputs("; `sallyport log --help` says more\n", stderr);
	return SP_EXIT_FAILURE;
}

static bool parse_number(const char *text, int64_t *number)
{
	char *end;

	errno = 0;
	*number = strtoll(text, &end, 10);
	return errno == 0 && end != text && *end == '\0' && *number >= 0 && text[0] >= '0' && text[0] <= '9';
}

static int show(const struct options *options, struct sp_error *e)
{
	cleanup_query struct sp_query *query = NULL;
	struct log_view view = {
		.denied = options->denied,
		.json = options->json,
		.full = options->full,
		.only = options->only,
		.colour = sp_use_colour(),
	};

	int ret = sp_query_open(options->audit, tell, NULL, &query, e);
	if (ret < 0)
		return ret;
	tell_damaged(sp_query_path(query));
	view.query = query;
	ret = choose_job(options, &view, e);
	if (ret < 0)
		return ret;
	if (options->summary)
		return log_summary(&view, e);
	if (options->tree)
		return log_tree(&view, e);
	if (options->perfetto != NULL)
		return log_perfetto(&view, options->perfetto, e);
	if (options->dot != NULL)
		return log_dot(&view, options->dot, e);
	struct progress progress = {.view = &view, .e = e, .following = options->follow};
	int64_t lines = options->lines;
	if (lines < 0)
		lines = options->follow && view.job == 0 ? FOLLOW_LINES : INT64_MAX;
	if (options->follow)
		return follow(&progress, lines, e);
	ret = show_execs(&progress, lines, e);
	if (ret == 0 && options->denied && !options->json && progress.last == 0)
		fputs(view.job != 0 ? "sallyport log: nothing was refused in this job; --job all looks at every job\n"
				    : "sallyport log: nothing was refused\n",
		      stderr);
	return ret;
}

static int ignore_job(void *data, const struct sp_log_job *job)
{
	(void)data;
	(void)job;
	return 0;
}

static int choose_job(const struct options *options, struct log_view *view, struct sp_error *e)
{
	/* Whoever asks for a time or a user thinks of no single job. */
	const bool of_all =
		options->follow || options->only.since != 0 || options->only.until != 0 || options->only.user != NULL;
	const char *job = options->job != NULL ? options->job : of_all ? "all" : "last";

	if (strcmp(job, "all") == 0) {
		if (options->tree || options->perfetto != NULL || options->dot != NULL)
			return sp_fail(e, EINVAL, "--tree, --perfetto and --dot show one job");
		return 0;
	}
	if (strcmp(job, "last") == 0) {
		view->job = sp_query_last_job(view->query, e);
		if (view->job == 0)
			return sp_fail(e, ENOENT, "no job was recorded in %s yet", sp_query_path(view->query));
		return view->job < 0 ? (int)view->job : 0;
	}
	if (!parse_number(job, &view->job) || view->job == 0)
		return sp_fail(e, EINVAL, "--job takes a job's number, `last` or `all`, not %s", job);
	return sp_query_job(view->query, view->job, ignore_job, NULL, e);
}

/* Those after the last that was shown, at most `lines` of them. */
static int show_execs(struct progress *progress, int64_t lines, struct sp_error *e)
{
	struct sp_exec_filter filter = progress->view->only;

	filter.job = progress->view->job;
	filter.refused = progress->view->denied;
	filter.after = progress->last;
	filter.last = lines == INT64_MAX ? 0 : lines;

	progress->held = false;
	if (lines == 0)
		return 0;
	int ret = sp_query_execs(progress->view->query, &filter, show_exec, progress, e);
	return ret < 0 ? ret : 0;
}

static bool recent(int64_t time)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return ((int64_t)now.tv_sec * 1000000000 + now.tv_nsec - time) / 1000000 < RESULT_PATIENCE_MS;
}

/* While following, a line waits for its result, and those behind it with it: what is printed cannot be amended. */
static int show_exec(void *data, const struct sp_log_exec *exec)
{
	struct progress *progress = data;

	if (progress->following && exec->result == SP_RESULT_PENDING && exec->action < SP_DENY && recent(exec->time)) {
		progress->held = true;
		return 1;
	}
	progress->last = exec->id;
	return (progress->view->json ? log_json_exec : log_text_exec)(progress->view, exec, progress->e);
}

/* What tells that there may be something new. */
struct watch {
	int signals, changes; /* fds */
	int spool; /* watch descriptor of the spool's directory; -1: not there */
	char *name; /* the database's base name */
};

static void close_watch(struct watch *watch)
{
	sp_close_fd(&watch->signals);
	sp_close_fd(&watch->changes);
	free(watch->name);
}

static int start_watch(const char *path, struct watch *watch, struct sp_error *e)
{
	cleanup_free char *copy = strdup(path), *spool = NULL;
	sigset_t ends;

	if (copy == NULL || asprintf(&spool, "%s.spool", path) < 0)
		return sp_fail(e, ENOMEM, "out of memory");
	char *slash = strrchr(copy, '/');
	watch->name = strdup(slash != NULL ? slash + 1 : copy);
	if (watch->name == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	if (slash != NULL)
		slash[1] = '\0';
	(void)sigemptyset(&ends);
	(void)sigaddset(&ends, SIGINT);
	(void)sigaddset(&ends, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &ends, NULL);
	watch->signals = signalfd(-1, &ends, SFD_CLOEXEC);
	watch->changes = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (watch->signals < 0 || watch->changes < 0 ||
	    inotify_add_watch(watch->changes, slash != NULL ? copy : ".", IN_MODIFY | IN_CREATE) < 0)
		return sp_fail(e, errno, "cannot watch %s: %s", path, strerror(errno));
	/* A supervisor that is killed closes its spool: there is something to take in. */
	watch->spool = inotify_add_watch(watch->changes, spool, IN_CLOSE_WRITE);
	return 0;
}

/* Waits; false: a signal says that it is over. *died: a supervisor may have died. */
static bool await_change(const struct watch *watch, int timeout_ms, bool *died)
{
	union {
		struct inotify_event event;
		char bytes[16384];
	} buffer;
	struct pollfd fds[] = {{.fd = watch->signals, .events = POLLIN}, {.fd = watch->changes, .events = POLLIN}};
	size_t length = strlen(watch->name);

	for (;;) {
		int ready = poll(fds, 2, timeout_ms);
		if (ready == 0)
			return true;
		if (ready < 0) /* EINTR: stopped and continued */
			continue;
		if (fds[0].revents != 0)
			return false;
		bool changed = false;
		for (ssize_t size; (size = read(watch->changes, &buffer, sizeof buffer)) > 0;) {
			const struct inotify_event *event;
			for (char *at = buffer.bytes; at < buffer.bytes + size; at += sizeof *event + event->len) {
				event = (const struct inotify_event *)at;
				if (event->wd == watch->spool)
					*died = changed = true;
				/* The database and its log; the index beside them changes by mere looking. */
				else if (event->len > 0 && strncmp(event->name, watch->name, length) == 0 &&
					 (event->name[length] == '\0' || strcmp(event->name + length, "-wal") == 0))
					changed = true;
			}
		}
		if (changed)
			return true;
	}
}

static int follow(struct progress *progress, int64_t lines, struct sp_error *e)
{
	sp_cleanup(close_watch) struct watch watch = {.signals = -1, .changes = -1, .spool = -1};
	struct sp_query *query = progress->view->query;
	bool died = false, again = false;

	int ret = start_watch(sp_query_path(query), &watch, e);
	if (ret < 0)
		return ret;
	int64_t newest = sp_query_last_exec(query, e);
	if (newest < 0)
		return (int)newest;
	for (;;) {
		ret = show_execs(progress, lines, e);
		if (ret < 0)
			return ret;
		/* What was there before, and not asked for, is not looked at again. */
		if (!progress->held && progress->last < newest)
			progress->last = newest;
		lines = INT64_MAX;
		if (fflush(stdout) != 0)
			return sp_fail(e, errno, "cannot write to standard output: %s", strerror(errno));
		if (!await_change(&watch, progress->held || again ? RECHECK_MS : -1, &died))
			return 0;
		/* Twice, since its lock may go a moment after its file is closed. */
		if (died || again)
			(void)sp_query_recover(query, NULL);
		again = died;
		died = false;
	}
}

static void tell(void *data, const char *sentence)
{
	(void)data;
	fputs("sallyport log: ", stderr);
	sp_print_safe(stderr, sentence, strlen(sentence));
	fputc('\n', stderr);
}

/* Whoever took them in may have had nobody to tell: said until somebody has removed them. */
static void tell_damaged(const char *path)
{
	cleanup_free char *spool = NULL;
	size_t count = 0;

	if (asprintf(&spool, "%s.spool", path) < 0) {
		spool = NULL;
		return;
	}
	cleanup_directory DIR *directory = opendir(spool);
	for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
		const char *dot = strrchr(entry->d_name, '.');
		count += dot != NULL && strcmp(dot, ".corrupt") == 0;
	}
	if (count == 0)
		return;
	fprintf(stderr, "sallyport log: %zu damaged spool file%s in ", count, count == 1 ? "" : "s");
	sp_print_argument(stderr, spool, strlen(spool));
	fputs(": some records are lost; remove them when you have seen to it\n", stderr);
}
