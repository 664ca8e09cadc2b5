/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/uidset.h"
#include "tests/unit.h"

#define TOP UINT32_MAX
#define MAX_RANGES 1000

static bool set_is(const struct uidset *s, const char *want)
{
	struct buf b;
	bool same;

	buf_init(&b, 4096);
	check(uidset_print(s, &b) == 0);
	buf_append_u8(&b, 0);
	same = strcmp((char *)b.data, want) == 0;
	if (!same)
		fprintf(stderr, "\nis \"%s\", not \"%s\"\n", (char *)b.data, want);
	buf_deinit(&b);
	return same;
}

static void set_of(struct uidset *s, const char *text)
{
	uidset_init(s);
	if (*text)
		require(uidset_parse(s, text, strlen(text), 0, MAX_RANGES) == 0);
}

/* ---- text ---- */

static void test_uidset_parses_and_prints(void)
{
	static const struct {
		const char *text;
		uint32_t star;
		const char *want;	/* NULL: -EINVAL */
	} rows[] = {
		{ "1", 0, "1" },
		{ "4294967295", 0, "4294967295" },
		{ "1:3", 0, "1:3" },
		{ "3:1", 0, "1:3" },
		{ "5:5", 0, "5" },
		{ "1,2,3", 0, "1:3" },
		{ "9,1:3,2:5,7", 0, "1:5,7,9" },
		{ "2:4,1:10,5", 0, "1:10" },
		{ "1:4294967295", 0, "1:4294967295" },
		{ "4294967295,1,4294967294", 0, "1,4294967294:4294967295" },
		{ "*", 7, "7" },
		{ "*:*", 7, "7" },
		{ "3:*", 7, "3:7" },
		{ "*:3", 7, "3:7" },
		{ "9:*", 7, "7:9" },	/* RFC 9051: the last one is always in it */
		{ "1,*", 7, "1,7" },
		{ "*", 0, "" },
		{ "*:*", 0, "" },
		{ "5:*", 0, "5" },
		{ "*,3", 0, "3" },
		{ "", 0, NULL },
		{ "0", 0, NULL },
		{ "0:3", 0, NULL },
		{ "01", 0, NULL },
		{ "4294967296", 0, NULL },
		{ "99999999999999999999", 0, NULL },
		{ "1,", 0, NULL },
		{ ",1", 0, NULL },
		{ "1,,2", 0, NULL },
		{ "1:", 0, NULL },
		{ ":1", 0, NULL },
		{ "1:2:3", 0, NULL },
		{ "**", 5, NULL },
		{ "1*", 5, NULL },
		{ "-1", 0, NULL },
		{ "+1", 0, NULL },
		{ " 1", 0, NULL },
		{ "1 ", 0, NULL },
		{ "$", 0, NULL },
		{ "a", 0, NULL },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct uidset s;
		int ret;

		set_of(&s, "77");
		ret = uidset_parse(&s, rows[i].text, strlen(rows[i].text),
				   rows[i].star, MAX_RANGES);
		check_row(ret == (rows[i].want ? 0 : -EINVAL), i);
		/* A refused text leaves the set alone. */
		check_row(set_is(&s, rows[i].want ? rows[i].want : "77"), i);
		uidset_deinit(&s);
	}
}

static void test_uidset_parse_stops_at_the_length_and_at_nul(void)
{
	struct uidset s;

	uidset_init(&s);
	check(uidset_parse(&s, "12345", 2, 0, MAX_RANGES) == 0);
	check(set_is(&s, "12"));
	check(uidset_parse(&s, "1\0,2", 4, 0, MAX_RANGES) == -EINVAL);
	uidset_deinit(&s);
}

static void test_uidset_parse_bounds_the_number_of_items(void)
{
	struct uidset s;

	uidset_init(&s);
	check(uidset_parse(&s, "1,3,5", 5, 0, 3) == 0);
	check(uidset_parse(&s, "1,3,5,7", 7, 0, 3) == -E2BIG);
	/* Also when they would merge: work is what is bounded. */
	check(uidset_parse(&s, "1,1,1,1", 7, 0, 3) == -E2BIG);
	check(uidset_parse(&s, "*,*,*,*", 7, 0, 3) == -E2BIG);
	uidset_deinit(&s);
}

