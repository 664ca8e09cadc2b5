/* SPDX-License-Identifier: MIT */
/* The handshake against OpenSSL's own client, all in memory; what comes out is
 * used for data both ways at once. */
#include "imap-login/tls-handshake.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "lib/buf.h"
#include "lib/tls-cert.h"
#include "lib/tls-tickets.h"
#include "tests/tls-cert-util.h"
#include "tests/unit.h"

static struct test_cert authority, first, second, mail_client, plain_client, old_client,
	stranger;
static struct tls_crypto *crypto;
static struct tls_ticket_keys tickets;

static struct tls_server *server_new(bool with_ca)
{
	const struct tls_identity identities[] = {
		{ .name = "", .pem = first.pem, .len = first.len },
		{ .name = "*.example.org", .pem = second.pem, .len = second.len },
	};
	const struct tls_server_parts parts = {
		.identities = identities, .n_identities = 2, .tickets = &tickets,
		.ca = with_ca ? authority.pem : NULL, .ca_len = authority.len,
	};
	struct tls_server *server;
	const char *why;

	if (tls_server_create(&parts, &server, &why) < 0)
		fprintf(stderr, "%s\n", why);
	return server;
}

/* ---- the client ---- */

struct client {
	SSL_CTX *ctx;
	SSL *ssl;
	BIO *in, *out;
	SSL_SESSION *session;	/* the last ticket */
	const char *name;	/* that it asks for */
};

static int on_session(SSL *ssl, SSL_SESSION *session)
{
	struct client *c = SSL_get_app_data(ssl);

	SSL_SESSION_free(c->session);
	c->session = session;
	return 1;
}

static void client_init(struct client *c, int version, const char *suite)
{
	c->ctx = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_security_level(c->ctx, 0);
	SSL_CTX_set_min_proto_version(c->ctx, version);
	SSL_CTX_set_max_proto_version(c->ctx, version);
	if (suite && version == TLS1_3_VERSION)
		SSL_CTX_set_ciphersuites(c->ctx, suite);
	else if (suite)
		SSL_CTX_set_cipher_list(c->ctx, suite);
	SSL_CTX_set_session_cache_mode(c->ctx, SSL_SESS_CACHE_CLIENT);
	SSL_CTX_sess_set_new_cb(c->ctx, on_session);
}

static void client_connect(struct client *c)
{
	/* Else its session counts as broken off, and is not resumed. */
	if (c->ssl)
		SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(c->ssl);
	c->ssl = SSL_new(c->ctx);
	c->in = BIO_new(BIO_s_mem());
	c->out = BIO_new(BIO_s_mem());
	SSL_set_bio(c->ssl, c->in, c->out);
	SSL_set_app_data(c->ssl, c);
	SSL_set_connect_state(c->ssl);
	if (c->session)
		SSL_set_session(c->ssl, c->session);
	if (c->name)
		SSL_set_tlsext_host_name(c->ssl, c->name);
}

static void client_deinit(struct client *c)
{
	SSL_SESSION_free(c->session);
	SSL_free(c->ssl);
	SSL_CTX_free(c->ctx);
}

/* ---- both ---- */

struct pair {
	struct client client;
	struct tls_server *server;
	struct tls_handshake *hs;
	struct tls_record record;
	struct tls_facts facts;
	struct buf rest;		/* from the client, behind the handshake */
	enum tls_handshake_result result;
	size_t chunk;			/* bytes fed at once; 0: all */
	bool eager;			/* commands right behind Finished */
	char alert[64];			/* what the client was told */
};

static void pair_to_client(struct pair *p, struct buf *out)
{
	if (out->len > 0)
		BIO_write(p->client.in, out->data, (int)out->len);
	buf_reset(out);
}

