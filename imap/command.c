/* SPDX-License-Identifier: MIT */
#include "imap/command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "imap/holder-link.h"
#include "lib/clock.h"
#include "lib/imap-write.h"
#include "lib/log.h"

static const struct command commands[] = {
	{ "CAPABILITY",	CMD_ANY | CMD_NO_SYNC,			cmd_capability },
	{ "NOOP",	CMD_ANY,				cmd_noop },
	{ "CHECK",	CMD_IN_SELECTED,			cmd_noop },
	{ "LOGOUT",	CMD_ANY | CMD_NO_SYNC,			cmd_logout },
	{ "ID",		CMD_ANY | CMD_NO_SYNC,			cmd_id },
	{ "ENABLE",	CMD_ANY | CMD_NO_SYNC,			cmd_enable },
	{ "COMPRESS",	CMD_ANY | CMD_NO_SYNC,			cmd_compress },
	{ "IDLE",	CMD_ANY | CMD_NO_SYNC,			cmd_idle },
	{ "SELECT",	CMD_ANY | CMD_NO_SYNC,			cmd_select },
	{ "EXAMINE",	CMD_ANY | CMD_NO_SYNC,			cmd_select },
	{ "CLOSE",	CMD_IN_SELECTED | CMD_NO_SYNC,		cmd_close },
	{ "UNSELECT",	CMD_IN_SELECTED | CMD_NO_SYNC,		cmd_unselect },
	{ "LIST",	CMD_ANY,				cmd_list },
	{ "LSUB",	CMD_ANY,				cmd_list },
	{ "SUBSCRIBE",	CMD_ANY,				cmd_subscribe },
	{ "UNSUBSCRIBE", CMD_ANY,				cmd_subscribe },
	{ "NAMESPACE",	CMD_ANY,				cmd_namespace },
	{ "STATUS",	CMD_ANY,				cmd_status },
	{ "CREATE",	CMD_ANY,				cmd_create },
	{ "DELETE",	CMD_ANY,				cmd_delete },
	{ "RENAME",	CMD_ANY,				cmd_rename },
	{ "FETCH",	CMD_IN_SELECTED | CMD_UID | CMD_NO_EXPUNGE, cmd_fetch },
	{ "STORE",	CMD_IN_SELECTED | CMD_UID | CMD_NO_EXPUNGE, cmd_store },
	{ "SEARCH",	CMD_IN_SELECTED | CMD_UID | CMD_NO_EXPUNGE, cmd_search },
	{ "EXPUNGE",	CMD_IN_SELECTED | CMD_UID,		cmd_expunge },
	{ "COPY",	CMD_IN_SELECTED | CMD_UID,		cmd_copy },
	{ "MOVE",	CMD_IN_SELECTED | CMD_UID,		cmd_copy },
	{ "APPEND",	CMD_ANY,				cmd_append },
};

const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcasecmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

__attribute__((format(printf, 4, 0)))
static void cmd_result(struct cmd *cmd, int result, const char *code, const char *fmt,
		       va_list ap)
{
	char text[512];

	vsnprintf(text, sizeof(text), fmt, ap);
	cmd->result = result;
	cmd->code = code;
	cmd->text = arena_strdup(cmd->session->arena, text);
}

void cmd_ok(struct cmd *cmd, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	cmd_result(cmd, CMD_OK, cmd->code, fmt, ap);
	va_end(ap);
}

void cmd_no(struct cmd *cmd, const char *code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	cmd_result(cmd, CMD_NO, code, fmt, ap);
	va_end(ap);
}

void cmd_bad(struct cmd *cmd, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	cmd_result(cmd, CMD_BAD, NULL, fmt, ap);
	va_end(ap);
}

