/* SPDX-License-Identifier: MIT */
#ifndef HIBERNATE_SLEEPER_VERDICT_H
#define HIBERNATE_SLEEPER_VERDICT_H
/* What an event means for a sleeper. Pure: no descriptor. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sleeper_verdict {
	SLEEPER_STAY,
	SLEEPER_WAKE,	/* it has something to say */
	SLEEPER_GONE,	/* the connection is over and nothing is left to read */
};
/* epoll's events and what FIONREAD says. */
enum sleeper_verdict sleeper_verdict(uint32_t events, int unread);

/* Which prepared bytes go out next? They follow from the kernel's count alone
 * (doc/handover.md, 7): `done` bytes beyond the state's written count are out. */
struct keepalive_turn {
	size_t offset, len;	/* len 0: they are used up */
};
struct keepalive_turn keepalive_next(const uint16_t *lengths, unsigned n, uint64_t done);
#endif
