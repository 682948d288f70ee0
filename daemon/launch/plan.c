/* See plan.h: from the policy's words to what the kernel is asked for. */
#include "launch/plan.h"

#include "policy/glob.h"
#include "policy/push.h"
#include "util/cleanup.h"

#include <linux/landlock.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/msg.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct planner {
	struct sp_launch_plan *plan;
	const struct sp_confinement *policy;
	struct sp_error *e;
};

static int plan_program(struct planner *p);
static int plan_environment(struct planner *p);
static int plan_process(struct planner *p);
static int plan_ids(struct planner *p);
static int plan_network(struct planner *p);
static int plan_root(struct planner *p);
static int plan_landlock(struct planner *p);
static int plan_limits(struct planner *p);
static int plan_syscalls(struct planner *p);

static void free_plan_ptr(struct sp_launch_plan **plan)
{
	sp_launch_plan_free(*plan);
}

int sp_launch_plan_new(const struct sp_launch *launch, struct sp_launch_plan **out, struct sp_error *e)
{
	sp_cleanup(free_plan_ptr) struct sp_launch_plan *plan = calloc(1, sizeof *plan);
	struct planner p = {.plan = plan, .policy = launch->confinement, .e = e};
	int err;

	if (plan == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	plan->launch = *launch;
	plan->confinement = launch->confinement;
	if ((err = plan_program(&p)) < 0)
		return err;
	/* Most jobs ask for nothing else. */
	if (launch->confinement->given &&
	    ((err = plan_environment(&p)) < 0 || (err = plan_process(&p)) < 0 || (err = plan_ids(&p)) < 0 ||
	     (err = plan_network(&p)) < 0 || (err = plan_root(&p)) < 0 || (err = plan_landlock(&p)) < 0 ||
	     (err = plan_limits(&p)) < 0 || (err = plan_syscalls(&p)) < 0))
		return err;
	*out = sp_steal_ptr(plan);
	return 0;
}

void sp_launch_plan_free(struct sp_launch_plan *plan)
{
	if (plan == NULL)
		return;
	for (size_t i = 0; i < plan->text_count; i++)
		free(plan->texts[i]);
	free(plan->texts);
	free(plan->shell_argv);
	free(plan->envp);
	free(plan->uid_map);
	free(plan->gid_map);
	free(plan->root);
	free(plan->loopback_up.data);
	free(plan->paths);
	free(plan->port);
	sp_filter_free(&plan->syscalls);
	free(plan);
}

static int out_of_memory(struct planner *p)
{
	return sp_fail(p->e, ENOMEM, "out of memory");
}

static void ask(struct planner *p, enum sp_stage stage, bool asked)
{
	if (asked)
		p->plan->asked |= UINT64_C(1) << stage;
}

/* A text that lives as long as the plan; NULL: out of memory. */
[[gnu::format(printf, 2, 3)]] static const char *text(struct planner *p, const char *format, ...)
{
	struct sp_launch_plan *plan = p->plan;
	va_list args;
	char *made;

	va_start(args, format);
	int n = vasprintf(&made, format, args);
	va_end(args);
	if (n < 0)
		return NULL;
	if (sp_push(plan->texts, plan->text_count, made))
		return made;
	free(made);
	return NULL;
}

/* ---- The program ---- */

static size_t count_words(char *const *words)
{
	size_t n = 0;

	while (words[n] != NULL)
		n++;
	return n;
}

/* A file without #! that the kernel refuses with ENOEXEC is a shell script, as for execvp(3). */
static int plan_program(struct planner *p)
{
	const struct sp_launch *launch = &p->plan->launch;
	size_t count = count_words(launch->argv);
	char **argv = p->plan->shell_argv = calloc(count + 3, sizeof *argv);

	if (argv == NULL)
		return out_of_memory(p);
	argv[0] = (char *)"/bin/sh";
	argv[1] = (char *)launch->file;
	for (size_t i = 1; i < count; i++)
		argv[i + 1] = launch->argv[i];
	ask(p, SP_STAGE_NO_NEW_PRIVS, p->policy->no_new_privs);
	return 0;
}

/* ---- The environment ---- */

static bool matches(const struct sp_name_globs *globs, const char *name, size_t size)
{
	for (size_t i = 0; i < globs->count; i++)
		if (sp_glob_match(globs->items[i], name, size))
			return true;
	return false;
}

/* What is named to be kept is kept. Bytes are compared: a name need not be text in any encoding. */
static bool is_passed_on(const struct sp_confinement *policy, const char *variable)
{
	const size_t size = strcspn(variable, "=");

	if (matches(&policy->keep_env, variable, size))
		return true;
	return !policy->clear_env && !matches(&policy->strip_env, variable, size);
}

static int plan_environment(struct planner *p)
{
	char *const *envp = p->plan->launch.envp;
	size_t kept = 0;

	if (!p->policy->clear_env && p->policy->strip_env.count == 0)
		return 0;
	p->plan->envp = calloc(count_words(envp) + 1, sizeof *envp);
	if (p->plan->envp == NULL)
		return out_of_memory(p);
	for (size_t i = 0; envp[i] != NULL; i++)
		if (is_passed_on(p->policy, envp[i]))
			p->plan->envp[kept++] = envp[i];
	p->plan->launch.envp = p->plan->envp;
	ask(p, SP_STAGE_ENVIRONMENT, true);
	return 0;
}

/* ---- What is one call in the child ---- */

static int plan_process(struct planner *p)
{
	const struct sp_confinement *policy = p->policy;
	struct sp_launch_plan *plan = p->plan;

	ask(p, SP_STAGE_OOM_SCORE, policy->oom_score_adj.given);
	(void)snprintf(plan->oom_score, sizeof plan->oom_score, "%d", (int)policy->oom_score_adj.value);
	ask(p, SP_STAGE_NICE, policy->nice.given);
	ask(p, SP_STAGE_CPU_SET, policy->cpu_set.given);
	ask(p, SP_STAGE_CORE_SCHEDULING, policy->core_scheduling);
	ask(p, SP_STAGE_SESSION, policy->new_session);
	ask(p, SP_STAGE_PROCESS_GROUP, policy->new_process_group);
	ask(p, SP_STAGE_CWD, policy->cwd != NULL);
	ask(p, SP_STAGE_UMASK, policy->umask.given);
	ask(p, SP_STAGE_PARENT_DEATH, policy->parent_death_signal.given);
	ask(p, SP_STAGE_CLOSE_FDS, policy->close_fds);
	ask(p, SP_STAGE_MDWE, policy->mdwe);
	ask(p, SP_STAGE_IPC, (policy->namespaces & CLONE_NEWIPC) != 0);
	ask(p, SP_STAGE_UTS, (policy->namespaces & CLONE_NEWUTS) != 0);
	ask(p, SP_STAGE_CGROUP, (policy->namespaces & CLONE_NEWCGROUP) != 0);
	ask(p, SP_STAGE_PID, (policy->namespaces & CLONE_NEWPID) != 0);
	ask(p, SP_STAGE_MOUNT, (policy->namespaces & CLONE_NEWNS) != 0);
	ask(p, SP_STAGE_PROC, (policy->namespaces & CLONE_NEWPID) != 0 && (policy->namespaces & CLONE_NEWNS) != 0);
	return 0;
}

/* ---- The user namespace ---- */

/* The lines of a map; without any, our own id stays what it is. *own: it is in the map, *first: what else to become. */
static char *make_map(const struct sp_words *lines, unsigned id, bool *own, unsigned *first)
{
	char *map = NULL;
	size_t size;
	FILE *out = open_memstream(&map, &size);

	if (out == NULL)
		return NULL;
	*own = lines->count == 0;
	if (lines->count == 0)
		(void)fprintf(out, "%u %u 1\n", id, id);
	for (size_t i = 0; i < lines->count; i++) {
		unsigned inside = 0, outside = 0, count = 0;

		(void)sscanf(lines->items[i], "%u %u %u", &inside, &outside, &count);
		(void)fprintf(out, "%u %u %u\n", inside, outside, count);
		*own |= id >= outside && id - outside < count;
		*first = i == 0 ? inside : *first;
	}
	return fclose(out) == 0 ? map : NULL;
}

static int plan_ids(struct planner *p)
{
	struct sp_launch_plan *plan = p->plan;
	bool own_uid, own_gid;

	if ((p->policy->namespaces & CLONE_NEWUSER) == 0)
		return 0;
	plan->uid_map = make_map(&p->policy->uid_map, geteuid(), &own_uid, &plan->first_uid);
	plan->gid_map = make_map(&p->policy->gid_map, getegid(), &own_gid, &plan->first_gid);
	if (plan->uid_map == NULL || plan->gid_map == NULL)
		return out_of_memory(p);
	plan->changes_uid = !own_uid;
	plan->changes_gid = !own_gid;
	ask(p, SP_STAGE_USER, true);
	return 0;
}

/* ---- The network namespace ---- */

static void free_message(struct nl_msg **message)
{
	if (*message != NULL)
		nlmsg_free(*message);
}

/* "Link 1, which lo is in every new namespace, is up." Made here, since libnl allocates; sent by the child. */
static int plan_network(struct planner *p)
{
	const struct ifinfomsg up = {
		.ifi_family = AF_UNSPEC, .ifi_index = 1, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};

	if ((p->policy->namespaces & CLONE_NEWNET) == 0)
		return 0;
	sp_cleanup(free_message) struct nl_msg *message = nlmsg_alloc_simple(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK);
	if (message == NULL || nlmsg_append(message, (void *)&up, sizeof up, NLMSG_ALIGNTO) != 0)
		return out_of_memory(p);
	p->plan->loopback_up.size = nlmsg_hdr(message)->nlmsg_len;
	p->plan->loopback_up.data = malloc(p->plan->loopback_up.size);
	if (p->plan->loopback_up.data == NULL)
		return out_of_memory(p);
	memcpy(p->plan->loopback_up.data, nlmsg_hdr(message), p->plan->loopback_up.size);
	ask(p, SP_STAGE_NET, true);
	ask(p, SP_STAGE_LOOPBACK, true);
	return 0;
}

/* ---- The root directory ---- */

static int add_item(struct planner *p, enum sp_root_step step, const char *from, const char *to, uint64_t attributes)
{
	struct sp_launch_plan *plan = p->plan;

	if (from == NULL || to == NULL ||
	    !sp_push(plan->root, plan->root_count, {.step = step, .from = from, .to = to, .attributes = attributes}))
		return out_of_memory(p);
	return 0;
}

/* The directories above a path, the path itself excepted. */
static int add_directories(struct planner *p, const char *to)
{
	int err = 0;

	for (const char *slash = strchr(to, '/'); err == 0 && slash != NULL; slash = strchr(slash + 1, '/'))
		if (slash > to)
			err = add_item(p, SP_ROOT_DIRECTORY, "", text(p, "%.*s", (int)(slash - to), to), 0);
	return err;
}

static const char *below_root(const char *path)
{
	return path + strspn(path, "/");
}

/* On a merged-usr system /bin is a link, and stays one. */
static int add_link(struct planner *p, const char *from, const char *to)
{
	char target[4096];
	ssize_t n = readlink(from, target, sizeof target - 1);

	target[n > 0 ? n : 0] = '\0';
	return add_item(p, SP_ROOT_LINK, text(p, "%s", target), to, 0);
}

static int add_bind(struct planner *p, const char *from, const char *path, uint64_t attributes)
{
	const char *to = below_root(path);
	struct stat st;

	if (*to == '\0')
		return sp_fail(p->e, EINVAL, "nothing can be bound to the root directory itself");
	int err = add_directories(p, to);
	if (err == 0 && strcmp(from, path) == 0 && lstat(from, &st) == 0 && S_ISLNK(st.st_mode))
		return add_link(p, from, to);
	/* What is not there is found missing, and recorded, by the child. */
	bool directory = stat(from, &st) != 0 || S_ISDIR(st.st_mode);
	if (err == 0)
		err = add_item(p, directory ? SP_ROOT_DIRECTORY : SP_ROOT_FILE, "", to, 0);
	return err == 0 ? add_item(p, SP_ROOT_BIND, from, to, attributes) : err;
}

static int add_tmpfs(struct planner *p, const char *path)
{
	const char *to = below_root(path);
	int err = add_directories(p, to);

	if (err == 0)
		err = add_item(p, SP_ROOT_DIRECTORY, "", to, 0);
	return err == 0 ? add_item(p, SP_ROOT_TMPFS, "", to, 0) : err;
}

/* What programs expect in any /dev, and nothing of the machine's. */
static int add_devices(struct planner *p)
{
	static const char *const devices[] = {"/dev/null",   "/dev/zero",    "/dev/full",
					      "/dev/random", "/dev/urandom", "/dev/tty"};
	static const char *const links[][2] = {
		{"/proc/self/fd", "dev/fd"},
		{"/proc/self/fd/0", "dev/stdin"},
		{"/proc/self/fd/1", "dev/stdout"},
		{"/proc/self/fd/2", "dev/stderr"},
	};
	int err = 0;

	for (size_t i = 0; err == 0 && i < COUNT(devices); i++)
		err = add_bind(p, devices[i], devices[i], MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	for (size_t i = 0; err == 0 && i < COUNT(links); i++)
		err = add_item(p, SP_ROOT_LINK, links[i][0], links[i][1], 0);
	return err == 0 ? add_tmpfs(p, "/dev/shm") : err;
}

struct place {
	const char *path;
	const struct sp_bind *bind; /* NULL: a tmpfs */
};

/* What is above comes first, whichever list it stands in: a path is longer than those above it. */
static int compare_places(const void *a, const void *b)
{
	const struct place *left = a, *right = b;
	const size_t l = strlen(left->path), r = strlen(right->path);

	return (l > r) - (l < r);
}

static int add_place(struct planner *p, const struct place *place)
{
	if (place->bind == NULL)
		return add_tmpfs(p, place->path);
	return add_bind(p, place->bind->from, place->path,
			MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (place->bind->write ? 0 : MOUNT_ATTR_RDONLY));
}

static int add_places(struct planner *p)
{
	const struct sp_confinement *policy = p->policy;
	const size_t count = policy->bind_count + policy->tmpfs.count;
	cleanup_free struct place *places = calloc(count, sizeof *places);
	int err = 0;

	if (places == NULL)
		return out_of_memory(p);
	for (size_t i = 0; i < policy->bind_count; i++)
		places[i] = (struct place){policy->binds[i].to, &policy->binds[i]};
	for (size_t i = 0; i < policy->tmpfs.count; i++)
		places[policy->bind_count + i] = (struct place){policy->tmpfs.items[i], NULL};
	qsort(places, count, sizeof *places, compare_places);
	for (size_t i = 0; err == 0 && i < count; i++)
		err = add_place(p, &places[i]);
	return err;
}

static int plan_new_root(struct planner *p)
{
	int err = add_devices(p);

	if (err == 0 && sp_launch_asks(p->plan, SP_STAGE_PROC))
		err = add_item(p, SP_ROOT_DIRECTORY, "", "proc", 0);
	if (err == 0 && sp_launch_asks(p->plan, SP_STAGE_PROC))
		err = add_item(p, SP_ROOT_PROC, "", "proc", 0);
	return err == 0 ? add_places(p) : err;
}

static int plan_root(struct planner *p)
{
	struct sp_launch_plan *plan = p->plan;
	const char *chroot = p->policy->chroot;

	ask(p, SP_STAGE_ROOT, chroot != NULL || p->policy->bind_count > 0);
	if (p->policy->memory.given)
		(void)snprintf(plan->tmpfs_size, sizeof plan->tmpfs_size, "%lld", (long long)p->policy->memory.value);
	plan->proc = chroot != NULL ? text(p, "%s/proc", chroot) : "/proc";
	if (plan->proc == NULL)
		return out_of_memory(p);
	return p->policy->bind_count > 0 ? plan_new_root(p) : 0;
}

/* ---- Landlock ---- */

uint64_t sp_landlock_rights(int version)
{
	/* MAKE_SYM is the last that the first version knows. */
	uint64_t rights = version >= 1 ? 2 * LANDLOCK_ACCESS_FS_MAKE_SYM - 1 : 0;

	if (version >= 2)
		rights |= SP_LANDLOCK_FS_REFER;
	if (version >= 3)
		rights |= SP_LANDLOCK_FS_TRUNCATE;
	if (version >= 5)
		rights |= SP_LANDLOCK_FS_IOCTL_DEV;
	return rights;
}

static int add_paths(struct planner *p, const struct sp_words *words, uint64_t rights)
{
	struct sp_launch_plan *plan = p->plan;

	for (size_t i = 0; i < words->count; i++)
		if (!sp_push(plan->paths, plan->path_count,
			     {.path = words->items[i], .rights = rights & plan->filesystem.fs}))
			return out_of_memory(p);
	return 0;
}

static int plan_filesystem(struct planner *p)
{
	static const uint64_t read = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
	/* The kernel opens what it executes for reading. */
	static const uint64_t exec = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE;
	/* All but to execute and to make devices. */
	static const uint64_t write =
		~(uint64_t)(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK);
	const long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	int err;

	if (!p->policy->filesystem)
		return 0;
	p->plan->filesystem.fs = sp_landlock_rights(version > 0 ? (int)version : 1);
	p->plan->lacks_rights = p->plan->filesystem.fs != sp_landlock_rights(INT32_MAX);
	ask(p, SP_STAGE_FILESYSTEM, true);
	ask(p, SP_STAGE_FILESYSTEM_RIGHTS, true);
	if ((err = add_paths(p, &p->policy->read, read)) < 0 || (err = add_paths(p, &p->policy->write, write)) < 0)
		return err;
	return add_paths(p, &p->policy->exec, exec);
}

static int add_ports(struct planner *p, const uint16_t *ports, size_t count, uint64_t access)
{
	struct sp_launch_plan *plan = p->plan;

	for (size_t i = 0; i < count; i++)
		if (!sp_push(plan->port, plan->port_count, {.access = access, .port = ports[i]}))
			return out_of_memory(p);
	return 0;
}

static int plan_landlock(struct planner *p)
{
	const struct sp_confinement *policy = p->policy;
	int err = plan_filesystem(p);

	if (err < 0)
		return err;
	ask(p, SP_STAGE_PORTS, policy->network == SP_NETWORK_PORTS);
	p->plan->ports.net = SP_LANDLOCK_NET_BIND_TCP | SP_LANDLOCK_NET_CONNECT_TCP;
	ask(p, SP_STAGE_SCOPES, policy->scopes != 0);
	p->plan->scopes.scoped = policy->scopes;
	err = add_ports(p, policy->connect_ports, policy->connect_count, SP_LANDLOCK_NET_CONNECT_TCP);
	return err < 0 ? err : add_ports(p, policy->bind_ports, policy->bind_count_tcp, SP_LANDLOCK_NET_BIND_TCP);
}

/* ---- Limits and capabilities ---- */

static void plan_tree(struct planner *p)
{
	const struct sp_tree_limits *limits = p->plan->launch.limits;

	for (enum sp_tree_limit i = 0; limits != NULL && i < SP_TREE_LIMITS; i++)
		ask(p, SP_STAGE_TREE_MEMORY + i, limits->value[i] > 0);
}

/* A limit is never raised: where the one in force is lower, that one stays. */
static struct rlimit lowered(int resource, int64_t value, const struct rlimit *nofile)
{
	struct rlimit now = {RLIM_INFINITY, RLIM_INFINITY};

	(void)getrlimit(resource, &now);
	if (resource == RLIMIT_NOFILE && nofile != NULL)
		now = *nofile;
	rlim_t limit = now.rlim_max < (rlim_t)value ? now.rlim_max : (rlim_t)value;
	return (struct rlimit){limit, limit};
}

/* RLIMIT_NPROC is about all that a user has, the desktop included; in a user namespace about what the user has there. Elsewhere the
 * control group, or the supervisor, counts the tree. */
static bool counts_only_its_own(const struct sp_confinement *policy)
{
	return (policy->namespaces & CLONE_NEWUSER) != 0;
}

static int plan_limits(struct planner *p)
{
	static const int resources[SP_LIMITS] = {
		[SP_LIMIT_CPU] = RLIMIT_CPU,         [SP_LIMIT_OPEN_FILES] = RLIMIT_NOFILE,
		[SP_LIMIT_PROCESSES] = RLIMIT_NPROC, [SP_LIMIT_FILE_SIZE] = RLIMIT_FSIZE,
		[SP_LIMIT_CORE] = RLIMIT_CORE,       [SP_LIMIT_STACK] = RLIMIT_STACK,
	};
	const struct sp_confinement *policy = p->policy;
	struct sp_launch_plan *plan = p->plan;

	plan_tree(p);
	for (int i = 0; i < SP_LIMITS; i++)
		if (policy->limits[i].given && (i != SP_LIMIT_PROCESSES || counts_only_its_own(policy)))
			plan->limits[plan->limit_count++] = (struct sp_limit_value){
				resources[i], lowered(resources[i], policy->limits[i].value, plan->launch.nofile)};
	if (policy->limits[SP_LIMIT_OPEN_FILES].given)
		plan->launch.nofile = NULL;
	ask(p, SP_STAGE_LIMITS, plan->limit_count > 0);
	ask(p, SP_STAGE_ADDRESS_SPACE, policy->address_space.given);
	plan->address_space = lowered(RLIMIT_AS, policy->address_space.value, NULL);

	plan->capabilities = policy->capabilities;
	plan->last_capability = cap_max_bits() - 1;
	if (!policy->capabilities.given)
		plan->capabilities.bounding = plan->capabilities.effective = UINT64_MAX;
	/* In the mount namespace that it is given, a job is judged by the names of files there. So it must not be able to
	 * mount: it could give any file any name. */
	if (sp_launch_asks(plan, SP_STAGE_MOUNT)) {
		plan->capabilities.bounding &= ~(UINT64_C(1) << CAP_SYS_ADMIN);
		plan->capabilities.effective &= ~(UINT64_C(1) << CAP_SYS_ADMIN);
		plan->capabilities.ambient &= ~(UINT64_C(1) << CAP_SYS_ADMIN);
	}
	ask(p, SP_STAGE_CAPABILITIES, policy->capabilities.given || sp_launch_asks(plan, SP_STAGE_MOUNT));
	return 0;
}

/* ---- System calls ---- */

static int plan_syscalls(struct planner *p)
{
	const struct sp_confinement *policy = p->policy;
	const struct sp_filter_calls calls = {
		.deny = {policy->deny.items, policy->deny.count},
		.kill = {policy->kill.items, policy->kill.count},
		.allow = {policy->allow.items, policy->allow.count},
		.strict = policy->strict,
	};

	ask(p, SP_STAGE_SYSCALLS, policy->syscalls);
	return policy->syscalls ? sp_filter_compile_calls(&p->plan->syscalls, &calls, p->e) : 0;
}
