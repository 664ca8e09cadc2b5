/* SPDX-License-Identifier: MIT */
/* SCRAM, which takes several steps:
 *
 *	BEGIN (client-first) -> CHALLENGE (salt, iterations)
 *	STEP (client-final)  -> the line, the keys -> CHALLENGE (server-final)
 *	STEP (nothing)       -> AUTH_OK
 *
 * where the server's final message has to reach the client before OK does
 * (RFC 5802 section 3), and IMAP has no other place for it than a challenge.
 *
 * A user who does not exist, and one who has no keys, gets the salt, the
 * iterations and the delay that a user of this file would get, the same for one
 * name each time: made from a secret of the server and the name. What differs
 * between users of this file differs between those who do not exist, too.
 *
 * An exchange lives from BEGIN until its answer, until CANCEL, or until its
 * channel ends; there are at most EXCHANGES_MAX: beyond it the one that has
 * waited longest for its client is ended. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/attempt.h"
#include "auth/auth-private.h"
#include "auth/scram-endpoint.h"
#include "auth/scram-keys.h"
#include "auth/scram.h"
#include "auth/workers.h"
#include "lib/buf.h"
#include "lib/hkdf.h"
#include "lib/ipc.h"
#include "lib/log.h"
#include "lib/settings.h"

/* About a kilobyte each; two imap-login processes have 2 000 clients. */
#define EXCHANGES_MAX	4096

enum exchange_phase {
	EXCHANGE_CHECK,		/* its client waits: for the line, or for a worker */
	EXCHANGE_CLIENT_FINAL,	/* waits for the client's final message */
	EXCHANGE_LAST,		/* waits for the client to have read ours */
};

struct exchange {
	struct list node;		/* auth->exchanges: longest quiet first */
	struct attempt attempt;
	enum exchange_phase phase;
	struct scram *scram;		/* or: */
	struct scram_endpoint *endpoint;
	bool usable;			/* the user has keys, or can have some */
	bool other_authzid;
	bool derive;			/* from password */
	bool in_worker;
	struct scram_keys keys;
	char *password;
	struct worker_job job;
	size_t response_len;
	char response[SASL_MESSAGE_MAX_BYTES];
	enum scram_result result;
	struct buf answer;		/* server-final */
};

static void exchange_free(struct exchange *ex)
{
	attempt_deinit(&ex->attempt);
	list_remove(&ex->node);
	ex->attempt.auth->n_exchanges--;
	scram_destroy(&ex->scram);
	scram_endpoint_destroy(&ex->endpoint);
	if (ex->password)
		explicit_bzero(ex->password, strlen(ex->password));
	free(ex->password);
	buf_wipe(&ex->answer);
	explicit_bzero(ex, sizeof(*ex));
	free(ex);
}

/* At once, or when the worker gives it back. */
static void exchange_end(struct exchange *ex)
{
	ex->attempt.channel = NULL;
	if (ex->in_worker)
		return;
	struct auth *auth = ex->attempt.auth;
	exchange_free(ex);
	auth_check_idle(auth);
}

void exchange_destroy_all(struct auth *auth)
{
	list_for_each_safe(node, &auth->exchanges)
		exchange_free(container_of(node, struct exchange, node));
}

void exchange_forget_channel(struct auth *auth, const struct channel *ch)
{
	list_for_each_safe(node, &auth->exchanges) {
		struct exchange *ex = container_of(node, struct exchange, node);
		if (ex->attempt.channel != ch)
			continue;
		ex->attempt.channel = NULL;
		if (!ex->in_worker)
			exchange_free(ex);
	}
}

static struct exchange *exchange_find(struct auth *auth, const struct channel *ch, uint64_t id)
{
	list_for_each(node, &auth->exchanges) {
		struct exchange *ex = container_of(node, struct exchange, node);
		if (ex->attempt.channel == ch && ex->attempt.id == id)
			return ex;
	}
	return NULL;
}

/* ---- keys, true and invented ones ---- */

