/* SPDX-License-Identifier: MIT */
/* The Content- fields of one header. Parameters are kept as they were sent, but
 * for continuations: RFC 2231 section 6 wants them put together for BODY and
 * BODYSTRUCTURE. A Content-Type that cannot be understood counts as text/plain
 * (RFC 2045 5.2), and so does a multipart that does not name its boundary. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "imap/message-lex.h"
#include "imap/message-parse.h"

void message_mime_default(struct message_part *part)
{
	static struct message_param us_ascii = { .name = "charset", .value = "us-ascii" };

	part->type = "text";
	part->subtype = "plain";
	part->params = &us_ascii;
	part->encoding = "7bit";
}

/* ---- RFC 2231 ---- */

/* name*, name*N, name*N*: a piece of name. */
struct piece {
	const char *name;	/* as sent */
	size_t base_len;	/* before the first "*" */
	unsigned n;
	bool numbered, extended;
	const char *value;
};

static bool piece_read(const char *name, const char *value, struct piece *c)
{
	const char *star = strchr(name, '*');
	char *end;

	if (star == NULL || star == name)
		return false;
	*c = (struct piece){ .name = name, .base_len = (size_t)(star - name), .value = value };
	if (star[1] == '\0') {
		c->extended = true;
		return true;
	}
	if (star[1] < '0' || star[1] > '9' || (star[1] == '0' && star[2] >= '0' && star[2] <= '9'))
		return false;
	c->n = (unsigned)strtoul(star + 1, &end, 10);
	c->numbered = true;
	c->extended = *end == '*';
	return c->n < MESSAGE_PARAMS_MAX && end[c->extended] == '\0';
}

static int name_compare(const struct piece *x, const struct piece *y)
{
	size_t len = x->base_len < y->base_len ? x->base_len : y->base_len;
	int ret = strncasecmp(x->name, y->name, len);

	return ret != 0 ? ret : (int)x->base_len - (int)y->base_len;
}

static int piece_compare(const void *x, const void *y)
{
	const struct piece *a = x, *b = y;
	int ret = name_compare(a, b);

	if (ret == 0)
		ret = (int)a->numbered - (int)b->numbered;
	return ret != 0 ? ret : (int)a->n - (int)b->n;
}

/* Into an extended value what is none: RFC 2231 section 7, attribute-char. */
static void append_encoded(struct buf *out, const char *s)
{
	for (; *s != '\0'; s++) {
		unsigned char c = (unsigned char)*s;

		if (c <= ' ' || c >= 0x7f || strchr("*'%()<>@,;:\\\"/[]?=", c) != NULL)
			buf_printf(out, "%%%02X", c);
		else
			buf_append_u8(out, c);
	}
}

/* One parameter of all its n pieces, 0, 1, 2 ... without a gap. */
static void pieces_join(struct words *w, const struct piece *c, size_t n, struct message_param *p)
{
	struct buf *value = &w->scratch, *name = &w->scratch2;
	bool extended = false;

	buf_reset(value);
	buf_reset(name);
	for (size_t i = 0; i < n; i++)
		extended |= c[i].extended;
	/* The first piece says the charset; if it is not extended, there is none. */
	if (extended && !c[0].extended)
		buf_append_str(value, "''");
	for (size_t i = 0; i < n; i++) {
		if (extended && !c[i].extended)
			append_encoded(value, c[i].value);
		else
			buf_append_str(value, c[i].value);
	}
	buf_append(name, c->name, c->base_len);
	if (extended)
		buf_append_u8(name, '*');
	p->name = words_keep(w, name->data, name->len, "");
	p->value = words_keep(w, value->data, value->len, "");
}

/* ---- parameters ---- */

struct params {
	struct words *w;
	struct message_param *first, **next;
	struct piece pieces[MESSAGE_PARAMS_MAX];
	size_t n, n_pieces;
};

static struct message_param *param_add(struct params *ps, const char *name, const char *value)
{
	struct message_param *p = arena_alloc(ps->w->arena, sizeof(*p));

	p->name = name;
	p->value = value;
	*ps->next = p;
	ps->next = &p->next;
	return p;
}

