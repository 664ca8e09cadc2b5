/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "lib/buf.h"
#include "tests/unit.h"

static void test_buf_is_empty_and_allocates_nothing_at_first(void)
{
	struct buf b;

	buf_init(&b, 100);
	check(b.data == NULL && b.len == 0 && !b.failed);
	buf_deinit(&b);
	buf_deinit(&b);
}

static void test_buf_appends_in_order(void)
{
	static const uint8_t want[] = { 'a', 'b', 0, 7, 1, 2, 1, 2, 3, 4,
					1, 2, 3, 4, 5, 6, 7, 8, 'x', '4', '2' };
	struct buf b;

	buf_init(&b, 100);
	check(buf_append(&b, "ab\0", 3) == 0);
	check(buf_append_u8(&b, 7) == 0);
	check(buf_append_u16(&b, 0x0102) == 0);
	check(buf_append_u32(&b, 0x01020304) == 0);
	check(buf_append_u64(&b, 0x0102030405060708) == 0);
	check(buf_printf(&b, "%c%d", 'x', 42) == 0);
	check(buf_append_decimal(&b, 0) == 0 && buf_append_decimal(&b, UINT64_MAX) == 0);
	check(b.len == sizeof(want) + 21 && memcmp(b.data, want, sizeof(want)) == 0 &&
	      memcmp(b.data + sizeof(want), "018446744073709551615", 21) == 0);
	buf_deinit(&b);
}

static void test_buf_fills_to_its_maximum_exactly(void)
{
	for (size_t max = 0; max < 300; max++) {
		struct buf b;

		buf_init(&b, max);
		for (size_t i = 0; i < max; i++)
			check_row(buf_append_u8(&b, (uint8_t)i) == 0, max);
		check_row(b.len == max && !b.failed, max);
		check_row(buf_append_u8(&b, 0) == -ENOBUFS, max);
		check_row(b.len == max && b.cap <= max && b.failed, max);
		buf_deinit(&b);
	}
}

static void test_buf_failure_sticks_until_reset(void)
{
	struct buf b;

	buf_init(&b, 4);
	check(buf_append_str(&b, "abc") == 0);
	check(buf_append_str(&b, "de") == -ENOBUFS);
	check(b.len == 3 && b.failed);
	check(buf_append_str(&b, "d") < 0);
	check(buf_printf(&b, "d") < 0);
	check(buf_reserve(&b, 1) == NULL);
	check(b.len == 3);
	buf_reset(&b);
	check(b.len == 0 && !b.failed);
	check(buf_append_str(&b, "abcd") == 0);
	buf_deinit(&b);
}

static void test_buf_refuses_sizes_that_would_wrap(void)
{
	struct buf b;

	buf_init(&b, SIZE_MAX);
	check(buf_append_str(&b, "abc") == 0);
	check(buf_reserve(&b, SIZE_MAX - 2) == NULL);
	check(b.failed && b.len == 3);
	buf_deinit(&b);
}

/* vsnprintf() wants a byte for its NUL; the maximum does not count it. */
static void test_buf_printf_fits_without_a_nul(void)
{
	for (size_t max = 1; max < 200; max++) {
		struct buf b;

		buf_init(&b, max);
		check_row(buf_printf(&b, "%*s", (int)max, "x") == 0, max);
		check_row(b.len == max && b.data[max - 1] == 'x', max);
		check_row(buf_printf(&b, "%s", "") == 0, max);
		check_row(buf_printf(&b, "y") == -ENOBUFS, max);
		check_row(b.len == max, max);
		buf_deinit(&b);
	}
}

static void test_buf_consume_drops_the_front(void)
{
	struct buf b;

	buf_init(&b, 16);
	buf_consume(&b, 0);
	buf_append_str(&b, "abcdef");
	buf_consume(&b, 2);
	check(b.len == 4 && memcmp(b.data, "cdef", 4) == 0);
	buf_consume(&b, 4);
	check(b.len == 0);
	check(buf_append_str(&b, "0123456789abcdef") == 0);
	buf_deinit(&b);
}

static void test_buf_reserve_gives_room_that_is_counted_when_added(void)
{
	struct buf b;
	char *p;

	buf_init(&b, 10);
	p = buf_reserve(&b, 10);
	require(p != NULL);
	memcpy(p, "0123456789", 10);
	check(b.len == 0);
	buf_added(&b, 4);
	check(b.len == 4 && memcmp(b.data, "0123", 4) == 0);
	check(buf_reserve(&b, 7) == NULL && b.failed);
	buf_deinit(&b);
}

static void test_buf_wipe_leaves_an_empty_usable_buffer(void)
{
	struct buf b;

	buf_init(&b, 10);
	buf_append_str(&b, "secret");
	buf_wipe(&b);
	check(b.data == NULL && b.len == 0 && b.max == 10);
	check(buf_append_str(&b, "next") == 0);
	buf_wipe(&b);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_buf_is_empty_and_allocates_nothing_at_first),
		UNIT_TEST(test_buf_appends_in_order),
		UNIT_TEST(test_buf_fills_to_its_maximum_exactly),
		UNIT_TEST(test_buf_failure_sticks_until_reset),
		UNIT_TEST(test_buf_refuses_sizes_that_would_wrap),
		UNIT_TEST(test_buf_printf_fits_without_a_nul),
		UNIT_TEST(test_buf_consume_drops_the_front),
		UNIT_TEST(test_buf_reserve_gives_room_that_is_counted_when_added),
		UNIT_TEST(test_buf_wipe_leaves_an_empty_usable_buffer),
	};
	return unit_run("buf", tests, UNIT_COUNT(tests));
}
