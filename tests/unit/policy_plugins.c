/* The section `plugins`: values of any form become JSON, and only files that nobody else can write are taken. */
#include "policy_helper.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

struct place {
	char directory[64];
	char policy[96];
	char plugin[96];
};

static void make(struct place *place)
{
	strcpy(place->directory, "/tmp/sallyport-plugins-XXXXXX");
	cr_assert_not_null(mkdtemp(place->directory));
	(void)snprintf(place->policy, sizeof place->policy, "%s/p.yaml", place->directory);
	(void)snprintf(place->plugin, sizeof place->plugin, "%s/it.so", place->directory);
	cleanup_close int fd = open(place->plugin, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	cr_assert_geq(fd, 0);
}

static void unmake(struct place *place)
{
	(void)unlink(place->plugin);
	(void)rmdir(place->directory);
}

#define cleanup_place sp_cleanup(unmake)

static int load(const struct place *place, const char *plugins, struct sp_policy **policy, struct sp_error *e)
{
	cleanup_free char *text = NULL;

	cr_assert_geq(asprintf(&text, "version: 1\n%s\n", plugins), 0);
	return sp_policy_parse(text, strlen(text), place->policy, policy, e);
}

static void expect_error(const struct place *place, const char *plugins, const char *what)
{
	cleanup_policy struct sp_policy *policy = NULL;
	struct sp_error e = {0};
	const int rc = load(place, plugins, &policy, &e);

	cr_expect_eq(rc, -EINVAL, "%d for %s", rc, plugins);
	cr_expect_not_null(strstr(e.text, what), "'%s' not in '%s'", what, e.text);
	cr_expect_eq(strncmp(e.text, place->policy, strlen(place->policy)), 0, "%s", e.text);
}

Test(policy_plugins, defaults)
{
	cleanup_place struct place place;
	cleanup_policy struct sp_policy *policy = NULL;
	struct sp_error e;

	make(&place);
	cr_assert_eq(load(&place, "plugins: [{path: it.so}]", &policy, &e), 0, "%s", e.text);
	const struct sp_plugin_specs *specs = sp_policy_plugins(policy);
	cr_assert_eq(specs->count, 1);
	cr_assert_eq(specs->judges, 1);
	cr_assert_str_eq(specs->items[0].path, place.plugin);
	cr_assert_str_eq(specs->items[0].rule, "plugin:it");
	cr_assert_str_eq(specs->items[0].name, "it");
	cr_assert_str_eq(specs->items[0].config, "{}");
	cr_assert_eq(specs->items[0].timeout, 50);
	cr_assert_eq(specs->items[0].isolation, SP_PLUGIN_PROCESS);
	cr_assert_eq(specs->items[0].when, SP_PLUGIN_UNMATCHED);
	cr_assert(sp_policy_wants_env(policy));
}

Test(policy_plugins, config_of_any_form)
{
	static const struct {
		const char *yaml, *json;
	} rows[] = {
		{"{b: [1, -2, 3.5, 1e3], a: \"1\"}", "{\"a\":\"1\",\"b\":[1,-2,3.5,1000.0]}"},
		{"{t: true, f: false, n: null, e: , y: yes, x: 0x10, i: inf, q: 'true'}",
		 "{\"e\":null,\"f\":false,\"i\":\"inf\",\"n\":null,\"q\":\"true\",\"t\":true,\"x\":\"0x10\",\"y\":"
		 "\"yes\"}"},
		{"word", "\"word\""},
		{"[[[deep]], {}]", "[[[\"deep\"]],{}]"},
		{"{text: \"a\\\"b\\\\c\\u00e9\"}", "{\"text\":\"a\\\"b\\\\c\xc3\xa9\"}"},
	};
	cleanup_place struct place place;

	make(&place);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		cleanup_policy struct sp_policy *policy = NULL;
		cleanup_free char *text = NULL;
		struct sp_error e;

		cr_assert_geq(asprintf(&text, "plugins: [{path: it.so, config: %s}]", rows[i].yaml), 0);
		cr_assert_eq(load(&place, text, &policy, &e), 0, "%s", e.text);
		cr_expect_str_eq(sp_policy_plugins(policy)->items[0].config, rows[i].json);
	}
}

