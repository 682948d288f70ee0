/* See audit.h: the append functions, and the writer thread that follows the spool.
 *
 * The writer sleeps until there is a record, then waits a moment for more, so that a transaction holds many and the
 * CPU is left to the job. The loop makes a system call only to wake a writer that sleeps. */
#include "audit/audit.h"
#include "audit/recover.h"
#include "audit/spool.h"
#include "audit/store.h"
#include "self/harden.h"
#include "util/cleanup.h"
#include "util/cpu.h"

#include <inttypes.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#define BATCH 8192 /* records a transaction: then others get their turn */
#define GATHER_MS 250
#define BUSY_MS 250 /* SQLite's own patience within one attempt */
#define RETRY_MIN_MS 50
#define RETRY_MAX_MS 2000
#define CLOSE_PATIENCE_MS 5000 /* for a database that somebody else holds */

enum bell {
	AWAKE,
	SLEEPING, /* a record wakes it */
	GATHERING, /* only the end wakes it */
};

enum opened { TRYING, OPENED, REFUSED }; /* OPENED: or it is sure enough that it will be */

struct sp_audit {
	char *path;
	int directory;
	struct sp_spool *spool; /* the writer's after `begun` */
	uint64_t refused; /* records for which there was no room; the loop's */
	const struct sp_audit_tap *tap; /* the loop's; NULL: nobody */

	_Atomic(uint64_t) appended;
	_Atomic(uint32_t) bell;
	_Atomic(uint32_t) opened; /* enum opened */
	_Atomic(uint32_t) begun; /* the spool is there, or will not be */
	_Atomic(bool) closing;

	bool started;
	bool told; /* why the database was refused, by sp_audit_ready() */
	pthread_t thread;
	/* The writer's, until it is joined. */
	struct sp_store *store;
	bool recovered;
	int result;
	struct sp_error error; /* of the last attempt; the loop's when `opened` is REFUSED */
};

static int make_parents(const char *path, struct sp_error *e);
static int open_directory(const char *path, struct sp_error *e);
static void remove_spool(struct sp_audit *audit);
static int start_writer(struct sp_audit *audit, struct sp_error *e);
static void begin(struct sp_audit *audit);
static int stop_writer(struct sp_audit *audit);
static void *writer(void *data);
static void follow(struct sp_audit *audit);
static int work(struct sp_audit *audit, struct sp_error *e);
static void recover(struct sp_audit *audit);
static int drain(struct sp_audit *audit, struct sp_error *e);
static bool give_up(int ret, int64_t *deadline);
static void finish(struct sp_audit *audit);
static void wait_for(struct sp_audit *audit, enum bell bell, uint64_t seen, bool closing, int milliseconds);
static void wake(_Atomic(uint32_t) *word);
static int append(struct sp_audit *audit, enum sp_record_kind kind, const void *record);

int sp_audit_default_path(char **path, struct sp_error *e)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	cleanup_free char *buffer = NULL;
	struct passwd entry, *found = NULL;

	/* A relative one is invalid and to be ignored, says the XDG Base Directory Specification. */
	if (state != NULL && state[0] == '/')
		return asprintf(path, "%s/sallyport/audit.db", state) < 0 ? sp_fail(e, ENOMEM, "out of memory") : 0;
	if (home == NULL || home[0] != '/') {
		size_t size = 16384;
		buffer = malloc(size);
		if (buffer == NULL)
			return sp_fail(e, ENOMEM, "out of memory");
		(void)getpwuid_r(getuid(), &entry, buffer, size, &found);
		if (found == NULL || entry.pw_dir[0] != '/')
			return sp_fail(e, ENOENT, "no home directory for the audit database: name one with --audit");
		home = entry.pw_dir;
	}
	return asprintf(path, "%s/.local/state/sallyport/audit.db", home) < 0 ? sp_fail(e, ENOMEM, "out of memory") : 0;
}

