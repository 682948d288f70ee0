/* sallyport approvals, approve, deny: the execs of this user's jobs that wait for a person, and the answers to them. What an answer
 * will be remembered as is shown before it is given. */
#include "client.h"
#include "supervisors.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/json.h"
#include "util/printable.h"
#include "when.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_NOTHING = 1, EXIT_NOT_POSSIBLE = 2, SUPERVISORS_MAX = 256, LOOK_AGAIN_AFTER = 1000 /* milliseconds */ };
#define DEFAULT_EXPIRY "30d"

static const char *text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value != NULL ? value : "";
}

static void print_safe(const char *word)
{
	sp_print_safe(stdout, word, strlen(word));
}

/* --- one approval, shown --- */

static void print_argv(const json_t *approval)
{
	const json_t *argv = json_object_get(approval, "argv");

	/* argv[0] is whatever the program says; what would run is the file. */
	for (size_t i = 0; i < json_array_size(argv); i++) {
		const json_t *word = i > 0 ? json_array_get(argv, i) : json_object_get(approval, "program");

		(void)fputs(i > 0 ? " " : "  ", stdout);
		sp_print_argument(stdout, json_string_value(word), json_string_length(word));
	}
	if (json_object_get(approval, "argv_size") != NULL)
		(void)printf(" ... (%" JSON_INTEGER_FORMAT " bytes in all)",
			     json_integer_value(json_object_get(approval, "argv_size")));
	(void)putchar('\n');
}

static void print_approval(const json_t *approval)
{
	const int64_t left = (json_integer_value(json_object_get(approval, "deadline")) - sp_now()) / 1000000000;

	(void)printf("%s  ", text(approval, "approval"));
	print_safe(text(approval, "rule"));
	(void)fputs(text(approval, "reason")[0] != '\0' ? ": " : "", stdout);
	print_safe(text(approval, "reason"));
	(void)printf("  [%s in %" PRId64 " s]\n", text(approval, "otherwise"), left > 0 ? left : 0);
	print_argv(approval);
	(void)printf("  by process %" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(approval, "pid")));
	if (json_object_get(approval, "caller") != NULL) {
		(void)fputs(", which runs ", stdout);
		print_safe(text(approval, "caller"));
	}
	if (json_object_get(approval, "cwd") != NULL) {
		(void)fputs(", in ", stdout);
		print_safe(text(approval, "cwd"));
	}
	(void)putchar('\n');
}

/* --- all of them --- */

struct collection {
	json_t *approvals; /* array */
	bool failed;
};

static bool collect(struct sp_supervisor *s, void *data)
{
	struct collection *c = data;
	cleanup_reply struct sp_reply reply;
	int err = sp_caller_call(&s->caller, "io.sallyport.Approvals", NULL, &reply);

	if (err == 0 && reply.error == NULL)
		(void)json_array_extend(c->approvals, json_object_get(reply.parameters, "approvals"));
	else if (err != -ECONNRESET)
		(void)sp_explain("approvals", s, err, &reply);
	return true;
}

static json_t *collect_all(void)
{
	struct collection c = {.approvals = json_array()};

	sp_supervisors_each(collect, &c);
	return c.approvals;
}

static int print_one(const json_t *approval, bool json)
{
	if (json)
		return sp_json_print(stdout, approval);
	print_approval(approval);
	return 0;
}

/* --- following --- */

struct follower {
	struct sp_supervisor supervisors[SUPERVISORS_MAX];
	size_t count;
	json_t *shown; /* object: ids of those that were waiting when last heard of; the value is its supervisor's pid */
	bool json;
};

static bool is_followed(const struct follower *f, const struct sp_supervisor *s)
{
	for (size_t i = 0; i < f->count; i++)
		if (f->supervisors[i].pid == s->pid)
			return true;
	return false;
}

static bool follow(struct sp_supervisor *s, void *data)
{
	struct follower *f = data;

	if (f->count == SUPERVISORS_MAX || is_followed(f, s) ||
	    sp_caller_send(&s->caller, "io.sallyport.Approvals", NULL, SP_CALL_MORE, NULL, 0) != 0)
		return true;
	f->supervisors[f->count++] = *s;
	s->caller.socket = -1; /* moved */
	return true;
}

static void unfollow(struct follower *f, size_t i)
{
	sp_supervisor_close(&f->supervisors[i]);
	f->supervisors[i] = f->supervisors[--f->count];
}

static bool has(const json_t *approvals, const char *id)
{
	for (size_t i = 0; i < json_array_size(approvals); i++)
		if (strcmp(text(json_array_get(approvals, i), "approval"), id) == 0)
			return true;
	return false;
}

