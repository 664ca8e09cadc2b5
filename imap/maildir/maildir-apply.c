/* SPDX-License-Identifier: MIT */
/* Makes the index and the uidlist follow what a sync has found. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "imap/maildir/maildir-sync.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"

/* More than this many in new/ are moved to cur/ together: reading new/ at
 * each delivery must stay cheap. */
#define NEW_KEEP_MAX		100
/* As long as Maildir's inventor gave a delivery (36 hours). */
#define TMP_MAX_AGE_S		(36 * 3600)

/* Flags and keywords that a file's name says; keywords without a letter stay. */
static void msg_take_name(struct change *c, struct msg *m, const char *name)
{
	struct maildir_name n;

	if (!maildir_name_parse(name, &n))
		return;
	m->flags = n.flags;
	keywords_from_letters(c->box, n.letters, m->keywords);
	c->row.odd_letters |= n.letters & ~keywords_known_letters(c->box);
	strcpy(m->info, n.info);
}

static int apply_moved(struct sync *y)
{
	struct change *c = y->c;
	struct index *ix = &c->box->store->index;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < y->moved.n; i++) {
		const struct scan_entry *e = &y->scan.entries[y->moved_to.uids[i]];
		struct msg was, m;

		rc = index_msg_get(ix, c->row.box, y->moved.uids[i], &was);
		if (rc)
			break;
		m = was;
		m.dir = e->dir;
		msg_take_name(c, &m, scan_name(&y->scan, e));
		if (m.flags != was.flags || !keywords_same(m.keywords, was.keywords))
			m.modseq = change_modseq(c);
		rc = index_msg_set(ix, &c->row, &was, &m);
		c->touched = true;
	}
	return rc;
}

static int apply_missing(struct sync *y)
{
	struct change *c = y->c;
	struct index *ix = &c->box->store->index;
	struct uidlist_line gone = { .kind = UIDLIST_GONE };
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < y->missing.n; i++) {
		uint32_t uid = y->missing.uids[i];
		struct msg m;

		rc = index_msg_get(ix, c->row.box, uid, &m);
		if (rc == 0)
			rc = index_msg_expunge(ix, &c->row, &m, change_modseq(c));
		if (gone.uid && uid != gone.last + 1) {
			change_line(c, &gone, false);
			gone.uid = 0;
		}
		if (!gone.uid)
			gone.uid = uid;
		gone.last = uid;
	}
	if (gone.uid)
		change_line(c, &gone, false);
	return rc;
}

/* ---- new messages ---- */

