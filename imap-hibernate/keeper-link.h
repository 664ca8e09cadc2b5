/* SPDX-License-Identifier: MIT */
#ifndef HIBERNATE_KEEPER_LINK_H
#define HIBERNATE_KEEPER_LINK_H
/* The channel to the keeper, who holds a duplicate of each sleeper's
 * descriptor. DUP and DROP of one session must not overtake each other, so
 * what does not fit into the socket waits here in order. */
#include <stdbool.h>
#include <stdint.h>

#include "imap-hibernate/chain.h"
#include "lib/loop.h"

struct holder;
struct ipc_in;

/* Unanswered DUPs: each is a descriptor in flight, which the kernel counts
 * against our limit. */
#define KEEPER_WINDOW	128u

struct keeper_drop { uint64_t sid, cookie; };
struct keeper_link {
	int fd;			/* -1: no keeper */
	struct loop_io io;
	bool up;		/* it has told us what it has */
	struct loop_timer timer;
	/* DUPs sent, in order: the number of the sleeper, NONE if it is no more. */
	struct { uint64_t sid, cookie; uint32_t slot; } sent[KEEPER_WINDOW];
	uint32_t sent_first, sent_count;
	/* DROPs that wait. */
	struct keeper_drop *drops;
	uint32_t drops_first, drops_count, drops_room;
	uint32_t cursor;	/* sleepers below it have been looked at since it came */
};

void keeper_link_init(struct keeper_link *k);
void keeper_link_deinit(struct holder *h);
/* A new channel (taken over). The keeper tells first what it has. */
void keeper_link_attach(struct holder *h, int fd);
/* It has told everything (adopt.c has read it): now it hears what it lacks. */
void keeper_link_up(struct holder *h);
/* Step 5: the sleeper has a descriptor that the keeper lacks. */
void keeper_link_store(struct holder *h, uint32_t slot);
/* Step 12: void. The sleeper's descriptor must still be open. */
void keeper_link_drop(struct holder *h, uint32_t slot);
/* The keeper has all that it ever will have of us. */
bool keeper_link_settled(const struct holder *h);
/* A duplicate that no sleeper has. */
void keeper_link_drop_other(struct holder *h, uint64_t sid, uint64_t cookie);
#endif
