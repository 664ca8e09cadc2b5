/* SPDX-License-Identifier: MIT */
/* The few commands before login (RFC 9051 6.1 and 6.2). Everything else that
 * is a command of IMAP is refused with the hint to log in. */
#include <stdio.h>
#include <string.h>

#include "imap-login/client-private.h"
#include "imap-login/login.h"
#include "imap-login/sasl-plain.h"
#include "lib/base64.h"
#include "lib/imap-parser.h"
#include "lib/log.h"
#include "lib/stream.h"

typedef void command_fn(struct client *c, const struct imap_command *cmd);

/* Arguments may hold a password, and the parser keeps them until it is fed
 * again. */
static void command_wipe(const struct imap_command *cmd)
{
	for (size_t i = 0; i < cmd->count; i++)
		if (cmd->args[i].data && cmd->args[i].len > 0)
			explicit_bzero((void *)(uintptr_t)cmd->args[i].data,
				cmd->args[i].len);
}

static void cmd_capability(struct client *c, const struct imap_command *cmd)
{
	stream_printf(c->stream, "* CAPABILITY %s\r\n", client_capabilities(c));
	client_answer(c, cmd->tag, "OK Capability completed.");
}

static void cmd_noop(struct client *c, const struct imap_command *cmd)
{
	client_answer(c, cmd->tag, "OK NOOP completed.");
}

static void cmd_logout(struct client *c, const struct imap_command *cmd)
{
	stream_puts(c->stream, "* BYE Logging out.\r\n");
	client_answer(c, cmd->tag, "OK Logout completed.");
	client_log(c, "disconnect", "logged out");
	c->logged = true;
	client_set_phase(c, CLIENT_CLOSING, "logout");
}

/* ---- ID (RFC 2971) ---- */

/* 3.1: at most 30 pairs, names of 30 bytes, values of 1024. */
#define ID_PAIRS_MAX	30
#define ID_NAME_MAX	30
#define ID_VALUE_MAX	1024

static bool id_name_is_plain(const char *name, size_t len)
{
	return len > 0 && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				       "0123456789-_") == len;
}

static bool id_pair_good(const struct imap_arg *name, const struct imap_arg *value)
{
	if (name->type != IMAP_ARG_STRING || name->len > ID_NAME_MAX)
		return false;
	return value->is_nil || (value->type == IMAP_ARG_STRING && value->len <= ID_VALUE_MAX);
}

/* False: syntax error, nothing was logged. */
static bool id_log(const struct client *c, const struct imap_arg *list)
{
	char line[1024];
	size_t at = 0;

	if (list->count % 2 != 0 || list->count / 2 > ID_PAIRS_MAX)
		return false;
	line[0] = '\0';
	for (size_t i = 0; i < list->count; i += 2) {
		const struct imap_arg *name = &list->items[i], *value = &list->items[i + 1];
		if (!id_pair_good(name, value))
			return false;
		if (value->is_nil || !id_name_is_plain(name->data, name->len))
			continue;
		int n = snprintf(line + at, sizeof(line) - at, " id-%s=%s", name->data,
			log_mem(value->data, (unsigned)value->len));
		/* What does not fit whole is left out. */
		if (n < 0 || (size_t)n >= sizeof(line) - at)
			line[at] = '\0';
		else
			at += (size_t)n;
	}
	if (at > 0)
		log_info("id", "id=%llx remote=%s%s", (unsigned long long)c->cookie,
			c->remote.ip, line);
	return true;
}

static void cmd_id(struct client *c, const struct imap_command *cmd)
{
	const struct imap_arg *arg = cmd->count == 1 ? &cmd->args[0] : NULL;

	if (!arg || !(arg->is_nil || (arg->type == IMAP_ARG_LIST && id_log(c, arg)))) {
		client_bad(c, cmd->tag, "BAD ID wants NIL or a list of names and values.");
		return;
	}
	/* No version: who has not logged in need not know it. */
	stream_puts(c->stream, "* ID (\"name\" \"Dormouse\")\r\n");
	client_answer(c, cmd->tag, "OK ID completed.");
}

