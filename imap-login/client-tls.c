/* SPDX-License-Identifier: MIT */
/* TLS for one client: the handshake, then the stream's record layer.
 *
 * While the handshake lasts the stream is the bare socket. What it has read goes
 * to the handshake record by record, which refuses what is none: a command that
 * somebody put behind STARTTLS in clear text (CVE-2011-0411) ends the connection
 * and is never run. What is behind the last record of the handshake is moved
 * below the record layer. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "imap-login/client-private.h"
#include "imap-login/login.h"
#include "imap-login/tls-handshake.h"
#include "lib/log.h"
#include "lib/stream-tls.h"
#include "lib/stream.h"

/* What OpenSSL may answer to one record: a chain of certificates and some tickets. */
#define FLIGHT_MAX_BYTES	(512 * 1024)

const char *client_tls_log(const struct client *c)
{
	return c->tls ? c->tls_log : "tls=no suite=-";
}

bool client_tls_begin(struct client *c)
{
	c->handshake = tls_handshake_create(login_tls(c->login));
	c->handshake_done = false;
	return c->handshake != NULL;
}

/* The alert is written, then the connection ends. */
static void tls_failed(struct client *c, const char *reason)
{
	char text[200];

	login_count_tls(c->login, false, false);
	snprintf(text, sizeof(text), "TLS: %s", reason);
	client_log(c, "disconnect", text);
	c->logged = true;
	tls_handshake_destroy(&c->handshake);
	client_set_phase(c, CLIENT_CLOSING, "handshake failed");
}

bool client_tls_step(struct client *c)
{
	enum tls_handshake_result result;
	size_t len, used = 0;
	const uint8_t *data = stream_input(c->stream, &len);
	struct buf out;

	buf_init(&out, FLIGHT_MAX_BYTES);
	result = tls_handshake_feed(c->handshake, data, len, &used, &out);
	stream_consume(c->stream, used);
	if (out.len > 0)
		stream_write(c->stream, out.data, out.len);
	buf_wipe(&out);
	switch (result) {
	case TLS_HANDSHAKE_MORE:
		return false;
	case TLS_HANDSHAKE_DONE:
		c->handshake_done = true;
		return true;
	case TLS_HANDSHAKE_FAILED:
		tls_failed(c, tls_handshake_reason(c->handshake));
		return true;
	}
	return false;
}

static void take_binding(struct client_cbind *to, const uint8_t *bytes, size_t len)
{
	memcpy(to->bytes, bytes, len);
	to->len = len;
}

static void take_facts(struct client *c, const struct tls_facts *facts)
{
	const struct tls_record *t = stream_tls(c->stream);

	snprintf(c->tls_log, sizeof(c->tls_log), "tls=%s suite=%s",
		tls_version_name(t->version), tls_suite_name(t->version, t->suite));
	memcpy(c->external, facts->external, sizeof(c->external));
	take_binding(&c->cbind_exporter, facts->exporter, facts->exporter_len);
	take_binding(&c->cbind_endpoint, facts->endpoint, facts->endpoint_len);
	c->tls = c->secured = true;
	login_count_tls(c->login, true, facts->resumed);
	log_debug("tls", "id=%llx %s resumed=%d external=%s", (unsigned long long)c->cookie,
		client_tls_log(c), facts->resumed, log_str(facts->external));
}

/* Below the layer goes what the handshake did not want. */
static int push_layer(struct client *c, struct tls_record *record)
{
	size_t len;
	const uint8_t *kept = stream_input(c->stream, &len);
	int ret = stream_push_tls(c->stream, login_crypto(c->login), record, kept, len);

	if (ret == 0)
		stream_consume(c->stream, len);
	return ret;
}

void client_tls_finish(struct client *c)
{
	struct tls_record record = { 0 };
	struct tls_facts facts;
	int ret = tls_handshake_export(c->handshake, login_crypto(c->login), &record, &facts);

	if (ret < 0) {
		tls_failed(c, tls_handshake_reason(c->handshake));
	} else if ((ret = push_layer(c, &record)) < 0) {
		tls_failed(c, strerror(-ret));
	} else {
		tls_handshake_destroy(&c->handshake);
		take_facts(c, &facts);
		client_set_phase(c, CLIENT_COMMANDS, "handshake done");
		if (!c->greeted)
			client_greet(c);
	}
	tls_record_wipe(&record);
	explicit_bzero(&facts, sizeof(facts));
}

int client_tls_drain(struct client *c)
{
	int ret = 0;

	while (c->tls && (ret = stream_tls_may_export(c->stream)) == -EBUSY) {
		long n = stream_fill(c->stream);

		if (n <= 0)
			return n < 0 ? (int)n : -EPIPE;
	}
	return ret;
}

int client_tls_pack(struct client *c, struct buf *packet)
{
	struct buf state;
	int ret;

	if (!c->tls) {
		buf_append_u32(packet, 0);
		return packet->failed ? -ENOMEM : 0;
	}
	buf_init(&state, CLIENT_TLS_STATE_MAX_BYTES);
	ret = stream_tls_export(c->stream, &state);
	if (ret == 0) {
		buf_append_u32(packet, (uint32_t)state.len);
		buf_append(packet, state.data, state.len);
		ret = packet->failed ? -ENOMEM : 0;
	}
	buf_wipe(&state);
	/* Expanded keys of this client are in the shared contexts still. */
	tls_crypto_forget(login_crypto(c->login));
	return ret;
}

void client_tls_close(struct client *c)
{
	stream_tls_close(c->stream);
}
