/* Who has ended: the ends of processes that nobody traces, as it is between the forks and execs of a job in one-shot
 * tracking.
 *
 * Two sources. The proc connector (netlink) tells the end of every task of the machine: no fd a process, and the exit
 * status always, unless messages were lost. It serves the initial namespaces only, and before Linux 6.6 only
 * CAP_NET_ADMIN. pidfds are there for everybody and cost an fd a process. Neither can lose an end: messages that were
 * lost are made up for by looking at every watched process, and a pid that is used again is told from its former user.
 *
 * One thread only: the loop's. Nothing here allocates when a process ends. */
#ifndef SP_PROCINDEX_EXITS_H
#define SP_PROCINDEX_EXITS_H

#include "util/error.h"
#include "util/list.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <uv.h>

struct sp_exits;

enum sp_exits_source { SP_EXITS_BEST, SP_EXITS_CONNECTOR, SP_EXITS_PIDFDS };

struct sp_exits_ops {
	/* The process has ended: all its threads are gone. It may be a zombie still. status: as waitpid(2) gives it, or -1
	 * where nobody can know any more (reaped by its parent before we looked; with pidfds before Linux 6.15, with the
	 * connector after lost messages). process: as it was given to sp_exits_watch(). The watch is over; everything below
	 * may be called. From the loop, and from sp_exits_poll_now(). */
	void (*ended)(pid_t tgid, void *process, int status, void *context);
};

/* One watched process; embedded in what the owner has for it, zeroed at first. Fields: of exits.c. */
struct sp_watch {
	struct sp_list link;
	struct sp_watch *hash_next;
	void *process;
	uint64_t identity; /* what tells it from a later user of its pid */
	uint64_t since; /* what tells its messages from those about an earlier one: CLOCK_MONOTONIC, nanoseconds */
	pid_t tgid;
	int pidfd; /* -1: none */
	int status; /* as far as it is known */
	uint8_t state;
	bool certain; /* the status is the kernel's word, not a message's */
};

/* BEST: the connector where it can be had, else pidfds. ops and context must outlive it. NULL with *e filled.
 * With pidfds the soft limit of open files is raised to the hard one: whoever starts programs gives them the limit
 * that sp_exits_nofile() names. */
[[nodiscard]] struct sp_exits *sp_exits_new(uv_loop_t *loop, enum sp_exits_source source,
					    const struct sp_exits_ops *ops, void *context, struct sp_error *e);

/* Forgets everybody; nothing is told any more. Freed by the loop. NULL is fine. */
void sp_exits_close(struct sp_exits *exits);

/* Watches a process that exists and cannot run now, as in a ptrace stop; it may be killed any time. watch: not watched, and
 * stays where it is until it is told or forgotten. The loop is kept alive while anybody is watched.
 * 0, or -errno: -ESRCH it has ended already, and nothing will be told; -EMFILE, -ENFILE, -ENOMEM, -ENOSPC no room
 * (fs.epoll.max_user_watches for the last). */
[[nodiscard]] int sp_exits_watch(struct sp_exits *exits, struct sp_watch *watch, pid_t tgid, void *process);

/* Nobody wants to know any more. Fine if it is not watched. */
void sp_exits_forget(struct sp_exits *exits, struct sp_watch *watch);

/* Tells who has ended, as far as the source says so, without waiting for the loop. one, where not NULL, is looked at
 * itself: if it has ended, it is told before this returns. */
void sp_exits_poll_now(struct sp_exits *exits, struct sp_watch *one);

enum sp_exits_source sp_exits_source(const struct sp_exits *exits); /* the one that is used */
const struct rlimit *sp_exits_nofile(const struct sp_exits *exits); /* RLIMIT_NOFILE as sp_exits_new() found it */

struct sp_exits_stats {
	uint64_t told;
	uint64_t unknown; /* of them: with status -1 */
	uint64_t messages; /* ends of tasks, foreign ones included, that the connector told */
	uint64_t overruns; /* times that it lost messages, since its receive buffer was full */
	uint64_t resyncs; /* times that every watched process was looked at after that */
	size_t watched; /* now */
};
struct sp_exits_stats sp_exits_stats(const struct sp_exits *exits);

/* What the connector's messages come from; -1 with pidfds. For tests, which make its buffer small. */
int sp_exits_connector_fd(const struct sp_exits *exits);

#endif
