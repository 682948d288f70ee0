/* The methods of io.sallyport that are about the policies in force: Reload. */
#ifndef SP_API_POLICIES_H
#define SP_API_POLICIES_H

#include "api/api.h"

/* As api.c's table wants them. Calls that still wait at the end are answered by io.sallyport.Ended. */
[[nodiscard]] void *sp_api_policies_new(struct sp_server *server, const struct sp_api_plan *plan);
void sp_api_policies_free(void *policies);

#endif
