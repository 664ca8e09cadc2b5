/* SPDX-License-Identifier: MIT */
/* FROM, SUBJECT, SENTON and their like (RFC 3501 6.4.4) are about "the envelope
 * structure's field": asked of the very text that FETCH ENVELOPE sends, so
 * they mean the same whether it was cached or made for the question. */
#include "imap/search.h"

#include <string.h>
#include <strings.h>

#include "imap/message.h"

/* ---- the text ---- */

struct lexer {
	const uint8_t *p, *end;
	bool bad;
};

static bool lexer_is(const struct lexer *l, char c)
{
	return l->p < l->end && *l->p == c;
}

static void lexer_take(struct lexer *l, char c)
{
	if (lexer_is(l, c))
		l->p++;
	else
		l->bad = true;
}

/* What a string hands out, as pieces. */
typedef void string_fn(void *ctx, const void *data, size_t len);

static void take_quoted(struct lexer *l, string_fn *fn, void *ctx)
{
	const uint8_t *from = ++l->p;

	while (l->p < l->end && *l->p != '"') {
		if (*l->p == '\\' && l->end - l->p > 1) {
			if (fn != NULL)
				fn(ctx, from, (size_t)(l->p - from));
			from = ++l->p;
		}
		l->p++;
	}
	if (fn != NULL)
		fn(ctx, from, (size_t)(l->p - from));
	lexer_take(l, '"');
}

static void take_literal(struct lexer *l, string_fn *fn, void *ctx)
{
	size_t len = 0;

	for (l->p++; l->p < l->end && *l->p >= '0' && *l->p <= '9' && len < SIZE_MAX / 16; l->p++)
		len = len * 10 + *l->p - '0';
	lexer_take(l, '}');
	lexer_take(l, '\r');
	lexer_take(l, '\n');
	if (l->bad || len > (size_t)(l->end - l->p)) {
		l->bad = true;
		return;
	}
	if (fn != NULL)
		fn(ctx, l->p, len);
	l->p += len;
}

/* nstring; false: NIL */
static bool take_string(struct lexer *l, string_fn *fn, void *ctx)
{
	if (lexer_is(l, '"')) {
		take_quoted(l, fn, ctx);
	} else if (lexer_is(l, '{')) {
		take_literal(l, fn, ctx);
	} else if (l->end - l->p >= 3 && strncasecmp((const char *)l->p, "NIL", 3) == 0) {
		l->p += 3;
		return false;
	} else {
		l->bad = true;
	}
	return true;
}

/* A field: a string, or a list of addresses, each a list of strings. */
static void skip_field(struct lexer *l)
{
	unsigned depth = 0;

	do {
		if (lexer_is(l, '(')) {
			depth++;
			l->p++;
		} else if (depth > 0 && lexer_is(l, ')')) {
			depth--;
			l->p++;
		} else if (depth > 0 && lexer_is(l, ' ')) {
			l->p++;
		} else {
			take_string(l, NULL, NULL);
		}
	} while (depth > 0 && !l->bad);
}

static bool find_fields(const void *data, size_t len, struct lexer fields[ENVELOPE_FIELDS])
{
	struct lexer l = { .p = data };

	l.end = l.p + len;
	lexer_take(&l, '(');
	for (int i = 0; i < ENVELOPE_FIELDS && !l.bad; i++) {
		if (i > 0)
			lexer_take(&l, ' ');
		fields[i] = l;
		skip_field(&l);
		fields[i].end = l.p;
	}
	lexer_take(&l, ')');
	return !l.bad;
}

/* ---- matching ---- */

static void to_match(void *ctx, const void *data, size_t len)
{
	text_match_feed(ctx, data, len);
}

static void to_words(void *ctx, const void *data, size_t len)
{
	words_feed(ctx, data, len);
}

/* Is the nstring at l NIL? Passes it. */
static bool passed_nil(struct lexer *l)
{
	return !take_string(l, NULL, NULL);
}

/* One address (RFC 3501 7.4.2) as people write it: name <mailbox@host>; a
 * group's begin has no host, its end nothing. */
static void feed_address(struct lexer *l, struct words_decoder *w)
{
	struct lexer name, mailbox, host;
	bool has_name, has_host;

	lexer_take(l, '(');
	name = *l;
	has_name = !passed_nil(l);
	lexer_take(l, ' ');
	passed_nil(l);			/* source route */
	lexer_take(l, ' ');
	mailbox = *l;
	passed_nil(l);
	lexer_take(l, ' ');
	host = *l;
	has_host = !passed_nil(l);
	lexer_take(l, ')');
	if (l->bad)
		return;
	if (has_name) {
		take_string(&name, to_words, w);
		words_feed(w, " <", 2);
	}
	take_string(&mailbox, to_words, w);
	if (has_host) {
		words_feed(w, "@", 1);
		take_string(&host, to_words, w);
	}
	words_feed(w, has_name ? ">, " : has_host ? ", " : ": ", has_name ? 3 : 2);
}

