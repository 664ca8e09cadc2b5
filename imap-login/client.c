/* SPDX-License-Identifier: MIT */
/* The life of a connection before login:
 *
 *	COMMANDS <-> SASL -> AUTH -> LEAVING -> (the login queue, forgotten)
 *	 |  ^ ^                |
 *	 |  | +--- DELAY <-----+		any -> CLOSING -> LINGER -> gone
 *	 v  |
 *	HANDSHAKE		(where a connection begins if the listener is TLS's)
 *
 * client_run() is the only place that reads, parses and writes, and the only
 * one that destroys a client after an event: functions called from it set a
 * phase and return. What arrives behind LOGIN stays in the stream, or in the
 * kernel when the stream is full, and goes to imap unread. */
#include "imap-login/client.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "imap-login/client-private.h"
#include "imap-login/login.h"
#include "imap-login/tls-handshake.h"
#include "lib/clock.h"
#include "lib/fence.h"
#include "lib/imap-parser.h"
#include "lib/imap-write.h"
#include "lib/ipc-proto.h"
#include "lib/ipc.h"
#include "lib/log.h"
#include "lib/settings.h"
#include "lib/stream.h"
#include "state/ticket.h"

#define PACKET_MAX_BYTES (1 + TICKET_MAX_BYTES + 2 * (2 + NETADDR_BYTES + 2) + 8 + \
			  2 + IMAP_TAG_MAX_BYTES + 4 + CLIENT_INPUT_MAX_BYTES + \
			  4 + CLIENT_TLS_STATE_MAX_BYTES)
/* Turns of reading that one client gets before the others get theirs. */
#define FILLS_PER_TURN	16

static void client_run(struct client *c);

/* ---- log ---- */

void client_log(const struct client *c, const char *event, const char *reason)
{
	log_info(event, "id=%llx user=%s remote=%s local=%s port=%u reason=%s commands=%u failures=%u %s",
		(unsigned long long)c->cookie, *c->user ? log_str(c->user) : "-",
		c->remote.ip, c->local.ip, c->local.port, log_str(reason), c->commands,
		c->failures, client_tls_log(c));
}

static const char *phase_name(enum client_phase phase)
{
	switch (phase) {
	case CLIENT_HANDSHAKE:	return "handshake";
	case CLIENT_COMMANDS:	return "commands";
	case CLIENT_SASL:	return "sasl";
	case CLIENT_AUTH:	return "auth";
	case CLIENT_DELAY:	return "delay";
	case CLIENT_LEAVING:	return "leaving";
	case CLIENT_CLOSING:	return "closing";
	case CLIENT_LINGER:	return "linger";
	}
	return "unknown";
}

/* ---- phases and their timers ---- */

static void client_drop_question(struct client *c)
{
	if (c->sasl_begun && c->link) {
		/* Lost with the channel: the exchange is, too. */
		struct ipc_out *out = ipc_out_create(IPC_AUTH_CANCEL);
		if (out)
			ipc_out_u64(out, c->question);
		(void)login_ask_on(c->link, &out);
	}
	c->sasl_begun = false;
	c->question = 0;
	ipc_out_destroy(&c->request);
	if (c->link)
		login_release(c->login, &c->link);
}

static void client_time_up(void *ctx)
{
	struct client *c = ctx;

	switch (c->phase) {
	case CLIENT_HANDSHAKE:
	case CLIENT_COMMANDS:
	case CLIENT_SASL:
		client_bye(c, "[UNAVAILABLE] Disconnected for inactivity.", "login timeout");
		break;
	case CLIENT_AUTH:	/* only while auth is not there */
		client_drop_question(c);
		client_log(c, "login-failed", "auth is not running");
		client_set_phase(c, CLIENT_COMMANDS, "auth is not there");
		client_answer(c, c->tag, "NO [UNAVAILABLE] Login is not possible now, try again.");
		break;
	case CLIENT_DELAY:
		client_set_phase(c, CLIENT_COMMANDS, "delay over");
		client_answer(c, c->tag, c->answer);
		if (c->failures >= CLIENT_FAILURES_MAX)
			client_bye(c, "Too many failed logins.", "too many failures");
		break;
	case CLIENT_LEAVING:
		break;
	case CLIENT_CLOSING:
	case CLIENT_LINGER:
		client_destroy(&c, "closed");
		return;
	}
	client_run(c);
}

