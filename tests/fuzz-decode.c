/* SPDX-License-Identifier: MIT */
/* Decoding what stands in messages. The first byte says how, the second in what
 * charset; the same must come out of any pieces. The rest is also a header, an
 * ENVELOPE, a date and what to look for. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "imap/charset-tables.h"
#include "imap/search.h"
#include "lib/arena.h"
#include "tests/decode-drive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(const struct drive *how, const uint8_t *data, size_t size)
{
	struct drive d = *how;
	struct buf whole, pieces;

	buf_init(&whole, SIZE_MAX);
	buf_init(&pieces, SIZE_MAX);
	drive_decode(&d, data, size, &whole);
	d.cut = 1 + size % 5;
	drive_decode(&d, data, size, &pieces);
	if (whole.len != pieces.len ||
	    (whole.len > 0 && memcmp(whole.data, pieces.data, whole.len) != 0))
		abort();
	buf_deinit(&whole);
	buf_deinit(&pieces);
}

static void header(struct search *q, const uint8_t *data, size_t size, size_t cut)
{
	struct header_scan *h = malloc(sizeof(*h));
	uint8_t answers[2] = { SEARCH_UNKNOWN, SEARCH_UNKNOWN };

	if (h == NULL)
		return;
	header_scan_begin(h, q, answers);
	while (size > 0) {
		size_t n = cut < size ? cut : size;

		if (!header_scan_feed(h, data, n))
			break;
		data += n;
		size -= n;
	}
	header_scan_end(h);
	if (answers[0] == SEARCH_UNKNOWN)
		abort();
	free(h);
}

static void search(const uint8_t *data, size_t size)
{
	struct arena *arena = arena_create();
	struct search_key *keys = arena_alloc(arena, 2 * sizeof(*keys));
	struct search q = { .texts = keys, .n_texts = 2 };
	uint8_t answers[2] = { SEARCH_UNKNOWN, SEARCH_UNKNOWN };
	size_t n = size / 8;
	int64_t day;

	keys[0].type = KEY_HEADER;
	keys[0].name = "Subject";
	keys[0].name_len = 7;
	keys[0].next_text = &keys[1];
	keys[1].type = KEY_ENVELOPE;
	keys[1].field = size % ENVELOPE_FIELDS;
	keys[1].number = 1;
	/* The end of the input, or nothing, is what is looked for. */
	(void)text_needle_init(&keys[0].needle, arena, charset_bytes, (const char *)data + size - n,
			       n);
	keys[1].needle = keys[0].needle;
	header(&q, data, size, SIZE_MAX);
	header(&q, data, size, 3);
	(void)search_envelope(&q, data, size, 0xff, answers);
	(void)search_sent_day((const char *)data, size, &day);
	arena_destroy(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *rest;

	if (size < 3)
		return 0;
	decode(&(struct drive){ .kind = data[0] % 4, .fold = (data[0] & 4) != 0,
				.charset = charsets[data[1] % n_charsets].name },
	       data + 2, size - 2);
	/* In a block of its own size. */
	rest = malloc(size - 2);
	if (rest == NULL)
		return 0;
	memcpy(rest, data + 2, size - 2);
	search(rest, size - 2);
	free(rest);
	return 0;
}
