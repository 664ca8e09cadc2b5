/* SPDX-License-Identifier: MIT */
/* Delays after failures, and whom an address stands for. */
#include <string.h>

#include "auth/address.h"
#include "auth/penalty.h"
#include "tests/unit.h"

#define T0	1000000u

static void fail(struct penalty *p, const char *address, const char *user, unsigned n,
	uint64_t now)
{
	for (unsigned i = 0; i < n; i++)
		(void)penalty_failed(p, address, user, NULL, now);
}

static void test_a_few_failures_are_free_then_each_costs_more(void)
{
	static const uint64_t want[] = { 0, 0, 0, 1000, 2000, 4000, 8000, 15000, 15000, 15000 };
	struct penalty *p = penalty_create(1);

	require(p != NULL);
	for (size_t i = 0; i < UNIT_COUNT(want); i++) {
		/* The line is empty by then, and nothing has decayed. */
		uint64_t now = T0 + i * 20000;
		check_row(penalty_wait(p, "192.0.2.7", now) == want[i], i);
		fail(p, "192.0.2.7", "anna", 1, now + want[i]);
	}
	check(penalty_wait(p, "192.0.2.8", T0) == 0);
	penalty_destroy(&p);
	check(p == NULL);
}

static void test_tries_of_one_address_stand_in_line(void)
{
	struct penalty *p = penalty_create(2);

	fail(p, "a", "anna", 4, T0);
	check(penalty_wait(p, "a", T0) == 2000);
	check(penalty_wait(p, "a", T0) == 4000);
	check(penalty_wait(p, "a", T0 + 1000) == 5000);
	unsigned n = 0;
	while (penalty_wait(p, "a", T0 + 1000) != PENALTY_REFUSE)
		check(++n < 100);
	check(n == 12);		/* the line is full at PENALTY_LINE_MS */
	check(penalty_wait(p, "b", T0 + 1000) == 0);
	check(penalty_wait(p, "a", T0 + 31000) != PENALTY_REFUSE);
	penalty_destroy(&p);
}

static void test_time_heals_a_success_does_not(void)
{
	struct penalty *p = penalty_create(3);

	fail(p, "a", "anna", 4, T0);
	check(penalty_wait(p, "a", T0 + PENALTY_DECAY_MS - 1) == 2000);
	check(penalty_wait(p, "a", T0 + PENALTY_DECAY_MS + 10000) == 1000);
	check(penalty_wait(p, "a", T0 + 2 * PENALTY_DECAY_MS) == 0);
	fail(p, "b", "anna", 200, T0);
	check(penalty_wait(p, "b", T0 + 16 * PENALTY_DECAY_MS) == 0);
	penalty_destroy(&p);
}

/* Guesses from everywhere make refusals late, and nothing else. */
static void test_a_user_is_never_locked_out(void)
{
	struct penalty *p = penalty_create(4);
	uint64_t late = 0;
	char from[32];

	for (unsigned i = 0; i < 20; i++) {
		snprintf(from, sizeof(from), "192.0.2.%u", i);
		check_row(penalty_wait(p, from, T0) == 0, i);
		late = penalty_failed(p, from, "anna", NULL, T0);
	}
	check(late == PENALTY_MAX_MS);
	check(penalty_wait(p, "198.51.100.1", T0) == 0);
	check(penalty_failed(p, "198.51.100.1", "bert", NULL, T0) == 0);
	penalty_destroy(&p);
}

static void test_the_same_wrong_password_again_counts_once(void)
{
	struct penalty *p = penalty_create(5);

	for (int i = 0; i < 50; i++)
		check(penalty_failed(p, "a", "anna", "last year's", T0) == 0);
	check(penalty_wait(p, "a", T0) == 0);
	/* For another user it is a guess, and another one is. */
	for (int i = 0; i < 50; i++)
		(void)penalty_failed(p, "a", "bert", "last year's", T0);
	check(penalty_wait(p, "a", T0) == 0);
	(void)penalty_failed(p, "a", "anna", "this year's", T0);
	check(penalty_wait(p, "a", T0) == 1000);
	penalty_destroy(&p);
}

/* A crowd of addresses does not make it forget one that has failed often. */
static void test_the_guilty_stay_in_a_full_table(void)
{
	struct penalty *p = penalty_create(6);
	char from[32];

	fail(p, "192.0.2.1", "anna", 12, T0);
	for (unsigned i = 0; i < 10 * PENALTY_PLACES; i++) {
		snprintf(from, sizeof(from), "crowd-%u", i);
		fail(p, from, from, 1, T0 + 1);
	}
	check(penalty_wait(p, "192.0.2.1", T0 + 2) == PENALTY_MAX_MS);
	penalty_destroy(&p);
}

static void test_whom_an_address_stands_for(void)
{
	static const struct {
		const char *text, *key;
		bool loopback;
	} rows[] = {
		{ "192.0.2.7", "192.0.2.7", false },
		{ "192.0.2.7:1024", "192.0.2.7", false },
		{ "127.3.2.1", "127.3.2.1", true },
		{ "::1", "::/64", true },
		{ "[::1]:993", "::/64", true },
		{ "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", false },
		{ "2001:db8:1:2::99", "2001:db8:1:2::/64", false },
		{ "[2001:db8:1:2::99]:40000", "2001:db8:1:2::/64", false },
		{ "fe80::1%2", "fe80::/64", false },
		{ "::ffff:192.0.2.7", "192.0.2.7", false },
		{ "::ffff:127.0.0.1", "127.0.0.1", true },
		{ "", "", false },
		{ "unknown", "unknown", false },
		{ "[", "", false },
		{ "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
		  "ffff:ffff:ffff:ffff::/64", false },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct address a;
		address_parse(rows[i].text, &a);
		check_row(strcmp(a.key, rows[i].key) == 0, i);
		check_row(a.loopback == rows[i].loopback, i);
	}
	char text[2000];
	struct address a;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	address_parse(text, &a);
	check(strlen(a.key) == ADDRESS_KEY_BYTES - 1);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_a_few_failures_are_free_then_each_costs_more),
		UNIT_TEST(test_tries_of_one_address_stand_in_line),
		UNIT_TEST(test_time_heals_a_success_does_not),
		UNIT_TEST(test_a_user_is_never_locked_out),
		UNIT_TEST(test_the_same_wrong_password_again_counts_once),
		UNIT_TEST(test_the_guilty_stay_in_a_full_table),
		UNIT_TEST(test_whom_an_address_stands_for),
	};

	return unit_run("penalty", tests, UNIT_COUNT(tests));
}
