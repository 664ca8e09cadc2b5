/* SPDX-License-Identifier: MIT */
/* Rows of messages, existing and expunged, and the counts that go with them. */
#include <errno.h>
#include <string.h>

#include "imap/maildir/index.h"
#include "lib/uidset.h"

/* Expunges remembered per mailbox: 10 000 are about half a megabyte. Pruned
 * to that when there are half as many again, so that it is seldom done. */
#define HISTORY_KEEP		10000
#define HISTORY_PRUNE_AT	15000

/* The keywords' bit set as little-endian bytes without trailing zeros. */
static size_t keywords_pack(const uint64_t *words, uint8_t *out)
{
	size_t len = 0;

	for (size_t i = 0; i < KEYWORD_WORDS * 8; i++) {
		out[i] = (uint8_t)(words[i / 8] >> (i % 8 * 8));
		if (out[i])
			len = i + 1;
	}
	return len;
}

static void keywords_unpack(sqlite3_stmt *st, int column, uint64_t *words)
{
	const uint8_t *data = sqlite3_column_blob(st, column);
	size_t len = data ? (size_t)sqlite3_column_bytes(st, column) : 0;

	memset(words, 0, KEYWORD_WORDS * sizeof(words[0]));
	for (size_t i = 0; i < len && i < KEYWORD_WORDS * 8; i++)
		words[i / 8] |= (uint64_t)data[i] << (i % 8 * 8);
}

static void bind_keywords(sqlite3_stmt *st, int i, const uint64_t *words)
{
	uint8_t packed[KEYWORD_WORDS * 8];
	size_t len = keywords_pack(words, packed);

	if (len)
		sqlite3_bind_blob(st, i, packed, (int)len, SQLITE_TRANSIENT);
	else
		sqlite3_bind_null(st, i);
}

static void column_name(sqlite3_stmt *st, int column, char out[MAILDIR_NAME_MAX + 1])
{
	const void *data = sqlite3_column_blob(st, column);
	size_t len = data ? (size_t)sqlite3_column_bytes(st, column) : 0;

	if (len > MAILDIR_NAME_MAX)
		len = 0;
	if (len)
		memcpy(out, data, len);
	out[len] = '\0';
}

static void bind_name(sqlite3_stmt *st, int i, const char *name)
{
	sqlite3_bind_blob(st, i, name, (int)strlen(name), SQLITE_STATIC);
}

static void msg_from_row(sqlite3_stmt *st, struct msg *m)
{
	m->uid = (uint32_t)sqlite3_column_int64(st, 0);
	m->dir = sqlite3_column_int(st, 1) == DIR_NEW ? DIR_NEW : DIR_CUR;
	column_name(st, 2, m->base);
	column_name(st, 3, m->info);
	m->flags = (uint32_t)sqlite3_column_int64(st, 4) & MAIL_FLAGS_ALL;
	keywords_unpack(st, 5, m->keywords);
	m->modseq = (uint64_t)sqlite3_column_int64(st, 6);
	m->internaldate = sqlite3_column_int64(st, 7);
	m->size = sqlite3_column_int64(st, 8);
	m->header_size = sqlite3_column_int64(st, 9);
	m->expunged = false;
}

int index_msg_get(struct index *ix, int64_t box, uint32_t uid, struct msg *m_r)
{
	sqlite3_stmt *st;
	int step, rc = index_stmt(ix, SQL_MSG_GET, &st);

	if (rc)
		return rc;
	sqlite3_bind_int64(st, 1, box);
	sqlite3_bind_int64(st, 2, uid);
	step = sqlite3_step(st);
	if (step == SQLITE_ROW)
		msg_from_row(st, m_r);
	sqlite3_reset(st);
	return step == SQLITE_DONE ? MAILBOX_E_EXPUNGED : index_result(ix, step);
}

static uint64_t full_name_hash(const struct msg *m)
{
	char name[2 * MAILDIR_NAME_MAX + 1];
	size_t base_len = strlen(m->base), info_len = strlen(m->info);

	memcpy(name, m->base, base_len);
	memcpy(name + base_len, m->info, info_len);
	return maildir_name_hash(name, base_len + info_len);
}

/* by: +1 for a message that is there now, -1 for one that was. */
static void count_msg(struct box_row *row, const struct msg *m, int by)
{
	uint64_t hash = full_name_hash(m);

	row->messages += (uint32_t)by;
	if (!(m->flags & MAIL_SEEN))
		row->unseen += (uint32_t)by;
	if (m->flags & MAIL_DELETED)
		row->deleted += (uint32_t)by;
	row->name_sum[m->dir] += by > 0 ? hash : -hash;
}

