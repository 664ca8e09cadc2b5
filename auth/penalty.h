/* SPDX-License-Identifier: MIT */
#ifndef AUTH_PENALTY_H
#define AUTH_PENALTY_H
/* Growing delays after failed log-ins, for all imap-login processes together.
 * Pure: no descriptor, no clock, and no memory beyond its table of fixed size.
 *
 * By address: after a few free failures, each further try from there has to wait
 * before its password is looked at, right or wrong, and the tries of one address
 * stand in line: opening more connections buys none. It falls by one for every
 * PENALTY_DECAY_MS without a failure; a success takes nothing off, or an owner of
 * one account could guess others for free.
 *
 * By user: only the refusal of a wrong password is late, never the answer to
 * the right one. So nobody can lock a user out by guessing; what slows guesses
 * from many addresses is the first table. */
#include <stdbool.h>
#include <stdint.h>

#define PENALTY_FREE		3
#define PENALTY_STEP_MS		1000
#define PENALTY_MAX_MS		15000
#define PENALTY_DECAY_MS	120000
/* Longer than this nobody stands in line: refused at once, as a temporary
 * failure. */
#define PENALTY_LINE_MS		30000
/* Places for addresses, and as many for users. The least guilty gives way. */
#define PENALTY_PLACES		8192

/* What penalty_wait() says when the line is too long. */
#define PENALTY_REFUSE		UINT64_MAX

struct penalty;
/* The seed makes the places unpredictable. NULL: no memory. */
struct penalty *penalty_create(uint64_t seed);
void penalty_destroy(struct penalty **p);
/* How long this try has to wait before it is looked at; its place in the line
 * is taken. 0: not at all; or PENALTY_REFUSE. */
uint64_t penalty_wait(struct penalty *p, const char *address, uint64_t now_ms);
/* It failed. Returns how late the refusal is to be told because of the user.
 * secret: what was tried, or NULL; the same wrong one again from the same
 * address for the same user is no further guess (a telephone that has the old
 * password) and counts once. */
uint64_t penalty_failed(struct penalty *p, const char *address, const char *user,
			const char *secret, uint64_t now_ms);
#endif
