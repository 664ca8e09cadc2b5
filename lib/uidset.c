/* SPDX-License-Identifier: MIT */
/* Sorted, disjoint, non-adjacent ranges in one array. Every operation keeps
 * that form, so two equal sets are equal arrays. Operations on two sets walk
 * both once. What replaces a set is built aside first: on failure the old
 * content is still there. */
#include "lib/uidset.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"

void uidset_init(struct uidset *s)
{
	*s = (struct uidset){ 0 };
}

void uidset_deinit(struct uidset *s)
{
	free(s->ranges);
	uidset_init(s);
}

void uidset_clear(struct uidset *s)
{
	s->count = 0;
}

static int uidset_room(struct uidset *s, size_t more)
{
	struct uid_range *ranges;
	size_t cap = s->cap ? s->cap : 4;

	if (more <= s->cap - s->count)
		return 0;
	if (more > SIZE_MAX / 4 - s->count)
		return -ENOMEM;
	while (cap - s->count < more)
		cap *= 2;
	ranges = reallocarray(s->ranges, cap, sizeof(*ranges));
	if (!ranges)
		return -ENOMEM;
	s->ranges = ranges;
	s->cap = cap;
	return 0;
}

/* Hands the content of `from` to `to`, whose own is freed. */
static void uidset_move(struct uidset *to, struct uidset *from)
{
	uidset_deinit(to);
	*to = *from;
	uidset_init(from);
}

