/* SPDX-License-Identifier: MIT */
#ifndef HIBERNATE_CHAIN_H
#define HIBERNATE_CHAIN_H
/* A hash index over items that are numbers. The links lie in the items
 * themselves (four bytes each); the heads grow with the count, so that a
 * thousand sleepers do not touch the pages of a million. */
#include <stdint.h>

/* No item. */
#define NONE	UINT32_MAX

typedef uint32_t *chain_next_fn(void *ctx, uint32_t item);	/* where its link lies */
typedef uint64_t chain_hash_fn(void *ctx, uint32_t item);	/* its key, hashed */

struct chain {
	uint32_t *heads;
	uint32_t mask, count;
	chain_next_fn *next;
	chain_hash_fn *hash;
	void *ctx;
};
int chain_init(struct chain *c, chain_next_fn *next, chain_hash_fn *hash, void *ctx);
void chain_deinit(struct chain *c);
/* Cannot fail: where memory is short the chains get longer. */
void chain_insert(struct chain *c, uint32_t item);
/* The key must still be what it was at the insert. */
void chain_remove(struct chain *c, uint32_t item);
/* The first item whose hash may be this one, and the next; NONE at the end.
 * The caller compares keys. */
uint32_t chain_first(const struct chain *c, uint64_t hash);
uint32_t chain_next(const struct chain *c, uint32_t item);
/* Spreads the bits of a key (the finaliser of splitmix64). */
static inline uint64_t chain_mix(uint64_t z)
{
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}
#endif
