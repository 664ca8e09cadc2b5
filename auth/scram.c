/* SPDX-License-Identifier: MIT */
/* GNU SASL asks for each thing by a callback in the middle of a step: the name
 * is known by then, so the salt is looked up there; the keys are there before
 * the second step begins, since deriving them may take a worker's time.
 *
 * Refused here already, since GNU SASL lets them pass: NULs, and a client that
 * claims a channel binding in an exchange without one (RFC 5802 section 6). It
 * knows tls-unique, which TLS 1.3 has not and which we never have, and
 * tls-exporter, but not tls-server-end-point: that is scram-endpoint.c's. */
#include "auth/scram.h"

#include <errno.h>
#include <gsasl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/scram-keys.h"
#include "lib/base64.h"
#include "lib/buf.h"
#include "lib/limits.h"

struct scram {
	Gsasl_session *session;
	bool plus;
	char exporter[BASE64_ENCODED_SIZE(SASL_CBIND_MAX_BYTES)];
	scram_salt_fn *salt;
	void *ctx;
	const struct scram_keys *keys;
};

static Gsasl *library;

/* ---- what GNU SASL asks ---- */

static int tell_salt(Gsasl_session *session, struct scram *s)
{
	struct scram_keys keys = { .iterations = SCRAM_ITERATIONS };
	char salt[BASE64_ENCODED_SIZE(SCRAM_SALT_MAX_BYTES)], iterations[16];
	const char *user = gsasl_property_fast(session, GSASL_AUTHID);
	const char *authzid = gsasl_property_fast(session, GSASL_AUTHZID);

	s->salt(s->ctx, user ? user : "", authzid ? authzid : "", &keys);
	base64_encode(keys.salt, keys.salt_len, salt);
	snprintf(iterations, sizeof(iterations), "%u", keys.iterations);
	int ret = gsasl_property_set(session, GSASL_SCRAM_SALT, salt);
	return ret != GSASL_OK ? ret
			       : gsasl_property_set(session, GSASL_SCRAM_ITER, iterations);
}

static int tell_keys(Gsasl_session *session, const struct scram_keys *keys)
{
	char text[BASE64_ENCODED_SIZE(SCRAM_KEY_BYTES)];

	base64_encode(keys->stored, sizeof(keys->stored), text);
	int ret = gsasl_property_set(session, GSASL_SCRAM_STOREDKEY, text);
	base64_encode(keys->server, sizeof(keys->server), text);
	if (ret == GSASL_OK)
		ret = gsasl_property_set(session, GSASL_SCRAM_SERVERKEY, text);
	explicit_bzero(text, sizeof(text));
	return ret;
}

static int scram_callback(Gsasl *lib, Gsasl_session *session, Gsasl_property property)
{
	struct scram *s = gsasl_session_hook_get(session);

	if (!s)
		return GSASL_NO_CALLBACK;
	if (property == GSASL_CB_TLS_EXPORTER)
		return *s->exporter ? gsasl_property_set(session, property, s->exporter)
				    : GSASL_NO_CALLBACK;
	if ((property == GSASL_SCRAM_ITER || property == GSASL_SCRAM_SALT) && s->salt)
		return tell_salt(session, s);
	if ((property == GSASL_SCRAM_STOREDKEY || property == GSASL_SCRAM_SERVERKEY) && s->keys)
		return tell_keys(session, s->keys);
	return GSASL_NO_CALLBACK;
}

/* ---- an exchange ---- */

int scram_init(void)
{
	if (library)
		return 0;
	int ret = gsasl_init(&library);
	if (ret != GSASL_OK)
		return ret == GSASL_MALLOC_ERROR ? -ENOMEM : -EIO;
	gsasl_callback_set(library, scram_callback);
	return 0;
}

struct scram *scram_create(bool plus, const void *exporter, size_t exporter_len)
{
	struct scram *s = calloc(1, sizeof(*s));

	if (!s || scram_init() < 0) {
		free(s);
		return NULL;
	}
	s->plus = plus;
	if (exporter_len <= SASL_CBIND_MAX_BYTES)
		base64_encode(exporter, exporter_len, s->exporter);
	if (gsasl_server_start(library, plus ? "SCRAM-SHA-256-PLUS" : "SCRAM-SHA-256",
		    &s->session) != GSASL_OK) {
		free(s);
		return NULL;
	}
	gsasl_session_hook_set(s->session, s);
	return s;
}

void scram_destroy(struct scram **s_p)
{
	struct scram *s = *s_p;

	*s_p = NULL;
	if (!s)
		return;
	gsasl_finish(s->session);
	explicit_bzero(s->exporter, sizeof(s->exporter));
	free(s);
}

static enum scram_result scram_verdict(int ret, int wanted)
{
	if (ret == wanted)
		return SCRAM_OK;
	switch (ret) {
	case GSASL_MALLOC_ERROR:
	case GSASL_CRYPTO_ERROR:
		return SCRAM_FAILED;
	case GSASL_MECHANISM_PARSE_ERROR:
	case GSASL_BASE64_ERROR:
	case GSASL_NEEDS_MORE:		/* an empty message */
		return SCRAM_MALFORMED;
	default:
		return SCRAM_REFUSED;
	}
}

static enum scram_result scram_step(struct scram *s, const void *message, size_t len,
	int wanted, struct buf *out)
{
	char text[SASL_MESSAGE_MAX_BYTES + 1], *answer = NULL;
	size_t answer_len = 0;

	if (len == 0 || len > SASL_MESSAGE_MAX_BYTES || memchr(message, '\0', len))
		return SCRAM_MALFORMED;
	memcpy(text, message, len);
	text[len] = '\0';
	int ret = gsasl_step(s->session, text, len, &answer, &answer_len);
	enum scram_result result = scram_verdict(ret, wanted);
	if (result == SCRAM_OK && buf_append(out, answer, answer_len) < 0)
		result = SCRAM_FAILED;
	gsasl_free(answer);
	return result;
}

enum scram_result scram_first(struct scram *s, const void *message, size_t len,
	scram_salt_fn *salt, void *ctx, struct buf *out)
{
	if (len > 0 && ((*(const char *)message == 'p') != s->plus))
		return SCRAM_REFUSED;
	s->salt = salt;
	s->ctx = ctx;
	enum scram_result result = scram_step(s, message, len, GSASL_NEEDS_MORE, out);
	s->salt = NULL;
	return result;
}

enum scram_result scram_final(struct scram *s, const void *message, size_t len,
	const struct scram_keys *keys, struct buf *out)
{
	s->keys = keys;
	enum scram_result result = scram_step(s, message, len, GSASL_OK, out);
	s->keys = NULL;
	return result;
}
