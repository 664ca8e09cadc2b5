/* SPDX-License-Identifier: MIT */
/* zlib cannot write a reader down, but it stops at block boundaries (Z_BLOCK),
 * tells how many bits of the last byte are unused there (fewer than eight), and
 * can be given window and bits again. After a sync or full flush the reader
 * stands at a boundary. A partial flush ends with an empty block of ten bits,
 * of which the writer keeps up to seven: the reader then stands inside that
 * block. So what is remembered is the last boundary and the bytes since; a
 * restored reader is fed those again. Once a block gave output that is no longer
 * possible: the output would come twice.
 *
 * The blob: format (1), flags, bits left, their value, length of the tail, tail,
 * u16 length of the window, window; with INFLATE_PACKED the window is a raw
 * deflate stream. */
#include "lib/inflate-state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/cursor.h"
#include "lib/zlib-wipe.h"

#define INFLATE_FORMAT		1
#define INFLATE_PACKED		1	/* flag */
#define INFLATE_WINDOW_BYTES	32768
/* A smaller window is not worth packing. */
#define INFLATE_PACK_MIN_BYTES	192

struct inflate_state {
	z_stream z;
	/* the last block boundary, and what came since */
	uint8_t n_bits, bits;
	uint8_t tail[INFLATE_TAIL_MAX_BYTES];
	size_t tail_len;	/* above the maximum: too many */
	bool output;		/* some since */
	bool last;		/* of the stream's last block */

	uint8_t last_byte;	/* that was taken */
	bool full, ended, failed;
};

struct inflate_state *inflate_state_create(void)
{
	struct inflate_state *z = calloc(1, sizeof(*z));

	if (z == NULL)
		return NULL;
	z->z = zlib_wipe_stream();
	if (inflateInit2(&z->z, -15) != Z_OK) {
		free(z);
		return NULL;
	}
	return z;
}

void inflate_state_destroy(struct inflate_state **zp)
{
	struct inflate_state *z = *zp;

	if (z == NULL)
		return;
	inflateEnd(&z->z);
	explicit_bzero(z, sizeof(*z));
	free(z);
	*zp = NULL;
}

/* ---- reading ---- */

static void note_taken(struct inflate_state *z, const uint8_t *data, size_t n)
{
	if (n == 0)
		return;
	z->last_byte = data[n - 1];
	if (z->tail_len <= INFLATE_TAIL_MAX_BYTES && n <= INFLATE_TAIL_MAX_BYTES - z->tail_len)
		memcpy(z->tail + z->tail_len, data, n);
	/* Counts on one beyond the end and no further. */
	z->tail_len = n > INFLATE_TAIL_MAX_BYTES - z->tail_len ? INFLATE_TAIL_MAX_BYTES + 1 :
		z->tail_len + n;
}

static void note_boundary(struct inflate_state *z)
{
	z->n_bits = (uint8_t)(z->z.data_type & 63);
	z->bits = z->n_bits > 0 ? (uint8_t)(z->last_byte >> (8 - z->n_bits)) : 0;
	z->last = (z->z.data_type & 64) != 0;
	z->tail_len = 0;
	z->output = false;
}

/* One call of zlib's. 0 if there may be more to do, 1, -errno. */
static int inflate_step(struct inflate_state *z)
{
	const uint8_t *in = z->z.next_in;
	const uint8_t *out = z->z.next_out;
	int ret = inflate(&z->z, Z_BLOCK);
	size_t taken = (size_t)(z->z.next_in - in);

	if (z->tail_len > INFLATE_TAIL_MAX_BYTES) {
		if (taken > 0)
			z->last_byte = z->z.next_in[-1];
	} else {
		note_taken(z, in, taken);
	}
	z->output |= z->z.next_out != out;
	if (z->z.data_type & 128)
		note_boundary(z);
	switch (ret) {
	case Z_OK:
	case Z_BUF_ERROR:
		return 0;
	case Z_STREAM_END:
		z->ended = true;
		return 1;
	case Z_MEM_ERROR:
		z->failed = true;
		return -ENOMEM;
	default:
		z->failed = true;
		return -EBADMSG;
	}
}

