/* SPDX-License-Identifier: MIT */
/* LIST (RFC 3501 6.3.8) with its extensions: LIST-EXTENDED (RFC 5258), CHILDREN
 * (RFC 3348), SPECIAL-USE (RFC 6154), LIST-STATUS (RFC 5819); and LSUB (RFC
 * 3501 6.3.9).
 *
 * First everything that could be listed is gathered, with what is known of it:
 * the mailboxes there are, what is subscribed, and all names above them. Then
 * each name is asked whether it matches the patterns and whether it is what the
 * selection options want, and those above it are told. What is left is to
 * write down. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "imap/command.h"
#include "imap/list-match.h"
#include "imap/status.h"
#include "lib/imap-write.h"
#include "lib/log.h"
#include "lib/special-use.h"

/* All patterns of one command: enough for any client, and few enough to
 * compare them with ten thousand names. */
#define LIST_PATTERNS_MAX_BYTES	8192

enum list_options {
	OPT_SUBSCRIBED = 1, OPT_SPECIAL_USE = 2, OPT_REMOTE = 4, OPT_RECURSIVE = 8,
	OPT_CHILDREN = 16, OPT_STATUS = 32,
};
struct list_entry {
	const char *name;		/* UTF-8 */
	bool listed;			/* a mailbox, or above one */
	bool exists, children;
	bool subscribed;
	const char *use;		/* "\\Sent", or NULL */
	/* found out */
	bool matches;			/* a pattern */
	bool selected;			/* by the options */
	bool selected_below;		/* one below it is, */
	bool hidden_below;		/* and does not match itself */
};
struct list {
	struct cmd *cmd;
	struct session *session;
	bool lsub, extended, utf8, percent;
	unsigned select, give;		/* enum list_options */
	bool status[STATUS_COUNT];
	char separator;
	struct list_pattern **patterns;
	size_t n_patterns, pattern_bytes;
	struct list_entry *entries;
	size_t n, cap;
};

/* ---- arguments ---- */

struct option {
	const char *name;
	enum list_options option;
};

static bool parse_options(struct list *l, const struct imap_arg *list, const struct option *known,
			  size_t n_known, unsigned *options)
{
	for (size_t i = 0; i < list->count; i++) {
		size_t n = 0;

		while (n < n_known && !imap_arg_is_atom(&list->items[i], known[n].name))
			n++;
		if (n == n_known) {
			/* RFC 5258 3: unknown ones are BAD. */
			cmd_bad(l->cmd, "Unknown option of LIST.");
			return false;
		}
		*options |= known[n].option;
		if (known[n].option != OPT_STATUS)
			continue;
		if (++i == list->count) {
			cmd_bad(l->cmd, "STATUS needs a list of items.");
			return false;
		}
		if (!status_parse_items(l->cmd, &list->items[i], l->status))
			return false;
	}
	return true;
}

static bool parse_select(struct list *l, const struct imap_arg *list)
{
	static const struct option known[] = {
		{ "SUBSCRIBED", OPT_SUBSCRIBED }, { "SPECIAL-USE", OPT_SPECIAL_USE },
		{ "REMOTE", OPT_REMOTE }, { "RECURSIVEMATCH", OPT_RECURSIVE },
	};

	if (!parse_options(l, list, known, sizeof(known) / sizeof(known[0]), &l->select))
		return false;
	/* RFC 5258 3.1 */
	if ((l->select & OPT_RECURSIVE) && !(l->select & (OPT_SUBSCRIBED | OPT_SPECIAL_USE))) {
		cmd_bad(l->cmd, "RECURSIVEMATCH needs SUBSCRIBED or SPECIAL-USE.");
		return false;
	}
	/* SUBSCRIBED implies the return option, and SPECIAL-USE does (RFC 6154 2). */
	l->give |= l->select & (OPT_SUBSCRIBED | OPT_SPECIAL_USE);
	return true;
}

static bool parse_return(struct list *l, const struct imap_arg *list)
{
	static const struct option known[] = {
		{ "SUBSCRIBED", OPT_SUBSCRIBED }, { "SPECIAL-USE", OPT_SPECIAL_USE },
		{ "CHILDREN", OPT_CHILDREN }, { "STATUS", OPT_STATUS },
	};

	return parse_options(l, list, known, sizeof(known) / sizeof(known[0]), &l->give);
}

