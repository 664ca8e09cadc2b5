/* SPDX-License-Identifier: MIT */
/* The fence and the lock on a client socket.
 *
 * Measured by tests/test-fence.c, and why the formulas look as they do:
 * - tcpi_bytes_received counts the peer's FIN as one byte once it has arrived
 *   in order, FIONREAD never does: in the states after a FIN one is taken off.
 * - tcpi_bytes_sent counts data only (no SYN, no FIN, but repeats too), and
 *   notsent_bytes what waits behind it; one TCP_INFO is taken under the
 *   socket's lock, so the three belong together.
 * - Two calls do not belong together: what arrives between TCP_INFO and
 *   FIONREAD would look like bytes not consumed. Hence repeat until TCP_INFO
 *   says the same before and after.
 * - FIONREAD stops short at urgent data, which would look like bytes
 *   consumed. SO_OOBINLINE makes them ordinary; it belongs to the socket, so
 *   every holder of a duplicate sees the same.
 *
 * A file of its own: <linux/tcp.h> has the counters and cannot be included
 * beside <netinet/tcp.h>, which has the names of the states. */
#include "lib/fence.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* The kernel's numbers (include/net/tcp_states.h, told in tcpi_state). */
enum tcp_states {
	STATE_ESTABLISHED = 1, STATE_SYN_SENT, STATE_SYN_RECV, STATE_FIN_WAIT1,
	STATE_FIN_WAIT2, STATE_TIME_WAIT, STATE_CLOSE, STATE_CLOSE_WAIT,
	STATE_LAST_ACK, STATE_LISTEN, STATE_CLOSING,
};

/* A peer that sends without pause can move the count between two looks; a
 * look takes a microsecond, so this many in a row mean something is wrong. */
#define LOOKS_MAX	1000

/* A kernel whose answer ends before these fields has no fence. */
#define INFO_BYTES_MIN	(offsetof(struct tcp_info, tcpi_bytes_retrans) + sizeof(__u64))

static int info_read(int fd, struct tcp_info *info)
{
	socklen_t len = sizeof(*info);

	memset(info, 0, sizeof(*info));
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len) < 0) {
		if (errno == ENOPROTOOPT || errno == ENOTSOCK)
			return -EOPNOTSUPP;
		return -errno;
	}
	return len < INFO_BYTES_MIN ? -EOPNOTSUPP : 0;
}

/* Has the peer's FIN been counted? In CLOSE the state no longer tells, but a
 * closed connection is over whatever its counts. */
static bool info_has_fin(const struct tcp_info *info)
{
	switch (info->tcpi_state) {
	case STATE_CLOSE_WAIT:
	case STATE_LAST_ACK:
	case STATE_CLOSING:
	case STATE_TIME_WAIT:
		return true;
	default:
		return false;
	}
}

static bool info_ended(const struct tcp_info *info)
{
	return info->tcpi_state != STATE_ESTABLISHED &&
	       info->tcpi_state != STATE_CLOSE_WAIT;
}

/* One TCP_INFO and the unread bytes that belong to it. */
static int info_read_stable(int fd, struct tcp_info *info, int *unread_r)
{
	struct tcp_info before;
	int unread, on = 1;
	int ret = info_read(fd, &before);

	if (ret < 0)
		return ret;
	if (setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on)) < 0)
		return -errno;
	for (int i = 0; i < LOOKS_MAX; i++) {
		if (ioctl(fd, SIOCINQ, &unread) < 0)
			return -errno;
		ret = info_read(fd, info);
		if (ret < 0)
			return ret;
		if (info->tcpi_bytes_received == before.tcpi_bytes_received &&
		    info->tcpi_state == before.tcpi_state) {
			*unread_r = unread;
			return 0;
		}
		before = *info;
	}
	return -EAGAIN;
}

int fence_read(int fd, struct fence_counts *now_r, bool *ended_r)
{
	struct tcp_info info;
	int unread = 0;
	int ret = info_read_stable(fd, &info, &unread);

	if (ret < 0)
		return ret;
	now_r->written = info.tcpi_bytes_sent - info.tcpi_bytes_retrans +
			 info.tcpi_notsent_bytes;
	now_r->consumed = info.tcpi_bytes_received - info_has_fin(&info) -
			  (uint64_t)unread;
	if (ended_r != NULL)
		*ended_r = info_ended(&info);
	return 0;
}

int fence_look(int fd, const struct fence_counts *counts, uint64_t keepalive_bytes,
	uint64_t *written_r)
{
	struct fence_counts now;
	bool ended;
	int ret = fence_read(fd, &now, &ended);

	if (ret == -ENOTCONN || ret == -ECONNRESET)
		return FENCE_MOVED;
	if (ret < 0)
		return ret;
	if (written_r != NULL)
		*written_r = now.written;
	if (ended || now.consumed != counts->consumed || now.written < counts->written ||
	    now.written - counts->written > keepalive_bytes)
		return FENCE_MOVED;
	return FENCE_GOOD;
}

/* ---- the lock ---- */

static int lock_set(int fd, short type)
{
	struct flock fl = { .l_type = type, .l_whence = SEEK_SET };

	if (fcntl(fd, F_SETLK, &fl) == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

int fence_lock(int fd)
{
	return lock_set(fd, F_WRLCK);
}

int fence_unlock(int fd)
{
	return lock_set(fd, F_UNLCK);
}

int fence_owner(int fd)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (fcntl(fd, F_GETLK, &fl) < 0)
		return -errno;
	if (fl.l_type == F_UNLCK)
		return 0;
	/* Locked by one who has no number here (another pid namespace). */
	return fl.l_pid > 0 ? fl.l_pid : -ESRCH;
}

int fence_cookie(int fd, uint64_t *cookie_r)
{
	uint64_t cookie;
	socklen_t len = sizeof(cookie);

	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) < 0)
		return -errno;
	if (len != sizeof(cookie))
		return -EOPNOTSUPP;
	*cookie_r = cookie;
	return 0;
}
