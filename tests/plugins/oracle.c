/* A plugin that says what the first argument wants it to say, or fails as it wants. */
#include "sallyport-plugin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct sallyport_host *host;
static uint64_t waiting; /* token */

static int init(const char *config, const struct sallyport_host *given, void **self)
{
	(void)self;
	host = given;
	return strstr(config, "refuse") != NULL ? -ENODEV : 0;
}

static void answer(uint64_t token, unsigned what)
{
	const struct sallyport_verdict verdict = {.size = sizeof verdict, .answer = what};

	(void)host->answer(host, token, &verdict);
}

static void answer_waiting(void *argument)
{
	(void)argument;
	answer(waiting, SALLYPORT_ALLOW);
}

static void scribble(void)
{
	char *room = malloc(64);

	memset(room - 32, 0xff, 1 << 16);
	free(room);
	free(malloc(1 << 12));
	abort();
}

static void on_exec(void *self, const struct sallyport_exec *exec, struct sallyport_verdict *verdict)
{
	const char *wish = exec->argc > 1 ? exec->argv[1].data : "none";
	unsigned *asked = host->job_storage(host, exec->job, sizeof *asked);

	(void)self;
	(*asked)++;
	if (strcmp(wish, "allow") == 0) {
		verdict->answer = SALLYPORT_ALLOW;
	} else if (strcmp(wish, "deny") == 0) {
		verdict->answer = SALLYPORT_DENY;
		verdict->error = ENOENT;
		(void)strcpy(verdict->reason, "the oracle says no");
	} else if (strcmp(wish, "kill") == 0) {
		verdict->answer = SALLYPORT_KILL;
	} else if (strcmp(wish, "ask") == 0) {
		verdict->answer = SALLYPORT_ASK;
	} else if (strcmp(wish, "later") == 0) {
		verdict->answer = SALLYPORT_LATER;
		waiting = exec->token;
		(void)host->timer(host, 20, answer_waiting, NULL);
	} else if (strcmp(wish, "never") == 0) {
		verdict->answer = SALLYPORT_LATER;
		verdict->within_ms = 50;
	} else if (strcmp(wish, "wait") == 0) {
		verdict->answer = SALLYPORT_LATER;
		verdict->within_ms = 600000;
		host->log(host, SALLYPORT_INFO, "waits");
	} else if (strcmp(wish, "second") == 0) {
		verdict->answer = *asked > 1 ? SALLYPORT_ALLOW : SALLYPORT_DENY;
	} else if (strcmp(wish, "log") == 0) {
		host->log(host, SALLYPORT_INFO, "a line for people");
		host->count(host, "lines", 1);
	} else if (strcmp(wish, "sleep") == 0) {
		(void)sleep(3600);
	} else if (strcmp(wish, "loop") == 0) {
		for (volatile unsigned turns = 0;;)
			turns = turns + 1;
	} else if (strcmp(wish, "abort") == 0) {
		abort();
	} else if (strcmp(wish, "exit") == 0) {
		_exit(0);
	} else if (strcmp(wish, "scribble") == 0) {
		scribble();
	} else if (strcmp(wish, "junk") == 0) {
		verdict->answer = 77;
	} else if (strcmp(wish, "noise") == 0) {
		(void)!write(3, "no message at all, but many bytes", 33);
		verdict->answer = SALLYPORT_ALLOW;
	} else if (strcmp(wish, "twice") == 0) {
		answer(exec->token, SALLYPORT_ALLOW);
		answer(exec->token, SALLYPORT_ALLOW);
		verdict->answer = SALLYPORT_LATER;
	} else if (strcmp(wish, "leak") == 0) {
		for (;;)
			memset(malloc(1 << 20), 1, 1 << 20);
	} else if (strcmp(wish, "program") == 0) {
		(void)execl("/bin/true", "true", NULL);
		verdict->answer = errno == EPERM ? SALLYPORT_ALLOW : SALLYPORT_KILL;
	}
}

SALLYPORT_PLUGIN(.init = init, .on_exec = on_exec);
