/* SPDX-License-Identifier: MIT */
/* Messages are asked some at a time: the cached envelopes of all of them in
 * one go, then, for each that is still undecided, its envelope made, its
 * header read, its parts decoded; each step only if a key needs it. Nothing
 * is kept of a message, however large it is, but its structure. */
#include "imap/search.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "imap/command.h"
#include "imap/message.h"
#include "imap/rows.h"
#include "lib/log.h"

#define READ_BYTES	16384
#define HEADER_BYTES	4096	/* most headers end before */

struct texts {
	struct search *q;
	struct mailbox *box;
	struct row_batch batch;
	uint8_t *answers;		/* n_texts for each row of the batch, and if its
					 * ENVELOPE was asked */
	struct arena *arena;		/* of message */
	struct message *message;	/* the one that is asked, if it was read already */
	bool gone, cached;
	bool with_body;			/* what is fed is of a body, not of a header */
	struct text_out out;
	struct header_scan header;
	uint8_t data[READ_BYTES];
};

static uint8_t *answers_of(struct texts *t, const struct mail_row *row)
{
	return t->answers + (size_t)(row - t->batch.rows) * (t->q->n_texts + 1);
}

/* A message that is gone or cannot be read does not match, and does not keep
 * others from matching. */
static int cannot_read(struct texts *t, uint32_t uid, int error)
{
	const struct session *s = t->q->cmd->session;

	if (error == MAILBOX_E_EXPUNGED) {
		t->gone = true;
		return 0;
	}
	if (error == -ENOMEM || error == -EMFILE || error == -ENFILE ||
	    error == MAILBOX_E_GONE || error == MAILBOX_E_VALIDITY || error == MAILBOX_E_BUSY)
		return error;
	log_warn("search", "id=%016llx user=%s mailbox=%s uid=%u not searched: %s",
		 (unsigned long long)s->ticket.sid, log_str(s->ticket.user),
		 log_str(mailbox_name(t->box)), uid,
		 error > 0 ? mailbox_strerror(error) : strerror(-error));
	return 0;
}

/* ---- envelope ---- */

static int cached_envelope(void *ctx, uint32_t uid, const void *data, size_t len)
{
	struct texts *t = ctx;
	const struct mail_row *row = row_batch_find(&t->batch, uid);
	uint8_t told;

	len = message_cached_envelope(data, len, &told);
	if (row != NULL && len > 0 && search_envelope(t->q, data, len, told, answers_of(t, row)))
		answers_of(t, row)[t->q->n_texts] = SEARCH_YES;
	return 0;
}

/* It is not cached: read for it, and kept for the next time. */
static int read_message(struct texts *t, uint32_t uid)
{
	struct mail_reader *r = NULL;
	int ret = mailbox_read_open(t->box, uid, &r);

	if (ret != 0)
		return ret;
	arena_reset(t->arena);
	ret = message_read(r, t->arena, &t->message);
	mail_reader_close(&r);
	if (ret != 0)
		return ret;
	message_keep(t->box, uid, t->message);
	t->cached = true;
	return 0;
}

static int ask_envelope(struct texts *t, uint32_t uid, uint8_t *answers)
{
	const char *text;
	int ret;

	if (answers[t->q->n_texts] == SEARCH_YES)
		return 0;
	ret = read_message(t, uid);
	if (ret != 0)
		return ret;
	text = t->message->envelope;
	(void)search_envelope(t->q, text, strlen(text), t->message->told, answers);
	return 0;
}

/* ---- header ---- */

static int ask_header(struct texts *t, uint32_t uid, uint8_t *answers)
{
	struct mail_reader *r = NULL;
	uint64_t at = 0;
	long n = 0;
	int ret = mailbox_read_open(t->box, uid, &r);

	if (ret != 0)
		return ret;
	header_scan_begin(&t->header, t->q, answers);
	while ((n = mail_reader_read(r, at, t->data, HEADER_BYTES)) > 0) {
		if (!header_scan_feed(&t->header, t->data, (size_t)n))
			break;
		at += (uint64_t)n;
	}
	header_scan_end(&t->header);
	mail_reader_close(&r);
	return n < 0 ? (int)n : 0;
}

