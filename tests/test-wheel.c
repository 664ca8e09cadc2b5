/* SPDX-License-Identifier: MIT */
#include "imap-hibernate/wheel.h"
#include "tests/unit.h"

#define ITEMS	2000

/* Every item comes out at its tick: not sooner, and no later than asked. */
static void test_items_come_when_due_and_not_before(void)
{
	uint64_t rnd = unit_seed();
	uint32_t due[ITEMS], at[ITEMS], left = 0, now = 0;
	struct wheel w;

	require(wheel_init(&w, ITEMS) == 0);
	for (uint32_t i = 0; i < ITEMS; i++) {
		due[i] = (uint32_t)(unit_random(&rnd) % (i % 2 ? 100 : 5000));
		at[i] = NONE;
		wheel_set(&w, i, due[i]);
		left++;
	}
	/* Some change their minds. */
	for (uint32_t i = 0; i < ITEMS; i += 5) {
		due[i] = 4000 + i;
		wheel_set(&w, i, due[i]);
	}
	for (uint32_t i = 1; i < ITEMS; i += 5) {
		wheel_cancel(&w, i);
		wheel_cancel(&w, i);
		left--;
	}
	for (; left > 0 && now < 10000; now += 1 + (uint32_t)(unit_random(&rnd) % 7)) {
		uint32_t i, next = wheel_next(&w);

		check_row(next <= now || wheel_take(&w, now) == NONE, now);
		while ((i = wheel_take(&w, now)) != NONE) {
			check_row(due[i] <= now && due[i] + 7 >= now, i);
			at[i] = now;
			left--;
		}
	}
	check(left == 0 && w.count == 0 && wheel_next(&w) == NONE);
	for (uint32_t i = 0; i < ITEMS; i++)
		check_row((at[i] != NONE) == (i % 5 != 1), i);
	wheel_deinit(&w);
}

static void test_a_wheel_that_slept_long_catches_up(void)
{
	struct wheel w;

	require(wheel_init(&w, 4) == 0);
	wheel_set(&w, 0, 10);
	wheel_set(&w, 1, 100000);
	check(wheel_take(&w, 99999) == 0);
	check(wheel_take(&w, 99999) == NONE);
	check(wheel_take(&w, 100000) == 1);
	wheel_set(&w, 2, 3);	/* passed already */
	check(wheel_next(&w) <= 100001);
	check(wheel_take(&w, 100001) == 2);
	wheel_deinit(&w);
}

static void test_one_phase_fires_together(void)
{
	static const struct { uint32_t from, interval, phase, want; } rows[] = {
		{ 0, 100, 0, 0 }, { 1, 100, 0, 100 }, { 7, 100, 7, 7 }, { 8, 100, 7, 107 },
		{ 250, 100, 99, 299 }, { 250, 100, 199, 299 }, { 5, 0, 3, 5 }, { 5, 1, 9, 5 },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		check_row(wheel_align(rows[i].from, rows[i].interval, rows[i].phase) ==
			  rows[i].want, i);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_items_come_when_due_and_not_before),
		UNIT_TEST(test_a_wheel_that_slept_long_catches_up),
		UNIT_TEST(test_one_phase_fires_together),
	};
	return unit_run("wheel", tests, UNIT_COUNT(tests));
}
