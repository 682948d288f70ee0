/* `sallyport log`, as a person or a script calls it: what it shows of real jobs, while they run and after they were
 * killed. */
#include "harness.h"

#include <dirent.h>
#include <jansson.h>
#include <signal.h>
#include <string.h>

static const char policy[] = "version: 1\n"
			     "name: no-id\n"
			     "exec:\n"
			     "  default: allow\n"
			     "  rules:\n"
			     "    - id: who-are-you\n"
			     "      program: id\n"
			     "      action: deny\n"
			     "      errno: EPERM\n"
			     "      reason: Nobody here asks for names.\n";

static struct sp_outcome log_of(struct sp_lab *lab, const char *option, const char *value)
{
	const char *const argv[] = {"log", "--audit", lab->audit, option, value, NULL};

	return sp_client(lab, argv);
}

static void assert_contains(const struct sp_buffer *buffer, const char *text)
{
	cr_assert_not_null(strstr(buffer->data, text), "no \"%s\" in:\n%s", text, buffer->data);
}

static size_t count_lines(const struct sp_outcome *outcome)
{
	size_t lines = 0;

	for (const char *at = outcome->out.data; (at = strchr(at, '\n')) != NULL; at++)
		lines++;
	return lines;
}

static void run_job(struct sp_lab *lab)
{
	sp_set_policy(lab, policy);
	cleanup_outcome struct sp_outcome outcome =
		sp_supervise(lab, NULL, sp_argv("sh", "-c", "sh -c 'id; exit 3'; /bin/true; exit 0"));

	sp_assert_ended(&outcome, 0, "supervised");
}

sp_lab_test(log, tree)
{
	run_job(lab);
	cleanup_outcome struct sp_outcome log = log_of(lab, "--tree", NULL);

	sp_assert_ended(&log, 0, "log --tree");
	assert_contains(&log.out, "├─ ");
	assert_contains(&log.out, "exit 3");
	assert_contains(&log.out, "exit 0");
	assert_contains(&log.out, "DENY EPERM");
	assert_contains(&log.out, "[who-are-you: Nobody here asks for names.]");
}

sp_lab_test(log, summary)
{
	run_job(lab);
	cleanup_outcome struct sp_outcome log = log_of(lab, "--summary", NULL);

	sp_assert_ended(&log, 0, "log --summary");
	assert_contains(&log.out, "policy      no-id");
	assert_contains(&log.out, "ended       exit 0");
	assert_contains(&log.out, " by who-are-you: Nobody here asks for names.");
}

sp_lab_test(log, which_job)
{
	run_job(lab);
	run_job(lab);
	cleanup_outcome struct sp_outcome last = log_of(lab, NULL, NULL);
	cleanup_outcome struct sp_outcome first = log_of(lab, "--job", "1");
	cleanup_outcome struct sp_outcome all = log_of(lab, "--job", "all");
	cleanup_outcome struct sp_outcome three = log_of(lab, "-n", "3");
	cleanup_outcome struct sp_outcome none = log_of(lab, "--job", "3");

	sp_assert_ended(&last, 0, "log");
	cr_assert_eq(count_lines(&first), count_lines(&last));
	cr_assert_eq(count_lines(&all), 2 * count_lines(&last));
	cr_assert_str_neq(first.out.data, last.out.data);
	cr_assert_geq(count_lines(&three), 3);
	cr_assert_lt(count_lines(&three), count_lines(&last));
	sp_assert_ended(&none, 125, "a job that is not there");
	assert_contains(&none.err, "there is no job 3");
}

/* One object a line, each with its keys, whatever form is asked for. */
sp_lab_test(log, json)
{
	static const struct {
		const char *option, *keys[4];
	} forms[] = {
		{"--json", {"argv", "action", "ancestors", "result"}},
		{"--denied", {"rule", "reason", "errno", "resolved"}},
		{"--tree", {"process", "parent", "execs", "exit"}},
		{"--summary", {"policy", "execs", "deny", "refused_by"}},
	};

	run_job(lab);
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		cleanup_outcome struct sp_outcome log = log_of(lab, "--json", forms[i].option);
		size_t lines = 0;

		sp_assert_ended(&log, 0, forms[i].option);
		for (char *rest = log.out.data, *line; (line = strsep(&rest, "\n")) != NULL && *line != '\0'; lines++) {
			json_t *object = json_loads(line, 0, NULL);

			cr_assert(json_is_object(object), "%s: %s", forms[i].option, line);
			for (size_t j = 0; j < 4; j++)
				cr_assert_not_null(json_object_get(object, forms[i].keys[j]), "%s: no %s in %s",
						   forms[i].option, forms[i].keys[j], line);
			json_decref(object);
		}
		cr_assert_gt(lines, 0, "%s", forms[i].option);
	}
}

