/* SPDX-License-Identifier: MIT */
/* Writing `dormouse-uidlist` anew when most of its lines are stale. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "imap/maildir/maildir.h"
#include "lib/cleanup.h"

#define LIST_BYTES_MAX		(1u << 30)
/* Stale lines below this are not worth a file. */
#define STALE_LINES_MIN		1000

/* Lines for a run of messages; returns how many, the last UID in *uid. */
static int compact_some(struct mailbox *box, const struct box_row *row, struct buf *b,
			struct change *c, uint32_t *uid)
{
	struct msg batch[16];
	int n = index_msg_range(&box->store->index, row->box, *uid + 1, UINT32_MAX, false,
				batch, 16);

	for (int i = 0; i < n; i++) {
		struct uidlist_line l = {
			.kind = UIDLIST_UID,
			.uid = batch[i].uid,
			.text = batch[i].base,
			.text_len = strlen(batch[i].base),
		};
		uidlist_line_write(b, &l);
		if (keywords_beyond_letters(box, batch[i].keywords))
			change_keywords_line(c, &batch[i]);
		*uid = batch[i].uid;
	}
	return n;
}

int list_compact(struct mailbox *box, struct box_row *row)
{
	struct uidlist_line l = { .kind = UIDLIST_HEADER, .uid = box->uidvalidity };
	struct change c = { .box = box };	/* a place for K lines */
	uint32_t uid = 0;
	struct buf b;
	int rc;

	memcpy(l.id, box->id, sizeof(l.id));
	if (getrandom(&l.value, sizeof(l.value), 0) != sizeof(l.value))
		return -EIO;
	l.value >>= 1;
	buf_init(&b, LIST_BYTES_MAX);
	buf_init(&c.lines, LIST_BYTES_MAX);
	uidlist_line_write(&b, &l);
	uidlist_line_write(&b, &(struct uidlist_line){
		.kind = UIDLIST_MODSEQ, .value = row->list_modseq });
	for (uint32_t n = 0; n < box->n_keywords; n++) {
		const struct keyword *k = &box->keywords[n];

		uidlist_line_write(&b, &(struct uidlist_line){
			.kind = UIDLIST_KEYWORD, .uid = n,
			.letter = k->letter < 0 ? '-' : (char)('a' + k->letter),
			.text = k->name, .text_len = strlen(k->name) });
	}
	do {
		rc = compact_some(box, row, &b, &c, &uid);
	} while (rc > 0);
	/* Behind the UIDs: they must ascend above what was read. */
	uidlist_line_write(&b, &(struct uidlist_line){
		.kind = UIDLIST_NEXT, .uid = row->list_uidnext });
	if (c.lines.len)
		buf_append(&b, c.lines.data, c.lines.len);
	if (rc == 0)
		rc = c.lines.failed ? -ENOMEM : list_replace(box->dir_fd, &b);
	if (rc == 0) {
		row->list_generation = l.value;
		row->list_offset = b.len;
		row->list_lines = row->messages + row->n_keywords + 3;
		fd_close(&box->list_fd);
		rc = list_open(box);
	}
	buf_deinit(&b);
	buf_deinit(&c.lines);
	return rc;
}

int list_compact_if_needed(struct change *c)
{
	uint32_t live = c->row.messages + c->row.n_keywords;
	int rc;

	if (c->row.list_lines < STALE_LINES_MIN || c->row.list_lines - STALE_LINES_MIN < live ||
	    c->row.list_lines / 2 < live)
		return 0;
	rc = change_lines(c);
	if (rc == 0)
		rc = list_compact(c->box, &c->row);
	/* It can wait for a larger disk. */
	return rc == MAILBOX_E_NOSPACE ? 0 : rc;
}
