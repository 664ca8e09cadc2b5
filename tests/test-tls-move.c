/* SPDX-License-Identifier: MIT */
/* A record state that moves: the blob says all of it, at every point, and no
 * key ever seals two records with one nonce, whatever is done to a session.
 * The latter is asked where it matters: EVP_CipherInit_ex2() is wrapped, and
 * each (key, nonce) that the layer gives it for sealing is written down. */
#include <errno.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/tls-record.h"
#include "lib/tls-record-private.h"
#include "tests/tls-peer.h"
#include "tests/unit.h"

#define EVERY_SUITE(v, s) \
	for (unsigned v = TLS_V12; v <= TLS_V13; v++) \
		for (unsigned s = TLS_AES128_GCM_SHA256; s <= TLS_CHACHA20_SHA256; s++)
#define ROW(v, s)	((long long)(v) * 10 + (s))

/* --- what EVP was asked to seal with, and to forget --- */

struct use {
	uint8_t key[32], nonce[12];
};
static struct use *uses;
static size_t n_uses, max_uses;
static struct {
	EVP_CIPHER_CTX *ctx;
	uint8_t key[32];
} keyed[64];

/* Which of its functions fails, after how many calls. */
enum { FAIL_NOTHING, FAIL_INIT, FAIL_TAG, FAIL_KDF };
static int failing;
static int fail_after;

static bool refuse(int what)
{
	return failing == what && fail_after-- == 0;
}

int __real_EVP_CipherInit_ex2(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher,
	const unsigned char *key, const unsigned char *iv, int enc, const OSSL_PARAM params[]);
int __wrap_EVP_CipherInit_ex2(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher,
	const unsigned char *key, const unsigned char *iv, int enc, const OSSL_PARAM params[]);

int __wrap_EVP_CipherInit_ex2(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher,
	const unsigned char *key, const unsigned char *iv, int enc, const OSSL_PARAM params[])
{
	int ret = refuse(FAIL_INIT) ? 0
				    : __real_EVP_CipherInit_ex2(ctx, cipher, key, iv, enc, params);
	size_t slot = 0;

	if (!enc || ret != 1)
		return ret;
	while (slot < UNIT_COUNT(keyed) && keyed[slot].ctx && keyed[slot].ctx != ctx)
		slot++;
	peer_must(slot < UNIT_COUNT(keyed) && iv);
	keyed[slot].ctx = ctx;
	if (key) {
		memset(keyed[slot].key, 0, sizeof(keyed[slot].key));
		memcpy(keyed[slot].key, key, (size_t)EVP_CIPHER_CTX_get_key_length(ctx));
	}
	if (n_uses == max_uses) {
		max_uses = max_uses ? 2 * max_uses : 1024;
		uses = reallocarray(uses, max_uses, sizeof(*uses));
		peer_must(uses != NULL);
	}
	memcpy(uses[n_uses].key, keyed[slot].key, sizeof(uses[n_uses].key));
	memcpy(uses[n_uses++].nonce, iv, 12);
	return ret;
}

static size_t n_resets;

int __real_EVP_CIPHER_CTX_reset(EVP_CIPHER_CTX *ctx);
int __wrap_EVP_CIPHER_CTX_reset(EVP_CIPHER_CTX *ctx);

int __wrap_EVP_CIPHER_CTX_reset(EVP_CIPHER_CTX *ctx)
{
	n_resets++;
	return __real_EVP_CIPHER_CTX_reset(ctx);
}

int __real_EVP_CIPHER_CTX_ctrl(EVP_CIPHER_CTX *ctx, int type, int arg, void *ptr);
int __wrap_EVP_CIPHER_CTX_ctrl(EVP_CIPHER_CTX *ctx, int type, int arg, void *ptr);

/* The tag, in either direction. */
int __wrap_EVP_CIPHER_CTX_ctrl(EVP_CIPHER_CTX *ctx, int type, int arg, void *ptr)
{
	return refuse(FAIL_TAG) ? 0 : __real_EVP_CIPHER_CTX_ctrl(ctx, type, arg, ptr);
}

int __real_EVP_KDF_derive(EVP_KDF_CTX *ctx, unsigned char *out, size_t n,
	const OSSL_PARAM params[]);
