/* SPDX-License-Identifier: MIT */
/* ENVELOPE (RFC 3501 7.4.2) from a header. Encoded words stay as they are: the
 * client decodes them. Addresses are read as RFC 5322 3.4 and 4.4 have them;
 * what is none of them becomes what a user can see is broken, with the same
 * words as in Dovecot, so that clients find nothing new. After an error the
 * rest of the field is left out: where the next address begins is not known. */
#include <string.h>

#include "imap/message-lex.h"
#include "imap/message-parse.h"
#include "lib/imap-write.h"

#define NO_MAILBOX	"MISSING_MAILBOX"
#define NO_DOMAIN	"MISSING_DOMAIN"
#define BAD_ADDRESS	"SYNTAX_ERROR"
#define BAD_ROUTE	"INVALID_ROUTE"

struct addresses {
	struct lex l;
	struct buf *out;
	struct buf phrase, mailbox, domain, route, comment, text;
};

/* ---- on the way out ---- */

static void write_buf(struct addresses *a, const struct buf *b)
{
	imap_write_string(a->out, b->data != NULL ? (const char *)b->data : "", b->len);
}

/* A name: blanks and folds as one space. NIL if there is nothing. */
static void write_name(struct addresses *a, const struct buf *name)
{
	buf_reset(&a->text);
	if (name->len > 0) {
		lex_text(name->data, name->len, true, &a->text);
		write_buf(a, &a->text);
	} else {
		buf_append_str(a->out, "NIL");
	}
}

/* mailbox, domain NULL: as read. */
static void write_address(struct addresses *a, const struct buf *name, const char *mailbox,
			  const char *domain)
{
	buf_append_u8(a->out, '(');
	write_name(a, name);
	buf_append_u8(a->out, ' ');
	if (a->route.len > 0)
		write_buf(a, &a->route);
	else
		buf_append_str(a->out, "NIL");
	buf_append_u8(a->out, ' ');
	if (mailbox != NULL)
		imap_write_string(a->out, mailbox, strlen(mailbox));
	else
		write_buf(a, &a->mailbox);
	buf_append_u8(a->out, ' ');
	if (domain != NULL)
		imap_write_string(a->out, domain, strlen(domain));
	else
		write_buf(a, &a->domain);
	buf_append_u8(a->out, ')');
}

/* ---- parts of an address ---- */

/* dot-atom or literal, with blanks and comments between all of it (RFC 5322
 * 3.4.1, 4.4), without them into a->domain. */
static bool read_domain(struct addresses *a)
{
	struct lex *l = &a->l;

	buf_reset(&a->domain);
	if (!lex_skip(l, &a->comment))
		return false;
	if (lex_peek(l) == '[')
		return lex_literal(l, &a->domain) && lex_skip(l, &a->comment);
	for (;;) {
		if (!lex_atom(l, &a->domain) || !lex_skip(l, &a->comment))
			return false;
		if (!lex_take(l, '.'))
			return true;
		buf_append_u8(&a->domain, '.');
		if (!lex_skip(l, &a->comment))
			return false;
	}
}

/* obs-route = obs-domain-list ":" (RFC 5322 4.4) */
static bool read_route(struct addresses *a)
{
	struct lex *l = &a->l;

	while (lex_take(l, '@')) {
		if (!read_domain(a))
			return false;
		if (a->route.len > 0)
			buf_append_u8(&a->route, ',');
		buf_append_u8(&a->route, '@');
		buf_append(&a->route, a->domain.data, a->domain.len);
		while (lex_take(l, ',')) {
			if (!lex_skip(l, NULL))
				return false;
		}
	}
	return lex_take(l, ':') && lex_skip(l, NULL);
}

enum words_end { WORDS_OK, WORDS_BROKEN };
struct local_words {
	unsigned count;
	bool quoted;		/* one of them was */
	bool local;		/* with dots between all of them: a local-part */
};

/* Words and dots: a phrase or a local-part, the next byte tells. Into
 * a->phrase with spaces and a->mailbox without. only_local: stops where it would
 * be none any more. */
static enum words_end read_words(struct addresses *a, bool only_local, struct local_words *w)
{
	struct lex *l = &a->l;
	bool dot = true;	/* the last byte was one, or there is none */

