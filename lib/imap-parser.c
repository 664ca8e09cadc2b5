/* SPDX-License-Identifier: MIT */
/* Two layers. Framing gathers one line at a time (RFC 7888 section 3 wants
 * the end of every line looked at for a literal, whatever else is wrong with
 * the line) and moves literals; the lexer (imap-lex.c) reads a line when it is
 * there. The lexer's place between two lines of a command is a few values
 * (expect, the open lists, the open section), so a command that is wrong
 * before a synchronising literal is refused before the literal is asked for.
 * How the bytes were cut on their way cannot matter: nothing is decided
 * before a line end. The road not taken, a machine of single characters,
 * would need its states saved to sleep; a line's raw bytes are enough here.
 *
 * While a command is read, arguments are nodes that name their text by
 * offset, because the text grows and moves. When it is complete they become
 * struct imap_arg. imap-login serves many clients with one process: short
 * memory makes IMAP_PARSE_FATAL for one of them, never an abort. */
#include "lib/imap-parser.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/imap-chars.h"
#include "lib/imap-parser-private.h"

/* Memory above this is given back between two commands: many parsers idle. */
#define PARSER_KEEP_BYTES	2048
/* Offsets into the text are 32 bits wide. */
#define PARSER_LIMIT_MAX	((size_t)1 << 28)

#define TOO_BIG			"[TOOBIG] Literal too large"

/* ---- memory ---- */

/* Passwords went through here: nothing of a command outlives it. */
static void buf_clean(struct buf *b)
{
	if (b->cap > PARSER_KEEP_BYTES) {
		buf_wipe(b);
		return;
	}
	if (b->len > 0)
		explicit_bzero(b->data, b->len);
	buf_reset(b);
}

static void command_clear(struct imap_parser *p)
{
	buf_clean(&p->line);
	buf_clean(&p->text);
	buf_clean(&p->nodes);
	if (p->args_cap > PARSER_KEEP_BYTES / sizeof(*p->args)) {
		free(p->args);
		p->args = NULL;
		p->args_cap = 0;
	}
	p->phase = PHASE_LINE;
	p->reason = NULL;
	p->tag[0] = '\0';
	p->line_bytes = p->literal_bytes = 0;
	p->skipped_bytes = p->left = 0;
	p->literal_seen = p->sync = p->section_list = false;
	p->expect = EXPECT_TAG;
	p->depth = p->node_count = p->top_count = 0;
	p->stream = NULL;
	p->command = (struct imap_command){ .tag = p->tag };
}

struct imap_parser *imap_parser_create(const struct imap_parser_limits *limits)
{
	struct imap_parser *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	assert(limits->line_max > 0 && limits->line_max <= PARSER_LIMIT_MAX);
	assert(limits->literal_max <= PARSER_LIMIT_MAX);
	p->limits = *limits;
	buf_init(&p->line, limits->line_max);
	/* Each line byte makes at most itself and a NUL; a literal in a
	   section may double (escapes). */
	buf_init(&p->text, 2 * (limits->line_max + limits->literal_max) + 64);
	buf_init(&p->nodes, sizeof(struct node) * (limits->line_max + 1));
	command_clear(p);
	return p;
}

void imap_parser_destroy(struct imap_parser **p)
{
	if (*p == NULL)
		return;
	buf_wipe(&(*p)->line);
	buf_wipe(&(*p)->text);
	buf_wipe(&(*p)->nodes);
	free((*p)->args);
	free(*p);
	*p = NULL;
}

void imap_parser_refuse(struct imap_parser *p, const char *reason)
{
	if (p->reason == NULL)
		p->reason = reason;
}

enum imap_parse imap_parser_die(struct imap_parser *p, const char *reason)
{
	p->phase = PHASE_DEAD;
	p->reason = reason;
	return IMAP_PARSE_FATAL;
}

/* ---- arguments ---- */

static bool args_reserve(struct imap_parser *p)
{
	struct imap_arg *bigger;

	if (p->node_count <= p->args_cap)
		return true;
	bigger = reallocarray(p->args, p->node_count, sizeof(*bigger));
	if (bigger == NULL)
		return false;
	p->args = bigger;
	p->args_cap = p->node_count;
	return true;
}

