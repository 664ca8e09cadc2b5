/* SPDX-License-Identifier: MIT */
/* A walk over packed bytes that allocates nothing and believes nothing. A
 * value of n bytes has at most n parts, so what passes here costs msgpack-c at
 * most 24 bytes of memory for each byte of input. */
#include "state/state-wire.h"

/* Steps over n bytes. */
static int walk_bytes(struct cursor *c, uint64_t n)
{
	if (c->bad || n > cursor_left(c))
		return STATE_E_TRUNCATED;
	(void)cursor_bytes(c, (size_t)n);
	return 0;
}

static int walk_members(struct cursor *c, uint64_t count, unsigned depth)
{
	if (c->bad || count > cursor_left(c))
		return STATE_E_TRUNCATED;
	if (depth == 0)
		return STATE_E_INVALID;
	for (uint64_t i = 0; i < count; i++) {
		int ret = state_walk(c, depth - 1);

		if (ret != 0)
			return ret;
	}
	return 0;
}

/* The msgpack specification's table of first bytes, 0xc0 to 0xdf. */
static int walk_long(struct cursor *c, uint8_t first, unsigned depth)
{
	switch (first) {
	case 0xc0: case 0xc2: case 0xc3:			/* nil, false, true */
		return 0;
	case 0xc4: case 0xd9:					/* bin, str */
		return walk_bytes(c, cursor_u8(c));
	case 0xc5: case 0xda:
		return walk_bytes(c, cursor_u16(c));
	case 0xc6: case 0xdb:
		return walk_bytes(c, cursor_u32(c));
	case 0xc7:						/* ext: a type byte more */
		return walk_bytes(c, (uint64_t)cursor_u8(c) + 1);
	case 0xc8:
		return walk_bytes(c, (uint64_t)cursor_u16(c) + 1);
	case 0xc9:
		return walk_bytes(c, (uint64_t)cursor_u32(c) + 1);
	case 0xcc: case 0xd0:					/* uint, int */
		return walk_bytes(c, 1);
	case 0xcd: case 0xd1:
		return walk_bytes(c, 2);
	case 0xca: case 0xce: case 0xd2:			/* float */
		return walk_bytes(c, 4);
	case 0xcb: case 0xcf: case 0xd3:
		return walk_bytes(c, 8);
	case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8:	/* fixext */
		return walk_bytes(c, (1u << (first - 0xd4)) + 1);
	case 0xdc:						/* array */
		return walk_members(c, cursor_u16(c), depth);
	case 0xdd:
		return walk_members(c, cursor_u32(c), depth);
	case 0xde:						/* map */
		return walk_members(c, 2 * (uint64_t)cursor_u16(c), depth);
	case 0xdf:
		return walk_members(c, 2 * (uint64_t)cursor_u32(c), depth);
	}
	return STATE_E_INVALID;					/* 0xc1: never used */
}

int state_walk(struct cursor *c, unsigned depth)
{
	uint8_t first = cursor_u8(c);

	if (c->bad)
		return STATE_E_TRUNCATED;
	if (first < 0x80 || first >= 0xe0)			/* small integers */
		return 0;
	if (first < 0x90)
		return walk_members(c, 2u * (first & 0x0f), depth);
	if (first < 0xa0)
		return walk_members(c, first & 0x0f, depth);
	if (first < 0xc0)
		return walk_bytes(c, first & 0x1f);
	return walk_long(c, first, depth);
}

int state_walk_map(struct cursor *c, uint32_t *pairs_r)
{
	uint8_t first = cursor_u8(c);
	uint32_t pairs;

	if (c->bad)
		return STATE_E_TRUNCATED;
	if ((first & 0xf0) == 0x80)
		pairs = first & 0x0f;
	else if (first == 0xde)
		pairs = cursor_u16(c);
	else if (first == 0xdf)
		pairs = cursor_u32(c);
	else
		return STATE_E_INVALID;
	if (c->bad || pairs > cursor_left(c) / 2)
		return STATE_E_TRUNCATED;
	*pairs_r = pairs;
	return 0;
}

static int walk_key(struct cursor *c, uint64_t *key_r)
{
	uint8_t first = cursor_u8(c);

	if (first < 0x80)
		*key_r = first;
	else if (first == 0xcc)
		*key_r = cursor_u8(c);
	else if (first == 0xcd)
		*key_r = cursor_u16(c);
	else if (first == 0xce)
		*key_r = cursor_u32(c);
	else if (first == 0xcf)
		*key_r = cursor_u64(c);
	else
		return STATE_E_INVALID;
	return c->bad ? STATE_E_TRUNCATED : 0;
}

int state_walk_pairs(struct cursor *c, uint64_t next_key, uint32_t max_pairs, uint32_t *pairs_r)
{
	uint64_t key = 0;
	uint32_t pairs = 0;
	int ret;

	for (; pairs < max_pairs && cursor_left(c) > 0; pairs++) {
		if ((ret = walk_key(c, &key)) != 0)
			return ret;
		/* Ascending: so nothing can be said twice. */
		if (key < next_key || key == UINT64_MAX)
			return STATE_E_INVALID;
		next_key = key + 1;
		if ((ret = state_walk(c, STATE_NESTING_MAX)) != 0)
			return ret;
	}
	*pairs_r = pairs;
	return 0;
}
