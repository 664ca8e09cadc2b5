/* SPDX-License-Identifier: MIT */
/* GNU SASL would do this too, with a session object on the heap and callbacks
 * for each of three strings; it comes with SCRAM, where it earns its keep. */
#include "imap-login/sasl-plain.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Four characters into at most three bytes: how many, or -1. Padding only
 * in the last quartet. */
static int base64_quartet(const char *in, bool last, uint8_t out[3])
{
	uint32_t bits = 0;
	int pad = 0;

	if (last && in[3] == '=')
		pad = in[2] == '=' ? 2 : 1;
	for (int i = 0; i < 4; i++) {
		int v = i < 4 - pad ? base64_value(in[i]) : 0;
		if (v < 0)
			return -1;
		bits = bits << 6 | (uint32_t)v;
	}
	/* RFC 4648 3.5: bits that stand for nothing are zero. */
	if (bits & ((1u << 8 * pad) - 1))
		return -1;
	out[0] = (uint8_t)(bits >> 16);
	out[1] = (uint8_t)(bits >> 8);
	out[2] = (uint8_t)bits;
	return 3 - pad;
}

static bool base64_decode(const char *in, size_t len, char *out, size_t *len_r)
{
	size_t at = 0;

	if (len % 4 != 0)
		return false;
	for (size_t i = 0; i < len; i += 4) {
		uint8_t part[3];
		int n = base64_quartet(in + i, i + 4 == len, part);
		if (n < 0)
			return false;
		memcpy(out + at, part, (size_t)n);
		at += (size_t)n;
		explicit_bzero(part, sizeof(part));
	}
	*len_r = at;
	return true;
}

/* RFC 4616 section 2: [authzid] NUL authcid NUL passwd, the last two not
 * empty. */
static bool plain_split(struct sasl_plain_message *m, size_t len)
{
	char *end = m->bytes + len;

	m->authzid = m->bytes;
	char *nul = memchr(m->bytes, '\0', len);
	if (!nul)
		return false;
	m->authcid = nul + 1;
	nul = memchr(m->authcid, '\0', (size_t)(end - m->authcid));
	if (!nul)
		return false;
	m->password = nul + 1;
	return !memchr(m->password, '\0', (size_t)(end - m->password)) &&
	       *m->authcid && m->password < end;
}

enum sasl_plain sasl_plain_parse(const char *text, size_t len,
	struct sasl_plain_message *m)
{
	size_t decoded = 0;

	memset(m, 0, sizeof(*m));
	if (len / 4 > SASL_PLAIN_MAX_BYTES / 3)
		return SASL_PLAIN_MESSAGE;
	if (!base64_decode(text, len, m->bytes, &decoded)) {
		sasl_plain_wipe(m);
		return SASL_PLAIN_BASE64;
	}
	m->bytes[decoded] = '\0';
	if (!plain_split(m, decoded)) {
		sasl_plain_wipe(m);
		return SASL_PLAIN_MESSAGE;
	}
	return SASL_PLAIN_OK;
}

void sasl_plain_wipe(struct sasl_plain_message *m)
{
	explicit_bzero(m, sizeof(*m));
}
