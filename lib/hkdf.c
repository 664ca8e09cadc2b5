/* SPDX-License-Identifier: MIT */
/* HMAC-SHA256 is OpenSSL's EVP_MAC; HKDF (RFC 5869) is three lines over it, so
 * one cached fetch serves both. EVP_KDF would do the same with two fetches and
 * a parameter array for each of its inputs. The fetch happens at the first
 * call: make one before a sandbox, since OpenSSL may read its configuration. */
#include "lib/hkdf.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#define HASH_BYTES 32

/* Fetched once, kept until the process ends. */
static EVP_MAC *hmac_fetched;
static EVP_MAC_CTX *hmac_template;

struct chunk {
	const void *data;
	size_t len;
};

static int hmac_prepare(void)
{
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};

	if (hmac_template)
		return 0;
	if (!hmac_fetched)
		hmac_fetched = EVP_MAC_fetch(NULL, "HMAC", NULL);
	if (!hmac_fetched)
		return -EIO;
	EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(hmac_fetched);
	if (!ctx || EVP_MAC_CTX_set_params(ctx, params) != 1) {
		EVP_MAC_CTX_free(ctx);
		return -EIO;
	}
	hmac_template = ctx;
	return 0;
}

static int hmac_chunks(const void *key, size_t key_len, const struct chunk *chunks,
	size_t n, uint8_t out[HASH_BYTES])
{
	static const uint8_t none[1];
	size_t out_len = 0;

	if (hmac_prepare() < 0)
		return -EIO;
	EVP_MAC_CTX *ctx = EVP_MAC_CTX_dup(hmac_template);
	if (!ctx)
		return -EIO;
	/* A NULL key would mean "the key of last time". */
	int ok = EVP_MAC_init(ctx, key_len ? key : none, key_len, NULL) == 1;
	for (size_t i = 0; ok && i < n; i++)
		if (chunks[i].len)
			ok = EVP_MAC_update(ctx, chunks[i].data, chunks[i].len) == 1;
	if (ok)
		ok = EVP_MAC_final(ctx, out, &out_len, HASH_BYTES) == 1;
	EVP_MAC_CTX_free(ctx);
	return ok && out_len == HASH_BYTES ? 0 : -EIO;
}

int hmac_sha256(const void *key, size_t key_len, const void *data, size_t len,
	uint8_t out[32])
{
	struct chunk chunk = { data, len };

	return hmac_chunks(key, key_len, &chunk, 1, out);
}

/* RFC 5869 2.3: T(n) = HMAC(PRK, T(n-1) | info | n). */
static int hkdf_expand(const uint8_t prk[HASH_BYTES], const void *info, size_t info_len,
	uint8_t *out, size_t out_len)
{
	uint8_t t[HASH_BYTES];
	size_t t_len = 0;
	int ret = 0;

	for (uint8_t n = 1; out_len > 0; n++) {
		struct chunk chunks[] = { { t, t_len }, { info, info_len }, { &n, 1 } };
		ret = hmac_chunks(prk, HASH_BYTES, chunks, 3, t);
		if (ret < 0)
			break;
		t_len = sizeof(t);
		size_t take = out_len < sizeof(t) ? out_len : sizeof(t);
		memcpy(out, t, take);
		out += take;
		out_len -= take;
	}
	explicit_bzero(t, sizeof(t));
	return ret;
}

int hkdf_sha256(const void *key, size_t key_len, const void *salt, size_t salt_len,
	const void *info, size_t info_len, uint8_t *out, size_t out_len)
{
	static const uint8_t zeros[HASH_BYTES];
	uint8_t prk[HASH_BYTES];

	assert(out_len <= 255 * HASH_BYTES);
	/* RFC 5869 2.2: no salt is a salt of zeros. */
	int ret = salt ? hmac_sha256(salt, salt_len, key, key_len, prk)
		       : hmac_sha256(zeros, sizeof(zeros), key, key_len, prk);
	if (ret == 0)
		ret = hkdf_expand(prk, info, info_len, out, out_len);
	explicit_bzero(prk, sizeof(prk));
	if (ret < 0)
		explicit_bzero(out, out_len);
	return ret;
}
