/* sallyportd(8): the system service. One engine, one varlink socket, and rules about who may ask for what. It runs no program, and
 * never becomes another user. If it dies, the kernel kills its jobs. */
#include "api/api.h"
#include "api/place.h"
#include "engine.h"
#include "policy/push.h"
#include "self/harden.h"
#include "service/config.h"
#include "service/journal.h"
#include "util/cleanup.h"
#include "util/printable.h"
#include "util/version.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

/* As the client's own failures: no status of a supervised command. */
enum { EXIT_FAILURE_OF_OURS = 125 };
enum { STATUS_EVERY = 1000 /* milliseconds */ };
#define CONFIG "/etc/sallyport/sallyportd.yaml"

struct loaded {
	const char *name; /* the configuration's */
	struct sp_policy *policy;
};

struct service {
	const char *config_file, *socket_file;
	struct sp_config config;
	struct loaded *policies;
	unsigned policy_count;
	struct sp_policy *builtin; /* root's usual one */
	struct sp_audit *audit;
	uv_loop_t loop;
	struct sp_engine *engine;
	struct sp_api *api;
	struct sp_engine_observer observer;
	uv_poll_t signals;
	uv_timer_t watchdog, status;
	int signal_fd;
	bool ending;
};

/* --- who may what --- */

static const struct deed {
	const char *method;
	enum sp_deed deed;
} methods[] = {
	{"Prepare", SP_DEED_RUN},       {"Attach", SP_DEED_RUN},      {"Run", SP_DEED_RUN},
	{"List", SP_DEED_SEE},          {"Inspect", SP_DEED_SEE},     {"Tree", SP_DEED_SEE},
	{"Log", SP_DEED_SEE},           {"Wait", SP_DEED_SEE},        {"Stats", SP_DEED_SEE},
	{"Kill", SP_DEED_KILL},         {"Freeze", SP_DEED_FREEZE},   {"Thaw", SP_DEED_FREEZE},
	{"Approvals", SP_DEED_APPROVE}, {"Preview", SP_DEED_APPROVE}, {"Approve", SP_DEED_APPROVE},
	{"Deny", SP_DEED_APPROVE},      {"Reload", SP_DEED_RELOAD},
};

static bool may(const struct sp_peer *peer, const char *method, const struct sp_job *job, void *context)
{
	static const char prefix[] = "io.sallyport.";
	const struct service *s = context;

	if (peer->uid == 0)
		return true;
	if (strncmp(method, prefix, strlen(prefix)) != 0)
		return false;
	for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
		if (strcmp(method + strlen(prefix), methods[i].method) == 0)
			return sp_config_may(&s->config, peer, methods[i].deed,
					     job != NULL ? &sp_job_about(job)->uid : NULL);
	return false; /* what is in no rule's words */
}

static void denied(const struct sp_peer *peer, const char *method, const struct sp_job *job, void *context)
{
	(void)context;
	sp_journal_denied(peer, method, job != NULL ? sp_job_id(job) : 0);
}

static const struct sp_policy *find_policy(const char *name, const struct sp_peer *peer, void *context)
{
	const struct service *s = context;
	const char *granted = sp_config_policy(&s->config, peer, name);

	for (unsigned i = 0; granted != NULL && i < s->policy_count; i++)
		if (strcmp(s->policies[i].name, granted) == 0)
			return s->policies[i].policy;
	if (peer->uid == 0 && name == NULL)
		return s->builtin;
	sp_journal_denied(peer, name != NULL ? name : "(no policy)", 0);
	return NULL;
}

/* --- telling systemd --- */

static bool count(struct sp_job *job, void *data)
{
	(void)job;
	++*(unsigned *)data;
	return true;
}

static unsigned count_jobs(struct service *s)
{
	unsigned jobs = 0;

	sp_engine_each_job(s->engine, count, &jobs);
	return jobs;
}

static void on_status(uv_timer_t *timer)
{
	const unsigned jobs = count_jobs(timer->data);

	(void)sd_notifyf(0, "STATUS=%u job%s", jobs, jobs == 1 ? "" : "s");
}

static void changed(struct service *s)
{
	if (!uv_is_active((uv_handle_t *)&s->status) && !s->ending)
		(void)uv_timer_start(&s->status, on_status, STATUS_EVERY, 0);
}

