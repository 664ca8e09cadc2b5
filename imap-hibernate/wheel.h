/* SPDX-License-Identifier: MIT */
#ifndef HIBERNATE_WHEEL_H
#define HIBERNATE_WHEEL_H
/* When is it whose turn? A timer wheel over items that are numbers, 12 bytes
 * each, with coarse ticks. Pure: it is told the tick.
 *
 * A bucket holds one round only: what is due later than the wheel reaches is
 * put into the last bucket before the hand and passed on when that comes
 * round, so taking the next one never searches. */
#include <stdint.h>
#include "imap-hibernate/chain.h"

#define WHEEL_BUCKETS	1024u

struct wheel_node {
	uint32_t next, prev;
	uint32_t due;		/* tick + 1; 0: not in the wheel */
};
struct wheel {
	struct wheel_node *nodes;
	uint32_t heads[WHEEL_BUCKETS];
	uint32_t hand;		/* buckets before this tick are empty */
	uint32_t count;
};
/* Room for items [0, capacity); memory is touched only as they come. */
int wheel_init(struct wheel *w, uint32_t capacity);
void wheel_deinit(struct wheel *w);
/* (Again): item is due at this tick; one that has passed is due at once. */
void wheel_set(struct wheel *w, uint32_t item, uint32_t tick);
void wheel_cancel(struct wheel *w, uint32_t item);
/* Takes out an item that is due at tick `now` or before; NONE: no more. */
uint32_t wheel_take(struct wheel *w, uint32_t now);
/* The next tick at which something may be due; NONE: the wheel is empty. */
uint32_t wheel_next(const struct wheel *w);

/* Keepalives of one client address fire together, so that a phone's connections
 * wake its radio once: the first tick at or after `from` that is `phase` in
 * the interval. */
uint32_t wheel_align(uint32_t from, uint32_t interval, uint32_t phase);
#endif
