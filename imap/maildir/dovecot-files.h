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
};
/* Calls fn for each record that makes sense; the base has no `:2,` part.
 * 0, -EINVAL (no header we know), or what fn returned. */
int dovecot_uidlist_parse(const char *data, size_t len, struct dovecot_uidlist *header_r,
			  int (*fn)(void *ctx, uint32_t uid, const char *base, size_t len),
			  void *ctx);
/* letter: 0-25, each at most once. */
int dovecot_keywords_parse(const char *data, size_t len,
			   int (*fn)(void *ctx, int letter, const char *name, size_t len),
			   void *ctx);
/* `subscriptions`, versions 1 (a name with its separators in each line) and 2 (hierarchy
 * levels apart by tabs). Calls fn for each name, as UTF-8 and with dots between levels. */
int dovecot_subscriptions_parse(const char *data, size_t len,
				int (*fn)(void *ctx, const char *name), void *ctx);
#endif
