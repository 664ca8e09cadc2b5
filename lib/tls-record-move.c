/* SPDX-License-Identifier: MIT */
/* Where a record state comes from: the secrets of a handshake, or the blob of
 * the process that had it before. The blob holds what cannot be derived: in
 * 1.3 the two traffic secrets, in 1.2, whose keys never change, the keys
 * themselves. Integers are big-endian:
 *
 *	"TR"  format  version  suite  flags  send_max:2  recv_max:2
 *	n_empty  n_warn  n_reneg  update_credit:2
 *	hs_len  hs:5  hs_skip:3  rd.seq:8  wr.seq:8
 *	1.3: rd.secret  wr.secret		(32 or 48 bytes each)
 *	1.2: rd.key  rd.iv:12  wr.key  wr.iv:12	(GCM: an iv is 4 bytes fixed; the
 *		other 8 are the base of our explicit nonces, zero for reading)
 *
 * There is no checksum: a blob travels within the kernel between processes of
 * ours, or sealed. What is refused is what this program would not have said. */
#include "lib/tls-record-private.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/cursor.h"

#define BLOB_FORMAT	1
#define BLOB_HEAD_BYTES	40
#define BLOB_HS_BYTES	5

enum blob_flags {
	BLOB_UPDATE_OWED = 1, BLOB_READ_CLOSED = 2, BLOB_WRITE_CLOSED = 4,
	BLOB_REFUSAL_OWED = 8, BLOB_FLAGS_ALL = 15,
};

static void record_begin(struct tls_record *t, enum tls_version version,
	enum tls_suite suite)
{
	*t = (struct tls_record) {
		.version = (uint8_t)version,
		.suite = (uint8_t)suite,
		.update_credit = TLS_UPDATE_CREDIT,
		.send_max = TLS_PLAIN_MAX_BYTES,
		.recv_max = TLS_PLAIN_MAX_BYTES,
	};
}

int tls_record_init13(struct tls_crypto *c, struct tls_record *t, enum tls_suite suite,
	const void *read_secret, uint64_t read_seq, const void *write_secret,
	uint64_t write_seq)
{
	const struct tls_suite_info *info = tls_suite_info(suite);
	int ret;

	if (!info || read_seq > TLS_SEQ_MAX || write_seq > TLS_SEQ_MAX)
		return -EINVAL;
	record_begin(t, TLS_V13, suite);
	memcpy(t->rd.secret, read_secret, info->secret_bytes);
	memcpy(t->wr.secret, write_secret, info->secret_bytes);
	ret = tls_direction_derive(c, suite, &t->rd, read_seq);
	if (ret == 0)
		ret = tls_direction_derive(c, suite, &t->wr, write_seq);
	if (ret < 0)
		tls_record_wipe(t);
	return ret;
}

static void direction_init12(struct tls_direction *d, const uint8_t *key, size_t key_len,
	const uint8_t *iv, size_t iv_len, uint64_t seq)
{
	memcpy(d->key, key, key_len);
	memcpy(d->iv, iv, iv_len);
	d->seq = seq;
	d->id = tls_key_id();
}

int tls_record_init12(struct tls_crypto *c, struct tls_record *t, enum tls_suite suite,
	const uint8_t master[48], const uint8_t client_random[32],
	const uint8_t server_random[32], uint64_t read_seq, uint64_t write_seq,
	uint64_t next_nonce)
{
	static const char label[13] = "key expansion";
	const struct tls_suite_info *info = tls_suite_info(suite);
	uint8_t seed[sizeof(label) + 64], block[2 * (32 + TLS_NONCE_BYTES)];
	size_t key, iv;
	int ret;

	if (!info || read_seq > TLS_SEQ_MAX || write_seq > TLS_SEQ_MAX)
		return -EINVAL;
	key = info->key_bytes;
	iv = info->gcm ? TLS_FIXED_BYTES : TLS_NONCE_BYTES;
	record_begin(t, TLS_V12, suite);
	/* RFC 5246 6.3: here the server's random comes first. */
	memcpy(seed, label, sizeof(label));
	memcpy(seed + sizeof(label), server_random, 32);
	memcpy(seed + sizeof(label) + 32, client_random, 32);
	ret = tls_crypto_prf(c, suite, master, seed, sizeof(seed), block, 2 * (key + iv));
	if (ret == 0) {
		direction_init12(&t->rd, block, key, block + 2 * key, iv, read_seq);
		direction_init12(&t->wr, block + key, key, block + 2 * key + iv, iv, write_seq);
		if (info->gcm)
			t->wr.nonce_base = next_nonce - write_seq;
	} else {
		tls_record_wipe(t);
	}
	explicit_bzero(block, sizeof(block));
	return ret;
}

