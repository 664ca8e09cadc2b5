/* SPDX-License-Identifier: MIT */
#ifndef MASTER_BACKOFF_H
#define MASTER_BACKOFF_H
/* How long to wait before a program that died is started again: the first time
 * not at all, then longer each time, until one has lived for a while. */
#include <stdint.h>

#define BACKOFF_FIRST_MS	100
#define BACKOFF_MAX_MS		500	/* sleepers wait for whoever it is: less than a second */
/* Who lived this long was well; the next death counts as a first one. */
#define BACKOFF_WELL_MS		10000

struct backoff {
	uint32_t failures;
};
/* It died after lived_ms: the delay before the next start. */
static inline uint64_t backoff_next_ms(struct backoff *b, uint64_t lived_ms)
{
	uint64_t delay = 0;

	if (lived_ms >= BACKOFF_WELL_MS)
		b->failures = 0;
	if (b->failures > 0) {
		delay = b->failures > 4 ? BACKOFF_MAX_MS :
			(uint64_t)BACKOFF_FIRST_MS << (b->failures - 1);
	}
	b->failures++;
	return delay < BACKOFF_MAX_MS ? delay : BACKOFF_MAX_MS;
}
#endif
