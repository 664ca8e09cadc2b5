/* SPDX-License-Identifier: MIT */
/* FETCH (RFC 3501 6.4.5, RFC 7162 3.1.4 and 3.2.6). Messages are taken some at
 * a time: \Seen set in one transaction for them, their rows copied, then each
 * one answered, so that neither memory nor a transaction grows with what the
 * client asks for, and a client that leaves half-way has not "seen" it all. */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "imap/command.h"
#include "imap/fetch.h"
#include "imap/holder-link.h"
#include "imap/rows.h"
#include "imap/vanished.h"
#include "lib/imap-write.h"
#include "lib/limits.h"

#define FETCH_ITEMS_MAX	256

struct fetch {
	struct cmd *cmd;
	struct fetch_item items[FETCH_ITEMS_MAX];
	size_t n_items;
	bool has_flags, has_uid, has_modseq, has_body, has_envelope, has_structure, sets_seen;
	bool changed_since_given, vanished;
	uint64_t changed_since;
	struct uidset uids;
	struct uidset seen;		/* of this batch: \Seen set by us */
	struct uidset told;		/* of this batch: FLAGS told */
	struct uidset_ranker rank;	/* in the view */
	struct buf line;
	struct fetch_structures *structures;	/* NULL: nobody asks */
};

/* ---- items ---- */

static bool add_item(struct fetch *f, const struct fetch_item *item)
{
	if (f->n_items == FETCH_ITEMS_MAX) {
		cmd_bad(f->cmd, "Too many items.");
		return false;
	}
	f->items[f->n_items++] = *item;
	f->has_flags |= item->what == FETCH_FLAGS;
	f->has_uid |= item->what == FETCH_UID;
	f->has_modseq |= item->what == FETCH_MODSEQ;
	f->has_body |= item->what == FETCH_BODY;
	f->has_envelope |= item->what == FETCH_ENVELOPE;
	f->has_structure |= item->what == FETCH_STRUCTURE || item->what == FETCH_BODYSTRUCTURE ||
		(item->what == FETCH_BODY && item->n_part > 0);
	f->sets_seen |= item->sets_seen;
	return true;
}

/* Each index item once is enough. */
static bool add_plain(struct fetch *f, enum fetch_what what, const char *label)
{
	for (size_t i = 0; i < f->n_items; i++) {
		if (f->items[i].what == what)
			return true;
	}
	return add_item(f, &(struct fetch_item){ .what = what, .label = label });
}

static const struct fetch_item named_items[] = {
	{ .what = FETCH_FLAGS,		.label = "FLAGS" },
	{ .what = FETCH_UID,		.label = "UID" },
	{ .what = FETCH_INTERNALDATE,	.label = "INTERNALDATE" },
	{ .what = FETCH_RFC822_SIZE,	.label = "RFC822.SIZE" },
	{ .what = FETCH_MODSEQ,		.label = "MODSEQ" },
	{ .what = FETCH_ENVELOPE,	.label = "ENVELOPE" },
	{ .what = FETCH_BODYSTRUCTURE,	.label = "BODYSTRUCTURE" },
	{ .what = FETCH_STRUCTURE,	.label = "BODY" },
	{ .what = FETCH_BODY,		.label = "RFC822", .section = SECTION_ALL,
	  .sets_seen = true },
	{ .what = FETCH_BODY,		.label = "RFC822.HEADER", .section = SECTION_HEADER },
	{ .what = FETCH_BODY,		.label = "RFC822.TEXT", .section = SECTION_TEXT,
	  .sets_seen = true },
};

/* A macro stands alone, without parentheses (RFC 3501 6.4.5). */
static const struct fetch_macro {
	const char *name;
	enum fetch_what items[6];
	size_t count;
} macros[] = {
	{ "FAST", { FETCH_FLAGS, FETCH_INTERNALDATE, FETCH_RFC822_SIZE }, 3 },
	{ "ALL", { FETCH_FLAGS, FETCH_INTERNALDATE, FETCH_RFC822_SIZE, FETCH_ENVELOPE }, 4 },
	{ "FULL", { FETCH_FLAGS, FETCH_INTERNALDATE, FETCH_RFC822_SIZE, FETCH_ENVELOPE,
		    FETCH_STRUCTURE }, 5 },
};