/* ---- all of the message ---- */

static bool of_body(const struct search_key *k)
{
	return k->type == KEY_BODY || k->type == KEY_TEXT;
}

static void to_keys(void *ctx, const void *data, size_t len)
{
	struct texts *t = ctx;

	for (struct search_key *k = t->q->texts; k != NULL; k = k->next_text) {
		if (k->type == KEY_TEXT || (k->type == KEY_BODY && t->with_body))
			text_match_feed(&k->match, data, len);
	}
}

/* Is there a key that more text could make true? */
static bool wants_more(const struct texts *t, bool body)
{
	for (const struct search_key *k = t->q->texts; k != NULL; k = k->next_text) {
		if ((k->type == KEY_TEXT || (k->type == KEY_BODY && body)) && !k->match.found)
			return true;
	}
	return false;
}

static void part_over(struct texts *t)
{
	text_out_flush(&t->out);
	for (struct search_key *k = t->q->texts; k != NULL; k = k->next_text) {
		if (of_body(k))
			text_match_break(&k->match);
	}
}

/* Hands out len bytes from at on; stops when nobody wants more. */
static int read_range(struct texts *t, struct mail_reader *r, uint64_t at, uint64_t len,
		      void (*feed)(void *to, const void *data, size_t len), void *to)
{
	while (len > 0 && wants_more(t, t->with_body)) {
		long n = mail_reader_read(r, at, t->data,
					  len < sizeof(t->data) ? (size_t)len : sizeof(t->data));

		if (n <= 0)
			return (int)n;
		feed(to, t->data, (size_t)n);
		at += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

static void feed_words(void *to, const void *data, size_t len)
{
	words_feed(to, data, len);
}

static void feed_transfer(void *to, const void *data, size_t len)
{
	transfer_feed(to, data, len);
}

/* "Name: value" lines, decoded. RFC 9051 6.4.4: MIME headers too. */
static int ask_part_header(struct texts *t, struct mail_reader *r, const struct message_part *part)
{
	struct words_decoder *w = &t->header.words;
	int ret;

	t->with_body = false;
	text_out_init(&t->out, to_keys, t);
	words_begin(w, true, &t->out);
	ret = read_range(t, r, part->header_at, part->header_len, feed_words, w);
	words_end(w);
	part_over(t);
	return ret;
}

static const struct charset *part_charset(const struct message_part *part)
{
	const struct charset *charset = NULL;

	for (const struct message_param *p = part->params; p != NULL; p = p->next) {
		if (strcasecmp(p->name, "charset") == 0 && p->value != NULL) {
			charset = charset_find(p->value, strlen(p->value));
			break;
		}
	}
	return charset != NULL ? charset : charset_bytes;
}

/* RFC 3501 6.4.4: other media types than text and message may be left out. */
static bool part_is_text(const struct message_part *part)
{
	return part->children == NULL && !part->multipart &&
		(strcasecmp(part->type, "TEXT") == 0 || strcasecmp(part->type, "MESSAGE") == 0);
}

static int ask_part_body(struct texts *t, struct mail_reader *r, const struct message_part *part)
{
	struct charset_decoder text;
	struct transfer_decoder transfer;
	int ret;

	t->with_body = true;
	text_out_init(&t->out, to_keys, t);
	charset_begin(&text, part_charset(part), true, &t->out);
	transfer_begin(&transfer, part->encoding, &text);
	ret = read_range(t, r, part->body_at, part->body_len, feed_transfer, &transfer);
	transfer_end(&transfer);
	part_over(t);
	return ret;
}

/* The next one in the order of the text, of any depth, without a stack. */
static const struct message_part *part_after(const struct message_part *part)
{
	if (part->children != NULL)
		return part->children;
	while (part != NULL && part->next == NULL)
		part = part->parent;
	return part != NULL ? part->next : NULL;
}

static int ask_parts(struct texts *t, struct mail_reader *r, const struct message *m)
{
	int ret = 0;

	for (const struct message_part *part = m->root; part != NULL && ret == 0;
	     part = part_after(part)) {
		if (wants_more(t, false))
			ret = ask_part_header(t, r, part);
		if (ret == 0 && part_is_text(part) && wants_more(t, true))
			ret = ask_part_body(t, r, part);
	}
	return ret;
}

static int ask_body(struct texts *t, uint32_t uid, uint8_t *answers)
{
	struct mail_reader *r = NULL;
	int ret = 0;

	if (t->message == NULL) {
		arena_reset(t->arena);
		ret = message_get(t->box, uid, t->arena, &t->message);
		t->cached = true;
	}
	if (ret == 0)
		ret = mailbox_read_open(t->box, uid, &r);
	if (ret != 0)
		return ret;
	for (struct search_key *k = t->q->texts; k != NULL; k = k->next_text) {
		if (of_body(k))
			text_match_begin(&k->match, &k->needle);
	}
	ret = ask_parts(t, r, t->message);
	mail_reader_close(&r);
	for (struct search_key *k = t->q->texts; k != NULL && ret == 0; k = k->next_text) {
		if (of_body(k))
			answers[k->number] = k->match.found ? SEARCH_YES : SEARCH_NO;
	}
	return ret;
}

/* ---- messages ---- */

static int ask_message(struct texts *t, const struct mail_row *row, uint8_t *answers)
{
	const struct search *q = t->q;
	struct {
		bool needed;
		int (*ask)(struct texts *t, uint32_t uid, uint8_t *answers);
	} steps[] = {
		{ q->uses_envelope, ask_envelope },
		{ q->uses_header, ask_header },
		{ q->uses_body, ask_body },
	};

	t->message = NULL;
	for (size_t i = 0; i < 3 && search_ask(q, row, answers) == SEARCH_UNKNOWN; i++) {
		int ret = 0;

		if (row->expunged)
			ret = MAILBOX_E_EXPUNGED;
		else if (steps[i].needed)
			ret = steps[i].ask(t, row->uid, answers);
		if (ret != 0)
			return cannot_read(t, row->uid, ret);
	}
	return 0;
}

/* Rows as the keys need them: what they name is enough for most. */
static int fill_rows(struct texts *t)
{
	struct row_batch *b = &t->batch;
	struct uidset_iter it;
	int ret = 0;

	if (t->q->uses_rows)
		ret = row_batch_fill(b, t->box, true);
	else
		for (uint32_t uid = uidset_first(&b->uids, &it); uid != 0;
		     uid = uidset_next(&b->uids, &it))
			b->rows[b->count++] = (struct mail_row){ .uid = uid };
	t->gone |= b->count < uidset_count(&b->uids);
	memset(t->answers, SEARCH_UNKNOWN, b->count * (t->q->n_texts + 1));
	return ret;
}

static int ask_batch(struct texts *t, int (*found)(void *ctx, const struct mail_row *row),
		     void *ctx)
{
	int ret = fill_rows(t);

	if (ret == 0 && t->q->uses_envelope)
		ret = mailbox_cache_rows(t->box, &t->batch.uids, MAIL_CACHE_ENVELOPE,
					 cached_envelope, t);
	for (size_t i = 0; i < t->batch.count && ret == 0; i++) {
		const struct mail_row *row = &t->batch.rows[i];

		ret = ask_message(t, row, answers_of(t, row));
		if (ret == 0 && search_ask(t->q, row, answers_of(t, row)) == SEARCH_YES)
			ret = found(ctx, row);
	}
	return ret;
}

int search_texts(struct search *q, const struct uidset *uids,
		 int (*found)(void *ctx, const struct mail_row *row), void *ctx, bool *gone_r)
{
	struct session *s = q->cmd->session;
	struct texts *t = arena_alloc(s->arena, sizeof(*t));
	int ret;

	t->q = q;
	t->box = s->box;
	t->answers = arena_alloc(s->arena, ROWS_BATCH_MAX * (q->n_texts + 1));
	t->arena = arena_create();
	row_batch_init(&t->batch);
	while ((ret = row_batch_next(&t->batch, uids)) > 0) {
		ret = ask_batch(t, found, ctx);
		if (ret != 0)
			break;
	}
	row_batch_deinit(&t->batch);
	arena_destroy(&t->arena);
	if (t->cached)
		(void)mailbox_cache_flush(s->box);
	*gone_r |= t->gone;
	return ret;
}
