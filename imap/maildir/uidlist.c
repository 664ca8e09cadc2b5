/* SPDX-License-Identifier: MIT */
#include "imap/maildir/uidlist.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "lib/buf.h"
#include "lib/cursor.h"
#include "lib/limits.h"

static uint32_t line_check(const void *data, size_t len)
{
	return (uint32_t)crc32(0, data, (uInt)len);
}

/* A decimal number up to max without leading zeros, ended by a blank that is
 * eaten too (more must follow it), or by the end. */
static uint64_t take_number(struct cursor *c, uint64_t max)
{
	uint64_t v = 0;
	size_t digits = 0;

	for (; cursor_left(c) > 0; digits++) {
		uint8_t d = cursor_u8(c);

		if (d == ' ' && digits > 0 && cursor_left(c) > 0)
			return v;
		if (d < '0' || d > '9' || (digits == 1 && v == 0) ||
		    v > (max - (d - '0')) / 10)
			break;
		v = v * 10 + (d - '0');
		if (cursor_left(c) == 0)
			return v;
	}
	c->bad = true;
	return 0;
}

static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

static uint8_t take_hex_byte(struct cursor *c)
{
	int high = hex_value(cursor_u8(c)), low = hex_value(cursor_u8(c));

	if (high < 0 || low < 0) {
		c->bad = true;
		return 0;
	}
	return (uint8_t)(high << 4 | low);
}

static void take_blank(struct cursor *c)
{
	if (cursor_u8(c) != ' ')
		c->bad = true;
}

static void take_text(struct cursor *c, struct uidlist_line *l, size_t max)
{
	l->text_len = cursor_left(c);
	l->text = (const char *)cursor_bytes(c, l->text_len);
	if (!l->text || l->text_len == 0 || l->text_len > max ||
	    memchr(l->text, '\0', l->text_len))
		c->bad = true;
}

static void take_header(struct cursor *c, struct uidlist_line *l)
{
	l->uid = (uint32_t)take_number(c, UINT32_MAX);
	for (size_t i = 0; i < sizeof(l->id); i++)
		l->id[i] = take_hex_byte(c);
	take_blank(c);
	l->value = take_number(c, UINT64_MAX);
	if (l->uid == 0)
		c->bad = true;
}

static void take_keyword(struct cursor *c, struct uidlist_line *l)
{
	l->uid = (uint32_t)take_number(c, KEYWORDS_MAX - 1);
	l->letter = (char)cursor_u8(c);
	if (l->letter != '-' && (l->letter < 'a' || l->letter > 'z'))
		c->bad = true;
	take_blank(c);
	take_text(c, l, KEYWORD_MAX_BYTES);
}

static uint32_t take_uid(struct cursor *c)
{
	uint32_t uid = (uint32_t)take_number(c, UINT32_MAX);

	if (uid == 0)
		c->bad = true;
	return uid;
}

/* All of K's text must be numbers; empty (no text) is a message without. */
static void take_numbers(struct cursor *c, struct uidlist_line *l)
{
	size_t pos = 0;
	uint32_t n;

	l->text_len = cursor_left(c);
	l->text = (const char *)cursor_bytes(c, l->text_len);
	if (c->bad)
		return;
	while (uidlist_numbers_next(l, &pos, &n))
		;
	if (pos != l->text_len && l->text_len != 0)
		c->bad = true;
}

bool uidlist_numbers_next(const struct uidlist_line *l, size_t *pos, uint32_t *n_r)
{
	uint32_t v = 0;
	size_t at = *pos, digits = 0;

	if (at > 0 && at < l->text_len && l->text[at++] != ',')
		return false;
	for (; at < l->text_len && l->text[at] >= '0' && l->text[at] <= '9'; at++) {
		v = v * 10 + (uint32_t)(l->text[at] - '0');
		if (++digits > 4 || v >= KEYWORDS_MAX)
			return false;
	}
	if (digits == 0)
		return false;
	*pos = at;
	*n_r = v;
	return true;
}

static enum uidlist_error parse_body(struct cursor *c, struct uidlist_line *l)
{
	uint8_t kind = cursor_u8(c);

