/* The kill stress: tasks are killed at every state of gate and tracker, in the middle of steps, and from outside at random
 * instants; nothing may be left behind. See docs/stress.md.
 *
 * usage: kill [OPTION]... PREY     PREY: path of tests/programs/prey
 *   --kills N          how many in all (10000)
 *   --tracking HOW     attached (default) or oneshot
 *   --user UID         become that user first
 *   --deadline S       seconds without any progress that count as a hang (60)
 *   --plant WHAT       get one thing wrong, which must be found: fd, heap, entry, stopped or unanswered
 * Exit status: 0 nothing was left behind, 1 something was, 2 the stress itself failed.
 *
 * Two processes: one is the supervisor, with the engine and the killer inside; the other kills from outside and judges what
 * is left. Rounds: in each a new engine with its jobs, a share of the kills, the word to stop, and all checks. */
#include "hunt.h"
#include "measure.h"
#include "outside.h"
#include "ptrace/gate.h"
#include "slowfs.h"
#include "util/cleanup.h"

#include "job.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STOP_FD = 100, ROUND = 500, JOBS = 6 };

/* What may be held more at the end than after the first half: what the C library and the kernel keep for themselves. */
enum { RSS_SLACK = 4 << 20, HEAP_SLACK = 4 << 10 };

/* Refusals of both kinds, which the prey asks for. */
static const char policy_text[] =
	"version: 1\n"
	"name: stress\n"
	"exec:\n"
	"  default: allow\n"
	"  rules:\n"
	"    - {id: denied, program: /tmp/**/prey, words: [denied], action: deny, errno: EACCES}\n"
	"    - {id: fatal, program: /tmp/**/prey, words: [fatal], action: kill}\n";

/* Rounds with one job, where a process without a parent can be placed, take turns with rounds of several at once. */
static const char *const one_job[] = {"threads", "nonleader", "forks", "spawns",  "peers",   "misses",
				      "stops",   "shared",    "slow",  "signals", "orphans", NULL};
static const char *const several_jobs[JOBS][4] = {
	{"threads", "nonleader", "misses"}, {"forks", "spawns", "orphans"},   {"peers", "stops", "signals"},
	{"shared", "threads", "stops"},     {"slow", "threads", "nonleader"}, {"slow", "forks", "shared"},
};

struct options {
	long kills;
	enum sp_tracking tracking;
	uid_t user;
	unsigned deadline;
	enum sp_plant plant;
	const char *prey;
};

/* The place where everything happens: the prey's program, and the slow files where there are any. */
struct place {
	char directory[64], prey[96], slow[96];
	struct sp_slowfs *fs;
};

struct totals {
	struct sp_gate_stats gates;
	unsigned long jobs, not_started;
};

enum { HUNGRY = 3 }; /* seconds without a kill: who is left has the pid of somebody who was killed */

struct supervisor {
	const struct options *options;
	const struct place *place;
	struct sp_quarry *quarry;
	int channel; /* to the judge */
	struct sp_rig rig;
	struct sp_policy *policy;
	uv_prepare_t prepare;
	uv_timer_t watchdog;
	struct sp_job *jobs[JOBS];
	unsigned job_count, running;
	int stop_word; /* closed: the prey stops */
	bool stopping;
	unsigned idle_ticks;
	unsigned hungry_ticks; /* nobody was killed for so long */
	long last_left;
	uint64_t last_progress;
	unsigned failures;
	struct totals totals;
};

/* --- options --- */

static enum sp_plant find_plant(const char *word)
{
	static const char *const words[] = {
		[SP_PLANT_NOTHING] = "nothing", [SP_PLANT_FD] = "fd",           [SP_PLANT_HEAP] = "heap",
		[SP_PLANT_ENTRY] = "entry",     [SP_PLANT_STOPPED] = "stopped", [SP_PLANT_UNANSWERED] = "unanswered",
	};

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (strcmp(words[i], word) == 0)
			return (enum sp_plant)i;
	sp_rig_give_up("--plant %s: not known", word);
}

