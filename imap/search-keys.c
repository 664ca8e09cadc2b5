/* SPDX-License-Identifier: MIT */
/* search-key (RFC 3501 6.4.4 and section 9, RFC 7162 3.1.5, RFC 5182). */
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
/* A string to look for. Its folded form may be eleven times as long, and the
 * table beside it four times that. */
#define SEARCH_STRING_MAX	65536

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
	/* "$" names no number (RFC 5182 2.1). */
	q->uses_seqs |= !uid && strcmp(arg->data, "$") != 0;
	ret = view_parse_set(&q->cmd->session->view, arg->data, uid, &k->set);
	if (ret == -ERANGE)
		return bad(q, "No such message number.");
	return ret == 0 ? k : bad(q, "Not a set of messages.");
}

static struct search_key *parse_number(struct search *q, const struct imap_arg *arg,
				       enum key_type type)
{
	struct search_key *k = key_create(q, type);

	q->uses_size = q->uses_rows = true;
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

/* A key whose answer search-text.c finds. */
static struct search_key *text_key(struct search *q, enum key_type type)
{
	struct search_key *k = key_create(q, type);

	k->number = q->n_texts++;
	k->next_text = q->texts;
	q->texts = k;
	q->uses_envelope |= type == KEY_SENT || type == KEY_ENVELOPE;
	q->uses_header |= type == KEY_HEADER;
	q->uses_body |= type == KEY_BODY || type == KEY_TEXT;
	return k;
}

/* RFC 3501 6.4.4: time and zone are disregarded. name without its SENT. */
static struct search_key *parse_date(struct search *q, const struct imap_arg *arg,
				     const char *name, bool sent)
{
	struct search_key *k = sent ? text_key(q, KEY_SENT) : key_create(q, KEY_DATES);
	int64_t (*begin)(int year, int month, int day) = sent ? search_day : midnight;
	const char *text = imap_arg_astring(arg);
	int year, month, day;

	if (text == NULL || imap_parse_date(text, &year, &month, &day) < 0)
		return bad(q, "Date expected.");
	q->uses_rows |= !sent;
	k->from = INT64_MIN;
	k->to = INT64_MAX;
	if (strcmp(name, "BEFORE") != 0)
		k->from = begin(year, month, day);
	if (strcmp(name, "BEFORE") == 0)
		k->to = begin(year, month, day);
	else if (strcmp(name, "ON") == 0)
		k->to = begin(year, month, day + 1);
	return k;
}

static struct search_key *parse_keyword(struct search *q, const struct imap_arg *arg)
{
	struct search_key *k = key_create(q, KEY_KEYWORD);
	uint32_t n;

	if (!flag_is_keyword(arg))
		return bad(q, "Keyword expected.");
	q->uses_rows = true;
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
	q->uses_modseq = q->uses_rows = true;
	return k;
}

/* ---- keys with a string ---- */

static struct search_key *parse_needle(struct search *q, struct search_key *k,
				       const struct imap_arg *arg)
{
	const char *text = imap_arg_astring(arg);

	if (text == NULL)
		return bad(q, "String expected.");
	if (arg->len > SEARCH_STRING_MAX) {
		cmd_no(q->cmd, "LIMIT", "A string to search for is too long.");
		return NULL;
	}
	if (!text_needle_init(&k->needle, q->cmd->session->arena, q->charset, text, arg->len))
		return bad(q, "A string is not of the charset named.");
	return k;
}

static const struct {
	const char *name;
	enum envelope_field field;
	bool key;		/* a search key besides HEADER */
} envelope_names[] = {
	{ "BCC", ENVELOPE_BCC, true },
	{ "CC", ENVELOPE_CC, true },
	{ "FROM", ENVELOPE_FROM, true },
	{ "SUBJECT", ENVELOPE_SUBJECT, true },
	{ "TO", ENVELOPE_TO, true },
	{ "DATE", ENVELOPE_DATE, false },
	{ "IN-REPLY-TO", ENVELOPE_IN_REPLY_TO, false },
	{ "MESSAGE-ID", ENVELOPE_MESSAGE_ID, false },
};

/* NULL: not one of those. (In an ENVELOPE, Sender and Reply-To may be From.) */
static struct search_key *envelope_key(struct search *q, const char *name, bool header)
{
	for (size_t i = 0; i < sizeof(envelope_names) / sizeof(envelope_names[0]); i++) {
		struct search_key *k;

		if (strcasecmp(name, envelope_names[i].name) != 0 ||
		    !(header || envelope_names[i].key))
			continue;
		k = text_key(q, KEY_ENVELOPE);
		k->field = envelope_names[i].field;
		return k;
	}
	return NULL;
}

static bool is_list(enum envelope_field field)
{
	return field == ENVELOPE_FROM || field == ENVELOPE_TO || field == ENVELOPE_CC ||
		field == ENVELOPE_BCC;
}

/* HEADER name string. What the ENVELOPE has is asked of it first, as it is
 * cached, and of the header where it does not tell all of the field. */
static struct search_key *parse_header(struct search *q, struct args *a)
{
	struct search_key *k;
	const char *name;

