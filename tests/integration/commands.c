/* The commands that look at jobs and steer them, as a person or a script uses them. */
#include "talk.h"

#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define LISTENS "echo ready; read line; /bin/echo said $line; exit 7"

static const char *of_client(struct sp_lab *lab, int expected, const char *words)
{
	const char *output = NULL, *script = sp_text(lab, "%s %s 2>&1", sp_sallyport(lab), words);
	const int status = sp_beside(lab, sp_argv("sh", "-c", script), &output);

	cr_assert_eq(status, expected, "%s: %d: %s", words, status, output);
	return output;
}

/* Until ps shows the job of that supervisor: its id. */
static const char *await_job(struct sp_lab *lab, const struct sp_child *child)
{
	const char *pattern = sp_text(
		lab, "ps --json | sed -n 's/^{\"job\":\"\\([0-9a-f]*\\)\",\"supervisor\":%d,.*/\\1/p'", child->pid);

	for (;;) {
		const char *id = of_client(lab, 0, pattern);

		if (strlen(id) >= 16)
			return sp_text(lab, "%.16s", id);
		cr_assert_lt(sp_deadline(0), child->deadline, "ps does not show the job");
	}
}

static void finish(struct sp_child *child)
{
	cr_assert_eq(write(child->input, "go on\n", 6), 6);
	cleanup_outcome struct sp_outcome outcome = sp_finish(child);
	sp_assert_ended(&outcome, 7, "the job");
}

static void assert_shows(const char *output, const char *text)
{
	cr_assert_not_null(strstr(output, text), "no '%s' in:\n%s", text, output);
}

static json_t *parse_line(const char *output)
{
	json_t *object = json_loads(output, JSON_DISABLE_EOF_CHECK, NULL);

	cr_assert_not_null(object, "no JSON: %s", output);
	return object;
}

sp_lab_test(commands, looking)
{
	struct sp_child child = sp_start_ready(lab, "sleep 1000 & sleeper=$!; " LISTENS);
	const char *id = await_job(lab, &child);
	const char *tree = of_client(lab, 0, "ps --tree");

	assert_shows(strstr(tree, id), "/dash\n");
	assert_shows(tree, "└─ ");
	cr_assert_null(strchr(tree, '\033'), "colours in a pipe");
	const char *inspected = of_client(lab, 0, sp_text(lab, "inspect --audit %s %d", lab->audit, child.pid));
	assert_shows(inspected, sp_text(lab, "job         %s", id));
	assert_shows(inspected, "execs       2: 0 denied, 0 failed in the kernel, 0 mismatches\n");
	assert_shows(of_client(lab, 0, "stats"), "jobs        ");
	assert_shows(of_client(lab, 0, "top"), id);

	json_t *job = parse_line(of_client(lab, 0, sp_text(lab, "inspect --json %s", id)));
	cr_assert_eq(json_integer_value(json_object_get(json_object_get(job, "counts"), "execs")), 2);
	json_decref(job);
	json_t *look = parse_line(of_client(lab, 0, "top --json --count 2 --interval 0.05"));
	cr_assert(json_is_array(json_object_get(look, "jobs")));
	json_decref(look);
	json_t *stats = parse_line(of_client(lab, 0, "stats --json"));
	cr_assert(json_is_object(json_object_get(stats, "latency")));
	json_decref(stats);
	of_client(lab, 0, sp_text(lab, "kill %s", id));
	cleanup_outcome struct sp_outcome outcome = sp_finish(&child);
	sp_assert_ended(&outcome, 128 + SIGKILL, "killed");
}

/* As Prometheus reads it: each sample below a TYPE of its name, buckets that grow, their last one the count. */
sp_lab_test(commands, metrics)
{
	struct sp_child child = sp_start_ready(lab, "/bin/true; " LISTENS);
	const char *label = sp_text(lab, "{supervisor=\"%d\",origin=\"embedded\"", child.pid);

	(void)await_job(lab, &child);
	const char *text = of_client(lab, 0, "metrics");
	assert_shows(text, sp_text(lab, "# TYPE sallyport_execs_total counter\n"));
	assert_shows(text, sp_text(lab, "sallyport_execs_total%s} 2\n", label));
	assert_shows(text, sp_text(lab, "sallyport_decision_seconds_count%s} 2\n", label));
	assert_shows(text, sp_text(lab, "sallyport_decision_seconds_bucket%s,le=\"+Inf\"} 2\n", label));
	static const char check[] =
		"metrics | awk '/^# TYPE/ {type[$3] = $4; next} /^#/ {next} "
		"{name = $1; sub(/{.*/, \"\", name); base = name; sub(/_(bucket|sum|count)$/, \"\", base); "
		"if (!(name in type) && type[base] != \"histogram\") {print \"no type: \" $0; exit 1} "
		"if ($2 !~ /^[0-9.]+$/ || NF != 2) {print \"no number: \" $0; exit 1}} END {print (NR > 40)}'";
	assert_shows(of_client(lab, 0, check), "1\n");
	finish(&child);
}

