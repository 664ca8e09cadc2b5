/* SPDX-License-Identifier: MIT */
/* GNU SASL would do this too, with a session object on the heap and callbacks
 * for each of three strings; it comes with SCRAM, where it earns its keep. */
#include "imap-login/sasl-plain.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "lib/base64.h"

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