/* On the loop: one that does not get round is not alive. */
static void on_watchdog(uv_timer_t *timer)
{
	(void)timer;
	(void)sd_notify(0, "WATCHDOG=1");
}

static void on_attached(struct sp_job *job, void *context)
{
	sp_journal_job("started", sp_job_id(job), sp_job_about(job)->uid, sp_job_about(job)->policy);
	changed(context);
}

static void stop_if_idle(struct service *s, unsigned left)
{
	if (s->ending && left == 0)
		uv_stop(&s->loop);
}

static void on_job_ended(struct sp_job *job, void *context)
{
	struct service *s = context;

	sp_journal_job("ended", sp_job_id(job), sp_job_about(job)->uid, sp_job_about(job)->policy);
	changed(s);
	stop_if_idle(s, count_jobs(s) - 1); /* it is still counted */
}

/* --- the end --- */

static bool kill_job(struct sp_job *job, void *data)
{
	(void)data;
	sp_job_kill(job);
	return true;
}

static void on_signals(uv_poll_t *handle, int status, int events)
{
	struct service *s = handle->data;
	struct signalfd_siginfo info;

	(void)events;
	while (status == 0 && read(s->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
		if (info.ssi_signo == SIGHUP)
			continue;
		s->ending = true;
		(void)sd_notify(0, "STOPPING=1");
		stop_if_idle(s, count_jobs(s));
		sp_engine_each_job(s->engine, kill_job, NULL);
	}
}

/* --- the beginning --- */

static int load_policies(struct service *s, struct sp_error *e)
{
	int err = sp_policy_load(NULL, &s->builtin, e);

	for (unsigned i = 0; err == 0 && i < s->config.grant_count; i++) {
		const struct sp_grant *grant = &s->config.grants[i];

		for (unsigned n = 0; err == 0 && n < grant->policy_count; n++) {
			struct loaded loaded = {.name = grant->policies[n]};

			err = sp_policy_load(loaded.name, &loaded.policy, e);
			if (err == 0 && !sp_push(s->policies, s->policy_count, loaded))
				err = sp_fail(e, ENOMEM, "out of memory");
		}
	}
	return err;
}

static void start_timer(struct service *s, uv_timer_t *timer)
{
	(void)uv_timer_init(&s->loop, timer);
	timer->data = s;
}

static int watch(struct service *s, struct sp_error *e)
{
	sigset_t set;
	uint64_t patience;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	s->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (s->signal_fd < 0 || uv_poll_init(&s->loop, &s->signals, s->signal_fd) != 0)
		return sp_fail(e, errno, "cannot watch signals: %s", strerror(errno));
	s->signals.data = s;
	(void)uv_poll_start(&s->signals, UV_READABLE, on_signals);
	start_timer(s, &s->status);
	start_timer(s, &s->watchdog);
	if (sd_watchdog_enabled(0, &patience) > 0)
		(void)uv_timer_start(&s->watchdog, on_watchdog, 0, patience / 1000 / 3 + 1);
	return 0;
}

static int listen_by_name(struct service *s, struct sp_error *e)
{
	char place[PATH_MAX], name[PATH_MAX];

	(void)snprintf(place, sizeof place, "%s", s->socket_file);
	(void)snprintf(name, sizeof name, "%s", s->socket_file);
	const char *directory_name = dirname(place);
	(void)mkdir(directory_name, 0711);
	cleanup_close int directory = open(directory_name, O_DIRECTORY | O_CLOEXEC);
	/* Everybody may connect: what he may do there is said by the rules. */
	int fd = directory >= 0 ? sp_place_listen(directory, basename(name), 0666) : -errno;
	if (fd >= 0)
		fd = sp_server_listen(sp_api_server(s->api), fd);
	return fd == 0 ? 0 : sp_fail(e, -fd, "cannot listen at %s: %s", s->socket_file, strerror(-fd));
}

static int listen_anywhere(struct service *s, struct sp_error *e)
{
	const int given = sd_listen_fds(1);

	if (given <= 0)
		return listen_by_name(s, e);
	for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + given; fd++) {
		if (sd_is_socket_unix(fd, SOCK_STREAM, 1, NULL, 0) <= 0)
			return sp_fail(e, EINVAL, "what came as a socket is no Unix stream socket that listens");
		(void)fcntl(fd, F_SETFL, O_NONBLOCK);
		int err = sp_server_listen(sp_api_server(s->api), fd);
		if (err != 0)
			return sp_fail(e, -err, "cannot listen: %s", strerror(-err));
	}
	return 0;
}

