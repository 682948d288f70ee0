/* See when.h. */
#include "when.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

bool sp_parse_age(const char *text, int64_t *age_ns)
{
	static const char units[] = "smhd";
	static const int64_t seconds[] = {1, 60, 3600, 86400};
	char *end;
	const long long age = strtoll(text, &end, 10);
	const char *unit = end != text && end[0] != '\0' && end[1] == '\0' ? strchr(units, end[0]) : NULL;

	if (unit == NULL || age < 0 || age >= 1000000)
		return false;
	*age_ns = age * seconds[unit - units] * 1000000000;
	return true;
}

bool sp_parse_time(const char *text, int64_t *time_ns)
{
	static const char *const forms[] = {"%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"};
	int64_t age;

	if (sp_parse_age(text, &age)) {
		*time_ns = (int64_t)time(NULL) * 1000000000 - age;
		return true;
	}
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		struct tm local = {.tm_isdst = -1};
		const char *rest = strptime(text, forms[i], &local);
		if (rest != NULL && *rest == '\0') {
			*time_ns = (int64_t)mktime(&local) * 1000000000;
			return true;
		}
	}
	return false;
}