static struct options parse(int argc, char **argv)
{
	enum { KILLS = 256, TRACKING, USER, DEADLINE, PLANT };
	static const struct option known[] = {
		{"kills", required_argument, NULL, KILLS}, {"tracking", required_argument, NULL, TRACKING},
		{"user", required_argument, NULL, USER},   {"deadline", required_argument, NULL, DEADLINE},
		{"plant", required_argument, NULL, PLANT}, {0},
	};
	struct options o = {.kills = 10000, .user = getuid(), .deadline = 60};
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (c) {
		case KILLS:
			o.kills = strtol(optarg, NULL, 10);
			break;
		case TRACKING:
			o.tracking = sp_rig_tracking(optarg);
			break;
		case USER:
			o.user = (uid_t)strtoul(optarg, NULL, 10);
			break;
		case DEADLINE:
			o.deadline = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case PLANT:
			o.plant = find_plant(optarg);
			break;
		default:
			exit(2);
		}
	}
	if (optind != argc - 1 || o.kills <= 0)
		sp_rig_give_up("usage: kill [--kills N] [--tracking HOW] [--user UID] [--plant WHAT] PREY");
	o.prey = argv[optind];
	return o;
}

/* --- the place --- */

static void copy_file(const char *from, const char *to)
{
	cleanup_close int in = open(from, O_RDONLY | O_CLOEXEC);
	cleanup_close int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	struct stat st;

	if (in < 0 || out < 0 || fstat(in, &st) != 0)
		sp_rig_give_up("cannot copy %s to %s: %s", from, to, strerror(errno));
	for (off_t at = 0; at < st.st_size;)
		if (sendfile(out, in, &at, (size_t)(st.st_size - at)) <= 0)
			sp_rig_give_up("cannot copy %s to %s: %s", from, to, strerror(errno));
}

static void make_place(struct place *p, const struct options *o)
{
	const char *why = "another user is asked for";

	(void)strcpy(p->directory, "/tmp/sallyport-stress-XXXXXX");
	if (mkdtemp(p->directory) == NULL || chmod(p->directory, 0755) != 0)
		sp_rig_give_up("no directory %s: %s", p->directory, strerror(errno));
	(void)snprintf(p->prey, sizeof p->prey, "%s/prey", p->directory);
	(void)snprintf(p->slow, sizeof p->slow, "%s/slow", p->directory);
	copy_file(o->prey, p->prey);
	p->fs = NULL;
	if (mkdir(p->slow, 0755) == 0 && o->user == 0)
		p->fs = sp_slowfs_mount(p->slow, p->prey, &why);
	if (p->fs != NULL)
		(void)setenv("PREY_SLOW", p->slow, 1);
	else
		(void)printf("no slow file system (%s): reads that take long are those of very many arguments\n", why);
}

static void remove_place(const struct place *p)
{
	sp_slowfs_end(p->fs);
	(void)rmdir(p->slow);
	(void)unlink(p->prey);
	(void)rmdir(p->directory);
}

