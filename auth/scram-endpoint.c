/* SPDX-License-Identifier: MIT */
/* The grammar is RFC 5802 section 7's, and nothing beside it: attributes in
 * their order, names in UTF-8, base64 of one spelling. Optional extensions are
 * overlooked, as it wants; "m=" and letters that have a meaning elsewhere are
 * none. AuthMessage grows as the messages come, from the bytes that were sent,
 * so nothing is written a second time in another way.
 *
 * Not in scram.c, since GNU SASL's answers there need no second reader of all
 * other exchanges: if it once knows this binding, this file can go. */
#include "auth/scram-endpoint.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "lib/base64.h"
#include "lib/buf.h"
#include "lib/cursor.h"
#include "lib/hkdf.h"
#include "lib/imap-write.h"
#include "lib/limits.h"
#include "lib/seal.h"

#define FLAG		"p=tls-server-end-point,"
#define NONCE_BYTES	18

struct scram_endpoint {
	struct buf binding;	/* what "c=" has to be: gs2-header, then the hash */
	struct buf nonce;	/* the client's, then ours; empty before the first step */
	struct buf auth_message;
	size_t endpoint_len;
	uint8_t endpoint[SASL_CBIND_MAX_BYTES];
};

/* ---- the grammar ---- */

static bool next_is(const struct cursor *c, const char *text)
{
	size_t n = strlen(text);

	return cursor_left(c) >= n && memcmp(c->data + c->pos, text, n) == 0;
}

static void take(struct cursor *c, const char *text)
{
	if (next_is(c, text))
		(void)cursor_bytes(c, strlen(text));
	else
		c->bad = true;
}

/* Up to a comma or the end: 1*value-char. Never NULL. */
static const char *take_value(struct cursor *c, size_t *len_r)
{
	size_t left = cursor_left(c);
	const uint8_t *comma = left > 0 ? memchr(c->data + c->pos, ',', left) : NULL;
	size_t len = comma ? (size_t)(comma - (c->data + c->pos)) : left;
	const char *value = (const char *)cursor_bytes(c, len);

	*len_r = value ? len : 0;
	if (!value || len == 0 || memchr(value, '\0', len) || !imap_utf8_valid(value, len))
		c->bad = true;
	return value ? value : "";
}

/* saslname: only "=2C" and "=3D" have a "=". name has room for a message. */
static void take_name(struct cursor *c, char *name)
{
	size_t len, n = 0;
	const char *value = take_value(c, &len);

	for (size_t i = 0; i < len; i++) {
		name[n++] = value[i];
		if (value[i] != '=')
			continue;
		if (len - i < 3 || (memcmp(value + i, "=2C", 3) != 0 &&
				    memcmp(value + i, "=3D", 3) != 0))
			c->bad = true;
		else
			name[n - 1] = value[i + 1] == '2' ? ',' : '=';
		i += 2;
	}
	name[n] = '\0';
}

static const char *take_nonce(struct cursor *c, size_t *len_r)
{
	const char *value = take_value(c, len_r);

	for (size_t i = 0; i < *len_r; i++)
		if (value[i] < 0x21 || value[i] > 0x7e)
			c->bad = true;
	return value;
}

/* Up to the proof, or the end. */
static void take_extensions(struct cursor *c)
{
	while (!c->bad && cursor_left(c) > 0 && !next_is(c, ",p=")) {
		size_t len;

		take(c, ",");
		uint8_t letter = cursor_u8(c), lower = letter | 0x20;
		/* Those that section 5.1 defines have their places elsewhere. */
		if (lower < 'a' || lower > 'z' || strchr("anmrcsipve", letter))
			c->bad = true;
		take(c, "=");
		(void)take_value(c, &len);
	}
}

bool scram_endpoint_named(const void *message, size_t len)
{
	return len >= strlen(FLAG) && memcmp(message, FLAG, strlen(FLAG)) == 0;
}

/* ---- the calculation ---- */

enum scram_result scram_proof_check(const struct scram_keys *keys, const void *auth_message,
	size_t len, const uint8_t proof[SCRAM_KEY_BYTES], uint8_t signature_r[SCRAM_KEY_BYTES])
{
	uint8_t client_key[SCRAM_KEY_BYTES], stored[SCRAM_KEY_BYTES], signature[SCRAM_KEY_BYTES];
	enum scram_result result = SCRAM_FAILED;

	/* ClientKey := ClientProof XOR HMAC(StoredKey, AuthMessage) */
	if (hmac_sha256(keys->stored, sizeof(keys->stored), auth_message, len, client_key) < 0 ||
		hmac_sha256(keys->server, sizeof(keys->server), auth_message, len, signature) < 0)
		return SCRAM_FAILED;
	for (size_t i = 0; i < sizeof(client_key); i++)
		client_key[i] ^= proof[i];
	if (SHA256(client_key, sizeof(client_key), stored))
		result = CRYPTO_memcmp(stored, keys->stored, sizeof(stored)) == 0 ? SCRAM_OK
										   : SCRAM_REFUSED;
	if (result == SCRAM_OK)
		memcpy(signature_r, signature, sizeof(signature));
	explicit_bzero(client_key, sizeof(client_key));
	explicit_bzero(signature, sizeof(signature));
	return result;
}

/* ---- an exchange ---- */

struct scram_endpoint *scram_endpoint_create(const void *endpoint, size_t len)
{
	struct scram_endpoint *s = calloc(1, sizeof(*s));

