/* SPDX-License-Identifier: MIT */
#ifndef AUTH_SCRAM_H
#define AUTH_SCRAM_H
/* The server's side of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC
 * 7677), through GNU SASL. Messages in, messages out: no descriptor, no user. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct scram;
struct scram_keys;

enum scram_result {
	SCRAM_OK = 0,
	SCRAM_MALFORMED,	/* the message is none of SCRAM */
	SCRAM_REFUSED,		/* proof, nonce, or channel binding is wrong */
	SCRAM_FAILED,		/* ours: no memory */
};
/* Called from inside scram_first(): whose iterations and salt are to be told?
 * Sets those two of keys. */
typedef void scram_salt_fn(void *ctx, const char *user, const char *authzid,
			   struct scram_keys *keys);

/* Before the sandbox: loads what GNU SASL may load. 0 or -errno. */
int scram_init(void);
/* exporter: the connection's tls-exporter (RFC 9266), or of no length; then a
 * -PLUS exchange is refused. NULL: no memory. */
struct scram *scram_create(bool plus, const void *exporter, size_t exporter_len);
/* Wipes what it knows. */
void scram_destroy(struct scram **s);
/* The client's first message; the server's is appended to out. */
enum scram_result scram_first(struct scram *s, const void *message, size_t len,
			      scram_salt_fn *salt, void *ctx, struct buf *out);
/* The client's final message, checked with the keys that belong to the salt;
 * the server's final one is appended to out. Once. */
enum scram_result scram_final(struct scram *s, const void *message, size_t len,
			      const struct scram_keys *keys, struct buf *out);
#endif
