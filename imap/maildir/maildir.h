/* SPDX-License-Identifier: MIT */
#ifndef IMAP_MAILDIR_MAILDIR_H
#define IMAP_MAILDIR_MAILDIR_H
/* Private to imap/maildir/: what its files share.
 *
 * Truth is the directory (existence, flags) and `dormouse-uidlist` (the rest);
 * the index repeats both for speed. A change of ours goes: lock of the mailbox,
 * BEGIN IMMEDIATE, lines to the uidlist (on disk before they matter), rename
 * or unlink, COMMIT, unlock. Whatever step a crash comes after, the next sync
 * finds the directory and the list, and brings the index up to them.
 *
 * Everything of an open mailbox goes through descriptors, so that `mv .A .B`
 * does not disturb it. */
#include <sys/types.h>

#include "imap/mailbox.h"
#include "imap/maildir/index.h"
#include "imap/maildir/uidlist.h"
#include "lib/buf.h"
#include "lib/cursor.h"

#define UIDLIST_NAME		"dormouse-uidlist"
#define UIDLIST_TEMP_NAME	"dormouse-uidlist.tmp"
#define UIDLIST_LOCK_NAME	"dormouse-uidlist.lock"
#define UIDVALIDITY_NAME	"dormouse-uidvalidity"

struct mail_store {
	char *user, *mail_dir, *index_dir;
	int mail_fd, index_fd;
	struct index index;
};

struct keyword {
	char *name;
	int letter;	/* 0-25, or -1: too many for the file names */
};

struct mailbox {
	struct mail_store *store;
	char *name;
	uint8_t id[16];
	uint32_t uidvalidity;
	int dir_fd;
	bool remote;			/* a network's or FUSE's file system */
	bool put_off;			/* the last sync could not be written down */
	bool doubt;			/* the next sync believes nothing (mailbox_doubt()) */
	bool tmp_due;			/* all was read: a good time to look into tmp/ too */
	int list_fd, lock_fd;		/* -1 until needed; list_fd is read and append */
	bool lock_named;		/* the lock file says whose it is */
	ino_t list_ino;
	uint64_t list_generation;
	struct box_row row;		/* as of the last look */
	uint64_t row_opened;		/* index.opened at that time: box_check() */
	struct keyword *keywords;
	const char **keyword_names;
	size_t n_keywords, keywords_cap;
	struct msg one;			/* what mailbox_row()'s answer points into */
	struct mail_cache_gathered *gathered;	/* maildir-cache.c; NULL: nothing */
};

/* ---- mailbox directories (maildir-dir.c) ---- */
/* The directory's name for a mailbox; "." for INBOX. 0, MAILBOX_E_NAME. */
int mailbox_dir_name(const char *name, char dir_r[MAILDIR_NAME_MAX + 1]);
/* The other way. False: not a mailbox's directory. */
bool mailbox_name_from_dir(const char *dir, struct buf *name);
/* 0, NONEXISTENT, -errno. */
int mailbox_dir_open(struct mail_store *store, const char *dir, int *fd_r);
/* cur, new, tmp (missing ones are made). */
int mailbox_dir_populate(int dir_fd);
/* maildirfolder, which says that the directory is a mailbox below another Maildir. */
int mailbox_dir_mark(int dir_fd);
int dir_fsync(int dir_fd, const char *name);
/* Opens one with what its list says of it. */
int mailbox_open_dir(struct mail_store *store, const char *dir, const char *name,
		     struct mailbox **box_r);

