/* How the supervisor grows: with tasks that do nothing, with jobs at once, with forks without end. See docs/stress.md.
 *
 * usage: scale [OPTION]... PROGRAMS     PROGRAMS: the directory of tests/programs
 *   --processes N, --threads N   idle ones in one job (10000, 2000)
 *   --jobs N                     at once in one engine (100)
 *   --forks N                    in one job (1000000)
 *   --tracking HOW               attached (default) or oneshot
 * A size of 0 leaves that part out. Exit status: 0 it grows as it should, 1 it does not, 2 the test itself failed. */
#include "audit/query.h"
#include "measure.h"
#include "rig.h"
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { READY_FD = 101, GO_FD = 102 }; /* in the jobs */
enum { TASK_BYTES_MAX = 256, IDLE_EXECS = 200, JOB_EXECS = 5 };
enum { HEAP_SLACK = 64 << 10, RSS_SLACK = 1 << 20 }; /* what differs between two instants of a storm */

struct options {
	long processes, threads, jobs, forks;
	enum sp_tracking tracking;
	const char *programs;
};

/* Words between the jobs and us: they say that they are ready, we say go. */
struct gate_fds {
	int ready, go;
};

static bool failed;

[[gnu::format(printf, 1, 2)]] static void fail(const char *format, ...)
{
	va_list args;

	failed = true;
	(void)fputs("FAILED: ", stdout);
	va_start(args, format);
	(void)vprintf(format, args);
	va_end(args);
	(void)putchar('\n');
}

static struct options parse(int argc, char **argv)
{
	enum { PROCESSES = 256, THREADS, AT_ONCE, FORKS, TRACKING };
	static const struct option known[] = {
		{"processes", required_argument, NULL, PROCESSES}, {"threads", required_argument, NULL, THREADS},
		{"jobs", required_argument, NULL, AT_ONCE},        {"forks", required_argument, NULL, FORKS},
		{"tracking", required_argument, NULL, TRACKING},   {0},
	};
	struct options o = {.processes = 10000, .threads = 2000, .jobs = 100, .forks = 1000000};
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (c) {
		case PROCESSES:
			o.processes = strtol(optarg, NULL, 10);
			break;
		case THREADS:
			o.threads = strtol(optarg, NULL, 10);
			break;
		case AT_ONCE:
			o.jobs = strtol(optarg, NULL, 10);
			break;
		case FORKS:
			o.forks = strtol(optarg, NULL, 10);
			break;
		case TRACKING:
			o.tracking = sp_rig_tracking(optarg);
			break;
		default:
			exit(2);
		}
	}
	if (optind != argc - 1)
		sp_rig_give_up("usage: scale [--processes N] [--threads N] [--jobs N] [--forks N] PROGRAMS");
	o.programs = argv[optind];
	return o;
}

static void *allocate(size_t count, size_t size)
{
	void *memory = calloc(count, size);

	if (memory == NULL)
		sp_rig_give_up("out of memory");
	return memory;
}

/* The jobs' ends stay open here under their numbers; ours are close-on-exec. */
static struct gate_fds open_gate_fds(void)
{
	int ready[2], go[2];

	if (pipe2(ready, O_CLOEXEC) != 0 || pipe2(go, O_CLOEXEC) != 0 || dup2(ready[1], READY_FD) != READY_FD ||
	    dup2(go[0], GO_FD) != GO_FD)
		sp_rig_give_up("no pipes: %s", strerror(errno));
	(void)close(ready[1]);
	(void)close(go[0]);
	return (struct gate_fds){.ready = ready[0], .go = go[1]};
}

static void close_gate_fds(const struct gate_fds *fds)
{
	(void)close(fds->ready);
	(void)close(fds->go);
	(void)close(READY_FD);
	(void)close(GO_FD);
}

/* --- one job with a herd --- */

struct herd {
	const struct options *options;
	struct sp_rig rig;
	struct gate_fds fds;
	uv_poll_t ready;
	int status; /* of the root */
	size_t tasks; /* in the index when all are there */
	struct sp_measures held; /* then */
	int64_t ns; /* of the execs beside them */
};

/* What is "buried" is no task but the mark of one that died unclaimed. */
static void count_task(struct sp_task *task, void *context)
{
	*(size_t *)context += strcmp(sp_tracer_state_name(task), "buried") != 0;
}

