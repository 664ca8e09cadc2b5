/* SPDX-License-Identifier: MIT */
/* The ticket: what was issued verifies; anything else is refused, each for
 * its own reason. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/hkdf.h"
#include "state/ticket.h"
#include "tests/unit.h"

static const struct ticket_key key = { { 7, 7, 7 } };
static const uint8_t boot_id[16] = { 9, 8, 7 };

static struct ticket ticket_anna(void)
{
	return (struct ticket){
		.sid = 0x1122334455667788u,
		.boot_id = { 9, 8, 7 },
		.cookie = 42,
		.uid = 1001,
		.gid = 1002,
		.user = "anna",
		.home = "/home/anna",
	};
}

static struct buf issued(const struct ticket *t)
{
	struct buf b;

	buf_init(&b, TICKET_MAX_BYTES);
	require(ticket_issue(&key, t, &b) == 0);
	return b;
}

static void test_ticket_verifies_what_was_issued(void)
{
	struct ticket t = ticket_anna(), back;
	struct buf b = issued(&t);

	check(ticket_verify(&key, b.data, b.len, boot_id, &back) == TICKET_OK);
	check(back.sid == t.sid && back.cookie == t.cookie);
	check(back.uid == 1001 && back.gid == 1002);
	check(strcmp(back.user, "anna") == 0 && strcmp(back.home, "/home/anna") == 0);
	check(memcmp(back.boot_id, boot_id, 16) == 0);
	check(ticket_verify(&key, b.data, b.len, NULL, &back) == TICKET_OK);
	buf_deinit(&b);
}

static void test_ticket_has_the_documented_layout(void)
{
	struct ticket t = ticket_anna();
	struct buf b = issued(&t);

	check(b.len == 2 + 1 + 2 + 8 + 16 + 8 + 4 + 4 + 2 + 4 + 2 + 10 + 32);
	check(memcmp(b.data, "DT\x01", 3) == 0);
	check(b.data[3] == 0 && b.data[4] == b.len);
	check(memcmp(b.data + 5, "\x11\x22\x33\x44\x55\x66\x77\x88", 8) == 0);
	check(memcmp(b.data + 45, "\0\x04" "anna\0\x0a/home/anna", 18) == 0);
	buf_deinit(&b);
}

static void test_ticket_refuses_every_truncation(void)
{
	struct ticket t = ticket_anna(), back;
	struct buf b = issued(&t);

	for (size_t n = 0; n < b.len; n++) {
		check_row(ticket_verify(&key, b.data, n, boot_id, &back) ==
			TICKET_E_TRUNCATED, n);
		check_row(ticket_length(b.data, n) == 0, n);
	}
	buf_deinit(&b);
}

static void test_ticket_refuses_bytes_left_over(void)
{
	struct ticket t = ticket_anna(), back;
	struct buf b = issued(&t);
	uint8_t longer[TICKET_MAX_BYTES + 1] = { 0 };

	memcpy(longer, b.data, b.len);
	check(ticket_verify(&key, longer, b.len + 1, boot_id, &back) == TICKET_E_TRUNCATED);
	check(ticket_length(longer, sizeof(longer)) == b.len);
	buf_deinit(&b);
}

static void test_ticket_refuses_every_flipped_bit(void)
{
	struct ticket t = ticket_anna(), back;
	struct buf b = issued(&t);

	for (size_t bit = 0; bit < b.len * 8; bit++) {
		b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		enum ticket_error e = ticket_verify(&key, b.data, b.len, boot_id, &back);
		enum ticket_error want = bit < 24   ? TICKET_E_FORMAT :
					 bit < 40   ? TICKET_E_TRUNCATED :
						      TICKET_E_FORGED;
		check_row(e == want, bit);
		b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	check(ticket_verify(&key, b.data, b.len, boot_id, &back) == TICKET_OK);
	buf_deinit(&b);
}

static void test_ticket_of_another_key_or_boot_is_refused(void)
{
	static const struct ticket_key other = { { 7, 7, 8 } };
	static const uint8_t reboot[16] = { 1 };
	struct ticket t = ticket_anna(), back = { .sid = 5 };
	struct buf b = issued(&t);

	check(ticket_verify(&other, b.data, b.len, boot_id, &back) == TICKET_E_FORGED);
	check(ticket_verify(&key, b.data, b.len, reboot, &back) == TICKET_E_BOOT);
	check(back.sid == 5);	/* untouched */
	buf_deinit(&b);
}

static void test_ticket_is_not_issued_for_bad_names(void)
{
	static const struct {
		const char *user, *home;
		uint64_t sid;
	} rows[] = {
		{ "", "/home/x", 1 },	      { "anna", "", 1 },
		{ "anna", "home/anna", 1 },   { "anna\n", "/home/anna", 1 },
		{ "an\tna", "/home/anna", 1 },{ "\x7f", "/home/anna", 1 },
		{ "anna", "/home/\x01", 1 },  { "anna", "/home/anna", 0 },
	};
	struct buf b;

	buf_init(&b, 4096);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct ticket t = ticket_anna();
		t.sid = rows[i].sid;
		snprintf(t.user, sizeof(t.user), "%s", rows[i].user);
		snprintf(t.home, sizeof(t.home), "%s", rows[i].home);
		check_row(ticket_issue(&key, &t, &b) == -EINVAL, i);
		check_row(b.len == 0, i);
	}
	/* A name without an end inside its array. */
	struct ticket t = ticket_anna();
	memset(t.user, 'a', sizeof(t.user));
	check(ticket_issue(&key, &t, &b) == -EINVAL);
	t = ticket_anna();
	memset(t.home, '/', sizeof(t.home));
	check(ticket_issue(&key, &t, &b) == -EINVAL);
	check(b.len == 0);
	buf_deinit(&b);
}

