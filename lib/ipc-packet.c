/* SPDX-License-Identifier: MIT */
/* Packets with descriptors over Unix sockets, and the sockets themselves.
 *
 * A descriptor that was received is always somebody's: either the caller gets
 * all of a packet's, or every one of them is closed here. The control buffer
 * has room for the most that the kernel passes plus the sender's credentials,
 * so MSG_CTRUNC means that our own descriptor limit cut the list: what came
 * is not what was sent, and the packet is refused whole. */
#include "lib/ipc-packet.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/cleanup.h"

#define NO_UID	((uid_t)-1)

void ipc_packet_close(struct ipc_packet *pkt)
{
	for (unsigned i = 0; i < pkt->n_fds; i++)
		close(pkt->fds[i]);
	pkt->n_fds = 0;
}

/* ---- sending ---- */

int ipc_send_raw(int sock, const void *data, size_t len, const int *fds, unsigned n_fds)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int) * IPC_FDS_MAX)];
	} control;
	struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t ret;

	/* An empty packet cannot be told from the end of the connection. */
	if (len == 0)
		return -EINVAL;
	if (len > IPC_MESSAGE_MAX || n_fds > IPC_FDS_MAX)
		return -EMSGSIZE;
	if (n_fds > 0) {
		struct cmsghdr *c;

		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		c = CMSG_FIRSTHDR(&msg);
		memset(c, 0, sizeof(*c));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	do {
		ret = sendmsg(sock, &msg, MSG_NOSIGNAL);
	} while (ret < 0 && errno == EINTR);
	if (ret >= 0)
		return 0;
	/* The peer closed with something unread: the same to us. What it
	   sent before can still be received. */
	if (errno == ECONNRESET)
		return -EPIPE;
	return -errno;
}

/* ---- receiving ---- */

static void packet_take_fds(struct ipc_packet *pkt, const struct cmsghdr *c)
{
	const unsigned char *p = CMSG_DATA(c);
	size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	for (size_t i = 0; i < n; i++) {
		int fd;

		memcpy(&fd, p + i * sizeof(int), sizeof(int));
		if (pkt->n_fds < IPC_FDS_MAX)
			pkt->fds[pkt->n_fds++] = fd;
		else
			close(fd);	/* there is no room for such a list */
	}
}

static void packet_take_cred(struct ipc_packet *pkt, const struct cmsghdr *c)
{
	struct ucred cred;

	if (c->cmsg_len != CMSG_LEN(sizeof(cred)))
		return;
	memcpy(&cred, CMSG_DATA(c), sizeof(cred));
	/* Sent before anybody asked for credentials: the kernel fills in
	   process 0 and the overflow uid. That is nobody. */
	if (cred.pid <= 0)
		return;
	pkt->cred = (struct ipc_cred){
		.pid = cred.pid, .uid = cred.uid, .gid = cred.gid,
	};
}

static void packet_take_control(struct ipc_packet *pkt, struct msghdr *msg)
{
	struct cmsghdr *c;

	pkt->n_fds = 0;
	pkt->cred = (struct ipc_cred){ .uid = NO_UID, .gid = (gid_t)-1 };
	for (c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_RIGHTS)
			packet_take_fds(pkt, c);
		else if (c->cmsg_type == SCM_CREDENTIALS)
			packet_take_cred(pkt, c);
	}
}

static ssize_t recv_retry(int sock, struct msghdr *msg)
{
	const size_t control_len = msg->msg_controllen;
	bool reset = false;

	for (;;) {
		ssize_t ret;

		msg->msg_controllen = control_len;
		ret = recvmsg(sock, msg, MSG_CMSG_CLOEXEC);
		if (ret >= 0)
			return ret;
		if (errno == EINTR)
			continue;
		/* A peer that closes with something of ours unread makes the
		   kernel report that once, ahead of what the peer had sent.
		   That must still be read (handover.md, 6: a KEPT may be
		   queued there), so ask again. */
		if (errno == ECONNRESET && !reset) {
			reset = true;
			continue;
		}
		return errno == ECONNRESET ? -EPIPE : -errno;
	}
}

ssize_t ipc_packet_recv(int sock, void *data, size_t size, struct ipc_packet *pkt)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int) * IPC_FDS_MAX) +
			 CMSG_SPACE(sizeof(struct ucred))];
	} control;
	struct iovec iov = { .iov_base = data, .iov_len = size };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.buf, .msg_controllen = sizeof(control.buf),
	};
	ssize_t ret = recv_retry(sock, &msg);

	if (ret < 0)
		return ret;
	packet_take_control(pkt, &msg);
	pkt->cut_len = msg.msg_flags & MSG_TRUNC ? 0 : (size_t)ret;
	if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		ipc_packet_close(pkt);
		return -EBADMSG;
	}
	if (ret == 0) {		/* the end, or an empty packet: as good as one */
		ipc_packet_close(pkt);
		return -EPIPE;
	}
	return ret;
}

