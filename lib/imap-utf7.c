/* SPDX-License-Identifier: MIT */
/* Modified UTF-7, the mailbox names of IMAP4rev1 (RFC 3501 section 5.1.3).
 * Decoding is strict: one name has one spelling, so two spellings cannot
 * name one mailbox, and whatever decodes encodes back to the same bytes. */
#include "lib/imap-write.h"

#include <errno.h>
#include <string.h>

#include "lib/buf.h"

static const char base64_chars[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/* One character of at most len bytes: its length, or 0 if it is not valid by
 * RFC 3629 (overlong, surrogate, above 10FFFF, cut short). */
static size_t utf8_next(const uint8_t *s, size_t len, uint32_t *c_r)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint32_t c = s[0];
	size_t n = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 :
		c < 0xf5 ? 4 : 0;

	if (n == 0 || n > len)
		return 0;
	if (n > 1)
		c &= 0x7fu >> n;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3fu);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0;
	*c_r = c;
	return n;
}

bool imap_utf8_valid(const char *s, size_t len)
{
	const uint8_t *u = (const uint8_t *)s;
	uint32_t c;

	for (size_t pos = 0, n; pos < len; pos += n) {
		n = utf8_next(u + pos, len - pos, &c);
		if (n == 0)
			return false;
	}
	return true;
}

static void utf8_add(struct buf *out, uint32_t c)
{
	if (c < 0x80) {
		buf_append_u8(out, (uint8_t)c);
		return;
	}
	if (c < 0x800) {
		buf_append_u8(out, (uint8_t)(0xc0 | c >> 6));
	} else {
		if (c < 0x10000) {
			buf_append_u8(out, (uint8_t)(0xe0 | c >> 12));
		} else {
			buf_append_u8(out, (uint8_t)(0xf0 | c >> 18));
			buf_append_u8(out, (uint8_t)(0x80 | (c >> 12 & 0x3f)));
		}
		buf_append_u8(out, (uint8_t)(0x80 | (c >> 6 & 0x3f)));
	}
	buf_append_u8(out, (uint8_t)(0x80 | (c & 0x3f)));
}

/* Printable US-ASCII represents itself ("&" as "&-"). */
static bool is_direct(uint32_t c)
{
	return c >= 0x20 && c <= 0x7e;
}

/* Bits on their way through base64, in both directions. */
struct bits {
	uint32_t value;
	unsigned int count;
};

static void base64_add_u16(struct bits *b, struct buf *out, uint32_t unit)
{
	b->value = b->value << 16 | unit;
	b->count += 16;
	while (b->count >= 6) {
		b->count -= 6;
		buf_append_u8(out, (uint8_t)base64_chars[b->value >> b->count & 0x3f]);
	}
	b->value &= (1u << b->count) - 1;
}

static void base64_add(struct bits *b, struct buf *out, uint32_t c)
{
	if (c >= 0x10000) {
		base64_add_u16(b, out, 0xd800 + ((c - 0x10000) >> 10));
		c = 0xdc00 + ((c - 0x10000) & 0x3ff);
	}
	base64_add_u16(b, out, c);
}

static void base64_end(struct bits *b, struct buf *out)
{
	if (b->count > 0)
		buf_append_u8(out, (uint8_t)base64_chars[b->value << (6 - b->count) & 0x3f]);
	buf_append_u8(out, '-');
	*b = (struct bits){ 0 };
}

int imap_utf7_encode(const char *utf8, struct buf *out)
{
	const uint8_t *s = (const uint8_t *)utf8;
	size_t len = strlen(utf8), before = out->len;
	struct bits b = { 0 };
	bool shifted = false;
	uint32_t c;

	if (!imap_utf8_valid(utf8, len))
		return -EINVAL;
	for (size_t pos = 0; pos < len; pos += utf8_next(s + pos, len - pos, &c)) {
		(void)utf8_next(s + pos, len - pos, &c);
		if (shifted == is_direct(c)) {
			if (shifted)
				base64_end(&b, out);
			else
				buf_append_u8(out, '&');
			shifted = !shifted;
		}
		if (shifted)
			base64_add(&b, out, c);
		else if (buf_append_u8(out, (uint8_t)c) == 0 && c == '&')
			buf_append_u8(out, '-');
	}
	if (shifted)
		base64_end(&b, out);
	if (!out->failed)
		return 0;
	out->len = before;
	return -ENOBUFS;
}

static int base64_value(char c)
{
	const char *at = c != '\0' ? strchr(base64_chars, c) : NULL;

	return at != NULL ? (int)(at - base64_chars) : -1;
}

/* One UTF-16 unit of a shifted part; *high is a surrogate that waits for its
 * other half. What could represent itself must not be here. */
static bool unit_add(uint32_t unit, uint32_t *high, struct buf *out)
{
	bool low = unit >= 0xdc00 && unit < 0xe000;

	if (low != (*high != 0) || unit == 0 || is_direct(unit))
		return false;
	if (unit >= 0xd800 && unit < 0xdc00) {
		*high = unit;
	} else if (low) {
		utf8_add(out, 0x10000 + ((*high - 0xd800) << 10) + (unit - 0xdc00));
		*high = 0;
	} else {
		utf8_add(out, unit);
	}
	return true;
}

/* From behind "&" to behind "-". NULL if it is not valid. */
static const char *shifted_decode(const char *s, struct buf *out)
{
	struct bits b = { 0 };
	uint32_t high = 0;
	int v;

	for (; (v = base64_value(*s)) >= 0; s++) {
		b.value = b.value << 6 | (uint32_t)v;
		b.count += 6;
		if (b.count < 16)
			continue;
		b.count -= 16;
		if (!unit_add(b.value >> b.count & 0xffff, &high, out))
			return NULL;
		b.value &= (1u << b.count) - 1;
	}
	/* Fill bits are zero and no character of base64 is in vain; no
	   implicit shift back; no null shift ("-&" before more base64). */
	if (*s != '-' || high != 0 || b.count >= 6 || b.value != 0)
		return NULL;
	s++;
	if (s[0] == '&' && s[1] != '-')
		return NULL;
	return s;
}

static int utf7_decode(const char *s, struct buf *out)
{
	while (*s != '\0') {
		char c = *s++;

		if (!is_direct((uint8_t)c))
			return -EINVAL;
		if (c != '&' || *s == '-') {
			buf_append_u8(out, (uint8_t)c);
			s += c == '&';
			continue;
		}
		s = shifted_decode(s, out);
		if (s == NULL)
			return -EINVAL;
	}
	return out->failed ? -ENOBUFS : 0;
}

int imap_utf7_decode(const char *name, struct buf *out)
{
	size_t before = out->len;
	int ret = utf7_decode(name, out);

	if (ret < 0)
		out->len = before;
	return ret;
}
