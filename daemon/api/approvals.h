/* The methods of io.sallyport that are about execs which wait for a person: Approvals, Preview, Approve, Deny. */
#ifndef SP_API_APPROVALS_H
#define SP_API_APPROVALS_H

#include "api/api.h"

/* As api.c's table wants them. Calls that are still told of changes at the end are answered by io.sallyport.Ended. */
[[nodiscard]] void *sp_api_approvals_new(struct sp_server *server, const struct sp_api_plan *plan);
void sp_api_approvals_free(void *approvals);

#endif