/* Of the length that keys says. */
static void salt_invent(const struct exchange *ex, const char *name, struct scram_keys *keys)
{
	uint8_t secret[32];

	users_secret(ex->attempt.auth->parts.users, secret);
	if (hkdf_sha256(secret, sizeof(secret), name, strlen(name), "scram salt", 10,
		    keys->salt, keys->salt_len) < 0)
		memset(keys->salt, 0, keys->salt_len);
	explicit_bzero(secret, sizeof(secret));
}

static void keys_prepare(struct exchange *ex, const struct user_found *like)
{
	struct scram_keys *keys = &ex->keys;

	if (like->scheme == PASSWORD_SCRAM && !scram_keys_parse(like->hash, keys)) {
		if (ex->usable)
			return;
	} else {
		keys->iterations = SCRAM_ITERATIONS;
		keys->salt_len = 16;
		ex->derive = like->scheme == PASSWORD_PLAIN;
		if (ex->derive)
			ex->password = strdup(like->hash);
	}
	salt_invent(ex, ex->attempt.user, keys);
}

static void exchange_salt(void *ctx, const char *user, const char *authzid,
	struct scram_keys *keys)
{
	struct exchange *ex = ctx;
	struct attempt *a = &ex->attempt;
	struct user_found like;

	attempt_find(a, user);
	ex->usable = a->known && (a->found.scheme == PASSWORD_SCRAM ||
				  a->found.scheme == PASSWORD_PLAIN);
	like = a->found;
	if (!ex->usable)
		users_stand_in(a->auth->parts.users, a->user, &like);
	keys_prepare(ex, &like);
	ex->other_authzid = *authzid && strcmp(authzid, user) != 0;
	*keys = ex->keys;
}

/* ---- answers ---- */

static bool exchange_challenge(struct exchange *ex, const struct buf *challenge, bool last)
{
	struct ipc_out *out = ipc_out_create(IPC_AUTH_CHALLENGE);

	if (out) {
		ipc_out_u64(out, ex->attempt.id);
		ipc_out_bin(out, challenge->data, challenge->len);
		ipc_out_bool(out, last);
	}
	int ret = ipc_peer_send(ex->attempt.channel->peer, &out);
	if (ret < 0)
		log_error("answer", "lost: %s", strerror(-ret));
	/* It waits for its client now: behind all that have waited longer. */
	list_remove(&ex->node);
	list_append(&ex->attempt.auth->exchanges, &ex->node);
	return ret == 0;
}

static void exchange_fail(struct exchange *ex)
{
	if (ex->attempt.channel)
		attempt_fail(&ex->attempt, AUTH_FAIL_TEMPORARY, "");
	exchange_end(ex);
}

static const char *exchange_why(const struct exchange *ex)
{
	if (ex->result == SCRAM_MALFORMED)
		return "invalid credentials (not a message of SCRAM)";
	if (!ex->attempt.known)
		return "unknown user";
	if (ex->other_authzid)
		return "invalid credentials (authorization as another user)";
	/* Not in fail2ban's words: his client took what was offered. */
	return ex->usable ? "Password mismatch" : "this user has no keys for SCRAM";
}

static void exchange_tell(struct attempt *a)
{
	struct exchange *ex = container_of(a, struct exchange, attempt);

	if (ex->result == SCRAM_OK && ex->usable && !ex->other_authzid) {
		ex->phase = EXCHANGE_LAST;
		if (!ex->attempt.channel || !exchange_challenge(ex, &ex->answer, true))
			exchange_end(ex);
	} else if (ex->result == SCRAM_FAILED) {
		exchange_fail(ex);
	} else {
		attempt_refuse(a, NULL, exchange_why(ex));
		exchange_end(ex);
	}
}

/* ---- steps ---- */

