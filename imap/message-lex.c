/* SPDX-License-Identifier: MIT */
#include "imap/message-lex.h"

#include <string.h>

#include "lib/buf.h"

static bool is_blank(int c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_alnum(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* RFC 5322 3.2.3; 8-bit as RFC 6532 has it, and as it was always sent. */
static bool is_atext(int c)
{
	return is_alnum(c) || c >= 0x80 || (c > 0 && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

/* RFC 2045 5.1 */
static bool is_token(int c)
{
	return c > ' ' && c != 0x7f && strchr("()<>@,;:\\\"/[]?=", c) == NULL;
}

static void put(struct buf *out, uint8_t c)
{
	if (c == 0)
		buf_append_str(out, "\xef\xbf\xbd");
	else
		buf_append_u8(out, c);
}

bool lex_take(struct lex *l, uint8_t c)
{
	if (lex_peek(l) != c)
		return false;
	l->pos++;
	return true;
}

/* At "(". Comments nest (RFC 5322 3.2.2). */
static bool skip_comment(struct lex *l, struct buf *comment)
{
	unsigned depth = 0;

	if (comment != NULL)
		buf_reset(comment);
	while (l->pos < l->len) {
		uint8_t c = l->data[l->pos++];

		if (c == '(' && depth++ == 0)
			continue;
		if (c == ')' && --depth == 0)
			return true;
		if (c == '\\' && l->pos < l->len)
			c = l->data[l->pos++];
		if (comment != NULL)
			put(comment, c);
	}
	if (comment != NULL)
		buf_reset(comment);
	return false;
}

bool lex_skip(struct lex *l, struct buf *comment)
{
	for (;;) {
		int c = lex_peek(l);

		if (is_blank(c))
			l->pos++;
		else if (c != '(')
			return true;
		else if (!skip_comment(l, comment))
			return false;
	}
}

static bool take_run(struct lex *l, struct buf *out, bool (*is_one)(int c), const char *more)
{
	size_t begin = l->pos;

	while (l->pos < l->len) {
		uint8_t c = l->data[l->pos];

		if (!is_one(c) && (c == 0 || strchr(more, c) == NULL))
			break;
		l->pos++;
	}
	if (l->pos > begin)
		buf_append(out, l->data + begin, l->pos - begin);
	return l->pos > begin;
}

bool lex_atom(struct lex *l, struct buf *out)
{
	return take_run(l, out, is_atext, "");
}

bool lex_dot_atom(struct lex *l, struct buf *out)
{
	return take_run(l, out, is_atext, ".");
}

bool lex_token(struct lex *l, struct buf *out)
{
	return take_run(l, out, is_token, "");
}

bool lex_value(struct lex *l, struct buf *out)
{
	return take_run(l, out, is_token, "=?");
}

/* Up to end, which is taken. A backslash before a line end is one itself: the
 * fold is no part of the text. */
static bool take_until(struct lex *l, uint8_t end, bool keep_escapes, struct buf *out)
{
	while (l->pos < l->len) {
		uint8_t c = l->data[l->pos++];
		int next = lex_peek(l);

		if (c == end)
			return true;
		if (c == '\r' || c == '\n')
			continue;
		if (c == '\\' && next >= 0 && next != '\r' && next != '\n') {
			if (keep_escapes)
				put(out, c);
			c = (uint8_t)next;
			l->pos++;
		}
		put(out, c);
	}
	return false;
}

bool lex_quoted(struct lex *l, struct buf *out)
{
	l->pos++;
	return take_until(l, '"', false, out);
}

bool lex_literal(struct lex *l, struct buf *out)
{
	l->pos++;
	buf_append_u8(out, '[');
	if (!take_until(l, ']', true, out))
		return false;
	buf_append_u8(out, ']');
	return true;
}

void lex_to_semicolon(struct lex *l)
{
	bool quoted = false;

	while (l->pos < l->len) {
		uint8_t c = l->data[l->pos];

		if (c == ';' && !quoted)
			return;
		if (c == '"')
			quoted = !quoted;
		l->pos += c == '\\' && quoted && l->pos + 1 < l->len ? 2 : 1;
	}
}

void lex_text(const uint8_t *data, size_t len, bool collapse, struct buf *out)
{
	bool space = false;

	while (len > 0 && is_blank(data[len - 1]))
		len--;
	while (len > 0 && is_blank(*data)) {
		data++;
		len--;
	}
	for (size_t i = 0; i < len; i++) {
		uint8_t c = data[i];

		if (collapse && is_blank(c)) {
			if (!space)
				buf_append_u8(out, ' ');
			space = true;
			continue;
		}
		space = false;
		if (c == '\r' && i + 1 < len && data[i + 1] == '\n')
			i++;	/* of a fold; what follows it stays (RFC 5322 2.2.3) */
		else
			put(out, c == '\r' || c == '\n' ? ' ' : c);
	}
}
