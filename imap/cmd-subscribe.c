/* SPDX-License-Identifier: MIT */
/* SUBSCRIBE, UNSUBSCRIBE (RFC 3501 6.3.6, 6.3.7); NAMESPACE (RFC 2342). */
#include <string.h>

#include "imap/command.h"

/* A mailbox need not exist: it may come back, and what is subscribed stays so
 * (RFC 3501 6.3.6). What is so already is no failure. */
void cmd_subscribe(struct cmd *cmd)
{
	bool on = strcmp(cmd->name, "SUBSCRIBE") == 0;
	struct mail_store *store;
	const char *name;
	int ret;

	if (cmd->count != 1) {
		cmd_bad(cmd, "%s takes a mailbox.", cmd->name);
		return;
	}
	name = cmd_mailbox_arg(cmd, &cmd->args[0]);
	if (name == NULL)
		return;
	ret = session_store(cmd->session, &store);
	if (ret == 0)
		ret = mail_store_subscribe(store, cmd_mailbox_trim(cmd, store, name), on);
	if (ret != 0)
		cmd_mailbox_error(cmd, ret);
	else
		cmd_ok(cmd, "%s completed.", cmd->name);
}

/* One's own mailboxes are all there are. */
void cmd_namespace(struct cmd *cmd)
{
	struct mail_store *store;
	int ret;

	if (cmd->count != 0) {
		cmd_bad(cmd, "NAMESPACE takes no arguments.");
		return;
	}
	ret = session_store(cmd->session, &store);
	if (ret != 0) {
		cmd_mailbox_error(cmd, ret);
		return;
	}
	stream_printf(cmd->session->stream, "* NAMESPACE ((\"\" \"%c\")) NIL NIL\r\n",
		      mail_store_separator(store));
	cmd_ok(cmd, "NAMESPACE completed.");
}