static const char *plain_label(enum fetch_what what)
{
	size_t i = 0;

	while (named_items[i].what != what)
		i++;
	return named_items[i].label;
}

static bool add_macro(struct fetch *f, const struct fetch_macro *macro)
{
	for (size_t i = 0; i < macro->count; i++) {
		if (!add_plain(f, macro->items[i], plain_label(macro->items[i])))
			return false;
	}
	return true;
}

static bool parse_item(struct fetch *f, const struct imap_arg *arg)
{
	struct fetch_item item;

	if (arg->type != IMAP_ARG_ATOM) {
		cmd_bad(f->cmd, "Items of FETCH are atoms.");
		return false;
	}
	for (size_t i = 0; i < sizeof(named_items) / sizeof(named_items[0]); i++) {
		if (!imap_arg_is_atom(arg, named_items[i].label))
			continue;
		if (named_items[i].what == FETCH_BODY)
			return add_item(f, &named_items[i]);
		return add_plain(f, named_items[i].what, named_items[i].label);
	}
	return fetch_body_parse(f->cmd, arg->data, &item) && add_item(f, &item);
}

static bool parse_items(struct fetch *f, const struct imap_arg *arg)
{
	for (size_t i = 0; i < sizeof(macros) / sizeof(macros[0]); i++) {
		if (imap_arg_is_atom(arg, macros[i].name))
			return add_macro(f, &macros[i]);
	}
	if (arg->type != IMAP_ARG_LIST)
		return parse_item(f, arg);
	if (arg->count == 0)
		cmd_bad(f->cmd, "FETCH takes at least one item.");
	for (size_t i = 0; i < arg->count; i++) {
		if (!parse_item(f, &arg->items[i]))
			return false;
	}
	return arg->count > 0;
}

/* ---- modifiers and set ---- */

/* fetch-modifiers (RFC 4466 2.4): CHANGEDSINCE n, VANISHED */
static bool parse_modifiers(struct fetch *f, const struct imap_arg *list)
{
	struct cmd *cmd = f->cmd;

	if (list->type != IMAP_ARG_LIST || list->count == 0) {
		cmd_bad(cmd, "Modifiers of FETCH are a list.");
		return false;
	}
	for (size_t i = 0; i < list->count; i++) {
		if (imap_arg_is_atom(&list->items[i], "VANISHED")) {
			f->vanished = true;
		} else if (imap_arg_is_atom(&list->items[i], "CHANGEDSINCE") &&
			   i + 1 < list->count &&
			   imap_arg_u64(&list->items[i + 1], &f->changed_since)) {
			f->changed_since_given = true;
			i++;
		} else {
			cmd_bad(cmd, "Unknown modifier of FETCH.");
			return false;
		}
	}
	/* RFC 7162 3.2.6 */
	if (f->vanished && (!cmd->uid || !f->changed_since_given ||
			    !(cmd->session->enabled & ENABLED_QRESYNC))) {
		cmd_bad(cmd, "VANISHED is for UID FETCH with CHANGEDSINCE and QRESYNC enabled.");
		return false;
	}
	return true;
}

static bool parse_args(struct fetch *f)
{
	struct cmd *cmd = f->cmd;

	if (cmd->count < 2 || cmd->count > 3) {
		cmd_bad(cmd, "FETCH takes messages and items.");
		return false;
	}
	if (cmd->uid)
		add_plain(f, FETCH_UID, "UID");
	if (!parse_items(f, &cmd->args[1]) ||
	    (cmd->count == 3 && !parse_modifiers(f, &cmd->args[2])))
		return false;
	/* RFC 7162 3.1.4.1: CHANGEDSINCE asks for MODSEQ too. */
	if (f->changed_since_given && !add_plain(f, FETCH_MODSEQ, "MODSEQ"))
		return false;
	if (cmd->session->readonly)
		f->sets_seen = false;
	return cmd_set_arg(cmd, &cmd->args[0], &f->uids);
}

/* ---- before the messages ---- */