	*w = (struct local_words){ .local = true };
	buf_reset(&a->phrase);
	buf_reset(&a->mailbox);
	for (;;) {
		int c = lex_peek(l);
		size_t phrase = a->phrase.len, begin;
		bool joined = dot || c == '.';

		if (w->count > 0 && only_local && !joined)
			return WORDS_OK;
		if (w->count > 0 && c != '.')
			buf_append_u8(&a->phrase, ' ');
		begin = a->phrase.len;
		if (c == '"' && !lex_quoted(l, &a->phrase))
			return WORDS_BROKEN;
		if (c != '"' && !lex_dot_atom(l, &a->phrase)) {
			a->phrase.len = phrase;
			return WORDS_OK;
		}
		if (a->phrase.len > begin)
			buf_append(&a->mailbox, a->phrase.data + begin, a->phrase.len - begin);
		dot = c != '"' && a->phrase.len > begin &&
			a->phrase.data[a->phrase.len - 1] == '.';
		w->local &= joined;
		w->quoted |= c == '"';
		w->count++;
		if (!lex_skip(l, &a->comment))
			return WORDS_BROKEN;
	}
}

/* ---- addresses ---- */

/* angle-addr, behind "<". */
static void read_angle(struct addresses *a, const struct buf *name)
{
	const char *mailbox = NULL, *domain = NULL;
	struct local_words w;
	bool ok = lex_skip(&a->l, NULL);

	if (lex_peek(&a->l) == '@' && !read_route(a)) {
		buf_reset(&a->route);
		buf_append_str(&a->route, BAD_ROUTE);
	}
	ok = read_words(a, true, &w) == WORDS_OK && ok;
	if (w.count == 0)
		mailbox = NO_MAILBOX;
	if (!lex_take(&a->l, '@'))
		domain = NO_DOMAIN;
	else
		ok = read_domain(a) && ok;
	if (!ok || !lex_take(&a->l, '>'))
		domain = BAD_ADDRESS;
	write_address(a, name, mailbox, domain);
}

/* addr-spec behind its local-part, or what has none. A comment is the name then, as it
 * was before RFC 822 (RFC 5322 3.4 on the use of comments). */
static void read_bare(struct addresses *a, const struct local_words *w)
{
	const char *mailbox = w->count > 0 ? NULL : NO_MAILBOX;

	if (w->local && lex_take(&a->l, '@')) {
		bool ok = read_domain(a);

		write_address(a, &a->comment, mailbox, ok ? NULL : NO_DOMAIN);
	} else if (w->count == 1 && !w->quoted) {
		write_address(a, &a->comment, NULL, NO_DOMAIN);
	} else {
		write_address(a, w->count > 0 ? &a->phrase : &a->comment, NO_MAILBOX, NO_DOMAIN);
	}
}

static void read_group(struct addresses *a);

/* At a byte that is no blank. */
static void read_address(struct addresses *a, bool in_group)
{
	struct local_words w;
	struct buf name;

	buf_reset(&a->route);
	buf_reset(&a->comment);
	if (read_words(a, false, &w) == WORDS_BROKEN) {
		buf_reset(&a->phrase);
		write_address(a, &a->phrase, NO_MAILBOX, NO_DOMAIN);
		return;
	}
	if (lex_take(&a->l, '<')) {
		/* the words of the address come into the same buffer */
		buf_init(&name, SIZE_MAX);
		if (a->phrase.len > 0)
			buf_append(&name, a->phrase.data, a->phrase.len);
		read_angle(a, &name);
		buf_deinit(&name);
	} else if (!in_group && lex_take(&a->l, ':')) {
		read_group(a);
	} else {
		read_bare(a, &w);
	}
}

/* address *("," address), empty ones allowed (RFC 5322 4.4). Stops behind the last that is one. */
static void read_list(struct addresses *a, bool in_group)
{
	struct lex *l = &a->l;

	do {
		if (!lex_skip(l, NULL) || lex_peek(l) < 0 ||
		    a->out->len > MESSAGE_LIST_MAX_BYTES)
			return;
		if (lex_peek(l) == ',')
			continue;
		if (in_group && lex_peek(l) == ';')
			return;
		read_address(a, in_group);
		if (!lex_skip(l, NULL))
			return;
	} while (lex_take(l, ','));
}

/* RFC 3501 7.4.2: a begin and an end stand around the members. */
static void read_group(struct addresses *a)
{
	buf_append_str(a->out, "(NIL NIL ");
	write_buf(a, &a->phrase);
	buf_append_str(a->out, " NIL)");
	read_list(a, true);
	lex_take(&a->l, ';');
	buf_append_str(a->out, "(NIL NIL NIL NIL)");
}

