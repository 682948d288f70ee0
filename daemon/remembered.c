/* See remembered.h. */
#include "remembered.h"

#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FILE_NAME "remembered.yaml"
#define LOCK_NAME ".remembered.lock"
#define NEW_NAME ".remembered.new"
enum { FILE_MAX = 4 << 20, LOCK_TRIES = 20, LOCK_PAUSE = 10 /* milliseconds */ };

static const char head[] =
	"# What `sallyport approve` and `sallyport deny` were told to remember, one answer a line: sallyport(1).\n"
	"# Take out a line, and you are asked again.\n";

struct entry {
	struct sp_recollection memory; /* its strings are ours */
	struct sp_policy *policy; /* of that one rule */
};

struct sp_remembered {
	char *policy_file; /* canonical */
	struct entry *entries;
	size_t count, room;
};

struct sp_remembered *sp_remembered_new(const char *policy_file)
{
	struct sp_remembered *r = calloc(1, sizeof *r);

	if (r == NULL)
		return NULL;
	r->policy_file = realpath(policy_file, NULL);
	if (r->policy_file == NULL)
		r->policy_file = strdup(policy_file);
	if (r->policy_file != NULL)
		return r;
	free(r);
	return NULL;
}

static void free_entry(struct entry *entry)
{
	free((char *)entry->memory.asking);
	free((char *)entry->memory.rule);
	free((char *)entry->memory.by);
	sp_policy_free(entry->policy);
}

void sp_remembered_free(struct sp_remembered *r)
{
	if (r == NULL)
		return;
	for (size_t i = 0; i < r->count; i++)
		free_entry(&r->entries[i]);
	free(r->entries);
	free(r->policy_file);
	free(r);
}

/* --- one rule --- */

static void release_json(json_t **value)
{
	json_decref(*value);
}
#define cleanup_json sp_cleanup(release_json)

static void release_policy(struct sp_policy **policy)
{
	sp_policy_free(*policy);
}

/* A policy that has no opinion on anything but this: it asks. */
static int compile(const char *rule, struct sp_policy **policy, struct sp_error *e)
{
	cleanup_free char *text = NULL;

	if (rule[0] != '{')
		return sp_fail(e, EINVAL, "it is no rule");
	if (asprintf(&text,
		     "{\"version\": 1, \"exec\": {\"default\": \"ask\", \"rules\": [{\"id\": \"remembered\", %s]}}",
		     rule + 1) < 0) {
		text = NULL;
		return sp_fail(e, ENOMEM, "out of memory");
	}
	return sp_policy_parse(text, strlen(text), FILE_NAME, policy, e);
}

static bool matches(const struct sp_policy *policy, const struct sp_exec *exec, enum sp_action *action)
{
	/* What a script's interpreter would be judged by is not asked: the answer was about the script. */
	struct sp_exec outer = *exec;
	struct sp_decision decision;

	outer.class = SP_CLASS_PROGRAM;
	outer.inner = NULL;
	sp_policy_decide(policy, &outer, &decision);
	*action = decision.action;
	return decision.number == 0;
}

bool sp_remembered_fits(const char *rule, const struct sp_exec *exec, enum sp_action action)
{
	sp_cleanup(release_policy) struct sp_policy *policy = NULL;
	enum sp_action does;

	return compile(rule, &policy, NULL) == 0 && matches(policy, exec, &does) && does == action;
}

const struct sp_recollection *sp_remembered_find(const struct sp_remembered *r, const char *asking,
						 const struct sp_exec *exec, int64_t now, enum sp_action *action)
{
	const struct sp_recollection *found = NULL;

	for (size_t i = 0; i < r->count; i++) {
		const struct entry *entry = &r->entries[i];
		enum sp_action does;

		if ((entry->memory.expires != 0 && entry->memory.expires <= now) ||
		    strcmp(entry->memory.asking, asking) != 0 || !matches(entry->policy, exec, &does))
			continue;
		if (found != NULL && does <= *action)
			continue;
		found = &entry->memory;
		*action = does;
	}
	return found;
}

