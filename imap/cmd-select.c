/* SPDX-License-Identifier: MIT */
/* SELECT, EXAMINE, CLOSE, UNSELECT. What a client with QRESYNC missed is
 * computed after the mailbox is open, from the same view that its responses
 * are numbered by. */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "imap/command.h"
#include "imap/holder-link.h"
#include "imap/rows.h"
#include "imap/vanished.h"
#include "lib/limits.h"

struct select_params {
	bool condstore, qresync;
	uint32_t uidvalidity;
	uint64_t modseq;
	bool has_known;
	const char *known;		/* sets, checked, as text */
	const char *match_seqs, *match_uids;	/* NULL: none */
};

/* ---- arguments ---- */

/* A set without "*" (RFC 7162 section 7: known-uids and the others). */
static bool plain_set(const struct imap_arg *arg)
{
	struct uidset set;
	int ret;

	if (arg->type != IMAP_ARG_ATOM || strchr(arg->data, '*') != NULL)
		return false;
	uidset_init(&set);
	ret = uidset_parse(&set, arg->data, arg->len, 0, UIDSET_MAX_RANGES);
	uidset_deinit(&set);
	return ret == 0;
}

static bool parse_qresync(struct cmd *cmd, const struct imap_arg *list, struct select_params *p)
{
	size_t i = 2;

	if (list->type != IMAP_ARG_LIST || list->count < 2 ||
	    !imap_arg_u32(&list->items[0], &p->uidvalidity) || p->uidvalidity == 0 ||
	    !imap_arg_u64(&list->items[1], &p->modseq) || p->modseq == 0) {
		cmd_bad(cmd, "QRESYNC takes (uidvalidity modseq [uids] [(seqs uids)]).");
		return false;
	}
	if (i < list->count && list->items[i].type == IMAP_ARG_ATOM) {
		if (!plain_set(&list->items[i])) {
			cmd_bad(cmd, "QRESYNC: invalid set of known UIDs.");
			return false;
		}
		p->known = list->items[i++].data;
	}
	if (i < list->count && list->items[i].type == IMAP_ARG_LIST) {
		const struct imap_arg *match = &list->items[i++];

		if (match->count != 2 || !plain_set(&match->items[0]) ||
		    !plain_set(&match->items[1])) {
			cmd_bad(cmd, "QRESYNC: invalid sequence match data.");
			return false;
		}
		p->match_seqs = match->items[0].data;
		p->match_uids = match->items[1].data;
	}
	if (i < list->count)
		cmd_bad(cmd, "QRESYNC: unexpected argument.");
	p->qresync = true;
	return i == list->count;
}

/* select-params (RFC 4466 2.2): CONDSTORE, QRESYNC (...) */
static bool parse_params(struct cmd *cmd, struct select_params *p)
{
	const struct imap_arg *list = &cmd->args[1];

	if (list->type != IMAP_ARG_LIST || list->count == 0) {
		cmd_bad(cmd, "%s takes a mailbox and a list of parameters.", cmd->name);
		return false;
	}
	for (size_t i = 0; i < list->count; i++) {
		const struct imap_arg *arg = &list->items[i];

		if (imap_arg_is_atom(arg, "CONDSTORE")) {
			p->condstore = true;
		} else if (!imap_arg_is_atom(arg, "QRESYNC")) {
			cmd_bad(cmd, "Unknown parameter of %s.", cmd->name);
			return false;
		} else if (p->qresync || ++i == list->count) {
			cmd_bad(cmd, "QRESYNC takes one list.");
			return false;
		} else if (!parse_qresync(cmd, &list->items[i], p)) {
			return false;
		}
	}
	/* RFC 7162 3.2.5 */
	if (p->qresync && !(cmd->session->enabled & ENABLED_QRESYNC)) {
		cmd_bad(cmd, "QRESYNC is not enabled.");
		return false;
	}
	return true;
}

/* ---- responses ---- */

/* RFC 3501 6.3.1: number of the first unseen message. If that is not in the view it
 * came just now, and so did all that follow it. */
