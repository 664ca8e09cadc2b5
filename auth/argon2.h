/* SPDX-License-Identifier: MIT */
#ifndef AUTH_ARGON2_H
#define AUTH_ARGON2_H
/* {ARGON2I} and {ARGON2ID} (RFC 9106), through libargon2. */
#include <stdbool.h>

/* A hash that wants more is not served: with every worker at one of those, the
 * machine must still have memory for mail. */
#define ARGON2_MEMORY_MAX_KIB	(1024u * 1024)
#define ARGON2_PASSES_MAX	1000u
#define ARGON2_LANES_MAX	64u

/* "$argon2id$v=19$m=65536,t=3,p=4$salt$hash". NULL, or what is wrong. */
const char *argon2_hash_check(const char *hash);
/* Takes the time and the memory that the hash asks for. */
bool argon2_hash_matches(const char *hash, const char *password);
#endif
