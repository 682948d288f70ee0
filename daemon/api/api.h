/* io.sallyport as a whole: a server with all the methods there are. `sallyport run` and sallyportd have one each.
 *
 * A new method is a row in the table of the file that it belongs to (jobs.c, say); a new file of methods is a row in api.c. */
#ifndef SP_API_API_H
#define SP_API_API_H

#include "api/server.h"
#include "engine.h"

struct sp_api;
struct sp_policy;

struct sp_api_plan {
	uv_loop_t *loop;
	struct sp_engine *engine;
	bool embedded; /* the supervisor is `sallyport run`: it answers its own user and root, and ends with its job */
	/* The service only. The policy of that name (NULL: the usual one), which stays the owner's; NULL: there is none for this peer. */
	const struct sp_policy *(*policy)(const char *name, const struct sp_peer *peer, void *context);
	void (*attached)(struct sp_job *job, void *context); /* a program was taken over. May be NULL */
	/* The server's, but for welcome: who is inside a job is never answered. */
	struct sp_server_settings settings;
};

/* NULL: out of memory. */
[[nodiscard]] struct sp_api *sp_api_new(const struct sp_api_plan *plan);
struct sp_server *sp_api_server(const struct sp_api *api);

/* Calls that still wait are answered. Before the engine is closed; freed by the loop. NULL is fine. */
void sp_api_close(struct sp_api *api);

#endif
