/* SPDX-License-Identifier: MIT */
#ifndef IMAP_LOGIN_TLS_HANDSHAKE_H
#define IMAP_LOGIN_TLS_HANDSHAKE_H
/* The server's side of a TLS handshake: bytes in, bytes out, and at its end the
 * record layer's state (lib/tls-record.h). No descriptor. OpenSSL does it, and
 * nothing of it is seen here: tls-handshake.c alone includes <openssl/ssl.h>. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/limits.h"
#include "lib/tls-record.h"

struct buf;
struct tls_ticket_keys;

/* Before anything else touches OpenSSL, once in a process: memory that OpenSSL
 * frees is overwritten (it leaves traffic secrets there), no configuration file
 * is read, nothing is loaded later. False: it was touched already; all else
 * works. */
bool tls_library_init(void);

/* ---- what a server shows; shared by its handshakes, and counted ---- */

struct tls_identity {
	const char *name;	/* for SNI: "mail.example.org", "*.example.org"; "" in the first */
	const void *pem;	/* chain and key, see lib/tls-cert.h */
	size_t len;
};
struct tls_server_parts {
	const struct tls_identity *identities;	/* the first for everybody else */
	size_t n_identities;
	const void *ca;		/* NULL: clients are not asked for a certificate */
	size_t ca_len;
	const struct tls_ticket_keys *tickets;
};
struct tls_server;
/* Copies what it needs. 0, or -errno after *why_r (static) was set. */
int tls_server_create(const struct tls_server_parts *parts, struct tls_server **server_r,
		      const char **why_r);
struct tls_server *tls_server_ref(struct tls_server *server);
void tls_server_unref(struct tls_server **server);

/* ---- one handshake ---- */

/* More bytes than this before its end: it is none. */
#define TLS_HANDSHAKE_MAX_BYTES	(256 * 1024)

enum tls_handshake_result {
	TLS_HANDSHAKE_MORE,	/* wants more input */
	TLS_HANDSHAKE_DONE,	/* to be exported */
	TLS_HANDSHAKE_FAILED,	/* out has the alert; tls_handshake_reason() */
};
struct tls_handshake;
struct tls_handshake *tls_handshake_create(struct tls_server *server);	/* NULL: no memory */
/* Wipes and frees. */
void tls_handshake_destroy(struct tls_handshake **hs);
/* Takes bytes from the client, *used_r of them: never any that stand behind the
 * last record of the handshake. What is to be sent is appended to out. */
enum tls_handshake_result tls_handshake_feed(struct tls_handshake *hs, const void *data,
					     size_t len, size_t *used_r, struct buf *out);
/* Why it failed, for the log. */
const char *tls_handshake_reason(const struct tls_handshake *hs);

struct tls_facts {
	bool resumed;
	/* Of a client's certificate that was verified: its first rfc822Name
	   (RFC 5280 4.2.1.6), else its subject's common name. "": none. */
	char external[USER_NAME_MAX_BYTES + 1];
	/* Channel bindings (RFC 9266; RFC 5929 4); length 0: not there. */
	uint8_t exporter[SASL_CBIND_MAX_BYTES], endpoint[SASL_CBIND_MAX_BYTES];
	size_t exporter_len, endpoint_len;
};
/* After DONE, once: from here on record goes on. Checks itself by opening the
 * last record that OpenSSL sealed. 0, or -errno and tls_handshake_reason(). */
int tls_handshake_export(struct tls_handshake *hs, struct tls_crypto *crypto,
			 struct tls_record *record, struct tls_facts *facts_r);
#endif
