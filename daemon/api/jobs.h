/* The methods of io.sallyport that are about jobs: List, Inspect, Tree, Kill, Freeze, Thaw, Wait, Stats. */
#ifndef SP_API_JOBS_H
#define SP_API_JOBS_H

#include "api/api.h"

/* As api.c's table wants them. Calls that still wait at the end (in Kill, Wait, Freeze) are answered by io.sallyport.Ended. */
[[nodiscard]] void *sp_api_jobs_new(struct sp_server *server, const struct sp_api_plan *plan);
void sp_api_jobs_free(void *jobs);

/* The job that a call names, if its peer may do to it what it calls for. NULL: the call was failed. */
[[nodiscard]] struct sp_job *sp_api_find_job(struct sp_call *call, struct sp_engine *engine, const char *id);

/* The name of a job: 16 hexadecimal digits. */
enum { SP_JOB_NAME = 17 };
const char *sp_api_job_name(char name[static SP_JOB_NAME], uint64_t id);

#endif
