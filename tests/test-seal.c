/* SPDX-License-Identifier: MIT */
/* HMAC and HKDF against published answers; the seal against its own promise:
 * what was closed opens, and nothing else does. */
#include <errno.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/hkdf.h"
#include "lib/seal.h"
#include "tests/unit.h"

static size_t unhex(const char *hex, uint8_t *out)
{
	size_t n = 0;
	unsigned byte;

	while (sscanf(hex + 2 * n, "%2x", &byte) == 1)
		out[n++] = (uint8_t)byte;
	return n;
}

/* RFC 5869, appendix A: the test cases with SHA-256. */
static const struct {
	const char *ikm, *salt, *info, *okm;
} hkdf_cases[] = {
	{ "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
	  "000102030405060708090a0b0c",
	  "f0f1f2f3f4f5f6f7f8f9",
	  "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
	  "34007208d5b887185865" },
	{ "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	  "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"
	  "404142434445464748494a4b4c4d4e4f",
	  "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f"
	  "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"
	  "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
	  "b0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecf"
	  "d0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeef"
	  "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
	  "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
	  "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
	  "cc30c58179ec3e87c14c01d5c1f3434f1d87" },
	{ "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "", "",
	  "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
	  "9d201395faa4b61a96c8" },
};

static void test_hkdf_gives_the_published_answers(void)
{
	for (size_t i = 0; i < UNIT_COUNT(hkdf_cases); i++) {
		uint8_t ikm[128], salt[128], info[128], okm[128], out[128];
		size_t ikm_len = unhex(hkdf_cases[i].ikm, ikm);
		size_t salt_len = unhex(hkdf_cases[i].salt, salt);
		size_t info_len = unhex(hkdf_cases[i].info, info);
		size_t okm_len = unhex(hkdf_cases[i].okm, okm);

		check_row(hkdf_sha256(ikm, ikm_len, salt, salt_len, info, info_len, out,
				  okm_len) == 0, i);
		check_row(memcmp(out, okm, okm_len) == 0, i);
		if (salt_len == 0) {	/* RFC 5869 2.2: none is the same as empty */
			memset(out, 0, sizeof(out));
			check_row(hkdf_sha256(ikm, ikm_len, NULL, 0, info, info_len, out,
					  okm_len) == 0, i);
			check_row(memcmp(out, okm, okm_len) == 0, i);
		}
	}
}

/* RFC 4231, 4.2, 4.3 and 4.7 (a key longer than a block). */
static void test_hmac_gives_the_published_answers(void)
{
	uint8_t key[131], want[32], out[32];

	memset(key, 0x0b, 20);
	unhex("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7", want);
	check(hmac_sha256(key, 20, "Hi There", 8, out) == 0);
	check(memcmp(out, want, 32) == 0);

	unhex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843", want);
	check(hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, out) == 0);
	check(memcmp(out, want, 32) == 0);

	memset(key, 0xaa, sizeof(key));
	unhex("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54", want);
	check(hmac_sha256(key, sizeof(key),
		      "Test Using Larger Than Block-Size Key - Hash Key First", 54,
		      out) == 0);
	check(memcmp(out, want, 32) == 0);
}

static const struct seal_key key_a = { { 1, 2, 3 } }, key_b = { { 1, 2, 4 } };

static struct buf sealed_of(const char *aad, const void *plain, size_t len)
{
	struct buf b;

	buf_init(&b, 1 << 20);
	require(seal_close(&key_a, aad, strlen(aad), plain, len, &b) == 0);
	return b;
}

static void test_seal_opens_what_it_closed(void)
{
	static uint8_t plain[70000];
	static const size_t sizes[] = { 0, 1, 15, 16, 17, 135, 4096, sizeof(plain) };

	for (size_t i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)(i * 7);
	for (size_t i = 0; i < UNIT_COUNT(sizes); i++) {
		struct buf sealed = sealed_of("ticket", plain, sizes[i]), out;

		check_row(sealed.len == sizes[i] + SEAL_OVERHEAD, i);
		/* Exactly as much room as is needed, behind what is there. */
		buf_init(&out, sizes[i] + 3);
		buf_append(&out, "abc", 3);
		check_row(seal_open(&key_a, "ticket", 6, sealed.data, sealed.len, &out) == 0, i);
		check_row(out.len == sizes[i] + 3 && memcmp(out.data, "abc", 3) == 0, i);
		check_row(memcmp(out.data + 3, plain, sizes[i]) == 0, i);
		buf_deinit(&out);
		buf_deinit(&sealed);
	}
}

