/* SPDX-License-Identifier: MIT */
/* Records in, records out. Opening is a straight path: what the header allows,
 * the cipher, what was inside, and then what it means (tls-record-content.c).
 *
 * A sequence number is spent before the cipher is asked: a record that fails
 * half way is never tried again with the same nonce. */
#include "lib/tls-record-private.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/fault.h"

static void put_be(uint8_t *out, uint64_t v, size_t n)
{
	while (n > 0) {
		out[--n] = (uint8_t)v;
		v >>= 8;
	}
}

static void direction_wipe(struct tls_direction *d)
{
	explicit_bzero(d, sizeof(*d));
}

void tls_record_wipe(struct tls_record *t)
{
	explicit_bzero(t, sizeof(*t));
	t->dead = true;
}

enum tls_result tls_record_fail(struct tls_record *t, enum tls_alert alert)
{
	t->dead = true;
	t->alert = alert;
	t->alert_owed = !t->write_closed;
	direction_wipe(&t->rd);
	if (!t->alert_owed)
		direction_wipe(&t->wr);
	return TLS_FAIL;
}

enum tls_result tls_record_die(struct tls_record *t, int alert)
{
	t->write_closed = true;
	tls_record_fail(t, (enum tls_alert)alert);
	return TLS_FAIL;
}

/* --- the sealing of one record, either way --- */

/* RFC 8446 5.3 and RFC 7905 2: the iv, its end mixed with the sequence number.
 * RFC 5288 3: four fixed bytes and eight that travel with the record. */
static void sealing_nonce(struct tls_sealing *s, const uint8_t *explicit_part)
{
	uint8_t seq[8];

	memcpy(s->nonce, s->dir->iv, sizeof(s->nonce));
	put_be(seq, s->dir->seq, sizeof(seq));
	if (explicit_part)
		memcpy(s->nonce + TLS_FIXED_BYTES, explicit_part, TLS_EXPLICIT_BYTES);
	else
		for (size_t i = 0; i < sizeof(seq); i++)
			s->nonce[TLS_FIXED_BYTES + i] ^= seq[i];
}

/* The additional data: 1.3 the header as it is on the wire (RFC 8446 5.2), 1.2
 * the sequence number and a header that has the plain length (RFC 5246 6.2.3.3). */
static void sealing_init(const struct tls_record *t, struct tls_sealing *s,
	const struct tls_direction *d, const uint8_t *header, size_t plain_len,
	const uint8_t *explicit_part)
{
	uint8_t *p = s->aad;

	s->suite = t->suite;
	s->dir = d;
	sealing_nonce(s, explicit_part);
	if (t->version == TLS_V12) {
		put_be(p, d->seq, 8);
		p += 8;
	}
	memcpy(p, header, TLS_HEADER_BYTES);
	p += TLS_HEADER_BYTES;
	if (t->version == TLS_V12)
		put_be(p - 2, plain_len, 2);
	s->aad_len = (size_t)(p - s->aad);
}

/* --- sealing --- */

static size_t seal_overhead(const struct tls_record *t)
{
	return TLS_HEADER_BYTES + TLS_TAG_BYTES +
	       (t->version == TLS_V13 ? 1 : tls_has_explicit_nonce(t) ? TLS_EXPLICIT_BYTES : 0);
}

size_t tls_record_size(const struct tls_record *t, size_t n)
{
	size_t records = n <= t->send_max ? 1 : (n - 1) / t->send_max + 1;

	return n + records * seal_overhead(t);
}

/* Appends one record. On failure everything is over. */
static int seal_one(struct tls_crypto *c, struct tls_record *t, enum tls_content type,
	const uint8_t *plain, size_t len, struct buf *out)
{
	bool inner = t->version == TLS_V13;
	size_t whole = len + seal_overhead(t);
	uint8_t *header = buf_reserve(out, whole), *text;
	const uint8_t *explicit_part = NULL;
	struct tls_sealing s;
	int ret;

	if (!header || t->wr.seq == UINT64_MAX) {
		tls_record_die(t, ALERT_INTERNAL_ERROR);
		return header ? -EOVERFLOW : -ENOBUFS;
	}
	header[0] = inner ? CONTENT_DATA : type;
	put_be(header + 1, 0x0303, 2);
	put_be(header + 3, whole - TLS_HEADER_BYTES, 2);
	text = header + TLS_HEADER_BYTES;
	if (tls_has_explicit_nonce(t)) {
		put_be(text, t->wr.nonce_base + t->wr.seq, TLS_EXPLICIT_BYTES);
		explicit_part = text;
		text += TLS_EXPLICIT_BYTES;
	}
	sealing_init(t, &s, &t->wr, header, len, explicit_part);
	t->wr.seq++;
	ret = tls_crypto_seal(c, &s, plain, len, inner ? (int)type : -1, text);
	if (ret < 0) {
		tls_record_die(t, ALERT_INTERNAL_ERROR);
		return ret;
	}
	buf_added(out, whole);
	return 0;
}

