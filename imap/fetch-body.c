/* SPDX-License-Identifier: MIT */
/* Sections of a message (RFC 3501 6.4.5). Bytes pass from the reader to the
 * stream in pieces; a header is read twice, once to count what will be sent,
 * because a literal says its length first. The road not taken, collecting the
 * chosen fields, would let one message decide how much memory we need. */
#include "imap/fetch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "imap/command.h"
#include "imap/mailbox.h"
#include "lib/imap-write.h"

/* Field names above this are nobody's (RFC 5322 2.1.1: a line has 998). */
#define FIELD_NAME_MAX_BYTES	998

/* ---- the client's words ---- */

/* One word of "HEADER.FIELDS (a "b" c)": the parser has checked quotes. */
static const char *take_name(struct arena *arena, const char **p)
{
	bool quoted = **p == '"';
	const char *begin = *p + (quoted ? 1 : 0), *end = begin;
	size_t len = 0;
	char *name;

	while (*end != '\0' && (quoted ? *end != '"' : *end != ' ' && *end != ')'))
		end += quoted && *end == '\\' && end[1] != '\0' ? 2 : 1;
	/* No more than the word: there may be thousands behind it. */
	name = arena_strndup(arena, begin, (size_t)(end - begin));
	for (const char *at = name; *at != '\0'; at++) {
		if (quoted && *at == '\\' && at[1] != '\0')
			at++;
		name[len++] = *at;
	}
	name[len] = '\0';
	*p = quoted && *end == '"' ? end + 1 : end;
	return name;
}

/* header-list = "(" header-fld-name *(SP header-fld-name) ")" */
static bool parse_names(struct cmd *cmd, const char *p, struct fetch_item *item)
{
	struct arena *arena = cmd->session->arena;
	size_t room = strlen(p) / 2 + 1;

	if (*p++ != '(')
		return false;
	item->names = arena_alloc(arena, room * sizeof(*item->names));
	do {
		const char *name = take_name(arena, &p);

		if (*name == '\0' || item->n_names == room)
			return false;
		item->names[item->n_names++] = name;
	} while (*p++ == ' ');
	return p[-1] == ')' && *p == '\0';
}

/* partial = "<" number64 "." nz-number64 ">" (RFC 9051 section 9) */
static bool parse_partial(const char *p, struct fetch_item *item)
{
	struct imap_arg arg = { .type = IMAP_ARG_ATOM };
	const char *dot = strchr(p, '.'), *end = strchr(p, '>');

	if (*p == '\0')
		return true;
	if (*p != '<' || dot == NULL || end == NULL || dot > end || end[1] != '\0')
		return false;
	arg.data = p + 1;
	arg.len = (size_t)(dot - p - 1);
	if (!imap_arg_u64(&arg, &item->from))
		return false;
	arg.data = dot + 1;
	arg.len = (size_t)(end - dot - 1);
	item->partial = true;
	return imap_arg_u64(&arg, &item->len) && item->len > 0;
}

static bool section_is(const char *section, const char *word)
{
	return strcasecmp(section, word) == 0;
}

static bool section_begins(const char *section, const char *word)
{
	return strncasecmp(section, word, strlen(word)) == 0;
}

/* section-part = nz-number *("." nz-number), and the dot behind it. */
static bool parse_part(struct cmd *cmd, const char **p, struct fetch_item *item)
{
	struct arena *arena = cmd->session->arena;
	uint32_t *part = arena_alloc(arena, (strlen(*p) / 2 + 1) * sizeof(*part));

	item->part = part;
	while (**p >= '0' && **p <= '9') {
		struct imap_arg arg = { .type = IMAP_ARG_ATOM, .data = *p };

		while (**p >= '0' && **p <= '9')
			(*p)++;
		arg.len = (size_t)(*p - arg.data);
		if (!imap_arg_u32(&arg, &part[item->n_part]) || part[item->n_part] == 0)
			return false;
		item->n_part++;
		if (**p == '\0')
			return true;
		if (*(*p)++ != '.' || **p == '\0')
			return false;
	}
	return true;
}

