/* See events.h. */
#include "plugin/events.h"

#include "inspect/inspect.h"
#include "procindex/index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- on the loop ---- */

static void put_strings(struct sp_wire_out *out, const struct sp_strings *strings)
{
	sp_wire_put(out, strings->count);
	sp_wire_put_bytes(out, strings->data, strings->count > 0 ? strings->size : 0);
}

static void put_ancestors(struct sp_wire_out *out, const struct sp_process *process)
{
	size_t count = 0;

	for (const struct sp_process *p = process->parent; p != NULL; p = p->parent)
		count++;
	sp_wire_put(out, count);
	for (const struct sp_process *p = process->parent; p != NULL; p = p->parent) {
		sp_wire_put(out, p->key);
		sp_wire_put(out, (uint64_t)p->tgid);
		sp_wire_put(out, p->generation);
	}
}

static unsigned flags_of(const struct sp_inspection *in)
{
	return (in->interpreter.fd >= 0 ? SALLYPORT_SCRIPT : 0) | (in->file.anonymous ? SALLYPORT_ANONYMOUS : 0) |
	       (in->file.foreign ? SALLYPORT_FOREIGN : 0);
}

void sp_plugin_put_exec(struct sp_wire_out *out, const struct sp_plugin_exec *exec, uint64_t token, uint64_t lost)
{
	const struct sp_inspection *in = exec->in;
	const struct sp_process *process = exec->caller->process;
	const bool script = in->interpreter.fd >= 0;

	sp_wire_begin(out, SP_WIRE_EXEC);
	sp_wire_put(out, token);
	sp_wire_put(out, exec->job);
	sp_wire_put(out, process->key);
	sp_wire_put(out, (uint64_t)process->tgid);
	sp_wire_put(out, (uint64_t)exec->caller->tid);
	sp_wire_put(out, exec->uid);
	sp_wire_put(out, exec->flags | flags_of(in));
	sp_wire_put(out, lost);
	sp_wire_put_text(out, in->path);
	sp_wire_put_text(out, in->file.path);
	sp_wire_put(out, in->file.st.st_dev);
	sp_wire_put(out, in->file.st.st_ino);
	sp_wire_put(out, in->file.st.st_mode);
	sp_wire_put(out, in->file.st.st_uid);
	sp_wire_put_text(out, script ? in->interpreter.path : NULL);
	sp_wire_put(out, script ? in->interpreter.st.st_dev : 0);
	sp_wire_put(out, script ? in->interpreter.st.st_ino : 0);
	put_strings(out, &in->argv);
	put_strings(out, &in->envp);
	put_strings(out, &in->final_argv);
	put_ancestors(out, process);
	sp_wire_put_text(out, exec->rule);
	sp_wire_end(out);
}

void sp_plugin_put_fork(struct sp_wire_out *out, const struct sallyport_fork *event)
{
	sp_wire_begin(out, SP_WIRE_FORK);
	sp_wire_put(out, event->job);
	sp_wire_put(out, event->process);
	sp_wire_put(out, event->parent);
	sp_wire_put(out, (uint64_t)event->pid);
	sp_wire_end(out);
}

void sp_plugin_put_exit(struct sp_wire_out *out, const struct sallyport_exit *event)
{
	sp_wire_begin(out, SP_WIRE_EXIT);
	sp_wire_put(out, event->job);
	sp_wire_put(out, event->process);
	sp_wire_put(out, (uint64_t)event->pid);
	sp_wire_put(out, (uint64_t)event->status);
	sp_wire_end(out);
}

void sp_plugin_put_job(struct sp_wire_out *out, const struct sallyport_job *event, bool has_fd)
{
	sp_wire_begin(out, SP_WIRE_JOB);
	sp_wire_put(out, has_fd);
	sp_wire_put(out, event->job);
	sp_wire_put(out, event->phase);
	sp_wire_put(out, (uint64_t)event->pid);
	sp_wire_put(out, event->uid);
	sp_wire_put_text(out, event->policy);
	sp_wire_put_text(out, event->cwd);
	sp_wire_end(out);
}

/* ---- in the worker ---- */

void sp_plugin_room_release(struct sp_plugin_room *room)
{
	free(room->strings);
	free(room->ancestors);
}

/* Room for that many more strings than there are. What is there may move: so all are counted first. */
static bool reserve(void **array, size_t *capacity, size_t count, size_t size)
{
	if (count <= *capacity)
		return true;
	void *grown = reallocarray(*array, count, size);
	if (grown == NULL)
		return false;
	*array = grown;
	*capacity = count;
	return true;
}

struct blob {
	const char *data;
	size_t size, count;
};

static struct blob get_blob(struct sp_wire_in *in)
{
	struct blob blob = {.count = sp_wire_get(in)};

	blob.data = sp_wire_get_bytes(in, &blob.size);
	in->bad |= blob.count > blob.size; /* each has its NUL */
	return blob;
}

