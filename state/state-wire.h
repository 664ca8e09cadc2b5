/* SPDX-License-Identifier: MIT */
#ifndef STATE_STATE_WIRE_H
#define STATE_STATE_WIRE_H
/* What state-pack.c and state-unpack.c share and nobody else needs: the key
 * numbers of FORMAT.md, the limits of the packed form, and the two checks. */
#include "lib/cursor.h"
#include "lib/seal.h"
#include "state/state.h"

/* The format that we write, and the only one that we read. It changes when a
 * key changes its meaning; a new key does not change it. */
#define STATE_FORMAT		1
/* Sealed, it must not be above STATE_MAX_BYTES. */
#define STATE_PACK_MAX_BYTES	(STATE_MAX_BYTES - SEAL_OVERHEAD)
/* Our own values nest twice (keepalive lengths); a later version's may more. */
#define STATE_NESTING_MAX	8
/* Keys from here on may be ignored by who does not know them. */
#define STATE_KEY_OPTIONAL	128
/* An address with a scope, or what stands for one. */
#define STATE_IP_MAX_BYTES	64
#define STATE_VIEW_FILE_MAX_BYTES	255	/* NAME_MAX */

/* Ascending, in the order of packing. A number is never used again. */
enum state_key {
	STATE_KEY_FORMAT = 0,
	STATE_KEY_SID = 1,
	STATE_KEY_WRITTEN = 2,
	STATE_KEY_CONSUMED = 3,
	STATE_KEY_KEEPALIVES = 4,
	STATE_KEY_REMOTE_IP = 5,
	STATE_KEY_REMOTE_PORT = 6,
	STATE_KEY_LOCAL_IP = 7,
	STATE_KEY_LOCAL_PORT = 8,
	STATE_KEY_LOGIN_TIME = 9,
	STATE_KEY_BYTES_IN = 10,
	STATE_KEY_BYTES_OUT = 11,
	STATE_KEY_COMMANDS = 12,
	STATE_KEY_SLEEPS = 13,
	STATE_KEY_ENABLED = 14,
	STATE_KEY_INPUT = 15,
	STATE_KEY_IDLE_TAG = 16,
	STATE_KEY_MAILBOX = 17,
	STATE_KEY_READONLY = 18,
	STATE_KEY_MAILBOX_ID = 19,
	STATE_KEY_UIDVALIDITY = 20,
	STATE_KEY_UIDNEXT = 21,
	STATE_KEY_TOLD_MODSEQ = 22,
	STATE_KEY_EXISTS = 23,
	STATE_KEY_UIDS = 24,
	STATE_KEY_VIEW_FILE = 25,
	STATE_KEY_VIEW_FILE_BYTES = 26,
	STATE_KEY_RECENT = 27,
	STATE_KEY_PENDING = 28,
	STATE_KEY_EXPUNGED = 29,
	STATE_KEY_SAVED_SEARCH = 30,
	STATE_KEY_KEYWORDS_TOLD = 31,
	STATE_KEY_KEYWORDS_HASH = 32,
	STATE_KEY_TLS = 33,
	STATE_KEY_COMPRESS = 34,
	STATE_KEY_NOTIFY = 35,
	/* what may be ignored */
	STATE_KEY_CAPABILITIES = STATE_KEY_OPTIONAL,
	STATE_KEY_UNKNOWN,	/* the first that we do not know */
};

/* Steps over one msgpack value without believing it: no count is above the
 * bytes left, no nesting above `depth` more levels. 0, STATE_E_TRUNCATED,
 * STATE_E_INVALID. msgpack-c allocates 24 bytes for each member that a count
 * claims, from five bytes of input; after this walk it can do no harm. */
int state_walk(struct cursor *c, unsigned depth);
/* Steps over the head of a map. 0 and the number of pairs, STATE_E_*. */
int state_walk_map(struct cursor *c, uint32_t *pairs_r);
/* Steps over at most max_pairs of `key, value`, or up to the end, keys
 * unsigned, ascending and not below next_key; counts them. 0, STATE_E_*. */
int state_walk_pairs(struct cursor *c, uint64_t next_key, uint32_t max_pairs,
		     uint32_t *pairs_r);
/* Does the state make sense? Asked before packing (what could not be unpacked
 * must not fall asleep) and after unpacking. 0, STATE_E_INVALID,
 * STATE_E_TOO_LARGE, -ENOMEM. */
int session_state_check(const struct session_state *s);
#endif
