/* Where supervisors listen. An embedded run has a socket in a directory of its user's own, named after its job; the service has one
 * for everybody. */
#ifndef SP_API_PLACE_H
#define SP_API_PLACE_H

#include <sys/types.h>

#define SP_SERVICE_DIRECTORY "/run/sallyport"
#define SP_SERVICE_NAME "io.sallyport"
#define SP_SERVICE_SOCKET SP_SERVICE_DIRECTORY "/" SP_SERVICE_NAME

/* The user's directory, made if it is not there: /run/sallyport for root, else $XDG_RUNTIME_DIR/sallyport, else
 * /tmp/sallyport-UID. An fd, or -errno: -EPERM if somebody else could write to it. */
[[nodiscard]] int sp_place_open(void);

/* A socket that listens there, not inherited and not blocking, in place of one of that name. An fd or -errno. */
[[nodiscard]] int sp_place_listen(int directory, const char *name, mode_t mode);

#endif
