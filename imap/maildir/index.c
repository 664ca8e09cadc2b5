/* SPDX-License-Identifier: MIT */
/* The connection: opening, noticing that the database is not the one it was,
 * transactions, statements.
 *
 * Closing a WAL database copies its log, removes it, and the next open makes it
 * anew; both cost more than a wake's whole work. So the log stays. But whoever
 * opens it first reads all of it (1.6 us a page), so it must stay short:
 * index_checkpoint() copies and empties it at moments when nobody waits. */
#include "imap/maildir/index.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/log.h"

#define INDEX_SCHEMA		3	/* PRAGMA user_version */
#define INDEX_SCHEMA_CACHED	2	/* without the table summaries */
#define INDEX_SCHEMA_UNCACHED	1	/* without the table cache */
#define INDEX_BUSY_MS		10000	/* a bulk change of another session */
#define INDEX_SOON_MS		20
#define INDEX_LOOK_MS		2	/* where SQLite does not wait by itself */
#define INDEX_WAL_PAGES_MAX	1000	/* 4 MB, SQLite's own default */
#define INDEX_WAL_PAGES_BULK	4000	/* seconds of writing, each page often */
#define INDEX_WAL_PAGES_LEFT	64	/* the next open reads them in 0.1 ms */

static const char schema[] =
	"CREATE TABLE mailboxes(box INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, name TEXT,"
	" uidvalidity INT, uidnext INT, first_recent INT, messages INT, unseen INT,"
	" deleted INT, expunged INT, highestmodseq INT, history INT, list_generation INT,"
	" list_offset INT, list_lines INT, list_uidnext INT, list_uid_reserved INT, list_modseq INT,"
	" n_keywords INT, odd_letters INT, boot INT,"
	" cur_secs INT, cur_nsecs INT, cur_ino INT, cur_trusted INT, cur_sum INT,"
	" new_secs INT, new_nsecs INT, new_ino INT, new_trusted INT, new_sum INT);"
	"CREATE TABLE messages(box INT NOT NULL, uid INT NOT NULL, dir INT, base BLOB,"
	" info BLOB, hash INT, flags INT, keywords BLOB, modseq INT, internaldate INT,"
	" size INT, header_size INT, PRIMARY KEY(box, uid)) WITHOUT ROWID;"
	"CREATE INDEX messages_modseq ON messages(box, modseq);"
	"CREATE INDEX messages_hash ON messages(box, hash);"
	"CREATE INDEX messages_new ON messages(box, uid) WHERE dir = 1;"
	"CREATE TABLE expunged(box INT NOT NULL, uid INT NOT NULL, flags INT, keywords BLOB,"
	" modseq INT, internaldate INT, size INT, PRIMARY KEY(box, uid)) WITHOUT ROWID;"
	"CREATE INDEX expunged_modseq ON expunged(box, modseq);"
	"CREATE TABLE keywords(box INT NOT NULL, n INT NOT NULL, letter TEXT, name BLOB,"
	" PRIMARY KEY(box, n)) WITHOUT ROWID;";
/* See index_cache_key(). Rows are too large for a table without rowid: there what is
 * above a quarter of a page gets pages of its own. */
static const char schema_cache[] =
	"CREATE TABLE cache(key INTEGER PRIMARY KEY, data BLOB);";
static const char schema_summaries[] =
	"CREATE TABLE summaries(key INTEGER PRIMARY KEY, modseq INT, data BLOB);"
	"PRAGMA user_version = 3;";

#define BOX_COLUMNS \
	"uidvalidity, uidnext, first_recent, messages, unseen, deleted, expunged," \
	" highestmodseq, history, list_generation, list_offset, list_lines, list_uidnext," \
	" list_uid_reserved, list_modseq, n_keywords, odd_letters, boot, cur_secs, cur_nsecs, cur_ino," \
	" cur_trusted, cur_sum, new_secs, new_nsecs, new_ino, new_trusted, new_sum"
#define MSG_COLUMNS \
	"uid, dir, base, info, flags, keywords, modseq, internaldate, size, header_size"

