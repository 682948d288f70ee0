/* Who is at the other end of a Unix socket. */
#ifndef SP_API_PEER_H
#define SP_API_PEER_H

#include "api/server.h"

/* 0; -ESRCH: who connected is dead, and nobody knows whose hands the socket is in; or -errno. */
[[nodiscard]] int sp_peer_read(struct sp_peer *peer, int socket);

/* That process is alive. Where it was not found among others before this is asked, it was not one of them when it connected. */
[[nodiscard]] bool sp_peer_is_alive(const struct sp_peer *peer);

/* Is it traced by a supervisor of ours, whichever? */
bool sp_peer_is_supervised(const struct sp_peer *peer);

void sp_peer_release(struct sp_peer *peer);

#endif
