/* SPDX-License-Identifier: MIT */
#include "master/items.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/ipc-proto.h"
#include "lib/ipc.h"

int items_get(const struct items *items, const char *name)
{
	for (unsigned i = 0; i < items->n; i++) {
		if (strcmp(items->v[i].name, name) == 0)
			return items->v[i].fd;
	}
	return -1;
}

int items_put(struct items *items, const char *name, int fd)
{
	char *copy;

	for (unsigned i = 0; i < items->n; i++) {
		if (strcmp(items->v[i].name, name) != 0)
			continue;
		close(items->v[i].fd);
		items->v[i].fd = fd;
		return 0;
	}
	copy = items->n < ITEMS_MAX ? strdup(name) : NULL;
	if (!copy) {
		close(fd);
		return -ENOMEM;
	}
	items->v[items->n].name = copy;
	items->v[items->n++].fd = fd;
	return 0;
}

void items_deinit(struct items *items)
{
	for (unsigned i = 0; i < items->n; i++) {
		close(items->v[i].fd);
		free(items->v[i].name);
	}
	items->n = 0;
}

/* ---- the keeper ---- */

int keeper_connect(const char *base_dir, int *fd_r)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/keeper", base_dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	return ipc_connect(path, fd_r);
}

/* 1: that was the end; 0: go on. */
static int fetch_message(struct items *items, struct ipc_in *in)
{
	const char *name;
	int fd;

	if (ipc_in_type(in) == IPC_FETCH_END)
		return ipc_in_done(in) ? 1 : -EBADMSG;
	if (ipc_in_type(in) != IPC_KEPT_ITEM)
		return -EBADMSG;
	name = ipc_in_str(in);
	fd = ipc_in_fd(in);
	if (!ipc_in_done(in)) {
		if (fd >= 0)
			close(fd);
		return -EBADMSG;
	}
	return items_put(items, name, fd);
}

static int wait_readable(int fd, uint64_t until_ms)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	uint64_t now = clock_ms();
	int n = poll(&pfd, 1, now < until_ms ? (int)(until_ms - now) : 0);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	return n == 0 ? -ETIMEDOUT : 0;
}

int keeper_fetch(int fd, struct items *items, int timeout_ms)
{
	uint64_t until_ms = clock_ms() + (uint64_t)timeout_ms;
	struct ipc_out *out = ipc_out_create(IPC_FETCH);
	int ret = ipc_send_free(fd, &out);

	while (ret == 0) {
		struct ipc_in *in;

		ret = ipc_recv(fd, &in);
		if (ret == -EAGAIN) {
			ret = wait_readable(fd, until_ms);
		} else if (ret == 0) {
			ret = fetch_message(items, in);
			ipc_in_destroy(&in);
		}
	}
	return ret == 1 ? 0 : ret;
}

int keeper_keep_all(int fd, const struct items *items)
{
	int ret = 0;

	for (unsigned i = 0; i < items->n && ret == 0; i++) {
		struct ipc_out *out = ipc_out_create(IPC_KEEP);

		if (out) {
			ipc_out_str(out, items->v[i].name);
			ipc_out_fd(out, items->v[i].fd);
		}
		ret = ipc_send_free(fd, &out);
	}
	return ret;
}