/* ---- LOGIN (RFC 9051 6.2.3) ---- */

static bool refused_for_privacy(struct client *c, const struct imap_command *cmd)
{
	if (c->secured)
		return false;
	client_log(c, "login-failed", "password without TLS");
	/* RFC 9051 6.2.3 and RFC 5530: the password has been seen by whoever
	   listens; at least it is not used. */
	client_bad(c, cmd->tag, "NO [PRIVACYREQUIRED] Passwords are accepted over TLS only.");
	return true;
}

static void cmd_login(struct client *c, const struct imap_command *cmd)
{
	const char *user = cmd->count == 2 ? imap_arg_astring(&cmd->args[0]) : NULL;
	const char *password = user ? imap_arg_astring(&cmd->args[1]) : NULL;

	if (refused_for_privacy(c, cmd))
		return;
	if (!client_offers(c, SASL_PLAIN)) {
		client_bad(c, cmd->tag, "NO [CANNOT] LOGIN is disabled, use AUTHENTICATE.");
		return;
	}
	if (!password) {
		client_bad(c, cmd->tag, "BAD LOGIN wants a user name and a password.");
		return;
	}
	client_ask(c, cmd->tag, "LOGIN", "", user, password);
}

/* ---- AUTHENTICATE (RFC 9051 6.2.2), initial response: RFC 4959 ---- */

static void sasl_refuse(struct client *c, const char *text, const char *reason)
{
	c->user[0] = '\0';
	client_refuse(c, text, reason, 0);
}

/* RFC 4616 */
static void sasl_plain(struct client *c, const char *text, size_t len)
{
	struct sasl_plain_message m;

	switch (sasl_plain_parse(text, len, &m)) {
	case SASL_PLAIN_OK:
		client_ask(c, c->tag, "PLAIN", m.authzid, m.authcid, m.password);
		break;
	case SASL_PLAIN_BASE64:
		client_bad(c, c->tag, "BAD This is not base64.");
		break;
	case SASL_PLAIN_MESSAGE:
		sasl_refuse(c, "NO [AUTHENTICATIONFAILED] Not a message of PLAIN.",
			"malformed PLAIN message");
		break;
	}
	sasl_plain_wipe(&m);
}

/* Base64 into message, of at most SASL_MESSAGE_MAX_BYTES and a NUL behind it. False:
 * the client was told. */
static bool sasl_decode(struct client *c, const char *text, size_t len, char *message,
	size_t *len_r)
{
	if (len > BASE64_ENCODED_SIZE(SASL_MESSAGE_MAX_BYTES) - 1) {
		sasl_refuse(c, "NO [AUTHENTICATIONFAILED] The message is too long.",
			"SASL message too long");
	} else if (!base64_decode(text, len, message, len_r)) {
		client_bad(c, c->tag, "BAD This is not base64.");
	} else if (*len_r > SASL_MESSAGE_MAX_BYTES) {
		sasl_refuse(c, "NO [AUTHENTICATIONFAILED] The message is too long.",
			"SASL message too long");
	} else {
		message[*len_r] = '\0';
		return true;
	}
	client_exchange_cancel(c);
	return false;
}

/* Not a standard, but old clients have nothing else: two prompts. */
static void sasl_login(struct client *c, const char *message, size_t len)
{
	if (memchr(message, '\0', len)) {
		sasl_refuse(c, "NO [AUTHENTICATIONFAILED] Not a message of LOGIN.",
			"malformed LOGIN message");
	} else if (!*c->sasl_user) {
		/* Longer is nobody's, and stays too long when it is cut. */
		size_t n = len < sizeof(c->sasl_user) ? len : sizeof(c->sasl_user) - 1;
		memcpy(c->sasl_user, message, n);
		c->sasl_user[n] = '\0';
		if (!*c->sasl_user) {
			sasl_refuse(c, "NO [AUTHENTICATIONFAILED] There is no name.",
				"no name in LOGIN");
			return;
		}
		stream_puts(c->stream, "+ UGFzc3dvcmQ6\r\n");	/* Password: */
		client_set_phase(c, CLIENT_SASL, "challenge sent");
	} else {
		client_ask(c, c->tag, "LOGIN", "", c->sasl_user, message);
	}
}