static int only_changed(struct fetch *f)
{
	struct session *s = f->cmd->session;
	struct uidset changed;
	int ret;

	uidset_init(&changed);
	ret = mailbox_changed_since(s->box, f->changed_since, &changed);
	if (ret == 0)
		ret = uidset_intersect(&f->uids, &changed);
	uidset_deinit(&changed);
	return ret;
}

/* VANISHED comes before all FETCH responses, and is about the UIDs that the
 * client named, not those that it could see (RFC 7162 3.2.6). */
static int tell_vanished(struct fetch *f)
{
	struct session *s = f->cmd->session;
	const struct imap_arg *arg = &f->cmd->args[0];
	uint32_t exists = view_exists(&s->view);
	struct uidset asked;
	int ret;

	if (strcmp(arg->data, "$") == 0)
		return 0;
	uidset_init(&asked);
	ret = uidset_parse(&asked, arg->data, arg->len, view_uid(&s->view, exists),
			   UIDSET_MAX_RANGES);
	if (ret == 0)
		ret = vanished_tell(s, &asked, f->changed_since, 0);
	uidset_deinit(&asked);
	return ret;
}

/* ---- one message ---- */

/* sep, label, blank */
static void write_label(struct buf *line, const char *sep, const struct fetch_item *item)
{
	buf_append_str(line, sep);
	buf_append_str(line, item->label);
	buf_append_u8(line, ' ');
}

static void write_size(struct fetch *f, const struct mail_row *row, struct mail_reader **r,
		       const struct fetch_item *item, const char *sep, struct buf *line)
{
	uint64_t header, size = row->size;
	int ret = 0;

	if (!row->size_known && *r == NULL)
		ret = row->expunged ? MAILBOX_E_EXPUNGED :
		      mailbox_read_open(f->cmd->session->box, row->uid, r);
	if (!row->size_known && ret == 0)
		ret = mail_reader_sizes(*r, &header, &size);
	if (ret == MAILBOX_E_EXPUNGED) {
		f->cmd->expunge_issued = true;
		return;
	}
	if (ret != 0) {
		cmd_mailbox_error(f->cmd, ret);
		return;
	}
	write_label(line, sep, item);
	buf_append_decimal(line, size);
}

/* ENVELOPE, BODY and BODYSTRUCTURE; left out if they cannot be had. */
static void write_structure(struct fetch *f, const struct mail_row *row, struct mail_reader **r,
			    const struct fetch_item *item, const char *sep, struct buf *line)
{
	size_t begin = line->len;
	int ret;

	if (row->expunged)
		r = NULL;
	write_label(line, sep, item);
	if (item->what == FETCH_ENVELOPE)
		ret = fetch_structures_envelope(f->structures, row->uid, r, line);
	else
		ret = fetch_structures_write(f->structures, row->uid, r,
					     item->what == FETCH_BODYSTRUCTURE, line);
	if (ret == 0)
		return;
	line->len = begin;
	if (ret == MAILBOX_E_EXPUNGED)
		f->cmd->expunge_issued = true;
	else
		cmd_mailbox_error(f->cmd, ret);
}

static void write_row_item(struct fetch *f, const struct mail_row *row, struct mail_reader **r,
			   const struct fetch_item *item, const char *sep, struct buf *line)
{
	switch (item->what) {
	case FETCH_FLAGS:
		write_label(line, sep, item);
		view_write_flags(f->cmd->session, row, line);
		break;
	case FETCH_UID:
		write_label(line, sep, item);
		buf_append_decimal(line, row->uid);
		break;
	case FETCH_INTERNALDATE:
		write_label(line, sep, item);
		imap_write_datetime(line, row->internaldate);
		break;
	case FETCH_RFC822_SIZE:
		write_size(f, row, r, item, sep, line);
		break;
	case FETCH_MODSEQ:
		write_label(line, sep, item);
		buf_append_u8(line, '(');
		buf_append_decimal(line, row->modseq);
		buf_append_u8(line, ')');
		break;
	case FETCH_ENVELOPE:
	case FETCH_BODYSTRUCTURE:
	case FETCH_STRUCTURE:
		write_structure(f, row, r, item, sep, line);
		break;
	case FETCH_BODY:
		break;
	}
}

/* \Seen was set by us: flags are told, and with CONDSTORE what RFC 7162 3.2.4
 * wants along with them. */
