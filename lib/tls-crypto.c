/* SPDX-License-Identifier: MIT */
/* All of the record layer that asks libcrypto. A process has one context for
 * each suite and direction and puts the key of whichever session comes next
 * into it: an idle session costs no context, and a busy one, whose key is in
 * it still, costs no key schedule. Which key that is says a number that is
 * never used twice in a process: a pointer or a session's number may be. */
#include "lib/tls-record-private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#define SUITES	3

enum { OPEN, SEAL };	/* as EVP's enc */

struct keyed {
	EVP_CIPHER_CTX *ctx;
	uint64_t id;	/* the key inside; 0: none */
};

struct tls_crypto {
	EVP_CIPHER *ciphers[SUITES];
	struct keyed keyed[SUITES][2];
	EVP_KDF_CTX *hkdf, *prf;
};

static const struct tls_suite_info infos[SUITES] = {
	{ "AES-128-GCM", "SHA256", "TLS_AES_128_GCM_SHA256", "AES128-GCM", 16, 32, true },
	{ "AES-256-GCM", "SHA384", "TLS_AES_256_GCM_SHA384", "AES256-GCM", 32, 48, true },
	{ "ChaCha20-Poly1305", "SHA256", "TLS_CHACHA20_POLY1305_SHA256",
	  "CHACHA20-POLY1305", 32, 32, false },
};

const struct tls_suite_info *tls_suite_info(unsigned suite)
{
	return suite - 1 < SUITES ? &infos[suite - 1] : NULL;
}

const char *tls_version_name(enum tls_version v)
{
	switch (v) {
	case TLS_V12: return "TLSv1.2";
	case TLS_V13: return "TLSv1.3";
	}
	return "?";
}

const char *tls_suite_name(enum tls_version v, enum tls_suite s)
{
	const struct tls_suite_info *info = tls_suite_info(s);

	if (!info)
		return "?";
	return v == TLS_V13 ? info->name13 : info->name12;
}

uint64_t tls_key_id(void)
{
	static uint64_t last;

	return ++last;
}

static EVP_KDF_CTX *kdf_create(const char *name)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, name, NULL);
	EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;

	EVP_KDF_free(kdf);
	return ctx;
}

/* The first use of an algorithm may read files, which a sandbox forbids later. */
static int crypto_warm(struct tls_crypto *c)
{
	static const uint8_t zeros[48];
	uint8_t out[64];
	int ret = 0;

	for (unsigned i = 0; i < SUITES && ret == 0; i++) {
		struct tls_direction d = { .id = tls_key_id() };
		struct tls_sealing s = { .suite = i + 1, .dir = &d, .aad_len = 13 };

		ret = tls_crypto_seal(c, &s, zeros, 16, -1, out);
		if (ret == 0)
			ret = tls_crypto_open(c, &s, out, 16);
		if (ret == 0)
			ret = tls_crypto_expand(c, i + 1, zeros, "key", out, 16);
		if (ret == 0)
			ret = tls_crypto_prf(c, i + 1, zeros, zeros, 16, out, 16);
	}
	return ret;
}

struct tls_crypto *tls_crypto_create(void)
{
	struct tls_crypto *c = calloc(1, sizeof(*c));
	bool good = c != NULL;

	for (size_t i = 0; good && i < SUITES; i++) {
		c->ciphers[i] = EVP_CIPHER_fetch(NULL, infos[i].cipher, NULL);
		c->keyed[i][OPEN].ctx = EVP_CIPHER_CTX_new();
		c->keyed[i][SEAL].ctx = EVP_CIPHER_CTX_new();
		good = c->ciphers[i] && c->keyed[i][OPEN].ctx && c->keyed[i][SEAL].ctx;
	}
	if (good) {
		c->hkdf = kdf_create("TLS13-KDF");
		c->prf = kdf_create("TLS1-PRF");
		good = c->hkdf && c->prf && crypto_warm(c) == 0;
	}
	if (!good)
		tls_crypto_destroy(&c);
	return c;
}

void tls_crypto_destroy(struct tls_crypto **c)
{
	if (!*c)
		return;
	for (size_t i = 0; i < SUITES; i++) {
		EVP_CIPHER_CTX_free((*c)->keyed[i][OPEN].ctx);
		EVP_CIPHER_CTX_free((*c)->keyed[i][SEAL].ctx);
		EVP_CIPHER_free((*c)->ciphers[i]);
	}
	EVP_KDF_CTX_free((*c)->hkdf);
	EVP_KDF_CTX_free((*c)->prf);
	free(*c);
	*c = NULL;
}

static void keyed_forget(struct keyed *k)
{
	/* Frees the provider's part, which wipes it. */
	if (k->id)
		EVP_CIPHER_CTX_reset(k->ctx);
	k->id = 0;
}

/* Whatever is in it. Errors that stay in OpenSSL's queue would be taken for
 * those of the next handshake. */
static void keyed_failed(struct keyed *k)
{
	EVP_CIPHER_CTX_reset(k->ctx);
	k->id = 0;
	ERR_clear_error();
}

void tls_crypto_forget(struct tls_crypto *c)
{
	for (size_t i = 0; i < SUITES; i++) {
		keyed_forget(&c->keyed[i][OPEN]);
		keyed_forget(&c->keyed[i][SEAL]);
	}
}

