/* sallyport kill, freeze, thaw, wait: one call about each job that is named, and its answer waited for. */
#include "client.h"
#include "supervisors.h"
#include "util/cleanup.h"
#include "util/json.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>

enum { WAKE_AGAIN_AFTER = 100 /* milliseconds */ };

enum { EXIT_NO_JOB = 1, EXIT_STILL_RUNNING = 2, EXIT_BY_SIGNAL = 128 };

struct steering {
	const char *name, *method, *usage;
	bool ends; /* it is good news that there is no such job any more */
	int patience; /* milliseconds; -1: as long as it takes */
	/* What became of it: an exit status. */
	int (*tell)(const char *id, const json_t *parameters);
};

#define JOB_IS                                                                                                         \
	"\n"                                                                                                           \
	"JOB is what `sallyport ps` shows as its id, its number in `sallyport log`, or the process id of its\n"        \
	"supervisor.\n"                                                                                                \
	"\n"                                                                                                           \
	"      --audit FILE   the audit database (default: $XDG_STATE_HOME/sallyport/audit.db)\n"                      \
	"      --json         one JSON object a line for each job\n"                                                   \
	"      --help         this text\n"                                                                             \
	"\n"

struct request {
	const struct steering *what;
	const char *audit;
	bool json;
};

/* --- one job --- */

/* The supervisor may be stopped, as its job was by job control. That the connection stands says that the pid is still its own. */
static int wake(const struct sp_supervisor *s)
{
	struct pollfd connection = {.fd = s->caller.socket};
	cleanup_close int supervisor = pidfd_open(s->pid, 0);

	if (supervisor < 0 || poll(&connection, 1, 0) != 0)
		return -1;
	(void)pidfd_send_signal(supervisor, SIGCONT, NULL, 0);
	return sp_steal_fd(&supervisor);
}

/* Until one of them is readable, or for some milliseconds; -1: as long as it takes. Once to be woken is not enough: the supervisor
 * hears of its job's stop later than we did, and stops then. */
static void await(struct pollfd *fds, nfds_t count, int supervisor, int patience)
{
	while (patience != 0) {
		const int turn = patience < 0 || patience > WAKE_AGAIN_AFTER ? WAKE_AGAIN_AFTER : patience;
		const int ready = poll(fds, count, turn);

		if (ready > 0 || (ready < 0 && errno != EINTR))
			return;
		(void)pidfd_send_signal(supervisor, SIGCONT, NULL, 0);
		patience -= patience > 0 ? turn : 0;
	}
}

static void await_answer(const struct sp_supervisor *s, int supervisor)
{
	struct pollfd fds[] = {
		{.fd = s->caller.socket, .events = POLLIN},
		{.fd = supervisor, .events = POLLIN},
	};

	await(fds, 2, supervisor, s->caller.patience);
}

static void await_end(int supervisor)
{
	struct pollfd end = {.fd = supervisor, .events = POLLIN};

	await(&end, 1, supervisor, -1);
}

static bool is_error(const struct sp_reply *reply, const char *name)
{
	return reply->error != NULL && strcmp(reply->error, name) == 0;
}

static int print_reply(const char *id, const struct sp_reply *reply)
{
	json_t *object = json_deep_copy(reply->parameters);

	(void)sp_json_set_text(object, "job", id);
	int err = sp_json_print(stdout, object);
	json_decref(object);
	return err;
}

static int take_answer(const struct request *r, const struct sp_supervisor *s, const char *id, int err,
		       const struct sp_reply *reply)
{
	if (err == 0 && r->what->ends &&
	    (is_error(reply, "io.sallyport.NoSuchJob") || is_error(reply, "io.sallyport.Ended")))
		return 0; /* it ended just now */
	if (err != 0 || reply->error != NULL)
		return sp_explain(r->what->name, s, err, reply);
	if (r->json)
		(void)print_reply(id, reply);
	return r->what->tell != NULL ? r->what->tell(id, reply->parameters) : 0;
}

static int steer(const struct request *r, const char *word)
{
	cleanup_supervisor struct sp_supervisor s;
	cleanup_reply struct sp_reply reply = {0};
	char id[SP_JOB_ID];

	int status = sp_job_find(r->what->name, r->audit, word, &s, id);
	if (status != 0)
		return status;
	s.caller.patience = r->what->patience;
	int err = sp_caller_send(&s.caller, r->what->method, json_pack("{ss}", "job", id), 0, NULL, 0);
	/* Of an embedded run nothing is left to be told when all is recorded: then it has ended, too. */
	cleanup_close int supervisor = r->what->ends && !s.service ? wake(&s) : -1;
	if (err == 0 && supervisor >= 0)
		await_answer(&s, supervisor);
	if (err == 0 || err == -EPIPE)
		err = sp_caller_receive(&s.caller, &reply);
	status = take_answer(r, &s, id, err, &reply);
	if (status == 0 && supervisor >= 0)
		await_end(supervisor);
	return status;
}