	take_blank(c);
	l->kind = (enum uidlist_kind)kind;
	switch (kind) {
	case UIDLIST_HEADER:
		if (take_number(c, UINT32_MAX) != UIDLIST_FORMAT)
			return c->bad ? UIDLIST_E_INVALID : UIDLIST_E_FORMAT;
		take_header(c, l);
		break;
	case UIDLIST_NEXT:
		l->uid = take_uid(c);
		break;
	case UIDLIST_RESERVED:
		l->uid = take_uid(c);
		l->value = take_number(c, INT64_MAX);
		break;
	case UIDLIST_MODSEQ:
		l->value = take_number(c, INT64_MAX);
		break;
	case UIDLIST_KEYWORD:
		take_keyword(c, l);
		break;
	case UIDLIST_UID:
		l->uid = take_uid(c);
		take_text(c, l, 255);
		if (!c->bad && memchr(l->text, '/', l->text_len))
			c->bad = true;	/* never out of the directory */
		break;
	case UIDLIST_MSG_KEYWORDS:
		l->uid = take_uid(c);
		take_numbers(c, l);
		break;
	case UIDLIST_GONE:
		l->uid = take_uid(c);
		l->last = take_uid(c);
		if (l->last < l->uid)
			c->bad = true;
		break;
	default:
		return UIDLIST_E_INVALID;
	}
	return cursor_done(c) ? UIDLIST_OK : UIDLIST_E_INVALID;
}

enum uidlist_error uidlist_line_parse(const char *line, size_t len, struct uidlist_line *l_r)
{
	struct uidlist_line l = { 0 };
	struct cursor c;
	uint32_t check = 0;
	enum uidlist_error error;

	cursor_init(&c, line, len);
	for (int i = 0; i < 4; i++)
		check = check << 8 | take_hex_byte(&c);
	take_blank(&c);
	if (c.bad || len > UIDLIST_LINE_MAX || line_check(line + 9, len - 9) != check)
		return UIDLIST_E_CHECK;
	error = parse_body(&c, &l);
	if (error == UIDLIST_OK)
		*l_r = l;
	return error;
}

static void write_body(struct buf *out, const struct uidlist_line *l)
{
	buf_printf(out, "%c ", (char)l->kind);
	switch (l->kind) {
	case UIDLIST_HEADER:
		buf_printf(out, "%d %u ", UIDLIST_FORMAT, l->uid);
		for (size_t i = 0; i < sizeof(l->id); i++)
			buf_printf(out, "%02x", l->id[i]);
		buf_printf(out, " %llu", (unsigned long long)l->value);
		return;
	case UIDLIST_NEXT:
		buf_printf(out, "%u", l->uid);
		return;
	case UIDLIST_RESERVED:
		buf_printf(out, "%u %llu", l->uid, (unsigned long long)l->value);
		return;
	case UIDLIST_MODSEQ:
		buf_printf(out, "%llu", (unsigned long long)l->value);
		return;
	case UIDLIST_KEYWORD:
		buf_printf(out, "%u %c ", l->uid, l->letter);
		break;
	case UIDLIST_UID:
		buf_printf(out, "%u ", l->uid);
		break;
	case UIDLIST_MSG_KEYWORDS:
		buf_printf(out, "%u%s", l->uid, l->text_len ? " " : "");
		break;
	case UIDLIST_GONE:
		buf_printf(out, "%u %u", l->uid, l->last);
		return;
	}
	buf_append(out, l->text, l->text_len);
}

int uidlist_line_write(struct buf *out, const struct uidlist_line *l)
{
	size_t at = out->len;
	struct uidlist_line back;
	char check[16];

	buf_append_str(out, "........ ");
	write_body(out, l);
	if (out->failed)
		return -1;
	snprintf(check, sizeof(check), "%08x",
		 line_check(out->data + at + 9, out->len - at - 9));
	memcpy(out->data + at, check, 8);
	assert(uidlist_line_parse((char *)out->data + at, out->len - at, &back) == UIDLIST_OK);
	assert(!memchr(out->data + at, '\n', out->len - at));
	return buf_append_u8(out, '\n');
}

size_t uidlist_walk(const char *data, size_t len,
		    int (*fn)(void *ctx, const struct uidlist_line *l), void *ctx,
		    size_t *lines_r, size_t *bad_r, int *stop_r)
{
	size_t used = 0, lines = 0, bad = 0;
	const char *end;

	*stop_r = 0;
	while (*stop_r == 0 && (end = memchr(data + used, '\n', len - used))) {
		struct uidlist_line l;
		size_t n = (size_t)(end - data) - used;

		/* The empty line is what a writer puts behind a torn one. */
		if (n > 0) {
			lines++;
			if (uidlist_line_parse(data + used, n, &l) == UIDLIST_OK)
				*stop_r = fn(ctx, &l);
			else
				bad++;
		}
		used += n + 1;
	}
	*lines_r = lines;
	*bad_r = bad;
	return used;
}