static void exchange_verify(struct exchange *ex)
{
	ex->result = ex->endpoint
		? scram_endpoint_final(ex->endpoint, ex->response, ex->response_len, &ex->keys,
			&ex->answer)
		: scram_final(ex->scram, ex->response, ex->response_len, &ex->keys, &ex->answer);
	if (!attempt_stand_in_line(&ex->attempt, exchange_tell))
		exchange_end(ex);
}

static void keys_derived(struct worker_job *job, enum job_result result)
{
	struct exchange *ex = container_of(job, struct exchange, job);

	ex->in_worker = false;
	if (result == JOB_FAILED)
		exchange_fail(ex);
	else
		exchange_verify(ex);	/* a mismatch: keys of zeros, which fit nothing */
}

static void exchange_check(struct attempt *a)
{
	struct exchange *ex = container_of(a, struct exchange, attempt);

	if (!ex->derive) {
		exchange_verify(ex);
		return;
	}
	ex->job = (struct worker_job){
		.user = a->user,
		.password = ex->password,
		.keys = &ex->keys,
		.done = keys_derived,
	};
	if (!ex->password || workers_submit(a->auth->parts.workers, &ex->job) < 0)
		exchange_fail(ex);
	else
		ex->in_worker = true;
}

static bool keys_random(struct scram_keys *keys)
{
	return seal_random(keys->stored, sizeof(keys->stored)) == 0 &&
	       seal_random(keys->server, sizeof(keys->server)) == 0;
}

struct beginning {
	uint64_t id, cookie;
	const char *mechanism, *remote, *local;
	const void *exporter, *endpoint, *message;
	size_t exporter_len, endpoint_len, len;
	bool secured;
};

/* RFC 5802 section 6: the client could bind, and was told by somebody in between
 * that we cannot. GNU SASL finds out where there is a tls-exporter. */
static bool beginning_is_downgraded(const struct beginning *b)
{
	return b->endpoint_len > 0 && b->len > 0 && *(const char *)b->message == 'y';
}

static void exchange_first(struct exchange *ex, const struct beginning *b)
{
	struct buf out;

	buf_init(&out, 2 * SASL_MESSAGE_MAX_BYTES);
	if (ex->endpoint)
		ex->result = scram_endpoint_first(ex->endpoint, b->message, b->len,
			exchange_salt, ex, &out);
	else if (beginning_is_downgraded(b))
		ex->result = SCRAM_REFUSED;
	else
		ex->result = scram_first(ex->scram, b->message, b->len, exchange_salt, ex, &out);
	/* Whoever has no keys has some that nobody knows. */
	if (ex->result == SCRAM_OK && !ex->usable && !keys_random(&ex->keys))
		ex->result = SCRAM_FAILED;
	if (ex->result == SCRAM_OK) {
		ex->phase = EXCHANGE_CLIENT_FINAL;
		if (!exchange_challenge(ex, &out, false))
			exchange_end(ex);
	} else if (!attempt_stand_in_line(&ex->attempt, exchange_tell)) {
		exchange_end(ex);
	}
	buf_deinit(&out);
}

/* ---- messages ---- */

static void exchanges_make_room(struct auth *auth)
{
	list_for_each(node, &auth->exchanges) {
		struct exchange *ex = container_of(node, struct exchange, node);
		if (auth->n_exchanges < EXCHANGES_MAX)
			return;
		if (ex->phase == EXCHANGE_CHECK)
			continue;
		log_warn("exchange", "remote=%s reason=\"others need its place\"",
			log_str(ex->attempt.remote));
		exchange_fail(ex);
		return;
	}
}

static struct exchange *exchange_create(struct channel *ch, const struct beginning *b)
{
	struct exchange *ex = calloc(1, sizeof(*ex));

