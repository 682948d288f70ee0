/* See standard.h. */
#include "api/standard.h"

#include "util/version.h"

#include <string.h>

/* Taken in by the assembler, so that there is one text and not two. */
__asm__(".pushsection .rodata\n"
	".globl sp_interface_text\n"
	"sp_interface_text:\n"
	".incbin \"" SP_PROTO_DIR "/io.sallyport.varlink\"\n"
	".byte 0\n"
	".popsection\n");

static const char standard_text[] =
	"# What every varlink service says of itself.\n"
	"interface org.varlink.service\n"
	"\n"
	"method GetInfo() -> (vendor: string, product: string, version: string, url: string, interfaces: []string)\n"
	"\n"
	"method GetInterfaceDescription(interface: string) -> (description: string)\n"
	"\n"
	"error InterfaceNotFound (interface: string)\n"
	"error MethodNotFound (method: string)\n"
	"error MethodNotImplemented (method: string)\n"
	"error InvalidParameter (parameter: string)\n"
	"error PermissionDenied ()\n"
	"error ExpectedMore ()\n";

static void get_info(struct sp_call *call, void *context)
{
	const struct sp_server *server = context;
	const struct sp_interface *interface;
	json_t *names = json_array();

	if (!sp_call_read(call, NULL, 0, NULL)) {
		json_decref(names);
		return;
	}
	sp_list_each (interface, sp_server_interfaces(server), link)
		(void)json_array_append_new(names, json_string(interface->name));
	sp_call_reply(call, json_pack("{ss ss ss ss so}", "vendor", "sallyport", "product", "sallyport", "version",
				      SP_VERSION, "url", "", "interfaces", names));
}

static void get_description(struct sp_call *call, void *context)
{
	static const struct sp_parameter table[] = {{"interface", SP_PARAMETER_TEXT, true, 0}};
	const struct sp_server *server = context;
	const struct sp_interface *interface;
	const char *name = NULL;

	if (!sp_call_read(call, table, 1, &name))
		return;
	sp_list_each (interface, sp_server_interfaces(server), link) {
		if (strcmp(interface->name, name) != 0)
			continue;
		sp_call_reply(call, json_pack("{ss}", "description", interface->text));
		return;
	}
	sp_call_fail(call, SP_INTERFACE_NOT_FOUND, json_pack("{ss}", "interface", name));
}

static const struct sp_method methods[] = {
	{SP_STANDARD_INTERFACE ".GetInfo", get_info, 0},
	{SP_STANDARD_INTERFACE ".GetInterfaceDescription", get_description, 0},
};

int sp_standard_add(struct sp_server *server)
{
	int err = sp_server_describe(server, SP_STANDARD_INTERFACE, standard_text);

	return err != 0 ? err : sp_server_add(server, methods, sizeof methods / sizeof *methods, server);
}
