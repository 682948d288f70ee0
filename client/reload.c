/* sallyport reload: the policy files of running jobs are read again. A file that is not good changes nothing. */
#include "client.h"
#include "supervisors.h"
#include "util/cleanup.h"
#include "util/printable.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum { EXIT_BAD_POLICY = 2, READ_WITHIN = 60000 /* milliseconds */ };

static const char usage[] =
	"Usage: sallyport reload [--audit FILE] [JOB]...\n"
	"Reads the policy of each JOB again, from the file it came from; of every job of this user if none is named.\n"
	"The file is parsed, checked and its tests are run; then it decides every exec from there on, as the next\n"
	"generation. A file that is not good changes nothing. Launch, limits, filesystem, network, syscalls and\n"
	"tracking stay as they were when the job began.\n"
	"\n"
	"JOB is what `sallyport ps` shows as its id, its number in `sallyport log`, or the process id of its\n"
	"supervisor.\n"
	"\n"
	"      --audit FILE   the audit database (default: $XDG_STATE_HOME/sallyport/audit.db)\n"
	"      --help         this text\n"
	"\n"
	"Exit status: 0; 1 if there is no such job; 2 if a file is not good; 125 if sallyport itself failed.\n";

struct request {
	int status;
};

static int worse(int a, int b)
{
	return a > b ? a : b;
}

static int reload(struct sp_supervisor *s, const char *job, const char *shown)
{
	cleanup_reply struct sp_reply reply = {0};

	s->caller.patience = READ_WITHIN;
	int err = sp_caller_call(&s->caller, "io.sallyport.Reload", job != NULL ? json_pack("{ss}", "job", job) : NULL,
				 &reply);
	if (err == 0 && reply.error != NULL && strcmp(reply.error, "io.sallyport.BadPolicy") == 0) {
		const char *message = json_string_value(json_object_get(reply.parameters, "message"));

		(void)fprintf(stderr, "sallyport reload: job %s keeps its policy: ", shown);
		sp_print_safe(stderr, message != NULL ? message : "", message != NULL ? strlen(message) : 0);
		(void)fputc('\n', stderr);
		return EXIT_BAD_POLICY;
	}
	if (err != 0 || reply.error != NULL)
		return sp_explain("reload", s, err, &reply);
	(void)printf("job %s: generation %" JSON_INTEGER_FORMAT "\n", shown,
		     json_integer_value(json_object_get(reply.parameters, "generation")));
	return 0;
}

static bool reload_each(struct sp_supervisor *s, void *data)
{
	struct request *r = data;

	r->status = worse(r->status, reload(s, NULL, s->service ? "of the service" : s->job));
	return true;
}

static int reload_one(const char *audit, const char *word)
{
	cleanup_supervisor struct sp_supervisor s;
	char id[SP_JOB_ID];
	int status = sp_job_find("reload", audit, word, &s, id);

	return status != 0 ? status : reload(&s, id, id);
}

static int refuse(const char *what, const char *word)
{
	(void)fprintf(stderr, "sallyport reload: %s ", what);
	sp_print_argument(stderr, word, strlen(word));
	(void)fputs("; see sallyport reload --help\n", stderr);
	return SP_EXIT_FAILURE;
}

int sp_cmd_reload(int argc, char **argv)
{
	enum { AUDIT = 256 };
	static const struct option options[] = {
		{"audit", required_argument, NULL, AUDIT},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct request r = {0};
	const char *audit = NULL;
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		switch (c) {
		case AUDIT:
			audit = optarg;
			break;
		case 'h':
			return fputs(usage, stdout) < 0 ? SP_EXIT_FAILURE : 0;
		default:
			return refuse(c == ':' ? "a value is missing after" : "unknown option", argv[optind - 1]);
		}
	}
	if (optind >= argc)
		sp_supervisors_each(reload_each, &r);
	for (; optind < argc; optind++)
		r.status = worse(r.status, reload_one(audit, argv[optind]));
	return r.status;
}