static void on_herd_ready(uv_poll_t *poll, int status, int events)
{
	struct herd *h = poll->data;
	char byte;

	(void)status;
	(void)events;
	(void)uv_poll_stop(poll);
	if (read(h->fds.ready, &byte, 1) != 1)
		return; /* its end: the herd is gone, and its status says why */
	sp_index_each(h->rig.index, count_task, &h->tasks);
	h->held = sp_measure();
	(void)!write(h->fds.go, "g", 1);
}

static void on_herd_exit(struct sp_job *job, int status, void *context)
{
	struct herd *h = context;

	(void)job;
	h->status = status;
}

static void on_herd_done(struct sp_job *job, void *context)
{
	struct herd *h = context;

	(void)job;
	uv_close((uv_handle_t *)&h->ready, NULL);
	uv_stop(&h->rig.loop);
}

static int64_t read_ns(FILE *output)
{
	int64_t ns = -1;

	rewind(output);
	if (fscanf(output, "ok=%*d ns=%" SCNd64, &ns) != 1)
		return -1;
	return ns;
}

static void close_herd(struct herd *h)
{
	sp_rig_close(&h->rig);
	close_gate_fds(&h->fds);
}

static void start_herd(struct herd *h, long processes, long threads)
{
	static const struct sp_job_events events = {.root_exit = on_herd_exit, .done = on_herd_done};
	char program[4096], storm[4096], words[5][24];
	struct sp_error e;

	(void)snprintf(program, sizeof program, "%s/herd", h->options->programs);
	(void)snprintf(storm, sizeof storm, "%s/execstorm", h->options->programs);
	const long numbers[] = {processes, threads, READY_FD, GO_FD, IDLE_EXECS};
	for (size_t i = 0; i < 5; i++)
		(void)snprintf(words[i], sizeof words[i], "%ld", numbers[i]);
	char *const argv[] = {program, words[0], words[1], words[2], words[3], storm, words[4], "1", "/bin/true", NULL};
	struct sp_policy *policy = sp_rig_policy("version: 1\nname: scale\nexec: {default: allow}\n");
	if (sp_rig_start(&h->rig, policy, h->options->tracking, argv, &events, h, &e) == NULL)
		sp_rig_give_up("the herd could not be started: %s", e.text);
	(void)uv_run(&h->rig.loop, UV_RUN_DEFAULT);
	sp_policy_free(policy);
}

/* What the herd prints goes into a file, so that nobody has to read along. */
static void run_herd(struct herd *h, long processes, long threads)
{
	cleanup_file FILE *output = tmpfile();
	cleanup_close int own_output = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);

	if (output == NULL || own_output < 0)
		sp_rig_give_up("no file for the output: %s", strerror(errno));
	(void)fflush(stdout);
	sp_rig_open(&h->rig, NULL);
	h->fds = open_gate_fds();
	h->ready.data = h;
	(void)uv_poll_init(&h->rig.loop, &h->ready, h->fds.ready);
	(void)uv_poll_start(&h->ready, UV_READABLE, on_herd_ready);
	(void)dup2(fileno(output), STDOUT_FILENO);
	start_herd(h, processes, threads);
	(void)dup2(own_output, STDOUT_FILENO);
	h->ns = read_ns(output);
	close_herd(h);
	if (h->status != 0)
		sp_rig_give_up("a herd of %ld processes and %ld threads cannot be had here (see ulimit -u, "
			       "kernel.pid_max, kernel.threads-max, pids.max): wait status 0x%x",
			       processes, threads, h->status);
}