/* ---- at the edges ---- */

static void test_uidset_works_at_both_ends_of_the_number_range(void)
{
	struct uidset s, all, ends;

	set_of(&s, "");
	set_of(&all, "1:4294967295");
	set_of(&ends, "1,4294967295");
	check(uidset_count(&all) == TOP);
	check(uidset_add(&s, TOP) == 0 && uidset_add(&s, 1) == 0);
	check(set_is(&s, "1,4294967295"));
	check(uidset_add(&s, TOP - 1) == 0 && uidset_add(&s, 2) == 0);
	check(set_is(&s, "1:2,4294967294:4294967295"));
	check(uidset_remove_range(&s, TOP, TOP) == 0);
	check(uidset_remove_range(&s, 1, 1) == 0);
	check(set_is(&s, "2,4294967294"));
	check(uidset_remove_set(&all, &ends) == 0);
	check(set_is(&all, "2:4294967294"));
	check(uidset_add_range(&all, 1, TOP) == 0);
	check(set_is(&all, "1:4294967295"));
	check(uidset_remove_range(&all, 5, 6) == 0);
	check(set_is(&all, "1:4,7:4294967295"));
	check(uidset_remove_range(&all, 1, TOP) == 0 && uidset_is_empty(&all));
	uidset_deinit(&s);
	uidset_deinit(&all);
	uidset_deinit(&ends);
}

static void test_uidset_operations_take_the_set_itself(void)
{
	struct uidset s;

	set_of(&s, "1:3,7");
	check(uidset_add_set(&s, &s) == 0 && set_is(&s, "1:3,7"));
	check(uidset_copy(&s, &s) == 0 && set_is(&s, "1:3,7"));
	check(uidset_intersect(&s, &s) == 0 && set_is(&s, "1:3,7"));
	check(uidset_remove_set(&s, &s) == 0 && set_is(&s, ""));
	uidset_deinit(&s);
}

/* ---- against a bitmap ---- */

#define UIDS 96
struct model {
	struct uidset set;
	bool has[UIDS + 1];
};

static void model_check(const struct model *m, unsigned step)
{
	struct uidset_iter it;
	uint32_t u = uidset_first(&m->set, &it), before = 0;
	struct uidset_ranker at = { 0 };

	for (uint32_t uid = 1; uid <= UIDS; uid++) {
		check_row(uidset_contains(&m->set, uid) == m->has[uid], step);
		check_row(uidset_rank(&m->set, uid) == before, step);
		check_row(uidset_rank_next(&m->set, &at, uid) == before, step);
		if (!m->has[uid])
			continue;
		check_row(u == uid, step);
		check_row(uidset_nth(&m->set, before) == uid, step);
		u = uidset_next(&m->set, &it);
		before++;
	}
	check_row(u == 0 && uidset_next(&m->set, &it) == 0, step);
	check_row(uidset_count(&m->set) == before, step);
	check_row(uidset_nth(&m->set, before) == 0, step);
	check_row(uidset_is_empty(&m->set) == (before == 0), step);
	for (size_t i = 0; i < m->set.count; i++) {
		const struct uid_range *r = &m->set.ranges[i];

		check_row(r->first <= r->last, step);
		check_row(i == 0 || r[-1].last + 1 < r->first, step);
	}
}

static void model_mark(struct model *m, uint32_t first, uint32_t last, bool has)
{
	for (uint32_t uid = first; uid <= last; uid++)
		m->has[uid] = has;
}

