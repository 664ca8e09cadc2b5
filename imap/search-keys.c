/* SPDX-License-Identifier: MIT */
/* search-key (RFC 3501 6.4.4 and section 9, RFC 7162 3.1.5). Everything here is
 * answered from the index; what needs the text of messages is refused by name. */
#include "imap/search.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "imap/command.h"
#include "imap/flags.h"
#include "imap/mailbox.h"
#include "lib/imap-write.h"

/* OR and NOT nest without parentheses: bounded for the stack's sake. */
#define SEARCH_DEPTH_MAX	100

enum key_type {
	KEY_ALL,
	KEY_AND,		/* all of children */
	KEY_OR,			/* one of children */
	KEY_NOT,		/* not the one child */
	KEY_FLAG,		/* number: enum mail_flag */
	KEY_KEYWORD,		/* number; UINT64_MAX: no message has it */
	KEY_RECENT,
	KEY_UIDS,		/* set */
	KEY_LARGER,
	KEY_SMALLER,
	KEY_DATES,		/* [from, to) */
	KEY_MODSEQ,
};
struct search_key {
	enum key_type type;
	struct search_key *children, *next;
	struct search_key *next_set;
	uint64_t number;
	int64_t from, to;
	struct uidset set;
};
struct args {
	const struct imap_arg *at, *end;
};

static struct search_key *key_create(struct search *q, enum key_type type)
{
	struct search_key *k = arena_alloc(q->cmd->session->arena, sizeof(*k));

	k->type = type;
	return k;
}

static struct search_key *key_not(struct search *q, struct search_key *child)
{
	struct search_key *k = child != NULL ? key_create(q, KEY_NOT) : NULL;

	if (k != NULL)
		k->children = child;
	return k;
}

static struct search_key *bad(struct search *q, const char *text)
{
	if (q->cmd->result == CMD_NONE)
		cmd_bad(q->cmd, "%s", text);
	return NULL;
}

/* ---- keys with an argument ---- */

static struct search_key *parse_uids(struct search *q, const struct imap_arg *arg, bool uid)
{
	struct search_key *k = key_create(q, KEY_UIDS);
	int ret;

	if (arg->type != IMAP_ARG_ATOM)
		return bad(q, "Not a set of messages.");
	uidset_init(&k->set);
	k->next_set = q->sets;
	q->sets = k;
	q->uses_seqs |= !uid;
	ret = view_parse_set(&q->cmd->session->view, arg->data, uid, &k->set);
	if (ret == -ERANGE)
		return bad(q, "No such message number.");
	return ret == 0 ? k : bad(q, "Not a set of messages.");
}

static struct search_key *parse_number(struct search *q, const struct imap_arg *arg,
				       enum key_type type)
{
	struct search_key *k = key_create(q, type);

	q->uses_size = true;
	return imap_arg_u64(arg, &k->number) ? k : bad(q, "Number expected.");
}

/* Midnight in the zone that INTERNALDATE is shown in; mktime() takes the
 * 32nd day for the next month's first. */
static int64_t midnight(int year, int month, int day)
{
	struct tm tm = { .tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day,
		.tm_isdst = -1 };

	return mktime(&tm);
}

/* RFC 3501 6.4.4: time and zone are disregarded. */
static struct search_key *parse_date(struct search *q, const struct imap_arg *arg,
				     const char *name)
{
	struct search_key *k = key_create(q, KEY_DATES);
	const char *text = imap_arg_astring(arg);
	int year, month, day;

	if (text == NULL || imap_parse_date(text, &year, &month, &day) < 0)
		return bad(q, "Date expected.");
	k->from = INT64_MIN;
	k->to = INT64_MAX;
	if (strcmp(name, "BEFORE") != 0)
		k->from = midnight(year, month, day);
	if (strcmp(name, "BEFORE") == 0)
		k->to = midnight(year, month, day);
	else if (strcmp(name, "ON") == 0)
		k->to = midnight(year, month, day + 1);
	return k;
}

static struct search_key *parse_keyword(struct search *q, const struct imap_arg *arg)
{
	struct search_key *k = key_create(q, KEY_KEYWORD);
	uint32_t n;

	if (!flag_is_keyword(arg))
		return bad(q, "Keyword expected.");
	k->number = UINT64_MAX;
	if (mailbox_keyword(q->cmd->session->box, arg->data, false, &n) == 0)
		k->number = n;
	return k;
}