/* RFC 4422, appendix A. */
static void sasl_external(struct client *c, const char *message, size_t len)
{
	if (memchr(message, '\0', len)) {
		sasl_refuse(c, "NO [AUTHENTICATIONFAILED] Not a message of EXTERNAL.",
			"malformed EXTERNAL message");
		return;
	}
	client_ask(c, c->tag, "EXTERNAL", message, "", "");
	snprintf(c->user, sizeof(c->user), "%s", c->external);
}

static void sasl_scram(struct client *c, const char *message, size_t len)
{
	if (c->sasl_begun)
		client_exchange_step(c, message, len);
	else
		client_ask_exchange(c, sasl_name(c->sasl), message, len);
}

/* What the client says in c->sasl, in base64. */
static void sasl_response(struct client *c, const char *text, size_t len)
{
	char message[SASL_MESSAGE_MAX_BYTES + 4];
	size_t n = 0;

	if (c->sasl == SASL_PLAIN) {
		sasl_plain(c, text, len);
		return;
	}
	if (sasl_decode(c, text, len, message, &n)) {
		switch (c->sasl) {
		case SASL_PLAIN:
			break;
		case SASL_LOGIN:
			sasl_login(c, message, n);
			break;
		case SASL_EXTERNAL:
			sasl_external(c, message, n);
			break;
		case SASL_SCRAM:
		case SASL_SCRAM_PLUS:
			sasl_scram(c, message, n);
			break;
		}
	}
	explicit_bzero(message, sizeof(message));
}

void command_sasl_challenge(struct client *c, const void *challenge, size_t len)
{
	char text[BASE64_ENCODED_SIZE(2 * SASL_MESSAGE_MAX_BYTES)];

	base64_encode(challenge, len, text);
	stream_printf(c->stream, "+ %s\r\n", text);
}

/* False: there is none of that name here. */
static bool sasl_find(struct client *c, const struct imap_arg *name)
{
	for (int m = SASL_PLAIN; m <= SASL_SCRAM_PLUS; m++)
		if (imap_arg_is_atom(name, sasl_name((enum sasl_mechanism)m))) {
			c->sasl = (enum sasl_mechanism)m;
			return true;
		}
	return false;
}

static void cmd_authenticate(struct client *c, const struct imap_command *cmd)
{
	const struct imap_arg *ir = cmd->count == 2 ? &cmd->args[1] : NULL;

	if (cmd->count < 1 || cmd->count > 2 || cmd->args[0].type != IMAP_ARG_ATOM ||
		(ir && ir->type != IMAP_ARG_ATOM)) {
		client_bad(c, cmd->tag, "BAD AUTHENTICATE wants the name of a mechanism.");
		return;
	}
	bool known = sasl_find(c, &cmd->args[0]);
	if (known && refused_for_privacy(c, cmd))
		return;
	if (!known || !client_offers(c, c->sasl)) {
		client_bad(c, cmd->tag, "NO [CANNOT] This mechanism is not supported.");
		return;
	}
	snprintf(c->tag, sizeof(c->tag), "%s", cmd->tag);
	c->sasl_user[0] = '\0';
	if (ir) {
		/* RFC 4959 3: "=" is a response of no bytes. */
		bool empty = strcmp(ir->data, "=") == 0;
		sasl_response(c, empty ? "" : ir->data, empty ? 0 : ir->len);
		return;
	}
	/* In all of them the client begins; LOGIN is asked for its name. */
	stream_puts(c->stream, c->sasl == SASL_LOGIN ? "+ VXNlcm5hbWU6\r\n" : "+ \r\n");
	client_set_phase(c, CLIENT_SASL, "challenge sent");
}

