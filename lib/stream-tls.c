/* SPDX-License-Identifier: MIT */
/* Input is opened in place, one record at a time; of the next one no byte is
 * taken from the socket before this one is used up. So what has to move with a
 * session is at most the beginning of one record, and what lies in the socket
 * stays there for whoever comes next. (One read for header and text each: a
 * system call more for a record, which costs less than what it saves in care.)
 *
 * What is sealed is spent and must be written, in this order and once: it
 * waits in `out`, and the state does not move before that is empty. */
#include "lib/stream-tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/cursor.h"
#include "lib/list.h"
#include "lib/stream-layer.h"

/* Behind a Finished a client may have sent as much as the handshake read. */
#define TLS_IN_MAX_BYTES	(256 * 1024)
/* Sealed and not written: above this nothing more is taken. */
#define TLS_OUT_HIGH_BYTES	(32 * 1024)
#define TLS_OUT_MAX_BYTES	(128 * 1024)
/* An empty buffer above this gives its memory back. */
#define TLS_KEEP_BYTES		(8 * 1024)

struct tls_layer {
	struct stream_layer l;
	struct tls_crypto *crypto;
	struct tls_record record;
	struct buf in;		/* [in_at, in.len): not opened, or opened and `used` */
	size_t in_at;
	size_t used;		/* bytes of the record that plain is in */
	const uint8_t *plain;	/* opened, not handed up yet */
	size_t plain_len;
	struct buf out;		/* [out_at, out.len): sealed, not written */
	size_t out_at;
	bool exported;		/* the state is another's */
};

static struct tls_layer *layer_of(struct stream_layer *l)
{
	return container_of(l, struct tls_layer, l);
}

static const struct tls_layer *layer_in(const struct stream_layer *l)
{
	return (const struct tls_layer *)((const char *)l - offsetof(struct tls_layer, l));
}

/* ---- output ---- */

static size_t out_len(const struct tls_layer *t)
{
	return t->out.len - t->out_at;
}

/* 0: nothing waits; 1: below is full; -errno. */
static int tls_pass(struct tls_layer *t)
{
	struct stream_layer *below = t->l.below;

	while (out_len(t) > 0) {
		long n = below->ops->write(below, t->out.data + t->out_at, out_len(t));

		if (n == -EAGAIN || n == -EWOULDBLOCK) {
			/* Room for what is sealed next: it must find some. */
			buf_consume(&t->out, t->out_at);
			t->out_at = 0;
			return 1;
		}
		if (n < 0)
			return (int)n;
		t->out_at += (size_t)n;
	}
	t->out_at = 0;
	if (t->out.cap > TLS_KEEP_BYTES)
		buf_deinit(&t->out);
	else
		buf_reset(&t->out);
	return 0;
}

static long tls_write(struct stream_layer *l, const void *data, size_t len)
{
	struct tls_layer *t = layer_of(l);
	size_t n = len < TLS_PLAIN_MAX_BYTES ? len : TLS_PLAIN_MAX_BYTES;
	int ret;

	if (t->exported)
		return -EBUSY;
	if (out_len(t) >= TLS_OUT_HIGH_BYTES) {
		ret = tls_pass(t);
		if (ret != 0)
			return ret > 0 ? -EAGAIN : ret;
	}
	ret = tls_record_seal(t->crypto, &t->record, data, n, &t->out);
	if (ret < 0)
		return ret;
	ret = tls_pass(t);
	return ret < 0 ? ret : (long)n;
}

/* What is owed goes out now; if the socket is full it waits in `out`. As tls_pass(). */
static int tls_answer(struct tls_layer *t)
{
	int ret = tls_record_control(t->crypto, &t->record, &t->out);

	return ret < 0 ? ret : tls_pass(t);
}

static bool tls_owes(const struct tls_layer *t)
{
	return !t->exported && (t->record.update_owed || t->record.refusal_owed);
}

static size_t tls_kept_out(const struct stream_layer *l)
{
	const struct tls_layer *t = layer_in(l);

	return out_len(t) + (tls_owes(t) ? 1 : 0);
}

static int tls_flush(struct stream_layer *l)
{
	struct tls_layer *t = layer_of(l);

	return tls_owes(t) ? tls_answer(t) : tls_pass(t);
}