static void write_seen(struct fetch *f, const struct mail_row *row, const char *sep,
		       struct buf *line)
{
	unsigned items = view_unsolicited(f->cmd->session);

	if (!f->has_flags) {
		buf_printf(line, "%sFLAGS ", sep);
		view_write_flags(f->cmd->session, row, line);
		sep = " ";
	}
	if (!f->has_uid && (items & VIEW_UID)) {
		buf_printf(line, "%sUID %u", sep, row->uid);
		sep = " ";
	}
	if (!f->has_modseq && (items & VIEW_MODSEQ))
		buf_printf(line, "%sMODSEQ (%llu)", sep, (unsigned long long)row->modseq);
}

static bool open_body(struct fetch *f, const struct mail_row *row, struct mail_reader **r)
{
	int ret;

	if (!f->has_body)
		return true;
	ret = row->expunged ? MAILBOX_E_EXPUNGED :
		mailbox_read_open(f->cmd->session->box, row->uid, r);
	if (ret == MAILBOX_E_EXPUNGED)
		f->cmd->expunge_issued = true;
	else if (ret != 0)
		cmd_mailbox_error(f->cmd, ret);
	return ret == 0;
}

static int write_body(struct fetch *f, uint32_t uid, struct mail_reader *r,
		      const struct fetch_item *item, const char *sep)
{
	const struct message *m = NULL;
	int ret = 0;

	if (item->n_part > 0)
		ret = fetch_structures_message(f->structures, uid, &r, &m);
	return ret != 0 ? ret : fetch_body_write(f->cmd->session, r, m, item, sep);
}

static int write_bodies(struct fetch *f, uint32_t uid, struct mail_reader *r, const char *sep)
{
	for (size_t i = 0; i < f->n_items; i++) {
		int ret;

		if (f->items[i].what != FETCH_BODY)
			continue;
		ret = write_body(f, uid, r, &f->items[i], sep);
		if (ret == -EPIPE || stream_error(f->cmd->session->stream) != 0)
			return -EPIPE;
		if (ret != 0) {
			stream_printf(f->cmd->session->stream, "%s%s NIL", sep,
				      f->items[i].label);
			cmd_no(f->cmd, "SERVERBUG", "A message could not be read.");
		}
		sep = " ";
	}
	return 0;
}

/* Literals come last, whatever the order asked for: the line before them is
 * built whole, and left out if there is nothing to say. */
static int write_message(struct fetch *f, const struct mail_row *row)
{
	struct session *s = f->cmd->session;
	bool seen = uidset_contains(&f->seen, row->uid);
	struct mail_reader *r = NULL;
	bool has_body = open_body(f, row, &r) && f->has_body;
	struct buf *line = &f->line;
	size_t begin;
	int ret;

	buf_reset(line);
	buf_append_str(line, "* ");
	buf_append_decimal(line, uidset_rank_next(&s->view.uids, &f->rank, row->uid) + 1);
	buf_append_str(line, " FETCH (");
	begin = line->len;
	for (size_t i = 0; i < f->n_items; i++)
		write_row_item(f, row, &r, &f->items[i], line->len > begin ? " " : "", line);
	if (seen)
		write_seen(f, row, line->len > begin ? " " : "", line);
	if (line->len == begin && !has_body)
		buf_reset(line);
	else if (!has_body)
		buf_append_str(line, ")\r\n");
	ret = line->failed ? -ENOMEM : 0;
	if (ret == 0 && line->len > 0)
		ret = stream_write(s->stream, line->data, line->len);
	if (ret == 0 && has_body)
		ret = write_bodies(f, row->uid, r, line->len > begin ? " " : "");
	if (ret == 0 && has_body)
		ret = stream_puts(s->stream, ")\r\n");
	if (ret == 0 && line->len > 0 && (f->has_flags || seen))
		ret = uidset_add(&f->told, row->uid);
	mail_reader_close(&r);
	return ret;
}

/* ---- all messages ---- */

