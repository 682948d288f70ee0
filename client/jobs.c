/* sallyport ps and sallyport kill: the jobs that run, by their control sockets (control.h). */
#include "audit/query.h"
#include "client.h"
#include "control.h"
#include "util/cleanup.h"
#include "util/json.h"
#include "util/printable.h"
#include "util/proc.h"

#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>

enum { EXIT_NO_JOB = 1, ANSWER_WITHIN = 5 /* seconds; for ps */, ID_LENGTH = 16 };

static const char ps_usage[] =
	"Usage: sallyport ps [--json]\n"
	"Lists the jobs of this user that run now: id, supervisor, start, processes, policy and command.\n"
	"\n"
	"      --json   one JSON object a line\n"
	"      --help   this text\n";

static const char kill_usage[] =
	"Usage: sallyport kill [--audit FILE] JOB...\n"
	"Kills every process of a job, and returns when none is left.\n"
	"\n"
	"JOB is what `sallyport ps` shows as its id, its number in `sallyport log`, or the process id of its\n"
	"supervisor.\n"
	"\n"
	"      --audit FILE   the audit database (default: $XDG_STATE_HOME/sallyport/audit.db)\n"
	"      --help         this text\n"
	"\n"
	"Exit status: 0 when nothing is alive; 1 if there is no such job; 125 if sallyport itself failed.\n";

/* --- sockets --- */

/* To the supervisor of that name; -1: there is none, and what a dead one has left is taken away. */
static int connect_to(int directory, const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char path[SP_PROC_NAME];
	cleanup_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	(void)snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", sp_proc_own_fd(path, directory), name);
	if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
		return sp_steal_fd(&fd);
	if (errno == ECONNREFUSED)
		(void)unlinkat(directory, name, 0);
	return -1;
}

static bool ask(int socket, enum sp_control_request request)
{
	return send(socket, &(char){(char)request}, 1, MSG_NOSIGNAL) == 1;
}

/* Who listens. 0: not known. */
static pid_t supervisor_of(int socket)
{
	struct ucred peer;
	socklen_t size = sizeof peer;

	return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.pid : 0;
}

static bool is_id(const char *word)
{
	return strlen(word) == ID_LENGTH && strspn(word, "0123456789abcdef") == ID_LENGTH;
}

/* Calls visit with a connection to each job that runs until it returns true. */
static void each_job(bool (*visit)(int socket, void *data), void *data)
{
	int fd = sp_control_directory();
	if (fd < 0)
		return;
	cleanup_directory DIR *directory = fdopendir(fd);
	bool enough = false;

	for (const struct dirent *entry; !enough && directory != NULL && (entry = readdir(directory)) != NULL;) {
		cleanup_close int socket = is_id(entry->d_name) ? connect_to(fd, entry->d_name) : -1;

		enough = socket >= 0 && visit(socket, data);
	}
}

/* --- ps --- */

static void print_start(int64_t nanoseconds)
{
	const time_t seconds = (time_t)(nanoseconds / 1000000000);
	struct tm local;
	char text[32];

	(void)strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", localtime_r(&seconds, &local));
	(void)printf("%-19s  ", text);
}

static void print_row(const json_t *job)
{
	const json_t *command = json_object_get(job, "command");
	const char *policy = json_string_value(json_object_get(job, "policy"));
	size_t i;
	json_t *word;

	(void)printf("%-16s  %10" JSON_INTEGER_FORMAT "  ", json_string_value(json_object_get(job, "job")),
		     json_integer_value(json_object_get(job, "supervisor")));
	print_start(json_integer_value(json_object_get(job, "started")));
	(void)printf("%9" JSON_INTEGER_FORMAT "  %-10s ", json_integer_value(json_object_get(job, "processes")),
		     policy != NULL ? policy : "-");
	json_array_foreach(command, i, word)
	{
		(void)putchar(' ');
		sp_print_argument(stdout, json_string_value(word), json_string_length(word));
	}
	(void)putchar('\n');
}

struct table {
	bool json, headed;
};

static bool show_job(int socket, void *data)
{
	const struct timeval patience = {.tv_sec = ANSWER_WITHIN};
	struct table *table = data;
	cleanup_free char *answer = malloc(SP_CONTROL_MESSAGE);

	/* A stopped supervisor does not answer: the list goes on without it. */
	(void)setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	ssize_t size =
		answer != NULL && ask(socket, SP_CONTROL_SHOW) ? recv(socket, answer, SP_CONTROL_MESSAGE, 0) : -1;
	json_t *job = size > 0 ? json_loadb(answer, (size_t)size, 0, NULL) : NULL;
	if (job == NULL) {
		(void)fprintf(stderr, "sallyport ps: supervisor %d does not answer\n", supervisor_of(socket));
		return false;
	}
	if (!table->json && !table->headed)
		(void)printf("%-16s  %10s  %-19s  %9s  %-10s  %s\n", "JOB", "SUPERVISOR", "STARTED", "PROCESSES",
			     "POLICY", "COMMAND");
	table->headed = true;
	if (table->json)
		(void)sp_json_print(stdout, job);
	else
		print_row(job);
	json_decref(job);
	return false;
}