/* ---- input ---- */

static void in_drop(struct tls_layer *t, size_t n)
{
	t->in_at += n;
	if (t->in_at < t->in.len)
		return;
	t->in_at = 0;
	if (t->in.cap > TLS_KEEP_BYTES)
		buf_wipe(&t->in);
	else
		buf_reset(&t->in);
}

/* Reads towards `need` bytes of the record at in_at. */
static long in_more(struct tls_layer *t, size_t need)
{
	struct stream_layer *below = t->l.below;
	size_t have = t->in.len - t->in_at;
	void *room;
	long n;

	if (t->in_at > 0 && have == 0)
		in_drop(t, 0);
	if (t->in_at > 0) {
		buf_consume(&t->in, t->in_at);
		t->in_at = 0;
	}
	room = buf_reserve(&t->in, need - have);
	if (room == NULL)
		return -ENOMEM;
	n = below->ops->read(below, room, need - have);
	if (n > 0)
		buf_added(&t->in, (size_t)n);
	return n;
}

static long plain_take(struct tls_layer *t, void *data, size_t size)
{
	size_t n = size < t->plain_len ? size : t->plain_len;

	memcpy(data, t->plain, n);
	t->plain += n;
	t->plain_len -= n;
	if (t->plain_len == 0)
		in_drop(t, t->used);
	return (long)n;
}

/* One record, or part of one. >0: go on; 0: the end; -errno. */
static long tls_step(struct tls_layer *t)
{
	static uint8_t nothing[1];
	size_t have = t->in.len - t->in_at, used, need, len;
	const uint8_t *plain;
	long n;

	switch (tls_record_open(t->crypto, &t->record,
				have > 0 ? t->in.data + t->in_at : nothing, have, &used, &need,
				&plain, &len)) {
	case TLS_MORE:
		return in_more(t, need);
	case TLS_DATA:
		t->plain = plain;
		t->plain_len = len;
		t->used = used;
		if (len == 0)
			in_drop(t, used);
		return 1;
	case TLS_NONE:
		in_drop(t, used);
		return 1;
	case TLS_REPLY:
		in_drop(t, used);
		n = tls_answer(t);
		return n < 0 ? n : 1;
	case TLS_EOF:
		in_drop(t, used);
		return 0;
	case TLS_FAIL:
		(void)tls_answer(t);
		return -EPROTO;
	}
	return -EPROTO;
}

static long tls_read(struct stream_layer *l, void *data, size_t size)
{
	struct tls_layer *t = layer_of(l);

	if (t->exported)
		return -EBUSY;
	while (t->plain_len == 0) {
		long n = tls_step(t);

		if (n <= 0)
			return n;
	}
	return plain_take(t, data, size);
}

static size_t tls_kept_in(const struct stream_layer *l)
{
	const struct tls_layer *t = layer_in(l);

	return t->in.len - t->in_at;
}

/* ---- life ---- */

static void tls_destroy(struct stream_layer *l)
{
	struct tls_layer *t = layer_of(l);

	tls_record_wipe(&t->record);
	tls_crypto_forget(t->crypto);
	buf_wipe(&t->in);
	buf_deinit(&t->out);
	free(t);
}

static const struct stream_layer_ops tls_ops = {
	.read = tls_read,
	.write = tls_write,
	.flush = tls_flush,
	.kept_in = tls_kept_in,
	.kept_out = tls_kept_out,
	.destroy = tls_destroy,
};

static struct tls_layer *layer_find(struct stream *s)
{
	struct stream_layer *l = stream_find_layer(s, &tls_ops);

	return l != NULL ? layer_of(l) : NULL;
}

int stream_push_tls(struct stream *s, struct tls_crypto *crypto, struct tls_record *record,
		    const void *kept, size_t kept_len)
{
	struct tls_layer *t = calloc(1, sizeof(*t));
	int ret;

	if (t == NULL)
		return -ENOMEM;
	t->l.ops = &tls_ops;
	t->crypto = crypto;
	buf_init(&t->in, TLS_IN_MAX_BYTES);
	buf_init(&t->out, TLS_OUT_MAX_BYTES);
	ret = kept_len > 0 ? buf_append(&t->in, kept, kept_len) : 0;
	if (ret == 0)
		ret = stream_push_layer(s, &t->l);
	if (ret < 0) {
		buf_wipe(&t->in);
		free(t);
		return ret;
	}
	t->record = *record;
	tls_record_wipe(record);
	return 0;
}

