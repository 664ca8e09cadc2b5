/* SPDX-License-Identifier: MIT */
#include "imap/maildir/dovecot-files.h"

#include <errno.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/imap-write.h"
#include "lib/limits.h"

/* What is left of one line. */
struct text {
	const char *p, *end;
};

static bool next_line(struct text *all, struct text *line)
{
	const char *lf = memchr(all->p, '\n', (size_t)(all->end - all->p));

	/* A last line without its end is still being written. */
	if (!lf)
		return false;
	line->p = all->p;
	line->end = lf;
	all->p = lf + 1;
	return true;
}

static bool take_u32(struct text *t, uint32_t *v_r)
{
	uint64_t v = 0;
	const char *p = t->p;

	for (; p < t->end && *p >= '0' && *p <= '9'; p++) {
		v = v * 10 + (uint64_t)(*p - '0');
		if (v > UINT32_MAX)
			return false;
	}
	if (p == t->p)
		return false;
	t->p = p;
	*v_r = (uint32_t)v;
	return true;
}

static bool take_blank(struct text *t)
{
	if (t->p == t->end || *t->p != ' ')
		return false;
	t->p++;
	return true;
}

/* Up to the next blank. */
static struct text take_word(struct text *t)
{
	const char *blank = memchr(t->p, ' ', (size_t)(t->end - t->p));
	struct text word = { t->p, blank ? blank : t->end };

	t->p = blank ? blank + 1 : t->end;
	return word;
}

static bool hex_id(struct text t, uint8_t id[16])
{
	if (t.end - t.p != 32)
		return false;
	for (int i = 0; i < 32; i++) {
		char c = t.p[i];
		int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10
			: c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;

		if (v < 0)
			return false;
		id[i / 2] = (uint8_t)(i % 2 ? id[i / 2] | v : v << 4);
	}
	return true;
}

/* POP3's format of UIDLs, and what there may be one day. */
static void header_other(struct dovecot_uidlist *h, struct text word)
{
	size_t at = strlen(h->other), len = (size_t)(word.end - word.p);

	if (len == 0 || len + 2 > sizeof(h->other) - at || memchr(word.p, '\0', len) ||
	    memchr(word.p, '\r', len))
		return;
	h->other[at] = ' ';
	memcpy(h->other + at + 1, word.p, len);
}

static bool header_v3(struct text t, struct dovecot_uidlist *h)
{
	while (t.p < t.end) {
		struct text word = take_word(&t);
		char letter;

		if (word.p < word.end && !strchr("VNG", *word.p))
			header_other(h, word);
		letter = word.p < word.end ? *word.p++ : ' ';

		if (letter == 'V' && !take_u32(&word, &h->uidvalidity))
			return false;
		if (letter == 'N' && !take_u32(&word, &h->next_uid))
			return false;
		if (letter == 'G')
			h->has_id = hex_id(word, h->id);
	}
	return h->uidvalidity != 0;
}

static bool header_parse(struct text t, struct dovecot_uidlist *h, uint32_t *version_r)
{
	*h = (struct dovecot_uidlist){ 0 };
	if (!take_u32(&t, version_r) || !take_blank(&t))
		return false;
	if (*version_r == 3)
		return header_v3(t, h);
	return *version_r == 1 && take_u32(&t, &h->uidvalidity) && take_blank(&t) &&
	       take_u32(&t, &h->next_uid) && h->uidvalidity != 0;
}

/* "UID [<letter><value> ...] :base" or, in version 1, "UID base". */
static bool record_parse(struct text t, uint32_t version, struct dovecot_record *r)
{
	const char *colon;

	if (!take_u32(&t, &r->uid) || !take_blank(&t) || r->uid == 0 || r->uid == UINT32_MAX)
		return false;
	r->words = t.p;
	r->words_len = 0;
	while (version == 3 && t.p < t.end && *t.p != ':')
		r->words_len = (size_t)(take_word(&t).end - r->words);
	if (version == 3) {
		if (t.p == t.end)
			return false;
		t.p++;
	}
	colon = memchr(t.p, ':', (size_t)(t.end - t.p));
	if (colon)
		t.end = colon;
	r->base = t.p;
	r->base_len = (size_t)(t.end - t.p);
	return t.p < t.end && t.end - t.p <= 255 && !memchr(t.p, '/', (size_t)(t.end - t.p)) &&
	       !memchr(t.p, '\0', (size_t)(t.end - t.p)) &&
	       !memchr(t.p, '\r', (size_t)(t.end - t.p)) && *t.p != '.';
}