ssize_t ipc_recv_raw(int sock, void *data, size_t size, int *fds_r, unsigned max_fds,
	unsigned *n_fds_r)
{
	struct ipc_packet pkt;
	ssize_t ret = ipc_packet_recv(sock, data, size, &pkt);

	if (ret < 0)
		return ret;
	if (pkt.n_fds > max_fds) {
		ipc_packet_close(&pkt);
		return -EBADMSG;
	}
	if (pkt.n_fds > 0)
		memcpy(fds_r, pkt.fds, sizeof(int) * pkt.n_fds);
	*n_fds_r = pkt.n_fds;
	return ret;
}

/* ---- sockets ---- */

/* Unix sockets account a packet to its sender alone. Twice the largest
 * message is asked for; the kernel's usual limit allows one and a half. */
static int socket_enlarge(int sock)
{
	int size = 2 * IPC_MESSAGE_MAX;

	if (setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) < 0)
		return -errno;
	return 0;
}

int ipc_pair(int fds_r[2])
{
	cleanup_fd int a = -1;
	cleanup_fd int b = -1;
	int fds[2];
	int ret;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
		return -errno;
	a = fds[0];
	b = fds[1];
	ret = socket_enlarge(a);
	if (ret == 0)
		ret = socket_enlarge(b);
	if (ret < 0)
		return ret;
	fds_r[0] = fd_steal(&a);
	fds_r[1] = fd_steal(&b);
	return 0;
}

static int address_set(struct sockaddr_un *sun, const char *path)
{
	size_t len = strlen(path);

	if (len == 0 || len >= sizeof(sun->sun_path))
		return -ENAMETOOLONG;
	memset(sun, 0, sizeof(*sun));
	sun->sun_family = AF_UNIX;
	memcpy(sun->sun_path, path, len + 1);
	return 0;
}

static int socket_new(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

int ipc_listen(const char *path, mode_t mode, int backlog, int *fd_r)
{
	struct sockaddr_un sun;
	struct stat st;
	int ret = address_set(&sun, path);

	if (ret < 0)
		return ret;
	cleanup_fd int fd = socket_new();
	if (fd < 0)
		return fd;
	/* Only ever a socket is removed; anything else makes bind() fail. */
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && unlink(path) < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0)
		return -errno;
	/* Before listen() nobody can connect, so the mode is never too wide. */
	if (chmod(path, mode) < 0 || listen(fd, backlog) < 0) {
		ret = -errno;
		unlink(path);
		return ret;
	}
	*fd_r = fd_steal(&fd);
	return 0;
}

int ipc_accept(int listen_fd, int *fd_r)
{
	cleanup_fd int fd = -1;
	int ret;

	do {
		fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	} while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return errno == ECONNABORTED ? -EAGAIN : -errno;
	ret = socket_enlarge(fd);
	if (ret < 0)
		return ret;
	*fd_r = fd_steal(&fd);
	return 0;
}

int ipc_connect(const char *path, int *fd_r)
{
	struct sockaddr_un sun;
	int ret = address_set(&sun, path);

	if (ret < 0)
		return ret;
	cleanup_fd int fd = socket_new();
	if (fd < 0)
		return fd;
	ret = socket_enlarge(fd);
	if (ret < 0)
		return ret;
	do {
		ret = connect(fd, (struct sockaddr *)&sun, sizeof(sun));
	} while (ret < 0 && errno == EINTR);
	if (ret < 0)
		return -errno;
	*fd_r = fd_steal(&fd);
	return 0;
}

int ipc_set_passcred(int sock)
{
	int on = 1;

	if (setsockopt(sock, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
		return -errno;
	return 0;
}

int ipc_peer_cred(int sock, struct ipc_cred *cred_r)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -errno;
	/* Nobody is connected: the kernel answers with uid -1. */
	if (len != sizeof(cred) || cred.uid == NO_UID)
		return -ENOTCONN;
	*cred_r = (struct ipc_cred){
		.pid = cred.pid, .uid = cred.uid, .gid = cred.gid,
	};
	return 0;
}

int ipc_set_blocking(int fd, bool blocking)
{
	int flags = fcntl(fd, F_GETFL);
	int want;

	if (flags < 0)
		return -errno;
	want = blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK;
	if (want != flags && fcntl(fd, F_SETFL, want) < 0)
		return -errno;
	return 0;
}