static void client_timer(struct client *c, uint64_t delay_ms)
{
	/* Arming again needs no memory: the heap has this one's place. */
	(void)loop_timer_set(login_loop(c->login), &c->timer, delay_ms, client_time_up, c);
}

static bool phase_reads_commands(enum client_phase phase)
{
	return phase == CLIENT_COMMANDS || phase == CLIENT_SASL;
}

static bool phase_reads(enum client_phase phase)
{
	return phase == CLIENT_HANDSHAKE || phase_reads_commands(phase);
}

void client_set_phase(struct client *c, enum client_phase to, const char *why)
{
	uint64_t timeout = login_settings(c->login)->login_timeout_ms;
	uint64_t now = clock_ms();

	log_debug("client", "id=%llx %s -> %s (%s)", (unsigned long long)c->cookie,
		phase_name(c->phase), phase_name(to), why);
	assert(c->phase != CLIENT_LINGER);
	/* Waiting for us is not the client's idleness. */
	if ((to == CLIENT_COMMANDS || to == CLIENT_SASL) && !phase_reads(c->phase))
		c->deadline_ms = now + timeout;
	c->phase = to;
	if (client_spare_address(c))
		login_client_is_spare(c->login);
	switch (to) {
	case CLIENT_HANDSHAKE:
	case CLIENT_COMMANDS:
	case CLIENT_SASL:
		client_timer(c, c->deadline_ms > now ? c->deadline_ms - now : 0);
		break;
	case CLIENT_AUTH:
	case CLIENT_DELAY:
	case CLIENT_LEAVING:
		loop_timer_cancel(login_loop(c->login), &c->timer);
		break;
	case CLIENT_CLOSING:
	case CLIENT_LINGER:
		client_timer(c, CLIENT_LINGER_MS);
		break;
	}
}

/* ---- answers ---- */

bool client_offers(const struct client *c, enum sasl_mechanism mechanism)
{
	const char *words = login_settings(c->login)->mechanisms;

	if (!c->secured)
		return false;
	switch (mechanism) {
	case SASL_PLAIN:	return settings_has_word(words, "plain");
	case SASL_LOGIN:	return settings_has_word(words, "login");
	case SASL_EXTERNAL:	return *c->external != '\0';
	case SASL_SCRAM:	return settings_has_word(words, "scram-sha-256");
	case SASL_SCRAM_PLUS:
		return (c->cbind_exporter.len > 0 || c->cbind_endpoint.len > 0) &&
			settings_has_word(words, "scram-sha-256");
	}
	return false;
}

const char *sasl_name(enum sasl_mechanism mechanism)
{
	switch (mechanism) {
	case SASL_PLAIN:	return "PLAIN";
	case SASL_LOGIN:	return "LOGIN";
	case SASL_EXTERNAL:	return "EXTERNAL";
	case SASL_SCRAM:	return "SCRAM-SHA-256";
	case SASL_SCRAM_PLUS:	return "SCRAM-SHA-256-PLUS";
	}
	return "";
}

const char *client_capabilities(const struct client *c)
{
	static char text[256];

	/* What there is after login is imap's to tell. RFC 3501 6.2.1 and RFC 2595 3:
	   what TLS changes. */
	snprintf(text, sizeof(text), "IMAP4rev1 LITERAL+ SASL-IR ID ENABLE%s%s",
		!c->tls && login_tls(c->login) ? " STARTTLS" : "",
		client_offers(c, SASL_PLAIN) ? "" : " LOGINDISABLED");
	for (int m = SASL_PLAIN; m <= SASL_SCRAM_PLUS; m++) {
		size_t at = strlen(text);
		if (client_offers(c, (enum sasl_mechanism)m))
			snprintf(text + at, sizeof(text) - at, " AUTH=%s",
				sasl_name((enum sasl_mechanism)m));
	}
	return text;
}