/* --- out --- */

static void pack_direction12(const struct tls_record *t, const struct tls_direction *d,
	struct buf *out)
{
	buf_append(out, d->key, tls_suite_info(t->suite)->key_bytes);
	if (tls_has_explicit_nonce(t)) {
		buf_append(out, d->iv, TLS_FIXED_BYTES);
		buf_append_u64(out, d->nonce_base);
	} else {
		buf_append(out, d->iv, TLS_NONCE_BYTES);
	}
}

static size_t blob_size(const struct tls_record *t)
{
	const struct tls_suite_info *info = tls_suite_info(t->suite);

	return BLOB_HEAD_BYTES +
	       2 * (t->version == TLS_V13 ? info->secret_bytes
					  : info->key_bytes + (size_t)TLS_NONCE_BYTES);
}

static uint8_t pack_flags(const struct tls_record *t)
{
	return (uint8_t)((t->update_owed ? BLOB_UPDATE_OWED : 0) |
			 (t->read_closed ? BLOB_READ_CLOSED : 0) |
			 (t->write_closed ? BLOB_WRITE_CLOSED : 0) |
			 (t->refusal_owed ? BLOB_REFUSAL_OWED : 0));
}

int tls_record_export(const struct tls_record *t, struct buf *out)
{
	uint8_t hs[BLOB_HS_BYTES] = { 0 };
	size_t secret;

	if (t->dead)
		return -EPERM;
	/* At once: a buffer that grows leaves copies of secrets behind. */
	if (!buf_reserve(out, blob_size(t)))
		return -ENOBUFS;
	secret = tls_suite_info(t->suite)->secret_bytes;
	assert(t->hs_len < sizeof(hs));
	memcpy(hs, t->hs, t->hs_len);
	buf_append_str(out, "TR");
	buf_append_u8(out, BLOB_FORMAT);
	buf_append_u8(out, t->version);
	buf_append_u8(out, t->suite);
	buf_append_u8(out, pack_flags(t));
	buf_append_u16(out, t->send_max);
	buf_append_u16(out, t->recv_max);
	buf_append_u8(out, t->n_empty);
	buf_append_u8(out, t->n_warn);
	buf_append_u8(out, t->n_reneg);
	buf_append_u16(out, t->update_credit);
	buf_append_u8(out, t->hs_len);
	buf_append(out, hs, sizeof(hs));
	buf_append_u8(out, (uint8_t)(t->hs_skip >> 16));
	buf_append_u16(out, (uint16_t)t->hs_skip);
	buf_append_u64(out, t->rd.seq);
	buf_append_u64(out, t->wr.seq);
	if (t->version == TLS_V13) {
		buf_append(out, t->rd.secret, secret);
		buf_append(out, t->wr.secret, secret);
	} else {
		pack_direction12(t, &t->rd, out);
		pack_direction12(t, &t->wr, out);
	}
	assert(!out->failed);
	return 0;
}

/* --- in --- */

static void unpack_direction12(struct cursor *in, const struct tls_record *t,
	struct tls_direction *d)
{
	cursor_copy(in, d->key, tls_suite_info(t->suite)->key_bytes);
	if (tls_has_explicit_nonce(t)) {
		cursor_copy(in, d->iv, TLS_FIXED_BYTES);
		d->nonce_base = cursor_u64(in);
	} else {
		cursor_copy(in, d->iv, TLS_NONCE_BYTES);
	}
	d->id = tls_key_id();
}

