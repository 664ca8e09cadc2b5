/* SPDX-License-Identifier: MIT */
/* Reading goes on while writing waits: were both to stop, two programs that
 * have filled each other's sockets would wait for ever. So the queue has a
 * bound instead. */
#include "lib/ipc-peer.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/ipc.h"
#include "lib/list.h"
#include "lib/loop.h"

/* A busy channel must not starve the others of this turn. */
#define MESSAGES_PER_TURN	32

struct waiting {
	struct list node;
	struct ipc_out *out;
};

struct ipc_peer {
	struct loop *loop;
	struct loop_io io;
	int fd;
	bool over;		/* the function was told; nothing is read or sent */
	bool *destroyed;	/* set while a callback of ours is running */
	ipc_peer_fn *fn;
	ipc_peer_drained_fn *drained;
	void *ctx;
	struct list queue;
	size_t n_queued;
};

static void peer_update(struct ipc_peer *peer)
{
	uint32_t events = EPOLLIN | (peer->n_queued > 0 ? (uint32_t)EPOLLOUT : 0);

	/* Fails only for a descriptor that is not ours: nothing to handle. */
	if (peer->io.active)
		(void)loop_set_events(peer->loop, &peer->io, events);
}

static void peer_clear_queue(struct ipc_peer *peer)
{
	list_for_each_safe(node, &peer->queue) {
		struct waiting *w = container_of(node, struct waiting, node);
		list_remove(&w->node);
		ipc_out_destroy(&w->out);
		free(w);
	}
	peer->n_queued = 0;
}

/* Tells the owner that it is over. The peer may be gone afterwards. */
static void peer_over(struct ipc_peer *peer, int error)
{
	peer->over = true;
	loop_remove(peer->loop, &peer->io);
	peer_clear_queue(peer);
	peer->fn(peer->ctx, NULL, error);
}

/* 0, or what ended the connection. */
static int peer_flush(struct ipc_peer *peer)
{
	while (!list_empty(&peer->queue)) {
		struct waiting *w = container_of(peer->queue.next, struct waiting, node);
		int ret = ipc_send(peer->fd, w->out);
		if (ret == -EAGAIN)
			return 0;
		if (ret < 0)
			return ret;
		list_remove(&w->node);
		ipc_out_destroy(&w->out);
		free(w);
		peer->n_queued--;
	}
	peer_update(peer);
	return 0;
}

/* False: the peer is gone or over. */
static bool peer_read(struct ipc_peer *peer)
{
	bool destroyed = false;

	for (int i = 0; i < MESSAGES_PER_TURN; i++) {
		struct ipc_in *in = NULL;
		int ret = ipc_recv(peer->fd, &in);
		if (ret == -EAGAIN)
			return true;
		/* Weather: it is tried again in the next turn. */
		if (ret == -ENOMEM)
			return true;
		if (ret < 0) {
			peer_over(peer, ret == -EPIPE ? 0 : ret);
			return false;
		}
		peer->destroyed = &destroyed;
		peer->fn(peer->ctx, in, 0);
		ipc_in_destroy(&in);
		if (destroyed)
			return false;
		peer->destroyed = NULL;
	}
	return true;
}

static void peer_event(void *ctx, uint32_t events)
{
	struct ipc_peer *peer = ctx;

	if (events & EPOLLOUT) {
		bool waited = peer->n_queued > 0;
		/* What the other side said before it went is still read. */
		if (peer_flush(peer) < 0) {
			peer_clear_queue(peer);
			peer_update(peer);
		} else if (waited && peer->n_queued == 0 && peer->drained) {
			bool destroyed = false;
			peer->destroyed = &destroyed;
			peer->drained(peer->ctx);
			if (destroyed)
				return;
			peer->destroyed = NULL;
		}
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		(void)peer_read(peer);
}

struct ipc_peer *ipc_peer_create(struct loop *loop, int fd, ipc_peer_fn *fn, void *ctx)
{
	struct ipc_peer *peer = calloc(1, sizeof(*peer));

	if (!peer) {
		close(fd);
		return NULL;
	}
	peer->loop = loop;
	peer->fd = fd;
	peer->fn = fn;
	peer->ctx = ctx;
	list_init(&peer->queue);
	if (ipc_set_blocking(fd, false) < 0 ||
		loop_add(loop, &peer->io, fd, EPOLLIN, peer_event, peer) < 0)
		ipc_peer_destroy(&peer);
	return peer;
}

void ipc_peer_destroy(struct ipc_peer **peer_p)
{
	struct ipc_peer *peer = *peer_p;

	*peer_p = NULL;
	if (!peer)
		return;
	if (peer->destroyed)
		*peer->destroyed = true;
	loop_remove(peer->loop, &peer->io);
	peer_clear_queue(peer);
	close(peer->fd);
	free(peer);
}

static int peer_queue(struct ipc_peer *peer, struct ipc_out **out)
{
	if (peer->n_queued >= IPC_PEER_QUEUE_MAX)
		return -ENOBUFS;
	struct waiting *w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->out = *out;
	*out = NULL;
	list_append(&peer->queue, &w->node);
	peer->n_queued++;
	peer_update(peer);
	return 0;
}

int ipc_peer_send(struct ipc_peer *peer, struct ipc_out **out)
{
	int ret = -ENOMEM;

	if (peer->over)
		ret = -EPIPE;
	else if (*out && peer->n_queued > 0)
		ret = peer_queue(peer, out);
	else if (*out)
		ret = ipc_send(peer->fd, *out);
	if (ret == -EAGAIN)
		ret = peer_queue(peer, out);
	ipc_out_destroy(out);
	return ret;
}

size_t ipc_peer_queued(const struct ipc_peer *peer)
{
	return peer->n_queued;
}

void ipc_peer_on_drained(struct ipc_peer *peer, ipc_peer_drained_fn *fn)
{
	peer->drained = fn;
}
