/* SPDX-License-Identifier: MIT */
/* The form of a string follows from its bytes: atom, quoted, literal, in this
 * order (RFC 9051 sections 4.1 and 4.3). To clients there are only
 * synchronising literals, without a "+" (RFC 7888 section 3). */
#include "lib/imap-write.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "lib/buf.h"
#include "lib/imap-chars.h"

/* Longer quoted strings trip some clients; RFC 2683 3.4 asks for literals. */
#define QUOTED_MAX_BYTES	1024

enum eight_bit { EIGHT_BIT_NO, EIGHT_BIT_OK };

static bool can_be_quoted(const uint8_t *s, size_t len, enum eight_bit eight_bit)
{
	if (len > QUOTED_MAX_BYTES)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (s[i] == '\0' || s[i] == '\r' || s[i] == '\n' ||
		    (s[i] >= 0x80 && eight_bit == EIGHT_BIT_NO))
			return false;
	}
	return true;
}

/* NIL would be an astring, but too many readers take it for no string. */
static bool can_be_atom(const uint8_t *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (!imap_is_astring_char(s[i]))
			return false;
	}
	return len > 0 && len <= QUOTED_MAX_BYTES &&
		!(len == 3 && strncasecmp((const char *)s, "NIL", 3) == 0);
}

static int write_quoted(struct buf *out, const uint8_t *s, size_t len)
{
	size_t start = 0;

	buf_append_u8(out, '"');
	for (size_t i = 0; i < len; i++) {
		if (s[i] != '"' && s[i] != '\\')
			continue;
		buf_append(out, s + start, i - start);
		buf_append_u8(out, '\\');
		start = i;
	}
	buf_append(out, s + start, len - start);
	return buf_append_u8(out, '"');
}

static int write_literal(struct buf *out, const uint8_t *s, size_t len)
{
	buf_printf(out, "{%zu}\r\n", len);
	return buf_append(out, s, len);
}

static int write_string(struct buf *out, const void *data, size_t len,
	enum eight_bit eight_bit)
{
	if (can_be_quoted(data, len, eight_bit))
		return write_quoted(out, data, len);
	return write_literal(out, data, len);
}

static int write_astring(struct buf *out, const void *data, size_t len,
	enum eight_bit eight_bit)
{
	if (can_be_atom(data, len))
		return buf_append(out, data, len);
	return write_string(out, data, len, eight_bit);
}

int imap_write_astring(struct buf *out, const char *s)
{
	return write_astring(out, s, strlen(s), EIGHT_BIT_NO);
}

int imap_write_string(struct buf *out, const void *data, size_t len)
{
	return write_string(out, data, len, EIGHT_BIT_NO);
}

int imap_write_nstring(struct buf *out, const char *s)
{
	if (s == NULL)
		return buf_append_str(out, "NIL");
	return imap_write_string(out, s, strlen(s));
}

int imap_write_mailbox(struct buf *out, const char *utf8_name, bool utf8)
{
	size_t len = strlen(utf8_name);
	struct buf name;
	int ret;

	if (utf8) {
		if (!imap_utf8_valid(utf8_name, len))
			return -EINVAL;
		return write_astring(out, utf8_name, len, EIGHT_BIT_OK);
	}
	/* One byte alone: "&", three of base64, "-"; far less for more. */
	buf_init(&name, 5 * len + 1);
	ret = imap_utf7_encode(utf8_name, &name);
	if (ret == 0)
		ret = write_astring(out, len > 0 ? (const char *)name.data : "",
			name.len, EIGHT_BIT_NO);
	buf_deinit(&name);
	return ret;
}

/* Only the text of a response (resp-text, RFC 9051 section 9). A "[" at its
 * begin stays: a caller that begins with foreign text puts a word of its own
 * before, else the client takes it for a response code. */
int imap_write_text(struct buf *out, const char *s)
{
	int ret = 0;

	for (; *s != '\0' && ret == 0; s++) {
		bool plain = *s >= 0x20 && *s <= 0x7e;
		ret = buf_append_u8(out, plain ? (uint8_t)*s : '?');
	}
	return ret;
}
