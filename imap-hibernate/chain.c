/* SPDX-License-Identifier: MIT */
#include "imap-hibernate/chain.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define CHAIN_HEADS_MIN	64u

static uint32_t *heads_new(uint32_t n)
{
	uint32_t *heads = malloc(n * sizeof(*heads));

	for (uint32_t i = 0; heads && i < n; i++)
		heads[i] = NONE;
	return heads;
}

int chain_init(struct chain *c, chain_next_fn *next, chain_hash_fn *hash, void *ctx)
{
	*c = (struct chain){ .next = next, .hash = hash, .ctx = ctx,
			     .mask = CHAIN_HEADS_MIN - 1 };
	c->heads = heads_new(CHAIN_HEADS_MIN);
	return c->heads ? 0 : -ENOMEM;
}

void chain_deinit(struct chain *c)
{
	free(c->heads);
	*c = (struct chain){ 0 };
}

static void chain_put(struct chain *c, uint32_t item)
{
	uint32_t *head = &c->heads[c->hash(c->ctx, item) & c->mask];

	*c->next(c->ctx, item) = *head;
	*head = item;
}

static void chain_grow(struct chain *c)
{
	uint32_t n = (c->mask + 1) * 2, old_n = c->mask + 1;
	uint32_t *old = c->heads, *heads;

	if (n > UINT32_MAX / 8)
		return;
	heads = heads_new(n);
	if (!heads)
		return;
	c->heads = heads;
	c->mask = n - 1;
	for (uint32_t i = 0; i < old_n; i++) {
		for (uint32_t item = old[i], next; item != NONE; item = next) {
			next = *c->next(c->ctx, item);
			chain_put(c, item);
		}
	}
	free(old);
}

void chain_insert(struct chain *c, uint32_t item)
{
	if (c->count > c->mask)
		chain_grow(c);
	chain_put(c, item);
	c->count++;
}

void chain_remove(struct chain *c, uint32_t item)
{
	uint32_t *at = &c->heads[c->hash(c->ctx, item) & c->mask];

	while (*at != item) {
		assert(*at != NONE);	/* it was not in here */
		at = c->next(c->ctx, *at);
	}
	*at = *c->next(c->ctx, item);
	c->count--;
}

uint32_t chain_first(const struct chain *c, uint64_t hash)
{
	return c->heads[hash & c->mask];
}

uint32_t chain_next(const struct chain *c, uint32_t item)
{
	return *c->next(c->ctx, item);
}