static void model_step(struct model *m, const struct model *other, uint64_t *seed)
{
	uint32_t first = 1 + unit_random(seed) % UIDS;
	uint32_t last = first + unit_random(seed) % (UIDS + 1 - first);

	switch (unit_random(seed) % 8) {
	case 0: case 1:
		check(uidset_add_range(&m->set, first, last) == 0);
		model_mark(m, first, last, true);
		break;
	case 2: case 3:
		check(uidset_remove_range(&m->set, first, last) == 0);
		model_mark(m, first, last, false);
		break;
	case 4:
		check(uidset_add(&m->set, first) == 0);
		model_mark(m, first, first, true);
		break;
	case 5:
		check(uidset_add_set(&m->set, &other->set) == 0);
		for (unsigned u = 1; u <= UIDS; u++)
			m->has[u] |= other->has[u];
		break;
	case 6:
		check(uidset_remove_set(&m->set, &other->set) == 0);
		for (unsigned u = 1; u <= UIDS; u++)
			m->has[u] &= !other->has[u];
		break;
	default:
		check(uidset_intersect(&m->set, &other->set) == 0);
		for (unsigned u = 1; u <= UIDS; u++)
			m->has[u] &= other->has[u];
		break;
	}
}

static void model_fill(struct model *m, uint64_t *seed)
{
	unsigned one_in = 1 + unit_random(seed) % 9;

	memset(m, 0, sizeof(*m));
	for (unsigned u = 1; u <= UIDS; u++) {
		m->has[u] = unit_random(seed) % one_in == 0;
		if (m->has[u])
			check(uidset_add(&m->set, u) == 0);
	}
}

/* With every n-th member taken out, and with all. */
static void model_decode_first(const struct model *m, const struct buf *coded, unsigned step)
{
	struct uidset but;
	uint32_t uid = 99;

	uidset_init(&but);
	for (unsigned n = 1; n <= 3; n++) {
		uint32_t want = 0;

		uidset_clear(&but);
		for (unsigned u = 1, seen = 0; u <= UIDS; u++) {
			if (!m->has[u])
				continue;
			if (++seen % n != 0) {
				want = want == 0 ? u : want;
				continue;
			}
			check(uidset_add(&but, u) == 0);
		}
		check_row(uidset_decode_first(coded->data, coded->len, &but, &uid) == 0, step);
		check_row(uid == want, step);
	}
	uidset_clear(&but);
	check_row(uidset_decode_first(coded->data, coded->len, &but, &uid) == 0, step);
	check_row(uid == uidset_nth(&m->set, 0), step);
	uidset_deinit(&but);
}

static void model_round_trip(const struct model *m, unsigned step)
{
	struct model back = *m;
	struct buf b;

	buf_init(&b, 4096);
	uidset_init(&back.set);
	check_row(uidset_encode(&m->set, &b) == 0, step);
	check_row(uidset_decode(&back.set, b.data, b.len, m->set.count) == 0, step);
	model_check(&back, step);
	if (m->set.count > 0)
		check_row(uidset_decode(&back.set, b.data, b.len,
					m->set.count - 1) == -E2BIG, step);
	model_decode_first(m, &b, step);
	buf_reset(&b);
	check_row(uidset_print(&m->set, &b) == 0, step);
	uidset_clear(&back.set);
	if (b.len > 0)
		check_row(uidset_parse(&back.set, (char *)b.data, b.len, 0,
				       MAX_RANGES) == 0, step);
	model_check(&back, step);
	check_row(uidset_copy(&back.set, &m->set) == 0, step);
	model_check(&back, step);
	uidset_deinit(&back.set);
	buf_deinit(&b);
}

static void test_uidset_agrees_with_a_bitmap(void)
{
	uint64_t seed = unit_seed();
	struct model m, other;

	memset(&m, 0, sizeof(m));
	for (unsigned step = 0; step < 2000; step++) {
		model_fill(&other, &seed);
		model_step(&m, &other, &seed);
		model_check(&m, step);
		model_round_trip(&m, step);
		uidset_deinit(&other.set);
	}
	uidset_deinit(&m.set);
}

/* ---- binary ---- */

