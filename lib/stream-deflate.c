/* SPDX-License-Identifier: MIT */
/* Towards the client: every flush ends with a sync flush, so the compressor can
 * be dropped after any of them and a new one goes on, which then refers to
 * nothing that was said before. It must be dropped when bytes go to the client
 * around it (keepalives that were made ahead): its window would not be the
 * client's any more. From the client: lib/inflate-state.h. The reader inflates
 * no more than it is asked for, so what a few bytes claim to be costs time, but
 * no memory. */
#include "lib/stream-deflate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/inflate-state.h"
#include "lib/list.h"
#include "lib/stream-layer.h"
#include "lib/zlib-wipe.h"

/* Read from below at once. */
#define DEFLATE_READ_BYTES	(16 * 1024)
/* What the stream may have buffered when the layer is put on. */
#define DEFLATE_IN_MAX_BYTES	(256 * 1024)
/* A block's header is some hundred bytes, and no client needs many empty blocks:
 * so much that gives no text is sent to keep us busy. */
#define DEFLATE_EMPTY_MAX_BYTES	(64 * 1024)
/* Compressed at once; so much may wait for the layer below. */
#define DEFLATE_WRITE_BYTES	(16 * 1024)
#define DEFLATE_OUT_HIGH_BYTES	(32 * 1024)
#define DEFLATE_OUT_MAX_BYTES	(1024 * 1024)
#define DEFLATE_ROOM_BYTES	2048
/* A session that woke mostly says a few lines and sleeps again; zlib's usual
 * compressor would touch a quarter of a megabyte for them. Who has said this
 * much gets it with the next flush, and keeps it. */
#define DEFLATE_LARGE_AFTER_BYTES (16 * 1024)
#define DEFLATE_SMALL_WINDOW	12
#define DEFLATE_SMALL_MEMORY	5
#define DEFLATE_LARGE_WINDOW	15
#define DEFLATE_LARGE_MEMORY	8

/* RFC 1951, 3.2.4: a stored block of 17 bytes. It begins and ends with a whole byte. */
const uint8_t deflate_keepalive[22] = {
	0x00, 0x11, 0x00, 0xee, 0xff,
	'*', ' ', 'O', 'K', ' ', 'S', 't', 'i', 'l', 'l', ' ', 'h', 'e', 'r', 'e', '\r', '\n',
};

struct deflate_layer {
	struct stream_layer l;
	struct inflate_state *inflate;
	struct buf in;		/* [in_at, in.len) is not inflated yet */
	size_t in_at;
	size_t empty;		/* bytes since the last that gave text */
	z_stream z;
	bool live;		/* z is a compressor */
	bool dirty;		/* it was given what no flush followed yet */
	bool large;		/* it is, or will be, of full size */
	struct buf out;		/* [out_at, out.len) is for below */
	size_t out_at;
};

static struct deflate_layer *layer_of(struct stream_layer *l)
{
	return container_of(l, struct deflate_layer, l);
}

static const struct deflate_layer *layer_in(const struct stream_layer *l)
{
	return (const struct deflate_layer *)((const char *)l - offsetof(struct deflate_layer, l));
}

/* ---- from the client ---- */

static long deflate_inflate(struct deflate_layer *d, void *data, size_t size, bool *ended_r)
{
	size_t used, got;
	int ret = inflate_state_run(d->inflate, d->in.len > 0 ? d->in.data + d->in_at : NULL,
				    d->in.len - d->in_at, &used, data, size, &got);

	d->in_at += used;
	d->empty = got > 0 ? 0 : d->empty + used;
	if (ret == 0 && d->empty > DEFLATE_EMPTY_MAX_BYTES)
		ret = -EBADMSG;
	if (d->in_at == d->in.len) {
		d->in_at = 0;
		buf_reset(&d->in);
	}
	*ended_r = ret > 0;
	return ret < 0 ? ret : (long)got;
}

static long deflate_read(struct stream_layer *l, void *data, size_t size)
{
	struct deflate_layer *d = layer_of(l);

	for (;;) {
		bool ended;
		long n = deflate_inflate(d, data, size, &ended);
		void *room;

		if (n != 0 || ended)
			return n;
		/* What was there gave nothing, so all of it was taken. */
		room = buf_reserve(&d->in, DEFLATE_READ_BYTES);
		if (room == NULL)
			return -ENOMEM;
		n = l->below->ops->read(l->below, room, DEFLATE_READ_BYTES);
		if (n <= 0)
			return n;
		buf_added(&d->in, (size_t)n);
	}
}

static size_t deflate_kept_in(const struct stream_layer *l)
{
	const struct deflate_layer *d = layer_in(l);

	return d->in.len - d->in_at + (inflate_state_is_full(d->inflate) ? 1 : 0);
}

/* ---- towards the client ---- */

