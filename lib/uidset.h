/* SPDX-License-Identifier: MIT */
#ifndef LIB_UIDSET_H
#define LIB_UIDSET_H
/* A set of message numbers (UIDs or sequence numbers) as sorted, disjoint,
 * non-adjacent ranges. Grows by realloc; running out of memory is reported. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
struct buf;
struct uid_range {
	uint32_t first, last;	/* inclusive, 1 <= first <= last */
};
struct uidset {
	struct uid_range *ranges;
	size_t count, cap;
};
void uidset_init(struct uidset *s);
void uidset_deinit(struct uidset *s);
void uidset_clear(struct uidset *s);
/* 0 or -ENOMEM. Appending at the end is O(1). first, last >= 1. */
int uidset_add(struct uidset *s, uint32_t uid);
int uidset_add_range(struct uidset *s, uint32_t first, uint32_t last);
int uidset_add_set(struct uidset *s, const struct uidset *other);
int uidset_remove_range(struct uidset *s, uint32_t first, uint32_t last);
int uidset_remove_set(struct uidset *s, const struct uidset *other);
int uidset_copy(struct uidset *to, const struct uidset *from);
/* Keep only what is in other too. */
int uidset_intersect(struct uidset *s, const struct uidset *other);
bool uidset_contains(const struct uidset *s, uint32_t uid);	/* O(log n) */
bool uidset_is_empty(const struct uidset *s);
uint64_t uidset_count(const struct uidset *s);
/* The n-th smallest member, n from 0; 0 if there is none. */
uint32_t uidset_nth(const struct uidset *s, uint64_t n);
/* How many members are < uid. */
uint64_t uidset_rank(const struct uidset *s, uint32_t uid);
/* The same for members that are asked for in ascending order: O(1) then. The set must not
 * change in between. */
struct uidset_ranker { size_t i; uint64_t before; };
uint64_t uidset_rank_next(const struct uidset *s, struct uidset_ranker *at, uint32_t uid);
/* IMAP sequence-set text (RFC 9051, section 9, "sequence-set" without "$").
 * star: what `*` stands for (0: `*` matches nothing and is skipped; a set `n:*` then is n alone or empty as RFC says).
 * 0, -EINVAL on a syntax error, -E2BIG above max_ranges, -ENOMEM. The set is sorted and merged. */
int uidset_parse(struct uidset *s, const char *text, size_t len, uint32_t star, size_t max_ranges);
/* "1:3,5,7:9"; nothing for the empty set. */
int uidset_print(const struct uidset *s, struct buf *out);
/* Iterate: for (uint32_t u = uidset_first(s, &it); u; u = uidset_next(s, &it)) */
struct uidset_iter { size_t i; uint32_t next; };
uint32_t uidset_first(const struct uidset *s, struct uidset_iter *it);
uint32_t uidset_next(const struct uidset *s, struct uidset_iter *it);
/* Compact binary form for the session state: LEB128 of (gap, run-1) pairs.
 * Decoding refuses overflow, disorder, left-over bytes and more than max_ranges. */
int uidset_encode(const struct uidset *s, struct buf *out);
int uidset_decode(struct uidset *s, const void *data, size_t len, size_t max_ranges);
/* The smallest member of an encoded set that is not in but, 0 if there is none: what follows
 * is not looked at. 0, -EINVAL. */
int uidset_decode_first(const void *data, size_t len, const struct uidset *but, uint32_t *uid_r);
#endif