/* RFC 3501 6.4.5: \Seen is set implicitly. Only where it is not set. */
static int set_seen(struct fetch *f, struct row_batch *b)
{
	struct session *s = f->cmd->session;
	struct uidset unseen;
	uint64_t modseq = 0;
	int ret = 0;

	uidset_init(&unseen);
	for (size_t i = 0; i < b->count && ret == 0; i++) {
		if (!b->rows[i].expunged && !(b->rows[i].flags & MAIL_SEEN))
			ret = uidset_add(&unseen, b->rows[i].uid);
	}
	if (ret == 0 && !uidset_is_empty(&unseen)) {
		ret = mailbox_store(s->box, &unseen, FLAG_ADD, MAIL_SEEN, NULL, 0, UINT64_MAX,
				    &f->seen, NULL, NULL, &modseq);
		if (modseq != 0 && s->holder != NULL)
			holder_link_notice(s->holder, mailbox_id(s->box), modseq);
		if (ret == 0)
			ret = view_update_own(s, &f->seen, modseq);
		if (ret == 0)
			ret = row_batch_fill(b, s->box, true);
	}
	uidset_deinit(&unseen);
	return ret;
}

static int write_batch(struct fetch *f, struct row_batch *b)
{
	struct session *s = f->cmd->session;
	struct uidset_iter it;
	int ret;

	uidset_clear(&f->seen);
	uidset_clear(&f->told);
	f->rank = (struct uidset_ranker){ 0 };
	ret = row_batch_fill(b, s->box, true);
	if (ret == 0 && f->sets_seen)
		ret = set_seen(f, b);
	if (ret == 0 && (f->has_flags || f->sets_seen)) {
		ret = view_tell_keywords(s);
		ret = ret < 0 ? ret : 0;
	}
	if (ret == 0 && f->structures != NULL)
		fetch_structures_batch(f->structures, &b->uids, f->has_envelope, f->has_structure);
	for (uint32_t uid = uidset_first(&b->uids, &it); uid != 0 && ret == 0;
	     uid = uidset_next(&b->uids, &it)) {
		const struct mail_row *row = row_batch_find(b, uid);

		/* RFC 2180 4.1.2: what is known of a gone one is answered. */
		if (row == NULL || row->expunged)
			f->cmd->expunge_issued = true;
		if (row != NULL)
			ret = write_message(f, row);
	}
	if (ret == 0)
		view_flags_told(&s->view, &f->told);
	return ret;
}

static int fetch_run(struct fetch *f)
{
	struct session *s = f->cmd->session;
	struct row_batch *b;
	int ret = 0;

	if (f->has_modseq)
		session_enable_condstore(s);
	/* What is noted before and told by us is not told again after. */
	if (f->sets_seen || f->has_flags)
		ret = view_update(s, NULL);
	if (ret == 0 && f->vanished)
		ret = tell_vanished(f);
	if (ret == 0 && f->changed_since_given)
		ret = only_changed(f);
	if (ret == 0 && (f->has_envelope || f->has_structure)) {
		f->structures = fetch_structures_create(s->box);
		ret = f->structures != NULL ? 0 : -ENOMEM;
	}
	if (ret != 0)
		return ret;
	b = arena_alloc(s->arena, sizeof(*b));
	row_batch_init(b);
	while ((ret = row_batch_next(b, &f->uids)) > 0) {
		ret = write_batch(f, b);
		if (ret != 0)
			break;
	}
	row_batch_deinit(b);
	return ret;
}

void cmd_fetch(struct cmd *cmd)
{
	struct fetch *f = arena_alloc(cmd->session->arena, sizeof(*f));
	int ret;

	f->cmd = cmd;
	uidset_init(&f->uids);
	uidset_init(&f->seen);
	uidset_init(&f->told);
	buf_init(&f->line, SIZE_MAX);
	if (parse_args(f)) {
		ret = fetch_run(f);
		/* -EPIPE: nobody is there to read an answer. */
		if (ret == -EPIPE)
			cmd->no_tagged = true;
		else if (ret != 0)
			cmd_mailbox_error(cmd, ret);
		else if (cmd->result == CMD_NONE)
			cmd_ok(cmd, "%sFETCH completed.", cmd->uid ? "UID " : "");
	}
	fetch_structures_destroy(&f->structures);
	uidset_deinit(&f->uids);
	uidset_deinit(&f->seen);
	uidset_deinit(&f->told);
	buf_deinit(&f->line);
}