static bool split(const struct blob *blob, struct sallyport_string *to)
{
	const char *at = blob->data, *end = blob->data + blob->size;

	for (size_t i = 0; i < blob->count; i++) {
		if (at >= end)
			return false;
		to[i] = (struct sallyport_string){.data = at, .size = strlen(at)};
		at += to[i].size + 1;
	}
	return at == end;
}

static int get_ancestors(struct sp_wire_in *in, struct sp_plugin_room *room, struct sallyport_exec *exec)
{
	const size_t count = sp_wire_get(in);

	if (in->bad || count > (size_t)(in->end - in->at))
		return -EBADMSG;
	if (!reserve((void **)&room->ancestors, &room->ancestor_capacity, count, sizeof *room->ancestors))
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		room->ancestors[i].process = sp_wire_get(in);
		room->ancestors[i].pid = (int32_t)sp_wire_get(in);
		room->ancestors[i].execs = (uint32_t)sp_wire_get(in);
	}
	exec->ancestors = room->ancestors;
	exec->ancestor_count = count;
	return 0;
}

int sp_plugin_get_exec(struct sp_wire_in *in, struct sp_plugin_room *room, struct sallyport_exec *exec)
{
	size_t size;

	*exec = (struct sallyport_exec){.size = sizeof *exec};
	exec->token = sp_wire_get(in);
	exec->job = sp_wire_get(in);
	exec->process = sp_wire_get(in);
	exec->pid = (int32_t)sp_wire_get(in);
	exec->tid = (int32_t)sp_wire_get(in);
	exec->uid = (uint32_t)sp_wire_get(in);
	exec->flags = (uint32_t)sp_wire_get(in);
	exec->lost = sp_wire_get(in);
	exec->path = sp_wire_get_bytes(in, &size);
	exec->file = sp_wire_get_bytes(in, &size);
	exec->device = sp_wire_get(in);
	exec->inode = sp_wire_get(in);
	exec->mode = (uint32_t)sp_wire_get(in);
	exec->owner = (uint32_t)sp_wire_get(in);
	const char *interpreter = sp_wire_get_bytes(in, &size);
	exec->interpreter = size > 0 ? interpreter : NULL;
	exec->interpreter_device = sp_wire_get(in);
	exec->interpreter_inode = sp_wire_get(in);
	const struct blob argv = get_blob(in), envp = get_blob(in), final = get_blob(in);
	if (in->bad)
		return -EBADMSG;
	if (!reserve((void **)&room->strings, &room->string_capacity, argv.count + envp.count + final.count,
		     sizeof *room->strings))
		return -ENOMEM;
	struct sallyport_string *strings = room->strings;
	if (!split(&argv, strings) || !split(&envp, strings + argv.count) ||
	    !split(&final, strings + argv.count + envp.count))
		return -EBADMSG;
	exec->argv = strings;
	exec->argc = argv.count;
	exec->envp = strings + argv.count;
	exec->envc = envp.count;
	exec->final_argv = final.count > 0 ? strings + argv.count + envp.count : strings;
	exec->final_argc = final.count > 0 ? final.count : argv.count;
	int err = get_ancestors(in, room, exec);
	if (err != 0)
		return err;
	const char *rule = sp_wire_get_bytes(in, &size);
	exec->rule = size > 0 ? rule : NULL;
	return in->bad ? -EBADMSG : 0;
}

int sp_plugin_get_fork(struct sp_wire_in *in, struct sallyport_fork *event)
{
	*event = (struct sallyport_fork){.size = sizeof *event};
	event->job = sp_wire_get(in);
	event->process = sp_wire_get(in);
	event->parent = sp_wire_get(in);
	event->pid = (int32_t)sp_wire_get(in);
	return in->bad ? -EBADMSG : 0;
}

int sp_plugin_get_exit(struct sp_wire_in *in, struct sallyport_exit *event)
{
	*event = (struct sallyport_exit){.size = sizeof *event};
	event->job = sp_wire_get(in);
	event->process = sp_wire_get(in);
	event->pid = (int32_t)sp_wire_get(in);
	event->status = (int32_t)sp_wire_get(in);
	return in->bad ? -EBADMSG : 0;
}

int sp_plugin_get_job(struct sp_wire_in *in, struct sallyport_job *event, bool *has_fd)
{
	size_t size;

	*event = (struct sallyport_job){.size = sizeof *event};
	*has_fd = sp_wire_get(in) != 0;
	event->job = sp_wire_get(in);
	event->phase = (uint32_t)sp_wire_get(in);
	event->pid = (int32_t)sp_wire_get(in);
	event->uid = (uint32_t)sp_wire_get(in);
	event->policy = sp_wire_get_bytes(in, &size);
	event->cwd = sp_wire_get_bytes(in, &size);
	return in->bad ? -EBADMSG : 0;
}