static void arg_build(struct imap_parser *p, struct imap_arg *a, const struct node *n)
{
	*a = (struct imap_arg){ .type = n->type, .is_nil = n->is_nil,
		.is_literal = n->is_literal, .is_literal8 = n->is_literal8,
		.data = "", .size = n->size, .count = n->count };
	if (n->type == IMAP_ARG_ATOM || n->type == IMAP_ARG_STRING) {
		a->data = imap_parser_node_text(p, n);
		a->len = n->len;
	}
	if (n->count > 0)
		a->items = &p->args[n->first];
	if (n->type == IMAP_ARG_LITERAL_STREAM)
		p->stream = a;
}

/* Nodes stand as they were read, a list before its children; arguments stand
 * so that siblings are neighbours. A list claims the room for its children
 * when it is met. */
static bool command_build(struct imap_parser *p)
{
	uint32_t next = p->top_count, top_fill = 0;

	if (!args_reserve(p))
		return false;
	for (uint32_t i = 0; i < p->node_count; i++) {
		struct node *n = imap_parser_node(p, i);
		uint32_t slot;

		n->first = next;
		n->fill = 0;
		next += n->count;
		if (n->parent == NO_PARENT) {
			slot = top_fill++;
		} else {
			struct node *parent = imap_parser_node(p, n->parent);
			slot = parent->first + parent->fill++;
		}
		arg_build(p, &p->args[slot], n);
	}
	p->command = (struct imap_command){ .tag = p->tag,
		.name = (const char *)p->text.data,
		.args = p->top_count > 0 ? p->args : NULL,
		.count = p->top_count };
	return true;
}

/* ---- framing ---- */

/* literal = "{" number64 ["+"] "}" CRLF, literal8 = "~{" ... (RFC 9051
 * section 9, RFC 7888 section 8): does this line end with one? */
static struct announced find_literal(const uint8_t *line, size_t len)
{
	struct announced a = { .sync = true };
	size_t end = len, start;

	if (end == 0 || line[--end] != '}')
		return a;
	if (end > 0 && line[end - 1] == '+') {
		a.sync = false;
		end--;
	}
	for (start = end; start > 0 && imap_is_digit(line[start - 1]); )
		start--;
	if (start == end || start == 0 || line[start - 1] != '{')
		return a;
	a.found = true;
	a.at = start - 1;
	if (a.at > 0 && line[a.at - 1] == '~') {
		a.literal8 = true;
		a.at--;
	}
	/* number64 has 63 bits */
	for (size_t i = start; i < end && !a.overflow; i++) {
		unsigned int digit = line[i] - '0';

		a.overflow = a.size > ((uint64_t)INT64_MAX - digit) / 10;
		a.size = a.size * 10 + digit;
	}
	return a;
}

static enum imap_parse complete(struct imap_parser *p)
{
	if (p->reason == NULL && !command_build(p))
		return imap_parser_die(p, NO_MEMORY);
	p->phase = PHASE_COMPLETE;
	return p->reason == NULL ? IMAP_PARSE_DONE : IMAP_PARSE_BAD;
}

/* A literal of a command that is refused. A synchronising one is not sent by
 * a client that gets BAD instead of "+"; the other kind is on its way, and the
 * command goes on behind it. True if *result_r is to be told. */
static bool literal_refuse(struct imap_parser *p, const struct announced *a,
	enum imap_parse *result_r)
{
	if (a->sync) {
		*result_r = complete(p);
		return true;
	}
	if (a->overflow || a->size > IMAP_LITERAL_MAX_BYTES - p->skipped_bytes) {
		*result_r = imap_parser_die(p, TOO_BIG);
		return true;
	}
	p->skipped_bytes += a->size;
	p->left = a->size;
	p->phase = a->size > 0 ? PHASE_SKIP : PHASE_LINE;
	return false;
}

/* Is the literal that comes the message of APPEND? Its first argument, the
 * mailbox, may be a literal too and is an ordinary one. RFC 6855 section 4
 * puts the message into a list of its own: UTF8 (~{n}. */
