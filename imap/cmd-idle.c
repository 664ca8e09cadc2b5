/* SPDX-License-Identifier: MIT */
/* IDLE (RFC 2177, RFC 9051 6.3.13). The tag is answered after DONE, so it is
 * part of the session and sleeps along with it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "imap/command.h"
#include "imap/holder-link.h"
#include "lib/log.h"

static int compare_and_tell(struct session *s)
{
	int ret;

	if (session_mailbox(s) != 0)
		return -EIO;
	if (s->box == NULL)
		return 0;
	ret = view_update(s, NULL);
	if (ret == MAILBOX_E_GONE || ret == MAILBOX_E_VALIDITY) {
		session_bye(s, NULL, ret == MAILBOX_E_GONE ?
			    "Selected mailbox was deleted." :
			    "UIDVALIDITY of the selected mailbox changed.",
			    mailbox_strerror(ret));
		return -ESTALE;
	}
	if (ret != 0) {
		log_warn("sync", "id=%016llx user=%s error=%s",
			 (unsigned long long)s->ticket.sid, log_str(s->ticket.user),
			 log_str(ret > 0 ? mailbox_strerror(ret) : strerror(-ret)));
		/* What cannot be told now is not forgotten. */
		if (s->holder != NULL && s->idle_tag != NULL)
			holder_link_compare_later(s->holder);
		return -EIO;
	}
	ret = view_tell(s, true);
	if (ret >= 0 && mailbox_put_off(s->box)) {
		/* The same; and it must not be slept over. */
		if (s->holder != NULL && s->idle_tag != NULL)
			holder_link_compare_later(s->holder);
		return -EIO;
	}
	return ret;
}

/* Watch, compare, tell, in this order: what comes after the comparison is an
 * event of the watch (design: "Watch, compare, then sleep"). In a large
 * mailbox the quick answer comes first, then the one without any doubt. */
int idle_news(struct session *s)
{
	int ret = compare_and_tell(s), more;

	if (ret < 0 || s->box == NULL || !mailbox_doubt(s->box))
		return ret;
	more = compare_and_tell(s);
	return more < 0 ? more : ret + more;
}

void cmd_idle(struct cmd *cmd)
{
	struct session *s = cmd->session;

	if (cmd->count != 0) {
		cmd_bad(cmd, "IDLE takes no arguments.");
		return;
	}
	s->idle_tag = strdup(cmd->tag);
	if (s->idle_tag == NULL) {
		cmd_no(cmd, "UNAVAILABLE", "Out of memory.");
		return;
	}
	s->idle_skip_line = false;
	cmd->no_tagged = true;
	stream_puts(s->stream, "+ idling\r\n");
	if (s->holder != NULL) {
		holder_link_hello(s->holder);
		if (s->box != NULL && !s->holder->watching)
			holder_link_subscribe(s->holder);
	}
	(void)idle_news(s);
}

static void idle_end(struct session *s, bool done)
{
	char *tag = s->idle_tag;

	s->idle_tag = NULL;
	if (done) {
		/* The news first: RFC 2177, it is still "during" IDLE. None if
		   it slept until now and the holder saw no change: then the
		   mailbox is not even opened. */
		if (s->unrestored == NULL || s->changed)
			(void)idle_news(s);
		if (!s->logout)
			stream_printf(s->stream, "%s OK Idle completed.\r\n", tag);
	} else {
		stream_printf(s->stream, "%s BAD Expected DONE.\r\n", tag);
	}
	free(tag);
	if (s->holder != NULL)
		holder_link_hello(s->holder);
}

static bool line_is_done(const uint8_t *line, size_t len)
{
	if (len > 0 && line[len - 1] == '\r')
		len--;
	return len == 4 && strncasecmp((const char *)line, "DONE", 4) == 0;
}

/* One line ends IDLE, whatever it is; it is never run as a command. A line
 * longer than the buffer is dropped up to its end. */
void idle_input(struct session *s)
{
	size_t len;
	const uint8_t *data = stream_input(s->stream, &len);
	const uint8_t *lf = memchr(data, '\n', len);
	bool done;

	if (lf == NULL) {
		if (len > IMAP_LINE_MAX_BYTES / 2) {
			s->idle_skip_line = true;
			stream_consume(s->stream, len);
		}
		return;
	}
	done = !s->idle_skip_line && line_is_done(data, (size_t)(lf - data));
	s->idle_skip_line = false;
	stream_consume(s->stream, (size_t)(lf - data) + 1);
	idle_end(s, done);
}
