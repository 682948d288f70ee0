/* See lesson.h: takes jobs in, and finds the rules by trial. A set of rules is written, read back and asked about every command line
 * that was taken in; where one is refused, its program is given more room. */
#include "review/lesson_internal.h"

#include "policy/push.h"
#include "review/recorded.h"
#include "util/cleanup.h"
#include "util/printable.h"

#include <stdint.h>
#include <string.h>

#define KEPT_BYTES (1u << 20) /* of different command lines of one program: more is nothing that a rule could say */
#define COMMAND_BYTES 200

static void free_usage(struct sp_usage *usage)
{
	free(usage->words);
}

static void free_student(struct sp_student *student)
{
	for (size_t i = 0; i < student->usage_count; i++)
		free_usage(&student->usage[i]);
	free(student->usage);
	free(student->pattern);
	free(student->path);
	free(student->judged_path);
	free(student->interpreter);
}

static void free_job(struct sp_lesson_job *job)
{
	if (job == NULL)
		return;
	free(job->command);
	free(job->work);
	free(job->policy);
	free(job->pids);
	for (size_t i = 0; i < job->template_count; i++)
		free(job->templates[i].name);
	free(job->templates);
	free(job);
}

static void free_lesson_ptr(struct sp_lesson **lesson)
{
	sp_lesson_free(*lesson);
}

static void free_job_ptr(struct sp_lesson_job **job)
{
	free_job(*job);
}

static void free_policy_ptr(struct sp_policy **policy)
{
	sp_policy_free(*policy);
}

struct sp_lesson *sp_lesson_new(void)
{
	static const char nothing[] = "version: 1\n";
	sp_cleanup(free_lesson_ptr) struct sp_lesson *lesson = calloc(1, sizeof *lesson);

	if (lesson == NULL || sp_policy_parse(nothing, strlen(nothing), "probe", &lesson->probe, NULL) < 0)
		return NULL;
	return sp_steal_ptr(lesson);
}

void sp_lesson_free(struct sp_lesson *lesson)
{
	if (lesson == NULL)
		return;
	for (size_t i = 0; i < lesson->job_count; i++)
		free_job(lesson->jobs[i]);
	for (size_t i = 0; i < lesson->student_count; i++)
		free_student(&lesson->students[i]);
	for (size_t i = 0; i < lesson->foreign_count; i++)
		free(lesson->foreign[i]);
	free(lesson->jobs);
	free(lesson->students);
	free(lesson->foreign);
	sp_policy_free(lesson->probe);
	free(lesson);
}

/* ---- Taking in ---- */

/* Without what looks like a secret. */
static bool print_command(FILE *out, struct sp_bytes argv)
{
	const char *end = argv.data + argv.size, *previous = NULL;
	cleanup_free char *masked = malloc(argv.size + 4 * argv.size + 4);
	char *to = masked;

	if (masked == NULL)
		return false;
	for (const char *at = argv.data; at < end; previous = at, at += strlen(at) + 1) {
		const size_t shown = sp_notable_secret(at, previous);
		if (shown == SIZE_MAX) {
			to = stpcpy(to, at) + 1;
			continue;
		}
		memcpy(to, at, shown);
		to = stpcpy(to + shown, "***") + 1;
	}
	sp_print_argv(out, masked, (size_t)(to - masked), COMMAND_BYTES);
	return true;
}

static int set_job(void *data, const struct sp_log_job *record)
{
	struct sp_lesson_job *job = data;
	size_t size;
	FILE *out = open_memstream(&job->command, &size);

	if (out == NULL)
		return 1;
	const bool shown = print_command(out, record->argv);
	if (fclose(out) != 0 || !shown)
		return 1;
	job->number = record->number;
	job->work = strndup(record->cwd.data, record->cwd.size);
	job->policy = strdup(record->policy != NULL ? record->policy : "?");
	if (job->work == NULL || job->policy == NULL)
		return 1;
	/* Of the root directory everything is below. */
	job->places.work = job->work[0] == '/' && job->work[1] != '\0' ? job->work : NULL;
	return 0;
}

static int add_pid(void *data, const struct sp_log_process *process)
{
	struct sp_lesson_job *job = data;

	return !sp_push(job->pids, job->pid_count, process->pid);
}