/* A MAC over nonsense, as if the issuer had a bug: the reader still checks. */
static void test_ticket_checks_names_even_under_a_good_mac(void)
{
	static const struct {
		size_t at;
		uint8_t byte;
	} rows[] = {
		{ 47, 0 },	/* NUL in the user */
		{ 48, '\n' },	/* control character in the user */
		{ 53, 'h' },	/* a home that is not absolute */
		{ 56, 0 },	/* NUL in the home */
		{ 58, 0x7f },	/* DEL in the home */
		{ 46, 0 },	/* no user; the rest shifts */
		{ 46, 255 },	/* a user longer than the ticket */
		{ 52, 11 },	/* a home longer than the ticket */
		{ 52, 9 },	/* a byte left over */
	};
	struct ticket t = ticket_anna(), back;

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct buf b = issued(&t);
		uint8_t *mac = b.data + b.len - 32;
		b.data[rows[i].at] = rows[i].byte;
		require(hmac_sha256(key.bytes, 32, b.data, b.len - 32, mac) == 0);
		check_row(ticket_verify(&key, b.data, b.len, boot_id, &back) ==
			TICKET_E_INVALID, i);
		buf_deinit(&b);
	}
}

static void test_ticket_of_greatest_size_fits(void)
{
	struct ticket t = ticket_anna(), back;

	memset(t.user, 'u', USER_NAME_MAX_BYTES);
	memset(t.home, '/', USER_HOME_MAX_BYTES);
	struct buf b = issued(&t);
	check(b.len == TICKET_MAX_BYTES);
	check(ticket_verify(&key, b.data, b.len, boot_id, &back) == TICKET_OK);
	check(strcmp(back.user, t.user) == 0 && strcmp(back.home, t.home) == 0);
	check(ticket_length(b.data, b.len) == TICKET_MAX_BYTES);
	buf_deinit(&b);

	/* One byte too little room: nothing is left behind. */
	buf_init(&b, TICKET_MAX_BYTES - 1);
	check(ticket_issue(&key, &t, &b) == -ENOBUFS);
	check(b.len == 0);
	buf_deinit(&b);
}

static void test_session_keys_differ_by_session_and_socket(void)
{
	struct ticket t = ticket_anna(), u = ticket_anna();
	struct seal_key one, two, again;
	uint8_t want[32];
	static const uint8_t salt[16] = { 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88,
					  0, 0, 0, 0, 0, 0, 0, 42 };

	check(ticket_session_key(&key, &t, &one) == 0);
	check(ticket_session_key(&key, &t, &again) == 0);
	check(memcmp(&one, &again, sizeof(one)) == 0);
	check(hkdf_sha256(key.bytes, 32, salt, 16, "dormouse session", 16, want, 32) == 0);
	check(memcmp(&one, want, 32) == 0);
	u.sid++;
	check(ticket_session_key(&key, &u, &two) == 0);
	check(memcmp(&one, &two, sizeof(one)) != 0);
	u = ticket_anna();
	u.cookie++;
	check(ticket_session_key(&key, &u, &two) == 0);
	check(memcmp(&one, &two, sizeof(one)) != 0);
}

static void test_ticket_key_lives_in_a_sealed_memfd(void)
{
	struct ticket_key a, b, zero = { { 0 } };
	int fd = -1, other = -1;

	require(ticket_key_memfd(&fd) == 0);
	require(ticket_key_memfd(&other) == 0);
	check(ticket_key_read(fd, &a) == 0);
	check(ticket_key_read(other, &b) == 0);
	check(memcmp(&a, &b, sizeof(a)) != 0);
	check(memcmp(&a, &zero, sizeof(a)) != 0);
	check(pwrite(fd, "x", 1, 0) < 0 && errno == EPERM);
	check(ftruncate(fd, 0) < 0 && errno == EPERM);
	check((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
	close(fd);
	close(other);

	/* One that can still be written to, by whoever has it, is no key. */
	fd = memfd_create("not-sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	require(fd >= 0);
	require(pwrite(fd, &a, sizeof(a), 0) == (ssize_t)sizeof(a));
	check(ticket_key_read(fd, &b) == -EINVAL);
	close(fd);
	check(ticket_key_read(-1, &b) == -EBADF);
	ticket_key_wipe(&a);
	check(memcmp(&a, &zero, sizeof(a)) == 0);
}

static void test_boot_id_is_the_kernels(void)
{
	uint8_t a[16] = { 0 }, b[16] = { 0 }, zero[16] = { 0 };

	check(ticket_boot_id(a) == 0);
	check(ticket_boot_id(b) == 0);
	check(memcmp(a, b, 16) == 0);
	check(memcmp(a, zero, 16) != 0);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_ticket_verifies_what_was_issued),
		UNIT_TEST(test_ticket_has_the_documented_layout),
		UNIT_TEST(test_ticket_refuses_every_truncation),
		UNIT_TEST(test_ticket_refuses_bytes_left_over),
		UNIT_TEST(test_ticket_refuses_every_flipped_bit),
		UNIT_TEST(test_ticket_of_another_key_or_boot_is_refused),
		UNIT_TEST(test_ticket_is_not_issued_for_bad_names),
		UNIT_TEST(test_ticket_checks_names_even_under_a_good_mac),
		UNIT_TEST(test_ticket_of_greatest_size_fits),
		UNIT_TEST(test_session_keys_differ_by_session_and_socket),
		UNIT_TEST(test_ticket_key_lives_in_a_sealed_memfd),
		UNIT_TEST(test_boot_id_is_the_kernels),
	};
	return unit_run("ticket", tests, UNIT_COUNT(tests));
}
