/* SPDX-License-Identifier: MIT */
/* ARGON2 hashes and stored SCRAM keys: what is taken for one, and that it
 * matches its password and no other. */
#include <argon2.h>
#include <string.h>

#include "auth/argon2.h"
#include "auth/password.h"
#include "auth/scram-keys.h"
#include "lib/base64.h"
#include "tests/unit.h"

static bool matches(const char *field, const char *password)
{
	enum password_scheme scheme;
	const char *hash;

	return password_parse(field, &scheme, &hash) == NULL &&
	       password_matches(scheme, hash, password);
}

static void test_argon2_hashes_match_their_password(void)
{
	char text[256], field[300];

	for (int i = 0; i < 4; i++) {
		bool id = i & 1;
		uint32_t lanes = i & 2 ? 3 : 1;
		require((id ? argon2id_hash_encoded : argon2i_hash_encoded)(2, 64, lanes,
			"geheim", 6, "saltsaltsalt", 12, 32, text, sizeof(text)) == ARGON2_OK);
		snprintf(field, sizeof(field), "{ARGON2I%s}%s", id ? "D" : "", text);
		check_row(matches(field, "geheim"), i);
		check_row(!matches(field, "Geheim"), i);
		check_row(!matches(field, ""), i);
		check_row(!matches(field, "geheim "), i);
		/* Any other byte in the hash is another hash, or none. */
		field[strlen(field) - 3] ^= 1;
		check_row(!matches(field, "geheim"), i);
	}
}

/* Of libargon2's older format without a version. */
static void test_argon2_without_a_version_is_the_first(void)
{
	uint8_t made[32];
	char b64[BASE64_ENCODED_SIZE(32)], field[300];

	require(argon2_hash(2, 64, 1, "geheim", 6, "saltsaltsalt", 12, made, sizeof(made), NULL,
			0, Argon2_i, ARGON2_VERSION_10) == ARGON2_OK);
	base64_encode(made, sizeof(made), b64);
	b64[strcspn(b64, "=")] = '\0';
	snprintf(field, sizeof(field), "{ARGON2I}$argon2i$m=64,t=2,p=1$c2FsdHNhbHRzYWx0$%s", b64);
	check(matches(field, "geheim") && !matches(field, "x"));
}

#define GOOD_END	"$c2FsdHNhbHRzYWx0$bm90IHJlYWxseSBhIGhhc2g"

static void test_argon2_hashes_that_are_refused(void)
{
	static const char *const rows[] = {
		"", "x", "$argon2id$", "$argon2d$v=19$m=64,t=2,p=1" GOOD_END,
		"$argon2id$v=19$m=64,t=2,p=1", "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0",
		"$argon2id$v=18$m=64,t=2,p=1" GOOD_END,
		"$argon2id$v=19$m=1048577,t=2,p=1" GOOD_END,
		"$argon2id$v=19$m=4294967296,t=2,p=1" GOOD_END,
		"$argon2id$v=19$m=18446744073709551680,t=2,p=1" GOOD_END,
		"$argon2id$v=19$m=64,t=0,p=1" GOOD_END,
		"$argon2id$v=19$m=64,t=1001,p=1" GOOD_END,
		"$argon2id$v=19$m=64,t=2,p=0" GOOD_END,
		"$argon2id$v=19$m=64,t=2,p=9" GOOD_END,
		"$argon2id$v=19$m=600000,t=2,p=65" GOOD_END,
		"$argon2id$v=19$m=-64,t=2,p=1" GOOD_END,
		"$argon2id$v=19$t=2,m=64,p=1" GOOD_END,
		"$argon2id$v=19$m=64,t=2,p=1" GOOD_END "$",
		"$argon2id$v=19$m=64,t=2,p=1" GOOD_END "=",
		"$argon2id$v=19$m=64,t=2,p=1$c2FsdA$bm90IHJlYWxseSBhIGhhc2g",
		"$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0$bm90",
		"$argon2id$v=19$m=64,t=2,p=1$!!!!HNhbHRzYWx0$bm90IHJlYWxseSBhIGhhc2g",
	};
	char longer[400] = "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0$";

	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		check_row(argon2_hash_check(rows[i]) != NULL, i);
	check(argon2_hash_check("$argon2id$v=19$m=64,t=2,p=1" GOOD_END) == NULL);
	memset(longer + strlen(longer), 'A', 300);
	check(argon2_hash_check(longer) != NULL);
}

