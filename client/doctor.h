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
void sp_probe_landlock(struct sp_finding *finding);
void sp_probe_user_namespaces(struct sp_finding *finding);
void sp_probe_proc_connector(struct sp_finding *finding);

/* doctor_host.c: how this machine and this session are set up. */
void sp_probe_privileges(struct sp_finding *finding);
void sp_probe_outer_filters(struct sp_finding *finding);
void sp_probe_yama(struct sp_finding *finding);
void sp_probe_tracer(struct sp_finding *finding);
void sp_probe_cgroup(struct sp_finding *finding);
void sp_probe_audit(struct sp_finding *finding);
void sp_probe_policies(struct sp_finding *finding);

#endif