static bool field_matches(struct search_key *k, struct lexer field)
{
	struct words_decoder w;
	struct text_out out;
	bool there = true;

	text_match_begin(&k->match, &k->needle);
	text_out_init(&out, to_match, &k->match);
	words_begin(&w, true, &out);
	if (lexer_is(&field, '(')) {
		field.p++;
		while (!field.bad && lexer_is(&field, '('))
			feed_address(&field, &w);
	} else {
		there = take_string(&field, to_words, &w);
	}
	words_end(&w);
	text_out_flush(&out);
	return there && k->match.found;
}

/* ---- dates ---- */

int64_t search_day(int year, int month, int day)
{
	return ((int64_t)year * 16 + month) * 64 + day;
}

static int month_of(const char *text)
{
	static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

	for (int i = 0; i < 12; i++) {
		if (strncasecmp(text, names + 3 * i, 3) == 0)
			return i + 1;
	}
	return 0;
}

struct date_text {
	const char *p, *end;
};

/* CFWS (RFC 5322 3.2.2), and the comma behind a day of the week. */
static void date_blanks(struct date_text *d)
{
	unsigned depth = 0;

	for (; d->p < d->end; d->p++) {
		if (*d->p == '(')
			depth++;
		else if (*d->p == ')' && depth > 0)
			depth--;
		else if (depth == 0 && strchr(" \t\r\n,-", *d->p) == NULL)
			break;
	}
}

static int date_number(struct date_text *d, int *digits_r)
{
	int n = 0, digits = 0;

	date_blanks(d);
	while (d->p < d->end && *d->p >= '0' && *d->p <= '9' && digits < 5) {
		n = n * 10 + *d->p++ - '0';
		digits++;
	}
	*digits_r = digits;
	return n;
}

static void date_word(struct date_text *d)
{
	while (d->p < d->end && ((*d->p | 0x20) >= 'a' && (*d->p | 0x20) <= 'z'))
		d->p++;
}

bool search_sent_day(const char *text, size_t len, int64_t *day_r)
{
	struct date_text d = { text, text + len };
	int day, month, year, digits;

	date_blanks(&d);
	date_word(&d);			/* the day of the week */
	if (d.p < d.end && *d.p == '.')
		d.p++;
	day = date_number(&d, &digits);
	if (digits < 1 || digits > 2 || day < 1 || day > 31)
		return false;
	date_blanks(&d);
	month = d.end - d.p >= 3 ? month_of(d.p) : 0;
	if (month == 0)
		return false;
	date_word(&d);
	year = date_number(&d, &digits);
	if (digits < 2)
		return false;
	/* RFC 5322 4.3 */
	if (digits == 2)
		year += year < 50 ? 2000 : 1900;
	else if (digits == 3)
		year += 1900;
	*day_r = search_day(year, month, day);
	return true;
}

struct date_copy {
	char text[128];
	size_t len;
};

static void to_date(void *ctx, const void *data, size_t len)
{
	struct date_copy *c = ctx;
	size_t n = sizeof(c->text) - c->len;

	n = n < len ? n : len;
	memcpy(c->text + c->len, data, n);
	c->len += n;
}

static bool sent_matches(const struct search_key *k, struct lexer field)
{
	struct date_copy c = { .len = 0 };
	int64_t day;

	if (!take_string(&field, to_date, &c) || !search_sent_day(c.text, c.len, &day))
		return false;
	return day >= k->from && day < k->to;
}

/* Of HEADER Subject and its like. */
static bool field_is_told(const struct search_key *k, uint8_t told)
{
	static const uint8_t bits[ENVELOPE_FIELDS] = {
		[ENVELOPE_DATE] = MESSAGE_TOLD_DATE,
		[ENVELOPE_SUBJECT] = MESSAGE_TOLD_SUBJECT,
		[ENVELOPE_FROM] = MESSAGE_TOLD_FROM,
		[ENVELOPE_TO] = MESSAGE_TOLD_TO,
		[ENVELOPE_CC] = MESSAGE_TOLD_CC,
		[ENVELOPE_BCC] = MESSAGE_TOLD_BCC,
		[ENVELOPE_IN_REPLY_TO] = MESSAGE_TOLD_IN_REPLY_TO,
		[ENVELOPE_MESSAGE_ID] = MESSAGE_TOLD_MESSAGE_ID,
	};

	return k->name == NULL || (told & bits[k->field]) != 0;
}

bool search_list_may_tell(const struct text_needle *needle)
{
	const uint8_t *b = needle->bytes;
	size_t len = needle->len;

	for (size_t i = 0; i < len; i++) {
		if (strchr("\"\\<>,", b[i]) != NULL)	/* and NUL */
			return false;
	}
	return len == 0 || (b[0] != ' ' && b[len - 1] != ' ');
}

bool search_envelope(struct search *q, const void *data, size_t len, uint8_t told,
		     uint8_t *answers)
{
	struct lexer fields[ENVELOPE_FIELDS];

	if (!find_fields(data, len, fields))
		return false;
	for (struct search_key *k = q->texts; k != NULL; k = k->next_text) {
		bool yes;

		if (k->type == KEY_SENT)
			yes = sent_matches(k, fields[ENVELOPE_DATE]);
		else if (k->type == KEY_ENVELOPE && field_is_told(k, told))
			yes = field_matches(k, fields[k->field]);
		else
			continue;
		answers[k->number] = yes ? SEARCH_YES : SEARCH_NO;
	}
	return true;
}
