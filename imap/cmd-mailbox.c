/* SPDX-License-Identifier: MIT */
/* CREATE, DELETE, RENAME (RFC 3501 6.3.3 to 6.3.5). */
#include <string.h>
#include <strings.h>

#include "imap/command.h"
#include "imap/holder-link.h"

static void mailbox_done(struct cmd *cmd, int ret)
{
	/* GONE is about the selected mailbox; here it was another. */
	if (ret == MAILBOX_E_GONE)
		ret = MAILBOX_E_NONEXISTENT;
	if (ret != 0)
		cmd_mailbox_error(cmd, ret);
	else
		cmd_ok(cmd, "%s completed.", cmd->name);
}

void cmd_create(struct cmd *cmd)
{
	struct mail_store *store;
	const char *name;
	int ret;

	/* RFC 6154's USE attributes and other parameters are not offered. */
	if (cmd->count != 1) {
		cmd_bad(cmd, "CREATE takes a mailbox.");
		return;
	}
	name = cmd_mailbox_arg(cmd, &cmd->args[0]);
	if (name == NULL)
		return;
	ret = session_store(cmd->session, &store);
	if (ret == 0)
		ret = mail_store_create(store, cmd_mailbox_trim(cmd, store, name));
	mailbox_done(cmd, ret);
}

/* By id: the selected mailbox may have another name by now. */
static bool is_selected(struct session *s, struct mail_store *store, const char *name)
{
	struct mailbox *box = NULL;
	bool same = false;

	if (s->box == NULL)
		return false;
	if (mailbox_open(store, name, &box) == 0)
		same = memcmp(mailbox_id(box), mailbox_id(s->box), 16) == 0;
	mailbox_close(&box);
	return same;
}

/* A client may delete what it has selected: then nothing is selected. */
void cmd_delete(struct cmd *cmd)
{
	struct session *s = cmd->session;
	struct mail_store *store;
	const char *name;
	bool selected = false;
	int ret;

	if (cmd->count != 1) {
		cmd_bad(cmd, "DELETE takes a mailbox.");
		return;
	}
	name = cmd_mailbox_arg(cmd, &cmd->args[0]);
	if (name == NULL)
		return;
	ret = session_store(s, &store);
	if (ret == 0) {
		selected = is_selected(s, store, name);
		ret = mail_store_delete(store, name);
	}
	if (ret == 0 && selected) {
		session_unselect(s, true);
		if (s->holder != NULL)
			holder_link_hello(s->holder);
	}
	mailbox_done(cmd, ret);
}

void cmd_rename(struct cmd *cmd)
{
	struct session *s = cmd->session;
	struct mail_store *store;
	const char *from, *to;
	int ret;

	if (cmd->count != 2) {
		cmd_bad(cmd, "RENAME takes two mailboxes.");
		return;
	}
	from = cmd_mailbox_arg(cmd, &cmd->args[0]);
	to = from != NULL ? cmd_mailbox_arg(cmd, &cmd->args[1]) : NULL;
	if (to == NULL)
		return;
	ret = session_store(s, &store);
	if (ret == 0)
		ret = mail_store_rename(store, from, cmd_mailbox_trim(cmd, store, to));
	/* The selected mailbox is found by its id; its label has its name. */
	if (ret == 0 && s->box != NULL && s->holder != NULL)
		holder_link_hello(s->holder);
	mailbox_done(cmd, ret);
}