/* Names, reasons and argv[0] that would like to steer the terminal, in every form of output. */
sp_lab_test(log, safe_in_every_form)
{
	static const char *const forms[] = {"--full", "--denied", "--tree", "--summary"};
	const char *script =
		"cp /bin/true \"$(printf 'x\\033[31m\\n')\"; ./x*; bash -c 'exec -a \"$(printf \"\\033]0;y\\007\")\" "
		"id \"$(printf \"\\xff\\xc2\\x9b\")\"'; id \"$(printf '\\033[2J')\"; true";

	sp_set_policy(lab, policy);
	cleanup_outcome struct sp_outcome job = sp_supervise(lab, NULL, sp_argv("sh", "-c", script));
	sp_assert_ended(&job, 0, "supervised");
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		cleanup_outcome struct sp_outcome log = log_of(lab, forms[i], NULL);

		sp_assert_ended(&log, 0, forms[i]);
		cr_assert_gt(log.out.size, 0);
		for (size_t j = 0; j < log.out.size; j++)
			cr_assert((unsigned char)log.out.data[j] >= 0x20 || log.out.data[j] == '\n', "%s: byte %#x",
				  forms[i], (unsigned char)log.out.data[j]);
		cr_assert_null(strstr(log.out.data, "\xc2\x9b"), "%s", forms[i]);
	}
}

/* What the supervisor could not store before it was killed is there all the same. */
sp_lab_test(log, after_a_kill)
{
	const char *script = sp_text(lab, "echo ready; exec cat");
	struct sp_child child = sp_start(lab, NULL, sp_supervised_argv(lab, sp_argv("sh", "-c", script)));

	cr_assert(sp_await_text(&child, "ready"), "%.2000s", child.err_buffer.data);
	cr_assert_eq(kill(child.pid, SIGKILL), 0);
	cleanup_outcome struct sp_outcome outcome = sp_finish(&child);
	cleanup_outcome struct sp_outcome log = log_of(lab, NULL, NULL);
	cleanup_outcome struct sp_outcome summary = log_of(lab, "--summary", NULL);

	cr_assert_eq(outcome.status, 128 + SIGKILL);
	sp_assert_ended(&log, 0, "log");
	assert_contains(&log.out, "echo ready");
	assert_contains(&summary.out, "no end recorded");
}

/* Cuts the one spool file short; where it was cut does not matter, nor how much was stored before. */
static void damage(struct sp_lab *lab)
{
	const char *spool = sp_text(lab, "%s.spool", lab->audit);
	DIR *directory = opendir(spool);
	size_t damaged = 0;

	cr_assert_not_null(directory);
	for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
		if (entry->d_name[0] == '.')
			continue;
		cr_assert_eq(truncate(sp_text(lab, "%s/%s", spool, entry->d_name), 5000), 0);
		damaged++;
	}
	(void)closedir(directory);
	cr_assert_eq(damaged, 1);
}

/* A damaged spool is told, by whoever finds it and afterwards. */
sp_lab_test(log, damaged_spool)
{
	run_job(lab);
	cleanup_outcome struct sp_outcome left = sp_supervise(lab, NULL, sp_argv("sh", "-c", "kill -9 $PPID; true"));
	cr_assert_eq(left.status, 128 + SIGKILL);
	damage(lab);
	cleanup_outcome struct sp_outcome finds = log_of(lab, "--job", "all");
	cleanup_outcome struct sp_outcome repeats = log_of(lab, "--job", "all");

	sp_assert_ended(&finds, 0, "log");
	assert_contains(&finds.err, "is damaged");
	sp_assert_ended(&repeats, 0, "log");
	assert_contains(&repeats.err, "1 damaged spool file in");
}

static struct sp_child start_following(struct sp_lab *lab)
{
	run_job(lab);
	struct sp_child follower =
		sp_start(lab, NULL, sp_argv(sp_sallyport(lab), "log", "-f", "-n", "1", "--audit", lab->audit));

	cr_assert(sp_await_text(&follower, "true"), "%.2000s", follower.err_buffer.data);
	return follower;
}

/* A job beside the follower. It is not finished as others are, which would end the follower too: finishing the follower
 * waits for it. */
