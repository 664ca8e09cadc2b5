/* SPDX-License-Identifier: MIT */
/* Questions that the index answers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "imap/maildir/maildir.h"
#include "lib/uidset.h"

uint32_t mailbox_uidvalidity(const struct mailbox *box)
{
	return box->uidvalidity;
}

uint32_t mailbox_uidnext(const struct mailbox *box)
{
	return box->row.uidnext ? box->row.uidnext : 1;
}

uint64_t mailbox_highestmodseq(const struct mailbox *box)
{
	return box->row.highestmodseq;
}

/* ---- status ---- */

static int size_of(struct mailbox *box, uint32_t uid)
{
	struct mail_reader *r;
	uint64_t header, total;
	int rc = mailbox_read_open(box, uid, &r);

	if (rc)
		return rc;
	rc = mail_reader_sizes(r, &header, &total);	/* the index has it now */
	mail_reader_close(&r);
	return rc;
}

static int size_sum(struct mailbox *box, uint64_t *size_r)
{
	struct index *ix = &box->store->index;
	struct uidset unknown;
	struct uidset_iter it;
	sqlite3_stmt *st;
	int rc;

	uidset_init(&unknown);
	rc = index_uid_query(ix, SQL_MSG_SIZE_UNKNOWN, box->row.box, 0, &unknown);
	for (uint32_t uid = uidset_first(&unknown, &it); rc == 0 && uid;
	     uid = uidset_next(&unknown, &it)) {
		rc = size_of(box, uid);
		if (rc == MAILBOX_E_EXPUNGED || rc == MAILBOX_E_CORRUPT ||
		    rc == MAILBOX_E_FOREIGN)
			rc = 0;		/* logged; the others have a size */
	}
	uidset_deinit(&unknown);
	if (rc == 0)
		rc = box_check(box);
	if (rc == 0)
		rc = index_stmt(ix, SQL_MSG_SIZE_SUM, &st);
	if (rc)
		return rc;
	sqlite3_bind_int64(st, 1, box->row.box);
	rc = index_result(ix, sqlite3_step(st));
	*size_r = (uint64_t)sqlite3_column_double(st, 0);
	sqlite3_reset(st);
	return rc;
}

static int status_get(struct mailbox *box, bool want_size, struct mailbox_status *st)
{
	struct uidset recent;
	int rc = box_load(box);

	if (rc)
		return rc;
	*st = (struct mailbox_status){
		.uidvalidity = box->uidvalidity,
		.uidnext = box->row.uidnext,
		.messages = box->row.messages,
		.unseen = box->row.unseen,
		.deleted = box->row.deleted,
		.highestmodseq = box->row.highestmodseq,
	};
	if (box->row.first_recent < box->row.uidnext) {
		uidset_init(&recent);
		rc = index_uid_query(&box->store->index, SQL_MSG_RECENT, box->row.box,
				     box->row.first_recent, &recent);
		st->recent = (uint32_t)uidset_count(&recent);
		uidset_deinit(&recent);
	}
	if (rc == 0 && want_size)
		rc = size_sum(box, &st->size);
	return rc;
}

int mailbox_status(struct mailbox *box, bool want_size, struct mailbox_status *st_r)
{
	struct mailbox_status st;
	int rc;

	BOX_RETRY(rc, status_get(box, want_size, &st));
	if (rc == 0)
		*st_r = st;
	return rc;
}

int mail_store_status(struct mail_store *store, const char *name, bool want_size,
		      struct mailbox_status *st_r)
{
	struct mailbox *box;
	int rc = mailbox_open(store, name, &box);

	if (rc)
		return rc;
	rc = mailbox_sync(box);
	if (rc == 0)
		rc = mailbox_status(box, want_size, st_r);
	mailbox_close(&box);
	return rc;
}

/* ---- sets of UIDs ---- */

