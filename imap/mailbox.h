/* SPDX-License-Identifier: MIT */
#ifndef IMAP_MAILBOX_H
#define IMAP_MAILBOX_H
/* What a session needs of a mailbox. imap/maildir/ implements it; later back
 * ends do too (by a vtable behind these functions), so nothing here or above
 * may assume files. Runs with the user's rights. Not thread-safe: one process,
 * one session.
 *
 * Truth about messages is the store's; the session keeps the client's view of
 * it (view.h) and asks "what changed since MODSEQ m". Every change of ours:
 * transaction, change, commit; only then may the caller say OK.
 *
 * Return values: 0, negative -errno, or a positive enum mailbox_error. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/uidset.h"

enum mailbox_error {
	MAILBOX_E_NONEXISTENT = 1,	/* no such mailbox: NO [NONEXISTENT] / [TRYCREATE] */
	MAILBOX_E_GONE,			/* it was there when opened and was deleted */
	MAILBOX_E_NAME,			/* not a possible name: NO [CANNOT] */
	MAILBOX_E_EXISTS,		/* ALREADYEXISTS */
	MAILBOX_E_EXPUNGED,		/* the message is gone */
	MAILBOX_E_READONLY,
	MAILBOX_E_NOSPACE,		/* disk full or quota: NO [OVERQUOTA] */
	MAILBOX_E_VALIDITY,		/* UIDVALIDITY changed under an open mailbox */
	MAILBOX_E_CORRUPT,		/* cannot be read as mail: logged */
	MAILBOX_E_BUSY,			/* locks not to be had in time: NO [INUSE] */
	MAILBOX_E_KEYWORDS,		/* too many keywords: NO [LIMIT] */
	MAILBOX_E_FOREIGN,		/* the message is kept in a form we cannot read (encrypted, say): logged */
};
const char *mailbox_strerror(int error);

enum mail_flag {	/* bits, system flags; \Recent is the session's business */
	MAIL_ANSWERED = 1, MAIL_FLAGGED = 2, MAIL_DELETED = 4, MAIL_SEEN = 8, MAIL_DRAFT = 16,
	MAIL_FLAGS_ALL = 31,
};
/* Keywords are numbered 0, 1, 2 ... per mailbox; the list only grows. A set of
 * keywords is a bit set in an array of words. */
struct keyword_set {
	uint64_t *words;	/* NULL: none */
	uint32_t n_words;
};
bool keyword_set_has(const struct keyword_set *k, uint32_t n);

/* ---- all mailboxes of one user ---- */
struct mail_store;
struct mail_store_options {
	const char *user;
	const char *mail_dir;	/* absolute, ~ and %u done; created if missing (0700) */
	const char *index_dir;	/* absolute; created if missing (0700); must be on a local disk */
};
/* Opens (creates) the store, INBOX included. Opens nothing that a wake does not need. */
int mail_store_open(const struct mail_store_options *opt, struct mail_store **store_r);
/* While nobody waits: opens what the first command would have to wait for. If that cannot be,
 * nothing comes of it here; the command will say so. */
void mail_store_prepare(struct mail_store *store);
/* May take some milliseconds after changes (the index's log is emptied, so that the
 * next open is quick): close when nobody waits, i.e. after KEPT. Do close. */
void mail_store_close(struct mail_store **store);
/* Descriptor of the index directory (for view files), owned by the store. */
int mail_store_index_dir(struct mail_store *store);
struct mailbox_info {
	const char *name;	/* UTF-8, hierarchy separator '.' */
	bool noselect, has_children;
};
char mail_store_separator(const struct mail_store *store);
/* Every mailbox, INBOX first, then by name; parents that do not exist are listed as noselect. fn returns 0 to go on. */
int mail_store_list(struct mail_store *store,
		    int (*fn)(void *ctx, const struct mailbox_info *info), void *ctx);
/* Subscriptions (RFC 3501 6.3.6): names, also of mailboxes that do not exist. In order of names. */
int mail_store_subscriptions(struct mail_store *store, int (*fn)(void *ctx, const char *name), void *ctx);
int mail_store_subscribe(struct mail_store *store, const char *name, bool on);
int mail_store_create(struct mail_store *store, const char *name);
int mail_store_delete(struct mail_store *store, const char *name);
int mail_store_rename(struct mail_store *store, const char *from, const char *to);

/* ---- one mailbox ---- */
struct mailbox;
/* INBOX is case-insensitive. The mailbox is not synced yet. */
int mailbox_open(struct mail_store *store, const char *name, struct mailbox **box_r);
/* By id, wherever it is called now; hint: the name it had (tried first). */
int mailbox_open_id(struct mail_store *store, const uint8_t id[16], const char *hint,
		    struct mailbox **box_r);
void mailbox_close(struct mailbox **box);
const char *mailbox_name(const struct mailbox *box);
const uint8_t *mailbox_id(const struct mailbox *box);	/* 16 bytes, for its life */
/* Directories whose change means "the mailbox changed": ordinary O_RDONLY|O_DIRECTORY
 * descriptors, new ones, the caller's. Returns how many (1-2), 0 if it must be polled
 * (network or FUSE file system; statfs decides), or -errno. */
