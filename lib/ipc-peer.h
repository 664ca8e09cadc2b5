/* SPDX-License-Identifier: MIT */
#ifndef LIB_IPC_PEER_H
#define LIB_IPC_PEER_H
/* A channel on the event loop: messages in go to a function, messages out wait
 * in a queue while the socket is full. */
#include <stddef.h>
#include <stdint.h>

struct ipc_in;
struct ipc_out;
struct ipc_peer;
struct loop;

/* One message; the function reads it, the peer destroys it. in is NULL when
 * the connection is over (error: 0 for its end, else -errno; a malformed
 * message is -EBADMSG): the function then destroys the peer, at once or later;
 * it is not called again. It may destroy the peer at any time. */
typedef void ipc_peer_fn(void *ctx, struct ipc_in *in, int error);

/* Takes fd over, also on failure. NULL: no memory or descriptors. */
struct ipc_peer *ipc_peer_create(struct loop *loop, int fd, ipc_peer_fn *fn, void *ctx);
/* Closes the descriptor; what was not sent yet is lost. */
void ipc_peer_destroy(struct ipc_peer **peer);
/* Sends, or queues behind what waits; destroys *out either way. 0, or -errno:
 * nothing was queued. -ENOBUFS: IPC_PEER_QUEUE_MAX messages wait already. For
 * messages without descriptors: those would have to stay open in the queue. */
int ipc_peer_send(struct ipc_peer *peer, struct ipc_out **out);
#define IPC_PEER_QUEUE_MAX	4096
/* Messages waiting: a sender of many rows pauses when there are any. */
size_t ipc_peer_queued(const struct ipc_peer *peer);
/* Called each time the queue has become empty; NULL: no call. */
typedef void ipc_peer_drained_fn(void *ctx);
void ipc_peer_on_drained(struct ipc_peer *peer, ipc_peer_drained_fn *fn);
#endif
