/* SPDX-License-Identifier: MIT */
#ifndef IMAP_STATUS_H
#define IMAP_STATUS_H
/* Items of STATUS, for the command and for LIST ... RETURN (STATUS ...) (RFC 5819). */
#include <stdbool.h>
#include "imap/mailbox.h"

struct cmd;
struct imap_arg;
struct session;
enum status_item {
	STATUS_MESSAGES,
	STATUS_RECENT,
	STATUS_UIDNEXT,
	STATUS_UIDVALIDITY,
	STATUS_UNSEEN,
	STATUS_DELETED,		/* RFC 9051 */
	STATUS_HIGHESTMODSEQ,	/* RFC 7162 3.1.7 */
	STATUS_SIZE,		/* RFC 8438 */
	STATUS_COUNT,
};
/* False: cmd_bad was called. Enables CONDSTORE where HIGHESTMODSEQ is asked for (RFC 7162 3.1). */
bool status_parse_items(struct cmd *cmd, const struct imap_arg *list, bool asked[STATUS_COUNT]);
/* 0, NONEXISTENT, else as mailbox.h. */
int status_get(struct mail_store *store, const char *name, const bool asked[STATUS_COUNT],
	       struct mailbox_status *st_r);
/* Writes * STATUS. 0 or -errno. */
int status_write(struct session *s, const char *name, const bool asked[STATUS_COUNT],
		 const struct mailbox_status *st);
#endif