int inflate_state_run(struct inflate_state *z, const uint8_t *in, size_t in_len, size_t *used_r,
		      uint8_t *out, size_t out_size, size_t *got_r)
{
	int ret = z->ended ? 1 : 0;

	z->z.next_in = in;
	z->z.avail_in = (uInt)(in_len < UINT32_MAX / 2 ? in_len : UINT32_MAX / 2);
	z->z.next_out = out;
	z->z.avail_out = (uInt)(out_size < UINT32_MAX / 2 ? out_size : UINT32_MAX / 2);
	while (ret == 0 && z->z.avail_out > 0) {
		uInt had_in = z->z.avail_in, had_out = z->z.avail_out;
		bool boundary;

		ret = inflate_step(z);
		boundary = (z->z.data_type & 128) != 0;
		/* At a boundary bits may be left in hand, and a new block in them. */
		if (had_in == z->z.avail_in && had_out == z->z.avail_out && !boundary)
			break;
		if (z->z.avail_in == 0 && boundary && z->n_bits == 0 && !z->last)
			break;
	}
	z->full = ret == 0 && z->z.avail_out == 0;
	*used_r = (size_t)(z->z.next_in - in);
	*got_r = (size_t)(z->z.next_out - out);
	z->z.next_in = NULL;
	z->z.next_out = NULL;
	z->z.avail_in = z->z.avail_out = 0;
	return ret;
}

bool inflate_state_is_full(const struct inflate_state *z)
{
	return z->full;
}

/* ---- the window, packed ---- */

/* As small as the window allows: most are a few hundred bytes, and zlib clears
 * all that it allocates. */
static int window_bits(size_t len)
{
	int bits = 9;

	while (bits < 15 && ((size_t)1 << bits) < len)
		bits++;
	return bits;
}

/* 0 with packed data in out; 1: it does not get smaller; -ENOMEM. */
static int window_pack(const uint8_t *window, size_t len, struct buf *out)
{
	z_stream z = zlib_wipe_stream();
	uint8_t *room = buf_reserve(out, len);
	int ret;

	if (room == NULL)
		return -ENOMEM;
	if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -window_bits(len), 8,
			 Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	z.next_in = window;
	z.avail_in = (uInt)len;
	z.next_out = room;
	z.avail_out = (uInt)len;
	ret = deflate(&z, Z_FINISH);
	if (ret == Z_STREAM_END)
		buf_added(out, len - z.avail_out);
	deflateEnd(&z);
	return ret == Z_STREAM_END ? 0 : 1;
}

/* Bytes of the window, or -EBADMSG, -ENOMEM. */
static long window_unpack(const uint8_t *packed, size_t len, uint8_t *window, size_t size)
{
	z_stream z = zlib_wipe_stream();
	int ret;

	if (inflateInit2(&z, -15) != Z_OK)
		return -ENOMEM;
	z.next_in = packed;
	z.avail_in = (uInt)len;
	z.next_out = window;
	z.avail_out = (uInt)size;
	ret = inflate(&z, Z_FINISH);
	size -= z.avail_out;
	len = z.avail_in;
	inflateEnd(&z);
	return ret == Z_STREAM_END && len == 0 ? (long)size : -EBADMSG;
}

/* ---- save and restore ---- */

static void save_head(const struct inflate_state *z, unsigned flags, struct buf *out)
{
	buf_append_u8(out, INFLATE_FORMAT);
	buf_append_u8(out, (uint8_t)flags);
	buf_append_u8(out, z->n_bits);
	buf_append_u8(out, z->bits);
	buf_append_u8(out, (uint8_t)z->tail_len);
	buf_append(out, z->tail, z->tail_len);
}

static int save_window(const struct inflate_state *z, const uint8_t *window, size_t len,
		       struct buf *out)
{
	struct buf packed;
	int ret = 1;

	buf_init(&packed, INFLATE_WINDOW_BYTES);
	if (len >= INFLATE_PACK_MIN_BYTES)
		ret = window_pack(window, len, &packed);
	if (ret >= 0) {
		save_head(z, ret == 0 ? INFLATE_PACKED : 0, out);
		if (ret == 0) {
			window = packed.data;
			len = packed.len;
		}
		buf_append_u16(out, (uint16_t)len);
		buf_append(out, window, len);
		ret = out->failed ? -ENOMEM : 0;
	}
	buf_wipe(&packed);
	return ret;
}

