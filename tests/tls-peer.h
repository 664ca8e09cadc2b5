/* SPDX-License-Identifier: MIT */
#ifndef TESTS_TLS_PEER_H
#define TESTS_TLS_PEER_H
/* The client's end of a record layer, for tests: written a second time, with
 * nothing of lib/tls-record.c, so that a mistake there does not meet itself
 * here. It seals whatever it is told to, sense or not. HMAC is libcrypto's,
 * what is made of it is spelled out; each record has a context of its own. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "lib/buf.h"
#include "lib/tls-record.h"

enum { PEER_CCS = 20, PEER_ALERT, PEER_HANDSHAKE, PEER_DATA, PEER_HEARTBEAT };

struct peer_dir {
	uint8_t secret[48], key[32], iv[12];
	uint64_t seq, nonce;	/* nonce: the explicit one that comes next */
};

struct peer {
	enum tls_version version;
	enum tls_suite suite;
	struct peer_dir rd, wr;
};

static inline void peer_must(bool good)
{
	if (!good)
		abort();
}

static inline const EVP_MD *peer_md(enum tls_suite s)
{
	return s == TLS_AES256_GCM_SHA384 ? EVP_sha384() : EVP_sha256();
}

static inline const EVP_CIPHER *peer_cipher(enum tls_suite s)
{
	return s == TLS_CHACHA20_SHA256	    ? EVP_chacha20_poly1305()
	       : s == TLS_AES256_GCM_SHA384 ? EVP_aes_256_gcm()
					    : EVP_aes_128_gcm();
}

static inline size_t peer_key_bytes(enum tls_suite s)
{
	return s == TLS_AES128_GCM_SHA256 ? 16 : 32;
}

static inline size_t peer_secret_bytes(enum tls_suite s)
{
	return s == TLS_AES256_GCM_SHA384 ? 48 : 32;
}

static inline bool peer_explicit(const struct peer *p)
{
	return p->version == TLS_V12 && p->suite != TLS_CHACHA20_SHA256;
}

/* RFC 8446 7.1, RFC 5869 2.3: one block is enough for all that a record needs. */
static inline void peer_expand(enum tls_suite s, const uint8_t *secret, const char *label,
			       uint8_t *out, size_t n)
{
	uint8_t info[64] = { (uint8_t)(n >> 8), (uint8_t)n }, block[EVP_MAX_MD_SIZE];
	size_t len = 2, label_len = strlen(label);

	info[len++] = (uint8_t)(6 + label_len);
	memcpy(info + len, "tls13 ", 6);
	memcpy(info + len + 6, label, label_len);
	len += 6 + label_len;
	info[len++] = 0;	/* no context */
	info[len++] = 1;	/* the first block */
	peer_must(HMAC(peer_md(s), secret, (int)peer_secret_bytes(s), info, len, block, NULL));
	memcpy(out, block, n);
}

/* RFC 5246 5: P_hash. */
static inline void peer_prf(enum tls_suite s, const uint8_t master[48], const uint8_t *seed,
			    size_t seed_len, uint8_t *out, size_t n)
{
	uint8_t a[EVP_MAX_MD_SIZE + 128], block[EVP_MAX_MD_SIZE];
	size_t hash = peer_secret_bytes(s);

	peer_must(HMAC(peer_md(s), master, 48, seed, seed_len, a, NULL));
	while (n > 0) {
		size_t take = n < hash ? n : hash;

		memcpy(a + hash, seed, seed_len);
		peer_must(HMAC(peer_md(s), master, 48, a, hash + seed_len, block, NULL));
		memcpy(out, block, take);
		out += take;
		n -= take;
		peer_must(HMAC(peer_md(s), master, 48, a, hash, block, NULL));
		memcpy(a, block, hash);
	}
}

static inline void peer_derive(enum tls_suite s, struct peer_dir *d)
{
	peer_expand(s, d->secret, "key", d->key, peer_key_bytes(s));
	peer_expand(s, d->secret, "iv", d->iv, 12);
	d->seq = 0;
}

