/* SPDX-License-Identifier: MIT */
/* Which messages there are, and which have a flag, without a look at each: sets
 * of UIDs as they were at some MODSEQ, kept in the index. What changed since is
 * asked of the rows, so an old set is as good as a new one, but dearer; it is
 * written again when that is worth it, by whoever finds out, or not at all. The
 * rows are the truth: no change of a mailbox has to think of these. */
#include <errno.h>
#include <string.h>

#include "imap/maildir/maildir.h"

/* More changes than this since are worth another one. */
#define SUMMARY_OLD_ROWS	200

/* Numbers that are on disk: at most 8. */
enum summary { SUM_ALL, SUM_ANSWERED, SUM_FLAGGED, SUM_DELETED, SUM_UNSEEN, SUM_DRAFT };

static enum summary summary_of(enum mail_flag flag)
{
	switch (flag) {
	case MAIL_ANSWERED:
		return SUM_ANSWERED;
	case MAIL_FLAGGED:
		return SUM_FLAGGED;
	case MAIL_DELETED:
		return SUM_DELETED;
	case MAIL_SEEN:
		return SUM_UNSEEN;
	case MAIL_DRAFT:
		return SUM_DRAFT;
	case MAIL_FLAGS_ALL:
		break;
	}
	return SUM_ALL;
}

static bool is_in(enum summary what, uint32_t flags)
{
	switch (what) {
	case SUM_ALL:
		return true;
	case SUM_ANSWERED:
		return flags & MAIL_ANSWERED;
	case SUM_FLAGGED:
		return flags & MAIL_FLAGGED;
	case SUM_DELETED:
		return flags & MAIL_DELETED;
	case SUM_UNSEEN:
		return !(flags & MAIL_SEEN);
	case SUM_DRAFT:
		return flags & MAIL_DRAFT;
	}
	return false;
}

static int64_t summary_key(const struct mailbox *box, enum summary what)
{
	return (int64_t)((uint64_t)box->row.box << 3 | (uint64_t)what);
}

/* Those of a query by box and number that belong there, and those that do not. */
static int flags_query(struct mailbox *box, enum index_sql which, uint64_t n, enum summary what,
		       struct uidset *in, struct uidset *out)
{
	struct index *ix = &box->store->index;
	sqlite3_stmt *st;
	int step, rc = index_stmt(ix, which, &st);

	if (rc)
		return rc;
	sqlite3_bind_int64(st, 1, box->row.box);
	sqlite3_bind_int64(st, 2, (int64_t)n);
	while ((step = sqlite3_step(st)) == SQLITE_ROW && rc == 0) {
		uint32_t uid = (uint32_t)sqlite3_column_int64(st, 0);
		bool belongs = is_in(what, (uint32_t)sqlite3_column_int64(st, 1));

		if (uid > 0 && (belongs || out))
			rc = uidset_add(belongs ? in : out, uid);
	}
	sqlite3_reset(st);
	return rc ? rc : index_result(ix, step);
}

/* 0 with *since_r 0: there is none that is of use. */
static int summary_get(struct mailbox *box, enum summary what, struct uidset *uids,
		       uint64_t *since_r)
{
	struct index *ix = &box->store->index;
	sqlite3_stmt *st;
	uint64_t since;
	int step, rc = index_stmt(ix, SQL_SUMMARY_GET, &st);

	*since_r = 0;
	if (rc)
		return rc;
	sqlite3_bind_int64(st, 1, summary_key(box, what));
	step = sqlite3_step(st);
	if (step == SQLITE_ROW) {
		const void *data = sqlite3_column_blob(st, 1);
		size_t len = (size_t)sqlite3_column_bytes(st, 1);

		since = (uint64_t)sqlite3_column_int64(st, 0);
		if (since >= box->row.history && since <= box->row.highestmodseq &&
		    uidset_decode(uids, data, data ? len : 0, UIDSET_MAX_RANGES) == 0)
			*since_r = since;
		else
			uidset_clear(uids);
	}
	sqlite3_reset(st);
	return index_result(ix, step);
}