static bool parse_section(struct cmd *cmd, const char *section, struct fetch_item *item)
{
	static const char fields[] = "HEADER.FIELDS ", not_fields[] = "HEADER.FIELDS.NOT ";

	if (!parse_part(cmd, &section, item))
		return false;
	if (*section == '\0') {
		item->section = SECTION_ALL;
	} else if (section_is(section, "HEADER")) {
		item->section = SECTION_HEADER;
	} else if (section_is(section, "TEXT")) {
		item->section = SECTION_TEXT;
	} else if (section_is(section, "MIME")) {
		item->section = SECTION_MIME;
		return item->n_part > 0;
	} else if (section_begins(section, fields)) {
		item->section = SECTION_FIELDS;
		return parse_names(cmd, section + strlen(fields), item);
	} else if (section_begins(section, not_fields)) {
		item->section = SECTION_FIELDS_NOT;
		return parse_names(cmd, section + strlen(not_fields), item);
	} else {
		return false;
	}
	return true;
}

/* As the client wrote it, names as astrings again. */
static const char *section_label(struct arena *arena, const struct fetch_item *item)
{
	static const char *const words[] = {
		[SECTION_ALL] = "", [SECTION_HEADER] = "HEADER", [SECTION_TEXT] = "TEXT",
		[SECTION_FIELDS] = "HEADER.FIELDS (", [SECTION_MIME] = "MIME",
		[SECTION_FIELDS_NOT] = "HEADER.FIELDS.NOT (",
	};
	struct buf b;
	const char *label;

	buf_init(&b, SIZE_MAX);
	buf_append_str(&b, "BODY[");
	for (size_t i = 0; i < item->n_part; i++)
		buf_printf(&b, i > 0 ? ".%u" : "%u", item->part[i]);
	if (item->n_part > 0 && item->section != SECTION_ALL)
		buf_append_u8(&b, '.');
	buf_append_str(&b, words[item->section]);
	for (size_t i = 0; i < item->n_names; i++) {
		if (i > 0)
			buf_append_u8(&b, ' ');
		imap_write_astring(&b, item->names[i]);
	}
	buf_append_str(&b, item->n_names > 0 ? ")]" : "]");
	if (item->partial)
		buf_printf(&b, "<%llu>", (unsigned long long)item->from);
	buf_append_u8(&b, 0);
	label = b.failed ? "BODY[]" : arena_strdup(arena, (char *)b.data);
	buf_deinit(&b);
	return label;
}

/* Where the section ends: a "]" in quotes or in the list of names does not. */
static const char *section_end(const char *p)
{
	bool quoted = false, list = false;

	for (; *p != '\0'; p++) {
		if (quoted && *p == '\\' && p[1] != '\0')
			p++;
		else if (*p == '"')
			quoted = !quoted;
		else if (!quoted && (*p == '(' || *p == ')'))
			list = *p == '(';
		else if (*p == ']' && !quoted && !list)
			return p;
	}
	return NULL;
}

static int name_order(const void *a, const void *b)
{
	return strcasecmp(*(const char *const *)a, *(const char *const *)b);
}

bool fetch_body_parse(struct cmd *cmd, const char *text, struct fetch_item *item_r)
{
	struct arena *arena = cmd->session->arena;
	const char *open = strchr(text, '[');
	const char *close = open != NULL ? section_end(open + 1) : NULL;
	struct fetch_item item = { .what = FETCH_BODY };

	item.sets_seen = !section_begins(text, "BODY.PEEK[");
	if (close == NULL || (item.sets_seen && !section_begins(text, "BODY["))) {
		cmd_bad(cmd, "Unknown item of FETCH.");
		return false;
	}
	if (!parse_section(cmd, arena_strndup(arena, open + 1, (size_t)(close - open - 1)),
			   &item)) {
		if (cmd->result == CMD_NONE)
			cmd_bad(cmd, "Invalid section in BODY[].");
		return false;
	}
	if (!parse_partial(close + 1, &item)) {
		cmd_bad(cmd, "Invalid partial range behind BODY[].");
		return false;
	}
	item.label = section_label(arena, &item);
	/* The label has them in the client's order; a header is asked for each
	   of its fields. */
	if (item.n_names > 0)
		qsort(item.names, item.n_names, sizeof(*item.names), name_order);
	*item_r = item;
	return true;
}

/* ---- bytes ---- */

/* Bytes of a section on their way: all are counted, those of the wanted window
 * are written if there is a stream. */
struct sink {
	struct stream *stream;		/* NULL: count only */
	uint64_t pos;			/* bytes of the section so far */
	uint64_t from, to;		/* window */
};

static int sink_put(struct sink *k, const uint8_t *data, size_t len)
{
	uint64_t begin = k->pos, end = k->pos + len;

	k->pos = end;
	if (k->stream == NULL || end <= k->from || begin >= k->to)
		return 0;
	if (begin < k->from) {
		data += k->from - begin;
		begin = k->from;
	}
	if (end > k->to)
		end = k->to;
	return stream_write(k->stream, data, (size_t)(end - begin));
}

