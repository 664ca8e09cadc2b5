/* SPDX-License-Identifier: MIT */
#ifndef LIB_HKDF_H
#define LIB_HKDF_H
/* HKDF-SHA256 and HMAC-SHA256 (RFC 5869, RFC 2104) through OpenSSL's EVP. */
#include <stddef.h>
#include <stdint.h>
/* 0 or -EIO. salt may be NULL. out_len <= 255*32. */
int hkdf_sha256(const void *key, size_t key_len, const void *salt, size_t salt_len,
		const void *info, size_t info_len, uint8_t *out, size_t out_len);
int hmac_sha256(const void *key, size_t key_len, const void *data, size_t len,
		uint8_t out[32]);
#endif
