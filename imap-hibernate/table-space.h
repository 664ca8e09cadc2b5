/* SPDX-License-Identifier: MIT */
#ifndef HIBERNATE_TABLE_SPACE_H
#define HIBERNATE_TABLE_SPACE_H
/* Inside the table: space for blocks. A file is seen as units of 16 bytes.
 * A piece is a head of 8 bytes (its length and that of the one before it,
 * both in units) and the bytes of its user. Free pieces are kept in bins by
 * length, linked through their own bytes; neighbours merge. An area is a run
 * of block extents and ends in a closing piece of length 0.
 *
 * Nothing here survives a crash, nor has to: space_rebuild() lays all heads
 * anew around the pieces that records point at. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPACE_UNIT	16u
#define SPACE_HEAD	8u
#define SPACE_BINS	128u

struct space {
	uint8_t *base;			/* of the mapping */
	uint32_t bins[SPACE_BINS];	/* the last one: that long or longer */
	uint64_t filled[2];		/* which bins are not empty */
	uint64_t used_units;
};
/* A piece that is in use: its first unit and its user's bytes. */
struct space_piece { uint32_t unit, bytes; };

void space_init(struct space *s, void *base);
/* Adds the units [from, to) as an area; one that ends at `from` grows instead. */
void space_add(struct space *s, uint32_t from, uint32_t to, bool joins);
/* The unit of a new piece for so many bytes, or 0: no room. */
uint32_t space_take(struct space *s, size_t bytes);
void space_give(struct space *s, uint32_t unit);
static inline void *space_at(const struct space *s, uint32_t unit)
{
	return s->base + (uint64_t)unit * SPACE_UNIT + SPACE_HEAD;
}
static inline uint32_t space_units(size_t bytes)
{
	return (uint32_t)((bytes + SPACE_HEAD + SPACE_UNIT - 1) / SPACE_UNIT);
}
/* Lays the area [from, to) around these pieces, which are sorted, do not
 * overlap, and lie inside it. */
void space_rebuild(struct space *s, uint32_t from, uint32_t to,
		   const struct space_piece *pieces, size_t n);
#endif