void client_answer(struct client *c, const char *tag, const char *text)
{
	/* A client that hears of its error later than it might is served well
	   enough: failures of the stream are found when it is flushed. */
	stream_printf(c->stream, "%s %s\r\n", tag, text);
}

void client_bye(struct client *c, const char *text, const char *reason)
{
	/* Who has his ticket is not ours to send away. */
	if (c->phase == CLIENT_LEAVING || c->phase == CLIENT_CLOSING ||
		c->phase == CLIENT_LINGER)
		return;
	client_drop_question(c);
	/* Clear text would only confuse a client that waits for a handshake. */
	if (c->phase != CLIENT_HANDSHAKE)
		stream_printf(c->stream, "* BYE %s\r\n", text);
	client_log(c, "disconnect", reason);
	c->logged = true;
	client_set_phase(c, CLIENT_CLOSING, reason);
}

void client_bad(struct client *c, const char *tag, const char *text)
{
	client_answer(c, tag, text);
	if (++c->bad_commands >= LOGIN_BAD_COMMANDS_MAX)
		client_bye(c, "Too many bad commands.", "too many bad commands");
}

void client_refuse(struct client *c, const char *text, const char *reason, uint64_t late_ms)
{
	uint64_t delay = CLIENT_DELAY_MAX_MS;

	client_log(c, "login-failed", reason);
	if (c->failures < 4)
		delay = CLIENT_DELAY_MS << c->failures;
	if (delay < late_ms)
		delay = late_ms < CLIENT_DELAY_MAX_MS ? late_ms : CLIENT_DELAY_MAX_MS;
	c->failures++;
	snprintf(c->answer, sizeof(c->answer), "%s", text);
	client_set_phase(c, CLIENT_DELAY, reason);
	client_timer(c, delay);
}

/* ---- asking auth ---- */

static struct ipc_out *question_create(const struct client *c, const char *mechanism,
	const char *authzid, const char *user, const char *password)
{
	struct ipc_out *out = ipc_out_create(IPC_AUTH);

	if (!out)
		return NULL;
	ipc_out_u64(out, c->question);
	ipc_out_str(out, mechanism);
	ipc_out_str(out, authzid);
	ipc_out_str(out, user);
	ipc_out_str(out, password);
	ipc_out_u64(out, c->cookie);
	ipc_out_str(out, c->remote.ip);
	ipc_out_str(out, c->local.ip);
	ipc_out_bool(out, c->secured);
	ipc_out_str(out, c->external);
	return out;
}

static struct ipc_out *exchange_create(const struct client *c, const char *mechanism,
	const void *message, size_t len)
{
	struct ipc_out *out = ipc_out_create(IPC_AUTH_BEGIN);

	if (!out)
		return NULL;
	ipc_out_u64(out, c->question);
	ipc_out_str(out, mechanism);
	ipc_out_u64(out, c->cookie);
	ipc_out_str(out, c->remote.ip);
	ipc_out_str(out, c->local.ip);
	ipc_out_bool(out, c->secured);
	ipc_out_bin(out, c->cbind_exporter.bytes, c->cbind_exporter.len);
	ipc_out_bin(out, c->cbind_endpoint.bytes, c->cbind_endpoint.len);
	ipc_out_bin(out, message, len);
	return out;
}

/* Sends c->request, or lets it wait for auth. */
static void client_send_question(struct client *c)
{
	int ret = login_ask(c->login, &c->request, &c->link);

	if (ret == -EAGAIN) {
		client_timer(c, CLIENT_AUTH_WAIT_MS);
		return;
	}
	if (ret == 0) {
		loop_timer_cancel(login_loop(c->login), &c->timer);
		return;
	}
	client_drop_question(c);
	client_log(c, "login-failed", strerror(-ret));
	client_set_phase(c, CLIENT_COMMANDS, "question not sent");
	client_answer(c, c->tag, "NO [UNAVAILABLE] Login is not possible now, try again.");
}