static int tell_unseen(struct session *s)
{
	uint32_t uid, seq;
	int ret = mailbox_first_unseen(s->box, &uid);

	seq = ret == 0 && uid != 0 ? view_seq(&s->view, uid) : 0;
	if (seq == 0)
		return ret;
	return stream_printf(s->stream, "* OK [UNSEEN %u] First unseen.\r\n", seq);
}

/* RFC 3501 6.3.1, RFC 7162 3.1.2.1 */
static int tell_selected(struct session *s)
{
	struct view *v = &s->view;
	int ret = view_write_keywords(s);

	if (ret != 0)
		return ret;
	stream_printf(s->stream, "* %u EXISTS\r\n", view_exists(v));
	if (!(s->enabled & ENABLED_IMAP4REV2)) {
		stream_printf(s->stream, "* %u RECENT\r\n", (uint32_t)uidset_count(&v->recent));
		ret = tell_unseen(s);
		if (ret != 0)
			return ret;
	}
	stream_printf(s->stream, "* OK [UIDVALIDITY %u] UIDs valid.\r\n",
		      mailbox_uidvalidity(s->box));
	stream_printf(s->stream, "* OK [UIDNEXT %u] Predicted next UID.\r\n", v->uidnext);
	return stream_printf(s->stream, "* OK [HIGHESTMODSEQ %llu] Highest.\r\n",
			     (unsigned long long)v->told_modseq);
}

/* ---- QRESYNC ---- */

/* RFC 7162 3.2.5.2: up to which UID does the client know of all expunges?
 * Both sets ascend, so the n-th number belongs to the n-th UID. */
static int matched_uid(const struct view *v, const struct select_params *p, uint32_t *uid_r)
{
	struct uidset seqs, uids;
	struct uidset_iter si, ui;
	int ret;

	*uid_r = 0;
	uidset_init(&seqs);
	uidset_init(&uids);
	ret = uidset_parse(&seqs, p->match_seqs, strlen(p->match_seqs), 0, UIDSET_MAX_RANGES);
	if (ret == 0)
		ret = uidset_parse(&uids, p->match_uids, strlen(p->match_uids), 0,
				   UIDSET_MAX_RANGES);
	if (ret == 0) {
		uint32_t seq = uidset_first(&seqs, &si), uid = uidset_first(&uids, &ui);

		while (seq != 0 && uid != 0 && view_uid(v, seq) == uid) {
			*uid_r = uid;
			seq = uidset_next(&seqs, &si);
			uid = uidset_next(&uids, &ui);
		}
	}
	uidset_deinit(&seqs);
	uidset_deinit(&uids);
	return ret;
}

static int tell_changed(struct session *s, const struct uidset *known, uint64_t since)
{
	struct row_batch *b = arena_alloc(s->arena, sizeof(*b));
	struct uidset changed;
	int ret;

	uidset_init(&changed);
	row_batch_init(b);
	ret = mailbox_changed_since(s->box, since, &changed);
	if (ret == 0)
		ret = uidset_intersect(&changed, known);
	if (ret == 0)
		ret = uidset_intersect(&changed, &s->view.uids);
	while (ret == 0 && (ret = row_batch_next(b, &changed)) > 0) {
		ret = row_batch_fill(b, s->box, false);
		for (size_t i = 0; i < b->count && ret == 0; i++)
			ret = view_write_fetch(s, &b->rows[i],
					       VIEW_UID | VIEW_FLAGS | VIEW_MODSEQ);
	}
	row_batch_deinit(b);
	uidset_deinit(&changed);
	return ret;
}

/* RFC 7162 3.2.5.1: known UIDs, or all that there ever were. */
static int known_uids(const struct view *v, const struct select_params *p, struct uidset *known)
{
	if (p->known != NULL)
		return uidset_parse(known, p->known, strlen(p->known), 0, UIDSET_MAX_RANGES);
	return v->uidnext > 1 ? uidset_add_range(known, 1, v->uidnext - 1) : 0;
}

