/* SPDX-License-Identifier: MIT */
/* COPY (RFC 3501 6.4.7) and MOVE (RFC 6851), with COPYUID (RFC 4315 3). What
 * arrived or went in the selected mailbox is noted and told by the dispatcher,
 * as what others do is.
 *
 * A message that is gone, and of which the client has not been told yet: COPY
 * is all or nothing and so copies nothing; MOVE moves the others. Both answer
 * NO [EXPUNGEISSUED] (RFC 5530), and tell the EXPUNGE with it. */
#include <errno.h>
#include <string.h>

#include "imap/command.h"
#include "imap/holder-link.h"

struct copy {
	struct cmd *cmd;
	bool move;
	const char *dest;
	struct uidset uids;		/* asked for */
	struct uidset copied, new_uids;
	uint32_t uidvalidity;
	uint8_t dest_id[16];
	uint64_t dest_modseq, modseq;
};

static bool parse_args(struct copy *c)
{
	struct cmd *cmd = c->cmd;

	if (cmd->count != 2) {
		cmd_bad(cmd, "%s takes messages and a mailbox.", cmd->name);
		return false;
	}
	if (!cmd_set_arg(cmd, &cmd->args[0], &c->uids))
		return false;
	c->dest = cmd_mailbox_arg(cmd, &cmd->args[1]);
	return c->dest != NULL;
}

static void copy_notice(const struct copy *c)
{
	struct session *s = c->cmd->session;

	if (s->holder == NULL)
		return;
	if (c->dest_modseq != 0)
		holder_link_notice(s->holder, c->dest_id, c->dest_modseq);
	/* Within one mailbox it was one change. */
	if (c->modseq != 0 && memcmp(c->dest_id, mailbox_id(s->box), 16) != 0)
		holder_link_notice(s->holder, mailbox_id(s->box), c->modseq);
}

/* "COPYUID 38505 304,319:320 3956:3958"; NULL: nothing was copied, or no memory. */
static const char *copyuid(const struct copy *c)
{
	struct arena *a = c->cmd->session->arena;
	const char *text = NULL;
	struct buf b;

	if (uidset_is_empty(&c->copied))
		return NULL;
	buf_init(&b, SIZE_MAX);
	buf_printf(&b, "COPYUID %u ", c->uidvalidity);
	uidset_print(&c->copied, &b);
	buf_append_u8(&b, ' ');
	uidset_print(&c->new_uids, &b);
	buf_append_u8(&b, 0);
	if (!b.failed)
		text = arena_strdup(a, (char *)b.data);
	buf_deinit(&b);
	return text;
}

static void copy_done(struct copy *c)
{
	struct cmd *cmd = c->cmd;
	struct session *s = cmd->session;
	const char *code = copyuid(c);

	if (!c->move) {
		cmd->code = code;
	} else if (code != NULL) {
		/* RFC 6851 4.3: untagged, before the EXPUNGEs that follow from it. */
		stream_printf(s->stream, "* OK [%s] Moved.\r\n", code);
		/* RFC 7162 3.2: all changes up to this one are told before
		   the tagged line. */
		if (s->enabled & ENABLED_QRESYNC)
			cmd->code = arena_printf(s->arena, "HIGHESTMODSEQ %llu",
						 (unsigned long long)c->modseq);
	}
	if (c->move && uidset_count(&c->copied) < uidset_count(&c->uids)) {
		cmd->expunge_issued = true;
		cmd->code = NULL;
	}
	cmd_ok(cmd, "%s%s completed.", cmd->uid ? "UID " : "", cmd->name);
}

static void copy_run(struct copy *c)
{
	struct cmd *cmd = c->cmd;
	struct session *s = cmd->session;
	int ret = mailbox_copy(s->box, &c->uids, c->dest, c->move, &c->copied, &c->new_uids,
			       &c->uidvalidity, c->dest_id, &c->dest_modseq, NULL, &c->modseq);

	copy_notice(c);
	/* RFC 3501 6.4.7: the client may CREATE it and try again. */
	if (ret == MAILBOX_E_NONEXISTENT)
		cmd_no(cmd, "TRYCREATE", "Mailbox does not exist.");
	else if (ret == MAILBOX_E_EXPUNGED)
		cmd_no(cmd, "EXPUNGEISSUED", "Some of the messages are gone; none was copied.");
	else if (ret != 0)
		cmd_mailbox_error(cmd, ret);
	else
		copy_done(c);
}

void cmd_copy(struct cmd *cmd)
{
	struct copy c = { .cmd = cmd, .move = strcmp(cmd->name, "MOVE") == 0 };

	uidset_init(&c.uids);
	uidset_init(&c.copied);
	uidset_init(&c.new_uids);
	if (parse_args(&c)) {
		if (c.move && cmd->session->readonly)
			cmd_mailbox_error(cmd, MAILBOX_E_READONLY);
		else
			copy_run(&c);
	}
	uidset_deinit(&c.uids);
	uidset_deinit(&c.copied);
	uidset_deinit(&c.new_uids);
}