int stream_push_tls_blob(struct stream *s, struct tls_crypto *crypto, const void *blob,
			 size_t len)
{
	struct tls_record record;
	struct cursor c;
	const uint8_t *packed, *kept;
	size_t packed_len, kept_len;
	int ret;

	cursor_init(&c, blob, len);
	packed_len = cursor_u16(&c);
	packed = cursor_bytes(&c, packed_len);
	kept_len = cursor_u32(&c);
	kept = cursor_bytes(&c, kept_len);
	if (!cursor_done(&c))
		return -EBADMSG;
	ret = tls_record_import(crypto, &record, packed, packed_len);
	if (ret == 0)
		ret = stream_push_tls(s, crypto, &record, kept, kept_len);
	tls_record_wipe(&record);
	return ret;
}

const struct tls_record *stream_tls(struct stream *s)
{
	struct tls_layer *t = layer_find(s);

	return t != NULL ? &t->record : NULL;
}

int stream_tls_may_export(struct stream *s)
{
	struct tls_layer *t = layer_find(s);

	if (t == NULL || t->record.dead || t->record.read_closed || t->record.write_closed)
		return -EPERM;
	return t->exported || t->plain_len > 0 || tls_owes(t) ? -EBUSY : 0;
}

bool stream_tls_has_record(struct stream *s)
{
	struct tls_layer *t = layer_find(s);
	size_t have = t != NULL ? t->in.len - t->in_at : 0;
	const uint8_t *head;

	if (have < TLS_HEADER_BYTES)
		return false;
	head = t->in.data + t->in_at;
	return have - TLS_HEADER_BYTES >= (size_t)(head[3] << 8 | head[4]);
}

int stream_tls_export(struct stream *s, struct buf *out)
{
	struct tls_layer *t = layer_find(s);
	int ret = stream_tls_may_export(s);
	struct buf blob;

	if (ret == 0 && stream_pending(s) > 0)
		ret = -EBUSY;
	if (ret < 0)
		return ret;
	buf_init(&blob, 1024);
	ret = tls_record_export(&t->record, &blob);
	if (ret == 0) {
		buf_append_u16(out, (uint16_t)blob.len);
		buf_append(out, blob.data, blob.len);
		buf_append_u32(out, (uint32_t)(t->in.len - t->in_at));
		if (t->in.len > t->in_at)
			buf_append(out, t->in.data + t->in_at, t->in.len - t->in_at);
		ret = out->failed ? -ENOBUFS : 0;
	}
	buf_wipe(&blob);
	t->exported = ret == 0;
	return ret;
}

void stream_tls_resume(struct stream *s)
{
	struct tls_layer *t = layer_find(s);

	if (t != NULL)
		t->exported = false;
}

int stream_tls_seal_ahead(struct stream *s, const void *plain, size_t len, struct buf *out)
{
	struct tls_layer *t = layer_find(s);

	if (t == NULL || t->exported)
		return -EPERM;
	return tls_record_seal(t->crypto, &t->record, plain, len, out);
}

void stream_tls_close(struct stream *s)
{
	struct tls_layer *t = layer_find(s);

	if (t == NULL || t->exported || t->record.dead)
		return;
	/* Text that waits goes first; if it cannot, there is no end to tell of. */
	if (stream_flush(s) != 0)
		return;
	if (tls_record_close(t->crypto, &t->record, &t->out) == 0)
		(void)tls_pass(t);
}

const char *stream_tls_name(struct stream *s)
{
	static char text[64];
	struct tls_layer *t = layer_find(s);

	if (t == NULL)
		return "";
	snprintf(text, sizeof(text), "%s %s", tls_version_name(t->record.version),
		 tls_suite_name(t->record.version, t->record.suite));
	return text;
}

const char *stream_tls_reason(struct stream *s)
{
	static char text[32];
	struct tls_layer *t = layer_find(s);

	if (t == NULL || !t->record.dead)
		return "";
	snprintf(text, sizeof(text), "TLS alert %u", t->record.alert);
	return text;
}