static void test_seal_refuses_a_short_output(void)
{
	struct buf sealed = sealed_of("", "0123456789", 10), out;

	buf_init(&out, 9);
	check(seal_open(&key_a, "", 0, sealed.data, sealed.len, &out) == -ENOBUFS);
	check(out.len == 0);
	buf_deinit(&out);
	buf_init(&out, 10 + SEAL_OVERHEAD - 1);
	check(seal_close(&key_a, "", 0, "0123456789", 10, &out) == -ENOBUFS);
	check(out.len == 0);
	buf_deinit(&out);
	buf_deinit(&sealed);
}

static void test_seal_refuses_every_flipped_bit(void)
{
	struct buf sealed = sealed_of("t", "a session at rest", 17), out;

	buf_init(&out, 4096);
	for (size_t bit = 0; bit < sealed.len * 8; bit++) {
		sealed.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		int ret = seal_open(&key_a, "t", 1, sealed.data, sealed.len, &out);
		check_row(ret == (bit < 8 ? SEAL_E_FORMAT : SEAL_E_FORGED), bit);
		check_row(out.len == 0, bit);
		sealed.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	check(seal_open(&key_a, "t", 1, sealed.data, sealed.len, &out) == 0);
	buf_deinit(&out);
	buf_deinit(&sealed);
}

static void test_seal_refuses_every_truncation(void)
{
	struct buf sealed = sealed_of("t", "a session at rest", 17), out;

	buf_init(&out, 4096);
	for (size_t n = 0; n < sealed.len; n++) {
		int ret = seal_open(&key_a, "t", 1, sealed.data, n, &out);
		check_row(ret == (n < SEAL_OVERHEAD ? SEAL_E_FORMAT : SEAL_E_FORGED), n);
		check_row(out.len == 0, n);
	}
	buf_deinit(&out);
	buf_deinit(&sealed);
}

static void test_seal_is_bound_to_key_and_context(void)
{
	struct buf sealed = sealed_of("ticket of anna", "mail", 4), out;

	buf_init(&out, 4096);
	check(seal_open(&key_b, "ticket of anna", 14, sealed.data, sealed.len, &out) ==
		SEAL_E_FORGED);
	check(seal_open(&key_a, "ticket of ann", 13, sealed.data, sealed.len, &out) ==
		SEAL_E_FORGED);
	check(seal_open(&key_a, NULL, 0, sealed.data, sealed.len, &out) == SEAL_E_FORGED);
	check(out.len == 0);
	check(seal_open(&key_a, "ticket of anna", 14, sealed.data, sealed.len, &out) == 0);
	buf_deinit(&out);
	buf_deinit(&sealed);
}

static void test_seal_never_repeats_itself(void)
{
	struct buf one = sealed_of("", "same", 4), two = sealed_of("", "same", 4);

	check(one.len == two.len);
	check(memcmp(one.data + 1, two.data + 1, 12) != 0);
	check(memcmp(one.data + 13, two.data + 13, 4) != 0);
	buf_deinit(&one);
	buf_deinit(&two);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_hkdf_gives_the_published_answers),
		UNIT_TEST(test_hmac_gives_the_published_answers),
		UNIT_TEST(test_seal_opens_what_it_closed),
		UNIT_TEST(test_seal_refuses_a_short_output),
		UNIT_TEST(test_seal_refuses_every_flipped_bit),
		UNIT_TEST(test_seal_refuses_every_truncation),
		UNIT_TEST(test_seal_is_bound_to_key_and_context),
		UNIT_TEST(test_seal_never_repeats_itself),
	};
	return unit_run("seal", tests, UNIT_COUNT(tests));
}
