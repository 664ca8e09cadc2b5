/* SPDX-License-Identifier: MIT */
/* What was computed of messages, kept in the index beside them. What comes in is
 * gathered: each of many messages in a transaction of its own would cost more
 * than it saves. All of this may be lost, and is, rather than that anybody
 * waits: a lock that is not free soon means that it is computed again. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "imap/maildir/maildir.h"

#define CACHE_ENTRIES_MAX	768	/* 256 messages */
#define CACHE_BYTES_MAX		(2 * 1024 * 1024)
/* A structure that large is seldom asked for as often as it is large. */
#define CACHE_DATA_MAX		(1024 * 1024)

#define WHAT_SIZES	MAIL_CACHE_COUNT

struct cache_entry {
	uint32_t uid;
	int what;		/* enum mail_cache, WHAT_SIZES */
	size_t at, len;		/* in data */
	int64_t size, header_size;
};
struct mail_cache_gathered {
	struct cache_entry entries[CACHE_ENTRIES_MAX];
	size_t n;
	struct buf data;
};

static void forget(struct mail_cache_gathered *g)
{
	g->n = 0;
	buf_reset(&g->data);
}

static struct cache_entry *entry_add(struct mailbox *box, uint32_t uid, int what, size_t len)
{
	struct mail_cache_gathered *g = box->gathered;
	struct cache_entry *e;

	if (!g) {
		g = box->gathered = malloc(sizeof(*g));
		if (!g)
			return NULL;
		g->n = 0;
		buf_init(&g->data, CACHE_BYTES_MAX);
	}
	if (g->n == CACHE_ENTRIES_MAX || g->data.len + len > CACHE_BYTES_MAX)
		mailbox_cache_flush(box);
	e = &g->entries[g->n];
	*e = (struct cache_entry){ .uid = uid, .what = what, .at = g->data.len, .len = len };
	return e;
}

int mailbox_cache_put(struct mailbox *box, uint32_t uid, enum mail_cache what, const void *data,
		      size_t len)
{
	struct cache_entry *e;

	if (!data || len == 0 || len > CACHE_DATA_MAX)
		return 0;
	e = entry_add(box, uid, (int)what, len);
	if (!e || buf_append(&box->gathered->data, data, len) < 0)
		return -ENOMEM;
	box->gathered->n++;
	return 0;
}

void cache_put_sizes(struct mailbox *box, uint32_t uid, int64_t size, int64_t header_size)
{
	struct cache_entry *e = entry_add(box, uid, WHAT_SIZES, 0);

	if (!e)
		return;
	e->size = size;
	e->header_size = header_size;
	box->gathered->n++;
}

static int entry_write(struct mailbox *box, const struct cache_entry *e)
{
	struct index *ix = &box->store->index;
	sqlite3_stmt *st;
	int rc;

	if (e->what == WHAT_SIZES)
		return index_msg_sizes(ix, box->row.box, e->uid, e->size, e->header_size);
	rc = index_stmt(ix, SQL_CACHE_PUT, &st);
	if (rc)
		return rc;
	sqlite3_bind_int64(st, 1, index_cache_key(box->row.box, (enum mail_cache)e->what, e->uid));
	sqlite3_bind_blob64(st, 2, box->gathered->data.data + e->at, e->len, SQLITE_STATIC);
	sqlite3_bind_int64(st, 3, box->row.box);
	sqlite3_bind_int64(st, 4, e->uid);
	rc = index_run(ix, st);
	sqlite3_clear_bindings(st);
	return rc;
}

int box_row_is_ours(struct mailbox *box)
{
	struct box_row row;
	int rc = index_box_get(&box->store->index, box->id, &row);

	if (rc == 0 && (row.box != box->row.box || row.uidvalidity != box->uidvalidity))
		rc = MAILBOX_E_GONE;
	return rc;
}

int mailbox_cache_flush(struct mailbox *box)
{
	struct mail_cache_gathered *g = box->gathered;
	struct index *ix = &box->store->index;
	int rc;

	if (!g || g->n == 0)
		return 0;
	rc = index_begin_soon(ix);
	if (rc == 0)
		rc = box_row_is_ours(box);
	for (size_t i = 0; rc == 0 && i < g->n; i++)
		rc = entry_write(box, &g->entries[i]);
	if (rc == 0)
		rc = index_commit(ix);
	index_rollback(ix);
	forget(g);
	if (rc == 0)
		index_checkpoint_bulk(ix);
	return rc;
}

void cache_close(struct mailbox *box)
{
	mailbox_cache_flush(box);
	if (box->gathered)
		buf_deinit(&box->gathered->data);
	free(box->gathered);
	box->gathered = NULL;
}

/* ---- reading ---- */

static bool is_gathered(const struct mailbox *box, const struct uidset *set, int what)
{
	const struct mail_cache_gathered *g = box->gathered;

	for (size_t i = 0; g && i < g->n; i++) {
		if (g->entries[i].what == what && uidset_contains(set, g->entries[i].uid))
			return true;
	}
	return false;
}

/* What was given to fn is no more in *range. */
static int range_get(struct mailbox *box, struct uid_range *range, enum mail_cache what,
		     int (*fn)(void *ctx, uint32_t uid, const void *data, size_t len), void *ctx)
{
	struct index *ix = &box->store->index;
	sqlite3_stmt *st;
	int step, answer = 0, rc = box_check(box);

	if (rc == 0)
		rc = index_stmt(ix, SQL_CACHE_RANGE, &st);
	if (rc)
		return rc;
	sqlite3_bind_int64(st, 1, index_cache_key(box->row.box, what, range->first));
	sqlite3_bind_int64(st, 2, index_cache_key(box->row.box, what, range->last));
	while (answer == 0 && (step = sqlite3_step(st)) == SQLITE_ROW) {
		const void *data = sqlite3_column_blob(st, 1);
		uint32_t uid = (uint32_t)sqlite3_column_int64(st, 0);

		if (data)
			answer = fn(ctx, uid, data, (size_t)sqlite3_column_bytes(st, 1));
		range->first = uid + 1;
	}
	sqlite3_reset(st);
	return answer ? answer : index_result(ix, step);
}

int mailbox_cache_rows(struct mailbox *box, const struct uidset *set, enum mail_cache what,
		       int (*fn)(void *ctx, uint32_t uid, const void *data, size_t len), void *ctx)
{
	int rc;

	if (is_gathered(box, set, (int)what))
		mailbox_cache_flush(box);
	BOX_RETRY(rc, box_load(box));
	for (size_t i = 0; rc == 0 && i < set->count; i++) {
		struct uid_range range = set->ranges[i];

		BOX_RETRY(rc, range_get(box, &range, what, fn, ctx));
	}
	return rc;
}
