/* To talk to the supervisor of a job that a test has started, by its socket. Everything here ends the test when that fails. */
#ifndef SP_TESTS_TALK_H
#define SP_TESTS_TALK_H

#include "caller.h"
#include "harness.h"

#define cleanup_caller sp_cleanup(sp_caller_close)
#define cleanup_reply sp_cleanup(sp_reply_release)

/* A supervised shell that has said "ready". */
struct sp_child sp_start_ready(struct sp_lab *lab, const char *script);

/* Where the sockets of the lab's user are. */
const char *sp_runtime_directory(struct sp_lab *lab);

/* The socket of that supervisor, once it is there; its last part is the job's id. */
const char *sp_await_socket(struct sp_lab *lab, const struct sp_child *child);
const char *sp_job_of(const char *socket);

struct sp_caller sp_call_up(const char *socket);

/* Of a call that must succeed. Parameters are taken over. */
struct sp_reply sp_ask(struct sp_caller *caller, const char *method, json_t *parameters);
/* Of a call that must fail so; the reply. */
struct sp_reply sp_ask_in_vain(struct sp_caller *caller, const char *method, json_t *parameters, const char *error);

#endif