/* ---- dormouse-uidlist on disk (uidlist-file.c) ---- */
/* What is known of the list within a transaction. */
struct list_entry {
	uint32_t uid;		/* 0: gone again */
	uint32_t base, base_len;	/* in names */
	uint32_t next;		/* hash chain, index + 1 */
};
struct list_tail {
	struct buf names;
	struct list_entry *entries;	/* UIDs that the index has not seen */
	size_t n_entries, cap;
	uint32_t *table;
	size_t table_size;
	struct buf keyword_lines;	/* K lines as they came: u32 uid, u16 n, u16[n] */
	bool incomplete;		/* the list lacks what the index knows */
};
void list_tail_deinit(struct list_tail *t);
/* Its UIDs were used. */
void list_tail_forget(struct list_tail *t);
/* The UID that the list gives to a base, 0 none. */
uint32_t list_tail_find(const struct list_tail *t, const char *base, size_t len);
/* Takes the lock; 0, BUSY, GONE, -errno. */
int list_lock(struct mailbox *box);
void list_unlock(struct mailbox *box);
/* Opens (or opens again, if it was rewritten) the list and checks that it is still this mailbox's. 0,
 * GONE, VALIDITY, CORRUPT. Needs no lock. */
int list_open(struct mailbox *box);
/* Reads what was appended since row->list_offset, keeping row's list_* up to date.
 * UIDs from row->uidnext on go to the tail. */
int list_read(struct mailbox *box, struct box_row *row, struct list_tail *tail);
/* Appends lines; all or nothing. */
int list_append(struct mailbox *box, struct box_row *row, const struct buf *lines, bool durable);
/* The file of a mailbox that has none: a new id and UIDVALIDITY, or Dovecot's. Lock held. */
int list_create(struct mail_store *store, int dir_fd, const char *name, const struct buf *more,
		uint32_t uidvalidity, const uint8_t id[16]);
/* A whole new file: written aside, on disk before it takes the name. */
int list_replace(int dir_fd, const struct buf *b);
/* Reads the header. 0, NONEXISTENT (no such file), CORRUPT, -errno. */
int list_header(int dir_fd, struct uidlist_line *header_r);
/* Writes the list anew from the index, if most of its lines are stale. After a sync, in its
 * transaction. */
struct change;
int list_compact_if_needed(struct change *c);
int list_compact(struct mailbox *box, struct box_row *row);
/* Writes it anew because it lost lines that the index still knows. */
int list_repair(struct change *c);
/* The list of a mailbox is gone, and so is its id with it, but for the lock file. Made
 * again from the index if that knows the mailbox. Lock held. 0, NONEXISTENT (it does not), -errno. */
int list_recover(struct mailbox *box, bool *served_r);
/* The list of an open mailbox is beyond reading: put aside, and made again from the index. Lock held. */
int list_rescue(struct mailbox *box);
/* Notes in the lock file whose it is. Lock held. */
void list_lock_name(struct mailbox *box, const uint8_t id[16], uint32_t uidvalidity);
int uidvalidity_next(struct mail_store *store, uint32_t *uidvalidity_r);

/* All of a file that is Dovecot's. */
int dovecot_file_read(int dir_fd, const char *name, struct buf *b);
/* What Dovecot left: read only (maildir-adopt.c). Appends lines for its UIDs and keywords. */
int dovecot_adopt(int dir_fd, struct buf *lines, uint32_t *uidvalidity, uint8_t id[16]);

/* ---- keywords of a mailbox (maildir-keywords.c) ---- */
int keywords_add(struct mailbox *box, uint32_t n, int letter, const char *name, size_t len);
void keywords_free(struct mailbox *box);
/* From the index, as many as row has. */
int keywords_load(struct mailbox *box, const struct box_row *row);
uint32_t keywords_known_letters(const struct mailbox *box);
/* The keywords that the letters stand for replace those with letters in words. */
void keywords_from_letters(const struct mailbox *box, uint32_t letters, uint64_t *words);
uint32_t keywords_to_letters(const struct mailbox *box, const uint64_t *words);
bool keywords_same(const uint64_t *a, const uint64_t *b);
/* Does it have keywords that have no letter? */
bool keywords_beyond_letters(const struct mailbox *box, const uint64_t *words);

/* ---- one change (maildir-change.c) ---- */
struct change {
	struct mailbox *box;
	struct box_row row;
	struct list_tail tail;
	struct buf lines;	/* for the list, not written yet */
	bool lines_durable;
	uint64_t modseq;	/* of this change; 0: none so far */
	bool rebuild;		/* the mailbox was not in the index */
	bool touched;		/* something to commit */
	uint64_t stamps_us;	/* when change_stamps_before() looked */
};
/* Lock, BEGIN, list read, mailbox row loaded; a mailbox that the index does not know is
 * synced first. durable: for what is acknowledged as stored. */