/* Those that are new, and that somebody has answered, or that need no answer any more. */
static void show_changes(struct follower *f, pid_t supervisor, const json_t *approvals)
{
	const char *id;
	json_t *pid;
	void *next;

	json_object_foreach_safe(f->shown, next, id, pid)
	{
		if (json_integer_value(pid) != supervisor || has(approvals, id))
			continue;
		if (!f->json)
			(void)printf("%s  is not asked any more\n", id);
		(void)json_object_del(f->shown, id);
	}
	for (size_t i = 0; i < json_array_size(approvals); i++) {
		const json_t *approval = json_array_get(approvals, i);

		if (json_object_get(f->shown, text(approval, "approval")) != NULL)
			continue;
		(void)print_one(approval, f->json);
		(void)json_object_set_new(f->shown, text(approval, "approval"), json_integer(supervisor));
	}
	(void)fflush(stdout);
}

/* Answers of that supervisor. False: it is gone. */
static bool hear(struct follower *f, struct sp_supervisor *s)
{
	cleanup_reply struct sp_reply reply = {0};

	s->caller.patience = 5000;
	int err = sp_caller_receive(&s->caller, &reply);
	if (err == 0 && reply.error == NULL)
		show_changes(f, s->pid, json_object_get(reply.parameters, "approvals"));
	return err == 0 && reply.error == NULL && reply.continues;
}

static int follow_all(bool json)
{
	static struct follower f;
	struct pollfd fds[SUPERVISORS_MAX];

	f.json = json;
	f.shown = json_object();
	while (!ferror(stdout)) {
		sp_supervisors_each(follow, &f);
		for (size_t i = 0; i < f.count; i++)
			fds[i] = (struct pollfd){.fd = f.supervisors[i].caller.socket, .events = POLLIN};
		if (poll(fds, f.count, LOOK_AGAIN_AFTER) < 0 && errno != EINTR)
			break;
		for (size_t i = f.count; i-- > 0;) {
			if ((fds[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0 && !hear(&f, &f.supervisors[i])) {
				show_changes(&f, f.supervisors[i].pid, NULL);
				unfollow(&f, i);
			}
		}
	}
	return SP_EXIT_FAILURE;
}

static int refuse(const char *command, const char *what, const char *word)
{
	(void)fprintf(stderr, "sallyport %s: %s ", command, what);
	sp_print_argument(stderr, word, strlen(word));
	(void)fprintf(stderr, "; see sallyport %s --help\n", command);
	return SP_EXIT_FAILURE;
}

static const char approvals_usage[] =
	"Usage: sallyport approvals [-f] [--json]\n"
	"Lists the execs of this user's jobs that wait for a person: their ids, the rule that asks, what would run,\n"
	"who asks, and what becomes of it if nobody answers.\n"
	"\n"
	"  -f, --follow   go on, and show each that is new, and each that needs no answer any more\n"
	"      --json     one JSON object a line\n"
	"  -h, --help     this text\n"
	"\n"
	"Exit status: 0 if something waits; 1 if nothing does; 125 if sallyport itself failed.\n";

int sp_cmd_approvals(int argc, char **argv)
{
	enum { JSON = 256 };
	static const struct option options[] = {
		{"follow", no_argument, NULL, 'f'},
		{"json", no_argument, NULL, JSON},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	bool go_on = false, json = false;
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":fh", options, NULL)) != -1) {
		switch (c) {
		case 'f':
			go_on = true;
			break;
		case JSON:
			json = true;
			break;
		case 'h':
			return fputs(approvals_usage, stdout) < 0 ? SP_EXIT_FAILURE : 0;
		default:
			return refuse("approvals", "unknown option", argv[optind - 1]);
		}
	}
	if (optind < argc)
		return refuse("approvals", "unexpected", argv[optind]);
	if (go_on)
		return follow_all(json);
	json_t *all = collect_all();
	const size_t count = json_array_size(all);
	for (size_t i = 0; i < count; i++)
		(void)print_one(json_array_get(all, i), json);
	json_decref(all);
	return count > 0 ? 0 : EXIT_NOTHING;
}

/* --- answering --- */

struct reply_to {
	const char *command, *method, *action;
	const char *id; /* as it was given */
	const char *remember, *scope, *expires, *reason;
	bool yes;
};

/* The whole id, the beginning of one, or the number behind the dash: if there is one only. */
static bool is_meant(const char *id, const char *word)
{
	const char *dash = strchr(id, '-');

	return strncmp(id, word, strlen(word)) == 0 || (dash != NULL && strcmp(dash + 1, word) == 0);
}

