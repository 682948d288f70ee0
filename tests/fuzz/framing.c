/* Any bytes on a varlink connection, in pieces of any size: messages come out as they went in, and what is taken for JSON can be printed
 * and read again. The first byte is the size of the pieces. */
#include "framing.h"
#include "fuzz.h"

#include <errno.h>
#include <string.h>

enum { LIMIT = 4096 };

static void take_all(struct sp_frames *frames, const uint8_t **expected, const uint8_t *end)
{
	struct sp_frame frame;

	while (sp_frames_take(frames, &frame)) {
		must(frame.size <= LIMIT);
		must((size_t)(end - *expected) > frame.size);
		must(memcmp(frame.text, *expected, frame.size) == 0 && (*expected)[frame.size] == '\0');
		*expected += frame.size + 1;
		json_t *object = sp_message_parse(frame.text, frame.size);
		if (object == NULL)
			continue;
		size_t size;
		char *printed = sp_message_print(object, &size);
		must(printed != NULL && size > 0 && printed[size - 1] == '\0' && strlen(printed) == size - 1);
		json_t *again = sp_message_parse(printed, size - 1);
		must(again != NULL && json_equal(object, again));
		json_decref(again);
		json_decref(object);
		free(printed);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sp_frames frames;
	const size_t piece = size > 0 ? data[0] + 1u : 1;
	const uint8_t *at = data + (size > 0), *expected = at, *end = data + size;
	int ret = 0;

	sp_frames_init(&frames, LIMIT, 0);
	while (at < end && ret == 0) {
		const size_t part = (size_t)(end - at) < piece ? (size_t)(end - at) : piece;
		ret = sp_frames_feed(&frames, at, part, NULL, 0);
		must(ret == 0 || ret == -EMSGSIZE || ret == -ENOMEM);
		at += part;
		take_all(&frames, &expected, at);
	}
	sp_frames_release(&frames);
	return 0;
}