static int uid_query(struct mailbox *box, enum index_sql which, uint64_t n, struct uidset *set)
{
	int rc = box_load(box);

	uidset_clear(set);
	return rc ? rc : index_uid_query(&box->store->index, which, box->row.box, n, set);
}

int mailbox_changed_since(struct mailbox *box, uint64_t since, struct uidset *changed_r)
{
	int rc;

	if (since > INT64_MAX)
		since = INT64_MAX;
	BOX_RETRY(rc, uid_query(box, SQL_MSG_SINCE, since, changed_r));
	return rc;
}

int mailbox_vanished_since(struct mailbox *box, uint64_t since, struct uidset *gone_r,
			   bool *complete_r)
{
	int rc;

	if (since > INT64_MAX)
		since = INT64_MAX;
	BOX_RETRY(rc, uid_query(box, SQL_GONE_SINCE, since, gone_r));
	if (rc == 0)
		*complete_r = since >= box->row.history;
	return rc;
}

static int claim(struct mailbox *box, bool take, struct uidset *recent_r)
{
	struct change c;
	int rc = box_load(box);

	uidset_clear(recent_r);
	if (rc || box->row.first_recent >= box->row.uidnext)
		return rc;
	if (!take)
		return index_uid_query(&box->store->index, SQL_MSG_RECENT, box->row.box,
				       box->row.first_recent, recent_r);
	/* Two sessions must not both get one: in a transaction. */
	rc = change_begin(box, false, false, &c);
	if (rc)
		return rc;
	rc = index_uid_query(&box->store->index, SQL_MSG_RECENT, c.row.box,
			     c.row.first_recent, recent_r);
	if (rc) {
		change_abort(&c);
		return rc;
	}
	if (c.row.first_recent < c.row.uidnext) {
		c.row.first_recent = c.row.uidnext;
		c.touched = true;
	}
	return change_commit(&c);
}

int mailbox_claim_recent(struct mailbox *box, bool take, struct uidset *recent_r)
{
	int rc;

	BOX_RETRY(rc, claim(box, take, recent_r));
	return rc;
}

/* ---- rows ----
 * Handed out some at a time, so that no statement is open while the caller does
 * what it likes. */

static void row_from_msg(struct msg *m, struct mail_row *row)
{
	uint32_t n_words = KEYWORD_WORDS;

	while (n_words && !m->keywords[n_words - 1])
		n_words--;
	*row = (struct mail_row){
		.uid = m->uid,
		.flags = m->flags,
		.keywords = { n_words ? m->keywords : NULL, n_words },
		.modseq = m->modseq,
		.expunged = m->expunged,
		.internaldate = m->internaldate,
		.size = m->size < 0 ? 0 : (uint64_t)m->size,
		.size_known = m->size >= 0,
	};
}

/* Ranges with no more than this between them are looked at as one: the UIDs of an old
 * mailbox have many gaps, and few of those were asked for are in them. */
#define GAP_MAX			32

/* What mailbox_rows() works with: too much for a small stack. */
struct row_window {
	struct index_rows alive, gone;
	const struct uidset *set;
	size_t range;			/* of the set: those before it are done with */
	int (*fn)(void *ctx, const struct mail_row *row);
	void *ctx;
};

/* Messages from first on, and up to *last_r all that there are of both kinds. */
static int window_look(struct mailbox *box, uint32_t first, uint32_t last, bool expunged,
		       struct row_window *w, uint32_t *last_r)
{
	struct index *ix = &box->store->index;
	int rc = box_check(box);

	w->gone.n = 0;
	if (rc == 0)
		rc = index_row_range(ix, box->row.box, first, last, false, &w->alive);
	if (rc == 0 && w->alive.n == INDEX_ROWS_MAX)
		last = w->alive.rows[w->alive.n - 1].uid;
	if (rc == 0 && expunged)
		rc = index_row_range(ix, box->row.box, first, last, true, &w->gone);
	if (rc)
		return rc > 0 ? -EIO : rc;
	if (w->gone.n == INDEX_ROWS_MAX)
		last = w->gone.rows[w->gone.n - 1].uid;
	*last_r = last;
	return 0;
}

