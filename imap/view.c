/* SPDX-License-Identifier: MIT */
/* See view.h for the design. The road not taken: a cached flag array per
 * session, as most servers keep. It would have to sleep along (100 000 messages
 * are 600 KB) and would make waking another code path than staying awake. */
#include "imap/view.h"

#include <errno.h>
#include <string.h>

#include "imap/mailbox.h"
#include "imap/session.h"
#include "lib/buf.h"
#include "lib/imap-write.h"
#include "state/state.h"

void view_init(struct view *v)
{
	memset(v, 0, sizeof(*v));
	uidset_init(&v->uids);
	uidset_init(&v->arrived);
	uidset_init(&v->pending);
	uidset_init(&v->expunged);
	uidset_init(&v->recent);
	uidset_init(&v->saved_search);
}

void view_deinit(struct view *v)
{
	uidset_deinit(&v->uids);
	uidset_deinit(&v->arrived);
	uidset_deinit(&v->pending);
	uidset_deinit(&v->expunged);
	uidset_deinit(&v->recent);
	uidset_deinit(&v->saved_search);
	view_init(v);
}

int view_open(struct view *v, struct mailbox *box, bool readonly)
{
	const char *const *names;
	int ret;

	view_deinit(v);
	ret = mailbox_uids(box, &v->uids);
	if (ret != 0)
		return ret;
	/* As of these UIDs; who claims looks again, and what came meanwhile is still to
	   be told. */
	v->uidnext = mailbox_uidnext(box);
	v->told_modseq = mailbox_highestmodseq(box);
	ret = mailbox_claim_recent(box, !readonly, &v->recent);
	if (ret != 0)
		return ret;
	/* Claimed UIDs of messages that another session expunged meanwhile. */
	ret = uidset_intersect(&v->recent, &v->uids);
	if (ret < 0)
		return ret;
	v->keywords_told = mailbox_keywords(box, &names);
	return 0;
}

uint32_t view_exists(const struct view *v)
{
	return (uint32_t)uidset_count(&v->uids);
}

uint32_t view_uid(const struct view *v, uint32_t seq)
{
	return seq == 0 ? 0 : uidset_nth(&v->uids, seq - 1);
}

uint32_t view_seq(const struct view *v, uint32_t uid)
{
	if (!uidset_contains(&v->uids, uid))
		return 0;
	return (uint32_t)uidset_rank(&v->uids, uid) + 1;
}

/* Sequence numbers -> UIDs in one walk over both. */
static int seqs_to_uids(const struct view *v, const struct uidset *seqs,
			struct uidset *uids_r)
{
	size_t i = 0;
	uint64_t before = 0;	/* messages in the ranges of the view left of i */

	for (size_t n = 0; n < seqs->count; n++) {
		uint64_t first = seqs->ranges[n].first, last = seqs->ranges[n].last;

		while (i < v->uids.count && first <= last) {
			const struct uid_range *r = &v->uids.ranges[i];
			uint64_t size = (uint64_t)r->last - r->first + 1;
			uint64_t to = last < before + size ? last : before + size;

			if (first > before + size) {
				before += size;
				i++;
				continue;
			}
			if (uidset_add_range(uids_r, r->first + (uint32_t)(first - before - 1),
					     r->first + (uint32_t)(to - before - 1)) < 0)
				return -ENOMEM;
			first = to + 1;
		}
	}
	return 0;
}

int view_parse_set(const struct view *v, const char *text, bool uid, struct uidset *uids_r)
{
	uint64_t count = uidset_count(&v->uids);
	uint32_t star = uid ? uidset_nth(&v->uids, count ? count - 1 : 0) : (uint32_t)count;
	struct uidset set;
	int ret;

	uidset_clear(uids_r);
	if (strcmp(text, "$") == 0) {	/* RFC 5182 2.1 */
		ret = uidset_copy(uids_r, &v->saved_search);
		return ret < 0 ? ret : uidset_intersect(uids_r, &v->uids);
	}
	uidset_init(&set);
	ret = uidset_parse(&set, text, strlen(text), star, UIDSET_MAX_RANGES);
	if (ret == 0 && uid) {
		ret = uidset_copy(uids_r, &set);
		if (ret == 0)
			ret = uidset_intersect(uids_r, &v->uids);
	} else if (ret == 0) {
		/* RFC 3501 9, seq-number: a number beyond EXISTS is the
		   client's error. */
		if (uidset_is_empty(&set) || set.ranges[set.count - 1].last > count)
			ret = -ERANGE;
		else
			ret = seqs_to_uids(v, &set, uids_r);
	}
	uidset_deinit(&set);
	return ret;
}