/* --- all of them --- */

static int keep(struct sp_remembered *r, const struct sp_recollection *memory, struct sp_error *e)
{
	struct entry entry = {.memory = *memory};

	if (r->count == r->room) {
		const size_t room = r->room == 0 ? 16 : 2 * r->room;
		struct entry *more = reallocarray(r->entries, room, sizeof *more);
		if (more == NULL)
			return sp_fail(e, ENOMEM, "out of memory");
		r->entries = more;
		r->room = room;
	}
	int err = compile(memory->rule, &entry.policy, e);
	if (err != 0)
		return err;
	entry.memory.asking = strdup(memory->asking);
	entry.memory.rule = strdup(memory->rule);
	entry.memory.by = strdup(memory->by);
	if (entry.memory.asking == NULL || entry.memory.rule == NULL || entry.memory.by == NULL) {
		free_entry(&entry);
		return sp_fail(e, ENOMEM, "out of memory");
	}
	r->entries[r->count++] = entry;
	return 0;
}

/* --- the file --- */

int sp_remembered_path(char **path, struct sp_error *e)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	const bool given = state != NULL && state[0] == '/';

	if (!given && (home == NULL || home[0] != '/'))
		return sp_fail(e, ENOENT, "no home directory, so nothing can be remembered for good");
	const int size = given ? asprintf(path, "%s/sallyport/" FILE_NAME, state)
			       : asprintf(path, "%s/.local/state/sallyport/" FILE_NAME, home);
	return size < 0 ? sp_fail(e, ENOMEM, "out of memory") : 0;
}

/* Whoever can write it answers in a person's place. */
static int check_owner(int fd, const char *path, struct sp_error *e)
{
	struct stat status;

	if (fstat(fd, &status) != 0)
		return sp_fail(e, errno, "%s: %s", path, strerror(errno));
	if (status.st_uid != geteuid() && status.st_uid != 0)
		return sp_fail(e, EPERM, "%s is not read: it is somebody else's", path);
	if ((status.st_mode & 022) != 0)
		return sp_fail(e, EPERM, "%s is not read: others than its owner can write it", path);
	return 0;
}

static int open_directory(const char *path, bool create, struct sp_error *e)
{
	cleanup_free char *directory = strndup(path, (size_t)(strrchr(path, '/') - path));

	if (directory == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	for (char *slash = directory; create && (slash = strchr(slash + 1, '/')) != NULL; *slash = '/') {
		*slash = '\0';
		(void)mkdir(directory, 0700);
	}
	if (create)
		(void)mkdir(directory, 0700);
	cleanup_close int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ENOENT : sp_fail(e, errno, "%s: %s", directory, strerror(errno));
	int err = check_owner(fd, directory, e);
	return err != 0 ? err : sp_steal_fd(&fd);
}

/* -ENOENT, without a sentence: there is none. */
static int read_file(int directory, const char *path, char **text, struct sp_error *e)
{
	cleanup_close int fd = openat(directory, FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat status;

	if (fd < 0)
		return errno == ENOENT ? -ENOENT : sp_fail(e, errno, "%s: %s", path, strerror(errno));
	int err = check_owner(fd, path, e);
	if (err != 0)
		return err;
	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size > FILE_MAX)
		return sp_fail(e, EINVAL, "%s is not read: it is no file of a size that it would have", path);
	cleanup_free char *read_text = malloc((size_t)status.st_size + 1);
	if (read_text == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	ssize_t size = read(fd, read_text, (size_t)status.st_size);
	if (size != status.st_size)
		return sp_fail(e, EIO, "%s could not be read", path);
	read_text[size] = '\0';
	*text = sp_steal_ptr(read_text);
	return 0;
}

static int64_t parse_time(const json_t *value)
{
	struct tm tm = {0};
	const char *text = json_string_value(value);
	const char *end = text != NULL ? strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm) : NULL;

	return end != NULL && *end == '\0' ? (int64_t)timegm(&tm) * 1000000000 : -1;
}

static json_t *make_time(int64_t time)
{
	const time_t seconds = (time_t)(time / 1000000000);
	struct tm tm;
	char text[32];

	(void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &tm));
	return json_string(text);
}

