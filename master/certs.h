/* SPDX-License-Identifier: MIT */
#ifndef MASTER_CERTS_H
#define MASTER_CERTS_H
/* Certificates and keys from their files to imap-login, which can open none.
 * Read, checked and put into sealed memfds. libcrypto only. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/tls-cert.h"

struct buf;
struct config;
struct ipc_out;

/* Which state of the files it was. */
struct certs_stamp {
	struct certs_file {
		dev_t dev;
		ino_t ino;
		off_t size;
		int64_t mtime_ns, ctime_ns;	/* all 0: not there */
	} file[2 * TLS_IDENTITIES_MAX + 1];
};
#define CERTS_ERRORS_MAX_BYTES	(64 * 1024)

struct certs {
	int fds[TLS_IDENTITIES_MAX];	/* chain and key, as the configuration lists them */
	unsigned n;
	int ca_fd;			/* -1: none */
};
/* What the files are now. */
void certs_stamp(const struct config *config, struct certs_stamp *stamp_r);
bool certs_stamp_equal(const struct certs_stamp *a, const struct certs_stamp *b);
/* All of them, or none. 0 (also with nothing configured); -EINVAL with lines
 * "FILE:LINE: what is wrong; what would be right" in errors, which the caller
 * initialises; -errno. What is only odd (expired) is a line in notes. */
int certs_load(const struct config *config, struct certs *certs_r, struct buf *errors,
	       struct buf *notes);
void certs_deinit(struct certs *certs);
/* certs_load() for what it says. */
int certs_check(const struct config *config, struct buf *errors, struct buf *notes);
/* IPC_CERTS' fields, and SETUP's last ones. tickets_fd stays the caller's. */
void certs_pack(const struct config *config, const struct certs *certs, int tickets_fd,
		struct ipc_out *out);
#endif