/* Behind the semicolon. False: not a parameter. */
static bool param_read(struct params *ps, struct lex *l)
{
	struct words *w = ps->w;
	struct buf *name = &w->scratch, *value = &w->scratch2;
	const char *kept;

	buf_reset(name);
	buf_reset(value);
	lex_token(l, name);
	if (!lex_skip(l, NULL) || !lex_take(l, '=') || !lex_skip(l, NULL))
		return false;
	if (lex_peek(l) != '"')
		lex_value(l, value);	/* none is an empty one */
	else if (!lex_quoted(l, value))
		return false;
	if (!lex_skip(l, NULL))
		return false;
	kept = words_keep(w, value->data, value->len, NULL);
	if (kept == NULL || buf_append_u8(name, 0) < 0)
		return false;
	if (piece_read((const char *)name->data, kept, &ps->pieces[ps->n_pieces])) {
		const char *copy = words_keep(w, name->data, name->len - 1, "");

		ps->pieces[ps->n_pieces++].name = copy;
	} else {
		param_add(ps, words_keep(w, name->data, name->len - 1, ""), kept);
	}
	return true;
}

/* Those put together stand behind the others, by name. */
static void params_join(struct params *ps)
{
	qsort(ps->pieces, ps->n_pieces, sizeof(ps->pieces[0]), piece_compare);
	for (size_t i = 0, n; i < ps->n_pieces; i += n) {
		const struct piece *c = &ps->pieces[i];

		for (n = 1; i + n < ps->n_pieces && name_compare(c, &c[n]) == 0 &&
		     c[n].numbered == c->numbered && c[n].n == n && c->numbered; n++)
			;
		if (c->numbered && c->n == 0 && (i + n == ps->n_pieces ||
						 name_compare(c, &c[n]) != 0))
			pieces_join(ps->w, c, n, param_add(ps, NULL, NULL));
		else
			for (size_t k = 0; k < n; k++)
				param_add(ps, c[k].name, c[k].value);
	}
}

/* *(";" parameter): what cannot be understood is left out, the next one is
 * looked for behind the next semicolon. */
static struct message_param *params_read(struct words *w, struct lex *l)
{
	struct params ps = { .w = w, .next = &ps.first };

	for (; ps.n < MESSAGE_PARAMS_MAX; ps.n++) {
		lex_to_semicolon(l);
		while (lex_take(l, ';'))
			lex_skip(l, NULL);
		if (lex_peek(l) < 0)
			break;
		param_read(&ps, l);
	}
	params_join(&ps);
	return ps.first;
}

static const struct message_param *param_find(const struct message_part *part, const char *name)
{
	const struct message_param *p = part->params;

	while (p != NULL && strcasecmp(p->name, name) != 0)
		p = p->next;
	return p;
}

/* ---- fields ---- */

/* type "/" subtype *(";" parameter) */
static bool type_read(struct words *w, const struct field *f, struct message_part *part)
{
	struct buf *type = &w->scratch, *subtype = &w->scratch2;
	struct lex l;
	int c;

	lex_init(&l, f->value, f->value_len);
	buf_reset(type);
	buf_reset(subtype);
	lex_skip(&l, NULL);
	if (!lex_token(&l, type) || !lex_skip(&l, NULL) || !lex_take(&l, '/') ||
	    !lex_skip(&l, NULL) || !lex_token(&l, subtype))
		return false;
	lex_skip(&l, NULL);
	c = lex_peek(&l);
	if ((c >= 0 && c != ';') || type->len > MESSAGE_TYPE_MAX_BYTES ||
	    subtype->len > MESSAGE_TYPE_MAX_BYTES)
		return false;
	part->type = words_keep(w, type->data, type->len, "application");
	part->subtype = words_keep(w, subtype->data, subtype->len, "octet-stream");
	part->params = params_read(w, &l);
	return true;
}

/* RFC 2183. One without a type still has parameters: a file's name, mostly. */
static bool disposition_read(struct words *w, const struct field *f, struct message_part *part)
{
	struct lex l;
	bool found;

	lex_init(&l, f->value, f->value_len);
	buf_reset(&w->scratch);
	lex_skip(&l, NULL);
	found = lex_token(&l, &w->scratch);
	part->disposition = words_keep(w, w->scratch.data, w->scratch.len, "");
	part->disposition_params = params_read(w, &l);
	return found;
}

static bool encoding_read(struct words *w, const struct field *f, struct message_part *part)
{
	struct lex l;

	lex_init(&l, f->value, f->value_len);
	buf_reset(&w->scratch);
	lex_skip(&l, NULL);
	if (!lex_token(&l, &w->scratch) || !lex_skip(&l, NULL) || lex_peek(&l) >= 0)
		return false;
	part->encoding = words_keep(w, w->scratch.data, w->scratch.len, "7bit");
	return true;
}