static void free_audit(struct sp_audit **audit)
{
	if (*audit == NULL)
		return;
	(void)stop_writer(*audit);
	sp_spool_free((*audit)->spool);
	sp_close_fd(&(*audit)->directory);
	free((*audit)->path);
	free(*audit);
}

int sp_audit_open(const char *path, struct sp_audit **out, struct sp_error *e)
{
	sp_cleanup(free_audit) struct sp_audit *audit = calloc(1, sizeof *audit);
	int ret = 0;

	if (audit == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	audit->directory = -1;
	if (path == NULL)
		ret = sp_audit_default_path(&audit->path, e);
	else if ((audit->path = strdup(path)) == NULL)
		ret = sp_fail(e, ENOMEM, "out of memory");
	if (ret < 0)
		return ret;
	audit->directory = open_directory(audit->path, e);
	if (audit->directory < 0)
		return audit->directory;
	/* The writer opens the database meanwhile: that takes longest. */
	ret = start_writer(audit, e);
	if (ret == 0)
		ret = sp_spool_create(audit->directory, &audit->spool, e);
	begin(audit);
	if (ret < 0) {
		(void)stop_writer(audit);
		remove_spool(audit);
		return ret;
	}
	*out = sp_steal_ptr(audit);
	return 0;
}

int sp_audit_ready(struct sp_audit *audit, struct sp_error *e)
{
	while (atomic_load(&audit->opened) == TRYING)
		(void)syscall(SYS_futex, &audit->opened, FUTEX_WAIT_PRIVATE, TRYING, NULL, NULL, 0);
	if (atomic_load(&audit->opened) == OPENED)
		return 0;
	/* The thread has ended after this, and writes the error no more. */
	audit->told |= e != NULL;
	return sp_fail(e, audit->error.err, "%s", audit->error.text);
}

int sp_audit_close(struct sp_audit *audit, struct sp_error *e)
{
	sp_cleanup(free_audit) struct sp_audit *owned = audit;

	if (owned == NULL)
		return 0;
	int ret = stop_writer(owned);
	if (ret == 0)
		return 0;
	if (owned->appended > 0)
		return sp_fail(e, -ret, "%.900s; the records stay in the spool for the next start", owned->error.text);
	remove_spool(owned);
	return owned->told ? 0 : sp_fail(e, -ret, "%s", owned->error.text);
}

/* Nothing was recorded: nothing is left behind beside a file that is perhaps not even ours. */
static void remove_spool(struct sp_audit *audit)
{
	cleanup_free char *directory = NULL;

	if (audit->spool != NULL)
		sp_spool_remove(audit->spool);
	if (asprintf(&directory, "%s.spool", audit->path) >= 0)
		(void)rmdir(directory);
}

void sp_audit_set_tap(struct sp_audit *audit, const struct sp_audit_tap *tap)
{
	audit->tap = tap;
}

int sp_audit_job(struct sp_audit *audit, const struct sp_audit_job *record)
{
	int ret = sp_audit_ready(audit, NULL);

	return ret < 0 ? ret : append(audit, SP_RECORD_JOB, record);
}

int sp_audit_launch(struct sp_audit *audit, const struct sp_audit_launch *record)
{
	return append(audit, SP_RECORD_LAUNCH, record);
}

int sp_audit_process(struct sp_audit *audit, const struct sp_audit_process *record)
{
	return append(audit, SP_RECORD_PROCESS, record);
}

int sp_audit_exec(struct sp_audit *audit, const struct sp_audit_exec *record)
{
	int ret = append(audit, SP_RECORD_EXEC, record);

	if (audit->tap != NULL)
		audit->tap->exec(record, audit->tap->context);
	return ret;
}

int sp_audit_result(struct sp_audit *audit, const struct sp_audit_result *record)
{
	int ret = append(audit, SP_RECORD_RESULT, record);

	if (audit->tap != NULL)
		audit->tap->result(record, audit->tap->context);
	return ret;
}

int sp_audit_exit(struct sp_audit *audit, const struct sp_audit_exit *record)
{
	return append(audit, SP_RECORD_EXIT, record);
}

int sp_audit_policy(struct sp_audit *audit, const struct sp_audit_policy *record)
{
	return append(audit, SP_RECORD_POLICY, record);
}

int sp_audit_rule(struct sp_audit *audit, const struct sp_audit_rule *record)
{
	return append(audit, SP_RECORD_RULE, record);
}

int sp_audit_job_end(struct sp_audit *audit, const struct sp_audit_job_end *record)
{
	return append(audit, SP_RECORD_JOB_END, record);
}

/* Either the writer sees the new count before it sleeps, or we see that it sleeps: both are sequentially consistent. */
static int append(struct sp_audit *audit, enum sp_record_kind kind, const void *record)
{
	int ret = sp_spool_append(audit->spool, kind, record);

	if (ret < 0) {
		audit->refused += ret == -ENOSPC;
		return ret;
	}
	atomic_fetch_add(&audit->appended, 1);
	/* A job and its first process are followed by an exec. */
	if (kind > SP_RECORD_PROCESS && atomic_load(&audit->bell) == SLEEPING &&
	    atomic_exchange(&audit->bell, AWAKE) != AWAKE)
		wake(&audit->bell);
	return 0;
}

static int open_directory(const char *path, struct sp_error *e)
{
	int fd = sp_spool_directory(path, true, e);

	if (fd != -ENOENT)
		return fd;
	int ret = make_parents(path, e);
	return ret < 0 ? ret : sp_spool_directory(path, true, e);
}

static int make_parents(const char *path, struct sp_error *e)
{
	cleanup_free char *parent = strdup(path);

	if (parent == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	for (char *slash = parent; (slash = strchr(slash + 1, '/')) != NULL; *slash = '/') {
		*slash = '\0';
		if (mkdir(parent, 0700) < 0 && errno != EEXIST)
			return sp_fail(e, errno, "cannot create the directory %s: %s", parent, strerror(errno));
	}
	return 0;
}

static int start_writer(struct sp_audit *audit, struct sp_error *e)
{
	sigset_t all, before;

	/* The loop's signals are the loop's; and SIGXFSZ, blocked, leaves SQLite with an error instead of killing
	 * us. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	int ret = pthread_create(&audit->thread, NULL, writer, audit);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (ret != 0)
		return sp_fail(e, ret, "cannot start the audit writer: %s", strerror(ret));
	audit->started = true;
	return 0;
}

static void begin(struct sp_audit *audit)
{
	atomic_store(&audit->begun, 1);
	wake(&audit->begun);
}

static int stop_writer(struct sp_audit *audit)
{
	if (!audit->started)
		return 0;
	atomic_store(&audit->closing, true);
	(void)atomic_exchange(&audit->bell, AWAKE);
	wake(&audit->bell);
	(void)pthread_join(audit->thread, NULL);
	audit->started = false;
	return audit->result;
}

static void tell(struct sp_audit *audit, enum opened opened)
{
	if (atomic_exchange(&audit->opened, opened) != opened)
		wake(&audit->opened);
}

/* Before anybody hears of the database, and lets the job run. */
static bool drop_capabilities(struct sp_audit *audit)
{
	audit->result = sp_self_drop_capabilities();
	if (audit->result == 0)
		return true;
	(void)sp_fail(&audit->error, -audit->result, "the audit writer cannot drop its capabilities: %s",
		      strerror(-audit->result));
	tell(audit, REFUSED);
	return false;
}

static void *writer(void *data)
{
	struct sp_audit *audit = data;

	(void)pthread_setname_np(pthread_self(), "sp-audit");
	if (!drop_capabilities(audit))
		return NULL;
	sp_cpu_step_back();
	if (sp_store_looks_good(audit->path)) {
		tell(audit, OPENED);
		/* While a launch is being prepared there are better uses for a CPU. */
		wait_for(audit, SLEEPING, atomic_load(&audit->appended), false, -1);
	}
	audit->result = sp_store_open(audit->path, BUSY_MS, &audit->store, &audit->error);
	/* Busy: somebody else holds it for the moment. For that there is the spool, and for a database that only looked
	 * good. */
	bool good = audit->result == 0 || audit->result == -EBUSY || atomic_load(&audit->opened) == OPENED;
	tell(audit, good ? OPENED : REFUSED);
	if (!good)
		return NULL;
	if (audit->store != NULL)
		sp_store_warm_up(audit->store);
	while (atomic_load(&audit->begun) == 0)
		(void)syscall(SYS_futex, &audit->begun, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	if (audit->spool != NULL)
		follow(audit);
	if (audit->spool != NULL && audit->result == 0)
		finish(audit);
	sp_store_close(audit->store);
	return NULL;
}

static void follow(struct sp_audit *audit)
{
	int64_t deadline = 0;
	int retry = RETRY_MIN_MS;

	/* A short job is one transaction, at its end. */
	recover(audit);
	wait_for(audit, GATHERING, 0, false, GATHER_MS);
	for (;;) {
		bool closing = atomic_load(&audit->closing);
		uint64_t seen = atomic_load(&audit->appended);
		audit->result = work(audit, &audit->error);
		if (closing && (audit->result == 0 || give_up(audit->result, &deadline)))
			return;
		if (audit->result == 0) {
			retry = RETRY_MIN_MS;
			sp_spool_prepare(audit->spool);
			wait_for(audit, SLEEPING, seen, closing, -1);
			wait_for(audit, GATHERING, seen, closing, GATHER_MS);
		} else {
			wait_for(audit, GATHERING, seen, closing, closing ? RETRY_MIN_MS : retry);
			retry = retry * 2 < RETRY_MAX_MS ? retry * 2 : RETRY_MAX_MS;
		}
	}
}

static int work(struct sp_audit *audit, struct sp_error *e)
{
	int ret = audit->store == NULL ? sp_store_open(audit->path, BUSY_MS, &audit->store, e) : 0;

	if (ret < 0)
		return ret;
	recover(audit);
	return drain(audit, e);
}

/* The others' first: they are older. What cannot be had now is left for the next start. */
static void recover(struct sp_audit *audit)
{
	if (audit->store != NULL && !audit->recovered)
		audit->recovered = sp_recover(audit->store, audit->directory, NULL, NULL, NULL) != -EBUSY;
}

static int drain(struct sp_audit *audit, struct sp_error *e)
{
	int taken;

	do {
		taken = sp_store_take(audit->store, sp_spool_source(audit->spool), BATCH, e);
		if (taken > 0)
			sp_spool_release(audit->spool);
	} while (taken > 0);
	return taken;
}

static int64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* At the end: what is only busy gets a few seconds, the rest would fail again. */
static bool give_up(int ret, int64_t *deadline)
{
	if (*deadline == 0)
		*deadline = now_ms() + CLOSE_PATIENCE_MS;
	return ret != -EBUSY || now_ms() >= *deadline;
}

static void finish(struct sp_audit *audit)
{
	const char *name = sp_spool_source(audit->spool)->name;
	char note[160];

	sp_spool_remove(audit->spool);
	(void)snprintf(note, sizeof note, "audit spool %s: no room for %" PRIu64 " records, they are lost", name,
		       audit->refused);
	if (audit->refused > 0)
		(void)sp_store_forget(audit->store, name, note, NULL);
}

/* Returns at once when what the caller has seen is no longer so, and may return early. */
static void wait_for(struct sp_audit *audit, enum bell bell, uint64_t seen, bool closing, int milliseconds)
{
	struct timespec timeout = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000};

	atomic_store(&audit->bell, bell);
	if (atomic_load(&audit->closing) == closing && (bell != SLEEPING || atomic_load(&audit->appended) == seen))
		(void)syscall(SYS_futex, &audit->bell, FUTEX_WAIT_PRIVATE, bell, milliseconds < 0 ? NULL : &timeout,
			      NULL, 0);
	atomic_store(&audit->bell, AWAKE);
}

static void wake(_Atomic(uint32_t) *word)
{
	(void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}
