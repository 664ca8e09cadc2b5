/* SPDX-License-Identifier: MIT */
#include "imap/vanished.h"

#include <errno.h>

#include "imap/mailbox.h"
#include "imap/session.h"
#include "lib/buf.h"

/* RFC 7162 3.2.6: a MODSEQ older than what is remembered is answered with all
 * that is not there. UIDs to come are not gone. */
static int gone_of(struct session *s, const struct uidset *asked, uint64_t since,
		   uint32_t matched, struct uidset *gone)
{
	bool complete = false;
	int ret = mailbox_vanished_since(s->box, since, gone, &complete);

	if (ret != 0)
		return ret;
	if (complete) {
		ret = uidset_intersect(gone, asked);
	} else {
		ret = uidset_copy(gone, asked);
		if (ret == 0)
			ret = uidset_remove_range(gone, s->view.uidnext, UINT32_MAX);
	}
	if (ret == 0 && matched > 0)
		ret = uidset_remove_range(gone, 1, matched);
	return ret;
}

/* What the client sees has not vanished "earlier": it will be told as VANISHED
 * without the word, which moves its numbers (RFC 7162 3.2.10). */
int vanished_tell(struct session *s, const struct uidset *asked, uint64_t since, uint32_t matched)
{
	struct uidset gone;
	struct buf line;
	int ret;

	uidset_init(&gone);
	buf_init(&line, SIZE_MAX);
	ret = gone_of(s, asked, since, matched, &gone);
	if (ret == 0)
		ret = uidset_remove_set(&gone, &s->view.uids);
	if (ret == 0 && !uidset_is_empty(&gone)) {
		buf_append_str(&line, "* VANISHED (EARLIER) ");
		uidset_print(&gone, &line);
		buf_append_str(&line, "\r\n");
		ret = line.failed ? -ENOMEM : stream_write(s->stream, line.data, line.len);
	}
	buf_deinit(&line);
	uidset_deinit(&gone);
	return ret;
}
