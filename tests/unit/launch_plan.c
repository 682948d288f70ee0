/* From a policy's words to the plan that a child carries out. */
#include "policy_helper.h"

#include "launch/plan.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/mount.h>
#include <unistd.h>

struct made {
	struct sp_policy *policy;
	struct sp_launch_plan *plan;
};

static void release(struct made *made)
{
	sp_launch_plan_free(made->plan);
	sp_policy_free(made->policy);
}

static char *const argv[] = {"prog", "one", NULL};
static char *const envp[] = {"PATH=/bin", "LD_PRELOAD=x", "LANG=C", "X", NULL};

static struct made make(const char *sections)
{
	cleanup_free char *text = NULL;
	struct sp_error e = {0};

	cr_assert_geq(asprintf(&text, "version: 1\n%s\n", sections), 0);
	struct made made = {.policy = parse(text)};
	const struct sp_launch launch = {
		.file = "/bin/prog", .argv = argv, .envp = envp, .confinement = sp_policy_confinement(made.policy)};
	cr_assert_eq(sp_launch_plan_new(&launch, &made.plan, &e), 0, "%s", e.text);
	return made;
}

#define cleanup_made sp_cleanup(release)

Test(launch_plan, nothing_asked_for)
{
	cleanup_made struct made made = make("");

	cr_expect_eq(made.plan->asked, 1 << SP_STAGE_NO_NEW_PRIVS);
	cr_expect_eq(made.plan->launch.envp, envp);
	cr_expect_str_eq(made.plan->shell_argv[0], "/bin/sh");
	cr_expect_str_eq(made.plan->shell_argv[1], "/bin/prog");
	cr_expect_str_eq(made.plan->shell_argv[2], "one");
	cr_expect_null(made.plan->shell_argv[3]);
}

Test(launch_plan, environment)
{
	static const struct {
		const char *launch;
		const char *variables[5];
	} rows[] = {
		{"{}", {"PATH=/bin", "LANG=C", "X"}},
		{"{strip_env: [L*]}", {"PATH=/bin", "X"}},
		{"{strip_env: [L*], keep_env: [LANG]}", {"PATH=/bin", "LANG=C", "X"}},
		{"{clear_env: true}", {NULL}},
		{"{clear_env: true, keep_env: [P*, X]}", {"PATH=/bin", "X"}},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		cleanup_free char *text = NULL;

		cr_assert_geq(asprintf(&text, "launch: %s", rows[i].launch), 0);
		cleanup_made struct made made = make(text);
		cr_expect(sp_launch_asks(made.plan, SP_STAGE_ENVIRONMENT));
		size_t n = 0;
		for (; rows[i].variables[n] != NULL && made.plan->launch.envp[n] != NULL; n++)
			cr_expect_str_eq(made.plan->launch.envp[n], rows[i].variables[n], "%s", rows[i].launch);
		cr_expect(rows[i].variables[n] == NULL && made.plan->launch.envp[n] == NULL, "%s", rows[i].launch);
	}
}

Test(launch_plan, ids)
{
	cleanup_free char *own = NULL;
	cleanup_made struct made made = make("launch: {namespaces: user}");

	cr_assert_geq(asprintf(&own, "%u %u 1\n", geteuid(), geteuid()), 0);
	cr_expect_str_eq(made.plan->uid_map, own);
	cr_expect_not(made.plan->changes_uid || made.plan->changes_gid);

	cleanup_made struct made other =
		make("launch: {namespaces: user, uid_map: [7 100000 10, 50 200000 1], gid_map: 0 0 4294967295}");
	cr_expect_str_eq(other.plan->uid_map, "7 100000 10\n50 200000 1\n");
	cr_expect(other.plan->changes_uid && !other.plan->changes_gid);
	cr_expect_eq(other.plan->first_uid, 7);
}

