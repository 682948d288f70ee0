/* Where the loop's thread runs, and how soon it gets there. A wake-up of another CPU costs more than all the system calls of an
 * exec together; so while a job does one thing after the other, the supervisor stays on the CPU of whoever it waits for.
 *
 * State of the process: there is one loop. */
#ifndef SP_UTIL_CPU_H
#define SP_UTIL_CPU_H

#include <stdbool.h>
#include <sys/types.h>

/* For the calling thread, the loop's. Asks for short time slices: whoever wakes with a shorter slice than the running task has
 * gets the CPU sooner, not more of it (Linux 6.12; sched_setattr(2)). Not while it follows: who shares a CPU with its caller
 * would be interrupted by it in the middle of its answer, and the exec, which looks for the idlest CPU, would then leave
 * for another one. Remembers the CPUs that are allowed. */
void sp_cpu_prepare(void);

/* The thread shall run where that task ran last; or anywhere. Cheap where nothing changes. */
void sp_cpu_follow(pid_t tid);
void sp_cpu_roam(void);

/* For a thread that works in the background: it preempts nobody, and everybody preempts it. */
void sp_cpu_step_back(void);

/* For a new thread, or a child between fork and exec: as it was before sp_cpu_prepare(). Async-signal-safe. */
void sp_cpu_restore(void);

#endif
