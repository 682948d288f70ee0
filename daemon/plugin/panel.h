/* The plugins of one job: all that are to be asked about an exec are asked at once, and the strictest answer is theirs. Loop thread
 * only. */
#ifndef SP_PLUGIN_PANEL_H
#define SP_PLUGIN_PANEL_H

#include "plugin/host.h"
#include "policy/policy.h"

struct sp_panel;
struct sp_panel_case;

struct sp_panel_plan {
	struct sp_plugins *plugins;
	const struct sp_policy *policy; /* whose plugins; held */
	uint64_t job;
	const char *cwd; /* copied */
	/* A call that a plugin of crun's has decided: error is negative or 0, as in struct seccomp_notif_resp. */
	void (*called)(uint64_t id, int error, int64_t value, bool go_on, void *context);
	void (*notice)(const char *sentence, void *context);
	void *context;
};

/* NULL with *e filled on failure. */
[[nodiscard]] struct sp_panel *sp_panel_new(const struct sp_panel_plan *plan, struct sp_error *e);
/* Nobody asks it any more: it goes when it has answered what it was asked. NULL is fine. */
void sp_panel_retire(struct sp_panel *panel);

void sp_panel_set_listener(struct sp_panel *panel, int listener); /* kept open by the caller until the panel is freed */
void sp_panel_set_root(struct sp_panel *panel, pid_t pid);
void sp_panel_fork(struct sp_panel *panel, const struct sallyport_fork *event);
void sp_panel_exit(struct sp_panel *panel, const struct sallyport_exit *event);

/* Is there a plugin to be asked about what the rules allow (or have no opinion on)? */
bool sp_panel_wants(const struct sp_panel *panel, bool allowed);

struct sp_panel_verdict {
	bool opinion; /* false: none has one */
	enum sp_action action;
	int err; /* SP_DENY: positive */
	const char *rule; /* "plugin:NAME" */
	char reason[SP_WIRE_TEXT_MAX]; /* or empty */
};

/* 1: the answer is in verdict; 0: done will be called, not from within, and ends the case; -ENOMEM. */
[[nodiscard]] int sp_panel_ask(struct sp_panel *panel, const struct sp_plugin_exec *exec,
			       struct sp_panel_verdict *verdict,
			       void (*done)(const struct sp_panel_verdict *verdict, void *context), void *context,
			       struct sp_panel_case **as);
void sp_panel_cancel(struct sp_panel_case *at); /* done will not be called */

/* A notification for the plugins of crun's; called will be called, maybe from within. */
void sp_panel_call(struct sp_panel *panel, const struct seccomp_notif *call);

#endif
