/* SPDX-License-Identifier: MIT */
#ifndef LIB_BASE64_H
#define LIB_BASE64_H
/* Base64 (RFC 4648 section 4), strict: its alphabet, padding where it belongs
 * and nowhere else, no bits left over. Pure; for secrets too: nothing of what
 * goes through stays behind. */
#include <stdbool.h>
#include <stddef.h>

/* Room for what n characters decode to. */
#define BASE64_DECODED_MAX(n)	((n) / 4 * 3)
/* Room for n bytes encoded, with a NUL. */
#define BASE64_ENCODED_SIZE(n)	(((n) + 2) / 3 * 4 + 1)

/* out has room for BASE64_DECODED_MAX(len). False: not base64. */
bool base64_decode(const char *in, size_t len, void *out, size_t *len_r);
/* out has room for BASE64_ENCODED_SIZE(len); ends in NUL. */
void base64_encode(const void *in, size_t len, char *out);
#endif
