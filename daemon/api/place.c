/* See place.h. */
#include "api/place.h"

#include "util/cleanup.h"
#include "util/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { BACKLOG = 128 };

static int directory_name(char *name, size_t size)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	int length;

	if (geteuid() == 0)
		length = snprintf(name, size, SP_SERVICE_DIRECTORY);
	else if (runtime != NULL && runtime[0] == '/')
		length = snprintf(name, size, "%s/sallyport", runtime);
	else
		length = snprintf(name, size, "/tmp/sallyport-%u", geteuid());
	return length > 0 && (size_t)length < size ? 0 : -ENAMETOOLONG;
}

int sp_place_open(void)
{
	char name[4096];
	struct stat st;

	int err = directory_name(name, sizeof name);
	if (err != 0)
		return err;
	/* The service's socket is in root's directory, and all may pass through that. */
	if (mkdir(name, geteuid() == 0 ? 0711 : 0700) != 0 && errno != EEXIST)
		return -errno;
	cleanup_close int directory = open(name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (directory < 0 || fstat(directory, &st) != 0)
		return -errno;
	if (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
		return -EPERM;
	return sp_steal_fd(&directory);
}

/* The name is too long for a socket address where the directory's is; through its fd it never is. Nobody may find a socket that
 * does not listen yet: it would be taken for what a dead supervisor has left. */
int sp_place_listen(int directory, const char *name, mode_t mode)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char path[SP_PROC_NAME], hidden[64];
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	/* Before it has a name: the file is made with this mode (unix_bind() in net/unix/af_unix.c). */
	if (fd < 0 || fchmod(fd, mode) != 0)
		return -errno;
	(void)snprintf(hidden, sizeof hidden, ".%s", name);
	(void)snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", sp_proc_own_fd(path, directory), hidden);
	(void)unlinkat(directory, hidden, 0);
	if (bind(fd, (const struct sockaddr *)&address, sizeof address) != 0)
		return -errno;
	/* The umask has taken from it. The directory is ours alone to write to. */
	if (fchmodat(directory, hidden, mode, 0) == 0 && listen(fd, BACKLOG) == 0 &&
	    renameat(directory, hidden, directory, name) == 0)
		return sp_steal_fd(&fd);
	int err = -errno;
	(void)unlinkat(directory, hidden, 0);
	return err;
}
