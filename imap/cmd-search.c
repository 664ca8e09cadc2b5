/* SPDX-License-Identifier: MIT */
/* SEARCH (RFC 3501 6.4.4), with ESEARCH results (RFC 4731) that may be saved
 * (RFC 5182). The old view is searched, as its numbers are what the answer is
 * made of: messages that are gone and not told of may match by what is
 * remembered. First by the index alone, which settles most; what is left is
 * asked by its text. */
#include <errno.h>
#include <string.h>

#include "imap/charset.h"
#include "imap/command.h"
#include "imap/rows.h"
#include "imap/search.h"
#include "lib/imap-write.h"

#define SEARCH_PART_BYTES	4096

enum search_return {
	RETURN_MIN = 1, RETURN_MAX = 2, RETURN_ALL = 4, RETURN_COUNT = 8, RETURN_SAVE = 16,
	RETURN_DATA = RETURN_MIN | RETURN_MAX | RETURN_ALL | RETURN_COUNT,
};

struct result {
	struct search *q;
	struct uidset found;		/* UIDs */
	struct uidset unsized;		/* their sizes must be found out first */
	struct uidset undecided;	/* by the index alone */
	uint64_t highest_modseq;
	bool gone;			/* met one that is gone */
};

/* ---- arguments ---- */

/* RETURN (...) (RFC 4731 3.1, RFC 5182 2.1); none named means ALL */
static bool parse_return(struct cmd *cmd, const struct imap_arg *list, unsigned *returns_r)
{
	static const char *const names[] = { "MIN", "MAX", "ALL", "COUNT", "SAVE" };
	unsigned returns = 0;

	if (list->type != IMAP_ARG_LIST) {
		cmd_bad(cmd, "RETURN takes a list.");
		return false;
	}
	for (size_t i = 0; i < list->count; i++) {
		size_t n = 0;

		while (n < 5 && !imap_arg_is_atom(&list->items[i], names[n]))
			n++;
		if (n == 5) {
			cmd_bad(cmd, "Unknown result option of SEARCH.");
			return false;
		}
		returns |= 1u << n;
	}
	*returns_r = returns != 0 ? returns : RETURN_ALL;
	return true;
}

/* RFC 3501 6.4.4 */
static bool parse_charset(struct cmd *cmd, const struct imap_arg *arg,
			  const struct charset **charset_r)
{
	const char *name = imap_arg_astring(arg);

	if (name == NULL) {
		cmd_bad(cmd, "CHARSET takes a name.");
		return false;
	}
	*charset_r = charset_find(name, arg->len);
	if (*charset_r != NULL)
		return true;
	cmd_no(cmd, "BADCHARSET (US-ASCII UTF-8)", "Unknown charset.");
	return false;
}

/* ---- searching ---- */

static int unsized_row(void *ctx, const struct mail_row *row)
{
	struct result *res = ctx;

	if (row->size_known || search_ask(res->q, row, NULL) != SEARCH_UNKNOWN)
		return 0;
	return uidset_add(&res->unsized, row->uid);
}

/* Sizes that nobody asked for yet: each message is read once, and the index
 * keeps what came out. One that cannot be read has none. */
static int find_sizes(struct result *res)
{
	struct session *s = res->q->cmd->session;
	struct uidset_iter it;
	int ret = mailbox_rows(s->box, &s->view.uids, false, unsized_row, res);

	for (uint32_t uid = uidset_first(&res->unsized, &it); uid != 0 && ret == 0;
	     uid = uidset_next(&res->unsized, &it)) {
		struct mail_reader *r = NULL;
		uint64_t header, total;

		if (mailbox_read_open(s->box, uid, &r) == 0)
			(void)mail_reader_sizes(r, &header, &total);
		mail_reader_close(&r);
	}
	return ret;
}

static int found_row(void *ctx, const struct mail_row *row)
{
	struct result *res = ctx;

	if (row->modseq > res->highest_modseq)
		res->highest_modseq = row->modseq;
	return uidset_add(&res->found, row->uid);
}

static int search_row(void *ctx, const struct mail_row *row)
{
	struct result *res = ctx;

	res->gone |= row->expunged;
	switch (search_ask(res->q, row, NULL)) {
	case SEARCH_YES:
		return found_row(res, row);
	case SEARCH_UNKNOWN:
		return uidset_add(&res->undecided, row->uid);
	case SEARCH_NO:
		break;
	}
	return 0;
}

