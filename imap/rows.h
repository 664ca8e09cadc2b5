/* SPDX-License-Identifier: MIT */
#ifndef IMAP_ROWS_H
#define IMAP_ROWS_H
/* Rows of a mailbox, some at a time and copied: while a slow client reads the
 * answer, no statement of the index may be open, and memory must not grow with
 * the mailbox. */
#include "imap/mailbox.h"
#include "lib/buf.h"
#include "lib/uidset.h"

#define ROWS_BATCH_MAX	256
struct row_batch {
	struct mail_row rows[ROWS_BATCH_MAX];	/* ascending by UID */
	size_t count;
	struct uidset uids;		/* that were asked for */
	struct uidset_iter at;
	bool started;
	struct buf words;		/* of the rows' keywords */
};
void row_batch_init(struct row_batch *b);
void row_batch_deinit(struct row_batch *b);
/* The next UIDs of set into b->uids; no rows yet. The set must stay
 * as it is between calls. -> 1, 0 at the end, -ENOMEM. */
int row_batch_next(struct row_batch *b, const struct uidset *set);
/* The rows of b->uids, as far as the mailbox knows them. 0 or as mailbox.h. */
int row_batch_fill(struct row_batch *b, struct mailbox *box, bool with_expunged);
/* NULL: not known. */
const struct mail_row *row_batch_find(const struct row_batch *b, uint32_t uid);
#endif
