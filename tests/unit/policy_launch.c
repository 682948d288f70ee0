/* The sections launch, limits, filesystem, network and syscalls: what they are compiled to, and every way to be wrong. */
#include "policy_helper.h"

#include "policy/glob.h"
#include "util/kernel.h"

#include <sched.h>
#include <signal.h>
#include <sys/capability.h>

Test(policy_launch, nothing_said)
{
	cleanup_policy struct sp_policy *policy = parse("version: 1\n");
	const struct sp_confinement *c = sp_policy_confinement(policy);

	cr_expect_not(c->given);
	cr_expect(c->no_new_privs);
	cr_expect_eq(c->require, SP_LEVEL_FULL);
	cr_expect_not(c->close_fds);
	cr_expect_eq(c->strip_env.count, 0);
}

Test(policy_launch, defaults_of_a_launch)
{
	cleanup_policy struct sp_policy *policy = parse("{version: 1, launch: {umask: '027'}}");
	const struct sp_confinement *c = sp_policy_confinement(policy);

	cr_expect(c->given && c->no_new_privs && c->close_fds);
	cr_expect_eq(c->umask.value, 027);
	cr_expect_eq(c->strip_env.count, 3);
	cr_expect(sp_glob_match(c->strip_env.items[0], "LD_PRELOAD", 10));
	cr_expect_eq(c->namespaces, 0);
	cr_expect_not(c->capabilities.given);
}

Test(policy_launch, all_keys)
{
	cleanup_policy struct sp_policy *policy =
		parse("version: 1\n"
		      "launch:\n"
		      "  require: partial\n"
		      "  no_new_privs: true\n"
		      "  new_session: true\n"
		      "  new_process_group: true\n"
		      "  clear_env: true\n"
		      "  keep_env: [HOME, LC_*]\n"
		      "  strip_env: []\n"
		      "  close_fds: false\n"
		      "  pass_fds: [9, 4]\n"
		      "  umask: '077'\n"
		      "  nice: 5\n"
		      "  oom_score_adj: 500\n"
		      "  cpu_set: [0, 2-3]\n"
		      "  core_scheduling: true\n"
		      "  parent_death_signal: SIGTERM\n"
		      "  cwd: /work\n"
		      "  mdwe: true\n"
		      "  namespaces: [user, mount, pid, net, ipc, uts, cgroup]\n"
		      "  uid_map: 0 1000 1\n"
		      "  gid_map: [0 1000 1, 1 100000 10]\n"
		      "  binds: [{from: /usr}, {from: /srv, to: /work, write: true}]\n"
		      "  tmpfs: /tmp\n"
		      "  capabilities: {bounding: [kill, CAP_CHOWN], ambient: kill, securebits: [noroot]}\n"
		      "  scopes: [signal, abstract_unix_socket]\n"
		      "limits: {cpu_seconds: 600, address_space: 8G, open_files: 256, processes: 64, file_size: 1M, "
		      "core: 0,\n"
		      "         stack: 8M, wall_seconds: 1800, memory: 2G, cpus: 1.5}\n"
		      "filesystem: {read: [/usr, /etc], write: /tmp, exec: /usr}\n"
		      "network: {tcp_connect: [443, 80], tcp_bind: []}\n"
		      "syscalls: {deny: [keyctl, mount], kill: add_key, allow: []}\n");
	const struct sp_confinement *c = sp_policy_confinement(policy);

	cr_expect_eq(c->require, SP_LEVEL_PARTIAL);
	cr_expect(c->new_session && c->new_process_group && c->clear_env && c->core_scheduling && c->mdwe);
	cr_expect_not(c->close_fds);
	cr_expect_eq(c->keep_env.count, 2);
	cr_expect_eq(c->strip_env.count, 0);
	cr_assert_eq(c->passed_count, 2);
	cr_expect(c->passed[0] == 4 && c->passed[1] == 9);
	cr_expect_eq(c->umask.value, 077);
	cr_expect_eq(c->nice.value, 5);
	cr_expect_eq(c->oom_score_adj.value, 500);
	cr_expect_eq(c->cpus_allowed[0], 0xd);
	cr_expect_eq(c->parent_death_signal.value, SIGTERM);
	cr_expect_str_eq(c->cwd, "/work");
	cr_expect_eq(c->namespaces, CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC |
					    CLONE_NEWUTS | CLONE_NEWCGROUP);
	cr_expect_eq(c->uid_map.count, 1);
	cr_expect_eq(c->gid_map.count, 2);
	cr_assert_eq(c->bind_count, 2);
	cr_expect_str_eq(c->binds[0].to, "/usr");
	cr_expect_str_eq(c->binds[1].to, "/work");
	cr_expect(c->binds[1].write && !c->binds[0].write);
	cr_expect_eq(c->tmpfs.count, 1);
	cr_expect_eq(c->capabilities.bounding, (1u << CAP_KILL) | (1u << CAP_CHOWN));
	cr_expect_eq(c->capabilities.effective, c->capabilities.bounding);
	cr_expect_eq(c->capabilities.ambient, 1u << CAP_KILL);
	cr_expect_eq(c->capabilities.securebits, 1);
	cr_expect_eq(c->scopes, LANDLOCK_SCOPE_SIGNAL | LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET);
	cr_expect_eq(c->limits[SP_LIMIT_CPU].value, 600);
	cr_expect_eq(c->limits[SP_LIMIT_FILE_SIZE].value, 1 << 20);
	cr_expect(c->limits[SP_LIMIT_CORE].given && c->limits[SP_LIMIT_CORE].value == 0);
	cr_expect_eq(c->limits[SP_LIMIT_STACK].value, 8 << 20);
	cr_expect_eq(c->address_space.value, INT64_C(8) << 30);
	cr_expect_eq(c->memory.value, INT64_C(2) << 30);
	cr_expect_eq(c->wall_seconds.value, 1800);
	cr_expect_eq(c->milli_cpus.value, 1500);
	cr_expect(c->filesystem && c->read.count == 2 && c->write.count == 1 && c->exec.count == 1);
	cr_expect_eq(c->network, SP_NETWORK_PORTS);
	cr_expect(c->connect_count == 2 && c->connect_ports[0] == 443 && c->bind_count_tcp == 0);
	cr_expect(c->syscalls && !c->strict && c->deny.count == 2 && c->kill.count == 1 && c->allow.count == 0);
}