/* A large mailbox: the rows of the few that are left. */
static int search_large(struct result *res)
{
	struct session *s = res->q->cmd->session;
	struct uidset uids, gone;
	bool decided = false;
	int ret;

	uidset_init(&uids);
	uidset_init(&gone);
	ret = search_narrow(res->q, &uids, &gone, &decided);
	decided &= !res->q->uses_modseq;	/* the answer names the highest */
	if (ret == 0)
		ret = uidset_add_set(decided ? &res->found : &gone, &uids);
	if (ret == 0)
		ret = mailbox_rows(s->box, &gone, true, search_row, res);
	uidset_deinit(&uids);
	uidset_deinit(&gone);
	return ret;
}

static int search_run(struct result *res)
{
	struct search *q = res->q;
	struct session *s = q->cmd->session;
	int ret = 0;

	/* Nothing but text is asked: the index decides nothing. */
	if (!q->uses_rows && q->n_texts > 0)
		return search_texts(q, &s->view.uids, found_row, res, &res->gone);
	if (q->uses_size)
		ret = find_sizes(res);
	if (ret == 0)
		ret = view_exists(&s->view) >= MAILBOX_LARGE ? search_large(res) :
			mailbox_rows(s->box, &s->view.uids, true, search_row, res);
	if (ret == 0 && !uidset_is_empty(&res->undecided))
		ret = search_texts(q, &res->undecided, found_row, res, &res->gone);
	return ret;
}

/* ---- answers ---- */

/* In parts: a hundred thousand numbers need no memory. */
static int tell_numbers(struct stream *out, const struct uidset *numbers)
{
	struct uidset_iter it;
	struct buf part;
	uint32_t n = uidset_first(numbers, &it);
	int ret = 0;

	buf_init(&part, SIZE_MAX);
	while (n != 0 && ret == 0) {
		for (buf_reset(&part); n != 0 && part.len < SEARCH_PART_BYTES && !part.failed;
		     n = uidset_next(numbers, &it)) {
			buf_append_u8(&part, ' ');
			buf_append_decimal(&part, n);
		}
		ret = part.failed ? -ENOMEM : stream_write(out, part.data, part.len);
	}
	buf_deinit(&part);
	return ret;
}

static int tell_search(struct result *res, const struct uidset *numbers)
{
	struct stream *out = res->q->cmd->session->stream;
	int ret;

	stream_puts(out, "* SEARCH");
	ret = tell_numbers(out, numbers);
	/* RFC 7162 3.1.6 */
	if (res->q->uses_modseq && !uidset_is_empty(numbers))
		stream_printf(out, " (MODSEQ %llu)", (unsigned long long)res->highest_modseq);
	return ret != 0 ? ret : stream_puts(out, "\r\n");
}

/* RFC 4731 3.2: the MODSEQ of what is named, MIN and MAX, or of all. */
static uint64_t result_modseq(const struct result *res, unsigned returns)
{
	const struct uidset *found = &res->found;
	struct mailbox *box = res->q->cmd->session->box;
	struct mail_row row = { .modseq = 0 };
	uint64_t modseq = 0;

	if (returns & (RETURN_ALL | RETURN_COUNT))
		return res->highest_modseq;
	/* Gone meanwhile or not, what the row remembers will do. */
	if ((returns & RETURN_MIN) && mailbox_row(box, uidset_nth(found, 0), &row) >= 0)
		modseq = row.modseq;
	if ((returns & RETURN_MAX) &&
	    mailbox_row(box, uidset_nth(found, uidset_count(found) - 1), &row) >= 0 &&
	    row.modseq > modseq)
		modseq = row.modseq;
	return modseq;
}

static void esearch_items(struct result *res, const struct uidset *numbers, unsigned returns,
			  struct buf *line)
{
	uint64_t count = uidset_count(numbers);

	if (count > 0) {
		if (returns & RETURN_MIN)
			buf_printf(line, " MIN %u", uidset_nth(numbers, 0));
		if (returns & RETURN_MAX)
			buf_printf(line, " MAX %u", uidset_nth(numbers, count - 1));
		if (returns & RETURN_ALL) {
			buf_append_str(line, " ALL ");
			uidset_print(numbers, line);
		}
	}
	if (returns & RETURN_COUNT)
		buf_printf(line, " COUNT %llu", (unsigned long long)count);
	if (count > 0 && res->q->uses_modseq)
		buf_printf(line, " MODSEQ %llu",
			   (unsigned long long)result_modseq(res, returns));
}

