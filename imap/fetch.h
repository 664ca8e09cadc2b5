/* SPDX-License-Identifier: MIT */
#ifndef IMAP_FETCH_H
#define IMAP_FETCH_H
/* Private to FETCH: cmd-fetch.c (which messages, which items), fetch-body.c
 * (sections of a message's text) and fetch-structure.c (what is known of its
 * structure). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imap/mailbox.h"
#include "imap/message.h"
#include "imap/rows.h"
#include "lib/buf.h"

struct cmd;
struct session;

enum fetch_what {
	FETCH_FLAGS,
	FETCH_UID,
	FETCH_INTERNALDATE,
	FETCH_RFC822_SIZE,
	FETCH_MODSEQ,
	FETCH_ENVELOPE,
	FETCH_BODYSTRUCTURE,
	FETCH_STRUCTURE,	/* BODY without a section */
	FETCH_BODY,		/* a section; those above are answered in one line */
};
enum fetch_section {
	SECTION_ALL,
	SECTION_HEADER,
	SECTION_FIELDS,
	SECTION_FIELDS_NOT,
	SECTION_TEXT,
	SECTION_MIME,		/* of a part */
};
struct fetch_item {
	enum fetch_what what;
	enum fetch_section section;
	const char *label;		/* what the response calls it */
	const uint32_t *part;		/* n_part numbers; 0: the message itself */
	size_t n_part;
	const char **names;		/* SECTION_FIELDS...: field names */
	size_t n_names;
	bool partial;			/* <from.len> */
	uint64_t from, len;
	bool sets_seen;
};

/* BODY[...], BODY.PEEK[...] with the text of the atom. False: cmd_bad or cmd_no was called. */
bool fetch_body_parse(struct cmd *cmd, const char *text, struct fetch_item *item_r);
/* Writes label, literal and bytes. m: of an item with a part. 0; or an error before anything
 * was written (reading failed). -EPIPE: it failed in the midst of a literal,
 * the connection is of no use any more. */
int fetch_body_write(struct session *s, struct mail_reader *r, const struct message *m,
		     const struct fetch_item *item, const char *sep);

/* Structures of a batch of messages: what is cached of them, and what is read of the one in hand. */
struct fetch_structures;
struct fetch_structures *fetch_structures_create(struct mailbox *box);
void fetch_structures_destroy(struct fetch_structures **st);
/* The next batch: takes what the cache has of these. */
void fetch_structures_batch(struct fetch_structures *st, const struct uidset *uids, bool envelopes,
			    bool structures);
/* Each appends to out. *r is opened if the message must be read; NULL r: it is gone, only what is cached will do.
 * 0, MAILBOX_E_*, -errno. */
int fetch_structures_envelope(struct fetch_structures *st, uint32_t uid, struct mail_reader **r,
			      struct buf *out);
int fetch_structures_write(struct fetch_structures *st, uint32_t uid, struct mail_reader **r,
			   bool extended, struct buf *out);
/* The message itself, to find parts in it; valid until the next one is asked for. Fits the
 * bytes that the reader gives. */
int fetch_structures_message(struct fetch_structures *st, uint32_t uid, struct mail_reader **r,
			     const struct message **m_r);
#endif
