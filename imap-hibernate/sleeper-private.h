/* SPDX-License-Identifier: MIT */
#ifndef HIBERNATE_SLEEPER_PRIVATE_H
#define HIBERNATE_SLEEPER_PRIVATE_H
/* Between sleeper.c and sleeper-wheel.c only. */
#include <stdint.h>

struct holder;
/* enum fence_verdict or -errno; done_r (may be NULL): bytes of the prepared
 * keepalives that are written. */
int sleeper_fence(struct holder *h, uint32_t slot, uint64_t *done_r);
/* The fence moved: the record is history. */
void sleeper_moved(struct holder *h, uint32_t slot);
/* It fell asleep, or had its turn: when is the next? */
void sleeper_schedule(struct holder *h, uint32_t slot);
uint32_t sleeper_tick_now(const struct holder *h);
void sleeper_ticks_init(struct holder *h);
#endif