void client_ask(struct client *c, const char *tag, const char *mechanism,
	const char *authzid, const char *user, const char *password)
{
	if (tag != c->tag)
		snprintf(c->tag, sizeof(c->tag), "%s", tag);
	snprintf(c->user, sizeof(c->user), "%s", user);
	c->question = login_question_id(c->login, c, c->slot);
	c->request = question_create(c, mechanism, authzid, user, password);
	client_set_phase(c, CLIENT_AUTH, "asked");
	client_send_question(c);
}

void client_ask_exchange(struct client *c, const char *mechanism, const void *message,
	size_t len)
{
	c->user[0] = '\0';		/* in the message, which is auth's to read */
	c->question = login_question_id(c->login, c, c->slot);
	c->request = exchange_create(c, mechanism, message, len);
	c->sasl_begun = true;
	client_set_phase(c, CLIENT_AUTH, "asked");
	client_send_question(c);
}

void client_exchange_step(struct client *c, const void *message, size_t len)
{
	struct ipc_out *out = ipc_out_create(IPC_AUTH_STEP);

	if (out) {
		ipc_out_u64(out, c->question);
		ipc_out_bin(out, message, len);
	}
	int ret = login_ask_on(c->link, &out);
	client_set_phase(c, CLIENT_AUTH, "response sent");
	if (ret == 0)
		return;
	client_drop_question(c);
	client_log(c, "login-failed", strerror(-ret));
	client_set_phase(c, CLIENT_COMMANDS, "response not sent");
	client_answer(c, c->tag, "NO [UNAVAILABLE] Login is not possible now, try again.");
}

void client_exchange_cancel(struct client *c)
{
	client_drop_question(c);
}

void client_auth_challenge(struct client *c, uint64_t id, const void *challenge, size_t len)
{
	if (c->phase != CLIENT_AUTH || c->question != id || !c->sasl_begun)
		return;
	client_set_phase(c, CLIENT_SASL, "challenge");
	command_sasl_challenge(c, challenge, len);
	client_run(c);
}

void client_auth_is_back(struct client *c)
{
	if (c->phase != CLIENT_AUTH || !c->request)
		return;
	client_send_question(c);
	client_run(c);
}

void client_auth_lost(struct client *c, const struct auth_link *link)
{
	if ((c->phase != CLIENT_AUTH && c->phase != CLIENT_SASL) || c->link != link)
		return;
	client_drop_question(c);
	client_log(c, "login-failed", "auth ended while it was asked");
	client_set_phase(c, CLIENT_COMMANDS, "auth lost");
	/* RFC 5530: a temporary failure, to be tried again. */
	client_answer(c, c->tag, "NO [UNAVAILABLE] Login was interrupted, try again.");
	client_run(c);
}

/* The part of the answer that the code stands for; auth's text after it. */
static const char *fail_code(uint64_t code)
{
	switch ((enum ipc_auth_fail)code) {
	case AUTH_FAIL_CREDENTIALS:	return "[AUTHENTICATIONFAILED]";
	case AUTH_FAIL_TEMPORARY:	return "[UNAVAILABLE]";
	case AUTH_FAIL_LIMIT:		return "[LIMIT]";
	case AUTH_FAIL_POLICY:		return "[PRIVACYREQUIRED]";
	}
	return "[UNAVAILABLE]";
}

static const char *fail_text(uint64_t code)
{
	switch ((enum ipc_auth_fail)code) {
	case AUTH_FAIL_CREDENTIALS:	return "Authentication failed.";
	case AUTH_FAIL_TEMPORARY:	break;
	case AUTH_FAIL_LIMIT:		return "Too many sessions.";
	case AUTH_FAIL_POLICY:		return "Not allowed here.";
	}
	return "Login is not possible now, try again.";
}

void client_auth_fail(struct client *c, uint64_t id, uint64_t code, const char *text,
	uint64_t late_ms)
{
	char answer[sizeof(c->answer)];
	struct buf clean;

	/* In mid exchange, too: auth may need its place for others. */
	if ((c->phase != CLIENT_AUTH && c->phase != CLIENT_SASL) || c->question != id)
		return;
	c->sasl_begun = false;
	client_drop_question(c);
	buf_init(&clean, 160);
	if (imap_write_text(&clean, *text ? text : fail_text(code)) < 0)
		buf_reset(&clean);
	snprintf(answer, sizeof(answer), "NO %s %.*s", fail_code(code), (int)clean.len,
		clean.data ? (const char *)clean.data : "");
	buf_deinit(&clean);
	if (code == AUTH_FAIL_CREDENTIALS) {
		client_refuse(c, answer, "wrong user or password", late_ms);
	} else {
		client_log(c, "login-failed", fail_code(code));
		client_set_phase(c, CLIENT_COMMANDS, "refused");
		client_answer(c, c->tag, answer);
	}
	client_run(c);
}