static const char *const sql[SQL_COUNT] = {
	[SQL_BOX_GET] = "SELECT box, " BOX_COLUMNS " FROM mailboxes WHERE id = ?",
	[SQL_BOX_NEW] = "INSERT INTO mailboxes(id, name) VALUES(?, ?)",
	[SQL_BOX_SET] = "UPDATE mailboxes SET (" BOX_COLUMNS ") = (?2, ?3, ?4, ?5, ?6, ?7,"
		" ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22,"
		" ?23, ?24, ?25, ?26, ?27, ?28, ?29) WHERE box = ?1",
	[SQL_BOX_DROP] = "DELETE FROM mailboxes WHERE box = ?",
	[SQL_BOX_DROP_MSGS] = "DELETE FROM messages WHERE box = ?",
	[SQL_BOX_DROP_GONE] = "DELETE FROM expunged WHERE box = ?",
	[SQL_BOX_DROP_KEYWORDS] = "DELETE FROM keywords WHERE box = ?",
	[SQL_BOX_DROP_CACHE] = "DELETE FROM cache WHERE key >= ?1 << 33 AND key < (?1 + 1) << 33",
	/* Only if it is still what was looked at. */
	[SQL_BOX_TRUST] = "UPDATE mailboxes SET cur_trusted = ?2, new_trusted = ?3"
		" WHERE box = ?1 AND cur_secs = ?4 AND cur_nsecs = ?5 AND new_secs = ?6"
		" AND new_nsecs = ?7 AND cur_sum = ?8 AND new_sum = ?9",
	[SQL_MSG_GET] = "SELECT " MSG_COLUMNS " FROM messages WHERE box = ? AND uid = ?",
	[SQL_MSG_BY_HASH] = "SELECT uid FROM messages INDEXED BY messages_hash"
		" WHERE box = ? AND hash = ?",
	[SQL_MSG_RANGE] = "SELECT " MSG_COLUMNS " FROM messages"
		" WHERE box = ? AND uid BETWEEN ? AND ? ORDER BY uid LIMIT ?",
	[SQL_MSG_ROWS] = "SELECT uid, flags, modseq, internaldate, size, keywords FROM messages"
		" WHERE box = ? AND uid BETWEEN ? AND ? ORDER BY uid",
	[SQL_GONE_ROWS] = "SELECT uid, flags, modseq, internaldate, size, keywords FROM expunged"
		" WHERE box = ? AND uid BETWEEN ? AND ? ORDER BY uid",
	[SQL_MSG_NAMES] = "SELECT uid, dir, base, info FROM messages WHERE box = ? ORDER BY uid",
	[SQL_MSG_NAMES_NEW] = "SELECT uid, dir, base, info FROM messages INDEXED BY messages_new"
		" WHERE box = ? AND dir = 1 ORDER BY uid",
	[SQL_MSG_ADD] = "INSERT INTO messages(box, uid, dir, base, info, hash, flags, keywords,"
		" modseq, internaldate, size, header_size)"
		" VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
	[SQL_MSG_SET] = "UPDATE messages SET dir = ?3, info = ?4, flags = ?5, keywords = ?6,"
		" modseq = ?7 WHERE box = ?1 AND uid = ?2",
	[SQL_MSG_SIZES] = "UPDATE messages SET size = ?3, header_size = ?4"
		" WHERE box = ?1 AND uid = ?2",
	[SQL_MSG_DEL] = "DELETE FROM messages WHERE box = ? AND uid = ?",
	[SQL_MSG_UIDS] = "SELECT uid FROM messages WHERE box = ? AND uid > ? ORDER BY uid",
	[SQL_MSG_SINCE] = "SELECT uid FROM messages INDEXED BY messages_modseq"
		" WHERE box = ? AND modseq > ? ORDER BY uid",
	[SQL_MSG_RECENT] = "SELECT uid FROM messages WHERE box = ? AND uid >= ? ORDER BY uid",
	[SQL_MSG_SIZE_SUM] = "SELECT total(size) FROM messages WHERE box = ? AND size >= 0",
	[SQL_MSG_SIZE_UNKNOWN] = "SELECT uid FROM messages WHERE box = ? AND uid > ?"
		" AND size < 0 ORDER BY uid",
	[SQL_GONE_ADD] = "INSERT OR REPLACE INTO expunged(box, uid, flags, keywords, modseq,"
		" internaldate, size) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
	[SQL_GONE_RANGE] = "SELECT uid, 0, NULL, NULL, flags, keywords, modseq, internaldate,"
		" size, -1 FROM expunged WHERE box = ? AND uid BETWEEN ? AND ?"
		" ORDER BY uid LIMIT ?",
	[SQL_GONE_SINCE] = "SELECT uid FROM expunged INDEXED BY expunged_modseq"
		" WHERE box = ? AND modseq > ? ORDER BY uid",
	[SQL_GONE_OLDEST] = "SELECT modseq FROM expunged WHERE box = ? ORDER BY modseq"
		" LIMIT 1 OFFSET ?",
	[SQL_GONE_PRUNE] = "DELETE FROM expunged WHERE box = ? AND modseq <= ?",
	[SQL_KEYWORDS] = "SELECT n, letter, name FROM keywords WHERE box = ? ORDER BY n",
	/* Not for one that is gone by now. */
	[SQL_CACHE_PUT] = "INSERT OR REPLACE INTO cache(key, data) SELECT ?1, ?2 WHERE EXISTS"
		" (SELECT 1 FROM messages WHERE box = ?3 AND uid = ?4)",
	[SQL_CACHE_RANGE] = "SELECT key, data FROM cache WHERE key BETWEEN ? AND ? ORDER BY key",
	[SQL_CACHE_COPY] = "INSERT OR REPLACE INTO cache(key, data)"
		" SELECT (?3 << 33) | (key & (1 << 32)) | ?4, data FROM cache"
		" WHERE key IN ((?1 << 33) | ?2, (?1 << 33) | (1 << 32) | ?2)",
	[SQL_CACHE_DEL] = "DELETE FROM cache WHERE key IN (?, ?)",
	[SQL_MSG_FLAGS] = "SELECT uid, flags FROM messages WHERE box = ? AND uid > ? ORDER BY uid",
	[SQL_MSG_FLAGS_SINCE] = "SELECT uid, flags FROM messages INDEXED BY messages_modseq"
		" WHERE box = ? AND modseq > ? ORDER BY uid",
	[SQL_SUMMARY_GET] = "SELECT modseq, data FROM summaries WHERE key = ?",
	[SQL_SUMMARY_PUT] = "INSERT OR REPLACE INTO summaries(key, modseq, data) VALUES(?, ?, ?)",
	[SQL_BOX_DROP_SUMMARY] = "DELETE FROM summaries WHERE key >= ?1 << 3 AND key < (?1 + 1) << 3",
	[SQL_KEYWORD_ADD] = "INSERT OR REPLACE INTO keywords(box, n, letter, name)"
		" VALUES(?, ?, ?, ?)",
};

