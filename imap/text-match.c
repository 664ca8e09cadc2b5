/* SPDX-License-Identifier: MIT */
#include "imap/text-match.h"

#include <string.h>

#include "imap/charset.h"
#include "lib/arena.h"
#include "lib/buf.h"

static void to_buf(void *ctx, const void *data, size_t len)
{
	(void)buf_append(ctx, data, len);
}

static uint32_t *back_table(struct arena *arena, const uint8_t *bytes, size_t len)
{
	uint32_t *back = arena_alloc(arena, (len + 1) * sizeof(*back));
	uint32_t k = 0;

	for (size_t i = 1; i < len; i++) {
		while (k > 0 && bytes[i] != bytes[k])
			k = back[k];
		k += bytes[i] == bytes[k];
		back[i + 1] = k;
	}
	return back;
}

bool text_needle_init(struct text_needle *n, struct arena *arena, const struct charset *charset,
		      const char *text, size_t len)
{
	struct charset_decoder d;
	struct text_out out;
	struct buf folded;
	bool good;

	buf_init(&folded, UINT32_MAX / 8);
	text_out_init(&out, to_buf, &folded);
	charset_begin(&d, charset, true, &out);
	charset_feed(&d, text, len);
	charset_end(&d);
	text_out_flush(&out);
	good = !folded.failed && (!d.invalid || charset == charset_bytes);
	n->len = folded.len;
	n->bytes = arena_memdup(arena, folded.len > 0 ? folded.data : (const uint8_t *)"",
				folded.len);
	n->back = back_table(arena, n->bytes, n->len);
	buf_deinit(&folded);
	return good;
}

void text_match_begin(struct text_match *m, const struct text_needle *n)
{
	m->needle = n;
	m->at = 0;
	m->found = n->len == 0;
}

void text_match_break(struct text_match *m)
{
	m->at = 0;
}

void text_match_feed(struct text_match *m, const void *data, size_t len)
{
	const struct text_needle *n = m->needle;
	const uint8_t *p = data, *end = p + len;
	size_t at = m->at;

	if (m->found)
		return;
	while (p < end) {
		if (at == 0) {
			p = memchr(p, n->bytes[0], (size_t)(end - p));
			if (p == NULL)
				break;
		}
		while (at > 0 && *p != n->bytes[at])
			at = n->back[at];
		at += *p == n->bytes[at];
		p++;
		if (at == n->len) {
			m->found = true;
			break;
		}
	}
	m->at = at;
}