/* ---- leaving ---- */

static void append_text(struct buf *b, const char *text)
{
	size_t len = strlen(text);

	buf_append_u16(b, (uint16_t)len);
	buf_append(b, text, len);
}

/* RAW_LOGIN, see lib/ipc-proto.h. False: it cannot go. */
static bool packet_build(struct client *c)
{
	struct buf *b = &c->packet;
	size_t input_len;
	const uint8_t *input;
	int ret = client_tls_drain(c);

	if (ret < 0) {
		log_error("hand-over", "user=%s TLS input: %s", log_str(c->user), strerror(-ret));
		return false;
	}
	input = stream_input(c->stream, &input_len);
	append_text(b, c->remote.ip);
	buf_append_u16(b, c->remote.port);
	append_text(b, c->local.ip);
	buf_append_u16(b, c->local.port);
	buf_append_u64(b, clock_wall_us() / 1000000);
	append_text(b, c->tag);
	buf_append_u32(b, (uint32_t)input_len);
	if (input_len > 0)
		buf_append(b, input, input_len);
	/* Last, since it cannot be undone. */
	if (b->failed)
		return false;
	ret = client_tls_pack(c, b);
	if (ret < 0)
		log_error("hand-over", "user=%s TLS state: %s", log_str(c->user), strerror(-ret));
	return ret == 0;
}

/* In the queue: nothing of the client is left here. */
static void client_left(struct client *c)
{
	struct ticket t;
	uint64_t sid = 0;

	/* The session's id, for the log: 8 bytes behind magic, format, length. */
	static_assert(sizeof(t.sid) == 8, "ticket layout");
	for (int i = 0; i < 8; i++)
		sid = sid << 8 | c->packet.data[1 + 5 + i];
	log_info("login", "id=%016llx user=%s remote=%s local=%s port=%u %s",
		(unsigned long long)sid, log_str(c->user), c->remote.ip, c->local.ip,
		c->local.port, client_tls_log(c));
	c->logged = true;
	client_destroy(&c, "handed over");
}

/* True: the client is gone from here, one way or the other. */
static bool client_hand_over(struct client *c)
{
	int fd = stream_fd(c->stream);

	int ret = login_hand_over(c->login, c->packet.data, c->packet.len, fd, &c->waiting);
	if (ret == -EAGAIN)
		return false;
	if (ret == 0) {
		client_left(c);
		return true;
	}
	log_error("hand-over", "user=%s failed: %s", log_str(c->user), strerror(-ret));
	client_destroy(&c, "could not be handed over");
	return true;
}

/* All is written: out of the loop first, since the registration belongs to
 * the open file description and would go on behind our back. */
static void client_leave(struct client *c)
{
	loop_remove(login_loop(c->login), &c->io);
	if (packet_build(c))
		(void)client_hand_over(c);
	else
		client_destroy(&c, "could not be handed over");
}

bool client_queue_is_free(struct list *node)
{
	return client_hand_over(container_of(node, struct client, waiting));
}

void client_auth_ok(struct client *c, uint64_t id, const void *ticket, size_t len)
{
	if (c->phase != CLIENT_AUTH || c->question != id)
		return;
	c->sasl_begun = false;
	client_drop_question(c);
	buf_append_u8(&c->packet, RAW_LOGIN);
	buf_append(&c->packet, ticket, len);
	if (c->packet.failed || ticket_length(ticket, len) != len) {
		client_log(c, "login-failed", "no ticket");
		buf_reset(&c->packet);
		client_set_phase(c, CLIENT_COMMANDS, "no ticket");
		client_answer(c, c->tag, "NO [UNAVAILABLE] Login is not possible now, try again.");
	} else {
		client_set_phase(c, CLIENT_LEAVING, "ticket");
	}
	client_run(c);
}