/* RFC 8446 7.2. */
static inline void peer_update(enum tls_suite s, struct peer_dir *d)
{
	uint8_t next[48];

	peer_expand(s, d->secret, "traffic upd", next, peer_secret_bytes(s));
	memcpy(d->secret, next, peer_secret_bytes(s));
	peer_derive(s, d);
}

static inline void peer_init13(struct peer *p, enum tls_suite s, const uint8_t *client_secret,
			       const uint8_t *server_secret)
{
	*p = (struct peer) { .version = TLS_V13, .suite = s };
	memcpy(p->wr.secret, client_secret, peer_secret_bytes(s));
	memcpy(p->rd.secret, server_secret, peer_secret_bytes(s));
	peer_derive(s, &p->wr);
	peer_derive(s, &p->rd);
}

/* RFC 5246 6.3. Both have sent Finished: one record each. */
static inline void peer_init12(struct peer *p, enum tls_suite s, const uint8_t master[48],
			       const uint8_t client_random[32], const uint8_t server_random[32])
{
	uint8_t seed[13 + 64], block[88];
	size_t key = peer_key_bytes(s), iv = s == TLS_CHACHA20_SHA256 ? 12 : 4;

	*p = (struct peer) { .version = TLS_V12, .suite = s };
	memcpy(seed, "key expansion", 13);
	memcpy(seed + 13, server_random, 32);
	memcpy(seed + 45, client_random, 32);
	peer_prf(s, master, seed, sizeof(seed), block, 2 * (key + iv));
	memcpy(p->wr.key, block, key);
	memcpy(p->rd.key, block + key, key);
	memcpy(p->wr.iv, block + 2 * key, iv);
	memcpy(p->rd.iv, block + 2 * key + iv, iv);
	p->wr.seq = p->rd.seq = 1;
	p->wr.nonce = 0x1122334455667788;
}

static inline void peer_be64(uint8_t out[8], uint64_t v)
{
	for (int i = 7; i >= 0; i--, v >>= 8)
		out[i] = (uint8_t)v;
}

static inline void peer_nonce(const struct peer *p, const struct peer_dir *d,
			      const uint8_t *explicit_part, uint8_t nonce[12])
{
	uint8_t seq[8];

	memcpy(nonce, d->iv, 12);
	peer_be64(seq, d->seq);
	for (int i = 0; i < 8; i++)
		nonce[4 + i] = peer_explicit(p) ? explicit_part[i] : nonce[4 + i] ^ seq[i];
}

static inline size_t peer_aad(const struct peer *p, const struct peer_dir *d,
			      const uint8_t header[5], size_t len, uint8_t aad[13])
{
	size_t at = p->version == TLS_V12 ? 8 : 0;

	peer_be64(aad, d->seq);
	memcpy(aad + at, header, 5);
	if (p->version == TLS_V12) {
		aad[11] = (uint8_t)(len >> 8);
		aad[12] = (uint8_t)len;
	}
	return at + 5;
}

/* Appends a record; text may be too long, pad are zeros behind the type (1.3). */
static inline void peer_seal(struct peer *p, int type, const void *text, size_t len, size_t pad,
			     struct buf *out)
{
	bool v13 = p->version == TLS_V13;
	size_t head = 5 + (peer_explicit(p) ? 8 : 0), inner = len + (v13 ? 1 + pad : 0);
	uint8_t *r = buf_reserve(out, head + inner + 16), *body, nonce[12], aad[13];
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n;

