/* sallyport log --perfetto: a job over time, as a trace that https://ui.perfetto.dev opens.
 *
 * Each process is a track below its parent's; what it ran, one program after the other, are slices on it, what was refused are instants. The
 * file is a perfetto.protos.Trace: protocol buffers, of which a handful of fields is needed, so these are written here. The numbers are
 * those of trace_packet.proto, track_event.proto, track_descriptor.proto and debug_annotation.proto in protos/perfetto/trace of Perfetto. */
#include "log_export.h"

#include "util/cleanup.h"

#include <inttypes.h>
#include <string.h>

enum { TRACE_PACKET = 1 };
enum { PACKET_TIMESTAMP = 8, PACKET_SEQUENCE = 10, PACKET_EVENT = 11, PACKET_TRACK = 60 };
enum { TRACK_UUID = 1, TRACK_NAME = 2, TRACK_PARENT = 5, TRACK_CHILD_ORDER = 11, CHRONOLOGICAL = 2 };
enum { EVENT_NOTE = 4, EVENT_TYPE = 9, EVENT_TRACK = 11, EVENT_CATEGORY = 22, EVENT_NAME = 23 };
enum { SLICE_BEGIN = 1, SLICE_END = 2, INSTANT = 3 };
enum { NOTE_INTEGER = 4, NOTE_STRING = 6, NOTE_NAME = 10 };

#define ROOT UINT64_C(1) /* the job's own track; those of processes follow */

struct message {
	FILE *out;
	char *bytes;
	size_t size;
};

struct trace {
	FILE *out;
	bool failed; /* no memory */
};

static void put_varint(FILE *out, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		(void)fputc((int)(value & 0x7f) | 0x80, out);
	(void)fputc((int)value, out);
}

static void put_number(FILE *out, unsigned field, uint64_t value)
{
	put_varint(out, (uint64_t)field << 3 | 0);
	put_varint(out, value);
}

static void put_bytes(FILE *out, unsigned field, const char *bytes, size_t size)
{
	put_varint(out, (uint64_t)field << 3 | 2);
	put_varint(out, size);
	(void)fwrite(bytes, 1, size, out);
}

/* A string field must be UTF-8. */
static void put_text(FILE *out, unsigned field, const char *text)
{
	cleanup_free char *safe = log_export_safe(text);

	if (safe != NULL)
		put_bytes(out, field, safe, strlen(safe));
}

static FILE *begin_message(struct message *message)
{
	message->out = open_memstream(&message->bytes, &message->size);
	return message->out;
}

static void end_message(struct trace *trace, FILE *out, unsigned field, struct message *message)
{
	if (fclose(message->out) == 0)
		put_bytes(out, field, message->bytes, message->size);
	else
		trace->failed = true;
	free(message->bytes);
}

static uint64_t track_of(uint64_t process)
{
	return process != 0 ? ROOT + process : ROOT;
}

/* field: PACKET_EVENT with a time, or PACKET_TRACK without. */
static void put_packet(struct trace *trace, unsigned field, int64_t time, struct message *content)
{
	struct message packet;
	FILE *out = begin_message(&packet);

	if (out == NULL) {
		trace->failed = true;
		(void)fclose(content->out);
		free(content->bytes);
		return;
	}
	if (field == PACKET_EVENT)
		put_number(out, PACKET_TIMESTAMP, (uint64_t)time);
	put_number(out, PACKET_SEQUENCE, 1);
	end_message(trace, out, field, content);
	end_message(trace, trace->out, TRACE_PACKET, &packet);
}

static int put_track(struct trace *trace, uint64_t uuid, uint64_t parent, const char *name)
{
	struct message track;
	FILE *out = begin_message(&track);

	if (out == NULL)
		return -ENOMEM;
	put_number(out, TRACK_UUID, uuid);
	if (parent != 0)
		put_number(out, TRACK_PARENT, parent);
	put_text(out, TRACK_NAME, name);
	put_number(out, TRACK_CHILD_ORDER, CHRONOLOGICAL);
	put_packet(trace, PACKET_TRACK, 0, &track);
	return trace->failed ? -ENOMEM : 0;
}

