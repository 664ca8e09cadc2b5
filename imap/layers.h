/* SPDX-License-Identifier: MIT */
#ifndef IMAP_LAYERS_H
#define IMAP_LAYERS_H
/* TLS and COMPRESS of a session: asleep, awake again, and by name. All of it
 * does nothing on a plain connection. */
#include <stdint.h>
struct buf;
struct keepalives;
struct session;
struct session_state;

/* enum ipc_security, and its name for the log ("" for plain). Static storage. */
unsigned layers_security(struct session *s);
const char *layers_name(struct session *s);
/* Why the session may not sleep now, or NULL. */
const char *layers_refusal(struct session *s);
/* The inflate window. Before keepalives are made: it is what may refuse. 0;
 * -EBUSY: in the middle of a block; -E2BIG: above compress_window_max; -errno. */
int layers_window(struct session *s, struct buf *out);
/* Makes n keepalives for *ka (empty), as they will be on the wire. They are
 * spent then. 0; -errno: TLS is dead. */
int layers_keepalives(struct session *s, uint32_t n, struct keepalives *ka);
/* The TLS state, behind those keepalives. Nothing may be written from then on,
 * unless layers_resume() says that it did not move. 0 or -errno. */
int layers_tls(struct session *s, struct buf *out);
void layers_resume(struct session *s);
/* Puts both back under a fresh stream, before anything is read or written, and
 * wipes them in the state. 0, -EBADMSG, -ENOMEM. */
int layers_restore(struct session *s, struct session_state *st);
/* Why reading failed with this error (0: the end), for the log. */
const char *layers_reason(struct session *s, long error);
#endif