static int seal_alert(struct tls_crypto *c, struct tls_record *t, enum tls_alert_level level,
	enum tls_alert alert, struct buf *out)
{
	const uint8_t text[2] = { level, alert };

	return seal_one(c, t, CONTENT_ALERT, text, sizeof(text), out);
}

/* The last secret is gone for good, also from the contexts. */
int tls_direction_update(struct tls_crypto *c, const struct tls_record *t,
	struct tls_direction *d)
{
	uint8_t next[sizeof(d->secret)] = { 0 };
	int ret = tls_crypto_expand(c, t->suite, d->secret, "traffic upd", next,
		tls_suite_info(t->suite)->secret_bytes);

	if (ret == 0) {
		memcpy(d->secret, next, sizeof(next));
		ret = tls_direction_derive(c, t->suite, d, 0);
	}
	explicit_bzero(next, sizeof(next));
	tls_crypto_forget(c);
	return ret;
}

/* RFC 8446 4.6.3: sealed with the old key, everything after it with the new. */
static int seal_update(struct tls_crypto *c, struct tls_record *t, bool request,
	struct buf *out)
{
	const uint8_t text[HS_KEY_UPDATE_BYTES] = { HS_KEY_UPDATE, 0, 0, 1, request };
	int ret = seal_one(c, t, CONTENT_HANDSHAKE, text, sizeof(text), out);

	if (ret < 0)
		return ret;
	ret = tls_direction_update(c, t, &t->wr);
	if (ret < 0) {
		tls_record_die(t, ALERT_INTERNAL_ERROR);
		return ret;
	}
	/* An answer does not ask itself. */
	if (!request)
		t->update_owed = false;
	return 0;
}

/* Asked for, or because the key has sealed enough. */
static bool update_due(const struct tls_record *t)
{
	return t->version == TLS_V13 &&
	       (t->update_owed || fault("tls-update") ||
		(tls_suite_info(t->suite)->gcm && t->wr.seq >= TLS_GCM_UPDATE_AFTER));
}

/* May data be sealed? What has to go before it goes now. */
static int seal_prepare(struct tls_crypto *c, struct tls_record *t, struct buf *out)
{
	bool gcm = tls_suite_info(t->suite)->gcm;

	if (update_due(t))
		return seal_update(c, t, false, out);
	if (t->wr.seq < (t->version == TLS_V12 && gcm ? TLS_GCM_RECORDS_MAX : TLS_SEQ_MAX))
		return 0;
	tls_record_fail(t, ALERT_INTERNAL_ERROR);
	return -EOVERFLOW;
}

int tls_record_seal(struct tls_crypto *c, struct tls_record *t, const void *plain,
	size_t len, struct buf *out)
{
	const uint8_t *p = plain;

	if (t->dead)
		return -EPERM;
	if (t->write_closed)
		return -EPIPE;
	while (len > 0) {
		size_t n = len < t->send_max ? len : t->send_max;
		int ret = seal_prepare(c, t, out);

		if (ret == 0)
			ret = seal_one(c, t, CONTENT_DATA, p, n, out);
		if (ret < 0)
			return ret;
		if (t->update_credit < UINT16_MAX)
			t->update_credit++;
		p += n;
		len -= n;
	}
	return 0;
}

static int seal_last_words(struct tls_crypto *c, struct tls_record *t, struct buf *out)
{
	int ret = 0;

	if (t->alert_owed)
		ret = seal_alert(c, t, LEVEL_FATAL, t->alert, out);
	t->alert_owed = false;
	t->write_closed = true;
	direction_wipe(&t->wr);
	return ret;
}

int tls_record_control(struct tls_crypto *c, struct tls_record *t, struct buf *out)
{
	int ret = 0;

	if (t->dead)
		return seal_last_words(c, t, out);
	if (!t->write_closed && t->refusal_owed)
		ret = seal_alert(c, t, LEVEL_WARNING, ALERT_NO_RENEGOTIATION, out);
	if (!t->write_closed && ret == 0 && update_due(t))
		ret = seal_update(c, t, false, out);
	t->refusal_owed = t->update_owed = false;
	return ret;
}

int tls_record_close(struct tls_crypto *c, struct tls_record *t, struct buf *out)
{
	if (t->dead)
		return -EPERM;
	if (t->write_closed)
		return 0;
	int ret = seal_alert(c, t, LEVEL_WARNING, ALERT_CLOSE_NOTIFY, out);
	t->write_closed = true;
	return ret;
}

