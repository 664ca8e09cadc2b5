/* SPDX-License-Identifier: MIT */
/* The lexer: reads one line of a command at a time and leaves nodes. What it
 * has to know from one line to the next stands in struct imap_parser. */
#include <assert.h>
#include <string.h>
#include <strings.h>

#include "lib/imap-chars.h"
#include "lib/imap-parser-private.h"

struct line {
	const uint8_t *data;
	size_t len, pos;
};

/* The limits were looked at before: what does not fit now is our memory. */
void imap_parser_text(struct imap_parser *p, const void *data, size_t n)
{
	if (n > 0 && buf_append(&p->text, data, n) < 0)
		imap_parser_die(p, NO_MEMORY);
}

void imap_parser_text_char(struct imap_parser *p, char c)
{
	imap_parser_text(p, &c, 1);
}

/* ---- nodes ---- */

struct node *imap_parser_node(struct imap_parser *p, uint32_t i)
{
	assert(i < p->node_count);
	return (struct node *)(void *)p->nodes.data + i;
}

struct node *imap_parser_node_last(struct imap_parser *p)
{
	return imap_parser_node(p, p->node_count - 1);
}

/* NULL: out of memory, the parser is dead. */
struct node *imap_parser_node_add(struct imap_parser *p, enum imap_arg_type type)
{
	struct node n = { .type = type, .text = (uint32_t)p->text.len,
		.parent = p->depth > 0 ? p->open[p->depth - 1] : NO_PARENT };

	if (buf_append(&p->nodes, &n, sizeof(n)) < 0) {
		imap_parser_die(p, NO_MEMORY);
		return NULL;
	}
	p->node_count++;
	if (n.parent == NO_PARENT)
		p->top_count++;
	else
		imap_parser_node(p, n.parent)->count++;
	return imap_parser_node_last(p);
}

/* The text since imap_parser_node_add() is the last node's. */
void imap_parser_node_finish(struct imap_parser *p)
{
	struct node *n = imap_parser_node_last(p);

	n->len = (uint32_t)p->text.len - n->text;
	imap_parser_text_char(p, '\0');
	p->expect = EXPECT_NEXT;
}

const char *imap_parser_node_text(struct imap_parser *p, const struct node *n)
{
	return (const char *)p->text.data + n->text;
}

/* ---- the lexer: one line ---- */

static int line_peek(const struct line *l)
{
	return l->pos < l->len ? l->data[l->pos] : -1;
}

/* The run of characters of one class that begins here. */
static const uint8_t *line_run(struct line *l, bool (*is)(int), size_t *len_r)
{
	size_t start = l->pos;

	while (is(line_peek(l)))
		l->pos++;
	*len_r = l->pos - start;
	return l->data + start;
}

/* RFC 9051 section 9: tag = 1*<any ASTRING-CHAR except "+"> */
static void lex_tag(struct imap_parser *p, struct line *l)
{
	size_t len;
	const uint8_t *tag = line_run(l, imap_is_tag_char, &len);
	int after = line_peek(l);

	if (after != ' ' && after != -1) {
		imap_parser_refuse(p, "Invalid tag");
	} else if (len == 0) {
		imap_parser_refuse(p, after == -1 ? "Empty line" : "Missing tag");
	} else if (len > IMAP_TAG_MAX_BYTES) {
		imap_parser_refuse(p, "Tag too long");
	} else {
		memcpy(p->tag, tag, len);
		p->tag[len] = '\0';
		if (after == -1)
			imap_parser_refuse(p, "Missing command");
		l->pos++;
		p->expect = EXPECT_NAME;
	}
}

static void lex_name(struct imap_parser *p, struct line *l)
{
	size_t len;
	const uint8_t *name = line_run(l, imap_is_atom_char, &len);

	if (len == 0) {
		imap_parser_refuse(p, "Missing command");
		return;
	}
	/* Commands are case-insensitive (RFC 9051 section 9, rule 1). */
	for (size_t i = 0; i < len; i++) {
		char c = (char)name[i];
		imap_parser_text_char(p, c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c);
	}
	imap_parser_text_char(p, '\0');
	p->expect = EXPECT_NEXT;
}

