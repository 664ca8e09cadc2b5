/* SPDX-License-Identifier: MIT */
#include "imap/flags.h"

#include <string.h>
#include <strings.h>

#include "imap/command.h"
#include "imap/mailbox.h"
#include "lib/limits.h"

static uint32_t system_flag(const char *name)
{
	static const struct {
		const char *name;
		uint32_t flag;
	} flags[] = {
		{ "\\Answered", MAIL_ANSWERED }, { "\\Flagged", MAIL_FLAGGED },
		{ "\\Deleted", MAIL_DELETED },	 { "\\Seen", MAIL_SEEN },
		{ "\\Draft", MAIL_DRAFT },
	};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		if (strcasecmp(flags[i].name, name) == 0)
			return flags[i].flag;
	}
	return 0;
}

/* flag-keyword = atom (RFC 9051 section 9); the parser's atoms are wider. */
bool flag_is_keyword(const struct imap_arg *arg)
{
	if (arg->type != IMAP_ARG_ATOM || arg->len == 0 || arg->data[0] == '\\')
		return false;
	for (size_t i = 0; i < arg->len; i++) {
		unsigned char c = (unsigned char)arg->data[i];

		if (c <= ' ' || c >= 0x7f || strchr("(){%*\"\\]", c) != NULL)
			return false;
	}
	return true;
}

static bool keyword_add(struct cmd *cmd, const struct imap_arg *arg, struct flag_list *list)
{
	if (arg->len > KEYWORD_MAX_BYTES) {
		cmd_no(cmd, "LIMIT", "Keyword is too long.");
		return false;
	}
	for (size_t i = 0; i < list->n_keywords; i++) {
		if (strcasecmp(list->keywords[i], arg->data) == 0)
			return true;
	}
	if (list->n_keywords == KEYWORDS_MAX) {
		cmd_no(cmd, "LIMIT", "Too many keywords.");
		return false;
	}
	list->keywords[list->n_keywords++] = arena_strdup(cmd->session->arena, arg->data);
	return true;
}

bool flag_list_parse(struct cmd *cmd, const struct imap_arg *args, size_t count,
		     struct flag_list *list_r)
{
	size_t room = count < KEYWORDS_MAX ? count : KEYWORDS_MAX;

	*list_r = (struct flag_list){
		.keywords = arena_alloc(cmd->session->arena,
					(room + 1) * sizeof(*list_r->keywords)),
	};
	for (size_t i = 0; i < count; i++) {
		uint32_t flag = args[i].type == IMAP_ARG_ATOM ? system_flag(args[i].data) : 0;

		if (flag != 0) {
			list_r->flags |= flag;
		} else if (imap_arg_is_atom(&args[i], "\\RECENT")) {
			/* RFC 3501 2.3.2: the client cannot alter it. */
			cmd_bad(cmd, "\\Recent cannot be changed.");
			return false;
		} else if (!flag_is_keyword(&args[i])) {
			cmd_bad(cmd, "Not a flag that can be set.");
			return false;
		} else if (!keyword_add(cmd, &args[i], list_r)) {
			return false;
		}
	}
	return true;
}
