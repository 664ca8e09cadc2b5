/* SPDX-License-Identifier: MIT */
#ifndef MASTER_KEEPER_TABLE_H
#define MASTER_KEEPER_TABLE_H
/* Which descriptor is whose: (session id, cookie) -> descriptor. Pure: it
 * neither opens nor closes any.
 *
 * Each sleeper's share of the keeper counts, so the table is made for it: the
 * descriptor's number is the index, hence costs nothing; id and cookie take 16
 * bytes, the chain of the hash 4, its heads 2 to 4: 22 to 24 in all. The arrays
 * are reserved for the descriptor limit at once, and pages are touched as
 * numbers get used (the kernel gives the lowest), so nothing is ever copied or
 * allocated later. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct keeper_table {
	struct keeper_key {
		uint64_t sid, cookie;
	} *keys;		/* by descriptor */
	uint32_t *next;		/* by descriptor: the next one + 1 in its chain, or
				   KEEPER_END; 0 when the descriptor is not in here */
	uint32_t *heads;	/* a descriptor + 1, or 0 */
	uint32_t n_heads;	/* power of two */
	uint32_t limit;		/* descriptors below this number */
	uint32_t count;
};
/* For descriptors below limit. 0 or -ENOMEM. */
int keeper_table_init(struct keeper_table *t, uint32_t limit);
void keeper_table_deinit(struct keeper_table *t);
/* fd must not be in it, nor the key (look first). */
void keeper_table_add(struct keeper_table *t, uint64_t sid, uint64_t cookie, int fd);
/* The descriptor, or -1. */
int keeper_table_find(const struct keeper_table *t, uint64_t sid, uint64_t cookie);
/* Takes it out and returns it, or -1. */
int keeper_table_remove(struct keeper_table *t, uint64_t sid, uint64_t cookie);
/* The first descriptor >= fd that is in it, with its key; -1: no more. */
int keeper_table_next(const struct keeper_table *t, int fd, uint64_t *sid_r,
		      uint64_t *cookie_r);
#endif
