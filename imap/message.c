/* SPDX-License-Identifier: MIT */
/* A message's structure by its UID: from the cache, else by reading it. What is
 * cached is checked, and what is odd counts as not there: the index is no place
 * to trust blindly, and reading is always possible. */
#include "imap/message.h"

#include <errno.h>
#include <string.h>

#include "imap/mailbox.h"
#include "imap/message-parse.h"
#include "lib/uidset.h"

/* ---- reading ---- */

int message_read(struct mail_reader *r, struct arena *arena, struct message **m_r)
{
	struct message_parser *p = message_parser_create(arena);
	uint8_t data[16384];
	uint64_t at = 0;
	struct message *m;
	long n;
	int ret;

	if (p == NULL)
		return -ENOMEM;
	while ((n = mail_reader_read(r, at, data, sizeof(data))) > 0) {
		message_parser_feed(p, data, (size_t)n);
		at += (uint64_t)n;
	}
	if (n < 0) {
		message_parser_destroy(&p);
		return (int)n;
	}
	ret = message_parser_finish(&p, &m);
	if (ret != 0)
		return ret;
	mail_reader_learn(r, m->root->header_len, at);
	*m_r = m;
	return 0;
}

void message_keep(struct mailbox *box, uint32_t uid, const struct message *m)
{
	struct buf blob;

	buf_init(&blob, SIZE_MAX);
	buf_append_str(&blob, m->envelope);
	buf_append_u8(&blob, m->told);
	if (!blob.failed)
		mailbox_cache_put(box, uid, MAIL_CACHE_ENVELOPE, blob.data, blob.len);
	buf_reset(&blob);
	if (message_pack(m, &blob) == 0)
		mailbox_cache_put(box, uid, MAIL_CACHE_STRUCTURE, blob.data, blob.len);
	buf_deinit(&blob);
}

size_t message_cached_envelope(const void *data, size_t len, uint8_t *told_r)
{
	*told_r = 0;
	if (message_text_valid(data, len))
		return len;
	if (len == 0 || !message_text_valid(data, len - 1))
		return 0;
	*told_r = ((const uint8_t *)data)[len - 1];
	return len - 1;
}

static int read_and_keep(struct mailbox *box, uint32_t uid, struct arena *arena,
			 struct message **m_r)
{
	struct mail_reader *r;
	int ret = mailbox_read_open(box, uid, &r);

	if (ret != 0)
		return ret;
	ret = message_read(r, arena, m_r);
	mail_reader_close(&r);
	if (ret == 0)
		message_keep(box, uid, *m_r);
	return ret;
}

/* ---- the cache ---- */

static int append_data(void *ctx, uint32_t uid, const void *data, size_t len)
{
	struct buf *out = ctx;

	return buf_append(out, data, len);
}

/* What is cached of one; nothing if anything is wrong. */
static void cache_get(struct mailbox *box, uint32_t uid, enum mail_cache what, struct buf *out)
{
	struct uidset one;

	uidset_init(&one);
	if (uidset_add(&one, uid) != 0 ||
	    mailbox_cache_rows(box, &one, what, append_data, out) != 0)
		buf_reset(out);
	uidset_deinit(&one);
}

int message_get(struct mailbox *box, uint32_t uid, struct arena *arena, struct message **m_r)
{
	struct buf blob;
	int ret;

	buf_init(&blob, SIZE_MAX);
	cache_get(box, uid, MAIL_CACHE_STRUCTURE, &blob);
	ret = message_unpack(blob.data, blob.len, arena, m_r);
	buf_deinit(&blob);
	return ret == 0 ? 0 : read_and_keep(box, uid, arena, m_r);
}

int message_envelope(struct mailbox *box, uint32_t uid, struct buf *out)
{
	struct arena *arena;
	struct message *m;
	struct buf text;
	uint8_t told;
	size_t len;
	int ret = 0;

	buf_init(&text, SIZE_MAX);
	cache_get(box, uid, MAIL_CACHE_ENVELOPE, &text);
	len = message_cached_envelope(text.data, text.len, &told);
	if (len > 0) {
		buf_append(out, text.data, len);
	} else {
		arena = arena_create();
		ret = read_and_keep(box, uid, arena, &m);
		if (ret == 0)
			buf_append_str(out, m->envelope);
		arena_destroy(&arena);
	}
	buf_deinit(&text);
	return ret != 0 ? ret : out->failed ? -ENOMEM : 0;
}

int message_bodystructure(struct mailbox *box, uint32_t uid, bool extended, struct buf *out)
{
	struct arena *arena = arena_create();
	struct message *m;
	int ret = message_get(box, uid, arena, &m);

	if (ret == 0)
		message_structure_write(m, extended, out);
	arena_destroy(&arena);
	return ret != 0 ? ret : out->failed ? -ENOMEM : 0;
}

/* ---- parts ---- */

/* Part n of a message that begins with this part: of a multipart one of its
 * children, else there is only 1, the body (RFC 3501 6.4.5). */
static const struct message_part *nth_of(const struct message_part *p, uint32_t n)
{
	if (!p->multipart)
		return n == 1 ? p : NULL;
	for (p = p->children; p != NULL && n > 1; n--)
		p = p->next;
	return n > 0 ? p : NULL;
}

const struct message_part *message_part_find(const struct message *m, const uint32_t *numbers,
					     size_t n)
{
	const struct message_part *p = m->root;

	for (size_t i = 0; i < n && p != NULL; i++) {
		if (i == 0 || p->multipart)
			p = nth_of(p, numbers[i]);
		else
			p = p->rfc822 ? nth_of(p->children, numbers[i]) : NULL;
	}
	return p;
}