static void become(uid_t user)
{
	if (user == getuid())
		return;
	if (setgroups(0, NULL) != 0 || setresgid(user, user, user) != 0 || setresuid(user, user, user) != 0)
		sp_rig_give_up("cannot become user %u: %s", user, strerror(errno));
	(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

/* --- the jobs --- */

[[gnu::format(printf, 2, 3)]] static void fail(struct supervisor *s, const char *format, ...)
{
	va_list args;

	s->failures++;
	(void)fputs("FAILED: ", stdout);
	va_start(args, format);
	(void)vprintf(format, args);
	va_end(args);
	(void)putchar('\n');
}

static void add_stats(struct sp_gate_stats *sum, const struct sp_gate_stats *more)
{
	sum->execs += more->execs;
	sum->freezes += more->freezes;
	sum->frozen += more->frozen;
	sum->wide += more->wide;
	sum->deadlines += more->deadlines;
	sum->helped += more->helped;
	sum->mismatches += more->mismatches;
	sum->illegal += more->illegal;
}

static void on_done(struct sp_job *job, void *context)
{
	struct supervisor *s = context;
	const struct sp_job_counts counts = sp_job_counts(job);
	const struct sp_gate_stats gates = sp_gatekeeper_stats(sp_job_gatekeeper(job));

	if (counts.gates != 0)
		fail(s, "a job has ended with %u gates that are not released", counts.gates);
	if (counts.illegal != 0)
		fail(s, "a job has ended with %llu events that must not happen", (unsigned long long)counts.illegal);
	if (counts.mismatches != 0)
		fail(s, "%llu execs were taken for attacks, and nobody attacked",
		     (unsigned long long)counts.mismatches);
	add_stats(&s->totals.gates, &gates);
	for (unsigned i = 0; i < s->job_count; i++)
		if (s->jobs[i] == job)
			s->jobs[i] = NULL;
	s->running--;
	if (s->running == 0 && s->stopping)
		uv_stop(&s->rig.loop);
}

static const struct sp_job_events events = {.done = on_done};

static struct sp_job *start_job(struct supervisor *s, const char *const kinds[], size_t count)
{
	const char *argv[16] = {s->place->prey};
	struct sp_error e;

	for (size_t i = 0; i < count && kinds[i] != NULL; i++)
		argv[i + 1] = kinds[i];
	struct sp_job *job =
		sp_rig_start(&s->rig, s->policy, s->options->tracking, (char *const *)argv, &events, s, &e);
	s->running += job != NULL;
	s->totals.jobs += job != NULL;
	s->totals.not_started += job == NULL; /* killed before it was seized */
	return job;
}

/* Before the loop waits: what has ended is started anew, until enough have been killed. */
static void on_prepare(uv_prepare_t *prepare)
{
	struct supervisor *s = prepare->data;

	if (!s->stopping && atomic_load(&s->quarry->left) <= 0) {
		s->stopping = true;
		s->idle_ticks = 0;
		sp_hunt_rest();
		(void)close(s->stop_word);
	}
	for (unsigned i = 0; i < s->job_count && !s->stopping; i++)
		if (s->jobs[i] == NULL)
			s->jobs[i] = s->job_count == 1 ? start_job(s, one_job, 15) : start_job(s, several_jobs[i], 4);
	if (s->running == 0 && s->stopping)
		uv_stop(&s->rig.loop);
}

/* --- hangs --- */

static void print_file(pid_t tid, const char *name)
{
	char path[64], text[128] = "";

	(void)snprintf(path, sizeof path, "/proc/%d/%s", tid, name);
	cleanup_file FILE *f = fopen(path, "re");
	if (f != NULL && fgets(text, sizeof text, f) != NULL)
		text[strcspn(text, "\n")] = '\0';
	(void)printf(" %s=[%s]", name, text);
}

static void print_task(struct sp_task *task, void *context)
{
	(void)context;
	if (strcmp(sp_tracer_state_name(task), "buried") == 0)
		return;
	(void)printf("  task %d of %d: %s, %s;", task->tid, task->process != NULL ? task->process->tgid : 0,
		     sp_tracer_state_name(task), sp_gate_state_name(task->gate));
	print_file(task->tid, "stat");
	print_file(task->tid, "wchan");
	print_file(task->tid, "syscall");
	(void)putchar('\n');
}

/* The loop never wakes up for a task that hangs: what is left is shown, and goes with us. */
static void on_watchdog(uv_timer_t *timer)
{
	struct supervisor *s = timer->data;
	const uint64_t progress = sp_tracer_stats(s->rig.tracer).events;

	s->idle_ticks = progress == s->last_progress && s->stopping ? s->idle_ticks + 1 : 0;
	if (!s->stopping) {
		const long left = atomic_load(&s->quarry->left);

		s->idle_ticks = 0;
		s->hungry_ticks = left == s->last_left ? s->hungry_ticks + 1 : 0;
		s->last_left = left;
		if (s->hungry_ticks > 0 && s->hungry_ticks % HUNGRY == 0)
			sp_quarry_forget_all(s->quarry);
	}
	s->last_progress = progress;
	if (s->idle_ticks < s->options->deadline)
		return;
	fail(s, "%u jobs do not end; %zu tasks are left:", s->running, sp_index_size(s->rig.index));
	sp_index_each(s->rig.index, print_task, NULL);
	(void)fflush(stdout);
	_exit(1);
}

/* --- a round --- */

static void make_stop_word(struct supervisor *s)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) != 0 || dup2(ends[0], STOP_FD) != STOP_FD)
		sp_rig_give_up("no pipe: %s", strerror(errno));
	(void)close(ends[0]);
	s->stop_word = ends[1];
}

