/* sallyport log, for people: one line an exec, and below a refused one why and who asked. Whatever bytes a program
 * chose pass through printable.h on their way. */
#include "log.h"
#include "policy/policy.h"
#include "util/printable.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#define LINE_BYTES 1000
#define ANCESTOR_BYTES 60
#define ANCESTORS 20

static void print_refusal(const struct sp_log_exec *exec);
static int print_ancestor(void *data, const struct sp_log_ancestor *ancestor);
static const char *errno_name(int err, char number[static 16]);
static struct sp_bytes base_name(struct sp_bytes path);
static struct sp_bytes first_argument(struct sp_bytes argv);

int log_text_exec(const struct log_view *view, const struct sp_log_exec *exec, struct sp_error *e)
{
	struct log_verdict verdict = log_verdict(exec);
	size_t printed = 0;

	sp_start_colour(view->colour, SP_DIM);
	log_print_time(exec->time);
	sp_end_colour(view->colour, SP_DIM);
	printf(" %4" PRId64 " %7d ", exec->job, exec->pid != 0 ? exec->pid : exec->tid);
	sp_start_colour(view->colour, verdict.colour);
	printf("%-13s", verdict.text);
	sp_end_colour(view->colour, verdict.colour);
	putchar(' ');
	log_print_command(exec, view->full ? 0 : LINE_BYTES);
	putchar('\n');
	if (!sp_log_refused(exec))
		return 0;
	print_refusal(exec);
	int ret = sp_query_chain(view->query, exec, print_ancestor, &printed, e);
	if (printed > 0)
		putchar('\n');
	return ret < 0 ? ret : 0;
}

static void print_refusal(const struct sp_log_exec *exec)
{
	const char *end = exec->others.data + exec->others.size;

	if (exec->verify == SP_VERIFY_MISMATCH) {
		fputs("    killed before its first instruction: what ran was not what had been approved", stdout);
		if (exec->detail != NULL) {
			fputs(": ", stdout);
			sp_print_safe(stdout, exec->detail, strlen(exec->detail));
		}
		putchar('\n');
	}
	fputs("    rule ", stdout);
	if (exec->rule != NULL)
		sp_print_safe(stdout, exec->rule, strlen(exec->rule));
	if (exec->reason != NULL) {
		fputs(": ", stdout);
		sp_print_safe(stdout, exec->reason, strlen(exec->reason));
	}
	putchar('\n');
	if (exec->others.size > 0)
		fputs("    also matched", stdout);
	for (const char *at = exec->others.data; exec->others.size > 0 && at < end;) {
		size_t length = strnlen(at, (size_t)(end - at));
		putchar(' ');
		sp_print_safe(stdout, at, length);
		at += length + 1;
	}
	if (exec->others.size > 0)
		putchar('\n');
}

static int print_ancestor(void *data, const struct sp_log_ancestor *ancestor)
{
	size_t *printed = data;

	if (*printed == ANCESTORS) {
		fputs(" < …", stdout);
		return 1;
	}
	/* The root, before its first exec, is still the launcher's own code. */
	if (ancestor->program.size == 0)
		return 0;
	fputs((*printed)++ == 0 ? "    asked by " : " < ", stdout);
	struct sp_bytes name = base_name(ancestor->program), first = first_argument(ancestor->argv);
	sp_print_argument(stdout, name.data, name.size);
	if (ancestor->argv.size > first.size + 1) {
		putchar(' ');
		sp_print_argv(stdout, first.data + first.size + 1, ancestor->argv.size - first.size - 1,
			      ANCESTOR_BYTES);
		putchar(' ');
	}
	printf("[%d]", ancestor->pid);
	return 0;
}

struct log_verdict log_verdict(const struct sp_log_exec *exec)
{
	struct log_verdict verdict = {.text = "ALLOW", .colour = SP_GREEN};
	const char *word = NULL;
	char number[16];
	int err = 0;

