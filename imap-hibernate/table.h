/* SPDX-License-Identifier: MIT */
#ifndef HIBERNATE_TABLE_H
#define HIBERNATE_TABLE_H
/* The table of sleepers: a memfd that outlives the process (doc/architecture.md).
 *
 * All of a sleeper is in one block, which is never changed in place: a new one
 * is written, then the record's commit word is switched to it. That word is
 * 64 bits with one aligned store: place and check sum of the block. A kill at
 * any instruction leaves the old state, the new one, or none; so records need
 * no two slots (the block is the second slot), and 16 bytes do. Should a block
 * be torn after all, the check sum shows it at adoption.
 *
 * The file grows by extents of 64 KiB, each of one kind: records, watches or
 * blocks. A byte in the head says which; an extent without a kind was about
 * to be added when the process died. Space for blocks is handed out in pieces
 * of 16 bytes; what is free is worked out anew at adoption, so nothing about
 * free space has to be consistent in the file.
 *
 * The whole range is mapped once, far beyond the file's end; growing is
 * ftruncate() and moves nothing. Pointers into the table stay good until the
 * next commit or void of that record. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imap-hibernate/chain.h"
#include "lib/limits.h"

#define TABLE_TICKET_MAX	2048u
#define TABLE_USER_MAX		255u
#define TABLE_REMOTE_MAX	63u
#define TABLE_MAILBOX_MAX	1024u
#define SLEEPER_WATCHES		2u

/* One sleeper, as written and as read. Pointers are views. */
struct table_entry {
	uint64_t sid, cookie, written, consumed;
	uint64_t login_time;		/* unix seconds */
	uint32_t since;			/* unix seconds: asleep since */
	uint32_t uid;			/* who put it here */
	uint32_t watch[SLEEPER_WATCHES];	/* index of a watch, or NONE */
	uint8_t flags;			/* enum ipc_sleep_flags */
	uint8_t n_keepalives;
	uint16_t keepalive_len[KEEPALIVES_MAX];
	const void *keepalives;		/* one after the other */
	size_t keepalives_len;
	const void *ticket, *state;
	size_t ticket_len, state_len;
	const char *user, *remote, *mailbox;	/* end in NUL */
};

/* A watched directory, or a mailbox that cannot be watched. What the next
 * holder needs comes first, the rest is this holder's own bookkeeping: kept
 * here so that a watch costs memory once. */
struct table_watch {
	int32_t wd;			/* 0: the record is free; -1: blind. Written last */
	uint32_t dev;			/* folded; of a blind one: 0 */
	uint64_t ino;			/* of a blind one: its mailbox id, folded */
	uint64_t mailbox;		/* mailbox id, folded; 0 none */
	uint32_t owner;			/* uid of the directory, or of the blind one's subscriber */
	uint32_t first;			/* first subscriber */
	uint32_t refs;
	uint32_t by_wd, by_inode, by_mailbox;	/* chains */
};

struct table;
/* A fresh one. 0 or -errno. */
int table_create(struct table **t_r);
/* Takes up one that another process left. fd stays the caller's. Records that
 * make no sense are voided (counted in damaged_r). 0, -EBADMSG: not a table of
 * ours, or -errno. */
int table_adopt(struct table **t_r, int fd, unsigned *damaged_r);
void table_destroy(struct table **t);
int table_fd(const struct table *t);
/* Bytes of the file in use. */
uint64_t table_bytes(const struct table *t);

/* Records are numbered [0, table_slots()). */
uint32_t table_slots(const struct table *t);
/* Writes the entry into record `slot`, or into a free one for NONE. From then
 * on the record is this entry, whatever happens. `changed` is its mark. 0 with
 * *slot_r, -ENOSPC, -ENOMEM, -EINVAL (too large); nothing changed then. */
int table_commit(struct table *t, uint32_t slot, const struct table_entry *e,
		 bool changed, uint32_t *slot_r);
void table_void(struct table *t, uint32_t slot);
/* False: the record is void. */
bool table_read(const struct table *t, uint32_t slot, struct table_entry *e_r);
/* The fields asked for most, without looking at the rest. */
bool table_used(const struct table *t, uint32_t slot);
uint64_t table_sid(const struct table *t, uint32_t slot);
uint64_t table_cookie(const struct table *t, uint32_t slot);
uint32_t table_uid(const struct table *t, uint32_t slot);
unsigned table_flags(const struct table *t, uint32_t slot);
/* What the fence is looked at with. */
void table_counts(const struct table *t, uint32_t slot, uint64_t *written_r,
		  uint64_t *consumed_r, uint32_t *keepalive_bytes_r);
/* The mark "changed since it fell asleep", and the count of failed wakes. */
bool table_changed(const struct table *t, uint32_t slot);
void table_mark_changed(struct table *t, uint32_t slot);
unsigned table_tries(const struct table *t, uint32_t slot);
void table_set_tries(struct table *t, uint32_t slot, unsigned tries);

/* "Draining": events are out of the kernel and their sleepers not all marked. */
bool table_draining(const struct table *t);
void table_set_draining(struct table *t, bool draining);
/* A number above every generation that was ever handed out. */
uint64_t table_generation(const struct table *t);
void table_set_generation(struct table *t, uint64_t generation);

/* Watches are numbered [0, table_watches()). */
uint32_t table_watches(const struct table *t);
struct table_watch *table_watch(const struct table *t, uint32_t i);
/* A free record (wd 0; the caller fills it, wd last), or NONE. */
uint32_t table_watch_new(struct table *t);
/* Frees it; wd is cleared first. */
void table_watch_free(struct table *t, uint32_t i);
#endif