/* The context with the record's key, nonce and header in it, or NULL. */
static EVP_CIPHER_CTX *crypto_begin(struct tls_crypto *c, const struct tls_sealing *s,
	int enc)
{
	struct keyed *k = &c->keyed[s->suite - 1][enc];
	bool same = k->id == s->dir->id;
	int n;

	assert(s->dir->id != 0);
	if (EVP_CipherInit_ex2(k->ctx,
		    EVP_CIPHER_CTX_get0_cipher(k->ctx) ? NULL : c->ciphers[s->suite - 1],
		    same ? NULL : s->dir->key, s->nonce, enc, NULL) == 1 &&
	    EVP_CipherUpdate(k->ctx, NULL, &n, s->aad, (int)s->aad_len) == 1) {
		k->id = s->dir->id;
		return k->ctx;
	}
	keyed_failed(k);
	return NULL;
}

static bool crypto_run(EVP_CIPHER_CTX *ctx, const uint8_t *in, size_t len, uint8_t *out)
{
	int n = 0;

	return len == 0 ||
	       (EVP_CipherUpdate(ctx, out, &n, in, (int)len) == 1 && (size_t)n == len);
}

int tls_crypto_seal(struct tls_crypto *c, const struct tls_sealing *s,
	const uint8_t *plain, size_t len, int type, uint8_t *out)
{
	EVP_CIPHER_CTX *ctx = crypto_begin(c, s, SEAL);
	uint8_t type_byte = (uint8_t)type, none[TLS_TAG_BYTES];
	size_t typed = type >= 0;
	int n;

	/* Both ciphers are streams: nothing comes out at the end. */
	if (ctx && crypto_run(ctx, plain, len, out) &&
	    crypto_run(ctx, &type_byte, typed, out + len) &&
	    EVP_CipherFinal_ex(ctx, none, &n) == 1 && n == 0 &&
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TLS_TAG_BYTES,
		    out + len + typed) == 1)
		return 0;
	keyed_failed(&c->keyed[s->suite - 1][SEAL]);
	return -EIO;
}

int tls_crypto_open(struct tls_crypto *c, const struct tls_sealing *s, uint8_t *text,
	size_t len)
{
	EVP_CIPHER_CTX *ctx = crypto_begin(c, s, OPEN);
	uint8_t none[TLS_TAG_BYTES];
	int n;

	if (!ctx || !crypto_run(ctx, text, len, text) ||
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TLS_TAG_BYTES, text + len) != 1) {
		keyed_failed(&c->keyed[s->suite - 1][OPEN]);
		return -EIO;
	}
	if (EVP_CipherFinal_ex(ctx, none, &n) == 1)
		return 0;
	keyed_failed(&c->keyed[s->suite - 1][OPEN]);
	explicit_bzero(text, len);	/* nobody vouches for these bytes */
	return -EBADMSG;
}

/* EVP takes what it only reads as void *. */
static OSSL_PARAM octets(const char *name, const void *data, size_t len)
{
	return OSSL_PARAM_construct_octet_string(name, (void *)(uintptr_t)data, len);
}

static OSSL_PARAM digest_param(enum tls_suite suite)
{
	return OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
		(char *)(uintptr_t)infos[suite - 1].digest, 0);
}

static int kdf_run(EVP_KDF_CTX *ctx, const OSSL_PARAM params[], uint8_t *out, size_t n)
{
	int ok = EVP_KDF_derive(ctx, out, n, params) == 1;

	EVP_KDF_CTX_reset(ctx);	/* wipes its copy of the secret */
	if (!ok)
		ERR_clear_error();
	return ok ? 0 : -EIO;
}

int tls_crypto_expand(struct tls_crypto *c, enum tls_suite suite, const uint8_t *secret,
	const char *label, uint8_t *out, size_t n)
{
	int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
	const OSSL_PARAM params[] = {
		digest_param(suite),
		OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
		octets(OSSL_KDF_PARAM_KEY, secret, infos[suite - 1].secret_bytes),
		octets(OSSL_KDF_PARAM_PREFIX, "tls13 ", 6),
		octets(OSSL_KDF_PARAM_LABEL, label, strlen(label)),
		OSSL_PARAM_construct_end(),
	};

	return kdf_run(c->hkdf, params, out, n);
}

int tls_crypto_prf(struct tls_crypto *c, enum tls_suite suite, const uint8_t master[48],
	const uint8_t *seed, size_t seed_len, uint8_t *out, size_t n)
{
	const OSSL_PARAM params[] = {
		digest_param(suite),
		octets(OSSL_KDF_PARAM_SECRET, master, 48),
		octets(OSSL_KDF_PARAM_SEED, seed, seed_len),
		OSSL_PARAM_construct_end(),
	};

	return kdf_run(c->prf, params, out, n);
}

int tls_direction_derive(struct tls_crypto *c, enum tls_suite suite,
	struct tls_direction *d, uint64_t seq)
{
	int ret = tls_crypto_expand(c, suite, d->secret, "key", d->key,
		infos[suite - 1].key_bytes);

	if (ret == 0)
		ret = tls_crypto_expand(c, suite, d->secret, "iv", d->iv, sizeof(d->iv));
	d->seq = seq;
	d->id = tls_key_id();
	return ret;
}
