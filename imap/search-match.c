/* SPDX-License-Identifier: MIT */
/* Is it a match? With three answers: what is cheap to know is asked first, and
 * often decides alone, so that "not known" is no trouble (Kleene's logic). */
#include "imap/search.h"

#include "imap/command.h"
#include "imap/mailbox.h"

struct asked {
	const struct search *q;
	const struct mail_row *row;
	const uint8_t *answers;
};

static enum search_answer ask_key(const struct asked *a, const struct search_key *k);

static enum search_answer yes_or_no(bool yes)
{
	return yes ? SEARCH_YES : SEARCH_NO;
}

static enum search_answer negate(enum search_answer answer)
{
	return answer == SEARCH_UNKNOWN ? answer : yes_or_no(answer == SEARCH_NO);
}

/* One with the answer that decides is enough: SEARCH_NO of all that must
 * hold, SEARCH_YES of two of which one may. */
static enum search_answer ask_children(const struct asked *a, const struct search_key *k,
				       enum search_answer decides)
{
	enum search_answer answer = negate(decides);

	for (; k != NULL; k = k->next) {
		enum search_answer one = ask_key(a, k);

		if (one == decides)
			return one;
		if (one == SEARCH_UNKNOWN)
			answer = one;
	}
	return answer;
}

static bool row_matches(const struct asked *a, const struct search_key *k)
{
	const struct mail_row *row = a->row;

	switch (k->type) {
	case KEY_FLAG:
		return (row->flags & k->number) != 0;
	case KEY_KEYWORD:
		return k->number <= UINT32_MAX &&
			keyword_set_has(&row->keywords, (uint32_t)k->number);
	case KEY_RECENT:
		return uidset_contains(&a->q->cmd->session->view.recent, row->uid);
	case KEY_UIDS:
		return uidset_contains(&k->set, row->uid);
	case KEY_LARGER:
		return row->size > k->number;
	case KEY_SMALLER:
		return row->size < k->number;
	case KEY_DATES:
		return row->internaldate >= k->from && row->internaldate < k->to;
	case KEY_MODSEQ:
		return row->modseq >= k->number;
	case KEY_ALL:
	case KEY_AND:
	case KEY_OR:
	case KEY_NOT:
	case KEY_SENT:
	case KEY_ENVELOPE:
	case KEY_HEADER:
	case KEY_BODY:
	case KEY_TEXT:
		break;
	}
	return true;
}

static enum search_answer ask_key(const struct asked *a, const struct search_key *k)
{
	switch (k->type) {
	case KEY_AND:
		return ask_children(a, k->children, SEARCH_NO);
	case KEY_OR:
		return ask_children(a, k->children, SEARCH_YES);
	case KEY_NOT:
		return negate(ask_key(a, k->children));
	case KEY_SENT:
	case KEY_ENVELOPE:
	case KEY_HEADER:
	case KEY_BODY:
	case KEY_TEXT:
		return a->answers != NULL ? a->answers[k->number] : SEARCH_UNKNOWN;
	case KEY_LARGER:
	case KEY_SMALLER:
		if (!a->row->size_known)
			return SEARCH_UNKNOWN;
		break;
	case KEY_ALL:
	case KEY_FLAG:
	case KEY_KEYWORD:
	case KEY_RECENT:
	case KEY_UIDS:
	case KEY_DATES:
	case KEY_MODSEQ:
		break;
	}
	return yes_or_no(row_matches(a, k));
}

enum search_answer search_ask(const struct search *q, const struct mail_row *row,
			      const uint8_t *answers)
{
	struct asked a = { .q = q, .row = row, .answers = answers };

	return ask_key(&a, q->root);
}