static int open_all(struct service *s, struct sp_error *e)
{
	int err = sp_config_load(s->config_file, &s->config, e);

	if (err == 0)
		err = load_policies(s, e);
	if (err == 0)
		err = sp_audit_open(s->config.audit != NULL ? s->config.audit : SP_SERVICE_AUDIT, &s->audit, e);
	if (err == 0)
		err = sp_audit_ready(s->audit, e);
	if (err != 0)
		return err;
	(void)uv_loop_init(&s->loop);
	s->engine = sp_engine_new(&s->loop, s->audit, e);
	if (s->engine == NULL)
		return -e->err;
	const struct sp_api_plan plan = {
		.loop = &s->loop,
		.engine = s->engine,
		.policy = find_policy,
		.attached = on_attached,
		.settings = {.fds = 2, .may = may, .denied = denied, .context = s},
	};
	s->api = sp_api_new(&plan);
	if (s->api == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	s->observer = (struct sp_engine_observer){.job_ended = on_job_ended, .context = s};
	sp_engine_observe(s->engine, &s->observer);
	err = watch(s, e);
	if (err == 0)
		err = listen_anywhere(s, e);
	return err == 0 ? sp_self_confine(e) : err;
}

static void close_all(struct service *s)
{
	sp_list_del(&s->observer.link);
	sp_api_close(s->api);
	uv_close((uv_handle_t *)&s->signals, NULL);
	uv_close((uv_handle_t *)&s->status, NULL);
	uv_close((uv_handle_t *)&s->watchdog, NULL);
	sp_engine_close(s->engine);
	while (uv_run(&s->loop, UV_RUN_NOWAIT) != 0)
		continue;
	(void)uv_loop_close(&s->loop);
	for (unsigned i = 0; i < s->policy_count; i++)
		sp_policy_free(s->policies[i].policy);
	free(s->policies);
	sp_policy_free(s->builtin);
	sp_config_release(&s->config);
}

static int serve(struct service *s)
{
	struct sp_error e = {0};
	sigset_t all;

	/* SIGCHLD is the tracer's, and threads shall not get what the loop waits for. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, NULL);
	(void)signal(SIGCHLD, SIG_DFL);
	if (open_all(s, &e) != 0) {
		(void)fprintf(stderr, "sallyportd: %s\n", e.text);
		return EXIT_FAILURE_OF_OURS;
	}
	(void)sd_notify(0, "READY=1\nSTATUS=0 jobs");
	(void)uv_run(&s->loop, UV_RUN_DEFAULT);
	close_all(s);
	if (sp_audit_close(s->audit, &e) == 0)
		return 0;
	(void)fprintf(stderr, "sallyportd: %s\n", e.text);
	return EXIT_FAILURE_OF_OURS;
}

static const char usage[] = "Usage: sallyportd [OPTION]...\n"
			    "The system service of sallyport.\n"
			    "\n"
			    "      --config FILE   who may do what (default: " CONFIG ", if it is there)\n"
			    "      --socket FILE   where to listen, if systemd gives no socket\n"
			    "                      (default: " SP_SERVICE_SOCKET ")\n"
			    "      --help, --version\n";

static int refuse(const char *word)
{
	(void)fprintf(stderr, "sallyportd: ");
	sp_print_safe(stderr, word, strlen(word));
	(void)fprintf(stderr, " is not understood; see sallyportd --help\n");
	return EXIT_FAILURE_OF_OURS;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"socket", required_argument, NULL, 's'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{0},
	};
	struct service s = {.config_file = access(CONFIG, F_OK) == 0 ? CONFIG : NULL, .socket_file = SP_SERVICE_SOCKET};
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "hV", options, NULL)) != -1) {
		if (c == 'c') {
			s.config_file = optarg;
		} else if (c == 's') {
			s.socket_file = optarg;
		} else if (c == 'h') {
			(void)fputs(usage, stdout);
			return 0;
		} else if (c == 'V') {
			(void)puts("sallyportd " SP_VERSION);
			return 0;
		} else {
			return refuse(argv[optind - 1]);
		}
	}
	if (optind < argc)
		return refuse(argv[optind]);
	return serve(&s);
}