/* MODSEQ [entry-name entry-type] n: there is one MODSEQ for all of a message. */
static struct search_key *parse_modseq(struct search *q, struct args *a)
{
	struct search_key *k = key_create(q, KEY_MODSEQ);

	if (a->at < a->end && a->at->type == IMAP_ARG_STRING) {
		if (a->end - a->at < 2 || !(imap_arg_is_atom(&a->at[1], "PRIV") ||
					    imap_arg_is_atom(&a->at[1], "SHARED") ||
					    imap_arg_is_atom(&a->at[1], "ALL")))
			return bad(q, "MODSEQ: entry type expected.");
		a->at += 2;
	}
	if (a->at == a->end || !imap_arg_u64(a->at, &k->number))
		return bad(q, "MODSEQ: number expected.");
	a->at++;
	q->uses_modseq = true;
	return k;
}

/* ---- all keys ---- */

static struct search_key *parse_key(struct search *q, struct args *a);

static struct search_key *parse_or(struct search *q, struct args *a)
{
	struct search_key *k = key_create(q, KEY_OR);

	k->children = parse_key(q, a);
	if (k->children == NULL)
		return NULL;
	k->children->next = parse_key(q, a);
	return k->children->next != NULL ? k : NULL;
}

static struct search_key *parse_all_of(struct search *q, const struct imap_arg *args, size_t count)
{
	struct search_key *k = key_create(q, KEY_AND), **tail = &k->children;
	struct args a;

	if (count == 0)
		return bad(q, "Search key expected.");
	a = (struct args){ args, args + count };
	while (a.at < a.end) {
		*tail = parse_key(q, &a);
		if (*tail == NULL)
			return NULL;
		tail = &(*tail)->next;
	}
	return k;
}

static const struct {
	const char *name;
	enum key_type type;
	uint32_t flag;
	bool not;
} plain_keys[] = {
	{ "ALL", KEY_ALL, 0, false },
	{ "ANSWERED", KEY_FLAG, MAIL_ANSWERED, false },
	{ "UNANSWERED", KEY_FLAG, MAIL_ANSWERED, true },
	{ "DELETED", KEY_FLAG, MAIL_DELETED, false },
	{ "UNDELETED", KEY_FLAG, MAIL_DELETED, true },
	{ "DRAFT", KEY_FLAG, MAIL_DRAFT, false },
	{ "UNDRAFT", KEY_FLAG, MAIL_DRAFT, true },
	{ "FLAGGED", KEY_FLAG, MAIL_FLAGGED, false },
	{ "UNFLAGGED", KEY_FLAG, MAIL_FLAGGED, true },
	{ "SEEN", KEY_FLAG, MAIL_SEEN, false },
	{ "UNSEEN", KEY_FLAG, MAIL_SEEN, true },
	{ "RECENT", KEY_RECENT, 0, false },
	{ "OLD", KEY_RECENT, 0, true },
};

static struct search_key *parse_plain(struct search *q, const char *name)
{
	for (size_t i = 0; i < sizeof(plain_keys) / sizeof(plain_keys[0]); i++) {
		struct search_key *k;

		if (strcasecmp(name, plain_keys[i].name) != 0)
			continue;
		k = key_create(q, plain_keys[i].type);
		k->number = plain_keys[i].flag;
		return plain_keys[i].not ? key_not(q, k) : k;
	}
	if (strcasecmp(name, "NEW") == 0) {	/* RECENT UNSEEN */
		struct search_key *k = key_create(q, KEY_AND);

		k->children = key_create(q, KEY_RECENT);
		k->children->next = key_not(q, key_create(q, KEY_FLAG));
		k->children->next->children->number = MAIL_SEEN;
		return k;
	}
	return NULL;
}

/* Keys with one argument of their own. *known_r false: not one of these. */
static struct search_key *parse_with_arg(struct search *q, const char *name, struct args *a,
					 bool *known_r)
{
	static const char *const names[] = {
		"KEYWORD", "UNKEYWORD", "UID", "LARGER", "SMALLER", "BEFORE", "ON", "SINCE",
	};
	const struct imap_arg *arg;
	size_t n = 0;

	while (n < sizeof(names) / sizeof(names[0]) && strcasecmp(name, names[n]) != 0)
		n++;
	*known_r = n < sizeof(names) / sizeof(names[0]);
	if (!*known_r)
		return NULL;
	if (a->at == a->end)
		return bad(q, "Search key without its argument.");
	arg = a->at++;
	switch (n) {
	case 0:
		return parse_keyword(q, arg);
	case 1:
		return key_not(q, parse_keyword(q, arg));
	case 2:
		return parse_uids(q, arg, true);
	case 3:
		return parse_number(q, arg, KEY_LARGER);
	case 4:
		return parse_number(q, arg, KEY_SMALLER);
	default:
		return parse_date(q, arg, names[n]);
	}
}

