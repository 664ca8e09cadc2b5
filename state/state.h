/* SPDX-License-Identifier: MIT */
#ifndef STATE_STATE_H
#define STATE_STATE_H
/* All that a session is between two commands: values only, no descriptor
 * numbers, no pointers into anything that lives. What can be read again from
 * disk is here only to be checked against it. FORMAT.md has the fields by
 * number; state-pack.c and state-unpack.c are mirrors of each other. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/buf.h"
#include "lib/fence.h"
#include "lib/limits.h"
#include "lib/uidset.h"

/* bits of enabled */
enum state_enabled {
	ENABLED_CONDSTORE = 1,	/* CONDSTORE enabling command was given */
	ENABLED_QRESYNC = 2,
	ENABLED_UTF8 = 4,
	ENABLED_IMAP4REV2 = 8,
};
struct session_state {
	/* whose (checked against the ticket) and which state it is */
	uint64_t sid;
	struct fence_counts fence;
	uint16_t keepalive_len[KEEPALIVES_MAX];
	uint32_t n_keepalives;
	/* the connection */
	char *remote_ip, *local_ip;
	uint16_t remote_port, local_port;
	uint64_t login_time;		/* unix seconds */
	uint64_t bytes_in, bytes_out;	/* counters go on after the sleep */
	uint64_t commands, sleeps;
	/* the session */
	uint32_t enabled;		/* enum state_enabled */
	struct buf input;		/* read but not used, fed again at waking */
	char *idle_tag;			/* NULL: not in IDLE */
	/* the mailbox; all below only if selected */
	bool selected, readonly;
	char *mailbox;			/* name, UTF-8: a hint and for the log */
	uint8_t mailbox_id[16];
	uint32_t uidvalidity, uidnext;	/* uidnext as told: UIDs below it are known */
	uint64_t told_modseq;		/* all changes up to it are told or pending */
	uint32_t exists;		/* messages in uids; checked */
	struct uidset uids;		/* as the client knows them; empty if in a file */
	char *view_file;		/* name of the view file in the index directory, or NULL */
	uint64_t view_file_bytes;	/* its size */
	struct uidset recent;
	struct uidset pending;		/* flags changed, not told yet */
	struct uidset expunged;		/* gone, not told yet; still in uids */
	struct uidset saved_search;	/* RFC 5182, UIDs */
	bool has_saved_search;
	uint32_t keywords_told;		/* how many of the mailbox's keywords the client was told */
	uint64_t keywords_hash;		/* of the names of those, in order (FNV-1a 64) */
	/* layers: opaque here */
	struct buf tls;			/* TLS record state; empty without TLS */
	struct buf compress;		/* inflate state; empty without COMPRESS */
	struct buf notify;		/* NOTIFY setting, empty */
	/* key 128: of the CAPABILITY text that holds for the client, FNV-1a 64; 0: not known */
	uint64_t capabilities;
	/* keys >= 129 of a later version: carried along, packed as they came */
	struct buf unknown;
};
enum state_error {
	STATE_OK = 0,
	STATE_E_VERSION,	/* packed by a server we cannot read (format, or an unknown key < 128) */
	STATE_E_TRUNCATED,	/* the bytes stop too soon */
	STATE_E_INVALID,	/* the bytes are all there and make no sense */
	STATE_E_TOO_LARGE,	/* packing: above STATE_MAX_BYTES */
};
void session_state_init(struct session_state *s);
/* Frees and wipes everything (input and tls are secrets). */
void session_state_deinit(struct session_state *s);
/* The mailbox and what the client knows of it, as `from` has them; *to has none. 0, -ENOMEM. */
int session_state_copy_mailbox(struct session_state *to, const struct session_state *from);
/* Appends the pack to out. 0, STATE_E_TOO_LARGE, -ENOMEM. Deterministic. Default values are left
 * out, so that a small session packs small (a phone in IDLE: about 100 bytes). */
int session_state_pack(const struct session_state *s, struct buf *out);
/* *s must be initialised and empty; it is empty again on failure. Bounded (size,
 * then counts, then depth) and refused whole if anything is off: duplicate keys, wrong types,
 * ranges out of order, counts that do not fit (exists != count of uids unless view_file, recent/pending/expunged
 * not within uids unless view_file, uids >= uidnext), strings with NUL, left-over bytes. STATE_OK, STATE_E_*, -ENOMEM. */
int session_state_unpack(struct session_state *s, const void *data, size_t len);
const char *session_state_strerror(int error);
/* For people: one `key: value` line each, layers' secrets left out (only their sizes). Appends. */
int session_state_dump(const struct session_state *s, struct buf *out);
/* FNV-1a over names joined with NUL; for keywords_hash. */
uint64_t state_keywords_hash(const char *const *names, size_t count);
#endif
