/* Any bytes as what a plugin's worker says, and as what it is told: nothing is read that is not there, what is for people is one
 * printable line, and what does not make sense is refused. */
#include "fuzz.h"
#include "plugin/events.h"
#include "plugin/wire.h"

#include <errno.h>
#include <string.h>

static void hear(struct sp_wire_in in)
{
	struct sp_wire_said said;
	const char *why = NULL;
	const int err = sp_wire_listen(&in, &said, &why);

	must(err == 0 || (err == -EBADMSG && why != NULL));
	must(strlen(said.text) < sizeof said.text);
	for (const char *c = said.text; *c != '\0'; c++)
		must(*c >= ' ' && *c < 0x7f);
	if (err == 0 && said.kind == SP_WIRE_VERDICT)
		must(said.verdict.answer <= SALLYPORT_LATER || said.verdict.answer == SP_WIRE_TWICE);
}

static void be_told(struct sp_wire_in in)
{
	struct sp_plugin_room room = {0};
	struct sallyport_exec exec;

	if (sp_plugin_get_exec(&in, &room, &exec) == 0)
		for (size_t i = 0; i < exec.argc; i++)
			must(strlen(exec.argv[i].data) == exec.argv[i].size);
	sp_plugin_room_release(&room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sp_wire_in in;
	int64_t taken;

	for (; (taken = sp_wire_next((const char *)data, size, 1 << 16, &in)) > 0;
	     data += taken, size -= (size_t)taken) {
		must((size_t)taken <= size);
		hear(in);
		be_told(in);
	}
	return 0;
}
