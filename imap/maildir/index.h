/* SPDX-License-Identifier: MIT */
#ifndef IMAP_MAILDIR_INDEX_H
#define IMAP_MAILDIR_INDEX_H
/* The SQLite index: one database for all mailboxes of a user, one connection.
 * It may be deleted or damaged at any time: index_check() notices and opens a
 * new one, and whoever then misses its mailbox in it rebuilds that from the
 * directory and `dormouse-uidlist`. So nothing is only here that must last;
 * what only is here (expunge history, cached sizes) may be lost.
 *
 * Functions return 0, -errno or a positive enum mailbox_error; -EUCLEAN says
 * that the database is damaged or was deleted: end the transaction, index_check() and
 * try once more. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sqlite3.h>

#include "imap/mailbox.h"
#include "imap/maildir/maildir-name.h"
#include "lib/limits.h"

enum index_sql {
	SQL_BOX_GET, SQL_BOX_NEW, SQL_BOX_SET, SQL_BOX_DROP, SQL_BOX_DROP_MSGS,
	SQL_BOX_DROP_GONE, SQL_BOX_DROP_KEYWORDS, SQL_BOX_DROP_CACHE, SQL_BOX_TRUST,
	SQL_MSG_GET, SQL_MSG_BY_HASH, SQL_MSG_RANGE, SQL_MSG_NAMES, SQL_MSG_NAMES_NEW,
	SQL_MSG_ADD, SQL_MSG_SET, SQL_MSG_SIZES, SQL_MSG_DEL, SQL_MSG_UIDS,
	SQL_MSG_SINCE, SQL_MSG_RECENT, SQL_MSG_SIZE_SUM, SQL_MSG_SIZE_UNKNOWN,
	SQL_MSG_ROWS, SQL_GONE_ROWS,
	SQL_GONE_ADD, SQL_GONE_RANGE, SQL_GONE_SINCE, SQL_GONE_OLDEST, SQL_GONE_PRUNE,
	SQL_CACHE_PUT, SQL_CACHE_RANGE, SQL_CACHE_COPY, SQL_CACHE_DEL,
	SQL_KEYWORDS, SQL_KEYWORD_ADD,
	SQL_MSG_FLAGS, SQL_MSG_FLAGS_SINCE, SQL_SUMMARY_GET, SQL_SUMMARY_PUT, SQL_BOX_DROP_SUMMARY,
	SQL_COUNT
};

struct index {
	sqlite3 *db;			/* NULL until it is needed */
	char *path;
	sqlite3_stmt *stmt[SQL_COUNT];	/* prepared at their first use */
	uint64_t opened;		/* counts opens: row ids of another one are void */
	int wal_pages;			/* after the last commit */
	bool damaged;
	bool preparing;			/* nobody waits for it: it does not wait long */
	bool full_sync;			/* PRAGMA synchronous as it stands */
	bool in_transaction;
};
/* Remembers where; opens nothing. */
int index_init(struct index *ix, const char *index_dir);
void index_deinit(struct index *ix);
/* Uses SQLite once, without any file. */
void index_warm(void);
/* Opens the database, or another one if it was deleted or damaged. Call it before each
 * group of statements. */
int index_check(struct index *ix);
/* Opens it, and makes ready what a SELECT asks of it. */
void index_prepare(struct index *ix);
/* BEGIN IMMEDIATE (with index_check()). durable: COMMIT returns when it is on disk. */
int index_begin(struct index *ix, bool durable);
/* The same for what can be left undone: does not wait long. */
int index_begin_soon(struct index *ix);
int index_commit(struct index *ix);
void index_rollback(struct index *ix);
/* Copies the WAL into the database when it is large. Not within a transaction. */
void index_checkpoint(struct index *ix);
/* The same where a lot is written that may be lost, while somebody waits. */
void index_checkpoint_bulk(struct index *ix);
/* A prepared statement, reset and ready to bind. */
int index_stmt(struct index *ix, enum index_sql which, sqlite3_stmt **st_r);
/* What an SQLite result code means: 0 for OK, ROW and DONE. */
int index_result(struct index *ix, int sqlite_rc);
/* Runs a statement that gives no row, and resets it. */
int index_run(struct index *ix, sqlite3_stmt *st);

/* When a directory was last looked at. */
struct dir_stamp {
	int64_t secs, nsecs;	/* mtime */
	uint64_t ino;
	int64_t trust;		/* does an equal mtime mean unchanged? */
};
/* Two values, or: since that second only changes of ours are known of, and each
 * was made between two looks at the mtime that left no room to speak of. */
enum { TRUST_NONE = 0, TRUST_FULL = 1 };
enum { DIR_CUR, DIR_NEW, DIR_COUNT };
extern const char *const dir_names[DIR_COUNT];