/* What is lost if this fails is time. */
static void summary_put(struct mailbox *box, enum summary what, const struct uidset *uids,
			uint64_t modseq)
{
	struct index *ix = &box->store->index;
	struct box_row row;
	struct buf data;
	sqlite3_stmt *st;
	int rc;

	buf_init(&data, SIZE_MAX);
	rc = uidset_encode(uids, &data);
	if (rc == 0)
		rc = index_begin_soon(ix);
	if (rc == 0)
		rc = index_box_get(ix, box->id, &row);
	/* Another index by now, in which its number is another mailbox's? */
	if (rc == 0 && (row.box != box->row.box || row.uidvalidity != box->uidvalidity))
		rc = MAILBOX_E_GONE;
	if (rc == 0)
		rc = index_stmt(ix, SQL_SUMMARY_PUT, &st);
	if (rc == 0) {
		sqlite3_bind_int64(st, 1, summary_key(box, what));
		sqlite3_bind_int64(st, 2, (int64_t)modseq);
		sqlite3_bind_blob64(st, 3, data.data, data.len, SQLITE_STATIC);
		rc = index_run(ix, st);
		sqlite3_clear_bindings(st);
	}
	if (rc == 0)
		rc = index_commit(ix);
	index_rollback(ix);
	if (rc == 0)
		index_checkpoint(ix);
	buf_deinit(&data);
}

/* Who came to belong to it since, and who does not any longer. First who is there by
 * now, then who went: in this order nobody is missed who does both in between. */
static int changes_since(struct mailbox *box, enum summary what, uint64_t since,
			 struct uidset *in, struct uidset *out)
{
	struct uidset gone;
	int rc;

	uidset_init(&gone);
	rc = flags_query(box, SQL_MSG_FLAGS_SINCE, since, what, in, out);
	if (rc == 0)
		rc = index_uid_query(&box->store->index, SQL_GONE_SINCE, box->row.box, since,
				     &gone);
	if (rc == 0)
		rc = uidset_add_set(out, &gone);
	uidset_deinit(&gone);
	return rc;
}

static int catch_up(struct mailbox *box, enum summary what, uint64_t since, struct uidset *uids,
		    uint64_t *changes_r)
{
	struct uidset in, out;
	int rc;

	uidset_init(&in);
	uidset_init(&out);
	rc = changes_since(box, what, since, &in, &out);
	*changes_r = uidset_count(&in) + uidset_count(&out);
	if (rc == 0)
		rc = uidset_add_set(uids, &in);
	if (rc == 0)
		rc = uidset_remove_set(uids, &out);
	uidset_deinit(&in);
	uidset_deinit(&out);
	return rc;
}

static int summary_ask(struct mailbox *box, enum summary what, struct uidset *uids)
{
	uint64_t since = 0, changes = 0, modseq;
	struct box_row row;
	int rc = box_load(box);
	bool large;

	uidset_clear(uids);
	if (rc)
		return rc;
	/* Of what comes in while we look, some may be in the set and some not. */
	modseq = box->row.highestmodseq;
	large = box->row.messages >= MAILBOX_LARGE;
	if (large)
		rc = summary_get(box, what, uids, &since);
	if (rc == 0 && since > 0)
		rc = catch_up(box, what, since, uids, &changes);
	/* Was some of the history thrown away meanwhile? */
	if (rc == 0 && since > 0)
		rc = index_box_get(&box->store->index, box->id, &row);
	if (rc == 0 && since > 0 && (row.box != box->row.box || since < row.history)) {
		uidset_clear(uids);
		since = 0;
	}
	if (rc == 0 && since == 0)
		rc = flags_query(box, SQL_MSG_FLAGS, 0, what, uids, NULL);
	if (rc == 0 && large && (since == 0 || changes > SUMMARY_OLD_ROWS))
		summary_put(box, what, uids, modseq);
	return rc;
}

