/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "lib/cursor.h"
#include "tests/unit.h"

static const uint8_t sample[] = { 1, 0x12, 0x34, 1, 2, 3, 4,
				  0xff, 2, 3, 4, 5, 6, 7, 8, 'a', 'b', 'c' };

static void read_sample(struct cursor *c, char text[4])
{
	check(cursor_u8(c) == 1);
	check(cursor_u16(c) == 0x1234);
	check(cursor_u32(c) == 0x01020304);
	check(cursor_u64(c) == 0xff02030405060708);
	cursor_copy(c, text, 3);
	text[3] = '\0';
}

static void test_cursor_reads_what_was_written(void)
{
	struct cursor c;
	char text[4];

	cursor_init(&c, sample, sizeof(sample));
	check(cursor_left(&c) == sizeof(sample));
	check(!cursor_done(&c));
	read_sample(&c, text);
	check(strcmp(text, "abc") == 0);
	check(cursor_left(&c) == 0 && cursor_done(&c) && !c.bad);
}

/* Each copy is on the heap, so that AddressSanitizer sees one byte too much. */
static void test_cursor_refuses_every_truncation(void)
{
	for (size_t n = 0; n < sizeof(sample); n++) {
		uint8_t *copy = malloc(n ? n : 1);
		struct cursor c;
		char text[3] = "xx";

		require(copy != NULL);
		memcpy(copy, sample, n);
		cursor_init(&c, copy, n);
		cursor_u8(&c);
		cursor_u16(&c);
		cursor_u32(&c);
		cursor_u64(&c);
		cursor_copy(&c, text, 3);
		check_row(c.bad && !cursor_done(&c), n);
		check_row(memcmp(text, "\0\0\0", 3) == 0, n);
		free(copy);
	}
}

static void test_cursor_stays_bad_even_if_a_later_read_would_fit(void)
{
	struct cursor c;

	cursor_init(&c, sample, 3);
	check(cursor_u32(&c) == 0 && c.bad);
	check(cursor_u8(&c) == 0);
	check(cursor_bytes(&c, 1) == NULL);
	check(cursor_bytes(&c, 0) == NULL);
	check(!cursor_done(&c));
}

static void test_cursor_counts_left_over_bytes_as_not_done(void)
{
	struct cursor c;

	cursor_init(&c, sample, 2);
	cursor_u8(&c);
	check(!c.bad && !cursor_done(&c) && cursor_left(&c) == 1);
}

static void test_cursor_refuses_a_length_that_would_wrap(void)
{
	struct cursor c;

	cursor_init(&c, sample, sizeof(sample));
	cursor_u8(&c);
	check(cursor_bytes(&c, SIZE_MAX) == NULL && c.bad);
}

static void test_cursor_takes_no_data_at_all(void)
{
	struct cursor c;

	cursor_init(&c, NULL, 0);
	check(cursor_done(&c));
	check(cursor_bytes(&c, 0) != NULL && cursor_done(&c));
	check(cursor_u8(&c) == 0 && c.bad);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_cursor_reads_what_was_written),
		UNIT_TEST(test_cursor_refuses_every_truncation),
		UNIT_TEST(test_cursor_stays_bad_even_if_a_later_read_would_fit),
		UNIT_TEST(test_cursor_counts_left_over_bytes_as_not_done),
		UNIT_TEST(test_cursor_refuses_a_length_that_would_wrap),
		UNIT_TEST(test_cursor_takes_no_data_at_all),
	};
	return unit_run("cursor", tests, UNIT_COUNT(tests));
}