/* RFC 3282: tags with commas between them. */
static bool languages_read(struct words *w, const struct field *f, struct message_part *part)
{
	const char *tags[MESSAGE_LANGUAGES_MAX + 1] = { NULL };
	size_t n = 0;
	struct lex l;

	lex_init(&l, f->value, f->value_len);
	do {
		buf_reset(&w->scratch);
		lex_skip(&l, NULL);
		if (!lex_atom(&l, &w->scratch))
			break;
		tags[n] = words_keep(w, w->scratch.data, w->scratch.len, NULL);
		if (tags[n] == NULL)
			break;
		n++;
		lex_skip(&l, NULL);
	} while (n < MESSAGE_LANGUAGES_MAX && lex_take(&l, ','));
	if (n > 0)
		part->languages = arena_memdup(w->arena, tags, (n + 1) * sizeof(tags[0]));
	return n > 0;
}

static const char *text_read(struct words *w, const struct field *f)
{
	buf_reset(&w->scratch);
	lex_text(f->value, f->value_len, false, &w->scratch);
	return words_keep(w, w->scratch.data, w->scratch.len, NULL);
}

/* Of several fields the first counts, or the first one that can be read. */
struct seen {
	bool type, type_ok, disposition, encoding, version;
};

static void field_read(struct words *w, const struct field *f, struct message_part *part,
		       struct seen *seen)
{
	if (field_is(f, "MIME-Version")) {
		seen->version = true;
	} else if (field_is(f, "Content-Type")) {
		if (!seen->type)
			seen->type_ok = type_read(w, f, part);
		seen->type = true;
	} else if (field_is(f, "Content-Transfer-Encoding")) {
		seen->encoding = seen->encoding || encoding_read(w, f, part);
	} else if (field_is(f, "Content-Disposition")) {
		seen->disposition = seen->disposition || disposition_read(w, f, part);
	} else if (field_is(f, "Content-Language")) {
		if (part->languages == NULL)
			languages_read(w, f, part);
	} else if (field_is(f, "Content-ID")) {
		part->id = part->id != NULL ? part->id : text_read(w, f);
	} else if (field_is(f, "Content-Description")) {
		part->description = part->description != NULL ? part->description : text_read(w, f);
	} else if (field_is(f, "Content-MD5")) {
		part->md5 = part->md5 != NULL ? part->md5 : text_read(w, f);
	} else if (field_is(f, "Content-Location")) {
		part->location = part->location != NULL ? part->location : text_read(w, f);
	}
}

/* RFC 3501 7.4.2 has a parameter list in its examples wherever text is. */
static void charset_default(struct words *w, struct message_part *part)
{
	struct message_param **p = &part->params, *charset;

	if (strcasecmp(part->type, "text") != 0 || param_find(part, "charset") != NULL)
		return;
	while (*p != NULL)
		p = &(*p)->next;
	charset = arena_alloc(w->arena, sizeof(*charset));
	charset->name = "charset";
	charset->value = "us-ascii";
	*p = charset;
}

static void part_reset(struct message_part *part)
{
	part->id = part->description = part->md5 = part->location = NULL;
	part->disposition = NULL;
	part->disposition_params = NULL;
	part->languages = NULL;
	message_mime_default(part);
}

/* Boundaries of RFC 2046 5.1.1 have 1 to 70 characters; longer ones work as
 * far as a line's beginning is looked at. */
static const char *boundary_of(const struct message_part *part)
{
	const struct message_param *p = param_find(part, "boundary");
	size_t len = p != NULL ? strlen(p->value) : 0;

	return len > 0 && len <= MESSAGE_BOUNDARY_MAX_BYTES ? p->value : "";
}

bool message_mime_read(struct words *w, const struct buf *header, bool in_mime, bool in_digest,
		       struct message_part *part, const char **boundary_r)
{
	struct seen seen = { .type = false };
	struct field f;
	size_t pos = 0;
	bool mime, multipart;

	while (field_next(header, &pos, &f))
		field_read(w, &f, part, &seen);
	mime = in_mime || seen.type || seen.version;
	/* RFC 2045 section 4: what MIME means, a message has that says so. */
	if (!mime)
		part_reset(part);
	multipart = seen.type_ok && strcasecmp(part->type, "multipart") == 0;
	*boundary_r = multipart ? boundary_of(part) : "";
	if (seen.type && (!seen.type_ok || (multipart && **boundary_r == '\0'))) {
		part->type = "text";
		part->subtype = "plain";
		part->params = NULL;
	} else if (!seen.type && in_digest) {
		/* RFC 2046 5.1.5 */
		part->type = "message";
		part->subtype = "rfc822";
		part->params = NULL;
	}
	charset_default(w, part);
	return mime;
}
