/* SPDX-License-Identifier: MIT */
#include "master/dormouse-client.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/ipc-proto.h"
#include "lib/ipc.h"

static int request_send(int fd, const char *verb, char *const *args, int n_args)
{
	struct ipc_out *out = ipc_out_create(CTL_REQUEST);

	if (out) {
		ipc_out_str(out, verb);
		ipc_out_array(out, (uint32_t)n_args);
		for (int i = 0; i < n_args; i++)
			ipc_out_str(out, args[i]);
	}
	return ipc_send_free(fd, &out);
}

/* 1: that was the end. */
static int answer_message(struct answer *answer, struct ipc_in *in)
{
	if (ipc_in_type(in) == CTL_ROW)
		return rows_add(&answer->rows, in);
	if (ipc_in_type(in) != CTL_END)
		return -EBADMSG;
	answer->ok = ipc_in_bool(in);
	snprintf(answer->text, sizeof(answer->text), "%s", ipc_in_str(in));
	return ipc_in_done(in) ? 1 : -EBADMSG;
}

static int answer_wait(int fd, uint64_t until_ms)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	uint64_t now = clock_ms();
	int n = poll(&pfd, 1, now < until_ms ? (int)(until_ms - now) : 0);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	return n == 0 ? -ETIMEDOUT : 0;
}

int client_ask(const char *base_dir, const char *verb, char *const *args, int n_args,
	       int timeout_ms, struct answer *answer)
{
	uint64_t until_ms = clock_ms() + (uint64_t)timeout_ms;
	cleanup_fd int fd = -1;
	char path[PATH_MAX];
	struct ipc_in *in;
	int ret;

	memset(answer, 0, sizeof(*answer));
	if (snprintf(path, sizeof(path), "%s/control", base_dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	ret = ipc_connect(path, &fd);
	if (ret == 0)
		ret = request_send(fd, verb, args, n_args);
	/* Who is refused is told why before he has asked. */
	if (ret == -EPIPE && fd >= 0)
		ret = 0;
	while (ret == 0) {
		ret = ipc_recv(fd, &in);
		if (ret == -EAGAIN) {
			ret = answer_wait(fd, until_ms);
		} else if (ret == 0) {
			ret = answer_message(answer, in);
			ipc_in_destroy(&in);
		}
	}
	if (ret < 0)
		answer_deinit(answer);
	return ret == 1 ? 0 : ret;
}

void answer_deinit(struct answer *answer)
{
	rows_deinit(&answer->rows);
}

const char *client_strerror(int error)
{
	switch (error) {
	case -ENOENT:
	case -ECONNREFUSED:
		return "no server runs there; start it with: dormouse start";
	case -EACCES:
		return "not permitted; ask as root or as the server's own user";
	case -EPIPE:
		return "the connection ended before the answer was complete";
	case -ETIMEDOUT:
		return "no answer in time";
	default:
		return strerror(-error);
	}
}