static bool literal_streams(struct imap_parser *p)
{
	const struct node *n;

	if (p->limits.stream_command == NULL || p->expect == EXPECT_SECTION ||
	    strcmp((const char *)p->text.data, p->limits.stream_command) != 0)
		return false;
	if (p->depth == 0)
		return p->top_count >= 1;
	if (p->depth > 1 || p->open[0] == 0 || imap_parser_node(p, p->open[0])->count > 0)
		return false;
	n = imap_parser_node(p, p->open[0] - 1);
	return n->parent == NO_PARENT && n->type == IMAP_ARG_ATOM &&
		strcasecmp(imap_parser_node_text(p, n), "UTF8") == 0;
}

static enum imap_parse stream_begin(struct imap_parser *p, const struct announced *a)
{
	struct node *n = imap_parser_node_add(p, IMAP_ARG_LITERAL_STREAM);

	if (n == NULL)
		return imap_parser_die(p, NO_MEMORY);
	n->is_literal = true;
	n->is_literal8 = a->literal8;
	n->size = a->size;
	p->expect = EXPECT_NEXT;
	if (!command_build(p))
		return imap_parser_die(p, NO_MEMORY);
	p->sync = a->sync;
	p->phase = PHASE_STREAM;
	return IMAP_PARSE_STREAM;
}

static void literal_end(struct imap_parser *p)
{
	p->phase = PHASE_LINE;
	if (p->expect == EXPECT_SECTION)
		imap_parser_text_char(p, '"');
	else
		imap_parser_node_finish(p);
}

static bool literal_begin(struct imap_parser *p, const struct announced *a,
	enum imap_parse *result_r)
{
	bool section = p->expect == EXPECT_SECTION;
	struct node *n;

	if (!a->overflow && literal_streams(p)) {
		*result_r = stream_begin(p, a);
		return true;
	}
	if (a->overflow || a->size > p->limits.literal_max - p->literal_bytes) {
		imap_parser_refuse(p, TOO_BIG);
		return literal_refuse(p, a, result_r);
	}
	if (section) {
		imap_parser_text_char(p, '"');
	} else if ((n = imap_parser_node_add(p, IMAP_ARG_STRING)) != NULL) {
		n->is_literal = true;
		n->is_literal8 = a->literal8;
	}
	p->literal_bytes += (size_t)a->size;
	p->left = a->size;
	if (p->phase != PHASE_DEAD) {
		p->phase = PHASE_LITERAL;
		if (p->left == 0)
			literal_end(p);
	}
	*result_r = p->phase == PHASE_DEAD ? IMAP_PARSE_FATAL : IMAP_PARSE_CONTINUE;
	return a->sync || p->phase == PHASE_DEAD;
}

static bool line_end(struct imap_parser *p, enum imap_parse *result_r)
{
	const uint8_t *data = p->line.data;
	size_t len = p->line.len - 1;
	struct announced a;

	if (len > 0 && data[len - 1] == '\r')
		len--;
	a = find_literal(data, len);
	if (p->reason == NULL)
		imap_parser_lex(p, data, len, &a);
	p->line_bytes += p->line.len;
	buf_clean(&p->line);
	if (p->phase == PHASE_DEAD)
		*result_r = IMAP_PARSE_FATAL;
	else if (!a.found)
		*result_r = complete(p);
	else {
		p->literal_seen = true;
		return p->reason != NULL ? literal_refuse(p, &a, result_r) :
			literal_begin(p, &a, result_r);
	}
	return true;
}

/* Each step takes what it can of data (never empty) and says in *used_r how
 * much; true if there is a *result_r. */
static bool step_line(struct imap_parser *p, const uint8_t *data, size_t len,
	size_t *used_r, enum imap_parse *result_r)
{
	const uint8_t *lf = memchr(data, '\n', len);
	size_t n = lf != NULL ? (size_t)(lf - data) + 1 : len;

	if (n > p->limits.line_max - p->line_bytes - p->line.len) {
		*result_r = imap_parser_die(p, "Command line too long");
		return true;
	}
	if (buf_append(&p->line, data, n) < 0) {
		*result_r = imap_parser_die(p, NO_MEMORY);
		return true;
	}
	*used_r = n;
	return lf != NULL && line_end(p, result_r);
}