static void open_round(struct supervisor *s, unsigned number, long kills)
{
	sp_rig_open(&s->rig, NULL);
	make_stop_word(s);
	(void)uv_prepare_init(&s->rig.loop, &s->prepare);
	(void)uv_timer_init(&s->rig.loop, &s->watchdog);
	s->prepare.data = s->watchdog.data = s;
	(void)uv_prepare_start(&s->prepare, on_prepare);
	(void)uv_timer_start(&s->watchdog, on_watchdog, 1000, 1000);
	s->job_count = number % 2 == 0 ? 1 : JOBS;
	s->running = 0;
	s->stopping = false;
	sp_hunt_begin(&s->rig, s->quarry, (unsigned long)s->options->kills / 100, s->options->plant);
	atomic_store(&s->quarry->left, kills);
}

static void close_round(struct supervisor *s)
{
	sp_hunt_end();
	uv_close((uv_handle_t *)&s->prepare, NULL);
	uv_close((uv_handle_t *)&s->watchdog, NULL);
	(void)close(STOP_FD);
	sp_rig_close(&s->rig);
}

/* What is "buried" is no task but the mark of one that died unclaimed. */
static void count_task(struct sp_task *task, void *context)
{
	*(unsigned *)context += strcmp(sp_tracer_state_name(task), "buried") != 0;
}

static struct sp_left_behind ask_judge(struct supervisor *s)
{
	const char question = SP_ASK_LEFT_BEHIND;
	struct sp_left_behind left;

	if (write(s->channel, &question, 1) != 1 || read(s->channel, &left, sizeof left) != sizeof left)
		sp_rig_give_up("the judge is gone");
	return left;
}

/* What is dead may have to be reaped yet: nothing is taken from the tracer here. */
static bool no_children(struct supervisor *s)
{
	siginfo_t info;

	(void)s;
	return waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT | __WALL) != 0 && errno == ECHILD;
}

/* Threads that were reading for an exec that is over come back when the file system answers. */
static bool no_readers(struct supervisor *s)
{
	(void)s;
	return sp_measure().threads == 1;
}

/* Whatever it is, it may take the time that is allowed for a hang, while the engine goes on. */
static void await(struct supervisor *s, bool (*is_so)(struct supervisor *s), const char *complaint)
{
	const struct timespec turn = {.tv_nsec = 1000000};

	for (unsigned turns = 0; !is_so(s); turns++) {
		if (turns > s->options->deadline * 1000) {
			fail(s, "%s", complaint);
			return;
		}
		(void)uv_run(&s->rig.loop, UV_RUN_NOWAIT);
		(void)nanosleep(&turn, NULL);
	}
	(void)uv_run(&s->rig.loop, UV_RUN_NOWAIT);
}

static bool no_tasks(struct supervisor *s)
{
	unsigned tasks = 0;

	sp_index_each(s->rig.index, count_task, &tasks);
	return tasks == 0;
}

/* All jobs have ended, and the engine is still there. A job's end is its last task's death, by the word of the listener, which may
 * come before that of waitpid(2). */
static void check_quiet(struct supervisor *s)
{
	await(s, no_tasks, "all jobs have ended, and tasks are in the index");
	sp_index_each(s->rig.index, print_task, NULL);
	await(s, no_children, "children or tracees are left");
	await(s, no_readers, "threads that read for an exec do not end");
	if (sp_index_size(s->rig.index) != 0)
		fail(s, "%zu entries are left in the index", sp_index_size(s->rig.index));
	const struct sp_left_behind left = ask_judge(s);
	if (left.stopped != 0 || left.others != 0)
		fail(s, "%u stopped tasks and %u other processes are left:%s", left.stopped, left.others, left.names);
	const struct sp_tracer_stats stats = sp_tracer_stats(s->rig.tracer);
	if (stats.unexpected != 0)
		fail(s, "the tracer saw %llu events that must not happen", (unsigned long long)stats.unexpected);
}

static void run_round(struct supervisor *s, unsigned number, long kills)
{
	open_round(s, number, kills);
	(void)uv_run(&s->rig.loop, UV_RUN_DEFAULT);
	(void)uv_timer_stop(&s->watchdog);
	(void)uv_prepare_stop(&s->prepare);
	check_quiet(s);
	close_round(s);
}

