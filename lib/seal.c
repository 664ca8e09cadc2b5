/* SPDX-License-Identifier: MIT */
/* AES-256-GCM with a random nonce. A key seals one session's states only, so
 * the number of nonces under one key stays far below 2^32, where random ones
 * of 96 bits would begin to be a risk. The format byte is authenticated too:
 * it is the first byte of the additional data. */
#include "lib/seal.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/evp.h>

#include "lib/buf.h"

#define SEAL_FORMAT	 1
#define SEAL_NONCE_BYTES 12
#define SEAL_TAG_BYTES	 16
#define SEAL_HEAD_BYTES	 (1 + SEAL_NONCE_BYTES)

_Static_assert(SEAL_OVERHEAD == SEAL_HEAD_BYTES + SEAL_TAG_BYTES, "sealed layout");

/* Fetched once, kept until the process ends: fetching costs more than sealing
 * a state does. */
static const EVP_CIPHER *seal_cipher(void)
{
	static EVP_CIPHER *cipher;

	if (!cipher)
		cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	return cipher;
}

static EVP_CIPHER_CTX *seal_context(const struct seal_key *key, const uint8_t *nonce,
	const void *aad, size_t aad_len, int encrypt)
{
	static const uint8_t format = SEAL_FORMAT;
	const EVP_CIPHER *cipher = seal_cipher();
	EVP_CIPHER_CTX *ctx = cipher ? EVP_CIPHER_CTX_new() : NULL;
	int n;

	if (!ctx)
		return NULL;
	if (EVP_CipherInit_ex2(ctx, cipher, key->bytes, nonce, encrypt, NULL) == 1 &&
	    EVP_CipherUpdate(ctx, NULL, &n, &format, 1) == 1 &&
	    (aad_len == 0 || EVP_CipherUpdate(ctx, NULL, &n, aad, (int)aad_len) == 1))
		return ctx;
	EVP_CIPHER_CTX_free(ctx);
	return NULL;
}

/* Writes len bytes at out; 1 if OpenSSL was content. */
static int seal_run(EVP_CIPHER_CTX *ctx, const uint8_t *in, size_t len, uint8_t *out)
{
	int n = 0, last = 0;

	if (len > 0 && EVP_CipherUpdate(ctx, out, &n, in, (int)len) != 1)
		return 0;
	/* GCM writes nothing at the end; out + n is still inside the buffer. */
	return EVP_CipherFinal_ex(ctx, out + n, &last) == 1 && (size_t)(n + last) == len;
}

int seal_close(const struct seal_key *key, const void *aad, size_t aad_len,
	const void *plain, size_t len, struct buf *out)
{
	if (len > INT_MAX - SEAL_OVERHEAD || aad_len > INT_MAX)
		return -EMSGSIZE;
	uint8_t *sealed = buf_reserve(out, len + SEAL_OVERHEAD);
	if (!sealed)
		return -ENOBUFS;
	sealed[0] = SEAL_FORMAT;
	int ret = seal_random(sealed + 1, SEAL_NONCE_BYTES);
	if (ret < 0)
		return ret;
	EVP_CIPHER_CTX *ctx = seal_context(key, sealed + 1, aad, aad_len, 1);
	if (!ctx)
		return -EIO;
	int ok = seal_run(ctx, plain, len, sealed + SEAL_HEAD_BYTES) &&
		 EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, SEAL_TAG_BYTES,
			 sealed + SEAL_HEAD_BYTES + len) == 1;
	EVP_CIPHER_CTX_free(ctx);
	if (!ok)
		return -EIO;
	buf_added(out, len + SEAL_OVERHEAD);
	return 0;
}

int seal_open(const struct seal_key *key, const void *aad, size_t aad_len,
	const void *sealed_data, size_t sealed_len, struct buf *out)
{
	const uint8_t *sealed = sealed_data;
	uint8_t tag[SEAL_TAG_BYTES];

	if (sealed_len < SEAL_OVERHEAD || sealed_len > INT_MAX || sealed[0] != SEAL_FORMAT)
		return SEAL_E_FORMAT;
	if (aad_len > INT_MAX)
		return -EMSGSIZE;
	size_t len = sealed_len - SEAL_OVERHEAD;
	uint8_t none[1];
	uint8_t *plain = len > 0 ? buf_reserve(out, len) : none;
	if (!plain)
		return -ENOBUFS;
	EVP_CIPHER_CTX *ctx = seal_context(key, sealed + 1, aad, aad_len, 0);
	if (!ctx)
		return -EIO;
	memcpy(tag, sealed + SEAL_HEAD_BYTES + len, sizeof(tag));
	int ret = SEAL_E_FORGED;
	if (EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, sizeof(tag), tag) != 1)
		ret = -EIO;
	else if (seal_run(ctx, sealed + SEAL_HEAD_BYTES, len, plain))
		ret = 0;
	EVP_CIPHER_CTX_free(ctx);
	if (ret == 0)
		buf_added(out, len);
	else
		explicit_bzero(plain, len);	/* unauthenticated bytes */
	return ret;
}

void seal_key_wipe(struct seal_key *key)
{
	explicit_bzero(key, sizeof(*key));
}

int seal_random(void *out, size_t len)
{
	uint8_t *p = out;

	while (len > 0) {
		ssize_t n = getrandom(p, len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}
