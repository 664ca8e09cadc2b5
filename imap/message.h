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
	const char *name, *value;	/* raw, unquoted (RFC 2231 forms are left as they are) */
	struct message_param *next;
};
struct message_part {
	struct message_part *parent, *children, *next;
	uint64_t header_at, header_len;	/* with the empty line; the MIME header of a part */
	uint64_t body_at, body_len;
	uint32_t body_lines;
	const char *type, *subtype;	/* never NULL: defaults of RFC 2045 5.2, or multipart/digest */
	struct message_param *params;
	const char *id, *description, *encoding, *md5, *location;	/* NULL: none; encoding is "7BIT" then */
	const char *disposition;
	struct message_param *disposition_params;
	const char **languages;		/* NULL-terminated, or NULL */
	const char *envelope;		/* of a message/rfc822's message: ready text "(...)"; else NULL */
	bool multipart, rfc822;		/* rfc822: children is the one message inside */
};
struct message {
	struct message_part *root;	/* header_at 0 */
	const char *envelope;		/* ready text "(...)" of the message itself */
};
/* What FETCH sends, from the cache or by reading the message (and then caching it). Memory is the arena's.
 * 0, MAILBOX_E_*, -errno. */
int message_get(struct mailbox *box, uint32_t uid, struct arena *arena, struct message **m_r);
/* Ready texts, each cheap when cached. */
int message_envelope(struct mailbox *box, uint32_t uid, struct buf *out);
int message_bodystructure(struct mailbox *box, uint32_t uid, bool extended, struct buf *out);
/* Part by number as in BODY[1.2] (RFC 3501 6.4.5), n numbers; NULL: no such part. */
const struct message_part *message_part_find(const struct message *m, const uint32_t *numbers, size_t n);
#endif