int index_init(struct index *ix, const char *index_dir)
{
	*ix = (struct index){ 0 };
	return asprintf(&ix->path, "%s/index.db", index_dir) < 0 ? -ENOMEM : 0;
}

void index_warm(void)
{
	sqlite3 *db;

	/* One thread, and nobody asks for memory statistics. */
	sqlite3_config(SQLITE_CONFIG_SINGLETHREAD);
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	if (sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
			    NULL) == SQLITE_OK) {
		sqlite3_exec(db, schema, NULL, NULL, NULL);
		sqlite3_exec(db, schema_cache, NULL, NULL, NULL);
		sqlite3_exec(db, schema_summaries, NULL, NULL, NULL);
		for (int i = 0; i < SQL_COUNT; i++) {
			sqlite3_stmt *st = NULL;

			sqlite3_prepare_v3(db, sql[i], -1, 0, &st, NULL);
			sqlite3_step(st);
			sqlite3_finalize(st);
		}
	}
	sqlite3_close(db);
}

static void index_close(struct index *ix)
{
	for (int i = 0; i < SQL_COUNT; i++) {
		sqlite3_finalize(ix->stmt[i]);
		ix->stmt[i] = NULL;
	}
	sqlite3_close(ix->db);
	ix->db = NULL;
	ix->in_transaction = false;
}

static void checkpoint_above(struct index *ix, int pages);

void index_deinit(struct index *ix)
{
	checkpoint_above(ix, INDEX_WAL_PAGES_LEFT);
	index_close(ix);
	free(ix->path);
	ix->path = NULL;
}

/* 1: deleted, or another one is there under its name; 0; or -EIO: it cannot say, since
 * it was never opened. */
static int index_moved(struct index *ix)
{
	int moved = 0;

	if (sqlite3_file_control(ix->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) != SQLITE_OK)
		return -EIO;
	return moved != 0;
}

