/* SPDX-License-Identifier: MIT */
/* Reading `dormouse-uidlist`. The index remembers how far it has read the
 * list, so a change reads only what came since: usually nothing. What it finds
 * then was written by a session that died before its COMMIT, or, with the
 * index lost, it is everything. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "imap/maildir/maildir.h"
#include "lib/log.h"

#define LIST_BYTES_MAX		(1u << 30)
#define LIST_READ_BYTES		(64 * 1024)

void list_tail_deinit(struct list_tail *t)
{
	buf_deinit(&t->names);
	buf_deinit(&t->keyword_lines);
	free(t->entries);
	free(t->table);
	*t = (struct list_tail){ 0 };
}

void list_tail_forget(struct list_tail *t)
{
	t->n_entries = 0;
	if (t->table)
		memset(t->table, 0, t->table_size * sizeof(t->table[0]));
}

static size_t tail_slot(const struct list_tail *t, const char *base, size_t len)
{
	return (size_t)maildir_name_hash(base, len) & (t->table_size - 1);
}

static const char *tail_base(const struct list_tail *t, const struct list_entry *e)
{
	return (const char *)t->names.data + e->base;
}

uint32_t list_tail_find(const struct list_tail *t, const char *base, size_t len)
{
	if (!t->table)
		return 0;
	/* The newest stands first in its chain: a message that came back has
	   a new UID, and that one counts. */
	for (uint32_t i = t->table[tail_slot(t, base, len)]; i; i = t->entries[i - 1].next) {
		const struct list_entry *e = &t->entries[i - 1];

		if (e->base_len == len && !memcmp(tail_base(t, e), base, len))
			return e->uid;
	}
	return 0;
}

static void tail_link(struct list_tail *t, size_t i)
{
	struct list_entry *e = &t->entries[i];
	size_t slot = tail_slot(t, tail_base(t, e), e->base_len);

	e->next = t->table[slot];
	t->table[slot] = (uint32_t)i + 1;
}

static int tail_grow(struct list_tail *t)
{
	size_t cap = t->cap ? t->cap * 2 : 16;
	struct list_entry *entries = reallocarray(t->entries, cap, sizeof(*entries));
	uint32_t *table;

	if (!entries)
		return -ENOMEM;
	t->entries = entries;
	table = calloc(cap * 2, sizeof(*table));
	if (!table)
		return -ENOMEM;
	free(t->table);
	t->table = table;
	t->table_size = cap * 2;
	t->cap = cap;
	for (size_t i = 0; i < t->n_entries; i++)
		tail_link(t, i);
	return 0;
}

static int tail_add(struct list_tail *t, const struct uidlist_line *l)
{
	int rc;

	if (t->n_entries == t->cap) {
		rc = tail_grow(t);
		if (rc)
			return rc;
	}
	t->entries[t->n_entries] = (struct list_entry){
		.uid = l->uid,
		.base = (uint32_t)t->names.len,
		.base_len = (uint32_t)l->text_len,
	};
	rc = buf_append(&t->names, l->text, l->text_len);
	if (rc)
		return rc;
	tail_link(t, t->n_entries++);
	return 0;
}

static void tail_drop(struct list_tail *t, uint32_t first, uint32_t last)
{
	/* UIDs ascend. Gone ones keep their place, with no UID, so the search
	   is by hand from the end, where they mostly are. */
	for (size_t i = t->n_entries; i-- > 0; ) {
		struct list_entry *e = &t->entries[i];

		if (e->uid && e->uid < first)
			break;
		if (e->uid >= first && e->uid <= last)
			e->uid = 0;
	}
}

static int tail_keywords(struct list_tail *t, const struct uidlist_line *l)
{
	uint16_t numbers[KEYWORDS_MAX];
	size_t pos = 0, count = 0;
	uint32_t n;

	while (count < KEYWORDS_MAX && uidlist_numbers_next(l, &pos, &n))
		numbers[count++] = (uint16_t)n;
	buf_append_u32(&t->keyword_lines, l->uid);
	buf_append_u16(&t->keyword_lines, (uint16_t)count);
	for (size_t i = 0; i < count; i++)
		buf_append_u16(&t->keyword_lines, numbers[i]);
	return t->keyword_lines.failed ? -ENOMEM : 0;
}