/* RFC 5258 3: what is too long, or too much, is no error, and matches nothing;
 * so does an empty pattern among several, or in any extended LIST. */
static void pattern_add(struct list *l, const char *reference, const char *pattern)
{
	size_t len = strlen(reference) + strlen(pattern);

	if (*pattern == '\0' || len > LIST_PATTERN_MAX_BYTES ||
	    len > LIST_PATTERNS_MAX_BYTES - l->pattern_bytes)
		return;
	l->pattern_bytes += len;
	l->patterns[l->n_patterns] =
		list_pattern_create(l->session->arena,
				    arena_printf(l->session->arena, "%s%s", reference, pattern),
				    l->separator);
	l->percent |= list_pattern_has_percent(l->patterns[l->n_patterns]);
	l->n_patterns++;
}

static bool parse_patterns(struct list *l, const char *reference, const struct imap_arg *arg)
{
	const struct imap_arg *items = arg;
	size_t count = 1;

	if (arg->type == IMAP_ARG_LIST && !l->lsub) {
		items = arg->items;
		count = arg->count;
		l->extended = true;
	}
	l->patterns = arena_alloc(l->session->arena, (count + 1) * sizeof(struct list_pattern *));
	for (size_t i = 0; i < count; i++) {
		const char *pattern = imap_arg_list_mailbox(&items[i]);

		if (pattern == NULL)
			return false;
		pattern_add(l, reference, pattern);
	}
	return count > 0;
}

/* "LIST" [SP (selection)] SP reference SP pattern(s) [SP "RETURN" SP (options)] */
static bool list_parse(struct list *l)
{
	struct cmd *cmd = l->cmd;
	const struct imap_arg *args = cmd->args, *pattern;
	size_t i = 0, count = cmd->count;
	const char *reference;

	if (!l->lsub && count > 0 && args[0].type == IMAP_ARG_LIST) {
		l->extended = true;
		i = 1;
		if (!parse_select(l, &args[0]))
			return false;
	}
	reference = i < count ? imap_arg_astring(&args[i++]) : NULL;
	pattern = i < count ? &args[i++] : NULL;
	if (!l->lsub && i + 2 == count && imap_arg_is_atom(&args[i], "RETURN") &&
	    args[i + 1].type == IMAP_ARG_LIST) {
		l->extended = true;
		if (!parse_return(l, &args[i + 1]))
			return false;
		i += 2;
	}
	if (reference == NULL || pattern == NULL || i != count ||
	    !parse_patterns(l, reference, pattern)) {
		cmd_bad(cmd, "%s takes a reference and a pattern.", cmd->name);
		return false;
	}
	return true;
}

/* ---- what there is ---- */

static int entry_add(struct list *l, const struct list_entry *e)
{
	if (l->n == l->cap) {
		size_t cap = l->cap != 0 ? l->cap * 2 : 64;
		void *entries = reallocarray(l->entries, cap, sizeof(*l->entries));

		if (entries == NULL)
			return -ENOMEM;
		l->entries = entries;
		l->cap = cap;
	}
	l->entries[l->n] = *e;
	l->entries[l->n++].name = arena_strdup(l->session->arena, e->name);
	return 0;
}

static int add_mailbox(void *ctx, const struct mailbox_info *info)
{
	return entry_add(ctx, &(struct list_entry){
		.name = info->name, .listed = true, .exists = !info->noselect,
		.children = info->has_children });
}

/* With the names above it, which may not be there. */
static int add_subscribed(void *ctx, const char *name)
{
	struct list *l = ctx;
	int ret = entry_add(l, &(struct list_entry){ .name = name, .subscribed = true });

	for (const char *at = strchr(name, l->separator); ret == 0 && at != NULL;
	     at = strchr(at + 1, l->separator))
		ret = entry_add(l, &(struct list_entry){
			.name = arena_strndup(l->session->arena, name, (size_t)(at - name)) });
	return ret;
}

static int entry_cmp(const void *a, const void *b, void *ctx)
{
	const struct list_entry *x = a, *y = b;
	const struct list *l = ctx;

	return list_name_cmp(x->name, y->name, l->separator);
}

