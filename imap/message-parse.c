/* SPDX-License-Identifier: MIT */
/* One pass over the lines. Only the beginning of a line that may be a boundary
 * is held back until that is known, and of headers what has a limit; so memory
 * does not depend on the message, but for its parts, which have a limit too.
 *
 * The stack holds the parts that are open: multiparts, messages in messages
 * (each an attachment and the message in it), and the leaf that lines go to
 * now. A boundary line closes all above the multipart it belongs to. The line
 * end before it is the boundary's (RFC 2046 5.1.1: body-part), also when it had
 * been taken for a header's empty line. */
#include "imap/message-parse.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* "--", the boundary, "--" */
#define HEAD_MAX	(MESSAGE_BOUNDARY_MAX_BYTES + 4)

struct level {
	struct message_part *part;
	struct message_part **next;	/* where its next child goes */
	const char *boundary;	/* "": not a multipart, or its end was met */
	size_t boundary_len;
	uint64_t lines;		/* before its body */
	bool mime;
};
struct message_parser {
	struct words words;
	struct message *message;
	struct level levels[MESSAGE_DEPTH_MAX + 2];
	size_t n_levels, n_boundaries, n_parts;
	struct buf header;	/* of the innermost part, while it is read */
	bool in_header, header_failed;
	uint64_t at;		/* bytes so far */
	uint64_t lines;		/* line ends so far */
	uint64_t line_at;	/* where this line begins */
	uint8_t head[HEAD_MAX];	/* its beginning */
	size_t head_len;
	bool head_open;		/* not decided yet what the line is */
	bool is_boundary, begins_part;	/* of this line */
	bool last_cr;		/* the last byte was CR */
	uint8_t eol;		/* bytes of the last line's end */
	bool empty_ended;	/* the last line was a header's empty one */
};

/* ---- words and fields ---- */

const char *words_keep(struct words *w, const void *data, size_t len, const char *instead)
{
	w->failed |= w->scratch.failed || w->scratch2.failed;
	if (len > MESSAGE_WORDS_MAX_BYTES - w->kept)
		return instead;
	w->kept += len;
	return len > 0 ? arena_strndup(w->arena, data, len) : "";
}

/* RFC 5322 2.2: a field goes on in lines that begin with a blank. */
bool field_next(const struct buf *header, size_t *pos, struct field *f_r)
{
	const uint8_t *data = header->data;

	while (*pos < header->len) {
		const uint8_t *begin = data + *pos, *end, *colon;
		size_t left;
		bool folded = *begin == ' ' || *begin == '\t';

		do {
			end = memchr(data + *pos, '\n', header->len - *pos);
			*pos = end != NULL ? (size_t)(end - data) + 1 : header->len;
		} while (*pos < header->len && (data[*pos] == ' ' || data[*pos] == '\t'));
		left = (size_t)(data + *pos - begin);
		end = memchr(begin, '\n', left);
		colon = memchr(begin, ':', end != NULL ? (size_t)(end - begin) : left);
		if (colon == NULL || folded)
			continue;
		*f_r = (struct field){ .name = (const char *)begin, .value = colon + 1 };
		f_r->name_len = (size_t)(colon - begin);
		f_r->value_len = left - f_r->name_len - 1;
		/* RFC 5322 4.5.8: old mail has blanks before the colon. */
		while (f_r->name_len > 0 && (f_r->name[f_r->name_len - 1] == ' ' ||
					     f_r->name[f_r->name_len - 1] == '\t'))
			f_r->name_len--;
		return true;
	}
	return false;
}

bool field_is(const struct field *f, const char *name)
{
	return strlen(name) == f->name_len && strncasecmp(f->name, name, f->name_len) == 0;
}

/* ---- parts ---- */

static struct level *top(struct message_parser *p)
{
	return &p->levels[p->n_levels - 1];
}

/* A part whose header begins at this place. */
static struct message_part *part_create(struct message_parser *p, uint64_t at)
{
	struct message_part *part = arena_alloc(p->words.arena, sizeof(*part));

	message_mime_default(part);
	part->header_at = part->body_at = at;
	p->n_parts++;
	return part;
}

static struct message_part *child_add(struct message_parser *p, struct level *parent, uint64_t at)
{
	struct message_part *part = part_create(p, at);

	part->parent = parent->part;
	*parent->next = part;
	parent->next = &part->next;
	return part;
}

static void part_open(struct message_parser *p, struct message_part *part, bool mime)
{
	assert(p->n_levels < sizeof(p->levels) / sizeof(p->levels[0]));
	p->levels[p->n_levels++] = (struct level){
		.part = part, .next = &part->children, .boundary = "", .mime = mime,
	};
	p->in_header = true;
	buf_reset(&p->header);
}