static int choose(const struct reply_to *r, const json_t *all, const json_t **chosen)
{
	size_t found = 0;

	*chosen = NULL;
	for (size_t i = 0; i < json_array_size(all); i++) {
		const json_t *approval = json_array_get(all, i);

		if (!is_meant(text(approval, "approval"), r->id))
			continue;
		found++;
		*chosen = approval;
		if (strcmp(text(approval, "approval"), r->id) == 0)
			return 0;
	}
	if (found == 1)
		return 0;
	(void)fprintf(stderr, "sallyport %s: %s ", r->command,
		      found == 0 ? "nothing waits for an answer by the name" : "there are several that begin with");
	sp_print_argument(stderr, r->id, strlen(r->id));
	(void)fputc('\n', stderr);
	return EXIT_NOTHING;
}

static int explain(const struct reply_to *r, const struct sp_supervisor *s, int err, const struct sp_reply *reply)
{
	const int status = sp_explain(r->command, s, err, reply);

	if (err != 0 || reply->error == NULL)
		return status;
	return strcmp(reply->error, "io.sallyport.NoSuchApproval") == 0 ? EXIT_NOTHING
	       : strcmp(reply->error, "io.sallyport.NotPossible") == 0  ? EXIT_NOT_POSSIBLE
									: status;
}

static bool confirm(const char *question)
{
	char line[16] = "";

	(void)printf("%s [y/N] ", question);
	(void)fflush(stdout);
	return fgets(line, sizeof line, stdin) != NULL && (line[0] == 'y' || line[0] == 'Y');
}

/* What is shown is what will be remembered: the supervisor is told what was shown. */
static int show_rule(const struct reply_to *r, struct sp_supervisor *s, const char *id, json_t *parameters)
{
	cleanup_reply struct sp_reply reply;
	int err =
		sp_caller_call(&s->caller, "io.sallyport.Preview",
			       json_pack("{ss ss ss}", "approval", id, "action", r->action, "scope", r->scope), &reply);

	if (err != 0 || reply.error != NULL)
		return explain(r, s, err, &reply);
	const char *rule = text(reply.parameters, "rule");
	(void)printf("Remembered %s: ", strcmp(r->remember, "job") == 0    ? "for this job"
					: strcmp(r->expires, "never") == 0 ? "for good"
									   : r->expires);
	print_safe(rule);
	(void)putchar('\n');
	(void)json_object_set_new(parameters, "rule", json_string(rule));
	if (!r->yes && isatty(STDIN_FILENO) && !confirm("Is that right?"))
		return EXIT_NOTHING;
	return 0;
}

static int add_memory(const struct reply_to *r, struct sp_supervisor *s, const char *id, json_t *parameters)
{
	if (strcmp(r->remember, "once") == 0)
		return 0;
	(void)json_object_set_new(parameters, "remember", json_string(r->remember));
	(void)json_object_set_new(parameters, "scope", json_string(r->scope));
	int64_t age;
	if (strcmp(r->remember, "always") == 0 && strcmp(r->expires, "never") != 0) {
		if (!sp_parse_age(r->expires, &age))
			return refuse(r->command, "--for takes an age (12h, 30d) or never, not", r->expires);
		(void)json_object_set_new(parameters, "expires", json_integer(sp_now() + age));
	}
	return show_rule(r, s, id, parameters);
}

struct owner {
	const char *job;
	struct sp_supervisor *found;
};

static bool is_not_owner(struct sp_supervisor *s, void *data)
{
	struct owner *owner = data;

	if (!s->service && strcmp(s->job, owner->job) != 0)
		return true;
	if (s->service) {
		cleanup_reply struct sp_reply reply;
		if (sp_caller_call(&s->caller, "io.sallyport.Inspect", json_pack("{ss}", "job", owner->job), &reply) !=
			    0 ||
		    reply.error != NULL)
			return true;
	}
	*owner->found = *s;
	s->caller.socket = -1; /* moved */
	return false;
}

static int send_answer(const struct reply_to *r, const json_t *approval)
{
	cleanup_supervisor struct sp_supervisor s = {.caller = {.socket = -1}};
	struct owner owner = {.job = text(approval, "job"), .found = &s};
	cleanup_reply struct sp_reply reply = {0};
	const char *id = text(approval, "approval");

	sp_supervisors_each(is_not_owner, &owner);
	if (s.caller.socket < 0) {
		(void)fprintf(stderr, "sallyport %s: its job has ended\n", r->command);
		return EXIT_NOTHING;
	}
	json_t *parameters = json_pack("{ss}", "approval", id);
	if (r->reason != NULL)
		(void)json_object_set_new(parameters, "reason", json_string(r->reason));
	print_approval(approval);
	int status = add_memory(r, &s, id, parameters);
	if (status != 0) {
		json_decref(parameters);
		return status;
	}
	int err = sp_caller_call(&s.caller, r->method, parameters, &reply);
	return err != 0 || reply.error != NULL ? explain(r, &s, err, &reply) : 0;
}

