/* SPDX-License-Identifier: MIT */
#ifndef LIB_STREAM_TLS_H
#define LIB_STREAM_TLS_H
/* TLS records as a layer of a stream, from the end of the handshake on; used
 * by imap-login and imap alike (dep_crypto). The layer reads from the socket
 * no more than the record that it needs, and keeps what is no whole record yet. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/stream.h"
#include "lib/tls-record.h"
struct buf;

/* Puts the layer on top of the socket. record is moved: wiped in the caller's
 * place. kept: bytes from the client that nobody has opened yet (behind its
 * Finished, or what the state says); they are read first: poll() knows nothing
 * of them, so call stream_refill(). 0 or -errno (then nothing happened).
 * Everything written to s before must be flushed. */
int stream_push_tls(struct stream *s, struct tls_crypto *crypto, struct tls_record *record,
		    const void *kept, size_t kept_len);
/* The same from a blob of stream_tls_export(). -EBADMSG: not one. */
int stream_push_tls_blob(struct stream *s, struct tls_crypto *crypto, const void *blob,
			 size_t len);
/* The layer's record state, or NULL without TLS: for logs only. */
const struct tls_record *stream_tls(struct stream *s);
/* Would an export be refused now, but for output that waits? -EBUSY: text is
 * opened and not read, or an answer is owed; -EPERM: dead or closed; 0. */
int stream_tls_may_export(struct stream *s);
/* Among the kept bytes is a whole record: input that nobody has read. */
bool stream_tls_has_record(struct stream *s);
/* Appends the blob that another process goes on from: record state and kept
 * bytes. From then on the state is the other's: nothing may be read or written
 * here, unless stream_tls_resume() takes it back (the hand-over did not
 * happen). -EBUSY: sealed output is not written out, or see above. -EPERM: dead
 * or closed. Layout: u16 length of the record's blob, it, u32 length of the kept bytes, they. */
int stream_tls_export(struct stream *s, struct buf *out);
void stream_tls_resume(struct stream *s);
/* Seals plain as records that are not written now but kept by the caller
 * (prepared keepalives); their sequence numbers are spent. 0 or -errno. */
int stream_tls_seal_ahead(struct stream *s, const void *plain, size_t len, struct buf *out);
/* Ends our direction: close_notify, behind what is written, as far as the
 * socket takes it now. Harmless without TLS, twice, or on a dead stream. */
void stream_tls_close(struct stream *s);
/* "TLSv1.3 TLS_AES_256_GCM_SHA384", or "" without TLS. Static storage. */
const char *stream_tls_name(struct stream *s);
/* What ended it, for the log: "TLS alert 20", or "" if TLS has nothing to say. Static storage. */
const char *stream_tls_reason(struct stream *s);
#endif