void message_addresses(const uint8_t *data, size_t len, struct buf *out)
{
	struct addresses a = { .out = out };
	struct buf *bufs[] = { &a.phrase, &a.mailbox, &a.domain, &a.route, &a.comment, &a.text };

	for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++)
		buf_init(bufs[i], SIZE_MAX);
	lex_init(&a.l, data, len);
	read_list(&a, false);
	for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++) {
		out->failed |= bufs[i]->failed;
		buf_deinit(bufs[i]);
	}
}

/* ---- the envelope ---- */

enum { DATE, SUBJECT, IN_REPLY_TO, MESSAGE_ID, TEXTS };
enum { FROM, SENDER, REPLY_TO, TO, CC, BCC, LISTS };
static const char *const text_names[TEXTS] = {
	[DATE] = "Date", [SUBJECT] = "Subject", [IN_REPLY_TO] = "In-Reply-To",
	[MESSAGE_ID] = "Message-ID",
};
static const char *const list_names[LISTS] = {
	[FROM] = "From", [SENDER] = "Sender", [REPLY_TO] = "Reply-To", [TO] = "To",
	[CC] = "Cc", [BCC] = "Bcc",
};

struct envelope {
	struct buf texts[TEXTS];	/* as IMAP strings; empty: NIL */
	struct buf lists[LISTS];
};

/* Of several fields the last counts; lists are all put together. */
static void envelope_field(struct words *w, struct envelope *e, const struct field *f)
{
	for (size_t i = 0; i < TEXTS; i++) {
		if (!field_is(f, text_names[i]))
			continue;
		buf_reset(&w->scratch);
		lex_text(f->value, f->value_len, true, &w->scratch);
		buf_reset(&e->texts[i]);
		imap_write_string(&e->texts[i], w->scratch.len > 0 ?
				  (const char *)w->scratch.data : "", w->scratch.len);
		return;
	}
	for (size_t i = 0; i < LISTS; i++) {
		if (field_is(f, list_names[i]))
			message_addresses(f->value, f->value_len, &e->lists[i]);
	}
}

static void write_text(struct buf *out, const struct buf *text, const char *sep)
{
	buf_append_str(out, sep);
	if (text->len > 0)
		buf_append(out, text->data, text->len);
	else
		buf_append_str(out, "NIL");
}

static void write_list(struct buf *out, const struct buf *list)
{
	buf_append_str(out, list->len > 0 ? " (" : " NIL");
	if (list->len > 0) {
		buf_append(out, list->data, list->len);
		buf_append_u8(out, ')');
	}
}

static void envelope_write(const struct envelope *e, struct buf *out)
{
	const struct buf *lists = e->lists;

	write_text(out, &e->texts[DATE], "(");
	write_text(out, &e->texts[SUBJECT], " ");
	for (size_t i = 0; i < LISTS; i++) {
		/* RFC 3501 7.4.2: without them, sender and reply-to are the from. */
		if ((i == SENDER || i == REPLY_TO) && lists[i].len == 0)
			write_list(out, &lists[FROM]);
		else
			write_list(out, &lists[i]);
	}
	write_text(out, &e->texts[IN_REPLY_TO], " ");
	write_text(out, &e->texts[MESSAGE_ID], " ");
	buf_append_u8(out, ')');
}

const char *message_envelope_read(struct words *w, const struct buf *header)
{
	static const char empty[] = "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)";
	struct envelope e = { 0 };
	struct field f;
	size_t pos = 0;

	for (size_t i = 0; i < TEXTS; i++)
		buf_init(&e.texts[i], SIZE_MAX);
	for (size_t i = 0; i < LISTS; i++)
		buf_init(&e.lists[i], SIZE_MAX);
	while (field_next(header, &pos, &f))
		envelope_field(w, &e, &f);
	buf_reset(&w->scratch);
	envelope_write(&e, &w->scratch);
	for (size_t i = 0; i < TEXTS; i++) {
		w->failed |= e.texts[i].failed;
		buf_deinit(&e.texts[i]);
	}
	for (size_t i = 0; i < LISTS; i++) {
		w->failed |= e.lists[i].failed;
		buf_deinit(&e.lists[i]);
	}
	return words_keep(w, w->scratch.data, w->scratch.len, empty);
}
