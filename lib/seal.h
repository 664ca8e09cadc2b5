/* SPDX-License-Identifier: MIT */
#ifndef LIB_SEAL_H
#define LIB_SEAL_H
/* Seal a blob: AES-256-GCM with a fresh random nonce of 96 bits.
 * Sealed form: format 1 byte (1), nonce 12, ciphertext, tag 16. */
#include <stddef.h>
#include <stdint.h>
struct buf;
#define SEAL_KEY_BYTES	32
#define SEAL_OVERHEAD	29
struct seal_key { uint8_t bytes[SEAL_KEY_BYTES]; };
enum seal_error { SEAL_E_FORMAT = 1, SEAL_E_FORGED = 2 };
/* Appends the sealed form to out. 0 or -errno. */
int seal_close(const struct seal_key *key, const void *aad, size_t aad_len,
	       const void *plain, size_t len, struct buf *out);
/* Appends the plain text to out (nothing on failure). 0, SEAL_E_*, -errno. */
int seal_open(const struct seal_key *key, const void *aad, size_t aad_len,
	      const void *sealed, size_t len, struct buf *out);
void seal_key_wipe(struct seal_key *key);
/* len random bytes; 0 or -errno. */
int seal_random(void *out, size_t len);
#endif
