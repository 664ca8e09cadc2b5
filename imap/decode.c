/* SPDX-License-Identifier: MIT */
#include "imap/decode.h"

#include <string.h>
#include <strings.h>

/* ---- base64 ---- */

static int base64_value(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* RFC 2045 6.8: other characters are ignored. A "=" ends a quantum: what comes
 * behind it was encoded by itself and put together. */
static size_t base64_bytes(struct transfer_decoder *t, const uint8_t *p, size_t len,
			   uint8_t *out)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		int value = base64_value(p[i]);

		if (p[i] == '=')
			t->n_bits = 0;
		if (value < 0)
			continue;
		t->bits = t->bits << 6 | (uint32_t)value;
		t->n_bits = (uint8_t)(t->n_bits + 6);
		if (t->n_bits >= 8) {
			t->n_bits = (uint8_t)(t->n_bits - 8);
			out[n++] = (uint8_t)(t->bits >> t->n_bits);
		}
	}
	return n;
}

static void base64_feed(struct transfer_decoder *t, const uint8_t *p, size_t len)
{
	uint8_t out[768];

	while (len > 0) {
		size_t some = len < 1024 ? len : 1024;

		charset_feed(t->to, out, base64_bytes(t, p, some, out));
		p += some;
		len -= some;
	}
}

/* ---- quoted-printable ---- */

static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void qp_put_held(struct transfer_decoder *t)
{
	charset_feed(t->to, t->held, t->n_held);
	t->n_held = 0;
}

/* "=" and c behind it; a soft line break may have blanks before its end. */
static void qp_escape(struct transfer_decoder *t, uint8_t c)
{
	uint8_t byte;

	if (c == '\n') {
		t->n_held = 0;
		return;
	}
	if (t->n_held == sizeof(t->held))	/* blanks beyond reason */
		qp_put_held(t);
	t->held[t->n_held++] = (char)c;
	if (t->n_held == 3 && hex_value((uint8_t)t->held[1]) >= 0 && hex_value(c) >= 0) {
		byte = (uint8_t)(hex_value((uint8_t)t->held[1]) << 4 | hex_value(c));
		charset_feed(t->to, &byte, 1);
		t->n_held = 0;
	} else if (c != ' ' && c != '\t' && c != '\r' &&
		   !(t->n_held == 2 && hex_value(c) >= 0)) {
		/* No escape: as it stands, which RFC 2045 6.7 suggests. */
		if (c == '=')
			t->n_held--;
		qp_put_held(t);
		if (c == '=')
			t->held[t->n_held++] = '=';
	}
}

/* Rule 3: blanks at the end of a line were not there when it was encoded. */
static void qp_byte(struct transfer_decoder *t, uint8_t c)
{
	if (t->n_held > 0 && t->held[0] == '=') {
		qp_escape(t, c);
		return;
	}
	if (c == ' ' || c == '\t') {
		if (t->n_held == sizeof(t->held))
			qp_put_held(t);
		t->held[t->n_held++] = (char)c;
		return;
	}
	if (c == '\r' || c == '\n')
		t->n_held = 0;
	else if (t->n_held > 0)
		qp_put_held(t);
	if (c == '=')
		t->held[t->n_held++] = '=';
	else
		charset_feed(t->to, &c, 1);
}

static void qp_feed(struct transfer_decoder *t, const uint8_t *p, size_t len)
{
	const uint8_t *end = p + len;

	while (p < end) {
		const uint8_t *from = p;

		/* Stretches without anything special. */
		while (t->n_held == 0 && p < end && *p > ' ' && *p != '=')
			p++;
		if (p > from)
			charset_feed(t->to, from, (size_t)(p - from));
		if (p < end)
			qp_byte(t, *p++);
	}
}

/* ---- bodies ---- */

void transfer_begin(struct transfer_decoder *t, const char *encoding,
		    struct charset_decoder *to)
{
	t->kind = TRANSFER_NONE;
	if (encoding != NULL && strcasecmp(encoding, "base64") == 0)
		t->kind = TRANSFER_BASE64;
	else if (encoding != NULL && strcasecmp(encoding, "quoted-printable") == 0)
		t->kind = TRANSFER_QP;
	t->to = to;
	t->bits = 0;
	t->n_bits = t->n_held = 0;
}

void transfer_feed(struct transfer_decoder *t, const void *data, size_t len)
{
	switch (t->kind) {
	case TRANSFER_BASE64:
		base64_feed(t, data, len);
		break;
	case TRANSFER_QP:
		qp_feed(t, data, len);
		break;
	case TRANSFER_NONE:
		charset_feed(t->to, data, len);
		break;
	}
}

void transfer_end(struct transfer_decoder *t)
{
	if (t->n_held > 0 && t->held[0] == '=' && t->n_held > 1)
		qp_put_held(t);		/* half an escape; a lone "=" joins nothing */
	t->n_held = 0;
	charset_end(t->to);
}

/* ---- encoded words ---- */

/* A word's text goes through the decoder of the word before it if nothing but
 * blanks stood between them and the charset is the same: senders cut
 * characters in two (RFC 2047 5 forbids it). */
static void word_charset(struct words_decoder *w, const char *name, size_t len)
{
	const struct charset *charset = charset_find(name, len);

	if (charset == NULL)
		charset = charset_bytes;
	if (w->after_word && w->coded.charset == charset && w->coded.mode == 0)
		return;
	if (w->after_word)
		charset_end(&w->coded);
	charset_begin(&w->coded, charset, w->fold, w->out);
}

