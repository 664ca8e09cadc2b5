/* SPDX-License-Identifier: MIT */
/* STATUS (RFC 3501 6.3.10, RFC 9051 6.3.11). */
#include <errno.h>
#include <string.h>

#include "imap/command.h"
#include "imap/status.h"
#include "lib/imap-write.h"

static const char *const status_names[STATUS_COUNT] = {
	[STATUS_MESSAGES] = "MESSAGES",
	[STATUS_RECENT] = "RECENT",
	[STATUS_UIDNEXT] = "UIDNEXT",
	[STATUS_UIDVALIDITY] = "UIDVALIDITY",
	[STATUS_UNSEEN] = "UNSEEN",
	[STATUS_DELETED] = "DELETED",
	[STATUS_HIGHESTMODSEQ] = "HIGHESTMODSEQ",
	[STATUS_SIZE] = "SIZE",
};

bool status_parse_items(struct cmd *cmd, const struct imap_arg *list, bool asked[STATUS_COUNT])
{
	if (list->type != IMAP_ARG_LIST || list->count == 0) {
		cmd_bad(cmd, "STATUS takes a mailbox and a list of items.");
		return false;
	}
	for (size_t i = 0; i < list->count; i++) {
		size_t n = 0;

		while (n < STATUS_COUNT && !imap_arg_is_atom(&list->items[i], status_names[n]))
			n++;
		if (n == STATUS_COUNT) {
			cmd_bad(cmd, "Unknown item of STATUS.");
			return false;
		}
		asked[n] = true;
	}
	/* RFC 7162 3.1: an enabling command */
	if (asked[STATUS_HIGHESTMODSEQ])
		session_enable_condstore(cmd->session);
	return true;
}

static uint64_t status_value(const struct mailbox_status *st, enum status_item item)
{
	switch (item) {
	case STATUS_MESSAGES:		return st->messages;
	case STATUS_RECENT:		return st->recent;
	case STATUS_UIDNEXT:		return st->uidnext;
	case STATUS_UIDVALIDITY:	return st->uidvalidity;
	case STATUS_UNSEEN:		return st->unseen;
	case STATUS_DELETED:		return st->deleted;
	case STATUS_HIGHESTMODSEQ:	return st->highestmodseq;
	case STATUS_SIZE:		return st->size;
	case STATUS_COUNT:		break;
	}
	return 0;
}

int status_write(struct session *s, const char *name, const bool asked[STATUS_COUNT],
		 const struct mailbox_status *st)
{
	const char *sep = "";
	struct buf line;
	int ret;

	buf_init(&line, SIZE_MAX);
	buf_append_str(&line, "* STATUS ");
	imap_write_mailbox(&line, name,
			   (s->enabled & (ENABLED_UTF8 | ENABLED_IMAP4REV2)) != 0);
	buf_append_str(&line, " (");
	for (int i = 0; i < STATUS_COUNT; i++) {
		if (!asked[i])
			continue;
		buf_printf(&line, "%s%s %llu", sep, status_names[i],
			   (unsigned long long)status_value(st, i));
		sep = " ";
	}
	buf_append_str(&line, ")\r\n");
	ret = line.failed ? -ENOMEM : stream_write(s->stream, line.data, line.len);
	buf_deinit(&line);
	return ret;
}

int status_get(struct mail_store *store, const char *name, const bool asked[STATUS_COUNT],
	       struct mailbox_status *st_r)
{
	int ret = mail_store_status(store, name, asked[STATUS_SIZE], st_r);

	/* Deleted while we looked; it is not about the selected one. */
	return ret == MAILBOX_E_GONE ? MAILBOX_E_NONEXISTENT : ret;
}

void cmd_status(struct cmd *cmd)
{
	bool asked[STATUS_COUNT] = { false };
	struct mailbox_status st;
	struct mail_store *store;
	const char *name;
	int ret;

	if (cmd->count != 2) {
		cmd_bad(cmd, "STATUS takes a mailbox and a list of items.");
		return;
	}
	name = cmd_mailbox_arg(cmd, &cmd->args[0]);
	if (name == NULL || !status_parse_items(cmd, &cmd->args[1], asked))
		return;
	ret = session_store(cmd->session, &store);
	if (ret == 0)
		ret = status_get(store, name, asked, &st);
	if (ret == 0)
		ret = status_write(cmd->session, name, asked, &st);
	if (ret != 0)
		cmd_mailbox_error(cmd, ret);
	else
		cmd_ok(cmd, "STATUS completed.");
}
