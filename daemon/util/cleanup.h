/* Release on every path: variables that own something say so at their declaration.
 *
 * Ownership leaves a function only by an explicit sp_steal_*(). All releases accept the "owns nothing" value
 * (NULL, -1), so a variable must be initialised with it or with what it owns. Any thread. */
#ifndef SP_UTIL_CLEANUP_H
#define SP_UTIL_CLEANUP_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define sp_cleanup(function) [[gnu::cleanup(function)]]

static inline void sp_free_ptr(void *p)
{
	free(*(void **)p);
}

static inline void sp_close_fd(const int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

static inline void sp_close_file(FILE **f)
{
	if (*f != NULL)
		(void)fclose(*f);
}

static inline void sp_close_directory(DIR **d)
{
	if (*d != NULL)
		(void)closedir(*d);
}

/* The variable's memory is freed, its fd, FILE or DIR closed when it goes out of scope. */
#define cleanup_free sp_cleanup(sp_free_ptr)
#define cleanup_close sp_cleanup(sp_close_fd)
#define cleanup_file sp_cleanup(sp_close_file)
#define cleanup_directory sp_cleanup(sp_close_directory)

static inline int sp_steal_fd(int *fd)
{
	int owned = *fd;

	*fd = -1;
	return owned;
}

#define sp_steal_ptr(p)                                                                                                \
	({                                                                                                             \
		__typeof__(p) *sp_from_ = &(p);                                                                        \
		__typeof__(p) sp_owned_ = *sp_from_;                                                                   \
		*sp_from_ = NULL;                                                                                      \
		sp_owned_;                                                                                             \
	})

#endif
