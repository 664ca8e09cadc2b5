/* SPDX-License-Identifier: MIT */
/* Brings the index up to the directory: what to look at, and what is
 * different. maildir-apply.c makes the difference good.
 *
 * Three depths. The directories' mtimes are as remembered and were old enough
 * then: nothing changed (two stats and a row). They are as remembered, but
 * were too young to be believed: the names are summed up and compared with the
 * sum in the index, without lock or transaction. Else: lock, transaction, and
 * the names against the rows; only new/ if only new/ changed, so a delivery
 * costs the same in a large mailbox and a small one.
 *
 * Our own renames in a large mailbox move the mtime and leave it believed for
 * some seconds: what another program could have renamed in the microseconds
 * between our two looks at it is found when they are over, or at once by
 * whoever must know (mailbox_doubt()). Else each flag set by a client would
 * cost the reading of a million names.
 *
 * Messages stay in new/ until a flag of theirs changes, or there are many:
 * moving each at once, as other servers do, would change cur/ at each delivery
 * and so cost a comparison of everything. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "imap/maildir/maildir-sync.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/maildir-unique.h"

/* A busy directory is read this often until a message counts as gone. */
#define SCAN_ROUNDS_MAX		8

static int push_uid(struct uid_list *l, uint32_t uid)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		uint32_t *uids = reallocarray(l->uids, cap, sizeof(*uids));

		if (!uids)
			return -ENOMEM;
		l->uids = uids;
		l->cap = cap;
	}
	l->uids[l->n++] = uid;
	return 0;
}

/* ---- one base, two names ---- */

static bool twin_there(int dir_fd, const struct scan *s, const struct scan_entry *e,
		       struct stat *st)
{
	char path[MAILDIR_NAME_MAX + 8];

