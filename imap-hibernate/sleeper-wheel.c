/* SPDX-License-Identifier: MIT */
/* What a sleeper is due for: the next keepalive, the next poll. Keepalives of
 * one client address fall into the same turn, so that a phone's radio wakes
 * once for all its connections. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "imap-hibernate/holder.h"
#include "imap-hibernate/sleeper-private.h"
#include "imap-hibernate/sleeper-verdict.h"
#include "imap-hibernate/sleeper.h"
#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/fence.h"

/* A crowd behind one address must not hold up wakes. */
#define KEEPALIVES_A_TURN	500
#define TICK_MIN_MS		5u
#define TICK_MAX_MS		1000u

static uint32_t ticks(const struct holder *h, uint64_t ms)
{
	uint64_t n = ms / h->tick_ms;

	return n < 1 ? 1 : n > NONE / 4 ? NONE / 4 : (uint32_t)n;
}

uint32_t sleeper_tick_now(const struct holder *h)
{
	return (uint32_t)((clock_ms() - h->epoch_ms) / h->tick_ms);
}

/* The address without its port: all connections of a phone are one. */
static uint32_t address_phase(const char *remote)
{
	size_t len = strlen(remote);
	const char *colon = strrchr(remote, ':');
	uint64_t hash = 0;

	if (colon && (remote[0] == '[' || strchr(remote, ':') == colon))
		len = (size_t)(colon - remote);
	for (size_t i = 0; i < len; i++)
		hash = chain_mix(hash ^ (uint8_t)remote[i]);
	return (uint32_t)(hash >> 32);
}

/* Three to five quarters of the interval: not all at once. */
static uint32_t poll_tick(const struct holder *h, uint32_t slot)
{
	uint64_t all = h->settings.poll_interval_ms;
	uint64_t jitter = chain_mix(table_cookie(h->table, slot)) % (all / 2 + 1);

	return h->sleepers[slot].since + ticks(h, all - all / 4 + jitter);
}

static bool wants_keepalives(const struct holder *h, const struct table_entry *e)
{
	return (e->flags & SLEEP_IDLE) && e->n_keepalives > 0 &&
	       h->settings.keepalive_interval_ms > 0;
}

static void wheel_fire(void *ctx);

static void wheel_arm(struct holder *h)
{
	uint32_t next = wheel_next(&h->wheel);
	uint64_t due, now = clock_ms();

	if (next == NONE)
		return;
	due = h->epoch_ms + (uint64_t)next * h->tick_ms;
	if (h->wheel_timer.heap_index != 0 && h->wheel_timer.due_ms <= due)
		return;
	loop_timer_set(h->loop, &h->wheel_timer, due > now ? due - now : 0, wheel_fire, h);
}

void sleeper_schedule(struct holder *h, uint32_t slot)
{
	uint32_t interval = ticks(h, h->settings.keepalive_interval_ms);
	uint32_t due = NONE, poll;
	struct table_entry e;

	table_read(h->table, slot, &e);
	/* Not sooner than half an interval from now, then every interval. */
	if (wants_keepalives(h, &e))
		due = wheel_align(sleeper_tick_now(h) + interval / 2 + 1, interval,
				  address_phase(e.remote));
	if ((e.flags & SLEEP_POLL) && h->settings.poll_interval_ms > 0) {
		poll = poll_tick(h, slot);
		if (poll < due)
			due = poll;
	}
	if (due == NONE)
		return;
	wheel_set(&h->wheel, slot, due);
	wheel_arm(h);
}

/* Step 7: the next prepared bytes, only under the lock; which ones follows
 * from the kernel's count. None is ever skipped: a full socket waits a turn. */
static void sleeper_keepalive(struct holder *h, uint32_t slot)
{
	struct sleeper *sl = &h->sleepers[slot];
	struct keepalive_turn turn;
	struct table_entry e;
	struct iovec iov;
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	uint64_t done = 0;
	int look;

	sleeper_relock(h, slot);
	if (sl->phase != SLEEPER_ASLEEP)
		return;
	look = sleeper_fence(h, slot, &done);
	if (look == FENCE_MOVED) {
		sleeper_moved(h, slot);
		return;
	}
	if (look < 0)
		return;
	table_read(h->table, slot, &e);
	turn = keepalive_next(e.keepalive_len, e.n_keepalives, done);
	if (turn.len == 0) {
		sleeper_wake(h, slot, WAKE_KEEPALIVES);
		return;
	}
	iov.iov_base = (uint8_t *)(uintptr_t)e.keepalives + turn.offset;
	iov.iov_len = turn.len;
	if (fault("hold-keepalive-short") && turn.len > 1)
		iov.iov_len = turn.len / 2;
	if (sendmsg(sl->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		h->keepalives++;
	fault("hold-keepalive");
}

static void wheel_turn(struct holder *h, uint32_t slot)
{
	struct table_entry e;

	if (h->sleepers[slot].phase != SLEEPER_ASLEEP)
		return;
	table_read(h->table, slot, &e);
	if ((e.flags & SLEEP_POLL) && h->settings.poll_interval_ms > 0 &&
	    poll_tick(h, slot) <= sleeper_tick_now(h))
		sleeper_wake(h, slot, WAKE_POLL);
	else if (wants_keepalives(h, &e))
		sleeper_keepalive(h, slot);
	if (h->sleepers[slot].phase == SLEEPER_ASLEEP)
		sleeper_schedule(h, slot);
}

static void wheel_fire(void *ctx)
{
	struct holder *h = ctx;
	uint32_t now = sleeper_tick_now(h), slot;
	unsigned n = 0;

	while (n++ < KEEPALIVES_A_TURN && (slot = wheel_take(&h->wheel, now)) != NONE)
		wheel_turn(h, slot);
	wheel_arm(h);
}

/* A tick is fine enough for the shortest interval there is. */
void sleeper_ticks_init(struct holder *h)
{
	uint64_t shortest = h->settings.keepalive_interval_ms;

	if (shortest == 0 || (h->settings.poll_interval_ms > 0 &&
			      h->settings.poll_interval_ms < shortest))
		shortest = h->settings.poll_interval_ms;
	shortest /= 512;
	h->tick_ms = shortest < TICK_MIN_MS ? TICK_MIN_MS :
		     shortest > TICK_MAX_MS ? TICK_MAX_MS : (uint32_t)shortest;
	h->epoch_ms = clock_ms();
}
