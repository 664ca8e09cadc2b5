/* SPDX-License-Identifier: MIT */
#ifndef IMAP_MESSAGE_PARSE_H
#define IMAP_MESSAGE_PARSE_H
/* Reading a message's structure (message.h), and what its files share. The
 * bytes are pushed in, in pieces of any size; nothing of a body is kept. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "imap/message.h"
#include "lib/arena.h"
#include "lib/buf.h"

/* No more of one header is looked at: fields behind it are not seen. */
#define MESSAGE_HEADER_MAX_BYTES	(256 * 1024)
/* Parts in parts, and parts of a message; what is beyond is bytes. */
#define MESSAGE_DEPTH_MAX	100
#define MESSAGE_PARTS_MAX	10000
/* RFC 2046 5.1.1 has 70. */
#define MESSAGE_BOUNDARY_MAX_BYTES	250
/* Words of all headers of a message that are kept: parts behind it have no
 * parameters, and so on. */
#define MESSAGE_WORDS_MAX_BYTES	(4 * 1024 * 1024)
/* One address list of one ENVELOPE. */
#define MESSAGE_LIST_MAX_BYTES	(512 * 1024)
#define MESSAGE_PARAMS_MAX	256
#define MESSAGE_LANGUAGES_MAX	64
/* A type of RFC 6838 has 127. */
#define MESSAGE_TYPE_MAX_BYTES	255

struct message_parser;
struct message_parser *message_parser_create(struct arena *arena);
/* The next bytes of the CRLF form. */
void message_parser_feed(struct message_parser *p, const void *data, size_t len);
/* All was fed. The message lives in the arena; the parser is gone. -ENOMEM. */
int message_parser_finish(struct message_parser **p, struct message **m_r);
void message_parser_destroy(struct message_parser **p);

/* ---- words of a message ---- */
struct words {
	struct arena *arena;
	size_t kept;		/* bytes so far */
	struct buf scratch, scratch2;
	bool failed;		/* memory was short for some of them */
};
/* A copy, or instead if there are too many words already. */
const char *words_keep(struct words *w, const void *data, size_t len, const char *instead);

/* ---- fields of one header ---- */
struct field {
	const char *name;	/* not terminated */
	size_t name_len;
	const uint8_t *value;	/* as it came, with folds and the last line end */
	size_t value_len;
};
/* The next field from *pos on; lines that are none are passed over. */
bool field_next(const struct buf *header, size_t *pos, struct field *f_r);
bool field_is(const struct field *f, const char *name);

/* ---- message-mime.c ---- */
/* What the Content- fields of a header say of its part. in_mime: it is in a message
 * that said it is MIME; returns if this one is. *boundary_r: "" for none. */
bool message_mime_read(struct words *w, const struct buf *header, bool in_mime, bool in_digest,
		       struct message_part *part, const char **boundary_r);
/* text/plain; charset=us-ascii (RFC 2045 5.2) */
void message_mime_default(struct message_part *part);

/* ---- message-envelope.c ---- */
/* ENVELOPE as ready text. */
const char *message_envelope_read(struct words *w, const struct buf *header);
/* ---- message-told.c ---- */
/* enum message_told of a message's own header. */
uint8_t message_told(const struct buf *header);

/* ---- message-envelope.c, for tests ---- */
/* An address list as ENVELOPE has it, without its parentheses. */
void message_addresses(const uint8_t *data, size_t len, struct buf *out);

/* ---- message-structure.c ---- */
/* The blob that is kept. 0, -ENOBUFS (too large to keep), -ENOMEM. */
int message_pack(const struct message *m, struct buf *out);
#endif