/* The first range that ends at uid or later; s->count if there is none. */
static size_t uidset_find(const struct uidset *s, uint32_t uid)
{
	size_t low = 0, high = s->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (s->ranges[mid].last < uid)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Adds a range that begins no earlier than the last one of the set does. */
static int uidset_append(struct uidset *s, uint32_t first, uint32_t last)
{
	struct uid_range *end = s->count ? &s->ranges[s->count - 1] : NULL;
	int ret;

	/* first - 1: adjacent ranges become one. first is at least 1. */
	if (end && first - 1 <= end->last) {
		assert(first >= end->first);
		if (last > end->last)
			end->last = last;
		return 0;
	}
	ret = uidset_room(s, 1);
	if (ret < 0)
		return ret;
	s->ranges[s->count++] = (struct uid_range){ first, last };
	return 0;
}

int uidset_add(struct uidset *s, uint32_t uid)
{
	return uidset_add_range(s, uid, uid);
}

int uidset_add_range(struct uidset *s, uint32_t first, uint32_t last)
{
	size_t from, to;
	int ret;

	assert(first >= 1 && first <= last);
	if (s->count == 0 || first >= s->ranges[s->count - 1].first)
		return uidset_append(s, first, last);

	/* [from, to): what touches or overlaps the new range. */
	from = uidset_find(s, first == 1 ? 1 : first - 1);
	for (to = from; to < s->count && s->ranges[to].first - 1 <= last; to++)
		;
	if (from == to) {
		ret = uidset_room(s, 1);
		if (ret < 0)
			return ret;
		memmove(&s->ranges[from + 1], &s->ranges[from],
			(s->count - from) * sizeof(*s->ranges));
		s->ranges[from] = (struct uid_range){ first, last };
		s->count++;
		return 0;
	}
	if (s->ranges[from].first < first)
		first = s->ranges[from].first;
	if (s->ranges[to - 1].last > last)
		last = s->ranges[to - 1].last;
	s->ranges[from] = (struct uid_range){ first, last };
	memmove(&s->ranges[from + 1], &s->ranges[to],
		(s->count - to) * sizeof(*s->ranges));
	s->count -= to - from - 1;
	return 0;
}

int uidset_add_set(struct uidset *s, const struct uidset *other)
{
	struct uidset sum = { 0 };
	size_t i = 0, j = 0;
	int ret = 0;

	if (s == other || other->count == 0)
		return 0;
	while (ret == 0 && (i < s->count || j < other->count)) {
		const struct uid_range *r;

		if (j == other->count || (i < s->count &&
		    s->ranges[i].first <= other->ranges[j].first))
			r = &s->ranges[i++];
		else
			r = &other->ranges[j++];
		ret = uidset_append(&sum, r->first, r->last);
	}
	if (ret == 0)
		uidset_move(s, &sum);
	uidset_deinit(&sum);
	return ret;
}

int uidset_remove_range(struct uidset *s, uint32_t first, uint32_t last)
{
	size_t from, to;
	int ret;

	assert(first >= 1 && first <= last);
	from = uidset_find(s, first);
	if (from == s->count || s->ranges[from].first > last)
		return 0;
	if (s->ranges[from].first < first && s->ranges[from].last > last) {
		/* A hole: one range becomes two. */
		ret = uidset_room(s, 1);
		if (ret < 0)
			return ret;
		memmove(&s->ranges[from + 1], &s->ranges[from],
			(s->count - from) * sizeof(*s->ranges));
		s->count++;
		s->ranges[from].last = first - 1;
		s->ranges[from + 1].first = last + 1;
		return 0;
	}
	if (s->ranges[from].first < first)
		s->ranges[from++].last = first - 1;
	for (to = from; to < s->count && s->ranges[to].last <= last; to++)
		;
	if (to < s->count && s->ranges[to].first <= last)
		s->ranges[to].first = last + 1;
	memmove(&s->ranges[from], &s->ranges[to],
		(s->count - to) * sizeof(*s->ranges));
	s->count -= to - from;
	return 0;
}

int uidset_remove_set(struct uidset *s, const struct uidset *other)
{
	struct uidset rest = { 0 };
	size_t j = 0;
	int ret = 0;

	if (s == other) {
		uidset_clear(s);
		return 0;
	}
	if (s->count == 0 || other->count == 0)
		return 0;
	for (size_t i = 0; i < s->count && ret == 0; i++) {
		/* 64 bits: one past UINT32_MAX is a place too. */
		uint64_t at = s->ranges[i].first, last = s->ranges[i].last;

		while (j < other->count && other->ranges[j].last < at)
			j++;
		for (size_t k = j; k < other->count && ret == 0 &&
		     other->ranges[k].first <= last; k++) {
			if (other->ranges[k].first > at)
				ret = uidset_append(&rest, (uint32_t)at,
						    other->ranges[k].first - 1);
			at = (uint64_t)other->ranges[k].last + 1;
		}
		if (ret == 0 && at <= last)
			ret = uidset_append(&rest, (uint32_t)at, (uint32_t)last);
	}
	if (ret == 0)
		uidset_move(s, &rest);
	uidset_deinit(&rest);
	return ret;
}

int uidset_copy(struct uidset *to, const struct uidset *from)
{
	struct uidset copy = { 0 };
	int ret;

	if (to == from)
		return 0;
	ret = uidset_room(&copy, from->count);
	if (ret < 0)
		return ret;
	if (from->count > 0)
		memcpy(copy.ranges, from->ranges,
		       from->count * sizeof(*from->ranges));
	copy.count = from->count;
	uidset_move(to, &copy);
	return 0;
}

int uidset_intersect(struct uidset *s, const struct uidset *other)
{
	struct uidset both = { 0 };
	size_t i = 0, j = 0;
	int ret = 0;

	while (ret == 0 && i < s->count && j < other->count) {
		const struct uid_range *a = &s->ranges[i], *b = &other->ranges[j];
		uint32_t first = a->first > b->first ? a->first : b->first;
		uint32_t last = a->last < b->last ? a->last : b->last;

		if (first <= last)
			ret = uidset_append(&both, first, last);
		if (a->last < b->last)
			i++;
		else
			j++;
	}
	if (ret == 0)
		uidset_move(s, &both);
	uidset_deinit(&both);
	return ret;
}

/* ---- questions ---- */

bool uidset_contains(const struct uidset *s, uint32_t uid)
{
	size_t i = uidset_find(s, uid);

	return i < s->count && s->ranges[i].first <= uid;
}

bool uidset_is_empty(const struct uidset *s)
{
	return s->count == 0;
}

static uint64_t uid_range_count(const struct uid_range *r)
{
	return (uint64_t)r->last - r->first + 1;
}

uint64_t uidset_count(const struct uidset *s)
{
	uint64_t n = 0;

	for (size_t i = 0; i < s->count; i++)
		n += uid_range_count(&s->ranges[i]);
	return n;
}

uint32_t uidset_nth(const struct uidset *s, uint64_t n)
{
	for (size_t i = 0; i < s->count; i++) {
		uint64_t here = uid_range_count(&s->ranges[i]);

		if (n < here)
			return s->ranges[i].first + (uint32_t)n;
		n -= here;
	}
	return 0;
}

uint64_t uidset_rank_next(const struct uidset *s, struct uidset_ranker *at, uint32_t uid)
{
	if (at->i > 0 && s->ranges[at->i - 1].last >= uid)
		*at = (struct uidset_ranker){ 0 };
	for (; at->i < s->count && s->ranges[at->i].last < uid; at->i++)
		at->before += uid_range_count(&s->ranges[at->i]);
	if (at->i < s->count && s->ranges[at->i].first < uid)
		return at->before + (uid - s->ranges[at->i].first);
	return at->before;
}

uint64_t uidset_rank(const struct uidset *s, uint32_t uid)
{
	struct uidset_ranker at = { 0 };

	return uidset_rank_next(s, &at, uid);
}

static uint32_t uidset_from(const struct uidset *s, struct uidset_iter *it)
{
	if (it->i >= s->count)
		return 0;
	it->next = s->ranges[it->i].first;
	return it->next;
}

uint32_t uidset_first(const struct uidset *s, struct uidset_iter *it)
{
	it->i = 0;
	return uidset_from(s, it);
}

uint32_t uidset_next(const struct uidset *s, struct uidset_iter *it)
{
	if (it->i >= s->count)
		return 0;
	if (it->next < s->ranges[it->i].last)
		return ++it->next;
	it->i++;
	return uidset_from(s, it);
}

/* ---- IMAP text ---- */

/* RFC 9051 section 9: nz-number, at most 32 bits, no leading zero. */
static bool uidset_parse_number(const char **p, const char *end, uint32_t *out_r)
{
	uint32_t v = 0;

	if (*p == end || **p < '1' || **p > '9')
		return false;
	for (; *p < end && **p >= '0' && **p <= '9'; (*p)++) {
		uint32_t digit = (uint32_t)(**p - '0');

		if (v > (UINT32_MAX - digit) / 10)
			return false;
		v = v * 10 + digit;
	}
	*out_r = v;
	return true;
}

/* seq-number: nz-number / "*". `*` gives star, which may be 0. */
static bool uidset_parse_end(const char **p, const char *end, uint32_t star,
			     uint32_t *out_r)
{
	if (*p < end && **p == '*') {
		(*p)++;
		*out_r = star;
		return true;
	}
	return uidset_parse_number(p, end, out_r);
}

/* seq-number or seq-range. *r is {0, 0} if it matches nothing. */
static bool uidset_parse_item(const char **p, const char *end, uint32_t star,
			      struct uid_range *r)
{
	uint32_t a, b;

	if (!uidset_parse_end(p, end, star, &a))
		return false;
	b = a;
	if (*p < end && **p == ':') {
		(*p)++;
		if (!uidset_parse_end(p, end, star, &b))
			return false;
	}
	/* A `*` that stands for nothing leaves the other end alone. */
	if (a == 0 || b == 0)
		a = b = a | b;
	/* "2:4" and "4:2" are the same (RFC 9051 section 9, seq-range). */
	*r = (struct uid_range){ a < b ? a : b, a < b ? b : a };
	return true;
}

static int uid_range_compare(const void *va, const void *vb)
{
	const struct uid_range *a = va, *b = vb;

	if (a->first != b->first)
		return a->first < b->first ? -1 : 1;
	return 0;
}

/* Sorts what was gathered in any order, merges in place. */
static void uidset_normalise(struct uidset *s)
{
	size_t n = s->count;

	if (n < 2)
		return;
	qsort(s->ranges, n, sizeof(*s->ranges), uid_range_compare);
	s->count = 1;
	for (size_t i = 1; i < n; i++) {
		struct uid_range r = s->ranges[i];
		struct uid_range *end = &s->ranges[s->count - 1];

		if (r.first - 1 > end->last)
			s->ranges[s->count++] = r;
		else if (r.last > end->last)
			end->last = r.last;
	}
}

static int uidset_parse_items(struct uidset *s, const char *p, const char *end,
			      uint32_t star, size_t max_ranges)
{
	struct uid_range r;
	int ret;

	for (size_t items = 0; ; items++) {
		if (!uidset_parse_item(&p, end, star, &r))
			return -EINVAL;
		if (items >= max_ranges)
			return -E2BIG;
		if (r.first != 0) {
			ret = uidset_room(s, 1);
			if (ret < 0)
				return ret;
			s->ranges[s->count++] = r;
		}
		if (p == end)
			return 0;
		if (*p++ != ',')
			return -EINVAL;
	}
}

int uidset_parse(struct uidset *s, const char *text, size_t len, uint32_t star,
		 size_t max_ranges)
{
	struct uidset found = { 0 };
	int ret;

	if (len == 0)
		return -EINVAL;
	ret = uidset_parse_items(&found, text, text + len, star, max_ranges);
	if (ret == 0) {
		uidset_normalise(&found);
		uidset_move(s, &found);
	}
	uidset_deinit(&found);
	return ret;
}

int uidset_print(const struct uidset *s, struct buf *out)
{
	int ret = 0;

	for (size_t i = 0; i < s->count && ret == 0; i++) {
		const struct uid_range *r = &s->ranges[i];

		if (r->first == r->last)
			ret = buf_printf(out, "%s%u", i ? "," : "", r->first);
		else
			ret = buf_printf(out, "%s%u:%u", i ? "," : "",
					 r->first, r->last);
	}
	return ret;
}

/* ---- binary ----
 * For each range two numbers: how far its first member is beyond the first
 * place where it could be (1 for the first range, last + 2 after another, for
 * ranges are never adjacent), and its length less one. So every sequence of
 * numbers that does not overflow is exactly one set. */

static int uidset_put_number(struct buf *out, uint32_t v)
{
	uint8_t bytes[5];
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		bytes[n++] = (uint8_t)(v | 0x80);
	bytes[n++] = (uint8_t)v;
	return buf_append(out, bytes, n);
}

int uidset_encode(const struct uidset *s, struct buf *out)
{
	uint32_t base = 1;
	int ret = 0;

	for (size_t i = 0; i < s->count && ret == 0; i++) {
		const struct uid_range *r = &s->ranges[i];

		ret = uidset_put_number(out, r->first - base);
		if (ret == 0)
			ret = uidset_put_number(out, r->last - r->first);
		base = r->last + 2;	/* wraps after the last range only */
	}
	return ret;
}

/* Only the shortest form of a number is valid: one set, one text. */
static bool uidset_get_number(const uint8_t **p, const uint8_t *end, uint32_t *v_r)
{
	uint32_t v = 0;

	for (unsigned shift = 0; shift < 35 && *p < end; shift += 7) {
		uint8_t byte = *(*p)++;
		uint32_t bits = byte & 0x7f;

		if (shift == 28 && bits > 0x0f)
			return false;
		v |= bits << shift;
		if (!(byte & 0x80)) {
			*v_r = v;
			return byte != 0 || shift == 0;
		}
	}
	return false;
}

static int uidset_decode_ranges(struct uidset *s, const uint8_t *p,
				const uint8_t *end, size_t max_ranges)
{
	uint64_t base = 1;
	uint32_t gap, run;
	int ret;

	while (p < end) {
		uint64_t first, last;

		if (!uidset_get_number(&p, end, &gap) ||
		    !uidset_get_number(&p, end, &run))
			return -EINVAL;
		first = base + gap;
		last = first + run;
		if (last > UINT32_MAX)
			return -EINVAL;
		if (s->count >= max_ranges)
			return -E2BIG;
		ret = uidset_append(s, (uint32_t)first, (uint32_t)last);
		if (ret < 0)
			return ret;
		base = last + 2;
	}
	return 0;
}

int uidset_decode_first(const void *data, size_t len, const struct uidset *but, uint32_t *uid_r)
{
	const uint8_t *p = data, *end = len > 0 ? p + len : p;
	uint64_t base = 1;
	uint32_t gap, run;

	*uid_r = 0;
	while (p < end) {
		uint64_t uid, last;

		if (!uidset_get_number(&p, end, &gap) || !uidset_get_number(&p, end, &run))
			return -EINVAL;
		uid = base + gap;
		last = uid + run;
		if (last > UINT32_MAX)
			return -EINVAL;
		while (uid <= last && uidset_contains(but, (uint32_t)uid))
			uid++;
		if (uid <= last) {
			*uid_r = (uint32_t)uid;
			break;
		}
		base = last + 2;
	}
	return 0;
}

int uidset_decode(struct uidset *s, const void *data, size_t len,
		  size_t max_ranges)
{
	struct uidset found = { 0 };
	int ret = 0;

	if (len > 0)
		ret = uidset_decode_ranges(&found, data,
					   (const uint8_t *)data + len, max_ranges);
	if (ret == 0)
		uidset_move(s, &found);
	uidset_deinit(&found);
	return ret;
}