static bool is_type(const struct message_part *part, const char *type, const char *subtype)
{
	return strcasecmp(part->type, type) == 0 &&
		(subtype == NULL || strcasecmp(part->subtype, subtype) == 0);
}

/* What could have parts, but is too deep or one too many. */
static void part_as_bytes(struct message_part *part)
{
	part->type = "application";
	part->subtype = "octet-stream";
}

/* The header is complete; the body begins here. */
static void header_end(struct message_parser *p, uint64_t at)
{
	struct level *l = top(p), *up = p->n_levels > 1 ? l - 1 : NULL;
	struct message_part *part = l->part;
	const char *boundary;

	p->in_header = false;
	p->header_failed |= p->header.failed;
	part->header_len = at - part->header_at;
	part->body_at = at;
	l->lines = p->lines;
	l->mime = message_mime_read(&p->words, &p->header, l->mime, up != NULL &&
				    up->part->multipart && is_type(up->part, "multipart", "digest"),
				    part, &boundary);
	if (up == NULL) {
		p->message->envelope = message_envelope_read(&p->words, &p->header);
		p->message->told = message_told(&p->header);
	} else if (up->part->rfc822) {
		up->part->envelope = message_envelope_read(&p->words, &p->header);
	}
	if (is_type(part, "multipart", NULL)) {
		if (p->n_levels > MESSAGE_DEPTH_MAX || p->n_parts == MESSAGE_PARTS_MAX) {
			part_as_bytes(part);
			return;
		}
		part->multipart = true;
		l->boundary = boundary;
		l->boundary_len = strlen(boundary);
		p->n_boundaries++;
	} else if (is_type(part, "message", "rfc822")) {
		if (p->n_levels > MESSAGE_DEPTH_MAX || p->n_parts == MESSAGE_PARTS_MAX) {
			part_as_bytes(part);
			return;
		}
		part->rfc822 = true;
		part_open(p, child_add(p, l, at), false);
	}
}

static void boundary_forget(struct message_parser *p, struct level *l)
{
	if (l->boundary_len > 0)
		p->n_boundaries--;
	l->boundary = "";
	l->boundary_len = 0;
}

/* The empty line of a header is the end of the line before the boundary, which
 * takes it back: MIME-part-headers [CRLF *OCTET] delimiter (RFC 2046 5.1.1). */
static void empty_line_undo(struct message_parser *p, size_t n, uint64_t at)
{
	for (size_t i = p->n_levels; i-- > n && p->levels[i].part->body_at > at; ) {
		struct message_part *part = p->levels[i].part;

		part->body_at = at;
		if (part->header_at > at)
			part->header_at = at;
		part->header_len = at - part->header_at;
	}
}

/* Closes all but the first n levels at this place, or where the innermost
 * body begins if that is behind it. */
static void close_above(struct message_parser *p, size_t n, uint64_t at)
{
	uint64_t lines;

	if (p->empty_ended)
		empty_line_undo(p, n, at);
	if (p->n_levels > n && at < top(p)->part->body_at)
		at = top(p)->part->body_at;	/* = header_at in a header */
	/* A header that ends here may turn out to be one with a message below. */
	while (p->n_levels > n && p->in_header)
		header_end(p, at);
	lines = p->lines;
	if (p->eol > 0 && at + p->eol == p->line_at)
		lines--;	/* the boundary's own */
	while (p->n_levels > n) {
		struct level *l = top(p);

		l->part->body_len = at - l->part->body_at;
		l->part->body_lines = lines > l->lines ? (uint32_t)(lines - l->lines) : 0;
		/* BODY needs one (RFC 3501 section 9: 1*body). */
		if (l->part->multipart && l->part->children == NULL)
			child_add(p, l, at);
		boundary_forget(p, l);
		p->n_levels--;
	}
}

/* ---- lines ---- */

/* The multipart that the line is a boundary of: the longest that matches, as one may
 * be the beginning of another; of equal ones the innermost. 0: none, else the level's number + 1. */
static size_t boundary_find(const struct message_parser *p)
{
	size_t found = 0, found_len = 0;

	for (size_t i = p->n_levels; i-- > 0; ) {
		const struct level *l = &p->levels[i];

		if (l->boundary_len > found_len && l->boundary_len <= p->head_len - 2 &&
		    memcmp(p->head + 2, l->boundary, l->boundary_len) == 0) {
			found = i + 1;
			found_len = l->boundary_len;
		}
	}
	return found;
}

