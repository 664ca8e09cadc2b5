/* SPDX-License-Identifier: MIT */
/* A buffer that grows by doubling, never beyond its maximum, and remembers
 * that something did not fit. An append is all or nothing. */
#include "lib/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_FIRST_BYTES	64

void buf_init(struct buf *b, size_t max_bytes)
{
	*b = (struct buf){ .max = max_bytes };
}

void buf_deinit(struct buf *b)
{
	free(b->data);
	buf_init(b, b->max);
}

void buf_wipe(struct buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->cap);
	buf_deinit(b);
}

void buf_reset(struct buf *b)
{
	b->len = 0;
	b->failed = false;
}

static size_t buf_next_cap(const struct buf *b, size_t need)
{
	size_t cap = b->cap ? b->cap : BUF_FIRST_BYTES;

	while (cap < need)
		cap = cap > SIZE_MAX / 2 ? need : cap * 2;
	return cap > b->max ? b->max : cap;
}

/* Not realloc(): it would leave copies of secrets behind that buf_wipe()
 * never sees. The old block is cleared, which costs little: it is warm. */
static int buf_grow(struct buf *b, size_t need)
{
	size_t cap = buf_next_cap(b, need);
	uint8_t *data = malloc(cap);

	if (!data)
		return -ENOMEM;
	if (b->data) {
		memcpy(data, b->data, b->len);
		explicit_bzero(b->data, b->cap);
		free(b->data);
	}
	b->data = data;
	b->cap = cap;
	return 0;
}

static int buf_fail(struct buf *b, int error)
{
	b->failed = true;
	return error;
}

static int buf_room(struct buf *b, size_t n)
{
	int ret;

	if (b->failed)
		return -ENOBUFS;
	if (n > b->max - b->len)
		return buf_fail(b, -ENOBUFS);
	if (n <= b->cap - b->len && b->data)
		return 0;
	if (n == 0 && b->max == 0)
		return 0;
	ret = buf_grow(b, b->len + n);
	return ret < 0 ? buf_fail(b, ret) : 0;
}

int buf_append(struct buf *b, const void *data, size_t n)
{
	int ret = buf_room(b, n);

	if (ret < 0)
		return ret;
	if (n > 0)
		memcpy(b->data + b->len, data, n);
	b->len += n;
	return 0;
}

int buf_append_str(struct buf *b, const char *s)
{
	return buf_append(b, s, strlen(s));
}

static int buf_append_be(struct buf *b, uint64_t v, unsigned n)
{
	uint8_t bytes[8];

	for (unsigned i = 0; i < n; i++)
		bytes[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
	return buf_append(b, bytes, n);
}

int buf_append_u8(struct buf *b, uint8_t v)
{
	return buf_append_be(b, v, 1);
}

int buf_append_u16(struct buf *b, uint16_t v)
{
	return buf_append_be(b, v, 2);
}

int buf_append_u32(struct buf *b, uint32_t v)
{
	return buf_append_be(b, v, 4);
}

int buf_append_u64(struct buf *b, uint64_t v)
{
	return buf_append_be(b, v, 8);
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int ret;

	va_start(ap, fmt);
	ret = buf_vprintf(b, fmt, ap);
	va_end(ap);
	return ret;
}

/* Tries in the room at hand first; most lines fit. The NUL that vsnprintf()
 * wants is not counted against the maximum: a text that fits without it but
 * not with it goes by way of a copy. */
int buf_append_decimal(struct buf *b, uint64_t v)
{
	char digits[20];
	size_t at = sizeof(digits);

	do
		digits[--at] = (char)('0' + v % 10);
	while ((v /= 10) > 0);
	return buf_append(b, digits + at, sizeof(digits) - at);
}

int buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
	size_t room = b->data && !b->failed ? b->cap - b->len : 0;
	va_list again;
	char *copy;
	int n, ret;

	va_copy(again, ap);
	n = vsnprintf(room ? (char *)b->data + b->len : NULL, room, fmt, ap);
	if (n < 0) {
		ret = buf_fail(b, -EINVAL);
	} else if ((size_t)n < room) {
		b->len += (size_t)n;
		ret = 0;
	} else if ((ret = buf_room(b, (size_t)n)) < 0) {
		/* sticks */
	} else if (b->cap - b->len > (size_t)n) {
		vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, again);
		b->len += (size_t)n;
	} else if (vasprintf(&copy, fmt, again) < 0) {
		ret = buf_fail(b, -ENOMEM);
	} else {
		ret = buf_append(b, copy, (size_t)n);
		free(copy);
	}
	va_end(again);
	return ret;
}

void *buf_reserve(struct buf *b, size_t n)
{
	if (buf_room(b, n) < 0)
		return NULL;
	return b->data ? b->data + b->len : NULL;
}

void buf_added(struct buf *b, size_t n)
{
	assert(n <= b->cap - b->len);
	b->len += n;
}

void buf_consume(struct buf *b, size_t n)
{
	assert(n <= b->len);
	if (n == 0)
		return;
	memmove(b->data, b->data + n, b->len - n);
	b->len -= n;
}