	if (exec->verify == SP_VERIFY_MISMATCH) {
		word = "KILL MISMATCH";
		verdict.colour = SP_RED;
	} else if (exec->action == SP_KILL) {
		word = "KILL";
		verdict.colour = SP_RED;
	} else if (exec->action == SP_DENY || exec->result == SP_RESULT_DENIED) {
		word = "DENY";
		err = exec->err != 0 ? exec->err : exec->result_err;
		verdict.colour = SP_RED;
	} else if (exec->result == SP_RESULT_FAILED) {
		word = "FAILED";
		err = exec->result_err;
		verdict.colour = SP_YELLOW;
	} else if (exec->result != SP_RESULT_EXECED) {
		static const char *const words[] = {[SP_RESULT_PENDING] = "PENDING",
						    [SP_RESULT_RESTARTED] = "RESTARTED",
						    [SP_RESULT_VANISHED] = "VANISHED"};
		size_t result = (size_t)exec->result;
		word = result < sizeof words / sizeof *words && words[result] != NULL ? words[result] : "UNKNOWN";
		verdict.colour = SP_YELLOW;
	}
	if (word != NULL)
		(void)snprintf(verdict.text, sizeof verdict.text, "%s%s%s", word, err != 0 ? " " : "",
			       err != 0 ? errno_name(err, number) : "");
	return verdict;
}

static const char *errno_name(int err, char number[static 16])
{
	const char *name = strerrorname_np(err);

	(void)snprintf(number, 16, "%d", err);
	return name != NULL ? name : number;
}

void log_print_time(int64_t nanoseconds)
{
	time_t seconds = nanoseconds / 1000000000;
	struct tm local;
	char text[64];

	if (localtime_r(&seconds, &local) == NULL || strftime(text, sizeof text, "%F %T", &local) == 0) {
		printf("%" PRId64, nanoseconds);
		return;
	}
	printf("%s.%03d", text, (int)(nanoseconds % 1000000000 / 1000000));
}

void log_print_command(const struct sp_log_exec *exec, size_t max_bytes)
{
	struct sp_bytes program = exec->resolved.size > 0 ? exec->resolved : exec->path;
	struct sp_bytes first = first_argument(exec->argv);
	struct sp_bytes name = base_name(program), called = base_name(first);
	size_t rest = exec->argv.size > first.size + 1 ? exec->argv.size - first.size - 1 : 0;

	/* The printer of lists, since it can cut. */
	sp_print_argv(stdout, program.data, program.size, max_bytes);
	if (rest > 0) {
		putchar(' ');
		sp_print_argv(stdout, first.data + first.size + 1, rest, max_bytes);
	}
	if (exec->argv.size == 0) {
		fputs(" (without argv[0])", stdout);
	} else if (called.size != name.size || memcmp(called.data, name.data, name.size) != 0) {
		fputs(" (as ", stdout);
		if (first.size == 0)
			fputs("''", stdout);
		sp_print_argv(stdout, first.data, first.size, max_bytes);
		putchar(')');
	}
}

void log_print_status(int64_t ended, int status)
{
	const char *name = WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : NULL;

	if (ended == 0)
		fputs("no exit seen", stdout);
	else if (name != NULL)
		printf("killed by SIG%s", name);
	else if (WIFSIGNALED(status))
		printf("killed by signal %d", WTERMSIG(status));
	else if (WIFEXITED(status))
		printf("exit %d", WEXITSTATUS(status));
	else
		fputs("ended", stdout); /* how, nobody could know (-1) */
}

static struct sp_bytes base_name(struct sp_bytes path)
{
	const char *slash = path.size > 0 ? memrchr(path.data, '/', path.size) : NULL;

	if (slash == NULL || slash == path.data + path.size - 1)
		return path;
	return (struct sp_bytes){.data = slash + 1, .size = (size_t)(path.data + path.size - slash - 1)};
}

static struct sp_bytes first_argument(struct sp_bytes argv)
{
	return (struct sp_bytes){.data = argv.data, .size = argv.size > 0 ? strnlen(argv.data, argv.size) : 0};
}
