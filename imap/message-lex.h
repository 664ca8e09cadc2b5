/* SPDX-License-Identifier: MIT */
#ifndef IMAP_MESSAGE_LEX_H
#define IMAP_MESSAGE_LEX_H
/* Words of a header field's value (RFC 5322 3.2, RFC 2045 5.1): the value as it
 * came, folds and all. Cannot pass the end. A NUL comes out as U+FFFD: what is
 * made of these words are C strings and IMAP strings, which have none. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

struct lex {
	const uint8_t *data;
	size_t len, pos;
};
static inline void lex_init(struct lex *l, const uint8_t *data, size_t len)
{
	*l = (struct lex){ .data = data, .len = len };
}
/* The next byte, or -1. */
static inline int lex_peek(const struct lex *l)
{
	return l->pos < l->len ? l->data[l->pos] : -1;
}
/* Takes the next byte if it is c. */
bool lex_take(struct lex *l, uint8_t c);
/* White space, line ends and comments (CFWS). comment, if not NULL, becomes the content of
 * the last one met; without one it stays. False: a comment does not end. */
bool lex_skip(struct lex *l, struct buf *comment);
/* Each appends to out and says if it found at least one byte of it. */
bool lex_atom(struct lex *l, struct buf *out);		/* atext and 8-bit */
bool lex_dot_atom(struct lex *l, struct buf *out);	/* and dots, anywhere */
bool lex_token(struct lex *l, struct buf *out);		/* RFC 2045, and 8-bit */
bool lex_value(struct lex *l, struct buf *out);		/* and "=" and "?", as bare encoded words have */
/* At a quote: the content without quotes, escapes and line ends. False: it does not end. */
bool lex_quoted(struct lex *l, struct buf *out);
/* At "[": a domain literal with its brackets. False: it does not end. */
bool lex_literal(struct lex *l, struct buf *out);
/* Up to the next semicolon outside of quotes. */
void lex_to_semicolon(struct lex *l);
/* Text of an unstructured field, without blanks at its ends. collapse: each run of
 * blanks and line ends becomes one space; else line ends go. */
void lex_text(const uint8_t *data, size_t len, bool collapse, struct buf *out);
#endif
