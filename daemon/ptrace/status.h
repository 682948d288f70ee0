/* What /proc says of a task that is needed now and then: see proc_pid_stat(5), proc_pid_status(5), proc_pid_task(5). */
#ifndef SP_PTRACE_STATUS_H
#define SP_PTRACE_STATUS_H

#include <stdbool.h>
#include <sys/types.h>

/* The letter of proc_pid_stat(5): R, S, D, T, t, Z, X, ...; 0: gone. */
char sp_status_letter(pid_t tid);

/* Process and parent process. 0 or -ESRCH. */
[[nodiscard]] int sp_status_family(pid_t tid, pid_t *tgid, pid_t *ppid);

/* Is the signal ignored by SIG_IGN? */
bool sp_status_ignores(pid_t tid, int signal);

/* Is there a signal that it would have to take now, if it were not in a call that only its end can interrupt? One that runs a handler,
 * stops or ends it. */
bool sp_status_has_signal(pid_t tid);

/* Who traces it; 0: nobody, or it is gone. */
pid_t sp_status_tracer(pid_t tid);

/* Its effective user. 0 or -ESRCH. */
[[nodiscard]] int sp_status_user(pid_t tid, uid_t *user);

/* Threads of a process; 0: gone. */
unsigned sp_status_threads(pid_t tgid);

#endif