int mailbox_watch_dirs(struct mailbox *box, int fds_r[2]);

/* Brings the index up to date with what other programs did to the mail: new files get UIDs,
 * vanished ones become expunged, changed flags get a MODSEQ. Cheap when nothing changed. 0, GONE, VALIDITY, BUSY, -errno. */
int mailbox_sync(struct mailbox *box);
/* Did the last sync take something for granted? In a large mailbox what others change in the very moment of a change
 * of ours may be found some seconds late. If so, the next sync does not: sync again before doing nothing for a while. */
bool mailbox_doubt(struct mailbox *box);
/* The last sync said 0, but could not write down what is new (disk full, read-only): it
 * is not known yet, and is to be asked for again. */
bool mailbox_put_off(const struct mailbox *box);
/* As of the last sync or change of ours. */
struct mailbox_status {
	uint32_t uidvalidity, uidnext, messages, unseen, recent, deleted;
	uint64_t highestmodseq;
	uint64_t size;		/* sum of RFC822.SIZE; only if asked for */
};
int mailbox_status(struct mailbox *box, bool want_size, struct mailbox_status *st_r);
/* For STATUS: opens, syncs, asks, closes. Claims no \Recent. */
int mail_store_status(struct mail_store *store, const char *name, bool want_size, struct mailbox_status *st_r);
uint32_t mailbox_uidvalidity(const struct mailbox *box);
uint32_t mailbox_uidnext(const struct mailbox *box);
uint64_t mailbox_highestmodseq(const struct mailbox *box);

/* UIDs of the messages that exist now, ascending, into *uids (cleared first). */
int mailbox_uids(struct mailbox *box, struct uidset *uids);
/* The same of those that have a system flag, or do not. */
int mailbox_uids_by_flag(struct mailbox *box, enum mail_flag flag, bool has, struct uidset *uids);
/* The first message without \Seen; 0 if there is none. */
int mailbox_first_unseen(struct mailbox *box, uint32_t *uid_r);
/* Below so many messages the rows are as quick as that. */
#define MAILBOX_LARGE	1000
/* \Recent: UIDs that no session was told as recent before; claiming makes them this session's. Returns the set claimed. Read-only sessions look without claiming. */
int mailbox_claim_recent(struct mailbox *box, bool claim, struct uidset *recent_r);
/* UIDs < before that are gone, with a MODSEQ above since. *complete_r false:
 * history does not reach back to since; compare whole sets then. */
int mailbox_vanished_since(struct mailbox *box, uint64_t since, struct uidset *gone_r, bool *complete_r);
/* UIDs of existing messages with MODSEQ above since. */
int mailbox_changed_since(struct mailbox *box, uint64_t since, struct uidset *changed_r);

/* What is known of one message from the index alone. */
struct mail_row {
	uint32_t uid;
	uint32_t flags;			/* enum mail_flag */
	struct keyword_set keywords;	/* valid until the next call of fn / mailbox_* */
	uint64_t modseq;
	bool expunged;			/* gone; flags and so on as they were last */
	int64_t internaldate;		/* unix seconds */
	uint64_t size;			/* RFC822.SIZE (CRLF form); 0 with !size_known */
	bool size_known;
};
/* Calls fn for each UID in set that the index knows, ascending; expunged ones only if with_expunged and still remembered (best effort). fn returns 0 to go on,
 * else the walk ends and returns that. fn must not change the mailbox. */
int mailbox_rows(struct mailbox *box, const struct uidset *set, bool with_expunged,
		 int (*fn)(void *ctx, const struct mail_row *row), void *ctx);
/* As mailbox_rows for one: 0, MAILBOX_E_EXPUNGED (row_r filled if remembered: row_r->uid == uid, else 0), -errno. */
int mailbox_row(struct mailbox *box, uint32_t uid, struct mail_row *row_r);

/* The message's bytes in CRLF form, whatever line ends the store keeps. */
struct mail_reader;
/* 0, EXPUNGED, CORRUPT, FOREIGN, -errno. Sees the message even if it is renamed meanwhile. Works for an expunged one never. */
int mailbox_read_open(struct mailbox *box, uint32_t uid, struct mail_reader **r_r);
void mail_reader_close(struct mail_reader **r);
/* Sizes of the CRLF form: header includes the empty line. Computed once, by one pass, and kept in the index. */
int mail_reader_sizes(struct mail_reader *r, uint64_t *header_r, uint64_t *total_r);
/* Reads up to len bytes at offset (of the CRLF form; sequential reading is the fast way).
 * >0 bytes, 0 at the end, -errno. */
long mail_reader_read(struct mail_reader *r, uint64_t offset, void *data, size_t len);
/* Whoever read all of it tells what mail_reader_sizes() would have to find out. */
void mail_reader_learn(struct mail_reader *r, uint64_t header, uint64_t total);