int change_begin(struct mailbox *box, bool durable, bool sync, struct change *c);
/* Writes the lines gathered. */
int change_lines(struct change *c);
/* Commits if touched, and unlocks. */
int change_commit(struct change *c);
void change_abort(struct change *c);
/* The same for two mailboxes in one transaction, durable; src and dst are the same
 * pointer when both are one mailbox. The locks are taken in the order of the ids, so that
 * two sessions that copy crosswise do not wait for each other. NONEXISTENT: the destination
 * is gone. */
int change_begin_pair(struct mailbox *from, struct mailbox *to, struct change *src,
		      struct change *dst);
/* Both stay locked, so that a failed commit can be undone: change_end_pair() after 0, else
 * change_abort_pair(). */
int change_commit_pair(struct change *src, struct change *dst);
void change_end_pair(struct change *src, struct change *dst);
void change_abort_pair(struct change *src, struct change *dst);
/* The MODSEQ of this change, reserved. */
uint64_t change_modseq(struct change *c);
/* The next UID, with its line for a base. durable: on disk before the change; else a
 * power failure may lose the line: then the message gets a new UID, but this one is not
 * given again. */
int change_uid(struct change *c, const char *base, bool durable, uint32_t *uid_r);
/* A line that must be on disk before the change (durable) or may be lost. */
void change_line(struct change *c, const struct uidlist_line *l, bool durable);
void change_keywords_line(struct change *c, const struct msg *m);
/* Our own renames changed the directories: before our first one they were as row says. */
void change_stamps_before(struct change *c, bool clean_r[DIR_COUNT]);
void change_stamps_after(struct change *c, const bool clean[DIR_COUNT]);
/* Finds or creates a keyword. */
int change_keyword(struct change *c, const char *name, uint32_t *n_r);

/* Is this when the system was started? */
bool boot_is_now(int64_t boot);
/* Row for reading; syncs if the index does not know the mailbox. */
int box_load(struct mailbox *box);
/* Before statements that go by row.box: the index may be another one by now, where that
 * number is another mailbox's. Then as box_load(). */
int box_check(struct mailbox *box);
/* A function that ran into a damaged index is run once more. */
#define BOX_TRIES	8	/* somebody may delete it again and again */
#define BOX_RETRY(rc, call) \
	do { \
		int tries_ = 0; \
		do \
			rc = (call); \
		while (rc == -EUCLEAN && ++tries_ < BOX_TRIES); \
		if (rc == -EUCLEAN) \
			rc = -EIO; \
	} while (0)

/* ---- what is computed of messages (maildir-cache.c) ---- */
/* In a transaction, which keeps the index that it has: MAILBOX_E_GONE if row.box is not this
 * mailbox's number there. */
int box_row_is_ours(struct mailbox *box);
/* As mailbox_cache_put(). */
void cache_put_sizes(struct mailbox *box, uint32_t uid, int64_t size, int64_t header_size);
void cache_close(struct mailbox *box);

/* ---- directory and index (maildir-sync.c) ---- */
/* force: look even if the stamps say that nothing changed. */
int sync_in_change(struct change *c, bool force);
int sync_box(struct mailbox *box, bool force);
int dir_stamp_get(int dir_fd, int dir, struct dir_stamp *stamp_r);
bool dir_stamp_same(const struct dir_stamp *a, const struct dir_stamp *b);
/* Is a stamp that only changes of ours have moved still good without a look? For
 * seconds only: then all names are summed up, once for many changes. */
bool dir_stamp_believed(const struct mailbox *box, const struct dir_stamp *s, int64_t now_us);
bool dir_stamp_old(const struct mailbox *box, const struct dir_stamp *s, int64_t now_us);
/* Removes what deliveries that died left in tmp/. */
void tmp_clean(struct mailbox *box);
/* errno of a file operation as we report it. */
int file_error(int err);
#endif
