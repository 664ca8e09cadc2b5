/* SPDX-License-Identifier: MIT */
/* When `dormouse-uidlist` was cut, replaced by an older copy, or removed, while
 * the index still knows what it said: it is written again from there, so that
 * messages keep their UIDs. Which mailbox it was, the lock file remembers.
 * Without this, a mailbox that once was Dovecot's would be adopted a second
 * time, from a list that knows nothing of what came since, and give UIDs twice
 * under the same UIDVALIDITY. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "imap/maildir/maildir.h"
#include "lib/log.h"

#define LOCK_LINE_BYTES		44	/* id in hex, blank, uidvalidity, line feed */

int list_repair(struct change *c)
{
	struct box_row *row = &c->row;
	int rc;

	if (row->list_uidnext < row->uidnext)
		row->list_uidnext = row->uidnext;
	if (row->list_modseq < row->highestmodseq)
		row->list_modseq = row->highestmodseq;
	rc = list_compact(c->box, row);
	c->touched = true;
	if (rc != MAILBOX_E_NOSPACE && rc != MAILBOX_E_READONLY)
		return rc;
	/* It can wait, but it must not be forgotten: this looks cut as well. */
	row->list_offset = INT64_MAX;
	return 0;
}

void list_lock_name(struct mailbox *box, const uint8_t id[16], uint32_t uidvalidity)
{
	char line[LOCK_LINE_BYTES + 1];

	for (int i = 0; i < 16; i++)
		snprintf(line + 2 * i, 3, "%02x", id[i]);
	snprintf(line + 32, sizeof(line) - 32, " %010u\n", uidvalidity);
	/* Only a help: if it cannot be written, things are as they were. */
	if (pwrite(box->lock_fd, line, LOCK_LINE_BYTES, 0) != LOCK_LINE_BYTES)
		log_warn("uidlist-lock-name", "mailbox=%s errno=%d", log_str(box->name), errno);
}

static bool lock_line(struct mailbox *box, uint8_t id[16], uint32_t *uidvalidity)
{
	char line[LOCK_LINE_BYTES + 1] = "";
	unsigned int byte;

	if (pread(box->lock_fd, line, LOCK_LINE_BYTES, 0) != LOCK_LINE_BYTES ||
	    line[32] != ' ' || strspn(line, "0123456789abcdef") != 32 ||
	    strspn(line + 33, "0123456789") != 10 || line[43] != '\n')
		return false;
	for (int i = 0; i < 16; i++) {
		if (sscanf(line + 2 * i, "%2x", &byte) != 1)
			return false;
		id[i] = (uint8_t)byte;
	}
	return sscanf(line + 33, "%10u", uidvalidity) == 1 && *uidvalidity != 0;
}

static int recover_from_index(struct mailbox *box)
{
	struct index *ix = &box->store->index;
	struct box_row row;
	int rc = index_begin(ix, true);

	if (rc == 0)
		rc = index_box_get(ix, box->id, &row);
	if (rc == 0 && (!row.box || row.uidvalidity != box->uidvalidity))
		rc = MAILBOX_E_NONEXISTENT;
	if (rc == 0)
		rc = keywords_load(box, &row);
	if (rc == 0) {
		struct change c = { .box = box, .row = row };

		rc = list_repair(&c);
		row = c.row;
	}
	if (rc == 0)
		rc = index_box_set(ix, &row);
	if (rc == 0)
		rc = index_commit(ix);
	index_rollback(ix);
	return rc;
}

int list_rescue(struct mailbox *box)
{
	int rc;

	log_error("uidlist-unreadable", "user=%s mailbox=%s", log_str(box->store->user),
		  log_str(box->name));
	if (renameat(box->dir_fd, UIDLIST_NAME, box->dir_fd, UIDLIST_NAME ".bad") < 0)
		return file_error(errno);
	BOX_RETRY(rc, recover_from_index(box));
	return rc;
}

int list_recover(struct mailbox *box, bool *served_r)
{
	int rc;

	*served_r = lock_line(box, box->id, &box->uidvalidity);
	if (!*served_r)
		return MAILBOX_E_NONEXISTENT;
	BOX_RETRY(rc, recover_from_index(box));
	log_error("uidlist-lost", "user=%s mailbox=%s recovered=%s",
		  log_str(box->store->user), log_str(box->name), rc == 0 ? "yes" : "no");
	if (rc)
		box->uidvalidity = 0;
	return rc;
}