/* Does the "[" that comes begin a section? In a mailbox name or a password it
 * is a character like any other, so only an item of FETCH has sections, also
 * where NOTIFY names such items (RFC 5465 section 5.2). */
static bool section_begins(struct imap_parser *p)
{
	static const char *const commands[] = { "FETCH", "UID", "NOTIFY" };
	static const char *const items[] = { "BODY", "BODY.PEEK", "BINARY",
		"BINARY.PEEK", "BINARY.SIZE" };
	const struct node *n = imap_parser_node_last(p);
	size_t len = p->text.len - n->text;
	bool has = false;

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		has |= strcmp((const char *)p->text.data, commands[i]) == 0;
	if (!has)
		return false;
	for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
		if (strlen(items[i]) == len &&
		    strncasecmp(imap_parser_node_text(p, n), items[i], len) == 0)
			return true;
	}
	return false;
}

/* Quoted text from behind its opening quote to behind its closing one; raw
 * keeps the escapes. QUOTED-CHAR (RFC 9051 section 9) takes every character
 * but CR, LF and NUL; whether 8-bit bytes are good UTF-8 is for the command. */
static void lex_quoted(struct imap_parser *p, struct line *l, bool raw)
{
	int c;

	while ((c = line_peek(l)) != '"') {
		if (c == '\\') {
			if (raw)
				imap_parser_text_char(p, '\\');
			l->pos++;
			c = line_peek(l);
			if (c != '"' && c != '\\') {
				imap_parser_refuse(p, "Invalid escape in quoted string");
				return;
			}
		}
		if (c == -1) {
			imap_parser_refuse(p, "Quoted string without end");
			return;
		}
		imap_parser_text_char(p, (char)c);
		l->pos++;
	}
	l->pos++;
}

static void lex_string(struct imap_parser *p, struct line *l)
{
	if (imap_parser_node_add(p, IMAP_ARG_STRING) == NULL)
		return;
	l->pos++;
	lex_quoted(p, l, false);
	imap_parser_node_finish(p);
}

/* The rest of an atom, from wherever it stands outside of a section. */
static void lex_atom_rest(struct imap_parser *p, struct line *l)
{
	struct node *n;

	while (imap_is_list_char(line_peek(l))) {
		char c = (char)line_peek(l);

		if (c == '[' && section_begins(p)) {
			p->expect = EXPECT_SECTION;
			return;
		}
		imap_parser_text_char(p, c);
		l->pos++;
	}
	imap_parser_node_finish(p);
	n = imap_parser_node_last(p);
	if (p->phase != PHASE_DEAD)
		n->is_nil = strcasecmp(imap_parser_node_text(p, n), "NIL") == 0;
}

/* A section as it stands, with its own quotes. A "]" in the header list is an
 * ASTRING-CHAR of a field name. */
static void lex_section(struct imap_parser *p, struct line *l)
{
	int c;

	while ((c = line_peek(l)) != -1 && p->reason == NULL) {
		l->pos++;
		imap_parser_text_char(p, (char)c);
		if (c == ']' && !p->section_list) {
			lex_atom_rest(p, l);
			return;
		}
		if (c == '(' && !p->section_list) {
			p->section_list = true;
		} else if (c == ')' && p->section_list) {
			p->section_list = false;
		} else if (c == '"' && p->section_list) {
			lex_quoted(p, l, true);
			imap_parser_text_char(p, '"');
		} else if (c != ' ' && !imap_is_astring_char(c)) {
			imap_parser_refuse(p, "Invalid character in section");
		}
	}
}

static void lex_list_open(struct imap_parser *p, struct line *l)
{
	if (p->depth == IMAP_NESTING_MAX) {
		imap_parser_refuse(p, "Too many nested lists");
		return;
	}
	if (imap_parser_node_add(p, IMAP_ARG_LIST) == NULL)
		return;
	p->open[p->depth++] = p->node_count - 1;
	l->pos++;
	p->expect = EXPECT_ARG_OR_CLOSE;
}

