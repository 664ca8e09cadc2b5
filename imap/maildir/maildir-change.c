/* SPDX-License-Identifier: MIT */
/* One change of a mailbox: lock, transaction, lines for the uidlist. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "imap/maildir/maildir.h"
#include "lib/clock.h"
#include "lib/log.h"

/* MODSEQs reserved at a time: the list hears of one change in a million. */
#define MODSEQ_BLOCK		(UINT64_C(1) << 20)
/* UIDs reserved at a time, for those that are given without fdatasync. */
#define UID_BLOCK		1000
#define LINES_MAX_BYTES		(1u << 28)
/* Fewer names are read in two milliseconds: not worth any doubt. */
#define OWN_MESSAGES_MIN	5000
/* Between the looks at the mtime before and after a rename of ours. */
#define OWN_WINDOW_US		2000
/* A stepping clock must not look like a reboot; none is quicker than this. */
#define BOOT_TOLERANCE_S	10

int file_error(int err)
{
	switch (err) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:	/* RLIMIT_FSIZE */
		return MAILBOX_E_NOSPACE;
	case EROFS:
		return MAILBOX_E_READONLY;
	default:
		return -err;
	}
}

/* When the system was started, in seconds. */
static int64_t boot_time(void)
{
	struct timespec up;

	clock_gettime(CLOCK_BOOTTIME, &up);
	return (int64_t)(clock_wall_us() / 1000000) - up.tv_sec;
}

bool boot_is_now(int64_t boot)
{
	int64_t gap = boot_time() - boot;

	return gap <= BOOT_TOLERANCE_S && gap >= -BOOT_TOLERANCE_S;
}

/* After a power failure the index may lack its last commits and the list its
 * last lines, of which clients know: then those MODSEQs and UIDs must not be
 * given a second time. */
static void row_after_boot(struct change *c)
{
	struct box_row *row = &c->row;

	if (row->highestmodseq < row->list_modseq)
		row->highestmodseq = row->list_modseq;
	if (row->list_uidnext < row->list_uid_reserved)
		row->list_uidnext = row->list_uid_reserved;
	row->list_uid_reserved = 0;
	row->boot = boot_time();
	c->touched = true;
}

/* Keywords that the list had and the index did not. */
static int keywords_to_index(struct change *c)
{
	struct index *ix = &c->box->store->index;

	for (uint32_t n = c->row.n_keywords; n < c->box->n_keywords; n++) {
		const struct keyword *k = &c->box->keywords[n];
		char letter[2] = { k->letter < 0 ? '-' : (char)('a' + k->letter) };
		sqlite3_stmt *st;
		int rc = index_stmt(ix, SQL_KEYWORD_ADD, &st);

		if (rc)
			return rc;
		sqlite3_bind_int64(st, 1, c->row.box);
		sqlite3_bind_int64(st, 2, n);
		sqlite3_bind_text(st, 3, letter, 1, SQLITE_TRANSIENT);
		sqlite3_bind_blob(st, 4, k->name, (int)strlen(k->name), SQLITE_STATIC);
		rc = index_run(ix, st);
		if (rc)
			return rc;
		c->row.n_keywords = n + 1;
		c->touched = true;
	}
	return 0;
}

static int row_load(struct change *c)
{
	struct index *ix = &c->box->store->index;
	struct mailbox *box = c->box;
	int rc = index_box_get(ix, box->id, &c->row);

	if (rc == 0 && c->row.box && c->row.uidvalidity != box->uidvalidity) {
		rc = index_box_drop(ix, c->row.box);
		c->row.box = 0;
	}
	if (rc || c->row.box)
		return rc;
	c->rebuild = true;
	c->row = (struct box_row){
		.uidvalidity = box->uidvalidity,
		.uidnext = 1,
		.first_recent = 1,
		.list_uidnext = 1,
		.boot = boot_time(),
	};
	return 0;
}

/* The index learns what the list says beyond it. */
static int list_to_row(struct change *c)
{
	uint64_t offset = c->row.list_offset;
	int rc = keywords_load(c->box, &c->row);

	if (rc == 0)
		rc = list_read(c->box, &c->row, &c->tail);
	if (rc)
		return rc;
	if (c->rebuild) {
		/* All that was ever told is below: nobody's MODSEQ is above. */
		c->row.highestmodseq = c->row.history = c->row.list_modseq;
		rc = index_box_add(&c->box->store->index, c->box->id, c->box->name, &c->row);
		log_info("index-rebuild", "user=%s mailbox=%s", log_str(c->box->store->user),
			 log_str(c->box->name));
	} else if (!boot_is_now(c->row.boot)) {
		row_after_boot(c);
	}
	if (c->rebuild || c->row.list_offset != offset)
		c->touched = true;
	return rc ? rc : keywords_to_index(c);
}

