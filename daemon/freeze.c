/* See freeze.h. Who is born meanwhile is held at its first stop; who execs, at its exec stop. */
#include "freeze.h"

#include "ptrace/gate.h"

/* A notification that nobody has received is withdrawn by the stop, and comes again when the caller goes on. */
void sp_freeze(struct sp_tracer *tracer, const struct sp_list *processes)
{
	struct sp_process *process;
	struct sp_task *task;

	sp_list_each (process, processes, job_link)
		sp_list_each (task, &process->tasks, process_link)
			(void)sp_tracer_interrupt(tracer, task);
}

void sp_thaw(struct sp_tracer *tracer, const struct sp_list *processes)
{
	struct sp_process *process;
	struct sp_task *task, *next;

	sp_list_each (process, processes, job_link)
		sp_list_each_safe (task, next, &process->tasks, process_link)
			sp_tracer_release(tracer, task);
}

unsigned sp_freeze_running(const struct sp_list *processes)
{
	const struct sp_process *process;
	const struct sp_task *task;
	unsigned running = 0;

	sp_list_each (process, processes, job_link)
		sp_list_each (task, &process->tasks, process_link)
			running += !sp_gate_is_frozen(task);
	return running;
}
