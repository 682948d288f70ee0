/* sallyport policy learn: a policy from what recorded jobs did. It is written once it has been read back and has allowed all of
 * that; an existing file is not overwritten unasked, for a person may have worked on it. */
#include "client.h"
#include "policy_commands.h"
#include "review/lesson.h"
#include "util/cleanup.h"
#include "util/printable.h"

#include <fcntl.h>
#include <getopt.h>
#include <string.h>

static const char usage[] =
	"Usage: sallyport policy learn [OPTION]... JOB...\n"
	"Writes a policy under which the jobs of these numbers (or `last`) can run again, and nothing else.\n"
	"\n"
	"  -o, --output FILE   write it there, not to standard output\n"
	"      --force         even if there is such a file\n"
	"      --ask           what a person should see is asked about each time, not allowed\n"
	"      --audit FILE    the audit database (default: $XDG_STATE_HOME/sallyport/audit.db)\n"
	"  -h, --help          this text\n"
	"\n"
	"Places that a person should see are marked `look at this`. Exit status: 0, or 125.\n";

enum { FORCE = 256, ASK, AUDIT };

struct options {
	const char *output, *audit;
	bool force, ask;
	char **jobs;
	int count;
};

static int fail(const char *text)
{
	(void)fputs("sallyport policy learn: ", stderr);
	sp_print_safe(stderr, text, strlen(text));
	(void)fputc('\n', stderr);
	return SP_EXIT_FAILURE;
}

/* The exit status, or -1 to go on. */
static int parse(int argc, char **argv, struct options *options)
{
	static const struct option table[] = {
		{"output", required_argument, NULL, 'o'}, {"force", no_argument, NULL, FORCE},
		{"ask", no_argument, NULL, ASK},          {"audit", required_argument, NULL, AUDIT},
		{"help", no_argument, NULL, 'h'},         {0},
	};

	argv[0] = (char *)"sallyport policy learn"; /* who complains */
	optind = 0;
	for (int option; (option = getopt_long(argc, argv, "o:h", table, NULL)) >= 0;) {
		switch (option) {
		case 'o':
			options->output = optarg;
			break;
		case FORCE:
			options->force = true;
			break;
		case ASK:
			options->ask = true;
			break;
		case AUDIT:
			options->audit = optarg;
			break;
		case 'h':
			(void)fputs(usage, stdout);
			return 0;
		default:
			return SP_EXIT_FAILURE;
		}
	}
	options->jobs = argv + optind;
	options->count = argc - optind;
	return options->count > 0 ? -1 : fail("of which job? `sallyport policy learn --help` says more");
}

static void tell(void *data, const char *sentence)
{
	(void)data;
	(void)fail(sentence);
}

static void free_lesson(struct sp_lesson **lesson)
{
	sp_lesson_free(*lesson);
}

static int take_job(struct sp_lesson *lesson, struct sp_query *query, const char *word, struct sp_error *e)
{
	char *end;
	int64_t number = strcmp(word, "last") == 0 ? sp_query_last_job(query, e) : strtoll(word, &end, 10);

	if (number < 0 && strcmp(word, "last") == 0)
		return (int)number;
	if (number <= 0 || (strcmp(word, "last") != 0 && *end != '\0'))
		return sp_fail(e, EINVAL, "%.60s is not the number of a job", word);
	return sp_lesson_take(lesson, query, number, e);
}

/* What is written is there whole or not at all. */
static int write_file(const struct options *options, const char *text, size_t size, struct sp_error *e)
{
	cleanup_free char *part = NULL;

	if (!options->force && access(options->output, F_OK) == 0)
		return sp_fail(e, EEXIST, "%s is there already; --force overwrites it", options->output);
	if (asprintf(&part, "%s.part", options->output) < 0) {
		part = NULL;
		return sp_fail(e, ENOMEM, "out of memory");
	}
	FILE *file = fopen(part, "we");
	if (file == NULL)
		return sp_fail(e, errno, "%s: %s", part, strerror(errno));
	const bool whole = fwrite(text, 1, size, file) == size;
	if (fclose(file) != 0 || !whole || rename(part, options->output) < 0) {
		(void)sp_fail(e, errno, "%s: %s", options->output, strerror(errno));
		(void)unlink(part);
		return -e->err;
	}
	return 0;
}

static int learn(const struct options *options, struct sp_error *e)
{
	cleanup_query struct sp_query *query = NULL;
	sp_cleanup(free_lesson) struct sp_lesson *lesson = sp_lesson_new();
	struct sp_lesson_summary summary;
	cleanup_free char *text = NULL;
	size_t size;

	if (lesson == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	int ret = sp_query_open(options->audit, tell, NULL, &query, e);
	for (int i = 0; ret == 0 && i < options->count; i++)
		ret = take_job(lesson, query, options->jobs[i], e);
	if (ret < 0)
		return ret;
	FILE *out = open_memstream(&text, &size);
	if (out == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	ret = sp_lesson_write(lesson, out, options->ask, &summary, e);
	if (fclose(out) != 0 && ret == 0)
		ret = sp_fail(e, ENOMEM, "out of memory");
	if (ret < 0)
		return ret;
	if (options->output == NULL)
		(void)fwrite(text, 1, size, stdout);
	else if ((ret = write_file(options, text, size, e)) < 0)
		return ret;
	(void)fprintf(stderr, "sallyport policy learn: %zu programs in %zu execs: %zu rules, %zu to look at\n",
		      summary.programs, summary.execs, summary.rules, summary.notable);
	if (summary.left_out > 0)
		(void)fprintf(stderr,
			      "sallyport policy learn: %zu programs cannot be allowed by name; the file says why\n",
			      summary.left_out);
	return 0;
}

int policy_learn(int argc, char **argv)
{
	struct options options = {0};
	struct sp_error e = {0};

	const int status = parse(argc, argv, &options);
	if (status >= 0)
		return status;
	return learn(&options, &e) == 0 ? 0 : fail(e.text);
}