sp_lab_test(commands, freezing_and_waiting)
{
	const bool one_shot = strcmp(sp_tracking(), "oneshot") == 0;
	struct sp_child child = sp_start_ready(lab, "mkfifo word; echo ready; read line <word; exit 7");
	const char *id = await_job(lab, &child), *waited = NULL;

	if (one_shot) {
		assert_shows(of_client(lab, 125, sp_text(lab, "freeze %s", id)), "NotPossible: in one-shot tracking");
	} else {
		assert_shows(of_client(lab, 0, sp_text(lab, "freeze --json %s", id)), "\"running\":0");
		assert_shows(strstr(of_client(lab, 0, "ps"), id), "(frozen)");
		assert_shows(of_client(lab, 0, sp_text(lab, "inspect %s", id)), "; frozen\n");
		assert_shows(of_client(lab, 0, "ps --tree"), "  frozen\n");
	}
	of_client(lab, 0, sp_text(lab, "thaw %s", id));
	const char *script =
		sp_text(lab, "%s wait %s & wait=$!; sleep 0.2; echo go on >word; wait $wait", sp_sallyport(lab), id);
	cr_assert_eq(sp_beside(lab, sp_argv("sh", "-c", script), &waited), 7, "%s", waited);
	cleanup_outcome struct sp_outcome outcome = sp_finish(&child);
	sp_assert_ended(&outcome, 7, "the job");
	of_client(lab, 1, sp_text(lab, "wait %s", id));
	of_client(lab, 1, sp_text(lab, "inspect %s", id));
}

/* A supervisor that is stopped with its job does not answer, which is said. */
sp_lab_test(commands, a_stopped_supervisor_is_counted)
{
	struct sp_child child = sp_start_ready(lab, LISTENS);
	const char *id = await_job(lab, &child);

	cr_assert_eq(kill(child.pid, SIGSTOP), 0);
	const char *list = of_client(lab, 0, "top --count 1");
	cr_assert_null(strstr(list, id), "%s", list);
	assert_shows(list, "do not answer");
	cr_assert_eq(kill(child.pid, SIGCONT), 0);
	finish(&child);
}

/* What the completion offers is what the program says of itself. */
sp_lab_test(commands, completion_for_bash)
{
	static const struct {
		const char *words, *offers[4];
	} rows[] = {
		{"sallyport ''", {"run\n", "freeze\n", "metrics\n", "--version\n"}},
		{"sallyport fr", {"freeze\n"}},
		{"sallyport log --p", {"--perfetto\n", "--program\n"}},
		{"sallyport run --tracking ''", {"attached\n", "oneshot\n"}},
		{"sallyport run -p str", {"strict\n"}},
		{"sallyport run -- l", {"ls\n"}},
		{"sallyport policy ''", {"check\n", "replay\n"}},
		{"sallyport top --c", {"--count\n"}},
	};
	const char *text = sp_file(lab, "completions/sallyport.bash"), *strict = sp_file(lab, "policies/strict.yaml");

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *offered;
		const char *script =
			sp_text(lab,
				"cd %.*s; . %s; COMP_WORDS=(%s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); "
				"_sallyport %s; printf '%%s\\n' \"${COMPREPLY[@]}\"",
				(int)(strrchr(strict, '/') - strict), strict, text, rows[i].words, sp_sallyport(lab));

		cr_assert_eq(sp_beside(lab, sp_argv("bash", "-c", script), &offered), 0, "%s", rows[i].words);
		for (size_t j = 0; j < 4 && rows[i].offers[j] != NULL; j++)
			cr_assert_not_null(strstr(offered, rows[i].offers[j]), "%s: no %s in %s", rows[i].words,
					   rows[i].offers[j], offered);
	}
}
