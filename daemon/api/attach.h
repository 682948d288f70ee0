/* The methods of io.sallyport by which somebody hands over a program that he has forked: Prepare, Attach. The service's only.
 *
 * Nothing that a client says is believed that the kernel can be asked: the process must be a child of whoever speaks, with the same
 * users and groups and nobody else's job; and its listener is one, or the launch ends. */
#ifndef SP_API_ATTACH_H
#define SP_API_ATTACH_H

#include "api/api.h"

/* As api.c's table wants them. No job may be left at the end. */
[[nodiscard]] void *sp_api_attach_new(struct sp_server *server, const struct sp_api_plan *plan);
void sp_api_attach_free(void *attach);

#endif