/* A line of the file that is not a comment. *object is the caller's. */
static int parse_line(const char *line, const char *path, size_t number, json_t **object, struct sp_error *e)
{
	json_error_t where;
	cleanup_json json_t *value =
		strncmp(line, "- ", 2) == 0 ? json_loads(line + 2, JSON_REJECT_DUPLICATES, &where) : NULL;
	const json_t *expires = json_object_get(value, "expires");

	if (!json_is_string(json_object_get(value, "policy")) || !json_is_string(json_object_get(value, "rule")) ||
	    !json_is_object(json_object_get(value, "does")) || !json_is_string(json_object_get(value, "by")) ||
	    parse_time(json_object_get(value, "at")) < 0 || (!json_is_null(expires) && parse_time(expires) < 0))
		return sp_fail(
			e, EINVAL,
			"%s:%zu: expected - {\"policy\": file, \"rule\": id, \"does\": {...}, \"by\": who, \"at\": "
			"time, \"expires\": time or null}",
			path, number);
	*object = sp_steal_ptr(value);
	return 0;
}

static int take_line(struct sp_remembered *r, const json_t *object, const char *path, size_t number, struct sp_error *e)
{
	if (strcmp(json_string_value(json_object_get(object, "policy")), r->policy_file) != 0)
		return 0;
	const json_t *expires = json_object_get(object, "expires");
	cleanup_free char *rule = json_dumps(json_object_get(object, "does"), JSON_PRESERVE_ORDER);
	const struct sp_recollection memory = {
		.asking = json_string_value(json_object_get(object, "rule")),
		.rule = rule,
		.by = json_string_value(json_object_get(object, "by")),
		.at = parse_time(json_object_get(object, "at")),
		.expires = json_is_null(expires) ? 0 : parse_time(expires),
		.for_good = true,
	};
	struct sp_error why = {0};
	if (rule == NULL)
		return sp_fail(e, ENOMEM, "out of memory");
	return keep(r, &memory, &why) == 0 ? 0 : sp_fail(e, why.err, "%s:%zu: %.800s", path, number, why.text);
}

static bool is_comment(const char *line)
{
	line += strspn(line, " \t\r");
	return *line == '\0' || *line == '#';
}

static int take_text(struct sp_remembered *r, char *text, const char *path, struct sp_error *e)
{
	size_t number = 0;
	int err = 0;

	for (char *line; err == 0 && (line = strsep(&text, "\n")) != NULL;) {
		cleanup_json json_t *object = NULL;

		number++;
		if (is_comment(line))
			continue;
		err = parse_line(line, path, number, &object, e);
		if (err == 0)
			err = take_line(r, object, path, number, e);
	}
	return err;
}

int sp_remembered_load(struct sp_remembered *r, struct sp_error *e)
{
	cleanup_free char *path = NULL, *text = NULL;
	const size_t before = r->count;

	if (sp_remembered_path(&path, e) != 0)
		return 0; /* nowhere to remember, nothing remembered */
	cleanup_close int directory = open_directory(path, false, e);
	int err = directory >= 0 ? read_file(directory, path, &text, e) : directory;
	if (err == -ENOENT)
		return 0;
	if (err == 0)
		err = take_text(r, text, path, e);
	while (err != 0 && r->count > before)
		free_entry(&r->entries[--r->count]);
	return err;
}

/* --- writing it --- */

