/* SPDX-License-Identifier: MIT */
/* APPEND (RFC 3501 6.3.11, RFC 4315 3, RFC 7888) of one message or more (RFC
 * 3502). They pass from the client to the store in pieces; when the command is
 * complete all are committed, or none. What is refused after the client began
 * to send is passed over to its end, and the answer waits for the command's
 * end, or for the next message that the client asks to send. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "imap/command.h"
#include "imap/flags.h"
#include "imap/holder-link.h"
#include "lib/imap-write.h"
#include "lib/limits.h"

struct append {
	struct mail_append **mails;	/* all but the last are finished */
	size_t n, cap;
	/* refused */
	int result;			/* CMD_NONE: not */
	const char *code, *text;	/* in the arena, as the command's end needs them */
};

struct append_message {
	struct flag_list list;
	int64_t internaldate;
	const struct imap_arg *literal;
};

static void append_drop(struct append *app)
{
	while (app->n > 0)
		mailbox_append_abort(&app->mails[--app->n]);
}

void cmd_append_abort(struct session *s)
{
	if (s->append == NULL)
		return;
	append_drop(s->append);
	free(s->append->mails);
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

/* [SP flag-list] [SP date-time] SP literal, from args[*at] on */
static bool message_parse(struct cmd *cmd, size_t *at, struct append_message *m)
{
	const struct imap_arg *args = cmd->args;
	size_t i = *at, count = cmd->count;

	*m = (struct append_message){ .internaldate = INT64_MIN };
	if (i < count && args[i].type == IMAP_ARG_LIST) {
		if (!flag_list_parse(cmd, args[i].items, args[i].count, &m->list))
			return false;
		i++;
	}
	if (i < count && args[i].type == IMAP_ARG_STRING &&
	    imap_parse_datetime(args[i++].data, &m->internaldate) < 0) {
		cmd_bad(cmd, "Not a date and time.");
		return false;
	}
	/* RFC 6855 4 is not offered. */
	if (i < count && imap_arg_is_atom(&args[i], "UTF8")) {
		cmd_bad(cmd, "APPEND takes no UTF8 message.");
		return false;
	}
	if (i == count) {
		cmd_bad(cmd, "APPEND takes messages, each with flags and date before it.");
		return false;
	}
	m->literal = &args[i];
	*at = i + 1;
	return parse_literal(cmd, m->literal);
}

static const char *mailbox_parse(struct cmd *cmd)
{
	if (cmd->count < 2) {
		cmd_bad(cmd, "APPEND takes a mailbox and a message.");
		return NULL;
	}
	return cmd_mailbox_arg(cmd, &cmd->args[0]);
}

/* The last message so far, whose bytes follow. */
static bool last_parse(struct cmd *cmd, struct append_message *m)
{
	size_t at = cmd->count - 1;

	/* Its flags and date begin behind the literal before it. */
	while (at > 1 && cmd->args[at - 1].type != IMAP_ARG_LITERAL_STREAM)
		at--;
	if (!message_parse(cmd, &at, m))
		return false;
	if (at != cmd->count)
		cmd_bad(cmd, "APPEND takes messages, each with flags and date before it.");
	return at == cmd->count;
}

/* ---- the message ---- */

static int append_room(struct append *app)
{
	size_t cap = app->cap != 0 ? app->cap * 2 : 1;
	void *mails;

	if (app->n < app->cap)
		return 0;
	mails = reallocarray(app->mails, cap, sizeof(struct mail_append *));
	if (mails == NULL)
		return -ENOMEM;
	app->mails = mails;
	app->cap = cap;
	return 0;
}

/* 0; -EINVAL: cmd's result says why not; or as mailbox.h. */
static int append_open(struct cmd *cmd, struct append *app, struct append_message *m)
{
	const char *mailbox = mailbox_parse(cmd);
	struct mail_store *store;
	int ret;

	if (mailbox == NULL || !last_parse(cmd, m))
		return -EINVAL;
	ret = append_room(app);
	if (ret == 0)
		ret = session_store(cmd->session, &store);
	if (ret == 0)
		ret = app->n == 0 ? mailbox_append_begin(store, mailbox, &app->mails[0])
				  : mailbox_append_more(app->mails[0], &app->mails[app->n]);
	if (ret == 0)
		app->n++;
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

static void append_fail(struct cmd *cmd, struct append *app, int error)
{
	append_error(cmd, error);
	append_drop(app);
	app->result = cmd->result;
	app->code = cmd->code;
	app->text = cmd->text;
}

static void append_write(struct cmd *cmd, struct append *app, const uint8_t *data, size_t len)
{
	int ret;

	if (app->n == 0)
		return;
	/* CHAR8 (RFC 9051 section 9): kept, it could not be sent to clients. */
	ret = memchr(data, '\0', len) != NULL ? -EILSEQ :
		mailbox_append_write(app->mails[app->n - 1], data, len);
	if (ret != 0)
		append_fail(cmd, app, ret);
}

static bool append_dead(struct session *s, const char *reason)
{
	if (!s->dead)
		s->end_reason = reason;
	s->dead = true;
	loop_stop(s->loop);
	return false;
}

/* All of the literal. False: the client is gone. */
static bool append_read(struct cmd *cmd, struct append *app, uint64_t left)
{
	struct session *s = cmd->session;

	while (left > 0) {
		size_t len;
		const uint8_t *data = stream_input(s->stream, &len);
		long n;

		if (len > left)
			len = (size_t)left;
		if (len > 0) {
			append_write(cmd, app, data, len);
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
		append_drop(app);
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

/* The first message of a command, or one more. */
static struct append *append_get(struct session *s, const struct imap_command *parsed)
{
	size_t messages = 0;

	for (size_t i = 0; i < parsed->count; i++)
		messages += parsed->args[i].type == IMAP_ARG_LITERAL_STREAM;
	if (messages <= 1)
		cmd_append_abort(s);
	if (s->append == NULL)
		s->append = calloc(1, sizeof(*s->append));
	return s->append;
}

bool cmd_append_stream(struct session *s, const struct imap_command *parsed)
{
	struct cmd cmd = { .session = s, .tag = parsed->tag, .name = "APPEND",
		.args = parsed->args, .count = parsed->count };
	uint64_t size = imap_parser_stream(s->parser)->size;
	struct append *app = append_get(s, parsed);
	struct append_message m;
	int ret = 0;

	if (app == NULL) {
		session_bye(s, "UNAVAILABLE", "Out of memory.", "out of memory");
		return false;
	}
	if (app->result != CMD_NONE) {
		/* RFC 3502: it need not go on when one was refused. */
		cmd.result = app->result;
		cmd.code = app->code;
		cmd.text = app->text;
	} else {
		ret = append_open(&cmd, app, &m);
		if (ret != 0 && cmd.result == CMD_NONE)
			append_error(&cmd, ret);
	}
	if (cmd.result != CMD_NONE) {
		if (!append_refuse(s, &cmd, app))
			return false;
	} else if (imap_parser_needs_continue(s->parser)) {
		stream_puts(s->stream, "+ Ready for the message.\r\n");
	}
	/* What waits in our output may be what the client waits for. */
	if (stream_drain(s->stream) < 0) {
		append_dead(s, "client does not read or is gone");
		return true;
	}
	if (!append_read(&cmd, app, size))
		return true;
	ret = app->n > 0 ? mailbox_append_finish(app->mails[app->n - 1], m.internaldate) : 0;
	if (ret != 0)
		append_fail(&cmd, app, ret);
	imap_parser_stream_done(s->parser);
	return true;
}

/* ---- the end of the command ---- */

/* Flags of all, as they were given. */
static struct mail_append_flags *flags_gather(struct cmd *cmd, size_t n)
{
	struct mail_append_flags *flags = arena_alloc(cmd->session->arena, n * sizeof(*flags));
	size_t at = 1;

	for (size_t i = 0; i < n; i++) {
		struct append_message m;

		if (!message_parse(cmd, &at, &m))
			return NULL;
		flags[i] = (struct mail_append_flags){ m.list.flags, m.list.keywords,
						       m.list.n_keywords };
	}
	if (at != cmd->count) {
		cmd_bad(cmd, "APPEND takes messages, each with flags and date before it.");
		return NULL;
	}
	return flags;
}

static void append_commit(struct cmd *cmd, struct append *app,
			  const struct mail_append_flags *flags)
{
	struct session *s = cmd->session;
	uint32_t uidvalidity, uid, last;
	uint8_t id[16];
	uint64_t modseq;
	size_t n = app->n;
	int ret;

	app->n = 0;	/* it aborts them all */
	ret = mailbox_append_commit_all(app->mails, flags, n, &uidvalidity, &uid, id, &modseq);
	if (ret != 0) {
		append_error(cmd, ret);
		return;
	}
	last = uid + (uint32_t)n - 1;
	if (s->holder != NULL)
		holder_link_notice(s->holder, id, modseq);
	cmd->code = n == 1 ? arena_printf(s->arena, "APPENDUID %u %u", uidvalidity, uid)
			   : arena_printf(s->arena, "APPENDUID %u %u:%u", uidvalidity, uid, last);
	cmd_ok(cmd, "APPEND completed.");
}

void cmd_append(struct cmd *cmd)
{
	struct session *s = cmd->session;
	struct append *app = s->append;
	const struct mail_append_flags *flags;

	if (app == NULL) {
		struct append_message m;

		/* No message came: say what is wrong with the command. */
		if (mailbox_parse(cmd) != NULL && last_parse(cmd, &m))
			append_error(cmd, -EIO);
		return;
	}
	if (app->result != CMD_NONE) {
		cmd->result = app->result;
		cmd->code = app->code;
		cmd->text = app->text;
	} else {
		flags = flags_gather(cmd, app->n);
		if (flags != NULL)
			append_commit(cmd, app, flags);
	}
	cmd_append_abort(s);
}