struct read_ctx {
	struct mailbox *box;
	struct box_row *row;
	struct list_tail *tail;
	uint32_t uid_floor;	/* reserved before a reboot: holds for what comes */
	uint64_t modseq;	/* the highest that this reading met */
};

static int take_line(void *ctx, const struct uidlist_line *l)
{
	struct read_ctx *r = ctx;
	struct box_row *row = r->row;

	switch (l->kind) {
	case UIDLIST_HEADER:
		return 0;
	case UIDLIST_NEXT:
		if (l->uid > row->list_uidnext)
			row->list_uidnext = l->uid;
		return 0;
	case UIDLIST_RESERVED:
		if (boot_is_now((int64_t)l->value)) {
			if (l->uid > row->list_uid_reserved)
				row->list_uid_reserved = l->uid;
		} else if (l->uid > r->uid_floor) {
			r->uid_floor = l->uid;
		}
		return 0;
	case UIDLIST_MODSEQ:
		if (l->value > r->modseq)
			r->modseq = l->value;
		if (l->value > row->list_modseq)
			row->list_modseq = l->value;
		return 0;
	case UIDLIST_KEYWORD:
		return keywords_add(r->box, l->uid, l->letter == '-' ? -1 : l->letter - 'a',
				    l->text, l->text_len);
	case UIDLIST_UID:
		if (l->uid < row->list_uidnext || l->uid == UINT32_MAX)
			return 0;	/* they ascend: not ours, or damage */
		row->list_uidnext = l->uid + 1;
		return l->uid >= row->uidnext ? tail_add(r->tail, l) : 0;
	case UIDLIST_MSG_KEYWORDS:
		return tail_keywords(r->tail, l);
	case UIDLIST_GONE:
		tail_drop(r->tail, l->uid, l->last);
		return 0;
	}
	return 0;
}

static int read_from(struct read_ctx *r, int fd, struct buf *b)
{
	for (;;) {
		void *room = buf_reserve(b, LIST_READ_BYTES);
		size_t lines, bad, used;
		ssize_t n;
		int stop;

		if (!room)
			return -ENOMEM;
		n = pread(fd, room, LIST_READ_BYTES,
			  (off_t)(r->row->list_offset + b->len));
		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		buf_added(b, (size_t)n);
		used = uidlist_walk((const char *)b->data, b->len, take_line, r, &lines,
				    &bad, &stop);
		if (bad)
			log_warn("uidlist-bad-lines", "mailbox=%s count=%zu",
				 log_str(r->box->name), bad);
		if (stop)
			return stop;
		if (used == 0 && b->len > UIDLIST_LINE_MAX)
			return MAILBOX_E_CORRUPT;
		buf_consume(b, used);
		r->row->list_offset += used;
		r->row->list_lines += (uint32_t)lines;
	}
}

int list_read(struct mailbox *box, struct box_row *row, struct list_tail *tail)
{
	struct read_ctx r = { .box = box, .row = row, .tail = tail };
	bool again = false, cut;
	struct stat st;
	struct buf b;
	int rc;

	buf_init(&tail->names, LIST_BYTES_MAX);
	buf_init(&tail->keyword_lines, LIST_BYTES_MAX);
	if (fstat(box->list_fd, &st) < 0)
		return -errno;
	cut = row->list_generation == box->list_generation &&
	      row->list_offset > (uint64_t)st.st_size;
	if (row->list_generation != box->list_generation || cut) {
		/* Another file: all of it is news. What was reserved holds on. */
		again = row->list_generation != 0;
		row->list_generation = box->list_generation;
		row->list_offset = 0;
		row->list_lines = 0;
		row->list_uidnext = 1;
		row->list_uid_reserved = 0;
	}
	if (row->list_offset == (uint64_t)st.st_size)
		return 0;
	buf_init(&b, LIST_READ_BYTES * 2 + UIDLIST_LINE_MAX);
	rc = read_from(&r, box->list_fd, &b);
	buf_deinit(&b);
	if (row->list_uidnext < r.uid_floor)
		row->list_uidnext = r.uid_floor;
	/* Its end was lost, or an older one was put in its place. */
	tail->incomplete = cut || (again && (row->list_uidnext < row->uidnext ||
					     r.modseq < row->highestmodseq));
	if (tail->incomplete)
		log_error("uidlist-incomplete", "mailbox=%s uidnext=%u known=%u",
			  log_str(box->name), row->list_uidnext, row->uidnext);
	return rc;
}