/* The beginning of the line is known as far as it matters. */
static void head_decide(struct message_parser *p)
{
	size_t n, behind;
	struct level *l;

	p->head_open = false;
	if (p->n_boundaries == 0 || p->head_len < 2 || memcmp(p->head, "--", 2) != 0)
		return;
	n = boundary_find(p);
	if (n == 0)
		return;
	l = &p->levels[n - 1];
	behind = 2 + l->boundary_len;
	p->begins_part = p->head_len < behind + 2 || memcmp(p->head + behind, "--", 2) != 0;
	/* One too many: it is not looked for any more. */
	if (p->begins_part && p->n_parts >= MESSAGE_PARTS_MAX)
		return;
	p->is_boundary = true;
	close_above(p, n, p->line_at - p->eol);
	if (!p->begins_part)
		boundary_forget(p, l);
}

static void line_begin(struct message_parser *p)
{
	p->line_at = p->at;
	p->head_len = 0;
	p->head_open = true;
	p->is_boundary = p->begins_part = false;
}

static void line_end(struct message_parser *p, bool after_cr)
{
	uint64_t len = p->at - p->line_at;

	p->lines++;
	p->eol = after_cr ? 2 : 1;
	p->empty_ended = !p->is_boundary && p->in_header && len == p->eol;
	if (p->is_boundary) {
		if (p->begins_part) {
			struct level *l = top(p);

			part_open(p, child_add(p, l, p->at), l->mime);
		}
	} else if (p->empty_ended) {
		header_end(p, p->at);
	}
	line_begin(p);
}

/* More of the line, of which data is a part. */
static void line_bytes(struct message_parser *p, const uint8_t *data, size_t len)
{
	size_t room = MESSAGE_HEADER_MAX_BYTES - p->header.len;

	if (p->in_header && !p->is_boundary)
		buf_append(&p->header, data, len < room ? len : room);
}

/* Bytes up to the line end or, if there is none yet, as far as they go. Returns how many were taken. */
static size_t head_feed(struct message_parser *p, const uint8_t *data, size_t len)
{
	size_t n = 0;

	while (n < len && p->head_open) {
		p->head[p->head_len++] = data[n];
		n++;
		if (data[n - 1] == '\n' || p->head_len == HEAD_MAX || p->n_boundaries == 0 ||
		    p->head[p->head_len > 1] != '-')
			head_decide(p);
	}
	if (!p->head_open)
		line_bytes(p, p->head, p->head_len);
	return n;
}

void message_parser_feed(struct message_parser *p, const void *data, size_t len)
{
	const uint8_t *d = data;

	while (len > 0) {
		const uint8_t *lf;
		bool after_cr;
		size_t n, rest;

		n = p->head_open ? head_feed(p, d, len) : 0;
		rest = 0;
		if (n == 0 || d[n - 1] != '\n') {
			lf = memchr(d + n, '\n', len - n);
			rest = lf != NULL ? (size_t)(lf - d) + 1 - n : len - n;
			if (rest > 0)
				line_bytes(p, d + n, rest);
		}
		n += rest;
		after_cr = n > 1 ? d[n - 2] == '\r' : p->last_cr;
		p->last_cr = d[n - 1] == '\r';
		p->at += n;
		if (d[n - 1] == '\n')
			line_end(p, after_cr);
		d += n;
		len -= n;
	}
}

struct message_parser *message_parser_create(struct arena *arena)
{
	struct message_parser *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->words.arena = arena;
	buf_init(&p->words.scratch, SIZE_MAX);
	buf_init(&p->words.scratch2, SIZE_MAX);
	buf_init(&p->header, MESSAGE_HEADER_MAX_BYTES);
	p->message = arena_alloc(arena, sizeof(*p->message));
	p->message->root = part_create(p, 0);
	part_open(p, p->message->root, false);
	line_begin(p);
	return p;
}

int message_parser_finish(struct message_parser **pp, struct message **m_r)
{
	struct message_parser *p = *pp;
	int ret;

	if (p->head_open) {
		head_decide(p);
		line_bytes(p, p->head, p->head_len);
	}
	if (p->is_boundary && p->begins_part)
		part_open(p, child_add(p, top(p), p->at), top(p)->mime);
	p->eol = 0;
	close_above(p, 0, p->at);
	ret = p->header_failed || p->words.failed ? -ENOMEM : 0;
	if (ret == 0)
		*m_r = p->message;
	message_parser_destroy(pp);
	return ret;
}

void message_parser_destroy(struct message_parser **pp)
{
	struct message_parser *p = *pp;

	if (p == NULL)
		return;
	buf_deinit(&p->header);
	buf_deinit(&p->words.scratch);
	buf_deinit(&p->words.scratch2);
	free(p);
	*pp = NULL;
}
