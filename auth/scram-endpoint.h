/* SPDX-License-Identifier: MIT */
#ifndef AUTH_SCRAM_ENDPOINT_H
#define AUTH_SCRAM_ENDPOINT_H
/* The server's side of SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677) bound by
 * tls-server-end-point (RFC 5929 section 4), which GNU SASL refuses by name.
 * Of this binding only: all else is scram.h's. Messages in, messages out, with
 * the same results. */
#include "auth/scram.h"

#include "auth/scram-keys.h"

struct scram_endpoint;

/* Does the client's first message ask for this binding? */
bool scram_endpoint_named(const void *message, size_t len);
/* endpoint: the hash of the certificate that this connection was shown, of 1 to
 * SASL_CBIND_MAX_BYTES bytes. NULL: no memory. */
struct scram_endpoint *scram_endpoint_create(const void *endpoint, size_t len);
/* Wipes what it knows. */
void scram_endpoint_destroy(struct scram_endpoint **s);
/* As scram_first() and scram_final(); each once, in this order. */
enum scram_result scram_endpoint_first(struct scram_endpoint *s, const void *message,
				       size_t len, scram_salt_fn *salt, void *ctx,
				       struct buf *out);
enum scram_result scram_endpoint_final(struct scram_endpoint *s, const void *message,
				       size_t len, const struct scram_keys *keys,
				       struct buf *out);

/* The calculation by itself (RFC 5802 section 3): does the proof fit AuthMessage?
 * SCRAM_OK: signature_r is ServerSignature. SCRAM_REFUSED, or SCRAM_FAILED. */
enum scram_result scram_proof_check(const struct scram_keys *keys, const void *auth_message,
				    size_t len, const uint8_t proof[SCRAM_KEY_BYTES],
				    uint8_t signature_r[SCRAM_KEY_BYTES]);
#endif