int index_result(struct index *ix, int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return MAILBOX_E_BUSY;
	case SQLITE_FULL:
		return MAILBOX_E_NOSPACE;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_ERROR:	/* a table that should be there is not */
	case SQLITE_SCHEMA:
	case SQLITE_CONSTRAINT:	/* counts and rows that contradict each other */
	case SQLITE_MISMATCH:
		/* What was deleted around us looks damaged, but another may be whole. */
		if (ix->db && index_moved(ix) == 1)
			return -EUCLEAN;
		if (!ix->damaged)
			log_error("index-damaged", "file=%s error=%s", log_str(ix->path),
				  log_str(ix->db ? sqlite3_errmsg(ix->db) : sqlite3_errstr(rc)));
		ix->damaged = true;
		return -EUCLEAN;
	default:
		/* Its name or its log's was looked for and not found. */
		if (ix->db && index_moved(ix) == 1)
			return -EUCLEAN;
		log_error("index-error", "file=%s code=%d errno=%d error=%s", log_str(ix->path),
			  rc, ix->db ? sqlite3_system_errno(ix->db) : 0,
			  log_str(ix->db ? sqlite3_errmsg(ix->db) : sqlite3_errstr(rc)));
		/* ENOSPC has a code of its own, but not a quota or a limit
		   on the file's size, and their errno is lost by now. */
		return rc == SQLITE_IOERR_WRITE ? MAILBOX_E_NOSPACE : -EIO;
	}
}

static int on_commit(void *ctx, sqlite3 *db, const char *name, int pages)
{
	struct index *ix = ctx;

	ix->wal_pages = pages;
	return SQLITE_OK;
}

static int exec(struct index *ix, const char *text)
{
	return index_result(ix, sqlite3_exec(ix->db, text, NULL, NULL, NULL));
}

/* 1: an empty database gets its tables; 2, 3: an older one gets what it lacks. One of
 * another format is damage. */
static int check_schema(struct index *ix)
{
	sqlite3_stmt *st;
	int rc, version = -1;

	rc = sqlite3_prepare_v2(ix->db, "PRAGMA user_version", -1, &st, NULL);
	if (rc == SQLITE_OK) {
		rc = sqlite3_step(st);
		if (rc == SQLITE_ROW)
			version = sqlite3_column_int(st, 0);
		sqlite3_finalize(st);
	}
	if (rc != SQLITE_ROW)
		return index_result(ix, rc);
	if (version == INDEX_SCHEMA)
		return 0;
	if (version == INDEX_SCHEMA_UNCACHED)
		return 2;
	if (version == INDEX_SCHEMA_CACHED)
		return 3;
	return version == 0 ? 1 : index_result(ix, SQLITE_CORRUPT);
}

/* To make a database one with a log takes the whole of it, and SQLite asks for that
 * without waiting: not to be had while another process does the same. */
static int create_log(struct index *ix)
{
	uint64_t end = clock_ms() + (ix->preparing ? INDEX_SOON_MS : INDEX_BUSY_MS);
	int rc;

	while ((rc = exec(ix, "PRAGMA journal_mode = WAL")) == MAILBOX_E_BUSY && clock_ms() < end)
		usleep(INDEX_LOOK_MS * 1000);
	return rc;
}

static int create_schema(struct index *ix)
{
	int lacks, rc = create_log(ix);

	if (rc == 0)
		rc = exec(ix, "BEGIN IMMEDIATE");
	if (rc)
		return rc;
	/* Somebody else may have been quicker. */
	rc = lacks = check_schema(ix);
	if (lacks == 1)
		rc = exec(ix, schema);
	else if (lacks == 2 || lacks == 3)
		rc = 0;
	if (rc == 0 && (lacks == 1 || lacks == 2))
		rc = exec(ix, schema_cache);
	if (rc == 0 && lacks > 0)
		rc = exec(ix, schema_summaries);
	if (rc == 0)
		rc = exec(ix, "COMMIT");
	if (rc)
		sqlite3_exec(ix->db, "ROLLBACK", NULL, NULL, NULL);
	return rc;
}