int __wrap_EVP_KDF_derive(EVP_KDF_CTX *ctx, unsigned char *out, size_t n,
	const OSSL_PARAM params[]);

int __wrap_EVP_KDF_derive(EVP_KDF_CTX *ctx, unsigned char *out, size_t n,
	const OSSL_PARAM params[])
{
	return refuse(FAIL_KDF) ? 0 : __real_EVP_KDF_derive(ctx, out, n, params);
}

static int use_cmp(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct use));
}

/* How many uses are the same as another one. */
static size_t uses_twice(void)
{
	size_t n = 0;

	qsort(uses, n_uses, sizeof(*uses), use_cmp);
	for (size_t i = 1; i < n_uses; i++)
		n += use_cmp(&uses[i - 1], &uses[i]) == 0;
	return n;
}

/* --- moving --- */

static struct tls_crypto *crypto, *elsewhere;

/* Everything but which key it is in this process. */
static bool same_direction(const struct tls_direction *a, const struct tls_direction *b)
{
	return a->seq == b->seq && a->nonce_base == b->nonce_base && a->id != b->id &&
	       b->id != 0 && memcmp(a->secret, b->secret, sizeof(a->secret)) == 0 &&
	       memcmp(a->key, b->key, sizeof(a->key)) == 0 &&
	       memcmp(a->iv, b->iv, sizeof(a->iv)) == 0;
}

static bool same_record(const struct tls_record *a, const struct tls_record *b)
{
	return a->version == b->version && a->suite == b->suite && a->dead == b->dead &&
	       a->update_owed == b->update_owed && a->refusal_owed == b->refusal_owed &&
	       a->read_closed == b->read_closed && a->write_closed == b->write_closed &&
	       a->n_empty == b->n_empty && a->n_warn == b->n_warn && a->n_reneg == b->n_reneg &&
	       a->hs_len == b->hs_len && memcmp(a->hs, b->hs, a->hs_len) == 0 &&
	       a->hs_skip == b->hs_skip && a->update_credit == b->update_credit &&
	       a->send_max == b->send_max && a->recv_max == b->recv_max &&
	       same_direction(&a->rd, &b->rd) && same_direction(&a->wr, &b->wr);
}

/* The state goes through a blob, as to another process. */
static bool hop(struct tls_crypto *to, struct tls_record *t)
{
	struct tls_record next;
	struct buf blob;
	bool good;

	memset(&next, 0xa5, sizeof(next));
	buf_init(&blob, 256);
	good = tls_record_export(t, &blob) == 0 && blob.len >= 96 && blob.len <= 136 &&
	       tls_record_import(to, &next, blob.data, blob.len) == 0 &&
	       same_record(t, &next);
	buf_wipe(&blob);
	tls_record_wipe(t);
	*t = next;
	return good;
}

static enum tls_result feed(struct tls_crypto *c, struct tls_record *t, struct buf *wire)
{
	enum tls_result result = TLS_NONE;

	while (wire->len > 0 && result != TLS_FAIL) {
		const uint8_t *plain;
		size_t used, need, len;

		result = tls_record_open(c, t, wire->data, wire->len, &used, &need, &plain, &len);
		if (result == TLS_MORE)
			break;
		buf_consume(wire, used);
	}
	buf_reset(wire);
	return result;
}

/* --- the blob --- */

static void test_tls_blob_has_its_size(void)
{
	static const size_t sizes[2][3] = { { 96, 128, 128 }, { 104, 136, 104 } };

	EVERY_SUITE(v, s) {
		struct tls_record t;
		struct peer p;
		struct buf blob;

		peer_pair(crypto, v, s, &t, &p);
		buf_init(&blob, 256);
		check(tls_record_export(&t, &blob) == 0);
		check_row(blob.len == sizes[v - TLS_V12][s - 1], ROW(v, s));
		check(memcmp(blob.data, "TR\1", 3) == 0);
		buf_deinit(&blob);
	}
}

