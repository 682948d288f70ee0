/* The execs of an embedded run that wait for a person, put to the one who sits at its terminal.
 *
 * While a question stands there the job stands still (sp_job_hold()), so that nobody else reads what is typed or writes in between;
 * what was typed before is the program's, and is waited for. The terminal's settings and its foreground process group are put back
 * afterwards. Where that cannot be had (standard input is not the terminal, we are in the background, one-shot tracking) a line on
 * standard error says how to answer elsewhere. Loop thread only. */
#ifndef SP_CLIENT_PROMPT_H
#define SP_CLIENT_PROMPT_H

#include "engine.h"

#include <stdbool.h>

struct sp_prompt;

/* here: may ask on the terminal. NULL: out of memory. */
[[nodiscard]] struct sp_prompt *sp_prompt_new(uv_loop_t *loop, struct sp_engine *engine, struct sp_job *job, bool here);

/* The terminal has sent a signal, or we were continued: what stands there is taken away, and asked again later; an interrupt is a no.
 * True: a question stood there. NULL is fine. */
bool sp_prompt_signal(struct sp_prompt *prompt, int signal);

/* The job is done. Freed by the loop; before the engine is closed. NULL is fine. */
void sp_prompt_close(struct sp_prompt *prompt);

#endif
