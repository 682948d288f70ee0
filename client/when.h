/* Points in time as people give them to commands. */
#ifndef SP_CLIENT_WHEN_H
#define SP_CLIENT_WHEN_H

#include <stdbool.h>
#include <stdint.h>

#define SP_WHEN "2026-11-27, '2026-11-27 08:30', 90s, 30m, 12h, 7d (ago)"

/* An age, 90s or 30d, in nanoseconds; false: it is none. */
bool sp_parse_age(const char *text, int64_t *age_ns);

/* A local date, with or without a time of day, or an age, as nanoseconds since 1970; false: neither. */
bool sp_parse_time(const char *text, int64_t *time_ns);

#endif