Test(launch_plan, root)
{
	cleanup_made struct made made = make("launch: {namespaces: [mount, pid], tmpfs: /tmp,"
					     " binds: [{from: /usr, to: /tmp/deep/usr}, {from: /usr, write: true}]}");
	const struct sp_root_item *usr = NULL, *deep = NULL, *tmp = NULL, *proc = NULL, *null = NULL;

	for (size_t i = 0; i < made.plan->root_count; i++) {
		const struct sp_root_item *item = &made.plan->root[i];

		cr_expect_neq(item->to[0], '/', "%s", item->to);
		usr = item->step == SP_ROOT_BIND && strcmp(item->to, "usr") == 0 ? item : usr;
		deep = item->step == SP_ROOT_BIND && strcmp(item->to, "tmp/deep/usr") == 0 ? item : deep;
		tmp = item->step == SP_ROOT_TMPFS && strcmp(item->to, "tmp") == 0 ? item : tmp;
		null = item->step == SP_ROOT_BIND && strcmp(item->to, "dev/null") == 0 ? item : null;
		proc = item->step == SP_ROOT_PROC ? item : proc;
	}
	cr_assert(usr != NULL && deep != NULL && tmp != NULL && proc != NULL && null != NULL);
	/* What is above comes first, or it would hide what is below. */
	cr_expect_lt(tmp, deep);
	cr_expect_eq(usr->attributes, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	cr_expect_eq(deep->attributes, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_RDONLY);
	cr_expect(sp_launch_asks(made.plan, SP_STAGE_ROOT) && sp_launch_asks(made.plan, SP_STAGE_PROC));
}

/* A job that could mount could give any file any name. */
Test(launch_plan, a_mount_namespace_costs_sys_admin)
{
	cleanup_made struct made made =
		make("launch: {namespaces: mount, capabilities: {ambient: [sys_admin, chown]}}");
	const struct sp_capabilities *c = &made.plan->capabilities;
	const uint64_t admin = UINT64_C(1) << 21;

	cr_expect(sp_launch_asks(made.plan, SP_STAGE_CAPABILITIES));
	cr_expect_eq((c->bounding | c->effective | c->ambient) & admin, 0);
	cr_expect_eq(c->ambient, 1);

	cleanup_made struct made without = make("launch: {namespaces: pid}");
	cr_expect_not(sp_launch_asks(without.plan, SP_STAGE_CAPABILITIES));
}

Test(launch_plan, loopback)
{
	cleanup_made struct made made = make("network: none");
	const struct nlmsghdr *header = made.plan->loopback_up.data;

	cr_assert_eq(made.plan->loopback_up.size, NLMSG_LENGTH(sizeof(struct ifinfomsg)));
	cr_expect_eq(header->nlmsg_type, RTM_NEWLINK);
	cr_expect_eq(header->nlmsg_flags, NLM_F_REQUEST | NLM_F_ACK);
	const struct ifinfomsg *up = NLMSG_DATA(header);
	cr_expect_eq(up->ifi_index, 1);
	cr_expect(up->ifi_flags == IFF_UP && up->ifi_change == IFF_UP);
}

/* Each version knows all that the one before it knew. */
Test(launch_plan, landlock_rights)
{
	static const struct {
		int version;
		uint64_t rights;
	} rows[] = {{0, 0}, {1, 0x1fff}, {2, 0x3fff}, {3, 0x7fff}, {4, 0x7fff}, {5, 0xffff}, {7, 0xffff}};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		cr_expect_eq(sp_landlock_rights(rows[i].version), rows[i].rights, "version %d", rows[i].version);
}

/* A limit in force is never raised. */
Test(launch_plan, limits_only_go_down)
{
	const struct rlimit now = {100, 200};

	cr_assert_eq(setrlimit(RLIMIT_CORE, &now), 0);
	cleanup_made struct made lower = make("limits: {core: 50}");
	cleanup_made struct made higher = make("limits: {core: 1000}");
	cr_assert_eq(lower.plan->limit_count, 1);
	cr_expect_eq(lower.plan->limits[0].resource, RLIMIT_CORE);
	cr_expect(lower.plan->limits[0].value.rlim_cur == 50 && lower.plan->limits[0].value.rlim_max == 50);
	cr_expect(higher.plan->limits[0].value.rlim_cur == 200 && higher.plan->limits[0].value.rlim_max == 200);
}