static void test_idle(const struct options *o)
{
	struct herd empty = {.options = o}, full = {.options = o};

	run_herd(&empty, 0, 0);
	run_herd(&full, o->processes, o->threads);
	const size_t tasks = full.tasks - empty.tasks;
	const double heap = (double)(full.held.heap - empty.held.heap) / (double)tasks;
	(void)printf(
		"idle: %zu tasks more, %.1f bytes each (at most %d), resident %.1f each; fds %zu, without them %zu; "
		"%d execs took %.1f ms, without them %.1f ms: ratio %.2f\n",
		tasks, heap, TASK_BYTES_MAX, ((double)full.held.rss - (double)empty.held.rss) / (double)tasks,
		full.held.fds, empty.held.fds, IDLE_EXECS, (double)full.ns / 1e6, (double)empty.ns / 1e6,
		(double)full.ns / (double)empty.ns);
	/* One-shot tracking knows a process by one task until it looks at its threads. */
	const long known = o->processes + (o->tracking == SP_TRACKING_ATTACHED ? o->threads : 0);
	if (tasks != (size_t)known)
		fail("%zu tasks are in the index, %zu without the idle ones, and %ld should be", full.tasks,
		     empty.tasks, known + (long)empty.tasks);
	if (full.held.heap != 0 && heap > TASK_BYTES_MAX)
		fail("%.1f bytes a task", heap);
	if (full.held.fds != empty.held.fds)
		fail("%zu fds for %zu tasks", full.held.fds - empty.held.fds, tasks);
}

/* --- jobs at once --- */

struct crowd;

struct member {
	struct crowd *crowd;
	unsigned number;
	struct sp_policy *policy;
	uint64_t key;
	int status;
	bool done;
};

struct crowd {
	const struct options *options;
	struct sp_rig rig;
	struct gate_fds fds;
	uv_poll_t ready;
	long count, ready_count, done_count;
	struct member *members;
	char marker[4096], directory[64], database[96];
};

/* Every third is refused, so that neighbours differ. */
static bool is_refused(const struct member *m)
{
	return m->number % 3 == 0;
}

static void on_member_ready(uv_poll_t *poll, int status, int events)
{
	struct crowd *c = poll->data;
	char words[512];

	(void)status;
	(void)events;
	const ssize_t n = read(c->fds.ready, words, sizeof words);
	for (ssize_t i = 0; i < n; i++)
		c->ready_count += words[i] == '\n';
	if (c->ready_count < c->count)
		return;
	(void)uv_poll_stop(poll);
	for (long i = 0; i < c->count; i++)
		(void)!write(c->fds.go, "\n", 1);
}

static void on_member_exit(struct sp_job *job, int status, void *context)
{
	struct member *m = context;

	(void)job;
	m->status = status;
}

static void on_member_done(struct sp_job *job, void *context)
{
	struct member *m = context;

	(void)job;
	m->done = true;
	if (++m->crowd->done_count < m->crowd->count)
		return;
	uv_close((uv_handle_t *)&m->crowd->ready, NULL);
	uv_stop(&m->crowd->rig.loop);
}

static void start_member(struct crowd *c, unsigned number)
{
	static const struct sp_job_events events = {.root_exit = on_member_exit, .done = on_member_done};
	static char script[] = "echo >/proc/self/fd/101; read -r word </proc/self/fd/102; i=0\n"
			       "while [ $i -lt 5 ]; do \"$0\" \"$1\" 2>/dev/null; status=$?; i=$((i + 1)); done\n"
			       "exit $status";
	struct member *m = &c->members[number];
	char yaml[4096 + 256], word[24];
	struct sp_error e;

	*m = (struct member){.crowd = c, .number = number};
	(void)snprintf(yaml, sizeof yaml,
		       "version: 1\nname: policy-%u\nexec:\n  default: allow\n  rules:\n"
		       "    - {id: rule-%u, program: %s, action: %s}\n",
		       number, number, c->marker, is_refused(m) ? "deny, errno: EACCES" : "allow");
	(void)snprintf(word, sizeof word, "job-%u", number);
	m->policy = sp_rig_policy(yaml);
	char *const argv[] = {"/bin/sh", "-c", script, c->marker, word, NULL};
	struct sp_job *job = sp_rig_start(&c->rig, m->policy, c->options->tracking, argv, &events, m, &e);
	if (job == NULL)
		sp_rig_give_up("job %u could not be started: %s", number, e.text);
	m->key = sp_job_id(job);
}

static void run_crowd(struct crowd *c)
{
	struct sp_audit *audit = NULL;
	struct sp_error e = {0};
	sigset_t all;

	/* The audit's writer is a thread, which must not get SIGCHLD. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_BLOCK, &all, NULL);
	if (sp_audit_open(c->database, &audit, &e) != 0)
		sp_rig_give_up("%s", e.text);
	sp_rig_open(&c->rig, audit);
	c->fds = open_gate_fds();
	c->ready.data = c;
	(void)uv_poll_init(&c->rig.loop, &c->ready, c->fds.ready);
	(void)uv_poll_start(&c->ready, UV_READABLE, on_member_ready);
	for (unsigned i = 0; i < c->count; i++)
		start_member(c, i);
	(void)uv_run(&c->rig.loop, UV_RUN_DEFAULT);
	sp_rig_close(&c->rig);
	close_gate_fds(&c->fds);
	if (sp_audit_close(audit, &e) != 0)
		sp_rig_give_up("%s", e.text);
}

struct look {
	const struct crowd *crowd;
	const struct member *member; /* whose job it is */
	long right, wrong;
};

