/* Single words of a policy, and what they mean outside it. */
#include "policy/rules.h"
#include "util/cleanup.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

bool sp_is_multicall(const char *path)
{
	static const char *const names[] = {"busybox", "toybox", "coreutils"};
	const char *slash = strrchr(path, '/');
	const char *name = slash != NULL ? slash + 1 : path;

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (strncmp(name, names[i], strlen(names[i])) == 0)
			return true;
	}
	return false;
}

bool sp_is_reserved_id(const char *id)
{
	static const char *const ids[] = {"default", "anonymous", "loader"};

	for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
		if (strcmp(id, ids[i]) == 0)
			return true;
	}
	return false;
}

bool sp_user_find(const char *text, uid_t *uid)
{
	char *end;

	errno = 0;
	unsigned long number = strtoul(text, &end, 10);
	if (text[0] >= '0' && text[0] <= '9' && *end == '\0') {
		*uid = (uid_t)number;
		return errno == 0 && number < UINT32_MAX; /* the last one is nobody's: chown(2) */
	}
	struct passwd entry, *found = NULL;
	size_t size = 1 << 16;
	cleanup_free char *room = malloc(size);
	if (room == NULL || getpwnam_r(text, &entry, room, size, &found) != 0 || found == NULL)
		return false;
	*uid = entry.pw_uid;
	return true;
}

bool sp_number_parse(const char *text, uint32_t *number)
{
	char *end;

	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	*number = (uint32_t)value;
	return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && value <= SP_NUMBER_MAX;
}

static int hex_digit(char digit)
{
	static const char digits[] = "0123456789abcdef0123456789ABCDEF";
	const char *found = digit != '\0' ? strchr(digits, digit) : NULL;

	return found != NULL ? (int)((found - digits) % 16) : -1;
}

bool sp_digest_parse(const char *text, uint8_t digest[static SP_DIGEST_SIZE])
{
	if (strlen(text) != (size_t)2 * SP_DIGEST_SIZE)
		return false;
	for (size_t i = 0; i < SP_DIGEST_SIZE; i++) {
		int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
		if (high < 0 || low < 0)
			return false;
		digest[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}