Test(policy_plugins, errors)
{
	cleanup_place struct place place;
	char deep[256] = "plugins: [{path: it.so, config: ";

	make(&place);
	expect_error(&place, "plugins: [{path: other.so}]",
		     ":2:18: no plugin 'other.so' beside the policy file or in ");
	expect_error(&place, "plugins: [{path: it.so, timeout_ms: 0}]", "expected a number from 1 to 60000");
	expect_error(&place, "plugins: [{path: it.so, isolation: thread}]", "expected process or none");
	expect_error(&place, "plugins: [{path: it.so, when: always}]", "expected unmatched or allowed");
	expect_error(&place, "plugins: [{path: it.so, config: {a: 1, a: 2}}]", ":2:40: the key 'a' is given twice");
	expect_error(&place, "plugins: [{path: it.so, config: {[a]: 1}}]", "a key must be a single word");
	expect_error(&place, "plugins: [{path: it.so, config: *a}]", "aliases (*) are not supported");
	expect_error(&place, "plugins: [{path: it.so, config: {a: \"x\\0y\"}}]", "NUL byte");
	expect_error(&place, "plugins: [{path: it.so, abi: crun}]", "syscalls.notify, which is empty");
	expect_error(&place, "syscalls: {notify: [openat]}\nplugins: [{path: it.so}]", "no plugin with abi: crun");
	expect_error(&place, "syscalls: {notify: [sendmsg]}\nplugins: [{path: it.so, abi: crun}]",
		     "'sendmsg' cannot be routed");
	expect_error(&place, "syscalls: {notify: [opeat]}\nplugins: [{path: it.so, abi: crun}]",
		     "unknown system call 'opeat'");
	for (size_t i = 0; i < 40; i++)
		strcat(deep, "[");
	expect_error(&place, deep, "nested deeper than 32");
}

Test(policy_plugins, calls_for_crun)
{
	cleanup_place struct place place;
	cleanup_policy struct sp_policy *policy = NULL;
	struct sp_error e;

	make(&place);
	cr_assert_eq(
		load(&place, "syscalls: {notify: [openat, mkdir]}\nplugins: [{path: it.so, abi: crun}]", &policy, &e),
		0, "%s", e.text);
	const struct sp_plugin_specs *specs = sp_policy_plugins(policy);
	cr_assert_eq(specs->judges, 0);
	cr_assert_eq(specs->call_count, 2);
	cr_assert_eq(specs->calls[0], SYS_openat);
	cr_assert_eq(specs->calls[1], SYS_mkdir);
	cr_assert_not(sp_policy_wants_env(policy));
}

Test(policy_plugins, whoever_could_have_written_it)
{
	cleanup_place struct place place;
	cleanup_free char *fifo = NULL;

	make(&place);
	cr_assert_eq(chmod(place.plugin, 0664), 0);
	expect_error(&place, "plugins: [{path: it.so}]", "it.so is writable for its group");
	cr_assert_eq(chmod(place.plugin, 0646), 0);
	expect_error(&place, "plugins: [{path: it.so}]", "it.so is writable for everybody");
	cr_assert_eq(chmod(place.plugin, 0644), 0);
	cr_assert_eq(chmod(place.directory, 0777), 0);
	expect_error(&place, "plugins: [{path: it.so}]", "is writable for everybody");
	cr_assert_eq(chmod(place.directory, 0700), 0);
	if (geteuid() == 0) {
		cr_assert_eq(chown(place.plugin, 65534, 0), 0);
		expect_error(&place, "plugins: [{path: it.so}]", "it.so belongs to uid 65534");
		cr_assert_eq(chown(place.plugin, 0, 0), 0);
		cr_assert_eq(chown(place.directory, 65534, 0), 0);
		expect_error(&place, "plugins: [{path: it.so}]", "belongs to uid 65534");
	}
	cr_assert_geq(asprintf(&fifo, "%s/fifo", place.directory), 0);
	cr_assert_eq(chown(place.directory, geteuid(), getegid()), 0);
	cr_assert_eq(mkfifo(fifo, 0600), 0);
	expect_error(&place, "plugins: [{path: fifo}]", "fifo is not a regular file");
	(void)unlink(fifo);
}
