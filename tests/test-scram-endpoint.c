/* SPDX-License-Identifier: MIT */
/* SCRAM-SHA-256-PLUS bound by tls-server-end-point, against a client that
 * calculates with OpenSSL alone and can spoil each field of each message. */
#include "auth/scram-endpoint.h"

#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "lib/base64.h"
#include "lib/buf.h"
#include "lib/limits.h"
#include "tests/unit.h"

#define FLAG	"p=tls-server-end-point,"
#define FIRST	FLAG ",n=user,r=rOprNGfwEbeRWgbNEkqO"

static const char salt_text[] = "0123456789abcdef";
static uint8_t endpoint[32];

/* Slow, so once. */
static struct secret {
	uint8_t client_key[32];
	struct scram_keys keys;
} right, wrong;

static void make_secret(const char *password, struct secret *s)
{
	uint8_t salted[32];
	unsigned n;

	PKCS5_PBKDF2_HMAC(password, (int)strlen(password), (const uint8_t *)salt_text, 16, 4097,
		EVP_sha256(), 32, salted);
	HMAC(EVP_sha256(), salted, 32, (const uint8_t *)"Client Key", 10, s->client_key, &n);
	HMAC(EVP_sha256(), salted, 32, (const uint8_t *)"Server Key", 10, s->keys.server, &n);
	EVP_Digest(s->client_key, 32, s->keys.stored, NULL, EVP_sha256(), NULL);
}

/* ---- the calculation ---- */