/* The window of len bytes that an item asks for. */
static void item_window(const struct fetch_item *item, uint64_t len, uint64_t *from_r,
			uint64_t *to_r)
{
	uint64_t from = 0, to = len;

	if (item->partial) {
		from = item->from < len ? item->from : len;
		to = item->len < len - from ? from + item->len : len;
	}
	*from_r = from;
	*to_r = to;
}

static int literal_begin(struct session *s, const struct fetch_item *item, const char *sep,
			 uint64_t len)
{
	return stream_printf(s->stream, "%s%s {%llu}\r\n", sep, item->label,
			     (unsigned long long)len);
}

/* RFC 3501 4.3.1 and CHAR8 in section 9: a literal has no NUL. Each becomes 0x80, so
 * that sizes and all other bytes stay as they are. */
static void hide_nuls(uint8_t *data, size_t len)
{
	uint8_t *nul;

	while ((nul = memchr(data, 0, len)) != NULL) {
		*nul = 0x80;
		len -= (size_t)(nul - data);
		data = nul;
	}
}

/* What was promised cannot be sent: say nothing more. */
static int literal_broken(struct session *s)
{
	if (!s->dead) {
		s->dead = true;
		s->end_reason = "message could not be read to its end";
		loop_stop(s->loop);
	}
	return -EPIPE;
}

static int copy_range(struct session *s, struct mail_reader *r, uint64_t from, uint64_t to)
{
	uint8_t data[16384];

	while (from < to) {
		uint64_t want = to - from < sizeof(data) ? to - from : sizeof(data);
		long n = mail_reader_read(r, from, data, (size_t)want);

		if (n > 0)
			hide_nuls(data, (size_t)n);
		if (n <= 0 || stream_write(s->stream, data, (size_t)n) < 0)
			return literal_broken(s);
		from += (uint64_t)n;
	}
	return 0;
}

/* ---- fields of a header ---- */

struct fields {
	const struct fetch_item *item;
	struct sink *sink;
	uint8_t name[FIELD_NAME_MAX_BYTES];
	size_t name_len;
	enum { AT_LINE_START, IN_NAME, IN_REST } where;
	bool chosen;			/* this field is sent */
	bool ended;			/* the empty line was met */
};

static bool name_matches(const struct fields *f)
{
	size_t len = f->name_len, low = 0, high = f->item->n_names;

	/* RFC 5322 4.5.8: old mail has blanks before the colon. */
	while (len > 0 && (f->name[len - 1] == ' ' || f->name[len - 1] == '\t'))
		len--;
	while (low < high) {
		size_t mid = (low + high) / 2;
		const char *name = f->item->names[mid];
		int order = strncasecmp(name, (const char *)f->name, len);

		/* A NUL among the bytes of the message ends the comparison too. */
		if (order == 0 && strlen(name) == len)
			return f->item->section == SECTION_FIELDS;
		if (order < 0 || (order == 0 && strlen(name) < len))
			low = mid + 1;
		else
			high = mid;
	}
	return f->item->section != SECTION_FIELDS;
}

/* The name is known: what was held back of it is sent or dropped. */
static int name_decided(struct fields *f, bool chosen)
{
	f->chosen = chosen;
	f->where = IN_REST;
	return chosen ? sink_put(f->sink, f->name, f->name_len) : 0;
}

/* One byte of a name; c ends it if it is a colon or a line end. */
static int name_byte(struct fields *f, uint8_t c)
{
	int ret = 0;

	if (c == ':') {
		ret = name_decided(f, name_matches(f));
	} else if (c == '\n' && f->name_len == 1 && f->name[0] == '\r') {
		f->ended = true;
		f->where = IN_REST;
		f->chosen = false;
	} else if (c == '\n' || f->name_len == sizeof(f->name)) {
		/* no field at all */
		ret = name_decided(f, f->item->section == SECTION_FIELDS_NOT);
	} else {
		f->name[f->name_len++] = c;
	}
	return ret;
}

static int fields_byte(struct fields *f, uint8_t c)
{
	int ret = 0;

	if (f->where == AT_LINE_START) {
		if (c == ' ' || c == '\t') {	/* folded: goes with its field */
			f->where = IN_REST;
		} else {
			f->where = IN_NAME;
			f->name_len = 0;
		}
	}
	if (f->where == IN_NAME)
		ret = name_byte(f, c);
	if (f->where == IN_REST && ret == 0 && f->chosen)
		ret = sink_put(f->sink, &c, 1);
	if (c == '\n')
		f->where = AT_LINE_START;
	return ret;
}