static void start_job(struct sp_lab *lab, const char *script)
{
	struct sp_child job = sp_start(lab, NULL, sp_supervised_argv(lab, sp_argv("sh", "-c", script)));

	close(job.input);
	close(job.out);
	close(job.err);
}

static void end_following(struct sp_child *follower, int signal)
{
	cr_assert_eq(kill(follower->pid, signal), 0);
	follower->linger = 30;
	cleanup_outcome struct sp_outcome log = sp_finish(follower);

	sp_assert_ended(&log, 0, "log -f");
}

sp_lab_test(log, follow)
{
	struct sp_child follower = start_following(lab);

	start_job(lab, "/bin/sleep 0; id 2>/dev/null; true follow-me");
	cr_assert(sp_await_text(&follower, "follow-me"), "%.2000s", follower.out_buffer.data);
	cr_assert(sp_await_text(&follower, "who-are-you"), "%.2000s", follower.out_buffer.data);
	end_following(&follower, SIGINT);
}

/* A supervisor that is killed while somebody follows: its last records come, although nobody starts another. */
sp_lab_test(log, follow_a_kill)
{
	struct sp_child follower = start_following(lab);

	start_job(lab, "/bin/true last words; kill -9 $PPID");
	cr_assert(sp_await_text(&follower, "true last words"), "%.2000s", follower.out_buffer.data);
	end_following(&follower, SIGTERM);
}

sp_lab_test(log, usage_errors)
{
	static const struct {
		const char *option, *value, *says;
	} cases[] = {
		{"--nope", NULL, "unknown option --nope"},
		{"operand", NULL, "takes no arguments, but was given operand"},
		{"-n", NULL, "an argument is missing after -n"},
		{"-n", "x", "takes a number of lines, not x"},
		{"-n", "-1", "takes a number of lines, not -1"},
		{"--job", "\033[31m", "--job takes a job's number"},
		{"--tree", "--summary", "only one at a time"},
		{"--tree", "--denied", "neither a filter nor -n goes with --tree"},
	};

	run_job(lab);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cleanup_outcome struct sp_outcome log = log_of(lab, cases[i].option, cases[i].value);

		sp_assert_ended(&log, 125, cases[i].says);
		assert_contains(&log.err, cases[i].says);
		cr_assert_null(strchr(log.err.data, '\033'));
		cr_assert_eq(strchr(log.err.data, '\n'), log.err.data + log.err.size - 1, "more than one line");
	}
}

sp_lab_test(log, bad_databases)
{
	static const char contents[] =
		"no database, but text that is longer than the header of a database, which has a "
		"hundred bytes\n";
	const char *text = sp_write_file(lab, "text", contents, sizeof(contents) - 1, 0644);
	const struct {
		const char *path, *says;
	} cases[] = {
		{text, "not a database"},
		{lab->directory, "directory"},
		{sp_text(lab, "%s/none", lab->directory), "nothing was recorded there yet"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cleanup_outcome struct sp_outcome log = sp_client(lab, sp_argv("log", "--audit", cases[i].path));

		sp_assert_ended(&log, 125, cases[i].says);
		assert_contains(&log.err, cases[i].says);
	}
}

/* What is asked for, and nothing else. */
sp_lab_test(log, filters)
{
	static const struct {
		const char *option, *value, *has, *has_not;
	} rows[] = {
		{"--program", "id", "/id", "/cat"},
		{"--program", "/usr/*/ca[t]", "/cat", "DENY"},
		{"--rule", "who-are-you", "DENY EPERM", "ALLOW"},
		{"--decision", "deny", "DENY EPERM", "ALLOW"},
		{"--decision", "allow", "/cat", "DENY"},
		{"--user", NULL, "/cat", NULL},
		{"--user", "4294967294", NULL, "/"},
		{"--since", "1h", "/cat", NULL},
		{"--until", "2020-01-01", NULL, "/"},
	};

	sp_set_policy(lab, policy);
	cleanup_outcome struct sp_outcome job = sp_supervise(lab, NULL, sp_argv("sh", "-c", "id; echo x | cat"));
	sp_assert_ended(&job, 0, "the job");
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *value = rows[i].value != NULL
					    ? rows[i].value
					    : sp_text(lab, "%ld", (long)sp_sql_number(lab, "SELECT uid FROM jobs"));
		cleanup_outcome struct sp_outcome log = log_of(lab, rows[i].option, value);
		sp_assert_ended(&log, 0, rows[i].option);
		if (rows[i].has != NULL)
			assert_contains(&log.out, rows[i].has);
		if (rows[i].has_not != NULL)
			cr_assert_null(strstr(log.out.data, rows[i].has_not), "%s %s: %s", rows[i].option, value,
				       log.out.data);
	}
	cleanup_outcome struct sp_outcome bad = log_of(lab, "--decision", "perhaps");
	cleanup_outcome struct sp_outcome nobody = log_of(lab, "--user", "no such user");
	cleanup_outcome struct sp_outcome never = log_of(lab, "--since", "never");
	sp_assert_ended(&bad, 125, "--decision");
	sp_assert_ended(&nobody, 125, "--user");
	sp_assert_ended(&never, 125, "--since");
}

