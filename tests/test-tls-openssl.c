/* SPDX-License-Identifier: MIT */
/* The record layer against OpenSSL's: a handshake in memory between two SSL
 * objects, then the server's is thrown away and ours goes on in its place. */
#include <errno.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "lib/buf.h"
#include "lib/tls-record.h"
#include "tests/unit.h"

#define EVERY_SUITE(v, s) \
	for (unsigned v = TLS_V12; v <= TLS_V13; v++) \
		for (unsigned s = TLS_AES128_GCM_SHA256; s <= TLS_CHACHA20_SHA256; s++)
#define ROW(v, s)	((long long)(v) * 10 + (s))
#define BIG		40000

static struct tls_crypto *crypto;
static EVP_PKEY *key;
static X509 *cert;
static uint8_t big[BIG];

/* What a test may want of a handshake. */
struct wish {
	size_t tickets;		/* 1.3: our first records */
	uint8_t fragment;	/* TLSEXT_max_fragment_length_* */
	size_t block;		/* 1.3: the client pads to a multiple of this */
	bool no_extended_master;
};

struct live {
	SSL *client;
	struct tls_record t;
	struct buf got;		/* data from the client */
	struct buf out;		/* records to the client */
	bool moves;		/* between any two records */
	enum tls_result last;
	uint8_t secrets[2][48];	/* client's, server's */
	uint64_t nonce;		/* explicit, in the server's last record */
};

static void must(bool good)
{
	if (!good) {
		ERR_print_errors_fp(stderr);
		abort();
	}
}

static void make_certificate(void)
{
	X509_NAME *name;

	key = EVP_EC_gen("P-256");
	cert = X509_new();
	must(key && cert);
	must(X509_gmtime_adj(X509_getm_notBefore(cert), -60) != NULL);
	must(X509_gmtime_adj(X509_getm_notAfter(cert), 3600) != NULL);
	must(ASN1_INTEGER_set(X509_get_serialNumber(cert), 1) == 1);
	must(X509_set_pubkey(cert, key) == 1);
	name = X509_get_subject_name(cert);
	must(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
		     (const unsigned char *)"localhost", -1, -1, 0) == 1);
	must(X509_set_issuer_name(cert, name) == 1);
	must(X509_sign(cert, key, EVP_sha256()) > 0);
}

static SSL_CTX *context(enum tls_version v, enum tls_suite s, bool server)
{
	static const char *const suites12[] = { NULL, "ECDHE-ECDSA-AES128-GCM-SHA256",
		"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305" };
	SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	int number = v == TLS_V13 ? TLS1_3_VERSION : TLS1_2_VERSION;

	must(ctx && SSL_CTX_set_min_proto_version(ctx, number) == 1 &&
	     SSL_CTX_set_max_proto_version(ctx, number) == 1);
	must(v == TLS_V13 ? SSL_CTX_set_ciphersuites(ctx, tls_suite_name(v, s)) == 1
			  : SSL_CTX_set_cipher_list(ctx, suites12[s]) == 1);
	if (server)
		must(SSL_CTX_use_certificate(ctx, cert) == 1 &&
		     SSL_CTX_use_PrivateKey(ctx, key) == 1);
	return ctx;
}

static struct live *keylog_live;

static void keylog(const SSL *ssl, const char *line)
{
	static const char *const labels[2] = { "CLIENT_TRAFFIC_SECRET_0 ",
		"SERVER_TRAFFIC_SECRET_0 " };

	for (size_t i = 0; i < 2; i++) {
		unsigned byte;

		if (strncmp(line, labels[i], strlen(labels[i])) != 0)
			continue;
		line = strrchr(line, ' ') + 1;
		for (size_t n = 0; sscanf(line + 2 * n, "%2x", &byte) == 1; n++)
			keylog_live->secrets[i][n] = (uint8_t)byte;
		return;
	}
}

/* The explicit nonce of the last record among those. */
static void note_nonce(struct live *l, const uint8_t *p, size_t len)
{
	while (len >= 13) {
		size_t whole = 5 + ((size_t)p[3] << 8 | p[4]);

		must(whole <= len);
		l->nonce = 0;
		for (int i = 0; i < 8; i++)
			l->nonce = l->nonce << 8 | p[5 + i];
		p += whole;
		len -= whole;
	}
}