static int look_at_job(void *data, const struct sp_log_job *job)
{
	struct look *l = data;
	char name[32];

	for (long i = 0; i < l->crowd->count; i++)
		if (l->crowd->members[i].key == job->key)
			l->member = &l->crowd->members[i];
	if (l->member == NULL)
		return 0;
	(void)snprintf(name, sizeof name, "policy-%u", l->member->number);
	if (job->policy == NULL || strcmp(job->policy, name) != 0 || job->ended == 0)
		fail("job %u is recorded as one of %s, %s", l->member->number, job->policy,
		     job->ended == 0 ? "not ended" : "ended");
	return 0;
}

static bool has_argument(const struct sp_bytes *argv, const char *word)
{
	const char *end = memchr(argv->data, '\0', argv->size);
	const size_t rest = end != NULL ? argv->size - (size_t)(end + 1 - argv->data) : 0;

	return rest == strlen(word) + 1 && memcmp(end + 1, word, rest) == 0;
}

static int look_at_exec(void *data, const struct sp_log_exec *exec)
{
	struct look *l = data;
	char rule[32], word[32];

	if (exec->resolved.size != strlen(l->crowd->marker) ||
	    memcmp(exec->resolved.data, l->crowd->marker, exec->resolved.size) != 0)
		return 0;
	(void)snprintf(rule, sizeof rule, "rule-%u", l->member->number);
	(void)snprintf(word, sizeof word, "job-%u", l->member->number);
	const enum sp_result result = is_refused(l->member) ? SP_RESULT_DENIED : SP_RESULT_EXECED;
	const bool right = exec->result == result && strcmp(exec->rule, rule) == 0 && has_argument(&exec->argv, word);
	l->right += right;
	l->wrong += !right;
	return 0;
}

static void check_records(const struct crowd *c)
{
	struct sp_query *query = NULL;
	struct sp_error e = {0};

	if (sp_query_open(c->database, NULL, NULL, &query, &e) != 0)
		sp_rig_give_up("%s", e.text);
	const int64_t last = sp_query_last_job(query, &e);
	if (last != c->count)
		fail("%" PRId64 " jobs are recorded", last);
	for (int64_t number = 1; number <= last; number++) {
		struct look l = {.crowd = c};
		const struct sp_exec_filter filter = {.job = number};

		if (sp_query_job(query, number, look_at_job, &l, &e) != 0 || l.member == NULL)
			fail("job %" PRId64 " of the database is none of ours", number);
		else if (sp_query_execs(query, &filter, look_at_exec, &l, &e) != 0 || l.right != JOB_EXECS ||
			 l.wrong != 0)
			fail("job %u: %ld execs recorded as they should, %ld otherwise", l.member->number, l.right,
			     l.wrong);
	}
	sp_query_close(query);
}

static void check_members(const struct crowd *c)
{
	enum { NOT_EXECUTABLE = 126 };

	for (long i = 0; i < c->count; i++) {
		const struct member *m = &c->members[i];
		const int expected = is_refused(m) ? NOT_EXECUTABLE : 0;

		if (!m->done || !WIFEXITED(m->status) || WEXITSTATUS(m->status) != expected)
			fail("job %ld: wait status 0x%x, %s", i, m->status, m->done ? "done" : "not done");
	}
}

