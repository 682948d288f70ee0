/* Names below /proc, without the price of printf: several are made for each exec. */
#ifndef SP_UTIL_PROC_H
#define SP_UTIL_PROC_H

#include <string.h>
#include <sys/types.h>

enum { SP_PROC_NAME = 64 }; /* longest: "/proc/self/fd/" or "/proc/", a number, and a name of at most 32 bytes */

/* Writes prefix, number (not negative) and suffix, which fit. */
static inline const char *sp_proc_number(char name[static SP_PROC_NAME], const char *prefix, int number,
					 const char *suffix)
{
	char digits[16];
	size_t length = strlen(prefix), first = sizeof digits;

	memcpy(name, prefix, length);
	do {
		digits[--first] = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	memcpy(name + length, digits + first, sizeof digits - first);
	length += sizeof digits - first;
	memcpy(name + length, suffix, strlen(suffix) + 1);
	return name;
}

/* /proc/TID/WHAT; what: at most 32 bytes */
static inline const char *sp_proc_task(char name[static SP_PROC_NAME], pid_t tid, const char *what)
{
	name[0] = '\0';
	(void)sp_proc_number(name, "/proc/", tid, "/");
	return strcat(name, what);
}

/* /proc/self/fd/FD */
static inline const char *sp_proc_own_fd(char name[static SP_PROC_NAME], int fd)
{
	return sp_proc_number(name, "/proc/self/fd/", fd, "");
}

#endif
