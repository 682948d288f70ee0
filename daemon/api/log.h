/* io.sallyport.Log: decisions and results as they come. Costs nothing while nobody reads. */
#ifndef SP_API_LOG_H
#define SP_API_LOG_H

#include "api/api.h"

/* As api.c's table wants them. Readers that are left at the end are told io.sallyport.Ended. */
[[nodiscard]] void *sp_api_log_new(struct sp_server *server, const struct sp_api_plan *plan);
void sp_api_log_free(void *log);

#endif