/* --- what became of it --- */

static int tell_frozen(const char *id, const json_t *parameters)
{
	const json_int_t running = json_integer_value(json_object_get(parameters, "running"));

	if (running == 0)
		return 0;
	(void)fprintf(stderr, "sallyport freeze: %" JSON_INTEGER_FORMAT " threads of job %s do not stop yet\n", running,
		      id);
	return EXIT_STILL_RUNNING;
}

static int tell_status(const char *id, const json_t *parameters)
{
	const json_t *status = json_object_get(parameters, "status"), *signal = json_object_get(status, "signal");

	(void)id;
	return json_is_integer(signal) ? EXIT_BY_SIGNAL + (int)json_integer_value(signal)
				       : (int)json_integer_value(json_object_get(status, "exit"));
}

/* --- the commands --- */

static int steer_all(const struct steering *what, int argc, char **argv)
{
	enum { AUDIT = 256, JSON };
	static const struct option options[] = {
		{"audit", required_argument, NULL, AUDIT},
		{"json", no_argument, NULL, JSON},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct request r = {.what = what};
	int status = 0, c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		switch (c) {
		case AUDIT:
			r.audit = optarg;
			break;
		case JSON:
			r.json = true;
			break;
		case 'h':
			return fputs(what->usage, stdout) < 0 ? SP_EXIT_FAILURE : 0;
		default:
			return sp_refuse_word(what->name, c == ':' ? "a value is missing after" : "unknown option",
					      argv[optind - 1]);
		}
	}
	if (optind >= argc)
		return sp_refuse_word(what->name, "expected", "JOB");
	for (; optind < argc; optind++) {
		int one = steer(&r, argv[optind]);

		status = status > one ? status : one;
	}
	return status;
}

int sp_cmd_kill(int argc, char **argv)
{
	static const struct steering what = {
		.name = "kill",
		.method = "io.sallyport.Kill",
		.usage = "Usage: sallyport kill [--audit FILE] [--json] JOB...\n"
			 "Kills every process of a job, and returns when none is left.\n" JOB_IS
			 "Exit status: 0 when nothing is alive; 1 if there is no such job; 125 if sallyport itself "
			 "failed.\n",
		.ends = true,
		.patience = -1,
	};

	return steer_all(&what, argc, argv);
}

int sp_cmd_freeze(int argc, char **argv)
{
	static const struct steering what = {
		.name = "freeze",
		.method = "io.sallyport.Freeze",
		.usage = "Usage: sallyport freeze [--audit FILE] [--json] JOB...\n"
			 "Stops every thread of a job where it is, and returns when all stand still. No signal is "
			 "sent: the\n"
			 "programs do not notice, and go on with `sallyport thaw`.\n" JOB_IS
			 "Exit status: 0 when all stand still; 1 if there is no such job; 2 if some do not stop, since "
			 "they are\n"
			 "in a system call that cannot be interrupted; 125 if sallyport itself failed.\n",
		.patience = 15000,
		.tell = tell_frozen,
	};

	return steer_all(&what, argc, argv);
}

int sp_cmd_thaw(int argc, char **argv)
{
	static const struct steering what = {
		.name = "thaw",
		.method = "io.sallyport.Thaw",
		.usage = "Usage: sallyport thaw [--audit FILE] [--json] JOB...\n"
			 "Lets a frozen job go on.\n" JOB_IS
			 "Exit status: 0; 1 if there is no such job; 125 if sallyport itself failed.\n",
		.patience = 15000,
	};

	return steer_all(&what, argc, argv);
}

int sp_cmd_wait(int argc, char **argv)
{
	static const struct steering what = {
		.name = "wait",
		.method = "io.sallyport.Wait",
		.usage = "Usage: sallyport wait [--audit FILE] [--json] JOB...\n"
			 "Returns when the last process of a job is gone.\n" JOB_IS
			 "Exit status: that of the job's command, 128+N if signal N killed it (of several the "
			 "greatest); 1 if\n"
			 "there is no such job; 125 if sallyport itself failed.\n",
		.patience = -1,
		.tell = tell_status,
	};

	return steer_all(&what, argc, argv);
}
