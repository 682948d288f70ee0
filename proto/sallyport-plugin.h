/* SPDX-License-Identifier: Apache-2.0
 *
 * sallyport's plugins: a shared object that has a say in which programs a supervised job may start. See
 * sallyport-plugin(3), and the directory plugins/ for examples.
 *
 * A plugin exports two symbols, which SALLYPORT_PLUGIN() below defines: `sallyport_plugin_version` and `sallyport_plugin`, a
 * table of functions. It is compiled with
 *
 *     cc -shared -fPIC -o my-plugin.so my-plugin.c
 *
 * and named in a policy:
 *
 *     plugins: [{path: my-plugin.so, config: {any: thing}, timeout_ms: 50}]
 *
 * Compatibility. Every structure begins with its size in bytes, as its writer knows it. Fields are only ever added at
 * the end, where a plugin that was compiled before does not see them, and one that was compiled later asks
 * SALLYPORT_HAS() first. All that stands in this file is there in version 1. The version changes only when plugins would have
 * to be compiled anew; it then is refused with a sentence, not called.
 *
 * Threads. sallyport calls the functions of a plugin one at a time, from one thread. Which host services may be called
 * from other threads is said there.
 *
 * Memory. What an event points to is valid until the function returns; what must be kept is copied. Nothing that sallyport gives
 * is freed by a plugin, nor the reverse. Strings are NUL-terminated and may hold any other byte: what a program gives is not
 * always text.
 *
 * Failure. An exec whose plugin is slow past timeout_ms, crashes, or gives an answer that makes no sense is refused
 * with EACCES, and the record says why. By default each plugin is a process of its own, which is then ended and started anew, and
 * may run no programs, has no privileges, 128 MiB of memory, and the file system as the supervisor's user sees it. With
 * `isolation: none` it is a thread of the supervisor: a crash is then the supervisor's, and the job's end.
 */
#ifndef SALLYPORT_PLUGIN_H
#define SALLYPORT_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SALLYPORT_PLUGIN_VERSION 1

/* Does the structure that p points to have this field? */
#define SALLYPORT_HAS(p, field) ((p)->size >= offsetof(__typeof__(*(p)), field) + sizeof((p)->field))

/* ---- What happens ---- */

struct sallyport_string {
	const char *data; /* data[size] is NUL */
	size_t size; /* bytes, without the NUL */
};

/* A process from which the caller descends. */
struct sallyport_ancestor {
	uint64_t process; /* its number in the job: 1 is the first, and none is given twice */
	int32_t pid;
	uint32_t execs; /* programs it has started in itself */
};

/* Of an exec; any may be set. */
enum sallyport_exec_flag {
	SALLYPORT_SCRIPT = 1, /* begins with #!: interpreter and final_argv say what the kernel makes of it */
	SALLYPORT_ANONYMOUS = 2, /* a memfd or a deleted file: file is what the kernel shows */
	SALLYPORT_FOREIGN = 4, /* file is a name in a mount namespace of the job's own making: a claim */
	SALLYPORT_ALLOWED = 8, /* the rules allow it: the answer can only be stricter */
	SALLYPORT_LOADER = 16, /* a dynamic loader run directly: judged is what it loads */
};

struct sallyport_exec {
	size_t size;
	uint64_t token; /* names this exec for sallyport_host.answer */
	uint64_t job; /* as in the audit database */
	uint64_t process; /* number of the caller's process in the job */
	int32_t pid, tid; /* of the caller */
	uint32_t uid; /* effective user of the caller */
	uint32_t flags; /* enum sallyport_exec_flag */
	const char *path; /* as the program gave it */
	const char *file; /* the file that would run, canonical, as the supervisor sees it */
	uint64_t device, inode; /* of file, as in struct stat */
	uint32_t mode, owner; /* of file, as in struct stat */
	const struct sallyport_string *argv; /* argc of them */
	size_t argc;
	const struct sallyport_string *envp; /* NAME=value; envc of them */
	size_t envc;
	const char *interpreter; /* of a script, canonical; NULL: it is none */
	uint64_t interpreter_device, interpreter_inode;
	const struct sallyport_string *final_argv; /* what the new program will find; argv but for a script */
	size_t final_argc;
	const struct sallyport_ancestor
		*ancestors; /* ancestor_count of them, parent first; those that have ended are left out */
	size_t ancestor_count;
	const char *rule; /* SALLYPORT_ALLOWED: id of the rule that allows it; otherwise NULL */
	uint64_t lost; /* forks and exits that could not be told, ever: the plugin did not keep up */
};

struct sallyport_fork {
	size_t size;
	uint64_t job, process, parent; /* parent 0: the first process of the job */
	int32_t pid;
};

struct sallyport_exit {
	size_t size;
	uint64_t job, process;
	int32_t pid;
	int32_t status; /* as waitpid(2) gives it; -1: nobody could know */
};

enum sallyport_job_phase { SALLYPORT_JOB_BEGINS = 1, SALLYPORT_JOB_ENDS = 2 };

struct sallyport_job {
	size_t size;
	uint64_t job;
	uint32_t phase; /* enum sallyport_job_phase. A plugin that is started anew is told of all jobs that go on */
	int32_t pid; /* of the first process */
	uint32_t uid; /* of the supervisor */
	const char *policy; /* its name */
	const char *cwd; /* where the job was started */
};

