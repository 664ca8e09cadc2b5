/* SPDX-License-Identifier: MIT */
#ifndef IMAP_CHARSET_H
#define IMAP_CHARSET_H
/* Text of any charset to UTF-8, in pieces of any size, and folded for
 * comparing. Constant memory, no files, no modules: see charset-tables.py.
 *
 * Folding is what RFC 5051 (i;unicode-casemap) describes: each character in
 * title case, then decomposed (compatibly, without reordering marks). So
 * "Grüße" is found by "GRÜ", in either spelling of the u, and by "gru", but
 * not by "GRÜSSE". */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where decoded text goes, a block at a time. */
struct text_out {
	void (*write)(void *ctx, const void *data, size_t len);
	void *ctx;
	size_t len;
	uint8_t data[1024];
};
void text_out_init(struct text_out *o, void (*write)(void *ctx, const void *data, size_t len),
		   void *ctx);
void text_out_flush(struct text_out *o);

struct charset;
/* NULL: not known. Case does not matter; RFC 2231's "*language" is left out. */
const struct charset *charset_find(const char *name, size_t len);
/* UTF-8 where it is that, other bytes as they are: for text of no charset or
 * of one that nobody knows. */
extern const struct charset *const charset_bytes;

struct charset_decoder {
	const struct charset *charset;
	struct text_out *out;
	bool fold, strict;
	bool invalid;		/* something was no text of this charset */
	uint8_t pending[8];	/* the beginning of a character */
	uint8_t n_pending;
	uint8_t mode;		/* shift state; byte order */
	uint16_t high;		/* surrogate that waits for the other one */
	uint32_t bits;		/* UTF-7 */
	uint8_t n_bits;
};
void charset_begin(struct charset_decoder *d, const struct charset *charset, bool fold,
		   struct text_out *out);
/* What is no character comes out as U+FFFD; of charset_bytes, as it is. */
void charset_feed(struct charset_decoder *d, const void *data, size_t len);
/* The text ends here: half a character is none. Does not flush. */
void charset_end(struct charset_decoder *d);
/* One character as it is compared. */
void charset_put(struct text_out *o, bool fold, uint32_t c);
#endif