static int compare_pids(const void *left, const void *right)
{
	const pid_t a = *(const pid_t *)left, b = *(const pid_t *)right;

	return (a > b) - (a < b);
}

static int out_of_memory(struct sp_error *e)
{
	return sp_fail(e, ENOMEM, "out of memory");
}

/* Its name's X stand for what varies; fewer than three are no template for mktemp(1) either,
 * and without a beginning it could be anything. */
static bool add_template(struct sp_lesson_job *job, const char *word)
{
	const char *slash = strrchr(word, '/'), *name = slash != NULL ? slash + 1 : word;
	const char *last = strrchr(name, 'X');
	size_t size = 0;

	while (last != NULL && last >= name && *last == 'X')
		size++, last--;
	if (size < 3 || last + 1 == name)
		return true;
	char *beginning = strndup(name, (size_t)(last + 1 - name));
	if (beginning == NULL)
		return false;
	if (sp_push(job->templates, job->template_count, {.name = beginning, .varying = size}))
		return true;
	free(beginning);
	return false;
}

/* What mktemp(1) was asked for will be called otherwise the next time. */
static int see_template(void *data, const struct sp_log_exec *exec)
{
	struct sp_lesson_job *job = data;
	static const char program[] = "/mktemp";
	const size_t size = strlen(program);
	const char *end = exec->argv.data + exec->argv.size;

	if (exec->resolved.size < size || memcmp(exec->resolved.data + exec->resolved.size - size, program, size) != 0)
		return 0;
	for (const char *at = exec->argv.data; at < end; at += strlen(at) + 1) {
		if (!add_template(job, at))
			return 1;
	}
	return 0;
}

static int read_job(struct sp_query *query, int64_t number, struct sp_lesson_job *job, struct sp_error *e)
{
	int ret = sp_query_job(query, number, set_job, job, e);

	if (ret == 0)
		ret = sp_query_processes(query, number, add_pid, job, e);
	if (ret != 0)
		return ret > 0 ? out_of_memory(e) : ret;
	if (job->pid_count > 1)
		qsort(job->pids, job->pid_count, sizeof *job->pids, compare_pids);
	job->places.pids = job->pids;
	job->places.pid_count = job->pid_count;
	ret = sp_query_execs(query, &(struct sp_exec_filter){.job = number}, see_template, job, e);
	if (ret != 0)
		return ret > 0 ? out_of_memory(e) : ret;
	job->places.templates = job->templates;
	job->places.template_count = job->template_count;
	return 0;
}

static char *pattern_of(const struct sp_lesson *lesson, const struct sp_lesson_job *job, const struct sp_exec *exec,
			bool *named)
{
	*named = !exec->anonymous && sp_policy_searches(lesson->probe, exec->path);
	return *named ? sp_pattern_argument(&(struct sp_places){0}, strrchr(exec->path, '/') + 1, SP_KEEP_NAMES)
		      : sp_pattern_path(&job->places, exec->path);
}

static int compare_keys(const char *pattern, bool named, bool anonymous, const struct sp_student *student)
{
	if (named != student->named)
		return named ? -1 : 1;
	if (anonymous != student->anonymous)
		return anonymous ? 1 : -1;
	return strcmp(pattern, student->pattern);
}