static bool move_bytes(struct live *l, SSL *from, SSL *to, bool server)
{
	uint8_t bytes[16384];
	bool moved = false;
	int n;

	while ((n = BIO_read(SSL_get_wbio(from), bytes, sizeof(bytes))) > 0) {
		must(BIO_write(SSL_get_rbio(to), bytes, n) == n);
		moved = true;
		if (server)
			note_nonce(l, bytes, (size_t)n);
	}
	return moved;
}

static void shake_hands(struct live *l, SSL *server)
{
	for (bool moved = true; moved;) {
		SSL_do_handshake(l->client);
		moved = move_bytes(l, l->client, server, false);
		SSL_do_handshake(server);
		moved |= move_bytes(l, server, l->client, true);
	}
	must(SSL_is_init_finished(l->client) && SSL_is_init_finished(server));
}

static void take_over(struct live *l, SSL *server, enum tls_version v, enum tls_suite s,
	size_t tickets)
{
	uint8_t master[48], cr[32], sr[32];
	int ret;

	if (v == TLS_V13) {
		ret = tls_record_init13(crypto, &l->t, s, l->secrets[0], 0, l->secrets[1],
			tickets);
	} else {
		must(SSL_SESSION_get_master_key(SSL_get_session(server), master, 48) == 48);
		must(SSL_get_client_random(server, cr, 32) == 32);
		must(SSL_get_server_random(server, sr, 32) == 32);
		ret = tls_record_init12(crypto, &l->t, s, master, cr, sr, 1, 1, l->nonce + 1);
	}
	must(ret == 0);
}