static void pair_feed(struct pair *p, const uint8_t *data, size_t len, struct buf *out)
{
	while (len > 0) {
		size_t n = p->chunk > 0 && p->chunk < len ? p->chunk : len, used = 0;

		if (p->result != TLS_HANDSHAKE_MORE) {
			buf_append(&p->rest, data, len);
			return;
		}
		p->result = tls_handshake_feed(p->hs, data, n, &used, out);
		check(used <= n);
		/* All is taken while more is wanted. */
		check(p->result != TLS_HANDSHAKE_MORE || used == n);
		data += used;
		len -= used;
	}
}

static void client_note_alert(struct pair *p)
{
	unsigned long e;

	while ((e = ERR_get_error()) != 0)
		if (!*p->alert)
			snprintf(p->alert, sizeof(p->alert), "%s", ERR_reason_error_string(e));
}

static void pair_run(struct pair *p)
{
	struct buf out;
	int ret;

	buf_init(&out, 1 << 20);
	buf_init(&p->rest, 1 << 20);
	p->hs = tls_handshake_create(p->server);
	p->result = TLS_HANDSHAKE_MORE;
	client_connect(&p->client);
	for (int turn = 0; turn < 20; turn++) {
		char *data;
		long len;

		ERR_clear_error();
		ret = SSL_do_handshake(p->client.ssl);
		if (ret != 1 && SSL_get_error(p->client.ssl, ret) == SSL_ERROR_SSL)
			client_note_alert(p);
		if (ret == 1 && p->eager) {
			SSL_write(p->client.ssl, "a NOOP\r\n", 8);
			SSL_write(p->client.ssl, "b NOOP\r\n", 8);
			p->eager = false;
		}
		len = BIO_get_mem_data(p->client.out, &data);
		if (len > 0)
			pair_feed(p, (const uint8_t *)data, (size_t)len, &out);
		(void)BIO_reset(p->client.out);
		pair_to_client(p, &out);
		if (len == 0 && (ret == 1 || SSL_get_error(p->client.ssl, ret) == SSL_ERROR_SSL))
			break;
	}
	buf_deinit(&out);
	if (p->result == TLS_HANDSHAKE_DONE)
		if (!unit_check_row(tls_handshake_export(p->hs, crypto, &p->record, &p->facts) == 0,
				    "export", 0, __FILE__, __LINE__))
			fprintf(stderr, "%s\n", tls_handshake_reason(p->hs));
}

static void pair_end(struct pair *p)
{
	tls_handshake_destroy(&p->hs);
	tls_record_wipe(&p->record);
	buf_deinit(&p->rest);
}

/* What the client has sent, opened; true: it is text. */
static bool pair_client_says(struct pair *p, const char *text)
{
	size_t at = 0, got = 0;
	char *data, all[256] = "";
	long len = BIO_get_mem_data(p->client.out, &data);

	if (len > 0)
		buf_append(&p->rest, data, (size_t)len);
	(void)BIO_reset(p->client.out);
	while (at < p->rest.len) {
		size_t used = 0, need, n;
		const uint8_t *plain;

		if (tls_record_open(crypto, &p->record, p->rest.data + at, p->rest.len - at, &used,
				    &need, &plain, &n) != TLS_DATA || n > sizeof(all) - got - 1)
			return false;
		memcpy(all + got, plain, n);
		got += n;
		at += used;
	}
	buf_reset(&p->rest);
	return strcmp(all, text) == 0;
}

static bool pair_server_says(struct pair *p, const char *text)
{
	struct buf out;
	char got[256] = "";
	bool same;

	buf_init(&out, 1 << 16);
	same = tls_record_seal(crypto, &p->record, text, strlen(text), &out) == 0;
	pair_to_client(p, &out);
	same = same && SSL_read(p->client.ssl, got, sizeof(got) - 1) == (int)strlen(text) &&
	       strcmp(got, text) == 0;
	buf_deinit(&out);
	return same;
}