static int index_open(struct index *ix)
{
	int on = 1, rc;
	mode_t old_mask;

	if (fault("index-open"))
		return -EIO;
	ix->damaged = false;
	old_mask = umask(077);	/* what SQLite creates is the user's alone */
	rc = sqlite3_open_v2(ix->path, &ix->db,
		SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	umask(old_mask);
	if (rc == SQLITE_OK) {
		sqlite3_extended_result_codes(ix->db, 1);
		sqlite3_busy_timeout(ix->db, ix->preparing ? INDEX_SOON_MS : INDEX_BUSY_MS);
		sqlite3_file_control(ix->db, "main", SQLITE_FCNTL_PERSIST_WAL, &on);
		sqlite3_db_config(ix->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
		sqlite3_wal_hook(ix->db, on_commit, ix);	/* and no checkpoint by itself */
		ix->full_sync = true;
		ix->opened++;
		rc = check_schema(ix);
		if (rc >= 1 && rc <= 3)
			rc = create_schema(ix);
	} else {
		rc = index_result(ix, rc);
	}
	if (rc)
		index_close(ix);
	return rc;
}

/* A damaged database is put aside. */
static void index_discard(struct index *ix)
{
	static const char *const suffix[] = { "-wal", "-shm", "" };
	char name[4096];

	for (size_t i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "%s%s", ix->path, suffix[i]);
		unlink(name);
	}
	log_warn("index-discarded", "file=%s", log_str(ix->path));
}

/* Somebody may delete it again and again. */
#define INDEX_OPEN_TRIES	8

int index_check(struct index *ix)
{
	bool moved;
	int rc = 0;

	assert(!ix->in_transaction);
	moved = ix->db && index_moved(ix) != 0;
	if (ix->db && (moved || ix->damaged)) {
		index_close(ix);
		if (!moved)
			index_discard(ix);
	}
	for (int tries = 0; !ix->db && tries < INDEX_OPEN_TRIES; tries++) {
		rc = index_open(ix);
		if (rc != -EUCLEAN)
			break;
		if (ix->damaged)
			index_discard(ix);
	}
	return rc == -EUCLEAN ? -EIO : rc;
}

int index_stmt(struct index *ix, enum index_sql which, sqlite3_stmt **st_r)
{
	sqlite3_stmt **st = &ix->stmt[which];
	int rc;

	if (*st) {
		sqlite3_reset(*st);
	} else {
		rc = sqlite3_prepare_v3(ix->db, sql[which], -1, SQLITE_PREPARE_PERSISTENT,
					st, NULL);
		if (rc != SQLITE_OK)
			return index_result(ix, rc);
	}
	*st_r = *st;
	return 0;
}

void index_prepare(struct index *ix)
{
	static const enum index_sql first[] = {
		SQL_BOX_GET, SQL_KEYWORDS, SQL_SUMMARY_GET, SQL_MSG_FLAGS_SINCE,
		SQL_GONE_SINCE, SQL_MSG_RECENT, SQL_MSG_FLAGS,
	};
	sqlite3_stmt *st;

	/* Whoever holds it may hold it for long, and the session has better to do. */
	ix->preparing = true;
	if (index_check(ix) == 0)
		sqlite3_busy_timeout(ix->db, INDEX_BUSY_MS);
	ix->preparing = false;
	for (size_t i = 0; ix->db && i < sizeof(first) / sizeof(first[0]); i++)
		(void)index_stmt(ix, first[i], &st);
}

int index_run(struct index *ix, sqlite3_stmt *st)
{
	int rc = index_result(ix, sqlite3_step(st));

	sqlite3_reset(st);
	return rc;
}

int index_begin(struct index *ix, bool durable)
{
	int rc = index_check(ix);

	if (rc)
		return rc;
	if (ix->full_sync != durable) {
		rc = exec(ix, durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
		if (rc)
			return rc;
		ix->full_sync = durable;
	}
	rc = exec(ix, "BEGIN IMMEDIATE");
	if (rc == 0)
		ix->in_transaction = true;
	return rc;
}

int index_begin_soon(struct index *ix)
{
	int rc = index_check(ix);

	if (rc)
		return rc;
	sqlite3_busy_timeout(ix->db, INDEX_SOON_MS);
	rc = index_begin(ix, false);
	if (ix->db)
		sqlite3_busy_timeout(ix->db, INDEX_BUSY_MS);
	return rc;
}

int index_commit(struct index *ix)
{
	int rc = fault("index-commit") ? -EIO : exec(ix, "COMMIT");

	if (rc)
		index_rollback(ix);
	ix->in_transaction = false;
	return rc;
}

void index_rollback(struct index *ix)
{
	if (ix->in_transaction && ix->db)
		sqlite3_exec(ix->db, "ROLLBACK", NULL, NULL, NULL);
	ix->in_transaction = false;
}

/* TRUNCATE, not PASSIVE: a log that is copied but not emptied is read again by
 * the next open. It does not wait for anybody who reads or writes; then it is
 * copied only, and the next one finds more to do. */
static void checkpoint_above(struct index *ix, int pages)
{
	if (!ix->db || ix->in_transaction || ix->damaged || ix->wal_pages < pages)
		return;
	ix->wal_pages = 0;
	sqlite3_busy_timeout(ix->db, 0);
	sqlite3_wal_checkpoint_v2(ix->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	sqlite3_busy_timeout(ix->db, INDEX_BUSY_MS);
}

void index_checkpoint(struct index *ix)
{
	checkpoint_above(ix, INDEX_WAL_PAGES_MAX);
}

void index_checkpoint_bulk(struct index *ix)
{
	checkpoint_above(ix, INDEX_WAL_PAGES_BULK);
}