/* What the file says beyond its name. */
static int msg_stat(struct sync *y, const struct scan_entry *e, struct msg *m)
{
	char path[MAILDIR_NAME_MAX + 8];
	int64_t size, vsize;
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", dir_names[e->dir], scan_name(&y->scan, e));
	if (fstatat(y->c->box->dir_fd, path, &st, 0) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EISDIR;
	m->internaldate = st.st_mtim.tv_sec;
	m->size = m->header_size = -1;
	/* A name is believed if what it says can be true. */
	maildir_name_sizes(m->base, strlen(m->base), &size, &vsize);
	if (size == st.st_size && vsize >= size && vsize <= 2 * size)
		m->size = vsize;
	return 0;
}

static int add_new(struct sync *y, const struct scan_entry *e)
{
	struct change *c = y->c;
	struct box_row *row = &c->row;
	const char *name = scan_name(&y->scan, e);
	struct msg m = { .dir = e->dir };
	int rc;

	memcpy(m.base, name, e->base_len);
	m.base[e->base_len] = '\0';
	if (msg_stat(y, e, &m) < 0) {
		y->left_out = true;	/* gone again, or renamed just now */
		return 0;
	}
	msg_take_name(c, &m, name);
	/* A UID that a session gave before it died, if no higher one was ever
	   told since (the tail has no others). */
	m.uid = list_tail_find(&c->tail, m.base, e->base_len);
	rc = m.uid ? 0 : change_uid(c, m.base, false, &m.uid);
	if (rc)
		return rc;
	m.modseq = change_modseq(c);
	rc = index_msg_add(&c->box->store->index, row, &m);
	/* \Recent after the first sync: what was in new/ then. */
	if (c->rebuild && e->dir == DIR_CUR && m.uid >= row->first_recent)
		row->first_recent = m.uid + 1;
	return rc;
}

static int entry_cmp(const void *a, const void *b, void *ctx)
{
	const struct scan *s = ctx;
	const struct scan_entry *x = &s->entries[*(const uint32_t *)a];
	const struct scan_entry *y = &s->entries[*(const uint32_t *)b];

	return maildir_name_cmp(scan_name(s, x), x->base_len, scan_name(s, y), y->base_len);
}

static int apply_new(struct sync *y)
{
	uint32_t *order = malloc((y->scan.n + 1) * sizeof(*order));
	size_t n = 0;
	int rc = 0;

	if (!order)
		return -ENOMEM;
	for (size_t i = 0; i < y->scan.n; i++) {
		if (!y->unchanged && !y->scan.entries[i].matched && !y->scan.entries[i].dropped)
			order[n++] = (uint32_t)i;
	}
	qsort_r(order, n, sizeof(*order), entry_cmp, &y->scan);
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = add_new(y, &y->scan.entries[order[i]]);
	free(order);
	/* UIDs in the list whose files are not there belong to nobody. */
	if (y->c->row.uidnext < y->c->row.list_uidnext) {
		y->c->row.uidnext = y->c->row.list_uidnext;
		y->c->touched = true;
	}
	return rc;
}

/* ---- keywords that only the list knows ---- */

static int apply_keywords_of(struct change *c, uint32_t uid, const uint8_t *numbers, size_t n)
{
	struct index *ix = &c->box->store->index;
	struct msg was, m;
	int rc = index_msg_get(ix, c->row.box, uid, &was);

	if (rc)
		return rc == MAILBOX_E_EXPUNGED ? 0 : rc;
	m = was;
	for (uint32_t i = 0; i < c->box->n_keywords; i++) {
		if (c->box->keywords[i].letter < 0)
			keywords_put(m.keywords, i, false);
	}
	for (size_t i = 0; i < n; i++) {
		uint32_t k = (uint32_t)numbers[2 * i] << 8 | numbers[2 * i + 1];

		if (k < c->box->n_keywords && c->box->keywords[k].letter < 0)
			keywords_put(m.keywords, k, true);
	}
	if (keywords_same(m.keywords, was.keywords))
		return 0;
	m.modseq = change_modseq(c);
	return index_msg_set(ix, &c->row, &was, &m);
}

static int apply_keywords(struct change *c)
{
	struct cursor cur;
	int rc = 0;

	cursor_init(&cur, c->tail.keyword_lines.data, c->tail.keyword_lines.len);
	while (rc == 0 && cursor_left(&cur) > 0) {
		uint32_t uid = cursor_u32(&cur);
		size_t n = cursor_u16(&cur);
		const uint8_t *numbers = cursor_bytes(&cur, 2 * n);

		if (cur.bad)
			break;
		rc = apply_keywords_of(c, uid, numbers, n);
	}
	buf_reset(&c->tail.keyword_lines);
	return rc;
}

/* ---- new/ ---- */

static int move_one(struct sync *y, struct msg *m)
{
	char from[2 * MAILDIR_NAME_MAX + 8], to[2 * MAILDIR_NAME_MAX + 8];
	struct change *c = y->c;
	struct msg was = *m;

	if (!m->info[0]) {
		if (strlen(m->base) > MAILDIR_NAME_MAX - 3)
			return 0;	/* there is no name for it in cur/ */
		strcpy(m->info, ":2,");
	}
	m->dir = DIR_CUR;
	snprintf(from, sizeof(from), "new/%s%s", was.base, was.info);
	snprintf(to, sizeof(to), "cur/%s%s", m->base, m->info);
	y->changed_dir = true;
	if (renameat(c->box->dir_fd, from, c->box->dir_fd, to) < 0)
		return errno == ENOENT ? 0 : file_error(errno);
	return index_msg_set(&c->box->store->index, &c->row, &was, m);
}

static int empty_new(struct sync *y)
{
	struct index *ix = &y->c->box->store->index;
	size_t in_new = 0;
	uint32_t uid = 0;
	int n, rc = 0;

	for (size_t i = 0; i < y->scan.n; i++)
		in_new += y->scan.entries[i].dir == DIR_NEW;
	if (in_new <= NEW_KEEP_MAX)
		return 0;
	do {
		struct msg batch[16];

		n = index_msg_range(ix, y->c->row.box, uid + 1, UINT32_MAX, false, batch, 16);
		for (int i = 0; i < n && rc == 0; i++) {
			uid = batch[i].uid;
			if (batch[i].dir == DIR_NEW)
				rc = move_one(y, &batch[i]);
		}
	} while (n > 0 && rc == 0);
	return n < 0 ? n : rc;
}

int sync_apply(struct sync *y)
{
	int rc = apply_moved(y);

	if (rc == 0)
		rc = apply_missing(y);
	if (rc == 0)
		rc = apply_new(y);
	/* Once, whatever comes of it: the list is read. */
	list_tail_forget(&y->c->tail);
	if (rc == 0)
		rc = apply_keywords(y->c);
	if (rc == 0)
		rc = empty_new(y);
	return rc;
}

void tmp_clean(struct mailbox *box)
{
	cleanup_fd int fd = openat(box->dir_fd, "tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	time_t now = (time_t)(clock_wall_us() / 1000000);
	struct dirent *de;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d)
		return;
	fd_steal(&fd);
	while ((de = readdir(d))) {
		struct stat st;

		if (de->d_name[0] == '.' ||
		    fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (S_ISREG(st.st_mode) && st.st_mtim.tv_sec < now - TMP_MAX_AGE_S &&
		    st.st_ctim.tv_sec < now - TMP_MAX_AGE_S)
			unlinkat(dirfd(d), de->d_name, 0);
	}
	closedir(d);
}
