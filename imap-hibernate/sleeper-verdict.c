/* SPDX-License-Identifier: MIT */
#include "imap-hibernate/sleeper-verdict.h"

#include <sys/epoll.h>

enum sleeper_verdict sleeper_verdict(uint32_t events, int unread)
{
	/* A reset, a time-out, or somebody's shutdown(): the fence counts each as moved, so
	   no imap could serve what is still unread. */
	if (events & (EPOLLERR | EPOLLHUP))
		return SLEEPER_GONE;
	/* A last command before a half-close wants its answer. */
	if (unread > 0)
		return SLEEPER_WAKE;
	if (events & EPOLLRDHUP)
		return SLEEPER_GONE;
	/* Readable, yet nothing to count (urgent data at the front): an imap
	   may find out; staying would spin. */
	return events & EPOLLIN ? SLEEPER_WAKE : SLEEPER_STAY;
}

struct keepalive_turn keepalive_next(const uint16_t *lengths, unsigned n, uint64_t done)
{
	size_t end = 0;

	for (unsigned i = 0; i < n; i++) {
		end += lengths[i];
		/* The rest of a half-written one is a turn of its own. */
		if (done < end)
			return (struct keepalive_turn){
				.offset = (size_t)done, .len = end - (size_t)done };
	}
	return (struct keepalive_turn){ .offset = end };
}
