/* org.varlink.service: what a server says of itself, and the errors that are every server's. */
#ifndef SP_API_STANDARD_H
#define SP_API_STANDARD_H

#include "api/server.h"
#include "util/list.h"

#define SP_STANDARD_INTERFACE "org.varlink.service"
#define SP_INTERFACE_NOT_FOUND SP_STANDARD_INTERFACE ".InterfaceNotFound"
#define SP_METHOD_NOT_FOUND SP_STANDARD_INTERFACE ".MethodNotFound"
#define SP_METHOD_NOT_IMPLEMENTED SP_STANDARD_INTERFACE ".MethodNotImplemented"
#define SP_INVALID_PARAMETER SP_STANDARD_INTERFACE ".InvalidParameter"
#define SP_PERMISSION_DENIED SP_STANDARD_INTERFACE ".PermissionDenied"
#define SP_EXPECTED_MORE SP_STANDARD_INTERFACE ".ExpectedMore"

struct sp_interface {
	struct sp_list link;
	const char *name, *text;
};

const struct sp_list *sp_server_interfaces(const struct sp_server *server); /* struct sp_interface.link */

[[nodiscard]] int sp_standard_add(struct sp_server *server);

/* The text of io.sallyport: proto/io.sallyport.varlink. */
extern const char sp_interface_text[];

#endif