static void live_begin(struct live *l, enum tls_version v, enum tls_suite s,
	const struct wish *wish)
{
	SSL_CTX *cctx = context(v, s, false), *sctx = context(v, s, true);
	SSL *server;

	memset(l, 0, sizeof(*l));
	buf_init(&l->got, 1 << 20);
	buf_init(&l->out, 1 << 20);
	keylog_live = l;
	SSL_CTX_set_keylog_callback(sctx, keylog);
	SSL_CTX_set_num_tickets(sctx, wish->tickets);
	if (wish->no_extended_master)
		SSL_CTX_set_options(cctx, SSL_OP_NO_EXTENDED_MASTER_SECRET);
	if (wish->fragment)
		must(SSL_CTX_set_tlsext_max_fragment_length(cctx, wish->fragment) == 1);
	l->client = SSL_new(cctx);
	server = SSL_new(sctx);
	must(l->client && server);
	if (wish->block)
		must(SSL_set_block_padding(l->client, wish->block) == 1);
	SSL_set_bio(l->client, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	SSL_set_bio(server, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	SSL_set_connect_state(l->client);
	SSL_set_accept_state(server);
	shake_hands(l, server);
	take_over(l, server, v, s, wish->tickets);
	if (wish->fragment)
		l->t.send_max = l->t.recv_max = (uint16_t)(256 << wish->fragment);
	SSL_free(server);
	SSL_CTX_free(cctx);
	SSL_CTX_free(sctx);
}

static void live_end(struct live *l)
{
	SSL_free(l->client);
	buf_deinit(&l->got);
	buf_deinit(&l->out);
	tls_record_wipe(&l->t);
	ERR_clear_error();
}

static void hop(struct live *l)
{
	struct tls_record next;
	struct buf blob;

	if (!l->moves || l->t.dead)
		return;
	buf_init(&blob, 256);
	check(tls_record_export(&l->t, &blob) == 0);
	tls_record_wipe(&l->t);
	check(tls_record_import(crypto, &next, blob.data, blob.len) == 0);
	l->t = next;
	buf_wipe(&blob);
}

/* What the client wrote, to us; what we owe goes into l->out. */
static void receive(struct live *l)
{
	static uint8_t bytes[1 << 20];
	int n = BIO_read(SSL_get_wbio(l->client), bytes, sizeof(bytes));
	size_t have = n > 0 ? (size_t)n : 0, used, need, len;
	const uint8_t *plain;

	for (uint8_t *p = bytes; have > 0; p += used, have -= used) {
		l->last = tls_record_open(crypto, &l->t, p, have, &used, &need, &plain, &len);
		if (l->last == TLS_DATA)
			buf_append(&l->got, plain, len);
		if (l->last == TLS_REPLY || l->last == TLS_FAIL)
			check(tls_record_control(crypto, &l->t, &l->out) == 0);
		if (l->last == TLS_FAIL)
			break;
		require(l->last != TLS_MORE && used > 0);
		hop(l);
	}
}

static void post(struct live *l)
{
	if (l->out.len)
		must(BIO_write(SSL_get_rbio(l->client), l->out.data, (int)l->out.len) ==
		     (int)l->out.len);
	buf_reset(&l->out);
}

static bool client_says(struct live *l, size_t n)
{
	bool good;

	buf_reset(&l->got);
	must(SSL_write(l->client, big, (int)n) == (int)n);
	receive(l);
	good = l->got.len == n && memcmp(l->got.data, big, n) == 0;
	post(l);
	return good;
}

static bool client_hears(struct live *l, size_t n)
{
	static uint8_t text[BIG];
	size_t at = 0;

	check(tls_record_seal(crypto, &l->t, big, n, &l->out) == 0);
	hop(l);
	post(l);
	while (at < n) {
		int got = SSL_read(l->client, text + at, (int)(n - at));

		if (got <= 0)
			return false;
		at += (size_t)got;
	}
	/* An empty one would be an error; nothing may be left. */
	return SSL_read(l->client, text + at, 1) < 0 && memcmp(text, big, n) == 0;
}

static void converse(struct live *l, long long row)
{
	static const size_t sizes[] = { 1, 20, 511, 512, 513, 16384, 16385, BIG };

	for (size_t i = 0; i < UNIT_COUNT(sizes); i++) {
		check_row(client_says(l, sizes[i]), row);
		check_row(client_hears(l, sizes[i]), row);
	}
}

static void test_tls_goes_on_where_openssl_stopped(void)
{
	static const struct wish wishes[] = {
		{ 0 },
		{ .tickets = 2 },
		{ .no_extended_master = true },
		{ .fragment = TLSEXT_max_fragment_length_512 },
		{ .block = 300, .tickets = 1 },
	};

	for (size_t i = 0; i < UNIT_COUNT(wishes); i++) {
		for (int moves = 0; moves < 2; moves++) {
			EVERY_SUITE(v, s) {
				struct live l;

				live_begin(&l, v, s, &wishes[i]);
				l.moves = moves;
				converse(&l, ROW(v, s) * 10 + (long long)i);
				live_end(&l);
			}
		}
	}
}

/* Nonces of ours follow OpenSSL's own; those it has used stay used. */
static void test_tls_explicit_nonces_go_on(void)
{
	for (unsigned s = TLS_AES128_GCM_SHA256; s <= TLS_AES256_GCM_SHA384; s++) {
		struct live l;
		uint64_t first;

		live_begin(&l, TLS_V12, s, &(struct wish) { 0 });
		first = l.nonce;
		for (uint64_t i = 1; i < 5; i++) {
			check(tls_record_seal(crypto, &l.t, "x", 1, &l.out) == 0);
			note_nonce(&l, l.out.data, l.out.len);
			check_row(l.nonce == first + i, i);
			post(&l);
		}
		live_end(&l);
	}
}

static void test_tls_openssl_updates_its_key(void)
{
	for (unsigned s = TLS_AES128_GCM_SHA256; s <= TLS_CHACHA20_SHA256; s++) {
		for (int moves = 0; moves < 2; moves++) {
			struct live l;

			live_begin(&l, TLS_V13, s, &(struct wish) { 0 });
			l.moves = moves;
			for (int i = 0; i < 100; i++) {
				check(SSL_key_update(l.client, i & 1 ? SSL_KEY_UPDATE_REQUESTED
								     : SSL_KEY_UPDATE_NOT_REQUESTED) == 1);
				check_row(client_says(&l, (size_t)i + 1), i);
				if (i % 3 == 0)
					check_row(client_hears(&l, (size_t)i + 1), i);
			}
			converse(&l, s);
			live_end(&l);
		}
	}
}

static void test_tls_openssl_follows_our_updates(void)
{
	for (unsigned s = TLS_AES128_GCM_SHA256; s <= TLS_CHACHA20_SHA256; s++) {
		for (int moves = 0; moves < 2; moves++) {
			struct live l;

			live_begin(&l, TLS_V13, s, &(struct wish) { .tickets = 1 });
			l.moves = moves;
			for (int i = 0; i < 20; i++) {
				check(tls_record_update(crypto, &l.t, i & 1, &l.out) == 0);
				hop(&l);
				check_row(client_hears(&l, (size_t)i + 1), i);
				check_row(client_says(&l, (size_t)i + 1), i);
				/* What we asked for came before that data. */
				check_row(!(i & 1) || l.t.rd.seq == 1, i);
			}
			converse(&l, s);
			live_end(&l);
		}
	}
}

static void test_tls_closes_with_openssl(void)
{
	EVERY_SUITE(v, s) {
		struct live l;
		char byte;

		live_begin(&l, v, s, &(struct wish) { 0 });
		check_row(client_says(&l, 5), ROW(v, s));
		check(tls_record_close(crypto, &l.t, &l.out) == 0);
		post(&l);
		check_row(SSL_read(l.client, &byte, 1) == 0, ROW(v, s));
		check_row(SSL_get_shutdown(l.client) & SSL_RECEIVED_SHUTDOWN, ROW(v, s));
		SSL_shutdown(l.client);
		receive(&l);
		check_row(l.last == TLS_EOF && l.t.read_closed && !l.t.dead, ROW(v, s));
		live_end(&l);
	}
}

static int last_reason(void)
{
	return ERR_GET_REASON(ERR_peek_last_error());
}

static void test_tls_openssl_is_not_renegotiated_with(void)
{
	for (unsigned s = TLS_AES128_GCM_SHA256; s <= TLS_CHACHA20_SHA256; s++) {
		struct live l;
		char byte;

		live_begin(&l, TLS_V12, s, &(struct wish) { 0 });
		l.moves = true;
		ERR_clear_error();
		check(SSL_renegotiate(l.client) == 1);
		SSL_do_handshake(l.client);
		receive(&l);
		check_row(l.last == TLS_REPLY && !l.t.dead, s);
		post(&l);
		check_row(SSL_read(l.client, &byte, 1) < 0, s);
		check_row(last_reason() == SSL_R_NO_RENEGOTIATION, s);
		live_end(&l);
	}
}

static void test_tls_bad_records_are_told_to_openssl(void)
{
	EVERY_SUITE(v, s) {
		uint8_t record[256];
		struct live l;
		char byte;
		int n;

		live_begin(&l, v, s, &(struct wish) { 0 });
		ERR_clear_error();
		must(SSL_write(l.client, "hello", 5) == 5);
		n = BIO_read(SSL_get_wbio(l.client), record, sizeof(record));
		record[n - 1] ^= 1;
		must(BIO_write(SSL_get_wbio(l.client), record, n) == n);
		receive(&l);
		check_row(l.last == TLS_FAIL && l.t.dead && l.t.alert == 20, ROW(v, s));
		check_row(l.got.len == 0, ROW(v, s));
		post(&l);
		check_row(SSL_read(l.client, &byte, 1) <= 0, ROW(v, s));
		check_row(last_reason() == SSL_R_SSLV3_ALERT_BAD_RECORD_MAC, ROW(v, s));
		live_end(&l);

		/* The other way round: its alert is understood and not answered. */
		live_begin(&l, v, s, &(struct wish) { 0 });
		check(tls_record_seal(crypto, &l.t, "hello", 5, &l.out) == 0);
		l.out.data[l.out.len - 1] ^= 1;
		post(&l);
		check_row(SSL_read(l.client, &byte, 1) <= 0, ROW(v, s));
		receive(&l);
		check_row(l.last == TLS_FAIL && l.t.dead && l.t.alert == 20, ROW(v, s));
		check_row(l.out.len == 0, ROW(v, s));
		live_end(&l);
	}
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_tls_goes_on_where_openssl_stopped),
		UNIT_TEST(test_tls_explicit_nonces_go_on),
		UNIT_TEST(test_tls_openssl_updates_its_key),
		UNIT_TEST(test_tls_openssl_follows_our_updates),
		UNIT_TEST(test_tls_closes_with_openssl),
		UNIT_TEST(test_tls_openssl_is_not_renegotiated_with),
		UNIT_TEST(test_tls_bad_records_are_told_to_openssl),
	};
	int status;

	crypto = tls_crypto_create();
	if (!crypto)
		return EXIT_FAILURE;
	make_certificate();
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 31 + (i >> 8));
	status = unit_run("tls-openssl", tests, UNIT_COUNT(tests));
	X509_free(cert);
	EVP_PKEY_free(key);
	tls_crypto_destroy(&crypto);
	return status;
}
