/* SPDX-License-Identifier: MIT */
/* LIST (RFC 3501 6.3.8, RFC 3348) and LSUB (6.3.9): without subscriptions every
 * mailbox counts as subscribed. Patterns are compared in modified UTF-7, as the
 * client wrote them: an encoded name holds no wildcard and no separator. */
#include <string.h>
#include <strings.h>

#include "imap/command.h"
#include "lib/imap-write.h"
#include "lib/limits.h"

#define INBOX_LEN	5

struct list {
	struct session *session;
	const char *response;		/* LIST or LSUB */
	const char *pattern;
	size_t pattern_len;
	char separator;
	bool utf8;
	uint8_t *reach, *next;		/* pattern_len + 1 each */
};

static char fold(char c, bool inbox)
{
	return inbox && c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

/* Wildcards match nothing at first, so a place before one is one behind it. */
static void skip_wildcards(const struct list *l, uint8_t *reach)
{
	for (size_t i = 0; i < l->pattern_len; i++) {
		if (reach[i] && (l->pattern[i] == '*' || l->pattern[i] == '%'))
			reach[i + 1] = 1;
	}
}

/* All places of the pattern that the name read so far can have led to: the
 * time is bounded, whatever the pattern. INBOX is case-insensitive. */
static bool list_match(struct list *l, const char *name)
{
	bool inbox_name = strncasecmp(name, "INBOX", INBOX_LEN) == 0 &&
			  (name[INBOX_LEN] == '\0' || name[INBOX_LEN] == l->separator);

	memset(l->reach, 0, l->pattern_len + 1);
	l->reach[0] = 1;
	skip_wildcards(l, l->reach);
	for (size_t n = 0; name[n] != '\0'; n++) {
		bool inbox = inbox_name && n < INBOX_LEN;
		uint8_t *swap = l->reach;

		memset(l->next, 0, l->pattern_len + 1);
		for (size_t i = 0; i < l->pattern_len; i++) {
			char p = l->pattern[i];

			if (!l->reach[i])
				continue;
			if (p == '*' || (p == '%' && name[n] != l->separator))
				l->next[i] = 1;
			else if (p != '%' && fold(p, inbox) == fold(name[n], inbox))
				l->next[i + 1] = 1;
		}
		skip_wildcards(l, l->next);
		l->reach = l->next;
		l->next = swap;
	}
	return l->reach[l->pattern_len];
}

static int list_mailbox(void *ctx, const struct mailbox_info *info)
{
	struct list *l = ctx;
	struct buf name, line;
	int ret = 0;

	buf_init(&name, SIZE_MAX);
	buf_init(&line, SIZE_MAX);
	if (l->utf8)
		buf_append_str(&name, info->name);
	else
		imap_utf7_encode(info->name, &name);
	buf_append_u8(&name, 0);
	if (!name.failed && list_match(l, (char *)name.data)) {
		buf_printf(&line, "* %s (%s%s) \"%c\" ", l->response,
			   info->noselect ? "\\Noselect " : "",
			   info->has_children ? "\\HasChildren" : "\\HasNoChildren",
			   l->separator);
		if (imap_write_mailbox(&line, info->name, l->utf8) == 0 &&
		    buf_append_str(&line, "\r\n") == 0)
			ret = stream_write(l->session->stream, line.data, line.len);
	}
	buf_deinit(&name);
	buf_deinit(&line);
	return ret;
}

static void list_run(struct cmd *cmd, struct list *l, struct mail_store *store)
{
	struct arena *a = cmd->session->arena;
	int ret = 0;

	/* RFC 3501 6.3.8: an empty pattern asks for the delimiter. */
	if (l->pattern_len == 0) {
		stream_printf(cmd->session->stream, "* %s (\\Noselect) \"%c\" \"\"\r\n",
			      l->response, l->separator);
	} else if (l->pattern_len <= 2 * MAILBOX_NAME_MAX_BYTES) {
		l->reach = arena_alloc(a, l->pattern_len + 1);
		l->next = arena_alloc(a, l->pattern_len + 1);
		ret = mail_store_list(store, list_mailbox, l);
	}
	if (ret != 0)
		cmd_mailbox_error(cmd, ret);
	else
		cmd_ok(cmd, "%s completed.", cmd->name);
}

void cmd_list(struct cmd *cmd)
{
	struct session *s = cmd->session;
	const char *reference = NULL, *pattern = NULL;
	struct mail_store *store;
	struct list l = { .session = s, .response = cmd->name };
	int ret;

	if (cmd->count == 2) {
		reference = imap_arg_astring(&cmd->args[0]);
		pattern = imap_arg_list_mailbox(&cmd->args[1]);
	}
	if (reference == NULL || pattern == NULL) {
		cmd_bad(cmd, "%s takes a reference and a pattern.", cmd->name);
		return;
	}
	ret = session_store(s, &store);
	if (ret != 0) {
		cmd_mailbox_error(cmd, ret);
		return;
	}
	l.separator = mail_store_separator(store);
	l.utf8 = (s->enabled & (ENABLED_UTF8 | ENABLED_IMAP4REV2)) != 0;
	if (*pattern != '\0')
		l.pattern = arena_printf(s->arena, "%s%s", reference, pattern);
	else
		l.pattern = "";
	l.pattern_len = strlen(l.pattern);
	list_run(cmd, &l, store);
}