/* Written down once, so that a later program can still read it. */
static void test_tls_blob_is_as_it_was(void)
{
	static const uint8_t blob[104] = {
		'T', 'R', 1, 4, 3, 5, 0x02, 0x00, 0x40, 0x00, 7, 2, 0, 0x00, 0x21,
		2, 24, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 3, 4, 5,
		[40] = 0x11, [71] = 0x22, [72] = 0x33, [103] = 0x44,
	};
	struct tls_record t;
	struct buf out;

	require(tls_record_import(crypto, &t, blob, sizeof(blob)) == 0);
	check(t.version == TLS_V13 && t.suite == TLS_CHACHA20_SHA256);
	check(t.update_owed && t.write_closed && !t.read_closed && !t.refusal_owed);
	check(t.send_max == 512 && t.recv_max == 16384);
	check(t.n_empty == 7 && t.n_warn == 2 && t.n_reneg == 0 && t.update_credit == 33);
	check(t.hs_len == 2 && t.hs[0] == 24 && t.hs_skip == 0);
	check(t.rd.seq == 0x102 && t.wr.seq == 0x30405);
	check(t.rd.secret[0] == 0x11 && t.rd.secret[31] == 0x22);
	check(t.wr.secret[0] == 0x33 && t.wr.secret[31] == 0x44);
	buf_init(&out, 256);
	check(tls_record_export(&t, &out) == 0 && out.len == sizeof(blob) &&
	      memcmp(out.data, blob, sizeof(blob)) == 0);
	buf_deinit(&out);
}

static const struct {
	int version;	/* 0: both */
	size_t at, len;
	const char *bytes;
} bad_fields[] = {
	{ 0, 0, 1, "U" }, { 0, 1, 1, "S" },
	{ 0, 2, 1, "\0" }, { 0, 2, 1, "\2" },		/* format */
	{ 0, 3, 1, "\0" }, { 0, 3, 1, "\2" }, { 0, 3, 1, "\5" },
	{ 0, 4, 1, "\0" }, { 0, 4, 1, "\4" },		/* suite */
	{ 0, 5, 1, "\20" }, { 0, 5, 1, "\200" },	/* flags that nobody set */
	{ TLS_V12, 5, 1, "\1" }, { TLS_V13, 5, 1, "\10" },
	{ 0, 6, 2, "\0\0" }, { 0, 6, 2, "\100\1" },	/* send_max */
	{ 0, 8, 2, "\0\0" }, { 0, 8, 2, "\377\377" },	/* recv_max */
	{ 0, 10, 1, "\41" }, { 0, 11, 1, "\6" }, { 0, 12, 1, "\4" },
	{ TLS_V13, 15, 6, "\5\30\0\0\1\0" },		/* a whole message */
	{ TLS_V13, 15, 6, "\1\1\0\0\0\0" },		/* another one */
	{ TLS_V13, 15, 6, "\4\30\0\0\2\0" },
	{ TLS_V13, 15, 6, "\1\30\0\0\1\0" },		/* more than it says */
	{ TLS_V12, 15, 6, "\4\1\0\0\1\0" },
	{ TLS_V12, 15, 6, "\1\1\1\0\0\0" },
	{ 0, 15, 6, "\0\0\0\0\0\1" }, { 0, 15, 1, "\377" },
	{ TLS_V13, 21, 3, "\0\0\1" },			/* hs_skip */
	{ TLS_V12, 15, 9, "\1\1\0\0\0\0\0\0\1" },
	{ 0, 24, 8, "\377\377\377\377\377\377\377\377" },	/* rd.seq */
};

static void test_tls_blob_table_of_refusals(void)
{
	for (size_t i = 0; i < UNIT_COUNT(bad_fields); i++) {
		EVERY_SUITE(v, s) {
			struct tls_record t, out = { 0 }, zero = { 0 };
			struct peer p;
			struct buf blob;

			if (bad_fields[i].version && bad_fields[i].version != (int)v)
				continue;
			peer_pair(crypto, v, s, &t, &p);
			buf_init(&blob, 256);
			check(tls_record_export(&t, &blob) == 0);
			memcpy(blob.data + bad_fields[i].at, bad_fields[i].bytes,
				bad_fields[i].len);
			check_row(tls_record_import(crypto, &out, blob.data, blob.len) == -EBADMSG,
				i);
			check_row(memcmp(&out, &zero, sizeof(out)) == 0, i);
			buf_deinit(&blob);
		}
	}
}

