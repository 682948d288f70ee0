/* Some programs run at certain hours only; at others a person is asked.
 *
 *     plugins: [{path: office-hours.so, when: allowed, config: {programs: [git, ssh], days: [1, 2, 3, 4, 5], from: 9, to: 17}}]
 *
 * Days are 0 (Sunday) to 6, hours are local time: from 9 to 17 is 9:00:00 to 16:59:59. Programs are base names; none given: all.
 * `otherwise: deny` refuses instead of asking. */
#include "sallyport-plugin.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

static int init(const char *config, const struct sallyport_host *host, void **self)
{
	json_t *settings = json_loads(config, 0, NULL);

	if (!json_is_array(json_object_get(settings, "days")) || !json_is_integer(json_object_get(settings, "from")) ||
	    !json_is_integer(json_object_get(settings, "to"))) {
		host->log(host, SALLYPORT_ERROR, "config wants {days: [1, 2, 3, 4, 5], from: 9, to: 17}");
		json_decref(settings);
		return -EINVAL;
	}
	*self = settings;
	return 0;
}

static void fini(void *self)
{
	json_decref(self);
}

static bool has_text(const json_t *list, const char *text)
{
	size_t at;
	json_t *item;

	json_array_foreach(list, at,
			   item) if (json_is_string(item) && strcmp(json_string_value(item), text) == 0) return true;
	return false;
}

static bool is_open(const json_t *settings)
{
	const time_t now = time(NULL);
	struct tm local;
	size_t at;
	json_t *day;

	(void)localtime_r(&now, &local);
	if (local.tm_hour < json_integer_value(json_object_get(settings, "from")) ||
	    local.tm_hour >= json_integer_value(json_object_get(settings, "to")))
		return false;
	json_array_foreach(json_object_get(settings, "days"), at,
			   day) if (json_integer_value(day) == local.tm_wday) return true;
	return false;
}

static void on_exec(void *self, const struct sallyport_exec *exec, struct sallyport_verdict *verdict)
{
	const json_t *programs = json_object_get(self, "programs");
	const char *otherwise = json_string_value(json_object_get(self, "otherwise"));
	const char *slash = strrchr(exec->file, '/');

	if ((programs != NULL && !has_text(programs, slash != NULL ? slash + 1 : exec->file)) || is_open(self))
		return;
	verdict->answer = otherwise != NULL && strcmp(otherwise, "deny") == 0 ? SALLYPORT_DENY : SALLYPORT_ASK;
	(void)strcpy(verdict->reason, "office-hours: not at this time");
}

SALLYPORT_PLUGIN(.init = init, .fini = fini, .on_exec = on_exec);