void command_sasl_line(struct client *c, const char *line, size_t len)
{
	client_set_phase(c, CLIENT_COMMANDS, "response read");
	/* RFC 9051 6.2.2: "*" cancels, and is answered with BAD. */
	if (len == 1 && line[0] == '*') {
		client_exchange_cancel(c);
		client_bad(c, c->tag, "BAD Authentication cancelled.");
	} else {
		sasl_response(c, line, len);
	}
}

/* RFC 3501 6.2.1, RFC 2595 3.1. What was sent behind the line in clear text goes
 * to the handshake, which takes nothing but records of TLS. */
static void cmd_starttls(struct client *c, const struct imap_command *cmd)
{
	if (c->tls || !login_tls(c->login)) {
		client_bad(c, cmd->tag, c->tls ? "BAD TLS is active already."
					       : "BAD TLS is not available.");
		return;
	}
	if (!client_tls_begin(c)) {
		client_answer(c, cmd->tag, "NO [UNAVAILABLE] TLS is not possible now.");
		return;
	}
	client_answer(c, cmd->tag, "OK Begin TLS negotiation now.");
	/* What was said in clear text is forgotten. */
	c->user[0] = '\0';
	client_set_phase(c, CLIENT_HANDSHAKE, "STARTTLS");
}

/* ---- the table ---- */

static const struct {
	const char *name;
	unsigned min_args, max_args;
	command_fn *fn;
} commands[] = {
	{ "CAPABILITY",		0, 0, cmd_capability },
	{ "NOOP",		0, 0, cmd_noop },
	{ "LOGOUT",		0, 0, cmd_logout },
	{ "ID",			1, 1, cmd_id },
	{ "LOGIN",		0, 99, cmd_login },
	{ "AUTHENTICATE",	0, 99, cmd_authenticate },
	{ "STARTTLS",		0, 0, cmd_starttls },
};

/* So that the client learns that not the command but the time is wrong. */
static const char *const after_login[] = {
	"APPEND", "CHECK", "CLOSE", "COMPRESS", "COPY", "CREATE", "DELETE", "ENABLE",
	"EXAMINE", "EXPUNGE", "FETCH", "GETACL", "GETMETADATA", "GETQUOTA",
	"GETQUOTAROOT", "IDLE", "LIST", "LSUB", "MOVE", "MYRIGHTS", "NAMESPACE", "NOTIFY",
	"RENAME", "SEARCH", "SELECT", "SETMETADATA", "SORT", "STATUS", "STORE",
	"SUBSCRIBE", "THREAD", "UID", "UNSELECT", "UNSUBSCRIBE",
};

static void command_unknown(struct client *c, const struct imap_command *cmd)
{
	for (size_t i = 0; i < sizeof(after_login) / sizeof(after_login[0]); i++)
		if (strcmp(cmd->name, after_login[i]) == 0) {
			client_bad(c, cmd->tag, "BAD Log in first.");
			return;
		}
	client_bad(c, cmd->tag, "BAD Unknown command.");
}

static void command_find(struct client *c, const struct imap_command *cmd)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, cmd->name) != 0)
			continue;
		if (cmd->count < commands[i].min_args || cmd->count > commands[i].max_args)
			client_bad(c, cmd->tag, "BAD Wrong number of arguments.");
		else
			commands[i].fn(c, cmd);
		return;
	}
	command_unknown(c, cmd);
}

void command_run(struct client *c)
{
	const struct imap_command *cmd = imap_parser_command(c->parser);

	unsigned bad = c->bad_commands;

	c->commands++;
	command_find(c, cmd);
	/* Only bad ones in a row count. */
	if (c->bad_commands == bad)
		c->bad_commands = 0;
	command_wipe(cmd);
}
