/* SPDX-License-Identifier: MIT */
/* Commands about the session itself. */
#include <string.h>

#include "imap/command.h"
#include "imap/holder-link.h"
#include "lib/imap-write.h"
#include "lib/log.h"
#include "lib/version.h"

/* RFC 9051 6.1.1 */
void cmd_capability(struct cmd *cmd)
{
	if (cmd->count != 0) {
		cmd_bad(cmd, "CAPABILITY takes no arguments.");
		return;
	}
	stream_printf(cmd->session->stream, "* CAPABILITY %s\r\n",
		      session_capabilities(cmd->session));
	cmd_ok(cmd, "Capability completed.");
}

/* RFC 9051 6.1.2; CHECK: RFC 3501 6.4.1. The dispatcher tells the news. */
void cmd_noop(struct cmd *cmd)
{
	if (cmd->count != 0)
		cmd_bad(cmd, "%s takes no arguments.", cmd->name);
	else
		cmd_ok(cmd, "%s completed.", cmd->name);
}

/* RFC 9051 6.1.3 */
void cmd_logout(struct cmd *cmd)
{
	struct session *s = cmd->session;

	if (cmd->count != 0) {
		cmd_bad(cmd, "LOGOUT takes no arguments.");
		return;
	}
	cmd_ok(cmd, "Logout completed.");
	session_bye(s, NULL, "Logging out.", "logout");
}

/* RFC 2971 3.1: a client's word about itself, for the log. */
void cmd_id(struct cmd *cmd)
{
	const struct imap_arg *list = cmd->args;

	if (cmd->count != 1 || !(list->is_nil || list->type == IMAP_ARG_LIST)) {
		cmd_bad(cmd, "ID takes a list or NIL.");
		return;
	}
	for (size_t i = 0; !list->is_nil && i + 1 < list->count && i < 60; i += 2) {
		const struct imap_arg *key = &list->items[i], *value = &list->items[i + 1];

		if (key->type == IMAP_ARG_LIST || value->type == IMAP_ARG_LIST) {
			cmd_bad(cmd, "ID takes strings.");
			return;
		}
		log_debug("id", "id=%016llx key=%s value=%s",
			  (unsigned long long)cmd->session->ticket.sid,
			  log_mem(key->data, (unsigned)key->len),
			  log_mem(value->data, (unsigned)value->len));
	}
	stream_printf(cmd->session->stream,
		      "* ID (\"name\" \"Dormouse\" \"version\" \"%s\")\r\n",
		      dormouse_version);
	cmd_ok(cmd, "ID completed.");
}

/* RFC 5161 3.1 */
void cmd_enable(struct cmd *cmd)
{
	struct session *s = cmd->session;
	struct stream *out = s->stream;
	bool condstore = false, qresync = false;

	if (cmd->count == 0) {
		cmd_bad(cmd, "ENABLE needs at least one capability.");
		return;
	}
	for (size_t i = 0; i < cmd->count; i++) {
		if (cmd->args[i].type != IMAP_ARG_ATOM) {
			cmd_bad(cmd, "ENABLE takes atoms.");
			return;
		}
		if (imap_arg_is_atom(&cmd->args[i], "CONDSTORE"))
			condstore = true;
		else if (imap_arg_is_atom(&cmd->args[i], "QRESYNC"))
			qresync = true;
	}
	/* RFC 7162 3.2.3: QRESYNC enables CONDSTORE too. Only what was not on
	   before is told. */
	condstore = (condstore || qresync) && !(s->enabled & ENABLED_CONDSTORE);
	qresync = qresync && !(s->enabled & ENABLED_QRESYNC);
	stream_printf(out, "* ENABLED%s%s\r\n", condstore ? " CONDSTORE" : "",
		      qresync ? " QRESYNC" : "");
	if (condstore)
		session_enable_condstore(s);
	if (qresync)
		s->enabled |= ENABLED_QRESYNC;
	cmd_ok(cmd, "Enabled.");
}
