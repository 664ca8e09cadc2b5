/* SPDX-License-Identifier: MIT */
#ifndef IMAP_LOGIN_CERTS_H
#define IMAP_LOGIN_CERTS_H
/* Certificates, keys and ticket keys as master sends them. */
struct ipc_in;
struct tls_server;

/* Reads the fields that IPC_CERTS consists of, and that end SETUP. 0; -EBADMSG:
 * malformed; other -errno: they will not do, after a log line. *server_r is NULL
 * when there are none. */
int certs_read(struct ipc_in *in, struct tls_server **server_r);
#endif