/* RFC 2047 4.2 */
static void word_q(struct words_decoder *w, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint8_t byte = p[i] == '_' ? ' ' : p[i];

		if (byte == '=' && len - i > 2 && hex_value(p[i + 1]) >= 0 &&
		    hex_value(p[i + 2]) >= 0) {
			byte = (uint8_t)(hex_value(p[i + 1]) << 4 | hex_value(p[i + 2]));
			i += 2;
		}
		charset_feed(&w->coded, &byte, 1);
	}
}

/* word[] is "=?charset?encoding?text?=". False: it is not after all. */
static bool word_decode(struct words_decoder *w)
{
	const char *charset = w->word + 2;
	const char *mark = memchr(charset, '?', w->n_word - 2);
	const char *end = w->word + w->n_word - 2, *text;
	struct transfer_decoder b64;

	if (mark == NULL || mark == charset || end - mark < 3 || mark[2] != '?')
		return false;
	text = mark + 3;
	if (text > end || strchr("bBqQ", mark[1]) == NULL || mark[1] == '\0')
		return false;
	word_charset(w, charset, (size_t)(mark - charset));
	if (mark[1] == 'q' || mark[1] == 'Q') {
		word_q(w, (const uint8_t *)text, (size_t)(end - text));
	} else {
		transfer_begin(&b64, "base64", &w->coded);
		transfer_feed(&b64, text, (size_t)(end - text));
	}
	return true;
}

/* Text after a word: the blanks between them count, and the word's charset
 * is done with. */
static void leave_word(struct words_decoder *w)
{
	if (w->after_word)
		charset_end(&w->coded);
	w->after_word = false;
	charset_feed(&w->plain, w->blanks, w->n_blanks);
	w->n_blanks = 0;
}

static void word_is_text(struct words_decoder *w)
{
	leave_word(w);
	charset_feed(&w->plain, w->word, w->n_word);
	w->n_word = 0;
	w->phase = WORDS_TEXT;
}

/* A byte that belongs to text[] of the word begun, or ends it. False: the word
 * is none, and the byte has to be looked at again. */
static bool word_byte(struct words_decoder *w, uint8_t c)
{
	bool end = c == '=' && w->marks >= 4 && w->word[w->n_word - 1] == '?';

	if ((w->n_word == 1 && c != '?') || c <= ' ' || c == 0x7f ||
	    w->n_word == ENCODED_WORD_MAX || (w->marks >= 4 && !end)) {
		word_is_text(w);
		return false;
	}
	w->word[w->n_word++] = (char)c;
	/* In Q's text "=" may follow the third "?" at once: "?=" ends it only
	   if it is the fourth. */
	w->marks = (uint8_t)(w->marks + (c == '?'));
	if (!end)
		return true;
	charset_end(&w->plain);
	if (!word_decode(w)) {
		word_is_text(w);
		return true;
	}
	w->n_word = w->n_blanks = 0;
	w->after_word = true;
	w->phase = WORDS_SPACE;
	return true;
}

static void text_byte(struct words_decoder *w, uint8_t c)
{
	if (c == '=') {
		w->word[0] = '=';
		w->n_word = 1;
		w->marks = 0;
		w->phase = WORDS_WORD;
	} else if (c == '\n') {
		w->phase = WORDS_LINE;
	} else if (c != '\r' && w->after_word && (c == ' ' || c == '\t')) {
		if (w->n_blanks == sizeof(w->blanks)) {
			leave_word(w);
			charset_feed(&w->plain, &c, 1);
		} else {
			w->blanks[w->n_blanks++] = (char)c;
		}
	} else if (c != '\r') {
		leave_word(w);
		charset_feed(&w->plain, &c, 1);
		w->phase = WORDS_TEXT;
	}
}

/* After a line end: a blank goes on with the field, and a tab there is how
 * some fold where there was a space. */
static void line_byte(struct words_decoder *w, uint8_t c)
{
	static const uint8_t newline = '\n';

	w->phase = WORDS_TEXT;
	if (c == ' ' || c == '\t') {
		text_byte(w, ' ');
		return;
	}
	leave_word(w);
	charset_end(&w->plain);
	charset_feed(&w->plain, &newline, 1);
	text_byte(w, c);
}

void words_begin(struct words_decoder *w, bool fold, struct text_out *out)
{
	w->out = out;
	w->fold = fold;
	charset_begin(&w->plain, charset_bytes, fold, out);
	charset_begin(&w->coded, charset_bytes, fold, out);
	w->phase = WORDS_TEXT;
	w->after_word = false;
	w->marks = 0;
	w->n_blanks = w->n_word = 0;
}

void words_feed(struct words_decoder *w, const void *data, size_t len)
{
	const uint8_t *p = data, *end = p + len;

	while (len > 0 && p < end) {
		const uint8_t *from = p;

		if (w->phase == WORDS_TEXT && !w->after_word) {
			while (p < end && *p != '=' && *p != '\r' && *p != '\n')
				p++;
			charset_feed(&w->plain, from, (size_t)(p - from));
			if (p == end)
				break;
		}
		if (w->phase == WORDS_LINE)
			line_byte(w, *p++);
		else if (w->phase != WORDS_WORD)
			text_byte(w, *p++);
		else
			p += word_byte(w, *p);
	}
}

void words_end(struct words_decoder *w)
{
	if (w->phase == WORDS_WORD)
		word_is_text(w);
	if (w->after_word)
		charset_end(&w->coded);
	w->after_word = false;
	charset_end(&w->plain);
}
