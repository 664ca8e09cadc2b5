/* SPDX-License-Identifier: MIT */
#include "auth/scram-keys.h"

#include <gsasl.h>
#include <string.h>

#include "lib/base64.h"

/* Base64 up to a comma or the end, which is passed. */
static bool take_bytes(const char **at, uint8_t *out, size_t max, size_t *len_r)
{
	uint8_t bytes[SCRAM_SALT_MAX_BYTES + 3];
	const char *stop = strchrnul(*at, ',');
	size_t len = (size_t)(stop - *at), n = 0;

	if (len == 0 || BASE64_DECODED_MAX(len) > sizeof(bytes) ||
		!base64_decode(*at, len, bytes, &n) || n > max)
		return false;
	memcpy(out, bytes, n);
	*len_r = n;
	*at = *stop ? stop + 1 : stop;
	return true;
}

static bool take_iterations(const char **at, uint32_t *n_r)
{
	uint32_t n = 0;

	for (; **at >= '0' && **at <= '9' && n <= SCRAM_ITERATIONS_MAX; (*at)++)
		n = n * 10 + (uint32_t)(**at - '0');
	*n_r = n;
	return *(*at)++ == ',';
}

const char *scram_keys_parse(const char *text, struct scram_keys *keys_r)
{
	struct scram_keys k;
	size_t stored = 0, server = 0;

	if (!take_iterations(&text, &k.iterations) ||
		!take_bytes(&text, k.salt, sizeof(k.salt), &k.salt_len) ||
		!take_bytes(&text, k.stored, sizeof(k.stored), &stored) ||
		!take_bytes(&text, k.server, sizeof(k.server), &server) || *text ||
		stored != sizeof(k.stored) || server != sizeof(k.server))
		return "this is not iterations,salt,StoredKey,ServerKey";
	if (k.iterations < 1 || k.iterations > SCRAM_ITERATIONS_MAX)
		return "too many iterations, or none";
	*keys_r = k;
	return NULL;
}

bool scram_keys_derive(const char *password, struct scram_keys *keys)
{
	char salted[SCRAM_KEY_BYTES], client[SCRAM_KEY_BYTES];

	int ret = gsasl_scram_secrets_from_password(GSASL_HASH_SHA256, password,
		keys->iterations, (const char *)keys->salt, keys->salt_len, salted, client,
		(char *)keys->server, (char *)keys->stored);
	explicit_bzero(salted, sizeof(salted));
	explicit_bzero(client, sizeof(client));
	return ret == GSASL_OK;
}

bool scram_keys_match(const char *text, const char *password)
{
	struct scram_keys want, made;
	volatile uint8_t differs = 0;

	if (scram_keys_parse(text, &want))
		return false;
	made = want;
	if (!scram_keys_derive(password, &made))
		return false;
	for (size_t i = 0; i < SCRAM_KEY_BYTES; i++)
		differs |= made.stored[i] ^ want.stored[i];
	explicit_bzero(&made, sizeof(made));
	return !differs;
}
