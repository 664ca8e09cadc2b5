/* SPDX-License-Identifier: MIT */
#ifndef IMAP_MAILDIR_NAME_H
#define IMAP_MAILDIR_NAME_H
/* What a Maildir file's name says: pure, no descriptor.
 *
 *	1795338087.M7P232483.host,S=4711,W=4800:2,FSab
 *	|------------- base -------------------||info|
 *
 * The base names the message for its life; the info behind it changes with
 * the flags. Letters a-z are keywords, their meaning is the mailbox's. What we
 * do not understand (other letters, text behind a second comma) is kept. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAILDIR_NAME_MAX	255	/* bytes, as the file systems have it */

struct maildir_name {
	const char *base;	/* not terminated: base_len bytes */
	size_t base_len;
	const char *info;	/* from the colon on, or "" */
	uint32_t flags;		/* enum mail_flag */
	uint32_t letters;	/* bit n: the letter 'a' + n is there */
};
/* False: not the name of a message (hidden, line breaks, too long, no base).
 * The result points into name. */
bool maildir_name_parse(const char *name, struct maildir_name *n_r);
/* The info for these flags and letters, in place of an old one whose unknown
 * parts are kept; known: the letters that mean something here (others are
 * kept). 0 or -ENAMETOOLONG (base_len + info above 255). */
int maildir_name_info(const char *old_info, size_t base_len, uint32_t flags,
		      uint32_t letters, uint32_t known, char info_r[MAILDIR_NAME_MAX + 1]);
/* Sizes in the base: ",S=" bytes in the file and ",W=" bytes with CRLF; -1 if
 * it does not say. */
void maildir_name_sizes(const char *base, size_t len, int64_t *size_r, int64_t *vsize_r);
/* Seconds and microseconds of delivery; zero if it does not say. */
void maildir_name_time(const char *base, size_t len, int64_t *secs_r, int64_t *usecs_r);
/* Order in which new messages get their UIDs: time, then the name. */
int maildir_name_cmp(const char *a, size_t a_len, const char *b, size_t b_len);
/* 64 bits that stand for a name; the same everywhere and always (it is stored). */
uint64_t maildir_name_hash(const char *s, size_t len);
#endif
