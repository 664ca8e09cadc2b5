/* SPDX-License-Identifier: MIT */
/* Which fields of a header the ENVELOPE tells so fully that SEARCH HEADER may ask
 * it, which is cached, instead of the header, which is not. An ENVELOPE has one
 * field of a name, no comments, no runs of blanks, no quotes: what has any of
 * that, but quotes around all of a name, is asked of the header itself. */
#include "imap/message-parse.h"

#include <string.h>

struct scan {
	const uint8_t *p, *end;
};

static const char *const told_names[] = {
	"Date", "Subject", "From", "To", "Cc", "Bcc", "In-Reply-To", "Message-ID",
};
_Static_assert(sizeof(told_names) / sizeof(told_names[0]) == 8, "a bit for each");
#define TOLD_LISTS	(MESSAGE_TOLD_FROM | MESSAGE_TOLD_TO | MESSAGE_TOLD_CC | MESSAGE_TOLD_BCC)

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* RFC 5322 3.2.3 atext; with dots between, as phrases have them too (4.1). */
static bool is_word(uint8_t c)
{
	return c > ' ' && c < 0x7f && strchr("()<>[]:;@\\,\"", c) == NULL;
}

/* One blank, which a line end may be before. */
static bool take_blank(struct scan *s)
{
	if (s->end - s->p > 2 && s->p[0] == '\r' && s->p[1] == '\n')
		s->p += 2;
	if (s->p == s->end || *s->p != ' ')
		return false;
	s->p++;
	return true;
}

static bool take(struct scan *s, char c)
{
	if (s->p == s->end || *s->p != (uint8_t)c)
		return false;
	s->p++;
	return true;
}

static bool take_word(struct scan *s)
{
	const uint8_t *from = s->p;

	while (s->p < s->end && is_word(*s->p))
		s->p++;
	return s->p > from;
}

static bool take_quoted(struct scan *s)
{
	const uint8_t *from = ++s->p;

	while (s->p < s->end && *s->p != '"') {
		/* no encoded word is one in quotes (RFC 2047 5) */
		if (*s->p < ' ' || *s->p >= 0x7f || *s->p == '\\' || *s->p == '=' ||
		    (*s->p == ' ' && (s->p == from || s->p[-1] == ' ')))
			return false;
		s->p++;
	}
	return s->p > from && s->p[-1] != ' ' && take(s, '"');
}

static bool take_addr_spec(struct scan *s)
{
	const uint8_t *from = s->p, *host;

	if (!take_word(s) || s->p[-1] == '.' || *from == '.' || !take(s, '@'))
		return false;
	host = s->p;
	if (!take_word(s) || s->p[-1] == '.' || *host == '.')
		return false;
	for (; from + 1 < s->p; from++) {
		if (from[0] == '.' && from[1] == '.')
			return false;
	}
	return true;
}

/* name <local@domain>, or the address alone */
static bool take_address(struct scan *s)
{
	struct scan alone = *s;

	if (take_addr_spec(&alone)) {
		*s = alone;
		return true;
	}
	if (s->p < s->end && *s->p == '"') {
		if (!take_quoted(s) || !take_blank(s))
			return false;
	} else {
		do {
			if (!take_word(s) || !take_blank(s))
				return false;
		} while (s->p < s->end && *s->p != '<');
	}
	return take(s, '<') && take_addr_spec(s) && take(s, '>');
}

static bool list_is_told(struct scan s)
{
	for (;;) {
		if (!take_address(&s))
			return false;
		if (s.p == s.end)
			return true;
		if (!take(&s, ',') || !take_blank(&s))
			return false;
	}
}

static bool text_is_told(struct scan s)
{
	while (s.p < s.end) {
		if (*s.p == 0)
			return false;
		if (!is_blank(*s.p))
			s.p++;
		else if (!take_blank(&s) || s.p == s.end || is_blank(*s.p))
			return false;
	}
	return true;
}

uint8_t message_told(const struct buf *header)
{
	uint8_t told = 0xff, seen = 0;
	size_t pos = 0;
	struct field f;

	if (header->len >= MESSAGE_HEADER_MAX_BYTES)
		return 0;
	while (field_next(header, &pos, &f)) {
		struct scan s = { f.value, f.value + f.value_len };
		size_t i = 0;

		while (i < 8 && !field_is(&f, told_names[i]))
			i++;
		if (i == 8)
			continue;
		while (s.p < s.end && (*s.p == ' ' || *s.p == '\t'))
			s.p++;
		if (s.end > s.p && s.end[-1] == '\n')
			s.end--;
		if (s.end > s.p && s.end[-1] == '\r')
			s.end--;
		if ((seen & 1u << i) || (s.end > s.p && is_blank(s.end[-1])) ||
		    !(TOLD_LISTS & 1u << i ? list_is_told(s) : text_is_told(s)))
			told &= (uint8_t)~(1u << i);
		seen |= (uint8_t)(1u << i);
	}
	return told;
}