	snprintf(path, sizeof(path), "%s/%s", dir_names[e->dir], scan_name(s, e));
	return fstatat(dir_fd, path, st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Two files of one base: the later gets a name of its own and is a new
 * message; two names of one file are a delivery cut short by a crash. */
static int twin_separate(struct sync *y, struct scan_entry *e, bool same_file)
{
	struct mailbox *box = y->c->box;
	struct scan *s = &y->scan;
	char from[MAILDIR_NAME_MAX + 8], to[MAILDIR_NAME_MAX + 8];
	char base[MAILDIR_UNIQUE_MAX_BYTES];
	const char *name = scan_name(s, e);

	e->dropped = true;
	snprintf(from, sizeof(from), "%s/%s", dir_names[e->dir], name);
	if (same_file) {
		unlinkat(box->dir_fd, from, 0);
		return 0;
	}
	maildir_unique_name(base);
	if (strlen(base) + strlen(name + e->base_len) > MAILDIR_NAME_MAX ||
	    snprintf(to, sizeof(to), "%s/%s%s", dir_names[e->dir], base,
		     name + e->base_len) >= (int)sizeof(to))
		return 0;
	log_warn("duplicate-name", "mailbox=%s file=%s renamed=%s", log_str(box->name),
		 log_str(from), log_str(to));
	/* The next look sees it under its new name. */
	renameat(box->dir_fd, from, box->dir_fd, to);
	y->changed_dir = true;
	return 0;
}

/* Does the index have a message under this very name? */
static bool is_known_name(struct sync *y, const struct scan_entry *e)
{
	struct index *ix = &y->c->box->store->index;
	const char *name = scan_name(&y->scan, e);
	sqlite3_stmt *st;
	struct msg m;
	uint32_t uid = 0;

	if (index_stmt(ix, SQL_MSG_BY_HASH, &st) != 0)
		return false;
	sqlite3_bind_int64(st, 1, y->c->row.box);
	sqlite3_bind_int64(st, 2, (int64_t)maildir_name_hash(name, e->base_len));
	if (sqlite3_step(st) == SQLITE_ROW)
		uid = (uint32_t)sqlite3_column_int64(st, 0);
	sqlite3_reset(st);
	return uid && index_msg_get(ix, y->c->row.box, uid, &m) == 0 && m.dir == e->dir &&
	       strlen(m.base) == e->base_len && !memcmp(m.base, name, e->base_len) &&
	       !strcmp(m.info, name + e->base_len);
}

/* Which of two is the message: the bytes of a UID never change, so the one that
 * clients know. */
static void twin_swap(struct scan_entry *a, struct scan_entry *b)
{
	struct scan_entry t = *a;

	a->name = b->name;
	a->dir = b->dir;
	a->ino = b->ino;
	b->name = t.name;
	b->dir = t.dir;
	b->ino = t.ino;
}

static int twins_resolve(struct sync *y)
{
	int dir_fd = y->c->box->dir_fd, rc = 0;

	for (size_t i = 0; rc == 0 && y->scan.twins && i < y->scan.n; i++) {
		struct scan_entry *b = &y->scan.entries[i], *a;
		struct stat a_st, b_st;

		if (!b->twin)
			continue;
		a = &y->scan.entries[b->twin - 1];
		if (!twin_there(dir_fd, &y->scan, b, &b_st)) {
			b->dropped = true;
		} else if (!twin_there(dir_fd, &y->scan, a, &a_st)) {
			/* Renamed while we looked. */
			a->name = b->name;
			a->dir = b->dir;
			b->dropped = true;
		} else {
			if (is_known_name(y, b) && !is_known_name(y, a))
				twin_swap(a, b);
			rc = twin_separate(y, b, a_st.st_ino == b_st.st_ino &&
					   a_st.st_dev == b_st.st_dev);
		}
	}
	return rc;
}

/* ---- the difference ---- */

static int diff_row(struct sync *y, sqlite3_stmt *st)
{
	uint32_t uid = (uint32_t)sqlite3_column_int64(st, 0);
	int dir = sqlite3_column_int(st, 1), rc;
	const char *base = sqlite3_column_blob(st, 2), *info;
	size_t base_len = (size_t)sqlite3_column_bytes(st, 2), info_len;
	struct scan_entry *e = base ? scan_find(&y->scan, base, base_len) : NULL;

	if (!e)
		return push_uid(&y->missing, uid);
	e->matched = true;
	info = sqlite3_column_blob(st, 3);
	info_len = (size_t)sqlite3_column_bytes(st, 3);
	if (e->dir == dir && strlen(scan_name(&y->scan, e) + base_len) == info_len &&
	    (info_len == 0 || !memcmp(scan_name(&y->scan, e) + base_len, info, info_len)))
		return 0;
	rc = push_uid(&y->moved, uid);
	return rc ? rc : push_uid(&y->moved_to, (uint32_t)(e - y->scan.entries));
}

static int diff(struct sync *y)
{
	struct index *ix = &y->c->box->store->index;
	sqlite3_stmt *st;
	int step, rc = index_stmt(ix, y->full ? SQL_MSG_NAMES : SQL_MSG_NAMES_NEW, &st);

	y->missing.n = y->moved.n = y->moved_to.n = 0;
	if (rc)
		return rc;
	sqlite3_bind_int64(st, 1, y->c->row.box);
	while ((step = sqlite3_step(st)) == SQLITE_ROW && rc == 0)
		rc = diff_row(y, st);
	sqlite3_reset(st);
	return rc ? rc : index_result(ix, step);
}

/* Our own STORE changes the directory too: then all is as we left it. */
static bool look_same(const struct sync *y)
{
	const struct box_row *row = &y->c->row;

	return y->full && !y->scan.twins && y->scan.n == row->messages &&
	       y->scan.sum[DIR_CUR] == row->name_sum[DIR_CUR] &&
	       y->scan.sum[DIR_NEW] == row->name_sum[DIR_NEW];
}

static int look(struct sync *y)
{
	int dir_fd = y->c->box->dir_fd, rc;

	scan_clear(&y->scan);
	rc = scan_dir(&y->scan, dir_fd, DIR_NEW);
	if (rc == 0 && y->full)
		rc = scan_dir(&y->scan, dir_fd, DIR_CUR);
	if (rc == 0 && look_same(y)) {
		y->missing.n = y->moved.n = y->moved_to.n = 0;
		y->unchanged = true;
		return 0;
	}
	y->unchanged = false;
	if (rc == 0)
		rc = twins_resolve(y);
	return rc ? rc : diff(y);
}

/* Keeps in missing only what was in before too (both ascend). */
static void missing_intersect(struct uid_list *missing, const struct uid_list *before)
{
	size_t n = 0, j = 0;

	for (size_t i = 0; i < missing->n; i++) {
		while (j < before->n && before->uids[j] < missing->uids[i])
			j++;
		if (j < before->n && before->uids[j] == missing->uids[i])
			missing->uids[n++] = missing->uids[i];
	}
	missing->n = n;
}

static bool stamps_equal_now(struct sync *y, const struct dir_stamp before[DIR_COUNT])
{
	for (int d = 0; d < DIR_COUNT; d++) {
		struct dir_stamp now;

		if (dir_stamp_get(y->c->box->dir_fd, d, &now) != 0 ||
		    !dir_stamp_same(&before[d], &now))
			return false;
	}
	return true;
}

/* A file renamed while its directory is read may be missed, so one look proves
 * no expunge. Two do, if the directories stood still; else more. */
static int look_for_missing(struct sync *y)
{
	struct uid_list before = { 0 };
	bool still = false;
	int rc = 0;

	for (int i = 1; rc == 0 && y->missing.n && i < SCAN_ROUNDS_MAX && !still; i++) {
		struct dir_stamp stamps[DIR_COUNT];
		struct uid_list t = before;

		before = y->missing;
		y->missing = t;
		memcpy(stamps, y->scan.stamps, sizeof(stamps));
		rc = look(y);
		if (rc == 0)
			missing_intersect(&y->missing, &before);
		still = stamps_equal_now(y, stamps);
	}
	free(before.uids);
	return rc;
}

/* A base that is new in new/ but that the index knows in cur/. */
static int new_is_known(struct sync *y, bool *known_r)
{
	struct index *ix = &y->c->box->store->index;
	int rc = 0;

	*known_r = false;
	for (size_t i = 0; rc == 0 && !*known_r && i < y->scan.n; i++) {
		const struct scan_entry *e = &y->scan.entries[i];
		const char *base = scan_name(&y->scan, e);
		sqlite3_stmt *st;
		int step;

		if (e->matched || e->dropped)
			continue;
		rc = index_stmt(ix, SQL_MSG_BY_HASH, &st);
		if (rc)
			break;
		sqlite3_bind_int64(st, 1, y->c->row.box);
		sqlite3_bind_int64(st, 2, (int64_t)maildir_name_hash(base, e->base_len));
		step = sqlite3_step(st);
		*known_r = step == SQLITE_ROW;
		sqlite3_reset(st);
		rc = index_result(ix, step);
	}
	return rc;
}

static int look_at_new(struct sync *y)
{
	bool known = false;
	int rc;

	y->full = false;
	rc = look(y);
	if (rc == 0)
		rc = new_is_known(y, &known);
	if (rc || (y->missing.n == 0 && !known))
		return rc;
	y->full = true;
	return 0;
}

/* One directory whose mtime is as remembered: is that to be believed? Else its
 * names are summed up. */
static int dir_unchanged(struct mailbox *box, int d, struct dir_stamp *stamp, uint64_t name_sum,
			 bool *same_r)
{
	int64_t started = (int64_t)clock_wall_us();
	struct dir_stamp now;
	uint64_t sum;
	int rc;

	*same_r = true;
	if (dir_stamp_believed(box, stamp, started))
		return 0;
	rc = scan_sum(box->dir_fd, d, &sum);
	if (rc == 0)
		rc = dir_stamp_get(box->dir_fd, d, &now);
	if (rc)
		return rc;
	*same_r = sum == name_sum && dir_stamp_same(&now, stamp);
	stamp->trust = *same_r && dir_stamp_old(box, &now, started) ? TRUST_FULL : TRUST_NONE;
	return 0;
}

/* What the stamps call for: 0 nothing, 1 new/, 2 everything. */
static int depth_needed(struct change *c, bool force)
{
	bool same[DIR_COUNT];
	int rc = 0;

	for (int d = 0; rc == 0 && d < DIR_COUNT; d++) {
		struct dir_stamp now;

		rc = dir_stamp_get(c->box->dir_fd, d, &now);
		same[d] = rc == 0 && dir_stamp_same(&now, &c->row.dirs[d]);
	}
	if (rc == 0 && !force && same[DIR_CUR])
		rc = dir_unchanged(c->box, DIR_CUR, &c->row.dirs[DIR_CUR],
				   c->row.name_sum[DIR_CUR], &same[DIR_CUR]);
	if (rc)
		return rc > 0 ? -ENOENT : rc;
	if (force || !same[DIR_CUR])
		return 2;
	/* To read it is no more than to sum it up. */
	return same[DIR_NEW] && c->row.dirs[DIR_NEW].trust == TRUST_FULL ? 0 : 1;
}

static void sync_deinit(struct sync *y)
{
	scan_deinit(&y->scan);
	free(y->missing.uids);
	free(y->moved.uids);
	free(y->moved_to.uids);
}

/* From now on the directories are as they were when we began to look. */
static void stamps_remember(struct sync *y)
{
	struct box_row *row = &y->c->row;

	for (int d = 0; d < DIR_COUNT; d++) {
		if (d == DIR_CUR && !y->full)
			continue;
		row->dirs[d] = y->scan.stamps[d];
		row->dirs[d].trust = !y->changed_dir && !y->left_out &&
			row->name_sum[d] == y->scan.sum[d] &&
			dir_stamp_old(y->c->box, &y->scan.stamps[d], y->scan.started_us) ?
			TRUST_FULL : TRUST_NONE;
	}
	y->c->touched = true;
}

int sync_in_change(struct change *c, bool force)
{
	struct sync y = { .c = c };
	int depth = depth_needed(c, force || c->rebuild), rc;

	if (depth <= 0)
		return depth == -ENOENT ? MAILBOX_E_GONE : depth;
	scan_init(&y.scan);
	y.full = depth == 2;
	rc = y.full ? 0 : look_at_new(&y);
	if (rc == 0 && y.full)
		rc = look(&y);
	if (rc == 0)
		rc = look_for_missing(&y);
	if (rc == 0 && y.scan.ignored)
		log_warn("odd-names-ignored", "mailbox=%s", log_str(c->box->name));
	if (rc == 0)
		rc = sync_apply(&y);
	if (rc == 0)
		stamps_remember(&y);
	c->box->tmp_due |= y.full;
	sync_deinit(&y);
	return rc;
}

/* ---- without a transaction ---- */

static int peek_trust(struct mailbox *box, const struct box_row *row)
{
	struct index *ix = &box->store->index;
	int rc = index_begin_soon(ix);

	if (rc == 0)
		rc = index_box_trust(ix, row);
	if (rc == 0)
		rc = index_commit(ix);
	index_rollback(ix);
	/* Only a shortcut; it can be taken the next time. */
	return rc == MAILBOX_E_BUSY || rc == MAILBOX_E_NOSPACE ? 0 : rc;
}

/* Is the index up to the directory? Row loaded if so. */
static int sync_peek(struct mailbox *box, bool *clean_r)
{
	struct index *ix = &box->store->index;
	struct box_row row;
	struct stat st;
	bool young = false, trusted = true;
	int rc;

	*clean_r = false;
	if (fstat(box->dir_fd, &st) < 0)
		return -errno;
	if (st.st_nlink == 0)
		return MAILBOX_E_GONE;
	rc = index_check(ix);
	if (rc == 0)
		rc = index_box_get(ix, box->id, &row);
	if (rc || !row.box || row.uidvalidity != box->uidvalidity || !boot_is_now(row.boot))
		return rc;
	/* A list that was cut is mended while the index still knows what it said. */
	if (fstatat(box->dir_fd, UIDLIST_NAME, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    (uint64_t)st.st_size < row.list_offset)
		return 0;
	for (int d = 0; d < DIR_COUNT; d++) {
		struct dir_stamp now;

		rc = dir_stamp_get(box->dir_fd, d, &now);
		if (rc || !dir_stamp_same(&now, &row.dirs[d]))
			return rc;
	}
	*clean_r = true;
	for (int d = 0; d < DIR_COUNT && *clean_r && rc == 0; d++) {
		young |= row.dirs[d].trust != TRUST_FULL;
		rc = dir_unchanged(box, d, &row.dirs[d], row.name_sum[d], clean_r);
		trusted &= row.dirs[d].trust == TRUST_FULL;
	}
	if (rc == 0 && *clean_r) {
		box->row = row;
		box->row_opened = ix->opened;
		if (young && trusted)
			rc = peek_trust(box, &row);
	}
	return rc;
}

static int sync_locked(struct mailbox *box, bool force)
{
	struct change c;
	int rc = change_begin(box, false, true, &c);

	if (rc == 0) {
		rc = sync_in_change(&c, force || c.tail.n_entries || c.tail.keyword_lines.len);
		if (rc == 0)
			rc = list_compact_if_needed(&c);
		if (rc)
			change_abort(&c);
		else
			rc = change_commit(&c);
	}
	return rc;
}

int sync_box(struct mailbox *box, bool force)
{
	bool clean = false;
	int rc = 0;

	if (!force)
		rc = sync_peek(box, &clean);
	return rc || clean ? rc : sync_locked(box, force);
}

static bool row_reload(struct mailbox *box)
{
	struct index *ix = &box->store->index;
	struct box_row row;

	if (index_check(ix) != 0 || index_box_get(ix, box->id, &row) != 0 || !row.box ||
	    row.uidvalidity != box->uidvalidity)
		return false;
	box->row = row;
	box->row_opened = ix->opened;
	return true;
}

int mailbox_sync(struct mailbox *box)
{
	int rc;

	BOX_RETRY(rc, sync_box(box, false));
	if (rc == 0)
		box->doubt = false;
	box->put_off = false;
	/* On a full disk what is new cannot be written down; what is known can be
	   read. It is told when there is room. */
	if ((rc == MAILBOX_E_NOSPACE || rc == MAILBOX_E_READONLY) && row_reload(box)) {
		log_warn("sync-put-off", "user=%s mailbox=%s error=%s", log_str(box->store->user),
			 log_str(box->name), log_str(mailbox_strerror(rc)));
		box->put_off = true;
		rc = 0;
	}
	return rc;
}

bool mailbox_put_off(const struct mailbox *box)
{
	return box->put_off;
}

bool mailbox_doubt(struct mailbox *box)
{
	for (int d = 0; d < DIR_COUNT; d++)
		box->doubt |= box->row.dirs[d].trust > TRUST_FULL;
	return box->doubt;
}