static bool unpack_flags(struct tls_record *t, uint8_t flags)
{
	t->update_owed = flags & BLOB_UPDATE_OWED;
	t->read_closed = flags & BLOB_READ_CLOSED;
	t->write_closed = flags & BLOB_WRITE_CLOSED;
	t->refusal_owed = flags & BLOB_REFUSAL_OWED;
	return !(flags & ~BLOB_FLAGS_ALL) &&
	       !(t->version == TLS_V12 ? t->update_owed : t->refusal_owed);
}

/* Everything before the keys, but not whether it makes sense. */
static bool unpack_head(struct cursor *in, struct tls_record *t)
{
	const uint8_t *magic = cursor_bytes(in, 2);
	bool good;

	if (!magic || memcmp(magic, "TR", 2) != 0 || cursor_u8(in) != BLOB_FORMAT)
		return false;
	t->version = cursor_u8(in);
	t->suite = cursor_u8(in);
	good = (t->version == TLS_V12 || t->version == TLS_V13) && tls_suite_info(t->suite) &&
	       unpack_flags(t, cursor_u8(in));
	t->send_max = cursor_u16(in);
	t->recv_max = cursor_u16(in);
	t->n_empty = cursor_u8(in);
	t->n_warn = cursor_u8(in);
	t->n_reneg = cursor_u8(in);
	t->update_credit = cursor_u16(in);
	t->hs_len = cursor_u8(in);
	cursor_copy(in, t->hs, BLOB_HS_BYTES);
	t->hs_skip = (uint32_t)cursor_u8(in) << 16;
	t->hs_skip |= cursor_u16(in);
	t->rd.seq = cursor_u64(in);
	t->wr.seq = cursor_u64(in);
	return good && !in->bad;
}

/* Half a message: no more of it than can be, and nothing behind it. */
static bool message_valid(const struct tls_record *t)
{
	size_t most = t->version == TLS_V13 ? TLS_HS_HEADER_BYTES : TLS_HS_HEADER_BYTES - 1;
	static const uint8_t update[TLS_HS_HEADER_BYTES] = { 24, 0, 0, 1 };

	if (t->hs_len > most)
		return false;
	for (size_t i = t->hs_len; i < sizeof(t->hs); i++)
		if (t->hs[i] != 0)
			return false;
	if (t->version == TLS_V13)
		return t->hs_skip == 0 && memcmp(t->hs, update, t->hs_len) == 0;
	return t->hs_skip == 0 || t->hs_len == 0;
}

static bool record_valid(const struct tls_record *t)
{
	return t->send_max > 0 && t->send_max <= TLS_PLAIN_MAX_BYTES && t->recv_max > 0 &&
	       t->recv_max <= TLS_PLAIN_MAX_BYTES && t->n_empty <= TLS_EMPTY_MAX &&
	       t->n_warn <= TLS_WARNINGS_MAX && t->n_reneg <= TLS_RENEGOTIATIONS_MAX &&
	       t->rd.seq <= TLS_SEQ_MAX && message_valid(t);
}

int tls_record_import(struct tls_crypto *c, struct tls_record *t, const void *blob,
	size_t len)
{
	struct tls_record got = { 0 };
	struct cursor in;
	int ret = -EBADMSG;

	cursor_init(&in, blob, len);
	if (!unpack_head(&in, &got) || !record_valid(&got))
		goto out;
	if (got.version == TLS_V12) {
		unpack_direction12(&in, &got, &got.rd);
		unpack_direction12(&in, &got, &got.wr);
		if (!cursor_done(&in) || got.rd.nonce_base != 0)
			goto out;
		ret = 0;
	} else {
		size_t secret = tls_suite_info(got.suite)->secret_bytes;

		cursor_copy(&in, got.rd.secret, secret);
		cursor_copy(&in, got.wr.secret, secret);
		if (!cursor_done(&in))
			goto out;
		ret = tls_direction_derive(c, got.suite, &got.rd, got.rd.seq);
		if (ret == 0)
			ret = tls_direction_derive(c, got.suite, &got.wr, got.wr.seq);
	}
	if (ret == 0)
		*t = got;
out:
	explicit_bzero(&got, sizeof(got));
	return ret;
}
