/* SPDX-License-Identifier: MIT */
/* EXPUNGE (RFC 3501 6.4.3), UID EXPUNGE (RFC 4315 2.1), RFC 7162 3.2.7. What
 * went is noted and told by the dispatcher, as what others expunged is. */
#include <errno.h>

#include "imap/command.h"
#include "imap/holder-link.h"

static int expunge_set(struct cmd *cmd, struct uidset *uids)
{
	struct session *s = cmd->session;

	if (!cmd->uid)
		return mailbox_uids(s->box, uids);
	if (cmd->args[0].type != IMAP_ARG_ATOM)
		return -EINVAL;
	return view_parse_set(&s->view, cmd->args[0].data, true, uids);
}

static void expunge_run(struct cmd *cmd, const struct uidset *uids)
{
	struct session *s = cmd->session;
	struct uidset gone;
	uint64_t modseq = 0;
	int ret;

	uidset_init(&gone);
	ret = mailbox_expunge(s->box, uids, &gone, &modseq);
	uidset_deinit(&gone);
	if (modseq != 0 && s->holder != NULL)
		holder_link_notice(s->holder, mailbox_id(s->box), modseq);
	if (ret != 0) {
		cmd_mailbox_error(cmd, ret);
		return;
	}
	/* All changes up to this one are told before the tagged line. */
	if (modseq != 0 && (s->enabled & ENABLED_QRESYNC))
		cmd->code = arena_printf(s->arena, "HIGHESTMODSEQ %llu",
					 (unsigned long long)modseq);
	cmd_ok(cmd, "%sEXPUNGE completed.", cmd->uid ? "UID " : "");
}

void cmd_expunge(struct cmd *cmd)
{
	struct session *s = cmd->session;
	struct uidset uids;
	int ret;

	if (cmd->count != (cmd->uid ? 1 : 0)) {
		cmd_bad(cmd, cmd->uid ? "UID EXPUNGE takes a set of UIDs." :
			"EXPUNGE takes no arguments.");
		return;
	}
	if (s->readonly) {
		cmd_mailbox_error(cmd, MAILBOX_E_READONLY);
		return;
	}
	uidset_init(&uids);
	/* \Deleted may have been set by a program that renames files. */
	ret = view_update(s, NULL);
	if (ret == 0)
		ret = expunge_set(cmd, &uids);
	if (ret == -EINVAL || ret == -E2BIG)
		cmd_bad(cmd, "Not a set of UIDs.");
	else if (ret != 0)
		cmd_mailbox_error(cmd, ret);
	else
		expunge_run(cmd, &uids);
	uidset_deinit(&uids);
}
