/* SPDX-License-Identifier: MIT */
#include "imap-hibernate/wheel.h"

#include <errno.h>
#include <stdlib.h>

int wheel_init(struct wheel *w, uint32_t capacity)
{
	*w = (struct wheel){ 0 };
	for (uint32_t i = 0; i < WHEEL_BUCKETS; i++)
		w->heads[i] = NONE;
	w->nodes = calloc(capacity, sizeof(*w->nodes));
	return w->nodes ? 0 : -ENOMEM;
}

void wheel_deinit(struct wheel *w)
{
	free(w->nodes);
	w->nodes = NULL;
}

static uint32_t wheel_tick(const struct wheel_node *n)
{
	return n->due - 1;
}

/* Which bucket: its own tick's, within the reach of the hand. A node's bucket
 * cannot be told from due later on, so the head remembers it by a node whose
 * prev names the bucket, with the top bit set. */
#define AT_HEAD		0x80000000u

static void wheel_put(struct wheel *w, uint32_t item)
{
	struct wheel_node *n = &w->nodes[item];
	uint32_t tick = wheel_tick(n), bucket;

	if (tick < w->hand)
		tick = w->hand;
	if (tick - w->hand > WHEEL_BUCKETS - 1)
		tick = w->hand + WHEEL_BUCKETS - 1;
	bucket = tick % WHEEL_BUCKETS;
	n->next = w->heads[bucket];
	n->prev = AT_HEAD | bucket;
	if (n->next != NONE)
		w->nodes[n->next].prev = item;
	w->heads[bucket] = item;
}

static void wheel_unlink(struct wheel *w, uint32_t item)
{
	struct wheel_node *n = &w->nodes[item];

	if (n->next != NONE)
		w->nodes[n->next].prev = n->prev;
	if (n->prev & AT_HEAD)
		w->heads[n->prev & ~AT_HEAD] = n->next;
	else
		w->nodes[n->prev].next = n->next;
}

void wheel_set(struct wheel *w, uint32_t item, uint32_t tick)
{
	wheel_cancel(w, item);
	w->nodes[item].due = tick < NONE - 1 ? tick + 1 : NONE;
	wheel_put(w, item);
	w->count++;
}

void wheel_cancel(struct wheel *w, uint32_t item)
{
	if (w->nodes[item].due == 0)
		return;
	wheel_unlink(w, item);
	w->nodes[item].due = 0;
	w->count--;
}

uint32_t wheel_take(struct wheel *w, uint32_t now)
{
	if (w->count == 0) {
		if (w->hand < now)
			w->hand = now;
		return NONE;
	}
	for (;;) {
		uint32_t item = w->heads[w->hand % WHEEL_BUCKETS];

		if (w->hand > now)
			return NONE;
		if (item == NONE) {
			if (w->hand == now)
				return NONE;
			w->hand++;
			continue;
		}
		if (wheel_tick(&w->nodes[item]) <= now) {
			wheel_cancel(w, item);
			return item;
		}
		/* It was out of reach when it was put here. */
		wheel_unlink(w, item);
		wheel_put(w, item);
		/* Still in this bucket only if a whole round is missing,
		   which the reach makes impossible. */
	}
}

uint32_t wheel_next(const struct wheel *w)
{
	if (w->count == 0)
		return NONE;
	for (uint32_t i = 0; i < WHEEL_BUCKETS; i++) {
		if (w->heads[(w->hand + i) % WHEEL_BUCKETS] != NONE)
			return w->hand + i;
	}
	return NONE;
}

uint32_t wheel_align(uint32_t from, uint32_t interval, uint32_t phase)
{
	uint32_t off;

	if (interval == 0)
		return from;
	phase %= interval;
	off = from % interval;
	return off <= phase ? from + (phase - off) : from + (interval - off) + phase;
}