/* Is it still there, and its list? */
static int change_check(struct change *c)
{
	struct stat st;
	int rc;

	if (fstat(c->box->dir_fd, &st) < 0)
		return -errno;
	rc = st.st_nlink == 0 ? MAILBOX_E_GONE : list_open(c->box);
	if (rc == MAILBOX_E_CORRUPT && list_rescue(c->box) == 0)
		rc = list_open(c->box);
	return rc;
}

static int change_load(struct change *c, bool sync)
{
	int rc = row_load(c);

	if (rc == 0)
		rc = list_to_row(c);
	/* Messages of a session that died, or everything: what the list says
	   is read once, so it is used now. */
	if (rc == 0 && !sync &&
	    (c->rebuild || c->tail.n_entries || c->tail.keyword_lines.len))
		rc = sync_in_change(c, true);
	return rc;
}

static void change_init(struct change *c, struct mailbox *box)
{
	*c = (struct change){ .box = box };
	buf_init(&c->lines, LINES_MAX_BYTES);
}

int change_begin(struct mailbox *box, bool durable, bool sync, struct change *c)
{
	int rc;

	change_init(c, box);
	rc = list_lock(box);
	if (rc)
		return rc;
	rc = change_check(c);
	if (rc == 0)
		rc = index_begin(&box->store->index, durable);
	if (rc == 0)
		rc = change_load(c, sync);
	if (rc)
		change_abort(c);
	return rc;
}

static void change_end(struct change *c)
{
	list_unlock(c->box);
	list_tail_deinit(&c->tail);
	buf_deinit(&c->lines);
}

void change_abort(struct change *c)
{
	index_rollback(&c->box->store->index);
	change_end(c);
}

int change_lines(struct change *c)
{
	int rc;

	if (c->lines.failed)
		return -ENOMEM;
	if (c->lines.len == 0)
		return 0;
	rc = list_append(c->box, &c->row, &c->lines, c->lines_durable);
	buf_reset(&c->lines);
	c->lines_durable = false;
	c->touched = true;
	return rc;
}

/* All of a change but COMMIT. */
static int change_write(struct change *c)
{
	struct index *ix = &c->box->store->index;
	int rc = change_lines(c);

	if (rc == 0)
		rc = keywords_to_index(c);
	if (rc == 0 && c->tail.incomplete)
		rc = list_repair(c);
	if (rc == 0)
		rc = index_history_prune(ix, &c->row);
	if (rc == 0 && c->touched)
		rc = index_box_set(ix, &c->row);
	return rc;
}

static void change_done(struct change *c)
{
	c->box->row = c->row;
	c->box->row_opened = c->box->store->index.opened;
}

int change_commit(struct change *c)
{
	struct index *ix = &c->box->store->index;
	int rc = change_write(c);

	if (rc == 0 && c->touched)
		rc = index_commit(ix);
	index_rollback(ix);	/* nothing, if it was committed */
	if (rc == 0)
		change_done(c);
	change_end(c);
	index_checkpoint(ix);
	return rc;
}

/* ---- two mailboxes ---- */

static int pair_lock(struct mailbox *from, struct mailbox *to)
{
	bool swap = memcmp(from->id, to->id, sizeof(from->id)) > 0;
	struct mailbox *first = swap ? to : from, *second = swap ? from : to;
	int rc = list_lock(first);

	if (rc == 0 && from != to) {
		rc = list_lock(second);
		if (rc)
			list_unlock(first);
	}
	return rc;
}

/* The destination's errors say that there is none. */
static int dest_error(int rc)
{
	return rc == MAILBOX_E_GONE || rc == MAILBOX_E_VALIDITY ? MAILBOX_E_NONEXISTENT : rc;
}

int change_begin_pair(struct mailbox *from, struct mailbox *to, struct change *src,
		      struct change *dst)
{
	int rc;

	change_init(src, from);
	if (dst != src)
		change_init(dst, to);
	rc = pair_lock(from, to);
	if (rc == MAILBOX_E_GONE) {
		struct stat st;

		return fstat(from->dir_fd, &st) == 0 && st.st_nlink == 0 ? rc : dest_error(rc);
	}
	if (rc)
		return rc;
	rc = change_check(src);
	if (rc == 0 && dst != src)
		rc = dest_error(change_check(dst));
	if (rc == 0)
		rc = index_begin(&from->store->index, true);
	if (rc == 0)
		rc = change_load(src, false);
	if (rc == 0 && dst != src)
		rc = dest_error(change_load(dst, false));
	if (rc)
		change_abort_pair(src, dst);
	return rc;
}

int change_commit_pair(struct change *src, struct change *dst)
{
	int rc = change_write(src);

	if (rc == 0 && dst != src)
		rc = change_write(dst);
	if (rc == 0 && (src->touched || dst->touched))
		rc = index_commit(&src->box->store->index);
	if (rc)
		return rc;
	index_rollback(&src->box->store->index);
	change_done(src);
	change_done(dst);
	return 0;
}

