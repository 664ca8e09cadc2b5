/* SPDX-License-Identifier: MIT */
#ifndef TESTS_IMAP_DRIVE_H
#define TESTS_IMAP_DRIVE_H
/* Leads bytes through an IMAP parser, cut as the caller likes, and writes down
 * everything it said, so that two ways can be compared as texts. One line for
 * each answer but MORE: what, "@" and how many bytes were consumed by then,
 * and the command:
 *
 *	DONE@22 a1 LOGIN atom "quoted" {2}xy ~{2}xy NIL! (list)
 *	CONT@12
 *	STREAM@40 a APPEND box <310+>		<310> without "+": no continuation
 *	BAD@9 a1 reason
 *	FATAL reason
 *	CUT idle | partial | literal		where the input ended
 *
 * Each piece is fed from a block of its own that is gone afterwards: the
 * address sanitizer sees every pointer that looks beyond or back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/imap-parser.h"

/* Our own checks, in a fuzzer too: a failure is a crash there. */
#define drive_require(cond) \
	do { \
		if (!(cond)) { \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond); \
			abort(); \
		} \
	} while (0)

struct drive {
	struct imap_parser_limits limits;
	/* How many of the left bytes (1 or more) are to be fed next. */
	size_t (*cut)(void *context, size_t left);
	void *context;
	/* Whenever it can be done, save the partial line and go on with a
	   fresh parser, as a session that sleeps in mid-line does. */
	bool sleeps;
};

/* waits: the literal that waits for a continuation, or NULL */
static inline void drive_arg(struct buf *out, const struct imap_arg *a,
			     const struct imap_arg *waits)
{
	drive_require(a->data != NULL && a->data[a->len] == '\0');
	switch (a->type) {
	case IMAP_ARG_ATOM:
		drive_require(strlen(a->data) == a->len && a->len > 0);
		buf_append(out, a->data, a->len);
		if (a->is_nil)
			buf_append_str(out, "!");
		break;
	case IMAP_ARG_STRING:
		if (a->is_literal) {
			buf_printf(out, "%s{%zu}", a->is_literal8 ? "~" : "", a->len);
			buf_append(out, a->data, a->len);
		} else {
			buf_append_str(out, "\"");
			buf_append(out, a->data, a->len);
			buf_append_str(out, "\"");
		}
		break;
	case IMAP_ARG_LIST:
		buf_append_str(out, "(");
		for (size_t i = 0; i < a->count; i++) {
			buf_append_str(out, i > 0 ? " " : "");
			drive_arg(out, &a->items[i], waits);
		}
		buf_append_str(out, ")");
		break;
	case IMAP_ARG_LITERAL_STREAM:
		buf_printf(out, "%s<%llu%s>", a->is_literal8 ? "~" : "",
			(unsigned long long)a->size, a == waits ? "+" : "");
		break;
	}
}

static inline void drive_command(struct buf *out, const struct imap_parser *p)
{
	const struct imap_command *c = imap_parser_command(p);
	const struct imap_arg *waits = imap_parser_needs_continue(p) ?
		imap_parser_stream(p) : NULL;

	drive_require(c->tag[0] != '\0' && c->name[0] != '\0');
	drive_require(strcmp(c->tag, imap_parser_tag(p)) == 0);
	buf_printf(out, " %s %s", c->tag, c->name);
	for (size_t i = 0; i < c->count; i++) {
		buf_append_str(out, " ");
		drive_arg(out, &c->args[i], waits);
	}
}