/* Only what is sealed has an explicit nonce to go on from. */
static void test_tls_blob_has_no_nonce_for_reading(void)
{
	struct tls_record t, out;
	struct peer p;
	struct buf blob;

	peer_pair(crypto, TLS_V12, TLS_AES128_GCM_SHA256, &t, &p);
	buf_init(&blob, 256);
	check(tls_record_export(&t, &blob) == 0);
	check(tls_record_import(crypto, &out, blob.data, blob.len) == 0);
	blob.data[40 + 16 + 4 + 7] ^= 1;
	check(tls_record_import(crypto, &out, blob.data, blob.len) == -EBADMSG);
	buf_deinit(&blob);
}

static void test_tls_blob_refuses_every_other_length(void)
{
	EVERY_SUITE(v, s) {
		struct tls_record t, out = { 0 };
		struct peer p;
		struct buf blob;

		peer_pair(crypto, v, s, &t, &p);
		buf_init(&blob, 256);
		check(tls_record_export(&t, &blob) == 0);
		for (size_t n = 0; n < blob.len; n++) {
			uint8_t *copy = malloc(n + !n);

			memcpy(copy, blob.data, n);
			check_row(tls_record_import(crypto, &out, copy, n) == -EBADMSG, n);
			free(copy);
		}
		buf_append_u8(&blob, 0);
		check_row(tls_record_import(crypto, &out, blob.data, blob.len) == -EBADMSG,
			ROW(v, s));
		buf_deinit(&blob);
	}
}

