/* SPDX-License-Identifier: MIT */
#ifndef IMAP_DECODE_H
#define IMAP_DECODE_H
/* From the bytes of a message to its text: transfer encodings (RFC 2045 6.7
 * and 6.8) and encoded words (RFC 2047), in pieces of any size, in constant
 * memory, and never failing: what is broken comes out as it may have been
 * meant, or as it stands there. Charsets are charset.h's business. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "imap/charset.h"

/* ---- bodies ---- */
enum transfer_kind { TRANSFER_NONE, TRANSFER_BASE64, TRANSFER_QP };
struct transfer_decoder {
	enum transfer_kind kind;
	struct charset_decoder *to;
	uint32_t bits;
	uint8_t n_bits;
	char held[72];		/* QP: "=" and what follows it; blanks, which may end the line */
	uint8_t n_held;
};
/* encoding: Content-Transfer-Encoding's value, NULL as "7BIT"; one that is not
 * known leaves the bytes as they are. */
void transfer_begin(struct transfer_decoder *t, const char *encoding,
		    struct charset_decoder *to);
void transfer_feed(struct transfer_decoder *t, const void *data, size_t len);
/* The body ends; so does the text of to. */
void transfer_end(struct transfer_decoder *t);

/* ---- header fields ---- */
/* Longer ones than RFC 2047 2 allows (75) are common; longer than this, it is
 * text that looks like one. */
#define ENCODED_WORD_MAX	512
struct words_decoder {
	struct text_out *out;
	bool fold;
	struct charset_decoder plain, coded;
	enum { WORDS_TEXT, WORDS_LINE, WORDS_SPACE, WORDS_WORD } phase;
	bool after_word;	/* the blanks held stand behind a word */
	uint8_t marks;		/* "?" of the word so far */
	size_t n_blanks, n_word;
	char blanks[64];
	char word[ENCODED_WORD_MAX];
};
/* A field's value, or whole fields with their names: as they stand in the
 * message (folded, RFC 5322 2.2.3) or in an ENVELOPE. Comes out unfolded, a
 * line end after each field but the last. */
void words_begin(struct words_decoder *w, bool fold, struct text_out *out);
void words_feed(struct words_decoder *w, const void *data, size_t len);
void words_end(struct words_decoder *w);
#endif
