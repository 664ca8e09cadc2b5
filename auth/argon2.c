/* SPDX-License-Identifier: MIT */
/* libargon2's own argon2_verify() starts a thread for each lane and takes any
 * memory that the text asks for. So the text is read here, bounded, and the
 * lanes are computed one after the other in one thread. */
#include "auth/argon2.h"

#include <argon2.h>
#include <stdint.h>
#include <string.h>

#include "lib/base64.h"

#define SALT_MIN	8
#define HASH_MIN	12
#define PART_MAX	64

struct argon2_text {
	argon2_type type;
	uint32_t version, memory, passes, lanes;
	uint8_t salt[PART_MAX + 3], hash[PART_MAX + 3];
	size_t salt_len, hash_len;
};

static bool take_text(const char **at, const char *text)
{
	size_t len = strlen(text);

	if (strncmp(*at, text, len) != 0)
		return false;
	*at += len;
	return true;
}

static bool take_number(const char **at, uint32_t *n_r)
{
	uint64_t n = 0;
	const char *p = *at;

	while (*p >= '0' && *p <= '9' && n <= UINT32_MAX)
		n = n * 10 + (uint64_t)(*p++ - '0');
	if (p == *at || n > UINT32_MAX)
		return false;
	*at = p;
	*n_r = (uint32_t)n;
	return true;
}

/* Base64 without its padding, up to end. */
static bool take_bytes(const char **at, char end, uint8_t out[static PART_MAX + 3],
	size_t *len_r)
{
	char text[BASE64_ENCODED_SIZE(PART_MAX) + 4];
	const char *stop = strchrnul(*at, end);
	size_t len = (size_t)(stop - *at);

	if (*stop != end || len > BASE64_ENCODED_SIZE(PART_MAX) - 1 ||
		memchr(*at, '=', len))
		return false;
	memcpy(text, *at, len);
	while (len % 4 != 0)
		text[len++] = '=';
	*at = end ? stop + 1 : stop;
	return base64_decode(text, len, out, len_r) && *len_r <= PART_MAX;
}

static bool argon2_read(const char *at, struct argon2_text *t)
{
	t->type = Argon2_i;
	t->version = ARGON2_VERSION_10;		/* when the text does not say */
	if (take_text(&at, "$argon2id$"))
		t->type = Argon2_id;
	else if (!take_text(&at, "$argon2i$"))
		return false;
	if (take_text(&at, "v=") && !(take_number(&at, &t->version) && take_text(&at, "$")))
		return false;
	return take_text(&at, "m=") && take_number(&at, &t->memory) &&
	       take_text(&at, ",t=") && take_number(&at, &t->passes) &&
	       take_text(&at, ",p=") && take_number(&at, &t->lanes) && take_text(&at, "$") &&
	       take_bytes(&at, '$', t->salt, &t->salt_len) &&
	       take_bytes(&at, '\0', t->hash, &t->hash_len) &&
	       t->salt_len >= SALT_MIN && t->hash_len >= HASH_MIN &&
	       (t->version == ARGON2_VERSION_10 || t->version == ARGON2_VERSION_13);
}

static const char *argon2_parse(const char *hash, struct argon2_text *t)
{
	if (!argon2_read(hash, t))
		return "this is not a hash of argon2i or argon2id";
	if (t->memory > ARGON2_MEMORY_MAX_KIB)
		return "the hash asks for more than 1 GiB of memory";
	if (t->passes < 1 || t->passes > ARGON2_PASSES_MAX)
		return "the hash asks for too many passes, or none";
	if (t->lanes < 1 || t->lanes > ARGON2_LANES_MAX || t->memory < 8 * t->lanes)
		return "the lanes of the hash do not fit its memory";
	return NULL;
}

const char *argon2_hash_check(const char *hash)
{
	struct argon2_text t;

	return argon2_parse(hash, &t);
}

bool argon2_hash_matches(const char *hash, const char *password)
{
	struct argon2_text t;
	uint8_t made[PART_MAX];

	if (argon2_parse(hash, &t))
		return false;
	argon2_context ctx = {
		.out = made, .outlen = (uint32_t)t.hash_len,
		.pwd = (uint8_t *)(uintptr_t)password, .pwdlen = (uint32_t)strlen(password),
		.salt = t.salt, .saltlen = (uint32_t)t.salt_len,
		.t_cost = t.passes, .m_cost = t.memory, .lanes = t.lanes, .threads = 1,
		.version = t.version, .flags = ARGON2_DEFAULT_FLAGS,
	};
	if (argon2_ctx(&ctx, t.type) != ARGON2_OK)
		return false;
	volatile uint8_t differs = 0;
	for (size_t i = 0; i < t.hash_len; i++)
		differs |= made[i] ^ t.hash[i];
	explicit_bzero(made, sizeof(made));
	return !differs;
}
