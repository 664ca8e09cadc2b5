/* SPDX-License-Identifier: MIT */
#ifndef IMAP_TEXT_MATCH_H
#define IMAP_TEXT_MATCH_H
/* Finding folded text in folded text that comes in pieces (Knuth, Morris and
 * Pratt: each byte is looked at as it comes, none is kept). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
struct arena;
struct charset;

struct text_needle {
	const uint8_t *bytes;
	size_t len;
	uint32_t *back;		/* after a mismatch at i, go on at back[i] */
};
/* text, in charset, decoded and folded. False: it is no text of that charset
 * (never with charset_bytes). Memory is the arena's. */
bool text_needle_init(struct text_needle *n, struct arena *arena, const struct charset *charset,
		      const char *text, size_t len);

struct text_match {
	const struct text_needle *needle;
	size_t at;
	bool found;
};
/* An empty needle is found at once. */
void text_match_begin(struct text_match *m, const struct text_needle *n);
void text_match_feed(struct text_match *m, const void *data, size_t len);
/* Nothing is found across this point. */
void text_match_break(struct text_match *m);
#endif
