/* SPDX-License-Identifier: MIT */
#ifndef LIB_IMAP_PARSER_H
#define LIB_IMAP_PARSER_H
/* An incremental tokenizer of IMAP commands (RFC 9051 section 9, RFC 3501
 * section 9, RFC 7888 literals), for imap-login and imap. It takes what has
 * arrived, keeps its place, and gives the same result whether the line came
 * whole or byte by byte. It never reads beyond the command's CRLF (a bare LF
 * is accepted as line end too). It copies what it keeps: input may move. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum imap_arg_type {
	IMAP_ARG_ATOM,		/* also numbers, sequence sets, flags (\Seen), BODY[...]<..>: an atom
				   swallows a [...] section whole, quoted strings and literals in it included (literals become quoted text);
				   only in FETCH, UID and NOTIFY: elsewhere "[" is a character like another */
	IMAP_ARG_STRING,	/* quoted: unescaped, or a literal's bytes (may hold NUL if literal8) */
	IMAP_ARG_LIST,
	IMAP_ARG_LITERAL_STREAM,/* the last argument so far is a literal whose bytes the
				   caller reads itself (APPEND); size says how many */
};
struct imap_arg {
	enum imap_arg_type type;
	bool is_nil;			/* atom NIL (any case) */
	bool is_literal, is_literal8;	/* ~{n}: literal8, RFC 3516 / RFC 6855 */
	const char *data;		/* NUL-terminated for convenience; len counts */
	size_t len;
	const struct imap_arg *items;	/* LIST: children */
	size_t count;
	uint64_t size;			/* LITERAL_STREAM: bytes that follow */
};
struct imap_command {
	const char *tag;		/* never empty on IMAP_PARSE_DONE */
	const char *name;		/* upper case; "UID FETCH" comes as name "UID" with args[0] = FETCH */
	const struct imap_arg *args;
	size_t count;
};
enum imap_parse {
	IMAP_PARSE_DONE,	/* *cmd is complete, its line end consumed */
	IMAP_PARSE_MORE,	/* feed again with more bytes */
	IMAP_PARSE_CONTINUE,	/* a synchronising literal: send "+ ...", then feed again */
	IMAP_PARSE_STREAM,	/* command begun; its last argument is LITERAL_STREAM: read size bytes
				   yourself, then imap_parser_stream_done() and feed on (MULTIAPPEND or CRLF).
				   needs_continue tells whether "+ " must be sent first */
	IMAP_PARSE_BAD,		/* syntax error; the line has been consumed to its end (a literal of it is skipped: a
				   non-synchronising one of up to IMAP_LITERAL_MAX_BYTES bytes, so that its bytes are never run as commands);
				   tag may be "" -> answer "* BAD" ; reason is a text for the client */
	IMAP_PARSE_FATAL,	/* cannot go on (line or literal beyond every limit): BYE and close; reason */
};
struct imap_parser;
struct imap_parser_limits {
	size_t line_max;	/* bytes of a command without literals */
	size_t literal_max;	/* all literals of one command together */
	/* Command whose literals are streamed: "APPEND" or NULL; not its first
	 * argument (the mailbox), nor those in lists other than UTF8 (...). */
	const char *stream_command;
};
struct imap_parser *imap_parser_create(const struct imap_parser_limits *limits);
void imap_parser_destroy(struct imap_parser **p);
/* Looks at data, says in *used_r how many bytes it consumed (the caller drops
 * them), returns the state. On DONE/BAD the command or reason stays valid until the next feed(). */
enum imap_parse imap_parser_feed(struct imap_parser *p, const uint8_t *data, size_t len,
				 size_t *used_r);
const struct imap_command *imap_parser_command(const struct imap_parser *p);
/* The tag as far as known ("" if none or not valid), also on BAD. */
const char *imap_parser_tag(const struct imap_parser *p);
const char *imap_parser_reason(const struct imap_parser *p);
/* After IMAP_PARSE_STREAM: the literal, wherever it stands: args[count - 1], or
 * in APPEND ... UTF8 (~{n} (RFC 6855) inside the list there. Arguments add up:
 * with MULTIAPPEND those of the messages before are still in args. To refuse
 * it: if needs_continue, answer NO or BAD instead of "+" and imap_parser_reset()
 * (the client sends nothing more of the command); else pass over the size
 * bytes, stream_done(), and answer when the command is complete. */
const struct imap_arg *imap_parser_stream(const struct imap_parser *p);
bool imap_parser_needs_continue(const struct imap_parser *p);
void imap_parser_stream_done(struct imap_parser *p);
/* Is it between two commands, with nothing kept? (may the session sleep?) */
bool imap_parser_idle(const struct imap_parser *p);
/* If it stands inside a command line without a literal begun: the raw bytes
 * of that line consumed so far, to sleep along and be fed again. False inside a literal
 * or when more than max. */
bool imap_parser_partial(const struct imap_parser *p, const uint8_t **data_r, size_t *len_r,
			 size_t max);
void imap_parser_reset(struct imap_parser *p);

/* ---- helpers on arguments ---- */
bool imap_arg_is_atom(const struct imap_arg *a, const char *upper);	/* case-insensitive; not a string */
/* astring: atom (with ']') or string. NULL if it is something else or holds NUL. */
const char *imap_arg_astring(const struct imap_arg *a);
/* list-mailbox, a pattern of LIST: as astring, with "*" and "%". */
const char *imap_arg_list_mailbox(const struct imap_arg *a);
/* number / number64: digits only, no overflow. */
bool imap_arg_u32(const struct imap_arg *a, uint32_t *v_r);
bool imap_arg_u64(const struct imap_arg *a, uint64_t *v_r);
#endif
