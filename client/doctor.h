/* What `sallyport doctor` finds out: one function a probe, one finding each.
 *
 * A probe tries the thing itself, in a child where trying leaves traces; it never blocks without a bound, and leaves no
 * child and no descriptor behind. */
#ifndef SP_CLIENT_DOCTOR_H
#define SP_CLIENT_DOCTOR_H

enum sp_finding_status {
	SP_FINDING_OK,
	SP_FINDING_DEGRADED, /* works, but with less: the consequence says what is lost */
	SP_FINDING_MISSING,
};

struct sp_finding {
	enum sp_finding_status status;
	char *detail; /* what was found, one line, printable; owned */
	const char *consequence; /* what works or will not because of it; a literal */
};

/* Fills in a finding; the detail is the formatted text, made printable. detail is NULL when memory ran out. */
[[gnu::format(printf, 4, 5)]] void sp_finding_set(struct sp_finding *finding, enum sp_finding_status status,
						  const char *consequence, const char *format, ...);

/* doctor_kernel.c: what the kernel offers, and lets this process use. */
void sp_probe_kernel(struct sp_finding *finding);
void sp_probe_user_notification(struct sp_finding *finding);
void sp_probe_listener(struct sp_finding *finding);
void sp_probe_wait_killable(struct sp_finding *finding);
void sp_probe_reply_race(struct sp_finding *finding);
void sp_probe_sync_wake_up(struct sp_finding *finding);
void sp_probe_ptrace(struct sp_finding *finding);
void sp_probe_memory(struct sp_finding *finding);
void sp_probe_openat2(struct sp_finding *finding);
void sp_probe_procmap_query(struct sp_finding *finding);
void sp_probe_proc_connector(struct sp_finding *finding);

/* doctor_host.c: how this machine and this session are set up. */
void sp_probe_privileges(struct sp_finding *finding);
void sp_probe_outer_filters(struct sp_finding *finding);
void sp_probe_yama(struct sp_finding *finding);
void sp_probe_tracer(struct sp_finding *finding);
void sp_probe_audit(struct sp_finding *finding);
void sp_probe_policies(struct sp_finding *finding);

/* doctor_stages.c: what a launch can do to a job, a probe a stage. Called by the name of the stage. */
enum { SP_STAGE_PROBES = 26 };
const char *sp_probe_stage_name(int stage);
void sp_probe_stage(int stage, struct sp_finding *finding);

/* doctor_cgroup.c: what can be limited for a whole job, and in which hierarchy. */
void sp_probe_cgroup_memory(struct sp_finding *finding);
void sp_probe_cgroup_pids(struct sp_finding *finding);
void sp_probe_cgroup_cpu(struct sp_finding *finding);
void sp_probe_cgroup_freeze(struct sp_finding *finding);
void sp_probe_cgroup_kill(struct sp_finding *finding);

/* doctor_child.c: what attempt() returns, 0 or an errno, when run in a child: it may load filters and enter namespaces for good.
 * The second form runs it as root of a user namespace of its own; that this could not be had is an errno, too. */
int sp_try(int (*attempt)(void));
int sp_try_in_user_namespace(int (*attempt)(void));
int sp_enter_user_namespace(void); /* for good; 0 or an errno */

#endif
