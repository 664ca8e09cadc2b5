/* SPDX-License-Identifier: MIT */
#ifndef LIB_IPC_PACKET_H
#define LIB_IPC_PACKET_H
/* Inside ipc: one packet off a socket, with what came along. */
#include <stddef.h>
#include <sys/types.h>

#include "lib/ipc.h"
#include "lib/limits.h"

struct ipc_packet {
	int fds[IPC_FDS_MAX];	/* the receiver's, to close or to keep */
	unsigned n_fds;
	struct ipc_cred cred;	/* uid (uid_t)-1: none came */
	size_t cut_len;		/* after -EBADMSG: its bytes are all there, only
				 * descriptors were cut by our own limit; else 0 */
};
/* The packet's length (> 0), or -errno as ipc_recv(); after an error no
 * descriptor is left open. */
ssize_t ipc_packet_recv(int sock, void *data, size_t size, struct ipc_packet *pkt);
void ipc_packet_close(struct ipc_packet *pkt);
#endif
