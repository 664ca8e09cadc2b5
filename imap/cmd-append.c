/* SPDX-License-Identifier: MIT */
/* APPEND (RFC 3501 6.3.11, RFC 4315 3, RFC 7888). The message passes from the
 * client to the store in pieces; when its command is complete it is committed.
 * What is refused after the client began to send is passed over to its end,
 * and the answer waits for the command's end. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "imap/command.h"
#include "imap/flags.h"
#include "imap/holder-link.h"
#include "lib/imap-write.h"
#include "lib/limits.h"

struct append {
	struct mail_append *mail;	/* NULL: refused */
	int error;			/* of the store: 0, or why it is refused */
	/* refused otherwise */
	int result;
	const char *code, *text;	/* in the arena, as the command's end needs them */
};

struct append_args {
	const char *mailbox;
	struct flag_list list;
	int64_t internaldate;
	const struct imap_arg *literal;
};

void cmd_append_abort(struct session *s)
{
	if (s->append == NULL)
		return;
	if (s->append->mail != NULL)
		mailbox_append_abort(&s->append->mail);
	free(s->append);
	s->append = NULL;
}

/* ---- arguments ---- */

static bool parse_literal(struct cmd *cmd, const struct imap_arg *arg)
{
	if (arg->type != IMAP_ARG_LITERAL_STREAM) {
		cmd_bad(cmd, "APPEND takes the message as a literal.");
		return false;
	}
	if (arg->is_literal8) {
		cmd_bad(cmd, "APPEND takes no literal8.");
		return false;
	}
	if (arg->size == 0) {
		cmd_no(cmd, "CANNOT", "A message has at least one byte.");
		return false;
	}
	/* RFC 7889 section 4 */
	if (arg->size > cmd->session->set->append_max_bytes) {
		cmd_no(cmd, "TOOBIG", "Message is too large.");
		return false;
	}
	return true;
}

/* "APPEND" SP mailbox [SP flag-list] [SP date-time] SP literal */
static bool append_parse(struct cmd *cmd, struct append_args *a)
{
	const struct imap_arg *args = cmd->args;
	size_t i = 1, count = cmd->count;

	a->internaldate = INT64_MIN;
	if (count < 2) {
		cmd_bad(cmd, "APPEND takes a mailbox and a message.");
		return false;
	}
	a->mailbox = cmd_mailbox_arg(cmd, &args[0]);
	if (a->mailbox == NULL)
		return false;
	if (i < count && args[i].type == IMAP_ARG_LIST &&
	    !flag_list_parse(cmd, args[i].items, args[i].count, &a->list))
		return false;
	if (args[i].type == IMAP_ARG_LIST)
		i++;
	if (i < count && args[i].type == IMAP_ARG_STRING &&
	    imap_parse_datetime(args[i++].data, &a->internaldate) < 0) {
		cmd_bad(cmd, "Not a date and time.");
		return false;
	}
	if (i + 1 != count) {
		cmd_bad(cmd, "APPEND takes one message, with flags and date before it.");
		return false;
	}
	a->literal = &args[i];
	return parse_literal(cmd, a->literal);
}

/* ---- the message ---- */

static int append_open(struct cmd *cmd, struct append *app)
{
	struct append_args a = { 0 };
	struct mail_store *store;
	int ret;

	if (!append_parse(cmd, &a))
		return -EINVAL;
	ret = session_store(cmd->session, &store);
	if (ret == 0)
		ret = mailbox_append_begin(store, a.mailbox, &app->mail);
	return ret;
}

static void append_error(struct cmd *cmd, int error)
{
	/* RFC 3501 6.3.11 */
	if (error == MAILBOX_E_NONEXISTENT || error == MAILBOX_E_GONE)
		cmd_no(cmd, "TRYCREATE", "Mailbox does not exist.");
	else if (error == -EILSEQ)
		cmd_no(cmd, "CANNOT", "A message has no NUL bytes.");
	else if (error == MAILBOX_E_FOREIGN)
		cmd_no(cmd, "CANNOT", "This begins like a compressed or encrypted file, not "
		       "like a message.");
	else
		cmd_mailbox_error(cmd, error);
}

static void append_write(struct append *app, const uint8_t *data, size_t len)
{
	int ret;

	if (app->mail == NULL)
		return;
	/* CHAR8 (RFC 9051 section 9): kept, it could not be sent to clients. */
	ret = memchr(data, '\0', len) != NULL ? -EILSEQ :
		mailbox_append_write(app->mail, data, len);
	if (ret == 0)
		return;
	app->error = ret;
	mailbox_append_abort(&app->mail);
}