static int reply_to(const struct reply_to *r)
{
	json_t *all = collect_all();
	const json_t *approval;

	int status = choose(r, all, &approval);
	if (status == 0)
		status = send_answer(r, approval);
	json_decref(all);
	return status;
}

#define USAGE(command, reason)                                                                                         \
	"Usage: sallyport " command " [OPTION]... ID\n"                                                                \
	"Answers what `sallyport approvals` shows. ID may be the beginning of one, or its number behind the dash,\n"   \
	"if that is the only one.\n"                                                                                   \
	"\n"                                                                                                           \
	"      --remember WHAT   once (default): this exec. job: as long as its job runs. always: also in other "      \
	"jobs\n"                                                                                                       \
	"                        under the same policy file\n"                                                         \
	"      --scope SCOPE     what is remembered: exact (default): the same program and arguments. words: the "     \
	"same\n"                                                                                                       \
	"                        first word that is no option. program: the program, whatever its arguments\n"         \
	"      --for AGE         how long `always` is: 12h, " DEFAULT_EXPIRY " (default), never\n"                     \
	"  -y, --yes             do not ask whether the rule that is shown is right\n" reason                          \
	"  -h, --help            this text\n"                                                                          \
	"\n"                                                                                                           \
	"The rule that will be remembered is shown before; it answers only where the rule that asks would ask "        \
	"again.\n"                                                                                                     \
	"\n"                                                                                                           \
	"Exit status: 0; 1 if nothing of that name waits, or you said no; 2 if it cannot be remembered so (nothing "   \
	"is\n"                                                                                                         \
	"answered then); 125 if sallyport itself failed.\n"

static const char approve_usage[] = USAGE("approve", "");
static const char deny_usage[] = USAGE("deny", "      --reason TEXT     why, for whoever reads the record\n");

static bool is_one_of(const char *word, const char *a, const char *b, const char *c)
{
	return strcmp(word, a) == 0 || strcmp(word, b) == 0 || strcmp(word, c) == 0;
}

static int answer_command(struct reply_to *r, const char *usage, int argc, char **argv)
{
	enum { REMEMBER = 256, SCOPE, FOR, REASON };
	static const struct option options[] = {
		{"remember", required_argument, NULL, REMEMBER},
		{"scope", required_argument, NULL, SCOPE},
		{"for", required_argument, NULL, FOR},
		{"reason", required_argument, NULL, REASON},
		{"yes", no_argument, NULL, 'y'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c;

	r->remember = "once";
	r->scope = "exact";
	r->expires = DEFAULT_EXPIRY;
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":yh", options, NULL)) != -1) {
		switch (c) {
		case REMEMBER:
			r->remember = optarg;
			break;
		case SCOPE:
			r->scope = optarg;
			break;
		case FOR:
			r->expires = optarg;
			break;
		case REASON:
			r->reason = optarg;
			break;
		case 'y':
			r->yes = true;
			break;
		case 'h':
			return fputs(usage, stdout) < 0 ? SP_EXIT_FAILURE : 0;
		default:
			return refuse(r->command, c == ':' ? "a value is missing after" : "unknown option",
				      argv[optind - 1]);
		}
	}
	if (r->reason != NULL && strcmp(r->command, "deny") != 0)
		return refuse(r->command, "unknown option", "--reason");
	if (!is_one_of(r->remember, "once", "job", "always"))
		return refuse(r->command, "--remember takes once, job or always, not", r->remember);
	if (!is_one_of(r->scope, "exact", "words", "program"))
		return refuse(r->command, "--scope takes exact, words or program, not", r->scope);
	if (argc - optind != 1 || argv[optind][0] == '\0')
		return refuse(r->command, "expected one", "ID");
	r->id = argv[optind];
	return reply_to(r);
}

int sp_cmd_approve(int argc, char **argv)
{
	struct reply_to r = {.command = "approve", .method = "io.sallyport.Approve", .action = "allow"};

	return answer_command(&r, approve_usage, argc, argv);
}

int sp_cmd_deny(int argc, char **argv)
{
	struct reply_to r = {.command = "deny", .method = "io.sallyport.Deny", .action = "deny"};

	return answer_command(&r, deny_usage, argc, argv);
}
