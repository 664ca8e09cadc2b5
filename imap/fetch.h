/* SPDX-License-Identifier: MIT */
#ifndef IMAP_FETCH_H
#define IMAP_FETCH_H
/* Private to FETCH: cmd-fetch.c (which messages, which items) and
 * fetch-body.c (sections of a message's text). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cmd;
struct mail_reader;
struct session;

enum fetch_what {
	FETCH_FLAGS,
	FETCH_UID,
	FETCH_INTERNALDATE,
	FETCH_RFC822_SIZE,
	FETCH_MODSEQ,
	FETCH_BODY,		/* a section; those above come from the index alone */
};
enum fetch_section {
	SECTION_ALL,
	SECTION_HEADER,
	SECTION_FIELDS,
	SECTION_FIELDS_NOT,
	SECTION_TEXT,
};
struct fetch_item {
	enum fetch_what what;
	enum fetch_section section;
	const char *label;		/* what the response calls it */
	const char **names;		/* SECTION_FIELDS...: field names */
	size_t n_names;
	bool partial;			/* <from.len> */
	uint64_t from, len;
	bool sets_seen;
};

/* BODY[...], BODY.PEEK[...] with the text of the atom. False: cmd_bad or cmd_no was called. */
bool fetch_body_parse(struct cmd *cmd, const char *text, struct fetch_item *item_r);
/* Writes label, literal and bytes. 0; or an error before anything was written
 * (reading failed). -EPIPE: it failed in the midst of a literal,
 * the connection is of no use any more. */
int fetch_body_write(struct session *s, struct mail_reader *r, const struct fetch_item *item,
		     const char *sep);
#endif