	assert(len > 0 && len <= SASL_CBIND_MAX_BYTES);
	if (!s)
		return NULL;
	memcpy(s->endpoint, endpoint, len);
	s->endpoint_len = len;
	buf_init(&s->binding, SASL_MESSAGE_MAX_BYTES + SASL_CBIND_MAX_BYTES);
	buf_init(&s->nonce, 2 * SASL_MESSAGE_MAX_BYTES);
	buf_init(&s->auth_message, 4 * SASL_MESSAGE_MAX_BYTES);
	return s;
}

void scram_endpoint_destroy(struct scram_endpoint **s_p)
{
	struct scram_endpoint *s = *s_p;

	*s_p = NULL;
	if (!s)
		return;
	buf_wipe(&s->binding);
	buf_wipe(&s->nonce);
	buf_wipe(&s->auth_message);
	explicit_bzero(s, sizeof(*s));
	free(s);
}

static enum scram_result server_first(struct scram_endpoint *s, const struct scram_keys *keys,
	struct buf *out)
{
	char salt[BASE64_ENCODED_SIZE(SCRAM_SALT_MAX_BYTES)];
	char ours[BASE64_ENCODED_SIZE(NONCE_BYTES)];
	uint8_t random[NONCE_BYTES];
	size_t before = out->len;

	if (seal_random(random, sizeof(random)) < 0)
		return SCRAM_FAILED;
	base64_encode(random, sizeof(random), ours);
	base64_encode(keys->salt, keys->salt_len, salt);
	buf_append_str(&s->nonce, ours);
	if (s->nonce.failed)
		return SCRAM_FAILED;
	buf_printf(out, "r=%.*s,s=%s,i=%u", (int)s->nonce.len, (const char *)s->nonce.data, salt,
		keys->iterations);
	if (out->failed)
		return SCRAM_FAILED;
	buf_append(&s->auth_message, out->data + before, out->len - before);
	buf_append_u8(&s->auth_message, ',');
	return s->auth_message.failed ? SCRAM_FAILED : SCRAM_OK;
}

enum scram_result scram_endpoint_first(struct scram_endpoint *s, const void *message,
	size_t len, scram_salt_fn *salt, void *ctx, struct buf *out)
{
	char user[SASL_MESSAGE_MAX_BYTES + 1], authzid[SASL_MESSAGE_MAX_BYTES + 1] = "";
	struct scram_keys keys = { .iterations = SCRAM_ITERATIONS };
	struct cursor c;
	size_t nonce_len;

	assert(s->nonce.len == 0);
	if (len > SASL_MESSAGE_MAX_BYTES)
		return SCRAM_MALFORMED;
	cursor_init(&c, message, len);
	take(&c, FLAG);
	if (next_is(&c, "a=")) {
		take(&c, "a=");
		take_name(&c, authzid);
	}
	take(&c, ",");
	size_t header_len = c.pos;
	take(&c, "n=");
	take_name(&c, user);
	take(&c, ",r=");
	const char *nonce = take_nonce(&c, &nonce_len);
	take_extensions(&c);
	if (!cursor_done(&c))
		return SCRAM_MALFORMED;
	buf_append(&s->binding, message, header_len);
	buf_append(&s->binding, s->endpoint, s->endpoint_len);
	buf_append(&s->nonce, nonce, nonce_len);
	buf_append(&s->auth_message, c.data + header_len, len - header_len);
	buf_append_u8(&s->auth_message, ',');
	if (s->binding.failed)
		return SCRAM_FAILED;
	salt(ctx, user, authzid, &keys);
	return server_first(s, &keys, out);
}

static bool same(const struct buf *wanted, const void *given, size_t len)
{
	return len == wanted->len && CRYPTO_memcmp(wanted->data, given, len) == 0;
}

enum scram_result scram_endpoint_final(struct scram_endpoint *s, const void *message,
	size_t len, const struct scram_keys *keys, struct buf *out)
{
	uint8_t binding[BASE64_DECODED_MAX(SASL_MESSAGE_MAX_BYTES)];
	uint8_t proof[BASE64_DECODED_MAX(BASE64_ENCODED_SIZE(SCRAM_KEY_BYTES))];
	uint8_t signature[SCRAM_KEY_BYTES];
	char text[BASE64_ENCODED_SIZE(SCRAM_KEY_BYTES)];
	size_t c_len, r_len, p_len, binding_len, proof_len;
	struct cursor c;

	assert(s->nonce.len > 0);
	if (len > SASL_MESSAGE_MAX_BYTES)
		return SCRAM_MALFORMED;
	cursor_init(&c, message, len);
	take(&c, "c=");
	const char *c_text = take_value(&c, &c_len);
	take(&c, ",r=");
	const char *nonce = take_nonce(&c, &r_len);
	take_extensions(&c);
	size_t without_proof = c.pos;
	take(&c, ",p=");
	const char *p_text = take_value(&c, &p_len);
	if (!cursor_done(&c) || !base64_decode(c_text, c_len, binding, &binding_len) ||
		p_len != sizeof(text) - 1 || !base64_decode(p_text, p_len, proof, &proof_len) ||
		proof_len != SCRAM_KEY_BYTES)
		return SCRAM_MALFORMED;
	if (!same(&s->binding, binding, binding_len) || !same(&s->nonce, nonce, r_len))
		return SCRAM_REFUSED;
	buf_append(&s->auth_message, message, without_proof);
	if (s->auth_message.failed)
		return SCRAM_FAILED;
	enum scram_result result = scram_proof_check(keys, s->auth_message.data,
		s->auth_message.len, proof, signature);
	buf_reset(&s->nonce);		/* once */
	explicit_bzero(proof, sizeof(proof));
	if (result != SCRAM_OK)
		return result;
	base64_encode(signature, sizeof(signature), text);
	buf_printf(out, "v=%s", text);
	return out->failed ? SCRAM_FAILED : SCRAM_OK;
}