static void merge(struct list *l)
{
	size_t n = 0;

	if (l->n == 0)
		return;
	qsort_r(l->entries, l->n, sizeof(*l->entries), entry_cmp, l);
	for (size_t i = 1; i < l->n; i++) {
		struct list_entry *to = &l->entries[n], *e = &l->entries[i];

		if (strcmp(to->name, e->name) != 0) {
			l->entries[++n] = *e;
			continue;
		}
		to->listed |= e->listed;
		to->exists |= e->exists;
		to->children |= e->children;
		to->subscribed |= e->subscribed;
	}
	l->n = n + 1;
}

static int gather(struct list *l, struct mail_store *store)
{
	int ret = l->lsub ? 0 : mail_store_list(store, add_mailbox, l);

	if (ret == 0 && (l->lsub || (l->give & OPT_SUBSCRIBED)))
		ret = mail_store_subscriptions(store, add_subscribed, l);
	merge(l);
	return ret;
}

/* ---- what is asked for ---- */

static bool matches(struct list *l, const char *name)
{
	bool match = false;
	struct buf b;

	buf_init(&b, SIZE_MAX);
	if (l->utf8)
		buf_append_str(&b, name);
	else
		imap_utf7_encode(name, &b);
	buf_append_u8(&b, 0);
	for (size_t i = 0; !b.failed && !match && i < l->n_patterns; i++)
		match = list_pattern_match(l->patterns[i], (char *)b.data);
	buf_deinit(&b);
	return match;
}

static bool selected(const struct list *l, const struct list_entry *e)
{
	if (l->lsub)
		return e->subscribed;
	if ((l->select & OPT_SUBSCRIBED) && !e->subscribed)
		return false;
	if ((l->select & OPT_SPECIAL_USE) && e->use == NULL)
		return false;
	return (l->select & (OPT_SUBSCRIBED | OPT_SPECIAL_USE)) != 0 || e->exists;
}

/* The names above it hear of one that is selected. */
static void tell_above(struct list *l, const struct list_entry *e)
{
	const char *name = e->name;

	for (const char *at = strchr(name, l->separator); at != NULL;
	     at = strchr(at + 1, l->separator)) {
		struct list_entry key = {
			.name = arena_strndup(l->session->arena, name, (size_t)(at - name)) };
		struct list_entry *above = NULL;
		size_t low = 0, high = l->n;

		while (low < high && above == NULL) {
			size_t mid = (low + high) / 2;
			int order = entry_cmp(&key, &l->entries[mid], l);

			if (order == 0)
				above = &l->entries[mid];
			else if (order < 0)
				high = mid;
			else
				low = mid + 1;
		}
		if (above == NULL)
			continue;
		above->selected_below = true;
		above->hidden_below |= !e->matches;
	}
}

static void choose(struct list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		struct list_entry *e = &l->entries[i];

		e->use = e->exists ? special_use_of(l->session->set->special_use, e->name) : NULL;
		e->matches = matches(l, e->name);
		e->selected = selected(l, e);
	}
	for (size_t i = 0; i < l->n; i++) {
		if (l->entries[i].selected)
			tell_above(l, &l->entries[i]);
	}
}

/* Is it to be told, that matches? */
static bool wanted(const struct list *l, const struct list_entry *e)
{
	if (e->selected)
		return true;
	/* RFC 3501 6.3.9: % stops before a subscribed name below it. */
	if (l->lsub)
		return l->percent && e->hidden_below;
	/* RFC 5258 3.3, 2B */
	if (l->select & (OPT_SUBSCRIBED | OPT_SPECIAL_USE))
		return (l->select & OPT_RECURSIVE) && e->hidden_below;
	/* Only there because something is below it: always told to a client of
	   RFC 3501, to others (RFC 5258 5, example 11) where it stands for that. */
	return e->listed && (!l->extended || e->hidden_below);
}

/* ---- answers ---- */

static void write_attribute(struct buf *line, const char *attribute)
{
	if (line->data[line->len - 1] != '(')
		buf_append_u8(line, ' ');
	buf_append_str(line, attribute);
}

static void write_attributes(const struct list *l, const struct list_entry *e, bool gone,
			     struct buf *line)
{
	bool missing = gone || !e->exists;