static void lex_list_close(struct imap_parser *p, struct line *l)
{
	if (p->depth == 0) {
		imap_parser_refuse(p, "Unexpected )");
		return;
	}
	p->depth--;
	l->pos++;
	p->expect = EXPECT_NEXT;
}

static void lex_arg(struct imap_parser *p, struct line *l)
{
	int c = line_peek(l);

	if (c == ')' && p->expect == EXPECT_ARG_OR_CLOSE) {
		lex_list_close(p, l);
	} else if (c == '(') {
		lex_list_open(p, l);
	} else if (c == '"') {
		lex_string(p, l);
	} else if (c == '\\' || imap_is_list_char(c)) {
		/* A flag's backslash is its first character, and not all. */
		if (imap_parser_node_add(p, IMAP_ARG_ATOM) == NULL)
			return;
		if (c == '\\') {
			imap_parser_text_char(p, '\\');
			l->pos++;
			if (!imap_is_list_char(line_peek(l)))
				imap_parser_refuse(p, "Invalid flag");
		}
		lex_atom_rest(p, l);
	} else if (c == '{') {
		imap_parser_refuse(p, "Invalid literal");
	} else {
		imap_parser_refuse(p, c == ' ' ? "Unexpected space" : "Invalid character");
	}
}

static void lex_next(struct imap_parser *p, struct line *l)
{
	int c = line_peek(l);

	if (c == ')') {
		lex_list_close(p, l);
	} else if (c == ' ') {
		l->pos++;
		p->expect = EXPECT_ARG;
	} else {
		imap_parser_refuse(p, "Invalid character in argument");
	}
}

static void lex_one(struct imap_parser *p, struct line *l)
{
	switch (p->expect) {
	case EXPECT_TAG:		lex_tag(p, l); break;
	case EXPECT_NAME:		lex_name(p, l); break;
	case EXPECT_ARG:
	case EXPECT_ARG_OR_CLOSE:	lex_arg(p, l); break;
	case EXPECT_NEXT:		lex_next(p, l); break;
	case EXPECT_SECTION:		lex_section(p, l); break;
	}
}

/* May a literal stand where the lexer is? In a section it is a field name. */
static bool literal_fits(const struct imap_parser *p, const struct announced *a)
{
	uint8_t last;

	if (p->expect == EXPECT_ARG || p->expect == EXPECT_ARG_OR_CLOSE)
		return true;
	if (p->expect != EXPECT_SECTION || !p->section_list || a->literal8)
		return false;
	last = p->text.data[p->text.len - 1];
	return last == ' ' || last == '(';
}

static void lex_end(struct imap_parser *p, const struct announced *a)
{
	if (a->found) {
		if (!literal_fits(p, a))
			imap_parser_refuse(p, "Unexpected literal");
		return;
	}
	switch (p->expect) {
	case EXPECT_TAG:
		imap_parser_refuse(p, "Empty line");
		break;
	case EXPECT_NAME:
		imap_parser_refuse(p, "Missing command");
		break;
	case EXPECT_ARG:
		imap_parser_refuse(p, "Missing argument");
		break;
	case EXPECT_ARG_OR_CLOSE:
	case EXPECT_SECTION:
		imap_parser_refuse(p, "Missing end of list or section");
		break;
	case EXPECT_NEXT:
		if (p->depth > 0)
			imap_parser_refuse(p, "Missing )");
		break;
	}
}

/* Reads a line without its end. NUL and a CR alone are in no rule of the
 * grammar, not even in quoted strings. */
void imap_parser_lex(struct imap_parser *p, const uint8_t *data, size_t len,
	const struct announced *a)
{
	struct line l = { .data = data, .len = a->found ? a->at : len };

	/* The tag comes first so that the refusal can name it. */
	if (p->expect == EXPECT_TAG && l.len > 0)
		lex_tag(p, &l);
	if (memchr(data, '\0', len) != NULL)
		imap_parser_refuse(p, "NUL in command");
	if (memchr(data, '\r', len) != NULL)
		imap_parser_refuse(p, "CR without LF in command");
	while (l.pos < l.len && p->reason == NULL && p->phase != PHASE_DEAD)
		lex_one(p, &l);
	if (p->phase != PHASE_DEAD)
		lex_end(p, a);
}