	if (a->end - a->at < 2)
		return bad(q, "HEADER takes a field name and a string.");
	name = imap_arg_astring(a->at);
	if (name == NULL)
		return bad(q, "HEADER takes a field name and a string.");
	k = envelope_key(q, name, true);
	if (k == NULL)
		k = text_key(q, KEY_HEADER);
	k->name = name;
	k->name_len = a->at->len;
	q->uses_header = true;
	a->at += 2;
	if (parse_needle(q, k, &a->at[-1]) == NULL)
		return NULL;
	if (k->type == KEY_ENVELOPE && is_list(k->field) && !search_list_may_tell(&k->needle))
		k->type = KEY_HEADER;
	return k;
}

/* BODY, TEXT, FROM and so on. *known_r false: not one of these. */
static struct search_key *parse_text(struct search *q, const char *name, struct args *a,
				     bool *known_r)
{
	struct search_key *k = NULL;

	*known_r = true;
	if (strcasecmp(name, "HEADER") == 0)
		return parse_header(q, a);
	if (strcasecmp(name, "BODY") == 0)
		k = text_key(q, KEY_BODY);
	else if (strcasecmp(name, "TEXT") == 0)
		k = text_key(q, KEY_TEXT);
	else
		k = envelope_key(q, name, false);
	*known_r = k != NULL;
	if (k == NULL)
		return NULL;
	if (a->at == a->end)
		return bad(q, "Search key without its argument.");
	return parse_needle(q, k, a->at++);
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
		q->uses_rows |= k->type == KEY_FLAG;
		return plain_keys[i].not ? key_not(q, k) : k;
	}
	if (strcasecmp(name, "NEW") == 0) {	/* RECENT UNSEEN */
		struct search_key *k = key_create(q, KEY_AND);

		q->uses_rows = true;
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
		"SENTBEFORE", "SENTON", "SENTSINCE",
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
	case 5:
	case 6:
	case 7:
		return parse_date(q, arg, names[n], false);
	default:
		return parse_date(q, arg, names[n] + strlen("SENT"), true);
	}
}

static struct search_key *parse_atom(struct search *q, struct args *a)
{
	const struct imap_arg *arg = a->at++;
	struct search_key *k = parse_plain(q, arg->data);
	bool known;

	if (k != NULL)
		return k;
	k = parse_with_arg(q, arg->data, a, &known);
	if (!known)
		k = parse_text(q, arg->data, a, &known);
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
	return bad(q, "Unknown search key.");
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

bool search_parse(struct search *q, struct cmd *cmd, const struct charset *charset,
		  const struct imap_arg *args, size_t count)
{
	*q = (struct search){ .cmd = cmd, .charset = charset };
	q->root = parse_all_of(q, args, count);
	return q->root != NULL;
}

void search_deinit(struct search *q)
{
	for (struct search_key *k = q->sets; k != NULL; k = k->next_set)
		uidset_deinit(&k->set);
	q->sets = NULL;
}