	peer_must(r && ctx);
	body = r + head;
	r[0] = (uint8_t)(v13 ? PEER_DATA : type);
	r[1] = r[2] = 3;
	r[3] = (uint8_t)((head - 5 + inner + 16) >> 8);
	r[4] = (uint8_t)(head - 5 + inner + 16);
	if (head > 5)
		peer_be64(r + 5, p->wr.nonce++);
	memset(body, 0, inner);
	if (len)
		memcpy(body, text, len);
	if (v13)
		body[len] = (uint8_t)type;
	peer_nonce(p, &p->wr, r + 5, nonce);
	size_t aad_len = peer_aad(p, &p->wr, r, inner, aad);
	peer_must(EVP_EncryptInit_ex(ctx, peer_cipher(p->suite), NULL, p->wr.key, nonce) == 1 &&
		  EVP_EncryptUpdate(ctx, NULL, &n, aad, (int)aad_len) == 1 &&
		  EVP_EncryptUpdate(ctx, body, &n, body, (int)inner) == 1 &&
		  EVP_EncryptFinal_ex(ctx, aad, &n) == 1 &&
		  EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, body + inner) == 1);
	EVP_CIPHER_CTX_free(ctx);
	p->wr.seq++;
	buf_added(out, head + inner + 16);
}

/* A KeyUpdate, and on to the next key. */
static inline void peer_seal_update(struct peer *p, bool request, struct buf *out)
{
	const uint8_t text[5] = { 24, 0, 0, 1, request };

	peer_seal(p, PEER_HANDSHAKE, text, sizeof(text), 0, out);
	peer_update(p->suite, &p->wr);
}

/* Opens the record at r in place; text points into it. The bytes it took, 0
 * when it is not whole or not authentic. */
static inline size_t peer_open(struct peer *p, uint8_t *r, size_t have, int *type,
			       uint8_t **text, size_t *len)
{
	size_t head = 5 + (peer_explicit(p) ? 8 : 0), whole, n_text;
	uint8_t nonce[12], aad[13];
	EVP_CIPHER_CTX *ctx;
	int n, good;

	if (have < 5 || have < (whole = 5 + ((size_t)r[3] << 8 | r[4])) || whole < head + 16)
		return 0;
	n_text = whole - head - 16;
	peer_nonce(p, &p->rd, r + 5, nonce);
	size_t aad_len = peer_aad(p, &p->rd, r, n_text, aad);
	peer_must((ctx = EVP_CIPHER_CTX_new()) != NULL);
	good = EVP_DecryptInit_ex(ctx, peer_cipher(p->suite), NULL, p->rd.key, nonce) == 1 &&
	       EVP_DecryptUpdate(ctx, NULL, &n, aad, (int)aad_len) == 1 &&
	       (!n_text || EVP_DecryptUpdate(ctx, r + head, &n, r + head, (int)n_text) == 1) &&
	       EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, 16, r + head + n_text) == 1 &&
	       EVP_DecryptFinal_ex(ctx, aad, &n) == 1;
	EVP_CIPHER_CTX_free(ctx);
	if (!good)
		return 0;
	p->rd.seq++;
	*type = r[0];
	while (p->version == TLS_V13 && n_text > 0 && r[head + n_text - 1] == 0)
		n_text--;
	if (p->version == TLS_V13) {
		if (n_text == 0)
			return 0;
		*type = r[head + --n_text];
	}
	*text = r + head;
	*len = n_text;
	if (p->version == TLS_V13 && *type == PEER_HANDSHAKE && n_text == 5 && r[head] == 24)
		peer_update(p->suite, &p->rd);
	return whole;
}

/* A server's state and its client, both at the start. */
static inline void peer_pair(struct tls_crypto *c, enum tls_version v, enum tls_suite s,
			     struct tls_record *t, struct peer *p)
{
	uint8_t a[48], b[48];

	for (size_t i = 0; i < 48; i++) {
		a[i] = (uint8_t)(i * 7 + s);
		b[i] = (uint8_t)(i * 11 + 100 + s);
	}
	if (v == TLS_V13) {
		peer_must(tls_record_init13(c, t, s, a, 0, b, 0) == 0);
		peer_init13(p, s, a, b);
	} else {
		peer_must(tls_record_init12(c, t, s, a, b, b + 16, 1, 1, UINT64_MAX - 2) == 0);
		peer_init12(p, s, a, b, b + 16);
	}
}
#endif