/* address_space is asked for as eight times the memory, but never so little that a runtime cannot start. */
Test(policy_launch, address_space_from_memory)
{
	static const struct {
		const char *text;
		int64_t bytes;
	} rows[] = {
		{"{version: 1, limits: {memory: 2G}}", INT64_C(16) << 30},
		{"{version: 1, limits: {memory: 64M}}", INT64_C(4) << 30},
		{"{version: 1, limits: {memory: 64M, address_space: 1G}}", INT64_C(1) << 30},
		{"{version: 1, limits: {memory: 4194304T}}", INT64_MAX},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		cleanup_policy struct sp_policy *policy = parse(rows[i].text);
		const struct sp_number as = sp_policy_confinement(policy)->address_space;

		cr_expect(as.given && as.value == rows[i].bytes, "%s: %lld", rows[i].text, (long long)as.value);
	}
}

Test(policy_launch, no_network_is_a_namespace)
{
	cleanup_policy struct sp_policy *policy = parse("{version: 1, network: none}");
	const struct sp_confinement *c = sp_policy_confinement(policy);

	cr_expect_eq(c->network, SP_NETWORK_NONE);
	cr_expect_eq(c->namespaces, CLONE_NEWNET);
}

Test(policy_launch, errors)
{
	static const struct {
		const char *text, *place, *what;
	} rows[] = {
		{"{version: 1, launch: {umask: 9}}", "1:30", "expected octal digits"},
		{"{version: 1, launch: {umask: 1777}}", "1:30", "expected octal digits"},
		{"{version: 1, launch: {nice: 20}}", "1:29", "from -20 to 19"},
		{"{version: 1, launch: {nice: five}}", "1:29", "expected a whole number"},
		{"{version: 1, launch: {nice: 99999999999999999999}}", "1:29", "expected a whole number"},
		{"{version: 1, launch: {oom_score_adj: 1001}}", "1:38", "from -1000 to 1000"},
		{"{version: 1, launch: {require: most}}", "1:32", "expected none, baseline, partial or full"},
		{"{version: 1, launch: {mdwe: perhaps}}", "1:29", "expected true or false"},
		{"{version: 1, launch: {mdew: true}}", "1:23", "unknown key 'mdew'"},
		{"{version: 1, launch: {cwd: work}}", "1:28", "expected an absolute path"},
		{"{version: 1, launch: {cpu_set: 3-1}}", "1:32", "expected a number or a range"},
		{"{version: 1, launch: {cpu_set: [x]}}", "1:33", "expected a number or a range"},
		{"{version: 1, launch: {cpu_set: 5000}}", "1:32", "expected a number or a range"},
		{"{version: 1, launch: {pass_fds: 2}}", "1:33", "from 3 to"},
		{"{version: 1, launch: {parent_death_signal: SIGNONE}}", "1:44", "unknown signal"},
		{"{version: 1, launch: {namespaces: [time]}}", "1:36", "unknown namespace 'time'"},
		{"{version: 1, launch: {scopes: all}}", "1:31", "unknown scope 'all'"},
		{"{version: 1, launch: {uid_map: 0 0 1}}", "1:32", "without the user namespace"},
		{"{version: 1, launch: {namespaces: user, uid_map: 0 0}}", "1:50", "expected three numbers"},
		{"{version: 1, launch: {binds: [{from: /usr}]}}", "1:31", "binds need the mount namespace"},
		{"{version: 1, launch: {namespaces: mount, binds: [{from: usr}]}}", "1:57", "an absolute path"},
		{"{version: 1, launch: {namespaces: mount, binds: [{to: /usr}]}}", "1:50", "'from' is missing"},
		{"{version: 1, launch: {namespaces: mount, chroot: /x, binds: [{from: /usr}]}}", "1:50", "one root"},
		{"{version: 1, launch: {tmpfs: /tmp}}", "1:30", "without binds"},
		{"{version: 1, launch: {capabilities: {bounding: [fly]}}}", "1:49", "unknown capability 'fly'"},
		{"{version: 1, launch: {capabilities: {bounding: [], ambient: kill}}}", "1:61", "effective has not"},
		{"{version: 1, launch: {capabilities: {bounding: [], effective: kill}}}", "1:63", "bounding has not"},
		{"{version: 1, launch: {capabilities: {securebits: root}}}", "1:50", "unknown securebit"},
		{"{version: 1, launch: {strip_env: 'LD_['}}", "1:34", "bad pattern"},
		{"{version: 1, limits: {memory: 2g}}", "1:31", "K, M, G or T"},
		{"{version: 1, limits: {memory: 2GB}}", "1:31", "K, M, G or T"},
		{"{version: 1, limits: {memory: 9999999T}}", "1:31", "K, M, G or T"},
		{"{version: 1, limits: {memory: -1}}", "1:31", "K, M, G or T"},
		{"{version: 1, limits: {open_files: 2}}", "1:35", "from 8 to"},
		{"{version: 1, limits: {cpus: 0}}", "1:29", "from 0.01 to 4096"},
		{"{version: 1, limits: {cpus: nan}}", "1:29", "from 0.01 to 4096"},
		{"{version: 1, limits: {files: 3}}", "1:23", "unknown key 'files'"},
		{"{version: 1, filesystem: {read: usr}}", "1:33", "expected an absolute path"},
		{"{version: 1, network: some}", "1:23", "expected none or a mapping"},
		{"{version: 1, network: [none]}", "1:23", "expected a single word or a mapping"},
		{"{version: 1, network: {tcp_connect: 70000}}", "1:37", "from 0 to 65535"},
		{"{version: 1, network: {udp: 1}}", "1:24", "unknown key 'udp'"},
		{"{version: 1, network: {<word>: none}}", "1:24", "unknown key '<word>'"},
		{"{version: 1, syscalls: {deny: [mownt]}}", "1:32", "unknown system call 'mownt'"},
		{"{version: 1, syscalls: {mode: lax}}", "1:31", "expected filter or strict"},
		{"{version: 1, syscalls: {mode: strict, deny: mount}}", "1:31", "leaves nothing to list"},
		{"{version: 1, launch: 3}", "1:22", "found a single value, expected a mapping"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct sp_policy *policy = NULL;
		struct sp_error e = {0};
		cleanup_free char *prefix = NULL;

		cr_assert_geq(asprintf(&prefix, "test.yaml:%s: ", rows[i].place), 0);
		cr_expect_eq(sp_policy_parse(rows[i].text, strlen(rows[i].text), "test.yaml", &policy, &e), -EINVAL,
			     "%s", rows[i].text);
		cr_expect_eq(strncmp(e.text, prefix, strlen(prefix)), 0, "%s\nexpected %s, got: %s", rows[i].text,
			     prefix, e.text);
		cr_expect_not_null(strstr(e.text, rows[i].what), "%s\nexpected '%s', got: %s", rows[i].text,
				   rows[i].what, e.text);
		sp_policy_free(policy);
	}
}