void cmd_mailbox_error(struct cmd *cmd, int error)
{
	struct session *s = cmd->session;

	switch (error) {
	case MAILBOX_E_NONEXISTENT:
		cmd_no(cmd, "NONEXISTENT", "Mailbox does not exist.");
		return;
	case MAILBOX_E_GONE:
		cmd->no_tagged = true;	/* as a woken session, which never reads the command */
		session_bye(s, NULL, "Selected mailbox was deleted.", "mailbox deleted");
		return;
	case MAILBOX_E_VALIDITY:
		cmd->no_tagged = true;
		session_bye(s, NULL, "UIDVALIDITY of the selected mailbox changed.",
			    "uidvalidity changed");
		return;
	case MAILBOX_E_NAME:
		cmd_no(cmd, "CANNOT", "Not a possible mailbox name.");
		return;
	case MAILBOX_E_EXISTS:
		cmd_no(cmd, "ALREADYEXISTS", "Mailbox exists already.");
		return;
	case MAILBOX_E_EXPUNGED:
		cmd_no(cmd, "EXPUNGEISSUED", "Message is gone.");
		return;
	case MAILBOX_E_READONLY:
		cmd_no(cmd, NULL, "Mailbox is read-only.");
		return;
	case MAILBOX_E_NOSPACE:
		cmd_no(cmd, "OVERQUOTA", "No space left.");
		return;
	case MAILBOX_E_BUSY:
		cmd_no(cmd, "INUSE", "Mailbox is locked by another program; try again.");
		return;
	case MAILBOX_E_KEYWORDS:
		cmd_no(cmd, "LIMIT", "Too many keywords.");
		return;
	case MAILBOX_E_CORRUPT:		/* these two are in the log already */
		cmd_no(cmd, "CONTACTADMIN", "Message cannot be read: it is damaged, or its file "
		       "may not be read.");
		return;
	case MAILBOX_E_FOREIGN:
		cmd_no(cmd, "CONTACTADMIN", "Message cannot be read: it is kept encrypted, or "
		       "compressed in a way that this server does not know.");
		return;
	default:
		break;
	}
	if (error < 0 && error == stream_error(s->stream)) {
		/* The client is gone; nobody reads this. */
		cmd_no(cmd, "UNAVAILABLE", "Connection failed.");
		return;
	}
	log_error("mailbox", "id=%016llx user=%s command=%s error=%s",
		  (unsigned long long)s->ticket.sid, log_str(s->ticket.user), cmd->name,
		  log_str(error > 0 ? mailbox_strerror(error) : strerror(-error)));
	if (error == -ENOSPC || error == -EDQUOT)
		cmd_no(cmd, "OVERQUOTA", "No space left.");
	else
		cmd_no(cmd, "SERVERBUG", "Internal error; the server's log tells more.");
}

bool cmd_set_arg(struct cmd *cmd, const struct imap_arg *arg, struct uidset *uids)
{
	int ret = -EINVAL;

	if (arg->type == IMAP_ARG_ATOM)
		ret = view_parse_set(&cmd->session->view, arg->data, cmd->uid, uids);
	if (ret == -ENOMEM)
		cmd_mailbox_error(cmd, ret);
	else if (ret == -ERANGE)
		cmd_bad(cmd, "No such message number.");
	else if (ret != 0)
		cmd_bad(cmd, "Not a set of messages.");
	return ret == 0;
}

const char *cmd_mailbox_arg(struct cmd *cmd, const struct imap_arg *arg)
{
	const char *name = arg != NULL ? imap_arg_astring(arg) : NULL;
	const char *result;
	struct buf utf8;

	if (name == NULL) {
		cmd_bad(cmd, "Mailbox name expected.");
		return NULL;
	}
	if (cmd->session->enabled & (ENABLED_UTF8 | ENABLED_IMAP4REV2))
		return name;
	buf_init(&utf8, MAILBOX_NAME_MAX_BYTES);
	if (imap_utf7_decode(name, &utf8) < 0 || buf_append_u8(&utf8, 0) < 0) {
		cmd_no(cmd, "CANNOT", "Mailbox name is not valid modified UTF-7, or too long.");
		buf_deinit(&utf8);
		return NULL;
	}
	result = arena_strdup(cmd->session->arena, (char *)utf8.data);
	buf_deinit(&utf8);
	return result;
}

