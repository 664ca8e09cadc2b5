/* SPDX-License-Identifier: MIT */
/* The named crypt schemes ({SHA512-CRYPT} and so on) differ from {CRYPT} only
 * in the prefix that their hashes must have: libcrypt goes by the prefix. */
#include "auth/password.h"

#include <assert.h>
#include <crypt.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "auth/argon2.h"
#include "auth/scram-keys.h"

static_assert(PASSWORD_HASH_MAX_BYTES == CRYPT_OUTPUT_SIZE - 1, "libcrypt's limit");

static const struct scheme {
	const char *name;
	enum password_scheme scheme;
	const char *prefix;	/* of the hash; NULL: any */
} schemes[] = {
	{ "PLAIN",		PASSWORD_PLAIN,	NULL },
	{ "CLEARTEXT",		PASSWORD_PLAIN,	NULL },
	{ "CRYPT",		PASSWORD_CRYPT,	NULL },
	{ "SHA512-CRYPT",	PASSWORD_CRYPT,	"$6$" },
	{ "SHA256-CRYPT",	PASSWORD_CRYPT,	"$5$" },
	{ "BLF-CRYPT",		PASSWORD_CRYPT,	"$2" },
	{ "MD5-CRYPT",		PASSWORD_CRYPT,	"$1$" },
	{ "ARGON2I",		PASSWORD_ARGON2, "$argon2i$" },
	{ "ARGON2ID",		PASSWORD_ARGON2, "$argon2id$" },
	{ "SCRAM-SHA-256",	PASSWORD_SCRAM,	NULL },
};

/* The scheme of that name, or NULL. */
static const struct scheme *scheme_find(const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
		if (strlen(schemes[i].name) == len &&
			strncasecmp(schemes[i].name, name, len) == 0)
			return &schemes[i];
	return NULL;
}

static const char *crypt_check(const char *hash)
{
	switch (crypt_checksalt(hash)) {
	case CRYPT_SALT_INVALID:
	case CRYPT_SALT_METHOD_DISABLED:
		return "libcrypt does not know this kind of hash";
	default:
		return NULL;
	}
}

static const char *hash_check(const struct scheme *scheme, const char *hash)
{
	struct scram_keys keys;

	if (scheme->prefix && strncmp(hash, scheme->prefix, strlen(scheme->prefix)) != 0)
		return "the hash is not one of its scheme";
	if (strlen(hash) > PASSWORD_HASH_MAX_BYTES)
		return "the hash is too long";
	switch (scheme->scheme) {
	case PASSWORD_CRYPT:	return crypt_check(hash);
	case PASSWORD_ARGON2:	return argon2_hash_check(hash);
	case PASSWORD_SCRAM:	return scram_keys_parse(hash, &keys);
	case PASSWORD_PLAIN:
	case PASSWORD_LOCKED:	break;
	}
	return NULL;
}

const char *password_parse(const char *field, enum password_scheme *scheme_r,
	const char **hash_r)
{
	const struct scheme *scheme = scheme_find("CRYPT", 5);

	if (*field == '{') {
		const char *end = strchr(field, '}');
		if (!end)
			return "the password scheme has no }";
		scheme = scheme_find(field + 1, (size_t)(end - field - 1));
		if (!scheme)
			return "this password scheme is not known here";
		field = end + 1;
	}
	*hash_r = field;
	*scheme_r = scheme->scheme;
	if (*field == '\0')
		return "there is no password";
	if (scheme->scheme == PASSWORD_PLAIN)
		return NULL;
	if (*field == '*' || *field == '!') {
		*scheme_r = PASSWORD_LOCKED;
		return NULL;
	}
	return hash_check(scheme, field);
}

/* Takes the time that the longer one needs, equal or not. */
static bool text_equal(const char *a, const char *b)
{
	size_t a_len = strlen(a), b_len = strlen(b);
	size_t n = a_len > b_len ? a_len : b_len;
	volatile uint8_t differs = a_len != b_len;

	for (size_t i = 0; i < n; i++) {
		uint8_t x = i < a_len ? (uint8_t)a[i] : 0;
		uint8_t y = i < b_len ? (uint8_t)b[i] : 0;
		differs |= x ^ y;
	}
	return !differs;
}

static bool crypt_matches(const char *hash, const char *password)
{
	/* 32 KiB, used by one at a time: each worker is a process. */
	static struct crypt_data data;

	const char *made = crypt_r(password, hash, &data);
	/* At a failure libcrypt returns "*0" or "*1", whichever is not hash. */
	bool match = made && made[0] != '*' && text_equal(made, hash);
	explicit_bzero(&data, sizeof(data));
	return match;
}

bool password_matches(enum password_scheme scheme, const char *hash, const char *password)
{
	switch (scheme) {
	case PASSWORD_PLAIN:	return text_equal(hash, password);
	case PASSWORD_CRYPT:	return crypt_matches(hash, password);
	case PASSWORD_ARGON2:	return argon2_hash_matches(hash, password);
	case PASSWORD_SCRAM:	return scram_keys_match(hash, password);
	case PASSWORD_LOCKED:	return false;
	}
	return false;
}