/* In a section a literal becomes quoted text, which cannot hold line ends. */
static void literal_quote(struct imap_parser *p, const uint8_t *data, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (data[i] == '\r' || data[i] == '\n')
			imap_parser_refuse(p, "Line end in field name");
		if (data[i] == '"' || data[i] == '\\')
			imap_parser_text_char(p, '\\');
		imap_parser_text_char(p, (char)data[i]);
	}
}

static bool step_literal(struct imap_parser *p, const uint8_t *data, size_t len,
	size_t *used_r, enum imap_parse *result_r)
{
	size_t n = len < p->left ? len : (size_t)p->left;
	bool section = p->expect == EXPECT_SECTION;

	/* CHAR8 leaves out NUL; a literal8 is made of OCTETs. */
	if ((section || !imap_parser_node_last(p)->is_literal8) && memchr(data, '\0', n) != NULL)
		imap_parser_refuse(p, "NUL in literal");
	if (section)
		literal_quote(p, data, n);
	else
		imap_parser_text(p, data, n);
	p->left -= n;
	*used_r = n;
	if (p->left == 0 && p->phase != PHASE_DEAD)
		literal_end(p);
	*result_r = IMAP_PARSE_FATAL;
	return p->phase == PHASE_DEAD;
}

static bool step(struct imap_parser *p, const uint8_t *data, size_t len,
	size_t *used_r, enum imap_parse *result_r)
{
	switch (p->phase) {
	case PHASE_LINE:
		return step_line(p, data, len, used_r, result_r);
	case PHASE_LITERAL:
		return step_literal(p, data, len, used_r, result_r);
	case PHASE_SKIP:
		*used_r = len < p->left ? len : (size_t)p->left;
		p->left -= *used_r;
		if (p->left == 0)
			p->phase = PHASE_LINE;
		return false;
	case PHASE_STREAM:
	case PHASE_COMPLETE:
	case PHASE_DEAD:
		break;
	}
	*result_r = IMAP_PARSE_FATAL;
	return true;
}

enum imap_parse imap_parser_feed(struct imap_parser *p, const uint8_t *data, size_t len,
	size_t *used_r)
{
	enum imap_parse result = IMAP_PARSE_MORE;
	size_t used = 0;

	/* The bytes of a streamed literal are not for us. */
	assert(p->phase != PHASE_STREAM);
	if (p->phase == PHASE_COMPLETE)
		command_clear(p);
	if (p->phase == PHASE_DEAD)
		result = IMAP_PARSE_FATAL;
	while (used < len) {
		size_t n = 0;
		bool told = step(p, data + used, len - used, &n, &result);

		used += n;
		if (told)
			break;
		result = IMAP_PARSE_MORE;
	}
	*used_r = used;
	return result;
}

const struct imap_command *imap_parser_command(const struct imap_parser *p)
{
	return &p->command;
}

const char *imap_parser_tag(const struct imap_parser *p)
{
	return p->tag;
}

const char *imap_parser_reason(const struct imap_parser *p)
{
	return p->reason != NULL ? p->reason : "";
}

const struct imap_arg *imap_parser_stream(const struct imap_parser *p)
{
	return p->phase == PHASE_STREAM ? p->stream : NULL;
}

bool imap_parser_needs_continue(const struct imap_parser *p)
{
	return p->phase == PHASE_STREAM && p->sync;
}

void imap_parser_stream_done(struct imap_parser *p)
{
	assert(p->phase == PHASE_STREAM);
	p->phase = PHASE_LINE;
}

bool imap_parser_idle(const struct imap_parser *p)
{
	return p->phase == PHASE_COMPLETE ||
		(p->phase == PHASE_LINE && p->line.len == 0 && p->line_bytes == 0);
}

bool imap_parser_partial(const struct imap_parser *p, const uint8_t **data_r, size_t *len_r,
	size_t max)
{
	bool idle = imap_parser_idle(p);

	if (!idle && (p->phase != PHASE_LINE || p->literal_seen || p->line.len > max))
		return false;
	*data_r = idle ? NULL : p->line.data;
	*len_r = idle ? 0 : p->line.len;
	return true;
}

void imap_parser_reset(struct imap_parser *p)
{
	command_clear(p);
}
