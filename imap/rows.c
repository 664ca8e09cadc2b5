/* SPDX-License-Identifier: MIT */
#include "imap/rows.h"

#include <errno.h>
#include <string.h>

void row_batch_init(struct row_batch *b)
{
	b->count = 0;
	b->started = false;
	uidset_init(&b->uids);
	buf_init(&b->words, SIZE_MAX);
}

void row_batch_deinit(struct row_batch *b)
{
	uidset_deinit(&b->uids);
	buf_deinit(&b->words);
}

int row_batch_next(struct row_batch *b, const struct uidset *set)
{
	uidset_clear(&b->uids);
	b->count = 0;
	for (size_t n = 0; n < ROWS_BATCH_MAX; n++) {
		uint32_t uid = b->started ? uidset_next(set, &b->at) : uidset_first(set, &b->at);

		b->started = true;
		if (uid == 0)
			break;
		if (uidset_add(&b->uids, uid) < 0)
			return -ENOMEM;
	}
	return !uidset_is_empty(&b->uids);
}

static int copy_row(void *ctx, const struct mail_row *row)
{
	struct row_batch *b = ctx;
	const struct keyword_set *k = &row->keywords;

	if (b->count == ROWS_BATCH_MAX)
		return 0;
	b->rows[b->count++] = *row;
	if (k->n_words == 0)
		return 0;
	return buf_append(&b->words, k->words, k->n_words * sizeof(*k->words));
}

int row_batch_fill(struct row_batch *b, struct mailbox *box, bool with_expunged)
{
	uint64_t *words;
	int ret;

	b->count = 0;
	buf_reset(&b->words);
	ret = mailbox_rows(box, &b->uids, with_expunged, copy_row, b);
	if (ret != 0)
		return ret;
	/* Only now does the buffer stand still. */
	words = (uint64_t *)(void *)b->words.data;
	for (size_t i = 0; i < b->count; i++) {
		struct keyword_set *k = &b->rows[i].keywords;

		k->words = k->n_words > 0 ? words : NULL;
		if (k->n_words > 0)
			words += k->n_words;
	}
	return 0;
}

const struct mail_row *row_batch_find(const struct row_batch *b, uint32_t uid)
{
	size_t low = 0, high = b->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (b->rows[mid].uid < uid)
			low = mid + 1;
		else
			high = mid;
	}
	return low < b->count && b->rows[low].uid == uid ? &b->rows[low] : NULL;
}
