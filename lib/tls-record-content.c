/* SPDX-License-Identifier: MIT */
/* What a record says, once it is open: data, alerts, and the few messages that
 * a client may send after the handshake. Whatever is not refused and is no
 * data costs one of a bounded number of such records (empty ones, warnings,
 * KeyUpdates, renegotiations), so that nobody is kept busy for nothing. */
#include "lib/tls-record-private.h"

#include <string.h>

static enum tls_result open_data(struct tls_record *t, size_t len)
{
	if (len == 0) {
		if (++t->n_empty > TLS_EMPTY_MAX)
			return tls_record_fail(t, ALERT_UNEXPECTED_MESSAGE);
		return TLS_NONE;
	}
	t->n_empty = t->n_warn = 0;
	if (t->update_credit < TLS_UPDATE_CREDIT)
		t->update_credit = TLS_UPDATE_CREDIT;
	return TLS_DATA;
}

/* RFC 8446 6, RFC 5246 7.2. In 1.3 the level means nothing. */
static enum tls_result open_alert(struct tls_record *t, const uint8_t *text, size_t len)
{
	if (len != 2)
		return tls_record_fail(t, ALERT_DECODE_ERROR);
	if (text[1] == ALERT_CLOSE_NOTIFY) {
		t->alert = ALERT_CLOSE_NOTIFY;
		t->read_closed = true;
		return TLS_EOF;
	}
	if (t->version == TLS_V12 && text[0] != LEVEL_WARNING && text[0] != LEVEL_FATAL)
		return tls_record_fail(t, ALERT_ILLEGAL_PARAMETER);
	if (t->version == TLS_V12 ? text[0] == LEVEL_FATAL : text[1] != ALERT_USER_CANCELED)
		return tls_record_die(t, text[1]);
	if (++t->n_warn > TLS_WARNINGS_MAX)
		return tls_record_fail(t, ALERT_UNEXPECTED_MESSAGE);
	return TLS_NONE;
}

/* The header of a message is in t->hs. */
static enum tls_result hello_begins(struct tls_record *t)
{
	/* Also HelloRequest, which is not the client's to send. */
	if (t->hs[0] != HS_CLIENT_HELLO)
		return tls_record_fail(t, ALERT_UNEXPECTED_MESSAGE);
	if (++t->n_reneg > TLS_RENEGOTIATIONS_MAX)
		return tls_record_fail(t, ALERT_HANDSHAKE_FAILURE);
	t->hs_skip = tls_get_be(t->hs + 1, 3);
	t->hs_len = 0;
	t->refusal_owed = true;
	return TLS_REPLY;
}

/* RFC 5246 7.2.2: a client may ask to renegotiate and is told no. Its
 * ClientHello is skipped, in however many records it comes. */
static enum tls_result open_handshake12(struct tls_record *t, const uint8_t *text,
	size_t len)
{
	enum tls_result result = TLS_NONE;

	while (len > 0) {
		size_t n = t->hs_skip ? t->hs_skip : (size_t)(TLS_HS_HEADER_BYTES - t->hs_len);

		if (n > len)
			n = len;
		if (t->hs_skip) {
			t->hs_skip -= (uint32_t)n;
		} else {
			memcpy(t->hs + t->hs_len, text, n);
			t->hs_len += (uint8_t)n;
		}
		text += n;
		len -= n;
		if (t->hs_len == TLS_HS_HEADER_BYTES)
			result = hello_begins(t);
		if (result == TLS_FAIL)
			break;
	}
	return result;
}

static enum tls_result update_arrives(struct tls_crypto *c, struct tls_record *t)
{
	uint8_t request = t->hs[TLS_HS_HEADER_BYTES];

	if (request > 1)
		return tls_record_fail(t, ALERT_ILLEGAL_PARAMETER);
	if (t->update_credit == 0)
		return tls_record_fail(t, ALERT_UNEXPECTED_MESSAGE);
	t->update_credit--;
	t->hs_len = 0;
	if (tls_direction_update(c, t, &t->rd) < 0)
		return tls_record_fail(t, ALERT_INTERNAL_ERROR);
	if (!request)
		return TLS_NONE;
	t->update_owed = true;
	return TLS_REPLY;
}

/* RFC 8446 4.6: of all messages after the handshake a client may send us
 * KeyUpdate alone. It may come in pieces, and must end with its record, since
 * the next one has another key (5.1). */
static enum tls_result open_handshake13(struct tls_crypto *c, struct tls_record *t,
	const uint8_t *text, size_t len)
{
	size_t n = HS_KEY_UPDATE_BYTES - t->hs_len;

	if (n > len)
		n = len;
	memcpy(t->hs + t->hs_len, text, n);
	t->hs_len += (uint8_t)n;
	if (t->hs[0] != HS_KEY_UPDATE)
		return tls_record_fail(t, ALERT_UNEXPECTED_MESSAGE);
	if (t->hs_len >= TLS_HS_HEADER_BYTES && tls_get_be(t->hs + 1, 3) != 1)
		return tls_record_fail(t, ALERT_DECODE_ERROR);
	if (n < len)
		return tls_record_fail(t, ALERT_UNEXPECTED_MESSAGE);
	return t->hs_len < HS_KEY_UPDATE_BYTES ? TLS_NONE : update_arrives(c, t);
}

enum tls_result tls_record_content(struct tls_crypto *c, struct tls_record *t,
	unsigned type, const uint8_t *text, size_t len)
{
	/* RFC 8446 5.1: nothing comes between the pieces of a message; and no
	   piece is empty, nor an alert (also RFC 5246 6.2.1). */
	if ((t->version == TLS_V13 && t->hs_len > 0 && type != CONTENT_HANDSHAKE) ||
	    (len == 0 && type != CONTENT_DATA))
		return tls_record_fail(t, ALERT_UNEXPECTED_MESSAGE);
	switch (type) {
	case CONTENT_DATA:
		return open_data(t, len);
	case CONTENT_ALERT:
		return open_alert(t, text, len);
	case CONTENT_HANDSHAKE:
		return t->version == TLS_V12 ? open_handshake12(t, text, len)
					     : open_handshake13(c, t, text, len);
	default:
		return tls_record_fail(t, ALERT_UNEXPECTED_MESSAGE);
	}
}