int dovecot_uidlist_parse(const char *data, size_t len, struct dovecot_uidlist *header_r,
			  int (*fn)(void *ctx, const struct dovecot_record *r), void *ctx)
{
	struct text all = { data, data + len }, line;
	struct dovecot_record record;
	uint32_t version;
	int rc = 0;

	if (len == 0 || !next_line(&all, &line) || !header_parse(line, header_r, &version))
		return -EINVAL;
	while (rc == 0 && next_line(&all, &line)) {
		if (record_parse(line, version, &record))
			rc = fn(ctx, &record);
	}
	return rc;
}

int dovecot_keywords_parse(const char *data, size_t len,
			   int (*fn)(void *ctx, int letter, const char *name, size_t len),
			   void *ctx)
{
	struct text all = { data, data + len }, line;
	uint32_t n, seen = 0;
	int rc = 0;

	while (rc == 0 && len > 0 && next_line(&all, &line)) {
		size_t name_len;

		if (!take_u32(&line, &n) || !take_blank(&line) || n > 25 || seen >> n & 1)
			continue;
		name_len = (size_t)(line.end - line.p);
		if (name_len == 0 || name_len > KEYWORD_MAX_BYTES ||
		    memchr(line.p, '\0', name_len) || memchr(line.p, '\r', name_len))
			continue;
		seen |= UINT32_C(1) << n;
		rc = fn(ctx, (int)n, line.p, name_len);
	}
	return rc;
}

/* ---- subscriptions ---- */

/* What a line of version 2 has instead of the bytes that it cannot hold. */
static int unescape(char c)
{
	switch (c) {
	case '0':	return '\0';
	case '1':	return '\001';
	case 't':	return '\t';
	case 'r':	return '\r';
	case 'n':	return '\n';
	default:	return -1;
	}
}

/* Levels become names with dots between them. False: a level that has a dot, or
 * what is no escape. */
static bool subscription_join(struct text line, struct buf *out)
{
	for (const char *p = line.p; p < line.end; p++) {
		int c = (unsigned char)*p;

		if (c == '\001') {
			c = ++p < line.end ? unescape(*p) : -1;
			if (c <= 0)
				return false;
		} else if (c == '\t') {
			c = '.';
		} else if (c == '.') {
			return false;
		}
		buf_append_u8(out, (uint8_t)c);
	}
	return true;
}

/* It was kept in modified UTF-7, or as UTF-8 by choice. */
static int subscription_take(const char *name, int (*fn)(void *ctx, const char *name), void *ctx)
{
	struct buf utf8;
	int rc = 0;

	buf_init(&utf8, MAILBOX_NAME_MAX_BYTES + 1);
	if (imap_utf7_decode(name, &utf8) == 0 && buf_append_u8(&utf8, 0) == 0)
		rc = fn(ctx, (const char *)utf8.data);
	else if (imap_utf8_valid(name, strlen(name)))
		rc = fn(ctx, name);
	buf_deinit(&utf8);
	return rc;
}

static int subscription_line(struct text line, bool v2, int (*fn)(void *ctx, const char *name),
			     void *ctx)
{
	struct buf name;
	bool good = true;
	int rc = 0;

	buf_init(&name, MAILBOX_NAME_MAX_BYTES + 1);
	if (v2)
		good = subscription_join(line, &name);
	else
		buf_append(&name, line.p, (size_t)(line.end - line.p));
	buf_append_u8(&name, 0);
	if (good && !name.failed && name.len > 1 && strlen((const char *)name.data) + 1 == name.len)
		rc = subscription_take((const char *)name.data, fn, ctx);
	buf_deinit(&name);
	return rc;
}

int dovecot_subscriptions_parse(const char *data, size_t len,
				int (*fn)(void *ctx, const char *name), void *ctx)
{
	static const char v2_header[] = "V\t2";
	struct text all = { data, data + len }, line;
	bool v2 = false;
	int rc = 0;

	for (bool first = true; rc == 0 && len > 0 && next_line(&all, &line); first = false) {
		if (first && (size_t)(line.end - line.p) == sizeof(v2_header) - 1 &&
		    !memcmp(line.p, v2_header, sizeof(v2_header) - 1))
			v2 = true;
		else
			rc = subscription_line(line, v2, fn, ctx);
	}
	return rc;
}
