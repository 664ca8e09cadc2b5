/* SPDX-License-Identifier: MIT */
/* STORE (RFC 3501 6.4.6, RFC 7162 3.1.3). Others' changes are noted before our
 * own, in one transaction each, so that the client is told of theirs even
 * where .SILENT keeps quiet about ours. */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "imap/command.h"
#include "imap/flags.h"
#include "imap/holder-link.h"
#include "imap/rows.h"

struct store {
	struct cmd *cmd;
	enum flag_op op;
	bool silent;
	uint64_t unchanged_since;	/* UINT64_MAX: none */
	struct flag_list list;
	struct uidset uids;		/* asked for; later: that there are */
	struct uidset changed, modified, gone;
};

/* ---- arguments ---- */

static bool parse_op(struct store *st, const struct imap_arg *arg)
{
	static const struct {
		const char *name;
		enum flag_op op;
		bool silent;
	} ops[] = {
		{ "FLAGS", FLAG_SET, false },	 { "FLAGS.SILENT", FLAG_SET, true },
		{ "+FLAGS", FLAG_ADD, false },	 { "+FLAGS.SILENT", FLAG_ADD, true },
		{ "-FLAGS", FLAG_REMOVE, false }, { "-FLAGS.SILENT", FLAG_REMOVE, true },
	};

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		if (imap_arg_is_atom(arg, ops[i].name)) {
			st->op = ops[i].op;
			st->silent = ops[i].silent;
			return true;
		}
	}
	cmd_bad(st->cmd, "Unknown item of STORE.");
	return false;
}

/* store-modifiers (RFC 4466 2.5): (UNCHANGEDSINCE n), where 0 is a value too */
static bool parse_modifiers(struct store *st, const struct imap_arg *list)
{
	if (list->count != 2 || !imap_arg_is_atom(&list->items[0], "UNCHANGEDSINCE") ||
	    !imap_arg_u64(&list->items[1], &st->unchanged_since)) {
		cmd_bad(st->cmd, "STORE knows only the modifier (UNCHANGEDSINCE n).");
		return false;
	}
	return true;
}

static bool parse_args(struct store *st)
{
	const struct imap_arg *args = st->cmd->args;
	size_t count = st->cmd->count, i = 1;

	st->unchanged_since = UINT64_MAX;
	if (count < 1 || !cmd_set_arg(st->cmd, &args[0], &st->uids))
		goto few;
	if (i < count && args[i].type == IMAP_ARG_LIST && !parse_modifiers(st, &args[i++]))
		return false;
	if (i == count)
		goto few;
	if (!parse_op(st, &args[i++]))
		return false;
	/* store-att-flags: one list, or flags without parentheses */
	if (i + 1 == count && args[i].type == IMAP_ARG_LIST)
		return flag_list_parse(st->cmd, args[i].items, args[i].count, &st->list);
	if (i < count)
		return flag_list_parse(st->cmd, args + i, count - i, &st->list);
few:
	if (st->cmd->result == CMD_NONE)
		cmd_bad(st->cmd, "STORE takes messages, an item and flags.");
	return false;
}

/* ---- the change ---- */

/* Numbers of the keywords. One that is removed and does not exist is no work. */
static int keyword_numbers(struct store *st, uint32_t *numbers, size_t *count_r)
{
	struct mailbox *box = st->cmd->session->box;
	bool create = st->op != FLAG_REMOVE && !uidset_is_empty(&st->uids);

	*count_r = 0;
	for (size_t i = 0; i < st->list.n_keywords; i++) {
		int ret = mailbox_keyword(box, st->list.keywords[i], create, &numbers[*count_r]);

		if (ret == MAILBOX_E_NONEXISTENT)
			continue;
		if (ret != 0)
			return ret;
		(*count_r)++;
	}
	return 0;
}

static int store_change(struct store *st)
{
	struct session *s = st->cmd->session;
	uint32_t *numbers = arena_alloc(s->arena, (st->list.n_keywords + 1) * sizeof(*numbers));
	uint64_t modseq = 0;
	size_t n_numbers;
	int ret = keyword_numbers(st, numbers, &n_numbers);

	if (ret == 0)
		ret = mailbox_store(s->box, &st->uids, st->op, st->list.flags, numbers, n_numbers,
				    st->unchanged_since, &st->changed, &st->modified, &st->gone,
				    &modseq);
	/* Also when it ended half-way: some may have been changed. */
	if (modseq != 0 && s->holder != NULL)
		holder_link_notice(s->holder, mailbox_id(s->box), modseq);
	if (ret == 0)
		ret = uidset_remove_set(&st->uids, &st->gone);
	return ret != 0 ? ret : view_update_own(s, &st->changed, modseq);
}