static bool append_dead(struct session *s, const char *reason)
{
	s->dead = true;
	s->end_reason = reason;
	loop_stop(s->loop);
	return false;
}

/* All of the literal. False: the client is gone. */
static bool append_read(struct session *s, struct append *app, uint64_t left)
{
	while (left > 0) {
		size_t len;
		const uint8_t *data = stream_input(s->stream, &len);
		long n;

		if (len > left)
			len = (size_t)left;
		if (len > 0) {
			append_write(app, data, len);
			stream_consume(s->stream, len);
			left -= len;
			continue;
		}
		n = stream_fill_wait(s->stream);
		if (n <= 0)
			return append_dead(s, n == 0 ? "client closed the connection in APPEND" :
					   strerror((int)-n));
	}
	return true;
}

/* So much is not read only to be thrown away. */
static bool literal_is_endless(const struct session *s)
{
	uint64_t size = imap_parser_stream(s->parser)->size;

	return size > s->set->append_max_bytes && size > IMAP_LITERAL_MAX_BYTES;
}

/* The command is refused by cmd's result before its end. */
static bool append_refuse(struct session *s, struct cmd *cmd, struct append *app)
{
	if (!imap_parser_needs_continue(s->parser)) {
		/* It is on its way, whatever we say (RFC 7888 section 4). */
		if (literal_is_endless(s)) {
			session_bye(s, "TOOBIG", "Message is too large.",
				"message above append_max");
			return false;
		}
		app->result = cmd->result;
		app->code = cmd->code;
		app->text = cmd->text;
		return true;
	}
	command_answer(cmd);
	cmd_append_abort(s);
	arena_reset(s->arena);
	return false;
}

bool cmd_append_stream(struct session *s, const struct imap_command *parsed)
{
	struct cmd cmd = { .session = s, .tag = parsed->tag, .name = "APPEND",
		.args = parsed->args, .count = parsed->count };
	const struct imap_arg *literal = imap_parser_stream(s->parser);
	struct append *app;
	int ret;

	cmd_append_abort(s);
	app = s->append = calloc(1, sizeof(*app));
	if (app == NULL) {
		session_bye(s, "UNAVAILABLE", "Out of memory.", "out of memory");
		return false;
	}
	ret = append_open(&cmd, app);
	if (ret != 0) {
		if (cmd.result == CMD_NONE)
			append_error(&cmd, ret);
		if (!append_refuse(s, &cmd, app))
			return false;
	} else if (imap_parser_needs_continue(s->parser)) {
		stream_puts(s->stream, "+ Ready for the message.\r\n");
	}
	/* What waits in our output may be what the client waits for. */
	if (stream_drain(s->stream) < 0)
		append_dead(s, "client does not read or is gone");
	else if (append_read(s, app, literal->size))
		imap_parser_stream_done(s->parser);
	return true;
}

/* ---- the end of the command ---- */

static void append_commit(struct cmd *cmd, const struct append_args *a)
{
	struct session *s = cmd->session;
	uint32_t uidvalidity, uid;
	uint8_t id[16];
	uint64_t modseq;
	int ret = mailbox_append_commit(&s->append->mail, a->internaldate, a->list.flags,
					a->list.keywords, a->list.n_keywords, &uidvalidity, &uid,
					id, &modseq);

	if (ret != 0) {
		append_error(cmd, ret);
		return;
	}
	if (s->holder != NULL)
		holder_link_notice(s->holder, id, modseq);
	cmd->code = arena_printf(s->arena, "APPENDUID %u %u", uidvalidity, uid);
	cmd_ok(cmd, "APPEND completed.");
}

void cmd_append(struct cmd *cmd)
{
	struct session *s = cmd->session;
	struct append *app = s->append;
	struct append_args a = { 0 };

	if (app != NULL && app->result != CMD_NONE) {
		cmd->result = app->result;
		cmd->code = app->code;
		cmd->text = app->text;
	} else if (append_parse(cmd, &a)) {
		if (app == NULL || app->mail == NULL)
			append_error(cmd, app != NULL ? app->error : -EIO);
		else
			append_commit(cmd, &a);
	}
	cmd_append_abort(s);
}