/* ---- input ---- */

/* What was read may be a password: no copy stays in the stream. */
static void input_consume(struct client *c, const uint8_t *data, size_t n)
{
	explicit_bzero((void *)(uintptr_t)data, n);
	stream_consume(c->stream, n);
}

/* False: needs more bytes. */
static bool client_step_command(struct client *c, const uint8_t *data, size_t len)
{
	size_t used = 0;
	enum imap_parse result = imap_parser_feed(c->parser, data, len, &used);
	char text[160];

	input_consume(c, data, used);
	switch (result) {
	case IMAP_PARSE_MORE:
		return false;
	case IMAP_PARSE_CONTINUE:
		stream_puts(c->stream, "+ OK\r\n");
		return true;
	case IMAP_PARSE_DONE:
		command_run(c);
		return true;
	case IMAP_PARSE_BAD:
		c->commands++;
		snprintf(text, sizeof(text), "BAD %s", imap_parser_reason(c->parser));
		client_bad(c, *imap_parser_tag(c->parser) ? imap_parser_tag(c->parser) : "*",
			text);
		return true;
	case IMAP_PARSE_STREAM:		/* no command of ours streams */
	case IMAP_PARSE_FATAL:
		client_bye(c, imap_parser_reason(c->parser), imap_parser_reason(c->parser));
		return true;
	}
	return false;
}

static bool client_step_sasl(struct client *c, const uint8_t *data, size_t len)
{
	const uint8_t *lf = memchr(data, '\n', len);

	if (!lf) {
		if (len >= CLIENT_SASL_MAX_BYTES)
			client_bye(c, "Line too long.", "SASL response too long");
		return len >= CLIENT_SASL_MAX_BYTES;
	}
	size_t used = (size_t)(lf - data) + 1, n = used - 1;
	if (n > 0 && data[n - 1] == '\r')
		n--;
	command_sasl_line(c, (const char *)data, n);
	input_consume(c, data, used);
	return true;
}

static bool client_may_parse(const struct client *c)
{
	if (c->phase == CLIENT_HANDSHAKE && c->handshake_done)
		return false;
	return phase_reads(c->phase) && stream_pending(c->stream) < CLIENT_OUTPUT_MAX_BYTES;
}

/* A record may hold more than is read of it at once, or lie behind the one that
 * was read: the socket then tells of neither. True: there is more input. */
static bool client_fill_more(struct client *c, unsigned *fills)
{
	long n;

	if (!c->tls || c->eof)
		return false;
	c->again = ++*fills > FILLS_PER_TURN;
	if (c->again)
		return false;
	n = stream_fill(c->stream);
	if (n == 0)
		c->eof = true;
	return n > 0;
}

/* False: needs more bytes. */
static bool client_step(struct client *c, const uint8_t *data, size_t len)
{
	if (len == 0)
		return false;
	if (c->phase == CLIENT_HANDSHAKE)
		return client_tls_step(c);
	return c->phase == CLIENT_SASL ? client_step_sasl(c, data, len)
				       : client_step_command(c, data, len);
}

/* True: stopped because too much output waits. */
static bool client_parse(struct client *c)
{
	unsigned fills = 0;

	c->again = false;
	while (client_may_parse(c)) {
		size_t len;
		const uint8_t *data = stream_input(c->stream, &len);
		if (!client_step(c, data, len) && !client_fill_more(c, &fills))
			return false;
	}
	return phase_reads_commands(c->phase);
}

/* ---- the event ---- */

/* 0; 1: the client ended; -errno. */
static long client_fill(struct client *c)
{
	long n = stream_fill(c->stream);

	if (n == -EAGAIN || n == -ENOBUFS)
		return 0;
	if (n < 0)
		return n;
	if (n == 0)
		c->eof = true;
	return 0;
}

