/* SPDX-License-Identifier: MIT */
#ifndef IMAP_MESSAGE_H
#define IMAP_MESSAGE_H
/* The structure of a message (RFC 2045, RFC 5322), read once, in one pass of
 * bounded memory over the CRLF form, and kept by the mailbox as a blob from
 * then on. All offsets and counts are of the CRLF form. Whatever is broken gets
 * an honest structure: as what it would be displayed. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/arena.h"
#include "lib/buf.h"
struct mail_reader;
struct mailbox;

struct message_param {
	const char *name, *value;	/* raw, unquoted; RFC 2231's continuations are put together, and
					 * name is "filename*" then if charset and % are still in value */
	struct message_param *next;
};
struct message_part {
	struct message_part *parent, *children, *next;
	uint64_t header_at, header_len;	/* with the empty line; the MIME header of a part */
	uint64_t body_at, body_len;	/* body_at is header_at + header_len */
	uint32_t body_lines;
	const char *type, *subtype;	/* never NULL: defaults of RFC 2045 5.2, or multipart/digest */
	struct message_param *params;
	const char *id, *description, *md5, *location;	/* NULL: none */
	const char *encoding;		/* "7bit": none */
	const char *disposition;
	struct message_param *disposition_params;
	const char **languages;		/* NULL-terminated, or NULL */
	const char *envelope;		/* of a message/rfc822's message: ready text "(...)"; else NULL */
	bool multipart, rfc822;		/* multipart: at least one child; rfc822: children is the one
					 * message inside. A part that is neither has none, whatever its type. */
};
/* Fields of which the ENVELOPE has all of the text (message-told.c). */
enum message_told {
	MESSAGE_TOLD_DATE = 1 << 0, MESSAGE_TOLD_SUBJECT = 1 << 1, MESSAGE_TOLD_FROM = 1 << 2,
	MESSAGE_TOLD_TO = 1 << 3, MESSAGE_TOLD_CC = 1 << 4, MESSAGE_TOLD_BCC = 1 << 5,
	MESSAGE_TOLD_IN_REPLY_TO = 1 << 6, MESSAGE_TOLD_MESSAGE_ID = 1 << 7,
};
struct message {
	struct message_part *root;	/* header_at 0 */
	uint8_t told;			/* enum message_told; 0: unpacked */
	const char *envelope;		/* ready text "(...)" of the message itself; NULL: unpacked, see message_envelope() */
};
/* What FETCH sends, from the cache or by reading the message (and then caching it). Memory is the arena's.
 * 0, MAILBOX_E_*, -errno. */
int message_get(struct mailbox *box, uint32_t uid, struct arena *arena, struct message **m_r);
/* Ready texts, each cheap when cached. */
int message_envelope(struct mailbox *box, uint32_t uid, struct buf *out);
int message_bodystructure(struct mailbox *box, uint32_t uid, bool extended, struct buf *out);
/* Part by number as in BODY[1.2] (RFC 3501 6.4.5), n numbers; NULL: no such part. What its HEADER and TEXT are
 * is in the children of one that is rfc822. */
const struct message_part *message_part_find(const struct message *m, const uint32_t *numbers, size_t n);

/* ---- for who has a reader at hand, or what is cached of many ---- */
/* Reads all of it, caching nothing. 0, -ENOMEM or what mail_reader_read() failed with. */
int message_read(struct mail_reader *r, struct arena *arena, struct message **m_r);
/* Puts into the cache what message_read() found. */
void message_keep(struct mailbox *box, uint32_t uid, const struct message *m);
/* BODY, or with its extension data BODYSTRUCTURE (RFC 3501 7.4.2). */
void message_structure_write(const struct message *m, bool extended, struct buf *out);
/* A MAIL_CACHE_STRUCTURE; the message's envelope is NULL. -EINVAL: it is not that, all of it. */
int message_unpack(const void *data, size_t len, struct arena *arena, struct message **m_r);
/* The BODYSTRUCTURE in one, without reading the rest. NULL: not one. */
const char *message_packed_structure(const void *data, size_t len, size_t *len_r);
/* Is a text one parenthesized list that cannot confuse a client? */
bool message_text_valid(const void *data, size_t len);
/* The length of the ENVELOPE in a MAIL_CACHE_ENVELOPE: the text and a byte of enum
 * message_told, or by an older version the text alone. 0: it is none. */
size_t message_cached_envelope(const void *data, size_t len, uint8_t *told_r);
#endif