int index_msg_add(struct index *ix, struct box_row *row, const struct msg *m)
{
	sqlite3_stmt *st;
	int rc = index_stmt(ix, SQL_MSG_ADD, &st);

	if (rc)
		return rc;
	sqlite3_bind_int64(st, 1, row->box);
	sqlite3_bind_int64(st, 2, m->uid);
	sqlite3_bind_int(st, 3, m->dir);
	bind_name(st, 4, m->base);
	bind_name(st, 5, m->info);
	sqlite3_bind_int64(st, 6, (int64_t)maildir_name_hash(m->base, strlen(m->base)));
	sqlite3_bind_int64(st, 7, m->flags);
	bind_keywords(st, 8, m->keywords);
	sqlite3_bind_int64(st, 9, (int64_t)m->modseq);
	sqlite3_bind_int64(st, 10, m->internaldate);
	sqlite3_bind_int64(st, 11, m->size);
	sqlite3_bind_int64(st, 12, m->header_size);
	rc = index_run(ix, st);
	if (rc == 0)
		count_msg(row, m, 1);
	return rc;
}

int index_msg_set(struct index *ix, struct box_row *row, const struct msg *was,
		  const struct msg *m)
{
	sqlite3_stmt *st;
	int rc = index_stmt(ix, SQL_MSG_SET, &st);

	if (rc)
		return rc;
	sqlite3_bind_int64(st, 1, row->box);
	sqlite3_bind_int64(st, 2, m->uid);
	sqlite3_bind_int(st, 3, m->dir);
	bind_name(st, 4, m->info);
	sqlite3_bind_int64(st, 5, m->flags);
	bind_keywords(st, 6, m->keywords);
	sqlite3_bind_int64(st, 7, (int64_t)m->modseq);
	rc = index_run(ix, st);
	if (rc == 0) {
		count_msg(row, was, -1);
		count_msg(row, m, 1);
	}
	return rc;
}

int index_msg_expunge(struct index *ix, struct box_row *row, const struct msg *m,
		      uint64_t modseq)
{
	sqlite3_stmt *st;
	int rc = index_stmt(ix, SQL_MSG_DEL, &st);

	if (rc)
		return rc;
	sqlite3_bind_int64(st, 1, row->box);
	sqlite3_bind_int64(st, 2, m->uid);
	rc = index_run(ix, st);
	if (rc == 0)
		rc = index_stmt(ix, SQL_CACHE_DEL, &st);
	if (rc)
		return rc;
	sqlite3_bind_int64(st, 1, index_cache_key(row->box, MAIL_CACHE_ENVELOPE, m->uid));
	sqlite3_bind_int64(st, 2, index_cache_key(row->box, MAIL_CACHE_STRUCTURE, m->uid));
	rc = index_run(ix, st);
	if (rc == 0)
		rc = index_stmt(ix, SQL_GONE_ADD, &st);
	if (rc)
		return rc;
	sqlite3_bind_int64(st, 1, row->box);
	sqlite3_bind_int64(st, 2, m->uid);
	sqlite3_bind_int64(st, 3, m->flags);
	bind_keywords(st, 4, m->keywords);
	sqlite3_bind_int64(st, 5, (int64_t)modseq);
	sqlite3_bind_int64(st, 6, m->internaldate);
	sqlite3_bind_int64(st, 7, m->size);
	rc = index_run(ix, st);
	if (rc == 0) {
		count_msg(row, m, -1);
		row->expunged++;
	}
	return rc;
}

int index_msg_sizes(struct index *ix, int64_t box, uint32_t uid, int64_t size,
		    int64_t header_size)
{
	sqlite3_stmt *st;
	int rc = index_stmt(ix, SQL_MSG_SIZES, &st);

	if (rc)
		return rc;
	sqlite3_bind_int64(st, 1, box);
	sqlite3_bind_int64(st, 2, uid);
	sqlite3_bind_int64(st, 3, size);
	sqlite3_bind_int64(st, 4, header_size);
	return index_run(ix, st);
}

int index_msg_cache_copy(struct index *ix, int64_t from, uint32_t uid, int64_t to,
			 uint32_t new_uid)
{
	sqlite3_stmt *st;
	int rc = index_stmt(ix, SQL_CACHE_COPY, &st);

	if (rc)
		return rc;
	sqlite3_bind_int64(st, 1, from);
	sqlite3_bind_int64(st, 2, uid);
	sqlite3_bind_int64(st, 3, to);
	sqlite3_bind_int64(st, 4, new_uid);
	return index_run(ix, st);
}

