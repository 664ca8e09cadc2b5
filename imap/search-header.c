/* SPDX-License-Identifier: MIT */
/* SEARCH HEADER (RFC 3501 6.4.4) in one pass over the header, whatever the
 * length of its fields. */
#include "imap/search.h"

#include <string.h>
#include <strings.h>

static void to_active(void *ctx, const void *data, size_t len)
{
	struct search *q = ctx;

	for (struct search_key *k = q->texts; k != NULL; k = k->next_text) {
		if (k->active)
			text_match_feed(&k->match, data, len);
	}
}

/* Those of the ENVELOPE are left over by it where it does not tell all. */
static bool asks_header(const struct search_key *k)
{
	return k->type == KEY_HEADER || (k->type == KEY_ENVELOPE && k->name != NULL);
}

void header_scan_begin(struct header_scan *h, struct search *q, uint8_t *answers)
{
	h->q = q;
	h->answers = answers;
	h->phase = SCAN_BEGIN;
	h->in_field = false;
	h->name_len = 0;
	for (struct search_key *k = q->texts; k != NULL; k = k->next_text)
		k->active = false;
}

/* The name is complete: who wants it? */
static void field_begin(struct header_scan *h)
{
	while (h->name_len > 0 && (h->name[h->name_len - 1] == ' ' ||
				   h->name[h->name_len - 1] == '\t'))
		h->name_len--;		/* RFC 5322 4.5 */
	for (struct search_key *k = h->q->texts; k != NULL; k = k->next_text) {
		if (!asks_header(k) || h->answers[k->number] != SEARCH_UNKNOWN ||
		    k->name_len != h->name_len ||
		    strncasecmp(k->name, h->name, h->name_len) != 0)
			continue;
		k->active = h->in_field = true;
		text_match_begin(&k->match, &k->needle);
	}
	h->phase = h->in_field ? SCAN_LEAD : SCAN_VALUE;
	if (h->in_field) {
		text_out_init(&h->out, to_active, h->q);
		words_begin(&h->words, true, &h->out);
	}
}

static void field_end(struct header_scan *h)
{
	if (!h->in_field)
		return;
	words_end(&h->words);
	text_out_flush(&h->out);
	for (struct search_key *k = h->q->texts; k != NULL; k = k->next_text) {
		if (k->active && k->match.found)
			h->answers[k->number] = SEARCH_YES;
		k->active = false;
	}
	h->in_field = false;
}

static void line_begins(struct header_scan *h, char c)
{
	if (c == ' ' || c == '\t') {
		if (h->in_field)
			words_feed(&h->words, &c, 1);
		h->phase = SCAN_VALUE;
		return;
	}
	field_end(h);
	if (c == '\n') {
		h->phase = SCAN_DONE;
		return;
	}
	h->phase = c == '\r' ? SCAN_CR : SCAN_NAME;
	h->name[0] = c;
	h->name_len = 1;
}

static void name_byte(struct header_scan *h, char c)
{
	if (c == ':' && h->name_len <= sizeof(h->name))
		field_begin(h);
	else if (c == ':')
		h->phase = SCAN_VALUE;
	else if (c == '\n')
		h->phase = SCAN_BEGIN;	/* a line without a name is nobody's */
	else if (h->name_len < sizeof(h->name))
		h->name[h->name_len++] = c;
	else
		h->name_len = sizeof(h->name) + 1;
}

/* Passes what is left of the line in [p, end). */
static const char *value_bytes(struct header_scan *h, const char *p, const char *end)
{
	const char *lf = memchr(p, '\n', (size_t)(end - p));
	const char *to = lf != NULL ? lf + 1 : end;

	if (h->in_field)
		words_feed(&h->words, p, (size_t)(to - p));
	if (lf != NULL)
		h->phase = SCAN_BEGIN;
	return to;
}

bool header_scan_feed(struct header_scan *h, const void *data, size_t len)
{
	const char *p = data, *end = p + len;

	while (len > 0 && p < end) {
		switch (h->phase) {
		case SCAN_BEGIN:
			line_begins(h, *p++);
			break;
		case SCAN_CR:		/* "\r\n": the empty line */
			h->phase = *p == '\n' ? SCAN_DONE : SCAN_NAME;
			break;
		case SCAN_NAME:
			name_byte(h, *p++);
			break;
		case SCAN_LEAD:
			if (*p == ' ' || *p == '\t')
				p++;
			else
				h->phase = SCAN_VALUE;
			break;
		case SCAN_VALUE:
			p = value_bytes(h, p, end);
			break;
		case SCAN_DONE:
			return false;
		}
	}
	return h->phase != SCAN_DONE;
}

void header_scan_end(struct header_scan *h)
{
	field_end(h);
	for (struct search_key *k = h->q->texts; k != NULL; k = k->next_text) {
		if (asks_header(k) && h->answers[k->number] == SEARCH_UNKNOWN)
			h->answers[k->number] = SEARCH_NO;
	}
}
