/* SPDX-License-Identifier: MIT */
#ifndef LIB_IPC_H
#define LIB_IPC_H
/* One msgpack message and its descriptors over a SOCK_SEQPACKET Unix socket.
 * A message is a msgpack array: [type, field, field, ...], the fields in the
 * order that ipc-proto.h states. Length-prefixed by the packet, so nothing in
 * a field can inject another (CVE-2020-24386). Bounded: IPC_MESSAGE_MAX bytes,
 * IPC_FDS_MAX descriptors, nesting of 4; counts are checked against the bytes
 * left before anything is allocated. Everything is close-on-exec at once. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Items of a message, nested ones included: unpacked, each takes 24 bytes. */
#define IPC_ITEMS_MAX	16384

/* ---- sending ---- */
struct ipc_out;	/* opaque; heap */
struct ipc_out *ipc_out_create(uint32_t type);	/* NULL: no memory */
void ipc_out_destroy(struct ipc_out **out);
/* Fields. Failures stick and are reported by ipc_send(). */
void ipc_out_u64(struct ipc_out *out, uint64_t v);
void ipc_out_bool(struct ipc_out *out, bool v);
void ipc_out_str(struct ipc_out *out, const char *s);	/* NULL is sent as "" */
void ipc_out_bin(struct ipc_out *out, const void *data, size_t len);
/* A nested array of n items follows (each written with the calls above). */
void ipc_out_array(struct ipc_out *out, uint32_t n);
/* A descriptor to go along; not taken over. Order is kept. */
void ipc_out_fd(struct ipc_out *out, int fd);
/* Sends and keeps `out` (may be sent again). 0, -EAGAIN (queue full: keep it),
 * -EPIPE, -EMSGSIZE, -ENOMEM, -ETOOMANYREFS ... */
int ipc_send(int sock, struct ipc_out *out);
/* Sends and destroys, success or not. */
int ipc_send_free(int sock, struct ipc_out **out);
/* The packed bytes, for storing or for tests. NULL if it could not be sent. */
const void *ipc_out_data(const struct ipc_out *out, size_t *len_r);

/* ---- receiving ---- */
struct ipc_in;	/* one message; owns descriptors not taken with ipc_in_fd() */
struct ipc_cred { pid_t pid; uid_t uid; gid_t gid; };	/* SCM_CREDENTIALS */
/* 0 with *in_r; -EAGAIN; -EPIPE at the end of the connection (EOF);
 * -EBADMSG: malformed or truncated, its descriptors are closed already. */
int ipc_recv(int sock, struct ipc_in **in_r);
/* The same, but a message whose descriptors were cut by our own limit comes
 * without any of them and with *cut_r set, so that it can be refused by name. */
int ipc_recv_cut(int sock, struct ipc_in **in_r, bool *cut_r);
/* The same from bytes in memory: no descriptors, no credentials. 0, -EBADMSG,
 * -ENOMEM. */
int ipc_in_decode(const void *data, size_t len, struct ipc_in **in_r);
void ipc_in_destroy(struct ipc_in **in);	/* closes descriptors not taken */
uint32_t ipc_in_type(const struct ipc_in *in);
/* Fields in order; wrong kind or missing sets bad and returns 0 / "". Views
 * live as long as `in`. Strings have no NUL inside and end in NUL. */
uint64_t ipc_in_u64(struct ipc_in *in);
uint32_t ipc_in_u32(struct ipc_in *in);	/* bad when larger */
bool ipc_in_bool(struct ipc_in *in);
const char *ipc_in_str(struct ipc_in *in);
const void *ipc_in_bin(struct ipc_in *in, size_t *len_r);
/* Enters a nested array and returns its length; read that many items, they
 * come from it, then the outer one goes on. */
uint32_t ipc_in_array(struct ipc_in *in);
size_t ipc_in_fd_count(const struct ipc_in *in);
/* The next descriptor, now the caller's; -1 and bad when there is none. */
int ipc_in_fd(struct ipc_in *in);
bool ipc_in_bad(const struct ipc_in *in);
/* Nothing bad, no field and no descriptor left. Ask before acting. */
bool ipc_in_done(const struct ipc_in *in);
/* True if credentials came along (the receiver enabled SO_PASSCRED). */
bool ipc_in_cred(const struct ipc_in *in, struct ipc_cred *cred_r);

/* ---- raw packets with descriptors (WAKE and LOGIN, whose head is read with
 * root's rights before anything is unpacked) ---- */
int ipc_send_raw(int sock, const void *data, size_t len, const int *fds, unsigned n_fds);
/* Returns the packet's length, or -errno as ipc_recv(); fds_r has room for
 * max_fds; more than that, or any truncation, is -EBADMSG with all closed. */
ssize_t ipc_recv_raw(int sock, void *data, size_t size, int *fds_r, unsigned max_fds,
		     unsigned *n_fds_r);

/* ---- sockets ---- */
/* A connected SEQPACKET pair, close-on-exec, non-blocking, buffers enlarged so
 * that a message of IPC_MESSAGE_MAX fits. */
int ipc_pair(int fds_r[2]);
/* Listening socket bound to path (an old one is unlinked), given mode. */
int ipc_listen(const char *path, mode_t mode, int backlog, int *fd_r);
/* accept4() with the flags and buffers above. -EAGAIN when there is none. */
int ipc_accept(int listen_fd, int *fd_r);
/* -EAGAIN: the listener's queue is full; -ECONNREFUSED, -ENOENT: nobody listens. */
int ipc_connect(const char *path, int *fd_r);
/* On the receiving end (of a listener: for what it accepts, after accepting). */
int ipc_set_passcred(int sock);
/* SO_PEERCRED of an accepted or connected (not socketpair) socket. */
int ipc_peer_cred(int sock, struct ipc_cred *cred_r);
int ipc_set_blocking(int fd, bool blocking);
#endif
