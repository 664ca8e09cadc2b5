/* SPDX-License-Identifier: MIT */
#ifndef IMAP_MAILDIR_UIDLIST_H
#define IMAP_MAILDIR_UIDLIST_H
/* The text of `dormouse-uidlist`: parser and writer, pure. It is the truth for
 * all that a directory cannot say: UIDVALIDITY, the mailbox id, UIDs, keyword
 * names. A log: lines are appended, a later line overrules an earlier one.
 * Each carries a check of its own, so a line torn by a crash is known as such
 * and skipped, wherever it stands (the next writer begins a new line first):
 *
 *	CRC32 in 8 hex digits, blank, then:
 *	H 1 uidvalidity id generation	first line of every file; the id is 32
 *					hex digits; the generation tells one
 *					rewritten file from the next
 *	N uid		no UID below this may be given again
	R uid boot	nor below this, once the system that was started at
			that time (unix seconds) is down: lines of UIDs that
			were not on disk yet may be lost with it
 *	M modseq	no MODSEQ up to this may be given again
 *	W n letter name	keyword n; letter a-z in file names, or -
 *	U uid base	this message has this UID
 *	K uid n,n,...	keywords without a letter that this message has (all)
 *	X first last	these UIDs are gone; their files, should they come
 *			back, are new messages
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

#define UIDLIST_FORMAT		1
#define UIDLIST_LINE_MAX	8192	/* K with KEYWORDS_MAX numbers fits */

enum uidlist_kind {
	UIDLIST_HEADER = 'H',
	UIDLIST_NEXT = 'N',
	UIDLIST_RESERVED = 'R',
	UIDLIST_MODSEQ = 'M',
	UIDLIST_KEYWORD = 'W',
	UIDLIST_UID = 'U',
	UIDLIST_MSG_KEYWORDS = 'K',
	UIDLIST_GONE = 'X',
};
enum uidlist_error {
	UIDLIST_OK = 0,
	UIDLIST_E_CHECK,	/* torn or damaged */
	UIDLIST_E_FORMAT,	/* a header of a format that we cannot read */
	UIDLIST_E_INVALID,	/* the check is right and it makes no sense */
};
struct uidlist_line {
	enum uidlist_kind kind;
	uint32_t uid;		/* H: uidvalidity; W: the keyword's number */
	uint32_t last;		/* X */
	uint64_t value;		/* H: generation; M: modseq; R: boot */
	uint8_t id[16];		/* H */
	char letter;		/* W: 'a'-'z' or '-' */
	const char *text;	/* W: name; U: base; K: numbers; not terminated */
	size_t text_len;
};
/* One line without its line feed; text points into it. */
enum uidlist_error uidlist_line_parse(const char *line, size_t len, struct uidlist_line *l_r);
/* Appends the line with its check and line feed. 0 or what buf_append() says.
 * Asserts that it could be parsed again. */
int uidlist_line_write(struct buf *out, const struct uidlist_line *l);
/* The next number of K's text; *pos from 0. False at the end. */
bool uidlist_numbers_next(const struct uidlist_line *l, size_t *pos, uint32_t *n_r);
/* Calls fn for each line of data that is complete and right, counts in
 * *bad_r those that are not. Returns the bytes used: up to and with the last line
 * feed. fn returns 0 to go on, else that is returned in *stop_r. */
size_t uidlist_walk(const char *data, size_t len,
		    int (*fn)(void *ctx, const struct uidlist_line *l), void *ctx,
		    size_t *lines_r, size_t *bad_r, int *stop_r);
#endif
