/* A directory for one test, which is the working directory when the test begins; for
 * TestSuite(name, .init = yard_open, .fini = yard_close). It is removed with all that is in it, also when the test
 * fails. */
#ifndef TESTS_UNIT_YARD_H
#define TESTS_UNIT_YARD_H

#include <criterion/criterion.h>
#include <sys/types.h>

void yard_open(void);
void yard_close(void);
/* Ends a test that cannot be made here: Criterion does not call .fini for one that is skipped. */
#define yard_skip(why) (yard_close(), cr_skip_test(why))
const char *yard_directory(void); /* absolute, without symlinks */

/* The only place in it where something may be mounted: it is unmounted without asking the file system. */
#define YARD_MOUNT "mount"
void yard_make_mount_point(void);

void yard_write(const char *path, const char *text, mode_t mode);
void yard_link(const char *target, const char *path); /* a symlink */
void yard_make_directory(const char *path);

/* A user without rights from now on, who is dumpable, and whose the yard is. Nothing if the test's user has none. */
void yard_become_ordinary(void);

#endif
