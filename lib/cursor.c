/* SPDX-License-Identifier: MIT */
/* A bounded reader. After the first failure nothing is read any more, so that
 * one look at `bad` at the end covers everything before it. */
#include "lib/cursor.h"

#include <string.h>

void cursor_init(struct cursor *c, const void *data, size_t len)
{
	*c = (struct cursor){ .data = data, .len = len };
}

size_t cursor_left(const struct cursor *c)
{
	return c->len - c->pos;
}

const uint8_t *cursor_bytes(struct cursor *c, size_t n)
{
	/* A real address even for an empty view, so that NULL means bad. */
	static const uint8_t nothing[1];
	const uint8_t *p;

	if (c->bad || n > cursor_left(c)) {
		c->bad = true;
		return NULL;
	}
	if (n == 0)
		return nothing;
	p = c->data + c->pos;
	c->pos += n;
	return p;
}

static uint64_t cursor_be(struct cursor *c, unsigned n)
{
	const uint8_t *p = cursor_bytes(c, n);
	uint64_t v = 0;

	for (unsigned i = 0; p && i < n; i++)
		v = v << 8 | p[i];
	return v;
}

uint8_t cursor_u8(struct cursor *c)
{
	return (uint8_t)cursor_be(c, 1);
}

uint16_t cursor_u16(struct cursor *c)
{
	return (uint16_t)cursor_be(c, 2);
}

uint32_t cursor_u32(struct cursor *c)
{
	return (uint32_t)cursor_be(c, 4);
}

uint64_t cursor_u64(struct cursor *c)
{
	return cursor_be(c, 8);
}

void cursor_copy(struct cursor *c, void *out, size_t n)
{
	const uint8_t *p = cursor_bytes(c, n);

	if (n == 0)
		return;
	if (p)
		memcpy(out, p, n);
	else
		memset(out, 0, n);
}

bool cursor_done(const struct cursor *c)
{
	return !c->bad && c->pos == c->len;
}
