/* SPDX-License-Identifier: MIT */
/* Messages, and the blob of a structure. The first byte says which. What comes
 * of a message must not depend on how its bytes are cut, must be text that a
 * client can follow, and must survive being packed. Of a blob nothing is
 * expected but that it is refused, or is a message that can be packed again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "imap/message-parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In pieces of n. */
static struct message *parse(struct arena *arena, const struct buf *text, size_t n)
{
	struct message_parser *p = message_parser_create(arena);
	struct message *m;

	if (p == NULL)
		abort();
	for (size_t i = 0; i < text->len; i += n)
		message_parser_feed(p, text->data + i, text->len - i < n ? text->len - i : n);
	if (message_parser_finish(&p, &m) != 0)
		abort();
	return m;
}

static void structure_text(const struct message *m, struct buf *out)
{
	buf_init(out, SIZE_MAX);
	message_structure_write(m, true, out);
	if (!message_text_valid(out->data, out->len))
		abort();
}

static void must_be_equal(const struct message *a, const struct message *b)
{
	struct buf x, y;

	structure_text(a, &x);
	structure_text(b, &y);
	if (x.len != y.len || memcmp(x.data, y.data, x.len) != 0)
		abort();
	buf_deinit(&x);
	buf_deinit(&y);
}

static void must_lie_inside(const struct message_part *p, uint64_t at, uint64_t end)
{
	if (p->header_at < at || p->body_at != p->header_at + p->header_len ||
	    p->body_at > end || p->body_len > end - p->body_at)
		abort();
	at = p->body_at;
	for (const struct message_part *c = p->children; c != NULL; c = c->next) {
		must_lie_inside(c, at, p->body_at + p->body_len);
		at = c->body_at + c->body_len;
	}
}

static void must_survive_packing(const struct message *m, struct arena *arena)
{
	struct message *back;
	struct buf blob;
	int ret;

	buf_init(&blob, SIZE_MAX);
	ret = message_pack(m, &blob);
	if (ret == 0) {
		if (message_unpack(blob.data, blob.len, arena, &back) != 0)
			abort();
		must_be_equal(m, back);
	}
	buf_deinit(&blob);
}

static void one_message(const uint8_t *data, size_t size)
{
	struct arena *arena = arena_create();
	struct message *m, *other;
	struct buf text;

	buf_init(&text, SIZE_MAX);
	for (size_t i = 0; i < size; i++) {
		if (data[i] == '\n' && (i == 0 || data[i - 1] != '\r'))
			buf_append_u8(&text, '\r');
		buf_append_u8(&text, data[i]);
	}
	m = parse(arena, &text, SIZE_MAX);
	if (m->root->body_at + m->root->body_len != text.len ||
	    !message_text_valid(m->envelope, strlen(m->envelope)))
		abort();
	must_lie_inside(m->root, 0, text.len);
	for (size_t n = 1; n < 4; n++) {
		other = parse(arena, &text, n);
		must_be_equal(m, other);
		if (strcmp(m->envelope, other->envelope) != 0)
			abort();
	}
	must_survive_packing(m, arena);
	buf_deinit(&text);
	arena_destroy(&arena);
}

static void one_blob(const uint8_t *data, size_t size)
{
	struct arena *arena = arena_create();
	struct message *m;

	if (message_unpack(data, size, arena, &m) == 0) {
		must_lie_inside(m->root, 0, UINT64_MAX / 4);
		must_survive_packing(m, arena);
	}
	arena_destroy(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] == 'B')
		one_blob(data + 1, size - 1);
	else if (data[0] == 'T')
		message_text_valid(data + 1, size - 1);
	else
		one_message(data + 1, size - 1);
	return 0;
}