/* ---- What a plugin says to an exec ---- */

/* Where several plugins have an opinion the strictest wins, and the first in the file of those that are equally strict. Where
 * none has one, the policy's default decides. */
enum sallyport_answer {
	SALLYPORT_NO_OPINION = 0,
	SALLYPORT_ALLOW = 1,
	SALLYPORT_ASK = 2, /* a person decides */
	SALLYPORT_DENY = 3, /* the caller gets `error` */
	SALLYPORT_KILL = 4, /* the caller is killed */
	SALLYPORT_LATER =
		5, /* the answer comes by sallyport_host.answer; the caller waits, others are judged meanwhile */
};

enum { SALLYPORT_REASON_MAX = 256 };

/* sallyport gives it with size set and the rest zero. */
struct sallyport_verdict {
	size_t size;
	uint32_t answer; /* enum sallyport_answer */
	int32_t error; /* SALLYPORT_DENY: a positive errno; 0: EACCES */
	uint32_t within_ms; /* SALLYPORT_LATER: how long to wait before it is refused; 0: 10 s; at most 10 min */
	char reason[SALLYPORT_REASON_MAX]; /* for the record and for people, NUL-terminated, or empty */
};

/* ---- What a plugin may ask of sallyport ---- */

enum sallyport_log_level { SALLYPORT_DEBUG, SALLYPORT_INFO, SALLYPORT_WARNING, SALLYPORT_ERROR };

/* Valid from init until fini has returned. The first argument of each function is this structure itself. */
struct sallyport_host {
	size_t size;
	uint32_t version; /* SALLYPORT_PLUGIN_VERSION of the host */

	/* Any thread. A line for people, without a newline; at most 20 in a second, the rest is counted. DEBUG is dropped. */
	void (*log)(const struct sallyport_host *host, int level, const char *text);

	/* Any thread. Adds to a counter, which begins at 0: up to 64 of them, names up to 63 bytes. */
	void (*count)(const struct sallyport_host *host, const char *name, int64_t delta);

	/* Only in a function of the plugin. Calls run(argument) once, after that many milliseconds, as one more function of the
	 * plugin. A positive number, or -ENOSPC: there are 64 already. */
	int (*timer)(const struct sallyport_host *host, uint32_t after_ms, void (*run)(void *argument), void *argument);

	/* Only in a function of the plugin. 0, or -ENOENT: there is no such timer, or it has run. */
	int (*cancel)(const struct sallyport_host *host, int timer);

	/* Only in a function of the plugin. Memory for this job, zeroed at the first call, the same at each later one, and freed
	 * after on_job has told the job's end. bytes is what the first call says. NULL: out of memory. Nothing of it outlives
	 * the plugin's process. */
	void *(*job_storage)(const struct sallyport_host *host, uint64_t job, size_t bytes);

	/* Any thread, from on_exec on. The answer to an exec for which on_exec gives, or has given, SALLYPORT_LATER. Once:
	 * an exec that is answered twice is refused if it can still be, and nothing is known of it later.
	 * 0, or -EALREADY: it has been answered; -ETIME: it was not answered in time, or its caller is gone; -EINVAL: no
	 * answer that can be given. */
	int (*answer)(const struct sallyport_host *host, uint64_t token, const struct sallyport_verdict *verdict);
};

/* ---- The plugin ---- */

/* self is what init gave. Functions that are not wanted are NULL, and cost nothing. */
struct sallyport_plugin {
	size_t size;

	/* config: what the policy has under `config`, as JSON ("{}" if there is nothing). Is called before all others. 0, or a
	 * negative errno: the plugin cannot be used, its execs are refused; what it logged says why. The time is at most 5 s. */
	int (*init)(const char *config, const struct sallyport_host *host, void **self);

	/* The last call: no job needs the plugin any more. Is not called where the plugin is ended for a fault. */
	void (*fini)(void *self);

	/* An exec that no rule has an opinion on (with `when: allowed`, or that the rules allow). */
	void (*on_exec)(void *self, const struct sallyport_exec *exec, struct sallyport_verdict *verdict);

	/* What has happened; the program does not wait for it. */
	void (*on_fork)(void *self, const struct sallyport_fork *event);
	void (*on_exit)(void *self, const struct sallyport_exit *event);
	void (*on_job)(void *self, const struct sallyport_job *event);
};

#define SALLYPORT_EXPORT __attribute__((visibility("default")))

extern SALLYPORT_EXPORT const uint32_t sallyport_plugin_version;
extern SALLYPORT_EXPORT const struct sallyport_plugin sallyport_plugin;

/* SALLYPORT_PLUGIN(.init = my_init, .on_exec = my_exec); */
#define SALLYPORT_PLUGIN(...)                                                                                          \
	SALLYPORT_EXPORT const uint32_t sallyport_plugin_version = SALLYPORT_PLUGIN_VERSION;                           \
	SALLYPORT_EXPORT const struct sallyport_plugin sallyport_plugin = {sizeof(struct sallyport_plugin), __VA_ARGS__}

#ifdef __cplusplus
}
#endif

#endif