static struct search_key *refuse(struct search *q, const char *name)
{
	static const char *const text_keys[] = {
		"BCC", "BODY", "CC", "FROM", "HEADER", "SENTBEFORE", "SENTON", "SENTSINCE",
		"SUBJECT", "TEXT", "TO",
	};

	for (size_t i = 0; i < sizeof(text_keys) / sizeof(text_keys[0]); i++) {
		if (strcasecmp(name, text_keys[i]) != 0)
			continue;
		if (q->cmd->result == CMD_NONE)
			cmd_no(q->cmd, "CANNOT", "SEARCH %s is not supported yet.", text_keys[i]);
		return NULL;
	}
	return bad(q, "Unknown search key.");
}

static struct search_key *parse_atom(struct search *q, struct args *a)
{
	const struct imap_arg *arg = a->at++;
	struct search_key *k = parse_plain(q, arg->data);
	bool known;

	if (k != NULL)
		return k;
	k = parse_with_arg(q, arg->data, a, &known);
	if (known)
		return k;
	if (strcasecmp(arg->data, "NOT") == 0)
		return key_not(q, parse_key(q, a));
	if (strcasecmp(arg->data, "OR") == 0)
		return parse_or(q, a);
	if (strcasecmp(arg->data, "MODSEQ") == 0)
		return parse_modseq(q, a);
	if (strchr("0123456789*$", arg->data[0]) != NULL)
		return parse_uids(q, arg, false);
	return refuse(q, arg->data);
}

static struct search_key *parse_key(struct search *q, struct args *a)
{
	struct search_key *k;

	if (a->at == a->end)
		return bad(q, "Search key expected.");
	if (q->depth == SEARCH_DEPTH_MAX)
		return bad(q, "Search keys are nested too deeply.");
	q->depth++;
	if (a->at->type == IMAP_ARG_LIST) {
		k = parse_all_of(q, a->at->items, a->at->count);
		a->at++;
	} else if (a->at->type == IMAP_ARG_ATOM) {
		k = parse_atom(q, a);
	} else {
		k = bad(q, "Search keys are atoms.");
	}
	q->depth--;
	return k;
}

bool search_parse(struct search *q, struct cmd *cmd, const struct imap_arg *args, size_t count)
{
	*q = (struct search){ .cmd = cmd };
	q->root = parse_all_of(q, args, count);
	return q->root != NULL;
}

void search_deinit(struct search *q)
{
	for (struct search_key *k = q->sets; k != NULL; k = k->next_set)
		uidset_deinit(&k->set);
	q->sets = NULL;
}

/* ---- matching ---- */

static bool key_matches(const struct search *q, const struct search_key *k,
			const struct mail_row *row);

static bool all_match(const struct search *q, const struct search_key *k,
		      const struct mail_row *row)
{
	for (; k != NULL; k = k->next) {
		if (!key_matches(q, k, row))
			return false;
	}
	return true;
}

static bool key_matches(const struct search *q, const struct search_key *k,
			const struct mail_row *row)
{
	switch (k->type) {
	case KEY_ALL:
		return true;
	case KEY_AND:
		return all_match(q, k->children, row);
	case KEY_NOT:
		return !key_matches(q, k->children, row);
	case KEY_OR:
		return key_matches(q, k->children, row) ||
			key_matches(q, k->children->next, row);
	case KEY_FLAG:
		return (row->flags & k->number) != 0;
	case KEY_KEYWORD:
		return k->number <= UINT32_MAX &&
			keyword_set_has(&row->keywords, (uint32_t)k->number);
	case KEY_RECENT:
		return uidset_contains(&q->cmd->session->view.recent, row->uid);
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
	}
	return false;
}

bool search_matches(const struct search *q, const struct mail_row *row)
{
	return key_matches(q, q->root, row);
}