/* --- the supervisor --- */

static void check_held(struct supervisor *s, const struct sp_measures *first, const struct sp_measures *half,
		       const struct sp_measures *end)
{
	(void)printf("held after the first round, half of them, all: fds %zu %zu %zu, heap %zu %zu %zu, KiB resident "
		     "%zu %zu %zu\n",
		     first->fds, half->fds, end->fds, first->heap, half->heap, end->heap, first->rss >> 10,
		     half->rss >> 10, end->rss >> 10);
	if (end->fds != first->fds)
		fail(s, "%zu fds more than after the first round", end->fds - first->fds);
	if (end->heap == 0)
		return; /* another allocator, a sanitizer's, which does its own accounts */
	if (end->heap > half->heap + HEAP_SLACK)
		fail(s, "%zu bytes of heap more than at half time", end->heap - half->heap);
	if (end->rss > half->rss + RSS_SLACK)
		fail(s, "%zu KiB more resident than at half time", (end->rss - half->rss) >> 10);
}

static void print_totals(const struct totals *t)
{
	(void)printf(
		"jobs %lu (and %lu killed before they began), execs %llu, freezes %llu of %llu tasks, whole job %llu, "
		"read by threads %llu, deadlines %llu\n",
		t->jobs, t->not_started, (unsigned long long)t->gates.execs, (unsigned long long)t->gates.freezes,
		(unsigned long long)t->gates.frozen, (unsigned long long)t->gates.wide,
		(unsigned long long)t->gates.helped, (unsigned long long)t->gates.deadlines);
}

static int supervise(struct supervisor *s)
{
	const long kills = s->options->kills;
	struct sp_measures first = {0}, half = {0};
	long asked = 0;

	s->policy = sp_rig_policy(policy_text);
	/* If a place is rare on this machine, up to as many again are killed until it has been hit often enough. */
	const long most = s->options->tracking == SP_TRACKING_ATTACHED ? 2 * kills : kills;
	for (unsigned number = 0; asked < kills || (asked < most && sp_hunt_missing() > 0); number++) {
		const long share = kills < 2 * ROUND ? (kills + 1) / 2 : ROUND;

		run_round(s, number, share);
		asked += share;
		if (number == 0)
			first = sp_measure();
		if (half.fds == 0 && 2 * asked >= kills)
			half = sp_measure();
	}
	const struct sp_measures end = sp_measure();
	sp_policy_free(s->policy);
	sp_hunt_print();
	print_totals(&s->totals);
	check_held(s, &first, &half, &end);
	/* The other tracker's tasks are in few of these states, and seldom. */
	if (sp_hunt_missing() > 0 && s->options->tracking == SP_TRACKING_ATTACHED)
		fail(s, "%u places were hit less than %ld times", sp_hunt_missing(), kills / 100);
	(void)fflush(stdout);
	return s->failures != 0;
}

static void *share(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		sp_rig_give_up("no shared memory: %s", strerror(errno));
	return memory;
}

int main(int argc, char **argv)
{
	sp_measure_exactly(argv);
	const struct options options = parse(argc, argv);
	struct place place;
	struct sp_outside_kills kills = {0};
	int channel[2];

	make_place(&place, &options);
	struct sp_quarry *quarry = share(sizeof *quarry);
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) != 0)
		sp_rig_give_up("%s", strerror(errno));
	(void)fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		static struct supervisor s;

		s = (struct supervisor){.options = &options, .place = &place, .quarry = quarry, .channel = channel[1]};
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		sp_slowfs_forget(place.fs);
		(void)close(channel[0]);
		become(options.user);
		exit(supervise(&s));
	}
	(void)close(channel[1]);
	if (place.fs != NULL && !sp_slowfs_serve(place.fs))
		sp_rig_give_up("no thread");
	const int status = sp_outside_run(quarry, child, channel[0], &kills);
	remove_place(&place);
	(void)printf("kills from outside: %lu processes, %lu process groups\n", kills.processes, kills.groups);
	if (WIFSIGNALED(status))
		(void)printf("FAILED: the supervisor died of signal %d\n", WTERMSIG(status));
	const bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	(void)printf("kill stress: %s\n", good ? "nothing was left behind" : "FAILED");
	return good ? 0 : WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