static void test_uidset_encoding_is_small_and_stays_as_it_is(void)
{
	static const uint8_t want[] = { 0, 0, 0, 7, 0x80, 1, 0 };
	struct uidset s;
	struct buf b;

	/* gap 0 run 0 | gap 0 run 7 | gap 128 run 0 */
	set_of(&s, "1,3:10,140");
	buf_init(&b, 100);
	check(uidset_encode(&s, &b) == 0);
	check(b.len == sizeof(want) && memcmp(b.data, want, b.len) == 0);
	buf_deinit(&b);
	uidset_deinit(&s);
}

static void test_uidset_decode_refuses_what_encode_never_writes(void)
{
	static const struct {
		size_t len;
		uint8_t bytes[12];
	} rows[] = {
		{ 1, { 0 } },				/* half a pair */
		{ 1, { 0x80 } },			/* a number that does not end */
		{ 3, { 0, 0, 0 } },
		{ 3, { 0x80, 0, 0 } },			/* not the shortest form */
		{ 3, { 0, 0x80, 0 } },
		{ 6, { 0xff, 0xff, 0xff, 0xff, 0x0f, 0 } },	/* 1 + 2^32-1 */
		{ 6, { 0, 0xff, 0xff, 0xff, 0xff, 0x0f } },	/* ends beyond 2^32-1 */
		{ 6, { 0xff, 0xff, 0xff, 0xff, 0x1f, 0 } },	/* more than 32 bits */
		{ 7, { 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0 } },
		{ 8, { 0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0 } },	/* one after the top */
	};
	struct uidset s, all;
	uint32_t uid;

	set_of(&s, "77");
	set_of(&all, "1:4294967295");
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		check_row(uidset_decode(&s, rows[i].bytes, rows[i].len,
					MAX_RANGES) == -EINVAL, i);
		check_row(set_is(&s, "77"), i);
		check_row(uidset_decode_first(rows[i].bytes, rows[i].len, &all, &uid) == -EINVAL, i);
	}
	check(uidset_decode(&s, "\xfe\xff\xff\xff\x0f\0", 6, 1) == 0);
	check(set_is(&s, "4294967295"));
	check(uidset_decode(&s, NULL, 0, 0) == 0 && uidset_is_empty(&s));
	uidset_deinit(&s);
	uidset_deinit(&all);
}

/* Every text that decodes is the one text of its set. */
static void test_uidset_has_one_encoding_for_each_set(void)
{
	uint64_t seed = unit_seed();
	unsigned valid = 0;

	for (unsigned step = 0; step < 20000; step++) {
		uint8_t bytes[12];
		size_t len = unit_random(&seed) % sizeof(bytes);
		struct uidset s;
		struct buf b;

		for (size_t i = 0; i < len; i++) {
			bytes[i] = (uint8_t)unit_random(&seed);
			if (unit_random(&seed) % 2)
				bytes[i] &= 0x7f;
		}
		uidset_init(&s);
		buf_init(&b, 100);
		if (uidset_decode(&s, bytes, len, MAX_RANGES) == 0) {
			valid++;
			check_row(uidset_encode(&s, &b) == 0, step);
			check_row(b.len == len && (len == 0 ||
				  memcmp(b.data, bytes, len) == 0), step);
		}
		buf_deinit(&b);
		uidset_deinit(&s);
	}
	check(valid > 100);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_uidset_parses_and_prints),
		UNIT_TEST(test_uidset_parse_stops_at_the_length_and_at_nul),
		UNIT_TEST(test_uidset_parse_bounds_the_number_of_items),
		UNIT_TEST(test_uidset_works_at_both_ends_of_the_number_range),
		UNIT_TEST(test_uidset_operations_take_the_set_itself),
		UNIT_TEST(test_uidset_agrees_with_a_bitmap),
		UNIT_TEST(test_uidset_encoding_is_small_and_stays_as_it_is),
		UNIT_TEST(test_uidset_decode_refuses_what_encode_never_writes),
		UNIT_TEST(test_uidset_has_one_encoding_for_each_set),
	};
	return unit_run("uidset", tests, UNIT_COUNT(tests));
}