static void test_jobs(const struct options *o)
{
	struct crowd c = {.options = o, .count = o->jobs, .directory = "/tmp/sallyport-scale-XXXXXX"};
	char marker[4096];

	c.members = allocate((size_t)o->jobs, sizeof *c.members);
	(void)snprintf(marker, sizeof marker, "%s/marker", o->programs);
	if (realpath(marker, c.marker) == NULL || mkdtemp(c.directory) == NULL)
		sp_rig_give_up("%s or %s: %s", marker, c.directory, strerror(errno));
	(void)snprintf(c.database, sizeof c.database, "%s/audit.db", c.directory);
	run_crowd(&c);
	check_members(&c);
	check_records(&c);
	for (long i = 0; i < c.count; i++)
		sp_policy_free(c.members[i].policy);
	free(c.members);
	(void)unlink(c.database);
	(void)rmdir(c.directory);
	(void)printf("jobs: %ld at once, each with its own verdict, status and records\n", o->jobs);
}

/* --- forks without end --- */

struct storm {
	const struct options *options;
	struct sp_rig rig;
	uv_check_t check;
	struct sp_job *job;
	uint64_t next; /* processes at which to measure again */
	struct sp_measures tenth, most;
	int status;
};

static size_t larger(size_t a, size_t b)
{
	return a > b ? a : b;
}

/* Every hundredth: what is held after a tenth, and the most that is held later. */
static void on_turn(uv_check_t *check)
{
	struct storm *s = check->data;
	const uint64_t hundredth = (uint64_t)s->options->forks / 100, processes = sp_job_counts(s->job).processes;

	if (processes < s->next)
		return;
	s->next = processes + hundredth;
	const struct sp_measures m = sp_measure();
	if (processes < 10 * hundredth || s->tenth.fds == 0) {
		s->tenth = s->most = m;
		return;
	}
	s->most.fds = larger(s->most.fds, m.fds);
	s->most.heap = larger(s->most.heap, m.heap);
	s->most.rss = larger(s->most.rss, m.rss);
}

static void on_storm_exit(struct sp_job *job, int status, void *context)
{
	struct storm *s = context;

	s->status = status;
	(void)printf("forks: %" PRIu64 " processes\n", sp_job_counts(job).processes);
}

static void on_storm_done(struct sp_job *job, void *context)
{
	struct storm *s = context;

	(void)job;
	uv_close((uv_handle_t *)&s->check, NULL);
	uv_stop(&s->rig.loop);
}

static void check_storm(const struct storm *s)
{
	(void)printf("forks: held after a tenth, the most later: fds %zu %zu, heap %zu %zu, KiB resident %zu %zu\n",
		     s->tenth.fds, s->most.fds, s->tenth.heap, s->most.heap, s->tenth.rss >> 10, s->most.rss >> 10);
	if (s->status != 0)
		fail("the storm ended with wait status 0x%x", s->status);
	if (s->most.fds != s->tenth.fds)
		fail("fds grow with forks");
	if (s->most.heap > s->tenth.heap + HEAP_SLACK || (s->tenth.heap != 0 && s->most.rss > s->tenth.rss + RSS_SLACK))
		fail("memory grows with forks");
}

static void test_forks(const struct options *o)
{
	static const struct sp_job_events events = {.root_exit = on_storm_exit, .done = on_storm_done};
	struct storm s = {.options = o};
	char program[4096], each[24];
	struct sp_error e;

	(void)snprintf(program, sizeof program, "%s/forkstorm", o->programs);
	(void)snprintf(each, sizeof each, "%ld", o->forks / 4);
	char *const argv[] = {program, "4", each, NULL};
	struct sp_policy *policy = sp_rig_policy("version: 1\nname: scale\nexec: {default: allow}\n");
	sp_rig_open(&s.rig, NULL);
	s.check.data = &s;
	(void)uv_check_init(&s.rig.loop, &s.check);
	(void)uv_check_start(&s.check, on_turn);
	(void)fflush(stdout);
	s.job = sp_rig_start(&s.rig, policy, o->tracking, argv, &events, &s, &e);
	if (s.job == NULL)
		sp_rig_give_up("the storm could not be started: %s", e.text);
	(void)uv_run(&s.rig.loop, UV_RUN_DEFAULT);
	sp_rig_close(&s.rig);
	sp_policy_free(policy);
	check_storm(&s);
}

int main(int argc, char **argv)
{
	sp_measure_exactly(argv);
	const struct options o = parse(argc, argv);

	if (o.processes + o.threads > 0)
		test_idle(&o);
	if (o.jobs > 0)
		test_jobs(&o);
	if (o.forks > 0)
		test_forks(&o);
	(void)printf("scale: %s\n", failed ? "FAILED" : "as it should");
	return failed;
}
