/* SPDX-License-Identifier: MIT */
#ifndef IMAP_LOGIN_SASL_PLAIN_H
#define IMAP_LOGIN_SASL_PLAIN_H
/* The PLAIN mechanism (RFC 4616) as IMAP carries it, in base64. Pure. */
#include <stddef.h>

enum sasl_plain {
	SASL_PLAIN_OK = 0,
	SASL_PLAIN_BASE64,	/* not base64: a syntax error */
	SASL_PLAIN_MESSAGE,	/* base64 of something that is no PLAIN message */
};
/* Longest message that is looked at, decoded. */
#define SASL_PLAIN_MAX_BYTES	2048

struct sasl_plain_message {
	const char *authzid, *authcid, *password;
	/* What they point into. Wipe it: sasl_plain_wipe(). */
	char bytes[SASL_PLAIN_MAX_BYTES + 1];
};
/* text is not changed; wiping it is the caller's. Strict: RFC 4648 alphabet,
 * padding where it belongs, no bits left over. */
enum sasl_plain sasl_plain_parse(const char *text, size_t len,
				 struct sasl_plain_message *msg_r);
void sasl_plain_wipe(struct sasl_plain_message *msg);
#endif
