/* SPDX-License-Identifier: MIT */
/* Questions that the index answers. */
#include <errno.h>
#include <string.h>

#include "imap/maildir/maildir.h"
#include "lib/uidset.h"

/* Rows are handed out in batches, so that no statement is open while the
 * caller does what it likes. */
#define ROWS_BATCH		32

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
		rc = index_check(ix);
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

int mailbox_uids(struct mailbox *box, struct uidset *uids)
{
	int rc;

	BOX_RETRY(rc, uid_query(box, SQL_MSG_UIDS, 0, uids));
	return rc;
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

/* ---- rows ---- */

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

/* The next messages of both kinds in one order. Returns how many. */
static int batch_get(struct mailbox *box, uint32_t first, uint32_t last, bool expunged,
		     struct msg *out)
{
	struct msg alive[ROWS_BATCH], gone[ROWS_BATCH];
	struct index *ix = &box->store->index;
	int n_alive, n_gone, n = 0, i = 0, j = 0, rc;

	rc = index_check(ix);
	if (rc)
		return rc > 0 ? -EIO : rc;
	if (!expunged)
		return index_msg_range(ix, box->row.box, first, last, false, out, ROWS_BATCH);
	n_alive = index_msg_range(ix, box->row.box, first, last, false, alive, ROWS_BATCH);
	n_gone = n_alive < 0 ? n_alive
		: index_msg_range(ix, box->row.box, first, last, true, gone, ROWS_BATCH);
	if (n_gone < 0)
		return n_gone;
	while (n < ROWS_BATCH && (i < n_alive || j < n_gone)) {
		if (j == n_gone || (i < n_alive && alive[i].uid < gone[j].uid))
			out[n++] = alive[i++];
		else
			out[n++] = gone[j++];
	}
	return n;
}

static int rows_in_range(struct mailbox *box, uint32_t first, uint32_t last, bool expunged,
			 int (*fn)(void *ctx, const struct mail_row *row), void *ctx)
{
	for (;;) {
		struct msg batch[ROWS_BATCH];
		int n = batch_get(box, first, last, expunged, batch);

		/* Deleted under us: what was walked over is done, the rest is there again. */
		for (int i = 0; n == -EUCLEAN && i < BOX_TRIES && box_load(box) == 0; i++)
			n = batch_get(box, first, last, expunged, batch);

		if (n <= 0)
			return n;
		for (int i = 0; i < n; i++) {
			struct mail_row row;
			int rc;

			row_from_msg(&batch[i], &row);
			rc = fn(ctx, &row);
			if (rc)
				return rc;
		}
		if (batch[n - 1].uid >= last)
			return 0;
		first = batch[n - 1].uid + 1;
	}
}

int mailbox_rows(struct mailbox *box, const struct uidset *set, bool with_expunged,
		 int (*fn)(void *ctx, const struct mail_row *row), void *ctx)
{
	int rc;

	BOX_RETRY(rc, box_load(box));
	for (size_t i = 0; rc == 0 && i < set->count; i++)
		rc = rows_in_range(box, set->ranges[i].first, set->ranges[i].last,
				   with_expunged, fn, ctx);
	return rc == -EUCLEAN ? -EIO : rc;
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
