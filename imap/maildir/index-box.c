/* SPDX-License-Identifier: MIT */
/* Rows of mailboxes. */
#include <errno.h>

#include "imap/maildir/index.h"

const char *const dir_names[DIR_COUNT] = { [DIR_CUR] = "cur", [DIR_NEW] = "new" };

/* SQLite's integers are signed; sums and inode numbers wrap and come back. */
static uint64_t column_u64(sqlite3_stmt *st, int i)
{
	return (uint64_t)sqlite3_column_int64(st, i);
}

static uint32_t column_u32(sqlite3_stmt *st, int i)
{
	return (uint32_t)sqlite3_column_int64(st, i);
}

/* The order of BOX_COLUMNS, as in index_box_set(). */
static void box_from_row(sqlite3_stmt *st, struct box_row *row)
{
	int i = 0;

	row->box = sqlite3_column_int64(st, i++);
	row->uidvalidity = column_u32(st, i++);
	row->uidnext = column_u32(st, i++);
	row->first_recent = column_u32(st, i++);
	row->messages = column_u32(st, i++);
	row->unseen = column_u32(st, i++);
	row->deleted = column_u32(st, i++);
	row->expunged = column_u32(st, i++);
	row->highestmodseq = column_u64(st, i++);
	row->history = column_u64(st, i++);
	row->list_generation = column_u64(st, i++);
	row->list_offset = column_u64(st, i++);
	row->list_lines = column_u32(st, i++);
	row->list_uidnext = column_u32(st, i++);
	row->list_uid_reserved = column_u32(st, i++);
	row->list_modseq = column_u64(st, i++);
	row->n_keywords = column_u32(st, i++);
	row->odd_letters = column_u32(st, i++);
	row->boot = sqlite3_column_int64(st, i++);
	for (int d = 0; d < DIR_COUNT; d++) {
		row->dirs[d].secs = sqlite3_column_int64(st, i++);
		row->dirs[d].nsecs = sqlite3_column_int64(st, i++);
		row->dirs[d].ino = column_u64(st, i++);
		row->dirs[d].trust = sqlite3_column_int64(st, i++);
		row->name_sum[d] = column_u64(st, i++);
	}
}

int index_box_set(struct index *ix, const struct box_row *row)
{
	sqlite3_stmt *st;
	int i = 1, rc = index_stmt(ix, SQL_BOX_SET, &st);

	if (rc)
		return rc;
	sqlite3_bind_int64(st, i++, row->box);
	sqlite3_bind_int64(st, i++, row->uidvalidity);
	sqlite3_bind_int64(st, i++, row->uidnext);
	sqlite3_bind_int64(st, i++, row->first_recent);
	sqlite3_bind_int64(st, i++, row->messages);
	sqlite3_bind_int64(st, i++, row->unseen);
	sqlite3_bind_int64(st, i++, row->deleted);
	sqlite3_bind_int64(st, i++, row->expunged);
	sqlite3_bind_int64(st, i++, (int64_t)row->highestmodseq);
	sqlite3_bind_int64(st, i++, (int64_t)row->history);
	sqlite3_bind_int64(st, i++, (int64_t)row->list_generation);
	sqlite3_bind_int64(st, i++, (int64_t)row->list_offset);
	sqlite3_bind_int64(st, i++, row->list_lines);
	sqlite3_bind_int64(st, i++, row->list_uidnext);
	sqlite3_bind_int64(st, i++, row->list_uid_reserved);
	sqlite3_bind_int64(st, i++, (int64_t)row->list_modseq);
	sqlite3_bind_int64(st, i++, row->n_keywords);
	sqlite3_bind_int64(st, i++, row->odd_letters);
	sqlite3_bind_int64(st, i++, row->boot);
	for (int d = 0; d < DIR_COUNT; d++) {
		sqlite3_bind_int64(st, i++, row->dirs[d].secs);
		sqlite3_bind_int64(st, i++, row->dirs[d].nsecs);
		sqlite3_bind_int64(st, i++, (int64_t)row->dirs[d].ino);
		sqlite3_bind_int64(st, i++, row->dirs[d].trust);
		sqlite3_bind_int64(st, i++, (int64_t)row->name_sum[d]);
	}
	return index_run(ix, st);
}

int index_box_get(struct index *ix, const uint8_t id[16], struct box_row *row_r)
{
	sqlite3_stmt *st;
	int step, rc = index_stmt(ix, SQL_BOX_GET, &st);

	if (rc)
		return rc;
	sqlite3_bind_blob(st, 1, id, 16, SQLITE_STATIC);
	step = sqlite3_step(st);
	*row_r = (struct box_row){ 0 };
	if (step == SQLITE_ROW)
		box_from_row(st, row_r);
	sqlite3_reset(st);
	return index_result(ix, step);
}

int index_box_add(struct index *ix, const uint8_t id[16], const char *name, struct box_row *row)
{
	sqlite3_stmt *st;
	int rc = index_stmt(ix, SQL_BOX_NEW, &st);

	if (rc)
		return rc;
	sqlite3_bind_blob(st, 1, id, 16, SQLITE_STATIC);
	sqlite3_bind_text(st, 2, name, -1, SQLITE_STATIC);
	rc = index_run(ix, st);
	if (rc)
		return rc;
	row->box = sqlite3_last_insert_rowid(ix->db);
	return index_box_set(ix, row);
}

int index_box_drop(struct index *ix, int64_t box)
{
	static const enum index_sql steps[] = {
		SQL_BOX_DROP_MSGS, SQL_BOX_DROP_GONE, SQL_BOX_DROP_KEYWORDS,
		SQL_BOX_DROP_CACHE, SQL_BOX_DROP_SUMMARY, SQL_BOX_DROP,
	};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < sizeof(steps) / sizeof(steps[0]); i++) {
		sqlite3_stmt *st;

		rc = index_stmt(ix, steps[i], &st);
		if (rc)
			break;
		sqlite3_bind_int64(st, 1, box);
		rc = index_run(ix, st);
	}
	return rc;
}

int index_box_trust(struct index *ix, const struct box_row *row)
{
	sqlite3_stmt *st;
	int rc = index_stmt(ix, SQL_BOX_TRUST, &st);

	if (rc)
		return rc;
	sqlite3_bind_int64(st, 1, row->box);
	sqlite3_bind_int64(st, 2, row->dirs[DIR_CUR].trust);
	sqlite3_bind_int64(st, 3, row->dirs[DIR_NEW].trust);
	sqlite3_bind_int64(st, 4, row->dirs[DIR_CUR].secs);
	sqlite3_bind_int64(st, 5, row->dirs[DIR_CUR].nsecs);
	sqlite3_bind_int64(st, 6, row->dirs[DIR_NEW].secs);
	sqlite3_bind_int64(st, 7, row->dirs[DIR_NEW].nsecs);
	sqlite3_bind_int64(st, 8, (int64_t)row->name_sum[DIR_CUR]);
	sqlite3_bind_int64(st, 9, (int64_t)row->name_sum[DIR_NEW]);
	return index_run(ix, st);
}