static int deflate_begin(struct deflate_layer *d)
{
	if (d->live)
		return 0;
	d->z = zlib_wipe_stream();
	if (deflateInit2(&d->z, Z_DEFAULT_COMPRESSION, Z_DEFLATED,
			 d->large ? -DEFLATE_LARGE_WINDOW : -DEFLATE_SMALL_WINDOW,
			 d->large ? DEFLATE_LARGE_MEMORY : DEFLATE_SMALL_MEMORY,
			 Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	d->live = true;
	return 0;
}

static void deflate_forget(struct deflate_layer *d)
{
	if (d->live)
		deflateEnd(&d->z);
	d->live = false;
}

static int deflate_step(struct deflate_layer *d, const void *data, size_t len, int flush)
{
	int ret = deflate_begin(d);

	if (ret < 0)
		return ret;
	d->z.next_in = data;
	d->z.avail_in = (uInt)len;
	do {
		uint8_t *room = buf_reserve(&d->out, DEFLATE_ROOM_BYTES);

		if (room == NULL)
			return -ENOMEM;
		d->z.next_out = room;
		d->z.avail_out = DEFLATE_ROOM_BYTES;
		if (deflate(&d->z, flush) == Z_STREAM_ERROR)
			return -EINVAL;
		buf_added(&d->out, DEFLATE_ROOM_BYTES - d->z.avail_out);
	} while (d->z.avail_out == 0);
	d->dirty = flush == Z_NO_FLUSH;
	return 0;
}

/* 0: nothing waits; 1; -errno. */
static int deflate_pass(struct deflate_layer *d)
{
	struct stream_layer *below = d->l.below;

	while (d->out_at < d->out.len) {
		long n = below->ops->write(below, d->out.data + d->out_at,
					   d->out.len - d->out_at);

		if (n == -EAGAIN || n == -EWOULDBLOCK) {
			buf_consume(&d->out, d->out_at);
			d->out_at = 0;
			return 1;
		}
		if (n < 0)
			return (int)n;
		d->out_at += (size_t)n;
	}
	d->out_at = 0;
	buf_deinit(&d->out);
	return 0;
}

static long deflate_write(struct stream_layer *l, const void *data, size_t len)
{
	struct deflate_layer *d = layer_of(l);
	size_t n = len < DEFLATE_WRITE_BYTES ? len : DEFLATE_WRITE_BYTES;
	int ret;

	if (d->out.len - d->out_at >= DEFLATE_OUT_HIGH_BYTES) {
		ret = deflate_pass(d);
		if (ret != 0)
			return ret > 0 ? -EAGAIN : ret;
	}
	ret = deflate_step(d, data, n, Z_NO_FLUSH);
	return ret < 0 ? ret : (long)n;
}

static int deflate_flush(struct stream_layer *l)
{
	struct deflate_layer *d = layer_of(l);

	if (d->dirty) {
		int ret = deflate_step(d, NULL, 0, Z_SYNC_FLUSH);

		if (ret < 0)
			return ret;
		if (!d->large && d->z.total_in >= DEFLATE_LARGE_AFTER_BYTES) {
			deflate_forget(d);
			d->large = true;
		}
	}
	return deflate_pass(d);
}

static size_t deflate_kept_out(const struct stream_layer *l)
{
	const struct deflate_layer *d = layer_in(l);

	return d->out.len - d->out_at + (d->dirty ? 1 : 0);
}

/* ---- life ---- */

static void deflate_destroy(struct stream_layer *l)
{
	struct deflate_layer *d = layer_of(l);

	deflate_forget(d);
	inflate_state_destroy(&d->inflate);
	buf_wipe(&d->in);
	buf_wipe(&d->out);
	free(d);
}

static const struct stream_layer_ops deflate_ops = {
	.read = deflate_read,
	.write = deflate_write,
	.flush = deflate_flush,
	.kept_in = deflate_kept_in,
	.kept_out = deflate_kept_out,
	.destroy = deflate_destroy,
};

static struct deflate_layer *layer_find(struct stream *s)
{
	struct stream_layer *l = stream_find_layer(s, &deflate_ops);

	return l != NULL ? layer_of(l) : NULL;
}

/* Takes *inflate over in every case. */
static int layer_push(struct stream *s, struct inflate_state **inflate)
{
	struct deflate_layer *d = calloc(1, sizeof(*d));
	size_t len;
	const uint8_t *input = stream_input(s, &len);
	int ret = d == NULL ? -ENOMEM : 0;

	if (ret == 0) {
		d->l.ops = &deflate_ops;
		buf_init(&d->in, DEFLATE_IN_MAX_BYTES);
		buf_init(&d->out, DEFLATE_OUT_MAX_BYTES);
		ret = len > 0 ? buf_append(&d->in, input, len) : 0;
	}
	if (ret == 0)
		ret = stream_push_layer(s, &d->l);
	if (ret == 0) {
		d->inflate = *inflate;
		*inflate = NULL;
		stream_consume(s, len);
		return 0;
	}
	if (d != NULL)
		deflate_destroy(&d->l);
	inflate_state_destroy(inflate);
	return ret;
}

int stream_push_deflate(struct stream *s)
{
	struct inflate_state *inflate = inflate_state_create();

	return inflate == NULL ? -ENOMEM : layer_push(s, &inflate);
}

int stream_push_deflate_blob(struct stream *s, const void *blob, size_t len)
{
	struct inflate_state *inflate;
	int ret = inflate_state_restore(&inflate, blob, len);

	return ret < 0 ? ret : layer_push(s, &inflate);
}

bool stream_has_deflate(struct stream *s)
{
	return layer_find(s) != NULL;
}

int stream_deflate_export(struct stream *s, size_t budget, struct buf *out)
{
	struct deflate_layer *d = layer_find(s);

	if (d == NULL || deflate_kept_in(&d->l) > 0 || deflate_kept_out(&d->l) > 0)
		return -EBUSY;
	return inflate_state_save(d->inflate, budget, out);
}

void stream_deflate_forget(struct stream *s)
{
	struct deflate_layer *d = layer_find(s);

	if (d != NULL && !d->dirty)
		deflate_forget(d);
}
