/* An engine in a test program: loop, policy and engine in one, and a look into what the engine hides.
 *
 * The engine's index and tracer are its own. A test program gets at them by being linked with --wrap=sp_index_new and
 * --wrap=sp_tracer_new, so that nothing in the engine has to be there for tests. One rig at a time; one thread. */
#ifndef SP_STRESS_RIG_H
#define SP_STRESS_RIG_H

#include "engine.h"
#include "procindex/index.h"
#include "ptrace/tracer.h"

struct sp_rig {
	uv_loop_t loop;
	struct sp_engine *engine;
	struct sp_index *index;
	struct sp_tracer *tracer;
};

/* SIGCHLD gets blocked and stays so. Ends the program with a sentence where it fails; so do all of these. */
void sp_rig_open(struct sp_rig *rig, struct sp_audit *audit);
/* No job may be left. */
void sp_rig_close(struct sp_rig *rig);

/* A policy from YAML; the caller's to free. */
struct sp_policy *sp_rig_policy(const char *yaml);

/* argv[0] is the program's path. NULL, with *e filled, where the engine could not start it. */
struct sp_job *sp_rig_start(struct sp_rig *rig, const struct sp_policy *policy, enum sp_tracking tracking,
			    char *const argv[], const struct sp_job_events *events, void *context, struct sp_error *e);

/* "attached" or "oneshot"; ends the program for another word. */
enum sp_tracking sp_rig_tracking(const char *word);

[[gnu::noreturn, gnu::format(printf, 1, 2)]] void sp_rig_give_up(const char *format, ...);

#endif