static int window_get(struct mailbox *box, uint32_t first, uint32_t last, bool expunged,
		      struct row_window *w, uint32_t *last_r)
{
	int rc;

	BOX_RETRY(rc, window_look(box, first, last, expunged, w, last_r));
	return rc;
}

/* Is it one of those asked for? UIDs come ascending. */
static bool window_wants(struct row_window *w, uint32_t uid)
{
	while (w->range < w->set->count && w->set->ranges[w->range].last < uid)
		w->range++;
	return w->range < w->set->count && w->set->ranges[w->range].first <= uid;
}

/* In one order. What went between the two looks is in both: it is gone. */
static int window_tell(struct row_window *w, uint32_t last)
{
	int i = 0, j = 0, rc = 0;

	while (rc == 0) {
		const struct mail_row *a = i < w->alive.n ? &w->alive.rows[i] : NULL;
		const struct mail_row *g = j < w->gone.n ? &w->gone.rows[j] : NULL;
		const struct mail_row *row = g && (!a || g->uid <= a->uid) ? g : a;

		if (!row || row->uid > last)
			break;
		i += a && a->uid == row->uid;
		j += g && g->uid == row->uid;
		if (window_wants(w, row->uid))
			rc = w->fn(w->ctx, row);
	}
	return rc;
}

static int rows_in_range(struct mailbox *box, uint32_t first, uint32_t last, bool expunged,
			 struct row_window *w)
{
	for (;;) {
		uint32_t upto;
		int rc = window_get(box, first, last, expunged, w, &upto);

		if (rc == 0)
			rc = window_tell(w, upto);
		if (rc || upto >= last)
			return rc;
		first = upto + 1;
	}
}

static int rows_in_set(struct mailbox *box, bool expunged, struct row_window *w)
{
	const struct uidset *set = w->set;
	int rc = 0;

	for (size_t i = 0, j; rc == 0 && i < set->count; i = j + 1) {
		for (j = i; j + 1 < set->count; j++) {
			if (set->ranges[j + 1].first - set->ranges[j].last > GAP_MAX)
				break;
		}
		rc = rows_in_range(box, set->ranges[i].first, set->ranges[j].last, expunged, w);
	}
	return rc;
}

int mailbox_rows(struct mailbox *box, const struct uidset *set, bool with_expunged,
		 int (*fn)(void *ctx, const struct mail_row *row), void *ctx)
{
	struct row_window *w;
	int rc;

	BOX_RETRY(rc, box_load(box));
	if (rc || set->count == 0)
		return rc;
	w = malloc(sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->set = set;
	w->range = 0;
	w->fn = fn;
	w->ctx = ctx;
	rc = rows_in_set(box, with_expunged, w);
	free(w);
	return rc;
}

static int row_get(struct mailbox *box, uint32_t uid, struct mail_row *row_r)
{
	struct index *ix = &box->store->index;
	int rc = box_load(box);

	if (rc == 0)
		rc = index_msg_get(ix, box->row.box, uid, &box->one);
	if (rc == 0) {
		row_from_msg(&box->one, row_r);
		return 0;
	}
	if (rc != MAILBOX_E_EXPUNGED)
		return rc;
	*row_r = (struct mail_row){ 0 };
	rc = index_msg_range(ix, box->row.box, uid, uid, true, &box->one, 1);
	if (rc > 0)
		row_from_msg(&box->one, row_r);
	return rc < 0 ? rc : MAILBOX_E_EXPUNGED;
}

int mailbox_row(struct mailbox *box, uint32_t uid, struct mail_row *row_r)
{
	int rc;

	BOX_RETRY(rc, row_get(box, uid, row_r));
	return rc;
}