/* Reads and throws away. True: enough of it. */
static bool client_linger(struct client *c)
{
	for (;;) {
		size_t len;
		const uint8_t *data = stream_input(c->stream, &len);
		input_consume(c, data, len);
		c->lingered += len;
		if (c->lingered > CLIENT_LINGER_BYTES)
			return true;
		long n = stream_fill(c->stream);
		if (n == -EAGAIN)
			return false;
		if (n <= 0)
			return true;
	}
}

static void client_update_events(struct client *c)
{
	uint32_t events = 0;

	if (c->phase == CLIENT_LINGER || (client_may_parse(c) && !c->eof))
		events |= EPOLLIN;
	/* c->again: the socket can take output, so our turn comes at once. */
	if (c->phase != CLIENT_LINGER && (stream_pending(c->stream) > 0 || c->again))
		events |= EPOLLOUT;
	if (c->io.active)
		(void)loop_set_events(login_loop(c->login), &c->io, events);
}

/* Everything is written. True: the client is gone. */
static bool client_written(struct client *c)
{
	switch (c->phase) {
	case CLIENT_HANDSHAKE:
	case CLIENT_COMMANDS:
	case CLIENT_SASL:
		if (!c->eof || c->again)
			return false;
		client_destroy(&c, "connection closed");
		return true;
	case CLIENT_AUTH:
	case CLIENT_DELAY:
		return false;
	case CLIENT_LEAVING:
		client_leave(c);
		return true;
	case CLIENT_CLOSING:
		/* The last word is out; our end of the connection is shut so
		   that the client sees it, and then it may finish. */
		client_tls_close(c);
		if (shutdown(stream_fd(c->stream), SHUT_WR) < 0) {
			client_destroy(&c, "closed");
			return true;
		}
		client_set_phase(c, CLIENT_LINGER, "written");
		return false;
	case CLIENT_LINGER:
		if (!client_linger(c))
			return false;
		client_destroy(&c, "closed");
		return true;
	}
	return false;
}

/* Parses, writes, and decides what to wait for. The client may be gone. */
static void client_run(struct client *c)
{
	bool stuck;
	int ret;

	/* In line for the queue: out of the loop, nothing to do but to wait. */
	if (c->phase == CLIENT_LEAVING && !c->io.active)
		return;
	do {
		stuck = client_parse(c);
		ret = c->phase == CLIENT_LINGER ? 0 : stream_flush(c->stream);
		if (ret < 0) {
			client_destroy(&c, strerror(-ret));
			return;
		}
		if (ret == 0 && c->phase == CLIENT_HANDSHAKE && c->handshake_done) {
			client_tls_finish(c);
			stuck = true;
		}
	} while (stuck && ret == 0);
	if (ret == 0 && client_written(c))
		return;
	client_update_events(c);
}

static void client_event(void *ctx, uint32_t events)
{
	struct client *c = ctx;

	/* Both directions are over: nobody reads what we would say. */
	if (events & (EPOLLERR | EPOLLHUP)) {
		client_destroy(&c, events & EPOLLERR ? "connection reset" : "connection closed");
		return;
	}
	if ((events & EPOLLIN) && client_may_parse(c)) {
		long ret = client_fill(c);
		if (ret < 0) {
			client_destroy(&c, strerror((int)-ret));
			return;
		}
	}
	client_run(c);
}

/* ---- making and ending ---- */

static void socket_options(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1 },
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, CLIENT_KEEPIDLE_S },
		{ IPPROTO_TCP, TCP_KEEPINTVL, CLIENT_KEEPINTVL_S },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, CLIENT_USER_TIMEOUT_MS },
	};

	/* The connection works without, and they fail on one that is over. */
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		(void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
			sizeof(options[i].value));
}

static int client_addresses(struct client *c, int fd, const struct sockaddr_storage *peer)
{
	struct sockaddr_storage own = { 0 };
	socklen_t len = sizeof(own);

	if (getsockname(fd, (struct sockaddr *)&own, &len) < 0)
		return -errno;
	if (!netaddr_from(peer, &c->remote) || !netaddr_from(&own, &c->local))
		return -EAFNOSUPPORT;
	c->secured = c->tls || c->remote.loopback;
	return fence_cookie(fd, &c->cookie);
}

