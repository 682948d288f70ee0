/* See peer.h. */
#include "api/peer.h"

#include "util/cleanup.h"

#include <errno.h>
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

void sp_peer_release(struct sp_peer *peer)
{
	sp_close_fd(&peer->pidfd);
	free((void *)peer->groups);
	*peer = (struct sp_peer){.pidfd = -1};
}
