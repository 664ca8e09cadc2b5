/* SPDX-License-Identifier: MIT */
#ifndef TESTS_DECODE_DRIVE_H
#define TESTS_DECODE_DRIVE_H
/* Leads bytes through the decoders in pieces of `cut` bytes (0: in one), each
 * in a block of its own that is gone afterwards, and gathers what came out. */
#include <stdlib.h>
#include <string.h>

#include "imap/decode.h"
#include "lib/buf.h"

enum drive_kind { DRIVE_CHARSET, DRIVE_BASE64, DRIVE_QP, DRIVE_WORDS };
struct drive {
	enum drive_kind kind;
	const char *charset;	/* NULL: bytes */
	bool fold;
	size_t cut;
};
struct drive_ends {
	struct text_out out;
	struct charset_decoder text;
	struct transfer_decoder transfer;
	struct words_decoder words;
};

static inline void drive_gather(void *ctx, const void *data, size_t len)
{
	(void)buf_append(ctx, data, len);
}

static inline void drive_piece(const struct drive *d, struct drive_ends *e, const uint8_t *data,
			       size_t len)
{
	uint8_t *piece = malloc(len > 0 ? len : 1);

	if (piece == NULL)
		abort();
	memcpy(piece, data, len);
	if (d->kind == DRIVE_WORDS)
		words_feed(&e->words, piece, len);
	else if (d->kind == DRIVE_CHARSET)
		charset_feed(&e->text, piece, len);
	else
		transfer_feed(&e->transfer, piece, len);
	free(piece);
}

static inline void drive_decode(const struct drive *d, const void *data, size_t len,
				struct buf *out)
{
	const struct charset *charset = d->charset != NULL ?
		charset_find(d->charset, strlen(d->charset)) : charset_bytes;
	struct drive_ends *e = malloc(sizeof(*e));
	const uint8_t *p = data;

	if (e == NULL || charset == NULL)
		abort();
	text_out_init(&e->out, drive_gather, out);
	charset_begin(&e->text, charset, d->fold, &e->out);
	transfer_begin(&e->transfer, d->kind == DRIVE_QP ? "Quoted-Printable" : "BASE64",
		       &e->text);
	words_begin(&e->words, d->fold, &e->out);
	while (len > 0) {
		size_t n = d->cut > 0 && d->cut < len ? d->cut : len;

		drive_piece(d, e, p, n);
		p += n;
		len -= n;
	}
	if (d->kind == DRIVE_WORDS)
		words_end(&e->words);
	else if (d->kind == DRIVE_CHARSET)
		charset_end(&e->text);
	else
		transfer_end(&e->transfer);
	text_out_flush(&e->out);
	free(e);
}
#endif