	if (!ex)
		return NULL;
	bool plus = strcmp(b->mechanism, "SCRAM-SHA-256-PLUS") == 0;
	if (plus && b->endpoint_len > 0 && scram_endpoint_named(b->message, b->len))
		ex->endpoint = scram_endpoint_create(b->endpoint, b->endpoint_len);
	else
		ex->scram = scram_create(plus, b->exporter, b->exporter_len);
	if (!ex->scram && !ex->endpoint) {
		free(ex);
		return NULL;
	}
	attempt_init(&ex->attempt, ch, b->id, b->cookie, b->remote, b->local);
	buf_init(&ex->answer, SASL_MESSAGE_MAX_BYTES);
	list_append(&ch->auth->exchanges, &ex->node);
	ch->auth->n_exchanges++;
	return ex;
}

static bool beginning_allowed(const struct auth *auth, const struct beginning *b)
{
	return b->secured && strncmp(b->mechanism, "SCRAM-SHA-256", 13) == 0 &&
	       (b->mechanism[13] == '\0' || strcmp(b->mechanism + 13, "-PLUS") == 0) &&
	       settings_has_word(auth->parts.settings->mechanisms, "scram-sha-256");
}

bool exchange_begin(struct channel *ch, struct ipc_in *in)
{
	struct beginning b;
	struct attempt a;

	b.id = ipc_in_u64(in);
	b.mechanism = ipc_in_str(in);
	b.cookie = ipc_in_u64(in);
	b.remote = ipc_in_str(in);
	b.local = ipc_in_str(in);
	b.secured = ipc_in_bool(in);
	b.exporter = ipc_in_bin(in, &b.exporter_len);
	b.endpoint = ipc_in_bin(in, &b.endpoint_len);
	b.message = ipc_in_bin(in, &b.len);
	if (!ipc_in_done(in) || b.exporter_len > SASL_CBIND_MAX_BYTES ||
		b.endpoint_len > SASL_CBIND_MAX_BYTES || b.len > SASL_MESSAGE_MAX_BYTES ||
		exchange_find(ch->auth, ch, b.id))
		return false;
	bool allowed = beginning_allowed(ch->auth, &b);
	if (allowed)
		exchanges_make_room(ch->auth);
	struct exchange *ex = allowed ? exchange_create(ch, &b) : NULL;
	if (ex) {
		exchange_first(ex, &b);
		return true;
	}
	attempt_init(&a, ch, b.id, b.cookie, b.remote, b.local);
	if (allowed)
		attempt_fail(&a, AUTH_FAIL_TEMPORARY, "");
	else
		attempt_fail(&a, AUTH_FAIL_POLICY, "This mechanism is not supported here.");
	return true;
}

bool exchange_step(struct channel *ch, struct ipc_in *in)
{
	uint64_t id = ipc_in_u64(in);
	struct attempt a;
	size_t len;

	const void *response = ipc_in_bin(in, &len);
	if (!ipc_in_done(in) || len > SASL_MESSAGE_MAX_BYTES)
		return false;
	struct exchange *ex = exchange_find(ch->auth, ch, id);
	if (!ex) {
		/* It was ended while the client's answer was on its way. */
		attempt_init(&a, ch, id, 0, "", "");
		attempt_fail(&a, AUTH_FAIL_TEMPORARY, "");
		return true;
	}
	switch (ex->phase) {
	case EXCHANGE_CLIENT_FINAL:
		ex->phase = EXCHANGE_CHECK;
		memcpy(ex->response, response, len);
		ex->response_len = len;
		if (!attempt_stand_in_line(&ex->attempt, exchange_check))
			exchange_end(ex);
		return true;
	case EXCHANGE_CHECK:
		return false;		/* it was not asked */
	case EXCHANGE_LAST:
		if (len == 0)
			attempt_accept(&ex->attempt);
		else
			attempt_refuse(&ex->attempt, NULL,
				"invalid credentials (more than SCRAM has)");
		exchange_end(ex);
		return true;
	}
	return false;
}

bool exchange_cancel(struct channel *ch, struct ipc_in *in)
{
	uint64_t id = ipc_in_u64(in);

	if (!ipc_in_done(in))
		return false;
	struct exchange *ex = exchange_find(ch->auth, ch, id);
	if (ex)
		exchange_end(ex);
	return true;
}