int tls_record_update(struct tls_crypto *c, struct tls_record *t, bool request,
	struct buf *out)
{
	if (t->dead)
		return -EPERM;
	if (t->write_closed)
		return -EPIPE;
	return t->version == TLS_V13 ? seal_update(c, t, request, out) : 0;
}

/* --- opening --- */

/* What can be refused before the rest is waited for. TLS_NONE: nothing. */
static enum tls_result open_header(struct tls_record *t, const uint8_t *header)
{
	size_t body = tls_get_be(header + 3, 2);
	size_t least = seal_overhead(t) - TLS_HEADER_BYTES, most;

	/* In 1.3 all is sealed; ChangeCipherSpec may come before Finished only (5). */
	if (t->version == TLS_V13 ? header[0] != CONTENT_DATA
				  : header[0] < CONTENT_ALERT || header[0] > CONTENT_DATA)
		return tls_record_fail(t, ALERT_UNEXPECTED_MESSAGE);
	/* 1.3's version field means nothing, and is sealed as it is (5.1). */
	if (t->version == TLS_V12 && tls_get_be(header + 1, 2) != 0x0303)
		return tls_record_fail(t, ALERT_PROTOCOL_VERSION);
	/* 1.3 allows padding, and a limit on text does not limit it. */
	most = t->version == TLS_V13 ? TLS_PLAIN_MAX_BYTES + 256 : t->recv_max + least;
	if (body > most)
		return tls_record_fail(t, ALERT_RECORD_OVERFLOW);
	if (body < least)
		return tls_record_fail(t, ALERT_BAD_RECORD_MAC);
	return TLS_NONE;
}

/* RFC 8446 5.4: text, its type, any number of zeros. 0 or the alert. */
static int open_inner(const struct tls_record *t, const uint8_t *text, size_t *len,
	unsigned *type)
{
	size_t n = *len;

	if (n > TLS_PLAIN_MAX_BYTES + 1)
		return ALERT_RECORD_OVERFLOW;
	while (n > 0 && text[n - 1] == 0)
		n--;
	if (n == 0)
		return ALERT_UNEXPECTED_MESSAGE;
	*type = text[n - 1];
	*len = n - 1;
	return *len > t->recv_max ? ALERT_RECORD_OVERFLOW : 0;
}

/* A whole record whose header is good. Plain text replaces what was sealed. */
static enum tls_result open_record(struct tls_crypto *c, struct tls_record *t,
	uint8_t *record, size_t whole, const uint8_t **text_r, size_t *len_r)
{
	bool explicit_nonce = tls_has_explicit_nonce(t);
	uint8_t *text = record + TLS_HEADER_BYTES + (explicit_nonce ? TLS_EXPLICIT_BYTES : 0);
	size_t len = (size_t)(record + whole - text) - TLS_TAG_BYTES;
	unsigned type = record[0];
	struct tls_sealing s;
	int ret;

	if (t->rd.seq >= TLS_SEQ_MAX)
		return tls_record_fail(t, ALERT_INTERNAL_ERROR);
	sealing_init(t, &s, &t->rd, record, len,
		explicit_nonce ? record + TLS_HEADER_BYTES : NULL);
	t->rd.seq++;
	ret = tls_crypto_open(c, &s, text, len);
	if (ret < 0)
		return tls_record_fail(t, ret == -EBADMSG ? ALERT_BAD_RECORD_MAC
						      : ALERT_INTERNAL_ERROR);
	if (t->version == TLS_V13) {
		ret = open_inner(t, text, &len, &type);
		if (ret > 0)
			return tls_record_fail(t, (enum tls_alert)ret);
	}
	*text_r = text;
	*len_r = len;
	return tls_record_content(c, t, type, text, len);
}

enum tls_result tls_record_open(struct tls_crypto *c, struct tls_record *t, uint8_t *buf,
	size_t len, size_t *used_r, size_t *need_r, const uint8_t **plain_r, size_t *len_r)
{
	const uint8_t *text = NULL;
	size_t whole = TLS_HEADER_BYTES, text_len = 0;
	enum tls_result result = TLS_NONE;

	*used_r = *need_r = *len_r = 0;
	*plain_r = NULL;
	if (t->dead)
		return TLS_FAIL;
	if (t->read_closed) {	/* RFC 8446 6.1: what follows is ignored */
		*used_r = len;
		return TLS_EOF;
	}
	if (len >= TLS_HEADER_BYTES) {
		result = open_header(t, buf);
		whole += tls_get_be(buf + 3, 2);
	}
	if (result == TLS_FAIL)
		return result;
	if (len < whole) {
		*need_r = whole;
		return TLS_MORE;
	}
	result = open_record(c, t, buf, whole, &text, &text_len);
	if (result == TLS_FAIL)
		return result;
	*used_r = whole;
	if (result == TLS_DATA) {
		*plain_r = text;
		*len_r = text_len;
	}
	return result;
}