int view_seqs(const struct view *v, const struct uidset *uids, struct uidset *seqs_r)
{
	struct uidset_ranker at = { 0 };

	uidset_clear(seqs_r);
	for (size_t n = 0; n < uids->count; n++) {
		uint64_t first = uidset_rank_next(&v->uids, &at, uids->ranges[n].first);
		uint64_t last = uidset_rank_next(&v->uids, &at, uids->ranges[n].last) +
				uidset_contains(&v->uids, uids->ranges[n].last);

		if (last > first && uidset_add_range(seqs_r, (uint32_t)first + 1,
						     (uint32_t)last) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* ---- noting ---- */

/* What went: from the history, or, where that does not reach back, by
 * comparing the whole. */
static int note_expunged(struct view *v, struct mailbox *box)
{
	struct uidset gone;
	bool complete = false;
	int ret;

	uidset_init(&gone);
	ret = mailbox_vanished_since(box, v->told_modseq, &gone, &complete);
	if (ret == 0 && !complete) {
		struct uidset now;

		uidset_init(&now);
		ret = mailbox_uids(box, &now);
		if (ret == 0)
			ret = uidset_copy(&gone, &v->uids);
		if (ret == 0)
			ret = uidset_remove_set(&gone, &now);
		uidset_deinit(&now);
	}
	if (ret == 0)
		ret = uidset_remove_set(&v->arrived, &gone);
	if (ret == 0)
		ret = uidset_intersect(&gone, &v->uids);
	if (ret == 0)
		ret = uidset_add_set(&v->expunged, &gone);
	uidset_deinit(&gone);
	return ret;
}

/* Those of own that somebody changed after own_modseq stay among the changed. */
static int drop_own(struct mailbox *box, struct uidset *changed, const struct uidset *own,
		    uint64_t own_modseq)
{
	struct uidset later;
	int ret;

	uidset_init(&later);
	ret = mailbox_changed_since(box, own_modseq, &later);
	if (ret == 0)
		ret = uidset_intersect(&later, changed);
	if (ret == 0)
		ret = uidset_remove_set(changed, own);
	if (ret == 0)
		ret = uidset_add_set(changed, &later);
	uidset_deinit(&later);
	return ret;
}

static int note_changed(struct view *v, struct mailbox *box, const struct uidset *own,
			uint64_t own_modseq)
{
	struct uidset changed, fresh;
	int ret;

	uidset_init(&changed);
	uidset_init(&fresh);
	ret = mailbox_changed_since(box, v->told_modseq, &changed);
	if (ret == 0)
		ret = uidset_copy(&fresh, &changed);
	if (ret == 0 && v->uidnext > 1)
		ret = uidset_remove_range(&fresh, 1, v->uidnext - 1);
	if (ret == 0)
		ret = uidset_add_set(&v->arrived, &fresh);
	if (ret == 0)
		ret = uidset_intersect(&changed, &v->uids);
	if (ret == 0 && own != NULL)
		ret = drop_own(box, &changed, own, own_modseq);
	if (ret == 0)
		ret = uidset_add_set(&v->pending, &changed);
	uidset_deinit(&changed);
	uidset_deinit(&fresh);
	return ret;
}

int view_update(struct session *s, const struct uidset *own)
{
	return view_update_own(s, own, INT64_MAX);
}

int view_update_own(struct session *s, const struct uidset *own, uint64_t own_modseq)
{
	struct view *v = &s->view;
	int ret;

	s->changed = false;
	ret = mailbox_sync(s->box);
	if (ret != 0)
		return ret;
	if (mailbox_highestmodseq(s->box) == v->told_modseq)
		return 0;
	/* Note the value first: whoever commits in between is seen again. */
	uint64_t modseq = mailbox_highestmodseq(s->box);

	ret = note_changed(v, s->box, own, own_modseq);
	if (ret == 0)
		ret = note_expunged(v, s->box);
	if (ret == 0 && modseq > v->told_modseq)
		v->told_modseq = modseq;
	return ret;
}

bool view_has_news(const struct view *v, bool allow_expunge)
{
	return !uidset_is_empty(&v->arrived) || !uidset_is_empty(&v->pending) ||
	       (allow_expunge && !uidset_is_empty(&v->expunged));
}

void view_flags_told(struct view *v, const struct uidset *uids)
{
	(void)uidset_remove_set(&v->pending, uids);
}

/* ---- telling ---- */

/* The functions below return counts, so a mailbox's positive outcome must not
 * pass through them; the next sync meets and reports it properly. */
static int as_errno(int ret)
{
	return ret > 0 ? -EIO : ret;
}

static void forget_expunged(struct view *v)
{
	(void)uidset_remove_set(&v->uids, &v->expunged);
	(void)uidset_remove_set(&v->pending, &v->expunged);
	(void)uidset_remove_set(&v->recent, &v->expunged);
	(void)uidset_remove_set(&v->saved_search, &v->expunged);
	uidset_clear(&v->expunged);
}

/* RFC 7162 3.2.10: VANISHED instead of EXPUNGE once QRESYNC is enabled. */
static int tell_expunged(struct session *s)
{
	struct view *v = &s->view;
	struct buf line;
	int told = 0;

	if (uidset_is_empty(&v->expunged))
		return 0;
	buf_init(&line, SIZE_MAX);
	if (s->enabled & ENABLED_QRESYNC) {
		buf_append_str(&line, "* VANISHED ");
		uidset_print(&v->expunged, &line);
		buf_append_str(&line, "\r\n");
		told = 1;
	} else {
		struct uidset_iter it;

		for (uint32_t uid = uidset_first(&v->expunged, &it); uid != 0;
		     uid = uidset_next(&v->expunged, &it)) {
			/* Each one told moves the later ones down. */
			uint32_t seq = (uint32_t)uidset_rank(&v->uids, uid) + 1 - (uint32_t)told;

			buf_printf(&line, "* %u EXPUNGE\r\n", seq);
			told++;
		}
	}
	if (line.failed)
		told = -ENOMEM;
	else if (stream_write(s->stream, line.data, line.len) < 0)
		told = stream_error(s->stream);
	buf_deinit(&line);
	if (told > 0)
		forget_expunged(v);
	return told;
}

static int tell_arrived(struct session *s)
{
	struct view *v = &s->view;
	struct uidset recent;
	int ret;

	if (uidset_is_empty(&v->arrived))
		return 0;
	uidset_init(&recent);
	ret = mailbox_claim_recent(s->box, !s->readonly, &recent);
	if (ret == 0)
		ret = uidset_intersect(&recent, &v->arrived);
	if (ret == 0)
		ret = uidset_add_set(&v->recent, &recent);
	uidset_deinit(&recent);
	if (ret == 0)
		ret = uidset_add_set(&v->uids, &v->arrived);
	if (ret != 0)
		return as_errno(ret);
	v->uidnext = v->arrived.ranges[v->arrived.count - 1].last + 1;
	uidset_clear(&v->arrived);
	stream_printf(s->stream, "* %u EXISTS\r\n", view_exists(v));
	/* RFC 9051 appendix E: no RECENT under IMAP4rev2. */
	if (!(s->enabled & ENABLED_IMAP4REV2))
		stream_printf(s->stream, "* %u RECENT\r\n", (uint32_t)uidset_count(&v->recent));
	return 1;
}

int view_write_flags(struct session *s, const struct mail_row *row, struct buf *out)
{
	static const struct {
		uint32_t flag;
		const char *name;
	} system_flags[] = {
		{ MAIL_ANSWERED, "\\Answered" },
		{ MAIL_FLAGGED, "\\Flagged" },
		{ MAIL_DELETED, "\\Deleted" },
		{ MAIL_SEEN, "\\Seen" },
		{ MAIL_DRAFT, "\\Draft" },
	};
	const char *sep = "", *const *names;
	size_t n_keywords;

	buf_append_u8(out, '(');
	for (size_t i = 0; i < sizeof(system_flags) / sizeof(system_flags[0]); i++) {
		if (!(row->flags & system_flags[i].flag))
			continue;
		buf_append_str(out, sep);
		buf_append_str(out, system_flags[i].name);
		sep = " ";
	}
	if (!(s->enabled & ENABLED_IMAP4REV2) && uidset_contains(&s->view.recent, row->uid)) {
		buf_append_str(out, sep);
		buf_append_str(out, "\\Recent");
		sep = " ";
	}
	n_keywords = row->keywords.n_words > 0 ? mailbox_keywords(s->box, &names) : 0;
	for (uint32_t i = 0; i < n_keywords; i++) {
		if (!keyword_set_has(&row->keywords, i))
			continue;
		buf_append_str(out, sep);
		buf_append_str(out, names[i]);
		sep = " ";
	}
	return buf_append_u8(out, ')');
}

struct tell_flags {
	struct session *s;
	int told;
};

/* RFC 7162 3.2.4: after a CONDSTORE enabling command, UID and MODSEQ both. */
unsigned view_unsolicited(const struct session *s)
{
	unsigned what = VIEW_FLAGS;

	if (session_condstore(s))
		what |= VIEW_UID | VIEW_MODSEQ;
	if (s->enabled & ENABLED_IMAP4REV2)
		what |= VIEW_UID;
	return what;
}

int view_write_fetch(struct session *s, const struct mail_row *row, unsigned what)
{
	const char *sep = "";
	struct buf line;
	int ret;

	buf_init(&line, SIZE_MAX);
	buf_printf(&line, "* %u FETCH (", view_seq(&s->view, row->uid));
	if (what & VIEW_UID) {
		buf_printf(&line, "UID %u", row->uid);
		sep = " ";
	}
	if (what & VIEW_FLAGS) {
		buf_printf(&line, "%sFLAGS ", sep);
		view_write_flags(s, row, &line);
		sep = " ";
	}
	if (what & VIEW_MODSEQ)
		buf_printf(&line, "%sMODSEQ (%llu)", sep, (unsigned long long)row->modseq);
	buf_append_str(&line, ")\r\n");
	ret = line.failed ? -ENOMEM : stream_write(s->stream, line.data, line.len);
	buf_deinit(&line);
	return ret;
}

static int tell_flags_row(void *ctx, const struct mail_row *row)
{
	struct tell_flags *t = ctx;

	t->told++;
	return view_write_fetch(t->s, row, view_unsolicited(t->s));
}

static int tell_flags(struct session *s)
{
	struct view *v = &s->view;
	struct tell_flags t = { .s = s };
	struct uidset now;
	int ret;

	if (uidset_is_empty(&v->pending))
		return 0;
	uidset_init(&now);
	ret = uidset_copy(&now, &v->pending);
	if (ret == 0)
		ret = uidset_remove_set(&now, &v->expunged);
	if (ret == 0)
		ret = mailbox_rows(s->box, &now, false, tell_flags_row, &t);
	if (ret == 0)
		uidset_clear(&v->pending);
	uidset_deinit(&now);
	return ret != 0 ? as_errno(ret) : t.told;
}

int view_write_keywords(struct session *s)
{
	static const char system_flags[] = "\\Answered \\Flagged \\Deleted \\Seen \\Draft";
	const char *const *names;
	size_t count = mailbox_keywords(s->box, &names);
	struct buf list;
	int ret;

	buf_init(&list, SIZE_MAX);
	buf_append_str(&list, system_flags);
	for (size_t i = 0; i < count; i++)
		buf_printf(&list, " %s", names[i]);
	buf_append_u8(&list, 0);
	if (list.failed) {
		buf_deinit(&list);
		return -ENOMEM;
	}
	stream_printf(s->stream, "* FLAGS (%s)\r\n", (char *)list.data);
	if (s->readonly)
		ret = stream_puts(s->stream, "* OK [PERMANENTFLAGS ()] Read-only mailbox.\r\n");
	else
		ret = stream_printf(s->stream, "* OK [PERMANENTFLAGS (%s \\*)] Flags permitted.\r\n",
				    (char *)list.data);
	s->view.keywords_told = (uint32_t)count;
	buf_deinit(&list);
	return ret;
}

int view_tell_keywords(struct session *s)
{
	const char *const *names;

	int ret;

	if (mailbox_keywords(s->box, &names) <= s->view.keywords_told)
		return 0;
	ret = view_write_keywords(s);
	return ret < 0 ? ret : 1;
}

struct floor {
	uint64_t remembered, lowest;
};

static int floor_row(void *ctx, const struct mail_row *row)
{
	struct floor *f = ctx;

	f->remembered++;
	if (row->modseq < f->lowest)
		f->lowest = row->modseq;
	return 0;
}

/* RFC 7162 3.2 and 6: the client believes itself up to date with the highest
 * MODSEQ it saw, so it has to be told when an EXPUNGE below that still waits.
 * Where the history does not tell the EXPUNGE's MODSEQ, 1 is low enough. */
int view_tell_floor(struct session *s)
{
	const struct view *v = &s->view;
	struct floor f = { .lowest = UINT64_MAX };
	int ret;

	if (!(s->enabled & ENABLED_QRESYNC) || uidset_is_empty(&v->expunged))
		return 0;
	ret = mailbox_rows(s->box, &v->expunged, true, floor_row, &f);
	if (ret != 0)
		return as_errno(ret);
	if (f.remembered < uidset_count(&v->expunged) || f.lowest < 2)
		f.lowest = 2;
	return stream_printf(s->stream, "* OK [HIGHESTMODSEQ %llu] Expunges wait.\r\n",
			     (unsigned long long)f.lowest - 1);
}

int view_tell(struct session *s, bool allow_expunge)
{
	struct view *v = &s->view;
	int told = 0, ret;

	if (!view_has_news(v, allow_expunge))
		return 0;
	/* The client must know a keyword before it meets it in a FETCH. */
	ret = view_tell_keywords(s);
	if (ret < 0)
		return ret;
	told += ret;
	if (allow_expunge) {
		ret = tell_expunged(s);
		if (ret < 0)
			return ret;
		told += ret;
	}
	ret = tell_arrived(s);
	if (ret < 0)
		return ret;
	told += ret;
	ret = tell_flags(s);
	return ret < 0 ? ret : told + ret;
}