/* ---- the answer ---- */

/* What a row has to be told as; 0: nothing. */
static unsigned row_items(const struct store *st, uint32_t uid)
{
	const struct session *s = st->cmd->session;
	unsigned items = view_unsolicited(s) | (st->cmd->uid ? VIEW_UID : 0);

	/* RFC 7162 3.1.3: it is best to say why the condition failed. */
	if (!st->silent || uidset_contains(&st->modified, uid))
		return items;
	/* RFC 7162 3.1.3 and 3.1.4.2: .SILENT, but the new MODSEQ */
	if (!session_condstore(s) || (st->unchanged_since == UINT64_MAX &&
				      !uidset_contains(&st->changed, uid)))
		return 0;
	return items & ~(unsigned)VIEW_FLAGS;
}

static int tell_batch(struct store *st, struct row_batch *b)
{
	struct session *s = st->cmd->session;
	struct uidset told;
	int ret = row_batch_fill(b, s->box, false);

	uidset_init(&told);
	for (size_t i = 0; i < b->count && ret == 0; i++) {
		unsigned items = row_items(st, b->rows[i].uid);

		if (items == 0)
			continue;
		ret = view_write_fetch(s, &b->rows[i], items);
		if (ret == 0 && (items & VIEW_FLAGS))
			ret = uidset_add(&told, b->rows[i].uid);
	}
	if (ret == 0)
		view_flags_told(&s->view, &told);
	uidset_deinit(&told);
	return ret;
}

static int store_tell(struct store *st)
{
	struct session *s = st->cmd->session;
	struct row_batch *b;
	int ret;

	if (st->silent && !session_condstore(s))
		return 0;
	ret = view_tell_keywords(s);
	if (ret < 0)
		return ret;
	b = arena_alloc(s->arena, sizeof(*b));
	row_batch_init(b);
	while ((ret = row_batch_next(b, &st->uids)) > 0) {
		ret = tell_batch(st, b);
		if (ret != 0)
			break;
	}
	row_batch_deinit(b);
	return ret;
}

/* RFC 7162 3.1.3: the failed ones by number or by UID, as the command has it.
 * Gone ones besides make it NO (example 11); MODIFIED is what cannot be found
 * out otherwise. */
static int store_result(struct store *st)
{
	struct cmd *cmd = st->cmd;
	struct session *s = cmd->session;
	struct uidset seqs;
	struct buf text;
	int ret = 0;

	if (uidset_is_empty(&st->modified)) {
		cmd->expunge_issued = !uidset_is_empty(&st->gone);
		cmd_ok(cmd, "%sSTORE completed.", cmd->uid ? "UID " : "");
		return 0;
	}
	uidset_init(&seqs);
	buf_init(&text, SIZE_MAX);
	if (!cmd->uid)
		ret = view_seqs(&s->view, &st->modified, &seqs);
	buf_append_str(&text, "MODIFIED ");
	uidset_print(cmd->uid ? &st->modified : &seqs, &text);
	buf_append_u8(&text, 0);
	if (ret == 0 && text.failed)
		ret = -ENOMEM;
	if (ret == 0) {
		cmd->code = arena_strdup(s->arena, (char *)text.data);
		if (uidset_is_empty(&st->gone))
			cmd_ok(cmd, "Some were changed meanwhile.");
		else
			cmd_no(cmd, cmd->code, "Some were changed meanwhile, some are gone.");
	}
	buf_deinit(&text);
	uidset_deinit(&seqs);
	return ret;
}

static int store_run(struct store *st)
{
	int ret = view_update(st->cmd->session, NULL);

	if (ret == 0)
		ret = store_change(st);
	if (ret == 0)
		ret = store_tell(st);
	if (ret == 0)
		ret = store_result(st);
	return ret;
}

void cmd_store(struct cmd *cmd)
{
	struct store st = { .cmd = cmd };
	int ret;

	uidset_init(&st.uids);
	uidset_init(&st.changed);
	uidset_init(&st.modified);
	uidset_init(&st.gone);
	if (parse_args(&st)) {
		if (st.unchanged_since != UINT64_MAX)
			session_enable_condstore(cmd->session);
		ret = cmd->session->readonly ? MAILBOX_E_READONLY : store_run(&st);
		if (ret != 0)
			cmd_mailbox_error(cmd, ret);
	}
	uidset_deinit(&st.uids);
	uidset_deinit(&st.changed);
	uidset_deinit(&st.modified);
	uidset_deinit(&st.gone);
}