enum flag_op { FLAG_SET, FLAG_ADD, FLAG_REMOVE };
/* One transaction for all of uids. unchanged_since: UINT64_MAX for none (RFC 7162 3.1.3).
 * changed_r: UIDs whose flags were really changed (those not changed keep their MODSEQ); modified_r: refused
 * by unchanged_since; gone_r: no longer there. All three cleared first; any may be NULL but changed_r. *modseq_r: the MODSEQ given (0 none). */
int mailbox_store(struct mailbox *box, const struct uidset *uids, enum flag_op op,
		  uint32_t flags, const uint32_t *keywords, size_t n_keywords,
		  uint64_t unchanged_since, struct uidset *changed_r,
		  struct uidset *modified_r, struct uidset *gone_r, uint64_t *modseq_r);
/* Expunges those of uids that are \Deleted. gone_r: what went by this call. *modseq_r its MODSEQ (0: nothing went). */
int mailbox_expunge(struct mailbox *box, const struct uidset *uids, struct uidset *gone_r, uint64_t *modseq_r);

/* COPY and MOVE (RFC 6851). Copies keep flags, keywords (by name) and INTERNALDATE; all of them or none:
 * EXPUNGED if one of uids is gone. A move is of those that are there (gone ones are in no set), also all or none: the
 * sources are expunged in the same go (gone_r: what went, may be NULL; *modseq_r as mailbox_expunge). The n-th member of
 * copied_r (source) became the n-th of new_r. dest may be box itself. NONEXISTENT is about dest. Durable when it returns 0. */
int mailbox_copy(struct mailbox *box, const struct uidset *uids, const char *dest, bool move,
		 struct uidset *copied_r, struct uidset *new_r, uint32_t *uidvalidity_r,
		 uint8_t dest_id_r[16], uint64_t *dest_modseq_r, struct uidset *gone_r,
		 uint64_t *modseq_r);

/* What was computed of messages and is kept beside them in the index: it may vanish at any time. */
enum mail_cache { MAIL_CACHE_ENVELOPE, MAIL_CACHE_STRUCTURE, MAIL_CACHE_COUNT };
/* Calls fn, ascending, for those in set that have it cached. data is valid until fn returns; fn calls nothing of
 * the mailbox, and returns 0 to go on. */
int mailbox_cache_rows(struct mailbox *box, const struct uidset *set, enum mail_cache what,
		       int (*fn)(void *ctx, uint32_t uid, const void *data, size_t len), void *ctx);
/* Gathers; written (not durably) when there are many, or at mailbox_cache_flush() or close. data NULL: leaves that kind as it is. */
int mailbox_cache_put(struct mailbox *box, uint32_t uid, enum mail_cache what, const void *data, size_t len);
int mailbox_cache_flush(struct mailbox *box);

/* Keywords of the mailbox in their order (append-only); pointers valid until the next mailbox_* call. */
size_t mailbox_keywords(struct mailbox *box, const char *const **names_r);
/* Number of a keyword (case-insensitive); created durably if create. 0, NONEXISTENT, KEYWORDS, -errno. */
int mailbox_keyword(struct mailbox *box, const char *name, bool create, uint32_t *n_r);

/* APPEND. Nothing is visible until commit; abort leaves nothing behind. Bytes as the
 * client sends them (any line ends; stored as the store does). */
struct mail_append;
int mailbox_append_begin(struct mail_store *store, const char *name, struct mail_append **a_r);
int mailbox_append_write(struct mail_append *a, const void *data, size_t len);
/* Durable when it returns 0. internaldate: unix seconds, or INT64_MIN for now. Keywords by name. */
int mailbox_append_commit(struct mail_append **a, int64_t internaldate, uint32_t flags,
			  const char *const *keywords, size_t n_keywords,
			  uint32_t *uidvalidity_r, uint32_t *uid_r, uint8_t mailbox_id_r[16], uint64_t *modseq_r);
void mailbox_append_abort(struct mail_append **a);
/* Several in one command (RFC 3502), all or none: the first with begin, the others with more (into the same
 * mailbox), each written and then finished (its bytes and date are on disk: little memory and no descriptor is kept);
 * at last all committed at once. Their UIDs follow each other. Aborts all, last to first, also when it failed. */
int mailbox_append_more(struct mail_append *first, struct mail_append **a_r);
int mailbox_append_finish(struct mail_append *a, int64_t internaldate);
struct mail_append_flags {
	uint32_t flags;
	const char *const *keywords;
	size_t n_keywords;
};
int mailbox_append_commit_all(struct mail_append **a, const struct mail_append_flags *flags, size_t n,
			      uint32_t *uidvalidity_r, uint32_t *first_uid_r, uint8_t mailbox_id_r[16],
			      uint64_t *modseq_r);
/* Warm what costs time (SQLite), before any user is known: in the zygote, and again in each
 * spare while it waits (a fork does not inherit the page tables of library code; 0.12 ms of a wake). */
void mail_store_warm(void);
#endif