int mailbox_uids(struct mailbox *box, struct uidset *uids)
{
	int rc;

	BOX_RETRY(rc, summary_ask(box, SUM_ALL, uids));
	return rc;
}

/* Kept is the set that is the smaller one in most mailboxes. */
int mailbox_uids_by_flag(struct mailbox *box, enum mail_flag flag, bool has, struct uidset *uids)
{
	struct uidset others;
	int rc;

	if (has == (flag != MAIL_SEEN)) {
		BOX_RETRY(rc, summary_ask(box, summary_of(flag), uids));
		return rc;
	}
	uidset_init(&others);
	rc = mailbox_uids(box, uids);
	if (rc == 0)
		BOX_RETRY(rc, summary_ask(box, summary_of(flag), &others));
	if (rc == 0)
		rc = uidset_remove_set(uids, &others);
	uidset_deinit(&others);
	return rc;
}

/* ---- the first only ---- */

/* The first of a kept set, as it is by now; unless it is too old or makes no sense. */
static int first_since(struct mailbox *box, enum summary what, sqlite3_stmt *set, uint32_t *uid_r,
		       bool *known_r)
{
	const void *data = sqlite3_column_blob(set, 1);
	size_t len = (size_t)sqlite3_column_bytes(set, 1);
	struct uidset in, out;
	uint32_t came;
	int rc;

	uidset_init(&in);
	uidset_init(&out);
	rc = changes_since(box, what, (uint64_t)sqlite3_column_int64(set, 0), &in, &out);
	came = uidset_nth(&in, 0);
	*known_r = rc == 0 && uidset_count(&in) + uidset_count(&out) <= SUMMARY_OLD_ROWS &&
		uidset_decode_first(data, data ? len : 0, &out, uid_r) == 0;
	if (*known_r && came && (!*uid_r || came < *uid_r))
		*uid_r = came;
	uidset_deinit(&in);
	uidset_deinit(&out);
	return rc;
}

/* As long as the set's statement is not reset, all statements see one moment. */
static int summary_first(struct mailbox *box, enum summary what, uint32_t *uid_r, bool *known_r)
{
	struct index *ix = &box->store->index;
	struct box_row row = { 0 };
	sqlite3_stmt *st;
	int step, rc = index_stmt(ix, SQL_SUMMARY_GET, &st);

	*known_r = false;
	if (rc)
		return rc;
	sqlite3_bind_int64(st, 1, summary_key(box, what));
	step = sqlite3_step(st);
	rc = index_result(ix, step);
	if (step == SQLITE_ROW)
		rc = index_box_get(ix, box->id, &row);
	if (rc == 0 && row.box == box->row.box && row.box &&
	    (uint64_t)sqlite3_column_int64(st, 0) >= row.history &&
	    (uint64_t)sqlite3_column_int64(st, 0) <= row.highestmodseq)
		rc = first_since(box, what, st, uid_r, known_r);
	sqlite3_reset(st);
	return rc;
}

static int first_unseen(struct mailbox *box, uint32_t *uid_r)
{
	struct uidset unseen;
	bool known = false;
	int rc = box_load(box);

	*uid_r = 0;
	if (rc || box->row.unseen == 0)
		return rc;
	if (box->row.messages >= MAILBOX_LARGE)
		rc = summary_first(box, SUM_UNSEEN, uid_r, &known);
	if (rc || known)
		return rc;
	uidset_init(&unseen);
	rc = summary_ask(box, SUM_UNSEEN, &unseen);
	*uid_r = uidset_nth(&unseen, 0);
	uidset_deinit(&unseen);
	return rc;
}

int mailbox_first_unseen(struct mailbox *box, uint32_t *uid_r)
{
	int rc;

	BOX_RETRY(rc, first_unseen(box, uid_r));
	return rc;
}
