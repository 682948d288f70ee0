/* See peer.h. */
#include "api/peer.h"

#include "ptrace/status.h"
#include "util/cleanup.h"
#include "util/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

static gid_t *read_groups(int socket, size_t *count)
{
	socklen_t size = 0;

	*count = 0;
	/* A user with no group besides its own gives 0, and one with some ERANGE and how much room they need. */
	if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) == 0 || errno != ERANGE)
		return NULL;
	gid_t *groups = malloc(size);
	if (groups == NULL || getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups, &size) != 0) {
		free(groups);
		return NULL;
	}
	*count = size / sizeof *groups;
	return groups;
}

/* Since 6.5 the kernel gives the very process; before, whoever has its number now. */
static int open_peer(int socket, pid_t pid)
{
	int fd;
	socklen_t size = sizeof fd;

	if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &size) == 0)
		return fd;
	if (errno != ENOPROTOOPT)
		return -ESRCH;
	fd = pidfd_open(pid, 0);
	return fd >= 0 ? fd : -errno;
}

int sp_peer_read(struct sp_peer *peer, int socket)
{
	struct ucred credentials;
	socklen_t size = sizeof credentials;

	*peer = (struct sp_peer){.pidfd = -1};
	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
		return -errno;
	/* 0: a process that our pid namespace does not show. */
	const int pidfd = credentials.pid > 0 ? open_peer(socket, credentials.pid) : -ESRCH;
	if (pidfd < 0)
		return pidfd;
	peer->pid = credentials.pid;
	peer->uid = credentials.uid;
	peer->gid = credentials.gid;
	peer->pidfd = pidfd;
	peer->groups = read_groups(socket, &peer->group_count);
	return 0;
}

bool sp_peer_is_alive(const struct sp_peer *peer)
{
	struct pollfd end = {.fd = peer->pidfd, .events = POLLIN};

	return poll(&end, 1, 0) == 0;
}

/* By its name, which no program of a job can change: it is its supervisor's. */
bool sp_peer_is_supervised(const struct sp_peer *peer)
{
	static const char ours[] = "sallyport";
	const pid_t tracer = sp_status_tracer(peer->pid);
	char path[SP_PROC_NAME], name[32] = "";

	if (tracer <= 0)
		return false;
	cleanup_close int fd = open(sp_proc_task(path, tracer, "comm"), O_RDONLY | O_CLOEXEC);
	/* What cannot be looked at is not let in. */
	if (fd < 0 || read(fd, name, sizeof name - 1) <= 0)
		return true;
	return strncmp(name, ours, strlen(ours)) == 0;
}

void sp_peer_release(struct sp_peer *peer)
{
	sp_close_fd(&peer->pidfd);
	free((void *)peer->groups);
	*peer = (struct sp_peer){.pidfd = -1};
}
