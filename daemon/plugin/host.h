/* The loop's side of plugins: starts a worker for each, asks it one thing at a time, believes nothing that it says, and ends it and
 * starts it anew when it fails. Jobs with the same plugin and config share it. Loop thread only. */
#ifndef SP_PLUGIN_HOST_H
#define SP_PLUGIN_HOST_H

#include "plugin/events.h"
#include "policy/plugins.h"
#include "util/error.h"
#include "util/list.h"

#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

struct sp_plugins; /* of an engine */
struct sp_plugin;

/* Nothing is started before a plugin is needed. NULL: out of memory. */
[[nodiscard]] struct sp_plugins *sp_plugins_new(uv_loop_t *loop);
void sp_plugins_close(struct sp_plugins *plugins); /* nobody uses a plugin any more */

/* For who gives up the right to start programs before the first job comes. 0, or -errno with a sentence. */
[[nodiscard]] int sp_plugins_prepare(struct sp_plugins *plugins, struct sp_error *e);

/* A job that has a plugin. All but the first four is the host's. */
struct sp_plugin_user {
	struct sallyport_job job; /* its strings live as long as the user */
	int listener; /* the user's to close; -1: none (yet) */
	void (*notice)(const char *sentence, void *context); /* for people */
	void *context;
	struct sp_plugin *plugin;
	struct sp_list link;
	bool told;
};

/* 0, or -errno with a sentence. */
[[nodiscard]] int sp_plugin_join(struct sp_plugins *plugins, const struct sp_plugin_spec *spec,
				 struct sp_plugin_user *user, struct sp_error *e);
void sp_plugin_leave(struct sp_plugin_user *user); /* no question of the user's may be left */
void sp_plugin_set_listener(struct sp_plugin_user *user, int listener);

void sp_plugin_tell_fork(struct sp_plugin_user *user, const struct sallyport_fork *event);
void sp_plugin_tell_exit(struct sp_plugin_user *user, const struct sallyport_exit *event);

struct sp_plugin_verdict {
	unsigned answer; /* enum sallyport_answer, not SALLYPORT_LATER */
	int err; /* positive; 0: not said */
	bool fault; /* it is we who refuse: the plugin failed */
	char reason[SP_WIRE_TEXT_MAX];
	/* To a call: */
	unsigned handled; /* enum sp_crun_handled */
	int64_t value;
};

struct sp_plugin_question {
	void (*done)(const struct sp_plugin_verdict *verdict, struct sp_plugin_question *question);
	void *context;
	/* The host's: */
	struct sp_plugin *plugin; /* NULL: not being asked */
	struct sp_list link;
	uint64_t token;
	uint64_t due; /* of the loop's clock, once it is being asked */
	bool call, later;
	struct sp_wire_out message;
};

/* Asks. 0: done will be called, not from within; 1: the answer is in verdict already (the plugin cannot be asked). */
[[nodiscard]] int sp_plugin_ask_exec(struct sp_plugin_user *user, struct sp_plugin_question *question,
				     const struct sp_plugin_exec *exec, struct sp_plugin_verdict *verdict);
[[nodiscard]] int sp_plugin_ask_call(struct sp_plugin_user *user, struct sp_plugin_question *question,
				     const struct seccomp_notif *call, struct sp_plugin_verdict *verdict);
/* done will not be called. Fine for what is not being asked. */
void sp_plugin_forget(struct sp_plugin_question *question);

#endif
