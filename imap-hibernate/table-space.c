/* SPDX-License-Identifier: MIT */
#include "imap-hibernate/table-space.h"

#include <assert.h>

#include "imap-hibernate/chain.h"

/* The shortest piece, one unit, holds its head and both links. */
struct piece {
	uint32_t len_used;	/* units << 1 | in use */
	uint32_t prev_len;	/* units of the piece before it; 0: first */
	uint32_t next, prev;	/* while it is free */
};
static_assert(sizeof(struct piece) == SPACE_UNIT, "one unit");

static struct piece *piece_at(const struct space *s, uint32_t unit)
{
	return (struct piece *)(void *)(s->base + (uint64_t)unit * SPACE_UNIT);
}

static uint32_t piece_len(const struct piece *p)
{
	return p->len_used >> 1;
}

static bool piece_used(const struct piece *p)
{
	return p->len_used & 1;
}

static unsigned bin_of(uint32_t len)
{
	return len < SPACE_BINS ? len : SPACE_BINS - 1;
}

static void bin_put(struct space *s, uint32_t unit)
{
	struct piece *p = piece_at(s, unit);
	unsigned bin = bin_of(piece_len(p));

	p->prev = NONE;
	p->next = s->bins[bin];
	if (p->next != NONE)
		piece_at(s, p->next)->prev = unit;
	s->bins[bin] = unit;
	s->filled[bin / 64] |= UINT64_C(1) << bin % 64;
}

static void bin_remove(struct space *s, uint32_t unit)
{
	struct piece *p = piece_at(s, unit);
	unsigned bin = bin_of(piece_len(p));

	if (p->next != NONE)
		piece_at(s, p->next)->prev = p->prev;
	if (p->prev != NONE)
		piece_at(s, p->prev)->next = p->next;
	else
		s->bins[bin] = p->next;
	if (s->bins[bin] == NONE)
		s->filled[bin / 64] &= ~(UINT64_C(1) << bin % 64);
}

void space_init(struct space *s, void *base)
{
	*s = (struct space){ .base = base };
	for (unsigned i = 0; i < SPACE_BINS; i++)
		s->bins[i] = NONE;
}

/* Writes a piece's head and tells its neighbour behind. */
static void piece_lay(struct space *s, uint32_t unit, uint32_t len, uint32_t prev_len,
		      bool used)
{
	struct piece *p = piece_at(s, unit);

	p->len_used = len << 1 | used;
	p->prev_len = prev_len;
	if (len > 0)
		piece_at(s, unit + len)->prev_len = len;
}

/* [unit, unit + len) becomes free; merges with free neighbours. */
static void piece_free(struct space *s, uint32_t unit, uint32_t len, uint32_t prev_len)
{
	struct piece *behind = piece_at(s, unit + len);

	if (!piece_used(behind)) {
		bin_remove(s, unit + len);
		len += piece_len(behind);
	}
	if (prev_len > 0 && !piece_used(piece_at(s, unit - prev_len))) {
		unit -= prev_len;
		bin_remove(s, unit);
		len += prev_len;
		prev_len = piece_at(s, unit)->prev_len;
	}
	piece_lay(s, unit, len, prev_len, false);
	bin_put(s, unit);
}

static void area_close(struct space *s, uint32_t end, uint32_t prev_len)
{
	piece_lay(s, end - 1, 0, prev_len, true);
}

void space_add(struct space *s, uint32_t from, uint32_t to, bool joins)
{
	uint32_t prev_len = 0;

	if (joins) {
		/* The old closing piece is the first unit of the new room. */
		from--;
		prev_len = piece_at(s, from)->prev_len;
	}
	area_close(s, to, 0);
	piece_free(s, from, to - 1 - from, prev_len);
}

/* The shortest free piece of at least so many units, or 0. */
static uint32_t piece_find(const struct space *s, uint32_t len)
{
	uint32_t best = 0;

	for (unsigned word = bin_of(len) / 64; word < 2; word++) {
		uint64_t bits = s->filled[word];

		if (word == bin_of(len) / 64)
			bits &= ~UINT64_C(0) << bin_of(len) % 64;
		if (word == 1)
			bits &= ~(UINT64_C(1) << 63);	/* lengths differ there */
		if (bits)
			return s->bins[word * 64 + (unsigned)__builtin_ctzll(bits)];
	}
	for (uint32_t u = s->bins[SPACE_BINS - 1]; u != NONE; u = piece_at(s, u)->next) {
		uint32_t have = piece_len(piece_at(s, u));

		if (have >= len && (!best || have < piece_len(piece_at(s, best))))
			best = u;
	}
	return best;
}

uint32_t space_take(struct space *s, size_t bytes)
{
	uint32_t len = space_units(bytes), unit = piece_find(s, len), have;
	struct piece *p;

	if (!unit)
		return 0;
	bin_remove(s, unit);
	p = piece_at(s, unit);
	have = piece_len(p);
	piece_lay(s, unit, len, p->prev_len, true);
	if (have > len) {
		piece_lay(s, unit + len, have - len, len, false);
		bin_put(s, unit + len);
	}
	s->used_units += len;
	return unit;
}

void space_give(struct space *s, uint32_t unit)
{
	struct piece *p = piece_at(s, unit);

	assert(piece_used(p) && piece_len(p) > 0);
	s->used_units -= piece_len(p);
	piece_free(s, unit, piece_len(p), p->prev_len);
}

void space_rebuild(struct space *s, uint32_t from, uint32_t to,
		   const struct space_piece *pieces, size_t n)
{
	uint32_t at = from, prev_len = 0;

	for (size_t i = 0; i <= n; i++) {
		uint32_t next = i < n ? pieces[i].unit : to - 1;

		if (next > at) {
			piece_lay(s, at, next - at, prev_len, false);
			bin_put(s, at);
			prev_len = next - at;
		}
		if (i == n)
			break;
		at = next;
		piece_at(s, at)->len_used = space_units(pieces[i].bytes) << 1 | 1;
		piece_at(s, at)->prev_len = prev_len;
		prev_len = space_units(pieces[i].bytes);
		s->used_units += prev_len;
		at += prev_len;
	}
	area_close(s, to, prev_len);
}
