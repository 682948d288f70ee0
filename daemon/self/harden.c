/* See harden.h: two tables of steps. */
#include "self/harden.h"

#include "self/own_filter.h"
#include "util/kernel.h"

#include <linux/capability.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

extern char **environ;

enum { STACK_MAX = 8 << 20 };

static struct {
	bool protected;
	char **environment; /* our caller's */
	struct rlimit core, stack; /* our caller's */
} own;

static bool refuse_tracers(void);
static bool clean_environment(void);
static bool write_no_core(void);
static bool bound_stack(void);

static const struct {
	bool (*take)(void); /* false with errno */
	const char *what;
	int status;
} protections[] = {
	{refuse_tracers, "refuse tracers (PR_SET_DUMPABLE)", SP_SELF_DUMPABLE},
	{clean_environment, "clean the environment", SP_SELF_ENVIRONMENT},
	{write_no_core, "set the core limit", SP_SELF_LIMITS},
	{bound_stack, "bound the stack", SP_SELF_LIMITS},
};

static int drop_capabilities(void);
static int gain_no_privileges(void);
static int gain_no_code(void);

static const struct {
	int (*take)(void); /* 0 or -errno */
	const char *what;
} confinements[] = {
	{drop_capabilities, "drop capabilities"},
	{gain_no_privileges, "set no_new_privs"},
	{gain_no_code, "refuse new executable memory"},
	{sp_own_filter_load, "load a seccomp filter"},
};

[[gnu::noreturn]] static void give_up(const char *what, int status)
{
	static const char us[] = "sallyport: cannot ", colon[] = ": ", end[] = "\n";
	const char *why = strerrordesc_np(errno);
	const char *const parts[] = {us, what, colon, why != NULL ? why : "unknown error", end};
	struct iovec line[sizeof parts / sizeof *parts];

	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		line[i] = (struct iovec){.iov_base = (void *)parts[i], .iov_len = strlen(parts[i])};
	(void)!writev(STDERR_FILENO, line, sizeof parts / sizeof *parts);
	_exit(status);
}

void sp_self_protect(void)
{
	for (size_t i = 0; i < sizeof protections / sizeof *protections; i++) {
		if (!protections[i].take())
			give_up(protections[i].what, protections[i].status);
	}
	own.protected = true;
}

char **sp_self_environment(void)
{
	return own.environment != NULL ? own.environment : environ;
}

void sp_self_restore(void)
{
	/* A supervisor that cannot be traced has children that cannot be traced. */
	(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	if (!own.protected)
		return;
	(void)setrlimit(RLIMIT_CORE, &own.core);
	(void)setrlimit(RLIMIT_STACK, &own.stack);
}

int sp_self_drop_capabilities(void)
{
	return own.protected ? drop_capabilities() : 0;
}

int sp_self_confine(struct sp_error *e)
{
	for (size_t i = 0; i < sizeof confinements / sizeof *confinements; i++) {
		int err = confinements[i].take();

		if (err != 0)
			return sp_fail(e, -err, "the supervisor cannot %s for itself: %s", confinements[i].what,
				       strerror(-err));
	}
	return 0;
}

void sp_self_release(void)
{
	(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

/* --- before main --- */

/* Neither ptrace nor /proc/PID/mem nor pidfd_getfd(2) for the same user's programs; and no core, whatever core_pattern says. */
static bool refuse_tracers(void)
{
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0;
}

/* As bytes: neither the name nor the value need be text, a name may come twice, and the = may be missing. */
static bool makes_load(const char *variable)
{
	static const char *const names[] = {"GLIBC_TUNABLES", "BASH_ENV"};

	if (strncmp(variable, "LD_", 3) == 0)
		return true;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		size_t length = strlen(names[i]);

		if (strncmp(variable, names[i], length) == 0 && (variable[length] == '=' || variable[length] == '\0'))
			return true;
	}
	return false;
}

/* A new array, so that the caller's is still there for a policy that keeps one of them. mmap(2): malloc may be somebody's own. */
static bool clean_environment(void)
{
	size_t count = 0, kept = 0;
	bool clean = true;

	own.environment = environ;
	for (; environ[count] != NULL; count++)
		clean = clean && !makes_load(environ[count]);
	if (clean)
		return true;
	char **cleaned =
		mmap(NULL, (count + 1) * sizeof *cleaned, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (cleaned == MAP_FAILED)
		return false;
	for (size_t i = 0; i < count; i++) {
		if (!makes_load(environ[i]))
			cleaned[kept++] = environ[i];
	}
	environ = cleaned;
	return true;
}

/* The soft limits only: what we start gets back what our caller had, which the hard ones would forbid. */
static bool write_no_core(void)
{
	if (getrlimit(RLIMIT_CORE, &own.core) != 0)
		return false;
	const struct rlimit none = {.rlim_cur = 0, .rlim_max = own.core.rlim_max};
	return setrlimit(RLIMIT_CORE, &none) == 0;
}

static bool bound_stack(void)
{
	if (getrlimit(RLIMIT_STACK, &own.stack) != 0)
		return false;
	if (own.stack.rlim_cur != RLIM_INFINITY)
		return true;
	const struct rlimit bounded = {.rlim_cur = STACK_MAX, .rlim_max = own.stack.rlim_max};
	return setrlimit(RLIMIT_STACK, &bounded) == 0;
}

/* --- when the child is launched --- */

/* What a root's job needs of its supervisor: to trace and to end those who changed their user, and to read and record what
 * others own. */
static const uint64_t needed =
	1ULL << CAP_SYS_PTRACE | 1ULL << CAP_KILL | 1ULL << CAP_DAC_OVERRIDE | 1ULL << CAP_DAC_READ_SEARCH;

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, sets) != 0)
		return -errno;
	for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
		sets[i].permitted &= (uint32_t)(needed >> 32 * i);
		sets[i].effective = sets[i].permitted;
		sets[i].inheritable = 0; /* and with it the ambient ones */
	}
	return syscall(SYS_capset, &header, sets) == 0 ? 0 : -errno;
}

static int gain_no_privileges(void)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? 0 : -errno;
}

/* Linux 6.3; before that the other steps have to do. */
static int gain_no_code(void)
{
	return prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) == 0 || errno == EINVAL ? 0 : -errno;
}