	if (l->lsub) {
		/* "not subscribed itself, but something below it" */
		if (!e->subscribed)
			write_attribute(line, "\\Noselect");
		return;
	}
	if (missing)
		write_attribute(line, l->extended ? "\\NonExistent" : "\\Noselect");
	if (e->subscribed && (l->give & OPT_SUBSCRIBED))
		write_attribute(line, "\\Subscribed");
	if (!l->extended || (l->give & OPT_CHILDREN) || (missing && e->children))
		write_attribute(line, e->children ? "\\HasChildren" : "\\HasNoChildren");
	if (e->use != NULL)
		write_attribute(line, e->use);
}

static void write_childinfo(const struct list *l, struct buf *line)
{
	buf_printf(line, " (\"CHILDINFO\" (%s%s%s))",
		   l->select & OPT_SUBSCRIBED ? "\"SUBSCRIBED\"" : "",
		   (l->select & OPT_SUBSCRIBED) && (l->select & OPT_SPECIAL_USE) ? " " : "",
		   l->select & OPT_SPECIAL_USE ? "\"SPECIAL-USE\"" : "");
}

static int entry_write(const struct list *l, const struct list_entry *e, bool gone)
{
	struct buf line;
	int ret;

	buf_init(&line, SIZE_MAX);
	buf_printf(&line, "* %s (", l->cmd->name);
	if (!line.failed)
		write_attributes(l, e, gone, &line);
	buf_printf(&line, ") \"%c\" ", l->separator);
	imap_write_mailbox(&line, e->name, l->utf8);
	if ((l->select & OPT_RECURSIVE) && e->selected_below)
		write_childinfo(l, &line);
	buf_append_str(&line, "\r\n");
	ret = line.failed ? -ENOMEM : stream_write(l->session->stream, line.data, line.len);
	buf_deinit(&line);
	return ret;
}

/* RFC 5819 2: STATUS behind each that can be selected; one that cannot any more
 * is told so, and what else goes wrong costs it its STATUS alone. */
static int entry_tell(const struct list *l, const struct list_entry *e, struct mail_store *store)
{
	struct session *s = l->session;
	struct mailbox_status st;
	int ret = 1, written;

	if ((l->give & OPT_STATUS) && e->exists && e->selected)
		ret = status_get(store, e->name, l->status, &st);
	if (ret < 0 || (ret > 1 && ret != MAILBOX_E_NONEXISTENT))
		log_warn("list-status", "id=%016llx user=%s mailbox=%s error=%s",
			 (unsigned long long)s->ticket.sid, log_str(s->ticket.user),
			 log_str(e->name), log_str(mailbox_strerror(ret)));
	written = entry_write(l, e, (l->give & OPT_STATUS) && e->exists && e->selected &&
			      ret == MAILBOX_E_NONEXISTENT);
	if (written == 0 && ret == 0)
		written = status_write(s, e->name, l->status, &st);
	return written;
}

static int list_run(struct list *l, struct mail_store *store)
{
	int ret = gather(l, store);

	if (ret == 0)
		choose(l);
	for (size_t i = 0; ret == 0 && i < l->n; i++) {
		if (l->entries[i].matches && wanted(l, &l->entries[i]))
			ret = entry_tell(l, &l->entries[i], store);
	}
	free(l->entries);
	return ret;
}

void cmd_list(struct cmd *cmd)
{
	struct session *s = cmd->session;
	struct list l = {
		.cmd = cmd, .session = s,
		.lsub = strcmp(cmd->name, "LSUB") == 0,
		.utf8 = (s->enabled & (ENABLED_UTF8 | ENABLED_IMAP4REV2)) != 0,
	};
	struct mail_store *store;
	int ret = session_store(s, &store);

	if (ret == 0) {
		l.separator = mail_store_separator(store);
		if (!list_parse(&l))
			return;
		/* RFC 3501 6.3.8: an empty pattern asks for the delimiter; only
		   LIST's (6.3.9 says nothing of it), and not of an extended one. */
		if (l.n_patterns == 0 && !l.extended && cmd->args[1].len == 0)
			ret = stream_printf(s->stream, "* %s (\\Noselect) \"%c\" \"\"\r\n",
					    cmd->name, l.separator);
		else
			ret = list_run(&l, store);
	}
	if (ret != 0)
		cmd_mailbox_error(cmd, ret);
	else
		cmd_ok(cmd, "%s completed.", cmd->name);
}