int inflate_state_save(const struct inflate_state *z, size_t budget, struct buf *out)
{
	uint8_t *window;
	uInt len = 0;
	struct buf blob;
	int ret;

	if (z->failed || z->ended || z->last || z->output || z->full || z->tail_len > INFLATE_TAIL_MAX_BYTES)
		return -EBUSY;
	window = malloc(INFLATE_WINDOW_BYTES);
	if (window == NULL)
		return -ENOMEM;
	buf_init(&blob, INFLATE_WINDOW_BYTES + 64);
	/* Not changed by it, but zlib knows no const. */
	ret = inflateGetDictionary((z_stream *)(uintptr_t)&z->z, window, &len) == Z_OK ?
		save_window(z, window, len, &blob) : -ENOMEM;
	if (ret == 0 && blob.len > budget)
		ret = -E2BIG;
	if (ret == 0)
		ret = buf_append(out, blob.data, blob.len);
	explicit_bzero(window, len);
	free(window);
	buf_wipe(&blob);
	return ret;
}

/* Back to where it stood: window, bits, and the tail once more. */
static int restore_at(struct inflate_state *z, const uint8_t *window, size_t len,
		      const uint8_t *tail, size_t tail_len)
{
	uint8_t nothing[1];
	size_t used, got;
	int ret;

	if (len > 0 && inflateSetDictionary(&z->z, window, (uInt)len) != Z_OK)
		return -EBADMSG;
	if (z->n_bits > 0 && inflatePrime(&z->z, z->n_bits, z->bits) != Z_OK)
		return -EBADMSG;
	ret = inflate_state_run(z, tail, tail_len, &used, nothing, sizeof(nothing), &got);
	return ret < 0 ? ret : ret > 0 || used != tail_len || got > 0 ? -EBADMSG : 0;
}

static int restore_window(struct inflate_state *z, struct cursor *c, unsigned flags,
			  const uint8_t *tail, size_t tail_len)
{
	size_t len = cursor_u16(c);
	const uint8_t *data = cursor_bytes(c, len);
	uint8_t *window;
	long n;
	int ret;

	if (!cursor_done(c) || len > INFLATE_WINDOW_BYTES)
		return -EBADMSG;
	if (!(flags & INFLATE_PACKED))
		return restore_at(z, data, len, tail, tail_len);
	window = malloc(INFLATE_WINDOW_BYTES);
	if (window == NULL)
		return -ENOMEM;
	n = window_unpack(data, len, window, INFLATE_WINDOW_BYTES);
	ret = n < 0 ? (int)n : restore_at(z, window, (size_t)n, tail, tail_len);
	explicit_bzero(window, n < 0 ? INFLATE_WINDOW_BYTES : (size_t)n);
	free(window);
	return ret;
}

int inflate_state_restore(struct inflate_state **z_r, const void *blob, size_t len)
{
	struct inflate_state *z;
	struct cursor c;
	unsigned flags, n_bits, bits;
	size_t tail_len;
	const uint8_t *tail;
	int ret;

	cursor_init(&c, blob, len);
	if (cursor_u8(&c) != INFLATE_FORMAT)
		return -EBADMSG;
	flags = cursor_u8(&c);
	n_bits = cursor_u8(&c);
	bits = cursor_u8(&c);
	tail_len = cursor_u8(&c);
	tail = cursor_bytes(&c, tail_len);
	if (c.bad || flags > INFLATE_PACKED || n_bits > 7 || bits >> n_bits != 0 ||
	    tail_len > INFLATE_TAIL_MAX_BYTES)
		return -EBADMSG;
	z = inflate_state_create();
	if (z == NULL)
		return -ENOMEM;
	z->n_bits = (uint8_t)n_bits;
	z->bits = (uint8_t)bits;
	ret = restore_window(z, &c, flags, tail, tail_len);
	if (ret == 0)
		*z_r = z;
	else
		inflate_state_destroy(&z);
	return ret;
}