static int tell_missed(struct session *s, const struct select_params *p)
{
	struct uidset known;
	uint32_t matched = 0;
	int ret;

	if (p->uidvalidity != mailbox_uidvalidity(s->box))
		return 0;
	uidset_init(&known);
	ret = known_uids(&s->view, p, &known);
	if (ret == 0 && p->match_seqs != NULL)
		ret = matched_uid(&s->view, p, &matched);
	if (ret == 0)
		ret = vanished_tell(s, &known, p->modseq, matched);
	if (ret == 0)
		ret = tell_changed(s, &known, p->modseq);
	uidset_deinit(&known);
	return ret;
}

/* ---- the commands ---- */

static int select_open(struct session *s, const char *name, bool readonly)
{
	struct mail_store *store;
	int ret = session_store(s, &store);

	if (ret == 0)
		ret = mailbox_open(store, name, &s->box);
	if (ret == 0)
		ret = mailbox_sync(s->box);
	s->readonly = readonly;
	if (ret == 0)
		ret = view_open(&s->view, s->box, readonly);
	return ret;
}

/* RFC 3501 6.3.1 and 6.3.2, RFC 7162 3.1.8 and 3.2.5. An attempt that fails
 * leaves nothing selected; one with bad arguments was none. */
void cmd_select(struct cmd *cmd)
{
	struct session *s = cmd->session;
	struct select_params p = { 0 };
	bool readonly = strcmp(cmd->name, "EXAMINE") == 0;
	const char *name;
	int ret;

	if (cmd->count < 1 || cmd->count > 2) {
		cmd_bad(cmd, "%s takes a mailbox.", cmd->name);
		return;
	}
	name = cmd_mailbox_arg(cmd, &cmd->args[0]);
	/* RFC 3501 6.3.1: also if it cannot be a mailbox. */
	if (name == NULL && cmd->result == CMD_NO)
		session_unselect(s, true);
	if (name == NULL || (cmd->count == 2 && !parse_params(cmd, &p)))
		return;
	session_unselect(s, true);
	if (p.condstore)
		session_enable_condstore(s);
	ret = select_open(s, name, readonly);
	if (ret == 0)
		ret = tell_selected(s);
	if (ret == 0 && p.qresync)
		ret = tell_missed(s, &p);
	if (ret == MAILBOX_E_GONE)	/* between open and sync */
		ret = MAILBOX_E_NONEXISTENT;
	if (ret != 0) {
		session_unselect(s, false);
		cmd_mailbox_error(cmd, ret);
	} else {
		cmd->code = readonly ? "READ-ONLY" : "READ-WRITE";
		cmd_ok(cmd, "%s completed.", cmd->name);
	}
	if (s->holder != NULL)
		holder_link_hello(s->holder);
}

static void select_end(struct cmd *cmd)
{
	struct session *s = cmd->session;

	session_unselect(s, false);
	if (s->holder != NULL)
		holder_link_hello(s->holder);
	cmd_ok(cmd, "%s completed.", cmd->name);
}

/* RFC 3501 6.4.2: expunges without a word. RFC 7162 3.2.8: and without
 * HIGHESTMODSEQ. If that fails the mailbox stays selected: an OK would say
 * that the messages are gone. */
void cmd_close(struct cmd *cmd)
{
	struct session *s = cmd->session;
	struct uidset all, gone;
	uint64_t modseq = 0;
	int ret = 0;

	if (cmd->count != 0) {
		cmd_bad(cmd, "CLOSE takes no arguments.");
		return;
	}
	if (!s->readonly) {
		uidset_init(&all);
		uidset_init(&gone);
		ret = mailbox_sync(s->box);
		if (ret == 0)
			ret = mailbox_uids(s->box, &all);
		if (ret == 0)
			ret = mailbox_expunge(s->box, &all, &gone, &modseq);
		if (modseq != 0 && s->holder != NULL)
			holder_link_notice(s->holder, mailbox_id(s->box), modseq);
		uidset_deinit(&all);
		uidset_deinit(&gone);
	}
	if (ret != 0)
		cmd_mailbox_error(cmd, ret);
	else
		select_end(cmd);
}

/* RFC 3691 */
void cmd_unselect(struct cmd *cmd)
{
	if (cmd->count != 0)
		cmd_bad(cmd, "UNSELECT takes no arguments.");
	else
		select_end(cmd);
}