/* Writes the answer down. False: there is no going on. */
static inline bool drive_answer(struct buf *out, const struct imap_parser *p,
				enum imap_parse answer, size_t pos)
{
	switch (answer) {
	case IMAP_PARSE_DONE:
		buf_printf(out, "DONE@%zu", pos);
		drive_command(out, p);
		drive_require(imap_parser_idle(p));
		break;
	case IMAP_PARSE_MORE:
		return true;
	case IMAP_PARSE_CONTINUE:
		buf_printf(out, "CONT@%zu", pos);
		drive_require(!imap_parser_idle(p));
		break;
	case IMAP_PARSE_STREAM:
		buf_printf(out, "STREAM@%zu", pos);
		drive_command(out, p);
		drive_require(imap_parser_stream(p)->type == IMAP_ARG_LITERAL_STREAM);
		break;
	case IMAP_PARSE_BAD:
		buf_printf(out, "BAD@%zu %s %s", pos, imap_parser_tag(p),
			   imap_parser_reason(p));
		break;
	case IMAP_PARSE_FATAL:
		buf_printf(out, "FATAL %s", imap_parser_reason(p));
		break;
	}
	buf_append_str(out, "\n");
	return answer != IMAP_PARSE_FATAL;
}

static inline enum imap_parse drive_feed(struct imap_parser *p, const uint8_t *data,
					 size_t len, size_t *used_r)
{
	uint8_t *piece = malloc(len > 0 ? len : 1);
	enum imap_parse answer;

	drive_require(piece != NULL);
	if (len > 0)
		memcpy(piece, data, len);
	answer = imap_parser_feed(p, piece, len, used_r);
	free(piece);
	drive_require(*used_r <= len);
	if (answer == IMAP_PARSE_MORE)
		drive_require(*used_r == len);
	return answer;
}

static inline void drive_sleep(struct imap_parser **p, const struct drive *d)
{
	struct imap_parser *fresh;
	const uint8_t *data;
	size_t len, used;

	if (!imap_parser_partial(*p, &data, &len, SIZE_MAX))
		return;
	fresh = imap_parser_create(&d->limits);
	drive_require(fresh != NULL);
	if (len > 0)
		drive_require(drive_feed(fresh, data, len, &used) == IMAP_PARSE_MORE);
	drive_require(imap_parser_idle(fresh) == imap_parser_idle(*p));
	imap_parser_destroy(p);
	*p = fresh;
}

static inline void drive_rest(struct buf *out, const struct imap_parser *p)
{
	const uint8_t *data;
	size_t len;

	buf_printf(out, "CUT %s\n", imap_parser_idle(p) ? "idle" :
		   imap_parser_partial(p, &data, &len, SIZE_MAX) ? "partial" : "literal");
}

static inline void drive_run(const struct drive *d, const void *bytes, size_t len,
			     struct buf *out)
{
	struct imap_parser *p = imap_parser_create(&d->limits);
	const uint8_t *data = bytes;
	size_t pos = 0, used;
	uint64_t size;
	bool going = true;

	drive_require(p != NULL);
	while (going && pos < len) {
		size_t n = d->cut(d->context, len - pos);
		enum imap_parse answer = drive_feed(p, data + pos, n, &used);

		pos += used;
		going = drive_answer(out, p, answer, pos);
		if (answer == IMAP_PARSE_STREAM) {
			size = imap_parser_stream(p)->size;
			if (size > len - pos)
				break;
			pos += (size_t)size;
			imap_parser_stream_done(p);
		}
		if (answer == IMAP_PARSE_DONE || answer == IMAP_PARSE_BAD)
			drive_require(data[pos - 1] == '\n');
		if (d->sleeps)
			drive_sleep(&p, d);
	}
	if (going)
		drive_rest(out, p);
	imap_parser_destroy(&p);
}

static inline size_t drive_cut_whole(void *context, size_t left)
{
	(void)context;
	return left;
}
static inline size_t drive_cut_bytes(void *context, size_t left)
{
	(void)context;
	(void)left;
	return 1;
}
/* context: a uint64_t seed. Short pieces mostly, long ones now and then. */
static inline size_t drive_cut_random(void *context, size_t left)
{
	uint64_t *state = context;
	size_t most;

	*state = *state * 6364136223846793005u + 1442695040888963407u;
	most = *state >> 62 == 0 ? 64 : 5;
	most = 1 + (size_t)((*state >> 33) % most);
	return most < left ? most : left;
}
#endif