static void put_note(struct trace *trace, FILE *out, const char *name, const char *text, int64_t number)
{
	struct message note;
	FILE *to = begin_message(&note);

	if (to == NULL) {
		trace->failed = true;
		return;
	}
	put_text(to, NOTE_NAME, name);
	if (text != NULL)
		put_text(to, NOTE_STRING, text);
	else
		put_number(to, NOTE_INTEGER, (uint64_t)number);
	end_message(trace, out, EVENT_NOTE, &note);
}

/* What the event is about; exec and command may be NULL. */
static int put_event(struct trace *trace, unsigned type, const struct sp_log_process *process, int64_t time,
		     const char *name, const struct sp_log_exec *exec, const char *command)
{
	struct message event;
	FILE *out = begin_message(&event);

	if (out == NULL)
		return -ENOMEM;
	put_number(out, EVENT_TYPE, type);
	put_number(out, EVENT_TRACK, track_of(process != NULL ? process->process : 0));
	if (name != NULL) {
		put_text(out, EVENT_CATEGORY, type == INSTANT ? "refused" : "program");
		put_text(out, EVENT_NAME, name);
	}
	if (command != NULL)
		put_note(trace, out, "command", command, 0);
	if (exec != NULL)
		put_note(trace, out, "exec", NULL, exec->id);
	if (exec != NULL && exec->rule != NULL)
		put_note(trace, out, "rule", exec->rule, 0);
	if (exec != NULL && exec->reason != NULL)
		put_note(trace, out, "reason", exec->reason, 0);
	if (type == SLICE_END && process != NULL && time == process->ended)
		put_note(trace, out, "wait status", NULL, process->status);
	put_packet(trace, PACKET_EVENT, time, &event);
	return trace->failed ? -ENOMEM : 0;
}

/* ---- */

static int begin(void *data, int64_t number, const char *command, int64_t started, int64_t ended)
{
	cleanup_free char *name = NULL;

	if (asprintf(&name, "job %" PRId64, number) < 0) {
		name = NULL;
		return -ENOMEM;
	}
	if (put_track(data, ROOT, 0, name) != 0 ||
	    put_event(data, SLICE_BEGIN, NULL, started, command, NULL, command) != 0)
		return -ENOMEM;
	return put_event(data, SLICE_END, NULL, ended, NULL, NULL, NULL);
}

static int trace_process(void *data, const struct sp_log_process *process)
{
	char name[32];

	(void)snprintf(name, sizeof name, "process %d", process->pid);
	return put_track(data, track_of(process->process), track_of(process->parent), name);
}

/* The program's file name is what there is room for in a slice. */
static int trace_program(void *data, const struct sp_log_process *process, const struct sp_log_exec *exec,
			 const char *command, int64_t begin, int64_t end)
{
	cleanup_free char *name = strdup(command != NULL ? command : "(fork)");

	if (name == NULL)
		return -ENOMEM;
	char *space = strchr(name, ' ');
	if (space != NULL)
		*space = '\0';
	const char *slash = strrchr(name, '/');
	if (put_event(data, SLICE_BEGIN, process, begin, slash != NULL && slash[1] != '\0' ? slash + 1 : name, exec,
		      command) != 0)
		return -ENOMEM;
	return put_event(data, SLICE_END, process, end, NULL, NULL, NULL);
}

static int trace_refused(void *data, const struct sp_log_process *process, const struct sp_log_exec *exec,
			 const char *command)
{
	const struct log_verdict verdict = log_verdict(exec);

	return put_event(data, INSTANT, process, exec->time, verdict.text, exec, command);
}

int log_perfetto(const struct log_view *view, const char *file, struct sp_error *e)
{
	static const struct log_export trace_of = {
		.job = begin, .process = trace_process, .program = trace_program, .refused = trace_refused};
	struct trace trace = {.out = log_export_open(file, e)};

	if (trace.out == NULL)
		return -e->err;
	const int ret = log_export(view, &trace_of, &trace, e);
	const int closed = log_export_close(trace.out, file, e);
	return ret < 0 ? ret : closed;
}