static int client_init(struct client *c, int fd, const struct sockaddr_storage *peer)
{
	static const struct imap_parser_limits limits = {
		.line_max = CLIENT_LINE_MAX_BYTES,
		.literal_max = LOGIN_LITERAL_MAX_BYTES,
	};

	c->parser = imap_parser_create(&limits);
	if (!c->parser)
		return -ENOMEM;
	int ret = client_addresses(c, fd, peer);
	if (ret < 0)
		return ret;
	socket_options(fd);
	uint64_t timeout = login_settings(c->login)->login_timeout_ms;
	c->deadline_ms = clock_ms() + timeout;
	ret = loop_timer_set(login_loop(c->login), &c->timer, timeout, client_time_up, c);
	if (ret < 0)
		return ret;
	return loop_add(login_loop(c->login), &c->io, fd, EPOLLIN, client_event, c);
}

/* RFC 9051 7.1.1. The socket's buffer is empty: it fits. */
void client_greet(struct client *c)
{
	stream_printf(c->stream, "* OK [CAPABILITY %s] Dormouse ready.\r\n",
		client_capabilities(c));
	c->greeted = true;
}

struct client *client_create(struct login *login, unsigned slot, int fd,
	const struct sockaddr_storage *peer, bool tls)
{
	struct client *c = calloc(1, sizeof(*c));

	if (c) {
		c->login = login;
		c->slot = slot;
		c->phase = tls ? CLIENT_HANDSHAKE : CLIENT_COMMANDS;
		list_init(&c->waiting);
		buf_init(&c->packet, PACKET_MAX_BYTES);
		c->stream = stream_create(fd, CLIENT_INPUT_MAX_BYTES);
	}
	if (!c || !c->stream) {
		close(fd);
		free(c);
		login_client_gone(login, slot);
		return NULL;
	}
	int ret = client_init(c, fd, peer);
	if (ret == 0 && tls && !client_tls_begin(c))
		ret = -ENOMEM;
	if (ret < 0) {
		c->logged = ret == -ENOTCONN;	/* gone before we looked */
		client_destroy(&c, strerror(-ret));
		return NULL;
	}
	if (!tls) {
		client_greet(c);
		(void)stream_flush(c->stream);
	}
	return c;
}

void client_destroy(struct client **c_p, const char *reason)
{
	struct client *c = *c_p;

	*c_p = NULL;
	if (!c)
		return;
	if (!c->logged)
		client_log(c, "disconnect", reason);
	loop_remove(login_loop(c->login), &c->io);
	loop_timer_cancel(login_loop(c->login), &c->timer);
	client_drop_question(c);
	list_remove(&c->waiting);
	tls_handshake_destroy(&c->handshake);
	stream_destroy(&c->stream);
	imap_parser_destroy(&c->parser);
	buf_wipe(&c->packet);
	login_client_gone(c->login, c->slot);
	free(c);
}

void client_stop(struct client *c)
{
	client_bye(c, "[UNAVAILABLE] Server is shutting down.", "server stops");
	client_run(c);
}

const char *client_spare_address(const struct client *c)
{
	switch (c->phase) {
	case CLIENT_HANDSHAKE:
	case CLIENT_COMMANDS:
	case CLIENT_SASL:
	case CLIENT_CLOSING:
	case CLIENT_LINGER:
		return c->remote.ip;
	case CLIENT_AUTH:
	case CLIENT_DELAY:	/* a way out of it would make guessing quicker */
	case CLIENT_LEAVING:
		break;
	}
	return NULL;
}

void client_send_away(struct client **c_p)
{
	struct client *c = *c_p;

	if (phase_reads_commands(c->phase)) {
		stream_puts(c->stream, "* BYE [UNAVAILABLE] Too many connections.\r\n");
		(void)stream_flush(c->stream);
	}
	client_destroy(c_p, "room for others");
}

void client_dump(const struct client *c)
{
	log_info("dump", "id=%llx phase=%s user=%s remote=%s commands=%u failures=%u",
		(unsigned long long)c->cookie, phase_name(c->phase), log_str(c->user),
		c->remote.ip, c->commands, c->failures);
}