/* Where it is, or is to be. */
static size_t find_student(const struct sp_lesson *lesson, const char *pattern, bool named, bool anonymous)
{
	size_t low = 0, high = lesson->student_count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		if (compare_keys(pattern, named, anonymous, &lesson->students[middle]) > 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct sp_student *add_student(struct sp_lesson *lesson, const struct sp_lesson_job *job,
				      const struct sp_exec *exec)
{
	bool named;
	cleanup_free char *pattern = pattern_of(lesson, job, exec, &named);

	if (pattern == NULL)
		return NULL;
	const size_t at = find_student(lesson, pattern, named, exec->anonymous);
	if (at < lesson->student_count && compare_keys(pattern, named, exec->anonymous, &lesson->students[at]) == 0)
		return &lesson->students[at];
	cleanup_free char *path = strdup(exec->path);
	if (path == NULL || !sp_push(lesson->students, lesson->student_count, {0}))
		return NULL;
	struct sp_student *student = &lesson->students[at];
	memmove(student + 1, student, (lesson->student_count - 1 - at) * sizeof *student);
	*student = (struct sp_student){
		.pattern = sp_steal_ptr(pattern),
		.named = named,
		.anonymous = exec->anonymous,
		.path = sp_steal_ptr(path),
		.tool = sp_tool_find(exec->path),
	};
	return student;
}

/* The same program may be seen at several paths that one pattern stands for; which one is shown must not depend on chance. */
static int keep_path(struct sp_student *student, const char *path)
{
	if (strcmp(path, student->path) >= 0)
		return 0;
	char *copy = strdup(path);
	if (copy == NULL)
		return -ENOMEM;
	free(student->path);
	student->path = copy;
	return 0;
}

static size_t total(const char *const *words, size_t count)
{
	size_t size = 0;

	for (size_t i = 0; i < count; i++)
		size += strlen(words[i]) + 1;
	return size;
}

static int compare_usages(const struct sp_usage *a, const struct sp_usage *b)
{
	const size_t shorter = a->size < b->size ? a->size : b->size;
	const int order = shorter > 0 ? memcmp(a->words, b->words, shorter) : 0;

	if (a->size != b->size)
		return a->size > b->size ? 1 : -1;
	if (order != 0)
		return order;
	return (a->job->number > b->job->number) - (a->job->number < b->job->number);
}

/* A tool's words are few, whatever is behind them. */
static void reduce_to_words(const struct sp_tool *tool, struct sp_usage *usage)
{
	cleanup_free const char **argv = calloc(usage->count + 1, sizeof *argv);
	size_t argc = 1;

	for (const char *at = usage->words; argv != NULL && at < usage->words + usage->size; at += strlen(at) + 1)
		argv[argc++] = at;
	const struct sp_tool_words words = argv != NULL ? sp_tool_read(tool, argv, argc) : (struct sp_tool_words){0};
	char *to = usage->words;
	/* Each stands behind where it goes. */
	const char *all[] = {words.first, words.second};
	usage->count = 0;
	for (size_t i = 0; i < 2 && all[i] != NULL; i++, usage->count++) {
		const size_t size = strlen(all[i]) + 1;
		memmove(to, all[i], size);
		to += size;
	}
	usage->size = (size_t)(to - usage->words);
}

static int insert_usage(struct sp_student *student, struct sp_usage *usage)
{
	size_t low = 0, high = student->usage_count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		if (compare_usages(usage, &student->usage[middle]) > 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < student->usage_count && compare_usages(usage, &student->usage[low]) == 0) {
		struct sp_usage *known = &student->usage[low];
		known->times++;
		known->ran |= usage->ran;
		known->notable |= usage->notable;
		return 0;
	}
	if (student->bytes + usage->size > (usage->reducible ? KEPT_BYTES : 2 * KEPT_BYTES)) {
		student->varies = true;
		if (student->tool == NULL || !usage->reducible)
			return 0;
		usage->reducible = false;
		reduce_to_words(student->tool, usage);
		return insert_usage(student, usage);
	}
	if (!sp_push(student->usage, student->usage_count, {0}))
		return -ENOMEM;
	memmove(&student->usage[low + 1], &student->usage[low], (student->usage_count - 1 - low) * sizeof *usage);
	student->usage[low] = *usage;
	student->bytes += usage->size;
	usage->words = NULL;
	return 0;
}

static int add_usage(struct sp_student *student, const struct sp_lesson_job *job, const struct sp_exec *exec, bool ran,
		     unsigned notable)
{
	const size_t count = exec->argc > 0 ? exec->argc - 1 : 0, size = total(exec->argv + 1, count);
	sp_cleanup(free_usage) struct sp_usage usage = {
		.words = malloc(size + 1),
		.size = size,
		.count = count,
		.job = job,
		.times = 1,
		.reducible = true,
		.ran = ran,
		.notable = notable,
	};
	char *to = usage.words;

	if (to == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		to = stpcpy(to, exec->argv[i + 1]) + 1;
	return insert_usage(student, &usage);
}

static int note_foreign(struct sp_lesson *lesson, const char *path)
{
	for (size_t i = 0; i < lesson->foreign_count; i++) {
		if (strcmp(lesson->foreign[i], path) == 0)
			return 0;
	}
	char *copy = strdup(path);
	if (copy == NULL || !sp_push(lesson->foreign, lesson->foreign_count, copy)) {
		free(copy);
		return -ENOMEM;
	}
	return 0;
}

/* What an exec says about one of its two files. */
struct sighting {
	struct sp_lesson *lesson;
	const struct sp_lesson_job *job;
	bool ran, headless;
	const char *interpreter; /* of this file; NULL: none */
	bool interprets;
};

static int see(const struct sighting *sighting, const struct sp_exec *exec, const struct sp_log_exec *record)
{
	if (exec->foreign)
		return sighting->ran ? note_foreign(sighting->lesson, exec->path) : 0;
	struct sp_student *student = add_student(sighting->lesson, sighting->job, exec);
	if (student == NULL || keep_path(student, exec->path) < 0)
		return -ENOMEM;
	const struct sp_command command = {
		.program = exec->path,
		.anonymous = exec->anonymous,
		.argv = exec->argv,
		.argc = exec->argc,
		.environment = record->environment.data,
		.environment_size = record->environment.size,
	};
	unsigned notable = sp_notables_of(&command);
	/* Where the job itself works is no news. */
	if (sp_is_below_work(&sighting->job->places, exec->path))
		notable &= ~(1U << SP_NOTABLE_TEMPORARY);
	student->ran += sighting->ran;
	student->headless += sighting->headless;
	student->as_interpreter += sighting->interprets && sighting->ran;
	if (sighting->ran)
		student->notable |= notable;
	if (sighting->interpreter != NULL &&
	    (student->interpreter == NULL || strcmp(sighting->interpreter, student->interpreter) < 0)) {
		char *copy = strdup(sighting->interpreter);
		if (copy == NULL)
			return -ENOMEM;
		free(student->interpreter);
		student->interpreter = copy;
	}
	return add_usage(student, sighting->job, exec, sighting->ran || sighting->headless, notable);
}

struct taking {
	struct sp_lesson *lesson;
	struct sp_lesson_job *job;
	struct sp_recorded recorded;
};

/* Allowed, and nothing that is known kept it from running. */
static bool has_run(const struct sp_log_exec *exec)
{
	return exec->result == SP_RESULT_EXECED || exec->result == SP_RESULT_PENDING ||
	       exec->result == SP_RESULT_VANISHED;
}

static int take_exec(void *data, const struct sp_log_exec *exec)
{
	struct taking *taking = data;
	const bool allowed = !sp_log_refused(exec) && exec->result != SP_RESULT_DENIED;
	const bool ran = allowed && has_run(exec);

	taking->job->execs++;
	taking->job->refused += !allowed;
	taking->job->failed += allowed && exec->result == SP_RESULT_FAILED;
	if (!allowed || exec->result == SP_RESULT_RESTARTED || !sp_recorded_was_judged(exec))
		return 0;
	if (sp_recorded_set(&taking->recorded, exec) < 0)
		return 1;
	struct sighting sighting = {
		.lesson = taking->lesson,
		.job = taking->job,
		.ran = ran,
		.headless = exec->result == SP_RESULT_FAILED && exec->result_err == ENOEXEC,
		.interpreter = taking->recorded.interpreter.given ? taking->recorded.interpreter.exec.path : NULL,
	};
	if (see(&sighting, &taking->recorded.script.exec, exec) < 0)
		return 1;
	if (!taking->recorded.interpreter.given)
		return 0;
	sighting.interpreter = NULL;
	sighting.interprets = true;
	return see(&sighting, &taking->recorded.interpreter.exec, exec) < 0;
}

int sp_lesson_take(struct sp_lesson *lesson, struct sp_query *query, int64_t number, struct sp_error *e)
{
	sp_cleanup(free_job_ptr) struct sp_lesson_job *job = calloc(1, sizeof *job);
	struct taking taking = {.lesson = lesson, .job = job};
	const struct sp_exec_filter filter = {.job = number};

	if (job == NULL)
		return out_of_memory(e);
	int ret = read_job(query, number, job, e);
	if (ret < 0)
		return ret;
	if (!sp_push(lesson->jobs, lesson->job_count, job))
		return out_of_memory(e);
	job = NULL;
	ret = sp_query_execs(query, &filter, take_exec, &taking, e);
	sp_recorded_release(&taking.recorded);
	if (ret != 0)
		return ret > 0 ? out_of_memory(e) : ret;
	if (taking.job->execs == taking.job->refused + taking.job->failed)
		return sp_fail(e, ENODATA, "nothing ran in job %lld, so there is nothing to learn from it",
			       (long long)number);
	return 0;
}

/* ---- Finding the rules ---- */

/* Those of which nothing ran are not allowed. */
static void drop_idle(struct sp_lesson *lesson)
{
	size_t kept = 0;

	for (size_t i = 0; i < lesson->student_count; i++) {
		struct sp_student *student = &lesson->students[i];
		if (student->ran + student->headless == 0)
			free_student(student);
		else
			lesson->students[kept++] = *student;
	}
	lesson->student_count = kept;
}

/* What begins with ./ is compared with names below our own working directory. */
static int set_judged_path(struct sp_student *student)
{
	free(student->judged_path);
	cleanup_free char *cwd = getcwd(NULL, 0);
	const struct sp_lesson_job *job = student->usage_count > 0 ? student->usage[0].job : NULL;

	if (student->pattern[0] == '.' && student->pattern[1] == '/' && job != NULL && cwd != NULL) {
		for (size_t i = 0; !sp_is_below_work(&job->places, student->path) && i < student->usage_count; i++)
			job = student->usage[i].job;
		const size_t below = sp_is_below_work(&job->places, student->path) ? strlen(job->work) : 0;
		if (asprintf(&student->judged_path, "%s%s", strcmp(cwd, "/") == 0 ? "" : cwd, student->path + below) <
		    0)
			student->judged_path = NULL;
	} else {
		student->judged_path = strdup(student->path);
	}
	return student->judged_path != NULL ? 0 : -ENOMEM;
}

static bool starts_code(const struct sp_student *student)
{
	return student->as_interpreter > 0 || sp_code_options(student->path) != NULL;
}

bool sp_lesson_widen(struct sp_student *student)
{
	if (student->level == SP_LESSON_ALONE)
		return false;
	student->level++;
	/* An ending says nothing about what an interpreter is given to do. */
	if ((student->level == SP_LESSON_KINDS || student->level == SP_LESSON_FIRST_KIND) && starts_code(student))
		student->level++;
	return true;
}

static int prepare(struct sp_lesson *lesson)
{
	drop_idle(lesson);
	for (size_t i = 0; i < lesson->student_count; i++) {
		struct sp_student *student = &lesson->students[i];
		if (set_judged_path(student) < 0)
			return -ENOMEM;
		student->level = student->tool != NULL ? SP_LESSON_WORDS
				 : student->varies     ? SP_LESSON_ALONE
						       : SP_LESSON_NAMES;
	}
	return 0;
}

static size_t find_rule(const struct sp_lesson_rules *rules, const char *id)
{
	for (size_t i = 0; i < rules->count; i++) {
		if (strcmp(rules->item[i].id, id) == 0)
			return i;
	}
	return SIZE_MAX;
}

/* Which rule allows it, if one does. *denied: one refuses it. */
static bool judge_usage(const struct sp_policy *policy, const struct sp_lesson_rules *rules,
			const struct sp_student *student, struct sp_usage *usage, bool *denied)
{
	cleanup_free const char **argv = calloc(usage->count + 1, sizeof *argv);
	struct sp_decision decision;
	size_t argc = 1;

	usage->rule = SIZE_MAX;
	if (argv == NULL)
		return false;
	argv[0] = student->judged_path;
	for (const char *at = usage->words; at < usage->words + usage->size; at += strlen(at) + 1)
		argv[argc++] = at;
	const struct sp_exec exec = {
		.path = student->judged_path, .anonymous = student->anonymous, .argv = argv, .argc = argc};
	sp_policy_decide(policy, &exec, &decision);
	if (decision.action == SP_ALLOW)
		usage->rule = find_rule(rules, decision.rule);
	else
		*denied |= find_rule(rules, decision.rule) != SIZE_MAX;
	return usage->rule != SIZE_MAX;
}

static int parse_rules(const struct sp_lesson *lesson, const struct sp_lesson_rules *rules, bool whole,
		       struct sp_policy **policy, struct sp_error *e)
{
	cleanup_free char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (out == NULL)
		return out_of_memory(e);
	const int ret = sp_lesson_print(out, lesson, rules, whole);
	if (fclose(out) != 0 || ret < 0)
		return out_of_memory(e);
	return sp_policy_parse(text, size, "the learned policy", policy, e);
}

/* Whether all that was taken in is allowed. Where it is not, and can be, something has been widened. */
static bool try_rules(struct sp_lesson *lesson, const struct sp_policy *policy, struct sp_lesson_rules *rules)
{
	bool good = true;

	for (size_t i = 0; i < lesson->student_count; i++) {
		struct sp_student *student = &lesson->students[i];
		bool allowed = true, denied = false;
		for (size_t u = 0; u < student->usage_count; u++)
			allowed &= judge_usage(policy, rules, student, &student->usage[u], &denied);
		if (denied && !student->open_to_code) {
			student->open_to_code = true;
			good = false;
		} else if (!allowed && sp_lesson_widen(student)) {
			good = false;
		}
	}
	return good;
}

/* Of what ran: a program that no rule allows, however wide. NULL: none. */
static const char *find_refused(const struct sp_lesson *lesson)
{
	for (size_t i = 0; i < lesson->student_count; i++) {
		const struct sp_student *student = &lesson->students[i];
		for (size_t u = 0; u < student->usage_count; u++) {
			if (student->usage[u].ran && student->usage[u].rule == SIZE_MAX)
				return student->path;
		}
	}
	return NULL;
}

static void sum_up(const struct sp_lesson *lesson, struct sp_lesson_rules *rules)
{
	for (size_t i = 0; i < lesson->student_count; i++) {
		const struct sp_student *student = &lesson->students[i];
		for (size_t u = 0; u < student->usage_count; u++) {
			const struct sp_usage *usage = &student->usage[u];
			if (usage->rule == SIZE_MAX)
				continue;
			struct sp_lesson_rule *rule = &rules->item[usage->rule];
			rule->times += usage->times;
			rule->notable |= usage->ran ? usage->notable : 0;
			/* Sorted by size: the first is the shortest. */
			if (rule->example == NULL && (usage->notable & 1U << SP_NOTABLE_SECRET) == 0)
				rule->example = usage;
		}
	}
}

static void count(const struct sp_lesson *lesson, const struct sp_lesson_rules *rules,
		  struct sp_lesson_summary *summary)
{
	*summary = (struct sp_lesson_summary){
		.programs = lesson->student_count, .rules = rules->count, .left_out = lesson->foreign_count};
	for (size_t i = 0; i < lesson->job_count; i++)
		summary->execs += lesson->jobs[i]->execs;
	for (size_t i = 0; i < rules->count; i++)
		summary->notable += rules->item[i].notable != 0;
}

int sp_lesson_write(struct sp_lesson *lesson, FILE *out, bool ask, struct sp_lesson_summary *summary,
		    struct sp_error *e)
{
	bool good = false;

	if (prepare(lesson) < 0)
		return out_of_memory(e);
	for (;;) {
		sp_cleanup(sp_lesson_rules_free) struct sp_lesson_rules rules = {0};
		sp_cleanup(free_policy_ptr) struct sp_policy *policy = NULL, *whole = NULL;
		if (sp_lesson_rules_make(lesson, &rules) < 0)
			return out_of_memory(e);
		int ret = parse_rules(lesson, &rules, false, &policy, e);
		if (ret < 0)
			return ret;
		good = try_rules(lesson, policy, &rules);
		if (!good)
			continue;
		const char *refused = find_refused(lesson);
		if (refused != NULL)
			return sp_fail(e, ENOTSUP, "no rule that can be written allows %s", refused);
		sum_up(lesson, &rules);
		rules.ask = ask;
		ret = parse_rules(lesson, &rules, true, &whole, e);
		if (ret < 0)
			return ret;
		count(lesson, &rules, summary);
		return sp_lesson_print(out, lesson, &rules, true) < 0 ? out_of_memory(e) : 0;
	}
}