/* One mailbox as the index has it. */
struct box_row {
	int64_t box;		/* row id; 0: not in the index */
	uint32_t uidvalidity;
	uint32_t uidnext;	/* all UIDs below were seen here */
	uint32_t first_recent;
	uint32_t messages, unseen, deleted, expunged;
	uint64_t highestmodseq;
	uint64_t history;	/* expunges are remembered from this MODSEQ on */
	/* dormouse-uidlist as far as it was read into the index */
	uint64_t list_generation, list_offset;
	uint32_t list_lines, list_uidnext;
	uint32_t list_uid_reserved;	/* below it UIDs may be given without fdatasync */
	uint64_t list_modseq;	/* reserved up to this */
	uint32_t n_keywords;
	uint32_t odd_letters;	/* letters found in names that are no keyword's */
	int64_t boot;		/* when the system was started */
	struct dir_stamp dirs[DIR_COUNT];
	uint64_t name_sum[DIR_COUNT];	/* of the hashes of all names */
};
int index_box_get(struct index *ix, const uint8_t id[16], struct box_row *row_r);
int index_box_add(struct index *ix, const uint8_t id[16], const char *name,
		  struct box_row *row);
int index_box_set(struct index *ix, const struct box_row *row);
int index_box_drop(struct index *ix, int64_t box);
int index_box_trust(struct index *ix, const struct box_row *row);

#define KEYWORD_WORDS	(KEYWORDS_MAX / 64)
/* One message. Which keywords it has is a bit set. */
struct msg {
	uint32_t uid;
	int dir;			/* DIR_CUR, DIR_NEW */
	char base[MAILDIR_NAME_MAX + 1];
	char info[MAILDIR_NAME_MAX + 1];
	uint32_t flags;
	uint64_t keywords[KEYWORD_WORDS];
	uint64_t modseq;
	int64_t internaldate;
	int64_t size, header_size;	/* CRLF form; -1: not known */
	bool expunged;
};
/* 0, MAILBOX_E_EXPUNGED. */
int index_msg_get(struct index *ix, int64_t box, uint32_t uid, struct msg *m_r);
/* These keep the counts in row, which the caller writes in the end. */
int index_msg_add(struct index *ix, struct box_row *row, const struct msg *m);
int index_msg_set(struct index *ix, struct box_row *row, const struct msg *was,
		  const struct msg *m);
/* The message becomes history with this MODSEQ. */
int index_msg_expunge(struct index *ix, struct box_row *row, const struct msg *m,
		      uint64_t modseq);
int index_msg_sizes(struct index *ix, int64_t box, uint32_t uid, int64_t size,
		    int64_t header_size);
/* What is cached of one message holds for its copy. */
int index_msg_cache_copy(struct index *ix, int64_t from, uint32_t uid, int64_t to,
			 uint32_t new_uid);
/* Up to max messages with first <= uid <= last, existing or expunged ones.
 * Returns how many, or -errno (a positive error becomes -EIO). */
int index_msg_range(struct index *ix, int64_t box, uint32_t first, uint32_t last, bool expunged,
		    struct msg *m_r, int max);
/* What is asked of many messages, without their names: some rows at a time. */
#define INDEX_ROWS_MAX	256
struct index_rows {
	struct mail_row rows[INDEX_ROWS_MAX];	/* keywords point into words */
	uint64_t words[INDEX_ROWS_MAX][KEYWORD_WORDS];
	int n;
};
/* Those with first <= uid <= last, ascending, as many as there is room for. 0 or as
 * index_msg_get(). */
int index_row_range(struct index *ix, int64_t box, uint32_t first, uint32_t last, bool expunged,
		    struct index_rows *r);
/* Forgets the oldest expunges when there are too many. */
int index_history_prune(struct index *ix, struct box_row *row);
/* Runs a query by box and a number, whose only column is a UID. */
int index_uid_query(struct index *ix, enum index_sql which, int64_t box, uint64_t n,
		    struct uidset *set);

/* Of what is cached of a message: what of one kind lies side by side, because a client asks
 * for one kind of many messages. Boxes are counted from 1. */
static inline int64_t index_cache_key(int64_t box, enum mail_cache what, uint32_t uid)
{
	_Static_assert(MAIL_CACHE_COUNT <= 2, "one bit");
	return (int64_t)((uint64_t)box << 33 | (uint64_t)what << 32 | uid);
}

static inline bool keywords_has(const uint64_t *words, uint32_t n)
{
	return words[n / 64] >> (n % 64) & 1;
}
static inline void keywords_put(uint64_t *words, uint32_t n, bool on)
{
	uint64_t bit = UINT64_C(1) << (n % 64);

	words[n / 64] = on ? words[n / 64] | bit : words[n / 64] & ~bit;
}
#endif
