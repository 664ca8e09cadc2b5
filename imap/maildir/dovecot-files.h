/* SPDX-License-Identifier: MIT */
#ifndef IMAP_MAILDIR_DOVECOT_FILES_H
#define IMAP_MAILDIR_DOVECOT_FILES_H
/* What stands in `dovecot-uidlist` (versions 1 and 3) and `dovecot-keywords`:
 * pure parsers. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dovecot_uidlist {
	uint32_t uidvalidity;	/* not 0 */
	uint32_t next_uid;	/* may be too low */
	bool has_id;
	uint8_t id[16];
	char other[128];	/* words we know nothing of, each with a blank before it */
};
/* One record; what it points to is in the data, not terminated. */
struct dovecot_record {
	uint32_t uid;
	const char *base;	/* without the `:2,` part */
	size_t base_len;
	const char *words;	/* "W12 Pid" between UID and name, or none */
	size_t words_len;
};
/* Calls fn for each record that makes sense.
 * 0, -EINVAL (no header we know), or what fn returned. */
int dovecot_uidlist_parse(const char *data, size_t len, struct dovecot_uidlist *header_r,
			  int (*fn)(void *ctx, const struct dovecot_record *r), void *ctx);
/* letter: 0-25, each at most once. */
int dovecot_keywords_parse(const char *data, size_t len,
			   int (*fn)(void *ctx, int letter, const char *name, size_t len),
			   void *ctx);
/* `subscriptions`, versions 1 (a name with its separators in each line) and 2 (hierarchy
 * levels apart by tabs). Calls fn for each name, as UTF-8 and with dots between levels. */
int dovecot_subscriptions_parse(const char *data, size_t len,
				int (*fn)(void *ctx, const char *name), void *ctx);
#endif