const char *cmd_mailbox_trim(struct cmd *cmd, struct mail_store *store, const char *name)
{
	size_t len = strlen(name);

	if (len > 1 && name[len - 1] == mail_store_separator(store))
		len--;
	return arena_strndup(cmd->session->arena, name, len);
}

/* What the mailbox did meanwhile, where this command allows it to be told. */
static void command_sync(struct cmd *cmd, const struct command *row)
{
	struct session *s = cmd->session;
	bool expunge = !(row->flags & CMD_NO_EXPUNGE) || (cmd->uid && !cmd->seqs_used);
	int ret;

	if (s->box == NULL || s->dead || (row->flags & CMD_NO_SYNC) || cmd->result == CMD_BAD)
		return;
	ret = view_update(s, NULL);
	if (ret != 0) {
		/* An answer stands; only a lost mailbox ends the session. */
		if (ret == MAILBOX_E_GONE || ret == MAILBOX_E_VALIDITY)
			cmd_mailbox_error(cmd, ret);
		else
			log_warn("sync", "id=%016llx user=%s error=%s",
				 (unsigned long long)s->ticket.sid, log_str(s->ticket.user),
				 log_str(ret > 0 ? mailbox_strerror(ret) : strerror(-ret)));
		return;
	}
	(void)view_tell(s, expunge);
	if (!expunge)
		(void)view_tell_floor(s);
}

void command_answer(struct cmd *cmd)
{
	static const char *const words[] = {
		[CMD_NONE] = "OK", [CMD_OK] = "OK", [CMD_NO] = "NO", [CMD_BAD] = "BAD",
	};
	struct stream *out = cmd->session->stream;
	const char *text = cmd->text != NULL ? cmd->text : "Done.";

	if (cmd->no_tagged || cmd->session->dead ||
	    (cmd->session->logout && cmd->result == CMD_NONE))
		return;
	if (cmd->expunge_issued && cmd->result <= CMD_OK) {
		/* RFC 5530: some of it could not be answered. */
		cmd->result = CMD_NO;
		cmd->code = "EXPUNGEISSUED";
		text = "Some of the messages are gone.";
	}
	if (cmd->code != NULL)
		stream_printf(out, "%s %s [%s] %s\r\n", cmd->tag, words[cmd->result], cmd->code,
			      text);
	else
		stream_printf(out, "%s %s %s\r\n", cmd->tag, words[cmd->result], text);
}

static void command_dispatch(struct cmd *cmd)
{
	struct session *s = cmd->session;
	const struct command *row;
	int ret = session_mailbox(s);

	if (ret != 0) {
		cmd->no_tagged = s->logout;
		if (!s->logout)
			cmd_mailbox_error(cmd, ret);
		return;
	}

	if (strcasecmp(cmd->name, "UID") == 0 && cmd->count > 0 &&
	    cmd->args[0].type == IMAP_ARG_ATOM) {
		cmd->uid = true;
		cmd->name = cmd->args[0].data;
		cmd->args++;
		cmd->count--;
	}
	row = command_find(cmd->name);
	if (row == NULL || (cmd->uid && !(row->flags & CMD_UID)))
		cmd_bad(cmd, "Unknown command.");
	else if (s->box == NULL && !(row->flags & CMD_IN_AUTH))
		cmd_bad(cmd, "No mailbox is selected.");
	else {
		cmd->name = row->name;
		row->fn(cmd);
		command_sync(cmd, row);
	}
}

void command_run(struct session *s, const struct imap_command *parsed)
{
	struct cmd cmd = {
		.session = s,
		.tag = arena_strdup(s->arena, parsed->tag),
		.name = parsed->name,
		.args = parsed->args,
		.count = parsed->count,
	};

	s->commands++;
	command_dispatch(&cmd);
	command_answer(&cmd);
	arena_reset(s->arena);
	s->last_activity_ms = clock_ms();
}
