/* A whole job stands still, by the tracer's holds: no signal is sent, and job control does not see it. */
#ifndef SP_FREEZE_H
#define SP_FREEZE_H

#include "ptrace/tracer.h"

/* processes: struct sp_process.job_link. Attached tracking only. */
void sp_freeze(struct sp_tracer *tracer, const struct sp_list *processes); /* asks everybody to stop */
void sp_thaw(struct sp_tracer *tracer, const struct sp_list *processes); /* those that nobody else holds go on */
unsigned sp_freeze_running(const struct sp_list *processes); /* how many threads may still run their program */

#endif
