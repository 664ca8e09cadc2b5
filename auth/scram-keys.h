/* SPDX-License-Identifier: MIT */
#ifndef AUTH_SCRAM_KEYS_H
#define AUTH_SCRAM_KEYS_H
/* What a server keeps of a SCRAM-SHA-256 password (RFC 5802 section 3, RFC
 * 7677): enough to check it, not enough to log in with it. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCRAM_KEY_BYTES		32
#define SCRAM_SALT_MAX_BYTES	64
/* RFC 7677 section 4 asks for at least 4096; that many are used with passwords
 * in plain text, where a client pays for them and the file gains nothing. */
#define SCRAM_ITERATIONS	4096
/* Whoever logs in with LOGIN lets a worker count that far: a few seconds. */
#define SCRAM_ITERATIONS_MAX	5000000

struct scram_keys {
	uint32_t iterations;
	size_t salt_len;
	uint8_t salt[SCRAM_SALT_MAX_BYTES];
	uint8_t stored[SCRAM_KEY_BYTES], server[SCRAM_KEY_BYTES];
};
/* "iterations,salt,StoredKey,ServerKey", the last three in base64, as Dovecot
 * writes it. NULL, or what is wrong. */
const char *scram_keys_parse(const char *text, struct scram_keys *keys_r);
/* From the password, iterations and salt in keys: sets the other two. Takes its
 * time. False: the password cannot be one (RFC 4013), or no memory. */
bool scram_keys_derive(const char *password, struct scram_keys *keys);
/* LOGIN with a password whose keys are stored. Takes its time, too. */
bool scram_keys_match(const char *text, const char *password);
#endif
