/* SPDX-License-Identifier: MIT */
#ifndef AUTH_PASSWORD_H
#define AUTH_PASSWORD_H
/* Password schemes: is this the password of that hash? */
#include <stdbool.h>
#include <stddef.h>

/* libcrypt reads no more than this of a password. */
#define PASSWORD_MAX_BYTES	511
/* Longest hash; libcrypt's own limit. A password in plain text may be longer. */
#define PASSWORD_HASH_MAX_BYTES	383

enum password_scheme {
	PASSWORD_PLAIN,		/* the hash is the password */
	PASSWORD_CRYPT,		/* whatever libcrypt knows */
	PASSWORD_ARGON2,	/* auth/argon2.h */
	PASSWORD_SCRAM,		/* auth/scram-keys.h */
	PASSWORD_LOCKED,	/* nothing matches: "*", "!..." */
};
/* Splits "{SCHEME}hash" (without a scheme: CRYPT) and checks that the hash is
 * one of its scheme. NULL when it is good, else what is wrong with it. */
const char *password_parse(const char *field, enum password_scheme *scheme_r,
			   const char **hash_r);
/* Costs what its hash says: up to seconds for all but PASSWORD_PLAIN. */
bool password_matches(enum password_scheme scheme, const char *hash, const char *password);
#endif