static int refuse(const char *command, const char *what, const char *word)
{
	(void)fprintf(stderr, "sallyport %s: %s ", command, what);
	sp_print_argument(stderr, word, strlen(word));
	(void)fprintf(stderr, "; see sallyport %s --help\n", command);
	return SP_EXIT_FAILURE;
}

int sp_cmd_ps(int argc, char **argv)
{
	struct table table = {0};

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return fputs(ps_usage, stdout) < 0 ? SP_EXIT_FAILURE : 0;
		if (strcmp(argv[i], "--json") != 0)
			return refuse("ps", "unknown argument", argv[i]);
		table.json = true;
	}
	each_job(show_job, &table);
	return 0;
}

/* --- kill: which job --- */

static bool read_decimal(const char *word, int64_t *number)
{
	char *end;

	errno = 0;
	*number = strtoll(word, &end, 10);
	return errno == 0 && word[0] >= '0' && word[0] <= '9' && *end == '\0' && *number > 0;
}

static int take_key(void *data, const struct sp_log_job *job)
{
	*(uint64_t *)data = job->key;
	return 0;
}

static int connect_by_id(const char *id)
{
	cleanup_close int directory = sp_control_directory();

	return directory >= 0 ? connect_to(directory, id) : -1;
}

/* As `sallyport log` counts. -1: there is no such job, or it does not run. */
static int connect_by_number(const char *audit, int64_t number)
{
	struct sp_query *query = NULL;
	char id[ID_LENGTH + 1];
	uint64_t key = 0;

	int err = sp_query_open(audit, NULL, NULL, &query, NULL);
	if (err == 0)
		err = sp_query_job(query, number, take_key, &key, NULL);
	sp_query_close(query);
	(void)snprintf(id, sizeof id, "%016" PRIx64, key);
	return err == 0 ? connect_by_id(id) : -1;
}

struct search {
	pid_t supervisor;
	int found;
};

static bool is_supervisor(int socket, void *data)
{
	struct search *search = data;

	if (supervisor_of(socket) == search->supervisor)
		search->found = fcntl(socket, F_DUPFD_CLOEXEC, 0);
	return search->found >= 0;
}

static int connect_by_pid(int64_t pid)
{
	struct search search = {.supervisor = (pid_t)pid, .found = -1};

	if (pid <= INT32_MAX)
		each_job(is_supervisor, &search);
	return search.found;
}

/* An id first: 16 digits are never a number of either kind. */
static int find_job(const char *audit, const char *word)
{
	int64_t number;

	if (is_id(word))
		return connect_by_id(word);
	if (!read_decimal(word, &number))
		return -1;
	int socket = connect_by_number(audit, number);
	return socket >= 0 ? socket : connect_by_pid(number);
}

/* --- kill: it, and all of it --- */

/* It may be stopped, as its job was by job control. That the connection stands says that the pid is still its own. */
static int wake(int socket)
{
	struct pollfd connection = {.fd = socket};
	cleanup_close int supervisor = pidfd_open(supervisor_of(socket), 0);

	if (supervisor < 0 || poll(&connection, 1, 0) != 0)
		return -1;
	(void)pidfd_send_signal(supervisor, SIGCONT, NULL, 0);
	return sp_steal_fd(&supervisor);
}

static void await_end(int supervisor)
{
	struct pollfd end = {.fd = supervisor, .events = POLLIN};

	while (supervisor >= 0 && poll(&end, 1, -1) < 0 && errno == EINTR)
		continue;
}

static int kill_job(const char *audit, const char *word)
{
	cleanup_close int socket = find_job(audit, word);
	char answer = 0;
	ssize_t size;

	if (socket < 0) {
		(void)fputs("sallyport kill: no job ", stderr);
		sp_print_argument(stderr, word, strlen(word));
		(void)fputs(" is running\n", stderr);
		return EXIT_NO_JOB;
	}
	if (!ask(socket, SP_CONTROL_KILL))
		return 0; /* it ended just now */
	cleanup_close int supervisor = wake(socket);
	/* ECONNRESET: it did not read our request, since its job was empty already; the answer is behind that. */
	do {
		size = recv(socket, &answer, 1, 0);
	} while (size < 0 && (errno == EINTR || errno == ECONNRESET));
	if (size == 1 && answer == SP_CONTROL_EMPTY) {
		await_end(supervisor); /* then all is recorded, too */
		return 0;
	}
	(void)fprintf(stderr, "sallyport kill: the supervisor of job %s ended before its job was seen to be empty\n",
		      word);
	return SP_EXIT_FAILURE;
}

int sp_cmd_kill(int argc, char **argv)
{
	enum { AUDIT = 256 };
	static const struct option options[] = {
		{"audit", required_argument, NULL, AUDIT},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *audit = NULL;
	int status = 0, c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		switch (c) {
		case AUDIT:
			audit = optarg;
			break;
		case 'h':
			return fputs(kill_usage, stdout) < 0 ? SP_EXIT_FAILURE : 0;
		default:
			return refuse("kill", c == ':' ? "a value is missing after" : "unknown option",
				      argv[optind - 1]);
		}
	}
	if (optind >= argc)
		return refuse("kill", "expected", "JOB");
	for (; optind < argc; optind++) {
		int one = kill_job(audit, argv[optind]);

		status = status > one ? status : one;
	}
	return status;
}
