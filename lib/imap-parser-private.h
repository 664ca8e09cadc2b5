/* SPDX-License-Identifier: MIT */
#ifndef LIB_IMAP_PARSER_PRIVATE_H
#define LIB_IMAP_PARSER_PRIVATE_H
/* Between imap-parser.c (framing, the interface) and imap-lex.c only. */
#include "lib/buf.h"
#include "lib/imap-parser.h"
#include "lib/limits.h"

#define NO_PARENT		UINT32_MAX
#define NO_MEMORY		"Out of memory"

enum phase {
	PHASE_LINE,	/* gathers a line */
	PHASE_LITERAL,	/* takes a literal's bytes */
	PHASE_SKIP,	/* passes over a literal of a command that is refused */
	PHASE_STREAM,	/* the caller reads a literal */
	PHASE_COMPLETE,	/* DONE or BAD was said: the next feed() begins anew */
	PHASE_DEAD,
};

/* What the lexer wants next. */
enum expect {
	EXPECT_TAG,
	EXPECT_NAME,
	EXPECT_ARG,		/* after a SP */
	EXPECT_ARG_OR_CLOSE,	/* after "(" */
	EXPECT_NEXT,		/* after an argument: SP, ")" or the end */
	EXPECT_SECTION,		/* inside BODY[...] */
};

struct node {
	uint64_t size;
	uint32_t text, len;		/* offset into text */
	uint32_t parent, count;
	uint32_t first, fill;		/* LIST: where its children go */
	uint8_t type;
	bool is_nil, is_literal, is_literal8;
};

/* A literal announced at the end of a line. */
struct announced {
	bool found, sync, literal8, overflow;
	uint64_t size;
	size_t at;	/* where in the line its text begins */
};

struct imap_parser {
	struct imap_parser_limits limits;
	enum phase phase;
	const char *reason;	/* not NULL: the command is refused */
	char tag[IMAP_TAG_MAX_BYTES + 1];

	struct buf line;	/* the raw bytes of the line being gathered */
	size_t line_bytes;	/* of the command's lines before it */
	size_t literal_bytes;	/* of literals kept */
	uint64_t skipped_bytes;	/* of literals passed over */
	uint64_t left;		/* of the literal being moved */
	bool literal_seen, sync;

	enum expect expect;
	uint32_t open[IMAP_NESTING_MAX];
	uint32_t depth;
	bool section_list;	/* inside the ( ) of a section */

	struct buf text;	/* name and arguments, each NUL-terminated */
	struct buf nodes;
	uint32_t node_count, top_count;

	struct imap_arg *args;
	size_t args_cap;
	const struct imap_arg *stream;
	struct imap_command command;
};

/* The first refusal of a command is the one that is told. */
void imap_parser_refuse(struct imap_parser *p, const char *reason);
enum imap_parse imap_parser_die(struct imap_parser *p, const char *reason);

/* Memory may be short in each of these: the parser is dead then. */
void imap_parser_text(struct imap_parser *p, const void *data, size_t n);
void imap_parser_text_char(struct imap_parser *p, char c);
/* A new argument, in the innermost open list. NULL: the parser is dead. */
struct node *imap_parser_node_add(struct imap_parser *p, enum imap_arg_type type);
/* The text since then is the last node's. */
void imap_parser_node_finish(struct imap_parser *p);
struct node *imap_parser_node(struct imap_parser *p, uint32_t i);
struct node *imap_parser_node_last(struct imap_parser *p);
const char *imap_parser_node_text(struct imap_parser *p, const struct node *n);

/* Reads a line, without its end, of a command that is good so far. */
void imap_parser_lex(struct imap_parser *p, const uint8_t *data, size_t len,
	const struct announced *a);
#endif