static void test_rfc_7677_s_example_fits(void)
{
	static const char message[] =
		"n=user,r=rOprNGfwEbeRWgbNEkqO,"
		"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
		"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
		"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
	static const char proof_text[] = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
	struct scram_keys keys = { .iterations = 4096, .salt_len = 16 };
	uint8_t proof[33], salt[18], signature[32];
	char text[BASE64_ENCODED_SIZE(32)];
	size_t n, len = strlen(message);

	require(base64_decode("W22ZaJ0SNY7soEsUEjb6gQ==", 24, salt, &n) && n == 16);
	memcpy(keys.salt, salt, 16);
	require(scram_keys_derive("pencil", &keys));
	require(base64_decode(proof_text, 44, proof, &n) && n == 32);
	check(scram_proof_check(&keys, message, len, proof, signature) == SCRAM_OK);
	base64_encode(signature, 32, text);
	check(strcmp(text, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=") == 0);
	check(scram_proof_check(&keys, message, len - 1, proof, signature) == SCRAM_REFUSED);
	for (int bit = 0; bit < 256; bit++) {
		proof[bit / 8] ^= (uint8_t)(1 << bit % 8);
		check_row(scram_proof_check(&keys, message, len, proof, signature) ==
			SCRAM_REFUSED, bit);
		proof[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

/* ---- the server ---- */

struct told {
	int calls;
	char user[256], authzid[256];
};

static void on_salt(void *ctx, const char *user, const char *authzid, struct scram_keys *keys)
{
	struct told *told = ctx;

	told->calls++;
	snprintf(told->user, sizeof(told->user), "%s", user);
	snprintf(told->authzid, sizeof(told->authzid), "%s", authzid);
	memcpy(keys->salt, salt_text, 16);
	keys->salt_len = 16;
	keys->iterations = 4097;
}

/* What the client says last, and how; NULL: as it should be. */
struct lies {
	const char *header;	/* in "c=" */
	int endpoint_len;	/* of the hash in "c=", 0: all */
	bool other_endpoint;
	const char *c, *nonce;	/* as they stand there */
	const char *nonce_more;
	const char *extension;	/* with its comma, signed */
	const char *proof, *rest;
	bool other_password;
};

struct talk {
	struct scram_endpoint *s;
	struct told told;
	struct scram_keys keys;
	char server_first[4096], final[20000], wanted[64], said[128];
	enum scram_result result;
};

static void talk_begin(struct talk *t, const void *first, size_t len)
{
	struct buf out;

	buf_init(&out, 4096);
	t->s = scram_endpoint_create(endpoint, sizeof(endpoint));
	require(t->s != NULL);
	t->result = scram_endpoint_first(t->s, first, len, on_salt, &t->told, &out);
	snprintf(t->server_first, sizeof(t->server_first), "%.*s", (int)out.len,
		out.data ? (char *)out.data : "");
	buf_deinit(&out);
}

/* bare: client-first-message-bare. */
static void client_says(struct talk *t, const char *header, const char *bare,
	const struct lies *lies)
{
	char c[4096], without[12000], message[20000];
	const struct secret *knows = lies->other_password ? &wrong : &right;
	uint8_t input[4096] = { 0 }, mac[32];
	size_t n = strlen(lies->header ? lies->header : header);
	unsigned mac_len;

	memcpy(input, lies->header ? lies->header : header, n);
	memcpy(input + n, endpoint, sizeof(endpoint));
	input[n + 31] ^= lies->other_endpoint;
	base64_encode(input, n + (lies->endpoint_len ? (size_t)lies->endpoint_len : 32), c);
	char *end = strchr(t->server_first, ',');
	snprintf(without, sizeof(without), "c=%s,r=%.*s%s%s", lies->c ? lies->c : c,
		lies->nonce ? (int)strlen(lies->nonce) : (int)(end - t->server_first - 2),
		lies->nonce ? lies->nonce : t->server_first + 2,
		lies->nonce_more ? lies->nonce_more : "", lies->extension ? lies->extension : "");
	snprintf(message, sizeof(message), "%s,%s,%s", bare, t->server_first, without);
	HMAC(EVP_sha256(), knows->keys.stored, 32, (uint8_t *)message, strlen(message), mac,
		&mac_len);
	for (int i = 0; i < 32; i++)
		mac[i] ^= knows->client_key[i];
	base64_encode(mac, 32, c);
	snprintf(t->final, sizeof(t->final), "%s,p=%s%s", without, lies->proof ? lies->proof : c,
		lies->rest ? lies->rest : "");
	t->keys = right.keys;
	HMAC(EVP_sha256(), t->keys.server, 32, (uint8_t *)message, strlen(message), mac, &mac_len);
	base64_encode(mac, 32, c);
	snprintf(t->wanted, sizeof(t->wanted), "v=%.44s", c);
}

static void talk_end(struct talk *t, const void *final, size_t len)
{
	struct buf out;

	buf_init(&out, 128);
	t->result = scram_endpoint_final(t->s, final, len, &t->keys, &out);
	snprintf(t->said, sizeof(t->said), "%.*s", (int)out.len,
		out.data ? (char *)out.data : "");
	buf_deinit(&out);
	scram_endpoint_destroy(&t->s);
	check(t->s == NULL);
}

/* ---- the first message ---- */

static void test_first_messages_are_read_strictly(void)
{
	static const struct {
		const char *message;
		enum scram_result want;
		const char *user, *authzid;
	} rows[] = {
		{ FLAG ",n=user,r=abc", SCRAM_OK, "user", "" },
		{ FLAG "a=boss,n=user,r=abc", SCRAM_OK, "user", "boss" },
		{ FLAG ",n=a=2Cb=3Dc,r=~!", SCRAM_OK, "a,b=c", "" },
		{ FLAG "a==2C=2C,n==3D,r=1", SCRAM_OK, "=", ",," },
		{ FLAG ",n=j\xc3\xbcrgen,r=abc", SCRAM_OK, "j\xc3\xbcrgen", "" },
		{ FLAG ",n=user,r=abc,x=1,Y=a=b", SCRAM_OK, "user", "" },
		{ FLAG ",n=user,r=a=b", SCRAM_OK, "user", "" },
		{ "", SCRAM_MALFORMED },
		{ "n,,n=user,r=abc", SCRAM_MALFORMED },
		{ "y,,n=user,r=abc", SCRAM_MALFORMED },
		{ "p=tls-exporter,,n=user,r=abc", SCRAM_MALFORMED },
		{ "p=tls-server-end-points,,n=user,r=abc", SCRAM_MALFORMED },
		{ "P=tls-server-end-point,,n=user,r=abc", SCRAM_MALFORMED },
		{ FLAG "n=user,r=abc", SCRAM_MALFORMED },
		{ FLAG "a=,n=user,r=abc", SCRAM_MALFORMED },
		{ FLAG "b=boss,n=user,r=abc", SCRAM_MALFORMED },
		{ FLAG "a=boss,a=boss,n=user,r=abc", SCRAM_MALFORMED },
		{ FLAG ",a=boss,n=user,r=abc", SCRAM_MALFORMED },
		{ FLAG ",m=1,n=user,r=abc", SCRAM_MALFORMED },
		{ FLAG ",x=1,n=user,r=abc", SCRAM_MALFORMED },
		{ FLAG ",n=,r=abc", SCRAM_MALFORMED },
		{ FLAG ",n=us=er,r=abc", SCRAM_MALFORMED },
		{ FLAG ",n=user=,r=abc", SCRAM_MALFORMED },
		{ FLAG ",n=user=2,r=abc", SCRAM_MALFORMED },
		{ FLAG ",n=user=2c,r=abc", SCRAM_MALFORMED },
		{ FLAG ",n=user=00,r=abc", SCRAM_MALFORMED },
		{ FLAG ",n=us\xff,r=abc", SCRAM_MALFORMED },
		{ FLAG ",n=us\xc0\xaf,r=abc", SCRAM_MALFORMED },
		{ FLAG "a=\xc3,n=user,r=abc", SCRAM_MALFORMED },
		{ FLAG ",r=abc,n=user", SCRAM_MALFORMED },
		{ FLAG ",n=user", SCRAM_MALFORMED },
		{ FLAG ",n=user,", SCRAM_MALFORMED },
		{ FLAG ",n=user,r=", SCRAM_MALFORMED },
		{ FLAG ",n=user,r=a b", SCRAM_MALFORMED },
		{ FLAG ",n=user,r=a\x7f", SCRAM_MALFORMED },
		{ FLAG ",n=user,r=a\xc3\xbc", SCRAM_MALFORMED },
		{ FLAG ",n=user,r=abc,", SCRAM_MALFORMED },
		{ FLAG ",n=user,r=abc,x", SCRAM_MALFORMED },
		{ FLAG ",n=user,r=abc,x=", SCRAM_MALFORMED },
		{ FLAG ",n=user,r=abc,xy=1", SCRAM_MALFORMED },
		{ FLAG ",n=user,r=abc,1=1", SCRAM_MALFORMED },
		{ FLAG ",n=user,r=abc,x=\xff", SCRAM_MALFORMED },
		{ FLAG ",n=user,r=abc,m=1", SCRAM_MALFORMED },
		{ FLAG ",n=user,r=abc,n=other", SCRAM_MALFORMED },
		{ FLAG ",n=user,r=abc,p=1", SCRAM_MALFORMED },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct talk t = { 0 };
		char start[64];

		talk_begin(&t, rows[i].message, strlen(rows[i].message));
		check_row(t.result == rows[i].want, i);
		check_row(t.told.calls == (rows[i].want == SCRAM_OK), i);
		if (rows[i].want == SCRAM_OK) {
			const char *r = strstr(rows[i].message, ",r=") + 3;
			snprintf(start, sizeof(start), "r=%.*s", (int)strcspn(r, ","), r);
			check_row(strncmp(t.server_first, start, strlen(start)) == 0, i);
			check_row(strcspn(t.server_first, ",") == strlen(start) + 24, i);
			check_row(strcmp(t.told.user, rows[i].user) == 0, i);
			check_row(strcmp(t.told.authzid, rows[i].authzid) == 0, i);
			check_row(strcmp(strchr(t.server_first, ','),
				",s=MDEyMzQ1Njc4OWFiY2RlZg==,i=4097") == 0, i);
		} else {
			check_row(!*t.server_first, i);
		}
		scram_endpoint_destroy(&t.s);
	}
}

static void test_first_messages_are_bounded(void)
{
	char message[SASL_MESSAGE_MAX_BYTES + 2];
	size_t whole = strlen(FIRST);

	for (size_t n = 0; n < whole; n++) {
		struct talk t = { 0 };
		char *exact = malloc(n + 1);

		memcpy(exact, FIRST, n);
		talk_begin(&t, exact, n);
		/* Any of its nonce is a nonce. */
		check_row(t.result == (n > strlen(FLAG ",n=user,r=") ? SCRAM_OK
								     : SCRAM_MALFORMED), n);
		scram_endpoint_destroy(&t.s);
		memcpy(message, FIRST, whole);
		message[n] = '\0';
		talk_begin(&t, message, whole);
		check_row(t.result == SCRAM_MALFORMED, n);
		scram_endpoint_destroy(&t.s);
		free(exact);
	}
	memset(message, 'x', sizeof(message));
	memcpy(message, FIRST, whole);
	for (size_t n = SASL_MESSAGE_MAX_BYTES; n < sizeof(message); n++) {
		struct talk t = { 0 };

		talk_begin(&t, message, n);
		check_row(t.result == (n <= SASL_MESSAGE_MAX_BYTES ? SCRAM_OK : SCRAM_MALFORMED),
			n);
		scram_endpoint_destroy(&t.s);
	}
}

static void test_only_this_binding_is_taken(void)
{
	check(scram_endpoint_named(FIRST, strlen(FIRST)));
	check(scram_endpoint_named(FLAG, strlen(FLAG)));
	check(!scram_endpoint_named(FLAG, strlen(FLAG) - 1));
	check(!scram_endpoint_named("", 0));
	check(!scram_endpoint_named("p=tls-server-end-pointer,,n=u,r=a", 33));
	check(!scram_endpoint_named("p=tls-exporter,,n=u,r=aaaaaaaaaaaa", 34));
}

static void test_nonces_differ(void)
{
	struct talk a = { 0 }, b = { 0 };

	talk_begin(&a, FIRST, strlen(FIRST));
	talk_begin(&b, FIRST, strlen(FIRST));
	check(strcmp(a.server_first, b.server_first) != 0);
	/* What proved itself to the one proves nothing to the other. */
	client_says(&a, FLAG ",", "n=user,r=rOprNGfwEbeRWgbNEkqO", &(struct lies){ 0 });
	b.keys = a.keys;
	talk_end(&b, a.final, strlen(a.final));
	check(b.result == SCRAM_REFUSED);
	talk_end(&a, a.final, strlen(a.final));
	check(a.result == SCRAM_OK);
}

/* ---- the last one ---- */

static void test_who_knows_the_password_gets_in(void)
{
	static const struct {
		const char *header, *bare;
		struct lies lies;
	} rows[] = {
		{ FLAG ",", "n=user,r=abcdefgh", { 0 } },
		{ FLAG "a=user,", "n=user,r=~", { 0 } },
		{ FLAG "a=a=2Cb,", "n=user,r=abc,x=y,z==", { 0 } },
		{ FLAG ",", "n=user,r=abc", { .extension = ",x=1,q=p=p" } },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct talk t = { 0 };
		char first[256];

		snprintf(first, sizeof(first), "%s%s", rows[i].header, rows[i].bare);
		talk_begin(&t, first, strlen(first));
		check_row(t.result == SCRAM_OK, i);
		client_says(&t, rows[i].header, rows[i].bare, &rows[i].lies);
		talk_end(&t, t.final, strlen(t.final));
		check_row(t.result == SCRAM_OK, i);
		check_row(strcmp(t.said, t.wanted) == 0, i);
	}
}

static void test_each_field_has_to_be_right(void)
{
	static const struct {
		struct lies lies;
		enum scram_result want;
	} rows[] = {
		/* All proofs are good for what is said. */
		{ { .other_password = true }, SCRAM_REFUSED },
		{ { .other_endpoint = true }, SCRAM_REFUSED },
		{ { .endpoint_len = 31 }, SCRAM_REFUSED },
		{ { .endpoint_len = 33 }, SCRAM_REFUSED },
		{ { .header = "n,," }, SCRAM_REFUSED },
		{ { .header = "y,," }, SCRAM_REFUSED },
		{ { .header = "p=tls-exporter,," }, SCRAM_REFUSED },
		{ { .header = FLAG "a=user," }, SCRAM_REFUSED },
		{ { .header = FLAG }, SCRAM_REFUSED },
		{ { .c = "biws" }, SCRAM_REFUSED },
		{ { .c = "" }, SCRAM_MALFORMED },
		{ { .c = "biw" }, SCRAM_MALFORMED },
		{ { .c = "biw*" }, SCRAM_MALFORMED },
		{ { .c = "bi==" }, SCRAM_MALFORMED },	/* bits left over */
		{ { .c = "biws\n" }, SCRAM_MALFORMED },
		{ { .nonce = "rOprNGfwEbeRWgbNEkqO" }, SCRAM_REFUSED },
		{ { .nonce = "x" }, SCRAM_REFUSED },
		{ { .nonce = "" }, SCRAM_MALFORMED },
		{ { .nonce_more = "x" }, SCRAM_REFUSED },
		{ { .nonce_more = " " }, SCRAM_MALFORMED },
		{ { .extension = ",m=1" }, SCRAM_MALFORMED },
		{ { .extension = ",r=1" }, SCRAM_MALFORMED },
		{ { .extension = ",x=" }, SCRAM_MALFORMED },
		{ { .extension = ",x" }, SCRAM_MALFORMED },
		{ { .extension = "," }, SCRAM_MALFORMED },
		{ { .proof = "" }, SCRAM_MALFORMED },
		{ { .proof = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" }, SCRAM_REFUSED },
		{ { .proof = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" }, SCRAM_MALFORMED },
		{ { .proof = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==" }, SCRAM_MALFORMED },
		{ { .proof = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=" }, SCRAM_MALFORMED },
		{ { .proof = "AAAA" }, SCRAM_MALFORMED },
		{ { .rest = "=" }, SCRAM_MALFORMED },
		{ { .rest = "," }, SCRAM_MALFORMED },
		{ { .rest = ",x=1" }, SCRAM_MALFORMED },
		{ { .rest = ",p=AAAA" }, SCRAM_MALFORMED },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct talk t = { 0 };

		talk_begin(&t, FIRST, strlen(FIRST));
		client_says(&t, FLAG ",", "n=user,r=rOprNGfwEbeRWgbNEkqO", &rows[i].lies);
		talk_end(&t, t.final, strlen(t.final));
		check_row(t.result == rows[i].want, i);
		check_row(!*t.said, i);
	}
}

static void test_no_other_byte_will_do(void)
{
	struct talk t = { 0 };

	talk_begin(&t, FIRST, strlen(FIRST));
	client_says(&t, FLAG ",", "n=user,r=rOprNGfwEbeRWgbNEkqO", &(struct lies){ 0 });
	size_t len = strlen(t.final);
	scram_endpoint_destroy(&t.s);
	/* Each byte another one, then each length, at last all of it. */
	for (size_t i = 0; i <= len * 2; i++) {
		talk_begin(&t, FIRST, strlen(FIRST));
		client_says(&t, FLAG ",", "n=user,r=rOprNGfwEbeRWgbNEkqO", &(struct lies){ 0 });
		if (i < len)
			t.final[i] ^= 1;
		talk_end(&t, t.final, i < len ? len : i - len);
		check_row(i == 2 * len ? t.result == SCRAM_OK
				       : t.result == SCRAM_REFUSED || t.result == SCRAM_MALFORMED,
			i);
	}
	talk_begin(&t, FIRST, strlen(FIRST));
	char *long_one = calloc(1, SASL_MESSAGE_MAX_BYTES + 1);
	talk_end(&t, long_one, SASL_MESSAGE_MAX_BYTES + 1);
	check(t.result == SCRAM_MALFORMED);
	free(long_one);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_rfc_7677_s_example_fits),
		UNIT_TEST(test_first_messages_are_read_strictly),
		UNIT_TEST(test_first_messages_are_bounded),
		UNIT_TEST(test_only_this_binding_is_taken),
		UNIT_TEST(test_nonces_differ),
		UNIT_TEST(test_who_knows_the_password_gets_in),
		UNIT_TEST(test_each_field_has_to_be_right),
		UNIT_TEST(test_no_other_byte_will_do),
	};

	for (size_t i = 0; i < sizeof(endpoint); i++)
		endpoint[i] = (uint8_t)(200 + i);
	make_secret("pencil", &right);
	make_secret("pencils", &wrong);
	return unit_run("scram-endpoint", tests, UNIT_COUNT(tests));
}