static void pair_talk(struct pair *p, int row)
{
	for (int i = 0; i < 3; i++) {
		check_row(pair_server_says(p, "* OK ready\r\n"), row);
		check_row(SSL_write(p->client.ssl, "c LOGOUT\r\n", 10) == 10, row);
		check_row(pair_client_says(p, "c LOGOUT\r\n"), row);
	}
}

static const struct {
	int version;
	const char *suite;
	enum tls_suite ours;
} suites[] = {
	{ TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", TLS_AES128_GCM_SHA256 },
	{ TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384", TLS_AES256_GCM_SHA384 },
	{ TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256", TLS_CHACHA20_SHA256 },
	{ TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", TLS_AES128_GCM_SHA256 },
	{ TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384", TLS_AES256_GCM_SHA384 },
	{ TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305", TLS_CHACHA20_SHA256 },
};
#define SUITES	(int)(sizeof(suites) / sizeof(suites[0]))

/* ---- tests ---- */

static void test_record_layer_goes_on_after_each_kind_of_handshake(void)
{
	static const size_t chunks[] = { 0, 1, 7, 97 };

	for (int row = 0; row < SUITES * 4; row++) {
		struct pair p = { .server = server_new(false), .chunk = chunks[row % 4] };
		int at = row / 4;

		client_init(&p.client, suites[at].version, suites[at].suite);
		for (int again = 0; again < 3; again++) {
			p.eager = row % 2 == 0;
			pair_run(&p);
			check_row(p.result == TLS_HANDSHAKE_DONE, row);
			check_row(p.record.suite == suites[at].ours, row);
			check_row(p.facts.resumed == (again > 0), row);
			check_row(SSL_session_reused(p.client.ssl) == (again > 0), row);
			if (row % 2 == 0)
				check_row(pair_client_says(&p, "a NOOP\r\nb NOOP\r\n"), row);
			pair_talk(&p, row);
			pair_end(&p);
		}
		client_deinit(&p.client);
		tls_server_unref(&p.server);
	}
}

static void test_fragments_are_as_short_as_the_client_wants(void)
{
	for (int row = 0; row < SUITES; row++) {
		struct pair p = { .server = server_new(false) };

		client_init(&p.client, suites[row].version, suites[row].suite);
		SSL_CTX_set_tlsext_max_fragment_length(p.client.ctx,
						       TLSEXT_max_fragment_length_512);
		pair_run(&p);
		check_row(p.result == TLS_HANDSHAKE_DONE, row);
		check_row(p.record.send_max == 512 && p.record.recv_max == 512, row);
		pair_talk(&p, row);
		pair_end(&p);
		client_deinit(&p.client);
		tls_server_unref(&p.server);
	}
}

static void test_name_chooses_the_certificate(void)
{
	static const struct {
		const char *name, *shown;
	} rows[] = {
		{ NULL, "first" }, { "localhost", "first" }, { "mail.example.org", "second" },
		{ "MAIL.Example.ORG", "second" }, { "example.org", "first" },
		{ "a.mail.example.org", "first" }, { ".example.org", "first" },
	};

	for (int row = 0; row < (int)(sizeof(rows) / sizeof(rows[0])); row++) {
		struct pair p = { .server = server_new(false) };
		char shown[32] = "";

		client_init(&p.client, row % 2 ? TLS1_2_VERSION : TLS1_3_VERSION, NULL);
		p.client.name = rows[row].name;
		pair_run(&p);
		X509 *cert = SSL_get0_peer_certificate(p.client.ssl);
		if (cert)
			X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, shown,
						  sizeof(shown));
		check_row(strcmp(shown, rows[row].shown) == 0, row);
		pair_end(&p);
		client_deinit(&p.client);
		tls_server_unref(&p.server);
	}
}

static void test_weak_clients_get_the_alert_that_fits(void)
{
	static const struct {
		int version;
		const char *suite, *alert;
	} rows[] = {
		{ TLS1_VERSION, NULL, "tlsv1 alert protocol version" },
		{ TLS1_1_VERSION, NULL, "tlsv1 alert protocol version" },
		{ TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA256", "sslv3 alert handshake failure" },
		{ TLS1_2_VERSION, "ECDHE-ECDSA-AES128-CCM", "sslv3 alert handshake failure" },
		{ TLS1_2_VERSION, "DHE-RSA-AES128-GCM-SHA256", "sslv3 alert handshake failure" },
		{ TLS1_3_VERSION, "TLS_AES_128_CCM_SHA256", "sslv3 alert handshake failure" },
	};

	for (int row = 0; row < (int)(sizeof(rows) / sizeof(rows[0])); row++) {
		struct pair p = { .server = server_new(false) };

		client_init(&p.client, rows[row].version, rows[row].suite);
		pair_run(&p);
		check_row(p.result == TLS_HANDSHAKE_FAILED, row);
		if (!check_row(strcmp(p.alert, rows[row].alert) == 0, row))
			fprintf(stderr, "alert: %s\n", p.alert);
		check_row(*tls_handshake_reason(p.hs) != '\0', row);
		pair_end(&p);
		client_deinit(&p.client);
		tls_server_unref(&p.server);
	}
}

static void test_protocol_must_be_imap_if_any(void)
{
	static const struct {
		const char *offer;
		bool good;
	} rows[] = {
		{ NULL, true }, { "\4imap", true }, { "\2h2\4imap", true }, { "\2h2", false },
		{ "\5imaps\4pop3", false },
	};

	for (int row = 0; row < (int)(sizeof(rows) / sizeof(rows[0])); row++) {
		struct pair p = { .server = server_new(false) };
		const unsigned char *chosen;
		unsigned len;

		client_init(&p.client, row % 2 ? TLS1_2_VERSION : TLS1_3_VERSION, NULL);
		if (rows[row].offer)
			SSL_CTX_set_alpn_protos(p.client.ctx,
						(const unsigned char *)rows[row].offer,
						(unsigned)strlen(rows[row].offer));
		pair_run(&p);
		check_row((p.result == TLS_HANDSHAKE_DONE) == rows[row].good, row);
		SSL_get0_alpn_selected(p.client.ssl, &chosen, &len);
		if (rows[row].good && rows[row].offer)
			check_row(len == 4 && memcmp(chosen, "imap", 4) == 0, row);
		if (!rows[row].good && !check_row(strcmp(p.alert,
				"tlsv1 alert no application protocol") == 0, row))
			fprintf(stderr, "alert: %s\n", p.alert);
		pair_end(&p);
		client_deinit(&p.client);
		tls_server_unref(&p.server);
	}
}

static void test_client_certificate_names_its_user_if_it_is_good(void)
{
	static const struct {
		const struct test_cert *cert;
		bool ask, good;
		const char *external;
	} rows[] = {
		{ NULL, true, true, "" },
		{ &mail_client, true, true, "anna@example.org" },
		{ &plain_client, true, true, "bert" },
		{ &plain_client, false, true, "" },	/* not asked for */
		{ &stranger, true, false, "" },
		{ &old_client, true, false, "" },
	};

	for (int row = 0; row < 2 * (int)(sizeof(rows) / sizeof(rows[0])); row++) {
		int at = row / 2;
		struct pair p = { .server = server_new(rows[at].ask) };

		client_init(&p.client, row % 2 ? TLS1_2_VERSION : TLS1_3_VERSION, NULL);
		if (rows[at].cert) {
			SSL_CTX_use_certificate(p.client.ctx, rows[at].cert->x509);
			SSL_CTX_use_PrivateKey(p.client.ctx, rows[at].cert->key);
		}
		for (int again = 0; again < (rows[at].good ? 2 : 1); again++) {
			pair_run(&p);
			check_row((p.result == TLS_HANDSHAKE_DONE) == rows[at].good, row);
			check_row(strcmp(p.facts.external, rows[at].external) == 0, row);
			if (rows[at].good) {
				check_row(p.facts.resumed == (again > 0), row);
				pair_talk(&p, row);
			}
			pair_end(&p);
		}
		client_deinit(&p.client);
		tls_server_unref(&p.server);
	}
}

/* A client that other authorities vouched for comes with a full handshake. */
static void test_sessions_end_with_the_authorities(void)
{
	struct pair p = { .server = server_new(true) };

	client_init(&p.client, TLS1_3_VERSION, NULL);
	pair_run(&p);
	pair_talk(&p, 0);
	pair_end(&p);
	tls_server_unref(&p.server);
	p.server = server_new(false);
	pair_run(&p);
	check(p.result == TLS_HANDSHAKE_DONE && !p.facts.resumed);
	pair_talk(&p, 1);
	pair_end(&p);
	client_deinit(&p.client);
	tls_server_unref(&p.server);
}

/* Else its client would bind to one that is no longer ours. */
static void test_sessions_end_with_the_certificate(void)
{
	for (int row = 0; row < 4; row++) {
		struct test_cert *changes = row < 2 ? &first : &second, kept = *changes;
		struct pair p = { .server = server_new(false) };
		uint8_t digest[64];

		client_init(&p.client, row % 2 ? TLS1_2_VERSION : TLS1_3_VERSION, NULL);
		p.client.name = row < 2 ? "localhost" : "mail.example.org";
		for (int turn = 0; turn < 4; turn++) {
			if (turn == 2) {
				tls_server_unref(&p.server);
				*changes = test_cert_make("new", NULL, 30, NULL);
				p.server = server_new(false);
			}
			pair_run(&p);
			check_row(p.result == TLS_HANDSHAKE_DONE, row);
			check_row(p.facts.resumed == (turn % 2 == 1), row * 10 + turn);
			X509_digest(changes->x509, EVP_sha256(), digest, NULL);
			check_row(p.facts.endpoint_len == 32 &&
				  memcmp(p.facts.endpoint, digest, 32) == 0, row * 10 + turn);
			X509_digest(SSL_get0_peer_certificate(p.client.ssl), EVP_sha256(), digest,
				    NULL);
			check_row(memcmp(p.facts.endpoint, digest, 32) == 0, row * 10 + turn);
			pair_talk(&p, row);
			pair_end(&p);
		}
		client_deinit(&p.client);
		tls_server_unref(&p.server);
		test_cert_free(changes);
		*changes = kept;
	}
}

static void test_ticket_keys_rotate(void)
{
	struct tls_ticket_keys kept = tickets, next;
	struct pair p = { .server = server_new(false) };

	for (int row = 0; row < 2; row++) {
		client_init(&p.client, row ? TLS1_2_VERSION : TLS1_3_VERSION, NULL);
		pair_run(&p);
		pair_talk(&p, row);
		pair_end(&p);
		/* One later it is read still, and replaced; two later it is not. */
		for (int turn = 0; turn < 2; turn++) {
			for (int back = 0; back <= turn; back++) {
				check(tls_ticket_keys_make(&next, &tickets, 1) == 0);
				tickets = next;
			}
			tls_server_unref(&p.server);
			p.server = server_new(false);
			pair_run(&p);
			check_row(p.result == TLS_HANDSHAKE_DONE, row);
			check_row(p.facts.resumed == (turn == 0), row * 10 + turn);
			pair_talk(&p, row);
			pair_end(&p);
		}
		client_deinit(&p.client);
		p.client = (struct client){ 0 };
	}
	tls_server_unref(&p.server);
	tickets = kept;
}

static void test_both_sides_have_the_same_channel_binding(void)
{
	static const char label[] = "EXPORTER-Channel-Binding";

	for (int row = 0; row < SUITES; row++) {
		struct pair p = { .server = server_new(false) };
		uint8_t theirs[32], digest[64];
		unsigned len = 0;

		client_init(&p.client, suites[row].version, suites[row].suite);
		pair_run(&p);
		check_row(SSL_export_keying_material(p.client.ssl, theirs, 32, label,
						     sizeof(label) - 1,
						     (const unsigned char *)"", 0, 1) == 1, row);
		check_row(p.facts.exporter_len == 32 &&
			  memcmp(p.facts.exporter, theirs, 32) == 0, row);
		X509_digest(first.x509, EVP_sha256(), digest, &len);
		check_row(p.facts.endpoint_len == 32 &&
			  memcmp(p.facts.endpoint, digest, 32) == 0, row);
		pair_end(&p);
		client_deinit(&p.client);
		tls_server_unref(&p.server);
	}
}

/* Without it a session could have been made elsewhere (RFC 7627), and resumed. */
static void test_nothing_is_bound_without_the_extended_master_secret(void)
{
	struct pair p = { .server = server_new(false) };
	uint8_t digest[64];

	X509_digest(first.x509, EVP_sha256(), digest, NULL);
	client_init(&p.client, TLS1_2_VERSION, NULL);
	SSL_CTX_set_options(p.client.ctx, SSL_OP_NO_EXTENDED_MASTER_SECRET);
	for (int again = 0; again < 2; again++) {
		pair_run(&p);
		check_row(p.facts.resumed == (again > 0), again);
		check_row(p.facts.exporter_len == 0, again);
		/* RFC 7677 section 4: at first the certificate has just been shown. */
		check_row(p.facts.endpoint_len == (again ? 0 : 32), again);
		check_row(again || memcmp(p.facts.endpoint, digest, 32) == 0, again);
		pair_talk(&p, again);
		pair_end(&p);
	}
	client_deinit(&p.client);
	tls_server_unref(&p.server);
}

static void test_endpoint_s_hash_is_the_signature_s(void)
{
	static const struct {
		const char *signature, *hash;
	} rows[] = {
		{ "SHA256", "SHA256" }, { "SHA384", "SHA384" }, { "SHA512", "SHA512" },
		{ "SHA224", "SHA224" }, { "SHA1", "SHA256" }, { NULL, NULL },
	};
	struct test_cert kept = first;

	for (int row = 0; row < (int)UNIT_COUNT(rows); row++) {
		struct pair p = { 0 };
		uint8_t digest[64];
		unsigned len = 0;

		first = test_cert_make_signed("first", NULL, 30, NULL, rows[row].signature);
		p.server = server_new(false);
		require(p.server != NULL);
		client_init(&p.client, row % 2 ? TLS1_2_VERSION : TLS1_3_VERSION, NULL);
		pair_run(&p);
		check_row(p.result == TLS_HANDSHAKE_DONE, row);
		if (rows[row].hash)
			X509_digest(first.x509, EVP_get_digestbyname(rows[row].hash), digest, &len);
		check_row(p.facts.endpoint_len == len &&
			  memcmp(p.facts.endpoint, digest, len) == 0, row);
		pair_end(&p);
		client_deinit(&p.client);
		tls_server_unref(&p.server);
		test_cert_free(&first);
	}
	first = kept;
}

static void test_what_is_no_record_does_not_get_in(void)
{
	static const struct {
		const char *bytes;
		size_t len;
		uint8_t alert;
	} rows[] = {
		{ "a NOOP\r\n", 8, 10 },
		{ "GET / HTTP/1.0\r\n\r\n", 18, 10 },
		{ "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10", 11, 10 },	/* SSLv2 */
		{ "\x18\x03\x01\x00\x03\x01\x40\x00", 8, 10 },	/* heartbeat */
		{ "\x16\x02\x01\x00\x05", 5, 10 },
		{ "\x16\x03\x01\x7f\xff", 5, 22 },
	};
	struct tls_server *server = server_new(false);

	for (int row = 0; row < (int)(sizeof(rows) / sizeof(rows[0])); row++) {
		struct tls_handshake *hs = tls_handshake_create(server);
		enum tls_handshake_result result = TLS_HANDSHAKE_MORE;
		struct buf out;
		size_t used;

		buf_init(&out, 4096);
		for (size_t i = 0; i < rows[row].len && result == TLS_HANDSHAKE_MORE; i++)
			result = tls_handshake_feed(hs, rows[row].bytes + i, 1, &used, &out);
		check_row(result == TLS_HANDSHAKE_FAILED, row);
		check_row(out.len == 7 && out.data[0] == 21 && out.data[5] == 2 &&
			  out.data[6] == rows[row].alert, row);
		buf_deinit(&out);
		tls_handshake_destroy(&hs);
	}
	tls_server_unref(&server);
}

static void test_certificates_are_checked(void)
{
	char *mixed;
	struct tls_cert cert;
	const char *why;

	check(tls_cert_read(first.pem, first.len, &cert, &why) == 0);
	check(tls_cert_when(&cert) == 0);
	tls_cert_deinit(&cert);
	check(asprintf(&mixed, "%.*s%s", (int)(strstr(first.pem, "-----BEGIN PRIV") - first.pem),
		       first.pem, strstr(second.pem, "-----BEGIN PRIV")) > 0);
	check(tls_cert_read(mixed, strlen(mixed), &cert, &why) == -EINVAL &&
	      strstr(why, "do not belong together"));
	free(mixed);
	check(tls_cert_read("nothing", 7, &cert, &why) == -EINVAL && strstr(why, "no certificate"));
	check(tls_cert_read(first.pem, (size_t)(strstr(first.pem, "-----BEGIN PRIV") - first.pem),
			    &cert, &why) == -EINVAL && strstr(why, "no private key"));
	check(tls_cert_read(old_client.pem, old_client.len, &cert, &why) == 0);
	check(tls_cert_when(&cert) == 1);
	tls_cert_deinit(&cert);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_certificates_are_checked),
		UNIT_TEST(test_record_layer_goes_on_after_each_kind_of_handshake),
		UNIT_TEST(test_fragments_are_as_short_as_the_client_wants),
		UNIT_TEST(test_name_chooses_the_certificate),
		UNIT_TEST(test_weak_clients_get_the_alert_that_fits),
		UNIT_TEST(test_protocol_must_be_imap_if_any),
		UNIT_TEST(test_client_certificate_names_its_user_if_it_is_good),
		UNIT_TEST(test_sessions_end_with_the_authorities),
		UNIT_TEST(test_sessions_end_with_the_certificate),
		UNIT_TEST(test_ticket_keys_rotate),
		UNIT_TEST(test_both_sides_have_the_same_channel_binding),
		UNIT_TEST(test_nothing_is_bound_without_the_extended_master_secret),
		UNIT_TEST(test_endpoint_s_hash_is_the_signature_s),
		UNIT_TEST(test_what_is_no_record_does_not_get_in),
	};
	int ret;

	if (!tls_library_init())
		return EXIT_FAILURE;
	authority = test_cert_make("authority", NULL, 30, NULL);
	first = test_cert_make("first", "DNS:localhost", 30, NULL);
	second = test_cert_make("second", "DNS:mail.example.org", 30, &authority);
	mail_client = test_cert_make("anna", "email:anna@example.org", 30, &authority);
	plain_client = test_cert_make("bert", NULL, 30, &authority);
	old_client = test_cert_make("carl", NULL, -1, &authority);
	stranger = test_cert_make("bert", NULL, 30, NULL);
	crypto = tls_crypto_create();
	if (!crypto || tls_ticket_keys_make(&tickets, NULL, 1) < 0)
		return EXIT_FAILURE;
	ret = unit_run("tls-handshake", tests, UNIT_COUNT(tests));
	tls_crypto_destroy(&crypto);
	for (struct test_cert *c[] = { &authority, &first, &second, &mail_client, &plain_client,
				       &old_client, &stranger, NULL }, **at = c; *at; at++)
		test_cert_free(*at);
	return ret;
}
