/* See plugins.h. */
#include "policy/plugins.h"

#include "policy/push.h"
#include "policy/source.h"
#include "util/cleanup.h"

#include <fcntl.h>
#include <limits.h>
#include <seccomp.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { TIMEOUT_DEFAULT = 50, TIMEOUT_MAX = 60000 };

/* ---- the file ---- */

static bool is_ours(uid_t uid)
{
	return uid == 0 || uid == geteuid();
}

/* Who could have put it there, or changed it? 0: nobody whom we do not trust. */
static int check_owner(int fd, const char *what, struct sp_error *e)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return sp_fail(e, errno, "%s: %s", what, strerror(errno));
	if (!is_ours(st.st_uid))
		return sp_fail(e, EPERM, "%s belongs to uid %u, neither to root nor to the user that supervises", what,
			       st.st_uid);
	if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0 && !(S_ISDIR(st.st_mode) && (st.st_mode & S_ISVTX) != 0))
		return sp_fail(e, EPERM, "%s is writable for %s", what,
			       (st.st_mode & S_IWOTH) != 0 ? "everybody" : "its group");
	return 0;
}

/* One step down a canonical path, which has no links, so that none is followed. */
static int step(int *directory, const char *path, size_t end, size_t begin, int flags, struct sp_error *e)
{
	char part[NAME_MAX + 1], sofar[PATH_MAX];

	if (end - begin >= sizeof part)
		return sp_fail(e, ENAMETOOLONG, "%s: %s", path, strerror(ENAMETOOLONG));
	(void)snprintf(part, sizeof part, "%.*s", (int)(end - begin), path + begin);
	(void)snprintf(sofar, sizeof sofar, "%.*s", (int)end, path);
	cleanup_close int fd = openat(*directory, part, flags | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return sp_fail(e, errno, "%s: %s", sofar, strerror(errno));
	int err = check_owner(fd, sofar, e);
	if (err != 0)
		return err;
	sp_close_fd(directory);
	*directory = sp_steal_fd(&fd);
	return 0;
}

int sp_plugin_open(const char *path, struct sp_error *e)
{
	cleanup_close int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	int err = fd < 0 ? sp_fail(e, errno, "/: %s", strerror(errno)) : check_owner(fd, "/", e);
	for (size_t begin = 1; err == 0;) {
		size_t end = begin + strcspn(path + begin, "/");

		if (path[end] == '\0') {
			/* A FIFO must not make us wait. */
			err = step(&fd, path, end, begin, O_RDONLY | O_NONBLOCK, e);
			break;
		}
		err = step(&fd, path, end, begin, O_PATH | O_DIRECTORY, e);
		begin = end + 1;
	}
	if (err != 0)
		return err;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return sp_fail(e, EINVAL, "%s is not a regular file", path);
	return sp_steal_fd(&fd);
}

/* ---- the section ---- */

struct compiler {
	const struct sp_document *document;
	const char *policy_file;
	struct sp_plugin_specs *to;
	struct sp_error *e;
};

static int out_of_memory(const struct compiler *c)
{
	return sp_fail(c->e, ENOMEM, "out of memory");
}

/* Canonical, the caller's; NULL with errno. */
static char *canonical(const char *directory, size_t length, const char *name)
{
	cleanup_free char *path = NULL;

	if (asprintf(&path, "%.*s/%s", (int)length, directory, name) < 0) {
		path = NULL;
		errno = ENOMEM;
		return NULL;
	}
	return realpath(path, NULL);
}

static char *find_plugin(const struct compiler *c, const char *name)
{
	const char *slash = strrchr(c->policy_file, '/');
	char *path = name[0] == '/'  ? realpath(name, NULL)
		     : slash != NULL ? canonical(c->policy_file, (size_t)(slash - c->policy_file), name)
				     : canonical(".", 1, name);

	if (path == NULL && errno == ENOENT && name[0] != '/')
		path = canonical(SP_PLUGIN_DIR, strlen(SP_PLUGIN_DIR), name);
	return path;
}

static int compile_path(const struct compiler *c, const struct sp_source_text *text, struct sp_plugin_spec *to)
{
	struct sp_error why;

	to->path = find_plugin(c, text->text);
	if (to->path == NULL && errno == ENOENT)
		return sp_document_fail(c->document, text->at, c->e,
					"no plugin '%.200s' beside the policy file or in " SP_PLUGIN_DIR, text->text);
	if (to->path == NULL)
		return sp_document_fail(c->document, text->at, c->e, "plugin '%.200s': %s", text->text,
					strerror(errno));
	cleanup_close int fd = sp_plugin_open(to->path, &why);
	if (fd < 0)
		return sp_document_fail(c->document, text->at, c->e, "plugin not loaded: %s", why.text);
	const char *base = strrchr(to->path, '/') + 1;
	const size_t length = strlen(base);
	const size_t stem = length > 3 && strcmp(base + length - 3, ".so") == 0 ? length - 3 : length;
	if (asprintf(&to->rule, "plugin:%.*s", (int)stem, base) < 0) {
		to->rule = NULL;
		return out_of_memory(c);
	}
	to->name = to->rule + strlen("plugin:");
	return 0;
}

static int compile_timeout(const struct compiler *c, const struct sp_source_text *text, unsigned *to)
{
	char *end;

	*to = TIMEOUT_DEFAULT;
	if (text->text == NULL)
		return 0;
	const long value = strtol(text->text, &end, 10);
	if (*end != '\0' || end == text->text || value < 1 || value > TIMEOUT_MAX)
		return sp_document_fail(c->document, text->at, c->e,
					"bad timeout_ms '%.60s', expected a number from 1 to %d", text->text,
					TIMEOUT_MAX);
	*to = (unsigned)value;
	return 0;
}

static int compile_plugin(const struct compiler *c, const struct sp_source_plugin *from)
{
	if (from->abi == SP_PLUGIN_CRUN && from->when == SP_PLUGIN_ALLOWED)
		return sp_document_fail(c->document, from->at, c->e,
					"a plugin of crun's is not asked about execs, so `when` says nothing");
	if (!sp_push(c->to->items, c->to->count, {0}))
		return out_of_memory(c);
	struct sp_plugin_spec *to = &c->to->items[c->to->count - 1];
	int rc = compile_path(c, &from->path, to);
	if (rc == 0)
		rc = compile_timeout(c, &from->timeout_ms, &to->timeout);
	to->config = from->config.text != NULL ? from->config.text : "{}";
	to->isolation = from->isolation;
	to->when = from->when;
	to->abi = from->abi;
	c->to->judges += to->abi == SP_PLUGIN_OURS;
	return rc;
}

/* Calls that somebody else decides or has decided, and those by which a launch itself gets from the filter to its execve: nobody
 * could answer them yet. */
static bool may_be_routed(int call)
{
	static const int ours[] = {
		SYS_execve,
		SYS_execveat,
		SYS_fork,
		SYS_vfork,
		SYS_clone,
		SYS_clone3,
		SYS_io_uring_setup,
		SYS_io_uring_enter,
		SYS_io_uring_register,
		SYS_ptrace,
		SYS_process_vm_writev,
		SYS_userfaultfd,
		SYS_bpf,
		SYS_perf_event_open,
		SYS_kexec_load,
		SYS_kexec_file_load,
		SYS_init_module,
		SYS_finit_module,
		SYS_delete_module,
		SYS_sendmsg,
		SYS_sendto,
		SYS_recvfrom,
		SYS_read,
		SYS_write,
		SYS_close,
		SYS_prlimit64,
		SYS_rt_sigaction,
		SYS_rt_sigprocmask,
		SYS_rt_sigreturn,
		SYS_exit,
		SYS_exit_group,
		SYS_seccomp,
		SYS_restart_syscall,
		SYS_sched_setattr,
	};

	for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
		if (ours[i] == call)
			return false;
	return call >= 0;
}

static int compile_calls(const struct compiler *c, const struct sp_source_texts *texts)
{
	for (uint32_t i = 0; i < texts->items_count; i++) {
		const struct sp_source_text *text = &texts->items[i];
		const int call = seccomp_syscall_resolve_name(text->text);

		if (call == __NR_SCMP_ERROR)
			return sp_document_fail(c->document, text->at, c->e, "unknown system call '%.60s'", text->text);
		if (!may_be_routed(call))
			return sp_document_fail(
				c->document, text->at, c->e,
				"'%.60s' cannot be routed to a plugin: sallyport decides it, or needs it to "
				"start a program",
				text->text);
		if (!sp_push(c->to->calls, c->to->call_count, call))
			return out_of_memory(c);
	}
	return 0;
}

int sp_plugin_specs_compile(const struct sp_source *source, const char *policy_file, struct sp_plugin_specs *specs,
			    struct sp_error *e)
{
	const struct sp_source_policy *policy = source->policy;
	const struct compiler c = {.document = source->document, .policy_file = policy_file, .to = specs, .e = e};

	for (uint32_t i = 0; i < policy->plugins_count; i++) {
		int rc = compile_plugin(&c, &policy->plugins[i]);

		if (rc < 0)
			return rc;
	}
	int rc = compile_calls(&c, &policy->syscalls.notify);
	if (rc == 0 && specs->call_count > 0 && specs->judges == specs->count)
		return sp_document_fail(c.document, policy->syscalls.notify.at, e,
					"no plugin with abi: crun is there to be asked about these calls");
	if (rc == 0 && specs->call_count == 0 && specs->judges < specs->count)
		return sp_document_fail(
			c.document, policy->plugins[0].at, e,
			"a plugin with abi: crun is only asked about the calls in syscalls.notify, which is "
			"empty");
	return rc;
}

void sp_plugin_specs_release(struct sp_plugin_specs *specs)
{
	for (size_t i = 0; i < specs->count; i++) {
		free(specs->items[i].path);
		free(specs->items[i].rule);
	}
	free(specs->items);
	free(specs->calls);
}