static char *make_line(const struct sp_remembered *r, const struct sp_recollection *memory)
{
	cleanup_json json_t *does = json_loads(memory->rule, 0, NULL);
	cleanup_json json_t *line = json_pack("{ss ss sO ss so so}", "policy", r->policy_file, "rule", memory->asking,
					      "does", does, "by", memory->by, "at", make_time(memory->at), "expires",
					      memory->expires != 0 ? make_time(memory->expires) : json_null());

	return line != NULL ? json_dumps(line, JSON_PRESERVE_ORDER | JSON_ENSURE_ASCII) : NULL;
}

static bool is_over(const char *line, int64_t now)
{
	cleanup_json json_t *object = NULL;

	if (is_comment(line) || parse_line(line, "", 0, &object, NULL) != 0)
		return false;
	const int64_t expires = parse_time(json_object_get(object, "expires"));
	return expires > 0 && expires <= now;
}

/* What is there, but for what is over, and one line more. */
static int write_all(FILE *out, char *old, const char *line, int64_t now)
{
	bool first = true;

	(void)fputs(head, out);
	for (char *each; old != NULL && (each = strsep(&old, "\n")) != NULL;) {
		const bool ours = first && each[0] == '#';

		first = ours;
		if (!ours && each[0] != '\0' && !is_over(each, now))
			(void)fprintf(out, "%s\n", each);
	}
	(void)fprintf(out, "- %s\n", line);
	return fflush(out) == 0 && fsync(fileno(out)) == 0 ? 0 : -EIO;
}

static int replace(int directory, char *old, const char *line, int64_t now)
{
	(void)unlinkat(directory, NEW_NAME, 0);
	cleanup_close int fd = openat(directory, NEW_NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	cleanup_file FILE *out = fdopen(fd, "w");
	if (out == NULL)
		return -errno;
	(void)sp_steal_fd(&fd);
	int err = write_all(out, old, line, now);
	if (err == 0 && renameat(directory, NEW_NAME, directory, FILE_NAME) != 0)
		err = -errno;
	if (err != 0)
		(void)unlinkat(directory, NEW_NAME, 0);
	else
		(void)fsync(directory);
	return err;
}

/* Not for long: this is the loop. */
static int lock(int directory, struct sp_error *e)
{
	static const struct timespec pause = {.tv_nsec = LOCK_PAUSE * 1000000L};
	cleanup_close int fd = openat(directory, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	for (int i = 0; fd >= 0 && i < LOCK_TRIES; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return sp_steal_fd(&fd);
		(void)nanosleep(&pause, NULL);
	}
	return sp_fail(e, fd >= 0 ? EBUSY : errno, "cannot lock the file of what is remembered: %s",
		       strerror(fd >= 0 ? EBUSY : errno));
}

static int store(const struct sp_remembered *r, const struct sp_recollection *memory, struct sp_error *e)
{
	cleanup_free char *path = NULL, *old = NULL, *line = make_line(r, memory);

	if (line == NULL)
		return sp_fail(e, EINVAL, "it cannot be written as a line of text");
	int err = sp_remembered_path(&path, e);
	if (err != 0)
		return err;
	cleanup_close int directory = open_directory(path, true, e);
	if (directory < 0)
		return directory == -ENOENT ? sp_fail(e, ENOENT, "no directory for %s", path) : directory;
	cleanup_close int locked = lock(directory, e);
	if (locked < 0)
		return locked;
	err = read_file(directory, path, &old, e);
	if (err != 0 && err != -ENOENT)
		return err;
	err = replace(directory, old, line, memory->at);
	return err != 0 ? sp_fail(e, -err, "cannot write %s: %s", path, strerror(-err)) : 0;
}

int sp_remembered_add(struct sp_remembered *r, const struct sp_recollection *memory, struct sp_error *e)
{
	int err = keep(r, memory, e);

	if (err != 0 || !memory->for_good)
		return err;
	err = store(r, memory, e);
	if (err != 0)
		free_entry(&r->entries[--r->count]);
	return err;
}