/* The example of RFC 7677, section 3. */
#define RFC7677_SALT	"W22ZaJ0SNY7soEsUEjb6gQ=="

static void test_scram_keys_match_their_password(void)
{
	struct scram_keys keys = { .iterations = 4096 };
	char salt[BASE64_ENCODED_SIZE(SCRAM_SALT_MAX_BYTES)], field[300];
	char stored[BASE64_ENCODED_SIZE(32)], server[BASE64_ENCODED_SIZE(32)];

	require(base64_decode(RFC7677_SALT, strlen(RFC7677_SALT), keys.salt, &keys.salt_len));
	require(scram_keys_derive("pencil", &keys));
	base64_encode(keys.salt, keys.salt_len, salt);
	base64_encode(keys.stored, sizeof(keys.stored), stored);
	base64_encode(keys.server, sizeof(keys.server), server);
	check(strcmp(stored, "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=") == 0);
	check(strcmp(server, "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=") == 0);
	snprintf(field, sizeof(field), "{SCRAM-SHA-256}4096,%s,%s,%s", salt, stored, server);
	check(matches(field, "pencil") && !matches(field, "Pencil") && !matches(field, ""));
	/* RFC 4013: a soft hyphen is nothing. */
	check(matches(field, "pen\xc2\xad" "cil"));
}

#define KEY	"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="

static void test_scram_keys_that_are_refused(void)
{
	static const char *const rows[] = {
		"", "4096", "4096,", "4096," RFC7677_SALT, "4096," RFC7677_SALT "," KEY,
		"4096," RFC7677_SALT "," KEY "," KEY "," KEY, "0," RFC7677_SALT "," KEY "," KEY,
		"4096,," KEY "," KEY, "-1," RFC7677_SALT "," KEY "," KEY,
		"5000001," RFC7677_SALT "," KEY "," KEY,
		"99999999999999," RFC7677_SALT "," KEY "," KEY,
		"4096," RFC7677_SALT ",AAAA," KEY, "4096," RFC7677_SALT "," KEY ",AAAA",
		"4096," RFC7677_SALT "," KEY "," KEY "AAAA",
		"4096," KEY "?" "," KEY "," KEY,
		"4096,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==," KEY "," KEY,
	};
	struct scram_keys keys;

	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		check_row(scram_keys_parse(rows[i], &keys) != NULL, i);
	check(scram_keys_parse("4096," RFC7677_SALT "," KEY "," KEY, &keys) == NULL);
	check(keys.iterations == 4096 && keys.salt_len == 16);
}

static void test_base64_goes_both_ways(void)
{
	uint8_t bytes[64], back[BASE64_DECODED_MAX(BASE64_ENCODED_SIZE(64)) + 3];
	char text[BASE64_ENCODED_SIZE(64)];
	size_t len = 99;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 37 + 11);
	for (size_t n = 0; n <= sizeof(bytes); n++) {
		base64_encode(bytes, n, text);
		check_row(strlen(text) + 1 == BASE64_ENCODED_SIZE(n), n);
		check_row(base64_decode(text, strlen(text), back, &len) && len == n, n);
		check_row(memcmp(back, bytes, n) == 0, n);
	}
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_argon2_hashes_match_their_password),
		UNIT_TEST(test_argon2_without_a_version_is_the_first),
		UNIT_TEST(test_argon2_hashes_that_are_refused),
		UNIT_TEST(test_scram_keys_match_their_password),
		UNIT_TEST(test_scram_keys_that_are_refused),
		UNIT_TEST(test_base64_goes_both_ways),
	};

	return unit_run("password", tests, UNIT_COUNT(tests));
}
