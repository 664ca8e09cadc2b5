/* SPDX-License-Identifier: MIT */
#ifndef IMAP_VANISHED_H
#define IMAP_VANISHED_H
/* * VANISHED (EARLIER), for SELECT (QRESYNC ...) and UID FETCH (... VANISHED). */
#include <stdint.h>
#include "lib/uidset.h"
struct session;
/* Tells which of asked are gone since a MODSEQ; nothing if none are. Where the
 * history does not reach back: all of asked that do not exist. Up to UID matched the client
 * knows already (RFC 7162 3.2.5.2; 0: none). 0 or as mailbox.h. */
int vanished_tell(struct session *s, const struct uidset *asked, uint64_t since, uint32_t matched);
#endif
