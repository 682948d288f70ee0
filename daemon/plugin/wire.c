/* See wire.h. */
#include "plugin/wire.h"

#include "sallyport-plugin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct header {
	uint32_t size; /* of the message, this included */
	uint32_t kind;
};

enum { ERRNO_MAX = 4095, CROWD = 4096 };

/* ---- writing ---- */

static void *grow(struct sp_wire_out *out, size_t size)
{
	if (out->failed)
		return NULL;
	if (out->size + size > out->capacity) {
		size_t capacity = out->capacity == 0 ? CROWD : out->capacity;

		while (capacity < out->size + size)
			capacity *= 2;
		char *data = realloc(out->data, capacity);
		if (data == NULL) {
			out->failed = true;
			return NULL;
		}
		out->data = data;
		out->capacity = capacity;
	}
	out->size += size;
	return out->data + out->size - size;
}

static void append(struct sp_wire_out *out, const void *data, size_t size)
{
	void *to = grow(out, size);

	if (to != NULL && size > 0)
		memcpy(to, data, size);
}

void sp_wire_begin(struct sp_wire_out *out, enum sp_wire_kind kind)
{
	const struct header header = {.kind = kind};

	out->begin = out->size;
	append(out, &header, sizeof header);
}

void sp_wire_put(struct sp_wire_out *out, uint64_t number)
{
	append(out, &number, sizeof number);
}

void sp_wire_put_bytes(struct sp_wire_out *out, const char *data, size_t size)
{
	sp_wire_put(out, size);
	append(out, data, size);
	append(out, "", 1);
}

void sp_wire_put_text(struct sp_wire_out *out, const char *text)
{
	sp_wire_put_bytes(out, text, text != NULL ? strlen(text) : 0);
}

void sp_wire_end(struct sp_wire_out *out)
{
	const uint32_t size = (uint32_t)(out->size - out->begin);

	if (!out->failed)
		memcpy(out->data + out->begin, &size, sizeof size);
}

void sp_wire_append(struct sp_wire_out *out, const struct sp_wire_out *messages)
{
	append(out, messages->data, messages->size);
}

/* ---- reading ---- */

int64_t sp_wire_next(const char *data, size_t size, size_t max, struct sp_wire_in *in)
{
	struct header header;

	if (size < sizeof header)
		return 0;
	memcpy(&header, data, sizeof header);
	if (header.size < sizeof header || header.size > max)
		return -EBADMSG;
	if (size < header.size)
		return 0;
	*in = (struct sp_wire_in){.kind = header.kind, .at = data + sizeof header, .end = data + header.size};
	return header.size;
}

uint64_t sp_wire_get(struct sp_wire_in *in)
{
	uint64_t number = 0;

	if ((size_t)(in->end - in->at) < sizeof number) {
		in->bad = true;
		return 0;
	}
	memcpy(&number, in->at, sizeof number);
	in->at += sizeof number;
	return number;
}

const char *sp_wire_get_bytes(struct sp_wire_in *in, size_t *size)
{
	const uint64_t length = sp_wire_get(in);
	const char *bytes = in->at;

	*size = 0;
	if (in->bad || length >= (size_t)(in->end - in->at) || bytes[length] != '\0') {
		in->bad = true;
		return "";
	}
	*size = length;
	in->at += length + 1;
	return bytes;
}

/* ---- what a worker says ---- */

/* It goes to a terminal and into the record. */
static void get_line(struct sp_wire_in *in, char to[static SP_WIRE_TEXT_MAX])
{
	size_t size;
	const char *text = sp_wire_get_bytes(in, &size);
	const size_t kept = size < SP_WIRE_TEXT_MAX - 1 ? size : SP_WIRE_TEXT_MAX - 1;

	for (size_t i = 0; i < kept; i++)
		to[i] = text[i] >= ' ' && text[i] < 0x7f ? text[i] : '?';
	to[kept] = '\0';
}

static bool has_good_verdict(struct sp_wire_in *in, struct sp_wire_said *said)
{
	said->verdict.token = sp_wire_get(in);
	const uint64_t answer = sp_wire_get(in), err = sp_wire_get(in), within = sp_wire_get(in);
	said->verdict.answer = (unsigned)answer;
	said->verdict.err = (int)err;
	said->verdict.within = (unsigned)within;
	return (answer <= SALLYPORT_LATER || answer == SP_WIRE_TWICE) && err <= ERRNO_MAX && within <= UINT32_MAX;
}

static bool has_good_call(struct sp_wire_in *in, struct sp_wire_said *said)
{
	said->called.id = sp_wire_get(in);
	const uint64_t handled = sp_wire_get(in);
	const int64_t err = (int64_t)sp_wire_get(in);
	said->called.handled = (unsigned)handled;
	said->called.err = (int)err;
	said->called.value = (int64_t)sp_wire_get(in);
	return handled <= 4 && err <= 0 && err >= -ERRNO_MAX;
}

int sp_wire_listen(struct sp_wire_in *in, struct sp_wire_said *said, const char **why)
{
	bool good = true;

	*said = (struct sp_wire_said){.kind = (enum sp_wire_kind)in->kind};
	switch (said->kind) {
	case SP_WIRE_READY: {
		const uint64_t err = sp_wire_get(in);

		said->ready.err = (int)err;
		said->ready.wants = (unsigned)sp_wire_get(in);
		good = err <= ERRNO_MAX;
		get_line(in, said->text);
		break;
	}
	case SP_WIRE_VERDICT:
		good = has_good_verdict(in, said);
		get_line(in, said->text);
		break;
	case SP_WIRE_LOG:
		said->log.level = (int)(sp_wire_get(in) & 0xff);
		get_line(in, said->text);
		break;
	case SP_WIRE_COUNT:
		said->count.delta = (int64_t)sp_wire_get(in);
		get_line(in, said->text);
		break;
	case SP_WIRE_CALLED:
		good = has_good_call(in, said);
		break;
	default:
		*why = "it sent a message that there is not";
		return -EBADMSG;
	}
	if (good && !in->bad && in->at == in->end)
		return 0;
	*why = "its answer makes no sense";
	return -EBADMSG;
}