/* Where in the message a section is. */
struct range {
	uint64_t from, to;
};

/* The end of the header. RFC 3501 6.4.5: the empty line is in all of them, if the
 * message has one. */
static int fields_end(struct fields *f)
{
	if (f->ended)
		return sink_put(f->sink, (const uint8_t *)"\r\n", 2);
	if (f->where == IN_NAME)	/* cut off there */
		return name_decided(f, f->item->section == SECTION_FIELDS_NOT);
	return 0;
}

/* Runs the header through the filter. */
static int fields_run(struct mail_reader *r, const struct range *header,
		      const struct fetch_item *item, struct sink *sink)
{
	/* A line before the first field that goes on with one is no field's. */
	struct fields f = {
		.item = item, .sink = sink, .where = AT_LINE_START,
		.chosen = item->section == SECTION_FIELDS_NOT,
	};
	uint8_t data[4096];
	uint64_t at = header->from;
	int ret = 0;

	while (at < header->to && ret == 0 && !f.ended) {
		uint64_t want = header->to - at < sizeof(data) ? header->to - at : sizeof(data);
		long n = mail_reader_read(r, at, data, (size_t)want);

		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		hide_nuls(data, (size_t)n);
		for (long i = 0; i < n && ret == 0 && !f.ended; i++)
			ret = fields_byte(&f, data[i]);
		at += (uint64_t)n;
	}
	return ret != 0 ? ret : fields_end(&f);
}

static int write_fields(struct session *s, struct mail_reader *r, const struct range *header,
			const struct fetch_item *item, const char *sep)
{
	struct sink sink = { .stream = NULL };
	uint64_t from, to;
	int ret = fields_run(r, header, item, &sink);

	if (ret != 0)
		return ret;
	item_window(item, sink.pos, &from, &to);
	ret = literal_begin(s, item, sep, to - from);
	if (ret != 0)
		return ret;
	sink = (struct sink){ .stream = s->stream, .from = from, .to = to };
	return fields_run(r, header, item, &sink) == 0 ? 0 : literal_broken(s);
}

/* ---- sections ---- */

static struct range header_of(const struct message_part *p)
{
	return (struct range){ p->header_at, p->body_at };
}

static struct range body_of(const struct message_part *p)
{
	return (struct range){ p->body_at, p->body_at + p->body_len };
}

/* RFC 3501 6.4.5: MIME is the part's own header; HEADER and TEXT are those of the
 * message in it, which only a message/rfc822 has. False: there is no such thing. */
static bool part_range(const struct message *m, const struct fetch_item *item, struct range *range_r)
{
	const struct message_part *p = message_part_find(m, item->part, item->n_part);

	if (p == NULL)
		return false;
	switch (item->section) {
	case SECTION_ALL:
		*range_r = body_of(p);
		return true;
	case SECTION_MIME:
		*range_r = header_of(p);
		return true;
	case SECTION_TEXT:
		if (p->rfc822)
			*range_r = body_of(p->children);
		return p->rfc822;
	case SECTION_HEADER:
	case SECTION_FIELDS:
	case SECTION_FIELDS_NOT:
		if (p->rfc822)
			*range_r = header_of(p->children);
		return p->rfc822;
	}
	return false;
}

static struct range message_range(const struct fetch_item *item, uint64_t header, uint64_t total)
{
	struct range range = { 0, total };

	if (item->section == SECTION_TEXT)
		range.from = header;
	else if (item->section != SECTION_ALL)
		range.to = header;
	return range;
}

int fetch_body_write(struct session *s, struct mail_reader *r, const struct message *m,
		     const struct fetch_item *item, const char *sep)
{
	uint64_t header, total, from, to;
	struct range range;
	int ret;

	if (item->n_part == 0) {
		ret = mail_reader_sizes(r, &header, &total);
		if (ret != 0)
			return ret;
		range = message_range(item, header, total);
	} else if (!part_range(m, item, &range)) {
		/* RFC 3501 4.5: NIL is what does not exist, as distinct from "". */
		return stream_printf(s->stream, "%s%s NIL", sep, item->label);
	}
	if (item->section == SECTION_FIELDS || item->section == SECTION_FIELDS_NOT)
		return write_fields(s, r, &range, item, sep);
	item_window(item, range.to - range.from, &from, &to);
	ret = literal_begin(s, item, sep, to - from);
	return ret != 0 ? ret : copy_range(s, r, range.from + from, range.from + to);
}
