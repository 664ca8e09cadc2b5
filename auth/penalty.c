/* SPDX-License-Identifier: MIT */
/* Sets of WAYS places; an entry is a keyed hash of its name and lies in the set
 * that the hash says. In a full set the one with the fewest failures, and of
 * those the oldest, is forgotten: a crowd of new addresses does not wash out one
 * that has failed often. Names are not kept: a collision of 64 bits would let
 * two of them share a delay, and nothing more. */
#include "auth/penalty.h"

#include <stdlib.h>

#define WAYS		4
#define SETS		(PENALTY_PLACES / WAYS)
/* Wrong secrets that an entry remembers. */
#define SECRETS		4
/* Enough to be at the longest delay for a while after the last failure. */
#define COUNT_MAX	16

struct entry {
	uint64_t name;			/* 0: free */
	uint64_t last_ms;		/* failure */
	uint64_t next_ms;		/* when the line is through */
	uint32_t secrets[SECRETS];	/* 0: none */
	uint8_t count, next_secret;
};

struct penalty {
	uint64_t seed;
	struct entry address[PENALTY_PLACES];
	struct entry user[PENALTY_PLACES];
};

static uint64_t mix(uint64_t h)
{
	h ^= h >> 30;
	h *= 0xbf58476d1ce4e5b9u;
	h ^= h >> 27;
	h *= 0x94d049bb133111ebu;
	return h ^ h >> 31;
}

static uint64_t hash_text(uint64_t h, const char *text)
{
	for (; *text; text++)
		h = mix(h ^ (uint8_t)*text);
	return mix(h + 1);
}

struct penalty *penalty_create(uint64_t seed)
{
	struct penalty *p = calloc(1, sizeof(*p));

	if (p)
		p->seed = seed;
	return p;
}

void penalty_destroy(struct penalty **p_p)
{
	free(*p_p);
	*p_p = NULL;
}

/* Failures that still count. */
static unsigned entry_count(const struct entry *e, uint64_t now_ms)
{
	uint64_t gone = (now_ms - e->last_ms) / PENALTY_DECAY_MS;

	return gone >= e->count ? 0 : e->count - (unsigned)gone;
}

static struct entry *entry_find(struct entry *table, uint64_t name)
{
	struct entry *set = &table[(name >> 1) % SETS * WAYS];

	for (int i = 0; i < WAYS; i++)
		if (set[i].name == name)
			return &set[i];
	return NULL;
}

static struct entry *entry_get(struct entry *table, uint64_t name, uint64_t now_ms)
{
	struct entry *set = &table[(name >> 1) % SETS * WAYS], *e = entry_find(table, name);

	if (e)
		return e;
	e = &set[0];
	for (int i = 1; i < WAYS; i++) {
		unsigned a = entry_count(&set[i], now_ms), b = entry_count(e, now_ms);
		if (a < b || (a == b && set[i].last_ms < e->last_ms))
			e = &set[i];
	}
	*e = (struct entry){ .name = name };
	return e;
}

static uint64_t delay_of(unsigned count)
{
	uint64_t delay = PENALTY_STEP_MS;

	if (count < PENALTY_FREE)
		return 0;
	for (unsigned i = PENALTY_FREE; i < count && delay < PENALTY_MAX_MS; i++)
		delay *= 2;
	return delay < PENALTY_MAX_MS ? delay : PENALTY_MAX_MS;
}

uint64_t penalty_wait(struct penalty *p, const char *address, uint64_t now_ms)
{
	struct entry *e = entry_find(p->address, hash_text(p->seed, address) | 1);
	uint64_t delay = e ? delay_of(entry_count(e, now_ms)) : 0;

	if (delay == 0)
		return 0;
	uint64_t from = e->next_ms > now_ms ? e->next_ms : now_ms;
	if (from - now_ms > PENALTY_LINE_MS - delay)
		return PENALTY_REFUSE;
	e->next_ms = from + delay;
	return e->next_ms - now_ms;
}

/* False: that one was tried before. */
static bool entry_new_secret(struct entry *e, uint32_t secret)
{
	for (int i = 0; i < SECRETS; i++)
		if (e->secrets[i] == secret)
			return false;
	e->secrets[e->next_secret] = secret;
	e->next_secret = (uint8_t)((e->next_secret + 1) % SECRETS);
	return true;
}

static void entry_failed(struct entry *e, uint64_t now_ms)
{
	unsigned count = entry_count(e, now_ms) + 1;

	e->count = (uint8_t)(count < COUNT_MAX ? count : COUNT_MAX);
	e->last_ms = now_ms;
}

uint64_t penalty_failed(struct penalty *p, const char *address, const char *user,
	const char *secret, uint64_t now_ms)
{
	uint64_t from = hash_text(p->seed, address), who = hash_text(~p->seed, user);
	struct entry *a = entry_get(p->address, from | 1, now_ms);
	struct entry *u = entry_get(p->user, who | 1, now_ms);
	bool again = secret &&
		     !entry_new_secret(a, (uint32_t)(hash_text(from ^ who, secret) | 1));

	if (!again) {
		entry_failed(a, now_ms);
		entry_failed(u, now_ms);
	}
	return delay_of(entry_count(u, now_ms));
}
