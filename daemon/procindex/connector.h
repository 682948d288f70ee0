/* The proc connector (Documentation/driver-api/connector.rst, linux/cn_proc.h): the kernel tells over netlink that a task,
 * any task of the machine, has ended. One thread only. */
#ifndef SP_PROCINDEX_CONNECTOR_H
#define SP_PROCINDEX_CONNECTOR_H

#include "util/error.h"

#include <linux/cn_proc.h>
#include <stdbool.h>
#include <stdint.h>

struct sp_connector;

/* Subscribes. NULL with *e filled: not compiled in, not permitted, or not in the initial namespaces: outside of the pid and
 * user namespaces a subscription is accepted and nothing ever comes, outside of the time namespace we could not read
 * the messages' time. */
[[nodiscard]] struct sp_connector *sp_connector_open(struct sp_error *e);
void sp_connector_close(struct sp_connector *connector); /* NULL is fine */

/* Readable when there is something to read. Not to be closed. */
int sp_connector_fd(const struct sp_connector *connector);

enum sp_connector_more {
	SP_CONNECTOR_EMPTY, /* everything has been read */
	SP_CONNECTOR_MORE,
	SP_CONNECTOR_OVERRUN, /* messages were lost, and more may be until it is EMPTY */
};

/* Reads some messages without waiting. A task's end is told when it is a zombie or reaped: its thread group, when it was
 * the last, is over by then. time: of the end, CLOCK_MONOTONIC in nanoseconds. */
enum sp_connector_more
sp_connector_read(struct sp_connector *connector,
		  void (*ended)(const struct exit_proc_event *event, uint64_t time, void *context), void *context);

#endif