static int tell_esearch(struct result *res, const struct uidset *numbers, unsigned returns)
{
	struct cmd *cmd = res->q->cmd;
	struct buf line;
	int ret;

	buf_init(&line, SIZE_MAX);
	buf_append_str(&line, "* ESEARCH (TAG ");
	imap_write_string(&line, cmd->tag, strlen(cmd->tag));
	buf_append_str(&line, cmd->uid ? ") UID" : ")");
	esearch_items(res, numbers, returns, &line);
	buf_append_str(&line, "\r\n");
	ret = line.failed ? -ENOMEM : stream_write(cmd->session->stream, line.data, line.len);
	buf_deinit(&line);
	return ret;
}

static int search_tell(struct result *res, unsigned returns)
{
	struct cmd *cmd = res->q->cmd;
	struct uidset numbers;
	int ret;

	/* RFC 5182 2.4: SAVE alone is not answered. */
	if (returns == RETURN_SAVE)
		return 0;
	uidset_init(&numbers);
	ret = cmd->uid ? uidset_copy(&numbers, &res->found) :
		view_seqs(&cmd->session->view, &res->found, &numbers);
	if (ret == 0)
		ret = returns != 0 ? tell_esearch(res, &numbers, returns) :
			tell_search(res, &numbers);
	uidset_deinit(&numbers);
	return ret;
}

/* RFC 5182 2.4: with MIN or MAX and neither ALL nor COUNT, only those. */
static int search_save(struct result *res, unsigned returns)
{
	struct view *v = &res->q->cmd->session->view;
	const struct uidset *found = &res->found;
	uint64_t count = uidset_count(found);
	int ret = 0;

	v->has_saved_search = true;
	if (!(returns & (RETURN_MIN | RETURN_MAX)) || (returns & (RETURN_ALL | RETURN_COUNT)))
		return uidset_copy(&v->saved_search, found);
	uidset_clear(&v->saved_search);
	if (count > 0 && (returns & RETURN_MIN))
		ret = uidset_add(&v->saved_search, uidset_nth(found, 0));
	if (count > 0 && (returns & RETURN_MAX) && ret == 0)
		ret = uidset_add(&v->saved_search, uidset_nth(found, count - 1));
	return ret;
}

static void search_and_tell(struct search *q, unsigned returns)
{
	struct cmd *cmd = q->cmd;
	struct result res = { .q = q };
	int ret;

	if (q->uses_modseq)
		session_enable_condstore(cmd->session);
	cmd->seqs_used = q->uses_seqs;
	uidset_init(&res.found);
	uidset_init(&res.unsized);
	uidset_init(&res.undecided);
	ret = search_run(&res);
	if (ret == 0)
		ret = search_tell(&res, returns);
	if (ret == 0 && (returns & RETURN_SAVE))
		ret = search_save(&res, returns);
	if (ret != 0) {
		cmd_mailbox_error(cmd, ret);
	} else {
		/* RFC 5530, EXPUNGEISSUED: its example is this one. By UID they
		   are told at once. */
		if (res.gone && (!cmd->uid || cmd->seqs_used))
			cmd->code = "EXPUNGEISSUED";
		cmd_ok(cmd, "%sSEARCH completed.", cmd->uid ? "UID " : "");
	}
	uidset_deinit(&res.found);
	uidset_deinit(&res.unsized);
	uidset_deinit(&res.undecided);
}

static void search_parse_and_run(struct cmd *cmd, const struct imap_arg *args, size_t count,
				 unsigned returns)
{
	const struct charset *charset = charset_bytes;
	struct search q;

	if (count >= 2 && imap_arg_is_atom(&args[0], "CHARSET")) {
		if (!parse_charset(cmd, &args[1], &charset))
			return;
		args += 2;
		count -= 2;
	}
	if (search_parse(&q, cmd, charset, args, count))
		search_and_tell(&q, returns);
	search_deinit(&q);
}

void cmd_search(struct cmd *cmd)
{
	struct view *v = &cmd->session->view;
	const struct imap_arg *args = cmd->args;
	size_t count = cmd->count;
	unsigned returns = 0;

	if (count >= 2 && imap_arg_is_atom(&args[0], "RETURN")) {
		if (!parse_return(cmd, &args[1], &returns))
			return;
		args += 2;
		count -= 2;
	}
	/* RFC 9051 appendix E, 4: no SEARCH responses under IMAP4rev2. */
	if (returns == 0 && (cmd->session->enabled & ENABLED_IMAP4REV2))
		returns = RETURN_ALL;
	search_parse_and_run(cmd, args, count, returns);
	/* RFC 5182 2.1: BAD leaves the saved result as it was. */
	if ((returns & RETURN_SAVE) && cmd->result == CMD_NO) {
		uidset_clear(&v->saved_search);
		v->has_saved_search = true;
	}
}