int index_msg_range(struct index *ix, int64_t box, uint32_t first, uint32_t last, bool expunged,
		    struct msg *m_r, int max)
{
	sqlite3_stmt *st;
	int step, n = 0, rc = index_stmt(ix, expunged ? SQL_GONE_RANGE : SQL_MSG_RANGE, &st);

	if (rc)
		return rc > 0 ? -EIO : rc;
	sqlite3_bind_int64(st, 1, box);
	sqlite3_bind_int64(st, 2, first);
	sqlite3_bind_int64(st, 3, last);
	sqlite3_bind_int(st, 4, max);
	while ((step = sqlite3_step(st)) == SQLITE_ROW && n < max) {
		msg_from_row(st, &m_r[n]);
		m_r[n++].expunged = expunged;
	}
	sqlite3_reset(st);
	rc = index_result(ix, step);
	return rc == 0 ? n : rc > 0 ? -EIO : rc;
}

static void row_from_columns(sqlite3_stmt *st, bool expunged, uint64_t *words,
			     struct mail_row *row)
{
	int64_t size = sqlite3_column_int64(st, 4);
	uint32_t n_words = 0;

	if (sqlite3_column_type(st, 5) != SQLITE_NULL) {
		keywords_unpack(st, 5, words);
		for (n_words = KEYWORD_WORDS; n_words && !words[n_words - 1];)
			n_words--;
	}
	*row = (struct mail_row){
		.uid = (uint32_t)sqlite3_column_int64(st, 0),
		.flags = (uint32_t)sqlite3_column_int64(st, 1) & MAIL_FLAGS_ALL,
		.keywords = { n_words ? words : NULL, n_words },
		.modseq = (uint64_t)sqlite3_column_int64(st, 2),
		.expunged = expunged,
		.internaldate = sqlite3_column_int64(st, 3),
		.size = size < 0 ? 0 : (uint64_t)size,
		.size_known = size >= 0,
	};
}

int index_row_range(struct index *ix, int64_t box, uint32_t first, uint32_t last, bool expunged,
		    struct index_rows *r)
{
	sqlite3_stmt *st;
	int step = SQLITE_ROW, rc = index_stmt(ix, expunged ? SQL_GONE_ROWS : SQL_MSG_ROWS, &st);

	r->n = 0;
	if (rc)
		return rc;
	sqlite3_bind_int64(st, 1, box);
	sqlite3_bind_int64(st, 2, first);
	sqlite3_bind_int64(st, 3, last);
	while (r->n < INDEX_ROWS_MAX && (step = sqlite3_step(st)) == SQLITE_ROW) {
		row_from_columns(st, expunged, r->words[r->n], &r->rows[r->n]);
		r->n++;
	}
	sqlite3_reset(st);
	return index_result(ix, step);
}

int index_history_prune(struct index *ix, struct box_row *row)
{
	uint64_t modseq = 0;
	sqlite3_stmt *st;
	int step, rc;

	if (row->expunged < HISTORY_PRUNE_AT)
		return 0;
	rc = index_stmt(ix, SQL_GONE_OLDEST, &st);
	if (rc)
		return rc;
	sqlite3_bind_int64(st, 1, row->box);
	sqlite3_bind_int64(st, 2, (int64_t)row->expunged - HISTORY_KEEP - 1);
	step = sqlite3_step(st);
	if (step == SQLITE_ROW)
		modseq = (uint64_t)sqlite3_column_int64(st, 0);
	sqlite3_reset(st);
	rc = index_result(ix, step);
	if (rc == 0 && modseq > 0)
		rc = index_stmt(ix, SQL_GONE_PRUNE, &st);
	if (rc || modseq == 0)
		return rc;
	sqlite3_bind_int64(st, 1, row->box);
	sqlite3_bind_int64(st, 2, (int64_t)modseq);
	rc = index_run(ix, st);
	if (rc)
		return rc;
	row->expunged -= (uint32_t)sqlite3_changes(ix->db);
	/* Whoever asks "since modseq" gets all that is above it. */
	if (row->history < modseq)
		row->history = modseq;
	return 0;
}

int index_uid_query(struct index *ix, enum index_sql which, int64_t box, uint64_t n,
		    struct uidset *set)
{
	sqlite3_stmt *st;
	int step, rc = index_stmt(ix, which, &st);

	if (rc)
		return rc;
	sqlite3_bind_int64(st, 1, box);
	sqlite3_bind_int64(st, 2, (int64_t)n);
	while ((step = sqlite3_step(st)) == SQLITE_ROW && rc == 0)
		rc = uidset_add(set, (uint32_t)sqlite3_column_int64(st, 0));
	sqlite3_reset(st);
	return rc ? rc : index_result(ix, step);
}
