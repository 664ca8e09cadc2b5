/* SPDX-License-Identifier: MIT */
#ifndef IMAP_SEARCH_H
#define IMAP_SEARCH_H
/* Search keys: parsed to a tree (search-keys.c), asked of one message at a time
 * (search-match.c), with what of its text the tree needs (search-text.c). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "imap/decode.h"
#include "imap/text-match.h"
#include "lib/uidset.h"

struct charset;
struct cmd;
struct imap_arg;
struct mail_row;

enum search_answer { SEARCH_UNKNOWN, SEARCH_NO, SEARCH_YES };

enum key_type {
	KEY_ALL,
	KEY_AND,		/* all of children */
	KEY_OR,			/* one of children */
	KEY_NOT,		/* not the one child */
	KEY_FLAG,		/* number: enum mail_flag */
	KEY_KEYWORD,		/* number; UINT64_MAX: no message has it */
	KEY_RECENT,
	KEY_UIDS,		/* set */
	KEY_LARGER,
	KEY_SMALLER,
	KEY_DATES,		/* [from, to) */
	KEY_MODSEQ,
	/* Text keys: answered from the ENVELOPE, the header, the whole message. */
	KEY_SENT,		/* [from, to): days as search_day() counts them */
	KEY_ENVELOPE,		/* field, needle; name: HEADER, and not all of that may
				 * be in the ENVELOPE */
	KEY_HEADER,		/* name, needle */
	KEY_BODY,		/* needle */
	KEY_TEXT,
};
enum envelope_field {
	ENVELOPE_DATE, ENVELOPE_SUBJECT, ENVELOPE_FROM, ENVELOPE_SENDER, ENVELOPE_REPLY_TO,
	ENVELOPE_TO, ENVELOPE_CC, ENVELOPE_BCC, ENVELOPE_IN_REPLY_TO, ENVELOPE_MESSAGE_ID,
	ENVELOPE_FIELDS,
};
struct search_key {
	enum key_type type;
	struct search_key *children, *next;
	struct search_key *next_set;
	struct search_key *next_text;
	uint64_t number;	/* of a text key: where its answer stands */
	int64_t from, to;
	struct uidset set;
	enum envelope_field field;
	const char *name;
	size_t name_len;
	struct text_needle needle;
	struct text_match match;
	bool active;		/* its field is being read */
};
struct search {
	struct cmd *cmd;
	const struct charset *charset;	/* of the strings */
	struct search_key *root;
	struct search_key *sets;	/* keys that hold a set, to be freed */
	struct search_key *texts;	/* text keys */
	size_t n_texts;
	bool uses_modseq, uses_size, uses_seqs;
	bool uses_rows;			/* needs more of a row than its UID */
	bool uses_envelope, uses_header, uses_body;
	unsigned depth;
};
/* Keys of args[0 .. count), all of which must hold. False: cmd_bad or cmd_no was called.
 * search_deinit() is due in both cases. */
bool search_parse(struct search *q, struct cmd *cmd, const struct charset *charset,
		  const struct imap_arg *args, size_t count);
void search_deinit(struct search *q);

/* answers: of the text keys, by their numbers; NULL: none is known. */
enum search_answer search_ask(const struct search *q, const struct mail_row *row,
			      const uint8_t *answers);

/* ---- search-flags.c ---- */
/* Those of the view that can be matches yet, and those that are gone, about which nothing is
 * known by this. *decided_r: all of the first are matches. */
int search_narrow(struct search *q, struct uidset *uids, struct uidset *gone, bool *decided_r);

/* ---- search-envelope.c ---- */
/* Answers what is asked of the ENVELOPE, given as FETCH would send it, as far as it can:
 * told is message.h's. False: it is none. */
bool search_envelope(struct search *q, const void *data, size_t len, uint8_t told,
		     uint8_t *answers);
/* Has an address list the text, if it is in the header? Not one with what an ENVELOPE leaves
 * out or adds: quotes, blanks at an end, or what is around an address. */
bool search_list_may_tell(const struct text_needle *needle);
/* Days, comparable, of a date; only that. */
int64_t search_day(int year, int month, int day);
/* The date of a Date field (RFC 5322 3.3 and 4.3), as it stands there: zone and time are
 * left out of account (RFC 3501 6.4.4). False: there is none. */
bool search_sent_day(const char *text, size_t len, int64_t *day_r);

/* ---- search-header.c ---- */
/* Answers KEY_HEADER from the header as it comes, in pieces of any size. */
struct header_scan {
	struct search *q;
	uint8_t *answers;
	enum { SCAN_BEGIN, SCAN_CR, SCAN_NAME, SCAN_LEAD, SCAN_VALUE, SCAN_DONE } phase;
	bool in_field;		/* of which some key wants to know */
	size_t name_len;
	char name[128];		/* a longer name is nobody's */
	struct text_out out;
	struct words_decoder words;
};
void header_scan_begin(struct header_scan *h, struct search *q, uint8_t *answers);
/* False: that was all of it. */
bool header_scan_feed(struct header_scan *h, const void *data, size_t len);
void header_scan_end(struct header_scan *h);

/* ---- search-text.c ---- */
/* Asks what search_ask() did not know of uids, by their text, from the cheapest
 * on. found() is called for those that match, ascending. *gone_r: some are not
 * there any more, and did not match. row has its UID alone if !q->uses_rows.
 * 0, or as mailbox.h, or what found() returned. */
int search_texts(struct search *q, const struct uidset *uids,
		 int (*found)(void *ctx, const struct mail_row *row), void *ctx, bool *gone_r);
#endif