void change_end_pair(struct change *src, struct change *dst)
{
	change_end(src);
	if (dst != src)
		change_end(dst);
	index_checkpoint(&src->box->store->index);
}

void change_abort_pair(struct change *src, struct change *dst)
{
	index_rollback(&src->box->store->index);
	change_end_pair(src, dst);
}

uint64_t change_modseq(struct change *c)
{
	if (c->modseq)
		return c->modseq;
	c->modseq = c->row.highestmodseq + 1;
	if (c->modseq > c->row.list_modseq) {
		struct uidlist_line l = { .kind = UIDLIST_MODSEQ };

		l.value = c->row.list_modseq = c->modseq + MODSEQ_BLOCK;
		change_line(c, &l, true);
	}
	c->row.highestmodseq = c->modseq;
	c->touched = true;
	return c->modseq;
}

int change_uid(struct change *c, const char *base, bool durable, uint32_t *uid_r)
{
	struct box_row *row = &c->row;

	if (row->list_uidnext < row->uidnext)
		row->list_uidnext = row->uidnext;
	if (row->list_uidnext >= UINT32_MAX - UID_BLOCK)
		return -EOVERFLOW;
	if (!durable && row->list_uidnext >= row->list_uid_reserved) {
		row->list_uid_reserved = row->list_uidnext + UID_BLOCK;
		change_line(c, &(struct uidlist_line){ .kind = UIDLIST_RESERVED,
			.uid = row->list_uid_reserved, .value = (uint64_t)boot_time() }, true);
	}
	change_line(c, &(struct uidlist_line){ .kind = UIDLIST_UID, .uid = row->list_uidnext,
		.text = base, .text_len = strlen(base) }, durable);
	*uid_r = row->list_uidnext++;
	return 0;
}

void change_line(struct change *c, const struct uidlist_line *l, bool durable)
{
	uidlist_line_write(&c->lines, l);
	c->lines_durable |= durable;
}

/* Only those that no letter can say, and only if there are any in play. */
void change_keywords_line(struct change *c, const struct msg *m)
{
	struct uidlist_line l = { .kind = UIDLIST_MSG_KEYWORDS, .uid = m->uid };
	char text[KEYWORDS_MAX * 5];
	size_t len = 0;

	for (uint32_t n = 0; n < c->box->n_keywords; n++) {
		char digits[8];
		size_t i = sizeof(digits);
		uint32_t v = n;

		if (c->box->keywords[n].letter >= 0 || !keywords_has(m->keywords, n))
			continue;
		do
			digits[--i] = (char)('0' + v % 10);
		while (v /= 10);
		if (len)
			text[len++] = ',';
		memcpy(text + len, digits + i, sizeof(digits) - i);
		len += sizeof(digits) - i;
	}
	l.text = text;
	l.text_len = len;
	change_line(c, &l, true);
}

void change_stamps_before(struct change *c, bool clean_r[DIR_COUNT])
{
	for (int d = 0; d < DIR_COUNT; d++) {
		struct dir_stamp now;

		clean_r[d] = dir_stamp_get(c->box->dir_fd, d, &now) == 0 &&
			     dir_stamp_same(&now, &c->row.dirs[d]);
	}
	c->stamps_us = clock_us();
}

/* Somebody else's change may hide behind ours. Where reading all names is cheap
 * the next sync does so; where not, and we were quick, it may wait a little
 * (dir_stamp_believed()). */
static int64_t trust_after(const struct change *c, const struct dir_stamp *was)
{
	if (was->trust == TRUST_NONE || c->box->remote || c->row.messages < OWN_MESSAGES_MIN ||
	    clock_us() - c->stamps_us > OWN_WINDOW_US)
		return TRUST_NONE;
	return was->trust == TRUST_FULL ? (int64_t)(clock_wall_us() / 1000000) : was->trust;
}

void change_stamps_after(struct change *c, const bool clean[DIR_COUNT])
{
	for (int d = 0; d < DIR_COUNT; d++) {
		struct dir_stamp now;

		if (!clean[d] || dir_stamp_get(c->box->dir_fd, d, &now) != 0 ||
		    dir_stamp_same(&now, &c->row.dirs[d]))
			continue;
		now.trust = trust_after(c, &c->row.dirs[d]);
		c->row.dirs[d] = now;
		c->touched = true;
	}
}

int box_load(struct mailbox *box)
{
	struct index *ix = &box->store->index;
	struct box_row row;
	int rc = index_check(ix);

	if (rc == 0)
		rc = index_box_get(ix, box->id, &row);
	if (rc)
		return rc;
	if (!row.box || row.uidvalidity != box->uidvalidity)
		return sync_box(box, true);
	box->row = row;
	box->row_opened = ix->opened;
	return 0;
}

int box_check(struct mailbox *box)
{
	struct index *ix = &box->store->index;
	int rc = index_check(ix);

	return rc == 0 && box->row_opened != ix->opened ? box_load(box) : rc;
}