static uint64_t take_varint(const unsigned char **at, const unsigned char *end)
{
	uint64_t value = 0;

	for (unsigned shift = 0; *at < end && shift < 64; shift += 7) {
		const unsigned char byte = *(*at)++;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if ((byte & 0x80) == 0)
			return value;
	}
	cr_assert(false, "a number without an end");
	return 0;
}

struct packets {
	size_t tracks, begins, ends, instants;
};

/* One message: fields[n] gets the last value of field n, or the place and size of what it holds. */
static void take_fields(const unsigned char *at, const unsigned char *end, uint64_t numbers[static 64],
			const unsigned char *places[static 64])
{
	while (at < end) {
		const uint64_t key = take_varint(&at, end), field = key >> 3;
		const uint64_t number = take_varint(&at, end);
		cr_assert_lt(field, 64);
		cr_assert((key & 7) == 0 || (key & 7) == 2);
		numbers[field] = number;
		if ((key & 7) == 2) {
			cr_assert_leq(number, (uint64_t)(end - at));
			places[field] = at;
			at += number;
		}
	}
	cr_assert_eq(at, end);
}

static void take_packet(const unsigned char *at, const unsigned char *end, struct packets *seen)
{
	uint64_t numbers[64] = {0}, inner[64] = {0};
	const unsigned char *places[64] = {0}, *nowhere[64] = {0};

	take_fields(at, end, numbers, places);
	cr_assert_eq(numbers[10], 1, "the sequence");
	if (places[60] != NULL) {
		take_fields(places[60], places[60] + numbers[60], inner, nowhere);
		cr_assert(inner[1] == 1 || inner[5] != 0, "a process has a parent");
		seen->tracks++;
		return;
	}
	cr_assert_not_null(places[11]);
	cr_assert_neq(numbers[8], 0, "the time");
	take_fields(places[11], places[11] + numbers[11], inner, nowhere);
	seen->begins += inner[9] == 1;
	seen->ends += inner[9] == 2;
	seen->instants += inner[9] == 3;
}

/* A track for the job and for each process, slices that are closed, and what was refused. */
sp_lab_test(log, exports)
{
	struct packets seen = {0};

	sp_set_policy(lab, policy);
	cleanup_outcome struct sp_outcome job =
		sp_supervise(lab, NULL, sp_argv("sh", "-c", "id; echo \"$1\" | cat", "x", "a\x1b\"\\\xff"));
	sp_assert_ended(&job, 0, "the job");
	cleanup_outcome struct sp_outcome perfetto = log_of(lab, "--perfetto", "-");
	cleanup_outcome struct sp_outcome dot = log_of(lab, "--dot", "-");
	cleanup_outcome struct sp_outcome nowhere = log_of(lab, "--dot", "/nonesuch/file");

	sp_assert_ended(&perfetto, 0, "--perfetto");
	const unsigned char *at = (const unsigned char *)perfetto.out.data, *end = at + perfetto.out.size;
	while (at < end) {
		cr_assert_eq(take_varint(&at, end), 1 << 3 | 2, "a packet");
		const uint64_t size = take_varint(&at, end);
		cr_assert_leq(size, (uint64_t)(end - at));
		take_packet(at, at + size, &seen);
		at += size;
	}
	cr_assert_eq((int64_t)seen.tracks, 1 + sp_sql_number(lab, "SELECT count(*) FROM processes"));
	cr_assert_eq(seen.begins, seen.ends);
	cr_assert_geq(seen.begins, 4);
	cr_assert_geq(seen.instants, 1); /* a shell goes on to the next directory */
	sp_assert_ended(&dot, 0, "--dot");
	assert_contains(&dot.out, "digraph job_1 {");
	assert_contains(&dot.out, "DENY EPERM");
	assert_contains(&dot.out, " -> ");
	cr_assert_null(memchr(dot.out.data, 0x1b, dot.out.size));
	sp_assert_ended(&nowhere, 125, "a place that is not there");
}
