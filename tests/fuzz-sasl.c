/* SPDX-License-Identifier: MIT */
/* What auth reads of a stranger's, and of files that strangers may have written.
 * The first byte chooses: a SCRAM exchange (two messages, without channel binding,
 * with tls-exporter, with tls-server-end-point), stored keys, an ARGON2 hash, an
 * address. */
#include <stdlib.h>
#include <string.h>

#include "auth/address.h"
#include "auth/argon2.h"
#include "auth/scram-endpoint.h"
#include "auth/scram-keys.h"
#include "auth/scram.h"
#include "lib/base64.h"
#include "lib/buf.h"
#include "lib/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void salt(void *ctx, const char *user, const char *authzid, struct scram_keys *keys)
{
	if (!user || !authzid)
		abort();
	memset(keys->salt, 's', 16);
	keys->salt_len = 16;
}

enum binding { BOUND_NOT, BOUND_EXPORTER, BOUND_ENDPOINT };

struct engine {
	struct scram *scram;
	struct scram_endpoint *endpoint;
};

static bool engine_start(struct engine *e, enum binding binding)
{
	static const uint8_t bytes[32];
	bool plus = binding == BOUND_EXPORTER;

	*e = (struct engine){ 0 };
	if (binding == BOUND_ENDPOINT)
		e->endpoint = scram_endpoint_create(bytes, sizeof(bytes));
	else
		e->scram = scram_create(plus, bytes, plus ? sizeof(bytes) : 0);
	return e->scram || e->endpoint;
}

static void engine_end(struct engine *e)
{
	scram_destroy(&e->scram);
	scram_endpoint_destroy(&e->endpoint);
	if (e->scram || e->endpoint)
		abort();
}

static enum scram_result engine_first(struct engine *e, const void *message, size_t len,
	struct buf *out)
{
	return e->scram ? scram_first(e->scram, message, len, salt, NULL, out)
			: scram_endpoint_first(e->endpoint, message, len, salt, NULL, out);
}

static enum scram_result engine_final(struct engine *e, const struct buf *final,
	const struct scram_keys *keys, struct buf *out)
{
	return e->scram ? scram_final(e->scram, final->data, final->len, keys, out)
			: scram_endpoint_final(e->endpoint, final->data, final->len, keys, out);
}

/* The first message ends with a LF; the second may hold the nonce as "%". */
static void read_scram(const uint8_t *data, size_t size, enum binding binding)
{
	const uint8_t *lf = memchr(data, '\n', size);
	size_t first = lf ? (size_t)(lf - data) : size;
	struct scram_keys keys = { .iterations = 1 };
	struct buf out, final;
	struct engine e;

	if (!engine_start(&e, binding))
		return;
	buf_init(&out, 4 * SASL_MESSAGE_MAX_BYTES);
	buf_init(&final, 4 * SASL_MESSAGE_MAX_BYTES);
	enum scram_result result = engine_first(&e, data, first, &out);
	if (result == SCRAM_OK && (out.len < 2 + 16 ||
		(binding == BOUND_ENDPOINT && !scram_endpoint_named(data, first))))
		abort();
	for (const uint8_t *p = lf ? lf + 1 : data + size; p < data + size; p++) {
		/* "r=NONCE,s=..." */
		const uint8_t *comma = out.len ? memchr(out.data, ',', out.len) : NULL;
		if (*p == '%' && comma && final.len < SASL_MESSAGE_MAX_BYTES)
			buf_append(&final, out.data + 2, (size_t)(comma - out.data) - 2);
		else
			buf_append_u8(&final, *p);
	}
	buf_reset(&out);
	if (result == SCRAM_OK && engine_final(&e, &final, &keys, &out) == SCRAM_OK)
		abort();	/* keys of zeros have no proof */
	buf_deinit(&final);
	buf_deinit(&out);
	engine_end(&e);
}

static void read_keys(const char *text)
{
	struct scram_keys keys;

	if (!scram_keys_parse(text, &keys) &&
		(keys.iterations < 1 || keys.iterations > SCRAM_ITERATIONS_MAX ||
		 keys.salt_len < 1 || keys.salt_len > SCRAM_SALT_MAX_BYTES))
		abort();
}

static void read_address(const char *text)
{
	struct address a, again;

	address_parse(text, &a);
	if (strlen(a.key) >= sizeof(a.key))
		abort();
	/* A key of IPv4 is an address itself. */
	if (a.key[0] >= '0' && a.key[0] <= '9' && !strchr(a.key, ':')) {
		address_parse(a.key, &again);
		if (strcmp(a.key, again.key) != 0)
			abort();
	}
}

static void read_base64(const char *text, size_t len)
{
	char *back = malloc(len + 1), *bytes = malloc(BASE64_DECODED_MAX(len) + 3);
	size_t n;

	if (back && bytes && base64_decode(text, len, bytes, &n)) {
		base64_encode(bytes, n, back);
		if (memcmp(back, text, len) != 0)
			abort();	/* strict: one text for each value */
	}
	free(back);
	free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0 || size > 8192)
		return 0;
	char *text = strndup((const char *)data + 1, size - 1);
	if (!text)
		return 0;
	switch (data[0] % 12) {
	case 0: read_scram(data + 1, size - 1, BOUND_NOT); break;
	case 1: read_scram(data + 1, size - 1, BOUND_EXPORTER); break;
	case 2: read_keys(text); break;
	case 3: (void)argon2_hash_check(text); break;
	case 4: read_address(text); break;
	case 5: read_base64(text, strlen(text)); break;
	default: read_scram(data + 1, size - 1, BOUND_ENDPOINT); break;
	}
	free(text);
	return 0;
}
