/* SPDX-License-Identifier: MIT */
/* Not libsystemd: the launcher links next to nothing, so that it has no reason to
 * die, and what is needed here is less than the code to find out whether the
 * library is there. The protocol is stable and documented. */
#include "master/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/log.h"

#define LISTEN_FDS_START	3

bool notify_wanted(void)
{
	const char *path = getenv("NOTIFY_SOCKET");

	return path != NULL && (path[0] == '/' || path[0] == '@') && path[1] != '\0';
}

/* An abstract name is written with @ for its NUL. */
static int address(struct sockaddr_un *sa, socklen_t *len_r)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = strlen(path);

	*sa = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (len >= sizeof(sa->sun_path))
		return -ENAMETOOLONG;
	memcpy(sa->sun_path, path, len);
	if (path[0] == '@')
		sa->sun_path[0] = '\0';
	*len_r = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len +
			     (path[0] == '/' ? 1 : 0));
	return 0;
}

/* fd: goes along, or -1. */
static int message_send(const char *text, int fd)
{
	struct sockaddr_un sa;
	struct iovec iov = { .iov_base = (void *)text, .iov_len = strlen(text) };
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { .buf = { 0 } };
	struct msghdr msg = { .msg_name = &sa, .msg_iov = &iov, .msg_iovlen = 1 };
	cleanup_fd int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int ret;

	if (sock < 0)
		return -errno;
	ret = address(&sa, &msg.msg_namelen);
	if (ret < 0)
		return ret;
	if (fd >= 0) {
		struct cmsghdr *cmsg;

		msg.msg_control = control.buf;
		msg.msg_controllen = sizeof(control.buf);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	}
	/* A manager that does not read must not make us wait. */
	return sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

void notify_send(const char *fmt, ...)
{
	char text[512];
	va_list ap;
	int ret;

	if (!notify_wanted())
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	ret = message_send(text, -1);
	if (ret < 0)
		log_debug("notify", "text=%s error=%s", log_str(text), log_str(strerror(-ret)));
}

/* The manager closes the descriptor that came with BARRIER=1, in its turn. */
int notify_barrier(int timeout_ms)
{
	cleanup_fd int mine = -1;
	struct pollfd pfd;
	int fds[2], ret;

	if (!notify_wanted())
		return 0;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	mine = fds[0];
	ret = message_send("BARRIER=1", fds[1]);
	close(fds[1]);
	if (ret < 0)
		return ret;
	pfd = (struct pollfd){ .fd = mine };
	ret = poll(&pfd, 1, timeout_ms);
	return ret < 0 ? -errno : ret == 0 ? -ETIMEDOUT : 0;
}

static bool number(const char *name, uint64_t *value_r)
{
	const char *text = getenv(name);
	char *end;

	if (text == NULL || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*value_r = strtoull(text, &end, 10);
	return errno == 0 && *end == '\0';
}

/* WATCHDOG_PID is not looked at: a launcher that takes over has another pid, and is
 * the one who pings from then on. */
uint64_t notify_watchdog_ms(void)
{
	uint64_t us;

	return notify_wanted() && number("WATCHDOG_USEC", &us) ? us / 1000 : 0;
}

void activation_take(struct activation *a)
{
	uint64_t pid, n;

	*a = (struct activation){ .n = 0 };
	if (!number("LISTEN_PID", &pid) || pid != (uint64_t)getpid() ||
	    !number("LISTEN_FDS", &n) || n == 0)
		return;
	for (int i = 0; i < (int)n && a->n < ACTIVATION_MAX; i++) {
		int fd = LISTEN_FDS_START + i;

		if (fcntl(fd, F_SETFD, FD_CLOEXEC) == 0)
			a->fd[a->n++] = fd;
	}
}

void activation_close(struct activation *a)
{
	for (unsigned i = 0; i < a->n; i++)
		close(a->fd[i]);
	a->n = 0;
}