/* A flipped bit is refused, or it is said again: none is without meaning. */
static void test_tls_blob_has_no_idle_bit(void)
{
	EVERY_SUITE(v, s) {
		struct tls_record t, out;
		struct peer p;
		struct buf blob, again;
		size_t refused = 0;

		peer_pair(crypto, v, s, &t, &p);
		buf_init(&blob, 256);
		buf_init(&again, 256);
		check(tls_record_export(&t, &blob) == 0);
		for (size_t bit = 0; bit < blob.len * 8; bit++) {
			blob.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
			buf_reset(&again);
			if (tls_record_import(crypto, &out, blob.data, blob.len) == 0) {
				check_row(tls_record_export(&out, &again) == 0, bit);
				check_row(again.len == blob.len, bit);
				check_row(memcmp(again.data, blob.data, blob.len) == 0, bit);
				check_row(bit / 8 >= 4, bit);
			} else {
				refused++;
			}
			blob.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		/* Of the first five bytes all, but for a suite with keys of the same size. */
		check_row(refused >= 5 * 8 - 1, ROW(v, s));
		buf_deinit(&blob);
		buf_deinit(&again);
	}
}

static void test_tls_blob_that_does_not_fit_leaves_nothing(void)
{
	EVERY_SUITE(v, s) {
		struct tls_record t;
		struct peer p;

		peer_pair(crypto, v, s, &t, &p);
		for (size_t max = 0; max < 96; max++) {
			struct buf blob;

			buf_init(&blob, max);
			check_row(tls_record_export(&t, &blob) == -ENOBUFS && blob.len == 0, max);
			check_row(blob.data == NULL, max);
			buf_deinit(&blob);
			check_row(!t.dead, max);	/* the session goes on */
		}
	}
}

/* --- at every point --- */

static const struct {
	int version, type;
	const char *text;
	size_t len;
	enum tls_result result;
} story[] = {
#define SAY(v, type, text, result)	{ v, type, text, sizeof(text) - 1, result }
	SAY(0, PEER_DATA, "a1 NOOP\r\n", TLS_DATA),
	SAY(0, PEER_DATA, "", TLS_NONE),
	SAY(0, PEER_ALERT, "\1\132", TLS_NONE),
	SAY(TLS_V13, PEER_HANDSHAKE, "\30", TLS_NONE),
	SAY(TLS_V13, PEER_HANDSHAKE, "\0", TLS_NONE),
	SAY(TLS_V13, PEER_HANDSHAKE, "\0", TLS_NONE),
	SAY(TLS_V13, PEER_HANDSHAKE, "\1", TLS_NONE),
	SAY(TLS_V13, PEER_HANDSHAKE, "\1", TLS_REPLY),
	SAY(TLS_V13, PEER_HANDSHAKE, "\30\0\0\1\0", TLS_NONE),
	SAY(TLS_V12, PEER_HANDSHAKE, "\1", TLS_NONE),
	SAY(TLS_V12, PEER_HANDSHAKE, "\0\0", TLS_NONE),
	SAY(TLS_V12, PEER_HANDSHAKE, "\3a", TLS_REPLY),
	SAY(TLS_V12, PEER_DATA, "a2 IDLE\r\n", TLS_DATA),
	SAY(TLS_V12, PEER_HANDSHAKE, "b", TLS_NONE),
	SAY(TLS_V12, PEER_HANDSHAKE, "c\1\0\0", TLS_NONE),
	SAY(TLS_V12, PEER_HANDSHAKE, "\1x", TLS_REPLY),
	SAY(0, PEER_DATA, "DONE\r\n", TLS_DATA),
	SAY(0, PEER_ALERT, "\1\0", TLS_EOF),
};

/* With and without moving, with and without answering at once. */
static void test_tls_moves_between_any_two_records(void)
{
	EVERY_SUITE(v, s) {
		for (int how = 0; how < 4; how++) {
			struct tls_record t;
			struct peer p;
			struct buf wire, out;
			int type;
			size_t len;
			uint8_t *text;

			peer_pair(crypto, v, s, &t, &p);
			buf_init(&wire, 4096);
			buf_init(&out, 65536);
			for (size_t i = 0; i < UNIT_COUNT(story); i++) {
				if (story[i].version && story[i].version != (int)v)
					continue;
				if (how & 1)
					check_row(hop(crypto, &t), i);
				peer_seal(&p, story[i].type, story[i].text, story[i].len, 0, &wire);
				/* The key changes with the last byte of the message. */
				if (v == TLS_V13 && story[i].type == PEER_HANDSHAKE &&
				    (i == 7 || story[i].len == 5))
					peer_update(s, &p.wr);
				check_row(feed(crypto, &t, &wire) == story[i].result, i);
				if (how & 1)
					check_row(hop(elsewhere, &t), i);
				if (how & 2)
					check(tls_record_control(elsewhere, &t, &out) == 0);
				check(tls_record_seal(elsewhere, &t, "OK\r\n", 4, &out) == 0);
				if (how & 1)
					check_row(hop(elsewhere, &t), i);
			}
			check(tls_record_close(crypto, &t, &out) == 0);
			check(hop(crypto, &t));
			check(tls_record_close(crypto, &t, &out) == 0);
			while (out.len > 0) {
				size_t n = peer_open(&p, out.data, out.len, &type, &text, &len);

				if (!check_row(n > 0, ROW(v, s)))
					break;
				if (out.len == n)
					check_row(type == PEER_ALERT && text[1] == 0, ROW(v, s));
				buf_consume(&out, n);
			}
			buf_deinit(&wire);
			buf_deinit(&out);
		}
	}
}

/* --- nonces --- */

struct session {
	struct tls_record t;
	struct peer p;
	struct buf out;
	bool done;
};

static void session_begin(struct session *x, uint64_t *rng)
{
	enum tls_version v = unit_random(rng) & 1 ? TLS_V13 : TLS_V12;
	enum tls_suite s = 1 + unit_random(rng) % 3;
	uint8_t secret[3][48];
	uint64_t *words = (uint64_t *)secret;

	for (size_t i = 0; i < sizeof(secret) / 8; i++)
		words[i] = unit_random(rng);
	x->done = false;
	buf_init(&x->out, 1 << 20);
	if (v == TLS_V13) {
		peer_must(tls_record_init13(crypto, &x->t, s, secret[0], 0, secret[1], 0) == 0);
		peer_init13(&x->p, s, secret[0], secret[1]);
	} else {
		/* now and then the explicit nonce wraps */
		uint64_t next = unit_random(rng) & 1 ? unit_random(rng) : 0 - unit_random(rng) % 20;

		peer_must(tls_record_init12(crypto, &x->t, s, secret[0], secret[1], secret[2], 1, 1,
				  next) == 0);
		peer_init12(&x->p, s, secret[0], secret[1], secret[2]);
	}
}

/* All that was sealed opens, in order. How many records. */
static size_t session_drain(struct session *x, uint64_t row)
{
	size_t at = 0, n, records = 0, len;
	uint8_t *text;
	int type;

	while (at < x->out.len) {
		n = peer_open(&x->p, x->out.data + at, x->out.len - at, &type, &text, &len);
		if (!check_row(n > 0, row))
			break;
		at += n;
		records++;
	}
	buf_reset(&x->out);
	return records;
}

static void session_step(struct session *x, uint64_t *rng)
{
	static const char big[40000];
	struct buf wire;

	buf_init(&wire, 65536);
	switch (unit_random(rng) % 12) {
	case 0:
	case 1:
	case 2:
		check(tls_record_seal(crypto, &x->t, big, unit_random(rng) % 100, &x->out) == 0);
		break;
	case 3:
		check(tls_record_seal(crypto, &x->t, big, unit_random(rng) % 40000, &x->out) == 0);
		break;
	case 4:
		check(tls_record_update(crypto, &x->t, unit_random(rng) & 1, &x->out) == 0);
		break;
	case 5:
		if (x->p.version == TLS_V13)
			peer_seal_update(&x->p, true, &wire);
		else if (x->t.n_reneg < TLS_RENEGOTIATIONS_MAX)
			peer_seal(&x->p, PEER_HANDSHAKE, "\1\0\0\0", 4, 0, &wire);
		peer_seal(&x->p, PEER_DATA, "x", 1, 0, &wire);
		check(feed(crypto, &x->t, &wire) == TLS_DATA);
		break;
	case 6:
		check(tls_record_control(crypto, &x->t, &x->out) == 0);
		break;
	case 7:
	case 8:
		check(hop(unit_random(rng) & 1 ? crypto : elsewhere, &x->t));
		break;
	case 9:	/* near the end of a key of ours */
		if (x->p.version == TLS_V13 && x->p.suite != TLS_CHACHA20_SHA256 &&
		    x->t.wr.seq < 1000) {
			session_drain(x, 0);
			x->t.wr.seq = x->p.rd.seq = TLS_GCM_UPDATE_AFTER - 2;
		}
		break;
	case 10:
		tls_crypto_forget(crypto);
		break;
	case 11:
		if (unit_random(rng) % 50)
			break;
		/* The end, by either side. */
		if (unit_random(rng) & 1) {
			check(tls_record_close(crypto, &x->t, &x->out) == 0);
			check(tls_record_close(crypto, &x->t, &x->out) == 0);
		} else {
			peer_seal(&x->p, PEER_CCS, "x", 1, 0, &wire);
			check(feed(crypto, &x->t, &wire) == TLS_FAIL);
			check(tls_record_control(crypto, &x->t, &x->out) == 0);
			check(tls_record_control(crypto, &x->t, &x->out) == 0);
		}
		x->done = true;
		break;
	}
	buf_deinit(&wire);
}

static void test_tls_never_uses_a_nonce_twice(void)
{
	static struct session sessions[24];
	uint64_t rng = unit_seed();
	size_t records = 0;

	for (size_t i = 0; i < UNIT_COUNT(sessions); i++)
		session_begin(&sessions[i], &rng);
	n_uses = 0;
	for (int step = 0; step < 12000; step++) {
		struct session *x = &sessions[unit_random(&rng) % UNIT_COUNT(sessions)];
		size_t before = n_uses, n;

		session_step(x, &rng);
		n = session_drain(x, (uint64_t)step);
		records += n;
		/* What was sealed came out, or was taken out above, and nothing else. */
		check_row(n <= n_uses - before, step);
		if (x->done) {
			tls_record_wipe(&x->t);
			buf_deinit(&x->out);
			session_begin(x, &rng);
		}
	}
	for (size_t i = 0; i < UNIT_COUNT(sessions); i++) {
		tls_record_wipe(&sessions[i].t);
		buf_deinit(&sessions[i].out);
	}
	check(records > 5000 && records == n_uses);
	check(uses_twice() == 0);
}

/* The test above can fail: a state that was copied does it at once. */
static void test_tls_a_copy_would_be_found(void)
{
	EVERY_SUITE(v, s) {
		struct tls_record t, copy;
		struct peer p;
		struct buf out;

		peer_pair(crypto, v, s, &t, &p);
		buf_init(&out, 4096);
		copy = t;
		n_uses = 0;
		check(tls_record_seal(crypto, &t, "one", 3, &out) == 0);
		check(uses_twice() == 0);
		check(tls_record_seal(crypto, &copy, "two", 3, &out) == 0);
		check_row(n_uses == 2 && uses_twice() == 1, ROW(v, s));
		buf_deinit(&out);
	}
}

/* An expanded key outlives neither its session nor its generation. */
static void test_tls_contexts_forget_keys(void)
{
	struct tls_record t;
	struct peer p;
	struct buf out;

	buf_init(&out, 4096);
	tls_crypto_forget(crypto);
	peer_pair(crypto, TLS_V13, TLS_AES128_GCM_SHA256, &t, &p);
	check(tls_record_seal(crypto, &t, "x", 1, &out) == 0);
	n_resets = 0;
	check(tls_record_update(crypto, &t, false, &out) == 0 && n_resets == 1);
	buf_reset(&out);
	peer_seal_update(&p, false, &out);
	check(feed(crypto, &t, &out) == TLS_NONE && n_resets == 2);
	check(tls_record_seal(crypto, &t, "x", 1, &out) == 0 && n_resets == 2);
	tls_crypto_forget(crypto);
	check(n_resets == 3);
	tls_crypto_forget(crypto);
	check(n_resets == 3);
	buf_deinit(&out);
}

/* A number is spent even when nothing came of it. */
static void test_tls_a_failed_seal_is_not_repeated(void)
{
	EVERY_SUITE(v, s) {
		struct tls_record t;
		struct peer p;
		struct buf out;

		peer_pair(crypto, v, s, &t, &p);
		n_uses = 0;
		buf_init(&out, 60);
		check(tls_record_seal(crypto, &t, "hello", 5, &out) == 0);
		check(tls_record_seal(crypto, &t, "hello, hello, hello", 19, &out) == -ENOBUFS);
		buf_reset(&out);
		check(tls_record_seal(crypto, &t, "x", 1, &out) == -EPERM);
		check(tls_record_control(crypto, &t, &out) == 0 && out.len == 0);
		check_row(n_uses == 1, ROW(v, s));
		buf_deinit(&out);
	}
}

static void fail_next(int what, int after)
{
	failing = what;
	fail_after = after;
}

/* Dead, silent, and without keys. */
static bool gone(struct tls_record *t)
{
	static const struct tls_direction zero;
	struct buf out;
	bool good;

	failing = FAIL_NOTHING;
	buf_init(&out, 4096);
	good = t->dead && tls_record_control(crypto, t, &out) == 0 &&
	       tls_record_seal(crypto, t, "x", 1, &out) == -EPERM && out.len == 0 &&
	       tls_record_export(t, &out) == -EPERM &&
	       memcmp(&t->rd, &zero, sizeof(zero)) == 0 &&
	       memcmp(&t->wr, &zero, sizeof(zero)) == 0;
	buf_deinit(&out);
	return good;
}

/* libcrypto may fail at any of its calls, short of memory for one. */
static void test_tls_failures_of_libcrypto_kill(void)
{
	EVERY_SUITE(v, s) {
		struct tls_record t;
		struct peer p;
		struct buf out;

		buf_init(&out, 4096);
		for (int what = FAIL_INIT; what <= FAIL_TAG; what++) {
			peer_pair(crypto, v, s, &t, &p);
			fail_next(what, 0);
			check_row(tls_record_seal(crypto, &t, "x", 1, &out) == -EIO, ROW(v, s));
			check_row(out.len == 0 && gone(&t), ROW(v, s));

			/* Reading: the client is told that it is our fault. */
			peer_pair(crypto, v, s, &t, &p);
			peer_seal(&p, PEER_DATA, "x", 1, 0, &out);
			fail_next(what, 0);
			check_row(feed(crypto, &t, &out) == TLS_FAIL && t.alert == 80, ROW(v, s));
			failing = FAIL_NOTHING;
			check(tls_record_control(crypto, &t, &out) == 0 && out.len > 0);
			check_row(gone(&t), ROW(v, s));
			buf_reset(&out);
		}
		buf_deinit(&out);
	}
	for (int after = 0; after < 3; after++) {
		struct tls_record t;
		struct peer p;
		struct buf out;

		buf_init(&out, 4096);
		peer_pair(crypto, TLS_V13, TLS_AES128_GCM_SHA256, &t, &p);
		fail_next(FAIL_KDF, after);
		check_row(tls_record_update(crypto, &t, false, &out) == -EIO && gone(&t), after);
		buf_reset(&out);
		peer_pair(crypto, TLS_V13, TLS_AES128_GCM_SHA256, &t, &p);
		peer_seal_update(&p, false, &out);
		fail_next(FAIL_KDF, after);
		check_row(feed(crypto, &t, &out) == TLS_FAIL && t.alert == 80, after);
		failing = FAIL_NOTHING;
		check(tls_record_control(crypto, &t, &out) == 0 && out.len > 0);
		check_row(gone(&t), after);
		buf_deinit(&out);
	}
}

static void test_tls_failures_of_libcrypto_begin_nothing(void)
{
	static const uint8_t z[48];
	struct tls_record t, out = { 0 }, zero = { 0 };
	struct tls_crypto *c;
	struct peer p;
	struct buf blob;

	fail_next(FAIL_KDF, 2);
	check(tls_record_init13(crypto, &t, TLS_AES128_GCM_SHA256, z, 0, z, 0) == -EIO);
	check(gone(&t));
	fail_next(FAIL_KDF, 0);
	check(tls_record_init12(crypto, &t, TLS_AES128_GCM_SHA256, z, z, z, 1, 1, 1) == -EIO);
	check(gone(&t));
	peer_pair(crypto, TLS_V13, TLS_AES256_GCM_SHA384, &t, &p);
	buf_init(&blob, 256);
	check(tls_record_export(&t, &blob) == 0);
	fail_next(FAIL_KDF, 3);
	check(tls_record_import(crypto, &out, blob.data, blob.len) == -EIO);
	check(memcmp(&out, &zero, sizeof(out)) == 0);
	buf_deinit(&blob);
	for (int what = FAIL_INIT; what <= FAIL_KDF; what++) {
		fail_next(what, 1);
		c = tls_crypto_create();
		check_row(c == NULL, what);
		failing = FAIL_NOTHING;
		tls_crypto_destroy(&c);
	}
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_tls_blob_has_its_size),
		UNIT_TEST(test_tls_blob_is_as_it_was),
		UNIT_TEST(test_tls_blob_table_of_refusals),
		UNIT_TEST(test_tls_blob_has_no_nonce_for_reading),
		UNIT_TEST(test_tls_blob_refuses_every_other_length),
		UNIT_TEST(test_tls_blob_has_no_idle_bit),
		UNIT_TEST(test_tls_blob_that_does_not_fit_leaves_nothing),
		UNIT_TEST(test_tls_moves_between_any_two_records),
		UNIT_TEST(test_tls_never_uses_a_nonce_twice),
		UNIT_TEST(test_tls_a_copy_would_be_found),
		UNIT_TEST(test_tls_contexts_forget_keys),
		UNIT_TEST(test_tls_a_failed_seal_is_not_repeated),
		UNIT_TEST(test_tls_failures_of_libcrypto_kill),
		UNIT_TEST(test_tls_failures_of_libcrypto_begin_nothing),
	};
	int status;

	crypto = tls_crypto_create();
	elsewhere = tls_crypto_create();
	if (!crypto || !elsewhere)
		return EXIT_FAILURE;
	status = unit_run("tls-move", tests, UNIT_COUNT(tests));
	free(uses);
	tls_crypto_destroy(&crypto);
	tls_crypto_destroy(&elsewhere);
	return status;
}
