/* SPDX-License-Identifier: MIT */
#ifndef IMAP_MAILDIR_EXPORT_H
#define IMAP_MAILDIR_EXPORT_H
/* Giving a Maildir back to Dovecot (doc/moving-from-dovecot.md). */
#include <stdint.h>

struct mail_store;
struct mailbox_export {
	const char *name;
	int error;		/* 0, -errno, enum mailbox_error */
	uint32_t uidvalidity, messages, keywords;
	uint32_t keywords_lost;	/* those behind the 26th: Dovecot's file has no place for them */
};
/* Writes Dovecot's files of all mailboxes, then those of the store, and puts our own lists
 * aside: sessions that are open end. fn is called for each mailbox and returns 0 to go on.
 * The first error, if there was one. May be repeated. */
int mail_store_export(struct mail_store *store,
		      int (*fn)(void *ctx, const struct mailbox_export *e), void *ctx);
#endif
