/* SPDX-License-Identifier: MIT */
/* ENVELOPE and structure for FETCH. The cache is asked once for a batch of
 * messages, and what it says copied: while a slow client reads the answer, no
 * statement of the index may be open. A message of which something is missing is
 * read, once for all items, and cached. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "imap/fetch.h"

/* Of one kind, of a batch: what does not fit is asked for one by one. */
#define CACHED_MAX_BYTES	(1024 * 1024)

struct cached {
	uint32_t uid;
	size_t at, len;
};
struct cached_kind {
	struct cached rows[ROWS_BATCH_MAX];	/* ascending */
	size_t n;
	struct buf data;
};
struct fetch_structures {
	struct mailbox *box;
	struct cached_kind kinds[MAIL_CACHE_COUNT];
	/* the message in hand */
	uint32_t uid;
	struct arena *arena;
	struct message *unpacked;	/* from the cache: without envelope */
	struct message *read;
};

struct fetch_structures *fetch_structures_create(struct mailbox *box)
{
	struct fetch_structures *st = calloc(1, sizeof(*st));

	if (st == NULL)
		return NULL;
	st->box = box;
	st->arena = arena_create();
	for (size_t i = 0; i < MAIL_CACHE_COUNT; i++)
		buf_init(&st->kinds[i].data, CACHED_MAX_BYTES);
	return st;
}

void fetch_structures_destroy(struct fetch_structures **stp)
{
	struct fetch_structures *st = *stp;

	if (st == NULL)
		return;
	for (size_t i = 0; i < MAIL_CACHE_COUNT; i++)
		buf_deinit(&st->kinds[i].data);
	arena_destroy(&st->arena);
	free(st);
	*stp = NULL;
}

/* ---- the cache ---- */

static int copy_cached(void *ctx, uint32_t uid, const void *data, size_t len)
{
	struct cached_kind *k = ctx;
	size_t at = k->data.len;

	if (k->n < ROWS_BATCH_MAX && buf_append(&k->data, data, len) == 0)
		k->rows[k->n++] = (struct cached){ .uid = uid, .at = at, .len = len };
	return 0;
}

static void kind_fill(struct fetch_structures *st, enum mail_cache what, const struct uidset *uids)
{
	struct cached_kind *k = &st->kinds[what];

	k->n = 0;
	buf_reset(&k->data);
	/* A cache that fails is an empty one. */
	if (uids != NULL && mailbox_cache_rows(st->box, uids, what, copy_cached, k) != 0)
		k->n = 0;
}

void fetch_structures_batch(struct fetch_structures *st, const struct uidset *uids, bool envelopes,
			    bool structures)
{
	st->uid = 0;
	kind_fill(st, MAIL_CACHE_ENVELOPE, envelopes ? uids : NULL);
	kind_fill(st, MAIL_CACHE_STRUCTURE, structures ? uids : NULL);
}

static int compare_uid(const void *key, const void *row)
{
	uint32_t a = *(const uint32_t *)key, b = ((const struct cached *)row)->uid;

	return a < b ? -1 : a > b;
}

/* NULL: not cached. */
static const uint8_t *cached_find(struct fetch_structures *st, enum mail_cache what, uint32_t uid,
				  size_t *len_r)
{
	const struct cached_kind *k = &st->kinds[what];
	const struct cached *c = bsearch(&uid, k->rows, k->n, sizeof(k->rows[0]), compare_uid);

	if (c == NULL)
		return NULL;
	*len_r = c->len;
	return k->data.data + c->at;
}

/* ---- the message in hand ---- */

static void take_in_hand(struct fetch_structures *st, uint32_t uid)
{
	if (st->uid == uid)
		return;
	st->uid = uid;
	st->unpacked = st->read = NULL;
	arena_reset(st->arena);
}

static int read_message(struct fetch_structures *st, uint32_t uid, struct mail_reader **r)
{
	int ret = 0;

	take_in_hand(st, uid);
	if (st->read != NULL)
		return 0;
	if (r == NULL)
		return MAILBOX_E_EXPUNGED;
	if (*r == NULL)
		ret = mailbox_read_open(st->box, uid, r);
	if (ret == 0)
		ret = message_read(*r, st->arena, &st->read);
	if (ret == 0)
		message_keep(st->box, uid, st->read);
	return ret;
}

static struct message *unpack_cached(struct fetch_structures *st, uint32_t uid)
{
	const uint8_t *data;
	size_t len;

	take_in_hand(st, uid);
	if (st->unpacked != NULL)
		return st->unpacked;
	data = cached_find(st, MAIL_CACHE_STRUCTURE, uid, &len);
	if (data == NULL || message_unpack(data, len, st->arena, &st->unpacked) != 0)
		st->unpacked = NULL;
	return st->unpacked;
}

int fetch_structures_envelope(struct fetch_structures *st, uint32_t uid, struct mail_reader **r,
			      struct buf *out)
{
	size_t len = 0;
	const uint8_t *data = cached_find(st, MAIL_CACHE_ENVELOPE, uid, &len);
	uint8_t told;
	int ret;

	len = data != NULL ? message_cached_envelope(data, len, &told) : 0;
	if (len > 0) {
		buf_append(out, data, len);
		return 0;
	}
	ret = read_message(st, uid, r);
	if (ret == 0)
		buf_append_str(out, st->read->envelope);
	return ret;
}

int fetch_structures_write(struct fetch_structures *st, uint32_t uid, struct mail_reader **r,
			   bool extended, struct buf *out)
{
	size_t len = 0;
	const uint8_t *data = cached_find(st, MAIL_CACHE_STRUCTURE, uid, &len);
	const char *text = data != NULL && extended ?
		message_packed_structure(data, len, &len) : NULL;
	struct message *m;
	int ret;

	if (text != NULL) {
		buf_append(out, text, len);
		return 0;
	}
	m = unpack_cached(st, uid);
	if (m == NULL) {
		ret = read_message(st, uid, r);
		if (ret != 0)
			return ret;
		m = st->read;
	}
	message_structure_write(m, extended, out);
	return 0;
}

int fetch_structures_message(struct fetch_structures *st, uint32_t uid, struct mail_reader **r,
			     const struct message **m_r)
{
	struct message *m = unpack_cached(st, uid);
	uint64_t header, total;
	int ret = 0;

	if (*r == NULL)
		ret = mailbox_read_open(st->box, uid, r);
	if (ret == 0 && m != NULL)
		ret = mail_reader_sizes(*r, &header, &total);
	if (ret != 0)
		return ret;
	if (m == NULL || m->root->header_len != header || m->root->body_len != total - header) {
		ret = read_message(st, uid, r);
		m = st->read;
	}
	if (ret == 0)
		*m_r = m;
	return ret;
}
